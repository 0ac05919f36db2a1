"""The pcapng capture format: what the writer and the reader share, and the writer.

Format: draft-ietf-opsawg-pcapng. Written are a Section Header, an Interface Description with
if_tsresol 9 for each interface, Enhanced Packet Blocks with epb_flags and comments, and Decryption
Secrets Blocks. `pcapng_reader` reads any file.
"""

from __future__ import annotations

import contextlib
import enum
import os
import stat
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

from .base import Buffer, WireError

LINKTYPE_ETHERNET = 1
LINKTYPE_USER0 = 147
"""Set aside for private use: the trace structures of the hardware description."""
SECRETS_TLS_KEY_LOG = 0x544C534B
"""Decryption secrets that are an NSS key log (SSLKEYLOGFILE)."""

BYTE_ORDER_MAGIC = 0x1A2B3C4D
SECTION_HEADER = 0x0A0D0D0A
INTERFACE_DESCRIPTION = 1
PACKET_OBSOLETE = 2
SIMPLE_PACKET = 3
ENHANCED_PACKET = 6
DECRYPTION_SECRETS = 10

OPT_END = 0
OPT_COMMENT = 1
IF_NAME = 2
IF_DESCRIPTION = 3
IF_TSRESOL = 9
IF_TSOFFSET = 14
SHB_USERAPPL = 4
EPB_FLAGS = 2

MAX_OPTION_BYTES = 0xFFFF

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_WRITE_BUFFER_BYTES = 64 * 1024
_EPB_HEAD = struct.Struct("<IIIIIII")
_EPB_TAIL = struct.Struct("<HHIHHI")
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")


class Direction(enum.IntEnum):
    """Which way a captured frame went (epb_flags, bits 0 and 1), seen from the NIC."""

    UNKNOWN = 0
    INBOUND = 1
    OUTBOUND = 2


class Interface(NamedTuple):
    """One interface of a capture; `snap_bytes` 0: packets are not cut."""

    name: str
    link_type: int = LINKTYPE_ETHERNET
    description: str = ""
    snap_bytes: int = 0


def _option(code: int, text: str | bytes) -> bytes:
    value = text.encode() if isinstance(text, str) else text
    if len(value) > MAX_OPTION_BYTES:
        value = value[:MAX_OPTION_BYTES].decode(errors="ignore").encode()
    return struct.pack("<HH", code, len(value)) + value + _PADDING[len(value) % 4]


def _block(block_type: int, body: bytes) -> bytes:
    length = 12 + len(body)
    return struct.pack("<II", block_type, length) + body + struct.pack("<I", length)


def _interface_block(interface: Interface) -> bytes:
    body = struct.pack("<HHI", interface.link_type, 0, interface.snap_bytes)
    body += _option(IF_NAME, interface.name)
    if interface.description:
        body += _option(IF_DESCRIPTION, interface.description)
    return _block(
        INTERFACE_DESCRIPTION, body + _option(IF_TSRESOL, b"\x09") + _option(OPT_END, b"")
    )


def secrets_block(
    secrets: bytes, secrets_type: int = SECRETS_TLS_KEY_LOG, order: str = "<"
) -> bytes:
    """A Decryption Secrets Block in the byte order `order` of `struct`.

    It must be in front of the packets that it decrypts.
    """
    length = 20 + len(secrets) + -len(secrets) % 4
    return b"".join(
        (
            struct.pack(order + "IIII", DECRYPTION_SECRETS, length, secrets_type, len(secrets)),
            secrets,
            _PADDING[len(secrets) % 4],
            struct.pack(order + "I", length),
        )
    )


