"""The network stack under sockets: TCP connections over several interfaces, and their NIC TLS.

    stack = TcpStack(kernel)
    card = stack.if_attach(NicIfnet(nic, "tlsnic0"))
    stack.add_address(card, "192.0.2.2/24")
    so = stack.connect("192.0.2.1", 443)
    so.setsockopt(IPPROTO_TCP, TCP_TXTLS_ENABLE, ...)
    so.write(data)
    stack.run(lambda: not so.so_snd.sbused(), timeout_s=5.0)

One thread takes turns (see `tcp.loop`); what sockets and workers ask of it from other threads
becomes a task of the next turn. A program without threads need not take turns while it writes or
reads: a socket that has to wait takes them.
"""

from __future__ import annotations

import os
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from errno import EAGAIN, ECONNREFUSED, ECONNRESET, EHOSTUNREACH, ENOTCONN, ESRCH, ETIMEDOUT
from ipaddress import ip_address, ip_interface
from threading import Event, get_ident
from typing import TypeVar

from tlsnic.driver.headers import ETHERNET_BYTES
from tlsnic.driver.ktls import ktls_ifnet
from tlsnic.driver.ktls.decrypt import TlsRxParams
from tlsnic.driver.ktls.ifnet import Ifnet, NicIfnet, vlan_of
from tlsnic.driver.ktls.kernel import Kernel
from tlsnic.driver.ktls.output import Resolver, ip_output
from tlsnic.driver.ktls.pcb import Inpcb
from tlsnic.driver.ktls.route import RouteTable
from tlsnic.driver.ktls.session import KtlsSession
from tlsnic.driver.ktls.snd_tag import SndTag, TlsSndTag
from tlsnic.driver.ktls.sockbuf import SBS_CANTRCVMORE, SBS_CANTSENDMORE, Sockbuf
from tlsnic.driver.ktls.socket import SS_ISCONNECTED, Socket
from tlsnic.driver.ktls.sockopt import ktls_set_tx_mode
from tlsnic.driver.rx import RxPacket
from tlsnic.driver.tcp import wire
from tlsnic.driver.tcp.config import TcpConfig
from tlsnic.driver.tcp.connection import Connection
from tlsnic.driver.tcp.errors import Failure
from tlsnic.driver.tcp.loop import Name, TcpLoop
from tlsnic.driver.tcp.neighbour import Neighbours
from tlsnic.driver.tcp.outgoing import Outgoing, reset_for
from tlsnic.driver.tcp.port import Port
from tlsnic.driver.tcp.seq import MASK
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
    """A `socket.ProtocolSwitch`. Attributes: `kernel`, `routes`, `resolver`, `ifnets` (the cards);
    `output_errors`: packets that were dropped on their way down, by errno."""

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
        self._tasks: deque[Callable[[], None]] = deque()
        self._wakeup = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._thread: int | None = None
        self._writing: set[Socket] = set()

    def close(self) -> None:
        """End all connections without a word. The cards stay the caller's; what they may still
        read is wired until `Ifnet.closed`, which this calls: stop or close the cards before."""
        for inp in list(self._inpcbs.values()):
            inp.is_dropped = True
            inp.so.sofree()
        self._inpcbs.clear()
        self._of_socket.clear()
        self.connections.clear()
        self._tasks.clear()
        for ifp in self.ifnets:
            ifp.free_closed()
            ifp.closed()
        if self._wakeup >= 0:
            os.close(self._wakeup)
            self._wakeup = -1

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
            if not connection.closed:
                so.tcp_drop(reason)
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
                self,
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

    def inpcb(self, so: Socket) -> Inpcb:
        """The connection of a socket. Raises OSError (ENOTCONN) when it is over."""
        inp = self._of_socket.get(so)
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
        self._thread = get_ident()
        self._clear_wakeup()
        for _ in range(len(self._tasks)):
            self._tasks.popleft()()
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
        """Do something in the next turn (taskqueue_enqueue). Any thread."""
        self._tasks.append(task)
        self._wake()

    def call(self, function: Callable[[], _T], timeout_s: float = _CALL_TIMEOUT_S) -> _T:
        """Do something in the thread that takes turns, and wait for its result. Any thread. Raises
        what it raises, and TimeoutError when nobody takes turns."""
        if self._thread in (None, get_ident()):
            return function()
        done = Event()
        results: list[_T] = []
        errors: list[Exception] = []

        def task() -> None:
            try:
                results.append(function())
            except Exception as error:
                errors.append(error)
            finally:
                done.set()

        self.enqueue_task(task)
        if not done.wait(timeout_s):
            raise TimeoutError("nobody takes turns")
        if errors:
            raise errors[0]
        return results[0]

    def _wake(self) -> None:
        if get_ident() != self._thread and self._wakeup >= 0:
            os.eventfd_write(self._wakeup, 1)

    def _clear_wakeup(self) -> None:
        try:
            os.eventfd_read(self._wakeup)
        except BlockingIOError:
            return

    def _watched(self) -> Sequence[int]:
        return (self._wakeup,)

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
            if state is State.LISTEN:  # it was reset before it was established
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

    # For sockets: struct protosw

    def pr_send(self, so: Socket) -> None:
        """tcp_usr_send: the next turn sends it."""
        self._wake()

    def pr_ready(self, so: Socket) -> None:
        """tcp_usr_ready. Any thread."""
        self._wake()

    def pr_rcvd(self, so: Socket) -> None:
        """tcp_usr_rcvd."""
        inp = self._of_socket.get(so)
        if inp is not None:
            self._do(inp.connection.was_read)

    def pr_shutdown(self, so: Socket) -> None:
        """tcp_usr_shutdown."""
        inp = self._of_socket.get(so)
        if inp is not None:
            self._do(lambda: inp.connection.close(self._clock()))

    def pr_close(self, so: Socket) -> None:
        """tcp_usr_close."""
        inp = self._of_socket.get(so)
        if inp is None:
            so.sofree()
            return
        inp.is_closing = True
        self._do(lambda: inp.connection.close(self._clock()))

    def tcp_drop(self, so: Socket, error: int) -> None:
        """A reset to the peer, in the next turn. Any thread."""
        inp = self._of_socket.get(so)
        if inp is None:
            so.sofree()
            return
        inp.is_closing = True
        self.enqueue_task(lambda: inp.connection.abort(self._clock()))

    def snd_tag_alloc(self, so: Socket, tls: KtlsSession, *, force: bool) -> SndTag:
        """ktls_alloc_snd_tag."""
        inp = self.inpcb(so)
        tls.inp = inp
        return self.call(lambda: ktls_ifnet.ktls_alloc_snd_tag(inp, tls, force=force))

    def rcv_start(self, so: Socket) -> int:
        """TCP sequence number of the first byte in so_rcv."""
        return self.inpcb(so).rcv_nxt - so.so_rcv.sb_ccc & MASK

    def rcv_tag_alloc(
        self, so: Socket, tls: KtlsSession, *, tcp_sequence: int, record_number: int, force: bool
    ) -> SndTag:
        """ktls_alloc_rcv_tag; in the thread that takes turns."""
        inp = self.inpcb(so)
        tls.inp = inp
        return ktls_ifnet.rcv_tag_alloc(inp, tls, tcp_sequence, record_number, force=force)

    def rx_tag_modify(self, so: Socket, params: TlsRxParams) -> None:
        """if_snd_tag_modify. Any thread."""
        inp = self._of_socket.get(so)
        if inp is not None:
            self.enqueue_task(lambda: ktls_ifnet.rx_tag_modify(inp, params))

    def sbwait(self, so: Socket, sb: Sockbuf, timeout_s: float | None) -> bool:
        """Wait for a change of a socket buffer; take turns meanwhile, if this thread does."""
        if self._thread not in (None, get_ident()):
            return sb.sbwait(timeout_s)
        before = _look(so, sb)
        deadline_ns = None if timeout_s is None else self._clock() + int(timeout_s * 1e9)
        self._writing.add(so)
        sb.sb_mtx.release()
        try:
            while _look(so, sb) == before:
                left_s = 1.0
                if deadline_ns is not None:
                    left_s = (deadline_ns - self._clock()) / 1e9
                    if left_s <= 0:
                        return False
                self.turn(left_s)
        finally:
            sb.sb_mtx.acquire()
            self._writing.discard(so)
        return True

    def is_writing(self, so: Socket) -> bool:
        """Whether a call of this thread is waiting for room in the socket's send buffer."""
        return so in self._writing

    def _do(self, function: Callable[[], None]) -> None:
        """Now, in the thread that takes turns; from others in its next turn."""
        if self._thread in (None, get_ident()):
            function()
        else:
            self.enqueue_task(function)

    # For tools

    def switch_tls(self, inp: Inpcb, mode: int) -> None:
        """ktls_set_tx_mode of a live connection, between two writes. Any thread. Raises OSError:
        EAGAIN when somebody writes all the time."""

        def switch() -> bool:
            so = inp.so
            if self.is_writing(so) or not so.send_lock.acquire(blocking=False):
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


def _look(so: Socket, sb: Sockbuf) -> tuple[int, ...]:
    return sb.sb_acc, sb.sb_ccc, sb.sb_state, so.so_error, so.so_state
