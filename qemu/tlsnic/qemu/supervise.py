"""Processes that never outlive this one, and an orderly end when a signal comes.

Every child gets the parent-death signal (prctl(2), PR_SET_PDEATHSIG), so the kernel ends it even
when this process is killed outright, and its own process group, so that a Ctrl-C at the terminal
reaches this process alone, which then stops the children in order.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from types import FrameType
from typing import IO, TypeVar

from tlsnic.qemu.errors import Interrupted, UserError

T = TypeVar("T")

# The signal is set by a program before exec, not in preexec_fn: that is unsafe with threads. When
# the parent died before it took effect, the shell sees another parent and starts nothing.
_TIED_TO_PARENT = (
    *("setpriv", "--pdeathsig", "KILL"),
    *("sh", "-c", '[ "$PPID" = "$0" ] && exec "$@"'),
)
_children: set["Child"] = set()


class Child:
    """A running program in its own process group, killed by the kernel when this process dies.

    The kernel's promise is about the *thread* that starts it: start children from a thread that
    lives as long as they are needed. `netns_fd` is a network namespace to run it in.

    Raises `UserError` when the program cannot be started.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        name: str,
        stdin: int | IO[bytes] = subprocess.DEVNULL,
        stdout: int | IO[bytes] | None = None,
        stderr: int | IO[bytes] | None = None,
        pass_fds: Sequence[int] = (),
        env: Mapping[str, str] | None = None,
        netns_fd: int | None = None,
    ) -> None:
        self.name = name
        self.argv = list(argv)
        if shutil.which(argv[0]) is None:
            raise UserError(f"cannot start {name}: no program {argv[0]}", "install it")
        inside = [] if netns_fd is None else ["nsenter", f"--net=/proc/{os.getpid()}/fd/{netns_fd}"]
        try:
            self._process = subprocess.Popen(
                [*_TIED_TO_PARENT, str(os.getpid()), *inside, *argv],
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                pass_fds=pass_fds,
                env=None if env is None else {**os.environ, **env},
                process_group=0,
            )
        except OSError as error:
            raise UserError(
                f"cannot start {name}: {error.strerror}", "install the package util-linux"
            ) from error
        _children.add(self)

    @property
    def pid(self) -> int:
        return self._process.pid

    def poll(self) -> int | None:
        """The exit status (negative: the signal that ended it), or None while it runs."""
        status = self._process.poll()
        if status is not None:
            _children.discard(self)
        return status

    def wait(self, timeout_s: float | None = None) -> int:
        """The exit status once it has ended. Raises `subprocess.TimeoutExpired`."""
        status = self._process.wait(timeout_s)
        _children.discard(self)
        return status

    async def ended(self) -> int:
        """The exit status once it has ended, without blocking the event loop."""
        loop = asyncio.get_running_loop()
        try:
            pidfd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return self.wait()
        readable = asyncio.Event()
        loop.add_reader(pidfd, readable.set)
        try:
            await readable.wait()
        finally:
            loop.remove_reader(pidfd)
            os.close(pidfd)
        return self.wait()

    def kill(self) -> None:
        """Kill it and its process group at once."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def stop(self, grace_s: float = 1.0) -> int:
        """Ask it to end (SIGTERM), kill it after `grace_s`; returns the exit status. Idempotent."""
        status = self.poll()
        if status is not None:
            return status
        self._terminate()
        try:
            return self.wait(grace_s)
        except subprocess.TimeoutExpired:
            self.kill()
            return self.wait()

    async def finish(self, grace_s: float = 1.0) -> int:
        """As `stop`, without blocking the event loop: a second signal can still come in."""
        status = self.poll()
        if status is not None:
            return status
        self._terminate()
        try:
            return await asyncio.wait_for(self.ended(), grace_s)
        except TimeoutError:
            self.kill()
            return await self.ended()

    def _terminate(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGTERM)

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()


def describe_status(status: int) -> str:
    """An exit status of `Child` in words."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"


def kill_all() -> None:
    """Kill every child that still runs, at once."""
    for child in list(_children):
        if child.poll() is None:
            child.kill()


def run_async(main: Coroutine[object, object, T]) -> T:
    """Run `main` to its end, with SIGINT, SIGTERM and SIGHUP under control.

    The first signal cancels `main`, whose clean-up then stops what it started; the second kills
    every child at once, so that the clean-up has nothing left to wait for. Both end in
    `Interrupted`. Outside the main thread, where Python delivers no signal, `main` just runs.
    """
    if threading.current_thread() is not threading.main_thread():
        return asyncio.run(main)
    interrupted = False

    async def guarded() -> T:
        nonlocal interrupted
        task = asyncio.ensure_future(main)
        loop = asyncio.get_running_loop()

        def on_signal() -> None:
            nonlocal interrupted
            if interrupted:
                kill_all()
            else:
                interrupted = True
                task.cancel()

        for number in _SIGNALS:
            loop.add_signal_handler(number, on_signal)
        return await task

    before = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        result = asyncio.run(guarded())
    except asyncio.CancelledError:
        if not interrupted:
            raise
    finally:
        _restore(before)
    if interrupted:
        raise Interrupted
    return result


_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SignalHandler = Callable[[int, FrameType | None], object] | int | signal.Handlers | None


def _restore(handlers: Mapping[signal.Signals, _SignalHandler]) -> None:
    # None stands for a handler that was not installed by Python and cannot be put back.
    for number, handler in handlers.items():
        if handler is not None:
            signal.signal(number, handler)
