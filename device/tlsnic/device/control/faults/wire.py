"""Faults on the wire: single frames, forged records, a link that flaps, a wire that takes nothing."""

from collections.abc import Sequence
from random import Random
from typing import Any, Final

from tlsnic.device.control.card import Card
from tlsnic.device.control.faults.base import AFTER, COUNT, MS, SIDE, Fault
from tlsnic.device.control.protocol import Kind, Param
from tlsnic.device.packet.checksum import verify_rx
from tlsnic.device.packet.headers import PROTOCOL_TCP, flow_key, parse
from tlsnic.device.packet.vnet import VnetHeader
from tlsnic.device.tls.table import wire_key
from tlsnic.device.wire import Buffer, Sink, Wire
from tlsnic.device.wire.stage import Stage

_VLAN_ID: Final = 0xFFF
_TCP_CHECKSUM: Final = 16
HANDLE: Final = Param("handle", Kind.INTEGER, "only this flow; null: any", None, 0, 0xFFFF_FFFF)


class FaultyWire(Stage):
    """A wire with faults; on top only while there are some."""

    def __init__(self, inner: Wire, faults: list[Fault]) -> None:
        super().__init__(inner, "faults")
        self._faults = faults
        self._receive_super_frames = True

    def switch_super_frames(self) -> None:
        """Faults came or went."""
        single = any(fault.hits_frames(False) for fault in self._faults)
        self.inner.set_receive_super_frames(self._receive_super_frames and not single)

    def set_receive_super_frames(self, allowed: bool) -> None:
        self._receive_super_frames = allowed
        self.switch_super_frames()

    @property
    def takes_super_frames(self) -> bool:
        single = any(fault.hits_frames(True) for fault in self._faults)
        return self.inner.takes_super_frames and not single

    @property
    def link_up(self) -> bool:
        return self.inner.link_up and not self._down

    @property
    def _down(self) -> bool:
        return any(fault.link_down for fault in self._faults)

    @property
    def wants_write(self) -> bool:
        return self.inner.wants_write or any(fault.stalled for fault in self._faults)

    def send(self, parts: Sequence[Buffer], vnet: VnetHeader | None, now_ns: int) -> bool:
        if self._down:
            self.counters.tx_dropped_link_down += 1
            return True
        if self.inner.wants_write:
            self.inner.flush(now_ns)
        if self.wants_write:
            return False
        frame = self._through(b"".join(parts), True)
        return frame is None or self.inner.send((frame,), vnet, now_ns)

    def receive(self, sink: Sink, budget: int, now_ns: int) -> int:
        given = 0

        def take(view: memoryview, vnet: VnetHeader | None) -> None:
            nonlocal given
            frame = None if self._down else self._through(bytes(view), False)
            if frame is not None:
                given += 1
                sink(memoryview(frame), vnet)

        self.inner.receive(take, budget, now_ns)
        return given

    def _through(self, frame: bytes, sent: bool) -> bytes | None:
        for fault in self._faults:
            passed = fault.on_frame(frame, sent)
            if passed is None:
                return None
            frame = passed
        return frame


class _FrameFault(Fault):
    """A fault that hits single frames of one side."""

    acts_on_wire = True

    def hits_frames(self, sent: bool) -> bool:
        return sent is (self.settings.get("side") == "tx")


class DropFrames(_FrameFault):
    """Frames that get lost."""

    NAME = "drop_frames"
    WHAT = "frames are lost between the card and its wire"
    SEEN = "nothing of them; later duplicate ACKs, retransmissions, a resync of the TLS flow"
    MUST = "what its TCP does; with TLS offload, retransmit with presync, and answer questions"
    PARAMS = (SIDE, COUNT, AFTER)

    def on_frame(self, frame: bytes, sent: bool) -> bytes | None:
        return None if self.hits_frames(sent) and self.act() else frame


