"""A flow's timeline as PNG: TCP sequence against time, all of it and its most telling moment."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tlsnic.abi.enums import TlsDirection, TlsEvent, TlsTrackerState

from .look import EVENTS, FATES, STATES
from .model import Fate, Flow, Piece
from .summary import packets, questions, shares

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_RANGES: Final = 6000
_DETAIL_PACKETS: Final = 45
_MOST_RECORDS: Final = 60
_MOST_NUMBERS: Final = 20
_DETAIL_FROM: Final = 400
"""A flow with so many packets gets a second panel."""
_ATTENTION: Final = (
    Fate.BYPASSED, Fate.UNFINISHED, Fate.UNFRAMED, Fate.DECRYPTED, Fate.ENCRYPTED, Fate.PRESYNCED,
    Fate.PARTLY, Fate.SOFTWARE, Fate.AGAIN, Fate.DROPPED, Fate.AUTH_FAILED,
)  # fmt: skip
"""What is drawn over what: the last on top."""


class Range(NamedTuple):
    """Pieces of one fate that follow each other."""

    fate: Fate
    begin_ns: int
    end_ns: int
    begin: int
    end: int


@dataclass(frozen=True)
class _Scale:
    """From nanoseconds and bytes to what the axes show."""

    zero_ns: int
    unit_ns: float
    time: str
    unit_bytes: float
    size: str

    @classmethod
    def of(cls, span_ns: int, span_bytes: int, zero_ns: int) -> _Scale:
        unit_ns, time = (1e9, "s") if span_ns >= 2e9 else (1e6, "ms")
        unit_bytes, size = (1e6, "MB") if span_bytes >= 2e6 else (1e3, "kB")
        return cls(zero_ns, unit_ns, time, unit_bytes, size)

    def x(self, time_ns: int) -> float:
        return (time_ns - self.zero_ns) / self.unit_ns

    def y(self, position: int) -> float:
        return position / self.unit_bytes


def ranges(flow: Flow, pieces: Iterable[Piece], most: int = _MOST_RANGES) -> list[Range]:
    """Join pieces of one fate that follow each other in the stream, in the time in which no more
    than `most` ranges fit."""
    slack_ns = (flow.end_ns - flow.begin_ns) // most
    last: dict[Fate, Range] = {}
    found: list[Range] = []
    for piece in pieces:
        time_ns = flow.packets[piece.packet].time_ns
        open_range = last.get(piece.fate)
        if open_range is not None and piece.begin == open_range.end:
            quick = time_ns - open_range.end_ns <= max(slack_ns, 1)
            small = time_ns - open_range.begin_ns <= 4 * slack_ns
            if quick or small:
                last[piece.fate] = open_range._replace(end_ns=time_ns, end=piece.end)
                continue
        if open_range is not None:
            found.append(open_range)
        last[piece.fate] = Range(piece.fate, time_ns, time_ns, piece.begin, piece.end)
    return found + list(last.values())


def telling_moment(flow: Flow) -> tuple[int, int] | None:
    """Some packets around the gap that led to the most: a question and its answer, if there was
    one. None when there is no gap, or so few packets that all of it can be seen at once."""
    gaps = flow.gaps
    if len(flow.packets) < _DETAIL_FROM or not gaps:
        return None
    times = sorted({packet.time_ns for packet in flow.packets})
    around = min(_DETAIL_PACKETS, max(5, len(times) // 40))
    answered = [one for one in flow.questions if one.answer is TlsEvent.ANSWERED]
    searches = [span.begin_ns for span in flow.states if span.state is TlsTrackerState.SEARCH]
    if answered:
        # Neither the quickest nor the slowest.
        chosen = sorted(answered, key=lambda one: (one.answered_ns or 0) - one.asked_ns)
        question = chosen[len(chosen) // 2]
        first, last = question.asked_ns, question.answered_ns or question.asked_ns
    else:
        first = last = searches[0] if searches else gaps[0].seen_ns
    low = times[max(0, bisect_left(times, first) - around // 2)]
    high = times[min(len(times) - 1, bisect_left(times, last) + around)]
    return (low, high) if low < high else None


def write_png(flow: Flow, path: Path, window: tuple[int, int] | None = None) -> None:
    """Draw a flow. window: only these times, (from, to) nanoseconds since 1970."""
    import matplotlib as mpl  # noqa: PLC0415 - slow to import, and only needed here
    from matplotlib.figure import Figure  # noqa: PLC0415
    from matplotlib.layout_engine import ConstrainedLayoutEngine  # noqa: PLC0415

    settings: dict[Any, Any] = {
        "font.size": 9,
        "font.family": "DejaVu Sans",
        "axes.spines.top": False,
        "axes.spines.right": False,
        # Addresses are text, whatever they look like.
        "text.parse_math": False,
    }
    moment = telling_moment(flow) if window is None else None
    with mpl.rc_context(settings):
        layout = ConstrainedLayoutEngine(hspace=0, h_pad=0.03)
        figure = Figure(figsize=(11, 9.2 if moment else 6), dpi=100, layout=layout)
        _draw(flow, figure, window or (flow.begin_ns, flow.end_ns), moment)
        figure.savefig(path, format="png", metadata={"Software": None})


def _draw(
    flow: Flow, figure: Figure, window: tuple[int, int], moment: tuple[int, int] | None
) -> None:
    receives = flow.direction is TlsDirection.RECEIVE
    figure.suptitle(flow.title, fontsize=12, fontweight="bold", x=0.01, ha="left")
    band = 0.8 if flow.states else 0.05
    heights = [14, band, 11, band] if moment else [14, band]
    grid = figure.add_gridspec(len(heights), 2, width_ratios=[40, 1], height_ratios=heights)
    main = figure.add_subplot(grid[0, 0])
    whole = _panel(flow, main, window)
    what = f"packets  {packets(flow)}"
    if receives:
        what = f"records  {shares(flow)}\nresync   {questions(flow)}"
    main.set_title(what, loc="left", fontsize=9, family="DejaVu Sans Mono")
    _band(flow, figure.add_subplot(grid[1, 0], sharex=main), whole, window)
    _end(flow, figure.add_subplot(grid[0, 1], sharey=main), whole)
    if moment is not None:
        detail = figure.add_subplot(grid[2, 0])
        close = _panel(flow, detail, moment)
        detail.set_title("one of the losses, from close", loc="left", fontsize=9)
        main.axvspan(*map(whole.x, moment), color="#bbbbbb", alpha=0.4, lw=0)
        _band(flow, figure.add_subplot(grid[3, 0], sharex=detail), close, moment)
    handles, labels = _legend(flow)
    figure.legend(handles, labels, loc="outside lower left", ncols=5, frameon=False, fontsize=8.5)


def _panel(flow: Flow, axes: Axes, window: tuple[int, int]) -> _Scale:
    """Sequence against time within a window."""
    from matplotlib.collections import LineCollection  # noqa: PLC0415 - slow, as above

    low, high = window
    times = [packet.time_ns for packet in flow.packets]
    inside = [piece for piece in flow.pieces if low <= times[piece.packet] <= high]
    bottom = min((piece.begin for piece in inside), default=0)
    top = max((piece.end for piece in inside), default=1)
    scale = _Scale.of(high - low, top, flow.begin_ns)
    moments = len({times[piece.packet] for piece in inside})
    few = moments < 3 * _DETAIL_PACKETS
    _draw_records(flow, axes, scale, (bottom, top))
    by_fate: dict[Fate, list[Range]] = {}
    for one in ranges(flow, inside, 1 << 60 if few else _MOST_RANGES):
        by_fate.setdefault(one.fate, []).append(one)
    for order, fate in enumerate(_ATTENTION):
        lines = [
            [(scale.x(one.begin_ns), scale.y(one.begin)), (scale.x(one.end_ns), scale.y(one.end))]
            for one in by_fate.get(fate, ())
        ]
        axes.add_collection(
            LineCollection(
                lines,
                colors=FATES[fate].light,
                linewidths=min(14, 420 / max(moments, 1)) if few else 4,
                capstyle="butt" if few else "projecting",
                # Snapped to pixels, a short line would have no length and not be drawn at all.
                snap=False,
                zorder=3 + order / 100,
            )
        )
    _draw_gaps(flow, axes, scale, window)
    _draw_events(flow, axes, scale, window)
    margin = (high - low) * 0.01
    axes.set_xlim(scale.x(low) - margin / scale.unit_ns, scale.x(high) + margin / scale.unit_ns)
    room = (top - bottom) * 0.03
    axes.set_ylim(scale.y(int(bottom - room)), scale.y(int(top + room)))
    axes.set_ylabel(f"TCP sequence from {flow.start_sequence} ({scale.size})")
    axes.tick_params(axis="x", bottom=False, labelbottom=False)
    axes.spines["bottom"].set_visible(False)
    axes.grid(axis="y", color="#e8e8e8", linewidth=0.6)
    axes.set_axisbelow(True)
    return scale


def _draw_records(flow: Flow, axes: Axes, scale: _Scale, bounds: tuple[int, int]) -> None:
    """Boundaries, and as many numbers as there is room for, where they can be told apart."""
    bottom, top = bounds
    shown = [record for record in flow.records if record.begin < top and record.end > bottom]
    if len(shown) > _MOST_RECORDS:
        return
    axes.hlines(
        [scale.y(record.begin) for record in shown],
        0,
        1,
        transform=axes.get_yaxis_transform(),
        color="#cccccc",
        linewidth=0.6,
        zorder=1,
    )
    for record in shown[:: 1 + len(shown) // _MOST_NUMBERS]:
        middle = (max(record.begin, bottom) + min(record.end, top)) // 2
        axes.annotate(
            "" if record.number is None else f"record {record.number}",
            (1.004, scale.y(middle)),
            xycoords=("axes fraction", "data"),
            fontsize=7,
            color="#555555",
            va="center",
        )


def _draw_gaps(flow: Flow, axes: Axes, scale: _Scale, window: tuple[int, int]) -> None:
    low, high = window
    shown = [
        gap
        for gap in flow.gaps
        if gap.seen_ns <= high and (gap.filled_ns is None or gap.filled_ns >= low)
    ]
    middles = [scale.y((gap.begin + gap.end) // 2) for gap in shown]
    seen = [scale.x(gap.seen_ns) for gap in shown]
    until = [scale.x(high if gap.filled_ns is None else gap.filled_ns) for gap in shown]
    axes.hlines(
        middles, seen, until, color="#555555", linewidth=0.9, linestyle=(0, (2, 2)), zorder=2.5
    )
    axes.plot(seen, middles, marker="_", color="#222222", markersize=5, ls="none", zorder=5)
    never = [(x, y) for gap, x, y in zip(shown, until, middles, strict=True) if not gap.filled_ns]
    for x, y in never:
        axes.plot(x, y, marker="x", color="#222222", markersize=6, zorder=5)


def _draw_events(flow: Flow, axes: Axes, scale: _Scale, window: tuple[int, int]) -> None:
    low, high = window
    for question in flow.questions:
        if not low <= question.asked_ns <= high:
            continue
        place = scale.y(question.position)
        axes.plot(scale.x(question.asked_ns), place, zorder=6, **_marker(TlsEvent.ASKED))
        if question.answer is not None and question.answered_ns is not None:
            axes.plot(
                [scale.x(question.asked_ns), scale.x(question.answered_ns)],
                [place, place],
                color="#7a2da0",
                linewidth=1.2,
                zorder=5.5,
            )
            axes.plot(scale.x(question.answered_ns), place, zorder=6, **_marker(question.answer))
    for mark in flow.marks:
        if not low <= mark.time_ns <= high:
            continue
        if mark.event in (TlsEvent.HINTED, TlsEvent.STALE):
            axes.plot(
                scale.x(mark.time_ns), scale.y(mark.position), zorder=6, **_marker(mark.event)
            )
        elif mark.event not in (TlsEvent.CREATED, TlsEvent.DESTROYED):
            x = scale.x(mark.time_ns)
            axes.axvline(x, color="#000000", linewidth=1, linestyle=(0, (5, 2)), zorder=2)
            text = EVENTS[mark.event]
            top = ("data", "axes fraction")
            axes.annotate(text, (x, 0.99), xycoords=top, rotation=90, va="top", ha="right")


_SHAPES: Final = {
    TlsEvent.ASKED: ("^", "#7a2da0"),
    TlsEvent.ANSWERED: ("o", "#7a2da0"),
    TlsEvent.DENIED: ("X", "#7a2da0"),
    TlsEvent.STALE: ("o", "#ffffff"),
    TlsEvent.HINTED: ("D", "#7a2da0"),
}


def _marker(event: TlsEvent) -> dict[str, Any]:
    shape, fill = _SHAPES[event]
    return {
        "marker": shape,
        "color": fill,
        "markeredgecolor": "#7a2da0",
        "markersize": 6,
        "linestyle": "none",
    }


def _band(flow: Flow, axes: Axes, scale: _Scale, window: tuple[int, int]) -> None:
    """The tracker's states along the time axis."""
    low, high = window
    for span in flow.states:
        begin, end = max(low, span.begin_ns), min(high, span.end_ns)
        if begin < end:
            left = scale.x(begin)
            # A state that lasted for one packet is seen, too.
            width = max(scale.x(end) - left, (high - low) / scale.unit_ns / 900)
            axes.axvspan(left, left + width, color=STATES[span.state].light, lw=0)
    axes.set_yticks([])
    band = "; above: the tracker's state" if flow.states else ""
    axes.set_xlabel(f"time ({scale.time}){band}")
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)


