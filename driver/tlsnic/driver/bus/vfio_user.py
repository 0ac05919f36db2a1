"""The bus over a vfio-user socket: a device served by another process of this machine."""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence

from . import pci, vfio_abi
from . import vfio_user_wire as wire
from .base import Bar, Bus, all_ones
from .dma import DmaBuffer, DmaPool, DmaSegment, close_map, release
from .errors import BusError, BusGoneError, BusProtocolError, BusReplyError
from .interrupts import Interrupts, open_eventfds
from .mmio import MappedBar
from .vfio_user_bars import SocketBar, SparseBar
from .vfio_user_client import Connection, connect

# Arenas are sparse memfds: only touched pages cost memory, and the June 2022 libvfio-user takes
# 16 maps, so a few big ones are best. Above 4 GiB, truncated addresses are found at once.
_ARENA_BYTES = 64 << 20
_ARENA_IOVA = 1 << 32
_INFO_BYTES = 1024


class DmaMapping:
    """Memory mapped for the device at a chosen iova: `view` (bytes), `iova`, `size_bytes`."""

    __slots__ = ("_bus", "_memory", "_pieces", "iova", "size_bytes", "view")

    def __init__(
        self, bus: VfioUserBus, memory: mmap.mmap, iova: int, pieces: list[tuple[int, int]]
    ) -> None:
        self._bus = bus
        self._memory = memory
        self._pieces = pieces
        self.iova = iova
        self.size_bytes = len(memory)
        self.view = memoryview(memory)

    def unmap(self) -> None:
        """Take the memory away from the device and release it; twice is harmless."""
        pieces, self._pieces = self._pieces, []
        try:
            for iova, size_bytes in pieces:
                if not self._bus.gone:
                    self._bus.dma_unmap(iova, size_bytes)
        finally:
            release(self.view)
            close_map(self._memory)


