"""The pcapng writer and reader, judged by tshark and scapy, and fed with damaged files."""

from __future__ import annotations

import io
import json
import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.utils import RawPcapNgReader

from tlsnic.device.wire import (
    LINKTYPE_ETHERNET,
    LINKTYPE_USER0,
    CapturedFrame,
    Direction,
    Interface,
    PcapngReader,
    PcapngWriter,
    WireError,
)
from tlsnic.device.wire.pcapng import SECRETS_TLS_KEY_LOG, secrets_block

FRAMES = [
    bytes(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / IP() / UDP() / (b"x" * size))
    for size in (18, 19, 20, 21, 1400)
]
WHEN_NS = 1_700_000_000_123_456_789


def write_sample(path: Path) -> None:
    with PcapngWriter(path) as writer:
        for number, frame in enumerate(FRAMES):
            direction = Direction.OUTBOUND if number % 2 else Direction.INBOUND
            comment = "retransmitted ✓" if number == 3 else ""
            writer.write((frame[:20], frame[20:]), WHEN_NS + number, direction, comment)


def read(data: bytes) -> list[CapturedFrame]:
    return list(PcapngReader(io.BytesIO(data), "test"))


def block(order: str, kind: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 4)
    length = 12 + len(body)
    return struct.pack(order + "II", kind, length) + body + struct.pack(order + "I", length)


def section(order: str, version: int = 1) -> bytes:
    return block(order, 0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, version, 0, -1))


def interface(order: str, options: bytes = b"", snap: int = 0, link_type: int = 1) -> bytes:
    return block(order, 1, struct.pack(order + "HHI", link_type, 0, snap) + options)


def enhanced(order: str, units: int, data: bytes, options: bytes = b"", number: int = 0) -> bytes:
    head = struct.pack(
        order + "IIIII", number, units >> 32, units & 0xFFFFFFFF, len(data), len(data)
    )
    return block(order, 6, head + data + bytes(-len(data) % 4) + options)


def test_reader_gives_back_what_the_writer_wrote(tmp_path: Path) -> None:
    path = tmp_path / "c.pcapng"
    write_sample(path)
    frames = read(path.read_bytes())
    assert [frame.data for frame in frames] == FRAMES
    assert [frame.timestamp_ns for frame in frames] == [WHEN_NS + i for i in range(5)]
    assert [frame.direction for frame in frames] == [1, 2, 1, 2, 1]
    assert [frame.comment for frame in frames] == ["", "", "", "retransmitted ✓", ""]
    assert {frame.link_type for frame in frames} == {1}


def test_scapy_reads_the_same_frames_and_nanoseconds(tmp_path: Path) -> None:
    path = tmp_path / "c.pcapng"
    write_sample(path)
    with RawPcapNgReader(str(path)) as reader:
        packets = list(reader)
    assert [data for data, _ in packets] == FRAMES
    for number, (_, meta) in enumerate(packets):
        assert meta.tsresol == 10**9
        assert (meta.tshigh << 32 | meta.tslow) == WHEN_NS + number


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
def test_tshark_shows_time_direction_and_comment(tmp_path: Path) -> None:
    path = tmp_path / "c.pcapng"
    write_sample(path)
    fields = ("frame.time_epoch", "frame.packet_flags_direction", "frame.len", "frame.comment")
    command = ["tshark", "-n", "-r", str(path), "-T", "json"]
    command += [text for field in fields for text in ("-e", field)]
    done = subprocess.run(command, capture_output=True, check=True, timeout=60)
    layers = [packet["_source"]["layers"] for packet in json.loads(done.stdout)]
    assert [layer["frame.time_epoch"][0] for layer in layers] == [
        f"1700000000.{123456789 + number}" for number in range(5)
    ]
    directions = [layer["frame.packet_flags_direction"][0] for layer in layers]
    assert [int(text, 0) for text in directions] == [1, 2, 1, 2, 1]
    assert [int(layer["frame.len"][0]) for layer in layers] == [len(frame) for frame in FRAMES]
    assert layers[3]["frame.comment"] == ["retransmitted ✓"]


