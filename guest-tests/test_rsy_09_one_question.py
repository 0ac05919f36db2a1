"""RSY-09: one question is in flight per flow; questions and the end of their flow."""

import pytest
from harness.tls_resync import answer, counts, status_of, take_question, take_questions
from harness.tls_rx_flow import AS_ON_WIRE, DECRYPTED

from tlsnic.abi.enums import CipherSuite, CommandStatus, Diagnostic, TlsRxState
from tlsnic.abi.structures import TlsResyncAnswerCommand
from tlsnic.driver.tls.receive_tag import Resync

OK, BAD_HANDLE = CommandStatus.OK, CommandStatus.BAD_HANDLE
GCM12 = CipherSuite.TLS12_AES_128_GCM


def lost(flows, sizes=(200,) * 30, **options):
    """Record 1's header is lost; record 2 will be asked about, with its packet that is not yet
    collected."""
    flow = flows.open(GCM12, openssl=False, **options)
    flow.write(*sizes)
    _, first, second, third, *_ = flow.records
    flow.send(0, first.start)
    flow.send(first.start + 50, second.start)
    flow.send(second.start, third.start)
    return flow


def send_with_holes(flow, numbers):
    """These records, each without some bytes in the middle."""
    for number in numbers:
        record = flow.records[number]
        flow.send(record.start, record.start + 90)
        flow.send(record.start + 110, record.end)


@pytest.mark.row("RSY-09")
def test_rsy_09_one_in_flight(nic, rx_flows):
    """Records pass, in packets of their own and many in one, parts of some are lost: nothing more
    is asked until the answer has come."""
    flow = rx_flows.open(GCM12, openssl=False, reader=False)
    flow.write(300, 300, *[200] * 30)
    _, first, second, *_ = records = flow.records
    flow.send(0, first.start)
    flow.send(first.start + 50, second.start + 100)
    flow.send(second.start + 120, records[12].start)
    send_with_holes(flow, range(12, 24))
    flow.collect()
    question = take_question(flow, second.start)
    assert counts(nic) == {"req_pkt": 1, "req_start": 1}
    assert flow.query().questions == 1
    assert answer(flow, question, second.number) == OK
    flow.send_rest()
    assert set(flow.states()) == {DECRYPTED}
    assert not take_questions(flow)


@pytest.mark.row("RSY-09")
def test_rsy_09_tag_settles_it_first(nic, rx_flows):
    """With both ways the host is asked about a record that was not whole, and only once, however
    many like it follow. The first whole one settles all: the question is dropped."""
    flow = rx_flows.open(GCM12, openssl=False, reader=False, resync=Resync.BOTH)
    flow.write(*[200] * 30)
    records = flow.records
    flow.send(0, records[1].start)
    flow.send(records[1].start + 50, records[2].start)
    send_with_holes(flow, range(2, 20))
    assert set(flow.states()[1:]) == {AS_ON_WIRE}
    question = take_question(flow, records[2].start)
    flow.send(records[20].start, records[20].end)
    assert flow.states() == [AS_ON_WIRE]
    assert answer(flow, question, 2) == CommandStatus.STALE
    flow.send_rest()
    assert set(flow.states()) == {DECRYPTED}
    assert counts(nic) == {
        "req_pkt": 1,
        "req_start": 1,
        "req_skip": 1,
        "res_skip": 1,
        "tag": 1,
    }


@pytest.mark.row("RSY-09")
def test_rsy_09_one_per_flow(nic, rx_flows):
    """Flows do not wait for one another: each has its question, and its own count of them."""
    flows = [lost(rx_flows, (200 + n,) * 8, reader=False) for n in range(8)]
    rx_flows.collect()
    questions = [take_question(flow, flow.records[2].start) for flow in flows]
    assert {one.question for one in questions} == {1}
    assert counts(nic) == {"req_pkt": 8, "req_start": 8}
    for flow, question in reversed(list(zip(flows, questions, strict=True))):
        assert answer(flow, question, 2) == OK
        flow.collect()
        flow.send_rest()
        assert set(flow.states()) == {DECRYPTED}


