"""Socket buffers against a simple model, with sbcheck after every step."""

import random
from itertools import pairwise

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tlsnic.driver.ktls.mbuf import (
    CSUM_TLS_DECRYPTED,
    M_CUT,
    M_DECRYPTED,
    M_NOTREADY,
    M_RDONLY,
    MT_CONTROL,
    Mbuf,
    PacketHeader,
    chain,
    m_copydata,
    m_freem,
    m_length,
    m_link,
)
from tlsnic.driver.ktls.pages import Memory
from tlsnic.driver.ktls.sockbuf import SB_TLS_RX, Sockbuf


def record(memory, payload, *, ready):
    """An mbuf as ktls_frame makes them: 5 bytes of header, 16 of trailer."""
    m = Mbuf.get_record(payload, memory)
    m.set_framing(5, 16)
    m.m_epg_hdr[:] = b"H" * 5
    m.m_epg_trail[:] = b"T" * 16
    if not ready:
        m.m_flags |= M_NOTREADY
        m.m_epg_nrdy = 1
    return m


class SendBuffer(RuleBasedStateMachine):
    """Appended ready and not, made ready in any order, dropped in any amounts."""

    def __init__(self):
        super().__init__()
        self.memory = Memory()
        self.sb = Sockbuf(1 << 20)
        self.pieces = []  # [bytes, is ready, mbuf]
        self.waiting = []  # not ready: mbufs, also such as were cut out
        self.random = random.Random(1)

    def payload(self, size):
        return self.random.randbytes(size)

    @rule(sizes=st.lists(st.integers(0, 700), min_size=1, max_size=4))
    def append_plain(self, sizes):
        mbufs = [Mbuf(self.payload(size)) for size in sizes]
        self.pieces += [[bytes(m.m_data), True, None] for m in mbufs if m.m_len]
        self.sb.sbappendstream(m_link(mbufs))

    @rule(records=st.lists(st.tuples(st.integers(0, 700), st.booleans()), min_size=1, max_size=4))
    def append_records(self, records):
        mbufs = [record(self.memory, self.payload(n), ready=ready) for n, ready in records]
        for m, (_, ready) in zip(mbufs, records, strict=True):
            self.pieces.append([m.tobytes(), ready, m])
            if not ready:
                self.waiting.append(m)
        self.sb.sbappendstream(m_link(mbufs))

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def make_ready(self, data):
        m = self.waiting.pop(data.draw(st.integers(0, len(self.waiting) - 1)))
        if m.m_flags & M_CUT:
            with pytest.raises(LookupError):
                self.sb.sbready(m, 1)
            return
        before = self.available
        next(piece for piece in self.pieces if piece[2] is m)[1] = True
        assert self.sb.sbready(m, 1) == (self.available > before)

    @rule(share=st.floats(0, 1))
    def drop(self, share):
        count = int(self.available * share)
        self.sb.sbdrop(count)
        while count:
            data = self.pieces[0][0]
            if count < len(data):
                self.pieces[0][0] = data[count:]
                break
            count -= len(data)
            del self.pieces[0]

    @rule(start=st.floats(0, 1), share=st.floats(0, 1))
    def read(self, start, share):
        data = b"".join(piece[0] for piece in self.pieces)
        offset = int(len(data) * start)
        length = int((len(data) - offset) * share)
        found = [
            view for m, at, count in self.sb.iterate(offset, length) for view in m.views(at, count)
        ]
        assert b"".join(found) == data[offset : offset + length]

    @rule()
    def flush(self):
        self.sb.sbflush()
        self.pieces.clear()

    @property
    def available(self):
        total = 0
        for data, ready, _ in self.pieces:
            if not ready:
                break
            total += len(data)
        return total

    @invariant()
    def agrees(self):
        self.sb.sbcheck()
        assert self.sb.sbavail() == self.available
        assert self.sb.sbused() == sum(len(piece[0]) for piece in self.pieces)
        assert self.sb.sbspace() == (1 << 20) - self.sb.sbused()

    def teardown(self):
        self.sb.sbflush()
        for m in self.waiting:
            with pytest.raises(LookupError):
                self.sb.sbready(m, 1)
        assert not self.memory.in_use


