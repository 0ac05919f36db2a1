"""RSY-06: nobody answers: the question is dropped and asked anew, and all of that is counted."""

from itertools import pairwise

import pytest
from harness.tls_resync import (
    AT_ONCE_US,
    NEVER_US,
    answer,
    counts,
    set_timeout,
    take_question,
    take_questions,
)
from harness.tls_rx_flow import AS_ON_WIRE, DECRYPTED

from tlsnic.abi.enums import CipherSuite, CommandStatus, TlsTrackerState
from tlsnic.driver.tls.receive_tag import Resync

OK, STALE = CommandStatus.OK, CommandStatus.STALE
GCM13 = CipherSuite.TLS13_AES_128_GCM
SIZE = 200


def lost(flows, count, resync=Resync.HOST, **options):
    """A flow with `count` records; 0 was sent, and 1 without its first bytes."""
    flow = flows.open(GCM13, openssl=False, reader=False, resync=resync, **options)
    flow.write(*[SIZE] * count)
    _, first, second, *_ = flow.records
    flow.send(0, first.start)
    flow.send(first.start + 50, second.start)
    assert flow.states() == [DECRYPTED, AS_ON_WIRE]
    return flow


def send_record(flow, number):
    record = flow.records[number]
    flow.send(record.start, record.end)
    return flow.states()[-1]


@pytest.mark.row("RSY-06")
def test_rsy_06_asked_again(nic, rx_flows, scale):
    """The time-out has passed whenever the next packet comes: a new question each time, about the
    header in it. Answers to the old ones are stale. The counters are exact, and all records that
    passed are in the number at the end."""
    questions = scale(300, 40)
    flow = lost(rx_flows, questions + 3)
    set_timeout(nic, AT_ONCE_US)
    asked = []
    for number in range(2, questions + 2):
        assert send_record(flow, number) is AS_ON_WIRE
        asked.append(take_question(flow, flow.records[number].start))
    set_timeout(nic, NEVER_US)
    assert [one.question for one in asked] == list(range(1, questions + 1))
    assert {one.record_number for one in asked} == {flow.records[1].number}
    expected = {"req_pkt": questions, "req_start": questions, "req_skip": questions - 1}
    assert counts(nic) == expected
    for one, number in zip(asked[:-1], range(2, questions + 1), strict=True):
        assert answer(flow, one, number) == STALE
    assert counts(nic) == expected | {"res_skip": questions - 1}
    assert answer(flow, asked[-1], flow.records[questions + 1].number) == OK
    assert send_record(flow, questions + 2) is DECRYPTED
    state = flow.query()
    assert (state.questions, state.host_resyncs) == (questions, 1)
    assert state.tracker_state == TlsTrackerState.OFFLOAD
    assert counts(nic) == expected | {"res_skip": questions - 1, "req_end": 1, "res_ok": 1}


@pytest.mark.row("RSY-06")
def test_rsy_06_number_counts_from_the_question(nic, rx_flows):
    """The second question is some records behind the first, and the answer some behind it."""
    flow = lost(rx_flows, 14)
    assert send_record(flow, 2) is AS_ON_WIRE
    take_question(flow, flow.records[2].start)
    for number in (3, 4, 5):
        send_record(flow, number)
    set_timeout(nic, AT_ONCE_US)
    send_record(flow, 6)
    set_timeout(nic, NEVER_US)
    second = take_question(flow, flow.records[6].start)
    for number in (7, 8, 9):
        send_record(flow, number)
    assert answer(flow, second, flow.records[6].number) == OK
    assert flow.query().record_number == flow.records[10].number
    assert send_record(flow, 10) is DECRYPTED


