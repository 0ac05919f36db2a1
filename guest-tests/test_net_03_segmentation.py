"""NET-03: TCP segmentation up to 64 KiB, IPv4 and IPv6: IDs, sequence numbers, flags, options."""

import itertools

import pytest
from harness.traffic import noise, tcp_layers

from tlsnic.abi.enums import Diagnostic, TxFlags, TxStatus
from tlsnic.abi.structures import TxDescriptor

pytestmark = [pytest.mark.row("NET-03"), pytest.mark.nic(tx_bounce_bytes=1 << 18)]
VERSIONS = ("IP", "IPv6")
TIMESTAMPS = [["NOP", None], ["NOP", None], ["Timestamp", [0x11223344, 0x55667788]]]
SACK = [["NOP", None], ["NOP", None], ["SAck", [100, 200, 300, 400]]]
FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = (1 << bit for bit in range(8))
LARGEST = 65535 - 20 - 20
"""Bytes of payload in the largest packet whose IPv4 total length can be written down."""


def cut(nic, peer, layers, payload, mss, **send):
    """Send one packet for segmentation; the frames that come, and what scapy says of them."""
    (whole,) = peer.craft([*layers, payload])
    nic.tx[0].send(whole, mss=mss, **send)
    count = -(-len(payload) // mss)
    frames = peer.receive_many(count, 10)
    nic.tx[0].drain(5)
    return frames, peer.dissect(*frames)


def check_segments(segments, layers, payload, mss):
    """The whole of NET-03 on one send, by what scapy finds in the segments."""
    tcp = dict(layers[-1][1])
    name, ip = layers[-2][0], layers[-2][1]
    flags = int(tcp.get("flags", ACK))
    count = len(segments)
    sequence = int(tcp.get("seq", 0))
    at = 0
    for number, segment in enumerate(segments):
        what = f"segment {number} of {count}"
        is_first, is_last = number == 0, number == count - 1
        part = payload[at : at + mss]
        assert segment["payload"] == part, what
        assert segment["TCP"]["seq"] == (sequence + at) % 2**32, what
        expected = flags
        if not is_last:
            expected &= ~(FIN | PSH)
        if not is_first:
            expected &= ~CWR
        found = segment["TCP"]["flags"]
        assert flag_bits(found) == expected, f"{what}: flags {found}"
        for field in ("sport", "dport", "window", "ack", "urgptr"):
            if field in tcp:
                assert segment["TCP"][field] == tcp[field], (what, field)
        assert segment["TCP"]["options"] == tcp.get("options", []), what
        assert segment["l4_checksum_ok"] is True, what
        assert (segment["Ether"]["src"], segment["Ether"]["dst"]) == (
            layers[0][1]["src"],
            layers[0][1]["dst"],
        )
        assert (segment[name]["src"], segment[name]["dst"]) == (ip["src"], ip["dst"])
        if name == "IP":
            assert segment["ip_checksum_ok"] is True, what
            assert segment["IP"]["id"] == (ip.get("id", 1) + number) % 2**16, what
            header = 4 * segment["IP"]["ihl"] + 4 * segment["TCP"]["dataofs"]
            assert segment["IP"]["len"] == header + len(part), what
            assert segment["IP"]["ttl"] == ip.get("ttl", 64)
            assert segment["IP"]["tos"] == ip.get("tos", 0)
        else:
            assert segment["IPv6"]["plen"] == 4 * segment["TCP"]["dataofs"] + len(part), what
            assert segment["IPv6"]["hlim"] == ip.get("hlim", 64)
            assert segment["IPv6"]["fl"] == ip.get("fl", 0)
        at += len(part)
    assert at == len(payload)


def flag_bits(text):
    """TCP flags as scapy writes them, as bits."""
    return sum(1 << "FSRPAUECN".index(letter) for letter in text)


@pytest.mark.parametrize("ip", VERSIONS)
def test_net_03_sizes_around_the_segment_size(nic, peer, ip):
    text = nic.mac_address.hex(":")
    mss = 1440
    for size in (1, 2, mss - 1, mss, mss + 1, 2 * mss - 1, 2 * mss, 2 * mss + 1, 10 * mss + 7):
        layers = tcp_layers(text, ip=ip, seq=1000, ack=77, window=4096)
        payload = noise(size, size)
        _, segments = cut(nic, peer, layers, payload, mss)
        check_segments(segments, layers, payload, mss)


@pytest.mark.parametrize("ip", VERSIONS)
@pytest.mark.parametrize("mss", [536, 1448, 8928])
def test_net_03_64_kib(nic, peer, ip, mss):
    nic.max_frame_bytes = 9018
    text = nic.mac_address.hex(":")
    size = LARGEST - 12 if ip == "IP" else 65535 - 32
    payload = noise(size, mss)
    layers = tcp_layers(text, ip=ip, seq=2**32 - 5000, options=TIMESTAMPS)
    _, segments = cut(nic, peer, layers, payload, mss)
    check_segments(segments, layers, payload, mss)


def test_net_03_small_segments_of_one_byte(nic, peer):
    layers = tcp_layers(nic.mac_address.hex(":"), seq=5)
    payload = noise(40, 1)
    frames, segments = cut(nic, peer, layers, payload, 1)
    check_segments(segments, layers, payload, 1)
    assert {len(frame) for frame in frames} == {60}, "each is padded to the shortest frame"


@pytest.mark.parametrize("ip", VERSIONS)
def test_net_03_every_combination_of_flags(nic, peer, ip, scale):
    text = nic.mac_address.hex(":")
    payload = noise(2500, 2)
    combinations = [
        ACK | fin | psh | urg | ece | cwr
        for fin in (0, FIN)
        for psh in (0, PSH)
        for urg in (0, URG)
        for ece in (0, ECE)
        for cwr in (0, CWR)
    ]
    number = scale(len(combinations), 8)
    for flags in combinations[:: len(combinations) // number][:number]:
        layers = tcp_layers(text, ip=ip, seq=99, flags=flags)
        _, segments = cut(nic, peer, layers, payload, 1000)
        check_segments(segments, layers, payload, 1000)


@pytest.mark.parametrize("ip", VERSIONS)
def test_net_03_flags_of_a_single_segment_all_stay(nic, peer, ip):
    layers = tcp_layers(nic.mac_address.hex(":"), ip=ip, flags=ACK | FIN | PSH | CWR)
    _, segments = cut(nic, peer, layers, noise(500, 3), 1000)
    assert flag_bits(segments[0]["TCP"]["flags"]) == ACK | FIN | PSH | CWR


@pytest.mark.parametrize("ip", VERSIONS)
def test_net_03_options_are_copied_to_every_segment(nic, peer, ip):
    text = nic.mac_address.hex(":")
    payload = noise(5000, 4)
    full = [*TIMESTAMPS, *SACK, *([["NOP", None]] * 8)]  # all 40 bytes that there can be
    for options in ([], TIMESTAMPS, SACK, full):
        layers = tcp_layers(text, ip=ip, options=options)
        _, segments = cut(nic, peer, layers, payload, 1400)
        check_segments(segments, layers, payload, 1400)


def test_net_03_ip_identification_wraps_and_counts_per_segment(nic, peer):
    text = nic.mac_address.hex(":")
    payload = noise(6000, 5)
    layers = tcp_layers(text, ip_fields={"id": 0xFFFE, "tos": 0xB9, "ttl": 7, "flags": "DF"})
    _, segments = cut(nic, peer, layers, payload, 1000)
    check_segments(segments, layers, payload, 1000)
    assert {segment["IP"]["flags"] for segment in segments} == {"DF"}


def test_net_03_ipv6_flow_label_and_traffic_class_are_copied(nic, peer):
    layers = tcp_layers(
        nic.mac_address.hex(":"), ip="IPv6", ip_fields={"fl": 0x54321, "tc": 0xB8, "hlim": 9}
    )
    payload = noise(3000, 6)
    _, segments = cut(nic, peer, layers, payload, 1000)
    check_segments(segments, layers, payload, 1000)
    assert {segment["IPv6"]["tc"] for segment in segments} == {0xB8}


def test_net_03_ipv6_extension_headers_are_copied(nic, peer):
    base = tcp_layers(nic.mac_address.hex(":"), ip="IPv6", seq=1)
    (whole,) = peer.craft([*base[:2], ["IPv6ExtHdrDestOpt", {}], base[2], noise(2500, 7)])
    nic.tx[0].send(whole, mss=1000)
    segments = peer.dissect(*peer.receive_many(3))
    assert b"".join(segment["payload"] for segment in segments) == noise(2500, 7)
    for number, segment in enumerate(segments):
        assert "IPv6ExtHdrDestOpt" in segment
        assert segment["TCP"]["seq"] == 1 + 1000 * number
        assert segment["l4_checksum_ok"]


def test_net_03_sequence_number_wraps(nic, peer):
    layers = tcp_layers(nic.mac_address.hex(":"), seq=2**32 - 1500)
    payload = noise(4000, 8)
    _, segments = cut(nic, peer, layers, payload, 1000)
    check_segments(segments, layers, payload, 1000)
    assert [segment["TCP"]["seq"] for segment in segments] == [2**32 - 1500, 2**32 - 500, 500, 1500]


@pytest.mark.parametrize("ip", VERSIONS)
def test_net_03_vlan_tag_in_the_packet_or_inserted(nic, peer, ip):
    text = nic.mac_address.hex(":")
    payload = noise(3000, 9)
    inside = tcp_layers(text, ip=ip, vlan=0x6123)
    _, segments = cut(nic, peer, inside, payload, 1000)
    check_segments(segments, inside, payload, 1000)
    assert {(s["Dot1Q"]["vlan"], s["Dot1Q"]["prio"]) for s in segments} == {(0x123, 3)}
    plain = tcp_layers(text, ip=ip)
    _, segments = cut(nic, peer, plain, payload, 1000, vlan=0xA456)
    check_segments(segments, plain, payload, 1000)
    assert {(s["Dot1Q"]["vlan"], s["Dot1Q"]["prio"]) for s in segments} == {(0x456, 5)}


def test_net_03_header_and_payload_in_many_descriptors(nic, bus, peer, defer):
    layers = tcp_layers(nic.mac_address.hex(":"), seq=7, options=TIMESTAMPS)
    payload = noise(20000, 10)
    (whole,) = peer.craft([*layers, payload])
    header_length = len(whole) - len(payload)
    memory = bus.dma_alloc(len(whole))
    defer(memory.free)
    memory.view[:] = whole
    # A header in three pieces, of which the last one reaches into the payload.
    cuts = [0, 10, 35, header_length + 100, *range(1000, len(whole), 1777), len(whole)]
    flags = TxFlags.SEGMENT | TxFlags.REPORT
    descriptors = [
        TxDescriptor(
            address=memory.iova + first,
            length=last - first,
            flags=(flags if not first else 0) | (TxFlags.END_OF_PACKET if last == cuts[-1] else 0),
            mss=0 if first else 1448,
            header_length=0 if first else header_length,
        )
        for first, last in itertools.pairwise(cuts)
    ]
    nic.tx[0].send_descriptors(descriptors)
    segments = peer.dissect(*peer.receive_many(-(-len(payload) // 1448)))
    check_segments(segments, layers, payload, 1448)


def test_net_03_counters(nic, peer):
    before = nic.counters()
    layers = tcp_layers(nic.mac_address.hex(":"))
    frames, _ = cut(nic, peer, layers, noise(10000, 11), 1000)
    after = nic.counters()
    assert after["TX_PACKETS"] - before["TX_PACKETS"] == 1
    assert after["TX_SENT_PACKETS"] - before["TX_SENT_PACKETS"] == 1
    assert after["TX_SEGMENTED"] - before["TX_SEGMENTED"] == 1
    assert after["TX_FRAMES"] - before["TX_FRAMES"] == 10
    assert after["TX_BYTES"] - before["TX_BYTES"] == sum(map(len, frames))


def test_net_03_what_cannot_be_cut_is_refused(nic, peer, watch):
    text = nic.mac_address.hex(":")
    tcp = tcp_layers(text)
    good, udp, fragment, arp = peer.craft(
        [*tcp, noise(3000, 12)],
        [*tcp[:2], ["UDP", {"sport": 1, "dport": 2}], noise(3000, 12)],
        [*tcp_layers(text, ip_fields={"flags": "MF"}), noise(3000, 12)],
        [["Ether", {"src": text, "dst": "ff:ff:ff:ff:ff:ff"}], ["ARP", {}], bytes(1000)],
    )
    # Of the same length as a good one, so that only what the case is about is wrong.
    cases = [
        (udp, 1000, 42, Diagnostic.TX_SEGMENTATION),
        (fragment, 1000, 54, Diagnostic.TX_SEGMENTATION),
        (arp, 1000, 42, Diagnostic.TX_SEGMENTATION),
        (good, 1000, 53, Diagnostic.TX_HEADER),
        (good, 1000, 58, Diagnostic.TX_HEADER),
        (good, 1000, 0, Diagnostic.TX_HEADER),
        (good, 1000, len(good), Diagnostic.TX_HEADER),
        (good, 1461, 54, Diagnostic.TX_LENGTH),
    ]
    for number, (content, mss, header_length, code) in enumerate(cases):
        watch.expect(code)
        nic.tx[0].send(content, mss=mss, header_length=header_length)
        nic.tx[0].drain(5)
        drop = nic.tx[0].drops.pop()
        assert (drop.status, drop.detail) == (TxStatus.BAD_PACKET, code), f"case {number}"
    watch.expect(Diagnostic.TX_SEGMENTATION)
    nic.tx[0].send(good, flags=TxFlags.SEGMENT, header_length=54)  # an MSS of zero
    nic.tx[0].drain(5)
    assert nic.tx[0].drops.pop().detail == Diagnostic.TX_SEGMENTATION
    assert nic.counters()["TX_DROP_BAD_PACKET"] == len(cases) + 1
    nic.tx[0].send(good, mss=1000)
    assert len(peer.receive_many(3)) == 3
    assert peer.drain() == [], "nothing of the refused ones was sent"
