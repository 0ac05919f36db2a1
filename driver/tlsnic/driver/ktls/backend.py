"""What encrypts and decrypts in software, and which of them a session gets.

Another backend is one small class with `name`, `prio` and `try_session`:

    class Mine:
        name, prio = "mine", 50
        def try_session(self, tls, direction):
            if tls.params.suite != CipherSuite.TLS13_AES_128_GCM:
                raise OSError(EPROTONOSUPPORT, "only TLS 1.3 with AES-128-GCM")
            return MyCrypto(bytes(tls.params.cipher_key), bytes(tls.params.iv))

    kernel.backends.register(Mine())

Where FreeBSD had these: struct ktls_crypto_backend, ktls_crypto_backend_register().
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from errno import EBUSY, EOPNOTSUPP
from threading import Lock
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from tlsnic.driver.ktls.session import KtlsSession


class Crypto(Protocol):
    """The crypto of one session and one direction. Several threads use it at once, on different
    records."""

    def encrypt(
        self,
        source: Sequence[memoryview],
        record: memoryview,
        header_bytes: int,
        trailer_bytes: int,
        seqno: int,
        record_type: int,
    ) -> int:
        """sw_encrypt: make the wire record.

        source: the payload, in pieces; empty when it is in its place in `record` already.
        record: all of the record, with its header already (explicit nonce or IV, length), which
        the rest is written behind. seqno: u64 record number; record_type: TLS 1.3's inner type.
        Returns how many bytes the CPU has touched: copied, hashed, encrypted.
        Raises OSError (EIO or another) when it cannot.
        """

    def decrypt(self, record: bytearray, seqno: int) -> bytes:
        """sw_decrypt: what a record protects; TLS 1.3: with inner type and padding. Raises OSError
        EBADMSG when its tag is wrong."""

    def recrypt(self, record: bytearray, start: int, end: int, seqno: int) -> None:
        """sw_recrypt: turn bytes `start` to `end`, content in clear, into what was on the wire."""


class Backend(Protocol):
    """A software backend. prio: the one with the largest number is asked first."""

    @property
    def name(self) -> str:
        """For people."""

    @property
    def prio(self) -> int:
        """Priority."""

    def try_session(self, tls: KtlsSession, direction: int) -> Crypto:
        """Take the session (KTLS_TX or KTLS_RX), or raise OSError."""


class Backends:
    """The registry."""

    def __init__(self) -> None:
        self._backends: list[Backend] = []
        self._users: dict[int, int] = {}
        self._lock = Lock()

    def __iter__(self) -> Iterator[Backend]:
        return iter(list(self._backends))

    def register(self, backend: Backend) -> None:
        """ktls_crypto_backend_register: behind those that have at least its priority."""
        with self._lock:
            at = 0
            while at < len(self._backends) and self._backends[at].prio >= backend.prio:
                at += 1
            self._backends.insert(at, backend)
            self._users.setdefault(id(backend), 0)

    def deregister(self, backend: Backend) -> None:
        """ktls_crypto_backend_deregister. One that is not registered is no error; OSError EBUSY
        while sessions use it."""
        with self._lock:
            if backend not in self._backends:
                return
            if self._users[id(backend)]:
                raise OSError(EBUSY, f"sessions use {backend.name}")
            self._backends.remove(backend)
            del self._users[id(backend)]

    def try_sw(self, tls: KtlsSession, direction: int) -> None:
        """ktls_try_sw without the mode: give the session to the first backend that takes it. Raises
        OSError: the last one's, or EOPNOTSUPP when there is none."""
        error = OSError(EOPNOTSUPP, "no software backend")
        with self._lock:
            for backend in self._backends:
                try:
                    tls.crypto = backend.try_session(tls, direction)
                except OSError as reason:
                    error = reason
                    continue
                tls.be = backend
                self._users[id(backend)] += 1
                return
        raise error

    def release(self, backend: Backend) -> None:
        """A session of it is gone."""
        with self._lock:
            self._users[id(backend)] -= 1
