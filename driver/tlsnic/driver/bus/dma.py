"""Memory the device can reach: buffers handed out of arenas that a bus has mapped for DMA.

A bus adds arenas (a memfd, huge pages); the pool cuts them into buffers. Each segment of an
arena is contiguous both for the program and for the device, and a buffer never crosses two.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable

from .errors import BusError

_GRANULE_BYTES = 64  # a cache line: two buffers never share one
_ZEROS = bytes(65536)


def wipe(view: memoryview) -> None:
    """Fill `view` (bytes) with zeros."""
    for start in range(0, len(view), len(_ZEROS)):
        piece = view[start : start + len(_ZEROS)]
        piece[:] = _ZEROS[: len(piece)]
        piece.release()


def release(view: memoryview) -> None:
    """Release `view`, unless something (a NumPy array, say) still looks through it."""
    try:
        view.release()
    except BufferError:
        return


def close_map(memory: mmap.mmap) -> None:
    """Unmap now, or when the last view that the program still holds goes away."""
    try:
        memory.close()
    except BufferError:
        return


class DmaBuffer:
    """Zeroed memory seen by both sides: `view` (bytes, zero-copy), `iova`, `size_bytes`.

    `free()` wipes it, gives it back and releases `view`; slices taken of it that are still alive
    then alias whatever is allocated there next, as with any DMA memory.
    """

    __slots__ = ("_free", "iova", "size_bytes", "view")

    def __init__(
        self, view: memoryview, iova: int, free: Callable[[DmaBuffer], None] | None
    ) -> None:
        self.view = view
        self.iova = iova
        self.size_bytes = len(view)
        self._free = free

    def free(self) -> None:
        """Wipe the memory and give it back to its pool; a second call does nothing."""
        free, self._free = self._free, None
        if free is not None:
            free(self)

    def abandon(self) -> None:
        """Let go of the memory without wiping it: all of its pool goes away."""
        self._free = None
        release(self.view)

    def __enter__(self) -> DmaBuffer:
        return self

    def __exit__(self, *_: object) -> None:
        self.free()

    def __repr__(self) -> str:
        return f"<DmaBuffer {self.size_bytes} bytes at iova {self.iova:#x}>"


class DmaSegment:
    """A contiguous piece of an arena, and the holes in it: `view`, `iova`."""

    __slots__ = ("holes", "iova", "view")

    def __init__(self, view: memoryview, iova: int) -> None:
        self.view = view
        self.iova = iova
        self.holes = [(0, len(view))]  # (offset, size_bytes), sorted, never touching

    def take(self, size_bytes: int, align: int) -> int | None:
        """Offset of a piece whose iova is a multiple of `align`, or None: first fit."""
        for index, (start, length) in enumerate(self.holes):
            offset = -(-(self.iova + start) // align) * align - self.iova
            end = offset + size_bytes
            if end > start + length:
                continue
            rest = []
            if offset > start:
                rest.append((start, offset - start))
            if end < start + length:
                rest.append((end, start + length - end))
            self.holes[index : index + 1] = rest
            return offset
        return None

    def give_back(self, offset: int, size_bytes: int) -> None:
        """Make a taken piece a hole again, joined with its neighbours."""
        index = 0
        while index < len(self.holes) and self.holes[index][0] < offset:
            index += 1
        if index < len(self.holes) and self.holes[index][0] == offset + size_bytes:
            size_bytes += self.holes.pop(index)[1]
        if index and sum(self.holes[index - 1]) == offset:
            index -= 1
            start, length = self.holes.pop(index)
            offset, size_bytes = start, length + size_bytes
        self.holes.insert(index, (offset, size_bytes))


class DmaPool:
    """Allocates buffers from segments, asking `grow` for more when none fits.

    `grow(size_bytes, align)` maps a new arena, in which a piece of that size and alignment has
    room, and returns its segments; it raises BusError when it cannot.
    """

    def __init__(self, grow: Callable[[int, int], list[DmaSegment]]) -> None:
        self._grow = grow
        self._segments: list[DmaSegment] = []
        self._live: set[DmaBuffer] = set()

    @property
    def live_bytes(self) -> int:
        """Bytes handed out and not freed: what a leak check looks at."""
        return sum(buffer.size_bytes for buffer in self._live)

    def alloc(self, size_bytes: int, align: int) -> DmaBuffer:
        """A zeroed buffer whose iova is a multiple of `align` (a power of two)."""
        if size_bytes <= 0:
            raise BusError(f"a DMA buffer of {size_bytes} bytes was asked for")
        if align <= 0 or align & (align - 1):
            raise BusError(f"the alignment {align} is not a power of two")
        align = max(align, _GRANULE_BYTES)
        room_bytes = -(-size_bytes // _GRANULE_BYTES) * _GRANULE_BYTES
        for segment in self._segments:
            buffer = self._cut(segment, size_bytes, room_bytes, align)
            if buffer is not None:
                return buffer
        added = self._grow(room_bytes, align)
        self._segments += added
        for segment in added:
            buffer = self._cut(segment, size_bytes, room_bytes, align)
            if buffer is not None:
                return buffer
        raise BusError(
            f"no contiguous DMA memory of {size_bytes} bytes aligned to {align}",
            "allocate smaller buffers, or reserve more huge pages right after boot",
        )

    def _cut(
        self, segment: DmaSegment, size_bytes: int, room_bytes: int, align: int
    ) -> DmaBuffer | None:
        offset = segment.take(room_bytes, align)
        if offset is None:
            return None

        def free(buffer: DmaBuffer) -> None:
            self._live.discard(buffer)
            wipe(buffer.view)
            release(buffer.view)
            segment.give_back(offset, room_bytes)

        view = segment.view[offset : offset + size_bytes]
        buffer = DmaBuffer(view, segment.iova + offset, free)
        self._live.add(buffer)
        return buffer

    def close(self) -> None:
        """Drop every buffer and segment; the bus unmaps the arenas afterwards, which wipes them."""
        for buffer in self._live:
            buffer.abandon()
        self._live.clear()
        for segment in self._segments:
            release(segment.view)
        self._segments.clear()
