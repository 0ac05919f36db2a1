"""Where a replay is to stop: the text of `--until`."""

import difflib
from collections.abc import Callable, Iterator
from typing import Final

from tlsnic.abi.enums import (
    DeviceInput,
    Diagnostic,
    DmaPurpose,
    EventType,
    QueueKind,
    TlsEvent,
)
from tlsnic.abi.structures import Event, TraceDmaWrite, TraceInput, TraceTlsEvent
from tlsnic.device.trace.record import Recorded
from tlsnic.device.trace.replay import Happened

GRAMMAR: Final = (
    "NAME of an event, a diagnostic, an input (RESET, LINK, MARK …) or what happens to a flow "
    "(ASKED, HALTED …); a time since the beginning (1.5s, 20ms, 300us); or #N, the number of a packet "
    "in the file"
)
_UNITS: Final = {"us": 10**3, "ms": 10**6, "s": 10**9}
_SAME: Final = {TlsEvent.ASKED: "RESYNC_REQUEST", TlsEvent.HALTED: "FLOW_ERROR"}
"""Events that the driver is told of if it wants to know; they happen all the same."""
NAMES: Final = tuple(
    member.name
    for group in (EventType, Diagnostic, DeviceInput, TlsEvent)
    for member in group
    if member.name != "NONE"
)

Until = Callable[[Happened], bool]


def parse_until(text: str) -> Until:
    """The condition that `text` describes, as GRAMMAR says.

    Raises:
        ValueError: it describes none.
    """
    if text.startswith("#") and text[1:].isdecimal():
        number = int(text[1:])
        return lambda happened: happened.number >= number
    name = text.upper()
    if name in NAMES:
        return lambda happened: name in _names(happened)
    unit = next((unit for unit in _UNITS if text.endswith(unit)), "")
    digits, factor = text.removesuffix(unit), _UNITS.get(unit, 10**9)
    try:
        moment_ns = round(float(digits) * factor)
    except ValueError:
        near = difflib.get_close_matches(name, NAMES, 3)
        hint = f"; perhaps {' or '.join(near)}" if near else ""
        raise ValueError(f"{text!r} is none of: {GRAMMAR}{hint}") from None
    return lambda happened: happened.now_ns >= moment_ns


def _names(happened: Happened) -> Iterator[str]:
    """All that happened, by its names."""
    for code in happened.diagnostics:
        yield code.name
    for one in happened.records:
        yield from _names_of(one)


def _names_of(one: Recorded) -> Iterator[str]:
    record = one.record
    if isinstance(record, TraceInput):
        yield DeviceInput(record.input).name
    elif isinstance(record, TraceTlsEvent):
        event = TlsEvent(record.event)
        yield event.name
        if event in _SAME:
            yield _SAME[event]
    elif isinstance(record, TraceDmaWrite):
        is_event = record.kind == QueueKind.EVENT and record.purpose == DmaPurpose.COMPLETION
        if is_event and len(one.data) == Event.SIZE:
            yield EventType(Event.unpack_from(one.data).type).name
