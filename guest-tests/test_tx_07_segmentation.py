"""TX-07 and TX-08: segmentation of TLS packets: sequence numbers, checksums, flags, IDs, options.

Each segment is judged twice: by scapy, and against what the card makes of the same packet when the
host has encrypted it, without TLS; NET-03 says that this is right.
"""

import pytest
from harness.tls_forms import LAYOUTS
from harness.traffic import tcp_layers

from tlsnic.abi.enums import CipherSuite

VERSIONS = ("IP", "IPv6")
TIMESTAMPS = [["NOP", None], ["NOP", None], ["Timestamp", [0x11223344, 0x55667788]]]
SACK = [["NOP", None], ["NOP", None], ["SAck", [100, 200, 300, 400]]]
FULL = [*TIMESTAMPS, *SACK, *([["NOP", None]] * 8)]
"""All 40 bytes that there can be."""
FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = (1 << bit for bit in range(8))
LARGEST = {"IP": 65535 - 20 - 20, "IPv6": 65535 - 20}
"""Bytes of payload in the largest packet whose length can be written down."""


def packet(peer, flow, payload, *, ip="IP", vlan=None, **tcp):
    """Headers by scapy for `payload`, the next bytes of the stream; their layers."""
    text = flow.mac.hex(":")
    layers = tcp_layers(
        text, ip=ip, vlan=vlan, sport=flow.address.local_port, seq=flow.sent_end, **tcp
    )
    (whole,) = peer.craft([*layers, payload])
    return whole[: len(whole) - len(payload)], layers


def cut(flows, flow, mss, *, insert=None, size=None, **headers):
    """Send what is laid out, at most `size` bytes, as one packet with TLS; judge its frames."""
    peer, queue, start = flows.peer, flow.queue, flow.sent_end
    left = (flow.end - start) % 2**32
    size = left if size is None else min(left, size)
    payload, wire = flow.records.read(start, size), flow.expected(start, size)
    head, layers = packet(peer, flow, payload, **headers)
    flow.tag.transmit(queue, head, start, payload, mss=mss, vlan=insert)
    frames = flows.collect()
    flow.sent_end = (start + size) % 2**32
    options = {"mss": mss} if mss else {"checksum": True}
    queue.send(head + wire, vlan=insert, **options)
    assert flows.collect() == frames, "not the frames of a packet that the host has encrypted"
    segments = peer.dissect(*frames)
    judge(segments, layers, wire, mss or size)
    return segments


def judge(segments, layers, wire, mss):
    """By what scapy finds: the parts of `wire`, in order, under right headers and checksums."""
    name, ip, tcp = layers[-2][0], layers[-2][1], layers[-1][1]
    last = len(segments) - 1
    assert last == (len(wire) - 1) // mss
    for number, segment in enumerate(segments):
        what = f"segment {number} of {last + 1}"
        part = wire[number * mss : (number + 1) * mss]
        assert segment["payload"] == part, what
        assert segment["l4_checksum_ok"] is True, what
        assert segment["TCP"]["seq"] == (tcp["seq"] + number * mss) % 2**32, what
        expected = tcp["flags"]
        if number < last:
            expected &= ~(FIN | PSH)
        if number:
            expected &= ~CWR
        assert flag_bits(segment["TCP"]["flags"]) == expected, what
        assert segment["TCP"]["options"] == tcp.get("options", []), what
        for field in ("sport", "dport", "window", "ack", "urgptr"):
            if field in tcp:
                assert segment["TCP"][field] == tcp[field], (what, field)
        header_bytes = 4 * segment["TCP"]["dataofs"]
        if name == "IP":
            assert segment["ip_checksum_ok"] is True, what
            assert segment["IP"]["id"] == (ip.get("id", 1) + number) % 2**16, what
            assert segment["IP"]["len"] == 20 + header_bytes + len(part), what
        else:
            assert segment["IPv6"]["plen"] == header_bytes + len(part), what


def flag_bits(text):
    """TCP flags as scapy writes them, as bits."""
    return sum(1 << "FSRPAUECN".index(letter) for letter in text)


@pytest.mark.row("TX-07")
@pytest.mark.parametrize("ip", VERSIONS)
def test_tx_07_sizes_around_the_segment_size(flows, ip):
    flow = flows.open(ip=ip)
    mss, overhead = 1400, 29
    for size in (overhead, mss - 1, mss, mss + 1, 2 * mss - 1, 2 * mss, 2 * mss + 1, 7 * mss + 5):
        flow.write(size - overhead)
        cut(flows, flow, mss, ip=ip, flags=ACK)
    flow.check()


@pytest.mark.row("TX-07")
@pytest.mark.parametrize("ip", VERSIONS)
@pytest.mark.parametrize("form", LAYOUTS, ids=str)
def test_tx_07_largest_packets_of_every_layout(flows, form, ip):
    """64 KiB that begin and end inside a record."""
    flow = flows.open(**form._asdict(), ip=ip)
    flow.write(1000, *[16384] * 5)
    cut(flows, flow, 1440, ip=ip, size=700, flags=ACK)
    cut(flows, flow, 1440, ip=ip, size=LARGEST[ip], flags=ACK | PSH)
    cut(flows, flow, 1440, ip=ip, flags=ACK | PSH | FIN)
    flow.check()


