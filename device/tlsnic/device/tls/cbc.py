"""AES-CBC records with HMAC: TLS 1.0, 1.1 and 1.2, MAC before or after encryption.

RFC 2246 and RFC 5246 section 6.2.3.2 (MAC, padding, then encryption), RFC 7366 (encryption, then
MAC). TLS 1.0 has no IV on the wire: the last ciphertext block of a record is the IV of the next.
"""

from struct import Struct
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from cryptography.hazmat.primitives.hmac import HMAC

from tlsnic.abi.suites import BLOCK_BYTES, HEADER_BYTES
from tlsnic.device.packet.headers import Buffer
from tlsnic.device.tls.keys import KeyMaterial
from tlsnic.device.tls.record import (
    Record,
    RecordCipher,
    RecordFormat,
    RecordStream,
    UnknownIv,
    WipedKey,
)

CHAIN_RECORDS: Final = 256
"""TLS 1.0: that many records before the next one can be sent again."""

_DIGESTS: Final = {20: hashes.SHA1(), 32: hashes.SHA256(), 48: hashes.SHA384()}
_MAC_HEADER: Final = Struct(">Q3sH")


class _Chain:
    """IVs of the next TLS 1.0 record and of those before it."""

    __slots__ = ("_ivs", "first", "next")

    SLOTS = CHAIN_RECORDS + 1

    def __init__(self, first_number: int, iv: Buffer) -> None:
        self.first = first_number
        self.next = first_number
        self._ivs = bytearray(iv)

    def get(self, number: int) -> bytes | None:
        if not max(self.first, self.next - CHAIN_RECORDS) <= number <= self.next:
            return None
        at = (number - self.first) % self.SLOTS * BLOCK_BYTES
        return bytes(self._ivs[at : at + BLOCK_BYTES])

    def put(self, number: int, iv: bytes) -> None:
        """Take the IV of the record behind the last known; those that are known stay."""
        if number == self.next + 1:
            at = (number - self.first) % self.SLOTS * BLOCK_BYTES
            self._ivs[at : at + BLOCK_BYTES] = iv  # appends until all slots are there
            self.next = number

    def wipe(self) -> None:
        """Overwrite the IVs; none is known any more."""
        self._ivs[:] = bytes(len(self._ivs))
        self.next = self.first - 1


class CbcCipher(RecordCipher):
    """AES-128-CBC and AES-256-CBC with HMAC-SHA-1, SHA-256 or SHA-384."""

    __slots__ = ("_chain", "_digest", "_format", "_keys", "_wiped")

    block_bytes = BLOCK_BYTES

    def __init__(self, record_format: RecordFormat, keys: KeyMaterial, first_number: int) -> None:
        self._format = record_format
        self._keys = keys
        self._digest = _DIGESTS[record_format.layout.tag_bytes]
        self._wiped = False
        chains = record_format.layout.explicit_bytes == 0
        self._chain = _Chain(first_number, keys.iv) if chains else None

    @property
    def key_bytes(self) -> int:
        return len(self._keys.key)

    def can_start(self, number: int) -> bool:
        return self._chain is None or self._chain.get(number) is not None

    def iv_of(self, number: int) -> bytes | None:
        return self._chain.get(number) if self._chain else None

    def seal(self, record: Record, content: Buffer, out: memoryview) -> None:
        if len(content) != record.content_bytes:
            raise ValueError(f"{len(content)} of {record.content_bytes} bytes of content")
        stream = self.begin(record)
        stream.update(bytes(content) + bytes(len(out) - len(content)), out)
        if stream.position != record.total_bytes:
            raise ValueError(f"{stream.position} of {record.total_bytes} bytes")

    def seal_run(self, record: Record, count: int, laid_out: memoryview, out: memoryview) -> None:
        body = self._format.prefix_bytes
        total = record.total_bytes
        while True:
            out[:body] = record.prefix
            self.seal(record, laid_out[body : body + record.content_bytes], out[body:total])
            count -= 1
            if not count:
                return
            laid_out, out = laid_out[total:], out[total:]
            prefix = record.prefix[:HEADER_BYTES] + bytes(laid_out[HEADER_BYTES:body])
            record = record._replace(number=record.number + 1, prefix=prefix)

    def begin(self, record: Record) -> RecordStream:
        if self._wiped:
            raise WipedKey
        iv: bytes | None
        if self._chain:
            iv = self._chain.get(record.number)
            if iv is None:
                raise UnknownIv
        else:
            iv = record.prefix[HEADER_BYTES:]
        encryptor = Cipher(algorithms.AES(self._keys.key), modes.CBC(iv)).encryptor()
        mac = HMAC(self._keys.mac_key, self._digest)
        return _CbcStream(self._format, record, encryptor, mac, self._chain)

    def keystream_xor(self, record: Record, offset: int, data: Buffer, out: memoryview) -> None:
        raise ValueError("CBC has no keystream")

    def wipe(self) -> None:
        self._wiped = True
        self._keys.wipe()
        if self._chain:
            self._chain.wipe()