@pytest.mark.row("RSY-09")
def test_rsy_09_destroyed_with_an_open_question(nic, rx_flows, expect_diagnostic):
    """It is dropped with the flow. An answer then names a handle that is none; the flow that has
    the place in the table next is not meant, and begins its own count of questions."""
    flow = lost(rx_flows, reader=False)
    flow.collect()
    question = take_question(flow)
    flow.free()
    assert counts(nic) == {"req_pkt": 1, "req_start": 1, "req_skip": 1}
    expect_diagnostic(Diagnostic.TLS_HANDLE, 3)
    assert answer(flow, question, 2) == BAD_HANDLE
    again = lost(rx_flows, reader=False, address=flow.address, sequence=flow.sequence)
    again.collect()
    assert again.tag.handle != question.handle
    before = again.query()
    assert answer(again, question, 2) == BAD_HANDLE
    assert answer(again, question, None) == BAD_HANDLE
    assert again.query() == before
    newer = take_question(again, again.records[2].start)
    assert (newer.question, newer.tcp_sequence) == (question.question, question.tcp_sequence)
    assert answer(again, newer, 2) == OK
    again.send_rest()
    assert set(again.states()) == {DECRYPTED}


@pytest.mark.row("RSY-09")
def test_rsy_09_question_waits_in_the_event_queue(nic, rx_flows):
    """The tag is freed before anyone has looked at the event: the driver answers nothing."""
    flow = lost(rx_flows)
    for _ in range(3):
        assert nic.receive(5.0) is not None
    flow.sent.clear()
    tag = flow.tag
    for record in flow.records:
        tag.modify(flow.at(record.start), record.end - record.start, record.number)
    free_commands = nic.admin.free
    flow.free()
    assert nic.poll_events() >= 1
    assert nic.admin.free == free_commands
    assert tag.question is None
    assert tag.counters.rx_tls_resync_req_start == 0
    assert counts(nic) == {"req_pkt": 1, "req_start": 1, "req_skip": 1}


@pytest.mark.row("RSY-09")
def test_rsy_09_question_races_destroy(nic, rx_flows, scale):
    """The packet that makes the card ask is on the wire while the flow is being destroyed: it is
    of the flow, or of none. Whatever was asked is dropped, and nothing is left behind."""
    rounds = scale(60, 12)
    caught = 0
    for _ in range(rounds):
        flow = lost(rx_flows, (200,) * 4, reader=False)
        handle = flow.tag.handle
        flow.free()
        arrived = flow.collect()
        states = [one.state for one in arrived]
        assert states == sorted(states, key=lambda state: state is TlsRxState.NONE)
        assert {one.packet.flow for one in arrived} <= {handle, 0}
        assert all(bool(one.packet.flow) is (one.state is not TlsRxState.NONE) for one in arrived)
        caught += flow.questions(arrived)
        found = counts(nic)
        assert found.get("req_start", 0) == found.get("req_skip", 0) == caught
    assert counts(nic).keys() <= {"req_pkt", "req_start", "req_skip"}


@pytest.mark.row("RSY-09")
def test_rsy_09_answer_races_destroy(nic, rx_flows, expect_diagnostic):
    """An answer posted before the destroy counts, one behind it does not. Answers of the driver
    that are on their way when the tag is freed do no harm."""
    flow = lost(rx_flows, reader=False)
    flow.collect()
    question = take_question(flow)
    command = TlsResyncAnswerCommand(
        record_number=2,
        tcp_sequence=question.tcp_sequence,
        handle=question.handle,
        question=question.question,
        found=1,
    )
    expect_diagnostic(Diagnostic.TLS_HANDLE)
    before = nic.admin.submit(command)
    flow.free()
    after = nic.admin.submit(command)
    assert status_of(nic, before) == OK
    assert status_of(nic, after) == BAD_HANDLE
    assert counts(nic) == {"req_pkt": 1, "req_start": 1, "req_end": 1, "res_ok": 1}

    flow = lost(rx_flows)
    flow.send(flow.records[1].start, flow.records[1].start + 50)
    flow.collect()
    flow.read()
    tag = flow.tag
    assert tag.counters.rx_tls_resync_req_end == 1
    flow.free()
    nic.poll_events()
    counters = tag.counters
    assert counters.rx_tls_resync_res_ok + counters.rx_tls_resync_res_skip == 1
    assert AS_ON_WIRE in {one.state for one in flow.arrived}
