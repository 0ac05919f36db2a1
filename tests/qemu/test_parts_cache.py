"""The cache: whole or not at all, noticed when damaged, one builder at a time."""

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from io import StringIO
from pathlib import Path

import pytest

from tlsnic.qemu.parts import _cache
from tlsnic.qemu.parts._cache import Recipe, cache_root, ensure, notes, problem
from tlsnic.qemu.parts._console import Console
from tlsnic.qemu.parts._errors import PartError
from tlsnic.qemu.parts._run import run


class Maker:
    """A recipe's build that counts, and fails as told."""

    def __init__(self, error: BaseException | None = None, command: list[str] | None = None):
        self.error = error
        self.command = command
        self.builds = 0

    def __call__(self, into: Path, console: Console) -> Mapping[str, str]:
        self.builds += 1
        (into / "lib").mkdir()
        (into / "lib/part.so").write_bytes(b"\x7fELF" * 100)
        if self.command is not None:
            run(self.command)
        if self.error is not None:
            raise self.error
        return {"version": "1.2"}


def recipe(build: Maker, revision: int = 1, outputs: tuple[str, ...] = ("lib/*.so",), **more: int):
    return Recipe("part", {"revision": revision}, outputs, build, **more)


@pytest.fixture
def console() -> Console:
    return Console(StringIO())


def everything_in(root: Path) -> set[str]:
    return {path.name for path in root.iterdir()}


def test_part_is_made_once_and_then_found(tmp_path: Path, console: Console) -> None:
    maker = Maker()
    first = ensure(recipe(maker), tmp_path, console)
    second = ensure(recipe(maker), tmp_path, console)
    assert first == second == tmp_path / f"part-{recipe(maker).hash()}"
    assert (first / "lib/part.so").read_bytes() == b"\x7fELF" * 100
    assert maker.builds == 1
    assert notes(recipe(maker), tmp_path) == {"version": "1.2"}


def test_changed_recipe_gets_its_own_directory(tmp_path: Path, console: Console) -> None:
    maker = Maker()
    assert ensure(recipe(maker, 1), tmp_path, console) != ensure(
        recipe(maker, 2), tmp_path, console
    )
    assert maker.builds == 2


def test_only_old_results_of_other_recipes_of_this_part_are_removed(
    tmp_path: Path, console: Console
) -> None:
    ancient = ensure(recipe(Maker(), 1), tmp_path, console)
    recent = ensure(recipe(Maker(), 2), tmp_path, console)
    other = tmp_path / "part-of-something-else"
    other.mkdir()
    (other / _cache.MANIFEST).write_text("")
    for folder in (ancient, other):
        os.utime(folder / _cache.MANIFEST, (1, 1))
    new = ensure(recipe(Maker(), 3), tmp_path, console)
    assert everything_in(tmp_path) == {recent.name, other.name, new.name, ".part.lock"}


def truncate(part: Path) -> None:
    os.truncate(part / "lib/part.so", 17)


def overwrite(part: Path) -> None:
    (part / "lib/part.so").write_bytes(b"\x7fELG" * 100)


def remove_file(part: Path) -> None:
    (part / "lib/part.so").unlink()


def remove_manifest(part: Path) -> None:
    (part / _cache.MANIFEST).unlink()


def cut_manifest(part: Path) -> None:
    os.truncate(part / _cache.MANIFEST, 30)


def wrong_recipe(part: Path) -> None:
    path = part / _cache.MANIFEST
    path.write_text(path.read_text().replace(part.name.removeprefix("part-"), "0" * 12))


def manifest_of_wrong_shape(part: Path) -> None:
    text = json.dumps({"format": 1, "recipe": part.name.removeprefix("part-"), "files": 3})
    (part / _cache.MANIFEST).write_text(text)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (truncate, "part.so has 17 bytes instead of 400"),
        (overwrite, "part.so is damaged"),
        (remove_file, "part.so is missing"),
        (remove_manifest, "manifest.json is missing"),
        (cut_manifest, "unreadable"),
        (wrong_recipe, "made by another recipe"),
        (manifest_of_wrong_shape, "unreadable"),
    ],
)
def test_damage_is_noticed_named_and_mended(
    tmp_path: Path, console: Console, damage, reason: str
) -> None:
    maker = Maker()
    part = ensure(recipe(maker), tmp_path, console)
    damage(part)
    found = problem(recipe(maker), tmp_path)
    assert found is not None
    assert reason in found
    ensure(recipe(maker), tmp_path, console)
    assert maker.builds == 2
    assert problem(recipe(maker), tmp_path, thorough=True) is None
    assert everything_in(tmp_path) == {part.name, ".part.lock"}


