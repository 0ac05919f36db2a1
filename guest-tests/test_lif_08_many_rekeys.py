"""LIF-08: ninety-nine rekeys of one flow, and rekeys that the card refuses. Without the new key in
the card the connection goes on in software, nothing leaves in clear, and later the card has it
again: Linux marks the connection as failed, encrypts it in software, and tries at the next rekey.
"""

import pytest
from harness.tls_flow import KEY_UPDATE

from tlsnic.abi.enums import CipherSuite, CommandOpcode, CommandStatus
from tlsnic.driver.bus import BusError
from tlsnic.driver.errors import (
    CommandError,
    CommandTimeoutError,
    RingFullError,
    SendTagDeadError,
    SendTagRefused,
)
from tlsnic.driver.tls.framing import HANDSHAKE
from tlsnic.driver.tls.send_tag import OutcomeKind

pytestmark = pytest.mark.row("LIF-08")

MASK = 0xFFFF_FFFF
REKEYS = 99
IN_ORDER, PRESYNC, SOFTWARE = OutcomeKind.IN_ORDER, OutcomeKind.PRESYNC, OutcomeKind.SOFTWARE
GCM13 = CipherSuite.TLS13_AES_128_GCM


def goes_on(flow, *kinds):
    flow.write(500, 200)
    assert tuple(outcome.kind for outcome in flow.send_rest(400)) == kinds
    flow.check()


def switch_keys(flow):
    """The KeyUpdate is sent with the old key, and the stack switches; where that is."""
    flow.write_bytes(KEY_UPDATE, content_type=HANDSHAKE)
    flow.send_rest()
    flow.new_keys(flow.tls.next_session())
    return flow.end


@pytest.mark.parametrize(
    "suite", [GCM13, CipherSuite.TLS13_CHACHA20_POLY1305], ids=lambda suite: suite.name
)
def test_lif_08_99_rekeys(nic, flows, suite):
    """One packet has the end of one key's records and the start of the next one's; the last but
    one is still there for a retransmit, and memory does not grow with the keys."""
    flow = flows.open(suite)
    goes_on(flow, IN_ORDER, IN_ORDER)
    memory_bytes = nic.bus.dma_live_bytes
    for number in range(REKEYS):
        flow.write(40 + number)
        border = flow.key_update()
        flow.write(30)
        assert {outcome.kind for outcome in flow.send_rest()} == {IN_ORDER}
        flow.queue.drain(5)  # else the next rekey may overtake the data, and the card is BUSY
        if number % 20 == 0:
            flow.check()
            assert flow.send(border.start_sequence - 20, 80).kind is PRESYNC
    flow.check()
    assert nic.bus.dma_live_bytes == memory_bytes
    assert flow.records.newest.session_epoch == REKEYS
    flow.tag.ack(flow.end)
    flow.write(100)
    flow.send_rest()
    flow.check()
    assert len(flow.tag._epochs.sessions) <= 3
    assert nic.counters()["TX_DROP_TLS"] == 0


def test_lif_08_card_refuses_the_rekey(flows):
    """BUSY, for real. Free, software; the next context of the connection starts with the new key."""
    flow = flows.open(GCM13)
    flow.write(300)
    flow.key_update()  # the stream has not reached it
    flow.write_bytes(KEY_UPDATE, content_type=HANDSHAKE)
    following = flow.tls.next_session()
    with pytest.raises(SendTagRefused) as caught:
        flow.tag.modify_rekey(following, flow.end)
    assert caught.value.status == CommandStatus.BUSY
    flow.send_rest()
    flow.new_keys(following)
    flow.free()
    goes_on(flow, SOFTWARE, SOFTWARE)
    flow.offload()
    goes_on(flow, IN_ORDER, IN_ORDER)


def test_lif_08_no_new_context_for_the_new_key(nic, flows):
    """A stack that makes a new context for each key, as mlx5 with Linux: TLS was switched off in
    between, so that the card makes none until it is on again."""
    flow = flows.open(GCM13)
    goes_on(flow, IN_ORDER, IN_ORDER)
    for _ in range(2):
        switch_keys(flow)
        flow.free()
        nic.tx_tls = False
        for _ in range(2):
            with pytest.raises(SendTagRefused) as caught:
                flow.offload()
            assert caught.value.status == CommandStatus.DISABLED
            flow.to_software()
            goes_on(flow, SOFTWARE, SOFTWARE)
        flow.send(flow.start, 600)
        nic.tx_tls = True
        flow.offload()
        goes_on(flow, IN_ORDER, IN_ORDER)


FAILURES = {
    "table full": CommandError(CommandOpcode.TLS_FLOW_REKEY, CommandStatus.TABLE_FULL, 0),
    "no resources": CommandError(CommandOpcode.TLS_FLOW_REKEY, CommandStatus.BAD_FIELD, 0),
    "admin ring full": RingFullError("full"),
    "no memory": BusError("no DMA memory"),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_lif_08_command_fails(nic, flows, monkeypatch, failure):
    """Before the card has seen the new key: the flow still has the old one, which is good for
    retransmits; new records go by software until a later try succeeds."""
    flow = flows.open(GCM13)
    flow.write(300)
    border = switch_keys(flow)
    tag = flow.tag

    def fail(*_args, **_options):
        raise FAILURES[failure]

    with monkeypatch.context() as patch:
        patch.setattr(nic.admin, "execute_secret", fail)
        for _ in range(2):
            with pytest.raises((SendTagRefused, RingFullError, BusError)):
                tag.modify_rekey(flow.session, border)
            flow.to_software()
            entries = flow.write(200)
            assert {outcome.kind for outcome in flow.send_rest()} == {SOFTWARE}
            flow.tag = tag
            for entry in entries:
                tag.records.add(entry.start_sequence, entry.record)
    flow.check()
    assert tag.session is not flow.session
    assert flow.send(flow.start, 200).kind is PRESYNC
    tag.modify_rekey(flow.session, border)
    tag.resync(flow.end)
    flow.send(flow.start + 50, 300)
    goes_on(flow, PRESYNC, IN_ORDER)


def test_lif_08_answer_is_lost(nic, flows, monkeypatch):
    """Whether the card has the key nobody knows: the driver lets go of the flow, and no packet is
    encrypted with the wrong key. The connection gets a new one afterwards."""
    flow = flows.open(GCM13)
    flow.write(300)
    border = switch_keys(flow)
    tag = flow.tag
    with monkeypatch.context() as patch:
        patch.setattr(nic.admin, "timeout_s", 0.05)
        patch.setattr(nic.admin, "reap", lambda: 0)
        patch.setattr(nic.admin, "wait", lambda _timeout_s: False)
        with pytest.raises(CommandTimeoutError):
            tag.modify_rekey(flow.session, border)
    assert not tag.is_alive
    with pytest.raises(SendTagDeadError, match="being freed"):
        tag.transmit(nic.tx[0], flow.headers(border, 1), border, b"x")
    flow.to_software()
    goes_on(flow, SOFTWARE, SOFTWARE)
    tag.free()
    assert nic.admin.free == nic.admin.entries - 1
    flow.offload()
    goes_on(flow, IN_ORDER, IN_ORDER)
    counters = nic.counters()
    assert (counters["TX_TLS_CTX"], counters["TX_TLS_DEL"]) == (2, 1)
