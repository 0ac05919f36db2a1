"""A receive flow: where its packets are in the stream, and what the host says of it."""

from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from tlsnic.abi.enums import TlsDirection, TlsRxState, TlsTrackerState
from tlsnic.device.tls.opening import RecordOpener
from tlsnic.device.tls.record import RecordFormat
from tlsnic.device.tls.rx_records import NUMBER_MASK, RxRecords
from tlsnic.device.tls.tracker import SEQUENCE_MASK, SEQUENCE_SPACE, Segment
from tlsnic.device.tls.tracker_states import Event, State

FAR_BYTES: Final = 16 << 20
"""A packet further than this from the expected sequence number is left alone."""
FAR_PACKETS: Final = 16
"""So many of them, each behind the other, and the stream is there."""
MOST_RECORDS: Final = 255
"""That a verdict can count."""


class ResyncCounters(Protocol):
    """The device's counters that a flow counts."""

    rx_tls_decrypted_packets: int
    rx_tls_decrypted_bytes: int
    rx_tls_resync_req_pkt: int
    rx_tls_resync_req_start: int
    rx_tls_resync_req_end: int
    rx_tls_resync_req_skip: int
    rx_tls_resync_res_ok: int
    rx_tls_resync_res_skip: int
    rx_tls_resync_tag: int
    rx_tls_err: int


class Question(NamedTuple):
    """Is there a record at this TCP sequence number?"""

    sequence: int
    """u32 TCP sequence number of the first byte of the supposed header."""
    number: int
    """u32 number of the question, of this flow."""
    record_number: int
    """u64, the last one that was certain."""


class Verdict(NamedTuple):
    """What became of a packet."""

    state: TlsRxState
    records: int
    """DECRYPTED: records that ended in it, 255 for more. Else 0."""
    question: Question | None
    """To be asked now."""
    halted: bool
    """Whether this packet halted the flow: a record failed authentication."""


class Rekey(NamedTuple):
    """A key that is yet to come."""

    start: int
    """Position of its first record."""
    number: int
    """Of that record."""
    opener: RecordOpener


class Insight(NamedTuple):
    """What only those who look on want to know of a flow."""

    question: Question | None
    """The open one."""
    asked_ns: int
    may_ask: bool
    may_try: bool
    """RESYNC_HOST and RESYNC_TAG."""
    candidate: int | None
    """TRACK: u32 TCP sequence number where the candidate starts."""
    rekey: int | None
    """u32 TCP sequence number from which on a key holds that is yet to come."""
    header_left: int | None
    """OFFLOAD: bytes until the next one whose tag will be verified; 0 inside a record."""


DECRYPTED: Final = Verdict(TlsRxState.DECRYPTED, 0, None, False)


def _ignore(_flow: "RxFlow", _before: TlsTrackerState) -> None:
    """Nobody keeps a journal."""


