"""The vfio-user bus against a fake server: what it sends, and what it makes of the answers."""

import errno
import mmap
import os
import struct

import pytest

from tlsnic.driver.bus import (
    BusError,
    BusGoneError,
    BusProtocolError,
    BusReplyError,
    open_bus,
    pci,
    vfio_abi,
)
from tlsnic.driver.bus import vfio_user_wire as wire


@pytest.fixture
def bus(server):
    with open_bus(f"vfio-user:{server.path}", timeout_s=30) as opened:
        yield opened


def test_the_bars_have_the_sizes_and_flags_the_server_says(bus):
    assert [
        (b.index, b.size_bytes, b.is_64bit, b.is_prefetchable, b.is_io, b.is_mappable)
        for b in bus.bars()
    ] == [(0, 4096, True, False, False, False), (2, 16384, False, True, False, True)]
    with pytest.raises(BusError, match="no BAR1"):
        bus.bar(1)


def test_memory_decoding_is_enabled_as_a_kernel_would(bus, server):
    assert server.regions[7][pci.COMMAND] & pci.COMMAND_MEMORY


@pytest.mark.parametrize("width", [1, 2, 4, 8])
@pytest.mark.parametrize("offset", [0, 8, 13, 4096 - 8])
def test_registers_are_read_and_written_with_their_width_at_any_offset(bus, server, width, offset):
    value = 0x8877665544332211 & (1 << 8 * width) - 1
    bus.write(0, offset, value, width)
    assert bus.read(0, offset, width) == value
    assert server.regions[0][offset : offset + width] == value.to_bytes(width, "little")
    assert server.requests(wire.REGION_WRITE)[-1] == (
        struct.pack("<QII", offset, 0, width) + value.to_bytes(width, "little")
    )


def test_the_fast_writes_say_the_same_as_the_general_one(bus, server):
    bar = bus.bar(0)
    bar.write32(0x10, 0xDEADBEEF)
    bar.write64(0x21, 0x1122334455667788)
    assert (bar.read32(0x10), bar.read64(0x21)) == (0xDEADBEEF, 0x1122334455667788)
    fast = server.requests(wire.REGION_WRITE)[-2:]
    bar.write(0x10, 0xDEADBEEF, 4)
    bar.write(0x21, 0x1122334455667788, 8)
    bar.read32(0)
    assert server.requests(wire.REGION_WRITE)[-2:] == fast


@pytest.mark.parametrize(("offset", "width"), [(-4, 4), (4093, 4), (4096, 1), (4089, 8), (0, 3)])
def test_accesses_outside_of_a_bar_are_refused_before_they_are_sent(bus, server, offset, width):
    bar = bus.bar(0)
    with pytest.raises(BusError):
        bar.read(offset, width)
    with pytest.raises(BusError):
        bar.write(offset, 0, width)
    if width == 4:
        with pytest.raises(BusError):
            bar.write32(offset, 0)
    if width == 8:
        with pytest.raises(BusError):
            bar.write64(offset, 0)


def test_a_value_that_does_not_fit_is_refused(bus):
    bar = bus.bar(0)
    for call in (
        lambda: bar.write32(0, 1 << 32),
        lambda: bar.write64(0, -1),
        lambda: bar.write(0, 256, 1),
        lambda: bus.config_write(4, 1 << 16, 2),
    ):
        with pytest.raises(ValueError, match="does not fit"):
            call()


def test_many_writes_arrive_in_order(bus, server):
    bar = bus.bar(0)
    bar.write32_many([(4 * (n % 8), n) for n in range(1000)])
    assert bar.read32(4 * 7) == 999
    values = [struct.unpack("<I", p[16:])[0] for p in server.requests(wire.REGION_WRITE)[-1000:]]
    assert values == list(range(1000))


def test_many_writes_into_a_partly_mapped_bar_take_their_ways(bus, server):
    bus.bar(2).write32_many([(0, 1), (4096, 2), (8, 3)])
    assert [bus.bar(2).read32(offset) for offset in (0, 4096, 8)] == [1, 2, 3]
    assert server.regions[2][4096] == 0  # that one went without a message


@pytest.mark.parametrize(
    ("bad", "error"), [((4093, 0), BusError), ((-4, 0), BusError), ((0, 1 << 32), ValueError)]
)
def test_many_writes_with_a_bad_one_are_an_error(bus, bad, error):
    with pytest.raises(error):
        bus.bar(0).write32_many([(0, 1), bad])
    bus.bar(0).write32(0, 5)  # nothing is held back afterwards
    assert bus.bar(0).read32(0) == 5


