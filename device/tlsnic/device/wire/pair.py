"""Two ports of one process, back to back: what one sends, the other receives.

The queue of each direction is bounded. A full one refuses the frame, so that nothing is lost
between two ports however slowly one of them is served.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from tlsnic.device.packet.vnet import VnetHeader

from .base import Buffer, Sink, WireBase, frame_bytes

DEFAULT_QUEUE_FRAMES = 512


class PairWire(WireBase):
    """One end of a pair; made by `open_pair()`."""

    def __init__(self, name: str, queue_frames: int, super_frames: bool) -> None:
        super().__init__(name)
        self.takes_super_frames = super_frames
        self._queue_frames = queue_frames
        self._super_frames = super_frames
        self._inbox: deque[tuple[bytes, VnetHeader | None]] = deque()
        self._peer: PairWire | None = None
        self._refused = False

    def _join(self, peer: PairWire) -> None:
        self._peer = peer
        self.link_up = True

    @property
    def wants_write(self) -> bool:
        return self._peer is not None and len(self._peer._inbox) >= self._queue_frames

    def set_receive_super_frames(self, allowed: bool) -> None:
        if self._peer is not None:
            self._peer.takes_super_frames = self._super_frames and allowed

    def send(self, parts: Sequence[Buffer], vnet: VnetHeader | None, now_ns: int) -> bool:
        length = frame_bytes(parts)
        if vnet is not None and not self._super_frames:
            raise ValueError(f"{self.name} carries no virtio-net header")
        peer = self._peer
        if peer is None:
            self.counters.tx_dropped_link_down += 1
            return True
        if len(peer._inbox) >= self._queue_frames:
            self._refused = True
            return False
        self._refused = False
        peer._inbox.append((b"".join(parts), vnet))
        self.counters.tx_frames += 1
        self.counters.tx_bytes += length
        return True

    def receive(self, sink: Sink, budget: int, now_ns: int) -> int:
        self.flush(now_ns)
        inbox = self._inbox
        count = 0
        length = 0
        while inbox and count < budget:
            frame, vnet = inbox.popleft()
            count += 1
            length += len(frame)
            sink(memoryview(frame), vnet)
        self.counters.rx_frames += count
        self.counters.rx_bytes += length
        return count

    def flush(self, now_ns: int) -> None:
        if not self.wants_write:
            self._refused = False

    def next_deadline_ns(self) -> int | None:
        # A refused sender has no descriptor to wake it: it is due once its peer made room.
        return 0 if self._inbox or (self._refused and not self.wants_write) else None

    def close(self) -> None:
        peer = self._peer
        super().close()
        if peer is not None:
            self._peer = None
            self._inbox.clear()
            peer._peer = None
            peer._set_link(False, "peer-closed", f"the other end of {self.name} was closed")


def open_pair(
    name: str = "pair",
    *,
    queue_frames: int = DEFAULT_QUEUE_FRAMES,
    super_frames: bool = True,
) -> tuple[PairWire, PairWire]:
    """Make both ends of a wire inside this process.

    Args:
        name: for messages.
        queue_frames: frames under way per direction before `send()` refuses.
        super_frames: whether frames beyond the MTU may pass with their `VnetHeader`.
    """
    if queue_frames < 1:
        raise ValueError("a pair queues at least one frame")
    ends = PairWire(name, queue_frames, super_frames), PairWire(name, queue_frames, super_frames)
    ends[0]._join(ends[1])
    ends[1]._join(ends[0])
    return ends
