"""The registers of a vfio-user device: reached by messages, or in mapped areas without."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from struct import Struct
from struct import error as struct_error

from . import vfio_user_wire as wire
from .base import Bar
from .mmio import MappedBar
from .vfio_user_client import MAX_SEND_BYTES, Connection, posted_write

_WIDTHS = (1, 2, 4, 8)
_WRITE4_HEADER = posted_write(0, 0, 0, 4)[: wire.HEADER.size]
_WRITE8_HEADER = posted_write(0, 0, 0, 8)[: wire.HEADER.size]
_WRITE4 = Struct("<QQI").pack  # offset, region and count, value
_WRITE8 = Struct("<QQQ").pack
_MESSAGES_PER_SEND = MAX_SEND_BYTES // 36


class SocketBar(Bar):
    """Registers reached by messages: a read is a round trip, a write one system call."""

    __slots__ = ("_access4", "_access8", "_connection", "_post", "_read")

    def __init__(
        self,
        index: int,
        size_bytes: int,
        connection: Connection,
        read: Callable[[int, int, int], int],
    ) -> None:
        """`read(region, offset, width)` reads a register of the bus."""
        super().__init__(index, size_bytes)
        self._connection = connection
        self._post = connection.post
        self._read = read
        self._access4 = index | 4 << 32  # the fields region and count of struct region access
        self._access8 = index | 8 << 32

    def read(self, offset: int, width: int) -> int:
        if width not in _WIDTHS or offset < 0 or offset + width > self.size_bytes:
            raise self.outside(offset, width)
        return self._read(self.index, offset, width)

    def write(self, offset: int, value: int, width: int) -> None:
        if width not in _WIDTHS or offset < 0 or offset + width > self.size_bytes:
            raise self.outside(offset, width)
        try:
            message = posted_write(self.index, offset, value, width)
        except struct_error:
            raise ValueError(f"{value:#x} does not fit into {width} bytes") from None
        self._post(message)

    # A doorbell is a 4 or 8 byte write: the header is constant, and the rest is one small pack.

    def write32(self, offset: int, value: int) -> None:
        try:
            if offset > self.size_bytes - 4:
                raise self.outside(offset, 4)
            self._post(_WRITE4_HEADER + _WRITE4(offset, self._access4, value))
        except struct_error:
            SocketBar.write(self, offset, value, 4)  # says what is wrong

    def write64(self, offset: int, value: int) -> None:
        try:
            if offset > self.size_bytes - 8:
                raise self.outside(offset, 8)
            self._post(_WRITE8_HEADER + _WRITE8(offset, self._access8, value))
        except struct_error:
            SocketBar.write(self, offset, value, 8)

    def write32_many(self, writes: Iterable[tuple[int, int]]) -> None:
        access, last = self._access4, self.size_bytes - 4
        messages = []
        for offset, value in writes:
            if not 0 <= offset <= last:
                raise self.outside(offset, 4)
            try:
                messages.append(_WRITE4_HEADER + _WRITE4(offset, access, value))
            except struct_error:
                raise ValueError(f"{value:#x} does not fit into 4 bytes") from None
        for start in range(0, len(messages), _MESSAGES_PER_SEND):
            self._post(b"".join(messages[start : start + _MESSAGES_PER_SEND]))


class SparseBar(SocketBar):
    """Registers of which some areas are mapped, and the rest reached by messages.

    A store into a mapped area and a posted write outside of it are not ordered.
    """

    __slots__ = ("_areas",)

    def __init__(
        self,
        index: int,
        size_bytes: int,
        connection: Connection,
        read: Callable[[int, int, int], int],
        *,
        areas: list[tuple[int, MappedBar]],
    ) -> None:
        """`areas` are (offset in the BAR, mapped registers)."""
        super().__init__(index, size_bytes, connection, read)
        self._areas = areas

    def read(self, offset: int, width: int) -> int:
        for start, area in self._areas:
            if start <= offset and offset + width <= start + area.size_bytes:
                return area.read(offset - start, width)
        return super().read(offset, width)

    def write(self, offset: int, value: int, width: int) -> None:
        for start, area in self._areas:
            if start <= offset and offset + width <= start + area.size_bytes:
                area.write(offset - start, value, width)
                return
        super().write(offset, value, width)

    def write32(self, offset: int, value: int) -> None:
        self.write(offset, value, 4)

    def write64(self, offset: int, value: int) -> None:
        self.write(offset, value, 8)

    def write32_many(self, writes: Iterable[tuple[int, int]]) -> None:
        self._connection.hold()
        try:
            for offset, value in writes:
                self.write(offset, value, 4)
        finally:
            self._connection.release()
