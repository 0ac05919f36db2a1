"""How fates, states and events look: the same colours in PNG and HTML.

The colours are those of Okabe and Ito, which people with any kind of colour blindness can tell
apart, in the order of how much attention they are to get: what went well is calm.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from tlsnic.abi.enums import TlsEvent, TlsTrackerState

from .model import Fate


class Colours(NamedTuple):
    """For a white and for a dark page."""

    light: str
    dark: str


FATES: Final[dict[Fate, Colours]] = {
    Fate.DECRYPTED: Colours("#0072b2", "#4aa8e0"),
    Fate.PARTLY: Colours("#e69f00", "#f0b429"),
    Fate.SOFTWARE: Colours("#d55e00", "#ff7f3f"),
    Fate.AUTH_FAILED: Colours("#000000", "#ffffff"),
    Fate.ENCRYPTED: Colours("#0072b2", "#4aa8e0"),
    Fate.PRESYNCED: Colours("#e69f00", "#f0b429"),
    Fate.BYPASSED: Colours("#999999", "#8f8f8f"),
    Fate.AGAIN: Colours("#009e73", "#2fd0a2"),
    Fate.DROPPED: Colours("#cc79a7", "#f29ac8"),
    Fate.UNFINISHED: Colours("#56b4e9", "#a8d8f5"),
    Fate.UNFRAMED: Colours("#777777", "#b0b0b0"),
    Fate.MISSING: Colours("#c8c8c8", "#5a5a5a"),
}
STATES: Final[dict[TlsTrackerState, Colours]] = {
    TlsTrackerState.NONE: Colours("#ffffff", "#000000"),
    TlsTrackerState.OFFLOAD: Colours("#cfe3f1", "#17435f"),
    TlsTrackerState.SEARCH: Colours("#d55e00", "#ff7f3f"),
    TlsTrackerState.TRACK: Colours("#f0d264", "#a8871f"),
    TlsTrackerState.HALTED: Colours("#000000", "#ffffff"),
}
EVENTS: Final[dict[TlsEvent, str]] = {
    TlsEvent.CREATED: "offload begins",
    TlsEvent.DESTROYED: "offload ends",
    TlsEvent.REKEYED: "new key",
    TlsEvent.ASKED: "question",
    TlsEvent.ANSWERED: "answer: a record",
    TlsEvent.DENIED: "answer: none",
    TlsEvent.STALE: "answer too late",
    TlsEvent.HINTED: "hint",
    TlsEvent.HALTED: "halt",
    TlsEvent.RATED: "rate limit",
    TlsEvent.RESET: "reset",
}
"""What events are called."""
