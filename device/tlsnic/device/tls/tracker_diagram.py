"""Draws the tracker's states from their table, as a Mermaid state diagram and a table of events.

    python -m tlsnic.device.tls.tracker_diagram docs/design.md

writes both into that page, between the two marks.
"""

import sys
from collections import defaultdict
from pathlib import Path
from typing import Final

from tlsnic.device.tls.tracker_states import TRANSITIONS, Event, State

_BEGIN: Final = "<!-- tracker states: made by tlsnic.device.tls.tracker_diagram -->\n"
_END: Final = "<!-- end of tracker states -->\n"


def drawing() -> str:
    """Markdown: changes of state, and what each event is; events that change none are left out."""
    events = defaultdict(list)
    for (state, event), (_, after) in TRANSITIONS.items():
        if after is not state:
            events[state, after].append(event)
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {State.OFFLOAD.name}"]
    lines += [
        f"    {state.name} --> {after.name}: {', '.join(event.name for event in between)}"
        for (state, after), between in events.items()
    ]
    lines += ["```", "", "| event | what it is |", "|---|---|"]
    lines += [f"| {event.name} | {event.value} |" for event in Event]
    return "\n".join(lines) + "\n"


def drawn_into(page: str) -> str:
    """The page with the drawing of now. ValueError: it has no marks."""
    before, begin, rest = page.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError("the page has no place for the tracker's states")
    return f"{before}{begin}\n{drawing()}\n{end}{after}"


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(drawn_into(path.read_text()))
