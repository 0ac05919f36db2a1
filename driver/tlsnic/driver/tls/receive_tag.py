"""Receive tags: the driver's side of a TLS flow that the card decrypts, as FreeBSD's
IF_SND_TAG_TYPE_TLS_RX.

Theory of operation. The stack tells the tag of every record when the stream is in order up to its
header: `modify`, with the arguments of FreeBSD's `snd_tag_modify`. The tag keeps the last of them
in a table. A card that has lost its place asks whether a record starts at some TCP sequence number
(RESYNC_REQUEST). Such a question is answered

* at once with the record's number, when the table has a record that starts there;
* at once with "none", when the stream is past it;
* else when the stream gets there. Only the newest question is kept: the card asks one at a time,
  so that an older one is dead.

A stack may also tell the card unasked where the next record starts: `hint`, Linux's
tls_dev_resync(). Answers and hints are commands that nobody waits for; `Nic.poll_events` takes
questions in and responses back.
"""

from __future__ import annotations

from collections import deque
from enum import IntFlag
from typing import TYPE_CHECKING

from tlsnic.abi.enums import CommandStatus, RxFlags, TlsDirection, TlsFlowFlags, TlsRxState
from tlsnic.abi.structures import (
    FlowErrorEvent,
    ResyncRequestEvent,
    TlsResyncAnswerCommand,
    TlsResyncHintCommand,
)
from tlsnic.driver.admin import PendingCommand
from tlsnic.driver.errors import RingFullError
from tlsnic.driver.rx import RxPacket
from tlsnic.driver.tls.counters import TlsReceiveCounters
from tlsnic.driver.tls.flow_block import flow_block
from tlsnic.driver.tls.flow_tag import FlowTag
from tlsnic.driver.tls.resync_table import ResyncTable
from tlsnic.driver.tls.session import FlowAddress, TlsSession

if TYPE_CHECKING:
    from tlsnic.driver.tls.tags import TlsTags

_SEQUENCE_MASK = 0xFFFF_FFFF
_BEHIND = 1 << 31
_DECRYPTED, _AUTH_FAILED = int(TlsRxState.DECRYPTED), int(TlsRxState.AUTH_FAILED)
_RESYNC = int(RxFlags.RESYNC)


class Resync(IntFlag):
    """How the card may find its place again."""

    NONE = 0
    """Only by hints."""
    HOST = TlsFlowFlags.RESYNC_HOST
    """It asks."""
    TAG = TlsFlowFlags.RESYNC_TAG
    """A record's own authentication tag settles its number."""
    BOTH = HOST | TAG
    """By tag, and it asks when that fails."""


