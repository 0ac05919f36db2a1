"""Seals AES-GCM and ChaCha20-Poly1305 records of TLS 1.2 and 1.3.

Whole records go through the one-shot ciphers. Pieces of a record in order go through a streaming
cipher, and a piece alone is XORed with its part of the keystream, which starts at block 2 of AES in
counter mode (NIST SP 800-38D section 7.1) or block 1 of ChaCha20 (RFC 8439 section 2.8).
"""

from abc import abstractmethod

from cryptography.hazmat.primitives.ciphers import (
    AEADEncryptionContext,
    Cipher,
    CipherContext,
    algorithms,
    modes,
)
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.poly1305 import Poly1305

from tlsnic.abi.suites import BLOCK_BYTES, HEADER_BYTES
from tlsnic.device.packet.headers import Buffer
from tlsnic.device.tls.aead_key import (
    CHACHA_BLOCK_BYTES,
    CHACHA_FIRST_BLOCK,
    GCM_FIRST_BLOCK,
    POLY1305_KEY_BYTES,
    POLY1305_LENGTHS,
    AeadKey,
)
from tlsnic.device.tls.record import Record, RecordCipher, RecordFormat, RecordStream


class AeadCipher(AeadKey, RecordCipher):
    """What both AEAD ciphers share."""

    __slots__ = ()

    def seal(self, record: Record, content: Buffer, out: memoryview) -> None:
        number, prefix, content_bytes, _, _ = record
        nonce, aad = self._inputs(self._keys.iv, number, prefix, content_bytes)
        (self._aead or self._expand()).encrypt_into(nonce, content, aad, out)

    def seal_run(self, record: Record, count: int, laid_out: memoryview, out: memoryview) -> None:
        number, prefix, content_bytes, _, total = record
        inputs, iv = self._inputs, self._keys.iv
        encrypt_into = (self._aead or self._expand()).encrypt_into
        header, prefix_bytes = prefix[:HEADER_BYTES], len(prefix)
        begin = 0
        while True:
            body, end = begin + prefix_bytes, begin + total
            nonce, aad = inputs(iv, number, prefix, content_bytes)
            out[begin:body] = prefix
            encrypt_into(nonce, laid_out[body : body + content_bytes], aad, out[body:end])
            count -= 1
            if not count:
                return
            number += 1
            begin = end
            if prefix_bytes > HEADER_BYTES:
                prefix = header + bytes(laid_out[begin + HEADER_BYTES : begin + prefix_bytes])

    def begin(self, record: Record) -> RecordStream:
        self._check_key()
        return self._stream(record, *self._inputs_of(record))

    def keystream_xor(self, record: Record, offset: int, data: Buffer, out: memoryview) -> None:
        if offset < 0 or offset + len(data) > record.content_bytes or len(out) != len(data):
            raise ValueError(f"{len(data)} bytes at {offset} of {record.content_bytes}")
        self._check_key()
        nonce, _ = self._inputs_of(record)
        self._keystream_at(nonce, offset).update_into(data, out)

    @abstractmethod
    def _stream(self, record: Record, nonce: Buffer, aad: bytes) -> RecordStream: ...

    @abstractmethod
    def _keystream_at(self, nonce: Buffer, offset: int) -> CipherContext: ...


class GcmCipher(AeadCipher):
    """AES-128-GCM and AES-256-GCM."""

    __slots__ = ()

    def _new_aead(self) -> AESGCM:
        return AESGCM(self._keys.key)

    def _stream(self, record: Record, nonce: Buffer, aad: bytes) -> RecordStream:
        context = Cipher(algorithms.AES(self._keys.key), modes.GCM(bytes(nonce))).encryptor()
        context.authenticate_additional_data(aad)
        return _GcmStream(self._format, record, context)

    def _keystream_at(self, nonce: Buffer, offset: int) -> CipherContext:
        block, skip = divmod(offset, BLOCK_BYTES)
        counter = bytes(nonce) + (GCM_FIRST_BLOCK + block).to_bytes(4, "big")
        context = Cipher(algorithms.AES(self._keys.key), modes.CTR(counter)).encryptor()
        context.update(bytes(skip))
        return context


