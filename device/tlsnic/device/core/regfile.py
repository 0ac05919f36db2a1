"""The register file of one BAR: splits accesses, applies access kinds, calls the owner of a register.

The one place that knows what an access of 1, 2, 4 or 8 bytes at any offset does (reference, chapter
"Register access"). Access kinds come from the generated table, never from code.
"""

from collections.abc import Callable
from typing import Final

from tlsnic.abi.enums import Diagnostic
from tlsnic.abi.layout import Access, Register, RegisterMap
from tlsnic.device.core.diagnostics import Diagnostics

ReadHook = Callable[[int], int]
"""Called with the array index, returns the register's value."""
WriteHook = Callable[[int, int, int, int], int]
"""Called with array index, old value, new value, bits written as one; returns what to keep."""

_U32: Final = 0xFFFF_FFFF


class _Cell:
    """One register, or one element of a register array."""

    __slots__ = (
        "clear_ones", "index", "latched_high", "mask", "on_read", "on_write", "read_write",
        "register", "reserved", "reset", "size_bytes", "value", "write_only",
    )  # fmt: skip

    def __init__(self, register: Register, index: int) -> None:
        self.register = register
        self.index = index
        self.size_bytes = register.size_bytes
        self.mask = (1 << register.width_bits) - 1
        self.reset = register.reset
        self.value = self.reset
        self.read_write = register.mask_of(Access.RW)
        self.clear_ones = register.mask_of(Access.W1C)
        self.write_only = register.mask_of(Access.WO, Access.W1P)
        self.reserved = register.reserved_mask
        self.on_read: ReadHook | None = None
        self.on_write: WriteHook | None = None
        self.latched_high: int | None = None

    def read(self) -> int:
        value = self.on_read(self.index) if self.on_read else self.value
        return value & ~self.write_only & self.mask

    def write(self, value: int, bits: int) -> None:
        """Write `value`, of which only `bits` were on the bus (a half of a 64-bit register)."""
        writable = self.read_write & bits
        new = self.value & ~writable | value & writable
        new &= ~(value & self.clear_ones & bits)
        if self.on_write:
            new = self.on_write(self.index, self.value, new, value & bits)
        self.value = new
        self.latched_high = None  # reading back gives what was written


class RegisterFile:
    """All registers of one BAR, and the rules for touching them."""

    def __init__(self, registers: RegisterMap, diagnostics: Diagnostics) -> None:
        self._diagnostics = diagnostics
        self.size_bytes = registers.size_bytes
        self._cells: dict[int, _Cell] = {}
        self._high_halves: dict[int, _Cell] = {}
        self._by_name: dict[str, list[_Cell]] = {}
        for register in registers.registers:
            cells = [_Cell(register, index) for index in range(register.array_count)]
            self._by_name[register.name] = cells
            for cell in cells:
                offset = register.address(cell.index)
                self._cells[offset] = cell
                if cell.size_bytes == 8:
                    self._high_halves[offset + 4] = cell

    def on_read(self, name: str, hook: ReadHook) -> None:
        """Let `hook` give the value of register `name`."""
        for cell in self._by_name[name]:
            cell.on_read = hook

    def on_write(self, name: str, hook: WriteHook) -> None:
        """Let `hook` see, refuse or change every write of register `name`."""
        for cell in self._by_name[name]:
            cell.on_write = hook

    def get(self, name: str, index: int = 0) -> int:
        """The stored value of a register, without its read hook."""
        return self._by_name[name][index].value

    def put(self, name: str, value: int, index: int = 0) -> None:
        """Store a value, whatever the register's access kind."""
        self._by_name[name][index].value = value

    def reset(self) -> None:
        """Return every register to its reset value."""
        for cell in self._cells.values():
            cell.value = cell.reset
            cell.latched_high = None

    def read(self, offset: int, width: int) -> int:
        """What a read of `width` bytes (1, 2, 4 or 8) at `offset` returns."""
        if width == 4 and not offset & 3:
            return self._read32(offset)
        if width == 8 and not offset & 7:
            cell = self._cells.get(offset)
            if cell is not None and cell.size_bytes == 8:
                return cell.read()
            return self._read32(offset) | self._read32(offset + 4) << 32
        self._diagnostics.report(Diagnostic.REG_ACCESS, offset)
        return self.peek(offset, width)

    def write(self, offset: int, width: int, value: int) -> None:
        """Carry out a write of `width` bytes (1, 2, 4 or 8) at `offset`."""
        if width == 4 and not offset & 3:
            self._write32(offset, value & _U32)
        elif width == 8 and not offset & 7:
            cell = self._cells.get(offset)
            if cell is not None and cell.size_bytes == 8:
                self._write_cell(cell, offset, value, cell.mask)
            else:
                self._write32(offset, value & _U32)
                self._write32(offset + 4, value >> 32)
        else:
            self._diagnostics.report(Diagnostic.REG_ACCESS, offset)

    def _read32(self, offset: int) -> int:
        cell = self._cells.get(offset)
        if cell is not None:
            value = cell.read()
            if cell.size_bytes == 8:
                cell.latched_high = value >> 32
            return value & _U32
        cell = self._high_halves.get(offset)
        if cell is not None:
            # A read of the low half latched this one, so that two 32-bit reads give one moment.
            latched, cell.latched_high = cell.latched_high, None
            return cell.read() >> 32 if latched is None else latched
        self._diagnostics.report(Diagnostic.REG_UNKNOWN, offset)
        return 0

    def _write32(self, offset: int, value: int) -> None:
        cell = self._cells.get(offset)
        if cell is not None:
            self._write_cell(cell, offset, value, _U32)
            return
        cell = self._high_halves.get(offset)
        if cell is not None:
            self._write_cell(cell, offset, value << 32, _U32 << 32)
            return
        self._diagnostics.report(Diagnostic.REG_UNKNOWN, offset)

    def _write_cell(self, cell: _Cell, offset: int, value: int, bits: int) -> None:
        if not (cell.read_write | cell.clear_ones | cell.write_only):
            self._diagnostics.report(Diagnostic.REG_READ_ONLY, offset)
            return
        if value & cell.reserved:
            self._diagnostics.report(Diagnostic.REG_RESERVED_BITS, offset)
        cell.write(value, bits)

    def peek(self, offset: int, width: int) -> int:
        """The bytes at `offset` without side effects; those of no register are zero."""
        whole = self._cells.get(offset)
        if whole is not None and whole.size_bytes == width:
            return whole.read()
        result = 0
        for position in range(width):
            word = (offset + position) & ~3
            cell = self._cells.get(word)
            shift = 8 * ((offset + position) & 3)
            if cell is None:
                cell = self._high_halves.get(word)
                shift += 32
            if cell is not None:
                result |= (cell.read() >> shift & 0xFF) << 8 * position
        return result
