"""A stack over several real cores of cards, a switch and a peer, in one process with a virtual clock."""

from ipaddress import ip_address

from core_card import Card
from tcp_link import MS, Link
from test_software import unprotect

from tlsnic.driver.ktls.ifnet import NicIfnet
from tlsnic.driver.ktls.kernel import Kernel
from tlsnic.driver.ktls.pages import Memory
from tlsnic.driver.ktls.session import IPPROTO_TCP, TCP_TXTLS_ENABLE, TlsEnable
from tlsnic.driver.ktls.stack import TcpStack
from tlsnic.driver.ktls.workers import ScheduledPool
from tlsnic.driver.nic import Nic, NicOptions
from tlsnic.driver.tcp import Connection, Endpoint, TcpConfig, to_frames
from tlsnic.driver.tcp.neighbour import Neighbours
from tlsnic.driver.tcp.wire import parse

PEER_MAC = b"\x02\0\0\0\0\x99"
ADDRESSES = {
    4: ("10.0.0.1", "10.0.0.2", 24),
    6: ("fd00::1", "fd00::2", 64),
}
MASK = 0xFFFF_FFFF


def packed(text):
    return ip_address(text).packed


class Wire(Link):
    """A link that takes whole frames too."""

    def flush(self):
        for end, one in enumerate(self.ends):
            while packets := one.poll(self.now_ns):
                for packet in packets:
                    for frame in [packet] if isinstance(packet, bytes) else to_frames(packet):
                        self._send(end, frame)


class Near:
    """Stack and cards as the end of a link, behind a switch that learns addresses."""

    def __init__(self, rig):
        self.rig = rig
        self.learned = {}
        self.fixed = None
        """The card that all frames go to, whatever was learned."""

    def receive(self, frame, now_ns):
        port = self.learned.get(bytes(frame[:6])) if self.fixed is None else self.fixed
        for index, card in enumerate(self.rig.cards):
            if port is None or port == index:
                card.now_ns = now_ns
                card.core.receive([(memoryview(frame), None)], now_ns)
                card.run()

    def poll(self, now_ns):
        rig = self.rig
        frames = []
        for card in rig.cards:
            card.now_ns = now_ns
            card.run()
        rig.stack.turn(0)
        rig.work()
        rig.stack.turn(0)
        for index, card in enumerate(rig.cards):
            card.run()
            for frame in card.frames:
                self.learned[frame[6:12]] = index
                rig.sent.append((index, frame))
                frames.append(frame)
            card.frames = []
        return frames

    def next_deadline_ns(self):
        rig = self.rig
        deadlines = [c.next_deadline_ns() for c in rig.stack.connections.values()]
        deadlines += [card.core.next_deadline_ns() for card in rig.cards]
        deadlines.append(rig.stack.resolver.next_deadline_ns())
        if rig.kernel.workers.queued:
            deadlines.append(rig.link.now_ns + MS)
        return min((at for at in deadlines if at is not None), default=None)


class Far:
    """The peer: one connection, and ARP."""

    def __init__(self, connection, address):
        self.connection = connection
        self.neighbours = Neighbours(PEER_MAC, [address])
        self.answers = []
        self.frames = []
        """What it is to send beside its TCP."""

    def receive(self, frame, now_ns):
        untagged, tag = frame, b""
        if frame[12:14] == b"\x81\0":
            untagged, tag = frame[:12] + frame[16:], frame[12:16]
        answer = self.neighbours.receive(untagged)
        if answer is not None:
            self.answers.append(answer[:12] + tag + answer[12:])
        if untagged[12:14] != b"\x08\x06":
            self.connection.receive(frame, now_ns)

    def poll(self, now_ns):
        answers, self.answers = self.answers, []
        return answers + self.connection.poll(now_ns)

    def next_deadline_ns(self):
        return self.connection.next_deadline_ns()


