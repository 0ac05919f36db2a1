"""Says which files are generated, and makes the text of each."""

from pathlib import Path

from tlsnic.abi.generate import c_header, lua, python
from tlsnic.abi.generate.read import read
from tlsnic.abi.generate.reference import reference

ROOT = Path(__file__).parents[4]
ABI = "device/tlsnic/abi"
RDL = ROOT / ABI / "rdl/tlsnic.rdl"
MANUAL = ROOT / ABI / "manual"


def outputs(rdl: Path, manual: Path, root: Path) -> dict[Path, str]:
    """Text of every generated file by its path below `root`; InterfaceError, OSError."""
    interface = read(rdl)
    abi = root / ABI
    return {
        abi / "enums.py": python.enums(interface),
        abi / "registers.py": python.registers(interface),
        abi / "structures.py": python.structures(interface),
        abi / "descriptions.py": python.descriptions(interface),
        abi / "include/tlsnic_hw.h": c_header.header(interface),
        abi / "lua/tlsnic.lua": lua.dissector(interface),
        root / "docs/reference.md": reference(interface, manual),
    }
