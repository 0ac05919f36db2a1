"""A failed guest test leaves a record; those that passed, or pass this time, leave none."""

import argparse
import stat

import pytest

from tlsnic.qemu import conformance, conformance_linux
from tlsnic.qemu.conformance_handover import REPORT_METHOD
from tlsnic.qemu.conformance_report import FAILED, PASSED, Report, Result
from tlsnic.qemu.errors import GuestTimeoutError
from tlsnic.qemu.failure_records import FailureRecords


def report_of(*outcomes):
    results = [
        Result(f"test_a.py::test_{number}[x y]", ("BUS-01",), outcome, 0.1)
        for number, outcome in enumerate(outcomes)
    ]
    return Report({}, results, complete=False)


@pytest.fixture
def guests(monkeypatch):
    """Guests that are only written down; `answers` are what they come to."""
    runs = []

    def run_guest(command, way, setup, show, record_folder=None):
        runs.append((command, record_folder))
        answer = guests.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer, 0 if answer is None or answer.ok else 1

    def guests(*answers):
        guests.answers = list(answers)
        args = argparse.Namespace(rows="", expression="", accel="tcg", record_failures=folder)
        return conformance._in_guest(args, way="uio", setup=object()), runs

    folder = "records"
    monkeypatch.setattr(conformance, "_run_guest", run_guest)
    return guests


def test_nothing_is_run_again_when_all_passed(guests):
    _, runs = guests(report_of(PASSED, PASSED))
    assert [folder for _, folder in runs] == [None]


def test_what_failed_is_run_again_and_recorded(guests, capsys):
    first = report_of(PASSED, FAILED, PASSED, FAILED)
    (report, status), runs = guests(first, report_of(FAILED, PASSED))
    assert (report, status) == (first, 1)
    (_, nowhere), (command, folder) = runs
    assert (nowhere, folder) == (None, "records")
    assert command[-2:] == [f"guest-tests/test_a.py::test_{number}[x y]" for number in (1, 3)]
    assert "2 failed tests" in capsys.readouterr().err


def test_so_many_failures_that_some_are_enough(guests, capsys):
    _, runs = guests(report_of(*[FAILED] * 30), report_of(PASSED))
    assert len([word for word in runs[1][0] if "::" in word]) == conformance.MOST_RECORDED
    shown = capsys.readouterr().err
    assert "20 of 30 failed tests" in shown
    assert "no record is kept" in shown


def test_a_second_run_that_breaks_off_changes_nothing(guests):
    first = report_of(FAILED)
    (report, status), _ = guests(first, GuestTimeoutError("too long"))
    assert (report, status) == (first, 1)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("ktls.test_x", ("ktls", "test_x")),
        ("ktls.test_x[lossy]", ("ktls@lossy", "test_x")),
        ("load", None),
    ],
)
def test_results_of_the_linux_driver_name_their_body(name, found):
    assert conformance_linux.body_and_test(name) == found


@pytest.fixture
def linux_guests(monkeypatch):
    """Guests with the Linux driver that are only written down."""
    runs = []
    ended = argparse.Namespace(
        exit_status=1,
        device_log="",
        console="",
        kvm=False,
        timings=argparse.Namespace(started_s=1.0, finished_s=2.0),
    )

    def run_linux(bodies, *, chosen, on_call, record_folder, **_options):
        runs.append((bodies, chosen, record_folder))
        on_call[REPORT_METHOD](linux_guests.answers.pop(0).to_json())
        return ended

    def linux_guests(*answers):
        linux_guests.answers = list(answers)
        args = argparse.Namespace(
            rows="LNX-02", expression="", accel="tcg", record_failures="records"
        )
        return conformance_linux.run_part(args), runs

    monkeypatch.setattr(conformance_linux, "run_linux", run_linux)
    monkeypatch.setattr(conformance_linux, "prepare", lambda _accel: None)
    return linux_guests


def linux_report(**outcomes):
    results = [Result(name, ("LNX-02",), outcome, 0.1) for name, outcome in outcomes.items()]
    return Report({}, results, complete=False)


def test_failed_tests_of_the_linux_driver_are_run_again_and_recorded(linux_guests, capsys):
    first = linux_report(
        **{"load": PASSED, "ktls.test_a": FAILED, "ktls.test_b": PASSED},
        **{"ktls.test_c[lossy]": FAILED, "ktls.test_a[lossy]": FAILED},
    )
    (report, status), runs = linux_guests(first, linux_report(**{"ktls.test_a": PASSED}))
    assert (report.results, status) == (first.results, 1)
    assert runs[0] == (["ktls", "ktls@lossy"], "", None)
    assert runs[1] == (["ktls", "ktls@lossy"], "test_a,test_c", "records")
    assert "no record is kept" in capsys.readouterr().err


def test_a_driver_that_does_not_load_is_not_recorded(linux_guests):
    _, runs = linux_guests(linux_report(load=FAILED))
    assert len(runs) == 1


def test_records_leave_the_directory_of_their_run(tmp_path, capsys):
    work, folder = tmp_path / "work", tmp_path / "out" / "records"
    work.mkdir()
    records = FailureRecords(work, folder, "uio")
    for card in ("device", "tap"):
        path = records.path_for(card)
        assert path.startswith(str(work))
    (work / "device.record").write_bytes(bytes(3_000_000))
    (work / "device.record.key").write_text("key")
    (kept,) = records.keep()
    assert kept.stat().st_size == 3_000_000
    assert kept.with_name(f"{kept.name}.key").read_text() == "key"
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}
    assert f"tlsnic replay {kept}" in capsys.readouterr().err
    assert not (work / "device.record").exists()


def test_no_folder_no_records(tmp_path):
    records = FailureRecords(tmp_path, None, "uio")
    assert records.path_for("device") == ""
    assert records.keep() == []
