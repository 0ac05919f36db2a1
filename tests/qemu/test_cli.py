"""The command `tlsnic`: one clear line and the right exit status for every kind of end."""

import importlib
import subprocess
import sys
import textwrap

import pytest

from tlsnic.qemu import cli, errors
from tlsnic.qemu.parts import PartError

PROBLEMS = {
    "user": errors.UserError("socket in use", "end process 5"),
    "part": PartError("disk full", "free some room"),
    "died": errors.VmDiedError("the guest died", console="Kernel panic"),
    "device": errors.DeviceDiedError("the device ended", "look at its log"),
    "late": errors.GuestTimeoutError("too slow", "wait longer"),
    "bug": ZeroDivisionError("division"),
    "stopped": errors.Interrupted(),
    "fine": None,
    "seven": 7,
}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """`run(problem, *words)` runs a subcommand that ends in this way."""
    module = tmp_path / "tlsnic_test_command.py"
    module.write_text(
        textwrap.dedent(
            """
            PROBLEM = None
            def add_arguments(parser):
                parser.add_argument("--number", type=int)
            def main(args):
                if isinstance(PROBLEM, BaseException):
                    raise PROBLEM
                return PROBLEM or 0
            """
        )
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    commands = {
        "it": cli.Command("tlsnic_test_command", "a test"),
        "missing": cli.Command("tlsnic_no_such_module", "not there"),
    }

    def start(problem, *words):
        loaded = importlib.import_module("tlsnic_test_command")
        loaded.PROBLEM = PROBLEMS[problem]
        return cli.main(words or ["it"], commands)

    yield start
    sys.modules.pop("tlsnic_test_command", None)


@pytest.mark.parametrize(
    ("problem", "status", "line"),
    [
        ("user", 1, "tlsnic: socket in use; fix: end process 5"),
        ("part", 1, "tlsnic: disk full; fix: free some room"),
        ("died", 70, "tlsnic: the guest died"),
        ("device", 71, "tlsnic: the device ended; fix: look at its log"),
        ("late", 124, "tlsnic: too slow; fix: wait longer"),
        ("stopped", 130, "tlsnic: interrupted; everything it started has been stopped"),
    ],
)
def test_an_error_is_one_line_with_its_fix_and_status(run, capsys, problem, status, line):
    assert run(problem) == status
    assert capsys.readouterr().err.splitlines()[-1] == line


def test_the_console_of_a_dead_guest_is_shown_first(run, capsys):
    run("died")
    assert capsys.readouterr().err.index("Kernel panic") < 60


def test_a_bug_is_one_line_and_a_traceback_only_when_asked_for(run, capsys):
    assert run("bug") == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert run("bug", "--debug", "it") == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(("problem", "status"), [("fine", 0), ("seven", 7)])
def test_the_subcommands_status_is_the_exit_status(run, problem, status):
    assert run(problem) == status


@pytest.mark.parametrize("words", [[], ["no-such-command"], ["it", "--number", "x"]])
def test_a_wrong_command_line_is_status_2(run, words, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(words, {"it": cli.Command("tlsnic_test_command", "a test")})
    assert caught.value.code == 2
    assert "usage: tlsnic" in capsys.readouterr().err


def test_what_one_subcommand_lacks_does_not_matter_to_another(run, capsys):
    assert run("fine", "it", "--number", "5") == 0
    assert run("fine", "missing") == 1
    assert "tlsnic_no_such_module" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(cli.COMMANDS))
def test_every_registered_subcommand_exists_and_has_help(name, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main([name, "--help"])
    assert caught.value.code == 0
    assert f"usage: tlsnic {name}" in capsys.readouterr().out


def test_help_imports_no_subcommand():
    code = (
        "import sys\n"
        "from tlsnic.qemu import cli\n"
        "try:\n    cli.main(['--help'])\nexcept SystemExit:\n    pass\n"
        "modules = {command.module for command in cli.COMMANDS.values()}\n"
        "sys.exit(bool(modules & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0


def test_a_reader_that_goes_away_is_no_error():
    done = subprocess.run(
        f"{sys.executable} -m tlsnic.qemu.cli doctor --json | true; exit ${{PIPESTATUS[0]}}",
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "XDG_CACHE_HOME": "/nonexistent"},
    )
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr
