"""Receive coalescing: exact cases made with scapy, and what must hold for any traffic."""

import random
from collections import defaultdict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet as ScapyPacket

from tlsnic.device.packet.checksum import RxChecksum, verify_rx
from tlsnic.device.packet.coalesce import (
    TRANSITIONS,
    Action,
    Coalescer,
    Event,
    Packet,
    State,
)
from tlsnic.device.packet.headers import Headers, parse
from tlsnic.device.packet.vnet import VNET_GSO_TCPV4, VNET_GSO_TCPV6, complete_checksum, cut

V4 = IP(src="192.0.2.1", dst="192.0.2.2", id=9, flags="DF")
V6 = IPv6(src="2001:db8::1", dst="2001:db8::2", tc=8, fl=77)
DATA = random.Random(8).randbytes(200_000)


def timestamps(value: int, echo: int = 5) -> list[tuple[str, Any]]:
    return [("NOP", None), ("NOP", None), ("Timestamp", (value, echo))]


def frame_of(
    seq: int,
    size: int,
    *,
    ip: ScapyPacket = V4,
    flags: str = "A",
    tags: tuple[int, ...] = (),
    src_mac: str = "02:00:00:00:00:01",
    **tcp: Any,
) -> bytes:
    """A segment whose payload is the part of DATA at its sequence number."""
    frame: ScapyPacket = Ether(src=src_mac, dst="02:00:00:00:00:02")
    for vlan in tags:
        frame = frame / Dot1Q(vlan=vlan)
    at = seq % 100_000
    fields = {"sport": 443, "dport": 999, "ack": 7} | tcp
    return bytes(frame / ip.copy() / TCP(seq=seq, flags=flags, **fields) / DATA[at : at + size])


class Bench:
    """A coalescer that is fed with frames; contexts are the numbers of the frames."""

    def __init__(self, max_bytes: int = 65535, max_segments: int = 64, **limits: int) -> None:
        self.coalescer: Coalescer[int] = Coalescer(
            max_bytes, max_segments, limits.get("timeout_us", 100), limits.get("max_flows", 64)
        )
        self.count = 0

    def add(
        self, frame: bytes, offload_state: int = 0, now_us: int = 0, *, alone: bool = False
    ) -> list[tuple[int, ...]]:
        return [packet.contexts for packet in self.packets(frame, offload_state, now_us, alone)]

    def packets(
        self, frame: bytes, offload_state: int = 0, now_us: int = 0, alone: bool = False
    ) -> list[Packet[int]]:
        headers = parse(frame)
        self.count += 1
        return self.coalescer.add(
            frame,
            headers,
            verify_rx(frame, headers),
            offload_state,
            now_us=now_us,
            context=self.count,
            alone=alone,
        )

    def flush(self) -> list[tuple[int, ...]]:
        return [packet.contexts for packet in self.coalescer.flush()]


def test_transition_table_is_complete_and_loses_nothing() -> None:
    for state in State:
        for event in Event:
            if state is State.IDLE and event in {Event.NEXT, Event.LAST}:
                assert (state, event) not in TRANSITIONS
                continue
            actions, after = TRANSITIONS[state, event]
            arrives = event is not Event.RELEASE
            taken = [a for a in actions if a in {Action.PASS, Action.HOLD, Action.JOIN}]
            assert len(taken) == arrives
            held = state is State.HELD
            if Action.PASS in actions or Action.HOLD in actions:
                assert (Action.DELIVER in actions) == held
                assert not held or actions[0] is Action.DELIVER
            stays = held and Action.DELIVER not in actions
            assert (after is State.HELD) == (stays or Action.HOLD in actions)


@pytest.mark.parametrize("ip", [V4, V6])
@pytest.mark.parametrize("tags", [(), (5,), (5, 6)])
def test_three_segments_become_the_frame_that_scapy_would_build(
    ip: ScapyPacket, tags: tuple[int, ...]
) -> None:
    bench = Bench()
    args: dict[str, Any] = {"ip": ip, "tags": tags}
    seqs = (2**32 - 1000, 0, 1000)
    assert bench.add(frame_of(seqs[0], 1000, options=timestamps(1), **args)) == []
    assert (
        bench.add(frame_of(seqs[1], 1000, options=timestamps(2), ack=8, window=100, **args)) == []
    )
    last = frame_of(seqs[2], 400, options=timestamps(2, 6), ack=9, window=50, flags="PA", **args)
    (packet,) = bench.packets(last)
    assert (packet.contexts, packet.segments, packet.segment_bytes) == ((1, 2, 3), 3, 1000)
    assert packet.checksum.verified
    joined = bytearray(b"".join(packet.parts))
    headers = parse(joined)
    assert headers == packet.headers
    complete_checksum(joined, headers.l4, 16)
    whole: ScapyPacket = Ether(last)
    for layer in (IP, IPv6, TCP):
        if layer in whole:
            for computed in {"len", "plen", "chksum"} & set(whole[layer].fields):
                delattr(whole[layer], computed)
    whole[TCP].seq = seqs[0]
    start = seqs[0] % 100_000
    whole[TCP].payload = type(whole[TCP].payload)(DATA[start : start + 1000] + DATA[:1400])
    assert bytes(joined) == bytes(whole)


