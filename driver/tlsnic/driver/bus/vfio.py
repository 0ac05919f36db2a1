"""The bus through vfio-pci: a guest with an IOMMU (QEMU's intel-iommu with caching-mode=on).

ioctl numbers and structures are those of linux/vfio.h; the group interface with a type 1 IOMMU is
used, which every kernel with vfio-pci has.
"""

from __future__ import annotations

import array
import contextlib
import errno
import fcntl
import mmap
import os
from collections.abc import Callable, Sequence
from struct import Struct

from . import pci, vfio_abi
from .base import Bar, Bus
from .dma import DmaBuffer, DmaPool, DmaSegment, close_map
from .errors import BusError
from .hugepages import HUGE_BYTES, HugeArena, HugePageReserve
from .interrupts import Interrupts, open_eventfds
from .mmio import FileBar, MappedBar
from .sysfs import PciFunction, Sysfs, file_read, file_write, find_function

_DRIVER = "vfio-pci"

# linux/vfio.h: _IO(VFIO_TYPE, VFIO_BASE + n), with VFIO_TYPE ';' and VFIO_BASE 100
_BASE = ord(";") << 8 | 100
VFIO_GET_API_VERSION = _BASE + 0
VFIO_CHECK_EXTENSION = _BASE + 1
VFIO_SET_IOMMU = _BASE + 2
VFIO_GROUP_GET_STATUS = _BASE + 3
VFIO_GROUP_SET_CONTAINER = _BASE + 4
VFIO_GROUP_GET_DEVICE_FD = _BASE + 6
VFIO_DEVICE_GET_REGION_INFO = _BASE + 8
VFIO_DEVICE_GET_IRQ_INFO = _BASE + 9
VFIO_DEVICE_SET_IRQS = _BASE + 10
VFIO_DEVICE_RESET = _BASE + 11
VFIO_IOMMU_MAP_DMA = _BASE + 13
VFIO_IOMMU_UNMAP_DMA = _BASE + 14

VFIO_API_VERSION = 0
VFIO_TYPE1V2_IOMMU = 3
VFIO_GROUP_FLAGS_VIABLE = 1 << 0
VFIO_DMA_MAP_FLAG_READ = 1 << 0
VFIO_DMA_MAP_FLAG_WRITE = 1 << 1

GROUP_STATUS = Struct("=II")  # struct vfio_group_status: argsz, flags
DMA_MAP = Struct("=IIQQQ")  # struct vfio_iommu_type1_dma_map: argsz, flags, vaddr, iova, size
DMA_UNMAP = Struct("=IIQQ")  # struct vfio_iommu_type1_dma_unmap: argsz, flags, iova, size

_REGION_INFO_BYTES = 1024
# Above 4 GiB: clear of the MSI window at 0xfee00000, and truncated addresses are found at once.
_ARENA_IOVA = 1 << 32
_ARENA_PAGES = 4
# A virtual IOMMU makes one map of the device for each huge page, and the June 2022 libvfio-user
# takes 16, all of them free in a domain of our own. Nobody would hear of the 17th failing: the
# device could not reach that page, which is why they are counted here.
_MAX_PAGES = 16

Ioctl = Callable[..., int]


