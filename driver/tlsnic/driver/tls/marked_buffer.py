"""Received bytes in order, each with its mark: whether the card has decrypted its packet."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable


class MarkedBuffer:
    """A queue of bytes. `size`: how many there are."""

    __slots__ = ("_pieces", "size")

    def __init__(self) -> None:
        self._pieces: deque[tuple[memoryview, bool]] = deque()
        self.size = 0

    def extend(self, pieces: Iterable[tuple[bytes, bool]]) -> None:
        """Append pieces with their marks, as `Connection.read_marked` gives them."""
        for data, mark in pieces:
            if data:
                self._pieces.append((memoryview(data), mark))
                self.size += len(data)

    def peek(self, count: int) -> bytes:
        """The first `count` bytes, which stay. There must be as many."""
        found = b""
        for data, _ in self._pieces:
            found += data[: count - len(found)]
            if len(found) == count:
                break
        return found

    def take(self, count: int) -> list[tuple[memoryview, bool]]:
        """Take the first `count` bytes out, in pieces with their marks. There must be as many."""
        pieces = self._pieces
        taken = []
        self.size -= count
        while count:
            data, mark = pieces.popleft()
            if len(data) > count:
                pieces.appendleft((data[count:], mark))
                data = data[:count]
            taken.append((data, mark))
            count -= len(data)
        return taken

    def clear(self) -> None:
        """Drop everything."""
        self._pieces.clear()
        self.size = 0
