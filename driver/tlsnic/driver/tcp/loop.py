"""The loop that serves connections over cards: receive, let all of them send, wait.

`Host` is this with one card, the KTLS model's `TcpStack` with several interfaces. One thread calls
`turn` or `run`; a turn takes a batch of packets, lets every connection send, and waits for an
interrupt, a file descriptor or the next deadline.
"""

from __future__ import annotations

import select
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from tlsnic.abi.enums import RxFlags
from tlsnic.driver.queue import Queue
from tlsnic.driver.rx import RxPacket
from tlsnic.driver.tcp import wire
from tlsnic.driver.tcp.connection import Connection
from tlsnic.driver.tcp.errors import SegmentError, TcpError
from tlsnic.driver.tcp.outgoing import Outgoing
from tlsnic.driver.tcp.port import Port
from tlsnic.driver.tcp.source import Mark
from tlsnic.driver.waiting import GONE_CHECK_S

Name = tuple[bytes, int | None]
"""How connections are found: `Endpoint.key`, and the VLAN if that counts."""

_BUDGET = 64  # packets received per turn and card
_POLL_MOST = 256  # packets of one connection per turn
_CHECKED = int(RxFlags.L4_CHECKSUM_OK)
_BAD = int(RxFlags.L4_CHECKSUM_BAD | RxFlags.IP_CHECKSUM_BAD)
_FIRST_EPHEMERAL, _LAST_PORT = 49152, 65535  # RFC 6335, section 6
_LONGEST_WAIT_S = 1.0
_PAUSE_S = 0.0005  # between looks at rings of cards without interrupts


class TcpLoop(ABC):
    """Attributes: `ports`, `connections` (by name)."""

    def __init__(self, clock: Callable[[], int] = time.monotonic_ns) -> None:
        """clock: nanoseconds."""
        self.ports: list[Port] = []
        self.connections: dict[Name, Connection] = {}
        self._clock = clock
        self._next_port = _FIRST_EPHEMERAL + clock() % (_LAST_PORT - _FIRST_EPHEMERAL)

    # What depends on the network below

    @abstractmethod
    def _mark(self, port: Port, packet: RxPacket) -> Mark:
        """What the card says of a packet."""

    @abstractmethod
    def _name(self, segment: wire.Segment) -> Name:
        """The name of the connection that a segment belongs to."""

    @abstractmethod
    def _unknown(
        self, port: Port, packet: RxPacket, segment: wire.Segment, now_ns: int
    ) -> Connection | None:
        """No connection has this segment: one that takes it, or None when that was seen to."""

    @abstractmethod
    def _other(self, port: Port, packet: RxPacket) -> None:
        """A packet that is no TCP segment."""

    @abstractmethod
    def _may_send(self, connection: Connection) -> bool:
        """Whether the connection shall send now; False while its packets wait for room."""

    @abstractmethod
    def _output(self, connection: Connection, outgoing: Outgoing) -> None:
        """Transmit a packet of the connection."""

    @abstractmethod
    def _served(self, name: Name, connection: Connection) -> None:
        """The connection has sent what it could; called in every turn."""

    def _watched(self) -> Sequence[int]:
        """File descriptors that end a wait when they are readable."""
        return ()

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
        busy = False
        for port in self.ports:
            # Questions of the card, and responses to what was answered; link changes.
            if port.watches_events or port.nic.receive_tags:
                port.nic.poll_events()
            busy |= self._receive(port)
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
            self._wait(wait_ns / 1e9)
        return False

    def _wait(self, timeout_s: float) -> None:
        """Until one of the cards has something, or a watched descriptor is readable."""
        watched = self._watched()
        if len(self.ports) == 1 and not watched:
            port = self.ports[0]
            port.nic.wait_any(port.waits_for(), timeout_s)
            return
        queues = [(port, queue) for port in self.ports for queue in port.waits_for()]
        if any(queue.ready() for _, queue in queues):
            return
        poller = select.poll()
        for fd in watched:
            poller.register(fd, select.POLLIN)
        if any(port.nic.waiter.kind == "poll" for port in self.ports):
            self._poll(poller, [queue for _, queue in queues], timeout_s)
            return
        sources: dict[int, tuple[Port, Queue]] = {}
        for port, queue in queues:
            queue.arm()
            sources[queue.fileno()] = port, queue
        if any(queue.ready() for _, queue in queues):
            return
        for fd in sources:
            poller.register(fd, select.POLLIN)
        fired = poller.poll(min(timeout_s, GONE_CHECK_S) * 1000)
        for fd, _ in fired:
            if fd in sources:
                port, queue = sources[fd]
                port.nic.waiter.take(queue.vector)
        if not fired:
            for _, queue in queues:
                queue.check()

    @staticmethod
    def _poll(poller: select.poll, queues: list[Queue], timeout_s: float) -> None:
        """Cards without interrupts: look again and again."""
        until_s = time.monotonic() + min(timeout_s, GONE_CHECK_S)
        while (left_s := until_s - time.monotonic()) > 0:
            if poller.poll(min(left_s, _PAUSE_S) * 1000) or any(q.ready() for q in queues):
                return
        for queue in queues:
            queue.check()

    # Receiving

    def _receive(self, port: Port) -> bool:
        packets = port.rx.poll(_BUDGET, copy=False)
        if not packets:
            return False
        now_ns = self._clock()
        for packet in packets:
            self._take(port, packet, now_ns)
        del packets, packet  # views of memory that goes back to the card now
        port.rx.recycle()
        return True

    def _take(self, port: Port, packet: RxPacket, now_ns: int) -> None:
        flags = packet.flags
        if flags & _BAD:
            port.bad_frames += 1
            return
        vlan = packet.vlan
        try:
            segment = wire.parse(
                packet.data,
                vlan=None if vlan is None else vlan & 0xFFF,
                verify=not flags & _CHECKED,
                mark=self._mark(port, packet),
            )
        except SegmentError:
            self._other(port, packet)
            return
        if packet.flow:
            tag = port.nic.receive_tags.get(packet.flow)
            if tag is not None:
                tag.received(packet, len(segment.payload))
        connection = self.connections.get(self._name(segment))
        if connection is None:
            connection = self._unknown(port, packet, segment, now_ns)
            if connection is None:
                return
        self._deliver(connection, segment, now_ns)

    def _deliver(self, connection: Connection, segment: wire.Segment, now_ns: int) -> None:
        """A segment of a connection has come."""
        connection.receive_segment(segment, now_ns)

    # Sending

    def _send(self) -> bool:
        """Let all connections send; whether any packet was posted."""
        ports = self.ports
        before = [port.tx.posted for port in ports]
        now_ns = self._clock()
        with ExitStack() as batches:
            for port in ports:
                batches.enter_context(port.tx.batch())
                port.send_backlog()
            for name, connection in list(self.connections.items()):
                if self._may_send(connection):
                    for outgoing in connection.poll(now_ns, _POLL_MOST):
                        self._output(connection, outgoing)
                    self._served(name, connection)
        for port in ports:
            if not port.backlog:
                port.reap()
        return [port.tx.posted for port in ports] != before

    # Names

    def ephemeral_port(self) -> int:
        """A local port that no connection has. Raises TcpError."""
        used = {connection.endpoint.local_port for connection in self.connections.values()}
        for _ in range(_FIRST_EPHEMERAL, _LAST_PORT + 1):
            port = self._next_port
            self._next_port = port + 1 if port < _LAST_PORT else _FIRST_EPHEMERAL
            if port not in used:
                return port
        raise TcpError("all ephemeral ports are in use")
