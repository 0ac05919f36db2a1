"""Scatter/gather lists, as the library makes them: for what `DmaMap` views cannot reach.

The views of `DmaMap` are the way to the client's memory. These calls are bound for completeness:
their addresses belong to the library's own mapping and die with it, and message DMA
(`read`, `write`) must not be used with QEMU 10, whose count field has another width.
"""

import ctypes
import errno

from tlsnic.device.vfu._abi import Abi, IoVecC, ScatterC
from tlsnic.device.vfu._errors import DmaError, VfuError
from tlsnic.device.vfu._library import Library
from tlsnic.device.vfu._types import IoVec


class ScatterList:
    """`entries` pieces of a range of bus addresses, made by `Context.addr_to_sgl`."""

    def __init__(
        self,
        library: Library,
        context: int,
        iova: int,
        length: int,
        *,
        prot: int,
        max_entries: int,
    ) -> None:
        """Ask for the range with the access `prot` (mmap.PROT_*).

        Raises DmaError: ENOENT unmapped, EACCES not granted, ENOSPC more than `max_entries`.
        """
        self._library = library
        self._context = context
        self._sg = (ScatterC * max(1, max_entries))()
        self._iov = (IoVecC * max(1, max_entries))()
        self.iova = iova
        self.length = length
        found = library.calls.vfu_addr_to_sgl(context, iova, length, self._sg, max_entries, prot)
        if found < -1:
            raise DmaError(errno.ENOSPC, iova, length, f"it takes {-found - 1} entries")
        if found < 0:
            code = ctypes.get_errno()
            raise DmaError(code, iova, length, "no scatter/gather list")
        self.entries: int = found

    def get(self) -> list[IoVec]:
        """Return where the pieces are in this process, until `put` or the client's unmap.

        Raises VfuError: EFAULT when a piece is not mapped here.
        """
        if self._library.calls.vfu_sgl_get(self._context, self._sg, self._iov, self.entries, 0):
            raise VfuError(ctypes.get_errno(), "vfu_sgl_get")
        return [IoVec(v.iov_base or 0, v.iov_len) for v in self._iov[: self.entries]]

    def put(self) -> None:
        """Give the pieces back; those for writing count as written to."""
        self._library.calls.vfu_sgl_put(self._context, self._sg, self._iov, self.entries)

    def mark_dirty(self) -> None:
        """Count the pieces as written to, without giving them back."""
        self._library.calls.vfu_sgl_mark_dirty(self._context, self._sg, self.entries)

    @property
    def mappable(self) -> bool:
        """Whether every piece is mapped into this process."""
        is_mappable = self._library.calls.vfu_sg_is_mappable
        return all(
            is_mappable(self._context, ctypes.byref(self._sg[index]))
            for index in range(self.entries)
        )

    def read(self) -> bytes:
        """Fetch the bytes with DMA_READ messages. Blocks for the client's answer."""
        data = ctypes.create_string_buffer(self.length)
        self._message("vfu_sgl_read", data)
        return data.raw

    def write(self, data: bytes) -> None:
        """Store the bytes with DMA_WRITE messages. Blocks for the client's answer."""
        if len(data) != self.length:
            raise ValueError(f"{len(data)} bytes for a list of {self.length}")
        self._message("vfu_sgl_write", ctypes.create_string_buffer(data, len(data)))

    def _message(self, call: str, data: "ctypes.Array[ctypes.c_char]") -> None:
        function = getattr(self._library.calls, call)
        position = ctypes.addressof(data)
        for index in range(self.entries):
            sg = ScatterC.from_buffer_copy(self._sg[index])
            if self._library.abi is Abi.JUNE_2022:
                # 0b28d205 sends the map's first address and forgets the offset into it.
                sg.dma_addr += sg.offset
                result = function(self._context, ctypes.byref(sg), 1, position)
            else:
                result = function(self._context, ctypes.byref(sg), 1, position, 0)
            if result:
                raise VfuError(ctypes.get_errno(), call)
            position += sg.length
