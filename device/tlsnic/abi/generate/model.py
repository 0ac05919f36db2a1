"""The hardware interface as plain data, between the RDL reader and the writers.

`where` is `file:line: ` of a definition, for messages.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Notes:
    """Rules for the driver, shown in boxes."""

    must: str = ""
    must_not: str = ""
    ordering: str = ""


@dataclass(frozen=True)
class Field:
    """Bits of a register. Names are upper case; `reset` is None when undefined."""

    name: str
    lsb: int
    width: int
    access: str
    reset: int | None
    enum: str | None
    description: str
    notes: Notes


@dataclass(frozen=True)
class Register:
    """A register or an array of registers.

    `name` is upper case, and starts with the name of `group`, the register file that it is in.
    """

    name: str
    title: str
    offset: int
    width: int
    array_count: int
    stride: int
    side_effects: bool
    section: str
    description: str
    notes: Notes
    fields: tuple[Field, ...]
    group: str | None
    where: str


@dataclass(frozen=True)
class Group:
    """A register file, or an array of them: otherwise `stride` is 0 and `count` is 1.

    Files of one `type_name` have the same registers.
    """

    name: str
    type_name: str
    title: str
    offset: int
    stride: int
    count: int
    description: str
    notes: Notes


@dataclass(frozen=True)
class RegisterMap:
    """The registers of a BAR, in ascending offset."""

    name: str
    title: str
    description: str
    notes: Notes
    size: int
    registers: tuple[Register, ...]
    groups: tuple[Group, ...]


@dataclass(frozen=True)
class Member:
    """Bytes of a structure.

    `is_flags` when it holds any bits of `enum` and not one value of it, `secret` for keys.
    """

    name: str
    offset: int
    size: int
    is_bytes: bool
    enum: str | None
    is_flags: bool
    secret: bool
    description: str
    notes: Notes


@dataclass(frozen=True)
class Structure:
    """A structure in memory. `reserved` is a little-endian mask over its whole size."""

    name: str
    title: str
    kind: str
    opcode: int | None
    section: str
    description: str
    notes: Notes
    size: int
    reserved: int
    members: tuple[Member, ...]
    where: str


@dataclass(frozen=True)
class EnumMember:
    """A named value; `name` is upper case."""

    name: str
    value: int
    title: str
    description: str


@dataclass(frozen=True)
class Enum:
    """An enumeration, or with `flags` a set of bit masks. `name` is its CamelCase class name."""

    name: str
    flags: bool
    description: str
    members: tuple[EnumMember, ...]
    where: str


@dataclass(frozen=True)
class Interface:
    """Everything one RDL file says; `source` is its name."""

    title: str
    description: str
    maps: tuple[RegisterMap, ...]
    structures: tuple[Structure, ...]
    enums: tuple[Enum, ...]
    source: str
