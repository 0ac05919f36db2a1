"""BUS-06: RAM above 4 GiB, buffers across a map boundary, unmapped addresses."""

import pytest
from harness.environment import SIDE_GUEST, SIDE_HOST
from harness.fixtures import wait_for
from harness.traffic import PEER_MAC, frame

from tlsnic.abi.enums import CommandStatus, Diagnostic, QueueState, TxFlags, TxStatus
from tlsnic.abi.structures import StatisticsCommand, TxDescriptor
from tlsnic.driver.errors import CommandError, QueueError

pytestmark = [pytest.mark.row("BUS-06"), pytest.mark.nic(tx_queues=2, rx_queues=2)]
HOST = pytest.mark.side(SIDE_HOST)
GUEST = pytest.mark.side(SIDE_GUEST)
GIB4 = 1 << 32
PAGE = 4096
NOWHERE = 0x7000_0000_0000
END = TxFlags.END_OF_PACKET | TxFlags.REPORT


def send_at(nic, address, length, queue=0):
    """Send one frame from an address."""
    descriptor = TxDescriptor(address=address, length=length, flags=END)
    return nic.tx[queue].send_descriptors([descriptor])


def check_others_run(nic, peer, *, broken_tx=None, broken_rx=None):
    for tx in nic.tx:
        if tx is not broken_tx:
            one = frame(PEER_MAC, nic.mac_address, 90, tx.number)
            tx.wait_done(tx.send(one, report=True), 5)
            assert peer.receive() == one
    if nic.rx[0] is not broken_rx and nic.rx[0].buffer_bytes:
        one = frame(nic.mac_address, PEER_MAC, 90, 7)
        peer.send(one)
        packet = nic.receive(5)
        assert packet is not None
        assert packet.data == one
    nic.admin.nop()


@HOST
@pytest.mark.parametrize("base", [GIB4 - 2 * PAGE, 3 * GIB4, 1 << 40, (1 << 48) - 8 * PAGE])
def test_bus_06_transmit_from_high_memory(nic, bus, peer, base, defer):
    # The pool of the bus itself is at 4 GiB; up to that address, and far above, is free.
    size = 2 * PAGE if base < GIB4 else 4 * PAGE
    memory = bus.map_memory(base, size)
    defer(memory.unmap)
    for offset in (0, 1, PAGE - 30, size - 100):
        one = frame(PEER_MAC, nic.mac_address, 100, offset)
        memory.view[offset : offset + 100] = one
        nic.tx[0].wait_done(send_at(nic, base + offset, 100), 5)
        assert peer.receive() == one


@HOST
@pytest.mark.nic(rx_buffer_bytes=0)
def test_bus_06_receive_to_high_memory(nic, bus, peer, defer):
    base = 5 * GIB4
    memory = bus.map_memory(base, 16 * PAGE)
    defer(memory.unmap)
    rx = nic.rx[0]
    for number in range(8):
        address = base + number * PAGE + 3
        rx.post_descriptors([address.to_bytes(8, "little") + (2048).to_bytes(8, "little")])
        one = frame(nic.mac_address, PEER_MAC, 500 + number, number)
        peer.send(one)
        assert rx.wait(5)
        (done,) = rx.poll_completions()
        assert done.length == len(one)
        assert memory.view[number * PAGE + 3 :][: len(one)] == one


@HOST
def test_bus_06_transmit_buffer_across_adjoining_maps(nic, bus, peer, defer):
    nic.max_frame_bytes = 9018
    base = 7 * GIB4
    memory = bus.map_memory(base, 4 * PAGE, pieces_bytes=[PAGE, PAGE, PAGE, PAGE])
    defer(memory.unmap)
    for offset, length in ((PAGE - 50, 100), (PAGE - 1, 60), (2 * PAGE - 1000, 6000), (10, 9000)):
        one = frame(PEER_MAC, nic.mac_address, length, offset)
        memory.view[offset : offset + length] = one
        nic.tx[0].wait_done(send_at(nic, base + offset, length), 5)
        assert peer.receive() == one


@HOST
@pytest.mark.nic(rx_buffer_bytes=0)
def test_bus_06_receive_buffer_across_adjoining_maps(nic, bus, peer, defer):
    nic.max_frame_bytes = 9018
    base = 7 * GIB4
    memory = bus.map_memory(base, 4 * PAGE, pieces_bytes=[PAGE, PAGE, 2 * PAGE])
    defer(memory.unmap)
    rx = nic.rx[0]
    address = base + PAGE - 777
    rx.post_descriptors([address.to_bytes(8, "little") + (9100).to_bytes(8, "little")] * 3)
    for number, length in enumerate((1000, 60, 9018)):
        one = frame(nic.mac_address, PEER_MAC, length, number)
        peer.send(one)
        assert rx.wait(5)
        (done,) = rx.poll_completions()
        assert done.length == length
        assert memory.view[PAGE - 777 :][:length] == one


