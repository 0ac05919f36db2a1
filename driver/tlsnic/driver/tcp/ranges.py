"""A set of positions kept as sorted ranges: what was selectively acknowledged, lost, or received
out of order. Ranges are half open, [start, end); neighbours that touch are joined.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator


class RangeSet:
    """Disjoint ranges in order. `total` is the number of positions in it."""

    __slots__ = ("_ends", "_starts", "total")

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        self.total = 0

    def __bool__(self) -> bool:
        return bool(self._starts)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._starts, self._ends, strict=True)

    def __reversed__(self) -> Iterator[tuple[int, int]]:
        return zip(reversed(self._starts), reversed(self._ends), strict=True)

    @property
    def first(self) -> tuple[int, int]:
        """The lowest range. IndexError when empty."""
        return self._starts[0], self._ends[0]

    @property
    def top(self) -> int:
        """The end of the highest range. IndexError when empty."""
        return self._ends[-1]

    def clear(self) -> None:
        """Empty it."""
        self._starts.clear()
        self._ends.clear()
        self.total = 0

    def add(self, start: int, end: int) -> int:
        """Put [start, end) in; how many positions are new."""
        if start >= end:
            return 0
        starts, ends = self._starts, self._ends
        low = bisect_left(ends, start)
        high = bisect_right(starts, end)
        before = 0
        if low < high:
            start = min(start, starts[low])
            end = max(end, ends[high - 1])
            before = sum(ends[low:high]) - sum(starts[low:high])
        starts[low:high] = [start]
        ends[low:high] = [end]
        added = end - start - before
        self.total += added
        return added

    def remove(self, start: int, end: int) -> int:
        """Take [start, end) out; how many positions were in."""
        starts, ends = self._starts, self._ends
        low = bisect_right(ends, start)
        high = bisect_left(starts, end)
        if start >= end or low >= high:
            return 0
        left, right = starts[low], ends[high - 1]
        before = sum(ends[low:high]) - sum(starts[low:high])
        new_starts, new_ends = [], []
        if left < start:
            new_starts.append(left)
            new_ends.append(start)
        if right > end:
            new_starts.append(end)
            new_ends.append(right)
        starts[low:high] = new_starts
        ends[low:high] = new_ends
        removed = before - sum(new_ends) + sum(new_starts)
        self.total -= removed
        return removed

    def trim_below(self, position: int) -> None:
        """Take out everything below `position`."""
        if self._starts and self._starts[0] < position:
            self.remove(self._starts[0], position)

    def around(self, position: int) -> tuple[int, int] | None:
        """The range that contains `position`, or None."""
        index = bisect_right(self._starts, position) - 1
        if index >= 0 and position < self._ends[index]:
            return self._starts[index], self._ends[index]
        return None

    def gaps(self, start: int, end: int) -> list[tuple[int, int]]:
        """The ranges of [start, end) that are not in the set."""
        found = []
        index = bisect_right(self._ends, start)
        while start < end:
            if index == len(self._starts) or self._starts[index] >= end:
                found.append((start, end))
                break
            if start < self._starts[index]:
                found.append((start, self._starts[index]))
            start = self._ends[index]
            index += 1
        return found
