"""Pages, the page cache, and mbufs that refer to them."""

import os
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sending import make_file

from tlsnic.driver.bus.dma import DmaBuffer
from tlsnic.driver.ktls.mbuf import (
    HEADER_ROOM,
    M_RDONLY,
    Mbuf,
    m_copydata,
    m_freem,
    m_length,
    m_link,
)
from tlsnic.driver.ktls.pages import PAGE_BYTES, Memory, PageCache, PagePool
from tlsnic.driver.tcp.source import Piece


class Card:
    """Memory at addresses of its own."""

    def __init__(self):
        self.next = 0x10_0000
        self.freed = 0

    def alloc(self, size):
        iova = self.next
        self.next += size + 0x1000

        def free(buffer):
            self.freed += 1

        return DmaBuffer(memoryview(bytearray(size)), iova, free)


def test_a_pool_gives_pages_again():
    card = Card()
    pool = PagePool(card.alloc, 4096, chunk_pages=4, domain=card)
    pages = [pool.alloc() for _ in range(5)]
    assert pool.in_use == 5
    assert len({page.iova for page in pages}) == 5
    assert all(page.domain is card and len(page.view) == 4096 for page in pages)
    pages[0].wire()
    pages[0].unwire()
    assert pool.in_use == 5
    pages[0].unwire()
    assert pool.in_use == 4
    assert pool.alloc() is pages[0]
    for page in pages:
        page.unwire()
    with pytest.raises(ValueError, match="nothing is wired"):
        pages[0].unwire()
    pool.close()
    assert card.freed == 2


def test_memory_that_no_card_reaches_has_no_address():
    page = Memory().records.alloc()
    assert page.iova is None
    assert page.domain is None


def test_trailers_are_shared_and_have_the_inner_type():
    memory = Memory()
    assert memory.trailer_page(23) is memory.trailer_page(23)
    assert bytes(memory.trailer_page(23).view).strip(b"\0") == b"\x17"
    assert not any(memory.trailer_page(0).view)
    assert not memory.in_use


def open_file(path):
    return os.open(path, os.O_RDONLY)


@pytest.fixture
def cached(tmp_path):
    """A cache of two pages, and a file of three and a half."""
    data = make_file(tmp_path / "file", 3 * 4096 + 2048)
    file = open_file(tmp_path / "file")
    cache = PageCache(PagePool(page_bytes=4096), 2)
    yield cache, file, data, tmp_path / "file"
    os.close(file)
    cache.close()
    assert not cache.pool.in_use


def test_a_page_is_read_once(cached):
    cache, file, data, _ = cached
    assert cache.size_of(file) == len(data)
    page = cache.grab(file, 1)
    assert page.view == data[4096:8192]
    assert cache.grab(file, 1) is page
    assert page.wire_count == 2
    assert (cache.reads, cache.hits) == (1, 1)
    page.unwire()
    page.unwire()
    assert cache.grab(file, 1) is page
    page.unwire()
    last = cache.grab(file, 3)
    assert last.valid == 2048
    assert last.view[:2048] == data[3 * 4096 :]
    beyond = cache.grab(file, 4)
    assert beyond.valid == 0
    last.unwire()
    beyond.unwire()


def test_the_least_recently_used_leaves_and_wired_ones_stay(cached):
    cache, file, data, _ = cached
    first = cache.grab(file, 0)
    for index in (1, 2, 1, 3):
        cache.grab(file, index).unwire()
        assert len(cache) <= 2
    assert cache.wired == 1
    assert first.view == data[:4096]
    pages = [first, *(cache.grab(file, index) for index in (1, 2, 3))]
    assert len(cache) == 4  # all are needed
    for page in pages:
        page.unwire()
    assert len(cache) == 2
    assert cache.pool.in_use == 2


def test_a_file_that_changes_is_read_again(cached):
    cache, file, data, path = cached
    cache.size_of(file)
    old = cache.grab(file, 0)
    cache.grab(file, 1).unwire()
    new = make_file(path, 5000, seed=2)
    assert cache.size_of(file) == 5000
    assert not len(cache)
    page = cache.grab(file, 0)
    assert page.view == new[:4096]
    assert old.view == data[:4096]  # for retransmits
    assert cache.pool.in_use == 2
    old.unwire()
    assert cache.pool.in_use == 1
    page.unwire()


def test_the_same_file_by_another_descriptor(cached):
    cache, file, _, path = cached
    page = cache.grab(file, 0)
    other = open_file(path)
    assert cache.grab(other, 0) is page
    os.close(other)
    page.unwire()
    page.unwire()


def test_a_file_that_cannot_be_read(cached, tmp_path):
    cache = cached[0]
    directory = open_file(tmp_path)
    with pytest.raises(IsADirectoryError):
        cache.grab(directory, 0)
    os.close(directory)
    assert not cache.pool.in_use


# mbufs


def framed(m, header, trailer):
    m.set_framing(len(header), len(trailer))
    m.m_epg_hdr[:] = header
    if m.is_record_page:
        m.m_epg_trail[:] = trailer
    return m


