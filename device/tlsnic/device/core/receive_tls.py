"""TLS on receive: finds the flow of a frame, has it followed and decrypted, asks the host."""

from collections.abc import Sequence
from typing import Final

from tlsnic.abi.enums import Diagnostic, EventType, RxFlags, TlsEvent, TlsRxState
from tlsnic.device.core.events import EventQueue
from tlsnic.device.core.parts import Parts
from tlsnic.device.packet.checksum import RxChecksum
from tlsnic.device.packet.headers import (
    PROTOCOL_TCP,
    TCP_RST,
    TCP_SYN,
    Buffer,
    Headers,
    flow_key,
)
from tlsnic.device.tls.rx_flow import DECRYPTED, RxFlow, Verdict
from tlsnic.device.tls.rx_run import RxRunFlow
from tlsnic.device.tls.table import wire_key

MAX_RUN_BYTES: Final = 1 << 20
_LONG_BYTES: Final = 4096
_VLAN_ID: Final = 0xFFF
UNFOLLOWED: Final = TCP_SYN | TCP_RST
_HANDLE_SHIFT: Final = 16
_RESYNC: Final = 0x100
_STATE: Final = 0xFF
_RECORDS_SHIFT: Final = 8
_MAX_RECORDS: Final = 255
_RESYNC_FLAG: Final = int(RxFlags.RESYNC) << 48
AS_ON_WIRE: Final = int(TlsRxState.AS_ON_WIRE)
_DECRYPTED: Final = int(TlsRxState.DECRYPTED)
_QUESTION_SHIFT: Final = 32
_SEQUENCE_MASK: Final = 0xFFFF_FFFF

Mark = int
"""What TLS offload says of a packet: state, RESYNC and handle; zero: it is of no flow. Packets with
different marks are not joined."""
NO_FLOW: Final = 0


def handle_of(mark: Mark) -> int:
    """The completion's flow."""
    return mark >> _HANDLE_SHIFT


def bits_of(mark: Mark, records: int) -> int:
    """The completion's tls_state, tls_records and RESYNC, in its last word."""
    flags = _RESYNC_FLAG if mark & _RESYNC else 0
    return mark & _STATE | min(records, _MAX_RECORDS) << _RECORDS_SHIFT | flags


class TlsReceive:
    """One for all queues. The payload that `follow` returns is good until it is called again."""

    def __init__(self, parts: Parts, events: EventQueue) -> None:
        self._diagnostics = parts.diagnostics
        self._journal = parts.journal
        self._events = events
        self._out = memoryview(bytearray(MAX_RUN_BYTES))
        self.receivers = parts.flows.receivers
        self.timeout_ns = 0
        """How long a question waits for its answer; zero: for ever."""

    def flow_of(self, frame: Buffer, headers: Headers) -> RxRunFlow | None:
        """The flow of a frame, whatever state the frame is in."""
        if headers.protocol != PROTOCOL_TCP or not headers.l4_bytes:
            return None
        tci = headers.vlan_tci
        key = flow_key(frame, headers)
        return self.receivers.get(key if tci is None else wire_key(key, tci & _VLAN_ID))

    def follow(
        self, flow: RxRunFlow, frame: Buffer, headers: Headers, sums: RxChecksum, now_ns: int
    ) -> tuple[Mark, int, memoryview | None]:
        """Mark, records that ended in the packet, and its TCP payload if that was decrypted."""
        mark = flow.handle << _HANDLE_SHIFT | AS_ON_WIRE
        payload, end = headers.payload, headers.end
        plain_ip = headers.l4 - headers.l3 == (20 if headers.ip_version == 4 else 40)
        if not sums.verified or not plain_ip or headers.tcp_flags & UNFOLLOWED:
            flow.overlooked()
            return mark, 0, None
        if payload == end:  # a pure ACK
            return mark, 0, None
        data = memoryview(frame)[payload:end]
        out = self._out[: end - payload]
        if len(data) < _LONG_BYTES:
            verdict = flow.take(headers.tcp_seq, data, out, now_ns, self.timeout_ns)
        else:  # with whole records in it
            (verdict,) = flow.take_run(
                headers.tcp_seq, data, len(data), out, now_ns, self.timeout_ns
            )
        state, records, question, halted = verdict
        if question is not None or halted:
            self._tell(flow, headers.tcp_seq, verdict)
        mark = flow.handle << _HANDLE_SHIFT | state
        if question is not None:
            mark |= _RESYNC
        return mark, records, out if state == _DECRYPTED else None

    def follow_run(
        self,
        flow: RxRunFlow,
        frames: Sequence[bytes],
        payload: int,
        sequence: int,
        now_ns: int,
    ) -> tuple[list[int], memoryview]:
        """The same for verified segments of one length, whose payload begins at byte `payload`, that
        follow each other: the bits of each one's completion, and all their payloads."""
        size = len(frames[0]) - payload
        out = self._out[: size * len(frames)]
        if len(frames) == 1:
            data = memoryview(frames[0])[payload:]
            verdicts = [flow.take(sequence, data, out, now_ns, self.timeout_ns)]
        else:
            data = memoryview(b"".join([frame[payload:] for frame in frames]))
            verdicts = flow.take_run(sequence, data, size, out, now_ns, self.timeout_ns)
        bits: list[int] = []
        for verdict in verdicts:
            if verdict is DECRYPTED:
                bits.append(_DECRYPTED)
                continue
            state, records, question, halted = verdict
            if question is not None or halted:
                self._tell(flow, sequence + len(bits) * size & _SEQUENCE_MASK, verdict)
            bits.append(bits_of(state if question is None else state | _RESYNC, records))
        return bits, out

    def _tell(self, flow: RxFlow, sequence: int, verdict: Verdict) -> None:
        question = verdict.question
        if question is not None:
            self._journal.note(
                flow,
                TlsEvent.ASKED,
                tcp_sequence=question.sequence,
                record_number=question.record_number,
                question=question.number,
            )
            self._events.publish(
                EventType.RESYNC_REQUEST,
                question.sequence | question.number << _QUESTION_SHIFT,
                question.record_number,
                handle=flow.handle,
            )
        if verdict.halted:
            self._journal.note(flow, TlsEvent.HALTED, tcp_sequence=sequence)
            self._diagnostics.report(Diagnostic.TLS_AUTH, flow.handle)
            self._events.publish(
                EventType.FLOW_ERROR, Diagnostic.TLS_AUTH, sequence, handle=flow.handle
            )
