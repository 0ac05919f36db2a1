"""The shell at a terminal, by prompt_toolkit's pipe input."""

import contextlib
import stat

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput
from shell_rig import FakeBackend, Typed

from tlsnic.device.shell.errors import GoneError
from tlsnic.device.shell.interactive import Interactive, history_path, open_history
from tlsnic.device.shell.table import COMMANDS

CONTROL_C, CONTROL_D = "\x03", "\x04"

# A line for each command; what is asked before is answered.
SCRIPT = [
    "info",
    "pci",
    "cards",
    "use 1",
    "use 0",
    "mark a remark",
    "reset\ny",
    "registers STATUS",
    "read STATUS",
    "write CONTROL.TX_ENABLE=1\ny",
    "snapshot",
    "diff",
    "queues",
    "queue tx 0",
    "interrupts",
    "dma",
    "flows",
    "flow 0x10001",
    "flow 0x10001 history",
    "resync",
    "counters",
    "diagnostics",
    "trace --count 3",
    "capture start /tmp/never-made.pcapng",
    "capture stop",
    "impair rx loss=1%",
    "fault drop_frames count=1",
    "watch --count 2 counters",
    "help",
    "history",
    "reconnect",
    "quit",
]


class Terminal:
    def __init__(self, backend=None):
        self.backend = backend or FakeBackend()
        self.typed = Typed(self.backend)
        self.shell = self.typed.shell

    @contextlib.contextmanager
    def running(self, history=None):
        with create_pipe_input() as keys, create_app_session(input=keys, output=DummyOutput()):
            terminal = Interactive(
                self.shell, history or InMemoryHistory(), keyboard=keys, screen=DummyOutput()
            )
            self.shell.confirm = terminal.confirm
            yield keys, terminal

    def run(self, keys, history=None):
        """Type `keys`; returns the exit status and everything that was printed."""
        with self.running(history) as (pipe, terminal):
            pipe.send_text(keys)
            status = terminal.run()
        return status, self.typed.file.getvalue()


def test_every_command_at_the_prompt():
    assert {line.split()[0] for line in SCRIPT} == set(COMMANDS)
    terminal = Terminal()
    status, shown = terminal.run("\n".join(SCRIPT) + "\n")
    assert status == 0
    assert "error:" not in shown
    assert terminal.shell.memory.lines == [line.partition("\n")[0] for line in SCRIPT]
    done = {method for method, _ in terminal.backend.calls}
    assert {"device.reset", "registers.write", "faults.set", "trace.stop"} <= done


def test_greeting_names_the_device():
    _, shown = Terminal().run(CONTROL_D)
    assert "/run/fake.control, 2 cards" in shown


def test_end_of_input_leaves():
    assert Terminal().run(CONTROL_D)[0] == 0


def test_interrupt_at_the_prompt_gives_up_the_line_only():
    terminal = Terminal()
    status, shown = terminal.run(f"nonsense{CONTROL_C}info\n{CONTROL_D}")
    assert status == 0
    assert "nonsense" not in shown
    assert "attached" in shown


def test_interrupt_ends_the_running_command_only():
    terminal = Terminal()
    terminal.backend.interrupt_at = "counters.read"
    status, shown = terminal.run(f"counters\ninfo\n{CONTROL_D}")
    assert status == 0
    assert "interrupted" in shown
    assert "attached" in shown


def test_questions_are_answered_no_by_anything_but_yes():
    terminal = Terminal()
    for answer in ("", "n", "x", CONTROL_C, CONTROL_D):
        end = "" if answer in (CONTROL_C, CONTROL_D) else "\n"
        _, shown = terminal.run(f"reset\n{answer}{end}quit\n")
        assert "not done" in shown
    assert not any(method == "device.reset" for method, _ in terminal.backend.calls)


def test_lines_are_kept_for_the_next_time(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    path = history_path()
    assert path == tmp_path / "tlsnic" / "history"
    Terminal().run(f"info\n{CONTROL_D}", open_history(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    terminal = Terminal()
    terminal.run(f"\x1b[A\n{CONTROL_D}", open_history(path))
    assert terminal.shell.memory.lines == ["info"], "the arrow up brings it back"


def test_history_that_others_could_read_is_closed_to_them(tmp_path):
    path = tmp_path / "history"
    path.touch(0o644)
    open_history(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_no_place_for_the_history_is_no_failure(tmp_path):
    (tmp_path / "file").touch()
    assert isinstance(open_history(tmp_path / "file" / "history"), InMemoryHistory)


def test_history_that_goes_away_is_no_failure(tmp_path):
    history = open_history(tmp_path / "state" / "history")
    (tmp_path / "state" / "history").unlink()
    (tmp_path / "state").rmdir()
    history.append_string("info")
    assert history.get_strings() == ["info"]


def test_history_is_at_home_without_a_state_folder(monkeypatch):
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    assert history_path().parts[-4:] == (".local", "state", "tlsnic", "history")


def test_device_that_goes_away_and_comes_back():
    terminal = Terminal()
    first, second = terminal.backend, FakeBackend()
    attempts = []

    def connect():
        attempts.append(1)
        if len(attempts) == 1:
            raise GoneError("there is no control socket", "start it")
        return second

    terminal.shell.connect = connect
    first.gone = True
    status, shown = terminal.run(f"info\ny\ny\nflows\n{CONTROL_D}")
    assert status == 0
    assert "is gone" in shown
    assert "there is no control socket" in shown
    assert "connected to" in shown
    assert [method for method, _ in second.calls] == ["flows.list"]


def test_device_that_stays_away():
    terminal = Terminal()
    terminal.backend.gone = True
    assert terminal.run("info\nn\n")[0] == 1


@pytest.mark.parametrize("line", ["watch counters", "trace"])
def test_what_runs_without_end_is_ended_by_an_interrupt(line):
    terminal = Terminal()
    terminal.backend.interrupt_at = "events"

    def interrupt(_seconds):
        raise KeyboardInterrupt

    terminal.shell.sleep = interrupt
    status, shown = terminal.run(f"{line}\ninfo\n{CONTROL_D}")
    assert status == 0
    assert "attached" in shown
