"""NET-02: transmit and receive checksums, IPv4 and IPv6, TCP and UDP; a bad one is flagged."""

import pytest
from harness.traffic import IP4_NIC, IP4_PEER, IP6_NIC, IP6_PEER, PEER_TEXT, noise, padded

from tlsnic.abi.enums import Diagnostic, Offload, RxFlags, TxFlags, TxStatus

pytestmark = pytest.mark.row("NET-02")
PROTOCOLS = [("IP", "TCP"), ("IP", "UDP"), ("IPv6", "TCP"), ("IPv6", "UDP")]
PAYLOADS = (0, 1, 2, 17, 600, 1400)
KINDS = RxFlags.IPV4 | RxFlags.IPV6 | RxFlags.TCP | RxFlags.UDP | RxFlags.FRAGMENT
SUMS = (
    RxFlags.IP_CHECKSUM_OK
    | RxFlags.IP_CHECKSUM_BAD
    | RxFlags.L4_CHECKSUM_OK
    | RxFlags.L4_CHECKSUM_BAD
)


def layers(ip, l4, size, *, to_nic, nic_text, seed=0, l4_fields=None, ip_fields=None):
    """Layers of one packet between card and peer."""
    nic_address, peer_address = (IP4_NIC, IP4_PEER) if ip == "IP" else (IP6_NIC, IP6_PEER)
    source, target = (peer_address, nic_address) if to_nic else (nic_address, peer_address)
    macs = (PEER_TEXT, nic_text) if to_nic else (nic_text, PEER_TEXT)
    ports = {"sport": 40000 + seed, "dport": 443}
    return [
        ["Ether", {"src": macs[0], "dst": macs[1]}],
        [ip, {"src": source, "dst": target, **(ip_fields or {})}],
        [l4, {**ports, **(l4_fields or {})}],
        noise(size, seed + 1),
    ]


def every_packet(peer, nic, *, to_nic, **kw):
    """All protocols and payload sizes, as (name, frame) pairs."""
    names, packets = [], []
    for ip, l4 in PROTOCOLS:
        for size in PAYLOADS:
            names.append(f"{l4} over {ip}, {size} bytes")
            text = nic.mac_address.hex(":")
            packets.append(layers(ip, l4, size, to_nic=to_nic, nic_text=text, seed=size, **kw))
    return list(zip(names, peer.craft(*packets), strict=True))


def test_net_02_transmit_checksums_are_filled_in(nic, peer):
    right = every_packet(peer, nic, to_nic=False)
    damaged = every_packet(peer, nic, to_nic=False, l4_fields={"chksum": 0xDEAD})
    for _, one in damaged:
        at = 24 if one[12:14] == b"\x08\x00" else 0
        spoiled = bytearray(one)
        if at:
            spoiled[at : at + 2] = b"\xbe\xef"
        nic.tx[0].send(spoiled, checksum=True)
    received = peer.receive_many(len(damaged))
    for (name, expected), got in zip(right, received, strict=True):
        assert got[: len(expected)] == expected, name
        assert not any(got[len(expected) :]), f"{name}: padding"


def test_net_02_transmit_without_request_leaves_checksums_alone(nic, peer):
    for name, one in every_packet(peer, nic, to_nic=False, l4_fields={"chksum": 0xDEAD}):
        nic.tx[0].send(one)
        assert peer.receive()[: len(one)] == one, name


def test_net_02_each_transmit_checksum_by_itself(nic, peer):
    text = nic.mac_address.hex(":")
    right, wrong = peer.craft(
        layers("IP", "TCP", 100, to_nic=False, nic_text=text),
        layers(
            *("IP", "TCP", 100),
            to_nic=False,
            nic_text=text,
            l4_fields={"chksum": 0x1234},
            ip_fields={"chksum": 0x5678},
        ),
    )
    nic.tx[0].send(wrong, flags=TxFlags.IP_CHECKSUM)
    assert peer.receive() == right[:50] + wrong[50:52] + right[52:]
    nic.tx[0].send(wrong, flags=TxFlags.L4_CHECKSUM)
    assert peer.receive() == right[:24] + wrong[24:26] + right[26:]


