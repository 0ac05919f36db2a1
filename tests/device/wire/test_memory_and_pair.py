"""Wires inside one process: memory, null and pair."""

from __future__ import annotations

import pytest

from tlsnic.device.wire import (
    MAX_FRAME_BYTES,
    MemoryWire,
    NullWire,
    PairWire,
    SentFrame,
    VnetHeader,
    Wire,
    WireEventKind,
    open_pair,
)

SUPER = VnetHeader(flags=1, gso_type=1, hdr_len=54, gso_size=1448, csum_start=34, csum_offset=16)
Received = list[tuple[bytes, VnetHeader | None]]


def collect(wire: Wire, budget: int = 100) -> Received:
    frames: Received = []
    count = wire.receive(lambda view, vnet: frames.append((bytes(view), vnet)), budget, 0)
    assert count == len(frames)
    return frames


def test_memory_wire_keeps_what_is_sent_and_copies_it() -> None:
    wire = MemoryWire(takes_super_frames=True)
    buffer = bytearray(b"abc")
    assert wire.send((buffer, memoryview(b"def")), SUPER, 7)
    buffer[:] = b"xyz"
    assert wire.sent == [SentFrame(b"abcdef", SUPER, 7)]


def test_memory_wire_gives_injected_frames_in_order_within_the_budget() -> None:
    wire = MemoryWire()
    assert wire.next_deadline_ns() is None
    for frame in (b"1", b"2", b"3"):
        wire.inject(frame, SUPER)
    assert wire.next_deadline_ns() == 0
    assert collect(wire, 2) == [(b"1", SUPER), (b"2", SUPER)]
    assert collect(wire, 2) == [(b"3", SUPER)]
    assert wire.next_deadline_ns() is None
    assert (wire.counters.rx_frames, wire.counters.rx_bytes) == (3, 3)


def test_memory_wire_blocks_and_loses_its_link_on_demand() -> None:
    wire = MemoryWire()
    wire.blocked = True
    assert wire.wants_write
    assert not wire.send((b"x",), None, 0)
    wire.blocked = False
    wire.set_link(False)
    wire.set_link(False)
    assert wire.send((b"x",), None, 0)
    assert wire.sent == []
    assert wire.counters.tx_dropped_link_down == 1
    assert [event.kind for event in wire.events] == [WireEventKind.LINK_DOWN]


def test_null_wire_counts_and_never_receives() -> None:
    wire = NullWire()
    assert wire.takes_super_frames
    assert wire.send((bytes(54), bytes(65000)), SUPER, 0)
    assert (wire.counters.tx_frames, wire.counters.tx_bytes) == (1, 65054)
    assert collect(wire) == []
    assert wire.next_deadline_ns() is None
    assert wire.fileno() is None


@pytest.mark.parametrize("wire", [MemoryWire(), NullWire(), open_pair()[0]])
@pytest.mark.parametrize("length", [0, MAX_FRAME_BYTES + 1])
def test_impossible_frames_are_refused_everywhere(wire: Wire, length: int) -> None:
    with pytest.raises(ValueError, match="a frame has"):
        wire.send((bytes(length),), None, 0)


def test_pair_carries_super_frames_both_ways_and_copies_them() -> None:
    one, two = open_pair()
    buffer = bytearray(b"first")
    assert one.send((buffer,), SUPER, 0)
    buffer[:] = b"later"
    assert two.send((b"sec", b"ond"), None, 0)
    assert (one.next_deadline_ns(), two.next_deadline_ns()) == (0, 0)
    assert collect(two) == [(b"first", SUPER)]
    assert collect(one) == [(b"second", None)]
    assert (one.next_deadline_ns(), two.next_deadline_ns()) == (None, None)


def test_pair_refuses_when_full_and_is_due_when_there_is_room() -> None:
    one, two = open_pair(queue_frames=2)
    assert one.send((b"1",), None, 0)
    assert one.send((b"2",), None, 0)
    assert one.wants_write
    assert not one.send((b"3",), None, 0)
    assert one.next_deadline_ns() is None
    assert collect(two, 1) == [(b"1", None)]
    assert not one.wants_write
    assert one.next_deadline_ns() == 0
    assert one.send((b"3",), None, 0)
    assert one.next_deadline_ns() is None
    assert collect(two) == [(b"2", None), (b"3", None)]


def test_pair_without_super_frames_refuses_the_header() -> None:
    one, _ = open_pair(super_frames=False)
    assert not one.takes_super_frames
    with pytest.raises(ValueError, match="virtio-net"):
        one.send((b"x",), SUPER, 0)


def test_pair_end_can_forbid_the_other_to_send_super_frames() -> None:
    one, two = open_pair()
    two.set_receive_super_frames(False)
    assert not one.takes_super_frames
    assert two.takes_super_frames
    two.set_receive_super_frames(True)
    assert one.takes_super_frames


def test_closing_one_end_takes_the_link_of_the_other_down() -> None:
    one, two = open_pair()
    assert isinstance(two, PairWire)
    one.send((b"under way",), None, 0)
    one.close()
    one.close()
    assert not two.link_up
    assert [event.name for event in two.events] == ["peer-closed"]
    assert collect(two) == [(b"under way", None)]
    assert two.send((b"x",), None, 0)
    assert two.counters.tx_dropped_link_down == 1
    two.close()
