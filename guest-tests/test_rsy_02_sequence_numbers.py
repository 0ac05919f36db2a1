"""RSY-02: which byte of a record a question, an answer or a hint names.

The reference says: the first byte of the record header, as Linux's device-driver interface does. A
stack that counts to the last byte of the header, as Linux does inside (tls_device_rx_resync_new_rec()
adds TLS_HEADER_SIZE - 1), subtracts four.
"""

import pytest
from harness.tls_resync import answer, hint, take_question, take_questions
from harness.tls_rx_flow import AS_ON_WIRE, DECRYPTED, KINDS

from tlsnic.abi.enums import CipherSuite, CommandStatus
from tlsnic.driver.tls.receive_tag import Resync

OK, STALE = CommandStatus.OK, CommandStatus.STALE
GCM13 = CipherSuite.TLS13_AES_128_GCM
TO_LAST_BYTE = 4
SIZES = (300, 400, 500, 600, 700)


def lost(flows, resync=Resync.HOST, *, suite=GCM13, wrap_in_header=None):
    """A flow of five records; record 0 was sent, and record 1 without its first 100 bytes.

    wrap_in_header: so many bytes of record 2's header come before TCP sequence number 0.
    """
    sequence = 1000
    if wrap_in_header is not None:
        probe = flows.open(suite, openssl=False, reader=False, resync=resync)
        sequence = -probe.write(*SIZES)[2].start - wrap_in_header
    flow = flows.open(suite, openssl=False, reader=False, resync=resync, sequence=sequence)
    _, first, second, *_ = flow.write(*SIZES)
    flow.send(0, first.start)
    assert flow.states() == [DECRYPTED]
    flow.send(first.start + 100, second.start)
    assert flow.states() == [AS_ON_WIRE]
    return flow, second


@pytest.mark.row("RSY-02")
@pytest.mark.parametrize("wrap", [None, 0, 1, 4, 5])
def test_rsy_02_question_names_the_first_byte(rx_flows, scale, wrap):
    """Wherever packets cut the header, and where the sequence number wraps in it."""
    for cut in range(0, 6, 6 // scale(6, 2)):
        flow, record = lost(rx_flows, wrap_in_header=wrap)
        flow.send_cut(record.start, *[record.start + cut] * bool(cut), record.end)
        assert set(flow.states()) == {AS_ON_WIRE}
        question = take_question(flow, record.start)
        if wrap is not None:
            assert question.tcp_sequence == -wrap & 0xFFFF_FFFF
        assert question.record_number == flow.records[1].number
        assert answer(flow, question, record.number) == OK
        flow.send_rest()
        assert flow.states() == [DECRYPTED]


@pytest.mark.row("RSY-02")
def test_rsy_02_answer_that_counts_to_the_last_byte_is_stale(rx_flows):
    """It is about no question that is open, and changes nothing; four less is right."""
    for suite in KINDS:
        flow, record = lost(rx_flows, suite=suite)
        flow.send(record.start, record.end)
        flow.collect()
        question = take_question(flow)
        last_byte = question.tcp_sequence + TO_LAST_BYTE & 0xFFFF_FFFF
        assert last_byte == flow.at(record.start + 4)
        before = flow.query()
        assert answer(flow, question, record.number, tcp_sequence=last_byte) == STALE
        assert answer(flow, question, None, tcp_sequence=last_byte) == STALE
        assert flow.query() == before
        first_byte = last_byte - TO_LAST_BYTE & 0xFFFF_FFFF
        assert answer(flow, question, record.number, tcp_sequence=first_byte) == OK
        flow.send_rest()
        assert flow.states() == [DECRYPTED]


@pytest.mark.row("RSY-02")
def test_rsy_02_stack_that_counts_to_the_last_byte(rx_flows):
    """Linux inside: it keeps the question plus four, compares it with the last header byte of
    each record that it reads, and gives the driver that less four again."""
    flow, record = lost(rx_flows, wrap_in_header=2)
    flow.send(record.start, flow.records[3].end)
    flow.collect()
    question = take_question(flow)
    wanted = question.tcp_sequence + TO_LAST_BYTE & 0xFFFF_FFFF
    hits = [one for one in flow.records if flow.at(one.start + 4) == wanted]
    assert hits == [record]
    last_byte = flow.at(hits[0].start + 4)
    sequence = last_byte - TO_LAST_BYTE & 0xFFFF_FFFF
    assert answer(flow, question, hits[0].number, tcp_sequence=sequence) == OK
    flow.send_rest()
    assert flow.states() == [DECRYPTED]


@pytest.mark.row("RSY-02")
def test_rsy_02_driver_answers_by_the_first_byte(rx_flows):
    """`ReceiveTag.modify` is told where the header starts, as FreeBSD's tls_hdr_tcp_sn."""
    for suite in KINDS:
        flow, record = lost(rx_flows, suite=suite)
        flow.send(record.start, record.end)
        flow.collect()
        assert flow.tag.question.tcp_sequence == flow.at(record.start)
        for one in flow.records[:3]:
            flow.tag.modify(flow.at(one.start), one.end - one.start, one.number)
        assert flow.tag.question is None
        flow.settled()
        assert flow.tag.counters.rx_tls_resync_res_ok == 1
        flow.send_rest()
        assert flow.states() == [DECRYPTED]


@pytest.mark.row("RSY-02")
def test_rsy_02_hint_names_the_first_byte(rx_flows):
    """Of a record that is to come, and of one that was followed. Four more is no place where a
    record starts: it is refused when that has passed, and else nothing is decrypted there."""
    flow, record = lost(rx_flows, Resync.NONE)
    flow.send(record.start, record.end)
    assert flow.states() == [AS_ON_WIRE]
    assert hint(flow, record.start + TO_LAST_BYTE, record.number) == STALE
    assert hint(flow, record.start, record.number) == OK
    flow.send_rest()
    assert flow.states() == [DECRYPTED]

    flow, record = lost(rx_flows, Resync.NONE)
    assert hint(flow, record.start, record.number) == OK
    flow.send_rest(mss=333)
    assert set(flow.states()) == {DECRYPTED}

    flow, record = lost(rx_flows, Resync.NONE)
    assert hint(flow, record.start + TO_LAST_BYTE, record.number) == OK
    flow.send(record.start, record.end)
    assert flow.states() == [AS_ON_WIRE]
    after = flow.records[3]
    assert hint(flow, after.start, after.number) == OK
    flow.send_rest()
    assert flow.states() == [DECRYPTED]
    state = flow.query()
    assert state.auth_failures == 0
    assert not take_questions(flow)
