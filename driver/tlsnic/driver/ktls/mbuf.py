"""mbufs: the pieces that socket buffers are made of (FreeBSD's sys/mbuf.h).

Chains are linked as in the kernel: `m_next` to the next mbuf of a record, `m_nextpkt` from the
first mbuf of a record to that of the next. An mbuf with M_EXTPG holds one TLS record: header,
references to pages, trailer; its `m_len` counts all three, as TCP sequence numbers do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from tlsnic.driver.ktls.pages import HEADER_ROOM, Memory, Page, unwire_pages, wire_pages
from tlsnic.driver.tcp.source import Piece

if TYPE_CHECKING:
    from tlsnic.driver.ktls.session import KtlsSession

ReadableBuffer = bytes | bytearray | memoryview

# m_type
MT_DATA: Final = 1
MT_CONTROL: Final = 14

# m_flags; plain numbers, because IntFlag costs more than what is done with them
M_PKTHDR: Final = 0x0000_0002
M_EOR: Final = 0x0000_0004
"""End of record."""
M_RDONLY: Final = 0x0000_0008
M_NOTREADY: Final = 0x0000_1000
"""Not ready: to be encrypted (transmit) or decrypted (receive) yet."""
M_BLOCKED: Final = 0x0000_2000
"""Ready, but behind one in the socket buffer that is not."""
M_NOTAVAIL: Final = M_NOTREADY | M_BLOCKED
M_EXTPG: Final = 0x0010_0000
"""Pages by reference ("unmapped")."""
M_DECRYPTED: Final = 0x0020_0000
"""Received and decrypted by the card."""
M_CUT: Final = 0x0040_0000
"""Was cut out of its socket buffer while it was not ready: whoever makes it ready frees it.
FreeBSD tells this from the state of the connection (mb_free_notready)."""

CSUM_TLS_DECRYPTED: Final = 0x0100_0000
"""`PacketHeader.csum_flags` of a packet that the card has decrypted."""


class PacketHeader:
    """`m_pkthdr`: what is known of the packet that data came in."""

    __slots__ = ("csum_flags", "flowid", "leaf_rcvif", "rcvif")

    def __init__(
        self,
        csum_flags: int = 0,
        rcvif: object = None,
        leaf_rcvif: object = None,
        flowid: int = 0,
    ) -> None:
        """rcvif: the interface it came from; leaf_rcvif: the one below VLANs and laggs."""
        self.csum_flags = csum_flags
        self.rcvif = rcvif
        self.leaf_rcvif = leaf_rcvif
        self.flowid = flowid


class Mbuf:
    """One buffer. `m_off` bytes of what it holds are gone (`m_data` moved on in C), `m_len` are
    left. The `m_epg_…` attributes are those of mbufs with M_EXTPG."""

    __slots__ = (
        "_parts",
        "m_data",
        "m_epg_1st_off",
        "m_epg_hdr",
        "m_epg_hdr_page",
        "m_epg_hdrlen",
        "m_epg_last_len",
        "m_epg_nrdy",
        "m_epg_pa",
        "m_epg_record_type",
        "m_epg_seqno",
        "m_epg_tls",
        "m_epg_trail",
        "m_epg_trail_page",
        "m_epg_trllen",
        "m_flags",
        "m_len",
        "m_next",
        "m_nextpkt",
        "m_off",
        "m_pkthdr",
        "m_type",
    )

    def __init__(self, data: ReadableBuffer = b"", m_type: int = MT_DATA, flags: int = 0) -> None:
        """data: by reference; it must not change."""
        self.m_type = m_type
        self.m_flags = flags
        self.m_data = memoryview(data)
        self.m_off = 0
        self.m_len = len(self.m_data)
        self.m_next: Mbuf | None = None
        self.m_nextpkt: Mbuf | None = None
        self.m_pkthdr: PacketHeader | None = None
        self._parts: list[Piece] | None = None

    @classmethod
    def get_record(cls, payload: ReadableBuffer, memory: Memory) -> Mbuf:
        """A record page with a copy of `payload` (m_uiotombuf_nomap): payload only, no framing
        yet. Raises as the allocator; ValueError when it is too long for a page."""
        page = memory.records.alloc()
        count = len(payload)
        view = page.view
        if HEADER_ROOM + count > len(view):
            page.unwire()
            raise ValueError(f"{count} bytes in one record")
        view[HEADER_ROOM : HEADER_ROOM + count] = payload
        m = cls(b"", MT_DATA, M_EXTPG)
        m.init_extpg([page], HEADER_ROOM, count, page, page)
        return m

    @classmethod
    def get_pages(cls, pages: list[Page], offset: int, count: int, memory: Memory) -> Mbuf:
        """`count` bytes from `offset` of the first of `pages` on, by reference (vn_sendfile). The
        pages are wired, once for this mbuf."""
        m = cls(b"", MT_DATA, M_EXTPG | M_RDONLY)
        m.init_extpg(pages, offset, count, memory.headers.alloc(), memory.trailer_page(0))
        return m

    def init_extpg(
        self, pages: list[Page], offset: int, count: int, header: Page, trailer: Page
    ) -> None:
        """Payload in `pages`; where header and trailer will be. A record page is all three."""
        self.m_len = count
        self.m_off = 0
        self.m_epg_pa = pages
        self.m_epg_1st_off = offset
        in_last = offset + count
        for page in pages[:-1]:
            in_last -= len(page.view)
        self.m_epg_last_len = in_last - offset if len(pages) == 1 else in_last
        self.m_epg_hdr_page = header
        self.m_epg_trail_page = trailer
        self.m_epg_hdr = memoryview(b"")
        self.m_epg_trail = memoryview(b"")
        self.m_epg_hdrlen = 0
        self.m_epg_trllen = 0
        self.m_epg_tls: KtlsSession | None = None
        self.m_epg_seqno = 0
        self.m_epg_record_type = 0
        self.m_epg_nrdy = 0
        self._parts = None

    def replace_data(self, data: ReadableBuffer) -> None:
        """Hold other bytes (no M_EXTPG)."""
        self.m_data = memoryview(data)
        self.m_off = 0
        self.m_len = len(self.m_data)
        self._parts = None

    def replace_pages(self, page: Page, count: int) -> None:
        """Hold another record page, with header, `count` bytes and trailer as long as before, and
        give the old pages back. `m_len` never changes meanwhile: a worker calls this without the
        lock of the socket buffer, which counts by it."""
        old = self.m_epg_pa if self.is_record_page else [self.m_epg_hdr_page, *self.m_epg_pa]
        self.m_epg_pa = [page]
        self.m_epg_1st_off = HEADER_ROOM
        self.m_epg_last_len = count
        self.m_epg_hdr_page = self.m_epg_trail_page = page
        self._find_framing(count)
        for gone in old:
            gone.unwire()

    @property
    def m_epg_npgs(self) -> int:
        """Pages of payload."""
        return len(self.m_epg_pa)

    @property
    def is_record_page(self) -> bool:
        """Whether header, payload and trailer lie in one page, one after the other."""
        return bool(self.m_epg_pa) and self.m_epg_hdr_page is self.m_epg_pa[0]

    def payload(self) -> list[memoryview]:
        """Views of the payload, page by page."""
        pages, first = self.m_epg_pa, self.m_epg_1st_off
        if len(pages) == 1:
            return [pages[0].view[first : first + self.m_epg_last_len]]
        if not pages:
            return []
        return [
            pages[0].view[first:],
            *[page.view for page in pages[1:-1]],
            pages[-1].view[: self.m_epg_last_len],
        ]

    def set_framing(self, header_bytes: int, trailer_bytes: int) -> None:
        """Make room for header and trailer; `m_len` counts them from now on. Called by
        `ktls_frame`."""
        length = self.m_len
        self.m_epg_hdrlen = header_bytes
        self.m_epg_trllen = trailer_bytes
        self._find_framing(length)
        self.m_len = header_bytes + length + trailer_bytes

    def _find_framing(self, length: int) -> None:
        """Where header and trailer of `length` bytes of payload are."""
        page = self.m_epg_hdr_page
        self.m_epg_hdr = page.view[HEADER_ROOM - self.m_epg_hdrlen : HEADER_ROOM]
        start = self.m_epg_1st_off + length if self.m_epg_trail_page is page else 0
        self.m_epg_trail = self.m_epg_trail_page.view[start : start + self.m_epg_trllen]
        self._parts = None

    def parts(self) -> list[Piece]:
        """All that it holds, also what is gone, in order."""
        if self._parts is None:
            self._parts = self._extpg_parts() if self.m_flags & M_EXTPG else [Piece(self.m_data)]
        return self._parts

    def _extpg_parts(self) -> list[Piece]:
        header = self.m_epg_hdr_page
        if self.is_record_page:
            start = self.m_epg_1st_off - self.m_epg_hdrlen
            end = self.m_epg_1st_off + self.m_epg_last_len + self.m_epg_trllen
            return [_part(header, start, end)]
        pages, first, last = self.m_epg_pa, self.m_epg_1st_off, self.m_epg_last_len
        found = [_part(header, HEADER_ROOM - self.m_epg_hdrlen, HEADER_ROOM)]
        if len(pages) == 1:
            found.append(_part(pages[0], first, first + last))
        elif pages:
            found.append(_part(pages[0], first, len(pages[0].view)))
            found += [_part(page, 0, len(page.view)) for page in pages[1:-1]]
            found.append(_part(pages[-1], 0, last))
        found.append(_part(self.m_epg_trail_page, 0, self.m_epg_trllen))
        return [part for part in found if part[0]]

    def views(self, offset: int = 0, length: int | None = None) -> Iterator[memoryview]:
        """`length` bytes from `offset` on, or all: views, nothing is copied."""
        for view, _, _ in self.pieces(offset, length):
            yield view

    def pieces(self, offset: int, length: int | None = None) -> Iterable[Piece]:
        """The same for a card: with the addresses that it sees."""
        if (
            not offset
            and not self.m_off
            and (length is None or length >= self.m_len)
            and self.m_flags & M_EXTPG  # of which nothing is ever cut off at the end
        ):
            return self.parts()
        return self._cut(offset, length)

    def _cut(self, offset: int, length: int | None) -> Iterator[Piece]:
        left = self.m_len - offset if length is None else min(length, self.m_len - offset)
        at = self.m_off + offset
        for piece in self.parts():
            view, iova, domain = piece
            size = len(view)
            if at >= size:
                at -= size
                continue
            if left <= 0:
                return
            count = min(size - at, left)
            if count != size:
                yield Piece(view[at : at + count], None if iova is None else iova + at, domain)
            else:
                yield piece
            left -= count
            at = 0

    def wire(self) -> list[Page]:
        """Wire all pages once more, for somebody who reads them after the mbuf may be freed (a card
        that has their addresses); unwire each of them when that is done."""
        if not self.m_flags & M_EXTPG:
            return []
        if self.is_record_page:
            return wire_pages(self.m_epg_pa)
        return wire_pages([self.m_epg_hdr_page, *self.m_epg_pa])

    def tobytes(self) -> bytes:
        """A copy of all that is left."""
        return b"".join(self.views())

    def free(self) -> None:
        """m_free: give back pages and the reference to the session."""
        if self.m_flags & M_EXTPG:
            pages, self.m_epg_pa = self.m_epg_pa, []
            if pages and self.m_epg_hdr_page is not pages[0]:
                pages = [self.m_epg_hdr_page, *pages]
            unwire_pages(pages)
            tls, self.m_epg_tls = self.m_epg_tls, None
            if tls is not None:
                tls.free()

    def __repr__(self) -> str:
        names = [name for name, bit in _FLAG_NAMES if self.m_flags & bit]
        return f"<Mbuf {self.m_len} bytes {' '.join(names)}>"


_FLAG_NAMES = (
    ("M_EXTPG", M_EXTPG),
    ("M_NOTREADY", M_NOTREADY),
    ("M_BLOCKED", M_BLOCKED),
    ("M_DECRYPTED", M_DECRYPTED),
    ("M_EOR", M_EOR),
)


_new: Final = tuple.__new__  # half of what a NamedTuple takes to be made; three for each record


def _part(page: Page, start: int, end: int) -> Piece:
    iova = page.iova
    address = None if iova is None else iova + start
    return _new(Piece, (page.view[start:end], address, page.domain))


def chain(m: Mbuf | None) -> Iterator[Mbuf]:
    """The mbufs of one record. The next one is looked up before one is given out."""
    while m is not None:
        after = m.m_next
        yield m
        m = after


def m_length(m: Mbuf | None) -> int:
    """Bytes of a chain."""
    return sum(n.m_len for n in chain(m))


def m_copydata(m: Mbuf | None, offset: int, length: int) -> bytes:
    """A copy of `length` bytes from `offset` of a chain on. Raises ValueError when it is shorter."""
    found = []
    for n in chain(m):
        if offset >= n.m_len:
            offset -= n.m_len
            continue
        for view in n.views(offset, length):
            found.append(view)
            length -= len(view)
        offset = 0
        if not length:
            break
    if length:
        raise ValueError(f"the chain ends {length} bytes too early")
    return b"".join(found)


def m_freem(m: Mbuf | None) -> None:
    """Free a chain."""
    for n in chain(m):
        n.free()


def m_link(mbufs: list[Mbuf]) -> Mbuf | None:
    """One chain of the mbufs; its first."""
    for a, b in pairwise(mbufs):
        a.m_next = b
    return mbufs[0] if mbufs else None
