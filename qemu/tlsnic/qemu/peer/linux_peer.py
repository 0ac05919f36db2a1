"""The far end of tests of the Linux driver: programs that nobody here wrote, in a namespace with a TAP.

A guest calls `methods` over its control channel. Files that programs read are made in a folder that
lives as long as the guest.
"""

from __future__ import annotations

import contextlib
import hashlib
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tlsnic.device.shell.backend import SocketBackend
from tlsnic.qemu.errors import UserError
from tlsnic.qemu.netns import Netns
from tlsnic.qemu.peer.data import blocks
from tlsnic.qemu.peer.traffic import listens
from tlsnic.qemu.supervise import Child

CERTIFICATE, KEY = "cert.pem", "key.pem"
_SHOWN_BYTES = 4000
_READY_TIMEOUT_S = 60.0
_FETCH_TIMEOUT_S = 90.0


class LinuxPeer:
    """Programs in `namespace`, files in `folder`. A certificate is made at once.

    `control` is the path of the device's control socket.
    """

    def __init__(self, namespace: Netns, folder: Path, control: Path) -> None:
        self._namespace = namespace
        self._folder = folder
        self._control = control
        self._servers: dict[int, Child] = {}
        words = ["openssl", "req", "-x509", "-nodes", "-days", "30", "-subj", "/CN=far"]
        words += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
        words += ["-keyout", str(folder / KEY), "-out", str(folder / CERTIFICATE)]
        subprocess.run(words, check=True, capture_output=True)

    def files(self) -> Mapping[str, Path]:
        """What the guest is given: the certificate and its key."""
        return {name: self._folder / name for name in (CERTIFICATE, KEY)}

    def methods(self) -> dict[str, Callable[..., object]]:
        """What the guest can call."""
        return {
            "linux.folder": lambda: str(self._folder),
            "linux.file": self.file,
            "linux.run": self.run,
            "linux.start": self.start,
            "linux.stop": self.stop,
            "linux.impair": self.impair,
            "linux.device": self.device,
            "linux.fetch_timed": self.fetch_timed,
        }

    def impair(self, *, settings: Mapping[str, str] | None, seed: int = 0) -> None:
        """Make the wire bad in both directions as `settings` say (docs/wires.md), or good again."""
        with contextlib.closing(SocketBackend(self._control)) as device:
            device.call("impairments.set", {"settings": settings or "off", "seed": seed})

    def device(self, *, called: str, params: Mapping[str, object]) -> object:
        """Call a method of the device's control socket."""
        with contextlib.closing(SocketBackend(self._control)) as device:
            return device.call(called, params)

    def file(self, *, name: str, size_bytes: int, seed: int = 1) -> str:
        """Make a file of `size_bytes` of data; its SHA-256 (hex)."""
        digest = hashlib.sha256()
        with (self._folder / name).open("wb") as file:
            for block in blocks(size_bytes, seed):
                digest.update(block)
                file.write(block)
        return digest.hexdigest()

    def run(
        self, *, argv: Sequence[str], stdin: str = "", wait_s: float = 60.0
    ) -> dict[str, object]:
        """Run a program to its end, with the file `stdin` as its input.

        Its status, the beginning of both outputs, and SHA-256 and size of its standard output.
        """

        def inside() -> subprocess.CompletedProcess[bytes]:
            source = self._folder / stdin if stdin else Path("/dev/null")
            with source.open("rb") as file:
                return subprocess.run(
                    argv,
                    stdin=file,
                    capture_output=True,
                    timeout=wait_s,
                    check=False,
                    cwd=self._folder,
                )

        done = self._namespace.call(inside)
        return {
            "status": done.returncode,
            "sha256": hashlib.sha256(done.stdout).hexdigest(),
            "bytes": len(done.stdout),
            "text": done.stdout[:_SHOWN_BYTES].decode(errors="replace"),
            "error": done.stderr[-_SHOWN_BYTES:].decode(errors="replace"),
        }

    def start(self, *, argv: Sequence[str], port: int) -> int:
        """Start a server in the folder, and wait until it listens on `port`; its number."""
        words = ["sh", "-c", f'cd "{self._folder}" && exec "$@"', "sh", *argv]
        with (self._folder / "servers.log").open("ab") as log:
            server = self._namespace.spawn(words, name=argv[0], stdout=log, stderr=log)
        deadline_s = time.monotonic() + _READY_TIMEOUT_S
        while not listens(server.pid, port):
            if server.poll() is not None or time.monotonic() > deadline_s:
                raise UserError(f"{argv[0]} does not listen on {port}", "see its messages")
            time.sleep(0.005)
        self._servers[server.pid] = server
        return server.pid

    def stop(self, *, number: int) -> int:
        """End a server; its exit status."""
        return self._servers.pop(number).stop()

    def fetch_timed(self, *, url: str, clients: int) -> dict[str, object]:
        """Fetch `url` with so many curls at once: bytes of all, and how long the slowest took.

        `elapsed_s` begins when TLS is set up.
        """
        words = ["curl", "--silent", "--insecure", "--fail", "--output", "/dev/null"]
        words += ["--write-out", "%{size_download} %{time_pretransfer} %{time_total}", url]
        children = [
            self._namespace.call(lambda: subprocess.Popen(words, stdout=subprocess.PIPE, text=True))
            for _ in range(clients)
        ]
        lines = [child.communicate(timeout=_FETCH_TIMEOUT_S)[0] for child in children]
        found = [[float(word) for word in line.split()] for line in lines]
        return {
            "bytes": int(sum(size for size, _, _ in found)),
            "elapsed_s": max(total - begin for _, begin, total in found),
        }
