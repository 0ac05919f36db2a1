"""The generator's command line, the errors it reports, and that committed outputs are fresh."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tlsnic.abi.generate.__main__ import main
from tlsnic.abi.generate.build import ROOT, outputs
from tlsnic.abi.generate.nodes import InterfaceError
from tlsnic.abi.generate.read import read

SMALL = Path(__file__).parent / "fixtures/small.rdl"
MANUAL = Path(__file__).parent / "fixtures/manual"
FIXTURE = ["--rdl", str(SMALL), "--manual", str(MANUAL)]
PROPERTIES = SMALL.read_text(encoding="utf-8").split("// State of the link.")[0]


def write_rdl(folder: Path, text: str) -> Path:
    path = folder / "wrong.rdl"
    path.write_text(PROPERTIES + text, encoding="utf-8")
    return path


def line_of(path: Path, text: str) -> int:
    lines = path.read_text(encoding="utf-8").splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


def test_committed_outputs_are_fresh() -> None:
    assert main(["--check"]) == 0


def test_check_names_every_stale_file_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*FIXTURE, "--root", str(tmp_path)]
    assert main(arguments) == 0
    assert main([*arguments, "--check"]) == 0
    files = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert files == sorted(outputs(SMALL, MANUAL, tmp_path))
    changed, missing = files[0], files[-1]
    changed.write_text("something else", encoding="utf-8")
    missing.unlink()
    capsys.readouterr()
    assert main([*arguments, "--check"]) == 1
    named = [line.split(": stale")[0] for line in capsys.readouterr().err.splitlines()]
    assert sorted(named) == sorted([str(changed), str(missing)])
    assert changed.read_text(encoding="utf-8") == "something else"
    assert not missing.exists()


def test_generating_twice_writes_only_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*FIXTURE, "--root", str(tmp_path)]
    main(arguments)
    assert capsys.readouterr().out
    main(arguments)
    assert not capsys.readouterr().out


def test_generated_python_is_clean_for_ruff(tmp_path: Path) -> None:
    main([*FIXTURE, "--root", str(tmp_path)])
    files = [str(path) for path in tmp_path.rglob("*.py")]
    assert files
    config = str(ROOT / "pyproject.toml")
    for command in (
        ["ruff", "check", "--config", config],
        ["ruff", "format", "--check", "--config", config],
    ):
        result = subprocess.run(
            [sys.executable, "-m", *command, *files], capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stdout


def test_missing_rdl_is_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--rdl", str(tmp_path / "none.rdl")]) == 2
    assert capsys.readouterr().err == f"{tmp_path / 'none.rdl'}: no such RDL file\n"


BLOCK = 'addrmap wrong { struct_kind = "block"; '
MISTAKES = {
    "overlap": ("addrmap bar0 { reg {field {} a;} x @ 0; reg {field {} b;} y @ 2; };", "x @ 0"),
    "syntax": ("addrmap bar0 { reg {field {} a;} x @ 0 };", "x @ 0"),
    "access": ("addrmap bar0 { reg {field {sw = rw; onwrite = wzc;} a;} x; };", "WZC"),
    "width": ("addrmap bar0 { reg {regwidth = 16; field {} a;} x; };", "not 16"),
    "two dimensions": ("addrmap bar0 { reg {field {} a;} x[2][2]; };", "one dimension"),
    "array in array": (
        "addrmap bar0 { regfile { reg {field {} a;} x[2]; } f[2]; };",
        "one dimension",
    ),
    "member width": (BLOCK + "reg {field {} a[11:0];} x; };", "bits 11:0"),
    "member alignment": (BLOCK + "reg {field {} a[11:4];} x; };", "bits 11:4"),
    "member name": (BLOCK + "reg {field {} class[7:0];} x; };", "class cannot be"),
    "same member": (
        BLOCK + "reg {field {} a[7:0];} x; reg {field {} a[7:0];} y; };",
        "two members are called a",
    ),
    "bytes": (
        BLOCK + "reg {field {} bytes[7:0];} x; reg {raw; field {} a[31:0];} y; };",
        "member called bytes",
    ),
    "gap in a byte string": (BLOCK + "reg {raw; field {} a[31:0];} y[2] += 8; };", "no gaps"),
    "no members": (BLOCK + "reg {field {} reserved0[7:0];} x; };", "without members"),
    "kind": ('addrmap wrong { struct_kind = "thing"; reg {field {} a[7:0];} x; };', "'thing'"),
    "flags": (BLOCK + "reg {field {flags;} a[7:0];} x; };", "without an encode"),
    "opcode": (
        'addrmap c { struct_kind = "command"; opcode = 3; reg {field {} a[7:0];} x; };\n'
        'addrmap d { struct_kind = "command"; opcode = 3; reg {field {} a[7:0];} x; };',
        "opcode 0x3",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_in_the_rdl_is_reported_with_file_and_line(mistake: str, tmp_path: Path) -> None:
    text, expected = MISTAKES[mistake]
    path = write_rdl(tmp_path, text)
    with pytest.raises(InterfaceError) as error:
        read(path)
    first = str(error.value).splitlines()[0]
    assert re.match(re.escape(str(path)) + r":\d+: (error|fatal): ", first), first
    number = int(first.removeprefix(f"{path}:").split(":")[0])
    assert number >= line_of(path, text.splitlines()[0])
    if mistake not in ("overlap", "syntax"):
        assert expected.lower() in str(error.value).lower()


CLASHES = {
    "X_A_MASK": "addrmap bar0 { reg {field {} a[3:0];} x;\nreg {field {} b[3:0];} x_a_mask; };",
    "X_Y": "addrmap bar0 { reg {field {} a;} x_y;\nregfile { reg {field {} b;} y; } x; };",
    "TLSNIC_X_A_MASK": (
        "addrmap bar0 { reg {field {} a[3:0];} x; };\nenum x_e { a_mask = 1; };"
        'addrmap b { struct_kind = "block"; reg {field {encode = x_e;} c[7:0];} d; };'
    ),
}


@pytest.mark.parametrize("name", CLASHES)
def test_name_that_two_things_need_is_refused_with_file_and_line(name: str, tmp_path: Path) -> None:
    path = write_rdl(tmp_path, CLASHES[name])
    line = len(PROPERTIES.splitlines()) + 2
    with pytest.raises(InterfaceError, match=f"need the (C )?name {name}$") as error:
        outputs(path, MANUAL, tmp_path)
    assert str(error.value).startswith(f"{path}:{line}: error: ")
