"""The guest: a small Debian with kernel and Python on a disk image, made without root.

Packages are unpacked, not installed; the few things their scripts would have set up (accounts,
module index) are done here. Python's libraries are compiled to byte code ahead of time, because
an emulated CPU runs Python about 29 times slower than the host does.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tlsnic.qemu._probe import AS_MAPPED_ROOT, works
from tlsnic.qemu.parts import _host, _initramfs
from tlsnic.qemu.parts._apt import BACKPORTS, SUITE, Archive, package_version, unpack
from tlsnic.qemu.parts._cache import Recipe
from tlsnic.qemu.parts._console import Console
from tlsnic.qemu.parts._errors import PartError
from tlsnic.qemu.parts._run import run

KERNEL_VARIABLE = "TLSNIC_KERNEL"
INITRD_VARIABLE = "TLSNIC_INITRD"
IMAGE_VARIABLE = "TLSNIC_IMAGE"
VERSION_VARIABLE = "TLSNIC_LINUX"
"""Which Linux of Debian's the guest boots: "7.2"; by default the one of SUITE."""
NAME = "guest"
_KERNEL_PACKAGE = "linux-image-cloud-amd64"
_SUITE_VERSION = "6.12"
_PYTHON = "python3.13"
_LIBRARIES = "usr/lib/x86_64-linux-gnu"
_FREE_MIB = 320
_PACKAGES = (
    # what any Linux needs
    *("base-files", "base-passwd", "bash", "coreutils", "dash", "diffutils", "findutils", "grep"),
    *("gzip", "hostname", "less", "libc-bin", "login", "mawk", "mount", "ncurses-base"),
    *("ncurses-bin", "procps", "sed", "tar", "util-linux"),
    # the suite
    *("python3", "python3-cryptography", "python3-pytest", "python3-pytest-timeout"),
    "python3-scapy",
    # network, traffic and hardware
    *("ethtool", "iperf3", "iproute2", "iputils-ping", "kmod", "openssl", "pciutils", "socat"),
    "tcpdump",
    # the initial RAM disk
    "busybox-static",
    # for nginx
    "libpcre2-8-0",
)
# What these depend on serves only to install them (debconf, perl), or is above.
_ALONE = ("nginx",)
_LEAVE_OUT = (
    "./usr/share/doc/*",
    "./usr/share/man/*",
    "./usr/share/locale/*",
    "./usr/share/info/*",
    "./usr/share/lintian/*",
    "./usr/share/bug/*",
    "./usr/share/zoneinfo/*",
    "./usr/share/bash-completion/*",
    "./usr/lib/x86_64-linux-gnu/gconv/*",
    "./usr/lib/systemd/*",
    "./usr/lib/modules/*/kernel/drivers/infiniband/*",
    "./boot/System.map*",
    "./usr/lib/modules/*/System.map",
)
# Modules that the initial RAM disk loads; everything else it needs is built into the kernel.
_EARLY_MODULES = ("virtio_blk",)
# Modules that the project counts on: their absence is noticed here rather than in the guest.
_NEEDED_MODULES = (
    *("uio_pci_generic", "vfio-pci", "tls", "tun", "virtio_net", "virtio_blk", "overlay"),
)


@dataclass(frozen=True)
class Guest:
    """What a guest boots from.

    `image` is a raw root disk that serves as a base: open it with snapshot semantics.
    `python` runs the guest's Python on the host (to compile for it), None with an own image.
    `release` is the kernel's, as `uname -r` says it; empty with an own kernel. `suite` is the one
    of Debian's that has its packages.
    """

    kernel: Path
    initrd: Path | None
    image: Path
    python: tuple[str, ...] | None
    source: str
    release: str = ""
    suite: str = SUITE


def wanted_version() -> str:
    """What $TLSNIC_LINUX asks for: "7.2" or "7.2.6"; empty for the suite's own kernel.

    Raises PartError when it is no version.
    """
    version = os.environ.get(VERSION_VARIABLE, "")
    if version and not re.fullmatch(r"\d+\.\d+(\.\d+)?", version):
        raise PartError(
            f"{VERSION_VARIABLE}: {version} is no version of Linux",
            "name one as 7.2 or 7.2.6, or unset it",
        )
    return "" if version == _SUITE_VERSION else version


