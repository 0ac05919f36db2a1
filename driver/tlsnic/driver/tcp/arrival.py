"""What a received segment does to a connection: RFC 9293, section 3.10.7, in its order.

With timestamps and PAWS (RFC 7323), and the checks of RFC 5961 against forged RST, SYN and ACK.
`Connection` is this class with the user's calls; it is split to keep both readable.
"""

from __future__ import annotations

from collections.abc import Callable

from tlsnic.driver.tcp import wire
from tlsnic.driver.tcp.config import Endpoint, TcpConfig
from tlsnic.driver.tcp.errors import Failure
from tlsnic.driver.tcp.outgoing import Outgoing, reset_for
from tlsnic.driver.tcp.receive import Receiver
from tlsnic.driver.tcp.receive_queue import ReceiveQueue
from tlsnic.driver.tcp.send import Sender
from tlsnic.driver.tcp.seq import MASK, difference, position
from tlsnic.driver.tcp.source import ReceiveSink, SendSource
from tlsnic.driver.tcp.states import MAY_RECEIVE, Event, State, next_state
from tlsnic.driver.tcp.statistics import Statistics
from tlsnic.driver.tcp.wire import ACK, FIN, RST, SYN, HeaderTemplate, Options, Segment

# Nobody waits for anything any more: a RST is no failure (RFC 9293, section 3.10.7.4).
_CLOSED_BY_BOTH = (State.CLOSING, State.LAST_ACK, State.TIME_WAIT)
_MS = 10**6
_SECOND = 10**9
_MAX_UNSCALED = 0xFFFF
_PENDING_MOST = 256  # packets that wait for `poll`; more would be acknowledgements of the same
_PAWS_IDLE_NS = 24 * 86400 * _SECOND  # RFC 7323, section 5.5
_MAX_IP_BYTES = 0xFFFF
_HEADERS_MOST = 20 + 60  # IPv4 and TCP with all options; IPv6 does not count its own header
_MIN_MSS = 88  # against a peer that wants absurdly small segments; as Linux (tcp_min_snd_mss)


