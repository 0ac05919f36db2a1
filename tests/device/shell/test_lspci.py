"""Configuration space as lspci shows it, with lspci as the judge."""

import shutil
import subprocess

import pytest
from shell_rig import config_space

from tlsnic.device.shell import lspci
from tlsnic.device.vfu import capabilities
from tlsnic.qemu.parts import PartError, guest

_PATH = "/usr/sbin:/sbin:/usr/bin:/bin"
_FOLDER = "/usr/lib/x86_64-linux-gnu"
_LIBRARIES = (
    *("libpci.so.3", "libc.so.6", "libz.so.1", "libudev.so.1", "libkmod.so.2", "libcap.so.2"),
    *("libzstd.so.1", "liblzma.so.5", "libcrypto.so.3", "libresolv.so.2", "libm.so.6"),
)


@pytest.fixture(scope="module")
def run_lspci(tmp_path_factory):
    """lspci of the guest's image, run by the image's own loader: other versions have other words."""
    tool = shutil.which("debugfs", path=_PATH)
    try:
        image = guest(make=False).image
    except PartError as error:
        pytest.skip(f"there is no guest to take lspci from: {error}")
    if tool is None:
        pytest.skip("there is no debugfs to take lspci out of the guest's image")
    folder = tmp_path_factory.mktemp("lspci")

    def debugfs(*commands):
        text = "\n".join(commands)
        argv = [tool, "-f", "/dev/stdin", image]
        return subprocess.run(argv, input=text, text=True, capture_output=True, check=True).stdout

    # Most libraries are links to what has the whole version in its name.
    names = debugfs(f"ls -p {_FOLDER}").split("/")
    wanted = {}
    for library in _LIBRARIES:
        full = max((name for name in names if name.startswith(library)), key=len, default=None)
        if full is not None:
            wanted[f"{_FOLDER}/{full}"] = library
    wanted |= {"/usr/bin/lspci": "lspci", f"{_FOLDER}/ld-linux-x86-64.so.2": "ld.so"}
    debugfs(*(f"dump {source} {folder}/{name}" for source, name in wanted.items()))
    for name in ("lspci", "ld.so"):
        (folder / name).chmod(0o755)
    return [folder / "ld.so", "--library-path", folder, folder / "lspci"]


def judged(argv, data, tmp_path):
    """What lspci says of `data`, without the lines that it makes up.

    From a file it does not know which BARs there are: the upper halves of 64-bit ones are shown as
    BARs of their own. Nor does it know sizes.
    """
    dump = "\n".join(f"{at:02x}: {data[at : at + 16].hex(' ')}" for at in range(0, 256, 16))
    file = tmp_path / "config"
    file.write_text(f"00:00.0 x\n{dump}\n")
    done = subprocess.run(
        [*argv, "-F", file, "-vvv", "-n"], capture_output=True, text=True, check=True
    )
    lines = done.stdout.rstrip("\n").split("\n")
    return [line for line in lines[1:] if "I/O ports at" not in line and line.strip()]


def ours(data):
    lines = lspci.decode(data).lines()[1:]
    return [line.partition(" [size=")[0] for line in lines]


def as_lspci_n(lines):
    """Subsystem without the word Device, as -n prints it."""
    return [line.replace("Subsystem: Device ", "Subsystem: ") for line in lines]


def real_config_space(**express):
    """A function with the capabilities of the card, made by the card's own code."""
    data = bytearray(config_space())
    data[0x34] = 0x40
    at = 0x40
    parts = [
        capabilities.power_management(),
        capabilities.express_endpoint(**express),
        capabilities.msix(64, table_bar=4, table_offset=0, pba_bar=4, pba_offset=0x800),
    ]
    for number, part in enumerate(parts):
        end = at + (len(part) + 3 & ~3)
        data[at:end] = part.ljust(end - at, b"\0")
        data[at + 1] = end if number < len(parts) - 1 else 0
        at = end
    return data


@pytest.mark.parametrize(
    "express",
    [
        {},
        {"function_level_reset": False, "max_payload_bytes": 4096},
        {"link_speed": 1, "link_width": 1},
        {"link_speed": 5, "link_width": 8},
    ],
)
def test_every_line_is_lspcis(run_lspci, tmp_path, express):
    data = bytes(real_config_space(**express))
    assert as_lspci_n(ours(data)) == as_lspci_n(judged(run_lspci, data, tmp_path))


def test_bits_that_are_set(run_lspci, tmp_path):
    """Command, status, power state, MSI-X and the Express control registers with other values."""
    data = real_config_space()
    data[4:8] = bytes.fromhex("47013008")
    data[0x0C:0x0E] = b"\x10\x40"
    data[0x3C:0x3E] = b"\x0b\x02"
    data[0x44] |= 3
    msix = bytes(data).index(bytes([0x11, 0, 63, 0]))
    data[msix + 3] = 0xC0
    express = 0x48
    data[express + 8 : express + 12] = bytes.fromhex("5f290a00")
    data[express + 0x28] = 0x16
    assert as_lspci_n(ours(bytes(data))) == as_lspci_n(judged(run_lspci, bytes(data), tmp_path))


def test_function_without_capabilities_and_with_a_loop_of_them():
    data = bytearray(config_space())
    data[6] = 0
    assert lspci.decode(bytes(data)).capabilities == ()
    data = bytearray(config_space())
    data[0x41] = 0x40
    assert len(lspci.decode(bytes(data)).capabilities) == 1


def test_values_for_programs():
    function = lspci.decode(bytes(real_config_space())).as_json()
    assert (function["vendor_id"], function["device_id"]) == (0x1234, 0x715C)
    assert function["command"]["BusMaster"] is True
    assert [bar["bar"] for bar in function["bars"]] == [0, 2, 4]
    names = [capability["name"] for capability in function["capabilities"]]
    assert names == ["Power Management", "Express", "MSI-X"]
    assert function["capabilities"][2]["count"] == 64


def test_dump_has_what_there_is():
    data = bytearray(config_space())
    assert len(lspci.dump(bytes(data))) == 16
    data[0x100] = 1
    assert len(lspci.dump(bytes(data))) == 256
