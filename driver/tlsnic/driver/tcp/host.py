"""Joins connections to a card: the only part of the TCP with I/O, all of it through the driver.

    with open_bus(spec) as bus, Nic.attach(bus) as nic:
        host = Host(nic, ["192.0.2.2"])
        connection = host.connect("192.0.2.1", 443)
        connection.write(b"hello")
        host.run(lambda: connection.readable, timeout_s=5.0)

One thread calls `turn` or `run` (see `loop`). One transmit and one receive queue are used.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from ipaddress import ip_address

from tlsnic.abi.enums import TlsRxState
from tlsnic.driver.headers import ETHERNET_BYTES
from tlsnic.driver.nic import Nic
from tlsnic.driver.rx import RxPacket
from tlsnic.driver.tcp import wire
from tlsnic.driver.tcp.config import Endpoint, TcpConfig
from tlsnic.driver.tcp.connection import Connection
from tlsnic.driver.tcp.errors import TcpError
from tlsnic.driver.tcp.loop import Name, TcpLoop
from tlsnic.driver.tcp.neighbour import Neighbours
from tlsnic.driver.tcp.outgoing import Outgoing, reset_for
from tlsnic.driver.tcp.port import Port, Transmit, transmit_plain
from tlsnic.driver.tcp.source import DECRYPTED, PLAIN, Mark
from tlsnic.driver.tcp.states import State

_DECRYPTED = int(TlsRxState.DECRYPTED)
_ASK_EVERY_NS = 250_000_000


class Host(TcpLoop):
    """IP addresses on a card, and the connections to and from them.

    Attributes: `nic`, `port`, `neighbours`, `connections` (by `Endpoint.key` and VLAN).
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
        super().__init__(clock)
        self.nic = nic
        self.mac = nic.mac_address
        self._addresses = [ip_address(address).packed for address in addresses]
        self.neighbours = Neighbours(self.mac, self._addresses)
        self.port = Port(nic, queue)
        self.ports.append(self.port)
        self._transmits: dict[Connection, Transmit] = {}
        self._accepting: dict[Connection, deque[Connection]] = {}
        self._listeners: dict[int, tuple[TcpConfig, deque[Connection]]] = {}
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
            self.mac, mac, local, remote, local_port or self.ephemeral_port(), port, vlan
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
            self.port.post_frame(self.neighbours.request(local, address))
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

    # For the loop

    def _mark(self, port: Port, packet: RxPacket) -> Mark:
        return DECRYPTED if packet.tls_state == _DECRYPTED else PLAIN

    def _name(self, segment: wire.Segment) -> Name:
        return segment.key, segment.vlan

    def _other(self, port: Port, packet: RxPacket) -> None:
        answer = self.neighbours.receive(packet.data)
        if answer is not None:
            port.post_frame(answer)

    def _unknown(
        self, port: Port, packet: RxPacket, segment: wire.Segment, now_ns: int
    ) -> Connection | None:
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
        port.backlog.append((transmit_plain, reset_for(template, segment)))
        return None

    def _may_send(self, connection: Connection) -> bool:
        return not self.port.backlog

    def _output(self, connection: Connection, outgoing: Outgoing) -> None:
        self.port.post(self._transmits[connection], outgoing)

    def _served(self, name: Name, connection: Connection) -> None:
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
