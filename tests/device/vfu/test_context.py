"""A PCI device seen by a raw client: set-up, accesses, interrupts, resets, life and death."""

import errno
import os
import select
import struct
import threading
from pathlib import Path

import pytest
from conftest import Device, DeviceMaker
from raw_client import (
    CONFIG,
    DEVICE_RESET,
    GET_INFO,
    GET_IRQ_INFO,
    GET_REGION_INFO,
    Client,
)

from tlsnic.device.vfu import (
    Abi,
    CapFlag,
    Irq,
    Library,
    MmapArea,
    Region,
    RegionFlag,
    RequestRefused,
    Reset,
    State,
    VfuError,
    WrongThreadError,
    capabilities,
)


def region_info(client: Client, region: int) -> tuple[int, int, int]:
    """Return (flags, size, number of file descriptors) of a region."""
    reply = client.call(GET_REGION_INFO, struct.pack("<IIIIQQ", 256, 0, region, 0, 0, 0))
    assert reply.error == 0
    for fd in reply.fds:
        os.close(fd)
    _, flags, _, _, size, _ = struct.unpack_from("<IIIIQQ", reply.payload)
    return flags, size, len(reply.fds)


def test_client_sees_device_and_regions(client: Client) -> None:
    reply = client.call(GET_INFO, struct.pack("<IIII", 16, 0, 0, 0))
    assert struct.unpack("<IIII", reply.payload)[1] == 0b11  # resettable, PCI
    assert region_info(client, Region.BAR0) == (3, 4096, 0)
    assert region_info(client, Region.CONFIG)[:2] == (3, 4096)


def test_config_space_holds_ids_class_and_interrupt_pin(make_device: DeviceMaker) -> None:
    device = make_device()
    device.context.config[8] = 7
    client = device.realize().connect()
    with client:
        head = client.read(CONFIG, 0, 64)
        assert isinstance(head, bytes)
        assert struct.unpack_from("<HH", head) == (0x1234, 0x5678)
        assert head[8:12] == bytes([7, 0, 0, 2])
        assert struct.unpack_from("<HH", head, 0x2C) == (0x1AF4, 0x1100)
        assert head[0x3D] == 1


def test_registers_read_and_write_with_a_reply(device: Device, client: Client) -> None:
    assert client.write(0, 16, b"\x01\x02\x03\x04") == 0
    assert client.read(0, 14, 8) == b"\0\0\x01\x02\x03\x04\0\0"
    assert device.registers.writes == [(16, b"\x01\x02\x03\x04")]


def test_posted_writes_arrive_in_order_without_replies(device: Device, client: Client) -> None:
    for value in range(40):
        client.post(0, 8, struct.pack("<I", value))
    device.pump()
    assert [data for _, data in device.registers.writes] == [
        struct.pack("<I", value) for value in range(40)
    ]
    assert not select.select([client.socket], [], [], 0)[0]


def test_run_handles_no_more_than_asked_for(device: Device, client: Client) -> None:
    for _ in range(5):
        client.post(0, 0, b"\1")
    assert device.context.run(max_messages=3) == 3
    assert device.context.run() == 2
    assert device.context.run() == 0


def test_handler_answers_with_the_errno_of_its_choice(device: Device, client: Client) -> None:
    device.registers.fail = RequestRefused(errno.EPERM, "locked")
    assert client.read(0, 0, 4) == errno.EPERM
    assert client.write(0, 0, b"1234") == errno.EPERM
    device.registers.fail = None
    assert client.read(0, 0, 4) == bytes(4)


def test_capabilities_are_linked_and_found(make_device: DeviceMaker) -> None:
    device = make_device()
    context = device.context
    power = context.add_capability(capabilities.power_management())
    express = context.add_capability(capabilities.express_endpoint())
    msix = context.add_capability(
        capabilities.msix(4, table_bar=2, table_offset=0, pba_bar=2, pba_offset=0x800)
    )
    vendor = context.add_capability(capabilities.vendor(b"hello"))
    serial = context.add_capability(
        capabilities.serial_number(0x0123456789ABCDEF), flags=CapFlag.EXTENDED
    )
    assert (power, serial) == (0x40, 0x100)
    found = {
        identifier: context.find_capability(identifier) for identifier in (0x01, 0x10, 0x11, 0x09)
    }
    assert found == {0x01: power, 0x10: express, 0x11: msix, 0x09: vendor}
    assert context.find_capability(0x05) is None
    assert context.find_capability(3, extended=True) == serial
    assert context.config[vendor + 2 : vendor + 8] == b"\x08hello"
    with device.realize().connect() as client:
        status = client.read(CONFIG, 6, 2)
        assert isinstance(status, bytes)
        assert status[0] & 0x10  # capability list
        table = client.read(CONFIG, msix + 2, 10)
        assert table == struct.pack("<HII", 3, 2, 0x802)


