"""Printing: tables and colours for a terminal, plain lines of full width for a pipe."""

import io
import json
import sys
from collections.abc import Iterable, Sequence
from typing import IO, Any, Final

from rich.console import Console, Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

PIPE_WIDTH: Final = 4000
"""Wider than any line, so that nothing wraps."""
GOOD, BAD, WARN, DIM, NAME, HEAD = "green", "bold red", "yellow", "dim", "cyan", "bold"
_STATE_STYLES: Final = {
    "RUNNING": GOOD,
    "OFFLOAD": GOOD,
    "SENDING": GOOD,
    "DESTROYING": WARN,
    "ERROR": BAD,
    "HALTED": BAD,
    "SEARCH": WARN,
    "TRACK": WARN,
    "DISABLED": DIM,
    "NONE": DIM,
}


class Output:
    """Where a shell writes, and how."""

    def __init__(
        self,
        file: IO[str] | None = None,
        *,
        as_json: bool = False,
        color: str = "auto",
        width: int | None = None,
    ) -> None:
        self.as_json = as_json
        self.file = sys.stdout if file is None else file
        self.terminal = self.file.isatty()
        if width is None and not self.terminal:
            width = PIPE_WIDTH
        self.width = width
        self.colored = color == "always" or (color == "auto" and self.terminal)
        self.console = self.make_console(self.file)
        # Errors of a script must not get into what another program reads.
        self.errors = self.make_console(sys.stderr) if file is None else self.console

    def make_console(self, file: IO[str]) -> Console:
        """A console with the same looks, into another file."""
        return Console(
            file=file,
            width=self.width,
            force_terminal=self.colored or self.terminal,
            color_system="standard" if self.colored else None,
            no_color=not self.colored,
            highlight=False,
            markup=False,
            emoji=False,
            soft_wrap=False,
        )

    def render(self, shown: Iterable[RenderableType]) -> str:
        """The text of it, without blanks at the ends of lines."""
        with self.console.capture() as capture:
            for item in shown:
                self.console.print(item)
        lines = capture.get().split("\n")
        return "\n".join(line.rstrip(" ") for line in lines)

    def plain(self) -> "Output":
        """The same width without colours and control codes, to compare what is shown."""
        width = self.console.width
        return Output(io.StringIO(), color="never", width=width)

    def show(self, shown: Iterable[RenderableType]) -> None:
        """Print for people; nothing when this shell prints JSON."""
        if not self.as_json:
            self.file.write(self.render(shown))
            self.file.flush()

    def document(self, value: Any) -> None:
        """Print a JSON document on one line."""
        print(json.dumps(value), file=self.file, flush=True)

    def error(self, message: str, fix: str = "") -> None:
        """Print an error for people."""
        text = Text("error: ", style=BAD).append(message, style="default")
        self.errors.print(text, soft_wrap=True)
        if fix:
            self.errors.print(Text("fix: ", style=WARN).append(fix, "default"), soft_wrap=True)


def cell(value: object) -> Text:
    """A value in a table: never read as markup; states have their colours."""
    if isinstance(value, Text):
        return value
    if isinstance(value, bool):
        value = "yes" if value else "no"
    text = "" if value is None else str(value)
    return Text(text, style=_STATE_STYLES.get(text, ""))


def table(columns: Sequence[str | Column], rows: Iterable[Sequence[object]]) -> RenderableType:
    """A table without lines: one row per line, so that other programs can read it, too.

    A column's name with ">" in front is for numbers.
    """
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style=HEAD)
    for column in columns:
        if isinstance(column, Column):
            grid.columns.append(column)
            column._index = len(grid.columns) - 1
        elif column.startswith(">"):
            grid.add_column(column[1:], justify="right", no_wrap=True)
        elif column.startswith("="):
            grid.add_column(column[1:], no_wrap=True)
        else:
            grid.add_column(column, overflow="fold")
    for row in rows:
        grid.add_row(*map(cell, row))
    return grid


def pairs(rows: Iterable[tuple[str, object]]) -> RenderableType:
    """Names and values below each other."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style=NAME, no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in rows:
        grid.add_row(name, cell(value))
    return grid


def titled(title: str, *items: RenderableType) -> RenderableType:
    """Something below a heading."""
    return Group(Text(title, style=HEAD), *items)


def note(text: str) -> Text:
    """A remark."""
    return Text(text, style=DIM)


def number(value: float) -> str:
    """A number with spaces between thousands, which are easier to read than digits alone."""
    return f"{value:,.0f}".replace(",", " ") if abs(value) < 1e15 else str(int(value))


def rate(value: float) -> str:
    """A rate in three digits, with k, M or G."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.1f}{unit}"
    return f"{value:.0f}" if value == int(value) else f"{value:.1f}"


def ago(now_ns: int, then_ns: int) -> str:
    """How long ago."""
    seconds = (now_ns - then_ns) / 1e9
    if seconds < 0:
        return "now"
    if seconds < 1:
        return f"{seconds * 1000:.1f} ms ago"
    return f"{seconds:.1f} s ago" if seconds < 120 else f"{seconds / 60:.0f} min ago"
