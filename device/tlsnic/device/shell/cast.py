"""A program at a terminal of our own: what it prints is waited for, and kept as an asciicast.

The format is asciicast version 2: a header, then one line for each piece of output and when it came.
"""

import codecs
import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

_ESCAPES: Final = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-Z\\-_=>]"
)
_END_S: Final = 5.0


def plain(text: str) -> str:
    """Text without control sequences, with the line ends of files."""
    return _ESCAPES.sub("", text).replace("\r\n", "\n").replace("\r", "")


class Terminal:
    """Runs a program behind a pseudo-terminal.

    Args:
        argv: the program.
        columns, rows: size of the terminal.
        environment: what to change in it.
        key_s: time between two keys; above 0 for a recording that people look at.
        folder: where the program runs.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        columns: int = 100,
        rows: int = 30,
        environment: Mapping[str, str] | None = None,
        key_s: float = 0.0,
        folder: Path | None = None,
    ) -> None:
        self._size = (columns, rows)
        self._key_s = key_s
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._started_s = time.monotonic()
        self._events: list[tuple[float, str]] = []
        self._text = ""
        self._seen = 0
        self._ended = False
        self._status: int | None = None
        changed = {
            "TERM": "xterm-256color",
            "COLUMNS": str(columns),
            "LINES": str(rows),
            "PROMPT_TOOLKIT_NO_CPR": "1",  # nobody here would answer where the cursor is
            **(environment or {}),
        }
        self._pid, self._terminal = pty.fork()
        if self._pid == 0:  # pragma: no cover (another process)
            # As at a terminal, also when this program was started in the background.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            with contextlib.suppress(OSError):
                if folder is not None:
                    os.chdir(folder)
                os.execvpe(argv[0], list(argv), {**os.environ, **changed})
            os._exit(127)
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def press(self, text: str) -> None:
        """Press keys; what was printed before will not be found by `wait_for` any more."""
        self._take(0.0)
        self._seen = len(self._text)
        for key in text if self._key_s else [text]:
            os.write(self._terminal, key.encode())
            if self._key_s:
                self._take_until(time.monotonic() + self._key_s)

    def wait_for(self, pattern: str, timeout_s: float = 20.0) -> str:
        """Wait until the plain text since the last keys matches; returns that text.

        Raises:
            TimeoutError: it does not come; EOFError: the program has ended without it.
        """
        deadline_s = time.monotonic() + timeout_s
        while True:
            text = plain(self._text[self._seen :])
            if re.search(pattern, text):
                return text
            if self._ended:
                raise EOFError(f"the program ended without {pattern!r}:\n{text}")
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"no {pattern!r} within {timeout_s:g} s:\n{text}")
            self._take(0.1)

    def rest(self, seconds: float) -> None:
        """Let time pass, for people who look on."""
        self._take_until(time.monotonic() + seconds)

    @property
    def raw(self) -> str:
        """What was printed since the last keys, control sequences included."""
        return self._text[self._seen :]

    @property
    def everything(self) -> str:
        """All that was printed, in plain text."""
        return plain(self._text)

    def _take_until(self, deadline_s: float) -> None:
        while (left_s := deadline_s - time.monotonic()) > 0:
            if self._ended:
                return
            self._take(left_s)

    def _take(self, timeout_s: float) -> None:
        """Take what there is, after waiting for it at most so long."""
        if self._ended or not select.select([self._terminal], [], [], timeout_s)[0]:
            return
        try:
            data = os.read(self._terminal, 1 << 16)
        except OSError:  # EIO: the other side is closed
            data = b""
        if not data:
            self._ended = True
            return
        text = self._decoder.decode(data)
        self._text += text
        self._events.append((time.monotonic() - self._started_s, text))

    def wait(self, timeout_s: float = 20.0) -> int:
        """The program's exit status, once it has ended by itself.

        Raises:
            TimeoutError: it has not.
        """
        deadline_s = time.monotonic() + timeout_s
        while self._status is None:
            self._take(0.05)
            done, status = os.waitpid(self._pid, os.WNOHANG)
            if done:
                self._status = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > deadline_s:
                raise TimeoutError(f"the program is still running:\n{self.everything[-2000:]}")
        while not self._ended and select.select([self._terminal], [], [], 0)[0]:
            self._take(0.0)
        return self._status

    def close(self) -> None:
        """End the program if it still runs."""
        if self._status is None:
            os.kill(self._pid, signal.SIGHUP)
            try:
                self.wait(_END_S)
            except TimeoutError:
                os.kill(self._pid, signal.SIGKILL)
                self.wait(_END_S)
        os.close(self._terminal)

    def save(self, path: Path, title: str, idle_s: float = 1.0) -> None:
        """Write what was printed as an asciicast; longer waits are shortened to `idle_s`."""
        columns, rows = self._size
        header = {
            "version": 2,
            "width": columns,
            "height": rows,
            "title": title,
            "env": {"TERM": "xterm-256color"},
        }
        lines = [json.dumps(header)]
        shown_s = last_s = 0.0
        for at_s, text in self._events:
            shown_s += min(idle_s, at_s - last_s)
            last_s = at_s
            lines.append(json.dumps([round(shown_s, 3), "o", text], ensure_ascii=False))
        path.write_text("\n".join(lines) + "\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
