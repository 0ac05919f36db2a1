"""Send tags: the driver's side of a TLS flow in the card, in the terms of FreeBSD's if_snd_tag.

Theory of operation. The card encrypts a flow's packets in TCP order, and its driver knows the next
in-order TCP sequence number. Every packet is one of these:

* next in order: posted as it is, with the flow's handle;
* older (a retransmit): posted behind a presync block that says in which record it starts. The
  record comes from the map of records that are not acknowledged; the in-order state stays;
* newer (bytes were lost inside the host): encrypted here, and from then on a *resync is pending*:
  nobody knows where card and stream meet again, and the expected number is not looked at. It ends
  with the first new packet that starts with a record, whose presync block moves the card's state
  to its end, or when the stack names such a place with `resync()`;
* from before the start of offload: sent as it is; across the start: dropped;
* of a record that is acknowledged and forgotten: dropped.

These are the cases of Linux's tls-offload.rst and of mlx5's ktls_tx.c; the software fallback while
a resync is pending is that of nfp's nfp_net_tls_tx().

A TLS 1.0 flow cannot be resumed at a later record, because the card lacks the ciphertext block
before it: once out of step it stays in software.

What is encrypted here does not wait for frames that a rate limit holds back: it may overtake them.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Literal, NamedTuple

from tlsnic.abi.enums import CipherSuite, Diagnostic, TlsFeature, TxStatus
from tlsnic.abi.structures import TlsFlowRateCommand, TxCompletion
from tlsnic.abi.suites import RecordKind
from tlsnic.driver.errors import CommandError, ResyncPendingError
from tlsnic.driver.tls.counters import TlsCounters
from tlsnic.driver.tls.epochs import Epochs
from tlsnic.driver.tls.flow_block import flow_block, refused
from tlsnic.driver.tls.flow_tag import FlowTag
from tlsnic.driver.tls.posting import (
    CHECKSUMS,
    SEGMENT,
    TLS,
    VLAN_INSERT,
    Packet,
    Payload,
    payload_bytes,
    post_plain,
    post_tls,
)
from tlsnic.driver.tls.presync import cbc_suffix, presync_parts
from tlsnic.driver.tls.records import START_MARKER, Entry, RecordMap
from tlsnic.driver.tls.session import FlowAddress, ReadableBuffer, TlsSession
from tlsnic.driver.tx import TxQueue

if TYPE_CHECKING:
    from tlsnic.driver.tls.software import SoftwareTls
    from tlsnic.driver.tls.tags import TlsTags

_SEQUENCE_MASK = 0xFFFF_FFFF
_BEHIND = 1 << 31
_KEYS_IN_CARD = 2  # of the newest epoch and the one before
_CHAINED_RECORDS = 256  # TLS 1.0: as many records before the newest can be sent again
_NOWHERE = -1  # no TCP sequence number equals it

Fallback = Literal["presync", "software"]


class OutcomeKind(Enum):
    """What became of a packet."""

    IN_ORDER = "encrypted by the card, in order"
    PRESYNC = "encrypted by the card, with a presync block"
    SOFTWARE = "encrypted here"
    PLAIN = "sent as it is: no payload, or from before the start of offload"
    DROPPED_BYPASS_REQ = "dropped: on both sides of the start of offload"
    DROPPED_NO_SYNC_DATA = "dropped: its record is not known any more"


class Outcome(NamedTuple):
    """What `transmit` did."""

    kind: OutcomeKind
    ticket: int | None
    """Of the transmit queue; None for a packet that was dropped."""


_IN_ORDER, _PLAIN = OutcomeKind.IN_ORDER, OutcomeKind.PLAIN
_DROPPED_STRADDLING = Outcome(OutcomeKind.DROPPED_BYPASS_REQ, None)
_DROPPED_UNKNOWN = Outcome(OutcomeKind.DROPPED_NO_SYNC_DATA, None)


class SendTag(FlowTag):
    """One TLS flow that the card encrypts. Made by `Nic.snd_tag_alloc`.

    Attributes: `handle`; `session` (the newest one); `address`; `records`, to which every record
    is added before it is sent; `counters`; `rate_bytes_per_s` (0: no limit); `fallback`, how
    retransmits are encrypted: by the card ("presync") or here ("software").
    """

    def __init__(
        self,
        nic: TlsTags,
        session: TlsSession,
        address: FlowAddress,
        tcp_sequence: int,
        record_number: int,
        rate_bytes_per_s: int,
        handle: int,
    ) -> None:
        """Use `Nic.snd_tag_alloc`."""
        super().__init__(nic, session, address, handle)
        self.records = RecordMap(tcp_sequence)
        self.counters = TlsCounters()
        self.counters.tx_tls_ctx = 1
        self.rate_bytes_per_s = rate_bytes_per_s
        features = nic.capabilities.tls_features
        self._can_presync = bool(features & TlsFeature.TX_PRESYNC)
        self.fallback: Fallback = "presync" if self._can_presync else "software"
        self._epochs = Epochs(session, record_number)
        self._is_cbc = session.layout.kind is RecordKind.CBC
        self._is_chained = session.suite is CipherSuite.TLS10_AES_CBC_SHA1
        # Next in-order TCP sequence number, as long as the card's state is there; else _NOWHERE.
        self._expected = tcp_sequence
        # Where the stack said that the card's state shall be; the next packet takes it there.
        self._resync_at: int | None = None
        # While a resync is pending: the end of the newest data that was sent.
        self._newest = tcp_sequence
        self._queue: TxQueue | None = None
        self._ticket = 0

    # Transmit

    def transmit(
        self,
        queue: TxQueue,
        headers: ReadableBuffer,
        sequence: int,
        payload: Payload,
        *,
        mss: int = 0,
        vlan: int | None = None,
        report: bool | None = None,
    ) -> Outcome:
        """Send a packet of the flow, or drop it; what was done.

        headers: from the destination address to the end of the TCP header, whose sequence number
        is `sequence`; checksums need not be right. payload: the laid-out records' bytes from
        `sequence` on, copied, or in place when it is a DmaRange, or a sequence of such parts. mss:
        cut it into segments of so many bytes. vlan: tag control information to insert. report: as
        in `TxQueue.send`.

        A packet on another queue than the last one first waits until that is done, to keep the
        order. Raises SendTagDeadError, RingFullError (nothing was posted: retry), LookupError for
        data whose records were not added, and what `TxQueue.wait_done` and `query` raise.
        """
        buffer = payload if isinstance(payload, bytes | bytearray | memoryview) else None
        length = payload_bytes(payload) if buffer is None else len(buffer)
        if queue is not self._queue:
            self._move_to(queue)
        if sequence != self._expected or not length:
            outcome = self._transmit_otherwise(
                Packet(queue, headers, sequence, payload, length, mss, vlan, report)
            )
            if outcome.ticket is not None:
                self._ticket = outcome.ticket
            return outcome
        if buffer is None or self._is_cbc:
            suffix = b""
            if self._is_cbc:
                suffix = cbc_suffix(self.records, self.session, sequence + length & _SEQUENCE_MASK)
            ticket = post_tls(
                queue, headers, payload, mss, vlan, report, self.handle, suffix=suffix
            )
        else:
            flags = TLS | (SEGMENT if mss else CHECKSUMS)
            if vlan is None:
                vlan = 0
            else:
                flags |= VLAN_INSERT
            header_length = len(headers)
            size = header_length + length
            room = queue.reserve(size)
            room[:header_length] = headers
            room[header_length:] = buffer
            ticket = queue.commit(size, flags, vlan, self.handle, mss, header_length, report)
        self._ticket = ticket
        self._expected = sequence + length & _SEQUENCE_MASK
        counters = self.counters
        counters.tx_tls_encrypted_packets += 1
        counters.tx_tls_encrypted_bytes += length
        return Outcome(_IN_ORDER, ticket)

    def _transmit_otherwise(self, out: Packet) -> Outcome:
        """Everything but data that is next in order."""
        self._check_alive()
        sequence, length = out.sequence, out.length
        if not length:
            # Behind frames that a rate limit holds back, it must wait for them.
            handle = self.handle if self.rate_bytes_per_s else 0
            return Outcome(_PLAIN, post_plain(out, out.payload, handle))
        counters = self.counters
        entry = self.records.get(sequence)
        if entry is START_MARKER:
            if self.records.position(sequence) + length > 0:
                counters.tx_tls_ooo += 1
                counters.tx_tls_drop_bypass_req += 1
                return _DROPPED_STRADDLING
            outcome = Outcome(_PLAIN, post_plain(out, out.payload))
            counters.tx_tls_ooo += 1
            counters.tx_tls_skip_no_sync_data += 1
            return outcome
        if not isinstance(entry, Entry):
            if not _is_before(sequence, self.records.end_sequence):
                raise LookupError(f"no record was added for TCP sequence number {sequence:#x}")
            counters.tx_tls_ooo += 1
            counters.tx_tls_drop_no_sync_data += 1
            return _DROPPED_UNKNOWN
        self.records.within(sequence, length)
        if sequence == self._resync_at:
            return self._send_presync(out, entry, moves=True)
        outcome = self._transmit_out_of_order(out, entry)
        counters.tx_tls_ooo += 1
        return outcome

    def _transmit_out_of_order(self, out: Packet, entry: Entry) -> Outcome:
        """Data of a record that is known, at another place than the card's state."""
        sequence = out.sequence
        end = sequence + out.length & _SEQUENCE_MASK
        if self.is_resync_pending:
            is_new = not _is_before(sequence, self._newest)
            if is_new and entry.start_sequence == sequence and self._can_resume:
                return self._send_presync(out, entry, moves=True)
            outcome = self._encrypt_here(out) if is_new else self._retransmit(out, entry)
            if _is_before(self._newest, end):
                self._newest = end
            return outcome
        expected = self.expected_sequence
        if not _is_before(sequence, expected):
            outcome = self._encrypt_here(out)
            self._lose_step(end)
            return outcome
        if _is_before(expected, end) and self._can_presync:
            return self._send_presync(out, entry, moves=True)
        return self._retransmit(out, entry)

    def _retransmit(self, out: Packet, entry: Entry) -> Outcome:
        """Bytes that were sent before; the card's state stays."""
        card_can = self._card_can_repeat(entry)
        # Once it is out of step, the card has not seen all records of a TLS 1.0 flow.
        is_parted = self._is_chained and self.is_resync_pending
        if self.fallback == "software" or not card_can or is_parted:
            software = self._epochs.software
            if software.can_reach(self.records, entry.record.number):
                wire = software.stream(self.records, out.sequence, out.length)
                return Outcome(OutcomeKind.SOFTWARE, post_plain(out, wire))
            if not card_can:
                self.counters.tx_tls_drop_no_sync_data += 1
                return _DROPPED_UNKNOWN
        return self._send_presync(out, entry, moves=False)

    def _card_can_repeat(self, entry: Entry) -> bool:
        """Whether the card still has what it takes to encrypt a record again."""
        if not self._can_presync or entry.session_epoch <= self._epochs.newest - _KEYS_IN_CARD:
            return False
        newest = self.records.newest
        if not self._is_chained or self.is_resync_pending or newest is None:
            return True
        at = self.records.get(self.expected_sequence)
        number = at.record.number if isinstance(at, Entry) else newest.record.number + 1
        return number - entry.record.number < _CHAINED_RECORDS

    def _encrypt_here(self, out: Packet) -> Outcome:
        """New data that the card cannot encrypt: do it here, and send it without TLS."""
        software, records = self._epochs.software, self.records
        first = records.within(out.sequence, out.length)[0].record.number
        if not software.can_reach(records, first):
            self._ask_for_chain(software)
        wire = software.stream(records, out.sequence, out.length)
        return Outcome(OutcomeKind.SOFTWARE, post_plain(out, wire))

    def _ask_for_chain(self, software: SoftwareTls) -> None:
        """TLS 1.0: the card knows the last ciphertext block before the record it is at, which is
        not acknowledged yet."""
        self._wait_sent()
        state = self.query()
        software.know_iv(state.record_number, state.record_iv)

    def _send_presync(self, out: Packet, entry: Entry, *, moves: bool) -> Outcome:
        """`moves`: the card's in-order state moves to the end of the packet."""
        queue, headers, sequence, payload, length, mss, vlan, report = out
        end = sequence + length & _SEQUENCE_MASK
        presync = presync_parts(sequence, length, entry, moves, is_cbc=self._is_cbc)
        suffix = cbc_suffix(self.records, self.session, end) if self._is_cbc else b""
        ticket = post_tls(queue, headers, payload, mss, vlan, report, self.handle, presync, suffix)
        self.counters.tx_tls_encrypted_packets += 1
        self.counters.tx_tls_encrypted_bytes += length
        if moves:
            self._expected = end
            self._resync_at = None
        return Outcome(OutcomeKind.PRESYNC, ticket)

    # From queue to queue

    def _move_to(self, queue: TxQueue) -> None:
        """The card serves its queues in turns: what was posted on the old one must leave first."""
        self._check_alive()
        self._wait_sent()
        self._queue = queue

    def _wait_sent(self) -> None:
        """Wait until the card is done with the flow's last packet."""
        queue, ticket = self._queue, self._ticket
        # A queue that was restarted has forgotten its tickets.
        if queue is not None and ticket <= queue.posted and not queue.is_done(ticket):
            queue.flush()
            queue.wait_done(ticket, self.nic.options.command_timeout_s)

    # In step and out of step

    @property
    def expected_sequence(self) -> int:
        """Next in-order TCP sequence number. Raises ResyncPendingError while there is none,
        SendTagDeadError."""
        if self._expected != _NOWHERE:
            return self._expected
        self._check_alive()
        if self._resync_at is None:
            raise ResyncPendingError(f"{self!r} is out of step")
        return self._resync_at

    @property
    def is_resync_pending(self) -> bool:
        """Whether the card's state and the stream have parted."""
        return self._expected == _NOWHERE and self._resync_at is None and self._dead is None

    @property
    def _can_resume(self) -> bool:
        return self._can_presync and not self._is_chained

    def resync(self, sequence: int) -> None:
        """The flow shall go on in the card at `sequence`, where a record starts or the next one
        will: Linux's tls_dev_resync(). The packet that starts there takes the card's state along.

        A TLS 1.0 flow, or a card without presync blocks, stays in software. Raises ValueError,
        SendTagDeadError.
        """
        self._check_alive()
        if not self.records.is_boundary(sequence):
            raise ValueError(f"no record starts at {sequence:#x}")
        if self._can_resume and sequence != self._expected:
            self._expected = _NOWHERE
            self._resync_at = sequence

    def _lose_step(self, newest: int) -> None:
        """`newest`: end of the data that was sent."""
        self._expected = _NOWHERE
        self._resync_at = None
        self._newest = newest

    def dropped(self, completion: TxCompletion) -> None:
        """The card dropped a packet of this flow. When it says that the packet was not in order,
        an earlier one never counted there: the two are out of step. After a loss by link down they
        may be: it says not whether its state had moved before."""
        parted = completion.detail == Diagnostic.TLS_SEQUENCE
        if (parted or completion.status == TxStatus.LINK_DOWN) and self._expected != _NOWHERE:
            self._lose_step(self._expected)

    def ack(self, sequence: int) -> int:
        """Everything before `sequence` is acknowledged: forget the records that lie wholly before
        it; how many."""
        count = self.records.ack(sequence)
        if count:
            self._epochs.forget_before(next(iter(self.records), None))
        return count

    # Commands

    def modify_rate(self, rate_bytes_per_s: int) -> None:
        """Change the rate limit; 0 lifts it. Raises SendTagRefused, and like `AdminQueue.execute`.

        `snd_tag_modify` of a rate-limited tag.
        """
        self._check_alive()
        command = TlsFlowRateCommand(handle=self.handle, rate_bytes_per_s=rate_bytes_per_s)
        try:
            self.nic.admin.execute(command)
        except CommandError as error:
            raise refused(error) from None
        self.rate_bytes_per_s = rate_bytes_per_s

    def modify_rekey(self, session: TlsSession, tcp_sequence: int) -> None:
        """Records from `tcp_sequence` on, where one starts or the next one will, have the keys and
        record numbers of `session`; those before it keep theirs.

        Raises SendTagRefused (BUSY: the stream has not reached the last rekey), ValueError,
        SendTagDeadError, and like `AdminQueue.execute`; after a CommandTimeoutError the flow is
        closing, and `free` waits for its end.
        """
        self._check_alive()
        if session.suite != self.session.suite:
            raise ValueError("a rekey keeps version and cipher suite")
        if not self.records.is_boundary(tcp_sequence):
            raise ValueError(f"no record starts at {tcp_sequence:#x}")
        block = flow_block(session, self.address, tcp_sequence, session.record_number)
        self._rekey(block)
        self._epochs.add(self.records.new_epoch(tcp_sequence), session)
        self.session = session

    def _close(self) -> None:
        super()._close()
        self._expected, self._resync_at = _NOWHERE, None

    def _let_go(self) -> None:
        self._expected, self._resync_at = _NOWHERE, None
        self._queue = None
        self._epochs.forget_all()
        self.counters.tx_tls_del = 1
        self.nic.forget_send_tag(self)


def _is_before(a: int, b: int) -> bool:
    """Whether TCP sequence number `a` lies before `b`."""
    return a - b & _SEQUENCE_MASK >= _BEHIND
