"""TX-09: pure ACKs are neither encrypted nor reordered."""

import pytest
from harness.tls_flow import ACK, FIN, PSH, payloads
from harness.tls_raw import FLAGS, Packet, state_of

from tlsnic.abi.enums import CipherSuite, TxStatus
from tlsnic.driver.tls.send_tag import OutcomeKind

pytestmark = pytest.mark.row("TX-09")

MASK = 0xFFFF_FFFF
RST = 0x04
LIMITS = {"no limit": 0, "rate limit": 150_000}


def send_ack(flow, number, *, sequence=None, flags=ACK):
    """A segment without payload that acknowledges byte `number` of the peer."""
    flow.peer_sequence, before = number, flow.peer_sequence
    flow.tcp_flags = flags
    sent_end = flow.sent_end
    sequence = sent_end if sequence is None else sequence
    outcome = flow.send(sequence, 0, payload=b"")
    flow.sent_end = sent_end
    flow.tcp_flags, flow.peer_sequence = ACK, before
    assert outcome.kind is OutcomeKind.PLAIN
    return flow.headers(sequence, 0)


def acknowledged(frame):
    """Acknowledgement number, flags and IPv4 length of a frame."""
    return int.from_bytes(frame[42:46], "big"), frame[47], int.from_bytes(frame[16:18], "big")


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize(
    "suite",
    [
        CipherSuite.TLS12_AES_128_GCM,
        CipherSuite.TLS13_CHACHA20_POLY1305,
        CipherSuite.TLS10_AES_CBC_SHA1,
    ],
    ids=["GCM", "ChaCha20", "CBC"],
)
def test_tx_09_acks_between_data(nic, flows, peer, suite, limit):
    """Posted with data before and behind them, also inside a record, in one doorbell: they leave
    in that order, as they are. With a rate limit data is held back, and they wait for it."""
    flow = flows.open(suite, rate_bytes_per_s=LIMITS[limit])
    flow.write(900, 1100, 1300)
    expected = []
    with flow.queue.batch():
        number = 1000
        while left := flow.end - flow.sent_end & MASK:
            at = flow.sent_end
            flow.send(at, min(left, 450))
            expected.append((at, min(left, 450)))
            for _ in range(2):
                number += 1
                send_ack(flow, number)
                expected.append((flow.sent_end, 0))
    frames = flows.collect(len(expected))
    assert [(at, len(payload)) for at, payload in payloads(frames)] == expected
    acks = [frame for frame in frames if not payloads([frame])[0][1]]
    assert [acknowledged(ack) for ack in acks] == [(1001 + n, ACK, 40) for n in range(len(acks))]
    layers = peer.dissect(*acks)
    for ack, layer in zip(acks, layers, strict=True):
        assert ack[54:] == bytes(6), "padded with zeros to 60 bytes"
        assert layer["ip_checksum_ok"], layer
        assert layer["l4_checksum_ok"], layer
    flow.check()
    assert flow.tag.counters.tx_tls_ooo == 0
    counters = nic.counters()
    assert (counters["TX_TLS_OOO"], counters["TX_DROP_TLS"]) == (0, 0)
    assert bool(counters["TX_TLS_PACED"]) is bool(LIMITS[limit])


def test_tx_09_acks_do_not_touch_the_state(flows):
    """Whatever their sequence number is: keep-alives, window updates, FIN and RST, answers to what
    came from the peer before the records."""
    flow = flows.open(CipherSuite.TLS13_AES_256_GCM)
    flow.write(800)
    flow.send(flow.start, 333)
    state = state_of(flow)
    here = flow.sent_end
    places = (here, here - 1, flow.start, flow.start - 1, flow.end, here + (1 << 31), 0)
    for flags in (ACK, ACK | PSH, ACK | FIN, ACK | RST, RST):
        for number, place in enumerate(places):
            send_ack(flow, number, sequence=place & MASK, flags=flags)
    frames = flows.collect()
    assert len(frames) == 1 + 5 * len(places)
    assert [sequence for sequence, _ in payloads(frames[1:])] == [p & MASK for p in places] * 5
    assert not any(payload for _, payload in payloads(frames[1:]))
    assert state_of(flow) == state
    assert flow.send_rest(200)[0].kind is OutcomeKind.IN_ORDER
    flow.check()


@pytest.mark.parametrize("ip", ["IP", "IPv6"])
def test_tx_09_device_sends_them_as_they_are(nic, flows, raw, ip):
    """With TLS and the flow's handle, whatever the sequence number, options included."""
    flow = flows.open(CipherSuite.TLS12_AES_256_GCM, ip=ip)
    flow.write(500)
    raw.go_on(flow, 100)
    flows.collect()
    state, before = state_of(flow), nic.counters()
    timestamps = bytes.fromhex("0101080a0000000100000002")
    for place in (100, 0, 99, 5000, -1000):
        for options in (b"", timestamps):
            flow.tcp_options = options
            headers = flow.headers(flow.start + place, 0)
            packet = Packet(headers, b"", handle=flow.tag.handle, flags=FLAGS)
            assert raw.post(packet).status == TxStatus.OK
            (frame,) = flows.collect()
            assert payloads([frame]) == [(flow.start + place & MASK, b"")]
            assert frame[54 if ip == "IP" else 74 : len(headers)] == options
    flow.tcp_options = b""
    after = nic.counters()
    for name in ("TX_TLS_ENCRYPTED_PACKETS", "TX_TLS_OOO", "TX_DROP_TLS"):
        assert after[name] == before[name], name
    assert state_of(flow) == state
    raw.go_on(flow, 300)
    flow.check()
