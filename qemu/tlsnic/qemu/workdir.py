"""A private temporary directory per run, and the removal of those that killed runs left behind."""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tlsnic.qemu.errors import UserError

PREFIX = "tlsnic-"
_LOCK = ".owner"


def _parent() -> Path:
    # sun_path holds 108 bytes (unix(7)); with a long TMPDIR no socket could be bound in there.
    parent = Path(tempfile.gettempdir())
    return parent if len(str(parent)) <= 60 else Path("/tmp")


@contextlib.contextmanager
def work_directory() -> Iterator[Path]:
    """A new directory, mode 0700, removed at the end. Raises `UserError` when it cannot be made.

    A file inside is locked (flock(2)) while the run lives: the lock goes with the process, so a
    directory whose lock can be had belongs to nobody any more.
    """
    remove_stale()
    try:
        path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=_parent()))
        lock_fd = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UserError(
            f"cannot make a temporary directory in {_parent()}: {error.strerror}",
            "free some space there, or set TMPDIR to another directory",
        ) from error
    try:
        fcntl.flock(lock_fd, fcntl.LOCK_EX)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock_fd)


def stale() -> list[Path]:
    """Work directories whose owner is gone."""
    found = []
    for path in sorted(_parent().glob(f"{PREFIX}*")):
        try:
            lock_fd = os.open(path / _LOCK, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            continue  # not ours, being made right now, or just removed
        try:
            fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue
        else:
            found.append(path)
        finally:
            os.close(lock_fd)
    return found


def remove_stale() -> None:
    """Remove what killed runs left behind."""
    for path in stale():
        shutil.rmtree(path, ignore_errors=True)
