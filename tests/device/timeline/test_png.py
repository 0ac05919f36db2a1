"""The PNG: what it shows is there, and it is of a size for documents."""

import pytest
from PIL import Image, ImageColor
from trace_bench import Receiving, lossy, sending

from tlsnic.device.timeline.look import FATES
from tlsnic.device.timeline.model import Fate
from tlsnic.device.timeline.png import ranges, telling_moment, write_png
from tlsnic.device.timeline.reading import read_flows


def colours(path):
    """How many pixels have each colour."""
    with Image.open(path) as image:
        counted = image.convert("RGB").getcolors(image.width * image.height)
    return {colour: count for count, colour in counted}


@pytest.fixture(scope="module")
def flow():
    (found,) = read_flows(lossy(150, tag=False, late=60, loss=0.03, seed=3).finish())
    return found


@pytest.fixture(scope="module")
def picture(flow, tmp_path_factory):
    """Of the whole flow."""
    path = tmp_path_factory.mktemp("picture") / "flow.png"
    write_png(flow, path)
    return path


def test_every_fate_is_seen(flow, picture):
    assert picture.stat().st_size < 300_000
    shown = colours(picture)
    assert {piece.fate for piece in flow.pieces} >= {Fate.DECRYPTED, Fate.PARTLY, Fate.SOFTWARE}
    for fate in {piece.fate for piece in flow.pieces}:
        assert ImageColor.getrgb(FATES[fate].light) in shown, fate


def test_a_telling_moment_has_a_question_and_its_answer(flow):
    moment = telling_moment(flow)
    assert flow.begin_ns <= moment[0] < moment[1] <= flow.end_ns
    answered = [one for one in flow.questions if one.answered_ns is not None]
    assert any(moment[0] <= one.asked_ns <= one.answered_ns <= moment[1] for one in answered)


def test_a_window_shows_what_is_in_it(flow, picture, tmp_path):
    software = ImageColor.getrgb(FATES[Fate.SOFTWARE].light)
    write_png(flow, tmp_path / "calm.png", (flow.begin_ns, flow.begin_ns + 200_000))
    # Besides the legend and the stream's end, which both have.
    assert 0 < colours(tmp_path / "calm.png")[software] < colours(picture)[software]


def test_transmit_and_an_empty_flow(tmp_path):
    (sent,) = read_flows(sending()[0])
    write_png(sent, tmp_path / "sent.png")
    assert ImageColor.getrgb(FATES[Fate.DROPPED].light) in colours(tmp_path / "sent.png")
    (empty,) = read_flows(Receiving([100]).finish())
    write_png(empty, tmp_path / "empty.png")
    assert len(colours(tmp_path / "empty.png")) > 2


def test_ranges_have_the_bytes_of_the_pieces(flow):
    for most in (10, 1000, 1 << 60):
        sizes = dict.fromkeys(Fate, 0)
        for one in ranges(flow, flow.pieces, most):
            sizes[one.fate] += one.end - one.begin
        for piece in flow.pieces:
            sizes[piece.fate] -= piece.end - piece.begin
        assert not any(sizes.values())
    assert len(ranges(flow, flow.pieces, 10)) < len(flow.pieces) / 4


def test_a_single_packet_is_seen_wherever_it_is(tmp_path):
    green = ImageColor.getrgb(FATES[Fate.AGAIN].light)
    path = tmp_path / "few.png"
    again = range(100, 3000, 317)
    receiving = Receiving([1000] * 3000)
    for number in range(3000):
        for _ in range(2 if number in again else 1):
            receiving.arrive(number * 1022, (number + 1) * 1022)
    (flow,) = read_flows(receiving.finish())
    write_png(flow, path, (flow.begin_ns, flow.begin_ns + 50_000))
    in_legend = colours(path)[green]
    write_png(flow, path)
    # Each is a square of four points, much less than a pixel of which are its bytes.
    assert colours(path)[green] >= in_legend + 12 * len(again)
