"""Descriptor rings, completion rings, and the state that every queue has.

Indices run from 0 to size - 1. A ring is empty when its two indices are equal, so it holds at most
size - 1 entries. Completion entries are valid when their phase bit, bit 63 of the last 64-bit word,
has the value of the current lap, which is 1 in the first one and toggles with each.
"""

from collections.abc import Callable, Sequence
from typing import Final

from tlsnic.abi import registers
from tlsnic.abi.enums import Diagnostic, QueueKind, QueueState
from tlsnic.device.core.gate import HostGate
from tlsnic.device.core.host import DmaFault
from tlsnic.device.core.interrupts import VECTORS
from tlsnic.device.core.parts import Parts
from tlsnic.device.core.regfile import RegisterFile

PHASE: Final = 1 << 63
ALIGNMENT_BYTES: Final = 64
ARM: Final = registers.TX_DOORBELL_COMPLETION_ARM_MASK
INDEX: Final = registers.TX_DOORBELL_COMPLETION_INDEX_MASK

_LIMITS = registers.BAR0.by_name["CAP_RINGS"].decode(registers.BAR0.by_name["CAP_RINGS"].reset)
MIN_ENTRIES: Final = 1 << _LIMITS["MIN_LOG2"]
MAX_ENTRIES: Final = 1 << _LIMITS["MAX_LOG2"]
MAX_CHAIN: Final = _LIMITS["MAX_CHAIN"]
MIN_RX_BUFFER_BYTES: Final = 64 * _LIMITS["MIN_RX_BUFFER"]


class QueueFault(Exception):
    """Something that stops a queue: the diagnostic, and the address, index or value it is about."""

    def __init__(self, code: Diagnostic, operand: int) -> None:
        super().__init__(f"{code.name} at {operand:#x}")
        self.code = code
        self.operand = operand


def queue_fault(fault: DmaFault) -> QueueFault:
    """The queue fault that a DMA fault amounts to."""
    code = Diagnostic.DMA_PERMISSION if fault.permission else Diagnostic.DMA_FAULT
    return QueueFault(code, fault.address)


def store_entry(target: memoryview, entry: bytearray) -> None:
    """Bring an entry that was filled elsewhere to host memory.

    Its last 64-bit word, which makes it valid, is written last and by one store.
    """
    last = len(entry) - 8
    target[:last] = entry[:last]
    target[last:].cast("Q")[0] = int.from_bytes(entry[last:], "little")


class DescriptorRing:
    """The driver's ring of descriptors or commands, read by the card."""

    __slots__ = ("_base", "_entry_bytes", "_host", "_view", "entries", "head", "mask", "tail")

    def __init__(self, host: HostGate, entry_bytes: int) -> None:
        self._host = host
        self._entry_bytes = entry_bytes
        self.open(0, 0)

    def open(self, base: int, entries: int) -> None:
        """Start at `base` with both indices at zero."""
        self._base = base
        self._view: memoryview | None = None
        self.entries = entries
        self.mask = entries - 1
        self.head = 0
        self.tail = 0

    def forget(self) -> None:
        """Drop the cached view: the map under it is about to go."""
        self._view = None

    @property
    def extent(self) -> tuple[int, int]:
        """Address and bytes of the whole ring."""
        return self._base, self.entries * self._entry_bytes

    def locate(self, index: int) -> tuple[memoryview, int]:
        """A view and a byte offset in it where entry `index` lies.

        Raises:
            QueueFault: not mapped.
        """
        if self._view is not None:
            return self._view, index * self._entry_bytes
        try:
            whole = self._host.ring_view(self._base, self.entries * self._entry_bytes, False)
            if whole is not None:
                self._view = whole
                return whole, index * self._entry_bytes
            # It lies in several maps, or is traced. An entry may not: entries divide a page.
            address = self._base + index * self._entry_bytes
            view = self._host.entry_view(address, self._entry_bytes, False)
        except DmaFault as fault:
            raise queue_fault(fault) from None
        if view is None:
            raise QueueFault(Diagnostic.DMA_FAULT, address)
        return view, 0


