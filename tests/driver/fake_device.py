"""A plain model of the card's rings behind a `Bus`, for tests of the driver alone.

It carries out doorbells at once, in the caller's thread, unless `paused`. It knows rings, phases,
arming and moderation-free interrupts; of offloads it knows nothing: a packet is the bytes of its
data descriptors. Commands in `answers` get that answer, those in `held` none until `release`.
Everything it does wrong on purpose is a named switch.
"""

import os
from dataclasses import dataclass, field

from tlsnic.abi import registers as reg
from tlsnic.abi.enums import CommandStatus, EventType, QueueState, TxFlags, TxStatus
from tlsnic.abi.structures import Event, Response, RxCompletion, TxCompletion, TxDescriptor
from tlsnic.driver import queue as q
from tlsnic.driver.bus.base import Bar, Bus
from tlsnic.driver.bus.dma import DmaBuffer
from tlsnic.driver.bus.interrupts import Interrupts, open_eventfds

IOVA = 0x1_0000_0000
PHASE = 0x8000
ARM = 1 << 31
NO_DATA = TxFlags.PRESYNC | TxFlags.PREFIX | TxFlags.SUFFIX
BLOCK_OPCODES = (0x100, 0x102)  # those that hand a memory block to the card
QUEUE_NAMES = (
    [("tx", n, reg.TX_QUEUE_RING_BASE + n * 0x40, n * 8) for n in range(16)]
    + [("rx", n, reg.RX_QUEUE_RING_BASE + n * 0x40, 0x400 + n * 8) for n in range(16)]
    + [
        ("admin", 0, reg.ADMIN_QUEUE_RING_BASE, 0x800),
        ("event", 0, reg.EVENT_QUEUE_RING_BASE, 0x808),
    ]
)
ENTRY_BYTES = {"tx": (32, 16), "rx": (16, 32), "admin": (32, 32), "event": (0, 32)}


class FakeQueue:
    """Device end of one queue."""

    def __init__(self, device, name, number, base):
        self.device, self.name, self.number, self.base = device, name, number, base
        self.state = QueueState.DISABLED
        self.error = (0, 0)
        self.clear()

    def clear(self):
        self.head = self.tail = self.producer = self.consumer = 0
        self.phase = 1
        self.armed = False

    def config(self, offset):
        return self.device.regs.get(self.base + offset, 0)

    def room(self):
        return self.config(q.COMPLETION_SIZE) - 1 - self.outstanding()

    def outstanding(self):
        return (self.producer - self.consumer) % self.config(q.COMPLETION_SIZE)

    def complete(self, entry):
        size = len(entry)
        assert self.room() > 0, f"{self.name}{self.number}: the driver let the completions run full"
        at = self.config(q.COMPLETION_BASE) + self.producer * size
        data = bytearray(entry)
        data[-1] = data[-1] & 0x7F | self.phase << 7
        self.device.write(at, data[:-8])
        self.device.write(at + size - 8, data[-8:])
        self.producer += 1
        if self.producer == self.config(q.COMPLETION_SIZE):
            self.producer, self.phase = 0, self.phase ^ 1
        self.fire()

    def fire(self):
        if self.armed and self.producer != self.consumer:
            self.armed = False
            self.device.interrupt(self.config(q.VECTOR))

    def fail(self, code, address):
        self.state, self.error = QueueState.ERROR, (code, address)


