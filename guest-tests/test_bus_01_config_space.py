"""BUS-01 and BUS-02: configuration space and BARs."""

import re
import shutil
import subprocess

import pytest
from harness.environment import SIDE_GUEST, SIDE_HOST

from tlsnic.abi import registers as reg
from tlsnic.driver.bus import pci

ROW_1, ROW_2 = pytest.mark.row("BUS-01"), pytest.mark.row("BUS-02")
_MEMORY64 = 0x4


def lspci(environment) -> str:
    """What `lspci -vvv` says of the card under test."""
    tool = shutil.which("lspci")
    assert tool is not None, "pciutils is missing in this guest"
    address = environment.bus_spec.partition(":")[2]
    done = subprocess.run(
        [tool, "-vvv", "-nn", "-s", address], capture_output=True, text=True, check=True
    )
    assert done.stderr == "", "lspci complained"
    return done.stdout


@ROW_1
def test_bus_01_identity(bus):
    assert bus.config_read(pci.VENDOR_ID, 2) == 0x1234
    assert bus.config_read(pci.VENDOR_ID + 2, 2) == 0x715C
    class_code = bus.config_read(8, 4) >> 8
    assert class_code == 0x020000, "an Ethernet controller (PCI Code and ID Assignment, class 02)"
    assert bus.config_read(0x0E, 1) & 0x7F == 0, "an endpoint's header"
    assert bus.config_read(0x2C, 4) not in (0, 0xFFFF_FFFF), "a subsystem is named"


@ROW_1
def test_bus_01_capabilities(bus):
    capabilities = {capability.id for capability in bus.capabilities()}
    assert {pci.CAP_ID_PM, pci.CAP_ID_EXP, pci.CAP_ID_MSIX} <= capabilities
    assert bus.config_read(6, 2) & 0x10, "the status register says that there is a list"
    express = bus.find_capability(pci.CAP_ID_EXP)
    assert bus.config_read(express + 2, 2) >> 4 & 0xF == 0, "a PCI Express endpoint (type 0)"
    assert bus.config_read(express + pci.EXP_DEVICE_CAPABILITIES, 4) & pci.EXP_DEVCAP_FLR
    power = bus.find_capability(pci.CAP_ID_PM)
    assert bus.config_read(power + 2, 2) & 7 == 3, "PCI Power Management 1.2"
    assert bus.config_read(power + 4, 2) & 3 == 0, "power state D0"


