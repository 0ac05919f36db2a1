"""Whole connections over a bad link with a virtual clock."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tcp_link import MS, SECOND, Link, pair, transfer

from tlsnic.driver.tcp import Connection, Failure, State, TcpConfig, TcpError, to_frames, wire
from tlsnic.driver.tcp.outgoing import Outgoing, reset_for
from tlsnic.driver.tcp.source import Mark
from tlsnic.driver.tcp.wire import Options, build_options

NEAR_WRAP = 2**32 - 300_000


def config(**fields):
    return TcpConfig(time_wait_ns=SECOND, **fields)


def opened(client=None, server=None, **link):
    made = Link(*pair(client or config(), server or config()), **link)
    made.open()
    return made, *made.ends


def forge(link, to, flags, *, seq=0, ack=0, payload=b"", options=None, window=500):
    """A segment to `to` that its peer did not send; offsets from what is expected next."""
    peer = link.ends[1 - link.ends.index(to)]
    if options is None:
        options = Options(timestamp=(to._ts_recent, 0)) if to._timestamps else Options()
    headers = wire.HeaderTemplate(peer.endpoint).build(
        to.rcv_nxt + seq & 0xFFFF_FFFF,
        to.snd_nxt + ack & 0xFFFF_FFFF,
        flags,
        window,
        build_options(options),
        len(payload),
    )
    (frame,) = to_frames(Outgoing(headers, 0, payload, 0, False))
    to.receive(frame, link.now_ns)


@pytest.mark.parametrize("sack", [True, False], ids=["sack", "newreno"])
@pytest.mark.parametrize("loss", [0.0, 0.01, 0.1])
def test_megabytes_in_both_directions(loss, sack):
    """With the wrap of both sequence numbers in the middle."""
    settings = config(initial_sequence=NEAR_WRAP, sack=sack)
    link = Link(
        *pair(settings, settings), seed=7, loss=loss, duplicate=loss, reorder=loss, garble=loss / 4
    )
    link.open()
    transfer(link, [2_000_000, 1_000_000])
    for end in link.ends:
        counted = end.statistics
        assert (counted.retransmits > 0) is (loss > 0)
        assert not sack or counted.bytes_retransmitted < (0.02 + 2 * loss) * 2e6


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("vlan", [None, 9])
def test_versions_and_vlans(version, vlan):
    link = Link(*pair(config(), config(), version=version, vlan=vlan), seed=1, loss=0.03)
    link.open()
    transfer(link, [100_000, 100_000])


@pytest.mark.parametrize("off", ["timestamps", "sack", "window_scaling", "congestion_control"])
@pytest.mark.parametrize("both", [True, False], ids=["both", "one"])
def test_without(off, both):
    plain = config(**{off: False})
    link = Link(*pair(plain, plain if both else config()), seed=2, loss=0.03, reorder=0.03)
    link.open()
    transfer(link, [200_000, 200_000])


@given(
    seed=st.integers(0, 2**32),
    loss=st.floats(0, 0.3),
    duplicate=st.floats(0, 0.3),
    reorder=st.floats(0, 0.3),
    garble=st.floats(0, 0.1),
    sizes=st.tuples(st.integers(0, 30_000), st.integers(0, 30_000)),
    write_bytes=st.integers(2, 9000),
    window=st.sampled_from([500, 4000, 100_000]),
    mss=st.sampled_from([88, 536, 1460]),
    max_send=st.sampled_from([100, 5000, 65000]),
    sack=st.booleans(),
    timestamps=st.booleans(),
    nagle=st.booleans(),
    iss=st.sampled_from([0, 2**31 - 5000, 2**32 - 1, 2**32 - 9000]),
)
@settings(max_examples=40)
def test_any_link_carries_the_streams(
    seed, loss, duplicate, reorder, garble, sizes, write_bytes, window, mss, max_send, sack,
    timestamps, nagle, iss,
):  # fmt: skip
    made = TcpConfig(
        time_wait_ns=1000 * SECOND,
        initial_sequence=iss,
        window=window,
        mss=mss,
        max_send_bytes=max_send,
        sack=sack,
        timestamps=timestamps,
        nagle=nagle,
        max_retries=60,
        max_rto_ns=2 * SECOND,
    )
    link = Link(
        *pair(made, made), seed=seed, loss=loss, duplicate=duplicate, reorder=reorder, garble=garble
    )

    def check():
        for end in link.ends:
            sender = end.sender
            if end.closed:
                continue
            assert sender.una <= sender.nxt <= sender.end
            assert not sender.flight or sender.retransmit_at is not None
            sacked, lost = list(sender.sacked), list(sender.lost)
            for low, high in sacked + lost:
                assert sender.una <= low < high <= sender.nxt
            assert all(a[1] <= b[0] or b[1] <= a[0] for a in sacked for b in lost)

    step = link.step
    link.step = lambda: (step(), check())[0]
    link.ends[1].listen()
    link.ends[0].connect(link.now_ns)
    link.run(lambda: all(end.established for end in link.ends))
    transfer(link, sizes, seed=seed, write_bytes=write_bytes)


@given(st.lists(st.binary(max_size=80), max_size=20), st.randoms(use_true_random=False))
def test_garbage_does_no_harm(frames, rng):
    link, a, b = opened()
    headers = wire.HeaderTemplate(b.endpoint).build(a.rcv_nxt, a.snd_nxt, wire.ACK, 9, b"", 0)
    for raw in frames:
        # Half of them with the right addresses and ports.
        frame = raw if rng.random() < 0.5 else headers[:38] + raw
        a.receive(frame, link.now_ns, verify=rng.random() < 0.9)
    transfer(link, [2000, 2000])


def test_handshake_agrees_on_what_both_have():
    _link, a, b = opened(config(mss=1000), config(mss=1300, timestamps=False))
    assert (a.send_mss, b.send_mss) == (1000, 1000)
    _link, a, b = opened(config(mss=1000))
    assert (a.send_mss, b.send_mss) == (988, 988)


def test_super_segments_for_a_card_that_cuts():
    link, a, _b = opened()
    a.write(bytes(12_000))
    (packet,) = a.poll(link.now_ns)
    assert packet.mss == 1448
    assert len(packet.payload) == 12_000
    assert packet.sequence == 1001
    assert not packet.is_retransmit
    a.write(b"more")
    (packet,) = a.poll(link.now_ns)
    assert packet.mss == 0


def test_a_packet_never_has_more_than_ip_can_carry():
    link, a, _ = opened(config(max_send_bytes=1 << 20, congestion_control=False))
    a.write(bytes(300_000))
    sizes = [len(packet.headers) - 14 + len(packet.payload) for packet in a.poll(link.now_ns)]
    assert 64_000 < max(sizes) <= 65_535


def test_written_bytes_are_sent_by_reference():
    link, a, _ = opened()
    data = b"x" * 1000
    a.write(data)
    (packet,) = a.poll(link.now_ns)
    assert packet.payload.obj is data


def test_a_retransmit_has_the_same_bytes_and_says_so():
    link, a, _ = opened()
    a.write(bytes(range(200)))
    (first,) = a.poll(link.now_ns)
    (again,) = a.poll(a.next_deadline_ns())
    assert again.is_retransmit
    assert (again.sequence, bytes(again.payload)) == (first.sequence, bytes(first.payload))


def test_acknowledged_bytes_are_told():
    link, a, _b = opened()
    told = []
    a.on_acknowledged = told.append
    a.write(bytes(5000))
    assert a.unacknowledged == 5000
    assert a.write_sequence == 6001
    link.run(lambda: a.unacknowledged == 0)
    assert told[-1] == a.snd_una == 6001
    assert told == sorted(told)


def test_write_takes_what_has_room():
    _link, a, _ = opened(config(send_buffer=1000))
    assert a.write(bytes(1500)) == 1000
    assert a.write(b"x") == a.writable == 0


def test_zero_window_is_probed_and_opens_again():
    link, a, b = opened(None, config(window=20_000))
    data = bytes(n % 251 for n in range(50_000))
    a.write(data)
    link.run(lambda: b.readable == 20_000 and a.statistics.window_probes >= 4)
    assert a.statistics.timeouts == 0
    assert b.statistics.bytes_received == 20_000
    link.rule = lambda end, frame: end == 0  # the peer's window updates are lost
    got = b.read()
    link.flush()
    link.rule = None
    link.run(lambda: b.readable)  # the next probe brings the answer
    while len(got) < len(data):
        got += b.read()
        link.step()
    assert got == data


def test_window_update_without_being_asked():
    link, a, b = opened(None, config(window=20_000))
    a.write(bytes(50_000))
    link.run(lambda: b.readable == 20_000 and a.sender.persist_at is not None)
    before = link.now_ns
    b.read()
    link.run(lambda: b.readable)
    assert link.now_ns - before < 10 * MS


def test_delayed_acknowledgements():
    link, a, b = opened()
    link.flush()
    before = b.statistics.acks_sent
    a.write(b"one")
    link.run(lambda: b.readable == 3)
    sent_ns = link.now_ns
    link.run(lambda: a.unacknowledged == 0)
    assert link.now_ns == sent_ns + 40 * MS + link.delay_ns
    a.write(bytes(2 * 1448))
    link.run(lambda: b.readable > 3)
    arrived_ns = link.now_ns
    link.run(lambda: a.unacknowledged == 0)
    assert link.now_ns == arrived_ns + link.delay_ns
    assert b.statistics.acks_sent == before + 2


def test_an_acknowledgement_goes_with_data():
    link, a, b = opened()
    before = b.statistics.acks_sent
    a.write(b"question")
    link.run(lambda: b.readable)
    b.write(b"answer")
    link.run(lambda: a.readable)
    assert a.unacknowledged == 0
    assert b.statistics.acks_sent == before


def test_a_lost_segment_is_repaired_without_the_timer():
    link, a, b = opened()
    a.write(bytes(14 * 1448))
    seen = []

    def lose_second(end, frame):
        if end == 0 and len(frame) > 1000:
            seen.append(frame)
            return len(seen) != 2
        return True

    link.rule = lose_second
    link.run(lambda: a.unacknowledged == 0)
    assert a.statistics.timeouts == 0
    assert (a.statistics.fast_recoveries, a.statistics.retransmits) == (1, 1)
    assert a.statistics.bytes_retransmitted == 1448
    assert b.statistics.out_of_order > 3


def test_syn_is_sent_again_with_doubling_pauses_and_given_up():
    client, server = pair(config(max_retries=3), config())
    link = Link(client, server)
    link.rule = lambda end, frame: False
    link.keep_log = True
    client.connect(link.now_ns)
    link.run(lambda: client.closed)
    times = [at // MS - 1000 for at, _, _ in link.log]
    assert times == [0, 1000, 3000, 7000]
    assert client.error is Failure.TIMED_OUT
    assert client.next_deadline_ns() is None


def test_after_a_lost_syn_one_segment_goes_first():
    client, server = pair(config(), config())
    link = Link(client, server)
    lost = []
    link.rule = lambda end, frame: len(lost) > 0 or bool(lost.append(frame))
    link.open()
    client.write(bytes(10_000))
    assert [len(packet.payload) for packet in client.poll(link.now_ns)] == [1448]
    assert client.sender.rtt.rto_ns >= 200 * MS


def test_both_open_at_the_same_time():
    a, b = pair(config(), config())
    link = Link(a, b)
    a.connect(link.now_ns)
    b.connect(link.now_ns)
    link.run(lambda: a.established and b.established)
    transfer(link, [5000, 5000])


def test_both_close_at_the_same_time():
    link, a, b = opened()
    a.close(link.now_ns)
    b.close(link.now_ns)
    link.flush()
    link.run(lambda: a.state is State.TIME_WAIT and b.state is State.TIME_WAIT)
    link.run()
    assert (a.state, b.state) == (State.CLOSED, State.CLOSED)
    assert (a.error, b.error) == (None, None)


def test_half_closed_connection_goes_on_the_other_way():
    link, a, b = opened()
    a.close(link.now_ns)
    link.run(lambda: b.at_end)
    assert b.state is State.CLOSE_WAIT
    b.write(b"still here")
    link.run(lambda: a.readable == 10)
    with pytest.raises(TcpError, match="FIN-WAIT-2"):
        a.write(b"no")
    b.close(link.now_ns)
    link.run()
    assert a.read() == b"still here"
    assert a.at_end


def test_closing_before_the_handshake_is_done():
    client, server = pair(config(), config())
    link = Link(client, server)
    server.listen()
    client.connect(link.now_ns)
    client.write(b"early")
    for packet in client.poll(link.now_ns):
        server.receive(to_frames(packet)[0], link.now_ns)
    server.close(link.now_ns)
    assert server.state is State.FIN_WAIT_1
    link.run(lambda: client.at_end)
    link.run(lambda: server.readable == 5)


def test_a_repeated_fin_is_acknowledged_again():
    link, a, b = opened()
    a.close(link.now_ns)
    link.run(lambda: a.state is State.FIN_WAIT_2)
    b.close(link.now_ns)
    lost = []
    # The last ACK is lost once: the FIN comes again in TIME-WAIT, which begins anew.
    link.rule = lambda end, frame: end == 1 or len(lost) > 0 or bool(lost.append(frame))
    link.run(lambda: b.closed)
    assert b.error is None
    assert lost
    assert a.state is State.TIME_WAIT


def test_refused():
    client, server = pair(config(), config())
    link = Link(client, server)
    client.connect(link.now_ns)
    (packet,) = client.poll(link.now_ns)
    segment = wire.parse(to_frames(packet)[0])
    answer = reset_for(wire.HeaderTemplate(server.endpoint), segment)
    client.receive(to_frames(answer)[0], link.now_ns)
    assert client.error is Failure.REFUSED
    with pytest.raises(TcpError):
        client.connect(link.now_ns)


def test_abort_resets_the_peer():
    link, a, b = opened()
    a.write(b"data")
    a.abort(link.now_ns)
    assert a.error is Failure.ABORTED
    link.run()
    assert b.error is Failure.RESET
    assert b.closed


def test_old_segments_are_dropped_by_their_timestamps():
    link, a, b = opened()
    link.now_ns += 10 * SECOND
    b.write(b"fresh")
    link.run(lambda: a.readable == 5)
    forge(link, a, wire.ACK, payload=b"old", options=Options(timestamp=(500, 0)))
    assert a.readable == 5
    assert a.statistics.paws_drops == 1
    forge(link, a, wire.ACK, payload=b"new")
    assert a.readable == 8


def test_an_ack_of_what_was_never_sent_is_challenged():
    """RFC 5961, section 5: such data is not taken."""
    link, a, _ = opened()
    for ack in (1, 2**31 - 1, -(2**30)):
        forge(link, a, wire.ACK, ack=ack, payload=b"x")
    assert a.readable == 0
    assert a.statistics.challenge_acks == 3


def test_challenges_are_limited_per_second():
    link, a, _ = opened(config(challenge_acks_per_s=5))
    for _ in range(50):
        forge(link, a, wire.SYN)
    assert a.statistics.challenge_acks == 5
    assert len(a.poll(link.now_ns)) == 5
    link.now_ns += SECOND
    forge(link, a, wire.SYN)
    assert a.statistics.challenge_acks == 6


def test_segments_without_timestamps_are_dropped_once_agreed():
    link, a, _ = opened()
    forge(link, a, wire.ACK, payload=b"x", options=Options())
    assert a.readable == 0
    assert a.statistics.unacceptable == 1


def test_frames_of_others_are_counted():
    link, a, b = opened()
    other = b.endpoint._replace(local_port=444)
    headers = wire.HeaderTemplate(other).build(a.rcv_nxt, a.snd_nxt, wire.ACK, 9, b"", 0)
    (frame,) = to_frames(Outgoing(headers, 0, b"", 0, False))
    a.receive(frame, link.now_ns)
    a.receive(frame[:30], link.now_ns)
    assert (a.statistics.foreign_frames, a.statistics.bad_frames) == (1, 1)


def test_poll_limit_is_kept_and_the_rest_follows():
    link, a, _b = opened(config(max_send_bytes=1460))
    a.write(bytes(10 * 1448))
    assert [len(a.poll(link.now_ns, limit=4)) for _ in range(4)] == [4, 4, 2, 0]


def test_a_peer_that_falls_silent_is_given_up():
    link, a, _ = opened(config(max_retries=4))
    a.write(b"anybody?")
    link.rule = lambda end, frame: False
    link.run(lambda: a.closed)
    assert a.error is Failure.TIMED_OUT
    assert a.statistics.timeouts == 4


def test_calls_in_the_wrong_state():
    a, _ = pair()
    with pytest.raises(TcpError):
        a.write(b"x")
    assert a.read() == b""
    a.close(0)
    a.abort(0)
    a.listen()
    with pytest.raises(TcpError):
        a.listen()
    with pytest.raises(ValueError, match="MSS"):
        Connection(a.endpoint, TcpConfig(mss=10))


def test_a_lost_acknowledgement_of_everything_does_not_cost_the_timer():
    link, a, _ = opened()
    a.write(bytes(10 * 1448))
    link.rule = lambda end, frame: end == 0
    sent_ns = link.now_ns
    link.run(lambda: link.now_ns > sent_ns + 5 * MS)
    link.rule = None
    link.run(lambda: a.unacknowledged == 0)
    assert link.now_ns - sent_ns < 20 * MS
    assert (a.statistics.tail_probes, a.statistics.timeouts) == (1, 0)


def test_marks_reach_the_reader_and_the_sequence_number_says_where_it_is():
    link, a, b = opened(config(initial_sequence=2**32 - 3))
    a.write(bytes(range(100)) * 40)
    frames = [frame for packet in a.poll(link.now_ns) for frame in to_frames(packet)]
    start = b.rcv_nxt
    for n, frame in enumerate(frames):
        b.receive(frame, link.now_ns, mark=Mark(n == 1))
    assert b.read_sequence == start
    pieces = b.read_marked(1000)
    assert b.read_sequence == start + 1000 & 0xFFFF_FFFF
    pieces += b.read_marked()
    assert [mark for _, mark in pieces] == [False, False, True, False]
    assert b"".join(data for data, _ in pieces) == bytes(range(100)) * 40
    a.close(link.now_ns)
    link.run(lambda: b.at_end)
    assert b.read_sequence == start + 4000 & 0xFFFF_FFFF == b.rcv_nxt - 1
