"""What was written and not acknowledged, in the pieces it was written in, by reference.

A piece must not change until it is acknowledged: a retransmit sends the same bytes.
"""

from __future__ import annotations

from bisect import bisect_right

from tlsnic.driver.headers import ReadableBuffer

_COMPACT_AT = 256


class SendBuffer:
    """Bytes at the positions `start` to `end`, all of them ready: a `SendSource`."""

    __slots__ = ("_gone", "_pieces", "_starts", "end", "ready_end", "start")

    def __init__(self, start: int) -> None:
        self.start = start
        self.end = start
        self.ready_end = start
        self._pieces: list[memoryview] = []
        self._starts: list[int] = []
        self._gone = 0  # pieces at the front that are released

    def __len__(self) -> int:
        return self.end - self.start

    def append(self, data: ReadableBuffer) -> None:
        """Put `data` at the end. BufferError when it is not contiguous bytes."""
        view = memoryview(data)
        if view.format != "B" or view.ndim != 1:
            view = view.cast("B")
        if not len(view):
            return
        self._pieces.append(view)
        self._starts.append(self.end)
        self.end += len(view)
        self.ready_end = self.end

    def read(self, start: int, end: int) -> bytes | memoryview:
        """The bytes at [start, end): a view where they lie in one piece, else a copy."""
        starts, pieces = self._starts, self._pieces
        index = bisect_right(starts, start, self._gone) - 1
        base = starts[index]
        piece = pieces[index]
        if end <= base + len(piece):
            return piece[start - base : end - base]
        parts = [piece[start - base :]]
        index += 1
        while index < len(starts) and starts[index] < end:
            parts.append(pieces[index][: end - starts[index]])
            index += 1
        return b"".join(parts)

    def boundary(self, start: int, end: int) -> int:
        """`end`: any bytes may share a packet."""
        return end

    def release(self, position: int) -> None:
        """Everything below `position` is acknowledged: let go of the pieces that lie below."""
        self.start = max(self.start, min(position, self.end))
        gone, pieces, starts = self._gone, self._pieces, self._starts
        while gone < len(pieces) and starts[gone] + len(pieces[gone]) <= position:
            pieces[gone] = memoryview(b"")
            gone += 1
        if gone >= _COMPACT_AT or gone == len(pieces):
            del pieces[:gone], starts[:gone]
            gone = 0
        self._gone = gone
