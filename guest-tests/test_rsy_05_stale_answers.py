"""RSY-05: an answer to an older question, after a new loss or another end of it, is ignored."""

import pytest
from harness.tls_resync import (
    AT_ONCE_US,
    NEVER_US,
    answer,
    counts,
    hint,
    set_timeout,
    take_question,
    take_questions,
)
from harness.tls_rx_flow import AS_ON_WIRE, DECRYPTED, KINDS

from tlsnic.abi.enums import CipherSuite, CommandStatus, Diagnostic, TlsTrackerState
from tlsnic.driver.tls.receive_tag import Resync

OK, STALE = CommandStatus.OK, CommandStatus.STALE
GCM13 = CipherSuite.TLS13_AES_128_GCM
ALL_ONES_32, ALL_ONES_64 = (1 << 32) - 1, (1 << 64) - 1


def asked(flows, resync=Resync.HOST, suite=GCM13, sizes=(300,) * 12):
    """A flow whose record 2 is asked about, and the question."""
    flow = flows.open(suite, openssl=False, reader=False, resync=resync)
    flow.write(*sizes)
    _, first, second, third, *_ = flow.records
    flow.send(0, first.start)
    flow.send(first.start + 50, second.start)
    flow.send(second.start, third.start)
    assert flow.states() == [DECRYPTED, AS_ON_WIRE, AS_ON_WIRE]
    return flow, second


def ignored(flow, question, /, *numbers, **changes):
    """The card refuses this answer, whatever the number, and nothing of the flow is other than
    before."""
    before = flow.query()
    for number in numbers:
        assert answer(flow, question, number, **changes) == STALE
    assert flow.query() == before


@pytest.mark.row("RSY-05")
def test_rsy_05_after_a_new_loss(nic, rx_flows):
    """The header behind the one that was asked about is lost too. The first answer, right or
    wrong, comes when the second question is open, and then once more when that is settled."""
    flows = []
    for suite in KINDS:
        flow, second = asked(rx_flows, suite=suite)
        flows.append(flow)
        first_question = take_question(flow, second.start)
        third, fourth, fifth = flow.records[3:6]
        flow.send(third.start + 40, fourth.start)
        assert flow.states() == [AS_ON_WIRE]
        ignored(flow, first_question, second.number, None)
        flow.send(fourth.start, fifth.start)
        assert flow.states() == [AS_ON_WIRE]
        second_question = take_question(flow, fourth.start)
        assert second_question.question == first_question.question + 1
        ignored(flow, first_question, second.number, second.number + 1, None)
        flow.send(fifth.start, fifth.end)
        assert flow.states() == [AS_ON_WIRE]
        assert answer(flow, second_question, fourth.number) == OK
        ignored(flow, first_question, second.number, None)
        ignored(flow, second_question, fourth.number, fourth.number + 1, None)
        flow.send_rest()
        assert set(flow.states()) == {DECRYPTED}
        ignored(flow, second_question, fourth.number, None)
    count = len(flows)
    assert counts(nic) == {
        "req_pkt": 2 * count,
        "req_start": 2 * count,
        "req_end": count,
        "req_skip": count,
        "res_ok": count,
        "res_skip": 12 * count,
    }


@pytest.mark.row("RSY-05")
def test_rsy_05_made_up(rx_flows, expect_diagnostic):
    """An answer has the place and the number of the question that is open, or is refused."""
    flow, second = asked(rx_flows)
    question = take_question(flow, second.start)
    for number in (0, question.question - 1, question.question + 1, ALL_ONES_32):
        ignored(flow, question, second.number, None, question=number)
    for sequence in (0, question.tcp_sequence - 1, question.tcp_sequence + 1, flow.at(flow.end)):
        ignored(flow, question, second.number, None, tcp_sequence=sequence & ALL_ONES_32)
    expect_diagnostic(Diagnostic.COMMAND_FIELD, 2)
    for found in (2, 255):
        assert answer(flow, question, second.number, found=found) == CommandStatus.BAD_FIELD
    assert answer(flow, question, second.number) == OK
    flow.send_rest()
    assert set(flow.states()) == {DECRYPTED}


