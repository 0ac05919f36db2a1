"""Routes: which interface, and which neighbour on it, packets to an address go to. They change while
connections use them; a connection keeps its route until the table's generation is another
(`inp_route` and its cookie).
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import NamedTuple

from tlsnic.driver.ktls.ifnet import Ifnet

Network = IPv4Network | IPv6Network


class NextHop(NamedTuple):
    """struct nhop_object."""

    ifp: Ifnet
    gateway: bytes | None
    """Address of the router; None: the destination itself is a neighbour."""


class RouteTable:
    """Longest prefix first. `generation` counts changes."""

    def __init__(self) -> None:
        self.generation = 0
        self._routes: dict[Network, NextHop] = {}

    def add(self, prefix: str, ifp: Ifnet, gateway: str | None = None) -> None:
        """Make or replace the route to a prefix ("192.0.2.0/24", "::/0"). Raises
        ValueError for what is none."""
        via = None if gateway is None else ip_address(gateway).packed
        self._routes[ip_network(prefix, strict=False)] = NextHop(ifp, via)
        self.generation += 1

    def delete(self, prefix: str) -> None:
        """Remove a route. KeyError when there is none."""
        del self._routes[ip_network(prefix, strict=False)]
        self.generation += 1

    def remove_interface(self, ifp: Ifnet) -> None:
        """Remove all routes over an interface."""
        self._routes = {net: hop for net, hop in self._routes.items() if hop.ifp is not ifp}
        self.generation += 1

    def lookup(self, destination: bytes) -> NextHop | None:
        """The route to an address of 4 or 16 bytes, or None (fib4_lookup, fib6_lookup)."""
        address = ip_address(destination)
        best: tuple[int, NextHop] | None = None
        for network, hop in self._routes.items():
            if network.version == address.version and address in network:
                length = network.prefixlen
                if best is None or length > best[0]:
                    best = length, hop
        return None if best is None else best[1]

    def __iter__(self) -> Iterator[tuple[str, NextHop]]:
        """Prefixes and where they go."""
        return iter([(str(network), hop) for network, hop in self._routes.items()])
