"""The page in a real browser, as its user has it: pointer, wheel, keys, both themes."""

import json

import numpy as np
import pytest
from browser_bench import Page
from trace_bench import EPOCH_NS, lossy, sending

from tlsnic.abi.enums import TlsDirection, TlsOutcome, TlsTrackerState
from tlsnic.device.timeline.html import write_html
from tlsnic.device.timeline.look import FATES
from tlsnic.device.timeline.model import Fate, Flow, Judged, Offloaded, Packet, Piece, Record, Span
from tlsnic.device.timeline.reading import read_flows
from tlsnic.qemu import parts
from tlsnic.qemu.parts import PartError

# The first of them waits for the browser to be fetched.
pytestmark = pytest.mark.timeout(900)

EVIL = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"
MANY = 100_000


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    try:
        browser = parts.browser()
    except PartError as error:
        if "download failed" in error.message or "no Debian mirror" in error.message:
            pytest.skip(f"no browser, and no network to get it: {error}")
        raise
    page = Page(browser, tmp_path_factory.mktemp("browser"))
    yield page
    page.close()


@pytest.fixture(scope="module")
def flows():
    return [
        *read_flows(lossy(150, tag=False, late=60, loss=0.03, seed=3).finish()),
        *read_flows(sending()[0]),
    ]


@pytest.fixture
def shown(page, flows, tmp_path):
    """The page with the flows, fresh."""
    path = tmp_path / "flows.html"
    write_html(flows, path, "run.pcapng")
    page.problems.clear()
    page.theme("light")
    page.open(path)
    yield page
    assert page.problems == []


def tip(page):
    return page.run("document.getElementById('tip').textContent")


def view(page):
    return page.run("timeline.view")


def click(page, selector):
    page.run(f"document.querySelector({json.dumps(selector)}).click()")
    page.drawn()


def colours(page):
    """How many pixels have each colour."""
    pixels = page.screenshot().astype(np.uint32)
    values, counts = np.unique(
        pixels[..., 0] << 16 | pixels[..., 1] << 8 | pixels[..., 2], return_counts=True
    )
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


def value(colour):
    return int(colour[1:], 16)


def test_flow_and_legend(shown, flows):
    (first, _) = flows
    options = shown.run("[...document.querySelectorAll('#flows option')].map((o) => o.textContent)")
    assert options == [f"{flow.title} ({flow.handle:x})" for flow in flows]
    legend = shown.run("document.getElementById('legend').textContent")
    for fate in {piece.fate for piece in first.pieces}:
        assert fate.value in legend
    assert Fate.ENCRYPTED.value not in legend
    share = first.bytes_by_fate()[Fate.DECRYPTED] / first.bytes_by_fate().total()
    assert f"decrypted {share:.1%}".replace("%", " %") in legend
    assert first.suite in shown.run("document.title")
    shown.run("{ const f = document.getElementById('flows'); f.value = 1;"
              " f.dispatchEvent(new Event('change')); }")  # fmt: skip
    shown.drawn()
    assert Fate.PRESYNCED.value in shown.run("document.getElementById('legend').textContent")
    assert flows[1].suite in shown.run("document.title")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_what_is_painted(shown, flows, theme):
    shown.theme(theme)
    painted = colours(shown)
    paper = {"light": 0xFFFFFF, "dark": 0x14171A}[theme]
    assert max(painted, key=painted.get) == paper
    for fate in (Fate.DECRYPTED, Fate.PARTLY, Fate.SOFTWARE):
        look = FATES[fate]
        assert painted.get(value(getattr(look, theme)), 0) > 100, fate


