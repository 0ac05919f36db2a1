"""faults.*: things that go wrong on purpose, by name, each with what a driver sees and must do.

While none is on, none of this stands anywhere in the way of the card.
"""

import json
from collections.abc import Mapping
from typing import Final

from tlsnic.device.control.card import Card
from tlsnic.device.control.faults.base import Fault
from tlsnic.device.control.faults.core import LoseQuestions, RefuseFlows
from tlsnic.device.control.faults.host import (
    FailDma,
    FaultyHost,
    HoldCompletions,
    SpuriousInterrupts,
    SwallowInterrupts,
)
from tlsnic.device.control.faults.registers import DelayDoorbells, FaultyBus
from tlsnic.device.control.faults.wire import (
    CorruptFrame,
    CorruptTag,
    DropFrames,
    FaultyWire,
    LinkFlap,
    StallWire,
)
from tlsnic.device.control.protocol import (
    ControlError,
    ErrorName,
    Json,
    Kind,
    Method,
    Param,
    shortened,
)

FAULTS: Final[Mapping[str, type[Fault]]] = {
    fault.NAME: fault
    for fault in (
        DropFrames,
        CorruptFrame,
        CorruptTag,
        LinkFlap,
        StallWire,
        FailDma,
        HoldCompletions,
        SwallowInterrupts,
        SpuriousInterrupts,
        DelayDoorbells,
        LoseQuestions,
        RefuseFlows,
    )
}


class Faults:
    """The faults of one card that are on."""

    def __init__(self, card: Card) -> None:
        self._card = card
        self._on: dict[str, Fault] = {}
        self._list: list[Fault] = []
        """The same; what stands in the way has this list."""
        self._host: FaultyHost | None = None
        self._wire: FaultyWire | None = None
        self._bus: FaultyBus | None = None

    def set(self, name: str, settings: dict[str, Json]) -> Fault:
        """Switch a fault on, in place of the same one with other settings."""
        kind = FAULTS.get(name)
        if kind is None:
            raise ControlError(
                ErrorName.BAD_PARAMETER,
                f"no fault {shortened(name)}",
                f"known are {', '.join(FAULTS)}",
            )
        checked = Method(name, set_, "", "", kind.PARAMS).arguments(settings)
        fault = kind(self._card, checked)
        if name in self._on:
            self.clear(name)
        if fault.acts_on_registers and self._bus is None:
            bus = FaultyBus(self._card, self._list)
            self._card.exchange_registers(bus)
            self._bus = bus
        fault.start()
        if not fault.over:
            self._on[name] = fault
            self._list.append(fault)
        self._settle()
        return fault

    def clear(self, name: str) -> bool:
        """Switch one off; False when it was not on."""
        fault = self._on.pop(name, None)
        if fault is None:
            return False
        self._list.remove(fault)
        self._settle()
        fault.stop()
        return True

    def states(self) -> Mapping[str, Fault]:
        """Those that are on."""
        self.turn(self._card.clock_ns())
        return self._on

    # port.Timer

    def turn(self, now_ns: int) -> None:
        if self._bus is not None:
            self._bus.turn(now_ns)
        for name, fault in list(self._on.items()):
            fault.turn(now_ns)
            if fault.over:
                self.clear(name)
        self._settle()

    def next_deadline_ns(self) -> int | None:
        deadlines = [fault.next_deadline_ns() for fault in self._list]
        if self._bus is not None:
            deadlines.append(self._bus.next_deadline_ns())
        return min((due for due in deadlines if due is not None), default=None)

    def _settle(self) -> None:
        """Put what faults need in the way of the card, and take away what none needs."""
        card = self._card
        if any(fault.acts_on_host for fault in self._list):
            if self._host is None:
                self._host = FaultyHost(card, self._list)
                card.exchange_host(self._host)
        elif self._host is not None:
            self._host = None
            card.exchange_host(None)
        if any(fault.acts_on_wire for fault in self._list):
            if self._wire is None:
                self._wire = FaultyWire(card.wire, self._list)
                card.exchange_wire(self._wire)
            self._wire.switch_super_frames()
        elif self._wire is not None and card.wire is self._wire:
            card.exchange_wire(self._wire.inner)
            self._wire = None
        bus = self._bus
        if bus is not None and not any(fault.acts_on_registers for fault in self._list):
            bus.push()
            self._bus = None
            card.exchange_registers(None)
        idle = self._host is None and self._wire is None and self._bus is None
        card.set_timer(None if idle and not self._list else self)


def _of(card: Card) -> Faults:
    if card.faults is None:
        card.faults = Faults(card)
    assert isinstance(card.faults, Faults)
    return card.faults


def list_(card: Card) -> Json:
    """All faults there are."""
    states = _of(card).states()
    return [
        {
            "name": name,
            "what": kind.WHAT,
            "seen": kind.SEEN,
            "must": kind.MUST,
            "params": [
                {
                    "name": param.name,
                    "kind": str(param.kind),
                    "what": param.what,
                    "default": param.default,
                }
                for param in kind.PARAMS
            ],
            "on": name in states,
            "setting": states[name].settings if name in states else None,
            "acted": states[name].acted if name in states else 0,
            "left": states[name].left if name in states else None,
        }
        for name, kind in FAULTS.items()
    ]


def set_(card: Card, name: str, settings: dict[str, Json]) -> Json:
    """Switch one on."""
    card.core.advance(card.clock_ns())
    fault = _of(card).set(name, settings)
    card.mark("fault " + json.dumps({"set": name, **fault.settings}))
    return {"name": name, **fault.as_json()}


def clear(card: Card, name: str | None) -> Json:
    """Switch one off, or all."""
    faults = _of(card)
    card.core.advance(card.clock_ns())
    if name is not None and name not in FAULTS:
        raise ControlError(
            ErrorName.BAD_PARAMETER, f"no fault {shortened(name)}", "see faults.list"
        )
    names = list(faults.states()) if name is None else [name]
    cleared = [one for one in names if faults.clear(one)]
    for one in cleared:
        card.mark("fault " + json.dumps({"clear": one}))
    return {"cleared": cleared}


_NAME: Final = Param("name", Kind.STRING, "of the fault")

METHODS: Final = (
    Method(
        "faults.list",
        list_,
        "All faults, with what happens, what a driver sees of it and must do, its parameters, and how "
        "it stands. A fault that has acted `count` times is off.",
        "[{name, what, seen, must, params: [{name, kind, what, default}], on, setting, acted, left}]",
    ),
    Method(
        "faults.set",
        set_,
        "Switch a fault on; its parameters are given beside `name`. The same fault with other "
        "settings is replaced.",
        "{name, setting, acted, left}",
        (_NAME,),
        changes=True,
        takes_settings=True,
    ),
    Method(
        "faults.clear",
        clear,
        "Switch a fault off, or all of them. What it held back comes now.",
        "{cleared: [name]}",
        (Param("name", Kind.STRING, "of the fault; null: all", None),),
        changes=True,
    ),
)
