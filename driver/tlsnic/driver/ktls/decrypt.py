"""Receive: records out of the encrypted chain of a socket buffer, decrypted (ktls_decrypt()).

    TCP ── sbappendstream ──> sb_mtls ── ktls_detach_record ──> one record ──> sb_mb, as a record
           (SB_TLS_RX)        encrypted,     (sb_tlsdcc)          │            of its own, behind a
                              M_NOTREADY                          │            control message
                                                        crypto state of its mbufs:
                                                        DECRYPTED  only header and trailer come off
                                                        MIXED      ktls_recrypt, then as ENCRYPTED
                                                        ENCRYPTED  decrypted and authenticated here

The way is that of FreeBSD's D24628, the crypto states those of D32356. One worker at a time does
this for a socket (SB_TLS_RX_RUNNING); the lock is not held while it decrypts. What is dropped
meanwhile (the socket is closed) sets sb_tlsdcc to 0, and the worker throws the record away.

What is wrong (uipc_ktls.c): a header that cannot be one ends the connection, since nothing behind it
can be found, and what came before it can still be read; a record that fails authentication is dropped and
read as EBADMSG, and those behind it go on. `tls.receive_stream` is the simple reader of a `Connection`
without socket buffers: it raises TlsError with the alert that a TLS library would send, where this has
FreeBSD's errno. What decrypts and recrypts (`tls.software_open`) is the same.
"""

from __future__ import annotations

import errno
from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple

from tlsnic.abi.suites import HEADER_BYTES
from tlsnic.driver.ktls.mbuf import M_NOTREADY, Mbuf, chain, m_copydata, m_freem
from tlsnic.driver.ktls.rx_record import (
    KtlsMbufCryptoState,
    TlsGetRecord,
    adjusted,
    decrypted_ranges,
    ktls_detach_record,
    ktls_mbuf_crypto_state,
    tls13_find_record_type,
)
from tlsnic.driver.ktls.session import TLS_MAX_MSG_SIZE_V10_2, TLS_RLTYPE_APP, KtlsSession
from tlsnic.driver.ktls.sockbuf import SB_TLS_RX, SB_TLS_RX_RUNNING, SBS_CANTRCVMORE, Sockbuf

if TYPE_CHECKING:
    from tlsnic.driver.ktls.socket import Socket

_HEADER: Final = Struct(">BHH")
_SEQUENCE_MASK: Final = 0xFFFF_FFFF
_MAX_RECORD_NUMBER: Final = (1 << 64) - 1


class TlsRxParams(NamedTuple):
    """What the driver is told of a record (if_snd_tag_modify_params.tls_rx)."""

    tls_hdr_tcp_sn: int
    """TCP sequence number of its header, u32."""
    tls_rec_length: int
    """Its bytes on the wire; 0: the card decrypts again, forget all that was told."""
    tls_seq_number: int
    """Its record number, u64."""


class _Detached(NamedTuple):
    """A record that is out of the socket buffer while it is being decrypted."""

    chain: Mbuf
    header: bytes
    size_bytes: int
    number: int
    tcp_sequence: int


