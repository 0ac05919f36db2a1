"""QEMU with the device vfio-user-pci: the user's own, the machine's, or a private unpacked one."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tlsnic.qemu.parts import _host
from tlsnic.qemu.parts._apt import BACKPORTS, Archive, package_version, unpack
from tlsnic.qemu.parts._cache import Recipe
from tlsnic.qemu.parts._console import Console
from tlsnic.qemu.parts._errors import PartError

VARIABLE = "TLSNIC_QEMU"
NAME = "qemu"
PROGRAM = "qemu-system-x86_64"
DEVICE = "vfio-user-pci"
OLDEST = (10, 1)
_LIBRARIES = "usr/lib/x86_64-linux-gnu"
_QUERY_TIMEOUT_S = 20
_LEAVE_OUT = (
    "./usr/share/doc/*",
    "./usr/share/man/*",
    "./usr/share/locale/*",
    "./usr/share/info/*",
    "./usr/share/lintian/*",
    "./usr/share/bug/*",
    "./usr/share/alsa/*",
    "./usr/lib/x86_64-linux-gnu/gconv/*",
    "./usr/lib/systemd/*",
)


@dataclass(frozen=True)
class Qemu:
    """A QEMU that can be run: `[*argv_prefix, option, ...]`.

    `version` is (major, minor, micro); `source` says where it comes from, for people.
    """

    argv_prefix: tuple[str, ...]
    version: tuple[int, ...]
    source: str

    def version_text(self) -> str:
        """The version as people write it."""
        return ".".join(map(str, self.version))


def recipe(archive: Archive) -> Recipe:
    """How the private QEMU is made, with packages from `archive`."""

    def build(into: Path, console: Console) -> Mapping[str, str]:
        debs = into / "debs"
        files = archive.fetch(NAME, ["qemu-system-x86"], debs, console, release=BACKPORTS)
        version = package_version(files, "qemu-system-x86")
        unpack(NAME, files, into, console, leave_out=_LEAVE_OUT)
        shutil.rmtree(debs)
        with console.step(NAME, f"trying {version}"):
            _require(_prefix(into), "the QEMU of this mirror's " + BACKPORTS)
        return {"version": version}

    return Recipe(
        name=NAME,
        inputs={"suite": BACKPORTS, "leave_out": _LEAVE_OUT, "steps": 1},
        outputs=(
            f"usr/bin/{PROGRAM}",
            f"{_LIBRARIES}/*.so*",
            "usr/share/seabios/*.bin",
            "usr/share/qemu/*",
        ),
        build=build,
        needs_mib=500,
        tools=_host.PACKAGES,
    )


def private(tree: Path) -> Qemu:
    """The QEMU in a finished part."""
    return _require(_prefix(tree), f"private, from {tree}")


def _prefix(tree: Path) -> tuple[str, ...]:
    # Debian's newer C library comes along: the tree's own loader starts the program, so nothing
    # has to be installed and no chroot is needed.
    return (
        str(tree / _LIBRARIES / "ld-linux-x86-64.so.2"),
        "--library-path",
        str(tree / _LIBRARIES),
        str(tree / "usr/bin" / PROGRAM),
        "-L",
        str(tree / "usr/share/qemu"),
        "-L",
        str(tree / "usr/share/seabios"),
    )


def own() -> Qemu | None:
    """The QEMU that $TLSNIC_QEMU names, checked; None when the variable is not set."""
    value = os.environ.get(VARIABLE)
    if not value:
        return None
    path = shutil.which(value)
    if path is None:
        raise PartError(
            f"{VARIABLE}: {value} is not a program",
            f"let {VARIABLE} name a {PROGRAM}, or unset it",
        )
    return _require((path,), f"{VARIABLE}={value}")


def machines() -> Qemu | None:
    """The machine's own QEMU, when it is on PATH and has the device."""
    path = shutil.which(PROGRAM)
    if path is None:
        return None
    try:
        return _require((path,), path)
    except PartError:
        return None


def _require(argv_prefix: tuple[str, ...], source: str) -> Qemu:
    """The QEMU behind `argv_prefix` if it runs and has the device, else PartError."""
    fix = f"let {VARIABLE} name a {PROGRAM} of version 10.1 or later, or unset it"
    try:
        text = _ask(argv_prefix, "--version")
        match = re.search(r"QEMU emulator version (\d+)\.(\d+)\.(\d+)", text)
        if match is None:
            raise PartError(f"{source}: this is not QEMU", fix)
        version = tuple(map(int, match.groups()))
        qemu = Qemu(argv_prefix, version, source)
        if version < OLDEST:
            raise PartError(f"{source}: QEMU {qemu.version_text()} is too old", fix)
        if f'"{DEVICE}"' not in _ask(argv_prefix, "-device", "help"):
            raise PartError(
                f"{source}: QEMU {qemu.version_text()} was built without the device {DEVICE}", fix
            )
    except (OSError, subprocess.SubprocessError) as error:
        raise PartError(f"{source}: this QEMU does not run: {_why(error)}", fix) from error
    return qemu


@functools.lru_cache(maxsize=16)
def _ask(argv_prefix: tuple[str, ...], *words: str) -> str:
    result = subprocess.run(
        [*argv_prefix, *words],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_QUERY_TIMEOUT_S,
        check=True,
    )
    return result.stdout


def _why(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        lines: Sequence[str] = (error.stderr or "").strip().splitlines()
        return lines[-1] if lines else f"it ends with status {error.returncode}"
    return str(error)
