"""Transmit: what leaves on the wire, what is completed, what is refused and why."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rig import Rig
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Raw

from tlsnic.abi import registers as r
from tlsnic.abi.enums import Diagnostic, QueueState, TxFlags, TxStatus
from tlsnic.abi.structures import TxDescriptor
from tlsnic.device.packet.headers import parse
from tlsnic.device.packet.vnet import VNET_GSO_TCPV4, cut

MACS = {"dst": "02:00:00:00:00:02", "src": "02:74:6c:73:00:01"}


def tcp4(payload: bytes, **fields) -> Ether:
    return (
        Ether(**MACS)
        / IP(src="10.0.0.1", dst="10.0.0.2")
        / TCP(sport=1, dport=2, **fields)
        / Raw(payload)
    )


def tcp6(payload: bytes, **fields) -> Ether:
    return (
        Ether(**MACS)
        / IPv6(src="fd00::1", dst="fd00::2")
        / TCP(sport=1, dport=2, **fields)
        / Raw(payload)
    )


def damaged(packet: Ether) -> bytes:
    """The packet with wrong checksums, as a driver may leave them."""
    frame = bytearray(bytes(packet))
    headers = parse(frame)
    if headers.ip_version == 4:
        frame[headers.l3 + 10] ^= 0x5A
    frame[headers.l4 + (16 if headers.protocol == 6 else 6)] ^= 0xA5
    return bytes(frame)


@pytest.fixture
def tx(rig):
    queue = rig.tx(entries=64)
    queue.enable()
    rig.start()
    return queue


@pytest.mark.parametrize("length", [60, 61, 1514])
def test_frame_leaves_bit_for_bit(rig, tx, length):
    frame = bytes(i * 7 & 0xFF for i in range(length))
    rig.send(tx, frame)
    tx.ring_doorbell()
    rig.run()
    assert rig.sent == [frame]
    (completion,) = tx.reap()
    assert (completion.head, completion.status) == (1, TxStatus.OK)


def test_short_frame_is_padded(rig, tx):
    rig.send(tx, b"\x02" * 20)
    tx.ring_doorbell()
    rig.run()
    assert rig.sent == [b"\x02" * 20 + bytes(40)]


def test_several_descriptors_make_one_frame(rig, tx):
    pieces = [b"\x02" * 14, b"a" * 33, b"b", b"c" * 100]
    for number, piece in enumerate(pieces):
        flags = TxFlags.REPORT if not number else TxFlags(0)
        if number == len(pieces) - 1:
            flags |= TxFlags.END_OF_PACKET
        tx.post(TxDescriptor(rig.place(piece), len(piece), flags).pack())
    tx.ring_doorbell()
    rig.run()
    assert rig.sent == [b"".join(pieces)]
    assert [c.head for c in tx.reap()] == [4]


def test_packet_waits_for_its_end(rig, tx):
    tx.post(TxDescriptor(rig.place(b"\x02" * 14), 14, 0).pack())
    tx.ring_doorbell()
    rig.run()
    assert rig.sent == []
    tx.post(TxDescriptor(rig.place(b"x" * 50), 50, TxFlags.END_OF_PACKET).pack())
    tx.ring_doorbell()
    rig.run()
    assert rig.sent == [b"\x02" * 14 + b"x" * 50]


def test_completions_come_only_for_reports_and_are_cumulative(rig, tx):
    for number in range(10):
        flags = TxFlags.END_OF_PACKET | (TxFlags.REPORT if number % 5 == 4 else 0)
        tx.post(TxDescriptor(rig.place(bytes([2, number] * 30)), 60, flags).pack())
    tx.ring_doorbell()
    rig.run()
    assert [c.head for c in tx.reap()] == [5, 10]


@pytest.mark.parametrize("build", [tcp4, tcp6])
@pytest.mark.parametrize("size", [0, 1, 1400])
def test_tcp_checksums_are_filled(rig, tx, build, size):
    packet = build(b"x" * size)
    rig.send(tx, damaged(packet), TxFlags.IP_CHECKSUM | TxFlags.L4_CHECKSUM)
    tx.ring_doorbell()
    rig.run()
    assert rig.sent[0][: len(packet)] == bytes(packet)


def test_udp_checksum_is_filled_behind_an_inserted_tag(rig, tx):
    plain = (
        Ether(**MACS) / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=5, dport=6) / Raw(b"q" * 99)
    )
    tagged = Ether(**MACS) / Dot1Q(vlan=77, prio=3) / plain[IP]
    flags = TxFlags.IP_CHECKSUM | TxFlags.L4_CHECKSUM | TxFlags.VLAN_INSERT
    rig.send(tx, damaged(plain), flags, vlan_tci=3 << 13 | 77)
    tx.ring_doorbell()
    rig.run()
    assert rig.sent == [bytes(tagged)]


def send_segmented(rig, tx, packet, mss, flags=0, **fields):
    frame = damaged(packet)
    header_length = parse(frame).payload
    rig.send(tx, frame, TxFlags.SEGMENT | flags, mss=mss, header_length=header_length, **fields)
    tx.ring_doorbell()
    rig.run()


@pytest.mark.parametrize("build", [tcp4, tcp6])
def test_segmentation_keeps_the_stream_and_the_flags(rig, tx, build):
    payload = bytes(i * 31 & 0xFF for i in range(5000))
    send_segmented(rig, tx, build(payload, seq=0xFFFF_FF00, flags="FPAC"), 1400)
    packets = [Ether(frame) for frame in rig.sent]
    assert b"".join(bytes(p[TCP].payload) for p in packets) == payload
    assert [p[TCP].seq for p in packets] == [(0xFFFF_FF00 + 1400 * i) % 2**32 for i in range(4)]
    assert [str(p[TCP].flags) for p in packets] == ["AC", "A", "A", "FPA"]
    for packet, frame in zip(packets, rig.sent, strict=True):
        del packet[TCP].chksum
        if IP in packet:
            del packet[IP].chksum
        assert bytes(packet) == frame
    assert rig.counter("TX_FRAMES") == 4
    assert rig.counter("TX_BYTES") == sum(map(len, rig.sent))


def test_wire_that_segments_gets_the_whole_packet(super_rig):
    rig = super_rig
    tx = rig.tx()
    tx.enable()
    rig.start()
    payload = bytes(i * 13 & 0xFF for i in range(40_000))
    send_segmented(rig, tx, tcp4(payload), 1448)
    (sent,) = rig.wire.sent
    assert (sent.vnet.gso_type, sent.vnet.gso_size) == (VNET_GSO_TCPV4, 1448)
    frames = [b"".join(parts) for parts in cut(sent.data, sent.vnet.gso_type, sent.vnet.gso_size)]
    assert b"".join(bytes(Ether(frame)[TCP].payload) for frame in frames) == payload
    assert rig.counter("TX_FRAMES") == len(frames)
    assert rig.counter("TX_BYTES") == sum(map(len, frames))


@pytest.mark.parametrize(
    ("descriptor", "expected"),
    [
        (TxDescriptor(0x1000, 0, TxFlags.END_OF_PACKET), Diagnostic.TX_LENGTH),
        (TxDescriptor(0x1000, 13, TxFlags.END_OF_PACKET), Diagnostic.TX_LENGTH),
        (TxDescriptor(0x1000, 1515, TxFlags.END_OF_PACKET), Diagnostic.TX_LENGTH),
        (TxDescriptor(0x1000, 60, TxFlags.END_OF_PACKET | 0x8000), Diagnostic.TX_RESERVED),
        (TxDescriptor(0x1000, 60, TxFlags.END_OF_PACKET, mss=9), Diagnostic.TX_FLAGS),
        (TxDescriptor(0x1000, 60, TxFlags.END_OF_PACKET, send_tag=9), Diagnostic.TX_FLAGS),
        (
            TxDescriptor(0x1000, 99, TxFlags.END_OF_PACKET | TxFlags.SEGMENT),
            Diagnostic.TX_SEGMENTATION,
        ),
        (
            TxDescriptor(0x1000, 60, TxFlags.END_OF_PACKET | TxFlags.L4_CHECKSUM),
            Diagnostic.TX_CHECKSUM,
        ),
        (
            TxDescriptor(
                0x1000, 99, TxFlags.END_OF_PACKET | TxFlags.SEGMENT, mss=9, header_length=54
            ),
            Diagnostic.TX_SEGMENTATION,
        ),
    ],
)
def test_driver_mistake_drops_that_packet_only(rig, tx, descriptor, expected):
    rig.host.write(0x1000 - 64, bytes(64))
    tx.post(descriptor.pack())
    rig.send(tx, b"\x02" * 60)
    tx.ring_doorbell()
    rig.run()
    assert rig.sent == [b"\x02" * 60]
    assert rig.diagnostics == [expected]
    dropped, sent = tx.reap()
    assert (dropped.head, dropped.status, dropped.detail) == (1, TxStatus.BAD_PACKET, expected)
    assert (sent.head, sent.status) == (2, TxStatus.OK)
    assert rig.counter("TX_DROP_BAD_PACKET") == 1
    assert rig.counter("TX_PACKETS") == 2


@pytest.mark.parametrize("tpid", [0x8100, 0x88A8])
def test_frame_may_be_four_bytes_longer_with_a_tag(rig, tx, tpid):
    frame = b"\x02" * 12 + tpid.to_bytes(2, "big") + bytes(1504)
    rig.send(tx, frame)
    rig.send(tx, frame + b"\0")
    rig.send(tx, frame, TxFlags.VLAN_INSERT)
    rig.send(tx, frame[:1514], TxFlags.VLAN_INSERT, vlan_tci=7)
    tx.ring_doorbell()
    rig.run()
    assert [len(sent) for sent in rig.sent] == [1518, 1518]
    assert rig.diagnostics == [Diagnostic.TX_LENGTH] * 2


@pytest.mark.parametrize(
    ("flag", "status", "code"),
    [
        (TxFlags.TLS, TxStatus.TLS_DROPPED, Diagnostic.TLS_HANDLE),
        (TxFlags.PRESYNC, TxStatus.TLS_DROPPED, Diagnostic.TLS_HANDLE),
        (TxFlags.PREFIX, TxStatus.TLS_DROPPED, Diagnostic.TLS_HANDLE),
        (TxFlags.REPORT, TxStatus.BAD_PACKET, Diagnostic.TX_FLAGS),
        (TxFlags.L4_CHECKSUM, TxStatus.BAD_PACKET, Diagnostic.TX_FLAGS),
    ],
)
def test_flag_of_the_first_descriptor_in_another_one_drops_the_packet(rig, tx, flag, status, code):
    tx.post(TxDescriptor(rig.place(b"\x02" * 14), 14, TxFlags.REPORT).pack())
    secret = TxDescriptor(rig.place(b"secret" * 20), 120, flag | TxFlags.END_OF_PACKET)
    tx.post(secret.pack())
    tx.ring_doorbell()
    rig.run()
    assert rig.sent == []
    (completion,) = tx.reap()
    assert (completion.status, completion.detail) == (status, code)


def test_reserved_word_of_a_descriptor_is_checked(rig, tx):
    entry = bytearray(TxDescriptor(0x1000, 60, TxFlags.END_OF_PACKET).pack())
    entry[31] = 1
    tx.post(bytes(entry))
    tx.ring_doorbell()
    rig.run()
    assert rig.diagnostics == [Diagnostic.TX_RESERVED]


def test_header_length_must_agree_with_the_packet(rig, tx):
    frame = bytes(tcp4(b"x" * 3000))
    rig.send(tx, frame, TxFlags.SEGMENT, mss=1000, header_length=58)
    tx.ring_doorbell()
    rig.run()
    assert rig.diagnostics == [Diagnostic.TX_HEADER]
    assert rig.sent == []


def test_tls_packet_is_never_sent_in_clear(rig, tx):
    rig.send(tx, bytes(tcp4(b"secret")), TxFlags.TLS, send_tag=7, header_length=54)
    tx.ring_doorbell()
    rig.run()
    assert rig.sent == []
    (completion,) = tx.reap()
    assert completion.status == TxStatus.TLS_DROPPED
    assert rig.counter("TX_DROP_TLS") == 1


def test_unmapped_buffer_stops_that_queue_only(rig, tx):
    other = rig.tx(1)
    other.enable()
    tx.post(TxDescriptor(0xDEAD_0000, 60, TxFlags.END_OF_PACKET).pack())
    tx.ring_doorbell()
    rig.send(other, b"\x02" * 60)
    other.ring_doorbell()
    rig.run()
    assert tx.state is QueueState.ERROR
    assert tx.error is Diagnostic.DMA_FAULT
    assert rig.read(tx.register("ERROR_ADDRESS"), 8) == 0xDEAD_0000
    assert [c.status for c in tx.reap()] == [TxStatus.DMA_FAULT]
    assert rig.diagnostics == [Diagnostic.DMA_FAULT]
    assert other.state is QueueState.RUNNING
    assert rig.sent == [b"\x02" * 60]
    tx.disable()
    tx.enable()
    rig.send(tx, b"\x04" * 60)
    tx.ring_doorbell()
    rig.run()
    assert rig.sent[-1] == b"\x04" * 60


def test_buffer_across_adjoining_maps(rig, tx):
    rig.host.add_map(Rig.RAM, 4096)
    frame = bytes(range(200))
    rig.host.write(Rig.RAM - 77, frame)
    tx.post(TxDescriptor(Rig.RAM - 77, len(frame), TxFlags.END_OF_PACKET).pack())
    tx.ring_doorbell()
    rig.run()
    assert rig.sent == [frame]


def test_ring_across_adjoining_maps(rig):
    rig.host.add_map(Rig.RAM, 4096)
    tx = rig.tx(entries=16)
    tx.ring = Rig.RAM - 256
    tx.enable()
    rig.start()
    for number in range(15):
        rig.send(tx, bytes([2, number]) * 30)
    tx.ring_doorbell()
    rig.run()
    assert len(rig.sent) == 15


@pytest.mark.parametrize("part", ["ring", "completion"])
def test_map_that_ends_within_an_entry_stops_the_queue(rig, part):
    rig.host.add_map(0x8000_0000, 72)
    rig.host.add_map(0x8000_0048, 4096)
    tx = rig.tx(entries=16)
    setattr(tx, part, 0x8000_0000)
    tx.enable()
    rig.start()
    for _ in range(5):
        rig.send(tx, b"\x02" * 60)
    tx.ring_doorbell()
    rig.run()
    assert tx.error is Diagnostic.DMA_FAULT


def test_endless_chain_stops_the_queue(rig):
    tx = rig.tx(entries=128)
    tx.enable()
    rig.start()
    address = rig.place(b"\x02" * 14)
    for _ in range(100):
        tx.post(TxDescriptor(address, 14, 0).pack())
    tx.ring_doorbell()
    rig.run()
    assert tx.error is Diagnostic.TX_CHAIN


def test_link_down_drops_counts_and_tells(rig, tx):
    rig.nic.set_link(False)
    rig.send(tx, b"\x02" * 60)
    tx.ring_doorbell()
    rig.run()
    assert rig.sent == []
    assert rig.counter("TX_DROP_LINK_DOWN") == 1
    assert [c.status for c in tx.reap()] == [TxStatus.LINK_DOWN]


def test_busy_wire_makes_transmit_wait_and_loses_nothing(rig, tx):
    rig.wire.blocked = True
    send_segmented(rig, tx, tcp4(bytes(5000)), 1448)
    rig.send(tx, b"\x02" * 60)
    tx.ring_doorbell()
    rig.run()
    assert rig.sent == []
    assert tx.reap() == []
    rig.nic.forget_views()  # guest memory may go meanwhile
    rig.wire.blocked = False
    rig.nic.wire_writable(rig.now_ns)
    rig.run()
    assert len(rig.sent) == 5
    assert [c.head for c in tx.reap()] == [1, 2]
    assert rig.counter("TX_WIRE_BUSY") == 1


def test_disabling_a_queue_forgets_its_waiting_packet(rig, tx):
    rig.wire.blocked = True
    rig.send(tx, b"\x02" * 60)
    tx.ring_doorbell()
    rig.run()
    tx.disable()
    rig.wire.blocked = False
    rig.nic.wire_writable(rig.now_ns)
    rig.run()
    assert rig.sent == []


def test_packet_that_waits_when_the_link_goes_is_completed_as_dropped(rig, tx):
    rig.wire.blocked = True
    rig.send(tx, b"\x02" * 60)
    tx.ring_doorbell()
    rig.run()
    rig.nic.set_link(False)
    (completion,) = tx.reap()
    assert (completion.head, completion.status) == (1, TxStatus.LINK_DOWN)
    assert (rig.counter("TX_PACKETS"), rig.counter("TX_DROP_LINK_DOWN")) == (1, 1)
    rig.nic.set_link(True)
    rig.wire.blocked = False
    rig.nic.wire_writable(rig.now_ns)
    assert rig.sent == []


def test_packet_that_waits_touches_no_memory_while_bus_mastering_is_off(rig, tx):
    rig.wire.blocked = True
    rig.send(tx, b"\x02" * 60)
    tx.ring_doorbell()
    rig.run()
    rig.host.bus_master = False
    rig.wire.blocked = False
    rig.nic.wire_writable(rig.now_ns)
    rig.run()
    assert rig.sent == []
    assert not tx.completion_is_there
    rig.host.bus_master = True
    rig.run()
    assert rig.sent == [b"\x02" * 60]
    assert len(tx.reap()) == 1


def test_full_completion_ring_makes_the_queue_wait(rig):
    tx = rig.tx(entries=8)
    tx.enable()
    rig.start()
    rig.write(tx.register("CONTROL"), 0)
    rig.write(tx.register("COMPLETION_SIZE"), 8)
    tx.enable()
    for number in range(7):
        rig.send(tx, bytes([2, number]) * 30)
    tx.ring_doorbell()
    rig.run()
    # Descriptors are free again, completions are not returned.
    for number in range(3):
        rig.send(tx, bytes([2, 100 + number]) * 30)
    tx.ring_doorbell()
    rig.run()
    assert len(rig.sent) == 7
    assert rig.diagnostics == [Diagnostic.COMPLETION_RING_FULL]
    tx.reap()
    rig.run()
    assert len(rig.sent) == 10


def test_bus_master_off_stops_dma_until_it_is_on(rig, tx):
    rig.host.bus_master = False
    rig.send(tx, b"\x02" * 60)
    tx.ring_doorbell()
    rig.run()
    assert rig.sent == []
    assert Diagnostic.BUS_MASTER_OFF in rig.diagnostics
    rig.host.bus_master = True
    rig.run()
    assert rig.sent == [b"\x02" * 60]


def test_busy_queue_does_not_delay_another(rig):
    first, second = rig.tx(0, 128), rig.tx(1, 16)
    first.enable()
    second.enable()
    rig.start()
    for _ in range(120):
        rig.send(first, b"\x02" * 60)
    rig.send(second, b"\x04" * 60)
    first.ring_doorbell()
    second.ring_doorbell()
    assert rig.nic.poll(rig.now_ns)
    assert b"\x04" * 60 in rig.sent


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_descriptors_leave_the_card_alive(data):
    rig = Rig()
    tx = rig.tx(entries=16)
    tx.enable()
    rig.start()
    for _ in range(data.draw(st.integers(1, 15))):
        address = data.draw(
            st.sampled_from([0x1000, Rig.RAM - 30, Rig.HIGH, 1 << 63, 0, 2**64 - 1])
        )
        length = data.draw(st.one_of(st.integers(0, 200), st.integers(0, 2**32 - 1)))
        flags = data.draw(st.integers(0, 0x1FF))
        tx.post(
            TxDescriptor(
                address, length, flags, 5,
                data.draw(st.sampled_from([0, 1])),
                data.draw(st.integers(0, 2000)),
                data.draw(st.integers(0, 200)),
            ).pack()
        )  # fmt: skip
    tx.ring_doorbell()
    rig.run()
    if tx.state is QueueState.ERROR:
        tx.disable()
        tx.enable()
    else:
        tx.post(TxDescriptor(rig.place(b"\x02" * 60), 60, TxFlags.END_OF_PACKET).pack())
        tx.ring_doorbell()
        rig.run()
    totals = rig.nic.counters
    dropped = totals.tx_drop_bad_packet + totals.tx_drop_dma + totals.tx_drop_tls
    assert totals.tx_packets == totals.tx_sent_packets + dropped


def test_register_offsets_used_here_exist():
    assert r.TX_QUEUE_STRIDE == r.RX_QUEUE_STRIDE
