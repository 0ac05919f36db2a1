"""Taking the ELF file out of a bzImage, and telling whether QEMU can enter it."""

import os
import shutil
import struct
import subprocess

import pytest

from tlsnic.qemu import kernel


def elf(note_name: bytes = b"Xen\0", note_type: int = 18) -> bytes:
    """A minimal ELF file with one other note and then the given one."""
    notes = struct.pack("<III", 4, 6, 1) + b"GNU\0" + b"abcdef\0\0"
    notes += struct.pack("<III", len(note_name), 4, note_type) + note_name + b"\0\0\0\1"
    header = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    header += struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    program = struct.pack("<IIQQQQQQ", 4, 4, 64 + 56, 0, 0, len(notes), len(notes), 4)
    return header + program + notes + os.urandom(5000)


def bzimage(payload: bytes, unpacked_bytes: int) -> bytes:
    """boot.rst: payload_offset and payload_length count from the protected-mode code."""
    setup = bytearray(512 * 3)
    setup[0x1F1] = 2
    setup[0x202:0x206] = b"HdrS"
    payload += struct.pack("<I", unpacked_bytes)
    setup[0x248:0x250] = struct.pack("<II", 100, len(payload))
    return bytes(setup) + bytes(100) + payload + bytes(64)


@pytest.fixture
def zstd():
    if shutil.which("zstd") is None:
        pytest.skip("needs the program zstd")
    return lambda data: (
        subprocess.run(["zstd", "-q", "-c"], input=data, capture_output=True, check=True).stdout
    )


def test_the_kernel_is_unpacked_once_and_found_again(zstd, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "cache/tlsnic").mkdir(parents=True)
    inner = elf()
    image = tmp_path / "vmlinuz"
    image.write_bytes(bzimage(zstd(inner), len(inner)))
    found = kernel.unpacked(image)
    assert found.read_bytes() == inner
    monkeypatch.setattr(kernel, "extract", lambda image: pytest.fail("unpacked twice"))
    assert kernel.unpacked(image) == found


def test_a_kernel_without_pvh_entry_boots_as_it_is(zstd, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    image = tmp_path / "vmlinuz"
    inner = elf(note_type=17)
    image.write_bytes(bzimage(zstd(inner), len(inner)))
    assert kernel.unpacked(image) == image


@pytest.mark.parametrize(
    "image",
    [
        b"",
        b"\x7fELF" + bytes(2000),
        bzimage(b"\x1f\x8b" + bytes(100), 50),
        bzimage(b"\x28\xb5\x2f\xfd" + bytes(100), 50),
        bzimage(b"\x28\xb5\x2f\xfd" + bytes(100), 2**32 - 1),
        bzimage(b"\x28\xb5\x2f\xfd" + bytes(100), 50)[:1640],
    ],
)
def test_what_cannot_be_unpacked_is_left_alone(image, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "vmlinuz"
    path.write_bytes(image)
    assert kernel.unpacked(path) == path


def test_pvh_entry_is_told_by_owner_and_type_of_the_note():
    assert kernel.has_pvh_entry(elf())
    assert not kernel.has_pvh_entry(elf(note_name=b"Xeb\0"))
    assert not kernel.has_pvh_entry(elf(note_type=1))


def test_a_cut_elf_file_is_no_kernel():
    whole = elf()
    assert not any(kernel.has_pvh_entry(whole[:size]) for size in range(140))
