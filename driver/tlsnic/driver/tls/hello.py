"""What the hello messages of a TLS handshake tell in clear: randoms, cipher, extensions.

RFC 5246 section 7.4.1 and RFC 8446 section 4.1. Records are passed in one after the other; what is
encrypted is not looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

CLIENT_HELLO: Final = 1
SERVER_HELLO: Final = 2
RECORD_HANDSHAKE: Final = 22
EXTENSION_MAX_FRAGMENT_LENGTH: Final = 1
"""RFC 6066 section 4."""
EXTENSION_ENCRYPT_THEN_MAC: Final = 22
"""RFC 7366."""

_RETRY_RANDOM: Final = bytes.fromhex(
    "cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c"
)
"""Marks a HelloRetryRequest (RFC 8446 section 4.1.3)."""


class MalformedHelloError(ValueError):
    """A hello message is not as the RFCs lay it out."""


@dataclass(frozen=True)
class Hello:
    """A ClientHello or a ServerHello."""

    random: bytes
    cipher: int
    """What the server chose (IANA number); 0 in a ClientHello."""
    extensions: dict[int, bytes]

    @property
    def is_retry(self) -> bool:
        """Whether this is a HelloRetryRequest."""
        return self.random == _RETRY_RANDOM


class HelloReader:
    """Finds the hello of one direction in its handshake records, however they are cut."""

    def __init__(self, kind: int) -> None:
        """`kind`: CLIENT_HELLO or SERVER_HELLO."""
        self.hello: Hello | None = None
        """The first ClientHello; the ServerHello that is no HelloRetryRequest."""
        self._kind = kind
        self._buffer = bytearray()

    def feed(self, record_type: int, payload: bytes) -> None:
        """The next record, without header. Raises MalformedHelloError."""
        if record_type != RECORD_HANDSHAKE or self.hello is not None:
            return
        self._buffer += payload
        while self.hello is None and len(self._buffer) >= 4:
            end = 4 + int.from_bytes(self._buffer[1:4], "big")
            if len(self._buffer) < end:
                return
            if self._buffer[0] == self._kind:
                found = parse_hello(self._kind, bytes(self._buffer[4:end]))
                if not found.is_retry:
                    self.hello = found
            del self._buffer[:end]


def parse_hello(kind: int, body: bytes) -> Hello:
    """A hello from its body, without type and length. Raises MalformedHelloError."""
    reader = _Reader(body)
    reader.take(2)
    random = reader.take(32)
    reader.vector(1)  # the id of an earlier connection
    cipher = 0
    if kind == CLIENT_HELLO:
        reader.vector(2)
        reader.vector(1)
    else:
        cipher = int.from_bytes(reader.take(2), "big")
        reader.take(1)
    extensions: dict[int, bytes] = {}
    if reader.left:
        block = _Reader(reader.vector(2))
        while block.left:
            number = int.from_bytes(block.take(2), "big")
            extensions[number] = block.vector(2)
    if reader.left:
        raise MalformedHelloError(f"{reader.left} bytes follow a hello")
    return Hello(random, cipher, extensions)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, size: int) -> bytes:
        if self.left < size:
            raise MalformedHelloError(f"a hello ends {size - self.left} bytes early")
        self._at += size
        return self._data[self._at - size : self._at]

    def vector(self, length_bytes: int) -> bytes:
        """Bytes behind their own length."""
        return self.take(int.from_bytes(self.take(length_bytes), "big"))
