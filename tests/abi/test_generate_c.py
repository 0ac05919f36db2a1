"""The C header, judged by gcc against the Python tables, and by peakrdl-cheader's header."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from peakrdl_cheader.exporter import CHeaderExporter
from systemrdl import RDLCompiler
from systemrdl.node import AddrmapNode, RegfileNode

from tlsnic.abi import enums, registers, structures
from tlsnic.abi.generate.build import ABI, RDL, ROOT
from tlsnic.abi.generate.text import snake_case
from tlsnic.abi.layout import RegisterMap

INCLUDE = ROOT / ABI / "include"
GCC = shutil.which("gcc")
STRICT = ["-std=c11", "-Wall", "-Wextra", "-pedantic", "-Werror", "-O1"]
MAPS = [value for value in vars(registers).values() if isinstance(value, RegisterMap)]

pytestmark = pytest.mark.skipif(GCC is None, reason="needs gcc")


def compile_and_run(folder: Path, source: str) -> str:
    """Standard output of the C program `source`."""
    program = folder / "program"
    (folder / "program.c").write_text(source, encoding="utf-8")
    subprocess.run(
        ["gcc", *STRICT, "-I", str(INCLUDE), "-o", str(program), str(folder / "program.c")],
        check=True,
        capture_output=True,
        text=True,
    )
    return subprocess.run([program], check=True, capture_output=True, text=True).stdout


def evaluate(folder: Path, expressions: list[str], includes: str = "") -> dict[str, int]:
    """Values that C gives to constant expressions."""
    lines = [
        f'printf("%llu\\n", (unsigned long long)({expression}));' for expression in expressions
    ]
    body = "\n".join(lines)
    output = compile_and_run(
        folder,
        f"#include <stdio.h>\n{includes}#include <tlsnic_hw.h>\n"
        f"int main(void)\n{{\n{body}\nreturn 0;\n}}\n",
    )
    return dict(zip(expressions, map(int, output.split()), strict=True))


DRIVER_STRUCTURES = {
    name: kind for name, kind in structures.STRUCTURES.items() if kind.KIND != "trace"
}
TRACE_ENUMS = {"TraceType", "TraceFlags", "DmaPurpose", "TlsOutcome", "TlsEvent", "DeviceInput"}
"""Of captures alone: the header is for drivers."""


def test_nothing_of_captures_is_in_the_header() -> None:
    text = (INCLUDE / "tlsnic_hw.h").read_text(encoding="utf-8")
    assert not re.findall(r"(?i)tlsnic_(?:trace|dma_purpose|tls_outcome|device_input)\w*", text)


def test_sizes_and_offsets_of_structures_agree_with_python(tmp_path: Path) -> None:
    expected: dict[str, int] = {}
    for name, kind in DRIVER_STRUCTURES.items():
        expected[f"sizeof(struct tlsnic_{name})"] = kind.SIZE
        assert kind.STRUCT.size == kind.SIZE
        if kind.OPCODE is not None:
            suffix = "EVENT_TYPE" if kind.KIND == "event" else "OPCODE"
            expected[f"TLSNIC_{name.upper()}_{suffix}"] = kind.OPCODE
        for member in kind.members():
            where = f"struct tlsnic_{name}, {member.name}"
            expected[f"offsetof({where})"] = member.offset
            expected[f"sizeof(((struct tlsnic_{name} *)0)->{member.name})"] = member.size_bytes
            assert getattr(kind, f"OFFSET_{member.name.upper()}") == member.offset
    assert evaluate(tmp_path, list(expected)) == expected


def test_bytes_that_python_packs_are_what_c_reads(tmp_path: Path) -> None:
    checks: list[str] = []
    for name, kind in DRIVER_STRUCTURES.items():
        members = kind.members()
        values = [
            bytes(range(m.offset, m.offset + m.size_bytes))
            if m.is_bytes
            else int.from_bytes(bytes(0x80 ^ m.offset + i for i in range(m.size_bytes)), "little")
            for m in members
        ]
        data = ", ".join(str(byte) for byte in kind(*values).pack())
        checks.append(f"static const uint8_t {name}_data[] = {{{data}}};")
        checks.append(f"struct tlsnic_{name} {name};")
        checks.append(f"memcpy(&{name}, {name}_data, sizeof({name}));")
        for member, value in zip(members, values, strict=True):
            if isinstance(value, bytes):
                test = f"memcmp({name}.{member.name}, {name}_data + {member.offset}, {len(value)})"
            else:
                test = f"{name}.{member.name} != {value}ULL"
            checks.append(f'if ({test}) puts("{name}.{member.name}");')
    body = "\n".join(checks)
    output = compile_and_run(
        tmp_path,
        "#include <stdio.h>\n#include <string.h>\n#include <tlsnic_hw.h>\n"
        f"int main(void)\n{{\n{body}\nreturn 0;\n}}\n",
    )
    assert output == ""


def test_register_constants_agree_with_python(tmp_path: Path) -> None:
    expected: dict[str, int] = {}
    for register_map in MAPS:
        expected[f"TLSNIC_{register_map.name.upper()}_SIZE"] = register_map.size_bytes
        for register in register_map.registers:
            expected[f"TLSNIC_REG_{register.name}"] = register.offset
            for field in register.fields:
                if field.width_bits < register.width_bits:
                    prefix = f"TLSNIC_{register.name}_{field.name}"
                    expected[f"{prefix}_SHIFT"] = field.lsb
                    expected[f"{prefix}_MASK"] = field.mask
    for name, value in vars(registers).items():
        if name.endswith(("_STRIDE", "_COUNT")) and isinstance(value, int):
            c_name = f"TLSNIC_REG_{name}"
            if c_name in (INCLUDE / "tlsnic_hw.h").read_text(encoding="utf-8"):
                expected[c_name] = value
    assert evaluate(tmp_path, list(expected)) == expected


def test_enumerations_agree_with_python(tmp_path: Path) -> None:
    expected = {
        f"TLSNIC_{snake_case(name).upper()}_{member}": int(value)
        for name, kind in vars(enums).items()
        if isinstance(kind, type) and kind.__module__ == enums.__name__
        if name not in TRACE_ENUMS
        for member, value in kind.__members__.items()
    }
    assert expected
    assert evaluate(tmp_path, list(expected)) == expected


def test_no_register_constant_of_the_header_is_unknown_to_python() -> None:
    """So that no register constant of the header escapes the test above."""
    text = (INCLUDE / "tlsnic_hw.h").read_text(encoding="utf-8")
    names = set(re.findall(r"#define TLSNIC_REG_(\w+) ", text))
    assert {name for name in names if not hasattr(registers, name)} == set()


def test_peakrdl_cheader_agrees_on_offsets_masks_and_resets(tmp_path: Path) -> None:
    for register_map in MAPS:
        compiler = RDLCompiler()
        compiler.compile_file(str(RDL))
        top = compiler.elaborate(register_map.name).top
        path = tmp_path / f"{register_map.name}.h"
        CHeaderExporter().export(top, str(path), reuse_typedefs=False)
        text = path.read_text(encoding="utf-8")
        masks = dict(re.findall(r"#define (\w+)_bm (0x[0-9a-f]+)", text))
        resets = dict(re.findall(r"#define (\w+)_reset (0x[0-9a-f]+)", text))
        theirs: list[str] = []
        ours: list[int] = []
        for register in register_map.registers:
            place, prefix = peak_names(top, register.name, register_map.name)
            theirs.append(f"offsetof({register_map.name}_t, {place})")
            ours.append(register.offset)
            for field in register.fields:
                name = f"{prefix}__{field.name}"
                assert int(masks[name], 16) == field.mask
                assert (int(resets[name], 16) if name in resets else None) == field.reset
        header = f'#include <stddef.h>\n#include "{path}"\n'
        values = evaluate(tmp_path, [*theirs, f"sizeof({register_map.name}_t)"], header)
        assert [values[name] for name in theirs] == ours
        assert values[f"sizeof({register_map.name}_t)"] <= register_map.size_bytes


def peak_names(top: AddrmapNode, name: str, map_name: str) -> tuple[str, str]:
    """Member path and macro prefix that peakrdl-cheader gives to our register `name`."""
    for child in top.children():
        index, mark = ("[0]", "X") if child.array_dimensions else ("", "")
        place, prefix = f"{child.inst_name}{index}", f"{map_name}__{child.inst_name}{mark}"
        if child.inst_name.upper() == name:
            return place, prefix.upper()
        for register in child.registers() if isinstance(child, RegfileNode) else ():
            if f"{child.inst_name}_{register.inst_name}".upper() == name:
                return (
                    f"{place}.{register.inst_name}",
                    f"{prefix}__{register.inst_name}".upper(),
                )
    raise KeyError(name)


@pytest.mark.parametrize("standard", ["c++17", "c++11"])
def test_header_is_valid_cpp(standard: str, tmp_path: Path) -> None:
    if shutil.which("g++") is None:
        pytest.skip("needs g++")
    source = tmp_path / "program.cc"
    source.write_text("#include <tlsnic_hw.h>\n", encoding="utf-8")
    subprocess.run(
        ["g++", f"-std={standard}", *STRICT[1:], "-I", str(INCLUDE), "-c", str(source)],
        check=True,
        cwd=tmp_path,
    )


def test_header_uses_kernel_types_in_the_kernel(tmp_path: Path) -> None:
    """The kernel's headers are played by stand-ins, so that a wrong include is noticed."""
    stand_in = tmp_path / "linux"
    stand_in.mkdir()
    (stand_in / "stddef.h").write_text("#define offsetof(t, m) __builtin_offsetof(t, m)\n")
    (stand_in / "types.h").write_text(
        "typedef unsigned char uint8_t;\ntypedef unsigned short __le16;\n"
        "typedef unsigned int __le32;\ntypedef unsigned long long __le64;\n"
    )
    source = tmp_path / "program.c"
    source.write_text("#include <tlsnic_hw.h>\n", encoding="utf-8")
    subprocess.run(
        [
            "gcc", *STRICT, "-nostdinc", "-D__KERNEL__", "-I", str(tmp_path), "-I", str(INCLUDE),
            "-c", str(source), "-o", str(tmp_path / "program.o"),
        ],
        check=True,
    )  # fmt: skip
