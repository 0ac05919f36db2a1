"""Follows the records of a received TCP stream: positions, headers, the search for lost headers.

Positions are bytes of the TCP stream since the flow's start and never go back. What is done with
the contents of records is left to a subclass; what a transition does is in tracker_states.
"""

from abc import ABC, abstractmethod
from array import array
from typing import Final

from tlsnic.abi.suites import HEADER_BYTES
from tlsnic.device.tls.header_search import HeaderSearch
from tlsnic.device.tls.record import RecordFormat
from tlsnic.device.tls.tracker_states import TRANSITIONS, Action, Event, State

SEQUENCE_MASK: Final = 0xFFFF_FFFF
REMEMBERED_HEADERS: Final = 256
"""Of one chain: where a hint or a rekey can come late."""
SEQUENCE_SPACE: Final = 1 << 32
_SIGN: Final = 1 << 31
_LOG_SLACK: Final = 64
_UNBOUNDED: Final = 1 << 62
"""Records that can have passed when the stream goes on far away."""


class Segment:
    """A packet while it is followed."""

    __slots__ = (
        "data", "failed", "flat", "limit", "new", "origin", "out", "plain", "records", "visited",
    )  # fmt: skip

    def __init__(self, data: memoryview, out: memoryview, origin: int, new: int) -> None:
        self.data = data
        self.out = out
        self.origin = origin
        """Position of the first byte of `data`."""
        self.new = new
        """Offset of the first byte that has not come before."""
        self.limit = len(data)
        """Offset up to which it is followed for the time being."""
        self.plain = True
        """Whether all record content until now was decrypted."""
        self.records = 0
        """Records whose end was verified."""
        self.failed = False
        """Whether a record in it failed authentication."""
        self.flat: bytes | None = None
        """A copy of `data`, once it is searched."""
        self.visited: set[int] = set()
        """Positions of headers that were followed as a candidate's: chains that meet stay one."""


