"""The client's memory: views, permissions, and what happens when it goes away."""

import errno
import mmap
import os
import struct
from collections.abc import Iterator

import numpy as np
import pytest
from conftest import Device, DeviceMaker
from hypothesis import given
from hypothesis import strategies as st
from raw_client import DMA_READ, DMA_WRITE, HEADER, Client

from tlsnic.device.vfu import Abi, DmaError, DmaMap, DmaRegion, Library, Reset, VfuError


def test_views_see_and_change_the_clients_memory(
    device: Device, client: Client, memfd: int
) -> None:
    assert client.map_dma(0x10000, 1 << 20, memfd) == 0
    os.pwrite(memfd, b"hello", 0x2345)
    assert device.dma.view1(0x12345, 5) == b"hello"
    device.dma.view1(0x1F000, 4, write=True)[:] = b"back"
    assert os.pread(memfd, 4, 0xF000) == b"back"
    device.dma.write(0x10000, b"copy")
    assert device.dma.read(0x10000, 4) == b"copy"


def test_map_starts_at_its_offset_in_the_file(device: Device, client: Client, memfd: int) -> None:
    os.pwrite(memfd, b"here", 0x8000)
    os.pwrite(memfd, b"odd", 0x9010)
    assert client.map_dma(0x0, 0x1000, memfd, offset=0x8000) == 0
    assert client.map_dma(0x1000, 0x800, memfd, offset=0x9010) == 0
    assert device.dma.view1(0, 4) == b"here"
    assert device.dma.view1(0x1000, 3) == b"odd"


def test_range_over_several_maps_comes_in_pieces(
    device: Device, client: Client, memfd: int
) -> None:
    for index in range(3):
        assert client.map_dma(0x1000 * index, 0x1000, memfd, offset=0x4000 * index) == 0
    device.dma.write(0x800, bytes(range(256)) * 24)
    views = device.dma.view(0x800, 0x1800)
    assert [len(view) for view in views] == [0x800, 0x1000]
    assert b"".join(views) == bytes(range(256)) * 24
    with pytest.raises(DmaError, match="leaves its map"):
        device.dma.view1(0x800, 0x1800)
    with pytest.raises(DmaError) as caught:
        device.dma.view(0x2800, 0x1000)
    assert (caught.value.iova, caught.value.length) == (0x2800, 0x1000)


def test_failed_write_over_a_gap_changes_nothing(
    device: Device, client: Client, memfd: int
) -> None:
    assert client.map_dma(0, 0x1000, memfd) == 0
    with pytest.raises(DmaError, match="no map covers"):
        device.dma.write(0xF00, b"x" * 0x200)
    assert os.pread(memfd, 0x100, 0xF00) == bytes(0x100)


@pytest.mark.parametrize("iova", [0xFFF, 0x3000, 1 << 63])
def test_unmapped_address_is_an_error(
    device: Device, client: Client, memfd: int, iova: int
) -> None:
    assert client.map_dma(0x1000, 0x2000, memfd) == 0
    for call in (device.dma.view1, device.dma.view):
        with pytest.raises(DmaError) as caught:
            call(iova, 1)
        assert caught.value.errno == errno.EFAULT
    with pytest.raises(DmaError, match="negative"):
        device.dma.view1(0x1000, -1)


def test_access_not_granted_is_refused(device: Device, client: Client, memfd: int) -> None:
    read_only, write_only = 1, 2
    assert client.map_dma(0x0000, 0x1000, memfd, prot=read_only) == 0
    assert client.map_dma(0x1000, 0x1000, memfd, prot=write_only) == 0
    assert device.dma.view1(0, 4) == bytes(4)
    assert device.dma.view1(0, 4).readonly
    with pytest.raises(DmaError) as caught:
        device.dma.view1(0, 4, write=True)
    assert caught.value.errno == errno.EACCES
    assert len(device.dma.view1(0x1000, 4, write=True)) == 4
    with pytest.raises(DmaError, match="no read access"):
        device.dma.view1(0x1000, 4)


def test_ram_without_a_descriptor_is_known_and_names_the_fix(
    device: Device, client: Client
) -> None:
    assert client.map_dma(0x1000, 0x1000) == 0
    (region,) = device.dma.regions
    assert device.events == [("map", 0x1000)]
    assert "memory-backend-memfd,share=on" in region.inaccessible
    with pytest.raises(DmaError, match="memory-backend-memfd,share=on"):
        device.dma.view1(0x1000, 4)
    assert client.unmap_dma(0x1000, 0x1000) == 0
    assert len(device.dma) == 0