class Rig:
    """Attributes: `cards`, `nics`, `ifnets`, `stack`, `kernel`, `so`, `inp`, `peer`, `link`; `sent`:
    (card, frame) of all that left."""

    def __init__(
        self, cards=2, *, build=None, ip_version=4, vlan=None, config=None, peer=None, **link
    ):
        """build(rig): makes the interface with the address; by default the first card is."""
        self.link = None
        self.cards = [Card() for _ in range(cards)]
        self.buses = [card.bus() for card in self.cards]
        options = NicOptions(interrupts="poll", command_timeout_s=0.05)
        self.nics = []
        for index, bus in enumerate(self.buses):
            self.nics.append(Nic.attach(bus, options))
            self.nics[-1].mac_address = bytes((2, 0, 0, 0, 0, index + 1))
        first = self.nics[0]
        self.kernel = Kernel(Memory(first.access.dma_alloc, first), ScheduledPool())
        self.kernel.sysctl["ifnet_max_rexmit_pct"] = 100
        self.stack = TcpStack(self.kernel, clock=lambda: self.link.now_ns if self.link else 10**9)
        self.ifnets = [
            self.stack.if_attach(NicIfnet(nic, f"tlsnic{n}")) for n, nic in enumerate(self.nics)
        ]
        self.sent = []
        near, far, prefix = ADDRESSES[ip_version]
        self.far_address = far
        self.top = build(self) if build is not None else self.ifnets[0]
        settings = peer or TcpConfig(time_wait_ns=10**9, mss=1400)
        end = Endpoint(PEER_MAC, self.top.if_lladdr, packed(far), packed(near), 443, 4000, vlan)
        self.peer = Connection(end, settings._replace(initial_sequence=7000))
        self.link = Wire(Far(self.peer, packed(far)), Near(self), **link)
        self.link.describe = lambda: (self.peer.state, self.so, self.stack.output_errors)
        self.stack.add_address(self.top, f"{near}/{prefix}")
        self.peer.listen()
        self.got = b""
        self.so = None
        started = config or TcpConfig(time_wait_ns=10**9, mss=1400)
        self._connect(started._replace(initial_sequence=2**32 - 40_000))
        self.start = self.inp.snd_una
        self.session = None

    def _connect(self, config):
        # As TcpStack.connect, but the link takes the turns.
        stack = self.stack
        run, stack.run = stack.run, lambda until, timeout_s: self.link.run(until)
        try:
            self.so = stack.connect(self.far_address, 443, config=config, local_port=4000)
        finally:
            stack.run = run
        self.inp = stack.inpcb(self.so)
        self.link.run(lambda: self.peer.established)

    def work(self):
        """The workers' time, twice or more often per millisecond."""
        self.kernel.workers.drain()

    def enable(self, session):
        """TLS for transmit."""
        self.session = session
        self.so.setsockopt(IPPROTO_TCP, TCP_TXTLS_ENABLE, TlsEnable.of(session))

    def send(self, *pieces, until=None):
        """Write, and go on until the peer has acknowledged everything (or `until`)."""
        for piece in pieces:
            assert self.so.write(piece) == len(piece)
        self.run(until or (lambda: not self.so.so_snd.sbused()))

    def run(self, until):
        def pump():
            self.got += self.peer.read()
            self.so.so_snd.sbcheck()
            self.so.so_rcv.sbcheck()
            return until()

        self.link.run(pump)
        self.got += self.peer.read()

    def plaintext(self):
        """What the peer has received, decrypted."""
        wire, number, plain = self.got, self.session.record_number, b""
        while wire:
            size = 5 + int.from_bytes(wire[3:5], "big")
            kind, content = unprotect(self.session, wire[:size], number)
            assert kind == 23
            plain += content
            wire = wire[size:]
            number += 1
        return plain

    def check_wire(self):
        """Every byte of every frame of the stream, also of those that were lost, is what the peer has
        at its place: nothing ever left in clear, or encrypted in another way. Bytes per card."""
        counts = [0] * len(self.cards)
        for index, frame in self.sent:
            if frame[12:14] == b"\x08\x06" or (
                frame[12:14] == b"\x81\0" and frame[16] == 8 and frame[17] == 6
            ):
                continue
            if frame[20:21] == b"\x3a" and frame[12:14] == b"\x86\xdd":
                continue
            segment = parse(frame)
            payload = bytes(segment.payload)
            if payload:
                at = segment.seq - self.start & MASK
                assert self.got[at : at + len(payload)] == payload
                counts[index] += len(payload)
        return counts

    def counter(self, name):
        return self.kernel.sysctl[name]

    def close(self):
        for inp in self.stack.inpcbs:
            inp.so.abort()
        self.link.flush()
        for nic in self.nics:
            nic.close()
        self.stack.close()
        assert not self.kernel.memory.in_use - len(self.kernel.page_cache)
        self.kernel.close()
        for bus in self.buses:
            assert bus.dma_live_bytes == 0
