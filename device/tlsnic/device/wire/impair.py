"""A stage that makes a wire bad: loss, reordering, duplication, corruption, delay, a rate limit.

Each direction has its own `Impairments`, changeable at any time; what they do, and why it is
repeatable, is in `lane`.

Frame by frame: while loss, reordering, duplication, corruption, `drop` or `rule` is on, the stage
takes no super-frames for sending (the NIC cuts them first), and for receiving it has the wire
below switch super-frames off (a TAP's segmentation and checksum offload). A super-frame that was
already under way at the change is treated as one frame and counted in `super_frames`.
"""

from __future__ import annotations

from collections.abc import Sequence

from tlsnic.device.packet.vnet import VnetHeader

from .base import Buffer, Sink, Wire, frame_bytes
from .lane import NO_IMPAIRMENTS, ImpairmentCounters, Impairments, Lane
from .stage import Stage


class ImpairmentStage(Stage):
    """A bad wire.

    Args:
        inner: the wire, owned from now on.
        seed: chooses all random streams.
        tx: what happens to frames the NIC sends.
        rx: what happens to frames the NIC receives.
    """

    def __init__(
        self,
        inner: Wire,
        *,
        seed: int = 0,
        tx: Impairments = NO_IMPAIRMENTS,
        rx: Impairments = NO_IMPAIRMENTS,
    ) -> None:
        super().__init__(inner, "impair")
        self._tx = Lane(seed, "tx")
        self._rx = Lane(seed, "rx")
        self._receive_super_frames = True
        self._sink_now_ns = 0
        self._sink: Sink | None = None
        self._passed = 0
        self.impair(tx=tx, rx=rx)

    @property
    def tx(self) -> Impairments:
        """The settings for frames the NIC sends."""
        return self._tx.settings

    @property
    def rx(self) -> Impairments:
        """The settings for frames the NIC receives."""
        return self._rx.settings

    @property
    def tx_counters(self) -> ImpairmentCounters:
        return self._tx.counters

    @property
    def rx_counters(self) -> ImpairmentCounters:
        return self._rx.counters

    def impair(self, *, tx: Impairments | None = None, rx: Impairments | None = None) -> None:
        """Change the settings of one or both directions; frames already in a lane keep theirs."""
        if tx is not None:
            self._tx.settings = tx
        if rx is not None:
            self._rx.settings = rx
            self._switch_super_frames()

    def reseed(self, seed: int) -> None:
        """Begin the random streams of both directions anew; frames already in a lane keep theirs."""
        self._tx.reseed(seed)
        self._rx.reseed(seed)

    @property
    def passes_through(self) -> bool:
        """Nothing is done to frames, and none is in a lane: the stage might as well be away."""
        return self._tx.passes_through and self._rx.passes_through

    def _switch_super_frames(self) -> None:
        allowed = self._receive_super_frames and not self._rx.settings.hits_single_frames
        self.inner.set_receive_super_frames(allowed)

    @property
    def takes_super_frames(self) -> bool:
        return self.inner.takes_super_frames and not self._tx.settings.hits_single_frames

    def set_receive_super_frames(self, allowed: bool) -> None:
        self._receive_super_frames = allowed
        self._switch_super_frames()

    def send(self, parts: Sequence[Buffer], vnet: VnetHeader | None, now_ns: int) -> bool:
        lane = self._tx
        if self.inner.wants_write:
            self.inner.flush(now_ns)
            if self.inner.wants_write:
                return False
        if lane.passes_through:
            if not self.inner.send(parts, vnet, now_ns):
                return False
            lane.skip()
            return True
        frame_bytes(parts)
        lane.push(b"".join(parts), vnet, now_ns)
        self._send_due(now_ns)
        return True

    def _send_due(self, now_ns: int) -> None:
        while (frame := self._tx.peek(now_ns)) is not None:
            if not self.inner.send((frame[0],), frame[1], now_ns):
                return
            self._tx.pop()

    def receive(self, sink: Sink, budget: int, now_ns: int) -> int:
        self._send_due(now_ns)
        lane = self._rx
        self._sink = sink
        self._sink_now_ns = now_ns
        self._passed = 0
        count = self._give_due(sink, budget, now_ns)
        if count < budget:
            self.inner.receive(self._received, budget - count, now_ns)
            count += self._passed
            if not lane.passes_through:
                count += self._give_due(sink, budget - count, now_ns)
        return count

    def _received(self, frame: memoryview, vnet: VnetHeader | None) -> None:
        if self._rx.passes_through:
            self._rx.skip()
            self._passed += 1
            assert self._sink is not None
            self._sink(frame, vnet)
        else:
            self._rx.push(bytes(frame), vnet, self._sink_now_ns)

    def _give_due(self, sink: Sink, budget: int, now_ns: int) -> int:
        count = 0
        while count < budget and (frame := self._rx.peek(now_ns)) is not None:
            self._rx.pop()
            count += 1
            sink(memoryview(frame[0]), frame[1])
        return count

    def flush(self, now_ns: int) -> None:
        self.inner.flush(now_ns)
        self._send_due(now_ns)

    def next_deadline_ns(self) -> int | None:
        due = [self.inner.next_deadline_ns(), self._rx.next_deadline_ns()]
        # A frame the wire below refuses goes when that wire is writable again, not at its time.
        if not self.inner.wants_write:
            due.append(self._tx.next_deadline_ns())
        return min((at_ns for at_ns in due if at_ns is not None), default=None)
