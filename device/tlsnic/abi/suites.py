"""How each TLS version and cipher suite of the interface lays out keys and records.

Sizes in bytes, from RFC 5246 section 6.2.3, RFC 5288, RFC 7905, RFC 8446 section 5, and for AES-CBC RFC 2246,
RFC 4346 and RFC 7366. Device and driver both frame by this table.
"""

from enum import Enum
from typing import Final, NamedTuple

from tlsnic.abi.enums import CipherSuite

HEADER_BYTES: Final = 5
"""Type, version, length."""
MAX_PLAINTEXT: Final = 16384
MIN_PLAINTEXT_LIMIT: Final = 64
"""Smallest record_size_limit (RFC 8449)."""
BLOCK_BYTES: Final = 16
"""Cipher block of the CBC suites."""
MAX_PADDING: Final = 255
MAX_TLS13_PADDED: Final = MAX_PLAINTEXT + 1
"""TLS 1.3: most content, inner type and padding together."""


class RecordKind(Enum):
    """How records are protected."""

    GCM = "AES-GCM"
    CHACHA20_POLY1305 = "ChaCha20-Poly1305"
    CBC = "AES-CBC with HMAC"


class SuiteLayout(NamedTuple):
    """Sizes of one cipher suite with one version of TLS."""

    suite: CipherSuite
    version: int
    """0x0301 to 0x0304, as in tls_flow."""
    kind: RecordKind
    key_bytes: tuple[int, ...]
    """Key lengths that the suite bit stands for."""
    iv_bytes: int
    """Salt, IV or first block IV in the flow block."""
    explicit_bytes: int
    """Explicit nonce or IV behind the record header."""
    tag_bytes: int
    """Tag, or MAC of the CBC suites; also the length of the MAC key."""

    @property
    def wire_version(self) -> int:
        """What record headers say: TLS 1.3 calls itself TLS 1.2 (RFC 8446 section 5.1)."""
        return min(self.version, 0x0303)

    @property
    def prefix_bytes(self) -> int:
        """Header with explicit nonce or IV."""
        return HEADER_BYTES + self.explicit_bytes

    @property
    def mac_key_bytes(self) -> int:
        """Zero for the AEAD suites."""
        return self.tag_bytes if self.kind is RecordKind.CBC else 0

    @property
    def is_tls13(self) -> bool:
        """Whether records have an inner type."""
        return self.version == 0x0304


_AES: Final = (16, 32)
_GCM: Final = RecordKind.GCM
_CHACHA: Final = RecordKind.CHACHA20_POLY1305
_CBC: Final = RecordKind.CBC

SUITES: Final[dict[int, SuiteLayout]] = {
    layout.suite: layout
    for layout in (
        SuiteLayout(CipherSuite.TLS12_AES_128_GCM, 0x0303, _GCM, (16,), 4, 8, 16),
        SuiteLayout(CipherSuite.TLS12_AES_256_GCM, 0x0303, _GCM, (32,), 4, 8, 16),
        SuiteLayout(CipherSuite.TLS12_CHACHA20_POLY1305, 0x0303, _CHACHA, (32,), 12, 0, 16),
        SuiteLayout(CipherSuite.TLS13_AES_128_GCM, 0x0304, _GCM, (16,), 12, 0, 16),
        SuiteLayout(CipherSuite.TLS13_AES_256_GCM, 0x0304, _GCM, (32,), 12, 0, 16),
        SuiteLayout(CipherSuite.TLS13_CHACHA20_POLY1305, 0x0304, _CHACHA, (32,), 12, 0, 16),
        SuiteLayout(CipherSuite.TLS10_AES_CBC_SHA1, 0x0301, _CBC, _AES, 16, 0, 20),
        SuiteLayout(CipherSuite.TLS11_AES_CBC_SHA1, 0x0302, _CBC, _AES, 0, 16, 20),
        SuiteLayout(CipherSuite.TLS12_AES_CBC_SHA1, 0x0303, _CBC, _AES, 0, 16, 20),
        SuiteLayout(CipherSuite.TLS12_AES_CBC_SHA256, 0x0303, _CBC, _AES, 0, 16, 32),
        SuiteLayout(CipherSuite.TLS12_AES_CBC_SHA384, 0x0303, _CBC, _AES, 0, 16, 48),
    )
}
"""By CipherSuite bit."""
