"""Reads TLS that the card decrypts from a TCP connection of ours.

    handshake = Handshake(context, server_side=True)
    shake_hands(host, connection, handshake)
    receiver = TlsReceiver(host, connection, handshake.receive_session(), handshake.take_surplus())
    while not receiver.at_end:
        host.run(lambda: receiver.readable or receiver.at_end, timeout_s=10.0)
        data = receiver.read()
    receiver.free()

What kernel TLS is to a socket: it cuts the stream into records and looks at how each has come, as
FreeBSD's ktls_decrypt() and Linux's tls_rx_one_record() do.

* All of it decrypted: the card has verified it too, and only its wrapping comes off.
* All of it as on the wire: it is decrypted here.
* Mixed, because packets were lost between: what the card has decrypted is encrypted again, then all
  of it is decrypted here, for the tag covers the wire's bytes.

Of every record the receive tag is told as soon as its header is there. What is not application data
is handed up. AEAD suites only.

This is the small way to receive, over one card's `Host` and without threads. `ktls.decrypt` does the
same above socket buffers as FreeBSD's kernel does: mbufs with flags, workers, and FreeBSD's errors
where this raises the TlsError whose alert a TLS library would send. It leaves KeyUpdates and alerts to
the program; only here is there a rekey. Both decrypt and encrypt again by `software_open`.
"""

from __future__ import annotations

from collections import Counter, deque
from enum import Enum
from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple

from tlsnic.abi.suites import HEADER_BYTES, RecordKind
from tlsnic.driver.errors import CommandTimeoutError, DriverError, RingFullError, SendTagRefused
from tlsnic.driver.tcp.connection import Connection
from tlsnic.driver.tcp.host import Host
from tlsnic.driver.tls.alerts import FATAL, AlertDescription, TlsError
from tlsnic.driver.tls.framing import ALERT, APPLICATION_DATA, HANDSHAKE, HEARTBEAT
from tlsnic.driver.tls.hint_schedule import HintSchedule
from tlsnic.driver.tls.marked_buffer import MarkedBuffer
from tlsnic.driver.tls.receive_tag import ReceiveTag, Resync
from tlsnic.driver.tls.session import FlowAddress, TlsSession

if TYPE_CHECKING:
    from tlsnic.driver.tls.software_open import SoftwareOpener

KEY_UPDATE: Final = 24
_CHANGE_CIPHER_SPEC = 20
_HEADER = Struct(">BHH")
_SEQUENCE_MASK = 0xFFFF_FFFF
_MAX_RECORD_NUMBER = (1 << 64) - 1
_MESSAGE_HEADER_BYTES = 4
_MAX_MESSAGE_BYTES = 1 << 16
_NOT_FATAL = (AlertDescription.USER_CANCELED, AlertDescription.NO_RENEGOTIATION)


class Offloaded(Enum):
    """How much of a record the card has decrypted. FreeBSD: ktls_mbuf_crypto_state()."""

    FULLY = "fully"
    PARTLY = "partly"
    NOT = "not"


class HandshakeMessage(NamedTuple):
    """A message after the handshake, such as NewSessionTicket (4) or KeyUpdate (24)."""

    kind: int
    body: bytes


