"""`tlsnic boot`: a root shell in a guest with the card attached, on this terminal."""

import argparse
import asyncio
import contextlib
import os
import shlex
import shutil
import socket
import sys
import termios
import tty
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tlsnic.qemu.channel import Channel, Handler
from tlsnic.qemu.conformance_handover import REPORT_METHOD
from tlsnic.qemu.errors import UserError, VmDiedError
from tlsnic.qemu.launch import MEMORY_ABOVE_4G_MIB, Machine
from tlsnic.qemu.peer.data import NEAR_ADDRESS
from tlsnic.qemu.run import CONTROL, served
from tlsnic.qemu.supervise import run_async
from tlsnic.qemu.vm import Setup, Vm, prepare
from tlsnic.qemu.workdir import work_directory

ESCAPE = b"\x1d"  # Ctrl-], as in telnet(1) and virsh(1)
_END_OF_INPUT = b"\x04"
_READ_BYTES = 65536


def device_command(options: Sequence[str] = ()) -> list[str]:
    """The device process's command line, with "{socket}" for its socket's path."""
    return [sys.executable, "-m", "tlsnic.device", "--socket", "{socket}", *options]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `tlsnic boot`."""
    parser.add_argument(
        "--accel", choices=("auto", "kvm", "tcg"), default="auto", help="how to run the guest's CPU"
    )
    parser.add_argument("--cpus", type=int, default=2, metavar="N", help="virtual CPUs (2)")
    parser.add_argument(
        "--memory",
        type=int,
        default=MEMORY_ABOVE_4G_MIB,
        metavar="MIB",
        help="guest RAM in MiB (%(default)s, a third of which is above 4 GiB)",
    )
    parser.add_argument("--iommu", action="store_true", help="add an Intel IOMMU (for vfio-pci)")
    parser.add_argument(
        "--linux",
        action="store_true",
        help="let the guest's own kernel drive the card: load the Linux driver; the wire ends in a "
        "network namespace, unless --device-options says otherwise",
    )
    parser.add_argument(
        "--device-options",
        type=shlex.split,
        default=[],
        metavar="'OPTIONS'",
        help="options handed to `tlsnic device`, as one word; without any, the wire ends in this "
        "process and a second card hangs on a TAP, as the conformance suite needs it",
    )


def main(args: argparse.Namespace) -> int:
    """Boot, give the shell, clean up. Returns 0; raises as `boot` does."""
    machine = Machine(cpus=args.cpus, memory_mib=args.memory, iommu=args.iommu)
    if args.linux:
        _boot_linux(machine, args)
        return 0
    if args.device_options:
        boot(machine, device_command(args.device_options), accel=args.accel)
        return 0
    from tlsnic.qemu.peer.service import Service  # noqa: PLC0415 - pulls in scapy

    with work_directory() as work, contextlib.closing(Service(work)) as service:
        try:
            second = service.traffic.start_device()
            machine = replace(machine, devices=[second.socket_path])
        except UserError as error:
            print(f"tlsnic: without a second card on a TAP: {error}", file=sys.stderr)
        options = ["--wire", service.far_end.spec]
        # A person reads the results in the guest: its report is of no use here.
        on_call = {**service.methods(), REPORT_METHOD: lambda report: None}
        boot(machine, device_command(options), accel=args.accel, on_call=on_call)
    return 0


def _boot_linux(machine: Machine, args: argparse.Namespace) -> None:
    """With the Linux driver; what is loaded and set up is in guest/init."""
    from tlsnic.qemu import linux  # noqa: PLC0415 - pulls in openssl's and scapy's users

    setup = prepare(args.accel)
    files = {linux.MODULE: linux.module_path(setup)}
    env = {"TLSNIC_ADDRESSES": " ".join(linux.NEAR)}
    options = args.device_options
    with contextlib.ExitStack() as undo:
        if not options:
            namespace = undo.enter_context(linux.far_namespace())
            options = ["--wire", linux.far_wire(namespace)]
            print(
                f"tlsnic: the wire's far end: nsenter --net={namespace.path} ping {NEAR_ADDRESS}",
                file=sys.stderr,
            )
        boot(
            replace(machine, hugepages=0),
            device_command(options),
            files=files,
            env=env,
            setup=setup,
        )


def boot(
    machine: Machine,
    device_cmd: Sequence[str] | None,
    *,
    accel: str = "auto",
    on_call: Mapping[str, Handler] | None = None,
    files: Mapping[str, Path] | None = None,
    env: Mapping[str, str] | None = None,
    setup: Setup | None = None,
) -> None:
    """Run a guest with its console on standard input and output until its shell ends.

    `device_cmd` and `files` are as in `Vm`, `env` adds to its; `on_call` are the methods that the
    guest can call over its control channel, if it has one; `setup` is what `prepare` gives.
    Raises `VmDiedError`, `DeviceDiedError`, `UserError`, `Interrupted`.
    """
    setup = setup or prepare(accel)
    ports = () if on_call is None else (CONTROL,)

    async def session() -> None:
        with work_directory() as work:
            vm = Vm(
                setup,
                machine,
                work,
                command=None,
                env={**_terminal(), **(env or {})},
                device_cmd=device_cmd,
                ports=ports,
                files=files,
            )
            print("tlsnic: starting the guest; Ctrl-] ends it", file=sys.stderr, flush=True)
            async with vm, contextlib.AsyncExitStack() as stack:
                if on_call is not None:
                    channel = Channel.over_socket(vm.ports.pop(CONTROL), on_call)
                    await stack.enter_async_context(served(channel))
                await _attend(vm)

    run_async(session())


def _terminal() -> dict[str, str]:
    """What the guest's shell needs to know about this terminal."""
    size = shutil.get_terminal_size()
    term = os.environ.get("TERM", "dumb") if sys.stdout.isatty() else "dumb"
    return {"TERM": term, "TLSNIC_ROWS": str(size.lines), "TLSNIC_COLUMNS": str(size.columns)}