def _end(flow: Flow, axes: Axes, scale: _Scale) -> None:
    """What became of the stream in the end."""
    from matplotlib.collections import PolyCollection  # noqa: PLC0415 - slow, as above

    boxes = []
    for begin, end, _ in flow.stream:
        low, high = scale.y(begin), scale.y(end)
        boxes.append([(0, low), (1, low), (1, high), (0, high)])
    colours = [FATES[fate].light for _, _, fate in flow.stream]
    axes.add_collection(PolyCollection(boxes, facecolors=colours, linewidths=0))
    axes.set_xlim(0, 1)
    axes.set_xticks([])
    axes.tick_params(axis="y", left=False, labelleft=False)
    axes.set_title("in the\nend", fontsize=8)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)


def _legend(flow: Flow) -> tuple[list[Artist], list[str]]:
    from matplotlib.lines import Line2D  # noqa: PLC0415 - slow, as above
    from matplotlib.patches import Patch  # noqa: PLC0415 - slow, as above

    handles: list[Artist] = []
    labels: list[str] = []

    def add(handle: Artist, label: str) -> None:
        handles.append(handle)
        labels.append(label)

    shown = {piece.fate for piece in flow.pieces} | {fate for _, _, fate in flow.stream}
    for fate, colours in FATES.items():
        if fate in shown:
            add(Patch(color=colours.light), fate.value)
    if flow.gaps:
        add(
            Line2D([], [], color="#555555", linewidth=0.9, linestyle=(0, (2, 2)), marker="_"),
            "missing, until it came",
        )
    asked = [TlsEvent.ASKED] * bool(flow.questions)
    events = {question.answer for question in flow.questions} | {mark.event for mark in flow.marks}
    for event in (*asked, *(event for event in _SHAPES if event in events)):
        add(Line2D([], [], **_marker(event)), EVENTS[event])
    for state in dict.fromkeys(span.state for span in flow.states):
        if state:
            add(Patch(color=STATES[state].light), f"tracker: {state.name}")
    return handles, labels
