"""Traces of TLS flows over bad wires, as the device writes them, with the truth beside.

`Receiving` drives the card's own receive flow with real records; each byte of the stream, and what
the card said of the copy that TCP keeps, is noted in an array: nothing of it is shared with the
code under test.
"""

import struct
from random import Random

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tlsnic.abi.enums import (
    CipherSuite,
    TlsDirection,
    TlsEvent,
    TlsOutcome,
    TlsRxState,
    TlsTrackerState,
)
from tlsnic.abi.structures import TraceFrame, TraceTlsEvent, TraceTlsPacket
from tlsnic.abi.suites import MAX_PLAINTEXT, SUITES
from tlsnic.device.core.counters import Counters
from tlsnic.device.tls.keys import KeyCache, KeyMaterial
from tlsnic.device.tls.opening import make_opener
from tlsnic.device.tls.record import RecordFormat
from tlsnic.device.tls.rx_flow import RxFlow

KEY, IV = bytes(range(16)), bytes(range(50, 62))
HANDLE = 0x40001
EPOCH_NS = 1_790_000_000_000_000_000
LOCAL, REMOTE = bytes([10, 9, 0, 1]), bytes([10, 9, 0, 2])
LOCAL_PORT, REMOTE_PORT = 4433, 50123
SUITE = CipherSuite.TLS13_AES_128_GCM
OUTCOMES = {
    TlsRxState.AS_ON_WIRE: TlsOutcome.AS_ON_WIRE,
    TlsRxState.DECRYPTED: TlsOutcome.DECRYPTED,
    TlsRxState.AUTH_FAILED: TlsOutcome.AUTH_FAILED,
}
MASK = 0xFFFF_FFFF


def make_records(sizes, first_number=0):
    """(wire bytes, where each record begins, and the end)."""
    aead, iv = AESGCM(KEY), int.from_bytes(IV, "big")
    random = Random(len(sizes))
    wire, begins = bytearray(), []
    for number, size in enumerate(sizes, first_number):
        begins.append(len(wire))
        header = b"\x17\x03\x03" + struct.pack(">H", size + 17)
        nonce = (iv ^ number).to_bytes(12, "big")
        wire += header + aead.encrypt(nonce, random.randbytes(size) + b"\x17", header)
    return bytes(wire), [*begins, len(wire)]


def frame(sequence, payload, *, outbound=False):
    """An Ethernet frame with IPv4 and TCP; checksums are not looked at."""
    source, target = (LOCAL, REMOTE) if outbound else (REMOTE, LOCAL)
    ports = (LOCAL_PORT, REMOTE_PORT) if outbound else (REMOTE_PORT, LOCAL_PORT)
    head = bytes(12) + b"\x08\x00"
    head += struct.pack(">BBHHHBBH", 0x45, 0, 40 + len(payload), 0, 0, 64, 6, 0) + source + target
    head += struct.pack(">HHIIBBHHH", *ports, sequence & MASK, 0, 0x50, 0x10, 0xFFFF, 0, 0)
    return head + payload


class Trace(list):
    """Items as read_trace gives them."""

    def __init__(self):
        super().__init__()
        self.now_ns = 0

    def put(self, record, data=b""):
        self.append((EPOCH_NS + self.now_ns, record, bytes(data)))

    def frame(self, sequence, payload, *, outbound=False):
        data = frame(sequence, payload, outbound=outbound)
        self.put(TraceFrame(now_ns=self.now_ns, length=len(data), outbound=outbound, taken=1), data)

    def event(self, event, sequence, **fields):
        fields = {"handle": HANDLE, "direction": TlsDirection.RECEIVE, **fields}
        self.put(
            TraceTlsEvent(now_ns=self.now_ns, event=event, tcp_sequence=sequence & MASK, **fields)
        )

    def created(self, sequence, direction=TlsDirection.RECEIVE, **fields):
        self.event(
            TlsEvent.CREATED,
            sequence,
            direction=direction,
            ip_version=4,
            local_port=LOCAL_PORT,
            remote_port=REMOTE_PORT,
            local_address=LOCAL.ljust(16, b"\0"),
            remote_address=REMOTE.ljust(16, b"\0"),
            tls_version=0x0304,
            suite=SUITE,
            new_state=int(direction is TlsDirection.RECEIVE),
            **fields,
        )

    def packet(self, sequence, length, outcome, *, direction=TlsDirection.RECEIVE, **fields):
        self.put(
            TraceTlsPacket(
                now_ns=self.now_ns,
                handle=HANDLE,
                tcp_sequence=sequence & MASK,
                length=length,
                direction=direction,
                outcome=outcome,
                **fields,
            )
        )


