"""NET-05: RSS: Toeplitz agrees with Microsoft's published vectors; 8 queues; a flow stays on one."""

import ipaddress
import random

import pytest
from harness.traffic import PEER_MAC, PEER_TEXT, frame

from tlsnic.abi.enums import Diagnostic, HashType

pytestmark = [pytest.mark.row("NET-05"), pytest.mark.nic(rx_queues=8, tx_queues=8)]

# "Verifying the RSS hash calculation", Windows driver documentation: the key, and for each
# packet destination, port, source, port, hash over the addresses, hash with the ports.
KEY = bytes.fromhex(
    "6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa"
)
VECTORS_4 = [
    ("161.142.100.80", 1766, "66.9.149.187", 2794, 0x323E8FC2, 0x51CCC178),
    ("65.69.140.83", 4739, "199.92.111.2", 14230, 0xD718262A, 0xC626B0EA),
    ("12.22.207.184", 38024, "24.19.198.95", 12898, 0xD2D0A5DE, 0x5C2B394A),
    ("209.142.163.6", 2217, "38.27.205.30", 48228, 0x82989176, 0xAFC7327F),
    ("202.188.127.2", 1303, "153.39.163.191", 44251, 0x5D1809C5, 0x10E828A2),
]
VECTORS_6 = [
    ("3ffe:2501:200:3::1", 1766, "3ffe:2501:200:1fff::7", 2794, 0x2CC18CD5, 0x40207D3D),
    ("ff02::1", 4739, "3ffe:501:8::260:97ff:fe40:efab", 14230, 0x0F0C461C, 0xDDE51BBF),
    (
        *("fe80::200:f8ff:fe21:67cf", 38024, "3ffe:1900:4545:3:200:f8ff:fe21:67cf", 44251),
        *(0x4B61E985, 0x02D1FEEF),
    ),
]
EVERYTHING = (
    HashType.IPV4
    | HashType.TCP_IPV4
    | HashType.UDP_IPV4
    | HashType.IPV6
    | HashType.TCP_IPV6
    | HashType.UDP_IPV6
)
QUEUES = list(range(8))