class ReceiveBuffer(RuleBasedStateMachine):
    """What TCP appends, decrypted by the card or not; a worker that takes records out and puts
    them back decrypted; a program that reads records, or flushes."""

    def __init__(self):
        super().__init__()
        self.sb = Sockbuf(1 << 20)
        self.random = random.Random(2)
        self.stream = []  # [byte, was decrypted], of sb_mtls
        self.detached = None
        self.records = []  # [control, data], readable
        self.checks = 0
        self.sb.sbappendstream(Mbuf(b"early"))
        self.stream = [(byte, False) for byte in b"early"]
        self.sb.sb_flags |= SB_TLS_RX
        self.sb.sb_mark_notready()
        self.sb.ktls_check_rx = self.check

    def check(self, sb):
        assert sb is self.sb
        self.checks += 1

    @rule(
        packets=st.lists(st.tuples(st.integers(0, 700), st.booleans()), min_size=1, max_size=5),
        as_header=st.booleans(),
    )
    def append(self, packets, as_header):
        mbufs = []
        for size, decrypted in packets:
            data = self.random.randbytes(size)
            m = Mbuf(data)
            if as_header:
                m.m_pkthdr = PacketHeader(CSUM_TLS_DECRYPTED if decrypted else 0)
            elif decrypted:
                m.m_flags |= M_DECRYPTED
            self.stream += [(byte, decrypted) for byte in data]
            mbufs.append(m)
        before = self.checks
        self.sb.sbappendstream(m_link(mbufs))
        assert self.checks == before + 1

    @precondition(lambda self: self.detached is None and self.stream)
    @rule()
    def detach(self):
        first = self.sb.sb_mtls
        self.sb.sb_mtls = first.m_next
        if first.m_next is None:
            self.sb.sb_mtlstail = None
        first.m_next = None
        self.sb.sbfree_ktls_rx(first)
        self.sb.sb_tlsdcc = first.m_len
        self.sb.sb_ccc += first.m_len
        self.detached = first
        del self.stream[: first.m_len]

    @precondition(lambda self: self.detached is not None)
    @rule(failed=st.booleans())
    def finish(self, failed):
        m, self.detached = self.detached, None
        if not self.sb.sb_tlsdcc:
            return  # dropped meanwhile
        self.sb.sb_ccc -= self.sb.sb_tlsdcc
        self.sb.sb_tlsdcc = 0
        if not failed:
            m.m_flags &= ~M_NOTREADY
            self.records.append([5, m.m_len])
            self.sb.sbappendcontrol(m, Mbuf(b"type?", MT_CONTROL))

    @precondition(lambda self: self.records)
    @rule(share=st.floats(0, 1))
    def read(self, share):
        control, data = self.records[0]
        count = int((control + data) * share)
        self.sb.sbdrop(count)
        first = min(count, control)
        self.records[0] = [control - first, data - (count - first)]
        if not any(self.records[0]):
            del self.records[0]

    @rule()
    def flush(self):
        self.sb.sbflush()
        self.stream.clear()
        self.records.clear()
        assert self.sb.sb_tlsdcc == 0

    @invariant()
    def agrees(self):
        sb = self.sb
        sb.sbcheck()
        readable = sum(map(sum, self.records))
        assert sb.sbavail() == readable
        assert sb.sb_ctl == sum(control for control, _ in self.records)
        assert sb.sb_tlscc == len(self.stream)
        assert sb.sbused() == readable + sb.sb_tlsdcc + len(self.stream)
        at = 0
        for m in chain(sb.sb_mtls):
            was = bool(m.m_flags & M_DECRYPTED)
            expected = self.stream[at : at + m.m_len]
            assert [(byte, was) for byte in m.tobytes()] == expected
            at += m.m_len


TestSendBuffer = SendBuffer.TestCase
TestSendBuffer.settings = settings(max_examples=60, stateful_step_count=30)
TestReceiveBuffer = ReceiveBuffer.TestCase
TestReceiveBuffer.settings = settings(max_examples=60, stateful_step_count=30)


def stream(*mbufs, hiwat=10_000):
    sb = Sockbuf(hiwat)
    for m in mbufs:
        sb.sbappendstream(m)
        sb.sbcheck()
    return sb


def count(sb):
    return len(list(chain(sb.sb_mb)))


def test_what_is_ready_waits_for_what_is_before_it():
    memory = Memory()
    a, b, c = (record(memory, bytes(10), ready=False) for _ in range(3))
    sb = stream(a, b, c, Mbuf(b"plain"))
    assert [sb.sbready(c, 1), sb.sbavail()] == [False, 0]
    assert [sb.sbready(a, 1), sb.sbavail()] == [True, 31]
    assert [sb.sbready(b, 1), sb.sbavail()] == [True, 98]
    assert sb.sb_fnrdy is None
    sb.sbcheck()


def test_an_mbuf_of_several_pages_is_ready_with_the_last():
    memory = Memory()
    m = record(memory, bytes(10), ready=False)
    m.m_epg_nrdy = 3
    sb = stream(m)
    assert [sb.sbready(m, 1), sb.sbready(m, 1), sb.sbready(m, 1)] == [False, False, True]


