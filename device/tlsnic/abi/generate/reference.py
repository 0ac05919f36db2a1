"""Writes docs/reference.md: chapters made from the RDL among chapters written by hand.

A chapter written by hand is a file NN-name.md in the manual folder, with `##` headings of its own.
Its number says where it stands: generated chapters have the numbers in `CHAPTERS`.
"""

import re
from pathlib import Path

from tlsnic.abi.generate.markdown import LINK, Linker, anchor, anchors, headings, link, slug
from tlsnic.abi.generate.model import Interface
from tlsnic.abi.generate.nodes import InterfaceError
from tlsnic.abi.generate.reference_registers import register_chapter
from tlsnic.abi.generate.reference_structures import (
    command_chapter,
    diagnostic_chapter,
    enum_chapter,
    event_chapter,
    structure_chapter,
    trace_chapter,
)
from tlsnic.abi.generate.text import GENERATED

CHAPTERS = {
    50: register_chapter,
    60: structure_chapter,
    70: command_chapter,
    75: event_chapter,
    77: trace_chapter,
    80: enum_chapter,
    85: diagnostic_chapter,
}
TITLE = "tlsnic hardware reference"
FILE_NAME = re.compile(r"(\d\d)-[a-z0-9-]+\.md")


def reference(interface: Interface, manual: Path) -> str:
    """Text of the reference page; InterfaceError for a wrong file name or a link to nowhere."""
    linker = Linker(interface)
    chapters = [
        (number, "", "\n".join(make(interface, linker))) for number, make in CHAPTERS.items()
    ]
    for path in sorted(manual.glob("*.md")) if manual.is_dir() else []:
        match = FILE_NAME.fullmatch(path.name)
        if match is None:
            raise InterfaceError(f"{path}: the name of a chapter is NN-name.md")
        text = path.read_text(encoding="utf-8")
        chapters.append((int(match[1]), str(path), linker(text)))
    chapters.sort(key=lambda chapter: chapter[:2])
    bodies = [(path, _mark_chapters(body.strip())) for _, path, body in chapters if body.strip()]

    note = GENERATED.format(source=interface.source)
    lines = [f"<!-- {note} -->", "", f"# {interface.title or TITLE}", ""]
    if interface.description:
        lines += [linker(interface.description), ""]
    lines += ["## Contents", ""]
    for _, body in bodies:
        for chapter in headings(body, 2):
            lines.append(f"* {link(chapter, _chapter_anchor(chapter))}")
    page = "\n".join([*lines, "", "\n\n".join(body for _, body in bodies)]) + "\n"
    _check_links(page, bodies)
    return page


def _chapter_anchor(chapter: str) -> str:
    return f"chapter-{slug(chapter)}"


def _mark_chapters(body: str) -> str:
    """Anchors before the chapters' headings, because a section may have the same words."""
    chapters = set(headings(body, 2))
    lines: list[str] = []
    for line in body.splitlines():
        heading = line.removeprefix("## ").strip()
        if line.startswith("## ") and heading in chapters:
            lines += [anchor(_chapter_anchor(heading)), ""]
        lines.append(line)
    return "\n".join(lines)


def _check_links(page: str, bodies: list[tuple[str, str]]) -> None:
    """Every link must have just one place to lead to."""
    places = anchors(page)
    wrong = [
        f"{path or 'generated chapter'}: error: {'no' if count == 0 else 'more than one'} "
        f"anchor #{target}"
        for path, body in bodies
        for target in LINK.findall(body)
        if (count := places[target]) != 1
    ]
    if wrong:
        raise InterfaceError("\n".join(wrong))
