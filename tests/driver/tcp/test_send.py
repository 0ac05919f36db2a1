"""The sending side by itself: what goes next, the SACK scoreboard, recovery, timers."""

from tlsnic.driver.tcp.config import TcpConfig
from tlsnic.driver.tcp.send import Recovery, Sender
from tlsnic.driver.tcp.statistics import Statistics

MS = 10**6
MSS = 100
BASE = 5001  # position of the first byte


def sender(*, sack=True, data=100_000, window=1 << 20, max_send=MSS, **config):
    """One that is established, with `data` bytes to send."""
    made = Sender(BASE - 1, TcpConfig(**config), Statistics())
    made.statistics = made._statistics
    assert made.next_send(0) == (BASE - 1, BASE, False)
    made.acknowledge(BASE, (), duplicate=False, echo_ns=None, now_ns=MS)
    made.establish(MSS, max_send, sack=sack)
    made.set_window(BASE + window)
    made.buffer.append(bytes(data))
    return made


def drain(made, now_ns=MS):
    sends = []
    while (send := made.next_send(now_ns)) is not None:
        sends.append((send.start - BASE, send.end - BASE, send.is_retransmit))
    return sends


def ack(made, upto, *blocks, now_ns=2 * MS, duplicate=True):
    made.acknowledge(
        BASE + upto,
        [(BASE + start, BASE + end) for start, end in blocks],
        duplicate=duplicate,
        echo_ns=None,
        now_ns=now_ns,
    )


def test_initial_window_is_ten_segments():
    made = sender()
    assert drain(made) == [(n, n + MSS, False) for n in range(0, 1000, MSS)]
    assert made.pipe == made.flight == 1000


def test_super_segments_are_multiples_of_the_mss_but_for_the_last():
    made = sender(data=950, max_send=350)
    assert [end - start for start, end, _ in drain(made)] == [300, 300, 300, 50]


def test_the_fin_goes_with_the_last_data():
    made = sender(data=150)
    made.fin_queued = True
    assert drain(made) == [(0, 100, False), (100, 151, False)]
    ack(made, 100)
    made.expire(10**10)
    assert drain(made) == [(100, 151, True)]
    ack(made, 151)
    assert made.una == made.end
    assert made.retransmit_at is None


def test_slow_start_opens_by_what_is_acknowledged():
    made = sender()
    drain(made)
    ack(made, 300)
    assert made.congestion.window == 1300
    assert len(drain(made)) == 6


def test_a_window_that_is_not_used_does_not_grow():
    made = sender(data=200)
    drain(made)
    ack(made, 200)
    assert made.congestion.window == 1000


def test_three_sacked_segments_make_the_hole_lost():
    made = sender()
    drain(made)
    ack(made, 0, (100, 200))
    ack(made, 0, (100, 300))
    assert made.recovery is Recovery.NONE
    # Limited transmit (RFC 3042): what has left the pipe makes room for new data.
    assert drain(made) == [(1000, 1100, False), (1100, 1200, False)]
    ack(made, 0, (100, 400))
    assert made.recovery is Recovery.FAST
    assert made.congestion.threshold == 600
    assert drain(made) == [(0, 100, True)]
    assert made.pipe == 12 * MSS - 3 * MSS
    assert made.statistics.fast_recoveries == 1


def test_only_holes_are_sent_again():
    made = sender()
    drain(made)
    ack(made, 0, (100, 200), (300, 400), (500, 1000))
    assert list(made.lost) == [
        (BASE, BASE + 100),
        (BASE + 200, BASE + 300),
        (BASE + 400, BASE + 500),
    ]
    assert drain(made) == [
        (0, 100, True),
        (200, 300, True),
        (400, 500, True),
        (1000, 1100, False),
        (1100, 1200, False),
    ]


def test_reordering_that_ends_before_the_threshold_is_no_loss():
    made = sender()
    drain(made)
    ack(made, 0, (100, 300))
    ack(made, 300)
    assert made.recovery is Recovery.NONE
    assert made.statistics.fast_recoveries == 0
    assert not made.sacked


def test_recovery_ends_with_the_ack_of_all_that_was_sent_when_it_began():
    made = sender()
    drain(made)
    ack(made, 0, (100, 1000))
    drain(made)
    ack(made, 999)
    assert made.recovery is Recovery.FAST
    ack(made, 1000)
    assert made.recovery is Recovery.NONE
    assert made.congestion.window <= made.congestion.threshold == 500


def test_a_retransmit_that_is_lost_is_found_without_the_timer():
    made = sender()
    drain(made)
    ack(made, 0, (100, 1000))
    assert drain(made)[0] == (0, 100, True)
    ack(made, 0, (100, 1100))
    ack(made, 0, (100, 1200))
    drain(made)
    assert not made.lost
    ack(made, 0, (100, 1300))  # three segments that were sent after the retransmit
    assert drain(made)[0] == (0, 100, True)
    assert made.statistics.lost_retransmits == 1
    assert made.statistics.timeouts == 0


