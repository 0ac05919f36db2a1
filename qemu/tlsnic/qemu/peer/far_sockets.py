"""Connections of the host's stack: plain TCP, or TLS by OpenSSL, each with a thread of its own.

A test starts one, and looks at what has become of it: no call here waits for the card's side, which
may be the caller itself, but up to the time it is given.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import select
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tlsnic.qemu.peer.data import numbered
from tlsnic.qemu.peer.openssl import NAME, make_files
from tlsnic.qemu.peer.traffic import Traffic

_TIMEOUT_S = 60.0
_END_S = 5.0
_READ_BYTES = 1 << 18
_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_OLDER_CIPHERS = "ECDHE-ECDSA-AES128-GCM-SHA256"


class FarSockets:
    """All connections, by token."""

    def __init__(self, directory: Path, traffic: Traffic) -> None:
        self._directory = directory
        self._traffic = traffic
        self._connections: dict[int, FarConnection] = {}
        self._tokens = itertools.count(1)

    def certificate(self) -> dict[str, str]:
        """For servers, as PEM: "certificate", "key"; and the "name" in it."""
        if not (self._directory / "cert.pem").exists():
            make_files(self._directory, 0, 0)
        texts = {"certificate": "cert.pem", "key": "key.pem"}
        found = {what: (self._directory / name).read_text() for what, name in texts.items()}
        return {**found, "name": NAME}

    def listen(self, *, tls: str = "", ipv6: bool = False) -> dict[str, int]:
        """Await one connection; {"port", "token"}. tls: "1.2" or "1.3", else plain TCP."""
        listener = self._traffic.namespace.socket(socket.AF_INET6 if ipv6 else socket.AF_INET)
        listener.settimeout(_TIMEOUT_S)
        listener.bind(("::" if ipv6 else "0.0.0.0", 0))
        listener.listen(1)
        port: int = listener.getsockname()[1]

        def accept() -> socket.socket:
            with listener:
                return listener.accept()[0]

        return {"port": port, "token": self._add(accept, listener, tls, server_side=True)}

    def connect(self, *, address: str, port: int, tls: str = "") -> int:
        """Connect to the card's side; the token."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        made = self._traffic.namespace.socket(family)
        made.settimeout(_TIMEOUT_S)

        def connect() -> socket.socket:
            made.connect((address, port))
            return made

        return self._add(connect, made, tls, server_side=False)

    def _add(
        self,
        opener: Callable[[], socket.socket],
        first: socket.socket,
        tls: str,
        *,
        server_side: bool,
    ) -> int:
        context = self._context(tls, server_side) if tls else None
        token = next(self._tokens)
        self._connections[token] = FarConnection(opener, first, context, server_side)
        return token

    def _context(self, version: str, server_side: bool) -> ssl.SSLContext:
        self.certificate()
        certificate = self._directory / "cert.pem"
        if server_side:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, self._directory / "key.pem")
        else:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.load_verify_locations(certificate)
        context.minimum_version = context.maximum_version = _VERSIONS[version]
        context.set_ciphers(_OLDER_CIPHERS)
        return context

    def send(self, *, token: int, block: bytes, count: int = 0, end: bool = False) -> None:
        """Send `block`, or `data.numbered` of it; with `end` say afterwards that this was all."""
        data = b"".join(numbered(block, count)) if count else block
        self._connections[token].send(data, end=end)

    def receive(self, *, token: int, count: int, wait_s: float = 20.0) -> bytes:
        """The next `count` bytes, or those that came before the end, or the deadline."""
        return self._connections[token].receive(count, wait_s)

    def state(self, *, token: int, count: int = 0, wait_s: float = 0.0) -> dict[str, Any]:
        """When `count` bytes have come, or at the deadline: "bytes" that have, their "sha256",
        whether the other side has "ended", what was the "error" or "", and "version"."""
        return self._connections[token].state(count, wait_s)

    def close(self, *, token: int) -> None:
        """Reset it if it still lives."""
        connection = self._connections.pop(token, None)
        if connection is not None:
            connection.close()

    def close_all(self) -> None:
        """The same for all."""
        for token in list(self._connections):
            self.close(token=token)


