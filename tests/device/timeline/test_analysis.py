"""What became of each byte, against a list that says it byte by byte."""

import itertools
import sys
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trace_bench import HANDLE, OUTCOMES, Receiving, Trace, lossy, make_records, sending

from tlsnic.abi.enums import TlsDirection, TlsEvent, TlsOutcome, TlsTrackerState
from tlsnic.device.timeline.model import Fate, Offloaded
from tlsnic.device.timeline.reading import read_flows
from tlsnic.device.timeline.summary import packets

DECRYPTED, AS_ON_WIRE = TlsOutcome.DECRYPTED, TlsOutcome.AS_ON_WIRE


def flow_of(receiving):
    (flow,) = read_flows(receiving.finish())
    return flow


def truth(receiving):
    """Of each byte, its fate, from what was said of the copy that came first."""
    found = []
    for low, high in pairwise(receiving.begins):
        said = receiving.said[low:high]
        if None in said:
            fate = Fate.UNFINISHED
        elif TlsOutcome.AUTH_FAILED is said[-1]:
            fate = Fate.AUTH_FAILED
        else:
            share = said.count(DECRYPTED)
            fate = Fate.DECRYPTED if share == len(said) else Fate.PARTLY if share else Fate.SOFTWARE
        found += [Fate.MISSING if one is None else fate for one in said]
    while found and found[-1] is Fate.MISSING:
        found.pop()
    return found


def by_byte(flow):
    """The stream's fates, byte by byte; it must have each byte once."""
    found, at = [], 0
    for begin, end, fate in flow.stream:
        assert begin == at < end
        found += [fate] * (end - begin)
        at = end
    return found


@st.composite
def streams(draw):
    """A receive flow whose segments come in any order, again, overlapping, damaged, or never."""
    sizes = draw(st.lists(st.integers(1, 300), min_size=1, max_size=12))
    receiving = Receiving(
        sizes,
        sequence=draw(st.sampled_from([0, 1, 2**32 - 700, 2**31 - 10])),
        host=draw(st.booleans()),
        tag=draw(st.booleans()),
        answer_after=draw(st.integers(0, 4)),
    )
    total = len(receiving.wire)
    cuts = sorted(draw(st.sets(st.integers(1, total), max_size=20)) | {0, total})
    segments = list(pairwise(cuts))
    plan = draw(st.lists(st.integers(0, len(segments) - 1), max_size=30))
    order = [*range(len(segments)), *plan] if draw(st.booleans()) else plan
    swapped = draw(st.lists(st.integers(0, max(0, len(order) - 2)), max_size=4)) if order else []
    for at in swapped:
        order[at : at + 2] = reversed(order[at : at + 2])
    for index in order:
        begin, end = segments[index]
        fate = draw(st.integers(0, 11))
        if fate == 11:
            receiving.lose(begin, end)
        elif fate == 10 and index + 1 < len(segments):
            receiving.arrive(begin, segments[index + 1][1])
        elif fate > 8:
            continue
        else:
            # Not in a header, where it would lead the one who reads astray, too.
            inside = all(not low < end <= low + 5 for low in receiving.begins)
            receiving.arrive(begin, end, damage=inside and draw(st.integers(0, 15)) == 0)
    return receiving


@given(streams())
def test_each_byte_has_the_fate_that_it_had(receiving):
    flow = flow_of(receiving)
    check_fates(flow, receiving)
    check_pieces(flow)
    check_gaps(flow)


def check_fates(flow, receiving):
    """Against what was said of each byte."""
    expected = truth(receiving)
    found = by_byte(flow)
    # The card's drops are told from what was never sent; and where no header came, records are not
    # known. All else must be the same.
    first = next((at for at, low in enumerate(receiving.begins[:-1])
                  if any(one is None for one in receiving.said[low : low + 5])), None)  # fmt: skip
    limit = len(expected) if first is None else receiving.begins[first]
    for at, (one, other) in enumerate(zip(found, expected, strict=False)):
        if other is Fate.MISSING:
            assert one in (Fate.MISSING, Fate.DROPPED)
        elif at < limit:
            assert one is other, at
        else:
            assert one not in (Fate.MISSING, Fate.DROPPED, Fate.AGAIN)
    assert len(found) >= len(expected)
    behind = found[len(expected) :]  # up to the last frame that was lost in the card
    assert set(behind) <= {Fate.DROPPED, Fate.MISSING}
    assert behind[-1:] in ([], [Fate.DROPPED])
    assert flow.bytes_by_fate() == Counter(found)


