"""The client's end of a vfio-user connection: requests and replies with deadlines, posted writes.

One request is on its way at a time. Replies that come after their deadline are recognised by
their message id and dropped. Requests that the server sends are refused, never left unanswered.
"""

from __future__ import annotations

import array
import contextlib
import errno
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Sequence
from types import TracebackType

from . import vfio_user_wire as wire
from .errors import BusError, BusGoneError, BusProtocolError, BusReplyError, BusTimeoutError

# Enough for the descriptors of one region info reply (one per mappable area).
_RECEIVE_FDS = 16
_RECEIVE_BYTES = 65536
_MESSAGE_OVERHEAD_BYTES = 4096  # header and structures around max_data_xfer_size bytes
# One send of at most this many bytes is one buffer in the kernel: it goes out whole or not at all,
# and a server that reads bodies without waiting for all of them (libvfio-user) finds them there.
MAX_SEND_BYTES = 16384
_POSTED_ID = 0  # posted writes have no reply, so they all share this message id

_COMMAND_NAMES = {
    wire.VERSION: "VERSION",
    wire.DMA_MAP: "DMA_MAP",
    wire.DMA_UNMAP: "DMA_UNMAP",
    wire.DEVICE_GET_INFO: "DEVICE_GET_INFO",
    wire.DEVICE_GET_REGION_INFO: "DEVICE_GET_REGION_INFO",
    wire.DEVICE_GET_REGION_IO_FDS: "DEVICE_GET_REGION_IO_FDS",
    wire.DEVICE_GET_IRQ_INFO: "DEVICE_GET_IRQ_INFO",
    wire.DEVICE_SET_IRQS: "DEVICE_SET_IRQS",
    wire.REGION_READ: "REGION_READ",
    wire.REGION_WRITE: "REGION_WRITE",
    wire.DEVICE_RESET: "DEVICE_RESET",
}


