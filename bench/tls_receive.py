"""TLS receive in the card's core: records of 16 KiB, AES-128-GCM, TLS 1.3, from frame to completion.

The baselines are what the cryptography alone costs: `update_into` of 1448 bytes for each frame, or
`AESGCM.decrypt_into` of whole records for super-frames. The core runs in this process; frames are made
before the clock starts. All flows have the same keys, so that one stream of records does for all.
"""

from __future__ import annotations

import time
from struct import Struct
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bench.frames import CARD_MAC, HEADER_BYTES, MSS, PEER_MAC, tcp_frame
from bench.measure import COST, SPEED, Effort, Row, Samples, Target, interleave
from bench.stages import BATCH, ENTRIES
from bench.tls_card import KEY, REMOTE_PORT, TlsCard, connection
from tlsnic.abi import registers
from tlsnic.abi.enums import Offload, TlsDirection
from tlsnic.abi.structures import RxDescriptor
from tlsnic.abi.suites import HEADER_BYTES as RECORD_HEADER_BYTES
from tlsnic.device.core.receive import Arrival
from tlsnic.device.packet.checksum import fill_ipv4, fill_l4, fill_partial
from tlsnic.device.packet.headers import parse
from tlsnic.device.packet.vnet import VNET_GSO_TCPV4, VNET_NEEDS_CSUM, VnetHeader

