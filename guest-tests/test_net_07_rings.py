"""NET-07: ring wrap, ring full, tail out of range, bad sizes: that queue errors, the others run."""

import pytest
from harness.fixtures import wait_for
from harness.traffic import PEER_MAC, frame

from tlsnic.abi import registers as reg
from tlsnic.abi.enums import (
    Diagnostic,
    EventMask,
    EventType,
    QueueKind,
    QueueState,
    TxFlags,
    TxStatus,
)
from tlsnic.abi.structures import QueueErrorEvent, TxDescriptor
from tlsnic.driver.errors import QueueError, RingFullError

pytestmark = [
    pytest.mark.row("NET-07"),
    pytest.mark.nic(tx_queues=2, rx_queues=2, tx_entries=16, rx_entries=16),
]


def out(nic, seed=0, length=60):
    return frame(PEER_MAC, nic.mac_address, length, seed)


def into(nic, seed=0, length=60):
    return frame(nic.mac_address, PEER_MAC, length, seed)


def queues(nic):
    """Every queue of the card that the driver has, by name."""
    return {
        "transmit": nic.tx[0],
        "receive": nic.rx[1],
        "admin": nic.admin,
        "event": nic.events,
    }


def check_others_run(nic, peer, broken):
    """Everything but `broken` works."""
    for tx in nic.tx:
        if tx is not broken:
            ticket = tx.send(out(nic, 70 + tx.number), report=True)
            tx.wait_done(ticket, 5)
            assert peer.receive() == out(nic, 70 + tx.number)
    if nic.rx[0] is not broken:
        peer.send(into(nic, 71))
        packet = nic.rx[0].receive(5)
        assert packet is not None
        assert packet.data == into(nic, 71)
    if nic.admin is not broken:
        nic.admin.nop()


def error_of(queue):
    """The error that stopped a queue. Reading its registers also makes sure that it happened."""
    with pytest.raises(QueueError) as caught:
        queue.check()
    assert queue.state == QueueState.ERROR
    assert (caught.value.kind, caught.value.number) == (queue.kind, queue.number)
    return caught.value


def error_event(nic):
    event = nic.events.next_event(5, EventType.QUEUE_ERROR)
    assert isinstance(event, QueueErrorEvent)
    return event


def test_net_07_rings_wrap(nic, peer, scale):
    laps = scale(20, 4)
    for seed in range(laps * nic.tx[0].entries):
        nic.tx[0].send(out(nic, seed))
        peer.send(into(nic, seed))
        packet = nic.receive(5)
        assert packet is not None
        assert packet.data == into(nic, seed)
        assert peer.receive() == out(nic, seed)
        nic.tx[0].reap()
    assert nic.counters()["TX_PACKETS"] == nic.counters()["RX_FRAMES"] == laps * 16


def test_net_07_chain_across_the_end_of_the_ring(nic, bus, peer, defer):
    tx = nic.tx[0]
    memory = bus.dma_alloc(4096)
    defer(memory.free)
    content = out(nic, 1, 200)
    memory.view[:200] = content
    for start in range(tx.entries):
        assert tx.status().head == start * 5 % tx.entries
        descriptors = [
            TxDescriptor(
                address=memory.iova + 40 * n,
                length=40,
                flags=(TxFlags.REPORT if n == 0 else 0) | (TxFlags.END_OF_PACKET if n == 4 else 0),
            )
            for n in range(5)
        ]
        tx.wait_done(tx.send_descriptors(descriptors), 5)
        assert peer.receive() == content


def test_net_07_transmit_ring_full(nic, peer):
    tx = nic.tx[0]
    nic.enable_traffic(transmit=False, receive=True)
    frames = [out(nic, seed) for seed in range(tx.entries - 1)]
    for one in frames:
        tx.send(one)
    with pytest.raises(RingFullError):
        tx.send(out(nic, 99))
    status = tx.status()
    assert (status.head, status.tail) == (0, tx.entries - 1)
    nic.enable_traffic(transmit=True, receive=True)
    assert peer.receive_many(len(frames)) == frames
    tx.drain(5)
    assert tx.free == tx.entries - 1


def test_net_07_receive_ring_full_drops_and_counts(nic, peer, watch):
    entries = nic.rx[0].entries
    extra = 5
    watch.expect(Diagnostic.RX_NO_BUFFER, extra)
    frames = [into(nic, seed) for seed in range(entries - 1 + extra)]
    peer.send(*frames)
    wait_for(lambda: nic.counters()["RX_WIRE_FRAMES"] == len(frames), "all frames came")
    assert nic.counters()["RX_DROP_NO_BUFFER"] == extra
    packets = nic.rx[0].receive_many(entries - 1, 5)
    assert [packet.data for packet in packets] == frames[: entries - 1]
    nic.rx[0].recycle(now=True)
    check_others_run(nic, peer, None)


