"""What became of each byte of one flow: takes its frames and trace records in order.

The rules are those of the stack above. Of bytes that come several times, the first copy that passed
the card counts. A record is decrypted when all packets that brought its bytes were; a record with
both kinds of packets is the stack's to mend. On transmit the first copy that left counts.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from typing import Final

from tlsnic.abi.enums import TlsDirection, TlsEvent, TlsOutcome, TlsTrackerState
from tlsnic.abi.structures import TraceTlsEvent, TraceTlsPacket

from .coverage import Coverage, Gaps
from .framing import Framing
from .model import (
    TRANSMITTED,
    Fate,
    Flow,
    Judged,
    Mark,
    Offloaded,
    Packet,
    Piece,
    Question,
    Record,
    Span,
)

FAR_BYTES: Final = 16 << 20
"""A packet further than this from the stream's end is no part of it (as the card has it)."""
FAR_PACKETS: Final = 16
"""So many of them, each behind the other, and the stream is there."""
_RETRACTED: Final = 1024
"""Packets that the card may have told of since it told of one that it then dropped."""
_HALF: Final = 1 << 31
_SPACE: Final = 1 << 32
_MARKS: Final = (
    TlsEvent.CREATED,
    TlsEvent.DESTROYED,
    TlsEvent.REKEYED,
    TlsEvent.HINTED,
    TlsEvent.HALTED,
    TlsEvent.RATED,
    TlsEvent.RESET,
)
_ANSWERS: Final = (TlsEvent.ANSWERED, TlsEvent.DENIED, TlsEvent.STALE)
_PLACES: Final = (TlsEvent.REKEYED, TlsEvent.ANSWERED, TlsEvent.HINTED)
"""Events that say that a record starts there, and which number it has."""


