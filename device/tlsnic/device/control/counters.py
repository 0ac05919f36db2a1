"""counters.read: the counters of the card and of its wire."""

import dataclasses
from typing import Final

from tlsnic.device.control.card import Card
from tlsnic.device.control.protocol import Json, Method


def read(card: Card) -> Json:
    """All counters at one moment."""
    wire = dataclasses.asdict(card.wire.counters) if card.wire_name else {}
    return {
        "now_ns": card.clock_ns(),
        "counters": {name.upper(): value for name, value in card.nic.counters.as_dict().items()},
        "wire": wire,
    }


METHODS: Final = (
    Method(
        "counters.read",
        read,
        "The counters, by the names of their registers, and those of the wire. Reading changes "
        "none.",
        "{now_ns, counters: {NAME: n}, wire: {tx_frames, tx_bytes, rx_frames, rx_bytes, "
        "tx_dropped_link_down, tx_dropped_refused}}",
    ),
)
