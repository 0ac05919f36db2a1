"""Offloads of virtio-net headers and of the card say the same."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.all import GRE, IP, TCP, UDP, Dot1Q, Ether, IPv6

from tlsnic.abi.enums import RxFlags, TxFlags
from tlsnic.driver import vnet
from tlsnic.driver.rx import RxPacket

ADDRESSES = {"dst": "02:00:00:00:00:01", "src": "02:00:00:00:00:02"}
V4 = IP(src="10.0.0.1", dst="10.0.0.2")
V6 = IPv6(src="fd00::1", dst="fd00::2")
COALESCED = RxFlags.COALESCED | RxFlags.L4_CHECKSUM_OK | RxFlags.TCP


def header(flags=0, gso=0, size=0, start=0, offset=0):
    return struct.pack("<BBHHHH", flags, gso, 0, size, start, offset)


def ether(*layers):
    packet = Ether(**ADDRESSES)
    for layer in layers:
        packet /= layer
    return bytearray(bytes(packet))


def packet(data, **fields):
    values = dict.fromkeys(RxPacket._fields, 0) | {"data": data, "segments": 1} | fields
    return RxPacket(**values)


def test_nothing_asked_is_nothing_asked():
    assert vnet.to_card(header(), memoryview(ether(V4, UDP()))) == (0, 0, 0)


@pytest.mark.parametrize("stack", [(V4,), (V6,), (Dot1Q(vlan=3), V4), (Dot1Q(vlan=3), V6)])
@pytest.mark.parametrize(("l4", "offset"), [(TCP(), 16), (UDP(), 6)])
def test_a_checksum_the_card_knows_is_left_to_the_card(stack, l4, offset):
    frame = ether(*stack, l4, b"data")
    start = len(frame) - len(b"data") - len(bytes(l4))
    before = bytes(frame)
    request = vnet.to_card(header(1, start=start, offset=offset), memoryview(frame))
    assert request == (TxFlags.L4_CHECKSUM, 0, 0)
    assert bytes(frame) == before


@pytest.mark.parametrize("inner", [TCP(sport=1), UDP(sport=1)])
@pytest.mark.parametrize("outer", [V4, V6])
def test_a_checksum_inside_a_tunnel_is_filled_here_as_scapy_does(outer, inner):
    right = ether(outer, GRE(), V4, inner, b"payload")
    offset = 16 if isinstance(inner, TCP) else 6
    start = len(right) - 7 - len(bytes(inner))
    frame = bytearray(right)
    # What a sender leaves in the field: the sum of the pseudo-header (here by hand).
    length = len(right) - start
    words = [0x0A00, 0x0001, 0x0A00, 0x0002, 6 if offset == 16 else 17, length]
    frame[start + offset : start + offset + 2] = sum(words).to_bytes(2, "big")
    assert vnet.to_card(header(1, start=start, offset=offset), memoryview(frame)) == (0, 0, 0)
    assert frame == right


@pytest.mark.parametrize(("stack", "gso"), [(V4, 1), (V6, 4), (V4, 0x81)])
def test_segmentation_is_left_to_the_card(stack, gso):
    frame = ether(stack, TCP(options=[("Timestamp", (1, 2))]), bytes(5000))
    request = vnet.to_card(header(1, gso, 1448, 34, 16), memoryview(frame))
    assert request == (TxFlags.SEGMENT, 1448, len(frame) - 5000)


@pytest.mark.parametrize(
    "bad",
    [
        header(1, start=60, offset=16),
        header(1, gso=3, size=100),
        header(1, gso=1, size=0),
        header(1, gso=5, size=1000),
    ],
)
def test_a_header_that_does_not_fit_is_refused(bad):
    with pytest.raises(ValueError, match=r"outside|segmentation"):
        vnet.to_card(bad, memoryview(ether(V4, UDP(), bytes(20))))


@given(st.binary(min_size=10, max_size=10), st.binary(min_size=14, max_size=200))
def test_any_header_and_frame_give_a_request_or_a_value_error(head, data):
    try:
        request = vnet.to_card(head, memoryview(bytearray(data)))
    except ValueError:
        return
    assert request.header_length <= len(data)


def test_a_packet_that_is_not_joined_goes_on_as_it_is():
    frame = ether(V4, TCP(), b"x")
    before = bytes(frame)
    head, data = vnet.to_stack(packet(frame, flags=RxFlags.L4_CHECKSUM_OK | RxFlags.TCP))
    assert head == header()
    assert data is frame
    assert bytes(frame) == before


@pytest.mark.parametrize(("stack", "gso"), [(V4, 1), (V6, 4)])
@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_a_joined_packet_becomes_one_to_segment(stack, gso, kind):
    frame = ether(stack, TCP(options=[("Timestamp", (1, 2))]), bytes(4000))
    start = len(frame) - 4000 - 32
    joined = packet(kind(frame), flags=COALESCED, segments=3, segment_bytes=1448)
    head, data = vnet.to_stack(joined)
    assert head == struct.pack("<BBHHHH", 1, gso, start + 32, 1448, start, 16)
    # Filling the checksum from here must give what scapy computes.
    written = bytearray(data)
    vnet._fill_checksum(memoryview(written), start, 16)
    assert written == frame
