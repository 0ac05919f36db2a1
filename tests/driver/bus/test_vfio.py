"""The vfio-pci bus on a fake kernel that takes each ioctl apart as linux/vfio.h lays it out."""

import errno
import os
import shutil
import struct
import subprocess

import pytest

from tlsnic.driver.bus import BusError, pci, vfio, vfio_abi
from tlsnic.driver.bus.sysfs import PciFunction

PAGE = 2 << 20
CONFIG_OFFSET = 1 << 16
BAR2_OFFSET = 1 << 17


class FakeKernel:
    """Container, group and device; the device's file is a memfd with its regions."""

    def __init__(self, sysfs) -> None:
        self.sysfs = sysfs
        group = sysfs.function.parent / "groups/17"
        group.mkdir(parents=True)
        (sysfs.function / "iommu_group").symlink_to(group)
        for name in ("vfio", "17"):
            (sysfs.bus.parents[2] / "dev/vfio" / name).touch()
        self.device_fd = os.memfd_create("device")
        os.ftruncate(self.device_fd, 1 << 18)
        os.pwrite(self.device_fd, struct.pack("<HH", 0x1234, 0x5678), CONFIG_OFFSET)
        os.pwrite(self.device_fd, struct.pack("<I", 0x4), CONFIG_OFFSET + pci.BASE_ADDRESS_0)
        self.regions = {
            0: (0x7, 8192, 0),
            2: (0x3, 64, BAR2_OFFSET),
            7: (0x3, 4096, CONFIG_OFFSET),
        }
        self.irqs = {0: 1, 2: 8}
        self.calls: list[int] = []
        self.container = -1
        self.maps: dict[int, tuple[int, ...]] = {}
        self.eventfds: dict[int, list[int]] = {}
        self.unmasked = 0
        self.flags_viable = 1
        self.fail: dict[int, OSError] = {}

    def ioctl(self, fd, request, argument) -> int:
        self.calls.append(request)
        if request in self.fail:
            raise self.fail[request]
        return getattr(self, f"_on_{request - 0x3B64}")(fd, argument) or 0

    def _on_1(self, fd, argument):  # VFIO_CHECK_EXTENSION
        return int(argument == 3)

    def _on_0(self, fd, argument):  # VFIO_GET_API_VERSION
        return 0

    def _on_2(self, fd, argument):  # VFIO_SET_IOMMU
        assert argument == 3
        assert fd == self.container

    def _on_3(self, fd, argument):  # VFIO_GROUP_GET_STATUS
        assert struct.unpack("=II", argument) == (8, 0)
        argument[4:] = struct.pack("=I", self.flags_viable)

    def _on_4(self, fd, argument):  # VFIO_GROUP_SET_CONTAINER
        (self.container,) = struct.unpack("=i", argument)
        assert os.readlink(f"/proc/self/fd/{self.container}").endswith("dev/vfio/vfio")

    def _on_6(self, fd, argument):  # VFIO_GROUP_GET_DEVICE_FD
        assert bytes(argument) == b"0000:00:05.0\0"
        assert os.readlink(f"/proc/self/fd/{fd}").endswith("dev/vfio/17")
        return os.dup(self.device_fd)

    def _on_8(self, fd, argument):  # VFIO_DEVICE_GET_REGION_INFO
        argsz, _, index, *_ = struct.unpack_from("=IIIIQQ", argument)
        assert argsz == len(argument)
        flags, size, offset = self.regions.get(index, (0, 0, 0))
        struct.pack_into("=IIIIQQ", argument, 0, 32, flags, index, 0, size, offset)

    def _on_9(self, fd, argument):  # VFIO_DEVICE_GET_IRQ_INFO
        argsz, _, index, _ = struct.unpack("=IIII", argument)
        argument[:] = struct.pack("=IIII", argsz, 0, index, self.irqs.get(index, 0))

    def _on_10(self, fd, argument):  # VFIO_DEVICE_SET_IRQS
        argsz, flags, index, start, count = struct.unpack_from("=IIIII", argument)
        assert argsz == len(argument)
        assert start == 0
        if flags == 0x24:
            self.eventfds[index] = list(struct.unpack_from(f"={count}i", argument, 20))
        elif flags == 0x21:
            assert count == 0
            del self.eventfds[index]
        else:
            assert (flags, index, count) == (0x11, 0, 1)
            self.unmasked += 1

    def _on_11(self, fd, argument):  # VFIO_DEVICE_RESET
        os.pwrite(self.device_fd, bytes(8192), 0)

    def _on_13(self, fd, argument):  # VFIO_IOMMU_MAP_DMA
        argsz, flags, address, iova, size = struct.unpack("=IIQQQ", argument)
        assert fd == self.container
        self.maps[iova] = (argsz, flags, address, size)

    def _on_14(self, fd, argument):  # VFIO_IOMMU_UNMAP_DMA
        argsz, flags, iova, size = struct.unpack("=IIQQ", argument)
        assert (argsz, flags, size) == (24, 0, self.maps[iova][3])
        del self.maps[iova]


