"""A trace record as one line: what happened, by names."""

from typing import Any, Final

from tlsnic.abi import structures
from tlsnic.abi.enums import DmaPurpose, QueueKind, TlsDirection, TlsEvent, TraceFlags, TraceType
from tlsnic.abi.layout import Structure
from tlsnic.device.shell import decode
from tlsnic.device.shell.commands.queues import completion_class, descriptor_class

CLASSES: Final = {
    "register": (TraceType.REGISTER_READ, TraceType.REGISTER_WRITE),
    "dma": (TraceType.DMA_READ, TraceType.DMA_WRITE),
    "interrupt": (TraceType.INTERRUPT,),
    "tls": (TraceType.TLS_PACKET, TraceType.TLS_EVENT),
    "input": (TraceType.INPUT,),
    "frame": (TraceType.FRAME,),
}
"""Kinds of records as users name them."""
_BLOCKS: Final[dict[tuple[int, int], type[Structure]]] = {
    (TraceType.DMA_READ, structures.TlsPresync.SIZE): structures.TlsPresync,
    (TraceType.DMA_WRITE, structures.TlsFlowState.SIZE): structures.TlsFlowState,
}
"""Blocks, which differ in their length."""
_SHOWN_BYTES: Final = 24
_SKIPPED: Final = ("type", "type_name", "card", "flags", "flags_name", "now_ns")


def types_of(names: list[str]) -> list[TraceType]:
    """Types of records of the kinds in `CLASSES`."""
    return [number for name in names for number in CLASSES[name]]


def decoded(record: bytes, data: bytes) -> dict[str, Any]:
    """A trace record for programs: names, raw values, and what its data is.

    Data that is marked as secret is left out, if somebody should have sent it.
    """
    number = int.from_bytes(record[:2], "little")
    cls = structures.TRACES.get(number)
    if cls is None or len(record) < cls.SIZE:
        return {"type": number, "type_name": "unknown", "bytes": record.hex()}
    members = decode.structure_json(cls, record)
    if members["flags"] & TraceFlags.SECRET:
        data = b""
    members["text"] = describe(members, data)
    members["data"] = data.hex()
    entry = entry_class(members, data)
    if entry is not None:
        members["entry"] = {"structure": entry.NAME, **decode.structure_json(entry, data)}
    return members


def entry_class(members: dict[str, Any], data: bytes) -> type[Structure] | None:
    """Structure of the ring's entry or block that DMA moved, if it moved one."""
    kind = members.get("kind_name", "")
    purpose = members.get("purpose")
    cls: type[Structure] | None = None
    if purpose == DmaPurpose.DESCRIPTOR:
        cls = descriptor_class(kind, data)
    elif purpose == DmaPurpose.COMPLETION:
        cls = completion_class(kind, data)
    elif purpose == DmaPurpose.BLOCK:
        cls = _BLOCKS.get((members["type"], members["length"]))
    return cls if cls is not None and len(data) >= cls.SIZE else None


def describe(members: dict[str, Any], data: bytes) -> str:
    """What happened, in one line."""
    match members["type"]:
        case TraceType.REGISTER_READ:
            return f"read   {_register(members)}"
        case TraceType.REGISTER_WRITE:
            return f"write  {_register(members)}"
        case TraceType.DMA_READ | TraceType.DMA_WRITE:
            return _dma(members, data)
        case TraceType.INTERRUPT:
            if members["msix"]:
                return f"interrupt  MSI-X vector {members['vector']}"
            return f"interrupt  INTx {'asserted' if members['asserted'] else 'deasserted'}"
        case TraceType.TLS_PACKET:
            way = "rx" if members["direction"] == TlsDirection.RECEIVE else "tx"
            return (
                f"tls    flow {members['handle']:#x} {way} {members['outcome_name']} "
                f"{members['tcp_sequence']}+{members['length']}, {members['records']} end, "
                f"next {members['record_number']}, {members['tracker_state_name']}"
            ).removesuffix(", NONE")
        case TraceType.TLS_EVENT:
            return _tls_event(members)
        case TraceType.FRAME:
            way = "to the wire" if members["outbound"] else "from the wire"
            taken = "" if members["taken"] else ", not taken"
            return f"frame  {members['length']} bytes {way}{taken}"
        case TraceType.INPUT:
            text = f"input  {members['input_name']} {members['argument']} {members['value']:#x}"
            return f"{text} {data.decode(errors='replace')}".rstrip()
    return decode.structure_text(members, skip=_SKIPPED)


def _register(members: dict[str, Any]) -> str:
    bar, offset, value = members["bar"], members["offset"], members["value"]
    found = decode.BARS[bar].find(offset) if bar in decode.BARS else None
    if found is None:
        return f"bar {bar} {offset:#x} = {value:#x}"
    place = decode.Place(bar, *found)
    name = place.name
    shift = 8 * (offset - place.offset)
    if shift:
        name += f"+{offset - place.offset}"
    fields = []
    for field in place.register.fields:
        if shift or members["width"] < place.register.size_bytes:
            break
        part = field.extract(value)
        shown = decode.field_meaning(place, field, part)
        if not shown and len(place.register.fields) > 1:
            shown = str(part)
        if shown:
            fields.append(f"{field.name}={shown}")
    return f"{name} = {value:#x}" + (f"  ({', '.join(fields)})" if fields else "")


def _dma(members: dict[str, Any], data: bytes) -> str:
    way = "fetch " if members["type"] == TraceType.DMA_READ else "store "
    where = members["purpose_name"].lower()
    if members["kind"] != QueueKind.DEVICE:
        where += f" of {members['kind_name'].lower()} queue {members['queue']}"
    text = f"{way} {where} at {members['address']:#x}+{members['length']}"
    entry = entry_class(members, data)
    if entry is not None:
        shown = decode.structure_text(
            decode.structure_json(entry, data), skip=("opcode", "opcode_name", "type", "type_name")
        )
        return f"{text}  {entry.NAME}: {shown}"
    if members["flags"] & TraceFlags.SECRET:
        return f"{text}  (key material, left out)"
    if data:
        more = "…" if len(data) > _SHOWN_BYTES or members["length"] > len(data) else ""
        text += f"  {data[:_SHOWN_BYTES].hex()}{more}"
    return text


def _tls_event(members: dict[str, Any]) -> str:
    text = f"tls    flow {members['handle']:#x} {members['event_name']}"
    if members["old_state"] != members["new_state"]:
        text += f" {members['old_state_name']} → {members['new_state_name']}"
    text += f" TCP {members['tcp_sequence']} record {members['record_number']}"
    if members["question"]:
        text += f" question {members['question']}"
    if members["event"] == TlsEvent.CREATED and members["ip_version"]:
        local, remote = (
            decode.ip_address(bytes.fromhex(members[f"{side}_address"]), members["ip_version"])
            for side in ("local", "remote")
        )
        text += f" {local} port {members['local_port']}, {remote} port {members['remote_port']}"
    return text