def test_padding_is_not_part_of_a_joined_packet() -> None:
    bench = Bench()
    padded = frame_of(0, 3) + bytes(3)
    assert bench.add(padded) == []
    (packet,) = bench.packets(frame_of(3, 3, flags="PA") + bytes(3))
    assert b"".join(packet.parts[1:]) == DATA[:6]
    bench.add(padded)
    (single,) = bench.coalescer.flush()
    assert single.parts == (padded,)


FIRST = {"seq": 0, "size": 100}
NEXT = {"seq": 100, "size": 100}
NOT_CONTINUING: dict[str, dict[str, Any]] = {
    "gap": {"seq": 101},
    "retransmission": {"seq": 0},
    "larger": {"size": 101},
    "acknowledgement back": {"ack": 6},
    "options appear": {"options": timestamps(1)},
    "type of service": {"ip": IP(src="192.0.2.1", dst="192.0.2.2", flags="DF", tos=1)},
    "time to live": {"ip": IP(src="192.0.2.1", dst="192.0.2.2", flags="DF", ttl=63)},
    "don't fragment": {"ip": IP(src="192.0.2.1", dst="192.0.2.2")},
    "source address of the link": {"src_mac": "02:00:00:00:00:03"},
    "reserved bits": {"reserved": 1},
}


@pytest.mark.parametrize("name", NOT_CONTINUING)
def test_a_segment_that_does_not_continue_sends_the_held_one_off(name: str) -> None:
    bench = Bench()
    assert bench.add(frame_of(**FIRST)) == []
    assert bench.add(frame_of(**NEXT | NOT_CONTINUING[name])) == [(1,)]
    assert bench.flush() == [(2,)]


@pytest.mark.parametrize(
    ("before", "after", "joined"),
    [
        (timestamps(5), timestamps(5), True),
        (timestamps(5), timestamps(6, 9), True),
        (timestamps(2**32 - 1), timestamps(0), True),
        (timestamps(5), timestamps(4), False),
        (timestamps(5), [("Timestamp", (5, 5)), ("NOP", None), ("NOP", None)], False),
        (timestamps(5), [*timestamps(5)[:2], ("SAckOK", b""), ("NOP", None)], False),
        ([("SAck", (1, 2)), *timestamps(5)], [("SAck", (1, 2)), *timestamps(6)], True),
        ([("SAck", (1, 2)), *timestamps(5)], [("SAck", (1, 3)), *timestamps(6)], False),
        ([*timestamps(5), ("SAck", (1, 2))], [*timestamps(6), ("SAck", (1, 2))], True),
        ([*timestamps(5), ("SAck", (1, 2))], [*timestamps(6), ("SAck", (1, 3))], False),
    ],
)
def test_options_keep_their_layout_and_time_goes_forward(
    before: list[Any], after: list[Any], joined: bool
) -> None:
    bench = Bench()
    assert bench.add(frame_of(**FIRST, options=before)) == []
    assert bench.add(frame_of(**NEXT, options=after)) == ([] if joined else [(1,)])
    assert bench.flush() == ([(1, 2)] if joined else [(2,)])


NEVER_JOINED: dict[str, bytes] = {
    "pure acknowledgement": frame_of(100, 0),
    "fin": frame_of(100, 100, flags="FA"),
    "syn": frame_of(100, 100, flags="SA"),
    "rst": frame_of(100, 100, flags="RA"),
    "urg": frame_of(100, 100, flags="UA"),
    "ece": frame_of(100, 100, flags="EA"),
    "cwr": frame_of(100, 100, flags="CA"),
    "no ack": frame_of(100, 100, flags=""),
    "ip options": frame_of(
        100, 100, ip=IP(src="192.0.2.1", dst="192.0.2.2", options=[IPOption_NOP()])
    ),
    "fragment": frame_of(100, 100, ip=IP(src="192.0.2.1", dst="192.0.2.2", flags="MF")),
    "bad tcp checksum": frame_of(100, 100)[:-1] + b"\0",
    "bad ip checksum": frame_of(100, 100, ip=IP(src="192.0.2.1", dst="192.0.2.2", chksum=1)),
    "cut tcp header": frame_of(100, 100, dataofs=15)[:16] + b"\0\x28" + frame_of(100, 100)[18:],
    "bad data offset": frame_of(100, 0, dataofs=15),
}


