"""What all queues share: rings in DMA memory, configuration registers, doorbells, waiting.

Ring rules (reference, chapter Queues): indices run from 0 to size-1; a descriptor ring holds at
most size-1 entries, because equal head and tail mean empty; the last 64-bit word of a completion
is written last, and its highest bit, PHASE, is 1 on the first lap and toggles with each.

Stores to descriptors come before the doorbell: x86 keeps stores in order, and the vfio-user
socket is a system call. Loads of a completion come after the load of its last word likewise.
"""

from __future__ import annotations

from typing import NamedTuple, Self

from tlsnic.abi import registers as reg
from tlsnic.abi.enums import QueueKind, QueueState
from tlsnic.driver.access import Access, Deadline
from tlsnic.driver.bus.dma import DmaBuffer
from tlsnic.driver.errors import DeadlineError, DeviceResetError, QueueError
from tlsnic.driver.waiting import Waiter

RING_BASE = 0
COMPLETION_BASE = reg.TX_QUEUE_COMPLETION_BASE - reg.TX_QUEUE_RING_BASE
RING_SIZE = reg.TX_QUEUE_RING_SIZE - reg.TX_QUEUE_RING_BASE
COMPLETION_SIZE = reg.TX_QUEUE_COMPLETION_SIZE - reg.TX_QUEUE_RING_BASE
CONTROL = reg.TX_QUEUE_CONTROL - reg.TX_QUEUE_RING_BASE
VECTOR = reg.TX_QUEUE_VECTOR - reg.TX_QUEUE_RING_BASE
STATUS = reg.TX_QUEUE_STATUS - reg.TX_QUEUE_RING_BASE
HEAD = reg.TX_QUEUE_HEAD - reg.TX_QUEUE_RING_BASE
TAIL = reg.TX_QUEUE_TAIL - reg.TX_QUEUE_RING_BASE
COMPLETION_PRODUCER = reg.TX_QUEUE_COMPLETION_PRODUCER - reg.TX_QUEUE_RING_BASE
ERROR_ADDRESS = reg.TX_QUEUE_ERROR_ADDRESS - reg.TX_QUEUE_RING_BASE
COMPLETION_CONSUMER = reg.TX_QUEUE_COMPLETION_CONSUMER - reg.TX_QUEUE_RING_BASE
"""Offsets of a queue's registers from its RING_BASE register."""

ARM = reg.TX_DOORBELL_COMPLETION_ARM_MASK

_ZEROS = bytes(65536)
_DISABLE_TIMEOUT_S = 5.0

# Kind: first register, stride, first tail doorbell, stride.
_PLACES = {
    QueueKind.TRANSMIT: (
        reg.TX_QUEUE_RING_BASE,
        reg.TX_QUEUE_STRIDE,
        reg.TX_DOORBELL_TAIL,
        reg.TX_DOORBELL_STRIDE,
    ),
    QueueKind.RECEIVE: (
        reg.RX_QUEUE_RING_BASE,
        reg.RX_QUEUE_STRIDE,
        reg.RX_DOORBELL_TAIL,
        reg.RX_DOORBELL_STRIDE,
    ),
    QueueKind.ADMIN: (reg.ADMIN_QUEUE_RING_BASE, 0, reg.ADMIN_DOORBELL_TAIL, 0),
    QueueKind.EVENT: (reg.EVENT_QUEUE_RING_BASE, 0, reg.EVENT_DOORBELL_TAIL, 0),
}


class QueueStatus(NamedTuple):
    """A queue's status registers, read one after the other."""

    state: int
    """QueueState."""
    error_code: int
    """Diagnostic."""
    error_address: int
    head: int
    tail: int
    completion_producer: int
    completion_consumer: int