def test_file_shorter_than_its_map_does_not_kill_the_server(
    device: Device, client: Client, memfd: int
) -> None:
    assert client.map_dma(0, 2 << 20, memfd) == 0
    with pytest.raises(DmaError, match="shorter than the map"):
        device.dma.view1(0, 4)
    assert client.read(0, 0, 4) == bytes(4)


@pytest.fixture
def ram_5gib() -> Iterator[int]:
    fd = os.memfd_create("ram")
    os.ftruncate(fd, 5 << 30)
    yield fd
    os.close(fd)


def test_map_of_5_gib_keeps_its_length(device: Device, client: Client, ram_5gib: int) -> None:
    assert client.map_dma(1 << 32, 5 << 30, ram_5gib) == 0
    os.pwrite(ram_5gib, b"far", (5 << 30) - 3)
    assert device.dma.view1((1 << 32) + (5 << 30) - 3, 3) == b"far"
    assert len(device.dma.view1(1 << 32, 5 << 30)) == 5 << 30
    sgl = device.context.addr_to_sgl(1 << 32, 5 << 30)
    assert [piece.length for piece in sgl.get()] == [5 << 30]
    sgl.put()


def test_unmap_runs_the_hook_while_the_memory_is_still_there(
    make_device: DeviceMaker, memfd: int
) -> None:
    device = make_device()
    seen: list[bytes] = []
    table = device.context.setup_dma(
        on_unmap=lambda region: seen.append(bytes(table.view1(region.iova, 4)))
    )
    with device.realize().connect() as client:
        assert client.map_dma(0x1000, 0x1000, memfd) == 0
        os.pwrite(memfd, b"last", 0)
        assert client.unmap_dma(0x1000, 0x1000) == 0
    assert seen == [b"last"]
    with pytest.raises(DmaError):
        table.view1(0x1000, 4)
    assert table.lingering == 0


