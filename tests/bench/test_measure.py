"""Rows, ratios and targets; no test here depends on how long anything takes."""

import json
import os
import time

import pytest
from bench import report
from bench.frames import CARD_MAC, PEER_MAC, tcp_frame
from bench.measure import (
    COST,
    SHARE,
    SPEED,
    Effort,
    Row,
    Samples,
    Target,
    interleave,
    process_cpu_s,
    repeat,
)
from rich.console import Console
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether


def test_measures_run_in_turn_and_the_first_round_is_not_counted():
    calls = []
    numbers = iter([100.0, 1.0, 3.0, 2.0])

    def candidate():
        calls.append("candidate")
        return next(numbers)

    def baseline():
        calls.append("baseline")
        return 4.0

    samples = interleave(3, {"candidate": candidate, "baseline": baseline})
    assert calls == ["candidate", "baseline"] * 4
    assert samples.median("candidate") == 2.0


def test_derived_numbers_belong_to_their_round():
    numbers = iter([0.0, 1.0, 2.0, 3.0])
    samples = interleave(3, {"a": lambda: next(numbers)}, lambda taken: {"b": taken["a"] * 10})
    assert samples.median("b") == 20.0
    assert samples.ratio("b", "a", COST) == 10.0


def test_the_ratio_is_taken_within_each_round():
    # The machine became ten times slower in the second round, for both alike.
    samples = Samples([{"a": 2.0, "b": 1.0}, {"a": 20.0, "b": 10.0}, {"a": 2.0, "b": 1.0}])
    assert samples.ratio("a", "b", COST) == 2.0
    assert samples.ratio("a", "b", SHARE) == 2.0
    assert samples.ratio("a", "b", SPEED) == 0.5


@pytest.mark.parametrize(
    ("value", "ratio", "target", "met"),
    [
        (1.0, 0.25, Target(0.25), True),
        (1.0, 0.24, Target(0.25), False),
        (1.0, 12.0, Target(12, at_most=True), True),
        (1.0, 12.1, Target(12, at_most=True), False),
        (151.0, None, Target(150, at_most=True), False),
        (149.0, None, Target(150, at_most=True), True),
        (1.0, 0.5, None, None),
    ],
)
def test_a_target_is_for_the_ratio_or_else_the_value(value, ratio, target, met):
    assert Row("name", "what", value, "µs", ratio=ratio, target=target).met is met


def test_effort_scales_to_whole_steps_and_never_to_nothing():
    assert Effort(scale=0.5).count(4096, 256) == 2048
    assert Effort(scale=0.0001).count(4096, 256) == 256
    assert Effort(scale=0.0001).count(2000) == 1


def test_repeat_calls_as_often_as_it_says():
    calls = []
    assert repeat(5, lambda: calls.append(1)) >= 0
    assert len(calls) == 5


def test_cpu_time_of_a_process_is_its_own():
    before_s = time.process_time()
    assert before_s <= process_cpu_s(os.getpid()) <= time.process_time()


def test_the_table_shows_what_was_missed():
    rows = [
        Row("a.b", "fast", 2.0, "µs", 1.0, "copying", SPEED, 0.5, Target(0.25)),
        Row("c", "slow", 26.0, "µs", 2.0, "reading", COST, 13.0, Target(12, at_most=True)),
        Row("d", "big", 10.0, "MiB", target=Target(150, at_most=True)),
        Row("e", "part", 1.0, "µs", 4.0, "a.b", SHARE, 0.25),
    ]
    console = Console(width=120, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    with console.file:
        report.show(rows, console)
    a, c, d, e = console.export_text().splitlines()[1:5]
    assert a.split() == ["a.b", "fast", "2.00", "µs", "1.00", "µs", "50.0%", "≥", "25%", "met"]
    assert c.split() == [
        "c",
        "slow",
        "26.00",
        "µs",
        "2.00",
        "µs",
        "13.00",
        "×",
        "≤",
        "12",
        "×",
        "missed",
    ]
    assert d.split() == ["d", "big", "10.00", "MiB", "≤", "150", "MiB", "met"]
    assert e.split() == ["e", "part", "1.00", "µs", "4.00", "µs", "25.0%"]


def test_the_json_has_every_row(tmp_path):
    path = tmp_path / "figures.json"
    report.save([Row("a", "what", 2.0, "µs", 1.0, "b", SPEED, 0.5, Target(0.6))], path)
    (row,) = json.loads(path.read_text())["rows"]
    assert row["name"] == "a"
    assert row["ratio"] == 0.5
    assert row["met"] is False


@pytest.mark.parametrize("length", [60, 1448, 65536 - 1])
def test_frames_are_what_scapy_makes_of_them(length):
    data = tcp_frame(PEER_MAC, CARD_MAC, length)
    assert len(data) == length
    frame = Ether(data)
    sums = frame[IP].chksum, frame[TCP].chksum
    del frame[IP].chksum, frame[TCP].chksum
    again = Ether(bytes(frame))
    assert (again[IP].chksum, again[TCP].chksum) == sums
    assert frame[IP].len == length - 14