class TlsReceiver:
    """The receiving direction of a connection, decrypted by the card where it can.

    Attributes: `connection`; `session`; `tag`, or None when all is done in software; `records`, by
    Offloaded; `messages`, handshake messages that came, to be taken out; `alerts`, (level,
    description) of those that came; `close_notify`, whether the peer has ended its data; `error`,
    the TlsError that ended the connection, or None; `key_expired`: the peer sent a KeyUpdate, and
    nothing is read until `rekey`, as with Linux's EKEYEXPIRED; `refusal`: why the card did not
    take a rekey, or None.
    """

    def __init__(
        self,
        host: Host,
        connection: Connection,
        session: TlsSession,
        surplus: bytes = b"",
        *,
        resync: Resync | None = Resync.HOST,
        hints: bool | None = None,
    ) -> None:
        """The next record starts with `surplus`, which was read from the connection already, or at
        its next byte, and has number `session.record_number`.

        resync: how the card finds its place again; None: all is done in software. hints: whether to
        tell it unasked where the next record starts; by default with Resync.NONE.
        Raises ValueError for a CBC suite, and as `Nic.rcv_tag_alloc`; the connection is unchanged.
        """
        if session.layout.kind is RecordKind.CBC:
            raise ValueError(f"{session.suite.name} is no AEAD suite")
        self.connection = connection
        self.session = session
        self.tag: ReceiveTag | None = None
        self.records: Counter[Offloaded] = Counter()
        self.messages: deque[HandshakeMessage] = deque()
        self.alerts: list[tuple[int, int]] = []
        self.close_notify = False
        self.error: TlsError | None = None
        self.key_expired = False
        self.refusal: DriverError | None = None
        self._sequence = connection.read_sequence - len(surplus) & _SEQUENCE_MASK
        self._number = session.record_number
        self._size = 0  # of the record that is begun, once its header is there
        self._buffer = MarkedBuffer()
        self._buffer.extend([(surplus, False)])
        self._handshake = bytearray()
        self._ready: deque[bytes] = deque()
        self._ready_bytes = 0
        self._opener: SoftwareOpener | None = None
        # Of the key before, and how much higher record numbers are in its count: until it is known
        # that the card has the new one.
        self._previous: tuple[SoftwareOpener, int] | None = None
        self._hints: HintSchedule | None = None
        self._hint_due = False
        if resync is not None:
            end = connection.endpoint
            address = FlowAddress.make(
                end.local_address, end.local_port, end.remote_address, end.remote_port, end.vlan
            )
            self.tag = host.nic.rcv_tag_alloc(session, address, self._sequence, resync=resync)
            if hints or (hints is None and resync is Resync.NONE):
                self._hints = HintSchedule()

    # For the user

    def read(self, max_bytes: int = -1) -> bytes:
        """Application data that has arrived in order, at most `max_bytes`; empty when there is none.

        Raises TlsError when all before what is wrong was read.
        """
        ready = self._ready
        if max_bytes < 0 or max_bytes > self._ready_bytes:
            self._advance()
        if not ready:
            if self.error is not None:
                raise self.error
            return b""
        data = ready[0] if len(ready) == 1 else b"".join(ready)
        ready.clear()
        if 0 <= max_bytes < len(data):
            ready.append(data[max_bytes:])
            data = data[:max_bytes]
        self._ready_bytes -= len(data)
        return data

    @property
    def readable(self) -> int:
        """Bytes that `read` would give. Takes what the connection has. Raises as `read`."""
        self._advance()
        if self.error is not None and not self._ready_bytes:
            raise self.error
        return self._ready_bytes

    @property
    def at_end(self) -> bool:
        """Whether `read` will give no more: after close_notify, or the end of the TCP stream.
        Without close_notify, data may have been cut off (RFC 8446 section 6.1)."""
        if self._ready_bytes or self.error is not None or self.key_expired:
            return False
        return self.close_notify or self.connection.at_end or self.connection.closed

    def rekey(self, session: TlsSession) -> None:
        """After a KeyUpdate: the next record has the keys and number of `session`.

        When the card does not take it, records are decrypted here from now on. Raises ValueError
        unless `key_expired` or for another suite, and as `ReceiveTag.modify_rekey` otherwise.
        """
        if not self.key_expired:
            raise ValueError("the peer has sent no KeyUpdate")
        if session.suite != self.session.suite:
            raise ValueError("a rekey keeps version and cipher suite")
        if self.tag is not None:
            self._previous = self._get_opener(), self._number - session.record_number
        self.session = session
        self.key_expired = False
        self._number = session.record_number
        self._opener = None
        tag = self.tag
        if tag is not None and tag.is_alive:
            try:
                tag.modify_rekey(session, self._sequence)
            except (SendTagRefused, CommandTimeoutError) as error:
                self.refusal = error

    def free(self, timeout_s: float | None = None) -> None:
        """Give the receive tag back; what comes afterwards is decrypted here. As `ReceiveTag.free`."""
        if self.tag is not None:
            self.tag.free(timeout_s)

    # Records

    def _advance(self) -> None:
        """Take all whole records that have arrived."""
        if self.key_expired:
            return
        buffer = self._buffer
        buffer.extend(self.connection.read_marked())
        if self.error is not None or self.close_notify:
            buffer.clear()  # RFC 8446 section 6.1: data behind a closure alert is ignored
            return
        try:
            while not (self.key_expired or self.close_notify):
                if not self._size:
                    if buffer.size < HEADER_BYTES:
                        return
                    self._size = self._begin(buffer.peek(HEADER_BYTES))
                if buffer.size < self._size:
                    return
                self._take(self._size)
        except TlsError as error:
            self.error = error
            buffer.clear()

    def _begin(self, header: bytes) -> int:
        """A record's header: its size in bytes on the wire. The tag learns of it, and so may the
        card. Linux: tls_rx_msg_size() and tls_device_rx_resync_new_rec()."""
        session = self.session
        layout = session.layout
        content_type, version, length = _HEADER.unpack(header)
        if layout.is_tls13:
            expected = content_type == APPLICATION_DATA
        else:
            expected = _CHANGE_CIPHER_SPEC <= content_type <= HEARTBEAT
        if not expected:
            raise TlsError(AlertDescription.UNEXPECTED_MESSAGE, f"a record of type {content_type}")
        if version != layout.wire_version:
            raise TlsError(AlertDescription.PROTOCOL_VERSION, f"a record of version {version:#06x}")
        content = length - layout.explicit_bytes - layout.tag_bytes
        if content > session.max_plaintext + layout.is_tls13:
            raise TlsError(AlertDescription.RECORD_OVERFLOW, f"a record of {length} bytes")
        if content < layout.is_tls13:
            raise TlsError(AlertDescription.DECODE_ERROR, f"a record of {length} bytes")
        if self._number > _MAX_RECORD_NUMBER:
            raise TlsError(AlertDescription.INTERNAL_ERROR, "no record numbers are left")
        size: int = HEADER_BYTES + length
        tag = self.tag
        if tag is not None and tag.is_alive:
            tag.modify(self._sequence, size, self._number)
            if self._hint_due and self._buffer.size <= size:
                self._hint(self._sequence + size & _SEQUENCE_MASK, self._number + 1)
        return size

    def _take(self, size: int) -> None:
        """A whole record."""
        parts = self._buffer.take(size)
        number, sequence = self._number, self._sequence
        layout = self.session.layout
        decrypted = sum([mark for _, mark in parts])
        content: bytes | None
        if decrypted == len(parts):
            how = Offloaded.FULLY
            self._previous = None
            record = b"".join([data for data, _ in parts])
            content = record[layout.prefix_bytes : size - layout.tag_bytes]
        elif decrypted:
            how = Offloaded.PARTLY
            content = self._open_mixed(parts, number)
        else:
            how = Offloaded.NOT
            record = b"".join([data for data, _ in parts])
            content = self._get_opener().open(number, record)
        if content is None:
            raise TlsError(AlertDescription.BAD_RECORD_MAC, f"record {number}")
        self.records[how] += 1
        self._number = number + 1
        self._sequence = sequence + size & _SEQUENCE_MASK
        self._size = 0
        if self._hints is not None:
            self._count_for_hints(self._hints, how)
        if layout.is_tls13:
            content = content.rstrip(b"\0")
            if not content:
                raise TlsError(AlertDescription.UNEXPECTED_MESSAGE, "nothing but padding")
            self._dispatch(content[-1], content[:-1])
        else:
            self._dispatch(parts[0][0][0], content)

    def _open_mixed(self, parts: list[tuple[memoryview, bool]], number: int) -> bytes | None:
        """Encrypt again what the card has decrypted, then decrypt all."""
        opener = self._get_opener()
        content = opener.open(number, self._as_on_wire(parts, opener, number))
        if content is None and self._previous is not None:
            # A card that lost the packet with the KeyUpdate has gone on with the key before.
            before, ahead = self._previous
            content = opener.open(number, self._as_on_wire(parts, before, number + ahead))
        return content

    def _as_on_wire(
        self, parts: list[tuple[memoryview, bool]], opener: SoftwareOpener, number: int
    ) -> bytearray:
        """The record, decrypted parts of which are encrypted again with this key and number."""
        layout = self.session.layout
        record = bytearray().join([data for data, _ in parts])
        first, last = layout.prefix_bytes, len(record) - layout.tag_bytes
        at = 0
        for data, mark in parts:
            start, end = max(at, first), min(at + len(data), last)
            if mark and start < end:
                opener.encrypt_again(number, record, start, end)
            at += len(data)
        return record

    def _get_opener(self) -> SoftwareOpener:
        if self._opener is None:
            from tlsnic.driver.tls.software_open import SoftwareOpener  # noqa: PLC0415 - see there

            self._opener = SoftwareOpener(self.session)
        return self._opener

    # Hints

    def _count_for_hints(self, schedule: HintSchedule, how: Offloaded) -> None:
        """Linux: tls_device_core_ctrl_rx_resync(). Called when the record is taken."""
        if how is not Offloaded.NOT:
            schedule.offloaded()
            self._hint_due = False
        elif not self._hint_due and schedule.missed():
            # A hint is of use only when that record is still to come.
            self._hint_due = True
            if not self._buffer.size:
                self._hint(self._sequence, self._number)

    def _hint(self, tcp_sequence: int, record_number: int) -> None:
        tag = self.tag
        if tag is None or not tag.is_alive or record_number > _MAX_RECORD_NUMBER:
            return
        try:
            tag.hint(tcp_sequence, record_number)
        except RingFullError:
            return  # it stays due
        self._hint_due = False

    # Contents

    def _dispatch(self, content_type: int, data: bytes) -> None:
        if len(data) > self.session.max_plaintext:
            raise TlsError(AlertDescription.RECORD_OVERFLOW, f"{len(data)} bytes of content")
        if self._handshake and content_type != HANDSHAKE:
            raise TlsError(
                AlertDescription.UNEXPECTED_MESSAGE, "a record inside of a handshake message"
            )
        if content_type == APPLICATION_DATA:
            if data:
                self._ready.append(data)
                self._ready_bytes += len(data)
        elif content_type == ALERT:
            self._take_alert(data)
        elif content_type == HANDSHAKE and data:
            self._take_handshake(data)
        else:
            raise TlsError(
                AlertDescription.UNEXPECTED_MESSAGE, f"{len(data)} bytes of type {content_type}"
            )

    def _take_alert(self, data: bytes) -> None:
        if len(data) != 2:
            raise TlsError(AlertDescription.DECODE_ERROR, f"an alert of {len(data)} bytes")
        level, description = data
        self.alerts.append((level, description))
        if description == AlertDescription.CLOSE_NOTIFY:
            self.close_notify = True
        elif level == FATAL or (
            # RFC 8446 section 6: their level says nothing in TLS 1.3.
            self.session.layout.is_tls13 and description not in _NOT_FATAL
        ):
            raise TlsError(description, "sent by the peer", from_peer=True)

    def _take_handshake(self, data: bytes) -> None:
        buffer = self._handshake
        buffer += data
        while len(buffer) >= _MESSAGE_HEADER_BYTES:
            length = int.from_bytes(buffer[1:_MESSAGE_HEADER_BYTES], "big")
            if length > _MAX_MESSAGE_BYTES:
                raise TlsError(
                    AlertDescription.ILLEGAL_PARAMETER, f"a handshake message of {length} bytes"
                )
            end = _MESSAGE_HEADER_BYTES + length
            if len(buffer) < end:
                return
            message = HandshakeMessage(buffer[0], bytes(buffer[_MESSAGE_HEADER_BYTES:end]))
            del buffer[:end]
            if message.kind == KEY_UPDATE and self.session.layout.is_tls13:
                self._take_key_update(message.body)
            self.messages.append(message)

    def _take_key_update(self, body: bytes) -> None:
        """RFC 8446 section 4.6.3; nothing may follow it under the old key (section 5.1)."""
        if self._handshake:
            raise TlsError(
                AlertDescription.UNEXPECTED_MESSAGE, "a KeyUpdate that does not end its record"
            )
        if len(body) != 1:
            raise TlsError(AlertDescription.DECODE_ERROR, f"a KeyUpdate of {len(body)} bytes")
        if body[0] > 1:
            raise TlsError(AlertDescription.ILLEGAL_PARAMETER, f"a KeyUpdate that asks {body[0]}")
        self.key_expired = True
