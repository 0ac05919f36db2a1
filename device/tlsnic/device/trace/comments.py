"""Says of frames what TLS offload did to them, from the trace records around them.

Inbound frames come before the verdicts about them, outbound ones after: a frame that was sent is
told apart by its flow and TCP sequence number. No text has more than a trace record has, so none
has a key.
"""

from collections import deque
from collections.abc import Mapping
from typing import Final

from tlsnic.abi.enums import TlsDirection, TlsEvent, TlsOutcome, TlsTrackerState
from tlsnic.abi.structures import TraceFrame, TraceTlsEvent, TraceTlsPacket
from tlsnic.device.core.host import Buffer
from tlsnic.device.packet.headers import PROTOCOL_TCP, flow_key, parse

SENT_PACKETS: Final = 128
"""Packets of a transmit flow whose frames are still known: those behind a wire that is busy."""
MAX_REMARKS: Final = 8
_MASK: Final = 0xFFFF_FFFF
_RECEIVE: Final = int(TlsDirection.RECEIVE)

OUTCOMES: Final[Mapping[int, str]] = {
    TlsOutcome.AS_ON_WIRE: "as on the wire",
    TlsOutcome.DECRYPTED: "decrypted",
    TlsOutcome.AUTH_FAILED: "authentication failed",
    TlsOutcome.ENCRYPTED: "encrypted",
    TlsOutcome.PRESYNCED: "encrypted out of order",
    TlsOutcome.BYPASSED: "sent as it is, from before the start of offload",
    TlsOutcome.DROPPED: "dropped",
}
_TRACKER: Final[Mapping[int, str]] = {state: state.name for state in TlsTrackerState}

Flow = tuple[int, int]
"""Card and handle."""
Remarks = list[str]


def packet_text(record: TraceTlsPacket) -> str:
    """What became of a packet, in one line."""
    outcome = OUTCOMES.get(record.outcome, f"outcome {record.outcome}")
    if record.direction != _RECEIVE:
        return f"flow {record.handle:#x} tx: {outcome}; record {record.record_number}"
    ended = record.records
    records = f", {ended} record{'s' * (ended != 1)} ended" if ended else ""
    state = _TRACKER.get(record.tracker_state, f"state {record.tracker_state}")
    return f"flow {record.handle:#x} rx: {outcome}{records}; {state}, record {record.record_number}"


def work_text(record: TraceFrame) -> str:
    """What the wire leaves to the other side of a frame; empty for a complete frame."""
    if not record.has_work:
        return ""
    texts = []
    if record.gso_type:
        texts.append(f"super-frame, {record.gso_size} bytes a segment")
    if record.work_flags & 1:
        texts.append("checksum undone")
    return ", ".join(texts)


class _Segment:
    """TCP payload of a frame; `covered` bytes of it have been spoken of."""

    __slots__ = ("covered", "length", "remarks", "sequence")

    def __init__(self, sequence: int, length: int, remarks: Remarks) -> None:
        self.sequence = sequence
        self.length = length
        self.remarks = remarks
        self.covered = 0

    def has(self, sequence: int) -> bool:
        """Whether the byte, or this empty segment, is at `sequence`."""
        return (sequence - self.sequence & _MASK) < max(self.length, 1)

    def remark(self, text: str) -> None:
        if text not in self.remarks and len(self.remarks) < MAX_REMARKS:
            self.remarks.append(text)


