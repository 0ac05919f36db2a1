"""The Linux driver as a module for one kernel: Debian's headers and compiler, and the build.

Headers, compiler and checkers are unpacked from packages into a tree of the cache, and the build
runs inside that tree (chroot in a private mount namespace), so the result does not depend on the
host's compiler. Nothing of the machine changes: mounts end with the build. The module is kept by
the hash of its sources and the kernel's release; while that is the same nothing is built.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from tlsnic.qemu._probe import AS_MAPPED_ROOT, works
from tlsnic.qemu.parts import _host
from tlsnic.qemu.parts._apt import SUITE, Archive, unpack
from tlsnic.qemu.parts._cache import Recipe, ensure
from tlsnic.qemu.parts._console import Console
from tlsnic.qemu.parts._errors import PartError
from tlsnic.qemu.parts._guest import own_file
from tlsnic.qemu.parts._run import CommandError, run

VARIABLE = "TLSNIC_MODULE"
NAME = "module"
MODULE = "tlsnic.ko"
WARNINGS = "warnings.txt"
"""What compiler and sparse said of the build, beside the module; empty when it is clean."""
_HEADERS_NAME = "kernel-headers"
_PACKAGES = (
    *("bash", "coreutils", "dash", "diffutils", "findutils", "grep", "make", "mawk", "sed"),
    *("perl-base", "sparse"),
)
_LEAVE_OUT = (
    "./usr/share/doc/*",
    "./usr/share/man/*",
    "./usr/share/locale/*",
    "./usr/share/info/*",
    "./usr/share/lintian/*",
    "./usr/share/bug/*",
    "./usr/lib/x86_64-linux-gnu/gconv/*",
    # parts of the compiler that C does not need
    *("./usr/libexec/gcc/*/*/cc1plus", "./usr/libexec/gcc/*/*/lto1"),
    *("./usr/lib/gcc/*/*/lib?san*", "./usr/lib/x86_64-linux-gnu/lib?san*"),
)
_BUILD = "mnt"
# `$1` is the tree, `$2` the folder to build in, `$3` the kernel's release, `$4` who shall own what
# comes out, `$5` what Kbuild's C shall be.
_SCRIPT = f"""\
set -e
# chroot is in /usr/sbin, where a user does not look.
PATH="$PATH:/usr/sbin:/sbin"
mount --bind /dev/null "$1/dev/null"
mount --rbind /proc "$1/proc"
mount --bind "$2" "$1/{_BUILD}"
trap 'chown -R "$4" "$2"' EXIT
env -i PATH="$PATH" LANG=C chroot "$1" \\
    /usr/bin/make -s -C /{_BUILD} KDIR="/lib/modules/$3/build" W=1 C="$5" CHECK=/usr/bin/sparse -j2
"""


def headers_recipe(archive: Archive, release: str, suite: str = SUITE) -> Recipe:
    """How the tree with a kernel's headers and a compiler for it is made."""

    def build(into: Path, console: Console) -> Mapping[str, str]:
        package = f"linux-headers-{release}"
        wanted = archive.depends(_HEADERS_NAME, package, console, release=suite)
        alone = [name for name in wanted if name.startswith("linux-headers-")]
        tools = [name for name in wanted if name.startswith(("linux-kbuild-", "gcc-"))]
        if not alone or not tools:
            raise PartError(
                f"this mirror has no headers of Linux {release}, which the guest boots",
                "make a guest with the mirror's kernel: remove the cache's guest-* folders",
            )
        debs = into / "debs"
        files = archive.fetch(
            _HEADERS_NAME,
            [*_PACKAGES, *tools],
            debs,
            console,
            release=suite,
            alone=[package, *alone],
        )
        tree = into / "tree"
        unpack(_HEADERS_NAME, files, tree, console, leave_out=_LEAVE_OUT)
        shutil.rmtree(debs)
        for name in ("dev", _BUILD, "proc", "tmp"):
            (tree / name).mkdir(exist_ok=True)
        (tree / "dev/null").touch()
        (tree / "usr/bin/awk").unlink(missing_ok=True)
        (tree / "usr/bin/awk").symlink_to("mawk")
        return {"release": release}

    return Recipe(
        name=_HEADERS_NAME,
        inputs={
            "release": release,
            "suite": suite,
            "packages": _PACKAGES,
            "leave_out": _LEAVE_OUT,
            "steps": 5,
        },
        outputs=(
            "tree/usr/bin/make",
            "tree/usr/bin/sparse",
            "tree/usr/bin/x86_64-linux-gnu-gcc-*",
            f"tree/usr/src/linux-headers-{release}/Module.symvers",
        ),
        build=build,
        needs_mib=900,
        tools=_host.PACKAGES,
    )


