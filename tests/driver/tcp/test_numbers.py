"""Sequence numbers, sets of ranges, the send buffer, and the RFC 6298 timer."""

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from tlsnic.driver.tcp.congestion import NewReno
from tlsnic.driver.tcp.ranges import RangeSet
from tlsnic.driver.tcp.rto import RttEstimator
from tlsnic.driver.tcp.send_buffer import SendBuffer
from tlsnic.driver.tcp.seq import MASK, difference, position

MS = 10**6
U32 = st.integers(0, MASK)


@given(U32, st.integers(-(2**31), 2**31 - 1))
def test_difference_undoes_addition(a, step):
    assert difference(a + step & MASK, a) == step


@given(st.integers(0, 2**70), st.integers(-(2**31), 2**31 - 1))
def test_position_is_the_nearest(near, step):
    found = position(near + step & MASK, near)
    assert found == near + step


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 60), st.integers(0, 20)), max_size=30),
    st.integers(0, 60),
    st.integers(0, 60),
)
def test_range_set_is_a_set(steps, low, high):
    ranges, model = RangeSet(), set()
    for add, start, size in steps:
        numbers = set(range(start, start + size))
        if add:
            assert ranges.add(start, start + size) == len(numbers - model)
            model |= numbers
        else:
            assert ranges.remove(start, start + size) == len(numbers & model)
            model -= numbers
        listed = list(ranges)
        assert {n for a, b in listed for n in range(a, b)} == model
        assert ranges.total == len(model)
        assert all(a < b for a, b in listed)
        # Neighbours that touch are one range, and the order is that of the numbers.
        assert all(first[1] < second[0] for first, second in itertools.pairwise(listed))
        assert list(reversed(ranges)) == listed[::-1]
    gaps = {n for a, b in ranges.gaps(low, high) for n in range(a, b)}
    assert gaps == set(range(low, high)) - model
    assert (ranges.around(low) is not None) == (low in model)
    ranges.trim_below(low)
    assert {n for a, b in ranges for n in range(a, b)} == {n for n in model if n >= low}


@given(st.data())
@settings(max_examples=40)
def test_send_buffer_gives_back_what_was_written(data):
    buffer, model, base = SendBuffer(1000), b"", 1000
    for _ in range(data.draw(st.integers(1, 40))):
        piece = data.draw(st.binary(max_size=12))
        buffer.append(piece)
        model += piece
        if data.draw(st.booleans()):
            base = data.draw(st.integers(base, 1000 + len(model)))
            buffer.release(base)
        assert (buffer.start, buffer.end) == (base, 1000 + len(model))
        if base < buffer.end:
            start = data.draw(st.integers(base, buffer.end - 1))
            end = data.draw(st.integers(start + 1, buffer.end))
            assert bytes(buffer.read(start, end)) == model[start - 1000 : end - 1000]


def test_send_buffer_does_not_copy_a_piece():
    buffer, piece = SendBuffer(0), bytes(range(200))
    buffer.append(b"x")
    buffer.append(piece)
    part = buffer.read(11, 51)
    assert isinstance(part, memoryview)
    assert part.obj is piece


def test_first_sample_and_smoothing_of_rfc_6298():
    rtt = RttEstimator(min_ns=1, max_ns=60_000 * MS)
    assert rtt.rto_ns == 1000 * MS
    rtt.sample(100 * MS)
    assert (rtt.srtt_ns, rtt.var_ns, rtt.rto_ns) == (100 * MS, 50 * MS, 300 * MS)
    rtt.sample(140 * MS)
    # RTTVAR = 3/4 * 50 + 1/4 * 40, with the old SRTT; SRTT = 7/8 * 100 + 1/8 * 140
    assert (rtt.srtt_ns, rtt.var_ns) == (105 * MS, 47.5 * MS)
    assert rtt.rto_ns == 295 * MS


def test_time_out_is_bounded_and_doubles():
    rtt = RttEstimator(min_ns=200 * MS, max_ns=3000 * MS)
    for _ in range(20):
        rtt.sample(MS)
    assert rtt.rto_ns == 200 * MS
    values = []
    for _ in range(5):
        rtt.back_off()
        values.append(rtt.rto_ns // MS)
    assert values == [400, 800, 1600, 3000, 3000]
    rtt.progress()
    assert rtt.rto_ns == 200 * MS


def test_slow_start_and_congestion_avoidance():
    window = NewReno(1000)
    assert window.window == 10_000
    window.acknowledged(3000)
    assert window.window == 13_000
    window.recover(20_000)
    assert (window.window, window.threshold) == (10_000, 10_000)
    for _ in range(10):
        window.acknowledged(1000)  # one window's worth: one segment more
    assert window.window == 11_000
    window.time_out(11_000, again=False)
    assert (window.window, window.threshold) == (1000, 5500)
    window.time_out(1000, again=True)
    assert window.threshold == 5500
    window.recover(100)
    assert window.threshold == 2000  # never below two segments (RFC 5681, equation 4)


def test_initial_window_after_a_lost_syn_is_one_segment():
    window = NewReno(1000)
    window.start(1400, after_loss=True)
    assert window.window == 1400


def test_without_congestion_control_the_window_never_limits():
    window = NewReno(1000, enabled=False)
    window.recover(50_000)
    window.time_out(50_000, again=False)
    window.idle()
    assert window.window > 1 << 60