class CompletionRing:
    """The driver's end of a completion ring: where it looks next, and whether an entry is there.

    `consumer` is the index of the next entry, `phase` whether PHASE is set in a valid one.
    """

    __slots__ = (
        "_last",
        "_stride",
        "consumer",
        "entries",
        "memory",
        "phase",
        "unreturned",
        "words",
    )

    def __init__(self, memory: DmaBuffer, entries: int, entry_bytes: int) -> None:
        self.memory = memory
        self.entries = entries
        # Signed words: PHASE is the sign bit. Indexing loads all 8 bytes at once.
        self.words = memory.view.cast("q")
        self._stride = entry_bytes // 8
        self._last = self._stride - 1
        self.reset()

    def reset(self) -> None:
        """Back to the state before enabling: memory cleared, first lap."""
        view = self.memory.view
        for start in range(0, len(view), len(_ZEROS)):
            end = min(start + len(_ZEROS), len(view))
            view[start:end] = _ZEROS[: end - start]
        self.consumer = 0
        self.phase = True
        self.unreturned = 0

    def ready(self) -> bool:
        """Whether the next entry is valid."""
        return (self.words[self.consumer * self._stride + self._last] < 0) is self.phase

    def advance(self) -> None:
        """Go on to the next entry."""
        self.unreturned += 1
        self.consumer += 1
        if self.consumer == self.entries:
            self.consumer = 0
            self.phase = not self.phase


