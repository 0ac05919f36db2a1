"""The uio bus on a simulated sysfs: registers, INTx, DMA memory, and everything put back."""

import errno
import os
import struct

import pytest

from tlsnic.driver.bus import BusError, pci
from tlsnic.driver.bus.uio import open_uio


@pytest.fixture
def bus(sysfs, fake_huge_pages):
    with open_uio("1234:5678", "uio:1234:5678", sysfs) as opened:
        yield opened


@pytest.fixture
def interrupt(sysfs):
    """Writes interrupt counts where the kernel would."""
    fd = os.open(f"{sysfs.dev}/uio0", os.O_RDWR | os.O_NONBLOCK)
    yield lambda total: os.write(fd, struct.pack("=I", total))
    os.close(fd)


def test_registers_are_the_mapped_resource(bus, sysfs):
    bus.bar(0).write32(8, 0x01020304)
    bus.write(0, 17, 0xAABB, 2)
    data = (sysfs.function / "resource0").read_bytes()
    assert data[8:12] == b"\4\3\2\1"
    assert data[17:19] == b"\xbb\xaa"
    assert bus.read(0, 8, 4) == 0x01020304
    bus.bar(2).write32(4, 5)  # I/O ports go by file
    assert bus.bar(2).read32(4) == 5
    assert [(b.index, b.is_mappable) for b in bus.bars()] == [(0, True), (2, False)]
    with pytest.raises(BusError, match="no BAR1"):
        bus.bar(1)


def test_configuration_space_and_bus_mastering(bus, sysfs):
    assert bus.config_read(0, 4) == 0x56781234
    assert not bus.gone
    bus.set_bus_master(True)
    assert sysfs.command() == 0x0003 | pci.COMMAND_MASTER
    bus.set_bus_master(False)
    assert sysfs.command() == 0x0003


def test_a_removed_function_is_gone(bus, sysfs):
    (sysfs.function / "config").write_bytes(b"")
    assert bus.config_read(0, 4) == 0xFFFFFFFF
    assert bus.gone


def test_interrupts_are_counted_from_when_they_are_enabled(bus, sysfs, interrupt):
    interrupt(7)  # happened before: sysfs says 7 too
    interrupts = bus.intx_enable()
    assert not sysfs.command() & pci.COMMAND_INTX_DISABLE
    assert interrupts.poll(0) == {}
    interrupt(8)
    assert interrupts.poll(30) == {0: 1}
    interrupt(11)
    assert interrupts.wait(0, 30) == 3


def test_the_count_wraps_at_32_bits(bus, sysfs, interrupt):
    interrupt(1)
    with open(f"{sysfs.sys}/class/uio/uio0/event", "w") as file:
        file.write("-1\n")  # the kernel prints it signed
    interrupts = bus.intx_enable()
    interrupt(1)
    assert interrupts.poll(30) == {0: 2}


def test_ack_clears_the_disable_bit_that_the_kernel_set(bus, sysfs, interrupt):
    interrupts = bus.intx_enable()
    bus.set_intx_disable(True)  # what the kernel's handler does
    interrupt(8)
    assert interrupts.poll(30) == {0: 1}
    interrupts.ack(0)
    assert not sysfs.command() & pci.COMMAND_INTX_DISABLE
    interrupts.close()
    assert sysfs.command() & pci.COMMAND_INTX_DISABLE


def test_there_is_no_msix(bus):
    assert bus.msix_vectors() == 0
    with pytest.raises(BusError, match="no MSI-X"):
        bus.msix_enable(1)


def test_buffers_get_physical_addresses_and_stay_inside_contiguous_pages(bus, fake_huge_pages):
    page = 2 << 20
    big = bus.dma_alloc(2 * page, page)  # only the first two pages follow one another
    assert big.iova == fake_huge_pages.PHYSICAL[0]
    small = bus.dma_alloc(4096)
    assert small.iova == fake_huge_pages.PHYSICAL[2]
    with pytest.raises(BusError, match="no contiguous DMA memory"):
        bus.dma_alloc(3 * page)
    with pytest.raises(BusError, match="at most 2 MiB"):
        bus.dma_alloc(64, 1 << 40)
    assert bus.dma_live_bytes == 2 * page + 4096


def test_too_few_huge_pages_is_an_error_with_a_fix(bus, sysfs):
    (sysfs.huge / "free_hugepages").write_text("0\n")
    with pytest.raises(BusError, match="finds no 4 free huge pages"):
        bus.dma_alloc(64)
    assert (sysfs.huge / "nr_hugepages").read_text().strip() == "64"


def test_reset_goes_through_sysfs(bus, sysfs):
    bus.reset()
    assert sysfs.writes[-1] == ("reset", "1")
    (sysfs.function / "reset").unlink()
    with pytest.raises(BusError, match="no way to be reset"):
        bus.reset()


def test_a_failed_reset_is_an_error(bus, sysfs, monkeypatch):
    def fail(path, text):
        raise OSError(errno.ENOTTY, "Inappropriate ioctl")

    with monkeypatch.context() as patch:
        patch.setattr(sysfs, "write", fail)
        with pytest.raises(BusError, match="failed: Inappropriate ioctl"):
            bus.reset()


def test_closing_puts_everything_back(sysfs, fake_huge_pages):
    bus = open_uio("00:05.0", "uio:00:05.0", sysfs)
    bus.set_bus_master(True)
    bus.intx_enable()
    view = bus.dma_alloc(64).view
    bus.close()
    bus.close()
    assert not sysfs.command() & pci.COMMAND_MASTER
    assert sysfs.driver() == "e1000e"
    with pytest.raises(ValueError, match="released"):
        view[0]


@pytest.mark.parametrize("missing", ["config", "resource0", "uio"])
def test_a_function_that_cannot_be_opened_is_given_back(sysfs, fake_huge_pages, missing):
    if missing == "uio":
        os.unlink(f"{sysfs.dev}/uio0")
    else:
        (sysfs.function / missing).unlink()
    with pytest.raises(BusError, match="run as root"):
        open_uio("00:05.0", "uio:00:05.0", sysfs)
    assert sysfs.driver() == "e1000e"


def test_a_bar_that_cannot_be_mapped_is_an_error(sysfs, fake_huge_pages):
    (sysfs.function / "resource0").write_bytes(bytes(10))
    with pytest.raises(BusError, match=r"BAR0 of .* cannot be mapped"):
        open_uio("00:05.0", "uio:00:05.0", sysfs)
    assert sysfs.driver() == "e1000e"