def recipe(archive: Archive, version: str = "") -> Recipe:
    """How kernel, initial RAM disk and image are made, with packages from `archive`.

    `version` is as `wanted_version` gives it.
    """

    def build(into: Path, console: Console) -> Mapping[str, str]:
        return _build(archive, version, into, console)

    return Recipe(
        name=NAME,
        inputs={
            "suite": SUITE,
            "packages": (*_PACKAGES, *_ALONE),
            "kernel": (_KERNEL_PACKAGE, version),
            "leave_out": _LEAVE_OUT,
            "initramfs": (_initramfs._INIT, _EARLY_MODULES),
            "free_mib": _FREE_MIB,
            "steps": 3,
        },
        outputs=("vmlinuz", "initrd", "root.img", f"python/usr/bin/{_PYTHON}"),
        build=build,
        needs_mib=1200,
        tools=_host.PACKAGES,
    )


def built(directory: Path, notes: Mapping[str, str]) -> Guest:
    """The guest in a finished part."""
    tree = directory / "python"
    return Guest(
        kernel=directory / "vmlinuz",
        initrd=directory / "initrd",
        image=directory / "root.img",
        python=_foreign_python(tree),
        source=f"Debian {SUITE}, Linux {notes.get('kernel', 'of unknown version')}",
        release=notes.get("kernel", ""),
        suite=notes.get("suite", SUITE),
    )


def own_file(variable: str) -> Path | None:
    """The file that an environment variable names, checked to be there; None when not set."""
    value = os.environ.get(variable)
    if not value:
        return None
    path = Path(value)
    fix = f"let {variable} name a readable file, or unset it"
    if not path.is_file():
        raise PartError(f"{variable}: {path} is not a file", fix)
    if not os.access(path, os.R_OK):
        raise PartError(f"{variable}: {path} cannot be read", fix)
    return path


def own_kernel() -> Path | None:
    """The kernel that $TLSNIC_KERNEL names, checked to be a Linux bzImage or ELF file."""
    path = own_file(KERNEL_VARIABLE)
    if path is None:
        return None
    with path.open("rb") as file:
        head = file.read(0x206)
    # Linux Documentation/arch/x86/boot.rst: "HdrS" at 0x202; QEMU also takes an ELF (PVH).
    if head[0x202:0x206] != b"HdrS" and head[:4] != b"\x7fELF":
        raise PartError(
            f"{KERNEL_VARIABLE}: {path} is not a Linux kernel for x86",
            f"let {KERNEL_VARIABLE} name a vmlinuz (bzImage), or unset it",
        )
    return path


def own_image() -> Path | None:
    """The root disk that $TLSNIC_IMAGE names, checked to be a raw ext4 file system."""
    path = own_file(IMAGE_VARIABLE)
    if path is None:
        return None
    with path.open("rb") as file:
        file.seek(1024 + 0x38)
        magic = file.read(2)
    if magic != b"\x53\xef":
        raise PartError(
            f"{IMAGE_VARIABLE}: {path} is not a raw ext4 file system",
            "make one with `mke2fs -t ext4 -d DIRECTORY IMAGE SIZE` (no partition table), or "
            f"unset {IMAGE_VARIABLE}",
        )
    return path


def _kernel(archive: Archive, version: str, console: Console) -> tuple[str, str]:
    """The package of the kernel, and the suite that has it."""
    if version:
        pattern = rf"linux-image-{re.escape(version)}[.+].*cloud-amd64"
        found = [name for name in archive.names(NAME, console) if re.fullmatch(pattern, name)]
        if not found:
            raise PartError(
                f"the mirror has no Linux {version} for {SUITE}",
                f"see {BACKPORTS} for those it has: apt-cache pkgnames linux-image-",
            )
        return max(found, key=lambda name: [int(n) for n in re.findall(r"\d+", name)]), BACKPORTS
    found = archive.depends(NAME, _KERNEL_PACKAGE, console)
    kernel = next((name for name in found if name.startswith("linux-image-")), None)
    if kernel is None:
        raise PartError(f"the mirror has no {_KERNEL_PACKAGE}", "try another Debian mirror")
    return kernel, SUITE


