"""Traces to a client, and captures: begun, ended, behind, and gone."""

import os

import pytest
from control_rig import inspector_of
from rig import Rig

from tlsnic.abi import registers as r
from tlsnic.abi.enums import DeviceInput, TraceFlags, TraceType
from tlsnic.abi.structures import TRACES
from tlsnic.device.control import ControlError
from tlsnic.device.trace.reader import read_trace
from tlsnic.device.trace.record import KEY_SUFFIX, RecordFile, RecordReader


class Listener:
    """A client."""

    def __init__(self):
        self.events = []
        self.behind = False
        self.gone = []

    def send_event(self, event):
        if not self.behind:
            self.events.append(event)
        return not self.behind

    def when_closed(self, callback):
        self.gone.append(callback)

    def records(self):
        """What came since."""
        taken, self.events = self.events, []
        assert all(event["event"] == "trace" for event in taken)
        found = []
        for event in taken:
            for record in event["records"]:
                raw = bytes.fromhex(record["bytes"])
                cls = TRACES[int.from_bytes(raw[:2], "little")]
                found.append((cls.unpack_from(raw), bytes.fromhex(record["data"])))
        return found


@pytest.fixture
def listener():
    return Listener()


@pytest.fixture
def start(inspector, listener):
    return lambda **params: inspector.call("trace.start", params, listener)


def flush(inspector):
    inspector.cards[0].tracer.flush()


def fails(name, call, method, **params):
    with pytest.raises(ControlError) as caught:
        call(method, **params)
    assert caught.value.name == name


def test_records_come_until_the_trace_is_stopped(rig, inspector, listener, start, call):
    start(filter={"types": ["REGISTER_WRITE", "INPUT"]})
    card = inspector.cards[0]
    call("registers.write", offset=r.MAX_FRAME, value=1514)
    call("registers.read", offset=r.STATUS)
    assert call("device.mark", text="here") == {"taken": True}
    flush(inspector)
    records = listener.records()
    assert {record.type for record, _ in records} == {TraceType.REGISTER_WRITE, TraceType.INPUT}
    (write,) = [record for record, _ in records if record.type == TraceType.REGISTER_WRITE]
    assert (write.offset, write.value) == (r.MAX_FRAME, 1514)
    marks = [data for record, data in records if record.type == TraceType.INPUT and data]
    assert marks == [b"here"]
    assert inspector.call("trace.stop", {}, listener) == {"stopped": True}
    assert card.core is rig.nic
    assert inspector.call("trace.stop", {}, listener) == {"stopped": False}
    assert call("device.mark", text="nobody hears") == {"taken": False}


def test_data_is_cut(rig, inspector, listener, start):
    start(snap=10, filter={"types": ["DMA_READ"]})
    inspector.cards[0].core.advance(rig.now_ns)
    rig.send(rig.queue, bytes(range(60)))
    inspector.cards[0].core.write(2, rig.queue.doorbell, 4, rig.queue.tail)
    inspector.cards[0].core.poll(rig.now_ns)
    flush(inspector)
    records = listener.records()
    assert max(len(data) for _, data in records) == 10
    cut = [record for record, data in records if len(data) < record.length]
    assert cut
    assert all(record.flags & TraceFlags.TRUNCATED for record in cut)


def test_a_client_that_is_behind_is_told_what_it_lost(rig, inspector, listener, start, call):
    start(filter={"types": ["REGISTER_READ"]})
    listener.behind = True
    for _ in range(200):
        call("registers.read", offset=r.STATUS)
    flush(inspector)
    listener.behind = False
    call("registers.read", offset=r.STATUS)
    flush(inspector)
    (event,) = listener.events
    assert (event["lost"], len(event["records"])) == (200, 1)


def test_a_client_that_goes_takes_its_trace_along(rig, inspector, listener, start):
    start()
    start(filter=None)  # in place of the first
    assert len(inspector.cards[0].tracer.sinks) == 1
    for callback in listener.gone:
        callback()
    assert inspector.cards[0].core is rig.nic
    assert inspector.cards[0].listeners == {}


