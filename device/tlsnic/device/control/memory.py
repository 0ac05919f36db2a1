"""pci.config and dma.maps: the card's place on the bus."""

from typing import Final

from tlsnic.device.control.card import Card
from tlsnic.device.control.protocol import Json, Method


def config(card: Card) -> Json:
    """The PCI configuration space."""
    return {"bytes": card.pci.config_bytes().hex()}


def maps(card: Card) -> Json:
    """What the host lets the card reach of its memory."""
    return [
        {
            "iova": region.iova,
            "size": region.size,
            "readable": region.readable,
            "writable": region.writable,
            "inaccessible": region.inaccessible,
        }
        for region in card.regions
    ]


METHODS: Final = (
    Method(
        "pci.config",
        config,
        "The configuration space as it is.",
        "{bytes: hex of 4096 bytes}",
    ),
    Method(
        "dma.maps",
        maps,
        "The DMA maps of the client, by ascending bus address. `inaccessible` says why the memory "
        "of a map cannot be reached, or is empty.",
        "[{iova, size, readable, writable, inaccessible}]",
    ),
)
