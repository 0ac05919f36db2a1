"""NET-08: receive coalescing joins only in-order segments of one flow with the same offload state."""

import random

import pytest
from harness.traffic import PEER_MAC, frame, noise, tcp_layers

from tlsnic.abi.enums import Diagnostic, Offload, RxFlags

pytestmark = [
    pytest.mark.row("NET-08"),
    # A packet of 64 KiB fits in the ring.
    pytest.mark.nic(rx_entries=256),
]
ACK, PSH, FIN, SYN, URG = 0x10, 0x08, 0x01, 0x02, 0x20
MSS = 1000
LONG_US = 65535
TIMESTAMPS = [["NOP", None], ["NOP", None], ["Timestamp", [1000, 2000]]]


@pytest.fixture
def joining(nic):
    """The card, with coalescing on and a timeout that is longer than any test's burst."""
    nic.offloads = Offload.RX_CHECKSUM | Offload.RX_COALESCE
    nic.set_rx_coalesce(LONG_US)
    return nic


def segments(nic, count, *, start=5000, size=MSS, ip="IP", seed=0, push=True, **tcp):
    """Layers of `count` segments of one flow in order, the last one with PSH."""
    text = nic.mac_address.hex(":")
    found = []
    for number in range(count):
        is_last = number == count - 1
        flags = tcp.get("flags", ACK) | (PSH if push and is_last else 0)
        fields = {**tcp, "seq": (start + number * size) % 2**32, "flags": flags}
        found.append([*tcp_layers(text, ip=ip, to_nic=True, **fields), noise(size, seed + number)])
    return found


def receive_all(nic, wire_frames):
    """Packets until they account for `wire_frames` frames."""
    packets, seen = [], 0
    while seen < wire_frames:
        packet = nic.receive(5)
        assert packet is not None, f"{seen} of {wire_frames} frames came"
        packets.append(packet)
        seen += packet.segments
    assert seen == wire_frames
    return packets


def check_joined(peer, packet, layers):
    """A joined packet is what its segments are together, by scapy's reading."""
    payload = b"".join(content[-1] for content in layers)
    assert packet.segments == len(layers)
    assert packet.rx_flags & RxFlags.COALESCED
    assert packet.rx_flags & RxFlags.L4_CHECKSUM_OK
    assert packet.segment_bytes == len(layers[0][-1])
    (seen,) = peer.dissect(packet.data)
    name = layers[0][1][0]
    first = layers[0][2][1]
    assert seen["payload"] == payload
    assert seen["padding"] == b""
    assert seen["TCP"]["seq"] == first["seq"]
    assert (seen["TCP"]["sport"], seen["TCP"]["dport"]) == (5001, 443)
    assert seen[name]["src"] == layers[0][1][1]["src"]
    if name == "IP":
        assert seen["ip_checksum_ok"] is True
        assert seen["IP"]["len"] == 20 + 4 * seen["TCP"]["dataofs"] + len(payload)
    else:
        assert seen["IPv6"]["plen"] == 4 * seen["TCP"]["dataofs"] + len(payload)
    return seen


@pytest.mark.parametrize("ip", ["IP", "IPv6"])
def test_net_08_segments_in_order_are_joined(joining, peer, ip):
    layers = segments(joining, 10, ip=ip, start=2**32 - 3500)
    frames = peer.craft(*layers)
    before = joining.counters()
    peer.send(*frames)
    (packet,) = receive_all(joining, 10)
    seen = check_joined(peer, packet, layers)
    assert "P" in seen["TCP"]["flags"]
    after = joining.counters()
    change = {name: after[name] - before[name] for name in after}
    assert change["RX_WIRE_FRAMES"] == change["RX_FRAMES"] == 10
    assert change["RX_PACKETS"] == 1
    assert change["RX_COALESCED"] == 9
    assert change["RX_BYTES"] == sum(map(len, frames))


def test_net_08_checksum_field_holds_the_pseudo_header_sum(joining, peer):
    layers = segments(joining, 3)
    peer.send(*peer.craft(*layers))
    (packet,) = receive_all(joining, 3)
    data = packet.data
    length = len(data) - 34
    words = data[26:34] + bytes([0, 6]) + length.to_bytes(2, "big")
    total = sum(int.from_bytes(words[at : at + 2], "big") for at in range(0, len(words), 2))
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    assert int.from_bytes(data[50:52], "big") == total


