"""TX-20: memory of a packet with TLS that is not mapped: dropped, nothing leaks, the queue runs."""

import pytest
from harness.tls_raw import NOWHERE, in_order, presynced, state_of

from tlsnic.abi.enums import CipherSuite, Diagnostic, QueueState, TxStatus
from tlsnic.driver.tls.send_tag import OutcomeKind
from tlsnic.driver.tx import DmaRange

pytestmark = pytest.mark.row("TX-20")

MASK = 0xFFFF_FFFF
KINDS = {
    "GCM, TLS 1.3": {"suite": CipherSuite.TLS13_AES_128_GCM},
    "CBC, TLS 1.0": {"suite": CipherSuite.TLS10_AES_CBC_SHA1},
    "CBC, encrypt then MAC": {
        "suite": CipherSuite.TLS12_AES_CBC_SHA384,
        "encrypt_then_mac": True,
        "key_bytes": 32,
    },
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def lost(part):
    """The same bytes, where nothing is mapped."""
    return DmaRange(NOWHERE, len(part))


@every_kind
def test_tx_20_unmapped_part_of_a_packet(nic, flows, raw, watch, kind):
    """Each part of a packet in turn: headers, payload, block, prefix, suffix."""
    flow = flows.open(**KINDS[kind])
    first, second = flow.write(700, 600)
    raw.go_on(flow, second.start_sequence + 205 - flow.start & MASK)
    flows.collect()
    here = state_of(flow).tcp_sequence
    next_one = in_order(flow, here, 103)
    into_tag = presynced(flow, first.start_sequence + len(first.record.data) - 30, 30)
    moving = presynced(flow, here - 60, 101, moves=True)
    assert into_tag.prefix
    assert moving.prefix
    packets = [
        next_one._replace(payload=lost(next_one.payload)),
        next_one._replace(headers=lost(next_one.headers)),
        into_tag._replace(presync=lost(into_tag.presync)),
        into_tag._replace(prefix=lost(into_tag.prefix)),
        into_tag._replace(payload=lost(into_tag.payload)),
        moving._replace(prefix=lost(moving.prefix)),
        moving._replace(payload=lost(moving.payload)),
    ]
    if flow.tag.session.layout.mac_key_bytes:  # CBC: both end inside a cipher block
        packets.append(next_one._replace(suffix=lost(next_one.suffix)))
        packets.append(moving._replace(suffix=lost(moving.suffix)))
    state, before = state_of(flow), nic.counters()
    for packet in packets:
        watch.expect(Diagnostic.DMA_FAULT)
        completion = raw.post(packet)
        assert completion.status == TxStatus.TLS_DROPPED, packet
        assert completion.detail == Diagnostic.DMA_FAULT, packet
        assert completion.send_tag == flow.tag.handle
        assert nic.tx[0].state == QueueState.RUNNING
    after = nic.counters()
    assert after["TX_DROP_TLS"] - before["TX_DROP_TLS"] == len(packets)
    assert after["TX_DROP_DMA"] == before["TX_DROP_DMA"]
    assert after["TX_FRAMES"] == before["TX_FRAMES"], "something left the card"
    assert state_of(flow)._replace(out_of_order=0) == state._replace(out_of_order=0)
    raw.go_on(flow, 100)
    assert raw.post(into_tag).status == TxStatus.OK
    raw.go_on(flow, flow.end - flow.sent_end & MASK)
    flow.check()


@every_kind
def test_tx_20_mapped_in_part(flows, raw, watch, kind):
    """Two buffers of payload, of which the second is nowhere, or the first."""
    flow = flows.open(**KINDS[kind])
    flow.write(900)
    raw.go_on(flow, 100)
    flows.collect()
    here = state_of(flow).tcp_sequence
    good = in_order(flow, here, 160)

    def halved(chain, at):
        payload = chain[1]
        halves = [
            payload._replace(length=60),
            payload._replace(address=payload.address + 60, length=100),
        ]
        halves[at] = halves[at]._replace(address=NOWHERE)
        return [chain[0], *halves, *chain[2:]]

    for at in (0, 1):
        watch.expect(Diagnostic.DMA_FAULT)
        completion = raw.post(good._replace(edit=lambda chain, at=at: halved(chain, at)))
        assert completion.status == TxStatus.TLS_DROPPED
    assert flows.collect() == []
    raw.go_on(flow, 400)
    flow.check()


def test_tx_20_others_go_on(flows, watch, raw):
    """The packet is one of many of other flows, and of others without TLS, in one doorbell."""
    bad, good = flows.open(), flows.open(CipherSuite.TLS13_CHACHA20_POLY1305)
    bad.write(600)
    good.write(900)
    bad.send(bad.start, 200)
    watch.expect(Diagnostic.DMA_FAULT)
    sequence = bad.start + 200 & MASK
    with bad.queue.batch():
        good.send(good.start, 300)
        bad.tag.transmit(bad.queue, bad.headers(sequence, 100), sequence, DmaRange(NOWHERE, 100))
        good.send(good.start + 300 & MASK, 300)
        good.send(good.start + 100 & MASK, 300)
        good.send_rest()
    good.check()
    assert [drop.detail for drop in bad.queue.drops] == [Diagnostic.DMA_FAULT]
    assert bad.queue.state == QueueState.RUNNING


def test_tx_20_driver_goes_on(flows, watch):
    """The driver's own packet is lost so: TCP sends it again, and the stream is whole."""
    flow = flows.open(CipherSuite.TLS12_AES_256_GCM)
    first, second, _ = flow.write(500, 300, 400)
    flow.send(flow.start, 150)
    watch.expect(Diagnostic.DMA_FAULT)
    watch.expect(Diagnostic.TLS_SEQUENCE)
    sequence = flow.start + 150 & MASK
    with flow.queue.batch():
        flow.tag.transmit(flow.queue, flow.headers(sequence, 100), sequence, DmaRange(NOWHERE, 100))
        behind = flow.start + 250 & MASK
        rest = len(first.record.data) - 250
        assert flow.send(behind, rest).kind is OutcomeKind.IN_ORDER
    flow.queue.drain(5)
    assert flow.tag.is_resync_pending
    assert flow.send(second.start_sequence, 100).kind is OutcomeKind.PRESYNC
    assert flow.send(sequence, 100).kind is OutcomeKind.PRESYNC
    assert flow.send(behind, rest).kind is OutcomeKind.PRESYNC
    assert {outcome.kind for outcome in flow.send_rest(200)} == {OutcomeKind.IN_ORDER}
    flow.check()