@pytest.mark.parametrize(
    "given", [{"types": ["X"]}, {"types": "INPUT"}, {"kinds": []}, {"types": [[]]}]
)
def test_bad_filters(rig, inspector, start, given):
    with pytest.raises(ControlError, match="filter"):
        start(filter=given)
    assert not inspector.cards[0].tracer.sinks


def test_somebody_must_listen(call):
    fails("UNAVAILABLE", call, "trace.start")


def test_a_capture(rig, inspector, call, tmp_path):
    path = str(tmp_path / "run.pcapng")
    assert call("capture.start", path=path) == {"path": path}
    assert call("capture.list")[0]["running"]
    fails("CONFLICT", call, "capture.start", path=str(tmp_path / "." / "run.pcapng"))
    call("registers.write", offset=r.MAX_FRAME, value=1514)
    stopped = call("capture.stop")
    assert stopped["packets"] > 0
    assert stopped["bytes"] == os.path.getsize(path)
    assert os.stat(path).st_mode & 0o777 == 0o600
    records = [record for _, record, _ in read_trace(path)]
    assert r.MAX_FRAME in [getattr(record, "offset", None) for record in records]
    assert call("capture.list") == []
    assert inspector.cards[0].core is rig.nic


def test_captures_end_with_the_inspector(rig, inspector, call, tmp_path, listener, start):
    start()
    path = str(tmp_path / "run.pcapng")
    call("capture.start", path=path, interfaces=["device"])
    call("device.mark", text="the end")
    inspector.close()
    assert inspector.cards[0].core is rig.nic
    marks = [data for _, record, data in read_trace(path) if record.input == DeviceInput.MARK]
    assert marks == [b"the end"]


def test_several_captures_need_a_path(call, tmp_path):
    paths = [str(tmp_path / name) for name in "ab"]
    for path in paths:
        call("capture.start", path=path)
    fails("CONFLICT", call, "capture.stop")
    assert [call("capture.stop", path=path)["path"] for path in paths] == paths
    fails("NOT_FOUND", call, "capture.stop")


def test_captures_that_cannot_be(call, tmp_path):
    fails("BAD_PARAMETER", call, "capture.start", path="run.pcapng")
    fails("BAD_PARAMETER", call, "capture.start", path="/tmp/\0")
    fails("BAD_PARAMETER", call, "capture.start", path=str(tmp_path / "x"), interfaces=["usb"])
    fails("BAD_PARAMETER", call, "capture.start", path=str(tmp_path / "x"), interfaces=[[]])
    fails("FAILED", call, "capture.start", path=str(tmp_path / "none" / "x"))
    os.mkfifo(tmp_path / "fifo")
    fails("FAILED", call, "capture.start", path=str(tmp_path / "fifo"))
    fails("FAILED", call, "capture.start", path=str(tmp_path))
    assert call("capture.list") == []


def test_no_capture_is_written_over_a_record(inspector, call, tmp_path):
    path = str(tmp_path / "life.record")
    record = RecordFile(path)
    inspector.cards[0].tracer.add(record)
    for taken in (path, path + KEY_SUFFIX):
        fails("CONFLICT", call, "capture.start", path=taken)
    inspector.cards[0].tracer.remove(record)
    record.close()
    assert list(RecordReader(path))


def test_two_cards_are_traced_apart(listener):
    inspector = inspector_of(Rig(), Rig())
    inspector.call("trace.start", {"card": 1}, listener)
    inspector.call("registers.read", {"card": 0, "offset": r.STATUS})
    inspector.cards[1].tracer.flush()
    listener.records()
    inspector.call("registers.read", {"card": 1, "offset": r.STATUS})
    inspector.cards[1].tracer.flush()
    assert {record.card for record, _ in listener.records()} == {1}
