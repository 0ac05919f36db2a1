"""Parts of the suite that run beside the first guest: each a process of its own, one by one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tlsnic.qemu.conformance_report import Report
from tlsnic.qemu.errors import EXIT_FAILURE
from tlsnic.qemu.supervise import Child

_CLEAN_UP_S = 10.0
_POLL_S = 0.1


@dataclass(frozen=True)
class Part:
    """A part: its name for --part, what is said of it, and what stands behind its tests' names."""

    name: str
    what: str
    label: str = ""


class Lane:
    """Runs `parts` with `tlsnic conformance --guest --part … OPTIONS`, their output in `folder`.

    An emulated guest keeps little more than one core busy, so they run one after the other, beside
    whatever runs meanwhile. A context manager, which ends what still runs.
    """

    def __init__(self, parts: Sequence[Part], options: Sequence[str], folder: Path) -> None:
        self._parts = parts
        self._options = options
        self._folder = folder
        self._statuses: dict[str, int] = {}
        self._child: Child | None = None
        self._stopped = False
        self._lock = threading.Lock()
        # A child is tied to the thread that starts it, so this one lives as long as they do.
        self._thread = threading.Thread(target=self._run, name="tlsnic-parts")

    def __enter__(self) -> Lane:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        with self._lock:
            self._stopped = True
            child = self._child
        if child is not None:
            child.stop(grace_s=_CLEAN_UP_S)
        self._thread.join()

    async def ended(self) -> None:
        """Wait until all have ended, without blocking the event loop: a signal can still come in."""
        while self._thread.is_alive():
            await asyncio.sleep(_POLL_S)

    def outcome(self, part: Part) -> tuple[Report | None, int, bytes]:
        """What came of a part that has ended: its report, exit status, and what it printed."""
        output = b""
        with contextlib.suppress(OSError):  # it never came to that
            output = self._file(part, "output").read_bytes()
        status = self._statuses.get(part.name, EXIT_FAILURE)
        return read_report(self._file(part, "json")), status, output

    def _file(self, part: Part, suffix: str) -> Path:
        return self._folder / f"{part.name}.{suffix}"

    def _run(self) -> None:
        for part in self._parts:
            words = [sys.executable, "-m", "tlsnic.qemu.cli", "conformance", "--guest"]
            words += ["--part", part.name, "--json", str(self._file(part, "json")), *self._options]
            with self._file(part, "output").open("wb") as output:
                with self._lock:
                    if self._stopped:
                        return
                    self._child = Child(words, name=part.what, stdout=output, stderr=output)
                self._statuses[part.name] = self._child.wait()


def read_report(path: Path) -> Report | None:
    """The report that a run wrote to `path`, if it did."""
    with contextlib.suppress(OSError, ValueError):
        return Report.from_json(json.loads(path.read_text()))
    return None
