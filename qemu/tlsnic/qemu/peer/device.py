"""A device process: started, waited for, its output kept, and stopped."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tlsnic.qemu.errors import DeviceDiedError
from tlsnic.qemu.parts import libvfio_user_path
from tlsnic.qemu.supervise import Child, describe_status
from tlsnic.qemu.vm import DEVICE_GRACE_S, listens

LIBRARY_VARIABLE = "TLSNIC_LIBVFIO_USER"
_READY_TIMEOUT_S = 60.0
_POLL_S = 0.005
_LOG_BYTES = 1 << 16


def device_argv(
    wire: str, *, socket: str = "{socket}", mac: str = "", capture: str = "", record: str = ""
) -> list[str]:
    """The command line of a device on `wire`; `socket` is where its vfio-user socket shall be."""
    options = ["--mac", mac] if mac else []
    options += ["--capture", capture] if capture else []
    options += ["--record", record] if record else []
    return [sys.executable, "-m", "tlsnic.device", "--socket", socket, "--wire", wire, *options]


class DeviceProcess:
    """A device that serves `socket_path`. A context manager; `stop` is harmless a second time.

    Raises DeviceDiedError when it does not start. Start it from a thread that outlives it: it is
    tied to that thread (see `Child`).
    """

    def __init__(
        self,
        directory: Path,
        wire: str,
        *,
        name: str = "device",
        mac: str = "",
        capture: str = "",
        record: str = "",
    ) -> None:
        self.socket_path = directory / f"{name}.sock"
        self.log_path = directory / f"{name}.log"
        self._log_from = self.log_path.stat().st_size if self.log_path.exists() else 0
        argv = device_argv(
            wire, socket=str(self.socket_path), mac=mac, capture=capture, record=record
        )
        with self.log_path.open("ab") as log:
            self.child = Child(
                argv,
                name="the device",
                stdout=log,
                stderr=log,
                env={LIBRARY_VARIABLE: str(libvfio_user_path())},
            )
        try:
            self._await_ready()
        except BaseException:
            self.stop()
            raise

    def _await_ready(self) -> None:
        deadline_s = time.monotonic() + _READY_TIMEOUT_S
        # Not a trial connection: a device serves one client at a time.
        while not listens(self.child.pid, self.socket_path):
            status = self.child.poll()
            if status is not None:
                raise DeviceDiedError(
                    f"the device ended ({describe_status(status)})", console=self.log()
                )
            if time.monotonic() > deadline_s:
                raise DeviceDiedError("the device does not listen", console=self.log())
            time.sleep(_POLL_S)

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self.child.poll() is None

    def log(self) -> str:
        """What it printed since it was started, at most the last 64 KiB."""
        with self.log_path.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(self._log_from, size - _LOG_BYTES))
            return log.read().decode(errors="replace")

    def await_log(self, words: Sequence[str], timeout_s: float) -> str:
        """The log as soon as one line has all `words`; at the deadline whatever it is then."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            text = self.log()
            found = any(all(word in line for word in words) for line in text.splitlines())
            if found or time.monotonic() > deadline_s or not self.alive:
                return text
            time.sleep(_POLL_S)

    def stop(self) -> int:
        """End it; its exit status."""
        return self.child.stop(DEVICE_GRACE_S)

    def __enter__(self) -> DeviceProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
