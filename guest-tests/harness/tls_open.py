"""Opens records one by one, after the RFCs, with plain calls of `cryptography`.

For what OpenSSL does not tell: nonces, additional data, padding, and record numbers of any size.
Nothing of device or driver is used but the keys and sizes of the session.

RFC 5246 section 6.2.3, RFC 5288, RFC 7366, RFC 7905, RFC 8446 section 5.
"""

from __future__ import annotations

import hmac
from typing import NamedTuple

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from tlsnic.abi.suites import RecordKind
from tlsnic.driver.tls.session import TlsSession

_DIGESTS = {20: "sha1", 32: "sha256", 48: "sha384"}
_U64 = 8
_BLOCK = 16


class Opened(NamedTuple):
    """A record that was authentic."""

    header: bytes
    """The five bytes on the wire."""
    explicit: bytes
    """Explicit nonce or IV on the wire."""
    kind: int
    """Content type; TLS 1.3: the inner one."""
    content: bytes
    padding: int
    """TLS 1.3: zeros behind the inner type. CBC: the padding length, all of whose bytes are right."""


def open_records(session: TlsSession, wire: bytes, number: int | None = None) -> list[Opened]:
    """All records of `wire`, which begins and ends with a whole one.

    number: of the first record, when it is not the session's. Fails the test with AssertionError,
    or raises InvalidTag, when a record is wrong.
    """
    number = session.record_number if number is None else number
    chain = bytes(session.iv)  # TLS 1.0 only
    found = []
    at = 0
    while at < len(wire):
        header = wire[at : at + 5]
        end = at + 5 + int.from_bytes(header[3:5], "big")
        assert end <= len(wire), f"record {number} is cut off"
        body = wire[at + 5 : end]
        if session.layout.kind is RecordKind.CBC:
            found.append(_open_cbc(session, number, header, body, chain))
            chain = body[-_BLOCK:]
        else:
            found.append(_open_aead(session, number, header, body))
        number, at = number + 1, end
    return found


def _open_aead(session: TlsSession, number: int, header: bytes, body: bytes) -> Opened:
    iv, layout = bytes(session.iv), session.layout
    explicit = body[: layout.explicit_bytes]
    sealed = body[layout.explicit_bytes :]
    if explicit:  # RFC 5288: salt, then what the sender chose
        nonce = iv + explicit
    else:  # RFC 7905, RFC 8446: the number, padded to the left, into the IV
        nonce = bytes(a ^ b for a, b in zip(iv, number.to_bytes(len(iv), "big"), strict=True))
    assert len(nonce) == 12
    if layout.is_tls13:
        additional = header
    else:
        length = len(sealed) - 16
        additional = number.to_bytes(_U64, "big") + header[:3] + length.to_bytes(2, "big")
    cipher = AESGCM if layout.kind is RecordKind.GCM else ChaCha20Poly1305
    plain = cipher(bytes(session.key)).decrypt(nonce, sealed, additional)
    if not layout.is_tls13:
        return Opened(header, explicit, header[0], plain, 0)
    inner = plain.rstrip(b"\0")
    assert inner, f"record {number} has no inner type"
    return Opened(header, explicit, inner[-1], inner[:-1], len(plain) - len(inner))


def _open_cbc(session: TlsSession, number: int, header: bytes, body: bytes, chain: bytes) -> Opened:
    explicit = body[: session.layout.explicit_bytes]
    sealed = body[len(explicit) :]
    if session.encrypt_then_mac:
        sealed = _checked(session, number, header, explicit, sealed)
    assert sealed, f"record {number} has no ciphertext"
    assert not len(sealed) % _BLOCK, f"record {number}: {len(sealed)} bytes of ciphertext"
    mode = modes.CBC(explicit or chain)
    decryptor = Cipher(algorithms.AES(bytes(session.key)), mode).decryptor()
    plain = decryptor.update(sealed) + decryptor.finalize()
    padding = plain[-1]
    assert plain.endswith(bytes([padding]) * (padding + 1)), f"record {number}: wrong padding"
    content = plain[: -padding - 1]
    if not session.encrypt_then_mac:
        content = _checked(session, number, header, b"", content)
    return Opened(header, explicit, header[0], content, padding)


def _checked(session: TlsSession, number: int, header: bytes, before: bytes, data: bytes) -> bytes:
    """`data` without the MAC at its end, which is that of `before` and the rest of `data`."""
    size = session.layout.tag_bytes
    assert len(data) >= size, f"record {number} has no MAC"
    content, mac = data[:-size], data[-size:]
    covered = before + content
    start = number.to_bytes(_U64, "big") + header[:3] + len(covered).to_bytes(2, "big")
    expected = hmac.digest(bytes(session.mac_key), start + covered, _DIGESTS[size])
    assert hmac.compare_digest(mac, expected), f"record {number}: wrong MAC"
    return content
