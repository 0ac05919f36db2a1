"""SET-10 and SET-11 for receive: handles that were never given out, or are of a flow that is gone,
do nothing, and a reset leaves nothing of a flow.
"""

import pytest
from harness.fixtures import await_link
from harness.tls_resync import take_question
from harness.tls_rx_flow import AS_ON_WIRE, DECRYPTED, NONE
from harness.tls_start import make_session

from tlsnic.abi.enums import (
    CipherSuite,
    CommandStatus,
    Diagnostic,
    TlsDirection,
    TlsTrackerState,
    TxFlags,
    TxStatus,
)
from tlsnic.abi.structures import (
    TlsFlow,
    TlsFlowDestroyCommand,
    TlsFlowQueryCommand,
    TlsFlowRateCommand,
    TlsFlowRekeyCommand,
    TlsFlowState,
    TlsResyncAnswerCommand,
    TlsResyncHintCommand,
)
from tlsnic.driver.errors import CommandError, SendTagDeadError

ROW_10, ROW_11 = pytest.mark.row("SET-10"), pytest.mark.row("SET-11")
GCM, GCM13 = CipherSuite.TLS12_AES_128_GCM, CipherSuite.TLS13_AES_256_GCM


def carry(flow, how=DECRYPTED):
    """The connection works, and it is known who decrypts."""
    flow.write(1500, 1)
    flow.send_rest()
    assert set(flow.states()) == {how}
    flow.check()


def refused(nic, watch, command):
    watch.expect(Diagnostic.TLS_HANDLE)
    with pytest.raises(CommandError) as caught:
        nic.admin.execute(command)
    assert caught.value.status == CommandStatus.BAD_HANDLE, command
    watch.collect()


def track(flow):
    """A record header is lost, and the card asks; nobody answers."""
    flow.write(1000, 1000, 1000)
    second, third = (record.start for record in flow.records[-2:])
    flow.send(second + 100, third - 10)
    flow.send(third - 10, third + 500)
    assert set(flow.states()) == {AS_ON_WIRE}
    assert flow.tracker is TlsTrackerState.TRACK
    return take_question(flow, third)


@ROW_10
@pytest.mark.parametrize("kind", ["stale", "forged"])
def test_set_10_commands_of_receive_flows(nic, watch, rx_flows, kind):
    """Also answers and hints that would be right for the flow that is there."""
    flow = rx_flows.open(GCM, openssl=False, reader=False)
    question = track(flow)
    if kind == "stale":
        gone = nic.rcv_tag_alloc(make_session(GCM), flow.address._replace(local_port=9), 1)
        handles = [gone.handle]
        gone.free()
    else:
        live = flow.tag.handle
        handles = [0, live + 1, live ^ 1 << 31, 0xFFFF_FFFF]
    number = flow.records[-1].number
    before = flow.query()
    with nic.bus.dma_alloc(TlsFlow.SIZE, 64) as block:
        for handle in handles:
            for command in (
                TlsFlowQueryCommand(handle=handle, address=block.iova, length=TlsFlowState.SIZE),
                TlsFlowRekeyCommand(handle=handle, address=block.iova, length=TlsFlow.SIZE),
                TlsFlowRateCommand(handle=handle, rate_bytes_per_s=1),
                TlsFlowDestroyCommand(handle=handle),
                TlsResyncAnswerCommand(
                    record_number=number,
                    tcp_sequence=question.tcp_sequence,
                    handle=handle,
                    question=question.question,
                    found=1,
                ),
                TlsResyncHintCommand(
                    record_number=number, tcp_sequence=question.tcp_sequence, handle=handle
                ),
            ):
                refused(nic, watch, command)
        assert bytes(block.view) == bytes(TlsFlow.SIZE), "something was written for it"
    assert flow.query() == before
    assert nic.counters()["RX_TLS_DEL"] == (kind == "stale")