class Analysis:
    """One flow in the making."""

    def __init__(self, flow: Flow, *, at_header: bool) -> None:
        """at_header: a record starts at the flow's first TCP sequence number."""
        self.flow = flow
        self.ended = False
        self._receives = flow.direction is TlsDirection.RECEIVE
        self._coverage = Coverage()
        self._dropped = Coverage()
        self._framed = Coverage()
        self._gaps = Gaps()
        self._framing = Framing(0 if at_header else None)
        self._new: list[list[tuple[int, int]]] = []
        """Of each packet, the ranges that it brought first."""
        self._high = 0
        self._far: tuple[int, int] = (0, 0)
        self._waiting: dict[tuple[int, int], deque[tuple[int, int, memoryview]]] = {}
        """Received frames by (sequence, length), until the card tells of them."""
        self._sent: dict[int, list[int]] = {}
        """Transmitted packets by sequence, until their frame passes."""
        self._numbers: dict[int, int] = {}
        """Record numbers by where the record starts."""
        self._around: dict[int, tuple[int, int]] = {}
        """By time: a position, and the number of the record there."""
        self._state: tuple[int, TlsTrackerState] | None = None

    # What comes in.

    def take_earlier(
        self, time_ns: int, number: int, sequence: int, length: int, payload: memoryview
    ) -> None:
        """A frame that came before the flow was made: as on the wire, where it is of the stream."""
        position = self._place(sequence, length)
        if position is None or position + length <= 0:
            return
        packet = Packet(
            time_ns, max(0, position), position + length, TlsOutcome.AS_ON_WIRE, None, number
        )
        self._add(packet, payload[max(0, -position) :])

    def take_frame(
        self, time_ns: int, number: int, sequence: int, length: int, payload: memoryview
    ) -> None:
        """A TCP segment of the flow, as it is on the wire."""
        if self.ended:
            return
        if self._receives:
            waiting = self._waiting.setdefault((sequence, length), deque())
            waiting.append((time_ns, number, payload))
            return
        position = self._place(sequence, length)
        if position is None:
            return
        self._framing_takes(position, payload)
        for index in self._sent.pop(sequence, ()):
            self.flow.packets[index] = self.flow.packets[index]._replace(frame=number)

    def take_packet(self, time_ns: int, record: TraceTlsPacket) -> None:
        """The card tells what it did to a packet."""
        outcome = TlsOutcome(record.outcome)
        number, payload = 0, memoryview(b"")
        if self._receives and outcome is TlsOutcome.DROPPED:
            self._retract(record.tcp_sequence, record.length)
            return
        if self._receives:
            place = record.tcp_sequence, record.length
            waiting = self._waiting.get(place)
            if waiting:
                # The newest: older ones with the same bytes were dropped.
                _, number, payload = waiting.pop()
                if not waiting:
                    del self._waiting[place]
        if not record.length:
            return
        position = self._place(record.tcp_sequence, record.length)
        if position is None:
            self.flow.strays += 1
            return
        end = position + record.length
        state = TlsTrackerState(record.tracker_state)
        index = len(self.flow.packets)
        self._add(Packet(time_ns, position, end, outcome, state, number), payload)
        if self._receives:
            if outcome is TlsOutcome.DECRYPTED and state is TlsTrackerState.OFFLOAD:
                self._note_number(time_ns, end, record.record_number)
            if self._state is None:
                self._state = time_ns, state
        else:
            self._sent.setdefault(record.tcp_sequence, []).append(index)
            if outcome is TlsOutcome.ENCRYPTED:
                self._note_number(time_ns, end, record.record_number)

    def _retract(self, sequence: int, length: int) -> None:
        """What the card told of these bytes last is not what became of them: it dropped them."""
        begin, left = self._nearest(sequence), length
        packets = self.flow.packets
        for index in range(len(packets) - 1, max(-1, len(packets) - 1 - _RETRACTED), -1):
            packet = packets[index]
            inside = begin <= packet.begin and packet.end <= begin + length
            if not inside or packet.state is None or packet.outcome is TlsOutcome.DROPPED:
                continue
            packets[index] = packet._replace(outcome=TlsOutcome.DROPPED)
            for low, _ in self._new[index]:
                self._coverage.remove(low)
            self._new[index] = []
            self._dropped.add(packet.begin, packet.end, index)
            left -= packet.end - packet.begin
            if left <= 0:
                return

    def _note_number(self, time_ns: int, position: int, number: int) -> None:
        """The record at a position has this number. Packets of one moment are told of when all have
        passed: the number is that of the last one's end."""
        before = self._around.get(time_ns)
        if before is None or before[0] <= position:
            self._around[time_ns] = position, number

    def take_event(self, time_ns: int, record: TraceTlsEvent) -> None:
        """The card tells what happened to the flow."""
        flow, event = self.flow, TlsEvent(record.event)
        position = self._nearest(record.tcp_sequence)
        if event in _MARKS:
            flow.marks.append(Mark(event, time_ns, position, record.record_number))
        if event is TlsEvent.CREATED:
            self._numbers[position] = record.record_number
            if self._receives and self._state is None:
                self._state = time_ns, TlsTrackerState(record.new_state or TlsTrackerState.OFFLOAD)
        elif event is TlsEvent.TRACKER:
            self._change(time_ns, TlsTrackerState(record.old_state), record.new_state)
        elif event is TlsEvent.ASKED:
            flow.questions.append(Question(record.question, position, time_ns, None, None, None))
        elif event in _ANSWERS and record.question:
            self._answer(time_ns, record)
        elif event is TlsEvent.STALE:
            flow.marks.append(Mark(event, time_ns, position, record.record_number))
        if event in _PLACES:
            self._numbers[position] = record.record_number
        if event in (TlsEvent.DESTROYED, TlsEvent.RESET):
            self.ended = True

    def _change(self, time_ns: int, old: TlsTrackerState, new: int) -> None:
        began = time_ns if self._state is None else self._state[0]
        state = old if self._state is None else self._state[1]
        if time_ns > began:
            self.flow.states.append(Span(began, time_ns, state))
        self._state = time_ns, TlsTrackerState(new)

    def _answer(self, time_ns: int, record: TraceTlsEvent) -> None:
        questions = self.flow.questions
        for at in range(len(questions) - 1, -1, -1):
            question = questions[at]
            if question.number == record.question:
                if question.answer is None:
                    questions[at] = question._replace(
                        answer=TlsEvent(record.event),
                        answered_ns=time_ns,
                        record_number=record.record_number,
                    )
                return

    # Where it belongs.

    def _nearest(self, sequence: int) -> int:
        """The position of a TCP sequence number that is nearest to the stream's end."""
        relative = sequence - self.flow.start_sequence - self._high & _SPACE - 1
        return self._high + (relative - _SPACE if relative >= _HALF else relative)

    def _place(self, sequence: int, length: int) -> int | None:
        """The position of a packet; None: it is far away from the stream."""
        position = self._nearest(sequence)
        if -FAR_BYTES <= position - self._high <= FAR_BYTES:
            self._far = (0, 0)
            return position
        expected, count = self._far
        count = count + 1 if position == expected else 1
        self._far = position + length, count
        return position if count >= FAR_PACKETS and position > self._high else None

    def _add(self, packet: Packet, payload: memoryview) -> None:
        flow = self.flow
        index = len(flow.packets)
        flow.packets.append(packet)
        begin, end, now_ns = packet.begin, packet.end, packet.time_ns
        if packet.outcome in (None, TlsOutcome.DROPPED):
            self._dropped.add(begin, end, index)
            self._new.append([])
            return
        high = self._coverage.high
        new = self._coverage.add(begin, end, index)
        self._new.append(new)
        if high is not None and begin > high:
            self._gaps.see(high, begin, now_ns)
        elif high is None and begin > 0:
            self._gaps.see(0, begin, now_ns)
        for low, top in new:
            self._gaps.fill(low, top, now_ns)
            if self._receives:
                self._framing_takes(low, payload[low - begin : top - begin])
        self._high = max(self._high, end)

    def _framing_takes(self, position: int, payload: memoryview) -> None:
        if position < 0:
            payload, position = payload[-position:], 0
        for low, high in self._framed.add(position, position + len(payload), 0):
            self._framing.add(low, payload[low - position : high - position])

    # What comes of it.

    def finish(self) -> Flow:
        """The flow with everything that its trace tells."""
        flow = self.flow
        self._add_unfollowed()
        flow.records = self._number(self._framing.finish())
        flow.judged = [self._judge(record) for record in flow.records]
        flow.gaps = self._gaps.all()
        begins = [record.begin for record in flow.records]
        for index, packet in enumerate(flow.packets):
            flow.pieces += self._cut(index, packet, begins)
        flow.stream = self._account(begins)
        if self._state is not None:
            began, state = self._state
            flow.states.append(Span(began, max(began, flow.end_ns), state))
        return flow

    def _add_unfollowed(self) -> None:
        """Frames that the card never told of, in the order of time among the others."""
        unfollowed = []
        for (sequence, length), waiting in self._waiting.items():
            position = self._place(sequence, length)
            if position is None:
                continue
            for time_ns, number, _ in waiting:
                unfollowed.append(Packet(time_ns, position, position + length, None, None, number))
        if not unfollowed:
            return
        for packet in unfollowed:
            self._add(packet, memoryview(b""))
        packets = self.flow.packets
        order = sorted(range(len(packets)), key=lambda index: (packets[index].time_ns, index))
        self.flow.packets = [packets[index] for index in order]
        self._new = [self._new[index] for index in order]
        moved = [0] * len(order)
        for new, old in enumerate(order):
            moved[old] = new
        self._coverage.rename(moved)
        self._dropped.rename(moved)

    def _number(self, records: list[Record]) -> list[Record]:
        """The records with their numbers."""
        found: list[Record] = []
        number: int | None = None
        around = deque(sorted(self._around.values()))
        for record in records:
            if found and record.begin != found[-1].end:
                number = None
            number = self._numbers.get(record.begin, number)
            while around and around[0][0] < record.begin:
                around.popleft()
            if number is None and around and around[0][0] < record.end:
                number = around[0][1]
            found.append(record._replace(number=number))
            number = None if number is None else number + 1
        return found

    def _judge(self, record: Record) -> Judged:
        """What became of a record."""
        parts = list(self._coverage.within(record.begin, record.end))
        complete = sum(end - begin for begin, end, _ in parts) == record.end - record.begin
        packets = self.flow.packets
        if not self._receives:
            return Judged(Fate.ENCRYPTED if complete else Fate.UNFINISHED, None)
        outcomes = [packets[owner].outcome for _, _, owner in parts]
        decrypted = outcomes.count(TlsOutcome.DECRYPTED)
        if decrypted == len(outcomes):
            fate, share = Fate.DECRYPTED, Offloaded.FULLY
        elif decrypted:
            fate, share = Fate.PARTLY, Offloaded.PARTLY
        else:
            fate, share = Fate.SOFTWARE, Offloaded.NOT
        if self._may_have_failed(record, parts):
            fate = Fate.AUTH_FAILED
        if not complete:
            return Judged(Fate.UNFINISHED, None)
        return Judged(fate, share)

    def _may_have_failed(self, record: Record, parts: list[tuple[int, int, int]]) -> bool:
        """Whether it ends in a packet that failed authentication. When several records do, the card
        does not tell which of them it was."""
        packets = self.flow.packets
        return any(
            end == record.end and packets[owner].outcome is TlsOutcome.AUTH_FAILED
            for _, end, owner in parts
        )

    def _cut(self, index: int, packet: Packet, begins: list[int]) -> list[Piece]:
        """A packet in pieces: what it brought first by record, and what was there already."""
        if packet.outcome in (None, TlsOutcome.DROPPED):
            return self._by_record(index, packet.begin, packet.end, begins, Fate.DROPPED)
        if not self._receives:
            fate = TRANSMITTED[packet.outcome or TlsOutcome.DROPPED]
            return self._by_record(index, packet.begin, packet.end, begins, fate)
        pieces = []
        at = packet.begin
        for low, high in self._new[index]:
            if at < low:
                pieces += self._by_record(index, at, low, begins, Fate.AGAIN)
            pieces += self._by_record(index, low, high, begins, None)
            at = high
        if at < packet.end:
            pieces += self._by_record(index, at, packet.end, begins, Fate.AGAIN)
        return pieces

    def _by_record(
        self, index: int, begin: int, end: int, begins: list[int], fate: Fate | None
    ) -> list[Piece]:
        """A range cut at record boundaries. fate None: that of the record."""
        records, judged = self.flow.records, self.flow.judged
        pieces = []
        while begin < end:
            at = bisect_right(begins, begin) - 1
            inside = at >= 0 and begin < records[at].end
            following = begins[at + 1] if at + 1 < len(begins) else end
            stop = min(records[at].end if inside else following, end)
            if begin < 0:
                stop, inside = min(stop, 0), False
            own = fate
            if own is None:
                unknown = Fate.BYPASSED if begin < 0 else Fate.UNFRAMED
                own = judged[at].fate if inside else unknown
            pieces.append(Piece(index, begin, stop, own, at if inside else -1))
            begin = stop
        return pieces

    def _account(self, begins: list[int]) -> list[tuple[int, int, Fate]]:
        """The whole stream, each byte once."""
        ends = [packet.end for packet in self.flow.packets]
        if not ends:
            return []
        low = min(0, *(packet.begin for packet in self.flow.packets))
        found: list[tuple[int, int, Fate]] = []
        at, high = low, max(ends)
        for begin, end, owner in self._coverage.within(low, high):
            self._without(at, begin, found)
            outcome = self.flow.packets[owner].outcome or TlsOutcome.DROPPED
            fate = None if self._receives else TRANSMITTED[outcome]
            for piece in self._by_record(owner, begin, end, begins, fate):
                _append(found, piece.begin, piece.end, piece.fate)
            at = end
        self._without(at, high, found)
        return found

    def _without(self, begin: int, end: int, found: list[tuple[int, int, Fate]]) -> None:
        """A range that nothing came through of: dropped, or never seen."""
        for low, high, _ in self._dropped.within(begin, end):
            _append(found, begin, low, Fate.MISSING)
            _append(found, low, high, Fate.DROPPED)
            begin = high
        _append(found, begin, end, Fate.MISSING)


def _append(ranges: list[tuple[int, int, Fate]], begin: int, end: int, fate: Fate) -> None:
    """Add a range behind the last one, and join it to that if it has the same fate."""
    if begin >= end:
        return
    if ranges and ranges[-1][2] is fate and ranges[-1][1] == begin:
        ranges[-1] = ranges[-1][0], end, fate
    else:
        ranges.append((begin, end, fate))
