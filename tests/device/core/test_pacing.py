"""The pacer by itself, on a virtual clock: what leaves when."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlsnic.device.core.counters import Counters
from tlsnic.device.core.pacing import CATCH_UP_NS, CREDIT_NS, Pacer
from tlsnic.device.tls.pace import Pace

MS = 1_000_000
SECOND = 1000 * MS
START = 5 * SECOND
LINK_BYTES_PER_S = 1_250_000_000
MIXED = [60, 1514, 1514, 87, 9014, 65000, 61, 1514]


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


def ahead(left, rate):
    """Most bytes that left in any span of time beyond what `rate` allows in it."""
    total = lowest = most = 0  # in bytes per nanosecond, times SECOND: exact
    for at, _, length in left:
        lowest = min(lowest, total * SECOND - rate * at)
        total += length
        most = max(most, total * SECOND - rate * at - lowest)
    return most / SECOND


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


@pytest.mark.parametrize("sizes", [[60], [61], [777], [1514], [9014], [65000], MIXED], ids=str)
@pytest.mark.parametrize("late", [0, MS // 3, 7 * MS], ids=lambda ns: f"{ns} ns late")
def test_rate_for_packets_of_all_sizes(sizes, late):
    """Within 1 % over a second, and never further ahead than the longest frame and a small credit."""
    rng = random.Random(0)
    rate = max(sizes) * 401 + 7
    bench, pace = Bench(), Pace(rate)

    def fill():
        while not pace.full:
            bench.hold(pace, rng.choice(sizes))
        return late

    fill()
    bench.run(50 * MS, stall=fill)
    start = bench.now
    bench.run(SECOND, stall=fill)
    assert bench.bytes_of(since=start + 1) == pytest.approx(rate, rel=0.01)
    burst = max(sizes) + rate * max(CREDIT_NS, late) / SECOND
    rounded = rate * len(bench.left) / SECOND  # a nanosecond of each frame
    assert ahead(bench.left, rate) <= burst + rounded


@pytest.mark.parametrize("rate", [LINK_BYTES_PER_S, 1_190_000_000, 999_999_937])
def test_shortest_frames_at_the_highest_rates(rate):
    """A frame takes some 50 ns: to round them down is still right to 1 %."""
    bench, pace = Bench(), Pace(rate)

    def fill():
        while not pace.full:
            bench.hold(pace, 60)
        return 0

    fill()
    start = bench.now
    bench.run(MS // 10, stall=fill)
    assert bench.bytes_of(since=start + 1) == pytest.approx(rate // 10_000, rel=0.01)


LONGEST = 9000
FLOW = st.integers(0, 2)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("hold"), FLOW, st.lists(st.integers(60, LONGEST), min_size=1)),
        st.tuples(st.just("run"), st.integers(0, 2 * SECOND), st.sampled_from([0, 0, MS])),
        st.tuples(st.just("rate"), FLOW, st.sampled_from([0, 1, 5000, 10**6, 1 << 63])),
        st.tuples(st.just("wire"), st.booleans(), st.just(0)),
    ),
    max_size=30,
)


@settings(max_examples=60)
@given(STEPS)
def test_any_steps(steps):
    """Of three flows nothing is lost or overtakes, and all is paid for at the rate of its time."""
    bench = Bench()
    rates = [1000, 100_000, 10_000_000]
    paces = [Pace(rate) for rate in rates]
    held, since, packets = [[], [], []], [0, 0, 0], 0

    def check_rate(flow):
        """What left since the rate was set."""
        own = [entry for entry in bench.left[since[flow] :] if entry[1] == flow]
        if rates[flow]:
            slack = rates[flow] * (CATCH_UP_NS + MS) / SECOND + 1
            assert ahead(own, rates[flow]) <= LONGEST + slack

    for kind, what, more in steps:
        if kind == "hold":
            packets += 1
            held[what] += more
            bench.hold(paces[what], *more, name=what)
        elif kind == "run":
            bench.run(what, stall=lambda late=more: late)
        elif kind == "rate":
            check_rate(what)
            bench.pacer.set_rate(paces[what], more, bench.now)
            since[what], rates[what] = len(bench.left), more
            bench.pacer.release(bench.now)
        else:
            bench.busy = what
            if not bench.busy:
                bench.pacer.wire_writable()
                bench.pacer.release(bench.now)
    for flow in range(3):
        check_rate(flow)
    bench.busy = False
    bench.pacer.wire_writable()
    bench.run(10**7 * SECOND)
    for flow in range(3):
        assert [n for _, name, n in bench.left if name == flow] == held[flow]
        assert not paces[flow].held_bytes
    assert bench.counters.tx_packets == bench.counters.tx_sent_packets == packets
    assert bench.pacer.next_deadline_ns() is None


def test_link_loss_and_reset_leave_nothing_behind():
    """Lost packets are counted, also those of which a part has left."""
    bench = Bench()
    paces = [Pace(1000), Pace(1000)]
    for pace in paces:
        bench.hold(pace, 1000, 1000)
        bench.hold(pace, 1000)
    assert bench.pacer.lose_link() == 4
    assert [pace.held_bytes for pace in paces] == [0, 0]
    assert bench.pacer.next_deadline_ns() is None
    bench.run(10 * SECOND)
    assert len(bench.left) == 2
    bench.hold(paces[0], 1000)
    assert len(bench.left) == 3
    bench.hold(paces[0], 1000)
    bench.pacer.clear()
    bench.run(10 * SECOND)
    assert (len(bench.left), bench.pacer.lose_link()) == (3, 0)
