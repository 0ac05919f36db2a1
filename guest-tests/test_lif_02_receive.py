"""LIF-02 and LIF-06 for receive: destroy is a fence. What came before it is delivered with the
flow's handle before the answer comes; what comes after it is of no flow. The same addresses and
ports can be offloaded again at once, and nothing of the old flow is left.
"""

import pytest
from harness.fixtures import wait_for
from harness.tls_resync import answer, take_question
from harness.tls_rx_flow import AS_ON_WIRE, AUTH_FAILED, DECRYPTED, KINDS, NONE
from harness.tls_start import START, make_session

from tlsnic.abi.enums import (
    CipherSuite,
    CommandStatus,
    Diagnostic,
    Offload,
    TlsDirection,
    TlsTrackerState,
)
from tlsnic.abi.structures import TlsFlowDestroyCommand, TlsFlowState, TlsResyncHintCommand
from tlsnic.driver.errors import CommandError, SendTagDeadError, SendTagRefused

ROW_2, ROW_6 = pytest.mark.row("LIF-02"), pytest.mark.row("LIF-06")
GCM = CipherSuite.TLS12_AES_128_GCM
LONG_US = 65535
"""The longest that a packet can be held back."""


def carry(flow, how=DECRYPTED):
    """The connection works, and it is known who decrypts."""
    flow.write(1500, 1)
    flow.send_rest()
    assert set(flow.states()) == {how}
    flow.check()


def close(flow):
    """The connection is over; its handle."""
    handle = flow.tag.handle
    flow.close()
    flow.flows.flows.remove(flow)
    return handle


def holding(nic, rx_flows, **options):
    """A flow of which the card holds packets back, to join more to them."""
    nic.offloads |= Offload.RX_COALESCE
    nic.set_rx_coalesce(LONG_US)
    flow = rx_flows.open(openssl=False, **options)
    flow.write(2500, 2500)
    before = nic.counters()["RX_WIRE_FRAMES"]
    flow.send_cut(0, 500, 1000, 1500)
    wait_for(lambda: nic.counters()["RX_WIRE_FRAMES"] == before + 3, "three frames taken")
    return flow


@ROW_2
@pytest.mark.parametrize("suite", KINDS[1:3], ids=lambda suite: suite.name)
def test_lif_02_destroy_delivers_what_is_held_back(nic, rx_flows, suite):
    flow = holding(nic, rx_flows, suite=suite)
    tag = flow.tag
    flow.free()
    assert sum(packet.segments for packet in take_all(rx_flows)) == 3
    assert {one.packet.flow for one in flow.arrived} == {tag.handle}
    assert {one.state for one in flow.arrived} == {DECRYPTED}
    assert nic.counters()["RX_TLS_DEL"] == 1
    flow.send_rest()
    assert set(flow.states()) == {DECRYPTED, NONE}
    assert {one.packet.flow for one in flow.arrived if one.state is NONE} == {0}
    flow.check()


def take_all(rx_flows):
    """The packets that are there by now: nothing is waited for."""
    rx_flows.nic.poll_events()
    return rx_flows.collect(timeout_s=0)


@ROW_2
def test_lif_02_what_comes_later_is_not_joined_to_it(nic, rx_flows):
    """Not even by the next flow of the connection, which has the same ports and the next bytes."""
    flow = holding(nic, rx_flows)
    old = flow.tag.handle
    flow.free()
    take_all(rx_flows)
    flow.send_cut(1500, 2000, 2500)
    flow.collect()
    again = rx_flows.open(openssl=False, address=flow.address, sequence=flow.at(2500))
    again.write(900)
    again.send_rest()
    again.collect()
    handles = [one.packet.flow for one in (*flow.arrived, *again.arrived)]
    assert set(handles[: len(flow.arrived)]) == {old, 0}
    assert set(handles[len(flow.arrived) :]) == {again.tag.handle}
    again.check()


@ROW_2
def test_lif_02_destroy_drops_the_question(nic, rx_flows):
    """Which is not answered any more: the driver knows, and the card too."""
    flow = rx_flows.open(openssl=False, reader=False)
    flow.write(1000, 1000, 1000)
    third = flow.records[-1].start
    flow.send(third - 10, third + 500)
    flow.asked(1)
    tag, before = flow.tag, nic.counters()
    assert tag.question is not None
    flow.free()
    flow.collect()
    counters = tag.counters
    assert (counters.rx_tls_resync_req_start, counters.rx_tls_resync_req_skip) == (1, 1)
    after = nic.counters()
    assert after["RX_TLS_RESYNC_REQ_SKIP"] - before["RX_TLS_RESYNC_REQ_SKIP"] == 1
    with pytest.raises(SendTagDeadError, match="freed"):
        tag.modify(flow.at(third), 1000, 2)
    assert after["RX_TLS_RESYNC_REQ_END"] == 0


@ROW_2
def test_lif_02_receive_flow_destroyed_twice(nic, watch, rx_flows):
    flow = rx_flows.open(openssl=False)
    handle = flow.tag.handle
    flow.tag._close()
    again = nic.admin.submit(TlsFlowDestroyCommand(handle=handle))
    watch.expect(Diagnostic.TLS_HANDLE)
    flow.free()
    with pytest.raises(CommandError) as caught:
        nic.admin.result(again)
    assert caught.value.status == CommandStatus.BAD_HANDLE
    assert nic.counters()["RX_TLS_DEL"] == 1
    carry(flow, NONE)