def test_unknown_capability_is_refused_with_its_errno(make_device: DeviceMaker) -> None:
    with pytest.raises(VfuError) as caught:
        make_device().context.add_capability(bytes([0x42, 0, 0, 0]))
    assert caught.value.errno == errno.ENOTSUP


def test_64_bit_bar_is_marked_with_either_library(make_device: DeviceMaker) -> None:
    device = make_device()
    flags = RegionFlag.RW | RegionFlag.MEM | RegionFlag.MEM64 | RegionFlag.PREFETCH
    device.context.setup_region(Region.BAR2, 8192, device.registers, flags=flags)
    with device.realize().connect() as client:
        assert client.read(CONFIG, 0x18, 4) == struct.pack("<I", 0xC)
        assert client.write(CONFIG, 0x18, b"\xff\xff\xff\xff") == 0
        assert client.read(CONFIG, 0x18, 4) == struct.pack("<I", 0xFFFFE00C)


def test_io_port_bar_needs_the_mem_flag(make_device: DeviceMaker) -> None:
    context = make_device().context
    with pytest.raises(ValueError, match=r"hangs SeaBIOS; add RegionFlag\.MEM"):
        context.setup_region(Region.BAR1, 65536, flags=RegionFlag.RW)
    context.setup_region(Region.BAR1, 256, flags=RegionFlag.RW)


def test_client_maps_a_region_through_its_descriptor(make_device: DeviceMaker, memfd: int) -> None:
    device = make_device()
    device.context.setup_region(
        Region.BAR2, 8192, device.registers, fd=memfd, mmap_areas=[MmapArea(4096, 4096)]
    )
    with device.realize().connect() as client:
        flags, size, fds = region_info(client, Region.BAR2)
        assert (flags & 4, size, fds) == (4, 8192, 1)


def test_only_one_sparse_area_with_the_older_library(
    make_device: DeviceMaker, library: Library, memfd: int
) -> None:
    device = make_device()
    areas = [MmapArea(0, 4096), MmapArea(8192, 4096)]
    if library.abi is Abi.JUNE_2022:
        with pytest.raises(ValueError, match="use one area"):
            device.context.setup_region(Region.BAR2, 16384, fd=memfd, mmap_areas=areas)
        return
    device.context.setup_region(Region.BAR2, 16384, fd=memfd, mmap_areas=areas)
    with device.realize().connect() as client:
        assert region_info(client, Region.BAR2)[2] == 1  # one descriptor for both


def test_bus_master_is_not_enforced_but_shown(device: Device, client: Client, memfd: int) -> None:
    assert client.map_dma(0, 4096, memfd) == 0
    assert not device.context.bus_master
    assert len(device.dma.view1(0, 16)) == 16  # the library lets it through
    assert client.write(CONFIG, 4, struct.pack("<H", 0x0006)) == 0
    assert device.context.bus_master
    assert device.context.command == 0x0006


def test_interrupt_reaches_the_clients_eventfd(device: Device, client: Client) -> None:
    eventfds = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(4)]
    try:
        assert device.context.trigger(1) is False  # none given yet
        assert client.set_irqs(0, 4, eventfds) == 0
        assert device.context.trigger(1)
        assert device.context.trigger(1)
        assert os.eventfd_read(eventfds[1]) == 2
        assert client.set_irqs(0, 4) == 0
        assert device.context.trigger(1) is False
    finally:
        for fd in eventfds:
            os.close(fd)


def test_interrupt_vector_out_of_range_is_an_error(device: Device) -> None:
    for vector in (-1, 4):
        with pytest.raises(VfuError) as caught:
            device.context.trigger(vector)
        assert caught.value.errno == errno.EINVAL


def test_disabling_vectors_from_the_middle_does_nothing(device: Device, client: Client) -> None:
    eventfds = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(4)]
    try:
        assert client.set_irqs(0, 4, eventfds) == 0
        assert client.set_irqs(2, 2) == 0
        # The library's loop ends at `count`, so vectors from `start` > 0 stay connected.
        assert device.context.trigger(3)
        assert os.eventfd_read(eventfds[3]) == 1
    finally:
        for fd in eventfds:
            os.close(fd)


