"""Looks for what was to be encrypted in captured frames."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from tlsnic.device.wire import PcapngReader
from tlsnic.device.wire.pcapng import Direction

_WINDOW: Final = 8
_HEADERS: Final = 66
"""Ethernet, IPv4, TCP with timestamps: nothing before it is payload."""
_LEAST: Final = _HEADERS + 2 * _WINDOW


class ClearText:
    """Knows some contents, at random like."""

    def __init__(self, contents: Iterable[bytes]) -> None:
        self._windows = {
            content[at : at + _WINDOW]
            for content in contents
            for at in range(0, len(content) - _WINDOW + 1, _WINDOW)
        }

    def is_in(self, frame: bytes) -> bool:
        """Whether a frame has 15 bytes of the contents in one piece at the beginning of its payload, in its
        middle or at its end."""
        if len(frame) < _LEAST:
            return False
        last = len(frame) - 2 * _WINDOW + 1
        for start in (_HEADERS, (_HEADERS + last) // 2, last):
            for at in range(start, start + _WINDOW):
                if frame[at : at + _WINDOW] in self._windows:
                    return True
        return False

    def count(self, capture: Path) -> tuple[int, int]:
        """Frames of a capture that the card sent with payload, and how many of them have contents."""
        sent = clear = 0
        with capture.open("rb") as stream:
            for frame in PcapngReader(stream, capture.name):
                if frame.direction is Direction.OUTBOUND and len(frame.data) >= _LEAST:
                    sent += 1
                    clear += self.is_in(frame.data)
        return sent, clear
