"""KTLS-11: socket-buffer invariants are checked after every operation in tests.

SBCHECK, SBLASTRECORDCHK and SBLASTMBUFCHK of uipc_sockbuf.c, with the counts of the encrypted chain.
Here after each of many operations at random; in all other rows between the turns of the stack
(`harness.ktls.CheckedStack`).
"""

import random

import pytest
from harness.ktls import CARD, GCM12, GCM13, OpenSslEnd
from harness.ktls_pipe import Pipe, Received, parts, random_cuts
from harness.tls_start import make_session
from harness.tls_stream import marked

from tlsnic.abi.enums import CipherSuite
from tlsnic.driver.ktls.mbuf import M_BLOCKED, M_NOTREADY
from tlsnic.driver.ktls.session import (
    IPPROTO_TCP,
    TCP_TXTLS_ENABLE,
    TLS_RLTYPE_ALERT,
    TLS_SET_RECORD_TYPE,
    TlsEnable,
)
from tlsnic.driver.ktls.workers import ScheduledPool

pytestmark = [pytest.mark.row("KTLS-11"), CARD]
SUITES = [GCM12, GCM13, CipherSuite.TLS10_AES_CBC_SHA1]
SEEDS = range(4)


class Sending:
    """A socket that sends, and what a peer has got of it."""

    def __init__(self, suite, seed, path):
        self.source = random.Random(f"{suite} {seed}")
        self.pipe = Pipe(ScheduledPool(2, spread=seed % 2 == 1, seed=seed), send_bytes=60_000)
        self.so = self.pipe.so
        self.path, self.file = path, path.open("rb")
        self.session = make_session(suite)
        self.so.setsockopt(IPPROTO_TCP, TCP_TXTLS_ENABLE, TlsEnable.of(self.session))
        self.wire = b""

    def write(self):
        try:
            self.so.write(marked(self.source.randrange(1, 30_000)))
        except BlockingIOError:
            assert self.so.so_snd.sbspace() < self.so.so_snd.sb_lowat

    def alert(self):
        try:
            self.so.sendmsg(
                [b"\1\0"], [(IPPROTO_TCP, TLS_SET_RECORD_TYPE, bytes([TLS_RLTYPE_ALERT]))]
            )
        except BlockingIOError:
            assert self.so.so_snd.sbspace() < 2

    def sendfile(self):
        try:
            self.so.sendfile(self.file.fileno(), self.source.randrange(20_000), 20_000)
        except BlockingIOError:
            assert self.so.so_snd.sbspace() < 16_384

    def work(self):
        self.pipe.kernel.workers.step()

    def acknowledge(self):
        available = self.so.so_snd.sbavail()
        if available:
            self.wire += self.pipe.acknowledge(self.source.randrange(1, available + 1))

    def look(self):
        available = self.so.so_snd.sbavail()
        if available:
            at = self.source.randrange(available)
            list(self.so.so_snd.iterate(at, self.source.randrange(1, available - at + 1)))

    operations = (write, alert, sendfile, work, work, work, acknowledge, acknowledge, look)


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_ktls_11_sending(suite, tmp_path, scale):
    """And what leaves is records, whole and in order."""
    path = tmp_path / "file"
    path.write_bytes(marked(50_000))
    for seed in SEEDS[: scale(4, 1)]:
        one = Sending(suite, seed, path)
        for _ in range(scale(150, 60)):
            one.source.choice(one.operations)(one)
            one.so.so_snd.sbcheck()
        one.pipe.kernel.workers.drain()
        one.so.so_snd.sbcheck()
        one.wire += one.pipe.acknowledge(one.so.so_snd.sbavail())
        assert one.so.so_snd.sbused() == 0
        count, wire = 0, one.wire
        while wire:
            assert wire[0] in (21, 23)
            wire = wire[5 + int.from_bytes(wire[3:5], "big") :]
            count += 1
        assert count == one.so.so_snd.sb_tls_seqno - one.session.record_number
        one.file.close()
        one.pipe.close()