def _build(archive: Archive, version: str, into: Path, console: Console) -> Mapping[str, str]:
    debs, tree = into / "debs", into / "tree"
    kernel, suite = _kernel(archive, version, console)
    # The kernel alone: most of what it depends on serves only to install it (initramfs-tools, …).
    # From 7.2 on the kernel itself, its modules and their lists are packages of their own.
    needs = archive.depends(NAME, kernel, console, release=suite)
    kinds = ("linux-base-", "linux-binary-", "linux-modules-")
    parts = [name for name in needs if name.startswith(kinds)]
    files = archive.fetch(NAME, _PACKAGES, debs, console, alone=[kernel, *parts, *_ALONE])
    unpack(NAME, files, tree, console, leave_out=_LEAVE_OUT)
    shutil.rmtree(debs)
    release = kernel.removeprefix("linux-image-")
    with console.step(NAME, "setting up"):
        _accounts(tree)
        _modules(tree, release)
        shutil.move(_kernel_file(tree, release), into / "vmlinuz")
        _initramfs.write(
            into / "initrd",
            tree / "usr/bin/busybox",
            [_module(tree, release, name) for name in _EARLY_MODULES],
        )
    with console.step(NAME, "compiling Python's libraries"):
        _compile(tree)
        _keep_python(tree, into / "python")
    with console.step(NAME, "disk image") as step:
        image = into / "root.img"
        _make_image(tree, image)
        shutil.rmtree(tree)
        step.detail = f"{image.stat().st_blocks * 512 >> 20} MB on disk"
    python = package_version(files, _PYTHON)
    return {"kernel": release, "suite": suite, "python": python}