def test_net_07_frame_too_long_for_the_buffers_left_is_dropped_whole(nic, peer, watch):
    nic.max_frame_bytes = 9018
    watch.expect(Diagnostic.RX_NO_BUFFER)
    small = [into(nic, seed) for seed in range(12)]  # 15 buffers, 3 of 2048 bytes are left
    long = into(nic, 50, 6500)
    peer.send(*small, long, into(nic, 51))
    # Taking packets gives buffers back: not before the long frame has met the card.
    wait_for(lambda: nic.counters()["RX_WIRE_FRAMES"] == 14, "all frames at the card")
    packets = nic.rx[0].receive_many(13, 5)
    assert [packet.data for packet in packets] == [*small, into(nic, 51)]
    assert nic.counters()["RX_DROP_NO_BUFFER"] == 1


def test_net_07_completion_ring_full_waits_for_the_driver(nic, peer, watch):
    tx = nic.tx[0]
    tx.disable()
    tx.configure(completion_size=8)
    tx.start()
    watch.expect(Diagnostic.COMPLETION_RING_FULL)
    ring = tx.completions
    first, second = [out(nic, n) for n in range(7)], [out(nic, n) for n in range(7, 12)]
    for one in first + second:
        tx.send(one, report=True)
    assert peer.receive_many(7) == first
    nic.admin.nop()  # whatever the card was about to send has been sent
    assert tx.status().completion_producer == 7
    assert peer.drain() == []
    # The driver's ring is longer than the card's now: give entries back by hand.
    doorbells = nic.bus.bar(2)
    doorbells.write32(tx.completion_doorbell, 7)
    assert peer.receive_many(5) == second
    wait_for(lambda: tx.status().head == 12, "all descriptors fetched")
    tx.disable()
    assert ring.entries != 8
    tx.enable()
    check_others_run(nic, peer, None)


@pytest.mark.parametrize("name", ["transmit", "receive", "admin"])
def test_net_07_tail_out_of_range(nic, peer, watch, name):
    queue = queues(nic)[name]
    doorbells = nic.bus.bar(2)
    for index in (queue.entries, queue.entries + 1, 0x7FFF_FFFF):
        watch.expect(Diagnostic.DOORBELL_RANGE)
        doorbells.write32(queue.tail_doorbell, index)
        error = error_of(queue)
        assert (error.code, error.address) == (Diagnostic.DOORBELL_RANGE, index)
        event = error_event(nic)
        assert (event.code, event.kind, event.queue) == (error.code, queue.kind, queue.number)
        assert event.address == index
        check_others_run(nic, peer, queue)
        queue.restart()
        check_others_run(nic, peer, None)


BAD = {
    "size zero": ({"ring_size": 0}, Diagnostic.RING_SIZE),
    "size not a power of two": ({"ring_size": 24}, Diagnostic.RING_SIZE),
    "size too small": ({"ring_size": 4}, Diagnostic.RING_SIZE),
    "size too large": ({"ring_size": 1 << 16}, Diagnostic.RING_SIZE),
    "base zero": ({"ring_base": 0}, Diagnostic.RING_BASE_ZERO),
    "base not aligned": ({"ring_base": 0x1_0000_0020}, Diagnostic.RING_ALIGNMENT),
    "completion size zero": ({"completion_size": 0}, Diagnostic.RING_SIZE),
    "completion size odd": ({"completion_size": 100}, Diagnostic.RING_SIZE),
    "completion size too small": ({"completion_size": 4}, Diagnostic.RING_SIZE),
    "completion size too large": ({"completion_size": 1 << 20}, Diagnostic.RING_SIZE),
    "completion base zero": ({"completion_base": 0}, Diagnostic.RING_BASE_ZERO),
    "completion base not aligned": ({"completion_base": 0x1_0000_0008}, Diagnostic.RING_ALIGNMENT),
    "vector that does not exist": ({"vector": reg.MODERATION_COUNT}, Diagnostic.VECTOR_INVALID),
}


@pytest.mark.parametrize("name", ["transmit", "receive", "admin"])
def test_net_07_bad_configuration_is_refused(nic, peer, watch, name):
    queue = queues(nic)[name]
    for case, (settings, code) in BAD.items():
        queue.disable()
        queue.configure(**settings)
        watch.expect(code)
        with pytest.raises(QueueError) as caught:
            queue.start()
        assert caught.value.code == code, case
        assert queue.state == QueueState.ERROR
        check_others_run(nic, peer, queue)
    queue.restart()
    check_others_run(nic, peer, None)


