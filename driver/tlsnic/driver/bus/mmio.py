"""Registers that are mapped into memory: one load or store of the right width per access.

A device sees each access, so its width matters. `memoryview.cast("I")[n]` copies exactly four
bytes with a `memcpy` of constant size, which the compiler makes one instruction; the same holds
for the formats H and Q. Assigning a slice of an `mmap`, or `struct.pack_into` with a byte order
("<I"), may copy byte by byte or twice, and a device would see several accesses.
"""

from __future__ import annotations

import sys
from typing import Final, Literal

from .base import Bar
from .errors import BusError
from .sysfs import file_read, file_write

_FORMATS: Final[dict[int, Literal["B", "H", "I", "Q"]]] = {1: "B", 2: "H", 4: "I", 8: "Q"}


class MappedBar(Bar):
    """A BAR mapped into this process as a writable view of bytes."""

    __slots__ = ("_bytes", "_u32", "_u64")

    def __init__(self, index: int, memory: memoryview) -> None:
        """`memory`: format B, length a multiple of 8. The BAR keeps it and releases it."""
        if sys.byteorder != "little":
            raise BusError("mapped registers need a little-endian machine")
        super().__init__(index, len(memory))
        self._bytes = memory
        self._u32 = memory.cast("I")
        self._u64 = memory.cast("Q")

    def read(self, offset: int, width: int) -> int:
        with self._window(offset, width) as window:
            value: int = window[0]
            return value

    def write(self, offset: int, value: int, width: int) -> None:
        with self._window(offset, width) as window:
            window[0] = value

    def _window(self, offset: int, width: int) -> memoryview:
        code = _FORMATS.get(width)
        if code is None or offset < 0 or offset + width > self.size_bytes:
            raise self.outside(offset, width)
        return self._bytes[offset : offset + width].cast(code)

    def read32(self, offset: int) -> int:
        if offset & 3 or not 0 <= offset < self.size_bytes:
            return self.read(offset, 4)
        return self._u32[offset >> 2]

    def read64(self, offset: int) -> int:
        if offset & 7 or not 0 <= offset < self.size_bytes:
            return self.read(offset, 8)
        return self._u64[offset >> 3]

    def write32(self, offset: int, value: int) -> None:
        if offset & 3 or not 0 <= offset < self.size_bytes:
            self.write(offset, value, 4)
        else:
            self._u32[offset >> 2] = value

    def write64(self, offset: int, value: int) -> None:
        if offset & 7 or not 0 <= offset < self.size_bytes:
            self.write(offset, value, 8)
        else:
            self._u64[offset >> 3] = value

    def close(self) -> None:
        """Release the views, so that the mapping can go."""
        self._u32.release()
        self._u64.release()
        self._bytes.release()


class FileBar(Bar):
    """A BAR reached by pread and pwrite: I/O ports, or memory that cannot be mapped."""

    __slots__ = ("_fd", "_start")

    def __init__(self, index: int, size_bytes: int, fd: int, start: int) -> None:
        """`start` is where the BAR begins in the file `fd`, which stays the caller's."""
        super().__init__(index, size_bytes)
        self._fd = fd
        self._start = start

    def read(self, offset: int, width: int) -> int:
        self._check(offset, width)
        return file_read(self._fd, self._start + offset, width)

    def write(self, offset: int, value: int, width: int) -> None:
        self._check(offset, width)
        file_write(self._fd, self._start + offset, value, width)

    def _check(self, offset: int, width: int) -> None:
        if width not in _FORMATS or offset < 0 or offset + width > self.size_bytes:
            raise self.outside(offset, width)

    def close(self) -> None:
        """Nothing of its own to release."""
