"""Receive of 1448-byte frames: stream wire, device process, reference driver.

The baseline is `socket.recv_into` of one datagram of as many bytes that is there already: what a frame
costs a program that takes it from a socket, and does nothing with it.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from bench.frames import CARD_MAC, PEER_MAC, RECEIVED_BYTES, tcp_frame
from bench.measure import COST, Effort, Row, Target, interleave, process_cpu_s
from tlsnic.abi.enums import HashType, Offload
from tlsnic.driver.access import Deadline
from tlsnic.driver.bus import open_bus
from tlsnic.driver.nic import Nic, NicOptions
from tlsnic.qemu.peer.device import DeviceProcess
from tlsnic.qemu.workdir import work_directory

BATCH = 64
QUEUED = 8
"""Datagrams that the baseline's socket holds, below net.unix.max_dgram_qlen."""
RING = 1024
IN_FLIGHT = 11 * BATCH
"""Below the buffers that the card surely has: the driver gives a quarter of the ring back at a time."""
MODERATION_US = 10_000
MODERATION_FRAMES = 4 * BATCH
FRAMES = 16384
_TIMEOUT_S = 10.0
RECV_INTO = "recv_into of 1448 bytes"


class Baseline:
    """`recv_into` from a pair of datagram sockets that holds `QUEUED` frames at a time."""

    def __init__(self) -> None:
        self._near, self._far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._data = bytes(RECEIVED_BYTES)
        self._buffer = bytearray(RECEIVED_BYTES)

    def receive(self, count: int) -> float:
        """Microseconds per call; sending is not timed."""
        receive, buffer = self._near.recv_into, self._buffer
        elapsed_s = 0.0
        for _ in range(0, count, QUEUED):
            for _ in range(QUEUED):
                self._far.send(self._data)
            start = time.perf_counter()
            for _ in range(QUEUED):
                receive(buffer)
            elapsed_s += time.perf_counter() - start
        return elapsed_s / count * 1e6

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._near.close()
        self._far.close()


class Stream:
    """The far end of the card's wire, and the driver that takes what arrives."""

    def __init__(self, nic: Nic, wire: socket.socket) -> None:
        self._queue = nic.rx[0]
        self._wire = wire
        frame = tcp_frame(PEER_MAC, CARD_MAC, RECEIVED_BYTES)
        self._data = (RECEIVED_BYTES.to_bytes(4, "big") + frame) * BATCH

    def receive(self, count: int) -> float:
        """Microseconds per frame, from the wire's far end to the driver's caller."""
        queue, data = self._queue, self._data
        sent = taken = 0
        start = time.perf_counter()
        while taken < count:
            while sent < count and sent - taken <= IN_FLIGHT - BATCH:
                self._wire.sendall(data)
                sent += BATCH
            packets = len(queue.poll(copy=False))
            queue.recycle()
            taken += packets
            if not packets and not queue.wait(_TIMEOUT_S):
                raise TimeoutError(f"{sent - taken} frames did not arrive")
        return (time.perf_counter() - start) / count * 1e6


def _connect(path: Path) -> socket.socket:
    wire = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        wire.connect(str(path))
    except BaseException:
        wire.close()
        raise
    return wire


def _await_link(nic: Nic) -> None:
    deadline = Deadline(_TIMEOUT_S)
    while not nic.link_up:
        if not deadline.left_s:
            raise TimeoutError("the link did not come up")


@contextmanager
def open_stream() -> Iterator[tuple[DeviceProcess, Stream]]:
    """A device, and frames through it, with checksum check and RSS."""
    with work_directory() as directory:
        path = directory / "wire.sock"
        with (
            DeviceProcess(directory, f"unix-listen:{path}") as device,
            _connect(path) as wire,
            open_bus(f"vfio-user:{device.socket_path}") as bus,
            Nic.attach(bus, NicOptions(tx_queues=0, rx_entries=RING)) as nic,
        ):
            nic.offloads = Offload.RX_CHECKSUM
            nic.set_rss(bytes(range(40)), [0] * 128, HashType.IPV4 | HashType.TCP_IPV4)
            # As a driver under load has it: an interrupt per batch, not per frame.
            nic.set_moderation(nic.rx[0].vector, MODERATION_US, MODERATION_FRAMES)
            _await_link(nic)
            yield device, Stream(nic, wire)


def run(effort: Effort) -> list[Row]:
    """Frames of 1448 bytes with checksum check and RSS."""
    count = effort.count(FRAMES, BATCH)
    device_us = 0.0
    with Baseline() as baseline, open_stream() as (device, stream):
        pid = device.child.pid

        def receive() -> float:
            nonlocal device_us
            before_s = process_cpu_s(pid)
            elapsed_us = stream.receive(count)
            device_us = (process_cpu_s(pid) - before_s) / count * 1e6
            return elapsed_us

        samples = interleave(
            effort.rounds,
            {"receive": receive, RECV_INTO: lambda: baseline.receive(count)},
            lambda _: {"device": device_us},
        )
    target = Target(12, at_most=True)
    return [
        samples.row(
            "receive.socket",
            "1448-byte frame, wire to the driver's caller",
            "receive",
            RECV_INTO,
            kind=COST,
            target=target,
        ),
        samples.row(
            "receive.socket.device",
            "the same: CPU time of the device process",
            "device",
            RECV_INTO,
            kind=COST,
            target=target,
        ),
    ]
