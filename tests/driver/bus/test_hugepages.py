"""Huge pages: where they are, which follow one another, and that the kernel gets them back."""

import mmap
import os
import struct

import pytest

from tlsnic.driver.bus import BusError
from tlsnic.driver.bus.hugepages import (
    HUGE_BYTES,
    HugeArena,
    HugePageReserve,
    contiguous_runs,
    physical_address,
)

PRESENT = 1 << 63


@pytest.fixture
def pagemap(tmp_path):
    """A page map of pages 0, 1, 2 ... with the given entries."""
    fds = []

    def make(*entries):
        path = tmp_path / "pagemap"
        path.write_bytes(struct.pack(f"={len(entries)}Q", *entries))
        fds.append(os.open(path, os.O_RDONLY))
        return fds[-1]

    yield make
    for fd in fds:
        os.close(fd)


def test_the_frame_number_is_the_low_55_bits(pagemap):
    flags = PRESENT | 1 << 62 | 1 << 61 | 1 << 56 | 1 << 55
    fd = pagemap(0, flags | (1 << 55) - 1, flags | 0x12345)
    assert physical_address(fd, 2 * mmap.PAGESIZE + 0x10) == 0x12345 * mmap.PAGESIZE + 0x10
    assert physical_address(fd, mmap.PAGESIZE) == ((1 << 55) - 1) * mmap.PAGESIZE


@pytest.mark.parametrize(
    ("entry", "address", "why"),
    [
        (0x123, 0, "not in memory"),
        (PRESENT, 0, "hides physical addresses"),
        (PRESENT | 1, 1 << 20, "no entry"),
    ],
)
def test_an_entry_that_tells_no_address_is_an_error(pagemap, entry, address, why):
    with pytest.raises(BusError, match=why):
        physical_address(pagemap(entry), address)


def test_runs_join_pages_that_ascend_without_a_gap():
    pages = [10, 11, 12, 5, 4, 7, 8]
    assert contiguous_runs([page * HUGE_BYTES for page in pages]) == [
        (0, 3),
        (3, 1),
        (4, 1),
        (5, 2),
    ]
    assert contiguous_runs([]) == []


@pytest.fixture
def kernel(tmp_path):
    """nr_hugepages and free_hugepages of a kernel with 10 pages, of which 3 are free."""
    path = tmp_path / "kernel/mm/hugepages/hugepages-2048kB"
    path.mkdir(parents=True)
    (path / "nr_hugepages").write_text("10\n")
    (path / "free_hugepages").write_text("3\n")
    return path


def test_free_pages_are_taken_as_they_are(tmp_path, kernel):
    HugePageReserve(str(tmp_path)).ensure_free(3)
    assert (kernel / "nr_hugepages").read_text() == "10\n"


def test_pages_the_kernel_cannot_find_are_given_back_at_once(tmp_path, kernel):
    with pytest.raises(BusError, match="finds no 5 free"):
        HugePageReserve(str(tmp_path)).ensure_free(5)
    assert (kernel / "nr_hugepages").read_text() == "10"


def test_a_kernel_without_huge_pages_says_so(tmp_path):
    with pytest.raises(BusError, match="CONFIG_HUGETLBFS"):
        HugePageReserve(str(tmp_path)).ensure_free(1)


@pytest.mark.root
def test_real_huge_pages_have_real_addresses_and_go_back():
    def reserved():
        with open("/proc/sys/vm/nr_hugepages") as file:
            return int(file.read())

    before = reserved()
    reserve = HugePageReserve()
    try:
        reserve.ensure_free(2)
    except BusError as error:
        pytest.skip(f"no huge pages here: {error}")
    arena = HugeArena(2)
    addresses = arena.physical_addresses()
    assert len(set(addresses)) == 2
    assert all(address % HUGE_BYTES == 0 for address in addresses)
    assert arena.address % HUGE_BYTES == 0
    with open("/proc/self/pagemap", "rb", buffering=0) as file:  # any 4 KiB inside agrees
        inside = physical_address(file.fileno(), arena.address + HUGE_BYTES + 0x5123)
    assert inside == addresses[1] + 0x5123
    arena.memory[0] = 1
    arena.close()
    assert arena.memory.closed
    reserve.close()
    assert reserved() == before


@pytest.mark.root
def test_more_huge_pages_than_reserved_cannot_be_mapped():
    with open("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages") as file:
        free = int(file.read())
    with pytest.raises(BusError, match=r"cannot be mapped.*nr_hugepages"):
        HugeArena(free + 1000)
