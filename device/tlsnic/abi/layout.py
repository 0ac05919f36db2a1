"""Types behind the generated tables: registers and their fields, structures and their members.

Standard library only, because the guest imports it. The generated modules hold their tables as
constant tuples, which cost next to nothing to import (Python in an emulated guest is some thirty
times slower); the objects below are built from them on first use.
"""

from bisect import bisect_right
from enum import StrEnum
from functools import cached_property
from struct import Struct
from typing import Any, ClassVar, NamedTuple, Self, TypeAlias

ReadableBuffer: TypeAlias = bytes | bytearray | memoryview
WritableBuffer: TypeAlias = bytearray | memoryview

RawField: TypeAlias = tuple[str, int, int, str, int | None, str | None]
"""Name, lowest bit, width in bits, access, reset value or None, enumeration or None."""

RawRegister: TypeAlias = tuple[str, int, int, int, int, bool, str, tuple[RawField, ...]]
"""Name, offset, width in bits, array count, stride, side effects on read, section, fields."""

RawMember: TypeAlias = tuple[str, int, int, bool, str | None]
"""Name, byte offset, size in bytes, is a byte string, enumeration or None."""


class Access(StrEnum):
    """What a driver's read and write of a field do."""

    RO = "RO"
    """Read only: a write is ignored."""
    RW = "RW"
    """Reads return what was written last."""
    WO = "WO"
    """Write only: reads return 0."""
    W1C = "W1C"
    """Each bit written as 1 is cleared, 0 leaves it."""
    W1S = "W1S"
    """Each bit written as 1 is set, 0 leaves it."""
    RC = "RC"
    """Read only, and a read clears it."""
    W1P = "W1P"
    """Writing 1 starts an action; reads return 0."""


class Field(NamedTuple):
    """Some bits of a register."""

    name: str
    lsb: int
    width_bits: int
    access: Access
    reset: int | None
    """Value after reset, shifted down; None when undefined."""
    enum: str | None
    """Name of the class in `tlsnic.abi.enums` that the value belongs to."""

    @property
    def mask(self) -> int:
        """The field's bits in place."""
        return ((1 << self.width_bits) - 1) << self.lsb

    def extract(self, value: int) -> int:
        """The field's value, shifted down, in the register value `value`."""
        return value >> self.lsb & ((1 << self.width_bits) - 1)

    def insert(self, value: int, field_value: int) -> int:
        """`value` with this field replaced; ValueError if `field_value` does not fit."""
        if field_value < 0 or field_value >> self.width_bits:
            raise ValueError(f"{field_value:#x} does not fit {self.width_bits} bits of {self.name}")
        return value & ~self.mask | field_value << self.lsb


