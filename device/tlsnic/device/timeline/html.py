"""Flows' timelines as one HTML page that needs nothing else: no network, no library.

The page is `page/timeline.html` with its style and script put in, allowed by their hashes in its
Content-Security-Policy, and the flows as JSON. Long columns are little-endian arrays in base64.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Final

import numpy as np

from tlsnic.abi.enums import TlsEvent, TlsOutcome

from .look import EVENTS, FATES, STATES
from .model import Fate, Flow
from .summary import describe

_FATES: Final = tuple(Fate)
_CALM: Final = (Fate.DECRYPTED, Fate.ENCRYPTED)
_DONE: Final = ("NOT_FOLLOWED", "BEFORE_THE_FLOW", *(outcome.name for outcome in TlsOutcome))
_NO_STATE: Final = 255
_NO_NUMBER: Final = -1.0


def make_page(flows: Sequence[Flow], name: str) -> str:
    """The page. name: of the capture, for the title."""
    folder = resources.files(__package__) / "page"
    style = (folder / "timeline.css").read_text("utf-8")
    script = (folder / "timeline.js").read_text("utf-8")
    data = {
        "name": name,
        "fates": [
            {
                "name": fate.value,
                "light": FATES[fate].light,
                "dark": FATES[fate].dark,
                "calm": fate in _CALM,
            }
            for fate in _FATES
        ],
        "states": {
            str(int(state)): {"name": state.name, "light": look.light, "dark": look.dark}
            for state, look in STATES.items()
        },
        "outcomes": list(_DONE),
        "events": {str(int(event)): text for event, text in EVENTS.items()},
        "flows": [_flow(flow) for flow in flows],
    }
    text = (folder / "timeline.html").read_text("utf-8")
    for mark, value in (
        ("{{style-hash}}", _hash(style)),
        ("{{script-hash}}", _hash(script)),
        ("{{style}}", style),
        ("{{script}}", script),
        # Nothing in the data can end the element that it is in, or begin a comment.
        ("{{data}}", json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")),
    ):
        text = text.replace(mark, value, 1)
    return text


def write_html(flows: Sequence[Flow], path: Path, name: str) -> None:
    """Write the page. Raises OSError."""
    path.write_text(make_page(flows, name), "utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def _column(code: str, values: Iterable[float]) -> str:
    """Numbers as the array of a type of numpy, in base64."""
    return base64.b64encode(np.fromiter(values, np.dtype(code)).tobytes()).decode()


def _flow(flow: Flow) -> dict[str, object]:
    zero_ns = flow.begin_ns
    done = {name: index for index, name in enumerate(_DONE)}
    fates = {fate: index for index, fate in enumerate(_FATES)}
    packets, pieces, records = flow.packets, flow.pieces, flow.records

    def when(time_ns: int | None) -> float | None:
        return None if time_ns is None else time_ns - zero_ns

    return {
        "title": flow.title,
        "handle": flow.handle,
        "card": flow.card,
        "text": describe(flow),
        "begin": datetime.fromtimestamp(zero_ns // 10**9, UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        "end": flow.end_ns - zero_ns,
        "start": flow.start_sequence,
        "packets": {
            "time": _column("<f8", (packet.time_ns - zero_ns for packet in packets)),
            "begin": _column("<f8", (packet.begin for packet in packets)),
            "size": _column("<u4", (packet.end - packet.begin for packet in packets)),
            "frame": _column("<u4", (packet.frame for packet in packets)),
            "outcome": _column("u1", (done[packet.what] for packet in packets)),
            "state": _column(
                "u1", (_NO_STATE if one.state is None else one.state for one in packets)
            ),
        },
        "pieces": {
            "packet": _column("<u4", (piece.packet for piece in pieces)),
            "offset": _column("<u4", (one.begin - packets[one.packet].begin for one in pieces)),
            "size": _column("<u4", (piece.end - piece.begin for piece in pieces)),
            "fate": _column("u1", (fates[piece.fate] for piece in pieces)),
            "record": _column("<i4", (piece.record for piece in pieces)),
        },
        "records": {
            "begin": _column("<f8", (record.begin for record in records)),
            "end": _column("<f8", (record.end for record in records)),
            "number": _column(
                "<f8", (_NO_NUMBER if one.number is None else one.number for one in records)
            ),
            "fate": _column("u1", (fates[one.fate] for one in flow.judged)),
        },
        "stream": [[begin, end, fates[fate]] for begin, end, fate in flow.stream],
        "gaps": [[gap.begin, gap.end, when(gap.seen_ns), when(gap.filled_ns)] for gap in flow.gaps],
        "questions": [
            [
                one.number,
                one.position,
                when(one.asked_ns),
                one.answer,
                when(one.answered_ns),
                one.record_number if one.answer is TlsEvent.ANSWERED else None,
            ]
            for one in flow.questions
        ],
        "marks": [
            [mark.event, when(mark.time_ns), mark.position, mark.record_number]
            for mark in flow.marks
        ],
        "spans": [[when(one.begin_ns), when(one.end_ns), one.state] for one in flow.states],
    }
