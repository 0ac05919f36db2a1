"""Running other programs: output collected, progress by line, everything stoppable at once."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_TELLING = re.compile(r"^(E:|error|fatal|.*\berror:)", re.I)

_GRACE_S = 10.0


class CommandError(Exception):
    """A program ended with a status other than 0."""

    def __init__(self, argv: Sequence[str], status: int, output: str) -> None:
        super().__init__(f"{argv[0]} ended with status {status}")
        self.argv = tuple(argv)
        self.status = status
        self.output = output

    def telling_line(self) -> str:
        """The output's line that most likely says why: the first error, else the last line."""
        lines = [line.strip() for line in self.output.splitlines() if line.strip()]
        for line in lines:
            if _TELLING.match(line):
                return line
        return lines[-1] if lines else "no output"


class StoppedError(Exception):
    """The work was called off (another part failed, or the user pressed Ctrl-C)."""


class _Running:
    """The programs running now, so that all of them can be ended from another thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._processes: set[subprocess.Popen[str]] = set()
        self._stopped = False

    def start(
        self, argv: Sequence[str], cwd: Path | None, env: Mapping[str, str], unbroken: bool
    ) -> subprocess.Popen[str]:
        with self._lock:
            if self._stopped:
                raise StoppedError
            process = subprocess.Popen(
                argv,
                cwd=cwd,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                # Out of the terminal's foreground group, Ctrl-C does not reach it.
                process_group=0 if unbroken else None,
            )
            if not unbroken:
                self._processes.add(process)
            return process

    def ended(self, process: subprocess.Popen[str]) -> None:
        with self._lock:
            self._processes.discard(process)

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            for process in self._processes:
                process.terminate()

    def resume(self) -> None:
        with self._lock:
            self._stopped = False

    def check(self) -> None:
        if self._stopped:
            raise StoppedError


_running = _Running()
stop_all = _running.stop
"""End every program that `run` has started, and let no further one start."""
resume = _running.resume
"""Allow programs again after `stop_all`."""
check_stopped = _running.check
"""Raise StoppedError once `stop_all` has been called."""


def run(
    argv: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    on_line: Callable[[str], None] | None = None,
    unbroken: bool = False,
) -> str:
    """Run a program to its end and return its output (both streams, in order).

    `env` is added to this process's environment; messages are asked for in English.
    `on_line` sees each line as it comes. An `unbroken` program is let finish when this process is
    interrupted, as half an installation is worse than a late end.

    Raises CommandError for a status other than 0, OSError when the program cannot be started,
    StoppedError when `stop_all` was called.
    """
    words = [str(word) for word in argv]
    environment = {**os.environ, "LC_ALL": "C.UTF-8", **(env or {})}
    process = _running.start(words, cwd, environment, unbroken)
    lines: list[str] = []
    try:
        _follow(process, lines, on_line)
        status = process.wait()
    except BaseException:
        if unbroken:
            _follow(process, lines, None)
        else:
            _end(process)
        raise
    finally:
        _running.ended(process)
        if process.stdout is not None:
            process.stdout.close()
        process.wait()
    if status:
        check_stopped()
        raise CommandError(words, status, "".join(lines))
    return "".join(lines)


def _follow(
    process: subprocess.Popen[str], lines: list[str], on_line: Callable[[str], None] | None
) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line)
        if on_line is not None:
            on_line(line)


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
