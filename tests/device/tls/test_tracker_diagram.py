"""The picture of the tracker in docs/design.md is that of its table."""

from pathlib import Path

import pytest

from tlsnic.device.tls.tracker_diagram import drawing, drawn_into
from tlsnic.device.tls.tracker_states import TRANSITIONS

DESIGN = Path(__file__).parents[3] / "docs/design.md"


def test_the_picture_in_the_documentation_is_fresh():
    page = DESIGN.read_text()
    assert drawn_into(page) == page, (
        "fix: .venv/bin/python -m tlsnic.device.tls.tracker_diagram docs/design.md"
    )


def test_every_change_of_state_is_on_one_arrow():
    arrows = dict(line.strip().split(": ") for line in drawing().splitlines() if ": " in line)
    for (state, event), (_, after) in TRANSITIONS.items():
        names = arrows.get(f"{state.name} --> {after.name}", "").split(", ")
        assert (event.name in names) == (state is not after)


def test_a_page_without_marks_is_refused():
    with pytest.raises(ValueError, match="no place"):
        drawn_into("# Design\n")
