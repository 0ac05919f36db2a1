"""Where the suite runs. On the host it starts its own device; in a guest everything is there."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
from abc import ABC, abstractmethod
from pathlib import Path

SIDE_HOST, SIDE_GUEST = "host", "guest"
_PCI_ID = ("0x1234", "0x715c")
_PCI_DEVICES = Path("/sys/bus/pci/devices")


class Environment(ABC):
    """The card under test (`bus_spec`), and the host (`call`)."""

    side: str
    bus_spec: str

    @abstractmethod
    def call(self, method: str, timeout_s: float = 30.0, **params: object) -> object:
        """A method of `tlsnic.qemu.peer.Service`; raises what it raises, or a RemoteError."""

    @abstractmethod
    def traffic_bus_spec(self) -> str:
        """A second card, whose wire is a TAP in a namespace of the host."""

    @abstractmethod
    def device_log(self) -> str:
        """What the device printed since this was called last; empty where it cannot be told."""

    def describe(self) -> dict[str, object]:
        """For reports."""
        return {
            "side": self.side,
            "bus": self.bus_spec.partition(":")[0],
            "kernel": platform.release(),
            "machine": platform.machine(),
            "python": platform.python_version(),
        }

    @abstractmethod
    def close(self) -> list[str]:
        """Stop everything that was started; what was wrong with it, a sentence each."""


class HostEnvironment(Environment):
    """The device is a process of its own, reached over its vfio-user socket."""

    side = SIDE_HOST

    def __init__(self) -> None:
        from tlsnic.qemu.peer.device import DeviceProcess  # noqa: PLC0415 - not in a guest
        from tlsnic.qemu.peer.service import Service  # noqa: PLC0415
        from tlsnic.qemu.workdir import work_directory  # noqa: PLC0415

        with contextlib.ExitStack() as undo:
            directory = undo.enter_context(work_directory())
            self._service = Service(directory)
            undo.callback(self._service.close)
            self._device = DeviceProcess(directory, self._service.far_end.spec)
            undo.callback(self._device.stop)
            self._undo = undo.pop_all()
        self._methods = self._service.methods()
        self.bus_spec = f"vfio-user:{self._device.socket_path}"
        self._told = 0

    def call(self, method: str, timeout_s: float = 30.0, **params: object) -> object:
        return self._methods[method](**params)

    def traffic_bus_spec(self) -> str:
        return f"vfio-user:{self._service.traffic.start_device().socket_path}"

    def device_log(self) -> str:
        text = self._device.log()
        new, self._told = text[self._told :], len(text)
        return new

    def close(self) -> list[str]:
        problems = [] if self._device.alive else ["the device process has died"]
        status = self._device.stop()
        if status and not problems:
            problems.append(f"the device process ended with {status} when it was told to stop")
        if problems:
            problems.append(self._device.log())
        self._undo.close()
        return problems


class GuestEnvironment(Environment):
    """The card is a PCI function, the host at the other end of a virtio-serial port.

    TLSNIC_BUS is "uio" or "vfio"; the first card is the one under test, the second one's wire is a
    TAP of the host.
    """

    side = SIDE_GUEST

    def __init__(self) -> None:
        from tlsnic.qemu.channel import Channel  # noqa: PLC0415

        self._way = way_in_guest()
        self._cards = pci_functions()
        if not self._cards:
            raise RuntimeError("this guest has no tlsnic card")
        self.bus_spec = f"{self._way}:{self._cards[0]}"
        if self._way == "vfio":
            trust_the_iommu()
        self._channel = Channel.open(os.environ["TLSNIC_CONTROL"])

    def call(self, method: str, timeout_s: float = 30.0, **params: object) -> object:
        return self._channel.call(method, params, timeout_s=timeout_s)

    def traffic_bus_spec(self) -> str:
        if len(self._cards) < 2:
            raise RuntimeError("this guest has no second card")
        return f"{self._way}:{self._cards[1]}"

    def device_log(self) -> str:
        return ""  # the host shows it

    def close(self) -> list[str]:
        self._channel.close()
        return []


def trust_the_iommu() -> None:
    """Let vfio-pci use an IOMMU that does not remap interrupts.

    QEMU's does so only with kernel-irqchip=split, with which TCG hangs. In a guest that lives for
    one test run, the device is not an enemy.
    """
    subprocess.run(["modprobe", "vfio_iommu_type1"], check=True)
    parameters = Path("/sys/module/vfio_iommu_type1/parameters")
    (parameters / "allow_unsafe_interrupts").write_text("Y\n")


def pci_functions() -> list[str]:
    """PCI addresses of the cards in this machine, in bus order."""
    found = []
    for path in sorted(_PCI_DEVICES.iterdir()):
        with contextlib.suppress(OSError):
            identity = tuple((path / name).read_text().strip() for name in ("vendor", "device"))
            if identity == _PCI_ID:
                found.append(path.name)
    return found


def open_environment() -> Environment:
    """The one that this process is in."""
    return GuestEnvironment() if in_guest() else HostEnvironment()


def in_guest() -> bool:
    """Whether this is a guest that `tlsnic conformance` started."""
    return "TLSNIC_CONTROL" in os.environ


def way_in_guest() -> str:
    """The kernel driver through which a guest reaches the card: "uio" or "vfio"."""
    return os.environ.get("TLSNIC_BUS", "uio")


def has_msix() -> bool:
    """Whether the way to the card has MSI-X."""
    return not in_guest() or way_in_guest() != "uio"


def side() -> str:
    """SIDE_GUEST or SIDE_HOST."""
    return SIDE_GUEST if in_guest() else SIDE_HOST
