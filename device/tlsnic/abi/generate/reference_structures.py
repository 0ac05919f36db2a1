"""Chapters of the reference about structures in memory, commands, events and enumerations."""

from tlsnic.abi.generate.diagram import diagram
from tlsnic.abi.generate.markdown import (
    Linker,
    anchor,
    boxes,
    diagnostic_anchor,
    enum_anchor,
    link,
    register_anchor,
    structure_anchor,
    table,
)
from tlsnic.abi.generate.model import Enum, EnumMember, Interface, Member, Structure
from tlsnic.abi.generate.nodes import camel_case
from tlsnic.abi.generate.python import TYPE_MEMBERS
from tlsnic.abi.generate.text import sentence

DIAGNOSTIC = "Diagnostic"
KIND_TITLES = {
    "descriptor": "Descriptors",
    "completion": "Completions",
    "block": "Blocks in memory",
}


def structure_chapter(interface: Interface, linker: Linker) -> list[str]:
    """Descriptors, completions and blocks."""
    lines: list[str] = []
    for kind, title in KIND_TITLES.items():
        structures = [structure for structure in interface.structures if structure.kind == kind]
        if structures:
            lines += [f"## {title}", ""]
            for structure in structures:
                lines += _structure(structure, linker)
    return lines


def command_chapter(interface: Interface, linker: Linker) -> list[str]:
    """Commands with their responses and error codes."""
    return _opcode_chapter(
        interface, linker, "Commands", ("command", "response"), ("Opcode", "Command")
    )


def event_chapter(interface: Interface, linker: Linker) -> list[str]:
    """Events."""
    return _opcode_chapter(interface, linker, "Events", ("event",), ("Type", "Event"))


def trace_chapter(interface: Interface, linker: Linker) -> list[str]:
    """Trace records, which captures have besides frames."""
    return _opcode_chapter(interface, linker, "Trace records", ("trace",), ("Type", "Record"))


def _opcode_chapter(
    interface: Interface,
    linker: Linker,
    title: str,
    kinds: tuple[str, ...],
    head: tuple[str, str],
) -> list[str]:
    structures = [structure for structure in interface.structures if structure.kind in kinds]
    if not structures:
        return []
    numbered = [s for s in structures if s.opcode is not None and s.kind == kinds[0]]
    lines = [f"## {title}", ""]
    lines += table(
        (*head, ""),
        [
            (
                f"`{structure.opcode:#06x}`",
                link(_title(structure), structure_anchor(structure.name)),
                linker(_first_sentence(structure.description)),
            )
            for structure in sorted(numbered, key=lambda structure: structure.opcode or 0)
        ],
    )
    common = [structure for structure in structures if structure.opcode is None]
    for structure in common:
        lines += _structure(structure, linker)
    for structure in numbered:
        lines += _structure(structure, linker)
        if structure.kind == "command":
            lines += _answer(structure, structures, linker)
    return lines


def _answer(command: Structure, structures: list[Structure], linker: Linker) -> list[str]:
    """What comes back: the command's own response, or the common one."""
    responses = [structure for structure in structures if structure.kind == "response"]
    own = [response for response in responses if response.opcode == command.opcode]
    if own:
        return ["Answered with:", "", *_structure(own[0], linker)]
    common = next((response for response in responses if response.opcode is None), None)
    if common is None:
        return []
    text = f"Answered with {link(_title(common), structure_anchor(common.name))}"
    status = next((member.enum for member in common.members if member.name == "status"), None)
    if status is not None:
        text += f"; errors are in {link(f'`{status}`', enum_anchor(status))}"
    return [f"{text}.", ""]


def _title(structure: Structure) -> str:
    return structure.title or structure.name.replace("_", " ").capitalize()


def _first_sentence(text: str) -> str:
    return sentence(text.split(". ", maxsplit=1)[0])