def check_pieces(flow):
    """They are the packets, cut."""
    pieces = [[] for _ in flow.packets]
    for piece in flow.pieces:
        pieces[piece.packet].append(piece)
    first = Counter()
    for packet, parts in zip(flow.packets, pieces, strict=True):
        at = packet.begin
        for piece in parts:
            assert piece.begin == at < piece.end
            at = piece.end
            if piece.fate not in (Fate.AGAIN, Fate.DROPPED):
                first[piece.fate] += piece.end - piece.begin
            if piece.record >= 0:
                record = flow.records[piece.record]
                assert record.begin <= piece.begin < piece.end <= record.end
        assert at == packet.end
    came = {fate: n for fate, n in flow.bytes_by_fate().items()
            if fate not in (Fate.MISSING, Fate.DROPPED)}  # fmt: skip
    assert came == first
    assert [p.packet for p in flow.pieces] == sorted(p.packet for p in flow.pieces)
    assert [p.time_ns for p in flow.packets] == sorted(p.time_ns for p in flow.packets)


def check_gaps(flow):
    """They are what was overtaken."""
    missing = {at for begin, end, fate in flow.stream if fate in (Fate.MISSING, Fate.DROPPED)
               for at in range(begin, end)}  # fmt: skip
    never, ranges = set(), []
    for gap in flow.gaps:
        assert gap.begin < gap.end
        ranges.append((gap.begin, gap.end))
        if gap.filled_ns is None:
            never |= set(range(gap.begin, gap.end))
        else:
            assert gap.filled_ns >= gap.seen_ns
    assert all(end <= begin for (_, end), (begin, _) in pairwise(ranges))
    came = max((p.end for p in flow.packets if p.outcome is not None), default=0)
    assert never == {at for at in missing if at < came}


def test_records_and_shares_of_a_lossy_flow():
    receiving = lossy(40, 3000, segment=700, loss=0.05, seed=5)
    flow = flow_of(receiving)
    assert [record.begin for record in flow.records] == receiving.begins[:-1]
    assert [record.number for record in flow.records] == list(range(40))
    share = Counter()
    for low, high in pairwise(receiving.begins):
        count = receiving.said[low:high].count(DECRYPTED)
        share[Offloaded.FULLY if count == high - low
              else Offloaded.PARTLY if count else Offloaded.NOT] += 1  # fmt: skip
    assert flow.records_by_share() == share
    assert min(share.values()) >= 1 < len(share)


def test_questions_have_their_answers_and_states_follow_each_other():
    receiving = lossy(80, 16000, loss=0.06, tag=False, late=40, seed=3)
    trace = receiving.finish()
    (flow,) = read_flows(trace)
    asked = [one for _, one, _ in trace if getattr(one, "event", 0) == TlsEvent.ASKED]
    assert [one.number for one in flow.questions] == [one.question for one in asked]
    assert len(asked) >= 3
    answered = [one for one in flow.questions if one.answer is TlsEvent.ANSWERED]
    assert answered
    for one in answered:
        assert receiving.begins[one.record_number] == one.position
        assert one.answered_ns > one.asked_ns
    states = [span.state for span in flow.states]
    assert {TlsTrackerState.SEARCH, TlsTrackerState.TRACK, TlsTrackerState.OFFLOAD} <= set(states)
    for one, other in pairwise(flow.states):
        assert one.end_ns == other.begin_ns
    assert (flow.states[0].begin_ns, flow.states[-1].end_ns) == (flow.begin_ns, flow.end_ns)


