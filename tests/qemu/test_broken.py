"""The bugs of examples/broken.py can be found as docs/debugging.md tells."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from needs import needs_programs, needs_taps

from tlsnic.device.timeline.reading import read_flows
from tlsnic.device.trace.reader import read_trace

ROOT = Path(__file__).resolve().parents[2]
RECORD_BYTES = 8192 + 22
"""Of `openssl s_client`, which reads its input in pieces of 8 KiB."""
pytestmark = [
    pytest.mark.root,
    needs_taps,
    needs_programs("ip", "openssl"),
    pytest.mark.usefixtures("libvfio_user"),
]


def run_broken(bug, folder):
    """Exit status and messages of a receive that was captured and recorded.

    It ends with the bug's first effect. With 20 MB there is one also when answers are late.
    """
    argv = [sys.executable, str(ROOT / "examples/broken.py"), bug, "--size", "20"]
    argv += ["--versions", "1.3", "--resync", "host"]
    argv += ["--pcap", str(folder), "--bus", "--record"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
    return done.returncode, done.stderr


def history(folder):
    """The flow's last events, from a replay that stops where the card gives up."""
    argv = [sys.executable, "-m", "tlsnic.qemu.cli", "replay", str(folder / "tls1.3.record")]
    argv += ["--until", "HALTED", "--json", "-c", "flow 0x40000 history"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
    assert "all as recorded" in done.stdout + done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("{")]
    return json.loads(line)["result"], done.stdout + done.stderr


def numbers(events):
    """Where records start that the host named: the number it gave, and the right one."""
    start = next(event["tcp_sequence"] for event in events if event["event"] == "CREATED")
    return [
        (event["record_number"], (event["tcp_sequence"] - start & 0xFFFF_FFFF) / RECORD_BYTES)
        for event in events
        if event["event"] == "ANSWERED"
    ]


def test_answers_that_are_off_by_one_show_in_the_history_of_the_flow(tmp_path):
    status, _ = run_broken("answers", tmp_path)
    assert status == 1
    events, _ = history(tmp_path)
    # The card halts the flow, unless the stack gives the connection up before a whole record came.
    assert events[-1]["event"] in ("HALTED", "RESET")
    *_, (given, right) = numbers(events)
    assert right == given + 1


def test_marks_that_are_mixed_up_are_not_the_cards(tmp_path):
    status, _ = run_broken("marks", tmp_path)
    assert status == 1
    events, said = history(tmp_path)
    assert "HALTED is not in the record" in said
    assert all(given == right for given, right in numbers(events))
    (flow,) = read_flows(read_trace(tmp_path / "tls1.3.card.pcapng"))
    assert {packet.outcome.name for packet in flow.packets} == {"AS_ON_WIRE", "DECRYPTED"}


def test_a_wrong_presync_block_is_named_by_the_card(tmp_path):
    argv = [sys.executable, str(ROOT / "examples/broken.py"), "presync", "--size", "2"]
    argv += ["--versions", "1.3", "--pcap", str(tmp_path)]
    # What the example makes lies in a folder of its own, where its control socket is found.
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        example = subprocess.Popen(argv, env={**os.environ, "TMPDIR": folder})
        try:
            assert refuses(Path(folder))
        finally:
            example.terminate()  # a background job may have been told to ignore SIGINT
            assert example.wait(60) in (1, 130)  # 1: it has given up by itself meanwhile


def refuses(folder):
    """Whether the running card says that it refused presync blocks."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for control in folder.glob("*/*.control"):
            argv = [sys.executable, "-m", "tlsnic.qemu.cli", "shell", "--control", str(control)]
            argv += ["--json", "-c", "diagnostics"]
            done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
            if done.returncode == 0:
                counts = json.loads(done.stdout)["result"]["counts"]
                if "TLS_PRESYNC" in counts:
                    return True
        time.sleep(0.1)
    return False
