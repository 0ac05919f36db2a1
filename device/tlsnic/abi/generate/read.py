"""Reads the RDL file into the model and refuses what the outputs cannot express, with file:line."""

import keyword
from dataclasses import replace
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any

from systemrdl import RDLCompileError, RDLCompiler
from systemrdl.component import Addrmap
from systemrdl.node import AddrmapNode, FieldNode, RegfileNode, RegNode
from systemrdl.rdltypes import AccessType, OnReadType, OnWriteType
from systemrdl.rdltypes.user_enum import is_user_enum

from tlsnic.abi.generate.model import (
    Enum,
    EnumMember,
    Field,
    Group,
    Interface,
    Member,
    Notes,
    Register,
    RegisterMap,
    Structure,
)
from tlsnic.abi.generate.nodes import (
    InterfaceError,
    camel_case,
    clean,
    comment_before,
    description_of,
    is_addrmap,
    is_reserved,
    notes_of,
    place,
    title_of,
    udp,
)

STRUCT_KINDS = ("descriptor", "completion", "command", "response", "event", "block", "trace")
MEMBER_BITS = (8, 16, 32, 64)
REGISTER_BITS = (32, 64)
# Attributes of Structure and of tuple that a member of that name would hide.
TAKEN_NAMES = frozenset({"pack", "pack_into", "unpack_from", "reserved_is_zero", "members"})

ACCESS = {
    # (sw, onread, onwrite, singlepulse)
    (AccessType.r, None, None, False): "RO",
    (AccessType.rw, None, None, False): "RW",
    (AccessType.w, None, None, False): "WO",
    (AccessType.rw, None, OnWriteType.woclr, False): "W1C",
    (AccessType.rw, None, OnWriteType.woset, False): "W1S",
    (AccessType.r, OnReadType.rclr, None, False): "RC",
    (AccessType.rw, None, None, True): "W1P",
    (AccessType.w, None, None, True): "W1P",
    (AccessType.w, None, OnWriteType.woset, True): "W1P",
    (AccessType.rw, None, OnWriteType.woset, True): "W1P",
}


class _Messages:
    """Collects the compiler's messages instead of printing them in colour."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def print_message(self, severity: Any, text: str, where: Any) -> None:
        """Called by the compiler for every message."""
        self.lines.append(f"{place(where)}{severity.name.lower()}: {text}")


def read(path: Path) -> Interface:
    """The interface that the RDL file describes; InterfaceError, OSError."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such RDL file")
    messages = _Messages()
    compiler = RDLCompiler(message_printer=messages)
    try:
        compiler.compile_file(str(path))
        names = [n for n, d in compiler.root.comp_defs.items() if isinstance(d, Addrmap)]
        tops = [compiler.elaborate(name).top for name in names]
    except RDLCompileError as error:
        raise InterfaceError("\n".join(messages.lines) or str(error)) from error
    if messages.lines:
        raise InterfaceError("\n".join(messages.lines))
    reader = _Reader()
    interface = reader.interface(tops, compiler.namespace.type_ns_stack[0], path)
    if reader.errors:
        raise InterfaceError("\n".join(reader.errors))
    return interface


