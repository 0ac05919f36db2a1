"""Mapped registers: the right bytes, in one access of the right width, or an error."""

import mmap
import os
import sys

import pytest

from tlsnic.driver.bus import BusError
from tlsnic.driver.bus.mmio import FileBar, MappedBar

SIZE = 4096


@pytest.fixture
def memory():
    with mmap.mmap(-1, SIZE) as mapped:
        yield mapped


@pytest.fixture(params=["mapped", "file"])
def bar(request, memory):
    if request.param == "mapped":
        mapped = MappedBar(3, memoryview(memory))
        yield mapped
        mapped.close()
    else:
        fd = os.memfd_create("bar")
        os.ftruncate(fd, 2 * SIZE)
        yield FileBar(3, SIZE, fd, SIZE)
        os.close(fd)


@pytest.mark.parametrize("width", [1, 2, 4, 8])
@pytest.mark.parametrize("offset", [0, 4, 8, 13, SIZE - 8])
def test_values_are_little_endian_at_any_offset(bar, width, offset):
    value = 0x8877665544332211 & (1 << 8 * width) - 1
    bar.write(offset, value, width)
    assert bar.read(offset, width) == value
    assert [bar.read(offset + n, 1) for n in range(width)] == list(value.to_bytes(width, "little"))
    if offset + 8 <= SIZE:
        assert bar.read64(offset) & (1 << 8 * width) - 1 == value


def test_the_fast_forms_agree_with_the_general_one(bar):
    for offset in (8, 9, 12, 15):
        bar.write32(offset, 0x80000001)
        assert bar.read32(offset) == bar.read(offset, 4) == 0x80000001
        bar.write64(offset, 0x8000000000000002)
        assert bar.read64(offset) == bar.read(offset, 8) == 0x8000000000000002


@pytest.mark.parametrize(
    ("offset", "width"), [(-4, 4), (-8, 8), (SIZE, 4), (SIZE - 3, 4), (SIZE - 4, 8), (0, 3)]
)
def test_accesses_outside_are_errors(bar, offset, width):
    calls = [lambda: bar.read(offset, width), lambda: bar.write(offset, 0, width)]
    if width == 4:
        calls += [lambda: bar.read32(offset), lambda: bar.write32(offset, 0)]
    if width == 8:
        calls += [lambda: bar.read64(offset), lambda: bar.write64(offset, 0)]
    for call in calls:
        with pytest.raises(BusError):
            call()


def test_a_value_that_does_not_fit_is_an_error(bar):
    for call in (
        lambda: bar.write32(0, 1 << 32),
        lambda: bar.write64(0, -1),
        lambda: bar.write(0, 256, 1),
        lambda: bar.write(1, 1 << 32, 4),
    ):
        with pytest.raises(ValueError):  # noqa: PT011 - the words are Python's own
            call()


def test_closing_lets_the_mapping_go(memory):
    mapped = MappedBar(0, memoryview(memory))
    mapped.read32(1)
    mapped.close()
    memory.close()
    assert memory.closed


def test_a_file_that_fails_reads_all_ones(tmp_path):
    path = tmp_path / "empty"
    path.touch()
    with open(path, "r+b", buffering=0) as file:
        bar = FileBar(0, SIZE, file.fileno(), 0)
        assert bar.read(0, 2) == 0xFFFF
    with open(os.devnull, "rb", buffering=0) as file:
        bar = FileBar(0, SIZE, file.fileno(), 0)
        bar.write32(0, 1)  # not open for writing: vanishes
        assert bar.read64(0) == (1 << 64) - 1


def test_a_big_endian_machine_is_refused(memory, monkeypatch):
    monkeypatch.setattr(sys, "byteorder", "big")
    with memoryview(memory) as view, pytest.raises(BusError, match="little-endian"):
        MappedBar(0, view)
