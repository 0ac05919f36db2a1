"""The doctor: what it says of each failure, and how it looks at sockets, KVM and packages."""

import json
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tlsnic.qemu import _kvm, _socket_state, doctor, parts
from tlsnic.qemu.doctor import Check, check_socket
from tlsnic.qemu.parts import PartError, Qemu


def good() -> Check:
    return Check("good", True, "all is well")


def bad() -> Check:
    return Check("bad", False, "it is broken", "mend it")


def limited() -> Check:
    return Check("limited", False, "slower", "get a faster one", needed=False)


def part_missing() -> Check:
    raise PartError("no such part", "make it")


def buggy() -> Check:
    raise ZeroDivisionError("oops")


def test_all_good_is_status_zero(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.run(False, checks={"good": good}) == 0
    assert capsys.readouterr().out == "ok      good: all is well\neverything needed works\n"


def test_limit_is_told_with_its_fix_but_fails_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.run(False, checks={"limited": limited}) == 0
    out = capsys.readouterr().out
    assert "limit   limited: slower\n        fix: get a faster one\n" in out


def test_every_problem_is_told_with_its_fix(capsys: pytest.CaptureFixture[str]) -> None:
    checks = {"good": good, "bad": bad, "part": part_missing, "buggy": buggy}
    assert doctor.run(False, checks=checks) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "ok      good: all is well",
        "problem bad: it is broken",
        "        fix: mend it",
        "problem part: no such part",
        "        fix: make it",
        "problem buggy: the check itself failed: ZeroDivisionError: oops",
        "        fix: please report this line",
        "3 problems",
    ]


def test_json_carries_every_field(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.run(True, checks={"good": good, "bad": bad}) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is False
    assert report["checks"][1] == {
        "name": "bad",
        "ok": False,
        "detail": "it is broken",
        "fix": "mend it",
        "needed": True,
    }


def test_empty_cache_names_the_command_that_fills_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    for name in ("LIBVFIO_USER", "QEMU", "KERNEL", "INITRD", "IMAGE"):
        monkeypatch.delenv(f"TLSNIC_{name}", raising=False)
    monkeypatch.setattr(parts._qemu, "machines", lambda: None)
    found = {check.name: check for check in doctor.examine()}
    for name in ("libvfio-user", "qemu", "guest"):
        assert not found[name].ok
        assert found[name].needed
        assert found[name].detail == "not made yet"
        assert parts.MAKE_COMMAND in found[name].fix
    assert not found["kvm"].needed
    assert f"{doctor._ALL_PARTS_MIB} MiB needed" in found["disk"].detail
    assert found["memfd"].ok
    assert not (tmp_path / "tlsnic").exists()


def test_full_disk_and_unwritable_cache_are_problems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: type("U", (), {"free": 5 << 20}))
    full = doctor.check_disk()
    assert not full.ok
    assert full.detail.startswith("5 MiB free")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert "is not writable" in doctor.check_disk().detail


def test_missing_and_old_packages_are_named() -> None:
    wanted = [
        "numpy>=1.26",
        "no-such-package-here>=3; extra == 'dev'",
        "pytest>=9999",
        "cryptography",
    ]
    missing = doctor.missing_packages(wanted)
    assert missing[0] == "no-such-package-here"
    assert missing[1].startswith("pytest 9999 (it is ")
    assert len(missing) == 2


def test_refused_library_is_a_problem_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Bindings:
        @staticmethod
        def load_library(path: Path) -> None:
            raise OSError(8, "an interface not known here")

    monkeypatch.setattr(parts, "libvfio_user_path", lambda make: tmp_path / "lib.so")
    monkeypatch.setattr(doctor.importlib, "import_module", lambda name: Bindings)
    found = doctor.check_library()
    assert (found.ok, found.needed) == (False, True)
    assert found.detail == "an interface not known here"
    assert found.fix


def test_no_rights_to_tap_limit_but_do_not_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_try_tap", lambda: PermissionError(1, "Operation not permitted"))
    refused = doctor.check_tap()
    assert (refused.ok, refused.needed) == (False, False)
    assert "CAP_NET_ADMIN" in refused.fix
    monkeypatch.setattr(doctor, "_try_tap", lambda: FileNotFoundError(2, "No such file"))
    assert "modprobe tun" in doctor.check_tap().fix


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.skipif(not os.path.exists("/dev/net/tun"), reason="there is no /dev/net/tun")
def test_tap_is_tried_without_leaving_a_device_or_namespace() -> None:
    before = sorted(os.listdir("/sys/class/net")), os.readlink("/proc/self/ns/net")
    found = doctor.check_tap()
    assert found.ok, found
    assert (sorted(os.listdir("/sys/class/net")), os.readlink("/proc/self/ns/net")) == before


def test_work_directories_of_killed_runs_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.workdir, "stale", lambda: [Path("/tmp/tlsnic-a")])
    found = doctor.check_leftovers()
    assert (found.ok, found.needed, found.fix) == (False, False, "rm -r /tmp/tlsnic-a")
    monkeypatch.setattr(doctor.workdir, "stale", list)
    assert doctor.check_leftovers().ok


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[tuple[Path, socket.socket]]:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as bound:
        bound.bind(str(path))
        bound.listen(1)
        bound.setblocking(False)
        yield path, bound


