"""Which record starts where in the received stream, for the card's questions.

The behaviour is that of FreeBSD's mlx5 driver (mlx5e_tls_rx_snd_tag_add_tcp_sequence(),
mlx5e_tls_rx_snd_tag_find_tcp_sn_and_tls_rcd()): records that follow each other are kept as runs of
equal length, so that a bulk transfer of any size takes a few entries, and all that is kept spans
less than 2^31 bytes of TCP sequence numbers.
"""

from __future__ import annotations

from collections import deque
from typing import Final

MAX_RUNS: Final = 32
MAX_RUN_RECORDS: Final = 1 << 11
_SEQUENCE_MASK = 0xFFFF_FFFF
_BEHIND = 1 << 31


class ResyncTable:
    """The records received last, without a gap between them."""

    __slots__ = ("_next_number", "_next_sequence", "_number", "_runs", "_sequence")

    def __init__(self) -> None:
        self._runs: deque[list[int]] = deque()  # [record length, records], the oldest first
        self._sequence = self._number = 0  # of the oldest record
        self._next_sequence = self._next_number = 0  # behind the newest

    def __len__(self) -> int:
        """Entries in use."""
        return len(self._runs)

    def add(self, tcp_sequence: int, record_length: int, record_number: int) -> None:
        """A record of so many bytes starts there (u32) and has this number (u64).

        One that does not follow the last, by sequence or by number, starts the table anew. A
        length of 0 empties it. When all entries are in use, the oldest goes.
        """
        runs = self._runs
        if (
            not runs
            or tcp_sequence != self._next_sequence
            or record_number != self._next_number
            or not record_length
        ):
            runs.clear()
            self._sequence, self._number = tcp_sequence, record_number
            if not record_length:
                return
            runs.append([record_length, 1])
        elif runs[-1][0] == record_length and runs[-1][1] < MAX_RUN_RECORDS:
            runs[-1][1] += 1
        else:
            if len(runs) == MAX_RUNS:
                length, count = runs.popleft()
                self._sequence = self._sequence + length * count & _SEQUENCE_MASK
                self._number += count
            runs.append([record_length, 1])
        self._next_sequence = tcp_sequence + record_length & _SEQUENCE_MASK
        self._next_number = record_number + 1

    def lookup(self, tcp_sequence: int) -> int | None:
        """Number of the record that starts at `tcp_sequence` (u32); None when none is known to."""
        offset = tcp_sequence - self._sequence & _SEQUENCE_MASK
        if offset >= _BEHIND:
            return None
        number = self._number
        for length, count in self._runs:
            span = length * count
            if offset < span:
                records, rest = divmod(offset, length)
                return None if rest else number + records
            offset -= span
            number += count
        return None
