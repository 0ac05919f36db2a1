"""JSON-RPC 2.0 both ways over one byte stream: the control channel between guest and host.

Either end calls methods of the other, and several threads of one end may call at once. The stream
is a file descriptor that can be polled: a virtio-serial port in the guest, a Unix socket on the
host. There is no thread in here: whoever waits reads for all, and requests are answered in the
thread that serves (`Channel.serve`), or, when none does, in the thread that waits for a reply.

Only the standard library: the guest imports this too.
"""

import errno
import itertools
import os
import select
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TypeVar

from tlsnic.qemu.framing import Decoder, encode

Handler = Callable[..., object]
T = TypeVar("T")

DEFAULT_TIMEOUT_S = 30.0
_READ_BYTES = 1 << 16
_INVALID_REQUEST = -32600
_METHOD_NOT_FOUND = -32601
_INVALID_PARAMS = -32602
_HANDLER_FAILED = -32000


class ChannelError(Exception):
    """Base of what a call can raise."""


class ChannelClosedError(ChannelError):
    """The other end went away, or this end was closed."""


class CallTimeoutError(ChannelError, TimeoutError):
    """No reply before the deadline; a late one is dropped."""


class RemoteError(ChannelError):
    """The other end's handler failed. `kind` is the name of its exception class."""

    def __init__(self, code: int, message: str, kind: str = "") -> None:
        super().__init__(f"{kind}: {message}" if kind else message)
        self.code = code
        self.message = message
        self.kind = kind