def test_a_read_inside_a_batch_sees_the_writes_before_it(bus):
    with bus.batch():
        bus.bar(0).write32(0, 5)
        assert bus.bar(0).read32(0) == 5


def test_mapped_areas_are_accessed_without_messages(bus, server):
    before = len(server.seen)
    bus.bar(2).write32(4096 + 12, 0x01020304)
    bus.bar(2).write64(4096 + 16, 7)
    assert bus.bar(2).read32(4096 + 12) == 0x01020304
    assert os.pread(server.area_fd, 4, 4096 + 12) == b"\4\3\2\1"
    assert len(server.seen) == before
    bus.bar(2).write32(4096 - 2, 0xAABBCCDD)  # straddles the border: goes by message, whole
    assert bus.bar(2).read32(4096 - 2) == 0xAABBCCDD
    assert len(server.seen) == before + 2


def test_mapped_areas_can_be_left_unmapped(server):
    with open_bus(f"vfio-user:{server.path}", map_bars=False) as bus:
        bus.bar(2).write32(4096, 9)
        assert bus.bar(2).read32(4096) == 9
        assert not bus.bars()[1].is_mappable
    assert server.regions[2][4096] == 9


def test_a_whole_mappable_bar_is_mapped_as_one(server):
    server.area = (0, 16384)
    with open_bus(f"vfio-user:{server.path}") as bus:
        bus.bar(2).write32(16380, 3)
        assert bus.bar(2).read32(16380) == 3
        assert bus.bars()[1].is_mappable


@pytest.mark.parametrize("area", [(4096, 4097 * 4), (100, 4096), (8192, 16384 - 4096)])
def test_an_area_that_cannot_be_mapped_is_an_error_that_says_so(server, area):
    server.area = area
    with pytest.raises(BusError, match=r"cannot be mapped|outside its region"):
        open_bus(f"vfio-user:{server.path}")


def test_a_refused_register_access_reads_all_ones_and_is_counted(bus, server):
    server.answers[wire.REGION_READ] = lambda payload, fds: errno.EIO
    assert bus.bar(0).read32(0) == 0xFFFFFFFF
    assert bus.config_read(0, 2) == 0xFFFF
    assert bus.access_errors == 2
    assert bus.last_access_error.errno == errno.EIO
    with pytest.raises(BusReplyError):
        bus.region_read(0, 0, 4)


@pytest.mark.parametrize(
    "reply",
    [b"", bytes(16), struct.pack("<QII", 0, 0, 4) + b"123", struct.pack("<QII", 0, 1, 4) + b"1234"],
)
def test_an_answer_to_another_read_is_a_protocol_error(bus, server, reply):
    server.answers[wire.REGION_READ] = lambda payload, fds: reply
    with pytest.raises(BusProtocolError, match="not an answer"):
        bus.bar(0).read32(0)
    del server.answers[wire.REGION_READ]
    bus.bar(0).read32(0)  # the stream itself is still in step


@pytest.mark.parametrize(
    ("command", "reply", "why"),
    [
        (wire.VERSION, b"", "not even a version"),
        (wire.DEVICE_GET_INFO, b"123", "3 of 16 bytes"),
        (wire.DEVICE_GET_INFO, struct.pack("<IIII", 16, 1, 9, 5), "not a PCI device"),
        (wire.DEVICE_GET_INFO, struct.pack("<IIII", 16, 3, 6, 5), "no configuration"),
        (wire.DEVICE_GET_REGION_INFO, b"123", "3 of 32 bytes"),
        (wire.DEVICE_GET_REGION_INFO, struct.pack("<IIIIQQ", 32, 3, 8, 0, 64, 0), "about region 8"),
        (wire.DEVICE_GET_REGION_INFO, errno.EINVAL, "refused DEVICE_GET_REGION_INFO"),
    ],
)
def test_a_server_that_answers_nonsense_is_refused_with_the_reason(server, command, reply, why):
    server.answers[command] = lambda payload, fds: reply
    with pytest.raises(BusError, match=why):
        open_bus(f"vfio-user:{server.path}")


def test_region_capabilities_longer_than_expected_are_asked_for_again(server):
    def answer(payload, fds):
        argsz, _, index, *_ = struct.unpack("<IIIIQQ", payload)
        if index != 2:
            return server._on_5(payload, fds)
        for fd in fds:
            os.close(fd)
        if argsz < 2000:
            return struct.pack("<IIIIQQ", 2000, 7, 2, 0, 16384, 0)
        cap = struct.pack("<HHI1952x", 2, 1, 0)
        return struct.pack("<IIIIQQ", 32 + len(cap), 11, 2, 32, 16384, 0) + cap

    server.answers[wire.DEVICE_GET_REGION_INFO] = answer
    with open_bus(f"vfio-user:{server.path}") as bus:
        assert not bus.bars()[1].is_mappable


