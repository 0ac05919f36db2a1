"""parse() against scapy's dissection, and its fast path against its general one."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP, IPOption_Router_Alert
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether
from scapy.packet import NoPayload, Packet, Padding

from tlsnic.device.packet.headers import Fault, Headers, flow_key, parse

MAC = {"src": "02:00:00:00:00:01", "dst": "02:00:00:00:00:02"}
TCP_OPTIONS = [("NOP", None), ("NOP", None), ("Timestamp", (1, 2))]


def ether(*layers: Packet) -> bytes:
    packet = Ether(**MAC)
    for layer in layers:
        packet = packet / layer
    return bytes(packet)


def general(frame: bytes) -> Headers:
    """The general path: a given length switches the fast one off."""
    return parse(frame, len(frame))


def check_invariants(frame: bytes, headers: Headers) -> None:
    offsets = (0, headers.l3, headers.l4, headers.payload, headers.end, len(frame))
    assert list(offsets) == sorted(offsets)
    if headers.l4_bytes:
        assert headers.fault is None
        assert headers.payload - headers.l4 <= headers.l4_bytes <= headers.end - headers.l4


def check_against_scapy(frame: bytes) -> Headers:
    """`frame` is well-formed; every field has to agree with scapy's dissection of it."""
    headers = parse(frame)
    check_invariants(frame, headers)
    assert headers == general(frame)
    assert headers.fault is None
    layer = Ether(frame)
    l3 = 14
    tci = None
    kind = layer.type
    while isinstance(layer.payload, Dot1Q | Dot1AD):
        layer = layer.payload
        word = layer.prio << 13 | layer.dei << 12 | layer.vlan
        tci = word if tci is None else tci
        kind = layer.type
        l3 += 4
    assert (headers.ether_type, headers.l3, headers.vlan_tci) == (kind, l3, tci)
    packet = layer.payload
    if isinstance(packet, IP):
        assert headers.ip_version == 4
        assert headers.l4 == l3 + packet.ihl * 4
        assert headers.end == l3 + packet.len
        assert headers.protocol == packet.proto
        assert headers.fragment == bool(packet.frag or packet.flags.MF)
    elif isinstance(packet, IPv6):
        assert headers.ip_version == 6
        assert headers.end == l3 + 40 + packet.plen
        protocol, upper = packet.nh, packet
        while isinstance(
            upper, IPv6 | IPv6ExtHdrHopByHop | IPv6ExtHdrDestOpt | IPv6ExtHdrRouting
        ) and not isinstance(upper.payload, NoPayload):
            protocol, upper = upper.nh, upper.payload
        if isinstance(upper, IPv6ExtHdrFragment):
            assert headers.fragment
            protocol, upper = upper.nh, upper.payload
        assert headers.protocol == protocol
        beyond = 0 if upper is packet else len(upper) - len(upper.getlayer(Padding) or b"")
        assert headers.l4 == headers.end - beyond
    else:
        assert headers.ip_version == 0
        return headers
    if not headers.fragment and TCP in packet:
        tcp = packet[TCP]
        assert headers.payload == headers.l4 + tcp.dataofs * 4
        assert headers.l4_bytes == headers.end - headers.l4
        assert (headers.tcp_flags, headers.tcp_seq, headers.tcp_ack) == (
            int(tcp.flags), tcp.seq, tcp.ack,
        )  # fmt: skip
    elif not headers.fragment and UDP in packet:
        assert headers.payload == headers.l4 + 8
        assert headers.l4_bytes == packet[UDP].len
    else:
        assert (headers.payload, headers.l4_bytes, headers.tcp_flags) == (headers.l4, 0, 0)
    return headers


IPV4 = IP(src="192.0.2.1", dst="198.51.100.2")
IPV6 = IPv6(src="2001:db8::1", dst="2001:db8::2")
HOPS = IPv6ExtHdrHopByHop()
ROUTE = IPv6ExtHdrRouting(addresses=["2001:db8::3"])
WELL_FORMED = {
    "arp": (ARP(),),
    "unknown type": (b"\x12\x34" * 30,),
    "tcp4": (IPV4, TCP(flags="PA", seq=2**32 - 1, ack=7), b"x" * 100),
    "tcp4 without payload": (IPV4, TCP()),
    "tcp4 with ip options": (
        IP(options=[IPOption_NOP(), IPOption_Router_Alert()]),
        TCP(options=TCP_OPTIONS),
        b"abc",
    ),
    "tcp4 all flags": (IPV4, TCP(flags=0x1FF, dataofs=15, options=[("NOP", None)] * 40), b"a"),
    "udp4": (IPV4, UDP(), b"x" * 1000),
    "udp4 empty": (IPV4, UDP()),
    "icmp": (IPV4, ICMP()),
    "first fragment": (IP(flags="MF"), UDP(), b"x" * 64),
    "later fragment": (IP(frag=100), b"x" * 64),
    "tcp6": (IPV6, TCP(flags="A", seq=5, options=TCP_OPTIONS), b"x" * 100),
    "udp6": (IPV6, UDP(), b"x" * 3),
    "icmp6": (IPV6, ICMPv6EchoRequest()),
    "tcp6 behind extensions": (IPV6, HOPS, ROUTE, IPv6ExtHdrDestOpt(), TCP(flags="S"), b"q"),
    "ipv6 first fragment": (IPV6, IPv6ExtHdrFragment(m=1, nh=17), UDP(), b"x" * 64),
    "ipv6 later fragment": (IPV6, HOPS, IPv6ExtHdrFragment(offset=9, nh=6), b"x" * 64),
    "no next header": (IPv6(nh=59), b""),
}