@pytest.fixture
def kernel(sysfs, fake_huge_pages):
    fake = FakeKernel(sysfs)
    yield fake
    os.close(fake.device_fd)


def open_fake(kernel, **options):
    function = PciFunction(kernel.sysfs.ADDRESS, kernel.sysfs)
    return vfio.VfioBus(function, "vfio:00:05.0", ioctl=kernel.ioctl, **options)


@pytest.fixture
def bus(kernel):
    with open_fake(kernel) as opened:
        yield opened


def test_registers_are_the_mapped_regions(bus, kernel):
    bus.bar(0).write32(8, 0x01020304)
    assert os.pread(kernel.device_fd, 4, 8) == b"\4\3\2\1"
    bus.bar(2).write64(16, 7)  # not mappable: by file, at the region's place
    assert os.pread(kernel.device_fd, 8, BAR2_OFFSET + 16) == struct.pack("<Q", 7)
    assert bus.bar(2).read64(16) == 7
    assert [(b.index, b.size_bytes, b.is_64bit, b.is_mappable) for b in bus.bars()] == [
        (0, 8192, True, True),
        (2, 64, False, False),
    ]
    with pytest.raises(BusError, match="no BAR1"):
        bus.bar(1)


def test_configuration_space_is_its_region(bus, kernel):
    assert bus.config_read(0, 4) == 0x56781234
    assert bus.config_size_bytes == 4096
    bus.set_bus_master(True)
    (command,) = struct.unpack("<H", os.pread(kernel.device_fd, 2, CONFIG_OFFSET + 4))
    assert command == pci.COMMAND_MEMORY | pci.COMMAND_MASTER
    assert kernel.sysfs.driver() == "vfio-pci"


def test_a_bar_of_which_a_part_is_the_kernels_goes_by_file(kernel):
    def region_info(fd, argument):
        kernel._on_8(fd, argument)
        if argument[8] == 0:
            cap = struct.pack("=HHIIIQQ", 1, 1, 0, 1, 0, 0, 4096)
            argument[32 : 32 + len(cap)] = cap
            struct.pack_into("=IIII", argument, 0, 32 + len(cap), 15, 0, 32)

    original = kernel.ioctl
    kernel.ioctl = lambda fd, request, argument: (
        region_info(fd, argument) or 0
        if request == vfio.VFIO_DEVICE_GET_REGION_INFO
        else original(fd, request, argument)
    )
    with open_fake(kernel) as bus:
        assert not bus.bars()[0].is_mappable
        bus.bar(0).write32(4, 9)
        assert os.pread(kernel.device_fd, 4, 4) == b"\t\0\0\0"


def test_dma_memory_is_mapped_as_few_aligned_arenas(bus, kernel):
    first = bus.dma_alloc(64)
    assert kernel.maps == {1 << 32: (32, 3, 0x7F00_0000_0000, 4 * PAGE)}
    assert first.iova == 1 << 32
    bus.dma_alloc(3 * PAGE)  # contiguous through the IOMMU, wherever its pages are
    assert len(kernel.maps) == 1
    bus.dma_alloc(2 * PAGE)
    assert list(kernel.maps) == [1 << 32, (1 << 32) + 4 * PAGE]


