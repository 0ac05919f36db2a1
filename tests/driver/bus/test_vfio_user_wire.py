"""The stream of a vfio-user socket is split into messages however it arrives, or refused."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlsnic.driver.bus import BusProtocolError, vfio_abi
from tlsnic.driver.bus import vfio_user_wire as wire
from tlsnic.driver.bus.vfio_user_client import posted_write

MAX_BYTES = 4096

messages = st.lists(
    st.tuples(
        st.integers(0, 0xFFFF),
        st.integers(0, 0xFFFF),
        st.sampled_from([0, 1, 0x10, 0x21]),
        st.integers(0, 0xFFFFFFFF),
        st.binary(max_size=200),
        st.integers(0, 3),
    ),
    max_size=8,
)


@given(messages, st.randoms(use_true_random=False))
def test_messages_come_back_whole_with_their_descriptors_however_they_are_cut(sent, random):
    reader = wire.MessageReader(MAX_BYTES)
    numbers = iter(range(1000, 2000))
    expected, got = [], []
    for msg_id, command, flags, error, payload, fd_count in sent:
        fds = [next(numbers) for _ in range(fd_count)]
        data = struct.pack("<HHIII", msg_id, command, 16 + len(payload), flags, error) + payload
        expected.append((msg_id, command, flags, error, payload, fds))
        # Descriptors come with the first bytes of their message, and end that read.
        cut = random.randint(1, len(data))
        reader.feed(data[:cut], list(fds))
        for byte in range(cut, len(data)):
            reader.feed(data[byte : byte + 1])
        if random.random() < 0.5:
            continue  # several messages pile up before anybody looks
        while (message := reader.next()) is not None:
            got.append(message)
    while (message := reader.next()) is not None:
        got.append(message)
    fields = [(m.id, m.command, m.flags, m.error, m.payload, m.fds) for m in got]
    assert fields == expected
    assert reader.pending_bytes == 0


@given(st.lists(st.binary(max_size=64), max_size=20))
def test_any_bytes_give_messages_or_a_protocol_error(pieces):
    reader = wire.MessageReader(MAX_BYTES)
    total = taken = 0
    try:
        for piece in pieces:
            reader.feed(piece)
            total += len(piece)
            while (message := reader.next()) is not None:
                taken += 16 + len(message.payload)
    except BusProtocolError:
        return
    assert taken + reader.pending_bytes == total


@pytest.mark.parametrize(
    ("size", "flags", "why"),
    [
        (15, 1, "less than its header"),
        (0, 1, "less than its header"),
        (MAX_BYTES + 1, 1, "exceeds"),
        (0xFFFFFFFF, 1, "exceeds"),
        (16, 2, "unknown type"),
    ],
)
def test_a_header_that_cannot_be_followed_is_refused(size, flags, why):
    reader = wire.MessageReader(MAX_BYTES)
    reader.feed(struct.pack("<HHIII", 1, 9, size, flags, 0))
    with pytest.raises(BusProtocolError, match=why):
        reader.next()


def test_a_posted_write_is_laid_out_as_the_specification_says():
    assert posted_write(2, 0x1122, 0xAABBCCDD, 4) == bytes.fromhex(
        "0000 0a00 24000000 10000000 00000000"  # id, REGION_WRITE, size, no reply, no error
        "2211000000000000 02000000 04000000"  # offset, region, count
        "ddccbbaa"
    )
    assert [len(posted_write(0, 0, 1, width)) for width in (1, 2, 4, 8)] == [33, 34, 36, 40]


def test_our_version_is_what_libvfio_user_parses():
    payload = wire.version_request(16, 1 << 20)
    assert payload[:4] == b"\0\0\1\0"
    assert payload[4:] == b'{"capabilities":{"max_msg_fds":16,"max_data_xfer_size":1048576}}\0'


def test_a_version_reply_without_capabilities_means_the_defaults():
    for payload in (b"\0\0\0\0", b"\0\0\0\0\0", b"\0\0\0\0{}\0", b'\0\0\0\0{"capabilities":{}}\0'):
        limits = wire.parse_version(payload)
        assert (limits.minor, limits.max_fds, limits.max_data_bytes) == (0, 1, 1 << 20)


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (b"", "not even a version"),
        (b"\0\0\0", "not even a version"),
        (b"\1\0\0\0", "speaks vfio-user 1.0"),
        (b"\0\0\0\0{", "broken JSON"),
        (b"\0\0\0\0\xff\xfe\0", "broken JSON"),
        (b"\0\0\0\0[1]\0", "no JSON object"),
        (b'\0\0\0\0{"capabilities":7}\0', "no JSON object"),
        (b'\0\0\0\0{"capabilities":{"max_msg_fds":"8"}}\0', "not a count"),
        (b'\0\0\0\0{"capabilities":{"max_msg_fds":true}}\0', "not a count"),
        (b'\0\0\0\0{"capabilities":{"max_data_xfer_size":-1}}\0', "not a count"),
        (b"\0\0\0\0" + b"[" * 200_000, "nested beyond sense|broken JSON"),
    ],
)
def test_a_malformed_version_reply_is_refused_with_the_reason(payload, why):
    with pytest.raises(BusProtocolError, match=why):
        wire.parse_version(payload)


@given(st.binary(max_size=80))
def test_any_version_reply_gives_limits_or_a_protocol_error(tail):
    try:
        limits = wire.parse_version(b"\0\0\0\0" + tail)
    except BusProtocolError:
        return
    assert limits.max_fds >= 0
    assert limits.max_data_bytes >= 0


def region_info(caps: bytes, *, cap_offset: int = 32, size: int = 0x4000, flags: int = 15) -> bytes:
    return struct.pack("<IIIIQQ", 32 + len(caps), flags, 1, cap_offset, size, 0x5000) + caps


def test_sparse_areas_are_found_behind_another_capability():
    caps = struct.pack("<HHIII", 2, 1, 48, 3, 1) + struct.pack(
        "<HHIIIQQQQ", 1, 1, 0, 2, 0, 0, 0x1000, 0x2000, 0x1000
    )
    info = vfio_abi.parse_region_info(region_info(caps))
    assert info.areas == [(0, 0x1000), (0x2000, 0x1000)]
    assert (info.index, info.size_bytes, info.offset) == (1, 0x4000, 0x5000)


def test_a_mappable_region_without_areas_is_mappable_as_a_whole():
    assert vfio_abi.parse_region_info(region_info(b"", flags=7)).areas == [(0, 0x4000)]
    assert vfio_abi.parse_region_info(region_info(b"", flags=3)).areas == []


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\0" * 31, "31 of 32 bytes"),
        (region_info(struct.pack("<HHI", 2, 1, 32)), "loops"),
        (region_info(b"", cap_offset=4), "lies at 4"),
        (region_info(b"1234567"), "lies at 32"),
        (region_info(struct.pack("<HHI", 1, 1, 0)), "cut short"),
        (region_info(struct.pack("<HHIII", 1, 1, 0, 0xFFFFFFFF, 0)), "no room"),
        (region_info(struct.pack("<HHIIIQQ", 1, 1, 0, 1, 0, 0x3000, 0x1001)), "outside"),
        (region_info(struct.pack("<HHIIIQQ", 1, 1, 0, 1, 0, 1 << 63, 1 << 63)), "outside"),
    ],
)
def test_a_malformed_region_info_is_refused_with_the_reason(data, why):
    with pytest.raises(ValueError, match=why):
        vfio_abi.parse_region_info(data)


@given(st.binary(max_size=120), st.integers(0, 150))
def test_any_region_capabilities_give_areas_inside_the_region_or_an_error(caps, cap_offset):
    try:
        info = vfio_abi.parse_region_info(region_info(caps, cap_offset=cap_offset))
    except ValueError:
        return
    assert all(start + length <= info.size_bytes for start, length in info.areas)
