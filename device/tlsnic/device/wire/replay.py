"""A pcapng file as the wire: its frames are received, and what is sent goes to another file.

By default the frames play that the capture marks as inbound or does not mark, so that a capture of
one run gives the NIC the same input again. Frames that were cut short when captured, are too long,
or are not Ethernet cannot be played: they are counted in `skipped_frames`, and the first is
diagnosed.
"""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Sequence
from typing import BinaryIO

from tlsnic.device.packet.vnet import VnetHeader

from .base import MAX_FRAME_BYTES, Buffer, Sink, WireBase, WireError, frame_bytes
from .pcapng import LINKTYPE_ETHERNET, Direction, PcapngWriter
from .pcapng_reader import CapturedFrame, PcapngReader


class Pace(enum.Enum):
    """When the frames of a replay arrive."""

    RECORDED = "recorded"
    """In the recorded distances, the first one at once."""
    FAST = "fast"
    """As fast as they are taken."""


class Play(enum.Enum):
    """Which frames of a capture are played."""

    INBOUND = "inbound"
    """Those the capture does not mark as outbound."""
    OUTBOUND = "outbound"
    """Those the capture does not mark as inbound: the other side's view."""
    ALL = "all"


_LEFT_OUT = {
    Play.INBOUND: Direction.OUTBOUND,
    Play.OUTBOUND: Direction.INBOUND,
    Play.ALL: None,
}


class PcapngWire(WireBase):
    """Plays `path`; the link stays up at its end, which a diagnostic `replay-finished` reports.

    Args:
        path: the pcapng file to play.
        out: pcapng file for what is sent, in the time of the caller's clock; None: only counted.
        pace: when the frames arrive.
        play: which frames arrive.

    Raises:
        WireError: a file cannot be opened, or the capture is no pcapng.
    """

    def __init__(
        self,
        path: str,
        *,
        out: str | None = None,
        pace: Pace = Pace.RECORDED,
        play: Play = Play.INBOUND,
    ) -> None:
        super().__init__(f"pcapng:{path}")
        self.skipped_frames = 0
        self.finished = False
        self._pace = pace
        self._left_out = _LEFT_OUT[play]
        self._shift_ns: int | None = None
        self._next: CapturedFrame | None = None
        with contextlib.ExitStack() as opened:
            try:
                file: BinaryIO = opened.enter_context(open(path, "rb"))
            except OSError as error:
                raise WireError(f"cannot read capture {path}: {error.strerror}") from error
            self._reader = PcapngReader(file, path)
            # The first frame is read here: what is no pcapng at all is refused at once.
            self._next = self._read_playable()
            self._writer = opened.enter_context(PcapngWriter(out)) if out is not None else None
            self._opened = opened.pop_all()
        self.link_up = True
        self._advance_deadline()

    def _read_playable(self) -> CapturedFrame | None:
        for frame in self._reader:
            if frame.direction == self._left_out and self._left_out is not None:
                continue
            if (
                frame.link_type == LINKTYPE_ETHERNET
                and len(frame.data) == frame.original_bytes
                and 0 < frame.original_bytes <= MAX_FRAME_BYTES
            ):
                return frame
            self.skipped_frames += 1
            if self.skipped_frames == 1:
                self._diagnose(
                    "replay-frame-skipped",
                    f"{self.name}: a frame of {frame.original_bytes} bytes, captured"
                    f" {len(frame.data)}, link type {frame.link_type}, cannot be played",
                )
        return None

    def _advance(self) -> None:
        try:
            self._next = self._read_playable()
        except WireError as error:
            self._next = None
            self._diagnose("replay-damaged", str(error))
        self._advance_deadline()

    def _advance_deadline(self) -> None:
        if self._next is None and not self.finished:
            self.finished = True
            self._diagnose("replay-finished", f"{self.name}: all frames have been played")

    def _due_ns(self) -> int:
        """When the next frame is due on the caller's clock; 0: at once."""
        assert self._next is not None
        recorded_ns = self._next.timestamp_ns
        if self._pace is Pace.FAST or recorded_ns is None or self._shift_ns is None:
            return 0
        return recorded_ns + self._shift_ns

    def send(self, parts: Sequence[Buffer], vnet: VnetHeader | None, now_ns: int) -> bool:
        length = frame_bytes(parts)
        if vnet is not None:
            raise ValueError(f"{self.name} carries no virtio-net header")
        if self._writer is not None and not self._writer.closed:
            try:
                self._writer.write(parts, now_ns, Direction.OUTBOUND)
            except WireError as error:
                self._diagnose("capture-ended", str(error))
        self.counters.tx_frames += 1
        self.counters.tx_bytes += length
        return True

    def receive(self, sink: Sink, budget: int, now_ns: int) -> int:
        count = 0
        while self._next is not None and count < budget and self._due_ns() <= now_ns:
            frame = self._next
            if self._shift_ns is None and frame.timestamp_ns is not None:
                self._shift_ns = now_ns - frame.timestamp_ns
            self._advance()
            count += 1
            self.counters.rx_frames += 1
            self.counters.rx_bytes += len(frame.data)
            sink(memoryview(frame.data), None)
        return count

    def next_deadline_ns(self) -> int | None:
        return None if self._next is None else self._due_ns()

    def close(self) -> None:
        super().close()
        self._next = None
        try:
            self._opened.close()
        except WireError as error:
            self._diagnose("capture-ended", str(error))