@HOST
def test_bus_06_rings_across_adjoining_maps(nic, bus, peer, defer):
    base = 9 * GIB4
    pieces = [PAGE] * 8
    memory = bus.map_memory(base, 8 * PAGE, pieces_bytes=pieces)
    defer(memory.unmap)
    tx = nic.tx[0]
    tx.disable()
    defer(tx.disable)
    # 64 descriptors of 32 bytes from 1 KiB before a border on; 256 completions of 16 bytes too.
    ring, completions = PAGE - 1024, 3 * PAGE - 2048
    content = frame(PEER_MAC, nic.mac_address, 80, 1)
    memory.view[6 * PAGE : 6 * PAGE + 80] = content
    for index in range(64):
        descriptor = TxDescriptor(address=base + 6 * PAGE, length=80, flags=END)
        descriptor.pack_into(memory.view, ring + 32 * index)
    tx.configure(
        ring_base=base + ring,
        ring_size=64,
        completion_base=base + completions,
        completion_size=256,
    )
    tx.start()
    bus.write(2, tx.tail_doorbell, 63, 4)
    assert peer.receive_many(63) == [content] * 63
    bus.write(2, tx.tail_doorbell, 62, 4)
    assert peer.receive_many(63) == [content] * 63
    wait_for(lambda: tx.status().completion_producer == 126, "all completions written")
    for index in range(126):
        word = int.from_bytes(memory.view[completions + 16 * index + 8 :][:8], "little")
        assert word & 0xFFFF_FFFF == (index + 1) % 64
        assert word >> 63 == 1


@HOST
@pytest.mark.parametrize("place", ["behind", "before", "middle"])
def test_bus_06_buffer_that_reaches_into_a_hole(nic, bus, peer, watch, defer, place):
    base = 11 * GIB4
    memory = bus.map_memory(base, PAGE)
    defer(memory.unmap)
    beyond = bus.map_memory(base + 2 * PAGE, PAGE)
    defer(beyond.unmap)
    address, length, fault = {
        "behind": (base + 3 * PAGE - 50, 100, base + 3 * PAGE - 50),
        "before": (base + 2 * PAGE - 50, 100, base + 2 * PAGE - 50),
        "middle": (base + PAGE - 50, PAGE + 100, base + PAGE - 50),
    }[place]
    nic.max_frame_bytes = 9018
    watch.expect(Diagnostic.DMA_FAULT)
    send_at(nic, address, length)
    wait_for(lambda: nic.tx[0].state == QueueState.ERROR, "the queue in ERROR")
    with pytest.raises(QueueError) as caught:
        nic.tx[0].check()
    assert caught.value.code == Diagnostic.DMA_FAULT
    assert fault <= caught.value.address < address + length
    check_others_run(nic, peer, broken_tx=nic.tx[0])
    nic.tx[0].restart()
    check_others_run(nic, peer)


@HOST
@pytest.mark.nic(rx_buffer_bytes=0)
def test_bus_06_read_only_memory_is_not_written(nic, bus, peer, watch, defer):
    import mmap  # noqa: PLC0415

    base = 13 * GIB4
    memory = bus.map_memory(base, PAGE, prot=mmap.PROT_READ)
    defer(memory.unmap)
    watch.expect(Diagnostic.DMA_PERMISSION)
    rx = nic.rx[0]
    rx.post_descriptors([base.to_bytes(8, "little") + (2048).to_bytes(8, "little")])
    peer.send(frame(nic.mac_address, PEER_MAC, 90))
    wait_for(lambda: rx.state == QueueState.ERROR, "the queue in ERROR")
    with pytest.raises(QueueError) as caught:
        rx.check()
    assert (caught.value.code, caught.value.address) == (Diagnostic.DMA_PERMISSION, base)
    assert not any(memory.view)
    # The same memory can be sent from.
    memory.view[:90] = frame(PEER_MAC, nic.mac_address, 90, 3)
    nic.tx[1].wait_done(send_at(nic, base, 90, queue=1), 5)
    assert peer.receive() == frame(PEER_MAC, nic.mac_address, 90, 3)
    check_others_run(nic, peer, broken_rx=rx)
    rx.restart()


