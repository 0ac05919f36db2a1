"""The capture stage and the wire that plays a capture."""

from __future__ import annotations

import io
import resource
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tlsnic.device.wire import (
    CapturedFrame,
    CaptureStage,
    Direction,
    MemoryWire,
    NullWire,
    Pace,
    PcapngReader,
    PcapngWire,
    PcapngWriter,
    Play,
    VnetHeader,
    Wire,
    WireError,
)

Write = Callable[[list[tuple[bytes, int, Direction]]], str]


def read(path: Path) -> list[CapturedFrame]:
    return list(PcapngReader(io.BytesIO(path.read_bytes()), str(path)))


def collect(wire: Wire, now_ns: int, budget: int = 100) -> list[bytes]:
    frames: list[bytes] = []
    count = wire.receive(lambda view, _: frames.append(bytes(view)), budget, now_ns)
    assert count == len(frames)
    return frames


@pytest.fixture
def written(tmp_path: Path) -> Write:
    """Makes a capture of (frame, time, direction); returns its path."""

    def write(frames: list[tuple[bytes, int, Direction]]) -> str:
        path = str(tmp_path / "in.pcapng")
        with PcapngWriter(path) as writer:
            for frame, when_ns, direction in frames:
                writer.write((frame,), when_ns, direction)
        return path

    return write


def test_capture_holds_both_directions_and_passes_everything_on(tmp_path: Path) -> None:
    inner = MemoryWire(takes_super_frames=True)
    path = tmp_path / "c.pcapng"
    header = VnetHeader(flags=1, gso_type=1, gso_size=1448)
    with CaptureStage(inner, str(path), epoch_ns=10**18) as wire:
        assert wire.takes_super_frames
        assert wire.send((b"se", b"nt"), header, 5)
        inner.inject(b"received", header)
        got = []
        wire.receive(lambda view, vnet: got.append((bytes(view), vnet)), 10, 9)
    assert got == [(b"received", header)]
    assert inner.sent == [(b"sent", header, 5)]
    assert [(f.data, f.timestamp_ns, f.direction) for f in read(path)] == [
        (b"sent", 10**18 + 5, Direction.OUTBOUND),
        (b"received", 10**18 + 9, Direction.INBOUND),
    ]


def test_capture_skips_frames_that_were_refused_or_sent_into_a_dead_link(tmp_path: Path) -> None:
    inner = MemoryWire()
    path = tmp_path / "c.pcapng"
    with CaptureStage(inner, str(path)) as wire:
        inner.blocked = True
        assert not wire.send((b"refused",), None, 0)
        inner.blocked = False
        inner.set_link(False)
        assert wire.send((b"dropped",), None, 0)
        inner.set_link(True)
        assert wire.send((b"sent",), None, 0)
    assert [frame.data for frame in read(path)] == [b"sent"]


def test_capture_is_complete_on_disk_when_the_wire_is_idle(tmp_path: Path) -> None:
    path = tmp_path / "c.pcapng"
    with CaptureStage(NullWire(), str(path)) as wire:
        wire.send((b"x" * 60,), None, 0)
        collect(wire, 1)
        assert len(read(path)) == 1


def test_full_disk_ends_the_capture_and_not_the_wire() -> None:
    inner = MemoryWire()
    with CaptureStage(inner, "/dev/full") as wire:
        for _ in range(100):
            assert wire.send((bytes(1500),), None, 0)
        collect(wire, 1)
    assert len(inner.sent) == 100
    assert [event.name for event in wire.events] == ["capture-ended"]
    assert "No space left" in wire.events[0].detail