async def _attend(vm: Vm) -> None:
    assert vm.shell is not None
    relay = _Relay(vm.shell, sys.stdin.fileno(), sys.stdout.fileno())
    with _raw(sys.stdin.fileno()):
        relayed = asyncio.ensure_future(relay.run())
        ended = asyncio.ensure_future(vm.ended())
        device_ended = asyncio.ensure_future(vm.device_ended())
        try:
            done, _ = await asyncio.wait(
                (relayed, ended, device_ended), return_when=asyncio.FIRST_COMPLETED
            )
            if device_ended in done and ended not in done and relayed not in done:
                raise vm.device_died()
            if relay.escaped:
                return
            await asyncio.wait((ended,), timeout=5)
            await asyncio.wait((relayed,), timeout=1)
        finally:
            for task in (relayed, ended, device_ended):
                task.cancel()
            await asyncio.gather(relayed, ended, device_ended, return_exceptions=True)
    assert vm.monitor is not None
    if vm.monitor.shutdown_reason() != "guest-shutdown":
        error = vm.died()
        raise VmDiedError(error.what, console=error.console)


class _Relay:
    """Carries bytes between the guest's console and this terminal."""

    def __init__(self, console: socket.socket, stdin_fd: int, stdout_fd: int) -> None:
        self._console = console
        self._stdin_fd = stdin_fd
        self._stdout_fd = stdout_fd
        self._typed: asyncio.Queue[bytes] = asyncio.Queue()
        self._left = asyncio.Event()
        self.escaped = False

    async def run(self) -> None:
        """Until the console closes or the person types ESCAPE."""
        self._console.setblocking(False)
        tasks = [
            asyncio.ensure_future(self._show()),
            asyncio.ensure_future(self._send()),
            asyncio.ensure_future(self._left.wait()),
        ]
        try:
            await asyncio.wait((tasks[0], tasks[2]), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._stop_reading()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _show(self) -> None:
        loop = asyncio.get_running_loop()
        reading = False
        with contextlib.suppress(ConnectionError):
            while data := await loop.sock_recv(self._console, _READ_BYTES):
                while data:
                    data = data[os.write(self._stdout_fd, data) :]
                if not reading:
                    # What is typed before the shell is there would be lost.
                    reading = True
                    self._start_reading()

    async def _send(self) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(ConnectionError):
            while True:
                await loop.sock_sendall(self._console, await self._typed.get())

    def _start_reading(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            loop.add_reader(self._stdin_fd, self._on_typed)
        except PermissionError:
            # A regular file or /dev/null is always readable, and epoll refuses it.
            while self._on_typed():
                pass

    def _stop_reading(self) -> None:
        with contextlib.suppress(PermissionError):
            asyncio.get_running_loop().remove_reader(self._stdin_fd)

    def _on_typed(self) -> bool:
        """Take in what was typed; whether there may be more."""
        try:
            data = os.read(self._stdin_fd, _READ_BYTES)
        except OSError:  # the terminal is gone
            data = b""
        if not data:
            self._stop_reading()
            self._typed.put_nowait(_END_OF_INPUT)
            return False
        if os.isatty(self._stdin_fd) and ESCAPE in data:
            self.escaped = True
            self._left.set()
            return False
        self._typed.put_nowait(data)
        return True


@contextlib.contextmanager
def _raw(fd: int) -> Iterator[None]:
    """The terminal in raw mode meanwhile: every key, Ctrl-C too, belongs to the guest."""
    if not os.isatty(fd):
        yield
        return
    before = termios.tcgetattr(fd)
    try:
        tty.setraw(fd)
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
        print()
