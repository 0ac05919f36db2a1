"""Attaching, interrupts, waiting, reset and removal of the card as a whole."""

import threading
import time

import pytest

from tlsnic.abi import registers as reg
from tlsnic.abi.enums import EventMask, QueueState
from tlsnic.driver import nic as nic_module
from tlsnic.driver import waiting
from tlsnic.driver.bus import BusError, BusGoneError, BusTimeoutError
from tlsnic.driver.errors import (
    CommandTimeoutError,
    DeadlineError,
    DeviceGoneError,
    DeviceResetError,
    QueueError,
    UnknownDeviceError,
)
from tlsnic.driver.nic import Nic

KINDS = ["msix", "intx", "poll"]


def refuses(device, error, match, **options):
    bus = device.bus()
    with pytest.raises(error, match=match):
        Nic.attach(bus, nic_module.NicOptions(**options))
    assert bus.dma_live_bytes == 0
    assert device.interrupts is None


@pytest.mark.parametrize("kind", KINDS)
def test_traffic_commands_and_events_with_every_kind_of_interrupt(device, attach, kind):
    nic = attach(interrupts=kind, tx_queues=16, rx_queues=16, rx_entries=64, tx_bounce_bytes=4096)
    assert nic.waiter.kind == kind
    for number in range(16):
        queue = nic.tx[number]
        queue.wait_done(queue.send(bytes([number]) * 60), 1)
        assert device.deliver(bytes([number]) * 80, number)
        packet = nic.receive(1)
        assert (packet.queue, packet.data) == (number, bytes([number]) * 80)
    nic.admin.nop()
    device.event()
    assert nic.events.next_event(1) is not None


@pytest.mark.parametrize("kind", KINDS)
def test_a_frame_that_comes_during_the_wait_ends_it(device, attach, kind):
    nic = attach(interrupts=kind)
    asleep = threading.Event()
    queue = nic.rx[0]
    original = queue.ready

    def ready():
        asleep.set()
        return original()

    queue.ready = ready

    def wire():
        asleep.wait()
        device.deliver(b"x" * 60)

    far = threading.Thread(target=wire)
    far.start()
    started = time.monotonic()
    packet = nic.receive(60)
    far.join()
    assert packet.data == b"x" * 60
    assert time.monotonic() - started < 30


def test_a_completion_between_looking_and_arming_is_not_missed(device, attach):
    nic = attach(interrupts="msix")
    queue = nic.rx[0]
    arm = queue.arm

    def late_frame_then_arm():
        if not device.queues["rx", 0].producer:
            device.deliver(b"x" * 60)
        arm()

    queue.arm = late_frame_then_arm
    started = time.monotonic()
    assert queue.wait(60)
    assert time.monotonic() - started < 30


def test_few_vectors_are_shared(device, attach):
    nic = attach(msix_vectors=3, tx_queues=4, rx_queues=4)
    assert {queue.vector for queue in (*nic.tx, *nic.rx)} <= {0, 1, 2}
    device.deliver(b"x" * 60, 3)
    assert nic.receive(1).queue == 3


def test_without_msix_the_driver_takes_intx(attach):
    assert attach(msix_vectors=0).waiter.kind == "intx"


def test_attach_refuses_what_is_not_the_card(device, monkeypatch):
    monkeypatch.setattr(nic_module, "MAGIC", 0x12345678)
    refuses(device, UnknownDeviceError, "MAGIC")


def test_attach_refuses_another_major_version(device, monkeypatch):
    monkeypatch.setattr(nic_module, "INTERFACE_MAJOR", 3)
    refuses(device, UnknownDeviceError, r"0\.1; this driver knows 3")


def test_attach_of_a_card_that_is_gone(device):
    device.gone = True
    refuses(device, DeviceGoneError, "fake")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"tx_queues": 17}, "tx_queues is 0 to 16"),
        ({"rx_queues": -1}, "rx_queues is 0 to 16"),
        ({"tx_entries": 100}, "tx_entries is a power of two"),
        ({"rx_entries": 4}, "rx_entries is a power of two from 8"),
        ({"rx_buffer_bytes": 32}, "rx_buffer_bytes is at least 64"),
        ({"rx_buffer_bytes": 100}, "multiple of 64"),
        ({"interrupts": "smoke-signals"}, "smoke-signals"),
    ],
)
def test_options_that_the_card_cannot_fulfil(device, options, match):
    refuses(device, ValueError, match, **options)


def test_a_queue_that_the_card_refuses(device):
    device.refuse = (9, 0x123)
    refuses(device, QueueError, "admin queue 0 stopped: RING_ALIGNMENT, 0x123")


def test_wrong_configuration_for_tests_of_the_card(device, attach):
    nic = attach(start=False)
    queue = nic.tx[0]
    queue.configure(ring_size=12)
    with pytest.raises(QueueError, match="RING_SIZE"):
        queue.start()
    assert queue.status()[:3] == (QueueState.ERROR, 8, 12)
    queue.disable()
    assert queue.state == QueueState.DISABLED
    nic.start()
    queue.wait_done(queue.send(b"x" * 60), 1)


def test_stop_and_start(device, attach):
    nic = attach(rx_entries=8, rx_buffer_bytes=64)
    assert device.regs[reg.CONTROL] == 6
    device.deliver(b"before" * 10)
    nic.stop()
    assert device.regs[reg.CONTROL] == 0
    assert {queue.state for queue in (*nic.tx, *nic.rx)} == {QueueState.DISABLED}
    nic.start()
    assert nic.receive(0) is None, "what was pending is forgotten"
    for number in range(20):
        assert device.deliver(bytes([number]) * 60)
        assert nic.receive(1).data == bytes([number]) * 60