def connect(path: str, timeout_s: float) -> socket.socket:
    """A connected Unix stream socket. BusError with the fix when nobody listens there."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        _set_timeouts(sock, timeout_s)
        sock.connect(path)
    except BaseException as error:
        sock.close()
        if isinstance(error, BlockingIOError):
            raise BusError(
                f"{path}: the server accepts no connection",
                "another client (QEMU?) is attached; a server serves one at a time",
            ) from None
        if isinstance(error, FileNotFoundError):
            raise BusError(f"{path}: no such socket", "start the device first") from None
        if isinstance(error, ConnectionRefusedError):
            raise BusError(
                f"{path}: nobody listens on this socket",
                f"its server has died: rm {path}, and start the device again",
            ) from None
        if isinstance(error, OSError):
            reason = error.strerror or str(error)  # "AF_UNIX path too long" has no errno
            raise BusError(f"{path}: {reason}", errno=error.errno or 0) from None
        raise
    return sock


def _set_timeouts(sock: socket.socket, timeout_s: float) -> None:
    # The kernel's own timeouts: Python's would add a poll(2) to every single call.
    value = struct.pack("@ll", int(timeout_s), int(timeout_s % 1 * 1e6))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, value)


class Connection:
    """A vfio-user connection over a connected socket, which it owns from then on.

    Every reply is waited for at most `timeout_s`. `gone` becomes True when the server closes the
    connection or breaks the framing. Posted writes may come from any thread; requests from
    several threads take turns.
    """

    def __init__(self, sock: socket.socket, timeout_s: float = 5.0) -> None:
        self.gone = False
        self.timeout_s = timeout_s
        self.limits = wire.Limits(0, wire.DEFAULT_MAX_FDS, wire.DEFAULT_MAX_DATA_BYTES)
        self._sock = sock
        self._fd = sock.fileno()
        self._lock = threading.Lock()
        self._last_id = 0
        self._abandoned: set[int] = set()
        self._reader = wire.MessageReader(wire.DEFAULT_MAX_DATA_BYTES + _MESSAGE_OVERHEAD_BYTES)
        self._receive_buffer = bytearray(_RECEIVE_BYTES)
        self._receive_view = memoryview(self._receive_buffer)
        self._held: bytearray | None = None
        self._hold_depth = 0
        sock.settimeout(None)
        _set_timeouts(sock, timeout_s)

    @property
    def fd(self) -> int:
        """The socket, to be watched for hang-up; -1 when closed."""
        return self._fd

    # Opening and closing

    def negotiate(self) -> None:
        """Exchange VERSION; sets `limits`. BusError when the server does not agree."""
        request = wire.version_request(_RECEIVE_FDS, wire.DEFAULT_MAX_DATA_BYTES)
        try:
            reply = self.request(wire.VERSION, request)
        except BusTimeoutError as error:
            raise BusTimeoutError(
                f"no answer to VERSION within {self.timeout_s:g} s",
                "the server may be busy with another client (QEMU?): detach that one first",
            ) from error
        except BusGoneError as error:
            raise BusGoneError(
                "the server closed the connection instead of answering VERSION",
                "look at the server's log for what it did not accept",
            ) from error
        self.limits = wire.parse_version(reply)

    def close(self) -> None:
        """Close the socket; a second call does nothing."""
        if self._fd < 0:
            return
        self.gone = True
        self._fd = -1
        self._held = None
        self._reader.close()
        self._sock.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # Posted writes

    def post(self, message: bytes) -> None:
        """Send one or more complete messages that have no reply: at most MAX_SEND_BYTES.

        They vanish when the server is gone.
        Raises BusTimeoutError when the server does not read for `timeout_s`.
        """
        held = self._held
        if held is not None:
            if len(held) + len(message) > MAX_SEND_BYTES:
                self._flush()
            held += message
            return
        if self.gone:
            return
        try:
            os.write(self._fd, message)
        except OSError as error:
            self._send_failed(error)

    def hold(self) -> None:
        """Keep posted writes back, to send them together; nests."""
        self._hold_depth += 1
        if self._held is None:
            self._held = bytearray()

    def release(self) -> None:
        """Send what was kept back, at the outermost level."""
        self._hold_depth -= 1
        if self._hold_depth == 0:
            try:
                self._flush()
            finally:
                self._held = None

    def _flush(self) -> None:
        held = self._held
        if held:
            data = bytes(held)
            held.clear()
            if not self.gone:
                try:
                    os.write(self._fd, data)
                except OSError as error:
                    self._send_failed(error)

    def _send_failed(self, error: OSError) -> None:
        if error.errno == errno.EAGAIN:
            raise BusTimeoutError(
                f"the server has read nothing for {self.timeout_s:g} s",
                "it hangs, or is stopped in a debugger: use a longer timeout",
            ) from None
        self._lost()

    def _lost(self) -> None:
        self.gone = True
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)  # let a server that is still there know

    # Requests

    def request(self, command: int, payload: bytes = b"", fds: Sequence[int] = ()) -> bytes:
        """Send a command, wait for its reply: the reply's payload.

        Raises BusReplyError for an error reply, BusTimeoutError at the deadline, BusGoneError
        when the server is or goes away, BusProtocolError when it breaks the protocol.
        """
        return self._exchange(command, payload, fds, False).payload

    def request_fds(self, command: int, payload: bytes) -> wire.Message:
        """The same for a reply that may carry descriptors: the caller closes them."""
        return self._exchange(command, payload, (), True)

    def _exchange(
        self, command: int, payload: bytes, fds: Sequence[int], want_fds: bool
    ) -> wire.Message:
        with self._lock:
            if self.gone:
                raise BusGoneError(f"the server is gone; {_name(command)} was not sent")
            self._flush()
            msg_id = self._next_id()
            header = wire.HEADER.pack(msg_id, command, wire.HEADER.size + len(payload), 0, 0)
            self._send(header + payload, fds)
            try:
                reply = self._await(msg_id, command, want_fds)
            except BaseException:
                self._abandoned.add(msg_id)
                raise
        if reply.command != command:
            reply.close_fds()
            raise BusProtocolError(f"the reply to {_name(command)} carries command {reply.command}")
        if reply.flags & wire.FLAG_ERROR:
            reply.close_fds()
            number = reply.error or errno.EINVAL
            raise BusReplyError(
                f"the server refused {_name(command)}: {os.strerror(number)}", errno=number
            )
        return reply

    def _next_id(self) -> int:
        msg_id = self._last_id
        while True:
            msg_id = msg_id % 0xFFFF + 1  # 1 to 0xffff: posted writes have 0
            if msg_id not in self._abandoned:
                self._last_id = msg_id
                return msg_id
            if len(self._abandoned) >= 0xFFFF:
                raise BusTimeoutError("65535 requests were never answered")

    def _send(self, message: bytes, fds: Sequence[int]) -> None:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        sent = 0
        try:
            sent = self._sock.sendmsg([message[:MAX_SEND_BYTES]], rights)
            while sent < len(message):
                sent += self._sock.send(message[sent : sent + MAX_SEND_BYTES])
        except OSError as error:
            if sent:  # half a message is out: nothing after it would be understood
                self._lost()
            self._send_failed(error)
            raise BusGoneError("the server closed the connection") from None
        except BaseException:
            if sent:
                self._lost()
            raise

    def _await(self, msg_id: int, command: int, want_fds: bool) -> wire.Message:
        deadline = 0.0
        while True:
            while (message := self._next_message()) is not None:
                if self._is_answer(message, msg_id):
                    return message
            if deadline:
                left_s = deadline - time.monotonic()
                poller = select.poll()
                poller.register(self._fd, select.POLLIN)
                if left_s <= 0 or not poller.poll(left_s * 1000):
                    raise self._too_late(command)
            else:
                # The first wait is the kernel's receive timeout: one system call per reply.
                deadline = time.monotonic() + self.timeout_s
            try:
                self._receive(want_fds, 0)
            except BlockingIOError:
                raise self._too_late(command) from None
            if self.gone:
                raise BusGoneError(
                    f"the server closed the connection instead of answering {_name(command)}"
                )

    def _too_late(self, command: int) -> BusTimeoutError:
        return BusTimeoutError(
            f"no answer to {_name(command)} within {self.timeout_s:g} s",
            "the server hangs, or is stopped in a debugger: use a longer timeout",
        )

    def _is_answer(self, message: wire.Message, msg_id: int) -> bool:
        if not message.is_reply:
            self._refuse(message)
            return False
        if message.id == msg_id:
            return True
        message.close_fds()
        if message.id in self._abandoned:
            self._abandoned.discard(message.id)
            return False
        raise BusProtocolError(
            f"a reply with id {message.id} arrived, which answers nothing (awaited: {msg_id})"
        )

    def _refuse(self, message: wire.Message) -> None:
        # A server sends DMA_READ and DMA_WRITE for memory it has no descriptor for; all ours has
        # one, and peers disagree on the width of the count. An error reply lets it carry on.
        message.close_fds()
        if not message.flags & wire.FLAG_NO_REPLY:
            flags = wire.TYPE_REPLY | wire.FLAG_ERROR
            with contextlib.suppress(BusGoneError):
                self._send(
                    wire.HEADER.pack(
                        message.id, message.command, wire.HEADER.size, flags, errno.EOPNOTSUPP
                    ),
                    (),
                )

    # Receiving

    def _next_message(self) -> wire.Message | None:
        try:
            return self._reader.next()
        except BusProtocolError:
            self._lost()  # where the next message begins is unknown from here on
            raise

    def _receive(self, want_fds: bool, flags: int) -> None:
        """One read from the socket; sets `gone` at its end. BlockingIOError at the deadline."""
        try:
            if want_fds:
                space = socket.CMSG_SPACE(_RECEIVE_FDS * array.array("i").itemsize)
                count, ancillary, _, _ = self._sock.recvmsg_into(
                    [self._receive_view], space, flags | socket.MSG_CMSG_CLOEXEC
                )
                self._reader.feed(self._receive_view[:count], _descriptors(ancillary))
            else:
                # Without room for descriptors, the kernel closes any that come along.
                count = self._sock.recv_into(self._receive_buffer, 0, flags)
                self._reader.feed(self._receive_view[:count])
        except ConnectionError:
            count = 0
        if count == 0:
            self._lost()

    def service(self) -> bool:
        """Take what the server sent on its own, without waiting; False when it is gone."""
        if not self._lock.acquire(blocking=False):
            return True  # a request is on its way, and looks after it
        try:
            if not self.gone:
                with contextlib.suppress(BlockingIOError):
                    self._receive(False, socket.MSG_DONTWAIT)
                while (message := self._next_message()) is not None:
                    self._is_answer(message, -1)
        finally:
            self._lock.release()
        return not self.gone


def _descriptors(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    fds = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return list(fds)


def _name(command: int) -> str:
    return _COMMAND_NAMES.get(command, f"command {command}")


def posted_write(region: int, offset: int, value: int, width: int) -> bytes:
    """A complete REGION_WRITE that asks for no reply; `width` 1, 2, 4 or 8 bytes."""
    layout = wire.POSTED_WRITE[width]
    return layout.pack(
        _POSTED_ID,
        wire.REGION_WRITE,
        layout.size,
        wire.FLAG_NO_REPLY,
        0,
        offset,
        region,
        width,
        value,
    )