def test_small_pieces_are_merged_and_others_not():
    memory = Memory()
    assert count(stream(Mbuf(b"a"), Mbuf(b"b"))) == 1
    assert stream(Mbuf(b"a"), Mbuf(b"b")).sb_mb.tobytes() == b"ab"
    assert count(stream(Mbuf(bytes(513)), Mbuf(b"b"))) == 2
    assert count(stream(Mbuf(b"a"), Mbuf(bytes(513)))) == 2
    assert count(stream(Mbuf(b"a"), Mbuf(b"b", flags=M_RDONLY))) == 2
    assert count(stream(Mbuf(b"a"), record(memory, b"b", ready=True), Mbuf(b"c"))) == 3
    first, second = Mbuf(b"a"), Mbuf(b"b")
    first.m_pkthdr, second.m_pkthdr = PacketHeader(leaf_rcvif="em0"), PacketHeader(leaf_rcvif="em1")
    assert count(stream(first, second)) == 2


def test_decrypted_and_encrypted_are_never_merged():
    sb = Sockbuf(1000)
    sb.sb_flags |= SB_TLS_RX
    for flags in (0, 0, M_DECRYPTED, M_DECRYPTED, 0):
        sb.sbappendstream(Mbuf(b"12", flags=flags))
    found = [(m.m_len, m.m_flags & M_DECRYPTED) for m in chain(sb.sb_mtls)]
    assert found == [(4, 0), (4, M_DECRYPTED), (2, 0)]


def test_more_than_there_is():
    sb = stream(Mbuf(b"abc"))
    with pytest.raises(ValueError, match="4 bytes of 3"):
        sb.sbdrop(4)
    with pytest.raises(ValueError, match="beyond the end"):
        list(sb.iterate(1, 3))
    sb.sbcheck()


def test_a_detached_record_goes_as_a_whole():
    sb = Sockbuf(1000)
    sb.sb_flags |= SB_TLS_RX
    sb.sbappendstream(Mbuf(b"0123456789"))
    sb.sbfree_ktls_rx(sb.sb_mtls)
    sb.sb_mtls = sb.sb_mtlstail = None
    sb.sb_tlsdcc = sb.sb_ccc = 10
    with pytest.raises(ValueError, match="as a whole"):
        sb.sbdrop(4)
    sb.sbcheck()
    sb.sbdrop(10)
    sb.sbcheck()
    assert sb.sb_tlsdcc == sb.sbused() == 0


def test_sbcut_gives_what_is_gone():
    sb = stream(Mbuf(bytes(600)), Mbuf(bytes(600)))
    gone = sb.sbcut(900)
    assert m_length(gone) == 600
    assert gone.m_next is None
    assert sb.sb_mb.m_len == 300
    m_freem(gone)


def test_the_look_up_remembers_where_it_was():
    sb = stream(*[Mbuf(bytes([n]) * 600) for n in range(50)], hiwat=1 << 20)
    for start, end in pairwise(range(0, 30_000, 700)):
        found = b"".join(v for m, a, n in sb.iterate(start, end - start) for v in m.views(a, n))
        assert found == m_copydata(sb.sb_mb, start, end - start)
        assert sb.sb_sndptroff <= start < sb.sb_sndptroff + sb.sb_sndptr.m_len
        sb.sbcheck()
    sb.sbdrop(29_000)
    sb.sbcheck()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda sb: setattr(sb, "sb_acc", sb.sb_acc + 1),
        lambda sb: setattr(sb, "sb_ccc", sb.sb_ccc - 1),
        lambda sb: setattr(sb, "sb_ctl", 1),
        lambda sb: setattr(sb, "sb_mcnt", 5),
        lambda sb: setattr(sb, "sb_tlscc", 1),
        lambda sb: setattr(sb, "sb_tlsdcc", 1),
        lambda sb: setattr(sb, "sb_fnrdy", sb.sb_mb),
        lambda sb: setattr(sb, "sb_mbtail", sb.sb_mb),
        lambda sb: setattr(sb, "sb_lastrecord", None),
        lambda sb: setattr(sb, "sb_mtlstail", sb.sb_mb),
        lambda sb: setattr(sb, "sb_mtls", Mbuf(b"ready")),
        lambda sb: setattr(sb, "sb_sndptr", Mbuf(b"elsewhere")),
        lambda sb: setattr(sb.sb_mb, "m_flags", M_NOTREADY),
        lambda sb: setattr(sb.sb_mb, "m_len", 0),
    ],
)
def test_sbcheck_finds_what_is_wrong(spoil):
    sb = stream(Mbuf(bytes(600)), Mbuf(bytes(600)))
    spoil(sb)
    with pytest.raises(AssertionError):
        sb.sbcheck()


def test_waiting_ends_with_a_wake_up():
    sb = Sockbuf(10)
    woken = []
    sb.sb_upcall = woken.append
    with sb.sb_mtx:
        assert not sb.sbwait(0)
    sb.sowakeup()
    assert woken == [sb]
