"""SOCK_IO_SEND_LOCK: who writes to a socket, one after the other, in the order in which they came.

A program that writes all the time gives the lock back between two calls for a moment only. Python's own
locks would give it to the same thread again and again; here the next one in the queue has it, such as
the one that switches the connection to another mode.
"""

from __future__ import annotations

from collections import deque
from threading import Lock, get_ident
from types import TracebackType


class IoLock:
    """A re-entrant lock; a context manager."""

    __slots__ = ("_depth", "_mutex", "_owner", "_waiting")

    def __init__(self) -> None:
        self._mutex = Lock()
        self._owner = 0
        self._depth = 0
        self._waiting: deque[tuple[int, Lock]] = deque()

    def acquire(self, *, blocking: bool = True) -> bool:
        """Have it; False when another thread has it and `blocking` is not set."""
        me = get_ident()
        with self._mutex:
            if self._owner == me or not self._owner:
                self._owner = me
                self._depth += 1
                return True
            if not blocking:
                return False
            turn = Lock()
            turn.acquire()
            self._waiting.append((me, turn))
        turn.acquire()  # `release` has made this thread the owner
        return True

    def release(self) -> None:
        """Give it to who waits longest. RuntimeError when this thread does not have it."""
        with self._mutex:
            if self._owner != get_ident():
                raise RuntimeError("released by a thread that does not have it")
            self._depth -= 1
            if self._depth:
                return
            self._owner = 0
            if self._waiting:
                self._owner, turn = self._waiting.popleft()
                self._depth = 1
                turn.release()

    def __enter__(self) -> IoLock:
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()
