"""The loss experiment: what is counted, on losses made by hand, and what a device may not get away with."""

from types import SimpleNamespace

import pytest
from bench.loss import ANY, BOTH, HOST, LOSSES, MODES, ROUND_TRIPS, TAG, Experiment, LossRow
from bench.loss_report import explain, plot, show
from bench.loss_traffic import (
    MSS,
    Fates,
    Host,
    Shares,
    Stream,
    WrongPlaintext,
    account,
    arrivals,
    cut,
)
from bench.measure import SHARE, Target
from rich.console import Console

from tlsnic.abi.enums import TlsRxState

AS_ON_WIRE, DECRYPTED = int(TlsRxState.AS_ON_WIRE), int(TlsRxState.DECRYPTED)
SEQUENCE = 0xFFFF_FF00
"""Wraps within the first segment."""


class Scripted:
    """Stands for random.Random: loses the transmissions with these indices."""

    def __init__(self, *lost):
        self.lost, self.sent = lost, -1

    def random(self):
        self.sent += 1
        return 0.0 if self.sent in self.lost else 1.0


class Card:
    """Decrypts the segments that it is told to, by what the stream shows, and asks when told to."""

    def __init__(self, stream, starts, decrypts=(), asks=None):
        self.stream, self.starts, self.decrypts = stream, starts, decrypts
        self.asks = asks or {}
        self.answers = []

    def take(self, sequence, payload, out, now_ns, timeout_ns):
        begin = (sequence - SEQUENCE) & 0xFFFF_FFFF
        segment = self.starts.index(begin)
        assert payload == self.stream.wire[begin : begin + len(payload)]
        question = None
        if segment in self.asks:
            place = self.asks[segment] + SEQUENCE & 0xFFFF_FFFF
            question = SimpleNamespace(sequence=place, number=segment)
        if segment not in self.decrypts:
            return SimpleNamespace(state=AS_ON_WIRE, question=question)
        out[: len(payload)] = self.decrypts[segment](begin, begin + len(payload))
        return SimpleNamespace(state=DECRYPTED, question=question)

    def answer(self, question, sequence, found, record_number):
        place = sequence - SEQUENCE & 0xFFFF_FFFF
        self.answers.append((question, place, found, record_number if found else None))
        return True


def test_segments_begin_where_they_are_cut():
    assert cut(3 * MSS, MSS) == [0, MSS, 2 * MSS, 3 * MSS]
    assert cut(2 * MSS + 1, 1) == [0, 1, MSS + 1, 2 * MSS + 1]


def test_nothing_lost_comes_in_order():
    assert list(arrivals(4, 0.5, 20, Scripted())) == [0, 1, 2, 3]


def test_what_is_lost_comes_again_one_round_trip_later():
    # Segment 1 is lost at step 1, and its retransmission at step 4 too.
    assert list(arrivals(7, 0.5, 3, Scripted(1, 4))) == [0, None, 2, 3, None, 4, 5, 1, 6]


def test_the_sender_waits_when_there_is_nothing_new():
    assert list(arrivals(2, 0.5, 3, Scripted(1))) == [0, None, None, None, 1]


@pytest.mark.parametrize(
    ("states", "late", "fully", "partly", "whole"),
    [
        # Records of 100 bytes: segments 0 to 3, 3 to 5, 5 to 7. Numbers 3 and 5 belong to two each.
        ("DDDDDDDD", "00000000", 3, 0, 3),
        ("WDDDDDDD", "10000000", 2, 1, 2),
        ("DDDWDDDD", "00010000", 1, 2, 1),
        ("WWWWDDDD", "01000000", 1, 1, 2),
        ("WWWWWWWD", "00010010", 0, 1, 0),
        ("WWWWWWWW", "00000000", 0, 0, 3),
    ],
)
def test_records_are_counted_by_their_segments(states, late, fully, partly, whole):
    starts = [0, 30, 60, 90, 120, 190, 220, 290, 300]
    fates = Fates(
        starts,
        bytearray(DECRYPTED if state == "D" else AS_ON_WIRE for state in states),
        bytearray(int(mark) for mark in late),
    )
    assert account(fates, 100, 0, 3) == Shares(3, fully, partly, whole, 4 + 3 + 3)


def test_a_record_that_ends_with_a_segment_does_not_touch_the_next():
    fates = Fates(
        [0, 50, 100, 150, 200], bytearray([DECRYPTED] * 2 + [AS_ON_WIRE] * 2), bytearray(4)
    )
    assert account(fates, 100, 0, 2) == Shares(2, 1, 0, 2, 4)


def test_records_before_the_first_counted_do_not_matter():
    fates = Fates([0, 100, 200], bytearray([AS_ON_WIRE, DECRYPTED]), bytearray([1, 0]))
    assert account(fates, 100, 1, 2) == Shares(1, 1, 0, 1, 1)


