"""Which records lie where in the TCP stream, until they are acknowledged.

What Linux keeps in `tls_offload_context_tx.records_list` and looks up with `tls_get_record()`.

TCP sequence numbers are u32 and wrap. Inside, positions are bytes since the start of offload and
never wrap; a sequence number means the position next to the end of the records, less than 2^31
away.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from enum import Enum
from typing import Final, NamedTuple

from tlsnic.driver.tls.framing import Record

_SEQUENCE_MASK = 0xFFFF_FFFF
_SIGN = 1 << 31


class Marker(Enum):
    """What is no record."""

    START = "before the start of offload"


START_MARKER: Final = Marker.START


class Entry(NamedTuple):
    """One record in the stream."""

    start_sequence: int
    """TCP sequence number of its first byte."""
    record: Record
    session_epoch: int
    """How many rekeys came before it."""


class RecordMap:
    """The records from `start_sequence` on that are not acknowledged yet."""

    def __init__(self, start_sequence: int) -> None:
        """start_sequence: u32, of the first record's first byte."""
        self.start_sequence = start_sequence & _SEQUENCE_MASK
        self._starts: list[int] = []  # positions
        self._entries: list[Entry] = []
        self._end = 0
        self._epoch_starts = [0]

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    @property
    def end_sequence(self) -> int:
        """TCP sequence number behind the last record: where the next one starts."""
        return self.start_sequence + self._end & _SEQUENCE_MASK

    @property
    def newest(self) -> Entry | None:
        """The last record; None when all are acknowledged."""
        return self._entries[-1] if self._entries else None

    def add(self, tcp_sequence: int, record: Record) -> Entry:
        """Append a record. Raises ValueError when it does not start where the last one ended."""
        if tcp_sequence != self.end_sequence:
            raise ValueError(f"a record at {tcp_sequence:#x}; the last ends at {self._end_text}")
        start = self._end
        entry = Entry(tcp_sequence, record, bisect_right(self._epoch_starts, start) - 1)
        self._starts.append(start)
        self._entries.append(entry)
        self._end = start + record.size
        return entry

    def get(self, sequence: int) -> Entry | Marker | None:
        """The record with the byte at `sequence`; START_MARKER when that is from before the start
        of offload; None when it is acknowledged or not there yet."""
        position = self.position(sequence)
        if position < 0:
            return START_MARKER
        index = bisect_right(self._starts, position) - 1
        return self._entries[index] if index >= 0 and position < self._end else None

    def ack(self, sequence: int) -> int:
        """Everything before `sequence` is acknowledged: drop the records that lie wholly before
        it; how many. A number beyond the last record counts as its end."""
        position = min(self.position(sequence), self._end)
        count = bisect_right(self._starts, position)
        if position < self._end:
            count -= 1  # the record with the byte at `sequence`
        if count <= 0:
            return 0
        del self._starts[:count]
        del self._entries[:count]
        return count

    def within(self, sequence: int, length: int) -> list[Entry]:
        """The records that the `length` bytes from `sequence` on lie in.

        Raises LookupError when not all of these bytes are there.
        """
        first = self.position(sequence)
        last = first + length - 1
        index = bisect_right(self._starts, first) - 1
        if index < 0 or length <= 0 or last >= self._end:
            raise LookupError(f"{length} bytes at {sequence:#x}; the records end {self._end_text}")
        return self._entries[index : bisect_right(self._starts, last)]

    def read(self, sequence: int, length: int) -> bytes:
        """`length` bytes of the laid-out stream from `sequence` on. LookupError as `within`."""
        if not length:
            return b""
        entries = self.within(sequence, length)
        offset = sequence - entries[0].start_sequence & _SEQUENCE_MASK
        if len(entries) == 1:
            return entries[0].record.data[offset : offset + length]
        return b"".join(entry.record.data for entry in entries)[offset : offset + length]

    def new_epoch(self, sequence: int) -> int:
        """Records from `sequence` on have the next session's keys; the number of that epoch.

        Raises ValueError when no record starts there, or the last rekey lies behind it.
        """
        position = self.position(sequence)
        index = bisect_right(self._starts, position) - 1
        starts = self._starts
        if position > self._end or (
            position < self._end and (index < 0 or starts[index] != position)
        ):
            raise ValueError(f"no record starts at {sequence:#x}")
        if position < self._epoch_starts[-1]:
            raise ValueError(f"a later rekey than that at {sequence:#x} is known")
        self._epoch_starts.append(position)
        epoch = len(self._epoch_starts) - 1
        for at in range(index if position < self._end else len(starts), len(starts)):
            # Records that were added before the rekey was known.
            self._entries[at] = self._entries[at]._replace(session_epoch=epoch)
        return epoch

    def is_boundary(self, sequence: int) -> bool:
        """Whether a record starts at `sequence`, or the next one will."""
        if sequence == self.end_sequence:
            return True
        entry = self.get(sequence)
        return isinstance(entry, Entry) and entry.start_sequence == sequence

    def position(self, sequence: int) -> int:
        """Bytes from the start of offload to `sequence`; negative before it."""
        ahead = sequence - self.start_sequence - self._end & _SEQUENCE_MASK
        return self._end + (ahead ^ _SIGN) - _SIGN

    @property
    def _end_text(self) -> str:
        return f"at {self.end_sequence:#x}"