@dataclass
class FakeDevice:
    """State of the model; `bus()` gives a bus to it."""

    memory: bytearray = field(default_factory=lambda: bytearray(16 << 20))
    regs: dict[int, int] = field(default_factory=dict)
    paused: bool = False
    gone: bool = False
    stubborn: bool = False  # never says DISABLED
    refuse: tuple[int, int] | None = None  # the error of every queue that is enabled
    mute_commands: bool = False
    link_up: bool = True
    reset_count: int = 7

    def __post_init__(self):
        self.queues = {(n, i): FakeQueue(self, n, i, base) for n, i, base, _ in QUEUE_NAMES}
        self.by_base = {queue.base: queue for queue in self.queues.values()}
        self.by_doorbell = {bell: self.queues[n, i] for n, i, _, bell in QUEUE_NAMES}
        self.sent = []  # (queue number, frame, first data descriptor)
        self.chains = []  # of each packet: (descriptor, bytes) for each descriptor
        self.doorbells = []  # (offset, value)
        self.answers = {}  # opcode: Response fields
        self.held = set()  # opcodes
        self.commands = []  # (opcode, raw, memory block or None)
        self.unanswered = []  # (queue, response)
        self.event_sequence = 0
        self.interrupts = None
        self.intx = False
        self.cause = 0
        self.drop = {}  # frame: TxStatus
        self.reset()

    # Memory

    def place(self, address, size):
        at = address - IOVA
        assert 0 <= at <= len(self.memory) - size, hex(address)
        return at

    def read(self, address, size):
        at = self.place(address, size)
        return bytes(self.memory[at : at + size])

    def write(self, address, data):
        at = self.place(address, len(data))
        self.memory[at : at + len(data)] = data

    # Registers

    def reset(self):
        self.regs = {r.offset: r.reset for r in reg.BAR0.registers if r.reset}
        self.reset_count = self.reset_count + 1 & 0xFFFF
        self.event_sequence = 0
        self.cause = 0
        for queue in self.queues.values():
            queue.state, queue.error = QueueState.DISABLED, (0, 0)
            queue.clear()

    def read_register(self, offset, width):
        if self.gone:
            return (1 << 8 * width) - 1
        if offset == reg.STATUS:
            return 1 | self.link_up << 1 | self.reset_count << 16
        if offset == reg.INT_CAUSE:
            return self.cause
        queue = self.by_base.get(offset & ~0x3F)
        if queue is not None:
            live = {
                q.STATUS: queue.state | queue.error[0] << 16,
                q.ERROR_ADDRESS: queue.error[1],
                q.HEAD: queue.head,
                q.TAIL: queue.tail,
                q.COMPLETION_PRODUCER: queue.producer,
                q.COMPLETION_CONSUMER: queue.consumer,
            }
            if offset - queue.base in live:
                return live[offset - queue.base]
        return self.regs.get(offset, 0)

    def write_register(self, offset, value):
        if self.gone:
            return
        queue = self.by_base.get(offset & ~0x3F)
        if offset == reg.CONTROL and value & 1:
            self.reset()
        elif offset == reg.INT_CAUSE:
            self.cause &= ~value
        elif queue is not None and offset - queue.base == q.CONTROL:
            self.control(queue, value)
        else:
            self.regs[offset] = value

    def control(self, queue, value):
        if not value & 1:
            if not self.stubborn:
                queue.state, queue.error = QueueState.DISABLED, (0, 0)
            return
        queue.clear()
        queue.state = QueueState.RUNNING
        entries = queue.config(q.RING_SIZE)
        if self.refuse is not None:
            queue.fail(*self.refuse)
        elif queue.name != "event" and (entries < 8 or entries & entries - 1):
            queue.fail(8, entries)
        else:
            size = queue.config(q.COMPLETION_SIZE) * ENTRY_BYTES[queue.name][1]
            assert not any(self.read(queue.config(q.COMPLETION_BASE), size)), "not cleared"

    def doorbell(self, offset, value):
        if self.gone:
            return
        self.doorbells.append((offset, value))
        queue = self.by_doorbell[offset & ~7]
        assert queue.state != QueueState.DISABLED, "doorbell of a queue that is not running"
        if queue.state == QueueState.ERROR:
            return  # the driver cannot know yet
        if offset & 4:
            index = value & ~ARM
            assert (index - queue.consumer) % queue.config(q.COMPLETION_SIZE) <= queue.outstanding()
            queue.consumer = index
            queue.armed = queue.armed or bool(value & ARM)
            queue.fire()
        else:
            assert value < queue.config(q.RING_SIZE)
            queue.tail = value
        self.run()

    def interrupt(self, vector):
        self.cause |= 1 << vector
        if self.interrupts is None:
            return
        if self.intx:
            if self.cause & self.regs.get(reg.INT_ENABLE, 0):
                os.eventfd_write(self.interrupts.fds[0], 1)
        else:
            os.eventfd_write(self.interrupts.fds[vector], 1)

    # Work

    def run(self):
        """Carry out what is on the transmit and admin rings."""
        if self.paused:
            return
        for (name, _), queue in self.queues.items():
            if queue.state == QueueState.RUNNING:
                if name == "tx":
                    while queue.head != queue.tail and queue.state == QueueState.RUNNING:
                        self.transmit(queue)
                elif name == "admin":
                    while queue.head != queue.tail and not self.mute_commands:
                        self.command(queue)

    def transmit(self, queue):
        mask = queue.config(q.RING_SIZE) - 1
        first, frame, chain = None, b"", []
        while True:
            assert queue.head != queue.tail, "a packet without END_OF_PACKET"
            raw = self.read(queue.config(q.RING_BASE) + queue.head * 32, 32)
            descriptor = TxDescriptor.unpack_from(raw)
            queue.head = queue.head + 1 & mask
            data = self.read(descriptor.address, descriptor.length)
            chain.append((descriptor, data))
            if not descriptor.flags & NO_DATA:
                first = first or descriptor
                frame += data
            if descriptor.flags & TxFlags.END_OF_PACKET:
                break
        status = self.drop.get(frame, TxStatus.OK)
        if status == TxStatus.OK:
            self.sent.append((queue.number, frame, first))
            self.chains.append(chain)
        if status == TxStatus.DMA_FAULT:
            queue.fail(12, first.address)
        if status or first.flags & TxFlags.REPORT:
            detail = 12 if status else 0
            queue.complete(TxCompletion(0, detail, queue.head, status, 0).pack())

    def command(self, queue):
        raw = self.read(queue.config(q.RING_BASE) + queue.head * 32, 32)
        queue.head = queue.head + 1 & queue.config(q.RING_SIZE) - 1
        opcode, command_id = int.from_bytes(raw[:2], "little"), int.from_bytes(raw[4:8], "little")
        block = None
        if opcode in BLOCK_OPCODES:
            address, length = (
                int.from_bytes(raw[8:16], "little"),
                int.from_bytes(raw[16:20], "little"),
            )
            block = self.read(address, length)
        self.commands.append((opcode, raw, block))
        answer = self.answers.get(opcode)
        if opcode == 1:
            address = int.from_bytes(raw[8:16], "little")
            length = int.from_bytes(raw[16:20], "little")
            block = b"".join(
                self.regs.get(reg.TX_PACKETS + n, 0).to_bytes(8, "little")
                for n in range(0, length, 8)
            )
            self.write(address, block)
            answer = {"result0": length}
        elif opcode == 0:
            answer = {}
        elif answer is None:
            answer = {"status": CommandStatus.BAD_OPCODE, "detail": opcode}
        response = Response(command_id=command_id, opcode=opcode, **answer).pack()
        if opcode in self.held:
            self.unanswered.append((queue, response))
        else:
            queue.complete(response)

    def release(self):
        """Answer the commands that were held."""
        self.held.clear()
        for queue, response in self.unanswered:
            queue.complete(response)
        self.unanswered.clear()

    def deliver(self, frame, number=0, **fields):
        """A frame for a receive queue; False when there is no buffer for it."""
        queue = self.queues["rx", number]
        mask = queue.config(q.RING_SIZE) - 1
        index, left, first = queue.head, frame, queue.head
        pieces = []
        while left:
            if index == queue.tail:
                return False
            raw = self.read(queue.config(q.RING_BASE) + index * 16, 16)
            address, size = int.from_bytes(raw[:8], "little"), int.from_bytes(raw[8:12], "little")
            pieces.append((address, left[:size]))
            left = left[size:]
            index = index + 1 & mask
        if queue.room() <= 0:
            return False
        for address, data in pieces:
            self.write(address, data)
        queue.head = index
        queue.complete(
            RxCompletion(
                length=len(frame), index=first, buffers=len(pieces), **{"segments": 1} | fields
            ).pack()
        )
        return True

    def event(self, event_type=EventType.DIAGNOSTIC, *, lost=False, **fields):
        """Write an event, or only count it."""
        if not lost:
            event = Event(type=event_type, sequence=self.event_sequence, **fields)
            self.queues["event", 0].complete(event.pack())
        self.event_sequence += 1

    def bus(self, *, msix_vectors=64):
        return FakeBus(self, msix_vectors)


