"""LIF-01: the link goes down under a TLS flow. What is lost is sent again, by the card or by
software, with the same bytes; nothing leaves in clear, and no descriptor or completion is lost.

A loss by link down says not whether the card's state has moved, so the driver takes card and stream
for parted: software encrypts up to the next record (Linux's tls-offload document, "Resync
handling"), and what was lost TCP sends again. A connection may also leave the card for good, as
Linux's tls_device_down() makes it do.
"""

import pytest
from harness.fixtures import await_link

from tlsnic.abi.enums import CipherSuite, Diagnostic, QueueState, TxStatus
from tlsnic.driver.tls.send_tag import OutcomeKind

pytestmark = pytest.mark.row("LIF-01")

MASK = 0xFFFF_FFFF
IN_ORDER, PRESYNC, SOFTWARE = OutcomeKind.IN_ORDER, OutcomeKind.PRESYNC, OutcomeKind.SOFTWARE
KINDS = {
    "GCM, TLS 1.2": {"suite": CipherSuite.TLS12_AES_128_GCM},
    "ChaCha20, TLS 1.3": {"suite": CipherSuite.TLS13_CHACHA20_POLY1305},
    "CBC, TLS 1.0": {"suite": CipherSuite.TLS10_AES_CBC_SHA1},
    "CBC, encrypt then MAC": {
        "suite": CipherSuite.TLS12_AES_CBC_SHA256,
        "encrypt_then_mac": True,
    },
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def unplug(nic, peer):
    peer.set_link(False)
    await_link(nic, False)


def plug(nic, peer):
    peer.set_link(True)
    await_link(nic)


def send_again(flow, places):
    """What TCP does when no ACK comes."""
    return {flow.send(flow.start + at, length).kind for at, length in places}


def holes(flow, most=1400):
    """What the far end lacks, in packets: offset and length."""
    size = flow.sent_end - flow.start & MASK
    end = flow.stream.end_offset
    gaps = flow.stream.gaps() + ([(end, size - end)] if end < size else [])
    return [
        (at + done, min(most, length - done))
        for at, length in gaps
        for done in range(0, length, most)
    ]


@every_kind
def test_lif_01_software_up_to_the_next_record(nic, peer, watch, flows, kind):
    """Lost are the rest of a record and the start of the next one; new data is for software until
    a record starts, or for good with TLS 1.0. The card repeats what it has the keys for."""
    flow = flows.open(**KINDS[kind])
    again = SOFTWARE if kind == "CBC, TLS 1.0" else PRESYNC
    flow.write(700, 900)
    flow.send(flow.start, 1000)
    flow.check()
    at = flow.sent_end
    unplug(nic, peer)
    lost = [(at - flow.start + back & MASK, 250) for back in (0, 250)]
    with flow.queue.batch():
        for _ in lost:
            assert flow.send(flow.sent_end, 250).kind is IN_ORDER
    watch.expect(Diagnostic.TX_LINK_DOWN, len(lost))
    nic.drain_tx(5)
    assert [drop.status for drop in nic.tx[0].drops] == [TxStatus.LINK_DOWN] * len(lost)
    assert nic.tx[0].state == QueueState.RUNNING
    assert not nic.tx[0].pending
    assert flow.tag.is_resync_pending
    plug(nic, peer)
    assert flows.collect() == [], "nothing of what was dropped comes later"
    assert {outcome.kind for outcome in flow.send_rest(100)} == {SOFTWARE}
    assert send_again(flow, lost[1:]) == {again}
    flow.write(400)
    kinds = [outcome.kind for outcome in flow.send_rest(150)]
    assert kinds == [again] + ([SOFTWARE] if again is SOFTWARE else [IN_ORDER]) * (len(kinds) - 1)
    assert send_again(flow, lost[:1]) == {again}
    flow.check()
    counters = nic.counters()
    assert counters["TX_DROP_LINK_DOWN"] == len(lost)
    assert counters["TX_DROP_TLS"] == 0


@every_kind
def test_lif_01_software_takes_over(nic, peer, watch, flows, kind):
    """The connection leaves the card while the link is down: destroy is answered all the same, and
    software sends again what the card had lost, and goes on."""
    flow = flows.open(**KINDS[kind])
    flow.write(700, 900)
    flow.send(flow.start, 600)
    flow.check()
    unplug(nic, peer)
    with flow.queue.batch():
        lost = len(flow.send_rest(333))
    watch.expect(Diagnostic.TX_LINK_DOWN, lost)
    flow.free()
    nic.drain_tx(5)
    assert nic.counters()["TX_TLS_DEL"] == 1
    flow.write(200)
    watch.expect(Diagnostic.TX_LINK_DOWN)
    assert {outcome.kind for outcome in flow.send_rest()} == {SOFTWARE}
    nic.drain_tx(5)
    plug(nic, peer)
    assert flows.collect() == []
    assert send_again(flow, holes(flow)) == {SOFTWARE}
    assert send_again(flow, [(100, 700)]) == {SOFTWARE}
    flow.check()
    if kind != "CBC, TLS 1.0":  # the session does not have the block that the next record chains to
        flow.offload()
        flow.write(300)
        assert {outcome.kind for outcome in flow.send_rest()} == {IN_ORDER}
        flow.check()


def test_lif_01_made_while_the_link_is_down(nic, peer, watch, flows):
    """A flow needs no link to be made, and its first record may be lost."""
    unplug(nic, peer)
    flow = flows.open(CipherSuite.TLS13_AES_256_GCM)
    flow.write(500, 100)
    watch.expect(Diagnostic.TX_LINK_DOWN)
    flow.send(flow.start, 300)
    nic.drain_tx(5)
    plug(nic, peer)
    assert flows.collect() == []
    assert flow.send(flow.start, flow.records.newest.start_sequence - flow.start & MASK).kind is (
        PRESYNC
    )
    assert flow.send_rest()[0].kind is PRESYNC
    flow.check()


def test_lif_01_what_a_rate_limit_holds_is_lost(nic, peer, watch, flows):
    """These packets were complete already: they count as dropped, and do not come later."""
    flow = flows.open(CipherSuite.TLS12_AES_256_GCM, rate_bytes_per_s=1000)
    flow.write(*[1000] * 8)
    sent = flow.send_rest(1000)
    nic.drain_tx(5)
    before = nic.counters()
    unplug(nic, peer)
    nic.admin.nop()
    after = nic.counters()
    lost = after["TX_DROP_LINK_DOWN"]
    assert lost >= len(sent) - 3, "the limit held nothing back"
    assert after["TX_PACKETS"] == len(sent) == after["TX_SENT_PACKETS"] + lost
    assert before["TX_TLS_PACED"]
    watch.expect(Diagnostic.TX_LINK_DOWN, lost)
    plug(nic, peer)
    flow.tag.modify_rate(0)
    flows.collect()
    assert flow.tag.expected_sequence == flow.end, "they were encrypted"
    assert sum(length for _, length in holes(flow)) >= lost * 900
    assert send_again(flow, holes(flow)) == {PRESYNC}
    flow.check()


@pytest.mark.nic(tx_queues=2)
def test_lif_01_flaps_under_traffic(nic, peer, watch, flows, scale):
    """What a flap catches is chance. Super-packets, small ones and retransmits of two flows, on two
    queues: every packet is sent or counted, and in the end the far end has it all."""
    watch.allow(Diagnostic.TX_LINK_DOWN)
    watch.allow(Diagnostic.TLS_SEQUENCE)  # of what was on its way when the link came back
    several = [
        flows.open(CipherSuite.TLS13_AES_128_GCM),
        flows.open(**KINDS["CBC, encrypt then MAC"]),
    ]
    for flow, queue in zip(several, nic.tx, strict=True):
        flow.queue = queue
    for _ in range(scale(6, 2)):
        for up in (False, True):
            for flow in several:
                start = flow.end
                flow.write(3000, 500)
                flow.send(start, 2000, mss=1200)
                flow.send(start + 100, 900)
                flow.send_rest(700)
            peer.set_link(up)
        await_link(nic)
    flows.collect()
    counters = nic.counters()
    assert counters["TX_DROP_LINK_DOWN"] + counters["TX_DROP_TLS"] == sum(
        queue.drop_count for queue in nic.tx
    )
    for flow in several:
        assert send_again(flow, holes(flow)) <= {PRESYNC}
        flow.check()
        flow.write(100, 100)
        assert flow.send_rest(130)[-1].kind is IN_ORDER
        flow.check()
