"""The header parser agrees with scapy, and survives anything."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.all import (
    ICMP,
    IP,
    TCP,
    UDP,
    Dot1Q,
    Ether,
    IPOption_NOP,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    Raw,
)

from tlsnic.driver.headers import (
    find_l4,
    ones_complement_sum,
    pseudo_header_sum,
    tcp_header_end,
)

STACKS = [
    IP(src="10.1.2.3", dst="10.9.8.7"),
    IP(src="10.1.2.3", dst="10.9.8.7", options=[IPOption_NOP()] * 8),
    IPv6(src="fd00::1", dst="fd00::ffff:2"),
    IPv6(src="fd00::1", dst="fd00::2") / IPv6ExtHdrDestOpt(),
    Dot1Q(vlan=5) / IP(src="10.1.2.3", dst="10.9.8.7"),
    Dot1Q(vlan=5) / Dot1Q(vlan=6) / IPv6(src="fd00::1", dst="fd00::2"),
]
PAYLOAD = b"odd payload"


@pytest.mark.parametrize("stack", STACKS, ids=range(len(STACKS)))
@pytest.mark.parametrize(
    "l4", [TCP(options=[("MSS", 1460)]), TCP(), UDP()], ids=["opt", "tcp", "udp"]
)
def test_headers_are_found_and_checksums_agree_with_scapy(stack, l4):
    frame = bytes(Ether(dst="02:00:00:00:00:01", src="02:00:00:00:00:02") / stack / l4 / PAYLOAD)
    found = find_l4(frame)
    header_bytes = len(bytes(l4)) if isinstance(l4, TCP) else 8
    assert found.offset == len(frame) - len(PAYLOAD) - header_bytes
    assert found.protocol == (6 if isinstance(l4, TCP) else 17)
    segment = frame[found.offset :]
    # A segment with its right checksum and its pseudo-header sum to all ones (RFC 1071).
    assert ones_complement_sum(segment, pseudo_header_sum(frame, found, len(segment))) == 0xFFFF
    if isinstance(l4, TCP):
        assert tcp_header_end(frame) == len(frame) - len(PAYLOAD)


@pytest.mark.parametrize(
    "packet",
    [
        Ether() / IP(frag=5) / TCP(),
        Ether() / IP(flags="MF") / UDP(),
        Ether() / IPv6() / IPv6ExtHdrFragment() / TCP(),
        Ether(type=0x88B5) / Raw(bytes(60)),
        Ether() / IP() / ICMP() / bytes(60),
    ],
)
def test_what_cannot_be_segmented_is_refused(packet):
    with pytest.raises(ValueError, match="TCP"):
        tcp_header_end(bytes(packet))


@given(st.binary(max_size=120), st.sampled_from([b"\x08\x00", b"\x86\xdd", b"\x81\x00", b""]))
def test_any_bytes_give_a_place_inside_the_protocol_or_an_error(data, ether_type):
    frame = bytes(12) + ether_type + data
    found = find_l4(frame)
    assert found is None or found.offset > found.ip_offset >= 14
    try:
        end = tcp_header_end(frame)
    except ValueError:
        return
    assert 54 <= end <= len(frame)


@given(st.binary(max_size=200), st.integers(0, 0xFFFF))
def test_the_sum_is_that_of_rfc_1071(data, initial):
    total = initial
    for n in range(0, len(data), 2):
        total += int.from_bytes(data[n : n + 2].ljust(2, b"\0"), "big")
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    assert ones_complement_sum(data, initial) == total