@pytest.mark.parametrize("suite", [GCM12, GCM13], ids=lambda suite: suite.name)
def test_ktls_11_receiving(suite, scale):
    """Packets of both kinds, workers, reads, and reads that only look."""
    received = Received(OpenSslEnd.take(suite))
    for seed in SEEDS[: scale(4, 1)]:
        source = random.Random(f"{suite} {seed}")
        pipe = received.open(ScheduledPool(2, seed=seed))
        pairs = [received.record(marked(source.randrange(1, 4000), n)) for n in range(12)]
        wire, clear = (b"".join(side) for side in zip(*pairs, strict=True))
        cuts = random_cuts(source, len(wire), 40)
        waiting = list(parts(wire, clear, cuts, source.getrandbits(41)))
        found = b""
        sb = pipe.so.so_rcv
        while waiting or sb.sbused():
            what = source.choice(["come", "work", "work", "read", "peek"])
            if what == "come" and waiting:
                part, is_clear = waiting.pop(0)
                pipe.receive(part, decrypted=is_clear)
            elif what == "work":
                pipe.kernel.workers.step()
            elif sb.sbavail():
                count = source.randrange(1, 5000)
                message = pipe.so.recvmsg(count, 2 if what == "peek" else 0)
                found += b"" if what == "peek" else message.data
            sb.sbcheck()
        layout = make_session(suite).layout
        whole = b"".join(
            c[layout.prefix_bytes : len(c) - layout.tag_bytes - layout.is_tls13] for _, c in pairs
        )
        assert found == whole
        pipe.close()
    received.end.give_back(None, None)


def test_ktls_11_flushes_at_any_time(tmp_path, scale):
    """The socket is freed while workers have records of it: they free what is theirs."""
    path = tmp_path / "file"
    path.write_bytes(marked(50_000))
    for seed in range(scale(20, 4)):
        one = Sending(GCM13, seed, path)
        for _ in range(one.source.randrange(3, 30)):
            one.source.choice(one.operations)(one)
        one.so.sofree()
        one.so.so_snd.sbcheck()
        assert one.so.so_snd.sbused() == 0
        one.file.close()
        one.pipe.close()


def test_ktls_11_the_check_finds_what_is_wrong(tmp_path):
    """Each count and flag, made wrong."""
    path = tmp_path / "file"
    path.write_bytes(marked(50_000))
    one = Sending(GCM13, 0, path)
    one.so.write(marked(5000))
    one.so.write(marked(5000))
    sb = one.so.so_snd
    for name in ("sb_acc", "sb_ccc", "sb_mcnt", "sb_ctl", "sb_tlscc", "sb_tlsdcc"):
        setattr(sb, name, getattr(sb, name) + 1)
        with pytest.raises(AssertionError):
            sb.sbcheck()
        setattr(sb, name, getattr(sb, name) - 1)
    for flag in (M_NOTREADY, M_BLOCKED):
        second = sb.sb_mb.m_next
        before, second.m_flags = second.m_flags, flag ^ (M_NOTREADY | second.m_flags)
        if flag == M_NOTREADY:
            second.m_flags = before & ~M_NOTREADY
        else:
            sb.sb_mb.m_flags &= ~M_NOTREADY
        with pytest.raises(AssertionError):
            sb.sbcheck()
        second.m_flags = before
        sb.sb_mb.m_flags |= M_NOTREADY
    for name in ("sb_mbtail", "sb_lastrecord", "sb_fnrdy"):
        before = getattr(sb, name)
        setattr(sb, name, None)
        with pytest.raises(AssertionError):
            sb.sbcheck()
        setattr(sb, name, before)
    sb.sbcheck()
    one.file.close()
    one.pipe.close()


@pytest.mark.root
def test_ktls_11_the_stack_checks_between_turns(network):
    """What the other rows rely on."""
    line = network().connect(GCM13)
    line.enable_tx()
    line.network.stack.check_every = 1
    line.so.write(marked(1000))
    line.so.so_snd.sb_mcnt += 1
    with pytest.raises(AssertionError, match="sb_mcnt"):
        line.flush()
    line.so.so_snd.sb_mcnt -= 1
    assert line.arrived() == marked(1000)