@pytest.mark.row("RSY-06")
@pytest.mark.parametrize("resync", [Resync.HOST, Resync.BOTH], ids=lambda r: r.name)
def test_rsy_06_no_header_in_the_packet(nic, rx_flows, resync):
    """The question is dropped when its time is over, and none is open until the next header
    comes, which may be some packets later."""
    flow = rx_flows.open(GCM13, openssl=False, reader=False, resync=resync)
    flow.write(300, 300, 8000, 500, 600)
    _, first, second, third, fourth = flow.records
    flow.send(0, first.start)
    flow.send(first.start + 50, second.start + 1000)
    if resync is Resync.BOTH:  # asked only when the record can not be whole any more
        flow.send(second.start + 1100, second.start + 1200)
        middle = second.start + 1200
    else:
        middle = second.start + 1000
    flow.collect()
    question = take_question(flow, second.start)
    set_timeout(nic, AT_ONCE_US)
    flow.send_cut(middle, second.start + 2400, second.start + 3800)
    assert flow.states() == [AS_ON_WIRE] * 2
    assert not take_questions(flow)
    assert counts(nic) == {"req_pkt": 1, "req_start": 1, "req_skip": 1}
    assert answer(flow, question, second.number) == STALE
    set_timeout(nic, NEVER_US)
    flow.send(second.start + 3800, third.start + 100)
    flow.send(third.start + 110, third.end)
    assert set(flow.states()) == {AS_ON_WIRE}
    assert answer(flow, take_question(flow, third.start), third.number) == OK
    flow.send(fourth.start, fourth.end)
    assert flow.states() == [DECRYPTED]


@pytest.mark.row("RSY-06")
def test_rsy_06_for_ever(nic, rx_flows):
    """Zero is no time-out at all."""
    set_timeout(nic, NEVER_US)
    flow = lost(rx_flows, 30)
    for number in range(2, 28):
        send_record(flow, number)
    question = take_question(flow, flow.records[2].start)
    assert answer(flow, question, flow.records[2].number) == OK
    assert send_record(flow, 28) is DECRYPTED
    assert "req_skip" not in counts(nic)


@pytest.mark.row("RSY-06")
def test_rsy_06_time_does_not_drop_an_answered_question(nic, rx_flows):
    """Nor does it touch a flow that has none open."""
    set_timeout(nic, AT_ONCE_US)
    flow = lost(rx_flows, 9)
    send_record(flow, 2)
    assert answer(flow, take_question(flow), None) == OK
    assert flow.tracker == TlsTrackerState.SEARCH
    send_record(flow, 3)
    assert answer(flow, take_question(flow), flow.records[3].number) == OK
    assert [send_record(flow, number) for number in (4, 5, 6)] == [DECRYPTED] * 3
    assert counts(nic) == {
        "req_pkt": 2,
        "req_start": 2,
        "req_end": 2,
        "res_ok": 1,
        "res_skip": 1,
    }


@pytest.mark.row("RSY-06")
def test_rsy_06_driver_with_impatient_card(nic, rx_flows):
    """The stream gets in order only after many time-outs: the driver has kept the newest question
    and answers that. Its counters and the card's say the same."""
    flow = rx_flows.open(GCM13, openssl=False)
    flow.write(*[SIZE] * 30)
    records = flow.records
    flow.send(0, records[1].start)
    set_timeout(nic, AT_ONCE_US)
    for begin, end in pairwise([record.start + 50 for record in records[1:20]]):
        flow.send(begin, end)
        flow.collect()
    set_timeout(nic, NEVER_US)
    flow.send(records[1].start, records[1].start + 50)
    flow.collect()
    flow.read()
    flow.settled()
    flow.send_rest()
    flow.check()
    assert flow.arrived[-1].state is DECRYPTED
    counters, card = flow.tag.counters, counts(nic)
    assert card["req_start"] == card["req_skip"] + card["req_end"]
    assert card["req_start"] == counters.rx_tls_resync_req_start > 10
    assert card["req_skip"] == counters.rx_tls_resync_req_skip
    assert card["req_end"] == counters.rx_tls_resync_req_end == 1
    assert card["res_ok"] == counters.rx_tls_resync_res_ok == 1
    assert card["req_pkt"] == counters.rx_tls_resync_req_pkt