def test_net_07_bad_configuration_of_the_event_queue_is_refused(nic, peer, watch):
    nic.set_events(EventMask(0))  # about the event queue nobody can be told by an event
    for case, (settings, code) in BAD.items():
        if "ring" in next(iter(settings)):
            continue  # it has no descriptor ring
        before = nic.diagnostics().raised
        nic.events.disable()
        nic.events.configure(**settings)
        with pytest.raises(QueueError) as caught:
            nic.events.start()
        assert caught.value.code == code, case
        last = nic.diagnostics()
        assert (last.code, last.kind, last.raised) == (code, QueueKind.EVENT, before + 1), case
        check_others_run(nic, peer, nic.events)
    nic.events.restart()
    nic.set_events(nic.options.events)
    watch.start_again()
    check_others_run(nic, peer, None)


def test_net_07_smallest_and_largest_ring(nic, peer, bus, defer):
    tx = nic.tx[0]
    tx.disable()
    memory = bus.dma_alloc((1 << 15) * TxDescriptor.SIZE)
    defer(memory.free)
    defer(tx.disable)
    data = bus.dma_alloc(4096)
    defer(data.free)
    content = out(nic, 5)
    data.view[: len(content)] = content
    TxDescriptor(address=data.iova, length=len(content), flags=TxFlags.END_OF_PACKET).pack_into(
        memory.view, 0
    )
    for size in (8, 1 << 15):
        tx.configure(ring_base=memory.iova, ring_size=size)
        tx.start()
        nic.bus.bar(2).write32(tx.tail_doorbell, 1)
        assert peer.receive() == content
        wait_for(lambda: tx.status().head == 1, "the descriptor fetched")
        tx.disable()


def test_net_07_configuration_of_a_running_queue_is_not_taken(nic, peer, watch):
    for queue in (nic.tx[0], nic.rx[1]):
        registers = nic.bus.bar(0)
        base = queue.registers
        for offset, width in ((0x00, 8), (0x08, 8), (0x10, 4), (0x14, 4), (0x1C, 4)):
            before = registers.read(base + offset, width)
            watch.expect(Diagnostic.QUEUE_BUSY)
            registers.write(base + offset, before ^ 0x40, width)
            assert registers.read(base + offset, width) == before
    check_others_run(nic, peer, None)


def test_net_07_doorbell_of_a_stopped_queue(nic, peer, watch):
    tx = nic.tx[0]
    tx.disable()
    doorbells = nic.bus.bar(2)
    watch.expect(Diagnostic.DOORBELL_DISABLED, 2)
    doorbells.write32(tx.tail_doorbell, 1)
    doorbells.write32(tx.completion_doorbell, 0)
    assert tx.state == QueueState.DISABLED
    last = nic.diagnostics()
    assert (last.code, last.kind, last.queue) == (
        Diagnostic.DOORBELL_DISABLED,
        QueueKind.TRANSMIT,
        0,
    )
    tx.enable()
    check_others_run(nic, peer, None)


def test_net_07_consumer_index_out_of_range_is_ignored(nic, peer, watch):
    tx = nic.tx[0]
    doorbells = nic.bus.bar(2)
    for index in (tx.completions.entries, 3, 0x7FFF_FFFF):  # 3: past the producer
        watch.expect(Diagnostic.COMPLETION_INDEX)
        doorbells.write32(tx.completion_doorbell, index)
    assert tx.status().completion_consumer == 0
    assert tx.state == QueueState.RUNNING
    check_others_run(nic, peer, None)


def test_net_07_chain_without_end_stops_the_queue(nic, bus, peer, watch, defer):
    tx = nic.tx[0]
    memory = bus.dma_alloc(4096)
    defer(memory.free)
    watch.expect(Diagnostic.TX_CHAIN)
    # The whole ring, and no end of the packet in it.
    tx.send_descriptors([TxDescriptor(address=memory.iova, length=16)] * (tx.entries - 1))
    wait_for(lambda: tx.state == QueueState.ERROR, "the queue in ERROR")
    assert error_of(tx).code == Diagnostic.TX_CHAIN
    check_others_run(nic, peer, tx)
    tx.restart()
    check_others_run(nic, peer, None)


