"""The receiving side: putting segments in order, the window, and what SACK tells the peer.

In positions (see `seq`). Payload is copied once, when it is accepted: a received frame lies in a
buffer that goes back to the card. Every piece keeps the mark of the packet that it came in. What
is in order goes to the sink.
"""

from __future__ import annotations

from bisect import insort

from tlsnic.driver.tcp.ranges import RangeSet
from tlsnic.driver.tcp.source import PLAIN, Mark, ReceiveSink

_FIELD = 0xFFFF  # the largest number in the window field
_MAX_BLOCKS = 4  # that fit into the options; three beside timestamps (RFC 2018, section 3)


class Receiver:
    """Attributes: `nxt` (position of the next byte in order), `window_end` (edge offered), `sink`."""

    def __init__(self, first: int, sink: ReceiveSink, scale: int, mss: int) -> None:
        """`first`: position behind the peer's SYN. `scale`: shift of the window field."""
        self.nxt = first
        self.sink = sink
        self.scale = scale
        self.window_end = first
        self.fin_at: int | None = None
        """Position of the peer's FIN, once seen."""
        self.fin_reached = False
        self._mss = mss
        # Out of order, by position, with marks; they do not overlap.
        self._waiting: dict[int, tuple[bytes, Mark]] = {}
        self._order: list[int] = []
        self._ranges = RangeSet()
        self._recent: list[int] = []  # positions of the newest blocks, newest first
        self._duplicate: tuple[int, int] | None = None

    @property
    def has_gap(self) -> bool:
        """Whether something waits for bytes before it."""
        return bool(self._order)

    @property
    def has_blocks(self) -> bool:
        """Whether `sack_blocks` has something to tell."""
        return bool(self._order) or self._duplicate is not None

    @property
    def mss(self) -> int:
        """Payload bytes of a full segment of the peer."""
        return self._mss

    def accept(self, start: int, payload: memoryview, *, fin: bool, mark: Mark = PLAIN) -> int:
        """Take a segment's payload at position `start`; how many bytes became in order.

        What lies outside of the window or was there already is left out.
        """
        end = start + len(payload)
        low, high = max(start, self.nxt), min(end, self.window_end)
        if fin and self.fin_at is None and self.nxt <= end <= self.window_end:
            self.fin_at = end
        if self.fin_at is not None:
            high = min(high, self.fin_at)
        before = self.nxt
        if low < high:
            if low == before and not self._order:
                self._take(bytes(payload[low - start : high - start]), mark)
            else:
                self._insert(start, low, high, payload, mark)
        elif start < end <= before:
            self._duplicate = (start, end)
        if self.fin_at == self.nxt:
            self.fin_reached = True
        return self.nxt - before

    def _take(self, data: bytes, mark: Mark) -> None:
        self.nxt += len(data)
        self.sink.append(data, mark)

    def _insert(self, start: int, low: int, high: int, payload: memoryview, mark: Mark) -> None:
        gaps = self._ranges.gaps(low, high)
        if not gaps:
            self._duplicate = (low, high)
        for left, right in gaps:
            self._waiting[left] = bytes(payload[left - start : right - start]), mark
            insort(self._order, left)
        self._ranges.add(low, high)
        self._recent = [low, *self._recent[: 2 * _MAX_BLOCKS]]
        order = self._order
        count = 0
        while count < len(order) and order[count] == self.nxt:
            self._take(*self._waiting.pop(order[count]))
            count += 1
        if count:
            del order[:count]
            self._ranges.trim_below(self.nxt)

    def sack_blocks(self, limit: int) -> tuple[tuple[int, int], ...]:
        """At most `limit` blocks, the newest first; one of a duplicate (RFC 2883) leads, once."""
        blocks = []
        if self._duplicate is not None:
            blocks.append(self._duplicate)
            self._duplicate = None
        recent = []
        for position in self._recent:
            block = self._ranges.around(position)
            if block is not None and block not in recent:
                recent.append(block)
        self._recent = [start for start, _ in recent]
        return tuple((blocks + recent)[:limit])

    def consume_fin(self) -> None:
        """The FIN is in order: it takes one position."""
        self.nxt += 1

    # Window

    def _room(self) -> tuple[int, int]:
        """What the window can be at most, and what it can be now; no more than can be told."""
        sink = self.sink
        most = _FIELD << self.scale
        return min(sink.capacity, most), max(min(sink.capacity - sink.buffered, most), 0)

    @property
    def update_due(self) -> bool:
        """Whether the window has opened so far that the peer should hear of it unasked."""
        most, free = self._room()
        offered = self.window_end - self.nxt
        return offered < most // 2 and free - offered >= min(most // 2, 2 * self._mss)

    def window_field(self, *, scaled: bool = True) -> int:
        """What to write into the header's window field; moves `window_end`."""
        scale = self.scale if scaled else 0
        step = 1 << scale
        most, free = self._room()
        # No silly small updates (RFC 9293, section 3.8.6.2.2).
        if self.nxt + free - self.window_end >= min(most // 2, self._mss):
            field = free >> scale
        else:
            # Rounded up, so that the edge does not move back; but not for ever further.
            field = max(self.window_end - self.nxt + step - 1, 0) >> scale
            if field << scale > free + step:
                field -= 1
        field = min(field, _FIELD)
        self.window_end = max(self.window_end, self.nxt + (field << scale))
        return field
