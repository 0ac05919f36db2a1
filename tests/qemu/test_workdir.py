"""Work directories go with their run, and what killed runs left is swept up by the next."""

import subprocess
import sys

import pytest

from tlsnic.qemu import workdir
from tlsnic.qemu.errors import UserError


@pytest.fixture(autouse=True)
def private_tmp(tmp_path_factory, monkeypatch):
    path = tmp_path_factory.mktemp("t")
    monkeypatch.setattr(workdir, "_parent", lambda: path)
    return path


def test_the_directory_is_private_and_gone_afterwards():
    with workdir.work_directory() as path:
        assert path.stat().st_mode & 0o777 == 0o700
        (path / "file").write_text("x")
    assert not path.exists()


def test_it_is_gone_after_a_failure_too():
    with pytest.raises(RuntimeError), workdir.work_directory() as path:
        raise RuntimeError
    assert not path.exists()


def test_a_killed_runs_directory_is_stale_and_removed_by_the_next_run(private_tmp):
    code = (
        "import os, signal, sys, pathlib\n"
        "from tlsnic.qemu import workdir\n"
        "workdir._parent = lambda: pathlib.Path(sys.argv[1])\n"
        "with workdir.work_directory() as path:\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(private_tmp)], check=False)
    (left,) = workdir.stale()
    with workdir.work_directory() as path:
        assert not left.exists()
        assert path.exists()


def test_a_living_runs_directory_is_left_alone():
    with workdir.work_directory() as first, workdir.work_directory():
        assert workdir.stale() == []
        assert first.exists()


def test_another_programs_directory_of_a_like_name_is_left_alone(private_tmp):
    other = private_tmp / "tlsnic-notes"
    other.mkdir()
    with workdir.work_directory():
        assert other.exists()


def test_no_place_for_it_is_one_clear_line(monkeypatch, tmp_path):
    monkeypatch.setattr(workdir, "_parent", lambda: tmp_path / "missing")
    with pytest.raises(UserError, match="TMPDIR"), workdir.work_directory():
        pass
