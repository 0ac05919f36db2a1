"""The bus through uio_pci_generic: a guest (or a machine) without an IOMMU.

Registers are mapped from sysfs, INTx comes through /dev/uioN, and DMA memory is huge pages that the
device is given the physical addresses of. There is no MSI-X this way (drivers/uio/
uio_pci_generic.c of Linux).
"""

from __future__ import annotations

import contextlib
import mmap
import os

from . import pci
from .base import Bar, Bus
from .dma import DmaBuffer, DmaPool, DmaSegment, close_map
from .errors import BusError
from .hugepages import HUGE_BYTES, HugeArena, HugePageReserve, contiguous_runs
from .interrupts import Interrupts
from .mmio import FileBar, MappedBar
from .sysfs import PciFunction, Sysfs, file_read, file_write, find_function

_DRIVER = "uio_pci_generic"
_ARENA_PAGES = 4
_COUNT_BYTES = 4  # a read of /dev/uioN gives the number of interrupts so far, 32 bits


class UioBus(Bus):
    """A PCI function bound to uio_pci_generic for as long as the bus is open."""

    def __init__(self, function: PciFunction, spec: str) -> None:
        """Binds the driver and opens the function; raises BusError with the fix."""
        self.spec = spec
        self._function = function
        self._config_fd = -1
        self._uio_fd = -1
        self._uio = ""
        self._bar_info: list[pci.BarInfo] = []
        self._bars: dict[int, MappedBar | FileBar] = {}
        self._maps: list[mmap.mmap] = []
        self._bar_fds: list[int] = []
        self._interrupts: Interrupts | None = None
        self._reserve = HugePageReserve(function.sysfs.sys)
        self._arenas: list[HugeArena] = []
        self._pool = DmaPool(self._grow)
        self._closed = False
        try:
            function.bind(_DRIVER, _DRIVER)
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        function = self._function
        try:
            # The driver enables the function, and clears bus mastering again on the last close.
            names = [n for n in os.listdir(f"{function.path}/uio") if n.startswith("uio")]
            self._uio = names[0]
            self._uio_fd = os.open(
                f"{function.sysfs.dev}/{self._uio}", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC
            )
            self._config_fd = os.open(f"{function.path}/config", os.O_RDWR | os.O_CLOEXEC)
            self.config_size_bytes = os.fstat(self._config_fd).st_size
        except (OSError, IndexError) as error:
            raise BusError(
                f"{function.address} cannot be opened through {_DRIVER}: {error}",
                "run as root, and see that /dev is a devtmpfs",
            ) from None
        self._bar_info = function.bars()
        for info in self._bar_info:
            self._bars[info.index] = self._open_bar(info)

    def _open_bar(self, info: pci.BarInfo) -> MappedBar | FileBar:
        path = f"{self._function.path}/resource{info.index}"
        try:
            fd = os.open(path, os.O_RDWR | os.O_SYNC | os.O_CLOEXEC)
        except OSError as error:
            raise BusError(f"{path}: {error.strerror}", "run as root") from None
        if not info.is_mappable:
            self._bar_fds.append(fd)
            return FileBar(info.index, info.size_bytes, fd, 0)
        try:
            memory = mmap.mmap(fd, info.size_bytes, mmap.MAP_SHARED)
        except (OSError, ValueError) as error:
            raise BusError(
                f"BAR{info.index} of {self._function.address} cannot be mapped: {error}",
                "boot without lockdown (no Secure Boot), or with iomem=relaxed",
            ) from None
        finally:
            os.close(fd)
        self._maps.append(memory)
        return MappedBar(info.index, memoryview(memory))

    def bars(self) -> list[pci.BarInfo]:
        return list(self._bar_info)

    def bar(self, index: int) -> Bar:
        try:
            return self._bars[index]
        except KeyError:
            raise BusError(f"{self._function.address} has no BAR{index}") from None

    def config_read(self, offset: int, width: int) -> int:
        return file_read(self._config_fd, offset, width)

    def config_write(self, offset: int, value: int, width: int) -> None:
        file_write(self._config_fd, offset, value, width)

    # DMA

    def _grow(self, size_bytes: int, align: int) -> list[DmaSegment]:
        if align > HUGE_BYTES:
            raise BusError(f"DMA memory cannot be aligned to {align} bytes here, at most 2 MiB")
        pages = max(_ARENA_PAGES, -(-size_bytes // HUGE_BYTES))
        self._reserve.ensure_free(pages)
        arena = HugeArena(pages)
        self._arenas.append(arena)
        physical = arena.physical_addresses()
        with memoryview(arena.memory) as whole:
            return [
                DmaSegment(
                    whole[first * HUGE_BYTES : (first + count) * HUGE_BYTES], physical[first]
                )
                for first, count in contiguous_runs(physical)
            ]

    def dma_alloc(self, size_bytes: int, align: int = 4096) -> DmaBuffer:
        return self._pool.alloc(size_bytes, align)

    @property
    def dma_live_bytes(self) -> int:
        return self._pool.live_bytes

    # Interrupts

    def msix_vectors(self) -> int:
        return 0

    def msix_enable(self, count: int) -> Interrupts:
        raise BusError(
            "uio_pci_generic has no MSI-X",
            "use intx_enable(), or a vfio: bus in a guest with IOMMU",
        )

    def intx_enable(self) -> Interrupts:
        if self._interrupts is not None:
            self._interrupts.close()
        self.set_intx_disable(True)  # so that none comes while the count so far is taken
        seen = self._interrupt_total()

        def read_count(fd: int) -> int:
            nonlocal seen
            try:
                data = os.read(fd, _COUNT_BYTES)
            except BlockingIOError:
                return 0
            except OSError as error:
                raise BusError(
                    f"/dev/{self._uio} gives no interrupts: {error.strerror}",
                    "the function has no INTx interrupt: see its line in lspci -v",
                    error.errno or 0,
                ) from None
            total = int.from_bytes(data, "little")
            fired = (total - seen) & 0xFFFF_FFFF
            seen = total
            return fired

        def close() -> None:
            self._interrupts = None
            self.set_intx_disable(True)

        # The kernel's handler sets the disable bit at each interrupt: clearing it acknowledges.
        self._interrupts = Interrupts(
            "intx",
            [self._uio_fd],
            read_count=read_count,
            acknowledge=lambda _vector: self.set_intx_disable(False),
            close=close,
        )
        self.set_intx_disable(False)
        return self._interrupts

    def _interrupt_total(self) -> int:
        """Interrupts so far; those before now, which the open file may still tell of, are old."""
        with contextlib.suppress(BlockingIOError, OSError):
            os.read(self._uio_fd, _COUNT_BYTES)
        sysfs = self._function.sysfs
        return int(sysfs.read(f"{sysfs.sys}/class/uio/{self._uio}/event")) & 0xFFFF_FFFF

    # Life

    def reset(self) -> None:
        try:
            # The kernel saves and restores configuration space around it.
            self._function.sysfs.write(f"{self._function.path}/reset", "1")
        except FileNotFoundError:
            raise BusError(f"{self._function.address} has no way to be reset") from None
        except OSError as error:
            raise BusError(
                f"the reset of {self._function.address} failed: {error.strerror}",
                errno=error.errno or 0,
            ) from None

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._interrupts is not None:
            self._interrupts.close()
        if self._config_fd >= 0:
            self.set_bus_master(False)  # before the memory goes
        for bar in self._bars.values():
            bar.close()
        for memory in self._maps:
            close_map(memory)
        self._pool.close()
        while self._arenas:
            self._arenas.pop().close()
        self._reserve.close()
        for fd in (self._uio_fd, self._config_fd, *self._bar_fds):
            if fd >= 0:
                os.close(fd)
        self._config_fd = self._uio_fd = -1
        self._function.restore()


def open_uio(where: str, spec: str, sysfs: Sysfs | None = None) -> UioBus:
    """Bind and open a function; see `open_bus`."""
    sysfs = sysfs or Sysfs()
    return UioBus(PciFunction(find_function(where, sysfs), sysfs), spec)
