"""Segmentation against scapy, which builds every segment from scratch."""

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt
from scapy.layers.l2 import Dot1AD, Dot1Q, Ether
from scapy.packet import Packet

from tlsnic.device.packet.headers import Buffer, parse
from tlsnic.device.packet.segment import segment

TAGS = {
    "untagged": [],
    "tagged": [Dot1Q(prio=3, vlan=100)],
    "qinq": [Dot1AD(vlan=7), Dot1Q(vlan=8)],
}
OPTIONS = {
    "no options": [],
    "timestamps": [("NOP", None), ("NOP", None), ("Timestamp", (123456789, 987654321))],
    "full": [("NOP", None)] * 40,
}
PAYLOAD = random.Random(3).randbytes(70_000)


def ether(tags: list[Packet], ip: Packet, l4: Packet) -> Packet:
    frame: Packet = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    for layer in [*tags, ip, l4]:
        frame = frame / layer.copy()
    return frame


def template(frame: Packet, garbage: bytes) -> tuple[bytes, int]:
    """The headers of `frame` with garbage where the device computes, and how long they are."""
    raw = bytearray(bytes(frame))
    headers = parse(raw)
    if headers.ip_version == 4:
        raw[headers.l3 + 2 : headers.l3 + 4] = garbage
        raw[headers.l3 + 10 : headers.l3 + 12] = garbage
    else:
        raw[headers.l3 + 4 : headers.l3 + 6] = garbage
    at = headers.l4 + (16 if headers.protocol == 6 else 6)
    raw[at : at + 2] = garbage
    if headers.protocol == 17:
        raw[at - 2 : at] = garbage
    return bytes(raw[: headers.payload]), headers.payload


def expected(frame: Packet, payload: bytes, mss: int) -> list[bytes]:
    """Every segment of `frame` with `payload`, made by scapy from its fields."""
    pieces = [payload[at : at + mss] for at in range(0, len(payload), mss)] or [b""]
    result = []
    for number, piece in enumerate(pieces):
        copy = frame.copy()
        if IP in copy:
            copy[IP].id = (frame[IP].id + number) % 2**16
        if TCP in copy:
            copy[TCP].seq = (frame[TCP].seq + number * mss) % 2**32
            if number:
                copy[TCP].flags = int(copy[TCP].flags) & ~0x80
            if number < len(pieces) - 1:
                copy[TCP].flags = int(copy[TCP].flags) & ~0x09
        result.append(bytes(copy / piece))
    return result


def cut(frame: Packet, payload: Buffer | list[memoryview], length: int, mss: int) -> list[bytes]:
    head, head_bytes = template(frame, b"\xde\xad")
    headers = parse(head, head_bytes + length, ignore_ip_length=True)
    assert headers.fault is None
    return [b"".join(parts) for parts in segment(head, headers, payload, mss)]


IPV4 = IP(src="192.0.2.1", dst="198.51.100.2", id=0xFFFE, tos=0x0A, flags="DF")
IPV4_OPTIONS = IP(src="192.0.2.1", id=7, options=[IPOption_NOP()] * 8)
IPV6 = IPv6(src="2001:db8::1", dst="2001:db8::2", tc=3, fl=0x54321)
IPS = {
    "ipv4": [IPV4],
    "ipv4 options": [IPV4_OPTIONS],
    "ipv6": [IPV6],
    "ipv6 extension": [IPV6 / IPv6ExtHdrDestOpt()],
}


@given(
    ip=st.sampled_from(sorted(IPS)),
    tags=st.sampled_from(sorted(TAGS)),
    options=st.sampled_from(sorted(OPTIONS)),
    flags=st.integers(0, 0x1FF),
    seq=st.sampled_from([0, 1, 2**31, 2**32 - 1, 2**32 - 1448, 2**32 - 3000])
    | st.integers(0, 2**32 - 1),
    length=st.integers(0, 12_000),
    mss=st.integers(1, 4).map(lambda n: 536 + n) | st.sampled_from([1447, 1448, 1460, 8948, 65000]),
    offset=st.integers(0, 5),
)
@settings(max_examples=150, deadline=None)
def test_tcp_segments_equal_scapy_s(
    *, ip: str, tags: str, options: str, flags: int, seq: int, length: int, mss: int, offset: int
) -> None:
    tcp = TCP(
        sport=1, dport=443, seq=seq, ack=99, flags=flags, window=512, options=OPTIONS[options]
    )
    frame = ether(TAGS[tags], IPS[ip][0], tcp)
    payload = memoryview(PAYLOAD)[offset : offset + length]
    assert cut(frame, payload, length, mss) == expected(frame, bytes(payload), mss)


