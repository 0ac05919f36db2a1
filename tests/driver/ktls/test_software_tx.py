"""Software encryption beside the writer: ready in order whatever workers do, and nothing left over."""

import errno
import random
import threading
import time

import pytest
from flows import make_session
from hypothesis import given
from hypothesis import strategies as st
from sending import Tcp, content, make_file, make_socket, opened, take, take_all

from tlsnic.abi.enums import CipherSuite
from tlsnic.abi.suites import SUITES
from tlsnic.driver.ktls.backend import Backends
from tlsnic.driver.ktls.kernel import Kernel
from tlsnic.driver.ktls.mbuf import M_NOTREADY, chain
from tlsnic.driver.ktls.session import TCP_TLS_MODE_SW
from tlsnic.driver.ktls.workers import ScheduledPool, ThreadPool

GCM12, GCM13 = CipherSuite.TLS12_AES_128_GCM, CipherSuite.TLS13_AES_128_GCM
CBC10 = CipherSuite.TLS10_AES_CBC_SHA1
SUITES_TRIED = st.sampled_from([GCM13, GCM12, CBC10])


def check_nothing_is_left(kernel):
    assert not kernel.workers.queued
    assert not kernel.workers.failures
    assert kernel.memory.in_use == len(kernel.page_cache)
    assert not kernel.page_cache.wired
    counts = kernel.sysctl.snapshot()
    for name in ("stats.active", "stats.sw_tx_inqueue", "stats.sw_tx_pending", "sw.gcm", "sw.cbc"):
        assert counts[f"kern.ipc.tls.{name}"] == 0, name
    kernel.close()
    assert not kernel.memory.in_use


@given(
    suite=SUITES_TRIED,
    workers=st.integers(1, 4),
    spread=st.booleans(),
    choices=st.randoms(use_true_random=False),
    writes=st.lists(st.integers(1, 40_000), min_size=1, max_size=8),
)
def test_ready_in_order_with_workers_finishing_in_any(suite, workers, spread, choices, writes):
    """What is available is always a beginning of the stream, in whole records."""
    pool = ScheduledPool(workers, spread=spread, choose=choices.choice)
    session = make_session(suite)
    proto = Tcp()
    so = make_socket(session, kernel=Kernel(workers=pool), proto=proto)
    data = random.Random(1).randbytes(sum(writes))
    at, wire, finished = 0, b"", 0
    for size in writes:
        so.write(data[at : at + size])
        at += size
        for _ in range(choices.randrange(4)):
            before = so.so_snd.sbavail()
            proto.events.clear()
            pool.step()
            so.so_snd.sbcheck()
            grown = so.so_snd.sbavail() > before
            assert proto.events == (["ready"] if grown else [])
            finished += grown
        wire += take(so)
    wire += take_all(so)
    assert content(session, wire) == data
    so.abort()
    check_nothing_is_left(so.kernel)


def test_records_that_are_ready_early_wait():
    """The last record first: M_BLOCKED until the first is encrypted."""
    # Worker 2 takes the first record, 1 the second, 0 the third; then they finish.
    order = iter([2, 1, 0, 0, 1, 2])
    pool = ScheduledPool(3, spread=True, choose=lambda able: next(order))
    session = make_session(GCM13)
    so = make_socket(session, kernel=Kernel(workers=pool))
    for letter in b"abc":
        so.write(bytes([letter]) * 10)
    available = []
    for _ in range(6):
        pool.step()
        available.append(so.so_snd.sbavail())
        so.so_snd.sbcheck()
    assert available == [0, 0, 0, 0, 0, 96]
    assert content(session, take(so)) == b"a" * 10 + b"b" * 10 + b"c" * 10


def test_tls10_is_encrypted_one_after_the_other():
    """Its records chain, so even with workers that take anything they are in order."""
    session = make_session(CBC10)
    pool = ScheduledPool(4, spread=True, seed=5)
    so = make_socket(session, kernel=Kernel(workers=pool))
    for size in range(1, 30):
        so.write(bytes([size]) * size)
    assert pool.queued == 1
    assert so.kernel.sysctl["stats.sw_tx_pending"] == 28
    found = opened(session, take_all(so))
    assert found == [(23, bytes([size]) * size) for size in range(1, 30)]


@given(
    suite=SUITES_TRIED,
    spread=st.booleans(),
    choices=st.randoms(use_true_random=False),
    steps=st.integers(0, 20),
    end=st.sampled_from(["abort", "sofree", "drop"]),
)
def test_closing_with_records_in_flight(tmp_path_factory, suite, spread, choices, steps, end):
    """No keys, no wired pages, no worker's work stays behind."""
    path = tmp_path_factory.mktemp("sendfile") / "file"
    make_file(path, 50_000)
    pool = ScheduledPool(3, spread=spread, choose=choices.choice)
    so = make_socket(make_session(suite), kernel=Kernel(workers=pool))
    tls = so.so_snd.sb_tls_info
    so.write(bytes(40_000))
    with path.open("rb") as file:
        so.sendfile(file.fileno(), 100)
    so.write(bytes(100))
    for _ in range(steps):
        pool.step()
    take(so, choices.randrange(70_000))
    if end == "drop":
        so.tcp_drop(errno.ECONNRESET)
        so.close()
    else:
        getattr(so, end)()
    so.so_snd.sbcheck()
    assert not so.so_snd.sbused()
    pool.drain()
    assert tls.is_dead
    assert not any(tls.params.cipher_key)
    check_nothing_is_left(so.kernel)


