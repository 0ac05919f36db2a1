"""Socket options of TLS: TCP_TXTLS_ENABLE, TCP_TXTLS_MODE (ktls_enable_tx, ktls_set_tx_mode)."""

from __future__ import annotations

from errno import EALREADY, EBUSY, EINVAL, ENOPROTOOPT, ENOTCONN, ENOTSUP
from typing import TYPE_CHECKING

from tlsnic.driver.ktls.session import (
    CRYPTO_AES_CBC,
    IPPROTO_TCP,
    KTLS_TX,
    TCP_RXTLS_ENABLE,
    TCP_RXTLS_MODE,
    TCP_TLS_MODE_IFNET,
    TCP_TLS_MODE_NONE,
    TCP_TLS_MODE_SW,
    TCP_TXTLS_ENABLE,
    TCP_TXTLS_MODE,
    KtlsSession,
    TlsEnable,
    ktls_create_session,
)
from tlsnic.driver.ktls.sockbuf import SB_TLS_IFNET, Sockbuf
from tlsnic.driver.ktls.sockopt_rx import ktls_enable_rx

if TYPE_CHECKING:
    from tlsnic.driver.ktls.socket import Socket

_SS_ISCONNECTED = 0x0002


def setsockopt(so: Socket, level: int, option: int, value: TlsEnable | int) -> None:
    """As `Socket.setsockopt`. ENOPROTOOPT for another option; EINVAL for a value of another kind."""
    if level != IPPROTO_TCP:
        raise OSError(EINVAL, "another level than IPPROTO_TCP")
    if option == TCP_TXTLS_ENABLE and isinstance(value, TlsEnable):
        ktls_enable_tx(so, value)
    elif option == TCP_TXTLS_MODE and isinstance(value, int):
        ktls_set_tx_mode(so, value)
    elif option == TCP_RXTLS_ENABLE and isinstance(value, TlsEnable):
        so.proto.call(lambda: _enable_rx(so, value))
    elif option in (TCP_TXTLS_ENABLE, TCP_TXTLS_MODE, TCP_RXTLS_ENABLE):
        raise OSError(EINVAL, "a value of another kind")
    else:
        raise OSError(ENOPROTOOPT, f"option {option}")


def _enable_rx(so: Socket, en: TlsEnable) -> None:
    with so.so_rcv.sb_mtx:
        check_enable(so, so.so_rcv, en)
        ktls_enable_rx(so, en)


def getsockopt(so: Socket, level: int, option: int) -> int:
    """As `Socket.getsockopt`."""
    if level != IPPROTO_TCP:
        raise OSError(EINVAL, "another level than IPPROTO_TCP")
    if option == TCP_TXTLS_MODE:
        return ktls_get_mode(so.so_snd)
    if option == TCP_RXTLS_MODE:
        return ktls_get_mode(so.so_rcv)
    raise OSError(ENOPROTOOPT, f"option {option}")


def ktls_get_mode(sb: Sockbuf) -> int:
    """ktls_get_tx_mode, ktls_get_rx_mode."""
    tls = sb.sb_tls_info
    return TCP_TLS_MODE_NONE if tls is None else tls.mode


def check_enable(so: Socket, sb: Sockbuf, en: TlsEnable) -> None:
    """What both directions refuse, in FreeBSD's order: ENOTSUP when TLS or AES-CBC is switched
    off, ENOTCONN, EALREADY."""
    sysctl = so.kernel.sysctl
    if not sysctl["enable"]:
        raise OSError(ENOTSUP, "kern.ipc.tls.enable is 0")
    sysctl.add("stats.enable_calls")
    if not so.so_state & _SS_ISCONNECTED:
        raise OSError(ENOTCONN, "not connected")
    if sb.sb_tls_info is not None:
        raise OSError(EALREADY, "there is a session")
    if en.cipher_algorithm == CRYPTO_AES_CBC and not sysctl["cbc_enable"]:
        raise OSError(ENOTSUP, "kern.ipc.tls.cbc_enable is 0")


def ktls_enable_tx(so: Socket, en: TlsEnable) -> None:
    """What is written from now on goes in TLS records: encrypted by the card if it does, else in
    software. Raises OSError: as `check_enable`, EINVAL as `ktls_create_session`, and what the
    backends say (EPROTONOSUPPORT, EOPNOTSUPP)."""
    with so.send_lock:
        sb = so.so_snd
        check_enable(so, sb, en)
        tls = ktls_create_session(so.kernel, en, so.flowid)
        try:
            try:
                _try_ifnet(so, tls, force=False, seqno=int.from_bytes(en.rec_seq, "big"))
            except OSError:
                ktls_try_sw(tls, KTLS_TX)
            with sb.sb_mtx:
                if not so.so_state & _SS_ISCONNECTED:  # it has ended meanwhile
                    raise OSError(ENOTCONN, "not connected")
                sb.sb_tls_seqno = int.from_bytes(en.rec_seq, "big")
                sb.sb_tls_info = tls
                if tls.mode != TCP_TLS_MODE_SW:
                    sb.sb_flags |= SB_TLS_IFNET
        except OSError:
            tls.free()
            raise
    so.kernel.sysctl.add("stats.offload_total")


def ktls_set_tx_mode(so: Socket, mode: int) -> None:
    """Switch what is written from now on to software or to the card; records that are in the send
    buffer stay what they are. Nothing happens without TLS. Raises OSError: EINVAL for another mode,
    EBUSY when the session has changed meanwhile, else why not; the session stays as it was then."""
    if mode not in (TCP_TLS_MODE_SW, TCP_TLS_MODE_IFNET):
        raise OSError(EINVAL, f"mode {mode}")
    sysctl = so.kernel.sysctl
    with so.send_lock:
        sb = so.so_snd
        tls = sb.sb_tls_info
        if tls is None or tls.mode == mode:
            return
        fresh: KtlsSession | None = None
        try:
            fresh = tls.clone()
            if mode == TCP_TLS_MODE_IFNET:
                _try_ifnet(so, fresh, force=True, seqno=sb.sb_tls_seqno)
            else:
                ktls_try_sw(fresh, KTLS_TX)
            with sb.sb_mtx:
                if sb.sb_tls_info is not tls:
                    raise OSError(EBUSY, "the session has changed")
                sb.sb_tls_info = fresh
                if mode == TCP_TLS_MODE_IFNET:
                    sb.sb_flags |= SB_TLS_IFNET
                else:
                    sb.sb_flags &= ~SB_TLS_IFNET
        except OSError:
            sysctl.add("stats.switch_failed")
            if fresh is not None:
                fresh.free()
            raise
    tls.free()
    sysctl.add("stats.switch_to_ifnet" if mode == TCP_TLS_MODE_IFNET else "stats.switch_to_sw")


def _try_ifnet(so: Socket, tls: KtlsSession, *, force: bool, seqno: int) -> None:
    """ktls_try_ifnet. The tag's first record has number `seqno`, which is `tls.first_seqno`."""
    tls.first_seqno = seqno
    tls.snd_tag = so.proto.snd_tag_alloc(so, tls, force=force)
    tls.set_mode(TCP_TLS_MODE_IFNET)


def ktls_try_sw(tls: KtlsSession, direction: int) -> None:
    """Give a session to a backend. Raises OSError as `Backends.try_sw`."""
    tls.kernel.backends.try_sw(tls, direction)
    tls.set_mode(TCP_TLS_MODE_SW)
