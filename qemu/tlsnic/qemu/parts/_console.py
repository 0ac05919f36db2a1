"""What the user sees while parts are made: one line per step, with its seconds.

On a terminal the steps under way share one live line at the bottom. Elsewhere (a log, CI) there is
only plain text: a line when a step ends, and one every ten seconds while it goes on.
"""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from tlsnic.qemu.parts._run import StoppedError

_REDRAW_S = 0.25
_STILL_S = 10.0


class Step:
    """One step under way. `fraction` (0 to 1), `detail` and `fetched_mb` may be set at any time."""

    def __init__(self, part: str, text: str) -> None:
        self.part = part
        self.text = text
        self.detail = ""
        self.fraction: float | None = None
        self.fetched_mb = 0.0
        self.started_s = time.monotonic()
        self.mentioned_s = self.started_s

    def seconds(self) -> float:
        """How long the step has taken so far."""
        return time.monotonic() - self.started_s

    def line(self) -> str:
        """The step as shown while it goes on."""
        share = "" if self.fraction is None else f" {self.fraction:.0%}"
        return f"{self.part}: {self.text}{share} {self.seconds():.0f} s"


class Console:
    """Shows steps on `stream` (standard error unless given). Safe to use from several threads."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._live = self._stream.isatty()
        self._lock = threading.Lock()
        self._steps: list[Step] = []
        self._wake = threading.Event()
        self._ticker: threading.Thread | None = None

    @contextmanager
    def step(self, part: str, text: str) -> Iterator[Step]:
        """Show a step for as long as the `with` block runs, then its line with the seconds."""
        step = Step(part, text)
        with self._lock:
            self._steps.append(step)
            if self._ticker is None:
                self._wake = threading.Event()
                self._ticker = threading.Thread(
                    target=self._tick, args=(self._wake,), name="progress", daemon=True
                )
                self._ticker.start()
        outcome = "failed after "
        try:
            yield step
            outcome = ""
        except (StoppedError, KeyboardInterrupt, SystemExit):
            outcome = "stopped after "
            raise
        finally:
            detail = f" ({step.detail})" if step.detail else ""
            self._end(step, f"{part}: {text}{detail}, {outcome}{step.seconds():.1f} s")

    def note(self, part: str, text: str) -> None:
        """Print a line that belongs to no step."""
        with self._lock:
            self._print(f"{part}: {text}")

    def _end(self, step: Step, line: str) -> None:
        ticker = None
        with self._lock:
            self._steps.remove(step)
            self._print(line)
            if not self._steps:
                ticker, self._ticker = self._ticker, None
                self._wake.set()
        if ticker is not None:
            ticker.join()

    def _print(self, line: str) -> None:
        self._stream.write(f"\r\x1b[K{line}\n" if self._live else f"{line}\n")
        self._draw()

    def _draw(self) -> None:
        if self._live and self._steps:
            width = shutil.get_terminal_size().columns - 1
            text = " · ".join(step.line() for step in self._steps)
            self._stream.write(f"\r\x1b[K{text[:width]}")
        self._stream.flush()

    def _tick(self, wake: threading.Event) -> None:
        while not wake.wait(_REDRAW_S):
            with self._lock:
                if self._live:
                    self._draw()
                    continue
                now_s = time.monotonic()
                for step in self._steps:
                    if now_s - step.mentioned_s >= _STILL_S:
                        step.mentioned_s = now_s
                        self._print(f"{step.line()} so far")
