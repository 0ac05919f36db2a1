"""The Linux driver as a part: what decides whether it is built again, and that its build is clean."""

import shutil
from pathlib import Path

import pytest

from tlsnic.qemu import parts
from tlsnic.qemu.parts import Console, PartError, _kernel_module
from tlsnic.qemu.parts._apt import Archive
from tlsnic.qemu.parts._cache import ensure, problem
from tlsnic.qemu.project_disk import project_root

RELEASE = "6.12.1-cloud-amd64"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    source = tmp_path / "tree"
    shutil.copytree(project_root() / "driver/linux", source / "driver/linux")
    header = "device/tlsnic/abi/include/tlsnic_hw.h"
    (source / header).parent.mkdir(parents=True)
    shutil.copy(project_root() / header, source / header)
    return source


def hash_of(source: Path, root: Path, release: str = RELEASE) -> str:
    return _kernel_module.recipe(Archive(root), root, source, release).hash()


def test_sources_are_c_files_makefile_and_the_generated_header(tree):
    names = {path.name for path in _kernel_module.sources(tree)}
    assert {"tlsnic_main.c", "tlsnic.h", "tlsnic_hw.h", "Makefile"} <= names
    assert not any(name.endswith((".o", ".conf")) for name in names)


def test_is_built_again_for_another_kernel_source_or_header(tree, tmp_path):
    before = hash_of(tree, tmp_path)
    assert hash_of(tree, tmp_path) == before
    assert hash_of(tree, tmp_path, "7.2.1-cloud-amd64") != before
    (tree / "driver/linux/notes.txt").write_text("not built")
    assert hash_of(tree, tmp_path) == before
    for name in ("driver/linux/tlsnic_main.c", "device/tlsnic/abi/include/tlsnic_hw.h"):
        with (tree / name).open("a") as file:
            file.write("\n")
        after = hash_of(tree, tmp_path)
        assert after != before
        before = after


def test_own_module_wins(monkeypatch, tmp_path):
    module = tmp_path / "tlsnic.ko"
    module.write_bytes(b"\x7fELF")
    monkeypatch.setenv(_kernel_module.VARIABLE, str(module))
    assert parts.kernel_module(release="", source=tmp_path) == module
    monkeypatch.setenv(_kernel_module.VARIABLE, str(tmp_path / "missing.ko"))
    with pytest.raises(PartError, match="is not a file"):
        parts.kernel_module(release="", source=tmp_path)


def test_kernel_of_ones_own_needs_a_module_of_ones_own(monkeypatch, tmp_path):
    monkeypatch.delenv(_kernel_module.VARIABLE, raising=False)
    with pytest.raises(PartError, match="kernel of your own") as failure:
        parts.kernel_module(release="", source=tmp_path)
    assert _kernel_module.VARIABLE in failure.value.fix


@pytest.fixture
def guest():
    """Whose kernel the driver is for. Headers that are not in the cache `make parts` has to get."""
    try:
        guest = parts.guest(make=False)
    except PartError as error:
        pytest.skip(str(error))
    root = parts.cache_root()
    headers = _kernel_module.headers_recipe(Archive(root), guest.release, guest.suite)
    if not guest.release or problem(headers, root) is not None:
        pytest.skip("no kernel headers in the cache")
    return guest


@pytest.mark.slow
def test_builds_without_a_word_from_compiler_and_sparse(guest):
    """With W=1. What was said is kept with the module, which is built only when there is none of
    the same sources, kernel and commands."""
    root = parts.cache_root()
    source, release, suite = project_root(), guest.release, guest.suite
    recipe = _kernel_module.recipe(Archive(root), root, source, release, suite)
    made = ensure(recipe, root, Console())
    assert (made / _kernel_module.WARNINGS).read_text() == ""
    assert (made / _kernel_module.MODULE).read_bytes().startswith(b"\x7fELF")


MAKEFILE = """\
ifneq ($(KERNELRELEASE),)
obj-m := tlsnic.o
else
modules:
\t$(MAKE) -C $(KDIR) M=$(CURDIR) modules
endif
"""
LOUD = """\
#include <linux/module.h>
int neither_declared_nor_static(void) { return 0; }
MODULE_DESCRIPTION("Small");
MODULE_LICENSE("GPL");
"""


@pytest.mark.slow
def test_a_user_can_build_and_hears_compiler_and_sparse(guest, monkeypatch, tmp_path):
    """A user does not look where root's programs are. For that a small module will do."""
    root = parts.cache_root()
    headers = _kernel_module.headers_recipe(Archive(root), guest.release, guest.suite)
    tree = ensure(headers, root, Console()) / "tree"
    (tmp_path / "Makefile").write_text(MAKEFILE)
    (tmp_path / "tlsnic.c").write_text(LOUD)
    monkeypatch.setenv("PATH", "/usr/local/bin:/usr/bin:/bin")
    monkeypatch.setenv("LC_CTYPE", "C.UTF-8")
    said = _kernel_module._make(tree, tmp_path, guest.release)
    assert "no previous prototype" in said, "W=1"
    if _kernel_module._sparse_knows(tree):
        assert "Should it be static?" in said, "sparse"
    assert (tmp_path / _kernel_module.MODULE).read_bytes().startswith(b"\x7fELF")