def test_net_08_options_stay_and_the_newest_acknowledgement_counts(joining, peer):
    layers = segments(joining, 4, options=TIMESTAMPS)
    for number, content in enumerate(layers):
        content[2][1]["ack"] = 700 + number
        content[2][1]["window"] = 100 + number
        content[2][1]["options"] = [*TIMESTAMPS[:2], ["Timestamp", [1000 + number, 2000]]]
    peer.send(*peer.craft(*layers))
    (packet,) = receive_all(joining, 4)
    seen = check_joined(peer, packet, layers)
    assert seen["TCP"]["ack"] == 703
    assert seen["TCP"]["window"] == 103
    assert seen["TCP"]["options"][-1] == ["Timestamp", [1003, 2000]]


def test_net_08_limit_of_segments(joining, peer):
    joining.set_rx_coalesce(LONG_US, max_segments=4)
    layers = segments(joining, 10)
    peer.send(*peer.craft(*layers))
    assert [packet.segments for packet in receive_all(joining, 10)] == [4, 4, 2]


def test_net_08_limit_of_bytes(joining, peer):
    joining.set_rx_coalesce(LONG_US, max_kib=4)
    layers = segments(joining, 9)
    peer.send(*peer.craft(*layers))
    packets = receive_all(joining, 9)
    assert all(packet.length <= 4096 + 14 for packet in packets)
    assert packets[0].segments > 1


def test_net_08_limit_of_time(joining, peer):
    joining.set_rx_coalesce(1000)
    layers = segments(joining, 3, push=False)
    peer.send(*peer.craft(*layers))
    assert sum(packet.segments for packet in receive_all(joining, 3)) == 3
    # Nothing else comes to end the packet: only the time can have done so.


def test_net_08_64_kib(joining, peer):
    layers = segments(joining, 45, size=1448)
    peer.send(*peer.craft(*layers))
    packets = receive_all(joining, 45)
    assert b"".join(packet.data[54:] for packet in packets) == b"".join(p[-1] for p in layers)
    assert max(packet.length for packet in packets) <= 65535 + 14
    assert packets[0].segments > 40


def not_joined(nic, peer, frames):
    """Every frame comes by itself, in order and as it is."""
    peer.send(*frames)
    packets = receive_all(nic, len(frames))
    assert [packet.segments for packet in packets] == [1] * len(frames)
    assert [packet.data for packet in packets] == frames
    assert not any(packet.rx_flags & RxFlags.COALESCED for packet in packets)


def changed(layers, number, layer, **fields):
    """A copy of `layers` in which one layer of one segment has other fields."""
    copy = [
        [part if isinstance(part, bytes) else [part[0], dict(part[1])] for part in one]
        for one in layers
    ]
    copy[number][layer][1].update(fields)
    return copy


CASES = {
    "gap": (2, {"seq": 6001}),
    "overlap": (2, {"seq": 5999}),
    "duplicate": (2, {"seq": 5000}),
    "source port": (2, {"sport": 9}),
    "destination port": (2, {"dport": 9}),
    "source address": (1, {"src": "192.0.2.77"}),
    "bad checksum": (2, {"chksum": 0x1234}),
    "bad IPv4 checksum": (1, {"chksum": 0x1234}),
    "SYN": (2, {"flags": ACK | SYN}),
    "FIN": (2, {"flags": ACK | FIN}),
    "URG": (2, {"flags": ACK | URG}),
    "no ACK": (2, {"flags": PSH}),
    "options": (2, {"options": TIMESTAMPS}),
    "type of service": (1, {"tos": 4}),
    "time to live": (1, {"ttl": 3}),
    "fragment": (1, {"flags": "MF"}),
    "congestion": (1, {"tos": 3}),
}


@pytest.mark.parametrize("case", CASES)
def test_net_08_what_does_not_belong_together_is_not_joined(joining, peer, case):
    layer, fields = CASES[case]
    # Three segments, the second one not fit for the first, and the third not for the second.
    layers = changed(segments(joining, 3, push=False), 1, layer, **fields)
    if case in ("source port", "destination port", "source address"):
        layers = layers[:2]  # the third continues the first
    elif case not in ("gap", "overlap", "duplicate"):
        layers[2][2][1]["seq"] = 9000
    not_joined(joining, peer, peer.craft(*layers))