def test_the_pointer_names_the_packet(shown, flows):
    packets = flows[0].packets
    for index in (0, 700, len(packets) - 1):
        for _ in range(14):
            at = shown.run(f"timeline.place({index})")
            shown.mouse("Wheel", **at, deltaX=0, deltaY=-120)
        at = shown.run(f"timeline.place({index})")
        shown.mouse("Moved", **at)
        packet = packets[index]
        text = tip(shown)
        assert f"packet {packet.frame} at " in text
        assert f"sequence {packet.begin} (" in text
        assert f"{packet.end - packet.begin} bytes, {packet.outcome.name}" in text
        assert f"tracker {packet.state.name}" in text
        pieces = [piece for piece in flows[0].pieces if piece.packet == index]
        for piece in pieces:
            number = flows[0].records[piece.record].number
            size = piece.end - piece.begin
            assert f"{size} bytes of record {number}: {piece.fate.value}" in text
        click(shown, "#whole")


def test_the_pointer_names_a_question(shown, flows):
    question = flows[0].questions[0]
    canvas = "document.getElementById('canvas')"
    shown.run(f"{canvas}.focus()")
    shown.press("q")
    asked = f"question {question.number}"
    for _ in range(12):
        shown.press("+")
    box = shown.run(f"(() => {{ const b = {canvas}.getBoundingClientRect();"
                    " return [b.left, b.top, b.width, b.height]; })()")  # fmt: skip
    now = view(shown)
    zero = flows[0].begin_ns
    x = (
        box[0]
        + 74
        + (question.asked_ns - zero - now["t0"]) / (now["t1"] - now["t0"]) * (box[2] - 74 - 34)
    )
    y = (
        box[1]
        + 8
        + (now["s1"] - question.position) / (now["s1"] - now["s0"]) * (box[3] - 8 - 42 - 14)
    )
    shown.mouse("Moved", x, y)
    assert asked in tip(shown)
    assert f"sequence {question.position} " in tip(shown)


def test_wheel_and_drag(shown):
    whole = view(shown)
    at = {"x": 600, "y": 300}
    shown.mouse("Wheel", **at, deltaX=0, deltaY=-120)
    near = view(shown)
    assert near["t1"] - near["t0"] < 0.9 * (whole["t1"] - whole["t0"])
    assert near["s1"] - near["s0"] < 0.9 * (whole["s1"] - whole["s0"])
    shown.mouse("Wheel", **at, deltaX=0, deltaY=-120, modifiers=8)
    only = view(shown)
    assert (only["s0"], only["s1"]) == pytest.approx((near["s0"], near["s1"]))
    assert only["t1"] - only["t0"] < near["t1"] - near["t0"]
    shown.mouse("Pressed", **at, button="left", clickCount=1)
    shown.mouse("Moved", 650, 300, button="left", buttons=1)
    shown.mouse("Released", 650, 300, button="left", clickCount=1)
    moved = view(shown)
    assert moved["t0"] < only["t0"]
    assert moved["t1"] - moved["t0"] == pytest.approx(only["t1"] - only["t0"])
    shown.mouse("Pressed", 400, 200, button="left", clickCount=1, modifiers=8)
    shown.mouse("Moved", 700, 400, button="left", buttons=1, modifiers=8)
    shown.mouse("Released", 700, 400, button="left", clickCount=1, modifiers=8)
    framed = view(shown)
    assert framed["t1"] - framed["t0"] < 0.5 * (moved["t1"] - moved["t0"])
    click(shown, "#whole")
    assert view(shown) == pytest.approx(whole)


def test_keys(shown, flows):
    shown.run("document.body.focus()")
    for _ in range(5):  # to the picture, as one who has no pointer gets there
        shown.press("Tab", text="\t")
        if shown.run("document.activeElement.id") == "canvas":
            break
    assert shown.run("document.activeElement.id") == "canvas"
    whole = view(shown)
    shown.press("+")
    near = view(shown)
    assert near["t1"] - near["t0"] < whole["t1"] - whole["t0"]
    shown.press("ArrowRight")
    assert view(shown)["t0"] > near["t0"]
    shown.press("ArrowDown")
    assert view(shown)["s0"] < near["s0"]
    shown.press("-")
    shown.press("0")
    assert view(shown) == pytest.approx(whole)
    packets = flows[0].packets
    for key, index in (("Home", 0), ("n", 1), ("n", 2), ("p", 1), ("End", len(packets) - 1)):
        shown.press(key)
        assert f"packet {packets[index].frame} at " in tip(shown)
    shown.press("Home")
    shown.press("g")
    gap = min(gap.seen_ns for gap in flows[0].gaps) - flows[0].begin_ns
    assert f" at {gap / 1e6:.3f} ms" in tip(shown)


