"""The card: puts the stages together and takes every input.

Theory of operation. All inputs are method calls, and none of them blocks or calls back into the caller
except through `Host` and `Port`. Register writes and doorbells only note what is to do; `poll` does it,
in small portions, so that one busy queue delays neither the others nor a register read. Frames from the
wire are worked through at once. Time comes in with `poll` and `receive` and never runs by itself.
"""

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from tlsnic.abi import registers
from tlsnic.abi.enums import Diagnostic, EventType, Offload, QueueKind, QueueState
from tlsnic.device.core.admin import AdminQueue
from tlsnic.device.core.counters import COUNTER_REGISTERS, Counters
from tlsnic.device.core.diagnostics import Diagnostics, Entry
from tlsnic.device.core.events import EventQueue
from tlsnic.device.core.filters import Filters
from tlsnic.device.core.flows import FlowCommands
from tlsnic.device.core.gate import HostGate, PortGate
from tlsnic.device.core.host import Host, Port
from tlsnic.device.core.interrupts import Interrupts
from tlsnic.device.core.journal import Journal
from tlsnic.device.core.parts import Parts
from tlsnic.device.core.receive import Arrival, Receiver
from tlsnic.device.core.receive_queue import ReceiveQueue
from tlsnic.device.core.regfile import RegisterFile
from tlsnic.device.core.rings import Queue, bind_registers
from tlsnic.device.core.steering import Steering
from tlsnic.device.core.transmit import Transmitter
from tlsnic.device.core.transmit_queue import TransmitQueue
from tlsnic.device.tls.table import FlowTable

BAR_REGISTERS: Final = 0
BAR_DOORBELLS: Final = 2
PACKETS_PER_TURN: Final = 32
"""Packets or commands of one queue before the next queue gets its turn."""
MIN_MAX_FRAME: Final = 64

_CAP_FRAME = registers.BAR0.by_name["CAP_FRAME"]
_MAX_FRAME: Final = _CAP_FRAME.decode(_CAP_FRAME.reset)["FRAME_BYTES"]
# A plain number, because ~ of a flag leaves out the bits that have no name.
_SWITCHED_OFFLOADS: Final = int(
    Offload.RX_CHECKSUM | Offload.VLAN_STRIP | Offload.RX_COALESCE | Offload.TX_TLS | Offload.RX_TLS
)
_NEED_CHECKSUM: Final = int(Offload.RX_COALESCE | Offload.RX_TLS)


class ResetKind(enum.Enum):
    """Who asked for a reset. All do the same to the card; the server also resets PCI state."""

    SOFT = "register"
    FUNCTION = "function level reset"
    DEVICE = "vfio reset"
    DISCONNECT = "client disconnected"


@dataclass(frozen=True, slots=True)
class NicConfig:
    """What the operator decides.

    Attributes:
        mac: the port's unicast address, 6 bytes.
        link_mbps: nominal link speed, megabits per second.
    """

    mac: bytes = b"\x02\x74\x6c\x73\x00\x01"
    link_mbps: int = 10_000

    def __post_init__(self) -> None:
        if len(self.mac) != 6 or self.mac[0] & 1 or not any(self.mac):
            raise ValueError(f"{self.mac.hex(':')} is not a unicast MAC address")
        if not 0 < self.link_mbps < 1 << 32:
            raise ValueError(f"a link speed of {self.link_mbps} Mbit/s does not fit its register")


