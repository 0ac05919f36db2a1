"""Software TLS for transmit: ktls_enqueue, workers that encrypt, and sbready in order.

A record that write(2) copied is encrypted where it is. One whose payload is pages of a file is
encrypted into a page of its own, which then takes the place of the file's (ktls_encrypt and
ktls_finish_nonanon in uipc_ktls.c).
"""

from __future__ import annotations

from errno import EIO
from typing import TYPE_CHECKING

from tlsnic.driver.ktls.mbuf import M_CUT, M_RDONLY, Mbuf, chain
from tlsnic.driver.ktls.pages import HEADER_ROOM
from tlsnic.driver.ktls.session import KtlsSession

if TYPE_CHECKING:
    from tlsnic.driver.ktls.socket import Socket


def ktls_enqueue(top: Mbuf, so: Socket) -> None:
    """Have a chain of framed records encrypted, which was just appended to `so.so_snd`. The caller
    holds the lock of the socket buffer, so that records are queued in their order."""
    records = list(chain(top))
    tls = records[0].m_epg_tls
    assert tls is not None
    kernel = tls.kernel
    kernel.sysctl.add("stats.sw_tx_inqueue", len(records))
    if tls.sequential_records:
        if tls.enqueue_sequential(records):
            kernel.workers.submit(tls.wq_index, _Encrypt(so, tls, records))
    elif kernel.workers.spread:
        for m in records:
            kernel.workers.submit(tls.wq_index, _Encrypt(so, tls, [m]))
    else:
        kernel.workers.submit(tls.wq_index, _Encrypt(so, tls, records))


class _Encrypt:
    """One job: some records of a session."""

    __slots__ = ("_error", "_records", "_so", "_tls")

    def __init__(self, so: Socket, tls: KtlsSession, records: list[Mbuf]) -> None:
        self._so = so
        self._tls = tls.hold()
        self._records = records
        self._error: Exception | None = None

    def run(self) -> None:
        """Encrypt them, but for those that were dropped meanwhile."""
        for m in self._records:
            if m.m_flags & M_CUT:
                continue
            try:
                ktls_encrypt_record(m, self._tls)
            except Exception as error:  # whatever it is, it ends the connection
                self._error = error
                return

    def finish(self) -> None:
        """Make them ready, drop their references to the session, and tell TCP (pru_ready)."""
        so, tls, records = self._so, self._tls, self._records
        sysctl = tls.kernel.sysctl
        sb = so.so_snd
        sysctl.add("stats.sw_tx_inqueue", -len(records))
        available = False
        with sb.sb_mtx:
            for m in records:
                if m.m_flags & M_CUT:
                    m.free()
                elif self._error is not None:
                    m.m_epg_nrdy = 0  # nobody makes it ready: it goes with the socket buffer
                else:
                    held, m.m_epg_tls = m.m_epg_tls, None
                    available |= sb.sbready(m, m.m_epg_nrdy)
                    if held is not None:
                        held.free()
        if self._error is not None:
            sysctl.add("stats.failed_crypto")
            so.tcp_drop(EIO)
        elif available:
            so.pr_ready()
        if tls.sequential_records:
            following = tls.next_sequential()
            if following is not None:
                tls.kernel.workers.submit(tls.wq_index, _Encrypt(so, tls, following))
        tls.free()


def ktls_encrypt_record(m: Mbuf, tls: KtlsSession) -> None:
    """Encrypt the record of one mbuf (ktls_encrypt_record). Raises what the backend raises."""
    crypto = tls.crypto
    assert crypto is not None
    header_bytes, trailer_bytes = m.m_epg_hdrlen, m.m_epg_trllen
    if m.is_record_page:
        record = m.parts()[0].view
        touched = crypto.encrypt(
            (), record, header_bytes, trailer_bytes, m.m_epg_seqno, m.m_epg_record_type
        )
        tls.kernel.sysctl.touched("encrypt", touched)
        return
    page = tls.kernel.memory.records.alloc()
    try:
        source = m.payload()
        length = sum(map(len, source))
        end = HEADER_ROOM + length + trailer_bytes
        record = page.view[HEADER_ROOM - header_bytes : end]
        record[:header_bytes] = m.m_epg_hdr
        touched = crypto.encrypt(
            source, record, header_bytes, trailer_bytes, m.m_epg_seqno, m.m_epg_record_type
        )
    except BaseException:
        page.unwire()
        raise
    tls.kernel.sysctl.touched("encrypt", touched)
    npgs = m.m_epg_nrdy
    m.replace_pages(page, length)
    m.m_epg_nrdy = npgs
    m.m_flags &= ~M_RDONLY
