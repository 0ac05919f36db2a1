"""Puts packets of a TLS flow on a transmit queue: for the card to encrypt, or as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tlsnic.abi.enums import TxFlags
from tlsnic.driver.headers import ReadableBuffer
from tlsnic.driver.tx import DmaRange, TxQueue

# Plain numbers, as in tx.py.
TLS = int(TxFlags.TLS)
CHECKSUMS = int(TxFlags.IP_CHECKSUM | TxFlags.L4_CHECKSUM)
SEGMENT = int(TxFlags.SEGMENT)
VLAN_INSERT = int(TxFlags.VLAN_INSERT)
_PRESYNC = int(TxFlags.PRESYNC)
_PREFIX = int(TxFlags.PREFIX)
_SUFFIX = int(TxFlags.SUFFIX)

Part = ReadableBuffer | DmaRange
Payload = Part | Sequence[Part]


class Packet(NamedTuple):
    """The arguments of `SendTag.transmit`, and the payload's length."""

    queue: TxQueue
    headers: ReadableBuffer
    sequence: int
    payload: Payload
    length: int
    mss: int
    vlan: int | None
    report: bool | None


def payload_bytes(payload: Payload) -> int:
    """How many bytes a payload has."""
    if isinstance(payload, DmaRange):
        return payload.length
    if isinstance(payload, bytes | bytearray | memoryview):
        return len(payload)
    return sum([part.length if isinstance(part, DmaRange) else len(part) for part in payload])


def post_tls(
    queue: TxQueue,
    headers: ReadableBuffer,
    payload: Payload,
    mss: int,
    vlan: int | None,
    report: bool | None,
    handle: int,
    presync: tuple[bytes, bytes] | None = None,
    suffix: bytes = b"",
) -> int:
    """Post a packet that the card encrypts, in parts; its ticket.

    presync: the block and the prefix, for a packet that is not in order; suffix: see presync.py.
    Raises like `TxQueue.send_chain`.
    """
    parts: list[tuple[Part, int]] = [(headers, 0), *_data_parts(payload)]
    if presync is not None:
        block, prefix = presync
        parts[:0] = [(block, _PRESYNC), (prefix, _PREFIX)]
    if suffix:
        parts.append((suffix, _SUFFIX))
    return queue.send_chain(
        parts,
        flags=TLS | (SEGMENT if mss else CHECKSUMS) | (0 if vlan is None else VLAN_INSERT),
        vlan_tci=vlan or 0,
        send_tag=handle,
        mss=mss,
        header_length=len(headers),
        report=report,
    )


def post_plain(packet: Packet, payload: Payload, handle: int = 0) -> int:
    """Post `payload` behind the packet's headers as it is; the ticket. With `handle`, in the flow's
    turn. Raises like `TxQueue.send_chain`."""
    flags = SEGMENT if packet.mss and packet.length else CHECKSUMS
    if handle:
        flags |= TLS
    if packet.vlan is not None:
        flags |= VLAN_INSERT
    return packet.queue.send_chain(
        [(packet.headers, 0), *_data_parts(payload)],
        flags=flags,
        vlan_tci=packet.vlan or 0,
        send_tag=handle,
        mss=packet.mss if packet.length else 0,
        header_length=len(packet.headers) if flags & (SEGMENT | TLS) else 0,
        report=packet.report,
    )


def _data_parts(payload: Payload) -> list[tuple[Part, int]]:
    """As frame data of a chain."""
    if isinstance(payload, bytes | bytearray | memoryview | DmaRange):
        return [(payload, 0)]
    return [(part, 0) for part in payload]
