"""The loss experiment for a reader: a table for each way of resync, and a plot of all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.table import Table

from bench.loss import ANY, FLOWS, HOST, LOSSES, MODES, PART_OF_BOUND, ROUND_TRIPS, TAG, LossRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_VERDICT: Final = {None: "", True: "reached", False: "[bold red]missed"}
_BAR: Final = 0.38
"""Width, where loss rates are 1 apart."""
_FULLY, _PARTLY = "#1f6f8b", "#99c1cf"
_PUBLISHED_FULLY, _PUBLISHED_PARTLY = "#8a8a8a", "#cfcfcf"


def show(rows: Sequence[LossRow], console: Console) -> None:
    """Print the tables and what they mean."""
    for mode in MODES:
        _show_mode([row for row in rows if row.mode is mode], console)
    first = rows[0].shares
    console.print(
        f"{first.records} records of 16 KiB in {FLOWS} flows for each row; ± is the standard error.\n"
        "RTT: round trip, in segments of the flow.\n"
        "bound: (1-p)^k, with k the mean number of segments that a record touches, here"
        f" {first.segments_per_record:.2f}.\n"
        "whole: records that lost no segment in this run, whose mean is the bound.",
        style="dim",
    )
    for text in explain(rows):
        console.print(text)


def _show_mode(rows: Sequence[LossRow], console: Console) -> None:
    title = f"{rows[0].mode.what}, in % of records"
    table = Table(box=None, pad_edge=False, title_justify="left", title=title)
    headings = (
        "RTT", "loss", "fully", "±", "published", "partly", "published", "not", "bound",
        "fully/bound", "whole", "fully/whole", "target", "",
    )  # fmt: skip
    for heading in headings:
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            str(row.round_trip or "any"),
            f"{row.loss:.0%}",
            f"{row.value:.1f}",
            f"{row.error:.1f}",
            f"{row.published.fully:.1f}",
            f"{row.partly:.1f}",
            f"{row.published.partly:.1f}",
            f"{100 - row.value - row.partly:.1f}",
            f"{row.bound:.1f}",
            f"{row.value / row.bound:.3f}",
            f"{row.whole:.1f}",
            f"{row.value / row.whole:.3f}",
            _target(row),
            _VERDICT[row.met],
            end_section=row.loss in (LOSSES[0], LOSSES[-1]),
        )
    console.print(table)
    console.print()


def _target(row: LossRow) -> str:
    if row.target is None:
        return ""
    return f"≥ {row.published.fully:.1f}" if row.mode is HOST else f"≥ {PART_OF_BOUND:g} bound"


def explain(rows: Sequence[LossRow]) -> list[str]:
    """Why targets were missed: the arithmetic of what this traffic allows."""
    missed = [row for row in rows if row.met is False]
    beyond = [row for row in missed if row.mode is TAG and row.tag_ceiling < PART_OF_BOUND]
    lines = [
        f"{row.mode.what}, loss {row.loss:.0%}, round trip {row.round_trip}: in reach, and missed."
        for row in missed
        if row not in beyond
    ]
    for loss in LOSSES:
        alike = [row for row in beyond if row.loss == loss]
        if alike:
            trips = ", ".join(str(row.round_trip) for row in alike)
            measured = ", ".join(f"{row.value / row.bound:.3f}" for row in alike)
            lines.append(
                f"{TAG.what}, loss {loss:.0%}, round trip {trips}: out of reach."
                f" {_tag_arithmetic(alike[0])} Measured: {measured}."
            )
    return lines


def _tag_arithmetic(row: LossRow) -> str:
    whole = (1 - row.loss) ** (row.shares.segments_per_record - 1)
    return (
        "A whole record is decrypted when its number is known at its header. Behind a lost header,"
        f" p = {row.loss:g} per record, it is known again when the tag of a whole record was seen,"
        f" (1-p)^(k-1) = {whole:.3f} per record. Of the bound that leaves {whole:.3f} / ({whole:.3f} +"
        f" {row.loss:g}) = {row.tag_ceiling:.3f}. The record behind a lost header can never be had,"
        f" since its number is proven at its end: {1 - row.loss:.3f} of the bound at most, however"
        " early a retransmission helps."
    )


def plot(rows: Sequence[LossRow], path: Path) -> None:
    """Draw all shares as SVG; the same rows give the same file."""
    import matplotlib as mpl  # noqa: PLC0415 - slow to import, and only needed here
    from matplotlib.figure import Figure  # noqa: PLC0415

    with mpl.rc_context({"svg.hashsalt": "loss", "svg.fonttype": "none", "font.size": 8}):
        figure = Figure(figsize=(9, 6.6), layout="constrained")
        grid = figure.subplots(len(MODES), len(ROUND_TRIPS), sharex=True, sharey=True)
        for axes_row, mode in zip(grid, MODES, strict=True):
            for axes, round_trip in zip(axes_row, ROUND_TRIPS, strict=True):
                trips = (ANY, round_trip)
                _panel(axes, [row for row in rows if row.mode is mode and row.round_trip in trips])
                axes.set_title(f"{mode.what}, round trip {round_trip}", fontsize=8)
        for axes in grid[:, 0]:
            axes.set_ylabel("% of records")
        for axes in grid[-1]:
            axes.set_xlabel("loss of segments (round trips are in segments)")
        handles, labels = grid[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=5, frameon=False)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})


def _panel(axes: Axes, rows: Sequence[LossRow]) -> None:
    places = range(len(rows))
    left = [place - _BAR / 2 for place in places]
    right = [place + _BAR / 2 for place in places]
    fully = [row.value for row in rows]
    published = [row.published.fully for row in rows]
    axes.bar(left, fully, _BAR, color=_FULLY, label="fully offloaded")
    axes.bar(left, [row.partly for row in rows], _BAR, bottom=fully, color=_PARTLY, label="partly")
    axes.bar(right, published, _BAR, color=_PUBLISHED_FULLY, label="fully, published")
    axes.bar(
        right,
        [row.published.partly for row in rows],
        _BAR,
        bottom=published,
        color=_PUBLISHED_PARTLY,
        label="partly, published",
    )
    axes.hlines(
        [row.bound for row in rows],
        [place - 0.45 for place in places],
        [place + 0.45 for place in places],
        color="black",
        linewidth=1,
        label="bound (1-p)^k",
    )
    axes.set_xticks(list(places), [f"{row.loss:.0%}" for row in rows])
    axes.set_ylim(0, 100)