def test_err_and_req_interrupts_are_off_so_slot_0_stays_msix(
    device: Device, client: Client
) -> None:
    for index in (Irq.ERR, Irq.REQ):
        reply = client.call(GET_IRQ_INFO, struct.pack("<IIII", 16, 0, index, 0))
        assert struct.unpack("<IIII", reply.payload)[3] == 0
        fd = os.eventfd(0, os.EFD_NONBLOCK)
        try:
            assert client.set_irqs(0, 1, [fd], index=index) == errno.EINVAL
            assert device.context.trigger(0) is False
            with pytest.raises(BlockingIOError):
                os.eventfd_read(fd)
        finally:
            os.close(fd)


def test_older_library_refuses_an_err_vector(make_device: DeviceMaker, library: Library) -> None:
    context = make_device().context
    if library.abi is Abi.JUNE_2022:
        with pytest.raises(ValueError, match="stop the machine"):
            context.setup_irqs(Irq.ERR, 1)
    else:
        context.setup_irqs(Irq.ERR, 1)


def test_mask_and_unmask_reach_the_hook(make_device: DeviceMaker) -> None:
    device = make_device()
    device.context.on_irq_state(Irq.INTX, lambda *state: device.events.append(state))
    with device.realize().connect() as client:
        for action in (0x09, 0x11):  # DATA_NONE with MASK, UNMASK
            assert client.call(8, struct.pack("<IIIII", 20, action, Irq.INTX, 0, 1)).error == 0
    assert device.events[:2] == [(0, 1, True), (0, 1, False)]


def test_resets_are_told_apart(make_device: DeviceMaker) -> None:
    device = make_device()
    express = device.context.add_capability(capabilities.express_endpoint())
    with device.realize().connect() as client:
        assert client.call(DEVICE_RESET).error == 0
        assert client.write(CONFIG, express + 8, struct.pack("<H", 0x8000)) == 0
    device.pump()
    assert device.events == [Reset.DEVICE, Reset.FUNCTION_LEVEL, Reset.LOST_CONNECTION]


def test_client_leaves_and_the_next_one_is_served(device: Device) -> None:
    for _ in range(3):
        with device.connect() as client:
            assert client.read(0, 0, 4) == bytes(4)
            assert device.context.state is State.ATTACHED
        device.pump()
        assert device.context.state is State.LISTENING
    assert device.disconnects == ["the client closed the connection"] * 3


def test_second_client_waits_until_the_first_has_left(device: Device) -> None:
    with device.connect() as first, Client(device.path, device.pump) as second:
        second.send(1, struct.pack("<HH", 0, 1))
        device.pump()
        assert first.read(0, 0, 4) == bytes(4)
        assert not select.select([second.socket], [], [], 0)[0]
        first.close()
        device.pump()
        assert second.receive().error == 0


def test_device_ends_the_connection(device: Device, client: Client) -> None:
    device.context.disconnect()
    assert client.socket.recv(1) == b""
    assert device.events == [Reset.LOST_CONNECTION]
    with device.connect() as again:
        assert again.read(0, 0, 1) == b"\0"


def test_close_removes_socket_and_leaks_no_descriptor(make_device: DeviceMaker, memfd: int) -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    device = make_device().realize()
    with device.connect() as client:
        client.map_dma(0, 4096, memfd)
        device.context.close()
    device.context.close()
    assert sorted(os.listdir("/proc/self/fd")) == before
    assert not Path(device.path).exists()
    assert device.events == [("map", 0), ("unmap", 0), Reset.LOST_CONNECTION]
    with pytest.raises(VfuError, match="closed"):
        device.context.run()


def test_set_up_after_realize_is_refused(device: Device) -> None:
    with pytest.raises(VfuError, match="realized"):
        device.context.setup_irqs(Irq.MSIX, 8)


def test_config_space_slices_still_held_at_close_stay_valid(
    make_device: DeviceMaker, caplog: pytest.LogCaptureFixture
) -> None:
    context = make_device().context
    held = context.config[0:4]
    context.close()
    assert held == b"\x34\x12\x78\x56"
    assert "still held" in caplog.text


def test_use_from_another_thread_raises(device: Device) -> None:
    """ctypes would drop the interpreter lock; a PyDLL keeps it, and the thread is checked."""
    errors: list[BaseException] = []

    def misuse() -> None:
        for call in (device.context.run, device.context.trigger, device.context.close):
            try:
                call()
            except WrongThreadError as error:
                errors.append(error)

    thread = threading.Thread(target=misuse)
    thread.start()
    thread.join()
    assert len(errors) == 3
