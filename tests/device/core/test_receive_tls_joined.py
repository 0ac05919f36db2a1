"""TLS on receive with coalescing, super-frames and batches: the same as packets one by one."""

import itertools
import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from receive_rig import (
    AS_ON_WIRE,
    AUTH_FAILED,
    DECRYPTED,
    NONE,
    OFFLOADS,
    TIMESTAMP,
    ReceiveRig,
    begun,
    check,
    frame_of,
    make_packet,
    stream_of,
    super_frame_of,
)
from tls_rig import LOCAL, REMOTE
from tracker_bench import AEAD, CHACHA12, Wire, packets_of

from tlsnic.abi.enums import Offload, RxFlags
from tlsnic.abi.structures import TlsFlowDestroyCommand
from tlsnic.device.core import receive
from tlsnic.device.core.counters import COUNTER_REGISTERS

ACK, PSH, RST = 0x10, 8, 4


# Coalescing


def joining(*sizes, segments=16, **options):
    rig = ReceiveRig(coalesce=segments)
    return begun(*sizes, rig=rig, **options)


def pour(rig, wire, *cuts, **options):
    """The packets between the cuts, and all that is delivered in the end."""
    for begin, end in itertools.pairwise(cuts):
        rig.receive(frame_of(wire, begin, end, **options))
    rig.run(after_ns=1_000_000)
    found = rig.packets()
    for packet in found:
        check(wire, packet)
    return found


def test_joined_packets_are_decrypted_and_sum_their_records():
    rig, wire, handle = joining(*[100] * 40)
    cuts = [*range(0, len(wire), 400), len(wire)]
    (packet,) = pour(rig, wire, *cuts)
    assert packet.mark == (DECRYPTED, handle, False)
    assert packet.records == 40
    assert packet.completion.flags & RxFlags.COALESCED
    assert (packet.completion.segments, packet.completion.segment_bytes) == (13, 400)
    assert packet.payload == wire.plain


def test_records_of_a_joined_packet_are_counted_up_to_255():
    rig, wire, _ = joining(*[1] * 600)
    (packet,) = pour(rig, wire, *range(0, 12_001, 1200))
    assert packet.records == 255
    assert packet.completion.segments == 10


def test_different_marks_are_not_joined():
    """A hole, a question, its answer, a forged record: each change of the mark ends a packet."""
    rig, wire, handle = joining(*[1000] * 8)
    start = [entry.start for entry in wire.records]
    packets = pour(rig, wire, 0, 250, 500)
    assert [(p.mark, p.completion.segments) for p in packets] == [((DECRYPTED, handle, False), 2)]
    cuts = [start[2] - 200, start[2] - 100, start[2], start[2] + 100, start[2] + 200]
    packets = pour(rig, wire, *cuts)
    assert [(p.mark, p.completion.segments) for p in packets] == [
        ((AS_ON_WIRE, handle, False), 2),
        ((AS_ON_WIRE, handle, True), 1),
        ((AS_ON_WIRE, handle, False), 1),
    ]
    rig.answer(rig.question(), wire)
    wire.wire[start[5] - 1] ^= 1
    cuts = [start[2] + 200, start[3], start[4], start[5], start[6], start[7], len(wire)]
    packets = pour(rig, wire, *cuts)
    assert [(p.mark, p.completion.segments) for p in packets] == [
        ((AS_ON_WIRE, handle, False), 1),
        ((DECRYPTED, handle, False), 1),
        ((AUTH_FAILED, handle, False), 1),
        ((AS_ON_WIRE, handle, False), 3),
    ]


def test_what_came_before_the_flow_is_not_joined_to_it():
    rig = ReceiveRig(coalesce=16)
    wire = stream_of(100, 300, 300)
    first = wire.records[1].start
    rig.receive(frame_of(wire, 0, first))
    handle = rig.receive_flow(wire, tcp_sequence=wire.sequence_at(first), record_number=1)
    packets = pour(rig, wire, first, first + 100)
    assert [packet.mark for packet in packets] == [(NONE, 0, False), (DECRYPTED, handle, False)]
    rig.receive(frame_of(wire, first + 100, first + 200))
    assert rig.destroy(handle).status == 0
    packets = pour(rig, wire, first + 200, first + 300)
    assert [packet.mark for packet in packets] == [(DECRYPTED, handle, False), (NONE, 0, False)]


