"""TLS transmit in the card's core: 64 KiB sends of four records, AES-128-GCM, TLS 1.3.

The baseline is `AESGCM.encrypt_into` on the same amount of plaintext, a record of 16 KiB at a time: what
the cryptography alone costs. The core runs in this process, so that nothing but the card's work is in
the figure; sequence numbers are written into the headers before the clock starts, as the driver's work.
"""

from __future__ import annotations

import gc
import time
from pathlib import Path
from struct import Struct
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bench.frames import CARD_MAC, HEADER_BYTES, MSS, PEER_MAC, tcp_frame
from bench.measure import COST, SHARE, SPEED, Effort, Row, Samples, Target, interleave, repeat
from bench.tls_card import KEY, REMOTE_PORT, TlsCard, connection
from tlsnic.abi import registers
from tlsnic.abi.enums import Offload, TlsDirection, TxFlags
from tlsnic.abi.structures import TxDescriptor
from tlsnic.abi.suites import HEADER_BYTES as RECORD_HEADER_BYTES
from tlsnic.device.tls.encrypt import encrypt_in_order
from tlsnic.device.tls.flow import TxFlow

RECORDS: Final = 4
RECORD_BYTES: Final = 16370
"""On the wire: four of them are the most whole records that one IP packet can hold."""
PLAINTEXT_BYTES: Final = 16384
SENDS: Final = 64
"""Buffers, descriptors of one doorbell, and sends of one timing."""
FLOWS: Final = 100_000
_PAYLOAD_BYTES: Final = RECORDS * RECORD_BYTES
_SEND_BYTES: Final = HEADER_BYTES + _PAYLOAD_BYTES
_ENTRIES: Final = 256
_RING: Final = 0x1000
_COMPLETIONS: Final = 0x10000
_BUFFERS: Final = 0x20000
_BUFFER_STRIDE: Final = 0x10000
_DOORBELLS: Final = 2
_PORTS_AND_SEQUENCE: Final = Struct("!HHI")
_TCP: Final = 34
ENCRYPT_INTO: Final = "AESGCM.encrypt_into, 16 KiB records"


class Sender:
    """A core with flows, which send in turn."""

    def __init__(self, flows: int) -> None:
        card = self.card = TlsCard(Offload.TX_TLS)
        card.enable("TX_QUEUE")
        record = b"\x17\x03\x03" + (RECORD_BYTES - RECORD_HEADER_BYTES).to_bytes(2, "big")
        frame = bytearray(tcp_frame(CARD_MAC, PEER_MAC, _SEND_BYTES))
        frame[HEADER_BYTES:] = record.ljust(RECORD_BYTES, b"\x17") * RECORDS
        for number in range(SENDS):
            start = _BUFFERS + number * _BUFFER_STRIDE
            card.memory.bytes[start : start + _SEND_BYTES] = frame
        self._handles = [
            card.create(number, TlsDirection.TRANSMIT, number.to_bytes(4, "big") + KEY[4:])
            for number in range(flows)
        ]
        self._sent = [0] * flows
        self._next = 0
        self._tail = 0

    def _prepare(self) -> None:
        """What the driver does for the next SENDS sends: headers and descriptors."""
        memory = self.card.memory.bytes
        for number in range(SENDS):
            flow = self._next
            self._next = (flow + 1) % len(self._handles)
            start = _BUFFERS + number * _BUFFER_STRIDE
            address, port = connection(flow)
            sequence = self._sent[flow] * _PAYLOAD_BYTES & 0xFFFF_FFFF
            self._sent[flow] += 1
            memory[start + 26 : start + 30] = address
            _PORTS_AND_SEQUENCE.pack_into(memory, start + _TCP, port, REMOTE_PORT, sequence)
            descriptor = TxDescriptor(
                start,
                _SEND_BYTES,
                TxFlags.END_OF_PACKET | TxFlags.SEGMENT | TxFlags.TLS,
                send_tag=self._handles[flow],
                mss=MSS,
                header_length=HEADER_BYTES,
            )
            index = (self._tail + number) % _ENTRIES
            descriptor.pack_into(memory, _RING + index * TxDescriptor.SIZE)

    def send(self, count: int, *, super_frames: bool = True) -> float:
        """Microseconds of one send in the card."""
        nic = self.card.nic
        self.card.wire.takes_super_frames = super_frames
        elapsed_s = 0.0
        for _ in range(0, count, SENDS):
            self._prepare()
            self._tail = (self._tail + SENDS) % _ENTRIES
            start = time.perf_counter()
            nic.write(_DOORBELLS, registers.TX_DOORBELL_TAIL, 4, self._tail)
            while nic.poll(0):
                pass
            elapsed_s += time.perf_counter() - start
        counters = nic.counters
        assert counters.tx_tls_encrypted_packets == counters.tx_packets, nic.diagnostics.last
        return elapsed_s / count * 1e6

    def encrypt(self, calls: int) -> float:
        """Microseconds of the TLS stage of one send: records found and encrypted."""
        (flow,) = self.card.nic.flows
        assert isinstance(flow, TxFlow)
        start = _BUFFERS + HEADER_BYTES
        payload = self.card.memory.bytes[start : start + _PAYLOAD_BYTES]
        out = memoryview(bytearray(_PAYLOAD_BYTES))
        cursor = flow.cursor
        elapsed_us = repeat(calls, lambda: encrypt_in_order(flow, flow.sequence, payload, out, b""))
        flow.cursor = cursor
        return elapsed_us


