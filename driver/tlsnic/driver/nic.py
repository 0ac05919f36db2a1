"""The card as a whole: attach, queues, interrupts, start and stop, reset and recovery.

with open_bus("vfio-user:/run/tlsnic.sock") as bus, Nic.attach(bus) as nic:
    nic.tx[0].send(frame, checksum=True)
    packet = nic.receive(timeout_s=1.0)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import NamedTuple, Self

from tlsnic.abi import registers as reg
from tlsnic.abi.enums import EventMask, EventType, Offload
from tlsnic.abi.structures import StatisticsCommand
from tlsnic.driver.access import ALL_ONES_32, Access, Deadline
from tlsnic.driver.admin import AdminQueue
from tlsnic.driver.bus.base import Bus
from tlsnic.driver.bus.errors import BusError, BusGoneError
from tlsnic.driver.errors import (
    DeadlineError,
    DeviceGoneError,
    DeviceResetError,
    DriverError,
    UnknownDeviceError,
)
from tlsnic.driver.events import EventQueue
from tlsnic.driver.queue import Queue
from tlsnic.driver.rx import RxPacket, RxQueue
from tlsnic.driver.settings import Capabilities, counter_offsets, read_capabilities
from tlsnic.driver.tls.tags import TlsTags
from tlsnic.driver.tx import TxQueue
from tlsnic.driver.waiting import Waiter

MAGIC = 0x4E53_4C54  # "TLSN", low byte first
INTERFACE_MAJOR = 0
_READY_TIMEOUT_S = 5.0
_ADMIN_VECTOR = 0  # shared with events
_TX_VECTOR = 1
_RX_VECTOR = 17


class NicOptions(NamedTuple):
    """What a `Nic` is made of. Ring sizes in entries, powers of two.

    Not a dataclass: importing those alone would cost a guest under emulation half a second.
    """

    tx_queues: int = 1
    rx_queues: int = 1
    tx_entries: int = 256
    rx_entries: int = 512
    rx_buffer_bytes: int = 2048
    tx_bounce_bytes: int = 1 << 20
    """Per transmit queue, for frames that `send` copies; allocated at the first of them."""
    tx_report_every: int = 32
    admin_entries: int = 32
    event_entries: int = 128
    interrupts: str = "auto"
    """"msix", "intx", "poll", or "auto": MSI-X where the bus has it, else INTx."""
    events: EventMask = EventMask.LINK | EventMask.QUEUE | EventMask.TLS
    command_timeout_s: float = 5.0
    tls: bool = True
    """Switch TLS transmit on at attach, when the card offers it."""


class Nic(TlsTags):
    """One card with its queues: `admin`, `events`, `tx[n]`, `rx[n]`; `capabilities`, `options`;
    `send_tags` and `receive_tags` by handle.

    Belongs to one thread, like its bus. Every wait has a deadline, and ends with DeviceGoneError
    when the card is gone.
    """

    def __init__(self, bus: Bus, options: NicOptions) -> None:
        """Does not touch the card: use `attach`."""
        super().__init__(Access(bus))
        self.bus = bus
        self.options = options
        self.capabilities: Capabilities
        self.waiter: Waiter
        self.rx: list[RxQueue] = []
        self.started = False
        self.reset_count = 0
        self.access.on_gone = self.lose_tags
        self._queues: list[Queue] = []
        self._waiters: list[Waiter] = []

    @classmethod
    def attach(cls, bus: Bus, options: NicOptions | None = None, *, start: bool = True) -> Self:
        """Take the card over: check what it is, reset it, set up queues and interrupts.

        With `start`, the queues run and traffic is enabled afterwards. Raises UnknownDeviceError,
        DeviceGoneError, ValueError for options that the card cannot fulfil, BusError; nothing is
        left open then. The bus stays the caller's.
        """
        nic = cls(bus, options or NicOptions())
        try:
            nic._identify()
            bus.set_bus_master(True)
            nic._soft_reset()
            nic._make_queues()
            nic._bring_up()
            if start:
                nic.start()
        except BusGoneError as error:
            nic.close()
            raise DeviceGoneError(str(error)) from error
        except BaseException:
            nic.close()
            raise
        return nic

    # Setting up

    def _identify(self) -> None:
        regs = self.access.regs
        magic = regs.read32(reg.MAGIC)
        if magic == ALL_ONES_32:
            raise DeviceGoneError(self.bus.spec)
        if magic != MAGIC:
            raise UnknownDeviceError(f"MAGIC reads {magic:#x}: not a tlsnic card")
        self.capabilities = read_capabilities(self.access)
        major, minor = self.capabilities.version
        if major != INTERFACE_MAJOR:
            raise UnknownDeviceError(
                f"interface version {major}.{minor}; this driver knows {INTERFACE_MAJOR}.x"
            )

    def _check_options(self) -> None:
        options, caps = self.options, self.capabilities
        for name, value, low, high in (
            ("tx_queues", options.tx_queues, 0, caps.tx_queues),
            ("rx_queues", options.rx_queues, 0, caps.rx_queues),
        ):
            if not low <= value <= high:
                raise ValueError(f"{name} is {low} to {high} on this card, not {value}")
        low, high = caps.min_ring_entries, caps.max_ring_entries
        for name in ("tx_entries", "rx_entries", "admin_entries", "event_entries"):
            value = getattr(options, name)
            if not low <= value <= high or value & (value - 1):
                raise ValueError(f"{name} is a power of two from {low} to {high}, not {value}")
        if 0 < options.rx_buffer_bytes < caps.min_rx_buffer_bytes:
            raise ValueError(
                f"rx_buffer_bytes is at least {caps.min_rx_buffer_bytes} on this card, "
                f"not {options.rx_buffer_bytes}"
            )

    def _make_queues(self) -> None:
        self._check_options()
        options, access = self.options, self.access
        limit = self.capabilities.max_ring_entries
        waiter = self.waiter = self._make_waiter()
        self._waiters.append(waiter)
        vectors = len(waiter.interrupts) if waiter.interrupts and waiter.kind == "msix" else 64

        def vector(wanted: int) -> int:
            # With few vectors, queues share them; every queue looks at its own ring anyway.
            return wanted if wanted < vectors else wanted % vectors

        def completions(entries: int) -> int:
            return min(2 * entries, limit)

        self.admin = AdminQueue(
            access,
            waiter,
            vector=_ADMIN_VECTOR,
            entries=options.admin_entries,
            completion_entries=completions(options.admin_entries),
            timeout_s=options.command_timeout_s,
        )
        self._queues.append(self.admin)
        self.events = EventQueue(
            access, waiter, vector=_ADMIN_VECTOR, entries=options.event_entries
        )
        self._queues.append(self.events)
        self.events.on(EventType.RESYNC_REQUEST, self.tell_receive_tag)
        self.events.on(EventType.FLOW_ERROR, self.tell_receive_tag)
        for number in range(options.tx_queues):
            tx = TxQueue(
                access,
                waiter,
                number=number,
                vector=vector(_TX_VECTOR + number),
                entries=options.tx_entries,
                completion_entries=completions(options.tx_entries),
                bounce_bytes=options.tx_bounce_bytes,
                report_every=options.tx_report_every,
            )
            tx.on_drop = self.tell_send_tag
            self.tx.append(tx)
            self._queues.append(tx)
        for number in range(options.rx_queues):
            rx = RxQueue(
                access,
                waiter,
                number=number,
                vector=vector(_RX_VECTOR + number),
                entries=options.rx_entries,
                completion_entries=completions(options.rx_entries),
                buffer_bytes=options.rx_buffer_bytes,
            )
            self.rx.append(rx)
            self._queues.append(rx)

    def _make_waiter(self) -> Waiter:
        kind, bus = self.options.interrupts, self.bus
        if kind not in ("auto", "msix", "intx", "poll"):
            raise ValueError(f'interrupts is "auto", "msix", "intx" or "poll", not {kind!r}')
        if kind == "poll":
            return Waiter(self.access, None)
        vectors = min(bus.msix_vectors(), self.capabilities.vectors)
        if kind == "msix" or (kind == "auto" and vectors):
            if not vectors:
                raise ValueError("this bus has no MSI-X vectors")
            wanted = _RX_VECTOR + max(1, self.options.rx_queues)
            return Waiter(self.access, bus.msix_enable(min(wanted, vectors)))
        return Waiter(self.access, bus.intx_enable())

    def _bring_up(self) -> None:
        """From the state after reset: interrupts, admin and event queue, settings."""
        if self.waiter.kind == "intx":
            mask = 0
            for queue in self._queues:
                mask |= 1 << queue.vector
            self._set64(reg.INT_ENABLE, mask)
        self.admin.enable()
        self.events.enable()
        if reg.EVENT_ENABLE not in self._written:
            self.set_events(self.options.events)
        offers_tls = self.capabilities.offloads & Offload.TX_TLS
        if offers_tls and self.options.tls and reg.OFFLOAD_ENABLE not in self._written:
            self.tx_tls = True

    # Start, stop, close

    def start(self) -> None:
        """Enable all transmit and receive queues, then traffic. Raises QueueError."""
        for queue in (*self.rx, *self.tx):
            if not queue.enabled:
                queue.enable()
        self.enable_traffic(transmit=True, receive=True)
        self.started = True

    def stop(self) -> None:
        """Stop traffic, then all transmit and receive queues; what is pending is forgotten."""
        self.started = False
        self.enable_traffic(transmit=False, receive=False)
        for queue in (*self.tx, *self.rx):
            queue.disable()

    def close(self) -> None:
        """Stop the card's use of our memory, then give everything back. Twice is harmless.

        Never raises because the card is gone, hangs or refuses: closing always succeeds.
        """
        queues, self._queues = self._queues, []
        waiters, self._waiters = self._waiters, []
        self.started = False
        self.lose_tags("the card was closed")
        # A card that does not answer loses its access to our memory when the bus is closed.
        with suppress(BusError):
            if queues:
                # A reset stops all queues at once, whatever state they are in; the read says that
                # it has happened.
                self.access.write32(reg.CONTROL, reg.CONTROL_RESET_MASK)
                self.access.regs.read32(reg.STATUS)
        for waiter in waiters:
            with suppress(BusError):
                waiter.close()
        for queue in queues:
            queue.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # Reset

    def _soft_reset(self) -> None:
        self.access.write32(reg.CONTROL, reg.CONTROL_RESET_MASK)
        self._await_ready()

    def _await_ready(self) -> None:
        deadline = Deadline(_READY_TIMEOUT_S)
        while True:
            status = self.access.read32(reg.STATUS)
            if status & reg.STATUS_READY_MASK:
                self.reset_count = status >> reg.STATUS_RESET_COUNT_SHIFT
                return
            if deadline.left_s <= 0:
                raise DeadlineError(f"the card is not ready {_READY_TIMEOUT_S:g} s after a reset")

    def reset(self, *, function: bool = False) -> None:
        """Reset the card and set everything up as it was: settings, queues, traffic.

        What was on the rings is forgotten, and all send and receive tags are dead. function: the bus resets
        the PCI function, instead of the soft reset in CONTROL. Also the way back after a
        DeviceResetError. Raises BusError, DeviceGoneError, DeadlineError, QueueError.
        """
        was_started = self.started
        self.lose_tags("the card was reset")
        for queue in self._queues:
            queue.forget()
        self.started = False
        if function:
            try:
                self.bus.reset()
            except BusGoneError as error:
                raise DeviceGoneError(str(error)) from error
            self._await_ready()
        else:
            self._soft_reset()
        self.write_again()
        self._bring_up()
        if was_started:
            self.start()

    def check(self) -> None:
        """Raise DeviceGoneError when the card is gone, DeviceResetError when it was reset."""
        status = self.access.read32(reg.STATUS)
        if status >> reg.STATUS_RESET_COUNT_SHIFT != self.reset_count:
            raise DeviceResetError("somebody reset the card: its queues and settings are gone")

    # Across queues

    def wait_any(self, queues: Sequence[Queue], timeout_s: float) -> list[Queue]:
        """Wait until one of `queues` has a completion: those that have, none at the deadline.

        Raises QueueError, DeviceResetError or DeviceGoneError.
        """

        def ready() -> bool:
            return any(queue.ready() for queue in queues)

        def arm() -> None:
            for queue in queues:
                queue.arm()

        def check() -> None:
            for queue in queues:
                queue.check()

        vectors = {queue.vector for queue in queues}
        if not self.waiter.wait(ready, arm, check, vectors, timeout_s):
            return []
        return [queue for queue in queues if queue.ready()]

    def receive(self, timeout_s: float) -> RxPacket | None:
        """The next packet of any receive queue; None when none came in time. See `RxQueue`."""
        deadline = Deadline(timeout_s)
        while True:
            for queue in self.rx:
                if queue.has_packets:
                    return queue.receive(0)
            if not self.wait_any(self.rx, deadline.left_s):
                return None

    def drain_tx(self, timeout_s: float, queues: Iterable[TxQueue] | None = None) -> None:
        """Wait until everything on the transmit queues is done. Raises like `TxQueue.drain`."""
        deadline = Deadline(timeout_s)
        for queue in self.tx if queues is None else queues:
            queue.drain(deadline.left_s)

    def statistics(self, timeout_s: float | None = None) -> dict[str, int]:
        """All counters by register name, of one moment, by the STATISTICS command.

        Raises like `AdminQueue.execute`.
        """
        offsets = counter_offsets()
        first = min(offsets.values())
        length = max(offsets.values()) + 8 - first
        response, block = self.admin.execute_block(
            StatisticsCommand(), length=length, timeout_s=timeout_s
        )
        if response.result0 != length:
            raise DriverError(f"STATISTICS gave {response.result0} bytes, expected {length}")
        return {
            name: int.from_bytes(block[offset - first : offset - first + 8], "little")
            for name, offset in offsets.items()
        }