class Channel:
    """One end of the control channel. Takes over `fd` and closes it.

    `handlers` maps a method's name to a function of keyword arguments; its return value is the
    result, an exception goes back as an error. Malformed messages are dropped and counted
    (`dropped`), never raised.
    """

    def __init__(self, fd: int, handlers: Mapping[str, Handler] | None = None) -> None:
        self._handlers = dict(handlers or {})
        self._fd = fd
        os.set_blocking(fd, False)
        self._wake_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._decoder = Decoder()
        self._ids = itertools.count(1)
        self._state = threading.Condition()
        self._sending = threading.Lock()
        # All below is guarded by _state.
        self._waiting: set[int] = set()
        self._replies: dict[int, dict[str, object]] = {}
        self._requests: deque[dict[str, object]] = deque()
        self._reading = False
        self._ended = False
        self._closed = False
        self._users = 0
        self._server_thread: int | None = None
        self._dropped_messages = 0

    @classmethod
    def over_socket(
        cls, sock: socket.socket, handlers: Mapping[str, Handler] | None = None
    ) -> "Channel":
        """A channel over a connected stream socket, which it takes over."""
        return cls(sock.detach(), handlers)

    @classmethod
    def open(cls, path: str, handlers: Mapping[str, Handler] | None = None) -> "Channel":
        """A channel to `path`: a virtio-serial port, or the path of a listening Unix socket.

        Raises `OSError` when it cannot be opened.
        """
        try:
            return cls(os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC), handlers)
        except OSError as error:
            if error.errno != errno.ENXIO:  # how a Unix socket answers open(2)
                raise
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.connect(path)
        except OSError:
            sock.close()
            raise
        return cls.over_socket(sock, handlers)

    @property
    def dropped(self) -> int:
        """Messages that could not be understood, cut frames and runs of garbage included."""
        return self._dropped_messages + self._decoder.bad_frames + self._decoder.garbage_bytes

    def call(
        self,
        method: str,
        params: Mapping[str, object] | None = None,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> object:
        """The result of the other end's `method`.

        Raises `RemoteError`, `CallTimeoutError`, `ChannelClosedError`; `TypeError` or
        `ValueError` for parameters that cannot be sent.
        """
        deadline = time.monotonic() + timeout_s
        number = next(self._ids)
        frame = encode(
            {"jsonrpc": "2.0", "id": number, "method": method, "params": dict(params or {})}
        )
        with self._state:
            self._waiting.add(number)
        try:
            self._send(frame, deadline, method)
            while True:
                event = self._wait(lambda: self._reply_or_request(number), deadline, method)
                if event.get("id") == number and "method" not in event:
                    return _result_of(event)
                self._answer(event)
        finally:
            with self._state:
                self._waiting.discard(number)
                self._replies.pop(number, None)

    def notify(
        self,
        method: str,
        params: Mapping[str, object] | None = None,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> None:
        """Tell the other end without waiting for an answer; errors as for `call`."""
        frame = encode({"jsonrpc": "2.0", "method": method, "params": dict(params or {})})
        self._send(frame, time.monotonic() + timeout_s, method)

    def serve(self) -> None:
        """Answer requests in this thread until the other end goes away or `close` is called."""
        with self._state:
            if self._server_thread is not None:
                raise RuntimeError("the channel is being served already")
            self._server_thread = threading.get_ident()
        try:
            while True:
                self._answer(
                    self._wait(
                        lambda: self._requests.popleft() if self._requests else None, None, "serve"
                    )
                )
        except ChannelClosedError:
            return
        finally:
            with self._state:
                self._server_thread = None
                self._state.notify_all()

    def close(self) -> None:
        """End the channel: waiting calls raise `ChannelClosedError`, `serve` returns."""
        with self._state:
            if self._closed:
                return
            self._closed = self._ended = True
            os.eventfd_write(self._wake_fd, 1)
            self._state.notify_all()
            # The descriptors may be reused as soon as they are closed, so no one may be inside a
            # system call on them. _users counts those; the eventfd brings them back at once.
            self._state.wait_for(lambda: self._users == 0)
        os.close(self._fd)
        os.close(self._wake_fd)

    def __enter__(self) -> "Channel":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _reply_or_request(self, number: int) -> dict[str, object] | None:
        reply = self._replies.pop(number, None)
        if reply is not None:
            return reply
        if self._requests and self._server_thread in (None, threading.get_ident()):
            return self._requests.popleft()
        return None

    def _wait(self, ready: Callable[[], T | None], deadline: float | None, what: str) -> T:
        """What `ready` (called with the lock held) returns once it is not None."""
        with self._state:
            while True:
                found = ready()
                if found is not None:
                    return found
                if self._ended:
                    raise ChannelClosedError(f"{what}: the control channel is closed")
                remaining_s = None if deadline is None else deadline - time.monotonic()
                if remaining_s is not None and remaining_s <= 0:
                    raise CallTimeoutError(f"{what}: no answer before the deadline")
                if self._reading:
                    self._state.wait(remaining_s)
                else:
                    self._read(select.POLLIN, remaining_s)

    def _read(self, events: int, timeout_s: float | None) -> int:
        """With the lock held: poll without it, then take in what came. Returns the poll events."""
        self._reading = True
        self._users += 1
        self._state.release()
        data: bytes | None = None
        seen = 0
        try:
            seen = self._poll(events, timeout_s)
            if seen & ~select.POLLOUT:
                try:
                    data = os.read(self._fd, _READ_BYTES)
                except BlockingIOError:
                    data = None
                except OSError:  # ECONNRESET of a socket, EIO or ENODEV of an unplugged port
                    data = b""
        finally:
            self._state.acquire()
            self._users -= 1
            self._reading = False
            if data is not None:
                self._ended = self._ended or not data
                for message in self._decoder.feed(data):
                    self._sort(message)
            self._state.notify_all()
        return seen

    def _poll(self, events: int, timeout_s: float | None) -> int:
        poller = select.poll()
        poller.register(self._fd, events)
        poller.register(self._wake_fd, select.POLLIN)
        timeout_ms = None if timeout_s is None else max(0, round(timeout_s * 1000 + 0.5))
        return dict(poller.poll(timeout_ms)).get(self._fd, 0)

    def _sort(self, message: object) -> None:
        """With the lock held: put a message where the one who waits for it looks."""
        if isinstance(message, dict):
            number = message.get("id")
            if "method" in message:
                self._requests.append(message)
                return
            if ("result" in message or "error" in message) and (
                isinstance(number, int) and number in self._waiting
            ):
                self._replies[number] = message
                return
        self._dropped_messages += 1

    def _send(self, frame: bytes, deadline: float, what: str) -> None:
        view = memoryview(frame)
        if not self._sending.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise CallTimeoutError(f"{what}: could not send before the deadline")
        try:
            while view:
                with self._state:
                    if self._ended:
                        raise ChannelClosedError(f"{what}: the control channel is closed")
                    self._users += 1
                try:
                    view = view[os.write(self._fd, view) :]
                    continue
                except BlockingIOError:
                    pass
                except OSError as error:
                    raise ChannelClosedError(f"{what}: {error.strerror}") from error
                finally:
                    with self._state:
                        self._users -= 1
                        self._state.notify_all()
                self._wait_writable(deadline, what)
        finally:
            self._sending.release()

    def _wait_writable(self, deadline: float, what: str) -> None:
        # Reading goes on meanwhile: two ends that both only write would wait for ever.
        with self._state:
            while not self._ended:
                remaining_s = deadline - time.monotonic()
                if remaining_s <= 0:
                    raise CallTimeoutError(f"{what}: could not send before the deadline")
                if not self._reading:
                    if self._read(select.POLLIN | select.POLLOUT, remaining_s) & select.POLLOUT:
                        return
                    continue
                self._users += 1
                self._state.release()
                try:
                    if self._poll(select.POLLOUT, remaining_s) & select.POLLOUT:
                        return
                finally:
                    self._state.acquire()
                    self._users -= 1
                    self._state.notify_all()

    def _answer(self, request: dict[str, object]) -> None:
        """Run the handler of `request` and send the reply, unless it is a notification."""
        number = request.get("id")
        reply: dict[str, object] = {"jsonrpc": "2.0", "id": number}
        method, params = request["method"], request.get("params", {})
        handler = self._handlers.get(method) if isinstance(method, str) else None
        if not isinstance(method, str):
            reply["error"] = {"code": _INVALID_REQUEST, "message": "method is not a string"}
        elif not isinstance(params, dict):
            reply["error"] = {"code": _INVALID_PARAMS, "message": "params is not an object"}
        elif handler is None:
            reply["error"] = {"code": _METHOD_NOT_FOUND, "message": f"no method {method}"}
        else:
            try:
                reply["result"] = handler(**params)
            except Exception as error:
                reply["error"] = _error_object(_HANDLER_FAILED, error)
        if number is None:
            if "error" in reply:
                # No one waits for it, so it must not vanish either.
                print(f"tlsnic: notification {method}: {reply['error']}", file=sys.stderr)
            return
        deadline = time.monotonic() + DEFAULT_TIMEOUT_S
        try:
            frame = encode(reply)
        except (TypeError, ValueError) as error:
            reply.pop("result", None)
            reply["error"] = _error_object(_HANDLER_FAILED, error)
            frame = encode(reply)
        try:
            self._send(frame, deadline, f"reply to {method}")
        except CallTimeoutError:
            self._dropped_messages += 1


def _error_object(code: int, error: Exception) -> dict[str, object]:
    return {"code": code, "message": str(error), "data": {"kind": type(error).__name__}}


def _result_of(reply: dict[str, object]) -> object:
    if "error" not in reply:
        return reply["result"]
    error = reply["error"]
    if not isinstance(error, dict):
        raise RemoteError(_HANDLER_FAILED, str(error))
    data = error.get("data")
    code = error.get("code")
    raise RemoteError(
        code if isinstance(code, int) else _HANDLER_FAILED,
        str(error.get("message", "")),
        str(data.get("kind", "")) if isinstance(data, dict) else "",
    )