PLAINTEXT_BYTES: Final = 16384
FLOWS: Final = 100_000
UPDATE_INTO: Final = f"update_into of {MSS} bytes"
DECRYPT_INTO: Final = "AESGCM.decrypt_into, 16 KiB records"
_APPLICATION_DATA: Final = b"\x17"
_TAG_BYTES: Final = 16
_SEALED_BYTES: Final = PLAINTEXT_BYTES + len(_APPLICATION_DATA) + _TAG_BYTES
_HEADER: Final = _APPLICATION_DATA + b"\x03\x03" + _SEALED_BYTES.to_bytes(2, "big")
_RECORD_BYTES: Final = RECORD_HEADER_BYTES + _SEALED_BYTES
_SEGMENTS_PER_RECORD: Final = -(-_RECORD_BYTES // MSS)
_SUPER_SEGMENTS: Final = 44
"""Whole segments that one IP packet can hold."""
_SUPER_BATCH: Final = 8
_SUPER_BYTES: Final = _SUPER_SEGMENTS * MSS
_STRIDE: Final = 7919
"""Between a flow and the next in turn; has no divisor in common with FLOWS."""
_RING: Final = 0x1000
_BUFFERS: Final = 0x20000
_DOORBELLS: Final = 2
_IP_DESTINATION: Final = slice(30, 34)
_TCP: Final = Struct("!HHI")
_TCP_OFFSET: Final = 34
_IP_LENGTH: Final = slice(16, 18)
_GSO: Final = VnetHeader(VNET_NEEDS_CSUM, VNET_GSO_TCPV4, HEADER_BYTES, MSS, _TCP_OFFSET, 16)


class Stream:
    """The bytes that every flow receives."""

    def __init__(self) -> None:
        self._aead = AESGCM(KEY)
        self._inner = bytes(PLAINTEXT_BYTES) + _APPLICATION_DATA
        self._records: dict[int, bytes] = {}

    def read(self, position: int, length: int) -> bytes:
        """`length` bytes from `position` on."""
        data = b""
        while length:
            number, start = divmod(position, _RECORD_BYTES)
            piece = self._record(number)[start : start + length]
            data += piece
            position += len(piece)
            length -= len(piece)
        return data

    def _record(self, number: int) -> bytes:
        record = self._records.get(number)
        if record is None:
            if len(self._records) > _SEGMENTS_PER_RECORD:
                self._records.clear()
            nonce = number.to_bytes(12, "big")
            record = _HEADER + self._aead.encrypt(nonce, self._inner, _HEADER)
            self._records[number] = record
        return record


class Receiver:
    """A core with receive flows, whose frames come in turn."""

    def __init__(self, flows: int, *, super_frames: bool = False) -> None:
        offloads = Offload.RX_CHECKSUM | Offload.RX_TLS
        card = self.card = TlsCard(offloads | Offload.RX_COALESCE if super_frames else offloads)
        if super_frames:
            card.write(registers.RX_COALESCE, 1 << 24 | 64 << 16)  # joins nothing by itself
            card.write(registers.RX_COALESCE, 64 << 24 | 64 << 16)
        card.enable("RX_QUEUE")
        self._buffer_bytes = 1 << 16 if super_frames else 2048
        self._batch = _SUPER_BATCH if super_frames else BATCH
        for index in range(ENTRIES):
            address = _BUFFERS + index % BATCH * self._buffer_bytes
            RxDescriptor(address, self._buffer_bytes).pack_into(
                card.memory.bytes, _RING + index * RxDescriptor.SIZE
            )
        for number in range(flows):
            card.create(number, TlsDirection.RECEIVE)
        self._queue = card.nic.rx_queues[0]
        self._tail = ENTRIES - 1
        card.nic.write(_DOORBELLS, registers.RX_DOORBELL_TAIL, 4, self._tail)
        self._super_frames = super_frames
        self._stream = Stream()
        self._positions: dict[int, int] = {}
        self._flows = flows
        self._next = 0

    def start_inside_records(self, count: int) -> None:
        """Let the next `count` flows in turn stand at different segments of their records."""
        flow = self._next
        frames = []
        for number in range(count):
            for _ in range(number % _SEGMENTS_PER_RECORD):
                frames.append(self._frame(flow))
            flow = (flow + _STRIDE) % self._flows
        for at in range(0, len(frames), BATCH):
            self._receive(frames[at : at + BATCH])

    def receive(self, count: int) -> float:
        """Microseconds of one frame in the card; `count` of them in batches."""
        elapsed_s = 0.0
        for _ in range(0, count, self._batch):
            frames = []
            for _ in range(self._batch):
                frames.append(self._frame(self._next))
                self._next = (self._next + _STRIDE) % self._flows
            elapsed_s += self._receive(frames)
        counters = self.card.nic.counters
        assert counters.rx_tls_decrypted_packets == counters.rx_packets, counters.as_dict()
        return elapsed_s / count * 1e6

    def _receive(self, frames: list[Arrival]) -> float:
        nic, queue = self.card.nic, self._queue
        self._tail = (self._tail + len(frames)) % ENTRIES
        start = time.perf_counter()
        nic.receive(frames, 0)
        nic.write(_DOORBELLS, registers.RX_DOORBELL_TAIL, 4, self._tail)
        nic.write(_DOORBELLS, registers.RX_DOORBELL_TAIL + 4, 4, queue.completions.producer)
        return time.perf_counter() - start

    def _frame(self, flow: int) -> Arrival:
        """The next frame of a flow."""
        position = self._positions.get(flow, 0)
        payload = _SUPER_BYTES if self._super_frames else MSS
        self._positions[flow] = position + payload
        frame = bytearray(_TEMPLATE)
        address, port = connection(flow)
        frame[_IP_DESTINATION] = address
        frame[_IP_LENGTH] = (HEADER_BYTES - 14 + payload).to_bytes(2, "big")
        _TCP.pack_into(frame, _TCP_OFFSET, REMOTE_PORT, port, position & 0xFFFF_FFFF)
        frame += self._stream.read(position, payload)
        headers = parse(frame)
        fill_ipv4(frame, headers)
        if self._super_frames:
            fill_partial(frame, headers)
            return bytes(frame), _GSO
        fill_l4(frame, headers)
        return bytes(frame), None


_TEMPLATE: Final = (
    tcp_frame(PEER_MAC, CARD_MAC, HEADER_BYTES)[:26]
    + bytes((10, 0, 0, 2))
    + tcp_frame(PEER_MAC, CARD_MAC, HEADER_BYTES)[30:]
)


class Baseline:
    """The cryptography, and nothing else."""

    def __init__(self) -> None:
        self._aead = AESGCM(KEY)
        self._inner = bytes(PLAINTEXT_BYTES) + _APPLICATION_DATA
        self._record = self._aead.encrypt(bytes(12), self._inner, _HEADER)
        self._out = bytearray(_SEALED_BYTES)

    def update(self, count: int) -> float:
        """Microseconds to decrypt MSS bytes of a record that goes on and on."""
        context = Cipher(algorithms.AES(KEY), modes.GCM(bytes(12))).decryptor()
        data = memoryview(bytes(BATCH * MSS))
        pieces = [data[at : at + MSS] for at in range(0, len(data), MSS)]
        update_into, out = context.update_into, self._out
        start = time.perf_counter()
        for _ in range(0, count, BATCH):
            for piece in pieces:
                update_into(piece, out)
        return (time.perf_counter() - start) / count * 1e6

    def decrypt(self, count: int) -> float:
        """Microseconds for as many bytes as a super-frame has, in whole records."""
        decrypt_into, record = self._aead.decrypt_into, self._record
        out = memoryview(self._out)[: len(self._inner)]
        nonce = bytes(12)
        calls = max(1, round(count * _SUPER_BYTES / _RECORD_BYTES))
        start = time.perf_counter()
        for _ in range(calls):
            decrypt_into(nonce, record, _HEADER, out)
        elapsed_s = time.perf_counter() - start
        return elapsed_s / calls * _SUPER_BYTES / _RECORD_BYTES * 1e6


def run(effort: Effort) -> list[Row]:
    """One flow by frames and by super-frames; 100,000 flows in turn."""
    count, super_count = effort.count(1280, BATCH), effort.count(128, BATCH)
    one, many = Receiver(1), Receiver(FLOWS)
    joined, baseline = Receiver(1, super_frames=True), Baseline()
    many.start_inside_records((effort.rounds + 1) * count)
    samples = interleave(
        effort.rounds,
        {
            "one flow": lambda: one.receive(count),
            UPDATE_INTO: lambda: baseline.update(count),
            "many flows": lambda: many.receive(count),
            "super-frame": lambda: joined.receive(super_count),
            DECRYPT_INTO: lambda: baseline.decrypt(super_count),
        },
    )
    return _rows(samples)


def _rows(samples: Samples) -> list[Row]:
    return [
        samples.row(
            "tls.receive",
            "1448-byte frame of TLS, in order",
            "one flow",
            UPDATE_INTO,
            kind=SPEED,
            target=Target(0.18),
        ),
        samples.row(
            "tls.receive.super",
            "super-frame of 44 such segments",
            "super-frame",
            DECRYPT_INTO,
            kind=SPEED,
            target=Target(0.30),
        ),
        samples.row(
            "tls.receive.flows",
            "1448-byte frame of TLS, 100,000 flows in turn",
            "many flows",
            "one flow",
            kind=COST,
            target=Target(1.2, at_most=True),
        ),
    ]