@pytest.mark.parametrize("tags", [(), (Dot1Q(prio=5, vlan=100),), (Dot1AD(vlan=7), Dot1Q(vlan=8))])
@pytest.mark.parametrize("padding", [b"", bytes(18)])
@pytest.mark.parametrize("name", WELL_FORMED)
def test_well_formed_frames_agree_with_scapy(
    name: str, padding: bytes, tags: tuple[Packet, ...]
) -> None:
    frame = ether(*tags, *WELL_FORMED[name]) + padding
    check_against_scapy(frame)


@given(
    version=st.sampled_from([4, 6]),
    protocol=st.sampled_from(["tcp", "udp"]),
    payload=st.integers(0, 1500),
    options=st.integers(0, 10),
    flags=st.integers(0, 0x1FF),
    seq=st.integers(0, 2**32 - 1),
    tags=st.integers(0, 2),
    padding=st.integers(0, 20),
)
@settings(max_examples=150, deadline=None)
def test_generated_tcp_and_udp_agree_with_scapy(
    *,
    version: int,
    protocol: str,
    payload: int,
    options: int,
    flags: int,
    seq: int,
    tags: int,
    padding: int,
) -> None:
    ip = IPV4 if version == 4 else IPV6
    tcp = TCP(flags=flags, seq=seq, ack=seq ^ 0x5555, options=[("NOP", None)] * 4 * options)
    l4 = tcp if protocol == "tcp" else UDP()
    frame = ether(*[Dot1Q(vlan=9 + i) for i in range(tags)], ip, l4, b"p" * payload)
    check_against_scapy(frame + bytes(padding))


def test_two_tags_give_the_outer_tci_and_a_third_tag_is_not_followed() -> None:
    two = parse(ether(Dot1AD(vlan=7), Dot1Q(vlan=8), IPV4, TCP()))
    assert (two.vlan_tci, two.l3, two.ether_type, two.protocol) == (7, 22, 0x0800, 6)
    three = parse(ether(Dot1AD(vlan=7), Dot1Q(vlan=8), Dot1Q(vlan=9), IPV4, TCP()))
    assert (three.l3, three.ether_type, three.ip_version) == (22, 0x8100, 0)
    assert three.fault is None


def edit(frame: bytes, offset: int, value: bytes) -> bytes:
    return frame[:offset] + value + frame[offset + len(value) :]


TCP4 = ether(IPV4, TCP(), b"x" * 20)
UDP4 = ether(IPV4, UDP(), b"x" * 20)
TCP6 = ether(IPV6, TCP(), b"x" * 20)
UDP6 = ether(IPV6, UDP(), b"x" * 20)
MALFORMED = {
    "empty": (b"", Fault.ETHERNET_SHORT, 2),
    "13 bytes": (TCP4[:13], Fault.ETHERNET_SHORT, 2),
    "tag cut": (ether(Dot1Q(vlan=1), IPV4)[:17], Fault.VLAN_SHORT, 2),
    "ipv4 cut": (TCP4[:33], Fault.IPV4_SHORT, 3),
    "ipv4 options cut": (edit(TCP4, 14, b"\x4f")[:60], Fault.IPV4_SHORT, 3),
    "ipv4 version": (edit(TCP4, 14, b"\x65"), Fault.IPV4_VERSION, 3),
    "ipv4 header length": (edit(TCP4, 14, b"\x44"), Fault.IPV4_HEADER_LENGTH, 3),
    "ipv4 total length": (edit(TCP4, 16, b"\x00\x13"), Fault.IPV4_TOTAL_LENGTH, 3),
    "ipv4 truncated": (TCP4[:-1], Fault.IPV4_TRUNCATED, 3),
    "ipv6 cut": (TCP6[:53], Fault.IPV6_SHORT, 3),
    "ipv6 version": (edit(TCP6, 14, b"\x45"), Fault.IPV6_VERSION, 3),
    "ipv6 truncated": (TCP6[:-1], Fault.IPV6_TRUNCATED, 3),
    "extension cut": (edit(TCP6, 20, b"\x00")[:54] + b"\x06\xff" + TCP6[56:],
                      Fault.IPV6_EXTENSION_SHORT, 3),
    "extension missing": (ether(IPv6(nh=43), b"\x06\x00"), Fault.IPV6_EXTENSION_SHORT, 3),
    "extension chain": (ether(IPV6, *[IPv6ExtHdrDestOpt()] * 9, TCP()),
                        Fault.IPV6_EXTENSION_CHAIN, 3),
    "tcp4 cut": (edit(TCP4, 16, b"\x00\x27"), Fault.TCP_SHORT, 4),
    "tcp6 cut": (edit(TCP6, 18, b"\x00\x13"), Fault.TCP_SHORT, 4),
    "tcp data offset small": (edit(TCP4, 46, b"\x40"), Fault.TCP_DATA_OFFSET, 4),
    "tcp data offset large": (edit(TCP4, 46, b"\xf0"), Fault.TCP_DATA_OFFSET, 4),
    "tcp6 data offset large": (edit(TCP6, 66, b"\xf0"), Fault.TCP_DATA_OFFSET, 4),
    "udp cut": (edit(UDP4, 16, b"\x00\x1b"), Fault.UDP_SHORT, 4),
    "udp length small": (edit(UDP4, 38, b"\x00\x07"), Fault.UDP_LENGTH, 4),
    "udp length large": (edit(UDP4, 38, b"\x00\x1d"), Fault.UDP_LENGTH, 4),
    "udp6 length large": (edit(UDP6, 58, b"\x00\x1d"), Fault.UDP_LENGTH, 4),
}  # fmt: skip


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_frame_names_its_fault_and_layer(name: str) -> None:
    frame, fault, layer = MALFORMED[name]
    headers = parse(frame)
    assert headers.fault is fault
    assert fault.layer == layer
    assert headers.l4_bytes == 0
    check_invariants(frame, headers)


