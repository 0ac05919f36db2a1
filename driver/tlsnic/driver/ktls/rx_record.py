"""One received record: taken out of the encrypted chain, judged by its mbufs' flags, unwrapped.

Pure functions on chains of mbufs; what calls them is `decrypt`.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from struct import Struct
from typing import Final, NamedTuple

from tlsnic.driver.ktls.mbuf import (
    M_DECRYPTED,
    M_EOR,
    M_NOTREADY,
    MT_CONTROL,
    Mbuf,
    chain,
    m_length,
)
from tlsnic.driver.ktls.sockbuf import Sockbuf

_GET_RECORD: Final = Struct(">BBBH")


class KtlsMbufCryptoState(Enum):
    """How much of a record the card has decrypted (ktls_mbuf_crypto_st_t)."""

    MIXED = "partly decrypted"
    ENCRYPTED = "not decrypted"
    DECRYPTED = "fully decrypted"


class TlsGetRecord(NamedTuple):
    """Control message of a record (struct tls_get_record)."""

    tls_type: int
    """Content type; with TLS 1.3 the inner one."""
    tls_vmajor: int
    tls_vminor: int
    """As in the record's header: 3 and 3 for TLS 1.2 and 1.3."""
    tls_length: int
    """Bytes of plaintext."""

    def pack(self) -> bytes:
        """As in memory: the length in network byte order."""
        return _GET_RECORD.pack(*self)

    @classmethod
    def unpack(cls, data: bytes | memoryview) -> TlsGetRecord:
        """The other way."""
        return cls(*_GET_RECORD.unpack(data))

    def mbuf(self) -> Mbuf:
        """The control message as an mbuf (sbcreatecontrol)."""
        return Mbuf(self.pack(), MT_CONTROL)


def ktls_mbuf_crypto_state(m: Mbuf) -> KtlsMbufCryptoState:
    """What the flags of a record's mbufs say of the whole."""
    decrypted = encrypted = False
    for n in chain(m):
        if n.m_flags & M_DECRYPTED:
            decrypted = True
        else:
            encrypted = True
    if decrypted and encrypted:
        return KtlsMbufCryptoState.MIXED
    return KtlsMbufCryptoState.DECRYPTED if decrypted else KtlsMbufCryptoState.ENCRYPTED


def decrypted_ranges(m: Mbuf) -> Iterator[tuple[int, int]]:
    """Start and end, in the record, of what the card has decrypted."""
    at = 0
    for n in chain(m):
        if n.m_flags & M_DECRYPTED:
            yield at, at + n.m_len
        at += n.m_len


def ktls_detach_record(sb: Sockbuf, size_bytes: int) -> Mbuf:
    """Take the first `size_bytes` of sb_mtls out; the lock is held. They still count in sb_ccc, by
    way of sb_tlsdcc. An mbuf with the beginning of the next record is split."""
    first = sb.sb_mtls
    assert first is not None, "an empty chain"
    assert not sb.sb_tlsdcc, "one record at a time"
    last, left = first, size_bytes
    while last.m_len < left:
        left -= last.m_len
        assert last.m_next is not None, "the chain is shorter than sb_tlscc"
        last = last.m_next
    rest = last.m_next
    if last.m_len > left:
        behind = Mbuf(last.m_data[last.m_off + left :], last.m_type, last.m_flags)
        behind.m_pkthdr = last.m_pkthdr
        behind.m_next = rest
        sb.sb_mcnt += 1  # the split one was counted once
        last.m_data = last.m_data[: last.m_off + left]
        last.m_len = left
        rest = behind
    last.m_next = None
    sb.sb_mtls = rest
    if rest is None or rest.m_next is None:
        sb.sb_mtlstail = rest
    for n in chain(first):
        sb.sbfree_ktls_rx(n)
    sb.sb_tlsdcc = size_bytes
    sb.sb_ccc += size_bytes
    return first


def adjusted(m: Mbuf, front: int, length: int) -> Mbuf | None:
    """`length` bytes of a chain from `front` on, ready to be read; the rest is freed. None for no
    bytes. The last mbuf has M_EOR."""
    first: Mbuf | None = None
    last: Mbuf | None = None
    for n in chain(m):
        gone = min(front, n.m_len)
        front -= gone
        n.m_off += gone
        n.m_len = min(n.m_len - gone, length)
        length -= n.m_len
        n.m_next = None
        if not n.m_len:
            n.free()
            continue
        n.m_flags &= ~(M_NOTREADY | M_DECRYPTED)
        if last is None:
            first = n
        else:
            last.m_next = n
        last = n
    assert not length, "the chain is too short"
    if last is not None:
        last.m_flags |= M_EOR
    return first


def tls13_find_record_type(m: Mbuf, front: int, length: int) -> tuple[int, int] | None:
    """Content type and length of the content of a TLSInnerPlaintext (RFC 8446, section 5.4): the
    last byte that is not zero, among `length` bytes of a chain from `front` on. None: there is
    none, which is an error."""
    found: tuple[int, int] | None = None
    at = -front
    for n in chain(m):
        for view in n.views():
            low, high = max(-at, 0), min(length - at, len(view))
            if low < high:
                content = bytes(view[low:high]).rstrip(b"\0")
                if content:
                    found = content[-1], at + low + len(content) - 1
            at += len(view)
    assert m_length(m) >= front + length, "the chain is too short"
    return found
