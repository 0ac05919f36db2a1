"""A running guest: the device process, QEMU, and the sockets to both, started and stopped together.

All ends of the sockets are made here and inherited (socketpair(2)): there is no path that could
be stale, and nothing to wait for. Only the device's own socket has a path.
"""

import asyncio
import contextlib
import os
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tlsnic.qemu import doctor, parts, project_disk
from tlsnic.qemu.errors import DeviceDiedError, UserError, VmDiedError
from tlsnic.qemu.kernel import unpacked
from tlsnic.qemu.launch import Channels, Machine, qemu_argv
from tlsnic.qemu.netns import Netns
from tlsnic.qemu.parts import Guest, Qemu
from tlsnic.qemu.qmp import Monitor
from tlsnic.qemu.supervise import Child, describe_status

DEVICE_READY_TIMEOUT_S = 60.0
DEVICE_GRACE_S = 10.0
"""To end in order: captures and records are written to their ends meanwhile."""
_LIBRARY_VARIABLE = "TLSNIC_LIBVFIO_USER"
_POLL_S = 0.01
_TAIL_LINES = 25
_LISTENING = 0x10000  # __SO_ACCEPTCON in the flags of /proc/net/unix


@dataclass(frozen=True)
class Setup:
    """The parts of a launch: which QEMU, which guest, and whether KVM runs it."""

    qemu: Qemu
    guest: Guest
    libvfio_user: Path
    kvm: bool


def prepare(accel: str = "auto") -> Setup:
    """Get the parts (from the cache, or made now) and choose the accelerator.

    `accel` is "auto" (KVM when a guest really boots with it, else TCG with a notice), "kvm" or
    "tcg". Raises `UserError` or `PartError`.
    """
    found = parts.all_parts()
    kvm = accel != "tcg" and doctor.kvm_works(found.qemu, found.guest.kernel)
    if accel == "kvm" and not kvm:
        raise UserError("KVM does not run a guest here", "use --accel tcg, or see `tlsnic doctor`")
    guest = found.guest
    if not kvm:
        if accel == "auto":
            print("tlsnic: KVM does not work here, so the guest is emulated (TCG)", file=sys.stderr)
        guest = replace(guest, kernel=unpacked(guest.kernel))
    return Setup(found.qemu, guest, found.libvfio_user, kvm)


