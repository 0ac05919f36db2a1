"""The Toeplitz hash against Microsoft's vectors ("Verifying the RSS Hash Calculation")."""

import random
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet

from tlsnic.device.packet.headers import parse
from tlsnic.device.packet.rss import HashType, Rss, Toeplitz

KEY = bytes.fromhex(
    "6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa"
)
# destination, port, source, port, hash of the addresses, hash with the TCP ports
VECTORS = [
    ("161.142.100.80", 1766, "66.9.149.187", 2794, 0x323E8FC2, 0x51CCC178),
    ("65.69.140.83", 4739, "199.92.111.2", 14230, 0xD718262A, 0xC626B0EA),
    ("12.22.207.184", 38024, "24.19.198.95", 12898, 0xD2D0A5DE, 0x5C2B394A),
    ("209.142.163.6", 2217, "38.27.205.30", 48228, 0x82989176, 0xAFC7327F),
    ("202.188.127.2", 1303, "153.39.163.191", 44251, 0x5D1809C5, 0x10E828A2),
    ("3ffe:2501:200:3::1", 1766, "3ffe:2501:200:1fff::7", 2794, 0x2CC18CD5, 0x40207D3D),
    ("ff02::1", 4739, "3ffe:501:8::260:97ff:fe40:efab", 14230, 0x0F0C461C, 0xDDE51BBF),
    (
        "fe80::200:f8ff:fe21:67cf", 38024, "3ffe:1900:4545:3:200:f8ff:fe21:67cf", 44251,
        0x4B61E985, 0x02D1FEEF,
    ),
]  # fmt: skip
ALL = HashType(63)
ADDRESSES = HashType.IPV4 | HashType.IPV6


def ether(packet: Packet) -> bytes:
    return bytes(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / packet)


def ip(source: str, destination: str) -> Packet:
    if ip_address(source).version == 4:
        return IP(src=source, dst=destination)
    return IPv6(src=source, dst=destination)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector[0])
@pytest.mark.parametrize("l4", [TCP, UDP])
def test_published_vectors(vector: tuple[str, int, str, int, int, int], l4: type[Packet]) -> None:
    destination, dport, source, sport, by_address, by_port = vector
    frame = ether(ip(source, destination) / l4(sport=sport, dport=dport))
    headers = parse(frame)
    table = list(range(128))
    for enabled, value in ((ADDRESSES, by_address), (ALL, by_port)):
        selection = Rss(KEY, enabled, table).select(frame, headers)
        assert selection.hash_value == value
        assert selection.queue == value % 128
    kind = f"{l4.__name__}_IPV{headers.ip_version}"
    assert selection.hash_type is HashType[kind]


@given(st.binary(max_size=36), st.binary(min_size=40, max_size=40))
def test_tables_agree_with_the_definition(data: bytes, key: bytes) -> None:
    bits = int.from_bytes(key, "big")
    expected = 0
    for index in range(len(data) * 8):
        if data[index // 8] >> (7 - index % 8) & 1:
            expected ^= bits >> (320 - 32 - index) & 0xFFFFFFFF
    assert Toeplitz(key).hash(data) == expected


TCP_PORTS = TCP(sport=0x1111, dport=0x2222)
UDP_PORTS = UDP(sport=0x1111, dport=0x2222)
V4 = IP(src="192.0.2.1", dst="192.0.2.2")
V6 = IPv6(src="2001:db8::1", dst="2001:db8::2")
PORTS = b"\x11\x11\x22\x22"


@pytest.mark.parametrize(
    ("packet", "enabled", "kind", "with_ports"),
    [
        (V4 / TCP_PORTS, ALL, HashType.TCP_IPV4, True),
        (V4 / TCP_PORTS, ALL & ~HashType.TCP_IPV4, HashType.IPV4, False),
        (V4 / UDP_PORTS, ALL, HashType.UDP_IPV4, True),
        (V4 / UDP_PORTS, HashType.TCP_IPV4 | HashType.IPV4, HashType.IPV4, False),
        (V4 / UDP_PORTS, HashType.TCP_IPV4 | HashType.UDP_IPV6, HashType.NONE, False),
        (V4 / ICMP(), ALL, HashType.IPV4, False),
        (Dot1Q(vlan=4) / V4 / TCP_PORTS, ALL, HashType.TCP_IPV4, True),
        (
            IP(src="192.0.2.1", dst="192.0.2.2", options=[IPOption_NOP()]) / TCP_PORTS,
            ALL,
            HashType.TCP_IPV4,
            True,
        ),
        (
            IP(src="192.0.2.1", dst="192.0.2.2", flags="MF") / TCP_PORTS,
            ALL,
            HashType.IPV4,
            False,
        ),
        (V6 / TCP_PORTS, ALL, HashType.TCP_IPV6, True),
        (V6 / UDP_PORTS, ALL, HashType.UDP_IPV6, True),
        (V6 / UDP_PORTS, HashType.IPV6, HashType.IPV6, False),
        (V6 / IPv6ExtHdrHopByHop() / TCP_PORTS, ALL, HashType.TCP_IPV6, True),
        (V6 / IPv6ExtHdrFragment(m=1) / TCP_PORTS, ALL, HashType.IPV6, False),
        (ARP(), ALL, HashType.NONE, False),
    ],
)
def test_input_per_enabled_type(
    packet: Packet, enabled: HashType, kind: HashType, with_ports: bool
) -> None:
    frame = ether(packet)
    got, data = Rss(KEY, enabled, [0]).hash_input(frame, parse(frame))
    assert got is kind
    if kind is HashType.NONE:
        addresses = b""
    else:
        ends = ("2001:db8::1", "2001:db8::2") if IPv6 in packet else ("192.0.2.1", "192.0.2.2")
        addresses = b"".join(ip_address(end).packed for end in ends)
    assert data == addresses + (PORTS if with_ports else b"")


def test_a_packet_without_hash_goes_to_the_default_queue() -> None:
    frame = ether(ARP())
    selection = Rss(KEY, ALL, [5] * 8, default_queue=3).select(frame, parse(frame))
    assert selection == (3, HashType.NONE, 0)


def test_flows_spread_over_the_table_and_stay_on_their_queue() -> None:
    rss = Rss(KEY, ALL, [0, 1, 2, 3, 4, 5, 6, 7] * 16)
    rng = random.Random(1)
    queues = set()
    for _ in range(100):
        flow = ip("192.0.2.1", "192.0.2.2") / TCP(sport=rng.randrange(65536), dport=443)
        first, second = ether(flow / b"a"), ether(flow / b"another")
        queue = rss.select(first, parse(first)).queue
        assert rss.select(second, parse(second)).queue == queue
        queues.add(queue)
    assert queues == set(range(8))


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="39 bytes"):
        Toeplitz(KEY[:39])
    for length in (0, 3, 129):
        with pytest.raises(ValueError, match="power of two"):
            Rss(KEY, ALL, [0] * length)
    with pytest.raises(ValueError, match="37 bytes"):
        Toeplitz(KEY).hash(bytes(37))
