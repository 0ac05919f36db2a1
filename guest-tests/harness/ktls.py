"""Connections of the KTLS model over the cards, and the host's stack at their other end.

    one = network()                      # the card under test; network(cards=2): and the one on a TAP
    line = one.connect(GCM13)            # TCP to the host, keys of a handshake with OpenSSL
    line.enable_tx()
    line.so.write(data)
    assert line.arrived() == data        # as OpenSSL reads it

What sockets send goes through a card to a real TCP stack. TLS is OpenSSL's: in memory, with the keys
of a handshake that is kept for other tests (`connect`), or at the host's socket (`serve`).
Every frame at a card is scanned for plaintext; every turn of the stack checks its socket buffers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from errno import EAGAIN
from typing import Any

import pytest

from harness.environment import SIDE_GUEST, Environment
from harness.fixtures import await_link
from harness.tls_stream import MARKER
from tlsnic.abi.enums import CipherSuite
from tlsnic.abi.suites import MAX_PLAINTEXT
from tlsnic.driver.bus import open_bus
from tlsnic.driver.ktls.ifnet import Ifnet, NicIfnet
from tlsnic.driver.ktls.kernel import Kernel
from tlsnic.driver.ktls.pages import Memory
from tlsnic.driver.ktls.session import (
    IPPROTO_TCP,
    TCP_RXTLS_ENABLE,
    TCP_RXTLS_MODE,
    TCP_TXTLS_ENABLE,
    TCP_TXTLS_MODE,
    TlsEnable,
)
from tlsnic.driver.ktls.socket import SS_NBIO, Socket
from tlsnic.driver.ktls.soreceive import Message
from tlsnic.driver.ktls.stack import TcpStack
from tlsnic.driver.ktls.workers import ScheduledPool, WorkerPool
from tlsnic.driver.nic import Nic
from tlsnic.driver.tcp import TcpConfig
from tlsnic.driver.tls.session import TlsSession

GCM12, GCM13 = CipherSuite.TLS12_AES_128_GCM, CipherSuite.TLS13_AES_128_GCM
CHACHA13 = CipherSuite.TLS13_CHACHA20_POLY1305
CBC12 = CipherSuite.TLS12_AES_CBC_SHA256
HOST, HOST6 = "10.73.86.1", "fd74:6c73:86::1"
NEAR, NEAR6 = "10.73.86.2", "fd74:6c73:86::2"
CARD = pytest.mark.nic(tx_entries=512, rx_entries=1024, tx_bounce_bytes=1 << 20)
"""For all tests of files that use a network."""
_WINDOW_BYTES = 8
_WINDOWS = [MARKER[at : at + _WINDOW_BYTES] for at in range(len(MARKER) - _WINDOW_BYTES + 1)]
_CONFIG = TcpConfig(time_wait_ns=10**6, window=1 << 18, send_buffer=1 << 20)
_CHECK_EVERY = {SIDE_GUEST: 8}
_TIMEOUT_S = 20.0
_MASK = 0xFFFF_FFFF
_TLS10 = 0x0301


class CheckedStack(TcpStack):
    """Checks the invariants of all socket buffers between turns."""

    check_every = 1
    works = True
    """Whether a deterministic pool works between turns; else the test lets it."""
    _turns = 0

    def turn(self, timeout_s: float) -> bool:
        self._work()
        found = super().turn(timeout_s)
        self._work()
        self._turns += 1
        if self._turns % self.check_every == 0:
            self.check()
        return found

    def _work(self) -> None:
        pool = self.kernel.workers
        if self.works and isinstance(pool, ScheduledPool):
            pool.drain()

    def check(self) -> None:
        """SBCHECK of all."""
        for inp in self.inpcbs:
            inp.so.so_snd.sbcheck()
            inp.so.so_rcv.sbcheck()


class OpenSslEnd:
    """OpenSSL in memory, with the keys of a handshake; used by one connection after the other."""

    def __init__(self, suite: CipherSuite) -> None:
        """Makes the handshake; see `take`."""
        from harness.tls import TlsPeer  # noqa: PLC0415 - slow to import in a guest

        self.suite = suite
        self._peer = TlsPeer.make(suite, encrypt_then_mac=False)
        self._near, self._far = self._peer.session, self._peer.receive_session
        self._near_number = self._near.record_number
        self._far_number = self._far.record_number
        self._rest = b""

    @classmethod
    def take(cls, suite: CipherSuite) -> OpenSslEnd:
        """One that no connection has."""
        kept = _ends.setdefault(suite, [])
        return kept.pop() if kept else cls(suite)

    def give_back(self, near_number: int | None, far_number: int | None) -> None:
        """For the next connection, if the card's side has come to these records; None: it had no
        TLS in this direction."""
        is_near = near_number in (None, self._near_number)
        is_far = far_number in (None, self._far_number)
        is_chained = self._near.layout.version == _TLS10  # the IV is in the last record
        if is_chained:
            return
        if is_near and is_far and not self._rest and not self.is_closed:
            _ends[self.suite].append(self)

    def near(self, **options: Any) -> TlsSession:
        """What the card's side sends with, from its next record on."""
        return _session(self._near, self._near_number, **options)

    def far(self, **options: Any) -> TlsSession:
        """What it receives with."""
        return _session(self._far, self._far_number, **options)

    def open(self, wire: bytes) -> bytes:
        """What OpenSSL reads of the next bytes of the card's side. TlsRefused."""
        self._rest += wire
        records, left = 0, self._rest
        while len(left) >= 5 and len(left) >= (size := 5 + int.from_bytes(left[3:5], "big")):
            left = left[size:]
            records += 1
        self._rest = left
        self._near_number += records
        return self._peer.decrypt(wire)

    @property
    def is_closed(self) -> bool:
        """Whether it has read a close_notify."""
        return self._peer.closed

    def seal(self, *plaintexts: bytes) -> bytes:
        """Records of OpenSSL's, one for each."""
        wire = b""
        for plaintext in plaintexts:
            wire += self._peer.send(plaintext)
            self._far_number += 1
        return wire

    def close_notify(self) -> bytes:
        """OpenSSL's last record; it cannot be used again."""
        self._rest = b"closed"
        return self._peer.close()


