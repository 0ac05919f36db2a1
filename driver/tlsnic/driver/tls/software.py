"""Encrypts records on the host: what the card would have sent, byte for byte.

The counterpart of Linux's net/tls/tls_device_fallback.c. RFC 5288, RFC 7905, RFC 8446 section 5.2,
and for AES-CBC RFC 2246 section 6.2.3, RFC 5246 section 6.2.3.2 and RFC 7366.

This file needs `cryptography`; nothing imports it before the first packet that needs it.
"""

from __future__ import annotations

import hmac
from struct import Struct

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from tlsnic.abi.enums import CipherSuite
from tlsnic.abi.suites import BLOCK_BYTES, HEADER_BYTES, RecordKind
from tlsnic.driver.tls.framing import Record
from tlsnic.driver.tls.records import Entry, RecordMap
from tlsnic.driver.tls.session import TlsSession

_SEQUENCE_MASK = 0xFFFF_FFFF
_ADDITIONAL = Struct(">QBHH")  # record number, type, version, length
_TYPE_AND_VERSION_BYTES = 3
_DIGESTS = {20: "sha1", 32: "sha256", 48: "sha384"}


class UnknownChainError(LookupError):
    """TLS 1.0: the last ciphertext block before a record is not known."""


class SoftwareTls:
    """Encrypts the records of one flow, each with the session of its epoch.

    TLS 1.0 chains from record to record: the IV of each record is known once the one before it was
    encrypted here, or by `know_iv`.
    """

    def __init__(
        self, sessions: TlsSession | dict[int, TlsSession], record_number: int | None = None
    ) -> None:
        """sessions: one for all, or by epoch in a mapping of the caller's, who may change it.
        record_number: of the flow's first record, when it is not the session's."""
        if isinstance(sessions, TlsSession):
            sessions = {0: sessions}
        session = next(iter(sessions.values()))
        self._sessions = sessions
        self._ivs: dict[int, bytes] = {}
        self._is_chained = session.suite is CipherSuite.TLS10_AES_CBC_SHA1
        if self._is_chained:
            first = session.record_number if record_number is None else record_number
            self._ivs[first] = bytes(session.iv)
        self._last: tuple[Entry, bytes] | None = None

    def forget_before(self, entry: Entry) -> None:
        """Drop what only records before `entry` need."""
        if self._ivs:
            number = entry.record.number
            self._ivs = {n: iv for n, iv in self._ivs.items() if n >= number}
        self._last = None

    def know_iv(self, number: int, iv: bytes) -> None:
        """TLS 1.0: the last ciphertext block before record `number`."""
        self._ivs[number] = iv

    def can_reach(self, records: RecordMap, number: int) -> bool:
        """Whether what is known suffices to encrypt record `number`."""
        if not self._is_chained or number in self._ivs:
            return True
        return any(
            entry.record.number in self._ivs for entry in records if entry.record.number < number
        )

    def encrypt(self, record: Record, iv: bytes | None = None, epoch: int = 0) -> bytes:
        """The wire record. iv: TLS 1.0, the last ciphertext block before the record, when it is
        not known here. Raises UnknownChainError."""
        session = self._sessions[epoch]
        kind = session.layout.kind
        if kind is RecordKind.CBC:
            return self._encrypt_cbc(session, record, iv)
        data, prefix_bytes = record.data, record.prefix_bytes
        body = data[prefix_bytes : prefix_bytes + record.content_bytes]
        if session.layout.is_tls13:
            additional = data[:HEADER_BYTES]
        else:
            version = session.layout.wire_version
            additional = _ADDITIONAL.pack(record.number, data[0], version, record.content_bytes)
        if session.layout.explicit_bytes:
            nonce = bytes(session.iv) + data[HEADER_BYTES:prefix_bytes]
        else:
            number = int.from_bytes(session.iv, "big") ^ record.number
            nonce = number.to_bytes(len(session.iv), "big")
        cipher = AESGCM if kind is RecordKind.GCM else ChaCha20Poly1305
        sealed = cipher(bytes(session.key)).encrypt(nonce, body, additional)
        return data[:prefix_bytes] + sealed

    def _encrypt_cbc(self, session: TlsSession, record: Record, iv: bytes | None) -> bytes:
        layout, data, number = session.layout, record.data, record.number
        prefix_bytes, content_bytes = record.prefix_bytes, record.content_bytes
        version = layout.wire_version
        if not self._is_chained:
            iv = data[HEADER_BYTES:prefix_bytes]
        elif iv is None:
            iv = self._ivs.get(number)
            if iv is None:
                raise UnknownChainError(f"the IV of record {number} is not known")
        digest = _DIGESTS[layout.tag_bytes]
        plain = data[prefix_bytes : prefix_bytes + content_bytes]
        padding = bytes((record.padding,)) * (record.padding + 1)
        if session.encrypt_then_mac:
            sealed = self._cbc(session, iv, plain + padding)
            length = len(iv) + len(sealed)
            covered = _ADDITIONAL.pack(number, data[0], version, length) + iv + sealed
            sealed += hmac.digest(session.mac_key, covered, digest)
        else:
            covered = _ADDITIONAL.pack(number, data[0], version, content_bytes) + plain
            mac = hmac.digest(session.mac_key, covered, digest)
            sealed = self._cbc(session, iv, plain + mac + padding)
        if self._is_chained:
            self._ivs[number + 1] = sealed[-BLOCK_BYTES:]
        minor = bytes((version & 0xFF,))
        return data[:2] + minor + data[_TYPE_AND_VERSION_BYTES:prefix_bytes] + sealed

    @staticmethod
    def _cbc(session: TlsSession, iv: bytes, blocks: bytes) -> bytes:
        cipher = Cipher(algorithms.AES(bytes(session.key)), modes.CBC(iv)).encryptor()
        return cipher.update(blocks) + cipher.finalize()

    def stream(self, records: RecordMap, sequence: int, length: int) -> bytes:
        """`length` bytes of the encrypted stream from TCP sequence number `sequence` on.

        Raises LookupError when `records` has not all of it, UnknownChainError.
        """
        if not length:
            return b""
        entries = records.within(sequence, length)
        if self._is_chained and entries[0].record.number not in self._ivs:
            self._chain_to(records, entries[0].record.number)
        offset = sequence - entries[0].start_sequence & _SEQUENCE_MASK
        wire = b"".join([self._wire(entry) for entry in entries])
        return wire[offset : offset + length]

    def _wire(self, entry: Entry) -> bytes:
        """A record is often sent again in several packets."""
        if self._last is None or self._last[0] is not entry:
            self._last = (entry, self.encrypt(entry.record, epoch=entry.session_epoch))
        return self._last[1]

    def _chain_to(self, records: RecordMap, number: int) -> None:
        """Learn the IV of record `number` from the nearest one before it that is known."""
        before = [entry.record for entry in records if entry.record.number < number]
        known = [at for at, record in enumerate(before) if record.number in self._ivs]
        if not known:
            raise UnknownChainError(f"the IV of record {number} is not known")
        for record in before[known[-1] :]:
            self.encrypt(record)
