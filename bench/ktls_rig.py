"""One card on a TAP, a network stack with KTLS sockets above it, and a far end that throws data away.

The wire loses nothing, and the far end does not decrypt: what is measured is the sender. It runs in
this process (driver, TCP, sockets, workers), the card in another, the far end in a third.
"""

from __future__ import annotations

import contextlib
import os
import ssl
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from bench.measure import process_cpu_s
from tlsnic.abi.enums import CipherSuite
from tlsnic.driver.bus import open_bus
from tlsnic.driver.ktls.ifnet import NicIfnet
from tlsnic.driver.ktls.kernel import Kernel
from tlsnic.driver.ktls.pages import Memory
from tlsnic.driver.ktls.session import (
    IPPROTO_TCP,
    TCP_TLS_MODE_IFNET,
    TCP_TLS_MODE_NONE,
    TCP_TLS_MODE_SW,
    TCP_TXTLS_ENABLE,
    TCP_TXTLS_MODE,
    TlsEnable,
)
from tlsnic.driver.ktls.socket import SS_NBIO, Socket
from tlsnic.driver.ktls.stack import TcpStack
from tlsnic.driver.ktls.workers import ThreadPool
from tlsnic.driver.nic import Nic, NicOptions
from tlsnic.driver.tcp import TcpConfig
from tlsnic.driver.tls.session import TlsSession
from tlsnic.qemu.netns import tap_namespace
from tlsnic.qemu.peer.data import FAR_ADDRESS, NEAR_ADDRESS, PREFIX, blocks
from tlsnic.qemu.peer.device import DeviceProcess
from tlsnic.qemu.peer.openssl import NAME, make_files
from tlsnic.qemu.workdir import work_directory

CONNECTIONS: Final = 4
WORKERS: Final = (1, 2)
FILE_BYTES: Final = 16 << 20
PORT: Final = 4433
CIPHERS: Final = {
    "AES-128-GCM": (CipherSuite.TLS12_AES_128_GCM, 16, "ECDHE-ECDSA-AES128-GCM-SHA256"),
    "AES-256-GCM": (CipherSuite.TLS12_AES_256_GCM, 32, "ECDHE-ECDSA-AES256-GCM-SHA384"),
}
"""TLS 1.2, in which Python's ssl can be told the cipher too."""
_TCP: Final = TcpConfig(send_buffer=1 << 20)
_OPTIONS: Final = NicOptions(tx_entries=1024, rx_entries=1024, tx_bounce_bytes=8 << 20)
_CHUNK_BYTES: Final = 1 << 18
_FRAMING_BYTES: Final = 1 << 10  # of the records in it
_TIMEOUT_S: Final = 30.0


@dataclass(frozen=True)
class Sample:
    """What it cost to send `payload_bytes` of a file."""

    payload_bytes: int
    elapsed_s: float
    host_cpu_s: float
    device_cpu_s: float
    touched_bytes: int

    @property
    def goodput_mb_s(self) -> float:
        """10^6 bytes of the file per second."""
        return self.payload_bytes / self.elapsed_s / 1e6

    @property
    def host_s_gb(self) -> float:
        """CPU seconds of this process per 10^9 bytes."""
        return self.host_cpu_s / self.payload_bytes * 1e9

    @property
    def device_s_gb(self) -> float:
        """The same of the card's process."""
        return self.device_cpu_s / self.payload_bytes * 1e9

    @property
    def touched(self) -> float:
        """Per byte of the file."""
        return self.touched_bytes / self.payload_bytes


