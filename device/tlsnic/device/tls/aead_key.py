"""The key of one direction with an AEAD suite: nonces, additional data, and the expanded key.

What sealing (aead.py) and opening (opening.py) share.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from struct import Struct
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from tlsnic.abi.suites import HEADER_BYTES
from tlsnic.device.tls.keys import KeyCache, KeyMaterial
from tlsnic.device.tls.record import Record, RecordFormat, WipedKey

GCM_FIRST_BLOCK: Final = 2
"""Counter of AES where the content starts (NIST SP 800-38D section 7.1)."""
CHACHA_FIRST_BLOCK: Final = 1
"""Counter of ChaCha20 where the content starts (RFC 8439 section 2.8)."""
CHACHA_BLOCK_BYTES: Final = 64
POLY1305_KEY_BYTES: Final = 32
POLY1305_LENGTHS: Final = Struct("<QQ")
_AAD: Final = Struct(">Q3sH")

Aead = AESGCM | ChaCha20Poly1305
"""An expanded key."""
Inputs = tuple[bytes | bytearray, bytes]
"""Nonce and additional data of a record."""
InputsOf = Callable[[bytearray, int, bytes, int], Inputs]
"""From IV, record number, prefix and content bytes."""


def _explicit_tls12(iv: bytearray, number: int, prefix: bytes, content_bytes: int) -> Inputs:
    """RFC 5288 section 3, RFC 5246 section 6.2.3.3: salt and explicit nonce."""
    return iv + prefix[HEADER_BYTES:], _AAD.pack(number, prefix[:3], content_bytes)


def _xored_tls12(iv: bytearray, number: int, prefix: bytes, content_bytes: int) -> Inputs:
    """RFC 7905 section 2: IV XOR record number."""
    nonce = (int.from_bytes(iv, "big") ^ number).to_bytes(12, "big")
    return nonce, _AAD.pack(number, prefix[:3], content_bytes)


def _xored_tls13(iv: bytearray, number: int, prefix: bytes, content_bytes: int) -> Inputs:
    """RFC 8446 sections 5.2 and 5.3: IV XOR record number; the header is the additional data."""
    del content_bytes
    return (int.from_bytes(iv, "big") ^ number).to_bytes(12, "big"), prefix


class AeadKey(ABC):
    """Key and IV, which it owns, and the expanded key as long as the cache lets it."""

    __slots__ = ("_aead", "_cache", "_format", "_inputs", "_keys", "_wiped")

    def __init__(self, record_format: RecordFormat, keys: KeyMaterial, cache: KeyCache) -> None:
        self._format = record_format
        self._keys = keys
        self._cache = cache
        self._wiped = False
        self._aead: Aead | None = None
        self._inputs: InputsOf
        if record_format.layout.is_tls13:
            self._inputs = _xored_tls13
        elif record_format.layout.explicit_bytes:
            self._inputs = _explicit_tls12
        else:
            self._inputs = _xored_tls12

    @property
    def key_bytes(self) -> int:
        """Length of the key."""
        return len(self._keys.key)

    def forget(self) -> None:
        """Drop the expanded key; it is made again when needed."""
        self._aead = None

    def wipe(self) -> None:
        """Overwrite the keys. Streams that are still held keep what they made of them."""
        self._wiped = True
        self._cache.remove(self)
        self.forget()
        self._keys.wipe()

    def _inputs_of(self, record: Record) -> Inputs:
        return self._inputs(self._keys.iv, record.number, record.prefix, record.content_bytes)

    def _check_key(self) -> None:
        if self._wiped:
            raise WipedKey

    def _expand(self) -> Aead:
        self._check_key()
        self._cache.add(self)
        self._aead = expanded = self._new_aead()
        return expanded

    @abstractmethod
    def _new_aead(self) -> Aead: ...
