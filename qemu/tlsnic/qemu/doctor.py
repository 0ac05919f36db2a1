"""`tlsnic doctor`: looks at each thing the card needs and says how to mend what is missing.

Nothing is changed or downloaded. Each check is a function in the table CHECKS that returns one
Check; a check that raises is itself reported as a problem.
"""

from __future__ import annotations

import ctypes
import fcntl
import importlib
import importlib.metadata
import json as json_module
import mmap
import os
import re
import shutil
import struct
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tlsnic.qemu import _kvm, parts, workdir
from tlsnic.qemu._socket_state import SocketState, check_socket
from tlsnic.qemu.parts import Qemu

__all__ = [
    "CHECKS",
    "Check",
    "SocketState",
    "check_socket",
    "examine",
    "kvm_works",
    "run",
    "socket_check",
]

_INSTALL = "run: python -m pip install -e '.[dev]'"
_OLDEST_PYTHON = (3, 11)
_ALL_PARTS_MIB = 1500
_WORKING_MIB = 100

_CLONE_NEWNET = 0x40000000
_TUNSETIFF = 0x400454CA
_IFF_TAP_NO_PI = 0x1002


@dataclass(frozen=True)
class Check:
    """What one check found.

    `detail` is what was seen; `fix` says what to do when it is not `ok`. `needed` is false for
    things whose absence only narrows what can be done; `detail` then says how.
    """

    name: str
    ok: bool
    detail: str
    fix: str = ""
    needed: bool = True

    def line(self) -> str:
        """The check as printed for people."""
        word = "ok" if self.ok else "problem" if self.needed else "limit"
        text = f"{word:8}{self.name}: {self.detail}"
        return text if self.ok or not self.fix else f"{text}\n        fix: {self.fix}"


def kvm_works(qemu: Qemu, kernel: Path) -> bool:
    """Whether /dev/kvm really runs a guest, found out by booting `kernel` (at most 10 s).

    The answer "no" is remembered until the machine reboots or one of the two changes.
    """
    return _kvm.problem(qemu, kernel) is None


def check_python() -> Check:
    """Python's version and the packages that the project depends on."""
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < _OLDEST_PYTHON:
        return Check("python", False, f"{version} is too old", "install Python 3.11 or later")
    try:
        wanted = importlib.metadata.requires("tlsnic") or []
    except importlib.metadata.PackageNotFoundError:
        return Check("python", False, "the package tlsnic is not installed", _INSTALL)
    missing = missing_packages(wanted)
    if missing:
        return Check("python", False, f"{version} without {', '.join(missing)}", _INSTALL)
    return Check("python", True, f"{version} with the {len(wanted)} packages it needs")


def missing_packages(wanted: Sequence[str]) -> list[str]:
    """Those of the requirements (`name>=version; marker`) that are absent or too old.

    Packages of the extra `dev` count too: the suite and the build of libvfio-user use them.
    """
    missing = []
    for requirement in wanted:
        match = re.match(r"([\w.-]+)\s*(?:>=\s*([\d.]+))?", requirement)
        if match is None:
            continue
        name, oldest = match[1], match[2] or "0"
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
            continue
        if _numbers(found) < _numbers(oldest):
            missing.append(f"{name} {oldest} (it is {found})")
    return missing


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


def check_qemu() -> Check:
    """A QEMU of version 10.1 or later that has the device vfio-user-pci."""
    qemu = parts.qemu(make=False)
    return Check("qemu", True, f"{qemu.version_text()} with vfio-user-pci, {qemu.source}")


def check_library() -> Check:
    """libvfio-user is there, and its interface is one that the bindings know."""
    path = parts.libvfio_user_path(make=False)
    try:
        load_library = importlib.import_module("tlsnic.device.vfu").load_library
    except (ImportError, AttributeError):
        return _check_library_itself(path)
    try:
        library = load_library(path)
    except OSError as error:
        return Check(
            "libvfio-user",
            False,
            getattr(error, "strerror", None) or str(error),
            f"unset TLSNIC_LIBVFIO_USER, then run: {parts.MAKE_COMMAND}",
        )
    return Check("libvfio-user", True, f"interface {library.abi.name}, {path}")


def _check_library_itself(path: Path) -> Check:
    """Without the bindings, what can be said: it loads, and it tells the size of its entries."""
    library = ctypes.CDLL(str(path))
    if not hasattr(library, "dma_sg_size"):
        return Check(
            "libvfio-user",
            False,
            f"{path} does not export dma_sg_size",
            "use a libvfio-user of June 2022 or later",
        )
    library.dma_sg_size.restype = ctypes.c_size_t
    return Check("libvfio-user", True, f"dma_sg_t of {library.dma_sg_size()} bytes, {path}")


def check_guest() -> Check:
    """Kernel, initial RAM disk and root disk of the guest."""
    guest = parts.guest(make=False)
    return Check("guest", True, f"{guest.source}, {guest.image}")


def check_memfd() -> Check:
    """The guest's memory is shared through memfd_create(2)."""
    size_bytes = mmap.PAGESIZE
    try:
        fd = os.memfd_create("tlsnic-doctor")
        try:
            os.ftruncate(fd, size_bytes)
            with mmap.mmap(fd, size_bytes) as view:
                view[0] = 1
        finally:
            os.close(fd)
    except OSError as error:
        return Check(
            "memfd",
            False,
            f"memfd_create does not work: {error.strerror}",
            "allow memfd_create in the sandbox or container's seccomp profile",
        )
    return Check("memfd", True, "memfd_create works; huge pages are not needed on the host")


