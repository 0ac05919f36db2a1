"""Lays records out as the card wants them: header, nonce or IV, plaintext, and room for the rest.

The host's half of RFC 5246 section 6.2.3 and RFC 8446 section 5; the reference's TLS chapter says
what differs from the wire (the padding length in the header of CBC records).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from struct import Struct
from typing import NamedTuple, Protocol

from tlsnic.abi.suites import BLOCK_BYTES, HEADER_BYTES, MAX_PADDING, RecordKind
from tlsnic.driver.tls.session import ReadableBuffer, TlsSession

ALERT, HANDSHAKE, APPLICATION_DATA, HEARTBEAT = 21, 22, 23, 24
"""Content types of records that can be protected."""

_HEADER = Struct(">BHH")
_MAX_RECORD_NUMBER = (1 << 64) - 1


class Record(Protocol):
    """A laid-out record, wherever its bytes are; see `LaidOutRecord`."""

    @property
    def number(self) -> int: ...

    @property
    def data(self) -> bytes:
        """All of it; may be a copy."""

    @property
    def size(self) -> int:
        """Its bytes."""

    @property
    def prefix_bytes(self) -> int: ...

    @property
    def content_bytes(self) -> int: ...

    @property
    def padding(self) -> int: ...


class LaidOutRecord(NamedTuple):
    """A record as the host hands it to the card; as long as the wire record."""

    number: int
    """u64 record number."""
    content_type: int
    """TLS 1.3: the inner type."""
    data: bytes
    """All of the record."""
    prefix_bytes: int
    """Header with explicit nonce or IV."""
    content_bytes: int
    """Protected bytes between prefix and room; TLS 1.3: with inner type and zero padding."""
    padding: int
    """TLS 1.3: zeros behind the inner type. CBC: the padding length, 0 to 255. Else 0."""

    @property
    def size(self) -> int:
        """Its bytes."""
        return len(self.data)


class Framer:
    """Makes the records of one direction, one after the other."""

    def __init__(self, session: TlsSession, random: Callable[[int], bytes] = os.urandom) -> None:
        """`random(n)` gives n bytes, for explicit IVs."""
        self._random = random
        self.rekey(session)

    def rekey(self, session: TlsSession) -> None:
        """Go on with another session and its record number (TLS 1.3 KeyUpdate: zero)."""
        self.session = session
        self.next_number = session.record_number
        """Of the next record."""

    def frame(
        self,
        content_type: int,
        plaintext: ReadableBuffer,
        *,
        padding: int = 0,
        explicit: bytes | None = None,
    ) -> LaidOutRecord:
        """The next record.

        padding: TLS 1.3, zeros behind the inner type; CBC, bytes on top of the least padding, a
        multiple of 16. explicit: nonce or IV, instead of the record number (GCM) or random bytes
        (CBC). Raises ValueError, and OverflowError after record 2^64 - 1.
        """
        session, number = self.session, self.next_number
        layout = session.layout
        if not ALERT <= content_type <= HEARTBEAT:
            raise ValueError(f"records of type {content_type} are not protected")
        if number > _MAX_RECORD_NUMBER:
            raise OverflowError("no record numbers are left")
        length = len(plaintext)
        content = length + (1 + padding if layout.is_tls13 else 0)
        if padding < 0 or max(length, content - 1) > session.max_plaintext:
            raise ValueError(
                f"{length} bytes with padding {padding}; the limit is {session.max_plaintext}"
            )
        if explicit is None:
            explicit = self._explicit(number)
        elif len(explicit) != layout.explicit_bytes:
            raise ValueError(f"an explicit nonce or IV of {len(explicit)} bytes")
        wire_type, version, room = content_type, layout.wire_version, layout.tag_bytes
        inner = b""
        if layout.kind is RecordKind.CBC:
            padding = self._cbc_padding(length, padding)
            version = version & 0xFF00 | padding
            room += padding + 1
        elif layout.is_tls13:
            wire_type = APPLICATION_DATA
            inner = bytes((content_type,)) + bytes(padding)
        elif padding:
            raise ValueError(f"{layout.suite.name} has no padding")
        header = _HEADER.pack(wire_type, version, len(explicit) + content + room)
        data = b"".join((header, explicit, plaintext, inner, bytes(room)))
        self.next_number = number + 1
        return LaidOutRecord(
            number, content_type, data, HEADER_BYTES + len(explicit), content, padding
        )

    def _explicit(self, number: int) -> bytes:
        layout = self.session.layout
        if layout.kind is RecordKind.CBC:
            return self._random(layout.explicit_bytes) if layout.explicit_bytes else b""
        # RFC 5288 leaves the choice; the record number never repeats.
        return number.to_bytes(8, "big") if layout.explicit_bytes else b""

    def _cbc_padding(self, length: int, extra: int) -> int:
        """Padding length that fills the last block, and `extra` bytes more."""
        session = self.session
        blocks = length + (0 if session.encrypt_then_mac else session.layout.tag_bytes) + 1
        padding = -blocks % BLOCK_BYTES + extra
        if extra % BLOCK_BYTES or padding > MAX_PADDING:
            raise ValueError(f"{extra} bytes of padding more: a multiple of 16, at most 255 in all")
        return padding