def test_dropped_records_are_not_encrypted():
    pool = ScheduledPool(1)
    so = make_socket(make_session(GCM13), kernel=Kernel(workers=pool))
    so.write(bytes(100_000))
    so.sofree()
    pool.drain()
    assert so.kernel.sysctl["stats.ocf.tls13_gcm_encrypts"] == 0
    check_nothing_is_left(so.kernel)


def test_a_session_lives_until_its_records_are_encrypted():
    """Software: the reference goes with the encryption, not with the acknowledgement."""
    so = make_socket(make_session(GCM13))
    tls = so.so_snd.sb_tls_info
    so.write(bytes(40_000))
    assert tls.refcount == 1 + 3 + 1  # socket buffer, records, the job
    so.kernel.workers.drain()
    assert tls.refcount == 1
    assert so.so_snd.sbused()


def test_a_card_s_session_lives_until_its_records_are_acknowledged():
    so = make_socket(make_session(GCM13), proto=Tcp(ifnet=True))
    tls = so.so_snd.sb_tls_info
    so.write(bytes(40_000))
    assert tls.refcount == 1 + 3
    assert so.so_snd.sbavail() == so.so_snd.sbused()
    take(so, 16384 + 21)
    assert tls.refcount == 1 + 3
    take(so, 1)
    assert tls.refcount == 1 + 2
    take(so)
    assert tls.refcount == 1


class Broken:
    """A backend that fails at one record."""

    name, prio = "broken", 100

    def __init__(self, at, error):
        self.at, self.error = at, error

    def try_session(self, tls, direction):
        return self

    def encrypt(self, source, record, header_bytes, trailer_bytes, seqno, record_type):
        if seqno == self.at:
            raise self.error
        return 0


@pytest.mark.parametrize("spread", [False, True])
@pytest.mark.parametrize("error", [OSError(errno.EIO, "no"), ZeroDivisionError()])
def test_a_backend_that_fails_ends_the_connection(spread, error):
    pool = ScheduledPool(2, spread=spread, seed=3)
    proto = Tcp()
    kernel = Kernel(workers=pool)
    kernel.backends.register(Broken(2, error))
    so = make_socket(make_session(GCM13), kernel=kernel, proto=proto)
    so.write(bytes(90_000))
    pool.drain()
    so.so_snd.sbcheck()
    assert ("drop", errno.EIO) in proto.events
    assert kernel.sysctl["stats.failed_crypto"] == 1
    with pytest.raises(OSError, match="failed") as caught:
        so.write(b"more")
    assert caught.value.errno == errno.EIO
    so.close()
    check_nothing_is_left(kernel)


def test_a_failure_when_tcp_ends_the_connection_later():
    """The records that failed go with the socket buffer."""

    class Late(Tcp):
        def tcp_drop(self, so, error):
            self.events.append("drop")

    kernel = Kernel(workers=ScheduledPool())
    kernel.backends.register(Broken(0, OSError(errno.EIO, "no")))
    so = make_socket(make_session(GCM13), kernel=kernel, proto=Late())
    so.write(bytes(90_000))
    kernel.workers.drain()
    so.so_snd.sbcheck()
    assert so.so_snd.sbused()
    assert not so.so_snd.sbavail()
    so.sofree()
    check_nothing_is_left(kernel)


class Xor:
    """Another backend is one small class."""

    name, prio = "xor", 100

    def try_session(self, tls, direction):
        if tls.params.suite != GCM13:
            raise OSError(errno.EPROTONOSUPPORT, "only one suite")
        return self

    def encrypt(self, source, record, header_bytes, trailer_bytes, seqno, record_type):
        plain = b"".join(source) or bytes(record[header_bytes:-trailer_bytes])
        record[header_bytes:-trailer_bytes] = bytes(byte ^ 0x55 for byte in plain)
        record[-trailer_bytes:] = bytes(trailer_bytes)
        return len(plain)


