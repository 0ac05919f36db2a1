"""Rate-limited send tags: holds frames back until they are due, one queue of frames per flow.

A flow's next frame is due when the one before has been paid for: its bytes divided by the rate. A flow
that was idle may be ahead by CREDIT_NS, and one that the wire or the host held up catches up with at
most CATCH_UP_NS, so that bursts stay small and the average right.
"""

import heapq
from collections.abc import Callable
from typing import Final

from tlsnic.device.core.counters import Counters
from tlsnic.device.packet.frames import Frame
from tlsnic.device.tls.pace import Pace

CREDIT_NS: Final = 2_000_000
CATCH_UP_NS: Final = 20_000_000
_SECOND_NS: Final = 1_000_000_000


class Pacer:
    """All rate-limited flows. `hand_over` gives a frame to the wire, False when it is busy."""

    def __init__(self, counters: Counters, hand_over: Callable[[Frame], bool]) -> None:
        self._counters = counters
        self._hand_over = hand_over
        self._due: list[tuple[int, int, Pace]] = []  # heap; the number keeps equal times in order
        self._serial = 0
        self._wire_busy = False

    def hold(self, pace: Pace, frames: list[Frame], now_ns: int) -> None:
        """Take a packet; frames are copied, `release` sends those that are due."""
        if not pace.frames:
            pace.due_ns = max(pace.due_ns, now_ns - CREDIT_NS)
            self._schedule(pace)
        due_ns = pace.due_ns
        for number, (parts, vnet, count, length) in enumerate(frames, 1):
            frame: Frame = ([b"".join(parts)], vnet, count, length)
            pace.frames.append((frame, number == len(frames)))
            pace.held_bytes += length
            if due_ns > now_ns:
                self._counters.tx_tls_paced += 1
            elif pace.rate:
                due_ns += length * _SECOND_NS // pace.rate

    def set_rate(self, pace: Pace, rate: int, now_ns: int) -> None:
        """From now on, also for what has left and is not paid for; 0 lets everything go."""
        unpaid_ns = pace.due_ns - now_ns
        if unpaid_ns > 0:
            pace.due_ns = now_ns + (unpaid_ns * pace.rate // rate if rate else 0)
            if pace.frames:
                self._schedule(pace)
        pace.rate = rate

    def release(self, now_ns: int) -> bool:
        """Send what is due; True when that made room for packets that wait."""
        made_room = False
        while (pace := self._first()) is not None and pace.due_ns <= now_ns:
            frame, last = pace.frames[0]
            if not self._hand_over(frame):
                self._wire_busy = True
                return made_room
            heapq.heappop(self._due)
            pace.frames.popleft()
            made_room = made_room or pace.full
            length = frame[3]
            pace.held_bytes -= length
            if last:
                self._counters.tx_packets += 1
                self._counters.tx_sent_packets += 1
            if pace.rate:
                start_ns = max(pace.due_ns, now_ns - CATCH_UP_NS)
                pace.due_ns = start_ns + length * _SECOND_NS // pace.rate
            if pace.frames:
                self._schedule(pace)
        return made_room

    def wire_writable(self) -> None:
        """The wire takes frames again."""
        self._wire_busy = False

    def next_deadline_ns(self) -> int | None:
        """When `release` has something to do; None while nothing waits, or all wait for the wire."""
        pace = None if self._wire_busy else self._first()
        return pace.due_ns if pace is not None else None

    def lose_link(self) -> int:
        """Drop everything; how many packets."""
        packets = 0
        for pace in {id(entry[2]): entry[2] for entry in self._due}.values():
            packets += sum(last for _, last in pace.frames)
            pace.frames.clear()
            pace.held_bytes = 0
        self.clear()
        return packets

    def clear(self) -> None:
        """Forget everything (reset)."""
        self._due.clear()
        self._wire_busy = False

    def _first(self) -> Pace | None:
        """The flow whose frame is due first."""
        due = self._due
        while due:
            scheduled_ns, _, pace = due[0]
            if pace.frames and scheduled_ns == pace.due_ns:
                return pace
            heapq.heappop(due)  # scheduled anew, or dropped, meanwhile
        return None

    def _schedule(self, pace: Pace) -> None:
        self._serial += 1
        heapq.heappush(self._due, (pace.due_ns, self._serial, pace))
