"""Lives of a socket at random: both directions, workers at any pace, modes, loss, and any end. After
each step the socket buffers are consistent; what was written is read; nothing is left."""

import errno
import random

import pytest
from flows import make_session
from marked_stream import WireStream
from network import Rig

from tlsnic.abi.enums import CipherSuite
from tlsnic.driver.ktls.session import (
    IPPROTO_TCP,
    TCP_RXTLS_ENABLE,
    TCP_TLS_MODE_IFNET,
    TCP_TLS_MODE_SW,
    TCP_TXTLS_MODE,
    TlsEnable,
)
from tlsnic.driver.ktls.socket import SS_NBIO
from tlsnic.driver.tcp import TcpConfig

SUITES = (
    CipherSuite.TLS12_AES_128_GCM,
    CipherSuite.TLS13_AES_256_GCM,
    CipherSuite.TLS13_CHACHA20_POLY1305,
)
DATA = random.Random(3).randbytes(150_000)
ENDS = ("read", "close", "abort", "peer", "bad header")


class Life(Rig):
    """A connection whose both directions have TLS."""

    def __init__(self, seed):
        self.source = source = random.Random(f"life {seed}")
        small = TcpConfig(time_wait_ns=10**9, mss=1400, window=40_000, send_buffer=50_000)
        config = source.choice([None, small])
        super().__init__(1, loss=0.02, reorder=0.02, seed=seed, config=config)
        self.kernel.workers._choose = source.choice
        suite = source.choice(SUITES)
        self.enable(make_session(suite))
        session = make_session(suite, seed=9)
        self.stream = WireStream(session)
        for at in range(0, len(DATA), 7000):
            self.stream.add(DATA[at : at + 7000])
        self.so.so_state |= SS_NBIO
        self.so.setsockopt(IPPROTO_TCP, TCP_RXTLS_ENABLE, TlsEnable.of(session))
        self.written = 0
        self.read = b""
        self.check()

    def check(self):
        self.so.so_snd.sbcheck()
        self.so.so_rcv.sbcheck()
        assert not self.kernel.workers.failures

    def work(self):
        for _ in range(self.source.randrange(3)):
            if self.kernel.workers.step():
                self.check()

    # What may happen

    def write(self):
        size = self.source.choice([1, 100, 5000, 40_000])
        self._take(lambda: self.so.write(DATA[self.written : self.written + size]))

    def sendfile(self):
        size = self.source.choice([1, 5000, 40_000])
        if self.written < len(DATA):
            self._take(lambda: self.so.sendfile(self.file.fileno(), self.written, size))

    def _take(self, write):
        if self.written == len(DATA):
            return
        try:
            self.written += write()
        except BlockingIOError:
            return

    def receive(self):
        try:
            self.read += self.so.read(self.source.choice([1, 3000, 1 << 16]))
        except BlockingIOError:
            return

    def far_write(self):
        view = memoryview(self.stream.wire)[self.stream.sent :]
        self.stream.sent += self.peer.write(view[: self.source.randrange(20_000)])

    def switch(self):
        mode = self.source.choice([TCP_TLS_MODE_SW, TCP_TLS_MODE_IFNET])
        try:
            self.so.setsockopt(IPPROTO_TCP, TCP_TXTLS_MODE, mode)
        except OSError as error:
            if mode == TCP_TLS_MODE_SW or error.errno not in (errno.EBUSY, errno.EOPNOTSUPP):
                raise

    def step(self):
        weights = {
            self.write: 3,
            self.sendfile: 2,
            self.receive: 4,
            self.far_write: 4,
            self.switch: 1,
        }
        (what,) = self.source.choices(list(weights), weights.values())
        what()
        self.check()
        for _ in range(self.source.randrange(4)):
            self.link.step()
            self.check()
        self.got += self.peer.read()

    # And how it may end

    def finish(self, how):
        if how == "read":
            while self.written < len(DATA) or len(self.read) < len(DATA):
                self.step()
            self.run(lambda: not self.so.so_snd.sbused())
            assert self.read == DATA
            assert self.plaintext() == DATA
            self.so.close()
        elif how == "bad header":
            self.stream.append(bytes(10))
            errors = []

            def dropped():
                if not self.peer.closed:
                    view = memoryview(self.stream.wire)[self.stream.sent :]
                    self.stream.sent += self.peer.write(view)
                    self.receive()
                return self.peer.closed

            self.link.run(dropped, steps=20_000)
            while not errors:  # what came before it can still be read
                try:
                    self.receive()
                except OSError as error:
                    errors.append(error.errno)
            assert self.read == DATA
            assert errors == [errno.EINVAL]
            self.so.close()
        elif how == "peer":
            self.peer.abort(self.link.now_ns)
            self.link.run(lambda: not self.stack.connections)
            self.check()
            self.so.close()
        else:
            getattr(self.so, how)()
            self.check()
        self.peer.close(self.link.now_ns)
        self.link.run(lambda: self.so.is_freed and not self.kernel.workers.queued)
        self.got += self.peer.read()
        assert DATA.startswith(self.read)
        self.check()
        for name in ("stats.active", "stats.sw_tx_inqueue", "stats.sw_rx_inqueue", "sw.gcm"):
            assert not self.counter(name), name


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("seed", range(4))
def test_any_life(seed, how, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(DATA)
    one = Life(seed)
    with path.open("rb") as one.file:
        for _ in range(one.source.randrange(20, 60)):
            one.step()
        one.finish(how)
    one.close()
