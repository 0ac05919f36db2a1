"""RX-14, RX-15: one flow gives the card all the work it can; the packets of all others come, come right,
and come in the order in which they were on the wire.
"""

import itertools
import random

import pytest
from harness.tls_flow import ACK
from harness.tls_rx_flow import AS_ON_WIRE, AUTH_FAILED, DECRYPTED, KINDS, NONE
from harness.tls_stream import tcp_segment
from harness.traffic import noise, tcp_layers

from tlsnic.abi.enums import CipherSuite, Diagnostic, HashType, Offload
from tlsnic.driver.tls.receive_stream import Offloaded
from tlsnic.driver.tls.receive_tag import Resync
from tlsnic.driver.tls.session import FlowAddress

GCM12, GCM13 = CipherSuite.TLS12_AES_128_GCM, CipherSuite.TLS13_AES_256_GCM
CHACHA13 = CipherSuite.TLS13_CHACHA20_POLY1305
PLAIN_PORT = 9
FLOODS = {
    # What is sent again and again, and how the card may look for its place.
    "headers everywhere": (lambda flow: flow.append(b"\x17\x03\x03\x00\x20" * 280), Resync.HOST),
    "tags to be tried": (
        lambda flow: flow.append((b"\x17\x03\x03\x00\x20" + bytes(32)) * 37),
        Resync.TAG,
    ),
    "in order": (None, Resync.HOST),
}


def plain_frames(nic, peer, count):
    """Segments of a connection without TLS, between the same addresses, in order."""
    text = nic.mac_address.hex(":")
    return peer.craft(
        *[
            [
                *tcp_layers(text, to_nic=True, sport=443, dport=PLAIN_PORT, seq=500 * n),
                noise(500, n),
            ]
            for n in range(count)
        ]
    )


def place(packet):
    """Port and sequence number, by which packets are told from each other."""
    segment = tcp_segment(packet if isinstance(packet, bytes) else packet.data)
    return segment.destination_port, segment.sequence


@pytest.mark.row("RX-14")
@pytest.mark.nic(rx_entries=256)
@pytest.mark.parametrize("flood", FLOODS)
def test_rx_14_one_flow_floods(nic, peer, rx_flows, scale, flood):
    """Five packets of the flood between any two of another flow: TLS of two kinds, and no TLS."""
    write, resync = FLOODS[flood]
    count = scale(40, 8)
    noisy = rx_flows.open(GCM12, openssl=False, resync=resync, reader=False)
    if write is not None:
        noisy.append(bytes(100))  # is lost, so that the card searches
    others = [rx_flows.open(GCM12), rx_flows.open(CHACHA13, ip="IPv6")]
    plain = plain_frames(nic, peer, count)
    before = nic.counters()
    for number in range(count):
        batch = []
        for _ in range(5):
            if write is None:
                begin = noisy.end
                noisy.write(*[1] * 40)
                batch.append(noisy.frame(begin, noisy.end))
            else:
                begin = noisy.end
                write(noisy)
                batch.append(noisy.frame(begin, noisy.end))
        for flow in others:
            flow.write(700)
            batch.insert(3, flow.frame(flow.sent_end, flow.end))
            flow.sent_end = flow.end
        rx_flows.send(*batch, plain[number])
    for flow in others:
        assert [one.state for one in flow.collect()] == [DECRYPTED] * count
        assert flow.check() == {Offloaded.FULLY: count}
    assert len(noisy.arrived) == 5 * count
    after = nic.counters()
    assert after["RX_PACKETS"] - before["RX_PACKETS"] == 8 * count
    assert [name for name in after if "RX_DROP" in name and after[name] != before[name]] == []


@pytest.mark.row("RX-14")
def test_rx_14_authentication_fails_again_and_again(rx_flows, watch, scale):
    """A stack that goes on behind every forged record; another flow meanwhile."""
    count = scale(30, 8)
    forged = rx_flows.open(GCM13, openssl=False, reader=False)
    other = rx_flows.open(GCM12)
    watch.expect(Diagnostic.TLS_AUTH, count)
    for _ in range(count):
        record = forged.write(300)[0]
        payload = bytearray(forged.payload(record.start, record.end))
        payload[-1] ^= 1
        other.write(600)
        rx_flows.send(forged.frame(record.start, record.end, payload=bytes(payload)))
        other.send_rest()
        assert forged.states() == [AUTH_FAILED]
        forged.tag.hint(forged.at(forged.end), record.number + 1)
        forged.settled()
    assert set(other.states()) == {DECRYPTED}
    assert other.check() == {Offloaded.FULLY: count}
    assert forged.query().auth_failures == count


