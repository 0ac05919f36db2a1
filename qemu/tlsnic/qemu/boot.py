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
from collections.abc import Iterator, Sequence

from tlsnic.qemu.errors import VmDiedError
from tlsnic.qemu.launch import MEMORY_ABOVE_4G_MIB, Machine
from tlsnic.qemu.supervise import run_async
from tlsnic.qemu.vm import Vm, prepare
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
        "--memory", type=int, default=1024, metavar="MIB", help="guest RAM in MiB (1024)"
    )
    parser.add_argument(
        "--above-4g",
        action="store_true",
        help=f"{MEMORY_ABOVE_4G_MIB} MiB of RAM, a third of it above 4 GiB",
    )
    parser.add_argument("--iommu", action="store_true", help="add an Intel IOMMU (for vfio-pci)")
    parser.add_argument(
        "--device-options",
        type=shlex.split,
        default=[],
        metavar="'OPTIONS'",
        help="options handed to `tlsnic device`, as one word",
    )


def main(args: argparse.Namespace) -> int:
    """Boot, give the shell, clean up. Returns 0; raises as `boot` does."""
    memory_mib = MEMORY_ABOVE_4G_MIB if args.above_4g else args.memory
    machine = Machine(cpus=args.cpus, memory_mib=memory_mib, iommu=args.iommu)
    boot(machine, device_command(args.device_options), accel=args.accel)
    return 0


def boot(machine: Machine, device_cmd: Sequence[str] | None, *, accel: str = "auto") -> None:
    """Run a guest with its console on standard input and output until its shell ends.

    `device_cmd` is as in `Vm`. Raises `VmDiedError`, `DeviceDiedError`, `UserError`,
    `Interrupted`.
    """
    setup = prepare(accel)

    async def session() -> None:
        with work_directory() as work:
            vm = Vm(setup, machine, work, command=None, env=_terminal(), device_cmd=device_cmd)
            print("tlsnic: starting the guest; Ctrl-] ends it", file=sys.stderr, flush=True)
            async with vm:
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
