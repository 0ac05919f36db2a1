"""TLS sessions of sockets (struct ktls_session), and which parameters they may have.

`ktls_create_session` takes what TCP_TXTLS_ENABLE and TCP_RXTLS_ENABLE take, and refuses what
FreeBSD's function of that name and ktls_ocf_try() refuse, with the same errno.
"""

from __future__ import annotations

import os
from collections import deque
from errno import EINVAL, EOPNOTSUPP
from threading import Lock
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from tlsnic.abi.suites import BLOCK_BYTES, HEADER_BYTES, SUITES, RecordKind, SuiteLayout
from tlsnic.driver.tls.session import TlsSession

if TYPE_CHECKING:
    from tlsnic.driver.ktls.backend import Backend, Crypto
    from tlsnic.driver.ktls.kernel import Kernel
    from tlsnic.driver.ktls.mbuf import Mbuf

# <netinet/tcp.h>
IPPROTO_TCP: Final = 6
TCP_TXTLS_ENABLE: Final = 39
TCP_TXTLS_MODE: Final = 40
TCP_RXTLS_ENABLE: Final = 41
TCP_RXTLS_MODE: Final = 42
TCP_TLS_MODE_NONE: Final = 0
TCP_TLS_MODE_SW: Final = 1
TCP_TLS_MODE_IFNET: Final = 2
TLS_SET_RECORD_TYPE: Final = 1
TLS_GET_RECORD: Final = 2

# <sys/ktls.h>
TLS_MAJOR_VER_ONE: Final = 3
TLS_MINOR_VER_ZERO: Final = 1
TLS_MINOR_VER_ONE: Final = 2
TLS_MINOR_VER_TWO: Final = 3
TLS_MINOR_VER_THREE: Final = 4
TLS_RLTYPE_ALERT: Final = 21
TLS_RLTYPE_HANDSHAKE: Final = 22
TLS_RLTYPE_APP: Final = 23
TLS_MAX_MSG_SIZE_V10_2: Final = 16384
TLS_MAX_PARAM_SIZE: Final = 1024
TLS_AEAD_GCM_LEN: Final = 4
TLS_1_3_GCM_IV_LEN: Final = 12
TLS_CHACHA20_IV_LEN: Final = 12
TLS_CBC_IMPLICIT_IV_LEN: Final = 16
KTLS_TX: Final = 1
KTLS_RX: Final = 2

# <opencrypto/cryptodev.h>
CRYPTO_SHA1_HMAC: Final = 7
CRYPTO_AES_CBC: Final = 11
CRYPTO_SHA2_256_HMAC: Final = 18
CRYPTO_SHA2_384_HMAC: Final = 19
CRYPTO_AES_NIST_GCM_16: Final = 25
CRYPTO_CHACHA20_POLY1305: Final = 41

ReadableBuffer = bytes | bytearray | memoryview

_MASK64 = (1 << 64) - 1
_KIND_NAMES = {
    RecordKind.CBC: "cbc",
    RecordKind.GCM: "gcm",
    RecordKind.CHACHA20_POLY1305: "chacha20",
}
_AUTH_BYTES = {CRYPTO_SHA1_HMAC: 20, CRYPTO_SHA2_256_HMAC: 32, CRYPTO_SHA2_384_HMAC: 48}


