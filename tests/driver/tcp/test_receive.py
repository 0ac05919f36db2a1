"""Reassembly, the window, and SACK blocks."""

from hypothesis import given
from hypothesis import strategies as st

from tlsnic.driver.tcp.receive import Receiver
from tlsnic.driver.tcp.receive_queue import ReceiveQueue
from tlsnic.driver.tcp.source import DECRYPTED, PLAIN


def receiver(capacity=1000, scale=0, first=100, mss=100):
    made = Receiver(first, ReceiveQueue(capacity), scale, mss)
    made.window_field()
    return made


STREAM = bytes(n * 7 % 251 for n in range(400))


def give(into, start, end, *, fin=False, decrypted=False):
    payload = memoryview(STREAM)[start:end]
    return into.accept(100 + start, payload, fin=fin, mark=DECRYPTED if decrypted else PLAIN)


@given(
    st.lists(st.tuples(st.integers(0, 399), st.integers(0, 90), st.booleans()), max_size=60),
    st.integers(100, 1000),
)
def test_any_order_gives_the_stream(pieces, capacity):
    into, out, seen = receiver(capacity), b"", set()
    for start, size, read in pieces:
        end = min(start + size, 400)
        allowed = set(range(max(start, len(out)), min(end, into.window_end - 100)))
        give(into, start, end)
        seen |= allowed
        if read:
            out += into.sink.read(-1)
            into.window_field()
        in_order = next((n for n in range(401) if n not in seen), 400)
        assert into.nxt == 100 + in_order
        assert into.sink.buffered == in_order - len(out)
        for left, right in into.sack_blocks(4):
            # What is told is what is there.
            assert set(range(left - 100, right - 100)) <= seen
    for start in range(0, 400, 50):
        out += into.sink.read(7)
        while into.sink.buffered:
            out += into.sink.read(13)
        into.window_field()
        give(into, start, start + 50)
    assert out + into.sink.read(-1) == STREAM


def test_newest_block_leads_and_repeats_follow():
    into = receiver()
    give(into, 10, 20)
    assert into.sack_blocks(3) == ((110, 120),)
    give(into, 30, 40)
    assert into.sack_blocks(3) == ((130, 140), (110, 120))
    give(into, 50, 60)
    give(into, 70, 80)
    assert into.sack_blocks(3) == ((170, 180), (150, 160), (130, 140))
    give(into, 20, 30)  # joins two: RFC 2018, section 4, the block with the newest segment
    assert into.sack_blocks(4) == ((110, 140), (170, 180), (150, 160))
    give(into, 0, 10)
    assert into.nxt == 140
    assert into.sack_blocks(4) == ((170, 180), (150, 160))


def test_a_duplicate_is_told_once_and_first():
    into = receiver()
    give(into, 0, 50)
    give(into, 80, 90)
    give(into, 20, 40)
    assert into.sack_blocks(3) == ((120, 140), (180, 190))
    assert into.sack_blocks(3) == ((180, 190),)
    give(into, 80, 90)
    assert into.sack_blocks(3) == ((180, 190), (180, 190))  # RFC 2883, section 4.2


def test_bytes_beyond_the_window_are_left_out():
    into = receiver(capacity=100)
    assert give(into, 0, 150) == 100
    assert into.window_field() == 0
    assert give(into, 100, 150) == 0
    assert not into.has_blocks
    into.sink.read(-1)
    assert into.update_due
    assert into.window_field() == 100


def test_small_openings_are_not_told():
    into = receiver(capacity=1000, mss=100)
    give(into, 0, 400)
    assert into.window_field() == 600
    into.sink.read(99)
    assert into.window_field() == 600  # less than a segment: the edge stays
    into.sink.read(1)
    assert into.window_field() == 700


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 60)), max_size=60), st.integers(0, 5))
def test_the_window_edge_does_not_move_back_by_more_than_its_rounding(steps, scale):
    into = receiver(capacity=1024, scale=scale, mss=64)
    edge = into.window_end
    for size, read in steps:
        size = min(size, max(into.window_end - into.nxt, 0))
        into.accept(into.nxt, memoryview(bytes(size)), fin=False)
        into.sink.read(read)
        told = into.nxt + (into.window_field() << scale)
        assert told > edge - (1 << scale)
        assert told - into.nxt <= into.sink.capacity - into.sink.buffered + 2 * (1 << scale)
        edge = max(edge, told)


def test_fin_comes_before_the_data():
    into = receiver()
    give(into, 30, 40, fin=True)
    assert not into.fin_reached
    give(into, 0, 30)
    assert into.fin_reached
    assert into.nxt == 140


def test_data_behind_the_fin_is_ignored():
    into = receiver()
    give(into, 0, 10, fin=True)
    give(into, 10, 20)
    assert into.nxt == 110
    assert into.sink.read(-1) == STREAM[:10]


@given(
    st.lists(
        st.tuples(st.integers(0, 399), st.integers(1, 90), st.booleans(), st.integers(-1, 120)),
        max_size=60,
    )
)
def test_each_byte_keeps_the_mark_of_the_packet_that_brought_it_first(pieces):
    into, marks, out = receiver(), {}, []
    for start, size, mark, limit in [*pieces, (0, 400, False, -1)]:
        end = min(start + size, 400)
        for position in range(max(start, len(out)), end):
            marks.setdefault(position, mark)
        give(into, start, end, decrypted=mark)
        ready = into.sink.buffered
        read = into.sink.read_marked(limit)
        assert sum(len(data) for data, _ in read) == (ready if limit < 0 else min(limit, ready))
        assert into.sink.buffered == ready - sum(len(data) for data, _ in read)
        out += [(byte, found.decrypted) for data, found in read for byte in data]
    assert out == list(zip(STREAM, (marks[n] for n in range(400)), strict=True))


def test_plain_reads_join_what_marked_reads_keep_apart():
    into = receiver()
    give(into, 20, 30, decrypted=True)
    give(into, 0, 10)
    give(into, 10, 20, decrypted=True)
    give(into, 30, 40)
    assert into.sink.read(5) == STREAM[:5]
    assert into.sink.read_marked(20) == [
        (STREAM[5:10], PLAIN),
        (STREAM[10:20], DECRYPTED),
        (STREAM[20:25], DECRYPTED),
    ]
    assert into.sink.read(-1) == STREAM[25:40]
    assert into.sink.read_marked(-1) == []