def test_views_held_over_an_unmap_do_not_dangle(
    device: Device, client: Client, memfd: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The library unmaps its own mapping right after the callback: ours must outlive it."""
    assert client.map_dma(0x1000, 0x1000, memfd) == 0
    os.pwrite(memfd, b"kept", 0)
    held = device.dma.view1(0x1000, 4)
    array = np.frombuffer(device.dma.view1(0x1000, 0x1000), dtype=np.uint8)
    assert client.unmap_dma(0x1000, 0x1000) == 0
    assert device.dma.lingering == 1
    assert "still held" in caplog.text
    assert held == b"kept"
    assert bytes(array[:4]) == b"kept"
    assert mapped(memfd) == 1
    del held, array
    assert mapped(memfd) == 0


def mapped(fd: int) -> int:
    """Return how often the file is mapped into this process."""
    inode = str(os.fstat(fd).st_ino)
    with open("/proc/self/maps", encoding="ascii") as maps:
        return sum(line.split()[4] == inode for line in maps)


def test_unmapping_leaves_no_mapping_behind(device: Device, client: Client, memfd: int) -> None:
    for _ in range(3):
        assert client.map_dma(0, 1 << 20, memfd) == 0
        assert mapped(memfd) > 0
        device.dma.view1(0, 16)
        assert client.unmap_dma(0, 1 << 20) == 0
        assert mapped(memfd) == 0


def test_same_map_twice_is_one_map(device: Device, client: Client, memfd: int) -> None:
    assert client.map_dma(0, 0x1000, memfd) == 0
    assert client.map_dma(0, 0x1000, memfd) == 0
    assert client.map_dma(0x800, 0x1000, memfd) == errno.EINVAL  # an overlap
    assert len(device.dma) == 1
    assert client.unmap_dma(0, 0x1000) == 0
    assert device.events == [("map", 0), ("unmap", 0)]


def test_lost_connection_unmaps_everything(device: Device, client: Client, memfd: int) -> None:
    for index in range(4):
        assert client.map_dma(0x10000 * index, 0x1000, memfd) == 0
    client.close()
    device.pump()
    assert len(device.dma) == 0
    assert device.events[4:] == [("unmap", 0x10000 * index) for index in range(4)] + [
        Reset.LOST_CONNECTION
    ]


def test_at_most_16_maps_with_the_older_library(
    device: Device, client: Client, library: Library, memfd: int
) -> None:
    errors = [client.map_dma(0x1000 * index, 0x1000, memfd) for index in range(17)]
    assert errors[:16] == [0] * 16
    if library.abi is Abi.JUNE_2022:
        assert device.context.max_dma_regions == 16
        assert errors[16] == errno.EINVAL
    else:
        assert errors[16] == 0


def test_scatter_list_splits_at_maps_and_checks_access(
    device: Device, client: Client, memfd: int
) -> None:
    assert client.map_dma(0x0000, 0x1000, memfd) == 0
    assert client.map_dma(0x1000, 0x1000, memfd, offset=0x4000, prot=1) == 0
    assert client.map_dma(0x2000, 0x1000) == 0
    context = device.context
    sgl = context.addr_to_sgl(0x800, 0x1000)
    assert sgl.entries == 2
    assert sgl.mappable
    assert [piece.length for piece in sgl.get()] == [0x800, 0x800]
    sgl.mark_dirty()
    sgl.put()
    for arguments, code in (
        ({"iova": 0x1000, "length": 8, "prot": mmap.PROT_WRITE}, errno.EACCES),
        ({"iova": 0x9000, "length": 8}, errno.ENOENT),
        ({"iova": 0x800, "length": 0x1000, "max_entries": 1}, errno.ENOSPC),
    ):
        with pytest.raises(DmaError) as caught:
            context.addr_to_sgl(**arguments)
        assert caught.value.errno == code
    unmapped = context.addr_to_sgl(0x2000, 8)
    assert not unmapped.mappable
    with pytest.raises(VfuError) as fault:
        unmapped.get()
    assert fault.value.errno == errno.EFAULT


def test_message_dma_honours_the_offset(device: Device, client: Client) -> None:
    """0b28d205 forgets the offset into the map: its requests all start at the map's address."""
    assert client.map_dma(0x5000, 0x1000) == 0
    prot = mmap.PROT_READ | mmap.PROT_WRITE
    for command in (DMA_READ, DMA_WRITE):
        sgl = device.context.addr_to_sgl(0x5123, 4, prot=prot)
        # The call blocks for the answer. This one, to another message, is there already and is
        # not accepted; what counts is the request that went out.
        client.send_raw(HEADER.pack(0xDEAD, command, 36, 1, 0) + bytes(20))
        with pytest.raises(VfuError):
            _ = sgl.read() if command == DMA_READ else sgl.write(b"data")
        request = client.receive()
        assert request.command == command
        assert struct.unpack_from("<QQ", request.payload) == (0x5123, 4)
        assert request.payload[16:] == (b"data" if command == DMA_WRITE else b"")
        device.context.disconnect()
        client.close()
        client = device.connect()
        assert client.map_dma(0x5000, 0x1000) == 0
    client.close()


class Model(DmaMap):
    """A table over plain bytearrays, for checking the search against a dictionary of bytes."""

    def __init__(self, spans: list[tuple[int, int]]) -> None:
        super().__init__()
        for iova, size in spans:
            region = DmaRegion(iova, size, 3)
            view = memoryview(bytearray((iova + i) & 0xFF for i in range(size)))
            region.read_view, region.write_view = view.toreadonly(), view
            self._regions[iova] = region
            self._starts.append(iova)


@given(
    gaps=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 8)), max_size=8),
    ranges=st.lists(st.tuples(st.integers(-2, 60), st.integers(0, 20), st.booleans()), max_size=30),
)
def test_every_range_is_found_or_refused_as_the_bytes_say(
    gaps: list[tuple[int, int]], ranges: list[tuple[int, int, bool]]
) -> None:
    spans, position = [], 0
    for gap, size in gaps:
        spans.append((position + gap, size))
        position += gap + size
    table = Model(spans)
    backed = {iova + i: iova for iova, size in spans for i in range(size)}
    for iova, length, write in ranges:
        wanted = range(iova, iova + length)
        if length and all(address in backed for address in wanted):
            assert b"".join(table.view(iova, length, write)) == bytes(a & 0xFF for a in wanted)
            if len({backed[address] for address in wanted}) == 1:
                assert table.view1(iova, length, write) == bytes(a & 0xFF for a in wanted)
            else:
                with pytest.raises(DmaError):
                    table.view1(iova, length, write)
        elif length:
            with pytest.raises(DmaError):
                table.view(iova, length, write)
            with pytest.raises(DmaError):
                table.view1(iova, length, write)
