"""Encrypts the TCP payload of one packet: which records it touches, then the work on each.

Theory of operation. The packet is first walked record by record without changing anything: each header
is copied out of guest memory once, checked, and gives a *piece* (the part of a record that lies in the
packet). What cannot be encrypted is refused there, so a refused packet leaves the flow as it was. Then
the pieces are worked off, into a buffer of the caller's; nothing in that half can fail.

A packet that is next in order continues from the flow's cursor. Any other brings a presync block,
from which a cursor of its own is made; it becomes the flow's when the block says so.
"""

from struct import Struct
from typing import Final, NamedTuple

from tlsnic.abi.enums import Diagnostic, PresyncFlags
from tlsnic.abi.structures import TlsPresync
from tlsnic.abi.suites import HEADER_BYTES
from tlsnic.device.packet.headers import Buffer
from tlsnic.device.tls.flow import MAX_RECORD_NUMBER, Cursor, Epoch, TxFlow
from tlsnic.device.tls.record import BadRecord, Record, RecordStream

PRESYNC_BYTES: Final = TlsPresync.SIZE
_UPDATE_STATE: Final = int(PresyncFlags.UPDATE_STATE)
_PREFIX: Final = int(PresyncFlags.PREFIX)
_BEFORE_START: Final = int(PresyncFlags.BEFORE_START)
_UNKNOWN_FLAGS: Final = 0xFFFF & ~(_UPDATE_STATE | _PREFIX | _BEFORE_START)
_PRESYNC: Final = Struct("<IHHQ24sQ")  # with the reserved word, which is checked
_SEQUENCE_MASK: Final = 0xFFFF_FFFF
_MIN_RECORD_BYTES: Final = 5
_NEVER: Final = 1 << 80
"""A position that no stream reaches."""

_new = tuple.__new__


class Refused(Exception):
    """A packet that the flow cannot encrypt: the diagnostic, and what it is about."""

    def __init__(self, code: Diagnostic, operand: int) -> None:
        super().__init__(code.name)
        self.code = code
        self.operand = operand


class Straddles(Refused):
    """A packet that lies on both sides of the start of offload."""


class Presync(NamedTuple):
    """A presync block, decoded (structure tls_presync)."""

    sequence: int
    flags: int
    prefix_length: int
    number: int
    record_header: bytes
    reserved: int

    @classmethod
    def unpack(cls, block: Buffer) -> "Presync":
        """From the first PRESYNC_BYTES of `block`."""
        return cls._make(_PRESYNC.unpack_from(block))

    @property
    def is_before_start(self) -> bool:
        """The packet precedes the start of offload, says the driver."""
        return bool(self.flags & _BEFORE_START)


class Piece(NamedTuple):
    """Bytes `begin` to `end` of the packet, which are from byte `offset` of their record on."""

    begin: int
    end: int
    offset: int
    record: Record | None
    """None when the header is still incomplete at the end of the packet."""
    epoch: Epoch
    run: int
    """Whole records, all with the header of this one; 0 for a part of one."""


def encrypt_in_order(
    flow: TxFlow, sequence: int, payload: memoryview, out: memoryview, suffix: Buffer
) -> None:
    """Encrypt `payload` into `out`, both of the same length; `suffix`: record bytes that follow.

    Raises:
        Refused: nothing was written, and the flow is as before.
    """
    cursor = flow.cursor
    if sequence != flow.start_sequence + cursor.position & _SEQUENCE_MASK:
        position = flow.position_of(sequence)
        straddles = position < 0 < position + len(payload)
        raise (Straddles if straddles else Refused)(Diagnostic.TLS_SEQUENCE, sequence)
    stream = cursor.stream
    pieces, following = _plan(flow, cursor, stream.record if stream else None, payload)
    suffix = _checked_suffix(flow, pieces[-1], suffix)
    stream = _work(flow, pieces, payload, out, stream, suffix, following.head)
    flow.cursor = following._replace(stream=stream) if stream else following


def encrypt_presynced(
    flow: TxFlow,
    sequence: int,
    payload: memoryview,
    out: memoryview,
    presync: Presync,
    prefix: Buffer,
    suffix: Buffer,
) -> None:
    """The same for a packet with a presync block; `prefix`: the record's bytes before the packet.

    Raises:
        Refused: nothing was written, and the flow is as before.
    """
    cursor, record = _start_elsewhere(flow, sequence, presync, prefix, payload)
    pieces, following = _plan(flow, cursor, record, payload)
    suffix = _checked_suffix(flow, pieces[-1], suffix)
    stream = None
    if record is not None and _needs_stream(flow, pieces[0], presync):
        if not prefix:
            raise Refused(Diagnostic.TLS_PRESYNC, sequence)
        stream = _replay(flow, pieces[0], prefix, payload, suffix)
    stream = _work(flow, pieces, payload, out, stream, suffix, following.head)
    if presync.flags & _UPDATE_STATE:
        flow.cursor = following._replace(stream=stream) if stream else following


