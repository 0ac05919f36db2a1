"""LIF-07 and LIF-08 for receive: the peer changes its key. The KeyUpdate is the last record that the
card decrypts with the old one; packets with the new key come unchanged until the card has it. When
it refuses the new key, the connection goes on in software, and later has the card again.

RFC 8446 section 4.6.3. Linux pauses at the KeyUpdate in the same way (EKEYEXPIRED).
"""

import pytest
from harness.tls_rx_flow import AS_ON_WIRE, AUTH_FAILED, DECRYPTED, NONE
from harness.tls_start import make_session

from tlsnic.abi.enums import (
    CipherSuite,
    CommandOpcode,
    CommandStatus,
    Diagnostic,
    Offload,
    TlsTrackerState,
)
from tlsnic.abi.structures import TlsFlowRekeyCommand
from tlsnic.driver.errors import CommandError, CommandTimeoutError, SendTagRefused
from tlsnic.driver.tls.flow_block import flow_block
from tlsnic.driver.tls.receive_tag import Resync
from tlsnic.driver.tls.send_tag import OutcomeKind

ROW_7, ROW_8 = pytest.mark.row("LIF-07"), pytest.mark.row("LIF-08")
REKEYS = 99
SUITES = [
    CipherSuite.TLS13_AES_128_GCM,
    CipherSuite.TLS13_AES_256_GCM,
    CipherSuite.TLS13_CHACHA20_POLY1305,
]
every_suite = pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)


def bring(flow, how=DECRYPTED):
    """The connection works, and it is known who decrypts."""
    flow.write(1500, 1)
    flow.send_rest()
    assert set(flow.states()) == {how}
    flow.check()


def switch(flow):
    """The peer's KeyUpdate comes and is read; the session from there on."""
    session = flow.key_update()
    flow.send_rest()
    assert set(flow.states()) == {DECRYPTED}
    flow.read()
    assert flow.receiver.key_expired
    return session


def take_key(flow, session):
    """The stack has the new key, and so has the card."""
    flow.read()
    assert flow.receiver.key_expired
    flow.receiver.rekey(session)
    assert flow.receiver.refusal is None


@ROW_7
@every_suite
def test_lif_07_key_before_any_packet_of_it(rx_flows, suite):
    """Decrypted up to the KeyUpdate and from there on, with numbers from 0."""
    flow = rx_flows.open(suite, openssl=False)
    for _ in range(3):
        bring(flow)
        session = switch(flow)
        assert flow.tracker is TlsTrackerState.HALTED
        take_key(flow, session)
        state = flow.query()
        assert (state.tracker_state, state.record_number) == (TlsTrackerState.OFFLOAD, 0)
    bring(flow)
    assert flow.query().record_number == 2
    assert flow.query().auth_failures == 0


@ROW_7
@every_suite
def test_lif_07_packets_of_the_new_key_come_unchanged(nic, rx_flows, suite):
    """The old context leaves them alone, whole ones and pieces; once it has the key it goes on with
    the next record."""
    flow = rx_flows.open(suite, openssl=False)
    bring(flow)
    session = switch(flow)
    before = nic.counters()
    flow.write(700, 2000, 500)
    third = flow.records[-1].start
    flow.send(flow.sent_end, third - 700, mss=333)
    assert set(flow.states()) == {AS_ON_WIRE}
    assert flow.tracker is TlsTrackerState.HALTED
    changed = {name for name, n in nic.counters().items() if n != before[name] and "TLS" in name}
    assert changed == set()
    take_key(flow, session)
    assert flow.query().record_number == 1
    flow.send(flow.sent_end, third)
    assert set(flow.states()) == {AS_ON_WIRE}
    flow.send_rest()
    assert set(flow.states()) == {DECRYPTED}
    flow.check()
    bring(flow)


@ROW_7
def test_lif_07_both_keys_in_one_packet(rx_flows):
    """What begins with the old key and goes on with the new one is as on the wire."""
    flow = rx_flows.open(SUITES[0], openssl=False)
    flow.write(300)
    session = flow.key_update()
    flow.write(300)
    flow.send_rest()
    assert flow.states() == [AS_ON_WIRE]
    take_key(flow, session)
    assert flow.query().record_number == 1
    bring(flow)


