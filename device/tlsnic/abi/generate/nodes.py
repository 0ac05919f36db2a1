"""What can be asked of a node of the elaborated RDL, and how mistakes are reported."""

import re
from pathlib import Path
from typing import Any

from systemrdl.node import AddrmapNode

from tlsnic.abi.generate.model import Notes


class InterfaceError(Exception):
    """The RDL is wrong; the text has one line per mistake, `file:line: what`."""


def place(where: Any) -> str:
    """`file:line: ` of a source reference, empty when there is none."""
    if where is None:
        return ""
    line = getattr(where, "line", None)
    return f"{where.path}:{line}: " if line else f"{where.path}: "


def camel_case(name: str) -> str:
    """`link_state_e` → `LinkState`."""
    parts = re.sub(r"_[est]$", "", name).split("_")
    return "".join(part[:1].upper() + part[1:] for part in parts)


def udp(node: Any, name: str, default: Any = None) -> Any:
    """A property that the RDL itself defines; `default` where it is not set or not defined."""
    return node.get_property(name, default=default)


def title_of(node: Any) -> str:
    """The name property, if it is not just the instance's name."""
    title = str(node.get_property("name"))
    return "" if title == node.inst_name else title


def clean(text: str | None) -> str:
    """Drops trailing blanks and blank ends; the compiler has already removed the indentation."""
    return "\n".join(line.rstrip() for line in (text or "").strip().splitlines())


def description_of(node: Any) -> str:
    """The desc property."""
    return clean(node.get_property("desc"))


def notes_of(node: Any) -> Notes:
    """The rules for the driver."""
    return Notes(*(dedent(udp(node, n)) for n in ("driver_must", "driver_must_not", "ordering")))


def dedent(text: str | None) -> str:
    """The text with every line stripped."""
    return "\n".join(line.strip() for line in (text or "").strip().splitlines())


def is_addrmap(node: Any) -> bool:
    """Whether the node is an addrmap."""
    return isinstance(node, AddrmapNode)


def is_reserved(node: Any) -> bool:
    """Whether a field only fills a gap."""
    return str(node.inst_name).lower().startswith("reserved")


def comment_before(where: Any) -> str:
    """The `//` lines right above the line of a definition."""
    if where is None or not hasattr(where, "line"):
        return ""
    lines = Path(where.path).read_text(encoding="utf-8").splitlines()[: where.line - 1]
    comment: list[str] = []
    while lines and (line := lines.pop().strip()).startswith("//"):
        comment.append(line.removeprefix("//").removeprefix(" "))
    return "\n".join(reversed(comment)).strip()
