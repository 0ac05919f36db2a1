"""trace.* and capture.*: what passes the card's boundary, to a client or into a file."""

import os
from collections.abc import Callable, Collection
from typing import Final, Protocol

from tlsnic.abi.enums import TraceFlags, TraceType
from tlsnic.abi.layout import Structure
from tlsnic.abi.structures import TraceInput
from tlsnic.device.control.card import Card
from tlsnic.device.control.protocol import ControlError, ErrorName, Json, Kind, Method, Param
from tlsnic.device.core.host import Buffer
from tlsnic.device.trace.capture import DEFAULT_SNAP_BYTES, NAMES, CaptureFile
from tlsnic.device.trace.record import KEY_SUFFIX, RecordFile
from tlsnic.device.trace.sink import Sink
from tlsnic.device.wire import WireError

BATCH: Final = 64
"""Records in an event, at most."""
MAX_SNAP_BYTES: Final = 1 << 16
_TYPES: Final = tuple(kind.name for kind in TraceType)
_FLAGS: Final = TraceInput.OFFSET_FLAGS
"""The same in all trace structures."""


class Client(Protocol):
    """Whom the records go to."""

    def send_event(self, event: Json) -> bool:
        """Send it; False when the client is behind or gone, and it was left out."""

    def when_closed(self, callback: Callable[[], object]) -> None:
        """Call `callback` once when the client is gone."""


class ClientTrace:
    """A sink that sends records to a client, as events. Never key material."""

    takes_secrets = False

    def __init__(self, client: Client, types: Collection[int], snap_bytes: int) -> None:
        self._client = client
        self._types = types
        self._snap_bytes = snap_bytes
        self._records: list[Json] = []
        self._lost = 0

    def put(self, record: Structure, data: Buffer = b"") -> None:
        """See `Sink`."""
        if record[0] not in self._types:
            return
        if len(self._records) >= BATCH:
            self.flush()
        raw = bytearray(record.pack())
        if len(data) > self._snap_bytes:
            data = data[: self._snap_bytes]
            raw[_FLAGS] |= TraceFlags.TRUNCATED
        self._records.append({"bytes": raw.hex(), "data": bytes(data).hex()})

    def flush(self) -> None:
        """See `Sink`."""
        records, self._records = self._records, []
        if not records:
            return
        if self._client.send_event({"event": "trace", "records": records, "lost": self._lost}):
            self._lost = 0
        else:
            self._lost += len(records)

    def close(self) -> None:
        """See `Sink`."""


def start(card: Card, filter: Json, snap: int, client: Client) -> Json:  # noqa: A002 - its name
    """Send records to the client that asks."""
    types = _types(filter)
    tracer = card.tracer
    stop(card, client)
    sink = ClientTrace(client, types, snap)
    card.listeners[client] = sink
    client.when_closed(lambda: _forget(card, client))
    tracer.add(sink)
    return {}


def _types(filters: Json) -> Collection[int]:
    names = _TYPES
    if filters is not None:
        names = filters.get("types", _TYPES)
        known = isinstance(names, list) and all(name in _TYPES for name in names)
        if not known or set(filters) - {"types"}:
            raise ControlError(
                ErrorName.BAD_PARAMETER,
                'filter is {"types": [names]}',
                f"known are: {', '.join(_TYPES)}",
            )
    return frozenset(TraceType[name] for name in names)


def stop(card: Card, client: Client) -> Json:
    """Send no more."""
    return {"stopped": _forget(card, client)}


def _forget(card: Card, client: Client) -> bool:
    sink = card.listeners.pop(client, None)
    if sink is None:
        return False
    card.tracer.remove(sink)
    return True


def _captures(card: Card) -> list[CaptureFile]:
    """Those that run, and those that ended by themselves."""
    running = [sink for sink in card.tracer.sinks if isinstance(sink, CaptureFile)]
    return running + [capture for capture in card.captures if capture not in running]


def _described(card: Card, capture: CaptureFile) -> dict[str, Json]:
    return {
        "path": capture.path,
        "packets": capture.packets,
        "bytes": capture.size_bytes,
        "running": capture in card.tracer.sinks,
    }


