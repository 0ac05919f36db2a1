"""A PCI device on a vfio-user socket: setting it up, running it, taking it down.

Use it from the thread that made it; any other gets WrongThreadError. The library is not
thread-safe, and a handler may itself call in again, so holding the interpreter lock is not enough.

Order: make, `pci_init`, ids, regions, `setup_dma`, interrupts, hooks, capabilities, `realize`; then
`run` whenever `fileno` is readable; `close` at the end (or use it as a context manager).

What the library leaves to the device, and is therefore exposed here: bus mastering is not enforced
(ask `bus_master` before any DMA or interrupt), and the INTx status bit is the device's to set.
"""

import ctypes
import errno
import logging
import mmap
import os
import weakref
from collections.abc import Callable, Sequence
from threading import get_ident
from types import TracebackType
from typing import Any, Self

from tlsnic.device.vfu import _abi
from tlsnic.device.vfu._abi import Abi, IoVecC
from tlsnic.device.vfu._callbacks import Callbacks
from tlsnic.device.vfu._connection import Connection, State
from tlsnic.device.vfu._dma import DmaMap, DmaRegion
from tlsnic.device.vfu._errors import VfuDisconnected, VfuError, WrongThreadError
from tlsnic.device.vfu._library import Library, load_library
from tlsnic.device.vfu._scatter import ScatterList
from tlsnic.device.vfu._sockets import Listener, PrivateDirectory
from tlsnic.device.vfu._types import (
    CapFlag,
    ErrorHook,
    Irq,
    IrqStateHook,
    MmapArea,
    PciType,
    QuiesceHook,
    Region,
    RegionFlag,
    RegionHandler,
    ResetHook,
)

log = logging.getLogger("tlsnic.device.vfu")

CONFIG_BYTES = 256
EXPRESS_CONFIG_BYTES = 4096
_PCI_COMMAND = 4
_PCI_COMMAND_MASTER = 4
_PCI_REVISION = 8
_PCI_BAR0 = 0x10
_BAR_64 = 0x4
_BAR_PREFETCH = 0x8
_MAX_IO_BAR_BYTES = 256
_LOG_INFO = 6
_LOG_WARNING = 4


