"""A bench for the core: guest memory as bytearrays, a memory wire, and the least a driver must do."""

from dataclasses import dataclass, field
from struct import Struct

from tlsnic.abi import registers as r
from tlsnic.abi.enums import Diagnostic, QueueState, TxFlags
from tlsnic.abi.structures import (
    Event,
    Response,
    RxCompletion,
    RxDescriptor,
    TxCompletion,
    TxDescriptor,
)
from tlsnic.device.core import DmaFault, Nic, NicConfig
from tlsnic.device.wire import MemoryWire

PHASE = 0x8000
U64 = Struct("<Q")


class FakeHost:
    """Guest memory in maps of any address and length, configuration bits, and what was signalled."""

    def __init__(self) -> None:
        self.maps: dict[int, tuple[bytearray, bool]] = {}
        self.bus_master = True
        self.msix_enabled = True
        self.intx_disabled = False
        self.triggered: list[int] = []
        self.intx = False
        self.intx_edges = 0

    def add_map(self, iova: int, size: int, *, writable: bool = True) -> bytearray:
        memory = bytearray(size)
        self.maps[iova] = memory, writable
        return memory

    def _find(self, address: int, write: bool) -> tuple[int, bytearray]:
        for iova, (memory, writable) in self.maps.items():
            if iova <= address < iova + len(memory):
                if write and not writable:
                    raise DmaFault(address, 0, permission=True)
                return iova, memory
        raise DmaFault(address, 0)

    def view(self, address: int, length: int, write: bool) -> memoryview | None:
        views = self.views(address, length, write)
        return views[0] if len(views) == 1 else None

    def views(self, address: int, length: int, write: bool) -> list[memoryview]:
        views = []
        while length > 0:
            iova, memory = self._find(address, write)
            start = address - iova
            piece = memoryview(memory)[start : start + length]
            views.append(piece)
            address += len(piece)
            length -= len(piece)
        return views

    def read(self, address: int, length: int) -> bytes:
        return b"".join(self.views(address, length, False))

    def write(self, address: int, data: bytes) -> None:
        position = 0
        for view in self.views(address, len(data), True):
            view[:] = data[position : position + len(view)]
            position += len(view)

    def trigger(self, vector: int) -> None:
        self.triggered.append(vector)

    def set_intx(self, asserted: bool) -> None:
        if asserted and not self.intx:
            self.intx_edges += 1
        self.intx = asserted


@dataclass
class QueueUser:
    """The driver's half of one queue."""

    rig: "Rig"
    prefix: str
    number: int
    ring: int
    completion: int
    entries: int
    doorbell: int
    completion_type: type
    tail: int = 0
    consumer: int = 0
    phase: int = 1
    done: list = field(default_factory=list)

    def register(self, name: str) -> int:
        """BAR 0 offset of one of the queue's registers."""
        stride = r.TX_QUEUE_STRIDE
        return getattr(r, f"{self.prefix}_{name}") + self.number * stride

    def enable(self, vector: int = 0) -> None:
        write = self.rig.write
        write(self.register("RING_BASE"), self.ring, 8)
        write(self.register("COMPLETION_BASE"), self.completion, 8)
        write(self.register("RING_SIZE"), self.entries)
        write(self.register("COMPLETION_SIZE"), self.entries)
        write(self.register("VECTOR"), vector)
        size = self.entries * self.completion_type.SIZE
        self.rig.host.write(self.completion, bytes(size))
        self.tail = self.consumer = 0
        self.phase = 1
        write(self.register("CONTROL"), 1)

    def disable(self) -> None:
        self.rig.write(self.register("CONTROL"), 0)

    @property
    def state(self) -> QueueState:
        return QueueState(self.rig.read(self.register("STATUS")) & 0xFF)

    @property
    def error(self) -> Diagnostic:
        return Diagnostic(self.rig.read(self.register("STATUS")) >> 16)

    def post(self, entry: bytes) -> None:
        self.rig.host.write(self.ring + self.tail * len(entry), entry)
        self.tail = (self.tail + 1) % self.entries

    def ring_doorbell(self) -> None:
        self.rig.doorbell(self.doorbell, self.tail)

    def reap(self) -> list:
        """New completions; returns their entries to the card."""
        found = []
        while (data := self._next_entry()) is not None:
            found.append(self.completion_type.unpack_from(data))
            self.consumer = (self.consumer + 1) % self.entries
            if not self.consumer:
                self.phase ^= 1
        if found:
            self.return_entries()
        return found

    @property
    def completion_is_there(self) -> bool:
        """Whether `reap` would find something."""
        return self._next_entry() is not None

    def _next_entry(self) -> bytes | None:
        size = self.completion_type.SIZE
        data = self.rig.host.read(self.completion + self.consumer * size, size)
        return data if data[-1] >> 7 == self.phase else None

    def return_entries(self, *, arm: bool = False) -> None:
        self.rig.doorbell(self.doorbell + 4, self.consumer | arm << 31)