@pytest.mark.skipif(shutil.which("capinfos") is None, reason="capinfos is not installed")
def test_capinfos_finds_nanosecond_resolution_and_every_packet(tmp_path: Path) -> None:
    path = tmp_path / "c.pcapng"
    write_sample(path)
    done = subprocess.run(
        ["capinfos", "-M", str(path)], capture_output=True, check=True, text=True, timeout=60
    )
    assert "pcapng" in done.stdout
    assert "nanoseconds" in done.stdout
    assert "Number of packets:   5" in done.stdout


@pytest.mark.skipif(shutil.which("editcap") is None, reason="editcap is not installed")
def test_reader_takes_a_file_made_by_wireshark(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "a.pcapng", tmp_path / "b.pcapng"
    write_sample(ours)
    subprocess.run(
        ["editcap", "-F", "pcapng", "-t", "1.5", str(ours), str(theirs)], check=True, timeout=60
    )
    frames = read(theirs.read_bytes())
    assert [frame.data for frame in frames] == FRAMES
    assert frames[4].timestamp_ns == WHEN_NS + 4 + 1_500_000_000
    assert frames[3].comment == "retransmitted ✓"


@pytest.mark.parametrize("order", ["<", ">"])
def test_both_byte_orders_and_unknown_blocks(order: str) -> None:
    flags = struct.pack(order + "HHIHH", 2, 4, 2, 0, 0)
    data = (
        section(order)
        + block(order, 0x80000001, b"custom")
        + interface(order)
        + enhanced(order, 5_000_001, b"frame", flags)
        + block(order, 5, bytes(40))
    )
    (frame,) = read(data)
    assert frame == CapturedFrame(b"frame", 5_000_001_000, Direction.OUTBOUND, 1, 5, "")


def test_sections_of_different_byte_order_have_their_own_interfaces() -> None:
    data = b"".join(
        section(order) + interface(order, link_type=kind) + enhanced(order, 1, b"f")
        for order, kind in (("<", 1), (">", 101))
    )
    assert [frame.link_type for frame in read(data)] == [1, 101]


@pytest.mark.parametrize(
    ("resolution", "units", "nanoseconds"),
    [
        (0, 3, 3 * 10**9),
        (3, 1500, 1_500_000_000),
        (9, 17, 17),
        (12, 5_999, 5),
        (0x80 | 10, 1536, 1_500_000_000),
    ],
)
def test_timestamp_resolutions_and_offset(resolution: int, units: int, nanoseconds: int) -> None:
    options = struct.pack("<HHB3x", 9, 1, resolution)
    (frame,) = read(section("<") + interface("<", options) + enhanced("<", units, b"f"))
    assert frame.timestamp_ns == nanoseconds
    options += struct.pack("<HHq", 14, 8, 100)
    (frame,) = read(section("<") + interface("<", options) + enhanced("<", units, b"f"))
    assert frame.timestamp_ns == nanoseconds + 100 * 10**9


def test_simple_and_obsolete_packet_blocks() -> None:
    simple = block("<", 3, struct.pack("<I", 9) + b"12345678")
    old = block("<", 2, struct.pack("<HHIIII", 0, 7, 0, 42, 3, 5) + b"abc\0")
    frames = read(section("<") + interface("<", snap=8) + simple + old)
    assert [(f.data, f.timestamp_ns, f.original_bytes) for f in frames] == [
        (b"12345678", None, 9),
        (b"abc", 42_000, 5),
    ]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"\x0a\x0d", "middle"),
        (b"not a capture at all", "no pcapng"),
        (b"\xd4\xc3\xb2\xa1" + bytes(20), "is a pcap file"),
        (section("<")[:-1], "middle"),
        (section("<", version=2), "version is 2"),
        (section("<")[:8] + b"abcd" + section("<")[12:], "magic"),
        (section("<")[:-4] + b"\0\0\0\0", "lengths differ"),
        (section("<") + struct.pack("<II", 99, 8), "length is 8 bytes"),
        (section("<") + struct.pack("<II", 99, 0xFFFFFFF0), "length is 4294967280"),
        (section("<") + enhanced("<", 0, b"x"), "interface 0 of 0"),
        (section("<") + interface("<") + block("<", 6, b"abc"), "requires a buffer"),
        (
            section("<") + interface("<") + block("<", 6, struct.pack("<IIIII", 0, 0, 0, 99, 99)),
            "packet of 99 bytes does not fit",
        ),
        (section("<") + interface("<", b"\x09\0\xff\0"), "option 9 of 255 bytes"),
        (section("<") + block("<", 10, struct.pack("<II", 7, 1)), "secrets of 1 bytes"),
    ],
)
def test_damage_is_named(data: bytes, message: str) -> None:
    with pytest.raises(WireError, match=message) as caught:
        read(data)
    assert caught.value.fix


