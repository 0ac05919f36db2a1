"""Reads captures and records back as a stream of trace records."""

from collections.abc import Iterator
from typing import NamedTuple

from tlsnic.abi.layout import Structure
from tlsnic.abi.structures import TRACES, Trace, TraceFrame
from tlsnic.device.wire import (
    LINKTYPE_ETHERNET,
    LINKTYPE_USER0,
    CapturedFrame,
    Direction,
    PcapngReader,
    WireError,
)


class TraceRecord(NamedTuple):
    """One record.

    `timestamp_ns` counts from 1970; `data` is what the file has of the bytes that belong to the
    record: of a DMA those of host memory, of a frame the frame, of a mark its text.
    """

    timestamp_ns: int
    record: Structure
    data: bytes


def read_trace(path: str) -> Iterator[TraceRecord]:
    """All records of a capture or record file, in its order.

    A frame is a TraceFrame with the frame's bytes as data. A file that only has frames (of a wire)
    gives those. In a capture, where frames stand alone, the TraceFrame is made up: `now_ns` is that
    of the records around, counted from the first frame where there are none.

    Raises:
        WireError: the file cannot be read, is damaged, or has something else in it; what is before
            that place is given.
    """
    try:
        stream = open(path, "rb")  # noqa: SIM115
    except OSError as error:
        raise WireError(f"cannot read capture {path}: {error.strerror}") from error
    with stream:
        yield from _records(PcapngReader(stream, path), path)


def _records(reader: PcapngReader, path: str) -> Iterator[TraceRecord]:
    epoch_ns: int | None = None
    card = 0
    announced: tuple[int, Structure] | None = None
    for number, packet in enumerate(reader, 1):
        timestamp_ns = packet.timestamp_ns
        if timestamp_ns is None:
            raise _unreadable(path, number, "has no time")
        if packet.link_type == LINKTYPE_ETHERNET:
            if announced is not None:
                yield TraceRecord(announced[0], announced[1], packet.data)
                announced = None
                continue
            if epoch_ns is None:
                epoch_ns = timestamp_ns
            now_ns = max(timestamp_ns - epoch_ns, 0)
            yield TraceRecord(timestamp_ns, _frame(packet, now_ns, card), packet.data)
            continue
        if packet.link_type != LINKTYPE_USER0:
            raise _unreadable(path, number, f"has link type {packet.link_type}")
        if announced is not None:
            raise _unreadable(path, number, "is not the frame that the one before announces")
        head, record = _unpack(packet.data, path, number)
        card = head.card
        epoch_ns = timestamp_ns - head.now_ns
        if isinstance(record, TraceFrame):
            announced = timestamp_ns, record
        else:
            yield TraceRecord(timestamp_ns, record, packet.data[record.SIZE :])
    if announced is not None:
        raise WireError(f"capture {path} ends before the frame that its last packet announces")


def _frame(packet: CapturedFrame, now_ns: int, card: int) -> TraceFrame:
    return TraceFrame(
        card=card,
        now_ns=now_ns,
        length=packet.original_bytes,
        outbound=int(packet.direction is Direction.OUTBOUND),
        taken=1,
    )


def _unpack(data: bytes, path: str, number: int) -> tuple[Trace, Structure]:
    """The part that all records have, and the whole."""
    if len(data) < Trace.SIZE:
        raise _unreadable(path, number, "is too short for a trace record")
    head = Trace.unpack_from(data)
    kind = TRACES.get(head.type)
    if kind is None:
        raise _unreadable(path, number, f"is no trace record: type {head.type}")
    if len(data) < kind.SIZE:
        raise _unreadable(path, number, f"is too short for {kind.NAME}")
    return head, kind.unpack_from(data)


def _unreadable(path: str, number: int, what: str) -> WireError:
    return WireError(
        f"capture {path}: packet {number} {what}",
        "read a file of tlsnic device --capture or --record, of this version",
    )
