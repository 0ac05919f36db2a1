"""ktls_frame: makes TLS records of mbufs, each of which holds the payload of one.

Header, explicit nonce or IV, and the lengths of padding, MAC or tag: RFC 5246 section 6.2.3,
RFC 8446 section 5. What encrypts fills the trailer in.
"""

from __future__ import annotations

import os
from struct import Struct

from tlsnic.abi.suites import HEADER_BYTES
from tlsnic.driver.ktls.mbuf import M_EXTPG, M_NOTREADY, Mbuf, chain
from tlsnic.driver.ktls.session import (
    TCP_TLS_MODE_IFNET,
    TCP_TLS_MODE_SW,
    TLS_MINOR_VER_ONE,
    TLS_RLTYPE_APP,
    KtlsSession,
)
from tlsnic.driver.ktls.sockbuf import Sockbuf

_HEADER = Struct(">BHH")


def ktls_permit_empty_frames(tls: KtlsSession) -> bool:
    """Whether records without payload may be written: TLS 1.0, against BEAST (OpenSSL's empty
    fragments)."""
    return tls.sequential_records


def ktls_frame(top: Mbuf, tls: KtlsSession, record_type: int) -> int:
    """Frame a chain; how many pages of payload software has to encrypt (`enq_cnt`), 0 in ifnet
    mode. An empty fragment counts as a page.

    Each mbuf then holds a reference to the session, and `m_len` counts header and trailer. In
    software mode it is not ready (M_NOTREADY). In ifnet mode the header of AES-CBC records has the
    padding length in its minor version: the card's rule (the reference's TLS chapter).
    Raises ValueError when an mbuf has no pages, or more payload than a record may.
    """
    params = tls.params
    layout = params.layout
    software = tls.mode == TCP_TLS_MODE_SW
    enq_cnt = 0
    for m in chain(top):
        length = m.m_len
        if not m.m_flags & M_EXTPG:
            raise ValueError("a record needs an mbuf with pages")
        if length > params.max_frame_len or not (length or params.is_cbc):
            raise ValueError(f"a record of {length} bytes; at most {params.max_frame_len}")
        trailer_bytes = params.tls_tlen
        padding = 0
        if params.is_cbc:
            # tls_tlen is with a whole block of padding; what is too much of it goes.
            trailer_bytes -= (length + trailer_bytes) & (params.tls_bs - 1)
            padding = trailer_bytes - layout.tag_bytes - 1
        wire_type, version = record_type, params.wire_version
        if params.is_tls13:
            wire_type = TLS_RLTYPE_APP
        m.m_epg_record_type = record_type
        is_record_page = m.is_record_page
        if not is_record_page:
            m.m_epg_trail_page = tls.kernel.memory.trailer_page(
                record_type if params.is_tls13 else 0
            )
        m.set_framing(params.tls_hlen, trailer_bytes)
        if params.is_cbc and tls.mode == TCP_TLS_MODE_IFNET:
            version = version & 0xFF00 | padding
        header = m.m_epg_hdr
        _HEADER.pack_into(header, 0, wire_type, version, m.m_len - HEADER_BYTES)
        if layout.explicit_bytes:
            if params.is_cbc:
                assert params.tls_vminor >= TLS_MINOR_VER_ONE
                header[HEADER_BYTES:] = os.urandom(layout.explicit_bytes)
            else:
                header[HEADER_BYTES:] = params.nonce.take()
        if params.is_tls13 and is_record_page:
            m.m_epg_trail[0] = record_type
        m.m_epg_tls = tls.hold()
        if software:
            m.m_flags |= M_NOTREADY
            m.m_epg_nrdy = m.m_epg_npgs
            enq_cnt += m.m_epg_nrdy
    return enq_cnt


def ktls_seq(sb: Sockbuf, top: Mbuf) -> None:
    """Number the records of a chain, in the order in which they are appended to `sb`; the caller
    holds its lock."""
    for m in chain(top):
        m.m_epg_seqno = sb.sb_tls_seqno
        sb.sb_tls_seqno += 1
