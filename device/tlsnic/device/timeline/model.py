"""What a timeline shows: a flow with its packets, records, gaps, questions and states.

Positions are bytes from the flow's start (the TCP sequence number that its first record starts at),
without the wrap at 4 GiB; negative before it. Times are nanoseconds since 1970.
"""

from __future__ import annotations

import enum
from collections import Counter
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from tlsnic.abi.enums import TlsDirection, TlsEvent, TlsOutcome, TlsTrackerState


class Fate(enum.Enum):
    """What became of a range of bytes; the value is how it is called to people."""

    DECRYPTED = "decrypted"
    PARTLY = "record partly in software"
    SOFTWARE = "record in software"
    AUTH_FAILED = "authentication failed"
    UNFINISHED = "record not complete"
    UNFRAMED = "record unknown"
    ENCRYPTED = "encrypted in order"
    PRESYNCED = "encrypted out of order"
    BYPASSED = "before offload"
    AGAIN = "had it already"
    DROPPED = "dropped or not looked at"
    MISSING = "never seen"


TRANSMITTED: Final = {
    TlsOutcome.ENCRYPTED: Fate.ENCRYPTED,
    TlsOutcome.PRESYNCED: Fate.PRESYNCED,
    TlsOutcome.BYPASSED: Fate.BYPASSED,
    TlsOutcome.DROPPED: Fate.DROPPED,
}
"""What became of a packet that goes out."""


class Offloaded(enum.Enum):
    """How much of a record came decrypted, as the stack sees it."""

    FULLY = "fully"
    PARTLY = "partly"
    NOT = "not"


class Packet(NamedTuple):
    """A packet of the flow that passed the card, or was posted to it."""

    time_ns: int
    begin: int
    end: int
    outcome: TlsOutcome | None
    """None: the card did not follow it."""
    state: TlsTrackerState | None
    """The tracker's state afterwards; None: the flow was not made yet, or the card did not follow."""
    frame: int
    """Its number in the capture, from 1; 0: not there."""

    @property
    def what(self) -> str:
        """What was done to it, in a word."""
        if self.outcome is None:
            return "NOT_FOLLOWED"
        return "BEFORE_THE_FLOW" if self.state is None else self.outcome.name


class Piece(NamedTuple):
    """A part of a packet with one fate, of one record."""

    packet: int
    """Index of the packet."""
    begin: int
    end: int
    fate: Fate
    record: int
    """Index of the record; -1: not known."""


class Record(NamedTuple):
    """A TLS record of the stream, header included."""

    begin: int
    end: int
    number: int | None
    """Its record number; None: not known."""
    content_type: int


class Judged(NamedTuple):
    """What became of a record."""

    fate: Fate
    offloaded: Offloaded | None
    """None: it is not complete, or goes out."""


class Gap(NamedTuple):
    """Bytes that a later packet overtook: lost before the card, or late."""

    begin: int
    end: int
    seen_ns: int
    """When the later packet came."""
    filled_ns: int | None
    """When they came after all; None: never."""


class Question(NamedTuple):
    """The card asked whether a record starts at a place, and what came of it."""

    number: int
    position: int
    asked_ns: int
    answer: TlsEvent | None
    """ANSWERED, DENIED or STALE; None: it was overtaken, or is open."""
    answered_ns: int | None
    record_number: int | None


class Mark(NamedTuple):
    """Another event at one moment: a hint, rekey, halt, rate, the flow's beginning and end."""

    event: TlsEvent
    time_ns: int
    position: int
    record_number: int


class Span(NamedTuple):
    """The tracker's state for some time."""

    begin_ns: int
    end_ns: int
    state: TlsTrackerState


@dataclass
class Flow:
    """All that is known of one flow."""

    card: int
    handle: int
    direction: TlsDirection
    start_sequence: int
    """u32 TCP sequence number at position 0."""
    local: str
    remote: str
    suite: str
    packets: list[Packet] = field(default_factory=list)
    pieces: list[Piece] = field(default_factory=list)
    """In the order of the packets."""
    records: list[Record] = field(default_factory=list)
    judged: list[Judged] = field(default_factory=list)
    """Of each record."""
    gaps: list[Gap] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    states: list[Span] = field(default_factory=list)
    stream: list[tuple[int, int, Fate]] = field(default_factory=list)
    """What became of each byte in the end: ranges that follow each other without a gap."""
    strays: int = 0
    """Packets far away from the stream."""

    @property
    def begin_ns(self) -> int:
        """The first moment."""
        return min(self._moments(), default=0)

    @property
    def end_ns(self) -> int:
        """The last moment."""
        return max(self._moments(), default=0)

    def _moments(self) -> list[int]:
        packets = self.packets
        found = [packets[0].time_ns, packets[-1].time_ns] if packets else []
        return found + [mark.time_ns for mark in self.marks]

    @property
    def title(self) -> str:
        """Direction, addresses and suite, for people."""
        arrow = "←" if self.direction is TlsDirection.RECEIVE else "→"
        direction = self.direction.name.lower()
        return f"{direction} {self.local} {arrow} {self.remote}, {self.suite}"

    def bytes_by_fate(self) -> Counter[Fate]:
        """How many bytes of the stream have each fate."""
        count: Counter[Fate] = Counter()
        for begin, end, fate in self.stream:
            count[fate] += end - begin
        return count

    def records_by_share(self) -> Counter[Offloaded]:
        """How many complete records came fully, partly and not decrypted."""
        return Counter(one.offloaded for one in self.judged if one.offloaded is not None)
