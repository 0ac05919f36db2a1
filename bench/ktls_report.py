"""The KTLS tables for a reader, why a target was missed, and a plot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.table import Table

from bench.ktls import NIC, PART_OF_SOFTWARE, PLAIN, SOFTWARE, TOUCHED_MOST, WHAT, KtlsRow
from bench.ktls_rig import CIPHERS, CONNECTIONS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_RECORDS_IN_GB: Final = 1e9 / 16384
_VERDICT: Final = {True: "reached", False: "[bold red]missed"}
_HOST, _DEVICE = "#1f6f8b", "#cfcfcf"
_COLOURS: Final = {"": "#8a8a8a", "AES-128-GCM": "#1f6f8b", "AES-256-GCM": "#99c1cf"}


def show(rows: Sequence[KtlsRow], console: Console) -> None:
    """Print the table and what it means."""
    table = Table(box=None, pad_edge=False)
    for heading in ("", "cipher"):
        table.add_column(heading)
    for heading in (
        "goodput\nMB/s", "of\nplain", "host CPU\ns/GB", "of\nplain", "TLS adds\ns/GB",
        "card's CPU\ns/GB", "touched\nbytes/byte",
    ):  # fmt: skip
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            WHAT[row.mode],
            row.cipher,
            f"{row.goodput_mb_s:.0f}",
            f"{row.speed_of_plain:.2f}",
            f"{row.value:.2f}",
            f"{row.against_plain:.2f}",
            "" if row.mode == PLAIN else f"{row.added_s_gb:.2f}",
            f"{row.device_s_gb:.2f}",
            f"{row.touched:.2f}",
        )
    console.print(table)
    console.print(
        f"TLS 1.2, {CONNECTIONS} connections; medians. The host's CPU time is that of program, sockets, "
        "TCP, driver and workers.",
        style="dim",
    )
    for row in rows:
        if row.mode == NIC:
            touched = row.touched <= TOUCHED_MOST
            console.print(
                f"NIC TLS, {row.cipher}: {row.touched:.2f} bytes touched per byte "
                f"({_VERDICT[touched]}: 0.00); {row.ratio or 0:.2f} of software KTLS's CPU time "
                f"({_VERDICT[row.ratio is not None and row.ratio <= PART_OF_SOFTWARE]}: at most "
                f"{PART_OF_SOFTWARE:.2f})"
            )
    for text in explain(rows):
        console.print(text)


def explain(rows: Sequence[KtlsRow]) -> list[str]:
    """Why NIC TLS did not come to a third: arithmetic with this run's figures."""
    lines = []
    (plain,) = [row for row in rows if row.mode == PLAIN]
    for cipher in CIPHERS:
        by_mode = {row.mode: row for row in rows if row.cipher == cipher}
        nic, software = by_mode[NIC], by_mode[SOFTWARE[1]]
        if nic.met is not False:
            continue
        most = software.value * PART_OF_SOFTWARE
        # plain + 0 <= (plain + added) / 3
        plain_most = max(software.added_s_gb, 0) / 2
        lines.append(
            f"{cipher}: a third of software KTLS is {most:.2f} s/GB. sendfile without any TLS costs "
            f"{_cost(plain.value)}: socket, TCP and driver, in Python. No card can take that, so that "
            f"{plain.value:.2f} / {software.value:.2f} = {plain.value / software.value:.2f} is the least "
            f"there could be; for a third it had to cost at most {_cost(plain_most)}, with a card whose "
            f"TLS costs the host nothing. What a card can take is what TLS adds: "
            f"{software.added_s_gb:.2f} s/GB in software, of which AES-GCM alone is "
            f"{software.crypto_s_gb:.2f}; {nic.added_s_gb:.2f} with the card, {_part(nic, software)}."
        )
    return lines


def _cost(s_gb: float) -> str:
    return f"{s_gb:.2f} s/GB, {s_gb / _RECORDS_IN_GB * 1e6:.0f} µs for 16 KiB"


def _part(nic: KtlsRow, software: KtlsRow) -> str:
    if software.added_s_gb <= 0:
        return "which this run cannot tell from nothing"
    return f"{max(nic.added_s_gb, 0) / software.added_s_gb:.2f} of it"


def plot(rows: Sequence[KtlsRow], path: Path) -> None:
    """Draw goodput, CPU time and bytes touched as SVG; the same rows give the same file."""
    import matplotlib as mpl  # noqa: PLC0415 - slow to import, and only needed here
    from matplotlib.figure import Figure  # noqa: PLC0415

    with mpl.rc_context({"svg.hashsalt": "ktls", "svg.fonttype": "none", "font.size": 8}):
        figure = Figure(figsize=(9, 3.2), layout="constrained")
        goodput, cpu, touched = figure.subplots(1, 3, sharey=True)
        _panel(goodput, rows, [row.goodput_mb_s for row in rows], "goodput, MB/s")
        _panel(cpu, rows, [row.value for row in rows], "host CPU (the card's in grey), s/GB")
        cpu.barh(
            range(len(rows)),
            [row.device_s_gb for row in rows],
            left=[row.value for row in rows],
            color=_DEVICE,
        )
        _panel(touched, rows, [row.touched for row in rows], "payload bytes touched per byte")
        goodput.invert_yaxis()
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})


def _panel(axes: Axes, rows: Sequence[KtlsRow], values: Sequence[float], title: str) -> None:
    places = range(len(rows))
    bars = axes.barh(places, values, color=[_COLOURS[row.cipher] for row in rows])
    axes.bar_label(bars, fmt="%.3g", padding=2, fontsize=7)
    axes.set_yticks(list(places), [row.what for row in rows])
    axes.set_title(title, fontsize=8)
    axes.margins(x=0.2)
