"""diagnostics.list: what the driver did wrong."""

from typing import Final

from tlsnic.device.control.card import Card
from tlsnic.device.control.protocol import Json, Kind, Method, Param
from tlsnic.device.core.diagnostics import RECENT


def list_(card: Card, count: int) -> Json:
    """Counts by name, and the last ones."""
    found = card.nic.diagnostics
    recent = list(found.recent)[-count:]
    return {
        "total": found.total,
        "counts": {code.name: number for code, number in found.counts.items()},
        "recent": [
            {
                "now_ns": entry.now_ns,
                "code": entry.code.name,
                "operand": entry.operand,
                "kind": entry.kind.name,
                "queue": entry.queue,
            }
            for entry in recent
        ],
    }


METHODS: Final = (
    Method(
        "diagnostics.list",
        list_,
        "Diagnostics since the last reset: how many of each, and the last ones, oldest first.",
        "{total, counts: {CODE: n}, recent: [{now_ns, code, operand, kind, queue}]}",
        (Param("count", Kind.INTEGER, f"how many of the last, {RECENT} at most", 32, 1, RECENT),),
    ),
)
