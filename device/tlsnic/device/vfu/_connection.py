"""One client at a time: accept, negotiate, take messages, notice the end. Nothing blocks.

`vfu_attach_ctx` accepts and then waits for the client's VERSION message without limit, even with
LIBVFIO_USER_FLAG_ATTACH_NB: one silent client would stop the server. So accepting and waiting is
done here. When the whole VERSION message is there, the library is given a private connection on
which that message already waits; it negotiates on that at once; its answer goes to the client; and
dup2(2) puts the client's socket in the place of the private one. From then on the library talks to
the client.

    LISTENING -> NEGOTIATING -> ATTACHED <-> QUIESCING
        ^------------+-------------+------------'

Each message is looked at (MSG_PEEK) before the library reads it: it has to be complete, since the
library's reads block, and it must not be one of those in `_guard`. A message that stays incomplete
for `stall_timeout_s` ends the connection.

`fileno` is an epoll descriptor that stays the same through all of this: it is readable whenever
`run` has something to do, deadlines included.
"""

import ctypes
import errno
import fcntl
import logging
import os
import select
import socket
import struct
import termios
from enum import Enum, auto

from tlsnic.device.vfu import _guard
from tlsnic.device.vfu._callbacks import Callbacks
from tlsnic.device.vfu._errors import VfuDisconnected, VfuError
from tlsnic.device.vfu._library import Library
from tlsnic.device.vfu._sockets import Listener, Timer, limit_blocking, private_pair

log = logging.getLogger("tlsnic.device.vfu")

_MAX_VERSION_BYTES = 16 * 1024
_MAX_QUEUED_BYTES = 64 * 1024
"""A longer message may not fit the socket's queue; the library reads it under SO_RCVTIMEO."""
_PEEK_BUFFER_BYTES = 4096
"""Posted register writes are 36 bytes: one look judges a hundred of them."""
_PEEK = socket.MSG_PEEK | socket.MSG_DONTWAIT


class State(Enum):
    """Where the connection is."""

    LISTENING = auto()
    NEGOTIATING = auto()
    ATTACHED = auto()
    QUIESCING = auto()


