"""What TLS offload does to packets and flows while a trace is taken."""

from collections.abc import Sequence

from tlsnic.abi.enums import TlsDirection, TlsOutcome, TlsRxState, TlsTrackerState, TraceType
from tlsnic.abi.structures import TraceTlsEvent, TraceTlsPacket
from tlsnic.device.core import DmaFault, Nic
from tlsnic.device.core.descriptors import Chain, Drop
from tlsnic.device.core.host import Buffer
from tlsnic.device.core.journal import Note, NotedFlow
from tlsnic.device.core.receive_tls import Mark
from tlsnic.device.packet.checksum import RxChecksum
from tlsnic.device.packet.headers import Headers
from tlsnic.device.tls.flow import TxFlow
from tlsnic.device.tls.rx_run import RxRunFlow
from tlsnic.device.trace.memory import Put

_SEQUENCE_MASK = 0xFFFF_FFFF
_STATE = 0xFF
_RECORDS_SHIFT = 8
_OUTCOMES = {
    TlsRxState.AS_ON_WIRE: TlsOutcome.AS_ON_WIRE,
    TlsRxState.DECRYPTED: TlsOutcome.DECRYPTED,
    TlsRxState.AUTH_FAILED: TlsOutcome.AUTH_FAILED,
}
_STATES = {
    TlsOutcome.DECRYPTED: TlsTrackerState.OFFLOAD,
    TlsOutcome.AUTH_FAILED: TlsTrackerState.HALTED,
}
_PORT_BYTES = 2


