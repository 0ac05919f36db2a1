"""The figures of a real run are those that its own program prints: examples/receive.py."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from needs import needs_programs, needs_taps

from tlsnic.device.timeline.html import make_page
from tlsnic.device.timeline.model import Fate
from tlsnic.device.timeline.reading import read_flows
from tlsnic.device.timeline.summary import describe, shares, summarize
from tlsnic.device.trace.reader import read_trace

ROOT = Path(__file__).resolve().parents[3]
MOST_S = 300
KEY_LOG = re.compile(r"[0-9a-f]{64,}")

pytestmark = [
    pytest.mark.root,
    needs_taps,
    needs_programs("ip", "openssl"),
    pytest.mark.usefixtures("libvfio_user"),
]


def assert_numbered_as_in_wireshark(flow, capture):
    if shutil.which("tshark") is None:
        return
    some = flow.packets[50 :: len(flow.packets) // 5]
    wanted = " || ".join(f"frame.number == {packet.frame}" for packet in some)
    fields = ("-e", "frame.number", "-e", "tcp.seq_raw", "-e", "tcp.len")
    argv = ["tshark", "-r", str(capture), "-Y", wanted, "-T", "fields", *fields]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=MOST_S, check=True)
    found = {tuple(map(int, line.split())) for line in done.stdout.splitlines()}
    assert found == {
        (one.frame, one.begin + flow.start_sequence & 0xFFFF_FFFF, one.end - one.begin)
        for one in some
    }


@pytest.mark.parametrize("resync", ["host", "hints"])
def test_the_same_shares_as_the_one_who_read_the_stream(tmp_path, resync):
    # 1 MB is less than the receive ring holds: the card drops nothing for want of buffers.
    command = [sys.executable, str(ROOT / "examples/receive.py"), "--size", "1", "--loss", "2"]
    command += ["--versions", "1.3", "--resync", resync, "--bus", "--pcap", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=MOST_S, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    printed = re.search(r"records +(.*)", done.stdout)[1]
    (flow,) = read_flows(read_trace(str(tmp_path / "tls1.3.card.pcapng")))
    assert shares(flow) == printed
    decrypted, other = map(
        int, re.search(r"card +(\d+) packets decrypted, (\d+) not", done.stdout).groups()
    )
    figures = summarize(flow)
    assert figures["packets"].get("DECRYPTED", 0) == decrypted
    assert figures["packets"].get("AS_ON_WIRE", 0) == other
    asked = int(re.search(r"resync +(\d+) questions", done.stdout)[1])
    assert figures["questions"]["asked"] == asked
    assert flow.suite.startswith("TLS13_")
    assert flow.remote.startswith("10.")
    assert [record.number for record in flow.records] == list(range(len(flow.records)))
    assert not set(flow.bytes_by_fate()) & {Fate.MISSING, Fate.UNFRAMED, Fate.DROPPED}
    assert_numbered_as_in_wireshark(flow, tmp_path / "tls1.3.card.pcapng")
    # No key is in anything that is shown.
    keys = set(KEY_LOG.findall((tmp_path / "tls1.3.keys").read_text()))
    assert len(keys) > 2
    shown = describe(flow) + json.dumps(figures) + make_page([flow], "run")
    assert not any(key in shown for key in keys)
