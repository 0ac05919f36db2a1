"""Network namespaces and TAP devices of the host, for traffic with a real Linux stack.

A namespace here has no name and no process: it is held by a file descriptor, so the kernel removes
it, with every TAP and socket in it, when this process ends in whatever way.
"""

import contextlib
import ctypes
import fcntl
import itertools
import os
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, TypeVar

from tlsnic.qemu.errors import UserError
from tlsnic.qemu.supervise import Child

T = TypeVar("T")

PREFIX = "tlsnic-"
_CLONE_NEWNET = 0x40000000
# linux/if_tun.h
_TUNSETIFF = 0x400454CA
_TUNSETPERSIST = 0x400454CB
_IFF_TAP = 0x0002
_IFF_NO_PI = 0x1000
_IFF_VNET_HDR = 0x4000
_libc = ctypes.CDLL(None, use_errno=True)
_numbers = itertools.count()


def unique_name() -> str:
    """An interface name (at most 15 bytes) that no other process and no earlier call has."""
    return f"{PREFIX}{os.getpid():x}.{next(_numbers)}"[:15]


def _in_thread(function: Callable[[], T]) -> T:
    """What `function` returns or raises, run in a thread of its own.

    A network namespace belongs to a thread; in its own thread a change is nobody else's.
    """
    result: list[T] = []
    failure: list[BaseException] = []

    def body() -> None:
        try:
            result.append(function())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=body, name="tlsnic-netns")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return result[0]


def _checked(status: int, what: str) -> None:
    if status:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _new_namespace() -> int:
    def make() -> int:
        _checked(_libc.unshare(_CLONE_NEWNET), "unshare")
        return os.open(f"/proc/self/task/{threading.get_native_id()}/ns/net", os.O_RDONLY)

    return _in_thread(make)


class Netns:
    """A private network namespace with the loopback up. A context manager.

    Raises `UserError` without the right to make one.
    """

    def __init__(self) -> None:
        try:
            self.fd = _new_namespace()
        except OSError as error:
            raise UserError(
                f"cannot make a network namespace ({error.strerror})", "run as root (sudo)"
            ) from error
        self._children: list[Child] = []
        try:
            self.ip("link", "set", "lo", "up")
        except BaseException:
            self.close()
            raise

    @property
    def path(self) -> str:
        """The namespace as a file, for `nsenter --net=PATH`; valid while this object lives."""
        return f"/proc/{os.getpid()}/fd/{self.fd}"

    def call(self, function: Callable[[], T]) -> T:
        """What `function` returns, run inside the namespace (in a thread of its own).

        A socket made there stays in the namespace and can be used from any thread.
        """

        def inside() -> T:
            _checked(_libc.setns(self.fd, _CLONE_NEWNET), "setns")
            return function()

        return _in_thread(inside)

    def set_sysctl(self, name: str, value: int) -> None:
        """Set a variable of the network stack, "ipv4/conf/tap0/arp_ignore". Raises OSError."""
        path = Path("/proc/sys/net") / name
        self.call(lambda: path.write_text(str(value)))

    def socket(self, family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM) -> socket.socket:
        """A new socket that lives in the namespace."""
        return self.call(lambda: socket.socket(family, kind))

    def spawn(
        self,
        argv: Sequence[str],
        *,
        name: str,
        stdin: int | IO[bytes] = subprocess.DEVNULL,
        stdout: int | IO[bytes] | None = None,
        stderr: int | IO[bytes] | None = None,
    ) -> Child:
        """Start a program inside; it is stopped when the namespace is closed."""
        child = Child(argv, name=name, stdin=stdin, stdout=stdout, stderr=stderr, netns_fd=self.fd)
        self._children.append(child)
        return child

    def run(self, argv: Sequence[str], *, timeout_s: float = 30.0) -> str:
        """The standard output of a program run inside. Raises `UserError` when it fails."""
        try:
            done = self.call(
                lambda: subprocess.run(
                    argv,
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    text=True,
                    timeout=timeout_s,
                    check=False,
                )
            )
        except FileNotFoundError as error:
            raise UserError(
                f"{argv[0]} is not installed", f"install the package that has {argv[0]}"
            ) from error
        if done.returncode:
            raise UserError(f"`{' '.join(argv)}` failed: {done.stderr.strip()}")
        return done.stdout

    def ip(self, *arguments: str) -> str:
        """`ip ARGUMENTS` (iproute2) inside the namespace."""
        return self.run(["ip", *arguments])

    def add_tap(
        self,
        name: str,
        *,
        addresses: Sequence[str] = (),
        mtu: int = 1500,
        mac: str | None = None,
        vnet_hdr: bool = False,
    ) -> None:
        """Make a TAP device that stays until the namespace goes, and bring it up.

        `addresses` are in the form "192.0.2.1/24", and outlive the device's being down. A program
        inside the namespace attaches to it with TUNSETIFF and this name. It has carrier only while
        something is attached.
        """
        tap = self.open_tap(name, vnet_hdr=vnet_hdr)
        try:
            fcntl.ioctl(tap, _TUNSETPERSIST, 1)
        finally:
            os.close(tap)
        if mac is not None:
            self.ip("link", "set", name, "address", mac)
        self.ip("link", "set", name, "mtu", str(mtu))
        # IPv6 addresses go with the link otherwise, unlike IPv4's.
        with contextlib.suppress(OSError):  # no IPv6, or /proc/sys cannot be written
            self.set_sysctl(f"ipv6/conf/{name}/keep_addr_on_down", 1)
        for address in addresses:
            # nodad: a test must not wait for duplicate address detection (RFC 4862, section 5.4).
            nodad = ("nodad",) if ":" in address else ()
            self.ip("address", "add", address, "dev", name, *nodad)
        self.ip("link", "set", name, "up")

    def open_tap(self, name: str, *, vnet_hdr: bool = False) -> int:
        """A non-blocking descriptor of TAP `name` (made when it is missing); one frame per read.

        With `vnet_hdr` every frame is preceded by a struct virtio_net_hdr of 10 bytes.
        """

        def attach() -> int:
            fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                flags = _IFF_TAP | _IFF_NO_PI | (_IFF_VNET_HDR if vnet_hdr else 0)
                fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
            except BaseException:
                os.close(fd)
                raise
            return fd

        try:
            return self.call(attach)
        except OSError as error:
            raise UserError(
                f"cannot open TAP {name}: {error.strerror}",
                "run as root (sudo); load the module: modprobe tun",
            ) from error

    def close(self) -> None:
        """Stop the programs inside and let the kernel remove the namespace. Idempotent."""
        for child in reversed(self._children):
            child.stop()
        self._children.clear()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> "Netns":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


@contextlib.contextmanager
def tap_namespace(
    *addresses: str, tap: str = "tap0", mtu: int = 1500, vnet_hdr: bool = False
) -> Iterator[Netns]:
    """A namespace with one TAP that has `addresses`: the far end of a wire, with a Linux stack."""
    with Netns() as namespace:
        namespace.add_tap(tap, addresses=addresses, mtu=mtu, vnet_hdr=vnet_hdr)
        yield namespace


def leftovers() -> list[str]:
    """Interfaces and named namespaces of ours that some run has left on this machine."""
    found = [f"interface {name}" for _, name in socket.if_nameindex() if name.startswith(PREFIX)]
    with contextlib.suppress(FileNotFoundError):
        found += [
            f"namespace {path.name}"
            for path in Path("/run/netns").iterdir()
            if path.name.startswith(PREFIX)
        ]
    return sorted(found)