def test_the_host_answers_when_the_stream_is_in_order_up_to_the_question():
    stream = Stream(2, 4 * MSS)
    starts = cut(len(stream.wire), MSS)
    second = stream.record_bytes
    card = Card(stream, starts, asks={second // MSS: second})
    host = Host(stream, starts, card, SEQUENCE)
    for segment in (0, 2, 3, 4, 5):
        host.arrive(segment, 0)
    assert card.answers == []
    assert host.in_order_bytes == MSS
    host.arrive(1, 0)
    assert card.answers == [(4, second, True, 1)]
    assert host.in_order_bytes == 6 * MSS
    assert bytes(host.fates.late) == bytes([0, 1] + [0] * (len(starts) - 3))


def test_the_host_does_not_answer_before_the_whole_header_came():
    stream = Stream(2, MSS)
    second = stream.record_bytes
    starts = [0, 1000, second + 4, len(stream.wire)]
    card = Card(stream, starts, asks={1: second})
    host = Host(stream, starts, card, SEQUENCE)
    host.arrive(0, 0)
    host.arrive(1, 0)
    assert card.answers == []
    host.arrive(2, 0)
    assert card.answers == [(1, second, True, 1)]


def test_the_host_says_that_no_record_is_where_none_is():
    stream = Stream(1, MSS)
    starts = cut(len(stream.wire), MSS)
    card = Card(stream, starts, asks={0: 77})
    Host(stream, starts, card, SEQUENCE).arrive(0, 0)
    assert card.answers == [(0, 77, False, None)]


def test_a_packet_marked_decrypted_must_hold_the_plaintext():
    stream = Stream(1, 2 * MSS)
    starts = cut(len(stream.wire), MSS)
    right = Card(stream, starts, {0: lambda begin, end: stream.shown[begin:end]})
    Host(stream, starts, right, SEQUENCE).arrive(0, 0)
    wrong = Card(stream, starts, {0: lambda begin, end: stream.wire[begin:end]})
    with pytest.raises(WrongPlaintext, match="segment 0"):
        Host(stream, starts, wrong, SEQUENCE).arrive(0, 0)


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_without_loss_every_record_is_decrypted(mode):
    row = Experiment(4, warm_up=0, flows=3).row(mode, 0.0, ANY)
    assert row.shares.records == row.shares.fully == row.shares.whole == 12
    assert (row.value, row.partly, row.bound) == (100.0, 0.0, 100.0)
    assert not any(row.counters.values())


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_under_loss_no_record_that_lost_a_segment_counts_as_whole(mode):
    row = Experiment(24, warm_up=1, flows=4).row(mode, 0.05, 20)
    assert 0 < row.shares.fully <= row.shares.whole < row.shares.records == 96
    assert 0 < row.shares.partly <= row.shares.records - row.shares.fully
    asked, settled = row.counters["rx_tls_resync_req_start"], row.counters["rx_tls_resync_tag"]
    assert (asked > 0) is mode.host
    assert (settled > 0) is mode.tag
    again = Experiment(24, warm_up=1, flows=4).row(mode, 0.05, 20)
    assert again == row


def made_up(mode, loss, round_trip, fully=500, met=None):
    """A row of 1000 records that touch 12.33 segments each."""
    shares = Shares(1000, fully, 100, 600, 12330)
    target = None if met is None else Target(0 if met else 2)
    return LossRow(
        f"loss.{mode.name}.{round_trip}.{loss}", "what", fully / 10, "%", 100.0, "bound", SHARE,
        fully / 1000, target, mode, loss, round_trip, shares,
    )  # fmt: skip


def test_the_ceiling_of_tags_is_what_whole_records_leave():
    row = made_up(TAG, 0.05, 200)
    # (1-p)^11.33 / ((1-p)^11.33 + p)
    assert row.tag_ceiling == pytest.approx(0.5593 / 0.6093, abs=1e-4)
    assert row.bound == pytest.approx(53.13, abs=0.01)
    assert made_up(TAG, 0.01, 200).tag_ceiling == pytest.approx(0.9889, abs=1e-4)


def test_a_target_that_cannot_be_had_is_told_with_its_arithmetic():
    (line,) = explain([made_up(HOST, 0.05, 20, met=True), made_up(TAG, 0.05, 60, met=False)])
    assert "out of reach" in line
    assert "0.559 / (0.559 + 0.05) = 0.918" in line
    (line,) = explain([made_up(HOST, 0.05, 20, met=False)])
    assert "in reach, and missed" in line


def test_the_table_shows_the_published_figures_beside_ours(tmp_path):
    rows = [made_up(HOST, 0.05, 20, met=True), made_up(TAG, 0.05, 20, met=False)]
    rows.append(made_up(BOTH, 0.05, 20))
    with (tmp_path / "table").open("w") as file:
        console = Console(width=120, record=True, file=file)
        show(rows, console)
    lines = [line.split() for line in console.export_text().splitlines()]
    figures = "20 5% 50.0 0.0 43.2 10.0 11.2 40.0 53.1 0.941 60.0 0.833"
    assert [*figures.split(), "≥", "43.2", "reached"] in lines
    assert [*figures.split(), "≥", "0.95", "bound", "missed"] in lines
    assert figures.split() in lines


def test_the_plot_is_the_same_each_time_and_small(tmp_path):
    rows = [
        made_up(mode, loss, round_trip if loss else ANY)
        for mode in MODES
        for round_trip in ROUND_TRIPS
        for loss in LOSSES[:2]
    ]
    first, second = tmp_path / "first.svg", tmp_path / "second.svg"
    plot(rows, first)
    plot(rows, second)
    assert first.read_bytes() == second.read_bytes()
    assert b"host-confirmed" in first.read_bytes()
    assert first.stat().st_size < 200_000
