"""No wake-up is lost: arming, moderation, errors, and queues that stop while others wait."""

import random

import pytest
from rig import Rig

from tlsnic.abi import registers as r
from tlsnic.abi.enums import Diagnostic, QueueState, TxFlags
from tlsnic.abi.structures import TxDescriptor

FRAME = b"\x02" * 60
RACES = 84_000
"""Per parameter set: together a little over a million."""


def moderate(rig, vector, *, usecs=0, frames=0):
    rig.write(r.MODERATION + 4 * vector, usecs | frames << 16)


def one_packet(rig, tx):
    rig.send(tx, FRAME)
    tx.ring_doorbell()
    rig.run()


@pytest.fixture
def tx(rig):
    queue = rig.tx()
    queue.enable(vector=5)
    rig.start()
    return queue


def test_moderated_interrupt_of_a_stopped_queue_does_not_disarm_its_next_life(rig, tx):
    moderate(rig, 5, usecs=100)
    tx.return_entries(arm=True)
    one_packet(rig, tx)
    tx.disable()
    tx.enable(vector=6)
    tx.return_entries(arm=True)
    rig.run(after_ns=200_000)
    assert rig.host.triggered == []
    one_packet(rig, tx)
    assert rig.host.triggered == [6]


def test_stopped_queue_takes_only_its_own_request_along(rig, tx):
    other = rig.tx(1)
    other.enable(vector=5)
    moderate(rig, 5, usecs=100)
    for queue in (tx, other):
        queue.return_entries(arm=True)
        one_packet(rig, queue)
    tx.disable()
    rig.run(after_ns=200_000)
    assert rig.host.triggered == [5]


def test_arming_counts_what_is_there_for_moderation(rig, tx):
    moderate(rig, 5, frames=3)
    for _ in range(3):
        one_packet(rig, tx)
    tx.return_entries(arm=True)
    assert rig.host.triggered == [5]


def test_arming_again_after_taking_everything_forgets_the_old_request(rig, tx):
    moderate(rig, 5, usecs=100)
    tx.return_entries(arm=True)
    one_packet(rig, tx)
    tx.reap()
    tx.return_entries(arm=True)
    rig.run(after_ns=200_000)
    assert rig.host.triggered == []
    one_packet(rig, tx)
    rig.run(after_ns=100_000)
    assert rig.host.triggered == [5]


def test_moderation_starts_when_the_doorbell_is_rung(rig, tx):
    moderate(rig, 5, usecs=100)
    one_packet(rig, tx)
    rig.now_ns += 10**9
    rig.nic.advance(rig.now_ns)
    tx.return_entries(arm=True)
    rig.run()
    assert rig.host.triggered == []
    assert rig.nic.next_deadline_ns() == rig.now_ns + 100_000


def test_completion_of_the_packet_that_stopped_a_queue_can_still_be_waited_for(rig, tx):
    tx.post(TxDescriptor(0xDEAD_0000, 60, TxFlags.END_OF_PACKET).pack())
    tx.ring_doorbell()
    rig.run()
    assert tx.state is QueueState.ERROR
    tx.return_entries(arm=True)  # the driver has looked just before the completion came
    assert rig.host.triggered == [5]
    (completion,) = tx.reap()
    assert completion.detail == Diagnostic.DMA_FAULT


@pytest.mark.parametrize("stop", ["disable", "error"])
def test_queues_go_on_when_the_one_that_waits_for_the_wire_stops(rig, tx, stop):
    other = rig.tx(1)
    other.enable()
    rig.wire.blocked = True
    one_packet(rig, tx)
    one_packet(rig, other)
    if stop == "disable":
        tx.disable()
    else:
        rig.doorbell(tx.doorbell, tx.entries)
    rig.wire.blocked = False
    rig.run()
    assert rig.sent == [FRAME]
    assert len(other.reap()) == 1


def test_both_doorbells_of_a_queue_take_one_64_bit_write(rig, tx):
    rig.send(tx, FRAME)
    rig.write(tx.doorbell, tx.tail | 1 << 63, 8, bar=2)
    rig.run()
    assert rig.sent == [FRAME]
    assert rig.host.triggered == [5]


def test_intx_is_let_go_when_msix_is_switched_on(rig, tx):
    rig.host.msix_enabled = False
    rig.write(r.INT_ENABLE, 1, 8)
    rig.write(r.INT_TRIGGER, 1, 8)
    assert rig.host.intx
    rig.host.msix_enabled = True
    rig.run()
    assert not rig.host.intx
    rig.write(r.INT_CAUSE, 1, 8)
    rig.host.msix_enabled = False
    rig.run()
    assert not rig.host.intx


@pytest.mark.parametrize("moderation", [{}, {"usecs": 20}, {"frames": 3, "usecs": 50}])
@pytest.mark.parametrize("seed", range(4))
def test_no_wakeup_is_lost_in_any_interleaving(moderation, seed):
    """A driver that sleeps when it may, against doorbells, completions and time in random order."""
    rig = Rig()
    tx = rig.tx(entries=8)
    tx.enable(vector=5)
    rig.start()
    moderate(rig, 5, **moderation)
    address = rig.place(FRAME)
    entry = TxDescriptor(address, 60, TxFlags.END_OF_PACKET | TxFlags.REPORT).pack()
    dice = random.Random(seed)
    triggered = rig.host.triggered
    posted = reaped = races = 0
    asleep = False
    while races < RACES:
        rig.wire.sent.clear()
        races += 1
        choice = dice.random()
        if choice < 0.3 and posted - reaped < 7:
            tx.post(entry)
            tx.ring_doorbell()
            posted += 1
        elif choice < 0.6:
            rig.now_ns += dice.choice((0, 0, 1_000, 30_000))
            rig.nic.poll(rig.now_ns)
        elif asleep and triggered:
            asleep = False
        elif not asleep and choice < 0.8:
            reaped += len(tx.reap())
        elif not asleep:
            triggered.clear()
            tx.return_entries(arm=True)
            asleep = True
        if asleep and not triggered and choice > 0.98:
            rig.run()
            rig.run(after_ns=60_000)
            pending = tx.completion_is_there
            assert bool(triggered) == pending
    rig.run()
    rig.run(after_ns=60_000)
    assert reaped + len(tx.reap()) == posted
