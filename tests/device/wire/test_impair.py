"""The impairment stage: what each kind does, that kinds leave each other alone, repeatability."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlsnic.device.wire import (
    DROP,
    NO_IMPAIRMENTS,
    PASS,
    Impairments,
    ImpairmentStage,
    MemoryWire,
    Verdict,
    VnetHeader,
    open_pair,
)

MS = 10**6


def frame(number: int, length: int = 60) -> bytes:
    return number.to_bytes(4, "big") * (length // 4)


def number_of(data: bytes) -> int:
    """Which frame it was, by majority, so that a flipped bit does not matter."""
    words = Counter(data[at : at + 4] for at in range(0, len(data), 4))
    return int.from_bytes(words.most_common(1)[0][0], "big")


def send_all(
    settings: Impairments, count: int, *, seed: int = 1, step_ns: int = 1000
) -> tuple[ImpairmentStage, list[bytes]]:
    """Send frames 0, 1, …, let everything come due, and return what arrived at the wire."""
    inner = MemoryWire()
    stage = ImpairmentStage(inner, seed=seed, tx=settings)
    for number in range(count):
        assert stage.send((frame(number),), None, number * step_ns)
    run_until_idle(stage, count * step_ns)
    return stage, [sent.data for sent in inner.sent]


def run_until_idle(stage: ImpairmentStage, now_ns: int) -> None:
    while (due_ns := stage.next_deadline_ns()) is not None:
        now_ns = max(now_ns, due_ns)
        stage.flush(now_ns)


def receive_all(settings: Impairments, count: int, *, seed: int = 1) -> list[bytes]:
    inner = MemoryWire()
    stage = ImpairmentStage(inner, seed=seed, rx=settings)
    got: list[bytes] = []
    for number in range(count):
        inner.inject(frame(number))
        stage.receive(lambda view, _: got.append(bytes(view)), 10, number * 1000)
    now_ns = count * 1000
    while (due_ns := stage.next_deadline_ns()) is not None:
        now_ns = max(now_ns, due_ns)
        stage.receive(lambda view, _: got.append(bytes(view)), 10, now_ns)
    return got


def test_without_impairments_everything_passes_at_once_and_unchanged() -> None:
    inner = MemoryWire(takes_super_frames=True)
    stage = ImpairmentStage(inner)
    header = VnetHeader(gso_type=1)
    assert stage.takes_super_frames
    assert stage.send((b"a", b"b"), header, 3)
    assert inner.sent == [(b"ab", header, 3)]
    inner.inject(b"in", header)
    got = []
    assert stage.receive(lambda view, vnet: got.append((bytes(view), vnet)), 10, 4) == 1
    assert got == [(b"in", header)]
    assert stage.next_deadline_ns() is None


@pytest.mark.parametrize("probability", [0.0, 0.05, 0.5, 1.0])
def test_loss_has_the_asked_frequency(probability: float) -> None:
    stage, got = send_all(Impairments(loss=probability), 2000)
    lost = 2000 - len(got)
    assert stage.tx_counters.lost == lost
    assert abs(lost - 2000 * probability) <= 4 * (2000 * probability * (1 - probability)) ** 0.5
    assert [number_of(data) for data in got] == sorted(number_of(data) for data in got)


def test_duplicates_follow_their_original() -> None:
    stage, got = send_all(Impairments(duplicate=0.2), 500)
    numbers = [number_of(data) for data in got]
    assert numbers == sorted(numbers)
    assert len(got) == 500 + stage.tx_counters.duplicated
    assert set(Counter(numbers).values()) == {1, 2}
    assert 60 < stage.tx_counters.duplicated < 140


def test_corruption_flips_exactly_one_bit_anywhere_in_the_frame() -> None:
    stage, got = send_all(Impairments(corrupt=0.5), 2000)
    assert len(got) == 2000
    bits = []
    for number, data in enumerate(got):
        difference = int.from_bytes(data, "little") ^ int.from_bytes(frame(number), "little")
        if difference:
            assert difference.bit_count() == 1
            bits.append(difference.bit_length() - 1)
    assert len(bits) == stage.tx_counters.corrupted
    assert 900 < len(bits) < 1100
    # 480 bit positions, about 1000 throws: every byte of the frame is hit.
    assert {bit // 8 for bit in bits} == set(range(60))


def test_reordered_frames_are_overtaken_by_the_gap_and_none_is_lost() -> None:
    stage, got = send_all(Impairments(reorder=0.1, reorder_gap=3), 1000)
    numbers = [number_of(data) for data in got]
    assert sorted(numbers) == list(range(1000))
    assert numbers != sorted(numbers)
    late = [n for at, n in enumerate(numbers) if any(m > n for m in numbers[:at])]
    # The last held frames may run out of followers; they are then not reordered.
    assert len(late) == stage.tx_counters.reordered


def test_reorder_moves_one_frame_behind_exactly_its_gap() -> None:
    rule = {2: Verdict(overtaken_by=3)}
    _, got = send_all(Impairments(rule=lambda index, _: rule.get(index, PASS)), 8)
    assert [number_of(data) for data in got] == [0, 1, 3, 4, 5, 2, 6, 7]


def test_held_frame_goes_after_the_hold_time_if_nothing_follows() -> None:
    inner = MemoryWire()
    stage = ImpairmentStage(inner, tx=Impairments(reorder=1.0, hold_ns=5 * MS))
    stage.send((frame(7),), None, 100)
    assert stage.next_deadline_ns() == 5 * MS + 100
    stage.flush(5 * MS + 99)
    assert inner.sent == []
    stage.flush(5 * MS + 100)
    assert [sent.data for sent in inner.sent] == [frame(7)]
    assert stage.tx_counters.reordered == 0
    assert stage.next_deadline_ns() is None


def test_delay_holds_each_frame_for_its_time() -> None:
    inner = MemoryWire()
    stage = ImpairmentStage(inner, tx=Impairments(delay_ns=10 * MS))
    stage.send((frame(1),), None, 0)
    stage.send((frame(2),), None, 1 * MS)
    assert inner.sent == []
    assert stage.next_deadline_ns() == 10 * MS
    run_until_idle(stage, 0)
    assert [(sent.data, sent.at_ns) for sent in inner.sent] == [
        (frame(1), 10 * MS),
        (frame(2), 11 * MS),
    ]


def test_jitter_keeps_the_order_and_the_bounds() -> None:
    settings = Impairments(delay_ns=1000, jitter_ns=5000)
    # Far apart: each frame shows its own delay.
    stage = ImpairmentStage(inner := MemoryWire(), tx=settings)
    for number in range(200):
        stage.send((frame(number),), None, number * 20_000)
        run_until_idle(stage, number * 20_000)
    waits = [sent.at_ns - number * 20_000 for number, sent in enumerate(inner.sent)]
    assert min(waits) >= 1000
    assert max(waits) <= 6000
    assert max(waits) - min(waits) > 4000
    # Close together: a frame with a short delay waits for the one ahead of it.
    _, got = send_all(settings, 200, step_ns=100)
    assert [number_of(data) for data in got] == list(range(200))


def test_rate_spaces_frames_by_their_time_on_an_ethernet() -> None:
    inner = MemoryWire()
    stage = ImpairmentStage(inner, tx=Impairments(rate_bit_per_s=100_000_000))
    for number in range(3):
        stage.send((frame(number, 1000),), None, 0)
    run_until_idle(stage, 0)
    each_ns = (1000 + 24) * 8 * 10
    assert [sent.at_ns for sent in inner.sent] == [each_ns, 2 * each_ns, 3 * each_ns]


def test_full_lane_loses_the_newest_frames_and_counts_them() -> None:
    stage, got = send_all(Impairments(delay_ns=10**9, queue_frames=5), 8, step_ns=1)
    assert [number_of(data) for data in got] == [0, 1, 2, 3, 4]
    assert stage.tx_counters.overflowed == 3


def test_listed_frames_are_dropped_and_counting_restarts_with_new_settings() -> None:
    inner = MemoryWire()
    stage = ImpairmentStage(inner, tx=Impairments(drop={0, 2}))
    for number in range(4):
        stage.send((frame(number),), None, 0)
    stage.impair(tx=Impairments(drop={1}))
    for number in range(4, 7):
        stage.send((frame(number),), None, 0)
    assert [number_of(sent.data) for sent in inner.sent] == [1, 3, 4, 6]
    assert stage.tx_counters.lost == 3


def test_rule_sees_the_frame_and_decides_or_leaves_it_to_chance() -> None:
    def rule(index: int, data: memoryview) -> Verdict | None:
        number = number_of(bytes(data))
        if number == 1:
            return DROP
        if number == 2:
            return Verdict(copies=3)
        if number == 3:
            return Verdict(flip_bit=8)
        return PASS if index < 5 else None

    stage, got = send_all(Impairments(rule=rule, loss=1.0), 7)
    flipped = bytearray(frame(3))
    flipped[1] ^= 1
    assert got == [frame(0), frame(2), frame(2), frame(2), bytes(flipped), frame(4)]
    assert dataclasses.asdict(stage.tx_counters) == {
        "frames": 7,
        "lost": 3,
        "corrupted": 1,
        "duplicated": 2,
        "reordered": 0,
        "delayed": 0,
        "overflowed": 0,
        "super_frames": 0,
    }


ALL = {
    "loss": 0.1,
    "corrupt": 0.1,
    "duplicate": 0.1,
    "reorder": 0.1,
    "delay_ns": 3000,
    "jitter_ns": 2000,
}


def test_same_seed_gives_the_same_result_and_another_seed_another() -> None:
    settings = Impairments(**ALL)
    first = send_all(settings, 500, seed=5)[1]
    assert first == send_all(settings, 500, seed=5)[1]
    assert first != send_all(settings, 500, seed=6)[1]


def test_directions_have_their_own_randomness() -> None:
    settings = Impairments(loss=0.5)
    sent = send_all(settings, 200)[1]
    received = receive_all(settings, 200)
    assert sent != received
    assert 60 < len(received) < 140


@pytest.mark.parametrize("other", sorted(set(ALL) - {"loss"}))
def test_switching_one_kind_on_leaves_the_losses_as_they_were(other: str) -> None:
    extra: dict[str, Any] = {other: ALL[other]}
    alone = {number_of(data) for data in send_all(Impairments(loss=0.3), 400)[1]}
    both = {number_of(data) for data in send_all(Impairments(loss=0.3, **extra), 400)[1]}
    assert alone == both


def test_choices_of_a_kind_do_not_depend_on_when_others_were_on() -> None:
    def run(early: Impairments) -> list[bytes]:
        inner = MemoryWire()
        stage = ImpairmentStage(inner, seed=3, tx=early)
        for number in range(100):
            stage.send((frame(number),), None, 0)
        inner.sent.clear()
        stage.impair(tx=Impairments(corrupt=0.5))
        for number in range(100):
            stage.send((frame(number),), None, 0)
        return [sent.data for sent in inner.sent]

    assert run(NO_IMPAIRMENTS) == run(Impairments(loss=0.9, duplicate=0.5))


@given(
    seed=st.integers(0, 1000),
    settings=st.builds(
        Impairments,
        loss=st.floats(0, 1),
        duplicate=st.floats(0, 1),
        reorder=st.floats(0, 1),
        reorder_gap=st.integers(1, 5),
        jitter_ns=st.integers(0, 10_000),
    ),
    polls=st.lists(st.integers(0, 99), max_size=20),
)
def test_every_frame_is_accounted_for_however_often_the_loop_turns(
    seed: int,
    settings: Impairments,
    polls: list[int],
) -> None:
    def run(extra_turns: list[int]) -> tuple[ImpairmentStage, list[int]]:
        inner = MemoryWire()
        stage = ImpairmentStage(inner, seed=seed, tx=settings)
        for number in range(100):
            if number in extra_turns:
                stage.flush(number * 100)
            stage.send((frame(number),), None, number * 100)
        run_until_idle(stage, 10_000)
        return stage, [number_of(sent.data) for sent in inner.sent]

    stage, numbers = run(polls)
    assert numbers == run([])[1]
    counters = stage.tx_counters
    assert counters.frames == 100
    assert len(numbers) == 100 - counters.lost + counters.duplicated
    assert len(set(numbers)) == 100 - counters.lost


def test_receiving_respects_the_budget_and_says_that_more_is_due() -> None:
    inner = MemoryWire()
    stage = ImpairmentStage(inner, rx=Impairments(duplicate=1.0))
    for number in range(3):
        inner.inject(frame(number))
    got: list[int] = []
    for _ in range(3):
        assert (due := stage.next_deadline_ns()) is not None
        assert due <= 5
        count = stage.receive(lambda view, _: got.append(number_of(bytes(view))), 2, 5)
        assert count == 2
    assert got == [0, 0, 1, 1, 2, 2]
    assert stage.next_deadline_ns() is None


def test_blocked_wire_refuses_without_using_up_a_choice() -> None:
    settings = Impairments(loss=0.5)
    expected = send_all(settings, 100)[1]
    inner = MemoryWire()
    stage = ImpairmentStage(inner, seed=1, tx=settings)
    for number in range(100):
        inner.blocked = True
        assert stage.wants_write
        assert not stage.send((frame(number),), None, 0)
        inner.blocked = False
        assert stage.send((frame(number),), None, 0)
    assert [sent.data for sent in inner.sent] == expected


def test_delayed_frames_wait_for_a_blocked_wire_without_spinning() -> None:
    inner = MemoryWire()
    stage = ImpairmentStage(inner, tx=Impairments(delay_ns=10))
    stage.send((frame(1),), None, 0)
    inner.blocked = True
    stage.flush(20)
    assert inner.sent == []
    assert stage.next_deadline_ns() is None
    inner.blocked = False
    stage.flush(30)
    assert [sent.at_ns for sent in inner.sent] == [30]


def test_switching_a_delay_off_does_not_let_frames_overtake() -> None:
    inner = MemoryWire()
    stage = ImpairmentStage(inner, tx=Impairments(delay_ns=100))
    stage.send((frame(1),), None, 0)
    stage.impair(tx=NO_IMPAIRMENTS)
    stage.send((frame(2),), None, 10)
    assert inner.sent == []
    run_until_idle(stage, 10)
    stage.send((frame(3),), None, 200)
    assert [number_of(sent.data) for sent in inner.sent] == [1, 2, 3]


@pytest.mark.parametrize(
    "settings",
    [
        Impairments(loss=0.1),
        Impairments(corrupt=0.1),
        Impairments(duplicate=0.1),
        Impairments(reorder=0.1),
        Impairments(drop={3}),
        Impairments(rule=lambda index, data: None),
    ],
)
def test_super_frames_stop_in_the_direction_where_frames_are_told_apart(
    settings: Impairments,
) -> None:
    inner = MemoryWire(takes_super_frames=True)
    stage = ImpairmentStage(inner, tx=settings)
    assert not stage.takes_super_frames
    assert inner.receive_super_frames
    stage.impair(tx=NO_IMPAIRMENTS, rx=settings)
    assert stage.takes_super_frames
    assert not inner.receive_super_frames
    stage.set_receive_super_frames(True)
    assert not inner.receive_super_frames
    stage.impair(rx=Impairments(delay_ns=5))
    assert inner.receive_super_frames
    stage.set_receive_super_frames(False)
    assert not inner.receive_super_frames


def test_impaired_end_of_a_pair_makes_the_other_end_cut_its_frames() -> None:
    one, two = open_pair()
    with one, ImpairmentStage(two, rx=Impairments(loss=0.5)):
        assert not one.takes_super_frames


def test_super_frame_under_way_counts_and_passes_as_one() -> None:
    inner = MemoryWire(takes_super_frames=True)
    stage = ImpairmentStage(inner, tx=Impairments(drop={5}))
    header = VnetHeader(gso_type=4, gso_size=1448)
    stage.send((bytes(60_000),), header, 0)
    assert inner.sent == [(bytes(60_000), header, 0)]
    assert stage.tx_counters.super_frames == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"loss": -0.1},
        {"corrupt": 1.1},
        {"duplicate": float("nan")},
        {"delay_ns": -1},
        {"reorder_gap": 0},
        {"queue_frames": 0},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Impairments(**wrong)


def test_impossible_frames_are_refused_before_they_enter_the_lane() -> None:
    stage = ImpairmentStage(MemoryWire(), tx=Impairments(delay_ns=5))
    with pytest.raises(ValueError, match="a frame has"):
        stage.send((b"",), None, 0)
    assert stage.tx_counters.frames == 0
