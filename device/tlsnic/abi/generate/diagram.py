"""Draws a structure as text: four bytes to a row, byte 0 on the left."""

from typing import NamedTuple

from tlsnic.abi.generate.model import Structure

ROW_BYTES = 4
CELL = 13


class _Part(NamedTuple):
    offset: int
    size: int
    label: str


def diagram(structure: Structure) -> list[str]:
    """Lines of the drawing; byte strings of more than two rows are drawn as two."""
    parts = _parts(structure)
    owner = [part for part in parts for _ in range(part.size)]
    rows = _shown_rows(parts, structure.size)
    head = "".join(f"{f'+{column}':^{CELL + 1}}" for column in range(ROW_BYTES))
    lines = [f"{'':8}{head}".rstrip(), f"{'':7}{_rule(None, owner[:ROW_BYTES])}"]
    drawn: set[int] = set()
    for number, row in enumerate(rows):
        cells = owner[row : row + ROW_BYTES]
        mark = f"0x{row:02x}"
        lines.append(f"{mark:<7}{_row(cells, drawn, row)}")
        following = rows[number + 1] if number + 1 < len(rows) else None
        below = owner[following : following + ROW_BYTES] if following is not None else None
        lines.append(f"{'':7}{_rule(cells, below)}")
    return lines


def _parts(structure: Structure) -> list[_Part]:
    """Members and the reserved bytes between them, without gaps."""
    parts: list[_Part] = []
    position = 0
    for member in structure.members:
        if member.offset > position:
            parts.append(_Part(position, member.offset - position, "reserved"))
        size = f" ({member.size} bytes)" if member.is_bytes else ""
        parts.append(_Part(member.offset, member.size, member.name + size))
        position = member.offset + member.size
    if structure.size > position:
        parts.append(_Part(position, structure.size - position, "reserved"))
    return parts


def _shown_rows(parts: list[_Part], size: int) -> list[int]:
    """Offsets of the rows to draw: of rows that one part fills alone, no more than two."""
    hidden: set[int] = set()
    for part in parts:
        first = -(-part.offset // ROW_BYTES) * ROW_BYTES
        last = (part.offset + part.size) // ROW_BYTES * ROW_BYTES
        hidden.update(range(first + 2 * ROW_BYTES, last, ROW_BYTES))
    return [row for row in range(0, size, ROW_BYTES) if row not in hidden]


def _row(cells: list[_Part], drawn: set[int], row: int) -> str:
    text, column = "|", 0
    while column < len(cells):
        part = cells[column]
        span = sum(1 for other in cells[column:] if other is part)
        width = span * (CELL + 1) - 1
        label = part.label if part.offset not in drawn else ""
        if not label and row - part.offset >= ROW_BYTES and part.size > 2 * ROW_BYTES:
            label = "..."
        drawn.add(part.offset)
        if len(label) > width:
            label = label[: width - 1] + "…"
        text += f"{label:^{width}}|"
        column += span
    return text


def _rule(above: list[_Part] | None, below: list[_Part] | None) -> str:
    """The line between two rows, open where a part goes on."""
    text = "+"
    columns = len(above or below or [])
    for column in range(columns):
        upper = above[column] if above else None
        lower = below[column] if below and column < len(below) else None
        text += (" " if upper is lower else "-") * CELL + "+"
    return text