@ROW_7
def test_lif_07_key_update_in_pieces(rx_flows):
    """Byte by byte, across the border to the new key."""
    flow = rx_flows.open(SUITES[2], openssl=False)
    flow.write(200)
    begin = flow.end
    session = flow.key_update()
    border = flow.end
    flow.write(200)
    flow.send(0, begin)
    flow.send(begin, border, mss=1)
    assert set(flow.states()) == {DECRYPTED}
    flow.send(border, border + 8, mss=1)
    assert set(flow.states()) == {AS_ON_WIRE}
    take_key(flow, session)
    flow.send_rest()
    flow.collect()
    flow.check()
    bring(flow)


@ROW_7
def test_lif_07_key_update_sent_again(rx_flows):
    """Retransmits of the old key's records, and of the new key's, come as on the wire."""
    flow = rx_flows.open(SUITES[1], openssl=False)
    flow.write(400)
    session = switch(flow)
    border = flow.end
    flow.send(0, border)
    flow.send(border - 10, border)
    assert set(flow.states()) == {AS_ON_WIRE}
    assert flow.tracker is TlsTrackerState.HALTED
    take_key(flow, session)
    bring(flow)
    flow.send(0, flow.end)
    assert set(flow.states()) == {AS_ON_WIRE}
    bring(flow)


@ROW_7
@pytest.mark.parametrize("resync", [Resync.HOST, Resync.TAG], ids=lambda how: how.name)
def test_lif_07_key_update_lost(watch, rx_flows, resync):
    """The card goes on with the old key until a tag does not fit; what it has decrypted wrongly by
    then is undone, and nothing of it is taken for good."""
    watch.allow(Diagnostic.TLS_AUTH)
    flow = rx_flows.open(SUITES[0], openssl=False, resync=resync)
    bring(flow)
    begin = flow.end
    session = flow.key_update()
    border = flow.end
    flow.write(3000, 500)
    flow.send(border, flow.end)
    assert set(flow.states()) <= {AS_ON_WIRE, AUTH_FAILED, DECRYPTED}
    assert not sum(one.records for one in flow.arrived if one.start >= border)
    flow.send(begin, border)
    assert flow.states() == [AS_ON_WIRE]
    take_key(flow, session)
    flow.check()
    flow.settled()
    flow.write(800, 800, 800)
    flow.send_rest()
    flow.collect()
    flow.check()
    flow.settled()
    bring(flow)


@ROW_7
@every_suite
def test_lif_07_both_ways(flows, rx_flows, suite):
    """One connection: either side changes its key, and the other direction does not notice."""
    out = flows.open(suite)
    into = rx_flows.open(session=make_session(suite, seed=7), address=out.address)

    def carry():
        out.write(900)
        assert {outcome.kind for outcome in out.send_rest()} == {OutcomeKind.IN_ORDER}
        out.check()
        bring(into)

    carry()
    session = switch(into)
    out.write(900)
    out.send_rest()
    take_key(into, session)
    carry()
    out.key_update()
    carry()
    session = switch(into)
    out.key_update()
    take_key(into, session)
    carry()


@ROW_8
def test_lif_08_99_receive_rekeys(nic, rx_flows):
    """Each is decrypted from its first record on, and memory does not grow with them."""
    flow = rx_flows.open(SUITES[0], openssl=False)
    flow.write(40)
    flow.send_rest()
    flow.collect()
    memory_bytes = nic.bus.dma_live_bytes
    for number in range(REKEYS):
        flow.write(30 + number)
        session = switch(flow)
        take_key(flow, session)
    bring(flow)
    assert nic.bus.dma_live_bytes == memory_bytes
    assert flow.query().record_number == 2
    counters = nic.counters()
    assert (counters["RX_TLS_ERR"], counters["RX_TLS_RESYNC_REQ_START"]) == (0, 0)