def test_free_path(tmp_path: Path) -> None:
    assert check_socket(tmp_path / "s").state == "free"
    assert doctor.socket_check(tmp_path / "s").ok


def test_socket_in_use_names_the_process_and_is_not_connected_to(
    listener: tuple[Path, socket.socket],
) -> None:
    path, bound = listener
    found = check_socket(path)
    assert (found.state, found.pid) == ("in use", os.getpid())
    with pytest.raises(BlockingIOError):
        bound.accept()
    check = doctor.socket_check(path)
    assert not check.ok
    assert f"process {os.getpid()}" in check.detail
    assert f"kill {os.getpid()}" in check.fix


def test_listener_that_is_not_listed_is_found_by_connecting(
    listener: tuple[Path, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_socket_state, "_listeners", lambda path: set())
    path, bound = listener
    assert check_socket(path) == doctor.SocketState(path, "in use")
    bound.accept()[0].close()


def test_socket_of_a_dead_process_is_stale(listener: tuple[Path, socket.socket]) -> None:
    path, bound = listener
    bound.close()
    assert check_socket(path).state == "stale"
    assert doctor.socket_check(path).fix == f"rm {path}"
    assert stat.S_ISSOCK(path.stat().st_mode)


def test_file_in_the_sockets_place_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text("precious")
    assert check_socket(path).state == "not a socket"
    assert not doctor.socket_check(path).ok
    assert path.read_text() == "precious"


class FakeMachine:
    """A QEMU that says what it is told to, a kernel, and a device file that always opens."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.program = folder / "qemu"
        self.kernel = folder / "vmlinuz"
        self.kernel.write_bytes(b"k")
        monkeypatch.setattr(_kvm, "_DEVICE", "/dev/null")
        monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))

    def says(self, script: str) -> Qemu:
        runs = self.folder / "runs"
        self.program.write_text(f"#!/bin/sh\necho $$ >> {runs}\n{script}\n")
        self.program.chmod(0o755)
        return Qemu((str(self.program),), (11, 0, 0), "fake")

    def runs(self) -> list[int]:
        return [int(line) for line in (self.folder / "runs").read_text().split()]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeMachine:
    return FakeMachine(tmp_path, monkeypatch)


_BOOTS = "echo 'Probing EDD'; echo '[ 0.000000] Linux version 6.12'; exec sleep 1000"
_BREAKS = "echo 'KVM internal error. Suberror: 1' >&2; exec sleep 1000"


def test_kvm_that_boots_works_and_leaves_no_process(machine: FakeMachine) -> None:
    assert doctor.kvm_works(machine.says(_BOOTS), machine.kernel)
    (pid,) = machine.runs()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_kvm_that_breaks_is_remembered_until_asked_afresh(machine: FakeMachine) -> None:
    qemu = machine.says(_BREAKS)
    assert not doctor.kvm_works(qemu, machine.kernel)
    assert not doctor.kvm_works(qemu, machine.kernel)
    assert len(machine.runs()) == 1
    qemu = machine.says(_BOOTS)
    assert _kvm.problem(qemu, machine.kernel, afresh=True) is None
    assert doctor.kvm_works(qemu, machine.kernel)
    assert len(machine.runs()) == 3


@pytest.mark.parametrize("change", ["kernel", "boot", "garbage"])
def test_remembered_answer_ends_with_its_situation(
    machine: FakeMachine, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    assert not doctor.kvm_works(machine.says(_BREAKS), machine.kernel)
    if change == "kernel":
        machine.kernel.write_bytes(b"another")
    elif change == "garbage":
        (parts.cache_root() / "kvm.json").write_text("[")
    else:
        monkeypatch.setattr(_kvm, "_situation", lambda qemu, kernel: ["another boot"])
    assert doctor.kvm_works(machine.says(_BOOTS), machine.kernel)


def test_silent_guest_is_given_up_and_not_remembered(
    machine: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_kvm, "_TIMEOUT_S", 0.2)
    found = _kvm.problem(machine.says("exec sleep 1000"), machine.kernel)
    assert found is not None
    assert "printed nothing" in found.what
    assert not (parts.cache_root() / "kvm.json").exists()


def test_qemu_that_refuses_kvm_is_quoted(machine: FakeMachine) -> None:
    found = _kvm.problem(machine.says("echo 'qemu: failed to initialize kvm' >&2; exit 1"),
                         machine.kernel)  # fmt: skip
    assert found is not None
    assert found.what == "QEMU ended: qemu: failed to initialize kvm"


def test_missing_kvm_device_has_a_fix(
    machine: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_kvm, "_DEVICE", "/nonexistent/kvm")
    found = _kvm.problem(machine.says("exit 1"), machine.kernel)
    assert found is not None
    assert "there is no" in found.what
    assert found.fix