class Connection:
    """The transport of one context. `start` it once the library's context is realized."""

    def __init__(
        self,
        library: Library,
        callbacks: Callbacks,
        listener: Listener,
        negotiation_timeout_s: float,
        stall_timeout_s: float,
    ) -> None:
        self._calls = library.calls
        self._callbacks = callbacks
        self._listener = listener
        self._negotiation_timeout_s = negotiation_timeout_s
        self._stall_timeout_s = stall_timeout_s
        self._context = 0
        self._library_listen_fd = -1
        self._library_fd = -1
        self._client: socket.socket | None = None
        self._greeting = bytearray()
        self._peek = bytearray(_PEEK_BUFFER_BYTES)
        self._passed = 0
        self._emptied = False
        self._partial = False
        self._end = ""
        self.state = State.LISTENING
        self._timer = Timer()
        self._epoll = select.epoll()
        self._epoll.register(self._timer.fd, select.EPOLLIN)
        self._watched = -1

    def start(self, context: int) -> None:
        """Begin to listen for clients of the library's `context`."""
        self._context = context
        self._library_listen_fd = self._calls.vfu_get_poll_fd(context)
        self._watch(self._listener.socket.fileno())

    def fileno(self) -> int:
        """The descriptor to poll for input; it never changes."""
        return self._epoll.fileno()

    def close(self) -> None:
        """Close every descriptor here. The library's are its own."""
        if self._epoll.closed:
            return
        self._watch(-1)
        if self._client is not None:
            self._client.close()
            self._client = None
        self._listener.close()
        self._epoll.close()
        self._timer.close()

    def run(self, max_messages: int) -> int:
        """Handle what is there, at most `max_messages`; return how many. Raises VfuDisconnected."""
        if self._end and self.state is not State.QUIESCING:
            self._detached()
        if self.state is State.LISTENING and not self._accept():
            return 0
        if self.state is State.NEGOTIATING and not self._negotiate():
            return 0
        handled = 0
        self._passed = 0
        self._emptied = False
        while handled < max_messages and self.state is State.ATTACHED:
            if not self._passed and (self._emptied or not self._ready()):
                break
            self._passed -= 1
            self._run_library()
            handled += 1
            if self._callbacks.failure is not None:
                break
        return handled

    def quiesced(self, error: int) -> None:
        """Complete a pending quiesce with errno `error`, or 0."""
        if self.state is not State.QUIESCING:
            raise VfuError(errno.EINVAL, "no quiesce is pending")
        self._calls.vfu_device_quiesced(self._context, error)
        self.state = State.ATTACHED
        if self._calls.vfu_get_poll_fd(self._context) != self._library_fd:
            self._end = self._end or "the client closed the connection"
        elif error:
            # The library leaves the request that needed the quiesce without a reply.
            self._end = self._end or "the device failed to quiesce"
        else:
            assert self._client is not None
            self._watch(self._client.fileno())
        if self._end:
            self._timer.start(0)

    def drop(self, why: str) -> None:
        """End the client's connection. Raises VfuDisconnected, unless quiescing takes longer."""
        client = self._client
        if client is None:
            raise VfuDisconnected(why)
        log.warning("connection ended: %s", why)
        try:
            client.shutdown(socket.SHUT_RDWR)
            while client.recv(65536, socket.MSG_DONTWAIT):
                pass
        except OSError:
            pass
        if self.state is State.NEGOTIATING:
            self._listen()
            raise VfuDisconnected(why)
        self._end = why
        self._callbacks.client_lost = True
        self._run_library()

    def _watch(self, fd: int, events: int = select.EPOLLIN) -> None:
        if self._watched >= 0:
            self._epoll.unregister(self._watched)
        self._watched = fd
        if fd >= 0:
            self._epoll.register(fd, events)

    def _listen(self) -> None:
        if self._client is not None:
            self._watch(-1)
            self._client.close()
            self._client = None
        self._timer.stop()
        self._partial = False
        self._end = ""
        self._callbacks.client_lost = False
        self.state = State.LISTENING
        self._watch(self._listener.socket.fileno())

    def _accept(self) -> bool:
        try:
            client, _ = self._listener.socket.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return False
        self._client = client
        self._greeting.clear()
        self.state = State.NEGOTIATING
        self._watch(client.fileno())
        self._timer.start(self._negotiation_timeout_s)
        return True

    def _negotiate(self) -> bool:
        """Collect the VERSION message; attach when it is complete."""
        client = self._client
        assert client is not None
        wanted = _guard.HEADER_BYTES
        try:
            while True:
                if len(self._greeting) >= _guard.HEADER_BYTES:
                    wanted = _guard.HEADER.unpack_from(self._greeting)[2]
                    if not _guard.HEADER_BYTES <= wanted <= _MAX_VERSION_BYTES:
                        raise ConnectionError(f"a first message of {wanted} bytes")
                    if len(self._greeting) == wanted:
                        break
                data = client.recv(wanted - len(self._greeting), socket.MSG_DONTWAIT)
                if not data:
                    raise ConnectionError("closed before the version was agreed on")
                self._greeting += data
            self._attach(client, bytes(self._greeting))
        except BlockingIOError:
            if not self._timer.fired:
                return False
            log.warning("client dropped: it said nothing for %g s", self._negotiation_timeout_s)
        except OSError as error:
            log.warning("client dropped: %s", error)
        else:
            self._timer.stop()
            self.state = State.ATTACHED
            return True
        self._listen()
        return False

    def _attach(self, client: socket.socket, greeting: bytes) -> None:
        listener, far = private_pair()
        with far:
            with listener:
                far.sendall(greeting)
                os.dup2(listener.fileno(), self._library_listen_fd, inheritable=False)
            result = self._calls.vfu_attach_ctx(self._context)
            error = ctypes.get_errno()
            far.setblocking(False)
            reply, fds = b"", list[int]()
            try:
                reply, fds, _, _ = socket.recv_fds(far, 65536, 8)
                limit_blocking(client, self._stall_timeout_s)
                if fds:
                    socket.send_fds(client, [reply], fds)
                else:
                    client.sendall(reply)
            except OSError:
                if result == 0:
                    log.debug("client left while the version was agreed on")
            finally:
                for fd in fds:
                    os.close(fd)
            if result < 0:
                raise VfuError(error, "version negotiation")
            self._library_fd = self._calls.vfu_get_poll_fd(self._context)
            os.dup2(client.fileno(), self._library_fd, inheritable=False)

    def _ready(self) -> bool:
        """Whether a complete message may go to the library; refuses those it must.

        Sets `_passed` to how many messages may go there without another look, and `_emptied` if
        nothing was behind them: what came since then wakes `fileno` again.
        """
        client = self._client
        assert client is not None
        while True:
            try:
                seen = client.recv_into(self._peek, 0, _PEEK)
            except BlockingIOError:
                return False
            except ConnectionError:
                seen = 0
            if seen == 0:
                self._callbacks.client_lost = True
                self._passed = 1
                return True
            if seen >= _guard.HEADER_BYTES:
                _, command, size, _, _ = _guard.HEADER.unpack_from(self._peek)
                if not _guard.HEADER_BYTES <= size <= _guard.MAX_MESSAGE_BYTES:
                    self.drop(f"a message of {size} bytes cannot be")
                    return False
                if seen < size <= _MAX_QUEUED_BYTES:
                    (queued,) = struct.unpack("i", fcntl.ioctl(client, termios.FIONREAD, bytes(4)))
                else:
                    queued = size
                if queued >= size:
                    if seen < min(size, _guard.PEEK_BYTES):
                        self.drop("file descriptors came with a part of a message only")
                        return False
                    if self._partial:
                        self._set_partial(False)
                    error = _guard.verdict(self._peek, command, size)
                    if not error:
                        self._pass_on(seen, size)
                        return True
                    self._refuse(client, error)
                    if self.state is not State.ATTACHED:
                        return False
                    continue
            if not self._partial:
                self._set_partial(True)
            elif self._timer.fired:
                self.drop(f"a message stayed incomplete for {self._stall_timeout_s:g} s")
                return False
            self._epoll.poll(0)  # takes note of the edge, or `fileno` would stay readable
            return False

    def _pass_on(self, seen: int, position: int) -> None:
        """Judge the messages behind the first, which ends at `position`, as far as they were seen."""
        passed = 1
        while position + _guard.HEADER_BYTES <= seen:
            _, command, size, _, _ = _guard.HEADER.unpack_from(self._peek, position)
            if size < _guard.HEADER_BYTES or position + size > seen:
                break
            if _guard.verdict(memoryview(self._peek)[position:], command, size):
                break
            passed += 1
            position += size
        self._passed = passed
        self._emptied = position == seen < _PEEK_BUFFER_BYTES

    def _set_partial(self, partial: bool) -> None:
        # Edge-triggered while a message is incomplete: what is there already must not wake anyone.
        assert self._client is not None
        self._partial = partial
        events = select.EPOLLIN | (select.EPOLLET if partial else 0)
        self._epoll.modify(self._client.fileno(), events)
        if partial:
            self._timer.start(self._stall_timeout_s)
        else:
            self._timer.stop()

    def _refuse(self, client: socket.socket, error: int) -> None:
        """Take the message in `_peek` away from the library and answer it with errno `error`."""
        message_id, command, size, flags, _ = _guard.HEADER.unpack_from(self._peek)
        log.warning("message refused: command %d, %d bytes: %s", command, size, os.strerror(error))
        while size > 0:  # file descriptors with it, not asked for here, are closed by the kernel
            try:
                taken = len(client.recv(size))
            except OSError:
                taken = 0
            if taken == 0:
                self.drop("a refused message stayed incomplete")
                return
            size -= taken
        if not flags & _guard.FLAG_NO_REPLY:
            try:
                client.send(_guard.refusal(message_id, command, error), socket.MSG_NOSIGNAL)
            except OSError as failure:
                self.drop(f"it takes no replies: {failure}")

    def _run_library(self) -> None:
        """Let the library handle one message, or notice the end of the connection."""
        for _ in range(3):
            if self._calls.vfu_run_ctx(self._context) >= 0:
                return
            error = ctypes.get_errno()
            if error == errno.ENOTCONN:
                self._detached()
            if error == errno.EBUSY:
                self.state = State.QUIESCING
                self._watch(-1)
                return
            if self._callbacks.client_lost:
                continue
            why = "it takes no replies" if error == errno.EAGAIN else os.strerror(error)
            self.drop(why)
            return
        raise VfuError(error, "the library cannot let go of a lost connection")

    def _detached(self) -> None:
        if self._end and self._calls.vfu_get_poll_fd(self._context) == self._library_fd:
            end, self._end = self._end, ""
            self.drop(end)
            return
        why = self._end or "the client closed the connection"
        self._library_fd = -1
        self._listen()
        raise VfuDisconnected(why)
