"""The records of a receive flow: what the tracker follows is decrypted, and tried by its tags.

A record that began in order is decrypted piece by piece as it passes, whatever the packets are
marked as: what one packet could not show, the next one can.
"""

from abc import abstractmethod
from typing import Final

from tlsnic.abi.suites import RecordKind
from tlsnic.device.tls.key_update import AFTER_HANDSHAKE, changes_key
from tlsnic.device.tls.opening import OpeningStream, RecordOpener
from tlsnic.device.tls.record import BadRecord, Record, RecordFormat
from tlsnic.device.tls.settle import MOST_TRIED
from tlsnic.device.tls.tracker import Segment, Tracker
from tlsnic.device.tls.tracker_states import Event, State

NUMBER_MASK: Final = 0xFFFF_FFFF_FFFF_FFFF
_NEVER: Final = -1


class RxRecords(Tracker):
    """A tracker with a key."""

    __slots__ = (
        "_fast_end", "_inner", "_kept", "_key_over", "_may_ask", "_may_try", "_opener", "_prefix",
        "_prefix_at", "_stream",
    )  # fmt: skip

    def __init__(
        self,
        record_format: RecordFormat,
        opener: RecordOpener,
        tcp_sequence: int,
        record_number: int,
    ) -> None:
        super().__init__(record_format, tcp_sequence, record_number)
        self._may_ask = self._may_try = False
        """Whether the host may be asked, and tags be tried."""
        self._opener = opener
        self._key_over = False
        """HALTED: no record to come has this key."""
        self._stream: OpeningStream | None = None
        """OFFLOAD: what decrypts the record at _start, if it began in order."""
        self._fast_end = _NEVER
        """Where the record that _stream decrypts ends, once nothing can happen before that."""
        self._inner: bytearray | None = None
        """TLS 1.3: its content, when there can be a KeyUpdate in it."""
        self._prefix = b""
        self._prefix_at = _NEVER
        """Where the last record starts whose body was begun, and its prefix."""
        self._kept: bytearray | None = None
        """TRACK: what has passed of the record behind _prefix, as long as it is whole."""

    @abstractmethod
    def _count_tag_resync(self) -> None:
        """A tag has settled the number of a record that was followed."""

    def _open_record(self, segment: Segment, at: int) -> int:
        data, number = segment.data, self.number
        if segment.limit - at < self._prefix_bytes or number > NUMBER_MASK:
            return at
        try:
            record = self.format.parse(number, data, at)
        except BadRecord:
            return at
        _, prefix, content_bytes, _, total = record
        self._end = end_position = self._start + total
        self._note_header()
        out = segment.out
        body, end = at + len(prefix), at + total
        out[at:body] = prefix
        if end > segment.limit:
            self._head = None
            self._begin(record)
            return body
        tag = body + content_bytes
        content = out[body:tag]
        if self._opener.open(record, data[body:end], content):
            out[tag:end] = data[tag:end]
            segment.records += 1
            self._verified(end_position, self._is_tls13 and changes_key(content))
        else:
            self._fail(segment)
            self._finish_record(end_position)
        return end

    def _begin_body(self, prefix: bytes) -> None:
        if self.state is State.TRACK:
            self._prefix, self._prefix_at = prefix, self._start
            if self._may_try:
                self._kept = bytearray()
        elif self.state is State.OFFLOAD and self.number <= NUMBER_MASK:
            self._begin(self.format.parse(self.number, prefix))

    def _begin(self, record: Record) -> None:
        self._stream = self._opener.begin(record)
        self._prefix, self._prefix_at = record.prefix, self._start
        if not self._is_tls13:
            self._fast_end = self._start + record.total_bytes

    def _pass_body(self, segment: Segment, at: int, size: int) -> bool:
        data = segment.data[at : at + size]
        end = self.position + size
        ends = end == self._end
        stream = self._stream
        if stream is None:
            plain, segment.plain = segment.plain, False
            if self._kept is not None:
                self._kept += data
                if ends:
                    return self._try(segment, at, size, plain)
            if ends:
                if plain and self.state is State.OFFLOAD:
                    self._show_rest(segment, at, size)
                self._finish_record(end)
            return True
        out = segment.out[at : at + size]
        good = stream.update(data, out)
        if self._is_tls13:
            self._watch(stream, out)
        if ends:
            inner = self._inner
            if good:
                segment.records += 1
                self._stop()
                self._verified(end, inner is not None and changes_key(inner))
            else:
                self._fail(segment)
                self._finish_record(end)
        return True

    def _watch(self, stream: OpeningStream, piece: memoryview) -> None:
        """Look at a piece that was decrypted: a KeyUpdate is the last record with this key."""
        record = stream.record
        offset = stream.position - len(piece) - len(record.prefix)
        if not offset:
            if piece[0] in AFTER_HANDSHAKE:
                self._inner = bytearray()
            else:
                self._fast_end = self._start + record.total_bytes
        if self._inner is not None:
            self._inner += piece[: max(0, record.content_bytes - offset)]

    def _verified(self, end: int, last_of_key: bool) -> None:
        """The record at _start, which ends at `end`, is authentic."""
        key = self._key_start
        self._finish_record(end)
        if last_of_key and key != end:
            self._key_over = True
            self._go(Event.KEY_UPDATE)

    def _fail(self, segment: Segment) -> None:
        segment.failed = True
        segment.plain = False
        self._go(Event.FORGED)

    def _stop(self) -> None:
        self._stream = self._kept = self._inner = None
        self._fast_end = _NEVER

    def _show_rest(self, segment: Segment, at: int, size: int) -> None:
        """Decrypt the end of a record that is not to be shown, for what follows in the packet.

        Else the next record, too, would have a part as on the wire. This one has one before, so
        the stack verifies it.
        """
        shown = at + size < len(segment.data) and self._prefix_at == self._start
        if not shown or self.number > NUMBER_MASK:
            return
        record = self.format.parse(self.number, self._prefix)
        rest, out = segment.data[at : at + size], segment.out[at : at + size]
        offset = self.position - self._start - len(record.prefix)
        self._opener.decrypt_rest(record, offset, rest, out)
        segment.records += 1
        segment.plain = True

    def _try(self, segment: Segment, at: int, size: int, plain: bool) -> bool:
        """Try the tag of the record that was kept, and ends with these bytes.

        plain: whether the packet was as it can be shown up to here. False: as _pass_body().
        """
        end = self.position + size
        kept = self._kept
        numbers = self._candidates()
        number = None
        if numbers and kept is not None:
            first = numbers.start + self._window(numbers.stop - numbers.start)
            self._attempts += 1
            number = self._opener.settle(self._prefix, kept, first, numbers.stop - first)
        if number is None or kept is None:
            if not self._may_ask:
                return False
            self._go(Event.UNSETTLED)
            self._finish_record(end)
            return True
        self._count_tag_resync()
        last_of_key = self._is_tls13 and self._opens_as_last(self._prefix, kept, number)
        self._go(Event.SETTLED)
        self._resume(number)
        if plain:
            self._show_rest(segment, at, size)
        self._verified(end, last_of_key)
        return True

    def _window(self, count: int) -> int:
        """Where to begin with `count` candidates: each attempt goes on where the last one ended."""
        if self.format.layout.kind is RecordKind.GCM or count <= MOST_TRIED:
            return 0
        return self._attempts * MOST_TRIED % count

    def _opens_as_last(self, prefix: bytes, body: bytearray, number: int) -> bool:
        record = self.format.parse(number, prefix)
        content = bytearray(record.content_bytes)
        self._opener.open(record, body, memoryview(content))
        return changes_key(content)
