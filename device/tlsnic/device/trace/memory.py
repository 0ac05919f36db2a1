"""Host memory and interrupts while a trace is taken: what the core reads and writes, in order.

The core gets copies of what it reads, so that what it saw is what the trace has, and buffers of its
own for what it writes. These come to host memory in the order in which they were asked for: data
before the completion that tells of it, a completion before the interrupt.
"""

from bisect import bisect_right
from collections.abc import Callable
from typing import NamedTuple

from tlsnic.abi.enums import DmaPurpose, QueueKind, QueueState, TraceFlags, TraceType
from tlsnic.abi.layout import Structure
from tlsnic.abi.structures import TraceDmaRead, TraceDmaWrite, TraceInterrupt
from tlsnic.device.core import DmaFault, Nic
from tlsnic.device.core.host import Buffer
from tlsnic.device.core.rings import store_entry

Put = Callable[[Structure, Buffer], None]
"""Where records go, with their data."""


class Place(NamedTuple):
    """The queue that an access belongs to."""

    queue: int
    kind: QueueKind


class Rings:
    """Which queue a ring entry is of, by its address."""

    def __init__(self, nic: Nic) -> None:
        self._nic = nic
        self._starts: list[int] | None = None
        self._places: list[tuple[int, Place]] = []

    def forget(self) -> None:
        """Queues may have been started or stopped."""
        self._starts = None

    def find(self, address: int) -> Place | None:
        """The queue whose ring `address` is in."""
        if self._starts is None:
            self._starts = self._collect()
        index = bisect_right(self._starts, address) - 1
        if index < 0:
            return None
        end, place = self._places[index]
        return place if address < end else None

    def _collect(self) -> list[int]:
        found = sorted(
            (base, base + size, Place(queue.number, queue.kind))
            for queue in self._nic.queues
            if queue.state is QueueState.RUNNING
            for base, size in (queue.ring.extent, queue.completions.extent)
            if size
        )
        self._places = [(end, place) for _, end, place in found]
        return [base for base, _, _ in found]


class _Write(NamedTuple):
    """Bytes on their way to host memory."""

    address: int
    buffer: bytearray
    targets: list[memoryview]
    purpose: DmaPurpose
    place: Place


