"""sendfile: pages of a file, by reference."""

import errno
import os
import random

import pytest
from flows import make_session
from hypothesis import given
from hypothesis import strategies as st
from sending import Tcp, content, make_file, make_socket, opened, take, take_all

from tlsnic.abi.enums import CipherSuite
from tlsnic.driver.ktls.kernel import Kernel
from tlsnic.driver.ktls.mbuf import chain
from tlsnic.driver.ktls.pages import PAGE_BYTES, PageCache, PagePool
from tlsnic.driver.ktls.socket import SS_NBIO
from tlsnic.driver.ktls.workers import ScheduledPool

GCM12, GCM13 = CipherSuite.TLS12_AES_128_GCM, CipherSuite.TLS13_AES_128_GCM
CBC12 = CipherSuite.TLS12_AES_CBC_SHA256
SIZE = 5 * PAGE_BYTES + 1234


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("sendfile") / "file"
    data = make_file(path, SIZE)
    descriptor = os.open(path, os.O_RDONLY)
    yield descriptor, data
    os.close(descriptor)


def small_pages(page_bytes):
    """A kernel whose page cache has smaller pages, so that a record needs several."""
    kernel = Kernel(workers=ScheduledPool())
    kernel.page_cache = PageCache(PagePool(page_bytes=page_bytes))
    return kernel


@given(
    offset=st.integers(0, SIZE + 100),
    nbytes=st.integers(0, SIZE + 100),
    suite=st.sampled_from([GCM12, GCM13, CBC12, None]),
    page_bytes=st.sampled_from([4096, 512, PAGE_BYTES]),
    maxlen=st.sampled_from([16384, 5000, 700]),
)
def test_any_part_of_a_file(file, offset, nbytes, suite, page_bytes, maxlen):
    descriptor, data = file
    session = make_session(suite) if suite else None
    kernel = small_pages(page_bytes)
    kernel.sysctl["maxlen"] = maxlen
    so = make_socket(session, kernel=kernel)
    expected = data[offset : offset + nbytes if nbytes else None]
    assert so.sendfile(descriptor, offset, nbytes) == len(expected)
    so.so_snd.sbcheck()
    wire = take_all(so)
    if suite is None:
        assert wire == expected
    elif expected:
        records = opened(session, wire)
        assert b"".join(part for _, part in records) == expected
        assert max(len(part) for _, part in records) <= maxlen
    so.abort()
    assert not kernel.page_cache.wired
    assert not kernel.memory.in_use


@pytest.mark.parametrize("suite", [GCM13, None])
def test_nothing_is_copied_for_a_card(file, suite):
    """The payload that goes down is the page cache's memory, and the CPU has not touched it."""
    descriptor, data = file
    session = make_session(suite) if suite else None
    so = make_socket(session, proto=Tcp(ifnet=True))
    cache = so.kernel.page_cache
    assert so.sendfile(descriptor, 0) == SIZE
    assert so.so_snd.sbavail() == so.so_snd.sbused()
    held = {}
    for index in range(6):
        page = cache.grab(descriptor, index)
        held[index] = page
        page.unwire()
    for index, m in enumerate(chain(so.so_snd.sb_mb)):
        assert m.m_epg_pa == [held[index]]
        payload = m.payload()[0]
        assert payload.obj is held[index].view.obj
        # Memory that is changed is changed in what goes down.
        page = held[index].view
        before = page[7]
        page[7] ^= 0xFF
        assert payload[7] == before ^ 0xFF
        assert next(view for view in m.views() if len(view) > 100)[7] == before ^ 0xFF
        page[7] = before
    assert so.kernel.sysctl.bytes_touched == 0
    assert cache.reads == 6
    wire = take(so)
    if suite is None:
        assert wire == data
    else:
        assert wire[:5] == b"\x17\x03\x03" + (PAGE_BYTES + 17).to_bytes(2, "big")
        assert wire[5 : 5 + PAGE_BYTES] == data[:PAGE_BYTES]
        assert wire[5 + PAGE_BYTES : 22 + PAGE_BYTES] == b"\x17" + bytes(16)


def test_a_file_is_read_once_for_all(file):
    """Two connections, in software and on a card."""
    descriptor, data = file
    kernel = Kernel(workers=ScheduledPool())
    session = make_session(GCM13)
    software = make_socket(session, kernel=kernel)
    card = make_socket(session, kernel=kernel, proto=Tcp(ifnet=True))
    for so in (software, card, software):
        so.sendfile(descriptor, 0)
    assert kernel.page_cache.reads == 6
    assert content(session, take_all(software)) == data * 2
    # Software has encrypted into other pages.
    assert kernel.page_cache.wired == 6
    assert take(card)[5 : 5 + PAGE_BYTES] == data[:PAGE_BYTES]
    assert kernel.page_cache.wired == 0


