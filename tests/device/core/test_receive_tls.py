"""TLS on receive: which packets are of a flow, what their completions and events say."""

import pytest
from receive_rig import (
    AS_ON_WIRE,
    AUTH_FAILED,
    DECRYPTED,
    NONE,
    OFFLOADS,
    PADDING_HEADER,
    ROUTER_ALERT,
    TIMESTAMP,
    ReceiveRig,
    begun,
    frame_of,
    make_packet,
    stream_of,
)
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt
from scapy.layers.l2 import Ether
from tls_rig import LOCAL, LOCAL_PORT, REMOTE
from tracker_bench import AEAD, Wire, packets_of

from tlsnic.abi import registers as r
from tlsnic.abi.enums import Diagnostic, EventType, Offload, RxFlags, TlsTrackerState

V4_MAPPED = bytes(10) + b"\xff\xff"
OFFLOAD, SEARCH, TRACK, HALTED = list(TlsTrackerState)[1:]
SYN, RST, ACK, FIN, PSH, URG = 2, 4, 0x10, 1, 8, 0x20
VERIFIED = RxFlags.IP_CHECKSUM_OK | RxFlags.L4_CHECKSUM_OK


def test_packets_of_the_bench_are_what_scapy_makes():
    for ip_version, between in ((4, b""), (4, ROUTER_ALERT), (6, b""), (6, PADDING_HEADER)):
        frame = make_packet(7, b"hello", ip_version=ip_version, between=between, options=TIMESTAMP)
        packet = Ether(frame)
        assert bytes(packet[TCP].payload) == b"hello"
        assert IPv6ExtHdrDestOpt in packet or ip_version == 4 or not between
        for layer in (IP, TCP):
            if layer in packet:
                del packet[layer].chksum
        assert bytes(packet) == frame
        assert (IP if ip_version == 4 else IPv6) in packet


# Completions


