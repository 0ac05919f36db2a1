"""The client's memory as zero-copy memoryviews: the table of DMA maps.

Each map is a mapping of this process's own, made by `mremap(old_size=0)` from the library's
(mremap(2) allows it for shared mappings; it needs no file descriptor, which the library's callback
does not give). The library unmaps its own mapping as soon as the unregister callback returns; views
of that one would dangle, and a touch of one would kill the process. Views of ours cannot: every
slice keeps the mapping alive, and the last one to go unmaps it. So forgetting to drop a view costs
address space and a warning, never a crash.

The order at unregister: the owner's hook (drop your views now), then the base views here are
released, then the mapping goes, unless someone still holds a slice (`DmaMap.lingering`).

A file shorter than the map would raise SIGBUS at the first touch; so the last page of each new map
is probed, and such a map is recorded as inaccessible. A client that shrinks its file later still
kills the process: QEMU's memory-backend-memfd seals its file against that.
"""

import ctypes
import errno
import logging
import mmap
import os
import weakref
from bisect import bisect_right, insort
from collections.abc import Callable
from typing import Any

from tlsnic.device.vfu._abi import DmaInfoC
from tlsnic.device.vfu._errors import DmaError

log = logging.getLogger("tlsnic.device.vfu")

NO_FD = (
    "the client gave no mappable file descriptor for this range; "
    "guest RAM must be memory-backend-memfd,share=on"
)
_MREMAP_MAYMOVE = 1
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mremap.restype = ctypes.c_void_p
_libc.mremap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_MAP_FAILED = ctypes.c_void_p(-1).value


class DmaRegion:
    """One map: `size` bytes at bus address `iova`, with the access the client granted.

    `inaccessible` says why its memory cannot be reached, or is empty.
    """

    __slots__ = (
        "__weakref__",
        "_finalizer",
        "inaccessible",
        "iova",
        "read_view",
        "readable",
        "size",
        "writable",
        "write_view",
    )

    def __init__(self, iova: int, size: int, prot: int) -> None:
        self.iova = iova
        self.size = size
        self.readable = bool(prot & mmap.PROT_READ)
        self.writable = bool(prot & mmap.PROT_WRITE)
        self.inaccessible = ""
        self.read_view: memoryview | None = None
        self.write_view: memoryview | None = None
        self._finalizer: weakref.finalize[[int, int], ctypes.Array[ctypes.c_ubyte]] | None = None

    def __repr__(self) -> str:
        access = ("r" if self.readable else "-") + ("w" if self.writable else "-")
        note = f", inaccessible: {self.inaccessible}" if self.inaccessible else ""
        return f"DmaRegion(iova={self.iova:#x}, size={self.size:#x}, {access}{note})"

    def attach(self, mapping: int, mapping_bytes: int, skip_bytes: int) -> None:
        """Take an own mapping of the library's [mapping, +mapping_bytes).

        The region starts `skip_bytes` into it. Sets `inaccessible` when that is impossible.
        """
        own = _libc.mremap(mapping, 0, mapping_bytes, _MREMAP_MAYMOVE)
        if own is None or own == _MAP_FAILED:
            self.inaccessible = f"it cannot be mapped: {os.strerror(ctypes.get_errno())}"
            return
        if (self.readable or self.writable) and not _backed(own + skip_bytes + self.size - 1):
            _libc.munmap(own, mapping_bytes)
            self.inaccessible = "the client's file is shorter than the map"
            return
        array = _Mapping.of(self.size, own + skip_bytes)
        # A finalizer must not name its object: the address is all that munmap needs.
        self._finalizer = weakref.finalize(array, _libc.munmap, own, mapping_bytes)
        self._finalizer.atexit = False
        view = memoryview(array).cast("B")
        self.write_view = view if self.writable else None
        self.read_view = view.toreadonly() if self.readable else None

    def detach(self) -> bool:
        """Release the base views. True when the mapping is gone, False when a slice keeps it."""
        for view in (self.read_view, self.write_view):
            if view is not None:
                try:
                    view.release()
                except BufferError:  # someone exported the base view itself: it lingers
                    continue
        self.read_view = self.write_view = None
        return self._finalizer is None or not self._finalizer.alive


class _Mapping:
    """Makes ctypes arrays at an address, of classes that allow weak references."""

    @staticmethod
    def of(size: int, address: int) -> "ctypes.Array[ctypes.c_ubyte]":
        kind: Any = type("Mapping", (ctypes.Array,), {"_type_": ctypes.c_ubyte, "_length_": size})
        array: ctypes.Array[ctypes.c_ubyte] = kind.from_address(address)
        return array


