"""The pcapng capture format: writing frames with nanoseconds and direction, and reading any file.

Format: draft-ietf-opsawg-pcapng. Written are a Section Header, one Interface Description with
if_tsresol 9, and Enhanced Packet Blocks with epb_flags. Read are also Simple and (obsolete) Packet
Blocks, both byte orders, several sections and any timestamp resolution; other blocks are skipped.
"""

from __future__ import annotations

import contextlib
import enum
import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple, Self

from .base import Buffer, WireError

LINKTYPE_ETHERNET = 1
MAX_BLOCK_BYTES = 16 * 1024 * 1024
"""Longest block a reader takes; a longer one is a damaged length."""

_SECTION_HEADER = 0x0A0D0D0A
_INTERFACE_DESCRIPTION = 1
_PACKET_OBSOLETE = 2
_SIMPLE_PACKET = 3
_ENHANCED_PACKET = 6
_BYTE_ORDER_MAGIC = 0x1A2B3C4D
_PCAP_MAGICS = (
    b"\xa1\xb2\xc3\xd4",
    b"\xd4\xc3\xb2\xa1",
    b"\xa1\xb2\x3c\x4d",
    b"\x4d\x3c\xb2\xa1",
)

_OPT_END = 0
_OPT_COMMENT = 1
_IF_NAME = 2
_IF_TSRESOL = 9
_IF_TSOFFSET = 14
_SHB_USERAPPL = 4
_EPB_FLAGS = 2

_WRITE_BUFFER_BYTES = 64 * 1024
_EPB_HEAD = struct.Struct("<IIIIIII")
_EPB_TAIL = struct.Struct("<HHIHHI")
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")


class Direction(enum.IntEnum):
    """Which way a captured frame went (epb_flags, bits 0 and 1), seen from the NIC."""

    UNKNOWN = 0
    INBOUND = 1
    OUTBOUND = 2


class CapturedFrame(NamedTuple):
    """One packet of a capture.

    `timestamp_ns` counts from 1970, and is None for a Simple Packet Block. `original_bytes` is the
    length on the wire: more than `data` has if the capture cut it short.
    """

    data: bytes
    timestamp_ns: int | None
    direction: Direction
    link_type: int
    original_bytes: int
    comment: str


# -- writing ----------------------------------------------------------------------------------


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + value + _PADDING[len(value) % 4]


def _block(block_type: int, body: bytes) -> bytes:
    length = 12 + len(body)
    return struct.pack("<II", block_type, length) + body + struct.pack("<I", length)


class PcapngWriter:
    """Writes one section with one Ethernet interface.

    Args:
        path: the file, made or emptied.
        interface: its name in the capture.

    Raises:
        WireError: the file cannot be written (also from `write`, `flush` and `close`). What was
            written until then stays a valid file, and the writer is closed.
    """

    def __init__(self, path: str | os.PathLike[str], interface: str = "tlsnic") -> None:
        self.path = os.fspath(path)
        try:
            self._fd = os.open(
                self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644
            )
        except OSError as error:
            raise WireError(
                f"cannot write capture {self.path}: {error.strerror}", "choose another file"
            ) from error
        section = struct.pack("<IHHq", _BYTE_ORDER_MAGIC, 1, 0, -1)
        section += _option(_SHB_USERAPPL, b"tlsnic") + _option(_OPT_END, b"")
        description = struct.pack("<HHI", LINKTYPE_ETHERNET, 0, 0)
        description += _option(_IF_NAME, interface.encode()) + _option(_IF_TSRESOL, b"\x09")
        description += _option(_OPT_END, b"")
        self._buffer = bytearray(_block(_SECTION_HEADER, section))
        self._buffer += _block(_INTERFACE_DESCRIPTION, description)
        self._written_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    @property
    def closed(self) -> bool:
        return self._fd < 0

    def write(
        self,
        parts: Sequence[Buffer],
        timestamp_ns: int,
        direction: Direction,
        comment: str = "",
    ) -> None:
        """Append one frame.

        Args:
            parts: the frame, in pieces.
            timestamp_ns: since 1970, not negative.
            direction: seen from the NIC.
            comment: shown by Wireshark beside the frame; at most 65535 bytes of UTF-8.
        """
        if self._fd < 0:
            raise WireError(f"capture {self.path} is closed")
        size = sum(map(len, parts))
        padding = _PADDING[size % 4]
        remark = _option(_OPT_COMMENT, comment.encode()) if comment else b""
        total = 28 + size + len(padding) + len(remark) + 16
        buffer = self._buffer
        buffer += _EPB_HEAD.pack(
            _ENHANCED_PACKET,
            total,
            0,
            timestamp_ns >> 32,
            timestamp_ns & 0xFFFFFFFF,
            size,
            size,
        )
        for part in parts:
            buffer += part
        buffer += padding
        buffer += remark
        buffer += _EPB_TAIL.pack(_EPB_FLAGS, 4, direction, _OPT_END, 0, total)
        if len(buffer) >= _WRITE_BUFFER_BYTES:
            self.flush()

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


# -- reading ----------------------------------------------------------------------------------


@dataclass(slots=True)
class _Interface:
    link_type: int
    snap_bytes: int
    units_per_second: int = 1_000_000
    offset_s: int = 0

    def nanoseconds(self, high: int, low: int) -> int:
        units = high << 32 | low
        return units * 10**9 // self.units_per_second + self.offset_s * 10**9


class _DamagedError(Exception):
    """A block does not make sense; says why."""


