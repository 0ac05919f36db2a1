"""What is at a Unix socket's path: nothing, a living process, or what a dead one left."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from dataclasses import dataclass
from pathlib import Path

_LISTENING = 0x10000  # __SO_ACCEPTCON in the flags of /proc/net/unix, net/unix/af_unix.c


@dataclass(frozen=True)
class SocketState:
    """What is at a socket's path: "free", "in use", "stale" or "not a socket".

    `pid` is the living owner's process id, None where it cannot be found out.
    """

    path: Path
    state: str
    pid: int | None = None


def check_socket(path: Path) -> SocketState:
    """Tell whether a Unix socket's path is free, held by a living process, or left by a dead one.

    The listener is looked up rather than connected to: a device serves one client, and a probe
    must not be it. Only a listener of another network namespace has to be tried with a connection.
    """
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return SocketState(path, "free")
    if not stat.S_ISSOCK(mode):
        return SocketState(path, "not a socket")
    inodes = _listeners(path)
    if inodes:
        return SocketState(path, "in use", _holder(inodes))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            return SocketState(path, "stale")
        except FileNotFoundError:
            return SocketState(path, "free")
        except OSError:
            pass  # no permission, another type, or its queue is full: somebody is there
    return SocketState(path, "in use")


def _listeners(path: Path) -> set[int]:
    """The inode numbers of sockets that listen at `path`, in this network namespace."""
    wanted = os.path.abspath(path)
    found = set()
    for line in Path("/proc/net/unix").read_text(errors="surrogateescape").splitlines()[1:]:
        fields = line.split(maxsplit=7)
        if len(fields) == 8 and fields[7] == wanted and int(fields[3], 16) & _LISTENING:
            found.add(int(fields[6]))
    return found


def _holder(inodes: set[int]) -> int | None:
    """The process that has one of the sockets open, as far as we may look."""
    targets = {f"socket:[{inode}]" for inode in inodes}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            for fd in (process / "fd").iterdir():
                with contextlib.suppress(OSError):
                    if os.readlink(fd) in targets:
                        return int(process.name)
    return None
