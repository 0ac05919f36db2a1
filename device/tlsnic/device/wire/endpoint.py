"""Where a stream wire gets its connections: a Unix or TCP address to connect to or listen at.

Only addresses, binding and accepting are here; what runs over the connection is in `stream`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from typing import Any

from .base import WireError

LOOPBACK = "127.0.0.1"
UNIX_PATH_MAX_BYTES = 107
"""sun_path of Linux has 108 bytes, the last of them zero (unix(7))."""

_IN_PROGRESS = (errno.EINPROGRESS, errno.EAGAIN, errno.EINTR)

# The address of a socket has another shape in each family.
Address = Any


class Connector:
    """An address to connect to, again and again until a peer is there.

    Args:
        family: AF_UNIX, AF_INET or AF_INET6.
        address: as `socket.connect` takes it, already resolved.
        label: the address for messages.
    """

    def __init__(self, family: int, address: Address, label: str) -> None:
        self.family = family
        self.address = address
        self.label = label

    def begin(self) -> tuple[socket.socket, bool]:
        """Start a connection without blocking; returns the socket and whether it is up already.

        Raises:
            OSError: there is no peer at this moment.
        """
        sock = socket.socket(self.family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            code = sock.connect_ex(self.address)
            # EAGAIN of a Unix socket means a full backlog: nothing is in progress there.
            if code and (self.family == socket.AF_UNIX or code not in _IN_PROGRESS):
                raise OSError(code, os.strerror(code))
        except BaseException:
            sock.close()
            raise
        return sock, code == 0

    def close(self) -> None:
        """Nothing is held between attempts."""


class Listener:
    """A listening socket that gives one connection after the other.

    A Unix socket's path is made on opening and removed on closing; one that a dead process left
    behind is replaced.

    Raises:
        WireError: the address is in use, or cannot be bound.
    """

    def __init__(self, family: int, address: Address, label: str) -> None:
        self.label = label
        self._path: str | None = None
        self._inode: tuple[int, int] | None = None
        self._sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            self._sock.setblocking(False)
            if family == socket.AF_UNIX:
                _remove_stale_socket(address)
            else:
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._sock.bind(address)
            if family == socket.AF_UNIX:
                self._path = address
                self._inode = _inode_of(address)
            self._sock.listen(1)
        except OSError as error:
            self.close()
            raise WireError(
                f"cannot listen at {label}: {error.strerror}", _listen_fix(error, label)
            ) from error
        except BaseException:
            self.close()
            raise

    def fileno(self) -> int:
        """The listening descriptor: readable while somebody waits to be accepted."""
        return self._sock.fileno()

    @property
    def address(self) -> Address:
        """The bound address, with the port the kernel chose if 0 was asked for."""
        return self._sock.getsockname()

    def accept(self) -> socket.socket | None:
        """The next connection, non-blocking; None if nobody waits.

        Raises:
            OSError: for example no descriptors are left.
        """
        try:
            sock, _ = self._sock.accept()
        except (BlockingIOError, ConnectionAbortedError, InterruptedError):
            return None
        sock.setblocking(False)
        return sock

    def close(self) -> None:
        self._sock.close()
        path, self._path = self._path, None
        # Another process may have replaced the path meanwhile: remove only what was made here.
        if path is not None and _inode_of(path) == self._inode:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)


def _inode_of(path: str) -> tuple[int, int] | None:
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _remove_stale_socket(path: str) -> None:
    """Unlink a socket nobody listens at; leave anything else for bind() to complain about."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return
    except OSError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        if probe.connect_ex(path) == errno.ECONNREFUSED:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)


def _listen_fix(error: OSError, label: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return "another process listens there, or a file is in the way: choose another address"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "choose an address this user may bind"
    if error.errno == errno.ENOENT:
        return f"make the directory of {label} first"
    return ""


def unix_address(path: str) -> str:
    """Check the path of a Unix socket."""
    length = len(os.fsencode(path))
    if not path or "\0" in path or length > UNIX_PATH_MAX_BYTES:
        raise WireError(
            f"a Unix socket's path has 1 to {UNIX_PATH_MAX_BYTES} bytes, not {length}: {path!r}",
            "choose another path",
        )
    return path


def tcp_address(text: str, *, listen: bool) -> tuple[int, Address]:
    """Parse and resolve `HOST:PORT`, `[V6]:PORT`, `:PORT` or `PORT`; without a host, loopback.

    Returns:
        The address family and the address for `socket.connect` or `bind`. Names are looked up
        now, once: a lookup may block.

    Raises:
        WireError: not an address, or a name that cannot be resolved.
    """
    host, _, port = text.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    lowest = 0 if listen else 1
    if not (port.isascii() and port.isdigit() and lowest <= int(port) <= 65535):
        raise WireError(f"{text!r} is not HOST:PORT", "write for example 127.0.0.1:9000")
    try:
        found = socket.getaddrinfo(
            host or LOOPBACK,
            int(port),
            type=socket.SOCK_STREAM,
            flags=socket.AI_PASSIVE if listen else 0,
        )
    except (OSError, UnicodeError) as error:
        raise WireError(f"cannot resolve {host!r}: {error}", "use a numeric address") from error
    family, _, _, _, address = found[0]
    return family, address
