"""What has arrived in order and was not read yet, in the pieces and with the marks of its packets."""

from __future__ import annotations

from collections import deque

from tlsnic.driver.tcp.source import Mark


class ReceiveQueue:
    """A `ReceiveSink` for `Connection.read`. Pieces of different marks are joined by `read` only."""

    __slots__ = ("_marks", "_pieces", "buffered", "capacity")

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.buffered = 0
        self._pieces: deque[bytes] = deque()
        self._marks: deque[Mark] = deque()

    def append(self, data: bytes, mark: Mark) -> None:
        """Take the next bytes of the stream."""
        self._pieces.append(data)
        self._marks.append(mark)
        self.buffered += len(data)

    def read(self, limit: int) -> bytes:
        """At most `limit` bytes in order; a negative limit: all."""
        pieces = self._pieces
        if not pieces:
            return b""
        if limit < 0 or limit >= self.buffered:
            data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            pieces.clear()
            self._marks.clear()
            self.buffered = 0
            return data
        return b"".join([piece for piece, _ in self.read_marked(limit)])

    def read_marked(self, limit: int) -> list[tuple[bytes, Mark]]:
        """The same in pieces, each with its mark."""
        pieces, marks = self._pieces, self._marks
        if limit < 0 or limit >= self.buffered:
            taken = list(zip(pieces, marks, strict=True))
            pieces.clear()
            marks.clear()
            self.buffered = 0
            return taken
        taken = []
        self.buffered -= limit
        while limit > 0:
            piece, mark = pieces.popleft(), marks.popleft()
            if len(piece) > limit:
                pieces.appendleft(piece[limit:])
                marks.appendleft(mark)
                piece = piece[:limit]
            taken.append((piece, mark))
            limit -= len(piece)
        return taken
