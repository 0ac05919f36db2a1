"""A TAP device of the kernel as the wire, super-frames included.

Every frame carries a virtio-net header (IFF_VNET_HDR), so segmentation and checksums can be left to
the kernel in both directions. The link is up while the interface is (`ip link set NAME up`). An
interface that this wire made vanishes with it; one made beforehand stays.

Kernel documentation: Documentation/networking/tuntap.rst, include/uapi/linux/if_tun.h.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import select
import socket
import struct
import threading
from collections.abc import Sequence

from tlsnic.device.packet.vnet import VNET_FORMAT, VnetHeader

from .base import MAX_FRAME_BYTES, Buffer, Sink, WireBase, WireError, frame_bytes

_TUN_PATH = "/dev/net/tun"
_TUNSETIFF = 0x400454CA
_TUNSETOFFLOAD = 0x400454D0
_TUNGETIFF = 0x800454D2
_TUNSETVNETHDRSZ = 0x400454D8
_TUNSETVNETLE = 0x400454DC
_SIOCGIFFLAGS = 0x8913

_IFF_TAP = 0x0002
_IFF_NO_PI = 0x1000
_IFF_VNET_HDR = 0x4000
_IFF_UP = 0x1
_OFFLOAD_CSUM_TSO4_TSO6 = 0x1 | 0x2 | 0x4

_RTMGRP_LINK = 1
_CLONE_NEWNET = 0x40000000
_IFREQ = struct.Struct("16sH22x")
_INTERFACE_NAME_MAX_BYTES = 15
_MAX_PARTS = 1000
"""Below IOV_MAX (1024), with the header in front."""
_PLAIN = bytes(VNET_FORMAT.size)
_EBADFD = 77


class TapWire(WireBase):
    """A TAP device.

    Args:
        interface: name of the interface; made if there is none.
        netns: the network namespace it lives in: a name of `ip netns`, or a path; empty for this
            process's own.
        offload: False: the kernel hands over no super-frames and no undone checksums, and
            `takes_super_frames` is False.

    Raises:
        WireError: no rights, no TUN driver, interface in use or not a TAP, no such namespace.
    """

    def __init__(self, interface: str, *, netns: str = "", offload: bool = True) -> None:
        where = f"tap:{interface},netns={netns}" if netns else f"tap:{interface}"
        super().__init__(where)
        self._epoll: select.epoll | None = None
        self._tap, self._monitor = _open_in_namespace(interface, netns)
        try:
            self._offload = offload
            self.takes_super_frames = offload
            self.set_receive_super_frames(offload)
            self._epoll = select.epoll()
            self._epoll.register(self._tap, select.EPOLLIN)
            self._epoll.register(self._monitor, select.EPOLLIN)
            self._blocked = False
            self._gone = False
            self._header = bytearray(VNET_FORMAT.size)
            self._payload = bytearray(MAX_FRAME_BYTES)
            self._buffers = [self._header, self._payload]
            self._view = memoryview(self._payload)
            self.link_up = bool(self._interface_flags() & _IFF_UP)
        except BaseException:
            self.close()
            raise

    @property
    def wants_write(self) -> bool:
        return self._blocked

    def fileno(self) -> int | None:
        return None if self._epoll is None else self._epoll.fileno()

    def set_receive_super_frames(self, allowed: bool) -> None:
        """Switch the interface's checksum and segmentation offloads; affects frames from now on."""
        features = _OFFLOAD_CSUM_TSO4_TSO6 if allowed and self._offload else 0
        fcntl.ioctl(self._tap, _TUNSETOFFLOAD, features)

    def send(self, parts: Sequence[Buffer], vnet: VnetHeader | None, now_ns: int) -> bool:
        length = frame_bytes(parts)
        if self._gone:
            self.counters.tx_dropped_link_down += 1
            return True
        if len(parts) > _MAX_PARTS:
            parts = (b"".join(parts),)
        header = _PLAIN if vnet is None else VNET_FORMAT.pack(*vnet)
        try:
            os.writev(self._tap, (header, *parts))
        except BlockingIOError:
            self._set_blocked(True)
            return False
        except OSError as error:
            self._drop(error, vnet)
            return True
        if self._blocked:
            self._set_blocked(False)
        self.counters.tx_frames += 1
        self.counters.tx_bytes += length
        return True

    def _drop(self, error: OSError, vnet: VnetHeader | None) -> None:
        """Count a frame the kernel refused, and say so unless the link is known to be down."""
        if error.errno == errno.EIO:
            self.counters.tx_dropped_link_down += 1
            self._look_at_interface()
        elif error.errno == _EBADFD:
            self.counters.tx_dropped_link_down += 1
            self._interface_gone()
        else:
            self.counters.tx_dropped_refused += 1
            self._diagnose("frame-refused", f"{self.name}: {error.strerror}, header {vnet}")

    def receive(self, sink: Sink, budget: int, now_ns: int) -> int:
        if self._gone or self._epoll is None:
            return 0
        if self._blocked:
            self._set_blocked(False)
        tap, buffers, header, view = self._tap, self._buffers, self._header, self._view
        counters = self.counters
        count = 0
        while count < budget:
            try:
                size = os.readv(tap, buffers) - VNET_FORMAT.size
            except BlockingIOError:
                self._look_at_interface()
                break
            except OSError as error:
                if error.errno != _EBADFD:
                    raise
                self._interface_gone()
                break
            count += 1
            counters.rx_frames += 1
            counters.rx_bytes += size
            if header == _PLAIN:
                sink(view[:size], None)
            else:
                sink(view[:size], VnetHeader._make(VNET_FORMAT.unpack(header)))
        return count

    def flush(self, now_ns: int) -> None:
        if self._blocked:
            self._set_blocked(False)

    def _set_blocked(self, blocked: bool) -> None:
        self._blocked = blocked
        if self._epoll is not None:
            events = select.EPOLLIN | select.EPOLLOUT if blocked else select.EPOLLIN
            self._epoll.modify(self._tap, events)

    def _look_at_interface(self) -> None:
        """Follow the interface's state when the kernel announced a change of any interface."""
        announced = False
        try:
            # Which one changed does not matter: the flags are asked for anyway.
            while self._monitor.recv(65536):
                announced = True
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            announced = True
        if announced:
            up = bool(self._interface_flags() & _IFF_UP)
            state = "up" if up else "down"
            self._set_link(up, f"interface-{state}", f"{self.name}: the interface is {state}")

    def _interface_flags(self) -> int:
        """The flags of the interface, whatever its name is by now; 0 if it is gone."""
        request = bytearray(_IFREQ.size)
        try:
            fcntl.ioctl(self._tap, _TUNGETIFF, request)
            fcntl.ioctl(self._monitor, _SIOCGIFFLAGS, request)
        except OSError:
            return 0
        flags: int = _IFREQ.unpack(request)[1]
        return flags

    def _interface_gone(self) -> None:
        """The interface was deleted: nothing comes back, so nothing is polled any more."""
        self._gone = True
        if self._epoll is not None:
            self._epoll.unregister(self._tap)
            self._epoll.unregister(self._monitor)
        self._blocked = False
        self._set_link(False, "interface-gone", f"{self.name}: the interface was deleted")

    def close(self) -> None:
        super().close()
        tap, self._tap = self._tap, -1
        if tap >= 0:
            os.close(tap)
            self._monitor.close()
        epoll, self._epoll = self._epoll, None
        if epoll is not None:
            epoll.close()
        self._gone = True