def check_before_start(flow: TxFlow, sequence: int, length: int, presync: Presync) -> None:
    """Whether all of the packet lies before the flow's first record, so that it may go as it is.

    Raises:
        Refused: it does not, or the block says other things too.
    """
    position = flow.position_of(sequence)
    if position < 0 < position + length:
        raise Straddles(Diagnostic.TLS_PRESYNC, sequence)
    if position >= 0 or presync != Presync(0, _BEFORE_START, 0, 0, bytes(24), 0):
        raise Refused(Diagnostic.TLS_PRESYNC, sequence)


def _start_elsewhere(
    flow: TxFlow, sequence: int, presync: Presync, prefix: Buffer, payload: memoryview
) -> tuple[Cursor, Record | None]:
    """The cursor that a presync block describes; the record when the packet starts in its body."""
    refused = Refused(Diagnostic.TLS_PRESYNC, sequence)
    start_sequence, flags, prefix_length, number, record_header, reserved = presync
    if reserved or flags & _UNKNOWN_FLAGS:
        raise refused
    offset = sequence - start_sequence & _SEQUENCE_MASK
    if prefix_length != len(prefix) or bool(flags & _PREFIX) != bool(prefix_length):
        raise refused
    if prefix_length and prefix_length != offset:
        raise refused
    start = flow.position_of(start_sequence)
    epoch = flow.epoch_at(start)
    if epoch is None or not _is_plausible(flow, epoch, start, number):
        raise refused
    record_format = flow.format
    if offset < record_format.prefix_bytes:
        # Else a wrong sequence number would let content leave as what it takes for a nonce.
        rest = record_header[offset : record_format.prefix_bytes]
        if payload[: len(rest)] != rest[: len(payload)]:
            raise refused
        return Cursor(start + offset, start, number, record_header[:offset], None), None
    try:
        record = record_format.parse(number, record_header)
    except BadRecord:
        raise _bad_record(flow, start) from None
    if offset >= record.total_bytes or not epoch.cipher.can_start(number):
        raise refused
    return Cursor(start + offset, start, number, b"", None), record


def _is_plausible(flow: TxFlow, epoch: Epoch, start: int, number: int) -> bool:
    """Whether a record at `start` can have that number, as far as the flow knows.

    The driver keeps the numbers; but a wrong one would encrypt two records with one nonce.
    """
    ahead = start - epoch.start
    since = number - epoch.first_number
    if since < 0 or (since == 0) != (ahead == 0) or since * _MIN_RECORD_BYTES > ahead:
        return False
    cursor = flow.cursor
    if flow.epoch_at(cursor.start) is not epoch:
        return True
    return (start > cursor.start) - (start < cursor.start) == (number > cursor.number) - (
        number < cursor.number
    )


def _check_header(flow: TxFlow, start: int, head: bytes) -> None:
    """Refuses what cannot be a header before it leaves as one: its nonce is still to come."""
    try:
        flow.format.header_total(head)
    except BadRecord:
        raise _bad_record(flow, start) from None


def _bad_record(flow: TxFlow, start: int) -> Refused:
    return Refused(Diagnostic.TLS_RECORD, flow.start_sequence + start & _SEQUENCE_MASK)


