"""A PCI function as Linux shows it in sysfs: finding it, its resources, its driver.

Documentation/ABI/testing/sysfs-bus-pci of the kernel describes the files used here.
"""

from __future__ import annotations

import contextlib
import os

from . import pci
from .base import all_ones
from .errors import BusError

# linux/ioport.h, as the third column of the file `resource`
IORESOURCE_IO = 0x0000_0100
IORESOURCE_MEM = 0x0000_0200
IORESOURCE_PREFETCH = 0x0000_2000
IORESOURCE_MEM_64 = 0x0010_0000


class Sysfs:
    """The directories of the kernel's interfaces; tests give others."""

    def __init__(self, sys: str = "/sys", dev: str = "/dev") -> None:
        self.sys = sys
        self.dev = dev

    def read(self, path: str) -> str:
        """Text of a file, without white space around it."""
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read().strip()

    def write(self, path: str, text: str) -> None:
        """Write to an existing attribute in one call."""
        fd = os.open(path, os.O_WRONLY)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)

    def load_module(self, name: str) -> None:
        """Ask for a kernel module; that it is missing shows afterwards."""
        with contextlib.suppress(OSError):
            # posix_spawn rather than subprocess: cheap to import in an emulated guest.
            pid = os.posix_spawnp("modprobe", ["modprobe", "-q", name], os.environ)
            os.waitpid(pid, 0)


def find_function(where: str, sysfs: Sysfs) -> str:
    """The full address of "DDDD:BB:DD.F", "BB:DD.F", or of the only function "VENDOR:DEVICE".

    Raises BusError when there is none, or more than one.
    """
    devices = f"{sysfs.sys}/bus/pci/devices"
    if "." in where:
        address = where if where.count(":") == 2 else f"0000:{where}"
        if "/" in where or not os.path.isdir(f"{devices}/{address}"):
            raise BusError(f"there is no PCI function {address}", "see lspci -D for the addresses")
        return address
    try:
        vendor, device = (int(part, 16) for part in where.split(":"))
    except ValueError:
        raise BusError(
            f"{where!r} is neither a PCI address nor VENDOR:DEVICE",
            "write 0000:00:05.0, or two hexadecimal numbers like 1234:5678",
        ) from None
    found = []
    with contextlib.suppress(FileNotFoundError):
        for address in sorted(os.listdir(devices)):
            path = f"{devices}/{address}"
            ids = sysfs.read(f"{path}/vendor"), sysfs.read(f"{path}/device")
            if (int(ids[0], 16), int(ids[1], 16)) == (vendor, device):
                found.append(address)
    if not found:
        raise BusError(
            f"there is no PCI function {vendor:04x}:{device:04x}",
            "check that the device is attached: lspci -nn",
        )
    if len(found) > 1:
        raise BusError(
            f"there are {len(found)} PCI functions {vendor:04x}:{device:04x}",
            f"name one by its address: {', '.join(found)}",
        )
    return found[0]


class PciFunction:
    """One function: its configuration space, its resources and the driver bound to it."""

    def __init__(self, address: str, sysfs: Sysfs) -> None:
        self.address = address
        self.sysfs = sysfs
        self.path = f"{sysfs.sys}/bus/pci/devices/{address}"
        self._restore: tuple[str, str] | None = None  # driver and driver_override before bind()

    @property
    def driver(self) -> str:
        """Name of the driver bound to the function, empty when there is none."""
        try:
            return os.path.basename(os.readlink(f"{self.path}/driver"))
        except FileNotFoundError:
            return ""

    def bind(self, driver: str, module: str) -> None:
        """Bind the function to `driver`, taking it from another; `restore()` gives it back.

        Raises BusError with the fix when the driver is missing or refuses.
        """
        before = self.driver
        if before == driver:
            return
        if not os.path.isdir(f"{self.sysfs.sys}/bus/pci/drivers/{driver}"):
            self.sysfs.load_module(module)
            if not os.path.isdir(f"{self.sysfs.sys}/bus/pci/drivers/{driver}"):
                raise BusError(
                    f"the kernel has no driver {driver}",
                    f"modprobe {module}, as root, on a kernel that has this module",
                )
        try:
            override = self.sysfs.read(f"{self.path}/driver_override")
            self._restore = before, "" if override == "(null)" else override
            self.sysfs.write(f"{self.path}/driver_override", driver)
            if before:
                self.sysfs.write(f"{self.path}/driver/unbind", self.address)
            self.sysfs.write(f"{self.sysfs.sys}/bus/pci/drivers_probe", self.address)
        except PermissionError:
            self.restore()
            raise BusError(f"no right to bind {self.address} to {driver}", "run as root") from None
        except OSError as error:
            self.restore()
            raise BusError(
                f"{self.address} cannot be bound to {driver}: {error.strerror}",
                "see dmesg for the reason",
                error.errno or 0,
            ) from None
        if self.driver != driver:
            self.restore()
            raise BusError(
                f"{driver} refuses {self.address}",
                "see dmesg; uio_pci_generic wants an INTx interrupt that can be masked, "
                "vfio-pci an IOMMU (intel_iommu=on)",
            )

    def restore(self) -> None:
        """Undo `bind()`: the override is taken back and the former driver probed again."""
        if self._restore is None:
            return
        before, override = self._restore
        self._restore = None
        with contextlib.suppress(OSError):
            if self.driver and self.driver != before:
                self.sysfs.write(f"{self.path}/driver/unbind", self.address)
        with contextlib.suppress(OSError):
            self.sysfs.write(f"{self.path}/driver_override", override + "\n")
        if before and not self.driver:
            with contextlib.suppress(OSError):
                self.sysfs.write(f"{self.sysfs.sys}/bus/pci/drivers_probe", self.address)

    def bars(self) -> list[pci.BarInfo]:
        """The BARs that have an address, from the file `resource`."""
        found = []
        lines = self.sysfs.read(f"{self.path}/resource").splitlines()
        for index, line in enumerate(lines[: pci.BAR_COUNT]):
            start, end, flags = (int(field, 16) for field in line.split())
            if not flags & (IORESOURCE_IO | IORESOURCE_MEM) or end <= start:
                continue
            found.append(
                pci.BarInfo(
                    index,
                    end - start + 1,
                    is_io=bool(flags & IORESOURCE_IO),
                    is_64bit=bool(flags & IORESOURCE_MEM_64),
                    is_prefetchable=bool(flags & IORESOURCE_PREFETCH),
                    is_mappable=bool(flags & IORESOURCE_MEM),
                )
            )
        return found


def file_read(fd: int, offset: int, width: int) -> int:
    """Read a register through a file of the kernel; all ones when the function is gone."""
    try:
        data = os.pread(fd, width, offset)
    except OSError:
        return all_ones(width)
    return int.from_bytes(data, "little") if len(data) == width else all_ones(width)


def file_write(fd: int, offset: int, value: int, width: int) -> None:
    """Write a register through a file of the kernel; vanishes when the function is gone."""
    try:
        data = value.to_bytes(width, "little")
    except OverflowError:
        raise ValueError(f"{value:#x} does not fit into {width} bytes") from None
    with contextlib.suppress(OSError):
        os.pwrite(fd, data, offset)
