"""One TCP connection, without I/O: frames, time and calls of the user go in, packets come out.

    connection = Connection(endpoint, TcpConfig())
    connection.connect(now_ns)
    loop: for outgoing in connection.poll(now_ns): give it to the card
          connection.receive(frame, now_ns)
          wake up at connection.next_deadline_ns()

The user's calls are here and so is output; what a received segment does is in `arrival`, the
sending and receiving sides are `send` and `receive`, the states are a table in `states`.
Not here: urgent data (its bytes are read as any others), ECN, keep-alive, path MTU discovery.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from tlsnic.driver.headers import ReadableBuffer
from tlsnic.driver.tcp import wire
from tlsnic.driver.tcp.arrival import Arrival
from tlsnic.driver.tcp.config import Endpoint, TcpConfig
from tlsnic.driver.tcp.errors import Failure, SegmentError, TcpError
from tlsnic.driver.tcp.outgoing import Outgoing
from tlsnic.driver.tcp.receive_queue import ReceiveQueue
from tlsnic.driver.tcp.send import Send, Sender
from tlsnic.driver.tcp.send_buffer import SendBuffer
from tlsnic.driver.tcp.seq import MASK
from tlsnic.driver.tcp.source import PLAIN, Mark, Payload, ReceiveSink, SendSource
from tlsnic.driver.tcp.states import MAY_RECEIVE, MAY_WRITE, Event, State
from tlsnic.driver.tcp.statistics import Statistics

POLL_LIMIT = 64
# RFC 9293, section 3.10.5.
_RESET_ON_ABORT = frozenset({State.SYN_RCVD, State.CLOSE_WAIT} | MAY_RECEIVE)


class Connection(Arrival):
    """A connection; see the module. Belongs to one thread.

    Attributes: `endpoint`, `config`, `state`, `error` (why it failed, or None), `statistics`,
    `on_acknowledged` (called with the new SND.UNA, a u32, whenever it moves: what lies before is
    never sent again).
    """

    def __init__(
        self,
        endpoint: Endpoint,
        config: TcpConfig | None = None,
        on_acknowledged: Callable[[int], None] | None = None,
        *,
        source: Callable[[int], SendSource] = SendBuffer,
        sink: ReceiveSink | None = None,
    ) -> None:
        """source(position): makes what is sent, which starts at `position`. sink: where it puts
        what it receives. Without them, `write` and `read` are the ways in and out.

        Raises ValueError for an endpoint that cannot be.
        """
        config = config or TcpConfig()
        iss = config.initial_sequence
        if iss is None:
            iss = int.from_bytes(os.urandom(4), "little")
        super().__init__(endpoint, config, iss & MASK, Statistics(), source, sink)
        self.on_acknowledged = on_acknowledged

    # The user's calls

    def connect(self, now_ns: int) -> None:
        """Begin the handshake: a SYN comes out of the next `poll`. TcpError when not closed."""
        if self.state not in (State.CLOSED, State.LISTEN) or self.error is not None:
            raise TcpError(f"connect in state {self.state.value}")
        self._event(Event.CONNECT, now_ns)

    def listen(self) -> None:
        """Wait for the peer's SYN. TcpError when not closed."""
        if self.state is not State.CLOSED or self.error is not None:
            raise TcpError(f"listen in state {self.state.value}")
        self._event(Event.LISTEN, 0)

    def write(self, data: ReadableBuffer) -> int:
        """Append to the stream; how many bytes were taken: all, or what `writable` says.

        Kept by reference: `data` must not change until it is acknowledged. TcpError when this
        side's stream has ended.
        """
        if self.state not in MAY_WRITE:
            raise TcpError(f"write in state {self.state.value}")
        room = self.writable
        buffer = self._sender.buffer
        if not isinstance(buffer, SendBuffer):
            raise TcpError("what this connection sends is not written to it")
        if room <= 0:
            return 0
        if len(data) > room:
            data = memoryview(data)[:room]
        buffer.append(data)
        return len(data)

    def read(self, max_bytes: int = -1) -> bytes:
        """What has arrived in order, at most `max_bytes`; empty when there is nothing.

        See `at_end`. What arrived can be read in every state.
        """
        queue = self._queue
        if queue is None:
            return b""
        data = queue.read(max_bytes)
        self.was_read()
        return data

    def read_marked(self, max_bytes: int = -1) -> list[tuple[bytes, bool]]:
        """The same in pieces, each with whether the card has decrypted the packet it came in."""
        queue = self._queue
        if queue is None:
            return []
        pieces = [(data, mark.decrypted) for data, mark in queue.read_marked(max_bytes)]
        self.was_read()
        return pieces

    @property
    def _queue(self) -> ReceiveQueue | None:
        """What is read from; None before the peer's SYN."""
        if self._receiver is None:
            return None
        sink = self._receiver.sink
        if not isinstance(sink, ReceiveQueue):
            raise TcpError("what this connection receives is not read from it")
        return sink

    def was_read(self) -> None:
        """The sink has more room: the next `poll` tells the peer when it is worth it
        (`tcp_usr_rcvd`)."""
        if self._receiver is not None and self._receiver.update_due:
            self._ack_now = True

    def close(self, now_ns: int) -> None:
        """End this side's stream behind what was written. A second time it does nothing."""
        before = self.state
        self._event(Event.CLOSE, now_ns)
        if self.state is not before and self.state is not State.CLOSED:
            self._sender.fin_queued = True

    def abort(self, now_ns: int) -> None:
        """Forget the connection; the next `poll` has a RST for the peer, if there is one."""
        if self.closed:
            return
        if self.state in _RESET_ON_ABORT:
            self._control(self._sender.nxt, wire.RST | wire.ACK, now_ns)
        self._fail(Event.ABORT, Failure.ABORTED, now_ns)

    # Frames and time

    def receive(
        self,
        frame: ReadableBuffer,
        now_ns: int,
        *,
        vlan: int | None = None,
        verify: bool = True,
        mark: Mark = PLAIN,
    ) -> None:
        """A frame from the wire; see `wire.parse`. Anything bad or foreign is counted, no more."""
        try:
            segment = wire.parse(frame, vlan=vlan, verify=verify, mark=mark)
        except SegmentError:
            self.statistics.bad_frames += 1
            return
        if segment.key != self._key or segment.vlan != self.endpoint.vlan:
            self.statistics.foreign_frames += 1
            return
        self.receive_segment(segment, now_ns)

    def poll(self, now_ns: int, limit: int = POLL_LIMIT) -> list[Outgoing]:
        """What is to be transmitted now, at most `limit` packets, in this order.

        Each counts as sent. Call it after `receive`, `write`, `read` and `close`, and when
        `next_deadline_ns` has come.
        """
        self._expire(now_ns)
        out = self._pending[:limit]
        del self._pending[:limit]
        if self.state in (State.CLOSED, State.LISTEN):
            return out
        sender = self._sender
        while len(out) < limit:
            send = sender.next_send(now_ns)
            if send is None:
                break
            out.append(self._data_packet(send, now_ns))
        if len(out) < limit and self._receiver is not None:
            due = self._ack_at is not None and now_ns >= self._ack_at
            if self._ack_now or due:
                out.append(self._ack_packet(now_ns))
        return out

    def next_deadline_ns(self) -> int | None:
        """When `poll` has to be called at the latest, if nothing else happens; None: never."""
        sender = self._sender
        times = (
            sender.retransmit_at,
            sender.tail_probe.at_ns,
            sender.persist_at,
            self._ack_at,
            self._quiet_at,
        )
        return min((at_ns for at_ns in times if at_ns is not None), default=None)

    # Properties

    @property
    def established(self) -> bool:
        """Whether the handshake is done and the connection not over."""
        return self.state not in (
            State.CLOSED,
            State.LISTEN,
            State.SYN_SENT,
            State.SYN_RCVD,
        )

    @property
    def closed(self) -> bool:
        """Whether nothing more can happen; see `error`."""
        return self.state is State.CLOSED

    @property
    def at_end(self) -> bool:
        """Whether the peer has ended its stream and all of it was read."""
        return self.peer_ended and not self.readable

    @property
    def peer_ended(self) -> bool:
        """Whether the peer has ended its stream, and all of it is in the sink or was read."""
        return self._receiver is not None and self._receiver.fin_reached

    @property
    def readable(self) -> int:
        """Bytes that were received in order and not read."""
        return self._receiver.sink.buffered if self._receiver is not None else 0

    @property
    def writable(self) -> int:
        """Bytes that `write` would take."""
        if self.state not in MAY_WRITE:
            return 0
        return max(self.config.send_buffer - self.unacknowledged, 0)

    @property
    def unacknowledged(self) -> int:
        """Bytes written and not acknowledged, sent or not."""
        buffer = self._sender.buffer
        return buffer.end - buffer.start

    @property
    def snd_una(self) -> int:
        """SND.UNA, u32: the first sequence number that is not acknowledged."""
        return self._sender.una & MASK

    @property
    def snd_nxt(self) -> int:
        """SND.NXT, u32: the next new sequence number to be sent."""
        return self._sender.nxt & MASK

    @property
    def write_sequence(self) -> int:
        """Sequence number, u32, that the next byte given to `write` gets."""
        return self._sender.buffer.end & MASK

    @property
    def rcv_nxt(self) -> int:
        """RCV.NXT, u32; 0 before the peer's SYN."""
        return self._receiver.nxt & MASK if self._receiver is not None else 0

    @property
    def read_sequence(self) -> int:
        """Sequence number, u32, of the next byte that `read` gives; 0 before the peer's SYN."""
        receiver = self._receiver
        if receiver is None:
            return 0
        return receiver.nxt - receiver.sink.buffered - receiver.fin_reached & MASK

    @property
    def send_mss(self) -> int:
        """Payload bytes of a full segment, options deducted."""
        return self._sender.mss

    @property
    def sender(self) -> Sender:
        """The sending side, to look at: congestion window, SACK scoreboard, timers."""
        return self._sender

    # Output

    def _expire(self, now_ns: int) -> None:
        sender = self._sender
        if self._quiet_at is not None and now_ns >= self._quiet_at:
            self._event(Event.QUIET, now_ns)
        if not sender.expire(now_ns):
            self._fail(Event.GIVE_UP, Failure.TIMED_OUT, now_ns)
        elif sender.probe_due(now_ns):
            # An old sequence number without data, as Linux does it: the answer tells the window,
            # and no byte is sent that the peer would have to throw away.
            self._control(sender.una - 1, wire.ACK, now_ns)

    def _data_packet(self, send: Send, now_ns: int) -> Outgoing:
        sender, buffer = self._sender, self._sender.buffer
        start, end, is_retransmit = send
        if start == sender.iss:
            return self._syn_packet(now_ns, is_retransmit=is_retransmit)
        data_end = min(end, buffer.end)
        payload: Payload = b""
        flags = wire.ACK
        if data_end > start:
            payload = buffer.read(start, data_end)
            if data_end == buffer.end:
                flags |= wire.PSH
        if end > buffer.end:
            flags |= wire.FIN
        headers = self._headers(start, flags, self._options(now_ns), len(payload))
        self._acked()
        self.statistics.segments_sent += 1
        mss = sender.mss if len(payload) > sender.mss else 0
        return Outgoing(headers, start & MASK, payload, mss, is_retransmit)

    def _ack_packet(self, now_ns: int) -> Outgoing:
        assert self._receiver is not None
        packet = self._bare(self._sender.nxt, wire.ACK, now_ns)
        self._acked()
        self.statistics.acks_sent += 1
        return packet

    def _acked(self) -> None:
        self._ack_now = False
        self._ack_at = None
        self._full_segments = 0