def test_damage_behind_an_unchanged_time_is_noticed_when_thorough(
    tmp_path: Path, console: Console
) -> None:
    maker = Maker()
    part = ensure(recipe(maker), tmp_path, console)
    status = (part / "lib/part.so").stat()
    overwrite(part)
    os.utime(part / "lib/part.so", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert problem(recipe(maker), tmp_path) is None
    assert problem(recipe(maker), tmp_path, thorough=True) == "lib/part.so is damaged"


def test_touched_but_equal_file_is_sound(tmp_path: Path, console: Console) -> None:
    maker = Maker()
    part = ensure(recipe(maker), tmp_path, console)
    os.utime(part / "lib/part.so", (1, 1))
    assert problem(recipe(maker), tmp_path) is None


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(143), RuntimeError("bug")])
def test_interrupted_build_leaves_nothing(
    tmp_path: Path, console: Console, error: BaseException
) -> None:
    with pytest.raises(type(error)):
        ensure(recipe(Maker(error)), tmp_path, console)
    assert everything_in(tmp_path) == {".part.lock"}
    ensure(recipe(Maker()), tmp_path, console)


def test_build_without_its_output_is_refused(tmp_path: Path, console: Console) -> None:
    with pytest.raises(PartError, match=r"did not give bin/\*"):
        ensure(recipe(Maker(), outputs=("bin/*",)), tmp_path, console)
    assert everything_in(tmp_path) == {".part.lock"}


def test_full_disk_met_by_python_is_one_line_with_a_fix(tmp_path: Path, console: Console) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(PartError, match="disk full") as caught:
        ensure(recipe(Maker(full)), tmp_path, console)
    assert "XDG_CACHE_HOME" in caught.value.fix
    assert "\n" not in str(caught.value)
    assert everything_in(tmp_path) == {".part.lock"}


def test_full_disk_met_by_a_program_is_one_line_with_a_fix(
    tmp_path: Path, console: Console
) -> None:
    command = ["dd", "if=/dev/zero", "of=/dev/full", "bs=4096", "count=1"]
    with pytest.raises(PartError, match="disk full") as caught:
        ensure(recipe(Maker(command=command)), tmp_path, console)
    assert "XDG_CACHE_HOME" in caught.value.fix


def test_too_little_room_is_told_before_the_work(tmp_path: Path, console: Console) -> None:
    maker = Maker()
    with pytest.raises(PartError, match=r"disk full.*MiB free, 1099511627776 MiB are needed"):
        ensure(recipe(maker, needs_mib=1 << 40), tmp_path, console)
    assert maker.builds == 0


def test_failed_program_is_named_and_its_output_kept(tmp_path: Path, console: Console) -> None:
    command = ["sh", "-c", "echo one; echo 'error: two is broken'; echo three; exit 3"]
    with pytest.raises(PartError, match="sh failed with status 3: error: two is broken") as caught:
        ensure(recipe(Maker(command=command)), tmp_path, console)
    log = tmp_path / "log/part.log"
    assert str(log) in caught.value.fix
    assert log.read_text().endswith("one\nerror: two is broken\nthree\n")


def test_cache_that_cannot_be_written_is_told(tmp_path: Path, console: Console) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PartError, match=r"part: .*[Nn]ot a directory"):
        ensure(recipe(Maker()), tmp_path / "file/below", console)


@pytest.mark.parametrize(
    ("value", "expected"),
    [("/var/tmp/x", Path("/var/tmp/x/tlsnic")), ("relative", None), ("", None)],
)
def test_cache_root_follows_the_xdg_specification(
    monkeypatch: pytest.MonkeyPatch, value: str, expected: Path | None
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", value)
    assert cache_root() == (expected or Path.home() / ".cache/tlsnic")


# A process that makes the part, tells each step as it starts, and holds the build until told.
_PROCESS = """
import sys, os
from pathlib import Path
from tlsnic.qemu.parts._cache import Recipe, ensure
from tlsnic.qemu.parts._console import Console

class Loud(Console):
    def step(self, part, text):
        print("step", text, flush=True)
        return super().step(part, text)

def build(into, console):
    (into / "out").write_text(str(os.getpid()))
    print("building", flush=True)
    sys.stdin.readline()
    return {}

root = Path(sys.argv[1])
print("done", ensure(Recipe("part", {}, ("out",), build), root, Loud()) / "out", flush=True)
"""


def start(root: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", _PROCESS, str(root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def test_two_processes_at_once_build_once(tmp_path: Path) -> None:
    with start(tmp_path) as first:
        assert first.stdout.readline() == "building\n"
        with start(tmp_path) as second:
            assert second.stdout.readline().startswith("step waiting for another run")
            first.stdin.write("\n")
            first.stdin.flush()
            done = first.stdout.readline()
            assert done.startswith("done")
            assert second.stdout.read() == done
        pid = first.pid
    assert Path(done.split()[1]).read_text() == str(pid)


def test_killed_build_is_cleared_away_and_made_again(tmp_path: Path) -> None:
    with start(tmp_path) as killed:
        assert killed.stdout.readline() == "building\n"
        killed.send_signal(signal.SIGKILL)
    assert any(name.startswith(".making-part-") for name in everything_in(tmp_path))
    with start(tmp_path) as again:
        assert again.stdout.readline() == "building\n"
        out, _ = again.communicate("\n")
    assert Path(out.split()[1]).read_text() == str(again.pid)
    assert not any(name.startswith(".making-") for name in everything_in(tmp_path))