class TlsEnable(NamedTuple):
    """struct tls_enable: the argument of TCP_TXTLS_ENABLE and TCP_RXTLS_ENABLE.

    iv: salt, IV or TLS 1.0's first block IV. rec_seq: 8 bytes, number of the next record."""

    cipher_algorithm: int
    cipher_key: ReadableBuffer
    iv: ReadableBuffer
    tls_vminor: int
    auth_algorithm: int = 0
    auth_key: ReadableBuffer = b""
    rec_seq: bytes = bytes(8)
    tls_vmajor: int = TLS_MAJOR_VER_ONE
    flags: int = 0

    @classmethod
    def of(cls, session: TlsSession) -> TlsEnable:
        """From what a handshake gave, say (`Handshake.transmit_session`). Encrypt-then-MAC is a
        flag that no FreeBSD knows, so it will be refused."""
        layout = session.layout
        algorithm = {
            RecordKind.CBC: CRYPTO_AES_CBC,
            RecordKind.GCM: CRYPTO_AES_NIST_GCM_16,
            RecordKind.CHACHA20_POLY1305: CRYPTO_CHACHA20_POLY1305,
        }[layout.kind]
        auth = next((a for a, size in _AUTH_BYTES.items() if size == layout.mac_key_bytes), 0)
        return cls(
            cipher_algorithm=algorithm,
            cipher_key=bytes(session.key),
            iv=bytes(session.iv),
            tls_vminor=layout.version & 0xFF,
            auth_algorithm=auth,
            auth_key=bytes(session.mac_key),
            rec_seq=session.record_number.to_bytes(8, "big"),
            flags=int(session.encrypt_then_mac),
        )

    def __repr__(self) -> str:
        return f"<TlsEnable algorithm {self.cipher_algorithm}, minor version {self.tls_vminor}>"


class _Nonce:
    """TLS 1.2 with GCM: the explicit nonce of the next record. A clone of a session has the same
    key, so it counts on with the same counter, however long both are in use."""

    __slots__ = ("_lock", "_value")

    def __init__(self) -> None:
        self._value = int.from_bytes(os.urandom(8), "big")
        self._lock = Lock()

    def take(self) -> bytes:
        with self._lock:
            value = self._value
            self._value = value + 1 & _MASK64
        return value.to_bytes(8, "big")


class TlsParams:
    """struct tls_session_params. `tls_hlen`: header with explicit nonce or IV; `tls_tlen`: the most
    that a trailer has; `tls_bs`: block size. Keys are own copies, in no repr."""

    def __init__(self, enable: TlsEnable, layout: SuiteLayout, maxlen: int) -> None:
        self.layout = layout
        self.suite = layout.suite
        self.kind = layout.kind
        self.is_cbc = layout.kind is RecordKind.CBC
        self.is_tls13 = layout.is_tls13
        self.cipher_algorithm = enable.cipher_algorithm
        self.auth_algorithm = enable.auth_algorithm
        self.tls_vmajor = enable.tls_vmajor
        self.tls_vminor = enable.tls_vminor
        self.wire_version = layout.wire_version
        self.max_frame_len = min(TLS_MAX_MSG_SIZE_V10_2, maxlen)
        self.tls_hlen = HEADER_BYTES + layout.explicit_bytes
        self.tls_tlen = layout.tag_bytes + (BLOCK_BYTES if self.is_cbc else 0) + layout.is_tls13
        self.tls_bs = BLOCK_BYTES if self.is_cbc else 1
        self.cipher_key = bytearray(enable.cipher_key)
        self.auth_key = bytearray(enable.auth_key)
        self.iv = bytearray(enable.iv if layout.iv_bytes else b"")
        self.nonce = _Nonce()

    def copy(self) -> TlsParams:
        """With keys of its own."""
        found: TlsParams = object.__new__(TlsParams)
        found.__dict__.update(self.__dict__)
        found.cipher_key = bytearray(self.cipher_key)
        found.auth_key = bytearray(self.auth_key)
        found.iv = bytearray(self.iv)
        return found

    def wipe(self) -> None:
        """Overwrite the keys (zfree, explicit_bzero)."""
        for secret in (self.cipher_key, self.auth_key, self.iv):
            secret[:] = bytes(len(secret))

    def __repr__(self) -> str:
        return f"<TlsParams {self.suite.name}>"


