"""Register access over the vfio-user socket."""

from __future__ import annotations

import time

from bench.measure import Effort, Row, interleave, process_cpu_s
from tlsnic.abi import registers
from tlsnic.driver.bus import Bus, open_bus
from tlsnic.qemu.peer.device import DeviceProcess
from tlsnic.qemu.workdir import work_directory

WRITES = 4096
BURST = 128
"""Writes between two reads: fewer than the socket holds, so that posting does not wait."""
READS = 2048


def _write(bus: Bus, pid: int, count: int) -> tuple[float, float, float]:
    """Microseconds of one posted write: the driver's part, until the card has it, the device's CPU."""
    write, read = bus.bar(0).write32, bus.bar(0).read32
    posting_s = 0.0
    before_s = process_cpu_s(pid)
    begin = time.perf_counter()
    for _ in range(0, count, BURST):
        start = time.perf_counter()
        for number in range(BURST):
            write(registers.RSS_KEY, number)
        posting_s += time.perf_counter() - start
        read(registers.RSS_KEY)
    done_s = time.perf_counter() - begin
    device_s = process_cpu_s(pid) - before_s
    return posting_s / count * 1e6, done_s / count * 1e6, device_s / count * 1e6


def _read(bus: Bus, count: int) -> float:
    read = bus.bar(0).read32
    start = time.perf_counter()
    for _ in range(count):
        read(registers.RSS_KEY)
    return (time.perf_counter() - start) / count * 1e6


def run(effort: Effort) -> list[Row]:
    """Posted register writes and register reads."""
    writes, reads = effort.count(WRITES, BURST), effort.count(READS)
    with work_directory() as directory, DeviceProcess(directory, "null") as device:
        pid = device.child.pid
        with open_bus(f"vfio-user:{device.socket_path}") as bus:
            parts = (0.0, 0.0, 0.0)

            def write() -> float:
                nonlocal parts
                parts = _write(bus, pid, writes)
                return parts[0]

            samples = interleave(
                effort.rounds,
                {"post": write, "read": lambda: _read(bus, reads)},
                lambda _: {"arrive": parts[1], "device": parts[2]},
            )
    return [
        samples.row("bus.write", "posted register write, until the driver goes on", "post"),
        samples.row("bus.write.done", "the same, until the card has taken it", "arrive"),
        samples.row("bus.write.device", "the same: CPU time of the device process", "device"),
        samples.row("bus.read", "register read, round trip", "read"),
    ]
