"""Plain transmit over the host socket: device process, reference driver, null wire.

The baseline copies the very buffers that are sent, 64 KiB each and all distinct, into one scratch
buffer: what moving the bytes once costs on this machine.
"""

from __future__ import annotations

import time

from bench.frames import CARD_MAC, HEADER_BYTES, MSS, PEER_MAC, SEND_BYTES, tcp_frame
from bench.measure import COST, SPEED, Effort, Row, Target, interleave, process_cpu_s
from tlsnic.abi.enums import TxFlags
from tlsnic.driver.bus import open_bus
from tlsnic.driver.nic import Nic, NicOptions
from tlsnic.qemu.peer.device import DeviceProcess
from tlsnic.qemu.workdir import work_directory

RING = 256
BATCH = 32
REPORT_EVERY = 32
MODERATION_US = 10_000
SENDS = 4096
_TIMEOUT_S = 10.0


class Sender:
    """A ring of distinct 64 KiB buffers, and sends of them in batches of one doorbell."""

    def __init__(self, nic: Nic) -> None:
        self._queue = nic.tx[0]
        frame = tcp_frame(CARD_MAC, PEER_MAC, SEND_BYTES)
        self._buffers = [nic.bus.dma_alloc(SEND_BYTES) for _ in range(RING)]
        for buffer in self._buffers:
            buffer.view[:] = frame
        self._next = 0
        self._scratch = memoryview(bytearray(SEND_BYTES))

    def send(self, count: int) -> float:
        """Send `count` buffers; microseconds per send until the last one is complete."""
        queue, buffers, position = self._queue, self._buffers, self._next
        post = queue.post
        flags = int(TxFlags.SEGMENT)
        start = time.perf_counter()
        for _ in range(0, count, BATCH):
            if queue.free < BATCH:
                queue.reap()
                queue.wait_free(RING, _TIMEOUT_S)
            for _ in range(BATCH):
                post(buffers[position].iova, SEND_BYTES, flags, 0, 0, MSS, HEADER_BYTES)
                position = (position + 1) % RING
            queue.flush()
        queue.drain(_TIMEOUT_S)
        elapsed_s = time.perf_counter() - start
        self._next = position
        return elapsed_s / count * 1e6

    def copy(self, count: int) -> float:
        """Copy `count` buffers into the scratch buffer; microseconds per buffer."""
        views = [buffer.view for buffer in self._buffers]
        scratch = self._scratch
        start = time.perf_counter()
        for _ in range(0, count, RING):
            for view in views:
                scratch[:] = view
        return (time.perf_counter() - start) / count * 1e6


def run(effort: Effort) -> list[Row]:
    """Segmented sends that the wire takes whole."""
    count = effort.count(SENDS, RING)
    with work_directory() as directory, DeviceProcess(directory, "null") as device:
        pid = device.child.pid
        options = NicOptions(tx_entries=2 * RING, rx_queues=0, tx_report_every=REPORT_EVERY)
        with (
            open_bus(f"vfio-user:{device.socket_path}") as bus,
            Nic.attach(bus, options) as nic,
        ):
            # As a driver under load has it: an interrupt per half ring, not per completion.
            nic.set_moderation(nic.tx[0].vector, MODERATION_US, RING // REPORT_EVERY)
            sender = Sender(nic)
            device_us = 0.0

            def send() -> float:
                nonlocal device_us
                before_s = process_cpu_s(pid)
                elapsed_us = sender.send(count)
                device_us = (process_cpu_s(pid) - before_s) / count * 1e6
                return elapsed_us

            samples = interleave(
                effort.rounds,
                {"send": send, "memcpy of the same buffers": lambda: sender.copy(count)},
                lambda _: {"device": device_us},
            )
            refused = nic.diagnostics()
            assert not refused.raised, f"the card refused a send: {refused}"
    baseline = "memcpy of the same buffers"
    return [
        samples.row(
            "transmit.socket",
            "64 KiB segmented send, driver to null wire",
            "send",
            baseline,
            kind=SPEED,
            target=Target(0.25),
        ),
        samples.row(
            "transmit.socket.device",
            "the same: CPU time of the device process",
            "device",
            baseline,
            kind=COST,
        ),
    ]
