"""The far end of the wire: a stream wire that the device connects to, driven by its own thread."""

from __future__ import annotations

import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tlsnic.device.wire import (
    NO_IMPAIRMENTS,
    Impairments,
    ImpairmentStage,
    VnetHeader,
    open_unix_listener,
)

_FRAMES_PER_TURN = 256
_FRAMES_KEPT = 1 << 17
_RETRY_MS = 1.0
_DELIVERY_TIMEOUT_S = 20.0
_LINK_TIMEOUT_S = 20.0  # a device tries to connect every 250 ms


class FarEndError(Exception):
    """The wire did not do what was asked of it in time."""


class FarEnd:
    """Sends and collects frames; thread-safe. `spec` is the wire for the device's command line."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "wire.sock"
        self.spec = f"unix:{self._path}"
        self._changed = threading.Condition()
        # All below is guarded by _changed.
        self._wire: ImpairmentStage | None = None
        self._inbox: deque[tuple[int, bytes]] = deque(maxlen=_FRAMES_KEPT)
        self._now_ns = 0
        self._outbox: deque[bytes] = deque()
        self._received = 0
        self._sent = 0
        self._failure: BaseException | None = None
        self._stopping = False
        self._divert: Callable[[bytes], None] | None = None
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._open()
        self._thread = threading.Thread(target=self._run, name="tlsnic-peer", daemon=True)
        self._thread.start()

    # What tests call

    def send(self, frames: Sequence[bytes]) -> None:
        """Send frames; returns when the wire has them all. Raises FarEndError."""
        with self._changed:
            self._outbox.extend(frames)
            self._wake()
            self._await(lambda: not self._outbox, _DELIVERY_TIMEOUT_S, "the wire takes no frames")

    def receive(self, count: int, wait_s: float) -> list[bytes]:
        """`count` frames that the card sent, or those that came before the deadline."""
        return [frame for _, frame in self.receive_timed(count, wait_s)]

    def receive_timed(self, count: int, wait_s: float) -> list[tuple[int, bytes]]:
        """The same with the monotonic time in nanoseconds at which each of them came."""
        with self._changed:
            self._changed.wait_for(
                lambda: len(self._inbox) >= count or self._failure is not None, wait_s
            )
            self._check()
            return [self._inbox.popleft() for _ in range(min(count, len(self._inbox)))]

    def drain(self) -> list[bytes]:
        """All frames that have arrived so far."""
        with self._changed:
            frames = [frame for _, frame in self._inbox]
            self._inbox.clear()
            return frames

    def impair(
        self,
        *,
        seed: int | None = None,
        to_nic: Mapping[str, object] | None = None,
        from_nic: Mapping[str, object] | None = None,
    ) -> None:
        """Make the wire bad: fields of `Impairments` for either direction, none of them for fine.

        With `seed` the wire is opened anew, which costs a link flap.
        """
        with self._changed:
            if seed is not None:
                self._close()
                self._open(seed)
                self._wake()
            assert self._wire is not None
            self._wire.impair(tx=_impairments(to_nic), rx=_impairments(from_nic))
        if seed is not None:
            self.await_link()

    def set_link(self, *, up: bool) -> None:
        """Hang up, or wait until the device is connected again."""
        with self._changed:
            if not up:
                self._close()
                self._wake()
                return
            if self._wire is None:
                self._open()
                self._wake()
        self.await_link()

    def await_link(self) -> None:
        """Wait until the device is connected. Raises FarEndError."""
        with self._changed:
            self._await(
                lambda: self._wire is not None and self._wire.link_up,
                _LINK_TIMEOUT_S,
                "the device does not connect to the wire",
            )

    def make_ready(self) -> None:
        """Wait until the device is connected, and forget what it sent. Raises FarEndError."""
        self.await_link()
        self.drain()

    def divert(self, taker: Callable[[bytes], None] | None) -> None:
        """Give what the card sends to `taker` instead of to tests; None: to tests again. It is
        called in the wire's thread, and must not wait."""
        with self._changed:
            self._divert = taker
            self._outbox.clear()

    def post(self, frame: bytes) -> None:
        """Send a frame soon; it is lost when the wire is not plugged in."""
        with self._changed:
            if self._wire is not None and self._wire.link_up:
                self._outbox.append(frame)
                if len(self._outbox) == 1:
                    self._wake()

    def counts(self) -> dict[str, int]:
        """Frames that went to the card, and frames that came from it, since the start."""
        with self._changed:
            return {"sent": self._sent, "received": self._received, "waiting": len(self._inbox)}

    def close(self) -> None:
        """Hang up for good; harmless a second time."""
        with self._changed:
            if self._stopping:
                return
            self._stopping = True
            self._wake()
        self._thread.join()
        with self._changed:
            self._close()
        os.close(self._wake_fd)

    # Inside

    def _open(self, seed: int = 0) -> None:
        self._wire = ImpairmentStage(open_unix_listener(str(self._path)), seed=seed)

    def _close(self) -> None:
        wire, self._wire = self._wire, None
        self._outbox.clear()
        if wire is not None:
            wire.close()

    def _wake(self) -> None:
        os.eventfd_write(self._wake_fd, 1)

    def _await(self, done: Callable[[], bool], timeout_s: float, problem: str) -> None:
        finished = self._changed.wait_for(lambda: done() or self._failure is not None, timeout_s)
        self._check()
        if not finished:
            raise FarEndError(f"{problem} within {timeout_s:g} s")

    def _check(self) -> None:
        if self._failure is not None:
            raise FarEndError(f"the far end failed: {self._failure!r}")

    def _take(self, frame: memoryview, _vnet: VnetHeader | None) -> None:
        self._received += 1
        if self._divert is not None:
            self._divert(bytes(frame))
            return
        self._inbox.append((self._now_ns, bytes(frame)))

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._turn()
        except BaseException as error:
            with self._changed:
                self._failure = error
                self._changed.notify_all()

    def _turn(self) -> None:
        poller = select.poll()
        poller.register(self._wake_fd, select.POLLIN)
        with self._changed:
            wire = self._wire
            timeout_ms: float | None = None
            if wire is not None:
                fd = wire.fileno()
                if fd is not None:
                    poller.register(fd, select.POLLIN)
                due_ns = wire.next_deadline_ns()
                if due_ns is not None:
                    timeout_ms = max(0.0, (due_ns - time.monotonic_ns()) / 1e6)
                if self._outbox and wire.link_up:  # it could not take all
                    timeout_ms = _RETRY_MS if timeout_ms is None else min(timeout_ms, _RETRY_MS)
        for fd, _ in poller.poll(timeout_ms):
            if fd == self._wake_fd:
                os.eventfd_read(fd)
        with self._changed:
            if self._wire is None:
                return
            now_ns = self._now_ns = time.monotonic_ns()
            self._wire.receive(self._take, _FRAMES_PER_TURN, now_ns)
            self._wire.events.clear()
            while self._outbox and self._wire.link_up:
                if not self._wire.send((self._outbox[0],), None, now_ns):
                    break
                self._outbox.popleft()
                self._sent += 1
            self._changed.notify_all()


def _impairments(settings: Mapping[str, object] | None) -> Impairments:
    if not settings:
        return NO_IMPAIRMENTS
    return Impairments(**settings)  # type: ignore[arg-type]
