"""Opens AES-GCM and ChaCha20-Poly1305 records of TLS 1.2 and 1.3: decrypts, and checks tags.

Whole records go through the one-shot ciphers, pieces of a record in order through a streaming
cipher, which is made when the first byte of content comes.
"""

from abc import ABC, abstractmethod
from typing import Final

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.ciphers import (
    AEADDecryptionContext,
    Cipher,
    CipherContext,
    algorithms,
    modes,
)
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.poly1305 import Poly1305

from tlsnic.abi.suites import BLOCK_BYTES, RecordKind
from tlsnic.device.packet.headers import Buffer
from tlsnic.device.tls import settle
from tlsnic.device.tls.aead_key import (
    CHACHA_BLOCK_BYTES,
    CHACHA_FIRST_BLOCK,
    GCM_FIRST_BLOCK,
    POLY1305_KEY_BYTES,
    POLY1305_LENGTHS,
    AeadKey,
)
from tlsnic.device.tls.cipher import check_lengths
from tlsnic.device.tls.keys import KeyCache, KeyMaterial
from tlsnic.device.tls.record import BadRecord, Record, RecordFormat

_NUMBERS_END: Final = 1 << 64

_ChaChaStart = tuple[CipherContext, Poly1305, bytes]
"""Keystream of the content; authenticator behind the additional data; what it takes at the end."""


def make_opener(record_format: RecordFormat, keys: KeyMaterial, cache: KeyCache) -> "RecordOpener":
    """What opens records of `record_format` with `keys`, which it owns from now on.

    Raises:
        ValueError: the keys do not have the suite's lengths, or a CBC suite.
    """
    layout = record_format.layout
    check_lengths(layout, keys)
    if layout.kind is RecordKind.GCM:
        return GcmOpener(record_format, keys, cache)
    if layout.kind is RecordKind.CHACHA20_POLY1305:
        return ChaChaOpener(record_format, keys, cache)
    raise ValueError(f"receive offload with {layout.suite.name}")


class OpeningStream(ABC):
    """One record, decrypted in order in pieces cut anywhere."""

    __slots__ = ("_content_end", "_tag", "position", "record")

    def __init__(self, record: Record) -> None:
        self.record = record
        self.position = len(record.prefix)
        """Offset in the record of the next byte."""
        self._content_end = self.position + record.content_bytes
        self._tag = b""

    @abstractmethod
    def update(self, data: Buffer, out: memoryview) -> bool:
        """Decrypt the next bytes.

        Args:
            data: the record's bytes on the wire from `position` on: ciphertext, then tag.
            out: takes as many bytes or more: plaintext, then the tag as it is. Must not overlap.

        Returns:
            False when this was the end of the record and its tag is wrong. Else True.

        Raises:
            ValueError: beyond the record's end, or `out` is too short. Nothing was changed.
            WipedKey: the key was wiped before any content came.
        """

    def _finish(self, data: Buffer, out: memoryview) -> bool:
        """update() with a part of the tag."""
        end = self.position + len(data)
        if end > self.record.total_bytes or len(out) < len(data):
            raise ValueError(f"{len(data)} bytes at {self.position} into {len(out)}")
        if not data:
            return True
        view = memoryview(data)
        content = self._content_end - self.position
        if content > 0:
            self.update(view[:content], out)
            out = out[content:]
            view = view[content:]
        out[: len(view)] = view
        self._tag += view
        self.position = end
        return end < self.record.total_bytes or self._verify(self._tag)

    @abstractmethod
    def _verify(self, tag: bytes) -> bool:
        """Whether `tag` is that of the record, all of whose content has come."""