class Context:
    """`vfu_ctx_t`. All failures of the library are raised as VfuError with its errno."""

    def __init__(
        self,
        path: str,
        *,
        library: Library | None = None,
        on_error: ErrorHook | None = None,
        negotiation_timeout_s: float = 5.0,
        stall_timeout_s: float = 1.0,
    ) -> None:
        """Listen on `path`; clients are let in once the context is realized.

        With `on_error`, exceptions of handlers go there instead of being raised by `run`. A client
        that does not finish its VERSION message within `negotiation_timeout_s`, or another message
        within `stall_timeout_s`, is dropped.

        Raises VfuError (EADDRINUSE when a living process listens on `path`) and VfuAbiError.
        """
        self._thread = get_ident()
        self.library = library if library is not None else load_library()
        self._calls = self.library.calls
        self._callbacks = Callbacks(on_error)
        self._context = 0
        self._busy = False
        self._realized = False
        self._config: memoryview | None = None
        self._config_array: ctypes.Array[ctypes.c_ubyte] | None = None
        self._region_flags: dict[Region, RegionFlag] = {}
        self._region_fds: list[int] = []
        self._irqs: dict[Irq, int] = {}
        self._vectors = 0
        self.dma = DmaMap()
        self._connection = Connection(
            self.library,
            self._callbacks,
            Listener(path),
            negotiation_timeout_s,
            stall_timeout_s,
        )
        try:
            with PrivateDirectory() as directory:
                # The library insists on a listener of its own; see _connection for its use.
                self._context = (
                    self._calls.vfu_create_ctx(
                        _abi.TRANSPORT_SOCKET,
                        os.fsencode(directory.socket_path),
                        _abi.ATTACH_NB,
                        None,
                        _abi.DEVICE_TYPE_PCI,
                    )
                    or 0
                )
            if not self._context:
                raise VfuError(ctypes.get_errno(), "vfu_create_ctx")
            # Debug messages would hold register values, hence possibly keys: never asked for.
            level = _LOG_INFO if log.isEnabledFor(logging.DEBUG) else _LOG_WARNING
            self._ok(
                self._calls.vfu_setup_log(self._context, self._callbacks.log(), level),
                "vfu_setup_log",
            )
            # ERR and REQ have one vector by default; 0b28d205 puts their eventfds into MSI-X slot
            # 0, and an interrupt on QEMU's ERR eventfd stops the machine.
            self.setup_irqs(Irq.ERR, 0)
            self.setup_irqs(Irq.REQ, 0)
        except BaseException:
            self.close()
            raise

    def _check(self) -> int:
        if get_ident() != self._thread:
            raise WrongThreadError("a vfio-user context belongs to the thread that made it")
        if not self._context:
            raise VfuError(errno.EBADF, "the context is closed")
        return self._context

    def _set_up(self) -> int:
        if self._realized:
            raise VfuError(errno.EINVAL, "the context is realized; set it up before")
        return self._check()

    @staticmethod
    def _ok(result: int, what: str) -> int:
        if result < 0:
            raise VfuError(ctypes.get_errno(), what)
        return result

    # Setting up: PCI

    def pci_init(self, pci_type: PciType = PciType.EXPRESS, *, revision: int = 0) -> None:
        """Make the configuration space: 4096 bytes for PCI_X_2 and EXPRESS, else 256."""
        context = self._set_up()
        self._ok(self._calls.vfu_pci_init(context, pci_type, 0, revision), "vfu_pci_init")
        size = EXPRESS_CONFIG_BYTES if pci_type >= PciType.PCI_X_2 else CONFIG_BYTES
        address = self._calls.vfu_pci_get_config_space(context)
        array_type: Any = type(
            "ConfigSpace", (ctypes.Array,), {"_type_": ctypes.c_ubyte, "_length_": size}
        )
        array: ctypes.Array[ctypes.c_ubyte] = array_type.from_address(address)
        self._config_array = array
        self._config = memoryview(array).cast("B")
        self._config[_PCI_REVISION] = revision  # the library ignores its argument
        self.setup_region(Region.CONFIG, size, flags=RegionFlag.RW)

    def pci_set_id(
        self, vendor: int, device: int, subsystem_vendor: int = 0, subsystem: int = 0
    ) -> None:
        """Set vendor, device and subsystem IDs (PCI 3.0, 6.2.1 and 6.2.4)."""
        self._require_config()
        self._calls.vfu_pci_set_id(self._set_up(), vendor, device, subsystem_vendor, subsystem)

    def pci_set_class(self, base: int, sub: int, interface: int = 0) -> None:
        """Set the class code, e.g. 2, 0, 0 for Ethernet (PCI 3.0, 6.2.1)."""
        self._require_config()
        self._calls.vfu_pci_set_class(self._set_up(), base, sub, interface)

    def _require_config(self) -> memoryview:
        if self._config is None:
            raise VfuError(errno.EINVAL, "call pci_init first, on an open context")
        return self._config

    @property
    def config(self) -> memoryview:
        """The configuration space itself, writable. Hold no slice of it past `close`."""
        self._check()
        return self._require_config()

    @property
    def command(self) -> int:
        """The PCI command register (u16), as the client last wrote it."""
        config = self._require_config()
        return config[_PCI_COMMAND] | config[_PCI_COMMAND + 1] << 8

    @property
    def bus_master(self) -> bool:
        """Whether the device may do DMA and interrupts. The library does not enforce it."""
        return bool(self._require_config()[_PCI_COMMAND] & _PCI_COMMAND_MASTER)

    def add_capability(
        self, data: bytes, *, position: int = 0, flags: CapFlag = CapFlag.NONE
    ) -> int:
        """Add a capability, header included (see `capabilities`); return its offset.

        Position 0 lets the library choose. Raises VfuError: ENOTSUP unknown capability, ENOSPC.
        """
        self._require_config()
        padded = data + bytes(16)  # the library reads the header before it knows the length
        result = self._calls.vfu_pci_add_capability(self._set_up(), position, flags, padded)
        return self._ok(result, f"vfu_pci_add_capability({data[0] if data else 0:#x})")

    def find_capability(
        self, capability: int, *, extended: bool = False, after: int = 0
    ) -> int | None:
        """Return the offset of the (next) capability with this ID, or None."""
        self._require_config()
        context = self._check()
        if after:
            found = self._calls.vfu_pci_find_next_capability(context, extended, after, capability)
        else:
            found = self._calls.vfu_pci_find_capability(context, extended, capability)
        return found or None

    # Setting up: regions, memory, interrupts, hooks

    def setup_region(
        self,
        region: Region,
        size: int,
        handler: RegionHandler | None = None,
        *,
        flags: RegionFlag = RegionFlag.RW | RegionFlag.MEM,
        fd: int = -1,
        fd_offset: int = 0,
        mmap_areas: Sequence[MmapArea] = (),
    ) -> None:
        """Describe a region of `size` bytes.

        With `fd` (duplicated here) the client may map `mmap_areas` of it, or all of it when there
        are none; accesses there reach no handler. Raises ValueError for what would break clients.
        """
        context = self._set_up()
        region = Region(region)
        bar = region <= Region.BAR5
        if region is Region.CONFIG:
            size = len(self._require_config())
        if bar and (size & (size - 1) or size < 16):
            raise ValueError(f"{region.name}: {size} is no power of two of at least 16 bytes")
        if bar and not flags & RegionFlag.MEM and size > _MAX_IO_BAR_BYTES:
            raise ValueError(
                f"{region.name}: an I/O-port BAR of {size} bytes hangs SeaBIOS; add RegionFlag.MEM"
            )
        if flags & RegionFlag.MEM64 and (not bar or region % 2):
            raise ValueError(f"{region.name}: only BAR0, BAR2 and BAR4 can be 64 bits wide")
        old = self.library.abi is Abi.JUNE_2022
        if len(mmap_areas) > 1 and old:
            raise ValueError(
                f"{region.name}: this libvfio-user sends one descriptor for each mappable area, "
                "which QEMU refuses; use one area, or a newer library"
            )
        for area in mmap_areas:
            if area.offset % mmap.PAGESIZE or area.size % mmap.PAGESIZE or not area.size:
                raise ValueError(f"{region.name}: {area} is not made of whole pages")
        callback = _abi.REGION_CALLBACK()
        if handler is not None:
            callback = self._callbacks.region(handler, region.name)
        areas = (IoVecC * max(1, len(mmap_areas)))(*(IoVecC(*area) for area in mmap_areas))
        own_fd = -1
        if fd >= 0:
            own_fd = os.dup(fd)
            self._region_fds.append(own_fd)
        passed = flags & ~(RegionFlag.MEM64 | RegionFlag.PREFETCH) if old else flags
        result = self._calls.vfu_setup_region(
            context,
            region,
            size,
            callback,
            passed,
            areas if mmap_areas else None,
            len(mmap_areas),
            own_fd,
            fd_offset,
        )
        self._ok(result, f"vfu_setup_region({region.name})")
        self._region_flags[region] = flags

    def setup_dma(
        self,
        on_map: Callable[[DmaRegion], None] | None = None,
        on_unmap: Callable[[DmaRegion], None] | None = None,
        *,
        max_regions: int = 4096,
    ) -> DmaMap:
        """Accept DMA maps; the table is returned and also at `dma`.

        `on_unmap` runs before a map goes: drop every view of it there. `max_regions` holds for the
        newer library only; the older has room for 16.
        """
        context = self._set_up()
        self.dma = DmaMap(on_map, on_unmap)
        register = self._callbacks.dma(self.dma.register, "DMA map hook")
        unregister = self._callbacks.dma(self.dma.unregister, "DMA unmap hook")
        if self.library.abi is Abi.JUNE_2022:
            result = self._calls.vfu_setup_device_dma(context, register, unregister)
        else:
            result = self._calls.vfu_setup_device_dma(context, max_regions, register, unregister)
        self._ok(result, "vfu_setup_device_dma")
        return self.dma

    @property
    def max_dma_regions(self) -> int | None:
        """How many maps the library has room for, or None when that is up to `setup_dma`."""
        return _abi.OLD_MAX_DMA_REGIONS if self.library.abi is Abi.JUNE_2022 else None

    def setup_irqs(self, irq: Irq, count: int) -> None:
        """Set the number of vectors. ERR and REQ stay 0 with the older library (ValueError)."""
        if irq >= Irq.ERR and count and self.library.abi is Abi.JUNE_2022:
            raise ValueError(
                f"{irq.name}: this libvfio-user mixes its eventfd up with vector 0, and an "
                "interrupt there would stop the machine"
            )
        result = self._calls.vfu_setup_device_nr_irqs(self._set_up(), irq, count)
        self._ok(result, f"vfu_setup_device_nr_irqs({irq.name})")
        self._irqs[irq] = count
        self._vectors = max(self._irqs.get(kind, 0) for kind in (Irq.INTX, Irq.MSI, Irq.MSIX))

    def on_irq_state(self, irq: Irq, hook: IrqStateHook) -> None:
        """Call `hook` when the client masks or unmasks vectors (QEMU does it for INTx only)."""
        callback = self._callbacks.irq_state(hook)
        result = self._calls.vfu_setup_irq_state_callback(self._set_up(), irq, callback)
        self._ok(result, f"vfu_setup_irq_state_callback({irq.name})")

    def on_reset(self, hook: ResetHook) -> None:
        """Call `hook` for every reset, a lost connection and `close` included."""
        callback = self._callbacks.reset(hook)
        self._ok(self._calls.vfu_setup_device_reset_cb(self._set_up(), callback), "reset hook")

    def on_quiesce(self, hook: QuiesceHook) -> None:
        """Ask `hook` to stop the device before maps change and before resets."""
        self._calls.vfu_setup_device_quiesce_cb(self._set_up(), self._callbacks.quiesce(hook))

    def realize(self) -> None:
        """Finish the set-up and let clients in."""
        context = self._set_up()
        self._ok(self._calls.vfu_realize_ctx(context), "vfu_realize_ctx")
        if self.library.abi is Abi.JUNE_2022 and self._config is not None:
            for region, flags in self._region_flags.items():
                bits = _BAR_64 if flags & RegionFlag.MEM64 else 0
                bits |= _BAR_PREFETCH if flags & RegionFlag.PREFETCH else 0
                if region <= Region.BAR5:
                    self._config[_PCI_BAR0 + 4 * region] |= bits
        self._realized = True
        self._connection.start(context)

    # Running

    def fileno(self) -> int:
        """A descriptor that is readable whenever `run` has something to do. It never changes."""
        return self._connection.fileno()

    @property
    def state(self) -> State:
        """LISTENING, NEGOTIATING, ATTACHED, or QUIESCING (waiting for `quiesced`)."""
        return self._connection.state

    def run(self, max_messages: int = 64) -> int:
        """Let clients in and handle up to `max_messages`, without blocking; return how many.

        Raises VfuDisconnected when the client is gone (once; then it listens again), and the first
        exception that left a handler (its __cause__ is the VfuDisconnected, if both happened).
        """
        self._check()
        if self._busy or not self._realized:
            raise VfuError(errno.EINVAL, "run() needs a realized context, outside of handlers")
        self._busy = True
        try:
            handled = self._connection.run(max_messages)
        except VfuDisconnected as gone:
            failure, self._callbacks.failure = self._callbacks.failure, None
            if failure is not None:
                raise failure from gone
            raise
        finally:
            self._busy = False
        if self._callbacks.failure is not None:
            self._callbacks.raise_failure()
        return handled

    def quiesced(self, error: int = 0) -> None:
        """Say that the device has quiesced; what waited for it happens in this call.

        With an errno, the client is dropped by the next `run`: the library would leave its request
        without a reply. Raises VfuError EINVAL when nothing waits.
        """
        self._check()
        if self._busy:
            raise VfuError(errno.EINVAL, "quiesced() from inside a handler; return True there")
        self._busy = True
        try:
            self._connection.quiesced(error)
        finally:
            self._busy = False
        self._callbacks.raise_failure()

    def disconnect(self, why: str = "the device ended the connection") -> None:
        """End the client's connection, if there is one, and listen again."""
        self._check()
        if self._busy:
            raise VfuError(errno.EINVAL, "disconnect() from inside a handler")
        self._busy = True
        try:
            self._connection.drop(why)
        except VfuDisconnected:
            pass
        finally:
            self._busy = False
        self._callbacks.raise_failure()

    def trigger(self, vector: int = 0) -> bool:
        """Raise interrupt `vector` of the kind the client enabled.

        False when the client has set no eventfd for it, or its eventfd takes no event.
        """
        context = self._check()
        if not 0 <= vector < self._vectors:
            raise VfuError(errno.EINVAL, f"interrupt vector {vector} of {self._vectors}")
        return bool(self._calls.vfu_irq_trigger(context, vector) == 0)

    def addr_to_sgl(
        self, iova: int, length: int, *, prot: int = mmap.PROT_READ, max_entries: int = 16
    ) -> ScatterList:
        """Return the library's scatter/gather list for a range of bus addresses."""
        return ScatterList(
            self.library, self._check(), iova, length, prot=prot, max_entries=max_entries
        )

    # The end

    def close(self) -> None:
        """Disconnect, unmap, free everything and remove the socket. May be called again.

        The reset hook (LOST_CONNECTION) and the unmap hooks run. Raises the first exception that
        left one of them, after everything is freed.
        """
        if get_ident() != self._thread:
            raise WrongThreadError("a vfio-user context belongs to the thread that made it")
        if self._busy:
            raise VfuError(errno.EINVAL, "close() from inside a handler")
        context, self._context = self._context, 0
        if context and self._release_config():
            self._busy = True
            try:
                self._calls.vfu_destroy_ctx(context)
            finally:
                self._busy = False
        elif context:
            log.error("slices of the configuration space are still held: the context is not freed")
        self._connection.close()
        while self._region_fds:
            os.close(self._region_fds.pop())
        self._callbacks.raise_failure()

    def _release_config(self) -> bool:
        """Let go of the configuration space. False when someone still holds a slice of it."""
        if self._config is None or self._config_array is None:
            return True
        alive = weakref.ref(self._config_array)
        self._config.release()
        self._config = self._config_array = None
        return alive() is None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.close()
        except BaseException as failure:
            if error is None:
                raise
            error.add_note(f"closing the vfio-user context failed as well: {failure!r}")