class PcapngReader:
    """Iterates over the packets of a capture, in the order of the file.

    Args:
        stream: the file, open for reading in binary; it stays the caller's.
        label: its name for messages.

    Raises:
        WireError: from `__next__`: the file is damaged here, or not pcapng at all. It is then at
            its end.
    """

    def __init__(self, stream: BinaryIO, label: str) -> None:
        self._stream = stream
        self._label = label
        self._order = ""
        self._interfaces: list[_Interface] = []
        self._offset = 0
        self._frames = self._read()

    def __iter__(self) -> Iterator[CapturedFrame]:
        return self

    def __next__(self) -> CapturedFrame:
        return next(self._frames)

    def _read(self) -> Iterator[CapturedFrame]:
        try:
            while (block := self._next_block()) is not None:
                frame = self._parse(*block)
                if frame is not None:
                    yield frame
        except (_DamagedError, struct.error) as error:
            raise WireError(
                f"capture {self._label} is damaged in the block at byte {self._offset}: {error}",
                "repair it, for example with: editcap IN.pcapng OUT.pcapng",
            ) from error
        except OSError as error:
            raise WireError(f"cannot read capture {self._label}: {error.strerror}") from error

    def _exactly(self, count: int) -> bytes:
        data = self._stream.read(count)
        if len(data) != count:
            raise _DamagedError("the file ends in the middle of it")
        return data

    def _next_block(self) -> tuple[int, bytes] | None:
        """Type and body of the next block; None at the end of the file."""
        head = self._stream.read(8)
        if not head:
            if not self._order:
                raise _DamagedError("the file is empty")
            return None
        if len(head) != 8:
            raise _DamagedError("the file ends in the middle of it")
        lead = b""
        if head[:4] == struct.pack("<I", _SECTION_HEADER):
            lead = self._exactly(4)
            self._start_section(lead)
        elif not self._order:
            if head[:4] in _PCAP_MAGICS:
                raise WireError(
                    f"{self._label} is a pcap file, not pcapng",
                    "convert it: editcap -F pcapng IN.pcap OUT.pcapng",
                )
            raise _DamagedError("it is no pcapng section header")
        block_type, length = struct.unpack(self._order + "II", head)
        if length % 4 or not 12 + len(lead) <= length <= MAX_BLOCK_BYTES:
            raise _DamagedError(f"its length is {length} bytes")
        body = lead + self._exactly(length - 12 - len(lead))
        (again,) = struct.unpack(self._order + "I", self._exactly(4))
        if again != length:
            raise _DamagedError(f"its lengths differ: {length} and {again}")
        self._offset += length
        return block_type, body

    def _start_section(self, magic: bytes) -> None:
        for order in "<>":
            if magic == struct.pack(order + "I", _BYTE_ORDER_MAGIC):
                self._order = order
                self._interfaces = []
                return
        raise _DamagedError(f"its byte-order magic is {magic.hex()}")

    def _parse(self, block_type: int, body: bytes) -> CapturedFrame | None:
        order = self._order
        if block_type == _SECTION_HEADER:
            major = struct.unpack_from(order + "H", body, 4)[0]
            if major != 1:
                raise _DamagedError(f"its version is {major}")
        elif block_type == _INTERFACE_DESCRIPTION:
            self._interfaces.append(self._parse_interface(body))
        elif block_type == _ENHANCED_PACKET:
            number, high, low, size, original = struct.unpack_from(order + "IIIII", body)
            return self._packet(body, 20, number, (high, low), (size, original))
        elif block_type == _PACKET_OBSOLETE:
            number, _, high, low, size, original = struct.unpack_from(order + "HHIIII", body)
            return self._packet(body, 20, number, (high, low), (size, original))
        elif block_type == _SIMPLE_PACKET:
            (original,) = struct.unpack_from(order + "I", body)
            snap = self._interface(0).snap_bytes
            size = min(original, snap) if snap else original
            return self._packet(body, 4, 0, None, (size, original))
        return None

    def _parse_interface(self, body: bytes) -> _Interface:
        link_type, _, snap = struct.unpack_from(self._order + "HHI", body)
        interface = _Interface(link_type, snap)
        for code, value in self._options(body, 8):
            if code == _IF_TSRESOL and len(value) == 1:
                exponent = value[0] & 0x7F
                interface.units_per_second = (2 if value[0] & 0x80 else 10) ** exponent
            elif code == _IF_TSOFFSET and len(value) == 8:
                (interface.offset_s,) = struct.unpack(self._order + "q", value)
        return interface

    def _interface(self, number: int) -> _Interface:
        if number >= len(self._interfaces):
            raise _DamagedError(f"it names interface {number} of {len(self._interfaces)}")
        return self._interfaces[number]

    def _packet(
        self,
        body: bytes,
        begin: int,
        number: int,
        when: tuple[int, int] | None,
        lengths: tuple[int, int],
    ) -> CapturedFrame:
        size, original = lengths
        interface = self._interface(number)
        end = begin + size
        if end > len(body):
            raise _DamagedError(f"its packet of {size} bytes does not fit")
        direction = Direction.UNKNOWN
        comment = ""
        if when is not None:
            for code, value in self._options(body, end + -size % 4):
                if code == _EPB_FLAGS and len(value) == 4:
                    bits = struct.unpack(self._order + "I", value)[0] & 3
                    direction = Direction(bits) if bits != 3 else Direction.UNKNOWN
                elif code == _OPT_COMMENT:
                    comment = value.decode(errors="replace")
        return CapturedFrame(
            body[begin:end],
            None if when is None else interface.nanoseconds(*when),
            direction,
            interface.link_type,
            original,
            comment,
        )

    def _options(self, body: bytes, at: int) -> Iterator[tuple[int, bytes]]:
        while at + 4 <= len(body):
            code, length = struct.unpack_from(self._order + "HH", body, at)
            if code == _OPT_END:
                return
            at += 4
            if at + length > len(body):
                raise _DamagedError(f"its option {code} of {length} bytes does not fit")
            yield code, body[at : at + length]
            at += length + -length % 4