class RecordOpener(AeadKey):
    """Opens the records of one key, any record at any time."""

    __slots__ = ()

    def open(self, record: Record, body: Buffer, out: memoryview) -> bool:
        """Decrypt a whole record.

        Args:
            record: from RecordFormat.parse.
            body: what follows the prefix on the wire: ciphertext and tag.
            out: takes exactly content_bytes of plaintext. Must not overlap `body`.

        Returns:
            False when the tag is wrong; what is in `out` then is undefined.

        Raises:
            ValueError: `out` is not 16 bytes shorter than `body`.
            WipedKey: after wipe().
        """
        number, prefix, content_bytes, _, _ = record
        nonce, aad = self._inputs(self._keys.iv, number, prefix, content_bytes)
        try:
            (self._aead or self._expand()).decrypt_into(nonce, body, aad, out)
        except InvalidTag:
            return False
        return True

    @abstractmethod
    def begin(self, record: Record) -> OpeningStream:
        """Decrypt a record in pieces.

        Raises:
            WipedKey: after wipe().
        """

    def decrypt_rest(self, record: Record, offset: int, data: Buffer, out: memoryview) -> None:
        """Decrypt the end of a record alone. Nothing is verified.

        Args:
            record: from RecordFormat.parse.
            offset: where `data` starts behind the prefix, in bytes.
            data: the record's bytes on the wire from there to its end: ciphertext, then tag.
            out: takes as many bytes: plaintext, then the tag as it is. Must not overlap.

        Raises:
            WipedKey: after wipe().
        """
        self._check_key()
        content = max(0, record.content_bytes - offset)
        view = memoryview(data)
        if content:
            nonce, _ = self._inputs_of(record)
            self._keystream_at(nonce, offset).update_into(view[:content], out[:content])
        out[content:] = view[content:]

    @abstractmethod
    def _keystream_at(self, nonce: Buffer, offset: int) -> CipherContext: ...

    def settle(self, header: Buffer, body: Buffer, first: int, count: int) -> int | None:
        """The number, of `count` from `first` on, with which this is a whole record of this key.

        Args:
            header: the record's prefix on the wire.
            body: what follows it: ciphertext and tag.
            first, count: candidates, as many as one likes with AES-GCM; of ChaCha20-Poly1305 the
                first 64 are tried.

        Returns:
            None when no candidate fits, the header is none of this flow, or the length of `body`
            is another.

        Raises:
            WipedKey: after wipe().
        """
        self._check_key()
        try:
            record = self._format.parse(first, header)
        except BadRecord:
            return None
        numbers = range(first, min(first + count, _NUMBERS_END))
        if len(body) != record.total_bytes - len(record.prefix) or not numbers:
            return None
        return self._settle(record, body, numbers)

    @abstractmethod
    def _settle(self, record: Record, body: Buffer, numbers: range) -> int | None: ...


class GcmOpener(RecordOpener):
    """AES-128-GCM and AES-256-GCM."""

    __slots__ = ("_cipher",)

    def __init__(self, record_format: RecordFormat, keys: KeyMaterial, cache: KeyCache) -> None:
        super().__init__(record_format, keys, cache)
        self._cipher: Cipher[modes.GCM] | None = None
        """Refers to the key; to use one again is faster than to make one for each record."""

    def forget(self) -> None:
        super().forget()
        self._cipher = None

    def begin(self, record: Record) -> OpeningStream:
        self._check_key()
        return _GcmStream(record, self)

    def start(self, record: Record) -> AEADDecryptionContext:
        """A decryptor, behind the additional data."""
        self._check_key()
        nonce, aad = self._inputs_of(record)
        mode = modes.GCM(bytes(nonce))
        cipher = self._cipher
        if cipher is None:
            self._cache.add(self)
            self._cipher = cipher = Cipher(algorithms.AES(self._keys.key), mode)
        else:
            cipher.mode = mode
        context = cipher.decryptor()
        context.authenticate_additional_data(aad)
        return context

    def _new_aead(self) -> AESGCM:
        return AESGCM(self._keys.key)

    def _keystream_at(self, nonce: Buffer, offset: int) -> CipherContext:
        block, skip = divmod(offset, BLOCK_BYTES)
        counter = bytes(nonce) + (GCM_FIRST_BLOCK + block).to_bytes(4, "big")
        context = Cipher(algorithms.AES(self._keys.key), modes.CTR(counter)).decryptor()
        context.update(bytes(skip))
        return context

    def _settle(self, record: Record, body: Buffer, numbers: range) -> int | None:
        find = settle.gcm_tls13 if self._format.layout.is_tls13 else settle.gcm_tls12
        return find(self._keys, self._aead or self._expand(), self._inputs, record, body, numbers)