def _plan(
    flow: TxFlow, cursor: Cursor, record: Record | None, payload: memoryview
) -> tuple[list[Piece], Cursor]:
    """The pieces of `payload`, and the cursor behind it, still without its stream.

    `record` is the one that the cursor is inside of, when its header and nonce have passed.
    """
    position, start, number, head, _ = cursor
    parse, prefix_bytes = flow.format.parse, flow.format.prefix_bytes
    length = len(payload)
    epoch = flow.epoch_at(start)
    assert epoch is not None
    newest = flow.epochs[-1]
    key_ends = newest.start if newest is not epoch else _NEVER
    # Where the key changes soon, and in CBC, whose headers are not final, records go one by one.
    can_run = newest is epoch and epoch.cipher.block_bytes == 1
    pieces: list[Piece] = []
    at = 0
    offset = position - start
    while at < length:
        if record is None:
            missing = prefix_bytes - offset
            if length - at < missing:
                head += bytes(payload[at:])
                if len(head) >= HEADER_BYTES:
                    _check_header(flow, start, head)
                pieces.append(Piece(at, length, offset, None, epoch, 0))
                return pieces, Cursor(position + length, start, number, head, None)
            try:
                if offset:
                    record = parse(number, head + bytes(payload[at : at + missing]))
                else:
                    record = parse(number, payload, at)
            except BadRecord:
                raise _bad_record(flow, start) from None
            if not pieces and not epoch.cipher.can_start(number):
                raise Refused(Diagnostic.TLS_PRESYNC, flow.start_sequence + start & _SEQUENCE_MASK)
        total = record.total_bytes
        if start + total > key_ends:
            raise _bad_record(flow, start)
        end = at + total - offset
        if end > length:
            pieces.append(_new(Piece, (at, length, offset, record, epoch, 0)))
            break
        if offset:
            run = 0
        else:
            run = 1
            if can_run:
                header = record.prefix[:HEADER_BYTES]
                while end + total <= length and payload[end : end + HEADER_BYTES] == header:
                    run += 1
                    end += total
        pieces.append(_new(Piece, (at, end, offset, record, epoch, run)))
        start += total * (run or 1)
        number += run or 1
        if start == key_ends:
            epoch, number, key_ends = newest, newest.first_number, _NEVER
        offset, head, record, at = 0, b"", None, end
    if number > MAX_RECORD_NUMBER + (record is None):
        raise _bad_record(flow, start)
    return pieces, Cursor(position + length, start, number, b"", None)


def _checked_suffix(flow: TxFlow, last: Piece, suffix: Buffer) -> Buffer:
    """What of `suffix` is needed; refuses when it is too short."""
    record = last.record
    if record is None or last.epoch.cipher.block_bytes == 1:
        return b""
    end = last.offset + last.end - last.begin
    needed = flow.format.suffix_bytes(record, end)
    if needed > len(suffix):
        raise Refused(Diagnostic.TLS_PRESYNC, end)
    return suffix[:needed]


def _needs_stream(flow: TxFlow, first: Piece, presync: Presync) -> bool:
    """Whether the keystream is not enough for a packet that starts in the body of a record."""
    record = first.record
    assert record is not None
    if first.epoch.cipher.block_bytes > 1:
        return True
    end = first.offset + first.end - first.begin
    if end > flow.format.prefix_bytes + record.content_bytes:
        return True
    return end < record.total_bytes and bool(presync.flags & _UPDATE_STATE)


def _replay(
    flow: TxFlow, first: Piece, prefix: Buffer, payload: memoryview, suffix: Buffer
) -> RecordStream:
    """The stream of the record that the packet starts in, after the bytes before the packet."""
    record = first.record
    assert record is not None
    begun = flow.format.prefix_bytes
    stream = first.epoch.cipher.begin(record)
    ahead = flow.format.suffix_bytes(record, first.offset)
    following = bytes(payload[: first.end][:ahead])
    if len(following) < ahead:
        following += bytes(suffix[: ahead - len(following)])
    lost = memoryview(bytearray(len(prefix) - begun))
    stream.update(memoryview(prefix)[begun:], lost, following)
    return stream


def _work(
    flow: TxFlow,
    pieces: list[Piece],
    payload: memoryview,
    out: memoryview,
    stream: RecordStream | None,
    suffix: Buffer,
    head: bytes,
) -> RecordStream | None:
    """Encrypt the pieces. The stream of the last record, when it goes on after the packet.

    `stream` is that of the first piece when it starts in the body of a record; without one there the
    keystream is enough. `head` is what has passed of a header that is incomplete at the end.
    """
    record_format = flow.format
    prefix_bytes = record_format.prefix_bytes
    for begin, end, offset, record, epoch, run in pieces:
        if record is None:
            out[begin:end] = record_format.wire_prefix_part(head[offset:], offset)
            return None
        if run:
            epoch.cipher.seal_run(record, run, payload[begin:end], out[begin:end])
            continue
        _, prefix, _, _, total = record
        stop = offset + end - begin
        if offset < prefix_bytes:
            body = begin + prefix_bytes - offset
            out[begin:body] = prefix[offset:]
            begin = body
            stream = epoch.cipher.begin(record)
        if stream is None:
            epoch.cipher.keystream_xor(
                record, offset - prefix_bytes, payload[begin:end], out[begin:end]
            )
        elif begin < end:
            stream.update(payload[begin:end], out[begin:end], suffix if stop < total else b"")
        if stop == total:
            stream = None
    return stream