_ends: dict[CipherSuite, list[OpenSslEnd]] = {}


def _session(known: TlsSession, number: int, max_plaintext: int = MAX_PLAINTEXT) -> TlsSession:
    return TlsSession(
        known.suite,
        known.key,
        known.iv,
        known.mac_key,
        record_number=number,
        max_plaintext=max_plaintext,
    )


class Line:
    """One connection. Attributes: `so`, `inp`, `token` of the host's socket, `end` (OpenSslEnd, or
    None), `start`: u32 sequence number of the first byte that was, or will be, sent."""

    def __init__(self, network: Network, so: Socket, token: int, end: OpenSslEnd | None) -> None:
        self.network = network
        self.so = so
        self.inp = network.stack.inpcb(so)
        self.token = token
        self.end = end
        self.start = self.inp.snd_una
        self.session: TlsSession | None = None
        self._taken = 0
        so.so_timeo_s = _TIMEOUT_S

    # Options

    def enable_tx(self, session: TlsSession | None = None) -> None:
        """TCP_TXTLS_ENABLE, with OpenSSL's keys unless others are given."""
        if session is None:
            assert self.end is not None
            session = self.end.near()
        self.session = session
        self.so.setsockopt(IPPROTO_TCP, TCP_TXTLS_ENABLE, TlsEnable.of(session))

    def enable_rx(self, session: TlsSession | None = None) -> None:
        """TCP_RXTLS_ENABLE."""
        if session is None:
            assert self.end is not None
            session = self.end.far()
        self.so.setsockopt(IPPROTO_TCP, TCP_RXTLS_ENABLE, TlsEnable.of(session))

    @property
    def tx_mode(self) -> int:
        """TCP_TXTLS_MODE."""
        return self.so.getsockopt(IPPROTO_TCP, TCP_TXTLS_MODE)

    @property
    def rx_mode(self) -> int:
        """TCP_RXTLS_MODE."""
        return self.so.getsockopt(IPPROTO_TCP, TCP_RXTLS_MODE)

    def switch(self, mode: int) -> None:
        """Set TCP_TXTLS_MODE."""
        self.so.setsockopt(IPPROTO_TCP, TCP_TXTLS_MODE, mode)

    # To the host

    def flush(self) -> None:
        """Until the host has acknowledged all that was written."""
        self.network.run(lambda: not self.so.so_snd.sbused(), "everything acknowledged")

    def wire(self) -> bytes:
        """What the host's socket has got since this was asked last, of all that was written."""
        self.flush()
        count = (self.inp.snd_una - self.start & _MASK) - self._taken
        found = self.network.far("receive", token=self.token, count=count)
        assert len(found) == count, f"{len(found)} of {count} bytes have come"
        self._taken += count
        return found

    def arrived(self) -> bytes:
        """The same, as OpenSSL reads it."""
        assert self.end is not None
        return self.end.open(self.wire())

    # From the host

    def far_send(self, data: bytes, **options: Any) -> None:
        """Bytes as they are."""
        self.network.far("send", token=self.token, block=data, **options)

    def far_write(self, *plaintexts: bytes) -> int:
        """Records, encrypted by OpenSSL; how many bytes they have."""
        assert self.end is not None
        wire = self.end.seal(*plaintexts)
        self.far_send(wire)
        return len(wire)

    def messages(self, count_bytes: int, max_bytes: int = 1 << 17) -> list[Message]:
        """What recvmsg gives, until it was so many bytes. OSError as it raises."""
        found: list[Message] = []
        left = count_bytes
        while left > 0:
            message = self.so.recvmsg(min(left, max_bytes))
            assert not message.at_end, f"the stream ends {left} bytes too early"
            found.append(message)
            left -= len(message.data)
        return found

    def read(self, count_bytes: int) -> bytes:
        """The same as bytes."""
        return b"".join([message.data for message in self.messages(count_bytes)])

    def read_with_errors(self, count_bytes: int) -> tuple[bytes, list[int]]:
        """So many bytes, and what errors came in between or wait behind them: so_error is told when
        nothing is left to be read (soreceive_generic())."""
        found, errors = b"", []
        while len(found) < count_bytes:
            try:
                found += self.so.recvmsg(1 << 17).data
            except OSError as error:
                errors.append(error.errno)
        with self.not_blocking(), contextlib.suppress(BlockingIOError):
            try:
                found += self.so.recvmsg(1 << 17).data
            except OSError as error:
                if error.errno == EAGAIN:
                    raise
                errors.append(error.errno)
        return found, errors

    def await_reset(self) -> None:
        """Until the host's socket was reset."""
        network = self.network
        network.run(
            lambda: "Reset" in network.far("state", token=self.token, wait_s=0.05)["error"],
            "the host's socket is reset",
        )

    def states(self) -> dict[str, int]:
        """Received records by crypto state; only those that there were."""
        assert self.so.ktls_rx is not None
        return {state.name: n for state, n in self.so.ktls_rx.records.items() if n}

    @contextlib.contextmanager
    def not_blocking(self) -> Iterator[None]:
        """Calls inside do not wait."""
        self.so.so_state |= SS_NBIO
        yield
        self.so.so_state &= ~SS_NBIO

    def close(self) -> None:
        """Reset it. Its OpenSSL end is kept if both sides have come to the same record."""
        snd, rcv = self.so.so_snd, self.so.so_rcv
        numbers = [snd.sb_tls_seqno if snd.sb_tls_info else None]
        numbers.append(rcv.sb_tls_seqno if rcv.sb_tls_info else None)
        if not self.so.is_freed:
            self.so.abort()
        self.network.far("close", token=self.token)
        end, self.end = self.end, None
        if end is not None:
            end.give_back(*numbers)