def test_flows_are_joined_side_by_side():
    rig = ReceiveRig(coalesce=16)
    wires = stream_of(3000), stream_of(3000, seed=1, case=CHACHA12)
    for port, wire in enumerate(wires):
        rig.receive_flow(Wire(wire.case, seed=port), local_port=port)
    for begin in range(0, 3000, 500):
        for port, wire in enumerate(wires):
            rig.receive(frame_of(wire, begin, begin + 500, local_port=port))
    rig.run(after_ns=1_000_000)
    packets = rig.packets()
    assert [packet.completion.segments for packet in packets] == [6, 6]
    for wire, packet in zip(wires, packets, strict=True):
        check(wire, packet)
        assert packet.state is DECRYPTED


def test_destroy_delivers_what_is_held_before_its_response():
    rig, wire, handle = joining(2000)
    rig.receive(frame_of(wire, 0, 500))
    rig.receive(frame_of(wire, 500, 1000))
    assert not rig.packets_queue.completion_is_there
    rig.commands.post(TlsFlowDestroyCommand(handle=handle).pack())
    write, order = rig.nic.admin.complete, []
    rig.nic.admin.complete = lambda *words: (
        order.append(rig.packets_queue.completion_is_there), write(*words))[1]  # fmt: skip
    rig.commands.ring_doorbell()
    rig.run()
    assert order == [True]
    packet = rig.packet()
    assert (packet.mark, packet.completion.segments) == ((DECRYPTED, handle, False), 2)


def test_destroy_delivers_with_the_old_handle_only():
    rig, wire, handle = joining(2000)
    rig.receive(frame_of(wire, 0, 500))
    rig.destroy(handle)
    again = Wire(seed=8, sequence=wire.sequence_at(500))
    fresh = rig.receive_flow(again)
    again.add(400)
    rig.receive(frame_of(again, 0, 400))
    rig.run(after_ns=1_000_000)
    packets = rig.packets()
    assert [packet.mark for packet in packets] == [
        (DECRYPTED, handle, False), (DECRYPTED, fresh, False)
    ]  # fmt: skip


# Super-frames


@pytest.mark.parametrize("fields", [{}, {"ip_version": 6}, {"vlan": 9}], ids=str)
def test_super_frames(fields):
    rig = ReceiveRig(coalesce=64)
    rig, wire, handle = begun(16384, 16384, 3000, 9000, rig=rig, fields=fields)
    rig.receive(*super_frame_of(wire, 0, 40_000, 1400, **fields))
    rig.receive(*super_frame_of(wire, 40_000, len(wire), 1400, **fields))
    first, second = rig.packets()
    for packet, records in ((first, 3), (second, 1)):
        check(wire, packet)
        assert (packet.mark, packet.records) == ((DECRYPTED, handle, False), records)
        assert packet.completion.segment_bytes == 1400
        assert packet.completion.flags & RxFlags.COALESCED
    assert (first.completion.segments, second.completion.segments) == (29, 4)
    assert rig.counter("RX_TLS_DECRYPTED_PACKETS") == 2
    assert rig.counter("RX_TLS_DECRYPTED_BYTES") == len(wire)


def test_super_frames_with_lost_headers():
    rig = ReceiveRig(coalesce=64)
    rig, wire, handle = begun(*[3000] * 12, rig=rig)
    start = [entry.start for entry in wire.records]
    rig.receive(*super_frame_of(wire, 0, 10_000, 1400))
    rig.receive(*super_frame_of(wire, 20_000, 30_000, 1400))
    first, second = rig.packets()
    check(wire, first)
    check(wire, second)
    assert (first.mark, first.records) == ((DECRYPTED, handle, False), 3)
    assert second.mark == (AS_ON_WIRE, handle, True)
    event = rig.question()
    assert event.tcp_sequence == wire.sequence_at(min(at for at in start if at >= 20_000))
    rig.answer(event, wire)
    following = min(at for at in start if at >= 30_000)
    rig.receive(frame_of(wire, 30_000, following) if following > 30_000 else b"")
    rig.receive(*super_frame_of(wire, following, len(wire), 1400))
    rig.run(after_ns=1_000_000)
    assert [packet.state for packet in rig.packets()] == [AS_ON_WIRE, DECRYPTED]