class RxFlow(RxRecords):
    """One receive tag. `address` is the packet's: source, destination, ports (`headers.flow_key`)."""

    direction: Final = TlsDirection.RECEIVE
    __slots__ = (
        "_counters", "_far_from", "_far_next", "_far_packets", "_moved", "_question", "_question_ns",
        "_rekey", "_resumed_from", "address", "auth_failures", "handle", "history",
        "host_resyncs", "not_offloaded", "out_of_order", "packets", "payload_bytes", "questions",
        "tag_resyncs", "vlan_id",
    )  # fmt: skip

    def __init__(
        self,
        record_format: RecordFormat,
        opener: RecordOpener,
        *,
        tcp_sequence: int,
        record_number: int,
        address: bytes,
        vlan_id: int | None,
        resync_host: bool,
        resync_tag: bool,
        counters: ResyncCounters,
        moved: Callable[["RxFlow", TlsTrackerState], None] = _ignore,
    ) -> None:
        super().__init__(record_format, opener, tcp_sequence, record_number)
        self._asks_at_once = resync_host and not resync_tag
        self._may_ask = resync_host
        self._may_try = resync_tag
        self._rekey: Rekey | None = None
        self._question: Question | None = None
        """The open one."""
        self._question_ns = 0
        self._far_from = 0
        self._far_next = 0
        self._far_packets = 0
        self._counters = counters
        self._moved = moved
        self._resumed_from = State.OFFLOAD
        """Told of each change of the tracker's state, with the state before."""
        self.address = address
        self.vlan_id = vlan_id
        self.handle = 0
        self.history = b""
        """What happened to it, as core.journal packs it."""
        self.packets = 0
        self.payload_bytes = 0
        self.out_of_order = 0
        self.not_offloaded = 0
        self.questions = 0
        self.auth_failures = 0
        self.host_resyncs = 0
        self.tag_resyncs = 0

    def __repr__(self) -> str:
        suite = self.format.layout.suite.name
        return f"<RxFlow {self.handle:#x} {suite} {self.state.name} at {self.sequence:#x}>"

    @property
    def key_bytes(self) -> int:
        """Length of its keys."""
        return self._opener.key_bytes

    @property
    def tracker_state(self) -> TlsTrackerState:
        """As the hardware interface names it."""
        return self.state.value

    @property
    def record_number(self) -> int:
        """u64 number of the record at the next expected byte; the last certain one if unknown."""
        unknown = self.state in (State.SEARCH, State.TRACK)
        return max(0, min(self._certain if unknown else self.number, NUMBER_MASK))

    @property
    def rekey_pending(self) -> bool:
        """Whether the stream has not yet reached the newest key."""
        return self._rekey is not None

    @property
    def insight(self) -> Insight:
        """For those who look on; changes nothing."""
        start, key, head = self.start_sequence, self._key_start, self._head
        left: int | None = None
        if self.state is State.OFFLOAD and (head is not None or self._stream is not None):
            left = 0 if head is None else self._prefix_bytes - len(head)
        return Insight(
            self._question,
            self._question_ns,
            self._may_ask,
            self._may_try,
            start + self._anchor & SEQUENCE_MASK if self.state is State.TRACK else None,
            start + key & SEQUENCE_MASK if key is not None else None,
            left,
        )

    # Packets.

    def take(
        self, sequence: int, payload: memoryview, out: memoryview, now_ns: int, timeout_ns: int
    ) -> Verdict:
        """One packet that has payload.

        Args:
            sequence: u32 TCP sequence number of its first byte.
            payload: as on the wire, up to 64 KiB.
            out: as long or longer, not overlapping; takes the payload with its content decrypted.
                Undefined when the verdict is not DECRYPTED.
            now_ns: time that does not run backwards.
            timeout_ns: how long a question waits for its answer; 0: for ever.
        """
        position = self.position
        size = len(payload)
        end = position + size
        stream = self._stream
        if (
            end >= self._fast_end
            or stream is None
            or sequence - self.start_sequence - position & SEQUENCE_MASK
        ):
            return self._take(sequence, payload, out, now_ns, timeout_ns)
        stream.update(payload, out)
        self.position = end
        self._count(1, size)
        return DECRYPTED

    def _take(
        self, sequence: int, payload: memoryview, out: memoryview, now_ns: int, timeout_ns: int
    ) -> Verdict:
        if timeout_ns and self._question and now_ns - self._question_ns > timeout_ns:
            self._go(Event.TIMEOUT)
        segment = self._place(sequence, payload, out)
        if segment is not None:
            self._follow(segment)
        return self._conclude(segment, now_ns)

    def _count(self, packets: int, payload_bytes: int) -> None:
        """Packets that were decrypted."""
        self.packets += packets
        self.payload_bytes += payload_bytes
        counters = self._counters
        counters.rx_tls_decrypted_packets += packets
        counters.rx_tls_decrypted_bytes += payload_bytes

    def _conclude(self, segment: Segment | None, now_ns: int) -> Verdict:
        """The verdict on a packet that was followed; None: nothing in it was new."""
        halted = segment is not None and segment.failed
        if segment is not None and segment.plain:
            self._count(1, len(segment.data))
            records = min(segment.records, MOST_RECORDS)
            return Verdict(TlsRxState.DECRYPTED, records, None, False)
        self.not_offloaded += 1
        if halted:
            self.auth_failures += 1
            self._counters.rx_tls_err += 1
        state = TlsRxState.AUTH_FAILED if halted else TlsRxState.AS_ON_WIRE
        return Verdict(state, 0, self._ask_host(now_ns), halted)

    def _place(self, sequence: int, payload: memoryview, out: memoryview) -> Segment | None:
        """Where a packet is in the stream, with what was lost before it; None: nothing is new."""
        position = self.position
        begin = self.position_of(sequence)
        if not -FAR_BYTES <= begin - position <= FAR_BYTES:
            self.out_of_order += 1
            if not self._is_there(begin, len(payload)):
                return None
            if begin < position:
                begin += SEQUENCE_SPACE
                if self._rekey is not None:
                    self._plan(self._rekey._replace(start=self._rekey.start + SEQUENCE_SPACE))
            self._jump(begin)
            return Segment(payload, out, begin, 0)
        self._far_packets = 0
        if begin == position:
            return Segment(payload, out, begin, 0)
        if begin > position:
            self.out_of_order += 1
            self._skip(begin)
            return Segment(payload, out, begin, 0)
        new = position - begin
        if new >= len(payload):
            self.out_of_order += bool(position)
            return None
        segment = Segment(payload, out, begin, new)
        if position:
            self.out_of_order += 1
            segment.plain = False
        else:  # what is before the start of the flow is no record content
            out[:new] = payload[:new]
        return segment

    def _is_there(self, begin: int, size: int) -> bool:
        """Whether the stream goes on at a place far away: enough packets in a row say so."""
        if begin - self._far_next & SEQUENCE_MASK or self.position != self._far_from:
            self._far_packets = 0
        self._far_packets += 1
        self._far_next, self._far_from = begin + size, self.position
        if self._far_packets < FAR_PACKETS:
            return False
        self._far_packets = 0
        return True

    def overlooked(self) -> None:
        """A packet of the flow could not be taken: its checksum is wrong, say."""
        self.not_offloaded += 1

    def _count_tag_resync(self) -> None:
        self.tag_resyncs += 1
        self._counters.rx_tls_resync_tag += 1

    def _go(self, event: Event) -> None:
        before = self.state
        super()._go(event)
        if self.state is State.OFFLOAD:
            self._resumed_from = before  # told when the record number is known
        elif self.state is not before:
            self._moved(self, before.value)

    def _resume(self, number: int, start: int | None = None, end: int | None = None) -> None:
        super()._resume(number, start, end)
        before, self._resumed_from = self._resumed_from, self.state
        if before is not self.state:
            self._moved(self, before.value)

    # The host's word.

    def _ask_host(self, now_ns: int) -> Question | None:
        wanted = self._ask and self._may_ask and self.state is State.TRACK
        if not wanted or self._question is not None:
            return None
        self._ask = False
        self.questions += 1
        self._question_ns = now_ns
        self._counters.rx_tls_resync_req_start += 1
        self._counters.rx_tls_resync_req_pkt += 1
        sequence = self.start_sequence + self._asked & SEQUENCE_MASK
        number = self.questions & SEQUENCE_MASK
        self._question = question = Question(sequence, number, self.record_number)
        return question

    def answer(self, question: int, sequence: int, found: bool, record_number: int) -> bool:
        """The host's answer to a question.

        Args:
            question, sequence: as in the question.
            found: whether a record starts there.
            record_number: its number.

        Returns:
            False when it is stale: the question is not open.
        """
        counters = self._counters
        asked = self._question
        if asked is None or asked.number != question or asked.sequence != sequence:
            counters.rx_tls_resync_res_skip += 1
            return False
        self._question = None
        counters.rx_tls_resync_req_end += 1
        if found:
            counters.rx_tls_resync_res_ok += 1
            self.host_resyncs += 1
            self._go(Event.CONFIRMED)
            self._resume(record_number + self.number - self._asked_count)
        else:
            counters.rx_tls_resync_res_skip += 1
            self._refute()
        return True

    def hint(self, sequence: int, record_number: int) -> bool:
        """Record `record_number` starts at TCP sequence number `sequence`.

        Returns:
            False when it is stale: the place was passed and not followed, or is far away, or the
            key of the records there is not known yet. In OFFLOAD it changes nothing.
        """
        counters = self._counters
        offload = self.state is State.OFFLOAD
        start = self.position_of(sequence)
        usable = start - self.position <= FAR_BYTES and not (offload or self._key_over)
        if not usable or not self._resume_at(Event.HINT, start, record_number):
            counters.rx_tls_resync_res_skip += 1
            return offload
        if self._rekey is not None and start > self._rekey.start:
            self._adopt(self._rekey)
        counters.rx_tls_resync_res_ok += 1
        self.host_resyncs += 1
        return True

    def drop_question(self) -> None:
        """The flow is being destroyed: its question will not be answered."""
        self._drop_question()

    def _drop_question(self) -> None:
        if self._question is not None:
            self._question = None
            self._counters.rx_tls_resync_req_skip += 1

    # Keys.

    def rekey(self, opener: RecordOpener, tcp_sequence: int, record_number: int) -> None:
        """From `tcp_sequence` on, where record `record_number` starts, records have the new key.

        The old key, and one that is still to come, are wiped as soon as they cannot be needed.
        """
        if self._rekey is not None:
            self._rekey.opener.wipe()
        start = self.position_of(tcp_sequence)
        rekey = Rekey(start, record_number, opener)
        self._plan(rekey)
        self._key_over = False
        offload = self.state is State.OFFLOAD
        if start > self.position or (start == self.position and offload and start != self._start):
            if self.state is State.HALTED:
                self._resume_at(Event.NEW_KEY, start, record_number)
        elif self._resume_at(Event.NEW_KEY, start, record_number):
            self._adopt(rekey)
        else:
            self._adopt(rekey)
            astray = self.state is State.TRACK and start >= self._anchor
            self._go(Event.MISFIT if astray else Event.NEW_KEY_BEHIND)
            self._lose(record_number, start)
            tracks = self.state is State.TRACK
            self._count_possible(self._anchor if tracks else self.position - len(self._carry))

    def _take_key(self) -> None:
        rekey = self._rekey
        if rekey is None:
            return
        self._adopt(rekey)
        if rekey.start == self.position:
            self._go(Event.NEW_KEY)
            self._resume(rekey.number, self.position)
        else:
            self._go(Event.NEW_KEY_BEHIND)
            self._lose(rekey.number, rekey.start)
            self._search_from(self.position)

    def _plan(self, rekey: Rekey | None) -> None:
        self._rekey = rekey
        self._key_start = None if rekey is None else rekey.start

    def _adopt(self, rekey: Rekey) -> None:
        self._opener.wipe()
        self._opener = rekey.opener
        self._key_over = False
        self._plan(None)

    def wipe(self) -> None:
        """Overwrite the keys and forget everything that was made from them."""
        self._stop()
        self._opener.wipe()
        if self._rekey is not None:
            self._rekey.opener.wipe()
            self._plan(None)
