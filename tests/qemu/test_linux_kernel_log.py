"""What the Linux driver's tests make of the kernel's log."""

import importlib.util
from pathlib import Path

import pytest

PATH = Path(__file__).resolve().parents[2] / "guest-tests/linux/kernel_log.py"


@pytest.fixture
def lines():
    return ["[ 1.0] of before"]


@pytest.fixture
def log(lines, monkeypatch):
    spec = importlib.util.spec_from_file_location("linux_kernel_log", PATH)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setattr("subprocess.check_output", lambda *_, **__: "\n".join(lines))
    spec.loader.exec_module(module)
    return module.LOG


def test_news_are_told_once(log, lines):
    log.check()
    lines.append("[ 2.0] trouble")
    with pytest.raises(AssertionError, match="trouble"):
        log.check()
    log.check()


def test_what_a_module_from_elsewhere_brings_along_is_no_news(log, lines):
    lines.append("[ 2.0] tlsnic: loading out-of-tree module taints kernel.")
    log.check()


def test_what_is_expected_must_come_once(log, lines):
    log.expect(r"queue \d timed out")
    lines.append("[ 2.0] queue 0 timed out")
    log.check()
    lines.append("[ 3.0] queue 0 timed out")
    with pytest.raises(AssertionError, match="queue 0"):
        log.check()


def test_what_is_expected_and_does_not_come_is_told(log):
    log.expect("timed out")
    with pytest.raises(AssertionError, match="not in the kernel's log: timed out"):
        log.check()
    log.check()


def test_one_line_is_expected_and_not_two(log, lines):
    log.expect("timed out")
    lines += ["[ 2.0] timed out", "[ 2.0] timed out again"]
    with pytest.raises(AssertionError, match="again"):
        log.check()
