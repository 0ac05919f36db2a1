"""What goes beside a packet's data: presync block, prefix and suffix (reference, TLS chapter)."""

from __future__ import annotations

from tlsnic.abi.enums import PresyncFlags
from tlsnic.abi.structures import TlsPresync
from tlsnic.abi.suites import BLOCK_BYTES
from tlsnic.driver.tls.records import Entry, RecordMap
from tlsnic.driver.tls.session import TlsSession

_SEQUENCE_MASK = 0xFFFF_FFFF
_UPDATE_STATE = int(PresyncFlags.UPDATE_STATE)
_PREFIX = int(PresyncFlags.PREFIX)


def presync_parts(
    sequence: int, length: int, entry: Entry, moves: bool, *, is_cbc: bool
) -> tuple[bytes, bytes]:
    """For a packet of `length` bytes that starts in `entry`: the presync block, and the record's
    bytes before the packet, or none when the card does not need them.

    moves: the card's in-order state moves to the end of the packet.
    """
    start, record, _ = entry
    offset = sequence - start & _SEQUENCE_MASK
    end, total = offset + length, record.size
    needs_prefix = offset >= record.prefix_bytes and (
        is_cbc or end > record.prefix_bytes + record.content_bytes or (moves and end < total)
    )
    data = record.data
    prefix = data[:offset] if needs_prefix else b""
    flags = (_UPDATE_STATE if moves else 0) | (_PREFIX if prefix else 0)
    head = data[: record.prefix_bytes]
    return TlsPresync.STRUCT.pack(start, flags, len(prefix), record.number, head), prefix


def cbc_suffix(records: RecordMap, session: TlsSession, end_sequence: int) -> bytes:
    """CBC: the rest of the cipher block that a packet's end cuts."""
    entry = records.get(end_sequence)
    if not isinstance(entry, Entry):
        return b""  # the packet ends with the newest record
    data, prefix_bytes = entry.record.data, entry.record.prefix_bytes
    end = end_sequence - entry.start_sequence & _SEQUENCE_MASK
    cipher_end = len(data)
    if session.encrypt_then_mac:
        cipher_end -= session.layout.tag_bytes
    if not prefix_bytes < end < cipher_end:
        return b""
    return data[end : end + (prefix_bytes - end) % BLOCK_BYTES]