@ROW_10
def test_set_10_handles_are_for_one_direction(nic, watch, flows, rx_flows):
    """Answers and hints are not for transmit flows, rates and packets not for receive flows."""
    into = rx_flows.open(GCM)
    out = flows.open(GCM, address=into.address)
    for command in (
        TlsResyncAnswerCommand(handle=out.tag.handle, found=1),
        TlsResyncHintCommand(handle=out.tag.handle),
        TlsFlowRateCommand(handle=into.tag.handle, rate_bytes_per_s=1),
    ):
        refused(nic, watch, command)
    out.write(200)
    headers = out.headers(out.start, 100)
    watch.expect(Diagnostic.TLS_HANDLE)
    out.queue.send(
        headers + out.records.read(out.start, 100),
        checksum=True,
        send_tag=into.tag.handle,
        header_length=len(headers),
        flags=TxFlags.TLS,
        report=True,
    )
    nic.tx[0].drain(5)
    assert [drop.status for drop in nic.tx[0].drops] == [TxStatus.TLS_DROPPED]
    assert flows.collect() == []
    out.send_rest()
    out.check()
    carry(into)


@ROW_10
def test_set_10_events_of_a_flow_that_is_gone(nic, rx_flows):
    """The driver has freed the tag when the question comes to it: nobody is told."""
    flow = rx_flows.open(GCM, openssl=False, reader=False)
    flow.write(1000, 1000, 1000)
    third = flow.records[-1].start
    flow.send(third - 10, third + 500)
    flow.flows._receive(5)
    tag = flow.tag
    flow.free()
    rx_flows.collect()
    assert tag.counters.rx_tls_resync_req_start in (0, 1)
    assert tag.counters.rx_tls_resync_req_end == 0
    assert nic.counters()["RX_TLS_RESYNC_REQ_SKIP"] == 1
    assert nic.receive_tags == {}


@ROW_11
@pytest.mark.parametrize("kind", ["soft", "function"])
def test_set_11_receive_add_reset_add(nic, watch, rx_flows, kind):
    """In the middle of a record, with a question open: the same connection again has none of it."""
    flow = rx_flows.open(GCM, openssl=False, reader=False)
    flow.write(800)
    flow.send_rest()
    assert set(flow.states()) == {DECRYPTED}
    track(flow)
    tag = flow.tag
    watch.checkpoint()
    nic.reset(function=kind == "function")
    await_link(nic)
    watch.start_again()
    for use in (tag.query, lambda: tag.hint(flow.at(0), 0), lambda: tag.modify(0, 0, 0)):
        with pytest.raises(SendTagDeadError, match="reset"):
            use()
    assert nic.receive_tags == {}
    assert nic.tls_receive_counters.rx_tls_del == 1
    assert {name: n for name, n in nic.counters().items() if "TLS" in name and n} == {}
    flow.send(flow.sent_end, flow.end)
    assert set(flow.states()) == {NONE}

    again = rx_flows.open(GCM13, address=flow.address, sequence=flow.at(flow.end))
    assert again.tag.handle != tag.handle
    assert again.query() == TlsFlowState(
        tcp_sequence=again.sequence,
        record_number=again.session.record_number,
        direction=TlsDirection.RECEIVE,
        tracker_state=TlsTrackerState.OFFLOAD,
        record_iv=bytes(16),
    )
    refused(nic, watch, TlsResyncHintCommand(handle=tag.handle, tcp_sequence=again.sequence))
    refused(nic, watch, TlsFlowDestroyCommand(handle=tag.handle))
    carry(again)


@ROW_11
def test_set_11_reset_empties_the_table_of_receive_flows(nic, watch, rx_flows, scale):
    """Every connection that there was can be offloaded again, and none counts as a duplicate."""
    session = make_session(GCM, seed=11)
    address = rx_flows.open(GCM, openssl=False, reader=False).address
    addresses = [address._replace(local_port=7000 + number) for number in range(scale(100, 10))]
    for _ in range(2):
        tags = [nic.rcv_tag_alloc(session, one, 1) for one in addresses]
        assert len({tag.handle for tag in tags}) == len(addresses)
        watch.checkpoint()
        nic.reset()
        watch.start_again()
        assert nic.statistics()["RX_TLS_CTX"] == 0
    counters = nic.tls_receive_counters
    assert counters.rx_tls_ctx == counters.rx_tls_del == 2 * len(addresses) + 1
