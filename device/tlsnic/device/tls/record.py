"""What a record header says, and what it takes to encrypt a record: the interface of the ciphers.

A *laid-out* record is what the host hands to the device: header, explicit nonce or IV, plaintext,
and room for what the device fills in. It is exactly as long as the *wire* record made from it.
"""

from abc import ABC, abstractmethod
from struct import Struct
from typing import Final, NamedTuple

from tlsnic.abi.suites import (
    BLOCK_BYTES,
    HEADER_BYTES,
    MAX_PADDING,
    MAX_PLAINTEXT,
    RecordKind,
    SuiteLayout,
)
from tlsnic.device.packet.headers import Buffer

_HEADER: Final = Struct(">BHH")
_PREFIX: Final = {size: Struct(f"{size}s") for size in (5, 13, 21)}
_VERSION_BYTE: Final = 2
"""Where the minor version is; in laid-out CBC records, the padding length."""
_APPLICATION_DATA: Final = 23
_REMEMBERED_HEADERS: Final = 64
"""Of one format: streams repeat a few record lengths over and over."""

_new = tuple.__new__


class BadRecord(Exception):
    """A record header, laid out by the host, that the flow cannot encrypt."""


class WipedKey(Exception):
    """Something was to be encrypted with a key that was wiped."""


class UnknownIv(Exception):
    """A TLS 1.0 record whose IV, the last block of the record before, is not known."""


class Record(NamedTuple):
    """One record, from its number and header."""

    number: int
    """u64 sequence number of the record."""
    prefix: bytes
    """Header and explicit nonce or IV, as on the wire."""
    content_bytes: int
    """Protected bytes between prefix and trailer. AEAD: everything up to the tag (TLS 1.3: inner
    type and padding included). CBC: the content before MAC and padding."""
    padding: int
    """CBC: padding length, 0 to 255, as in the padding bytes. AEAD: 0."""
    total_bytes: int
    """The whole record on the wire, header included."""


class RecordFormat:
    """How the records of a flow are laid out. Does not change, so flows may share one.

    Raises:
        ValueError: the suite has no such form (encrypt-then-MAC is for CBC, TLS 1.1 and later), or
            max_plaintext is not 1 to 16384.
    """

    __slots__ = (
        "_max_content", "_min_content", "_overhead", "_sizes", "_types", "_version", "_wire_prefix",
        "encrypt_then_mac", "is_cbc", "layout", "max_plaintext", "prefix_bytes",
    )  # fmt: skip

    def __init__(self, layout: SuiteLayout, encrypt_then_mac: bool, max_plaintext: int) -> None:
        self.is_cbc = layout.kind is RecordKind.CBC
        if encrypt_then_mac and not (self.is_cbc and layout.explicit_bytes):
            raise ValueError(f"encrypt-then-MAC with {layout.suite.name}")
        if not 1 <= max_plaintext <= MAX_PLAINTEXT:
            raise ValueError(f"records of {max_plaintext} bytes of plaintext")
        self.layout = layout
        self.encrypt_then_mac = encrypt_then_mac
        self.max_plaintext = max_plaintext
        self.prefix_bytes = layout.prefix_bytes
        """Header and explicit nonce or IV."""
        self._version = layout.wire_version
        self._wire_prefix = _PREFIX[layout.prefix_bytes]
        self._overhead = layout.explicit_bytes + layout.tag_bytes
        inner_type_bytes = int(layout.is_tls13)
        self._min_content = inner_type_bytes
        self._max_content = max_plaintext + inner_type_bytes
        self._sizes: dict[bytes, tuple[int, int, int]] = {}
        self._types = (_APPLICATION_DATA,) if layout.is_tls13 else (21, 22, 23, 24)

    def parse(self, number: int, prefix: Buffer, at: int = 0) -> Record:
        """The record whose prefix_bytes are at byte `at` of `prefix`, as the host laid them out.

        Reads them once, so that a host that changes them meanwhile gains nothing.

        Raises:
            BadRecord: type, version or length is none that the flow can have.
        """
        (wire,) = self._wire_prefix.unpack_from(prefix, at)
        sizes = self._sizes.get(wire[:HEADER_BYTES])
        if sizes is None:
            sizes = self._measure(*_HEADER.unpack_from(wire))
            if len(self._sizes) >= _REMEMBERED_HEADERS:
                self._sizes.clear()
            self._sizes[wire[:HEADER_BYTES]] = sizes
        if self.is_cbc:
            wire = wire[:2] + self._minor_version + wire[3:]
        return _new(Record, (number, wire, *sizes))

    def header_total(self, header: Buffer) -> int:
        """Bytes of the whole record that begins with the 5 bytes `header`.

        Raises:
            BadRecord: as parse().
        """
        return self._measure(*_HEADER.unpack_from(header))[2]

    def wire_prefix_part(self, part: Buffer, offset: int) -> bytes:
        """Bytes of the prefix from `offset` on, from as laid out to as on the wire."""
        at = _VERSION_BYTE - offset
        if self.is_cbc and 0 <= at < len(part):
            return bytes(part[:at]) + self._minor_version + bytes(part[at + 1 :])
        return bytes(part)

    def cipher_end(self, record: Record) -> int:
        """Offset in the record where its ciphertext ends: before the tag, or CBC's later MAC."""
        if not self.is_cbc or self.encrypt_then_mac:
            return record.total_bytes - self.layout.tag_bytes
        return record.total_bytes

    def suffix_bytes(self, record: Record, end: int) -> int:
        """Bytes behind record offset `end` that are needed to encrypt up to `end`: 0 to 15.

        CBC: the rest of the cipher block that `end` cuts. Otherwise none.
        """
        if not self.is_cbc or not self.prefix_bytes < end < self.cipher_end(record):
            return 0
        return (self.prefix_bytes - end) % BLOCK_BYTES

    @property
    def _minor_version(self) -> bytes:
        return bytes((self._version & 0xFF,))

    def _measure(self, kind: int, version: int, length: int) -> tuple[int, int, int]:
        """Content, padding and total bytes from the fields of a header."""
        content = length - self._overhead
        if self.is_cbc:
            padding = version & MAX_PADDING
            blocks = content if self.encrypt_then_mac else content + self.layout.tag_bytes
            content -= padding + 1
            fits = version >> 8 == self._version >> 8 and not blocks % BLOCK_BYTES
        else:
            padding = 0
            fits = version == self._version
        if fits and self._min_content <= content <= self._max_content and kind in self._types:
            return content, padding, HEADER_BYTES + length
        raise BadRecord(f"type {kind}, version {version:#06x}, length {length}")