def test_packets_are_called_by_their_place_in_the_trace():
    receiving = Receiving([2000] * 3)
    for begin in range(0, len(receiving.wire), 500):
        receiving.arrive(begin, min(begin + 500, len(receiving.wire)))
    trace = receiving.finish()
    (flow,) = read_flows(trace)
    for packet in flow.packets:
        data = trace[packet.frame - 1][2]
        assert data[54:] == receiving.wire[packet.begin : packet.end]


def test_a_dropped_copy_and_the_one_that_came_are_told_apart():
    receiving = Receiving([2000])
    receiving.arrive(0, 500)
    receiving.lose(500, 1000)
    receiving.arrive(1000, len(receiving.wire))
    receiving.arrive(500, 1000)
    flow = flow_of(receiving)
    followed = [(p.begin, p.outcome is not None) for p in flow.packets]
    assert followed == [(0, True), (500, False), (1000, True), (500, True)]
    (gap,) = flow.gaps
    assert (gap.begin, gap.end) == (500, 1000)
    assert gap.filled_ns > gap.seen_ns
    assert flow.bytes_by_fate() == {Fate.PARTLY: len(receiving.wire)}
    assert [piece.fate for piece in flow.pieces].count(Fate.DROPPED) == 1


def test_what_the_card_drops_after_it_followed_it_counts_when_it_comes_again():
    receiving = Receiving([900])
    half, end = 400, len(receiving.wire)
    receiving.arrive(0, half)
    receiving.arrive(half, end)
    receiving.trace.packet(receiving.sequence, end, TlsOutcome.DROPPED)  # joined, both of them
    receiving.arrive(0, end)
    (flow,) = read_flows(receiving.finish())
    assert [packet.outcome for packet in flow.packets] == [
        TlsOutcome.DROPPED, TlsOutcome.DROPPED, TlsOutcome.AS_ON_WIRE,
    ]  # fmt: skip
    assert flow.stream == [(0, end, Fate.SOFTWARE)]
    assert {piece.fate for piece in flow.pieces} == {Fate.DROPPED, Fate.SOFTWARE}


def test_a_flow_that_starts_in_bytes_the_host_has_already():
    receiving = Receiving([1000] * 3)
    trace = Trace()
    receiving.trace, created = trace, receiving.trace
    trace.frame(receiving.sequence - 300, bytes(300) + receiving.wire[:700])
    trace.now_ns = 5000
    trace.extend(created)
    receiving.arrive(700, len(receiving.wire))
    flow = flow_of(receiving)
    assert [packet.begin for packet in flow.packets] == [0, 700]
    assert flow.packets[0].outcome is AS_ON_WIRE
    assert flow.records_by_share().total() == 3


def test_the_records_that_may_have_failed_authentication():
    receiving = Receiving([500] * 12)
    receiving.arrive(0, 700)
    receiving.arrive(700, receiving.begins[4], damage=True)
    receiving.arrive(receiving.begins[4], len(receiving.wire))
    flow = flow_of(receiving)
    fates = [one.fate for one in flow.judged]
    assert fates == [Fate.DECRYPTED] + [Fate.AUTH_FAILED] * 3 + [Fate.SOFTWARE] * 8
    assert [mark.event for mark in flow.marks].count(TlsEvent.HALTED) == 1
    assert flow.states[-1].state is TlsTrackerState.HALTED


def test_transmit():
    trace, wire = sending()
    (flow,) = read_flows(trace)
    assert flow.direction is TlsDirection.TRANSMIT
    assert flow.stream[0] == (-500, 0, Fate.BYPASSED)
    assert flow.stream[-1][2] is Fate.DROPPED
    assert flow.bytes_by_fate()[Fate.ENCRYPTED] == len(wire) // 2800 * 2800
    assert [record.number for record in flow.records] == list(range(5, 13))
    (again,) = [p for p in flow.packets if p.outcome is TlsOutcome.PRESYNCED]
    assert {one.fate for one in flow.pieces if flow.packets[one.packet] is again} == {
        Fate.PRESYNCED
    }
    assert all(p.frame for p in flow.packets if p.outcome is not TlsOutcome.DROPPED)
    assert packets(flow) == (
        "8 encrypted in order, 1 encrypted out of order, 1 before offload,"
        " 1 dropped or not looked at"
    )


