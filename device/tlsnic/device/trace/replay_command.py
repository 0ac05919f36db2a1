"""`tlsnic replay`: run the core on a record, without QEMU, and compare all that it does."""

import argparse
import sys
import time
from pathlib import Path
from typing import Final

from tlsnic.device.control import Card, Inspector
from tlsnic.device.shell.backend import LocalBackend
from tlsnic.device.shell.main import run
from tlsnic.device.shell.render import Output
from tlsnic.device.trace.describe import describe, is_secret, show_bytes
from tlsnic.device.trace.record import KEY_SUFFIX, Recorded, RecordReader
from tlsnic.device.trace.replay import (
    CoreFailed,
    Happened,
    Progress,
    Replay,
)
from tlsnic.device.trace.replayed_card import ReplayedCard
from tlsnic.device.trace.script import Difference
from tlsnic.device.trace.until import GRAMMAR, parse_until
from tlsnic.device.wire import WireError

EXIT_DIFFERENT: Final = 1
EXIT_UNUSABLE: Final = 2
_PROGRESS_S: Final = 1.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `tlsnic replay`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = (
        "Exit status: 0 when all that the cards did is as recorded, 1 at a difference, 2 when the "
        "file cannot be used.\n\nExamples:\n"
        "  tlsnic replay life.record\n"
        "  tlsnic replay life.record --until TLS_AUTH --shell\n"
        "  tlsnic replay life.record --until '#1234' --shell"
    )
    parser.add_argument("file", metavar="FILE", help="of `tlsnic device --record FILE`")
    parser.add_argument(
        "--key",
        metavar="FILE",
        help=f"what opens the sealed keys of TLS flows (default: FILE{KEY_SUFFIX})",
    )
    parser.add_argument(
        "--until", metavar="PLACE", help=f"stop there: {GRAMMAR}".replace("%", "%%")
    )
    parser.add_argument(
        "--shell",
        action="store_true",
        help="open the shell on the cards as they are where the replay stops",
    )
    parser.add_argument(
        "-c",
        action="append",
        dest="lines",
        default=[],
        metavar="COMMAND",
        help="run this in that shell; may be repeated",
    )
    parser.add_argument(
        "--json", action="store_true", help="one JSON document for each command of the shell"
    )
    parser.add_argument(
        "--color", choices=("auto", "always", "never"), default="auto", help="colours (%(default)s)"
    )
    parser.add_argument("--yes", action="store_true", help="do not ask before changes")


def main(arguments: argparse.Namespace) -> int:
    """Returns the exit status."""
    try:
        until = parse_until(arguments.until) if arguments.until else _never
    except ValueError as error:
        print(f"tlsnic replay: --until: {error}", file=sys.stderr)
        return EXIT_UNUSABLE
    meter = _Meter(arguments.file)
    status = 0
    wants_shell = arguments.shell or bool(arguments.lines)
    try:
        reader = RecordReader(arguments.file, arguments.key)
        replay = Replay(reader, keep_memory=wants_shell)
        try:
            stopped = replay.run(until, meter.report)
        except (Difference, CoreFailed) as difference:
            meter.end()
            _show(difference)
            stopped, status = True, EXIT_DIFFERENT
    except WireError as error:
        meter.end()
        print(f"tlsnic replay: {error}", file=sys.stderr)
        return EXIT_UNUSABLE
    meter.end()
    if arguments.until and not stopped:
        print(f"{arguments.until} is not in the record", file=sys.stderr)
        status = EXIT_DIFFERENT
    _summarize(replay, reader.damage, status, stopped)
    if wants_shell:
        status = _open_shell(replay, arguments) or status
    return status


def _never(_happened: Happened) -> bool:
    return False


def _summarize(replay: Replay, damage: str | None, status: int, stopped: bool) -> None:
    done = replay.progress
    what = (
        f"{done.inputs} inputs, {done.outputs} records of what the cards did and read"
        f", {done.now_ns / 1e9:.6f} s"
    )
    if status == EXIT_DIFFERENT and stopped:
        print(f"as recorded before that: {what}")
    else:
        where = f", stopped at #{done.number}" if stopped else ""
        print(f"all as recorded: {what}{where}")
    if damage is not None and not stopped:
        print(f"the record is not whole ({damage}); what is whole was replayed")


def _show(difference: Difference | CoreFailed) -> None:
    cause = difference.cause
    print(f"difference at #{cause.number}, {describe(cause.record)}:")
    if isinstance(difference, CoreFailed):
        error = difference.error
        print(f"  recorded:  no failure\n  now:       {type(error).__name__} in the core")
        frame = error.__traceback__
        while frame is not None and frame.tb_next is not None:
            frame = frame.tb_next
        if frame is not None:
            code = frame.tb_frame.f_code
            print(f"             {Path(code.co_filename).name}:{frame.tb_lineno} {code.co_name}")
        return
    expected, found = difference.expected, difference.found
    print(f"  recorded:  {_one(expected)}")
    if found is None:
        print("  now:       nothing more")
        return
    record, data = found
    print(f"  now:       {describe(record)}")
    if expected is None or is_secret(record) or is_secret(expected.record):
        return
    if expected.record != record and expected.record[1:] != record[1:]:
        for name, was, now in zip(record._fields, expected.record, record, strict=False):  # type: ignore[attr-defined]
            if type(record) is type(expected.record) and was != now:
                print(f"  {name}: {was:#x} recorded, {now:#x} now")
    if expected.data != data:
        at = _first_difference(expected.data, data)
        print(f"  from byte {at} on:")
        print(f"    recorded {show_bytes(expected.data, at)}")
        print(f"    now      {show_bytes(data, at)}")


def _one(recorded: Recorded | None) -> str:
    if recorded is None:
        return "nothing more"
    return f"#{recorded.number}, {describe(recorded.record)}"


def _first_difference(one: bytes, other: bytes) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))


class _Meter:
    """A line on a terminal that says how far a long replay is."""

    def __init__(self, path: str) -> None:
        self._shows = sys.stderr.isatty()
        self._size = Path(path).stat().st_size if Path(path).is_file() else 0
        self._next = time.monotonic() + _PROGRESS_S
        self._shown = False

    def report(self, progress: Progress) -> None:
        """Now and then."""
        if not self._shows or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _PROGRESS_S
        share = min(99, 100 * progress.bytes // max(1, self._size))
        seconds = progress.now_ns / 1e9
        self._shown = True
        print(
            f"\r{share:3d} %  #{progress.number}  {seconds:.3f} s  {progress.inputs} inputs",
            end="", file=sys.stderr, flush=True,
        )  # fmt: skip

    def end(self) -> None:
        """Clear the line."""
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            self._shown = False


def _open_shell(replay: Replay, arguments: argparse.Namespace) -> int:
    cards = [_standing(card) for card in replay.cards.values()]
    backend = LocalBackend(Inspector(cards), [card.identity() for card in cards])
    output = Output(as_json=arguments.json, color=arguments.color)
    return run(backend, output, arguments)


def _standing(replayed: ReplayedCard) -> Card:
    """A card whose time does not go on."""
    replayed.let_go()
    nic = replayed.nic
    return Card(
        nic, replayed.core, replayed.host,
        number=replayed.number, clock_ns=lambda: nic.journal.now_ns,
    )  # fmt: skip
