"""Faults on the bus: doorbells that arrive late."""

from collections import deque
from typing import Final, NamedTuple

from tlsnic.device.control.card import Card
from tlsnic.device.control.faults.base import Fault
from tlsnic.device.control.protocol import Kind, Param

DOORBELL_BAR: Final = 2
MAX_KEPT: Final = 4096
"""Writes on their way: as on a real bus, there is room for some only."""


class DelayDoorbells(Fault):
    """Posted writes that take their time."""

    NAME = "delay_doorbells"
    WHAT = (
        "writes to the doorbell BAR reach the card late, in order; a register read pushes them ahead "
        "of itself, as the ordering rules of PCI have it"
    )
    SEEN = "the card begins later than the doorbell was rung; reads show nothing unusual"
    MUST = "not take a doorbell's return for its arrival; read a register where order matters"
    PARAMS = (
        Param("us", Kind.INTEGER, "microseconds", 1000, 1, 60_000_000),
        Param("count", Kind.INTEGER, "how many; null: until cleared", None, 1, 1 << 32),
    )
    acts_on_registers = True

    def delay_ns(self, bar: int) -> int:
        return self.settings["us"] * 1000 if bar == DOORBELL_BAR and self.act() else 0


class _Kept(NamedTuple):
    """A write on its way."""

    due_ns: int
    reset_count: int
    bar: int
    offset: int
    width: int
    value: int


class FaultyBus:
    """Register accesses of the host on their way to the card; there only while a fault delays some."""

    def __init__(self, card: Card, faults: list[Fault]) -> None:
        self._card = card
        self._faults = faults
        self._kept: deque[_Kept] = deque()

    def read(self, bar: int, offset: int, width: int) -> int:
        self.push()
        return self._card.core.read(bar, offset, width)

    def write(self, bar: int, offset: int, width: int, value: int) -> None:
        delay_ns = max((fault.delay_ns(bar) for fault in self._faults), default=0)
        if delay_ns:
            if len(self._kept) >= MAX_KEPT:
                self._arrive(self._kept.popleft())
            card = self._card
            due_ns = card.clock_ns() + delay_ns
            self._kept.append(_Kept(due_ns, card.nic.reset_count, bar, offset, width, value))
        else:
            self.push()
            self._card.core.write(bar, offset, width, value)

    def push(self) -> None:
        """Everything arrives now."""
        while self._kept:
            self._arrive(self._kept.popleft())

    def turn(self, now_ns: int) -> None:
        """What is due arrives."""
        while self._kept and self._kept[0].due_ns <= now_ns:
            self._arrive(self._kept.popleft())

    def _arrive(self, kept: _Kept) -> None:
        if kept.reset_count == self._card.nic.reset_count:  # else a reset has overtaken it
            self._card.core.write(kept.bar, kept.offset, kept.width, kept.value)

    def next_deadline_ns(self) -> int | None:
        return self._kept[0].due_ns if self._kept else None
