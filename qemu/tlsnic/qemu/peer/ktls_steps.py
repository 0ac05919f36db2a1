"""What happens to a live connection of the KTLS model while it moves files: switches and failovers."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from threading import Condition, Thread
from typing import NamedTuple

from tlsnic.driver.ktls.lagg import Lagg
from tlsnic.qemu.errors import UserError
from tlsnic.qemu.netns import Netns
from tlsnic.qemu.peer.lagg_wire import TAPS

_TIMEOUT_S = 60.0
_LOOK_S = 0.002


class Step(NamedTuple):
    """`after`: which part of all bytes. `what`: "switch_tls" with `how` -s or -i, or "link", the first
    card's, with up or down."""

    after: float
    what: str
    how: str


class Director:
    """Takes steps, in a thread. Nobody moves bytes beyond a step before the last one is taken, so that
    none is left out however quick the rest is.

    Attributes: `log`, (seconds, what) of all that was done; `refused`: calls of switch_tls that had to
    be made again, as while records of the last switch are not acknowledged; `failure`, why it ended.
    """

    def __init__(
        self, steps: Sequence[Step], size_bytes: int, far: Netns, lagg: Lagg, control: Path
    ) -> None:
        """size_bytes: of all that will move. control: where switch_tls finds the connections."""
        self.log: list[tuple[float, str]] = []
        self.refused = 0
        self.failure = ""
        self._steps = steps
        self._size_bytes = size_bytes
        self._far = far
        self._lagg = lagg
        self._control = control
        self._started_s = time.monotonic()
        self._moved = 0
        self._taken = 0
        self._is_over = False
        self._changed = Condition()
        self._thread = Thread(target=self._run, name="director", daemon=True)
        self._thread.start()

    @property
    def elapsed_s(self) -> float:
        """Since it was made."""
        return time.monotonic() - self._started_s

    @property
    def is_done(self) -> bool:
        """Whether every step was taken."""
        return self._taken == len(self._steps)

    def note(self, what: str) -> None:
        """Put something into the log."""
        self.log.append((self.elapsed_s, what))

    def moved(self, count: int) -> None:
        """So many bytes move now; any thread. Waits as long as a step is late."""
        with self._changed:
            self._moved += count
            self._changed.notify_all()
            self._changed.wait_for(
                lambda: self._is_over or self._taken >= self._due() - 1, _TIMEOUT_S
            )

    @property
    def is_busy(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def end(self) -> None:
        """Take no further step. One that is being taken goes on, and needs somebody to take the
        stack's turns."""
        with self._changed:
            self._is_over = True
            self._changed.notify_all()

    def _due(self) -> int:
        return sum(self._moved >= step.after * self._size_bytes for step in self._steps)

    def _run(self) -> None:
        try:
            for number, step in enumerate(self._steps):
                with self._changed:
                    self._changed.wait_for(lambda: self._is_over or self._due() > self._taken)
                    if self._is_over:
                        return
                self.note(f"{step.what} {step.how}")
                take = self._switch if step.what == "switch_tls" else self._link
                take(step.how)
                with self._changed:
                    self._taken = number + 1
                    self._changed.notify_all()
        except (UserError, OSError) as error:
            self.failure = str(error)
            with self._changed:
                self._is_over = True
                self._changed.notify_all()

    def _switch(self, how: str) -> None:
        command = [sys.executable, "-m", "tlsnic.driver.ktls.switch_tls", "-c", str(self._control)]
        deadline_s = time.monotonic() + _TIMEOUT_S
        while True:
            done = subprocess.run(
                [*command, how, "-a"], capture_output=True, text=True, check=False
            )
            if not done.returncode:
                return
            self.refused += 1
            if time.monotonic() > deadline_s:
                raise OSError(done.stderr.strip())

    def _link(self, how: str) -> None:
        self._far.ip("link", "set", TAPS[0], how)
        wanted = self._lagg.members[how == "down"]
        deadline_s = time.monotonic() + _TIMEOUT_S
        while self._lagg.active != [wanted]:
            if time.monotonic() > deadline_s:
                raise OSError(f"{self._lagg.if_xname} does not go over to {wanted.if_xname}")
            time.sleep(_LOOK_S)