@pytest.mark.nic(tx_entries=128)
def test_net_07_longest_chain_passes_and_a_longer_one_stops_the_queue(nic, bus, peer, watch, defer):
    tx = nic.tx[0]
    memory = bus.dma_alloc(4096)
    defer(memory.free)
    content = out(nic, 3, 640)
    memory.view[:640] = content

    def chain(pieces):
        return [
            TxDescriptor(
                address=memory.iova + 10 * n,
                length=10,
                flags=(TxFlags.REPORT if n == 0 else 0)
                | (TxFlags.END_OF_PACKET if n == pieces - 1 else 0),
            )
            for n in range(pieces)
        ]

    limit = nic.capabilities.max_chain
    tx.wait_done(tx.send_descriptors(chain(limit)), 5)
    assert peer.receive() == content
    watch.expect(Diagnostic.TX_CHAIN)
    tx.send_descriptors(chain(limit + 1))
    wait_for(lambda: tx.state == QueueState.ERROR, "the queue in ERROR")
    check_others_run(nic, peer, tx)
    tx.restart()


def test_net_07_bad_descriptors_drop_their_packet_only(nic, bus, peer, watch, defer):
    tx = nic.tx[0]
    memory = bus.dma_alloc(16384)
    defer(memory.free)
    content = out(nic, 8)
    memory.view[: len(content)] = content
    good = TxDescriptor(address=memory.iova, length=60, flags=TxFlags.END_OF_PACKET)
    reserved_word = bytearray(good.pack())
    reserved_word[31] = 1
    reserved_flag = good._replace(flags=TxFlags.END_OF_PACKET | 0x400)
    cases = [
        (bytes(reserved_word), Diagnostic.TX_RESERVED),
        (reserved_flag.pack(), Diagnostic.TX_RESERVED),
        (good._replace(length=13), Diagnostic.TX_LENGTH),
        (good._replace(length=0), Diagnostic.TX_LENGTH),
        (good._replace(length=nic.max_frame_bytes + 5), Diagnostic.TX_LENGTH),
        (good._replace(mss=100), Diagnostic.TX_FLAGS),
        (good._replace(header_length=54), Diagnostic.TX_FLAGS),
        (good._replace(send_tag=1), Diagnostic.TX_FLAGS),
    ]
    for number, (descriptor, code) in enumerate(cases):
        watch.expect(code)
        tx.wait_done(tx.send_descriptors([descriptor]), 5)  # drops are always reported
        drop = tx.drops.pop()
        assert (drop.status, drop.detail) == (TxStatus.BAD_PACKET, code), f"case {number}"
        assert tx.state == QueueState.RUNNING
    tx.send_descriptors([good._replace(flags=good.flags | TxFlags.REPORT)])
    assert peer.receive() == content
    assert peer.drain() == []
    assert nic.counters()["TX_DROP_BAD_PACKET"] == len(cases)


def test_net_07_tls_that_cannot_be_encrypted_is_never_sent_in_clear(nic, bus, peer, watch, defer):
    tx = nic.tx[0]
    memory = bus.dma_alloc(4096)
    defer(memory.free)
    content = out(nic, 8)
    memory.view[: len(content)] = content
    watch.expect(Diagnostic.TLS_HANDLE)
    flags = TxFlags.END_OF_PACKET | TxFlags.TLS
    tx.wait_done(
        tx.send_descriptors(
            [
                TxDescriptor(
                    address=memory.iova, length=60, flags=flags, send_tag=0x12345, header_length=54
                )
            ]
        ),
        5,
    )
    assert tx.drops.pop().status == TxStatus.TLS_DROPPED
    assert nic.counters()["TX_DROP_TLS"] == 1
    check_others_run(nic, peer, None)
    assert peer.drain() == []


@pytest.mark.nic(rx_buffer_bytes=0)
def test_net_07_bad_receive_buffers_stop_the_queue(nic, bus, peer, watch, defer):
    memory = bus.dma_alloc(4096)
    defer(memory.free)
    rx = nic.rx[0]
    address = memory.iova.to_bytes(8, "little")
    for descriptor in (
        address + (63).to_bytes(8, "little"),  # too short
        address + (2048).to_bytes(4, "little") + b"\1\0\0\0",  # reserved bits
    ):
        watch.expect(Diagnostic.RX_BUFFER)
        rx.post_descriptors([descriptor])
        peer.send(into(nic))
        wait_for(lambda: rx.state == QueueState.ERROR, "the queue in ERROR")
        assert error_of(rx).code == Diagnostic.RX_BUFFER
        nic.admin.nop()
        nic.tx[0].send(out(nic))
        assert peer.receive() == out(nic)
        rx.restart()
    counters = nic.counters()
    assert counters["RX_WIRE_FRAMES"] == 2
    assert counters["RX_FRAMES"] == 0
