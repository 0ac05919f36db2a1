"""TX-21: a flow moves from one transmit queue to another, also in the middle of a record."""

import pytest
from harness.tls_flow import payloads

from tlsnic.abi.enums import CipherSuite
from tlsnic.driver.tls.send_tag import OutcomeKind

pytestmark = [pytest.mark.row("TX-21"), pytest.mark.nic(tx_queues=4)]

MASK = 0xFFFF_FFFF
KINDS = {
    "GCM, TLS 1.2": {"suite": CipherSuite.TLS12_AES_256_GCM},
    "GCM, TLS 1.3": {"suite": CipherSuite.TLS13_AES_128_GCM},
    "ChaCha20, TLS 1.3": {"suite": CipherSuite.TLS13_CHACHA20_POLY1305},
    "CBC, TLS 1.0": {"suite": CipherSuite.TLS10_AES_CBC_SHA1},
    "CBC, encrypt then MAC": {
        "suite": CipherSuite.TLS12_AES_CBC_SHA256,
        "encrypt_then_mac": True,
    },
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def stream_order(flow, frames):
    """Payloads in the order they came; fails unless that is the order of the stream."""
    found = payloads(frames)
    at = found[0][0]
    for sequence, payload in found:
        assert sequence == at, "the order was lost"
        at = sequence + len(payload) & MASK
    return at


@every_kind
def test_tx_21_every_packet_on_another_queue(nic, flows, kind):
    """Records are cut by queues anywhere: in headers, contents and tags."""
    flow = flows.open(**KINDS[kind])
    flow.write(300, 40, 1000, 16, 500)
    left = flow.end - flow.start & MASK
    at = number = 0
    while at < left:
        length = min((133, 7, 250, 61)[number % 4], left - at)
        outcome = flow.send(flow.start + at, length, queue=nic.tx[number * 3 % 4])
        assert outcome.kind is OutcomeKind.IN_ORDER
        at += length
        number += 1
    assert stream_order(flow, flows.collect()) == flow.end
    flow.check()
    assert all(queue.posted for queue in nic.tx)


@every_kind
def test_tx_21_retransmit_on_another_queue(nic, flows, kind):
    """The state stays on the card, whichever queue asks."""
    flow = flows.open(**KINDS[kind])
    flow.write(600, 700)
    flow.send(flow.start, 800)
    flows.collect()
    for number, (at, length) in enumerate([(0, 300), (500, 200), (400, 400), (700, 200)]):
        queue = nic.tx[number]
        outcome = flow.send(flow.start + at, length, queue=queue)
        assert outcome.kind is OutcomeKind.PRESYNC
        queue.drain(5)
    assert flow.tag.expected_sequence == flow.start + 900 & MASK
    flow.send_rest(180)
    flow.check()


def test_tx_21_behind_a_queue_that_is_busy(nic, flows):
    """Super-packets of others are in front on the old queue; the new one is empty."""
    other = flows.open(CipherSuite.TLS12_CHACHA20_POLY1305, openssl=False)
    flow = flows.open(CipherSuite.TLS13_AES_256_GCM)
    other.write(*[16000] * 6)
    flow.write(16000, 16000, 900)
    frames = []
    size = flow.end - flow.start & MASK
    with nic.tx[0].batch(), nic.tx[1].batch(), nic.tx[2].batch():
        other.send(other.sent_end, 48000, queue=nic.tx[0], mss=1400)
        flow.send(flow.start, 17000, queue=nic.tx[0], mss=1400)
        flow.send(flow.sent_end, 9000, queue=nic.tx[1], mss=1400)
        flow.send(flow.sent_end, size - 26000, queue=nic.tx[2], mss=1400)
    frames = [
        frame
        for frame in flows.collect()
        if frame[34:36] == flow.address.local_port.to_bytes(2, "big")
    ]
    assert stream_order(flow, frames) == flow.end
    flow.check()
    other.send_rest(30000, mss=1400)
    other.check()


def test_tx_21_many_flows_change_places(nic, flows, scale):
    """Four flows, each of them on each queue in turn, all at once."""
    several = [
        flows.open(**kind, openssl=number == 0) for number, kind in enumerate(KINDS.values())
    ]
    rounds = scale(8, 3)
    for flow in several:
        flow.write(*[400] * rounds)
    for turn in range(2 * rounds):
        for number, flow in enumerate(several):
            left = flow.end - flow.sent_end & MASK
            queue = nic.tx[(turn + number) % len(nic.tx)]
            if left:
                flow.send(flow.sent_end, min(left, 213), queue=queue)
    for number, flow in enumerate(several):
        flow.queue = nic.tx[number % len(nic.tx)]
        flow.send_rest(500)
        flow.check()


def test_tx_21_to_and_fro_with_a_rate_limit(nic, flows):
    """What is held back keeps its place in front of what comes by another queue."""
    flow = flows.open(CipherSuite.TLS13_AES_128_GCM, rate_bytes_per_s=200_000)
    flow.write(*[2000] * 6)
    size = flow.end - flow.start & MASK
    count = 0
    while left := flow.end - flow.sent_end & MASK:
        flow.send(flow.sent_end, min(left, 700), queue=nic.tx[count % 4])
        count += 1
    frames = flows.collect(count)
    assert len(frames) == -(-size // 700)
    assert stream_order(flow, frames) == flow.end
    flow.check()
    assert nic.counters()["TX_TLS_PACED"] > 0
