"""The rate limit of one flow, and the frames that it holds back."""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from tlsnic.device.packet.frames import Frame

HELD_BYTES: Final = 256 * 1024
"""Frames that a flow may have waiting before its next packet has to wait in the ring."""


@dataclass(slots=True, eq=False)
class Pace:
    """Rate limit of one flow, and what it holds back.

    Attributes:
        rate: bytes of frames per second; 0: no limit any more, everything is due.
        due_ns: when the next frame may leave.
        frames: what waits, with True on the last frame of each packet.
        held_bytes: bytes of these frames.
    """

    rate: int
    due_ns: int = 0
    frames: deque[tuple[Frame, bool]] = field(default_factory=deque)
    held_bytes: int = 0

    @property
    def full(self) -> bool:
        """The next packet has to wait."""
        return self.held_bytes >= HELD_BYTES