def _open_in_namespace(interface: str, netns: str) -> tuple[int, socket.socket]:
    """Open the TAP and a netlink socket that announces link changes, both inside `netns`.

    The namespace of a thread is changed for good, so a thread of its own does it and ends.
    """
    if not netns:
        return _open_tap(interface)
    opened: list[tuple[int, socket.socket]] = []
    problems: list[BaseException] = []

    def work() -> None:
        try:
            _enter_namespace(netns)
            opened.append(_open_tap(interface))
        except BaseException as error:
            problems.append(error)

    thread = threading.Thread(target=work, name=f"netns-{netns}")
    thread.start()
    thread.join()
    if problems:
        raise problems[0]
    return opened[0]


def _enter_namespace(netns: str) -> None:
    path = netns if "/" in netns else f"/run/netns/{netns}"
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise WireError(
            f"no network namespace {netns!r}: {error.strerror}", f"make it: ip netns add {netns}"
        ) from error
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(fd, _CLONE_NEWNET):
            code = ctypes.get_errno()
            raise WireError(
                f"cannot enter network namespace {netns!r}: {os.strerror(code)}", "run as root"
            )
    finally:
        os.close(fd)


def _open_tap(interface: str) -> tuple[int, socket.socket]:
    name = os.fsencode(interface)
    if not 0 < len(name) <= _INTERFACE_NAME_MAX_BYTES or b"/" in name or b"%" in name:
        raise WireError(
            f"{interface!r} is not a name of an interface",
            f"use 1 to {_INTERFACE_NAME_MAX_BYTES} bytes without '/' and '%'",
        )
    try:
        tap = os.open(_TUN_PATH, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise WireError(
            f"cannot open {_TUN_PATH}: {error.strerror}",
            "run as root" if error.errno == errno.EACCES else "load the driver: modprobe tun",
        ) from error
    monitor: socket.socket | None = None
    try:
        flags = _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR
        try:
            fcntl.ioctl(tap, _TUNSETIFF, _IFREQ.pack(name, flags))
        except OSError as error:
            raise WireError(
                f"cannot attach to TAP {interface}: {error.strerror}",
                _attach_fix(error.errno, interface),
            ) from error
        fcntl.ioctl(tap, _TUNSETVNETHDRSZ, struct.pack("i", VNET_FORMAT.size))
        fcntl.ioctl(tap, _TUNSETVNETLE, struct.pack("i", 1))
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        monitor = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
        monitor.bind((0, _RTMGRP_LINK))
    except BaseException:
        os.close(tap)
        if monitor is not None:
            monitor.close()
        raise
    return tap, monitor


def _attach_fix(code: int | None, interface: str) -> str:
    if code == errno.EPERM:
        return (
            "run as root, or let root make it for this user: "
            f"ip tuntap add dev {interface} mode tap vnet_hdr user NAME"
        )
    if code == errno.EBUSY:
        return "another process uses it: end that process or choose another name"
    if code == errno.EINVAL:
        return "an interface of that name exists and is not a single-queue TAP: choose another name"
    return ""