def test_net_02_transmit_udp_sum_of_zero_is_sent_as_ones(nic, peer):
    text = nic.mac_address.hex(":")
    for ip in ("IP", "IPv6"):
        base = layers(ip, "UDP", 0, to_nic=False, nic_text=text)
        (plain,) = peer.craft([*base[:-1], bytes(2)])
        # Adding a sum's own complement to the data makes the sum zero (RFC 768).
        at = 40 if ip == "IP" else 60
        (once,) = peer.craft([*base[:-1], plain[at : at + 2]])
        assert once[at : at + 2] in (b"\xff\xff", b"\0\0")
        nic.tx[0].send(once[:at] + b"\0\0" + once[at + 2 :], checksum=True)
        assert peer.receive()[at : at + 2] == b"\xff\xff", ip


def test_net_02_transmit_checksum_of_what_has_none_is_refused(nic, peer, expect_diagnostic):
    text = nic.mac_address.hex(":")
    arp, icmp, fragment, first = peer.craft(
        [["Ether", {"src": text, "dst": PEER_TEXT}], ["ARP", {}]],
        [*layers("IP", "TCP", 10, to_nic=False, nic_text=text)[:2], ["ICMP", {}], bytes(20)],
        layers("IP", "UDP", 40, to_nic=False, nic_text=text, ip_fields={"frag": 3}),
        layers("IP", "UDP", 40, to_nic=False, nic_text=text, ip_fields={"flags": "MF"}),
    )
    refused = (arp, icmp, fragment, first)
    expect_diagnostic(Diagnostic.TX_CHECKSUM, len(refused))
    for one in refused:
        nic.tx[0].send(one, flags=TxFlags.L4_CHECKSUM)
        nic.tx[0].drain(5)
        drop = nic.tx[0].drops.pop()
        assert (drop.status, drop.detail) == (TxStatus.BAD_PACKET, Diagnostic.TX_CHECKSUM)
    nic.tx[0].send(icmp)
    assert peer.receive() == padded(icmp), "nothing of the others was sent"
    assert nic.counters()["TX_DROP_BAD_PACKET"] == len(refused)


def test_net_02_receive_right_checksums_are_marked(nic, peer):
    nic.offloads = Offload.RX_CHECKSUM
    packets = every_packet(peer, nic, to_nic=True)
    peer.send(*(one for _, one in packets))
    for name, one in packets:
        got = nic.receive(5)
        assert got is not None
        assert got.data == one, name
        expected = RxFlags.L4_CHECKSUM_OK | (RxFlags.TCP if "TCP" in name else RxFlags.UDP)
        is_4 = one[12:14] == b"\x08\x00"
        expected |= RxFlags.IPV4 | RxFlags.IP_CHECKSUM_OK if is_4 else RxFlags.IPV6
        assert got.rx_flags == expected, name
    assert nic.counters()["RX_CHECKSUM_BAD"] == 0


def test_net_02_receive_bad_checksums_are_flagged_and_passed_on(nic, peer):
    nic.offloads = Offload.RX_CHECKSUM
    packets = every_packet(peer, nic, to_nic=True)
    spoiled = []
    for name, one in packets:
        bad = bytearray(one)
        is_4 = one[12:14] == b"\x08\x00"
        l4 = 34 if is_4 else 54
        bad[l4] ^= 0x10  # the source port: what the sum is about, not the sum
        spoiled.append((name, bytes(bad), RxFlags.L4_CHECKSUM_BAD))
        if is_4:
            bad = bytearray(one)
            bad[22] ^= 1  # time to live
            spoiled.append((name, bytes(bad), RxFlags.IP_CHECKSUM_BAD))
    peer.send(*(bad for _, bad, _ in spoiled))
    for name, bad, flag in spoiled:
        got = nic.receive(5)
        assert got is not None
        assert got.data == bad, name
        assert got.rx_flags & (RxFlags.IP_CHECKSUM_BAD | RxFlags.L4_CHECKSUM_BAD) == flag, name
        assert got.checksum_bad
        if flag is RxFlags.L4_CHECKSUM_BAD:
            assert not got.rx_flags & RxFlags.L4_CHECKSUM_OK, name
    assert nic.counters()["RX_CHECKSUM_BAD"] == len(spoiled)