class Nic:
    """The core of the card. Not thread-safe: one event loop drives it."""

    def __init__(self, config: NicConfig, host: Host, port: Port) -> None:
        self.config = config
        self.host_gate = self._host = HostGate(host)
        self.port_gate = PortGate(port)
        self._link_up = False
        self._reset_count = 0
        self._bus_master = False
        self.observer: Callable[[Entry], None] | None = None
        self.counters = Counters()
        self.diagnostics = Diagnostics(self._on_diagnostic)
        self.registers = RegisterFile(registers.BAR0, self.diagnostics)
        self._doorbell_file = RegisterFile(registers.BAR2, self.diagnostics)
        self.interrupts = Interrupts(self._host, self.registers, self.counters, self.diagnostics)
        self.flows = FlowTable()
        self.journal = Journal()
        parts = Parts(
            self._host, self.registers, self.counters, self.interrupts, self.diagnostics,
            self.flows, self.journal,
        )  # fmt: skip
        self.events = EventQueue(parts)
        self.admin = AdminQueue(parts)
        self.transmitter = Transmitter(parts, self.port_gate)
        self.transmitter.on_free = self._wake_transmit
        self.tx_queues = [
            TransmitQueue(number, parts, self.transmitter)
            for number in range(registers.TX_QUEUE_COUNT)
        ]
        self.rx_queues = [ReceiveQueue(number, parts) for number in range(registers.RX_QUEUE_COUNT)]
        self.filters = Filters(self.registers)
        self.steering = Steering(self.registers, self.diagnostics)
        self.receiver = Receiver(parts, self.filters, self.steering, self.rx_queues, self.events)
        flow_commands = FlowCommands(parts, self.transmitter, self.tx_queues, self.receiver.flush)
        self.admin.add_handlers(flow_commands.handlers)
        self.queues: list[Queue] = [self.admin, self.events, *self.tx_queues, *self.rx_queues]
        for queue in self.queues:
            queue.listener = self.events.publish_fault
        self._busy: dict[Queue, None] = {}
        self._doorbells: dict[int, tuple[Queue, bool]] = {}
        self._bind_registers()
        self._bind_doorbells()
        self._restore_defaults()

    # Inputs -------------------------------------------------------------------------------------

    def read(self, bar: int, offset: int, width: int) -> int:
        """A read of `width` bytes (1, 2, 4 or 8) at byte `offset` of a BAR."""
        if bar == BAR_REGISTERS:
            return self.registers.read(offset, width)
        return self._doorbell_file.read(offset, width)

    def write(self, bar: int, offset: int, width: int, value: int) -> None:
        """A write of `width` bytes (1, 2, 4 or 8) at byte `offset` of a BAR."""
        if bar == BAR_DOORBELLS and width == 4:
            doorbell = self._doorbells.get(offset)
            if doorbell is not None:
                queue, is_tail = doorbell
                if queue.ring_tail(value) if is_tail else queue.ring_completion(value):
                    self._busy[queue] = None
                return
        elif bar == BAR_DOORBELLS and width == 8 and not offset & 7:
            self.write(bar, offset, 4, value & 0xFFFF_FFFF)
            self.write(bar, offset + 4, 4, value >> 32)
            return
        if bar == BAR_REGISTERS:
            self.registers.write(offset, width, value)
        else:
            self._doorbell_file.write(offset, width, value)

    def receive(self, frames: Sequence[Arrival], now_ns: int) -> None:
        """Frames from the wire, in the order they came."""
        self._advance(now_ns)
        self.receiver.receive(frames)

    def advance(self, now_ns: int) -> None:
        """Time has gone on: for inputs that bring none, which are all but frames and `poll`."""
        self._advance(now_ns)

    def set_link(self, up: bool) -> None:
        """The wire came up or went down."""
        if up == self._link_up:
            return
        self._link_up = up
        self._apply_link()
        if not up:
            self._lose_link()
        self.events.publish(EventType.LINK_CHANGE, int(up), self.config.link_mbps)
        self._wake_transmit()

    def wire_writable(self, now_ns: int) -> None:
        """The wire takes frames again after `Port.send` said no."""
        self._advance(now_ns)
        self._resume_transmit()
        if not self.transmitter.blocked:
            self._wake_transmit()

    def forget_views(self) -> None:
        """Drop every view of guest memory: a map is about to go."""
        for queue in self.queues:
            queue.forget_views()
        self.transmitter.forget_views()

    def report(self, code: Diagnostic, operand: int = 0) -> None:
        """A diagnostic that the server found (RAM without a shared descriptor)."""
        self.diagnostics.report(code, operand)

    def reset(self, kind: ResetKind) -> None:
        """Return to the documented reset state: rings stopped, keys wiped, counters zero."""
        pending = sum(
            queue.state is QueueState.RUNNING and queue.ring.head != queue.ring.tail
            for queue in (self.admin, *self.tx_queues)
        )
        for queue in self.queues:
            queue.disable()
        self._busy.clear()
        self.admin.forget_pending()
        self.transmitter.abandon()
        self.journal.reset(list(self.flows))
        self.flows.clear()
        self.receiver.reset()
        self.counters.clear()
        self.diagnostics.clear()
        self.registers.reset()
        self._doorbell_file.reset()
        self.events.restart_sequence()
        self._reset_count = (self._reset_count + 1) & 0xFFFF
        self._restore_defaults()
        self.interrupts.reset()
        if pending and kind is not ResetKind.DISCONNECT:
            self.diagnostics.report(Diagnostic.RESET_IN_FLIGHT, pending)

    def poll(self, now_ns: int) -> bool:
        """Do what is due and one turn of what is pending; True when there is more to do at once."""
        self._advance(now_ns)
        self._look_at_bus_master()
        self.interrupts.poll(now_ns)
        self.receiver.poll(now_ns)
        self.transmitter.poll()
        more = self._work()
        self.admin.settle()
        return more

    def next_deadline_ns(self) -> int | None:
        """When `poll` has something to do next; None: not before another input."""
        deadlines = (
            self.interrupts.next_deadline_ns(),
            self.receiver.next_deadline_ns(),
            self.transmitter.pacer.next_deadline_ns(),
        )
        return min((due for due in deadlines if due is not None), default=None)

    # For those who look on ----------------------------------------------------------------------

    def peek(self, bar: int, offset: int, width: int) -> int:
        """The bytes at `offset` of a BAR, without anything that a read does."""
        registers_of = self.registers if bar == BAR_REGISTERS else self._doorbell_file
        return registers_of.peek(offset, width)

    def has_work(self, queue: Queue) -> bool:
        """Whether `poll` will look at `queue`."""
        return queue in self._busy

    @property
    def link_up(self) -> bool:
        """The wire is up."""
        return self._link_up

    @property
    def reset_count(self) -> int:
        """As STATUS shows it."""
        return self._reset_count

    # Inside -------------------------------------------------------------------------------------

    def _work(self) -> bool:
        """One turn of every queue that has work; True when there is more."""
        if not self._busy:
            return False
        if not self._bus_master:
            self.diagnostics.report(Diagnostic.BUS_MASTER_OFF)
            self._busy.clear()  # looked at again when bus mastering is switched on
            return False
        for queue in list(self._busy):
            del self._busy[queue]
            if queue.kind is QueueKind.TRANSMIT and not self.transmitter.enabled:
                continue  # looked at again when TX_ENABLE is set
            if queue.service(PACKETS_PER_TURN):
                self._busy[queue] = None
        return bool(self._busy)

    def _advance(self, now_ns: int) -> None:
        self.diagnostics.now_ns = now_ns
        self.interrupts.now_ns = now_ns
        self.transmitter.now_ns = now_ns
        self.receiver.now_ns = now_ns
        self.journal.now_ns = now_ns

    def _look_at_bus_master(self) -> None:
        # The configuration space belongs to the vfio-user library, which does not tell of writes.
        bus_master = self._host.bus_master
        if bus_master != self._bus_master:
            self._bus_master = bus_master
            if bus_master:
                self._resume_transmit()
                for queue in (self.admin, *self.tx_queues):
                    if queue.state is QueueState.RUNNING:
                        self._busy[queue] = None
        if not self._host.msix_enabled or self.interrupts.intx_line:
            self.interrupts.update_intx()

    def _lose_link(self) -> None:
        for _ in range(self.transmitter.lose_link()):
            self.counters.tx_packets += 1
            self.counters.tx_drop_link_down += 1
            self.diagnostics.report(Diagnostic.TX_LINK_DOWN)
        self._resume_transmit()

    def _resume_transmit(self) -> None:
        if self._host.bus_master:  # else when it is on again: what waits is in guest memory
            self.transmitter.resume()

    def _wake_transmit(self) -> None:
        for queue in self.tx_queues:
            if queue.ring.head != queue.ring.tail and queue.state is QueueState.RUNNING:
                self._busy[queue] = None

    def _on_diagnostic(self, entry: Entry) -> None:
        if self.observer is not None:
            self.observer(entry)
        self.events.publish_diagnostic(entry)

    def _bind_doorbells(self) -> None:
        for number, tx_queue in enumerate(self.tx_queues):
            base = registers.TX_DOORBELL_TAIL + number * registers.TX_DOORBELL_STRIDE
            self._doorbells[base] = tx_queue, True
            self._doorbells[base + 4] = tx_queue, False
        for number, rx_queue in enumerate(self.rx_queues):
            base = registers.RX_DOORBELL_TAIL + number * registers.RX_DOORBELL_STRIDE
            self._doorbells[base] = rx_queue, True
            self._doorbells[base + 4] = rx_queue, False
        self._doorbells[registers.ADMIN_DOORBELL_TAIL] = self.admin, True
        self._doorbells[registers.ADMIN_DOORBELL_COMPLETION] = self.admin, False
        self._doorbells[registers.EVENT_DOORBELL_COMPLETION] = self.events, False
        self._doorbell_file.on_write("EVENT_DOORBELL_TAIL", self._no_ring)

    def _no_ring(self, _index: int, old: int, _new: int, written: int) -> int:
        self.events.report(Diagnostic.DOORBELL_DISABLED, written)
        return old

    def _bind_registers(self) -> None:
        regs = self.registers
        bind_registers("ADMIN_QUEUE", [self.admin], regs)
        bind_registers("EVENT_QUEUE", [self.events], regs)
        bind_registers("TX_QUEUE", self.tx_queues, regs)
        bind_registers("RX_QUEUE", self.rx_queues, regs)
        for register in COUNTER_REGISTERS:
            regs.on_read(register.name, self._counter_reader(register.name.lower()))
        regs.on_write("CONTROL", self._write_control)
        regs.on_read("STATUS", self._read_status)
        regs.on_write("MAX_FRAME", self._write_max_frame)
        regs.on_write("OFFLOAD_ENABLE", self._write_offloads)
        regs.on_write("RX_COALESCE", self._write_coalescing)
        regs.on_write("TLS_RESYNC", self._write_resync)
        regs.on_read("DIAG_COUNT", lambda _index: self.diagnostics.total)
        regs.on_read("DIAG_OPERAND", lambda _index: self.diagnostics.last.operand)
        regs.on_read("DIAG_LAST", self._read_last_diagnostic)

    def _counter_reader(self, name: str) -> Callable[[int], int]:
        return lambda _index: int(getattr(self.counters, name))

    def _restore_defaults(self) -> None:
        """What reset leaves to the operator, and the copies of registers that the stages keep."""
        self.registers.put("MAC_ADDRESS", int.from_bytes(self.config.mac, "little"))
        self.registers.put("LINK_SPEED", self.config.link_mbps)
        self.filters.reload()
        self.steering.invalidate()
        self._apply_control(self.registers.get("CONTROL"))
        self._apply_max_frame(self.registers.get("MAX_FRAME"))
        self._apply_offloads(self.registers.get("OFFLOAD_ENABLE"))
        self._apply_coalescing(self.registers.get("RX_COALESCE"))
        self._apply_resync(self.registers.get("TLS_RESYNC"))
        self._apply_link()

    def _apply_link(self) -> None:
        self.transmitter.link_up = self._link_up

    def _read_status(self, _index: int) -> int:
        return (
            registers.STATUS_READY_MASK
            | self._link_up << registers.STATUS_LINK_UP_SHIFT
            | self._reset_count << registers.STATUS_RESET_COUNT_SHIFT
        )

    def _read_last_diagnostic(self, _index: int) -> int:
        last = self.diagnostics.last
        return (
            last.code
            | last.queue << registers.DIAG_LAST_QUEUE_SHIFT
            | last.kind << registers.DIAG_LAST_KIND_SHIFT
        )

    def _write_control(self, _index: int, _old: int, new: int, written: int) -> int:
        if written & registers.CONTROL_RESET_MASK:
            self.reset(ResetKind.SOFT)
            return self.registers.get("CONTROL")
        self._apply_control(new)
        return new

    def _apply_control(self, value: int) -> None:
        self.receiver.enabled = bool(value & registers.CONTROL_RX_ENABLE_MASK)
        if not self.receiver.enabled:
            self.receiver.flush()  # what was taken before goes to the host now, not later
        self.transmitter.enabled = bool(value & registers.CONTROL_TX_ENABLE_MASK)
        if self.transmitter.enabled:
            self._wake_transmit()

    def _write_max_frame(self, _index: int, old: int, new: int, _written: int) -> int:
        if not MIN_MAX_FRAME <= new <= _MAX_FRAME:
            self.diagnostics.report(Diagnostic.VALUE_RANGE, registers.MAX_FRAME)
            return old
        self._apply_max_frame(new)
        return new

    def _apply_max_frame(self, length: int) -> None:
        self.transmitter.max_frame = length
        self.receiver.max_frame = length

    def _write_offloads(self, _index: int, old: int, new: int, _written: int) -> int:
        offered = self.registers.get("CAP_OFFLOADS")
        if new & ~(offered & _SWITCHED_OFFLOADS):
            self.diagnostics.report(Diagnostic.VALUE_RANGE, registers.OFFLOAD_ENABLE)
            return old
        if new & _NEED_CHECKSUM and not new & Offload.RX_CHECKSUM:
            self.diagnostics.report(Diagnostic.OFFLOAD_DEPENDENCY, new)
        self._apply_offloads(new)
        return new

    def _apply_offloads(self, offloads: int) -> None:
        self.receiver.set_offloads(offloads)

    def _write_coalescing(self, _index: int, old: int, new: int, _written: int) -> int:
        fields = registers.BAR0.by_name["RX_COALESCE"].decode(new)
        if not fields["MAX_SEGMENTS"] or not 0 < fields["MAX_KIB"] <= 64:
            self.diagnostics.report(Diagnostic.VALUE_RANGE, registers.RX_COALESCE)
            return old
        self._apply_coalescing(new)
        return new

    def _apply_coalescing(self, value: int) -> None:
        fields = registers.BAR0.by_name["RX_COALESCE"].decode(value)
        self.receiver.set_coalescing(
            max_bytes=fields["MAX_KIB"] * 1024,
            max_segments=fields["MAX_SEGMENTS"],
            timeout_us=fields["TIMEOUT_US"],
        )

    def _write_resync(self, _index: int, _old: int, new: int, _written: int) -> int:
        self._apply_resync(new)
        return new

    def _apply_resync(self, timeout_us: int) -> None:
        self.receiver.tls.timeout_ns = timeout_us * 1000
