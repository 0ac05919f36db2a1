"""queues.*: rings as they stand, what each queue waits for, and the entries themselves."""

from typing import Final

from tlsnic.abi.enums import Diagnostic, QueueKind, QueueState
from tlsnic.abi.structures import (
    Command,
    Event,
    Response,
    RxCompletion,
    RxDescriptor,
    TxCompletion,
    TxDescriptor,
)
from tlsnic.device.control.card import Card
from tlsnic.device.control.protocol import (
    ControlError,
    ErrorName,
    Json,
    Kind,
    Method,
    Param,
    slice_params,
)
from tlsnic.device.core.rings import Queue
from tlsnic.device.tls.flow import TxFlow

MAX_ENTRIES: Final = 1024
NOTHING: Final = "nothing"
_PREFIXES: Final = {
    QueueKind.ADMIN: "ADMIN_QUEUE",
    QueueKind.EVENT: "EVENT_QUEUE",
    QueueKind.TRANSMIT: "TX_QUEUE",
    QueueKind.RECEIVE: "RX_QUEUE",
}
_RING_BYTES: Final = {
    QueueKind.ADMIN: Command.SIZE,
    QueueKind.TRANSMIT: TxDescriptor.SIZE,
    QueueKind.RECEIVE: RxDescriptor.SIZE,
}
_COMPLETION_BYTES: Final = {
    QueueKind.ADMIN: Response.SIZE,
    QueueKind.EVENT: Event.SIZE,
    QueueKind.TRANSMIT: TxCompletion.SIZE,
    QueueKind.RECEIVE: RxCompletion.SIZE,
}
_PHASE_BIT: Final = 0x80
_KINDS: Final = tuple(kind.name for kind in _PREFIXES)


def waits_for(card: Card, queue: Queue) -> str:
    """What has to happen before the queue goes on, in words."""
    if queue.state is QueueState.DISABLED:
        return "the driver: to enable the queue"
    if queue.state is QueueState.ERROR:
        return "the driver: to clear ENABLE, and to set it again"
    if not card.host.bus_master:
        return "the driver: to set Bus Master Enable"
    full = queue.completions.full
    if queue.kind is QueueKind.EVENT:
        return "the driver: to take events, new ones are lost" if full else NOTHING
    if queue.kind is QueueKind.RECEIVE:
        return _receive_waits_for(card, queue, full)
    if queue.ring.head == queue.ring.tail:
        return NOTHING
    if full:
        return "the driver: to take completions"
    if queue.kind is QueueKind.TRANSMIT:
        return _transmit_waits_for(card, queue)
    return "the device: its next turn"


def _receive_waits_for(card: Card, queue: Queue, full: bool) -> str:
    if full:
        return "the driver: to take completions, frames are dropped"
    if queue.ring.head == queue.ring.tail:
        return "the driver: to post buffers, frames are dropped"
    if not card.nic.receiver.enabled:
        return "the driver: to set RX_ENABLE"
    if not card.nic.link_up:
        return "the wire: its link is down"
    return "the wire: the next frame"


def _transmit_waits_for(card: Card, queue: Queue) -> str:
    transmitter = card.nic.transmitter
    if not transmitter.enabled:
        return "the driver: to set TX_ENABLE"
    if transmitter.blocked:
        return "the wire: it takes no frame now"
    if card.nic.has_work(queue):
        return "the device: its next turn"
    entry = _entry(card, queue, queue.ring.head)
    if entry is not None:
        flow = card.nic.flows.get(TxDescriptor.unpack_from(entry).send_tag)
        if isinstance(flow, TxFlow) and flow.pace is not None and flow.pace.full:
            return f"the rate limit of flow {flow.handle:#x}"
    return "the driver: to post the rest of a packet (END_OF_PACKET)"


def _base(card: Card, queue: Queue, name: str) -> int:
    # Of a queue that is enabled these registers do not change.
    return card.nic.registers.get(f"{_PREFIXES[queue.kind]}_{name}_BASE", queue.number)


def _entry(card: Card, queue: Queue, index: int) -> bytes | None:
    """A descriptor or command from the ring in host memory."""
    size = _RING_BYTES[queue.kind]
    return card.memory(_base(card, queue, "RING") + index * size, size)