def test_frames_before_the_damage_are_given() -> None:
    reader = PcapngReader(
        io.BytesIO(section("<") + interface("<") + enhanced("<", 1, b"good") + b"junk"), "test"
    )
    assert next(reader).data == b"good"
    with pytest.raises(WireError, match="byte 84"):
        next(reader)
    with pytest.raises(StopIteration):
        next(reader)


VALID = (
    section("<")
    + interface("<", struct.pack("<HHB3x", 9, 1, 9))
    + enhanced("<", 77, b"frame data", struct.pack("<HHI", 2, 4, 1))
    + section(">")
    + interface(">")
    + block(">", 3, struct.pack(">I", 4) + b"abcd")
)


@given(
    changes=st.lists(
        st.tuples(st.integers(0, len(VALID) - 1), st.integers(0, 255)), min_size=1, max_size=6
    ),
    cut=st.integers(0, len(VALID)),
)
def test_a_damaged_file_parses_or_raises_wire_error(
    changes: list[tuple[int, int]], cut: int
) -> None:
    data = bytearray(VALID)
    for at, value in changes:
        data[at] = value
    try:
        frames = read(bytes(data[:cut]))
    except WireError:
        return
    assert all(len(frame.data) <= len(VALID) for frame in frames)


@given(st.binary(max_size=200))
def test_arbitrary_blocks_parse_or_raise_wire_error(noise: bytes) -> None:
    for kind in (1, 2, 3, 6, 10):
        try:
            frames = read(section("<") + interface("<") + block("<", kind, noise))
        except WireError:
            continue
        assert len(frames) <= 1


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=100), st.integers(0, 2**64 - 1))))
def test_any_frames_and_times_survive_the_round_trip(frames: list[tuple[bytes, int]]) -> None:
    # A memory file in place of the disk: hypothesis runs this often.
    descriptor = os.memfd_create("capture")
    try:
        path = f"/proc/self/fd/{descriptor}"
        with PcapngWriter(path) as writer:
            for data, when_ns in frames:
                writer.write((data,), when_ns, Direction.INBOUND)
        again = read(Path(path).read_bytes())
    finally:
        os.close(descriptor)
    assert [(frame.data, frame.timestamp_ns) for frame in again] == frames


INTERFACES = [
    Interface("wire", description="what passes the port"),
    Interface("bus", LINKTYPE_USER0, snap_bytes=64),
    Interface("raw", 101),
]


def write_interfaces(path: Path) -> None:
    with PcapngWriter(path, INTERFACES, comment="two lines\nof text") as writer:
        writer.write_secrets(b"CLIENT_RANDOM 00 11\n")
        writer.write((FRAMES[0],), WHEN_NS, Direction.INBOUND)
        writer.write((b"abc", b"de"), WHEN_NS + 1, comment="cut", interface=1, original_bytes=900)
        writer.write((b"\x45" + bytes(19),), WHEN_NS + 2, interface=2)
        assert writer.packets == 3
        writer.flush()
        assert writer.size_bytes == path.stat().st_size


def test_several_interfaces_cut_packets_and_secrets_come_back(tmp_path: Path) -> None:
    path = tmp_path / "c.pcapng"
    write_interfaces(path)
    reader = PcapngReader(io.BytesIO(path.read_bytes()), "test")
    frames = list(reader)
    assert [(f.interface, f.link_type) for f in frames] == [
        ("wire", LINKTYPE_ETHERNET),
        ("bus", LINKTYPE_USER0),
        ("raw", 101),
    ]
    assert frames[1] == CapturedFrame(
        b"abcde", WHEN_NS + 1, Direction.UNKNOWN, LINKTYPE_USER0, 900, "cut", "bus"
    )
    assert reader.secrets == [(SECRETS_TLS_KEY_LOG, b"CLIENT_RANDOM 00 11\n")]


