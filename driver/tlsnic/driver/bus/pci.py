"""The part of PCI every bus shares: configuration space layout, BAR flags, capability lists.

Section numbers are those of the PCI Local Bus Specification 3.0 and the PCI Express Base
Specification 5.0; names follow linux/pci_regs.h.
"""

from __future__ import annotations

from collections.abc import Callable

from .errors import BusError

VENDOR_ID = 0x00
DEVICE_ID = 0x02
COMMAND = 0x04
STATUS = 0x06
BASE_ADDRESS_0 = 0x10
CAPABILITY_LIST = 0x34

# Command register (PCI 3.0, 6.2.2)
COMMAND_IO = 1 << 0
COMMAND_MEMORY = 1 << 1
COMMAND_MASTER = 1 << 2
COMMAND_INTX_DISABLE = 1 << 10

# Status register (PCI 3.0, 6.2.3)
STATUS_INTERRUPT = 1 << 3
STATUS_CAP_LIST = 1 << 4

# Base address registers (PCI 3.0, 6.2.5.1)
BAR_IO = 1 << 0
BAR_MEM_TYPE_MASK = 3 << 1
BAR_MEM_TYPE_64 = 2 << 1
BAR_MEM_PREFETCH = 1 << 3
BAR_COUNT = 6

# Capability identifiers
CAP_ID_PM = 0x01
CAP_ID_MSI = 0x05
CAP_ID_VENDOR = 0x09
CAP_ID_EXP = 0x10
CAP_ID_MSIX = 0x11

# MSI-X capability (PCI 3.0, 6.8.2): offsets from its start, and bits
MSIX_FLAGS = 2
MSIX_TABLE = 4
MSIX_PBA = 8
MSIX_FLAGS_TABLE_SIZE = 0x7FF
MSIX_FLAGS_MASK_ALL = 1 << 14
MSIX_FLAGS_ENABLE = 1 << 15
MSIX_BIR_MASK = 0x7

# PCI Express capability (PCIe 5.0, 7.5.3)
EXP_DEVICE_CAPABILITIES = 4
EXP_DEVICE_CONTROL = 8
EXP_DEVCAP_FLR = 1 << 28
EXP_DEVCTL_FLR = 1 << 15

# A function has at most this many capabilities: 48 four-byte-aligned places above the header.
_MAX_CAPABILITIES = 48
_MAX_EXT_CAPABILITIES = (4096 - 256) // 8
_EXT_CAP_START = 0x100

ConfigRead = Callable[[int, int], int]


class Capability:
    """One capability: `id`, `offset` in configuration space, and whether it is an extended one."""

    __slots__ = ("extended", "id", "offset")

    def __init__(self, cap_id: int, offset: int, extended: bool = False) -> None:
        self.id = cap_id
        self.offset = offset
        self.extended = extended

    def __repr__(self) -> str:
        kind = "ext " if self.extended else ""
        return f"<Capability {kind}{self.id:#x} at {self.offset:#x}>"


class BarInfo:
    """What a BAR is: `index`, `size_bytes` (0 when absent), and its flags."""

    __slots__ = ("index", "is_64bit", "is_io", "is_mappable", "is_prefetchable", "size_bytes")

    def __init__(
        self,
        index: int,
        size_bytes: int,
        *,
        is_io: bool = False,
        is_64bit: bool = False,
        is_prefetchable: bool = False,
        is_mappable: bool = False,
    ) -> None:
        self.index = index
        self.size_bytes = size_bytes
        self.is_io = is_io
        self.is_64bit = is_64bit
        self.is_prefetchable = is_prefetchable
        self.is_mappable = is_mappable

    @classmethod
    def from_register(
        cls, index: int, size_bytes: int, register: int, *, is_mappable: bool
    ) -> BarInfo:
        """Take the flags from the low bits of the base address register (PCI 3.0, 6.2.5.1)."""
        is_io = bool(register & BAR_IO)
        return cls(
            index,
            size_bytes,
            is_io=is_io,
            is_64bit=not is_io and register & BAR_MEM_TYPE_MASK == BAR_MEM_TYPE_64,
            is_prefetchable=not is_io and bool(register & BAR_MEM_PREFETCH),
            is_mappable=is_mappable,
        )

    def __repr__(self) -> str:
        flags = [
            name
            for name, value in (
                ("io", self.is_io),
                ("64bit", self.is_64bit),
                ("prefetchable", self.is_prefetchable),
                ("mappable", self.is_mappable),
            )
            if value
        ]
        return f"<BAR{self.index} {self.size_bytes} bytes {' '.join(flags)}>".replace(" >", ">")


class MsixInfo:
    """The MSI-X capability, decoded: vectors, and where the table and the pending bits are."""

    __slots__ = ("offset", "pba_bar", "pba_offset", "table_bar", "table_offset", "vectors")

    def __init__(self, offset: int, flags: int, table: int, pba: int) -> None:
        self.offset = offset
        self.vectors = (flags & MSIX_FLAGS_TABLE_SIZE) + 1
        self.table_bar = table & MSIX_BIR_MASK
        self.table_offset = table & ~MSIX_BIR_MASK
        self.pba_bar = pba & MSIX_BIR_MASK
        self.pba_offset = pba & ~MSIX_BIR_MASK


def walk_capabilities(config_read: ConfigRead) -> list[Capability]:
    """The standard capability list, in its order (PCI 3.0, 6.7).

    Raises BusError when the list loops or points into the header.
    """
    if not config_read(STATUS, 2) & STATUS_CAP_LIST:
        return []
    found: list[Capability] = []
    offset = config_read(CAPABILITY_LIST, 1) & ~3
    while offset:
        if offset < 0x40:
            raise BusError(f"the capability list points into the header, at {offset:#x}")
        if len(found) >= _MAX_CAPABILITIES:
            raise BusError("the capability list of configuration space loops")
        cap_id = config_read(offset, 1)
        if cap_id == 0xFF:  # all ones: the device is gone, and so is the rest of the list
            break
        found.append(Capability(cap_id, offset))
        offset = config_read(offset + 1, 1) & ~3
    return found


def walk_extended_capabilities(config_read: ConfigRead) -> list[Capability]:
    """The extended capability list of a PCIe function (PCIe 5.0, 7.6.1).

    The caller knows that configuration space has 4096 bytes. Raises BusError when it loops.
    """
    found: list[Capability] = []
    offset = _EXT_CAP_START
    while offset:
        if offset < _EXT_CAP_START:
            raise BusError(f"the extended capability list points to {offset:#x}")
        if len(found) >= _MAX_EXT_CAPABILITIES:
            raise BusError("the extended capability list of configuration space loops")
        header = config_read(offset, 4)
        if header in (0, 0xFFFF_FFFF):
            break
        found.append(Capability(header & 0xFFFF, offset, extended=True))
        offset = header >> 20 & ~3
    return found