class Arrival:
    """State of a connection, and what segments do to it."""

    def __init__(
        self,
        endpoint: Endpoint,
        config: TcpConfig,
        iss: int,
        statistics: Statistics,
        source: Callable[[int], SendSource],
        sink: ReceiveSink | None,
    ) -> None:
        if not _MIN_MSS <= config.mss <= _MAX_IP_BYTES - _HEADERS_MOST:
            raise ValueError(f"an MSS is {_MIN_MSS} to {_MAX_IP_BYTES - _HEADERS_MOST}")
        self.endpoint = endpoint
        self.config = config
        self.state = State.CLOSED
        self.error: Failure | None = None
        self.statistics = statistics
        self.on_acknowledged: Callable[[int], None] | None = None
        self._key = endpoint.key
        self._template = HeaderTemplate(endpoint)
        self._source = source
        self._sink = sink
        self._sender = Sender(iss, config, self.statistics, source)
        self._receiver: Receiver | None = None
        self._pending: list[Outgoing] = []
        self._passive = False
        # What the handshake agreed on; until then, what this side wants.
        self._timestamps = config.timestamps
        self._sack = config.sack
        self._send_scale = 0
        self._receive_scale = 0
        if config.window_scaling:
            window = config.window if sink is None else sink.capacity
            while (
                window >> self._receive_scale > _MAX_UNSCALED
                and self._receive_scale < wire.MAX_SCALE
            ):
                self._receive_scale += 1
        self._scaling = config.window_scaling
        self._window_seq = 0  # SND.WL1
        self._window_ack = 0  # SND.WL2
        self._ts_recent = 0
        self._ts_recent_ns = 0
        self._last_ack_sent = 0  # position
        self._ack_now = False
        self._ack_at: int | None = None
        self._full_segments = 0
        self._quiet_at: int | None = None
        self._challenges = 0
        self._challenges_from_ns = 0

    # Events

    def _event(self, event: Event, now_ns: int) -> None:
        old, self.state = self.state, next_state(self.state, event)
        if self.state is old:
            return
        if self.state is State.TIME_WAIT:
            self._quiet_at = now_ns + self.config.time_wait_ns
        elif self.state is State.CLOSED:
            self._quiet_at = self._ack_at = None
            self._ack_now = False
            self._sender.retransmit_at = self._sender.persist_at = None
            self._sender.tail_probe.forget()

    def _fail(self, event: Event, failure: Failure, now_ns: int) -> None:
        self.error = failure
        self._event(event, now_ns)

    # A segment

    def receive_segment(self, segment: Segment, now_ns: int) -> None:
        """A segment of this connection."""
        self.statistics.segments_received += 1
        state = self.state
        if state is State.CLOSED:
            return
        if state is State.LISTEN:
            self._in_listen(segment, now_ns)
        elif state is State.SYN_SENT:
            self._in_syn_sent(segment, now_ns)
        else:
            self._in_synchronized(segment, now_ns)

    def _in_listen(self, segment: Segment, now_ns: int) -> None:
        flags = segment.flags
        if flags & RST:
            return
        if flags & ACK:
            self._reset_reply(segment)
        elif flags & SYN:
            self._passive = True
            self._take_syn(segment, now_ns)
            self._event(Event.SYN, now_ns)

    def _in_syn_sent(self, segment: Segment, now_ns: int) -> None:
        flags, sender = segment.flags, self._sender
        if flags & ACK:
            ack = position(segment.ack, sender.una)
            if not sender.una < ack <= sender.nxt:
                self.statistics.unacceptable += 1
                if not flags & RST:
                    self._reset_reply(segment)
                return
        if flags & RST:
            if flags & ACK:
                self._fail(Event.RST, Failure.REFUSED, now_ns)
            return
        if not flags & SYN:
            return
        self._take_syn(segment, now_ns)
        if not flags & ACK:  # both opened at the same time: SYN and ACK go out together
            sender.lost.add(sender.iss, sender.nxt)
            sender.retransmit_at = None
            self._event(Event.SYN, now_ns)
            return
        self._establish(segment, ack, Event.SYN_ACK, now_ns)
        self._ack_now = True
        self._take_payload(segment, segment.seq + 1, now_ns)

    def _take_syn(self, segment: Segment, now_ns: int) -> None:
        options, config = segment.options, self.config
        self._timestamps = self._timestamps and options.timestamp is not None
        self._sack = self._sack and options.sack_permitted
        self._scaling = self._scaling and options.window_scale is not None
        self._send_scale = (options.window_scale or 0) if self._scaling else 0
        if not self._scaling:
            self._receive_scale = 0
        sink = self._sink
        if sink is None:
            sink = ReceiveQueue(
                config.window if self._receive_scale else min(config.window, _MAX_UNSCALED)
            )
        default = wire.DEFAULT_MSS_4 if self.endpoint.ip_version == 4 else wire.DEFAULT_MSS_6
        peer_mss = default if options.mss is None else max(options.mss, _MIN_MSS)
        room = 12 if self._timestamps else 0
        mss = min(config.mss, peer_mss) - room
        self._sender.mss = mss
        self._receiver = Receiver(segment.seq + 1, sink, self._receive_scale, config.mss - room)
        if not self._passive:
            self._receiver.window_end += min(sink.capacity, _MAX_UNSCALED)  # as our SYN said
        self._last_ack_sent = segment.seq + 1
        if options.timestamp is not None:
            self._ts_recent = options.timestamp[0]
            self._ts_recent_ns = now_ns

    def _establish(self, segment: Segment, ack: int, event: Event, now_ns: int) -> None:
        """The ACK of our SYN."""
        assert self._receiver is not None
        sender = self._sender
        sender.acknowledge(
            ack, (), duplicate=False, echo_ns=self._echo_ns(segment, now_ns), now_ns=now_ns
        )
        most = min(self.config.max_send_bytes, _MAX_IP_BYTES - _HEADERS_MOST)
        sender.establish(sender.mss, most, sack=self._sack)
        shift = 0 if segment.flags & SYN else self._send_scale
        self._window_seq = position(segment.seq, self._receiver.nxt)
        self._window_ack = ack
        sender.set_window(ack + (segment.window << shift))
        self._event(event, now_ns)
        if self.on_acknowledged is not None:
            self.on_acknowledged(ack & MASK)

    def _in_synchronized(self, segment: Segment, now_ns: int) -> None:
        receiver = self._receiver
        assert receiver is not None
        flags, options = segment.flags, segment.options
        seq = position(segment.seq, receiver.nxt)
        if self._timestamps and not flags & RST:
            if options.timestamp is None:  # RFC 7323, section 3.2: every segment has them
                self.statistics.unacceptable += 1
                return
            if not self._take_timestamp(options.timestamp[0], seq, now_ns):
                return
        if not self._acceptable(segment, seq):
            if self.state is State.SYN_RCVD and flags & SYN and seq + 1 == receiver.nxt:
                # The peer's SYN again: it has not got ours. Simultaneous open brings an ACK in it.
                if flags & ACK:
                    self._acknowledge(segment, seq, now_ns)
                    self._ack_now = True
                else:
                    self._send_again()
                return
            self._refuse(segment, seq, now_ns)
            return
        if flags & RST:
            if seq == receiver.nxt:
                if self.state is State.SYN_RCVD and self._passive:
                    self._listen_again()
                else:
                    if self.state not in _CLOSED_BY_BOTH:
                        self.error = Failure.RESET
                    self._event(Event.RST, now_ns)
            else:
                self._challenge(now_ns)  # RFC 5961, section 3.2
            return
        if flags & SYN:
            self._challenge(now_ns)  # RFC 5961, section 4.2
            return
        if not flags & ACK or not self._acknowledge(segment, seq, now_ns):
            return
        if self.state is not State.CLOSED:
            self._take_payload(segment, seq, now_ns)

    def _acceptable(self, segment: Segment, seq: int) -> bool:
        """RFC 9293, section 3.10.7.4, first check."""
        receiver = self._receiver
        assert receiver is not None
        length = segment.length
        low, high = receiver.nxt, receiver.window_end
        if high <= low:
            # With the window closed, only the ACK of what comes at its edge counts.
            return seq == low
        if length == 0:
            return low <= seq < high
        return seq < high and seq + length > low

    def _refuse(self, segment: Segment, seq: int, now_ns: int) -> None:
        """Not in the window: an ACK tells the peer where we are."""
        assert self._receiver is not None
        if segment.flags & RST:
            self.statistics.unacceptable += 1
            return
        if segment.length and seq < self._receiver.nxt and not segment.flags & SYN:
            # A retransmit that we had: our ACK was lost, or a FIN comes again.
            self.statistics.duplicates += 1
            if self.state is State.TIME_WAIT:
                self._quiet_at = now_ns + self.config.time_wait_ns
            self._take_payload(segment, seq, now_ns)
            return
        self.statistics.unacceptable += 1
        self._challenge(now_ns)

    def _take_timestamp(self, value: int, seq: int, now_ns: int) -> bool:
        """PAWS (RFC 7323, section 5.3); False: the segment is old."""
        if difference(value, self._ts_recent) < 0:
            if now_ns - self._ts_recent_ns <= _PAWS_IDLE_NS:
                self.statistics.paws_drops += 1
                self._challenge(now_ns)
                return False
        elif seq > self._last_ack_sent:
            return True
        self._ts_recent = value
        self._ts_recent_ns = now_ns
        return True

    def _echo_ns(self, segment: Segment, now_ns: int) -> int | None:
        timestamp = segment.options.timestamp
        if not self._timestamps or timestamp is None:
            return None
        ticks = difference(self._clock(now_ns), timestamp[1])
        return ticks * _MS if 0 <= ticks <= 1 << 24 else None

    # The ACK field

    def _acknowledge(self, segment: Segment, seq: int, now_ns: int) -> bool:
        """Take the ACK field and window. False: drop the segment."""
        sender = self._sender
        una = sender.una
        ack = position(segment.ack, una)
        if una == sender.iss:  # SYN-RECEIVED, or closed by the user in it
            if not una < ack <= sender.nxt:
                self._reset_reply(segment)
                return False
            self._establish(segment, ack, Event.SYN_ACKED, now_ns)
            return True
        if ack > sender.nxt or ack < una - sender.max_window:  # RFC 5961, section 5.2
            self.statistics.unacceptable += 1
            self._challenge(now_ns)
            return False
        changed = False
        if (seq, ack) >= (self._window_seq, self._window_ack) and ack >= una:
            self._window_seq, self._window_ack = seq, ack
            changed = sender.set_window(ack + (segment.window << self._send_scale))
        if ack < una:
            return True
        blocks: list[tuple[int, int]] = []
        if self._sack:
            blocks = [
                (position(left, una), position(right, una)) for left, right in segment.options.sack
            ]
        duplicate = ack == una and not segment.length and not changed
        moved = sender.acknowledge(
            ack,
            blocks,
            duplicate=duplicate,
            echo_ns=self._echo_ns(segment, now_ns) if ack > una else None,
            now_ns=now_ns,
        )
        if moved:
            if self.on_acknowledged is not None:
                self.on_acknowledged(ack & MASK)
            self._after_fin_acked(now_ns)
        return True

    def _after_fin_acked(self, now_ns: int) -> None:
        sender = self._sender
        if sender.fin_queued and sender.una == sender.end:
            self._event(Event.FIN_ACKED, now_ns)

    # Payload and FIN

    def _take_payload(self, segment: Segment, seq: int, now_ns: int) -> None:
        receiver, payload = self._receiver, segment.payload
        assert receiver is not None
        size = len(payload)
        fin = bool(segment.flags & FIN)
        if not size and not fin:
            return
        if self.state not in MAY_RECEIVE and self.state is not State.SYN_RCVD:
            self._ack_now = True  # of what was there already
            return
        had_gap = receiver.has_gap
        taken = receiver.accept(seq, payload, fin=fin, mark=segment.mark)
        self.statistics.bytes_received += taken
        if receiver.fin_reached:
            receiver.consume_fin()
            self._event(Event.FIN, now_ns)
            self._ack_now = True
            return
        if receiver.has_gap or had_gap:
            # At once, one for each segment (RFC 5681, section 4.2).
            self.statistics.out_of_order += seq > receiver.nxt
            self._control(self._sender.nxt, ACK, now_ns)
            self._ack_now = False
            return
        if taken < size:
            self.statistics.duplicates += not taken
            self._ack_now = True
            return
        self._full_segments += size * 2 >= receiver.mss
        if self._full_segments > 1 or size > receiver.mss:
            self._ack_now = True
        elif self._ack_at is None:
            self._ack_at = now_ns + self.config.delayed_ack_ns

    # Answers

    def _challenge(self, now_ns: int) -> None:
        """An ACK that says where we are; so many per second (RFC 5961, section 7)."""
        if now_ns - self._challenges_from_ns >= _SECOND:
            self._challenges_from_ns = now_ns
            self._challenges = 0
        if self._challenges < self.config.challenge_acks_per_s:
            self._challenges += 1
            self.statistics.challenge_acks += 1
            self._control(self._sender.nxt, ACK, now_ns)

    def _send_again(self) -> None:
        """Our SYN and ACK once more."""
        sender = self._sender
        sender.lost.add(sender.iss, sender.nxt)

    def _listen_again(self) -> None:
        """A RST to a passive open: back to where it was (RFC 9293, section 3.10.7.4)."""
        kept = self.statistics, self.on_acknowledged
        Arrival.__init__(
            self,
            self.endpoint,
            self.config,
            self._sender.iss,
            kept[0],
            self._source,
            self._sink,
        )
        self.on_acknowledged = kept[1]
        self._event(Event.LISTEN, 0)

    def _reset_reply(self, segment: Segment) -> None:
        """The RST for a segment with a wrong ACK (RFC 9293, section 3.10.7.3)."""
        self._put(reset_for(self._template, segment))

    def _control(self, seq: int, flags: int, now_ns: int) -> None:
        """A segment without payload, with the state of this moment."""
        self._put(self._bare(seq, flags, now_ns))
        self.statistics.acks_sent += flags == ACK

    def _put(self, packet: Outgoing) -> None:
        if len(self._pending) < _PENDING_MOST:
            self._pending.append(packet)

    def _bare(self, seq: int, flags: int, now_ns: int) -> Outgoing:
        self.statistics.segments_sent += 1
        options = self._options(now_ns, with_sack=True)
        return Outgoing(self._headers(seq, flags, options, 0), seq & MASK, b"", 0, False)

    def _syn_packet(self, now_ns: int, *, is_retransmit: bool) -> Outgoing:
        config, receiver = self.config, self._receiver
        echo = self._ts_recent if receiver is not None else 0
        options = Options(
            mss=config.mss,
            window_scale=self._receive_scale if self._scaling else None,
            sack_permitted=self._sack,
            timestamp=(self._clock(now_ns), echo) if self._timestamps else None,
        )
        iss = self._sender.iss
        raw = wire.build_options(options)
        self.statistics.segments_sent += 1
        if receiver is None:
            capacity = config.window if self._sink is None else self._sink.capacity
            window = min(capacity, _MAX_UNSCALED)
            headers = self._template.build(iss, 0, SYN, window, raw, 0)
        else:
            window = receiver.window_field(scaled=False)
            headers = self._template.build(iss, receiver.nxt & MASK, SYN | ACK, window, raw, 0)
        return Outgoing(headers, iss, b"", 0, is_retransmit)

    def _clock(self, now_ns: int) -> int:
        return now_ns // _MS + self.config.timestamp_offset & MASK

    def _options(self, now_ns: int, *, with_sack: bool = False) -> bytes:
        timestamp = (self._clock(now_ns), self._ts_recent) if self._timestamps else None
        receiver = self._receiver
        if with_sack and self._sack and receiver is not None and receiver.has_blocks:
            blocks = tuple(
                (left & MASK, right & MASK)
                for left, right in receiver.sack_blocks(3 if timestamp else 4)
            )
            return wire.build_options(Options(timestamp=timestamp, sack=blocks))
        return wire.timestamp_option(*timestamp) if timestamp else b""

    def _headers(self, seq: int, flags: int, options: bytes, payload_bytes: int) -> bytes:
        receiver = self._receiver
        assert receiver is not None
        window = receiver.window_field()
        self._last_ack_sent = receiver.nxt
        return self._template.build(
            seq & MASK, receiver.nxt & MASK, flags, window, options, payload_bytes
        )
