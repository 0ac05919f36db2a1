"""QEMU's command line, read back option by option."""

import itertools
import json
from pathlib import Path

import pytest

from tlsnic.qemu.launch import (
    MEMORY_ABOVE_4G_MIB,
    Channels,
    Machine,
    kernel_command_line,
    qemu_argv,
)
from tlsnic.qemu.parts import Guest, Qemu

QEMU = Qemu(("loader", "qemu", "-L", "roms"), (11, 1, 3), "test")
GUEST = Guest(Path("/k/vmlinuz"), Path("/k/initrd"), Path("/k/root,1.img"), None, "test")


def command_line(machine=None, *, channels=None, kvm=False, guest=GUEST) -> list[str]:
    return qemu_argv(
        machine or Machine(),
        channels or Channels(5, Path("/w/console.log"), {"tlsnic.control": 6, "tlsnic.status": 7}),
        qemu=QEMU,
        guest=guest,
        project=Path("/w/project.img"),
        kvm=kvm,
    )


def values(argv: list[str], option: str) -> list[str]:
    return [value for word, value in itertools.pairwise(argv) if word == option]


def test_ram_is_a_shared_file_of_the_machines_size():
    argv = command_line(Machine(memory_mib=2048))
    (ram,) = values(argv, "-object")
    assert ram == "memory-backend-memfd,id=ram,share=on,size=2048M"
    assert values(argv, "-m") == ["2048M"]
    assert "memory-backend=ram" in values(argv, "-machine")[0].split(",")


def test_ram_above_4_gib_needs_more_than_fits_below():
    # pc_q35_init: from 0xb0000000 bytes on, 2 GiB stay below 4 GiB and the rest goes above.
    assert MEMORY_ABOVE_4G_MIB << 20 >= 0xB0000000
    assert Machine().memory_mib << 20 < 0xB0000000


def test_each_device_is_a_pcie_endpoint_in_a_port_of_its_own_in_json_form():
    argv = command_line(Machine(devices=[Path("/w/a,b.sock"), Path("/w/c.sock")]))
    devices = [json.loads(value) for value in values(argv, "-device") if value.startswith("{")]
    assert [device["socket"] for device in devices] == [
        {"type": "unix", "path": "/w/a,b.sock"},
        {"type": "unix", "path": "/w/c.sock"},
    ]
    assert {device["driver"] for device in devices} == {"vfio-user-pci"}
    ports = [value for value in values(argv, "-device") if value.startswith("pcie-root-port")]
    assert [f"id={device['bus']}" for device in devices] == [port.split(",")[1] for port in ports]
    assert len({port.split("chassis=")[1] for port in ports}) == 2


def test_disks_are_never_written_and_commas_in_paths_survive():
    drives = values(command_line(), "-drive")
    assert "file=/k/root,,1.img,snapshot=on" in drives[0]
    assert "file=/w/project.img,readonly=on" in drives[1]


def test_every_descriptor_is_named_once_and_handed_over():
    channels = Channels(5, Path("/w/log"), {"tlsnic.control": 6, "tlsnic.status": 7}, shell_fd=8)
    argv = command_line(channels=channels)
    sockets = [value for value in values(argv, "-chardev") if value.startswith("socket")]
    assert sorted(int(value.rsplit("fd=")[1]) for value in sockets) == sorted(channels.fds())
    assert channels.fds() == [5, 6, 7, 8]
    assert "virtconsole,chardev=shell" in values(argv, "-device")


def test_without_a_shell_there_is_no_console_port():
    assert not any("virtconsole" in word for word in command_line())


@pytest.mark.parametrize(("kvm", "accel", "cpu"), [(True, "kvm", "host"), (False, "tcg", "max")])
def test_the_accelerator_and_its_cpu(kvm, accel, cpu):
    argv = command_line(kvm=kvm)
    assert values(argv, "-accel")[0].split(",")[0] == accel
    assert values(argv, "-cpu") == [cpu]


@pytest.mark.parametrize("iommu", [True, False])
def test_split_irqchip_which_hangs_with_tcg_is_never_asked_for(iommu):
    argv = command_line(Machine(iommu=iommu))
    assert not any("irqchip" in word for word in argv)
    assert (
        any(word.startswith("intel-iommu,caching-mode=on,intremap=off") for word in argv) is iommu
    )
    assert ("intel_iommu=on" in kernel_command_line(Machine(iommu=iommu)).split()) is iommu


def test_the_iommu_comes_before_the_devices_behind_it():
    argv = command_line(Machine(iommu=True, devices=[Path("/w/a.sock")]))
    devices = values(argv, "-device")
    assert devices[0].startswith("intel-iommu")


def test_hugepages_are_set_aside_at_boot():
    assert "hugepages=16" in kernel_command_line(Machine(hugepages=16)).split()
    assert "hugepages" not in kernel_command_line(Machine(hugepages=0))


def test_the_kernel_command_line_fits():
    assert len(kernel_command_line(Machine(iommu=True))) < 2048


def test_a_kernel_without_initial_ram_disk_gets_none():
    guest = Guest(GUEST.kernel, None, GUEST.image, None, "own")
    assert "-initrd" not in command_line(guest=guest)


def test_extra_options_come_last():
    assert command_line(Machine(extra=["-d", "int"]))[-2:] == ["-d", "int"]
