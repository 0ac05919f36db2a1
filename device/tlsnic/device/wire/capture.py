"""A stage that writes every frame of a wire, both directions, to a pcapng file.

A frame is written as it passes: a super-frame whole, with its checksum undone, as tcpdump on the
sending host shows it. A frame that was refused, or sent while the link is down, is not written.
When the file cannot be written any more (the disk is full), capturing ends with a diagnostic and
the wire works on.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from tlsnic.device.packet.vnet import VnetHeader

from .base import Buffer, Sink, Wire, WireError
from .pcapng import Direction, PcapngWriter
from .stage import Stage


def _discard(frame: memoryview, vnet: VnetHeader | None) -> None:
    raise AssertionError("a frame came outside of receive()")


class CaptureStage(Stage):
    """Captures what passes between the NIC and the wire below.

    Args:
        inner: the wire, owned from now on.
        path: the pcapng file, made or emptied.
        epoch_ns: time since 1970 at which the caller's clock was 0. None: chosen at the first frame
            so that its timestamp is the wall clock's.

    Raises:
        WireError: the file cannot be made; `inner` then stays the caller's.
    """

    def __init__(self, inner: Wire, path: str, *, epoch_ns: int | None = None) -> None:
        super().__init__(inner, f"capture:{path}")
        self._writer = PcapngWriter(path)
        self._epoch_ns = epoch_ns
        self._sink: Sink = _discard
        self._now_ns = 0

    def send(self, parts: Sequence[Buffer], vnet: VnetHeader | None, now_ns: int) -> bool:
        up = self.inner.link_up
        if not self.inner.send(parts, vnet, now_ns):
            return False
        if up:
            self._write(parts, now_ns, Direction.OUTBOUND)
        return True

    def receive(self, sink: Sink, budget: int, now_ns: int) -> int:
        self._sink = sink
        self._now_ns = now_ns
        count = self.inner.receive(self._received, budget, now_ns)
        if not count:
            self._flush_file()  # idle: let a reader of the file see everything
        return count

    def _received(self, frame: memoryview, vnet: VnetHeader | None) -> None:
        self._write((frame,), self._now_ns, Direction.INBOUND)
        self._sink(frame, vnet)

    def _write(self, parts: Sequence[Buffer], now_ns: int, direction: Direction) -> None:
        if self._writer.closed:
            return
        if self._epoch_ns is None:
            self._epoch_ns = time.time_ns() - now_ns
        try:
            self._writer.write(parts, now_ns + self._epoch_ns, direction)
        except WireError as error:
            self._diagnose("capture-ended", str(error))

    def _flush_file(self) -> None:
        try:
            self._writer.flush()
        except WireError as error:
            self._diagnose("capture-ended", str(error))

    def close(self) -> None:
        self.inner.close()
        self._flush_file()
        self._writer.close()
