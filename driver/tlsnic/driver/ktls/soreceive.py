"""Reading a socket (soreceive_generic()): with TLS one record, with its control message, per call."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final, NamedTuple

from tlsnic.driver.ktls.mbuf import M_EOR, M_NOTAVAIL, MT_CONTROL, Mbuf
from tlsnic.driver.ktls.rx_record import TlsGetRecord
from tlsnic.driver.ktls.session import TLS_RLTYPE_ALERT
from tlsnic.driver.ktls.sockbuf import SB_TLS_RX_RUNNING, SBS_CANTRCVMORE, Sockbuf

if TYPE_CHECKING:
    from tlsnic.driver.ktls.socket import Socket

_SS_NBIO: Final = 0x0100
MSG_PEEK: Final = 0x2
MSG_TLSAPPDATA: Final = 0x0040_0000
"""An alert is not taken but reported as ENXIO; a call without this flag reads it."""


class Message(NamedTuple):
    """What one call gives."""

    data: bytes
    control: TlsGetRecord | None
    """With the first bytes of a record."""
    is_eor: bool
    """Whether the record ends here (MSG_EOR)."""

    @property
    def at_end(self) -> bool:
        """Whether the peer has ended its stream: no bytes, and not of an empty record."""
        return not self.data and self.control is None


def soreceive(so: Socket, max_bytes: int, flags: int = 0) -> Message:
    """At most `max_bytes` of the next record; without TLS, of the stream. A socket that blocks waits
    `so_timeo_s` for data, also for data that is being decrypted.

    Raises OSError: EAGAIN when there is none; ENXIO as MSG_TLSAPPDATA says; once, when all before
    it was read, what went wrong: EBADMSG (a record that is not authentic; those behind it can be
    read), EMSGSIZE (the stream ends inside of a record), or why the connection ended. After that,
    and after `close`, the stream is at its end.
    """
    sb = so.so_rcv
    with sb.sb_mtx:
        while not _can_read(sb):
            if so.so_error:
                error, so.so_error = so.so_error, 0
                raise OSError(error, os.strerror(error))
            if sb.sb_state & SBS_CANTRCVMORE and not (
                sb.sb_ccc and sb.sb_flags & SB_TLS_RX_RUNNING
            ):
                return Message(b"", None, False)  # also behind the beginning of a record
            if so.so_state & _SS_NBIO or not so.proto.sbwait(so, sb, so.so_timeo_s):
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        message = _take(sb, max_bytes, flags)
    if not flags & MSG_PEEK:
        so.proto.pr_rcvd(so)
    return message


def _can_read(sb: Sockbuf) -> bool:
    return sb.sb_mb is not None and not sb.sb_mb.m_flags & M_NOTAVAIL


def _take(sb: Sockbuf, max_bytes: int, flags: int) -> Message:
    m = sb.sb_mb
    assert m is not None
    control: TlsGetRecord | None = None
    if m.m_type == MT_CONTROL:
        control = TlsGetRecord.unpack(m.tobytes())
        if flags & MSG_TLSAPPDATA and control.tls_type == TLS_RLTYPE_ALERT:
            raise OSError(errno.ENXIO, "an alert")
    found: list[memoryview] = []
    left, is_eor = max_bytes, control is not None and not control.tls_length
    gone = 0
    n: Mbuf | None = m
    while n is not None and not n.m_flags & M_NOTAVAIL:
        if n.m_type == MT_CONTROL:
            gone += n.m_len
        else:
            if not left:
                break
            count = min(left, n.m_len)
            found += n.views(0, count)
            left -= count
            gone += count
            if count < n.m_len:
                break
            is_eor = bool(n.m_flags & M_EOR)
        n = n.m_next
    data = b"".join(found)
    if not flags & MSG_PEEK:
        sb.sbdrop(gone)
    return Message(data, control, is_eor)