class FarConnection:
    """One of them."""

    def __init__(
        self,
        opener: Callable[[], socket.socket],
        first: socket.socket,
        context: ssl.SSLContext | None,
        server_side: bool,
    ) -> None:
        """first: the socket that `opener` waits with."""
        self._opener = opener
        self._waits_with = first
        self._context = context
        self._server_side = server_side
        self._changed = threading.Condition()
        # All below is guarded by _changed.
        self._to_send = bytearray()
        self._end = self._ended = self._closing = self._done = False
        self._received = bytearray()
        self._taken = 0
        self._error = ""
        self._version = ""
        self._is_open = False
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="tlsnic-far", daemon=True)
        self._thread.start()

    # What tests call

    def send(self, data: bytes, *, end: bool) -> None:
        with self._changed:
            self._to_send += data
            self._end |= end
        os.eventfd_write(self._wake_fd, 1)

    def receive(self, count: int, wait_s: float) -> bytes:
        with self._changed:
            self._changed.wait_for(
                lambda: len(self._received) >= self._taken + count or self._over, wait_s
            )
            found = bytes(self._received[self._taken : self._taken + count])
            self._taken += len(found)
            return found

    def state(self, count: int, wait_s: float) -> dict[str, Any]:
        with self._changed:
            self._changed.wait_for(lambda: len(self._received) >= count or self._over, wait_s)
            return {
                "bytes": len(self._received),
                "sha256": hashlib.sha256(self._received).hexdigest(),
                "ended": self._ended,
                "error": self._error,
                "version": self._version,
            }

    def close(self) -> None:
        with self._changed:
            self._closing = True
        os.eventfd_write(self._wake_fd, 1)
        if not self._is_open:
            with contextlib.suppress(OSError):
                self._waits_with.shutdown(socket.SHUT_RDWR)
        self._thread.join(_END_S)
        os.close(self._wake_fd)

    @property
    def _over(self) -> bool:
        return self._ended or self._done

    # The thread

    def _run(self) -> None:
        try:
            with self._open() as connection:
                self._serve(connection)
        except OSError as error:  # ssl.SSLError is one
            with self._changed:
                self._error = self._error or f"{type(error).__name__}: {error}"
        finally:
            with self._changed:
                self._done = True
                self._changed.notify_all()

    def _open(self) -> socket.socket:
        connection = self._waits_with = self._opener()
        connection.settimeout(_TIMEOUT_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._context is not None:
            connection = self._context.wrap_socket(
                connection,
                server_side=self._server_side,
                server_hostname=None if self._server_side else NAME,
                suppress_ragged_eofs=False,
            )
            self._version = connection.version() or ""
        connection.setblocking(False)
        self._is_open = True
        return connection

    def _serve(self, connection: socket.socket) -> None:
        poller = select.poll()
        poller.register(self._wake_fd, select.POLLIN)
        has_ended = False
        while not self._closing and not (self._ended and has_ended):
            wants_write = bool(self._to_send)
            events = select.POLLOUT if wants_write else 0
            poller.register(connection, events | (0 if self._ended else select.POLLIN))
            pending = isinstance(connection, ssl.SSLSocket) and connection.pending()
            for fd, _ in poller.poll(0 if pending else 1000):
                if fd == self._wake_fd:
                    os.eventfd_read(fd)
            if not self._ended:
                self._read(connection)
            self._write(connection)
            if self._end and not self._to_send and not has_ended:
                has_ended = True
                self._shut(connection)
        if self._closing:
            # Like a process that is killed: a reset when there is anything left.
            linger = (1).to_bytes(4, "little") + bytes(4)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    def _read(self, connection: socket.socket) -> None:
        try:
            data = connection.recv(_READ_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        except ssl.SSLZeroReturnError:  # close_notify, after ours
            data = b""
        with self._changed:
            self._received += data
            self._ended = not data
            self._changed.notify_all()

    def _write(self, connection: socket.socket) -> None:
        with self._changed:
            data = bytes(self._to_send[:_READ_BYTES])
        if not data:
            return
        try:
            count = connection.send(data)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        with self._changed:
            del self._to_send[:count]

    @staticmethod
    def _shut(connection: socket.socket) -> None:
        if isinstance(connection, ssl.SSLSocket):
            # close_notify; the other side's is read as the end of its stream.
            with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
                connection.unwrap()
        # Not that of SSLSocket, which would go on in clear.
        socket.socket.shutdown(connection, socket.SHUT_WR)
