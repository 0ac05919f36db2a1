"""Joins connections to a card: the only part of the TCP with I/O, all of it through the driver.

    with open_bus(spec) as bus, Nic.attach(bus) as nic:
        host = Host(nic, ["192.0.2.2"])
        connection = host.connect("192.0.2.1", 443)
        connection.write(b"hello")
        host.run(lambda: connection.readable, timeout_s=5.0)

One thread calls `turn` or `run`; a turn takes a batch of packets, lets every connection send, and
waits for an interrupt or the next deadline. One transmit and one receive queue are used.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from ipaddress import ip_address

from tlsnic.abi.enums import Offload, RxFlags, TlsRxState, TxFlags
from tlsnic.driver.errors import RingFullError
from tlsnic.driver.headers import ETHERNET_BYTES
from tlsnic.driver.nic import Nic
from tlsnic.driver.queue import Queue
from tlsnic.driver.rx import RxPacket
from tlsnic.driver.tcp import wire
from tlsnic.driver.tcp.config import Endpoint, TcpConfig
from tlsnic.driver.tcp.connection import Connection
from tlsnic.driver.tcp.errors import SegmentError, TcpError
from tlsnic.driver.tcp.neighbour import Neighbours
from tlsnic.driver.tcp.outgoing import Outgoing, reset_for
from tlsnic.driver.tcp.states import State
from tlsnic.driver.tx import TxQueue

Transmit = Callable[[TxQueue, Outgoing], object]
"""Posts one packet, or raises RingFullError and is called again later."""

_BUDGET = 64  # packets received per turn
_POLL_MOST = 256  # packets of one connection per turn
_CHECKSUM = int(TxFlags.L4_CHECKSUM | TxFlags.IP_CHECKSUM)
_SEGMENT = _CHECKSUM | int(TxFlags.SEGMENT)
_CHECKED = int(RxFlags.L4_CHECKSUM_OK)
_BAD = int(RxFlags.L4_CHECKSUM_BAD | RxFlags.IP_CHECKSUM_BAD)
_DECRYPTED = int(TlsRxState.DECRYPTED)
_FIRST_EPHEMERAL, _LAST_PORT = 49152, 65535  # RFC 6335, section 6
_ASK_EVERY_NS = 250_000_000
_LONGEST_WAIT_S = 1.0


def transmit_plain(queue: TxQueue, outgoing: Outgoing) -> None:
    """Copy the packet into the queue's memory and post it, with checksums and segmentation."""
    headers, payload, mss = outgoing.headers, outgoing.payload, outgoing.mss
    size = len(headers)
    length = size + len(payload)
    room = queue.reserve(length)
    room[:size] = headers
    room[size:] = payload
    if mss:
        queue.commit(length, _SEGMENT, 0, 0, mss, size)
    else:
        queue.commit(length, _CHECKSUM)


def _transmit_frame(queue: TxQueue, outgoing: Outgoing) -> None:
    queue.send(outgoing.headers)


