"""The card as a PCI function: identity, BARs, capabilities, and the core's way to memory and interrupts."""

from collections.abc import Callable
from struct import Struct
from typing import Final, Protocol

from tlsnic.abi import registers
from tlsnic.device import vfu
from tlsnic.device.core.host import DmaFault
from tlsnic.device.msix import BAR_BYTES, PBA_OFFSET, TABLE_OFFSET, MsixTable

VENDOR_ID: Final = 0x1234
DEVICE_ID: Final = 0x715C
"""No driver in Linux or FreeBSD claims this pair."""
SUBSYSTEM_ID: Final = 0x0001
REVISION: Final = 1
VECTORS: Final = registers.MODERATION_COUNT
REGISTER_BAR: Final = 0
DOORBELL_BAR: Final = 2
MSIX_BAR: Final = 4

_COMMAND: Final = 4
_COMMAND_HIGH: Final = 5
_STATUS: Final = 6
_INTERRUPT_PIN: Final = 0x3D
_INTA: Final = 1
_BUS_MASTER: Final = 0x04
_INTX_DISABLE_HIGH: Final = 0x04
_INTERRUPT_STATUS: Final = 0x08
_MSIX_CONTROL_HIGH: Final = 3
_MSIX_ENABLE_HIGH: Final = 0x80
_MSIX_MASK_ALL_HIGH: Final = 0x40

_WIDTHS: Final = {1: Struct("<B"), 2: Struct("<H"), 4: Struct("<I"), 8: Struct("<Q")}
_LOW_RAM_BYTES: Final = 16 << 20
"""A map without a descriptor that covers address 0, or is this large, can only be the guest's RAM."""


class Registers(Protocol):
    """What answers register accesses."""

    def read(self, bar: int, offset: int, width: int) -> int:
        """Value of `width` bytes at `offset` of a BAR."""

    def write(self, bar: int, offset: int, width: int, value: int) -> None:
        """Write `width` bytes at `offset` of a BAR."""


class BarHandler:
    """Turns the byte strings of vfio-user into register accesses of 1, 2, 4 or 8 bytes."""

    def __init__(self, registers: Registers, bar: int) -> None:
        self.registers = registers
        self._bar = bar

    def read(self, offset: int, length: int, /) -> bytes:
        """Read; other lengths than a register access has are cut into such."""
        width = _WIDTHS.get(length)
        if width is not None:
            return width.pack(self.registers.read(self._bar, offset, length))
        return b"".join(
            _WIDTHS[size].pack(self.registers.read(self._bar, at, size))
            for at, size in _cut(offset, length)
        )

    def write(self, offset: int, data: bytes, /) -> None:
        """Write; as `read`."""
        length = len(data)
        width = _WIDTHS.get(length)
        if width is not None:
            self.registers.write(self._bar, offset, length, width.unpack(data)[0])
            return
        for at, size in _cut(offset, length):
            piece = data[at - offset : at - offset + size]
            self.registers.write(self._bar, at, size, int.from_bytes(piece, "little"))


def _cut(offset: int, length: int) -> list[tuple[int, int]]:
    """(offset, width) of the naturally aligned accesses that make up a longer one."""
    pieces = []
    while length:
        size = next(size for size in (8, 4, 2, 1) if size <= length and not offset % size)
        pieces.append((offset, size))
        offset += size
        length -= size
    return pieces


