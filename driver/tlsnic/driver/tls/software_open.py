"""Decrypts records on the host, and encrypts again what the card has decrypted of them.

The counterpart of Linux's tls_device_reencrypt() and FreeBSD's ktls_ocf_recrypt(). AEAD suites:
RFC 5288, RFC 7905, RFC 8446 section 5.2; their keystreams: NIST SP 800-38D section 7.1 and RFC 8439
section 2.8.

This file needs `cryptography`; nothing imports it before the first record that needs it.
"""

from __future__ import annotations

from struct import Struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from tlsnic.abi.suites import HEADER_BYTES, RecordKind
from tlsnic.driver.tls.session import TlsSession

_ADDITIONAL = Struct(">QBHH")  # record number, type, version, length
_CHACHA_BLOCK_BYTES = 64
_AES_BLOCK_BYTES = 16
_FIRST_COUNTER = {RecordKind.GCM: 2, RecordKind.CHACHA20_POLY1305: 1}


class SoftwareOpener:
    """Opens the records of one session, in any order."""

    def __init__(self, session: TlsSession) -> None:
        """Copies the key; the session may be wiped. ValueError for a CBC suite."""
        layout = session.layout
        if layout.kind not in _FIRST_COUNTER:
            raise ValueError(f"{layout.suite.name} is no AEAD suite")
        self._layout = layout
        self._key, self._iv = bytes(session.key), bytes(session.iv)
        cipher = AESGCM if layout.kind is RecordKind.GCM else ChaCha20Poly1305
        self._aead = cipher(self._key)

    def open(self, number: int, record: bytes | bytearray) -> bytes | None:
        """Content of a record that is as on the wire; None when its tag is wrong.

        number: u64 record number. record: at least prefix and tag.
        """
        layout = self._layout
        prefix_bytes = layout.prefix_bytes
        if layout.is_tls13:
            additional = bytes(record[:HEADER_BYTES])
        else:
            content_bytes = len(record) - prefix_bytes - layout.tag_bytes
            additional = _ADDITIONAL.pack(number, record[0], layout.wire_version, content_bytes)
        sealed = memoryview(record)[prefix_bytes:]
        try:
            return self._aead.decrypt(self._nonce(number, record), sealed, additional)
        except InvalidTag:
            return None

    def encrypt_again(self, number: int, record: bytearray, start: int, end: int) -> None:
        """Turn bytes `start` to `end` of a record, which are content in clear, into what they were
        on the wire. The explicit nonce is as on the wire."""
        layout = self._layout
        nonce = self._nonce(number, record)
        offset = start - layout.prefix_bytes
        if layout.kind is RecordKind.GCM:
            block, within = divmod(offset, _AES_BLOCK_BYTES)
            counter = block + _FIRST_COUNTER[layout.kind]
            mode = modes.CTR(nonce + counter.to_bytes(4, "big"))
            encryptor = Cipher(algorithms.AES(self._key), mode).encryptor()
        else:
            block, within = divmod(offset, _CHACHA_BLOCK_BYTES)
            counter = block + _FIRST_COUNTER[layout.kind]
            full_nonce = counter.to_bytes(4, "little") + nonce
            encryptor = Cipher(algorithms.ChaCha20(self._key, full_nonce), None).encryptor()
        encryptor.update(bytes(within))
        record[start:end] = encryptor.update(bytes(record[start:end]))

    def _nonce(self, number: int, record: bytes | bytearray) -> bytes:
        iv = self._iv
        if self._layout.explicit_bytes:
            return bytes(iv + record[HEADER_BYTES : self._layout.prefix_bytes])
        return (int.from_bytes(iv, "big") ^ number).to_bytes(len(iv), "big")