class VfioBus(Bus):
    """A PCI function bound to vfio-pci for as long as the bus is open."""

    def __init__(
        self,
        function: PciFunction,
        spec: str,
        *,
        max_dma_pages: int = _MAX_PAGES,
        ioctl: Ioctl = fcntl.ioctl,
    ) -> None:
        """Binds the driver, opens container, group and device; raises BusError with the fix.

        `max_dma_pages`: huge pages of 2 MiB that may be mapped together; `ioctl`: for tests.
        """
        self.spec = spec
        self._function = function
        self._ioctl = ioctl
        self._container_fd = -1
        self._group_fd = -1
        self._device_fd = -1
        self._config_offset = 0
        self._bars: dict[int, MappedBar | FileBar] = {}
        self._maps: list[mmap.mmap] = []
        self._interrupts: Interrupts | None = None
        self._reserve = HugePageReserve(function.sysfs.sys)
        self._arenas: list[tuple[int, HugeArena]] = []
        self._max_dma_pages = max_dma_pages
        self._pool = DmaPool(self._grow)
        self._closed = False
        try:
            group = self._group()  # first, because without one the driver refuses unexplained
            function.bind(_DRIVER, _DRIVER)
            self._open_device(group)
            config = self._region_info(vfio_abi.PCI_CONFIG_REGION_INDEX)
            self._config_offset = config.offset
            self.config_size_bytes = config.size_bytes
            for index in range(pci.BAR_COUNT):
                self._open_bar(index)
            self._set_command(pci.COMMAND_MEMORY, True)
        except BaseException:
            self.close()
            raise

    def _group(self) -> str:
        function = self._function
        try:
            return os.path.basename(os.readlink(f"{function.path}/iommu_group"))
        except FileNotFoundError:
            raise BusError(
                f"{function.address} is behind no IOMMU",
                "give QEMU -device intel-iommu,caching-mode=on and the kernel intel_iommu=on; "
                "without an IOMMU, use uio:",
            ) from None

    def _open_device(self, group: str) -> None:
        function = self._function
        vfio = f"{function.sysfs.dev}/vfio"
        try:
            self._container_fd = os.open(f"{vfio}/vfio", os.O_RDWR | os.O_CLOEXEC)
            self._group_fd = os.open(f"{vfio}/{group}", os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise BusError(
                f"{error.filename}: {error.strerror}",
                "run as root, with vfio-pci loaded, and no other program using the function",
                error.errno or 0,
            ) from None
        if self._call(self._container_fd, VFIO_GET_API_VERSION, 0) != VFIO_API_VERSION:
            raise BusError("the kernel's VFIO is of another version than 0")
        if not self._call(self._container_fd, VFIO_CHECK_EXTENSION, VFIO_TYPE1V2_IOMMU):
            raise BusError("the kernel's VFIO has no type 1 IOMMU", "modprobe vfio_iommu_type1")
        status = bytearray(GROUP_STATUS.pack(GROUP_STATUS.size, 0))
        self._call(self._group_fd, VFIO_GROUP_GET_STATUS, status)
        if not GROUP_STATUS.unpack(status)[1] & VFIO_GROUP_FLAGS_VIABLE:
            raise BusError(
                f"IOMMU group {group} has other functions that the kernel's drivers use",
                "attach the device to a PCIe root port of its own",
            )
        container = bytearray(self._container_fd.to_bytes(4, "little"))
        self._call(self._group_fd, VFIO_GROUP_SET_CONTAINER, container)
        try:
            self._call(self._container_fd, VFIO_SET_IOMMU, VFIO_TYPE1V2_IOMMU)
        except BusError as error:
            if error.errno != errno.EPERM:
                raise
            # QEMU's IOMMU remaps interrupts only with kernel-irqchip=split.
            raise BusError(
                "VFIO does not trust an IOMMU that does not remap interrupts",
                "in a test guest: modprobe vfio_iommu_type1, and echo Y > "
                "/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts",
                errno.EPERM,
            ) from None
        name = bytearray(function.address.encode() + b"\0")
        self._device_fd = self._call(self._group_fd, VFIO_GROUP_GET_DEVICE_FD, name)

    def _call(self, fd: int, request: int, argument: int | bytearray) -> int:
        # A bytearray is passed by reference, so that the kernel fills it in.
        try:
            return self._ioctl(fd, request, argument)
        except OSError as error:
            raise BusError(
                f"VFIO call {request - _BASE} failed: {error.strerror}", errno=error.errno or 0
            ) from None

    def _region_info(self, index: int) -> vfio_abi.RegionInfo:
        request = vfio_abi.REGION_INFO.pack(_REGION_INFO_BYTES, 0, index, 0, 0, 0)
        data = bytearray(request.ljust(_REGION_INFO_BYTES, b"\0"))
        self._call(self._device_fd, VFIO_DEVICE_GET_REGION_INFO, data)
        try:
            return vfio_abi.parse_region_info(data)
        except ValueError as error:
            raise BusError(f"the info of region {index} is wrong: {error}") from None

    def _irq_count(self, index: int) -> int:
        data = bytearray(vfio_abi.IRQ_INFO.pack(vfio_abi.IRQ_INFO.size, 0, index, 0))
        self._call(self._device_fd, VFIO_DEVICE_GET_IRQ_INFO, data)
        count: int = vfio_abi.IRQ_INFO.unpack(data)[3]
        return count

    def _open_bar(self, index: int) -> None:
        info = self._region_info(index)
        if not info.size_bytes:
            return
        if info.areas == [(0, info.size_bytes)]:
            try:
                memory = mmap.mmap(
                    self._device_fd, info.size_bytes, mmap.MAP_SHARED, offset=info.offset
                )
            except (OSError, ValueError) as error:
                raise BusError(f"BAR{index} cannot be mapped: {error}") from None
            self._maps.append(memory)
            self._bars[index] = MappedBar(index, memoryview(memory))
        else:
            # I/O ports, or a BAR of which the kernel keeps a part (the MSI-X table) to itself.
            self._bars[index] = FileBar(index, info.size_bytes, self._device_fd, info.offset)

    def bars(self) -> list[pci.BarInfo]:
        return [
            pci.BarInfo.from_register(
                index,
                bar.size_bytes,
                self.config_read(pci.BASE_ADDRESS_0 + 4 * index, 4),
                is_mappable=isinstance(bar, MappedBar),
            )
            for index, bar in self._bars.items()
        ]

    def bar(self, index: int) -> Bar:
        try:
            return self._bars[index]
        except KeyError:
            raise BusError(f"{self._function.address} has no BAR{index}") from None

    def config_read(self, offset: int, width: int) -> int:
        return file_read(self._device_fd, self._config_offset + offset, width)

    def config_write(self, offset: int, value: int, width: int) -> None:
        file_write(self._device_fd, self._config_offset + offset, value, width)

    # DMA

    def _grow(self, size_bytes: int, align: int) -> list[DmaSegment]:
        pages = -(-size_bytes // HUGE_BYTES)
        used = sum(arena.size_bytes for _, arena in self._arenas) // HUGE_BYTES
        if used + pages > self._max_dma_pages:
            raise BusError(
                f"{used + pages} huge pages would be mapped for DMA, at most "
                f"{self._max_dma_pages} may be",
                "the device's library bounds the maps: use smaller rings and buffers",
            )
        pages = max(pages, min(_ARENA_PAGES, self._max_dma_pages - used))
        align = max(align, HUGE_BYTES)
        end = _ARENA_IOVA
        if self._arenas:
            last_iova, last = self._arenas[-1]
            end = last_iova + last.size_bytes
        iova = -(-end // align) * align
        self._reserve.ensure_free(pages)
        arena = HugeArena(pages)
        flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE
        request = DMA_MAP.pack(DMA_MAP.size, flags, arena.address, iova, arena.size_bytes)
        try:
            self._call(self._container_fd, VFIO_IOMMU_MAP_DMA, bytearray(request))
        except BaseException:
            arena.close()
            raise
        self._arenas.append((iova, arena))
        return [DmaSegment(memoryview(arena.memory), iova)]

    def dma_alloc(self, size_bytes: int, align: int = 4096) -> DmaBuffer:
        return self._pool.alloc(size_bytes, align)

    @property
    def dma_live_bytes(self) -> int:
        return self._pool.live_bytes

    # Interrupts

    def _set_irqs(self, flags: int, index: int, count: int, fds: Sequence[int] = ()) -> None:
        data = array.array("i", fds).tobytes()
        request = bytearray(vfio_abi.irq_set(flags, index, 0, count, data))
        self._call(self._device_fd, VFIO_DEVICE_SET_IRQS, request)

    def msix_vectors(self) -> int:
        return self._irq_count(vfio_abi.PCI_MSIX_IRQ_INDEX)

    def msix_enable(self, count: int) -> Interrupts:
        available = self.msix_vectors()
        if not 0 < count <= available:
            raise BusError(f"{count} MSI-X vectors were asked for, the device has {available}")
        return self._enable("msix", vfio_abi.PCI_MSIX_IRQ_INDEX, count)

    def intx_enable(self) -> Interrupts:
        if not self._irq_count(vfio_abi.PCI_INTX_IRQ_INDEX):
            raise BusError("the device has no INTx interrupt")
        interrupts = self._enable("intx", vfio_abi.PCI_INTX_IRQ_INDEX, 1)
        self.set_intx_disable(False)
        return interrupts

    def _enable(self, kind: str, index: int, count: int) -> Interrupts:
        if self._interrupts is not None:
            self._interrupts.close()
        fds = open_eventfds(count)

        def acknowledge(_vector: int) -> None:  # the kernel masks INTx at each interrupt
            flags = vfio_abi.IRQ_SET_DATA_NONE | vfio_abi.IRQ_SET_ACTION_UNMASK
            self._set_irqs(flags, index, 1)

        def close() -> None:
            self._interrupts = None
            flags = vfio_abi.IRQ_SET_DATA_NONE | vfio_abi.IRQ_SET_ACTION_TRIGGER
            try:
                self._set_irqs(flags, index, 0)
            finally:
                for fd in fds:
                    os.close(fd)

        self._interrupts = Interrupts(
            kind, fds, acknowledge=acknowledge if kind == "intx" else None, close=close
        )
        flags = vfio_abi.IRQ_SET_DATA_EVENTFD | vfio_abi.IRQ_SET_ACTION_TRIGGER
        try:
            self._set_irqs(flags, index, count, fds)
        except BaseException:
            with contextlib.suppress(BusError):
                self._interrupts.close()
            raise
        return self._interrupts

    # Life

    def reset(self) -> None:
        self._call(self._device_fd, VFIO_DEVICE_RESET, 0)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._interrupts is not None:
            with contextlib.suppress(BusError):
                self._interrupts.close()
        if self._device_fd >= 0:
            self.set_bus_master(False)
        for bar in self._bars.values():
            bar.close()
        for memory in self._maps:
            close_map(memory)
        self._pool.close()
        while self._arenas:
            iova, arena = self._arenas.pop()
            request = DMA_UNMAP.pack(DMA_UNMAP.size, 0, iova, arena.size_bytes)
            with contextlib.suppress(BusError):
                self._call(self._container_fd, VFIO_IOMMU_UNMAP_DMA, bytearray(request))
            arena.close()
        self._reserve.close()
        # The kernel wants this order: the group is in use while its device is open.
        for fd in (self._device_fd, self._group_fd, self._container_fd):
            if fd >= 0:
                os.close(fd)
        self._device_fd = self._group_fd = self._container_fd = -1
        self._function.restore()


def open_vfio(where: str, spec: str, sysfs: Sysfs | None = None) -> VfioBus:
    """Bind and open a function; see `open_bus`."""
    sysfs = sysfs or Sysfs()
    return VfioBus(PciFunction(find_function(where, sysfs), sysfs), spec)
