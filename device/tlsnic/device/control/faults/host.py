"""Faults between the card and the host: memory that cannot be reached, writes and interrupts held back."""

from typing import Any, Final

from tlsnic.abi.enums import QueueState
from tlsnic.device.control import queues
from tlsnic.device.control.card import Card
from tlsnic.device.control.faults.base import AFTER, COUNT, MS, Fault, Spot, spot_of
from tlsnic.device.control.protocol import ControlError, ErrorName, Kind, Param
from tlsnic.device.core.host import DmaFault, Host
from tlsnic.device.core.interrupts import VECTORS
from tlsnic.device.core.rings import store_entry

_KINDS: Final = ("TRANSMIT", "RECEIVE", "ADMIN", "EVENT")
_VECTOR: Final = Param("vector", Kind.INTEGER, "only this one; null: any", None, 0, VECTORS - 1)


class FaultyHost:
    """A `Host` with faults; stands in the card's gate only while there are some."""

    def __init__(self, card: Card, faults: list[Fault]) -> None:
        self._card = card
        self._host = card.host
        self._faults = faults

    @property
    def bus_master(self) -> bool:
        return self._host.bus_master

    @property
    def msix_enabled(self) -> bool:
        return self._host.msix_enabled

    @property
    def intx_disabled(self) -> bool:
        return self._host.intx_disabled

    def view(self, address: int, length: int, write: bool) -> memoryview | None:
        spot = spot_of(self._card.nic.queues, address, length)
        if spot.whole:
            return None  # entry by entry, so that each is seen here
        instead = self._ask(spot, address, length, write)
        return self._host.view(address, length, write) if instead is None else instead

    def views(self, address: int, length: int, write: bool) -> list[memoryview]:
        spot = spot_of(self._card.nic.queues, address, length)
        instead = self._ask(spot, address, length, write)
        return self._host.views(address, length, write) if instead is None else [instead]

    def _ask(self, spot: Spot, address: int, length: int, write: bool) -> memoryview | None:
        for fault in self._faults:
            instead = fault.on_access(spot, address, length, write, self._host)
            if instead is not None:
                return instead
        return None

    def trigger(self, vector: int) -> None:
        if not any(fault.on_interrupt(vector) for fault in self._faults):
            self._host.trigger(vector)

    def set_intx(self, asserted: bool) -> None:
        if not asserted or not any(fault.on_interrupt(None) for fault in self._faults):
            self._host.set_intx(asserted)


class FailDma(Fault):
    """DMA that hits nothing."""

    NAME = "fail_dma"
    WHAT = "accesses of the card to host memory find nothing mapped"
    SEEN = (
        "DMA_FAULT with the address: a queue goes to ERROR, a TLS packet or a command is refused "
        "alone, received frames count in RX_DROP_DMA"
    )
    MUST = "disable and enable the queue, and give back what was posted; not take it for sent"
    PARAMS = (
        COUNT,
        AFTER,
        Param(
            "purpose", Kind.STRING, "of the access", "any",
            choices=("any", "descriptor", "completion", "data"),
        ),
        Param("address", Kind.INTEGER, "only accesses that touch memory from here on", None),
        Param("size", Kind.INTEGER, "bytes from `address` on", 4096, 1),
        Param("write", Kind.BOOLEAN, "only writes, or only reads; null: both", None),
    )  # fmt: skip
    acts_on_host = True

    def on_access(
        self, spot: Spot, address: int, length: int, write: bool, host: Host
    ) -> memoryview | None:
        settings = self.settings
        begin = settings["address"]
        if (
            settings["purpose"] in ("any", spot.purpose)
            and settings["write"] in (None, write)
            and (begin is None or begin - length < address < begin + settings["size"])
            and self.act()
        ):
            raise DmaFault(address, length)
        return None


class HoldCompletions(Fault):
    """Completions that are late."""

    NAME = "hold_completions"
    WHAT = (
        "completions of a queue do not arrive in host memory; they, and the interrupts that tell "
        "only of them, come in order when it is over"
    )
    SEEN = (
        "packets leave and arrive, the registers go on (COMPLETION_PRODUCER, HEAD), but the next "
        "entry is not valid and no interrupt comes; a full completion ring stops the queue"
    )
    MUST = (
        "trust the phase bit alone, keep what belongs to packets until their completions come, and "
        "have a time-out that resets the queue"
    )
    PARAMS = (
        MS,
        Param("kind", Kind.STRING, "of queue", "TRANSMIT", choices=_KINDS),
        Param("number", Kind.INTEGER, "of the queue among those of its kind", 0),
    )
    acts_on_host = True

    def __init__(self, card: Card, settings: dict[str, Any]) -> None:
        super().__init__(card, settings)
        self._queue = queues.find(card, settings["kind"], settings["number"])
        self._held: list[tuple[int, bytearray]] = []
        self._start = 0
        """Which start of the queue they belong to."""
        self._vectors: dict[int, None] = {}

    def on_access(
        self, spot: Spot, address: int, length: int, write: bool, host: Host
    ) -> memoryview | None:
        queue = self._queue
        if spot.queue is not queue or spot.purpose != "completion" or not write:
            return None
        host.views(address, length, True)  # a fault is told at once
        if queue.starts != self._start:
            self._held.clear()
            self._start = queue.starts
        entry = bytearray(length)
        self._held.append((address, entry))
        self.acted += 1
        return memoryview(entry)

    def on_interrupt(self, vector: int | None) -> bool:
        if vector is None or vector != self._queue.vector or not self._held:
            return False
        for queue in self.card.nic.queues:
            completions = queue.completions
            news = completions.producer != completions.consumer
            if news and queue.vector == vector and queue is not self._queue:
                return False  # it tells of these, too
        self._vectors[vector] = None
        return True

    def stop(self) -> None:
        held, self._held = self._held, []
        if self._queue.state is QueueState.DISABLED or self._queue.starts != self._start:
            return  # the memory is the driver's again
        for address, entry in held:
            try:
                (view,) = self.card.host.views(address, len(entry), True)
            except DmaFault:
                return
            store_entry(view, entry)
        for vector in self._vectors:
            self.card.host.trigger(vector)


class SwallowInterrupts(Fault):
    """Interrupts that get lost."""

    NAME = "swallow_interrupts"
    WHAT = "interrupts of the card do not reach the host"
    SEEN = "completions are there, the ring is not armed any more, and INT_CAUSE has the vector"
    MUST = "have a watchdog that looks at the rings once in a while, and arms them again"
    PARAMS = (COUNT, AFTER, _VECTOR)
    acts_on_host = True

    def on_interrupt(self, vector: int | None) -> bool:
        return self.settings["vector"] in (None, vector) and self.act()


class SpuriousInterrupts(Fault):
    """Interrupts for nothing."""

    NAME = "spurious_interrupts"
    WHAT = "MSI-X vectors are raised although nothing happened; at once, and then it is over"
    SEEN = "an interrupt, and no new entry in any ring of the vector"
    MUST = "find no entry valid, arm again, and not take the next one for granted"
    PARAMS = (
        Param("count", Kind.INTEGER, "how many", 1, 1, 1000),
        Param("vector", Kind.INTEGER, "which", 0, 0, VECTORS - 1),
    )

    def start(self) -> None:
        if not self.card.host.msix_enabled or not self.card.host.bus_master:
            raise ControlError(ErrorName.CONFLICT, "MSI-X or Bus Master Enable is clear")
        while self.act():
            self.card.host.trigger(self.settings["vector"])
