"""RX-16: IP fragments, IPv4 options and IPv6 extension headers are not offloaded: such packets pass as
they are. For the card they are lost; TCP's own options do not matter.
"""

import itertools

import pytest
from harness.peer import MAC as PEER_MAC
from harness.tls_rx_flow import AS_ON_WIRE, DECRYPTED, KINDS, NONE

from tlsnic.abi.enums import CipherSuite, RxFlags
from tlsnic.driver.tls.receive_stream import Offloaded

pytestmark = pytest.mark.row("RX-16")
GCM12 = CipherSuite.TLS12_AES_128_GCM
NOP = b"\1"
ROUTER_ALERT = bytes.fromhex("94040000")


@pytest.mark.parametrize("options", [NOP * 4, ROUTER_ALERT, NOP * 40], ids=["NOP", "alert", "40"])
@pytest.mark.parametrize("suite", KINDS, ids=lambda suite: suite.name)
def test_rx_16_ipv4_options(rx_flows, suite, options):
    """The packet is the flow's, counted as not offloaded, and not looked at. The stack takes it in;
    behind it the card goes on where it knows the records."""
    flow = rx_flows.open(suite)
    first, second, _ = flow.write(2000, 600, 500)
    flow.send(0, 700)
    rx_flows.send(flow.frame(700, 1400, ip_options=options))
    assert flow.states() == [DECRYPTED, AS_ON_WIRE]
    packet = flow.arrived[-1].packet
    assert packet.flow == flow.tag.handle
    assert packet.rx_flags & RxFlags.L4_CHECKSUM_OK
    state = flow.query()
    assert (state.tcp_sequence, state.packets, state.not_offloaded) == (flow.at(700), 1, 1)
    flow.send_cut(1400, first.end, second.end, flow.end)
    assert flow.states() == [AS_ON_WIRE, DECRYPTED, DECRYPTED]
    assert flow.check() == {Offloaded.PARTLY: 1, Offloaded.FULLY: 2}


def test_rx_16_ipv4_options_on_every_packet(rx_flows):
    """Nothing is offloaded, all is read."""
    flow = rx_flows.open(GCM12)
    flow.write(2000, 600)
    cuts = [0, 900, 1800, flow.end]
    rx_flows.send(*[flow.frame(a, b, ip_options=NOP * 8) for a, b in itertools.pairwise(cuts)])
    assert flow.states() == [AS_ON_WIRE] * 3
    assert flow.check() == {Offloaded.NOT: 2}
    assert flow.query().questions == 0