class KtlsRx:
    """The receiving direction of a socket whose TCP_RXTLS_ENABLE was accepted; a `workers.Job`.

    Attributes: `session`; `next_tcp_sequence`, of the header at the head of sb_mtls (u32);
    `records`, taken by crypto state.
    """

    def __init__(
        self,
        so: Socket,
        session: KtlsSession,
        record_number: int,
        tcp_sequence: int,
    ) -> None:
        """Records start with the first byte that is in `so_rcv` now, or comes: its TCP sequence
        number is `tcp_sequence`, and its record number `record_number`.

        session: of an AEAD suite, with a backend's crypto; a reference of the caller's that is this
        object's from now on.
        """
        self.session = session
        self.next_tcp_sequence = tcp_sequence
        self.records = dict.fromkeys(KtlsMbufCryptoState, 0)
        self._so = so
        self._layout = session.params.layout
        self._counter = f"stats.ocf.tls1{session.params.tls_vminor - 1}_{session.kind_name}"
        self._has_told = False  # SB_TLS_RX_RESYNC
        # Between run() and finish().
        self._record: _Detached | int = 0
        self._state = KtlsMbufCryptoState.ENCRYPTED
        self._found: tuple[Mbuf | None, TlsGetRecord] | None = None
        sb = so.so_rcv
        with sb.sb_mtx:
            sb.sb_tls_info = session
            sb.sb_tls_seqno = record_number
            sb.sb_flags |= SB_TLS_RX
            sb.ktls_check_rx = self.ktls_check_rx
            sb.sb_mark_notready()
            self.ktls_check_rx(sb)

    # From the socket buffer

    def ktls_check_rx(self, sb: Sockbuf) -> None:
        """Data was appended, or the peer has ended its stream: a worker shall decrypt if a whole
        record is there, or a header that cannot be one. The lock is held."""
        if sb.sb_flags & SB_TLS_RX_RUNNING:
            return
        if self._next_header(sb) is not None:
            sb.sb_flags |= SB_TLS_RX_RUNNING
            self._submit()
        else:
            self._check_end(sb)

    def _submit(self) -> None:
        self.session.hold()  # of the job; the socket may be gone when it runs
        self.session.kernel.sysctl.add("stats.sw_rx_inqueue")
        self.session.kernel.workers.submit(self.session.wq_index, self)

    def _next_header(self, sb: Sockbuf) -> bytes | None:
        """The header at the head of sb_mtls, if something can be done about it."""
        if sb.sb_tlscc < HEADER_BYTES:
            return None
        header = m_copydata(sb.sb_mtls, 0, HEADER_BYTES)
        whole = sb.sb_tlscc >= _size_of(header)
        return header if whole or self._judge(header, sb.sb_tls_seqno) else None

    def _check_end(self, sb: Sockbuf) -> None:
        """The stream must not end inside of a record."""
        if sb.sb_state & SBS_CANTRCVMORE and sb.sb_tlscc:
            self._so.so_error = errno.EMSGSIZE

    def _judge(self, header: bytes, number: int) -> int:
        """0, or the error that a record with this header is: the stream is out of step."""
        layout = self._layout
        content_type, version, length = _HEADER.unpack(header)
        if version != layout.wire_version:
            return errno.EINVAL
        if layout.is_tls13 and content_type != TLS_RLTYPE_APP:
            return errno.EINVAL
        content = length - layout.explicit_bytes - layout.tag_bytes
        if not layout.is_tls13 <= content <= TLS_MAX_MSG_SIZE_V10_2 + layout.is_tls13:
            return errno.EMSGSIZE
        return 0 if number <= _MAX_RECORD_NUMBER else errno.EMSGSIZE

    # In a worker: ktls_decrypt(), one record at a time

    def run(self) -> None:
        """Detach the next record and decrypt it."""
        record = self._next()
        self._record = record
        if isinstance(record, _Detached):
            self._state = ktls_mbuf_crypto_state(record.chain)
            self._found = self._decrypt(record, self._state)

    def finish(self) -> None:
        """Put it into the socket buffer, and go on if there are more."""
        record, self._record = self._record, 0
        found, self._found = self._found, None
        if isinstance(record, _Detached):
            if self._deliver(record, found):
                self._resync_ifnet(record, self._state)
                self._submit()
                if found is None:
                    self._so.proto.pr_rcvd(self._so)  # room that no read will tell of
        elif record:
            self.session.kernel.sysctl.add("stats.corrupted_records")
            self._so.tcp_drop(record)
            sb = self._so.so_rcv
            with sb.sb_mtx:
                sb.ktls_check_rx = None
                sb.sb_flags &= ~SB_TLS_RX_RUNNING
        self._so.sorwakeup()
        self.session.free()

    def _next(self) -> _Detached | int:
        """Take a record out. 0: there is none for now, and no worker is running any more.
        Else the error that its header is; then nothing is decrypted any more."""
        sb = self._so.so_rcv
        self.session.kernel.sysctl.add("stats.sw_rx_inqueue", -1)
        with sb.sb_mtx:
            header = self._next_header(sb)
            if header is None:
                sb.sb_flags &= ~SB_TLS_RX_RUNNING
                self._check_end(sb)
                return 0
            number, sequence = sb.sb_tls_seqno, self.next_tcp_sequence
            error = self._judge(header, number)
            if error:
                return error
            size = _size_of(header)
            sb.sb_tls_seqno = number + 1
            self.next_tcp_sequence = sequence + size & _SEQUENCE_MASK
            return _Detached(ktls_detach_record(sb, size), header, size, number, sequence)

    def _decrypt(
        self, record: _Detached, state: KtlsMbufCryptoState
    ) -> tuple[Mbuf | None, TlsGetRecord] | None:
        """Plaintext (None: no bytes) and control message. None: the record is not authentic."""
        layout = self._layout
        self.records[state] += 1
        front, length = layout.prefix_bytes, record.size_bytes - layout.prefix_bytes
        length -= layout.tag_bytes
        m = record.chain
        if state is not KtlsMbufCryptoState.DECRYPTED:
            content = self._open(record, is_mixed=state is KtlsMbufCryptoState.MIXED)
            m_freem(m)
            if content is None:
                return None
            m, front = Mbuf(content, flags=M_NOTREADY), 0
        content_type = record.header[0]
        if layout.is_tls13:
            found = tls13_find_record_type(m, front, length)
            if found is None:
                m_freem(m)
                return None
            content_type, length = found
        control = TlsGetRecord(content_type, record.header[1], record.header[2], length)
        return adjusted(m, front, length), control

    def _open(self, record: _Detached, *, is_mixed: bool) -> bytes | None:
        """Decrypt here (ktls_ocf_decrypt); None: the tag is wrong, or the backend fails."""
        sysctl, crypto = self.session.kernel.sysctl, self.session.crypto
        assert crypto is not None, "ktls_enable_rx has found a backend"
        wire = bytearray().join([view for m in chain(record.chain) for view in m.views()])
        sysctl.touched("copy", len(wire))
        if is_mixed:
            # The tag covers ciphertext, so what the card has decrypted becomes what it was on the
            # wire again, by the keystream from its place on (ktls_ocf_recrypt).
            first, last = self._layout.prefix_bytes, len(wire) - self._layout.tag_bytes
            for start, end in decrypted_ranges(record.chain):
                start, end = max(start, first), min(end, last)
                if start < end:
                    crypto.recrypt(wire, start, end, record.number)
                    sysctl.touched("recrypt", end - start)
            sysctl.add(f"{self._counter}_recrypts")
        sysctl.touched("decrypt", len(wire))
        sysctl.add(f"{self._counter}_decrypts")
        try:
            return crypto.decrypt(wire, record.number)
        except Exception:  # whatever it is, the record cannot be read
            return None

    def _deliver(self, record: _Detached, found: tuple[Mbuf | None, TlsGetRecord] | None) -> bool:
        """Put the plaintext into the socket buffer. Whether there is a socket buffer any more."""
        sb = self._so.so_rcv
        with sb.sb_mtx:
            if not sb.sb_tlsdcc:  # sbcut or sbflush has dropped it meanwhile
                if found is not None:
                    m_freem(found[0])
                sb.sb_flags &= ~SB_TLS_RX_RUNNING
                return False
            sb.sb_ccc -= record.size_bytes
            sb.sb_tlsdcc = 0
            if found is None:
                self.session.kernel.sysctl.add("stats.failed_crypto")
                self._so.so_error = errno.EBADMSG
            else:
                data, control = found
                sb.sbappendcontrol(data, control.mbuf())
        return True

    def _resync_ifnet(self, record: _Detached, state: KtlsMbufCryptoState) -> None:
        """ktls_resync_ifnet(): tell the driver of each record that the card has not fully
        decrypted, and once that it does again."""
        if self.session.snd_tag is None:  # in software; or it is being made anew, for later records
            self._has_told = False
            return
        if state is not KtlsMbufCryptoState.DECRYPTED:
            self._has_told = True
            size = record.size_bytes
        elif self._has_told:
            self._has_told = False
            size = 0
        else:
            return
        self._so.rx_tag_modify(TlsRxParams(record.tcp_sequence, size, record.number))


def _size_of(header: bytes) -> int:
    length: int = _HEADER.unpack(header)[2]
    return HEADER_BYTES + length
