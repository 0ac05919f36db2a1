"""Pages: memory that a card can reach, used by reference and wired while a buffer refers to it.

What vm_page_wire(), the page daemon and sendfile_getobj() are to FreeBSD's sendfile(2): a page of a
file is read once, and every mbuf that sends it refers to the same memory. Nothing here copies
payload; `os.preadv` reads into the page itself.

All of it is thread-safe: workers give pages back.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from threading import RLock
from typing import Final, Protocol

from tlsnic.driver.bus.dma import DmaBuffer

PAGE_BYTES: Final = 16384
"""Of a file page: as much as a record may hold, so that one seldom needs two pages."""
HEADER_ROOM: Final = 64
"""In front of the payload of a record page: header, explicit nonce or IV (MBUF_PEXT_HDR_LEN)."""
TRAILER_ROOM: Final = 128
"""Behind it: inner type, padding, MAC or tag (MBUF_PEXT_TRAIL_LEN)."""

Allocate = Callable[[int], DmaBuffer]
"""Gives zeroed memory of so many bytes: `Nic.access.dma_alloc`, or `host_memory`."""


def host_memory(size_bytes: int) -> DmaBuffer:
    """Memory that no card can reach, for sessions in software; its iova means nothing."""
    return DmaBuffer(memoryview(bytearray(size_bytes)), 0, None)


class PageOwner(Protocol):
    """Who gets a page when nothing is wired to it any more."""

    def unwired(self, page: Page) -> None:
        """Called under the lock of `Page.wire` and `unwire`."""


class Page:
    """Contiguous memory. `view`: its bytes; `iova`: where the card sees them, None when none does;
    `domain`: whose addresses these are (a Nic, say): another card needs a copy."""

    __slots__ = ("domain", "iova", "owner", "valid", "view", "wire_count")

    def __init__(
        self, view: memoryview, iova: int | None, domain: object, owner: PageOwner
    ) -> None:
        self.view = view
        self.iova = iova
        self.domain = domain
        self.owner = owner
        self.wire_count = 0
        self.valid = len(view)
        """Bytes from the start that a file filled."""

    def wire(self) -> Page:
        """One user more (vm_page_wire); the page stays as it is until `unwire`."""
        with _lock:
            self.wire_count += 1
        return self

    def unwire(self) -> None:
        """One user fewer (vm_page_unwire)."""
        with _lock:
            if self.wire_count <= 0:
                raise ValueError("a page that nothing is wired to")
            self.wire_count -= 1
            if not self.wire_count:
                self.owner.unwired(self)

    def __repr__(self) -> str:
        return f"<Page {len(self.view)} bytes, wired {self.wire_count}>"


_lock = RLock()  # of all wire counts and free lists; held for a few instructions


def wire_pages(pages: list[Page]) -> list[Page]:
    """`Page.wire` of all of them at once."""
    with _lock:
        for page in pages:
            page.wire_count += 1
    return pages


def unwire_pages(pages: list[Page]) -> None:
    """`Page.unwire` of all of them at once."""
    with _lock:
        for page in pages:
            count = page.wire_count - 1
            if count < 0:
                raise ValueError("a page that nothing is wired to")
            page.wire_count = count
            if not count:
                page.owner.unwired(page)


class PagePool:
    """Pages of one size, carved out of larger pieces of DMA memory and used again.

    A page that comes back is not wiped: it holds payload, never keys.
    """

    def __init__(
        self,
        allocate: Allocate = host_memory,
        page_bytes: int = PAGE_BYTES,
        *,
        chunk_pages: int = 16,
        domain: object = None,
    ) -> None:
        """domain: who can reach `iova`; None when nobody can (`host_memory`)."""
        self.page_bytes = page_bytes
        self.domain = domain
        self.in_use = 0
        """Pages handed out and not given back: what a leak check looks at."""
        self._allocate = allocate
        self._chunk_pages = chunk_pages
        self._chunks: list[DmaBuffer] = []
        self._free: list[Page] = []

    def alloc(self) -> Page:
        """A page, wired once. Raises as the allocator."""
        with _lock:
            if not self._free:
                self._grow()
            page = self._free.pop()
            page.wire_count = 1
            page.owner = self
            self.in_use += 1
            return page

    def _grow(self) -> None:
        size = self.page_bytes
        chunk = self._allocate(size * self._chunk_pages)
        self._chunks.append(chunk)
        for at in range(0, size * self._chunk_pages, size):
            iova = None if self.domain is None else chunk.iova + at
            self._free.append(Page(chunk.view[at : at + size], iova, self.domain, self))

    def unwired(self, page: Page) -> None:
        """A page comes back."""
        with _lock:
            page.owner = self
            page.valid = self.page_bytes
            self._free.append(page)
            self.in_use -= 1

    def close(self) -> None:
        """Give the memory back; what is still in use must not be looked at any more."""
        with _lock:
            self._free.clear()
            for chunk in self._chunks:
                chunk.free()
            self._chunks.clear()


class Memory:
    """The pools that one socket layer needs, all reachable by one card, or by none."""

    def __init__(self, allocate: Allocate = host_memory, domain: object = None) -> None:
        """As `PagePool`."""
        self.domain = domain
        self.files = PagePool(allocate, PAGE_BYTES, domain=domain)
        """For `PageCache`."""
        self.records = PagePool(allocate, HEADER_ROOM + PAGE_BYTES + TRAILER_ROOM, domain=domain)
        """Room for a whole record: what write(2) copies into, and what software encrypts into."""
        self.headers = PagePool(allocate, HEADER_ROOM, chunk_pages=256, domain=domain)
        """Headers of records whose payload is somewhere else."""
        self._trailers = PagePool(allocate, TRAILER_ROOM, chunk_pages=8, domain=domain)
        self._trailer_pages: dict[int, Page] = {}

    def trailer_page(self, inner_type: int) -> Page:
        """A trailer for records that a card encrypts, whose tag it puts in itself: TLS 1.3's inner
        type (else 0), then zeros. Shared by all records; never given back."""
        page = self._trailer_pages.get(inner_type)
        if page is not None:
            return page
        with _lock:
            page = self._trailer_pages.get(inner_type)
            if page is None:
                page = self._trailers.alloc()
                page.view[:] = bytes(TRAILER_ROOM)
                page.view[0] = inner_type
                self._trailer_pages[inner_type] = page
            return page

    @property
    def in_use(self) -> int:
        """Pages that anything still refers to, those of page caches included."""
        return self.files.in_use + self.records.in_use + self.headers.in_use

    def close(self) -> None:
        """Give everything back to the allocator."""
        for pool in (self.files, self.records, self.headers, self._trailers):
            pool.close()


FileKey = tuple[int, int]  # device and inode
_Version = tuple[int, int]  # time of change in ns and size


class PageCache:
    """Pages of files, least recently used ones leaving first; wired ones never leave.

    A file that has changed (its time of change or size) is read again; pages of what it was stay
    as they are for the records that refer to them, so that a retransmit repeats the same bytes.
    """

    def __init__(self, pool: PagePool, capacity_pages: int = 4096) -> None:
        self.pool = pool
        self.capacity_pages = capacity_pages
        self.reads = 0
        """Pages read from files."""
        self.hits = 0
        self._pages: OrderedDict[tuple[FileKey, int], Page] = OrderedDict()
        self._versions: dict[FileKey, _Version] = {}

    def __len__(self) -> int:
        return len(self._pages)

    @property
    def wired(self) -> int:
        """How many of its pages some buffer refers to."""
        with _lock:
            return sum(page.wire_count > 0 for page in self._pages.values())

    def size_of(self, file: int) -> int:
        """Bytes of the file with this descriptor; forgets the pages of what it was before."""
        return self.look(file)[1]

    def look(self, file: int) -> tuple[FileKey, int]:
        """The same, with what to give to `grab` for each of many pages."""
        status = os.fstat(file)
        key = (status.st_dev, status.st_ino)
        version = (status.st_mtime_ns, status.st_size)
        with _lock:
            if self._versions.get(key, version) != version:
                for where in [where for where in self._pages if where[0] == key]:
                    self._remove(where)
            self._versions[key] = version
        return key, status.st_size

    def grab(self, file: int, index: int, key: FileKey | None = None) -> Page:
        """Page number `index` of the file, wired for the caller (vm_page_grab, sendfile_swapin);
        `valid` tells how much of it the file has. Raises OSError."""
        if key is None:
            status = os.fstat(file)
            key = (status.st_dev, status.st_ino)
        where = (key, index)
        with _lock:
            page = self._pages.get(where)
            if page is not None:
                self.hits += 1
                self._pages.move_to_end(where)
                return page.wire()
            page = self.pool.alloc()
            try:
                page.valid = self._read(file, index, page.view)
            except OSError:
                page.unwire()
                raise
            self.reads += 1
            page.owner = self
            self._pages[where] = page
            self._shrink()
            return page

    @staticmethod
    def _read(file: int, index: int, view: memoryview) -> int:
        size, filled = len(view), 0
        while filled < size:
            count = os.preadv(file, [view[filled:]], index * size + filled)
            if not count:
                break
            filled += count
        return filled

    def unwired(self, page: Page) -> None:
        """Nothing refers to a page of the cache: it may leave, not must."""
        self._shrink()

    def _shrink(self) -> None:
        if len(self._pages) <= self.capacity_pages:
            return
        for where, page in list(self._pages.items()):
            if not page.wire_count:
                self._remove(where)
                if len(self._pages) <= self.capacity_pages:
                    return

    def _remove(self, where: tuple[FileKey, int]) -> None:
        page = self._pages.pop(where)
        page.owner = self.pool  # at the last unwire it goes home
        if not page.wire_count:
            self.pool.unwired(page)

    def close(self) -> None:
        """Forget every page."""
        with _lock:
            for where in list(self._pages):
                self._remove(where)
            self._versions.clear()