@pytest.mark.skipif(shutil.which("capinfos") is None, reason="capinfos is not installed")
def test_capinfos_finds_the_interfaces_and_the_comment(tmp_path: Path) -> None:
    path = tmp_path / "c.pcapng"
    write_interfaces(path)
    done = subprocess.run(
        ["capinfos", "-M", str(path)], capture_output=True, check=True, text=True, timeout=60
    )
    assert "Number of interfaces in file: 3" in done.stdout
    assert "Name = bus" in done.stdout
    assert "Capture length = 64" in done.stdout
    assert "two lines" in done.stdout


@pytest.mark.skipif(shutil.which("editcap") is None, reason="editcap is not installed")
def test_reader_finds_the_secrets_that_editcap_injects(tmp_path: Path) -> None:
    ours, keys, theirs = tmp_path / "a.pcapng", tmp_path / "keys", tmp_path / "b.pcapng"
    write_sample(ours)
    keys.write_bytes(b"CLIENT_RANDOM 0011 2233\n")
    subprocess.run(
        ["editcap", "--inject-secrets", f"tls,{keys}", ours, theirs], check=True, timeout=60
    )
    reader = PcapngReader(io.BytesIO(theirs.read_bytes()), "test")
    assert len(list(reader)) == len(FRAMES)
    assert reader.secrets == [(SECRETS_TLS_KEY_LOG, keys.read_bytes())]


@pytest.mark.parametrize("order", ["<", ">"])
def test_secrets_in_both_byte_orders(order: str) -> None:
    data = section(order) + secrets_block(b"12345", 7, order) + interface(order)
    reader = PcapngReader(io.BytesIO(data), "test")
    assert list(reader) == []
    assert reader.secrets == [(7, b"12345")]


def test_a_long_comment_is_cut_between_characters(tmp_path: Path) -> None:
    path = tmp_path / "c.pcapng"
    with PcapngWriter(path) as writer:
        writer.write((b"x" * 60,), 0, comment="é" * 40_000)
    (frame,) = read(path.read_bytes())
    assert frame.comment == "é" * 32_767


def test_several_comments_become_lines() -> None:
    options = b"".join(
        struct.pack("<HH", 1, len(text)) + text + bytes(-len(text) % 4)
        for text in (b"one", b"two2")
    )
    (frame,) = read(section("<") + interface("<") + enhanced("<", 1, b"f", options))
    assert frame.comment == "one\ntwo2"


def test_a_new_file_has_the_permissions_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "c.pcapng"
    with PcapngWriter(path, mode=0o600):
        assert path.stat().st_mode & 0o777 == 0o600


def test_unwritable_file_is_a_wire_error(tmp_path: Path) -> None:
    with pytest.raises(WireError, match="cannot write capture"):
        PcapngWriter(tmp_path / "absent" / "c.pcapng")


def test_full_disk_closes_the_writer_once() -> None:
    writer = PcapngWriter("/dev/full")
    writer.write((b"x" * 60,), 0, Direction.INBOUND)
    with pytest.raises(WireError, match="No space left"):
        writer.flush()
    assert writer.closed
    writer.close()
    with pytest.raises(WireError, match="closed"):
        writer.write((b"x" * 60,), 0, Direction.INBOUND)


def test_tcp_frames_captured_are_the_frames_scapy_made(tmp_path: Path) -> None:
    path = tmp_path / "c.pcapng"
    frame = Ether() / IP(src="10.0.0.1", dst="10.0.0.2") / TCP(flags="PA") / b"hello"
    with PcapngWriter(path) as writer:
        writer.write((bytes(frame),), 0, Direction.OUTBOUND)
    with RawPcapNgReader(str(path)) as reader:
        ((data, _),) = list(reader)
    assert Ether(data)[TCP].load == b"hello"