@pytest.mark.parametrize("case", AEAD, ids=lambda case: case.id)
def test_a_stream_in_order(case):
    rig, wire, handle = begun(1, 3000, 100, 100, 16384, 1, case=case)
    ends = [entry.start + entry.total for entry in wire.records]
    for begin in range(0, len(wire), 1448):
        end = min(begin + 1448, len(wire))
        packet = rig.take(wire, begin, end)
        assert packet.mark == (DECRYPTED, handle, False)
        assert packet.records == sum(begin < at <= end for at in ends)
        assert packet.frame[:54] == frame_of(wire, begin, end)[:54]
        assert packet.completion.flags & VERIFIED == VERIFIED
        assert packet.completion.segments == 1
    assert rig.counter("RX_TLS_DECRYPTED_PACKETS") == -(-len(wire) // 1448)
    assert rig.counter("RX_TLS_DECRYPTED_BYTES") == len(wire)
    assert rig.state_of(handle).record_number == 6
    assert rig.told() == []
    assert rig.diagnostics == []


@pytest.mark.parametrize("case", AEAD, ids=lambda case: case.id)
def test_packets_cut_anywhere(case):
    rig, wire, handle = begun(1, 40, 40, 200, case=case)
    for begin, end in packets_of(len(wire), 3, 30):
        assert rig.take(wire, begin, end).mark == (DECRYPTED, handle, False)


def test_many_records_in_a_packet_are_counted_up_to_255():
    rig = ReceiveRig()
    rig.write(r.MAX_FRAME, 9018)
    rig, wire, _ = begun(*[1] * 600, rig=rig)
    size = wire.records[0].total
    assert [rig.take(wire, 0, 255 * size).records, rig.take(wire, 255 * size, 511 * size).records] \
        == [255, 255]  # fmt: skip
    assert rig.take(wire, 511 * size, 600 * size).records == 89


def test_long_frames_take_several_buffers():
    rig = ReceiveRig()
    rig.write(r.MAX_FRAME, 9018)
    rig, wire, _ = begun(7000, 7000, rig=rig, fields={"vlan": 7, "ip_version": 6})
    for begin in range(0, len(wire), 8000):
        packet = rig.take(wire, begin, min(begin + 8000, len(wire)), vlan=7, ip_version=6)
        assert packet.state is DECRYPTED
        assert packet.completion.buffers == -(-packet.completion.length // rig.BUFFER_BYTES)


def test_stripping_the_vlan_tag():
    rig = ReceiveRig(offloads=OFFLOADS | Offload.VLAN_STRIP)
    rig, wire, handle = begun(900, 900, rig=rig, fields={"vlan": 7})
    for begin in range(0, 1800, 900):
        packet = rig.take(wire, begin, begin + 900, vlan=0xE007)
        assert packet.mark == (DECRYPTED, handle, False)
        assert packet.completion.vlan_tci == 0xE007
        assert packet.completion.flags & RxFlags.VLAN_STRIPPED
        assert packet.frame[:54] == frame_of(wire, begin, begin + 900)[:54]


def test_bytes_behind_the_ip_packet_stay():
    rig, wire, _ = begun(1, 1)
    packet = rig.take(wire, 0, 3, trailer=b"abc")
    assert packet.state is DECRYPTED
    assert packet.frame.endswith(wire.wire[:3] + b"abc")


# Look-up

WAYS = [
    ({}, {}),
    ({"ip_version": 6}, {"ip_version": 6}),
    ({"ip_version": 6, "local_address": V4_MAPPED + LOCAL[4],
      "remote_address": V4_MAPPED + REMOTE[4]}, {}),
    ({"vlan": 7}, {"vlan": 7}),
    ({"vlan": 7}, {"vlan": 0xF007}),
    ({"vlan": 0}, {"vlan": 0x6000}),
    ({"vlan": 4094, "ip_version": 6}, {"vlan": 4094, "ip_version": 6}),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "packet"), WAYS, ids=str)
def test_packets_of_the_connection_are_found(fields, packet):
    rig, wire, handle = begun(600, 600, fields=fields)
    for begin in range(0, 1200, 400):
        mark = rig.take(wire, begin, begin + 400, **packet).mark
        assert mark == (DECRYPTED, handle, False)


@pytest.mark.parametrize(
    ("fields", "packet"),
    [
        ({}, {"ip_version": 6}),
        ({}, {"local_port": 443, "remote_port": LOCAL_PORT}),
        ({}, {"local_port": LOCAL_PORT + 1}),
        ({}, {"remote_port": 444}),
        ({}, {"remote": b"\x0a\0\0\x03"}),
        ({}, {"protocol": 17}),
        ({}, {"vlan": 7}),
        ({}, {"vlan": 0}),
        ({"vlan": 7}, {}),
        ({"vlan": 7}, {"vlan": 8}),
        ({"vlan": 0}, {}),
        ({"ip_version": 6}, {}),
        ({"ip_version": 6}, {"ip_version": 6, "remote": LOCAL[6]}),
    ],
    ids=str,
)
def test_packets_of_other_connections_pass(fields, packet):
    """Marked as of no flow, without a change, and the flow does not move."""
    rig, wire, handle = begun(600, 600, fields=fields)
    frame = frame_of(wire, 0, 500, **packet)
    for _ in range(2):
        rig.receive(frame)
        got = rig.packet()
        assert (got.mark, got.records, got.frame) == ((NONE, 0, False), 0, frame)
    state = rig.state_of(handle)
    assert (state.tcp_sequence, state.packets, state.not_offloaded) == (1000, 0, 0)


def test_fragments_are_of_no_flow():
    rig, wire, _ = begun(600, 600)
    for fragment in (0x2000, 0x2001, 0x0001):  # first, middle, last
        frame = frame_of(wire, 0, 500, fragment=fragment)
        rig.receive(frame)
        packet = rig.packet()
        assert (packet.mark, packet.frame) == ((NONE, 0, False), frame)
    assert set(rig.feed(wire)) == {DECRYPTED}


@pytest.mark.parametrize(
    ("fields", "packet"),
    [
        ({}, {"bad_tcp": True}),
        ({}, {"bad_ip": True}),
        ({}, {"between": ROUTER_ALERT}),
        ({"ip_version": 6}, {"between": PADDING_HEADER, "ip_version": 6}),
        ({"ip_version": 6}, {"bad_tcp": True, "ip_version": 6}),
        ({}, {"flags": SYN | ACK}),
        ({}, {"flags": RST}),
    ],
    ids=str,
)
def test_packets_that_are_not_looked_at(fields, packet):
    """They have the flow's mark, stay as on the wire, and change nothing: the data comes again."""
    rig, wire, handle = begun(600, 600, fields=fields)
    good = {"ip_version": fields.get("ip_version", 4)}
    assert rig.take(wire, 0, 300, **good).state is DECRYPTED
    frame = frame_of(wire, 300, 900, **packet)
    rig.receive(frame)
    got = rig.packet()
    assert (got.mark, got.records, got.frame) == ((AS_ON_WIRE, handle, False), 0, frame)
    state = rig.state_of(handle)
    assert (state.tcp_sequence, state.not_offloaded) == (wire.sequence_at(300), 1)
    assert rig.feed(wire, 300, **good) == [DECRYPTED] * 1
    assert rig.state_of(handle).out_of_order == 0


@pytest.mark.parametrize(
    "packet",
    [{"flags": ACK | FIN}, {"flags": ACK | PSH}, {"flags": ACK | URG}, {"options": TIMESTAMP}],
    ids=str,
)
def test_packets_that_are_like_all_others(packet):
    rig, wire, _ = begun(600, 600)
    assert rig.feed(wire, 0, None, 400, **packet) == [DECRYPTED] * 4


def test_packets_without_payload_do_not_count():
    rig, wire, handle = begun(600)
    for sequence, flags in ((1000, ACK), (999, ACK), (5000, FIN | ACK)):
        rig.receive(make_packet(sequence, b"", flags=flags))
        assert rig.packet().mark == (AS_ON_WIRE, handle, False)
    state = rig.state_of(handle)
    assert (state.packets, state.out_of_order, state.not_offloaded) == (0, 0, 0)
    assert rig.feed(wire) == [DECRYPTED]


def test_bytes_from_before_the_flow_stay():
    rig = ReceiveRig()
    wire = stream_of(300, 300)
    first = wire.records[1].start
    handle = rig.receive_flow(wire, tcp_sequence=wire.sequence_at(first), record_number=1)
    rig.receive(frame_of(wire, 0, first))
    assert rig.packet().mark == (AS_ON_WIRE, handle, False)
    rig.receive(frame_of(wire, first - 50, len(wire)))
    packet = rig.packet()
    assert packet.mark == (DECRYPTED, handle, False)
    assert packet.payload == wire.wire[first - 50 : first] + wire.plain[first:]


# Loss, questions and errors


def test_a_lost_header_asks():
    rig, wire, handle = begun(1000, 1000, 1000, 1000, number=40)
    start = wire.records[2].start
    rig.take(wire, 0, 200)
    packet = rig.take(wire, start - 300, start + 600)
    assert (packet.mark, packet.records) == ((AS_ON_WIRE, handle, True), 0)
    event = rig.question()
    assert (event.handle, event.tcp_sequence) == (handle, wire.sequence_at(start))
    assert (event.question, event.record_number) == (1, 41)
    assert rig.answer(event, wire).status == 0
    assert rig.take(wire, start + 600, wire.records[3].start).state is AS_ON_WIRE
    packet = rig.take(wire, wire.records[3].start, len(wire))
    assert (packet.mark, packet.records) == ((DECRYPTED, handle, False), 1)
    names = ("REQ_PKT", "REQ_START", "REQ_END", "REQ_SKIP", "RES_OK", "RES_SKIP", "TAG")
    counted = [rig.counter(f"RX_TLS_RESYNC_{name}") for name in names]
    assert counted == [1, 1, 1, 0, 1, 0, 0]


def test_a_question_is_written_before_its_packet():
    rig, wire, _ = begun(1000, 1000, 1000)
    there = []

    class Triggered(list):
        """What the host has when an interrupt comes."""

        def append(self, vector):
            queues = (rig.event_queue, rig.packets_queue)
            there.append([queue.completion_is_there for queue in queues])

    rig.host.triggered = Triggered()
    rig.event_queue.return_entries(arm=True)
    start = wire.records[1].start
    assert rig.take(wire, start, start + 500).asks
    assert there == [[True, False]]


@pytest.mark.parametrize("host", [False, True])
def test_a_lost_header_is_settled_by_tag(host):
    rig, wire, handle = begun(1000, 1000, 1000, 1000, fields={"tag": True, "host": host})
    start, after = wire.records[2].start, wire.records[3].start
    rig.take(wire, 0, 200)
    assert rig.feed(wire, start - 300, after, 500) == [AS_ON_WIRE] * 3
    assert rig.feed(wire, after) == [DECRYPTED] * 2
    assert rig.told() == []
    assert (rig.counter("RX_TLS_RESYNC_TAG"), rig.counter("RX_TLS_RESYNC_REQ_PKT")) == (1, 0)
    assert rig.state_of(handle).tag_resyncs == 1


def test_questions_are_marked_when_events_are_off():
    rig, wire, _ = begun(1000, 1000, 1000)
    rig.write(r.EVENT_ENABLE, 0)
    start = wire.records[1].start
    assert rig.take(wire, start, start + 500).asks
    assert rig.told() == []


def test_a_forged_record_stops_the_flow():
    rig, wire, handle = begun(300, 300, 300, 300)
    second, third = wire.records[1].start, wire.records[2].start
    wire.wire[second + 40] ^= 1
    assert rig.take(wire, 0, second + 10).state is DECRYPTED
    packet = rig.take(wire, second + 10, third + 20)
    assert (packet.mark, packet.records) == ((AUTH_FAILED, handle, False), 0)
    (event,) = rig.told()
    assert (event.type, event.handle, event.code) == (
        EventType.FLOW_ERROR,
        handle,
        65 and event.code,
    )
    assert (event.code, event.tcp_sequence) == (Diagnostic.TLS_AUTH, wire.sequence_at(second + 10))
    assert rig.diagnostics == [Diagnostic.TLS_AUTH]
    assert rig.nic.diagnostics.last.operand == handle
    assert rig.counter("RX_TLS_ERR") == 1
    assert rig.take(wire, third + 20, third + 100).mark == (AS_ON_WIRE, handle, False)
    assert rig.told() == []
    last = wire.records[3].start
    assert rig.hint(handle, wire.sequence_at(last), 3).status == 0
    assert [rig.take(wire, third + 100, last).state, rig.take(wire, last, len(wire)).state] == [
        AS_ON_WIRE, DECRYPTED
    ]  # fmt: skip


def test_flows_do_not_share_their_troubles():
    rig = ReceiveRig()
    wires = [Wire(seed=port) for port in range(3)]
    handles = [rig.receive_flow(wire, local_port=port) for port, wire in enumerate(wires)]
    for wire in wires:
        for _ in range(4):
            wire.add(500)
    wires[0].wire[wires[0].records[1].start - 1] ^= 1
    for begin in range(0, len(wires[0]), 250):
        for port, wire in enumerate(wires):
            if (port, begin) != (1, 500):
                rig.take(wire, begin, min(begin + 250, len(wire)), local_port=port)
    states = [rig.state_of(handle).tracker_state for handle in handles]
    assert states == [HALTED, TRACK, OFFLOAD]
    assert [event.handle for event in rig.told()] == handles[:2]
    assert rig.state_of(handles[2]).payload_bytes == len(wires[2])


def test_packets_that_find_no_buffer_were_followed():
    """As on any card: the host gets the data again as a retransmit, which is old for the tracker."""
    rig = ReceiveRig(buffers=1)
    rig, wire, handle = begun(1000, 1000, rig=rig)
    rig.receive(frame_of(wire, 0, 500))
    rig.receive(frame_of(wire, 500, 900))
    packet = rig.packet()
    assert packet.state is DECRYPTED
    assert rig.counter("RX_DROP_NO_BUFFER") == 1
    assert rig.take(wire, 500, 900).mark == (AS_ON_WIRE, handle, False)
    assert set(rig.feed(wire, 900)) == {DECRYPTED}


def test_frames_that_are_not_for_the_port_are_not_followed():
    rig, wire, handle = begun(600, 600)
    frame = frame_of(wire, 0, 500)
    rig.receive(b"\x02\x09" + frame[2:])
    rig.write(r.CONTROL, r.CONTROL_TX_ENABLE_MASK)
    rig.receive(frame)
    rig.start()
    rig.host.bus_master = False
    rig.receive(frame)
    rig.host.bus_master = True
    rig.receive(frame_of(wire, 0, 1200, trailer=bytes(300)))
    assert rig.packets() == []
    assert rig.state_of(handle).tcp_sequence == 1000
    assert set(rig.feed(wire)) == {DECRYPTED}


# Switches


def test_checksums_switched_off_and_on_again():
    rig, wire, handle = begun(1000, 1000, 1000)
    assert rig.take(wire, 0, 300).state is DECRYPTED
    rig.write(r.OFFLOAD_ENABLE, Offload.RX_TLS)
    assert rig.take(wire, 300, 600).mark == (AS_ON_WIRE, handle, False)
    assert rig.state_of(handle).not_offloaded == 1
    rig.write(r.OFFLOAD_ENABLE, OFFLOADS)
    begin = wire.records[1].start
    assert rig.take(wire, 600, begin).state is AS_ON_WIRE
    assert set(rig.feed(wire, begin)) == {DECRYPTED}


def test_receive_tls_switched_off_leaves_the_flows_that_exist():
    rig, wire, _ = begun(1000, 1000)
    assert rig.take(wire, 0, 300).state is DECRYPTED
    rig.write(r.OFFLOAD_ENABLE, Offload.RX_CHECKSUM)
    assert set(rig.feed(wire, 300)) == {DECRYPTED}
