"""Writes the Python modules: enums, registers, structures, and the descriptions beside them.

The tables of registers.py are nested constant tuples, which the Python compiler folds into one
constant: importing them runs no code. Descriptions are in a module of their own, which only tools
that print them import.
"""

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
from tlsnic.abi.generate.nodes import InterfaceError, camel_case
from tlsnic.abi.generate.text import GENERATED, docstring, literal, ruff_format, sentence

FORMATS = {1: "B", 2: "H", 4: "I", 8: "Q"}
TYPE_MEMBERS = {"command": "opcode", "response": "opcode", "event": "type", "trace": "type"}
KIND_MAPS = {
    "command": ("COMMANDS", "Commands by opcode."),
    "response": ("RESPONSES", "Responses by the opcode of the command they answer."),
    "event": ("EVENTS", "Events by type number."),
    "trace": ("TRACES", "Trace records by type number."),
}


def _module(interface: Interface, text: str, body: list[str]) -> str:
    head = f"{text}\n\n{GENERATED.format(source=interface.source)}"
    return ruff_format("\n".join([docstring(head, 0), "", *body]) + "\n")


def enums(interface: Interface) -> str:
    """Source of enums.py."""
    body: list[str] = []
    kinds = sorted({"IntFlag" if enum.flags else "IntEnum" for enum in interface.enums})
    if kinds:
        body.append(f"from enum import {', '.join(kinds)}")
    for enum in interface.enums:
        body += ["", "", *_enum(enum)]
    return _module(interface, "Enumerations of the hardware interface.", body)


def _enum(enum: Enum) -> list[str]:
    default = f"Values of {enum.name}." if not enum.flags else f"Bits of {enum.name}."
    lines = [
        f"class {enum.name}({'IntFlag' if enum.flags else 'IntEnum'}):",
        docstring(enum.description or default, 4),
        "",
    ]
    for member in enum.members:
        value = f"{member.value:#x}" if enum.flags else str(member.value)
        lines.append(f"    {member.name} = {value}")
        text = sentence(member.description, member.title)
        if text:
            lines.append(docstring(text, 4))
    return lines


class _Constants:
    """Module-level names, each used once."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.names: dict[str, str] = {}

    def add(self, name: str, value: str, source: str, where: str = "") -> None:
        """One constant, needed by `source`; InterfaceError if another has the name."""
        if name in self.names:
            other = self.names[name]
            raise InterfaceError(f"{where}error: {source} and {other} both need the name {name}")
        self.names[name] = source
        self.lines.append(f"{name} = {value}")

    def blank(self) -> None:
        self.lines.append("")


def registers(interface: Interface) -> str:
    """Source of registers.py."""
    constants = _Constants()
    tables: list[str] = []
    for register_map in interface.maps:
        _map_constants(constants, register_map)
        name = register_map.name.upper()
        tables += [
            f'{name} = RegisterMap("{register_map.name}", {register_map.size:#x}, (',
            *(_raw_register(register) for register in register_map.registers),
            "))",
            docstring(
                f"Register map of {register_map.title or register_map.name}, "
                f"{register_map.size:#x} bytes.",
                0,
            ),
            "",
        ]
        constants.names.setdefault(name, f"register map {register_map.name}")
    text = (
        "Registers of the hardware interface: offsets, field shifts and masks, and the table.\n\n"
        "`NAME` is a register's byte offset in its BAR (of element 0 of an array), `NAME_STRIDE` "
        "the distance between elements of an array or of a register file, `NAME_COUNT` their "
        "number. `NAME_FIELD_MASK` is a field in place, `NAME_FIELD_SHIFT` its lowest bit; a field "
        "that fills its register has neither."
    )
    body = ["from tlsnic.abi.layout import RegisterMap", *constants.lines, "", *tables]
    return _module(interface, text, body)


def _map_constants(constants: _Constants, register_map: RegisterMap) -> None:
    for group in register_map.groups:
        if group.stride:
            source = f"register file {group.name}"
            constants.blank()
            constants.add(f"{group.name}_STRIDE", f"{group.stride:#x}", source)
            constants.add(f"{group.name}_COUNT", str(group.count), source)
    for register in register_map.registers:
        name, source, where = register.name, f"register {register.name}", register.where
        constants.blank()
        constants.add(name, f"{register.offset:#x}", source, where)
        if register.stride and not any(
            g.stride and g.name == register.group for g in register_map.groups
        ):
            constants.add(f"{name}_STRIDE", f"{register.stride:#x}", source, where)
            constants.add(f"{name}_COUNT", str(register.array_count), source, where)
        for field in register.fields:
            if field.width < register.width:
                constants.add(f"{name}_{field.name}_SHIFT", str(field.lsb), source, where)
                constants.add(f"{name}_{field.name}_MASK", f"{field_mask(field):#x}", source, where)


def field_mask(field: Field) -> int:
    """The field's bits in place."""
    return ((1 << field.width) - 1) << field.lsb


