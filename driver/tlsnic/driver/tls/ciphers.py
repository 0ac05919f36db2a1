"""TLS cipher suites by their IANA numbers and OpenSSL names, as suites of the interface.

How keys are agreed on makes many numbers of one suite: the device only sees what protects records.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from tlsnic.abi.enums import CipherSuite


class Cipher(NamedTuple):
    """One cipher suite of the IANA registry."""

    openssl_name: str
    suite: CipherSuite
    """With AES-CBC and HMAC-SHA1: the one of TLS 1.2; see `suite_of`."""
    key_bytes: int


_GCM128, _GCM256 = CipherSuite.TLS12_AES_128_GCM, CipherSuite.TLS12_AES_256_GCM
_CHACHA = CipherSuite.TLS12_CHACHA20_POLY1305
_SHA1, _SHA256 = CipherSuite.TLS12_AES_CBC_SHA1, CipherSuite.TLS12_AES_CBC_SHA256
_SHA384 = CipherSuite.TLS12_AES_CBC_SHA384
_SHA1_BY_VERSION: Final = {
    0x0301: CipherSuite.TLS10_AES_CBC_SHA1,
    0x0302: CipherSuite.TLS11_AES_CBC_SHA1,
    0x0303: CipherSuite.TLS12_AES_CBC_SHA1,
}

CIPHERS: Final[dict[int, Cipher]] = {
    0x1301: Cipher("TLS_AES_128_GCM_SHA256", CipherSuite.TLS13_AES_128_GCM, 16),
    0x1302: Cipher("TLS_AES_256_GCM_SHA384", CipherSuite.TLS13_AES_256_GCM, 32),
    0x1303: Cipher("TLS_CHACHA20_POLY1305_SHA256", CipherSuite.TLS13_CHACHA20_POLY1305, 32),
    0xC02B: Cipher("ECDHE-ECDSA-AES128-GCM-SHA256", _GCM128, 16),
    0xC02F: Cipher("ECDHE-RSA-AES128-GCM-SHA256", _GCM128, 16),
    0x009E: Cipher("DHE-RSA-AES128-GCM-SHA256", _GCM128, 16),
    0x009C: Cipher("AES128-GCM-SHA256", _GCM128, 16),
    0xC02C: Cipher("ECDHE-ECDSA-AES256-GCM-SHA384", _GCM256, 32),
    0xC030: Cipher("ECDHE-RSA-AES256-GCM-SHA384", _GCM256, 32),
    0x009F: Cipher("DHE-RSA-AES256-GCM-SHA384", _GCM256, 32),
    0x009D: Cipher("AES256-GCM-SHA384", _GCM256, 32),
    0xCCA9: Cipher("ECDHE-ECDSA-CHACHA20-POLY1305", _CHACHA, 32),
    0xCCA8: Cipher("ECDHE-RSA-CHACHA20-POLY1305", _CHACHA, 32),
    0xCCAA: Cipher("DHE-RSA-CHACHA20-POLY1305", _CHACHA, 32),
    0xC009: Cipher("ECDHE-ECDSA-AES128-SHA", _SHA1, 16),
    0xC00A: Cipher("ECDHE-ECDSA-AES256-SHA", _SHA1, 32),
    0xC013: Cipher("ECDHE-RSA-AES128-SHA", _SHA1, 16),
    0xC014: Cipher("ECDHE-RSA-AES256-SHA", _SHA1, 32),
    0x0033: Cipher("DHE-RSA-AES128-SHA", _SHA1, 16),
    0x0039: Cipher("DHE-RSA-AES256-SHA", _SHA1, 32),
    0x002F: Cipher("AES128-SHA", _SHA1, 16),
    0x0035: Cipher("AES256-SHA", _SHA1, 32),
    0xC023: Cipher("ECDHE-ECDSA-AES128-SHA256", _SHA256, 16),
    0xC027: Cipher("ECDHE-RSA-AES128-SHA256", _SHA256, 16),
    0x0067: Cipher("DHE-RSA-AES128-SHA256", _SHA256, 16),
    0x006B: Cipher("DHE-RSA-AES256-SHA256", _SHA256, 32),
    0x003C: Cipher("AES128-SHA256", _SHA256, 16),
    0x003D: Cipher("AES256-SHA256", _SHA256, 32),
    0xC024: Cipher("ECDHE-ECDSA-AES256-SHA384", _SHA384, 32),
    0xC028: Cipher("ECDHE-RSA-AES256-SHA384", _SHA384, 32),
}
"""By IANA number. No registered suite has AES-128-CBC with HMAC-SHA384."""


def suite_of(number: int, version: int) -> tuple[CipherSuite, int]:
    """The interface's suite of an IANA number with a TLS version (0x0301 to 0x0304), and key bytes.

    Raises LookupError when the interface has none.
    """
    cipher = CIPHERS[number]
    if cipher.suite == _SHA1:
        return _SHA1_BY_VERSION[version], cipher.key_bytes
    return cipher.suite, cipher.key_bytes


def openssl_names(suites: CipherSuite, key_bytes: int | None = None) -> list[str]:
    """OpenSSL's names of all cipher suites that `suites` stand for, TLS 1.3's among them.

    `key_bytes` picks one of two key lengths.
    """
    if suites & (CipherSuite.TLS10_AES_CBC_SHA1 | CipherSuite.TLS11_AES_CBC_SHA1):
        suites |= _SHA1
    return [
        cipher.openssl_name
        for cipher in CIPHERS.values()
        if cipher.suite & suites and key_bytes in (None, cipher.key_bytes)
    ]
