"""KTLS-04: software TLS: not-ready buffers, a worker pool, pluggable backends, ready in order.

A pool without threads shows each step; one with threads does the same work for a host that reads.
"""

import errno

import pytest
from harness.ktls import CARD, CBC12, GCM12, GCM13
from harness.tls_stream import marked

from tlsnic.abi.enums import CipherSuite
from tlsnic.driver.ktls.cryptography_backend import CryptographyBackend
from tlsnic.driver.ktls.mbuf import M_BLOCKED, M_NOTREADY, chain
from tlsnic.driver.ktls.session import TCP_TLS_MODE_SW
from tlsnic.driver.ktls.workers import ScheduledPool, ThreadPool

pytestmark = [pytest.mark.row("KTLS-04"), CARD, pytest.mark.root]


def software(network, suite=GCM13, *, works=True, **options):
    one = network(**options)
    one.stack.works = works
    one.top.set_capability("txtls4", False)
    line = one.connect(suite)
    line.enable_tx()
    assert line.tx_mode == TCP_TLS_MODE_SW
    return line


def quiet_turns(line):
    """Turns in which nothing is sent."""
    before = line.inp.snd_nxt
    for _ in range(3):
        line.network.stack.turn(0)
    return line.inp.snd_nxt == before


def test_ktls_04_what_is_not_ready_is_not_sent(network):
    line = software(network, works=False)
    line.so.write(marked(40_000))
    sb = line.so.so_snd
    assert sb.sbavail() == 0
    assert sb.sbused() > 40_000
    assert all(m.m_flags & M_NOTREADY for m in chain(sb.sb_mb))
    assert sb.sb_fnrdy is sb.sb_mb
    assert line.network.counter("stats.sw_tx_inqueue") == 3
    assert quiet_turns(line)
    pool = line.network.kernel.workers
    assert pool.step(), "encrypt"
    assert sb.sbavail() == 0, "encrypted, but nobody was told"
    assert quiet_turns(line)
    pool.drain()
    assert sb.sbavail() == sb.sbused()
    assert sb.sb_fnrdy is None
    assert line.network.counter("stats.sw_tx_inqueue") == 0
    assert line.arrived() == marked(40_000)


def test_ktls_04_ready_in_order(network):
    """Two workers on one connection, the second always first: a record that is ready waits for the
    one before it."""
    pool = ScheduledPool(2, spread=True, choose=lambda able: able[-1])
    line = software(network, works=False, pool=pool)
    data = [marked(1000, n) for n in range(4)]
    for piece in data:
        line.so.write(piece)
    sb = line.so.so_snd
    order = []
    held = []
    pool._choose = lambda able: held[0] if held and held[0] in able else able[-1]
    # Worker 0 takes the first record and is stopped there; worker 1 does the others.
    held.append(0)
    pool.step()
    held[0] = 1
    for _ in range(6):
        pool.step()
        order.append((sb.sbavail(), [bool(m.m_flags & M_BLOCKED) for m in chain(sb.sb_mb)]))
    assert all(available == 0 for available, _ in order)
    assert order[-1][1] == [False, True, True, True]
    assert quiet_turns(line)
    pool.drain()
    assert sb.sbavail() == sb.sbused()
    assert line.arrived() == b"".join(data)


@pytest.mark.parametrize("spread", [False, True], ids=["own queues", "spread"])
def test_ktls_04_threads(network, spread, scale):
    line = software(network, GCM12, pool=ThreadPool(2, spread=spread))
    pieces = [marked(3000 + 700 * n, n) for n in range(scale(40, 15))]
    for piece in pieces:
        line.so.write(piece)
    wire = line.wire()
    assert line.end.open(wire) == b"".join(pieces)
    records = 0
    while wire:
        records += 1
        wire = wire[5 + int.from_bytes(wire[3:5], "big") :]
    assert line.network.counter("stats.ocf.tls12_gcm_encrypts") == records


def test_ktls_04_several_connections(network):
    """Each has its own worker; what one has not ready keeps no other back."""
    line = software(network, works=False)
    other = line.network.connect(GCM12)
    other.enable_tx()
    line.so.write(marked(1000, 1))
    pool = line.network.kernel.workers
    pool._choose = lambda able: able[0]
    pool.step()
    other.so.write(marked(2000, 2))
    if other.so.flowid % 2 == line.so.flowid % 2:
        pool.drain()
    while pool.queued:
        pool.step()
    assert other.arrived() == marked(2000, 2)
    assert line.arrived() == marked(1000, 1)


@pytest.mark.parametrize(
    "suite", [CBC12, CipherSuite.TLS10_AES_CBC_SHA1], ids=lambda suite: suite.name
)
def test_ktls_04_aes_cbc(network, suite):
    """TLS 1.0 chains: its records are encrypted one after the other, whoever works."""
    line = software(network, suite, pool=ScheduledPool(2, spread=True, seed=4))
    data = [marked(1 + 3333 * n, n) for n in range(8)]
    for piece in data:
        line.so.write(piece)
    assert line.arrived() == b"".join(data)
    assert line.network.counter("stats.sw_tx_pending") == 0


class Mine:
    """A backend: what it does, it has done by another, and counts."""

    name, prio = "mine", 50

    def __init__(self, error=None):
        self.taken, self.calls, self._error = [], 0, error
        self._inner = CryptographyBackend()

    def try_session(self, tls, direction):
        if tls.params.suite != GCM13:
            raise OSError(errno.EPROTONOSUPPORT, "only TLS 1.3 with AES-128-GCM")
        self.taken.append(direction)
        self._crypto = self._inner.try_session(tls, direction)
        return self

    def encrypt(self, *arguments):
        self.calls += 1
        if self._error is not None:
            raise self._error
        return self._crypto.encrypt(*arguments)


def test_ktls_04_another_backend(network):
    """The one with the highest priority that takes the session has it; while it does, it cannot be
    deregistered."""
    one = network()
    mine = Mine()
    one.kernel.backends.register(mine)
    one.top.set_capability("txtls4", False)
    line = one.connect(GCM13)
    line.enable_tx()
    line.so.write(marked(20_000))
    assert line.arrived() == marked(20_000)
    assert mine.calls == 2
    with pytest.raises(OSError, match="mine") as caught:
        one.kernel.backends.deregister(mine)
    assert caught.value.errno == errno.EBUSY
    other = one.connect(GCM12)
    other.enable_tx()
    other.so.write(marked(100))
    assert other.arrived() == marked(100)
    assert mine.calls == 2, "another suite is not for it"
    line.close()
    one.run(lambda: len(one.stack.connections) == 1, "the first connection ends")
    one.kernel.backends.deregister(mine)


def test_ktls_04_a_backend_that_fails_ends_the_connection(network):
    """And what it was to encrypt never leaves."""
    one = network()
    one.kernel.backends.register(Mine(OSError(errno.EIO, "no")))
    one.top.set_capability("txtls4", False)
    line = one.connect(GCM13)
    line.enable_tx()
    line.so.write(marked(20_000))
    one.run(lambda: not one.stack.connections, "the connection ends")
    assert line.so.so_error == errno.EIO
    assert one.counter("stats.failed_crypto") == 1
    line.await_reset()
    assert one.far("state", token=line.token)["bytes"] == 0
