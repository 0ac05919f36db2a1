"""libvfio-user: the user's own, or built from the copy inside Debian's QEMU source package."""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from tlsnic.qemu.parts import _host
from tlsnic.qemu.parts._apt import SUITE, Archive
from tlsnic.qemu.parts._cache import Recipe
from tlsnic.qemu.parts._console import Console
from tlsnic.qemu.parts._errors import PartError
from tlsnic.qemu.parts._run import run

VARIABLE = "TLSNIC_LIBVFIO_USER"
NAME = "libvfio-user"
LIBRARY = "lib/libvfio-user.so.0"
_FILE = "libvfio-user.so.0.0.1"
# Optimised, without -Werror (a newer compiler's warning is no reason to fail) and without the
# debug build's log lines; assertions stay in, as they guard against memory corruption.
_OPTIONS = ("--buildtype=release", "-Ddebug-logs=disabled", "-Drpath=disabled")


def recipe(archive: Archive) -> Recipe:
    """How the library is made, with packages from `archive`."""

    def build(into: Path, console: Console) -> Mapping[str, str]:
        return _build(archive, into, console)

    return Recipe(
        name=NAME,
        inputs={"suite": SUITE, "options": _OPTIONS, "steps": 1},
        outputs=(f"lib/{_FILE}",),
        build=build,
        needs_mib=300,
        tools=(*_host.PACKAGES, *_host.COMPILING),
    )


def own() -> Path | None:
    """The library that $TLSNIC_LIBVFIO_USER names, checked; None when the variable is not set."""
    value = os.environ.get(VARIABLE)
    return check(Path(value)) if value else None


def check(path: Path) -> Path:
    """Return `path` when it is a loadable libvfio-user, else raise PartError."""
    fix = f"let {VARIABLE} name a libvfio-user.so, or unset it"
    if not path.is_file():
        raise PartError(f"{VARIABLE}: {path} is not a file", fix)
    try:
        library = ctypes.CDLL(str(path.resolve()))
    except OSError as error:
        raise PartError(f"{VARIABLE}: {path} cannot be loaded: {error}", fix) from error
    if not hasattr(library, "vfu_create_ctx"):
        raise PartError(f"{VARIABLE}: {path} is not a libvfio-user (no vfu_create_ctx)", fix)
    return path


def _build(archive: Archive, into: Path, console: Console) -> Mapping[str, str]:
    work = into / "work"
    files = archive.source(NAME, "qemu", work, console)
    tarball = next(path for path in files if ".orig.tar." in path.name)
    with console.step(NAME, "unpacking"):
        member = "*/subprojects/libvfio-user/*"
        run(["tar", "-x", "-f", tarball, "-C", work, "--no-same-owner", "--wildcards", member])
        tarball.unlink()
    source = next(work.glob("*/subprojects/libvfio-user"), None)
    if source is None:
        raise PartError(
            "this QEMU source package does not carry libvfio-user",
            f"build libvfio-user yourself and set {VARIABLE} to its .so file",
        )
    meson = [sys.executable, "-m", "mesonbuild.mesonmain"]
    build = work / "build"
    with console.step(NAME, "compiling"):
        environment = {"NINJA": _ninja()}
        run([*meson, "setup", *_OPTIONS, build, source], env=environment)
        run([environment["NINJA"], "-C", build, f"lib/{_FILE}"])
    library = into / "lib"
    library.mkdir()
    shutil.copy(build / "lib" / _FILE, library)
    for link in ("libvfio-user.so.0", "libvfio-user.so"):
        (library / link).symlink_to(_FILE)
    shutil.rmtree(work)
    version = tarball.name.split("_")[1].removesuffix(".orig.tar.xz")
    return {"source": f"QEMU {version} of Debian {SUITE}"}


def _ninja() -> str:
    # The virtual environment need not be activated: its programs are beside its Python.
    path = f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"
    ninja = shutil.which("ninja", path=path)
    if ninja is None:
        raise PartError(
            "ninja is not installed beside this Python",
            f"{sys.executable} -m pip install meson ninja",
        )
    return ninja