def test_every_fault_has_a_case() -> None:
    assert {fault for _, fault, _ in MALFORMED.values()} == set(Fault)


def test_every_cut_of_a_frame_is_survived_and_faulty() -> None:
    for frame in (TCP4, UDP4, TCP6, UDP6, ether(Dot1Q(vlan=3), IPV6, HOPS, ROUTE, TCP(), b"x")):
        for length in range(len(frame)):
            headers = parse(frame[:length])
            assert headers.fault is not None
            check_invariants(frame[:length], headers)


@given(st.binary(max_size=200))
def test_any_bytes_are_survived(frame: bytes) -> None:
    headers = parse(frame)
    check_invariants(frame, headers)
    assert headers == general(frame)


@given(
    frame=st.sampled_from([ether(*layers) for layers in WELL_FORMED.values()]),
    changes=st.lists(st.tuples(st.integers(12, 120), st.integers(0, 255)), max_size=6),
    length=st.integers(0, 2000),
)
@settings(max_examples=400)
def test_damaged_frames_are_survived_and_both_paths_agree(
    frame: bytes, changes: list[tuple[int, int]], length: int
) -> None:
    damaged = bytearray(frame)
    for offset, value in changes:
        if offset < len(damaged):
            damaged[offset] = value
    frame = bytes(damaged[:length])
    headers = parse(memoryview(frame))
    check_invariants(frame, headers)
    assert headers == general(frame)
    assert len(flow_key(frame, headers)) in {0, 8, 12, 32, 36}


def test_head_of_a_frame_is_enough_when_the_length_is_given() -> None:
    frame = ether(IPV4, TCP(flags="A"), random.Random(1).randbytes(3000))
    assert parse(frame[:54], len(frame)) == parse(frame)
    assert parse(frame[:53], len(frame)).fault is Fault.TCP_SHORT
    assert parse(frame[:54], len(frame) - 1).fault is Fault.IPV4_TRUNCATED


@pytest.mark.parametrize("frame", [TCP4, TCP6, UDP4, UDP6])
def test_ip_and_udp_lengths_of_a_template_can_be_ignored(frame: bytes) -> None:
    good = parse(frame)
    length_at = 16 if good.ip_version == 4 else 18
    template = edit(frame, length_at, b"\0\0")
    if good.protocol == 17:
        template = edit(template, good.l4 + 4, b"\0\0")
    assert parse(template).fault is not None
    assert parse(template, ignore_ip_length=True) == good
    longer = parse(template[: good.payload], 70_000, ignore_ip_length=True)
    assert (longer.fault, longer.end, longer.l4_bytes) == (None, 70_000, 70_000 - good.l4)


def test_flow_key_is_addresses_then_ports_in_packet_order() -> None:
    tcp = TCP(sport=0x1234, dport=0x5678)
    addresses = bytes([192, 0, 2, 1, 198, 51, 100, 2])
    options = IP(src="192.0.2.1", dst="198.51.100.2", options=[IPOption_NOP()])
    addresses6 = bytes.fromhex("20010db8" + "00" * 11 + "01" + "20010db8" + "00" * 11 + "02")
    for layers, key in [
        ((IPV4, tcp), addresses + b"\x12\x34\x56\x78"),
        ((Dot1Q(vlan=3), options, tcp), addresses + b"\x12\x34\x56\x78"),
        ((IPV4, ICMP()), addresses),
        ((IPV6, tcp), addresses6 + b"\x12\x34\x56\x78"),
        ((IPV6, HOPS, tcp), addresses6 + b"\x12\x34\x56\x78"),
        ((IPV6, IPv6ExtHdrFragment(m=1), tcp), addresses6),
        ((ARP(),), b""),
    ]:
        frame = ether(*layers)
        assert flow_key(frame, parse(frame)) == key