class ReceiveTag(FlowTag):
    """One TLS flow that the card decrypts. Made by `Nic.rcv_tag_alloc`.

    Attributes: `handle`; `session` (the newest one); `address`; `resync`; `table`; `counters`;
    `flow_error`, the last FLOW_ERROR event of the flow, or None.
    """

    def __init__(
        self,
        nic: TlsTags,
        session: TlsSession,
        address: FlowAddress,
        tcp_sequence: int,
        resync: Resync,
        handle: int,
    ) -> None:
        """Use `Nic.rcv_tag_alloc`."""
        super().__init__(nic, session, address, handle)
        self.resync = resync
        self.table = ResyncTable()
        self.counters = TlsReceiveCounters()
        self.counters.rx_tls_ctx = 1
        self.flow_error: FlowErrorEvent | None = None
        self._reached = tcp_sequence  # end of the last record that the stack told of
        self._question: ResyncRequestEvent | None = None
        self._commands: deque[tuple[PendingCommand, bool]] = deque()  # whether they name a record

    # From the stack

    def modify(self, tls_hdr_tcp_sn: int, tls_rec_length: int, tls_seq_number: int) -> None:
        """A record starts at TCP sequence number `tls_hdr_tcp_sn` (u32), has `tls_rec_length` bytes
        with its header, and the number `tls_seq_number` (u64). A length of 0 forgets all records.

        Raises SendTagDeadError, DeviceGoneError.
        """
        self._check_alive()
        self.table.add(tls_hdr_tcp_sn, tls_rec_length, tls_seq_number)
        self._reached = tls_hdr_tcp_sn + tls_rec_length & _SEQUENCE_MASK
        if self._question is not None:
            self._settle(self._question)

    def hint(self, tcp_sequence: int, record_number: int) -> PendingCommand:
        """Tell the card that record `record_number` starts at `tcp_sequence`. The response's status
        is STALE when the card cannot use it.

        Raises SendTagDeadError, RingFullError, DeviceGoneError.
        """
        self._check_alive()
        command = TlsResyncHintCommand(
            record_number=record_number, tcp_sequence=tcp_sequence, handle=self.handle
        )
        pending = self.nic.admin.submit(command)
        self._await(pending, names_record=True)
        return pending

    def modify_rekey(self, session: TlsSession, tcp_sequence: int) -> None:
        """Records from `tcp_sequence` on, where one starts, have the keys and record numbers of
        `session`.

        Raises SendTagRefused (BUSY: the card has not reached the last rekey), ValueError,
        SendTagDeadError, and like `AdminQueue.execute`; after a CommandTimeoutError the flow is
        closing, and `free` waits for its end.
        """
        self._check_alive()
        if session.suite != self.session.suite:
            raise ValueError("a rekey keeps version and cipher suite")
        block = flow_block(
            session,
            self.address,
            tcp_sequence,
            session.record_number,
            direction=TlsDirection.RECEIVE,
            flags=self.resync,
        )
        self._rekey(block)
        self.session = session

    def received(self, packet: RxPacket, payload_bytes: int) -> None:
        """A packet of the flow came, with so much TCP payload: to be called by who takes it."""
        counters = self.counters
        if packet.tls_state == _DECRYPTED:
            counters.rx_tls_decrypted_packets += 1
            counters.rx_tls_decrypted_bytes += payload_bytes
        elif packet.tls_state == _AUTH_FAILED:
            counters.rx_tls_err += 1
        if packet.flags & _RESYNC:
            counters.rx_tls_resync_req_pkt += 1

    # From the card

    @property
    def question(self) -> ResyncRequestEvent | None:
        """The question that waits until the stream has reached it."""
        return self._question

    def asked(self, question: ResyncRequestEvent) -> None:
        """A RESYNC_REQUEST event of the flow. Called by `Nic`."""
        if not self.is_alive:
            return
        self.counters.rx_tls_resync_req_start += 1
        if self._question is not None:
            self.counters.rx_tls_resync_req_skip += 1
        self._question = question
        self._settle(question)

    def failed(self, event: FlowErrorEvent) -> None:
        """A FLOW_ERROR event of the flow. Called by `Nic`."""
        self.flow_error = event

    def poll(self) -> bool:
        """Take the responses that have come; whether something is left to be done. Called by `Nic`
        after it has reaped the admin queue."""
        commands, counters = self._commands, self.counters
        while commands and (response := commands[0][0].response) is not None:
            _, names_record = commands.popleft()
            if names_record and response.status == CommandStatus.OK:
                counters.rx_tls_resync_res_ok += 1
            else:
                counters.rx_tls_resync_res_skip += 1
        if self._question is not None and self.is_alive:
            self._settle(self._question)
        return bool(commands)

    def _settle(self, question: ResyncRequestEvent) -> None:
        """Answer the question, if that can be done now."""
        at = question.tcp_sequence
        number = self.table.lookup(at)
        if number is None and at - self._reached & _SEQUENCE_MASK < _BEHIND:
            return
        command = TlsResyncAnswerCommand(
            record_number=number or 0,
            tcp_sequence=at,
            handle=self.handle,
            question=question.question,
            found=number is not None,
        )
        try:
            pending = self.nic.admin.submit(command)
        except RingFullError:  # with the next record, or the next `poll`
            self.nic.await_responses(self)
            return
        self._question = None
        self.counters.rx_tls_resync_req_end += 1
        self._await(pending, names_record=number is not None)

    def _await(self, pending: PendingCommand, *, names_record: bool) -> None:
        self._commands.append((pending, names_record))
        self.nic.await_responses(self)

    def _let_go(self) -> None:
        self.poll()
        counters = self.counters
        counters.rx_tls_del = 1
        if self._question is not None:
            counters.rx_tls_resync_req_skip += 1
            self._question = None
        counters.rx_tls_resync_res_skip += len(self._commands)
        self._commands.clear()
        self.table = ResyncTable()
        self.nic.forget_receive_tag(self)
