"""`tlsnic timeline` on files."""

import json

import pytest
from trace_bench import Receiving, lossy, sending

from tlsnic.abi.structures import TraceFrame
from tlsnic.device.timeline import command
from tlsnic.device.trace.capture import CaptureFile
from tlsnic.qemu import cli

TLSNIC = {"timeline": cli.COMMANDS["timeline"]}


@pytest.fixture(scope="module")
def capture(tmp_path_factory):
    path = tmp_path_factory.mktemp("capture") / "card.pcapng"
    trace = lossy(12, loss=0.03, seed=2).finish()
    start_ns = trace[0][0]
    sent, _ = sending()
    file = CaptureFile(str(path))
    for time_ns, record, data in [*trace, *sent]:
        if not isinstance(record, TraceFrame):
            record = record._replace(handle=record.handle + (record.direction == 0))
        file.put(record._replace(now_ns=time_ns - start_ns), data)
    file.close()
    return path


def run(capsys, *words):
    status = cli.main(["timeline", *map(str, words)], TLSNIC)
    return status, capsys.readouterr()


def test_figures(capture, capsys):
    status, shown = run(capsys, capture)
    assert status == 0
    assert "receive 10.9.0.1:4433 ← 10.9.0.2:50123, TLS13_AES_128_GCM" in shown.out
    assert "records  12: " in shown.out
    status, shown = run(capsys, capture, "--json")
    receive, transmit = json.loads(shown.out)
    assert receive["records"] == receive["complete_records"] == 12
    assert sum(receive["bytes"].values()) == receive["stream_bytes"] == 12 * 16406
    assert transmit["bytes"]["ENCRYPTED"] > 0
    assert transmit["direction"] == "transmit"


@pytest.mark.parametrize(
    ("wanted", "handles"),
    [
        ("0x40001", [0x40001]),
        ("tx", [0x40002]),
        ("4433", [0x40001, 0x40002]),
        ("10.9.0.2", [0x40001, 0x40002]),
    ],
)
def test_flows_by_name(capture, capsys, wanted, handles):
    _, shown = run(capsys, capture, "--json", "--flow", wanted)
    assert [one["handle"] for one in json.loads(shown.out)] == handles


def test_files(capture, capsys, tmp_path):
    page, picture = tmp_path / "a.html", tmp_path / "a.png"
    status, shown = run(capsys, capture, "-o", page, "-o", picture, "--window", "0:2.5")
    assert (status, shown.out, shown.err) == (0, "", "")
    assert page.read_text().startswith("<!doctype html>")
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "a-2.png").exists()


def test_what_can_be_wrong(capture, capsys, tmp_path):
    wire_only = tmp_path / "wire.pcapng"
    file = CaptureFile(str(wire_only))
    receiving = Receiving([100])
    receiving.lose(0, 50)
    file.put(receiving.trace[1][1], receiving.trace[1][2])
    file.close()
    (tmp_path / "text").write_text("no capture")
    for words, told in (
        ([tmp_path / "none.pcapng"], "cannot read"),
        ([tmp_path / "text"], "pcapng"),
        ([wire_only], "no TLS flows; fix: capture with"),
        ([capture, "--flow", "9"], "no flow is 9; fix: choose of: 0x40001"),
        ([capture, "-o", "x.gif"], "neither .png nor .html"),
        ([capture, "-o", tmp_path / "no/x.html"], "cannot write"),
        ([capture, "--window", "5:2"], "no span of time"),
        ([capture, "--window", "x"], "no span of time"),
    ):
        status, shown = run(capsys, *words)
        assert status == 1, words
        assert told in shown.err
        assert shown.err.count("\n") == 1


def test_an_error_says_how_to_mend_it():
    error = command.TimelineError("it is wrong", "do that")
    assert str(error) == "it is wrong; fix: do that"
