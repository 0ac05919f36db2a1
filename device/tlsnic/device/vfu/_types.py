"""The words of the PCI and vfio-user interface: enumerations, flags and handler signatures."""

from collections.abc import Callable
from enum import IntEnum, IntFlag
from typing import NamedTuple, Protocol


class PciType(IntEnum):
    """`vfu_pci_type_t`. The configuration space is 4096 bytes from PCI_X_2 on, else 256."""

    CONVENTIONAL = 0
    PCI_X_1 = 1
    PCI_X_2 = 2
    EXPRESS = 3


class Region(IntEnum):
    """Region index, as in <linux/vfio.h> (VFIO_PCI_BAR0_REGION_INDEX ...)."""

    BAR0 = 0
    BAR1 = 1
    BAR2 = 2
    BAR3 = 3
    BAR4 = 4
    BAR5 = 5
    ROM = 6
    CONFIG = 7
    VGA = 8


class RegionFlag(IntFlag):
    """`VFU_REGION_FLAG_*`. MEM64 and PREFETCH work with both library revisions."""

    READ = 1
    WRITE = 2
    RW = 3
    MEM = 4
    ALWAYS_CALLBACK = 8
    MEM64 = 16
    PREFETCH = 32


class CapFlag(IntFlag):
    """`VFU_CAP_FLAG_*` of `Context.add_capability`."""

    NONE = 0
    EXTENDED = 1
    CALLBACK = 2
    READONLY = 4


class Irq(IntEnum):
    """Interrupt index, as in <linux/vfio.h> (VFIO_PCI_INTX_IRQ_INDEX ...)."""

    INTX = 0
    MSI = 1
    MSIX = 2
    ERR = 3
    REQ = 4


class Reset(IntEnum):
    """Why the device is reset (`vfu_reset_type_t`)."""

    DEVICE = 0
    LOST_CONNECTION = 1
    FUNCTION_LEVEL = 2


class MmapArea(NamedTuple):
    """A part of a region that the client may map; both in bytes, multiples of the page size."""

    offset: int
    size: int


class IoVec(NamedTuple):
    """`struct iovec`: address in this process and length in bytes (both 64 bits wide)."""

    address: int
    length: int


class RegionHandler(Protocol):
    """What answers accesses to a region that the client does not map."""

    def read(self, offset: int, length: int, /) -> bytes:
        """Return exactly `length` bytes at byte `offset` of the region."""

    def write(self, offset: int, data: bytes, /) -> None:
        """Take `data` at byte `offset` of the region; QEMU's memory writes are posted."""


ResetHook = Callable[[Reset], None]
QuiesceHook = Callable[[], bool]
"""True: quiesced now. False: `Context.quiesced` follows later; until then `run` handles nothing."""
IrqStateHook = Callable[[int, int, bool], None]
"""(first vector, number of vectors, masked)."""
ErrorHook = Callable[[BaseException, str], None]
"""(exception, name of the callback it left)."""