class KtlsSession:
    """struct ktls_session. Counted references: the socket buffer holds one, and so does every mbuf
    whose record is not encrypted yet (software), or not acknowledged yet (ifnet). With the last
    one the keys are wiped and the send tag is released.

    sequential_records: TLS 1.0, whose records chain: they are encrypted one after the other.
    `snd_tag`, `reset_pending` belong to who routes packets.
    """

    def __init__(self, kernel: Kernel, params: TlsParams, wq_index: int) -> None:
        self.kernel = kernel
        self.params = params
        self.wq_index = wq_index
        self.mode = TCP_TLS_MODE_NONE
        self.refcount = 1
        self.be: Backend | None = None
        self.crypto: Crypto | None = None
        """The backend's, in software mode (ocf_session)."""
        self.snd_tag: SendTagReference | None = None
        self.first_seqno = 0
        """u64 number of the first record of a send tag's (ifnet mode)."""
        self.reset_pending = False
        self.rx_ifp: object = None
        self.sequential_records = params.tls_vminor == TLS_MINOR_VER_ZERO and params.is_cbc
        self.is_dead = False
        self._encrypting = False
        self._pending: deque[list[Mbuf]] = deque()
        self._lock = Lock()
        kernel.sysctl.add("stats.active")

    @property
    def kind_name(self) -> str:
        """As in the counters: cbc, gcm or chacha20."""
        return _KIND_NAMES[self.params.kind]

    def hold(self) -> KtlsSession:
        """ktls_hold: one reference more."""
        with self._lock:
            self.refcount += 1
        return self

    def free(self) -> None:
        """ktls_free: one reference fewer."""
        with self._lock:
            self.refcount -= 1
            if self.refcount:
                return
        self._destroy()

    def set_mode(self, mode: int) -> None:
        """Say how it is encrypted, once."""
        self.mode = mode
        self.kernel.sysctl.add(f"{_MODE_NAMES[mode]}.{self.kind_name}")

    def enqueue_sequential(self, records: list[Mbuf]) -> bool:
        """Whether they may be encrypted now; otherwise they wait (ktls_enqueue's pending_records)."""
        with self._lock:
            if self._encrypting:
                self._pending.append(records)
                self.kernel.sysctl.add("stats.sw_tx_pending", len(records))
                return False
            self._encrypting = True
            return True

    def next_sequential(self) -> list[Mbuf] | None:
        """The last ones are encrypted: the next ones."""
        with self._lock:
            self._encrypting = bool(self._pending)
            if not self._pending:
                return None
            records = self._pending.popleft()
            self.kernel.sysctl.add("stats.sw_tx_pending", -len(records))
            return records

    def clone(self) -> KtlsSession:
        """ktls_clone_session: the same keys, no mode yet. Raises OSError (EOPNOTSUPP) for TLS 1.0,
        whose chain from record to record only the old one knows."""
        if self.sequential_records:
            raise OSError(EOPNOTSUPP, "TLS 1.0 stays where its records are chained")
        return KtlsSession(self.kernel, self.params.copy(), self.wq_index)

    def tls_session(self, record_number: int) -> TlsSession:
        """For the driver, from that record on (`first_seqno`, say); its keys are copies, for the
        caller to wipe."""
        params = self.params
        return TlsSession(
            params.suite,
            params.cipher_key,
            params.iv,
            params.auth_key,
            record_number=record_number,
            max_plaintext=params.max_frame_len,
        )

    def _destroy(self) -> None:
        """ktls_destroy and ktls_cleanup."""
        self.is_dead = True
        self.kernel.sysctl.add("stats.active", -1)
        if self.mode:
            self.kernel.sysctl.add(f"{_MODE_NAMES[self.mode]}.{self.kind_name}", -1)
        self.crypto = None
        if self.be is not None:
            self.kernel.backends.release(self.be)
        tag, self.snd_tag = self.snd_tag, None
        if tag is not None:
            tag.release()
        self.params.wipe()

    def __repr__(self) -> str:
        return f"<KtlsSession {self.params.suite.name} {_MODE_NAMES.get(self.mode, 'no mode')}>"


