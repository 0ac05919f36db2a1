"""A real Linux stack at the far end of a second card's wire: a namespace with a TAP in it."""

from __future__ import annotations

import hashlib
import itertools
import random
import socket
import threading
from collections.abc import Sequence
from pathlib import Path

from tlsnic.qemu.netns import Netns
from tlsnic.qemu.peer.device import DeviceProcess

TAP = "tap0"
FAR_ADDRESS, NEAR_ADDRESS = "10.73.84.1", "10.73.84.2"
FAR_ADDRESS6, NEAR_ADDRESS6 = "fd74:6c73::1", "fd74:6c73::2"
PREFIX, PREFIX6 = 24, 64
MAC = "02:74:6c:73:54:41"
IPERF_PORT = 5201
_BLOCK_BYTES = 1 << 20
_SOCKET_TIMEOUT_S = 60.0


def blocks(size_bytes: int, seed: int) -> itertools.chain[bytes]:
    """`size_bytes` of data in which no two blocks are alike, in blocks of at most 1 MiB."""

    def make(index: int) -> bytes:
        start = index * _BLOCK_BYTES
        body = index.to_bytes(8, "big") + base
        return body[: min(_BLOCK_BYTES, size_bytes - start)]

    base = random.Random(seed).randbytes(_BLOCK_BYTES - 8)
    count = -(-size_bytes // _BLOCK_BYTES)
    return itertools.chain(make(index) for index in range(count))


class Traffic:
    """The far namespace. The card on its TAP is started with `start_device`, at most once."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._namespace: Netns | None = None
        self.device: DeviceProcess | None = None
        self._results: dict[int, str] = {}
        self._threads: dict[int, threading.Thread] = {}
        self._tokens = itertools.count(1)

    @property
    def namespace(self) -> Netns:
        """Made when first needed. Raises UserError without the right to."""
        if self._namespace is None:
            namespace = Netns()
            try:
                namespace.add_tap(
                    TAP,
                    addresses=(f"{FAR_ADDRESS}/{PREFIX}", f"{FAR_ADDRESS6}/{PREFIX6}"),
                    vnet_hdr=True,
                )
            except BaseException:
                namespace.close()
                raise
            self._namespace = namespace
        return self._namespace

    def start_device(self) -> DeviceProcess:
        """A second card, whose wire is the namespace's TAP."""
        if self.device is None:
            wire = f"tap:{TAP},netns={self.namespace.path}"
            self.device = DeviceProcess(self._directory, wire, name="traffic", mac=MAC)
        return self.device

    def serve(self, *, kind: str, size_bytes: int = 0, seed: int = 0, ipv6: bool = False) -> object:
        """Await one TCP connection in the namespace; {"port", "token"} for it.

        kind "source": send `size_bytes` of data to it. kind "sink": take all it sends. Either way
        `result` gives the data's SHA-256.
        """
        family = socket.AF_INET6 if ipv6 else socket.AF_INET
        listener = self.namespace.socket(family)
        listener.settimeout(_SOCKET_TIMEOUT_S)
        listener.bind(("::" if ipv6 else "0.0.0.0", 0))
        listener.listen(1)
        port = listener.getsockname()[1]
        token = next(self._tokens)

        def work() -> None:
            try:
                with listener:
                    connection, _ = listener.accept()
                with connection:
                    connection.settimeout(_SOCKET_TIMEOUT_S)
                    if kind == "source":
                        self._results[token] = send_all(connection, size_bytes, seed)
                    else:
                        self._results[token] = receive_all(connection)[0]
            except OSError as error:
                self._results[token] = f"failed: {error}"

        thread = threading.Thread(target=work, name="tlsnic-traffic", daemon=True)
        self._threads[token] = thread
        thread.start()
        return {"port": port, "token": token}

    def result(self, *, token: int, wait_s: float = 30.0) -> str:
        """The SHA-256 (hex) of what connection `token` carried, or "failed: ..."."""
        thread = self._threads.pop(token)
        thread.join(wait_s)
        return self._results.pop(token, f"failed: not finished within {wait_s:g} s")

    def run(self, *, argv: Sequence[str], wait_s: float = 30.0) -> str:
        """Standard output of a program run in the namespace. Raises UserError."""
        return self.namespace.run(argv, timeout_s=wait_s)

    def iperf_server(self) -> int:
        """Start `iperf3 --server` in the namespace for one test; its port."""
        with (self._directory / "iperf3.log").open("ab") as log:
            self.namespace.spawn(
                ["iperf3", "--server", "--one-off", "--port", str(IPERF_PORT)],
                name="iperf3",
                stdout=log,
                stderr=log,
            )
        return IPERF_PORT

    def close(self) -> None:
        """Stop the card and everything in the namespace."""
        if self.device is not None:
            self.device.stop()
        if self._namespace is not None:
            self._namespace.close()


def send_all(connection: socket.socket, size_bytes: int, seed: int) -> str:
    """Send the data of `blocks` and end the stream; its SHA-256."""
    digest = hashlib.sha256()
    for block in blocks(size_bytes, seed):
        digest.update(block)
        connection.sendall(block)
    connection.shutdown(socket.SHUT_WR)
    return digest.hexdigest()


def receive_all(connection: socket.socket) -> tuple[str, int]:
    """Take everything to the end of the stream: its SHA-256, and its bytes."""
    digest = hashlib.sha256()
    size_bytes = 0
    buffer = bytearray(_BLOCK_BYTES)
    view = memoryview(buffer)
    while count := connection.recv_into(buffer):
        digest.update(view[:count])
        size_bytes += count
    return digest.hexdigest(), size_bytes
