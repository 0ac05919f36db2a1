"""From what a guest shall be to QEMU's command line. Nothing is started here."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tlsnic.qemu.parts import Guest, Qemu

# On q35, RAM from 2816 MiB on is split: 2 GiB below, and the rest from 4 GiB (hw/i386/pc_q35.c).
MEMORY_MIB = 1024
MEMORY_ABOVE_4G_MIB = 3072
HUGEPAGE_MIB = 2

# Each costs time in an emulated guest or is of no use in a machine that lives for one command.
_KERNEL_WORDS = (
    "root=/dev/vda",
    "quiet",
    "panic=-1",  # a panic reboots at once, and -no-reboot makes that QEMU's end
    "mitigations=off",
    "nokaslr",
    "lsm=capability",
    "init_on_alloc=0",
    "audit=0",
    "no_timer_check",
    "tsc=reliable",
    "random.trust_cpu=on",
    "8250.nr_uarts=1",
    "net.ifnames=0",
)


@dataclass(frozen=True)
class Machine:
    """The guest's hardware.

    `devices` are the paths of vfio-user server sockets, one PCIe device each, in slot order.
    `hugepages` are pages of 2 MiB set aside at boot for the driver's DMA memory. With
    `memory_mib` of MEMORY_ABOVE_4G_MIB there is RAM above 4 GiB, and hugepages come from there.
    `iommu` adds an Intel IOMMU, which the driver's vfio-pci path needs.
    """

    devices: Sequence[Path] = ()
    cpus: int = 2
    memory_mib: int = MEMORY_MIB
    hugepages: int = 64
    iommu: bool = False
    extra: Sequence[str] = ()


@dataclass(frozen=True)
class Channels:
    """Descriptors that QEMU inherits: sockets connected to this process, by their use.

    `ports` are the virtio-serial ports by the name that the guest sees. `shell` is the console
    of a person, None when there is none. `log` is the file for the kernel's console.
    """

    monitor_fd: int
    log: Path
    ports: Mapping[str, int] = field(default_factory=dict)
    shell_fd: int | None = None

    def fds(self) -> list[int]:
        """All of them, for the start of the process."""
        shell = [] if self.shell_fd is None else [self.shell_fd]
        return [self.monitor_fd, *self.ports.values(), *shell]


def qemu_argv(
    machine: Machine,
    channels: Channels,
    *,
    qemu: Qemu,
    guest: Guest,
    project: Path,
    kvm: bool,
) -> list[str]:
    """The command line. The project's disk is attached read-only; the root disk is discarded."""
    argv = [*qemu.argv_prefix, "-nodefaults", "-no-user-config", "-no-reboot"]
    argv += ["-display", "none", "-name", "tlsnic"]
    argv += ["-machine", "q35,memory-backend=ram,usb=off,vmport=off,hpet=off,graphics=off"]
    # kernel-irqchip=split, which interrupt remapping would need, hangs with TCG: it is left alone.
    argv += ["-accel", "kvm" if kvm else "tcg,thread=multi"]
    argv += ["-cpu", "host" if kvm else "max", "-smp", str(machine.cpus)]
    argv += ["-m", f"{machine.memory_mib}M"]
    # vfio-user hands the device file descriptors of RAM, so RAM must be a shared file.
    size = f"size={machine.memory_mib}M"
    argv += ["-object", f"memory-backend-memfd,id=ram,share=on,{size}"]
    argv += ["-kernel", str(guest.kernel)]
    if guest.initrd is not None:
        argv += ["-initrd", str(guest.initrd)]
    argv += ["-append", kernel_command_line(machine)]
    if machine.iommu:
        argv += ["-device", "intel-iommu,caching-mode=on,intremap=off"]
    argv += _disk("root", guest.image, "snapshot=on")
    argv += _disk("project", project, "readonly=on")
    argv += ["-chardev", f"file,id=log,path={_escaped(channels.log)}", "-serial", "chardev:log"]
    argv += [*_socket("monitor", channels.monitor_fd), "-qmp", "chardev:monitor"]
    argv += ["-device", "virtio-serial-pci"]
    if channels.shell_fd is not None:
        argv += [*_socket("shell", channels.shell_fd), "-device", "virtconsole,chardev=shell"]
    for number, (name, fd) in enumerate(channels.ports.items(), start=1):
        argv += _socket(name, fd)
        argv += ["-device", f"virtserialport,chardev={name},name={name},nr={number}"]
    for number, path in enumerate(machine.devices):
        argv += _vfio_user(number, path)
    return [*argv, *machine.extra]


def kernel_command_line(machine: Machine) -> str:
    """What the kernel is told."""
    words = [*_KERNEL_WORDS, "console=ttyS0"]
    if machine.hugepages:
        words.append(f"hugepages={machine.hugepages}")
    if machine.iommu:
        words += ["intel_iommu=on", "iommu=nopt"]
    return " ".join(words)


def _disk(name: str, image: Path, option: str) -> list[str]:
    drive = f"if=none,id={name},format=raw,file={_escaped(image)},{option}"
    return ["-drive", drive, "-device", f"virtio-blk-pci,drive={name}"]


def _socket(name: str, fd: int) -> list[str]:
    return ["-chardev", f"socket,id={name},fd={fd}"]


def _vfio_user(number: int, path: Path) -> list[str]:
    # Behind a root port, as a real card; on the root complex itself QEMU would present the
    # device as integrated there. Only the JSON form can carry a socket address.
    port = f"port{number}"
    device = {
        "driver": "vfio-user-pci",
        "id": f"nic{number}",
        "bus": port,
        "socket": {"type": "unix", "path": str(path)},
    }
    return [
        *("-device", f"pcie-root-port,id={port},chassis={number + 1}"),
        *("-device", json.dumps(device)),
    ]


def _escaped(path: Path) -> str:
    """A path inside an option, where a comma is written twice."""
    return str(path).replace(",", ",,")