def test_the_legend_hides_and_shows(shown):
    decrypted = value(FATES[Fate.DECRYPTED].light)
    before = colours(shown)[decrypted]
    box = "#legend label:nth-of-type(1) input"
    label = shown.run("document.querySelector('#legend label').textContent")
    assert Fate.DECRYPTED.value in label
    click(shown, box)
    # What is left is in the legend.
    assert colours(shown)[decrypted] < before / 10
    click(shown, box)
    assert colours(shown)[decrypted] == before


def test_text_of_the_capture_stays_text(page, flows, tmp_path):
    flow = Flow(0, 1, TlsDirection.RECEIVE, 0, EVIL, EVIL, EVIL)
    path = tmp_path / "evil.html"
    write_html([flow], path, EVIL)
    page.problems.clear()
    page.open(path)
    assert page.problems == []
    assert page.run("document.querySelectorAll('img').length") == 0
    assert EVIL in page.run("document.querySelector('#flows option').textContent")
    assert page.run("document.querySelectorAll('script').length") == 2


def test_what_the_page_did_not_bring_along_does_not_run(shown):
    shown.run("{ const s = document.createElement('script'); s.textContent = 'window.bad = 1';"
              " document.body.append(s); }")  # fmt: skip
    assert shown.run("window.bad === undefined")
    assert any("Content Security Policy" in one for one in shown.problems)
    shown.problems.clear()


def big_flow():
    """100 000 packets; every fiftieth is odd."""
    flow = Flow(0, 1, TlsDirection.RECEIVE, 1000, "10.0.0.1:443", "10.0.0.2:5000", "SUITE")
    size = 1448
    for index in range(MANY):
        begin, odd = index * size, index % 50 == 0
        flow.packets.append(
            Packet(
                EPOCH_NS + index * 1000, begin, begin + size,
                TlsOutcome.AS_ON_WIRE if odd else TlsOutcome.DECRYPTED,
                TlsTrackerState.OFFLOAD, 2 * index + 1,
            )
        )  # fmt: skip
        fate = Fate.PARTLY if odd else Fate.DECRYPTED
        flow.pieces.append(Piece(index, begin, begin + size, fate, index // 10))
        if odd:
            flow.stream.append((begin, begin + size, Fate.PARTLY))
            flow.stream.append((begin + size, begin + 50 * size, Fate.DECRYPTED))
    for number in range(MANY // 10):
        flow.records.append(Record(number * 10 * size, (number + 1) * 10 * size, number, 23))
        flow.judged.append(Judged(Fate.DECRYPTED, Offloaded.FULLY))
    flow.states.append(Span(flow.begin_ns, flow.end_ns, TlsTrackerState.OFFLOAD))
    return flow


def test_a_hundred_thousand_packets(page, tmp_path):
    path = tmp_path / "big.html"
    write_html([big_flow()], path, "big.pcapng")
    assert path.stat().st_size < 10_000_000
    page.problems.clear()
    page.open(path)
    assert page.run("timeline.packets") == MANY
    whole = view(page)
    for _ in range(12):
        page.mouse("Wheel", 700, 300, deltaX=0, deltaY=-120)
    assert view(page)["t1"] - view(page)["t0"] < (whole["t1"] - whole["t0"]) / 4
    for _ in range(12):
        page.mouse("Wheel", 700, 300, deltaX=0, deltaY=120)
    assert view(page) == pytest.approx(whole)
    assert len(page.run("timeline.drawings")) > 1
    at = page.run(f"timeline.place({MANY // 2})")
    page.mouse("Moved", **at)
    assert "packet " in tip(page)
    assert page.problems == []
