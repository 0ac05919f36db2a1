"""An HTTPS server on sockets of the KTLS model: what nginx is to FreeBSD's.

The handshake is OpenSSL's; then the socket has TLS: files go by sendfile, heads by write, alerts by
sendmsg with a record type, and what comes is read one record at a time. Each connection has a thread,
whose calls block; somebody else takes the stack's turns.
"""

from __future__ import annotations

import contextlib
import os
import ssl
from collections.abc import Callable
from errno import EBADMSG
from http import HTTPStatus
from pathlib import Path
from threading import Thread
from typing import Final
from urllib.parse import unquote

from tlsnic.driver.ktls.session import (
    IPPROTO_TCP,
    TCP_RXTLS_ENABLE,
    TCP_TXTLS_ENABLE,
    TLS_RLTYPE_ALERT,
    TLS_RLTYPE_APP,
    TLS_SET_RECORD_TYPE,
    TlsEnable,
)
from tlsnic.driver.ktls.socket import Socket
from tlsnic.driver.ktls.stack import Listener
from tlsnic.driver.tls.handshake import Handshake, HandshakeError
from tlsnic.qemu.peer.http11 import (
    HttpError,
    Request,
    RequestReader,
    parse_range,
    response_head,
)

UPLOADS: Final = "upload"
"""Folder, below the one that is served, for what is put there."""
_SENDFILE_BYTES: Final = 1 << 18
"""Of one call (nginx: sendfile_max_chunk): between two of them the mode can be switched."""
_RECORD_BYTES: Final = 1 << 15
_HEADER_BYTES: Final = 5
_IDLE_S: Final = 60.0
_CLOSE_NOTIFY, _UNEXPECTED_MESSAGE, _BAD_RECORD_MAC = (1, 0), (2, 10), (2, 20)

MakeContext = Callable[[], ssl.SSLContext]
Moved = Callable[[int], None]


class TlsSocket:
    """A connected socket with TLS in both directions. Attributes: `so`, `suite`; `first_record`: number of
    the first record after the handshake. Raises OSError and HandshakeError."""

    def __init__(self, so: Socket, context: ssl.SSLContext) -> None:
        """Makes the handshake, then hands the keys over."""
        self.so = so
        self._type = TLS_RLTYPE_APP
        handshake = Handshake(context, server_side=True)
        try:
            while True:
                pending = handshake.pending()
                if pending:
                    so.write(pending)
                if handshake.done:
                    break
                self._shake(handshake)
            transmit = handshake.transmit_session()
            self.first_record = transmit.record_number
            self.suite = handshake.suite
            so.setsockopt(IPPROTO_TCP, TCP_TXTLS_ENABLE, TlsEnable.of(transmit))
            receive = handshake.receive_session()
            so.setsockopt(IPPROTO_TCP, TCP_RXTLS_ENABLE, TlsEnable.of(receive))
        finally:
            handshake.close()

    def _shake(self, handshake: Handshake) -> None:
        """One record: what comes behind the last one is for the socket."""
        header = self._exactly(_HEADER_BYTES)
        try:
            handshake.receive(header + self._exactly(int.from_bytes(header[3:], "big")))
        except HandshakeError:
            self.so.write(handshake.pending())  # the alert
            raise

    def _exactly(self, count: int) -> bytes:
        found = b""
        while len(found) < count:
            piece = self.so.read(count - len(found))
            if not piece:
                raise HandshakeError("the client has gone during the handshake")
            found += piece
        return found

    def read(self) -> bytes:
        """Application data, at most a record; empty at the end of it."""
        while True:
            try:
                message = self.so.recvmsg(_RECORD_BYTES)
            except OSError as error:
                if error.errno == EBADMSG:
                    self.alert(_BAD_RECORD_MAC)
                raise
            if message.control is not None:
                self._type = message.control.tls_type
            if message.at_end or self._type == TLS_RLTYPE_ALERT:
                return b""
            if self._type != TLS_RLTYPE_APP:
                self.alert(_UNEXPECTED_MESSAGE)
                return b""
            if message.data:
                return message.data

    def alert(self, alert: tuple[int, int]) -> None:
        """Level and description (RFC 8446 section 6)."""
        kind = bytes((TLS_RLTYPE_ALERT,))
        self.so.sendmsg([bytes(alert)], [(IPPROTO_TCP, TLS_SET_RECORD_TYPE, kind)])

    def close(self) -> None:
        """Say good-bye, and end the connection when everything is sent."""
        with contextlib.suppress(OSError):
            self.alert(_CLOSE_NOTIFY)
        self.so.close()


