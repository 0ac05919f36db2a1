"""Any sequence of what driver, wire, PCI and time may do: nothing fails, is lost, or is counted twice."""

from collections import deque

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from rig import Rig
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from tlsnic.abi import registers as r
from tlsnic.abi.enums import EventMask, Offload, QueueState, TxFlags
from tlsnic.abi.structures import NopCommand, RxDescriptor, TxDescriptor
from tlsnic.device.packet.vnet import VNET_GSO_TCPV4, VNET_NEEDS_CSUM, VnetHeader

OWN = "02:74:6c:73:00:01"
ENTRIES = 8
BUFFER_BYTES = 256
UNMAPPED = 0xDEAD_0000

SEGMENTED = bytes(Ether(dst=OWN) / IP(dst="10.0.0.1") / TCP(flags="A") / Raw(bytes(700)))
SUPER = VnetHeader(VNET_NEEDS_CSUM, VNET_GSO_TCPV4, 54, 200, 34, 16)
PLAIN = b"\x02" * 60


def segment(seq: int, size: int, flags: str) -> bytes:
    ip = IP(src="10.0.0.2", dst="10.0.0.1")
    return bytes(Ether(dst=OWN) / ip / TCP(seq=seq, flags=flags) / Raw(bytes(size)))


ARRIVALS = [
    *(segment(1 + 100 * n, 100, "A") for n in range(4)),
    segment(401, 100, "PA"),
    bytes(Ether(dst=OWN) / IP(dst="10.0.0.1") / UDP() / Raw(bytes(300))),
    bytes(Ether(dst="ff:ff:ff:ff:ff:ff") / Raw(bytes(50))),
    bytes(Ether(dst="02:00:00:00:00:99") / Raw(bytes(50))),
    bytes(Ether(dst=OWN) / Raw(bytes(1600))),
    b"\x02" * 9,
]
RX_DROPS = ("disabled", "filter", "runt", "oversize", "no_buffer", "dma")
TX_DROPS = ("link_down", "bad_packet", "dma", "tls")