def toeplitz(key: bytes, data: bytes) -> int:
    """The definition, bit by bit."""
    window, result = int.from_bytes(key, "big"), 0
    for position in range(8 * len(data)):
        if data[position // 8] >> (7 - position % 8) & 1:
            result ^= window >> (8 * len(key) - 32 - position) & 0xFFFF_FFFF
    return result


def packed(*addresses: str) -> bytes:
    return b"".join(ipaddress.ip_address(address).packed for address in addresses)


def packet(nic, ip, l4, vector):
    """Layers of a packet with the addresses and ports of a vector."""
    target, target_port, source, source_port = vector[:4]
    ports = [l4, {"sport": source_port, "dport": target_port}] if l4 else bytes(20)
    addresses = {"src": source, "dst": target} | ({} if l4 or ip == "IPv6" else {"proto": 253})
    if not l4 and ip == "IPv6":
        addresses["nh"] = 253
    ether = {"src": PEER_TEXT, "dst": nic.mac_address.hex(":")}
    return [["Ether", ether], [ip, addresses], ports, bytes(30)]


def received(nic):
    got = nic.receive(5)
    assert got is not None
    return got


@pytest.mark.parametrize("l4", ["TCP", "UDP", None])
@pytest.mark.parametrize(("ip", "vectors"), [("IP", VECTORS_4), ("IPv6", VECTORS_6)])
def test_net_05_microsofts_vectors(nic, peer, ip, l4, vectors):
    nic.set_rss(KEY, QUEUES, EVERYTHING)
    names = {
        ("IP", "TCP"): HashType.TCP_IPV4,
        ("IP", "UDP"): HashType.UDP_IPV4,
        ("IP", None): HashType.IPV4,
        ("IPv6", "TCP"): HashType.TCP_IPV6,
        ("IPv6", "UDP"): HashType.UDP_IPV6,
        ("IPv6", None): HashType.IPV6,
    }
    for vector, one in zip(
        vectors, peer.craft(*(packet(nic, ip, l4, vector) for vector in vectors)), strict=True
    ):
        peer.send(one)
        got = received(nic)
        expected = vector[5] if l4 else vector[4]
        assert got.rss_hash == expected, f"{got.rss_hash:#x} for {vector}"
        assert got.hash_type == names[ip, l4]
        assert got.queue == QUEUES[expected % 128 % len(QUEUES)]


def test_net_05_ports_are_left_out_where_their_type_is_off(nic, peer):
    nic.set_rss(KEY, QUEUES, HashType.IPV4 | HashType.IPV6)
    for ip, vectors, kind in (
        ("IP", VECTORS_4, HashType.IPV4),
        ("IPv6", VECTORS_6, HashType.IPV6),
    ):
        peer.send(*peer.craft(packet(nic, ip, "TCP", vectors[0])))
        got = received(nic)
        assert (got.rss_hash, got.hash_type) == (vectors[0][4], kind)


def test_net_05_fragments_are_hashed_by_their_addresses(nic, peer):
    nic.set_rss(KEY, QUEUES, EVERYTHING)
    vector = VECTORS_4[0]
    whole = packet(nic, "IP", "UDP", vector)
    first, later = (list(whole), list(whole))
    first[1] = ["IP", {**whole[1][1], "flags": "MF"}]
    later[1] = ["IP", {**whole[1][1], "frag": 4, "proto": 17}]
    for one in peer.craft(first, later):
        peer.send(one)
        got = received(nic)
        assert (got.rss_hash, got.hash_type) == (vector[4], HashType.IPV4)


def test_net_05_what_has_no_type_goes_to_queue_0(nic, peer):
    nic.set_rss(KEY, [5], HashType.TCP_IPV4)
    other = frame(nic.mac_address, PEER_MAC, 80)
    udp, tcp = peer.craft(
        packet(nic, "IP", "UDP", VECTORS_4[0]), packet(nic, "IP", "TCP", VECTORS_4[0])
    )
    peer.send(other)
    got = received(nic)
    assert (got.data, got.queue, got.rss_hash, got.hash_type) == (other, 0, 0, 0)
    peer.send(udp)
    got = received(nic)
    assert (got.data, got.queue, got.rss_hash, got.hash_type) == (udp, 0, 0, 0)
    peer.send(tcp)
    assert received(nic).queue == 5


def test_net_05_off_means_queue_0(nic, peer):
    nic.set_rss(KEY, [5], EVERYTHING)
    nic.disable_rss()
    peer.send(*peer.craft(packet(nic, "IP", "TCP", VECTORS_4[0])))
    got = received(nic)
    assert (got.queue, got.rss_hash, got.hash_type) == (0, 0, 0)


def test_net_05_a_flow_stays_on_its_queue_and_flows_spread_over_eight(nic, peer, scale):
    rng = random.Random(5)
    key = rng.randbytes(40)
    nic.set_rss(key, QUEUES, EVERYTHING)
    flows = [
        (
            *(f"10.0.0.{rng.randrange(1, 255)}", rng.randrange(1, 65536)),
            *(f"10.9.{rng.randrange(256)}.7", rng.randrange(1, 65536)),
        )
        for _ in range(scale(64, 32))
    ]
    frames = peer.craft(*(packet(nic, "IP", "TCP", flow) for flow in flows))
    order = [rng.randrange(len(flows)) for _ in range(4 * len(flows))] + list(range(len(flows)))
    used = set()
    for start in range(0, len(order), 32):
        part = order[start : start + 32]
        peer.send(*(frames[number] for number in part))
        waiting = len(part)
        while waiting:
            got = received(nic)
            waiting -= 1
            number = frames.index(got.data)
            target, target_port, source, source_port = flows[number]
            ports = source_port.to_bytes(2, "big") + target_port.to_bytes(2, "big")
            value = toeplitz(key, packed(source, target) + ports)
            assert got.rss_hash == value
            assert got.queue == QUEUES[value % 128 % 8]
            used.add(got.queue)
    assert used == set(QUEUES)


def test_net_05_eight_pairs_of_queues_at_a_time(nic, peer, scale):
    nic.set_rss(KEY, QUEUES, EVERYTHING)
    rounds = scale(20, 3)
    mac = nic.mac_address
    for number in range(rounds):
        sent = [frame(PEER_MAC, mac, 60 + tx.number, number * 8 + tx.number) for tx in nic.tx]
        for tx, one in zip(nic.tx, sent, strict=True):
            tx.send(one)
        assert sorted(peer.receive_many(8)) == sorted(sent)
        nic.drain_tx(5)


def test_net_05_every_table_entry_is_used(nic, peer):
    table = [(3 * entry + 1) % 8 for entry in range(128)]
    nic.set_rss(KEY, table, HashType.TCP_IPV4)
    # One flow per entry: ports are tried until the hash has the entry's low bits.
    wanted: dict[int, int] = {}
    address = packed("10.1.1.1", "10.2.2.2")
    partial = toeplitz(KEY, address + bytes(4))
    for port in range(1, 65536):
        value = partial ^ toeplitz(KEY, bytes(8) + port.to_bytes(2, "big") + bytes(2))
        wanted.setdefault(value % 128, port)
        if len(wanted) == 128:
            break
    entries = sorted(wanted)[::8]
    frames = peer.craft(
        *(packet(nic, "IP", "TCP", ("10.2.2.2", 0, "10.1.1.1", wanted[e])) for e in entries)
    )
    for entry, one in zip(entries, frames, strict=True):
        peer.send(one)
        got = received(nic)
        assert got.rss_hash % 128 == entry
        assert got.queue == table[entry]


def test_net_05_entry_that_names_no_queue_is_told(nic, peer, expect_diagnostic):
    nic.set_rss(KEY, [200], HashType.TCP_IPV4)
    expect_diagnostic(Diagnostic.RSS_QUEUE)
    peer.send(*peer.craft(packet(nic, "IP", "TCP", VECTORS_4[0])))
    assert received(nic).queue == 0