class FakeBar(Bar):
    """BAR 0 or 2 of the model."""

    def __init__(self, device, index):
        super().__init__(index, 0x10000)
        self.device = device

    def read(self, offset, width):
        return self.device.read_register(offset, width) if self.index == 0 else 0

    def write(self, offset, value, width):
        if self.index == 0:
            self.device.write_register(offset, value)
        else:
            self.device.doorbell(offset, value)


class FakeBus(Bus):
    """A bus with nothing behind it but the model."""

    spec = "fake"

    def __init__(self, device, vectors):
        self.device = device
        self.vectors = vectors
        self.used = 0
        self.live = set()
        self.is_master = False

    def bars(self):
        return []

    def bar(self, index):
        return FakeBar(self.device, index)

    def config_read(self, offset, width):
        return 0xFFFF if self.device.gone else 0x1234

    def config_write(self, offset, value, width):
        pass

    def set_bus_master(self, enabled):
        self.is_master = enabled

    def dma_alloc(self, size_bytes, align=4096):
        start = -(-self.used // align) * align
        self.used = start + size_bytes
        assert self.used <= len(self.device.memory), "the model's memory is used up"

        def free(buffer):
            self.live.discard(buffer)
            buffer.view[:] = bytes(len(buffer.view))
            buffer.view.release()

        view = memoryview(self.device.memory)[start : self.used]
        buffer = DmaBuffer(view, IOVA + start, free)
        self.live.add(buffer)
        return buffer

    @property
    def dma_live_bytes(self):
        return sum(buffer.size_bytes for buffer in self.live)

    def msix_vectors(self):
        return self.vectors

    def _connect(self, kind, count):
        fds = open_eventfds(count)

        def close():
            self.device.interrupts = None
            for fd in fds:
                os.close(fd)

        self.device.intx = kind == "intx"
        self.device.interrupts = Interrupts(kind, fds, close=close)
        return self.device.interrupts

    def msix_enable(self, count):
        return self._connect("msix", count)

    def intx_enable(self):
        return self._connect("intx", 1)

    def reset(self):
        self.device.reset()

    def close(self):
        assert not self.live, self.live
