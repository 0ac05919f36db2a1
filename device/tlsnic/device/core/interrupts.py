"""Interrupt vectors: who waits for one, moderation, MSI-X or INTx.

A completion ring that is armed asks for its vector with each completion until the vector fires; firing
disarms all rings that asked. Moderation holds a vector back until enough completions have gathered or
enough time has passed. Deadlines are virtual: `poll` is told the time.
"""

from typing import Final, NamedTuple, Protocol

from tlsnic.abi import registers
from tlsnic.abi.enums import Diagnostic
from tlsnic.device.core.counters import Counters
from tlsnic.device.core.diagnostics import Diagnostics
from tlsnic.device.core.host import Host
from tlsnic.device.core.regfile import RegisterFile

VECTORS: Final = registers.MODERATION_COUNT


class Armed(Protocol):
    """A completion ring that waits for an interrupt."""

    armed: bool


class VectorState(NamedTuple):
    """Where one vector stands, for those who look on."""

    usecs: int
    frames: int
    """Its moderation."""
    waiting: tuple[Armed, ...]
    """Rings whose completions it will tell of."""
    gathered: int
    deadline_ns: int | None
    blocked: bool
    """It was to be raised while Bus Master Enable was clear."""
    messages: int
    """MSI-X messages since the last reset."""


class Interrupts:
    """All vectors of the card."""

    def __init__(
        self, host: Host, regs: RegisterFile, counters: Counters, diagnostics: Diagnostics
    ) -> None:
        self._host = host
        self._regs = regs
        self._counters = counters
        self._diagnostics = diagnostics
        self.now_ns = 0
        self._usecs = [0] * VECTORS
        self._frames = [0] * VECTORS
        self._waiting: list[list[Armed]] = [[] for _ in range(VECTORS)]
        self._gathered = [0] * VECTORS
        self._deadlines: dict[int, int] = {}
        self._blocked = 0
        self._messages = [0] * VECTORS
        self.intx_line = False
        regs.on_write("MODERATION", self._write_moderation)
        regs.on_write("INT_CAUSE", self._write_cause)
        regs.on_write("INT_ENABLE", self._write_enable)
        regs.on_write("INT_TRIGGER", self._write_trigger)

    def request(self, vector: int, ring: Armed, completions: int = 1) -> None:
        """An armed `ring` has new completions: fire `vector` now or when moderation says."""
        waiting = self._waiting[vector]
        if ring not in waiting:
            waiting.append(ring)
        usecs, frames = self._usecs[vector], self._frames[vector]
        if not usecs and not frames:
            self.fire(vector)
            return
        self._gathered[vector] += completions
        if frames and self._gathered[vector] >= frames:
            self.fire(vector)
        elif usecs and vector not in self._deadlines:
            self._deadlines[vector] = self.now_ns + usecs * 1000

    def arm(self, vector: int, ring: Armed, pending: int) -> None:
        """The driver wants `vector` for the next completion of `ring`; `pending` it has not taken."""
        ring.armed = True
        if not pending:
            self.withdraw(vector, ring)  # what was asked for before has been taken without it
        elif ring not in self._waiting[vector]:
            self.request(vector, ring, pending)

    def withdraw(self, vector: int, ring: Armed) -> None:
        """Forget what `ring` waits for: its queue stops, or there is nothing left to tell of."""
        waiting = self._waiting[vector]
        if ring in waiting:
            waiting.remove(ring)
            if not waiting:
                self._gathered[vector] = 0
                self._deadlines.pop(vector, None)

    def fire(self, vector: int) -> None:
        """Raise `vector` now, or keep it until Bus Master Enable is set."""
        for ring in self._waiting[vector]:
            ring.armed = False
        self._waiting[vector].clear()
        self._gathered[vector] = 0
        self._deadlines.pop(vector, None)
        self._deliver(1 << vector)

    def _deliver(self, vectors: int) -> None:
        self._regs.put("INT_CAUSE", self._regs.get("INT_CAUSE") | vectors)
        if not self._host.msix_enabled:
            self.update_intx()
            return
        if not self._host.bus_master:
            # MSI-X messages are memory writes: without bus mastering there are none.
            self._blocked |= vectors
            self._diagnostics.report(Diagnostic.BUS_MASTER_OFF, vectors)
            return
        while vectors:
            lowest = vectors & -vectors
            vectors ^= lowest
            vector = lowest.bit_length() - 1
            self._counters.interrupts += 1
            self._messages[vector] += 1
            self._host.trigger(vector)

    def update_intx(self) -> None:
        """Drive the INTx line to what cause, enable and the PCI command register say."""
        pending = self._regs.get("INT_CAUSE") & self._regs.get("INT_ENABLE")
        asserted = bool(pending) and not self._host.msix_enabled and not self._host.intx_disabled
        if asserted and not self.intx_line:
            self._counters.interrupts += 1
        self.intx_line = asserted
        self._host.set_intx(asserted)

    def poll(self, now_ns: int) -> None:
        """Fire the vectors whose moderation has run out, and those that waited for bus mastering."""
        self.now_ns = now_ns
        for vector in [v for v, due in self._deadlines.items() if due <= now_ns]:
            self.fire(vector)
        if self._blocked and self._host.bus_master:
            blocked, self._blocked = self._blocked, 0
            self._deliver(blocked)

    def next_deadline_ns(self) -> int | None:
        """When `poll` has something to do; None: never."""
        return min(self._deadlines.values(), default=None)

    def state_of(self, vector: int) -> VectorState:
        """Where a vector stands."""
        return VectorState(
            self._usecs[vector],
            self._frames[vector],
            tuple(self._waiting[vector]),
            self._gathered[vector],
            self._deadlines.get(vector),
            bool(self._blocked >> vector & 1),
            self._messages[vector],
        )

    def reset(self) -> None:
        """Forget everything that is pending. The register file has been reset before."""
        for waiting in self._waiting:
            waiting.clear()
        self._gathered = [0] * VECTORS
        self._usecs = [0] * VECTORS
        self._frames = [0] * VECTORS
        self._deadlines.clear()
        self._blocked = 0
        self._messages = [0] * VECTORS
        self.update_intx()

    def _write_moderation(self, index: int, _old: int, new: int, _written: int) -> int:
        self._usecs[index] = new & registers.MODERATION_USECS_MASK
        self._frames[index] = new >> registers.MODERATION_FRAMES_SHIFT
        if self._waiting[index]:
            self.fire(index)  # what waits under the old setting does not wait for the new one
        return new

    def _write_cause(self, _index: int, _old: int, new: int, _written: int) -> int:
        self._regs.put("INT_CAUSE", new)
        if not self._host.msix_enabled:
            self.update_intx()
        return new

    def _write_enable(self, _index: int, _old: int, new: int, _written: int) -> int:
        self._regs.put("INT_ENABLE", new)
        if not self._host.msix_enabled:
            self.update_intx()
        return new

    def _write_trigger(self, _index: int, old: int, _new: int, written: int) -> int:
        self._deliver(written)
        return old