class CompletionRing:
    """The card's ring of completions, responses or events, read by the driver."""

    __slots__ = (
        "_base", "_host", "_words", "_words_per_entry", "armed", "consumer", "entries", "mask",
        "phase", "producer",
    )  # fmt: skip

    def __init__(self, host: HostGate, entry_bytes: int) -> None:
        self._host = host
        self._words_per_entry = entry_bytes // 8
        self.open(0, 0)

    def open(self, base: int, entries: int) -> None:
        """Start at `base`, empty, in the first lap."""
        self._base = base
        self._words: memoryview | None = None
        self.entries = entries
        self.mask = entries - 1
        self.producer = 0
        self.consumer = 0
        self.phase = PHASE
        self.armed = False

    def forget(self) -> None:
        """Drop the cached view: the map under it is about to go."""
        self._words = None

    @property
    def extent(self) -> tuple[int, int]:
        """Address and bytes of the whole ring."""
        return self._base, self.entries * self._words_per_entry * 8

    @property
    def room(self) -> int:
        """Entries that can be written until the driver returns some."""
        return (self.consumer - self.producer - 1) & self.mask

    @property
    def full(self) -> bool:
        """No entry can be written until the driver returns some."""
        return (self.producer + 1) & self.mask == self.consumer

    def push(self, *words: int) -> None:
        """Write an entry from its 64-bit words; the last one without the phase bit.

        The last word is stored by itself and after the others: storing it makes the entry valid.

        Raises:
            QueueFault: not mapped, or read-only.
        """
        target = self._words
        if target is None:
            target, position = self._locate()
        else:
            position = self.producer * self._words_per_entry
        if len(words) == 4:
            target[position], target[position + 1], target[position + 2], last = words
            position += 3
        else:
            *others, last = words
            for word in others:
                target[position] = word
                position += 1
        target[position] = last | self.phase
        producer = (self.producer + 1) & self.mask
        self.producer = producer
        if not producer:
            self.phase ^= PHASE

    def _locate(self) -> tuple[memoryview, int]:
        entry_bytes = 8 * self._words_per_entry
        try:
            whole = self._host.ring_view(self._base, self.entries * entry_bytes, True)
            if whole is not None:
                self._words = whole.cast("Q")
                return self._words, self.producer * self._words_per_entry
            address = self._base + self.producer * entry_bytes
            view = self._host.entry_view(address, entry_bytes, True)
        except DmaFault as fault:
            raise queue_fault(fault) from None
        if view is None:
            raise QueueFault(Diagnostic.DMA_FAULT, address)
        return view.cast("Q"), 0