@pytest.mark.parametrize("after", range(1, 12))  # opening takes 11 messages
def test_a_server_that_hangs_up_while_the_bus_opens_is_an_error_and_leaks_nothing(server, after):
    server.hang_up_after = after
    if after < 9:
        with pytest.raises(BusGoneError):
            open_bus(f"vfio-user:{server.path}", timeout_s=30)
        return
    # What the device has is known by then: only its registers read all ones.
    with open_bus(f"vfio-user:{server.path}", timeout_s=30) as bus:
        assert bus.bar(0).read32(0) == 0xFFFFFFFF
        assert bus.gone


def test_a_device_that_is_gone_reads_all_ones_and_swallows_writes(bus, server):
    interrupts = bus.msix_enable(2)
    server.hang_up_after = 0
    bar = bus.bar(0)
    bar.write32(0, 1)  # lets the server notice
    assert interrupts.poll(5) == {}  # ends at once, by the hang-up
    assert bus.gone
    assert (bar.read32(0), bar.read64(0), bar.read(0, 1)) == (0xFFFFFFFF, (1 << 64) - 1, 0xFF)
    assert bus.config_read(0, 4) == 0xFFFFFFFF
    bar.write32(0, 1)
    bar.write32_many([(0, 1)] * 1000)
    bus.config_write(4, 0, 2)
    bus.set_bus_master(True)
    for call in (bus.reset, lambda: bus.msix_enable(1), lambda: bus.dma_alloc(64)):
        with pytest.raises(BusGoneError):
            call()


def test_reset_keeps_the_command_register(bus, server):
    bus.set_bus_master(True)
    bus.bar(0).write32(0, 1)
    bus.reset()
    assert server.requests(wire.DEVICE_RESET) == [b""]
    assert bus.bar(0).read32(0) == 0
    assert bus.config_read(pci.COMMAND, 2) == pci.COMMAND_MASTER | pci.COMMAND_MEMORY


def test_a_reset_the_server_refuses_is_an_error(bus, server):
    server.answers[wire.DEVICE_RESET] = lambda payload, fds: errno.EBUSY
    with pytest.raises(BusReplyError, match="refused DEVICE_RESET"):
        bus.reset()


def test_msix_vectors_are_connected_in_groups_the_server_can_take(bus, server):
    interrupts = bus.msix_enable(10)  # the server takes 4 descriptors in a message
    groups = [struct.unpack("<IIIII", p)[3:] for p in server.requests(wire.DEVICE_SET_IRQS)]
    assert groups == [(0, 4), (4, 4), (8, 2)]
    for vector in range(10):
        server.signal(vfio_abi.PCI_MSIX_IRQ_INDEX, vector)
        server.signal(vfio_abi.PCI_MSIX_IRQ_INDEX, vector)
    assert interrupts.poll(30) == dict.fromkeys(range(10), 2)
    assert bus.config_read(pci.COMMAND, 2) & pci.COMMAND_INTX_DISABLE
    interrupts.close()
    assert server.requests(wire.DEVICE_SET_IRQS)[-1] == struct.pack("<IIIII", 20, 0x21, 2, 0, 0)
    assert not server.eventfds
    assert not bus.config_read(pci.COMMAND, 2) & pci.COMMAND_INTX_DISABLE


@pytest.mark.parametrize("count", [0, -1, 11])
def test_more_vectors_than_there_are_cannot_be_enabled(bus, count):
    with pytest.raises(BusError, match="the device has 10"):
        bus.msix_enable(count)


def test_enabling_interrupts_again_replaces_them(bus, server):
    first = bus.msix_enable(3)
    second = bus.msix_enable(2)
    assert first.fds == ()
    server.signal(vfio_abi.PCI_MSIX_IRQ_INDEX, 1)
    assert second.poll(1) == {1: 1}


def test_a_refused_interrupt_setup_closes_what_it_opened(bus, server):
    def refuse(payload, fds):
        for fd in fds:
            os.close(fd)
        return errno.EINVAL

    server.answers[wire.DEVICE_SET_IRQS] = refuse
    with pytest.raises(BusReplyError):
        bus.msix_enable(2)


