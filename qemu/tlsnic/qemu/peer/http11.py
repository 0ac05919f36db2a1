"""HTTP/1.1 of a server, without I/O (RFC 9112): bytes in, requests and pieces of their bodies out.

reader = RequestReader()
reader.feed(data)
request = reader.request()       # None: more bytes are needed
piece = reader.body()            # until `reader.body_left` is False
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import formatdate
from enum import Enum, auto
from http import HTTPStatus
from typing import Final, NamedTuple

HEAD_MOST: Final = 16384
"""Bytes of request line and header fields, and of a line of a chunked body."""
_TOKEN: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_REQUEST_LINE: Final = re.compile(
    rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([\x21-\x7e]+) HTTP/([0-9])[.]([0-9])"
)
_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?")
_LENGTH: Final = re.compile(r"[0-9]{1,15}")
_RANGE: Final = re.compile(r"bytes=[ \t]*(?:([0-9]+)-([0-9]*)|-([0-9]+))[ \t]*", re.IGNORECASE)


class HttpError(Exception):
    """The request cannot be served: `status` is the answer. After one that `RequestReader` raises, the
    connection has to be closed, for nobody knows where the next request begins."""

    def __init__(self, status: HTTPStatus, why: str = "") -> None:
        super().__init__(why or status.phrase)
        self.status = status


class Request(NamedTuple):
    """The head of a request. headers: names in lower case; values of one name joined by commas."""

    method: str
    target: str
    version: tuple[int, int]
    headers: Mapping[str, str]

    @property
    def keeps_alive(self) -> bool:
        """Whether the client wants the connection for more requests (RFC 9112 section 9.3)."""
        options = {
            option.strip().lower() for option in self.headers.get("connection", "").split(",")
        }
        if "close" in options:
            return False
        return self.version >= (1, 1) or "keep-alive" in options

    @property
    def expects_continue(self) -> bool:
        """Whether the client waits for 100 (Continue) before it sends the body."""
        return self.version >= (1, 1) and self.headers.get("expect", "").lower() == "100-continue"


class _Body(Enum):
    """What of the body comes next."""

    END = auto()
    PLAIN = auto()
    CHUNK_SIZE = auto()
    CHUNK = auto()
    CHUNK_END = auto()
    TRAILER = auto()


class RequestReader:
    """Reads the requests of one connection, one after the other. The body of one has to be taken before
    the next is asked for. Pieces of any size can be fed."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._next = _Body.END
        self._left = 0

    def feed(self, data: bytes) -> None:
        """Bytes from the client."""
        self._buffer += data

    @property
    def body_left(self) -> bool:
        """Whether the body of the last request is not at its end."""
        return self._next is not _Body.END

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing of a further request."""
        return not self._buffer

    def request(self) -> Request | None:
        """The next request, if its head is there. Raises HttpError: 400, 431, 501, 505."""
        assert not self.body_left, "the body was not taken"
        while self._buffer.startswith(b"\r\n"):  # RFC 9112 section 2.2
            del self._buffer[:2]
        end = self._buffer.find(b"\r\n\r\n")
        if max(end, len(self._buffer) if end < 0 else 0) > HEAD_MOST:
            raise HttpError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        if end < 0:
            return None
        line, *fields = bytes(self._buffer[:end]).split(b"\r\n")
        found = _REQUEST_LINE.fullmatch(line)
        if found is None:
            raise HttpError(HTTPStatus.BAD_REQUEST, "not a request line")
        version = int(found[3]), int(found[4])
        if version[0] != 1:
            raise HttpError(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
        headers = _headers(fields)
        if version >= (1, 1) and ("host" not in headers or "," in headers["host"]):
            raise HttpError(HTTPStatus.BAD_REQUEST, "not one Host")
        self._next, self._left = _body_of(headers)
        del self._buffer[: end + 4]
        return Request(found[1].decode(), found[2].decode(), version, headers)

    def body(self) -> bytes:
        """What is there of the body; empty when more bytes are needed, or at its end. Raises
        HttpError: 400."""
        pieces: list[bytes] = []
        while self._next is not _Body.END:
            if self._next in (_Body.PLAIN, _Body.CHUNK):
                piece = bytes(self._buffer[: self._left])
                del self._buffer[: len(piece)]
                self._left -= len(piece)
                pieces.append(piece)
                if self._left:
                    break
                self._next = _Body.END if self._next is _Body.PLAIN else _Body.CHUNK_END
            elif not self._read_line():
                break
        return b"".join(pieces)

    def _read_line(self) -> bool:
        """A line between chunks, or behind them (RFC 9112 section 7.1); False if it is not whole."""
        end = self._buffer.find(b"\r\n")
        if end < 0:
            if len(self._buffer) > HEAD_MOST:
                raise HttpError(HTTPStatus.BAD_REQUEST, "an endless line")
            return False
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        if self._next is _Body.CHUNK_SIZE:
            found = _CHUNK.fullmatch(line)
            if found is None:
                raise HttpError(HTTPStatus.BAD_REQUEST, "not a chunk")
            self._left = int(found[1], 16)
            self._next = _Body.CHUNK if self._left else _Body.TRAILER
        elif self._next is _Body.CHUNK_END:
            if line:
                raise HttpError(HTTPStatus.BAD_REQUEST, "a chunk that is longer than it says")
            self._next = _Body.CHUNK_SIZE
        elif not line:
            self._next = _Body.END
        return True


def _headers(fields: list[bytes]) -> dict[str, str]:
    found: dict[str, str] = {}
    for field in fields:
        name, colon, value = field.partition(b":")
        if not colon or _TOKEN.fullmatch(name) is None or b"\0" in value or b"\r" in value:
            raise HttpError(HTTPStatus.BAD_REQUEST, "not a header field")
        text, key = value.strip(b" \t").decode("latin-1"), name.decode().lower()
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found


def _body_of(headers: Mapping[str, str]) -> tuple[_Body, int]:
    """RFC 9112 section 6.3."""
    length, coding = headers.get("content-length"), headers.get("transfer-encoding")
    if coding is not None:
        if length is not None:
            raise HttpError(HTTPStatus.BAD_REQUEST, "two lengths")
        if coding.lower() != "chunked":
            raise HttpError(HTTPStatus.NOT_IMPLEMENTED, "a transfer coding")
        return _Body.CHUNK_SIZE, 0
    if length is None:
        return _Body.END, 0
    values = {value.strip() for value in length.split(",")}
    value = values.pop()
    if values or _LENGTH.fullmatch(value) is None:
        raise HttpError(HTTPStatus.BAD_REQUEST, "not a length")
    return (_Body.PLAIN if int(value) else _Body.END), int(value)


def parse_range(value: str, size: int) -> range | None:
    """The bytes that a Range field asks for of `size`; None when it is to be ignored: another unit, no
    range, or several (RFC 9110 section 14.2). Raises HttpError: 416."""
    found = _RANGE.fullmatch(value)
    if found is None:
        return None
    first, last, suffix = found.groups()
    if suffix is not None:
        start, end = max(size - int(suffix), 0), size
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None
    if start >= end:
        raise HttpError(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
    return range(start, end)


def response_head(status: int, headers: Mapping[str, str | int]) -> bytes:
    """Status line and header fields, with Date where it has to be."""
    lines = [f"HTTP/1.1 {status:d} {HTTPStatus(status).phrase}"]
    if status >= HTTPStatus.OK:
        lines.append(f"Date: {formatdate(usegmt=True)}")
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join((*lines, "", "")).encode("latin-1")