def ipv4_fragments(frame, size):
    """The frame's packet, cut into fragments with `size` bytes of IP payload (a multiple of 8)."""
    header, payload = frame[14:34], frame[34:]
    found = []
    for at in range(0, len(payload), size):
        part = payload[at : at + size]
        more = 0x2000 if at + size < len(payload) else 0
        words = header[:2] + (20 + len(part)).to_bytes(2, "big") + header[4:6]
        words += (more | at // 8).to_bytes(2, "big") + header[8:10] + b"\0\0" + header[12:]
        checksum = ~(int.from_bytes(words, "big") % 0xFFFF) & 0xFFFF
        words = words[:10] + checksum.to_bytes(2, "big") + words[12:]
        found.append(frame[:14] + words + part)
    return found


def ipv6_fragments(frame, size):
    """The same with fragment headers (RFC 8200 section 4.5)."""
    header, payload = frame[14:54], frame[54:]
    found = []
    for at in range(0, len(payload), size):
        part = payload[at : at + size]
        more = at + size < len(payload)
        extension = b"\6\0" + (at | more).to_bytes(2, "big") + b"\0\0\0\1"
        length = (len(extension) + len(part)).to_bytes(2, "big")
        found.append(frame[:14] + header[:4] + length + b"\x2c" + header[7:] + extension + part)
    return found


def with_extension(frame, number):
    """The frame with an extension header of padding: 0 hop-by-hop, 60 destination options."""
    header, payload = frame[14:54], frame[54:]
    extension = b"\6\0\1\4\0\0\0\0"
    length = (len(extension) + len(payload)).to_bytes(2, "big")
    return frame[:14] + header[:4] + length + bytes([number]) + header[7:] + extension + payload


@pytest.mark.parametrize("ip", ["IP", "IPv6"])
def test_rx_16_fragments(rx_flows, ip):
    """They are of no flow. The stack puts them together and takes the segment in."""
    flow = rx_flows.open(GCM12, ip=ip)
    flow.write(2500, 600)
    flow.send(0, 700)
    cut = ipv4_fragments if ip == "IP" else ipv6_fragments
    fragments = cut(flow.frame(700, 1700), 400)
    rx_flows.send(*fragments)
    packets = rx_flows.collect()[1:]
    assert [packet.data for packet in packets] == fragments
    for packet in packets:
        assert (packet.flow, packet.tls_state) == (0, NONE)
        assert packet.rx_flags & RxFlags.FRAGMENT
    flow.collect()
    flow.deliver(700, 1700)
    state = flow.query()
    assert (state.tcp_sequence, state.packets) == (flow.at(700), 1)
    flow.send_cut(1700, flow.records[0].end, flow.end)
    assert flow.states() == [AS_ON_WIRE, DECRYPTED]
    assert flow.check() == {Offloaded.PARTLY: 1, Offloaded.FULLY: 1}


@pytest.mark.parametrize("number", [0, 60], ids=["hop-by-hop", "destination options"])
def test_rx_16_ipv6_extension_headers(rx_flows, number):
    flow = rx_flows.open(KINDS[3], ip="IPv6")
    flow.write(2500, 600)
    flow.send(0, 700)
    changed = with_extension(flow.frame(700, 1700), number)
    rx_flows.send(changed)
    packet = rx_flows.collect()[-1]
    assert packet.data == changed
    assert packet.tls_state == AS_ON_WIRE
    assert packet.flow == flow.tag.handle
    flow.deliver(700, 1700)
    assert flow.query().tcp_sequence == flow.at(700)
    flow.send(1700, flow.records[0].end)
    flow.send(flow.records[0].end, flow.end)
    assert flow.states() == [DECRYPTED, AS_ON_WIRE, DECRYPTED]
    flow.check()


def test_rx_16_header_in_a_fragment(rx_flows):
    """The record header in it is lost for the card, which asks for the next one and goes on."""
    flow = rx_flows.open(GCM12)
    first, second, third = flow.write(900, 800, 700)
    flow.send(0, first.end)
    rx_flows.send(*ipv4_fragments(flow.frame(second.start, second.start + 400), 200))
    flow.send(second.start + 400, flow.end)
    flow.collect()
    flow.asked(1)
    assert flow.tag.question.tcp_sequence == flow.at(third.start)
    flow.deliver(second.start, second.start + 400)
    flow.read()
    flow.settled()
    flow.write(300)
    flow.send_rest()
    assert flow.states() == [DECRYPTED]
    flow.check()


@pytest.mark.parametrize("ip", ["IP", "IPv6"])
def test_rx_16_tcp_options(rx_flows, ip):
    """Timestamps and selective acknowledgements are offloaded, of any length."""
    flow = rx_flows.open(GCM12, ip=ip)
    for options in (
        "0101080a0000000100000002",
        "0101050a00000001000000020000000300000004",
        "01" * 40,
    ):
        flow.tcp_options = bytes.fromhex(options)
        flow.write(1000)
        flow.send_rest(mss=400)
    assert set(flow.states()) == {DECRYPTED}
    assert flow.check() == {Offloaded.FULLY: 3}


def test_rx_16_ethernet_padding_is_no_payload(rx_flows):
    """A short packet is padded to 60 bytes: what is behind the IP packet is none of the stream."""
    flow = rx_flows.open(GCM12)
    flow.write(1)
    frames = []
    for begin in range(0, flow.end, 4):
        frame = flow.frame(begin, min(begin + 4, flow.end))
        assert frame[6:12] == PEER_MAC
        frames.append(frame.ljust(60, b"\x17"))
    rx_flows.send(*frames)
    arrived = flow.collect()
    assert {one.state for one in arrived} == {DECRYPTED}
    assert {one.packet.length for one in arrived} == {60}
    flow.check()
