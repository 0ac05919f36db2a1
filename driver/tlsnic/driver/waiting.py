"""Waiting for completions: MSI-X, INTx or polling, each with a deadline and the gone check.

The order is that of the reference's interrupt chapter: look, arm, look again, sleep. The device
compares the armed index with its own and raises the vector at once when they differ, so nothing
that is written in between is lost.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from tlsnic.abi import registers as reg
from tlsnic.driver.access import Access, Deadline
from tlsnic.driver.bus.interrupts import Interrupts

# A guest gets no notice when the server dies: each sleep is this long at most, then MAGIC is read.
GONE_CHECK_S = 0.25
_SPINS = 200
_SLEEP_MIN_S = 20e-6
_SLEEP_MAX_S = 1e-3


class Waiter:
    """How the driver of one card waits. `kind` is "msix", "intx" or "poll"."""

    def __init__(self, access: Access, interrupts: Interrupts | None) -> None:
        """`interrupts` None: polling. The waiter closes what it is given."""
        self._access = access
        self.interrupts = interrupts
        self.kind = interrupts.kind if interrupts is not None else "poll"

    def wait(
        self,
        ready: Callable[[], bool],
        arm: Callable[[], None],
        check: Callable[[], None],
        vectors: Iterable[int],
        timeout_s: float,
    ) -> bool:
        """Wait until `ready()`; False at the deadline.

        `arm()` asks for an interrupt on one of `vectors`. `check()` is called when nothing
        happened for a while, and raises when nothing can be expected to happen any more.
        """
        if ready():
            return True
        if timeout_s <= 0:
            return False
        deadline = Deadline(timeout_s)
        if self.interrupts is None:
            return self._poll(ready, check, deadline)
        wanted = tuple(vectors) if self.kind == "msix" else (0,)
        while True:
            arm()
            if ready():
                return True
            left_s = deadline.left_s
            fired = self.interrupts.poll(min(left_s, GONE_CHECK_S), wanted)
            if fired:
                self.acknowledge()
            if ready():
                return True
            if not fired:
                check()
                if left_s <= GONE_CHECK_S and deadline.left_s <= 0:
                    return False
            elif deadline.left_s <= 0:
                return False

    def acknowledge(self) -> None:
        """INTx: clear the causes and let the pin interrupt again; look at the rings afterwards."""
        if self.interrupts is None or self.kind != "intx":
            return
        cause = self._access.read64(reg.INT_CAUSE)
        if cause:
            self._access.write64(reg.INT_CAUSE, cause)
        self.interrupts.ack(0)

    def fileno(self, vector: int) -> int:
        """The descriptor that becomes readable when `vector` fires; -1 when polling."""
        if self.interrupts is None:
            return -1
        return self.interrupts.fds[vector if self.kind == "msix" else 0]

    def take(self, vector: int) -> None:
        """Consume what `fileno(vector)` signalled, for an event loop that waits by itself."""
        if self.interrupts is not None:
            self.interrupts.poll(0, (vector if self.kind == "msix" else 0,))
            self.acknowledge()

    def close(self) -> None:
        """Disable the interrupts; a second call does nothing."""
        if self.interrupts is not None:
            self.interrupts.close()

    @staticmethod
    def _poll(ready: Callable[[], bool], check: Callable[[], None], deadline: Deadline) -> bool:
        for _ in range(_SPINS):
            if ready():
                return True
        pause_s = _SLEEP_MIN_S
        next_check = Deadline(GONE_CHECK_S)
        while not ready():
            left_s = deadline.left_s
            if left_s <= 0:
                check()
                return ready()
            if next_check.left_s <= 0:
                check()
                next_check = Deadline(GONE_CHECK_S)
            time.sleep(min(pause_s, left_s))
            pause_s = min(2 * pause_s, _SLEEP_MAX_S)
        return True