class Queue:
    """One queue of the card; the subclasses know its descriptors and completions.

    Belongs to one thread. Attributes: `kind`, `number`, `vector`, `entries` (descriptors),
    `ring` and `completions.memory` (DMA buffers), `enabled` (as far as the driver knows).
    """

    DESCRIPTOR_BYTES = 0
    COMPLETION_BYTES = 0

    def __init__(
        self,
        access: Access,
        waiter: Waiter,
        *,
        kind: QueueKind,
        number: int,
        vector: int,
        entries: int,
        completion_entries: int,
    ) -> None:
        """Allocates the rings; `enable()` starts the queue. Sizes are powers of two."""
        first, stride, doorbell, doorbell_stride = _PLACES[kind]
        self.kind = kind
        self.number = number
        self.vector = vector
        self.entries = entries
        self.registers = first + number * stride
        self.tail_doorbell = doorbell + number * doorbell_stride
        self.completion_doorbell = self.tail_doorbell + 4
        self.enabled = False
        self._access = access
        self._waiter = waiter
        self._mask = entries - 1
        self._ring_doorbell = access.doorbells.write32
        # Entries that may stay unreturned without ever making the device wait: those beyond one
        # per descriptor.
        self._return_at = max(1, (completion_entries - entries) // 2)
        self.ring: DmaBuffer | None = None
        completion_memory = access.dma_alloc(completion_entries * self.COMPLETION_BYTES)
        self.completions = CompletionRing(
            completion_memory, completion_entries, self.COMPLETION_BYTES
        )
        if self.DESCRIPTOR_BYTES:
            try:
                self.ring = access.dma_alloc(entries * self.DESCRIPTOR_BYTES)
            except BaseException:
                self.completions.words.release()
                completion_memory.free()
                raise

    # Life

    def configure(
        self,
        *,
        ring_base: int | None = None,
        ring_size: int | None = None,
        completion_base: int | None = None,
        completion_size: int | None = None,
        vector: int | None = None,
    ) -> None:
        """Write the configuration registers; an argument replaces the right value (for tests)."""
        access, base = self._access, self.registers
        if self.ring is not None:
            own_base = self.ring.iova if ring_base is None else ring_base
            access.write64(base + RING_BASE, own_base)
            access.write32(base + RING_SIZE, self.entries if ring_size is None else ring_size)
        own_base = self.completions.memory.iova if completion_base is None else completion_base
        access.write64(base + COMPLETION_BASE, own_base)
        size = self.completions.entries if completion_size is None else completion_size
        access.write32(base + COMPLETION_SIZE, size)
        access.write32(base + VECTOR, self.vector if vector is None else vector)

    def start(self) -> None:
        """Set ENABLE with the configuration as it is, everything at index zero.

        Raises QueueError when the device refuses the configuration.
        """
        self.completions.reset()
        self._reset_state()
        self._access.write32(self.registers + CONTROL, reg.TX_QUEUE_CONTROL_ENABLE_MASK)
        self.enabled = True
        self.check()
        self._started()

    def enable(self) -> Self:
        """Configure and start the queue. QueueError when the device refuses."""
        self.configure()
        self.start()
        return self

    def disable(self, timeout_s: float = _DISABLE_TIMEOUT_S) -> None:
        """Stop the queue, from RUNNING or ERROR; the device touches its memory no more afterwards.

        Raises DeadlineError when it does not say DISABLED in time, DeviceGoneError.
        """
        self.enabled = False
        self._access.write32(self.registers + CONTROL, 0)
        deadline = Deadline(timeout_s)
        while self.state != QueueState.DISABLED:
            if deadline.left_s <= 0:
                raise DeadlineError(f"{self!r} did not stop within {timeout_s:g} s")

    def restart(self) -> None:
        """Recover from ERROR: disable, forget what was posted, enable."""
        self.disable()
        self.enable()

    def forget(self) -> None:
        """The device was reset: the queue is not enabled any more."""
        self.enabled = False

    def close(self) -> None:
        """Give the memory back; the device must not use it any more. Twice is harmless."""
        self.enabled = False
        self.completions.words.release()
        self.completions.memory.free()
        if self.ring is not None:
            self.ring.free()

    def _reset_state(self) -> None:
        """All indices to zero; called before ENABLE."""

    def _started(self) -> None:
        """Called when the device said RUNNING."""

    # Status

    @property
    def state(self) -> int:
        """QueueState from STATUS."""
        return self._access.read32(self.registers + STATUS) & reg.TX_QUEUE_STATUS_STATE_MASK

    def status(self) -> QueueStatus:
        """All status registers."""
        read, base = self._access.read32, self.registers
        status = read(base + STATUS)
        return QueueStatus(
            status & reg.TX_QUEUE_STATUS_STATE_MASK,
            status >> reg.TX_QUEUE_STATUS_ERROR_CODE_SHIFT,
            self._access.read64(base + ERROR_ADDRESS),
            read(base + HEAD),
            read(base + TAIL),
            read(base + COMPLETION_PRODUCER),
            read(base + COMPLETION_CONSUMER),
        )

    def check(self) -> None:
        """Raise when nothing can be expected of the queue.

        QueueError when it is in ERROR, DeviceResetError when it is disabled though the driver
        enabled it, DeviceGoneError.
        """
        status = self._access.read32(self.registers + STATUS)
        state = status & reg.TX_QUEUE_STATUS_STATE_MASK
        if state == QueueState.ERROR:
            code = status >> reg.TX_QUEUE_STATUS_ERROR_CODE_SHIFT
            address = self._access.read64(self.registers + ERROR_ADDRESS)
            raise QueueError(self.kind, self.number, code, address)
        if self.enabled and state == QueueState.DISABLED:
            raise DeviceResetError(f"{self!r} is disabled: the device was reset")

    # Completions

    def ready(self) -> bool:
        """Whether a completion waits to be taken."""
        return self.completions.ready()

    def arm(self) -> None:
        """Return consumed completions, and ask for one interrupt."""
        ring = self.completions
        ring.unreturned = 0
        self._ring_doorbell(self.completion_doorbell, ring.consumer | ARM)

    def return_completions(self) -> None:
        """Return consumed completions to the device now."""
        ring = self.completions
        if ring.unreturned:
            ring.unreturned = 0
            self._ring_doorbell(self.completion_doorbell, ring.consumer)

    def wait(self, timeout_s: float) -> bool:
        """Wait for a completion: True when one is there, False at the deadline.

        Raises QueueError, DeviceResetError or DeviceGoneError when none can come.
        """
        return self._waiter.wait(self.ready, self.arm, self.check, (self.vector,), timeout_s)

    def fileno(self) -> int:
        """Descriptor that signals this queue's interrupts (see `Waiter`); -1 when polling."""
        return self._waiter.fileno(self.vector)

    def __repr__(self) -> str:
        return f"<{self.kind.name.lower()} queue {self.number}>"
