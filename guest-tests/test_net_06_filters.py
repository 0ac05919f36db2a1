"""NET-06: unicast, multicast, broadcast filters; promiscuous; VLAN filter."""

import pytest
from harness.traffic import BROADCAST, PEER_MAC, frame

pytestmark = pytest.mark.row("NET-06")
OTHER = bytes.fromhex("02000000aa01")
GROUP = bytes.fromhex("01005e000001")
GROUP6 = bytes.fromhex("333300000001")


def taken(nic, peer, **frames):
    """Which of the frames, by name, the card takes. One for its own address ends each look."""
    names = {content: name for name, content in frames.items()}
    last = frame(nic.mac_address, PEER_MAC, 60, seed=999)
    peer.send(*frames.values(), last)
    found = []
    while True:
        got = nic.receive(5)
        assert got is not None, "the frame for the card's own address was not taken"
        if got.data == last:
            return found
        found.append(names[got.data])


def everybody(nic):
    """A frame of each kind of address."""
    return {
        "own": frame(nic.mac_address, PEER_MAC, 64, 1),
        "other": frame(OTHER, PEER_MAC, 64, 2),
        "group": frame(GROUP, PEER_MAC, 64, 3),
        "group6": frame(GROUP6, PEER_MAC, 64, 4),
        "broadcast": frame(BROADCAST, PEER_MAC, 64, 5),
    }


def test_net_06_after_reset_own_address_and_broadcast(nic, peer):
    assert taken(nic, peer, **everybody(nic)) == ["own", "broadcast"]
    counters = nic.counters()
    assert counters["RX_DROP_FILTER"] == 3
    assert counters["RX_BROADCAST"] == 1
    assert counters["RX_MULTICAST"] == 0


def test_net_06_broadcast_off(nic, peer):
    nic.set_rx_filter(broadcast=False)
    assert taken(nic, peer, **everybody(nic)) == ["own"]


def test_net_06_all_multicast(nic, peer):
    nic.set_rx_filter(all_multicast=True, broadcast=False)
    assert taken(nic, peer, **everybody(nic)) == ["own", "group", "group6"]
    assert nic.counters()["RX_MULTICAST"] == 2


def test_net_06_promiscuous(nic, peer):
    nic.set_rx_filter(promiscuous=True, broadcast=False)
    assert taken(nic, peer, **everybody(nic)) == list(everybody(nic))


def test_net_06_filter_table(nic, peer):
    nic.set_mac_filters([GROUP, OTHER])
    assert taken(nic, peer, **everybody(nic)) == ["own", "other", "group", "broadcast"]
    nic.set_mac_filters([GROUP6])
    assert taken(nic, peer, **everybody(nic)) == ["own", "group6", "broadcast"]
    nic.set_mac_filters([])
    assert taken(nic, peer, **everybody(nic)) == ["own", "broadcast"]


def test_net_06_every_entry_of_the_filter_table(nic, peer):
    addresses = [bytes.fromhex("0200000001") + bytes([n]) for n in range(32)]
    nic.set_mac_filters(addresses)
    frames = {f"n{n}": frame(address, PEER_MAC, 60, n) for n, address in enumerate(addresses)}
    assert taken(nic, peer, **frames) == list(frames)


def test_net_06_address_that_differs_in_one_bit_is_not_taken(nic, peer):
    mac = nic.mac_address
    frames = {}
    for bit in range(48):
        close = (int.from_bytes(mac, "big") ^ 1 << bit).to_bytes(6, "big")
        frames[f"bit{bit}"] = frame(close, PEER_MAC, 60, bit)
    assert taken(nic, peer, **frames) == []


def test_net_06_changed_address(nic, peer):
    before = nic.mac_address
    nic.mac_address = OTHER
    nic.set_rx_filter(broadcast=False)
    assert taken(nic, peer, old=frame(before, PEER_MAC, 60, 1)) == []


def test_net_06_vlan_filter(nic, peer):
    def tagged(tci, seed):
        plain = frame(nic.mac_address, PEER_MAC, 60, seed)
        return plain[:12] + b"\x81\x00" + tci.to_bytes(2, "big") + plain[12:]

    frames = {
        "untagged": frame(nic.mac_address, PEER_MAC, 64, 1),
        "priority": tagged(0x6000, 2),
        "vlan 1": tagged(1, 3),
        "vlan 63": tagged(0xE03F, 4),
        "vlan 64": tagged(64, 5),
        "vlan 4095": tagged(4095, 6),
    }
    assert taken(nic, peer, **frames) == list(frames), "the filter is off after reset"
    nic.set_rx_filter(vlan_filter=True)
    assert taken(nic, peer, **frames) == ["untagged", "priority"]
    nic.set_vlan_filters([63, 4095])
    assert taken(nic, peer, **frames) == ["untagged", "priority", "vlan 63", "vlan 4095"]
    nic.set_vlan_filters([64])
    assert taken(nic, peer, **frames) == ["untagged", "priority", "vlan 64"]


def test_net_06_multicast_for_the_card_itself_counts_as_multicast(nic, peer):
    nic.set_mac_filters([GROUP])
    before = nic.counters()
    assert taken(nic, peer, group=frame(GROUP, PEER_MAC, 64)) == ["group"]
    after = nic.counters()
    assert after["RX_MULTICAST"] - before["RX_MULTICAST"] == 1
    assert after["RX_BROADCAST"] == before["RX_BROADCAST"]