class TracedMemory:
    """A `TracedHost` for `HostGate`. `settle` ends each input of the core."""

    def __init__(self, nic: Nic, card: int, put: Put, put_secret: Put) -> None:
        self._gate = nic.host_gate
        self._card = card
        self._put = put
        self.put_secret = put_secret
        self._journal = nic.journal
        self.rings = Rings(nic)
        self._place = Place(0, QueueKind.DEVICE)
        """Of the ring entry that was read last: what follows is for its packet or command."""
        self._data: list[_Write] = []
        self._completion: _Write | None = None
        self._secret: list[bytearray] = []
        self._asserted = nic.interrupts.intx_line
        self.bus_master = self.msix_enabled = self.intx_disabled = False
        self.look_at_bits()

    def look_at_bits(self) -> bool:
        """Take over the configuration bits; they stay as they are during an input. True: changed."""
        before = self.bits
        host = self._gate.host
        self.bus_master = host.bus_master
        self.msix_enabled = host.msix_enabled
        self.intx_disabled = host.intx_disabled
        return self.bits != before

    @property
    def bits(self) -> int:
        """As in a PCI input: 1 bus master, 2 MSI-X enabled, 4 INTx disabled."""
        return self.bus_master | self.msix_enabled << 1 | self.intx_disabled << 2

    # What the core asks for

    def view(self, address: int, length: int, write: bool) -> memoryview:
        """Packet data: always in one piece."""
        return self._access(address, length, write, DmaPurpose.DATA)

    def views(self, address: int, length: int, write: bool) -> list[memoryview]:
        """The same."""
        return [self._access(address, length, write, DmaPurpose.DATA)]

    def block_views(self, address: int, length: int, write: bool) -> list[memoryview]:
        """A block, in one piece."""
        return [self._access(address, length, write, DmaPurpose.BLOCK)]

    def ring_view(self, address: int, length: int, write: bool) -> memoryview | None:
        """Faults as a ring does; else entry by entry, please."""
        self._send_completion()
        try:
            self.probe(address, length, write)
        except DmaFault as fault:
            place = self.rings.find(address) or self._place
            purpose = DmaPurpose.COMPLETION if write else DmaPurpose.DESCRIPTOR
            self._note_fault(fault, write, purpose, place)
            raise
        return None

    def entry_view(self, address: int, length: int, write: bool) -> memoryview | None:
        """A descriptor, command, completion, response or event."""
        place = self.rings.find(address) or self._place
        if not write:
            self._place = place
            return memoryview(self._read(address, length, DmaPurpose.DESCRIPTOR, place))
        self._send_all()
        completion = self._make_write(address, length, DmaPurpose.COMPLETION, place)
        self._completion = completion
        return memoryview(completion.buffer)

    def secret_views(self, address: int, length: int, write: bool) -> list[memoryview]:
        """A block with keys: the copy lives until the core asks for something else."""
        assert not write
        self._send_completion()
        copy = self._copy(address, length, DmaPurpose.BLOCK, self._place)
        self._secret.append(copy)
        record = TraceDmaRead(
            TraceType.DMA_READ, self._card, TraceFlags.SECRET, self._journal.now_ns,
            address, length, *self._place, DmaPurpose.BLOCK,
        )  # fmt: skip
        self.put_secret(record, copy)
        return [memoryview(copy)]

    def trigger(self, vector: int) -> None:
        """An MSI-X message, behind all that was written before."""
        self._send_all()
        self._put(
            TraceInterrupt(TraceType.INTERRUPT, self._card, 0, self._journal.now_ns, vector, 1, 1),
            b"",
        )
        self._gate.host.trigger(vector)

    def set_intx(self, asserted: bool) -> None:
        """The INTx line; only a change of it is told."""
        self._send_all()
        if asserted != self._asserted:
            self._asserted = asserted
            self._put(
                TraceInterrupt(
                    TraceType.INTERRUPT, self._card, 0, self._journal.now_ns, 0, 0, int(asserted)
                ),
                b"",
            )
        self._gate.host.set_intx(asserted)

    def settle(self) -> None:
        """Nothing is under way any more: the input is over, or a frame leaves."""
        self._send_all()
        self._wipe()

    # How it is got; a replay does this in another way

    def probe(self, address: int, length: int, write: bool) -> None:
        """DmaFault: not all of this can be used."""
        self._gate.host.view(address, length, write)

    def fetch(self, address: int, length: int, *, whole: bool) -> list[memoryview]:
        """Memory to read. DmaFault: it cannot be; with `whole` also if it is in two maps."""
        return self._find(address, length, False, whole)

    def targets(self, address: int, length: int, *, whole: bool) -> list[memoryview]:
        """Memory to write to, as `fetch`."""
        return self._find(address, length, True, whole)

    def _find(self, address: int, length: int, write: bool, whole: bool) -> list[memoryview]:
        view = self._gate.host.view(address, length, write)
        if view is not None:
            return [view]
        if whole:
            raise DmaFault(address, length)
        return self._gate.host.views(address, length, write)

    # Inside

    def _access(self, address: int, length: int, write: bool, purpose: DmaPurpose) -> memoryview:
        if write:
            return self._to_write(address, length, purpose, self._place)
        return memoryview(self._read(address, length, purpose, self._place))

    def _read(self, address: int, length: int, purpose: DmaPurpose, place: Place) -> bytearray:
        self._send_completion()
        copy = self._copy(address, length, purpose, place)
        self._put(
            TraceDmaRead(
                TraceType.DMA_READ, self._card, 0, self._journal.now_ns,
                address, length, *place, purpose,
            ),
            copy,
        )  # fmt: skip
        return copy

    def _copy(self, address: int, length: int, purpose: DmaPurpose, place: Place) -> bytearray:
        self._wipe()
        whole = purpose is DmaPurpose.DESCRIPTOR
        try:
            views = self.fetch(address, length, whole=whole)
        except DmaFault as fault:
            self._note_fault(fault, False, purpose, place)
            raise
        copy = bytearray(length)
        target = memoryview(copy)
        position = 0
        for view in views:
            target[position : position + len(view)] = view
            position += len(view)
        return copy

    def _to_write(self, address: int, length: int, purpose: DmaPurpose, place: Place) -> memoryview:
        self._send_completion()
        write = self._make_write(address, length, purpose, place)
        self._data.append(write)
        return memoryview(write.buffer)

    def _make_write(self, address: int, length: int, purpose: DmaPurpose, place: Place) -> _Write:
        whole = purpose is DmaPurpose.COMPLETION
        try:
            targets = self.targets(address, length, whole=whole)
        except DmaFault as fault:
            self._data.clear()  # of a packet that finds no room: nothing was filled in yet
            self._note_fault(fault, True, purpose, place)
            raise
        return _Write(address, bytearray(length), targets, purpose, place)

    def _send_completion(self) -> None:
        """A completion is filled in as soon as it is asked for."""
        completion = self._completion
        if completion is None:
            return
        self._completion = None
        self._tell(completion)
        (target,) = completion.targets
        store_entry(target, completion.buffer)

    def _send_all(self) -> None:
        self._send_completion()
        if not self._data:
            return
        for write in self._data:
            self._tell(write)
            position = 0
            for target in write.targets:
                target[:] = write.buffer[position : position + len(target)]
                position += len(target)
        self._data.clear()

    def _tell(self, write: _Write) -> None:
        self._put(
            TraceDmaWrite(
                TraceType.DMA_WRITE, self._card, 0, self._journal.now_ns,
                write.address, len(write.buffer), *write.place, write.purpose,
            ),
            write.buffer,
        )  # fmt: skip

    def _note_fault(self, fault: DmaFault, write: bool, purpose: DmaPurpose, place: Place) -> None:
        flags = TraceFlags.FAULT | (TraceFlags.READ_ONLY if fault.permission else 0)
        kind = TraceType.DMA_WRITE if write else TraceType.DMA_READ
        structure = TraceDmaWrite if write else TraceDmaRead
        self._put(
            structure(
                kind, self._card, flags, self._journal.now_ns,
                fault.address, fault.length, *place, purpose,
            ),
            b"",
        )  # fmt: skip

    def _wipe(self) -> None:
        for copy in self._secret:
            copy[:] = bytes(len(copy))
        self._secret.clear()
