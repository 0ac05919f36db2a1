"""Timing on a noisy machine: baseline and candidate in turn, medians of several rounds, ratios.

A machine that others use changes its speed from second to second. So every round runs each measure
once, shortly after one another; the ratio is taken within each round, and its median is reported.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Final

Measure = Callable[[], float]
"""One round; returns microseconds per operation."""


@dataclass(frozen=True)
class Effort:
    """How long to measure: rounds per figure, and what every number of operations is multiplied by."""

    rounds: int = 9
    scale: float = 1.0

    def count(self, operations: int, step: int = 1) -> int:
        """The scaled number of operations, a multiple of `step` and at least one."""
        return max(1, round(operations * self.scale / step)) * step


@dataclass(frozen=True)
class Target:
    """What a ratio or value has to reach: a lower limit, or with `at_most` an upper one."""

    limit: float
    at_most: bool = False

    def met(self, value: float) -> bool:
        """Whether `value` reaches it."""
        return value <= self.limit if self.at_most else value >= self.limit


SPEED: Final = "speed"
COST: Final = "cost"
SHARE: Final = "share"


@dataclass(frozen=True)
class Row:
    """One line of the report.

    Attributes:
        name: of the figure, unique in a run: benchmark, then what was measured.
        what: for a reader.
        value: the figure, in `unit`.
        baseline: what it is compared with, in the same unit; None: nothing.
        baseline_name: what that is.
        kind: how `ratio` is meant: SPEED (rate compared with the baseline's, 1 is as fast), COST (so
            many times the baseline), SHARE (part of the baseline).
        ratio: see `kind`; None without a baseline.
        target: for the ratio, or for the value where there is no ratio.
    """

    name: str
    what: str
    value: float
    unit: str
    baseline: float | None = None
    baseline_name: str = ""
    kind: str = COST
    ratio: float | None = None
    target: Target | None = None

    @property
    def met(self) -> bool | None:
        """Whether the target is reached; None without one."""
        if self.target is None:
            return None
        return self.target.met(self.value if self.ratio is None else self.ratio)

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "name": self.name,
            "what": self.what,
            "value": self.value,
            "unit": self.unit,
            "baseline": self.baseline,
            "baseline_name": self.baseline_name,
            "kind": self.kind,
            "ratio": self.ratio,
            "target": None if self.target is None else self.target.limit,
            "target_at_most": None if self.target is None else self.target.at_most,
            "met": self.met,
        }


class Samples:
    """Microseconds per operation, one number per round and measure."""

    def __init__(self, rounds: list[dict[str, float]]) -> None:
        self._rounds = rounds

    def median(self, name: str) -> float:
        """The middle one of all rounds."""
        return median(taken[name] for taken in self._rounds)

    def ratio(self, name: str, baseline: str, kind: str) -> float:
        """The median of the rounds' ratios, as `Row.kind` says."""
        if kind == SPEED:
            return median(taken[baseline] / taken[name] for taken in self._rounds)
        return median(taken[name] / taken[baseline] for taken in self._rounds)

    def row(
        self,
        name: str,
        what: str,
        measure: str,
        baseline: str = "",
        *,
        kind: str = COST,
        target: Target | None = None,
    ) -> Row:
        """A report line of `measure`, beside the measure `baseline` unless that is empty."""
        if not baseline:
            return Row(name, what, self.median(measure), "µs", target=target)
        return Row(
            name,
            what,
            self.median(measure),
            "µs",
            baseline=self.median(baseline),
            baseline_name=baseline,
            kind=kind,
            ratio=self.ratio(measure, baseline, kind),
            target=target,
        )


def interleave(
    rounds: int,
    measures: Mapping[str, Measure],
    derive: Callable[[dict[str, float]], Mapping[str, float]] | None = None,
) -> Samples:
    """Run each measure once per round, after a first round that is not counted.

    `derive` makes further numbers from those of a round, such as differences of two.
    """
    taken: list[dict[str, float]] = []
    for number in range(rounds + 1):
        numbers = {name: measure() for name, measure in measures.items()}
        if derive is not None:
            numbers |= derive(numbers)
        if number:
            taken.append(numbers)
    return Samples(taken)


def repeat(operations: int, do: Callable[[], object]) -> float:
    """Microseconds of one call of `do`, over `operations` calls, the empty loop taken off."""
    steps = range(operations)
    start = time.perf_counter()
    for _ in steps:
        do()
    middle = time.perf_counter()
    for _ in steps:
        _nothing()
    end = time.perf_counter()
    return max(0.0, (middle - start) - (end - middle)) / operations * 1e6


def _nothing() -> None:
    """What `repeat` subtracts: a call that does nothing."""


def process_cpu_s(pid: int) -> float:
    """CPU time that a process has used, seconds (the clock of clock_getcpuclockid(3))."""
    return time.clock_gettime(~pid << 3 | 2)