@pytest.mark.parametrize("name", NEVER_JOINED)
def test_what_cannot_be_joined_passes_behind_the_held_packet_of_its_flow(name: str) -> None:
    bench = Bench()
    assert bench.add(frame_of(**FIRST)) == []
    assert bench.add(NEVER_JOINED[name]) == [(1,), (2,)]
    assert bench.add(NEVER_JOINED[name]) == [(3,)]
    assert bench.flush() == []


def test_ipv6_extension_headers_are_not_joined() -> None:
    bench = Bench()
    assert bench.add(frame_of(0, 100, ip=V6)) == []
    assert bench.add(frame_of(100, 100, ip=V6 / IPv6ExtHdrDestOpt())) == [(1,), (2,)]


def test_offload_states_are_not_mixed() -> None:
    bench = Bench()
    assert bench.add(frame_of(0, 100), offload_state=0) == []
    assert bench.add(frame_of(100, 100), offload_state=1) == [(1,)]
    assert bench.add(frame_of(200, 100), offload_state=1) == []
    assert bench.add(frame_of(300, 100), offload_state=0) == [(2, 3)]
    assert bench.flush() == [(4,)]


def test_a_frame_marked_alone_passes_in_its_place() -> None:
    bench = Bench()
    assert bench.add(frame_of(0, 100)) == []
    assert bench.add(frame_of(100, 100), alone=True) == [(1,), (2,)]


def test_flows_do_not_disturb_each_other() -> None:
    bench = Bench()
    other = {"sport": 444}
    assert bench.add(frame_of(0, 100)) == []
    assert bench.add(frame_of(50, 100, **other)) == []
    assert bench.add(frame_of(0, 100, tags=(3,))) == []
    ether = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    assert bench.add(bytes(ether / V4 / UDP() / b"x")) == [(4,)]
    assert bench.add(bytes(ether / V4 / ICMP())) == [(5,)]
    assert bench.add(frame_of(100, 100)) == []
    assert bench.add(frame_of(150, 100, flags="PA", **other)) == [(2, 7)]
    assert bench.flush() == [(1, 6), (3,)]


def test_psh_or_a_shorter_segment_ends_the_packet() -> None:
    bench = Bench()
    assert bench.add(frame_of(0, 100, flags="PA")) == [(1,)]
    assert bench.add(frame_of(100, 100)) == []
    assert bench.add(frame_of(200, 99)) == [(2, 3)]
    assert bench.add(frame_of(299, 100)) == []
    assert bench.add(frame_of(399, 100, flags="PA")) == [(4, 5)]


@pytest.mark.parametrize("before_wrap", [50, 100, 150, 200, 300, 301])
def test_sequence_numbers_wrap_anywhere_in_the_packet(before_wrap: int) -> None:
    bench = Bench()
    for number in range(4):
        seq = (2**32 - before_wrap + number * 100) % 2**32
        assert bench.add(frame_of(seq, 100)) == []
    assert bench.flush() == [(1, 2, 3, 4)]


def test_limits_end_the_packet() -> None:
    bench = Bench(max_segments=3)
    results = [bench.add(frame_of(at * 100, 100)) for at in range(7)]
    assert results == [[], [], [(1, 2, 3)], [], [], [(4, 5, 6)], []]
    bench = Bench(max_bytes=40 + 250)
    results = [bench.add(frame_of(at * 100, 100)) for at in range(4)]
    assert results == [[], [(1, 2)], [], [(3, 4)]]
    assert Bench(max_segments=1).add(frame_of(0, 100)) == [(1,)]
    assert Bench(max_bytes=239).add(frame_of(0, 100)) == [(1,)]
    bench = Bench(max_flows=2)
    ports = [bench.add(frame_of(0, 100, sport=port)) for port in range(4)]
    assert ports == [[], [], [(1,)], [(2,)]]


def test_time_is_counted_from_the_first_segment() -> None:
    bench = Bench(timeout_us=100)
    assert bench.coalescer.next_deadline_us() is None
    bench.add(frame_of(0, 100), now_us=1000)
    bench.add(frame_of(0, 100, sport=1), now_us=1050)
    bench.add(frame_of(100, 100), now_us=1099)
    assert bench.coalescer.next_deadline_us() == 1100
    assert bench.coalescer.expire(1099) == []
    assert [packet.contexts for packet in bench.coalescer.expire(1100)] == [(1, 3)]
    assert bench.coalescer.next_deadline_us() == 1150
    assert bench.add(frame_of(100, 100, sport=1), now_us=1150) == [(2,)]
    assert bench.flush() == [(4,)]