def test_blocks_that_cannot_be_are_ignored():
    made = sender()
    drain(made)
    for block in ((-100, 100), (900, 1100), (400, 400), (500, 400), (1000, 2000)):
        ack(made, 0, block)
    assert not made.sacked
    assert made.statistics.duplicate_acks == 0


def test_dsack_is_no_sign_of_loss():
    made = sender()
    drain(made)
    ack(made, 500)
    for _ in range(4):
        ack(made, 500, (100, 200))
    assert made.recovery is Recovery.NONE


def test_newreno_without_sack():
    """RFC 6582: enter at the third duplicate, a segment per partial ACK, leave at `recover`."""
    made = sender(sack=False)
    drain(made)
    ack(made, 0)
    ack(made, 0)
    # Limited transmit.
    assert drain(made) == [(1000, 1100, False), (1100, 1200, False)]
    ack(made, 0)
    assert made.recovery is Recovery.FAST
    assert drain(made) == [(0, 100, True)]
    for _ in range(6):
        ack(made, 0)
    drain(made)
    ack(made, 400)
    assert made.recovery is Recovery.FAST
    assert drain(made)[0] == (400, 500, True)
    ack(made, 1200)
    assert made.recovery is Recovery.NONE
    # Duplicates for what was sent again in vain start nothing (section 3.2, step 2).
    made.statistics.fast_recoveries = 0
    for _ in range(5):
        ack(made, 1200)
    assert made.recovery is Recovery.NONE


def test_time_out_sends_one_segment_then_doubles_as_it_is_acknowledged():
    made = sender()
    drain(made)
    assert made.expire(made.retransmit_at - 1)
    assert made.statistics.timeouts == 0
    now_ns = made.retransmit_at
    assert made.expire(now_ns)
    assert drain(made, now_ns) == [(0, 100, True)]
    ack(made, 100, now_ns=now_ns + MS)
    assert drain(made, now_ns + MS) == [(100, 200, True), (200, 300, True)]
    ack(made, 1000, now_ns=now_ns + 2 * MS)
    assert made.recovery is Recovery.NONE
    assert not made.lost
    assert made.congestion.threshold == 500


