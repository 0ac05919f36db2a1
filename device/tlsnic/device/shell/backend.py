"""Where the shell's answers come from: a device's control socket, or an inspector in this process."""

import itertools
import json
import socket
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

from tlsnic.device.shell.errors import GoneError, ShellError

Json: TypeAlias = Any
"""What a JSON document holds: None, bool, int, float, str, list or dict."""

PROTOCOL: Final = "tlsnic-control"
VERSION: Final = 1
SOCKET_SUFFIX: Final = ".control"
"""The control socket of a card is called as its vfio-user socket, with this behind."""
TIMEOUT_S: Final = 10.0
_RECEIVE_BYTES: Final = 1 << 16


class Backend(Protocol):
    """Answers methods of the control socket, wherever the device is."""

    @property
    def name(self) -> str:
        """What the device is called in messages."""

    @property
    def cards(self) -> Sequence[Mapping[str, Json]]:
        """The cards: number, socket, wire, MAC address."""

    def call(self, method: str, params: Mapping[str, Json]) -> Json:
        """The result of a method.

        Raises:
            ShellError: the device refused it.
            GoneError: there is no device any more.
        """

    def events(self, timeout_s: float) -> list[Json]:
        """Events that have come, after waiting at most so long for one.

        Raises:
            GoneError: there is no device any more.
        """

    def close(self) -> None:
        """Let go of the device; may be called twice."""


class SocketBackend:
    """A device process, by its control socket: one JSON document per line in each direction.

    A call that is interrupted leaves the stream at an unknown place, so the connection is closed
    then, and made again by the next call.
    """

    def __init__(self, path: Path | str, *, timeout_s: float = TIMEOUT_S) -> None:
        self._path = str(path)
        self._timeout_s = timeout_s
        self._ids = itertools.count(1)
        self._socket: socket.socket | None = None
        self._buffer = bytearray()
        self._events: deque[Json] = deque()
        self._cards: Sequence[Mapping[str, Json]] = ()
        self._connect()

    @property
    def name(self) -> str:
        return self._path

    @property
    def cards(self) -> Sequence[Mapping[str, Json]]:
        return self._cards

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(self._timeout_s)
            connection.connect(self._path)
        except FileNotFoundError:
            connection.close()
            raise GoneError(
                f"there is no control socket {self._path}",
                "is the device running? `tlsnic shell` without a path lists those that are",
            ) from None
        except PermissionError:
            connection.close()
            raise GoneError(
                f"{self._path} is another user's", "run the shell as the owner of the device"
            ) from None
        except OSError as error:
            connection.close()
            raise GoneError(
                f"cannot reach {self._path}: {error.strerror or error}",
                "a device that was killed leaves its socket: start it again",
            ) from None
        self._socket = connection
        self._buffer.clear()
        self._events.clear()
        hello = self._next_document(time.monotonic() + self._timeout_s)
        if not isinstance(hello, dict) or hello.get("hello") != PROTOCOL:
            self.close()
            raise GoneError(
                f"{self._path} is not a control socket",
                "give the path that `tlsnic device` names, or its vfio-user socket with --socket",
            )
        if hello.get("version") != VERSION:
            self.close()
            raise GoneError(
                f"{self._path} speaks version {hello.get('version')}, this shell {VERSION}",
                "use the shell of the same tlsnic as the device's",
            )
        self._cards = hello.get("cards", ())
        return connection

    def call(self, method: str, params: Mapping[str, Json]) -> Json:
        connection = self._socket or self._connect()
        number = next(self._ids)
        request = json.dumps({"id": number, "method": method, "params": dict(params)})
        try:
            connection.sendall(request.encode() + b"\n")
            deadline = time.monotonic() + self._timeout_s
            while True:
                document = self._next_document(deadline)
                if document is None:
                    self.close()
                    raise GoneError(
                        f"{self._path} has not answered {method} for {self._timeout_s:g} s",
                        "the device hangs, or is held in a debugger",
                    )
                if document.get("id") == number:
                    return _result(document)
                if "event" in document:
                    self._events.append(document)
        except OSError as error:
            raise self._gone(error) from None
        except KeyboardInterrupt:
            self.close()
            raise

    def events(self, timeout_s: float) -> list[Json]:
        if self._socket is None:
            self._connect()
        try:
            deadline = time.monotonic() + timeout_s
            while not self._events:
                document = self._next_document(deadline)
                if document is None:
                    break
                if "event" in document:
                    self._events.append(document)
        except OSError as error:
            raise self._gone(error) from None
        except KeyboardInterrupt:
            self.close()
            raise
        events = list(self._events)
        self._events.clear()
        return events

    def _next_document(self, deadline_s: float) -> Json:
        """The next line, or None when there is none until then."""
        assert self._socket is not None
        searched = 0
        while (end := self._buffer.find(b"\n", searched)) < 0:
            searched = len(self._buffer)
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                return None
            self._socket.settimeout(left_s)
            try:
                data = self._socket.recv(_RECEIVE_BYTES)
            except TimeoutError:
                return None
            except OSError as error:
                raise self._gone(error) from None
            if not data:
                raise self._gone(None)
            self._buffer += data
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        try:
            return json.loads(line)
        except ValueError:
            self.close()
            raise GoneError(
                f"{self._path} does not speak JSON", "give the path that `tlsnic device` names"
            ) from None

    def _gone(self, error: OSError | None) -> GoneError:
        self.close()
        why = "has closed the connection" if error is None else f"is gone: {error.strerror}"
        return GoneError(
            f"the device at {self._path} {why}",
            "look at what it printed last; start it again, then `reconnect`",
        )

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _result(document: Mapping[str, Json]) -> Json:
    error = document.get("error")
    if error is not None:
        raise ShellError(
            str(error.get("name", "ERROR")),
            str(error.get("message", "")),
            str(error.get("fix", "")),
        )
    return document.get("result")


class Inspector(Protocol):
    """What answers methods in this process."""

    def call(self, method: str, params: dict[str, Json]) -> Json:
        """The result of a method; raises an error with `name`, `message` and `fix`."""


class LocalBackend:
    """An inspector in this process: the card of a replay, as it is at the moment."""

    def __init__(
        self, inspector: Inspector, cards: Sequence[Mapping[str, Json]], *, name: str = "replay"
    ) -> None:
        self._inspector = inspector
        self._cards = cards
        self._name = name

    @property
    def name(self) -> str:
        return self._name

    @property
    def cards(self) -> Sequence[Mapping[str, Json]]:
        return self._cards

    def call(self, method: str, params: Mapping[str, Json]) -> Json:
        try:
            return self._inspector.call(method, dict(params))
        except Exception as error:
            name, message = getattr(error, "name", None), getattr(error, "message", None)
            if name is None or message is None:
                raise
            raise ShellError(name, message, getattr(error, "fix", "")) from None

    def events(self, timeout_s: float) -> list[Json]:
        """Always none: nothing happens to a card that stands still."""
        return []

    def close(self) -> None:
        """Nothing to let go of."""
