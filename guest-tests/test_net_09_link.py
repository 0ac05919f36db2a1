"""NET-09: link up and down events; transmit while down is counted and dropped."""

import pytest
from harness.fixtures import await_link
from harness.traffic import PEER_MAC, frame

from tlsnic.abi.enums import Diagnostic, EventType, QueueState, TxStatus
from tlsnic.abi.structures import LinkChangeEvent

pytestmark = pytest.mark.row("NET-09")


def link_event(nic):
    event = nic.events.next_event(5, EventType.LINK_CHANGE)
    assert isinstance(event, LinkChangeEvent), "no link event came"
    return event


def check_traffic(nic, peer, seed):
    out, into = (
        frame(PEER_MAC, nic.mac_address, 80, seed),
        frame(nic.mac_address, PEER_MAC, 80, seed),
    )
    nic.tx[0].send(out)
    assert peer.receive() == out
    peer.send(into)
    packet = nic.receive(5)
    assert packet is not None
    assert packet.data == into


def test_net_09_events_and_status_follow_the_wire(nic, peer, scale):
    for number in range(scale(4, 2)):
        assert nic.link_up
        peer.set_link(False)
        event = link_event(nic)
        assert (event.link_up, event.mbps) == (0, nic.link_mbps)
        assert not nic.link_up
        peer.set_link(True)
        event = link_event(nic)
        assert (event.link_up, event.mbps) == (1, nic.link_mbps)
        assert nic.link_up
        check_traffic(nic, peer, number)
    assert nic.events.next_event(0, EventType.LINK_CHANGE) is None, "an event too many"


def test_net_09_transmit_while_down_is_counted_and_dropped(nic, peer, watch):
    peer.set_link(False)
    await_link(nic, False)
    count = 10
    watch.expect(Diagnostic.TX_LINK_DOWN, count)
    for seed in range(count):
        nic.tx[0].send(frame(PEER_MAC, nic.mac_address, 80, seed))
    nic.tx[0].drain(5)
    assert nic.tx[0].state == QueueState.RUNNING
    assert {drop.status for drop in nic.tx[0].drops} == {TxStatus.LINK_DOWN}
    assert len(nic.tx[0].drops) == count
    counters = nic.counters()
    assert counters["TX_DROP_LINK_DOWN"] == counters["TX_PACKETS"] == count
    assert counters["TX_SENT_PACKETS"] == counters["TX_FRAMES"] == counters["TX_BYTES"] == 0
    peer.set_link(True)
    await_link(nic)
    check_traffic(nic, peer, 99)
    assert peer.drain() == [], "nothing of what was dropped comes later"


def test_net_09_link_events_can_be_switched_off(nic, peer):
    before = nic.options.events
    nic.set_events(before & ~type(before).LINK)
    peer.set_link(False)
    await_link(nic, False)
    peer.set_link(True)
    await_link(nic)
    assert nic.events.next_event(0, EventType.LINK_CHANGE) is None
    check_traffic(nic, peer, 1)


def test_net_09_flaps_under_traffic_lose_nothing_uncounted(nic, peer, watch, scale):
    watch.allow(Diagnostic.TX_LINK_DOWN)  # how many are caught by a flap is chance
    sent = 0
    for _ in range(scale(4, 2)):
        for up in (False, True):
            for seed in range(20):
                nic.tx[0].send(frame(PEER_MAC, nic.mac_address, 80, seed))
                sent += 1
            peer.set_link(up)
            nic.tx[0].drain(5)
        await_link(nic)
    counters = nic.counters()
    assert counters["TX_PACKETS"] == sent
    assert counters["TX_SENT_PACKETS"] + counters["TX_DROP_LINK_DOWN"] == sent
    peer.drain()
    check_traffic(nic, peer, 50)


def test_net_09_reset_keeps_the_link(nic, peer, watch):
    watch.checkpoint()
    assert nic.link_up
    nic.reset()
    assert nic.link_up
    watch.start_again()
    peer.set_link(False)
    await_link(nic, False)
    watch.checkpoint()
    nic.reset()
    assert not nic.link_up
    watch.start_again()
    peer.set_link(True)
    await_link(nic)
    check_traffic(nic, peer, 7)