@pytest.mark.row("RX-14")
@pytest.mark.parametrize("ip", ["IP", "IPv6"])
def test_rx_14_tuples_that_differ_in_one_part(rx_flows, ip):
    """The flow's own packets, but with one part of what names it changed: they are of no flow, and
    the flow does not notice."""
    flow = rx_flows.open(GCM12, ip=ip, openssl=False)
    flow.write(900)
    address = flow.address
    last = address.local_address[:-1] + bytes([address.local_address[-1] ^ 0x40])
    changes = [
        {"local_port": 6000},
        {"remote_port": 444},
        {"local_port": 443, "remote_port": address.local_port},
        {"local_address": last},
        {"remote_address": address.remote_address[:-1] + b"\x77"},
        {"vlan_id": 0},
        {"vlan_id": 5},
    ]
    for change in changes:
        stranger = rx_flows.open(
            session=flow.session,
            address=FlowAddress(*address)._replace(**change),
            resync=None,
            reader=False,
        )
        stranger.append(bytes(flow.wire))
        stranger.send_rest()
        assert stranger.states() == [NONE]
        assert stranger.arrived[0].packet.flow == 0
    assert flow.query().not_offloaded == 0
    flow.send_rest()
    assert flow.states() == [DECRYPTED]
    flow.check()


@pytest.mark.row("RX-15")
def test_rx_15_order_on_the_wire(nic, peer, rx_flows, watch, scale):
    """One queue: all packets come in the order in which they were sent, whatever becomes of them:
    decrypted or not, damaged, failed, asked about, of a flow or of none."""
    source = random.Random(15)
    count = scale(150, 40)
    flows = [rx_flows.open(suite, openssl=False, reader=False) for suite in KINDS]
    plain = iter(plain_frames(nic, peer, count))
    watch.allow(Diagnostic.TLS_AUTH)
    sent, came = [], []
    while len(sent) < count:
        batch = []
        for _ in range(20):
            flow = source.choice([*flows, None])
            if flow is None:
                batch.append(next(plain))
                continue
            if flow.end - flow.sent_end < 1400:
                flow.write(source.choice([50, 900, 4000]))
            begin, kind = flow.sent_end, source.random()
            end = min(flow.end, begin + source.choice([1, 100, 900]))
            if kind < 0.1:  # lost
                flow.sent_end = end
                begin, end = end, min(flow.end, end + 300)
            elif kind < 0.2 and begin:  # old
                begin = max(0, begin - 500)
            if begin == end:
                continue
            payload = bytearray(flow.payload(begin, end))
            if kind > 0.97:
                payload[source.randrange(len(payload))] ^= 0x10
            elif kind > 0.9:
                batch.append(flow.frame(begin, end, bad="tcp"))
                continue
            batch.append(flow.frame(begin, end, payload=bytes(payload)))
            flow.sent_end = max(flow.sent_end, end)
        sent += [place(frame) for frame in batch]
        rx_flows.send(*batch)
        came += [place(packet) for packet in rx_flows.collect()]
    assert came == sent
    assert {one.state for flow in flows for one in flow.arrived} >= {AS_ON_WIRE, DECRYPTED}


@pytest.mark.row("RX-15")
@pytest.mark.nic(rx_queues=4)
@pytest.mark.parametrize("coalesce", [False, True], ids=["", "joined"])
def test_rx_15_order_of_each_flow_on_its_queue(nic, rx_flows, coalesce, scale):
    """Several queues: a flow stays on its own, whatever state its packets are in."""
    source = random.Random(16)
    nic.set_rss(source.randbytes(40), [0, 1, 2, 3], HashType.TCP_IPV4 | HashType.TCP_IPV6)
    if coalesce:
        nic.offloads |= Offload.RX_COALESCE
        nic.set_rx_coalesce(2000)
    flows = [rx_flows.open(KINDS[n % 4], ip=("IP", "IPv6")[n % 2]) for n in range(6)]
    for _ in range(scale(8, 2)):
        frames = []
        for flow in flows:
            flow.write(2000, 500)
            cuts = [*range(flow.sent_end, flow.end, 400), flow.end]
            pieces = list(itertools.pairwise(cuts))
            lost = pieces.pop(source.randrange(len(pieces)))
            frames.append([flow.frame(*piece) for piece in [*pieces, lost]])
            flow.sent_end = flow.end
        # `judge` holds each flow's packets against their order.
        rx_flows.send(*[frame for together in zip(*frames, strict=True) for frame in together])
        rx_flows.collect()
        for flow in flows:
            flow.read()
            flow.settled()
    for flow in flows:
        flow.check()
        assert len({one.packet.queue for one in flow.arrived}) == 1
        assert {one.state for one in flow.arrived} == {AS_ON_WIRE, DECRYPTED}
    assert len({flow.arrived[0].packet.queue for flow in flows}) > 1


@pytest.mark.row("RX-15")
def test_rx_15_flags_are_kept(rx_flows):
    """PSH, FIN and URG of decrypted packets: a header is never changed (`judge` compares it)."""
    flow = rx_flows.open(GCM13)
    flow.write(300, 300)
    cut = flow.records[0].end
    rx_flows.send(
        flow.frame(0, cut, tcp_flags=ACK | 0x08 | 0x20),
        flow.frame(cut, flow.end, tcp_flags=ACK | 1),
    )
    assert flow.states() == [DECRYPTED, DECRYPTED]
    flow.check()