class ChaChaOpener(RecordOpener):
    """ChaCha20-Poly1305."""

    __slots__ = ("_spare",)

    def __init__(self, record_format: RecordFormat, keys: KeyMaterial, cache: KeyCache) -> None:
        super().__init__(record_format, keys, cache)
        self._spare: CipherContext | None = None
        """Of a record that is done; to use it again is faster than to make one."""

    def forget(self) -> None:
        super().forget()
        self._spare = None

    def begin(self, record: Record) -> OpeningStream:
        self._check_key()
        return _ChaChaStream(record, self)

    def start(self, record: Record) -> _ChaChaStart:
        """RFC 8439 section 2.8."""
        self._check_key()
        nonce, aad = self._inputs_of(record)
        block0 = bytes(4) + nonce
        context, self._spare = self._spare, None
        if context is None:
            context = Cipher(algorithms.ChaCha20(self._keys.key, block0), None).decryptor()
        else:
            context.reset_nonce(block0)
        poly1305 = Poly1305(context.update(bytes(CHACHA_BLOCK_BYTES))[:POLY1305_KEY_BYTES])
        poly1305.update(aad + bytes(-len(aad) % BLOCK_BYTES))
        lengths = POLY1305_LENGTHS.pack(len(aad), record.content_bytes)
        return context, poly1305, bytes(-record.content_bytes % BLOCK_BYTES) + lengths

    def give_back(self, context: CipherContext) -> None:
        """The record that `context` was started for has come to its end."""
        if not self._wiped:
            self._cache.add(self)
            self._spare = context

    def _new_aead(self) -> ChaCha20Poly1305:
        return ChaCha20Poly1305(self._keys.key)

    def _keystream_at(self, nonce: Buffer, offset: int) -> CipherContext:
        block, skip = divmod(offset, CHACHA_BLOCK_BYTES)
        start = (CHACHA_FIRST_BLOCK + block).to_bytes(4, "little") + bytes(nonce)
        context = Cipher(algorithms.ChaCha20(self._keys.key, start), None).decryptor()
        context.update(bytes(skip))
        return context

    def _settle(self, record: Record, body: Buffer, numbers: range) -> int | None:
        return settle.chacha(self._keys, self._inputs, record, body, numbers)


class _GcmStream(OpeningStream):
    __slots__ = ("_context", "_opener")

    def __init__(self, record: Record, opener: GcmOpener) -> None:
        super().__init__(record)
        self._opener = opener
        self._context: AEADDecryptionContext | None = None

    def update(self, data: Buffer, out: memoryview) -> bool:
        end = self.position + len(data)
        if end > self._content_end:
            return self._finish(data, out)
        (self._context or self._start()).update_into(data, out)
        self.position = end
        return True

    def _start(self) -> AEADDecryptionContext:
        self._context = context = self._opener.start(self.record)
        return context

    def _verify(self, tag: bytes) -> bool:
        try:
            (self._context or self._start()).finalize_with_tag(tag)
        except InvalidTag:
            return False
        return True


class _ChaChaStream(OpeningStream):
    __slots__ = ("_opener", "_started")

    def __init__(self, record: Record, opener: ChaChaOpener) -> None:
        super().__init__(record)
        self._opener = opener
        self._started: _ChaChaStart | None = None

    def update(self, data: Buffer, out: memoryview) -> bool:
        end = self.position + len(data)
        if end > self._content_end:
            return self._finish(data, out)
        context, poly1305, _ = self._started or self._start()
        context.update_into(data, out)
        poly1305.update(data)
        self.position = end
        return True

    def _start(self) -> _ChaChaStart:
        self._started = started = self._opener.start(self.record)
        return started

    def _verify(self, tag: bytes) -> bool:
        context, poly1305, trailer = self._started or self._start()
        self._opener.give_back(context)
        poly1305.update(trailer)
        try:
            poly1305.verify(tag)
        except InvalidSignature:
            return False
        return True
