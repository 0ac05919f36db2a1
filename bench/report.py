"""Rows for a person (a table by rich) and for a program (JSON)."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.measure import COST, Row, Target


def show(rows: Sequence[Row], console: Console) -> None:
    """Print the table."""
    table = Table(box=None, pad_edge=False)
    for heading in ("name", "what"):
        table.add_column(heading, overflow="fold")
    for heading in ("figure", "baseline", "ratio", "target", ""):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            row.name,
            row.what,
            f"{row.value:.2f} {row.unit}",
            "" if row.baseline is None else f"{row.baseline:.2f} {row.unit}",
            "" if row.ratio is None else _ratio(row, row.ratio),
            "" if row.target is None else _target(row, row.target),
            {None: "", True: "met", False: "[bold red]missed"}[row.met],
        )
    console.print(table)
    for name in dict.fromkeys(row.baseline_name for row in rows if row.baseline_name):
        users = [row.name for row in rows if row.baseline_name == name]
        console.print(f"baseline of {', '.join(users)}: {name}", style="dim")


def _ratio(row: Row, value: float) -> str:
    return f"{value:.2f} ×" if row.kind == COST else f"{value:.1%}"


def _target(row: Row, target: Target) -> str:
    sign = "≤" if target.at_most else "≥"
    if row.ratio is None:
        return f"{sign} {target.limit:g} {row.unit}"
    return f"{sign} {target.limit:g} ×" if row.kind == COST else f"{sign} {target.limit:.0%}"


def save(rows: Sequence[Row], path: Path) -> None:
    """Write the rows and what they were measured on."""
    document = {
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "rows": [row.as_dict() for row in rows],
    }
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
