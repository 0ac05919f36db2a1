"""The project as the guest sees it: a small read-only ext4 disk, mounted at /project.

The tree is staged in the cache, with byte code made by the guest's own Python on the host
(compiling in an emulated guest is about 29 times slower), and only what changed is done again.
Each launch then gets a disk of its own, because the command it shall run is on it too.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tlsnic.qemu.errors import UserError
from tlsnic.qemu.parts import PROJECT_LABEL, cache_root

# What the guest gets. The device is not among it: the driver must not be able to lean on it.
CONTENTS = ("device/tlsnic/abi", "driver", "qemu", "guest-tests", "examples")
LAUNCH = ".launch"
GUEST_PROJECT = "/project"
_LEFT_OUT = ("__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis")
_SPARE_MIB = 2
_TOOL_TIMEOUT_S = 120


def project_root() -> Path:
    """The source tree that this module runs from. Raises `UserError` when there is none."""
    root = Path(__file__).resolve().parents[3]
    if not (root / "guest-tests").is_dir() or not (root / "pyproject.toml").is_file():
        raise UserError(
            "the guest needs the project's source tree, and this is an installed copy",
            "clone the repository and install it with `pip install -e .`",
        )
    return root


def env_script(env: Mapping[str, str]) -> str:
    """Shell text that exports `env`. Raises `UserError` for a name that no shell takes."""
    for name in env:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise UserError(f"{name!r} is no name for an environment variable", "choose another")
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in sorted(env.items()))


def command_script(command: Sequence[str]) -> str:
    """Shell text that runs `command` in the project's folder."""
    return f"cd {GUEST_PROJECT} && exec {shlex.join(command)}\n"


def make(
    image: Path,
    *,
    python: Sequence[str] | None,
    command: Sequence[str] | None,
    env: Mapping[str, str] | None = None,
    files: Mapping[str, Path] | None = None,
    root: Path | None = None,
) -> None:
    """Write the disk `image` for one launch.

    `python` is the command line of the guest's Python on this host, or None when there is none
    (then the guest compiles what it imports). Without `command` the guest offers a shell.
    `files` are put into LAUNCH under the names given.
    Raises `UserError` when the disk cannot be made.
    """
    source = root or project_root()
    tree = image.with_suffix(".tree")
    try:
        with _stage(source) as stage:
            _update(source, stage)
            if python is not None:
                _compile(stage, python)
            # Links where they can be: the file system is read from here only once.
            shutil.copytree(stage, tree, copy_function=_link_or_copy, symlinks=True)
        launch = tree / LAUNCH
        launch.mkdir()
        (launch / "env").write_text(env_script(env or {}))
        if command is not None:
            (launch / "command").write_text(command_script(command))
        for name, path in (files or {}).items():
            shutil.copy2(path, launch / name)
        _format(tree, image)
    except OSError as error:
        raise UserError(
            f"cannot make the project's disk: {error}", "free some disk space and try again"
        ) from error
    finally:
        shutil.rmtree(tree, ignore_errors=True)


@contextlib.contextmanager
def _stage(source: Path) -> Iterator[Path]:
    """The staging folder of this source tree, held against other runs (flock(2))."""
    name = f"project-{hashlib.sha256(bytes(source)).hexdigest()[:12]}"
    stage = cache_root() / name
    stage.mkdir(parents=True, exist_ok=True)
    lock_fd = os.open(cache_root() / f".{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(lock_fd, fcntl.LOCK_EX)
        yield stage
    finally:
        os.close(lock_fd)


def _files(root: Path, tops: Sequence[str]) -> dict[str, os.stat_result]:
    """Every file below `tops`, by its path relative to `root`."""
    found: dict[str, os.stat_result] = {}
    for top in tops:
        for folder, folders, names in os.walk(root / top):
            folders[:] = [name for name in folders if name not in _LEFT_OUT]
            for name in names:
                path = os.path.join(folder, name)
                with contextlib.suppress(FileNotFoundError):  # an editor's file, gone again
                    found[os.path.relpath(path, root)] = os.stat(path)
    return found


def _update(source: Path, stage: Path) -> None:
    """Make `stage` hold the same files as `source`, with their times."""
    wanted, present = _files(source, CONTENTS), _files(stage, ["."])
    for name in present.keys() - wanted.keys():
        (stage / name).unlink()
    for name, status in wanted.items():
        old = present.get(name)
        if old is not None and (old.st_size, old.st_mtime_ns) == (
            status.st_size,
            status.st_mtime_ns,
        ):
            continue
        target = stage / name
        target.parent.mkdir(parents=True, exist_ok=True)
        # A launch may hold links to the old file: replace it, do not write into it.
        target.unlink(missing_ok=True)
        shutil.copy2(source / name, target)


def _compile(stage: Path, python: Sequence[str]) -> None:
    """Byte code beside every source file that has none as new as itself."""
    # -s and -p make tracebacks name the files as the guest sees them.
    words = ["-m", "compileall", "-q", "-q", "-s", str(stage), "-p", GUEST_PROJECT, str(stage)]
    try:
        # In a process group of its own: a Ctrl-C is this process's to answer.
        done = subprocess.run(
            [*python, *words],
            capture_output=True,
            text=True,
            timeout=_TOOL_TIMEOUT_S,
            check=False,
            process_group=0,
        )
        problem = done.stderr.strip() if done.returncode else ""
    except (OSError, subprocess.TimeoutExpired) as error:
        problem = str(error)
    if problem:
        print(f"tlsnic: the guest will compile for itself, slowly: {problem}", file=sys.stderr)


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or the limit on links
        shutil.copy2(source, target)


def _format(tree: Path, image: Path) -> None:
    files = _files_bytes(tree)
    size_mib = files * 5 // 4 // 2**20 + _SPARE_MIB
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    tool = shutil.which("mke2fs", path=path)
    if tool is None:
        raise UserError("mke2fs is not installed", "apt-get install e2fsprogs")
    words = ["-q", "-F", "-t", "ext4", "-L", PROJECT_LABEL, "-m", "0", "-N", "4096"]
    words += ["-O", "^has_journal", "-E", "root_owner=0:0", "-d", str(tree)]
    done = subprocess.run(
        [tool, *words, str(image), f"{size_mib}M"],
        capture_output=True,
        text=True,
        timeout=_TOOL_TIMEOUT_S,
        check=False,
        process_group=0,
    )
    if done.returncode:
        raise UserError(
            f"cannot make the project's disk: {done.stderr.strip() or 'mke2fs failed'}",
            "free some disk space and try again",
        )


def _files_bytes(tree: Path) -> int:
    """Space that the files need in blocks of 4096 bytes."""
    return sum(
        -(-os.lstat(os.path.join(folder, name)).st_size // 4096) * 4096
        for folder, folders, names in os.walk(tree)
        for name in [*names, *folders]
    )