def refused_key(flow, session, status):
    """The stack has the new key, the card has refused it."""
    flow.read()
    flow.receiver.rekey(session)
    assert flow.receiver.refusal.status == status


@ROW_8
def test_lif_08_card_refuses_the_receive_rekey(nic, watch, rx_flows):
    """Another suite than the flow's, by a driver that does not look: nothing changes in the card."""
    flow = rx_flows.open(SUITES[0], openssl=False)
    bring(flow)
    tag, state = flow.tag, flow.query()
    other = make_session(SUITES[1], seed=8)
    with pytest.raises(ValueError, match="suite"):
        tag.modify_rekey(other, flow.at(flow.end))
    block = flow_block(
        other, flow.address, flow.at(flow.end), 0, direction=1, flags=int(tag.resync)
    )
    watch.expect(Diagnostic.COMMAND_FIELD)
    with pytest.raises(CommandError) as caught:
        nic.admin.execute_secret(TlsFlowRekeyCommand(handle=tag.handle), block)
    assert caught.value.status == CommandStatus.BAD_FIELD
    assert flow.query() == state
    bring(flow)


@ROW_8
def test_lif_08_receive_rekey_fails(nic, rx_flows, monkeypatch):
    """The card keeps the old key, which is of no use: all comes as on the wire, and is decrypted in
    software, until a new flow is made for the key that is current then."""
    flow = rx_flows.open(SUITES[0], openssl=False)
    bring(flow)
    failure = CommandError(CommandOpcode.TLS_FLOW_REKEY, CommandStatus.TABLE_FULL, 0)

    def fail(*_args, **_options):
        raise failure

    for _ in range(2):
        session = flow.key_update()
        flow.send_rest()
        flow.collect()
        with monkeypatch.context() as patch:
            patch.setattr(nic.admin, "execute_secret", fail)
            refused_key(flow, session, CommandStatus.TABLE_FULL)
        bring(flow, AS_ON_WIRE)
        assert flow.tracker is TlsTrackerState.HALTED
    flow.free()
    bring(flow, NONE)
    following = make_session(SUITES[0], seed=1)
    again = rx_flows.open(session=following, address=flow.address, sequence=flow.at(flow.end))
    bring(again)
    assert nic.counters()["RX_TLS_ERR"] == 0


@ROW_8
def test_lif_08_no_new_receive_context_during_a_rekey(nic, rx_flows):
    """A stack that makes a new context for each key: receive TLS was switched off in between."""
    flow = rx_flows.open(SUITES[2], openssl=False)
    bring(flow)
    session = switch(flow)
    flow.free()
    before = nic.offloads
    nic.offloads = before & ~Offload.RX_TLS
    for _ in range(2):
        with pytest.raises(SendTagRefused) as caught:
            nic.rcv_tag_alloc(session, flow.address, flow.at(flow.end))
        assert caught.value.status == CommandStatus.DISABLED
    flow.receiver.rekey(session)
    bring(flow, NONE)
    nic.offloads = before
    following = make_session(SUITES[2], seed=9)
    bring(rx_flows.open(session=following, address=flow.address, sequence=flow.at(flow.end)))


@ROW_8
def test_lif_08_answer_to_a_receive_rekey_is_lost(nic, rx_flows, monkeypatch):
    """Whether the card has the key nobody knows: the driver lets go of the flow."""
    flow = rx_flows.open(SUITES[0], openssl=False)
    bring(flow)
    session = switch(flow)
    with monkeypatch.context() as patch:
        patch.setattr(nic.admin, "timeout_s", 0.05)
        patch.setattr(nic.admin, "reap", lambda: 0)
        patch.setattr(nic.admin, "wait", lambda _timeout_s: False)
        flow.receiver.rekey(session)
    assert isinstance(flow.receiver.refusal, CommandTimeoutError)
    assert not flow.tag.is_alive
    flow.free()
    bring(flow, NONE)
    assert nic.admin.free == nic.admin.entries - 1
    counters = nic.counters()
    assert (counters["RX_TLS_CTX"], counters["RX_TLS_DEL"]) == (1, 1)
