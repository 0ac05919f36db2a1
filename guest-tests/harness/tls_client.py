"""A client of TLS 1.3 that offers one cipher suite: Python's ssl cannot be told which to use.

Only the handshake (RFC 8446), with X25519 and without checking certificates: the server is the real
OpenSSL, and it is what judges records afterwards.
"""

from __future__ import annotations

import hashlib
import hmac
import os

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from tlsnic.abi.enums import CipherSuite
from tlsnic.driver.tls import key_schedule as schedule
from tlsnic.driver.tls.ciphers import CIPHERS
from tlsnic.driver.tls.hello import CLIENT_HELLO, SERVER_HELLO, parse_hello

_CHANGE_CIPHER_SPEC, _HANDSHAKE, _APPLICATION_DATA = 20, 22, 23
_FINISHED = 20
_X25519 = b"\x00\x1d"
_SUPPORTED_GROUPS, _SIGNATURES, _VERSIONS, _KEY_SHARE = 10, 13, 43, 51


def _vector(length_bytes: int, data: bytes) -> bytes:
    return len(data).to_bytes(length_bytes, "big") + data


def _record(kind: int, body: bytes) -> bytes:
    return bytes([kind, 3, 3]) + _vector(2, body)


class Tls13Client:
    """`start`, then `receive` what the server answers until it returns the last flight."""

    def __init__(self, suite: CipherSuite) -> None:
        self.suite = suite
        self.random = os.urandom(32)
        self.secret = b""
        """Client application traffic secret, at the end."""
        self._number = next(n for n, cipher in CIPHERS.items() if cipher.suite == suite)
        self._digest = schedule.digest_name(suite)
        self._size = hashlib.new(self._digest).digest_size
        self._share = X25519PrivateKey.generate()
        self._transcript = hashlib.new(self._digest)
        self._buffer = b""
        self._messages = b""
        self._keys: dict[str, tuple[object, bytes]] = {}
        self._received = 0

    def start(self) -> bytes:
        """The ClientHello as a record."""
        extensions = {
            _SUPPORTED_GROUPS: _vector(2, _X25519),
            # ecdsa_secp256r1_sha256, rsa_pss_rsae_sha256
            _SIGNATURES: _vector(2, b"\x04\x03\x08\x04"),
            _VERSIONS: _vector(1, b"\x03\x04"),
            _KEY_SHARE: _vector(
                2, _X25519 + _vector(2, self._share.public_key().public_bytes_raw())
            ),
        }
        body = b"\x03\x03" + self.random + _vector(1, b"")
        body += _vector(2, self._number.to_bytes(2, "big")) + _vector(1, b"\0")
        parts = [number.to_bytes(2, "big") + _vector(2, e) for number, e in extensions.items()]
        message = bytes([CLIENT_HELLO]) + _vector(3, body + _vector(2, b"".join(parts)))
        self._transcript.update(message)
        return _record(_HANDSHAKE, message)

    def receive(self, data: bytes) -> bytes:
        """What the server sent; the client's Finished once the server's has come, else nothing."""
        self._buffer += data
        while len(self._buffer) >= 5:
            end = 5 + int.from_bytes(self._buffer[3:5], "big")
            if len(self._buffer) < end:
                break
            record, self._buffer = self._buffer[:end], self._buffer[end:]
            flight = self._take(record)
            if flight:
                assert not self._buffer, "bytes follow the server's Finished"
                return flight
        return b""

    def _take(self, record: bytes) -> bytes:
        if record[0] == _CHANGE_CIPHER_SPEC:
            return b""  # for middleboxes, RFC 8446 appendix D.4
        if record[0] == _HANDSHAKE:
            self._transcript.update(record[5:])
            self._agree(record[5:])
            return b""
        assert record[0] == _APPLICATION_DATA, f"a record of type {record[0]} in the handshake"
        cipher, iv = self._keys["server"]
        plain = cipher.decrypt(self._nonce(iv, self._received), record[5:], record[:5])
        self._received += 1
        plain = plain.rstrip(b"\0")
        assert plain[-1] == _HANDSHAKE, f"a record of inner type {plain[-1]} in the handshake"
        self._messages += plain[:-1]
        while len(self._messages) >= 4:
            end = 4 + int.from_bytes(self._messages[1:4], "big")
            if len(self._messages) < end:
                break
            message, self._messages = self._messages[:end], self._messages[end:]
            if message[0] == _FINISHED:
                return self._finish(message)
            self._transcript.update(message)
        return b""

    def _agree(self, message: bytes) -> None:
        hello = parse_hello(SERVER_HELLO, message[4:])
        assert message[0] == SERVER_HELLO
        assert hello.cipher == self._number
        share = hello.extensions[_KEY_SHARE]
        assert share[:2] == _X25519
        shared = self._share.exchange(X25519PublicKey.from_public_bytes(share[4:]))
        early = schedule.hkdf_extract(self._digest, b"", bytes(self._size))
        self._handshake = schedule.hkdf_extract(self._digest, self._derived(early), shared)
        self._traffic = {}
        for side, label in (("client", b"c hs traffic"), ("server", b"s hs traffic")):
            secret = self._expand(self._handshake, label, self._transcript.digest())
            keys = schedule.traffic_keys(self.suite, secret)
            is_chacha = self.suite == CipherSuite.TLS13_CHACHA20_POLY1305
            cipher = ChaCha20Poly1305(keys.key) if is_chacha else AESGCM(keys.key)
            self._traffic[side], self._keys[side] = secret, (cipher, keys.iv)

    def _finish(self, message: bytes) -> bytes:
        assert message[4:] == self._verify_data("server"), "the server's Finished is wrong"
        self._transcript.update(message)
        finished = bytes([_FINISHED]) + _vector(3, self._verify_data("client"))
        master = schedule.hkdf_extract(
            self._digest, self._derived(self._handshake), bytes(self._size)
        )
        self.secret = self._expand(master, b"c ap traffic", self._transcript.digest())
        plain = finished + bytes([_HANDSHAKE])
        header = bytes([_APPLICATION_DATA, 3, 3]) + (len(plain) + 16).to_bytes(2, "big")
        cipher, iv = self._keys["client"]
        return header + cipher.encrypt(self._nonce(iv, 0), plain, header)

    def _verify_data(self, side: str) -> bytes:
        key = self._expand(self._traffic[side], b"finished", b"")
        return hmac.digest(key, self._transcript.digest(), self._digest)

    def _derived(self, secret: bytes) -> bytes:
        return self._expand(secret, b"derived", hashlib.new(self._digest).digest())

    def _expand(self, secret: bytes, label: bytes, context: bytes) -> bytes:
        return schedule.hkdf_expand_label(self._digest, secret, label, context, self._size)

    @staticmethod
    def _nonce(iv: bytes, number: int) -> bytes:
        return (int.from_bytes(iv, "big") ^ number).to_bytes(12, "big")