@ROW_2
def test_lif_02_destroy_with_packets_on_the_way(rx_flows, scale):
    """Each comes on one side of the fence, with the handle or without, and the data is right."""
    for number in range(scale(20, 3)):
        flow = rx_flows.open(KINDS[number % 4], openssl=False)
        flow.write(3000, 3000, 500)
        flow.send(0, flow.end, mss=300)
        flow.free()
        states = flow.states()
        assert states == sorted(states, key=lambda state: state is NONE)
        assert set(states) <= {DECRYPTED, NONE}
        flow.check()


STATES = {
    "in the middle of a record": TlsTrackerState.OFFLOAD,
    "searching": TlsTrackerState.SEARCH,
    "asking": TlsTrackerState.TRACK,
    "halted": TlsTrackerState.HALTED,
}


def leave(flow, watch, state):
    """The tracker is in this state; events of it are taken."""
    flow.write(1200, 3000, 1200)
    second, third = (record.start for record in flow.records[1:])
    flow.send(0, second - 200)
    if state is TlsTrackerState.SEARCH:
        flow.send(second + 500, second + 1500)
    elif state is TlsTrackerState.TRACK:
        flow.send(third - 10, third + 500)
    elif state is TlsTrackerState.HALTED:
        watch.expect(Diagnostic.TLS_AUTH)
        damaged = bytearray(flow.payload(second - 200, second))
        damaged[-1] ^= 1
        flow.flows.send(flow.frame(second - 200, second, payload=bytes(damaged)))
        assert flow.states()[-1] is AUTH_FAILED
    flow.collect()
    assert flow.tracker is state


@ROW_6
@pytest.mark.parametrize("how", STATES)
def test_lif_06_new_receive_flow_starts_anew(nic, watch, rx_flows, how):
    """Whatever state the old one was in; sequence numbers are the same, lower, or inside."""
    for number, start in enumerate((START, START - 5000, START + 900)):
        first = rx_flows.open(GCM, openssl=False, reader=False)
        leave(first, watch, STATES[how])
        question = take_question(first) if how == "asking" else None
        address = first.address
        stale = close(first)
        suite = KINDS[number]
        flow = rx_flows.open(suite, openssl=False, address=address, sequence=start)
        assert flow.tag.handle != stale
        assert flow.query() == TlsFlowState(
            tcp_sequence=flow.sequence,
            direction=TlsDirection.RECEIVE,
            tracker_state=TlsTrackerState.OFFLOAD,
            record_iv=bytes(16),
        )
        if question is not None:
            watch.expect(Diagnostic.TLS_HANDLE)
            assert answer(flow, question, 1) == CommandStatus.BAD_HANDLE
            fresh = question._replace(handle=flow.tag.handle)
            assert answer(flow, fresh, 1) == CommandStatus.STALE
        carry(flow)
        assert flow.query().record_number == 2
        close(flow)
    counters = nic.counters()
    assert counters["RX_TLS_CTX"] == counters["RX_TLS_DEL"] == 6


@ROW_6
def test_lif_06_old_receive_handle_is_refused(nic, watch, rx_flows):
    first = rx_flows.open(GCM, openssl=False)
    carry(first)
    tag = first.tag
    close(first)
    flow = rx_flows.open(GCM, openssl=False, address=first.address)
    flow.write(500, 500)
    state = flow.query()
    for command in (
        TlsResyncHintCommand(handle=tag.handle, tcp_sequence=flow.at(flow.records[1].start)),
        TlsFlowDestroyCommand(handle=tag.handle),
    ):
        watch.expect(Diagnostic.TLS_HANDLE)
        with pytest.raises(CommandError) as caught:
            nic.admin.execute(command)
        assert caught.value.status == CommandStatus.BAD_HANDLE
    with pytest.raises(SendTagDeadError, match="freed"):
        tag.modify_rekey(make_session(GCM, seed=1), START)
    assert flow.query() == state
    carry(flow)


@ROW_6
def test_lif_06_receive_over_and_over(nic, rx_flows, scale):
    """Handles do not come back, and each connection is decrypted with its own key."""
    handles, address = set(), None
    count = scale(100, 10)
    for number in range(count):
        suite = KINDS[number % len(KINDS)]
        session = make_session(suite, seed=number)
        options = {"address": address, "sequence": START + 10 * number}
        flow = rx_flows.open(session=session, **options)
        address = flow.address
        flow.write(300)
        flow.send(0, 200)
        flow.send_rest()
        assert set(flow.states()) == {DECRYPTED}
        flow.check()
        handles.add(close(flow))
    assert len(handles) == count
    counters = nic.counters()
    assert (counters["RX_TLS_CTX"], counters["RX_TLS_DEL"]) == (count, count)
    assert nic.receive_tags == {}


@ROW_6
def test_lif_06_packets_of_the_old_connection_come_late(rx_flows):
    """They would have been good for the old key; the new flow takes them for what they are not."""
    first = rx_flows.open(GCM, openssl=False)
    carry(first)
    late = first.frame(0, 700)
    address = first.address
    close(first)
    flow = rx_flows.open(GCM, openssl=False, address=address)
    with pytest.raises(SendTagRefused) as caught:
        rx_flows.open(GCM, openssl=False, address=address)
    assert caught.value.status == CommandStatus.DUPLICATE
    carry(flow)
    flow.flows.send(late)
    assert flow.states() == [AS_ON_WIRE]
    carry(flow)
