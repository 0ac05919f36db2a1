"""docs/shell.md: the table of commands is current, and the recording has every command."""

import importlib.util
import json
from pathlib import Path

import pytest

from tlsnic.device.shell import reference
from tlsnic.device.shell.cast import Terminal, plain
from tlsnic.device.shell.table import COMMANDS

ROOT = Path(__file__).parents[3]
DOCUMENT = ROOT / "docs" / "shell.md"
CAST = ROOT / "docs" / "shell.cast"


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("example_shell", ROOT / "examples" / "shell.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_table_of_commands_is_current():
    assert reference.main(["--check", str(DOCUMENT)]) == 0


def test_stale_table_is_found_and_renewed(tmp_path, capsys):
    path = tmp_path / "shell.md"
    path.write_text(f"before\n{reference.BEGIN}\nold\n{reference.END}\nafter\n")
    assert reference.main(["--check", str(path)]) == 1
    assert "stale" in capsys.readouterr().err
    assert reference.main([str(path)]) == 0
    assert reference.main(["--check", str(path)]) == 0
    assert path.read_text().startswith("before\n")
    assert "`quit`" in path.read_text()


def test_document_without_its_marks():
    with pytest.raises(ValueError, match="no "):
        reference.replaced("text", "<a>", "<b>", "x")


def test_document_shows_every_command(example):
    shown = DOCUMENT.read_text().partition(example.BEGIN)[2].partition(example.END)[0]
    typed = [
        line.split("> ", 1)[1] for line in shown.splitlines() if line.startswith("    tlsnic> ")
    ]
    assert {line.split()[0] for line in typed} == set(COMMANDS)
    assert "Traceback" not in shown
    assert "error:" not in shown


def test_recording_is_an_asciicast_with_every_command():
    header, *events = map(json.loads, CAST.read_text().splitlines())
    assert (header["version"], header["width"]) == (2, 100)
    times = [event[0] for event in events]
    assert times == sorted(times)
    assert {event[1] for event in events} == {"o"}
    text = plain("".join(event[2] for event in events))
    for name in COMMANDS:
        assert f"tlsnic> {name}" in text


def test_every_step_is_a_line_of_the_shell(example):
    for step in example.STEPS:
        words = step.line.format(handle="0x10001").replace("'", "").split()
        COMMANDS[words[0]].parse(words[1:])


def test_terminal_keeps_what_was_printed_and_when(tmp_path):
    with Terminal(["sh", "-c", "echo one; read x; echo got $x; exit 3"], columns=90) as terminal:
        terminal.wait_for("one")
        terminal.press("two\r")
        assert "got two" in terminal.wait_for("got two")
        assert terminal.wait() == 3
    terminal.save(tmp_path / "x.cast", "a test")
    header, *events = map(json.loads, (tmp_path / "x.cast").read_text().splitlines())
    assert (header["width"], header["height"], header["title"]) == (90, 30, "a test")
    assert "got two" in "".join(event[2] for event in events)


def test_terminal_of_a_program_that_ends_too_early():
    with Terminal(["true"]) as terminal, pytest.raises(EOFError):
        terminal.wait_for("never")
    with Terminal(["sleep", "60"]) as terminal, pytest.raises(TimeoutError):
        terminal.wait_for("never", timeout_s=0.2)


def test_plain_text():
    assert plain("\x1b[1;31mred\x1b[0m\r\n\x1b]0;title\x07x\r") == "red\nx"
