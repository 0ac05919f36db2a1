"""Sockets of the KTLS model without a network: what TCP would do, a test does."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

from harness.ktls import OpenSslEnd
from tlsnic.abi.suites import SUITES
from tlsnic.driver.ktls.decrypt import TlsRxParams
from tlsnic.driver.ktls.kernel import Kernel
from tlsnic.driver.ktls.mbuf import CSUM_TLS_DECRYPTED, M_PKTHDR, Mbuf, PacketHeader
from tlsnic.driver.ktls.session import IPPROTO_TCP, TCP_RXTLS_ENABLE, KtlsSession, TlsEnable
from tlsnic.driver.ktls.sockbuf import Sockbuf
from tlsnic.driver.ktls.socket import SS_NBIO, Socket
from tlsnic.driver.ktls.workers import ScheduledPool, WorkerPool


class Pipe:
    """A `socket.ProtocolSwitch` with no interface that does TLS. Attributes: `so`, `kernel`,
    `dropped` (the error the connection was dropped with)."""

    def __init__(self, pool: WorkerPool | None = None, **options: Any) -> None:
        self.kernel = Kernel(workers=pool or ScheduledPool())
        self.dropped = 0
        self.so = Socket(self.kernel, self, **options)  # type: ignore[arg-type]
        self.so.so_state |= SS_NBIO

    def pr_send(self, so: Socket) -> None:
        """Nobody waits."""

    pr_ready = pr_rcvd = sorwakeup = pr_shutdown = pr_close = pr_abort = pr_send

    def call(self, function: Callable[[], Any]) -> Any:
        """There is one thread."""
        return function()

    def tcp_drop(self, so: Socket, error: int) -> None:
        """Remember why."""
        self.dropped = error

    def snd_tag_alloc(self, so: Socket, tls: KtlsSession, **_: Any) -> Any:
        """There is no card."""
        raise OSError(95, "no interface does TLS")

    def rcv_tag_alloc(self, so: Socket, tls: KtlsSession, **_: Any) -> Any:
        """There is none."""
        raise OSError(95, "no interface does TLS")

    def rcv_start(self, so: Socket) -> int:
        """Streams begin at 0."""
        return 0

    def rx_tag_modify(self, so: Socket, params: TlsRxParams) -> None:
        """There is no driver."""
        raise AssertionError("a session without a tag tells nobody")

    def sbwait(self, so: Socket, sb: Sockbuf, timeout_s: float | None) -> bool:
        """Nothing will happen."""
        return False

    # As TCP

    def receive(self, data: bytes, *, decrypted: bool) -> None:
        """A packet came, decrypted by the card or not."""
        m = Mbuf(data, flags=M_PKTHDR)
        m.m_pkthdr = PacketHeader(CSUM_TLS_DECRYPTED if decrypted else 0)
        self.so.so_rcv.sbappendstream(m)
        self.so.so_rcv.sbcheck()

    def acknowledge(self, count: int) -> bytes:
        """The first bytes of the send buffer, which are dropped as the peer has them."""
        sb = self.so.so_snd
        with sb.sb_mtx:
            found = [bytes(v) for m, at, n in sb.iterate(0, count) for v in m.views(at, n)]
            sb.sbdrop(count)
        return b"".join(found)

    def close(self) -> None:
        """Free everything; nothing may be left."""
        self.so.sofree()
        self.kernel.workers.drain()
        assert not self.kernel.workers.failures
        assert self.kernel.memory.in_use == len(self.kernel.page_cache)
        assert self.kernel.sysctl["stats.active"] == 0
        self.kernel.close()


class Received:
    """What OpenSSL sends, as it is on the wire and as a card decrypts it."""

    def __init__(self, end: OpenSslEnd) -> None:
        self.end = end
        self.enable = TlsEnable.of(end.far())
        self._layout = SUITES[end.suite]

    def open(self, pool: WorkerPool | None = None) -> Pipe:
        """A socket that receives from the next record on."""
        pipe = Pipe(pool)
        pipe.so.setsockopt(IPPROTO_TCP, TCP_RXTLS_ENABLE, TlsEnable.of(self.end.far()))
        return pipe

    def record(self, plaintext: bytes) -> tuple[bytes, bytes]:
        """The next one: on the wire, and with its content in clear."""
        wire, layout = self.end.seal(plaintext), self._layout
        content = plaintext + (b"\x17" if layout.is_tls13 else b"")
        return wire, wire[: layout.prefix_bytes] + content + wire[-layout.tag_bytes :]


def parts(wire: bytes, clear: bytes, cuts: list[int], pattern: int) -> Iterator[tuple[bytes, bool]]:
    """Pieces between the cuts; number n was decrypted if bit n of `pattern` is set."""
    for number, (start, end) in enumerate(pairwise([0, *cuts, len(wire)])):
        is_clear = bool(pattern >> number & 1)
        yield (clear if is_clear else wire)[start:end], is_clear


def random_cuts(source: random.Random, size: int, count: int) -> list[int]:
    """Different places inside of `size` bytes, in order."""
    return sorted(source.sample(range(1, size), count))