def test_a_queue_that_does_not_stop_ends_in_a_deadline(device, attach):
    queue = attach().tx[0]
    device.stubborn = True
    with pytest.raises(DeadlineError, match="transmit queue 0"):
        queue.disable(0.01)


@pytest.mark.parametrize("function", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_reset_brings_back_settings_queues_and_traffic(device, attach, function, kind):
    nic = attach(interrupts=kind, tx_queues=2)
    nic.mac_address = b"\x02\x00\x00\x00\x00\x07"
    nic.set_vlan_filters([5])
    nic.set_events(EventMask.LINK)
    device.paused = True
    nic.tx[0].send(b"lost" * 20)
    device.deliver(b"lost" * 20)
    before = nic.reset_count
    nic.reset(function=function)
    device.paused = False
    assert nic.reset_count == before + 1
    assert nic.mac_address == b"\x02\x00\x00\x00\x00\x07"
    assert device.regs[reg.VLAN_FILTER] == 1 << 5
    assert device.regs[reg.EVENT_ENABLE] == EventMask.LINK
    nic.tx[1].wait_done(nic.tx[1].send(b"x" * 60), 1)
    device.deliver(b"y" * 60)
    assert nic.receive(1).data == b"y" * 60
    assert [frame for _, frame, _ in device.sent] == [b"x" * 60]
    nic.admin.nop()


def test_somebody_elses_reset_is_noticed_and_survived(device, attach):
    nic = attach()
    nic.check()
    device.reset()
    with pytest.raises(DeviceResetError):
        nic.check()
    with pytest.raises(DeviceResetError):
        nic.rx[0].check()
    nic.reset()
    nic.check()
    nic.tx[0].wait_done(nic.tx[0].send(b"x" * 60), 1)


@pytest.mark.parametrize("kind", KINDS)
def test_every_wait_ends_when_the_card_goes(device, attach, kind, monkeypatch):
    monkeypatch.setattr(waiting, "GONE_CHECK_S", 0.01)
    nic = attach(interrupts=kind)
    device.paused = True
    ticket = nic.tx[0].send(b"x" * 60)
    device.gone = True
    waits = [
        lambda: nic.receive(60),
        lambda: nic.rx[0].receive_many(5, 60),
        lambda: nic.tx[0].wait_done(ticket, 60),
        lambda: nic.tx[0].wait_free(255, 60),
        lambda: nic.drain_tx(60),
        lambda: nic.admin.nop(60),
        lambda: nic.events.next_event(60),
        lambda: nic.tx[0].disable(60),
        nic.reset,
        nic.check,
        nic.counters,
    ]
    for wait in waits:
        with pytest.raises(DeviceGoneError):
            wait()


@pytest.mark.parametrize("step", ["dma_alloc", "msix_enable", "set_bus_master"])
def test_a_bus_that_goes_during_attach_means_the_card_is_gone(device, step):
    bus = device.bus()

    def gone(*_):
        raise BusGoneError("the server closed the connection")

    setattr(bus, step, gone)
    with pytest.raises(DeviceGoneError, match="closed the connection"):
        Nic.attach(bus)
    assert bus.dma_live_bytes == 0


def test_a_bus_that_goes_during_the_reset_means_the_card_is_gone(attach, monkeypatch):
    nic = attach()

    def gone():
        raise BusGoneError("the server closed the connection")

    monkeypatch.setattr(nic.bus, "reset", gone)
    with pytest.raises(DeviceGoneError):
        nic.reset(function=True)


def test_running_out_of_memory_half_way_leaves_nothing_behind(device):
    bus = device.bus()
    alloc, left = bus.dma_alloc, [0]
    allocations = 9  # rings and completions of four queues, two chunks of receive buffers

    def short(size, align=4096):
        left[0] -= 1
        if left[0] < 0:
            raise BusError("no DMA memory")
        return alloc(size, align)

    for budget in range(allocations):
        left[0] = budget
        bus.dma_alloc = short
        with pytest.raises(BusError, match="no DMA memory"):
            Nic.attach(bus, nic_module.NicOptions(rx_buffer_bytes=4096))
        assert bus.dma_live_bytes == 0
        assert device.interrupts is None
    left[0] = allocations
    Nic.attach(bus, nic_module.NicOptions(rx_buffer_bytes=4096)).close()


def test_close_of_a_card_that_is_gone_is_quiet(device, attach):
    nic = attach()
    device.gone = True
    nic.close()
    nic.close()


def test_close_of_a_card_that_hangs_gives_everything_back(attach, monkeypatch):
    nic = attach()

    def hangs(*_):
        raise BusTimeoutError("no answer")

    monkeypatch.setattr(nic.access.regs, "read", hangs, raising=False)
    close = nic.waiter.interrupts.close

    def close_and_hang():
        close()
        hangs()

    monkeypatch.setattr(nic.waiter.interrupts, "close", close_and_hang)
    nic.close()
    assert nic.bus.dma_live_bytes == 0


def test_close_stops_the_card_before_memory_is_given_back(device, attach):
    attach().close()
    assert {queue.state for queue in device.queues.values()} == {QueueState.DISABLED}
    assert device.interrupts is None


def test_link_state_and_speed(device, attach):
    nic = attach()
    assert nic.link_up
    assert nic.link_mbps == 10000
    device.link_up = False
    assert not nic.link_up


def test_a_late_answer_frees_the_memory_of_its_command(device, attach):
    nic = attach()
    device.mute_commands = True
    before = nic.bus.dma_live_bytes
    with pytest.raises(CommandTimeoutError):
        nic.statistics(timeout_s=0.01)
    assert nic.bus.dma_live_bytes > before, "the card may still write to it"
    device.mute_commands = False
    nic.admin.nop()
    assert nic.admin.late_responses == 1
    assert nic.bus.dma_live_bytes == before
