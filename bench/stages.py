"""What each stage of the card's core costs one packet, in this process: no socket, no driver.

The stages are called by themselves, with the same packet each time, so everything is in the caches:
their sum is a little below the whole, which also has the loop around them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from bench.frames import (
    CARD_MAC,
    HEADER_BYTES,
    MSS,
    PEER_MAC,
    RECEIVED_BYTES,
    SEND_BYTES,
    tcp_frame,
)
from bench.measure import COST, SHARE, SPEED, Effort, Measure, Row, interleave, repeat
from bench.receive import RECV_INTO, Baseline
from tlsnic.abi import registers
from tlsnic.abi.enums import HashType, Offload, TxFlags
from tlsnic.abi.structures import RxDescriptor, TxDescriptor
from tlsnic.device.core import DmaFault, Nic, NicConfig
from tlsnic.device.core.rings import Queue
from tlsnic.device.packet.batch import verify_rx_many
from tlsnic.device.packet.frames import Frame, split
from tlsnic.device.packet.headers import parse
from tlsnic.device.wire import NullWire

ENTRIES: Final = 256
BATCH: Final = 64
CALLS: Final = 2000
SENDS: Final = 640
CUT_SENDS: Final = 64
FRAMES: Final = 1280
_RING: Final = 0x1000
_COMPLETIONS: Final = 0x10000
_BUFFERS: Final = 0x20000
_MEMORY_BYTES: Final = 32 << 20
_TX_TAIL: Final = registers.TX_DOORBELL_TAIL
_RX_TAIL: Final = registers.RX_DOORBELL_TAIL
_DOORBELLS: Final = 2


class Memory:
    """The core's `Host`: guest memory in one piece, and nobody who waits for interrupts."""

    bus_master = True
    msix_enabled = True
    intx_disabled = False

    def __init__(self) -> None:
        self.bytes = memoryview(bytearray(_MEMORY_BYTES))

    def view(self, address: int, length: int, write: bool) -> memoryview | None:
        """See `tlsnic.device.core.host.Host`."""
        if address + length > _MEMORY_BYTES:
            raise DmaFault(address, length)
        return self.bytes[address : address + length]

    def views(self, address: int, length: int, write: bool) -> list[memoryview]:
        """See `tlsnic.device.core.host.Host`."""
        return [self.bytes[address : address + length]]

    def trigger(self, vector: int) -> None:
        """Nobody waits."""

    def set_intx(self, asserted: bool) -> None:
        """Nobody waits."""


class Card:
    """A core with one transmit and one receive queue, whose rings lie at the same places."""

    def __init__(self) -> None:
        self.memory = Memory()
        self.wire = NullWire()
        self.nic = Nic(NicConfig(mac=CARD_MAC), self.memory, self.wire)
        self.nic.set_link(True)

    def write(self, offset: int, value: int, width: int = 4) -> None:
        """A register write."""
        self.nic.write(0, offset, width, value)

    def enable(self, prefix: str) -> None:
        """Start queue 0 of a kind, "TX_QUEUE" or "RX_QUEUE"."""
        for name, value, width in (
            ("RING_BASE", _RING, 8),
            ("COMPLETION_BASE", _COMPLETIONS, 8),
            ("RING_SIZE", ENTRIES, 4),
            ("COMPLETION_SIZE", ENTRIES, 4),
            ("CONTROL", 1, 4),
        ):
            self.write(getattr(registers, f"{prefix}_{name}"), value, width)
        self.write(
            registers.CONTROL, registers.CONTROL_RX_ENABLE_MASK | registers.CONTROL_TX_ENABLE_MASK
        )


def _return_completions(queue: Queue) -> None:
    queue.completions.consumer = queue.completions.producer


