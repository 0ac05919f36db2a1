"""`tlsnic boot` at a terminal and in a pipe, with stand-ins for QEMU and the device."""

import os
import pty
import select
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

HERE = Path(__file__).parent

BOOT = """
import sys
sys.path.insert(0, sys.argv[1])
import test_run
from tlsnic.qemu import boot, cli, errors
from tlsnic.qemu.launch import Machine
boot.prepare = lambda accel: test_run.setup(sys.argv[2])
try:
    boot.boot(Machine(), test_run.device(sys.argv[3]))
except (errors.UserError, KeyboardInterrupt) as error:
    print(type(error).__name__, error)
    sys.exit(getattr(error, "exit_status", 130))
"""


def command(guest: str, device: str = "serves") -> list[str]:
    return [sys.executable, "-c", BOOT, str(HERE), guest, device]


@pytest.fixture(autouse=True)
def private_places(tmp_path_factory, monkeypatch):
    places = tmp_path_factory.mktemp("b")
    (places / "t").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(places / "cache"))
    monkeypatch.setenv("TMPDIR", str(places / "t"))
    yield
    assert list((places / "t").iterdir()) == []


class Terminal:
    """A person's terminal, and `tlsnic boot` in it."""

    def __init__(self, argv: list[str]) -> None:
        self.master, slave = pty.openpty()
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        self.process = subprocess.Popen(argv, stdin=slave, stdout=slave, stderr=slave)
        self.seen = b""

    def expect(self, text: bytes) -> None:
        deadline = time.monotonic() + 110
        while text not in self.seen:
            ready, _, _ = select.select([self.master], [], [], deadline - time.monotonic())
            assert ready, f"{text!r} did not come: {self.seen!r}"
            self.seen += os.read(self.master, 4096)

    def type(self, text: bytes) -> None:
        os.write(self.master, text)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.slave)
        os.close(self.master)


@pytest.fixture
def terminal():
    opened = []

    def start(*arguments):
        opened.append(Terminal(command(*arguments)))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


def test_keys_reach_the_guest_as_they_are_and_the_terminal_is_restored(terminal):
    at = terminal("shell")
    at.expect(b"welcome")
    assert not termios.tcgetattr(at.slave)[3] & termios.ISIG
    at.type(b"ls\r\x03\x04")
    at.expect(b"got b'ls\\r\\x03\\x04'")
    assert at.process.wait(60) == 0
    assert termios.tcgetattr(at.slave) == at.before


def test_the_escape_key_ends_a_guest_that_goes_on(terminal):
    at = terminal("shell")
    at.expect(b"welcome")
    at.type(b"\x1d")
    assert at.process.wait(60) == 0
    assert termios.tcgetattr(at.slave) == at.before


def test_a_signal_ends_it_and_restores_the_terminal(terminal):
    at = terminal("shell")
    at.expect(b"welcome")
    at.process.terminate()
    assert at.process.wait(60) == 130
    assert termios.tcgetattr(at.slave) == at.before


@pytest.mark.parametrize(
    ("guest", "device", "name", "status"),
    [("panics-at-boot", "serves", "VmDiedError", 70), ("sleeps", "dies", "DeviceDiedError", 71)],
)
def test_what_dies_is_said(guest, device, name, status):
    done = subprocess.run(
        command(guest, device),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split()[0] == name
    assert done.returncode == status


def test_commands_from_a_pipe_are_typed_and_its_end_is_ctrl_d():
    done = subprocess.run(command("shell"), input=b"uname\n", capture_output=True, check=False)
    assert b"got b'uname\\n\\x04'" in done.stdout
    assert done.returncode == 0


def test_commands_from_a_file_are_typed_too(tmp_path):
    (tmp_path / "commands").write_bytes(b"uname\n")
    with (tmp_path / "commands").open("rb") as file:
        done = subprocess.run(command("shell"), stdin=file, capture_output=True, check=False)
    assert b"got b'uname\\n\\x04'" in done.stdout
    assert done.returncode == 0
