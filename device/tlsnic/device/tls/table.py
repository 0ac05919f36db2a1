"""The flow contexts of the card: handles that cannot be forged or used twice, and no duplicates.

A handle is a slot number with a generation above it, which goes up each time the slot is given out.
Slots are reused in the order they were freed, so that a stale handle stays stale for long.
"""

from array import array
from collections import deque
from collections.abc import Iterator
from typing import Final

from tlsnic.device.tls.flow import TxFlow

SLOT_BITS: Final = 18
MAX_CONTEXTS: Final = 1 << SLOT_BITS
_SLOT_MASK: Final = MAX_CONTEXTS - 1
_GENERATIONS: Final = 1 << 32 - SLOT_BITS


class TableFull(Exception):
    """No free flow context."""


class Duplicate(Exception):
    """A flow with this key exists."""


class FlowTable:
    """At most `contexts` flows."""

    def __init__(self, contexts: int = MAX_CONTEXTS) -> None:
        if not 0 < contexts <= MAX_CONTEXTS:
            raise ValueError(f"{contexts} flow contexts; handles have room for {MAX_CONTEXTS}")
        self.contexts = contexts
        self._flows: dict[int, TxFlow] = {}
        self._keys: dict[tuple[int, bytes, int | None], int] = {}
        self._generations = array("H")
        self._free: deque[int] = deque()
        self.get = self._flows.get
        """The flow of a handle, or None: stale, forged, or gone."""

    def __len__(self) -> int:
        return len(self._flows)

    def __iter__(self) -> Iterator[TxFlow]:
        return iter(self._flows.values())

    def add(self, flow: TxFlow) -> int:
        """Give `flow` a handle, which is returned.

        Raises:
            Duplicate, TableFull: nothing was changed.
        """
        if flow.key in self._keys:
            raise Duplicate
        if len(self._flows) >= self.contexts:
            raise TableFull
        if len(self._generations) < self.contexts:
            slot = len(self._generations)
            self._generations.append(0)
        else:
            slot = self._free.popleft()
        generation = self._generations[slot] % (_GENERATIONS - 1) + 1  # never 0, nor the handle
        self._generations[slot] = generation
        flow.handle = generation << SLOT_BITS | slot
        self._flows[flow.handle] = flow
        self._keys[flow.key] = flow.handle
        return flow.handle

    def release_key(self, flow: TxFlow) -> None:
        """Let another flow have the key of this one, which is about to be removed."""
        if self._keys.get(flow.key) == flow.handle:
            del self._keys[flow.key]

    def remove(self, flow: TxFlow) -> None:
        """Wipe `flow`; its handle is stale from now on."""
        self.release_key(flow)
        del self._flows[flow.handle]
        self._free.append(flow.handle & _SLOT_MASK)
        flow.wipe()

    def was_destroyed(self, handle: int) -> bool:
        """Whether `handle` is the last one that its slot had, and its flow is gone."""
        slot = handle & _SLOT_MASK
        return (
            handle not in self._flows
            and slot < len(self._generations)
            and self._generations[slot] == handle >> SLOT_BITS
        )

    def clear(self) -> None:
        """Wipe and remove all flows (reset). Their handles stay stale."""
        for flow in list(self._flows.values()):
            self.remove(flow)