class Transmit:
    """A ring of segmented sends of distinct buffers, one in 32 with a completion."""

    def __init__(self) -> None:
        card = self.card = Card()
        card.enable("TX_QUEUE")
        frame = tcp_frame(CARD_MAC, PEER_MAC, SEND_BYTES)
        for index in range(ENTRIES):
            address = _BUFFERS + index * SEND_BYTES
            card.memory.bytes[address : address + SEND_BYTES] = frame
            flags = TxFlags.END_OF_PACKET | TxFlags.SEGMENT
            if index % 32 == 31:
                flags |= TxFlags.REPORT
            descriptor = TxDescriptor(
                address, SEND_BYTES, flags, mss=MSS, header_length=HEADER_BYTES
            )
            descriptor.pack_into(card.memory.bytes, _RING + index * TxDescriptor.SIZE)
        self.queue = card.nic.tx_queues[0]
        self.transmitter = card.nic.transmitter
        self._scratch = memoryview(bytearray(SEND_BYTES))

    def whole(self, count: int, *, super_frames: bool) -> float:
        """Microseconds of one send, doorbell and completion included."""
        nic, queue = self.card.nic, self.queue
        self.card.wire.takes_super_frames = super_frames
        tail = queue.ring.tail
        start = time.perf_counter()
        for _ in range(0, count, BATCH):
            tail = (tail + BATCH) % ENTRIES
            nic.write(_DOORBELLS, _TX_TAIL, 4, tail)
            while nic.poll(0):
                pass
            nic.write(_DOORBELLS, _TX_TAIL + 4, 4, queue.completions.producer)
        return (time.perf_counter() - start) / count * 1e6

    def copy(self, count: int) -> float:
        """Microseconds to copy one of the buffers."""
        memory, scratch = self.card.memory.bytes, self._scratch
        start = time.perf_counter()
        for number in range(count):
            address = _BUFFERS + number % ENTRIES * SEND_BYTES
            scratch[:] = memory[address : address + SEND_BYTES]
        return (time.perf_counter() - start) / count * 1e6

    def stages(self, calls: int) -> dict[str, Measure]:
        """Each stage by name."""
        queue, transmitter, wire = self.queue, self.transmitter, self.card.wire
        view = self.card.memory.bytes[_BUFFERS : _BUFFERS + SEND_BYTES]
        ring = queue.ring
        descriptors = queue._fetch() or []
        ring.head = 0

        def fetch() -> None:
            queue._fetch()
            ring.head = ring.tail

        def segment() -> list[Frame]:
            head, payload = split([view], HEADER_BYTES)
            head, headers, total = transmitter._headers(head, SEND_BYTES, descriptors[0])
            transmitter._check_segments(headers, total, MSS)
            return transmitter._segment(head, headers, payload, total, MSS)

        def completion() -> None:
            queue._reporting = True
            _return_completions(queue)
            queue.sent()

        wire.takes_super_frames = True
        frame = segment()[0]
        wire.takes_super_frames = False
        frames = segment()

        def hand_over_all() -> None:
            for each in frames:
                transmitter._hand_over(*each)

        def timed(do: Callable[[], object], *, super_frames: bool = True) -> Measure:
            def measure() -> float:
                wire.takes_super_frames = super_frames
                few = calls if super_frames else -(-calls // 16)
                return repeat(few, do)

            return measure

        return {
            "fetch": timed(fetch),
            "classify": timed(lambda: transmitter._check(descriptors)),
            "segment": timed(segment),
            "wire": timed(lambda: transmitter._hand_over(*frame)),
            "completion": timed(completion),
            "cut": timed(segment, super_frames=False),
            "cut wire": timed(hand_over_all, super_frames=False),
        }


def transmit(effort: Effort) -> list[Row]:
    """64 KiB segmented sends to a wire that takes them whole, and to one that does not."""
    sends, cut_sends = effort.count(SENDS, BATCH), effort.count(CUT_SENDS, BATCH)
    bench = Transmit()
    stages = bench.stages(effort.count(CALLS))
    memcpy = "memcpy of the same buffers"
    samples = interleave(
        effort.rounds,
        {
            "transmit.core": lambda: bench.whole(sends, super_frames=True),
            memcpy: lambda: bench.copy(sends),
            "transmit.cut": lambda: bench.whole(cut_sends, super_frames=False),
            **stages,
        },
    )
    texts = {
        "fetch": "descriptor from the ring",
        "classify": "flags and lengths checked",
        "segment": "headers parsed, request to the wire made",
        "wire": "handed to the null wire",
        "completion": "completion written (the driver asks for one in 32)",
    }
    return [
        samples.row(
            "transmit.core", "64 KiB send, the whole way", "transmit.core", memcpy, kind=SPEED
        ),
        *(
            samples.row(f"transmit.core.{name}", text, name, "transmit.core", kind=SHARE)
            for name, text in texts.items()
        ),
        samples.row(
            "transmit.cut",
            "64 KiB send, cut into 1448-byte segments",
            "transmit.cut",
            memcpy,
            kind=SPEED,
        ),
        samples.row(
            "transmit.cut.segment", "cut, with checksums", "cut", "transmit.cut", kind=SHARE
        ),
        samples.row(
            "transmit.cut.wire", "46 frames handed over", "cut wire", "transmit.cut", kind=SHARE
        ),
    ]


class Receive:
    """A ring of 2 KiB buffers and one frame for them; checksum check and RSS are on."""

    def __init__(self) -> None:
        card = self.card = Card()
        card.enable("RX_QUEUE")
        for index in range(ENTRIES):
            descriptor = RxDescriptor(_BUFFERS + index * 2048, 2048)
            descriptor.pack_into(card.memory.bytes, _RING + index * RxDescriptor.SIZE)
        for index in range(registers.RSS_KEY_COUNT):
            card.write(registers.RSS_KEY + 4 * index, 0x6D5A56DA)
        types = int(HashType.IPV4 | HashType.TCP_IPV4)
        card.write(registers.RSS_CONTROL, registers.RSS_CONTROL_ENABLE_MASK | types)
        card.write(registers.OFFLOAD_ENABLE, int(Offload.RX_CHECKSUM))
        self.queue = card.nic.rx_queues[0]
        self.frame = bytes(tcp_frame(PEER_MAC, CARD_MAC, RECEIVED_BYTES))
        card.nic.write(_DOORBELLS, _RX_TAIL, 4, ENTRIES - 1)

    def whole(self, count: int) -> float:
        """Microseconds of one frame, with a doorbell for each 64."""
        nic, queue, batch = self.card.nic, self.queue, [(self.frame, None)] * BATCH
        queue.ring.head = 0
        queue.ring.tail = tail = ENTRIES - 1
        start = time.perf_counter()
        for _ in range(0, count, BATCH):
            nic.receive(batch, 0)
            tail = (tail + BATCH) % ENTRIES
            nic.write(_DOORBELLS, _RX_TAIL, 4, tail)
            nic.write(_DOORBELLS, _RX_TAIL + 4, 4, queue.completions.producer)
        return (time.perf_counter() - start) / count * 1e6

    def stages(self, calls: int) -> dict[str, Measure]:
        """Each stage by name."""
        nic, queue, frame = self.card.nic, self.queue, self.frame
        receiver, steering = nic.receiver, nic.steering
        headers = parse(frame)
        pieces = (frame,)

        def deliver() -> None:
            queue.ring.head = 0
            _return_completions(queue)
            queue.deliver(pieces, RECEIVED_BYTES, 1, (0, 0, 0, 0))

        def verify() -> None:
            verify_rx_many([frame] * BATCH, [headers] * BATCH)

        def timed(do: Callable[[], object]) -> Measure:
            return lambda: repeat(calls, do)

        return {
            "parse": timed(lambda: receiver._admit(frame, 1)),
            "checksum": lambda: repeat(-(-calls // BATCH), verify) / BATCH,
            "steer": timed(lambda: steering.choose(frame, headers)),
            "deliver": timed(deliver),
        }


def receive(effort: Effort) -> list[Row]:
    """1448-byte frames into buffers of 2 KiB."""
    frames = effort.count(FRAMES, BATCH)
    bench = Receive()
    stages = bench.stages(effort.count(CALLS))
    with Baseline() as baseline:
        samples = interleave(
            effort.rounds,
            {
                "receive.core": lambda: bench.whole(frames),
                RECV_INTO: lambda: baseline.receive(frames),
                **stages,
            },
        )
    counters = bench.card.nic.counters
    assert counters.rx_wire_frames >= counters.rx_frames > 0
    assert not counters.rx_drop_no_buffer, f"{counters.rx_drop_no_buffer} frames found no buffer"
    texts = {
        "parse": "filters and headers",
        "checksum": "IPv4 and TCP checksums verified, of 64 frames at once",
        "steer": "RSS queue (of a flow seen before)",
        "deliver": "buffer, copy and completion",
    }
    return [
        samples.row(
            "receive.core", "1448-byte frame, the whole way", "receive.core", RECV_INTO, kind=COST
        ),
        *(
            samples.row(f"receive.core.{name}", text, name, "receive.core", kind=SHARE)
            for name, text in texts.items()
        ),
    ]
