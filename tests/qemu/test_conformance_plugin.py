"""The suite's hooks in a real pytest: what counts as passed, deadlines, rows, reports."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SUITE = Path(__file__).resolve().parents[2] / "guest-tests"


@pytest.fixture
def run(tmp_path):
    """Runs a test file with the harness of guest-tests, without a device; the JSON report."""
    for name in ("harness", "conftest.py", "pytest.ini"):
        copy = shutil.copytree if (SUITE / name).is_dir() else shutil.copy
        copy(SUITE / name, tmp_path / name)

    def run_suite(body, *options):
        (tmp_path / "test_it.py").write_text(f"import pytest, time\n{body}\n")
        report = tmp_path / "report.json"
        words = ["-c", str(tmp_path / "pytest.ini"), "--rootdir", str(tmp_path)]
        words += ["-p", "no:xdist", "--ktap", "--conformance-json", str(report), *options]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *words, str(tmp_path)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        data = json.loads(report.read_text()) if report.exists() else {}
        return done, data

    return run_suite


ROW = "@pytest.mark.row('NET-01')\n"
GOOD = f"{ROW}def test_good(): pass\n"


def test_all_good(run):
    done, data = run(GOOD, "-k", "good")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "KTAP version 1",
        "1..1",
        "ok 1 NET-01 test_it.py::test_good",
        "# Totals: pass:1 fail:0 xfail:0 xpass:0 skip:0 error:0",
        "guest-tests: 1 passed, 0 failed",
    ]
    assert data["rows"] == {"NET-01": {"status": "passed", "tests": ["test_it.py::test_good"]}}


BAD = {
    "assertion": f"{ROW}def test_bad(): assert 1 == 2",
    "exception": f"{ROW}def test_bad(): 1 / 0",
    "exit": f"{ROW}def test_bad(): raise SystemExit(0)",
    "set-up": (
        "@pytest.fixture\ndef broken(): assert False\n" + f"{ROW}def test_bad(broken): pass"
    ),
    "clean-up": (
        "@pytest.fixture\ndef leaky():\n    yield\n    assert False, 'leak'\n"
        + f"{ROW}def test_bad(leaky): pass"
    ),
    "expected failure": f"@pytest.mark.xfail\n{ROW}def test_bad(): assert False",
    "unexpected success": f"@pytest.mark.xfail\n{ROW}def test_bad(): pass",
    "skip then clean-up": (
        "@pytest.fixture\ndef leaky():\n    yield\n    assert False, 'leak'\n"
        + f"{ROW}def test_bad(leaky): pytest.skip('why')"
    ),
    "deadline": f"@pytest.mark.deadline(0.1)\n{ROW}def test_bad(): time.sleep(20)",
    "deadline behind a catch-all": (
        f"@pytest.mark.deadline(0.1)\n{ROW}def test_bad():\n"
        "    while True:\n        try: time.sleep(20)\n        except Exception: pass"
    ),
    "warning": f"{ROW}def test_bad():\n    import warnings\n    warnings.warn('x')",
}


@pytest.mark.parametrize("case", BAD)
def test_what_must_not_count_as_passed(run, case):
    done, data = run(GOOD + BAD[case], "-k", "good or bad")
    assert done.returncode != 0
    assert data["rows"]["NET-01"]["status"] == "failed"
    assert (data["passed"], data["failed"]) == (1, 1)
    assert "not ok 2 NET-01 test_it.py::test_bad" in done.stdout
    assert done.stdout.splitlines()[-1] == "guest-tests: 1 passed, 1 failed"


def test_a_skip_is_no_pass(run):
    done, data = run(GOOD + f"{ROW}def test_s(): pytest.skip('no such thing')", "-k", "good or s")
    assert done.returncode == 0
    assert data["rows"]["NET-01"]["status"] == "skipped"
    assert "ok 2 NET-01 test_it.py::test_s # SKIP no such thing" in done.stdout
    assert done.stdout.splitlines()[-1] == "guest-tests: 1 passed, 0 failed, 1 skipped"


def test_rows_choose(run):
    body = GOOD + "@pytest.mark.row('BUS-02')\ndef test_other(): assert False"
    done, data = run(body, "--rows", "NET")
    assert done.returncode == 0
    assert list(data["rows"]) == ["NET-01"]
    done, _ = run(body, "--rows", "NET-11")
    assert done.returncode == 4
    assert "no row or group" in done.stderr


@pytest.mark.parametrize(("share", "names"), [("1/2", ["test_it"]), ("2/2", ["test_more"])])
def test_a_share_has_every_second_file_and_misses_no_row(run, tmp_path, share, names):
    (tmp_path / "test_more.py").write_text(f"import pytest\n{GOOD}")
    done, data = run(GOOD, "--share", share)
    assert done.returncode == 0
    assert [test["name"] for test in data["tests"]] == [f"{name}.py::test_good" for name in names]
    assert list(data["rows"]) == ["NET-01"]
    assert not data["complete"]


@pytest.mark.parametrize("share", ["0/2", "3/2", "1", "one/2"])
def test_a_share_that_cannot_be_is_refused(run, share):
    done, _ = run(GOOD, "--share", share)
    assert done.returncode == 4
    assert f"--share {share}" in done.stderr


def test_a_whole_run_misses_rows_without_tests(run):
    done, data = run(GOOD)
    assert done.returncode != 0
    assert data["rows"]["BUS-01"]["status"] == "missing"
    assert data["rows"]["NET-01"]["status"] == "passed"


@pytest.mark.parametrize(
    "body", ["def test_x(): pass", "@pytest.mark.row('NET-99')\ndef test_x(): pass"]
)
def test_every_test_has_a_row_that_exists(run, body):
    done, _ = run(GOOD + body)
    assert done.returncode == 4


def test_a_file_that_cannot_be_imported_fails_the_run(run):
    done, data = run(GOOD + "import nothing_of_that_name")
    assert done.returncode != 0
    assert data["failed"] >= 1
    assert any("nothing_of_that_name" in problem for problem in data["problems"])


def test_an_interrupted_run_fails(run):
    body = f"{ROW}def test_a(): raise KeyboardInterrupt\n{GOOD}"
    done, data = run(body, "-k", "test_a or good")
    assert done.returncode != 0
    assert data["failed"] >= 1


def test_a_test_of_the_other_side_is_named_not_skipped(run):
    body = GOOD + f"@pytest.mark.side('guest')\n{ROW}def test_g(): pass"
    done, data = run(body, "-k", "good or test_g")
    assert done.returncode == 0
    assert data["not_applicable"] == ["test_it.py::test_g"]


def test_repetition_counts_are_in_the_report(run):
    body = (
        "from harness.plugin import DETAILS\n"
        f"{ROW}def test_good(request): request.node.stash[DETAILS] = {{'count': 7}}"
    )
    done, data = run(body, "-k", "good")
    assert data["tests"][0]["details"] == {"count": 7}
    assert "# count=7" in done.stdout
