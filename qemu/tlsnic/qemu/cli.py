"""The command `tlsnic`: finds the subcommand's module, and turns errors into one clear line.

A subcommand is a module with `add_arguments(parser)` and `main(args) -> exit status`. Only the one
that is asked for is imported, so that what another one lacks does not matter.
"""

import argparse
import importlib
import os
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tlsnic.qemu.errors import EXIT_FAILURE, EXIT_INTERRUPTED

PROGRAM = "tlsnic"


@dataclass(frozen=True)
class Command:
    """A subcommand: the module that has it, and what it is for."""

    module: str
    help: str


COMMANDS: Mapping[str, Command] = {
    "doctor": Command("tlsnic.qemu.commands.doctor", "check everything the card needs"),
    "parts": Command("tlsnic.qemu.commands.parts", "get QEMU, the guest and libvfio-user"),
    "device": Command("tlsnic.device.main", "serve the card on a vfio-user socket"),
    "shell": Command("tlsnic.device.shell.main", "look into a running device, and change it"),
    "top": Command("tlsnic.device.shell.top", "queues, flows and rates of a device, live"),
    "secrets": Command("tlsnic.device.trace.secrets", "let Wireshark decrypt a capture"),
    "timeline": Command("tlsnic.device.timeline.command", "draw TLS flows of a capture"),
    "replay": Command("tlsnic.device.trace.replay_command", "run a record again, and compare"),
    "bench": Command("tlsnic.qemu.commands.bench", "speed and memory, beside their baselines"),
    "conformance": Command("tlsnic.qemu.conformance", "run the conformance suite"),
    "boot": Command("tlsnic.qemu.boot", "a root shell in a guest with the card attached"),
}


def main(argv: Sequence[str] | None = None, commands: Mapping[str, Command] = COMMANDS) -> int:
    """Run a subcommand. Exit status as in `tlsnic.qemu.errors`; 2 for a wrong command line."""
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words[:1]
    try:
        parser = _parser(words, commands)
        args = parser.parse_args(words)
        debug = args.debug
        command = commands[args.command]
        status = importlib.import_module(command.module).main(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print(f"{PROGRAM}: interrupted; everything it started has been stopped", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader went away (`tlsnic … | head`); Python must not complain again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except Exception as error:
        if debug:
            traceback.print_exc()
        return _report(error)
    return int(status)


def _parser(words: Sequence[str], commands: Mapping[str, Command]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="A TLS-offload network card without the hardware, its driver and its tests.",
    )
    parser.add_argument("--debug", action="store_true", help="show where an error comes from")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    asked = next((word for word in words if not word.startswith("-")), None)
    for name, command in commands.items():
        subparser = subparsers.add_parser(name, help=command.help, description=command.help)
        if name == asked:
            importlib.import_module(command.module).add_arguments(subparser)
    return parser


def _report(error: Exception) -> int:
    """Print `error` for a person; the exit status it stands for."""
    console = getattr(error, "console", "")
    if console:
        print(f"--- the last lines that it printed ---\n{console}\n---", file=sys.stderr)
    # PartError calls its text `message`, UserError `what`; both carry the fix.
    what = getattr(error, "what", None) or getattr(error, "message", None)
    fix = getattr(error, "fix", None)
    if what is None or fix is None:
        what = f"{type(error).__name__}: {error}"
        fix = f"run `{PROGRAM} --debug …` and report what it prints"
    ending = f"; fix: {fix}" if fix else ""
    print(f"{PROGRAM}: {what}{ending}", file=sys.stderr)
    return int(getattr(error, "exit_status", EXIT_FAILURE))


if __name__ == "__main__":
    sys.exit(main())
