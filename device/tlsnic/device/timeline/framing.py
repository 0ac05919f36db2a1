"""Where the records of a stream begin and end, from the headers that pass on the wire.

Record headers are in clear (RFC 8446 section 5.1, RFC 5246 section 6.2.1). From a known boundary
their lengths lead from one to the next, through gaps inside of records too. Behind a header that
was never seen, or where the capture began in mid-stream, a boundary is searched for: bytes that can
be a header, whose length leads to another one, and so on.
"""

from __future__ import annotations

import re
from bisect import bisect_right, insort
from struct import Struct
from typing import Final, NamedTuple

from tlsnic.abi.suites import HEADER_BYTES, MAX_PLAINTEXT

from .model import Record

_HEADER: Final = Struct(">BHH")
_CONTENT_TYPES: Final = range(20, 25)
_VERSIONS: Final = range(0x0301, 0x0304)
_MAX_LENGTH: Final = MAX_PLAINTEXT + 2048  # RFC 5246 section 6.2.3
_CANDIDATE: Final = re.compile(rb"(?s)[\x14-\x18]\x03[\x01-\x03][\x00-\x48]")
_CHAIN: Final = 3
"""Headers that must lead to each other for a boundary to be believed."""


class _Bytes(NamedTuple):
    begin: int
    end: int
    data: memoryview


class Framing:
    """Takes bytes in any order, each position once, and finds records."""

    def __init__(self, start: int | None) -> None:
        """start: the position of a header, if one is known."""
        self.records: list[Record] = []
        self._next = start
        self._kept: list[_Bytes] = []

    def add(self, begin: int, data: memoryview) -> None:
        """Bytes of the stream from a position on."""
        if data:
            insort(self._kept, _Bytes(begin, begin + len(data), data), key=_begin)
            self._walk()

    def finish(self) -> list[Record]:
        """Search behind what stopped the walk. All records, in order."""
        while (place := self._search()) is not None:
            self._next = place
            self._walk()
        return self.records

    def _walk(self) -> None:
        """Follow headers as far as there are bytes, and let go of what was passed."""
        if self._next is None:
            return
        while (header := self._peek(self._next)) is not None:
            size = _size(header)
            if not size:
                # No record of the versions that offload knows: nothing can be said from here on.
                self._next = None
                return
            end = self._next + size
            self.records.append(Record(self._next, end, None, header[0]))
            self._next = end
        passed = 0
        while passed < len(self._kept) and self._kept[passed].end <= self._next:
            passed += 1
        del self._kept[:passed]

    def _peek(self, position: int) -> bytes | None:
        """The five bytes at a position, if all were seen."""
        kept = self._kept
        at = bisect_right(kept, position, key=_begin) - 1
        found = b""
        while 0 <= at < len(kept) and kept[at].begin <= position < kept[at].end:
            piece = kept[at]
            start = position - piece.begin
            taken = bytes(piece.data[start : start + HEADER_BYTES - len(found)])
            found += taken
            if len(found) == HEADER_BYTES:
                return found
            position += len(taken)
            at += 1
        return None

    def _search(self) -> int | None:
        """The first boundary that can be believed behind the present place."""
        low = self.records[-1].end if self.records else None
        if self._next is not None:
            low = self._next + 1
        for piece in self._kept:
            start = 0 if low is None else max(0, low - piece.begin)
            last = max(start, len(piece.data) - HEADER_BYTES + 1)
            places: list[int] = [match.start() for match in _CANDIDATE.finditer(piece.data, start)]
            places += range(last, len(piece.data))
            for at in places:
                if self._leads(piece.begin + at):
                    return piece.begin + at
        return None

    def _leads(self, position: int) -> bool:
        for _ in range(_CHAIN):
            header = self._peek(position)
            size = 0 if header is None else _size(header)
            if not size:
                return False
            position += size
        return True


def _begin(piece: _Bytes) -> int:
    return piece.begin


def _size(header: bytes) -> int:
    """Bytes of the record with its header; 0: this is none."""
    content_type, version, length = _HEADER.unpack(header)
    if content_type not in _CONTENT_TYPES or version not in _VERSIONS or length > _MAX_LENGTH:
        return 0
    return HEADER_BYTES + int(length)