def check_kvm() -> Check:
    """/dev/kvm really boots a guest; if not, TCG serves."""
    qemu, guest = parts.qemu(make=False), parts.guest(make=False)
    problem = _kvm.problem(qemu, guest.kernel, afresh=True)
    if problem is None:
        return Check("kvm", True, "boots the guest's kernel")
    return Check(
        "kvm",
        False,
        f"not used, TCG (slower) serves instead: {problem.what}",
        problem.fix,
        needed=False,
    )


def check_tap() -> Check:
    """A TAP device can be made, tried in a network namespace that vanishes again."""
    tried: list[OSError | None] = []
    # unshare(2) of the network concerns the calling thread only, and ends with it.
    thread = threading.Thread(target=lambda: tried.append(_try_tap()), name="tap")
    thread.start()
    thread.join()
    error = tried[0]
    if error is None:
        return Check("tap", True, "a TAP device can be made")
    fix = (
        "load the driver: modprobe tun"
        if isinstance(error, FileNotFoundError)
        else "run as root, or with CAP_NET_ADMIN and access to /dev/net/tun"
    )
    detail = f"no TAP ({error.strerror}): wires to sockets, files and other ports still work"
    return Check("tap", False, detail, fix, needed=False)


def _try_tap() -> OSError | None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        return OSError(number, os.strerror(number))
    try:
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        return error
    try:
        fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", b"tlsnic%d", _IFF_TAP_NO_PI))
    except OSError as error:
        return error
    finally:
        os.close(fd)
    return None


def check_disk() -> Check:
    """Room in the cache: for every part when one is missing, else for work."""
    root = parts.cache_root()
    try:
        for find in (parts.libvfio_user_path, parts.qemu, parts.guest):
            find(make=False)
        needed_mib = _WORKING_MIB
    except parts.PartError:
        needed_mib = _ALL_PARTS_MIB
    existing = next(folder for folder in (root, *root.parents) if folder.exists())
    free_mib = shutil.disk_usage(existing).free >> 20
    detail = f"{free_mib} MiB free in {root}, {needed_mib} MiB needed"
    fix = "free some room there, or point XDG_CACHE_HOME at a larger disk"
    if not os.access(existing, os.W_OK):
        return Check("disk", False, f"{existing} is not writable", fix)
    return Check("disk", free_mib >= needed_mib, detail, fix)


def check_traffic_tools() -> Check:
    """The programs that tests with real traffic run on the host."""
    missing = parts.missing_host_packages()
    if not missing:
        return Check(
            "tools", True, "ip, ping, iperf3, socat, openssl, curl and tshark are installed"
        )
    return Check(
        "tools",
        False,
        f"without {', '.join(missing)} the tests with real traffic skip",
        f"run as root: apt-get install {' '.join(missing)}",
        needed=False,
    )


def check_leftovers() -> Check:
    """Work directories, with their sockets, of runs that were killed."""
    left = workdir.stale()
    if not left:
        return Check("leftovers", True, "no run was killed before it could tidy up")
    listed = " ".join(map(str, left))
    return Check(
        "leftovers",
        False,
        f"{len(left)} work directories of killed runs; the next run removes them",
        f"rm -r {listed}",
        needed=False,
    )


def socket_check(path: Path) -> Check:
    """`check_socket` as a line of the doctor."""
    found = check_socket(path)
    name = f"socket {path}"
    if found.state == "free":
        return Check(name, True, "free")
    if found.state == "stale":
        return Check(name, False, "left by a process that is gone", f"rm {path}")
    if found.state == "not a socket":
        return Check(name, False, "there is a file that is no socket", "choose another path")
    who = f"process {found.pid}" if found.pid else "a living process"
    end = f"end it (kill {found.pid})" if found.pid else "end it"
    return Check(name, False, f"in use by {who}", f"{end}, or choose another path")


CHECKS: Mapping[str, Callable[[], Check]] = {
    "python": check_python,
    "disk": check_disk,
    "libvfio-user": check_library,
    "qemu": check_qemu,
    "guest": check_guest,
    "memfd": check_memfd,
    "kvm": check_kvm,
    "tap": check_tap,
    "tools": check_traffic_tools,
    "leftovers": check_leftovers,
}


def examine(
    checks: Mapping[str, Callable[[], Check]] = CHECKS, sockets: Sequence[Path] = ()
) -> list[Check]:
    """Run the checks in order. One that raises becomes a problem, and the others still run."""
    found = [_guarded(name, check) for name, check in checks.items()]
    return found + [socket_check(path) for path in sockets]


def _guarded(name: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except parts.PartError as error:
        needed = name != "kvm"  # which has nothing to boot without the other parts
        message = error.message.removeprefix(f"{name}: ")
        return Check(name, False, message, error.fix, needed=needed)
    except Exception as error:
        return Check(
            name,
            False,
            f"the check itself failed: {type(error).__name__}: {error}",
            "please report this line",
        )


def run(
    json: bool,
    *,
    sockets: Sequence[Path] = (),
    checks: Mapping[str, Callable[[], Check]] = CHECKS,
) -> int:
    """Print every check, as lines or as one JSON object; 0 when nothing needed fails, else 1.

    `sockets` are paths to look at besides. JSON: {"ok": bool, "checks": [{"name", "ok", "detail",
    "fix", "needed"}, ...]}.
    """
    found = examine(checks, sockets)
    failed = [check for check in found if check.needed and not check.ok]
    if json:
        listed = [asdict(check) for check in found]
        print(json_module.dumps({"ok": not failed, "checks": listed}, indent=2))
        return 1 if failed else 0
    for check in found:
        print(check.line())
    print(
        f"{len(failed)} problem{'s' * (len(failed) != 1)}" if failed else "everything needed works"
    )
    return 1 if failed else 0
