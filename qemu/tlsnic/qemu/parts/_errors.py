"""The one exception of this package, and how a failed command becomes a sentence with a fix."""

from __future__ import annotations

import errno
import re
import shutil
from pathlib import Path

from tlsnic.qemu.parts._run import CommandError

_DISK_FULL = re.compile(r"no space left on device|enough free (disk )?space|ENOSPC|disk full", re.I)
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_NOTHING_LEFT_BYTES = 1 << 20
_SIGNATURE = re.compile(
    r"hash sum mismatch|NO_PUBKEY|is not signed|GPG error|signatures? (was|were|couldn't)|BADSIG",
    re.I,
)
_NETWORK = re.compile(
    r"failed to fetch|unable to fetch|could not resolve|temporary failure|could not connect"
    r"|connection (failed|timed out|refused|reset)|network is unreachable|unable to connect"
    r"|some index files failed",
    re.I,
)


class PartError(Exception):
    """A part cannot be had.

    `message` says what is wrong in one line; `fix` says what the user can do about it.
    """

    def __init__(self, message: str, fix: str) -> None:
        super().__init__(f"{message}; {fix}")
        self.message = message
        self.fix = fix


def disk_full(where: Path) -> PartError:
    """The error for a cache directory without room."""
    return PartError(
        f"disk full while writing below {where}",
        "free some room there, or point XDG_CACHE_HOME at a larger disk, and run the same again",
    )


def explain(error: CommandError | OSError, part: str, cache: Path) -> PartError:
    """Turn a failed command or system call, met while making `part`, into a PartError.

    The command's output is kept in `<cache>/log/<part>.log` when the disk still takes it.
    """
    if _is_disk_full(error, cache):
        return disk_full(cache)
    if isinstance(error, shutil.Error):
        # From copytree: a list of (source, target, reason), of which one is enough.
        error = OSError(error.args[0][0][2])
    if isinstance(error, OSError):
        if isinstance(error, PermissionError):
            return PartError(
                f"{part}: no permission: {error}",
                f"make {cache} writable for this user, or point XDG_CACHE_HOME elsewhere",
            )
        return PartError(f"{part}: {error}", "run the same again once this is put right")
    log = cache / "log" / f"{part}.log"
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(f"$ {' '.join(error.argv)}\n{error.output}")
    except OSError:
        where = "the output could not be kept"
    else:
        where = f"the whole output is in {log}"
    line = error.telling_line()
    if _SIGNATURE.search(error.output):
        return PartError(
            f"{part}: a download does not match its signature or checksum: {line}",
            "run the same again; if it stays, the mirror or a proxy on the way is at fault, or the "
            f"package debian-archive-keyring is too old ({where})",
        )
    if Path(error.argv[0]).name.startswith("apt") and _NETWORK.search(error.output):
        return PartError(
            f"{part}: download failed: {line}",
            f"check the network and the mirror in apt's sources, then run the same again ({where})",
        )
    return PartError(
        f"{part}: {Path(error.argv[0]).name} failed with status {error.status}: {line}", where
    )


def _is_disk_full(error: CommandError | OSError, cache: Path) -> bool:
    if isinstance(error, CommandError):
        told = _DISK_FULL.search(error.output) is not None
    else:
        told = error.errno in _NO_ROOM or "[Errno 28]" in str(error)
    # Some programs say nothing of it, or something else.
    return told or (cache.is_dir() and shutil.disk_usage(cache).free < _NOTHING_LEFT_BYTES)