class _Reader:
    def __init__(self) -> None:
        self.errors: list[str] = []
        self.enum_types: dict[str, Any] = {}
        self.flag_enums: dict[str, bool] = {}

    def error(self, node: Any, text: str) -> None:
        where = node if not hasattr(node, "inst_src_ref") else node.inst_src_ref
        if where is None:
            where = node.def_src_ref
        self.errors.append(f"{place(where)}error: {text}")

    def interface(self, tops: list[Any], types: dict[str, Any], path: Path) -> Interface:
        title = description = ""
        leaves: list[Any] = []
        used = {
            inner.orig_type_name
            for top in tops
            for inner in top.descendants()
            if isinstance(inner, AddrmapNode)
        }
        for top in tops:
            if top.inst_name in used:
                continue
            inner = [n for n in top.descendants() if isinstance(n, AddrmapNode)]
            if inner:
                title, description = title_of(top), description_of(top)
                leaves += [n for n in inner if not any(is_addrmap(c) for c in n.children())]
            else:
                leaves.append(top)

        maps: list[RegisterMap] = []
        structures: list[Structure] = []
        section = ""
        for leaf in leaves:
            kind = udp(leaf, "struct_kind")
            if kind is None:
                maps.append(self.register_map(leaf))
            elif kind == "enums":
                for field in leaf.descendants():
                    if isinstance(field, FieldNode):
                        self.enum_name(field)
            elif kind in STRUCT_KINDS:
                section = udp(leaf, "section") or section
                structures.append(self.structure(leaf, kind, section))
            else:
                self.error(leaf, f"struct_kind {kind!r} is none of {', '.join(STRUCT_KINDS)}")
        self.check_opcodes(leaves, structures)
        return Interface(
            title,
            description,
            tuple(maps),
            tuple(self.completed(structure, structures) for structure in structures),
            tuple(self.enums(types)),
            path.name,
        )

    # Registers

    def register_map(self, top: Any) -> RegisterMap:
        registers: list[Register] = []
        groups: list[Group] = []
        self._walk(top, "", 0, None, (registers, groups))
        registers.sort(key=lambda register: register.offset)
        section = udp(top, "section") or ""
        for number, register in enumerate(registers):
            section = register.section or section
            registers[number] = replace(register, section=section)
        size = max(int(top.size), int(udp(top, "size_bytes") or 0))
        return RegisterMap(
            top.inst_name,
            title_of(top),
            description_of(top),
            notes_of(top),
            1 << (size - 1).bit_length(),
            tuple(registers),
            tuple(groups),
        )

    def _walk(
        self,
        parent: Any,
        prefix: str,
        base: int,
        array: Group | None,
        found: tuple[list[Register], list[Group]],
    ) -> None:
        """Adds the registers and register files below `parent`, whose names start with `prefix`."""
        registers, groups = found
        for node in parent.children():
            name = f"{prefix}{node.inst_name}".upper().rstrip("_")
            if not isinstance(node, (RegNode, RegfileNode)):
                self.error(node, f"{name}: only registers and register files belong in a BAR")
                continue
            dimensions = node.array_dimensions or []
            if len(dimensions) > 1 or (dimensions and array):
                self.error(node, f"{name}: arrays have one dimension")
                continue
            offset = base + node.raw_address_offset
            if isinstance(node, RegNode):
                registers.append(self.register(node, name, offset, array))
                continue
            group = Group(
                name,
                node.orig_type_name or node.inst_name,
                title_of(node),
                offset,
                int(node.array_stride or 0),
                int(node.n_elements),
                description_of(node),
                notes_of(node),
            )
            groups.append(group)
            first = len(registers)
            self._walk(node, f"{name}_", offset, group if dimensions else array, found)
            section = udp(node, "section")
            if section and not registers[first].section:
                registers[first] = replace(registers[first], section=section)

    def register(self, node: Any, name: str, offset: int, array: Group | None) -> Register:
        width = int(node.get_property("regwidth"))
        if width not in REGISTER_BITS:
            self.error(node, f"{name}: a register has 32 or 64 bits, not {width}")
        fields = tuple(
            self.field(field, name)
            for field in sorted(node.fields(), key=lambda field: int(field.low))
            if not is_reserved(field)
        )
        in_file = isinstance(node.parent, RegfileNode)
        return Register(
            name,
            title_of(node),
            offset,
            width,
            array.count if array else int(node.n_elements),
            array.stride if array else int(node.array_stride or 0),
            bool(udp(node, "side_effects")) or any(field.access == "RC" for field in fields),
            udp(node, "section") or "",
            description_of(node),
            notes_of(node),
            fields,
            name.removesuffix(f"_{node.inst_name.upper()}") if in_file else None,
            place(node.inst_src_ref),
        )

    def field(self, node: Any, register: str) -> Field:
        kind = tuple(node.get_property(name) for name in ("sw", "onread", "onwrite"))
        access = ACCESS.get((*kind, bool(node.get_property("singlepulse"))))
        if access is None:
            sw, onread, onwrite = (value.name if value else "none" for value in kind)
            self.error(
                node,
                f"{register}.{node.inst_name}: sw={sw}, onread={onread}, onwrite={onwrite} is no "
                f"access kind of this interface",
            )
        reset = node.get_property("reset")
        if reset is not None and not isinstance(reset, int):
            self.error(node, f"{register}.{node.inst_name}: reset must be a number")
            reset = None
        return Field(
            node.inst_name.upper(),
            int(node.low),
            int(node.width),
            access or "RO",
            reset,
            self.enum_name(node),
            description_of(node) or title_of(node),
            notes_of(node),
        )

    # Structures

    def structure(self, top: Any, kind: str, section: str) -> Structure:
        members: list[Member] = []
        self._members(top, "", 0, members)
        members.sort(key=lambda member: member.offset)
        names = [member.name for member in members]
        for name in sorted({name for name in names if names.count(name) > 1}):
            self.error(top, f"{top.inst_name}: two members are called {name}")
        if "bytes" in names and any(member.is_bytes for member in members):
            self.error(top, f"{top.inst_name}: a member called bytes hides the type of another")
        if not members:
            self.error(top, f"{top.inst_name}: a structure without members")
        size = max(int(top.size), int(udp(top, "size_bytes") or 0))
        return Structure(
            top.inst_name,
            title_of(top),
            kind,
            udp(top, "opcode"),
            section,
            description_of(top),
            notes_of(top),
            size,
            0,
            tuple(members),
            place(top.inst_src_ref or top.def_src_ref),
        )

    def completed(self, structure: Structure, structures: list[Structure]) -> Structure:
        """The structure with what it takes from the form without opcode, and its reserved bits."""
        common = {
            (member.name, member.offset): member
            for other in structures
            if other.opcode is None and structure.kind in (other.kind, other.name)
            for member in other.members
        }
        members: list[Member] = []
        declared = 0
        for member in structure.members:
            like = common.get((member.name, member.offset), member)
            if structure.opcode is not None and like.size == member.size:
                if member.enum is None:
                    member = replace(member, enum=like.enum, is_flags=like.is_flags)
                member = replace(member, description=member.description or like.description)
            members.append(member)
            declared |= self._member_mask(member) << 8 * member.offset
        reserved = (1 << 8 * structure.size) - 1 & ~declared
        return replace(structure, members=tuple(members), reserved=reserved)

    def _member_mask(self, member: Member) -> int:
        """Bits of the member that may be set: with flags, only those that have a name."""
        if member.enum is not None and member.is_flags:
            return int(reduce(or_, (value.value for value in self.enum_types[member.enum])))
        return (1 << 8 * member.size) - 1

    def _members(self, parent: Any, prefix: str, base: int, members: list[Member]) -> None:
        for node in parent.children():
            if not isinstance(node, (RegNode, RegfileNode)):
                self.error(node, f"{node.inst_name}: only registers and register files belong here")
                continue
            dimensions = node.array_dimensions or []
            if len(dimensions) > 1:
                self.error(node, f"{node.inst_name}: arrays have one dimension")
                continue
            offset = base + node.raw_address_offset
            count = dimensions[0] if dimensions else 1
            stride = int(node.array_stride) if dimensions else 0
            if isinstance(node, RegNode) and udp(node, "raw"):
                self._raw_member(node, prefix, offset, members)
                continue
            for index in range(count):
                number = f"_{index}" if dimensions else ""
                start = offset + index * stride
                if isinstance(node, RegfileNode):
                    self._members(node, f"{prefix}{node.inst_name}{number}_", start, members)
                else:
                    for field in node.fields():
                        if not is_reserved(field):
                            members.append(self.member(field, prefix, number, start))

    def _raw_member(self, node: Any, prefix: str, offset: int, members: list[Member]) -> None:
        size = int(node.size) * int(node.n_elements)
        if node.total_size != size:
            self.error(node, f"{node.inst_name}: a byte string has no gaps")
        name = self.member_name(node, prefix + node.inst_name)
        field = node.fields()[0]
        secret = bool(udp(node, "secret"))
        description = description_of(node) or description_of(field) or title_of(node)
        members.append(
            Member(name, offset, size, True, None, False, secret, description, notes_of(node))
        )

    def member(self, node: Any, prefix: str, number: str, base: int) -> Member:
        name = self.member_name(node, f"{prefix}{node.inst_name}{number}")
        if node.width not in MEMBER_BITS or node.low % 8:
            self.error(
                node,
                f"{name}: bits {node.high}:{node.low} are not 8, 16, 32 or 64 bits from a byte on",
            )
        register = node.parent
        alone = len(register.fields()) == 1
        description = description_of(node) or (description_of(register) if alone else "")
        notes = notes_of(node)
        if alone and notes == Notes():
            notes = notes_of(register)
        enum = self.enum_name(node)
        return Member(
            name,
            base + int(node.low) // 8,
            max(int(node.width) // 8, 1),
            False,
            enum,
            enum is not None and bool(udp(node, "flags")),
            bool(udp(node, "secret")),
            description or title_of(node),
            notes,
        )

    def member_name(self, node: Any, name: str) -> str:
        # A trailing underscore keeps a name apart from a property or a keyword of the RDL.
        name = name.lower().rstrip("_")
        if keyword.iskeyword(name) or name in TAKEN_NAMES or name.startswith("_"):
            self.error(node, f"{name} cannot be the name of a member")
        return name

    def check_opcodes(self, leaves: list[Any], structures: list[Structure]) -> None:
        nodes = {leaf.inst_name: leaf for leaf in leaves}
        seen: dict[tuple[str, int], str] = {}
        for structure in structures:
            node = nodes[structure.name]
            if structure.opcode is None:
                continue
            other = seen.setdefault((structure.kind, structure.opcode), structure.name)
            if other != structure.name:
                self.error(node, f"{structure.name} and {other} have opcode {structure.opcode:#x}")

    # Enumerations

    def enum_name(self, node: Any) -> str | None:
        enum = node.get_property("encode")
        flags = bool(udp(node, "flags"))
        if enum is None:
            if flags:
                self.error(node, f"{node.inst_name}: flags without an encode enumeration")
            return None
        name = camel_case(enum.type_name)
        if self.enum_types.setdefault(name, enum) is not enum:
            self.error(node, f"two enumerations are called {name}")
        # A plain use of bit masks elsewhere is one bit of the set.
        self.flag_enums[name] = self.flag_enums.get(name, False) or flags
        return name

    def enums(self, types: dict[str, tuple[Any, Any]]) -> list[Enum]:
        sources: dict[str, Any] = {}
        order: dict[str, Any] = {}
        for kind, where in types.values():
            if is_user_enum(kind):
                name = camel_case(kind.type_name)
                order[name] = kind
                sources[name] = where
        order |= {name: enum for name, enum in self.enum_types.items() if name not in order}
        return [
            Enum(
                name,
                self.flag_enums.get(name, False),
                comment_before(sources.get(name)),
                tuple(
                    EnumMember(
                        member.name.upper(),
                        int(member.value),
                        member.rdl_name or "",
                        clean(member.rdl_desc),
                    )
                    for member in enum
                ),
                place(sources.get(name)),
            )
            for name, enum in order.items()
        ]