def _raw_register(register: Register) -> str:
    fields = "".join(
        f"({field.name!r}, {field.lsb}, {field.width}, {field.access!r}, "
        f"{field.reset if field.reset is None else hex(field.reset)}, {field.enum!r}),"
        for field in register.fields
    )
    return (
        f"({register.name!r}, {register.offset:#x}, {register.width}, {register.array_count}, "
        f"{register.stride:#x}, {register.side_effects}, {register.section!r}, ({fields})),"
    )


def structures(interface: Interface) -> str:
    """Source of structures.py."""
    body = [
        "from struct import Struct",
        "from typing import NamedTuple",
        "",
        "from tlsnic.abi.layout import Structure",
    ]
    for structure in interface.structures:
        body += ["", "", *_structure(structure)]
    body.append("")
    for kind, (name, text) in KIND_MAPS.items():
        entries = ", ".join(
            f"{structure.opcode:#x}: {camel_case(structure.name)}"
            for structure in interface.structures
            if structure.kind == kind and structure.opcode is not None
        )
        body += ["", f"{name}: dict[int, type[Structure]] = {{{entries}}}", docstring(text, 0)]
    names = ", ".join(f"{s.name!r}: {camel_case(s.name)}" for s in interface.structures)
    body += [
        "",
        f"STRUCTURES: dict[str, type[Structure]] = {{{names}}}",
        docstring("All structures by their name in the hardware description.", 0),
    ]
    text = (
        "Structures in memory: descriptors, completions, commands, responses, events, blocks.\n\n"
        "Every member defaults to zero, except for the opcode of a command and the type of an "
        "event. See `tlsnic.abi.layout.Structure` for what all classes offer. `OFFSET_MEMBER` is a "
        "member's byte offset."
    )
    return _module(interface, text, body)


def struct_format(structure: Structure) -> str:
    """`struct` format of the structure: little-endian, undeclared bytes as padding."""
    parts, position = ["<"], 0
    for member in structure.members:
        if member.offset > position:
            parts.append(f"{member.offset - position}x")
        parts.append(f"{member.size}s" if member.is_bytes else FORMATS[member.size])
        position = member.offset + member.size
    if structure.size > position:
        parts.append(f"{structure.size - position}x")
    return "".join(parts)


def _structure(structure: Structure) -> list[str]:
    name = camel_case(structure.name)
    title = sentence(structure.title, structure.name.replace("_", " ").capitalize())
    text = f"{title} {structure.kind.capitalize()}, {structure.size} bytes."
    lines = [
        f"class _{name}(NamedTuple):",
        *(_member_line(member, structure) for member in structure.members),
        "",
        "",
        f"class {name}(_{name}, Structure):",
        docstring(f"{text}\n\n{structure.description}" if structure.description else text, 4),
        "",
        "    __slots__ = ()",
        "",
        f'    NAME = "{structure.name}"',
        f'    KIND = "{structure.kind}"',
    ]
    if structure.opcode is not None:
        lines.append(f"    OPCODE = {structure.opcode:#x}")
    lines += [
        f"    SIZE = {structure.size}",
        f'    STRUCT = Struct("{struct_format(structure)}")',
        *_reserved(structure),
    ]
    secret = tuple(member.name for member in structure.members if member.secret)
    if secret:
        lines += [f"    SECRET = {secret!r}", "    __repr__ = Structure.__repr__"]
    lines += [f"    OFFSET_{m.name.upper()} = {m.offset}" for m in structure.members]
    lines += ["    MEMBERS = (", *(f"        {_raw_member(m)}" for m in structure.members), "    )"]
    return lines


