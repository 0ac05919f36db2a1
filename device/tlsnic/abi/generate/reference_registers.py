"""Chapters of the reference about BARs and their registers.

Register files of one type (the queues) are described once, with the addresses of each.
"""

from tlsnic.abi.generate.markdown import (
    Linker,
    anchor,
    boxes,
    enum_anchor,
    link,
    register_anchor,
    slug,
    table,
)
from tlsnic.abi.generate.model import Field, Group, Interface, Register, RegisterMap
from tlsnic.abi.generate.text import sentence

ACCESS_KINDS = {
    "RO": "Read only. A write is ignored and raises a diagnostic.",
    "RW": "Reads return what was written last.",
    "WO": "Write only. Reads return 0.",
    "W1C": "Reads return the state. Each bit written as 1 is cleared, 0 leaves it.",
    "W1S": "Reads return the state. Each bit written as 1 is set, 0 leaves it.",
    "RC": "Read only, and a read clears it.",
    "W1P": "Writing 1 starts an action, 0 does nothing. Reads return 0.",
}


def register_chapter(interface: Interface, linker: Linker) -> list[str]:
    """All BARs, after the legend of access kinds."""
    used = {
        field.access
        for register_map in interface.maps
        for register in register_map.registers
        for field in register.fields
    }
    lines = [
        "## How to read the register tables",
        "",
        "Offsets are in bytes from the start of the BAR. Registers are little-endian. The reset "
        "value is the one after power-on, function reset and soft reset; `–` means undefined.",
        "",
        *table(
            ("Access", "Meaning"),
            [(kind, text) for kind, text in ACCESS_KINDS.items() if kind in used]
            + [("reserved", "Reads return 0. The driver must write 0.")],
        ),
    ]
    for register_map in interface.maps:
        lines += _map(register_map, linker)
    return lines


def _map(register_map: RegisterMap, linker: Linker) -> list[str]:
    groups = {group.name: group for group in register_map.groups}
    lines = [f"## {register_map.title or register_map.name}", ""]
    if register_map.description:
        lines += [linker(register_map.description), ""]
    lines += [f"Size: {_size(register_map.size)}.", "", *boxes(register_map.notes, linker)]
    sections: dict[str, list[Register]] = {}
    for register in register_map.registers:
        sections.setdefault(register.section or "Registers", []).append(register)
    lines += _summary(sections, groups)
    for section, registers in sections.items():
        lines += [anchor(_section_anchor(section)), "", f"### {section}", ""]
        lines += _section(registers, groups, linker)
    return lines


def _summary(sections: dict[str, list[Register]], groups: dict[str, Group]) -> list[str]:
    """All registers with links; files of one type once, with offsets from the start of the file."""
    rows: list[tuple[str, ...]] = []
    for section, registers in sections.items():
        rows.append(("", link(f"**{section}**", _section_anchor(section)), "", "", ""))
        kinds: dict[str, list[Group]] = {}
        for register in registers:
            group = groups.get(register.group or "")
            alike = _alike(group, groups) if group else []
            if group is None or len(alike) == 1:
                place = f"`{register.offset:#06x}`{_repeat(register)}"
                rows.append(_summary_row(place, register.name, register))
                continue
            if group.type_name not in kinds:
                kinds[group.type_name] = alike
                for other in alike:
                    place = f"`{other.offset:#06x}`{_repeat(other)}"
                    rows.append((place, f"`{other.name}_…`", "", "", other.title))
            if group is alike[0]:
                local = register.name.removeprefix(group.name)
                place = f"… + `{register.offset - group.offset:#04x}`"
                rows.append(_summary_row(place, f"…{local}", register))
    return table(("Offset", "Register", "Bits", "Access", ""), rows)


def _summary_row(place: str, name: str, register: Register) -> tuple[str, ...]:
    text = register.title or register.description.split(". ", maxsplit=1)[0].rstrip(".")
    target = register_anchor(register.name)
    return (place, link(f"`{name}`", target), str(register.width), _access(register), text)


def _alike(group: Group, groups: dict[str, Group]) -> list[Group]:
    return [other for other in groups.values() if other.type_name == group.type_name]


def _section_anchor(section: str) -> str:
    return f"section-{slug(section)}"