class _CbcStream(RecordStream):
    """Whole blocks through the cipher; those that reach beyond a piece are kept for the next."""

    __slots__ = (
        "_ahead", "_chain", "_cipher_end", "_content_end", "_encryptor", "_mac", "_trailer",
    )  # fmt: skip

    def __init__(
        self,
        record_format: RecordFormat,
        record: Record,
        encryptor: CipherContext,
        mac: HMAC,
        chain: _Chain | None,
    ) -> None:
        super().__init__(record_format, record)
        self._content_end = self.position + record.content_bytes
        self._cipher_end = record_format.cipher_end(record)
        self._encryptor = encryptor
        self._mac = mac
        self._chain = chain
        self._ahead = b""
        self._trailer: bytes | None = None
        number, prefix, content_bytes, _, _ = record
        if record_format.encrypt_then_mac:
            body = self._cipher_end - HEADER_BYTES
            mac.update(_MAC_HEADER.pack(number, prefix[:3], body) + prefix[HEADER_BYTES:])
        else:
            mac.update(_MAC_HEADER.pack(number, prefix[:3], content_bytes))

    def update(self, data: Buffer, out: memoryview, suffix: Buffer = b"") -> None:
        end = self._check(data, out, suffix)
        needed = self.suffix_bytes(end)
        ready = self._ahead
        if len(ready) < len(data):
            rest = b"".join((memoryview(data)[len(ready) :], memoryview(suffix)[:needed]))
            ready += self._encrypt(self.position + len(ready), rest)
        out[:] = ready[: len(data)]
        self._ahead = ready[len(data) :]
        self.position = end

    def _encrypt(self, start: int, laid_out: bytes) -> bytes:
        """The wire bytes of `laid_out`, which ends with a block or behind the ciphertext."""
        end = start + len(laid_out)
        if start >= self._cipher_end:
            return self._mac.copy().finalize()[start - self._cipher_end : end - self._cipher_end]
        cipher_end = min(end, self._cipher_end)
        plain = laid_out[: cipher_end - start]
        if self._format.encrypt_then_mac:
            wire = self._encryptor.update(self._with_trailer(start, plain))
            self._mac.update(wire)
            if end > self._cipher_end:
                wire += self._mac.copy().finalize()[: end - self._cipher_end]
            return wire
        self._mac.update(plain[: max(self._content_end - start, 0)])
        wire = self._encryptor.update(self._with_trailer(start, plain))
        if self._chain and cipher_end == self._cipher_end:
            self._chain.put(self.record.number + 1, wire[-BLOCK_BYTES:])
        return wire

    def _with_trailer(self, start: int, plain: bytes) -> bytes:
        """`plain` with padding, and the MAC if it is encrypted too, in the room for them."""
        end = start + len(plain)
        if end <= self._content_end:
            return plain
        if self._trailer is None:
            padding = self.record.padding
            self._trailer = bytes((padding,)) * (padding + 1)
            if not self._format.encrypt_then_mac:
                self._trailer = self._mac.copy().finalize() + self._trailer
        skipped = max(start - self._content_end, 0)
        trailer = self._trailer[skipped : end - self._content_end]
        return plain[: max(self._content_end - start, 0)] + trailer