class Register(NamedTuple):
    """A register, or an array of equal registers at a fixed stride."""

    name: str
    offset: int
    """Byte offset in its BAR, of element 0."""
    width_bits: int
    array_count: int
    """1 when it is no array."""
    stride: int
    """Bytes from one element to the next; 0 when it is no array."""
    side_effects: bool
    """Reading it changes the device's state: a dump leaves it out."""
    section: str
    """Chapter of the reference that describes it."""
    fields: tuple[Field, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes of one element."""
        return self.width_bits // 8

    @property
    def anchor(self) -> str:
        """Anchor of its description in docs/reference.md."""
        return f"reg-{self.name.lower().replace('_', '-')}"

    @property
    def reset(self) -> int:
        """Value after reset; undefined fields count as 0."""
        return sum((field.reset or 0) << field.lsb for field in self.fields)

    @property
    def reserved_mask(self) -> int:
        """Bits that belong to no field: they read as 0 and must be written as 0."""
        return (1 << self.width_bits) - 1 & ~self.mask_of(*Access)

    def mask_of(self, *access: Access) -> int:
        """Bits of all fields of the given access kinds."""
        return sum(field.mask for field in self.fields if field.access in access)

    def address(self, index: int = 0) -> int:
        """Byte offset of element `index`; IndexError outside the array."""
        if not 0 <= index < self.array_count:
            raise IndexError(f"{self.name}[{index}]: the array has {self.array_count} elements")
        return self.offset + index * self.stride

    def field(self, name: str) -> Field:
        """The field called `name`; KeyError if there is none."""
        for field in self.fields:
            if field.name == name:
                return field
        raise KeyError(f"{self.name} has no field {name}")

    def decode(self, value: int) -> dict[str, int]:
        """Every field's value in the register value `value`, by name."""
        return {field.name: field.extract(value) for field in self.fields}


class RegisterMap:
    """The registers of one BAR."""

    def __init__(self, name: str, size_bytes: int, raw: tuple[RawRegister, ...]) -> None:
        self.name = name
        self.size_bytes = size_bytes
        self._raw = raw

    @cached_property
    def registers(self) -> tuple[Register, ...]:
        """All registers, in ascending offset of their element 0."""
        return tuple(
            Register(*raw[:7], tuple(Field(*f[:3], Access(f[3]), *f[4:]) for f in raw[7]))
            for raw in self._raw
        )

    @cached_property
    def by_name(self) -> dict[str, Register]:
        """Registers by name."""
        return {register.name: register for register in self.registers}

    @cached_property
    def _elements(self) -> tuple[list[int], list[tuple[Register, int]]]:
        elements = sorted(
            (register.offset + index * register.stride, number, index)
            for number, register in enumerate(self.registers)
            for index in range(register.array_count)
        )
        return (
            [offset for offset, _, _ in elements],
            [(self.registers[number], index) for _, number, index in elements],
        )

    def find(self, offset: int) -> tuple[Register, int] | None:
        """Register and array index that hold the byte at `offset`, or None between registers."""
        offsets, elements = self._elements
        position = bisect_right(offsets, offset) - 1
        if position < 0:
            return None
        register, index = elements[position]
        return (register, index) if offset < offsets[position] + register.size_bytes else None


class Member(NamedTuple):
    """Some bytes of a structure."""

    name: str
    offset: int
    size_bytes: int
    is_bytes: bool
    """A byte string (a key, an address), not a number."""
    enum: str | None
    """Name of the class in `tlsnic.abi.enums` that the value belongs to."""


class Structure(tuple[Any, ...]):
    """Base of every structure in memory: little-endian, reserved bytes written as zero.

    Numbers out of range raise struct.error when packed, and so does a buffer that is too short in
    either direction. Hot code may use its own partial `Struct` with the `OFFSET_…` constants.
    """

    __slots__ = ()

    NAME: ClassVar[str]
    """Name in the hardware description."""
    KIND: ClassVar[str]
    """descriptor, completion, command, response, event or block."""
    OPCODE: ClassVar[int | None] = None
    """Opcode of a command or response, type number of an event."""
    SIZE: ClassVar[int]
    """Size in bytes."""
    STRUCT: ClassVar[Struct]
    RESERVED: ClassVar[int]
    """Reserved bits of the whole structure read as one little-endian number; includes flag bits
    that have no name."""
    MEMBERS: ClassVar[tuple[RawMember, ...]]
    SECRET: ClassVar[tuple[str, ...]] = ()
    """Members that hold key material."""

    def __repr__(self) -> str:
        """All members but secret ones, of which only the size is shown."""
        shown = (
            f"{member.name}=<{member.size_bytes} secret bytes>"
            if member.name in self.SECRET
            else f"{member.name}={value!r}"
            for member, value in zip(self.members(), self, strict=True)
        )
        return f"{type(self).__name__}({', '.join(shown)})"

    @classmethod
    def unpack_from(cls, buffer: ReadableBuffer, offset: int = 0) -> Self:
        """Read one structure at byte `offset` of `buffer`."""
        return tuple.__new__(cls, cls.STRUCT.unpack_from(buffer, offset))

    def pack_into(self, buffer: WritableBuffer, offset: int = 0) -> None:
        """Write the structure at byte `offset` of `buffer`."""
        self.STRUCT.pack_into(buffer, offset, *self)

    def pack(self) -> bytes:
        """The structure's bytes."""
        return self.STRUCT.pack(*self)

    @classmethod
    def reserved_is_zero(cls, buffer: ReadableBuffer, offset: int = 0) -> bool:
        """Whether all reserved bits of the structure at byte `offset` are clear."""
        return not (int.from_bytes(buffer[offset : offset + cls.SIZE], "little") & cls.RESERVED)

    @classmethod
    def members(cls) -> tuple[Member, ...]:
        """Descriptions of the members, in order."""
        return tuple(Member(*member) for member in cls.MEMBERS)
