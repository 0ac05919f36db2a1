"""Headers and options; scapy is the second opinion."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1Q, Ether
from tcp_link import endpoints

from tlsnic.driver.tcp import wire
from tlsnic.driver.tcp.errors import SegmentError
from tlsnic.driver.tcp.outgoing import Outgoing, reset_for, to_frames
from tlsnic.driver.tcp.wire import Options

U32 = st.integers(0, 0xFFFF_FFFF)
OPTIONS = st.builds(
    Options,
    mss=st.none() | st.integers(0, 0xFFFF),
    window_scale=st.none() | st.integers(0, 14),
    sack_permitted=st.booleans(),
    sack=st.just(()),
    timestamp=st.none() | st.tuples(U32, U32),
)
SACK_OPTIONS = st.builds(
    Options,
    mss=st.none(),
    window_scale=st.none(),
    sack_permitted=st.just(False),
    sack=st.lists(st.tuples(U32, U32), max_size=3).map(tuple),
    timestamp=st.none() | st.tuples(U32, U32),
)


def frame_of(version=4, vlan=None, payload=b"payload", flags=wire.ACK, options=b"", seq=7, ack=9):
    end, other = endpoints(version, vlan)
    headers = wire.HeaderTemplate(end).build(seq, ack, flags, 4096, options, len(payload))
    (frame,) = to_frames(Outgoing(headers, seq, payload, 0, False))
    return frame, other


def with_scapy(frame):
    """The same frame with checksums and lengths as scapy computes them."""
    packet = Ether(frame)
    if IP in packet:
        del packet[IP].chksum, packet[IP].len
    else:
        del packet[IPv6].plen
    del packet[TCP].chksum
    return bytes(packet)


@pytest.mark.parametrize("vlan", [None, 0, 4095])
@pytest.mark.parametrize("version", [4, 6])
def test_scapy_agrees(version, vlan):
    frame, other = frame_of(version, vlan, flags=wire.ACK | wire.PSH)
    assert with_scapy(frame) == frame
    packet = Ether(frame)
    assert (packet[TCP].seq, packet[TCP].ack, packet[TCP].flags, packet[TCP].window) == (
        7,
        9,
        "PA",
        4096,
    )
    assert bytes(packet[TCP].payload) == b"payload"
    assert (Dot1Q in packet) == (vlan is not None)
    segment = wire.parse(frame)
    assert segment.key == other.key
    assert (segment.vlan, segment.seq, segment.ack, segment.window) == (vlan, 7, 9, 4096)
    assert bytes(segment.payload) == b"payload"
    assert wire.reply_endpoint(frame, segment) == other


@given(OPTIONS | SACK_OPTIONS)
def test_options_survive(options):
    raw = wire.build_options(options)
    assert len(raw) % 4 == 0
    assert wire.parse_options(raw) == options
    frame, _ = frame_of(options=raw)
    assert wire.parse(frame).options == options


def test_scapy_reads_our_options():
    raw = wire.build_options(Options(1460, 7, True, (), (1, 2)))
    frame, _ = frame_of(options=raw, flags=wire.SYN, payload=b"")
    found = {name: value for name, value in Ether(frame)[TCP].options if name != "NOP"}
    assert found == {"MSS": 1460, "WScale": 7, "SAckOK": b"", "Timestamp": (1, 2)}
    raw = wire.build_options(Options(sack=((5, 6), (8, 9)), timestamp=(3, 4)))
    found = dict(Ether(frame_of(options=raw)[0])[TCP].options)
    assert found["SAck"] == (5, 6, 8, 9)


def test_timestamp_option_is_what_build_options_makes():
    assert wire.timestamp_option(5, 6) == wire.build_options(Options(timestamp=(5, 6)))


def test_too_many_options():
    with pytest.raises(ValueError, match="44 bytes"):
        wire.build_options(Options(sack=((1, 2),) * 5))


@pytest.mark.parametrize(
    "raw",
    [
        b"\x02",
        b"\x02\x00",
        b"\x02\x03\x00",
        b"\x08\x0a\x00\x00",
        b"\x05\x09" + bytes(7),
        b"\x63\x01",
    ],
    ids=["no length", "zero", "MSS of 3", "cut", "SACK of 9", "length 1"],
)
def test_options_that_do_not_fit(raw):
    with pytest.raises(SegmentError):
        wire.parse_options(raw)


def test_unknown_options_are_skipped_and_the_shift_is_at_most_14():
    raw = b"\xfe\x04ab\x03\x03\xff\x01\x00\x02\x04"
    assert wire.parse_options(raw) == Options(window_scale=14)


@given(st.binary(max_size=120), st.booleans())
def test_garbage_is_a_segment_or_a_segment_error(raw, verify):
    try:
        wire.parse(raw, verify=verify)
    except SegmentError:
        return
    assert not verify  # no random bytes have the right checksum


@given(
    st.sampled_from([4, 6]),
    st.sampled_from([None, 5]),
    st.lists(st.tuples(st.integers(0, 90), st.integers(0, 255)), max_size=4),
    st.integers(0, 200),
)
def test_damaged_frames_give_segments_inside_of_the_frame_or_one_error(version, vlan, hits, cut):
    raw = bytearray(frame_of(version, vlan, options=wire.timestamp_option(1, 2))[0])
    for place, value in hits:
        raw[place % len(raw)] = value
    raw = bytes(raw[:cut])
    try:
        segment = wire.parse(raw, verify=False)
    except SegmentError:
        return
    assert bytes(segment.payload) in raw


@given(st.sampled_from([4, 6]), st.integers(0, 10_000))
def test_a_flipped_bit_is_found(version, bit):
    frame, _ = frame_of(version)
    raw = bytearray(frame)
    first = (14 + (0 if version == 4 else 8)) * 8  # IPv6 does not protect its first words
    bit = first + bit % (len(raw) * 8 - first)
    raw[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SegmentError):
        wire.parse(bytes(raw))
    assert wire.parse(frame)


def test_padding_of_a_short_frame_is_not_payload():
    frame, _ = frame_of(payload=b"")
    assert bytes(wire.parse(frame + bytes(6)).payload) == b""


def test_fragments_and_other_protocols_are_refused():
    frame, _ = frame_of()
    for place, value in ((23, 17), (20, 0x20), (21, 1)):
        raw = bytearray(frame)
        raw[place] = value
        with pytest.raises(SegmentError):
            wire.parse(bytes(raw), verify=False)


def test_a_stripped_tag_is_told_by_the_card():
    frame, _ = frame_of()
    assert wire.parse(frame, vlan=12).vlan == 12


@pytest.mark.parametrize("version", [4, 6])
def test_software_segmentation_is_what_the_card_would_do(version):
    end, _ = endpoints(version)
    payload = bytes(range(250)) * 10
    flags = wire.ACK | wire.PSH | wire.FIN
    sequence = 0xFFFF_FC00
    headers = wire.HeaderTemplate(end).build(sequence, 1, flags, 9, b"", len(payload))
    frames = to_frames(Outgoing(headers, sequence, payload, 1000, False))
    segments = [wire.parse(frame) for frame in frames]
    assert [len(segment.payload) for segment in segments] == [1000, 1000, 500]
    assert [segment.seq for segment in segments] == [0xFFFF_FC00, 0xFFFF_FFE8, 0x3D0]
    assert [segment.flags for segment in segments] == [wire.ACK, wire.ACK, flags]
    assert b"".join(bytes(segment.payload) for segment in segments) == payload
    assert all(with_scapy(frame) == frame for frame in frames)


def test_resets_of_rfc_9293():
    end, other = endpoints()
    template = wire.HeaderTemplate(other)
    asked, _ = frame_of(flags=wire.SYN, payload=b"ab", seq=0xFFFF_FFFF)
    (frame,) = to_frames(reset_for(template, wire.parse(asked)))
    segment = wire.parse(frame)
    assert (segment.flags, segment.seq, segment.ack) == (wire.RST | wire.ACK, 0, 2)
    asked, _ = frame_of(flags=wire.ACK, ack=77)
    (frame,) = to_frames(reset_for(template, wire.parse(asked)))
    segment = wire.parse(frame)
    assert (segment.flags, segment.seq, segment.key) == (wire.RST, 77, end.key)


@pytest.mark.parametrize(
    "change",
    [
        {"local_address": bytes(16)},
        {"local_address": bytes(5), "remote_address": bytes(5)},
        {"local_mac": b""},
        {"vlan": 4096},
        {"local_port": 0},
        {"remote_port": 65536},
    ],
)
def test_endpoints_that_cannot_be(change):
    with pytest.raises(ValueError, match=r"endpoint|MAC|VLAN|port"):
        wire.HeaderTemplate(endpoints()[0]._replace(**change))


def test_header_fields_are_where_the_rfc_has_them():
    frame, _ = frame_of(flags=wire.ACK, options=wire.timestamp_option(1, 2))
    ports = struct.unpack_from(">HH", frame, 34)
    assert ports == (40000, 443)
    assert frame[46] == 8 << 4  # data offset in words
    assert frame[20:22] == b"\x40\0"  # don't fragment