class PcapngWriter:
    """Writes one section.

    Args:
        path: the file, made or emptied.
        interface: the name of the one Ethernet interface, or all interfaces.
        comment: about the whole file.
        mode: permissions of a file that is made. When they are for its owner only, a file that is
            there gets them, too.

    Raises:
        WireError: the file cannot be written (also from `write`, `flush` and `close`). What was
            written until then stays a valid file, and the writer is closed.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        interface: str | Sequence[Interface] = "tlsnic",
        *,
        comment: str = "",
        mode: int = 0o644,
    ) -> None:
        self.path = os.fspath(path)
        self.packets = 0
        try:
            self._fd = os.open(
                self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode
            )
        except OSError as error:
            raise WireError(
                f"cannot write capture {self.path}: {error.strerror}", "choose another file"
            ) from error
        if not mode & _OTHERS:
            self._close_to_others(mode)
        section = struct.pack("<IHHq", BYTE_ORDER_MAGIC, 1, 0, -1)
        if comment:
            section += _option(OPT_COMMENT, comment)
        section += _option(SHB_USERAPPL, b"tlsnic") + _option(OPT_END, b"")
        self._buffer = bytearray(_block(SECTION_HEADER, section))
        for one in [Interface(interface)] if isinstance(interface, str) else interface:
            self._buffer += _interface_block(one)
        self._written_bytes = 0

    def _close_to_others(self, mode: int) -> None:
        status = os.fstat(self._fd)
        if stat.S_ISREG(status.st_mode) and status.st_mode & _OTHERS:
            with contextlib.suppress(PermissionError):  # it is another user's, who opened it to us
                os.fchmod(self._fd, mode)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    @property
    def closed(self) -> bool:
        return self._fd < 0

    @property
    def size_bytes(self) -> int:
        """Size of the file, once it is flushed."""
        return self._written_bytes + len(self._buffer)

    def write(
        self,
        parts: Sequence[Buffer],
        timestamp_ns: int,
        direction: Direction = Direction.UNKNOWN,
        comment: str = "",
        *,
        interface: int = 0,
        original_bytes: int | None = None,
    ) -> None:
        """Append one packet.

        Args:
            parts: the packet, in pieces.
            timestamp_ns: since 1970, not negative.
            direction: seen from the NIC.
            comment: shown by Wireshark beside the packet; cut at 65535 bytes of UTF-8.
            interface: its number.
            original_bytes: length of the packet when `parts` are only its beginning.
        """
        if self._fd < 0:
            raise WireError(f"capture {self.path} is closed")
        size = sum(map(len, parts))
        padding = _PADDING[size % 4]
        remark = _option(OPT_COMMENT, comment) if comment else b""
        total = 28 + size + len(padding) + len(remark) + 16
        buffer = self._buffer
        buffer += _EPB_HEAD.pack(
            ENHANCED_PACKET,
            total,
            interface,
            timestamp_ns >> 32,
            timestamp_ns & 0xFFFFFFFF,
            size,
            size if original_bytes is None else original_bytes,
        )
        for part in parts:
            buffer += part
        buffer += padding
        buffer += remark
        buffer += _EPB_TAIL.pack(EPB_FLAGS, 4, direction, OPT_END, 0, total)
        self.packets += 1
        if len(buffer) >= _WRITE_BUFFER_BYTES:
            self.flush()

    def write_secrets(self, key_log: bytes) -> None:
        """Append a key log, which tells readers the secrets of TLS connections in later packets."""
        if self._fd < 0:
            raise WireError(f"capture {self.path} is closed")
        self._buffer += secrets_block(key_log)

    def flush(self) -> None:
        """Bring all frames into the file."""
        if not self._buffer or self._fd < 0:
            return
        rest = memoryview(bytes(self._buffer))
        written = len(rest)
        self._buffer.clear()
        whole = self._written_bytes
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError as error:
            with contextlib.suppress(OSError):  # a pipe keeps what it got
                os.ftruncate(self._fd, whole)
            os.close(self._fd)
            self._fd = -1
            raise WireError(
                f"cannot write capture {self.path}: {error.strerror}", "make room on the disk"
            ) from error
        self._written_bytes = whole + written

    def close(self) -> None:
        """Flush and close; may be called twice."""
        if self._fd >= 0:
            self.flush()
            os.close(self._fd)
            self._fd = -1