def recipe(archive: Archive, root: Path, source: Path, release: str, suite: str = SUITE) -> Recipe:
    """How the module for kernel `release` is built from the source tree `source`."""
    files = sources(source)

    def build(into: Path, console: Console) -> Mapping[str, str]:
        headers = ensure(headers_recipe(archive, release, suite), root, console)
        work = into / "work"
        work.mkdir()
        for path in files:
            shutil.copy(path, work)
        with console.step(NAME, f"compiling for Linux {release}"):
            said = _make(headers / "tree", work, release)
        shutil.copy(work / MODULE, into)
        (into / WARNINGS).write_text(said)
        shutil.rmtree(work)
        return {"kernel": release}

    return Recipe(
        name=NAME,
        inputs={"release": release, "suite": suite, "sources": _hash(files), "script": _SCRIPT},
        outputs=(MODULE, WARNINGS),
        build=build,
        needs_mib=50,
        tools=_host.PACKAGES,
    )


def sources(root: Path) -> list[Path]:
    """The files that the module is built from; the generated header is laid beside the others."""
    driver = root / "driver/linux"
    found = [path for path in sorted(driver.iterdir()) if path.suffix in (".c", ".h")]
    header = root / "device/tlsnic/abi/include/tlsnic_hw.h"
    return [*found, driver / "Makefile", header]


def own() -> Path | None:
    """The module that $TLSNIC_MODULE names; None when the variable is not set."""
    return own_file(VARIABLE)


def _hash(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.name}:{path.stat().st_size}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _make(tree: Path, work: Path, release: str) -> str:
    """Build in `work`; what the compiler and sparse had to say."""
    owner = f"{os.getuid()}:{os.getgid()}"
    prefix = _privilege()
    if "--map-root-user" in prefix:
        owner = "0:0"
    words = [str(tree), str(work), release, owner, "2" if _sparse_knows(tree) else "0"]
    command = [*prefix, "sh", "-c", _SCRIPT, "sh", *words]
    try:
        return run(command)
    except CommandError as error:
        raise PartError(
            f"{NAME}: the Linux driver does not build for Linux {release}:\n{error.output}",
            "mend the sources in driver/linux",
        ) from error


def _sparse_knows(tree: Path) -> bool:
    """Whether trixie's sparse understands these headers. From 7.3 on they ask for a newer one."""
    makefiles = (tree / "usr/src").glob("linux-headers-*-common/Makefile")
    return not any("checker-valid.sh" in makefile.read_text() for makefile in makefiles)


def _privilege() -> list[str]:
    """What gives a command a mount namespace of its own with the right to mount and chroot."""
    if os.geteuid() == 0:
        return ["unshare", "--mount"]
    mapped = [*AS_MAPPED_ROOT, "--mount"]
    if works([*mapped, "true"]):
        return mapped
    if works(["sudo", "-n", "true"]):
        return ["sudo", "-n", "unshare", "--mount"]
    raise PartError(
        f"{NAME}: building a kernel module needs root, sudo without a password or a user namespace",
        "allow user namespaces: sysctl -w kernel.unprivileged_userns_clone=1, or run as root once",
    )
