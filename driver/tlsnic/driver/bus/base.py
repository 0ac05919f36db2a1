"""The one interface over every way to reach a PCI device: `Bus`, and `Bar` for its registers.

What all ways share (capability lists, command register, reset helpers) is implemented here once.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable

from . import pci
from .dma import DmaBuffer
from .errors import BusError, BusGoneError
from .interrupts import Interrupts

_FLR_QUIET_S = 0.1  # PCIe 5.0, 6.6.2: no access for 100 ms after a function level reset
_FLR_DEADLINE_S = 1.0


def all_ones(width: int) -> int:
    """What a read of `width` bytes gives when nothing answers (a master abort)."""
    return (1 << 8 * width) - 1


class Bar(ABC):
    """The registers behind one BAR. Offsets in bytes, values unsigned, little-endian.

    A read of a device that is gone gives all ones; a write is posted: it returns before the
    device has seen it, and a later read on the same BAR pushes it there. Raises BusError for an
    access outside the BAR and ValueError for a value that does not fit.
    """

    __slots__ = ("index", "size_bytes")

    def __init__(self, index: int, size_bytes: int) -> None:
        self.index = index
        self.size_bytes = size_bytes

    @abstractmethod
    def read(self, offset: int, width: int) -> int:
        """Read `width` (1, 2, 4, 8) bytes at any offset, in one access."""

    @abstractmethod
    def write(self, offset: int, value: int, width: int) -> None:
        """Write `width` (1, 2, 4, 8) bytes at any offset, in one access."""

    def read32(self, offset: int) -> int:
        """Read 4 bytes."""
        return self.read(offset, 4)

    def read64(self, offset: int) -> int:
        """Read 8 bytes in one access."""
        return self.read(offset, 8)

    def write32(self, offset: int, value: int) -> None:
        """Write 4 bytes."""
        self.write(offset, value, 4)

    def write64(self, offset: int, value: int) -> None:
        """Write 8 bytes in one access."""
        self.write(offset, value, 8)

    def write32_many(self, writes: Iterable[tuple[int, int]]) -> None:
        """Write (offset, value) pairs of 4 bytes, in their order, as cheaply as the bus can.

        When one of them is refused, those before it may or may not have been written.
        """
        for offset, value in writes:
            self.write32(offset, value)

    def outside(self, offset: int, width: int) -> BusError:
        """The error for an access that is not one inside the BAR."""
        if width not in (1, 2, 4, 8):
            return BusError(f"an access of {width} bytes was asked for; a register has 1, 2, 4, 8")
        return BusError(
            f"access of {width} bytes at {offset:#x} is outside BAR{self.index} "
            f"({self.size_bytes:#x} bytes)"
        )


class Batch:
    """Context in which a bus may hold posted writes back to send them together."""

    __slots__ = ("_bus",)

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    def __enter__(self) -> None:
        self._bus.hold_writes()

    def __exit__(self, *_: object) -> None:
        self._bus.release_writes()


class Bus(ABC):
    """A PCI function, reached in one of several ways. Belongs to one thread.

    Everything it opened is released by `close()`, which is harmless a second time; a `with`
    statement does the same. Register and configuration reads of a function that is gone give all
    ones and writes vanish, on every bus; other methods raise BusGoneError.
    """

    spec: str
    """What `open_bus` was given."""

    config_size_bytes: int = 256
    """256, or 4096 for a function with extended configuration space."""

    # Registers

    @abstractmethod
    def bars(self) -> list[pci.BarInfo]:
        """The BARs that exist, by index; the upper half of a 64-bit BAR is not listed."""

    @abstractmethod
    def bar(self, index: int) -> Bar:
        """The fast way to one BAR's registers. Raises BusError when there is no such BAR."""

    def read(self, bar: int, offset: int, width: int) -> int:
        """Read `width` (1, 2, 4, 8) bytes of a BAR."""
        return self.bar(bar).read(offset, width)

    def write(self, bar: int, offset: int, value: int, width: int) -> None:
        """Post a write of `width` (1, 2, 4, 8) bytes to a BAR."""
        self.bar(bar).write(offset, value, width)

    def batch(self) -> Batch:
        """`with bus.batch():` posted writes may be sent together; a read sends them first."""
        return Batch(self)

    def hold_writes(self) -> None:  # noqa: B027 - a bus whose writes are cheap holds none back
        """Begin a batch; see `batch`."""

    def release_writes(self) -> None:  # noqa: B027
        """End a batch; see `batch`."""

    # Configuration space

    @abstractmethod
    def config_read(self, offset: int, width: int) -> int:
        """Read `width` (1, 2, 4) bytes of configuration space."""

    @abstractmethod
    def config_write(self, offset: int, value: int, width: int) -> None:
        """Write `width` (1, 2, 4) bytes of configuration space; not posted."""

    def capabilities(self) -> list[pci.Capability]:
        """Standard capabilities in list order, then the extended ones."""
        found = pci.walk_capabilities(self.config_read)
        if self.config_size_bytes > 256:
            found += pci.walk_extended_capabilities(self.config_read)
        return found

    def find_capability(self, cap_id: int) -> int:
        """Offset of the first standard capability `cap_id` (pci.CAP_ID_...), 0 when absent."""
        for capability in pci.walk_capabilities(self.config_read):
            if capability.id == cap_id:
                return capability.offset
        return 0

    def msix_info(self) -> pci.MsixInfo | None:
        """The MSI-X capability, or None."""
        offset = self.find_capability(pci.CAP_ID_MSIX)
        if not offset:
            return None
        return pci.MsixInfo(
            offset,
            self.config_read(offset + pci.MSIX_FLAGS, 2),
            self.config_read(offset + pci.MSIX_TABLE, 4),
            self.config_read(offset + pci.MSIX_PBA, 4),
        )

    def set_bus_master(self, enabled: bool) -> None:
        """Allow or forbid the function's DMA and MSI-X (PCI 3.0, 6.2.2)."""
        self._set_command(pci.COMMAND_MASTER, enabled)

    def set_intx_disable(self, disabled: bool) -> None:
        """Forbid or allow the function's INTx pin (PCI 3.0, 6.2.2)."""
        self._set_command(pci.COMMAND_INTX_DISABLE, disabled)

    def _set_command(self, bit: int, enabled: bool) -> None:
        if self.gone:
            return
        old = self.config_read(pci.COMMAND, 2)
        new = old | bit if enabled else old & ~bit
        if new != old:
            self.config_write(pci.COMMAND, new, 2)

    # DMA

    @abstractmethod
    def dma_alloc(self, size_bytes: int, align: int = 4096) -> DmaBuffer:
        """Zeroed memory the device can reach at `.iova`, contiguous, aligned to `align`.

        Raises BusError when there is none.
        """

    @property
    @abstractmethod
    def dma_live_bytes(self) -> int:
        """Bytes of DMA memory handed out and not freed."""

    # Interrupts

    @abstractmethod
    def msix_vectors(self) -> int:
        """How many MSI-X vectors can be enabled on this bus (0: none)."""

    @abstractmethod
    def msix_enable(self, count: int) -> Interrupts:
        """Enable vectors 0 to `count` - 1. Replaces interrupts enabled before."""

    @abstractmethod
    def intx_enable(self) -> Interrupts:
        """Enable the INTx pin as vector 0; `ack(0)` after each. Replaces what was enabled."""

    # Life

    @property
    def gone(self) -> bool:
        """Whether the function no longer answers (its vendor identifier reads all ones)."""
        return self.config_read(pci.VENDOR_ID, 2) == 0xFFFF

    @abstractmethod
    def reset(self) -> None:
        """Reset the function as this bus does it; the command register is kept.

        Enabled interrupts stay connected. Raises BusError when the reset fails.
        """

    def flr(self) -> None:
        """Reset the function through its PCIe capability; the command register is kept.

        PCIe 5.0, 6.6.2. Raises BusError when the function has no function level reset or does
        not come back within a second.
        """
        offset = self.find_capability(pci.CAP_ID_EXP)
        can_reset = pci.EXP_DEVCAP_FLR
        if not offset or not self.config_read(offset + pci.EXP_DEVICE_CAPABILITIES, 4) & can_reset:
            raise BusError("the device has no function level reset")
        command = self.config_read(pci.COMMAND, 2)
        control = self.config_read(offset + pci.EXP_DEVICE_CONTROL, 2)
        self.config_write(offset + pci.EXP_DEVICE_CONTROL, control | pci.EXP_DEVCTL_FLR, 2)
        time.sleep(_FLR_QUIET_S)
        deadline = time.monotonic() + _FLR_DEADLINE_S
        while self.gone:
            if time.monotonic() > deadline:
                raise BusGoneError("the device did not come back after a function level reset")
            time.sleep(_FLR_QUIET_S / 10)
        self.config_write(pci.COMMAND, command, 2)

    @abstractmethod
    def close(self) -> None:
        """Stop the device's DMA and interrupts and release everything."""

    def __enter__(self) -> Bus:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.spec}>"