class Rig:
    """A card with 1 MiB of RAM at 0, another 1 MiB behind 4 GiB, and a memory wire."""

    RAM = 1 << 20
    HIGH = 1 << 32

    def __init__(self, *, super_frames: bool = False) -> None:
        self.host = FakeHost()
        self.host.add_map(0, self.RAM)
        self.host.add_map(self.HIGH, self.RAM)
        self.wire = MemoryWire(takes_super_frames=super_frames)
        self.nic = Nic(NicConfig(), self.host, self.wire)
        self.nic.set_link(True)
        self.now_ns = 1_000_000
        self._next = 0x1000
        self.run()

    # Registers

    def read(self, offset: int, width: int = 4, bar: int = 0) -> int:
        return self.nic.read(bar, offset, width)

    def write(self, offset: int, value: int, width: int = 4, bar: int = 0) -> None:
        self.nic.write(bar, offset, width, int(value))  # as the bus would: no flags

    def doorbell(self, offset: int, value: int) -> None:
        self.nic.write(2, offset, 4, value)

    def counter(self, name: str) -> int:
        return self.read(getattr(r, name), 8)

    @property
    def diagnostics(self) -> list[Diagnostic]:
        return [entry.code for entry in self.nic.diagnostics.recent]

    # Time and work

    def run(self, after_ns: int = 0) -> None:
        """Let time pass, then work until there is nothing left to do."""
        self.now_ns += after_ns
        for _ in range(10_000):
            if not self.nic.poll(self.now_ns):
                return
        raise AssertionError("the card never comes to rest")

    def receive(self, frame: bytes, vnet=None) -> None:
        self.nic.receive([(bytes(frame), vnet)], self.now_ns)

    # Memory and queues

    def allocate(self, size: int) -> int:
        address = self._next
        self._next += (size + 63) & ~63
        assert self._next <= self.RAM
        return address

    def _queue(self, prefix, number, entry_bytes, completion_type, doorbell, entries) -> QueueUser:
        ring = self.allocate(entries * entry_bytes)
        completion = self.allocate(entries * completion_type.SIZE)
        return QueueUser(self, prefix, number, ring, completion, entries, doorbell, completion_type)

    def tx(self, number: int = 0, entries: int = 16) -> QueueUser:
        doorbell = r.TX_DOORBELL_TAIL + number * r.TX_DOORBELL_STRIDE
        return self._queue("TX_QUEUE", number, TxDescriptor.SIZE, TxCompletion, doorbell, entries)

    def rx(self, number: int = 0, entries: int = 16) -> QueueUser:
        doorbell = r.RX_DOORBELL_TAIL + number * r.RX_DOORBELL_STRIDE
        return self._queue("RX_QUEUE", number, RxDescriptor.SIZE, RxCompletion, doorbell, entries)

    def admin(self, entries: int = 8) -> QueueUser:
        return self._queue("ADMIN_QUEUE", 0, 32, Response, r.ADMIN_DOORBELL_TAIL, entries)

    def events(self, entries: int = 16) -> QueueUser:
        return self._queue("EVENT_QUEUE", 0, 8, Event, r.EVENT_DOORBELL_TAIL, entries)

    def start(self) -> None:
        """Switch both directions on."""
        self.write(r.CONTROL, r.CONTROL_RX_ENABLE_MASK | r.CONTROL_TX_ENABLE_MASK)

    def place(self, data: bytes) -> int:
        """Put `data` somewhere in RAM; returns the address."""
        address = self.allocate(len(data))
        self.host.write(address, data)
        return address

    def send(self, queue: QueueUser, frame: bytes, flags: int = 0, **fields: int) -> None:
        """Post `frame` as one descriptor, without the doorbell."""
        flags |= TxFlags.END_OF_PACKET | TxFlags.REPORT
        queue.post(TxDescriptor(self.place(frame), len(frame), flags, **fields).pack())

    def give_buffers(self, queue: QueueUser, count: int, size: int = 2048) -> list[int]:
        """Post `count` receive buffers and ring the doorbell; returns their addresses."""
        addresses = [self.allocate(size) for _ in range(count)]
        for address in addresses:
            queue.post(RxDescriptor(address, size).pack())
        queue.ring_doorbell()
        return addresses

    @property
    def sent(self) -> list[bytes]:
        return [frame.data for frame in self.wire.sent]
