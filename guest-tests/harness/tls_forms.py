"""Every form that protected records can take on the interface: suite, key length, order of MAC."""

from __future__ import annotations

from typing import NamedTuple

from tlsnic.abi.enums import CipherSuite
from tlsnic.abi.suites import SUITES, SuiteLayout


class Form(NamedTuple):
    """One of them; the arguments of `TlsFlows.open`, as `_asdict()` gives them."""

    suite: CipherSuite
    key_bytes: int
    encrypt_then_mac: bool

    @property
    def layout(self) -> SuiteLayout:
        """Sizes of its records."""
        return SUITES[self.suite]

    @property
    def is_registered(self) -> bool:
        """Whether a cipher suite of the IANA registry has it: without one OpenSSL cannot agree."""
        return (self.suite, self.key_bytes) != (CipherSuite.TLS12_AES_CBC_SHA384, 16)

    def __str__(self) -> str:
        mode = "-EtM" if self.encrypt_then_mac else ""
        return f"{self.suite.name}-{8 * self.key_bytes}{mode}"


FORMS = [
    Form(suite, key_bytes, encrypt_then_mac)
    for suite, layout in SUITES.items()
    for key_bytes in layout.key_bytes
    # RFC 7366; the interface has it with TLS 1.2
    for encrypt_then_mac in (
        [False, True] if layout.mac_key_bytes and layout.version == 0x0303 else [False]
    )
]
"""All of them."""

LAYOUTS = list(
    {
        (form.layout.kind, form.layout[4:], form.layout.is_tls13, form.encrypt_then_mac): form
        for form in reversed(FORMS)
        if form.is_registered
    }.values()
)[::-1]
"""One for each way in which records are laid out and encrypted, with a key length that OpenSSL can
agree on."""
