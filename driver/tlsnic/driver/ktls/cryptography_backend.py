"""The software backend: `cryptography`, as ktls_ocf.ko is FreeBSD's.

RFC 5288, RFC 7905, RFC 8446 section 5.2; AES-CBC: RFC 2246, RFC 4346 and RFC 5246 section 6.2.3.2.
`cryptography` is imported when the first session is made.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from errno import EBADMSG, EPROTONOSUPPORT
from struct import Struct
from typing import TYPE_CHECKING, Any

from tlsnic.abi.suites import BLOCK_BYTES, HEADER_BYTES, RecordKind
from tlsnic.driver.ktls.session import KTLS_RX, KTLS_TX, KtlsSession

if TYPE_CHECKING:
    from tlsnic.driver.tls.software_open import SoftwareOpener

_ADDITIONAL = Struct(">QBHH")  # record number, type, version, length
_DIGESTS = {20: "sha1", 32: "sha256", 48: "sha384"}


class CryptographyBackend:
    """All suites for transmit; the AEAD suites for receive (ktls_ocf_try)."""

    name = "cryptography"
    prio = 5

    def try_session(self, tls: KtlsSession, direction: int) -> AeadCrypto | CbcCrypto:
        """As `Backend.try_session`: EPROTONOSUPPORT for AES-CBC in receive."""
        if tls.params.kind is RecordKind.CBC:
            if direction != KTLS_TX:
                raise OSError(EPROTONOSUPPORT, "receive with AES-CBC")
            return CbcCrypto(tls)
        return AeadCrypto(tls, direction)


class AeadCrypto:
    """AES-GCM and ChaCha20-Poly1305."""

    def __init__(self, tls: KtlsSession, direction: int) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import (  # noqa: PLC0415
            AESGCM,
            ChaCha20Poly1305,
        )

        params = tls.params
        layout = params.layout
        kind = "gcm" if params.kind is RecordKind.GCM else "chacha20"
        self._count = tls.kernel.sysctl.add
        self._name = f"stats.ocf.tls1{params.tls_vminor - 1}_{kind}"
        self._layout = layout
        self._is_tls13 = layout.is_tls13
        self._explicit = bool(layout.explicit_bytes)
        self._iv = bytes(params.iv)
        self._iv_number = int.from_bytes(self._iv, "big")
        cipher = AESGCM if params.kind is RecordKind.GCM else ChaCha20Poly1305
        self._aead = cipher(bytes(params.cipher_key))
        # Old versions make each record in a buffer of its own.
        self._encrypt_into: Callable[..., Any] | None = getattr(self._aead, "encrypt_into", None)
        self._opener = _opener(tls) if direction == KTLS_RX else None

    def encrypt(
        self,
        source: Sequence[memoryview],
        record: memoryview,
        header_bytes: int,
        trailer_bytes: int,
        seqno: int,
        record_type: int,
    ) -> int:
        """As `Crypto.encrypt`."""
        end = len(record) - trailer_bytes
        length = end - header_bytes
        if self._explicit:
            nonce = self._iv + bytes(record[HEADER_BYTES:header_bytes])
        else:
            nonce = (self._iv_number ^ seqno).to_bytes(12, "big")
        touched = length
        if self._is_tls13:
            # The inner type has to lie behind the payload.
            touched += _gather(source, record[header_bytes:end])
            record[end] = record_type
            plain = record[header_bytes : end + 1]
            additional = bytes(record[:HEADER_BYTES])
        else:
            additional = _ADDITIONAL.pack(seqno, record[0], record[1] << 8 | record[2], length)
            if len(source) == 1:
                plain = source[0]
            else:
                touched += _gather(source, record[header_bytes:end])
                plain = record[header_bytes:end]
        if self._encrypt_into is not None:
            self._encrypt_into(nonce, plain, additional, record[header_bytes:])
        else:
            record[header_bytes:] = self._aead.encrypt(nonce, bytes(plain), additional)
            touched += length
        self._count(self._name + "_encrypts")
        return touched

    def decrypt(self, record: bytearray, seqno: int) -> bytes:
        """As `Crypto.decrypt`."""
        assert self._opener is not None
        content = self._opener.open(seqno, record)
        if content is None:
            raise OSError(EBADMSG, "a record with a wrong tag")
        return content

    def recrypt(self, record: bytearray, start: int, end: int, seqno: int) -> None:
        """As `Crypto.recrypt`."""
        assert self._opener is not None
        self._opener.encrypt_again(seqno, record, start, end)


class CbcCrypto:
    """AES-CBC with HMAC, MAC then encrypt. TLS 1.0 chains: its records come one after the other
    (`sequential_records`)."""

    def __init__(self, tls: KtlsSession) -> None:
        from cryptography.hazmat.primitives.ciphers import algorithms  # noqa: PLC0415

        params = tls.params
        self._count = tls.kernel.sysctl.add
        self._name = f"stats.ocf.tls1{params.tls_vminor - 1}_cbc_encrypts"
        self._digest = _DIGESTS[params.layout.tag_bytes]
        self._mac_bytes = params.layout.tag_bytes
        self._mac_key = params.auth_key  # the session's, wiped with it
        self._algorithm = algorithms.AES(bytes(params.cipher_key))
        self._chain = bytes(params.iv) if tls.sequential_records else None

    def encrypt(
        self,
        source: Sequence[memoryview],
        record: memoryview,
        header_bytes: int,
        trailer_bytes: int,
        seqno: int,
        record_type: int,
    ) -> int:
        """As `Crypto.encrypt`."""
        from cryptography.hazmat.primitives.ciphers import Cipher, modes  # noqa: PLC0415

        length = len(record) - header_bytes - trailer_bytes
        source = source or (record[header_bytes : header_bytes + length],)
        covered = _ADDITIONAL.pack(seqno, record[0], record[1] << 8 | record[2], length)
        mac = hmac.new(self._mac_key, covered, self._digest)
        for view in source:
            mac.update(view)
        padding = trailer_bytes - self._mac_bytes - 1
        iv = self._chain if self._chain is not None else bytes(record[HEADER_BYTES:header_bytes])
        encryptor = Cipher(self._algorithm, modes.CBC(iv)).encryptor()
        sealed = [encryptor.update(view) for view in source]
        sealed.append(encryptor.update(mac.digest() + bytes((padding,)) * (padding + 1)))
        sealed.append(encryptor.finalize())
        body = record[header_bytes:]
        body[:] = b"".join(sealed)
        if self._chain is not None:
            self._chain = bytes(body[-BLOCK_BYTES:])
        self._count(self._name)
        return 4 * length  # hashed, encrypted, joined, copied

    def decrypt(self, record: bytearray, seqno: int) -> bytes:
        """No session in receive has AES-CBC."""
        raise OSError(EPROTONOSUPPORT, "receive with AES-CBC")

    def recrypt(self, record: bytearray, start: int, end: int, seqno: int) -> None:
        """As `decrypt`."""
        raise OSError(EPROTONOSUPPORT, "receive with AES-CBC")


def _opener(tls: KtlsSession) -> SoftwareOpener:
    from tlsnic.driver.tls.software_open import SoftwareOpener  # noqa: PLC0415

    session = tls.tls_session(0)
    opener = SoftwareOpener(session)
    session.wipe()
    return opener


def _gather(source: Sequence[memoryview], place: memoryview) -> int:
    """Copy the pieces into `place`; how many bytes that were."""
    at = 0
    for view in source:
        place[at : at + len(view)] = view
        at += len(view)
    return at