class CorruptFrame(_FrameFault):
    """Frames with a bit that is wrong."""

    NAME = "corrupt_frame"
    WHAT = "one bit of a frame is inverted, and no checksum is corrected"
    SEEN = (
        "received: IP_CHECKSUM_BAD or L4_CHECKSUM_BAD, and the TLS flow has not looked at it; in the "
        "Ethernet header: dropped by a filter, or of no known protocol"
    )
    MUST = "drop it, or leave it to the stack's own check; never offload what is not verified"
    PARAMS = (
        SIDE,
        COUNT,
        AFTER,
        Param(
            "byte", Kind.INTEGER, "which, modulo the length; null: chosen by seed", None, 0, 65535
        ),
        Param("seed", Kind.INTEGER, "chooses bytes and bits", 0),
    )

    def __init__(self, card: Card, settings: dict[str, Any]) -> None:
        super().__init__(card, settings)
        self._random = Random(f"corrupt_frame/{settings['seed']}")

    def on_frame(self, frame: bytes, sent: bool) -> bytes | None:
        if not self.hits_frames(sent) or not self.act():
            return frame
        at = self.settings["byte"]
        at = self._random.randrange(len(frame)) if at is None else at % len(frame)
        return _inverted(frame, at, 1 << self._random.randrange(8))


class CorruptTag(_FrameFault):
    """Records that are forged."""

    NAME = "corrupt_tag"
    WHAT = (
        "a protected byte of a received record is changed and the TCP checksum made right again: the "
        "record's tag does not fit. Only flows in OFFLOAD, and packets that come in order, are hit"
    )
    SEEN = (
        "a completion with AUTH_FAILED, event FLOW_ERROR, diagnostic TLS_AUTH; the flow is HALTED and "
        "its packets come as on the wire"
    )
    MUST = "give the record to the stack as it came, which finds bad_record_mac and ends the connection"
    PARAMS = (COUNT, AFTER, HANDLE)

    def on_frame(self, frame: bytes, sent: bool) -> bytes | None:
        if sent:
            return frame
        at = self._protected(frame)
        if at is None or not self.act():
            return frame
        forged = bytearray(_inverted(frame, at, 1))
        headers = parse(frame)
        field = headers.l4 + _TCP_CHECKSUM
        forged[field : field + 2] = _mended(
            frame[field : field + 2], at - headers.l4, frame[at], forged[at]
        )
        return bytes(forged)

    def _protected(self, frame: bytes) -> int | None:
        """Offset of a byte that the tag of the record at hand protects."""
        headers = parse(frame)
        if headers.protocol != PROTOCOL_TCP or not headers.l4_bytes or headers.fault is not None:
            return None
        tci = headers.vlan_tci
        key = flow_key(frame, headers)
        flow = self.card.nic.flows.receivers.get(
            key if tci is None else wire_key(key, tci & _VLAN_ID)
        )
        if flow is None or self.settings["handle"] not in (None, flow.handle):
            return None
        left = flow.insight.header_left
        if left is None or headers.tcp_seq != flow.sequence:
            return None
        at = headers.payload + left
        good = verify_rx(frame, headers).verified
        return at if good and at < headers.end else None


class LinkFlap(Fault):
    """A link that goes down."""

    NAME = "link_flap"
    WHAT = "the cable is pulled out, and put back when it is over"
    SEEN = "STATUS.LINK_UP and event LINK_CHANGE; packets are completed with LINK_DOWN"
    MUST = "tell its stack, stop sending, free what comes back, and go on when the link is up"
    PARAMS = (Param("ms", Kind.INTEGER, "milliseconds; 0: until cleared", 100, 0, 3_600_000),)
    acts_on_wire = True

    @property
    def link_down(self) -> bool:
        return not self.over


class StallWire(Fault):
    """A wire that takes nothing."""

    NAME = "stall_wire"
    WHAT = "the wire takes no frames (a switch that sends PAUSE)"
    SEEN = "TX_WIRE_BUSY rises, HEAD stays, transmit completions do not come; receive works"
    MUST = (
        "stop its queues when the rings are full, wake them later, and not reset the card too soon"
    )
    PARAMS = (MS,)
    acts_on_wire = True

    @property
    def stalled(self) -> bool:
        return not self.over


def _inverted(frame: bytes, at: int, bits: int) -> bytes:
    changed = bytearray(frame)
    changed[at] ^= bits
    return bytes(changed)


def _mended(checksum: bytes, offset: int, old: int, new: int) -> bytes:
    """RFC 1624, equation 3, for one byte at `offset` in what is summed."""
    shift = 0 if offset & 1 else 8
    total = (
        (~int.from_bytes(checksum, "big") & 0xFFFF) + (~(old << shift) & 0xFFFF) + (new << shift)
    )
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return (~total & 0xFFFF).to_bytes(2, "big")
