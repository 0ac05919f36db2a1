"""A Linux TAP device with virtio-net headers (Documentation/networking/tuntap.rst, if_tun.h)."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from collections.abc import Sequence
from typing import Self

from tlsnic.driver.errors import DriverError

_TUN_PATH = "/dev/net/tun"
_TUNSETIFF = 0x400454CA
_TUNSETOFFLOAD = 0x400454D0
_TUNSETVNETHDRSZ = 0x400454D8
_TUNSETCARRIER = 0x400454E2
_IFF_TAP = 0x0002
_IFF_NO_PI = 0x1000
_IFF_VNET_HDR = 0x4000
_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_SIOCSIFMTU = 0x8922
_SIOCSIFHWADDR = 0x8924
_SIOCGIFHWADDR = 0x8927
_IFF_UP = 1
_ARPHRD_ETHER = 1
_IFREQ = struct.Struct("16s24x")
_NAME_BYTES = 15

# What the reader of the TAP can take from the stack (TUNSETOFFLOAD).
OFFLOAD_CHECKSUM = 0x01
OFFLOAD_TSO4 = 0x02
OFFLOAD_TSO6 = 0x04


class TapError(DriverError):
    """The TAP device cannot be made or set up; the message has the fix."""


class Tap:
    """One TAP device, made here and gone with `close()`. Reads and writes never block.

    Each read and write is a frame behind a virtio-net header of `header_bytes`.
    Attributes: `name`, `fd`.
    """

    def __init__(self, name: str, header_bytes: int) -> None:
        """Make the device `name` (at most 15 bytes). Raises TapError."""
        raw = name.encode()
        if not 0 < len(raw) <= _NAME_BYTES:
            raise TapError(f"the interface name {name!r} has not 1 to {_NAME_BYTES} bytes")
        try:
            self.fd = os.open(_TUN_PATH, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            raise TapError(f"{_TUN_PATH} is missing: run modprobe tun") from None
        except OSError as error:
            raise TapError(f"{_TUN_PATH}: {error.strerror}: root is needed") from None
        try:
            flags = _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR
            request = struct.pack("16sH22x", raw, flags)
            made = fcntl.ioctl(self.fd, _TUNSETIFF, request)
            self.name = made[:16].rstrip(b"\0").decode()
            fcntl.ioctl(self.fd, _TUNSETVNETHDRSZ, struct.pack("i", header_bytes))
        except OSError as error:
            os.close(self.fd)
            raise TapError(
                f"cannot make the TAP device {name}: {error.strerror}: "
                "it needs root, and a name that no interface has"
            ) from None

    def set_offloads(self, offloads: int) -> None:
        """Tell the stack what the reader takes (OFFLOAD_ bits). Raises TapError."""
        try:
            fcntl.ioctl(self.fd, _TUNSETOFFLOAD, offloads)
        except OSError as error:
            raise TapError(f"{self.name}: offloads {offloads:#x}: {error.strerror}") from None

    def set_carrier(self, up: bool) -> None:
        """Show the stack a link that is up or down. Raises TapError."""
        try:
            fcntl.ioctl(self.fd, _TUNSETCARRIER, struct.pack("i", int(up)))
        except OSError as error:
            raise TapError(f"{self.name}: carrier: {error.strerror}") from None

    @property
    def mac_address(self) -> bytes:
        """The interface's address, 6 bytes."""
        return self._interface(_SIOCGIFHWADDR, b"")[18:24]

    def set_mac_address(self, address: bytes) -> None:
        """Set the interface's address, before it is up. Raises TapError."""
        self._interface(_SIOCSIFHWADDR, struct.pack("H6s", _ARPHRD_ETHER, address))

    def set_mtu(self, mtu: int) -> None:
        """Set the interface's MTU in bytes. Raises TapError."""
        self._interface(_SIOCSIFMTU, struct.pack("i", mtu))

    def set_up(self) -> None:
        """Bring the interface up. Raises TapError."""
        (flags,) = struct.unpack_from("H", self._interface(_SIOCGIFFLAGS, b""), 16)
        self._interface(_SIOCSIFFLAGS, struct.pack("H", flags | _IFF_UP))

    def _interface(self, request: int, argument: bytes) -> bytes:
        block = bytearray(_IFREQ.pack(self.name.encode()))
        block[16 : 16 + len(argument)] = argument
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            try:
                return fcntl.ioctl(sock, request, bytes(block))
            except OSError as error:
                raise TapError(f"{self.name}: {error.strerror}") from None

    def read_into(self, buffers: Sequence[bytearray | memoryview]) -> int:
        """Read header and frame into `buffers`: bytes read. BlockingIOError when there is none."""
        return os.readv(self.fd, buffers)

    def write(self, buffers: Sequence[bytes | bytearray | memoryview]) -> None:
        """Write header and frame. OSError when the interface is down or its queue is full."""
        os.writev(self.fd, buffers)

    def close(self) -> None:
        """Remove the device; a second call does nothing."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
