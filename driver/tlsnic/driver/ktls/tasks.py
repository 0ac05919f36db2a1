"""What other threads ask of the one that takes turns: tasks of its next turn (taskqueue(9))."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from errno import ETIMEDOUT
from threading import Event, Lock, get_ident
from typing import TypeVar

_T = TypeVar("_T")
CALL_TIMEOUT_S = 10.0


class TaskQueue:
    """Tasks, the thread that does them, and `fd`, a descriptor that is readable when it is needed."""

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._tasks: deque[Callable[[], None]] = deque()
        self._thread: int | None = None
        self._lock = Lock()  # of fd: it must not be another file's number when it is written to

    def __len__(self) -> int:
        return len(self._tasks)

    @property
    def is_mine(self) -> bool:
        """Whether the calling thread does the tasks; any thread does until one has."""
        return self._thread in (None, get_ident())

    def run(self) -> None:
        """Do what is queued now; the calling thread is the one that does, from now on."""
        self._thread = get_ident()
        with suppress(BlockingIOError):
            os.eventfd_read(self.fd)
        for _ in range(len(self._tasks)):
            self._tasks.popleft()()

    def enqueue(self, task: Callable[[], None]) -> None:
        """Do it in the next turn (taskqueue_enqueue). Any thread."""
        self._tasks.append(task)
        self.wake()

    def wake(self) -> None:
        """End the wait of the thread that takes turns, if this is another one."""
        if get_ident() != self._thread:
            with self._lock:
                if self.fd >= 0:
                    os.eventfd_write(self.fd, 1)

    def do(self, function: Callable[[], None]) -> None:
        """Now, in the thread that takes turns; from others in its next turn."""
        if self.is_mine:
            function()
        else:
            self.enqueue(function)

    def call(self, function: Callable[[], _T], timeout_s: float = CALL_TIMEOUT_S) -> _T:
        """As `TcpStack.call`."""
        if self.is_mine:
            return function()
        begun, done = Lock(), Event()
        results: list[_T] = []
        errors: list[Exception] = []

        def task() -> None:
            if not begun.acquire(blocking=False):
                return  # nobody waits for it any more
            try:
                results.append(function())
            except Exception as error:
                errors.append(error)
            finally:
                done.set()

        self.enqueue(task)
        if not done.wait(timeout_s):
            if begun.acquire(blocking=False):
                raise TimeoutError(ETIMEDOUT, "nobody takes turns")
            done.wait()
        if errors:
            raise errors[0]
        return results[0]

    def close(self) -> None:
        """Forget all tasks, and close the descriptor."""
        self._tasks.clear()
        with self._lock:
            if self.fd >= 0:
                os.close(self.fd)
                self.fd = -1