def test_a_trace_that_begins_in_mid_stream():
    receiving = Receiving([900] * 30)
    for begin in range(0, len(receiving.wire), 600):
        receiving.arrive(begin, min(begin + 600, len(receiving.wire)))
    whole = receiving.finish()
    (flow,) = read_flows(whole[20:])
    starts = {record.begin + flow.start_sequence & 0xFFFF_FFFF for record in flow.records}
    known = {receiving.sequence + begin & 0xFFFF_FFFF for begin in receiving.begins[:-1]}
    assert starts <= known
    assert len(starts) >= 20
    assert flow.local == "10.9.0.1:4433"
    named = [record for record in flow.records if record.number is not None]
    for record in named:
        begin = receiving.begins[record.number] + receiving.sequence
        assert record.begin + flow.start_sequence & 0xFFFF_FFFF == begin & 0xFFFF_FFFF
    assert len(named) >= 20


def test_packets_from_far_away_are_strays():
    receiving = Receiving([3000] * 4)
    receiving.arrive(0, 1400)
    receiving.trace.packet(receiving.sequence + (1 << 28), 1000, AS_ON_WIRE, tracker_state=1)
    receiving.arrive(1400, len(receiving.wire))
    flow = flow_of(receiving)
    assert flow.strays == 1
    assert sum(end - begin for begin, end, _ in flow.stream) == len(receiving.wire)


def test_a_new_flow_with_the_same_handle_is_another():
    first, second = Receiving([500]), Receiving([700], sequence=99)
    for one in (first, second):
        one.arrive(0, len(one.wire))
    flows = read_flows(first.finish() + second.finish())
    assert [flow.start_sequence for flow in flows] == [first.sequence, 99]
    assert [flow.handle for flow in flows] == [HANDLE] * 2
    assert [flow.bytes_by_fate().total() for flow in flows] == [522, 722]


def test_a_rekey_counts_from_its_number():
    wire, begins = make_records([300] * 4)
    trace = Trace()
    trace.created(50, record_number=7)
    trace.event(TlsEvent.REKEYED, 50 + begins[2], record_number=0)
    trace.frame(50, wire)
    trace.packet(50, len(wire), DECRYPTED, tracker_state=1, record_number=2)
    (flow,) = read_flows(trace)
    assert [record.number for record in flow.records] == [7, 8, 0, 1]


@pytest.mark.parametrize("outcome", OUTCOMES.values())
def test_without_frames_records_are_unknown_and_nothing_is_lost(outcome):
    trace = Trace()
    trace.created(1000)
    trace.packet(1000, 400, outcome, tracker_state=1)
    (flow,) = read_flows(trace)
    assert flow.stream == [(0, 400, Fate.UNFRAMED)]
    assert flow.records == []


def calls_of_reading(packets):
    """How many calls, also of built-in functions, it takes to read a flow of so many packets."""
    trace = Trace()
    wire, _ = make_records([16000] * 3)
    trace.created(0)
    for number in range(packets):
        trace.now_ns += 1000
        payload = wire[:100] if not number else bytes(100)
        trace.frame(number * 100, payload)
        trace.packet(number * 100, 100, DECRYPTED, tracker_state=1)
    calls = itertools.count()
    sys.setprofile(lambda _frame, event, _: next(calls) if event.endswith("call") else None)
    try:
        (flow,) = read_flows(trace)
    finally:
        sys.setprofile(None)
    assert len(flow.packets) == packets
    return next(calls)


def test_the_work_grows_with_the_packets_and_not_faster():
    assert calls_of_reading(4000) < 4.5 * calls_of_reading(1000)