@given(
    ip=st.sampled_from(sorted(IPS)),
    tags=st.sampled_from(sorted(TAGS)),
    length=st.integers(0, 9000),
    mss=st.integers(100, 1600),
)
@settings(max_examples=60, deadline=None)
def test_udp_segments_equal_scapy_s(*, ip: str, tags: str, length: int, mss: int) -> None:
    frame = ether(TAGS[tags], IPS[ip][0], UDP(sport=4433, dport=443))
    payload = PAYLOAD[:length]
    assert cut(frame, payload, length, mss) == expected(frame, payload, mss)


@pytest.mark.parametrize("mss", [1, 2, 3, 5])
def test_tiny_segments_equal_scapy_s(mss: int) -> None:
    frame = ether([], IPV4, TCP(seq=2**32 - 9, flags="FPA"))
    assert cut(frame, PAYLOAD[:40], 40, mss) == expected(frame, PAYLOAD[:40], mss)


@pytest.mark.parametrize("length", [64 * 1024, 65535 + 200, 65160, 1448, 1449, 1447])
@pytest.mark.parametrize("ip", ["ipv4", "ipv6"])
def test_whole_sends_equal_scapy_s(ip: str, length: int) -> None:
    frame = ether(
        [], IPS[ip][0], TCP(seq=2**32 - 30_000, flags=0xD9, options=OPTIONS["timestamps"])
    )
    payload = bytearray(PAYLOAD[:length])
    assert cut(frame, payload, length, 1448) == expected(frame, bytes(payload), 1448)


def test_fin_psh_on_the_last_and_cwr_on_the_first_segment_only() -> None:
    frame = ether([], IPV4, TCP(flags="FPACE"))
    flags = [parse(raw).tcp_flags for raw in cut(frame, b"x" * 30, 30, 10)]
    assert flags == [0x10 | 0x40 | 0x80, 0x10 | 0x40, 0x10 | 0x40 | 0x01 | 0x08]


@pytest.mark.parametrize("fill", [b"\0", b"\xff"])
def test_extreme_payload_sums_are_right(fill: bytes) -> None:
    frame = ether([], IPV4, TCP())
    payload = fill * 65535
    assert cut(frame, payload, 65535, 1447) == expected(frame, payload, 1447)


def test_a_udp_checksum_of_zero_is_sent_as_all_ones() -> None:
    frame = ether([], IPV6, UDP())
    first = bytearray(expected(frame, b"\0\0abcdef", 8)[0])
    at = len(first) - 8
    blind = bytes(first[at - 2 : at]) + b"abcdef"  # brings the sum of the first segment to 0
    frames = cut(frame, blind * 2, 16, 8)
    assert frames[0][at - 2 : at] == b"\xff\xff"
    assert frames == expected(frame, blind * 2, 8)


@given(cuts=st.lists(st.integers(0, 9000), max_size=5))
@settings(deadline=None)
def test_payload_in_parts_gives_the_same_frames(cuts: list[int]) -> None:
    frame = ether([], IPV4, TCP(seq=5, flags="PA"))
    places = [0, *sorted(cuts), 9000]
    parts = [memoryview(PAYLOAD)[a:b] for a, b in pairwise(places)]
    assert cut(frame, parts, 9000, 1448) == cut(frame, PAYLOAD[:9000], 9000, 1448)


def test_contiguous_payload_is_viewed_and_not_copied() -> None:
    head, head_bytes = template(ether([], IPV4, TCP()), b"\0\0")
    payload = bytearray(PAYLOAD[:4000])
    headers = parse(head, head_bytes + len(payload), ignore_ip_length=True)
    frames = segment(head, headers, payload, 1448)
    payload[0], payload[-1] = payload[0] ^ 0xFF, payload[-1] ^ 0xFF
    assert b"".join(bytes(frame[1]) for frame in frames) == payload


def test_earlier_frames_survive_the_next_send() -> None:
    head, head_bytes = template(ether([], IPV4, TCP(seq=1)), b"\0\0")
    headers = parse(head, head_bytes + 3000, ignore_ip_length=True)
    first = segment(head, headers, PAYLOAD[:3000], 1448)
    before = [bytes(parts[0]) for parts in first]
    segment(head, headers, PAYLOAD[3000:6000], 1448)
    assert [bytes(parts[0]) for parts in first] == before


@pytest.mark.parametrize(
    ("packet", "mss", "message"),
    [
        (IPV4 / TCP(), 0, "segment size 0"),
        (IPV4 / TCP(), 66_000, "does not fit"),
        (IPV4 / ICMP(), 1000, "TCP or UDP"),
        (IP(flags="MF") / TCP(), 1000, "TCP or UDP"),
    ],
)
def test_impossible_requests_are_refused(packet: Packet, mss: int, message: str) -> None:
    head = bytes(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / packet)
    headers = parse(head, len(head) + 66_000, ignore_ip_length=True)
    with pytest.raises(ValueError, match=message):
        segment(head, headers, PAYLOAD[:66_000], mss)
