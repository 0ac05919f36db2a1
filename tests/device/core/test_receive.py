"""Receive: what is taken from the wire, where it goes, what its completion says."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rig import Rig
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Raw

from tlsnic.abi import registers as r
from tlsnic.abi.enums import Diagnostic, HashType, Offload, QueueState, RxFlags
from tlsnic.abi.structures import RxDescriptor
from tlsnic.device.packet.vnet import VNET_GSO_TCPV4, VNET_NEEDS_CSUM, VnetHeader

OWN = "02:74:6c:73:00:01"
PEER = "02:00:00:00:00:02"
BROADCAST = "ff:ff:ff:ff:ff:ff"
MULTICAST = "01:00:5e:00:00:09"
MICROSOFT_KEY = bytes.fromhex(
    "6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa"
)


def udp4(size=100, dst=OWN, sport=5, dport=6) -> Ether:
    return (
        Ether(dst=dst, src=PEER)
        / IP(src="10.0.0.2", dst="10.0.0.1")
        / UDP(sport=sport, dport=dport)
        / Raw(bytes(i & 0xFF for i in range(size)))
    )


def tcp4(payload=b"", seq=1, flags="A") -> Ether:
    return (
        Ether(dst=OWN, src=PEER)
        / IP(src="10.0.0.2", dst="10.0.0.1")
        / TCP(sport=7, dport=8, seq=seq, flags=flags)
        / Raw(payload)
    )


@pytest.fixture
def rx(rig):
    queue = rig.rx(entries=64)
    queue.enable()
    rig.start()
    return queue


def memory(rig, rx, completion, addresses, size=2048) -> bytes:
    """The packet that a completion is about."""
    data = b""
    for number in range(completion.buffers):
        address = addresses[(completion.index + number) % len(addresses)]
        data += rig.host.read(address, min(size, completion.length - len(data)))
    return data


@pytest.mark.parametrize("size", [60, 61, 1514])
def test_frame_arrives_bit_for_bit(rig, rx, size):
    buffers = rig.give_buffers(rx, 4)
    frame = bytes.fromhex(OWN.replace(":", "")) + bytes(i * 5 & 0xFF for i in range(size - 6))
    rig.receive(frame)
    (completion,) = rx.reap()
    assert memory(rig, rx, completion, buffers) == frame
    assert (completion.index, completion.buffers, completion.segments) == (0, 1, 1)
    assert rig.counter("RX_BYTES") == size


def test_long_frame_takes_several_buffers(rig, rx):
    rig.write(r.MAX_FRAME, 9018)
    buffers = rig.give_buffers(rx, 9, size=1024)
    frame = bytes(udp4(8000))
    rig.receive(frame)
    rig.receive(bytes(udp4(10)))
    first, second = rx.reap()
    assert (first.index, first.buffers, second.index, second.buffers) == (0, 8, 8, 1)
    assert memory(rig, rx, first, buffers, 1024) == frame


def test_no_buffer_drops_and_counts(rig, rx):
    rig.give_buffers(rx, 1)
    rig.receive(bytes(udp4()))
    rig.receive(bytes(udp4()))
    assert len(rx.reap()) == 1
    assert rig.counter("RX_DROP_NO_BUFFER") == 1
    assert rig.diagnostics == [Diagnostic.RX_NO_BUFFER]


def test_nothing_is_taken_before_it_is_enabled(rig):
    rx = rig.rx()
    rx.enable()
    rig.give_buffers(rx, 2)
    rig.receive(bytes(udp4()))
    assert rx.reap() == []
    assert rig.counter("RX_DROP_DISABLED") == 1


@pytest.mark.parametrize(
    ("destination", "setting", "taken"),
    [
        (OWN, r.RX_FILTER_BROADCAST_MASK, True),
        (PEER, r.RX_FILTER_BROADCAST_MASK, False),
        (PEER, r.RX_FILTER_PROMISCUOUS_MASK, True),
        (BROADCAST, r.RX_FILTER_BROADCAST_MASK, True),
        (BROADCAST, 0, False),
        (BROADCAST, r.RX_FILTER_ALL_MULTICAST_MASK, False),
        (MULTICAST, 0, False),
        (MULTICAST, r.RX_FILTER_ALL_MULTICAST_MASK, True),
    ],
)
def test_address_filters(rig, rx, destination, setting, taken):
    rig.give_buffers(rx, 2)
    rig.write(r.RX_FILTER, setting)
    rig.receive(bytes(udp4(dst=destination)))
    assert len(rx.reap()) == taken
    assert rig.counter("RX_DROP_FILTER") == (not taken)


def test_exact_filter_entries_come_and_go(rig, rx):
    rig.give_buffers(rx, 4)
    entry = int.from_bytes(bytes.fromhex(MULTICAST.replace(":", "")), "little") | 1 << 63
    rig.write(r.MAC_FILTER + 8 * 31, entry, 8)
    rig.receive(bytes(udp4(dst=MULTICAST)))
    rig.write(r.MAC_FILTER + 8 * 31, 0, 8)
    rig.receive(bytes(udp4(dst=MULTICAST)))
    assert len(rx.reap()) == 1
    assert rig.counter("RX_MULTICAST") == 1


def test_vlan_filter_and_strip(rig, rx):
    buffers = rig.give_buffers(rx, 4)
    rig.write(r.OFFLOAD_ENABLE, Offload.VLAN_STRIP | Offload.RX_CHECKSUM)
    rig.write(r.RX_FILTER, r.RX_FILTER_VLAN_FILTER_MASK)
    rig.write(r.VLAN_FILTER + 8 * (100 >> 6), 1 << (100 & 63), 8)
    plain = udp4()
    for vlan in (100, 101):
        rig.receive(bytes(Ether(dst=OWN, src=PEER) / Dot1Q(vlan=vlan, prio=5) / plain[IP]))
    (completion,) = rx.reap()
    assert completion.vlan_tci == 5 << 13 | 100
    assert completion.flags & RxFlags.VLAN_STRIPPED
    assert completion.flags & RxFlags.L4_CHECKSUM_OK
    assert memory(rig, rx, completion, buffers) == bytes(plain)
    assert rig.counter("RX_DROP_FILTER") == 1


def test_checksums_are_judged(rig, rx):
    rig.give_buffers(rx, 8)
    rig.write(r.OFFLOAD_ENABLE, Offload.RX_CHECKSUM)
    good = bytearray(bytes(tcp4(b"hello")))
    bad_ip, bad_tcp = bytearray(good), bytearray(good)
    bad_ip[24] ^= 1
    bad_tcp[-1] ^= 1
    for frame in (good, bad_ip, bad_tcp):
        rig.receive(bytes(frame))
    rig.receive(bytes(Ether(dst=OWN, src=PEER) / IPv6() / UDP() / Raw(b"x" * 9)))
    rig.receive(bytes.fromhex(OWN.replace(":", "")) + b"\x11" * 54)
    mask = 0xF
    kinds = [c.flags & mask for c in rx.reap()]
    ok_ip, bad_ip_flag = RxFlags.IP_CHECKSUM_OK, RxFlags.IP_CHECKSUM_BAD
    ok_l4, bad_l4 = RxFlags.L4_CHECKSUM_OK, RxFlags.L4_CHECKSUM_BAD
    assert kinds == [ok_ip | ok_l4, bad_ip_flag | ok_l4, ok_ip | bad_l4, ok_l4, 0]
    assert rig.counter("RX_CHECKSUM_BAD") == 2


def enable_rss(rig, types, queues=8):
    for index in range(10):
        rig.write(
            r.RSS_KEY + 4 * index,
            int.from_bytes(MICROSOFT_KEY[4 * index : 4 * index + 4], "little"),
        )
    for index in range(32):
        entries = bytes((4 * index + n) % queues for n in range(4))
        rig.write(r.RSS_TABLE + 4 * index, int.from_bytes(entries, "little"))
    rig.write(r.RSS_CONTROL, types | r.RSS_CONTROL_ENABLE_MASK)


def test_rss_hash_is_microsofts(rig):
    queues = [rig.rx(number) for number in range(8)]
    for queue in queues:
        queue.enable()
        rig.give_buffers(queue, 2)
    rig.start()
    enable_rss(rig, HashType.TCP_IPV4 | HashType.IPV4)
    # "Verifying the RSS Hash Calculation", Microsoft: first vector, with and without ports.
    ip = IP(src="66.9.149.187", dst="161.142.100.80")
    rig.receive(bytes(Ether(dst=OWN, src=PEER) / ip / TCP(sport=2794, dport=1766)))
    rig.receive(bytes(Ether(dst=OWN, src=PEER) / ip / UDP(sport=2794, dport=1766)))
    (tcp,) = queues[0x51CCC178 % 128 % 8].reap()
    assert (tcp.rss_hash, tcp.hash_type) == (0x51CCC178, HashType.TCP_IPV4)
    (udp,) = queues[0x323E8FC2 % 128 % 8].reap()
    assert (udp.rss_hash, udp.hash_type) == (0x323E8FC2, HashType.IPV4)


def test_what_no_hash_fits_goes_to_queue_zero(rig, rx):
    """Also what is not IP, and fragments, whose key looks like that of other frames."""
    rig.give_buffers(rx, 8)
    enable_rss(rig, HashType.TCP_IPV4)
    ip = IP(src="10.0.0.2", dst="10.0.0.1")
    frames = [
        Ether(dst=OWN, src=PEER, type=0x0806) / Raw(bytes(46)),
        Ether(dst=OWN, src=PEER) / IP(src="10.0.0.2", dst="10.0.0.1", frag=3) / Raw(bytes(46)),
        Ether(dst=OWN, src=PEER) / IP(src="10.0.0.2", dst="10.0.0.1", proto=255) / Raw(bytes(46)),
        Ether(dst=OWN, src=PEER) / ip / UDP(sport=7, dport=8) / Raw(bytes(46)),
    ]
    for frame in frames:
        rig.receive(bytes(frame))
    assert [(one.rss_hash, one.hash_type) for one in rx.reap()] == [(0, 0)] * len(frames)


def test_bad_indirection_entry_falls_back_to_queue_zero(rig, rx):
    rig.give_buffers(rx, 2)
    enable_rss(rig, HashType.UDP_IPV4)
    for index in range(32):
        rig.write(r.RSS_TABLE + 4 * index, 0xFFFFFFFF)
    rig.receive(bytes(udp4()))
    assert len(rx.reap()) == 1
    assert rig.diagnostics == [Diagnostic.RSS_QUEUE]


def coalescing(rig, *, segments=64, kib=64, timeout_us=50):
    rig.write(r.RX_COALESCE, timeout_us | kib << 16 | segments << 24)
    rig.write(r.OFFLOAD_ENABLE, Offload.RX_CHECKSUM | Offload.RX_COALESCE)


def test_segments_are_joined_and_counted(rig, rx):
    buffers = rig.give_buffers(rx, 16)
    coalescing(rig)
    payload = bytes(i * 3 & 0xFF for i in range(5000))
    for at in range(0, 5000, 1000):
        rig.receive(bytes(tcp4(payload[at : at + 1000], seq=at + 1)))
    assert rx.reap() == []
    assert rig.nic.next_deadline_ns() is not None
    rig.run(after_ns=60_000)
    (completion,) = rx.reap()
    assert completion.flags & RxFlags.COALESCED
    assert (completion.segments, completion.segment_bytes) == (5, 1000)
    packet = Ether(memory(rig, rx, completion, buffers))
    assert bytes(packet[TCP].payload) == payload
    assert rig.counter("RX_FRAMES") == 5
    assert rig.counter("RX_PACKETS") == 1
    assert rig.counter("RX_COALESCED") == 4
    assert rig.counter("RX_BYTES") == 5 * 1054


def test_gap_is_not_joined(rig, rx):
    rig.give_buffers(rx, 16)
    coalescing(rig)
    rig.receive(bytes(tcp4(b"a" * 100, seq=1)))
    rig.receive(bytes(tcp4(b"c" * 100, seq=201)))
    rig.run(after_ns=60_000)
    assert [c.segments for c in rx.reap()] == [1, 1]


def test_switching_coalescing_off_delivers_what_waits(rig, rx):
    rig.give_buffers(rx, 16)
    coalescing(rig, timeout_us=60_000)
    rig.receive(bytes(tcp4(b"a" * 100)))
    rig.write(r.OFFLOAD_ENABLE, 0)
    assert len(rx.reap()) == 1


def test_clearing_rx_enable_delivers_what_waits(rig, rx):
    rig.give_buffers(rx, 16)
    coalescing(rig, timeout_us=60_000)
    rig.receive(bytes(tcp4(b"a" * 100)))
    rig.write(r.CONTROL, r.CONTROL_TX_ENABLE_MASK)
    assert len(rx.reap()) == 1


def test_what_waits_is_dropped_while_bus_mastering_is_off(rig, rx):
    rig.give_buffers(rx, 16)
    coalescing(rig)
    rig.receive(bytes(tcp4(b"a" * 100)))
    rig.host.bus_master = False
    rig.run(after_ns=60_000)
    assert not rx.completion_is_there
    assert rig.counter("RX_DROP_DISABLED") == 1
    assert set(rig.diagnostics) == {Diagnostic.BUS_MASTER_OFF}


def super_frame(payload):
    return bytes(tcp4(payload)), VnetHeader(VNET_NEEDS_CSUM, VNET_GSO_TCPV4, 54, 1448, 34, 16)


def test_super_frame_is_delivered_joined_when_coalescing_is_on(rig, rx):
    buffers = rig.give_buffers(rx, 16)
    coalescing(rig)
    payload = bytes(i * 11 & 0xFF for i in range(10_000))
    rig.receive(*super_frame(payload))
    (completion,) = rx.reap()
    assert (completion.segments, completion.segment_bytes) == (7, 1448)
    assert bytes(Ether(memory(rig, rx, completion, buffers))[TCP].payload) == payload
    assert rig.counter("RX_WIRE_FRAMES") == 7


def test_super_frame_of_one_segment_is_a_frame_with_its_checksum(rig, rx):
    buffers = rig.give_buffers(rx, 16)
    coalescing(rig)
    whole = tcp4(b"x" * 1000)
    rig.receive(bytes(whole), super_frame(b"")[1])
    rig.run(after_ns=60_000)
    (completion,) = rx.reap()
    assert (completion.segments, completion.segment_bytes) == (1, 0)
    assert memory(rig, rx, completion, buffers) == bytes(whole)


@pytest.mark.parametrize(("gso_size", "taken"), [(1460, 2), (1461, 0)])
def test_segments_of_a_super_frame_are_no_longer_than_max_frame(rig, rx, gso_size, taken):
    rig.give_buffers(rx, 16)
    coalescing(rig)
    vnet = VnetHeader(VNET_NEEDS_CSUM, VNET_GSO_TCPV4, 54, gso_size, 34, 16)
    rig.receive(bytes(tcp4(b"x" * 2 * gso_size)), vnet)
    assert rig.counter("RX_FRAMES") == taken
    assert rig.counter("RX_DROP_OVERSIZE") == 2 - taken


def test_super_frame_is_cut_when_coalescing_is_off(rig, rx):
    buffers = rig.give_buffers(rx, 16)
    rig.write(r.OFFLOAD_ENABLE, Offload.RX_CHECKSUM)
    payload = bytes(i * 11 & 0xFF for i in range(10_000))
    rig.receive(*super_frame(payload))
    completions = rx.reap()
    assert len(completions) == 7
    assert all(c.flags & RxFlags.L4_CHECKSUM_OK for c in completions)
    data = b"".join(bytes(Ether(memory(rig, rx, c, buffers))[TCP].payload) for c in completions)
    assert data == payload


def test_undone_checksum_of_the_wire_is_completed(rig, rx):
    buffers = rig.give_buffers(rx, 4)
    rig.write(r.OFFLOAD_ENABLE, Offload.RX_CHECKSUM)
    whole = bytes(tcp4(b"hello"))
    partial = bytearray(whole)
    pseudo = bytes(IP(whole[14:]).copy()[IP])[12:20] + b"\0\x06" + (25).to_bytes(2, "big")
    total = sum(int.from_bytes(pseudo[i : i + 2], "big") for i in range(0, 12, 2))
    total = (total & 0xFFFF) + (total >> 16)
    partial[50:52] = total.to_bytes(2, "big")
    rig.receive(bytes(partial), VnetHeader(VNET_NEEDS_CSUM, 0, 0, 0, 34, 16))
    (completion,) = rx.reap()
    assert memory(rig, rx, completion, buffers) == whole
    assert completion.flags & RxFlags.L4_CHECKSUM_OK


def test_buffer_across_maps_and_unmapped_buffer(rig, rx):
    rig.host.add_map(Rig.RAM, 4096)
    rx.post(RxDescriptor(Rig.RAM - 50, 2048).pack())
    rx.post(RxDescriptor(0xDEAD_0000, 2048).pack())
    rx.ring_doorbell()
    frame = bytes(udp4())
    rig.receive(frame)
    assert rig.host.read(Rig.RAM - 50, len(frame)) == frame
    rig.receive(frame)
    assert rx.state is QueueState.ERROR
    assert rig.counter("RX_DROP_DMA") == 1


def test_frame_without_a_place_for_its_completion_is_counted_as_dropped(rig):
    rx = rig.rx()
    rx.enable()
    rx.disable()
    rig.write(rx.register("COMPLETION_BASE"), 0xDEAD_0000, 8)
    rig.write(rx.register("CONTROL"), 1)
    rig.start()
    rig.give_buffers(rx, 2)
    rig.receive(bytes(udp4()))
    assert rx.error is Diagnostic.DMA_FAULT
    assert (rig.counter("RX_FRAMES"), rig.counter("RX_DROP_DMA")) == (0, 1)


def test_read_only_buffer_is_a_permission_error(rig, rx):
    rig.host.add_map(0x5000_0000, 4096, writable=False)
    rx.post(RxDescriptor(0x5000_0000, 2048).pack())
    rx.ring_doorbell()
    rig.receive(bytes(udp4()))
    assert rx.error is Diagnostic.DMA_PERMISSION


@pytest.mark.parametrize(
    "entry", [RxDescriptor(0x1000, 63).pack(), RxDescriptor(0x1000, 2048).pack()[:12] + b"\1\0\0\0"]
)
def test_bad_buffer_stops_the_queue(rig, rx, entry):
    rx.post(entry)
    rx.ring_doorbell()
    rig.receive(bytes(udp4()))
    assert rx.error is Diagnostic.RX_BUFFER


@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(
    st.binary(max_size=120),
    st.binary(max_size=120).map(lambda data: bytes.fromhex(OWN.replace(":", "")) + data),
    st.binary(max_size=120).map(lambda data: bytes(udp4())[:34] + data),
), max_size=12), st.integers(0, 0x3FF))  # fmt: skip
def test_every_frame_is_counted_once(frames, offloads):
    rig = Rig()
    rx = rig.rx()
    rx.enable()
    rig.start()
    rig.give_buffers(rx, 8, size=128)
    rig.write(
        r.OFFLOAD_ENABLE,
        offloads & (Offload.RX_CHECKSUM | Offload.VLAN_STRIP | Offload.RX_COALESCE),
    )
    for frame in frames:
        rig.receive(frame)
    rig.run(after_ns=1_000_000)
    c = rig.nic.counters
    drops = (
        c.rx_drop_disabled + c.rx_drop_filter + c.rx_drop_runt + c.rx_drop_oversize
        + c.rx_drop_no_buffer + c.rx_drop_dma
    )  # fmt: skip
    assert c.rx_wire_frames == len(frames) == c.rx_frames + drops
    assert c.rx_packets == len(rx.reap())


def test_coalescing_without_checksums_joins_nothing_and_is_told(rig, rx):
    rig.give_buffers(rx, 4)
    rig.write(r.OFFLOAD_ENABLE, Offload.RX_COALESCE)
    assert rig.diagnostics == [Diagnostic.OFFLOAD_DEPENDENCY]
    rig.receive(bytes(tcp4(b"a" * 100)))
    assert [c.segments for c in rx.reap()] == [1]


def test_frame_for_a_queue_that_is_not_enabled_is_told_once(rig, rx):
    rig.give_buffers(rx, 4)
    rx.disable()
    for _ in range(3):
        rig.receive(bytes(udp4()))
    assert rig.counter("RX_DROP_DISABLED") == 3
    assert rig.diagnostics == [Diagnostic.RX_QUEUE_DISABLED]
    rx.enable()
    rx.disable()
    rig.receive(bytes(udp4()))
    assert rig.diagnostics == [Diagnostic.RX_QUEUE_DISABLED] * 2
