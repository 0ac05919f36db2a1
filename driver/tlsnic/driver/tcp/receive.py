"""The receiving side: putting segments in order, the window, and what SACK tells the peer.

In positions (see `seq`). Payload is copied once, when it is accepted: a received frame lies in a
buffer that goes back to the card. Every piece keeps its mark: whether the card has decrypted the
packet that it came in. Pieces of different marks are never joined, but by `read`.
"""

from __future__ import annotations

from bisect import insort
from collections import deque

from tlsnic.driver.tcp.ranges import RangeSet

_MAX_BLOCKS = 4  # that fit into the options; three beside timestamps (RFC 2018, section 3)


class Receiver:
    """Attributes: `nxt` (position of the next byte in order), `window_end` (edge offered)."""

    def __init__(self, first: int, capacity: int, scale: int, mss: int) -> None:
        """`first`: position behind the peer's SYN. `scale`: shift of the window field."""
        self.nxt = first
        self.capacity = capacity
        self.scale = scale
        self.window_end = first
        self.fin_at: int | None = None
        """Position of the peer's FIN, once seen."""
        self.fin_reached = False
        self.buffered = 0
        """Bytes in order that were not read."""
        self._mss = mss
        self._ready: deque[bytes] = deque()
        self._marks: deque[bool] = deque()  # of the pieces that are ready
        # Out of order, by position, with marks; they do not overlap.
        self._waiting: dict[int, tuple[bytes, bool]] = {}
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

    def accept(self, start: int, payload: memoryview, *, fin: bool, decrypted: bool = False) -> int:
        """Take a segment's payload at position `start`; how many bytes became in order.

        What lies outside of the window or was there already is left out. decrypted: the mark.
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
                self._take(bytes(payload[low - start : high - start]), decrypted)
            else:
                self._insert(start, low, high, payload, decrypted)
        elif start < end <= before:
            self._duplicate = (start, end)
        if self.fin_at == self.nxt:
            self.fin_reached = True
        return self.nxt - before

    def _take(self, data: bytes, decrypted: bool) -> None:
        self._ready.append(data)
        self._marks.append(decrypted)
        self.nxt += len(data)
        self.buffered += len(data)

    def _insert(
        self, start: int, low: int, high: int, payload: memoryview, decrypted: bool
    ) -> None:
        gaps = self._ranges.gaps(low, high)
        if not gaps:
            self._duplicate = (low, high)
        for left, right in gaps:
            self._waiting[left] = bytes(payload[left - start : right - start]), decrypted
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

    # Reading

    def read(self, limit: int) -> bytes:
        """At most `limit` bytes in order; a negative limit: all."""
        ready = self._ready
        if not ready:
            return b""
        if limit < 0 or limit >= self.buffered:
            data = ready[0] if len(ready) == 1 else b"".join(ready)
            ready.clear()
            self._marks.clear()
            self.buffered -= len(data)
            return data
        return b"".join([piece for piece, _ in self.read_marked(limit)])

    def read_marked(self, limit: int) -> list[tuple[bytes, bool]]:
        """The same in pieces, each with its mark."""
        ready, marks = self._ready, self._marks
        if limit < 0 or limit >= self.buffered:
            pieces = list(zip(ready, marks, strict=True))
            ready.clear()
            marks.clear()
            self.buffered = 0
            return pieces
        pieces = []
        self.buffered -= limit
        while limit > 0:
            piece, mark = ready.popleft(), marks.popleft()
            if len(piece) > limit:
                ready.appendleft(piece[limit:])
                marks.appendleft(mark)
                piece = piece[:limit]
            pieces.append((piece, mark))
            limit -= len(piece)
        return pieces

    # Window

    def _opens(self) -> bool:
        # No silly small updates (RFC 9293, section 3.8.6.2.2).
        free_end = self.nxt + self.capacity - self.buffered
        return free_end - self.window_end >= min(self.capacity // 2, self._mss)

    @property
    def update_due(self) -> bool:
        """Whether the window has opened so far that the peer should hear of it unasked."""
        offered = self.window_end - self.nxt
        return offered < self.capacity // 2 and self.capacity - self.buffered - offered >= min(
            self.capacity // 2, 2 * self._mss
        )

    def window_field(self, *, scaled: bool = True) -> int:
        """What to write into the header's window field; moves `window_end`."""
        scale = self.scale if scaled else 0
        step = 1 << scale
        free = self.capacity - self.buffered
        if self._opens():
            field = free >> scale
        else:
            # Rounded up, so that the edge does not move back; but not for ever further.
            field = max(self.window_end - self.nxt + step - 1, 0) >> scale
            if field << scale > free + step:
                field -= 1
        field = min(field, 0xFFFF)
        self.window_end = max(self.window_end, self.nxt + (field << scale))
        return field
