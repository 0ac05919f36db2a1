"""Markdown pieces of the reference: anchors, tables, boxes, links between parts."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from tlsnic.abi.generate.model import Interface, Notes, Register, Structure
from tlsnic.abi.generate.text import one_line, snake_case

FENCE = re.compile(r"^\s*(```|~~~)")
HEADING = re.compile(r"^(#{1,6}) (.+)$")
LINK = re.compile(r"\]\(#([^)]*)\)")
ANCHOR = re.compile(r'<a id="([^"]+)"></a>')
TOKEN = re.compile(r"(?<![\w`\[./#-])`?([A-Za-z][A-Za-z0-9_]*(?:\.[A-Z][A-Z0-9_]*)?)`?(?![\w`\]])")


def register_anchor(name: str) -> str:
    """As `tlsnic.abi.layout.Register.anchor`."""
    return f"reg-{_dashes(name)}"


def structure_anchor(name: str) -> str:
    """Anchor of the structure of this name in the RDL."""
    return f"struct-{_dashes(name)}"


def enum_anchor(name: str) -> str:
    """Anchor of the enumeration of this class name."""
    return f"enum-{_dashes(snake_case(name))}"


def diagnostic_anchor(name: str) -> str:
    """Anchor of one diagnostic."""
    return f"diagnostic-{_dashes(name)}"


def _dashes(name: str) -> str:
    return name.lower().replace("_", "-")


def slug(heading: str) -> str:
    """The anchor that GitHub and most other renderers make of a heading."""
    text = re.sub(r"[^\w\- ]", "", heading.replace("`", "").strip().lower())
    return text.replace(" ", "-")


def anchor(name: str) -> str:
    """A place to link to."""
    return f'<a id="{name}"></a>'


def link(text: str, target: str) -> str:
    """A link to an anchor of the page."""
    return f"[{text}](#{target})"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table; cells are put on one line and their bars escaped."""
    lines = [_row(head), "|" + " --- |" * len(head)]
    return [*lines, *(_row(row) for row in rows), ""]


def _row(cells: Sequence[str]) -> str:
    escaped = (one_line(cell).replace("|", "\\|") for cell in cells)
    return "| " + " | ".join(escaped) + " |"


def boxes(notes: Notes, linker: "Linker", group: str | None = None) -> list[str]:
    """What the driver must and must not do, each in a box of its own."""
    lines: list[str] = []
    for label, text in (
        ("The driver must:", notes.must),
        ("The driver must not:", notes.must_not),
        ("Ordering:", notes.ordering),
    ):
        if text:
            quoted = linker(text, group).splitlines()
            lines += [f"> **{label}** {quoted[0]}"]
            lines += [f"> {line}".rstrip() for line in quoted[1:]]
            lines.append("")
    return lines


class Linker:
    """Turns names in prose into links: registers, their fields, structures and enumerations.

    In backquotes every name counts. Bare, only names that cannot be words or values: a register
    with its field (`STATUS.READY`), or a register with an underscore that no enumeration has too.
    """

    def __init__(self, interface: Interface) -> None:
        self.registers: dict[str, Register] = {
            register.name: register
            for register_map in interface.maps
            for register in register_map.registers
        }
        self.structures: dict[str, Structure] = {s.name: s for s in interface.structures}
        self.enums = {enum.name for enum in interface.enums}
        self.values = {member.name for enum in interface.enums for member in enum.members}
        self.here = ""

    def __call__(self, text: str, group: str | None = None) -> str:
        """`text` with links; names of registers in the register file `group` need no prefix."""
        lines, code = [], False
        for line in text.splitlines():
            if FENCE.match(line):
                code = not code
            elif not code and not HEADING.match(line):
                line = TOKEN.sub(lambda match: self._link(match, group), line)
            lines.append(line)
        return "\n".join(lines)

    def _link(self, match: re.Match[str], group: str | None) -> str:
        written, name = match[0], match[1]
        quoted = written.startswith("`")
        if quoted != written.endswith("`"):
            return written
        target = self._target(name, quoted, group)
        return written if target in (None, self.here) else link(written, target or "")

    def _target(self, name: str, quoted: bool, group: str | None) -> str | None:
        register_name, _, field_name = name.partition(".")
        for candidate in (f"{group}_{register_name}", register_name) if group else (register_name,):
            register = self.registers.get(candidate)
            if register is None:
                continue
            if field_name:
                known = any(field.name == field_name for field in register.fields)
                return register_anchor(candidate) if known else None
            plain = "_" in register_name and register_name not in self.values
            return register_anchor(candidate) if quoted or plain else None
        if quoted and name in self.structures:
            return structure_anchor(name)
        if quoted and name in self.enums:
            return enum_anchor(name)
        return None


def headings(text: str, level: int) -> list[str]:
    """The headings of one level, outside code."""
    found, code = [], False
    for line in text.splitlines():
        if FENCE.match(line):
            code = not code
        elif not code and (match := HEADING.match(line)) and len(match[1]) == level:
            found.append(match[2].strip())
    return found


def anchors(text: str) -> Counter[str]:
    """Everything on the page that can be linked to, and how often it occurs."""
    found = Counter(ANCHOR.findall(text))
    for level in range(1, 7):
        found.update(slug(heading) for heading in headings(text, level))
    return found