class SendTagReference(Protocol):
    """What a session in ifnet mode holds: a reference to struct m_snd_tag."""

    def release(self) -> None:
        """m_snd_tag_rele."""


_MODE_NAMES = {TCP_TLS_MODE_SW: "sw", TCP_TLS_MODE_IFNET: "ifnet"}


def ktls_create_session(kernel: Kernel, enable: TlsEnable, wq_index: int = 0) -> KtlsSession:
    """A session without a mode. Raises OSError: EINVAL as FreeBSD's."""
    layout = _check(enable)
    return KtlsSession(kernel, TlsParams(enable, layout, kernel.sysctl["maxlen"]), wq_index)


def _check(en: TlsEnable) -> SuiteLayout:
    """The checks of ktls_create_session() and of ktls_ocf_try(); the layout that fits."""
    _require(en.tls_vmajor == TLS_MAJOR_VER_ONE, "the major version")
    _require(TLS_MINOR_VER_ZERO <= en.tls_vminor <= TLS_MINOR_VER_THREE, "the minor version")
    _require(len(en.auth_key) <= TLS_MAX_PARAM_SIZE, "the length of the MAC key")
    _require(0 < len(en.cipher_key) <= TLS_MAX_PARAM_SIZE, "the length of the key")
    _require(len(en.iv) <= TLS_CBC_IMPLICIT_IV_LEN, "the length of the IV")
    _require(len(en.rec_seq) == 8, "the length of the record number")
    _require(en.flags == 0, "a flag")
    version = TLS_MAJOR_VER_ONE << 8 | en.tls_vminor
    if en.cipher_algorithm == CRYPTO_AES_NIST_GCM_16:
        _require(en.auth_algorithm == 0 and not len(en.auth_key), "a MAC with AES-GCM")
        _require(en.tls_vminor >= TLS_MINOR_VER_TWO, "AES-GCM before TLS 1.2")
        is_13 = en.tls_vminor == TLS_MINOR_VER_THREE
        _require(len(en.iv) == (TLS_1_3_GCM_IV_LEN if is_13 else TLS_AEAD_GCM_LEN), "the IV")
        kind = RecordKind.GCM
    elif en.cipher_algorithm == CRYPTO_AES_CBC:
        _require(en.auth_algorithm in _AUTH_BYTES, "the MAC")
        if en.auth_algorithm == CRYPTO_SHA1_HMAC:
            if en.tls_vminor == TLS_MINOR_VER_ZERO:
                _require(len(en.iv) == TLS_CBC_IMPLICIT_IV_LEN, "the IV")
        else:
            _require(en.tls_vminor == TLS_MINOR_VER_TWO, "a SHA-2 MAC before TLS 1.2")
        _require(len(en.auth_key) == _AUTH_BYTES[en.auth_algorithm], "the length of the MAC key")
        _require(en.tls_vminor <= TLS_MINOR_VER_TWO, "AES-CBC with TLS 1.3")
        kind = RecordKind.CBC
    elif en.cipher_algorithm == CRYPTO_CHACHA20_POLY1305:
        _require(en.auth_algorithm == 0 and not len(en.auth_key), "a MAC with ChaCha20-Poly1305")
        _require(en.tls_vminor >= TLS_MINOR_VER_TWO, "ChaCha20-Poly1305 before TLS 1.2")
        _require(len(en.iv) == TLS_CHACHA20_IV_LEN, "the IV")
        kind = RecordKind.CHACHA20_POLY1305
    else:
        raise OSError(EINVAL, f"cipher algorithm {en.cipher_algorithm}")
    for layout in SUITES.values():
        if (
            layout.version == version
            and layout.kind is kind
            and len(en.cipher_key) in layout.key_bytes
            and len(en.auth_key) == layout.mac_key_bytes
        ):
            return layout
    raise OSError(EINVAL, f"a key of {len(en.cipher_key)} bytes")


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise OSError(EINVAL, f"not supported: {what}")
