"""A raw vfio-user client for tests: framing and file descriptors, nothing else."""

import array
import json
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass

HEADER = struct.Struct("<HHIII")
VERSION, DMA_MAP, DMA_UNMAP, GET_INFO, GET_REGION_INFO = 1, 2, 3, 4, 5
GET_IRQ_INFO, SET_IRQS, REGION_READ, REGION_WRITE = 7, 8, 9, 10
DMA_READ, DMA_WRITE, DEVICE_RESET = 11, 12, 13
NO_REPLY = 0x10
CONFIG = 7
MSIX = 2


@dataclass
class Reply:
    """One message from the server."""

    message_id: int
    command: int
    flags: int
    error: int
    payload: bytes
    fds: list[int]


class Client:
    """A connected client; `pump` lets the server under test handle what was sent."""

    def __init__(self, path: str, pump: Callable[[], object]) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(5)
        self.socket.connect(path)
        self.pump = pump
        self._id = 0

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send_raw(self, data: bytes, fds: list[int] | None = None) -> None:
        control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.socket.sendmsg([data], control)

    def send(
        self, command: int, payload: bytes = b"", fds: list[int] | None = None, flags: int = 0
    ) -> int:
        self._id = (self._id + 1) & 0xFFFF
        header = HEADER.pack(self._id, command, HEADER.size + len(payload), flags, 0)
        self.send_raw(header + payload, fds)
        return self._id

    def receive(self) -> Reply:
        head, fds, _, _ = socket.recv_fds(self.socket, HEADER.size, 16)
        if len(head) != HEADER.size:
            raise ConnectionError(f"server closed after {len(head)} bytes")
        message_id, command, size, flags, error = HEADER.unpack(head)
        payload = b""
        while len(payload) < size - HEADER.size:
            payload += self.socket.recv(size - HEADER.size - len(payload))
        return Reply(message_id, command, flags, error, payload, list(fds))

    def call(self, command: int, payload: bytes = b"", fds: list[int] | None = None) -> Reply:
        sent = self.send(command, payload, fds)
        self.pump()
        reply = self.receive()
        assert (reply.message_id, reply.command, reply.flags & 0xF) == (sent, command, 1)
        return reply

    def negotiate(self, capabilities: dict[str, object] | None = None) -> Reply:
        caps = {"max_msg_fds": 8, "max_data_xfer_size": 1 << 20, **(capabilities or {})}
        text = json.dumps({"capabilities": caps}).encode() + b"\0"
        return self.call(VERSION, struct.pack("<HH", 0, 1) + text)

    def map_dma(self, iova: int, size: int, fd: int = -1, offset: int = 0, prot: int = 3) -> int:
        payload = struct.pack("<IIQQQ", 32, prot, offset, iova, size)
        return self.call(DMA_MAP, payload, [fd] if fd >= 0 else None).error

    def unmap_dma(self, iova: int, size: int) -> int:
        return self.call(DMA_UNMAP, struct.pack("<IIQQ", 24, 0, iova, size)).error

    def read(self, region: int, offset: int, count: int) -> bytes | int:
        """Return the bytes, or the errno of the reply."""
        reply = self.call(REGION_READ, struct.pack("<QII", offset, region, count))
        return reply.error or reply.payload[16:]

    def write(self, region: int, offset: int, data: bytes) -> int:
        payload = struct.pack("<QII", offset, region, len(data)) + data
        return self.call(REGION_WRITE, payload).error

    def post(self, region: int, offset: int, data: bytes) -> None:
        """Write without asking for a reply, and do not pump."""
        payload = struct.pack("<QII", offset, region, len(data)) + data
        self.send(REGION_WRITE, payload, flags=NO_REPLY)

    def set_irqs(
        self, start: int, count: int, fds: list[int] | None = None, *, index: int = MSIX
    ) -> int:
        """Give eventfds for vectors; without any, disable them."""
        flags = 0x24  # ACTION_TRIGGER, DATA_EVENTFD
        return self.call(SET_IRQS, struct.pack("<IIIII", 20, flags, index, start, count), fds).error