def test_more_maps_than_the_device_takes_are_refused(kernel):
    with open_fake(kernel, max_dma_pages=5) as bus:
        bus.dma_alloc(4 * PAGE)
        bus.dma_alloc(64)
        with pytest.raises(BusError, match="at most 5"):
            bus.dma_alloc(PAGE)
    assert kernel.maps == {}


def test_a_refused_map_is_an_error_and_releases_the_pages(bus, kernel):
    kernel.fail[vfio.VFIO_IOMMU_MAP_DMA] = OSError(errno.ENOMEM, "Cannot allocate memory")
    with pytest.raises(BusError, match="Cannot allocate memory") as caught:
        bus.dma_alloc(64)
    assert caught.value.errno == errno.ENOMEM


def test_msix_vectors_are_eventfds(bus, kernel):
    interrupts = bus.msix_enable(8)
    assert kernel.eventfds[vfio_abi.PCI_MSIX_IRQ_INDEX] == list(interrupts.fds)
    os.eventfd_write(kernel.eventfds[2][5], 1)
    assert interrupts.poll(30) == {5: 1}
    interrupts.close()
    assert kernel.eventfds == {}
    for count in (0, 9):
        with pytest.raises(BusError, match="the device has 8"):
            bus.msix_enable(count)


def test_intx_is_unmasked_by_ack(bus, kernel):
    bus.msix_enable(1)
    bus.set_intx_disable(True)
    interrupts = bus.intx_enable()
    assert list(kernel.eventfds) == [vfio_abi.PCI_INTX_IRQ_INDEX]
    assert not bus.config_read(pci.COMMAND, 2) & pci.COMMAND_INTX_DISABLE
    os.eventfd_write(kernel.eventfds[0][0], 1)
    assert interrupts.wait(0, 30) == 1
    interrupts.ack(0)
    assert kernel.unmasked == 1


def test_a_device_without_an_interrupt_says_so(bus, kernel):
    kernel.irqs.clear()
    with pytest.raises(BusError, match="no INTx"):
        bus.intx_enable()
    assert bus.msix_vectors() == 0


def test_a_refused_interrupt_setup_closes_its_eventfds(bus, kernel):
    kernel.fail[vfio.VFIO_DEVICE_SET_IRQS] = OSError(errno.EINVAL, "Invalid argument")
    with pytest.raises(BusError, match="Invalid argument"):
        bus.msix_enable(4)


def test_reset_is_the_kernels(bus, kernel):
    bus.bar(0).write32(0, 1)
    bus.reset()
    assert bus.bar(0).read32(0) == 0
    kernel.fail[vfio.VFIO_DEVICE_RESET] = OSError(errno.EAGAIN, "try again")
    with pytest.raises(BusError, match="try again"):
        bus.reset()


def test_closing_releases_everything_and_gives_the_function_back(kernel):
    bus = open_fake(kernel)
    bus.msix_enable(2)
    bus.set_bus_master(True)
    bus.dma_alloc(64)
    bus.close()
    bus.close()
    assert kernel.eventfds == {}
    assert kernel.maps == {}
    (command,) = struct.unpack("<H", os.pread(kernel.device_fd, 2, CONFIG_OFFSET + 4))
    assert not command & pci.COMMAND_MASTER
    assert kernel.sysfs.driver() == "e1000e"


def test_without_an_iommu_it_says_what_to_do(sysfs, fake_huge_pages):
    function = PciFunction(sysfs.ADDRESS, sysfs)
    with pytest.raises(BusError, match=r"behind no IOMMU.*intel-iommu,caching-mode=on"):
        vfio.VfioBus(function, "vfio:00:05.0")
    assert sysfs.driver() == "e1000e"


