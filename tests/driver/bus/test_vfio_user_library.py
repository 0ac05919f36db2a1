"""The vfio-user bus against a device on the real libvfio-user, in a process of its own."""

import errno
import mmap
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tlsnic.device.vfu import VfuAbiError, load_library
from tlsnic.driver.bus import BusGoneError, BusReplyError, open_bus, pci


@pytest.fixture
def device(tmp_path):
    try:
        load_library()
    except VfuAbiError as error:
        pytest.skip(f"no libvfio-user: {error}")
    path = tmp_path / "s"
    script = Path(__file__).with_name("served_device.py")
    with subprocess.Popen(
        [sys.executable, str(script), str(path)], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            process.path = path
            yield process
        finally:
            process.kill()


@pytest.fixture
def bus(device):
    with open_bus(f"vfio-user:{device.path}") as opened:
        yield opened


def copy_by_dma(bus, source, destination, length):
    bar = bus.bar(0)
    bar.write64(0x208, source)
    bar.write64(0x210, destination)
    bar.write32(0x218, length)
    bar.write32(0x200, 1)
    return bar.read32(0x21C)


def test_configuration_space_and_capabilities_are_found(bus):
    assert bus.config_read(0, 4) == 0x56781234
    assert bus.config_size_bytes == 4096
    assert [c.id for c in bus.capabilities()] == [pci.CAP_ID_PM, pci.CAP_ID_EXP, pci.CAP_ID_MSIX]
    msix = bus.msix_info()
    assert (msix.vectors, msix.table_bar, msix.table_offset) == (20, 0, 0x2000)
    assert (msix.pba_bar, msix.pba_offset) == (0, 0x2800)
    assert [(b.index, b.size_bytes, b.is_mappable) for b in bus.bars()] == [
        (0, 0x4000, False),
        (2, 0x4000, True),
    ]


def test_registers_of_every_width_and_a_refused_one(bus):
    bar = bus.bar(0)
    for width, offset in ((1, 3), (2, 6), (4, 9), (8, 0x11)):
        value = 0xF7E6D5C4B3A29180 >> 64 - 8 * width
        bar.write(offset, value, width)
        assert bar.read(offset, width) == value
    assert bar.read32(0x3000) == 0xFFFFFFFF
    assert bus.last_access_error.errno == errno.EIO


def test_thousands_of_batched_writes_arrive_each_once(bus):
    bar = bus.bar(0)
    bar.write32_many([(0x40, n) for n in range(5000)])
    assert bar.read64(0x300) == 5000
    assert bar.read32(0x40) == 4999


def test_a_mapped_area_is_shared_memory(bus):
    bus.bar(2).write64(0x1008, 77)
    assert bus.bar(2).read64(0x1008) == 77
    assert bus.bar(0).read64(0x300) == 0  # the device saw no write


def test_the_device_reaches_dma_memory_without_a_copy(bus):
    size = 1 << 20
    source, destination = bus.dma_alloc(size), bus.dma_alloc(size)
    data = random.Random(1).randbytes(size)
    source.view[:] = data
    assert copy_by_dma(bus, source.iova, destination.iova, size) == 0
    assert bytes(destination.view) == data
    source.free()
    with bus.dma_alloc(size) as again:
        assert bytes(again.view) == bytes(size)


def test_placed_maps_holes_and_read_only_maps_behave_as_memory_would(bus):
    source = bus.dma_alloc(0x2000)
    source.view[:] = bytes(range(256)) * 32
    joined = bus.map_memory(0x9000_0000_0000, 0x3000, pieces_bytes=(0x1000, 0x2000))
    assert copy_by_dma(bus, source.iova, joined.iova + 0x800, 0x1000) == 0
    assert joined.view[0x800:0x1800] == source.view[:0x1000]
    assert copy_by_dma(bus, source.iova, joined.iova + 0x2800, 0x1000) != 0  # beyond the end
    read_only = bus.map_memory(0x1000, 0x1000, prot=mmap.PROT_READ)
    assert copy_by_dma(bus, read_only.iova, source.iova, 0x1000) == 0
    assert copy_by_dma(bus, source.iova, read_only.iova, 0x1000) != 0
    with pytest.raises(BusReplyError):
        bus.map_memory(joined.iova + 0x1000, 0x1000)  # something is there
    joined.unmap()
    assert copy_by_dma(bus, source.iova, joined.iova, 16) != 0
    with pytest.raises(BusReplyError):
        bus.dma_unmap(joined.iova, 0x1000)


def test_each_msix_vector_arrives_and_a_masked_one_stays_pending(bus):
    bus.set_bus_master(True)
    interrupts = bus.msix_enable(20)  # more than the library takes in one message
    bar = bus.bar(0)
    for vector in range(20):
        bar.write32(0x100, vector)
        assert interrupts.poll(5) == {vector: 1}
    interrupts.mask(3)
    bar.write32(0x100, 3)
    bar.write32(0x100, 4)
    assert interrupts.poll(5) == {4: 1}
    interrupts.unmask(3)
    assert interrupts.poll(5) == {3: 1}
    flags = bus.msix_info().offset + pci.MSIX_FLAGS
    assert bus.config_read(flags, 2) & pci.MSIX_FLAGS_ENABLE
    interrupts.close()
    assert not bus.config_read(flags, 2) & pci.MSIX_FLAGS_ENABLE
    bar.write32(0x100, 5)
    assert bar.read32(0x100) == 5  # no interrupt, and the device lives on


def test_intx_arrives_after_msix_was_used(bus):
    bus.msix_enable(2)
    interrupts = bus.intx_enable()
    bus.bar(0).write32(0x104, 1)
    assert interrupts.wait(0, 30) == 1
    interrupts.ack(0)


def test_both_resets_reach_the_device_and_keep_the_command_register(bus):
    bus.set_bus_master(True)
    before = bus.config_read(pci.COMMAND, 2)
    bar = bus.bar(0)
    bar.write32(0x40, 1)
    bus.reset()
    assert (bar.read32(0x40), bus.config_read(pci.COMMAND, 2)) == (0, before)
    device_reset = bar.read32(0x400)
    bus.flr()
    assert bus.config_read(pci.COMMAND, 2) == before
    assert 0 != bar.read32(0x400) != device_reset


def test_the_next_client_finds_the_device_free(device):
    for number in range(3):
        with open_bus(f"vfio-user:{device.path}") as bus:
            bus.dma_alloc(4096)
            bus.msix_enable(20)
            bus.bar(0).write32(0x40, number)
            assert bus.bar(0).read32(0x40) == number


def test_a_killed_server_is_a_device_that_is_gone(device, bus):
    interrupts = bus.msix_enable(1)
    device.kill()
    assert interrupts.poll(10) == {}
    assert bus.gone
    assert bus.bar(0).read64(0) == (1 << 64) - 1
    bus.bar(0).write32(0, 1)
    with pytest.raises(BusGoneError):
        bus.reset()


def test_wakeups_are_not_lost_in_a_race_of_doorbells_and_interrupts(bus):
    interrupts = bus.msix_enable(1)
    bar = bus.bar(0)
    fired = 0
    for _ in range(2000):
        bar.write32(0x100, 0)
        fired += interrupts.poll(0).get(0, 0)
    bar.read32(0)  # all the writes before it have been carried out
    fired += interrupts.poll(0).get(0, 0)
    assert fired == 2000


def test_descriptors_stay_constant_over_many_allocations(bus):
    bus.dma_alloc(64).free()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(100):
        bus.dma_alloc(1 << 20).free()
        bus.map_memory(1 << 44, 4096).unmap()
    assert len(os.listdir("/proc/self/fd")) == before
