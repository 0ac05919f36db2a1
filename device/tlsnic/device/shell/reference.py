"""The table of commands in docs/shell.md, from the commands themselves.

python -m tlsnic.device.shell.reference [--check] [PATH]
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tlsnic.device.shell.table import GROUPS

BEGIN: Final = "<!-- commands: made by python -m tlsnic.device.shell.reference -->"
END: Final = "<!-- end of commands -->"
DOCUMENT: Final = Path("docs/shell.md")


def command_table() -> str:
    """All commands, as Markdown."""
    lines = []
    for group, commands in GROUPS.items():
        lines += ["", f"**{group}**", "", "| command | |", "| --- | --- |"]
        for command in commands:
            usage = command.usage.replace("|", "\\|")
            lines.append(f"| `{usage}` | {command.summary} |")
    return "\n".join([*lines, ""])


def replaced(text: str, begin: str, end: str, middle: str) -> str:
    """`text` with what is between two marks replaced.

    Raises:
        ValueError: it has not both marks.
    """
    before, found, rest = text.partition(begin)
    old, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"no {begin} and {end} in the text, in front of {old[:20]!r}")
    return f"{before}{begin}\n{middle}\n{end}{after}"


def main(argv: Sequence[str] | None = None) -> int:
    """Write the table, or look whether it is what it would be. Exit status 1: it is not."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="change nothing")
    parser.add_argument("path", type=Path, nargs="?", default=DOCUMENT)
    options = parser.parse_args(argv)
    old = options.path.read_text()
    new = replaced(old, BEGIN, END, command_table())
    if new == old:
        return 0
    if options.check:
        print(f"{options.path} is stale: python -m tlsnic.device.shell.reference", file=sys.stderr)
        return 1
    options.path.write_text(new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
