"""The shell at a terminal: line editing, completion, history, questions, and a device that goes away."""

import contextlib
import os
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.input import Input
from prompt_toolkit.output import Output as TerminalOutput
from prompt_toolkit.shortcuts import CompleteStyle

from tlsnic.device.shell.complete import ShellCompleter
from tlsnic.device.shell.errors import ShellError
from tlsnic.device.shell.render import note
from tlsnic.device.shell.shell import QuitShell, Shell

_OWNER_ONLY = 0o600


def history_path() -> Path:
    """Where lines are kept: below XDG_STATE_HOME."""
    state = os.environ.get("XDG_STATE_HOME", "")
    folder = Path(state) if state.startswith("/") else Path.home() / ".local" / "state"
    return folder / "tlsnic" / "history"


def open_history(path: Path) -> History:
    """The history in a file that only its owner can read; in memory when there can be none."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, _OWNER_ONLY))
        path.chmod(_OWNER_ONLY)
    except OSError:
        return InMemoryHistory()
    return LenientHistory(path)


class LenientHistory(FileHistory):
    """A history file that may go away, or the disk under it be full: lines are then not kept."""

    def store_string(self, string: str) -> None:
        """Keep a line."""
        with contextlib.suppress(OSError):
            super().store_string(string)


class Interactive:
    """Reads lines from a terminal and has them run."""

    def __init__(
        self,
        shell: Shell,
        history: History,
        *,
        keyboard: Input | None = None,
        screen: TerminalOutput | None = None,
    ) -> None:
        self._shell = shell
        self._lines: PromptSession[str] = PromptSession(
            history=history,
            completer=ShellCompleter(shell),
            complete_while_typing=False,
            complete_style=CompleteStyle.COLUMN,
            auto_suggest=AutoSuggestFromHistory(),
            input=keyboard,
            output=screen,
        )
        self._answers: PromptSession[str] = PromptSession(input=keyboard, output=screen)

    def confirm(self, question: str) -> bool:
        """Ask; anything but yes is no."""
        try:
            answer = self._answers.prompt(f"{question} [y/N] ")
        except (EOFError, KeyboardInterrupt):
            return False
        return answer.strip().lower() in ("y", "yes")

    @property
    def _prompt(self) -> str:
        several = len(self._shell.backend.cards) > 1
        return f"tlsnic:{self._shell.card}> " if several else "tlsnic> "

    def run(self) -> int:
        """Until the user has enough. Returns the exit status."""
        shell = self._shell
        shell.interactive = True
        shell.output.show([note(self._greeting())])
        while True:
            try:
                line = self._lines.prompt(self._prompt)
            except KeyboardInterrupt:
                continue  # the line is given up, not the shell
            except EOFError:
                return 0
            try:
                shell.execute(line)
            except QuitShell:
                return 0
            if shell.gone and not self._reconnect():
                return 1

    def _greeting(self) -> str:
        cards = len(self._shell.backend.cards)
        count = f", {cards} cards" if cards > 1 else ""
        return f"{self._shell.backend.name}{count}. `help` lists commands; Ctrl-D leaves."

    def _reconnect(self) -> bool:
        """Offer to connect again until it succeeds; False: the user does not want to."""
        shell = self._shell
        if shell.connect is None:
            return False
        while shell.gone:
            if not self.confirm("the device is gone. Connect again?"):
                return False
            try:
                shell.reconnect()
            except ShellError as error:
                shell.output.error(error.message, error.fix)
            else:
                shell.output.show([note(f"connected to {shell.backend.name}")])
        return True
