"""The tracker, rule by rule of the manual's chapter on receive, with the null cipher."""

import itertools

import pytest
from tracker_bench import (
    AS_ON_WIRE,
    AUTH_FAILED,
    CHACHA13,
    DECRYPTED,
    GCM12,
    Host,
    NullWire,
    Wire,
    look_alike,
)

from tlsnic.device.tls.header_search import HeaderSearch
from tlsnic.device.tls.tracker_states import State

CLEAN = b"clean bytes of a record"
TOTAL = 5 + len(CLEAN) + 16
MIB = 1 << 20


def null_wire(records=12, *, body=CLEAN, **options):
    wire = NullWire(**options)
    for _ in range(records):
        wire.add(body)
    return wire


def tracking(records=12, *, host=True, tag=False, lost=3, **options):
    """A flow that has lost a header and followed record `lost` to the middle of the next."""
    wire = null_wire(records)
    it = Host(wire, number=0, host=host, tag=tag, **options)
    it.take(0, wire.starts[lost - 1] - 3)
    if tag and not host:
        it.take(wire.starts[lost] - 2, wire.starts[lost] + 9)
    else:
        it.take(wire.starts[lost] - 2, wire.starts[lost + 1] + 20)
    return it


# Marks.


@pytest.mark.parametrize("before", [1, 4, 100])
def test_first_record_starts_in_mid_packet(before):
    wire = null_wire(2)
    host = Host(wire, number=0)
    lead = bytes(range(before))
    assert host.take_bytes(-before - 5, b"abcde").state is AS_ON_WIRE
    verdict = host.take_bytes(-before, lead + bytes(wire.wire[: TOTAL + 7]))
    assert verdict.state is DECRYPTED
    assert verdict.records == 1
    assert host.out == lead + wire.plain[: TOTAL + 7]
    assert host.flow.out_of_order == 0
    assert host.flow.not_offloaded == 1


def test_one_bad_record_among_good_ones():
    wire = null_wire(4)
    wire.wire[wire.starts[2] - 1] ^= 1
    host = Host(wire, number=0)
    verdict = host.take(0, len(wire))
    assert verdict == (AUTH_FAILED, 0, None, True)
    assert host.state is State.HALTED
    assert host.flow.auth_failures == host.counters.rx_tls_err == 1


@pytest.mark.parametrize("cut", [1, 5, 20, 40])
def test_bad_record_in_pieces(cut):
    wire = null_wire(3)
    wire.wire[wire.starts[1] - 1] ^= 1
    host = Host(wire, number=0)
    assert host.take(0, cut).state is DECRYPTED
    assert host.take(cut, TOTAL + cut) == (AUTH_FAILED, 0, None, True)
    assert host.take(TOTAL + cut, len(wire)) == (AS_ON_WIRE, 0, None, False)


def test_many_records_in_a_packet():
    wire = null_wire(300)
    host = Host(wire, number=0)
    assert host.take(0, len(wire)).records == 255
    assert host.flow.record_number == 300


def test_a_packet_that_begins_with_old_data_is_followed():
    wire = null_wire(3)
    host = Host(wire, number=0)
    host.take(0, 10)
    assert host.take(5, 30).state is AS_ON_WIRE
    assert host.take(30, len(wire)).state is DECRYPTED
    assert host.flow.out_of_order == 1


def test_loss_without_a_header():
    wire = null_wire(4)
    host = Host(wire, number=0)
    host.take(0, TOTAL + 8)
    assert host.take(TOTAL + 20, 2 * TOTAL - 7) == (AS_ON_WIRE, 0, None, False)
    assert host.take(2 * TOTAL - 7, 2 * TOTAL + 10) == (DECRYPTED, 1, None, False)
    assert host.take(2 * TOTAL + 10, 3 * TOTAL) == (DECRYPTED, 1, None, False)


def test_end_of_a_record_that_is_not_whole():
    """By itself it stays as on the wire: nobody gains by its being decrypted."""
    wire = null_wire(4)
    host = Host(wire, number=0)
    host.take(0, TOTAL + 8)
    assert host.take(TOTAL + 20, 2 * TOTAL) == (AS_ON_WIRE, 0, None, False)
    assert host.take(2 * TOTAL, 3 * TOTAL) == (DECRYPTED, 1, None, False)


def test_loss_up_to_a_header():
    wire = null_wire(4)
    host = Host(wire, number=0)
    host.take(0, TOTAL + 8)
    assert host.take(2 * TOTAL, 3 * TOTAL) == (DECRYPTED, 1, None, False)