def _reserved(structure: Structure) -> list[str]:
    """A big mask becomes a string over several lines, because one number cannot be cut."""
    if structure.reserved.bit_length() <= 256:
        return [f"    RESERVED = {structure.reserved:#x}"]
    digits = structure.reserved.to_bytes(structure.size, "big").hex()
    lines = [f'        "{digits[i : i + 80]}"' for i in range(0, len(digits), 80)]
    return ["    RESERVED = int(", *lines, "    , 16)"]


def _member_line(member: Member, structure: Structure) -> str:
    if member.is_bytes:
        return f"    {member.name}: bytes = bytes({member.size})"
    # A member may well be called like a method of tuple, which it then hides.
    ignore = "  # type: ignore[assignment]" if member.name in ("count", "index") else ""
    default = 0
    if structure.opcode is not None and member.name == TYPE_MEMBERS.get(structure.kind):
        default = structure.opcode
    return f"    {member.name}: int = {default and hex(default)}{ignore}"


def _raw_member(member: Member) -> str:
    return f"({member.name!r}, {member.offset}, {member.size}, {member.is_bytes}, {member.enum!r}),"


def descriptions(interface: Interface) -> str:
    """Source of descriptions.py."""
    tables: dict[str, tuple[str, dict[str, str]]] = {
        "REGISTERS": ("Registers, by name.", {}),
        "FIELDS": ("Fields, by `REGISTER.FIELD`.", {}),
        "STRUCTURES": ("Structures, by name in the hardware description.", {}),
        "MEMBERS": ("Members of structures, by `structure.member`.", {}),
        "ENUMS": ("Values, by `Enumeration.MEMBER`.", {}),
    }
    for register_map in interface.maps:
        for register in register_map.registers:
            tables["REGISTERS"][1][register.name] = _prose(
                register.title, register.description, register.notes
            )
            for field in register.fields:
                key = f"{register.name}.{field.name}"
                tables["FIELDS"][1][key] = _prose("", field.description, field.notes)
    for structure in interface.structures:
        tables["STRUCTURES"][1][structure.name] = _prose(
            structure.title, structure.description, structure.notes
        )
        for member in structure.members:
            key = f"{structure.name}.{member.name}"
            tables["MEMBERS"][1][key] = _prose("", member.description, member.notes)
    for enum in interface.enums:
        for value in enum.members:
            key = f"{enum.name}.{value.name}"
            tables["ENUMS"][1][key] = _prose(value.title, value.description, Notes())
    body: list[str] = []
    for name, (text, entries) in tables.items():
        body += [f"{name}: dict[str, str] = {{"]
        body += [
            f"    {key!r}: {literal(value, 100 - 7 - len(repr(key)))},"
            for key, value in entries.items()
            if value
        ]
        body += ["}", docstring(text, 0), ""]
    return _module(
        interface,
        "What registers, structures and values mean, one line each, for tools that print it.",
        body,
    )


def _prose(title: str, description: str, notes: Notes) -> str:
    """Title, description and rules on one line."""
    parts = [sentence(title), sentence(description)]
    rules = (
        ("The driver must:", notes.must),
        ("The driver must not:", notes.must_not),
        ("Ordering:", notes.ordering),
    )
    parts += [f"{label} {sentence(text)}" for label, text in rules if text]
    return " ".join(part for part in parts if part)
