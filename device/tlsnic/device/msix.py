"""The MSI-X table and pending bits, for clients that program them (PCI Express 6.0, 6.1.4 and 7.7.2).

QEMU keeps both to itself: writes to the table never come here, masking is QEMU's own, and the PBA reads
that do come find nothing pending. A client without such an emulation, like the driver on the host, writes
mask bits here and has them honoured. A vector whose entry was never written counts as unmasked, because
with QEMU none ever is.
"""

from collections.abc import Callable
from struct import Struct
from typing import Final

ENTRY_BYTES: Final = 16
TABLE_OFFSET: Final = 0
PBA_OFFSET: Final = 0x800
BAR_BYTES: Final = 0x1000
_CONTROL_OFFSET: Final = 12
_MASKED: Final = 1
_ENTRY: Final = Struct("<QII")


class MsixTable:
    """The BAR with table and PBA; delivers vectors that are not masked, keeps the others pending."""

    def __init__(
        self, vectors: int, deliver: Callable[[int], object], function_masked: Callable[[], bool]
    ) -> None:
        self.vectors = vectors
        self._deliver = deliver
        self._function_masked = function_masked
        self._memory = bytearray(BAR_BYTES)
        self._masked = [False] * vectors
        self._pending = 0
        self.reset()

    def reset(self) -> None:
        """All entries zero and masked, as the specification wants them to read; nothing pending."""
        self._memory[:] = bytes(BAR_BYTES)
        for vector in range(self.vectors):
            _ENTRY.pack_into(self._memory, TABLE_OFFSET + vector * ENTRY_BYTES, 0, 0, _MASKED)
        self._masked = [False] * self.vectors
        self._pending = 0

    def is_masked(self, vector: int) -> bool:
        """Whether its table entry masks `vector`."""
        return self._masked[vector]

    def is_pending(self, vector: int) -> bool:
        """Whether `vector` was signalled while it was masked."""
        return bool(self._pending >> vector & 1)

    def trigger(self, vector: int) -> None:
        """Signal `vector`, or remember that it was signalled while it is masked."""
        if self._masked[vector] or self._function_masked():
            self._pending |= 1 << vector
        else:
            self._deliver(vector)

    def poll(self) -> None:
        """Signal what was pending and is not masked any more."""
        if not self._pending or self._function_masked():
            return
        for vector in range(self.vectors):
            if self._pending >> vector & 1 and not self._masked[vector]:
                self._pending &= ~(1 << vector)
                self._deliver(vector)

    def read(self, offset: int, length: int, /) -> bytes:
        """Bytes of the table or the PBA; zero elsewhere."""
        self._memory[PBA_OFFSET : PBA_OFFSET + 8] = self._pending.to_bytes(8, "little")
        return bytes(self._memory[offset : offset + length])

    def write(self, offset: int, data: bytes, /) -> None:
        """Program the table; the PBA is read-only."""
        end = TABLE_OFFSET + self.vectors * ENTRY_BYTES
        kept = data[: max(0, end - offset)]
        self._memory[offset : offset + len(kept)] = kept
        first, last = offset // ENTRY_BYTES, (offset + len(kept) - 1) // ENTRY_BYTES
        for vector in range(first, last + 1 if kept else first):
            control = self._memory[vector * ENTRY_BYTES + _CONTROL_OFFSET]
            self._masked[vector] = bool(control & _MASKED)
        self.poll()
