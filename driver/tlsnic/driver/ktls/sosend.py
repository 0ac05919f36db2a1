"""write(2) and sendmsg(2): data into the send buffer, framed if the socket has TLS (sosend_generic)."""

from __future__ import annotations

from collections.abc import Sequence
from errno import EAGAIN, EINVAL, EMSGSIZE, ENOTCONN, EPIPE, ETIMEDOUT
from typing import TYPE_CHECKING, Final

from tlsnic.driver.ktls.frame import ktls_frame, ktls_permit_empty_frames, ktls_seq
from tlsnic.driver.ktls.mbuf import Mbuf, ReadableBuffer, m_freem, m_link
from tlsnic.driver.ktls.session import (
    IPPROTO_TCP,
    TCP_TLS_MODE_SW,
    TLS_RLTYPE_APP,
    TLS_SET_RECORD_TYPE,
    KtlsSession,
)
from tlsnic.driver.ktls.sockbuf import SBS_CANTSENDMORE
from tlsnic.driver.ktls.software_tx import ktls_enqueue

if TYPE_CHECKING:
    from tlsnic.driver.ktls.socket import Socket

WAITING: Final = (EAGAIN, ETIMEDOUT)
"""After which a call returns how much it has taken, if anything."""
_SS_ISCONNECTED = 0x0002
_SS_NBIO = 0x0100


def sendmsg(
    so: Socket, buffers: Sequence[ReadableBuffer], control: Sequence[tuple[int, int, bytes]]
) -> int:
    """As `Socket.sendmsg`. Raises as `sosend`; EINVAL for another control message, or for one on a
    socket without TLS."""
    record_type: int | None = None
    for level, kind, data in control:
        if (level, kind, len(data)) != (IPPROTO_TCP, TLS_SET_RECORD_TYPE, 1):
            raise OSError(EINVAL, "not a control message of TCP")
        record_type = data[0]
    if record_type is not None and so.so_snd.sb_tls_info is None:
        raise OSError(EINVAL, "a record type without TLS")
    data_sent = buffers[0] if len(buffers) == 1 else b"".join(buffers)
    return sosend(so, data_sent, record_type)


def sosend(so: Socket, data: ReadableBuffer, record_type: int | None = None) -> int:
    """Append `data`; how many bytes were taken. Without a record type: application data in records
    as long as may be, of which a socket that does not block takes as much as has room. With one:
    one record of that type, or nothing.

    Raises OSError: EPIPE, ENOTCONN, what `so_error` says; EAGAIN when there is no room and the
    socket does not block; ETIMEDOUT; EMSGSIZE when one record cannot hold it; EINVAL for an empty
    record in a version of TLS that has none.
    """
    view = memoryview(data)
    sb = so.so_snd
    with so.send_lock:
        tls = sb.sb_tls_info
        resid = len(view)
        if tls is None:
            if not resid:
                check_can_send(so)
                return 0
        elif not resid and not ktls_permit_empty_frames(tls):
            raise OSError(EINVAL, "an empty record")
        atomic = record_type is not None
        if tls is not None and atomic and resid > min(tls.params.max_frame_len, sb.sb_hiwat):
            raise OSError(EMSGSIZE, f"{resid} bytes in one record")
        taken = 0
        while True:
            try:
                space = wait_for_space(so, resid - taken, atomic=atomic)
            except OSError as error:
                if taken and error.errno in WAITING:
                    return taken
                raise
            tls = sb.sb_tls_info  # the mode may have been switched by what ran meanwhile
            count = min(space, resid - taken)
            top = _uiotombuf(so, tls, view[taken : taken + count])
            taken += count
            append(so, tls, top, TLS_RLTYPE_APP if record_type is None else record_type)
            if taken == resid:
                return taken


def _uiotombuf(so: Socket, tls: KtlsSession | None, view: memoryview) -> Mbuf:
    """A chain of mbufs with copies, with TLS each of a record's payload (m_uiotombuf)."""
    so.kernel.sysctl.touched("copy", len(view))
    if tls is None:
        return Mbuf(bytes(view))
    most = tls.params.max_frame_len
    made: list[Mbuf] = []
    try:
        for at in range(0, max(len(view), 1), most):
            made.append(Mbuf.get_record(view[at : at + most], so.kernel.memory))
    except BaseException:
        m_freem(m_link(made))
        raise
    m_link(made)
    return made[0]


def append(so: Socket, tls: KtlsSession | None, top: Mbuf, record_type: int) -> None:
    """Frame a chain, append it to the send buffer, have it encrypted, and tell TCP (pru_send with
    PRUS_NOTREADY, ktls_enqueue). The send lock is held. EPIPE when the connection has just gone."""
    if tls is not None:
        ktls_frame(top, tls, record_type)
    sb = so.so_snd
    with sb.sb_mtx:
        if sb.sb_state & SBS_CANTSENDMORE:
            m_freem(top)
            raise OSError(EPIPE, "the sending direction has ended")
        if tls is not None:
            ktls_seq(sb, top)
        sb.sbappendstream(top)
        if tls is not None and tls.mode == TCP_TLS_MODE_SW:
            ktls_enqueue(top, so)
    so.proto.pr_send(so)


def check_can_send(so: Socket) -> None:
    """Raise the OSError that sending would get now."""
    sb = so.so_snd
    if so.so_error:
        error, so.so_error = so.so_error, 0
        raise OSError(error, "the connection has failed")
    if sb.sb_state & SBS_CANTSENDMORE:
        raise OSError(EPIPE, "the sending direction has ended")
    if not so.so_state & _SS_ISCONNECTED:
        raise OSError(ENOTCONN, "not connected")


def wait_for_space(so: Socket, resid: int, *, atomic: bool = False) -> int:
    """Wait until the send buffer has room for `resid` bytes, or if not `atomic` for sb_lowat; how
    much. Framing is not counted, so the buffer may get a little fuller than sb_hiwat, as FreeBSD's.
    """
    sb = so.so_snd
    with sb.sb_mtx:
        while True:
            check_can_send(so)
            space = sb.sbspace()
            needed = resid if atomic else min(resid, sb.sb_lowat)
            if space >= needed:
                return space
            if so.so_state & _SS_NBIO:
                raise BlockingIOError(EAGAIN, "the send buffer is full")
            if not so.proto.sbwait(so, sb, so.so_timeo_s):
                raise OSError(ETIMEDOUT, "the send buffer stays full")
