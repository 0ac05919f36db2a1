"""Parts that the user brings along through the environment are checked before use."""

import ctypes.util
import subprocess
from pathlib import Path

import pytest

from tlsnic.qemu import parts
from tlsnic.qemu.parts import PartError, _qemu

HELP = 'name "vfio-user-pci", bus PCI'


def fake_qemu(path: Path, version: str, devices: str = HELP) -> Path:
    path.write_text(
        f"""#!/bin/sh
case "$1" in
--version) echo '{version}';;
-device) echo '{devices}';;
esac
"""
    )
    path.chmod(0o755)
    return path


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("LIBVFIO_USER", "QEMU", "KERNEL", "INITRD", "IMAGE"):
        monkeypatch.delenv(f"TLSNIC_{name}", raising=False)


def test_own_qemu_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = fake_qemu(tmp_path / "q", "QEMU emulator version 10.1.0 (x)")
    monkeypatch.setenv("TLSNIC_QEMU", str(path))
    qemu = parts.qemu(make=False)
    assert qemu.argv_prefix == (str(path),)
    assert qemu.version == (10, 1, 0)
    assert qemu.version_text() == "10.1.0"


@pytest.mark.parametrize(
    ("version", "devices", "message"),
    [
        ("QEMU emulator version 7.2.22", HELP, "QEMU 7.2.22 is too old"),
        ("QEMU emulator version 10.0.9", HELP, "QEMU 10.0.9 is too old"),
        ("QEMU emulator version 11.0.1", 'name "e1000"', "without the device vfio-user-pci"),
        ("GNU bash, version 5.2.15", HELP, "this is not QEMU"),
    ],
)
def test_unusable_own_qemu_is_refused_with_a_fix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, devices: str, message: str
) -> None:
    path = fake_qemu(tmp_path / "q", version, devices)
    monkeypatch.setenv("TLSNIC_QEMU", str(path))
    with pytest.raises(PartError, match=message) as caught:
        parts.qemu(make=False)
    assert "TLSNIC_QEMU" in caught.value.fix


def test_own_qemu_that_does_not_start_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "q"
    path.write_text("#!/bin/sh\necho 'cannot open shared object libx' >&2; exit 127\n")
    path.chmod(0o755)
    monkeypatch.setenv("TLSNIC_QEMU", str(path))
    with pytest.raises(PartError, match="does not run: cannot open shared object libx"):
        parts.qemu(make=False)
    monkeypatch.setenv("TLSNIC_QEMU", str(tmp_path / "absent"))
    with pytest.raises(PartError, match="absent is not a program"):
        parts.qemu(make=False)


def test_machines_qemu_is_used_only_with_the_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    fake_qemu(tmp_path / _qemu.PROGRAM, "QEMU emulator version 10.2.1")
    assert parts.qemu(make=False).source == str(tmp_path / _qemu.PROGRAM)
    other = tmp_path / "other"
    other.mkdir()
    monkeypatch.setenv("PATH", f"{other}:/usr/bin:/bin")
    fake_qemu(other / _qemu.PROGRAM, "QEMU emulator version 7.2.1")
    with pytest.raises(PartError, match="qemu: not made yet") as caught:
        parts.qemu(make=False)
    assert parts.MAKE_COMMAND in caught.value.fix


def test_own_library_must_be_a_loadable_libvfio_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TLSNIC_LIBVFIO_USER", str(tmp_path / "absent.so"))
    with pytest.raises(PartError, match="is not a file"):
        parts.libvfio_user_path(make=False)
    text = tmp_path / "text.so"
    text.write_text("no library")
    monkeypatch.setenv("TLSNIC_LIBVFIO_USER", str(text))
    with pytest.raises(PartError, match="cannot be loaded"):
        parts.libvfio_user_path(make=False)
    libm = ctypes.util.find_library("m")
    ldconfig = ["/sbin/ldconfig", "-p"]
    listed = subprocess.run(ldconfig, capture_output=True, text=True, check=True).stdout
    path = next(line.split()[-1] for line in listed.splitlines() if f"{libm} (" in line)
    monkeypatch.setenv("TLSNIC_LIBVFIO_USER", path)
    with pytest.raises(PartError, match="is not a libvfio-user") as caught:
        parts.libvfio_user_path(make=False)
    assert "TLSNIC_LIBVFIO_USER" in caught.value.fix


def kernel(path: Path, magic: bytes = b"HdrS") -> Path:
    path.write_bytes(bytes(0x202) + magic + bytes(100))
    return path


def image(path: Path, magic: bytes = b"\x53\xef") -> Path:
    path.write_bytes(bytes(1024 + 0x38) + magic + bytes(100))
    return path


def test_own_kernel_and_image_need_nothing_from_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TLSNIC_KERNEL", str(kernel(tmp_path / "k")))
    monkeypatch.setenv("TLSNIC_IMAGE", str(image(tmp_path / "i")))
    guest = parts.guest(make=False)
    assert (guest.kernel, guest.initrd, guest.image) == (tmp_path / "k", None, tmp_path / "i")
    assert guest.python is None
    monkeypatch.setenv("TLSNIC_INITRD", str(tmp_path / "k"))
    assert parts.guest(make=False).initrd == tmp_path / "k"


def test_wrong_own_kernel_image_and_initrd_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TLSNIC_KERNEL", str(kernel(tmp_path / "k", b"Nope")))
    with pytest.raises(PartError, match="not a Linux kernel for x86"):
        parts.guest(make=False)
    monkeypatch.setenv("TLSNIC_KERNEL", str(kernel(tmp_path / "k")))
    monkeypatch.setenv("TLSNIC_IMAGE", str(image(tmp_path / "i", b"QF")))
    with pytest.raises(PartError, match="not a raw ext4 file system"):
        parts.guest(make=False)
    monkeypatch.setenv("TLSNIC_IMAGE", str(image(tmp_path / "i")))
    monkeypatch.setenv("TLSNIC_INITRD", str(tmp_path))
    with pytest.raises(PartError, match=r"TLSNIC_INITRD: .* is not a file"):
        parts.guest(make=False)


def test_own_image_judged_by_mke2fs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "real.img"
    subprocess.run(
        ["mke2fs", "-q", "-t", "ext4", path, "4M"],
        check=True,
        env={"PATH": "/usr/sbin:/sbin:/usr/bin:/bin"},
    )
    monkeypatch.setenv("TLSNIC_IMAGE", str(path))
    monkeypatch.setenv("TLSNIC_KERNEL", str(kernel(tmp_path / "k")))
    assert parts.guest(make=False).image == path