def _backed(address: int) -> bool:
    """Whether a byte of this process can be read without a signal."""
    fd = os.open("/proc/self/mem", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return len(os.pread(fd, 1, address)) == 1
    except OSError:
        return False
    finally:
        os.close(fd)


class DmaMap:
    """Every DMA map of the client, sorted by bus address; they never overlap.

    Views for reading are read-only memoryviews of format "B". Drop them before the `on_unmap` hook
    returns.
    """

    def __init__(
        self,
        on_map: Callable[[DmaRegion], None] | None = None,
        on_unmap: Callable[[DmaRegion], None] | None = None,
    ) -> None:
        self._on_map = on_map
        self._on_unmap = on_unmap
        self._starts: list[int] = []
        self._regions: dict[int, DmaRegion] = {}
        self.lingering = 0
        """Maps taken away by the client while views of them were still held."""
        self._forget()

    def _forget(self) -> None:
        # Size -1 matches no range, so that the fast path needs no test for "nothing yet".
        self._read_iova = self._write_iova = 0
        self._read_size = self._write_size = -1
        self._read_view = self._write_view = memoryview(b"")

    def __len__(self) -> int:
        return len(self._starts)

    @property
    def regions(self) -> list[DmaRegion]:
        """All maps, by ascending bus address."""
        return [self._regions[start] for start in self._starts]

    def view1(self, iova: int, length: int, write: bool = False) -> memoryview:
        """Return `length` bytes at `iova` as one view; the range must lie within one map.

        Raises DmaError: unmapped, across two maps (use `view`), or access not granted.
        """
        if write:
            start = iova - self._write_iova
            end = start + length
            if 0 <= start <= end <= self._write_size:
                return self._write_view[start:end]
        else:
            start = iova - self._read_iova
            end = start + length
            if 0 <= start <= end <= self._read_size:
                return self._read_view[start:end]
        region = self._find(iova, length, write)
        start = iova - region.iova
        if start + length > region.size:
            raise DmaError(errno.EFAULT, iova, length, "the range leaves its map")
        if write:
            assert region.write_view is not None
            self._write_iova, self._write_size = region.iova, region.size
            self._write_view = region.write_view
            return self._write_view[start : start + length]
        assert region.read_view is not None
        self._read_iova, self._read_size = region.iova, region.size
        self._read_view = region.read_view
        return self._read_view[start : start + length]

    def view(self, iova: int, length: int, write: bool = False) -> list[memoryview]:
        """Return `length` bytes at `iova` as views in order, one for each map that they touch.

        Raises DmaError when any byte is unmapped or the access is not granted.
        """
        region = self._find(iova, length, write)
        if iova + length <= region.iova + region.size:
            return [self.view1(iova, length, write)]
        views = []
        position, left = iova, length
        while left > 0:
            try:
                region = self._find(position, left, write)
            except DmaError as error:
                raise DmaError(error.errno or errno.EFAULT, iova, length, error.what) from None
            part = min(left, region.iova + region.size - position)
            views.append(self.view1(position, part, write))
            position += part
            left -= part
        return views

    def read(self, iova: int, length: int) -> bytes:
        """Copy `length` bytes out. Raises DmaError as `view` does."""
        return b"".join(self.view(iova, length))

    def write(self, iova: int, data: bytes | bytearray | memoryview) -> None:
        """Copy `data` in; nothing is written unless all of it can be. Raises DmaError."""
        source = memoryview(data).cast("B")
        position = 0
        for view in self.view(iova, len(source), write=True):
            view[:] = source[position : position + len(view)]
            position += len(view)

    def _find(self, iova: int, length: int, write: bool) -> DmaRegion:
        """Return the accessible map that holds the byte at `iova`."""
        if length < 0:
            raise DmaError(errno.EINVAL, iova, 0, f"negative length {length}")
        index = bisect_right(self._starts, iova) - 1
        region = self._regions[self._starts[index]] if index >= 0 else None
        if region is None or iova >= region.iova + region.size:
            raise DmaError(errno.EFAULT, iova, length, "no map covers it")
        if region.inaccessible:
            raise DmaError(errno.EFAULT, iova, length, region.inaccessible)
        if write and region.write_view is None:
            raise DmaError(errno.EACCES, iova, length, "the client mapped it read-only")
        if not write and region.read_view is None:
            raise DmaError(errno.EACCES, iova, length, "the client granted no read access")
        return region

    def register(self, info: DmaInfoC) -> None:
        """Take over a map that the library announces (its DMA register callback)."""
        iova, size = info.iova.iov_base or 0, info.iova.iov_len
        if iova in self._regions:  # the client sent the same map again: the library allows it
            return
        region = DmaRegion(iova, size, info.prot)
        if not info.vaddr:
            region.inaccessible = NO_FD
        else:
            base = info.mapping.iov_base
            region.attach(base, info.mapping.iov_len, info.vaddr - base)
        self._regions[iova] = region
        insort(self._starts, iova)
        log.debug("map %r", region)
        if self._on_map is not None:
            self._on_map(region)

    def unregister(self, info: DmaInfoC) -> None:
        """Give a map back (the library's DMA unregister callback): hook first, then our views."""
        region = self._regions.get(info.iova.iov_base or 0)
        if region is None:
            return
        try:
            if self._on_unmap is not None:
                self._on_unmap(region)
        finally:
            self._forget()
            del self._regions[region.iova]
            self._starts.remove(region.iova)
            if not region.detach():
                self.lingering += 1
                log.warning("views of %r are still held after its unmap", region)
