"""NIC TLS of connections: send tags on the interfaces they are routed over, made anew when that
changes, and given up when it does more harm than good (the ifnet parts of uipc_ktls.c).
"""

from __future__ import annotations

from errno import EBUSY, ECONNABORTED, EHOSTUNREACH, ENXIO
from typing import TYPE_CHECKING

from tlsnic.driver.ktls.mbuf import M_EXTPG, chain
from tlsnic.driver.ktls.session import TCP_TLS_MODE_IFNET, TCP_TLS_MODE_SW, KtlsSession
from tlsnic.driver.ktls.snd_tag import (
    IF_SND_TAG_TYPE_TLS,
    IF_SND_TAG_TYPE_TLS_RX,
    SndTag,
    SndTagParams,
    TlsRxSndTag,
    TlsSndTag,
)
from tlsnic.driver.ktls.sockopt import ktls_set_tx_mode
from tlsnic.driver.tcp.seq import MASK, position

if TYPE_CHECKING:
    from tlsnic.driver.ktls.decrypt import TlsRxParams
    from tlsnic.driver.ktls.ifnet import Ifnet
    from tlsnic.driver.ktls.pcb import Inpcb

# Transmit


def ktls_alloc_snd_tag(inp: Inpcb, tls: KtlsSession, *, force: bool) -> SndTag:
    """A send tag on the interface of the connection's route, for records that start behind all that
    is in the send buffer with number `tls.first_seqno`.

    Raises OSError: ECONNABORTED, ENXIO when the administrator does not permit it and `force` is
    not set, EHOSTUNREACH, EBUSY while records of another session with a tag are not acknowledged,
    EOPNOTSUPP and others as `Ifnet.snd_tag_alloc`.
    """
    if not force and not inp.stack.kernel.sysctl["ifnet.permitted"]:
        raise OSError(ENXIO, "kern.ipc.tls.ifnet.permitted is 0")
    sb = inp.so.so_snd
    with sb.sb_mtx:
        for m in chain(sb.sb_mb):
            other = m.m_epg_tls if m.m_flags & M_EXTPG else None
            if other is not None and other.mode == TCP_TLS_MODE_IFNET:
                # A card has one flow for a connection.
                raise OSError(EBUSY, "records of the last session are not acknowledged")
        start = inp.source.end
    return _alloc(inp, tls, start & MASK, tls.first_seqno)


def _alloc(inp: Inpcb, tls: KtlsSession, tcp_sequence: int, record_number: int) -> SndTag:
    if inp.is_dropped:
        raise OSError(ECONNABORTED, "the connection is gone")
    hop = inp.route()
    if hop is None:
        raise OSError(EHOSTUNREACH, "no route")
    params = SndTagParams(
        IF_SND_TAG_TYPE_TLS,
        inp.inp_flowid,
        inp,
        tls,
        inp.flow_address,
        tcp_sequence,
        record_number,
    )
    return hop.ifp.snd_tag_alloc(params)


def ktls_output_eagain(inp: Inpcb, tls: KtlsSession) -> None:
    """A packet was dropped because of its send tag: have the tag made anew, once."""
    if not tls.reset_pending:
        tls.reset_pending = True
        tls.hold()
        inp.stack.enqueue_task(lambda: ktls_reset_send_tag(inp, tls))


def ktls_reset_send_tag(inp: Inpcb, tls: KtlsSession) -> None:
    """The task: a new send tag on the interface of the route as it is now, for all records that are
    not acknowledged; without one the connection is dropped, for they are in clear."""
    sysctl = inp.stack.kernel.sysctl
    # The old one goes first; ip_output_send drops packets until there is a new one.
    old, tls.snd_tag = tls.snd_tag, None
    if old is not None:
        old.release()
    try:
        tls.snd_tag = _alloc_again(inp, tls)
    except OSError as error:
        if error.errno == EBUSY and not inp.is_dropped:
            # Packets that wait for room hold the old flow: when they are gone.
            inp.stack.enqueue_task(lambda: ktls_reset_send_tag(inp, tls))
            return
        if inp.is_dropped:
            sysctl.add("ifnet.reset_failed")
        else:
            sysctl.add("ifnet.reset_dropped")
            inp.so.tcp_drop(ECONNABORTED)
    else:
        tls.reset_pending = False
        sysctl.add("ifnet.reset")
    tls.free()


def _alloc_again(inp: Inpcb, tls: KtlsSession) -> SndTag | None:
    """A tag that starts with the oldest record of the session's that is not acknowledged. The card
    then goes on with the first record that starts where nothing was sent yet."""
    sb, source = inp.so.so_snd, inp.source
    with sb.sb_mtx:
        at, first = source.start, None
        for m in chain(sb.sb_mb):
            if m.m_flags & M_EXTPG and m.m_epg_tls is tls:
                first = m
                break
            at += m.m_len
        if first is not None:
            start, number = at - first.m_off, first.m_epg_seqno
        elif sb.sb_tls_info is tls:
            start, number = source.end, sb.sb_tls_seqno
        else:
            return None  # all of its records were acknowledged meanwhile
        tag = _alloc(inp, tls, start & MASK, number)
        leaf = tag.leaf
        assert isinstance(leaf, TlsSndTag)
        records = leaf.tag.records
        if first is not None:
            end = at
            for m in chain(first):
                if not (m.m_flags & M_EXTPG and m.m_epg_tls is tls):
                    break
                end += m.m_len
            inp.add_records(records, end & MASK)
        nxt = inp.snd_nxt
        for entry in records:
            if position(entry.start_sequence, nxt) >= position(nxt, nxt):
                leaf.tag.resync(entry.start_sequence)
                break
        else:
            leaf.tag.resync(records.end_sequence)
    return tag


