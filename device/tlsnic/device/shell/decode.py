"""From names to registers, and from raw values to names: everything by the hardware description."""

import fnmatch
import ipaddress
import re
from collections.abc import Iterator
from enum import IntEnum, IntFlag
from functools import cache
from typing import Any, Final, NamedTuple

from tlsnic.abi import descriptions, enums, registers
from tlsnic.abi.layout import Access, Field, Register, RegisterMap, Structure
from tlsnic.device.shell.arguments import parse_number
from tlsnic.device.shell.errors import UsageError

BARS: Final[dict[int, RegisterMap]] = {0: registers.BAR0, 2: registers.BAR2}
REFERENCE: Final = "docs/reference.md"
ACTIONS: Final = (Access.W1C, Access.W1P, Access.W1S, Access.WO)
"""Kinds of fields for which a write does more than keep a value."""
_ADDRESS: Final = re.compile(r"(?:bar)?([0-9]):(\w+)", re.IGNORECASE)
_ELEMENT: Final = re.compile(r"(\w+)\[(\w+)\]")
_IPV6_BYTES: Final = 16
_DECIMAL: Final = 99_999_999


class Place(NamedTuple):
    """A register, or one element of an array of them."""

    bar: int
    register: Register
    element: int

    @property
    def name(self) -> str:
        """`TX_QUEUE_HEAD[3]`, or just the name when it is no array."""
        array = self.register.array_count > 1
        return f"{self.register.name}[{self.element}]" if array else self.register.name

    @property
    def offset(self) -> int:
        """Byte offset in its BAR."""
        return self.register.address(self.element)

    @property
    def address(self) -> str:
        """BAR and offset, as the shell reads them, too."""
        return f"{self.bar}:{self.offset:#06x}"

    @property
    def description(self) -> str:
        """What the register is."""
        return descriptions.REGISTERS.get(self.register.name, "")

    @property
    def reference(self) -> str:
        """Where the reference describes it."""
        return f"{REFERENCE}#{self.register.anchor}"

    @property
    def acts(self) -> str:
        """Why a write has side effects, or nothing."""
        kinds = sorted({field.access for field in self.register.fields if field.access in ACTIONS})
        if self.bar == 2:
            return "it is a doorbell"
        if kinds:
            return f"it has {' and '.join(kinds)} bits"
        if self.register.name.endswith("CONTROL"):
            return "it switches parts of the card on and off"
        return ""


def every_place() -> Iterator[Place]:
    """All registers of all BARs, in order of address."""
    for bar, register_map in BARS.items():
        for register in register_map.registers:
            for index in range(register.array_count):
                yield Place(bar, register, index)


@cache
def by_name() -> dict[str, tuple[int, Register]]:
    """Registers by name."""
    return {
        register.name: (bar, register)
        for bar, register_map in BARS.items()
        for register in register_map.registers
    }


def slug(section: str) -> str:
    """A chapter's name as the shell takes it: `receive-side-scaling`."""
    return section.lower().replace(" ", "-")


@cache
def groups() -> dict[str, str]:
    """Chapters of the reference that registers are in, by their slug."""
    return {slug(place.register.section): place.register.section for place in every_place()}


def resolve(expression: str) -> tuple[list[Place], Field | None]:
    """Registers that an expression means, and the field when it names one.

    NAME, NAME[3], NAME.FIELD, a pattern with * or ?, a group, BAR:OFFSET, or `all`.

    Raises:
        UsageError: it means none.
    """
    text = expression.strip()
    if text.lower() == "all":
        return list(every_place()), None
    if text.lower() in groups() and text not in by_name():  # INTERRUPTS is a counter, too
        section = groups()[text.lower()]
        return [place for place in every_place() if place.register.section == section], None
    address = _ADDRESS.fullmatch(text)
    if address:
        return [_at(int(address[1]), parse_number(address[2], "offset"), text)], None
    name, dot, field_name = text.upper().partition(".")
    places = _named(name, text)
    if not dot:
        return places, None
    registers_named = {place.register.name for place in places}
    if len(registers_named) > 1:
        raise UsageError(f"{text}: a field belongs to one register, not to a pattern")
    for field in places[0].register.fields:
        if field.name == field_name:
            return places, field
    known = ", ".join(field.name for field in places[0].register.fields)
    raise UsageError(f"{name} has no field {field_name}", f"its fields: {known}")


