"""The sending side: what to send next, and what an acknowledgement or a time-out changes.

Everything is in positions (see `seq`): the SYN is at `iss`, data from `iss` + 1, the FIN behind
the data. Each byte between `una` and `nxt` is in one of three places: in `sacked` (has arrived),
in `lost` (to be sent again), or on its way. `pipe` counts the last kind, so that congestion
control is the same in all phases: send while the pipe is smaller than the window.

Loss recovery is RFC 6675 with SACK, and undone when it proves to have been for nothing: reordering
looks like loss until the late segment arrives. Without it, duplicate ACKs count as one segment each that has
left the pipe, which is RFC 6582 with the window's inflation written differently.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from typing import NamedTuple

from tlsnic.driver.tcp.config import TcpConfig
from tlsnic.driver.tcp.congestion import NewReno
from tlsnic.driver.tcp.ranges import RangeSet
from tlsnic.driver.tcp.rto import RttEstimator
from tlsnic.driver.tcp.send_buffer import SendBuffer
from tlsnic.driver.tcp.source import SendSource
from tlsnic.driver.tcp.statistics import Statistics
from tlsnic.driver.tcp.tail_probe import TailProbe
from tlsnic.driver.tcp.wire import DEFAULT_MSS_4

DUPLICATE_THRESHOLD = 3
"""DupThresh of RFC 5681 and 6675."""


class Recovery(Enum):
    """Why data is sent again."""

    NONE = "nothing is lost"
    FAST = "fast recovery: acknowledgements told of the loss"
    TIMEOUT = "the retransmission timer fired"


class Send(NamedTuple):
    """Positions [start, end) to be sent now."""

    start: int
    end: int
    is_retransmit: bool


class Sender:
    """Attributes: `una`, `nxt` (positions), `window_end` (the peer's offered edge), `mss`."""

    def __init__(
        self,
        iss: int,
        config: TcpConfig,
        statistics: Statistics,
        source: Callable[[int], SendSource] = SendBuffer,
    ) -> None:
        """`source(position)` makes what is sent, given the position of its first byte."""
        self.una = iss
        self.nxt = iss
        self.iss = iss
        self.buffer = source(iss + 1)
        self.fin_queued = False
        self.window_end = iss + 1  # the SYN needs no permission
        self.mss = DEFAULT_MSS_4
        self.sack = False
        self.congestion = NewReno(self.mss, enabled=config.congestion_control)
        self.rtt = RttEstimator(config.min_rto_ns, config.max_rto_ns)
        self.recovery = Recovery.NONE
        self.sacked = RangeSet()
        self.lost = RangeSet()
        self.retransmit_at: int | None = None
        """Deadline of the retransmission timer."""
        self.max_window = 0
        """MAX.SND.WND: the largest window the peer has offered."""
        self.persist_at: int | None = None
        """Deadline of the persist timer (RFC 9293, section 3.8.6.1)."""
        self.syn_retransmitted = False
        self._max_send = self.mss
        self.tail_probe = TailProbe()
        self._config = config
        self._statistics = statistics
        self._retransmitted: list[tuple[int, int, int]] = []  # start, end, `nxt` at that time
        self._recovery_point = iss  # `nxt` when the last recovery began
        self._lost_edge = iss  # below it, all that SACK shows to be lost was put into `lost`
        # The recovery was for nothing when all that it sent again had arrived before: window and
        # threshold from before it, and what it sent again and no DSACK told of.
        self._undo: tuple[int, int] | None = None
        self._doubtful = RangeSet()
        self._duplicates = 0
        self._forced = False  # one segment may go out of `lost` whatever the window says
        self._window_used = False
        self._override = False  # the persist timer lets a small segment go
        self._timed: tuple[int, int] | None = None  # acknowledged at this position, sent when
        self._echo_from = iss  # a timestamp echo is a sample when this is acknowledged
        self._retries = 0
        self._answered = False
        self._persist_ns = 0
        self._last_sent_ns = 0

    def establish(self, mss: int, max_send_bytes: int, *, sack: bool) -> None:
        """The handshake is done: `mss` payload bytes per segment, several in one sending."""
        self.mss = mss
        self.sack = sack
        self._max_send = max(max_send_bytes - max_send_bytes % mss, mss)
        if self.syn_retransmitted:
            self.rtt.syn_was_lost()
        self.congestion.start(mss, after_loss=self.syn_retransmitted)

    # What there is

    @property
    def end(self) -> int:
        """Behind everything that was written, the FIN included."""
        return self.buffer.end + self.fin_queued

    @property
    def flight(self) -> int:
        """Sent and not cumulatively acknowledged."""
        return self.nxt - self.una

    @property
    def pipe(self) -> int:
        """Estimate of what is still in the network (RFC 6675, SetPipe)."""
        left = 0 if self.sack else self._duplicates * self.mss
        return max(self.nxt - self.una - self.sacked.total - self.lost.total - left, 0)

    # Sending

    def next_send(self, now_ns: int) -> Send | None:
        """What to send now; None when nothing can go. It counts as sent."""
        probing = self.tail_probe.due
        send = self._next_lost() if self.lost else self._next_new(now_ns)
        if probing:
            send = self._send_probe(send)
        if send is None:
            return None
        self._last_sent_ns = now_ns
        if self.retransmit_at is None or probing:
            self.retransmit_at = now_ns + self.rtt.rto_ns
        self._schedule_probe(now_ns)
        return send

    def _send_probe(self, new: Send | None) -> Send:
        """New data if there is any, else the last segment again (RFC 8985, section 7.3)."""
        if new is None:
            start = self._last_piece()
            new = Send(start, self.nxt, True)
            if self._timed is not None and self._timed[0] > start:
                self._timed = None
            self._statistics.retransmits += 1
            self._statistics.bytes_retransmitted += self.nxt - start
        self.tail_probe.sent(new.end, is_retransmit=new.is_retransmit)
        self._statistics.tail_probes += 1
        return new

    def _last_piece(self) -> int:
        """Where the last segment of what was sent starts, which may be sent again."""
        nxt = self.nxt
        start = max(nxt - self.mss, self.una)
        end = min(nxt, self.buffer.end)
        while start < end and (border := self.buffer.boundary(start, end)) < end:
            start = border
        return start

    def _schedule_probe(self, now_ns: int) -> None:
        probe = self.tail_probe
        calm = self.recovery is Recovery.NONE and not self.sacked and self.una > self.iss
        if self.sack and calm and self.flight and self.retransmit_at is not None:
            one = self.flight <= self.mss
            before_ns = self.retransmit_at
            probe.schedule(now_ns, self.rtt.srtt_ns, one_segment=one, before_ns=before_ns)
        else:
            probe.cancel()

    def _next_lost(self) -> Send | None:
        start, end = self.lost.first
        room = self.congestion.window - self.pipe
        size = min(end - start, self._max_send, room)
        if size < end - start:
            size -= size % self.mss
        if size <= 0:
            self._window_used = True
            if not self._forced:
                return None
            size = min(end - start, self.mss)
        self._forced = False
        end = start + size
        if start == self.iss:
            end = start + 1  # a SYN goes alone
        else:
            end = self._within_boundary(start, end)
            if end == self.buffer.end and self.nxt > end:
                end += 1  # the FIN fits into the last segment of the data
        self.lost.remove(start, end)
        self._retransmitted.append((start, end, self.nxt))
        if self._undo is not None:
            self._doubtful.add(start, end)
        if self._timed is not None and self._timed[0] > start:
            self._timed = None  # Karn's algorithm (RFC 6298, section 3)
        self._statistics.retransmits += 1
        self._statistics.bytes_retransmitted += end - start
        return Send(start, end, True)

    def _next_new(self, now_ns: int) -> Send | None:
        nxt = self.nxt
        if nxt == self.iss:
            end = nxt + 1
        else:
            end = self._new_end(now_ns)
            if end <= nxt:
                return None
            end = self._within_boundary(nxt, end)
        self._override = False
        self.persist_at = None
        if self._timed is None:
            self._timed = (end, now_ns)
        self.nxt = end
        first = max(nxt, self.iss + 1)
        self._statistics.bytes_sent += max(min(end, self.buffer.end) - first, 0)
        return Send(nxt, end, False)

    def _within_boundary(self, start: int, end: int) -> int:
        """As far towards `end` as one packet may reach; a FIN belongs to any data."""
        buffer = self.buffer
        data_end = min(end, buffer.end)
        if start >= data_end:
            return end
        border = buffer.boundary(start, data_end)
        return end if border >= data_end else border

    def _new_end(self, now_ns: int) -> int:
        """Where the next new piece ends; `nxt` when none can go now."""
        nxt, mss, buffer = self.nxt, self.mss, self.buffer
        ready = buffer.ready_end
        if self.fin_queued and ready == buffer.end:
            ready += 1  # a FIN needs the window as a byte does
        left = ready - nxt
        if left <= 0:
            self._window_used = False
            return nxt
        if nxt == self.una and now_ns - self._last_sent_ns > self.rtt.rto_ns:
            self.congestion.idle()
        offered = self.window_end - nxt
        room = self.congestion.window - self.pipe
        if self.tail_probe.due:
            room = mss  # one segment, whatever the congestion window says
        size = min(left, offered, room, self._max_send)
        if size >= left:
            if self._config.nagle and left < mss and self.flight and not self.fin_queued:
                return nxt
            return nxt + left
        if size >= mss:
            return nxt + size - size % mss
        if room < min(mss, left):
            self._window_used = True
            return nxt
        # The window is too small: no silly small segments (RFC 9293, section 3.8.6.2.1).
        if size > 0 and (2 * size >= self.max_window or self._override):
            return nxt + size
        if self.una == nxt and self.persist_at is None:
            self._persist_ns = self.rtt.rto_ns
            self.persist_at = now_ns + self._persist_ns
        return nxt

    # Acknowledgements

    def set_window(self, end: int) -> bool:
        """The peer offers up to the position `end`; whether that is a change."""
        changed = end != self.window_end
        self.window_end = end
        self.max_window = max(self.max_window, end - self.una)
        if end > self.nxt:
            self.persist_at = None
        return changed

    def acknowledge(
        self,
        ack: int,
        blocks: Iterable[tuple[int, int]],
        *,
        duplicate: bool,
        echo_ns: int | None,
        now_ns: int,
    ) -> int:
        """An ACK of everything below `ack` (`una` to `nxt`) and of the SACK `blocks`.

        duplicate: it is a duplicate as of RFC 5681, section 2. echo_ns: round-trip time by its
        timestamp. Returns how many positions are newly acknowledged.
        """
        self._answered = True
        doubled = False
        before = self.sacked.total
        for start, end in blocks:
            if end <= ack:  # a DSACK (RFC 2883): these bytes arrived twice
                self._doubtful.remove(start, end)
                doubled = end == self.tail_probe.end
            elif ack <= start < end <= self.nxt and start >= self.una:
                self.sacked.add(start, end)
                self.lost.remove(start, end)
        news = self.sacked.total > before
        advanced = ack - self.una
        if advanced > 0:
            self._advance(ack, echo_ns, now_ns)
        elif news or (duplicate and not self.sack and self.flight):
            self._duplicates += 1
            self._statistics.duplicate_acks += 1
        plain = duplicate and not advanced and not self.sacked
        if self.tail_probe.acknowledged(ack, duplicate=doubled, plain=plain):
            self.congestion.recover(self.flight)
        if self.sacked:
            self._find_lost()
        if self.recovery is Recovery.NONE:
            if self._undo is not None and not self._doubtful:
                self.congestion.undo(*self._undo)
                self._undo = None
                self._statistics.undone_recoveries += 1
            self._consider_recovery(now_ns)
        self._schedule_probe(now_ns)
        return max(advanced, 0)

    def _advance(self, ack: int, echo_ns: int | None, now_ns: int) -> None:
        acked = ack - self.una
        if self._timed is not None and ack >= self._timed[0]:
            self.rtt.sample(now_ns - self._timed[1])
            self._timed = None
            self._echo_from = self.nxt
        elif echo_ns is not None and ack > self._echo_from:
            self.rtt.sample(echo_ns)
            self._echo_from = self.nxt
        else:
            self.rtt.progress()
        self.una = ack
        self.sacked.trim_below(ack)
        self.lost.trim_below(ack)
        self._retransmitted = [entry for entry in self._retransmitted if entry[1] > ack]
        self.buffer.release(ack)
        self._retries = 0
        self._persist_ns = 0
        self.persist_at = None
        self.retransmit_at = now_ns + self.rtt.rto_ns if ack < self.nxt else None
        if self.recovery is not Recovery.NONE and ack >= self._recovery_point:
            if self.recovery is Recovery.FAST and self.congestion.enabled:
                # RFC 6582, section 3.2, step 3 (1): no burst when little is under way.
                self.congestion.window = min(
                    self.congestion.threshold, max(self.flight, self.mss) + self.mss
                )
            self.recovery = Recovery.NONE
            self._duplicates = 0
        elif self.recovery is Recovery.FAST:
            self._partial(ack, acked)
        else:
            self._duplicates = 0
            if self._window_used or self.recovery is Recovery.TIMEOUT:
                self.congestion.acknowledged(acked)

    def _partial(self, ack: int, acked: int) -> None:
        """An ACK in fast recovery that does not end it: what comes next is lost too."""
        end = min(ack + self.mss, self.nxt)
        if self.sack:
            end = min(end, self.sacked.first[0]) if self.sacked else ack
        else:
            self._duplicates = max(self._duplicates - acked // self.mss + 1, 0)
        if any(start <= ack for start, _, _ in self._retransmitted):
            return  # it has been sent again already
        self.lost.add(ack, end)
        self._forced = self.lost.total > 0

    def _find_lost(self) -> None:
        """Put into `lost` what RFC 6675's IsLost says, and retransmits that were lost again."""
        above = 0
        limit = (DUPLICATE_THRESHOLD - 1) * self.mss
        edge = self.una
        for runs, (start, end) in enumerate(reversed(self.sacked), 1):
            above += end - start
            if runs >= DUPLICATE_THRESHOLD or above > limit:
                edge = start
                break
        low = max(self._lost_edge, self.una)
        if edge > low:
            for start, end in self.sacked.gaps(low, edge):
                self.lost.add(start, end)
            self._lost_edge = edge
        if self._retransmitted:
            self._find_lost_again(limit)

    def _find_lost_again(self, limit: int) -> None:
        """A retransmit is lost when data that was sent after it has arrived, enough of it."""
        above, mark = 0, self.nxt
        for start, end in reversed(self.sacked):
            above += end - start
            if above > limit:
                mark = start + above - limit - 1 if above - limit < end - start else start
                break
        else:
            return
        kept = []
        for entry in self._retransmitted:
            if entry[2] > mark:
                kept.append(entry)
                continue
            gaps = self.sacked.gaps(max(entry[0], self.una), entry[1])
            if gaps:
                self._statistics.lost_retransmits += 1
            for start, end in gaps:
                self.lost.add(start, end)
        self._retransmitted = kept

    def _consider_recovery(self, now_ns: int) -> None:
        if not self.lost and self._duplicates < DUPLICATE_THRESHOLD:
            return
        # RFC 6582, section 3.2, step 2: not for duplicates of what the last recovery sent.
        if not self.sack and self.una <= self._recovery_point and self._recovery_point > self.iss:
            return
        if not self.lost:
            end = min(self.una + self.mss, self.nxt)
            if self.sacked:
                end = min(end, self.sacked.first[0])
            self.lost.add(self.una, end)
        self._undo = (self.congestion.window, self.congestion.threshold)
        self._doubtful.clear()
        self.congestion.recover(self.flight)
        self.recovery = Recovery.FAST
        self._recovery_point = self.nxt
        self._forced = True
        self.retransmit_at = now_ns + self.rtt.rto_ns
        self._statistics.fast_recoveries += 1

    # Timers

    def expire(self, now_ns: int) -> bool:
        """Do what timers are due. False when the peer has to be given up."""
        if self.retransmit_at is not None and now_ns >= self.retransmit_at:
            return self._time_out(now_ns)
        probe = self.tail_probe
        if probe.at_ns is not None and now_ns >= probe.at_ns:
            probe.at_ns = None
            probe.due = True
        return True

    def _time_out(self, now_ns: int) -> bool:
        # A closed window is no reason to give up as long as the peer says so.
        if not (self.window_end <= self.una and self._answered):
            self._retries += 1
        if self._retries > self._config.max_retries:
            return False
        self._answered = False
        self._statistics.timeouts += 1
        self.syn_retransmitted |= self.una == self.iss
        again = self.recovery is Recovery.TIMEOUT and self._retries > 1
        self.congestion.time_out(self.flight, again=again)
        self.recovery = Recovery.TIMEOUT
        self._recovery_point = self._lost_edge = self.nxt
        # The peer may have dropped what it selectively acknowledged (RFC 2018, section 8).
        self.sacked.clear()
        self._retransmitted.clear()
        self._undo = None
        self.tail_probe.forget()
        self.lost.add(self.una, self.nxt)
        self._duplicates = 0
        self._forced = True
        self._timed = None
        self.rtt.back_off()
        self.retransmit_at = now_ns + self.rtt.rto_ns
        return True

    def probe_due(self, now_ns: int) -> bool:
        """Whether the persist timer fired and a window probe has to go.

        With a window that is only too small, a small segment goes instead.
        """
        if self.persist_at is None or now_ns < self.persist_at:
            return False
        self._persist_ns = min(2 * self._persist_ns, self._config.max_rto_ns)
        self.persist_at = now_ns + self._persist_ns
        if self.window_end > self.nxt:
            self._override = True
            return False
        self._statistics.window_probes += 1
        return True