class Receiving:
    """A stream that comes over a wire chosen step by step."""

    def __init__(self, sizes, *, sequence=4_294_960_000, host=True, tag=True, answer_after=8):
        self.wire, self.begins = make_records(sizes)
        self.sequence = sequence
        self.trace = Trace()
        self.said = [None] * len(self.wire)
        """Of each byte, the outcome of its first copy."""
        self._answer_after = answer_after
        self._questions = []
        self._out = memoryview(bytearray(1 << 16))
        record_format = RecordFormat(SUITES[SUITE], False, MAX_PLAINTEXT)
        self._flow = RxFlow(
            record_format,
            make_opener(record_format, KeyMaterial(KEY, IV), KeyCache()),
            tcp_sequence=sequence & MASK,
            record_number=0,
            address=bytes(12),
            vlan_id=None,
            resync_host=host,
            resync_tag=tag,
            counters=Counters(),
        )
        self._flow.handle = HANDLE
        self.trace.created(sequence, record_number=0)

    def lose(self, begin, end):
        """The card drops a frame: nothing tells of it."""
        self.trace.frame(self.sequence + begin, self.wire[begin:end])

    def arrive(self, begin, end, *, damage=False):
        """A segment comes."""
        trace, flow = self.trace, self._flow
        trace.now_ns += 12_000
        self._answer()
        sequence = self.sequence + begin & MASK
        payload = bytearray(self.wire[begin:end])
        if damage:
            payload[-1] ^= 1
        trace.frame(sequence, payload)
        before = flow.state
        verdict = flow.take(sequence, memoryview(payload), self._out, trace.now_ns, 0)
        self._changed(before)
        outcome = OUTCOMES[verdict.state]
        trace.packet(
            sequence,
            end - begin,
            outcome,
            tracker_state=flow.tracker_state,
            records=verdict.records,
            record_number=flow.record_number,
        )
        if verdict.halted:
            trace.event(TlsEvent.HALTED, flow.sequence, record_number=flow.record_number)
        if verdict.question is not None:
            asked = verdict.question
            self._questions.append((trace.now_ns + self._answer_after * 12_000, asked))
            trace.event(
                TlsEvent.ASKED,
                asked.sequence,
                question=asked.number,
                record_number=asked.record_number,
            )
        for at in range(begin, end):
            if self.said[at] is None:
                self.said[at] = outcome

    def _changed(self, before):
        if self._flow.state is not before:
            self.trace.event(
                TlsEvent.TRACKER,
                self._flow.sequence,
                old_state=before.value,
                new_state=self._flow.tracker_state,
            )

    def _answer(self):
        while self._questions and self._questions[0][0] <= self.trace.now_ns:
            _, asked = self._questions.pop(0)
            place = asked.sequence - self.sequence & MASK
            found = place in self.begins
            number = self.begins.index(place) if found else 0
            before = self._flow.state
            if not self._flow.answer(asked.number, asked.sequence, found, number):
                event = TlsEvent.STALE
            else:
                event = TlsEvent.ANSWERED if found else TlsEvent.DENIED
            self.trace.event(event, asked.sequence, question=asked.number, record_number=number)
            self._changed(before)

    def finish(self):
        self.trace.now_ns += 12_000
        self.trace.event(TlsEvent.DESTROYED, self._flow.sequence)
        return self.trace


def lossy(records=40, size=16384, *, segment=1448, loss=0.02, late=30, seed=1, **options):
    """A receive flow whose lost segments come again `late` segments later, some of them twice."""
    random = Random(seed)
    flow = Receiving([size] * records, **options)
    total = len(flow.wire)
    again = []
    step = begin = 0
    while begin < total or again:
        step += 1
        if again and (again[0][0] <= step or begin >= total):
            low, high = again.pop(0)[1:]
        else:
            low, high = begin, min(begin + segment, total)
            begin = high
            if random.random() < loss:
                again.append((step + late, low, high))
                if random.random() < 0.2:
                    flow.lose(low, high)
                continue
            if random.random() < loss / 4:
                again.append((step + late, low, high))
        flow.arrive(low, high)
    return flow


def sending(sizes=(3000,) * 8, *, sequence=77):
    """A transmit flow with every outcome; segments are half a super-frame."""
    wire, _ = make_records(sizes)
    trace = Trace()
    trace.created(sequence, TlsDirection.TRANSMIT, record_number=5)

    def send(begin, end, outcome):
        trace.now_ns += 100_000
        trace.packet(sequence + begin, end - begin, outcome, direction=TlsDirection.TRANSMIT)
        if outcome is TlsOutcome.DROPPED:
            return
        middle = (begin + end) // 2
        for low, high in ((begin, middle), (middle, end)):
            payload = bytes(-low) + wire[:high] if low < 0 else wire[low:high]
            trace.frame(sequence + low, payload, outbound=True)

    send(-500, 0, TlsOutcome.BYPASSED)
    at = 0
    while at + 2800 <= len(wire):
        send(at, at + 2800, TlsOutcome.ENCRYPTED)
        at += 2800
        if at == 8400:
            send(2800, 5600, TlsOutcome.PRESYNCED)
    send(at, len(wire), TlsOutcome.DROPPED)
    return trace, wire


__all__ = ["HANDLE", "Receiving", "TlsTrackerState", "Trace", "lossy", "make_records", "sending"]
