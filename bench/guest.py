"""The HTTPS table of the talks on kernel TLS, measured in a guest with the Linux driver.

nginx in the guest sends a file to curl in a network namespace of the host, with TLS in nginx
itself, in the guest's kernel, and on the card: sendfile with and without encryption by the CPU.
All ways take turns within each round, inside one guest. How long a transfer takes is measured by
the client; the CPU is what both of the guest's processors were not idle meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final

from bench.measure import SPEED, Effort, Row, Target

USERLAND: Final = "userland"
KERNEL: Final = "kernel"
CARD: Final = "card"
WAYS: Final = {USERLAND: "TLS in nginx", KERNEL: "kTLS in software", CARD: "kTLS on the card"}
FASTER: Final = 2.0
CHEAPER: Final = 0.5
"""The card must reach one of the two, beside each of the others."""
MEGABYTES: Final = 20
_LEAST_S: Final = 240.0
_ROUND_S: Final = 60.0


@dataclass(frozen=True)
class Figure:
    """One transfer."""

    way: str
    suite: str
    workers: int
    bytes: int
    elapsed_s: float
    cpu_s: float

    @property
    def mbyte_per_s(self) -> float:
        """Goodput."""
        return self.bytes / self.elapsed_s / 1e6

    @property
    def ms_per_mbyte(self) -> float:
        """CPU time of the guest."""
        return self.cpu_s * 1e3 / (self.bytes / 1e6)


@dataclass(frozen=True)
class Case:
    """One line of the table: a suite and a number of workers, `figures` by way and round."""

    suite: str
    workers: int
    figures: dict[str, list[Figure]] = field(default_factory=dict)

    def goodput(self, way: str) -> float:
        """MB/s, the median of all rounds."""
        return median(figure.mbyte_per_s for figure in self.figures[way])

    def cpu(self, way: str) -> float:
        """ms per MB, the median of all rounds."""
        return median(figure.ms_per_mbyte for figure in self.figures[way])

    def faster(self, than: str) -> float:
        """Goodput of the card, so many times that of another way: median of the rounds' ratios."""
        return median(
            card.mbyte_per_s / other.mbyte_per_s
            for card, other in zip(self.figures[CARD], self.figures[than], strict=True)
        )

    def share(self, than: str) -> float:
        """CPU per byte with the card, as part of another way's: median of the rounds' ratios."""
        return median(
            card.ms_per_mbyte / other.ms_per_mbyte
            for card, other in zip(self.figures[CARD], self.figures[than], strict=True)
        )

    def met(self, than: str) -> bool:
        """Whether the card reaches what it must beside another way."""
        return self.faster(than) >= FASTER or self.share(than) <= CHEAPER


@dataclass(frozen=True)
class GuestRow(Row):
    """The card beside one other way. `value` is its goodput; `ratio` how many times the other's."""

    case: Case = field(default_factory=lambda: Case("", 0))
    than: str = KERNEL

    @property
    def met(self) -> bool | None:
        return self.case.met(self.than)

    def as_dict(self) -> dict[str, object]:
        case = self.case
        return {
            **super().as_dict(),
            "suite": case.suite,
            "workers": case.workers,
            "beside": self.than,
            "mbyte_per_s": {way: case.goodput(way) for way in WAYS},
            "cpu_ms_per_mbyte": {way: case.cpu(way) for way in WAYS},
            "cpu_share": case.share(self.than),
        }


def run(effort: Effort) -> list[Row]:
    """Boot a guest and measure all cases. Raises as `run_in_guest`, and RuntimeError."""
    # Imported here: these boot guests, and most benchmarks need none.
    from tlsnic.qemu.linux import launch_linux  # noqa: PLC0415

    cases: dict[tuple[str, int], Case] = {}

    def take(**fields: Any) -> None:
        figure = Figure(**fields)
        key = (figure.suite, figure.workers)
        case = cases.setdefault(key, Case(*key))
        case.figures.setdefault(figure.way, []).append(figure)

    megabytes = effort.count(MEGABYTES)
    result = launch_linux(
        ["speed.py", str(effort.rounds), str(megabytes)],
        on_call={"bench.figure": take},
        timeout_s=_LEAST_S + _ROUND_S * effort.rounds,
    )
    if result.exit_status:
        raise RuntimeError(f"the guest could not measure:\n{result.output}\n{result.console}")
    return [
        GuestRow(
            f"guest.{case.suite}.{case.workers}.{than}",
            f"{megabytes} MB by HTTPS, {WAYS[CARD]}",
            case.goodput(CARD),
            "MB/s",
            baseline=case.goodput(than),
            baseline_name=WAYS[than],
            kind=SPEED,
            ratio=case.faster(than),
            target=Target(FASTER),
            case=case,
            than=than,
        )
        for case in cases.values()
        for than in (KERNEL, USERLAND)
    ]
