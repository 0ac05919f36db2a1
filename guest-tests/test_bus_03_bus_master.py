"""BUS-03: bus master off: no DMA, no interrupt; a diagnostic says so."""

import pytest
from harness.fixtures import wait_for
from harness.traffic import PEER_MAC, frame

from tlsnic.abi import registers as reg
from tlsnic.abi.enums import Diagnostic
from tlsnic.abi.structures import NopCommand

pytestmark = pytest.mark.row("BUS-03")


def count(nic):
    return nic.diagnostics().raised


def test_bus_03_transmit_waits_and_goes_on(nic, bus, peer, watch):
    watch.allow(Diagnostic.BUS_MASTER_OFF)
    watch.allow(Diagnostic.EVENT_LOST)  # an event would be DMA too
    bus.set_bus_master(False)
    before = count(nic)
    one = frame(PEER_MAC, nic.mac_address, 80)
    ticket = nic.tx[0].send(one, report=True)
    assert nic.tx[0].status().tail == 1, "the doorbell has arrived"
    assert nic.tx[0].status().head == 0, "nothing was fetched"
    wait_for(lambda: count(nic) > before, "the diagnostic")
    assert Diagnostic.BUS_MASTER_OFF in diagnostics_since(nic)
    assert peer.drain() == []
    nic.tx[0].reap()
    assert not nic.tx[0].is_done(ticket)
    bus.set_bus_master(True)
    assert peer.receive() == one
    nic.tx[0].wait_done(ticket, 5)
    start_again(nic, watch)


def diagnostics_since(nic):
    """Codes that DIAG_LAST can show: the last one, or that its event was lost."""
    last = nic.diagnostics()
    codes = {Diagnostic(last.code)}
    if last.code == Diagnostic.EVENT_LOST:
        # The event of the diagnostic could not be written: what was lost is what is looked for.
        codes.add(Diagnostic.BUS_MASTER_OFF)
    return codes


def start_again(nic, watch):
    """What was told while events could not be written is known from the registers only."""
    watch.collect()
    watch.start_again()


def test_bus_03_commands_wait_and_go_on(nic, bus, watch):
    bus.set_bus_master(False)
    pending = nic.admin.submit(NopCommand())
    assert nic.admin.status().head == 0
    wait_for(lambda: count(nic) > 0, "the diagnostic")
    nic.admin.reap()
    assert pending.response is None
    bus.set_bus_master(True)
    nic.admin.result(pending, 5)
    start_again(nic, watch)


def test_bus_03_received_frames_are_dropped_and_counted(nic, bus, peer, watch):
    bus.set_bus_master(False)
    for seed in range(3):
        peer.send(frame(nic.mac_address, PEER_MAC, 80, seed))
    wait_for(lambda: nic.counters()["RX_WIRE_FRAMES"] == 3, "all frames came")
    assert nic.counters()["RX_DROP_DISABLED"] == 3
    assert not nic.rx[0].ready()
    assert nic.rx[0].status().head == 0
    bus.set_bus_master(True)
    last = frame(nic.mac_address, PEER_MAC, 80, 9)
    peer.send(last)
    packet = nic.receive(5)
    assert packet is not None
    assert packet.data == last
    start_again(nic, watch)


@pytest.mark.msix
def test_bus_03_no_msix_message(nic, bus, watch):
    vector = 5
    before = nic.counters()["INTERRUPTS"]
    bus.set_bus_master(False)
    nic.access.write64(reg.INT_TRIGGER, 1 << vector)
    assert nic.diagnostics().raised > 0
    assert nic.waiter.interrupts.poll(0.05, (vector,)) == {}
    assert nic.counters()["INTERRUPTS"] == before
    assert nic.access.read64(reg.INT_CAUSE) >> vector & 1
    bus.set_bus_master(True)
    assert nic.waiter.interrupts.poll(5, (vector,)) == {vector: 1}, "it is delivered later"
    start_again(nic, watch)


def test_bus_03_diagnostic_is_named(nic, bus, watch):
    nic.set_events(type(nic.options.events)(0))  # so that no lost event hides it
    bus.set_bus_master(False)
    nic.tx[0].send(frame(PEER_MAC, nic.mac_address, 80))
    wait_for(lambda: count(nic) > 0, "the diagnostic")
    last = nic.diagnostics()
    assert (last.code, last.raised) == (Diagnostic.BUS_MASTER_OFF, 1)
    bus.set_bus_master(True)
    nic.drain_tx(5)
    nic.set_events(nic.options.events)
    start_again(nic, watch)
