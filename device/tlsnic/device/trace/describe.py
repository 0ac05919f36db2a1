"""Trace records in words, for a person who looks at a difference. Keys are not shown."""

from typing import Final

from tlsnic.abi import registers
from tlsnic.abi.enums import (
    DeviceInput,
    DmaPurpose,
    QueueKind,
    TlsEvent,
    TlsOutcome,
    TraceFlags,
)
from tlsnic.abi.layout import RegisterMap, Structure
from tlsnic.abi.structures import (
    TraceDmaRead,
    TraceDmaWrite,
    TraceFrame,
    TraceInput,
    TraceInterrupt,
    TraceRegisterRead,
    TraceRegisterWrite,
    TraceTlsEvent,
    TraceTlsPacket,
)

_BARS: Final[dict[int, RegisterMap]] = {0: registers.BAR0, 2: registers.BAR2}
_SHOWN_BYTES: Final = 16


def describe(record: Structure) -> str:
    """One line."""
    if isinstance(record, TraceRegisterRead):
        return f"read of {_register(record.bar, record.offset)}: {record.value:#x}"
    if isinstance(record, TraceRegisterWrite):
        return f"write of {record.value:#x} to {_register(record.bar, record.offset)}"
    if isinstance(record, TraceDmaRead | TraceDmaWrite):
        return _memory(record)
    if isinstance(record, TraceInterrupt):
        if record.msix:
            return f"MSI-X vector {record.vector}"
        return f"INTx {'asserted' if record.asserted else 'released'}"
    if isinstance(record, TraceFrame):
        way = "sent" if record.outbound else "received"
        refused = "" if record.taken else ", not taken by the wire"
        return f"frame of {record.length} bytes {way}{refused}"
    if isinstance(record, TraceTlsPacket):
        return (
            f"flow {record.handle:#x}: packet of {record.length} bytes at {record.tcp_sequence} "
            f"{TlsOutcome(record.outcome).name}, record {record.record_number}"
        )
    if isinstance(record, TraceTlsEvent):
        return (
            f"flow {record.handle:#x}: {TlsEvent(record.event).name} at {record.tcp_sequence}, "
            f"record {record.record_number}"
        )
    if isinstance(record, TraceInput):
        numbers = f" {record.argument:#x}" if record.argument else ""
        return f"{DeviceInput(record.input).name}{numbers}"
    return repr(record)


def is_secret(record: Structure) -> bool:
    """Whether the bytes that belong to it are not for anybody's eyes."""
    return isinstance(record, TraceDmaRead) and bool(record.flags & TraceFlags.SECRET)


def show_bytes(data: bytes, at: int = 0) -> str:
    """Some bytes from `at` on."""
    piece = data[at : at + _SHOWN_BYTES]
    return f"{piece.hex(' ')}{' …' if len(data) > at + _SHOWN_BYTES else ''}"


def _memory(record: TraceDmaRead | TraceDmaWrite) -> str:
    what = DmaPurpose(record.purpose).name.lower()
    kind = QueueKind(record.kind)
    queue = f" of {kind.name.lower()} queue {record.queue}" if kind else ""
    verb = "read" if isinstance(record, TraceDmaRead) else "write"
    fault = " that is not mapped" if record.flags & TraceFlags.FAULT else ""
    secret = ", keys" if is_secret(record) else ""
    return (
        f"DMA {verb} of {record.length} bytes at {record.address:#x} ({what}{queue}{secret}){fault}"
    )


def _register(bar: int, offset: int) -> str:
    found = _BARS[bar].find(offset) if bar in _BARS else None
    if found is None:
        return f"BAR {bar} offset {offset:#x}"
    register, index = found
    name = register.name if register.array_count == 1 else f"{register.name}[{index}]"
    inside = offset - register.address(index)
    return f"{name}+{inside}" if inside else name