@pytest.mark.parametrize("bad", [b"\x17\x03\x02\x00\x30", b"\x16\x03\x03\x00\x30", look_alike(21),
                                 b"\x17\x03\x03\xff\xff", b"\x17\x03\x03\x00\x00"])  # fmt: skip
@pytest.mark.parametrize("cut", range(5))
def test_bad_header_starts_a_search(bad, cut):
    wire = null_wire(2)
    end = len(wire)
    wire.wire += bad
    wire.plain += bad
    host = Host(wire, number=0)
    host.take(0, end)
    if cut:
        host.take(end, end + cut)
    verdict = host.take(end + cut, len(wire))
    assert verdict == (AS_ON_WIRE, 0, None, False)
    assert host.state is State.SEARCH
    assert host.flow.record_number == 2


def test_explicit_nonce_is_lost():
    """TLS 1.2: the header says where the record ends."""
    wire = Wire(GCM12)
    for _ in range(3):
        wire.add(50)
    host = Host(wire, number=0)
    host.take(0, wire.records[1].start + 7)
    assert host.take(wire.records[1].start + 20, wire.records[2].start).state is AS_ON_WIRE
    assert host.take(wire.records[2].start, len(wire)).state is DECRYPTED


# Search and track.


@pytest.mark.parametrize("cut", range(1, 5))
@pytest.mark.parametrize("more", [1, 2, 100])
def test_candidate_across_packets(cut, more):
    wire = null_wire()
    host = Host(wire, number=0)
    host.take(0, TOTAL + 30)
    begin = wire.starts[3] + cut
    host.take(2 * TOTAL + 10, begin)
    assert host.state is State.SEARCH
    end = max(begin + more, wire.starts[3] + 5)
    for at in range(begin, end):
        host.take(at, at + 1)
    assert host.questions[0] == (wire.sequence + wire.starts[3], 1, 2)
    assert host.state is State.TRACK


def test_search_does_not_join_what_is_not_contiguous():
    wire = null_wire()
    host = Host(wire, number=0)
    host.take(0, TOTAL + 30)
    host.take(2 * TOTAL + 10, wire.starts[3] + 3)
    host.take(wire.starts[3] + 4, wire.starts[3] + 6)
    assert host.state is State.SEARCH


def test_nth_of_several_records_in_a_packet_and_a_late_answer():
    host = tracking(40)
    wire = host.wire
    assert host.questions == [(wire.sequence + wire.starts[3], 1, 2)]
    host.take(wire.starts[4] + 20, wire.starts[20] + 2)
    assert host.answer(number=3)
    assert host.state is State.OFFLOAD
    assert host.flow.record_number == 20
    assert host.take(wire.starts[20] + 2, wire.starts[21]).state is DECRYPTED


def test_search_goes_on_behind_the_candidate():
    """A look-alike in a record's content, in the packet in which its length turns out wrong."""
    wire = NullWire()
    wire.add(CLEAN)
    wire.add(CLEAN)
    wire.add(b"ab" + look_alike(30) + b"cdefghijklmnop")
    wire.add(CLEAN)
    wire.add(CLEAN)
    host = Host(wire, number=0)
    host.take(0, TOTAL - 2)
    verdict = host.take(wire.starts[2] + 4, len(wire))
    assert verdict.question == (wire.sequence + wire.starts[3], 1, 1)
    assert host.flow.questions == 1


def test_chains_that_meet_are_followed_once():
    """A packet full of look-alikes at every fifth byte: work must not grow with their square."""
    wire = null_wire(1)
    wire.wire += b"\0" * 10 + look_alike(25) * 13000
    wire.plain += bytes(len(wire.wire) - len(wire.plain))
    host = Host(wire, number=0, host=False)
    host.take(0, TOTAL)
    flow = host.flow
    total = flow._headers.total
    steps = 0

    class Counting(HeaderSearch):
        def total(self, header):
            nonlocal steps
            steps += 1
            return total(header)

    flow._headers = Counting(wire.format)
    assert host.take(TOTAL, len(wire)).state is AS_ON_WIRE
    assert 1000 < steps < 3 * 13000


def test_refuted_candidate():
    host = tracking()
    assert host.answer(found=False)
    assert host.state is State.SEARCH
    assert host.counters.rx_tls_resync_res_skip == host.counters.rx_tls_resync_req_end == 1
    verdict = host.take(host.wire.starts[4] + 20, host.wire.starts[6])
    assert verdict.question == (host.wire.sequence + host.wire.starts[5], 2, 2)


