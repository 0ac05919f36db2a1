"""Sources that are not ready and sinks of one's own, and payload in pieces by reference."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tcp_link import SECOND, Link, endpoints, pair

from tlsnic.driver.tcp import Connection, TcpConfig, TcpError, to_frames
from tlsnic.driver.tcp.outgoing import split
from tlsnic.driver.tcp.source import DECRYPTED, PLAIN, Chain, Mark, Piece, cut
from tlsnic.driver.tx import DmaRange

DATA = random.Random(3).randbytes(60_000)
CARD, OTHER = object(), object()


class Source:
    """Grows at once; becomes ready when told; packets must not cross `borders`."""

    def __init__(self, start, data=DATA, borders=()):
        self.base = self.start = self.ready_end = start
        self.end = start + len(data)
        self.data = memoryview(data)
        self.borders = [start + border for border in borders]
        self.reads = 0

    def boundary(self, start, end):
        return min([end, *(border for border in self.borders if start < border)])

    def read(self, start, end):
        assert self.start <= start < end <= self.ready_end
        assert not any(start < border < end for border in self.borders)
        self.reads += 1
        return Chain((Piece(self.data[start - self.base : end - self.base]),))

    def release(self, position):
        self.start = max(self.start, min(position, self.end))


class Sink:
    """Keeps all; `buffered` is what its test says."""

    def __init__(self, capacity=1 << 16):
        self.capacity = capacity
        self.buffered = 0
        self.pieces = []

    def append(self, data, mark):
        self.pieces.append((data, mark))
        self.buffered += len(data)

    @property
    def data(self):
        return b"".join(data for data, _ in self.pieces)


def opened(*, sink=None, borders=(), **link):
    sources = []

    def make(start):
        sources.append(Source(start, borders=borders))
        return sources[-1]

    near, far = endpoints()
    config = TcpConfig(time_wait_ns=SECOND, initial_sequence=2**32 - 9000)
    a = Connection(near, config, source=make)
    b = Connection(far, config, sink=sink)
    made = Link(a, b, **link)
    made.open()
    return made, a, b, sources[0]


def test_only_what_is_ready_is_sent_and_the_fin_comes_behind_it():
    link, a, b, source = opened()
    a.close(link.now_ns)
    link.run()
    assert not source.reads
    got = b""
    for ready in (1, 1500, 1501, 40_000, len(DATA)):
        source.ready_end = source.base + ready
        link.run(lambda: source.start == source.ready_end)
        got += b.read()
        assert len(got) == ready
        assert b.peer_ended is (ready == len(DATA))
    assert got == DATA
    assert a.unacknowledged == 0


@pytest.mark.parametrize("loss", [0.0, 0.1])
@given(borders=st.lists(st.integers(1, len(DATA) - 1), max_size=12), seed=st.integers(0, 99))
def test_no_packet_crosses_a_border(loss, borders, seed):
    link, a, b, source = opened(borders=sorted(borders), loss=loss, seed=seed)
    source.ready_end = source.end
    a.close(link.now_ns)
    got = []
    link.run(lambda: got.append(b.read()) or b.at_end)
    assert b"".join(got) == DATA


def test_a_sink_gets_bytes_with_their_marks_and_rules_the_window():
    sink = Sink(20_000)
    link, a, b, source = opened(sink=sink)
    source.ready_end = source.end
    link.run(lambda: len(sink.data) == 20_000)
    assert b.readable == 20_000
    while len(sink.data) < len(DATA):
        sink.buffered = 0
        b.was_read()
        before = len(sink.data)
        link.run(lambda: len(sink.data) > before)  # noqa: B023 - at once
    assert sink.data == DATA
    assert {mark for _, mark in sink.pieces} == {PLAIN}
    for call in (b.read, b.read_marked):
        with pytest.raises(TcpError):
            call()
    with pytest.raises(TcpError):
        a.write(b"more")


def test_marks_come_through_reassembly():
    sink, mark = Sink(), Mark(True, CARD, 7)
    link, a, b, source = opened(sink=sink)
    source.ready_end = source.end
    first, second, third = [frame for packet in a.poll(link.now_ns) for frame in to_frames(packet)][
        :3
    ]
    b.receive(third, link.now_ns, mark=DECRYPTED)
    b.receive(second, link.now_ns, mark=mark)
    b.receive(first, link.now_ns)
    assert [found for _, found in sink.pieces] == [PLAIN, mark, DECRYPTED]
    assert sink.data == DATA[: len(sink.data)]


def test_a_window_beyond_what_can_be_told_is_no_harm():
    """Without scaling a large sink is told as 65535 bytes at most."""
    sink = Sink(1 << 20)
    near, far = endpoints()
    a = Connection(near, TcpConfig(window_scaling=False))
    b = Connection(far, TcpConfig(), sink=sink)
    link = Link(a, b)
    link.open()
    assert a.write(DATA) == len(DATA)
    link.run(lambda: sink.data == DATA)


@given(
    st.lists(st.tuples(st.integers(0, 50), st.sampled_from([None, CARD, OTHER])), max_size=8),
    st.data(),
)
def test_cuts_of_a_chain_are_cuts_of_its_bytes(pieces, data):
    made, at = [], 0
    for size, domain in pieces:
        iova = None if domain is None else 0x1000 + at
        made.append(Piece(memoryview(DATA)[at : at + size], iova, domain))
        at += size
    chain = Chain(tuple(made), tls="session")
    assert len(chain) == at
    assert chain.tobytes() == DATA[:at]
    start = data.draw(st.integers(0, at))
    end = data.draw(st.integers(start, at))
    part = cut(chain, start, end)
    assert part.tobytes() == DATA[start:end]
    assert part.tls == "session"
    parts, copied = part.parts(CARD)
    place = start
    for piece in parts:
        if isinstance(piece, DmaRange):
            assert piece.address == 0x1000 + place
            place += piece.length
        else:
            assert piece == DATA[place : place + len(piece)]
            place += len(piece)
            copied -= len(piece)
    assert place == end
    assert copied == 0


def test_a_packet_with_a_chain_is_split_as_bytes_are():
    link = Link(*pair())
    link.open()
    a = link.ends[0]
    a.write(DATA[:5000])
    (packet,) = a.poll(link.now_ns)
    pieces = (Piece(memoryview(DATA)[:3000], 0x1000, CARD), Piece(memoryview(DATA)[3000:5000]))
    chained = packet._replace(payload=Chain(pieces))
    for one, other in zip(split(packet, 1700), split(chained, 1700), strict=True):
        assert one.headers == other.headers
        assert bytes(one.payload) == other.payload.tobytes()
        assert to_frames(one) == to_frames(other)