def _section(registers: list[Register], groups: dict[str, Group], linker: Linker) -> list[str]:
    lines: list[str] = []
    described: set[str] = set()
    for register in registers:
        if register.group is None:
            lines += _register([register], register.name, linker)
            continue
        kind = groups[register.group].type_name
        if kind in described:
            continue
        described.add(kind)
        alike = _alike(groups[register.group], groups)
        lines += _groups(alike, linker)
        members = [other for other in registers if other.group == register.group]
        for member in members:
            local = member.name.removeprefix(f"{register.group}_")
            same = [
                other
                for group in alike
                for other in registers
                if other.name == f"{group.name}_{local}"
            ]
            lines += _register(same, local if len(alike) > 1 else member.name, linker)
    return lines


def _groups(groups: list[Group], linker: Linker) -> list[str]:
    rows = []
    for group in groups:
        place = f"`{group.offset:#06x}`{_repeat(group)}"
        text = " ".join(
            part for part in (sentence(group.title), linker(sentence(group.description))) if part
        )
        rows.append((f"`{group.name}`", place, text))
    lines = table(("Prefix", "Offset", ""), rows)
    for group in groups:
        lines += boxes(group.notes, linker, group.name)
    return lines


def _register(registers: list[Register], heading: str, linker: Linker) -> list[str]:
    """One description for `registers`, which are the same register of several register files."""
    first = registers[0]
    linker.here = register_anchor(first.name)
    same_word = first.title.lower() == heading.lower().replace("_", " ")
    title = f": {first.title}" if first.title and not same_word else ""
    lines = [*(anchor(register_anchor(register.name)) for register in registers), ""]
    lines += [f"#### {heading}{title}", ""]
    if first.description:
        lines += [linker(first.description, first.group), ""]
    lines += _places(registers)
    lines += table(
        ("Bits", "Field", "Access", "Reset", "Description"),
        _field_rows(first, linker),
    )
    if first.side_effects:
        lines += ["> **Reading has side effects:** a dump of registers leaves it out.", ""]
    lines += boxes(first.notes, linker, first.group)
    for field in first.fields:
        if any(vars(field.notes).values()):
            lines += [f"`{field.name}`:", "", *boxes(field.notes, linker, first.group)]
    linker.here = ""
    return lines


def _places(registers: list[Register]) -> list[str]:
    """Where the registers are: one line, or a table for several."""
    if len(registers) == 1:
        only = registers[0]
        place = f"Offset `{only.offset:#06x}`{_repeat(only)}"
        return [f"{place}; {only.width} bits; reset `{_reset(only)}`.", ""]
    return table(
        ("Register", "Offset", "Bits", "Reset"),
        [
            (
                f"`{register.name}`",
                f"`{register.offset:#06x}`{_repeat(register)}",
                str(register.width),
                f"`{_reset(register)}`",
            )
            for register in registers
        ],
    )


def _field_rows(register: Register, linker: Linker) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    position = register.width
    for field in reversed(register.fields):
        if field.lsb + field.width < position:
            rows.append((_bits(field.lsb + field.width, position), "", "reserved", "`0x0`", ""))
        rows.append(
            (
                _bits(field.lsb, field.lsb + field.width),
                f"`{field.name}`",
                field.access,
                "–" if field.reset is None else f"`{field.reset:#x}`",
                _field_text(field, register, linker),
            )
        )
        position = field.lsb
    if position:
        rows.append((_bits(0, position), "", "reserved", "`0x0`", ""))
    return rows


def _field_text(field: Field, register: Register, linker: Linker) -> str:
    text = linker(sentence(field.description), register.group)
    if field.enum is not None:
        text += f" See {link(f'`{field.enum}`', enum_anchor(field.enum))}."
    return text.strip()


def _bits(low: int, end: int) -> str:
    return f"{low}" if end == low + 1 else f"{end - 1}:{low}"


def _reset(register: Register) -> str:
    if any(field.reset is None for field in register.fields):
        return "–"
    value = sum((field.reset or 0) << field.lsb for field in register.fields)
    return f"0x{value:0{register.width // 4}x}"


def _access(register: Register) -> str:
    return ", ".join(dict.fromkeys(field.access for field in register.fields))


def _repeat(register: Register | Group) -> str:
    if not register.stride:
        return ""
    count = register.count if isinstance(register, Group) else register.array_count
    return f" + n × `{register.stride:#x}`, n < {count}"


def _size(size: int) -> str:
    return f"{size // 1024} KiB" if size % 1024 == 0 else f"{size} bytes"
