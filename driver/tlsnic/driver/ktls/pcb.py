"""Protocol control blocks: a TCP connection and its socket buffers (struct inpcb with its tcpcb).

TCP sends from `so_snd` and puts what it receives into `so_rcv`; the adapters here are what it sees
of them. Payload goes down as references to the mbufs' memory, with the pages wired until the card
has read them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING
from zlib import crc32

from tlsnic.driver.ktls.ifnet import NicIfnet
from tlsnic.driver.ktls.ktls_ifnet import ktls_input_ifp_mismatch
from tlsnic.driver.ktls.mbuf import (
    CSUM_TLS_DECRYPTED,
    M_EXTPG,
    M_PKTHDR,
    Mbuf,
    PacketHeader,
)
from tlsnic.driver.ktls.pages import Page, unwire_pages
from tlsnic.driver.ktls.session import KtlsSession
from tlsnic.driver.ktls.snd_tag import MbufRecord, SndTag, TlsSndTag
from tlsnic.driver.ktls.sockbuf import SB_TLS_RX, SBS_CANTRCVMORE, Sockbuf
from tlsnic.driver.tcp.config import Endpoint, TcpConfig
from tlsnic.driver.tcp.connection import Connection
from tlsnic.driver.tcp.seq import MASK, position
from tlsnic.driver.tcp.source import Chain, Mark, Piece
from tlsnic.driver.tls.records import RecordMap
from tlsnic.driver.tls.session import FlowAddress

if TYPE_CHECKING:
    from tlsnic.driver.ktls.route import NextHop
    from tlsnic.driver.ktls.socket import Socket
    from tlsnic.driver.ktls.stack import TcpStack

_MBUFS_MOST = 24
"""In one packet; each takes up to three descriptors, or one per page (if_hw_tsomaxsegcount)."""
_NOTHING: tuple[int, int, list[tuple[Mbuf, int, int]]] = (-1, -1, [])
_NO_MAC = bytes(6)  # the interface puts the Ethernet addresses in


class SockbufSource:
    """`so_snd` as TCP sends from it: a `SendSource`. What is not ready comes behind `ready_end`."""

    def __init__(self, sb: Sockbuf, start: int) -> None:
        """start: position of the first byte that was, or will be, appended."""
        self._sb = sb
        self.start = start
        self._found = _NOTHING
        """Of the last `boundary`: where the bytes lie that are read next, most of the time."""

    @property
    def end(self) -> int:
        """Behind all that was appended."""
        return self.start + self._sb.sb_ccc

    @property
    def ready_end(self) -> int:
        """Behind what may be sent."""
        return self.start + self._sb.sb_acc

    def boundary(self, start: int, end: int) -> int:
        """As far as all mbufs have the same session, and are not too many (tcp_m_copym)."""
        sb = self._sb
        found: list[tuple[Mbuf, int, int]] = []
        at = start
        with sb.sb_mtx:
            first: KtlsSession | None = None
            for where in sb.iterate(start - self.start, end - start):
                m = where[0]
                tls = m.m_epg_tls if m.m_flags & M_EXTPG else None
                if not found:
                    first = tls
                elif tls is not first or len(found) == _MBUFS_MOST:
                    break
                found.append(where)
                at += where[2]
        self._found = start, at, found
        return at

    def read(self, start: int, end: int) -> Chain:
        """References to the bytes; what they lie in is wired until the packet is done."""
        pieces: list[Piece] = []
        pages: list[Page] = []
        tls: KtlsSession | None = None
        sb = self._sb
        known_start, known_end, found = self._found
        self._found = _NOTHING
        with sb.sb_mtx:
            if (known_start, known_end) != (start, end):
                found = list(sb.iterate(start - self.start, end - start))
            for m, offset, length in found:
                pieces += m.pieces(offset, length)
                if m.m_flags & M_EXTPG:
                    tls = m.m_epg_tls
                    pages += m.wire()
        return Chain(tuple(pieces), tls, _Unwire(pages) if pages else None)

    def release(self, position: int) -> None:
        """Acknowledged: sbdrop, and wake up who waits for room."""
        count = min(position, self.end) - self.start
        if count > 0:
            self._found = _NOTHING
            self.start += count
            self._sb.sbdrop(count)
            self._sb.sowakeup()


class _Unwire:
    """Called when the card has read the pages."""

    __slots__ = ("_pages",)

    def __init__(self, pages: list[Page]) -> None:
        self._pages = pages

    def __call__(self) -> None:
        pages, self._pages = self._pages, []
        unwire_pages(pages)


class SockbufSink:
    """`so_rcv` as TCP appends to it: a `ReceiveSink`."""

    def __init__(self, inp: Inpcb) -> None:
        self._inp = inp
        self._sb = inp.so.so_rcv
        self._headers: dict[Mark, PacketHeader] = {}

    @property
    def capacity(self) -> int:
        """sb_hiwat."""
        return self._sb.sb_hiwat

    @property
    def buffered(self) -> int:
        """sb_ccc: also what is encrypted, and what is being decrypted."""
        return self._sb.sb_ccc

    def append(self, data: bytes, mark: Mark) -> None:
        """sbappendstream, with the leaf interface and the card's word in the packet header. What
        nobody will read is thrown away (tcp_do_segment)."""
        if self._sb.sb_state & SBS_CANTRCVMORE:
            return
        header = self._headers.get(mark)
        if header is None:
            flags = CSUM_TLS_DECRYPTED if mark.decrypted else 0
            header = PacketHeader(flags, mark.ifnet, mark.ifnet, mark.flow)
            if len(self._headers) > 64:
                self._headers.clear()
            self._headers[mark] = header
        m = Mbuf(data, flags=M_PKTHDR)
        m.m_pkthdr = header
        sb, inp = self._sb, self._inp
        inp.stack.kernel.sysctl.touched("copy", len(data))  # out of the card's receive buffer
        ifp = mark.ifnet
        if isinstance(ifp, NicIfnet):
            inp.leaf_rcvif = ifp
            tls = sb.sb_tls_info if sb.sb_flags & SB_TLS_RX else None
            if tls is not None and tls.rx_ifp is not None and tls.rx_ifp is not ifp:
                ktls_input_ifp_mismatch(inp, tls, ifp)
        sb.sbappendstream(m)
        inp.has_news = True


class Inpcb:
    """One connection. Attributes: `stack`, `so`, `connection`, `source`; `inp_flowid`;
    `leaf_rcvif`, the card its last packet came in at, and `rcv_vlan_id`, the VLAN;
    `t_nic_ktls_xmit_dis`: it was moved to software for its retransmits; `eagain`: packets dropped
    because of their send tag."""

    def __init__(
        self,
        stack: TcpStack,
        make_socket: Callable[[Inpcb], Socket],
        local: tuple[bytes, int],
        remote: tuple[bytes, int],
        config: TcpConfig,
    ) -> None:
        """local, remote: address of 4 or 16 bytes, port. make_socket: is called with `inp_flowid`
        there."""
        self.stack = stack
        self.local_address, local_port = local
        self.remote_address, remote_port = remote
        endpoint = Endpoint(
            _NO_MAC, _NO_MAC, self.local_address, self.remote_address, local_port, remote_port
        )
        self.flow_address = FlowAddress.make(*local, *remote)
        self.inp_flowid = crc32(endpoint.key)
        self.leaf_rcvif: NicIfnet | None = None
        self.rcv_vlan_id: int | None = None
        self.t_nic_ktls_xmit_dis = False
        self.is_dropped = False
        self.is_closing = False
        self.has_news = False
        self.eagain = 0
        self.timeouts = 0
        """Of the connection, so far as the stack has seen them."""
        self._route: NextHop | None = None
        self._route_generation = -1
        self.so = make_socket(self)
        self.source: SockbufSource
        self.connection = Connection(
            endpoint, config, self._acknowledged, source=self._make_source, sink=SockbufSink(self)
        )

    def _make_source(self, start: int) -> SockbufSource:
        self.source = SockbufSource(self.so.so_snd, start)
        return self.source

    def route(self) -> NextHop | None:
        """The route now (inp_route: kept until the table changes)."""
        routes = self.stack.routes
        if self._route_generation != routes.generation:
            self._route = routes.lookup(self.remote_address)
            self._route_generation = routes.generation
        return self._route

    # For the send tag

    @property
    def snd_una(self) -> int:
        """u32."""
        return self.connection.snd_una

    @property
    def snd_nxt(self) -> int:
        """u32."""
        return self.connection.snd_nxt

    @property
    def rcv_nxt(self) -> int:
        """u32: behind the last byte that is in `so_rcv`."""
        return self.connection.rcv_nxt - self.connection.peer_ended & MASK

    def add_records(self, records: RecordMap, end: int) -> None:
        """Put the records up to that with the byte before `end` (u32) into the driver's map: from
        where the map ends on."""
        sb, source = self.so.so_snd, self.source
        with sb.sb_mtx:
            at = position(records.end_sequence, source.start)
            until = position(end, at)
            begin = max(at, source.start)
            for m, offset, length in sb.iterate(begin - source.start, until - begin):
                start = begin - offset - m.m_off
                if start == at:
                    records.add(start & MASK, MbufRecord(m))
                    at = start + m.m_off + m.m_len
                begin += length

    def _acknowledged(self, sequence: int) -> None:
        tls = self.so.so_snd.sb_tls_info
        tag = tls.snd_tag if tls is not None else None
        if isinstance(tag, SndTag) and isinstance(tag.leaf, TlsSndTag):
            tag.leaf.tag.ack(sequence)

    def __repr__(self) -> str:
        return f"<Inpcb {self.connection.endpoint!r} {self.connection.state.value}>"
