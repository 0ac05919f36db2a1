"""Puts TLS that the card encrypts on a TCP connection of ours.

    handshake = Handshake(context, server_side=False)
    shake_hands(host, connection, handshake)
    sender = TlsSender(host, connection, handshake.transmit_session())
    sender.write(data)              # as much as has room; host.turn() or run() sends it
    ...
    sender.free()

What kernel TLS is to a socket: it frames what is written, keeps the records until they are
acknowledged, and gives every packet of the connection to the send tag.

This is the small way to send, over one card's `Host` and for the whole life of a connection: it copies
what is written, in the framing of `framing`. `ktls.sosend` and `ktls.sendfile` do the same above socket
buffers: pages by reference, software TLS by workers, send tags that follow the route. There
`ktls.snd_tag.TlsSndTag` is what `TlsSender.transmit` is here; the driver's send tag is the same.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from tlsnic.abi.suites import BLOCK_BYTES, HEADER_BYTES
from tlsnic.driver.tcp.connection import Connection
from tlsnic.driver.tcp.errors import TcpError
from tlsnic.driver.tcp.host import Host
from tlsnic.driver.tcp.outgoing import Outgoing, split
from tlsnic.driver.tcp.port import transmit_plain
from tlsnic.driver.tcp.source import Chain
from tlsnic.driver.tls.framing import APPLICATION_DATA, Framer
from tlsnic.driver.tls.handshake import Handshake
from tlsnic.driver.tls.send_tag import OutcomeKind
from tlsnic.driver.tls.session import FlowAddress, TlsSession
from tlsnic.driver.tx import TxQueue

CLOSE_NOTIFY: Final = b"\x01\x00"
"""RFC 8446, section 6.1: a warning (1), close_notify (0)."""
_SEQUENCE_MASK = 0xFFFF_FFFF
_SIGN = 1 << 31
_BEYOND = (1 << 64, 0)  # above every epoch and record number
_REPEATS = frozenset({OutcomeKind.PRESYNC, OutcomeKind.SOFTWARE})


def shake_hands(
    host: Host, connection: Connection, handshake: Handshake, timeout_s: float = 10.0
) -> None:
    """Make a handshake on an established connection; its last message is then written, not
    necessarily sent. What follows it is `handshake.take_surplus()`, then `connection.read()`.

    Raises HandshakeError, TcpError when the peer closes or does not answer in time, and as
    `Host.run`.
    """
    while True:
        connection.write(handshake.pending())
        if handshake.done:
            return
        if not host.run(lambda: connection.readable or connection.at_end, timeout_s):
            raise TcpError(f"no answer to the handshake in {timeout_s:g} s")
        data = connection.read()
        if not data:
            raise TcpError("the peer closed the connection during the handshake")
        try:
            handshake.receive(data)
        finally:
            connection.write(handshake.pending())  # when it failed: the alert


class TlsSender:
    """The sending direction of a connection, encrypted by the card from its next byte on.

    Attributes: `connection`; `tag`, whose counters count packets; `framer`; `packets`, by
    OutcomeKind; `records`, written so far; `repeated_records`: of these, such as some part was
    sent of behind a presync block or encrypted by software.
    """

    def __init__(
        self,
        host: Host,
        connection: Connection,
        session: TlsSession,
        *,
        rate_bytes_per_s: int = 0,
    ) -> None:
        """What was written before goes as it is, also when it is sent again.

        Raises ValueError when no record fits into the connection's send buffer, and as
        `Nic.snd_tag_alloc`; the connection is unchanged then.
        """
        end = connection.endpoint
        address = FlowAddress.make(
            end.local_address, end.local_port, end.remote_address, end.remote_port, end.vlan
        )
        self.connection = connection
        needed = session.max_plaintext + _overhead(session)
        if connection.config.send_buffer < needed:
            raise ValueError(
                f"a send buffer of {connection.config.send_buffer} bytes; a record needs {needed}"
            )
        self.tag = host.nic.snd_tag_alloc(
            session, address, connection.write_sequence, rate_bytes_per_s=rate_bytes_per_s
        )
        self.framer = Framer(session)
        self.packets: Counter[OutcomeKind] = Counter()
        self.records = 0
        self.repeated_records = 0
        self._repeated: set[tuple[int, int]] = set()  # epoch and number; not acknowledged
        connection.on_acknowledged = self._acknowledged
        host.set_transmit(connection, self.transmit)

    # The stream

    def write(
        self, data: bytes | bytearray | memoryview, content_type: int = APPLICATION_DATA
    ) -> int:
        """Append `data` in records that are as long as may be; how many bytes of it were taken:
        all, or those of the records that the connection has room for.

        Raises TcpError when this side's stream has ended, OverflowError as `Framer.frame`.
        """
        view, connection = memoryview(data), self.connection
        session = self.framer.session
        most, overhead = session.max_plaintext, _overhead(session)
        connection.write(b"")  # raises when the stream has ended
        at, end = 0, len(view)
        while at < end:
            piece = view[at : at + most]
            if connection.writable < len(piece) + overhead:
                break
            self._append(content_type, piece)
            at += len(piece)
        return at

    def rekey(self, session: TlsSession) -> None:
        """What is written from now on has the keys and record numbers of `session`. The message
        that tells the peer is the caller's to write before. Raises as `SendTag.modify_rekey`."""
        self.tag.modify_rekey(session, self.tag.records.end_sequence)
        self.framer.rekey(session)

    def free(self, timeout_s: float | None = None) -> None:
        """Give the send tag back, when the connection is closed or all of its data acknowledged:
        data that is due afterwards makes `Host.turn` raise SendTagDeadError. As `SendTag.free`."""
        self.tag.free(timeout_s)

    def _append(self, content_type: int, plaintext: memoryview) -> None:
        record = self.framer.frame(content_type, plaintext)
        self.tag.records.add(self.connection.write_sequence, record)
        self.connection.write(record.data)
        self.records += 1

    def _acknowledged(self, sequence: int) -> None:
        if self.tag.ack(sequence) and self._repeated:
            first = next(iter(self.tag.records), None)
            key = (first.session_epoch, first.record.number) if first else _BEYOND
            self._repeated = {kept for kept in self._repeated if kept >= key}

    # Its packets

    def transmit(self, queue: TxQueue, outgoing: Outgoing) -> None:
        """Post a packet of the connection; called by `Host`. Raises as `SendTag.transmit`."""
        tag = self.tag
        sequence, size = outgoing.sequence, len(outgoing.payload)
        if not size:
            if tag.rate_bytes_per_s and tag.is_alive:  # in its turn behind what is held back
                self._post(queue, outgoing)
            else:
                transmit_plain(queue, outgoing)
            return
        # While it waited for room in the ring, its beginning may have been acknowledged: the
        # records are forgotten, and the peer does not need it.
        stale = self.connection.snd_una - sequence & _SEQUENCE_MASK
        if 0 < stale < _SIGN:
            if stale <= size:  # a FIN may be left
                self.transmit(queue, split(outgoing, stale)[1])
            return
        # Linux ends a packet at the start of offload (tls_set_device_offload: eor); here TCP may
        # join what lies before it to what lies behind. A packet across it would be dropped.
        before = tag.records.start_sequence - sequence & _SEQUENCE_MASK
        if 0 < before < size:
            for part in split(outgoing, before):
                self._post(queue, part)
        else:
            self._post(queue, outgoing)

    def _post(self, queue: TxQueue, outgoing: Outgoing) -> None:
        headers, sequence, payload, mss, _ = outgoing
        assert not isinstance(payload, Chain)  # the connection's own send buffer makes none
        kind = self.tag.transmit(queue, headers, sequence, payload, mss=mss).kind
        self.packets[kind] += 1
        if kind in _REPEATS:
            touched = {
                (entry.session_epoch, entry.record.number)
                for entry in self.tag.records.within(sequence, len(payload))
            }
            self.repeated_records += len(touched - self._repeated)
            self._repeated |= touched


def _overhead(session: TlsSession) -> int:
    """The most that a record has besides its plaintext, in bytes."""
    layout = session.layout
    return HEADER_BYTES + layout.explicit_bytes + layout.tag_bytes + BLOCK_BYTES
