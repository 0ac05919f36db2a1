"""Finding and telling apart libvfio-user revisions."""

import ctypes
import errno
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import HEAD_VARIABLE

from tlsnic.device.vfu import (
    ENVIRONMENT_VARIABLE,
    Abi,
    Library,
    VfuAbiError,
    find_library,
    load_library,
)
from tlsnic.device.vfu._abi import SYMBOLS, DmaInfoC, IoVecC


def stub(directory: Path, *, sg_size_bytes: int = 40, extra: str = "", without: str = "") -> Path:
    """Compile a library that exports every symbol and does nothing."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    lines = [f"unsigned long dma_sg_size(void) {{ return {sg_size_bytes}; }}", extra]
    lines += [f"int {name}(void) {{ return 0; }}" for name in SYMBOLS if name != "dma_sg_size"]
    source = directory / "stub.c"
    source.write_text("\n".join(line for line in lines if not without or without not in line))
    target = directory / "libvfio-user.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", target, source], check=True, timeout=60)
    return target


def test_abi_is_recognized(library: Library) -> None:
    is_head = str(library.path) == os.path.realpath(os.environ.get(HEAD_VARIABLE, "/"))
    assert library.abi is (Abi.HEAD_2026 if is_head else Abi.JUNE_2022)


def test_setup_device_dma_takes_the_arguments_of_its_revision(library: Library) -> None:
    arguments = library.calls.vfu_setup_device_dma.argtypes
    if library.abi is Abi.JUNE_2022:
        assert len(arguments) == 3
    else:
        assert len(arguments) == 4
        assert arguments[1] is ctypes.c_size_t


def test_library_is_loaded_once(library: Library) -> None:
    assert load_library(library.path) is library


def test_missing_library_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(VfuAbiError, match=f"no file.*{ENVIRONMENT_VARIABLE}") as caught:
        load_library(tmp_path / "none.so")
    assert caught.value.errno == errno.ENOENT


def test_file_that_is_no_library_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.so"
    path.write_text("hello")
    with pytest.raises(VfuAbiError, match="cannot be loaded"):
        Library(path)


def test_library_without_a_function_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VfuAbiError, match="it lacks vfu_irq_trigger"):
        Library(stub(tmp_path, without="vfu_irq_trigger"))


def test_other_sg_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VfuAbiError, match="dma_sg_t of 48 bytes"):
        Library(stub(tmp_path, sg_size_bytes=48))


def test_revision_between_the_two_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VfuAbiError, match="between September 2023 and March 2026"):
        Library(stub(tmp_path))


def test_environment_variable_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "/some/where.so")
    assert find_library() == Path("/some/where.so")


def test_newest_of_the_cache_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(ENVIRONMENT_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(VfuAbiError, match="no libvfio-user under"):
        find_library()
    paths = [tmp_path / f"tlsnic/libvfio-user-{name}/lib/libvfio-user.so" for name in "ab"]
    for age, path in enumerate(paths):
        path.parent.mkdir(parents=True)
        path.touch()
        os.utime(path, (1000 - age, 1000 - age))
    assert find_library() == paths[0]


def test_iov_len_is_as_wide_as_size_t() -> None:
    assert IoVecC.iov_len.size == ctypes.sizeof(ctypes.c_size_t)
    assert IoVecC(0, 5 << 30).iov_len == 5 << 30
    assert ctypes.sizeof(DmaInfoC) == 56
