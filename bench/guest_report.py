"""The HTTPS table of a guest for a reader, and its plot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.table import Table

from bench.guest import CARD, CHEAPER, FASTER, KERNEL, USERLAND, WAYS, Case, GuestRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS: Final = {USERLAND: "#cfcfcf", KERNEL: "#99c1cf", CARD: "#1f6f8b"}
_BAR: Final = 0.26
"""Width, where cases are 1 apart."""


def cases_of(rows: Sequence[GuestRow]) -> list[Case]:
    """The cases, each once."""
    return list({id(row.case): row.case for row in rows}.values())


def show(rows: Sequence[GuestRow], console: Console) -> None:
    """Print the tables."""
    cases = cases_of(rows)
    goodput = _table("goodput, MB/s")
    cpu = _table("CPU of the guest, ms per MB")
    for case in cases:
        name = (case.suite, str(case.workers))
        goodput.add_row(
            *name,
            *(f"{case.goodput(way):.1f}" for way in WAYS),
            *(f"{case.faster(than):.2f} ×" for than in (USERLAND, KERNEL)),
        )
        cpu.add_row(
            *name,
            *(f"{case.cpu(way):.1f}" for way in WAYS),
            *(f"{case.share(than):.2f} ×" for than in (USERLAND, KERNEL)),
        )
    console.print(goodput)
    console.print()
    console.print(cpu)
    rounds = len(cases[0].figures[CARD])
    console.print(
        f"{rows[0].what}, with as many clients as workers; medians of {rounds} rounds.\n"
        f"The last two columns are {WAYS[CARD]} beside the others, within each round. To reach:"
        f" goodput ≥ {FASTER:g} ×, or CPU per byte ≤ {CHEAPER:g} ×.",
        style="dim",
    )
    for row in rows:
        verdict = "reached" if row.met else "[bold red]missed"
        console.print(f"{row.name}, beside {WAYS[row.than]}: {verdict}")


def _table(title: str) -> Table:
    table = Table(box=None, pad_edge=False, title=title, title_justify="left")
    table.add_column("suite")
    for heading in ("workers", *WAYS.values(), f"÷ {WAYS[USERLAND]}", f"÷ {WAYS[KERNEL]}"):
        table.add_column(heading, justify="right")
    return table


def plot(rows: Sequence[GuestRow], path: Path) -> None:
    """Draw goodput and CPU as SVG; the same rows give the same file."""
    import matplotlib as mpl  # noqa: PLC0415 - slow to import, and only needed here
    from matplotlib.figure import Figure  # noqa: PLC0415

    cases = cases_of(rows)
    with mpl.rc_context({"svg.hashsalt": "guest", "svg.fonttype": "none", "font.size": 8}):
        figure = Figure(figsize=(9, 3.4), layout="constrained")
        left, right = figure.subplots(1, 2)
        _panel(left, cases, {way: [case.goodput(way) for case in cases] for way in WAYS})
        left.set_ylabel("goodput, MB/s")
        _panel(right, cases, {way: [case.cpu(way) for case in cases] for way in WAYS})
        right.set_ylabel("CPU of the guest, ms per MB")
        handles, labels = left.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})


def _panel(axes: Axes, cases: Sequence[Case], values: dict[str, list[float]]) -> None:
    for number, (way, heights) in enumerate(values.items()):
        places = [place + (number - 1) * _BAR for place in range(len(cases))]
        bars = axes.bar(places, heights, _BAR, color=_COLOURS[way], label=WAYS[way])
        axes.bar_label(bars, fmt="{:.0f}", fontsize=7)
    names = [f"{case.suite}\n{case.workers} worker{'s' * (case.workers > 1)}" for case in cases]
    axes.set_xticks(range(len(cases)), names)
    axes.spines[["top", "right"]].set_visible(False)
