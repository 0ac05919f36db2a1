"""Receive queues: every byte arrives, in order, and buffers go back to the card."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlsnic.abi.enums import HashType, RxFlags, TlsRxState
from tlsnic.abi.structures import RxDescriptor
from tlsnic.driver.errors import DeviceGoneError, ProtocolError, QueueError, RingFullError
from tlsnic.driver.nic import Nic, NicOptions


def pattern(number, size):
    return (number.to_bytes(4, "big") * (size // 4 + 1))[:size]


def test_a_packet_comes_with_its_metadata(device, attach):
    nic = attach(rx_queues=3)
    flags = RxFlags.IP_CHECKSUM_OK | RxFlags.L4_CHECKSUM_BAD | RxFlags.TCP | RxFlags.VLAN_STRIPPED
    assert device.deliver(
        b"frame" * 20,
        2,
        rss_hash=0xDEADBEEF,
        vlan_tci=5,
        flow=77,
        segment_bytes=1448,
        hash_type=HashType.TCP_IPV4,
        tls_state=TlsRxState.DECRYPTED,
        tls_records=3,
        flags=flags,
    )
    packet = nic.receive(1)
    assert packet.data == b"frame" * 20
    assert packet[1:] == (100, 0xDEADBEEF, 0, 1, 5, 1, 77, 1448, 2, 2, 3, flags, 2)
    assert packet.checksum_bad
    assert packet.vlan == 5
    assert packet.rx_flags == flags


def test_nothing_within_the_deadline_is_none(attach):
    nic = attach()
    assert nic.receive(0.01) is None
    assert nic.rx[0].receive(0.01) is None
    assert nic.rx[0].receive_many(3, 0.01) == []


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(st.integers(1, 1000), max_size=60), st.integers(1, 9), st.booleans())
def test_any_sizes_in_any_groups_arrive_whole_and_in_order(sizes, group, copy):
    import fake_device  # noqa: PLC0415 - made importable by the conftest

    device = fake_device.FakeDevice(memory=bytearray(1 << 20))
    bus = device.bus()
    with Nic.attach(bus, NicOptions(rx_entries=16, rx_buffer_bytes=128)) as nic:
        queue = nic.rx[0]
        sent, got = [], []
        for number, size in enumerate(sizes):
            sent.append(pattern(number, size))
            while not device.deliver(sent[-1]):
                got += collect(queue, group, copy)
                queue.recycle(now=True)
                queue.return_completions()
        while packets := collect(queue, group, copy):
            got += packets
        assert got == sent
    bus.close()


def collect(queue, limit, copy):
    packets = queue.poll(limit, copy=copy)
    data = [bytes(packet.data) for packet in packets]
    if not copy:
        queue.recycle()
    return data


def test_views_are_zero_copy_and_their_buffers_stay_until_recycled(device, attach):
    queue = attach(rx_entries=8, rx_buffer_bytes=64).rx[0]
    for number in range(7):
        assert device.deliver(pattern(number, 64))
    packets = queue.poll(copy=False)
    assert all(isinstance(packet.data, memoryview) for packet in packets)
    assert not device.deliver(b"x" * 64), "all buffers are in use"
    assert [bytes(packet.data) for packet in packets] == [pattern(n, 64) for n in range(7)]
    del packets
    queue.recycle()
    assert device.deliver(b"x" * 64)


def test_chunked_buffer_memory_joins_packets_over_chunk_ends(device, attach):
    # 8 buffers of 256 KiB: chunks of 1 MiB hold four.
    queue = attach(rx_entries=8, rx_buffer_bytes=1 << 18).rx[0]
    assert device.deliver(b"a" * (3 << 18))
    big = pattern(9, (1 << 18) + 5)
    assert device.deliver(big)
    first, second = queue.poll()
    assert (first.index, first.buffers, second.index, second.buffers) == (0, 3, 3, 2)
    assert second.data == big


def test_a_completion_out_of_order_is_refused(device, attach):
    queue = attach().rx[0]
    device.queues["rx", 0].head = 3
    device.deliver(b"x" * 60)
    with pytest.raises(ProtocolError, match="at 3"):
        queue.poll()


def test_a_wait_ends_when_the_queue_fails_or_the_card_goes(device, attach):
    queue = attach().rx[0]
    device.queues["rx", 0].fail(25, 0)
    with pytest.raises(QueueError, match="RX_BUFFER"):
        queue.receive(10)
    device.gone = True
    with pytest.raises(DeviceGoneError):
        queue.receive(10)


def test_a_queue_without_buffers_takes_raw_descriptors(device, attach):
    nic = attach(rx_buffer_bytes=0, rx_entries=8)
    queue = nic.rx[0]
    assert not device.deliver(b"x" * 60)
    with nic.bus.dma_alloc(4096) as memory:
        queue.post_descriptors(
            [RxDescriptor(memory.iova, 64), RxDescriptor(memory.iova + 1024, 64).pack()]
        )
        assert device.deliver(pattern(1, 100))
        (completion,) = queue.poll_completions()
        assert (completion.length, completion.buffers, completion.flags) == (100, 2, 0)
        assert bytes(memory.view[:64]) + bytes(memory.view[1024:1060]) == pattern(1, 100)
        queue.post_descriptors([RxDescriptor(memory.iova, 64)] * 7)
        with pytest.raises(RingFullError):
            queue.post_descriptors([RxDescriptor(memory.iova, 64)])


def test_a_queue_with_buffers_takes_no_raw_descriptors(attach):
    with pytest.raises(ValueError, match="buffers of its own"):
        attach().rx[0].post_descriptors([])