def test_software_gives_the_file_s_pages_back_when_they_are_encrypted(file):
    descriptor, _ = file
    so = make_socket(make_session(GCM13))
    so.sendfile(descriptor, 0)
    assert so.kernel.page_cache.wired == 6
    so.kernel.workers.drain()
    assert so.kernel.page_cache.wired == 0
    assert so.kernel.memory.headers.in_use == 0
    assert so.kernel.memory.records.in_use == 6


def test_a_record_ends_with_a_page(file):
    descriptor, data = file
    session = make_session(GCM13)
    so = make_socket(session)
    so.sendfile(descriptor, 100, 40_000)
    found = [len(part) for _, part in opened(session, take_all(so))]
    assert found == [PAGE_BYTES - 100, PAGE_BYTES, 40_000 - 2 * PAGE_BYTES + 100]
    assert data


def test_a_file_that_changes(tmp_path):
    """What is in the send buffer is what it was; the next one sends what it is."""
    path = tmp_path / "file"
    old = make_file(path, 20_000)
    session = make_session(GCM13)
    so = make_socket(session)
    with path.open("rb") as file:
        so.sendfile(file.fileno(), 0)
        new = make_file(path, 30_000, seed=2)
        so.sendfile(file.fileno(), 0)
    assert content(session, take_all(so)) == old + new


@pytest.mark.parametrize("left", [0, 10, PAGE_BYTES, PAGE_BYTES + 10, 2 * PAGE_BYTES])
def test_a_file_that_gets_shorter_meanwhile(tmp_path, left):
    """While sendfile waits for room: it sends what there is."""
    path = tmp_path / "file"
    data = make_file(path, 3 * PAGE_BYTES)
    session = make_session(GCM13)
    wire = []

    def truncate(so):
        os.truncate(path, left)
        so.kernel.workers.drain()
        wire.append(take(so))
        return True

    so = make_socket(session, proto=Tcp(on_wait=truncate), send_bytes=PAGE_BYTES)
    with path.open("rb") as file:
        taken = so.sendfile(file.fileno(), 0)
    assert taken == max(left, PAGE_BYTES)  # the first page was sent before
    wire.append(take_all(so))
    assert content(session, b"".join(wire)) == data[:taken]
    so.abort()
    assert not so.kernel.page_cache.wired


def test_a_file_that_is_larger_than_the_buffer(file):
    descriptor, data = file
    session = make_session(GCM12)
    wire = []
    source = random.Random(3)

    def acknowledge(so):
        so.so_snd.sbcheck()
        so.kernel.workers.drain()
        wire.append(take(so, source.randrange(1, 9000)))
        return True

    so = make_socket(session, proto=Tcp(on_wait=acknowledge), send_bytes=20_000)
    assert so.sendfile(descriptor, 77) == SIZE - 77
    wire.append(take_all(so))
    assert content(session, b"".join(wire)) == data[77:]


def test_a_socket_that_does_not_block(file):
    descriptor, data = file
    session = make_session(GCM13)
    so = make_socket(session, send_bytes=40_000)
    so.so_state |= SS_NBIO
    taken = so.sendfile(descriptor, 0)
    assert taken == 2 * PAGE_BYTES
    with pytest.raises(BlockingIOError):
        so.sendfile(descriptor, taken)
    assert content(session, take_all(so)) == data[:taken]
    assert so.sendfile(descriptor, taken) == 2 * PAGE_BYTES


def test_a_buffer_that_is_smaller_than_a_page(file):
    descriptor, data = file
    session = make_session(GCM13)
    wire = []

    def acknowledge(so):
        so.kernel.workers.drain()
        wire.append(take(so))
        return True

    so = make_socket(session, proto=Tcp(on_wait=acknowledge), send_bytes=1000)
    assert so.sendfile(descriptor, 0, 10_500) == 10_500
    wire.append(take_all(so))
    assert content(session, b"".join(wire)) == data[:10_500]


def test_what_sendfile_refuses(file, tmp_path):
    descriptor, _ = file
    so = make_socket(make_session(GCM13))
    for arguments in ((descriptor, -1), (descriptor, 0, -1)):
        with pytest.raises(OSError, match="negative") as caught:
            so.sendfile(*arguments)
        assert caught.value.errno == errno.EINVAL
    with pytest.raises(OSError, match=r".") as caught:
        so.sendfile(1 << 20, 0)
    assert caught.value.errno == errno.EBADF
    directory = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(IsADirectoryError):
        so.sendfile(directory, 0, 10)
    os.close(directory)
    assert so.sendfile(descriptor, SIZE) == 0
    assert not so.so_snd.sbused()
    assert not so.kernel.memory.in_use
