"""Does this kernel's TLS read record headers rightly where TCP segments overlap?

Linux 6.12 does not: when the first five bytes of a record are in two segments, and the second one
begins before the first one's end (a duplicate that was joined with what follows it, a larger
retransmission), it takes bytes of the duplicate for the record's length. The connection then ends with
"record overflow", or stands still. No card is needed: `python3 strparser.py` shows it with a TUN.
Linux 7.2 compares the segments' sequence numbers before it reads a header.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NAME = "overlap0"
_HERE, _THERE = "198.18.0.1", "198.18.0.2"
_PORT = 4433
_ISN = 1000
_TEXTS = (b"a" * 1000, b"b" * 500)
_IN_FIRST_SEGMENT = 3
"""Bytes of the second record's header."""
_OVERLAP = 100
_KEY, _SALT = bytes(range(16)), b"salt"
_WAIT_S = 5.0
# linux/if_tun.h, linux/tcp.h, linux/tls.h, linux/socket.h
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_TCP_ULP, _SOL_TLS, _TLS_RX = 31, 282, 2
_TLS_1_2, _TLS_CIPHER_AES_GCM_128 = 0x0303, 51
_SYN, _PSH, _ACK = 0x02, 0x08, 0x10


def misreads_headers() -> bool:
    """Whether it does. Raises OSError where there is no TUN or no kernel TLS."""
    for module in ("tun", "tls"):
        subprocess.run(["modprobe", module], check=False)
    with _tun() as tun_fd, socket.create_server((_HERE, _PORT)) as server:
        os.write(tun_fd, _segment(_ISN, 0, _SYN))
        ours = _answer(tun_fd) + 1
        os.write(tun_fd, _segment(_ISN + 1, ours, _ACK))
        server.settimeout(_WAIT_S)
        connection, _ = server.accept()
        with connection:
            _receive_tls(connection)
            records = [_record(number, text) for number, text in enumerate(_TEXTS)]
            stream = b"".join(records)
            cut = len(records[0]) + _IN_FIRST_SEGMENT
            os.write(tun_fd, _segment(_ISN + 1, ours, _PSH | _ACK, stream[:cut]))
            if connection.recv(1 << 14) != _TEXTS[0]:
                raise OSError(errno.EIO, "the kernel did not decrypt a record")
            again = cut - _OVERLAP
            os.write(tun_fd, _segment(_ISN + 1 + again, ours, _PSH | _ACK, stream[again:]))
            try:
                return connection.recv(1 << 14) != _TEXTS[1]
            except OSError:
                return True


@contextmanager
def _tun() -> Iterator[int]:
    """A network interface whose other end is this process; gone afterwards."""
    tun_fd = os.open("/dev/net/tun", os.O_RDWR)
    try:
        request = struct.pack("16sH22x", _NAME.encode(), _IFF_TUN | _IFF_NO_PI)
        fcntl.ioctl(tun_fd, _TUNSETIFF, request)
        subprocess.run(["ip", "address", "add", f"{_HERE}/30", "dev", _NAME], check=True)
        subprocess.run(["ip", "link", "set", _NAME, "up"], check=True)
        yield tun_fd
    finally:
        os.close(tun_fd)


def _receive_tls(connection: socket.socket) -> None:
    """The kernel decrypts from here on: TLS 1.2, AES-128-GCM, record number 0."""
    connection.settimeout(_WAIT_S)
    connection.setsockopt(socket.IPPROTO_TCP, _TCP_ULP, b"tls")
    head = struct.pack("<HH", _TLS_1_2, _TLS_CIPHER_AES_GCM_128)
    connection.setsockopt(_SOL_TLS, _TLS_RX, head + bytes(8) + _KEY + _SALT + bytes(8))


def _record(number: int, text: bytes) -> bytes:
    """RFC 5288."""
    explicit = struct.pack("!Q", number)
    aad = struct.pack("!QBHH", number, 23, _TLS_1_2, len(text))
    body = explicit + AESGCM(_KEY).encrypt(_SALT + explicit, text, aad)
    return struct.pack("!BHH", 23, _TLS_1_2, len(body)) + body


def _checksum(data: bytes) -> int:
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _segment(seq: int, ack: int, flags: int, data: bytes = b"") -> bytes:
    """IPv4 and TCP from the far end."""
    ends = socket.inet_aton(_THERE) + socket.inet_aton(_HERE)
    fields = (_PORT, _PORT, seq, ack, 5 << 4, flags, 0xFFFF)
    pseudo = ends + struct.pack("!HH", socket.IPPROTO_TCP, 20 + len(data))
    checksum = _checksum(pseudo + struct.pack("!HHIIBBHHH", *fields, 0, 0) + data)
    tcp = struct.pack("!HHIIBBHHH", *fields, checksum, 0) + data
    head = struct.pack("!BBHHHBB", 0x45, 0, 20 + len(tcp), 0, 0, 64, socket.IPPROTO_TCP)
    return head + struct.pack("!H", _checksum(head + ends)) + ends + tcp


def _answer(tun_fd: int) -> int:
    """The sequence number of the SYN-ACK."""
    while select.select([tun_fd], [], [], _WAIT_S)[0]:
        packet = os.read(tun_fd, 2048)
        if packet[0] >> 4 == 4 and packet[9] == socket.IPPROTO_TCP:
            return int(struct.unpack_from("!I", packet, 24)[0])
    raise TimeoutError(errno.ETIMEDOUT, "no SYN-ACK")


if __name__ == "__main__":
    found = "misreads" if misreads_headers() else "reads"
    print(f"Linux {os.uname().release} {found} record headers in overlapping segments")
