"""The flow contexts of the card: handles that cannot be forged or used twice, and no duplicates.

A handle is a slot number with a generation above it, which goes up each time the slot is given out.
Slots are reused in the order they were freed, so that a stale handle stays stale for long.
"""

from array import array
from collections import deque
from collections.abc import Iterator
from typing import Final

from tlsnic.device.tls.flow import TxFlow
from tlsnic.device.tls.rx_run import RxRunFlow

Flow = TxFlow | RxRunFlow

SLOT_BITS: Final = 18
MAX_CONTEXTS: Final = 1 << SLOT_BITS
_SLOT_MASK: Final = MAX_CONTEXTS - 1
_GENERATIONS: Final = 1 << 32 - SLOT_BITS


class TableFull(Exception):
    """No free flow context."""


class Duplicate(Exception):
    """A flow with this key exists."""


def wire_key(address: bytes, vlan_id: int | None) -> bytes:
    """What receive flows are looked up by: `headers.flow_key`, and the VLAN of a tagged frame."""
    return address if vlan_id is None else address + vlan_id.to_bytes(2, "big")


class FlowTable:
    """At most `contexts` flows. `receivers`: those that receive, by wire_key()."""

    def __init__(self, contexts: int = MAX_CONTEXTS) -> None:
        if not 0 < contexts <= MAX_CONTEXTS:
            raise ValueError(f"{contexts} flow contexts; handles have room for {MAX_CONTEXTS}")
        self.contexts = contexts
        self._flows: dict[int, Flow] = {}
        self._transmitters: dict[bytes, TxFlow] = {}
        self.receivers: dict[bytes, RxRunFlow] = {}
        self._generations = array("H")
        self._free: deque[int] = deque()
        self.get = self._flows.get
        """The flow of a handle, or None: stale, forged, or gone."""

    def __len__(self) -> int:
        return len(self._flows)

    def __iter__(self) -> Iterator[Flow]:
        return iter(self._flows.values())

    def add(self, flow: Flow) -> int:
        """Give `flow` a handle, which is returned.

        Raises:
            Duplicate, TableFull: nothing was changed.
        """
        key = wire_key(flow.address, flow.vlan_id)
        if key in (self._transmitters if isinstance(flow, TxFlow) else self.receivers):
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
        if isinstance(flow, TxFlow):
            self._transmitters[key] = flow
        else:
            self.receivers[key] = flow
        return flow.handle

    def release_key(self, flow: Flow) -> None:
        """Let another flow have the key of this one, which is about to be removed."""
        key = wire_key(flow.address, flow.vlan_id)
        if self._transmitters.get(key) is flow:
            del self._transmitters[key]
        elif self.receivers.get(key) is flow:
            del self.receivers[key]

    def remove(self, flow: Flow) -> None:
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
