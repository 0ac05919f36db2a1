"""A real Linux stack at the far end of a second card's wire: a namespace with a TAP in it."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from tlsnic.qemu.errors import UserError
from tlsnic.qemu.netns import Netns
from tlsnic.qemu.peer.data import (
    FAR_ADDRESS,
    FAR_ADDRESS6,
    PREFIX,
    PREFIX6,
    receive_all,
    send_all,
)
from tlsnic.qemu.peer.device import DeviceProcess

TAP = "tap0"
MAC = "02:74:6c:73:54:41"
_FIRST_IPERF_PORT = 5201
_READY_TIMEOUT_S = 60.0
_TCP_LISTEN = "0A"  # include/net/tcp_states.h
_SOCKET_TIMEOUT_S = 60.0


class Traffic:
    """The far namespace. The card on its TAP is started with `start_device`, at most once."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._namespace: Netns | None = None
        self.device: DeviceProcess | None = None
        self._results: dict[int, str] = {}
        self._threads: dict[int, threading.Thread] = {}
        self._tokens = itertools.count(1)
        self._iperf_ports = itertools.count(_FIRST_IPERF_PORT)

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

    def start_device(self, record: str = "") -> DeviceProcess:
        """A second card, whose wire is the namespace's TAP; `record` is the file of its record."""
        if self.device is None:
            wire = f"tap:{TAP},netns={self.namespace.path}"
            self.device = DeviceProcess(
                self._directory, wire, name="traffic", mac=MAC, record=record
            )
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
        """Start `iperf3 --server` in the namespace for one test; the port that it listens on."""
        port = next(self._iperf_ports)
        with (self._directory / "iperf3.log").open("ab") as log:
            server = self.namespace.spawn(
                ["iperf3", "--server", "--one-off", "--port", str(port)],
                name="iperf3",
                stdout=log,
                stderr=log,
            )
        deadline_s = time.monotonic() + _READY_TIMEOUT_S
        while not listens(server.pid, port):
            if server.poll() is not None or time.monotonic() > deadline_s:
                raise UserError("iperf3 does not start", f"see {self._directory / 'iperf3.log'}")
            time.sleep(0.005)
        return port

    def close(self) -> None:
        """Stop the card and everything in the namespace."""
        if self.device is not None:
            self.device.stop()
        if self._namespace is not None:
            self._namespace.close()


def listens(pid: int, port: int) -> bool:
    """Whether a TCP socket listens on `port` in the network namespace of a process.

    Not a trial connection: that would be the server's one test.
    """
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
                _, local, _, state, *_ = line.split()
                if state == _TCP_LISTEN and int(local.rpartition(":")[2], 16) == port:
                    return True
    return False