class Card(RuleBasedStateMachine):
    """A driver that may do anything, a wire that may, and what both can rely on."""

    @initialize(super_frames=st.booleans())
    def power_on(self, super_frames):
        self.rig = Rig(super_frames=super_frames)
        rig = self.rig
        self.tx = [rig.tx(0, ENTRIES), rig.tx(1, ENTRIES)]
        self.rx = [rig.rx(0, ENTRIES), rig.rx(1, ENTRIES)]
        self.admin, self.events = rig.admin(ENTRIES), rig.events(ENTRIES)
        self.queues = [*self.tx, *self.rx, self.admin, self.events]
        self.plain, self.segmented = rig.place(PLAIN), rig.place(SEGMENTED)
        self.buffers = [rig.allocate(BUFFER_BYTES) for _ in range(4)]
        self.armed = {}
        self.packets = {0: deque(), 1: deque()}
        for index, queue in enumerate(self.queues):
            queue.enable(vector=index)
            self.arm(index)
        rig.start()

    def vector_of(self, queue):
        return self.rig.read(queue.register("VECTOR"))

    # The driver

    @rule(index=st.integers(0, 5), life=st.integers(0, 1))
    def start_queue(self, index, life):
        queue = self.queues[index]
        if queue.state is QueueState.DISABLED:
            queue.enable(vector=index + 6 * life)
            self.armed.pop(index, None)
            if index < 2:
                self.packets[index].clear()

    @rule(index=st.integers(0, 5))
    def stop_queue(self, index):
        self.queues[index].disable()
        self.armed.pop(index, None)
        if index < 2:
            self.packets[index].clear()

    @rule(index=st.integers(0, 1), kind=st.sampled_from(
        ["plain", "plain", "quiet", "chain", "segment", "bad", "tls", "unmapped"]),
        count=st.integers(1, 3), ring=st.sampled_from([True, True, False]))  # fmt: skip
    def send(self, index, kind, count, ring):
        for _ in range(count):
            self.post(index, kind)
        if ring:
            self.ring(index)

    def post(self, index, kind):
        queue = self.tx[index]
        head = self.rig.read(queue.register("HEAD"))
        if queue.state is not QueueState.RUNNING or (queue.tail - head) % ENTRIES > ENTRIES - 4:
            return
        last = TxFlags.END_OF_PACKET | (0 if kind == "quiet" else TxFlags.REPORT)
        if kind == "chain":
            queue.post(TxDescriptor(self.plain, 40, TxFlags.REPORT).pack())
            queue.post(TxDescriptor(self.plain, 20, TxFlags.END_OF_PACKET).pack())
        elif kind == "segment":
            flags = last | TxFlags.SEGMENT
            size = len(SEGMENTED)
            queue.post(TxDescriptor(self.segmented, size, flags, mss=200, header_length=54).pack())
        elif kind == "bad":
            queue.post(TxDescriptor(self.plain, 5, last).pack())
        elif kind == "tls":
            queue.post(TxDescriptor(self.plain, 60, last | TxFlags.TLS).pack())
        else:
            address = UNMAPPED if kind == "unmapped" else self.plain
            queue.post(TxDescriptor(address, 60, last).pack())
        self.packets[index].append((queue.tail, kind != "quiet"))

    def ring(self, index):
        if self.tx[index].state is QueueState.RUNNING:
            self.tx[index].ring_doorbell()

    @rule(index=st.integers(0, 1), count=st.integers(1, 4))
    def give_buffers(self, index, count):
        queue = self.rx[index]
        head = self.rig.read(queue.register("HEAD"))
        if queue.state is not QueueState.RUNNING:
            return
        for number in range(count):
            if (queue.tail + 1 - head) % ENTRIES:
                queue.post(RxDescriptor(self.buffers[number], BUFFER_BYTES).pack())
        queue.ring_doorbell()

    @rule()
    def command(self):
        head = self.rig.read(self.admin.register("HEAD"))
        if (self.admin.tail + 1 - head) % ENTRIES:
            self.admin.post(NopCommand(command_id=7).pack())
            self.admin.ring_doorbell()

    @rule(index=st.integers(0, 5))
    def reap(self, index):
        if self.queues[index].state is QueueState.DISABLED:
            return  # what it completed in its last life is still in memory
        done = self.queues[index].reap()
        if index < 2:
            for completion in done:
                self.completed(self.packets[index], completion.head)

    def completed(self, packets, head):
        """Completions come in order, and none of a packet that asked for one is left out."""
        while packets:
            end, reported = packets.popleft()
            if end == head:
                return
            assert not reported
        raise AssertionError(f"completion of {head}, where no packet ends")

    @rule(index=st.integers(0, 5))
    def arm(self, index):
        queue = self.queues[index]
        if queue.state is QueueState.DISABLED:
            return
        vector = self.vector_of(queue)
        self.rig.write(r.INT_CAUSE, 1 << vector, 8)
        queue.return_entries(arm=True)
        self.armed[index] = vector

    @rule(
        offset=st.sampled_from([0, 4, 8, 0x400, 0x404, 0x808]),
        value=st.integers(ENTRIES, 2**32 - 1),
        width=st.sampled_from([1, 2, 4]),
    )
    def wrong_write(self, offset, value, width):
        """An index that cannot be right, or a width that no register takes, changes nothing else."""
        if width == 4:
            self.rig.doorbell(offset, value | ENTRIES)
        else:
            self.rig.write(offset, value & 0xFF, width)

    @rule(rx=st.booleans(), tx=st.booleans())
    def control(self, rx, tx):
        self.rig.write(r.CONTROL, rx << 1 | tx << 2)

    @rule(joins=st.booleans())
    def offloads(self, joins):
        self.rig.write(
            r.OFFLOAD_ENABLE, Offload.RX_CHECKSUM | (Offload.RX_COALESCE if joins else 0)
        )

    @rule(vector=st.integers(0, 11), usecs=st.sampled_from([0, 20, 500]), frames=st.integers(0, 3))
    def moderate(self, vector, usecs, frames):
        self.rig.write(r.MODERATION + 4 * vector, usecs | (frames if usecs else 0) << 16)

    @rule(kinds=st.integers(0, 7))
    def ask_for_events(self, kinds):
        self.rig.write(r.EVENT_ENABLE, kinds & int(sum(EventMask)))

    @rule()
    def reset(self):
        self.rig.write(r.CONTROL, r.CONTROL_RESET_MASK)
        self.armed.clear()
        for packets in self.packets.values():
            packets.clear()
        assert set(self.rig.nic.counters.as_dict().values()) <= {0}

    # PCI, wire, time

    @rule(on=st.booleans())
    def bus_master(self, on):
        self.rig.host.bus_master = on

    @rule(on=st.booleans())
    def msix(self, on):
        self.rig.host.msix_enabled = on
        self.rig.nic.forget_views()  # as when a map goes and comes

    @rule(up=st.booleans())
    def link(self, up):
        self.rig.nic.set_link(up)

    @rule(blocked=st.booleans())
    def wire(self, blocked):
        self.rig.wire.blocked = blocked

    @rule(number=st.integers(0, len(ARRIVALS) - 1))
    def arrive(self, number):
        self.rig.receive(ARRIVALS[number])

    @rule()
    def super_frame(self):
        self.rig.receive(SEGMENTED, SUPER)

    @rule(after_ns=st.sampled_from([0, 1_000, 30_000, 1_000_000]))
    def turn(self, after_ns):
        """What the server does in one turn."""
        rig = self.rig
        rig.now_ns += after_ns
        rig.nic.advance(rig.now_ns)
        if rig.nic.transmitter.blocked and not rig.wire.blocked:
            rig.nic.wire_writable(rig.now_ns)
        rig.nic.poll(rig.now_ns)

    # What holds

    @precondition(lambda self: hasattr(self, "rig"))
    @invariant()
    def transmit_counters_agree(self):
        counters = self.rig.nic.counters
        drops = sum(getattr(counters, f"tx_drop_{reason}") for reason in TX_DROPS)
        assert counters.tx_packets == counters.tx_sent_packets + drops
        assert all(len(frame) >= 60 for frame in self.rig.sent)

    @precondition(lambda self: hasattr(self, "rig"))
    @invariant()
    def intx_and_msix_exclude_each_other(self):
        if self.rig.host.msix_enabled:
            self.rig.nic.poll(self.rig.now_ns)
            assert not self.rig.host.intx

    @rule()
    def rest(self):
        """When nothing moves any more, nothing is missing."""
        rig = self.rig
        rig.wire.blocked = False
        for _ in range(4):
            self.turn(10_000_000)
            while rig.nic.poll(rig.now_ns):
                pass
        assert rig.nic.next_deadline_ns() is None
        counters = rig.nic.counters
        drops = sum(getattr(counters, f"rx_drop_{reason}") for reason in RX_DROPS)
        assert counters.rx_wire_frames == counters.rx_frames + drops
        for index, vector in self.armed.items():
            if self.queues[index].completion_is_there:
                assert rig.read(r.INT_CAUSE, 8) >> vector & 1, f"queue {index} sleeps for ever"

    def teardown(self):
        if not hasattr(self, "rig"):
            return
        self.rest()
        self.rig.host.bus_master = True
        self.rig.write(r.CONTROL, r.CONTROL_RX_ENABLE_MASK | r.CONTROL_TX_ENABLE_MASK)
        for index in (0, 1):
            self.ring(index)
        self.rest()
        for _ in range(ENTRIES):
            self.reap(0)
            self.reap(1)
            self.rig.run()
        for index, packets in self.packets.items():
            if self.tx[index].state is QueueState.RUNNING:
                assert not [end for end, reported in packets if reported]


TestCard = Card.TestCase
TestCard.settings = settings(max_examples=120, stateful_step_count=30, deadline=None)