def test_refuted_while_a_header_is_passing():
    host = tracking()
    wire = host.wire
    host.take(wire.starts[4] + 20, wire.starts[5] + 3)
    assert host.answer(found=False)
    verdict = host.take(wire.starts[5] + 3, wire.starts[6])
    assert verdict.question.sequence == wire.sequence + wire.starts[5]


def test_stale_answers():
    host = tracking()
    asked = host.questions[0]
    flow = host.flow
    assert not flow.answer(asked.number, asked.sequence + 1, True, 3)
    assert not flow.answer(asked.number + 1, asked.sequence, True, 3)
    assert host.state is State.TRACK
    assert host.counters.rx_tls_resync_res_skip == 2
    host.take(host.wire.starts[6], host.wire.starts[7] + 6)  # a header is lost
    assert host.counters.rx_tls_resync_req_skip == 1
    assert not host.answer(asked)
    assert host.answer()
    assert not host.answer()


def test_time_out_asks_about_the_next_header():
    host = tracking(timeout_ns=1000)
    wire = host.wire
    host.now_ns = 1000
    host.take(wire.starts[4] + 20, wire.starts[4] + 22)
    assert host.counters.rx_tls_resync_req_skip == 0
    host.now_ns = 1001
    assert host.take(0, 3).question is None  # any packet of the flow
    assert host.counters.rx_tls_resync_req_skip == 1
    assert not host.answer()
    assert host.take(wire.starts[4] + 22, wire.starts[5] + 4).question is None
    verdict = host.take(wire.starts[5] + 4, wire.starts[7] + 1)
    assert verdict.question == (wire.sequence + wire.starts[5], 2, 2)
    assert host.answer()
    assert host.flow.record_number == 7


def test_without_a_time_out_a_question_stays():
    host = tracking()
    host.now_ns = 1 << 60
    host.take(host.wire.starts[4] + 20, host.wire.starts[9])
    assert host.answer()


def test_destroyed_with_a_question():
    host = tracking()
    host.flow.drop_question()
    host.flow.drop_question()
    host.check()
    assert host.counters.rx_tls_resync_req_skip == 1
    assert not host.answer()


# By tag.


def test_tag_settles_the_candidate():
    """The packet that settles it is decrypted: else the next record would have a part as on the
    wire too."""
    host = tracking(host=False, tag=True)
    wire = host.wire
    assert host.take(wire.starts[3] + 9, wire.starts[4] + 4) == (DECRYPTED, 1, None, False)
    assert host.state is State.OFFLOAD
    assert host.flow.record_number == 4
    assert host.take(wire.starts[4] + 4, wire.starts[5]).state is DECRYPTED
    assert host.counters.rx_tls_resync_tag == 1
    assert host.counters.rx_tls_resync_req_start == 0


@pytest.mark.parametrize("damage", ["not whole", "forged", "replayed"])
def test_tag_that_cannot_settle_leads_to_a_question(damage):
    wire = null_wire()
    host = Host(wire, number=0, tag=True)
    start = wire.starts[4]
    if damage == "forged":
        wire.wire[start + 20] ^= 1
    elif damage == "replayed":
        wire.wire[start : start + TOTAL] = wire.wire[TOTAL : 2 * TOTAL]
    host.take(0, wire.starts[3] - 5)
    verdict = host.take(start - 6, start + 10)
    assert (verdict.question, host.state) == (None, State.TRACK)
    verdict = host.take(start + 10 + (damage == "not whole"), start + TOTAL)
    assert verdict.question == (wire.sequence + start, 1, 3)
    verdict = host.take(start + TOTAL, start + 2 * TOTAL)  # a whole one settles it meanwhile
    assert host.state is State.OFFLOAD
    assert host.counters.rx_tls_resync_req_skip == 1
    assert not host.answer()