class Network:
    """Attributes: `nics`, `ifnets`, `top` (the interface with the addresses), `kernel`, `stack`,
    `lines`."""

    def __init__(
        self,
        nic: Nic,
        environment: Environment,
        *,
        cards: int = 1,
        build: Callable[[list[NicIfnet]], Ifnet] | None = None,
        pool: WorkerPool | None = None,
        vlan: bool = False,
    ) -> None:
        """build: makes the interface with the addresses of the cards' ones; by default the first is
        it. pool: by default a deterministic one."""
        self._environment = environment
        self._undo = contextlib.ExitStack()
        self._call("network.join", windows=_WINDOWS, vlan=vlan)
        self._undo.callback(self._call, "network.part")
        self.nics = [nic]
        if cards > 1:
            bus = self._undo.enter_context(open_bus(environment.traffic_bus_spec()))
            other = self._undo.enter_context(Nic.attach(bus, nic.options))
            await_link(other)
            other.events.drain()
            self.nics.append(other)
        self.kernel = Kernel(Memory(nic.access.dma_alloc, nic), pool or ScheduledPool())
        self.kernel.sysctl["ifnet_max_rexmit_pct"] = 100  # the rows of retransmits set their own
        self.stack = CheckedStack(self.kernel)
        self.stack.check_every = _CHECK_EVERY.get(environment.side, 1)
        self.ifnets = [
            self.stack.if_attach(NicIfnet(one, f"tlsnic{n}")) for n, one in enumerate(self.nics)
        ]
        self.top = self.ifnets[0] if build is None else build(self.ifnets)
        self.stack.add_address(self.top, f"{NEAR}/24")
        self.stack.add_address(self.top, f"{NEAR6}/64")
        self.lines: list[Line] = []

    def _call(self, method: str, **params: object) -> Any:
        return self._environment.call(method, timeout_s=60.0, **params)

    def far(self, method: str, **params: object) -> Any:
        """As `tlsnic.qemu.peer.far_sockets.FarSockets`."""
        return self._call(f"far.{method}", **params)

    def between(self, method: str, **params: object) -> Any:
        """As `tlsnic.qemu.peer.far_network.FarNetwork`."""
        return self._call(f"network.{method}", **params)

    def counter(self, name: str) -> int:
        """Of kern.ipc.tls."""
        return self.kernel.sysctl[name]

    # Connections

    def connect(
        self, suite: CipherSuite | None = None, *, ipv6: bool = False, **config: Any
    ) -> Line:
        """Plain TCP to the host; with a suite, keys for both sides are at hand."""
        end = None if suite is None else OpenSslEnd.take(suite)
        offer = self.far("listen", ipv6=ipv6)
        return self._line(self._connect(offer["port"], ipv6, config), offer["token"], end)

    def serve(self, version: str, *, ipv6: bool = False, **config: Any) -> Line:
        """TCP to an OpenSSL server on the host, which waits for a ClientHello."""
        offer = self.far("listen", tls=version, ipv6=ipv6)
        return self._line(self._connect(offer["port"], ipv6, config), offer["token"], None)

    def await_client(self, version: str, port: int = 4433, **config: Any) -> Line:
        """An OpenSSL client of the host's connects to us."""
        listener = self.stack.listen(port, _CONFIG._replace(**config))
        token = self.far("connect", address=NEAR, port=port, tls=version)
        self.run(lambda: listener.accepted, "the client has connected")
        self.stack.unlisten(port)
        return self._line(listener.accepted.popleft(), token, None)

    def _connect(self, port: int, ipv6: bool, config: dict[str, Any]) -> Socket:
        return self.stack.connect(
            HOST6 if ipv6 else HOST, port, config=_CONFIG._replace(**config), timeout_s=_TIMEOUT_S
        )

    def _line(self, so: Socket, token: int, end: OpenSslEnd | None) -> Line:
        self.lines.append(Line(self, so, token, end))
        return self.lines[-1]

    # Time

    def run(
        self, until: Callable[[], object], what: str = "", timeout_s: float = _TIMEOUT_S
    ) -> None:
        """Take turns until it is true."""
        assert self.stack.run(until, timeout_s), f"not within {timeout_s:g} s: {what}"

    # The end

    def check_frames(self) -> dict[str, Any]:
        """Nothing in clear, at either card. Frames by card, and how many were lost on the way."""
        seen: dict[str, Any] = self.between("watched")
        assert not seen["leaks"], seen["leaks"]
        return seen

    def close(self) -> None:
        """End all connections. Fails the test when anything is left, or was seen in clear."""
        stack, nics, closing = self.stack, self.nics, list(self.lines)
        with self._undo:
            for line in closing:
                line.close()
            self.run(lambda: not stack.connections, "connections end")
            tags = [tag for one in nics for tag in (one.send_tags, one.receive_tags)]
            self.run(lambda: not any(tags), "all tags are given back")
            self.run(lambda: not any(i.port.holds for i in self.ifnets), "all packets are sent")
            for one in nics:
                one.drain_tx(_TIMEOUT_S)
            self.check_frames()
            failures = list(self.kernel.workers.failures)
            stack.close()
            left = self.kernel.memory.in_use - len(self.kernel.page_cache)
            active = self.counter("stats.active")
            self.kernel.close()
            assert not failures, failures
            assert not left, f"{left} pages are still in use"
            assert not active, f"{active} sessions are left"


@pytest.fixture(scope="session")
def host_network(environment: Environment) -> str:
    """What stays for the whole session is made before tests count descriptors. The way to the card
    on the TAP."""
    environment.call("network.join", timeout_s=60.0, windows=[])
    environment.call("network.part")
    environment.call("far.certificate")
    return environment.traffic_bus_spec()


@pytest.fixture
def network(
    host_network: str, nic: Nic, environment: Environment
) -> Iterator[Callable[..., Network]]:
    """`network(cards=1, ...)`: see `Network`. One for each test."""
    made: list[Network] = []

    def make(**options: Any) -> Network:
        made.append(Network(nic, environment, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()