def test_net_08_pure_acknowledgements_and_udp_are_not_joined(joining, peer):
    text = joining.mac_address.hex(":")
    acks = [tcp_layers(text, to_nic=True, seq=5000, ack=number) for number in range(3)]
    udp = [[*acks[0][:2], ["UDP", {"sport": 5, "dport": 6}], noise(800, n)] for n in range(3)]
    # Without Ethernet padding, so that scapy's frames are the whole truth.
    not_joined(joining, peer, peer.craft(*udp))
    peer.send(*peer.craft(*acks))
    assert [packet.segments for packet in receive_all(joining, 3)] == [1, 1, 1]


def test_net_08_two_vlans_are_two_flows(joining, peer):
    text = joining.mac_address.hex(":")
    joining.offloads = Offload.RX_CHECKSUM | Offload.RX_COALESCE | Offload.VLAN_STRIP
    layers = [
        [*tcp_layers(text, to_nic=True, vlan=vlan, seq=5000 + MSS * n), noise(MSS, n)]
        for n, vlan in enumerate((5, 6))
    ]
    peer.send(*peer.craft(*layers))
    packets = receive_all(joining, 2)
    assert sorted(packet.vlan for packet in packets) == [5, 6]
    assert [packet.segments for packet in packets] == [1, 1]


def test_net_08_interleaved_flows_are_joined_each_for_itself(joining, peer):
    one, two = segments(joining, 6, seed=1), segments(joining, 6, seed=100)
    for content in two:
        content[2][1]["sport"] = 6001
    peer.send(*peer.craft(*(part for pair in zip(one, two, strict=True) for part in pair)))
    packets = receive_all(joining, 12)
    assert [packet.segments for packet in packets] == [6, 6]
    payloads = {packet.data[54:] for packet in packets}
    assert payloads == {b"".join(part[-1] for part in flow) for flow in (one, two)}


def test_net_08_other_frames_do_not_disturb(joining, peer):
    layers = segments(joining, 4)
    frames = peer.craft(*layers)
    strangers = [frame(joining.mac_address, PEER_MAC, 100, n) for n in range(3)]
    mixed = [frames[0], strangers[0], frames[1], strangers[1], frames[2], strangers[2], frames[3]]
    peer.send(*mixed)
    packets = receive_all(joining, 7)
    assert [packet.data for packet in packets[:3]] == strangers
    check_joined(peer, packets[3], layers)


def test_net_08_off_or_without_checksum_nothing_is_joined(nic, peer, expect_diagnostic):
    frames = peer.craft(*segments(nic, 5))
    expect_diagnostic(Diagnostic.OFFLOAD_DEPENDENCY)
    for offloads in (Offload(0), Offload.RX_CHECKSUM, Offload.RX_COALESCE):
        nic.offloads = offloads
        not_joined(nic, peer, frames)


def test_net_08_random_traffic_keeps_every_byte_in_order(joining, peer, scale):
    rng = random.Random(8)
    joining.set_rx_coalesce(LONG_US, max_segments=8)
    text = joining.mac_address.hex(":")
    flows = {port: 1000 * port for port in (1, 2, 3)}
    layers, sent = [], {port: [] for port in flows}
    for number in range(scale(300, 60)):
        port = rng.choice(list(flows))
        size = rng.choice((MSS, MSS, MSS, 500, 1))
        fields = {"sport": port, "seq": flows[port], "flags": ACK}
        event = rng.random()
        if event < 0.1:
            fields["seq"] += rng.choice((1, -1, MSS))  # loss, overlap
        elif event < 0.15:
            fields["chksum"] = 0xBAD
        elif event < 0.2:
            fields["flags"] |= PSH
        flows[port] = fields["seq"] + size
        payload = noise(size, number)
        layers.append([*tcp_layers(text, to_nic=True, **fields), payload])
        sent[port].append((fields["seq"], payload))
    frames = peer.craft(*layers)
    got = {port: [] for port in flows}
    joined = 0
    for start in range(0, len(frames), 30):
        part = frames[start : start + 30]
        peer.send(*part)
        for packet in receive_all(joining, len(part)):
            (seen,) = peer.dissect(packet.data)
            got[seen["TCP"]["sport"]].append((seen["TCP"]["seq"], seen["payload"]))
            joined += packet.segments - 1
    for port, pieces in sent.items():
        # A joined packet stands for the segments that it begins at, so split at their borders.
        split = []
        wanted = iter(pieces)
        for sequence, payload in got[port]:
            at = 0
            while at < len(payload):
                expected = next(wanted)
                split.append((sequence + at, payload[at : at + len(expected[1])]))
                at += len(expected[1])
        assert split == pieces, f"flow {port}"
    assert joined > len(frames) // 10
    assert joining.counters()["RX_COALESCED"] == joined
