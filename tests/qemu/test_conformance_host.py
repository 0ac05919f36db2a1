"""Two processes that share the suite on the host: one document, one report, one end."""

import json
import os
import signal
import subprocess
import sys

import pytest

from tlsnic.qemu.conformance_host import run_shares
from tlsnic.qemu.conformance_report import ROWS

# Prints and reports as the suite does, with what DEEDS has it do besides, by its share.
PROGRAM = """
import json, os, signal, sys
from pathlib import Path
from tlsnic.qemu.conformance_report import Report, Result, ktap_end, ktap_result, ktap_start

share, path = sys.argv[1], Path(sys.argv[3])
deed = json.loads(os.environ["DEEDS"]).get(share, "")
if deed == "break":
    sys.exit("cannot go on")
names = {"--share=1/2": ["a.py::x", "a.py::b", "c.py::x"], "--share=2/2": ["b.py::x"]}[share]
results = [Result(name, ("NET-01",), "passed", 0.1, "", {"share": share[8:]}) for name in names]
if deed == "fail":
    results[0] = Result("a.py::x", ("NET-01",), "failed", 0.1, "ok 7 times\\nbut wrong " + "!" * 99999)
report = Report({"side": "host"}, results, complete=False, not_applicable=[f"{deed}.py::g"])

def end(*_):
    path.write_text(json.dumps(report.to_json()))
    print(ktap_end(report), end="", flush=True)
    sys.exit(0 if report.ok else 3)

signal.signal(signal.SIGTERM, end)
print(ktap_start(len(results)), end="", flush=True)
for number, result in enumerate(results, 1):
    print(ktap_result(number, result), end="", flush=True)
while deed == "wait":
    signal.pause()
end()
"""
RUN = """
import sys
from pathlib import Path
from tlsnic.qemu.conformance_host import run_shares
run_shares([sys.executable, sys.argv[1]], Path(sys.argv[2]), 2)
"""


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return path


@pytest.fixture
def run(program, tmp_path, monkeypatch, capsys):
    def run_both(**deeds):
        named = {f"--share={name[-1]}/2": deed for name, deed in deeds.items()}
        monkeypatch.setenv("DEEDS", json.dumps(named))
        report, status = run_shares([sys.executable, str(program)], tmp_path, 2)
        return report, status, capsys.readouterr().out.splitlines()

    return run_both


def test_both_print_one_document(run):
    _, status, lines = run()
    assert status == 0
    assert lines[:2] == ["KTAP version 1", "1..4"]
    assert sum(line.startswith("KTAP") for line in lines) == 1
    numbers = [int(line.split()[1]) for line in lines if line.startswith("ok ")]
    assert numbers == [1, 2, 3, 4]
    for at, line in enumerate(lines):
        if line.startswith("ok "):
            assert lines[at - 1] == f"# share={2 if 'b.py::' in line else 1}/2"


def test_the_report_is_that_of_a_single_process(run):
    report, _, lines = run(share1="x", share2="y")
    names = ["a.py::x", "a.py::b", "b.py::x", "c.py::x"]
    assert [result.name for result in report.results] == names
    assert report.rows()["NET-01"] == {"status": "passed", "tests": names}
    assert report.environment == {"side": "host"}
    assert report.not_applicable == ["x.py::g", "y.py::g"]
    assert report.complete, "a row that neither has a test of is missing"
    assert report.count("failed") == len(ROWS) - 1
    assert lines[-1] == f"guest-tests: 4 passed, {len(ROWS) - 1} failed"


def test_what_fails_in_one_fails_and_is_explained(run):
    report, status, lines = run(share1="fail")
    assert status == 3
    assert report.rows()["NET-01"]["status"] == "failed"
    at = lines.index("# ok 7 times")
    assert lines[at + 1].startswith("# but wrong !!")
    assert lines[at + 2].startswith("not ok ")
    assert lines[at + 2].endswith(" NET-01 a.py::x")


@pytest.mark.parametrize("share", ["share1", "share2"])
def test_there_is_no_report_when_one_breaks_off(run, share):
    report, status, lines = run(**{share: "break"})
    assert report is None
    assert status == 1
    assert not any(line.startswith("guest-tests:") for line in lines)
    assert "ok 1 NET-01" in "\n".join(lines), "the other's results are shown all the same"


def test_ctrl_c_ends_both_in_order(program, tmp_path):
    deeds = {"--share=1/2": "wait", "--share=2/2": "wait"}
    words = [sys.executable, "-c", RUN, str(program), str(tmp_path)]
    both = subprocess.Popen(
        words, stdout=subprocess.PIPE, text=True, env={**os.environ, "DEEDS": json.dumps(deeds)}
    )
    with both:
        seen = [both.stdout.readline() for _ in range(2 + 2 * 4)]
        assert seen[-1].startswith("ok 4 ")
        children = _children(both.pid)
        both.send_signal(signal.SIGINT)
        rest = both.stdout.read().splitlines()
    assert len(children) == 2
    assert not [pid for pid in children if os.path.exists(f"/proc/{pid}")]
    assert rest[-1].startswith("guest-tests: 4 passed")
    assert both.returncode != 0


def _children(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(word) for word in file.read().split()]
