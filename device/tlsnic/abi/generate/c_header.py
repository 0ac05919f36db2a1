"""Writes the C header: register offsets and field masks, enumerations, structures in memory.

The layout of the header is our own and not peakrdl-cheader's. That tool overlays each BAR with a
struct and offers bit fields, but a driver reaches registers through accessors that take an offset
(`readl`, `bus_space_read_4`), and the order of bit fields is up to the compiler. Its masks have
lower-case suffixes, and it knows no structures in little-endian memory. The tests use it as an
independent judge of our offsets and masks.

A structure is packed and has the alignment of its largest member, so that compilers neither pad it
nor fall back to access by bytes. Static assertions pin every size and offset.

Trace records are left out: they are in captures, not in memory that a driver shares with the card.
"""

import textwrap
from collections.abc import Iterable

from tlsnic.abi.generate.model import Enum, Interface, Member, RegisterMap, Structure
from tlsnic.abi.generate.nodes import InterfaceError
from tlsnic.abi.generate.python import field_mask
from tlsnic.abi.generate.text import GENERATED, one_line, sentence, snake_case

GUARD = "TLSNIC_HW_H"
TYPES = {1: "uint8_t", 2: "tlsnic_le16", 4: "tlsnic_le32", 8: "tlsnic_le64"}
INT_MAX = 0x7FFFFFFF

HEAD = """\
#ifdef __KERNEL__
#include <linux/stddef.h>
#include <linux/types.h>
typedef __le16 tlsnic_le16;
typedef __le32 tlsnic_le32;
typedef __le64 tlsnic_le64;
#else
#include <stddef.h>
#include <stdint.h>
typedef uint16_t tlsnic_le16;
typedef uint32_t tlsnic_le32;
typedef uint64_t tlsnic_le64;
#endif

#ifdef __cplusplus
#define TLSNIC_ASSERT(condition) static_assert(condition, #condition)
#else
#define TLSNIC_ASSERT(condition) _Static_assert(condition, #condition)
#endif
"""


