"""Reading captures back as trace records."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlsnic.abi.enums import DeviceInput, DmaPurpose
from tlsnic.abi.structures import (
    TRACES,
    TraceDmaRead,
    TraceFrame,
    TraceInput,
    TraceInterrupt,
    TraceRegisterRead,
)
from tlsnic.device.trace.capture import CaptureFile
from tlsnic.device.trace.reader import read_trace
from tlsnic.device.wire import (
    LINKTYPE_USER0,
    Direction,
    Interface,
    PcapngWriter,
    WireError,
)

EPOCH_NS = 10**18
BUS = [Interface("wire"), Interface("bus", LINKTYPE_USER0), Interface("other", 101)]


def test_a_capture_comes_back_as_it_was_put(tmp_path: Path) -> None:
    path = str(tmp_path / "c.pcapng")
    capture = CaptureFile(path, epoch_ns=EPOCH_NS)
    puts = [
        (TraceInput(card=2, input=DeviceInput.START, now_ns=5), b""),
        (TraceFrame(card=2, now_ns=6, length=60, taken=1), b"a" * 60),
        (TraceDmaRead(card=2, now_ns=7, length=32, purpose=DmaPurpose.DESCRIPTOR), b"d" * 32),
        (TraceFrame(card=2, now_ns=8, length=61, outbound=1, taken=1), b"b" * 61),
        (TraceInterrupt(card=2, now_ns=9, vector=3, msix=1, asserted=1), b""),
        (TraceInput(card=2, input=DeviceInput.MARK, now_ns=9), b"mark"),
    ]
    for record, data in puts:
        capture.put(record, data)
    capture.close()
    assert list(read_trace(path)) == [
        (EPOCH_NS + record.now_ns, record, data) for record, data in puts
    ]


def test_frames_alone_count_from_the_first(tmp_path: Path) -> None:
    path = tmp_path / "c.pcapng"
    with PcapngWriter(path) as writer:
        writer.write((b"x" * 60,), EPOCH_NS, Direction.INBOUND)
        writer.write((b"y" * 60,), EPOCH_NS + 7, Direction.OUTBOUND)
    assert list(read_trace(str(path))) == [
        (EPOCH_NS, TraceFrame(length=60, taken=1), b"x" * 60),
        (EPOCH_NS + 7, TraceFrame(length=60, taken=1, outbound=1, now_ns=7), b"y" * 60),
    ]


def test_in_a_record_the_frame_is_the_next_packet(tmp_path: Path) -> None:
    path = tmp_path / "r.pcapng"
    record = TraceFrame(now_ns=3, length=4, outbound=1, has_work=1, gso_size=9)
    with PcapngWriter(path, BUS) as writer:
        writer.write((record.pack(),), 10, interface=1)
        writer.write((b"abcd",), 10)
        writer.write((TraceRegisterRead(now_ns=4).pack(),), 11, interface=1)
    assert list(read_trace(str(path))) == [
        (10, record, b"abcd"),
        (11, TraceRegisterRead(now_ns=4), b""),
    ]


def test_what_is_before_the_trouble_is_given(tmp_path: Path) -> None:
    path = tmp_path / "r.pcapng"
    with PcapngWriter(path, BUS) as writer:
        writer.write((TraceRegisterRead().pack(),), 1, interface=1)
    with open(path, "ab") as file:
        file.write(b"junk")
    records = read_trace(str(path))
    assert next(records).record == TraceRegisterRead()
    with pytest.raises(WireError, match="damaged"):
        next(records)


FRAME = TraceFrame().pack()


@pytest.mark.parametrize(
    ("packets", "message"),
    [
        ([(2, b"ip")], "packet 1 has link type 101"),
        ([(1, b"\1\0")], "packet 1 is too short for a trace record"),
        ([(1, b"\x77" + bytes(40))], "packet 1 is no trace record: type 119"),
        ([(1, FRAME[:-1])], "packet 1 is too short for trace_frame"),
        ([(1, FRAME), (1, FRAME)], "packet 2 is not the frame"),
        ([(1, FRAME)], "ends before the frame"),
    ],
)
def test_other_files_are_refused_in_one_line(
    tmp_path: Path, packets: list[tuple[int, bytes]], message: str
) -> None:
    path = tmp_path / "r.pcapng"
    with PcapngWriter(path, BUS) as writer:
        for interface, data in packets:
            writer.write((data,), 1, interface=interface)
    with pytest.raises(WireError, match=message):
        list(read_trace(str(path)))


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(WireError, match="No such file"):
        list(read_trace(str(tmp_path / "absent")))
    (tmp_path / "text").write_text("hello, this is text")
    with pytest.raises(WireError, match="no pcapng"):
        list(read_trace(str(tmp_path / "text")))


@pytest.mark.skipif(shutil.which("editcap") is None, reason="editcap is not installed")
def test_a_capture_that_was_edited_can_be_read(tmp_path: Path) -> None:
    ours, theirs = str(tmp_path / "a.pcapng"), str(tmp_path / "b.pcapng")
    rng = random.Random(1)
    capture = CaptureFile(ours, epoch_ns=EPOCH_NS)
    for _ in range(40):
        kind = rng.choice([TraceRegisterRead, TraceInterrupt, TraceDmaRead])
        capture.put(kind(now_ns=rng.randrange(1000), length=8) if kind is TraceDmaRead else kind())
    capture.put(TraceFrame(length=60, taken=1), bytes(60))
    capture.close()
    subprocess.run(["editcap", ours, theirs, "1-10"], check=True, timeout=60)
    assert list(read_trace(theirs)) == list(read_trace(ours))[10:]


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 12), st.binary(max_size=100)), max_size=8)
)
def test_any_packets_are_records_or_a_clear_error(
    tmp_path_factory: pytest.TempPathFactory, packets: list[tuple[int, int, bytes]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.pcapng"
    with PcapngWriter(path, BUS) as writer:
        for interface, kind, data in packets:
            writer.write((bytes([kind, 0]), data), 10**15, interface=interface)
    try:
        records = list(read_trace(str(path)))
    except WireError:
        return
    assert all(type(record.record) in TRACES.values() for record in records)
