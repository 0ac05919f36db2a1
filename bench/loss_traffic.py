"""Traffic for the loss experiment: one stream of real TLS records, its sender, and its host.

Time is counted in segments of a flow. The sender sends one per step: what has to be sent again first,
else new data. A lost segment is sent again one round trip later, as fast retransmission with
selective acknowledgements does, and may be lost again. The host puts segments in order and answers
the device's question once the stream is in order up to the header that was asked about, as a kernel
does, which sees records only then.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final, Protocol

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tlsnic.abi.enums import TlsRxState
from tlsnic.abi.suites import HEADER_BYTES

MSS: Final = 1448
RECORD_PLAINTEXT: Final = 16384
SEGMENT_NS: Final = 30_000
"""One step: 64 flows that share 25 Gbit/s."""
RESYNC_TIMEOUT_NS: Final = 1_000_000_000
"""What TLS_RESYNC.TIMEOUT_US is after a reset."""

KEY: Final = bytes(range(16))
IV: Final = bytes(range(100, 112))
_INNER_TYPE: Final = b"\x17"
_TAG_BYTES: Final = 16
_MASK: Final = 0xFFFF_FFFF
_DECRYPTED: Final = int(TlsRxState.DECRYPTED)


class WrongPlaintext(Exception):
    """The device marked a packet as decrypted, and it does not hold the plaintext."""


class Stream:
    """Full-size application-data records of TLS 1.3 with AES-128-GCM, numbered from 0.

    Encrypted by the cryptography library alone (RFC 8446 section 5.2), so that the card does not
    judge itself.
    """

    def __init__(self, records: int, plaintext_bytes: int = RECORD_PLAINTEXT) -> None:
        aead, numbers = AESGCM(KEY), int.from_bytes(IV, "big")
        random = Random(records)
        body_bytes = plaintext_bytes + len(_INNER_TYPE) + _TAG_BYTES
        header = b"\x17\x03\x03" + body_bytes.to_bytes(2, "big")
        wire, shown = bytearray(), bytearray()
        for number in range(records):
            content = random.randbytes(plaintext_bytes) + _INNER_TYPE
            body = aead.encrypt((numbers ^ number).to_bytes(12, "big"), content, header)
            wire += header + body
            shown += header + content + body[-_TAG_BYTES:]
        self.records = records
        self.record_bytes = HEADER_BYTES + body_bytes
        """Of each record on the wire."""
        self.wire = memoryview(bytes(wire))
        self.shown = bytes(shown)
        """What a device that decrypts in place makes of `wire`: headers and tags stay."""


def cut(total_bytes: int, first_bytes: int) -> list[int]:
    """Where the segments of a stream begin, and the end of the last; the first has `first_bytes`."""
    return [0, *range(first_bytes, total_bytes, MSS), total_bytes]


def arrivals(segments: int, loss: float, round_trip: int, random: Random) -> Iterator[int | None]:
    """What arrives in each step: a segment's index, or None when it was lost or none was due."""
    again: deque[tuple[int, int]] = deque()
    step = new = 0
    while new < segments or again:
        if again and again[0][0] <= step:
            segment: int | None = again.popleft()[1]
        elif new < segments:
            segment = new
            new += 1
        else:
            segment = None
        if segment is not None and random.random() < loss:
            again.append((step + round_trip, segment))
            segment = None
        yield segment
        step += 1


class Question(Protocol):
    """What the device asks: the number of the question, and where it supposes a record header."""

    @property
    def sequence(self) -> int: ...
    @property
    def number(self) -> int: ...


class Verdict(Protocol):
    """What the device says of a packet."""

    @property
    def state(self) -> int: ...
    @property
    def question(self) -> Question | None: ...


class Flow(Protocol):
    """The device's side of a flow, as far as it is used here."""

    def take(
        self, sequence: int, payload: memoryview, out: memoryview, now_ns: int, timeout_ns: int
    ) -> Verdict: ...
    def answer(self, question: int, sequence: int, found: bool, record_number: int) -> bool: ...