class _Header:
    """Lines of the header, the names defined so far, and the place in the RDL being written."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.names: dict[str, str] = {}
        self.where = ""

    def claim(self, name: str, source: str) -> str:
        """Returns `name`; InterfaceError if something else has it already."""
        if name in self.names:
            other = self.names[name]
            raise InterfaceError(
                f"{self.where}error: {source} and {other} both need the C name {name}"
            )
        self.names[name] = source
        return name

    def define(self, name: str, value: str, source: str, text: str = "") -> None:
        """One constant, with a short comment behind it or a longer one above."""
        line = f"#define {self.claim(name, source)} {value}"
        if text and len(line) + len(text) + 7 <= 100:
            line += f" /* {text} */"
        elif text:
            self.comment(text)
        self.lines.append(line)

    def comment(self, text: str, indent: str = "") -> None:
        """A comment of its own, wrapped."""
        text = one_line(text).replace("*/", "* /")
        lines = textwrap.wrap(text, 94 - len(indent))
        if len(lines) == 1:
            self.lines.append(f"{indent}/* {lines[0]} */")
        elif lines:
            body = [f"{indent} * {line}" for line in lines]
            self.lines += [f"{indent}/*", *body, f"{indent} */"]

    def blank(self) -> None:
        self.lines.append("")


def header(interface: Interface) -> str:
    """Text of tlsnic_hw.h."""
    out = _Header()
    note = GENERATED.format(source=interface.source)
    out.comment(f"Hardware interface of the tlsnic network card. {note}")
    out.lines += [f"#ifndef {GUARD}", f"#define {GUARD}", "", HEAD]
    for register_map in interface.maps:
        _register_map(out, register_map)
    structures = [structure for structure in interface.structures if structure.kind != "trace"]
    traced = enums_of(interface.structures) - enums_of(structures)
    traced -= {field.enum for bar in interface.maps for r in bar.registers for field in r.fields}
    for enum in interface.enums:
        if enum.name not in traced:
            _enum(out, enum)
    for structure in structures:
        _structure(out, structure)
    out.lines += ["#undef TLSNIC_ASSERT", "", f"#endif /* {GUARD} */"]
    return "\n".join(out.lines) + "\n"


def enums_of(structures: Iterable[Structure]) -> set[str | None]:
    """Names of the enumerations that members of these have."""
    return {member.enum for structure in structures for member in structure.members}


def _register_map(out: _Header, register_map: RegisterMap) -> None:
    out.comment(f"{register_map.title or register_map.name}. {register_map.description}")
    source = f"register map {register_map.name}"
    out.define(f"TLSNIC_{register_map.name.upper()}_SIZE", f"{register_map.size:#x}", source)
    strided = {group.name: group for group in register_map.groups if group.stride}
    for group in strided.values():
        out.blank()
        out.comment(sentence(group.title, group.name) + f" {group.description}")
        source = f"register file {group.name}"
        out.define(f"TLSNIC_REG_{group.name}_STRIDE", f"{group.stride:#x}", source)
        out.define(f"TLSNIC_REG_{group.name}_COUNT", str(group.count), source)
    for register in register_map.registers:
        out.blank()
        out.where = register.where
        title = sentence(register.title, register.description)
        source = f"register {register.name}"
        name = f"TLSNIC_REG_{register.name}"
        out.comment(f"{title} {register.width} bits.")
        out.define(name, f"{register.offset:#x}", source)
        if register.stride and register.group not in strided:
            out.define(f"{name}_STRIDE", f"{register.stride:#x}", source)
            out.define(f"{name}_COUNT", str(register.array_count), source)
        suffix = "ULL" if register.width > 32 else "U"
        for field in register.fields:
            if field.width < register.width:
                prefix = f"TLSNIC_{register.name}_{field.name}"
                mask = f"{field_mask(field):#x}{suffix}"
                out.define(f"{prefix}_SHIFT", str(field.lsb), source)
                out.define(f"{prefix}_MASK", mask, source, field.access)
    out.blank()


def enum_prefix(enum: Enum) -> str:
    """`TLSNIC_LINK_STATE` for LinkState: the names of its constants start with it."""
    return f"TLSNIC_{snake_case(enum.name).upper()}"


def _enum(out: _Header, enum: Enum) -> None:
    """C enumerators are ints, so that bit masks and large values become macros."""
    out.where = enum.where
    prefix = enum_prefix(enum)
    source = f"enumeration {enum.name}"
    if enum.description:
        out.comment(enum.description)
    if enum.flags or any(member.value > INT_MAX for member in enum.members):
        wide = any(member.value >> 32 for member in enum.members)
        suffix = "ULL" if wide else "U"
        for member in enum.members:
            text = sentence(member.description, member.title)
            out.define(f"{prefix}_{member.name}", f"{member.value:#x}{suffix}", source, text)
    else:
        out.lines.append(f"enum {out.claim(prefix.lower(), source)} {{")
        for member in enum.members:
            out.comment(sentence(member.description, member.title), "\t")
            out.lines.append(f"\t{out.claim(f'{prefix}_{member.name}', source)} = {member.value},")
        out.lines.append("};")
    out.blank()


def c_struct_name(structure: Structure) -> str:
    """Tag of the structure."""
    return f"tlsnic_{structure.name}"


def _structure(out: _Header, structure: Structure) -> None:
    out.where = structure.where
    name = out.claim(c_struct_name(structure), f"structure {structure.name}")
    title = sentence(structure.title, structure.name.replace("_", " "))
    out.comment(f"{title} {sentence(structure.description)}")
    if structure.opcode is not None:
        kind = "EVENT_TYPE" if structure.kind == "event" else "OPCODE"
        out.define(
            f"{name.upper()}_{kind}", f"{structure.opcode:#x}", f"structure {structure.name}"
        )
    out.lines.append(f"struct {name} {{")
    position = 0
    for member in structure.members:
        _padding(out, position, member.offset)
        _member(out, member)
        position = member.offset + member.size
    _padding(out, position, structure.size)
    sizes = [1 if member.is_bytes else member.size for member in structure.members]
    alignment = max(size for size in sizes if structure.size % size == 0)
    out.lines.append(f"}} __attribute__((packed, aligned({alignment})));")
    out.lines.append(f"TLSNIC_ASSERT(sizeof(struct {name}) == {structure.size});")
    out.lines += [
        f"TLSNIC_ASSERT(offsetof(struct {name}, {member.name}) == {member.offset});"
        for member in structure.members
    ]
    out.blank()


def _padding(out: _Header, start: int, end: int) -> None:
    if end > start:
        out.lines.append(f"\tuint8_t reserved_{start:02x}[{end - start}];")


def _member(out: _Header, member: Member) -> None:
    out.comment(sentence(member.description), "\t")
    if member.is_bytes:
        out.lines.append(f"\tuint8_t {member.name}[{member.size}];")
    else:
        out.lines.append(f"\t{TYPES[member.size]} {member.name};")