def _structure(structure: Structure, linker: Linker) -> list[str]:
    linker.here = structure_anchor(structure.name)
    facts = [f"{structure.size} bytes", f"C: `struct tlsnic_{structure.name}`"]
    if structure.opcode is not None:
        name = TYPE_MEMBERS[structure.kind]
        facts.insert(0, f"{name} `{structure.opcode:#06x}`")
    facts.append(f"Python: `{camel_case(structure.name)}`")
    lines = [anchor(structure_anchor(structure.name)), "", f"### {_title(structure)}", ""]
    if structure.description:
        lines += [linker(structure.description), ""]
    lines += [", ".join(facts)[:1].upper() + ", ".join(facts)[1:] + ".", ""]
    lines += boxes(structure.notes, linker)
    lines += ["```text", *diagram(structure), "```", ""]
    lines += table(
        ("Offset", "Bytes", "Member", "Description"),
        _member_rows(structure, linker),
    )
    for member in structure.members:
        if any(vars(member.notes).values()):
            lines += [f"`{member.name}`:", "", *boxes(member.notes, linker)]
    linker.here = ""
    return lines


def _member_rows(structure: Structure, linker: Linker) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    position = 0
    for member in structure.members:
        if member.offset > position:
            rows.append(_reserved_row(position, member.offset))
        rows.append(
            (
                f"`{member.offset:#04x}`",
                str(member.size),
                f"`{member.name}`",
                _member_text(member, structure, linker),
            )
        )
        position = member.offset + member.size
    if position < structure.size:
        rows.append(_reserved_row(position, structure.size))
    return rows


def _reserved_row(start: int, end: int) -> tuple[str, ...]:
    return (f"`{start:#04x}`", str(end - start), "", "Reserved.")


def _member_text(member: Member, structure: Structure, linker: Linker) -> str:
    text = linker(sentence(member.description))
    named = TYPE_MEMBERS.get(structure.kind)
    if structure.opcode is not None and member.name == named:
        text = f"`{structure.opcode:#06x}`. {text}"
    if member.enum is not None:
        text += f" {'Bits' if member.is_flags else 'See'} {_enum_link(member.enum)}."
    if member.secret:
        text += " Key material: the device never gives it back."
    return text.strip()


def _enum_link(name: str) -> str:
    return link(f"`{name}`", enum_anchor(name))


def enum_chapter(interface: Interface, linker: Linker) -> list[str]:
    """All enumerations but the diagnostics."""
    lines = ["## Enumerations", ""]
    for enum in interface.enums:
        if enum.name != DIAGNOSTIC:
            lines += [anchor(enum_anchor(enum.name)), "", f"### {enum.name}", ""]
            lines += _enum(enum, interface, linker)
    return lines if len(lines) > 2 else []


def diagnostic_chapter(interface: Interface, linker: Linker) -> list[str]:
    """What the device says about mistakes of a driver."""
    for enum in interface.enums:
        if enum.name == DIAGNOSTIC:
            lines = [anchor(enum_anchor(enum.name)), "", "## Diagnostics", ""]
            return lines + _enum(enum, interface, linker)
    return []


def _enum(enum: Enum, interface: Interface, linker: Linker) -> list[str]:
    lines = [linker(enum.description), ""] if enum.description else []
    users = _users(enum, interface)
    if users:
        lines += [f"Used in {', '.join(users)}.", ""]
    rows = [
        (_value(enum, member), _name(enum, member), linker(_meaning(member)))
        for member in enum.members
    ]
    return lines + table(("Mask" if enum.flags else "Value", "Name", "Meaning"), rows)


def _value(enum: Enum, member: EnumMember) -> str:
    return f"`{member.value:#x}`" if enum.flags else f"`{member.value}`"


def _name(enum: Enum, member: EnumMember) -> str:
    place = anchor(diagnostic_anchor(member.name)) if enum.name == DIAGNOSTIC else ""
    return f"{place}`{member.name}`"


def _meaning(member: EnumMember) -> str:
    return f"{sentence(member.title)} {sentence(member.description)}".strip()


def _users(enum: Enum, interface: Interface) -> list[str]:
    """Links to the registers and structures that hold values of the enumeration."""
    registers = [
        link(f"`{register.name}`", register_anchor(register.name))
        for register_map in interface.maps
        for register in register_map.registers
        if any(field.enum == enum.name for field in register.fields)
    ]
    structures = [
        link(f"`{structure.name}`", structure_anchor(structure.name))
        for structure in interface.structures
        if any(member.enum == enum.name for member in structure.members)
    ]
    return registers + structures