def summary(card: Card, queue: Queue) -> dict[str, Json]:
    """One queue."""
    ring, completions = queue.ring, queue.completions
    failed = queue.error_code is not Diagnostic.NONE
    return {
        "kind": queue.kind.name,
        "number": queue.number,
        "state": queue.state.name,
        "error": queue.error_code.name if failed else None,
        "error_address": queue.error_address if failed else None,
        "vector": queue.vector,
        "entries": ring.entries,
        "head": ring.head,
        "tail": ring.tail,
        "pending": (ring.tail - ring.head) & ring.mask if ring.entries else 0,
        "completion_entries": completions.entries,
        "producer": completions.producer,
        "consumer": completions.consumer,
        "not_taken": (completions.producer - completions.consumer) & completions.mask
        if completions.entries
        else 0,
        "armed": completions.armed,
        "waits_for": waits_for(card, queue),
    }


def list_(card: Card) -> Json:
    """All queues."""
    return [summary(card, queue) for queue in card.nic.queues]


def show(card: Card, kind: str, number: int, first: int | None, count: int) -> Json:
    """One queue with entries of its rings."""
    queue = find(card, kind, number)
    return {
        **summary(card, queue),
        "descriptors": _descriptors(card, queue, first, count),
        "completions": _completions(card, queue, first, count),
    }


def find(card: Card, kind: str, number: int) -> Queue:
    """A queue by kind and number. ControlError: there is none."""
    for queue in card.nic.queues:
        if queue.kind.name == kind and queue.number == number:
            return queue
    raise ControlError(
        ErrorName.NOT_FOUND, f"there is no {kind.lower()} queue {number}", "see queues.list"
    )


def _descriptors(card: Card, queue: Queue, first: int | None, count: int) -> list[Json]:
    ring = queue.ring
    if not ring.entries:
        return []
    pending = (ring.tail - ring.head) & ring.mask
    start = ring.head if first is None else first
    shown = []
    for position in range(min(count, ring.entries)):
        index = (start + position) & ring.mask
        entry = _entry(card, queue, index)
        posted = (index - ring.head) & ring.mask < pending
        shown.append(
            {
                "index": index,
                "address": _base(card, queue, "RING") + index * _RING_BYTES[queue.kind],
                "bytes": None if entry is None else entry.hex(),
                "where": "posted" if posted else "done",
            }
        )
    return shown


def _completions(card: Card, queue: Queue, first: int | None, count: int) -> list[Json]:
    completions = queue.completions
    if not completions.entries:
        return []
    mask, size = completions.mask, _COMPLETION_BYTES[queue.kind]
    producer, consumer = completions.producer, completions.consumer
    start = producer - min(count, completions.entries) if first is None else first
    # The phase that the driver waits for: that of its own lap, and of the next before its index.
    phase = bool(completions.phase) is (consumer <= producer)
    shown = []
    for position in range(min(count, completions.entries)):
        index = (start + position) & mask
        address = _base(card, queue, "COMPLETION") + index * size
        entry = card.memory(address, size)
        expected = phase is (index >= consumer)
        shown.append(
            {
                "index": index,
                "address": address,
                "bytes": None if entry is None else entry.hex(),
                "valid": entry is not None and bool(entry[-1] & _PHASE_BIT) is expected,
                "where": "new"
                if (index - consumer) & mask < (producer - consumer) & mask
                else "taken",
            }
        )
    return shown


_SUMMARY: Final = (
    "{kind, number, state, error, error_address, vector, entries, head, tail, pending, "
    "completion_entries, producer, consumer, not_taken, armed, waits_for}"
)

METHODS: Final = (
    Method(
        "queues.list",
        list_,
        "All queues. `waits_for` says what has to happen before a queue goes on: `nothing`, or "
        "`the driver: …`, `the device: …`, `the wire: …`, `the rate limit of flow …`.",
        f"[{_SUMMARY}]",
    ),
    Method(
        "queues.show",
        show,
        "One queue with entries of its rings, as they are in host memory. Without `first`, the "
        "descriptors from the head on, and the last completions. `valid`: its phase bit is the one "
        "that the driver waits for there.",
        f"{_SUMMARY[:-1]}, descriptors: [{{index, address, bytes: hex or null, where: posted | "
        "done}], completions: [{index, address, bytes, valid, where: new | taken}]}",
        (
            Param("kind", Kind.STRING, "of queue", choices=_KINDS),
            Param("number", Kind.INTEGER, "of the queue among those of its kind", 0),
            Param("first", Kind.INTEGER, "index of the first entry", None, 0, 0xFFFF),
            slice_params("entry", 16, MAX_ENTRIES)[1],
        ),
    ),
)
