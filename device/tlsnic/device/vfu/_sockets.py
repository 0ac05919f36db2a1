"""The socket that clients connect to, and the deadline timer: what the library does not do well.

The library's own listener dies on a stale socket (0b28d205) or takes a living server's path away
(HEAD). Here: a stale socket is removed, a living one refused, a file that is no socket left alone.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import shutil
import socket
import stat
import struct
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tlsnic.device.vfu._errors import VfuError

_MAX_PATH_BYTES = 107
_BACKLOG = 16
_LOCK_ATTEMPTS = 200
_LOCK_PAUSE_S = 0.01
_SO_RCVLOWAT_ALL = 0x7FFFFFFF
_TIMEVAL = struct.Struct("@ll")
_CLOCK_MONOTONIC = 1
_TFD_NONBLOCK = 0o4000
_TFD_CLOEXEC = 0o2000000
_ITIMERSPEC = struct.Struct("@llll")
_libc = ctypes.CDLL(None, use_errno=True)


class Listener:
    """A listening Unix stream socket at `path`, not blocking, unlinked on `close`."""

    def __init__(self, path: str, mode: int | None = None) -> None:
        """Listen, on a socket with permissions `mode` from its first moment; None: as umask says.

        Raises VfuError: EADDRINUSE (with the fix), ENAMETOOLONG, ENOENT, EACCES.
        """
        if len(os.fsencode(path)) > _MAX_PATH_BYTES:
            raise VfuError(
                errno.ENAMETOOLONG, f"socket path {path} is over {_MAX_PATH_BYTES} bytes"
            )
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            self.socket.setblocking(False)
            if mode is not None:
                os.fchmod(self.socket.fileno(), mode)  # bind() gives the file the socket's own
            with _alone_in(os.path.dirname(path) or "."):
                _remove_stale(path)
                self.socket.bind(path)
                status = os.stat(path)
                self.socket.listen(_BACKLOG)
        except OSError as error:
            self.socket.close()
            if isinstance(error, VfuError):
                raise
            raise VfuError(error.errno or errno.EIO, f"cannot listen on {path}") from None
        self._inode = (status.st_dev, status.st_ino)

    def close(self) -> None:
        """Stop listening and remove the socket, unless the path is someone else's by now."""
        self.socket.close()
        try:
            status = os.stat(self.path)
        except OSError:
            return
        if (status.st_dev, status.st_ino) == self._inode:
            os.unlink(self.path)


@contextlib.contextmanager
def _alone_in(directory: str) -> Iterator[None]:
    """No other listener looks for a stale socket or binds in `directory` meanwhile.

    Else one could take another's that is bound and does not listen yet for a stale one. A lock that
    cannot be had (the directory is not readable, somebody keeps it) is done without.
    """
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        yield
        return
    try:
        for _ in range(_LOCK_ATTEMPTS):
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            time.sleep(_LOCK_PAUSE_S)
        yield
    finally:
        os.close(fd)


def _remove_stale(path: str) -> None:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise VfuError(error.errno or errno.EIO, f"cannot look at socket path {path}") from None
    if not stat.S_ISSOCK(mode):
        raise VfuError(errno.EADDRINUSE, f"{path} exists and is no socket; choose another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except BlockingIOError:  # its queue is full: someone is there
            pass
        except OSError as error:
            raise VfuError(error.errno or errno.EIO, f"cannot probe socket {path}") from None
    raise VfuError(
        errno.EADDRINUSE,
        f"a living process listens on {path}; end it (`ss -xlp src {path}` names it) "
        "or choose another path",
    )


class PrivateDirectory:
    """A directory that only this user may enter, for a socket that exists for microseconds."""

    def __init__(self) -> None:
        parent = tempfile.gettempdir()
        if len(os.fsencode(parent)) > _MAX_PATH_BYTES - 24:
            parent = "/tmp"
        self.path = Path(tempfile.mkdtemp(prefix="vfu-", dir=parent))
        self.socket_path = str(self.path / "s")

    def __enter__(self) -> "PrivateDirectory":
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.path, ignore_errors=True)


def private_pair() -> tuple[socket.socket, socket.socket]:
    """Return (a listener with one connection waiting, the other end of that connection)."""
    with PrivateDirectory() as directory:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(directory.socket_path)
            listener.listen(1)
            listener.setblocking(False)
            far = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                far.connect(directory.socket_path)
            except OSError:
                far.close()
                raise
        except OSError:
            listener.close()
            raise
    return listener, far


def limit_blocking(connection: socket.socket, timeout_s: float) -> None:
    """Make the library's blocking calls on `connection` safe.

    The library reads a message's body with one recv() and takes what it gets: with the low-water
    mark at its greatest recv() waits for all of it. A client that stalls in the middle of a
    message, or reads no replies, is given up after `timeout_s`.
    """
    connection.setblocking(True)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, _SO_RCVLOWAT_ALL)
    seconds = int(timeout_s)
    timeout = _TIMEVAL.pack(seconds, int((timeout_s - seconds) * 1_000_000))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)


class Timer:
    """A one-shot timerfd: readable once the delay is over (os.timerfd_create is Python 3.13)."""

    def __init__(self) -> None:
        self.fd = _libc.timerfd_create(_CLOCK_MONOTONIC, _TFD_NONBLOCK | _TFD_CLOEXEC)
        if self.fd < 0:
            raise VfuError(ctypes.get_errno(), "timerfd_create")

    def start(self, delay_s: float) -> None:
        """Fire once after `delay_s`, which is at least a nanosecond."""
        nanoseconds = max(1, int(delay_s * 1e9))
        self._set(*divmod(nanoseconds, 1_000_000_000))

    def stop(self) -> None:
        """Do not fire, and be readable no more."""
        self._set(0, 0)

    def _set(self, seconds: int, nanoseconds: int) -> None:
        if _libc.timerfd_settime(self.fd, 0, _ITIMERSPEC.pack(0, 0, seconds, nanoseconds), None):
            raise VfuError(ctypes.get_errno(), "timerfd_settime")

    @property
    def fired(self) -> bool:
        """Whether it fired; asking resets it."""
        try:
            os.read(self.fd, 8)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        os.close(self.fd)
