"""virtio-net header requests, made and fulfilled; scapy's frames have the whole checksums."""

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet

from tlsnic.device.packet.checksum import fill_partial, verify_rx
from tlsnic.device.packet.headers import parse
from tlsnic.device.packet.vnet import (
    VnetError,
    VnetHeader,
    checksum_request,
    complete_checksum,
    cut,
    segmentation_request,
)


def ether(packet: Packet) -> bytes:
    return bytes(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / packet)


V4 = IP(src="192.0.2.1", dst="192.0.2.2")
V6 = IPv6(src="2001:db8::1", dst="2001:db8::2")
FRAMES = {
    "tcp4": (ether(V4 / TCP(flags="PA") / (b"abc" * 900)), (1, 1, 54, 1448, 34, 16)),
    "tcp4 cwr": (ether(V4 / TCP(flags="CPA") / (b"abc" * 900)), (1, 0x81, 54, 1448, 34, 16)),
    "tcp6 vlan": (
        ether(Dot1Q(vlan=3) / V6 / TCP() / (b"abc" * 900)),
        (1, 4, 78, 1448, 58, 16),
    ),
    "udp4": (ether(V4 / UDP(dport=443) / (b"abc" * 900)), (1, 5, 42, 1448, 34, 6)),
    "udp6": (ether(V6 / UDP(dport=443) / (b"abc" * 900)), (1, 5, 62, 1448, 54, 6)),
}


@pytest.mark.parametrize("name", FRAMES)
def test_segmentation_request_has_the_documented_values(name: str) -> None:
    frame, values = FRAMES[name]
    assert segmentation_request(parse(frame), 1448) == values
    checksum_only = checksum_request(parse(frame))
    assert checksum_only == VnetHeader(1, 0, 0, 0, *values[4:])


@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.parametrize("cut_at", [None, 80, 81, 700])
def test_a_requested_checksum_completes_to_scapy_s(name: str, cut_at: int | None) -> None:
    frame, _ = FRAMES[name]
    headers = parse(frame)
    partial = bytearray(frame)
    fill_partial(partial, headers)
    assert partial != frame
    request = checksum_request(headers)
    head, rest = partial[:cut_at], [partial[cut_at:]] if cut_at else []
    complete_checksum(head, request.csum_start, request.csum_offset, rest)
    assert head + b"".join(rest) == frame


def test_a_sum_of_zero_is_written_as_all_ones() -> None:
    frame = bytearray(4) + struct.pack("!HH", 0xFFFF, 0)
    complete_checksum(frame, 4, 2)
    assert frame[6:] == b"\xff\xff"


@pytest.mark.parametrize("name", FRAMES)
def test_a_received_super_frame_is_cut_into_whole_frames(name: str) -> None:
    frame, values = FRAMES[name]
    partial = bytearray(frame)
    fill_partial(partial, parse(frame))
    frames = [b"".join(parts) for parts in cut(partial, values[1], 1448)]
    assert len(frames) == 2
    payload = b""
    for raw in frames:
        headers = parse(raw)
        assert headers.end == len(raw)
        assert verify_rx(raw, headers).verified
        payload += raw[headers.payload :]
    assert payload == b"abc" * 900


@pytest.mark.parametrize(
    ("frame", "gso_type", "gso_size"),
    [
        (FRAMES["tcp4"][0], 4, 100),
        (FRAMES["tcp4"][0], 3, 100),
        (FRAMES["tcp4"][0], 0, 100),
        (FRAMES["tcp4"][0], 1, 0),
        (FRAMES["udp4"][0], 1, 100),
        (FRAMES["tcp6 vlan"][0], 1, 100),
        (ether(V4 / ICMP()), 1, 100),
        (FRAMES["tcp4"][0][:53], 1, 100),
        (b"", 1, 100),
    ],
)
def test_a_request_that_does_not_fit_the_frame_is_refused(
    frame: bytes, gso_type: int, gso_size: int
) -> None:
    with pytest.raises(VnetError):
        cut(frame, gso_type, gso_size)


@pytest.mark.parametrize(("start", "offset"), [(34, 19), (53, 0), (65535, 65535), (-1, 4)])
def test_a_checksum_field_outside_the_headers_is_refused(start: int, offset: int) -> None:
    with pytest.raises(VnetError, match="outside"):
        complete_checksum(bytearray(54), start, offset)


@given(
    frame=st.binary(max_size=300) | st.sampled_from([frame for frame, _ in FRAMES.values()]),
    numbers=st.tuples(*[st.integers(0, 0xFFFF)] * 4),
)
def test_any_request_is_done_or_refused_with_one_error(
    frame: bytes, numbers: tuple[int, int, int, int]
) -> None:
    gso_type, gso_size, start, offset = numbers
    for action in (
        lambda: cut(frame, gso_type & 0xFF, gso_size),
        lambda: complete_checksum(bytearray(frame), start, offset),
    ):
        with suppress(VnetError):
            action()


def test_impossible_requests_are_not_made() -> None:
    tcp = parse(FRAMES["tcp4"][0])
    for mss in (0, 65536):
        with pytest.raises(ValueError, match="segment size"):
            segmentation_request(tcp, mss)
    with pytest.raises(ValueError, match="TCP or UDP"):
        checksum_request(parse(ether(V4 / ICMP())))