class VfioUserBus(Bus):
    """A PCI function behind a vfio-user connection.

    Beyond `Bus` it gives the protocol itself, for tests of the device: `region_read`,
    `region_write`, `dma_map`, `dma_unmap`, `map_memory`, `connection.request`.

    A register access that the server answers with an error reads all ones, as QEMU makes it;
    `access_errors` counts these and `last_access_error` says what the last one was.
    """

    def __init__(
        self, connection: Connection, spec: str = "vfio-user:", *, map_bars: bool = True
    ) -> None:
        """Takes the connection over, negotiates and asks what the device has.

        `map_bars=False` reaches also mappable areas by messages.
        """
        self.spec = spec
        self.connection = connection
        self.access_errors = 0
        self.last_access_error: BusError | None = None
        self._bars: dict[int, Bar] = {}
        self._mapped: list[tuple[MappedBar, mmap.mmap]] = []
        self._interrupts: Interrupts | None = None
        self._arenas: list[DmaMapping] = []
        self._mappings: dict[int, int] = {}  # iova: size_bytes, all that the server has
        self._pool = DmaPool(self._grow)
        self._closed = False
        try:
            connection.negotiate()
            self._num_regions, self._num_irqs = self._device_info()
            self.config_size_bytes = self._region_info(vfio_abi.PCI_CONFIG_REGION_INDEX)[0]
            for index in range(pci.BAR_COUNT):
                self._open_bar(index, map_bars)
            # Decoding of memory BARs is what the PCI core of a kernel turns on for a driver.
            self._set_command(pci.COMMAND_MEMORY, True)
        except BaseException:
            self.close()
            raise

    # What the device has

    def _device_info(self) -> tuple[int, int]:
        size = vfio_abi.DEVICE_INFO.size
        reply = self.connection.request(
            wire.DEVICE_GET_INFO, vfio_abi.DEVICE_INFO.pack(size, 0, 0, 0)
        )
        if len(reply) < size:
            raise BusProtocolError(f"the device info has {len(reply)} of {size} bytes")
        _, flags, num_regions, num_irqs = vfio_abi.DEVICE_INFO.unpack_from(reply)
        if not flags & vfio_abi.DEVICE_FLAGS_PCI:
            raise BusError("the server offers a device that is not a PCI device")
        if num_regions <= vfio_abi.PCI_CONFIG_REGION_INDEX:
            raise BusProtocolError(f"the PCI device has {num_regions} regions, so no configuration")
        return num_regions, num_irqs

    def _region_info(self, index: int) -> tuple[int, vfio_abi.RegionInfo, list[int]]:
        size = _INFO_BYTES
        while True:
            request = vfio_abi.REGION_INFO.pack(size, 0, index, 0, 0, 0)
            message = self.connection.request_fds(wire.DEVICE_GET_REGION_INFO, request)
            try:
                info = vfio_abi.parse_region_info(message.payload)
                if info.index != index:
                    raise ValueError(f"it is about region {info.index}")
            except ValueError as error:
                message.close_fds()
                raise BusProtocolError(f"the info of region {index} is wrong: {error}") from None
            if info.argsz <= size or info.argsz > self.connection.limits.max_data_bytes:
                return info.size_bytes, info, message.fds
            message.close_fds()
            size = info.argsz

    def _open_bar(self, index: int, map_bars: bool) -> None:
        size_bytes, info, fds = self._region_info(index)
        try:
            if not size_bytes:
                return
            areas = []
            if map_bars and fds:
                for number, (start, length) in enumerate(info.areas):
                    # Either one descriptor for each area, or one for all.
                    fd = fds[number] if len(fds) == len(info.areas) else fds[0]
                    areas.append((start, self._map_area(index, fd, info.offset + start, length)))
            if len(areas) == 1 and areas[0][1].size_bytes == size_bytes:
                self._bars[index] = areas[0][1]
            elif areas:
                self._bars[index] = SparseBar(
                    index, size_bytes, self.connection, self.read_or_ones, areas=areas
                )
            else:
                self._bars[index] = SocketBar(index, size_bytes, self.connection, self.read_or_ones)
        finally:
            for fd in fds:
                os.close(fd)

    def _map_area(self, index: int, fd: int, offset: int, length: int) -> MappedBar:
        try:
            if length % 8:
                raise ValueError("the size is not a multiple of 8")
            memory = mmap.mmap(fd, length, mmap.MAP_SHARED, offset=offset)
        except (OSError, ValueError, OverflowError) as error:
            raise BusError(
                f"BAR{index} offers {length:#x} bytes at {offset:#x} that cannot be mapped: {error}"
            ) from None
        area = MappedBar(index, memoryview(memory))
        self._mapped.append((area, memory))
        return area

    def irq_info(self, index: int) -> tuple[int, int]:
        """(count, flags) of an interrupt type (vfio_abi.PCI_..._IRQ_INDEX)."""
        if index >= self._num_irqs:
            return 0, 0
        size = vfio_abi.IRQ_INFO.size
        reply = self.connection.request(
            wire.DEVICE_GET_IRQ_INFO, vfio_abi.IRQ_INFO.pack(size, 0, index, 0)
        )
        if len(reply) < size:
            raise BusProtocolError(f"the interrupt info has {len(reply)} of {size} bytes")
        _, flags, replied, count = vfio_abi.IRQ_INFO.unpack_from(reply)
        if replied != index:
            raise BusProtocolError(f"the interrupt info is about {replied}, not {index}")
        return count, flags

    # Registers

    def bars(self) -> list[pci.BarInfo]:
        return [
            pci.BarInfo.from_register(
                index,
                bar.size_bytes,
                self.config_read(pci.BASE_ADDRESS_0 + 4 * index, 4),
                is_mappable=type(bar) is not SocketBar,
            )
            for index, bar in self._bars.items()
        ]

    def bar(self, index: int) -> Bar:
        try:
            return self._bars[index]
        except KeyError:
            raise BusError(f"the device has no BAR{index}") from None

    def hold_writes(self) -> None:
        self.connection.hold()

    def release_writes(self) -> None:
        self.connection.release()

    def region_read(self, region: int, offset: int, count: int) -> bytes:
        """One REGION_READ of `count` bytes, whatever they are. Raises as `Connection.request`."""
        request = wire.REGION_ACCESS.pack(offset, region, count)
        reply = self.connection.request(wire.REGION_READ, request)
        if reply[: len(request)] != request or len(reply) != len(request) + count:
            raise BusProtocolError(
                f"the reply to a read of {count} bytes at {offset:#x} of region {region} "
                f"({len(reply)} bytes) is not an answer to it"
            )
        return reply[len(request) :]

    def region_write(self, region: int, offset: int, data: bytes) -> None:
        """One REGION_WRITE that is waited for. Raises as `Connection.request`."""
        request = wire.REGION_ACCESS.pack(offset, region, len(data))
        reply = self.connection.request(wire.REGION_WRITE, request + data)
        if reply != request:
            raise BusProtocolError(
                f"the reply to a write of {len(data)} bytes at {offset:#x} of region {region} "
                f"({len(reply)} bytes) is not an answer to it"
            )

    def read_or_ones(self, region: int, offset: int, width: int) -> int:
        """`region_read` of a register: all ones when the server is gone or refuses."""
        if not self.connection.gone:
            try:
                return int.from_bytes(self.region_read(region, offset, width), "little")
            except BusGoneError:
                pass
            except BusReplyError as error:
                self._note(error)
        return all_ones(width)

    def _note(self, error: BusError) -> None:
        self.access_errors += 1
        self.last_access_error = error

    def config_read(self, offset: int, width: int) -> int:
        return self.read_or_ones(vfio_abi.PCI_CONFIG_REGION_INDEX, offset, width)

    def config_write(self, offset: int, value: int, width: int) -> None:
        try:
            data = value.to_bytes(width, "little")
        except OverflowError:
            raise ValueError(f"{value:#x} does not fit into {width} bytes") from None
        if not self.connection.gone:
            try:
                self.region_write(vfio_abi.PCI_CONFIG_REGION_INDEX, offset, data)
            except BusGoneError:
                return
            except BusReplyError as error:
                self._note(error)

    # DMA

    def dma_map(
        self, iova: int, size_bytes: int, fd: int = -1, offset: int = 0, prot: int = 0
    ) -> None:
        """Let the device reach `size_bytes` at `offset` of file `fd` as [iova, iova + size).

        `prot`: mmap.PROT_READ and PROT_WRITE (both when 0), as the device sees it. Without `fd` the
        server can only ask for the memory by messages, which this client refuses. Nothing is
        checked here: the server's refusal comes as BusReplyError.
        """
        prot = prot or mmap.PROT_READ | mmap.PROT_WRITE
        flags = (wire.DMA_READABLE if prot & mmap.PROT_READ else 0) | (
            wire.DMA_WRITEABLE if prot & mmap.PROT_WRITE else 0
        )
        layout = wire.DMA_MAP_REQUEST
        request = layout.pack(layout.size, flags, offset, iova, size_bytes)
        self.connection.request(wire.DMA_MAP, request, () if fd < 0 else (fd,))
        self._mappings[iova] = size_bytes

    def dma_unmap(self, iova: int, size_bytes: int) -> None:
        """Take one earlier map away. BusReplyError when the server has no such map."""
        layout = wire.DMA_UNMAP_REQUEST
        self.connection.request(wire.DMA_UNMAP, layout.pack(layout.size, 0, iova, size_bytes))
        self._mappings.pop(iova, None)

    @property
    def dma_maps(self) -> dict[int, int]:
        """The maps that the server has now, {iova: size_bytes}."""
        return dict(self._mappings)

    def map_memory(
        self,
        iova: int,
        size_bytes: int,
        *,
        prot: int = 0,
        pieces_bytes: Sequence[int] = (),
    ) -> DmaMapping:
        """New zeroed memory for the device at `iova`: one view, unmapped with `unmap()`.

        `pieces_bytes` (adding up to `size_bytes`) makes several adjacent maps of it.
        """
        pieces_bytes = pieces_bytes or (size_bytes,)
        if sum(pieces_bytes) != size_bytes:
            raise BusError(f"the pieces {pieces_bytes} are not {size_bytes} bytes together")
        fd = os.memfd_create("tlsnic-dma", os.MFD_CLOEXEC)
        try:
            os.ftruncate(fd, size_bytes)
            mapping = DmaMapping(self, mmap.mmap(fd, size_bytes, mmap.MAP_SHARED), iova, [])
            offset = 0
            try:
                for piece_bytes in pieces_bytes:
                    self.dma_map(iova + offset, piece_bytes, fd, offset, prot)
                    mapping._pieces.append((iova + offset, piece_bytes))
                    offset += piece_bytes
            except BaseException:
                mapping.unmap()
                raise
        finally:
            os.close(fd)  # the maps on both sides keep the memory
        return mapping

    def _grow(self, size_bytes: int, align: int) -> list[DmaSegment]:
        arena_bytes = max(_ARENA_BYTES, -(-size_bytes // _ARENA_BYTES) * _ARENA_BYTES)
        iova = _ARENA_IOVA
        align = max(align, mmap.PAGESIZE)
        for start, length in sorted(self._mappings.items()):  # the lowest place nothing is at
            iova = -(-iova // align) * align
            if iova + arena_bytes <= start:
                break
            iova = max(iova, start + length)
        iova = -(-iova // align) * align
        arena = self.map_memory(iova, arena_bytes)
        self._arenas.append(arena)
        return [DmaSegment(arena.view, iova)]

    def dma_alloc(self, size_bytes: int, align: int = 4096) -> DmaBuffer:
        return self._pool.alloc(size_bytes, align)

    @property
    def dma_live_bytes(self) -> int:
        return self._pool.live_bytes

    # Interrupts

    def _set_irqs(
        self, flags: int, index: int, start: int, count: int, fds: Sequence[int] = ()
    ) -> None:
        request = vfio_abi.irq_set(flags, index, start, count)
        self.connection.request(wire.DEVICE_SET_IRQS, request, fds)

    def msix_vectors(self) -> int:
        return self.irq_info(vfio_abi.PCI_MSIX_IRQ_INDEX)[0]

    def msix_enable(self, count: int) -> Interrupts:
        available = self.msix_vectors()
        if not 0 < count <= available:
            raise BusError(f"{count} MSI-X vectors were asked for, the device has {available}")
        interrupts = self._enable("msix", vfio_abi.PCI_MSIX_IRQ_INDEX, count, masked=False)
        self.set_intx_disable(True)
        self._msix_control(True)
        return interrupts

    def intx_enable(self) -> Interrupts:
        if not self.irq_info(vfio_abi.PCI_INTX_IRQ_INDEX)[0]:
            raise BusError("the device has no INTx interrupt")
        # The pin is a level and the eventfd is not: the server signals again at the unmasking when
        # the pin is still asserted. QEMU unmasks always too, whatever the flags of the interrupt
        # say (libvfio-user does not set AUTOMASKED).
        interrupts = self._enable("intx", vfio_abi.PCI_INTX_IRQ_INDEX, 1, masked=True)
        self.set_intx_disable(False)
        return interrupts

    def _enable(self, kind: str, index: int, count: int, *, masked: bool) -> Interrupts:
        if self._interrupts is not None:
            self._interrupts.close()
        fds = open_eventfds(count)

        def acknowledge(vector: int) -> None:
            flags = vfio_abi.IRQ_SET_DATA_NONE | vfio_abi.IRQ_SET_ACTION_UNMASK
            if not self.gone:
                self._set_irqs(flags, index, vector, 1)

        def close() -> None:
            try:
                self._disable(kind, index)
            finally:
                for fd in fds:
                    os.close(fd)

        interrupts = Interrupts(
            kind,
            fds,
            acknowledge=acknowledge if masked else None,
            watch_fd=self.connection.fd,
            watch=self.connection.service,
            close=close,
        )
        self._interrupts = interrupts
        flags = vfio_abi.IRQ_SET_DATA_EVENTFD | vfio_abi.IRQ_SET_ACTION_TRIGGER
        step = max(1, self.connection.limits.max_fds)
        try:
            for start in range(0, count, step):
                part = fds[start : start + step]
                self._set_irqs(flags, index, start, len(part), part)
        except BaseException:
            interrupts.close()
            raise
        return interrupts

    def _disable(self, kind: str, index: int) -> None:
        self._interrupts = None
        if self.gone:
            return
        try:
            if kind == "msix":
                self._msix_control(False)
                self.set_intx_disable(False)
            # start and count 0: the whole type. libvfio-user ignores a later start.
            flags = vfio_abi.IRQ_SET_DATA_NONE | vfio_abi.IRQ_SET_ACTION_TRIGGER
            self._set_irqs(flags, index, 0, 0)
        except BusGoneError:
            return

    def _msix_control(self, enabled: bool) -> None:
        info = self.msix_info()
        if info is not None:
            offset = info.offset + pci.MSIX_FLAGS
            flags = self.config_read(offset, 2) & ~(pci.MSIX_FLAGS_ENABLE | pci.MSIX_FLAGS_MASK_ALL)
            self.config_write(offset, flags | (pci.MSIX_FLAGS_ENABLE if enabled else 0), 2)

    # Life

    @property
    def gone(self) -> bool:
        return self.connection.gone

    def reset(self) -> None:
        command = self.config_read(pci.COMMAND, 2)
        self.connection.request(wire.DEVICE_RESET)
        self.config_write(pci.COMMAND, command, 2)
        self._reconnect_interrupts()

    def flr(self) -> None:
        super().flr()
        self._reconnect_interrupts()

    def _reconnect_interrupts(self) -> None:
        """Enable MSI-X again after a reset, as a kernel that restores configuration space does."""
        if self._interrupts is not None and self._interrupts.kind == "msix":
            self._msix_control(True)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            if self._interrupts is not None:
                self._interrupts.close()
            self.set_bus_master(False)  # before the memory goes
            self._release_memory()
        except BusError:
            pass  # the connection ends right now, and the server releases everything with it
        finally:
            self.connection.close()
            self._release_memory()
            for area, memory in self._mapped:
                area.close()
                close_map(memory)
            self._mapped.clear()

    def _release_memory(self) -> None:
        self._pool.close()
        while self._arenas:
            # Taken off the list first: memory that a view still looks at goes with that view.
            self._arenas.pop().unmap()


def open_vfio_user(
    path: str, spec: str, *, timeout_s: float = 5.0, map_bars: bool = True
) -> VfioUserBus:
    """Connect to the server at `path`; see `open_bus`."""
    return VfioUserBus(Connection(connect(path, timeout_s), timeout_s), spec, map_bars=map_bars)
