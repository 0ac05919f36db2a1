"""Running one command in a guest with the card attached, and bringing back what came of it."""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tlsnic.qemu.channel import Channel, Handler
from tlsnic.qemu.errors import GuestTimeoutError
from tlsnic.qemu.launch import Machine
from tlsnic.qemu.netns import Netns
from tlsnic.qemu.supervise import run_async
from tlsnic.qemu.vm import Setup, Vm, prepare
from tlsnic.qemu.workdir import work_directory

CONTROL, STATUS, OUTPUT = "tlsnic.control", "tlsnic.status", "tlsnic.output"
RESULT_METHOD = "tlsnic.result"
_POWER_OFF_TIMEOUT_S = 5.0
_DRAIN_TIMEOUT_S = 2.0
_READ_BYTES = 65536


@dataclass(frozen=True)
class TestReport:
    """What the guest said about one test. `outcome` is the reporter's word ("passed", …)."""

    __test__ = False  # not a test class, whatever its name suggests to pytest

    id: str
    outcome: str
    duration_s: float
    text: str = ""


@dataclass(frozen=True)
class Timings:
    """Seconds from QEMU's launch to the command's start, to its end, and to power-off."""

    started_s: float
    finished_s: float
    off_s: float


@dataclass(frozen=True)
class GuestResult:
    """What one command in the guest came to.

    `output` is its standard output and error together. `console` and `device_log` are the last
    lines of the kernel's console and of the device process.
    """

    exit_status: int
    output: str
    reports: tuple[TestReport, ...]
    console: str
    device_log: str
    timings: Timings
    kvm: bool


def run_in_guest(
    command: Sequence[str],
    *,
    device_cmd: Sequence[str] | None = None,
    on_call: Mapping[str, Handler] | None = None,
    on_output: Callable[[bytes], None] | None = None,
    on_report: Callable[[TestReport], None] | None = None,
    timeout_s: float = 300.0,
    machine: Machine | None = None,
    env: Mapping[str, str] | None = None,
    netns: Netns | None = None,
    files: Mapping[str, Path] | None = None,
    setup: Setup | None = None,
) -> GuestResult:
    """Boot a guest, run `command` in it, power it off.

    The command runs in /project with the project on PYTHONPATH and TLSNIC_CONTROL naming the
    control channel, over which it can call the methods in `on_call` (in a thread of their own, one
    at a time). `device_cmd`, `netns`, `files` and `machine` are as in `Vm`; `setup` is what `prepare` gives.

    An exit status other than 0 is a result. Raises `VmDiedError` when the guest ends without one,
    `DeviceDiedError` when the device process ends first, `GuestTimeoutError` after `timeout_s`,
    `Interrupted` after SIGINT or SIGTERM; in every case nothing is left running.
    """
    return run_async(
        _run(
            setup or prepare(),
            machine or Machine(),
            command,
            env=env,
            device_cmd=device_cmd,
            netns=netns,
            files=files,
            collector=_Collector(on_output, on_report),
            on_call=on_call or {},
            timeout_s=timeout_s,
        )
    )


class _Collector:
    """Takes in what comes over the ports while the guest runs."""

    def __init__(
        self,
        on_output: Callable[[bytes], None] | None,
        on_report: Callable[[TestReport], None] | None,
    ) -> None:
        self._on_output = on_output
        self._on_report = on_report
        self.output = bytearray()
        self.reports: list[TestReport] = []
        self.started_at_s: float | None = None
        self.exit_status: int | None = None

    def report(self, **fields: object) -> None:
        """Handler of RESULT_METHOD; called in the control channel's thread."""
        report = TestReport(
            str(fields["id"]),
            str(fields["outcome"]),
            float(str(fields["duration_s"])),
            str(fields.get("text", "")),
        )
        self.reports.append(report)
        if self._on_report is not None:
            self._on_report(report)

    async def read_output(self, sock: socket.socket) -> None:
        """Until the port closes."""
        async for data in _received(sock):
            self.output += data
            if self._on_output is not None:
                self._on_output(data)

    async def read_status(self, sock: socket.socket) -> None:
        """Until the command's exit status has come or the port closes."""
        pending = b""
        async for data in _received(sock):
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                word, _, value = line.partition(b" ")
                if word == b"started":
                    self.started_at_s = time.monotonic()
                elif word == b"exit" and value.isdigit():
                    self.exit_status = int(value)
                    return