class Vm:
    """A guest that runs between `start` and `stop`; an async context manager of these two.

    `command` runs in the guest with `env`; None gives a shell on `shell` instead. `device_cmd` is
    the device process's command line with "{socket}" for its socket's path; None boots without
    the card. `ports` are names of virtio-serial ports. With `netns` the device process runs in
    there. `files` are put on the project's disk, in its folder `.launch`. `launched_s` is when
    QEMU was started (time.monotonic).
    """

    def __init__(
        self,
        setup: Setup,
        machine: Machine,
        work: Path,
        *,
        command: Sequence[str] | None,
        env: Mapping[str, str] | None = None,
        device_cmd: Sequence[str] | None = None,
        ports: Sequence[str] = (),
        netns: Netns | None = None,
        files: Mapping[str, Path] | None = None,
    ) -> None:
        self._setup = setup
        self._machine = machine
        self._work = work
        self._command = command
        self._env = dict(env or {})
        self._device_cmd = device_cmd
        self._netns = netns
        self._files = dict(files or {})
        self._port_names = tuple(ports)
        self.ports: dict[str, socket.socket] = {}
        self.shell: socket.socket | None = None
        self.qemu: Child | None = None
        self.device: Child | None = None
        self.monitor: Monitor | None = None
        self.launched_s = 0.0

    async def __aenter__(self) -> "Vm":
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start the device, then QEMU.

        Raises `DeviceDiedError` or `VmDiedError` when one of them ends or does not get ready.
        """
        project = self._work / "project.img"
        disk = asyncio.ensure_future(
            asyncio.to_thread(
                project_disk.make,
                project,
                python=self._setup.guest.python,
                command=self._command,
                env=self._env,
                files=self._files,
            )
        )
        try:
            machine = self._machine
            if self._device_cmd is not None:
                path = self._work / "device.sock"
                await self._start_device(path)
                machine = replace(machine, devices=[path, *machine.devices])
        finally:
            await _settled(disk)
        disk.result()
        await self._start_qemu(machine, project)

    async def _start_device(self, path: Path) -> None:
        assert self._device_cmd is not None
        argv = [word.replace("{socket}", str(path)) for word in self._device_cmd]
        with (self._work / "device.log").open("wb") as log:
            self.device = Child(
                argv,
                name="the device",
                stdout=log,
                stderr=log,
                env={_LIBRARY_VARIABLE: str(self._setup.libvfio_user)},
                netns_fd=None if self._netns is None else self._netns.fd,
            )
        try:
            async with asyncio.timeout(DEVICE_READY_TIMEOUT_S):
                # Not a trial connection: a device serves one client, and that must be QEMU.
                while not listens(self.device.pid, path):
                    if self.device.poll() is not None:
                        raise self.device_died()
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            raise DeviceDiedError(
                f"the device does not listen on its socket after {DEVICE_READY_TIMEOUT_S:.0f} s",
                console=self.device_log(),
            ) from None

    async def _start_qemu(self, machine: Machine, project: Path) -> None:
        with contextlib.ExitStack() as theirs:

            def pair() -> tuple[socket.socket, int]:
                ours, other = socket.socketpair()
                theirs.enter_context(other)
                return ours, other.fileno()

            monitor_socket, monitor_fd = pair()
            self.monitor = Monitor(monitor_socket)
            fds = {}
            for name in self._port_names:
                self.ports[name], fds[name] = pair()
            shell_fd = None
            if self._command is None:
                self.shell, shell_fd = pair()
            channels = Channels(monitor_fd, self._work / "console.log", fds, shell_fd)
            argv = qemu_argv(
                machine,
                channels,
                qemu=self._setup.qemu,
                guest=self._setup.guest,
                project=project,
                kvm=self._setup.kvm,
            )
            self.launched_s = time.monotonic()
            with (self._work / "qemu.log").open("wb") as log:
                self.qemu = Child(
                    argv,
                    name="QEMU",
                    stdout=log,
                    stderr=log,
                    pass_fds=channels.fds(),
                    # Where `snapshot=on` puts its file; a killed QEMU would leave it in /var/tmp.
                    env={"TMPDIR": str(self._work)},
                )
        connected = asyncio.ensure_future(self.monitor.connect())
        ended = asyncio.ensure_future(self.qemu.ended())
        try:
            # qemu.qmp does not notice every end that comes in the middle of the negotiation.
            await asyncio.wait((connected, ended), return_when=asyncio.FIRST_COMPLETED)
            if not connected.done() or connected.exception() is not None:
                await self.qemu.finish()
                raise self.died()
        finally:
            for task in (connected, ended):
                task.cancel()
            await asyncio.gather(connected, ended, return_exceptions=True)

    async def ended(self) -> int:
        """QEMU's exit status, once it has ended."""
        assert self.qemu is not None
        return await self.qemu.ended()

    async def device_ended(self) -> int:
        """The device's exit status, once it has ended; never without a device."""
        if self.device is None:
            await asyncio.Event().wait()
        assert self.device is not None
        return await self.device.ended()

    def died(self) -> VmDiedError:
        """Why QEMU is gone, as far as can be told from its messages, the console and events."""
        said = _tail(self._work / "qemu.log")
        reason = self.monitor.shutdown_reason() if self.monitor is not None else ""
        status = None if self.qemu is None else self.qemu.poll()
        if reason in ("guest-reset", "guest-panic"):
            what = "the guest's kernel panicked or reset the machine"
        elif reason == "guest-shutdown":
            what = "the guest powered off before the command's exit status came"
        elif said:
            what = f"QEMU ended: {said.splitlines()[-1]}"
        else:
            what = f"QEMU ended ({'running' if status is None else describe_status(status)})"
        return VmDiedError(what, console=self.console())

    def device_died(self) -> DeviceDiedError:
        """The error for a device process that is gone."""
        status = None if self.device is None else self.device.poll()
        how = "" if status is None else f" ({describe_status(status)})"
        return DeviceDiedError(f"the device process ended{how}", console=self.device_log())

    def console(self) -> str:
        """The last lines of the kernel's console and QEMU's own messages."""
        texts = [_tail(self._work / "console.log"), _tail(self._work / "qemu.log")]
        return "\n".join(text for text in texts if text)

    def device_log(self) -> str:
        """The last lines of what the device process printed."""
        return _tail(self._work / "device.log")

    async def stop(self) -> None:
        """End QEMU, in at most a second and a half, then the device. Idempotent."""
        if self.qemu is not None and self.qemu.poll() is None:
            if self.monitor is not None:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.monitor.quit(), 0.5)
            try:
                await asyncio.wait_for(self.qemu.ended(), 0.5)
            except TimeoutError:
                await self.qemu.finish(grace_s=0.3)
        if self.monitor is not None:
            await self.monitor.close()
        if self.device is not None:
            await self.device.finish(DEVICE_GRACE_S)
        for sock in self.ports.values():
            sock.close()
        self.ports.clear()
        if self.shell is not None:
            self.shell.close()
            self.shell = None


async def _settled(work: "asyncio.Future[None]") -> None:
    """Wait for `work` in a thread, which cannot be cancelled, even when this task is."""
    cancelled = False
    while not work.done():
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError


def listens(pid: int, path: Path) -> bool:
    """Whether a Unix socket is listening at `path`, in the network namespace of process `pid`."""
    try:
        table = Path(f"/proc/{pid}/net/unix").read_text(errors="surrogateescape")
    except OSError:
        return False
    wanted = os.fspath(path)
    for line in table.splitlines()[1:]:
        fields = line.split(maxsplit=7)
        if len(fields) == 8 and fields[7] == wanted and int(fields[3], 16) & _LISTENING:
            return True
    return False


def _tail(path: Path) -> str:
    """The last lines of a log, without control characters of a terminal."""
    try:
        text = path.read_bytes()[-65536:].decode(errors="replace")
    except OSError:
        return ""
    lines = [
        "".join(char for char in line if char == "\t" or char.isprintable()).rstrip()
        for line in text.splitlines()
    ]
    return "\n".join([line for line in lines if line][-_TAIL_LINES:])
