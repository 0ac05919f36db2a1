"""From the secrets of a handshake to the keys of its records.

TLS 1.0 and 1.1: RFC 2246 sections 5 and 6.3. TLS 1.2: RFC 5246, the same sections. TLS 1.3: RFC 5869
and RFC 8446 section 7. Sizes come from `tlsnic.abi.suites`. Functions return bytes that only their
caller holds; nothing here keeps a secret.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import Final

from tlsnic.abi.enums import CipherSuite
from tlsnic.abi.suites import SUITES, SuiteLayout

MASTER_SECRET_BYTES: Final = 48
RANDOM_BYTES: Final = 32
"""Client and server random."""

_SHA384: Final = (
    CipherSuite.TLS12_AES_256_GCM | CipherSuite.TLS12_AES_CBC_SHA384 | CipherSuite.TLS13_AES_256_GCM
)


@dataclass(frozen=True, repr=False, slots=True)
class TrafficKeys:
    """What one direction of a connection is protected with. Not shown by repr."""

    key: bytes
    iv: bytes
    """Salt, IV or first block IV; `SuiteLayout.iv_bytes` long."""
    mac_key: bytes = b""

    def __repr__(self) -> str:
        return f"TrafficKeys({len(self.key)}-byte key)"


def digest_name(suite: CipherSuite) -> str:
    """Hash of the suite's PRF or HKDF, as hashlib calls it; "md5+sha1" before TLS 1.2.

    Raises KeyError for what is not one suite.
    """
    if SUITES[suite].version < 0x0303:
        return "md5+sha1"
    return "sha384" if suite & _SHA384 else "sha256"


# TLS 1.0 to 1.2


def prf(digest: str, secret: bytes, label: bytes, seed: bytes, size_bytes: int) -> bytes:
    """The pseudo-random function; `digest` as from `digest_name`. RFC 2246 and 5246, section 5."""
    if digest != "md5+sha1":
        return _p_hash(digest, secret, label + seed, size_bytes)
    half = (len(secret) + 1) // 2  # the halves share the middle byte of an odd secret
    md5 = _p_hash("md5", secret[:half], label + seed, size_bytes)
    sha1 = _p_hash("sha1", secret[len(secret) - half :], label + seed, size_bytes)
    return bytes(a ^ b for a, b in zip(md5, sha1, strict=True))


def _p_hash(digest: str, secret: bytes, seed: bytes, size_bytes: int) -> bytes:
    output = bytearray()
    chain = seed
    while len(output) < size_bytes:
        chain = hmac.digest(secret, chain, digest)
        output += hmac.digest(secret, chain + seed, digest)
    return bytes(output[:size_bytes])


def connection_keys(
    suite: CipherSuite,
    key_bytes: int,
    master_secret: bytes,
    client_random: bytes,
    server_random: bytes,
) -> tuple[TrafficKeys, TrafficKeys]:
    """Keys of what the client writes, and of what the server writes; TLS 1.0 to 1.2.

    `key_bytes` says which of the suite's key lengths was agreed on. Raises ValueError for lengths
    that are not the suite's, and for a suite of TLS 1.3. RFC 2246 and 5246, section 6.3.
    """
    layout = _layout(suite, tls13=False)
    if key_bytes not in layout.key_bytes:
        raise ValueError(f"{suite.name} has no keys of {key_bytes} bytes")
    if len(master_secret) != MASTER_SECRET_BYTES:
        raise ValueError(f"a master secret has {MASTER_SECRET_BYTES} bytes")
    if {len(client_random), len(server_random)} != {RANDOM_BYTES}:
        raise ValueError(f"randoms have {RANDOM_BYTES} bytes")
    sizes = [layout.mac_key_bytes] * 2 + [key_bytes] * 2 + [layout.iv_bytes] * 2
    seed = server_random + client_random
    block = prf(digest_name(suite), master_secret, b"key expansion", seed, sum(sizes))
    parts = []
    at = 0
    for size in sizes:
        parts.append(block[at : at + size])
        at += size
    client_mac, server_mac, client_key, server_key, client_iv, server_iv = parts
    client = TrafficKeys(client_key, client_iv, client_mac)
    return client, TrafficKeys(server_key, server_iv, server_mac)


# TLS 1.3


def hkdf_extract(digest: str, salt: bytes, input_key: bytes) -> bytes:
    """A pseudo-random key as long as the hash; an empty salt counts as zeros. RFC 5869 2.2."""
    return hmac.digest(salt or bytes(_size_bytes(digest)), input_key, digest)


def hkdf_expand(digest: str, secret: bytes, info: bytes, size_bytes: int) -> bytes:
    """RFC 5869 section 2.3. Raises ValueError for more than 255 hash lengths."""
    if size_bytes > 255 * _size_bytes(digest):
        raise ValueError(f"HKDF with {digest} does not yield {size_bytes} bytes")
    output = bytearray()
    block = b""
    for number in range(1, -(-size_bytes // _size_bytes(digest)) + 1):
        block = hmac.digest(secret, block + info + bytes([number]), digest)
        output += block
    return bytes(output[:size_bytes])


def hkdf_expand_label(
    digest: str, secret: bytes, label: bytes, context: bytes, size_bytes: int
) -> bytes:
    """HKDF-Expand-Label; `label` is without "tls13 ". RFC 8446 section 7.1."""
    name = b"tls13 " + label
    info = size_bytes.to_bytes(2, "big") + bytes([len(name)]) + name
    return hkdf_expand(digest, secret, info + bytes([len(context)]) + context, size_bytes)


def traffic_keys(suite: CipherSuite, traffic_secret: bytes) -> TrafficKeys:
    """Keys of one direction from its traffic secret; TLS 1.3 only. RFC 8446 section 7.3.

    Raises ValueError for another version's suite and a secret that is not as long as the hash.
    """
    layout = _layout(suite, tls13=True)
    digest = _checked_digest(suite, traffic_secret)
    key = hkdf_expand_label(digest, traffic_secret, b"key", b"", layout.key_bytes[0])
    return TrafficKeys(key, hkdf_expand_label(digest, traffic_secret, b"iv", b"", layout.iv_bytes))


def next_traffic_secret(suite: CipherSuite, traffic_secret: bytes) -> bytes:
    """The traffic secret after a KeyUpdate. RFC 8446 section 7.2. Raises as `traffic_keys`."""
    _layout(suite, tls13=True)
    digest = _checked_digest(suite, traffic_secret)
    return hkdf_expand_label(digest, traffic_secret, b"traffic upd", b"", len(traffic_secret))


def _layout(suite: CipherSuite, *, tls13: bool) -> SuiteLayout:
    layout = SUITES.get(suite)
    if layout is None or layout.is_tls13 is not tls13:
        raise ValueError(f"{suite!r} is no suite of TLS 1.{'3' if tls13 else '0 to 1.2'}")
    return layout


def _checked_digest(suite: CipherSuite, traffic_secret: bytes) -> str:
    digest = digest_name(suite)
    if len(traffic_secret) != _size_bytes(digest):
        raise ValueError(f"a traffic secret of {suite.name} has {_size_bytes(digest)} bytes")
    return digest


def _size_bytes(digest: str) -> int:
    return hashlib.new(digest, usedforsecurity=False).digest_size
