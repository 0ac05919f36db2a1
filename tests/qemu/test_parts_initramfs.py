"""The initial RAM disk: judged by cpio, and its script by a real shell's parser."""

import lzma
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from tlsnic.qemu.parts import _initramfs
from tlsnic.qemu.parts._initramfs import Entry, archive


@pytest.mark.skipif(shutil.which("cpio") is None, reason="cpio, the judge, is not installed")
def test_archive_is_what_cpio_reads(tmp_path: Path) -> None:
    data = archive(
        {
            "dir": Entry(stat.S_IFDIR | 0o755),
            "dir/odd": Entry(stat.S_IFREG | 0o640, b"12345"),
            "empty": Entry(stat.S_IFREG | 0o755),
        }
    )
    run = subprocess.run(
        ["cpio", "-i", "-d", "--quiet"], input=data, cwd=tmp_path, capture_output=True, check=True
    )
    assert run.stderr == b""
    assert (tmp_path / "dir/odd").read_bytes() == b"12345"
    assert (tmp_path / "dir/odd").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "empty").read_bytes() == b""
    listed = subprocess.run(
        ["cpio", "-t", "-v", "--quiet", "-n"],
        input=archive({"console": Entry(stat.S_IFCHR | 0o600, device=(5, 1))}),
        capture_output=True,
        check=True,
    ).stdout.decode()
    assert listed.startswith("crw-------")
    assert "5,   1" in listed


def test_archive_does_not_depend_on_time_or_user() -> None:
    entries = {"a": Entry(stat.S_IFREG | 0o644, b"x")}
    assert archive(entries) == archive(dict(entries))


def test_modules_are_unpacked_and_keep_their_order(tmp_path: Path) -> None:
    (tmp_path / "busybox").write_bytes(b"box")
    (tmp_path / "zz.ko.xz").write_bytes(lzma.compress(b"first module"))
    (tmp_path / "aa.ko").write_bytes(b"second module")
    modules = [tmp_path / "zz.ko.xz", tmp_path / "aa.ko"]
    _initramfs.write(tmp_path / "initrd", tmp_path / "busybox", modules)
    data = (tmp_path / "initrd").read_bytes()
    assert b"lib/0-zz.ko\0" in data
    assert b"lib/1-aa.ko\0" in data
    assert b"first module" in data
    assert b"second module" in data


def test_script_is_valid_shell_and_names_the_labels() -> None:
    subprocess.run(["sh", "-n"], input=_initramfs._INIT, text=True, check=True)
    for word in (_initramfs.ROOT_LABEL, _initramfs.PROJECT_LABEL, _initramfs.GUEST_INIT):
        assert word in _initramfs._INIT