def test_intx_is_enabled_in_the_command_register_and_unmasked_by_ack(bus, server):
    bus.set_intx_disable(True)
    interrupts = bus.intx_enable()
    assert not bus.config_read(pci.COMMAND, 2) & pci.COMMAND_INTX_DISABLE
    server.signal(vfio_abi.PCI_INTX_IRQ_INDEX, 0)
    assert interrupts.wait(0, 30) == 1
    interrupts.ack(0)
    assert server.requests(wire.DEVICE_SET_IRQS)[-1] == struct.pack("<IIIII", 20, 0x11, 0, 0, 1)


def test_dma_memory_is_shared_with_the_server_by_descriptor(bus, server):
    buffer = bus.dma_alloc(5000, 4096)
    (argsz, flags, offset, iova, size, fds) = server.maps[0]
    assert (argsz, flags, offset, fds) == (32, 3, 0, 1)
    assert iova <= buffer.iova < iova + size
    assert buffer.iova >= 1 << 32
    assert buffer.iova % 4096 == 0
    assert len(buffer.view) == 5000
    assert bytes(buffer.view) == bytes(5000)


def test_maps_can_be_placed_adjacent_apart_and_read_only(bus, server):
    mapping = bus.map_memory(0x8000, 0x3000, pieces_bytes=(0x1000, 0x2000), prot=mmap.PROT_READ)
    assert [entry[1:] for entry in server.maps] == [
        (1, 0, 0x8000, 0x1000, 1),
        (1, 0x1000, 0x9000, 0x2000, 1),
    ]
    assert bus.dma_maps == {0x8000: 0x1000, 0x9000: 0x2000}
    mapping.unmap()
    mapping.unmap()
    assert [struct.unpack("<IIQQ", p) for p in server.requests(wire.DMA_UNMAP)] == [
        (24, 0, 0x8000, 0x1000),
        (24, 0, 0x9000, 0x2000),
    ]
    bus.dma_map(0x7000, 0x1000)
    assert server.maps[-1] == (32, 3, 0, 0x7000, 0x1000, 0)  # no descriptor
    with pytest.raises(BusError, match="not 12288 bytes together"):
        bus.map_memory(0, 0x3000, pieces_bytes=(1, 2))


def test_a_refused_second_piece_takes_the_first_back(bus, server):
    def answer(payload, fds):
        return errno.EEXIST if len(server.maps) else server._on_2(payload, fds)

    def closing(payload, fds):
        result = answer(payload, fds)
        if isinstance(result, int):
            for fd in fds:
                os.close(fd)
        return result

    server.answers[wire.DMA_MAP] = closing
    with pytest.raises(BusReplyError):
        bus.map_memory(0x8000, 0x2000, pieces_bytes=(0x1000, 0x1000))
    assert bus.dma_maps == {}
    assert len(server.requests(wire.DMA_UNMAP)) == 1


def test_the_allocator_keeps_clear_of_maps_that_are_there(bus):
    taken = bus.map_memory((1 << 32) + 4096, 4096)
    buffer = bus.dma_alloc(100 << 20)
    assert buffer.iova >= taken.iova + taken.size_bytes or buffer.iova + (100 << 20) <= taken.iova
    taken.unmap()


def test_closing_releases_interrupts_maps_and_bus_mastering(server):
    bus = open_bus(f"vfio-user:{server.path}")
    bus.msix_enable(1)
    bus.set_bus_master(True)
    view = bus.dma_alloc(64).view
    kept = bus.dma_alloc(64).view[:8]
    bus.close()
    bus.close()
    assert not server.regions[7][pci.COMMAND] & pci.COMMAND_MASTER
    assert not server.eventfds
    assert len(server.requests(wire.DMA_UNMAP)) == len(server.maps) == 1
    with pytest.raises(ValueError, match="released"):
        view[0]
    assert bytes(kept) == bytes(8)  # a view that is still held stays readable
    kept.release()


def test_closing_while_the_server_is_silent_ends_at_the_deadline(server):
    bus = open_bus(f"vfio-user:{server.path}", timeout_s=0.05)
    bus.msix_enable(1)
    bus.dma_alloc(64)
    for command in (wire.REGION_READ, wire.REGION_WRITE, wire.DEVICE_SET_IRQS, wire.DMA_UNMAP):
        server.answers[command] = lambda payload, fds: None
    bus.close()


@pytest.mark.parametrize("spec", ["", "vfio-user", "vfio-user:", "pci:1", "uio:", "/tmp/socket"])
def test_a_spec_that_names_no_bus_says_what_would(spec):
    with pytest.raises(BusError, match="vfio-user:PATH"):
        open_bus(spec)
