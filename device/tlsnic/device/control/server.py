"""The control socket: clients, lines in, lines out. Runs in the device's one event loop.

Theory of operation. The loop polls one descriptor, an epoll set of listener and clients, so that a
client that is idle costs it nothing. `turn` takes what came, carries out requests one client after
the other until a time budget is used up, and sends what can be sent. A client that reads slowly is
not read from while much waits for it; one that reads nothing at all for a while is dropped.
"""

import errno
import logging
import os
import select
import socket
from collections import deque
from collections.abc import Callable
from struct import Struct
from typing import Final

from tlsnic.device import vfu
from tlsnic.device.control.inspector import Inspector
from tlsnic.device.control.protocol import (
    MAX_LINE_BYTES,
    NAME,
    VERSION,
    ControlError,
    ErrorName,
    Json,
    encode,
    encode_error,
    encode_result,
    parse_request,
)

SOCKET_MODE: Final = 0o600
MAX_CLIENTS: Final = 256
TURN_NS: Final = 1_000_000
"""Requests are carried out for so long, and at least one, before the card gets its turn."""
READ_BYTES: Final = 65536
HIGH_WATER_BYTES: Final = 256 * 1024
"""More than this waits for a client: nothing is read from it."""
EVENTS_BYTES: Final = 1 << 20
"""More than this waits for a client: events for it are left out."""
STUCK_NS: Final = 10_000_000_000
"""A client that takes nothing for so long of what waits for it is dropped."""
ACCEPTS_PER_TURN: Final = 16
_CREDENTIALS: Final = Struct("3i")
_ROOT: Final = 0
_NO_DESCRIPTORS: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

log = logging.getLogger("tlsnic.device")


class _Client:
    """One connection."""

    def __init__(self, connection: socket.socket, wake: "Callable[[_Client], None]") -> None:
        self.connection = connection
        self._wake = wake
        self.fd = connection.fileno()
        self.incoming = bytearray()
        self.searched = 0
        """Bytes of `incoming` that have no newline."""
        self.outgoing: deque[memoryview] = deque()
        self.waiting_bytes = 0
        """Bytes of `outgoing`."""
        self.progress_ns = 0
        """When something of `outgoing` left, or it was empty."""
        self.ended = False
        """Nothing more comes from it: it is dropped when all is answered."""
        self.dropped = False
        self.interest = select.EPOLLIN
        self.on_close: list[Callable[[], object]] = []

    def next_line(self) -> bytearray | None:
        """Take the next whole line out of what came."""
        end = self.incoming.find(b"\n", self.searched)
        if end < 0:
            self.searched = len(self.incoming)
            return None
        line = self.incoming[:end]
        del self.incoming[: end + 1]
        self.searched = 0
        return line

    @property
    def has_line(self) -> bool:
        """Whether next_line() would find one."""
        end = self.incoming.find(b"\n", self.searched)
        self.searched = len(self.incoming) if end < 0 else end
        return end >= 0

    def put(self, line: bytes) -> None:
        """Queue a line to be sent."""
        self.outgoing.append(memoryview(line))
        self.waiting_bytes += len(line)

    # inspector.Client

    def send_event(self, event: Json) -> bool:
        if self.dropped or self.ended or self.waiting_bytes > EVENTS_BYTES:
            return False
        self.put(encode(event))
        self._wake(self)
        return True

    def when_closed(self, callback: Callable[[], object]) -> None:
        self.on_close.append(callback)


