"""Malformed messages against the real library, in a process of its own: it must live on."""

import contextlib
import os
import random
import select
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Device
from raw_client import (
    DMA_MAP,
    DMA_UNMAP,
    HEADER,
    REGION_READ,
    REGION_WRITE,
    SET_IRQS,
    VERSION,
    Client,
)

from tlsnic.device.vfu import Library, VfuDisconnected, capabilities

MSIX_OFFSET = 0x40


def serve(path: Path, library: Library, ready: int, stop: int) -> None:
    """Run the device until `stop` is readable, in a forked child."""
    device = Device(path, library, stall_timeout_s=0.02, negotiation_timeout_s=0.2)
    device.context.add_capability(
        capabilities.msix(4, table_bar=0, table_offset=0, pba_bar=0, pba_offset=0x800)
    )
    device.context.add_capability(capabilities.express_endpoint())
    device.context.add_capability(capabilities.power_management())
    device.realize()
    os.write(ready, b"!")
    while True:
        readable, _, _ = select.select([device.context, stop], [], [])
        if stop in readable:
            device.context.close()
            return
        with contextlib.suppress(VfuDisconnected):
            device.context.run()
        for region in device.dma.regions:
            if not region.inaccessible and region.readable:
                device.dma.view1(region.iova, 1).tobytes()


class Server:
    """The forked device."""

    def __init__(self, path: Path, library: Library) -> None:
        self.path = path
        ready, child_ready = os.pipe()
        child_stop, self._stop = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            code = 3
            try:
                os.close(self._stop)
                serve(path, library, child_ready, child_stop)
                code = 0
            finally:
                os._exit(code)
        os.close(child_ready)
        os.close(child_stop)
        assert os.read(ready, 1) == b"!"
        os.close(ready)

    def connect(self) -> Client:
        client = Client(str(self.path), lambda: None)
        assert client.negotiate().error == 0
        return client

    def finish(self) -> int:
        """Stop it, if it still lives, and return its exit status: negative for a signal."""
        os.close(self._stop)
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status)


@pytest.fixture
def server(tmp_path: Path, library: Library) -> Iterator[Server]:
    started = Server(tmp_path / "fuzz.sock", library)
    yield started
    assert started.finish() == 0


def try_send(client: Client, message: bytes, fds: list[int] | None = None) -> None:
    with contextlib.suppress(ConnectionError, TimeoutError):
        client.send_raw(message, fds)


def drain(client: Client) -> None:
    """Read replies until the server has answered a last good request, or hung up."""
    with contextlib.suppress(ConnectionError, TimeoutError):
        client.socket.shutdown(socket.SHUT_WR)
        while client.socket.recv(65536):
            pass
    client.close()


def test_wrapping_vector_range_is_refused(server: Server) -> None:
    """0b28d205 would close descriptors far past its table: start + count wraps to 0."""
    with server.connect() as client:
        for flags in (0x21, 0x24):
            payload = struct.pack("<IIIII", 20, flags, 2, 1, 0xFFFFFFFF)
            assert client.call(SET_IRQS, payload).error == 22
        assert client.read(0, 0, 4) == bytes(4)


def test_config_write_past_a_capability_is_refused(server: Server) -> None:
    """The library would copy 12 bytes to the tenth of a structure of 12 on its stack."""
    with server.connect() as client:
        assert client.write(7, MSIX_OFFSET + 10, b"A" * 12) == 22
        assert client.write(7, MSIX_OFFSET + 2, struct.pack("<H", 0x8000)) == 0


def test_impossible_dma_maps_are_refused(server: Server) -> None:
    fd = os.memfd_create("ram")
    os.ftruncate(fd, 8192)
    with server.connect() as client:
        assert client.map_dma(0x1000, 0, fd) == 22
        assert client.map_dma((1 << 64) - 4096, 8192, fd) == 22
        assert client.map_dma(0x1000, 1 << 60, fd) != 0
        assert client.map_dma(0x1000, 4096, fd, offset=1 << 62) in (0, 22, 75)
        assert client.read(0, 0, 4) == bytes(4)
    os.close(fd)


@pytest.mark.parametrize("command", [DMA_MAP, DMA_UNMAP])
def test_structures_cut_short_are_refused(server: Server, command: int) -> None:
    with server.connect() as client:
        for length in (1, 4, 8, 23):
            assert client.call(command, bytes(length)).error == 22
        assert client.read(0, 0, 4) == bytes(4)