@pytest.mark.row("RSY-05")
def test_rsy_05_after_it_was_settled_otherwise(nic, rx_flows):
    """By a hint; by a record's own tag; by a time-out; by bytes that do not fit."""
    flow, second = asked(rx_flows)
    question = take_question(flow)
    assert hint(flow, flow.records[4].start, flow.records[4].number) == OK
    ignored(flow, question, second.number, None, ALL_ONES_64)
    flow.send(flow.records[3].start, flow.end, mss=330)
    assert flow.states()[-1] is DECRYPTED

    flow, second = asked(rx_flows, Resync.BOTH)
    assert not take_questions(flow), "the tag has settled it"
    assert flow.tracker == TlsTrackerState.OFFLOAD

    flow, second = asked(rx_flows)
    question = take_question(flow)
    set_timeout(nic, AT_ONCE_US)
    third = flow.records[3]
    flow.send(third.start, third.end)
    assert flow.states() == [AS_ON_WIRE]
    set_timeout(nic, NEVER_US)
    ignored(flow, question, second.number, None)
    newer = take_question(flow, third.start)
    ignored(flow, newer, third.number, tcp_sequence=question.tcp_sequence)
    assert answer(flow, newer, third.number) == OK
    flow.send_rest()
    assert set(flow.states()) == {DECRYPTED}

    flow, second = asked(rx_flows)
    question = take_question(flow)
    begin = flow.records[3].start
    flow.flows.send(flow.frame(begin, begin + 64, payload=b"no header here!!" * 4))
    assert flow.states() == [AS_ON_WIRE]
    assert flow.tracker == TlsTrackerState.SEARCH
    ignored(flow, question, second.number, None)


@pytest.mark.row("RSY-05")
def test_rsy_05_of_another_flow(rx_flows):
    """Two flows with the same question number: each answer is for its handle only."""
    one, record = asked(rx_flows, sizes=(300,) * 6)
    other, elsewhere = asked(rx_flows, sizes=(300, 280, 310, 300, 300, 300))
    mine, theirs = take_question(one), take_question(other)
    assert mine.question == theirs.question
    assert mine.tcp_sequence != theirs.tcp_sequence
    ignored(other, mine, record.number, None, handle=other.tag.handle)
    assert answer(one, mine, record.number) == OK
    assert answer(other, theirs, elsewhere.number) == OK
    for flow in (one, other):
        flow.send_rest()
        assert set(flow.states()) == {DECRYPTED}


@pytest.mark.row("RSY-05")
def test_rsy_05_driver_forgets_the_older_question(rx_flows):
    """Two losses, each with a header. The driver answers the newest question only, and none that
    is dead: it keeps one, as the card does."""
    flow = rx_flows.open(GCM13, openssl=False)
    flow.write(*[300] * 20)
    records = flow.records
    flow.send(0, records[2].start)
    flow.send(records[2].start + 30, records[6].start)
    flow.send(records[6].start + 30, records[10].start)
    flow.collect()
    assert flow.tag.counters.rx_tls_resync_req_start == 2
    assert flow.tag.question.tcp_sequence == flow.at(records[7].start)
    flow.send(records[2].start, records[2].start + 30)
    flow.send(records[6].start, records[6].start + 30)
    flow.collect()
    flow.read()
    flow.settled()
    flow.send_rest()
    flow.check()
    assert flow.arrived[-1].state is DECRYPTED
    counters = flow.tag.counters
    assert (counters.rx_tls_resync_req_end, counters.rx_tls_resync_req_skip) == (1, 1)
    assert (counters.rx_tls_resync_res_ok, counters.rx_tls_resync_res_skip) == (1, 0)