@pytest.mark.parametrize(
    "limits", [(0, 2, 1, 1), (65536, 2, 1, 1), (9000, 0, 1, 1), (9000, 2, -1, 1), (9000, 2, 1, 0)]
)
def test_limits_out_of_range_are_refused(limits: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="max_"):
        Coalescer(*limits)


KINDS = [*["data"] * 10, "psh", "short", "again", "gap", "ack", "fin", "bad", "fragment", "ttl"]
STEP = st.tuples(
    st.integers(0, 2),  # flow
    st.sampled_from(KINDS),
    st.sampled_from([0] * 9 + [1]),  # changes the offload state
    st.sampled_from([0, 0, 0, 10, 60]),  # time passes
)


class Sender:
    """One flow: makes frames and remembers where it is."""

    def __init__(self, number: int) -> None:
        self.ip = V6 if number == 2 else V4
        self.sport = 1000 + number
        self.seq = 2**32 - 500 if number else 0
        self.time = self.state = 0

    def make(self, kind: str) -> bytes:
        self.time += 1
        size = {"ack": 0, "short": 33}.get(kind, 100)
        seq = self.seq
        ip = self.ip.copy()
        flags = {"psh": "PA", "fin": "FA"}.get(kind, "A")
        if kind == "again":
            seq -= 100
        elif kind == "gap":
            seq += 100
        elif kind == "fragment" and self.ip is V4:
            ip.flags = "MF"
        elif kind == "ttl":
            ip.setfieldval("ttl" if self.ip is V4 else "hlim", 3)
        seq %= 2**32
        self.seq = (seq + size) % 2**32
        options = timestamps(self.time)
        raw = frame_of(seq, size, ip=ip, flags=flags, sport=self.sport, options=options)
        return raw[:-1] + bytes([raw[-1] ^ 1]) if kind == "bad" else raw


@given(
    steps=st.lists(STEP, min_size=5, max_size=60),
    max_bytes=st.sampled_from([300, 500, 65535]),
    max_segments=st.integers(1, 8),
    max_flows=st.integers(1, 3),
)
@settings(max_examples=100, deadline=None)
def test_any_traffic_keeps_every_byte_in_order(
    *, steps: list[tuple[int, str, int, int]], max_bytes: int, max_segments: int, max_flows: int
) -> None:
    coalescer: Coalescer[int] = Coalescer(max_bytes, max_segments, 100, max_flows)
    senders = [Sender(number) for number in range(3)]
    arrived: list[tuple[int, bytes, Headers, RxChecksum, int, int]] = []
    returned: list[Packet[int]] = []
    now = 0
    for number, kind, change, passes in steps:
        now += passes
        sender = senders[number]
        sender.state ^= change
        frame = sender.make(kind)
        headers = parse(frame)
        checksum = verify_rx(frame, headers)
        arrived.append((number, frame, headers, checksum, sender.state, now))
        returned += coalescer.add(
            frame, headers, checksum, sender.state, now_us=now, context=len(arrived) - 1
        )
        back = {context for packet in returned for context in packet.contexts}
        held = [entry for context, entry in enumerate(arrived) if context not in back]
        assert all(entry[5] + 100 > now for entry in held)
        assert len({entry[0] for entry in held}) <= max_flows
    returned += coalescer.flush()
    assert coalescer.next_deadline_us() is None

    contexts = [context for packet in returned for context in packet.contexts]
    assert sorted(contexts) == list(range(len(arrived)))
    order: dict[int, list[int]] = defaultdict(list)
    for context in contexts:
        order[arrived[context][0]].append(context)
    assert all(numbers == sorted(numbers) for numbers in order.values())

    for packet in returned:
        entries = [arrived[context] for context in packet.contexts]
        assert packet.segments == len(entries) <= max_segments
        if len(entries) == 1:
            assert packet.parts == (entries[0][1],)
            assert packet[1:4] == entries[0][2:5]
            continue
        assert {entry[4] for entry in entries} == {packet.offload_state}
        assert all(entry[3].verified for entry in entries)
        frame = bytearray(b"".join(packet.parts))
        headers = parse(frame)
        assert headers == packet.headers
        assert headers.end == len(frame) <= 14 + max_bytes
        payloads = [entry[1][entry[2].payload : entry[2].end] for entry in entries]
        assert frame[headers.payload :] == b"".join(payloads)
        assert headers.tcp_seq == entries[0][2].tcp_seq
        gso_type = VNET_GSO_TCPV4 if headers.ip_version == 4 else VNET_GSO_TCPV6
        again = [b"".join(parts) for parts in cut(frame, gso_type, packet.segment_bytes)]
        assert [raw[parse(raw).payload :] for raw in again] == payloads
        complete_checksum(frame, headers.l4, 16)
        assert verify_rx(frame, headers).verified