def test_impossible_sizes_end_the_connection(server: Server) -> None:
    for size in (0, 15, (1 << 20) + 33, 0xFFFFFFFF):
        with server.connect() as client:
            client.send_raw(HEADER.pack(1, REGION_READ, size, 0, 0))
            assert client.socket.recv(1) == b""


def test_descriptors_apart_from_their_message_end_the_connection(server: Server) -> None:
    with server.connect() as client, socket.socket(socket.AF_UNIX) as other:
        message = HEADER.pack(1, DMA_MAP, 48, 0, 0) + struct.pack("<IIQQQ", 32, 3, 0, 0, 4096)
        client.send_raw(message[:16], [other.fileno()])
        client.send_raw(message[16:])
        assert client.socket.recv(1) == b""


COMMANDS = (0, *range(DMA_MAP, 19), 255)


def good_message(rng: random.Random) -> tuple[int, bytes]:
    command = rng.choice(COMMANDS)

    def word() -> int:
        return rng.choice([0, 1, 2, 4, 7, 8, 16, 24, 32, 64, 4096, rng.getrandbits(32)])

    def long() -> int:
        return rng.choice([0, 1, 4096, 1 << 20, 1 << 40, rng.getrandbits(64)])

    if command in (REGION_READ, REGION_WRITE):
        count = rng.choice([0, 1, 2, 4, 8, 64, 4096, rng.getrandbits(32)])
        offset = rng.choice([0, 4, 0x10, 0x34, 0x40, 0x4C, 0x100, 4095, long()])
        body = struct.pack("<QII", offset, rng.randrange(12), count)
        return command, body + rng.randbytes(min(count, 4096) if command == REGION_WRITE else 0)
    if command == DMA_MAP:
        return command, struct.pack("<IIQQQ", 32, word() & 31, long(), long(), long())
    if command == DMA_UNMAP:
        body = struct.pack("<IIQQ", word(), rng.randrange(5), long(), long())
        return command, body + struct.pack("<QQ", long(), long())[: rng.choice([0, 8, 16])]
    if command == SET_IRQS:
        return command, struct.pack(
            "<IIIII", 20, word() & 0x3F, rng.randrange(7), word(), word()
        ) + rng.randbytes(rng.choice([0, 1, 4, 16]))
    fields = [word() for _ in range(rng.choice([0, 1, 2, 4, 8, 10]))]
    return command, struct.pack(f"<{len(fields)}I", *fields)


@pytest.mark.parametrize("seed", range(6))
def test_random_messages_never_kill_the_server(server: Server, seed: int) -> None:
    rng = random.Random(seed)
    memory = os.memfd_create("ram")
    os.ftruncate(memory, 1 << 16)
    event = os.eventfd(0, os.EFD_NONBLOCK)
    null = os.open("/dev/null", os.O_RDWR)
    choices = [[memory], [event], [null], [event] * 4, [memory] * 8, [null] * 16]
    for _ in range(25):
        client = server.connect()
        client.socket.settimeout(2)
        for number in range(20):
            command, body = good_message(rng)
            size = HEADER.size + len(body)
            if rng.random() < 0.03:
                size = rng.choice([0, 8, 15, 16, 17, size + 1, size - 1, 1 << 20, 1 << 31])
            flags = rng.choice([0, 0, 0, 0x10, 0x10, 1, 0x20, 0xFFFFFFFF])
            message = HEADER.pack(number, command, size & 0xFFFFFFFF, flags, 0) + body
            if rng.random() < 0.03:
                message = message[: rng.randrange(len(message) + 1)] or b"\0"
            try_send(client, message, rng.choice(choices) if rng.random() < 0.3 else None)
        drain(client)
    for fd in (memory, event, null):
        os.close(fd)
    with server.connect() as client:
        assert client.read(0, 0, 4) is not None


def test_client_that_leaves_at_any_byte_leaves_a_clean_server(server: Server) -> None:
    for count in range(57):
        client = Client(str(server.path), lambda: None)
        with client:
            body = struct.pack("<QII", 0, 0, 4) + b"abcd"
            greeting = struct.pack("<HHIIIHH", 1, VERSION, 20, 0, 0, 0, 1)
            write = HEADER.pack(1, REGION_WRITE, 36, 0, 0) + body
            client.send_raw((greeting + write)[:count] or b"\0")
            drain(client)
    with server.connect() as client:
        assert client.write(0, 0, b"1234") == 0