class ControlServer:
    """Listens on `path`, readable and writable for its owner only.

    Raises:
        vfu.VfuError: EADDRINUSE when a living process listens there, and others.
    """

    def __init__(self, path: str, inspector: Inspector, clock_ns: Callable[[], int]) -> None:
        self.path = path
        self._inspector = inspector
        self._clock_ns = clock_ns
        self._listener = vfu.Listener(path, SOCKET_MODE)
        self._epoll = select.epoll()
        self._epoll.register(self._listener.socket, select.EPOLLIN)
        self._clients: dict[int, _Client] = {}
        self._ready: deque[_Client] = deque()
        """Clients with a request that was not carried out yet."""
        self._unsent: dict[_Client, None] = {}
        """Clients with events that nobody has tried to send yet."""
        self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self.busy = False
        """`turn` has more to do at once."""
        self.deadline_ns: int | None = None
        """When `turn` has to be called even if nothing is readable; None: no need."""

    def fileno(self) -> int:
        """The descriptor that is readable when `turn` has something to do."""
        return self._epoll.fileno()

    @property
    def clients(self) -> int:
        """How many are connected."""
        return len(self._clients)

    def turn(self, now_ns: int) -> None:
        """Take and send what can be, carry out some of what was asked. Never raises."""
        for fd, events in self._epoll.poll(0):
            client = self._clients.get(fd)
            if client is None:
                try:
                    self._accept(now_ns)
                except OSError as error:
                    log.error("control: a client cannot be let in: %s", error)
            elif events & (select.EPOLLHUP | select.EPOLLERR):
                self._drop(client)
            else:
                if events & select.EPOLLIN:
                    self._guarded(self._read, client)
                if events & select.EPOLLOUT and not client.dropped:
                    self._guarded(self._flush, client, now_ns)
        unsent, self._unsent = self._unsent, {}
        for client in unsent:
            if not client.dropped:
                self._guarded(self._flush, client, now_ns)
        self._serve(now_ns)
        self._look_at_time(now_ns)
        self.busy = bool(self._ready or self._unsent)

    def _serve(self, now_ns: int) -> None:
        """Requests, each client in turn, until the time is used up."""
        ready = self._ready
        while ready:
            client = ready.popleft()
            if not client.dropped:
                self._guarded(self._serve_one, client)
            if not client.dropped:
                self._guarded(self._flush, client, now_ns)
            if self._clock_ns() - now_ns > TURN_NS:
                return

    def _guarded(self, step: Callable[..., None], client: _Client, *arguments: int) -> None:
        """One step for one client; what goes wrong there ends only its connection."""
        try:
            step(client, *arguments)
        except OSError:
            self._drop(client)
        except Exception:
            log.exception("control: internal error; a client is disconnected")
            self._drop(client)

    def _read(self, client: _Client) -> None:
        try:
            data = client.connection.recv(READ_BYTES)
        except BlockingIOError:
            return
        client.ended = not data
        client.incoming += data
        self._queue(client)
        self._update(client)

    def _queue(self, client: _Client) -> None:
        """Have the next request of a client carried out, unless too much waits for it already."""
        if client.waiting_bytes > HIGH_WATER_BYTES or client in self._ready:
            return
        if client.has_line or len(client.incoming) > MAX_LINE_BYTES:
            self._ready.append(client)
        elif client.ended and not client.outgoing:
            self._drop(client)

    def _serve_one(self, client: _Client) -> None:
        line = client.next_line()
        if line is None or len(line) > MAX_LINE_BYTES:
            error = ControlError(
                ErrorName.LINE_TOO_LONG, f"a line has up to {MAX_LINE_BYTES} bytes", "ask for less"
            )
            client.put(encode_error(None, error))
            client.incoming.clear()
            client.searched = 0
            client.ended = True
        else:
            client.put(self._answer(line, client))

    def _answer(self, line: bytearray, client: _Client) -> bytes:
        request = parse_request(line)
        try:
            if request.error is not None:
                raise request.error
            result = self._inspector.call(request.method, request.params, client)
        except ControlError as error:
            return encode_error(request.id, error)
        return encode_result(request.id, result)

    def _flush(self, client: _Client, now_ns: int) -> None:
        """Send what can be sent."""
        if not client.outgoing:
            client.progress_ns = now_ns
        try:
            while client.outgoing:
                first = client.outgoing[0]
                sent = client.connection.send(first)
                client.progress_ns = now_ns
                client.waiting_bytes -= sent
                if sent == len(first):
                    client.outgoing.popleft()
                else:
                    client.outgoing[0] = first[sent:]
        except BlockingIOError:
            pass
        self._queue(client)
        if not client.dropped:
            self._update(client)

    def _update(self, client: _Client) -> None:
        """Poll for what the client can be served with."""
        interest = select.EPOLLOUT if client.outgoing else 0
        if not client.ended and client.waiting_bytes <= HIGH_WATER_BYTES:
            # What has come and is not answered yet is a line at most, and what one read gave.
            interest |= 0 if client in self._ready else select.EPOLLIN
        if interest != client.interest and not client.dropped:
            client.interest = interest
            self._epoll.modify(client.fd, interest)

    def _wake(self, client: _Client) -> None:
        self._unsent[client] = None
        self.busy = True

    def _look_at_time(self, now_ns: int) -> None:
        """Drop those who take nothing, and note when to look again."""
        waiting = [client for client in self._clients.values() if client.outgoing]
        for client in waiting:
            if now_ns - client.progress_ns > STUCK_NS:
                log.info("control: a client that reads nothing is disconnected")
                self._drop(client)
        self.deadline_ns = min(
            (client.progress_ns + STUCK_NS + 1 for client in waiting if not client.dropped),
            default=None,
        )

    # Connections

    def _accept(self, now_ns: int) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            try:
                connection, _ = self._listener.socket.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _NO_DESCRIPTORS:
                    self._accept_and_close()
                return
            refusal = self._refusal(connection)
            if refusal is not None:
                _refuse(connection, refusal)
                continue
            connection.setblocking(False)
            client = _Client(connection, self._wake)
            self._clients[client.fd] = client
            self._epoll.register(client.fd, client.interest)
            client.progress_ns = now_ns
            client.put(encode(self.hello()))
            self._guarded(self._flush, client, now_ns)

    def hello(self) -> Json:
        """What each client is told first."""
        return {
            "hello": NAME,
            "version": VERSION,
            "pid": os.getpid(),
            "cards": [card.identity() for card in self._inspector.cards],
        }

    def _refusal(self, connection: socket.socket) -> ControlError | None:
        raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        _, user, _ = _CREDENTIALS.unpack(raw)
        if user not in (_ROOT, os.geteuid()):
            return ControlError(
                ErrorName.NOT_ALLOWED,
                f"user {user} may not control this device",
                f"be root, or user {os.geteuid()}, whose it is",
            )
        if len(self._clients) >= MAX_CLIENTS:
            return ControlError(
                ErrorName.TOO_MANY_CLIENTS, f"{MAX_CLIENTS} clients are connected", "end some"
            )
        return None

    def _accept_and_close(self) -> None:
        """No descriptor is left: let the client go, who else would keep the loop awake."""
        os.close(self._spare)
        try:
            connection, _ = self._listener.socket.accept()
            connection.close()
        except OSError:
            pass
        finally:
            self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def _drop(self, client: _Client) -> None:
        if client.dropped:
            return
        client.dropped = True
        del self._clients[client.fd]
        self._epoll.unregister(client.fd)
        client.connection.close()
        client.outgoing.clear()
        for callback in client.on_close:
            try:
                callback()
            except Exception:
                log.exception("control: internal error while a client is let go")

    def close(self) -> None:
        """Drop all clients and remove the socket. May be called again."""
        if self._epoll.closed:
            return
        for client in list(self._clients.values()):
            self._drop(client)
        self._inspector.close()
        self._epoll.close()
        self._listener.close()
        os.close(self._spare)


def _refuse(connection: socket.socket, error: ControlError) -> None:
    """Say why, and hang up."""
    try:
        connection.setblocking(False)
        connection.send(encode_error(None, error))
    except OSError:
        pass
    finally:
        connection.close()
