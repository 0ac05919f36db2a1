"""Configuration space is walked to its end, and never for ever."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlsnic.driver.bus import BusError, pci


def reader(space):
    return lambda offset, width: int.from_bytes(space[offset : offset + width], "little")


def config(*capabilities, size=4096):
    """Space whose list holds (offset, id, next)."""
    space = bytearray(size)
    space[pci.STATUS] = pci.STATUS_CAP_LIST
    if capabilities:
        space[pci.CAPABILITY_LIST] = capabilities[0][0]
    for offset, cap_id, following in capabilities:
        space[offset : offset + 2] = bytes((cap_id, following))
    return space


def test_the_list_is_followed_in_its_order():
    space = config((0x80, 0x10, 0x40), (0x40, 0x01, 0x63), (0x60, 0x11, 0))
    found = pci.walk_capabilities(reader(space))
    assert [(c.id, c.offset) for c in found] == [(0x10, 0x80), (0x01, 0x40), (0x11, 0x60)]


def test_without_the_status_bit_there_is_no_list():
    space = config((0x40, 1, 0))
    space[pci.STATUS] = 0
    assert pci.walk_capabilities(reader(space)) == []


@pytest.mark.parametrize("following", [0x40, 0x3C, 0x04])
def test_a_list_that_loops_or_points_into_the_header_is_an_error(following):
    with pytest.raises(BusError, match=r"loops|header"):
        pci.walk_capabilities(reader(config((0x40, 1, following))))


def test_a_device_that_is_gone_has_an_end():
    assert pci.walk_capabilities(lambda offset, width: (1 << 8 * width) - 1) == []
    assert pci.walk_extended_capabilities(lambda offset, width: (1 << 8 * width) - 1) == []


def test_extended_capabilities_follow_their_own_list():
    space = config()
    struct.pack_into("<I", space, 0x100, 0x0003 | 1 << 16 | 0x140 << 20)
    struct.pack_into("<I", space, 0x140, 0x000B | 1 << 16)
    found = pci.walk_extended_capabilities(reader(space))
    assert [(c.id, c.offset, c.extended) for c in found] == [(3, 0x100, True), (11, 0x140, True)]
    struct.pack_into("<I", space, 0x140, 0x000B | 1 << 16 | 0x100 << 20)
    with pytest.raises(BusError, match="loops"):
        pci.walk_extended_capabilities(reader(space))


@given(st.binary(min_size=256, max_size=256))
def test_any_configuration_space_has_an_end(space):
    space = bytearray(space)
    space[pci.STATUS] |= pci.STATUS_CAP_LIST
    try:
        found = pci.walk_capabilities(reader(space))
    except BusError:
        return
    assert all(0x40 <= c.offset < 256 for c in found)


@pytest.mark.parametrize(
    ("register", "expected"),
    [
        (0xF000_0000, (False, False, False)),
        (0xF000_0004, (False, True, False)),
        (0xF000_000C, (False, True, True)),
        (0x0000_E001, (True, False, False)),
        (0x0000_E00D, (True, False, False)),  # in an I/O BAR these are address bits
    ],
)
def test_bar_flags_come_from_the_register(register, expected):
    bar = pci.BarInfo.from_register(0, 4096, register, is_mappable=False)
    assert (bar.is_io, bar.is_64bit, bar.is_prefetchable) == expected