def one_place(expression: str) -> tuple[Place, Field | None]:
    """As `resolve`, when only one will do.

    Raises:
        UsageError: it means none, or several.
    """
    places, field = resolve(expression)
    if len(places) == 1:
        return places[0], field
    names = {place.register.name for place in places}
    if len(names) == 1:
        raise UsageError(
            f"{places[0].register.name} has {len(places)} elements",
            f"name one: {places[0].name} to {places[-1].name}",
        )
    raise UsageError(f"{expression} means {len(places)} registers", "name one")


def _at(bar: int, offset: int, text: str) -> Place:
    found = BARS[bar].find(offset) if bar in BARS else None
    if found is None:
        raise UsageError(
            f"there is no register at {text}",
            "BAR 0 has registers, BAR 2 doorbells; see `registers`",
        )
    return Place(bar, *found)


def _named(name: str, text: str) -> list[Place]:
    element = _ELEMENT.fullmatch(name)
    if element and element[1] in by_name():
        bar, register = by_name()[element[1]]
        index = parse_number(element[2].lower(), "index")
        if index >= register.array_count:
            raise UsageError(f"{register.name} has elements 0 to {register.array_count - 1}")
        return [Place(bar, register, index)]
    if name in by_name():
        bar, register = by_name()[name]
        return [Place(bar, register, index) for index in range(register.array_count)]
    if any(sign in name for sign in "*?"):
        # Brackets are an array's index here, never a set of characters.
        pattern = name.replace("[", "[[]")
        places = [
            place
            for place in every_place()
            if fnmatch.fnmatchcase(place.register.name, pattern)
            or fnmatch.fnmatchcase(place.name, pattern)
        ]
        if places:
            return places
    similar = [known for known in by_name() if name and name in known][:6]
    hint = f"similar: {', '.join(similar)}" if similar else "`registers` lists the groups"
    raise UsageError(f"there is no register {text}", hint)


def enum_class(name: str | None) -> type[IntEnum] | type[IntFlag] | None:
    """The enumeration of that name."""
    if name is None:
        return None
    found = getattr(enums, name, None)
    return found if isinstance(found, type) and issubclass(found, IntEnum | IntFlag) else None


def value_name(enum: str | None, value: int) -> str:
    """Names for a value of an enumeration: one, or flags joined with |; empty when it has none."""
    cls = enum_class(enum)
    if cls is None:
        return ""
    if issubclass(cls, IntEnum):
        return cls(value).name if value in list(cls) else f"unknown {value:#x}"
    return " | ".join(flag_names(cls, value)) or "none"


def flag_names(cls: type[IntFlag], value: int) -> list[str]:
    """The flags that are set in a value; what has no name as a number."""
    names, left = [], value
    for flag in cls:
        if flag.value and value & flag.value == flag.value:
            names.append(str(flag.name))
            left &= ~flag.value
    return names + ([f"{left:#x}"] if left else [])


def value_of(enum: str | None, text: str) -> int:
    """A number from its name: of an enumeration, flags joined with |, on, off, or a number.

    Raises:
        UsageError: it is none of these.
    """
    cls = enum_class(enum)
    total = 0
    for part in (part.strip() for part in text.split("|")):
        name = part.upper()
        if cls is not None and name in cls.__members__:
            total |= cls.__members__[name].value
        elif name in ("ON", "TRUE", "YES"):
            total |= 1
        elif name in ("OFF", "FALSE", "NO", "NONE"):
            total |= 0
        elif cls is not None and not part[:1].isdigit():
            raise UsageError(f"{part!r} is no {enum}", f"names: {', '.join(cls.__members__)}")
        else:
            total |= parse_number(part, "value")
    return total