@ROW_1
def test_bus_01_every_byte_of_configuration_space_can_be_read(bus):
    words = [bus.config_read(offset, 4) for offset in range(0, 256, 4)]
    for offset in range(0, 256, 4):
        for width in (1, 2):
            for at in range(offset, offset + 4, width):
                shift = 8 * (at - offset)
                part = words[offset // 4] >> shift & (1 << 8 * width) - 1
                assert bus.config_read(at, width) == part, f"{width} bytes at {at:#x}"


@ROW_1
@pytest.mark.side(SIDE_GUEST)
def test_bus_01_lspci_reads_it_cleanly(environment):
    text = lspci(environment)
    assert "Ethernet controller [0200]" in text
    assert "[1234:715c]" in text
    assert re.search(r"Express \(v\d\) Endpoint", text)
    assert "MSI-X: " in text
    assert "Power Management version 3" in text
    assert "FLReset+" in text
    for sign in (
        "!!!",
        "Unknown header",
        "<chain",
        "access denied",
        "??",
        "<unassigned>",
        "rev ff",
    ):
        assert sign not in text, f"{sign!r} in:\n{text}"


@ROW_1
@pytest.mark.side(SIDE_GUEST)
def test_bus_01_no_driver_of_the_kernel_claims_it():
    release = subprocess.run(["uname", "-r"], capture_output=True, text=True, check=True).stdout
    with open(f"/lib/modules/{release.strip()}/modules.alias") as aliases:
        claims = [line for line in aliases if "v00001234d0000715C" in line]
    assert claims == []


@ROW_1
@pytest.mark.side(SIDE_HOST)
def test_bus_01_no_driver_of_this_machine_claims_it(tmp_path):
    from pathlib import Path  # noqa: PLC0415

    files = list(Path("/lib/modules").glob("*/modules.alias"))
    claims = [
        line
        for file in files
        for line in file.read_text().splitlines()
        if "v00001234d0000715C" in line
    ]
    assert claims == []


@ROW_2
def test_bus_02_bars_are_64_bit_memory(bus):
    sizes = {info.index: info.size_bytes for info in bus.bars()}
    assert sizes[0] == reg.BAR0.size_bytes == 0x10000
    assert sizes[2] == 0x1000
    assert set(sizes) == {0, 2, 4}
    for index, size in sizes.items():
        low = bus.config_read(pci.BASE_ADDRESS_0 + 4 * index, 4)
        assert low & 0xF == _MEMORY64, f"BAR{index}: 64-bit, memory, not prefetchable"
        assert size & (size - 1) == 0


@ROW_2
def test_bus_02_sizing(bus, environment):
    """PCI 3.0, 6.2.5.1: all ones are written, and what comes back tells the size."""
    if environment.side == SIDE_GUEST:
        # Decoding is off meanwhile, so that the BARs are nowhere.
        command = bus.config_read(pci.COMMAND, 2)
        bus.config_write(pci.COMMAND, command & ~pci.COMMAND_MEMORY, 2)
    for info in bus.bars():
        offset = pci.BASE_ADDRESS_0 + 4 * info.index
        before = bus.config_read(offset, 4), bus.config_read(offset + 4, 4)
        bus.config_write(offset, 0xFFFF_FFFF, 4)
        bus.config_write(offset + 4, 0xFFFF_FFFF, 4)
        low, high = bus.config_read(offset, 4), bus.config_read(offset + 4, 4)
        bus.config_write(offset, before[0], 4)
        bus.config_write(offset + 4, before[1], 4)
        assert (bus.config_read(offset, 4), bus.config_read(offset + 4, 4)) == before
        assert low & 0xF == _MEMORY64
        if environment.side == SIDE_HOST:
            # libvfio-user sizes the lower half only; clients take the size from its region info.
            high = 0xFFFF_FFFF
        size = (~(low & ~0xF | high << 32) + 1) & (1 << 64) - 1
        assert size == info.size_bytes, f"BAR{info.index} sizes as {size:#x}"
    if environment.side == SIDE_GUEST:
        bus.config_write(pci.COMMAND, command, 2)
        assert bus.bar(0).read32(reg.MAGIC) == reg.BAR0.by_name["MAGIC"].reset


@ROW_2
def test_bus_02_bars_that_do_not_exist_read_as_zero(bus):
    for info in bus.bars():
        assert info.index % 2 == 0
    assert bus.config_read(0x30, 4) == 0, "there is no expansion ROM"


@ROW_2
def test_bus_02_msix_table_and_pba_lie_in_a_bar_of_their_own(bus):
    info = bus.msix_info()
    assert info is not None
    assert info.vectors == reg.MODERATION_COUNT
    assert info.table_bar == info.pba_bar == 4
    size = next(bar.size_bytes for bar in bus.bars() if bar.index == 4)
    table_end = info.table_offset + 16 * info.vectors
    pba_end = info.pba_offset + 8 * -(-info.vectors // 64)
    assert table_end <= info.pba_offset or pba_end <= info.table_offset
    assert max(table_end, pba_end) <= size


@ROW_2
@pytest.mark.side(SIDE_HOST)
def test_bus_02_msix_bar_is_not_mappable(bus):
    mappable = {info.index: info.is_mappable for info in bus.bars()}
    assert mappable[4] is False


@ROW_2
@pytest.mark.side(SIDE_GUEST)
def test_bus_02_lspci_shows_the_bars(environment):
    text = lspci(environment)
    for index, size in ((0, "64K"), (2, "4K"), (4, "4K")):
        pattern = rf"Region {index}: Memory at \S+ \(64-bit, non-prefetchable\).* \[size={size}\]"
        assert re.search(pattern, text), text
    assert re.search(r"Vector table: BAR=4 ", text)
    assert re.search(r"PBA: BAR=4 ", text)
