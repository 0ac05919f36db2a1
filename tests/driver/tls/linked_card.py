"""A TCP peer that sends TLS records, a bad link, and the real card with host and receiver behind it.

All in one process, with a virtual clock.
"""

from core_card import Card
from marked_stream import WireStream
from tcp_link import Link

from tlsnic.abi.enums import Offload
from tlsnic.driver.nic import Nic, NicOptions
from tlsnic.driver.tcp import Connection, Endpoint, TcpConfig
from tlsnic.driver.tcp.host import Host
from tlsnic.driver.tcp.outgoing import Outgoing
from tlsnic.driver.tls.receive_stream import TlsReceiver

ADDRESSES = {
    4: (b"\x0a\0\0\x01", b"\x0a\0\0\x02"),
    6: tuple(bytes.fromhex("fd00") + bytes(13) + bytes([n]) for n in (1, 2)),
}
PEER_MAC = b"\x02\0\0\0\0\x02"


class NearEnd:
    """Card and host as the end of a link."""

    def __init__(self, card, host):
        self.card, self.host = card, host

    def receive(self, frame, now_ns):
        self.card.now_ns = now_ns
        self.card.core.receive([(memoryview(frame), None)], now_ns)
        self.card.run()

    def poll(self, now_ns):
        self.card.now_ns = now_ns
        self.card.run()  # what it held back may be due
        self.host.turn(0)
        self.card.run()
        frames, self.card.frames = self.card.frames, []
        return [Outgoing(frame, 0, b"", 0, False) for frame in frames]

    def next_deadline_ns(self):
        deadlines = [c.next_deadline_ns() for c in self.host.connections.values()]
        deadlines.append(self.card.core.next_deadline_ns())
        return min((at for at in deadlines if at is not None), default=None)


class Rig:
    """Attributes: `card`, `nic`, `host`, `peer` and `near` (both ends' connections), `link`.

    TCP sequence numbers of the peer wrap soon.
    """

    def __init__(self, *, coalesce=False, ip_version=4, vlan=None, strip=False, **link):
        self.card = Card()
        self.bus = self.card.bus()
        options = NicOptions(interrupts="poll", command_timeout_s=0.05)
        self.nic = Nic.attach(self.bus, options)
        self.host = Host(self.nic, ["10.0.0.1"], clock=lambda: self.card.now_ns)
        extra = (Offload.RX_COALESCE if coalesce else 0) | (Offload.VLAN_STRIP if strip else 0)
        self.nic.offloads = self.nic.offloads | extra
        near, far = ADDRESSES[ip_version]
        mac = self.nic.mac_address
        settings = TcpConfig(initial_sequence=2**32 - 40_000, time_wait_ns=10**9, mss=1400)
        self.peer = Connection(Endpoint(PEER_MAC, mac, far, near, 443, 4000, vlan), settings)
        self.near = Connection(Endpoint(mac, PEER_MAC, near, far, 4000, 443, vlan))
        self.host.add(self.near)
        self.link = Link(self.peer, NearEnd(self.card, self.host), **link)
        self.link.describe = lambda: (self.peer.state, self.near.state, self.receiver)
        self.near.listen()
        self.peer.connect(self.link.now_ns)
        self.link.run(lambda: self.peer.established and self.near.established)
        self.receiver = None
        self.data = b""

    def open(self, session, **options):
        """The receiver takes over; the stream of records that the peer is to send."""
        self.receiver = TlsReceiver(self.host, self.near, session, **options)
        return WireStream(session)

    def send(self, stream, until=lambda: False):
        """The peer sends the rest of the stream; until all of it has been read here."""
        peer, receiver = self.peer, self.receiver
        view = memoryview(stream.wire)

        def pump():
            stream.sent += peer.write(view[stream.sent :])
            self.data += receiver.read()
            return (stream.sent == len(view) and not peer.unacknowledged) or until()

        self.link.run(pump)
        self.data += receiver.read()

    def close(self):
        self.nic.close()
        assert self.bus.dma_live_bytes == 0
