"""Frames over a Unix or TCP stream, as QEMU's `-netdev stream` puts them there.

Each frame follows its length, 32 bits big endian (QEMU net/stream.c and net/net.c). There is no
virtio-net header, so frames arrive and leave complete. QEMU, passt or a second tlsnic can be at the
other end.

The link is up while a peer is connected. When the peer goes away, a listening wire waits for the
next one, and a connecting one tries again every RETRY_NS. A peer that announces an impossible
length cannot be followed any more: its connection is dropped.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
from collections.abc import Sequence

from tlsnic.device.packet.vnet import VnetHeader

from .base import MAX_FRAME_BYTES, Buffer, Sink, WireBase, frame_bytes
from .endpoint import Connector, Listener, tcp_address, unix_address

RETRY_NS = 250_000_000
RECEIVE_BUFFER_BYTES = 256 * 1024
SOCKET_BUFFER_BYTES = 1024 * 1024
"""Asked for; the kernel gives at most net.core.wmem_max and rmem_max."""

_LENGTH = struct.Struct(">I")
_MAX_PARTS = 1000
"""Below IOV_MAX (1024), with the length in front."""


class StreamWire(WireBase):
    """A wire over one stream connection at a time.

    Args:
        name: for messages.
        source: where connections come from; None with `sock`, which then is the only one.
        sock: a connected stream socket to start with; the wire owns it.
    """

    def __init__(
        self,
        name: str,
        source: Connector | Listener | None,
        sock: socket.socket | None = None,
    ) -> None:
        super().__init__(name)
        self._source = source
        self._sock: socket.socket | None = None
        self._connecting = False
        self._retry_at_ns: int | None = None
        self._last_problem = ""
        self._buffer = bytearray(RECEIVE_BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self._start = 0
        self._end = 0
        self._pending: memoryview | None = None
        self._blocked = False
        self._send_error = ""
        self._epoll = select.epoll()
        if sock is not None:
            self._adopt(sock)
        elif isinstance(source, Listener):
            self._epoll.register(source.fileno(), select.EPOLLIN)
        else:
            self._retry_at_ns = 0
            self._connect(0)

    # -- connecting ---------------------------------------------------------------------------

    def _connect(self, now_ns: int) -> None:
        """Make the next attempt of a connecting wire, or continue the one under way."""
        if self._retry_at_ns is None or now_ns < self._retry_at_ns:
            return
        assert isinstance(self._source, Connector)
        self._retry_at_ns = None
        try:
            sock, connected = self._source.begin()
        except OSError as error:
            self._retry_later(now_ns, "peer-absent", error)
            return
        if connected:
            self._adopt(sock)
        else:
            self._sock = sock
            self._connecting = True
            self._epoll.register(sock.fileno(), select.EPOLLOUT)

    def _finish_connecting(self, now_ns: int) -> None:
        sock = self._sock
        assert sock is not None
        if not self._epoll.poll(0):
            return
        self._epoll.unregister(sock.fileno())
        self._connecting = False
        self._sock = None
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            sock.close()
            self._retry_later(now_ns, "peer-absent", OSError(code, os.strerror(code)))
        else:
            self._adopt(sock)

    def _accept(self, now_ns: int) -> None:
        assert isinstance(self._source, Listener)
        if self._retry_at_ns is not None:
            if now_ns < self._retry_at_ns:
                return
            self._retry_at_ns = None
            self._epoll.register(self._source.fileno(), select.EPOLLIN)
        try:
            sock = self._source.accept()
        except OSError as error:
            # The listener stays readable: without a pause the event loop would spin.
            self._epoll.unregister(self._source.fileno())
            self._retry_later(now_ns, "accept-failed", error)
            return
        if sock is not None:
            # One peer at a time: the next one waits in the backlog until this one is gone.
            self._epoll.unregister(self._source.fileno())
            self._adopt(sock)

    def _retry_later(self, now_ns: int, name: str, error: OSError) -> None:
        self._retry_at_ns = now_ns + RETRY_NS
        problem = f"{self.name}: {error.strerror}; trying again every {RETRY_NS // 10**6} ms"
        if problem != self._last_problem:
            self._last_problem = problem
            self._diagnose(name, problem)

    def _adopt(self, sock: socket.socket) -> None:
        """Take a connected socket into use: the link comes up."""
        sock.setblocking(False)
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER_BYTES)
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # A peer whose machine died never says goodbye.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._sock = sock
        self._start = self._end = 0
        self._epoll.register(sock.fileno(), select.EPOLLIN)
        self._last_problem = ""
        self._set_link(True, "peer-connected", f"{self.name}: a peer is connected")

    def _drop(self, now_ns: int, name: str, detail: str) -> None:
        """Close the connection: the link goes down, and the next peer is waited for."""
        sock, self._sock = self._sock, None
        assert sock is not None
        self._epoll.unregister(sock.fileno())
        sock.close()
        self._start = self._end = 0
        self._pending = None
        self._blocked = False
        self._send_error = ""
        self._set_link(False, name, f"{self.name}: {detail}")
        if isinstance(self._source, Listener):
            self._epoll.register(self._source.fileno(), select.EPOLLIN)
        elif self._source is not None:
            self._retry_at_ns = now_ns + RETRY_NS

    # -- the wire -----------------------------------------------------------------------------

    @property
    def wants_write(self) -> bool:
        return self._blocked

    def fileno(self) -> int | None:
        return None if self._epoll.closed else self._epoll.fileno()

    def next_deadline_ns(self) -> int | None:
        if self._send_error or self._frame_at_hand():
            return 0
        return self._retry_at_ns

    def send(self, parts: Sequence[Buffer], vnet: VnetHeader | None, now_ns: int) -> bool:
        length = frame_bytes(parts)
        if vnet is not None:
            raise ValueError(f"{self.name} carries no virtio-net header")
        if self._blocked:
            self.flush(now_ns)
            if self._blocked:
                return False
        sock = self._sock
        if sock is None or self._connecting or self._send_error:
            self.counters.tx_dropped_link_down += 1
            return True
        if len(parts) > _MAX_PARTS:
            parts = (b"".join(parts),)
        buffers = (_LENGTH.pack(length), *parts)
        try:
            sent = sock.sendmsg(buffers)
        except BlockingIOError:
            self._set_blocked(True)
            return False
        except OSError as error:
            self._fail_sending(error)
            self.counters.tx_dropped_link_down += 1
            return True
        if sent < length + _LENGTH.size:
            self._pending = memoryview(b"".join(buffers))[sent:]
            self._set_blocked(True)
        self.counters.tx_frames += 1
        self.counters.tx_bytes += length
        return True

    def flush(self, now_ns: int) -> None:
        if not self._blocked or self._sock is None:
            return
        try:
            if self._pending is not None:
                self._pending = self._pending[self._sock.send(self._pending) :]
                if len(self._pending):
                    return
                self._pending = None
        except BlockingIOError:
            return
        except OSError as error:
            self._fail_sending(error)
        self._set_blocked(False)

    def _set_blocked(self, blocked: bool) -> None:
        self._blocked = blocked
        assert self._sock is not None
        events = select.EPOLLIN | select.EPOLLOUT if blocked else select.EPOLLIN
        self._epoll.modify(self._sock.fileno(), events)

    def _fail_sending(self, error: OSError) -> None:
        """Remember that the peer takes nothing more: what it sent before is still received."""
        self._pending = None
        self._send_error = error.strerror or str(error)

    def receive(self, sink: Sink, budget: int, now_ns: int) -> int:
        if not self.link_up:
            self._look_for_peer(now_ns)
            if not self.link_up:
                return 0
        if self._blocked:
            self.flush(now_ns)
        frames_before = self.counters.rx_frames
        limit = frames_before + budget
        while True:
            if self._end > self._start and not self._deliver(sink, limit, now_ns):
                break
            if self._sock is None or self.counters.rx_frames >= limit:
                break
            if not self._fill(now_ns):
                self._deliver(sink, limit, now_ns)
                if self._send_error and self._sock is not None and not self._frame_at_hand():
                    self._drop(now_ns, "peer-disconnected", self._send_error)
                break
        return self.counters.rx_frames - frames_before

    def _look_for_peer(self, now_ns: int) -> None:
        if self._connecting:
            self._finish_connecting(now_ns)
        elif isinstance(self._source, Listener):
            self._accept(now_ns)
        elif self._source is not None:
            self._connect(now_ns)

    def _fill(self, now_ns: int) -> bool:
        """Read once; True if there may be more to read."""
        if self._start == self._end:
            self._start = self._end = 0
        elif RECEIVE_BUFFER_BYTES - self._end < MAX_FRAME_BYTES:
            rest = self._end - self._start
            self._view[:rest] = self._view[self._start : self._end]
            self._start, self._end = 0, rest
        room = RECEIVE_BUFFER_BYTES - self._end
        assert self._sock is not None
        try:
            count = self._sock.recv_into(self._view[self._end :] if self._end else self._buffer)
        except BlockingIOError:
            return False
        except OSError as error:
            self._drop(now_ns, "peer-disconnected", error.strerror or str(error))
            return False
        if count == 0:
            if self._end > self._start:
                self._diagnose("peer-frame-cut-off", f"{self.name}: the last frame is incomplete")
            self._drop(now_ns, "peer-disconnected", "the peer closed the connection")
            return False
        self._end += count
        # After a failed send everything the peer sent before is read, up to the end.
        return count == room or bool(self._send_error)

    def _deliver(self, sink: Sink, limit: int, now_ns: int) -> bool:
        """Hand out whole frames until rx_frames is `limit`; False if the connection was dropped."""
        counters = self.counters
        view = self._view
        while counters.rx_frames < limit and self._end - self._start >= 4:
            begin = self._start + 4
            (length,) = _LENGTH.unpack_from(view, self._start)
            if not 0 < length <= MAX_FRAME_BYTES:
                detail = f"the peer announced a frame of {length} bytes (1 to {MAX_FRAME_BYTES})"
                self._diagnose("peer-frame-length", f"{self.name}: {detail}")
                self._drop(now_ns, "peer-frame-length", detail)
                return False
            end = begin + length
            if end > self._end:
                break
            self._start = end
            counters.rx_frames += 1
            counters.rx_bytes += length
            sink(view[begin:end], None)
        return True

    def _frame_at_hand(self) -> bool:
        """Whether `receive()` has something to do without reading: a frame, or a bad length."""
        available = self._end - self._start - 4
        if available < 0:
            return False
        length: int = _LENGTH.unpack_from(self._buffer, self._start)[0]
        return available >= length or length > MAX_FRAME_BYTES

    def close(self) -> None:
        super().close()
        sock, self._sock = self._sock, None
        if sock is not None:
            sock.close()
        source, self._source = self._source, None
        if source is not None:
            source.close()
        self._epoll.close()
        self._retry_at_ns = None
        self._connecting = self._blocked = False
        self._pending = None
        self._start = self._end = 0

    @property
    def listen_address(self) -> object:
        """Where a listening wire is bound (the port if 0 was asked for); None otherwise."""
        return self._source.address if isinstance(self._source, Listener) else None


def open_unix(path: str) -> StreamWire:
    """Connect to a Unix socket, now or when somebody listens there."""
    return StreamWire(f"unix:{path}", Connector(socket.AF_UNIX, unix_address(path), path))


def open_unix_listener(path: str) -> StreamWire:
    """Listen at a Unix socket; the path is removed on closing."""
    return _listening(f"unix-listen:{path}", Listener(socket.AF_UNIX, unix_address(path), path))


def open_tcp(address: str) -> StreamWire:
    """Connect to HOST:PORT, now or when somebody listens there; without a host, loopback."""
    family, resolved = tcp_address(address, listen=False)
    return StreamWire(f"tcp:{address}", Connector(family, resolved, address))


def open_tcp_listener(address: str) -> StreamWire:
    """Listen at HOST:PORT; without a host, on loopback only."""
    family, resolved = tcp_address(address, listen=True)
    return _listening(f"tcp-listen:{address}", Listener(family, resolved, address))


def _listening(name: str, listener: Listener) -> StreamWire:
    with contextlib.ExitStack() as undo:
        undo.callback(listener.close)
        wire = StreamWire(name, listener)
        undo.pop_all()
    return wire