@pytest.mark.row("TX-07")
@pytest.mark.parametrize("ip", VERSIONS)
def test_tx_07_every_combination_of_flags(flows, ip, scale):
    flow = flows.open(CipherSuite.TLS13_AES_128_GCM, ip=ip)
    combinations = [
        ACK | fin | psh | urg | ece | cwr
        for fin in (0, FIN)
        for psh in (0, PSH)
        for urg in (0, URG)
        for ece in (0, ECE)
        for cwr in (0, CWR)
    ]
    number = scale(len(combinations), 8)
    for flags in combinations[:: len(combinations) // number]:
        flow.write(2500)
        cut(flows, flow, 1000, ip=ip, flags=flags, window=4096, ack=77)
    flow.write(100)
    cut(flows, flow, 1000, ip=ip, flags=ACK | FIN | PSH | CWR)  # a single segment keeps all
    flow.check()


@pytest.mark.row("TX-07")
def test_tx_07_ip_identification_counts_and_wraps(flows):
    flow = flows.open()
    flow.write(6000)
    fields = {"id": 0xFFFE, "tos": 0xB9, "ttl": 7, "flags": "DF"}
    segments = cut(flows, flow, 1000, flags=ACK, ip_fields=fields)
    assert [segment["IP"]["id"] for segment in segments[:4]] == [0xFFFE, 0xFFFF, 0, 1]
    for segment in segments:
        assert (segment["IP"]["flags"], segment["IP"]["tos"], segment["IP"]["ttl"]) == (
            "DF",
            0xB9,
            7,
        )
    flow.check()


@pytest.mark.row("TX-07")
def test_tx_07_ipv6_flow_label_and_traffic_class(flows):
    flow = flows.open(ip="IPv6")
    flow.write(3000)
    fields = {"fl": 0x54321, "tc": 0xB8, "hlim": 9}
    segments = cut(flows, flow, 1000, ip="IPv6", flags=ACK, ip_fields=fields)
    for segment in segments:
        assert {name: segment["IPv6"][name] for name in fields} == fields
    flow.check()


@pytest.mark.row("TX-07")
@pytest.mark.parametrize("ip", VERSIONS)
@pytest.mark.parametrize("by_card", [True, False], ids=["inserted", "in the packet"])
def test_tx_07_vlan(flows, ip, by_card):
    """The flow's VLAN identifier is 0x123; priority and DEI are each packet's own."""
    flow = flows.open(CipherSuite.TLS13_AES_256_GCM, ip=ip, vlan=0x123)
    for tci in (0x6123, 0xF123):
        flow.write(4000)
        tag = {"insert": tci} if by_card else {"vlan": tci}
        segments = cut(flows, flow, 1000, ip=ip, flags=ACK | PSH, **tag)
        found = {(s["Dot1Q"]["vlan"], s["Dot1Q"]["prio"], s["Dot1Q"]["dei"]) for s in segments}
        assert found == {(0x123, tci >> 13, tci >> 12 & 1)}
    flow.check()


@pytest.mark.row("TX-07")
@pytest.mark.parametrize("ip", VERSIONS)
def test_tx_07_packets_that_are_not_cut(flows, ip, scale):
    """Their checksum is over the ciphertext too; also of an odd number of bytes."""
    for form in LAYOUTS[:: scale(1, 4)]:
        flow = flows.open(**form._asdict(), ip=ip)
        flow.write(100, 101, 1200)
        for size in (50, 77, 300, 1460):
            cut(flows, flow, 0, ip=ip, size=size, flags=ACK | PSH)
        flow.check()


@pytest.mark.row("TX-07")
def test_tx_07_a_retransmit_is_cut_like_the_first_packet(flows):
    flow = flows.open()
    flow.write(5000, 5000)
    segments = cut(flows, flow, 1000, flags=ACK | PSH)
    for first, size in ((0, 10058), (2000, 5500), (29, 1000), (4000, 1030)):
        flow.send(flow.start + first, size, mss=1000)
        again = flows.peer.dissect(*flows.collect())
        at = [(segment["TCP"]["seq"] - flow.start) % 2**32 for segment in again]
        assert at == list(range(first, first + size, 1000))
        assert all(segment["l4_checksum_ok"] for segment in again)
    assert len(segments) == 11
    flow.check()


@pytest.mark.row("TX-08")
@pytest.mark.parametrize("ip", VERSIONS)
@pytest.mark.parametrize(
    "options", [[], TIMESTAMPS, SACK, FULL], ids=["none", "timestamps", "SACK", "40 bytes"]
)
def test_tx_08_options_are_in_every_segment(flows, ip, options):
    flow = flows.open(CipherSuite.TLS12_CHACHA20_POLY1305, ip=ip)
    flow.write(5000, 300)
    fields = {"ip": ip, "flags": ACK, "options": options, "ack": 0x89ABCDEF, "window": 0x1357}
    cut(flows, flow, 1400, size=4500, **fields)
    cut(flows, flow, 0, **fields)
    flow.check()


@pytest.mark.row("TX-08")
def test_tx_08_timestamps_of_each_packet_are_its_own(flows):
    """The card keeps no timestamp of the flow: a retransmit has the one that it is given."""
    flow = flows.open(CipherSuite.TLS13_AES_128_GCM)
    flow.write(5000)
    raw = bytes.fromhex("0101080a")
    for number, (first, size) in enumerate(((0, 3000), (1000, 2000), (3000, 2022))):
        stamp = number.to_bytes(4, "big") + bytes.fromhex("55667788")
        flow.tcp_options = raw + stamp
        flow.send(flow.start + first, size, mss=1000)
        frames = flows.collect()
        assert len(frames) == -(-size // 1000)
        assert {frame[54:66] for frame in frames} == {raw + stamp}
    flow.check()