class Rig:
    """Sends the file over all connections at once, in one way or another."""

    def __init__(self, nic: Nic, device_pid: int, folder: Path) -> None:
        self._pid = device_pid
        self._folder = folder
        self._pools = {count: ThreadPool(count) for count in WORKERS}
        self._kernel = Kernel(
            Memory(nic.access.dma_alloc, nic), self._pools[1], cached_pages=2 * FILE_BYTES >> 14
        )
        self._stack = TcpStack(self._kernel)
        self._stack.add_address(self._stack.if_attach(NicIfnet(nic)), f"{NEAR_ADDRESS}/{PREFIX}")
        self._file = os.open(folder / "file", os.O_RDONLY)
        self._next_port = 20_000

    def close(self) -> None:
        """The card has to be closed before."""
        os.close(self._file)
        self._stack.close()
        self._kernel.close()
        for pool in self._pools.values():
            pool.close()

    # Ways to send

    def plain(self, bytes_each: int) -> Sample:
        """sendfile without TLS."""
        return self._measure(bytes_each, self._connect(), self._sendfile)

    def ktls(self, bytes_each: int, cipher: str, workers: int) -> Sample:
        """sendfile with software TLS by so many workers, or with 0 by the card."""
        suite, key_bytes, _ = CIPHERS[cipher]
        self._kernel.workers = self._pools[max(workers, 1)]
        self._kernel.sysctl["ifnet.permitted"] = int(not workers)
        sockets = self._connect()
        for so in sockets:
            session = TlsSession(suite, os.urandom(key_bytes), os.urandom(4))
            so.setsockopt(IPPROTO_TCP, TCP_TXTLS_ENABLE, TlsEnable.of(session))
            mode = so.getsockopt(IPPROTO_TCP, TCP_TXTLS_MODE)
            assert mode == (TCP_TLS_MODE_SW if workers else TCP_TLS_MODE_IFNET)
        return self._measure(bytes_each, sockets, self._sendfile)

    def userland(self, bytes_each: int, cipher: str) -> Sample:
        """A program that reads the file and encrypts with OpenSSL, and plain sockets."""
        senders = {
            so: _Userland(so, self._file, self._folder, CIPHERS[cipher][2])
            for so in self._connect()
        }
        sample = self._measure(bytes_each, list(senders), lambda so, *part: senders[so].send(*part))
        own = sum(sender.touched_bytes for sender in senders.values())
        return replace(sample, touched_bytes=sample.touched_bytes + own)

    # How

    def _connect(self) -> list[Socket]:
        sockets = []
        for _ in range(CONNECTIONS):
            self._next_port += 1
            so = self._stack.connect(FAR_ADDRESS, PORT, config=_TCP, local_port=self._next_port)
            assert so.getsockopt(IPPROTO_TCP, TCP_TXTLS_MODE) == TCP_TLS_MODE_NONE
            so.so_state |= SS_NBIO
            sockets.append(so)
        return sockets

    def _sendfile(self, so: Socket, offset: int, count: int) -> int:
        return so.sendfile(self._file, offset, count)

    def _measure(
        self, bytes_each: int, sockets: list[Socket], send: Callable[[Socket, int, int], int]
    ) -> Sample:
        sysctl, stack = self._kernel.sysctl, self._stack
        left = dict.fromkeys(sockets, bytes_each)
        touched = sysctl.bytes_touched
        device_s = process_cpu_s(self._pid)
        cpu_s, start_s = time.process_time(), time.perf_counter()
        while left:
            for so, count in list(left.items()):
                # As poll(2) says it: room for a call.
                if so.so_snd.sbspace() < _CHUNK_BYTES + _FRAMING_BYTES:
                    continue
                size = min(_CHUNK_BYTES, count)
                left[so] -= send(so, (bytes_each - count) % FILE_BYTES, size)
                if not left[so]:
                    del left[so]
            stack.turn(0.01)
        while any(so.so_snd.sbused() for so in sockets):
            if not stack.run(lambda: not any(so.so_snd.sbused() for so in sockets), _TIMEOUT_S):
                raise TimeoutError("the far end takes nothing more")
        elapsed_s, cpu_s = time.perf_counter() - start_s, time.process_time() - cpu_s
        sample = Sample(
            bytes_each * len(sockets),
            elapsed_s,
            cpu_s,
            process_cpu_s(self._pid) - device_s,
            sysctl.bytes_touched - touched,
        )
        for so in sockets:
            so.abort()
        stack.run(lambda: not stack.inpcbs, _TIMEOUT_S)
        return sample


class _Userland:
    """What a server without KTLS does. `touched_bytes`: by this program's CPU, the socket's apart."""

    def __init__(self, so: Socket, file: int, folder: Path, cipher: str) -> None:
        self._so = so
        self._file = file
        self._buffer = memoryview(bytearray(_CHUNK_BYTES))
        self._outgoing = ssl.MemoryBIO()
        self.touched_bytes = 0
        self._tls = self._handshake(folder, cipher)

    def _handshake(self, folder: Path, cipher: str) -> ssl.SSLObject:
        """With itself: the far end decrypts nothing."""
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(folder / "cert.pem", folder / "key.pem")
        client = ssl.create_default_context(cafile=str(folder / "cert.pem"))
        for context in (server, client):
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            context.set_ciphers(cipher)
        incoming = ssl.MemoryBIO()
        ends = (
            server.wrap_bio(incoming, self._outgoing, server_side=True),
            client.wrap_bio(self._outgoing, incoming, server_hostname=NAME),
        )
        done = [False, False]
        while not all(done):
            for number in (1, 0):
                with contextlib.suppress(ssl.SSLWantReadError):
                    ends[number].do_handshake()
                    done[number] = True
        self._outgoing.read()
        return ends[0]

    def send(self, offset: int, count: int) -> int:
        """read(2), SSL_write, write(2); how many bytes of the file."""
        view = self._buffer[:count]
        assert os.preadv(self._file, [view], offset) == count
        self._tls.write(view)
        data = self._outgoing.read()
        # Read from the file; encrypted, into the memory BIO; and out of it.
        self.touched_bytes += 4 * count
        at = 0
        while at < len(data):
            at += self._so.write(memoryview(data)[at:])
        return count


@contextlib.contextmanager
def make_rig() -> Iterator[Rig]:
    """Raises UserError without the rights to make a TAP and a network namespace."""
    with contextlib.ExitStack() as closing:
        folder = closing.enter_context(work_directory())
        make_files(folder, 0, 0)
        with (folder / "file").open("wb") as file:
            file.writelines(blocks(FILE_BYTES, 0))
        address = f"{FAR_ADDRESS}/{PREFIX}"
        far = closing.enter_context(tap_namespace(address, tap="tap0", vnet_hdr=True))
        device = closing.enter_context(DeviceProcess(folder, f"tap:tap0,netns={far.path}"))
        reader, writer = os.pipe()
        with os.fdopen(reader) as ready:
            sink = str(Path(__file__).with_name("ktls_sink.py"))
            far.spawn([sys.executable, sink, str(PORT)], name="the far end", stdout=writer)
            os.close(writer)
            assert ready.readline() == "ready\n"
        bus = closing.enter_context(open_bus(f"vfio-user:{device.socket_path}"))
        nic = Nic.attach(bus, _OPTIONS)
        try:
            rig = Rig(nic, device.child.pid, folder)
        except BaseException:
            nic.close()
            raise
        try:
            yield rig
        finally:
            nic.close()
            rig.close()