def test_the_timer_backs_off_and_gives_up():
    made = sender(max_retries=4, min_rto_ns=200 * MS, max_rto_ns=1000 * MS)
    drain(made)
    times, deadline = [], made.retransmit_at
    while made.expire(made.retransmit_at):
        drain(made, deadline)
        times.append((made.retransmit_at - deadline) // MS)
        deadline = made.retransmit_at
    assert times == [400, 800, 1000, 1000]
    # The threshold is that of the first time-out (RFC 5681, section 3.1).
    assert made.congestion.threshold == 500


def test_time_out_forgets_the_scoreboard():
    """RFC 2018, section 8: the receiver may have dropped what it selectively acknowledged."""
    made = sender()
    drain(made)
    ack(made, 0, (100, 200))
    made.expire(made.retransmit_at)
    assert not made.sacked
    assert made.lost.total == made.flight
    ack(made, 0, (100, 200))  # told again: not sent again
    assert [send[:2] for send in drain(made)] == [(0, 100)]
    ack(made, 200)
    assert drain(made)[0] == (200, 300, True)


def test_karn_no_sample_from_what_was_sent_twice():
    made = sender()
    drain(made)
    before = made.rtt.srtt_ns
    now_ns = made.retransmit_at
    made.expire(now_ns)
    drain(made, now_ns)
    ack(made, 100, now_ns=now_ns + MS)
    assert made.rtt.srtt_ns == before
    # With a timestamp's echo there is no doubt which one was acknowledged.
    made.acknowledge(BASE + 200, (), duplicate=False, echo_ns=64 * MS, now_ns=now_ns + 2 * MS)
    assert made.rtt.srtt_ns == before + (64 * MS - before) // 8


def test_no_silly_small_segments():
    made = sender(window=1000)
    drain(made)
    ack(made, 1000)
    made.set_window(BASE + 1050)
    assert drain(made) == []
    assert made.persist_at is not None
    made.set_window(BASE + 1100)
    assert drain(made) == [(1000, 1100, False)]
    assert made.persist_at is None


def test_half_of_the_largest_window_is_not_silly():
    made = sender(window=80)
    assert drain(made) == [(0, 80, False)]
    ack(made, 80)
    made.set_window(BASE + 80 + 39)
    assert drain(made) == []
    made.set_window(BASE + 80 + 40)
    assert drain(made) == [(80, 120, False)]


def test_persist_timer_lets_a_small_segment_go_or_asks_for_a_probe():
    made = sender(window=1000)
    drain(made)
    ack(made, 1000)
    made.set_window(BASE + 1000)
    assert drain(made) == []
    gaps, now_ns = [], MS
    for _ in range(4):
        gaps.append((made.persist_at - now_ns) // MS)
        now_ns = made.persist_at
        assert made.probe_due(now_ns)
    assert gaps == [200, 400, 800, 1600]
    made.set_window(BASE + 1030)
    now_ns += MS
    drain(made, now_ns)
    assert not made.probe_due(made.persist_at)
    assert drain(made, now_ns) == [(1000, 1030, False)]


def test_a_lone_fin_waits_for_the_window_too():
    made = sender(data=100, window=100)
    drain(made)
    ack(made, 100)
    made.fin_queued = True
    assert drain(made) == []
    assert made.persist_at is not None
    made.set_window(BASE + 200)
    assert drain(made) == [(100, 101, False)]


def test_nagle_waits_for_the_acknowledgement():
    made = sender(data=150, nagle=True)
    assert drain(made) == [(0, 100, False)]
    ack(made, 100)
    assert drain(made) == [(100, 150, False)]


def test_window_restarts_after_idling():
    made = sender(data=3000)
    drain(made)
    for upto in range(100, 3001, 100):
        ack(made, upto)
        drain(made)
    assert made.congestion.window > 1000
    made.buffer.append(bytes(5000))
    sent = drain(made, 10**10)
    assert sum(end - start for start, end, _ in sent) == 1000


def test_a_closed_window_is_not_given_up_while_the_peer_answers():
    made = sender(max_retries=2)
    drain(made)
    for _ in range(20):
        made.set_window(BASE)
        ack(made, 0, duplicate=False)
        assert made.expire(made.retransmit_at)
        drain(made)
    for _ in range(2):
        made.expire(made.retransmit_at)
    assert not made.expire(made.retransmit_at)


def test_spurious_recovery_is_undone():
    """Nothing was sent again before the hole was acknowledged: reordering, not loss."""
    made = sender()
    drain(made)
    ack(made, 0, (100, 500))
    assert made.recovery is Recovery.FAST
    ack(made, 1000)
    assert made.recovery is Recovery.NONE
    assert made.congestion.window >= 1000


def test_recovery_is_undone_when_dsack_tells_that_the_retransmit_was_not_needed():
    made = sender()
    drain(made)
    ack(made, 0, (100, 500))
    assert drain(made)[0] == (0, 100, True)
    ack(made, 1000)
    assert made.congestion.window <= 500
    ack(made, 1000, (0, 100))
    assert made.congestion.window >= 1000
    assert made.statistics.undone_recoveries == 1


def test_recovery_is_not_undone_by_half_of_the_proof():
    made = sender()
    drain(made)
    ack(made, 0, (200, 1000))
    assert drain(made)[:2] == [(0, 100, True), (100, 200, True)]
    ack(made, 1000)
    ack(made, 1000, (0, 100))
    assert made.congestion.window <= 500
    assert made.statistics.undone_recoveries == 0


def test_tail_probe_is_new_data_beyond_the_congestion_window():
    made = sender()
    drain(made)
    made.expire(MS + 10 * MS - 1)
    assert drain(made, 11 * MS - 1) == []
    made.expire(11 * MS)
    assert drain(made, 11 * MS) == [(1000, 1100, False)]
    assert made.retransmit_at == 11 * MS + 200 * MS  # begins anew
    assert made.tail_probe.at_ns is None  # one is enough
    ack(made, 1100)
    assert made.statistics.timeouts == 0
    assert made.congestion.threshold > 1 << 60
    drain(made)
    assert made.tail_probe.at_ns is not None


def test_tail_probe_is_the_last_segment_again_when_there_is_nothing_new():
    made = sender(data=250)
    drain(made)
    made.expire(11 * MS)
    assert drain(made, 11 * MS) == [(150, 250, True)]
    ack(made, 0, (150, 250))
    # It told of the hole, which is then repaired as any other: two segments, the threshold is
    # not reached before the timer.
    assert made.recovery is Recovery.NONE
    assert list(made.sacked) == [(BASE + 150, BASE + 250)]


def test_tail_probe_that_repaired_the_loss_slows_down():
    """RFC 8985, section 7.4: the loss must not go unnoticed by congestion control."""
    for doubled in (False, True):
        made = sender(data=1000)
        drain(made)
        made.expire(11 * MS)
        assert drain(made, 11 * MS) == [(900, 1000, True)]
        made.buffer.append(bytes(500))
        ack(made, 1000, *([(900, 1000)] if doubled else []))
        drain(made)
        ack(made, 1100)
        assert (made.congestion.threshold < 1 << 60) is not doubled


def test_tail_probe_waits_longer_for_a_delayed_acknowledgement():
    made = sender(data=100)
    drain(made)
    assert made.tail_probe.at_ns == MS + 50 * MS


def test_no_tail_probe_without_sack_or_in_recovery():
    made = sender(sack=False)
    drain(made)
    assert made.tail_probe.at_ns is None
    made = sender()
    drain(made)
    ack(made, 0, (100, 1000))
    assert made.tail_probe.at_ns is None
