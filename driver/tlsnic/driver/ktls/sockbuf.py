"""Socket buffers (FreeBSD's struct sockbuf and uipc_sockbuf.c), as KTLS needs them.

A send buffer is one record: a chain of mbufs at `sb_mb`, of which TCP may send those before
`sb_fnrdy`, the first that is not ready. A receive buffer without TLS is the same. With TLS
(SB_TLS_RX) what TCP appends goes to a second chain, `sb_mtls`, until it is decrypted; each record
then becomes one of the records at `sb_mb`, linked by `m_nextpkt`. While a record is being
decrypted it is in neither; `sb_tlsdcc` counts it.

    sb_ccc    all bytes: sb_mb, the detached record (sb_tlsdcc), sb_mtls (sb_tlscc)
    sb_acc    bytes of sb_mb that may be read or sent
    sb_space  sb_hiwat - sb_ccc: what TCP announces as its window

Methods take the lock `sb_mtx` themselves; it is reentrant, so whoever does several things at once
holds it around them (`with sb.sb_mtx:`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Condition, RLock
from typing import TYPE_CHECKING, Final

from tlsnic.driver.ktls.mbuf import (
    CSUM_TLS_DECRYPTED,
    M_BLOCKED,
    M_CUT,
    M_DECRYPTED,
    M_EOR,
    M_EXTPG,
    M_NOTAVAIL,
    M_NOTREADY,
    M_RDONLY,
    MT_DATA,
    Mbuf,
    chain,
    m_freem,
    m_link,
)

if TYPE_CHECKING:
    from tlsnic.driver.ktls.session import KtlsSession

# sb_flags
SB_TLS_RX: Final = 0x01
"""Receive: TLS records are decrypted here."""
SB_TLS_RX_RUNNING: Final = 0x02
"""Receive: a worker decrypts, or will."""
SB_TLS_IFNET: Final = 0x04
"""Transmit: records go down in clear; a card encrypts them."""
# sb_state
SBS_CANTSENDMORE: Final = 0x10
SBS_CANTRCVMORE: Final = 0x20

_COMPRESS_BYTES: Final = 512  # MCLBYTES / 4, as sbcompress()


class Sockbuf:
    """One direction of a socket."""

    def __init__(self, hiwat: int) -> None:
        """hiwat: most bytes, sb_hiwat."""
        self.sb_mtx = RLock()
        self.sb_cond = Condition(self.sb_mtx)
        self.sb_flags = 0
        self.sb_state = 0
        self.sb_hiwat = hiwat
        self.sb_lowat = 1
        self.sb_acc = 0
        self.sb_ccc = 0
        self.sb_ctl = 0
        """Bytes that are not data (control messages)."""
        self.sb_mcnt = 0
        """mbufs in sb_mb and sb_mtls."""
        self.sb_mb: Mbuf | None = None
        self.sb_mbtail: Mbuf | None = None
        self.sb_lastrecord: Mbuf | None = None
        self.sb_fnrdy: Mbuf | None = None
        self.sb_mtls: Mbuf | None = None
        self.sb_mtlstail: Mbuf | None = None
        self.sb_tlscc = 0
        self.sb_tlsdcc = 0
        self.sb_tls_info: KtlsSession | None = None
        self.sb_tls_seqno = 0
        """u64 number of the next record."""
        self.sb_sndptr: Mbuf | None = None
        self.sb_sndptroff = 0
        """Of sb_sndptr from the start: where the last look-up ended (sbsndptr)."""
        self.ktls_check_rx: Callable[[Sockbuf], None] | None = None
        """Receive with TLS: called when encrypted data was appended."""
        self.sb_upcall: Callable[[Sockbuf], None] | None = None
        """Called by `sowakeup`, without the lock."""

    # Counts

    def sbavail(self) -> int:
        """Bytes that may be read or sent."""
        return self.sb_acc

    def sbused(self) -> int:
        """Bytes that are in it at all."""
        return self.sb_ccc

    def sbspace(self) -> int:
        """Room in bytes; negative when over full."""
        return self.sb_hiwat - self.sb_ccc

    def sballoc(self, m: Mbuf) -> None:
        """Count an mbuf that comes into sb_mb."""
        self.sb_ccc += m.m_len
        if self.sb_fnrdy is not None:
            if not m.m_flags & M_NOTREADY:
                m.m_flags |= M_BLOCKED
        elif m.m_flags & M_NOTREADY:
            self.sb_fnrdy = m
        else:
            self.sb_acc += m.m_len
        if m.m_type != MT_DATA:
            self.sb_ctl += m.m_len
        self.sb_mcnt += 1

    def sbfree(self, m: Mbuf) -> None:
        """The same for one that leaves it."""
        self.sb_ccc -= m.m_len
        if not m.m_flags & M_NOTAVAIL:
            self.sb_acc -= m.m_len
        if m is self.sb_fnrdy:
            self._advance_fnrdy(m)
        if m.m_type != MT_DATA:
            self.sb_ctl -= m.m_len
        self.sb_mcnt -= 1
        if self.sb_sndptr is m:
            self.sb_sndptr = None
            self.sb_sndptroff = 0
        elif self.sb_sndptr is not None:
            self.sb_sndptroff -= m.m_len

    def _advance_fnrdy(self, m: Mbuf) -> None:
        """Go on behind `m`, which was the first that is not ready, to the next such. Only
        streams, which are one record, have data that is not ready in sb_mb."""
        n = m.m_next
        while n is not None and not n.m_flags & M_NOTREADY:
            n.m_flags &= ~M_BLOCKED
            self.sb_acc += n.m_len
            n = n.m_next
        self.sb_fnrdy = n

    def sballoc_ktls_rx(self, m: Mbuf) -> None:
        """Count an mbuf that comes into sb_mtls."""
        self.sb_ccc += m.m_len
        self.sb_tlscc += m.m_len
        self.sb_mcnt += 1

    def sbfree_ktls_rx(self, m: Mbuf) -> None:
        """The same for one that leaves it."""
        self.sb_ccc -= m.m_len
        self.sb_tlscc -= m.m_len
        self.sb_mcnt -= 1

    # Appending

    def sbappendstream(self, m: Mbuf) -> None:
        """Append a chain to the stream. With SB_TLS_RX it goes to sb_mtls (sbappendstream_locked)."""
        with self.sb_mtx:
            if self.sb_flags & SB_TLS_RX:
                self.sbappend_ktls_rx(m)
                return
            tail: Mbuf | None = self.sb_mbtail
            for n in chain(m):
                n.m_next = None
                n.m_flags &= ~M_BLOCKED
                if not n.m_len:
                    n.free()
                    continue
                if tail is not None and not n.m_flags & M_NOTREADY and _can_compress(tail, n):
                    self._compress(tail, n)
                    continue
                if tail is None:
                    self.sb_mb = self.sb_lastrecord = n
                else:
                    tail.m_next = n
                self.sballoc(n)
                tail = self.sb_mbtail = n

    def _compress(self, tail: Mbuf, n: Mbuf) -> None:
        _merge(tail, n)
        self.sb_ccc += n.m_len
        if not tail.m_flags & M_BLOCKED:
            self.sb_acc += n.m_len

    def sbappend_ktls_rx(self, m: Mbuf) -> None:
        """Append a chain that is not decrypted here yet to sb_mtls; what the card has decrypted
        gets M_DECRYPTED from its packet header, and is never merged with what it has not."""
        with self.sb_mtx:
            tail: Mbuf | None = self.sb_mtlstail
            for n in chain(m):
                n.m_next = None
                flags = n.m_flags & ~(M_NOTAVAIL | M_DECRYPTED)
                header = n.m_pkthdr
                if header is None:
                    flags |= n.m_flags & M_DECRYPTED
                elif header.csum_flags & CSUM_TLS_DECRYPTED:
                    flags |= M_DECRYPTED
                n.m_flags = flags | M_NOTREADY
                if not n.m_len:
                    n.free()
                    continue
                if tail is not None and _can_compress(tail, n):
                    _merge(tail, n)
                    self.sb_ccc += n.m_len
                    self.sb_tlscc += n.m_len
                    continue
                if tail is None:
                    self.sb_mtls = n
                else:
                    tail.m_next = n
                self.sballoc_ktls_rx(n)
                tail = self.sb_mtlstail = n
            if self.ktls_check_rx is not None:
                self.ktls_check_rx(self)

    def sbappendcontrol(self, m: Mbuf | None, control: Mbuf) -> None:
        """Append a record: control messages, then data (sbappendcontrol_locked)."""
        with self.sb_mtx:
            last = control
            while last.m_next is not None:
                last = last.m_next
            last.m_next = m
            for n in chain(control):
                self.sballoc(n)
                last = n
            if self.sb_lastrecord is not None:
                self.sb_lastrecord.m_nextpkt = control
            else:
                self.sb_mb = control
            self.sb_lastrecord = control
            self.sb_mbtail = last

    def sb_mark_notready(self) -> None:
        """Receive TLS begins: what is here is encrypted (sb_mark_notready in uipc_ktls.c)."""
        with self.sb_mtx:
            self.sb_mtls, self.sb_mtlstail = self.sb_mb, self.sb_mbtail
            self.sb_mb = self.sb_mbtail = self.sb_lastrecord = None
            for m in chain(self.sb_mtls):
                m.m_flags |= M_NOTREADY
                self.sb_acc -= m.m_len
                self.sb_tlscc += m.m_len
                header = m.m_pkthdr
                if header is not None and header.csum_flags & CSUM_TLS_DECRYPTED:
                    m.m_flags |= M_DECRYPTED
            self.sb_sndptr = None
            self.sb_sndptroff = 0

    # Ready

    def sbready(self, m: Mbuf, count: int) -> bool:
        """`count` pages of `m` have become ready: encrypted, or read from disk. A whole mbuf is
        ready when all are; an mbuf without pages is ready at once. Returns whether data became
        available; otherwise it waits for the one before it (EINPROGRESS in C).

        Raises LookupError, after freeing it, when it was cut out of the buffer meanwhile.
        """
        with self.sb_mtx:
            if m.m_flags & M_CUT:
                m.free()
                raise LookupError("no longer in the socket buffer")
            if m.m_flags & M_EXTPG:
                m.m_epg_nrdy -= count
                if m.m_epg_nrdy > 0:
                    return False
            m.m_flags &= ~M_NOTREADY
            if m is not self.sb_fnrdy:
                m.m_flags |= M_BLOCKED
                return False
            self.sb_acc += m.m_len
            self._advance_fnrdy(m)
            return True

    # Dropping

    def sbdrop(self, length: int) -> None:
        """Free `length` bytes from the front (acknowledged, or read). ValueError: not so many."""
        m_freem(self.sbcut(length))

    def sbcut(self, length: int) -> Mbuf | None:
        """Take `length` bytes off the front: the mbufs that are gone wholly, as a chain for the
        caller to free (sbcut_internal). One that a worker makes ready is left to it (M_CUT);
        so is the detached record."""
        with self.sb_mtx:
            if length > self.sb_ccc:
                raise ValueError(f"{length} bytes of {self.sb_ccc}")
            beyond = length - (self.sb_ccc - self.sb_tlscc - self.sb_tlsdcc)
            if 0 < beyond < self.sb_tlsdcc:
                raise ValueError("a record that is being decrypted goes as a whole")
            gone: list[Mbuf] = []
            m = self.sb_mb
            following = m.m_nextpkt if m is not None else None
            is_tls = False
            while length > 0:
                if m is None:
                    if following is None and not is_tls:
                        length -= self.sb_tlsdcc
                        self.sb_ccc -= self.sb_tlsdcc
                        self.sb_tlsdcc = 0
                        if not length:
                            break
                        following = self.sb_mtls
                        is_tls = True
                    assert following is not None
                    m = following
                    following = m.m_nextpkt
                if m.m_len > length:
                    self._trim(m, length, is_tls)
                    break
                length -= m.m_len
                if is_tls:
                    self.sbfree_ktls_rx(m)
                else:
                    self.sbfree(m)
                after = m.m_next
                if m.m_flags & M_NOTREADY and not is_tls and _has_worker(m):
                    m.m_flags |= M_CUT
                    m.m_next = None
                else:
                    gone.append(m)
                m = after
            self._relink(m, following, is_tls)
            for n in gone:
                n.m_next = n.m_nextpkt = None
            return m_link(gone)

    def _trim(self, m: Mbuf, length: int, is_tls: bool) -> None:
        """The first `length` bytes of `m` go; the mbuf stays."""
        m.m_off += length
        m.m_len -= length
        self.sb_ccc -= length
        if is_tls:
            self.sb_tlscc -= length
        elif not m.m_flags & M_NOTAVAIL:
            self.sb_acc -= length
        if m.m_type != MT_DATA:
            self.sb_ctl -= length
        if self.sb_sndptr is not None and self.sb_sndptr is not m:
            self.sb_sndptroff -= length

    def _relink(self, m: Mbuf | None, following: Mbuf | None, is_tls: bool) -> None:
        """`m` is the front now; `following` the record behind it."""
        if is_tls:
            self.sb_mb = None
            self.sb_mtls = m
            if m is None:
                self.sb_mtlstail = None
        elif m is not None:
            self.sb_mb = m
            m.m_nextpkt = following
        else:
            self.sb_mb = following
        first = self.sb_mb
        if first is None:
            self.sb_mbtail = self.sb_lastrecord = None
        elif first.m_nextpkt is None:
            self.sb_lastrecord = first

    def sbflush(self) -> None:
        """Free everything (sbflush_internal). What workers have of it they free themselves."""
        with self.sb_mtx:
            while self.sb_ccc:
                self.sbdrop(self.sb_ccc)

    # Looking

    def iterate(self, offset: int, length: int) -> Iterator[tuple[Mbuf, int, int]]:
        """Where `length` bytes from `offset` of sb_mb's first record on lie: mbuf, offset in it,
        bytes of it. For TCP, which sends in order and sometimes again: the look-up begins where
        the last one did, when that helps (sbsndptr). Raises ValueError when there are not so many
        bytes. Take all of it under one hold of the lock."""
        m, at = self.sb_mb, 0
        if self.sb_sndptr is not None and self.sb_sndptroff <= offset:
            m, at = self.sb_sndptr, self.sb_sndptroff
        while m is not None and at + m.m_len <= offset:
            at += m.m_len
            m = m.m_next
        if m is not None:
            self.sb_sndptr, self.sb_sndptroff = m, at
        while length > 0:
            if m is None:
                raise ValueError(f"{length} bytes beyond the end of the socket buffer")
            count = min(at + m.m_len - offset, length)
            yield m, offset - at, count
            length -= count
            offset += count
            at += m.m_len
            m = m.m_next

    # Waiting

    def sbwait(self, timeout_s: float | None = None) -> bool:
        """Wait for `sowakeup`; the caller holds the lock. Whether it came in time."""
        return self.sb_cond.wait(timeout_s)

    def sowakeup(self) -> None:
        """Something has changed that somebody may wait for."""
        with self.sb_mtx:
            self.sb_cond.notify_all()
        if self.sb_upcall is not None:
            self.sb_upcall(self)

    # Invariants

    def sbcheck(self) -> None:
        """SBCHECK: raise AssertionError when counts, chains and flags contradict each other."""
        with self.sb_mtx:
            acc = ccc = ctl = count = 0
            fnrdy: Mbuf | None = None
            last = record = None
            first = self.sb_mb
            while first is not None:
                record = first
                for m in chain(first):
                    assert m.m_len > 0 or m.m_type != MT_DATA, "an empty mbuf"
                    assert not m.m_flags & M_CUT, "an mbuf that was cut out"
                    if m.m_flags & M_NOTREADY and fnrdy is None:
                        fnrdy = m
                    if fnrdy is not None:
                        assert m.m_flags & M_NOTAVAIL, "available behind one that is not ready"
                    else:
                        assert not m.m_flags & M_BLOCKED, "blocked by nothing"
                        acc += m.m_len
                    ccc += m.m_len
                    ctl += m.m_len if m.m_type != MT_DATA else 0
                    count += 1
                    last = m
                first = first.m_nextpkt
            assert fnrdy is self.sb_fnrdy, "sb_fnrdy"
            assert last is self.sb_mbtail, "sb_mbtail (SBLASTMBUFCHK)"
            assert record is self.sb_lastrecord, "sb_lastrecord (SBLASTRECORDCHK)"
            tlscc = 0
            last = None
            for m in chain(self.sb_mtls):
                assert m.m_nextpkt is None, "a record in sb_mtls"
                assert m.m_flags & M_NOTREADY, "ready in sb_mtls"
                assert m.m_len > 0, "an empty mbuf in sb_mtls"
                tlscc += m.m_len
                count += 1
                last = m
            assert last is self.sb_mtlstail, "sb_mtlstail"
            assert tlscc == self.sb_tlscc, f"sb_tlscc {self.sb_tlscc}, there are {tlscc}"
            assert self.sb_tlsdcc >= 0, "sb_tlsdcc"
            ccc += tlscc + self.sb_tlsdcc
            assert acc == self.sb_acc, f"sb_acc {self.sb_acc}, there are {acc}"
            assert ccc == self.sb_ccc, f"sb_ccc {self.sb_ccc}, there are {ccc}"
            assert ctl == self.sb_ctl, f"sb_ctl {self.sb_ctl}, there are {ctl}"
            assert count == self.sb_mcnt, f"sb_mcnt {self.sb_mcnt}, there are {count}"
            self._check_sndptr()

    def _check_sndptr(self) -> None:
        at = 0
        for m in chain(self.sb_mb):
            if m is self.sb_sndptr:
                assert at == self.sb_sndptroff, f"sb_sndptroff {self.sb_sndptroff}, it is {at}"
                return
            at += m.m_len
        assert self.sb_sndptr is None, "sb_sndptr is not in the buffer"

    def __repr__(self) -> str:
        return f"<Sockbuf {self.sb_acc} of {self.sb_ccc} bytes available, {self.sb_hiwat} at most>"


def _can_compress(tail: Mbuf, n: Mbuf) -> bool:
    """Whether the bytes of `n` may be put behind those of `tail` (sbcompress, M_WRITABLE)."""
    mask = M_EXTPG | M_EOR | M_RDONLY | M_DECRYPTED | M_NOTREADY
    return (
        n.m_len <= _COMPRESS_BYTES
        and tail.m_len <= _COMPRESS_BYTES
        and tail.m_flags & mask == n.m_flags & mask
        and not n.m_flags & (M_EXTPG | M_EOR | M_RDONLY)
        and tail.m_type == n.m_type == MT_DATA
        and _leaf(tail) is _leaf(n)
    )


def _has_worker(m: Mbuf) -> bool:
    """Whether somebody will call `sbready` for an mbuf that is not ready."""
    return not m.m_flags & M_EXTPG or m.m_epg_nrdy > 0


def _leaf(m: Mbuf) -> object:
    return m.m_pkthdr.leaf_rcvif if m.m_pkthdr is not None else None


def _merge(tail: Mbuf, n: Mbuf) -> None:
    joined = memoryview(tail.tobytes() + n.tobytes())
    tail.replace_data(joined)
    n.free()