def test_net_02_receive_udp_over_ipv4_without_sum_is_not_bad(nic, peer):
    nic.offloads = Offload.RX_CHECKSUM
    text = nic.mac_address.hex(":")
    (one,) = peer.craft(
        layers("IP", "UDP", 50, to_nic=True, nic_text=text, l4_fields={"chksum": 0})
    )
    peer.send(one)
    got = nic.receive(5)
    assert got is not None
    assert not got.checksum_bad
    assert not got.rx_flags & RxFlags.L4_CHECKSUM_OK


def test_net_02_receive_udp_over_ipv6_without_sum_is_bad(nic, peer):
    nic.offloads = Offload.RX_CHECKSUM
    text = nic.mac_address.hex(":")
    (one,) = peer.craft(
        layers("IPv6", "UDP", 50, to_nic=True, nic_text=text, l4_fields={"chksum": 0})
    )
    peer.send(one)
    got = nic.receive(5)
    assert got is not None
    assert got.rx_flags & RxFlags.L4_CHECKSUM_BAD  # RFC 8200, 8.1


def test_net_02_receive_offload_off_says_nothing_of_checksums(nic, peer):
    assert nic.offloads == 0
    packets = every_packet(peer, nic, to_nic=True, l4_fields={"chksum": 0xDEAD})
    peer.send(*(one for _, one in packets))
    for name, one in packets:
        got = nic.receive(5)
        assert got is not None
        assert got.data == one, name
        assert not got.rx_flags & SUMS, name
        assert got.rx_flags & KINDS, name


def test_net_02_receive_kinds_of_packets_are_told_apart(nic, peer):
    nic.offloads = Offload.RX_CHECKSUM
    text = nic.mac_address.hex(":")
    ether = ["Ether", {"src": PEER_TEXT, "dst": text}]
    ip4 = ["IP", {"src": IP4_PEER, "dst": IP4_NIC}]
    ip6 = ["IPv6", {"src": IP6_PEER, "dst": IP6_NIC}]
    ports = {"sport": 1, "dport": 2}
    cases = {
        "arp": ([ether, ["ARP", {}]], RxFlags(0)),
        "icmp": ([ether, ip4, ["ICMP", {}], bytes(30)], RxFlags.IPV4),
        "fragment": (
            [ether, ["IP", {**ip4[1], "frag": 9, "proto": 6}], bytes(40)],
            RxFlags.IPV4 | RxFlags.FRAGMENT,
        ),
        "first fragment": (
            [ether, ["IP", {**ip4[1], "flags": "MF"}], ["UDP", ports], bytes(40)],
            RxFlags.IPV4 | RxFlags.FRAGMENT,
        ),
        "IPv6 fragment": (
            [ether, ip6, ["IPv6ExtHdrFragment", {"offset": 8, "nh": 17}], bytes(40)],
            RxFlags.IPV6 | RxFlags.FRAGMENT,
        ),
        "IPv6 with options": (
            [ether, ip6, ["IPv6ExtHdrDestOpt", {}], ["TCP", ports], bytes(40)],
            RxFlags.IPV6 | RxFlags.TCP,
        ),
        "IPv4 with options": (
            [ether, ["IP", {**ip4[1], "options": []}], ["UDP", ports], bytes(40)],
            RxFlags.IPV4 | RxFlags.UDP,
        ),
    }
    for (name, (_, kinds)), one in zip(
        cases.items(), peer.craft(*(content for content, _ in cases.values())), strict=True
    ):
        peer.send(one)
        got = nic.receive(5)
        assert got is not None
        assert got.data == one
        assert got.rx_flags & KINDS == kinds, name
        assert not got.checksum_bad, name
        if kinds & (RxFlags.TCP | RxFlags.UDP):
            assert got.rx_flags & RxFlags.L4_CHECKSUM_OK, name
        else:
            assert not got.rx_flags & RxFlags.L4_CHECKSUM_OK, name