def capture_start(card: Card, path: str, snap_bytes: int, interfaces: list[Json] | None) -> Json:
    """Begin a capture file."""
    tracer = card.tracer
    if not os.path.isabs(path) or "\0" in path:
        raise ControlError(
            ErrorName.BAD_PARAMETER, "path is absolute: the device has its own folder"
        )
    if interfaces is not None and not all(name in NAMES for name in interfaces):
        raise ControlError(
            ErrorName.BAD_PARAMETER, "interfaces has unknown ones", f"known are: {', '.join(NAMES)}"
        )
    for other in card.siblings:
        if any(_same(taken, path) for sink in other.tracer.sinks for taken in _paths(sink)):
            raise ControlError(
                ErrorName.CONFLICT, f"{path} is being written already", "stop it, or take another"
            )
    if os.path.lexists(path) and not os.path.isfile(path):
        raise ControlError(ErrorName.FAILED, f"{path} is no file", "choose another path")
    try:
        capture = CaptureFile(path, snap_bytes=snap_bytes, only=interfaces)
    except WireError as error:
        raise ControlError(ErrorName.FAILED, error.message, error.fix) from None
    capture.watch(card.number, card.nic.counters)
    card.captures.append(capture)
    tracer.add(capture)
    return {"path": path}


def _paths(sink: Sink) -> Collection[str]:
    """The files that a sink writes."""
    if isinstance(sink, RecordFile):
        return sink.path, sink.path + KEY_SUFFIX
    return (sink.path,) if isinstance(sink, CaptureFile) else ()


def _same(one: str, other: str) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def capture_stop(card: Card, path: str | None) -> Json:
    """End a capture file."""
    captures = [one for one in _captures(card) if path is None or _same(one.path, path)]
    if not captures:
        raise ControlError(ErrorName.NOT_FOUND, "no such capture is running", "see capture.list")
    if len(captures) > 1:
        raise ControlError(
            ErrorName.CONFLICT, f"{len(captures)} captures are running", "say which, by its path"
        )
    (capture,) = captures
    return end(card, capture)


def end(card: Card, capture: CaptureFile) -> Json:
    """Stop and close a capture of this card and of any other."""
    for other in card.siblings:
        other.tracer.remove(capture)
        if capture in other.captures:
            other.captures.remove(capture)
    try:
        capture.close()
    except WireError as error:
        raise ControlError(ErrorName.FAILED, error.message, error.fix) from None
    return {"path": capture.path, "packets": capture.packets, "bytes": capture.size_bytes}


def capture_list(card: Card) -> Json:
    """The captures."""
    return [_described(card, capture) for capture in _captures(card)]


_PATH: Final = "an absolute path; a file that is there is replaced"
METHODS: Final = (
    Method(
        "trace.start",
        start,
        "Send what passes the card's boundary to this client, as events "
        '`{"event": "trace", "records": [{bytes: hex of a trace structure, data: hex}], "lost": n}`, '
        "in place of a trace with another filter. A client that is behind loses records, and is told "
        "how many. Key blocks are left out.",
        "{}",
        (
            Param("filter", Kind.OBJECT, '{"types": [names of TraceType]}; null: all', None),
            Param(
                "snap", Kind.INTEGER, "bytes of data in a record, at most", DEFAULT_SNAP_BYTES, 0,
                MAX_SNAP_BYTES,
            ),
        ),
        subscribes=True,
    ),
    Method("trace.stop", stop, "Send no more.", "{stopped: whether there was one}", subscribes=True),
    Method(
        "capture.start",
        capture_start,
        "Write what passes into a pcapng file ([captures.md](captures.md)). The file is the device's, "
        "and only its owner may read it.",
        "{path}",
        (
            Param("path", Kind.STRING, _PATH),
            Param(
                "snap_bytes", Kind.INTEGER, "of packet data in host memory, what is kept",
                DEFAULT_SNAP_BYTES, 0, 1 << 30,
            ),
            Param("interfaces", Kind.LIST, f"of {', '.join(NAMES)}; null: all", None),
        ),
        changes=True,
    ),
    Method(
        "capture.stop",
        capture_stop,
        "End a capture; without a path, the only one.",
        "{path, packets, bytes}",
        (Param("path", Kind.STRING, "of the capture", None),),
        changes=True,
    ),
    Method(
        "capture.list",
        capture_list,
        "The captures, also those of `--capture`, and those that ended because the disk is full.",
        "[{path, packets, bytes, running}]",
    ),
)  # fmt: skip
