"""Register access that notices a device that is gone, and the deadline arithmetic of all waits."""

from __future__ import annotations

import time
from collections.abc import Callable

from tlsnic.abi import registers as reg
from tlsnic.driver.bus.base import Bus
from tlsnic.driver.bus.dma import DmaBuffer
from tlsnic.driver.bus.errors import BusGoneError
from tlsnic.driver.errors import DeviceGoneError

ALL_ONES_32 = 0xFFFF_FFFF
ALL_ONES_64 = 0xFFFF_FFFF_FFFF_FFFF


class Access:
    """BAR 0 and BAR 2 of one card. Offsets in bytes, as in `tlsnic.abi.registers`.

    Reads raise DeviceGoneError when MAGIC reads all ones too (PCIe: a read that nobody completes
    gives all ones). Writes are posted and never raise it.
    """

    __slots__ = ("bus", "doorbells", "on_gone", "regs")

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.regs = bus.bar(0)
        self.doorbells = bus.bar(2)
        self.on_gone: Callable[[], None] | None = None
        """Called each time the device is found gone."""

    def read32(self, offset: int) -> int:
        """Read a 32-bit register of BAR 0."""
        value = self.regs.read32(offset)
        if value == ALL_ONES_32:
            self.check_present()
        return value

    def read64(self, offset: int) -> int:
        """Read a 64-bit register of BAR 0."""
        value = self.regs.read64(offset)
        if value == ALL_ONES_64:
            self.check_present()
        return value

    def write32(self, offset: int, value: int) -> None:
        """Write a 32-bit register of BAR 0."""
        self.regs.write32(offset, value)

    def write64(self, offset: int, value: int) -> None:
        """Write a 64-bit register of BAR 0."""
        self.regs.write64(offset, value)

    def dma_alloc(self, size_bytes: int, align: int = 4096) -> DmaBuffer:
        """Zeroed memory the card can reach, as `Bus.dma_alloc`. BusError, DeviceGoneError."""
        try:
            return self.bus.dma_alloc(size_bytes, align)
        except BusGoneError as error:
            raise DeviceGoneError(str(error)) from error

    @property
    def gone(self) -> bool:
        """Whether the device no longer answers."""
        return self.regs.read32(reg.MAGIC) == ALL_ONES_32

    def check_present(self) -> None:
        """Raise DeviceGoneError when the device no longer answers."""
        if self.gone:
            if self.on_gone is not None:
                self.on_gone()
            raise DeviceGoneError(self.bus.spec)


class Deadline:
    """A moment on the monotonic clock, `timeout_s` from now."""

    __slots__ = ("_at",)

    def __init__(self, timeout_s: float) -> None:
        self._at = time.monotonic() + timeout_s

    @property
    def left_s(self) -> float:
        """Seconds that are left, not below zero."""
        return max(0.0, self._at - time.monotonic())