def test_another_backend():
    """The one with the largest priority that takes the session."""
    kernel = Kernel(workers=ScheduledPool())
    mine = Xor()
    kernel.backends.register(mine)
    assert [backend.name for backend in kernel.backends] == ["xor", "cryptography"]
    so = make_socket(make_session(GCM13), kernel=kernel)
    so.write(b"\x00\x55")
    assert take_all(so) == b"\x17\x03\x03\x00\x13\x55\x00" + bytes(17)
    other = make_socket(make_session(GCM12), kernel=kernel)
    assert other.so_snd.sb_tls_info.be.name == "cryptography"
    with pytest.raises(OSError, match="sessions use xor") as caught:
        kernel.backends.deregister(mine)
    assert caught.value.errno == errno.EBUSY
    so.abort()
    kernel.backends.deregister(mine)
    kernel.backends.deregister(mine)
    assert [backend.name for backend in kernel.backends] == ["cryptography"]


def test_backends_of_one_priority_stand_in_line():
    class Named:
        def __init__(self, name, prio):
            self.name, self.prio = name, prio

    backends = Backends()
    for name, prio in (("b", 5), ("a", 9), ("c", 5), ("d", 1)):
        backends.register(Named(name, prio))
    assert [backend.name for backend in backends] == ["a", "b", "c", "d"]


def test_a_library_without_encrypt_into():
    """Older ones only give bytes."""
    for suite in (GCM12, GCM13):
        session = make_session(suite)
        so = make_socket(session)
        so.so_snd.sb_tls_info.crypto._encrypt_into = None
        so.write(bytes(30_000))
        assert content(session, take_all(so)) == bytes(30_000)


def test_what_the_cpu_touches(tmp_path):
    """write: copied and encrypted. sendfile in software: TLS 1.3 has the inner type to put behind
    it, so it is copied first."""
    data = make_file(tmp_path / "file", 32_768)
    for suite, of_sendfile in ((GCM12, 1), (GCM13, 2)):
        so = make_socket(make_session(suite))
        counts = so.kernel.sysctl
        so.write(data)
        so.kernel.workers.drain()
        assert counts["bytes_touched.copy"] == counts["bytes_touched.encrypt"] == len(data)
        with (tmp_path / "file").open("rb") as file:
            so.sendfile(file.fileno(), 0)
        so.kernel.workers.drain()
        assert counts["bytes_touched.copy"] == len(data)
        assert counts["bytes_touched.encrypt"] == (1 + of_sendfile) * len(data)


@pytest.mark.parametrize("spread", [False, True], ids=["affinity", "spread"])
def test_real_threads(tmp_path, spread):
    """A second of four writers, a reader of what is ready, connections that are cut off, and two
    workers: every stream is right, and nothing is left."""
    kernel = Kernel(workers=ThreadPool(2, spread=spread))
    data = make_file(tmp_path / "file", 100_000)
    end = time.monotonic() + 0.5
    errors = []

    def connection(number):
        source = random.Random(number)
        rounds = 0
        with (tmp_path / "file").open("rb") as file:
            while time.monotonic() < end or not rounds:
                rounds += 1
                suite = source.choice(list(SUITES))
                session = make_session(suite, seed=number)
                ready = threading.Event()

                class Woken(Tcp):
                    def pr_ready(self, so, ready=ready):
                        ready.set()

                so = make_socket(session, kernel=kernel, proto=Woken(), flowid=number)
                sent = wire = b""
                for _ in range(source.randrange(1, 5)):
                    if source.random() < 0.5:
                        size = source.randrange(1, 50_000)
                        so.write(data[:size])
                        sent += data[:size]
                    else:
                        offset = source.randrange(90_000)
                        so.sendfile(file.fileno(), offset)
                        sent += data[offset:]
                    wire += take(so)
                if source.random() < 0.3:
                    so.abort()
                    continue
                while so.so_snd.sbused():
                    ready.wait(0.01)
                    ready.clear()
                    wire += take(so)
                assert content(session, wire) == sent
                so.abort()

    def run(number):
        try:
            connection(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    kernel.workers.drain()
    check_nothing_is_left(kernel)


def test_framed_records_are_not_ready():
    so = make_socket(make_session(GCM13))
    assert so.so_snd.sb_tls_info.mode == TCP_TLS_MODE_SW
    so.write(bytes(20_000))
    assert all(m.m_flags & M_NOTREADY for m in chain(so.so_snd.sb_mb))
    so.kernel.workers.drain()
    assert not any(m.m_flags & M_NOTREADY for m in chain(so.so_snd.sb_mb))
    assert all(m.m_epg_tls is None for m in chain(so.so_snd.sb_mb))


def test_a_socket_that_is_freed_while_tls_is_enabled():
    """A reset came while the card was asked for a tag."""

    class Gone(Tcp):
        def snd_tag_alloc(self, so, tls, *, force):
            so.sofree()
            return super().snd_tag_alloc(so, tls, force=force)

    proto, kernel = Gone(ifnet=True), Kernel(workers=ScheduledPool())
    with pytest.raises(OSError, match="not connected") as caught:
        make_socket(make_session(GCM13), kernel=kernel, proto=proto)
    assert caught.value.errno == errno.ENOTCONN
    assert [tag.released for tag in proto.tags] == [1]
    check_nothing_is_left(kernel)