@dataclass(frozen=True)
class Fates:
    """What became of the segments of a flow."""

    starts: Sequence[int]
    """As from cut()."""
    states: bytearray
    """TlsRxState of each segment; NONE: has not arrived."""
    late: bytearray
    """1 for each segment that arrived behind one that follows it."""


class Host:
    """The receiving host of one flow: reorders, compares with the plaintext, answers."""

    def __init__(self, stream: Stream, starts: Sequence[int], flow: Flow, sequence: int) -> None:
        """`starts` as from cut(); `sequence` is the TCP sequence number of the first byte."""
        segments = len(starts) - 1
        self.fates = Fates(starts, bytearray(segments), bytearray(segments))
        self._stream = stream
        self._flow = flow
        self._sequence = sequence
        self._out = memoryview(bytearray(MSS))
        self._in_order = 0
        self._newest = 0
        self._question: Question | None = None

    @property
    def in_order_bytes(self) -> int:
        """How much of the stream has come without a gap."""
        return self.fates.starts[self._in_order]

    def arrive(self, segment: int, now_ns: int) -> None:
        """A segment passes the device and comes here.

        Raises:
            WrongPlaintext: marked as decrypted, and it is not.
        """
        starts, states = self.fates.starts, self.fates.states
        begin, end = starts[segment], starts[segment + 1]
        payload = self._stream.wire[begin:end]
        sequence = self._sequence + begin & _MASK
        verdict = self._flow.take(sequence, payload, self._out, now_ns, RESYNC_TIMEOUT_NS)
        # As bytes, since memoryviews are compared byte by byte.
        if verdict.state == _DECRYPTED and (
            bytes(self._out[: end - begin]) != self._stream.shown[begin:end]
        ):
            raise WrongPlaintext(f"segment {segment}, bytes {begin} to {end} of the stream")
        states[segment] = verdict.state
        if segment < self._newest:
            self.fates.late[segment] = 1
        else:
            self._newest = segment
        if segment == self._in_order:
            while segment < len(states) and states[segment]:
                segment += 1
            self._in_order = segment
        if verdict.question is not None:
            self._question = verdict.question
        if self._question is not None:
            self._answer(self._question)

    def _answer(self, question: Question) -> None:
        place = question.sequence - self._sequence & _MASK
        if place + HEADER_BYTES > self.in_order_bytes:
            return
        self._question = None
        number, inside = divmod(place, self._stream.record_bytes)
        self._flow.answer(question.number, question.sequence, not inside, number)


@dataclass(frozen=True)
class Shares:
    """What became of records."""

    records: int
    fully: int
    """Every segment with a part of it came decrypted."""
    partly: int
    """Some did."""
    whole: int
    """No segment with a part of it was late: what a device that loses nothing else would decrypt."""
    segments: int
    """Segments that the records touch, those at a boundary once for each record."""

    def __add__(self, other: Shares) -> Shares:
        return Shares(*(a + b for a, b in zip(self._figures, other._figures, strict=True)))

    @property
    def _figures(self) -> tuple[int, ...]:
        return self.records, self.fully, self.partly, self.whole, self.segments

    @property
    def segments_per_record(self) -> float:
        """The mean k of the bound (1-p)^k."""
        return self.segments / self.records


NOTHING: Final = Shares(0, 0, 0, 0, 0)


def account(fates: Fates, record_bytes: int, first: int, records: int) -> Shares:
    """Shares of the records from number `first` to `records` - 1."""
    starts, states, late = fates.starts, fates.states, fates.late
    fully = partly = whole = touched = 0
    for number in range(first, records):
        low = bisect_right(starts, number * record_bytes) - 1
        high = bisect_right(starts, (number + 1) * record_bytes - 1)
        decrypted = states.count(_DECRYPTED, low, high)
        fully += decrypted == high - low
        partly += 0 < decrypted < high - low
        whole += not late.count(1, low, high)
        touched += high - low
    return Shares(records - first, fully, partly, whole, touched)