async def _run(
    setup: Setup,
    machine: Machine,
    command: Sequence[str],
    *,
    env: Mapping[str, str] | None,
    device_cmd: Sequence[str] | None,
    netns: Netns | None,
    files: Mapping[str, Path] | None,
    collector: _Collector,
    on_call: Mapping[str, Handler],
    timeout_s: float,
) -> GuestResult:
    with work_directory() as work:
        vm = Vm(
            setup,
            machine,
            work,
            command=command,
            env=env,
            device_cmd=device_cmd,
            ports=(CONTROL, STATUS, OUTPUT),
            netns=netns,
            files=files,
        )
        deadline_s = time.monotonic() + timeout_s
        async with vm:
            handlers = {RESULT_METHOD: collector.report, **on_call}
            async with served(Channel.over_socket(vm.ports.pop(CONTROL), handlers)):
                finished_s = await _until_exit(vm, collector, deadline_s, timeout_s)
                off_s = time.monotonic()
            assert collector.exit_status is not None
            return GuestResult(
                exit_status=collector.exit_status,
                output=collector.output.decode(errors="replace"),
                reports=tuple(collector.reports),
                console=vm.console(),
                device_log=vm.device_log(),
                timings=Timings(
                    (collector.started_at_s or finished_s) - vm.launched_s,
                    finished_s - vm.launched_s,
                    off_s - vm.launched_s,
                ),
                kvm=setup.kvm,
            )


async def _until_exit(vm: Vm, collector: _Collector, deadline_s: float, timeout_s: float) -> float:
    """Wait for the command's exit status; the time it came. Raises as `run_in_guest` does."""
    for port in (STATUS, OUTPUT):
        vm.ports[port].setblocking(False)
    status = asyncio.ensure_future(collector.read_status(vm.ports[STATUS]))
    output = asyncio.ensure_future(collector.read_output(vm.ports[OUTPUT]))
    qemu_ended = asyncio.ensure_future(vm.ended())
    device_ended = asyncio.ensure_future(vm.device_ended())
    everything = (status, output, qemu_ended, device_ended)
    try:
        await asyncio.wait(
            (status, qemu_ended, device_ended),
            timeout=max(0.0, deadline_s - time.monotonic()),
            return_when=asyncio.FIRST_COMPLETED,
        )
        if qemu_ended.done():
            # What it still said is in the socket; end of file comes right after.
            await asyncio.wait((status, output), timeout=_DRAIN_TIMEOUT_S)
        if collector.exit_status is not None:
            finished_s = time.monotonic()
            await _drain(output, qemu_ended)
            return finished_s
        if device_ended.done():
            raise vm.device_died()
        if qemu_ended.done() or status.done():
            await asyncio.wait((qemu_ended,), timeout=_DRAIN_TIMEOUT_S)
            raise vm.died()
        stage = "boot" if collector.started_at_s is None else "finish the command"
        raise GuestTimeoutError(
            f"the guest did not {stage} within {timeout_s:.0f} s",
            "give it more time, or look at its console",
            console=vm.console(),
        )
    finally:
        for task in everything:
            task.cancel()
        await asyncio.gather(*everything, return_exceptions=True)


async def _drain(output: "asyncio.Future[None]", qemu_ended: "asyncio.Future[int]") -> None:
    """Let the guest switch itself off, which also ends its output; but wait for no one for ever."""
    await asyncio.wait((qemu_ended,), timeout=_POWER_OFF_TIMEOUT_S)
    if qemu_ended.done():
        await asyncio.wait((output,), timeout=_DRAIN_TIMEOUT_S)
    if output.done():
        output.result()  # raises what `on_output` raised


async def _received(sock: socket.socket) -> AsyncIterator[bytes]:
    """What comes in over a non-blocking socket until its other end is gone."""
    loop = asyncio.get_running_loop()
    with contextlib.suppress(ConnectionError):  # an end that dies with data unread resets it
        while data := await loop.sock_recv(sock, _READ_BYTES):
            yield data


@contextlib.asynccontextmanager
async def served(channel: Channel) -> AsyncIterator[None]:
    """Serve `channel` in a thread; at the normal end, what has been sent is still answered."""
    thread = threading.Thread(target=channel.serve, name="tlsnic-control", daemon=True)
    thread.start()
    try:
        yield
        await asyncio.to_thread(thread.join, _DRAIN_TIMEOUT_S)
    finally:
        channel.close()
        # A handler that does not return must not keep the run from ending.
        await asyncio.to_thread(thread.join, _DRAIN_TIMEOUT_S)
