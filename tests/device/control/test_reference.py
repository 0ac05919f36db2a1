"""docs/control.md is what the methods say."""

from pathlib import Path

from tlsnic.device.control.protocol import ErrorName
from tlsnic.device.control.reference import document

PAGE = Path(__file__).parents[3] / "docs" / "control.md"


def test_the_page_is_current():
    assert PAGE.read_text() == document(), (
        "python -m tlsnic.device.control.reference > docs/control.md"
    )


def test_each_error_is_explained():
    assert all(f"| {name} |" in document() for name in ErrorName)