class RecordStream(ABC):
    """One record, encrypted in order in pieces cut anywhere."""

    __slots__ = ("_format", "position", "record")

    def __init__(self, record_format: RecordFormat, record: Record) -> None:
        self._format = record_format
        self.record = record
        self.position = record_format.prefix_bytes
        """Offset in the record of the next byte."""

    def suffix_bytes(self, end: int) -> int:
        """As RecordFormat.suffix_bytes."""
        return self._format.suffix_bytes(self.record, end)

    @abstractmethod
    def update(self, data: Buffer, out: memoryview, suffix: Buffer = b"") -> None:
        """Encrypt the next bytes.

        Args:
            data: the host's bytes from `position` on: content, then room, whose contents do not
                matter.
            out: takes the bytes of the wire record, as many as `data` has. Must not overlap it.
            suffix: the host's bytes behind `data`, suffix_bytes() of them or more. They come again
                as `data` of the next update, which ignores what they say then.

        Raises:
            ValueError: beyond the record's end, `out` is not as long as `data`, or `suffix` is
                too short. Nothing was changed.
        """

    def _check(self, data: Buffer, out: memoryview, suffix: Buffer) -> int:
        """Where `data` ends in the record; see update()."""
        end = self.position + len(data)
        if end > self.record.total_bytes or len(out) != len(data):
            raise ValueError(f"{len(data)} bytes at {self.position} into {len(out)}")
        if len(suffix) < self.suffix_bytes(end):
            raise ValueError(f"{len(suffix)} bytes of suffix at {end}")
        return end


class RecordCipher(ABC):
    """Encrypts the records of one key, any record at any time."""

    __slots__ = ()

    block_bytes: int = 1
    """What ciphertext must be made in units of: 1, or 16 for CBC."""

    @property
    @abstractmethod
    def key_bytes(self) -> int:
        """Length of the key: some suites can have several."""

    def can_start(self, number: int) -> bool:
        """Whether record `number` can be encrypted. TLS 1.0: while its IV is remembered."""
        del number
        return True

    def iv_of(self, number: int) -> bytes | None:
        """TLS 1.0: IV of record `number`, if known. None for all others."""
        del number
        return None

    @abstractmethod
    def seal(self, record: Record, content: Buffer, out: memoryview) -> None:
        """Encrypt a whole record.

        Args:
            record: from RecordFormat.parse.
            content: its content_bytes bytes.
            out: takes what follows the prefix on the wire: exactly total_bytes - prefix_bytes.

        Raises:
            ValueError: a buffer has another length.
            UnknownIv: not can_start().
            WipedKey: after wipe().
        """

    @abstractmethod
    def seal_run(self, record: Record, count: int, laid_out: memoryview, out: memoryview) -> None:
        """Encrypt whole records that lie one behind the other and have the same header.

        Args:
            record: the first one, from RecordFormat.parse; its header is taken for all.
            count: how many.
            laid_out: the records as the host laid them out, count * total_bytes.
            out: takes as many bytes as on the wire, headers included.

        Raises:
            UnknownIv, WipedKey: as seal().
        """

    @abstractmethod
    def begin(self, record: Record) -> RecordStream:
        """Encrypt a record in pieces.

        Raises:
            UnknownIv, WipedKey: as seal().
        """

    @abstractmethod
    def keystream_xor(self, record: Record, offset: int, data: Buffer, out: memoryview) -> None:
        """AEAD: encrypt a part of the content alone; `offset` 0 is the first byte behind the prefix.

        Args:
            record: from RecordFormat.parse.
            offset: where `data` starts, in bytes.
            data: wholly inside the content.
            out: takes as many bytes as `data` has. Must not overlap it.

        Raises:
            ValueError: outside the content, another length of `out`, or a CBC suite.
            WipedKey: after wipe().
        """

    @abstractmethod
    def wipe(self) -> None:
        """Overwrite the keys. Streams that are still held keep what they made of them."""
