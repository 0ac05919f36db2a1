"""Writes the Wireshark dissector of trace records: tables from the interface, and the code for them.

The code is in dissector.lua beside this file. Every number and name that it shows comes from the
tables, so that a new register or member needs no change there.

Secret members of structures are left out: a dissector that does not know where a key is cannot
show it.
"""

from pathlib import Path

from tlsnic.abi.generate.model import (
    Enum,
    Field,
    Interface,
    Member,
    Notes,
    Register,
    RegisterMap,
    Structure,
)
from tlsnic.abi.generate.nodes import InterfaceError
from tlsnic.abi.generate.text import GENERATED, sentence

CODE = Path(__file__).with_name("dissector.lua")
COUNTERS = "Counters"
"""Section of the registers that the block of the STATISTICS command consists of."""


def dissector(interface: Interface, code: Path = CODE) -> str:
    """Text of tlsnic.lua."""
    parts = [
        "-- Wireshark dissector of tlsnic trace records (link type USER0).",
        "-- wireshark -X lua_script:tlsnic.lua CAPTURE",
        "--",
        f"-- {GENERATED.format(source=interface.source)}",
        "",
        "local enums = {",
        *(_enum(enum) for enum in interface.enums),
        "}",
        "",
        "-- Name, bytes, reset-independent layout: name, lowest bit, bits, enumeration, description.",
        "local registers = {",
        *(_register(bar, register) for bar in interface.maps for register in bar.registers),
        "}",
        "",
        "-- Members: name, offset, bytes, is a byte string, enumeration, description.",
        "local structures = {",
        *_structures(interface),
        "}",
        "",
        "-- The block of the STATISTICS command: bytes, and offset and name of each counter.",
        *_statistics(interface.maps),
        "",
        code.read_text(encoding="utf-8").rstrip(),
    ]
    return "\n".join(parts) + "\n"


def quoted(text: str) -> str:
    """A Lua string literal that Lua 5.1 takes, too."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _optional(name: str | None) -> str:
    return "nil" if name is None else quoted(name)


def _enum(enum: Enum) -> str:
    members = ", ".join(f"[{member.value}]={quoted(member.name)}" for member in enum.members)
    return f"  {enum.name} = {{flags={str(enum.flags).lower()}, names={{{members}}}}},"


def _register(bar: RegisterMap, register: Register) -> str:
    fields = "".join(f"\n    {_field(field)}," for field in register.fields)
    number = bar.name.removeprefix("bar")
    if not number.isdigit():
        raise InterfaceError(f"register map {bar.name}: the name does not say which BAR it is")
    text = sentence(register.title, register.description)
    return (
        f"  {{name={quoted(register.name)}, bar={number}, offset={register.offset:#x}, "
        f"size={register.width // 8}, count={register.array_count}, stride={register.stride:#x}, "
        f"text={quoted(text)}, fields={{{fields}\n  }}}},"
    )


def _field(field: Field) -> str:
    text = _text(field.description, field.notes)
    return (
        f"{{{quoted(field.name)}, {field.lsb}, {field.width}, {_optional(field.enum)}, "
        f"{quoted(text)}}}"
    )


def _text(description: str, notes: Notes) -> str:
    """The description, or else the first of the rules."""
    return sentence(description, notes.must, notes.must_not, notes.ordering)


def _structures(interface: Interface) -> list[str]:
    """Each structure; members of commands, events and traces are described where all have them."""
    common = {
        _key(structure, member): member.description
        for structure in interface.structures
        if structure.opcode is None
        for member in structure.members
    }
    lines = []
    for structure in interface.structures:
        members = "".join(
            f"\n    {_member(member, member.description or common.get(_key(structure, member), ''))},"
            for member in structure.members
            if not member.secret
        )
        opcode = "" if structure.opcode is None else f"opcode={structure.opcode:#x}, "
        secret = any(member.secret for member in structure.members)
        lines.append(
            f"  {structure.name} = {{name={quoted(structure.name)}, kind={quoted(structure.kind)}, "
            f"{opcode}size={structure.size}, secret={str(secret).lower()}, "
            f"title={quoted(_title(structure))}, members={{{members}\n  }}}},"
        )
    return lines


def _key(structure: Structure, member: Member) -> tuple[str, str]:
    return structure.kind, member.name


def _title(structure: Structure) -> str:
    return structure.title or structure.name


def _member(member: Member, description: str) -> str:
    return (
        f"{{{quoted(member.name)}, {member.offset}, {member.size}, {str(member.is_bytes).lower()}, "
        f"{_optional(member.enum)}, {quoted(_text(description, member.notes))}}}"
    )


def _statistics(maps: tuple[RegisterMap, ...]) -> list[str]:
    counters = [
        register for bar in maps for register in bar.registers if register.section == COUNTERS
    ]
    if not counters:
        return ["local statistics = {size=0, counters={}}"]
    first = counters[0].offset
    entries = ", ".join(
        f"{{{register.offset - first}, {quoted(register.name)}}}" for register in counters
    )
    size = counters[-1].offset + counters[-1].width // 8 - first
    return [f"local statistics = {{size={size}, counters={{{entries}}}}}"]
