"""interrupts.list: vectors, who waits for them, and what holds them back."""

from typing import Final

from tlsnic.device.control.card import Card
from tlsnic.device.control.protocol import ControlError, Json, Method
from tlsnic.device.core.interrupts import VECTORS
from tlsnic.device.core.rings import Queue
from tlsnic.device.msix import MsixTable


def list_(card: Card) -> Json:
    """All vectors."""
    nic, host = card.nic, card.host
    without_msix = "none" if host.intx_disabled else "intx"
    return {
        "mode": "msix" if host.msix_enabled else without_msix,
        "cause": nic.registers.get("INT_CAUSE"),
        "enable": nic.registers.get("INT_ENABLE"),
        "intx_asserted": nic.interrupts.intx_line,
        "vectors": [_vector(card, vector) for vector in range(VECTORS)],
    }


def _vector(card: Card, vector: int) -> Json:
    nic = card.nic
    state = nic.interrupts.state_of(vector)
    used_by = [queue for queue in nic.queues if queue.completions.entries]
    table = _table(card)
    return {
        "vector": vector,
        "usecs": state.usecs,
        "frames": state.frames,
        "queues": [_name(queue) for queue in used_by if queue.vector == vector],
        "waiting": [_name(queue) for queue in used_by if queue.completions in state.waiting],
        "gathered": state.gathered,
        "deadline_ns": state.deadline_ns,
        "blocked": state.blocked,
        "masked": table is not None and table.is_masked(vector),
        "pending": table is not None and table.is_pending(vector),
        "raised": state.messages,
    }


def _name(queue: Queue) -> Json:
    return {"kind": queue.kind.name, "number": queue.number}


def _table(card: Card) -> MsixTable | None:
    try:
        return card.pci.msix
    except ControlError:
        return None


METHODS: Final = (
    Method(
        "interrupts.list",
        list_,
        "The vectors. `queues` use a vector, those in `waiting` have completions that it has not "
        "told of; `deadline_ns` is when moderation raises it at the latest. `blocked`: it was to be "
        "raised while Bus Master Enable was clear. `masked` and `pending` are those of the card's "
        "MSI-X table, which QEMU does not use. `raised` counts MSI-X messages since the last reset.",
        "{mode: msix | intx | none, cause, enable, intx_asserted, vectors: [{vector, usecs, frames, "
        "queues: [{kind, number}], waiting: [{kind, number}], gathered, deadline_ns, blocked, "
        "masked, pending, raised}]}",
    ),
)
