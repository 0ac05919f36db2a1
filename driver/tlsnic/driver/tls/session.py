"""What a kernel is given to encrypt a connection's records, and what tells the connection.

`TlsSession` has the content of FreeBSD's TCP_TXTLS_ENABLE and Linux's TLS_TX socket options.
"""

from __future__ import annotations

import socket
from typing import NamedTuple, Self

from tlsnic.abi.enums import CipherSuite
from tlsnic.abi.suites import MAX_PLAINTEXT, MIN_PLAINTEXT_LIMIT, SUITES, SuiteLayout

ReadableBuffer = bytes | bytearray | memoryview

_MAX_RECORD_NUMBER = (1 << 64) - 1
_V4_MAPPED = bytes(10) + b"\xff\xff"


class TlsSession:
    """Keys of one direction of a connection, from one record on.

    `key`, `iv`, `mac_key` are the session's own copies; `wipe()` overwrites them. Nothing of them
    is in the repr.
    """

    __slots__ = (
        "encrypt_then_mac",
        "iv",
        "key",
        "layout",
        "mac_key",
        "max_plaintext",
        "record_number",
        "suite",
    )

    def __init__(
        self,
        suite: CipherSuite,
        key: ReadableBuffer,
        iv: ReadableBuffer,
        mac_key: ReadableBuffer = b"",
        encrypt_then_mac: bool = False,
        record_number: int = 0,
        max_plaintext: int = MAX_PLAINTEXT,
    ) -> None:
        """iv: salt, IV or first block IV, as in the suite's layout. record_number: of the first
        record. max_plaintext: most content of a record in bytes. Raises ValueError."""
        if suite not in SUITES:
            raise ValueError(f"not one cipher suite of the interface: {suite!r}")
        layout = SUITES[suite]
        if len(key) not in layout.key_bytes:
            raise ValueError(f"a key of {len(key)} bytes with {layout.suite.name}")
        if len(iv) != layout.iv_bytes:
            raise ValueError(f"an IV of {len(iv)} bytes with {layout.suite.name}")
        if len(mac_key) != layout.mac_key_bytes:
            raise ValueError(f"a MAC key of {len(mac_key)} bytes with {layout.suite.name}")
        if encrypt_then_mac and not (layout.mac_key_bytes and layout.explicit_bytes):
            raise ValueError(f"encrypt-then-MAC with {layout.suite.name}")
        if not 0 <= record_number <= _MAX_RECORD_NUMBER:
            raise ValueError(f"record number {record_number}")
        if not MIN_PLAINTEXT_LIMIT <= max_plaintext <= MAX_PLAINTEXT:
            raise ValueError(
                f"records of {max_plaintext} bytes; {MIN_PLAINTEXT_LIMIT} to {MAX_PLAINTEXT}"
            )
        self.suite = layout.suite
        self.layout: SuiteLayout = layout
        self.key = bytearray(key)
        self.iv = bytearray(iv)
        self.mac_key = bytearray(mac_key)
        self.encrypt_then_mac = encrypt_then_mac
        self.record_number = record_number
        self.max_plaintext = max_plaintext

    def wipe(self) -> None:
        """Overwrite the key material with zeros."""
        for secret in (self.key, self.iv, self.mac_key):
            secret[:] = bytes(len(secret))

    def __repr__(self) -> str:
        mode = ", encrypt-then-MAC" if self.encrypt_then_mac else ""
        return f"<TlsSession {self.suite.name}{mode} from record {self.record_number}>"


class FlowAddress(NamedTuple):
    """The connection of a send tag, seen from this side. Addresses in network byte order."""

    ip_version: int
    """4 or 6, as on the wire."""
    local_address: bytes
    remote_address: bytes
    local_port: int
    remote_port: int
    vlan_id: int | None = None

    @classmethod
    def make(
        cls,
        local: str | bytes,
        local_port: int,
        remote: str | bytes,
        remote_port: int,
        vlan: int | None = None,
    ) -> Self:
        """From addresses as text or as 4 or 16 bytes; v4-mapped IPv6 becomes IPv4, which is what
        such a socket sends. Raises ValueError."""
        here, there = _address(local), _address(remote)
        if len(here) != len(there):
            raise ValueError("one address is IPv4, the other IPv6")
        for port in (local_port, remote_port):
            if not 0 < port <= 0xFFFF:
                raise ValueError(f"TCP port {port}")
        if vlan is not None and not 0 <= vlan < 4095:
            raise ValueError(f"VLAN identifier {vlan}")
        return cls(4 if len(here) == 4 else 6, here, there, local_port, remote_port, vlan)


def _address(address: str | bytes) -> bytes:
    if isinstance(address, str):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            address = socket.inet_pton(family, address)
        except OSError:
            raise ValueError(f"not an IP address: {address!r}") from None
    if len(address) not in (4, 16):
        raise ValueError(f"an IP address of {len(address)} bytes")
    if len(address) == 16 and address.startswith(_V4_MAPPED):
        return address[12:]
    return address
