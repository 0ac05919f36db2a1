"""The register map as the reference has it, held against a card."""

from __future__ import annotations

from collections.abc import Iterator

from tlsnic.abi import registers as reg
from tlsnic.abi.layout import Access, Register
from tlsnic.driver.bus import Bus

OPERATORS = frozenset({"STATUS", "MAC_ADDRESS", "LINK_SPEED"})
"""Registers whose value after reset is the operator's, or counts resets."""
_DIAGNOSTICS = ("DIAG_LAST", "DIAG_COUNT", "DIAG_OPERAND")
DIAGNOSTICS = frozenset(_DIAGNOSTICS)
_ACTIONS = frozenset({"CONTROL", "INT_TRIGGER"})


def elements(every: int = 1) -> Iterator[tuple[Register, int]]:
    """(register, offset) of all registers of BAR 0; of long arrays the first, last, every n-th."""
    for register in reg.BAR0.registers:
        last = register.array_count - 1
        for index in range(register.array_count):
            if index in (0, last) or index % every == 0:
                yield register, register.address(index)


def differences_from_reset(bus: Bus, every: int = 1) -> list[str]:
    """What is not as after a reset, by the reference."""
    wrong = []
    for register, offset in elements(every):
        if register.name in OPERATORS:
            continue
        value = bus.read(0, offset, register.size_bytes)
        if value != register.reset:
            name = f"{register.name} at {offset:#x}"
            wrong.append(f"{name} is {value:#x}, not {register.reset:#x}")
    return wrong


def scramble(bus: Bus, every: int = 1) -> int:
    """Write something else to whatever can be written without starting anything; how many took."""
    changed = 0
    for register, offset in elements(every):
        writable = register.mask_of(Access.RW)
        if not writable or register.name in _ACTIONS or register.name.endswith("_CONTROL"):
            continue
        width = register.size_bytes
        before = bus.read(0, offset, width)
        bus.write(0, offset, (before ^ 0x0102_0408_1020_4081) & writable, width)
        changed += bus.read(0, offset, width) != before
    return changed
