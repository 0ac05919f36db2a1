"""The real parts, when they are in the cache: sound to the last byte, and of use."""

import ctypes
import subprocess
from pathlib import Path

import pytest

from tlsnic.qemu import parts
from tlsnic.qemu.parts import Guest, PartError, Qemu


@pytest.fixture(scope="module")
def guest() -> Guest:
    try:
        return parts.guest(make=False)
    except PartError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def qemu() -> Qemu:
    try:
        return parts.qemu(make=False)
    except PartError as error:
        pytest.skip(str(error))


def test_library_loads_and_knows_its_entries() -> None:
    try:
        path = parts.libvfio_user_path(make=False)
    except PartError as error:
        pytest.skip(str(error))
    library = ctypes.CDLL(str(path))
    library.dma_sg_size.restype = ctypes.c_size_t
    assert library.dma_sg_size() > 0


def test_qemu_runs_with_the_device(qemu: Qemu) -> None:
    assert qemu.version >= (10, 1)
    out = subprocess.run(
        [*qemu.argv_prefix, "-device", "vfio-user-pci,help"],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    ).stdout
    assert "x-msg-timeout" in out


def test_image_is_a_sound_file_system_with_what_the_suite_uses(guest: Guest) -> None:
    path = {"PATH": "/usr/sbin:/sbin:/usr/bin:/bin"}
    subprocess.run(
        ["e2fsck", "-f", "-n", guest.image], check=True, capture_output=True, env=path, timeout=60
    )
    if guest.python is None:
        pytest.skip("the image is the user's own")
    wanted = [
        "/usr/bin/python3",
        "/usr/sbin/ethtool",
        "/usr/bin/openssl",
        "/usr/bin/lspci",
        "/usr/bin/awk",
        "/usr/sbin/modprobe",
        "/etc/passwd",
        "/project",
        "/usr/lib/python3/dist-packages/scapy/__pycache__/all.cpython-313.pyc",
    ]
    commands = "".join(f"stat {name}\n" for name in wanted)
    result = subprocess.run(
        ["debugfs", "-f", "/dev/stdin", guest.image],
        input=commands,
        capture_output=True,
        text=True,
        check=True,
        env=path,
        timeout=60,
    )
    assert "not found" not in result.stdout + result.stderr
    assert result.stdout.count("Inode: ") == len(wanted)
    owners = [line.split()[1] for line in result.stdout.splitlines() if line.startswith("User:")]
    assert owners == ["0"] * len(wanted)


def test_guests_python_compiles_for_the_guest(guest: Guest, tmp_path: Path) -> None:
    if guest.python is None:
        pytest.skip("the image is the user's own")
    source = tmp_path / "module.py"
    source.write_text("answer = 42\n")
    subprocess.run([*guest.python, "-m", "py_compile", source], check=True, timeout=60)
    (compiled,) = (tmp_path / "__pycache__").iterdir()
    assert compiled.name == "module.cpython-313.pyc"
    # The magic number of Python 3.13's byte code (importlib/_bootstrap_external.py).
    assert compiled.read_bytes()[:4] == (3571).to_bytes(2, "little") + b"\r\n"