class PciHost:
    """The core's `Host`: configuration bits, guest memory and interrupts of a vfio-user context."""

    def __init__(self, context: vfu.Context) -> None:
        self._context = context
        self._config = context.config
        self._dma: vfu.DmaMap | None = None
        self._msix_offset = 0
        self._intx_line = False
        self._handlers: list[BarHandler] = []
        self.msix = MsixTable(VECTORS, context.trigger, self._msix_held_back)
        self.ram_not_shared: vfu.DmaRegion | None = None

    def set_up(
        self,
        target: Registers,
        forget_views: Callable[[], None],
        reset: Callable[[vfu.Reset], None],
    ) -> None:
        """Describe the function to libvfio-user. `forget_views` runs before a map goes."""
        context = self._context
        self._handlers = [BarHandler(target, bar) for bar in (REGISTER_BAR, DOORBELL_BAR)]
        register_handler, doorbell_handler = self._handlers
        context.pci_set_id(VENDOR_ID, DEVICE_ID, VENDOR_ID, SUBSYSTEM_ID)
        context.pci_set_class(2, 0, 0)
        memory64 = vfu.RegionFlag.RW | vfu.RegionFlag.MEM | vfu.RegionFlag.MEM64
        context.setup_region(
            vfu.Region.BAR0,
            registers.BAR0.size_bytes,
            register_handler,
            flags=memory64,
        )
        context.setup_region(
            vfu.Region.BAR2,
            registers.BAR2.size_bytes,
            doorbell_handler,
            flags=memory64,
        )
        context.setup_region(vfu.Region.BAR4, BAR_BYTES, self.msix, flags=memory64)
        capabilities = vfu.capabilities
        context.add_capability(capabilities.power_management())
        context.add_capability(capabilities.express_endpoint())
        self._msix_offset = context.add_capability(
            capabilities.msix(
                VECTORS,
                table_bar=MSIX_BAR,
                table_offset=TABLE_OFFSET,
                pba_bar=MSIX_BAR,
                pba_offset=PBA_OFFSET,
            )
        )
        self._config[_INTERRUPT_PIN] = _INTA
        context.setup_irqs(vfu.Irq.INTX, 1)
        context.setup_irqs(vfu.Irq.MSIX, VECTORS)
        context.on_irq_state(vfu.Irq.INTX, self._intx_masked)
        context.on_quiesce(lambda: True)  # nothing runs between two messages
        context.on_reset(reset)
        self._dma = context.setup_dma(self._on_map, lambda _region: forget_views())

    def connect(self, target: Registers) -> None:
        """Register accesses go to `target` from now on."""
        for handler in self._handlers:
            handler.registers = target

    @property
    def bus_master(self) -> bool:
        return bool(self._config[_COMMAND] & _BUS_MASTER)

    @property
    def msix_enabled(self) -> bool:
        return bool(self._config[self._msix_offset + _MSIX_CONTROL_HIGH] & _MSIX_ENABLE_HIGH)

    @property
    def intx_disabled(self) -> bool:
        return bool(self._config[_COMMAND_HIGH] & _INTX_DISABLE_HIGH)

    @property
    def msix_masked(self) -> bool:
        """Function Mask of the MSI-X message control register."""
        control = self._config[self._msix_offset + _MSIX_CONTROL_HIGH]
        return bool(control & _MSIX_MASK_ALL_HIGH)

    def config_bytes(self) -> bytes:
        """A copy of the configuration space."""
        return bytes(self._config)

    def _msix_held_back(self) -> bool:
        """Whether no message may leave: masked, switched off, or no bus master (a write to memory)."""
        control = self._config[self._msix_offset + _MSIX_CONTROL_HIGH]
        enabled = control & (_MSIX_ENABLE_HIGH | _MSIX_MASK_ALL_HIGH) == _MSIX_ENABLE_HIGH
        return not enabled or not self.bus_master

    def view(self, address: int, length: int, write: bool) -> memoryview | None:
        assert self._dma is not None
        try:
            return self._dma.view1(address, length, write)
        except vfu.DmaError:
            self.views(address, length, write)  # raises unless it only crosses into another map
            return None

    def views(self, address: int, length: int, write: bool) -> list[memoryview]:
        assert self._dma is not None
        try:
            return self._dma.view(address, length, write)
        except vfu.DmaError as error:
            raise DmaFault(address, length, permission=self._mapped(address, length)) from error

    def _mapped(self, address: int, length: int) -> bool:
        """Whether all of a range that cannot be used is mapped: then it is for the other direction."""
        assert self._dma is not None
        for region in self._dma.regions:
            if region.iova <= address < region.iova + region.size:
                if region.inaccessible:
                    return False
                end = region.iova + region.size
                if address + length <= end:
                    return True
                address, length = end, address + length - end
        return False

    def trigger(self, vector: int) -> None:
        self.msix.trigger(vector)

    def set_intx(self, asserted: bool) -> None:
        if asserted == self._intx_line:
            return
        self._intx_line = asserted
        if asserted:
            self._config[_STATUS] |= _INTERRUPT_STATUS
            self._context.trigger(0)
        else:
            self._config[_STATUS] &= ~_INTERRUPT_STATUS

    def reset_function(self) -> None:
        """Return the configuration space to what a function reset leaves: decoding and MSI-X off."""
        self._config[_COMMAND] = self._config[_COMMAND_HIGH] = 0
        self._config[self._msix_offset + _MSIX_CONTROL_HIGH] &= ~(
            _MSIX_ENABLE_HIGH | _MSIX_MASK_ALL_HIGH
        )
        self.msix.reset()

    def let_go(self) -> None:
        """The configuration space is about to go: nothing is enabled any more."""
        self._config = memoryview(bytearray(len(self._config)))

    def _intx_masked(self, _first: int, _count: int, masked: bool) -> None:
        # The line is level-triggered, the eventfd is not: while it is asserted, unmasking fires again.
        if not masked and self._intx_line:
            self._context.trigger(0)

    def _on_map(self, region: vfu.DmaRegion) -> None:
        if region.inaccessible != vfu.NO_FD:
            return
        if region.iova == 0 or region.size >= _LOW_RAM_BYTES:
            self.ram_not_shared = region
