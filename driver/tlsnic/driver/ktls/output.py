"""IP output: the route, the check of the send tag, the neighbour's Ethernet address.

`ip_output_send` is what keeps records in clear off the wire. They go down with their session's send
tag, and only where that tag is of the interface that the route leads to; every interface on the way
down compares again. Otherwise the packet is dropped with EAGAIN, and a task makes the tag anew.
"""

from __future__ import annotations

from collections import deque
from errno import EAGAIN, EHOSTUNREACH
from typing import TYPE_CHECKING

from tlsnic.driver.ktls.ifnet import Ifnet, Packet
from tlsnic.driver.ktls.ktls_ifnet import ktls_output_eagain
from tlsnic.driver.ktls.session import KtlsSession
from tlsnic.driver.ktls.snd_tag import SndTag
from tlsnic.driver.tcp.outgoing import Outgoing
from tlsnic.driver.tcp.source import Chain

if TYPE_CHECKING:
    from tlsnic.driver.ktls.pcb import Inpcb

_HELD_MOST = 16  # packets that wait for one neighbour (net.link.ether.inet.maxhold)
_ASK_EVERY_NS = 250_000_000
_ASK_TIMES = 5
_MACS_BYTES = 12


def ip_output(inp: Inpcb, outgoing: Outgoing) -> None:
    """Send a packet of a connection by its route now. Raises OSError when it was dropped:
    EHOSTUNREACH without a route, EAGAIN as `ip_output_send`, and as `Ifnet.if_transmit`."""
    hop = inp.route()
    if hop is None:
        _free(outgoing)
        raise OSError(EHOSTUNREACH, "no route")
    ip_output_send(inp, hop.ifp, hop.gateway or inp.remote_address, outgoing)


def ip_output_send(inp: Inpcb, ifp: Ifnet, neighbour: bytes, outgoing: Outgoing) -> None:
    """Send it by an interface. EAGAIN: its session has no send tag on this interface; the task
    that makes one is scheduled."""
    payload = outgoing.payload
    tls = payload.tls if isinstance(payload, Chain) else None
    tag: SndTag | None = None
    if tls is not None:
        assert isinstance(tls, KtlsSession)
        found = tls.snd_tag
        tag = found if isinstance(found, SndTag) else None
        # Without a tag there was a mismatch before, and the new one is not there yet.
        if tag is None or tag.ifp is not ifp:
            _free(outgoing)
            ktls_output_eagain(inp, tls)
            raise OSError(EAGAIN, f"the send tag is not one of {ifp.if_xname}")
    ether_output(inp, tls, ifp, neighbour, Packet(outgoing, tag, inp.inp_flowid))


def ether_output(
    inp: Inpcb, tls: KtlsSession | None, ifp: Ifnet, neighbour: bytes, packet: Packet
) -> None:
    """Put the Ethernet addresses in, and transmit; hold the packet while the neighbour's is asked
    for. Raises as `Ifnet.if_transmit`."""
    assert ifp.neighbours is not None
    mac = ifp.neighbours.lookup(neighbour)
    if mac is None:
        inp.stack.resolver.hold(inp, tls, ifp, neighbour, packet)
        return
    outgoing = packet.outgoing
    packet.outgoing = outgoing._replace(
        headers=mac + ifp.if_lladdr + outgoing.headers[_MACS_BYTES:]
    )
    try:
        ifp.if_transmit(packet)
    except OSError as error:
        if error.errno == EAGAIN and tls is not None:
            ktls_output_eagain(inp, tls)
        raise


def _free(outgoing: Outgoing) -> None:
    payload = outgoing.payload
    if isinstance(payload, Chain) and payload.done is not None:
        payload.done()


class _Waiting:
    """What waits for one neighbour (struct llentry)."""

    __slots__ = ("asked", "at_ns", "packets")

    def __init__(self) -> None:
        self.asked = 0
        self.at_ns = 0
        self.packets: deque[tuple[Inpcb, KtlsSession | None, Packet]] = deque()


class Resolver:
    """Packets that wait for Ethernet addresses of neighbours. `dropped`: how many never went."""

    def __init__(self) -> None:
        self.dropped = 0
        self._waiting: dict[tuple[Ifnet, bytes], _Waiting] = {}

    def hold(
        self, inp: Inpcb, tls: KtlsSession | None, ifp: Ifnet, neighbour: bytes, packet: Packet
    ) -> None:
        """Keep a packet until the neighbour's address is known; the oldest goes if there are many."""
        entry = self._waiting.get((ifp, neighbour))
        if entry is None:
            entry = self._waiting[ifp, neighbour] = _Waiting()
        if len(entry.packets) >= _HELD_MOST:
            self._drop(entry)
        entry.packets.append((inp, tls, packet))
        self.ask(inp.stack.now_ns())

    def learned(self, ifp: Ifnet) -> None:
        """The neighbours of an interface may have become known: send what waits for them."""
        assert ifp.neighbours is not None
        for key in [key for key in self._waiting if key[0] is ifp]:
            if ifp.neighbours.lookup(key[1]) is None:
                continue
            entry = self._waiting.pop(key)
            for inp, tls, packet in entry.packets:
                try:
                    ether_output(inp, tls, ifp, key[1], packet)
                except OSError:
                    self.dropped += 1

    def ask(self, now_ns: int) -> None:
        """Send the questions that are due; give neighbours up that never answer."""
        for key, entry in list(self._waiting.items()):
            if now_ns < entry.at_ns and entry.asked:
                continue
            ifp, neighbour = key
            if entry.asked == _ASK_TIMES:
                while entry.packets:
                    self._drop(entry)
                del self._waiting[key]
                continue
            entry.asked += 1
            entry.at_ns = now_ns + _ASK_EVERY_NS
            self.refresh(ifp, neighbour)

    def refresh(self, ifp: Ifnet, neighbour: bytes) -> None:
        """Ask for a neighbour's address, once; what is known of it stays until it answers."""
        local = next((own for own in ifp.addresses if len(own) == len(neighbour)), None)
        if local is not None and ifp.neighbours is not None:
            ifp.output_frame(ifp.neighbours.request(local, neighbour))

    def next_deadline_ns(self) -> int | None:
        """When `ask` is due."""
        return min((entry.at_ns for entry in self._waiting.values()), default=None)

    def _drop(self, entry: _Waiting) -> None:
        entry.packets.popleft()[2].free()
        self.dropped += 1