def test_forged_candidate_by_tag_alone():
    wire = null_wire()
    start = wire.starts[4]
    wire.wire[start + 20] ^= 1
    host = Host(wire, number=0, host=False, tag=True)
    host.take(0, wire.starts[3] - 5)
    host.take(start - 6, start + TOTAL)
    assert host.state is State.SEARCH
    host.take(start + TOTAL, start + 2 * TOTAL + 1)
    assert host.state is State.OFFLOAD
    assert host.flow.record_number == 6


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("body", [1, 40])
def test_candidates_are_what_fits_into_the_gap(count, body):
    """Between least and most; the smallest record has one byte of content."""
    wire = null_wire(14, body=bytes(range(64, 64 + body)), max_plaintext=39)
    host = Host(wire, number=0, host=False)
    total = wire.starts[1]
    host.take(0, wire.starts[2])  # at a boundary: record 2 is the last certain one
    begin = wire.starts[2 + count]
    host.take(begin, begin + 6)
    gap = count * total
    assert host.flow._candidates() == range(2 + -(-gap // 61), 2 + gap // 22 + 1)
    assert 2 + count in host.flow._candidates()


def numbers_of(certain, at, unseen_end, candidate, smallest, largest):
    """By trying all: records start in what was not seen, and at the candidate."""
    reached = {at: {0}}
    for start in range(at, unseen_end):
        for total in range(smallest, largest + 1):
            reached.setdefault(start + total, set()).update(
                count + 1 for count in reached.get(start, ())
            )
    return {certain + count for count in reached[candidate]}


@pytest.mark.parametrize("lost", range(1, 120, 3))
def test_candidates_behind_a_gap_that_ends_before_a_header(lost):
    """What the search has seen cannot hold the start of a record."""
    wire = NullWire(max_plaintext=30)
    for size in (20, 1, 3, 25, 1, 20, 30, 3, 1):
        wire.add(bytes(range(64, 64 + size)))
    host = Host(wire, number=0, host=False)
    begin = wire.starts[1] + lost
    host.take(0, wire.starts[1])
    host.take(begin, len(wire) - 1)
    assert host.state is State.TRACK
    flow = host.flow
    flow._start = flow._anchor
    candidates = flow._candidates()
    true = numbers_of(1, wire.starts[1], begin, flow._anchor, 22, 52)
    assert candidates == range(min(true), max(true) + 1)
    assert host.number_at(flow._anchor) in true


def test_chacha_goes_on_where_the_last_attempt_ended():
    wire = Wire(CHACHA13)
    for _ in range(110):
        wire.add(1)
    host = Host(wire, number=0, host=False, tag=True)
    host.take(0, 30)
    numbers = []
    for entry in wire.records[90:93]:
        host.take(entry.start, entry.start + entry.total)
        numbers.append(host.flow.record_number)
    assert numbers == [2, 92, 93]
    assert host.flow.tag_resyncs == 1


# Hints.


def test_hint_that_is_still_to_come():
    host = tracking(host=False)
    wire = host.wire
    assert host.hint(wire.starts[7])
    assert host.state is State.OFFLOAD
    assert host.take(wire.starts[4] + 20, wire.starts[7] + 3).state is AS_ON_WIRE
    assert host.take(wire.starts[7] + 3, wire.starts[8]).state is DECRYPTED
    assert host.flow.host_resyncs == host.counters.rx_tls_resync_res_ok == 1


def test_hint_that_is_lost_on_the_way():
    host = tracking(host=False)
    wire = host.wire
    host.hint(wire.starts[7])
    host.take(wire.starts[7] + 3, wire.starts[8] + 8)
    assert host.state is State.TRACK
    assert host.flow.record_number == 7


def test_hint_at_the_next_byte():
    wire = null_wire()
    host = Host(wire, number=0)
    host.take(TOTAL + 3, wire.starts[2])
    assert host.state is State.SEARCH
    assert host.hint(wire.starts[2])
    assert host.take(wire.starts[2], wire.starts[3]).state is DECRYPTED


@pytest.mark.parametrize("part", range(1, 5))
def test_hint_at_a_header_that_is_passing(part):
    wire = null_wire()
    for state, begin in ((State.SEARCH, TOTAL + 8), (State.TRACK, TOTAL)):
        host = Host(wire, number=0, host=False)
        host.take(TOTAL + 1 if state is State.SEARCH else begin - 1, wire.starts[2] + part)
        assert host.state is state
        assert host.hint(wire.starts[2])
        assert host.take(wire.starts[2] + part, wire.starts[3]).state is DECRYPTED


def test_hint_for_one_of_the_last_256_headers():
    host = tracking(300, host=False)
    wire = host.wire
    host.take(wire.starts[4] + 20, wire.starts[280] + 20)
    assert not host.hint(wire.starts[24])
    assert not host.hint(wire.starts[200] + 1, 5)
    assert host.state is State.TRACK
    assert host.counters.rx_tls_resync_res_skip == 2
    assert host.hint(wire.starts[25])
    assert host.flow.record_number == 280
    assert host.take(wire.starts[280] + 20, wire.starts[281]).state is AS_ON_WIRE
    assert host.take(wire.starts[281], wire.starts[282]).state is DECRYPTED


def test_hint_in_offload_changes_nothing():
    wire = null_wire()
    host = Host(wire, number=0)
    host.take(0, 10)
    assert host.hint(wire.starts[2], 77)
    assert host.hint(0, 77)
    assert host.feed(10, len(wire)) == [DECRYPTED]
    assert host.counters.rx_tls_resync_res_ok == 0


def test_hint_far_away_is_stale():
    host = tracking(host=False)
    assert not host.hint(17 * MIB, 5)


def test_hint_ends_a_question():
    host = tracking()
    assert host.hint(host.wire.starts[3])
    assert host.counters.rx_tls_resync_req_skip == 1
    assert not host.answer()
    assert host.flow.record_number == 4


@pytest.mark.parametrize("ahead", [False, True])
def test_hint_ends_halted(ahead):
    wire = null_wire()
    wire.wire[wire.starts[2] - 1] ^= 1
    host = Host(wire, number=0)
    host.take(0, wire.starts[4] + 9)
    assert host.state is State.HALTED
    assert host.hint(wire.starts[5 if ahead else 3])
    host.take(wire.starts[4] + 9, wire.starts[5])
    assert host.take(wire.starts[5], wire.starts[6]).state is DECRYPTED


# Far away, wrap, number space.


@pytest.mark.parametrize("away", [17 * MIB, 2**31 + 5, -17 * MIB])
@pytest.mark.parametrize("tag", [False, True])
def test_far_away(away, tag):
    """As many records have passed there as must be, at least."""
    near, far = Wire(), Wire(number=5 * 10**6)
    for wire in (near, far):
        for _ in range(20):
            wire.add(30)
    host = Host(near, number=0, tag=tag, host=not tag)
    host.take(0, 100)
    for index, entry in enumerate(far.records):
        begin, end = entry.start, entry.start + entry.total
        verdict = host.take_bytes(begin + away, bytes(far.wire[begin:end]))
        assert (host.state is State.OFFLOAD) == (tag or index != 15)
        if verdict.question is not None:
            assert index == 15
            assert verdict.question.record_number == 2
            question = verdict.question
            assert host.flow.answer(question.number, question.sequence, True, 5 * 10**6 + 15)
        if index < 15:
            assert host.flow.sequence == near.sequence + 100
        if index > 15:
            assert verdict.state is DECRYPTED
            assert host.out == far.plain[begin:end]


def test_far_away_packets_that_do_not_follow_each_other():
    wire = null_wire()
    host = Host(wire, number=0)
    for at in range(40):
        host.take_bytes(17 * MIB + 40 * at + (at % 10 == 0), bytes(40))
    for at in range(40):
        host.take_bytes(17 * MIB + 40 * at, bytes(40))
        if at % 10 == 0:
            host.take(0, 1) if at == 0 else host.take_bytes(0, b"\0")
    assert host.state is State.OFFLOAD
    assert host.flow.sequence == wire.sequence + 1


def test_replayed_far_behind_never_settles():
    """Old records, sent again from 16 MiB behind: their numbers are not behind the last one."""
    wire = null_wire(40, sequence=5)
    host = Host(wire, number=0, host=False, tag=True)
    host.take(0, wire.starts[30])
    for begin, end in itertools.pairwise(wire.starts[:30]):
        host.take_bytes(begin - 20 * MIB, bytes(wire.wire[begin:end]))
    assert host.state in (State.SEARCH, State.TRACK)
    for begin, end in itertools.pairwise(wire.starts[30:]):
        host.take(begin, end)
    assert host.state in (State.SEARCH, State.TRACK)  # far away now, ten packets do not suffice
    assert host.flow.packets == 1


def test_sequence_wraps():
    wire = null_wire(12, sequence=2**32 - 3 * TOTAL - 2)
    host = Host(wire, number=0)
    host.take(0, wire.starts[2] - 5)
    host.take(wire.starts[2] + 1, wire.starts[5])
    assert host.questions[0].sequence == 2**32 - 2
    assert host.answer()
    assert host.take(wire.starts[5], len(wire)).state is DECRYPTED
    assert host.flow.sequence == 9 * TOTAL - 2


def test_numbers_do_not_wrap():
    wire = null_wire(3, number=2**64 - 2)
    host = Host(wire, number=2**64 - 2)
    assert host.take(0, wire.starts[2]).state is DECRYPTED
    assert host.take(wire.starts[2], len(wire)).state is AS_ON_WIRE
    assert host.flow.record_number == 2**64 - 1


def test_overlooked_packets_are_counted():
    host = Host(null_wire(), number=0)
    host.flow.overlooked()
    assert host.flow.not_offloaded == 1