class Baseline:
    """The cryptography of one send, and nothing else."""

    def __init__(self) -> None:
        self._aead = AESGCM(KEY)
        self._plain = memoryview(bytes(SENDS * RECORDS * PLAINTEXT_BYTES))
        self._out = bytearray(PLAINTEXT_BYTES + 16)

    def encrypt(self, count: int) -> float:
        """Microseconds of RECORDS records of distinct plaintext."""
        encrypt_into, out, plain = self._aead.encrypt_into, self._out, self._plain
        nonce, header = bytes(12), bytes(RECORD_HEADER_BYTES)
        records = [plain[at : at + PLAINTEXT_BYTES] for at in range(0, len(plain), PLAINTEXT_BYTES)]
        start = time.perf_counter()
        for _ in range(0, count, SENDS):
            for record in records:
                encrypt_into(nonce, record, header, out)
        return (time.perf_counter() - start) / count * 1e6


def _resident_bytes() -> int:
    """Memory of this process (proc(5), statm: pages of 4 KiB)."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def run(effort: Effort) -> list[Row]:
    """One flow, whole and cut; 100,000 flows in turn, and their memory."""
    count = effort.count(640, SENDS)
    cut_count = effort.count(192, SENDS)
    calls = effort.count(400)
    one, baseline = Sender(1), Baseline()
    empty_bytes = _resident_bytes()
    many = Sender(FLOWS)
    flow_bytes = (_resident_bytes() - empty_bytes - _card_bytes()) / FLOWS
    samples = interleave(
        effort.rounds,
        {
            "one flow": lambda: one.send(count),
            "cut": lambda: one.send(cut_count, super_frames=False),
            "many flows": lambda: many.send(count),
            "encrypt": lambda: one.encrypt(calls),
            ENCRYPT_INTO: lambda: baseline.encrypt(count),
        },
    )
    return _rows(samples, flow_bytes)


def _card_bytes() -> int:
    """What a core without flows takes, measured with one that is thrown away."""
    before = _resident_bytes()
    card = Sender(1)
    taken = _resident_bytes() - before
    del card
    return max(0, taken)


def _rows(samples: Samples, flow_bytes: float) -> list[Row]:
    return [
        samples.row(
            "tls.core",
            "64 KiB send of four TLS records, wire takes it whole",
            "one flow",
            ENCRYPT_INTO,
            kind=SPEED,
            target=Target(0.30),
        ),
        samples.row(
            "tls.core.encrypt", "records found and encrypted", "encrypt", "one flow", kind=SHARE
        ),
        samples.row(
            "tls.cut",
            "the same, cut into 1448-byte segments",
            "cut",
            ENCRYPT_INTO,
            kind=SPEED,
            target=Target(0.12),
        ),
        samples.row(
            "tls.flows",
            "64 KiB send, 100,000 flows in turn",
            "many flows",
            "one flow",
            kind=COST,
            target=Target(1.2, at_most=True),
        ),
        Row(
            "tls.flows.memory",
            "memory of one of these flows",
            flow_bytes / 1024,
            "KiB",
            target=Target(1.5, at_most=True),
        ),
    ]
