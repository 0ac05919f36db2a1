"""The suite on the host, by several processes at once: each has a card and its share of the files.

A driver and its card take turns, and some tests wait for real time, so a pair of them keeps less
than one core busy. What all print comes out as one KTAP document, result by result as the tests end.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import socket
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tlsnic.qemu.conformance_parts import read_report
from tlsnic.qemu.conformance_report import Report, ktap_end, ktap_start, merged
from tlsnic.qemu.supervise import Child, run_async

SHARES = 4
"""On two cores: four took 84 s, two 113 s, one 156 s, with the same processor time."""
_CLEAN_UP_S = 10.0
_DRAIN_S = 2.0
_LONGEST_LINE_BYTES = 1 << 26
_PLAN = re.compile(r"1\.\.(\d+)\n")
_RESULT = re.compile(r"((?:not )?ok) \d+ ")
# Another suite it would be with these.
_ENVIRONMENT = {"PYTEST_ADDOPTS": ""}


def run_shares(
    command: Sequence[str], folder: Path, shares: int = SHARES
) -> tuple[Report | None, int]:
    """Run pytest with `command`, `shares` times at once, each with its share of the files.

    Their reports are left in `folder`. Returns the report of all, None when one is missing, and
    pytest's exit status. Raises `Interrupted`; what came of the tests until then is told, too.
    """
    paths = [folder / f"{number}.json" for number in range(1, shares + 1)]
    commands = [
        [*command, f"--share={number}/{shares}", "--conformance-json", str(path)]
        for number, path in enumerate(paths, start=1)
    ]
    try:
        status = run_async(_run(commands))
    finally:
        report = _whole(paths)
        if report is not None:
            _say(ktap_end(report))
    return report, status


def _whole(paths: Sequence[Path]) -> Report | None:
    """The shares as one report, as a single process writes it."""
    reports = [report for path in paths if (report := read_report(path)) is not None]
    if len(reports) < len(paths):
        return None
    whole = merged(reports)
    # Files in order; the sort keeps the order of the tests in each.
    results = sorted(whole.results, key=lambda result: result.name.partition("::")[0])
    # A share cannot tell whether a row is missing: the others may have it.
    return replace(whole, results=results, complete=whole.complete or len(reports) > 1)


async def _run(commands: Sequence[Sequence[str]]) -> int:
    """Run all, and show what they print as one document; the first exit status that is not 0."""
    async with contextlib.AsyncExitStack() as undo:
        children = []
        outputs = []
        for command in commands:
            ours, theirs = socket.socketpair()
            with theirs:
                output, writer = await asyncio.open_connection(sock=ours, limit=_LONGEST_LINE_BYTES)
                undo.callback(writer.close)
                child = Child(command, name="pytest", stdout=theirs.fileno(), env=_ENVIRONMENT)
            # Its own clean-up stops the card and leaves nothing behind, so it gets the time.
            undo.push_async_callback(child.finish, grace_s=_CLEAN_UP_S)
            children.append(child)
            outputs.append(output)
        shown = asyncio.ensure_future(_show(outputs))
        ended = asyncio.gather(*(child.ended() for child in children))
        try:
            await asyncio.wait((shown, ended), return_when=asyncio.FIRST_COMPLETED)
            if shown.done():
                shown.result()  # raises when there is nobody any more to show it to
            return next(filter(None, await ended), 0)
        finally:
            ended.cancel()
            await asyncio.gather(*(child.finish(grace_s=_CLEAN_UP_S) for child in children))
            await asyncio.wait((shown,), timeout=_DRAIN_S)
            shown.cancel()


async def _show(outputs: Sequence[asyncio.StreamReader]) -> None:
    """One KTAP document of several, as they come."""
    plans = await asyncio.gather(*(_plan(output) for output in outputs))
    _say(ktap_start(sum(plans)))
    numbers = itertools.count(1)
    await asyncio.gather(*(_results(output, numbers) for output in outputs))


async def _plan(output: asyncio.StreamReader) -> int:
    """How many tests a document announces; 0 when it ends before it does."""
    while line := (await output.readline()).decode(errors="replace"):
        if plan := _PLAN.fullmatch(line):
            return int(plan[1])
    return 0


async def _results(output: asyncio.StreamReader, numbers: itertools.count[int]) -> None:
    """Results with the lines that explain them, numbered anew. The end is told of all together."""
    lines: list[str] = []
    while line := (await output.readline()).decode(errors="replace"):
        result = _RESULT.match(line)
        if result is None:
            lines.append(line)
            continue
        _say("".join([*lines, f"{result[1]} {next(numbers)} {line[result.end() :]}"]))
        lines.clear()


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
