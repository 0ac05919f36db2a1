"""The pacer by itself, on a virtual clock: what leaves when."""

import random

import pytest

from tlsnic.device.core.counters import Counters
from tlsnic.device.core.pacing import CATCH_UP_NS, CREDIT_NS, Pacer
from tlsnic.device.tls.pace import Pace

MS = 1_000_000
SECOND = 1000 * MS
START = 5 * SECOND


class Bench:
    """A pacer, its clock, and what it let go: (time, flow, bytes)."""

    def __init__(self):
        self.now = START
        self.counters = Counters()
        self.busy = False
        self.left = []
        self.pacer = Pacer(self.counters, self._hand_over)

    def _hand_over(self, frame):
        if self.busy:
            return False
        self.left.append((self.now, frame[0][0][0], frame[3]))
        return True

    def hold(self, pace, *lengths, name=0):
        """A packet of frames of so many bytes."""
        self.pacer.hold(pace, [([bytes([name])], None, 1, n) for n in lengths], self.now)
        self.pacer.release(self.now)

    def run(self, for_ns, stall=lambda: 0):
        """Go on for a while, awake at every deadline or `stall` later."""
        end = self.now + for_ns
        while (due := self.pacer.next_deadline_ns()) is not None and due <= end:
            self.now = max(self.now, due) + stall()
            self.pacer.release(self.now)
        self.now = max(self.now, end)

    def bytes_of(self, name=0, since=0):
        return sum(n for at, flow, n in self.left if flow == name and at >= since)


@pytest.mark.parametrize("rate", [10_000, 123_456, 10_000_000, 1_000_000_000])
def test_rate_over_a_second(rate):
    bench, pace = Bench(), Pace(rate)
    for _ in range(200):
        bench.hold(pace, *[max(60, rate // 1900)] * 10)
    bench.run(SECOND)
    assert bench.bytes_of() == pytest.approx(rate, rel=0.01)


def test_rate_is_kept_though_the_machine_is_late():
    """Frames up to CATCH_UP_NS late do not lower the rate, nor are there longer bursts."""
    rng = random.Random(1)
    bench, pace = Bench(), Pace(1_000_000)
    bench.hold(pace, *[1000] * 1200)
    bench.run(SECOND, stall=lambda: rng.randrange(CATCH_UP_NS))
    assert bench.bytes_of() == pytest.approx(1_000_000, rel=0.025)
    bench.now += SECOND  # nobody looks for a second: that is lost
    before = bench.bytes_of()
    bench.pacer.release(bench.now)
    assert bench.bytes_of() - before == pytest.approx(CATCH_UP_NS // 1000, rel=0.06)


def test_idle_time_saves_nothing_up():
    bench, pace = Bench(), Pace(1_000_000)
    bench.hold(pace, 1000)
    bench.run(10 * SECOND)
    bench.hold(pace, *[500] * 100)
    burst = bench.bytes_of(since=bench.now)
    assert burst == CREDIT_NS // 1000 + 500
    bench.run(10 * MS)
    assert bench.bytes_of(since=START + 10 * SECOND) == burst + 10_000


def test_flows_do_not_wait_for_each_other():
    bench = Bench()
    rates = [50_000, 400_000, 1_000_000]
    for name, rate in enumerate(rates):
        bench.hold(Pace(rate), *[1000] * 1100, name=name)
    bench.run(SECOND)
    for name, rate in enumerate(rates):
        assert bench.bytes_of(name) == pytest.approx(rate, rel=0.03)


def test_change_of_rate_holds_for_what_is_not_paid_for():
    """In both directions, with frames waiting or without."""
    for waiting in (1, 0):
        bench, pace = Bench(), Pace(1000)
        bench.hold(pace, *[1000] * (1 + waiting))  # the second is due in a second
        bench.run(SECOND // 2)
        bench.pacer.set_rate(pace, 100_000, bench.now)
        bench.hold(pace, 1000)
        assert bench.bytes_of() == 1000
        bench.run(5 * MS)  # half of the first frame, at the new rate
        assert bench.bytes_of() == 2000
        bench.pacer.set_rate(pace, 1000, bench.now)
        bench.hold(pace, 1000)
        bench.run(900 * MS)
        assert bench.bytes_of() == 2000
        bench.run(100 * MS)
        assert bench.bytes_of() == 3000


def test_rate_that_is_set_over_and_over_lets_nothing_through():
    bench, pace = Bench(), Pace(100_000)
    bench.hold(pace, *[1000] * 300)
    for _ in range(1000):
        bench.run(MS)
        bench.pacer.set_rate(pace, 100_000, bench.now)
        bench.pacer.release(bench.now)
    assert bench.bytes_of() == pytest.approx(100_000, rel=0.02)


def test_lifted_limit_lets_everything_go():
    bench, pace = Bench(), Pace(1)
    bench.hold(pace, *[1000] * 50)
    bench.pacer.set_rate(pace, 0, bench.now)
    bench.pacer.release(bench.now)
    assert bench.bytes_of() == 50_000
    bench.hold(pace, 1000)
    assert bench.bytes_of() == 51_000
    assert bench.pacer.next_deadline_ns() is None


@pytest.mark.parametrize("in_one_packet", [True, False])
def test_counts_what_it_holds_back(in_one_packet):
    """Also of the packet that finds the flow idle, whose first frames are due."""
    bench, pace = Bench(), Pace(1_000_000)
    if in_one_packet:
        bench.hold(pace, *[800] * 40)
    else:
        for _ in range(40):
            bench.hold(pace, 800)
    # The credit of 2 ms is 2000 bytes: the frames that begin in it are due.
    assert len(bench.left) == 3
    assert bench.counters.tx_tls_paced == 37


def test_what_only_the_wire_holds_back_is_not_counted():
    bench, pace = Bench(), Pace(1_000_000)
    bench.busy = True
    bench.hold(pace, 800)
    bench.run(SECOND)
    assert (len(bench.left), bench.counters.tx_tls_paced) == (0, 0)
    assert bench.pacer.next_deadline_ns() is None
    bench.busy = False
    bench.pacer.wire_writable()
    bench.pacer.release(bench.now)
    assert len(bench.left) == 1
