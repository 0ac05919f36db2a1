"""Addresses of the two stacks of a traffic test, and the data that goes between them.

Standard library only: both ends use it, and one of them can be a guest.
"""

from __future__ import annotations

import hashlib
import random
import socket
from collections.abc import Iterator

FAR_ADDRESS, NEAR_ADDRESS = "10.73.84.1", "10.73.84.2"
FAR_ADDRESS6, NEAR_ADDRESS6 = "fd74:6c73::1", "fd74:6c73::2"
PREFIX, PREFIX6 = 24, 64
VLAN_ID = 5
"""Of the host in the network of the KTLS tests."""
_BLOCK_BYTES = 1 << 20


def blocks(size_bytes: int, seed: int) -> Iterator[bytes]:
    """`size_bytes` of data in which no two blocks are alike, in blocks of at most 1 MiB."""
    body = random.Random(seed).randbytes(_BLOCK_BYTES - 8)
    for index in range(-(-size_bytes // _BLOCK_BYTES)):
        left = size_bytes - index * _BLOCK_BYTES
        yield (index.to_bytes(8, "big") + body)[:left]


def send_all(connection: socket.socket, size_bytes: int, seed: int) -> str:
    """Send the data of `blocks` and end the stream; its SHA-256."""
    digest = hashlib.sha256()
    for block in blocks(size_bytes, seed):
        digest.update(block)
        connection.sendall(block)
    connection.shutdown(socket.SHUT_WR)
    return digest.hexdigest()


def receive_all(connection: socket.socket) -> tuple[str, int]:
    """Take everything to the end of the stream: its SHA-256, and its bytes."""
    digest = hashlib.sha256()
    size_bytes = 0
    buffer = bytearray(_BLOCK_BYTES)
    view = memoryview(buffer)
    while count := connection.recv_into(buffer):
        digest.update(view[:count])
        size_bytes += count
    return digest.hexdigest(), size_bytes


def numbered(block: bytes, count: int) -> Iterator[bytes]:
    """`block` so often, each time behind its number: data of which no two pieces are alike."""
    for number in range(count):
        yield number.to_bytes(4, "big") + block
