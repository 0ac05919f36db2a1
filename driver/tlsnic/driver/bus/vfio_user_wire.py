"""The bytes of the vfio-user protocol: headers, payloads and the splitting of the stream.

vfio-user protocol specification, version 0.1 (docs/interop/vfio-user.rst of QEMU). All fields are
little-endian. Nothing here does I/O, except that a reader closes descriptors nobody took.
"""

from __future__ import annotations

import json
import os
from collections import deque
from struct import Struct

from .errors import BusProtocolError

# Commands
VERSION = 1
DMA_MAP = 2
DMA_UNMAP = 3
DEVICE_GET_INFO = 4
DEVICE_GET_REGION_INFO = 5
DEVICE_GET_REGION_IO_FDS = 6
DEVICE_GET_IRQ_INFO = 7
DEVICE_SET_IRQS = 8
REGION_READ = 9
REGION_WRITE = 10
DMA_READ = 11
DMA_WRITE = 12
DEVICE_RESET = 13

# Header flags
TYPE_MASK = 0xF
TYPE_COMMAND = 0
TYPE_REPLY = 1
FLAG_NO_REPLY = 1 << 4
FLAG_ERROR = 1 << 5

# DMA_MAP and DMA_UNMAP flags
DMA_READABLE = 1 << 0
DMA_WRITEABLE = 1 << 1
DMA_UNMAP_ALL = 1 << 1

MAJOR = 0
MINOR = 1
DEFAULT_MAX_FDS = 1
DEFAULT_MAX_DATA_BYTES = 1 << 20

HEADER = Struct("<HHIII")  # id, command, size, flags, error
REGION_ACCESS = Struct("<QII")  # offset, region, count
DMA_MAP_REQUEST = Struct("<IIQQQ")  # argsz, flags, offset, address, size
DMA_UNMAP_REQUEST = Struct("<IIQQ")  # argsz, flags, address, size
VERSION_START = Struct("<HH")  # major, minor

# A whole REGION_WRITE without reply: header and access in one, then the value.
POSTED_WRITE = {
    width: Struct("<HHIIIQII" + code) for width, code in ((1, "B"), (2, "H"), (4, "I"), (8, "Q"))
}


class Message:
    """One message: `id`, `command`, `flags`, `error` (an errno), `payload`, `fds` (owned)."""

    __slots__ = ("command", "error", "fds", "flags", "id", "payload")

    def __init__(
        self,
        msg_id: int,
        command: int,
        flags: int,
        error: int,
        *,
        payload: bytes,
        fds: list[int],
    ) -> None:
        self.id = msg_id
        self.command = command
        self.flags = flags
        self.error = error
        self.payload = payload
        self.fds = fds

    @property
    def is_reply(self) -> bool:
        return self.flags & TYPE_MASK == TYPE_REPLY

    def close_fds(self) -> None:
        """Close the descriptors that came along and were not taken out of `fds`."""
        while self.fds:
            os.close(self.fds.pop())


class MessageReader:
    """Splits the byte stream of the socket into messages, however it was cut up.

    Descriptors arrive beside the bytes: the kernel ends a read after the bytes that carry some,
    so they belong to the message which owns the last byte of that read.
    """

    def __init__(self, max_message_bytes: int) -> None:
        self.max_message_bytes = max_message_bytes
        self._buffer = bytearray()
        self._consumed = 0  # stream position of the buffer's first byte
        self._fds: deque[tuple[int, list[int]]] = deque()  # position of the last byte, fds

    def feed(self, data: bytes | bytearray | memoryview, fds: list[int] | None = None) -> None:
        """Add what one read gave."""
        self._buffer += data
        if fds:
            self._fds.append((self._consumed + len(self._buffer) - 1, fds))

    def next(self) -> Message | None:
        """The next complete message, or None. BusProtocolError: the stream cannot be followed."""
        buffer = self._buffer
        if len(buffer) < HEADER.size:
            return None
        msg_id, command, size, flags, error = HEADER.unpack_from(buffer)
        if size < HEADER.size:
            raise BusProtocolError(f"a message claims {size} bytes, less than its header")
        if size > self.max_message_bytes:
            raise BusProtocolError(
                f"a message of {size} bytes exceeds the agreed {self.max_message_bytes}"
            )
        if flags & TYPE_MASK not in (TYPE_COMMAND, TYPE_REPLY):
            raise BusProtocolError(f"a message has the unknown type {flags & TYPE_MASK}")
        if len(buffer) < size:
            return None
        payload = bytes(buffer[HEADER.size : size])
        del buffer[:size]
        self._consumed += size
        fds: list[int] = []
        while self._fds and self._fds[0][0] < self._consumed:
            fds += self._fds.popleft()[1]
        return Message(msg_id, command, flags, error, payload=payload, fds=fds)

    @property
    def pending_bytes(self) -> int:
        """Bytes of a message that is not complete yet."""
        return len(self._buffer)

    def close(self) -> None:
        """Close descriptors of messages that never became complete."""
        while self._fds:
            for fd in self._fds.popleft()[1]:
                os.close(fd)


class Limits:
    """What the server announced: `minor` version, `max_fds` and `max_data_bytes` per message."""

    __slots__ = ("max_data_bytes", "max_fds", "minor")

    def __init__(self, minor: int, max_fds: int, max_data_bytes: int) -> None:
        self.minor = minor
        self.max_fds = max_fds
        self.max_data_bytes = max_data_bytes


def version_request(max_fds: int, max_data_bytes: int) -> bytes:
    """Payload of our VERSION: what we accept in one message."""
    capabilities = {"max_msg_fds": max_fds, "max_data_xfer_size": max_data_bytes}
    text = json.dumps({"capabilities": capabilities}, separators=(",", ":"))
    return VERSION_START.pack(MAJOR, MINOR) + text.encode() + b"\0"


def parse_version(payload: bytes) -> Limits:
    """Decode the server's VERSION reply. BusProtocolError when it makes no sense."""
    if len(payload) < VERSION_START.size:
        raise BusProtocolError(f"the VERSION reply has {len(payload)} bytes, not even a version")
    major, minor = VERSION_START.unpack_from(payload)
    if major != MAJOR:
        raise BusProtocolError(f"the server speaks vfio-user {major}.{minor}, not {MAJOR}.x")
    text = payload[VERSION_START.size :].rstrip(b"\0")
    try:
        top = json.loads(text) if text else {}
    except ValueError as error:  # broken JSON, or not UTF-8
        raise BusProtocolError(f"the VERSION reply carries broken JSON: {error}") from None
    except RecursionError:
        raise BusProtocolError("the VERSION reply carries JSON nested beyond sense") from None
    capabilities = top.get("capabilities", {}) if isinstance(top, dict) else None
    if not isinstance(capabilities, dict):
        raise BusProtocolError("the capabilities of the VERSION reply are no JSON object")
    return Limits(
        minor,
        _number(capabilities, "max_msg_fds", DEFAULT_MAX_FDS),
        _number(capabilities, "max_data_xfer_size", DEFAULT_MAX_DATA_BYTES),
    )


def _number(capabilities: dict[str, object], name: str, default: int) -> int:
    value = capabilities.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise BusProtocolError(f"{name} in the VERSION reply is {value!r}, not a count")
    return value
