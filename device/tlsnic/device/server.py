"""The event loop of the device process: ports, signals, the control socket, and nothing else."""

import logging
import select
import signal
import socket
import time
from collections.abc import Callable, Sequence
from types import FrameType, TracebackType
from typing import Final, Self

from tlsnic.device.control.server import ControlServer
from tlsnic.device.port import Port

MAX_WAIT_S: Final = 60.0

log = logging.getLogger("tlsnic.device")


class Server:
    """Runs ports until `stop` is called or SIGINT or SIGTERM arrives; single-threaded."""

    def __init__(
        self,
        ports: Sequence[Port],
        clock_ns: Callable[[], int] = time.monotonic_ns,
        control: ControlServer | None = None,
    ) -> None:
        self._ports = list(ports)
        self._control = control
        self._clock_ns = clock_ns
        self._stopping = False
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)
        self._descriptors = [self._wake_reader.fileno()]
        for port in self._ports:
            self._descriptors += port.filenos()
        self._control_fd = -1 if control is None else control.fileno()
        if control is not None:
            self._descriptors.append(self._control_fd)

    def stop(self) -> None:
        """Make `run` return after the current turn; may be called from a signal handler."""
        self._stopping = True
        self._wake_writer.send(b"\0")

    def install_signal_handlers(self) -> None:
        """Stop on SIGINT and SIGTERM."""

        def handler(_signal: int, _frame: FrameType | None) -> None:
            self.stop()

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, handler)

    def run(self) -> None:
        """Serve until stopped."""
        while not self._stopping:
            self.turn()

    def turn(self) -> None:
        """Wait until something is to do, and do some of it."""
        # select, because its time-out is in microseconds: poll and epoll round up to milliseconds.
        readable, _, _ = select.select(self._descriptors, (), (), self._wait_s())
        now_ns = self._clock_ns()
        control = self._control
        if control is not None:
            due_ns = control.deadline_ns
            due = control.busy or (due_ns is not None and due_ns <= now_ns)
            if due or self._control_fd in readable:
                control.turn(now_ns)
                now_ns = self._clock_ns()  # what was asked for has told the cards a later time
        for port in self._ports:
            port.turn(now_ns, readable)

    def _wait_s(self) -> float:
        """Seconds until the next deadline of any port; 0 when there is work."""
        control = self._control
        if any(port.busy for port in self._ports) or (control is not None and control.busy):
            return 0.0
        deadlines = [port.next_deadline_ns() for port in self._ports]
        if control is not None:
            deadlines.append(control.deadline_ns)
        due = min((deadline for deadline in deadlines if deadline is not None), default=None)
        if due is None:
            return MAX_WAIT_S
        return min(MAX_WAIT_S, max(0.0, (due - self._clock_ns()) / 1e9))

    def close(self) -> None:
        """Close the control socket and all ports; the first failure is raised when all are closed."""
        failure: BaseException | None = None
        if self._control is not None:
            self._control.close()
        for port in self._ports:
            try:
                port.close()
            except Exception as error:
                failure = failure or error
        self._wake_reader.close()
        self._wake_writer.close()
        if failure is not None:
            raise failure

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
