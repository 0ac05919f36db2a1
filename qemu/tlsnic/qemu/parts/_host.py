"""Debian packages that the machine itself must have: found missing, installed, or asked for.

Only what cannot be unpacked into the cache is installed: the C compiler with the two libraries
that libvfio-user is built against, and the programs that the tests run on the host's side.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tlsnic.qemu.parts._console import Console
from tlsnic.qemu.parts._errors import PartError
from tlsnic.qemu.parts._run import CommandError, run


@dataclass(frozen=True)
class Tool:
    """Something of the host, how to see that it is there, and the package that has it."""

    package: str
    command: str = ""
    files: tuple[str, ...] = ()

    def present(self) -> bool:
        """Whether the command is found, or else one of the files."""
        if self.command:
            # mke2fs and ip live in sbin, which is not on every user's PATH.
            path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
            return shutil.which(self.command, path=path) is not None
        return any(Path(file).exists() for file in self.files)


# apt allows one at a time; the second thread finds everything installed.
_one_at_a_time = threading.Lock()
COMPILING = (
    Tool("xz-utils", command="xz"),
    Tool("gcc", command="gcc"),
    Tool("libc6-dev", files=("/usr/include/stdio.h",)),
    Tool("pkg-config", command="pkg-config"),
    Tool("libjson-c-dev", files=("/usr/include/json-c/json.h",)),
    Tool("libcmocka-dev", files=("/usr/include/cmocka.h",)),
)
PACKAGES = (
    Tool(
        "debian-archive-keyring",
        files=(
            "/usr/share/keyrings/debian-archive-keyring.gpg",
            "/usr/share/keyrings/debian-archive-keyring.pgp",
        ),
    ),
    Tool("e2fsprogs", command="mke2fs"),
)
TRAFFIC = (
    Tool("iproute2", command="ip"),
    Tool("iputils-ping", command="ping"),
    Tool("iperf3", command="iperf3"),
    Tool("socat", command="socat"),
    Tool("openssl", command="openssl"),
    Tool("curl", command="curl"),
    Tool("tshark", command="tshark"),
)


def missing(tools: Sequence[Tool]) -> list[str]:
    """The names of the packages whose tool is not there."""
    return [tool.package for tool in tools if not tool.present()]


def install_command(packages: Sequence[str]) -> str:
    """The command that a person would type to install the packages."""
    sudo = "" if os.geteuid() == 0 else "sudo "
    return f"{sudo}apt-get install {' '.join(packages)}"


def ensure(tools: Sequence[Tool], console: Console) -> None:
    """Install what is missing, as root or through sudo.

    sudo is used when it asks for no password, or when there is a terminal to ask on. Raises
    PartError naming the exact command when neither root nor sudo can be had.
    """
    with _one_at_a_time:
        packages = missing(tools)
        if packages:
            _install(packages, tools, console)


def _install(packages: list[str], tools: Sequence[Tool], console: Console) -> None:
    fix = f"run: {install_command(packages)}"
    if shutil.which("apt-get") is None:
        raise PartError(
            f"missing on this machine: {', '.join(packages)} (Debian's names)",
            "install them with this system's package manager",
        )
    prefix = _privilege()
    if prefix is None:
        raise PartError(f"missing on this machine: {', '.join(packages)}", fix)
    environment = {"DEBIAN_FRONTEND": "noninteractive"}
    command = [*prefix, "apt-get", "install", "-y", "--no-install-recommends", *packages]
    with console.step("host", f"installing {' '.join(packages)}"):
        try:
            run(command, env=environment, unbroken=True)
        except CommandError:
            # Fresh machines have no package lists, or lists older than their mirror.
            try:
                run([*prefix, "apt-get", "update"], env=environment)
                run(command, env=environment, unbroken=True)
            except CommandError as error:
                raise PartError(
                    f"{' '.join(packages)} cannot be installed: {error.telling_line()}", fix
                ) from error
    still = missing(tools)
    if still:
        raise PartError(f"still missing after installing: {', '.join(still)}", fix)


def _privilege() -> list[str] | None:
    """What to put in front of a command that needs root: nothing, sudo, or None for "no way"."""
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") is None:
        return None
    if subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False).returncode == 0:
        return ["sudo", "-n"]
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None
    # Asks for the password now, outside the progress display; later calls find it remembered.
    if subprocess.run(["sudo", "-v"], check=False).returncode == 0:
        return ["sudo", "-n"]
    return None