def test_capture_cut_off_by_a_size_limit_stays_readable(tmp_path: Path) -> None:
    path = tmp_path / "c.pcapng"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with CaptureStage(NullWire(), str(path)) as wire:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
            for number in range(200):
                wire.send((bytes([number]) * 1000,), None, 0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert [event.name for event in wire.events] == ["capture-ended"]
    frames = read(path)
    assert 50 < len(frames) < 100
    assert frames[-1].data == bytes([len(frames) - 1]) * 1000


def test_capture_that_cannot_start_leaves_the_wire_to_its_owner(tmp_path: Path) -> None:
    inner = MemoryWire()
    with pytest.raises(WireError, match="cannot write"):
        CaptureStage(inner, str(tmp_path / "absent" / "c.pcapng"))
    assert inner.link_up


def test_replay_keeps_recorded_distances_on_the_callers_clock(written: Write) -> None:
    start = 1_700_000_000 * 10**9
    path = written(
        [
            (b"first", start, Direction.INBOUND),
            (b"second", start + 1000, Direction.INBOUND),
            (b"third", start + 1000, Direction.UNKNOWN),
            (b"fourth", start + 5000, Direction.INBOUND),
        ]
    )
    with PcapngWire(path) as wire:
        assert wire.next_deadline_ns() == 0
        assert collect(wire, 50) == [b"first"]
        assert wire.next_deadline_ns() == 1050
        assert collect(wire, 1049) == []
        assert collect(wire, 1050, budget=1) == [b"second"]
        assert collect(wire, 1050) == [b"third"]
        assert not wire.finished
        assert collect(wire, 99_999) == [b"fourth"]
        assert wire.finished
        assert wire.next_deadline_ns() is None
        assert [event.name for event in wire.events] == ["replay-finished"]
        assert wire.link_up


def test_replay_as_fast_as_possible_ignores_times(written: Write) -> None:
    path = written([(bytes([n]), n * 10**9, Direction.INBOUND) for n in range(5)])
    with PcapngWire(path, pace=Pace.FAST) as wire:
        assert collect(wire, 0, budget=3) == [b"\0", b"\1", b"\2"]
        assert wire.next_deadline_ns() == 0
        assert collect(wire, 0) == [b"\3", b"\4"]


@pytest.mark.parametrize(
    ("play", "expected"),
    [
        (Play.INBOUND, [b"in", b"unmarked"]),
        (Play.OUTBOUND, [b"out", b"unmarked"]),
        (Play.ALL, [b"in", b"out", b"unmarked"]),
    ],
)
def test_replay_chooses_by_direction(written: Write, play: Play, expected: list[bytes]) -> None:
    path = written(
        [
            (b"in", 0, Direction.INBOUND),
            (b"out", 0, Direction.OUTBOUND),
            (b"unmarked", 0, Direction.UNKNOWN),
        ]
    )
    with PcapngWire(path, play=play, pace=Pace.FAST) as wire:
        assert collect(wire, 0) == expected


def test_replay_writes_what_is_sent(written: Write, tmp_path: Path) -> None:
    out = tmp_path / "out.pcapng"
    with PcapngWire(written([]), out=str(out)) as wire:
        assert wire.finished
        assert wire.send((b"an", b"swer"), None, 42)
        with pytest.raises(ValueError, match="virtio-net"):
            wire.send((b"super",), VnetHeader(gso_type=1), 0)
    (frame,) = read(out)
    assert (frame.data, frame.timestamp_ns, frame.direction) == (b"answer", 42, Direction.OUTBOUND)


def test_a_captured_run_replays_its_input(tmp_path: Path) -> None:
    inner = MemoryWire()
    path = str(tmp_path / "c.pcapng")
    with CaptureStage(inner, path) as wire:
        for number in range(10):
            inner.inject(bytes([number]) * 60)
            wire.send((b"noise" * 12,), None, number * 100)
            collect(wire, number * 100)
    with PcapngWire(path) as replay:
        played = []
        now_ns = 0
        while (due_ns := replay.next_deadline_ns()) is not None:
            now_ns = max(now_ns, due_ns)
            played += [(now_ns, frame) for frame in collect(replay, now_ns)]
    assert played == [(number * 100, bytes([number]) * 60) for number in range(10)]


def test_replay_skips_and_counts_what_cannot_be_played(written: Write, tmp_path: Path) -> None:
    path = written([(b"x" * 80_000, 0, Direction.INBOUND), (b"good", 0, Direction.INBOUND)])
    with PcapngWire(path) as wire:
        assert collect(wire, 0) == [b"good"]
        assert wire.skipped_frames == 1
        assert [event.name for event in wire.events] == ["replay-frame-skipped", "replay-finished"]


def test_replay_stops_at_damage_with_a_diagnostic(written: Write) -> None:
    path = written([(b"good", 0, Direction.INBOUND)])
    with open(path, "ab") as file:
        file.write(b"junk")
    with PcapngWire(path) as wire:
        assert collect(wire, 0) == [b"good"]
        assert [event.name for event in wire.events] == ["replay-damaged", "replay-finished"]


def test_replay_of_no_capture_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("this is no capture")
    with pytest.raises(WireError, match="no pcapng"):
        PcapngWire(str(path))
    with pytest.raises(WireError, match="No such file"):
        PcapngWire(str(tmp_path / "absent"))
