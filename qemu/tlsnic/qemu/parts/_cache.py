"""The cache: each part in its own directory, made whole or not at all.

A part is built in a temporary sibling directory, gets a manifest (the recipe's hash, and size,
time and SHA-256 of its important files), and is renamed into place. A part counts as present
only when its manifest is there, belongs to the recipe, and agrees with the files; anything
else is thrown away and made again. One `flock` per part keeps concurrent runs apart; a lock dies
with its process, so a killed run blocks nobody.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tlsnic.qemu.parts import _host
from tlsnic.qemu.parts._console import Console
from tlsnic.qemu.parts._errors import PartError, explain
from tlsnic.qemu.parts._host import Tool
from tlsnic.qemu.parts._run import CommandError, check_stopped

MANIFEST = "manifest.json"
_MANIFEST_FORMAT = 1
_OUTDATED_S = 30 * 24 * 3600.0
_TEMPORARY = ".making-"
_LOCK_POLL_S = 0.1


def cache_root() -> Path:
    """Where parts live: `$XDG_CACHE_HOME/tlsnic`, by default `~/.cache/tlsnic`."""
    base = os.environ.get("XDG_CACHE_HOME")
    # The XDG base directory specification: a relative path is to be ignored.
    return (Path(base) if base and os.path.isabs(base) else Path.home() / ".cache") / "tlsnic"


@dataclass(frozen=True)
class Recipe:
    """How to make one part.

    `inputs` names everything that decides the result (suite, package list, revision of the
    steps); its hash is part of the directory's name, so that a changed recipe never meets an
    old result. `outputs` are the important files, as glob patterns relative to the part.
    `build` fills the given directory and returns notes for the manifest (versions and the like).
    `tools` are what the host must have for it.
    """

    name: str
    inputs: Mapping[str, object]
    outputs: tuple[str, ...]
    build: Callable[[Path, Console], Mapping[str, str]] = field(compare=False)
    needs_mib: int = 0
    tools: tuple[Tool, ...] = ()

    def hash(self) -> str:
        """Twelve hexadecimal digits that identify the recipe."""
        text = json.dumps([self.name, self.inputs, self.outputs], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def directory(self, root: Path) -> Path:
        """Where the finished part is in the cache `root`."""
        return root / f"{self.name}-{self.hash()}"


def problem(recipe: Recipe, root: Path, *, thorough: bool = False) -> str | None:
    """Why the cached part cannot be used as it is, or None when it can.

    Quick: a file whose size and modification time are those of the manifest is taken as sound,
    any other is read and its SHA-256 compared. `thorough` reads every file.
    """
    directory = recipe.directory(root)
    if not directory.is_dir():
        return "not made yet"
    try:
        manifest: dict[str, Any] = json.loads((directory / MANIFEST).read_text())
        if manifest["format"] != _MANIFEST_FORMAT or manifest["recipe"] != recipe.hash():
            return "made by another recipe"
        files: dict[str, dict[str, Any]] = manifest["files"]
        for name, entry in files.items():
            status = (directory / name).stat()
            if status.st_size != entry["size"]:
                return f"{name} has {status.st_size} bytes instead of {entry['size']}"
            if not thorough and status.st_mtime_ns == entry["mtime_ns"]:
                continue
            if _sha256(directory / name) != entry["sha256"]:
                return f"{name} is damaged"
    except FileNotFoundError as error:
        return f"{Path(str(error.filename)).name} is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"unreadable ({error})"
    return None


def notes(recipe: Recipe, root: Path) -> dict[str, str]:
    """The notes that the build of a finished part left."""
    manifest = json.loads((recipe.directory(root) / MANIFEST).read_text())
    return dict(manifest["notes"])


def ensure(recipe: Recipe, root: Path, console: Console) -> Path:
    """The part's directory, made now unless it is already there and sound.

    Raises PartError when it cannot be made. Whatever happens, no half-made part is left under
    the final name.
    """
    if problem(recipe, root) is None:
        return recipe.directory(root)
    try:
        root.mkdir(parents=True, exist_ok=True)
        with locked(root / f".{recipe.name}.lock", recipe.name, console):
            return _ensure_locked(recipe, root, console)
    except (CommandError, OSError) as error:
        raise explain(error, recipe.name, root) from error


def _ensure_locked(recipe: Recipe, root: Path, console: Console) -> Path:
    final = recipe.directory(root)
    reason = problem(recipe, root)
    if reason is None:
        return final
    # Whoever left a temporary directory of this part is dead: the lock is ours.
    for left_over in root.glob(f"{_TEMPORARY}{recipe.name}-*"):
        remove_tree(left_over)
    if final.exists():
        console.note(recipe.name, f"making it again: {reason}")
        trash = root / f"{_TEMPORARY}{final.name}-old"
        final.rename(trash)
        remove_tree(trash)
    free_mib = shutil.disk_usage(root).free >> 20
    if free_mib < recipe.needs_mib:
        raise PartError(
            f"{recipe.name}: disk full: {root} has {free_mib} MiB free, {recipe.needs_mib} MiB "
            "are needed",
            "free some room there, or point XDG_CACHE_HOME at a larger disk",
        )
    temporary = root / f"{_TEMPORARY}{final.name}-{os.getpid()}"
    temporary.mkdir()
    try:
        _host.ensure(recipe.tools, console)
        build_notes = dict(recipe.build(temporary, console))
        _write_manifest(recipe, temporary, build_notes)
        temporary.rename(final)
    except (CommandError, OSError) as error:
        # Judged before the room that it took is given back.
        reported = explain(error, recipe.name, root)
        remove_tree(temporary)
        raise reported from error
    except BaseException:
        remove_tree(temporary)
        raise
    _remove_outdated(recipe, root)
    return final


def _remove_outdated(recipe: Recipe, root: Path) -> None:
    """Delete what older recipes made of this part a month ago or more.

    Another checkout may still use a younger one; at worst it makes its own again.
    """
    for manifest in root.glob(f"{recipe.name}-{'[0-9a-f]' * 12}/{MANIFEST}"):
        if time.time() - manifest.stat().st_mtime > _OUTDATED_S:
            remove_tree(manifest.parent)


def _write_manifest(recipe: Recipe, directory: Path, build_notes: Mapping[str, str]) -> None:
    files: dict[str, dict[str, object]] = {}
    for pattern in recipe.outputs:
        found = [path for path in sorted(directory.glob(pattern)) if path.is_file()]
        if not found:
            raise PartError(
                f"{recipe.name}: the build did not give {pattern}",
                "please report this together with the output above",
            )
        for path in found:
            status = path.stat()
            files[str(path.relative_to(directory))] = {
                "size": status.st_size,
                "mtime_ns": status.st_mtime_ns,
                "sha256": _sha256(path),
            }
    manifest = {
        "format": _MANIFEST_FORMAT,
        "recipe": recipe.hash(),
        "notes": build_notes,
        "files": files,
    }
    (directory / MANIFEST).write_text(json.dumps(manifest, indent=1))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def locked(path: Path, part: str, console: Console) -> Iterator[None]:
    """Hold the lock file `path` exclusively, waiting for another process (or thread) if need be."""
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with console.step(part, "waiting for another run that is at it"):
                _lock_patiently(file.fileno())
        yield


def _lock_patiently(fd: int) -> None:
    # Polling, because a thread that sleeps inside flock() could not be called off.
    while True:
        check_stopped()
        time.sleep(_LOCK_POLL_S)
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return


def remove_tree(directory: Path) -> None:
    """Delete a directory, also where packages left folders without write permission."""
    for parent, _, _ in os.walk(directory):
        with contextlib.suppress(OSError):
            os.chmod(parent, 0o700)
    shutil.rmtree(directory, ignore_errors=True)