@HOST
def test_bus_06_memory_that_is_taken_away_faults_and_comes_back(nic, bus, peer, watch, defer):
    base = 15 * GIB4
    one = frame(PEER_MAC, nic.mac_address, 90, 4)
    memory = bus.map_memory(base, PAGE)
    memory.view[:90] = one
    nic.tx[0].wait_done(send_at(nic, base, 90), 5)
    assert peer.receive() == one
    memory.unmap()
    watch.expect(Diagnostic.DMA_FAULT)
    send_at(nic, base, 90)
    wait_for(lambda: nic.tx[0].state == QueueState.ERROR, "the queue in ERROR")
    check_others_run(nic, peer, broken_tx=nic.tx[0])
    nic.tx[0].restart()
    again = bus.map_memory(base, PAGE)
    defer(again.unmap)
    again.view[:90] = one
    nic.tx[0].wait_done(send_at(nic, base, 90), 5)
    assert peer.receive() == one


@GUEST
def test_bus_06_memory_above_4_gib(nic, bus, peer, defer):
    """The guest has RAM above 4 GiB, and its huge pages are there."""
    memory = bus.dma_alloc(3 << 20)  # crosses from one huge page into the next
    defer(memory.free)
    assert memory.iova >= GIB4, f"this guest's huge pages are at {memory.iova:#x}"
    border = (2 << 20) - memory.iova % (2 << 20)  # not 0 for memory that begins with a page
    nic.max_frame_bytes = 9018
    for offset, length in (
        (0, 60),
        (border - 100, 200),
        (border - 4000, 9018),
        ((3 << 20) - 60, 60),
    ):
        one = frame(PEER_MAC, nic.mac_address, length, length)
        memory.view[offset : offset + length] = one
        nic.tx[0].wait_done(send_at(nic, memory.iova + offset, length), 5)
        assert peer.receive() == one
    one = frame(nic.mac_address, PEER_MAC, 9018, 1)
    peer.send(one)
    packet = nic.receive(5)
    assert packet is not None
    assert packet.data == one
    assert nic.rx[0].completions.memory.iova >= GIB4


def test_bus_06_unmapped_transmit_buffer_stops_that_queue_only(nic, peer, watch):
    watch.expect(Diagnostic.DMA_FAULT)
    ticket = send_at(nic, NOWHERE, 100)
    wait_for(lambda: nic.tx[0].state == QueueState.ERROR, "the queue in ERROR")
    nic.tx[0].reap()
    assert nic.tx[0].is_done(ticket)
    assert nic.tx[0].drops.pop().status == TxStatus.DMA_FAULT
    with pytest.raises(QueueError) as caught:
        nic.tx[0].check()
    assert (caught.value.code, caught.value.address) == (Diagnostic.DMA_FAULT, NOWHERE)
    check_others_run(nic, peer, broken_tx=nic.tx[0])
    nic.tx[0].restart()
    check_others_run(nic, peer)


@pytest.mark.nic(rx_buffer_bytes=0)
def test_bus_06_unmapped_receive_buffer_stops_that_queue_only(nic, peer, watch):
    watch.expect(Diagnostic.DMA_FAULT)
    rx = nic.rx[0]
    rx.post_descriptors([NOWHERE.to_bytes(8, "little") + (2048).to_bytes(8, "little")])
    peer.send(frame(nic.mac_address, PEER_MAC, 90))
    wait_for(lambda: rx.state == QueueState.ERROR, "the queue in ERROR")
    with pytest.raises(QueueError) as caught:
        rx.check()
    assert (caught.value.code, caught.value.address) == (Diagnostic.DMA_FAULT, NOWHERE)
    check_others_run(nic, peer, broken_rx=rx)
    rx.restart()
    assert rx.state == QueueState.RUNNING


@pytest.mark.parametrize("which", ["ring_base", "completion_base"])
def test_bus_06_unmapped_rings_stop_their_queue_only(nic, bus, peer, watch, which):
    tx = nic.tx[0]
    tx.disable()
    tx.configure(**{which: NOWHERE})
    tx.start()
    watch.expect(Diagnostic.DMA_FAULT)
    if which == "completion_base":
        tx.send(frame(PEER_MAC, nic.mac_address, 90), report=True)
        assert peer.receive() == frame(PEER_MAC, nic.mac_address, 90)
    else:
        bus.write(2, tx.tail_doorbell, 1, 4)
    wait_for(lambda: tx.state == QueueState.ERROR, "the queue in ERROR")
    with pytest.raises(QueueError) as caught:
        tx.check()
    assert caught.value.code == Diagnostic.DMA_FAULT
    check_others_run(nic, peer, broken_tx=tx)
    tx.restart()
    check_others_run(nic, peer)


def test_bus_06_unmapped_command_block_fails_that_command_only(nic, peer, watch):
    watch.expect(Diagnostic.DMA_FAULT)
    with pytest.raises(CommandError) as caught:
        nic.admin.execute(StatisticsCommand(address=NOWHERE, length=1 << 16))
    assert caught.value.status == CommandStatus.DMA_FAULT
    check_others_run(nic, peer)