def field_meaning(place: Place, field: Field, value: int) -> str:
    """What a field's value says, beyond the number."""
    if field.enum:
        return value_name(field.enum, value)
    if place.register.name in ("MAC_ADDRESS", "MAC_FILTER") and field.name == "ADDRESS":
        return value.to_bytes(6, "little").hex(":")
    if field.name == "VECTORS":
        return "vectors " + (_set_bits(value) or "none")
    if field.width_bits == 1:
        return "on" if value else "off"
    return ""


def field_number(place: Place, value: int) -> str:
    """A field's value as a number: counts and small ones in decimal, addresses and masks not."""
    counts = place.register.section == "Counters"
    return str(value) if counts or value <= _DECIMAL else f"{value:#x}"


def _set_bits(value: int) -> str:
    runs: list[list[int]] = []
    for bit in (bit for bit in range(value.bit_length()) if value >> bit & 1):
        if runs and runs[-1][1] == bit - 1:
            runs[-1][1] = bit
        else:
            runs.append([bit, bit])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def fields_json(place: Place, value: int) -> dict[str, dict[str, Any]]:
    """Every field of a register's value: number, name of the value, access, what it is."""
    return {
        field.name: {
            "value": field.extract(value),
            "meaning": field_meaning(place, field, field.extract(value)),
            "bits": bits(field),
            "access": field.access.value,
            "description": descriptions.FIELDS.get(f"{place.register.name}.{field.name}", ""),
        }
        for field in place.register.fields
    }


def bits(field: Field) -> str:
    """Its place in the register, as data sheets give it."""
    return (
        f"{field.lsb + field.width_bits - 1}:{field.lsb}"
        if field.width_bits > 1
        else str(field.lsb)
    )


def structure_json(cls: type[Structure], data: bytes) -> dict[str, Any]:
    """Every member of a structure, by name; secret ones only by their size.

    Numbers with an enumeration also have `NAME_name`. Too few bytes give what there is of them.
    """
    if len(data) < cls.SIZE:
        return {}
    members: dict[str, Any] = {}
    for member, value in zip(cls.members(), cls.unpack_from(data), strict=True):
        if member.name in cls.SECRET:
            members[member.name] = f"<{member.size_bytes} secret bytes>"
        elif isinstance(value, bytes):
            members[member.name] = value.hex()
        else:
            members[member.name] = value
            if member.enum:
                members[f"{member.name}_name"] = value_name(member.enum, value)
    return members


_HEXADECIMAL: Final = {
    *("address", "flags", "flow", "handle", "operand", "rss_hash", "send_tag", "suite"),
}


def structure_text(members: dict[str, Any], *, skip: tuple[str, ...] = ()) -> str:
    """Members of a structure as one line; those that are 0 and say nothing are left out."""
    parts = []
    for name, value in members.items():
        if name.endswith("_name") and name.removesuffix("_name") in members:
            continue
        named = members.get(f"{name}_name")
        if name in skip or (value in (0, "none") and named in (None, "none", "NONE")):
            continue
        if named is not None:
            parts.append(f"{name}={str(named).replace(' ', '')}")
        elif isinstance(value, str) and value.strip("0") == "":
            continue
        else:
            shown = f"{value:#x}" if name in _HEXADECIMAL and isinstance(value, int) else value
            parts.append(f"{name}={shown}")
    return " ".join(parts)


def ip_address(data: bytes, version: int) -> str:
    """An address of a trace record or flow block: 16 bytes, of which IPv4 uses the first 4."""
    if version == 4:
        return str(ipaddress.IPv4Address(data[:4]))
    return str(ipaddress.IPv6Address(data)) if len(data) == _IPV6_BYTES else data.hex()


def diagnostic_reference(name: str) -> str:
    """Where the reference explains a diagnostic."""
    return f"{REFERENCE}#diagnostic-{name.lower().replace('_', '-')}"


def diagnostic_text(name: str) -> str:
    """What a diagnostic means, and what follows from it."""
    return descriptions.ENUMS.get(f"Diagnostic.{name}", "")