def test_a_record_page_is_one_piece():
    card = Card()
    memory = Memory(card.alloc, card)
    m = framed(Mbuf.get_record(b"payload", memory), b"head", b"tag")
    assert m.tobytes() == b"headpayloadtag"
    (piece,) = m.pieces(0)
    page = m.m_epg_pa[0]
    assert piece == Piece(page.view[60:74], page.iova + HEADER_ROOM - 4, card)
    (piece,) = m.pieces(6, 3)
    assert (bytes(piece.view), piece.iova) == (b"ylo", page.iova + HEADER_ROOM + 2)
    m.free()
    assert not memory.in_use


def test_pages_of_a_file_are_sent_from_where_they_are():
    card = Card()
    memory = Memory(card.alloc, card)
    pages = [memory.files.alloc() for _ in range(3)]
    for number, page in enumerate(pages):
        page.view[:] = bytes([number]) * PAGE_BYTES
    m = framed(Mbuf.get_pages(pages, PAGE_BYTES - 5, PAGE_BYTES + 9, memory), b"head", bytes(16))
    assert m.m_flags & M_RDONLY
    assert m.m_epg_npgs == 3
    assert not m.is_record_page
    found = list(m.pieces(0))
    addresses = [(piece.iova, len(piece.view)) for piece in found]
    assert addresses[1:4] == [
        (pages[0].iova + PAGE_BYTES - 5, 5),
        (pages[1].iova, PAGE_BYTES),
        (pages[2].iova, 4),
    ]
    assert found[2].view.obj is pages[1].view.obj
    assert found[4].iova == memory.trailer_page(0).iova
    assert m.tobytes() == b"head" + bytes(5) + b"\1" * PAGE_BYTES + b"\2" * 4 + bytes(16)
    m.free()
    assert not memory.in_use


@given(st.integers(1, 3), st.data())
def test_any_part_of_an_mbuf(count, data):
    memory = Memory()
    pages = [memory.files.alloc() for _ in range(count)]
    for number, page in enumerate(pages):
        page.view[:] = bytes((n + number * 7) & 0xFF for n in range(256)) * 64
    first = data.draw(st.integers(0, PAGE_BYTES - 1))
    last = data.draw(st.integers(1 if count > 1 else first + 1, PAGE_BYTES))
    length = (count - 1) * PAGE_BYTES + last - first
    m = framed(Mbuf.get_pages(pages, first, length, memory), b"12345", bytes(16))
    payload = b"".join(bytes(page.view) for page in pages)[first : first + length]
    assert sum(map(len, m.payload())) == length
    whole = b"12345" + payload + bytes(16)
    gone = data.draw(st.integers(0, len(whole) - 1))
    m.m_off += gone
    m.m_len -= gone
    offset = data.draw(st.integers(0, m.m_len))
    size = data.draw(st.integers(0, m.m_len - offset))
    assert b"".join(m.views(offset, size)) == whole[gone + offset : gone + offset + size]
    assert m.tobytes() == whole[gone:]
    m.free()
    assert not memory.in_use


def test_wired_pages_outlive_their_mbuf():
    """A card still reads what is acknowledged already."""
    memory = Memory()
    for make in (
        lambda: Mbuf.get_record(b"payload", memory),
        lambda: Mbuf.get_pages([memory.files.alloc()], 0, 10, memory),
    ):
        m = make()
        wired = m.wire()
        m.free()
        assert memory.in_use == len(wired)
        for page in wired:
            page.unwire()
        assert not memory.in_use
    assert Mbuf(b"plain").wire() == []


def test_a_payload_that_is_too_long_for_a_record_page():
    memory = Memory()
    with pytest.raises(ValueError, match="bytes in one record"):
        Mbuf.get_record(bytes(20_000), memory)
    assert not memory.in_use


def test_chains():
    memory = Memory()
    mbufs = [Mbuf(b"ab"), Mbuf.get_record(b"cde", memory), Mbuf(b"f")]
    first = m_link(mbufs)
    assert m_link([]) is None
    assert m_length(first) == 6
    assert m_copydata(first, 1, 4) == b"bcde"
    assert m_copydata(first, 5, 1) == b"f"
    with pytest.raises(ValueError, match="2 bytes too early"):
        m_copydata(first, 4, 4)
    assert memory.in_use == 1
    m_freem(first)
    m_freem(first)
    assert memory.in_use == 0


def test_the_length_stays_while_pages_are_exchanged():
    """A worker does it without the lock of the socket buffer, which may be flushed meanwhile."""
    memory = Memory()
    m = Mbuf.get_pages([memory.files.alloc()], 100, 5000, memory)
    m.set_framing(13, 16)
    lengths = set()

    def watch(frame, event, _):
        if frame.f_code.co_filename.endswith("ktls/mbuf.py"):
            lengths.add(m.m_len)
            return watch
        return None

    before = sys.gettrace()
    sys.settrace(watch)
    try:
        m.replace_pages(memory.records.alloc(), 5000)
    finally:
        sys.settrace(before)
    assert lengths == {13 + 5000 + 16}
    m.free()
    assert not memory.in_use
