"""Huge pages as DMA memory: reserving and mapping them, and finding where they really are.

A huge page is contiguous in physical memory and is never swapped or moved, so a device without an
IOMMU may be given its physical address; with an IOMMU it is one entry of the translation.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct

from .dma import close_map
from .errors import BusError

HUGE_BYTES = 2 << 20

# asm-generic/mman.h and mman-common.h; the mmap module names only some of them
_MAP_LOCKED = 0x2000
_MAP_POPULATE = 0x8000
_MAP_HUGETLB = 0x40000
_MAP_HUGE_2MB = 21 << 26

# Documentation/admin-guide/mm/pagemap.rst
_PAGEMAP_ENTRY = struct.Struct("=Q")
_PAGEMAP_PRESENT = 1 << 63
_PAGEMAP_PFN = (1 << 55) - 1


class HugeArena:
    """Some huge pages, mapped in one piece: `memory`, `address` (virtual), `size_bytes`."""

    __slots__ = ("address", "memory", "size_bytes")

    def __init__(self, pages: int) -> None:
        """Raises BusError when there are not enough free huge pages."""
        import ctypes  # noqa: PLC0415 - only to learn an address; slow to import in a guest

        self.size_bytes = pages * HUGE_BYTES
        flags = mmap.MAP_SHARED | mmap.MAP_ANONYMOUS | _MAP_LOCKED | _MAP_POPULATE
        try:
            self.memory = mmap.mmap(-1, self.size_bytes, flags | _MAP_HUGETLB | _MAP_HUGE_2MB)
        except OSError as error:
            raise BusError(
                f"{pages} huge pages of 2 MiB cannot be mapped: {error.strerror}",
                "echo 64 > /proc/sys/vm/nr_hugepages, as root, right after boot",
                error.errno or 0,
            ) from None
        # A child process must not share memory that a device writes to.
        self.memory.madvise(mmap.MADV_DONTFORK)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))

    def physical_addresses(self, pagemap: str = "/proc/self/pagemap") -> list[int]:
        """The physical address of each huge page, in their virtual order."""
        with open(pagemap, "rb", buffering=0) as file:
            return [
                physical_address(file.fileno(), self.address + offset)
                for offset in range(0, self.size_bytes, HUGE_BYTES)
            ]

    def close(self) -> None:
        """Unmap, or let the last view of the memory do so."""
        close_map(self.memory)


def physical_address(pagemap_fd: int, address: int) -> int:
    """Where the page at a virtual `address` is, from an open pagemap file.

    Raises BusError when it is not in memory, or when the kernel hides the answer.
    """
    entry_bytes = os.pread(
        pagemap_fd, _PAGEMAP_ENTRY.size, address // mmap.PAGESIZE * _PAGEMAP_ENTRY.size
    )
    if len(entry_bytes) != _PAGEMAP_ENTRY.size:
        raise BusError(f"the page map has no entry for {address:#x}")
    (entry,) = _PAGEMAP_ENTRY.unpack(entry_bytes)
    if not entry & _PAGEMAP_PRESENT:
        raise BusError(f"the page at {address:#x} is not in memory")
    frame = entry & _PAGEMAP_PFN
    if not frame:
        raise BusError("the kernel hides physical addresses", "run as root (CAP_SYS_ADMIN)")
    return int(frame * mmap.PAGESIZE + address % mmap.PAGESIZE)


def contiguous_runs(physical: list[int]) -> list[tuple[int, int]]:
    """(first page, pages) of each run of huge pages that also follow one another physically."""
    runs: list[tuple[int, int]] = []
    for page, address in enumerate(physical):
        if page and address == physical[page - 1] + HUGE_BYTES:
            first, count = runs[-1]
            runs[-1] = (first, count + 1)
        else:
            runs.append((page, 1))
    return runs


class HugePageReserve:
    """The kernel's number of huge pages, raised as needed and lowered again at `close()`."""

    def __init__(self, sys: str = "/sys") -> None:
        self._path = f"{sys}/kernel/mm/hugepages/hugepages-2048kB"
        self._added = 0

    def ensure_free(self, pages: int) -> None:
        """Have at least `pages` free. Raises BusError when the kernel cannot find them."""
        missing = pages - self._get("free_hugepages")
        if missing <= 0:
            return
        before = self._get("nr_hugepages")
        try:
            self._set(before + missing)
        except PermissionError:
            raise BusError(
                f"{missing} more huge pages are needed, and no right to reserve them",
                f"as root: echo {before + missing} > /proc/sys/vm/nr_hugepages",
            ) from None
        self._added += self._get("nr_hugepages") - before
        if self._get("free_hugepages") < pages:
            self.close()
            raise BusError(
                f"the kernel finds no {pages} free huge pages of 2 MiB",
                "give the guest more memory, or boot with hugepages=64",
            )

    def close(self) -> None:
        """Give back what was added."""
        added, self._added = self._added, 0
        if added > 0:
            with contextlib.suppress(OSError, BusError):
                self._set(max(0, self._get("nr_hugepages") - added))

    def _get(self, name: str) -> int:
        try:
            with open(f"{self._path}/{name}", encoding="ascii") as file:
                return int(file.read())
        except FileNotFoundError:
            raise BusError(
                "this kernel has no huge pages of 2 MiB", "use a kernel with CONFIG_HUGETLBFS"
            ) from None

    def _set(self, count: int) -> None:
        with open(f"{self._path}/nr_hugepages", "w", encoding="ascii") as file:
            file.write(str(count))