class Comments:
    """Follows the flows of one or more cards."""

    def __init__(self) -> None:
        self._receivers: dict[tuple[int, bytes], Flow] = {}
        self._senders: dict[tuple[int, bytes], Flow] = {}
        self._keys: dict[Flow, tuple[int, bytes]] = {}
        self._arrived: dict[Flow, list[_Segment]] = {}
        self._open: dict[Flow, deque[_Segment]] = {}
        """Those of the arrived that are not wholly spoken of."""
        self._sent: dict[Flow, deque[tuple[int, int, str]]] = {}

    def event(self, record: TraceTlsEvent) -> None:
        """A flow came or went, or something happened where a held frame is."""
        flow = record.card, record.handle
        if record.event == TlsEvent.CREATED:
            self._add(flow, record)
        elif record.event in (TlsEvent.DESTROYED, TlsEvent.RESET):
            self._remove(flow)
        elif record.event == TlsEvent.ASKED:
            self._remark(
                flow,
                record.tcp_sequence,
                f"question {record.question}: is there a record at {record.tcp_sequence}?",
            )
        elif record.event == TlsEvent.HALTED:
            self._remark(flow, record.tcp_sequence, "halted: TLS_AUTH")

    def packet(self, record: TraceTlsPacket) -> None:
        """What became of a packet of a flow."""
        flow = record.card, record.handle
        if record.direction != _RECEIVE:
            sent = self._sent.get(flow)
            if sent is not None:
                sent.append((record.tcp_sequence, record.length, packet_text(record)))
            return
        if record.outcome == TlsOutcome.DROPPED:  # several frames, if they were joined
            for segment in self._arrived.get(flow, ()):
                if (segment.sequence - record.tcp_sequence & _MASK) < record.length:
                    segment.remark(packet_text(record))
            return
        waiting = self._open.get(flow)
        for segment in waiting or ():
            if segment.has(record.tcp_sequence):
                segment.remark(packet_text(record))
                segment.covered += record.length
                if waiting is not None and segment.covered >= segment.length:
                    waiting.remove(segment)
                return

    def inbound(self, record: TraceFrame, frame: Buffer) -> Remarks:
        """The remarks about a frame, which grow until `settle`."""
        remarks: Remarks = []
        if self._receivers:
            found = self._find(self._receivers, record.card, frame)
            if found is not None:
                flow, sequence, length = found
                segment = _Segment(sequence, length, remarks)
                self._arrived.setdefault(flow, []).append(segment)
                self._open.setdefault(flow, deque()).append(segment)
        return remarks

    def settle(self) -> None:
        """No more will be said about the frames that came."""
        self._arrived.clear()
        self._open.clear()

    def outbound(self, record: TraceFrame, frame: Buffer) -> Remarks:
        """The remarks about a frame that is sent."""
        if not self._senders:
            return []
        found = self._find(self._senders, record.card, frame)
        if found is None:
            return []
        flow, sequence, length = found
        if length:
            for begin, size, text in reversed(self._sent[flow]):
                if (sequence - begin & _MASK) < size:
                    return [text]
        return []

    def _add(self, flow: Flow, record: TraceTlsEvent) -> None:
        self._remove(flow)
        size = 4 if record.ip_version == 4 else 16
        near, far = record.local_address[:size], record.remote_address[:size]
        ports = record.local_port.to_bytes(2, "big"), record.remote_port.to_bytes(2, "big")
        if record.direction == _RECEIVE:
            key = record.card, far + near + ports[1] + ports[0]
            self._receivers[key] = flow
        else:
            key = record.card, near + far + ports[0] + ports[1]
            self._senders[key] = flow
            self._sent[flow] = deque(maxlen=SENT_PACKETS)
        self._keys[flow] = key

    def _remove(self, flow: Flow) -> None:
        key = self._keys.pop(flow, None)
        if key is None:
            return
        for flows in (self._receivers, self._senders):
            if flows.get(key) == flow:
                del flows[key]
        self._sent.pop(flow, None)

    def _remark(self, flow: Flow, sequence: int, text: str) -> None:
        for segment in self._arrived.get(flow, ()):
            if segment.has(sequence):
                segment.remark(text)
                return

    def _find(
        self, flows: Mapping[tuple[int, bytes], Flow], card: int, frame: Buffer
    ) -> tuple[Flow, int, int] | None:
        """Flow, TCP sequence number and payload bytes of a frame; None: it is of none."""
        headers = parse(frame)
        if headers.protocol != PROTOCOL_TCP or not headers.l4_bytes:
            return None
        flow = flows.get((card, flow_key(frame, headers)))
        if flow is None:
            return None
        return flow, headers.tcp_seq, headers.end - headers.payload
