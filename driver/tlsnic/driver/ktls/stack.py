"""The network stack under sockets: TCP connections over several interfaces, and their NIC TLS.

    stack = TcpStack(kernel)
    card = stack.if_attach(NicIfnet(nic, "tlsnic0"))
    stack.add_address(card, "192.0.2.2/24")
    so = stack.connect("192.0.2.1", 443)
    so.setsockopt(IPPROTO_TCP, TCP_TXTLS_ENABLE, ...)
    so.write(data)
    stack.run(lambda: not so.so_snd.sbused(), timeout_s=5.0)

One thread takes turns (see `tcp.loop`); what sockets and workers ask of it from other threads
becomes a task of the next turn (`usrreq`, `tasks`). A program without threads need not take turns
while it writes or reads: a socket that has to wait takes them.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from errno import EAGAIN, ECONNREFUSED, ECONNRESET, EHOSTUNREACH, ENOTCONN, ESRCH, ETIMEDOUT
from ipaddress import ip_address, ip_interface
from typing import TypeVar

from tlsnic.driver.headers import ETHERNET_BYTES
from tlsnic.driver.ktls import ktls_ifnet
from tlsnic.driver.ktls.ifnet import Ifnet, NicIfnet, vlan_of
from tlsnic.driver.ktls.kernel import Kernel
from tlsnic.driver.ktls.output import Resolver, ip_output
from tlsnic.driver.ktls.pcb import Inpcb
from tlsnic.driver.ktls.route import RouteTable
from tlsnic.driver.ktls.snd_tag import SndTag, TlsSndTag
from tlsnic.driver.ktls.sockbuf import SBS_CANTRCVMORE, SBS_CANTSENDMORE
from tlsnic.driver.ktls.socket import SS_ISCONNECTED, Socket
from tlsnic.driver.ktls.sockopt import ktls_set_tx_mode
from tlsnic.driver.ktls.tasks import CALL_TIMEOUT_S, TaskQueue
from tlsnic.driver.ktls.usrreq import TcpUsrreq
from tlsnic.driver.rx import RxPacket
from tlsnic.driver.tcp import wire
from tlsnic.driver.tcp.config import TcpConfig
from tlsnic.driver.tcp.connection import Connection
from tlsnic.driver.tcp.errors import Failure
from tlsnic.driver.tcp.loop import Name, TcpLoop
from tlsnic.driver.tcp.neighbour import Neighbours
from tlsnic.driver.tcp.outgoing import Outgoing, reset_for
from tlsnic.driver.tcp.port import Port
from tlsnic.driver.tcp.source import Mark
from tlsnic.driver.tcp.states import State

_T = TypeVar("_T")
_ERRORS = {
    Failure.REFUSED: ECONNREFUSED,
    Failure.RESET: ECONNRESET,
    Failure.TIMED_OUT: ETIMEDOUT,
    Failure.ABORTED: ECONNRESET,
}
_GONE = (State.CLOSED, State.TIME_WAIT)
_SOON_S = 0.001
_CALL_TIMEOUT_S = 10.0
_SWITCH_TRIES = 2000


class Listener:
    """A port that connections are taken to. `accepted`: their sockets, once established."""

    def __init__(self, config: TcpConfig) -> None:
        self.config = config
        self.accepted: deque[Socket] = deque()


class TcpStack(TcpLoop):
    """Attributes: `kernel`, `routes`, `resolver`, `ifnets` (the cards); `usrreq`, which the sockets
    ask; `output_errors`: packets that were dropped on their way down, by errno."""

    def __init__(self, kernel: Kernel, *, clock: Callable[[], int] = time.monotonic_ns) -> None:
        """kernel: the caller's, who closes it after the stack. clock: nanoseconds."""
        super().__init__(clock)
        self.kernel = kernel
        self.routes = RouteTable()
        self.resolver = Resolver()
        self.ifnets: list[NicIfnet] = []
        self.output_errors: Counter[int] = Counter()
        self._addresses: set[bytes] = set()
        self._by_port: dict[Port, NicIfnet] = {}
        self._inpcbs: dict[Connection, Inpcb] = {}
        self._of_socket: dict[Socket, Inpcb] = {}
        self._listeners: dict[int, Listener] = {}
        self._accepting: dict[Connection, Listener] = {}
        self._tasks = TaskQueue()
        self.usrreq = TcpUsrreq(self, self._tasks)

    def close(self) -> None:
        """End all connections without a word. The cards stay the caller's; what they may still
        read is wired until `Ifnet.closed`, which this calls: stop or close the cards before."""
        for inp in list(self._inpcbs.values()):
            inp.is_dropped = True
            inp.so.sofree()
        self._inpcbs.clear()
        self._of_socket.clear()
        self.connections.clear()
        for ifp in self.ifnets:
            ifp.free_closed()
            ifp.closed()
        self._tasks.close()

    # Interfaces

    def if_attach(self, ifp: NicIfnet) -> NicIfnet:
        """Take turns on a card."""
        self.ifnets.append(ifp)
        self.ports.append(ifp.port)
        self._by_port[ifp.port] = ifp
        ifp.sysctl = self.kernel.sysctl
        ifp.on_dead_tag = self._dead_tag
        return ifp

    def add_address(self, ifp: Ifnet, address: str) -> None:
        """Give an interface an address with its prefix ("192.0.2.2/24"), and make the route to its
        network. Raises ValueError."""
        made = ip_interface(address)
        ifp.addresses.append(made.ip.packed)
        self._addresses.add(made.ip.packed)
        ifp.neighbours = Neighbours(ifp.if_lladdr, ifp.addresses)
        self.routes.add(str(made.network), ifp)
        ifp.on_link.append(self._announce)
        if made.version == 6:
            for leaf in self.ifnets:
                leaf.nic.set_rx_filter(all_multicast=True)

    def _announce(self, ifp: Ifnet) -> None:
        """Another card has taken over: bridges shall learn where the address is (gratuitous ARP)."""
        if ifp.is_running and ifp.neighbours is not None:
            for address in ifp.addresses:
                if len(address) == 4:
                    ifp.output_frame(ifp.neighbours.request(address, address))

    def _dead_tag(self, tag: SndTag) -> None:
        """A card was reset: the tags of its connections are made anew."""
        for inp in self._inpcbs.values():
            tls = inp.so.so_snd.sb_tls_info
            if tls is not None and self.leaf_tag(inp.so) is tag:
                ktls_ifnet.ktls_output_eagain(inp, tls)

    # Connections

    def connect(
        self,
        address: str,
        port: int,
        *,
        config: TcpConfig | None = None,
        local_port: int | None = None,
        timeout_s: float = 10.0,
    ) -> Socket:
        """Open a connection and wait until it is established.

        Raises OSError: EHOSTUNREACH, ECONNREFUSED, ETIMEDOUT.
        """
        remote = ip_address(address).packed
        hop = self.routes.lookup(remote)
        own = [] if hop is None else [a for a in hop.ifp.addresses if len(a) == len(remote)]
        if hop is None or not own:
            raise OSError(EHOSTUNREACH, f"no route to {address}")
        local = (own[0], local_port or self.ephemeral_port())
        inp = self._add(local, (remote, port), config or TcpConfig(), hop.ifp)
        connection, so = inp.connection, inp.so
        connection.connect(self._clock())
        self.run(lambda: connection.established or connection.closed, timeout_s)
        if not connection.established:
            reason = ETIMEDOUT if connection.error is None else _ERRORS[connection.error]
            so.abort()
            raise OSError(reason, f"no connection to {address} port {port}")
        return so

    def listen(self, port: int, config: TcpConfig | None = None) -> Listener:
        """Take connections to `port`, on all addresses."""
        listener = self._listeners[port] = Listener(config or TcpConfig())
        return listener

    def unlisten(self, port: int) -> None:
        """Take no more connections to `port`."""
        self._listeners.pop(port, None)

    def _add(
        self, local: tuple[bytes, int], remote: tuple[bytes, int], config: TcpConfig, ifp: Ifnet
    ) -> Inpcb:
        headers = ETHERNET_BYTES + (40 if len(local[0]) == 4 else 60)
        fitting = config._replace(mss=min(config.mss, ifp.max_frame_bytes - headers))

        def make_socket(inp: Inpcb) -> Socket:
            return Socket(
                self.kernel,
                self.usrreq,
                send_bytes=config.send_buffer,
                receive_bytes=config.window,
                flowid=inp.inp_flowid,
            )

        inp = Inpcb(self, make_socket, local, remote, fitting)
        connection = inp.connection
        self.connections[connection.endpoint.key, None] = connection
        self._inpcbs[connection] = inp
        self._of_socket[inp.so] = inp
        return inp

    def find(self, so: Socket) -> Inpcb | None:
        """The connection of a socket; None when it is over. Any thread."""
        return self._of_socket.get(so)

    def inpcb(self, so: Socket) -> Inpcb:
        """The same. Raises OSError (ENOTCONN) when it is over."""
        inp = self.find(so)
        if inp is None:
            raise OSError(ENOTCONN, "not connected")
        return inp

    def in_pcblookup(self, local: tuple[str, int], remote: tuple[str, int]) -> Inpcb:
        """A connection by addresses and ports. Raises OSError (ESRCH)."""
        here, there = ip_address(local[0]).packed, ip_address(remote[0]).packed
        for inp in self._inpcbs.values():
            end = inp.connection.endpoint
            if (end.local_address, end.local_port) == (here, local[1]) and (
                (end.remote_address, end.remote_port) == (there, remote[1])
            ):
                return inp
        raise OSError(ESRCH, "no such connection")

    @property
    def inpcbs(self) -> list[Inpcb]:
        """All connections."""
        return list(self._inpcbs.values())

    # The loop

    def now_ns(self) -> int:
        """The clock."""
        return self._clock()

    def turn(self, timeout_s: float) -> bool:
        """As `TcpLoop.turn`; tasks first."""
        self._tasks.run()
        for ifp in self.ifnets:
            ifp.free_closed()
        now_ns = self._clock()
        self.resolver.ask(now_ns)
        asking_ns = self.resolver.next_deadline_ns()
        if asking_ns is not None:
            timeout_s = min(timeout_s, max(asking_ns - now_ns, 0) / 1e9)
        if self._tasks:
            timeout_s = min(timeout_s, _SOON_S)
        return super().turn(timeout_s)

    def enqueue_task(self, task: Callable[[], None]) -> None:
        """Do something in the next turn. Any thread."""
        self._tasks.enqueue(task)

    def call(self, function: Callable[[], _T], timeout_s: float = CALL_TIMEOUT_S) -> _T:
        """Do something in the thread that takes turns, and wait for its result. Any thread. Raises
        what it raises, and TimeoutError when nobody takes turns: then it will not be done."""
        return self._tasks.call(function, timeout_s)

    def _watched(self) -> Sequence[int]:
        return (self._tasks.fd,)

    # Receiving

    def _take(self, port: Port, packet: RxPacket, now_ns: int) -> None:
        lagg = self._by_port[port].if_lagg
        if lagg is None or lagg.takes(self._by_port[port]):
            super()._take(port, packet, now_ns)

    def _mark(self, port: Port, packet: RxPacket) -> Mark:
        return self._by_port[port].mark(packet)

    def _name(self, segment: wire.Segment) -> Name:
        return segment.key, None

    def _deliver(self, connection: Connection, segment: wire.Segment, now_ns: int) -> None:
        self._inpcbs[connection].rcv_vlan_id = segment.vlan
        connection.receive_segment(segment, now_ns)

    def _input_ifp(self, port: Port, vlan: int | None) -> Ifnet | None:
        """The interface with addresses that a packet came in at (rcvif)."""
        ifp: Ifnet = self._by_port[port]
        if ifp.if_lagg is not None:
            ifp = ifp.if_lagg
        return ifp if vlan is None else ifp.if_vlans.get(vlan)

    def _other(self, port: Port, packet: RxPacket) -> None:
        vlan = vlan_of(packet)
        ifp = self._input_ifp(port, vlan)
        if ifp is None or ifp.neighbours is None:
            return
        frame = packet.data
        if vlan is not None and packet.vlan is None:
            frame = bytes(frame[:12]) + bytes(frame[16:])
        answer = ifp.neighbours.receive(frame)
        if answer is not None:
            ifp.output_frame(answer)
        self.resolver.learned(ifp)

    def _unknown(
        self, port: Port, packet: RxPacket, segment: wire.Segment, now_ns: int
    ) -> Connection | None:
        ifp = self._input_ifp(port, segment.vlan)
        endpoint = wire.reply_endpoint(packet.data, segment)
        if ifp is None or endpoint.local_address not in self._addresses:
            return None
        if segment.flags & wire.RST or not endpoint.local_port or not endpoint.remote_port:
            return None
        listener = self._listeners.get(endpoint.local_port)
        if listener is not None and segment.flags & (wire.SYN | wire.ACK) == wire.SYN:
            local = (endpoint.local_address, endpoint.local_port)
            remote = (endpoint.remote_address, endpoint.remote_port)
            connection = self._add(local, remote, listener.config, ifp).connection
            connection.listen()
            self._accepting[connection] = listener
            return connection
        ifp.output_headers(reset_for(wire.HeaderTemplate(endpoint._replace(vlan=None)), segment))
        return None

    # Sending

    def _may_send(self, connection: Connection) -> bool:
        inp = self._inpcbs[connection]
        hop = inp.route()
        leaf = None if hop is None else hop.ifp.leaf(inp.inp_flowid)
        return leaf is None or not leaf.port.backlog

    def _output(self, connection: Connection, outgoing: Outgoing) -> None:
        inp = self._inpcbs[connection]
        try:
            ip_output(inp, outgoing)
        except OSError as error:  # it is lost, and TCP sends it again
            self.output_errors[error.errno or 0] += 1
            inp.eagain += error.errno == EAGAIN
        if outgoing.is_retransmit:
            ktls_ifnet.ktls_check_rexmit(inp)

    def _served(self, name: Name, connection: Connection) -> None:
        inp = self._inpcbs[connection]
        so, state = inp.so, connection.state
        listener = self._accepting.get(connection)
        if listener is not None and state is not State.SYN_RCVD:
            del self._accepting[connection]
            if state in (State.LISTEN, State.CLOSED):  # it ended before it was established
                so.sofree()
                self._forget(name, inp)
                return
            listener.accepted.append(so)
        if connection.statistics.timeouts != inp.timeouts:
            inp.timeouts = connection.statistics.timeouts
            self._doubt_neighbour(inp)
        if connection.peer_ended and not so.so_rcv.sb_state & SBS_CANTRCVMORE:
            self._socantrcvmore(so)
        elif inp.has_news:
            so.so_rcv.sowakeup()
        inp.has_news = False
        if state is State.CLOSED:
            self._disconnected(inp)
            self._forget(name, inp)
        elif state is State.TIME_WAIT and inp.is_closing:
            so.sofree()

    def _doubt_neighbour(self, inp: Inpcb) -> None:
        """Nothing is acknowledged: the neighbour may have another Ethernet address by now. Ask, but
        go on with what is known."""
        hop = inp.route()
        if hop is not None:
            self.resolver.refresh(hop.ifp, hop.gateway or inp.remote_address)

    @staticmethod
    def _socantrcvmore(so: Socket) -> None:
        sb = so.so_rcv
        with sb.sb_mtx:
            sb.sb_state |= SBS_CANTRCVMORE
            if sb.ktls_check_rx is not None:
                sb.ktls_check_rx(sb)
        sb.sowakeup()

    def _disconnected(self, inp: Inpcb) -> None:
        """soisdisconnected: what cannot be sent any more goes; what was received can be read."""
        so, error = inp.so, inp.connection.error
        inp.is_dropped = True
        if error is not None and not so.so_error and not inp.is_closing:
            so.so_error = _ERRORS[error]
        so.so_state &= ~SS_ISCONNECTED
        so.so_snd.sb_state |= SBS_CANTSENDMORE
        so.so_snd.sbflush()
        so.so_snd.sowakeup()
        self._socantrcvmore(so)
        if inp.is_closing:
            so.sofree()

    def _forget(self, name: Name, inp: Inpcb) -> None:
        del self.connections[name]
        del self._inpcbs[inp.connection]
        self._of_socket.pop(inp.so, None)

    # For tools

    def switch_tls(self, inp: Inpcb, mode: int) -> None:
        """ktls_set_tx_mode of a live connection, between two writes. Any thread. Raises OSError:
        EAGAIN when somebody writes all the time."""

        def switch() -> bool:
            so = inp.so
            if self.usrreq.is_writing(so) or not so.send_lock.acquire(blocking=False):
                return False
            try:
                ktls_set_tx_mode(so, mode)
            finally:
                so.send_lock.release()
            return True

        for _ in range(_SWITCH_TRIES):
            if self.call(switch):
                return
            time.sleep(_SOON_S)
        raise OSError(EAGAIN, "somebody writes all the time")

    def leaf_tag(self, so: Socket) -> TlsSndTag | None:
        """The card's send tag of a socket's session, to look at."""
        tls = so.so_snd.sb_tls_info
        leaf = tls.snd_tag.leaf if tls is not None and isinstance(tls.snd_tag, SndTag) else None
        return leaf if isinstance(leaf, TlsSndTag) else None
