"""`tlsnic shell`: look into a running device, and change it."""

import argparse
import sys
from collections.abc import Callable, Iterable
from typing import Final

from tlsnic.device.shell.backend import Backend, SocketBackend
from tlsnic.device.shell.errors import ShellError
from tlsnic.device.shell.find import choose
from tlsnic.device.shell.render import Output
from tlsnic.device.shell.shell import QuitShell, Shell
from tlsnic.device.shell.table import COMMANDS

DESCRIPTION: Final = (
    "Look into a running device, without stopping it; any number of shells at a time."
)
EPILOG: Final = """\
Without a path, the one device that is running is taken. Commands come from -c, else from standard
input; at a terminal there is completion and a history. The first one that fails ends a script.

  tlsnic shell                                     interactive
  tlsnic shell -c 'registers STATUS' -c flows      two commands
  tlsnic shell --json -c 'counters tls'            one JSON document for each command

exit status: 0; 1 when a command failed or there is no device; 2 for a wrong command line.
"""


def add_device_arguments(parser: argparse.ArgumentParser) -> None:
    """How a device is named; the same for all tools that look into one."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--socket", metavar="PATH", help="the card's vfio-user socket")
    which.add_argument("--control", metavar="PATH", help="the device's control socket")
    parser.add_argument("--card", type=int, metavar="N", help="number of the card (0)")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `tlsnic shell`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = DESCRIPTION
    parser.epilog = EPILOG
    add_device_arguments(parser)
    parser.add_argument(
        "-c",
        action="append",
        dest="lines",
        default=[],
        metavar="COMMAND",
        help="run this; may be repeated",
    )
    parser.add_argument("--json", action="store_true", help="one JSON document for each command")
    parser.add_argument(
        "--color", choices=("auto", "always", "never"), default="auto", help="colours (%(default)s)"
    )
    parser.add_argument("--yes", action="store_true", help="do not ask before changes")


def main(arguments: argparse.Namespace) -> int:
    """Run the shell. Returns the exit status."""

    output = Output(as_json=arguments.json, color=arguments.color)
    try:
        chosen = choose(arguments.socket, arguments.control, arguments.card)
        backend = SocketBackend(chosen.path)
    except ShellError as error:
        output_error(output, error)
        return error.exit_status
    try:
        return run(
            backend,
            output,
            arguments,
            card=chosen.card,
            connect=lambda: SocketBackend(chosen.path),
        )
    finally:
        backend.close()


def run(
    backend: Backend,
    output: Output,
    arguments: argparse.Namespace,
    *,
    card: int = 0,
    connect: Callable[[], Backend] | None = None,
) -> int:
    """A shell on `backend`, as the options say; also for the card of a replay."""
    at_terminal = sys.stdin.isatty()
    shell = Shell(
        backend,
        output,
        COMMANDS,
        connect=connect,
        confirm=ask if at_terminal and not arguments.json else None,
        assume_yes=arguments.yes,
        card=card,
    )
    try:
        if arguments.lines:
            return run_lines(shell, arguments.lines)
        if not at_terminal or arguments.json:
            return run_lines(shell, sys.stdin)
        return interact(shell)
    finally:
        shell.backend.close()


def interact(shell: Shell) -> int:
    """The shell at this terminal. Returns the exit status."""
    from tlsnic.device.shell import interactive  # noqa: PLC0415 - half of what a script would load

    history = interactive.open_history(interactive.history_path())
    terminal = interactive.Interactive(shell, history)
    shell.confirm = terminal.confirm
    return terminal.run()


def run_lines(shell: Shell, lines: Iterable[str]) -> int:
    """Run lines until one fails. Returns its exit status."""
    try:
        for line in lines:
            status = shell.execute(line)
            if status:
                return status
    except QuitShell:
        pass
    return 0


def ask(question: str) -> bool:
    """Ask at the terminal that a script runs at."""
    try:
        print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
        return sys.stdin.readline().strip().lower() in ("y", "yes")
    except KeyboardInterrupt:
        return False


def output_error(output: Output, error: ShellError) -> None:
    """Say why there is no shell."""
    if output.as_json:
        described = {"name": error.name, "message": error.message, "fix": error.fix}
        output.document({"command": None, "ok": False, "error": described})
    else:
        fix = f"; fix: {error.fix}" if error.fix else ""
        print(f"tlsnic shell: {error.message}{fix}", file=sys.stderr)
