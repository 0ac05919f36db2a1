"""Wires without another end: one keeps every frame, for tests; one keeps none, for benchmarks."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from tlsnic.device.packet.vnet import VnetHeader

from .base import Buffer, Sink, WireBase, frame_bytes


class SentFrame(NamedTuple):
    """A frame that was sent into a `MemoryWire`."""

    data: bytes
    vnet: VnetHeader | None
    at_ns: int


class MemoryWire(WireBase):
    """Collects what is sent in `sent`, and receives what is given to `inject()`."""

    def __init__(self, *, takes_super_frames: bool = False) -> None:
        super().__init__("memory")
        self.takes_super_frames = takes_super_frames
        self.receive_super_frames = True
        self.sent: list[SentFrame] = []
        self.blocked = False
        self.link_up = True
        self._injected: deque[tuple[bytes, VnetHeader | None]] = deque()

    @property
    def wants_write(self) -> bool:
        return self.blocked

    def inject(self, frame: Buffer, vnet: VnetHeader | None = None) -> None:
        """Put a frame on the wire towards the NIC; it is copied."""
        self._injected.append((bytes(frame), vnet))

    def set_link(self, up: bool) -> None:
        """Plug or unplug the cable."""
        self._set_link(up, "set-by-user", f"link set {'up' if up else 'down'}")

    def set_receive_super_frames(self, allowed: bool) -> None:
        self.receive_super_frames = allowed

    def send(self, parts: Sequence[Buffer], vnet: VnetHeader | None, now_ns: int) -> bool:
        length = frame_bytes(parts)
        if self.blocked:
            return False
        if not self.link_up:
            self.counters.tx_dropped_link_down += 1
            return True
        self.sent.append(SentFrame(b"".join(parts), vnet, now_ns))
        self.counters.tx_frames += 1
        self.counters.tx_bytes += length
        return True

    def receive(self, sink: Sink, budget: int, now_ns: int) -> int:
        count = 0
        while self._injected and count < budget:
            frame, vnet = self._injected.popleft()
            count += 1
            self.counters.rx_frames += 1
            self.counters.rx_bytes += len(frame)
            sink(memoryview(frame), vnet)
        return count

    def next_deadline_ns(self) -> int | None:
        return 0 if self._injected else None


class NullWire(WireBase):
    """Swallows and counts what is sent, and never receives anything."""

    def __init__(self) -> None:
        super().__init__("null")
        self.takes_super_frames = True
        self.link_up = True

    def send(self, parts: Sequence[Buffer], vnet: VnetHeader | None, now_ns: int) -> bool:
        counters = self.counters
        counters.tx_bytes += frame_bytes(parts)
        counters.tx_frames += 1
        return True

    def receive(self, sink: Sink, budget: int, now_ns: int) -> int:
        return 0
