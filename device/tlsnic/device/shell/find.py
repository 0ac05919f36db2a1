"""Finding running devices: control sockets that somebody listens on and this user may open."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from tlsnic.device.shell.backend import SOCKET_SUFFIX, Json, SocketBackend
from tlsnic.device.shell.errors import GoneError, ShellError

SOCKETS: Final = Path("/proc/net/unix")
_ACCEPTS: Final = 0x10000
"""__SO_ACCEPTCON in the column Flags: somebody listens."""
_PROBE_TIMEOUT_S: Final = 2.0


class Device(NamedTuple):
    """A device process that answers."""

    path: str
    cards: tuple[Mapping[str, Json], ...]


def listening(table: str) -> list[str]:
    """Paths of listening sockets in the text of /proc/net/unix that are called as control sockets."""
    paths = set()
    for line in table.splitlines()[1:]:
        columns = line.split(maxsplit=7)
        if len(columns) < 8 or not columns[7].startswith("/"):
            continue
        if int(columns[3], 16) & _ACCEPTS and columns[7].endswith(SOCKET_SUFFIX):
            paths.add(columns[7])
    return sorted(paths)


def find_devices(table: str | None = None) -> list[Device]:
    """Every device that this user may talk to."""
    devices = []
    for path in listening(SOCKETS.read_text(errors="replace") if table is None else table):
        if not os.access(path, os.R_OK | os.W_OK):
            continue
        try:
            backend = SocketBackend(path, timeout_s=_PROBE_TIMEOUT_S)
        except GoneError:
            continue
        devices.append(Device(path, tuple(backend.cards)))
        backend.close()
    return devices


class Chosen(NamedTuple):
    """A control socket, and one of the cards behind it."""

    path: str
    card: int


def choose(socket: str | None, control: str | None, card: int | None = None) -> Chosen:
    """What is meant: by the path of a vfio-user or control socket, or as the only one there is.

    The cards of a process have one control socket, which is called after the first one's socket.

    Raises:
        ShellError: there is no device, or there are several and none was named.
    """
    if control is not None:
        return Chosen(control, card or 0)
    if socket is not None:
        own = socket + SOCKET_SUFFIX
        if not os.path.exists(own):
            for device in find_devices():
                for number, found in enumerate(device.cards):
                    if found.get("socket") == os.path.abspath(socket):
                        return Chosen(device.path, number if card is None else card)
        return Chosen(own, card or 0)
    devices = find_devices()
    if not devices:
        raise ShellError(
            "NO_DEVICE",
            "no device is running that you may look into",
            "start one: tlsnic device --socket /tmp/nic.sock --wire null",
        )
    if len(devices) > 1:
        named = "; ".join(
            f"--control {device.path} ({', '.join(str(card.get('wire')) for card in device.cards)})"
            for device in devices
        )
        raise ShellError("SEVERAL_DEVICES", "several devices are running", f"name one: {named}")
    return Chosen(devices[0].path, card or 0)
