"""Parts of the suite as processes of their own: order, results, and an end before their time."""

import asyncio
import json
import sys
import time

import pytest

from tlsnic.qemu import conformance_parts
from tlsnic.qemu.conformance_parts import Lane, Part
from tlsnic.qemu.conformance_report import Report, Result

PARTS = [Part("one", "the first"), Part("two", "the second")]

PROGRAM = """
import json, os, sys, time
words = sys.argv
part, path = words[words.index("--part") + 1], words[words.index("--json") + 1]
print(part, "with", words[-1], flush=True)
while part == "two" and "wait" in words:
    time.sleep(0.05)
with open(path, "w") as file:
    file.write(REPORT)
sys.exit(3 if part == "two" else 0)
"""


@pytest.fixture
def program(tmp_path, monkeypatch):
    """A stand-in for the command line, which says what it was asked for and reports."""
    report = Report({}, [Result("a", ("LNX-01",), "passed", 0.1)], complete=False)
    path = tmp_path / "program.py"
    path.write_text(PROGRAM.replace("REPORT", repr(json.dumps(report.to_json()))))
    real = conformance_parts.Child

    def child(words, **options):
        assert words[:3] == [sys.executable, "-m", "tlsnic.qemu.cli"]
        return real([sys.executable, str(path), *words[3:]], **options)

    monkeypatch.setattr(conformance_parts, "Child", child)
    return report


def test_parts_run_one_after_the_other(program, tmp_path):
    with Lane(PARTS, ["--accel", "tcg"], tmp_path) as lane:
        asyncio.run(lane.ended())
        for part, wanted in zip(PARTS, (0, 3), strict=True):
            report, status, output = lane.outcome(part)
            assert status == wanted
            assert report is not None
            assert report.results == program.results
            assert output == f"{part.name} with tcg\n".encode()


def test_leaving_ends_what_runs_and_starts_no_more(program, tmp_path):
    started_s = time.monotonic()
    with Lane(PARTS, ["wait"], tmp_path) as lane:
        while not (tmp_path / "two.output").exists():
            time.sleep(0.01)
    assert time.monotonic() - started_s < 10
    assert lane.outcome(PARTS[0])[1] == 0
    assert lane.outcome(PARTS[1])[0] is None


def test_a_part_that_never_ran_has_failed(program, tmp_path):
    with Lane([], [], tmp_path) as lane:
        asyncio.run(lane.ended())
    report, status, output = lane.outcome(PARTS[0])
    assert (report, output) == (None, b"")
    assert status == 1