def test_a_super_frame_goes_behind_what_is_held():
    rig, wire, handle = joining(16384, segments=64)
    rig.receive(frame_of(wire, 0, 700))
    rig.receive(*super_frame_of(wire, 700, 8000, 1400))
    rig.receive(frame_of(wire, 8000, 9000))
    rig.run(after_ns=1_000_000)
    packets = rig.packets()
    for packet in packets:
        check(wire, packet)
        assert packet.mark == (DECRYPTED, handle, False)
    assert [packet.sequence - wire.sequence for packet in packets] == [0, 700, 8000]


@pytest.mark.parametrize("offloads", [OFFLOADS, OFFLOADS | Offload.VLAN_STRIP], ids=str)
def test_super_frames_are_cut_when_nothing_is_joined(offloads):
    rig, wire, handle = begun(16384, 3000, rig=ReceiveRig(offloads=offloads))
    rig.receive(*super_frame_of(wire, 0, len(wire), 1400))
    packets = rig.packets()
    assert len(packets) == -(-len(wire) // 1400)
    for packet in packets:
        check(wire, packet)
        assert packet.mark == (DECRYPTED, handle, False)
        assert packet.completion.segments == 1
    assert sum(packet.records for packet in packets) == 2


def test_a_super_frame_with_more_segments_than_are_joined_is_cut():
    rig, wire, handle = joining(16384, 3000, segments=4)
    rig.receive(*super_frame_of(wire, 0, len(wire), 1400))
    rig.run(after_ns=1_000_000)
    packets = rig.packets()
    assert [packet.completion.segments for packet in packets] == [4, 4, 4, 2]
    for packet in packets:
        check(wire, packet)
        assert packet.mark == (DECRYPTED, handle, False)


def test_an_undone_checksum_is_no_bad_one():
    """A frame whose sender left the checksum to be done is as good as checked."""
    rig, wire, _ = begun(500, 500)
    frame, vnet = super_frame_of(wire, 0, 500, 0)
    frame = bytearray(frame)
    addresses = REMOTE[4] + LOCAL[4] + b"\0\6" + (520).to_bytes(2, "big")
    total = sum(int.from_bytes(addresses[at : at + 2], "big") for at in range(0, 12, 2))
    frame[50:52] = ((total & 0xFFFF) + (total >> 16)).to_bytes(2, "big")
    rig.receive(frame, vnet._replace(gso_type=0))
    packet = rig.packet()
    check(wire, packet)
    assert packet.state is DECRYPTED
    assert packet.frame[:54] == frame_of(wire, 0, 500)[:54]


# Batches


COUNTERS = [register.name for register in COUNTER_REGISTERS]
KINDS = ["good"] * 8 + ["lost", "twice", "damaged", "push", "forged", "late", "reset"]


class Batch:
    """Frames of some connections in bursts, with losses, repeats and damage, in one order.

    even: all but the last of a stream are of this size; None: of any. `options` are those of
    make_packet for all of them.
    """

    def __init__(self, seed, streams, kinds, even, **options):
        rng = random.Random(seed)
        self.ip_version = options.get("ip_version", 4)
        self.options = options
        self.wires = [
            stream_of(*sizes, seed=seed + port, case=case)
            for port, (sizes, case) in enumerate(streams)
        ]
        queues = [
            [(port, wire, *cut) for cut in self._cuts(len(wire), seed + port, even)]
            for port, wire in enumerate(self.wires)
        ]
        self.frames = []
        queue, burst = [], 0
        for at in itertools.count():
            queues = [left for left in queues if left]
            if not queues:
                break
            if not queue or not burst:
                queue, burst = rng.choice(queues), rng.randint(1, 12)
            self._add(kinds[at % len(kinds)], *queue.pop(0))
            burst -= 1

    def _cuts(self, length, seed, even):
        if even is None:
            return packets_of(length, seed, 900)
        return [(at, min(at + even, length)) for at in range(0, length, even)]

    def _add(self, kind, port, wire, begin, end):
        flags = {"push": ACK | PSH, "reset": ACK | RST}.get(kind, ACK)
        payload = wire.wire[begin:end]
        payload[-1] ^= kind == "forged"
        frame = make_packet(
            wire.sequence_at(begin), payload, local_port=port, flags=flags,
            bad_tcp=kind == "damaged", **self.options,
        )  # fmt: skip
        self.frames += {"lost": [], "twice": [frame, frame]}.get(kind, [frame])
        if kind == "late":
            self.frames[-2:] = self.frames[:-3:-1]

    def run(self, sizes, coalesce, buffers):
        """In batches of these sizes. All that the host can see."""
        rig = ReceiveRig(coalesce=coalesce, buffers=buffers)
        handles = [
            rig.receive_flow(Wire(wire.case, seed=wire.seed), local_port=port, tag=bool(port % 2))
            for port, wire in enumerate(self.wires)
        ]
        left = [(frame, None) for frame in self.frames]
        for size in itertools.cycle(sizes):
            rig.nic.receive(left[:size], rig.now_ns)
            del left[:size]
            if not left:
                break
        rig.run(after_ns=1_000_000)
        states = list(map(rig.state_of, handles))
        counters = {name: rig.counter(name) for name in COUNTERS}
        return rig.packets(), rig.told(), rig.diagnostics, states, counters


BATCHES = {
    "seed": st.integers(0, 1 << 20),
    "streams": st.lists(
        st.tuples(
            st.lists(st.sampled_from([1, 60, 700, 2500]), min_size=1, max_size=6),
            st.sampled_from(AEAD),
        ),
        min_size=1,
        max_size=3,
    ),
    "kinds": st.lists(st.sampled_from(KINDS), min_size=1, max_size=17),
    "sizes": st.lists(st.integers(1, 64), min_size=1, max_size=4),
    "buffers": st.sampled_from([127, 127, 20]),
    "options": st.sampled_from([{}, {}, {"ip_version": 6}, {"options": TIMESTAMP}]),
}


def check_batch(batch, kinds, sizes, coalesce, buffers):
    alone = batch.run([1], coalesce, buffers)
    assert batch.run(sizes, coalesce, buffers) == alone
    assert batch.run([1000], coalesce, buffers) == alone
    for packet in alone[0]:
        if "forged" not in kinds:
            check(batch.wires[packet.local_port], packet)


@settings(max_examples=40, deadline=None)
@given(coalesce=st.sampled_from([None, 2, 16]), **BATCHES)
def test_batches_are_frames_one_by_one(seed, streams, kinds, sizes, coalesce, buffers, options):
    batch = Batch(seed, streams, kinds, None, **options)
    check_batch(batch, kinds, sizes, coalesce, buffers)


def run_with(kind):
    """A batch of even packets, every eighth of this kind."""
    return example(
        seed=1, streams=[([2500] * 4, AEAD[0])], kinds=["good"] * 7 + [kind], sizes=[64],
        even=333, buffers=127, options={},
    )  # fmt: skip


@run_with("reset")
@run_with("forged")
@run_with("lost")
@run_with("damaged")
@settings(max_examples=50, deadline=None)
@given(even=st.sampled_from([100, 333, 1000]), **BATCHES)
def test_batches_of_one_size_are_frames_one_by_one(
    seed, streams, kinds, sizes, even, buffers, options
):
    batch = Batch(seed, streams, kinds, even, **options)
    check_batch(batch, kinds, sizes, None, buffers)


def test_a_batch_is_decrypted_as_a_whole():
    rig, wire, _ = begun(*[500] * 20)
    frames = [(frame_of(wire, at, min(at + 700, len(wire))), None)
              for at in range(0, len(wire), 700)]  # fmt: skip
    rig.nic.receive(frames, rig.now_ns)
    packets = rig.packets()
    assert b"".join(packet.payload for packet in packets) == wire.plain
    assert {packet.state for packet in packets} == {DECRYPTED}
    assert sum(packet.records for packet in packets) == 20


def test_a_run_that_is_longer_than_the_card_s_memory_for_it_is_cut(monkeypatch):
    monkeypatch.setattr(receive, "MAX_RUN_BYTES", 1500)
    test_a_batch_is_decrypted_as_a_whole()