class HttpsServer:
    """Attributes: `connections`, all that got TLS; `failures`, why others ended or these did; `statuses`,
    of all answers."""

    def __init__(
        self,
        listener: Listener,
        make_context: MakeContext,
        root: Path,
        moved: Moved = lambda _: None,
    ) -> None:
        """moved: is told of each piece of a file, its bytes, before it is sent or when it has come; it may
        wait."""
        self._listener = listener
        self._make_context = make_context
        self._root = root.resolve()
        self._moved = moved
        self.failures: list[str] = []
        self.statuses: list[int] = []
        self.connections: list[TlsSocket] = []
        self._threads: list[Thread] = []

    def accept(self) -> None:
        """Take what is there of connections; called after turns."""
        while self._listener.accepted:
            so = self._listener.accepted.popleft()
            thread = Thread(target=self._serve, args=(so,), name="https", daemon=True)
            self._threads.append(thread)
            thread.start()

    @property
    def is_busy(self) -> bool:
        """Whether any connection is being served."""
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        return bool(self._threads)

    def _serve(self, so: Socket) -> None:
        so.so_timeo_s = _IDLE_S
        try:
            tls = TlsSocket(so, self._make_context())
        except (OSError, HandshakeError) as error:
            self.failures.append(f"handshake: {error}")
            so.close()
            return
        self.connections.append(tls)
        try:
            _Connection(tls, self._root, self._moved, self.statuses).serve()
        except OSError as error:
            self.failures.append(f"connection: {error}")
        finally:
            tls.close()


class _Connection:
    """The requests of one connection, one after the other."""

    def __init__(self, tls: TlsSocket, root: Path, moved: Moved, statuses: list[int]) -> None:
        self._tls = tls
        self._so = tls.so
        self._root = root
        self._moved = moved
        self._statuses = statuses
        self._reader = RequestReader()

    def serve(self) -> None:
        """Until one side has enough."""
        keeps = True
        while keeps:
            try:
                request = self._reader.request()
                if request is None:
                    if not self._more():
                        return
                    continue
            except HttpError as error:
                self._refuse(error, None)
                return
            try:
                self._answer(request)
                keeps = request.keeps_alive
            except HttpError as error:
                keeps = self._refuse(error, request)

    def _more(self) -> bool:
        data = self._tls.read()
        self._reader.feed(data)
        return bool(data)

    def _answer(self, request: Request) -> None:
        path = unquote(request.target.partition("?")[0])
        if request.method in ("GET", "HEAD"):
            self._get(request, path)
        elif request.method in ("PUT", "POST"):
            self._put(request, path)
        elif request.method.isupper():
            raise HttpError(HTTPStatus.METHOD_NOT_ALLOWED)
        else:
            raise HttpError(HTTPStatus.NOT_IMPLEMENTED)

    def _get(self, request: Request, path: str) -> None:
        file = (self._root / path.lstrip("/")).resolve()
        if "\0" in path or not file.is_relative_to(self._root) or not file.is_file():
            raise HttpError(HTTPStatus.NOT_FOUND)
        if self._reader.body_left:
            raise HttpError(HTTPStatus.BAD_REQUEST, "a body")
        with file.open("rb", buffering=0) as stream:
            size = os.fstat(stream.fileno()).st_size
            asked = request.headers.get("range") if request.method == "GET" else None
            part = None if asked is None else parse_range(asked, size)
            headers: dict[str, str | int] = {"Accept-Ranges": "bytes"}
            if part is None:
                self._head(HTTPStatus.OK, headers | {"Content-Length": size})
                part = range(size)
            else:
                headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{size}"
                self._head(HTTPStatus.PARTIAL_CONTENT, headers | {"Content-Length": len(part)})
            if request.method == "GET":
                self._sendfile(stream.fileno(), part)

    def _sendfile(self, file: int, part: range) -> None:
        at = part.start
        while at < part.stop:
            count = min(_SENDFILE_BYTES, part.stop - at)
            self._moved(count)
            sent = self._so.sendfile(file, at, count)
            if not sent:  # nobody can say any more that it is not whole, but by ending
                raise OSError("the file has become shorter")
            at += sent

    def _put(self, request: Request, path: str) -> None:
        folder, _, name = path.lstrip("/").rpartition("/")
        if folder != UPLOADS or name in ("", ".", "..") or "\0" in name:
            raise HttpError(HTTPStatus.NOT_FOUND)
        if request.expects_continue and self._reader.body_left:
            self._so.write(response_head(HTTPStatus.CONTINUE, {}))
        place = self._root / UPLOADS / name
        place.parent.mkdir(exist_ok=True)
        with place.open("wb") as file:
            while True:
                data = self._reader.body()
                self._moved(len(data))
                file.write(data)
                if not self._reader.body_left:
                    break
                if not self._more():
                    raise OSError("the client has gone in the middle of a request")
        self._head(HTTPStatus.CREATED, {"Content-Length": 0})

    def _refuse(self, error: HttpError, request: Request | None) -> bool:
        """Answer that the request cannot be served; whether the connection can go on."""
        goes_on = request is not None and request.keeps_alive and not self._reader.body_left
        text = b"" if request is not None and request.method == "HEAD" else f"{error}\n".encode()
        headers: dict[str, str | int] = {"Content-Length": len(text), "Content-Type": "text/plain"}
        if error.status == HTTPStatus.METHOD_NOT_ALLOWED:
            headers["Allow"] = "GET, HEAD, PUT, POST"
        if not goes_on:
            headers["Connection"] = "close"
        self._head(error.status, headers, text)
        return goes_on

    def _head(
        self, status: HTTPStatus, headers: dict[str, str | int], content: bytes = b""
    ) -> None:
        self._statuses.append(status)
        self._so.write(response_head(status, headers) + content)
