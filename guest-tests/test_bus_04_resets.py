"""BUS-04: function reset, vfio reset and soft reset: reset values, rings stopped, keys wiped."""

import pytest
from harness.fixtures import await_link
from harness.registers import differences_from_reset, scramble
from harness.traffic import PEER_MAC, frame

from tlsnic.abi import registers as reg
from tlsnic.abi.enums import Diagnostic, QueueState
from tlsnic.driver.bus import pci

pytestmark = pytest.mark.row("BUS-04")
KINDS = ("soft", "function", "vfio")


def reset(bus, kind):
    """Reset the card as `kind` says, and nothing else."""
    if kind == "soft":
        bus.write(0, reg.CONTROL, reg.CONTROL_RESET_MASK, 4)
        bus.read(0, reg.STATUS, 4)
    elif kind == "function":
        bus.flr()
    else:
        bus.reset()


def resets(bus):
    return bus.read(0, reg.STATUS, 4) >> reg.STATUS_RESET_COUNT_SHIFT


def check_traffic(nic, peer, seed):
    out = frame(PEER_MAC, nic.mac_address, 80, seed)
    into = frame(nic.mac_address, PEER_MAC, 80, seed)
    for _ in range(3):
        nic.tx[0].wait_done(nic.tx[0].send(out, report=True), 5)
        assert peer.receive() == out
        peer.send(into)
        packet = nic.receive(5)
        assert packet is not None
        assert packet.data == into
    nic.admin.nop()


@pytest.mark.parametrize("kind", KINDS)
def test_bus_04_registers_have_their_reset_values(bus, peer, scale, kind):
    every = scale(1, 32)
    reset(bus, "soft")
    mac = bus.read(0, reg.MAC_ADDRESS, 8)
    changed = scramble(bus, every)
    assert changed > (300 if every == 1 else 30), "there was little to reset"
    before = resets(bus)
    reset(bus, kind)
    assert resets(bus) == (before + 1) % 0x10000
    assert differences_from_reset(bus, every) == []
    assert bus.read(0, reg.MAC_ADDRESS, 8) == mac, "the operator's address"
    status = bus.read(0, reg.STATUS, 4)
    assert status & reg.STATUS_READY_MASK
    assert status & reg.STATUS_LINK_UP_MASK, "the link stays"


@pytest.mark.parametrize("kind", KINDS)
def test_bus_04_rings_are_stopped(nic, bus, peer, watch, kind):
    watch.checkpoint()
    rings = [*nic.tx, *nic.rx, nic.admin, nic.events]
    reset(bus, kind)
    bus.set_bus_master(True)
    for queue in rings:
        assert queue.state == QueueState.DISABLED
    for queue in rings:
        queue.completions.memory.view[:] = b"\xa5" * queue.completions.memory.size_bytes
    for queue in (nic.tx[0], nic.rx[0], nic.admin):
        bus.write(2, queue.tail_doorbell, 5, 4)
    peer.send(frame(nic.mac_address, PEER_MAC, 80))
    assert nic.diagnostics().raised == 3, "a doorbell of a stopped queue is told"
    assert nic.diagnostics().code == Diagnostic.DOORBELL_DISABLED
    for queue in rings:
        assert set(queue.completions.memory.view) == {0xA5}, f"{queue!r} was written to"
    assert peer.drain() == []
    nic.reset()
    watch.start_again()
    peer.drain()
    check_traffic(nic, peer, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_bus_04_traffic_works_after_it(nic, bus, peer, watch, monkeypatch, kind, scale):
    nic.set_rx_filter(promiscuous=True)
    check_traffic(nic, peer, 0)
    if kind == "function":
        monkeypatch.setattr(bus, "reset", bus.flr)
    for seed in range(1, 1 + scale(3, 1)):
        watch.checkpoint()
        nic.reset(function=kind != "soft")
        await_link(nic)
        watch.start_again()
        check_traffic(nic, peer, seed)
        peer.send(frame(b"\2\2\2\2\2\2", PEER_MAC, 80))
        assert nic.receive(5) is not None, "the settings were written again"


@pytest.mark.parametrize("kind", KINDS)
def test_bus_04_interrupts_work_after_it(nic, bus, peer, watch, monkeypatch, kind):
    if kind == "function":
        monkeypatch.setattr(bus, "reset", bus.flr)
    watch.checkpoint()
    nic.reset(function=kind != "soft")
    await_link(nic)
    watch.start_again()
    queue = nic.tx[0]
    queue.send(frame(PEER_MAC, nic.mac_address, 80), report=True)
    queue.arm()
    vector = queue.vector if nic.waiter.kind == "msix" else 0
    assert nic.waiter.interrupts is not None
    assert nic.waiter.interrupts.poll(5, (vector,)), "no interrupt came"
    nic.waiter.acknowledge()
    queue.drain(5)


def test_bus_04_function_reset_of_pci_state(nic, bus, watch):
    watch.checkpoint()
    assert bus.config_read(pci.COMMAND, 2) & pci.COMMAND_MASTER
    # The driver's bus keeps the command register, so that decoding is on; soft reset leaves it.
    reset(bus, "soft")
    assert bus.config_read(pci.COMMAND, 2) & pci.COMMAND_MASTER
    nic.reset()
    watch.start_again()


def test_bus_04_reset_with_descriptors_pending_is_told(nic, peer, watch):
    watch.checkpoint()
    nic.enable_traffic(transmit=False, receive=True)
    for seed in range(5):
        nic.tx[0].send(frame(PEER_MAC, nic.mac_address, 80, seed))
    assert nic.tx[0].status().tail == 5
    nic.access.write32(reg.CONTROL, reg.CONTROL_RESET_MASK)
    last = nic.diagnostics()
    assert (last.code, last.raised) == (Diagnostic.RESET_IN_FLIGHT, 1)
    nic.reset()
    watch.start_again()
    check_traffic(nic, peer, 9)
    assert peer.drain() == [], "what was pending is forgotten"


def test_bus_04_driver_notices_a_reset_by_somebody_else(nic, peer, watch):
    from tlsnic.driver.errors import DeviceResetError  # noqa: PLC0415

    watch.checkpoint()
    nic.access.write32(reg.CONTROL, reg.CONTROL_RESET_MASK)
    with pytest.raises(DeviceResetError):
        nic.check()
    with pytest.raises(DeviceResetError):
        nic.tx[0].check()
    nic.reset()
    watch.start_again()
    check_traffic(nic, peer, 3)


def test_bus_04_keys_are_wiped(peer):
    """Looked for in the memory of a device process of the host's, by the host."""
    peer.check("secrets", seed=4, hows=KINDS)
