"""What a run of the conformance suite comes to: results by row, as KTAP and as JSON.

KTAP version 1: Documentation/dev-tools/ktap.rst of Linux. Only the standard library, and nothing of
pytest: guests and hosts both write reports, and the host reads those of a guest.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tlsnic.qemu.linux_rows import LINUX_ROWS

_COVERED: Mapping[str, Iterable[int]] = {
    "BUS": range(1, 11),
    "NET": range(1, 11),
    "SET": range(1, 12),
    "TX": range(1, 24),
    "RX": range(1, 17),
    "RSY": range(1, 13),
    "LIF": range(1, 11),
    "STA": range(1, 4),
    "KTLS": range(1, 14),
}
ROWS = tuple(f"{area}-{number:02}" for area, numbers in _COVERED.items() for number in numbers)
"""The rows of the conformance list that this suite must cover."""

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"
MISSING = "missing"
"""Status of a row that a whole run has no test of; counts as a failure."""


@dataclass(frozen=True)
class Result:
    """One test: `outcome` is PASSED, FAILED or SKIPPED; a skip has its reason in `text`.

    `details` are facts worth keeping: repetition counts, rates.
    """

    name: str
    rows: tuple[str, ...]
    outcome: str
    duration_s: float
    text: str = ""
    details: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.outcome not in (PASSED, FAILED, SKIPPED):
            raise ValueError(f"{self.name}: {self.outcome!r} is no outcome")
        if self.outcome == SKIPPED and not self.text:
            raise ValueError(f"{self.name}: a skip needs a reason")
        if not self.rows:
            raise ValueError(f"{self.name}: a test belongs to a row at least")


@dataclass
class Report:
    """All results of a run.

    `complete` says that every row was asked for, so that one without a test is MISSING.
    `not_applicable` names tests that are made for the other side (host or guest). `problems` are
    failures that belong to no test: collection, a session that ended early.
    """

    environment: dict[str, object]
    results: list[Result] = field(default_factory=list)
    complete: bool = True
    not_applicable: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def rows(self) -> dict[str, dict[str, object]]:
        """{row: {"status", "tests"}}. A row is passed only when all its tests are."""
        tests: dict[str, list[Result]] = {row: [] for row in ROWS} if self.complete else {}
        for result in self.results:
            for row in result.rows:
                tests.setdefault(row, []).append(result)
        return {
            row: {"status": _status(results), "tests": [result.name for result in results]}
            for row, results in sorted(tests.items())
        }

    def count(self, outcome: str) -> int:
        """Tests with this outcome; FAILED counts missing rows and problems too."""
        number = sum(result.outcome == outcome for result in self.results)
        if outcome == FAILED:
            number += len(self.problems)
            number += sum(row["status"] == MISSING for row in self.rows().values())
        return number

    @property
    def ok(self) -> bool:
        """Nothing failed, and something passed."""
        return self.count(FAILED) == 0 and self.count(PASSED) > 0

    def summary(self) -> str:
        """The run in one line."""
        line = f"guest-tests: {self.count(PASSED)} passed, {self.count(FAILED)} failed"
        skipped = self.count(SKIPPED)
        return f"{line}, {skipped} skipped" if skipped else line

    def to_json(self) -> dict[str, object]:
        """Plain data: environment, rows by ID, tests."""
        return {
            "environment": self.environment,
            "complete": self.complete,
            "rows": self.rows(),
            "tests": [
                {
                    "name": result.name,
                    "rows": list(result.rows),
                    "outcome": result.outcome,
                    "duration_s": round(result.duration_s, 3),
                    "text": result.text,
                    "details": dict(result.details),
                }
                for result in self.results
            ],
            "not_applicable": list(self.not_applicable),
            "problems": list(self.problems),
            "passed": self.count(PASSED),
            "failed": self.count(FAILED),
            "skipped": self.count(SKIPPED),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> Report:
        """The report that `to_json` gave. Raises ValueError when it is none."""
        try:
            raw = json.loads(json.dumps(data))
            results = [
                Result(
                    test["name"],
                    tuple(test["rows"]),
                    test["outcome"],
                    test["duration_s"],
                    test["text"],
                    test["details"],
                )
                for test in raw["tests"]
            ]
            return cls(
                raw["environment"],
                results,
                raw["complete"],
                raw["not_applicable"],
                raw["problems"],
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"this is no conformance report: {error!r}") from None


def _status(results: Sequence[Result]) -> str:
    if not results:
        return MISSING
    outcomes = {result.outcome for result in results}
    return next((o for o in (FAILED, SKIPPED) if o in outcomes), PASSED)


def merged(reports: Sequence[Report]) -> Report:
    """One report of several runs that each had a part of the tests.

    A test is not applicable when it ran in none of them, by its name alone or with a run's in
    brackets behind it.
    """
    first = reports[0]
    names = [result.name for report in reports for result in report.results]
    return Report(
        environment=first.environment,
        results=[result for report in reports for result in report.results],
        complete=any(report.complete for report in reports),
        not_applicable=sorted(
            name
            for name in {name for report in reports for name in report.not_applicable}
            if not any(ran == name or ran.startswith(f"{name}[") for ran in names)
        ),
        problems=[problem for report in reports for problem in report.problems],
    )


# KTAP


def ktap_start(planned: int) -> str:
    """Version and plan."""
    return f"KTAP version 1\n1..{planned}\n"


def ktap_result(number: int, result: Result) -> str:
    """The line of one test, after the lines that explain it."""
    lines = [] if result.outcome == SKIPPED else _diagnostic_lines(result.text)
    facts = ", ".join(f"{name}={value}" for name, value in result.details.items())
    if facts:
        lines.append(f"# {facts}")
    verdict = "not ok" if result.outcome == FAILED else "ok"
    name = f"{'+'.join(result.rows)} {result.name}".replace("#", "_")
    directive = f" # SKIP {_one_line(result.text)}" if result.outcome == SKIPPED else ""
    return "\n".join([*lines, f"{verdict} {number} {name}{directive}", ""])


def ktap_end(report: Report) -> str:
    """Rows, problems and totals; the last line is `Report.summary`."""
    lines = []
    for row, content in report.rows().items():
        if content["status"] != PASSED:
            lines.append(f"# row {row}: {content['status']}")
    for problem in report.problems:
        lines += _diagnostic_lines(problem)
    lines.append(
        f"# Totals: pass:{report.count(PASSED)} fail:{report.count(FAILED)} xfail:0 xpass:0 "
        f"skip:{report.count(SKIPPED)} error:0"
    )
    return "\n".join([*lines, report.summary(), ""])


def _diagnostic_lines(text: str) -> list[str]:
    return [f"# {line}".rstrip() for line in text.splitlines()]


def _one_line(text: str) -> str:
    return " ".join(text.split())


# Which rows


def parse_rows(text: str) -> frozenset[str]:
    """Rows from "BUS,NET-03". Raises ValueError for one that does not exist."""
    chosen: set[str] = set()
    every = (*ROWS, *LINUX_ROWS)
    for word in filter(None, (part.strip().upper() for part in text.split(","))):
        found = {row for row in every if row == word or row.startswith(f"{word}-")}
        if not found:
            raise ValueError(f"no row or group {word!r}; there are {_groups(every)}")
        chosen |= found
    if not chosen:
        raise ValueError("no row is named")
    return frozenset(chosen)


def _groups(rows: Iterable[str]) -> str:
    return ", ".join(sorted({row.partition("-")[0] for row in rows})) + f" ({', '.join(rows)})"
