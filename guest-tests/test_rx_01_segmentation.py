"""RX-01, RX-02: the card decrypts what comes in order, however the stream is cut into packets, and
wherever in a packet its first record starts.
"""

import random

import pytest
from harness.tls_rx_flow import AEAD_SUITES, AS_ON_WIRE, DECRYPTED, KINDS

from tlsnic.abi.enums import CipherSuite, Offload
from tlsnic.abi.suites import SUITES
from tlsnic.driver.tls.receive_stream import Offloaded

every_kind = pytest.mark.parametrize("suite", KINDS, ids=lambda suite: suite.name)
CONNECTIONS = {
    "IPv4": {},
    "IPv6": {"ip": "IPv6"},
    "IPv4, VLAN": {"vlan": 77},
    "IPv6, VLAN 0": {"ip": "IPv6", "vlan": 0},
}


def all_decrypted(flow):
    """Every packet has come decrypted, the completions have counted the records that ended in
    them, and all was read without a key on this side."""
    arrived = flow.collect()
    assert {one.state for one in arrived} == {DECRYPTED}
    for one in arrived:
        ends = sum(one.start < record.end <= one.start + one.size for record in flow.records)
        assert one.records == ends, f"the packet at {one.start}"
    assert set(flow.check()) == {Offloaded.FULLY}


@pytest.mark.row("RX-01")
@pytest.mark.parametrize("suite", AEAD_SUITES, ids=lambda suite: suite.name)
def test_rx_01_what_openssl_sends(rx_flows, suite):
    flow = rx_flows.open(suite)
    flow.write(16384, 1, 4000, 700)
    flow.send_rest()
    all_decrypted(flow)
    state = flow.query()
    assert state.packets == len(flow.arrived)
    assert state.payload_bytes == flow.end
    assert (state.out_of_order, state.not_offloaded, state.questions) == (0, 0, 0)
    assert state.record_number == flow.records[-1].number + 1
    assert state.tcp_sequence == flow.at(flow.end)


@pytest.mark.row("RX-01")
@every_kind
def test_rx_01_cut_at_every_byte_of_a_record(rx_flows, suite):
    """Record n is cut behind its byte n: header, explicit nonce, content and tag, each anywhere."""
    flow = rx_flows.open(suite)
    size = flow.write(9)[0].end
    flow.write(*[9] * (size - 2))
    flow.send_cut(0, *[record.start + n for n, record in enumerate(flow.records, 1)], flow.end)
    all_decrypted(flow)


@pytest.mark.row("RX-01")
@pytest.mark.parametrize("suite", KINDS[::3], ids=lambda suite: suite.name)
def test_rx_01_packets_of_one_byte(rx_flows, suite):
    flow = rx_flows.open(suite)
    flow.write(1, 17)
    flow.send_rest(mss=1)
    all_decrypted(flow)


@pytest.mark.row("RX-01")
@every_kind
def test_rx_01_cut_anywhere(rx_flows, suite, scale):
    source = random.Random(suite)
    flow = rx_flows.open(suite)
    for _ in range(scale(20, 1)):
        flow.write(*[source.choice([1, 15, 16, 17, 300, 5000]) for _ in range(8)])
        cuts = [flow.sent_end]
        while cuts[-1] < flow.end:
            step = source.choice([1, 2, 5, 13, 100, 1448, 1448, 1448])
            cuts.append(min(cuts[-1] + step, flow.end))
        flow.send_cut(*cuts)
        all_decrypted(flow)


@pytest.mark.row("RX-01")
@pytest.mark.parametrize("strip", [False, True], ids=["", "strip"])
@pytest.mark.parametrize("connection", CONNECTIONS)
def test_rx_01_connections(nic, rx_flows, connection, strip):
    """The tag in the frame, or stripped: it is part of what names the flow. With TCP timestamps."""
    if strip:
        nic.offloads |= Offload.VLAN_STRIP
    flow = rx_flows.open(CipherSuite.TLS13_AES_128_GCM, **CONNECTIONS[connection])
    flow.tcp_options = bytes.fromhex("0101 080a 00000001 00000002")
    flow.write(3000, 2000)
    flow.send_rest()
    all_decrypted(flow)
    stripped = strip and flow.address.vlan_id is not None
    assert {one.packet.vlan for one in flow.arrived} == {flow.address.vlan_id if stripped else None}


@pytest.mark.row("RX-01")
def test_rx_01_jumbo_frames(nic, rx_flows):
    """Several records begin and end in one packet, and several buffers have it."""
    nic.max_frame_bytes = 9018
    flow = rx_flows.open(CipherSuite.TLS12_AES_256_GCM)
    flow.write(16384, *[100] * 40, 8000)
    flow.send_rest(mss=8900)
    all_decrypted(flow)


@pytest.mark.row("RX-02")
@every_kind
def test_rx_02_first_record_starts_in_mid_segment(rx_flows, suite):
    """What is before it, the end of a handshake, stays as it is in a decrypted packet."""
    flow = rx_flows.open(suite)
    flow.write(2000, 600)
    flow.send(-700, flow.end)
    all_decrypted(flow)
    assert flow.arrived[0].start == -700


@pytest.mark.row("RX-02")
@pytest.mark.parametrize(
    "suite",
    [CipherSuite.TLS12_AES_128_GCM, CipherSuite.TLS13_CHACHA20_POLY1305],
    ids=lambda suite: suite.name,
)
def test_rx_02_first_header_cut_at_every_byte(rx_flows, suite):
    """So many bytes of the first record are in the packet that its stream begins in."""
    for size in range(1, SUITES[suite].prefix_bytes + 3):
        flow = rx_flows.open(suite)
        flow.write(50)
        flow.send_cut(-40, size, flow.end)
        all_decrypted(flow)
        flow.close()


@pytest.mark.row("RX-02")
def test_rx_02_packets_before_the_first_record(rx_flows):
    """They pass as they are, also when they come once more, and move nothing."""
    flow = rx_flows.open()
    flow.write(1000, 300)
    flow.send_cut(-900, -400, 0)
    assert flow.states() == [AS_ON_WIRE, AS_ON_WIRE]
    flow.send_cut(0, 500)
    flow.send_cut(-900, -400)
    flow.send_cut(-400, 0)
    assert flow.states() == [DECRYPTED, AS_ON_WIRE, AS_ON_WIRE]
    flow.send_rest()
    assert set(flow.states()) == {DECRYPTED}
    assert set(flow.check()) == {Offloaded.FULLY}
    assert flow.query().questions == 0


@pytest.mark.row("RX-02")
def test_rx_02_the_first_packet_is_lost(rx_flows):
    """Header and content with it: the card has nothing to follow until it finds the next record."""
    flow = rx_flows.open()
    flow.write(900, 800, 700)
    first, second, third = flow.records
    flow.send_cut(first.start + 200, second.start)
    assert flow.states() == [AS_ON_WIRE]
    flow.send_cut(second.start, third.start)
    flow.send_cut(-50, first.start + 200)
    assert flow.states() == [AS_ON_WIRE] * 2
    flow.asked(1)
    flow.read()
    flow.settled()
    flow.send_rest()
    assert flow.states() == [DECRYPTED]
    flow.check()
