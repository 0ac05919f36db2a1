"""The reference page: chapters in order, links that lead somewhere, tables as the RDL says."""

from pathlib import Path

import pytest

from tlsnic.abi import enums, registers, structures
from tlsnic.abi.generate.build import ROOT
from tlsnic.abi.generate.diagram import diagram
from tlsnic.abi.generate.markdown import Linker, anchors, headings, slug
from tlsnic.abi.generate.model import Interface
from tlsnic.abi.generate.nodes import InterfaceError
from tlsnic.abi.generate.read import read
from tlsnic.abi.generate.reference import reference
from tlsnic.abi.layout import RegisterMap

FIXTURES = Path(__file__).parent / "fixtures"
COMMITTED = (ROOT / "docs/reference.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def interface() -> Interface:
    return read(FIXTURES / "small.rdl")


@pytest.fixture(scope="module")
def page(interface: Interface) -> str:
    return reference(interface, FIXTURES / "manual")


def block(page: str, heading: str) -> str:
    """Text from one heading to the next of the same or a higher level."""
    mark = heading.split(" ", maxsplit=1)[0]
    text = page.split(f"\n{heading}\n")[1]
    for level in range(len(mark), 0, -1):
        text = text.split(f"\n{'#' * level} ")[0]
    return text


def test_chapters_stand_in_order_of_their_numbers(page: str) -> None:
    assert headings(page, 2) == [
        "Contents",
        "Operation",
        "How to read the register tables",
        "Registers (BAR 0)",
        "Descriptors",
        "Commands",
        "Events",
        "Enumerations",
        "Diagnostics",
        "History",
    ]


def test_contents_link_to_every_chapter(page: str) -> None:
    contents = block(page, "## Contents")
    for chapter in headings(page, 2)[1:]:
        assert f"* [{chapter}](#chapter-{slug(chapter)})" in contents
        assert f'<a id="chapter-{slug(chapter)}"></a>\n\n## {chapter}\n' in page


def test_names_in_chapters_by_hand_become_links_except_in_code(page: str) -> None:
    chapter = block(page, "## Operation")
    for link in (
        "[`CONTROL`](#reg-control)",
        "[STATUS.LINK](#reg-status)",
        "[`tx_descriptor`](#struct-tx-descriptor)",
        "[`LinkState`](#enum-link-state)",
    ):
        assert link in chapter
    assert "/* CONTROL.ENABLE stays as it is in code. */\n## no heading" in page
    assert "[TX_BASE](#reg-tx-base) was always there, as `UNKNOWN` was not." in page


def test_register_shows_fields_from_the_top_with_reserved_bits(page: str) -> None:
    control = block(page, "#### CONTROL: Device control")
    assert "Offset `0x0000`; 32 bits; reset `0x00000300`." in control
    rows = [line for line in control.splitlines() if line.startswith("|")][2:]
    assert rows == [
        "| 31:16 |  | reserved | `0x0` |  |",
        "| 15:8 | `BURST` | RW | `0x3` | Burst length. |",
        "| 7:2 |  | reserved | `0x0` |  |",
        "| 1 | `RESET_DEVICE` | W1P | `0x0` | Resets it. |",
        "| 0 | `ENABLE` | RW | `0x0` | Starts the device. |",
    ]
    assert "> **The driver must:** Wait for [`STATUS`](#reg-status)." in control
    assert "> **The driver must not:** Write while a command is in flight." in control
    assert "> **Ordering:** A write is complete when a read of STATUS returns." in control


def test_undefined_reset_and_repeated_register_are_shown(page: str) -> None:
    assert "reset `–`" in block(page, "#### STATUS")
    tail = block(page, "#### TX_TAIL")
    assert "Offset `0x1008` + n × `0x40`, n < 4; 32 bits" in tail
    assert "Reading has side effects" in block(page, "#### FRAMES")
    assert "Reading has side effects" not in tail


def test_bars_in_a_description_are_escaped(page: str) -> None:
    assert r"A queue stopped \| see its status." in page


def test_command_names_its_response_and_opcode(page: str) -> None:
    commands = block(page, "## Commands")
    assert "| `0x0102` | [Set mac](#struct-set-mac) | Sets the address. |" in commands
    assert "Opcode `0x0102`, 20 bytes, C: `struct tlsnic_set_mac`, Python: `SetMac`." in commands
    assert commands.index("Answered with:") < commands.index("### Set mac response")


def test_drawing_of_a_structure(interface: Interface) -> None:
    structure = next(one for one in interface.structures if one.name == "tx_descriptor")
    rule = "       +-------------+-------------+-------------+-------------+"
    open_rule = "       +             +             +             +             +"
    assert diagram(structure) == [
        "              +0            +1            +2            +3",
        rule,
        "0x00   |                        address                        |",
        open_rule,
        "0x04   |                                                       |",
        rule,
        "0x08   |          length           |    kind     |  reserved   |",
        rule,
        "0x0c   |                         flags                         |",
        rule,
        "0x10   |                     key (8 bytes)                     |",
        open_rule,
        "0x14   |                                                       |",
        rule,
        "0x18   |         reserved          |           count           |",
        rule,
        "0x1c   |                       reserved                        |",
        rule,
    ]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("10-a.md", "## A\n\n[x](#nowhere)\n", "no anchor #nowhere"),
        ("10-a.md", "## A\n\n### B\n\n### B\n\n[x](#b)\n", "more than one anchor #b"),
        ("chapter.md", "## A\n", "NN-name.md"),
    ],
)
def test_wrong_chapter_is_refused_by_name(
    name: str, text: str, expected: str, interface: Interface, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(InterfaceError, match=expected) as error:
        reference(interface, tmp_path)
    assert str(tmp_path / name) in str(error.value)


def test_bare_words_that_an_enumeration_has_too_are_no_links(interface: Interface) -> None:
    linker = Linker(interface)
    assert linker("CONTROL and FRAMES, TABLE.ENTRY, TABLE.NONE") == (
        "CONTROL and FRAMES, [TABLE.ENTRY](#reg-table), TABLE.NONE"
    )
    assert linker("TAIL.INDEX", "TX") == "[TAIL.INDEX](#reg-tx-tail)"
    assert linker("TAIL.INDEX") == "TAIL.INDEX"


def test_committed_page_has_every_anchor_that_the_tables_name() -> None:
    places = anchors(COMMITTED)
    wanted = [
        register.anchor
        for value in vars(registers).values()
        if isinstance(value, RegisterMap)
        for register in value.registers
    ]
    wanted += [f"struct-{name.replace('_', '-')}" for name in structures.STRUCTURES]
    wanted += [
        f"diagnostic-{name.lower().replace('_', '-')}" for name in enums.Diagnostic.__members__
    ]
    assert {name: places[name] for name in wanted} == dict.fromkeys(wanted, 1)