def ktls_disable_ifnet(inp: Inpcb) -> None:
    """Move a connection from the card to software, once in its life: a card has much to do for
    every retransmit."""
    if inp.t_nic_ktls_xmit_dis:
        return
    inp.t_nic_ktls_xmit_dis = True
    inp.stack.enqueue_task(lambda: _disable_ifnet_help(inp))


def _disable_ifnet_help(inp: Inpcb) -> None:
    so, sysctl = inp.so, inp.stack.kernel.sysctl
    # Somebody writes, and may wait for this thread.
    if inp.stack.usrreq.is_writing(so) or not so.send_lock.acquire(blocking=False):
        inp.stack.enqueue_task(lambda: _disable_ifnet_help(inp))
        return
    try:
        if so.so_snd.sb_tls_info is None:
            raise OSError(ENXIO, "no session")
        ktls_set_tx_mode(so, TCP_TLS_MODE_SW)
    except OSError:
        sysctl.add("stats.ifnet_disable_failed")
    else:
        sysctl.add("stats.ifnet_disable_ok")
    finally:
        so.send_lock.release()


def ktls_check_rexmit(inp: Inpcb) -> None:
    """Something was sent again: when of all bytes sent more than `ifnet_max_rexmit_pct` percent were
    retransmits, the card is not used for this connection any more."""
    tls = inp.so.so_snd.sb_tls_info
    if tls is None or tls.mode != TCP_TLS_MODE_IFNET or inp.t_nic_ktls_xmit_dis:
        return
    counts = inp.connection.statistics
    again = counts.bytes_retransmitted
    percent = 1000 * again // (10 * (again + counts.bytes_sent))
    if percent > inp.stack.kernel.sysctl["ifnet_max_rexmit_pct"]:
        ktls_disable_ifnet(inp)


# Receive


def rcv_tag_alloc(
    inp: Inpcb, tls: KtlsSession, tcp_sequence: int, record_number: int, *, force: bool
) -> SndTag:
    """A receive tag on the leaf interface that packets come in at, which is remembered in
    `tls.rx_ifp`; before the first packet with data, where they go out. Raises OSError as
    `ktls_alloc_snd_tag`."""
    if not force and not inp.stack.kernel.sysctl["ifnet.permitted"]:
        raise OSError(ENXIO, "kern.ipc.tls.ifnet.permitted is 0")
    if inp.is_dropped:
        raise OSError(ECONNABORTED, "the connection is gone")
    ifp = inp.leaf_rcvif
    if ifp is None:
        hop = inp.route()
        ifp = None if hop is None else hop.ifp.leaf(inp.inp_flowid)
    if ifp is None:
        raise OSError(EHOSTUNREACH, "no interface")
    tls.rx_ifp = ifp
    params = SndTagParams(
        IF_SND_TAG_TYPE_TLS_RX,
        inp.inp_flowid,
        inp,
        tls,
        inp.flow_address._replace(vlan_id=inp.rcv_vlan_id),
        tcp_sequence,
        record_number,
    )
    return ifp.snd_tag_alloc(params)


def ktls_input_ifp_mismatch(inp: Inpcb, tls: KtlsSession, ifp: Ifnet) -> None:
    """Packets come in at another leaf than the one with the receive tag: have it made there."""
    tls.rx_ifp = ifp
    if not tls.reset_pending:
        tls.reset_pending = True
        tls.hold()
        inp.stack.enqueue_task(lambda: ktls_reset_receive_tag(inp, tls))


def ktls_reset_receive_tag(inp: Inpcb, tls: KtlsSession) -> None:
    """The task: a receive tag on the leaf that packets come in at now. Without one the connection
    goes on in software; after a further change it is tried again."""
    sysctl, so = inp.stack.kernel.sysctl, inp.so
    try:
        with so.so_rcv.sb_mtx:
            tls.reset_pending = False
            rx = so.ktls_rx
            if rx is None or so.so_rcv.sb_tls_info is not tls:
                raise OSError(ENXIO, "no session")
            old, tls.snd_tag = tls.snd_tag, None
            if old is not None:
                old.release()
            # From the next record on that no worker has taken.
            start, number = rx.next_tcp_sequence, so.so_rcv.sb_tls_seqno
            tls.snd_tag = rcv_tag_alloc(inp, tls, start, number, force=True)
    except OSError:
        sysctl.add("ifnet.reset_failed")
    else:
        sysctl.add("ifnet.reset")
    tls.free()


def rx_tag_modify(inp: Inpcb, params: TlsRxParams) -> None:
    """The task: tell the receive tag of a record (mlx5's tls_rx modify)."""
    tls = inp.so.so_rcv.sb_tls_info
    tag = None if tls is None else tls.snd_tag
    if isinstance(tag, TlsRxSndTag) and tag.tag.is_alive:
        tag.tag.modify(*params)
