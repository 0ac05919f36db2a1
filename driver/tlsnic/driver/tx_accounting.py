"""The account of a transmit queue: what was posted, what is done, what was dropped; waiting for it.

Positions count descriptors since the queue was enabled and never wrap; the ring index is the
position modulo the size. A *ticket* is the position after a packet: the packet is done when
`done` has reached it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from tlsnic.abi.enums import QueueKind
from tlsnic.abi.structures import TxCompletion, TxDescriptor
from tlsnic.driver.access import Access, Deadline
from tlsnic.driver.errors import DeadlineError, ProtocolError, RingFullError
from tlsnic.driver.queue import Queue
from tlsnic.driver.waiting import Waiter

_DROPS_KEPT = 1024


class TxAccounting(Queue):
    """The part of `TxQueue` that takes completions.

    `posted` and `done` are positions. Dropped packets (completions with a status that is not OK)
    are kept in `drops`, the last 1024.
    """

    DESCRIPTOR_BYTES = TxDescriptor.SIZE
    COMPLETION_BYTES = TxCompletion.SIZE

    def __init__(
        self,
        access: Access,
        waiter: Waiter,
        *,
        number: int,
        vector: int,
        entries: int,
        completion_entries: int,
    ) -> None:
        super().__init__(
            access,
            waiter,
            kind=QueueKind.TRANSMIT,
            number=number,
            vector=vector,
            entries=entries,
            completion_entries=completion_entries,
        )
        self.drops: deque[TxCompletion] = deque(maxlen=_DROPS_KEPT)
        self.drop_count = 0
        self.on_drop: Callable[[TxCompletion], None] | None = None
        """Called with the completion of every dropped packet."""
        # Position in the bounce memory (a byte ring, positions never wrap) after each descriptor.
        self._bounce_ends = [0] * entries

    def _reset_state(self) -> None:
        self.posted = 0
        self.done = 0
        self._rung = 0  # what the card was told of
        self._bounce_tail = 0  # what lies before it in the bounce memory is free
        self._bounce_ends[:] = [0] * self.entries

    # Room

    @property
    def free(self) -> int:
        """Descriptors that can be posted now; grows when completions are reaped."""
        return self._mask - self.posted + self.done

    @property
    def pending(self) -> int:
        """Descriptors posted and not done."""
        return self.posted - self.done

    def _make_room(self, count: int) -> None:
        """At least `count` free descriptors, or RingFullError."""
        if self.free < count:
            self.reap()
            if self.free < count:
                raise RingFullError(
                    f"{self!r}: {self.free} of {self._mask} descriptors free, {count} needed"
                )

    # Completions

    def reap(self) -> int:
        """Take all completions that are there; how many descriptors became done.

        Raises ProtocolError when the device completes what was not posted.
        """
        ring = self.completions
        words, phase, index = ring.words, ring.phase, ring.consumer
        word = words[2 * index + 1]
        if (word < 0) is not phase:
            return 0
        entries, mask = ring.entries, self._mask
        before = done = self.done
        taken = 0
        while (word < 0) is phase:
            head = word & 0xFFFF_FFFF
            step = (head - done) & mask
            if head > mask or done + step > self._rung:
                raise ProtocolError(f"{self!r}: completion with head {head}, which is not pending")
            done += step
            if word >> 32 & 0xFFFF:
                self._dropped(index)
            taken += 1
            index += 1
            if index == entries:
                index = 0
                phase = not phase
            word = words[2 * index + 1]
        ring.consumer, ring.phase = index, phase
        ring.unreturned += taken
        if done != before:
            self.done = done
            self._bounce_tail = max(self._bounce_tail, self._bounce_ends[(done - 1) & mask])
        if ring.unreturned >= self._return_at:
            self.return_completions()
        return done - before

    def poll_completions(self) -> list[TxCompletion]:
        """Take the completions one by one, for tests: as written, PHASE cleared."""
        taken = []
        while self.completions.ready():
            entry = self._entry(self.completions.consumer)
            step = (entry.head - self.done) & self._mask
            if entry.head > self._mask or self.done + step > self._rung:
                raise ProtocolError(f"{self!r}: completion with head {entry.head}: not pending")
            self.done += step
            if step:
                end = self._bounce_ends[(self.done - 1) & self._mask]
                self._bounce_tail = max(self._bounce_tail, end)
            if entry.status:
                self._dropped(self.completions.consumer)
            self.completions.advance()
            taken.append(entry)
        if self.completions.unreturned >= self._return_at:
            self.return_completions()
        return taken

    def _entry(self, index: int) -> TxCompletion:
        view = self.completions.memory.view
        return TxCompletion.unpack_from(view, index * TxCompletion.SIZE)._replace(flags=0)

    def _dropped(self, index: int) -> None:
        self.drop_count += 1
        entry = self._entry(index)
        self.drops.append(entry)
        if self.on_drop is not None:
            self.on_drop(entry)

    # Waiting

    def is_done(self, ticket: int) -> bool:
        """Whether the packet with this ticket is done, as far as completions were reaped."""
        return self.done >= ticket

    def wait_done(self, ticket: int, timeout_s: float) -> None:
        """Wait until the packet with this ticket is done.

        Raises DeadlineError (also when no report covers it), QueueError, DeviceGoneError.
        """
        deadline = Deadline(timeout_s)
        self.reap()
        while self.done < ticket:
            if not self.wait(deadline.left_s):
                raise DeadlineError(
                    f"{self!r}: descriptor {self.done} of {ticket} not done in {timeout_s:g} s"
                )
            self.reap()

    def wait_free(self, count: int, timeout_s: float) -> None:
        """Wait until `count` descriptors are free. Raises like `wait_done`."""
        if not 0 < count <= self._mask:
            raise ValueError(f"{count} descriptors of a ring that holds {self._mask}")
        self.wait_done(self.posted + count - self._mask, timeout_s)
