"""Running a command in a guest, with stand-ins for QEMU and the device: every way it can end."""

import os
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tlsnic.qemu import errors, vm, workdir
from tlsnic.qemu.parts import Guest, Qemu
from tlsnic.qemu.run import GuestResult, run_in_guest
from tlsnic.qemu.vm import Setup

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def private_places(tmp_path_factory, monkeypatch):
    """A cache and a temporary directory of this test's own, empty again at its end."""
    places = tmp_path_factory.mktemp("r")
    (places / "tmp").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(places / "cache"))
    monkeypatch.setattr(workdir, "_parent", lambda: places / "tmp")
    yield places
    assert list((places / "tmp").iterdir()) == []


def setup(mode: str) -> Setup:
    qemu = Qemu((sys.executable, str(HERE / "fake_qemu.py"), mode), (11, 1, 3), "a fake")
    guest = Guest(Path("vmlinuz"), None, Path("root.img"), None, "a fake")
    return Setup(qemu, guest, Path("libvfio-user.so"), kvm=False)


def device(mode: str) -> list[str]:
    return [sys.executable, str(HERE / "fake_device.py"), mode, "{socket}"]


def run(mode: str, **options) -> GuestResult:
    options.setdefault("timeout_s", 30)
    handlers = {"peer.double": lambda n: 2 * n}
    return run_in_guest(["true"], setup=setup(mode), on_call=handlers, **options)


@pytest.mark.parametrize("status", [0, 7])
def test_the_commands_status_output_calls_and_reports_come_back(status):
    streamed, reports = [], []
    result = run(
        f"exits-{status}",
        device_cmd=device("serves"),
        on_output=streamed.append,
        on_report=reports.append,
    )
    assert result.exit_status == status
    assert result.output == "all is � well\nthe end\n"
    assert b"".join(streamed) == b"all is \xff well\nthe end\n"
    assert list(result.reports) == reports
    (report,) = reports
    assert (report.id, report.outcome, report.duration_s) == ("BUS-01", "passed", 0.25)
    assert '"result":42' in report.text
    assert result.console == "[0mLinux booting"
    assert result.device_log == "fake device"
    timings = result.timings
    assert 0 < timings.started_s <= timings.finished_s <= timings.off_s


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("panics", "kernel panicked"),
        ("powers-off", "powered off before"),
        ("crashes", "killed by SIGSEGV"),
        ("refuses", "no such thing"),
        ("hangs-up", "exit status 1"),
    ],
)
def test_a_guest_that_ends_without_a_status_has_died(mode, words):
    with pytest.raises(errors.VmDiedError, match=words) as caught:
        run(mode)
    assert caught.value.exit_status == errors.EXIT_VM_DIED
    if mode == "panics":
        assert "Attempted to kill init" in caught.value.console


def not_in_time(mode):
    """The error of a guest that came so far in its time: more of it on a machine that is slow."""
    for timeout_s in (1, 5, 25):
        with pytest.raises(errors.GuestTimeoutError) as caught:
            run(mode, timeout_s=timeout_s)
        error = caught.value
        if "Linux booting" in error.console and (mode == "never-boots") == ("boot" in str(error)):
            break
    return error


def test_a_guest_that_does_not_boot_in_time_is_told_from_one_that_does_not_finish():
    error = not_in_time("never-boots")
    assert "did not boot" in str(error)
    assert error.exit_status == errors.EXIT_TIMEOUT
    assert "Linux booting" in error.console
    assert "did not finish the command" in str(not_in_time("sleeps"))


def test_a_guest_that_ignores_every_request_is_killed():
    with pytest.raises(errors.GuestTimeoutError):
        run("stubborn", timeout_s=1)


@pytest.mark.parametrize(("mode", "words"), [("fails", "exit status 3"), ("dies", "exit status 4")])
def test_a_device_that_ends_is_an_error_of_its_own(mode, words):
    with pytest.raises(errors.DeviceDiedError, match=words) as caught:
        run("sleeps", device_cmd=device(mode))
    assert caught.value.exit_status == errors.EXIT_DEVICE_DIED
    assert "fake device" in caught.value.console


def test_a_device_that_never_listens_is_given_up(monkeypatch):
    monkeypatch.setattr(vm, "DEVICE_READY_TIMEOUT_S", 0.3)
    with pytest.raises(errors.DeviceDiedError, match="does not listen"):
        run("sleeps", device_cmd=device("never-listens"))


def test_an_error_in_a_callback_is_raised_and_nothing_is_left():
    def broken(_):
        raise RuntimeError("in the callback")

    with pytest.raises(RuntimeError, match="in the callback"):
        run("exits-0", on_output=broken)


def test_a_wrong_environment_variable_is_refused():
    with pytest.raises(errors.UserError, match="no name"):
        run("exits-0", env={"a b": "c"})


def test_it_runs_outside_the_main_thread():
    results = []
    thread = threading.Thread(target=lambda: results.append(run("exits-5")))
    thread.start()
    thread.join(30)
    assert [result.exit_status for result in results] == [5]


RUNNER = """
import pathlib, sys
sys.path.insert(0, sys.argv[1])
from tlsnic.qemu import workdir
from tlsnic.qemu.supervise import Child
workdir._parent = lambda: pathlib.Path(sys.argv[2])
import test_run
started = Child.__init__
def announced(self, *args, **options):
    started(self, *args, **options)
    print(self.name, self.pid, flush=True)
Child.__init__ = announced
test_run.run(sys.argv[3], device_cmd=test_run.device("serves"),
             on_output=lambda data: print("output", 0, flush=True))
"""


@pytest.mark.parametrize("moment", ["the device", "QEMU", "output"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("mode", ["sleeps", "stubborn"])
def test_killing_the_runner_at_any_moment_leaves_no_process(private_places, moment, number, mode):
    runner = subprocess.Popen(
        [sys.executable, "-c", RUNNER, str(HERE), str(private_places / "tmp"), mode],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    pidfds = []
    with runner.stdout:
        for line in runner.stdout:
            name, pid = line.rsplit(maxsplit=1)
            if name != "output":
                pidfds.append(os.pidfd_open(int(pid)))
            if name == moment:
                break
        else:
            pytest.fail("the runner ended early")
        runner.send_signal(number)
        # A runner that was told to stop may have started one more before it could.
        for line in runner.stdout:
            name, pid = line.rsplit(maxsplit=1)
            if name != "output" and os.path.exists(f"/proc/{pid}"):
                pidfds.append(os.pidfd_open(int(pid)))
    assert runner.wait(60) != 0
    for pidfd in pidfds:
        assert select.select([pidfd], [], [], 30)[0], "a child outlived its runner"
        os.close(pidfd)
    if number == signal.SIGKILL:
        workdir.remove_stale()