@pytest.mark.parametrize(
    ("break_it", "why"),
    [
        (lambda kernel: os.unlink(f"{kernel.sysfs.dev}/vfio/17"), "No such file.*run as root"),
        (lambda kernel: setattr(kernel, "flags_viable", 0), "root port of its own"),
        (lambda kernel: kernel.__setattr__("_on_1", lambda fd, argument: 0), "vfio_iommu_type1"),
        (lambda kernel: kernel.__setattr__("_on_0", lambda fd, argument: 1), "another version"),
        (
            lambda kernel: kernel.fail.update(
                {vfio.VFIO_SET_IOMMU: OSError(errno.EPERM, "Operation not permitted")}
            ),
            "allow_unsafe_interrupts",
        ),
        (
            lambda kernel: kernel.fail.update(
                {vfio.VFIO_GROUP_GET_DEVICE_FD: OSError(errno.ENODEV, "No such device")}
            ),
            "VFIO call 6 failed: No such device",
        ),
        (lambda kernel: kernel.regions.update({0: (0x7, 8192, 100)}), "BAR0 cannot be mapped"),
    ],
)
def test_an_opening_that_fails_leaves_nothing_behind(kernel, break_it, why):
    break_it(kernel)
    with pytest.raises(BusError, match=why):
        open_fake(kernel)
    assert kernel.sysfs.driver() == "e1000e"


NUMBERS = {
    **{
        name: value
        for name, value in vars(vfio).items()
        if name.startswith("VFIO_") and name != "VFIO_TYPE1V2_IOMMU"
    },
    "VFIO_TYPE1v2_IOMMU": vfio.VFIO_TYPE1V2_IOMMU,
    **{
        f"VFIO_{name}": value
        for name, value in vars(vfio_abi).items()
        if name.isupper() and isinstance(value, int) and not name.startswith("_")
    },
    "sizeof(struct vfio_group_status)": vfio.GROUP_STATUS.size,
    "sizeof(struct vfio_iommu_type1_dma_map)": vfio.DMA_MAP.size,
    "sizeof(struct vfio_iommu_type1_dma_unmap)": vfio.DMA_UNMAP.size,
    "sizeof(struct vfio_region_info)": vfio_abi.REGION_INFO.size,
    "sizeof(struct vfio_info_cap_header)": vfio_abi.CAP_HEADER.size,
    "sizeof(struct vfio_region_info_cap_sparse_mmap)": (
        vfio_abi.CAP_HEADER.size + vfio_abi.SPARSE_MMAP.size
    ),
    "sizeof(struct vfio_region_sparse_mmap_area)": vfio_abi.SPARSE_AREA.size,
    "sizeof(struct vfio_irq_info)": vfio_abi.IRQ_INFO.size,
    "sizeof(struct vfio_irq_set)": vfio_abi.IRQ_SET.size,
    "offsetof(struct vfio_device_info, num_irqs)": 12,
    "offsetof(struct vfio_region_info, cap_offset)": 12,
    "offsetof(struct vfio_region_info, size)": 16,
    "offsetof(struct vfio_region_info, offset)": 24,
    "offsetof(struct vfio_iommu_type1_dma_map, vaddr)": 8,
    "offsetof(struct vfio_iommu_type1_dma_map, iova)": 16,
}


def test_numbers_and_layouts_are_those_of_the_kernels_header(tmp_path):
    compiler = shutil.which("cc")
    if compiler is None or not os.path.exists("/usr/include/linux/vfio.h"):
        pytest.skip("no C compiler, or no kernel headers")
    source = tmp_path / "numbers.c"
    prints = "\n".join(f'printf("%llu\\n", (unsigned long long)({name}));' for name in NUMBERS)
    source.write_text(
        "#include <stddef.h>\n#include <stdio.h>\n#include <linux/vfio.h>\n"
        f"int main(void) {{ {prints} return 0; }}\n"
    )
    program = tmp_path / "numbers"
    subprocess.run([compiler, "-o", program, source], check=True, timeout=60)
    printed = subprocess.run([program], check=True, capture_output=True, text=True, timeout=60)
    assert dict(zip(NUMBERS, map(int, printed.stdout.split()), strict=True)) == NUMBERS
