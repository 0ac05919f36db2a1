"""Memory of the device process that serves one card and does nothing."""

from __future__ import annotations

from pathlib import Path

from bench.measure import Effort, Row, Target
from tlsnic.driver.bus import open_bus
from tlsnic.driver.nic import Nic
from tlsnic.qemu.peer.device import DeviceProcess
from tlsnic.qemu.workdir import work_directory


def resident_mib(pid: int) -> float:
    """VmRSS of a process, MiB (proc(5))."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"process {pid} has no memory of its own any more")


def run(_effort: Effort) -> list[Row]:
    """Resident memory after start, and with a driver attached."""
    target = Target(150, at_most=True)
    with work_directory() as directory, DeviceProcess(directory, "null") as device:
        idle = resident_mib(device.child.pid)
        with open_bus(f"vfio-user:{device.socket_path}") as bus, Nic.attach(bus):
            attached = resident_mib(device.child.pid)
    return [
        Row("memory.idle", "device process, nobody connected", idle, "MiB", target=target),
        Row("memory.attached", "device process, driver attached", attached, "MiB", target=target),
    ]