class ChaChaCipher(AeadCipher):
    """ChaCha20-Poly1305."""

    __slots__ = ()

    def _new_aead(self) -> ChaCha20Poly1305:
        return ChaCha20Poly1305(self._keys.key)

    def _stream(self, record: Record, nonce: Buffer, aad: bytes) -> RecordStream:
        context = self._keystream(nonce, 0)
        poly1305 = Poly1305(context.update(bytes(CHACHA_BLOCK_BYTES))[:POLY1305_KEY_BYTES])
        return _ChaChaStream(self._format, record, context, poly1305, aad)

    def _keystream_at(self, nonce: Buffer, offset: int) -> CipherContext:
        block, skip = divmod(offset, CHACHA_BLOCK_BYTES)
        context = self._keystream(nonce, CHACHA_FIRST_BLOCK + block)
        context.update(bytes(skip))
        return context

    def _keystream(self, nonce: Buffer, block: int) -> CipherContext:
        start = block.to_bytes(4, "little") + bytes(nonce)
        return Cipher(algorithms.ChaCha20(self._keys.key, start), None).encryptor()


class _AeadStream(RecordStream):
    """Content through the cipher, then the tag."""

    __slots__ = ("_content_end", "_tag")

    def __init__(self, record_format: RecordFormat, record: Record) -> None:
        super().__init__(record_format, record)
        self._content_end = record_format.cipher_end(record)
        self._tag: bytes | None = None

    def update(self, data: Buffer, out: memoryview, suffix: Buffer = b"") -> None:
        end = self._check(data, out, suffix)
        content = min(max(self._content_end - self.position, 0), len(data))
        if content:
            self._encrypt(memoryview(data)[:content], out[:content])
        if end > self._content_end:
            if self._tag is None:
                self._tag = self._finish()
            start = self.position + content - self._content_end
            out[content:] = self._tag[start : end - self._content_end]
        self.position = end

    @abstractmethod
    def _encrypt(self, data: memoryview, out: memoryview) -> None: ...

    @abstractmethod
    def _finish(self) -> bytes:
        """The tag."""


class _GcmStream(_AeadStream):
    __slots__ = ("_context",)

    def __init__(
        self, record_format: RecordFormat, record: Record, context: AEADEncryptionContext
    ) -> None:
        super().__init__(record_format, record)
        self._context = context

    def _encrypt(self, data: memoryview, out: memoryview) -> None:
        self._context.update_into(data, out)

    def _finish(self) -> bytes:
        self._context.finalize()
        return self._context.tag


class _ChaChaStream(_AeadStream):
    """RFC 8439 section 2.8: the tag is over aad and ciphertext, each padded to 16, and their lengths."""

    __slots__ = ("_aad_bytes", "_context", "_poly1305")

    def __init__(
        self,
        record_format: RecordFormat,
        record: Record,
        context: CipherContext,
        poly1305: Poly1305,
        aad: bytes,
    ) -> None:
        super().__init__(record_format, record)
        self._context = context
        self._poly1305 = poly1305
        self._aad_bytes = len(aad)
        poly1305.update(aad + bytes(-len(aad) % BLOCK_BYTES))

    def _encrypt(self, data: memoryview, out: memoryview) -> None:
        self._context.update_into(data, out)
        self._poly1305.update(out)

    def _finish(self) -> bytes:
        content_bytes = self.record.content_bytes
        lengths = POLY1305_LENGTHS.pack(self._aad_bytes, content_bytes)
        self._poly1305.update(bytes(-content_bytes % BLOCK_BYTES) + lengths)
        return self._poly1305.finalize()
