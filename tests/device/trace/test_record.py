"""Record files: what is in them, what is not, and what a reader says of files that are no good."""

import random
import stat
from pathlib import Path

import pytest
from trace_rig import cards, receive_rig, replay, traced_rigs

from tlsnic.abi.enums import DeviceInput
from tlsnic.abi.structures import TraceDmaRead, TraceInput
from tlsnic.device.trace.capture import CaptureFile
from tlsnic.device.trace.record import NotARecord, RecordFile, RecordReader, Seal
from tlsnic.device.wire import WireError


def write_life(path):
    """A record of a short life with a TLS flow; the flow's keys."""
    with traced_rigs():
        one, wire, _ = receive_rig.begun(3000, 100, 5000)
        one.feed(wire)
        (card,) = cards
        cards.clear()
    sink = RecordFile(str(path))
    for recorded in card.sink:
        sink.put(recorded.record, recorded.data)
    sink.close()
    return [key for key in wire.keys if key]


def test_a_file_has_all_that_its_sink_got(tmp_path):
    path = tmp_path / "life.record"
    write_life(path)
    reader = RecordReader(str(path))
    again = replay(reader)
    assert reader.damage is None
    assert again.progress.inputs > 50


def test_no_key_is_in_the_file(tmp_path):
    path = tmp_path / "life.record"
    keys = write_life(path)
    data = path.read_bytes()
    assert len(keys) == 2
    for key in keys:
        for at in range(len(key) - 7):
            assert key[at : at + 8] not in data
    seal = bytes.fromhex(Path(f"{path}.key").read_text())
    assert seal not in data
    assert seal.hex().encode() not in data


def test_only_the_owner_may_read(tmp_path):
    path = tmp_path / "life.record"
    (tmp_path / "life.record.key").write_text("an older one")
    (tmp_path / "life.record.key").chmod(0o644)
    write_life(path)
    for name in ("life.record", "life.record.key"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


def test_a_file_that_others_could_read_is_closed_to_them(tmp_path):
    path = tmp_path / "life.record"
    for make in (RecordFile, CaptureFile):
        path.touch(mode=0o644)
        path.chmod(0o644)
        make(str(path)).close()
        assert path.stat().st_mode & 0o777 == 0o600


def test_a_cut_file_is_read_as_far_as_it_goes(tmp_path):
    path = tmp_path / "life.record"
    write_life(path)
    data = path.read_bytes()
    for size in random.Random(1).sample(range(2000, len(data) - 1), 15):
        path.write_bytes(data[:size])
        reader = RecordReader(str(path))
        again = replay(reader)
        assert reader.damage
        assert again.progress.number > 4


def test_the_key_is_asked_for_only_when_it_is_needed(tmp_path):
    path = tmp_path / "life.record"
    write_life(path)
    key = tmp_path / "life.record.key"
    other = tmp_path / "other.key"
    key.rename(other)
    replay(RecordReader(str(path), str(other)))
    with pytest.raises(WireError, match=r"keys are sealed.*life.record.key.*--key"):
        replay(RecordReader(str(path)))
    key.write_text("00" * 32)
    with pytest.raises(WireError, match="key of another record"):
        replay(RecordReader(str(path)))
    key.write_text("what")
    with pytest.raises(WireError, match="no key of a record"):
        replay(RecordReader(str(path)))


def test_a_changed_seal_is_found():
    seal = Seal(bytes(range(32)))
    record = TraceDmaRead(address=4096, length=5)
    sealed = seal.close(record, b"12345")
    assert seal.open(record, sealed) == b"12345"
    for other, data in (
        (record, sealed[:-1] + b"\0"),
        (record, sealed[:5]),
        (record._replace(address=0), sealed),
    ):
        with pytest.raises(WireError, match="was changed"):
            seal.open(other, data)


def test_files_that_are_no_records(tmp_path):
    path = tmp_path / "file"
    with pytest.raises(WireError, match="No such file"):
        RecordReader(str(path))
    for content in (b"", b"hello, world", bytes(1000)):
        path.write_bytes(content)
        with pytest.raises(NotARecord, match="is no record"):
            RecordReader(str(path))
    capture = CaptureFile(str(path))
    capture.put(TraceInput(input=DeviceInput.MARK), b"here")
    capture.close()
    with pytest.raises(NotARecord, match="perhaps a capture"):
        RecordReader(str(path))


def test_another_format_is_named(tmp_path, monkeypatch):
    path = str(tmp_path / "file")
    with monkeypatch.context() as newer:
        newer.setattr("tlsnic.device.trace.record.FORMAT", 9)
        sink = RecordFile(path)
        sink.put(TraceInput(input=DeviceInput.START))
        sink.close()
    with pytest.raises(NotARecord, match="of format 9; this version reads 1"):
        RecordReader(path)


def test_a_place_that_cannot_be_written(tmp_path):
    with pytest.raises(WireError, match="choose another place"):
        RecordFile(str(tmp_path / "none" / "file"))