class Tracker(ABC):
    """Where in the stream of records the next byte is, as far as that is known."""

    __slots__ = (
        "_anchor", "_ask", "_ask_next", "_asked", "_asked_count", "_asks_at_once", "_attempts",
        "_carry", "_certain", "_certain_at", "_end", "_head", "_headers", "_is_tls13",
        "_key_start", "_log", "_possible", "_prefix_bytes", "_searched", "_start", "format",
        "number", "position", "start_sequence", "state",
    )  # fmt: skip

    def __init__(self, record_format: RecordFormat, tcp_sequence: int, record_number: int) -> None:
        layout = record_format.layout
        self.format = record_format
        self.start_sequence = tcp_sequence
        self.state = State.OFFLOAD
        self.position = 0
        """Of the next byte."""
        self.number = record_number
        """Of the record at _start. In TRACK: how many records it is behind the candidate."""
        self._is_tls13 = layout.is_tls13
        self._prefix_bytes = layout.prefix_bytes
        self._headers = HeaderSearch(record_format)
        self._key_start: int | None = None
        """Position from which on a key holds that is yet to come."""
        self._start = 0
        """Where the record that is followed starts."""
        self._end: int | None = None
        """Where it ends; None when its header is not complete, or nothing is followed."""
        self._head: bytes | None = b""
        """Its header and explicit nonce so far; None behind them, or when nothing is followed."""
        self._log = array("I")
        """TCP sequence numbers of the headers that were followed, that of _start last."""
        self._certain = record_number
        """Last certain record number, when the tracker is not in OFFLOAD."""
        self._certain_at = 0
        """Where that record starts."""
        self._searched = 0
        """Where records start before here is known, or counted in _possible."""
        self._possible = 0
        """Records that at most start from _certain_at to _searched: where no one looked."""
        self._carry = b""
        """SEARCH: the last bytes, in which a header may begin."""
        self._anchor = 0
        """TRACK: where the candidate starts."""
        self._attempts = 0
        """Tags that were tried since the last certain number."""
        self._asks_at_once = False
        """Whether the host is asked about a candidate before its tag is tried."""
        self._ask = False
        """TRACK: the host is to be asked when the packet has passed."""
        self._ask_next = False
        """TRACK: the host is to be asked about the next header."""
        self._asked = 0
        """TRACK: position of the header that the host is asked about."""
        self._asked_count = 0
        """How many records that is behind the candidate."""

    @property
    def sequence(self) -> int:
        """Next expected TCP sequence number."""
        return self.start_sequence + self.position & SEQUENCE_MASK

    def position_of(self, sequence: int) -> int:
        """Position of a TCP sequence number: the one next to `position`. May be negative."""
        position = self.position
        ahead = sequence - self.start_sequence - position & SEQUENCE_MASK
        return position + (ahead ^ _SIGN) - _SIGN

    # What a subclass does.

    @abstractmethod
    def _begin_body(self, prefix: bytes) -> None:
        """Header and explicit nonce of the record at _start have passed, in OFFLOAD or TRACK."""

    @abstractmethod
    def _pass_body(self, segment: Segment, at: int, size: int) -> bool:
        """Bytes of a record, behind its prefix. False: they ended it, and no number fits its tag
        and no one can be asked. Calls _finish_record() when they end it otherwise."""

    @abstractmethod
    def _open_record(self, segment: Segment, at: int) -> int:
        """OFFLOAD: a record starts at `at`. Where to go on: behind it, or behind its prefix; `at`
        when the prefix is not whole or fits no record."""

    @abstractmethod
    def _stop(self) -> None:
        """Give up on the record that is passing."""

    @abstractmethod
    def _drop_question(self) -> None:
        """Drop the open question, if there is one."""

    @abstractmethod
    def _take_key(self) -> None:
        """_key_start is `position` or before it: go on with the new key."""

    # Transitions.

    def _go(self, event: Event) -> None:
        actions, state = TRANSITIONS[self.state, event]
        for action in actions:
            if action is Action.STOP:
                self._stop()
            elif action is Action.FORGET:
                self._head = self._end = None
                del self._log[:]
            elif action is Action.REMEMBER:
                if self._end is None:
                    self._lose(self.number, self._start)
                else:
                    self._lose(self.number + 1, self._end)
            elif action is Action.DROP_QUESTION:
                self._drop_question()
            elif action is Action.ASK:
                self._ask = not self._ask_next
            else:
                self._ask, self._ask_next = False, True
        self.state = state

    def _lose(self, number: int, position: int) -> None:
        """Record `number` at `position` is the last one that is certain."""
        self._certain, self._certain_at = number, position
        self._searched, self._possible = position, 0
        self._attempts = 0

    def _search_from(self, position: int) -> None:
        """Where records start from `position` on will be seen; before it no one looked."""
        self._count_possible(position)
        self._carry = b""

    def _count_possible(self, position: int) -> None:
        self._possible += -((self._searched - position) // self._headers.smallest)
        self._searched = position

    def _resume(self, number: int, start: int | None = None, end: int | None = None) -> None:
        """Decrypt again. number: of the record at _start, or of that at `start`.

        `start` is a place that the tracker has not followed to. With `end` the record there, of
        which only the end is known, comes as on the wire.
        """
        self.number = number
        self._carry = b""
        if start is not None:
            self._start, self._end = start, end
            self._head = b"" if end is None else None
            del self._log[:]

    def _resume_at(self, event: Event, start: int, number: int) -> bool:
        """By `event`, record `number` starts at `start`. False: that is behind, not followed."""
        ahead = start - self.position
        if ahead > 0:
            self._go(event)
            self._resume(number - 1, self.position, start)
        elif not ahead:
            self._go(event)
            self._resume(number, start)
        elif self.state is State.SEARCH and -ahead <= len(self._carry):
            head = self._carry[ahead:]
            self._go(event)
            self._resume(number, start)
            self._head = head
        else:
            since = self._records_since(start)
            if since is None:
                return False
            self._go(event)
            self._resume(number + since)
            # Records before `start` may have had another key, and other numbers.
            followed = since + (self._end is not None)
            del self._log[: len(self._log) - followed]
        return True

    def _refute(self) -> None:
        """The candidate is none: search on, also in the part of a header that has passed."""
        carry = (self._head or b"")[1 - HEADER_BYTES :]
        self._go(Event.REFUTED)
        self._search_from(self.position - len(carry))
        self._carry = carry

    # Following.

    def _follow(self, segment: Segment) -> None:
        """All that is new in a segment which starts at or before `position`."""
        at, size = segment.new, len(segment.data)
        while True:
            segment.limit = size
            key = self._key_start
            if key is not None and self.state is not State.OFFLOAD:
                if key <= self.position:
                    self._take_key()
                    continue
                segment.limit = min(size, key - segment.origin)
            if at == size:
                return
            at = self._step(segment, at)
            self.position = segment.origin + at

    def _step(self, segment: Segment, at: int) -> int:
        """Follow some bytes from `at` on. Where to go on."""
        if self._head is not None:
            if self.state is State.OFFLOAD and not self._head:
                end = self._open_record(segment, at)
                if end > at:
                    return end
            return self._gather(segment, at)
        if self._end is not None:
            size = min(self._end - self.position, segment.limit - at)
            if self._pass_body(segment, at, size):
                return at + size
            return self._misfit(segment, b"")
        segment.plain = False
        if self.state is State.SEARCH:
            return self._search(segment, at)
        return segment.limit

    def _gather(self, segment: Segment, at: int) -> int:
        """Bytes of a header or explicit nonce."""
        before = self._head or b""
        need = HEADER_BYTES if self._end is None else self._prefix_bytes
        piece = bytes(segment.data[at : min(at + need - len(before), segment.limit)])
        head = before + piece
        if self._end is None:
            if not self._headers.may_begin(head):
                return self._misfit(segment, before)
            if len(head) == HEADER_BYTES:
                total = self._headers.total(head)
                if not total or self._start in segment.visited:
                    return self._misfit(segment, before)
                self._enter(segment, total)
        end = at + len(piece)
        segment.out[at:end] = piece
        segment.plain = segment.plain and self.state is State.OFFLOAD
        self._head = head
        if len(head) == self._prefix_bytes:
            self._head = None
            self._begin_body(head)
        return end

    def _enter(self, segment: Segment, total: int) -> None:
        """A header at _start has passed that fits."""
        self._end = self._start + total
        self._note_header()
        if self.state is State.TRACK:
            segment.visited.add(self._start)
            if self._ask_next:
                self._asked, self._asked_count = self._start, self.number
                self._ask, self._ask_next = True, False

    def _note_header(self) -> None:
        log = self._log
        log.append(self.start_sequence + self._start & SEQUENCE_MASK)
        if len(log) >= REMEMBERED_HEADERS + _LOG_SLACK:
            del log[:_LOG_SLACK]

    def _records_since(self, position: int) -> int | None:
        """How many records behind the one that starts at `position` that at _start is.

        None if unknown: only the last REMEMBERED_HEADERS headers that were followed are known.
        """
        log = self._log
        if position == self._start and self._head:
            return 0
        if position < self._start - REMEMBERED_HEADERS * self._headers.largest:
            return None
        first = max(0, len(log) - REMEMBERED_HEADERS)
        try:
            at = log.index(self.start_sequence + position & SEQUENCE_MASK, first)
        except ValueError:
            return None
        return len(log) - at - (self._end is not None)

    def _finish_record(self, position: int) -> None:
        """The record at _start ends at `position`, which has been reached."""
        self.position = self._start = position
        self.number += 1
        self._head, self._end = b"", None
        if self.state is State.OFFLOAD:
            key = self._key_start
            if key is not None and key <= position:
                self._take_key()

    def _misfit(self, segment: Segment, before: bytes) -> int:
        """What is followed is no chain of records: search from behind the candidate.

        before: bytes of the header that does not fit that came in packets before, if any.
        """
        first = segment.origin + segment.new
        bad = self._start if self._end is None else first
        candidate = self._start if self.state is State.OFFLOAD else self._anchor
        segment.plain = False
        self._go(Event.MISFIT)
        if self.state is not State.SEARCH:
            return segment.limit
        position = max(candidate + 1, min(bad, first))
        self._search_from(position)
        self.position = max(position, first)
        if position < first:
            self._carry = before[position - bad :]
        return self.position - segment.origin

    def _skip(self, position: int) -> None:
        """Data is missing from `self.position` to `position`."""
        if self._end is not None and position <= self._end:
            self._go(Event.HOLE)
            self._head = None
            self.position = position
            if position == self._end:
                self._finish_record(position)
            return
        self._go(Event.LOST)
        self.position = position
        if self.state is State.SEARCH:
            self._search_from(position)
        key = self._key_start
        if key is not None and key < position:
            self._take_key()

    def _jump(self, position: int) -> None:
        """The stream goes on far away, perhaps after more than the sequence numbers can say."""
        self._skip(position)
        self._possible += _UNBOUNDED

    # Searching.

    def _search(self, segment: Segment, at: int) -> int:
        flat = segment.flat
        if flat is None:
            flat = segment.flat = bytes(segment.data)
        limit, origin, carry = segment.limit, segment.origin, self._carry
        if carry:
            seam = carry + flat[at : min(at + HEADER_BYTES - 1, limit)]
            hit = self._headers.find(seam, 0, self.position - len(carry), segment.visited)
            if hit >= 0:
                self._track(self.position - len(carry) + hit, carry[hit:])
                return at
        hit = self._headers.find(flat[:limit], at, origin, segment.visited)
        if hit >= 0:
            self._track(origin + hit, b"")
            return hit
        tail = flat[max(at, limit - HEADER_BYTES + 1) : limit]
        self._carry = (carry + tail)[1 - HEADER_BYTES :]
        self._searched = origin + limit - len(self._carry)
        return limit

    def _track(self, position: int, head: bytes) -> None:
        """Follow the candidate at `position`. head: bytes of it that have passed."""
        self._go(Event.CANDIDATE)
        self._carry = b""
        self._searched = self._anchor = self._asked = self._start = position
        self._head, self._end = head, None
        self.number = self._asked_count = 0
        self._ask, self._ask_next = self._asks_at_once, False

    def _candidates(self) -> range:
        """TRACK: the numbers that the record at _start can have.

        Between the last certain record and this one, as many records start as fit into what no one
        looked at, and at least so many that they reach it. Behind the candidate only lengths were
        followed: it may have been none.
        """
        span = self._start - self._certain_at
        least = max(1, -(-span // self._headers.largest))
        most = self._possible - (self._anchor - self._start) // self._headers.smallest
        if self._possible < _UNBOUNDED:
            most = min(most, span // self._headers.smallest)
        return range(self._certain + least, self._certain + most + 1)
