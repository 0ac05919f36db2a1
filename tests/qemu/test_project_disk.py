"""The project's disk, read back with debugfs: what is on it, and what is made again when."""

import os
import shutil
import subprocess
import sys

import pytest

from tlsnic.qemu import project_disk
from tlsnic.qemu.errors import UserError
from tlsnic.qemu.parts import PROJECT_LABEL

SBIN = f"{os.environ['PATH']}:/usr/sbin:/sbin"
pytestmark = pytest.mark.skipif(
    shutil.which("debugfs", path=SBIN) is None, reason="needs e2fsprogs"
)


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = tmp_path / "source"
    for path, text in {
        "device/tlsnic/abi/regs.py": "A = 1\n",
        "device/tlsnic/device/secret.py": "B = 2\n",
        "driver/tlsnic/driver/queue.py": "def f():\n    return 3\n",
        "qemu/tlsnic/qemu/guest/init": "#!/bin/sh\n",
        "guest-tests/test_bus.py": "D = 4\n",
        "guest-tests/__pycache__/test_bus.cpython-311.pyc": "host's",
        "README.md": "not for the guest\n",
    }.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (root / "qemu/tlsnic/qemu/guest/init").chmod(0o755)
    return root


def make(source, tmp_path, **options):
    image = tmp_path / "project.img"
    options.setdefault("command", None)
    project_disk.make(image, root=source, python=(sys.executable,), **options)
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix) == ["project.img"]
    return image


def debugfs(image, request: str) -> str:
    done = subprocess.run(
        ["debugfs", "-R", request, str(image)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PATH": SBIN},
    )
    return done.stdout


def contents(image, tmp_path) -> dict[str, str]:
    out = tmp_path / "out"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    debugfs(image, f"rdump / {out}")
    return {
        str(path.relative_to(out)): path.read_text(errors="replace")
        for path in out.rglob("*")
        if path.is_file()
    }


def test_the_guest_gets_the_driver_and_the_tests_but_not_the_device(source, tmp_path):
    files = contents(make(source, tmp_path), tmp_path)
    assert {path for path in files if "__pycache__" not in path} == {
        "device/tlsnic/abi/regs.py",
        "driver/tlsnic/driver/queue.py",
        "qemu/tlsnic/qemu/guest/init",
        "guest-tests/test_bus.py",
        ".launch/env",
    }
    assert "host's" not in files.values()


def test_label_owner_and_mode_are_what_the_guest_expects(source, tmp_path):
    image = make(source, tmp_path)
    assert f"Filesystem volume name:   {PROJECT_LABEL}\n" in debugfs(image, "stats")
    init = debugfs(image, "stat qemu/tlsnic/qemu/guest/init")
    assert "Mode:  0755" in init


def test_byte_code_is_valid_for_the_files_on_the_disk(source, tmp_path):
    image = make(source, tmp_path)
    out = tmp_path / "out"
    out.mkdir()
    debugfs(image, f"rdump /driver {out}")
    (code,) = out.rglob("queue.*.pyc")
    # PEP 552: flags 0 say that time and size of the source follow.
    header = code.read_bytes()[:16]
    flags, mtime_s, size_bytes = (
        int.from_bytes(header[at : at + 4], "little") for at in (4, 8, 12)
    )
    status = os.stat(source / "driver/tlsnic/driver/queue.py")
    assert (flags, mtime_s, size_bytes) == (0, int(status.st_mtime), status.st_size)
    assert b"/project/driver/tlsnic/driver/queue.py" in code.read_bytes()


def test_changed_added_and_removed_files_are_followed(source, tmp_path):
    make(source, tmp_path)
    (source / "guest-tests/test_bus.py").write_text("D = 5\n")
    os.utime(source / "guest-tests/test_bus.py", (1_000_000_000, 1_000_000_000))
    (source / "driver/tlsnic/driver/queue.py").unlink()
    (source / "examples").mkdir()
    (source / "examples/first.py").write_text("E = 6\n")
    files = contents(make(source, tmp_path), tmp_path)
    assert files["guest-tests/test_bus.py"] == "D = 5\n"
    assert files["examples/first.py"] == "E = 6\n"
    assert "driver/tlsnic/driver/queue.py" not in files


def test_the_command_and_its_environment_reach_a_shell_unharmed(source, tmp_path):
    words = ["printf", "%s|", "it's", "a b", "$HOME", "new\nline"]
    env = {"VALUE": "'quoted' $(x)"}
    files = contents(make(source, tmp_path, command=words, env=env), tmp_path)
    script = files[".launch/env"] + files[".launch/command"].replace("cd /project", "cd /")
    run = subprocess.run(
        ["sh", "-c", script + '\nprintf "%s" "never"'], capture_output=True, text=True, check=True
    )
    assert run.stdout == "it's|a b|$HOME|new\nline|"
    value = subprocess.run(
        ["sh", "-c", files[".launch/env"] + 'printf %s "$VALUE"'], capture_output=True, check=True
    )
    assert value.stdout == b"'quoted' $(x)"


def test_a_python_that_does_not_run_costs_only_the_byte_code(source, tmp_path, capfd):
    image = tmp_path / "project.img"
    project_disk.make(image, root=source, python=("/no/python",), command=None)
    assert "compile for itself" in capfd.readouterr().err
    assert "guest-tests/test_bus.py" in contents(image, tmp_path)


def test_a_disk_that_cannot_be_written_is_one_clear_line(source, tmp_path):
    (tmp_path / "file").write_text("in the way")
    image = tmp_path / "file/project.img"
    with pytest.raises(UserError, match="project's disk"):
        project_disk.make(image, root=source, python=None, command=None)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to limit a file system")
def test_a_full_disk_is_one_clear_line_and_leaves_nothing(source, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    (source / "examples").mkdir()
    (source / "examples/large.bin").write_bytes(os.urandom(1 << 20))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "none", str(small)], check=True)
    try:
        with pytest.raises(UserError, match=r"project's disk.*free some disk space"):
            project_disk.make(small / "p.img", root=source, python=None, command=None)
        assert not (small / "p.tree").exists()
    finally:
        subprocess.run(["umount", str(small)], check=True)
