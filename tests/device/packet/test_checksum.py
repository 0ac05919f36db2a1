"""Checksums against a plain RFC 1071 loop and against frames that scapy completes."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet

from tlsnic.device.packet.checksum import (
    RxChecksum,
    fill_ipv4,
    fill_l4,
    fill_partial,
    fill_super_frame,
    internet_checksum,
    verify_rx,
    word_sum,
)
from tlsnic.device.packet.headers import parse

ETHER = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")


def rfc1071(data: bytes) -> int:
    """The definition: 16-bit big-endian words, end-around carry, complement."""
    if len(data) % 2:
        data += b"\0"
    total = 0
    for high, low in zip(data[::2], data[1::2], strict=True):
        total += high << 8 | low
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total


def test_example_of_rfc_1071() -> None:
    assert internet_checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0xFFFF - 0xDDF2


@pytest.mark.parametrize("data", [b"", b"\0", b"\0" * 2000, b"\xff" * 2, b"\xff" * 2000, b"\1"])
def test_both_zeros_of_one_s_complement(data: bytes) -> None:
    assert internet_checksum(data) == rfc1071(data)


@pytest.mark.parametrize("length", [*range(70), *range(630, 660), 1447, 1448, 1449, 65535])
def test_every_length_agrees_with_the_definition(length: int) -> None:
    data = random.Random(length).randbytes(length)
    assert internet_checksum(data) == rfc1071(data)
    assert word_sum(memoryview(data)[1:]) % 65535 == word_sum(data[1:]) % 65535


@given(st.lists(st.binary(max_size=90) | st.integers(600, 700).map(lambda n: b"\xa7" * n)))
def test_parts_of_any_lengths_sum_as_their_concatenation(parts: list[bytes]) -> None:
    assert internet_checksum(*parts) == rfc1071(b"".join(parts))


IPV4 = IP(src="192.0.2.1", dst="198.51.100.2")
IPV6 = IPv6(src="2001:db8::1", dst="2001:db8::2")
PACKETS = {
    "tcp4": IPV4 / TCP(seq=77, options=[("MSS", 1460)]),
    "tcp4 options": IP(options=[IPOption_NOP()] * 4) / TCP(),
    "udp4": IPV4 / UDP(),
    "tcp6": IPV6 / TCP(),
    "udp6": IPV6 / UDP(),
    "tcp6 extension": IPV6 / IPv6ExtHdrDestOpt() / TCP(),
    "vlan udp6": Dot1Q(vlan=5) / IPV6 / UDP(),
}


def build(packet: Packet, payload: bytes) -> bytes:
    return bytes(ETHER / packet / payload)


@given(
    name=st.sampled_from(sorted(PACKETS)),
    length=st.integers(0, 1500),
    padding=st.integers(0, 9),
    cuts=st.lists(st.integers(0, 1500), max_size=3),
    seed=st.integers(0, 99),
)
@settings(deadline=None)
def test_filled_in_checksums_equal_scapy_s(
    *, name: str, length: int, padding: int, cuts: list[int], seed: int
) -> None:
    frame = build(PACKETS[name], random.Random(seed).randbytes(length))
    padded = frame + b"\xee" * padding
    headers = parse(padded)
    blank = bytearray(padded)
    field = headers.l4 + (16 if headers.protocol == 6 else 6)
    blank[field : field + 2] = b"\xab\xcd"
    if headers.ip_version == 4:
        blank[headers.l3 + 10 : headers.l3 + 12] = b"\x12\x34"
        fill_ipv4(blank, headers)
    places = sorted({headers.payload, *(headers.payload + cut for cut in cuts)})
    head = blank[: places[0]]
    rest = [blank[a:b] for a, b in zip(places, [*places[1:], None], strict=True)]
    assert fill_l4(head, headers, rest)
    assert head + b"".join(rest) == padded
    assert fill_l4(blank, headers)
    assert blank == padded
    good = verify_rx(padded, headers)
    assert good == RxChecksum(headers.ip_version == 4, headers.ip_version == 4, True, True)
    assert good.verified


@pytest.mark.parametrize("name", PACKETS)
def test_any_flipped_bit_is_noticed(name: str) -> None:
    frame = build(PACKETS[name], b"payload!" * 100)
    headers = parse(frame)
    rng = random.Random(4)
    for _ in range(200):
        damaged = bytearray(frame)
        byte = rng.randrange(headers.l4, len(frame))
        damaged[byte] ^= 1 << rng.randrange(8)
        result = verify_rx(damaged, headers)
        field = headers.l4 + 6
        if headers.protocol == 17 and damaged[field : field + 2] == b"\0\0":
            continue
        assert result.l4_present
        assert not result.l4_ok
        assert not result.verified
    if headers.ip_version == 4:
        damaged = bytearray(frame)
        damaged[headers.l3 + 8] ^= 1
        result = verify_rx(damaged, headers)
        assert (result.ip_ok, result.l4_ok, result.verified) == (False, True, False)


def test_udp_checksum_zero_means_none_over_ipv4_and_wrong_over_ipv6() -> None:
    frame4 = build(IPV4 / UDP(chksum=0), b"abc")
    assert verify_rx(frame4, parse(frame4)) == RxChecksum(True, True, False, False)
    frame6 = build(IPV6 / UDP(chksum=0), b"abc")
    assert verify_rx(frame6, parse(frame6)) == RxChecksum(False, False, True, False)


@pytest.mark.parametrize("ip", [IPV4, IPV6])
def test_a_udp_sum_of_zero_is_sent_as_all_ones_and_verifies(ip: Packet) -> None:
    frame = bytearray(build(ip / UDP(), b"\0\0"))
    headers = parse(frame)
    frame[headers.payload :] = frame[headers.l4 + 6 : headers.l4 + 8]  # makes the sum 0
    assert fill_l4(frame, headers)
    assert frame[headers.l4 + 6 : headers.l4 + 8] == b"\xff\xff"
    assert verify_rx(frame, headers).verified
    assert bytes(frame) == build(ip / UDP(), bytes(frame[headers.payload :]))


def test_a_tcp_sum_of_zero_is_sent_as_zero() -> None:
    frame = bytearray(build(IPV4 / TCP(), b"\0\0"))
    headers = parse(frame)
    frame[headers.payload :] = frame[headers.l4 + 16 : headers.l4 + 18]
    assert fill_l4(frame, headers)
    assert frame[headers.l4 + 16 : headers.l4 + 18] == b"\0\0"
    assert verify_rx(frame, headers).verified


@pytest.mark.parametrize(
    ("packet", "ip_present"),
    [
        (ARP(), False),
        (IPV4 / ICMP(), True),
        (IP(src="192.0.2.1", flags="MF") / UDP() / bytes(24), True),
        (IPV6 / IPv6ExtHdrFragment(m=1) / TCP(), False),
    ],
)
def test_nothing_to_check_or_fill_without_layer_4(packet: Packet, ip_present: bool) -> None:
    frame = bytearray(build(packet, b"x" * 64))
    before = bytes(frame)
    headers = parse(frame)
    assert verify_rx(frame, headers) == RxChecksum(ip_present, ip_present, False, False)
    assert not fill_l4(frame, headers)
    assert not fill_partial(frame, headers)
    assert frame == before


@pytest.mark.parametrize("name", PACKETS)
def test_partial_checksum_completes_to_the_whole_one(name: str) -> None:
    frame = build(PACKETS[name], b"odd")
    headers = parse(frame)
    partial = bytearray(frame)
    assert fill_partial(partial, headers)
    field = headers.l4 + (16 if headers.protocol == 6 else 6)
    assert partial != frame
    completed = internet_checksum(partial[headers.l4 : headers.end])
    assert completed == int.from_bytes(frame[field : field + 2], "big")


def test_frame_shorter_than_its_headers_is_refused() -> None:
    frame = bytearray(build(IPV4 / TCP(), b"x" * 100))
    headers = parse(frame)
    with pytest.raises(ValueError, match="7 bytes before"):
        fill_l4(frame[:-7], headers)
    with pytest.raises(ValueError, match="1 bytes before"):
        fill_l4(frame[:60], headers, [frame[60:-1]])


@pytest.mark.parametrize(
    "packet",
    [
        ETHER / IP(src="10.1.2.3", dst="255.254.253.252") / TCP(flags="PA"),
        ETHER / IP(dst="10.0.0.9", options=[IPOption_NOP()] * 8) / TCP(options=[("MSS", 1460)]),
        ETHER / Dot1Q(vlan=7) / IP(dst="10.0.0.9") / TCP(),
        ETHER / IPv6(src="2001:db8::1", dst="2001:db8::ffff") / TCP(),
        ETHER / Dot1Q(vlan=7) / IPv6() / IPv6ExtHdrDestOpt() / TCP(),
    ],
    ids=["ipv4", "ipv4 options", "ipv4 vlan", "ipv6", "ipv6 vlan options"],
)
def test_a_super_frame_gets_what_scapy_and_the_partial_sum_say(packet: Packet) -> None:
    payload = bytes(range(256)) * 200
    whole = bytearray(bytes(packet / payload))
    headers = parse(whole)
    assert fill_partial(whole, headers)
    template = bytearray(bytes(packet))
    wanted = parse(template, len(whole), ignore_ip_length=True)
    assert wanted.payload == headers.payload
    fill_super_frame(template, wanted, len(whole))
    assert template == whole[: headers.payload]
