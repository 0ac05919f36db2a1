"""NET-04: VLAN insert and strip."""

import pytest
from harness.traffic import PEER_MAC, frame, padded, tcp_layers

from tlsnic.abi.enums import Offload, RxFlags

pytestmark = pytest.mark.row("NET-04")
TCIS = (0x0001, 0x0FFF, 0x6123, 0xF000, 0xFFFF, 0)


def test_net_04_insert(nic, peer):
    for number, tci in enumerate(TCIS):
        plain = frame(PEER_MAC, nic.mac_address, 60 + number, number)
        nic.tx[0].send(plain, vlan=tci)
        got = peer.receive()
        assert got == plain[:12] + b"\x81\x00" + tci.to_bytes(2, "big") + plain[12:]
        (seen,) = peer.dissect(got)
        assert seen["Dot1Q"]["vlan"] == tci & 0xFFF
        assert seen["Dot1Q"]["prio"] == tci >> 13


def test_net_04_insert_into_the_longest_frame(nic, peer):
    longest = frame(PEER_MAC, nic.mac_address, nic.max_frame_bytes)
    nic.tx[0].send(longest, vlan=5)
    assert len(peer.receive()) == nic.max_frame_bytes + 4


def test_net_04_insert_with_checksums(nic, peer):
    text = nic.mac_address.hex(":")
    right, wrong = peer.craft(
        [*tcp_layers(text), bytes(100)], [*tcp_layers(text, chksum=0x1234), bytes(100)]
    )
    nic.tx[0].send(wrong, checksum=True, vlan=77)
    got = peer.receive()
    assert got == right[:12] + b"\x81\x00\x00\x4d" + right[12:]


def test_net_04_insert_into_a_short_frame_pads_behind_the_tag(nic, peer):
    short = frame(PEER_MAC, nic.mac_address, 30)
    nic.tx[0].send(short, vlan=9)
    assert peer.receive() == padded(short[:12] + b"\x81\x00\x00\x09" + short[12:])


def test_net_04_strip(nic, peer):
    nic.offloads = Offload.VLAN_STRIP
    for number, tci in enumerate(TCIS):
        plain = frame(nic.mac_address, PEER_MAC, 60 + number, number)
        peer.send(plain[:12] + b"\x81\x00" + tci.to_bytes(2, "big") + plain[12:])
        got = nic.receive(5)
        assert got is not None
        assert got.data == plain
        assert got.rx_flags & RxFlags.VLAN_STRIPPED
        assert got.vlan == tci


def test_net_04_strip_takes_the_outer_tag_only(nic, peer):
    nic.offloads = Offload.VLAN_STRIP
    plain = frame(nic.mac_address, PEER_MAC, 80)
    peer.send(plain[:12] + b"\x81\x00\x00\x05\x81\x00\x00\x06" + plain[12:])
    got = nic.receive(5)
    assert got is not None
    assert got.vlan == 5
    assert got.data == plain[:12] + b"\x81\x00\x00\x06" + plain[12:]


def test_net_04_strip_leaves_untagged_frames_alone(nic, peer):
    nic.offloads = Offload.VLAN_STRIP
    plain = frame(nic.mac_address, PEER_MAC, 80)
    peer.send(plain)
    got = nic.receive(5)
    assert got is not None
    assert got.data == plain
    assert got.vlan is None
    assert got.vlan_tci == 0


def test_net_04_strip_with_checksums_behind_the_tag(nic, peer):
    nic.offloads = Offload.VLAN_STRIP | Offload.RX_CHECKSUM
    text = nic.mac_address.hex(":")
    for ip in ("IP", "IPv6"):
        tagged, plain = peer.craft(
            [*tcp_layers(text, ip=ip, to_nic=True, vlan=0x2345), bytes(90)],
            [*tcp_layers(text, ip=ip, to_nic=True), bytes(90)],
        )
        peer.send(tagged)
        got = nic.receive(5)
        assert got is not None
        assert got.data == plain
        assert got.vlan == 0x2345
        assert got.rx_flags & RxFlags.L4_CHECKSUM_OK


def test_net_04_off_leaves_the_tag_in_the_frame(nic, peer):
    plain = frame(nic.mac_address, PEER_MAC, 80)
    tagged = plain[:12] + b"\x81\x00\x00\x05" + plain[12:]
    peer.send(tagged)
    got = nic.receive(5)
    assert got is not None
    assert got.data == tagged
    assert got.vlan is None


def test_net_04_longest_tagged_frame_is_taken(nic, peer):
    nic.offloads = Offload.VLAN_STRIP
    longest = frame(nic.mac_address, PEER_MAC, nic.max_frame_bytes)
    peer.send(longest[:12] + b"\x81\x00\x00\x05" + longest[12:])
    got = nic.receive(5)
    assert got is not None
    assert got.data == longest


def test_net_04_insert_on_the_way_out_is_stripped_on_the_way_in(nic, peer):
    nic.offloads = Offload.VLAN_STRIP
    nic.set_rx_filter(promiscuous=True)
    plain = frame(PEER_MAC, nic.mac_address, 200)
    nic.tx[0].send(plain, vlan=0x4321)
    peer.send(peer.receive())
    got = nic.receive(5)
    assert got is not None
    assert (got.data, got.vlan) == (plain, 0x4321)