class Queue:
    """State, configuration registers and doorbells of one queue.

    Subclasses do the work: `service` is called while the queue has some.
    """

    def __init__(
        self,
        kind: QueueKind,
        number: int,
        prefix: str,
        parts: Parts,
        *,
        entry_bytes: int,
        completion_bytes: int,
    ) -> None:
        self.kind = kind
        self.number = number
        self._prefix = prefix
        self._host = parts.host
        self._regs = parts.regs
        self._interrupts = parts.interrupts
        self._diagnostics = parts.diagnostics
        self._counters = parts.counters
        self.ring = DescriptorRing(parts.host, entry_bytes)
        self.completions = CompletionRing(parts.host, completion_bytes)
        self.state = QueueState.DISABLED
        self.starts = 0
        """How often it was started: what was for its rings of before is not for those of now."""
        self.error_code = Diagnostic.NONE
        self.error_address = 0
        self.vector = 0
        self._told_full = False
        self.listener: Callable[[Queue, QueueFault], None] | None = None

    has_ring = True
    """False for the event queue, which has only a completion ring."""

    def on_fault(self) -> None:
        """Let go of what the queue holds elsewhere: it has just gone to ERROR."""

    def service(self, budget: int) -> bool:
        """Do up to `budget` packets or commands; True when more can be done at once."""
        return False

    def report(self, code: Diagnostic, operand: int = 0) -> None:
        """A diagnostic about this queue."""
        self._diagnostics.report(code, operand, self.kind, self.number)

    def enable(self) -> None:
        """Check the configuration and start; a bad one leads to ERROR."""
        get = self._regs.get
        self._told_full = False
        try:
            if self.has_ring:
                ring = self._checked(
                    get(f"{self._prefix}_RING_BASE", self.number),
                    get(f"{self._prefix}_RING_SIZE", self.number),
                )
            completion = self._checked(
                get(f"{self._prefix}_COMPLETION_BASE", self.number),
                get(f"{self._prefix}_COMPLETION_SIZE", self.number),
            )
            vector = get(f"{self._prefix}_VECTOR", self.number)
            if vector >= VECTORS:
                raise QueueFault(Diagnostic.VECTOR_INVALID, vector)
        except QueueFault as fault:
            self.fault(fault)
            return
        if self.has_ring:
            self.ring.open(*ring)
        self.completions.open(*completion)
        self.vector = vector
        self.error_code, self.error_address = Diagnostic.NONE, 0
        self.state = QueueState.RUNNING
        self.starts += 1

    @staticmethod
    def _checked(base: int, entries: int) -> tuple[int, int]:
        if not base:
            raise QueueFault(Diagnostic.RING_BASE_ZERO, 0)
        if base % ALIGNMENT_BYTES:
            raise QueueFault(Diagnostic.RING_ALIGNMENT, base)
        if entries & (entries - 1) or not MIN_ENTRIES <= entries <= MAX_ENTRIES:
            raise QueueFault(Diagnostic.RING_SIZE, entries)
        return base, entries

    def disable(self) -> None:
        """Stop, forget the rings and leave ERROR."""
        self._interrupts.withdraw(self.vector, self.completions)
        self.state = QueueState.DISABLED
        self.error_code, self.error_address = Diagnostic.NONE, 0
        self.ring.open(0, 0)
        self.completions.open(0, 0)

    def forget_views(self) -> None:
        """Drop views of guest memory: a map is about to go."""
        self.ring.forget()
        self.completions.forget()

    def fault(self, fault: QueueFault) -> None:
        """Go to ERROR, and say why."""
        self.state = QueueState.ERROR
        self.error_code, self.error_address = fault.code, fault.operand
        self.forget_views()
        self.report(fault.code, fault.operand)
        self.on_fault()
        if self.listener is not None:
            self.listener(self, fault)

    def complete(self, *words: int) -> bool:
        """Write a completion and ask for the interrupt; False when that stopped the queue."""
        completions = self.completions
        try:
            completions.push(*words)
        except QueueFault as fault:
            self.fault(fault)
            return False
        if completions.armed:
            self._interrupts.request(self.vector, completions)
        return True

    def room(self) -> bool:
        """Whether a completion can be written; tells the driver once when it cannot."""
        if not self.completions.full:
            return True
        if not self._told_full:
            self._told_full = True
            self.report(Diagnostic.COMPLETION_RING_FULL, self.completions.producer)
        return False

    def ring_tail(self, value: int) -> bool:
        """Tail doorbell; True when there may be work."""
        if self.state is not QueueState.RUNNING:
            self.report(Diagnostic.DOORBELL_DISABLED, value)
            return False
        index = value & INDEX
        if index != value:
            self.report(Diagnostic.REG_RESERVED_BITS, value)
        if index >= self.ring.entries:
            self.fault(QueueFault(Diagnostic.DOORBELL_RANGE, index))
            return False
        self.ring.tail = index
        return True

    def ring_completion(self, value: int) -> bool:
        """Completion doorbell; True when there may be work that waited for room."""
        completions = self.completions
        if self.state is not QueueState.RUNNING:
            if self.state is QueueState.DISABLED:
                self.report(Diagnostic.DOORBELL_DISABLED, value)
                return False
            # In ERROR the driver still takes, or sleeps until it can, what was completed before.
            if not completions.entries:
                return False
        index = value & INDEX
        mask = completions.mask
        pending = (completions.producer - completions.consumer) & mask
        if index > mask or (index - completions.consumer) & mask > pending:
            self.report(Diagnostic.COMPLETION_INDEX, index)
            return False
        completions.consumer = index
        self._told_full = False
        if value & ARM:
            pending = (completions.producer - index) & mask
            self._interrupts.arm(self.vector, completions, pending)
        return True


def bind_registers(prefix: str, queues: Sequence[Queue], regs: RegisterFile) -> None:
    """Connect the configuration and status registers of `queues` with them."""

    def busy(index: int, old: int, new: int, _written: int) -> int:
        if queues[index].state is QueueState.DISABLED:
            return new
        queues[index].report(Diagnostic.QUEUE_BUSY, new)
        return old

    for name in ("RING_BASE", "COMPLETION_BASE", "RING_SIZE", "COMPLETION_SIZE", "VECTOR"):
        regs.on_write(f"{prefix}_{name}", busy)

    def control(index: int, old: int, new: int, _written: int) -> int:
        if new & 1 and not old & 1:
            queues[index].enable()
        elif old & 1 and not new & 1:
            queues[index].disable()
        elif new & 1 and queues[index].state is QueueState.ERROR:
            queues[index].report(Diagnostic.QUEUE_BUSY, new)  # ENABLE has to be cleared first
        return new

    regs.on_write(f"{prefix}_CONTROL", control)
    shift = registers.TX_QUEUE_STATUS_ERROR_CODE_SHIFT
    regs.on_read(
        f"{prefix}_STATUS", lambda index: queues[index].state | queues[index].error_code << shift
    )
    regs.on_read(f"{prefix}_HEAD", lambda index: queues[index].ring.head)
    regs.on_read(f"{prefix}_TAIL", lambda index: queues[index].ring.tail)
    regs.on_read(f"{prefix}_COMPLETION_PRODUCER", lambda index: queues[index].completions.producer)
    regs.on_read(f"{prefix}_COMPLETION_CONSUMER", lambda index: queues[index].completions.consumer)
    regs.on_read(f"{prefix}_ERROR_ADDRESS", lambda index: queues[index].error_address)
