"""A TLS stream as a careful driver knows it, and what the wire must carry of it.

Records are laid out and encrypted one by one with the ciphers of `cryptography` and `hmac`, written
from the RFCs; what goes beside a packet is found by looking through a list of records.
"""

import hmac
import random
import struct
from typing import NamedTuple

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from record_bench import CASES, Case

from tlsnic.abi.enums import PresyncFlags
from tlsnic.abi.structures import TlsPresync
from tlsnic.abi.suites import RecordKind

__all__ = ["CASES", "Beside", "Chain", "Stream", "case_of", "leaks"]

MARKER = b"TOP-SECRET-"
"""What contents are made of."""

DIGESTS = {20: "sha1", 32: "sha256", 48: "sha384"}


def leaks(data):
    """Whether `data` shows what was to be encrypted."""
    return any(MARKER[at : at + 6] in data for at in range(len(MARKER) - 5))


def case_of(name, key_bytes=None, encrypt_then_mac=False):
    """The case of a suite, with its shortest key."""
    for case in CASES:
        same = case.layout.suite.name == name and case.encrypt_then_mac == encrypt_then_mac
        if same and key_bytes in (None, case.key_bytes):
            return case
    raise LookupError(name)


def protect(case: Case, keys, number, prefix, content, padding, iv):
    """The whole record on the wire."""
    key, secret_iv, mac_key = keys
    layout = case.layout
    head = prefix[:1] + struct.pack(">H", layout.wire_version) + prefix[3:5]
    counted = struct.pack(">Q", number)
    if case.is_cbc:
        digest, explicit = DIGESTS[layout.tag_bytes], prefix[5:]
        encryptor = Cipher(algorithms.AES(key), modes.CBC(explicit or iv)).encryptor()
        tail = bytes([padding]) * (padding + 1)
        if case.encrypt_then_mac:
            body = explicit + encryptor.update(content + tail)
            covered = counted + head[:3] + struct.pack(">H", len(body)) + body
            return head + body + hmac.digest(mac_key, covered, digest)
        covered = counted + head[:3] + struct.pack(">H", len(content)) + content
        tail = hmac.digest(mac_key, covered, digest) + tail
        return head + explicit + encryptor.update(content + tail)
    aad = head if layout.is_tls13 else counted + head[:3] + struct.pack(">H", len(content))
    if layout.explicit_bytes:
        nonce = secret_iv + prefix[5:]
    else:
        nonce = (int.from_bytes(secret_iv, "big") ^ number).to_bytes(12, "big")
    aead = AESGCM if layout.kind is RecordKind.GCM else ChaCha20Poly1305
    return head + prefix[5:] + aead(key).encrypt(nonce, content, aad)


class Entry(NamedTuple):
    """One record of the stream."""

    start: int
    number: int
    total: int
    cipher_end: int
    """Offset in the record: behind the ciphertext (CBC: whole blocks) or before the tag."""


class Beside(NamedTuple):
    """What the manual wants beside a packet."""

    presync: bytes
    prefix: bytes
    suffix: bytes


class Stream:
    """Records one after the other: `laid_out` is what the host sends, `wire` what must leave."""

    def __init__(self, case, *, seed=0, number=0, sequence=1000):
        self.case = case
        self.seed = seed
        self.number = number
        self.sequence = sequence
        self.random = random.Random(f"stream {seed}")
        self.keys = case.keys(seed)
        self.laid_out = bytearray()
        self.wire = bytearray()
        self.records = []
        self._iv = self.keys[1]

    def add(self, content_bytes, *, kind=23, extra_blocks=0, content=None):
        """The next record. CBC: `extra_blocks` more blocks of padding than there must be."""
        case = self.case
        if content is None:
            content = (MARKER * (content_bytes // len(MARKER) + 1))[:content_bytes]
        if case.layout.is_tls13:
            content, kind = content + bytes([kind]), 23
        padding = case.least_padding(len(content))
        padding += 16 * min(extra_blocks, (255 - padding) // 16) if case.is_cbc else 0
        seed = self.random.random()
        prefix, rest = case.lay_out(content, padding, kind, nonce_seed=seed)
        wire = protect(case, self.keys, self.number, prefix, content, padding, self._iv)
        assert len(wire) == len(prefix) + len(rest)
        total = len(wire)
        cipher_end = total
        if not case.is_cbc or case.encrypt_then_mac:
            cipher_end -= case.layout.tag_bytes
        self.records.append(Entry(len(self.wire), self.number, total, cipher_end))
        self.laid_out += prefix + rest
        self.wire += wire
        self.number += 1
        self._iv = wire[-16:]
        return self.records[-1]

    def rekey(self, seed, number=0):
        """The records to come have other keys, and count from `number`."""
        self.keys = self.case.keys(seed)
        self._iv = self.keys[1]
        self.number = number

    def __len__(self):
        return len(self.wire)

    def sequence_at(self, position):
        return self.sequence + position & 0xFFFF_FFFF

    def index_at(self, position):
        """Which record the byte at `position` is of."""
        for index, entry in enumerate(self.records):
            if entry.start <= position < entry.start + entry.total:
                return index
        raise IndexError(position)

    def suffix(self, end):
        """The rest of the cipher block that a packet ending at `end` cuts."""
        if not self.case.is_cbc or not end:
            return b""
        entry = self.records[self.index_at(end - 1)]
        into = end - entry.start - self.case.layout.prefix_bytes
        if into <= 0 or end - entry.start >= entry.cipher_end:
            return b""
        return bytes(self.laid_out[end : end + -into % 16])

    def needs_prefix(self, begin, end, update):
        """Whether the record's bytes before `begin` are needed: the three reasons of the manual."""
        layout = self.case.layout
        entry = self.records[self.index_at(begin)]
        if begin - entry.start < layout.prefix_bytes:
            return False
        goes_on = end < entry.start + entry.total
        into_tag = min(end, entry.start + entry.total) > entry.start + entry.cipher_end
        return self.case.is_cbc or into_tag or (goes_on and update)

    def beside(self, begin, end, *, update=False):
        """Presync block, prefix and suffix of the packet with the bytes `begin` to `end`."""
        entry = self.records[self.index_at(begin)]
        prefix = b""
        if self.needs_prefix(begin, end, update):
            prefix = bytes(self.laid_out[entry.start : begin])
        block = TlsPresync(
            tcp_sequence=self.sequence_at(entry.start),
            flags=(PresyncFlags.UPDATE_STATE if update else 0)
            | (PresyncFlags.PREFIX if prefix else 0),
            prefix_length=len(prefix),
            record_number=entry.number,
            record_header=bytes(self.laid_out[entry.start : entry.start + 24]).ljust(24, b"\0"),
        )
        return Beside(block.pack(), prefix, self.suffix(end))


class Chain:
    """TLS 1.0: which records can be sent, by what has been encrypted until now. Others: all."""

    def __init__(self, stream):
        self.stream = stream
        self.known = 0
        """Index of the newest record whose first IV is known."""

    def can_start(self, begin):
        if self.stream.case.layout.version != 0x0301:
            return True
        index = self.stream.index_at(begin)
        return self.known - 256 <= index <= self.known

    def took(self, end):
        """Everything from a known record up to `end` was encrypted, whole blocks of it."""
        end += len(self.stream.suffix(end))
        while self.known < len(self.stream.records):
            entry = self.stream.records[self.known]
            if entry.start + entry.total > end:
                return
            self.known += 1
