"""Networks with both cards: a route that moves between them, a lagg of them, a VLAN on top."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harness.ktls import NEAR, Line, Network
from harness.tls_stream import marked
from tlsnic.driver.ktls.ifnet import Ifnet, NicIfnet
from tlsnic.driver.ktls.lagg import Lagg, LaggProto
from tlsnic.driver.ktls.vlan import Vlan
from tlsnic.qemu.peer.data import VLAN_ID

NETWORK = "10.73.86.0/24"
SECOND = "10.73.86.3/24"


def routed(network: Callable[..., Network], **options: Any) -> Network:
    """Both cards have an address of the network; the route leads to the first."""
    one = network(cards=2, **options)
    one.stack.add_address(one.ifnets[1], SECOND)
    move_route(one, 0)
    return one


def move_route(one: Network, card: int) -> None:
    """Change the route to the host's network."""
    one.stack.routes.add(NETWORK, one.ifnets[card])


def lagg_of(proto: LaggProto, *, vlan: bool = False) -> Callable[[list[NicIfnet]], Ifnet]:
    """For `Network(build=...)`."""

    def build(cards: list[NicIfnet]) -> Ifnet:
        lagg = Lagg(cards, laggproto=proto)
        return Vlan(lagg, VLAN_ID) if vlan else lagg

    return build


class Upload:
    """Data on its way to the host, written piece by piece while things happen. `data`: all of it."""

    def __init__(self, line: Line, size_bytes: int, seed: int = 1) -> None:
        self.line = line
        self.data = marked(size_bytes, seed)
        self._written = 0

    def write(self, count: int | None = None) -> None:
        """The next `count` bytes, or the rest; as much as has room is sent meanwhile."""
        end = len(self.data) if count is None else min(self._written + count, len(self.data))
        self.line.so.write(self.data[self._written : end])
        self._written = end

    def until(self, acknowledged: int) -> None:
        """Until the host has so many bytes of the stream."""
        line = self.line
        line.network.run(
            lambda: line.inp.snd_una - line.start & 0xFFFF_FFFF >= acknowledged,
            f"{acknowledged} bytes acknowledged",
        )

    def check(self) -> None:
        """OpenSSL reads all that was written."""
        assert self.line.arrived() == self.data[: self._written]


def packets_of(line: Line) -> dict[str, int]:
    """What became of the packets of the connection's send tag, those that there were."""
    tag = line.network.stack.leaf_tag(line.so)
    assert tag is not None
    return {kind.name: count for kind, count in tag.packets.items() if count}


__all__ = ["NEAR", "Upload", "lagg_of", "move_route", "packets_of", "routed"]
