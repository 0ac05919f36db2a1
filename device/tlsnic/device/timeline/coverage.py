"""Which packet brought each byte of a stream first, and which bytes were overtaken."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator

from .model import Gap


class Coverage:
    """Disjoint ranges of positions, each with the index of its packet."""

    def __init__(self) -> None:
        self._begins: list[int] = []
        self._ends: list[int] = []
        self._owners: list[int] = []

    @property
    def high(self) -> int | None:
        """The end of the last range."""
        return self._ends[-1] if self._ends else None

    def missing(self, begin: int, end: int) -> list[tuple[int, int]]:
        """The parts of a range that no packet has brought."""
        begins, ends = self._begins, self._ends
        if begin >= end:
            return []
        if not ends or begin >= ends[-1]:
            return [(begin, end)]
        found = []
        at = bisect_right(ends, begin)
        while at < len(begins) and begins[at] < end:
            if begin < begins[at]:
                found.append((begin, begins[at]))
            begin = ends[at]
            at += 1
        if begin < end:
            found.append((begin, end))
        return found

    def add(self, begin: int, end: int, owner: int) -> list[tuple[int, int]]:
        """A packet brings a range. What of it is new."""
        new = self.missing(begin, end)
        for low, high in new:
            at = bisect_left(self._begins, low)
            self._begins.insert(at, low)
            self._ends.insert(at, high)
            self._owners.insert(at, owner)
        return new

    def remove(self, begin: int) -> None:
        """What `add` said was new from `begin` on is not there after all."""
        at = bisect_left(self._begins, begin)
        del self._begins[at], self._ends[at], self._owners[at]

    def rename(self, owners: list[int]) -> None:
        """Give packets other indices: `owners` has the new one by the old one."""
        self._owners = [owners[owner] for owner in self._owners]

    def within(self, begin: int, end: int) -> Iterator[tuple[int, int, int]]:
        """(begin, end, owner) of all ranges in a part of the stream, cut to it, in order."""
        at = bisect_right(self._ends, begin)
        while at < len(self._begins) and self._begins[at] < end:
            yield max(begin, self._begins[at]), min(end, self._ends[at]), self._owners[at]
            at += 1


class Gaps:
    """Gaps that are open, and those that were filled, piece by piece."""

    def __init__(self) -> None:
        self._open: list[Gap] = []
        self._filled: list[Gap] = []

    def see(self, begin: int, end: int, now_ns: int) -> None:
        """A packet came that overtook these bytes."""
        self._open.append(Gap(begin, end, now_ns, None))

    def fill(self, begin: int, end: int, now_ns: int) -> None:
        """These bytes came now."""
        if not self._open:
            return
        still: list[Gap] = []
        for gap in self._open:
            low, high = max(begin, gap.begin), min(end, gap.end)
            if low >= high:
                still.append(gap)
                continue
            self._filled.append(Gap(low, high, gap.seen_ns, now_ns))
            if gap.begin < low:
                still.append(gap._replace(end=low))
            if high < gap.end:
                still.append(gap._replace(begin=high))
        self._open = still

    def all(self) -> list[Gap]:
        """Every gap, by position."""
        return sorted(self._open + self._filled)
