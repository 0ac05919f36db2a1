"""Waiting for interrupts: the vectors of one device as file descriptors, with deadlines.

The same object serves MSI-X over eventfds and INTx over an eventfd or /dev/uioN.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Iterable, Sequence


def open_eventfds(count: int) -> list[int]:
    """`count` non-blocking eventfds; none is left open when one cannot be made."""
    fds: list[int] = []
    try:
        for _ in range(count):
            fds.append(os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC))
    except BaseException:
        for fd in fds:
            os.close(fd)
        raise
    return fds


def read_eventfd(fd: int) -> int:
    """How often the eventfd was signalled since the last read (0: not at all)."""
    try:
        return os.eventfd_read(fd)
    except BlockingIOError:
        return 0


class Interrupts:
    """The enabled interrupt vectors of a device; vector *n* is `fds[n]`.

    Interrupts that fire while nobody waits are counted by the kernel, so none is lost between two
    calls. Used by one thread at a time. Attributes: `kind` ("msix" or "intx"), `fds`.
    """

    def __init__(
        self,
        kind: str,
        fds: Sequence[int],
        *,
        read_count: Callable[[int], int] = read_eventfd,
        acknowledge: Callable[[int], None] | None = None,
        watch_fd: int = -1,
        watch: Callable[[], bool] | None = None,
        close: Callable[[], None] | None = None,
    ) -> None:
        """`watch_fd` wakes a waiter too: `watch()` is called and says whether to go on watching."""
        self.kind = kind
        self.fds = tuple(fds)
        self._vector_of = {fd: vector for vector, fd in enumerate(self.fds)}
        self._read_count = read_count
        self._acknowledge = acknowledge
        self._watch_fd = watch_fd
        self._watch = watch
        self._close = close
        self._masked: set[int] = set()
        self._pollers: dict[frozenset[int] | None, select.poll] = {}

    def __len__(self) -> int:
        return len(self.fds)

    def poll(self, timeout_s: float, vectors: Iterable[int] | None = None) -> dict[int, int]:
        """Wait until one of `vectors` (all when None) fires: {vector: times fired}.

        Empty at the deadline, or earlier when the device went away. The other vectors' interrupts
        stay pending. Raises IndexError for a vector that is not enabled.
        """
        poller = self._poller(None if vectors is None else frozenset(vectors))
        fired: dict[int, int] = {}
        deadline = time.monotonic() + timeout_s
        left_s = timeout_s
        while True:
            # poll(2) counts milliseconds; Python rounds up, so that a short wait never spins.
            events = poller.poll(left_s * 1000 if left_s > 0 else 0)
            for fd, _ in events:
                if fd == self._watch_fd:
                    if not self._service_watch():
                        return fired
                    continue
                count = self._read_count(fd)
                if count:
                    fired[self._vector_of[fd]] = count
            left_s = deadline - time.monotonic()
            if fired or not events or left_s <= 0:
                return fired

    def wait(self, vector: int, timeout_s: float) -> int:
        """Wait for one vector: how often it fired, 0 at the deadline."""
        return self.poll(timeout_s, (vector,)).get(vector, 0)

    def drain(self) -> dict[int, int]:
        """Take what is pending on every unmasked vector, without waiting."""
        return self.poll(0)

    def ack(self, vector: int) -> None:
        """Re-enable a level-triggered interrupt once its cause is cleared; MSI-X needs nothing."""
        if self._acknowledge is not None:
            self._acknowledge(vector)

    def mask(self, vector: int) -> None:
        """Leave the vector's interrupts pending from now on, as a masked MSI-X entry does."""
        self._check(vector)
        self._masked.add(vector)
        self._pollers.clear()

    def unmask(self, vector: int) -> None:
        """Deliver the vector again, and with it what became pending meanwhile."""
        self._masked.discard(vector)
        self._pollers.clear()

    def close(self) -> None:
        """Disable the interrupts at the device and close their descriptors; twice is harmless."""
        close, self._close = self._close, None
        if close is not None:
            close()
        self._pollers.clear()
        self.fds = ()
        self._vector_of = {}

    def _check(self, vector: int) -> None:
        if not 0 <= vector < len(self.fds):
            raise IndexError(f"interrupt vector {vector} is not one of the {len(self.fds)} enabled")

    def _poller(self, key: frozenset[int] | None) -> select.poll:
        poller = self._pollers.get(key)
        if poller is None:
            poller = select.poll()
            for vector in range(len(self.fds)) if key is None else key:
                self._check(vector)
                if vector not in self._masked:
                    poller.register(self.fds[vector], select.POLLIN)
            if self._watch_fd >= 0:
                poller.register(self._watch_fd, select.POLLIN)
            self._pollers[key] = poller
        return poller

    def _service_watch(self) -> bool:
        if self._watch is not None and self._watch():
            return True
        self._watch_fd = -1
        self._pollers.clear()
        return False