class Host:
    """IP addresses on a card, and the connections to and from them.

    Attributes: `nic`, `neighbours`, `connections` (by `Endpoint.key` and VLAN), `bad_frames` (by
    the card's checksum), `delayed` (how often the ring was full).
    """

    def __init__(
        self,
        nic: Nic,
        addresses: Iterable[str],
        *,
        queue: int = 0,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """The card is started and stays the caller's. queue: number of its two queues.

        Switches receive checksums and TLS on where the card has them, and with an IPv6 address
        lets multicast in. Raises ValueError for an address that is none.
        """
        self.nic = nic
        self.mac = nic.mac_address
        self._addresses = [ip_address(address).packed for address in addresses]
        self.neighbours = Neighbours(self.mac, self._addresses)
        self.connections: dict[tuple[bytes, int | None], Connection] = {}
        self.bad_frames = 0
        self.delayed = 0
        self._clock = clock
        self._tx, self._rx = nic.tx[queue], nic.rx[queue]
        self._transmits: dict[Connection, Transmit] = {}
        self._accepting: dict[Connection, deque[Connection]] = {}
        self._listeners: dict[int, tuple[TcpConfig, deque[Connection]]] = {}
        self._backlog: deque[tuple[Transmit, Outgoing]] = deque()
        self._next_port = _FIRST_EPHEMERAL + clock() % (_LAST_PORT - _FIRST_EPHEMERAL)
        wanted = Offload.RX_CHECKSUM | Offload.RX_TLS
        nic.offloads = nic.offloads | (nic.capabilities.offloads & wanted)
        if any(len(address) == 16 for address in self._addresses):
            nic.set_rx_filter(all_multicast=True)

    # Connections

    def connect(
        self,
        address: str,
        port: int,
        *,
        config: TcpConfig | None = None,
        local_port: int | None = None,
        vlan: int | None = None,
        timeout_s: float = 10.0,
    ) -> Connection:
        """Open a connection to a neighbour and wait until it is established.

        Raises TcpError when the neighbour or the connection does not answer in time, or refuses.
        """
        remote = ip_address(address).packed
        local = next((own for own in self._addresses if len(own) == len(remote)), None)
        if local is None:
            raise TcpError(f"no address of this host's can reach {address}")
        deadline_ns = self._clock() + int(timeout_s * 1e9)
        mac = self.resolve(remote, timeout_s)
        endpoint = Endpoint(
            self.mac, mac, local, remote, local_port or self._ephemeral(), port, vlan
        )
        connection = self.add(Connection(endpoint, self._fitting(config, endpoint)))
        connection.connect(self._clock())
        left_s = (deadline_ns - self._clock()) / 1e9
        done = self.run(lambda: connection.established or connection.closed, left_s)
        if not done or not connection.established:
            reason = connection.error.value if connection.error else "no answer in time"
            connection.abort(self._clock())
            raise TcpError(f"no connection to {address} port {port}: {reason}")
        return connection

    def listen(self, port: int, config: TcpConfig | None = None) -> deque[Connection]:
        """Take connections to `port`; they are appended to the result when established."""
        accepted: deque[Connection] = deque()
        self._listeners[port] = (config or TcpConfig(), accepted)
        return accepted

    def unlisten(self, port: int) -> None:
        """Take no more connections to `port`."""
        self._listeners.pop(port, None)

    def add(self, connection: Connection, transmit: Transmit = transmit_plain) -> Connection:
        """Serve a connection that the caller made. ValueError when its endpoint is in use."""
        name = (connection.endpoint.key, connection.endpoint.vlan)
        if name in self.connections:
            raise ValueError("there is a connection between these addresses and ports already")
        self.connections[name] = connection
        self._transmits[connection] = transmit
        return connection

    def set_transmit(self, connection: Connection, transmit: Transmit) -> None:
        """Send what the connection sends from now on through `transmit`.

        Packets that wait for room in the ring keep the old way.
        """
        self._transmits[connection] = transmit

    def resolve(self, address: bytes, timeout_s: float) -> bytes:
        """The Ethernet address of a neighbour, asked for if unknown. TcpError without answer."""
        local = next(own for own in self._addresses if len(own) == len(address))
        deadline_ns = self._clock() + int(timeout_s * 1e9)
        while (mac := self.neighbours.lookup(address)) is None:
            left_ns = deadline_ns - self._clock()
            if left_ns <= 0:
                raise TcpError(f"no neighbour answers for {ip_address(address)}")
            self._send_frame(self.neighbours.request(local, address))
            self.run(
                lambda: self.neighbours.lookup(address) is not None,
                min(left_ns, _ASK_EVERY_NS) / 1e9,
            )
        return mac

    def _fitting(self, config: TcpConfig | None, endpoint: Endpoint) -> TcpConfig:
        """With an MSS that fits the card's frames."""
        config = config or TcpConfig()
        headers = ETHERNET_BYTES + (40 if endpoint.ip_version == 4 else 60)
        return config._replace(mss=min(config.mss, self.nic.max_frame_bytes - headers))

    def _ephemeral(self) -> int:
        used = {connection.endpoint.local_port for connection in self.connections.values()}
        for _ in range(_FIRST_EPHEMERAL, _LAST_PORT + 1):
            port = self._next_port
            self._next_port = port + 1 if port < _LAST_PORT else _FIRST_EPHEMERAL
            if port not in used:
                return port
        raise TcpError("all ephemeral ports are in use")

    # The loop

    def run(self, until: Callable[[], object], timeout_s: float) -> bool:
        """Take turns until `until()`; whether it came true in time. Raises as `turn`."""
        deadline_ns = self._clock() + int(timeout_s * 1e9)
        while not until():
            left_ns = deadline_ns - self._clock()
            if left_ns <= 0:
                return False
            self.turn(left_ns / 1e9)
        return True

    def turn(self, timeout_s: float) -> bool:
        """Receive what is there, send what is due; wait for at most `timeout_s` if nothing was.

        Returns whether something was received. Raises DeviceGoneError, DeviceResetError,
        QueueError.
        """
        nic = self.nic
        if nic.receive_tags:  # questions of the card, and responses to what was answered
            nic.poll_events()
        busy = self._receive()
        busy_sending = self._send()
        if busy or busy_sending:
            return busy
        now_ns = self._clock()
        wait_ns = int(min(timeout_s, _LONGEST_WAIT_S) * 1e9)
        for connection in self.connections.values():
            deadline_ns = connection.next_deadline_ns()
            if deadline_ns is not None:
                wait_ns = min(wait_ns, deadline_ns - now_ns)
        if wait_ns > 0:
            queues: list[Queue] = [self._rx]
            if self._backlog:
                queues.append(self._tx)
            if nic.receive_tags:
                queues.append(nic.events)
            nic.wait_any(queues, wait_ns / 1e9)
        return False

    # Receiving

    def _receive(self) -> bool:
        packets = self._rx.poll(_BUDGET, copy=False)
        if not packets:
            return False
        now_ns = self._clock()
        for packet in packets:
            self._take(packet, now_ns)
        del packets, packet  # views of memory that goes back to the card now
        self._rx.recycle()
        return True

    def _take(self, packet: RxPacket, now_ns: int) -> None:
        flags = packet.flags
        if flags & _BAD:
            self.bad_frames += 1
            return
        vlan = packet.vlan
        try:
            segment = wire.parse(
                packet.data,
                vlan=None if vlan is None else vlan & 0xFFF,
                verify=not flags & _CHECKED,
                decrypted=packet.tls_state == _DECRYPTED,
            )
        except SegmentError:
            answer = self.neighbours.receive(packet.data)
            if answer is not None:
                self._send_frame(answer)
            return
        if packet.flow:
            tag = self.nic.receive_tags.get(packet.flow)
            if tag is not None:
                tag.received(packet, len(segment.payload))
        connection = self.connections.get((segment.key, segment.vlan))
        if connection is None:
            connection = self._unknown(packet, segment, now_ns)
            if connection is None:
                return
        connection.receive_segment(segment, now_ns)

    def _unknown(self, packet: RxPacket, segment: wire.Segment, now_ns: int) -> Connection | None:
        """No connection has this segment: a listener may, else it is answered with a RST."""
        endpoint = wire.reply_endpoint(packet.data, segment)
        if endpoint.local_address not in self._addresses or segment.flags & wire.RST:
            return None
        flags = segment.flags & (wire.SYN | wire.ACK)
        listener = self._listeners.get(endpoint.local_port)
        try:
            if listener is not None and flags == wire.SYN:
                config = self._fitting(listener[0], endpoint)
                connection = self.add(Connection(endpoint, config))
                connection.listen()
                self._accepting[connection] = listener[1]
                return connection
            template = wire.HeaderTemplate(endpoint)
        except ValueError:  # port 0
            return None
        self._backlog.append((transmit_plain, reset_for(template, segment)))
        return None

    # Sending

    def _send(self) -> bool:
        """Let all connections send; whether any packet was posted."""
        tx = self._tx
        before = tx.posted
        now_ns = self._clock()
        with tx.batch():
            self._send_backlog()
            if not self._backlog:
                for name, connection in list(self.connections.items()):
                    self._serve(name, connection, now_ns)
                    if self._backlog:
                        break
        if not self._backlog:
            tx.reap()
        return tx.posted != before

    def _serve(self, name: tuple[bytes, int | None], connection: Connection, now_ns: int) -> None:
        transmit, tx = self._transmits[connection], self._tx
        for outgoing in connection.poll(now_ns, _POLL_MOST):
            if self._backlog:
                self._backlog.append((transmit, outgoing))
                continue
            try:
                transmit(tx, outgoing)
            except RingFullError:
                self.delayed += 1
                self._backlog.append((transmit, outgoing))
        state = connection.state
        accepting = self._accepting.get(connection)
        if accepting is not None and state is not State.SYN_RCVD:
            del self._accepting[connection]
            if state is not State.LISTEN:
                accepting.append(connection)
        # One that is listening again was reset before it was established.
        if state is State.CLOSED or (accepting is not None and state is State.LISTEN):
            del self.connections[name]
            del self._transmits[connection]

    def _send_backlog(self) -> None:
        backlog, tx = self._backlog, self._tx
        while backlog:
            transmit, outgoing = backlog[0]
            try:
                transmit(tx, outgoing)
            except RingFullError:
                return
            backlog.popleft()

    def _send_frame(self, frame: bytes) -> None:
        self._backlog.append((_transmit_frame, Outgoing(frame, 0, b"", 0, False)))