class TracedTls:
    """Stands in front of the TLS stages of `nic`, and listens to its journal."""

    def __init__(self, nic: Nic, card: int, put: Put) -> None:
        self._nic = nic
        self._journal = nic.journal
        self._card = card
        self._put = put
        self._unheard = nic.receiver.lost

    def attach(self) -> None:
        """Take the places."""
        receiver, transmitter = self._nic.receiver, self._nic.transmitter
        receiver.follow, receiver.follow_run = self.follow, self.follow_run
        receiver.lost = self.lost
        transmitter.check_tuple, transmitter.encrypt = self.check_tuple, self.encrypt
        self._journal.observer = self.note

    def detach(self) -> None:
        """Leave them."""
        receiver, transmitter = self._nic.receiver, self._nic.transmitter
        tls, encryption = receiver.tls, transmitter.tls
        receiver.follow, receiver.follow_run = tls.follow, tls.follow_run
        receiver.lost = self._unheard
        transmitter.check_tuple, transmitter.encrypt = encryption.check_tuple, encryption.encrypt
        self._journal.observer = None

    # Receive

    def follow(
        self, flow: RxRunFlow, frame: Buffer, headers: Headers, sums: RxChecksum, now_ns: int
    ) -> tuple[Mark, int, memoryview | None]:
        """`TlsReceive.follow`."""
        followed = self._nic.receiver.tls.follow(flow, frame, headers, sums, now_ns)
        mark, records, _ = followed
        length = headers.end - headers.payload
        if length:
            outcome = _OUTCOMES[TlsRxState(mark & _STATE)]
            self._received(flow, headers.tcp_seq, length, outcome, flow.tracker_state, records)
        return followed

    def follow_run(
        self, flow: RxRunFlow, frames: Sequence[bytes], payload: int, sequence: int, now_ns: int
    ) -> tuple[list[int], memoryview]:
        """`TlsReceive.follow_run`; the tracker's state is told as far as it shows from outside."""
        followed = self._nic.receiver.tls.follow_run(flow, frames, payload, sequence, now_ns)
        length = len(frames[0]) - payload
        for bits in followed[0]:
            outcome = _OUTCOMES[TlsRxState(bits & _STATE)]
            state = _STATES.get(outcome, flow.tracker_state)
            records = bits >> _RECORDS_SHIFT & _STATE
            self._received(flow, sequence, length, outcome, state, records)
            sequence = sequence + length & _SEQUENCE_MASK
        return followed

    def lost(self, handle: int, sequence: int, length: int) -> None:
        """`Receiver.lost`."""
        flow = self._nic.flows.get(handle)
        if isinstance(flow, RxRunFlow):
            self._received(flow, sequence, length, TlsOutcome.DROPPED, flow.tracker_state, 0)

    def _received(
        self,
        flow: RxRunFlow,
        sequence: int,
        length: int,
        outcome: TlsOutcome,
        state: TlsTrackerState,
        records: int,
    ) -> None:
        self._put(
            TraceTlsPacket(
                TraceType.TLS_PACKET, self._card, 0, self._journal.now_ns, flow.handle, sequence,
                length, TlsDirection.RECEIVE, outcome, state, records, flow.record_number,
            ),
            b"",
        )  # fmt: skip

    # Transmit

    def check_tuple(self, flow: TxFlow, head: Buffer, headers: Headers) -> None:
        """`TlsTransmit.check_tuple`."""
        try:
            self._nic.transmitter.tls.check_tuple(flow, head, headers)
        except Drop:
            self._sent(flow, headers.tcp_seq, headers.end - headers.payload, TlsOutcome.DROPPED)
            raise

    def encrypt(
        self, flow: TxFlow, chain: Chain, sequence: int, payload: list[Buffer]
    ) -> memoryview:
        """`TlsTransmit.encrypt`."""
        length = sum(map(len, payload))
        packets, presynced = flow.packets, flow.presynced
        try:
            sealed = self._nic.transmitter.tls.encrypt(flow, chain, sequence, payload)
        except (Drop, DmaFault):
            self._sent(flow, sequence, length, TlsOutcome.DROPPED)
            raise
        if length:
            outcome = TlsOutcome.BYPASSED
            if flow.presynced != presynced:
                outcome = TlsOutcome.PRESYNCED
            elif flow.packets != packets:
                outcome = TlsOutcome.ENCRYPTED
            self._sent(flow, sequence, length, outcome)
        return sealed

    def _sent(self, flow: TxFlow, sequence: int, length: int, outcome: TlsOutcome) -> None:
        self._put(
            TraceTlsPacket(
                TraceType.TLS_PACKET, self._card, 0, self._journal.now_ns, flow.handle, sequence,
                length, TlsDirection.TRANSMIT, outcome, TlsTrackerState.NONE, 0,
                flow.record_number,
            ),
            b"",
        )  # fmt: skip

    # The journal

    def note(self, note: Note, flow: NotedFlow) -> None:
        """Tell a note, with what the flow is."""
        self._put(event_record(self._card, note, flow), b"")


def event_record(card: int, note: Note, flow: NotedFlow) -> TraceTlsEvent:
    """A note about `flow` as a trace record."""
    address, half = flow.address, (len(flow.address) - 2 * _PORT_BYTES) // 2
    ends = [
        (address[:half], address[2 * half : 2 * half + _PORT_BYTES]),
        (address[half : 2 * half], address[2 * half + _PORT_BYTES :]),
    ]
    if flow.direction is TlsDirection.RECEIVE:
        ends.reverse()
    (local, local_port), (remote, remote_port) = ends
    layout = flow.format.layout
    return TraceTlsEvent(
        type=TraceType.TLS_EVENT,
        card=card,
        now_ns=note.now_ns,
        handle=note.handle,
        tcp_sequence=note.tcp_sequence,
        event=note.event,
        old_state=note.old_state,
        new_state=note.new_state,
        question=note.question,
        record_number=note.record_number,
        direction=flow.direction,
        ip_version=4 if len(local) == 4 else 6,
        local_port=int.from_bytes(local_port, "big"),
        remote_port=int.from_bytes(remote_port, "big"),
        tls_version=layout.version,
        suite=layout.suite,
        local_address=local.ljust(16, b"\0"),
        remote_address=remote.ljust(16, b"\0"),
    )
