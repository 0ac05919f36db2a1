"""Tests as functions, results as rows of the suite's report and as KTAP: for bodies in a guest.

pytest is left out on purpose: its start alone takes seconds on an emulated CPU.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tlsnic.qemu.conformance_report import (
    FAILED,
    PASSED,
    SKIPPED,
    Report,
    Result,
    ktap_end,
    ktap_result,
    ktap_start,
)

Test = Callable[[], "dict[str, object] | None"]
"""Returns facts worth keeping, if there are any; raises when it fails."""


class Skip(Exception):
    """Raised by a test that cannot be carried out here; says why."""


@dataclass(frozen=True)
class Group:
    """Tests that belong to one row. `before` is run first; `label` tells repetitions apart.

    A test has so many `attempts`: more than one only where something that is not tested is known to
    fail now and then. The result tells how many it took, and what the first came to.
    """

    row: str
    tests: Sequence[Test]
    label: str = ""
    before: Callable[[], None] = lambda: None
    attempts: int = 1


def comment(text: str) -> None:
    """Say something between the results."""
    _say(f"# {text}\n")


def run(groups: Sequence[Group], after: Test, chosen: str = "") -> Report:
    """Run all tests in order, print a line for each, and give the results.

    `after` is run after each test, and belongs to it. `chosen` is a part of the names of those to
    run, or several with commas between; a function that is no test (`prepare`) is run where one of
    its group's tests is.
    """
    wanted = [(group, _chosen(group, chosen)) for group in groups]
    report = Report({"side": "linux"}, complete=False)
    _say(ktap_start(sum(len(tests) for _, tests in wanted)))
    for group, tests in wanted:
        if tests:
            group.before()
        for test in tests:
            report.results.append(_one(test, after, group))
            _say(ktap_result(len(report.results), report.results[-1]))
    _say(ktap_end(report))
    return report


def _chosen(group: Group, chosen: str) -> list[Test]:
    parts = chosen.split(",")

    def wanted(test: Test) -> bool:
        return any(part in test.__name__ for part in parts)

    tests = [test for test in group.tests if _is_test(test)]
    if tests and not any(map(wanted, tests)):
        return []
    return [test for test in group.tests if not _is_test(test) or wanted(test)]


def _is_test(test: Test) -> bool:
    return test.__name__.startswith("test_")


def _one(test: Test, after: Test, group: Group) -> Result:
    started_s = time.monotonic()
    attempts, first = 1, ""
    while True:
        outcome, text, details = _attempt(test)
        try:
            after()
        except Exception:
            # Another attempt would not make this undone.
            outcome, text = FAILED, text + traceback.format_exc()
            break
        if outcome != FAILED or attempts == group.attempts:
            break
        attempts += 1
        first = first or text
    if attempts > 1:
        details = {**details, "attempts": attempts, "first": _error_in(first)}
    name = test.__name__ if test.__module__ == "__main__" else f"{test.__module__}.{test.__name__}"
    name += f"[{group.label}]" if group.label else ""
    return Result(name, (group.row,), outcome, time.monotonic() - started_s, text, details)


def _attempt(test: Test) -> tuple[str, str, dict[str, object]]:
    """Outcome, what is said of it, details."""
    try:
        return PASSED, "", test() or {}
    except Skip as reason:
        return SKIPPED, str(reason), {}
    except Exception:
        return FAILED, traceback.format_exc(), {}


def _error_in(text: str) -> str:
    """The line of a traceback that names the (first) error."""
    _traceback, error, *_ = [line for line in text.splitlines() if line and not line[0].isspace()]
    return error


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
