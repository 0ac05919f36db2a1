"""Reads any pcapng file: its packets, and what decrypts them.

Read are Enhanced, Simple and (obsolete) Packet Blocks and Decryption Secrets Blocks, in both byte
orders, several sections and any timestamp resolution; other blocks are skipped.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

from .base import WireError
from .pcapng import (
    BYTE_ORDER_MAGIC,
    DECRYPTION_SECRETS,
    ENHANCED_PACKET,
    EPB_FLAGS,
    IF_NAME,
    IF_TSOFFSET,
    IF_TSRESOL,
    INTERFACE_DESCRIPTION,
    OPT_COMMENT,
    OPT_END,
    PACKET_OBSOLETE,
    SECTION_HEADER,
    SIMPLE_PACKET,
    Direction,
)

MAX_BLOCK_BYTES = 16 * 1024 * 1024
"""Longest block a reader takes; a longer one is a damaged length."""

_PCAP_MAGICS = (
    b"\xa1\xb2\xc3\xd4",
    b"\xd4\xc3\xb2\xa1",
    b"\xa1\xb2\x3c\x4d",
    b"\x4d\x3c\xb2\xa1",
)


class CapturedFrame(NamedTuple):
    """One packet of a capture.

    `timestamp_ns` counts from 1970, and is None for a Simple Packet Block. `original_bytes` is the
    length on the wire: more than `data` has if the capture cut it short. `interface` is the name
    of the interface, empty if it has none.
    """

    data: bytes
    timestamp_ns: int | None
    direction: Direction
    link_type: int
    original_bytes: int
    comment: str
    interface: str = ""


@dataclass(slots=True)
class _Interface:
    link_type: int
    snap_bytes: int
    name: str = ""
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
        self.secrets: list[tuple[int, bytes]] = []
        """Type and contents of the Decryption Secrets Blocks read so far."""
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
        if head[:4] == struct.pack("<I", SECTION_HEADER):
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
            if magic == struct.pack(order + "I", BYTE_ORDER_MAGIC):
                self._order = order
                self._interfaces = []
                return
        raise _DamagedError(f"its byte-order magic is {magic.hex()}")

    def _parse(self, block_type: int, body: bytes) -> CapturedFrame | None:
        order = self._order
        if block_type == SECTION_HEADER:
            major = struct.unpack_from(order + "H", body, 4)[0]
            if major != 1:
                raise _DamagedError(f"its version is {major}")
        elif block_type == INTERFACE_DESCRIPTION:
            self._interfaces.append(self._parse_interface(body))
        elif block_type == ENHANCED_PACKET:
            number, high, low, size, original = struct.unpack_from(order + "IIIII", body)
            return self._packet(body, 20, number, (high, low), (size, original))
        elif block_type == PACKET_OBSOLETE:
            number, _, high, low, size, original = struct.unpack_from(order + "HHIIII", body)
            return self._packet(body, 20, number, (high, low), (size, original))
        elif block_type == SIMPLE_PACKET:
            (original,) = struct.unpack_from(order + "I", body)
            snap = self._interface(0).snap_bytes
            size = min(original, snap) if snap else original
            return self._packet(body, 4, 0, None, (size, original))
        elif block_type == DECRYPTION_SECRETS:
            secrets_type, size = struct.unpack_from(order + "II", body)
            if 8 + size > len(body):
                raise _DamagedError(f"its secrets of {size} bytes do not fit")
            self.secrets.append((secrets_type, body[8 : 8 + size]))
        return None

    def _parse_interface(self, body: bytes) -> _Interface:
        link_type, _, snap = struct.unpack_from(self._order + "HHI", body)
        interface = _Interface(link_type, snap)
        for code, value in self._options(body, 8):
            if code == IF_NAME:
                interface.name = value.decode(errors="replace")
            elif code == IF_TSRESOL and len(value) == 1:
                exponent = value[0] & 0x7F
                interface.units_per_second = (2 if value[0] & 0x80 else 10) ** exponent
            elif code == IF_TSOFFSET and len(value) == 8:
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
                if code == EPB_FLAGS and len(value) == 4:
                    bits = struct.unpack(self._order + "I", value)[0] & 3
                    direction = Direction(bits) if bits != 3 else Direction.UNKNOWN
                elif code == OPT_COMMENT:
                    text = value.decode(errors="replace")
                    comment = f"{comment}\n{text}" if comment else text
        return CapturedFrame(
            body[begin:end],
            None if when is None else interface.nanoseconds(*when),
            direction,
            interface.link_type,
            original,
            comment,
            interface.name,
        )

    def _options(self, body: bytes, at: int) -> Iterator[tuple[int, bytes]]:
        while at + 4 <= len(body):
            code, length = struct.unpack_from(self._order + "HH", body, at)
            if code == OPT_END:
                return
            at += 4
            if at + length > len(body):
                raise _DamagedError(f"its option {code} of {length} bytes does not fit")
            yield code, body[at : at + length]
            at += length + -length % 4