def _accounts(tree: Path) -> None:
    """What the scripts of base-passwd and base-files would have made: users, shells, names."""
    base = tree / "usr/share/base-passwd"
    accounts = (base / "passwd.master").read_text()
    etc = tree / "etc"
    (etc / "passwd").write_text(accounts.replace("root:*:", "root::", 1))
    shutil.copy(base / "group.master", etc / "group")
    defaults = tree / "usr/share/base-files"
    (etc / "nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files dns\n")
    shutil.copy(defaults / "profile", etc / "profile")
    (etc / "hostname").write_text("guest\n")
    (etc / "hosts").write_text("127.0.0.1 localhost guest\n::1 localhost\n")
    # Without any name server in it, scapy warns at every start.
    (etc / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    (etc / "mtab").unlink(missing_ok=True)
    (etc / "mtab").symlink_to("../proc/self/mounts")
    awk = tree / "usr/bin/awk"
    if not awk.is_symlink():
        awk.symlink_to("mawk")
    for name in ("dev", "proc", "sys", "run", "tmp", "root", "project", "mnt"):
        (tree / name).mkdir(exist_ok=True)
    (tree / "tmp").chmod(0o1777)
    shutil.copy(defaults / "dot.bashrc", tree / "root/.bashrc")


def _modules(tree: Path, release: str) -> None:
    """Write modules.dep with the guest's own depmod, and check that nothing needed is missing."""
    program = tree / "usr/bin/kmod"
    run([*_loader(tree, argv0="depmod"), program, "-b", tree, release])
    for name in _NEEDED_MODULES:
        _module(tree, release, name)


def _module(tree: Path, release: str, name: str) -> Path:
    index = tree / "usr/lib/modules" / release / "modules.dep"
    for line in index.read_text().splitlines():
        path = Path(line.partition(":")[0])
        if path.name.partition(".")[0] == name:
            return index.parent / path
    raise PartError(f"Linux {release} comes without the module {name}", "try another mirror")


def _kernel_file(tree: Path, release: str) -> Path:
    """Where the package has it: up to 7.1 in /boot, later beside the modules."""
    path = tree / f"usr/lib/modules/{release}/vmlinuz"
    return path if path.exists() else tree / f"boot/vmlinuz-{release}"


def _loader(tree: Path, argv0: str = "") -> list[str]:
    """The start of a command line that runs a program of `tree` with the tree's libraries."""
    libraries = tree / _LIBRARIES
    words = [str(libraries / "ld-linux-x86-64.so.2"), "--library-path", str(libraries)]
    return [*words, "--argv0", argv0] if argv0 else words


def _foreign_python(tree: Path) -> tuple[str, ...]:
    home = f"PYTHONHOME={tree / 'usr'}"
    return ("env", home, *_loader(tree), str(tree / "usr/bin" / _PYTHON), "-s")


def _compile(tree: Path) -> None:
    # Unchecked: the image does not change, so the guest need not compare times. Paths in
    # tracebacks are the guest's (-s strips the tree, -p puts the root in front).
    words = ["-q", "-q", "-s", str(tree), "-p", "/", "--invalidation-mode", "unchecked-hash"]
    # In parallel here rather than with -j: workers of compileall would start without the loader.
    folders = (f"usr/lib/{_PYTHON}", "usr/lib/python3/dist-packages")
    commands: list[list[str | Path]] = [
        [*_foreign_python(tree), "-m", "compileall", *words, tree / f] for f in folders
    ]
    with ThreadPoolExecutor(len(commands)) as pool:
        for future in [pool.submit(run, command) for command in commands]:
            future.result()
    for name in ("pytest", "scapy", "cryptography", "encodings"):
        folder = "python3/dist-packages" if name != "encodings" else _PYTHON
        if not any((tree / "usr/lib" / folder / name / "__pycache__").glob("*.pyc")):
            raise PartError(f"the guest's Python did not compile {name}", "please report this")


def _keep_python(tree: Path, kept: Path) -> None:
    """Keep the guest's Python, which runs on the host too, to compile the project with."""
    (kept / _LIBRARIES).mkdir(parents=True)
    (kept / "usr/bin").mkdir()
    os.link(tree / "usr/bin" / _PYTHON, kept / "usr/bin" / _PYTHON)
    library = f"usr/lib/{_PYTHON}"
    shutil.copytree(tree / library, kept / library, symlinks=True, copy_function=os.link)
    for pattern in ("ld-linux*", "libc.so*", "libm.so*", "libz.so*", "libexpat.so*"):
        for path in (tree / _LIBRARIES).glob(pattern):
            os.link(path.resolve(), kept / _LIBRARIES / path.name)


def _make_image(tree: Path, image: Path) -> None:
    size_bytes = sum(
        _size_on_disk(Path(parent) / name) for parent, _, names in os.walk(tree) for name in names
    )
    # A fifth on top for inode tables and folders, and room for the tests' own files.
    size_mib = int(size_bytes * 1.2 / 2**20) + _FREE_MIB
    words = [
        "mke2fs",
        "-q",
        "-F",
        "-t",
        "ext4",
        "-L",
        _initramfs.ROOT_LABEL,
        "-m",
        "0",
        "-b",
        "4096",
    ]
    words += [
        "-O",
        "^has_journal",
        "-E",
        "root_owner=0:0",
        "-d",
        str(tree),
        str(image),
        f"{size_mib}M",
    ]
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    run([*_as_root_in_appearance(), *words], env={"PATH": path})


def _size_on_disk(path: Path) -> int:
    status = path.lstat()
    return -(-status.st_size // 4096) * 4096 if stat.S_ISREG(status.st_mode) else 0


def _as_root_in_appearance() -> list[str]:
    """What makes files appear as root's to a program, for users who are not root.

    mke2fs takes owners from the files it copies. Without any such help the files in the guest
    belong to the user's number, which its root does not mind.
    """
    if os.geteuid() == 0:
        return []
    if works([*AS_MAPPED_ROOT, "true"]):
        return [*AS_MAPPED_ROOT, "--"]
    if shutil.which("fakeroot"):
        return ["fakeroot", "--"]
    return []
