"""One shell: its device, its card, what it remembers, and the running of lines."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tlsnic.device.shell.arguments import split
from tlsnic.device.shell.backend import Backend, Json
from tlsnic.device.shell.command import Command, Result
from tlsnic.device.shell.errors import GoneError, ShellError, UsageError
from tlsnic.device.shell.render import Output

EXIT_INTERRUPTED = 130


class QuitShell(Exception):
    """The user has had enough."""


@dataclass
class Moment:
    """All registers at one time."""

    now_ns: int
    values: dict[tuple[int, int], int]
    """By BAR and offset."""


@dataclass
class Memory:
    """What a shell remembers between commands."""

    snapshots: dict[str, Moment] = field(default_factory=dict)
    counters: dict[int, tuple[int, Mapping[str, int]]] = field(default_factory=dict)
    """Time and counters of the last look, by card."""
    lines: list[str] = field(default_factory=list)


class Shell:
    """Runs command lines against a device.

    Args:
        backend: the device.
        output: where results go.
        commands: the table of commands, by name.
        connect: makes a new backend when the device is gone, for `reconnect`.
        confirm: asks a question, None when there is nobody to be asked.
        assume_yes: nothing is asked.
        card: number of the card that commands are about.
    """

    def __init__(
        self,
        backend: Backend,
        output: Output,
        commands: Mapping[str, Command],
        *,
        connect: Callable[[], Backend] | None = None,
        confirm: Callable[[str], bool] | None = None,
        assume_yes: bool = False,
        card: int = 0,
    ) -> None:
        self.backend = backend
        self.output = output
        self.commands = commands
        self.connect = connect
        self.card = card
        self.gone = False
        self.memory = Memory()
        self.interactive = False
        self.confirm = confirm
        self._assume_yes = assume_yes

    def call(self, method: str, **params: Any) -> Json:
        """Ask the device about the current card."""
        return self.backend.call(method, {"card": self.card, **params})

    def ask(self, question: str, *, yes: bool = False) -> None:
        """Have the user agree.

        Raises:
            ShellError: he does not, or there is nobody to be asked.
        """
        if yes or self._assume_yes:
            return
        if self.confirm is None:
            raise ShellError(
                "NOT_CONFIRMED",
                f"{question} (not done: there is nobody to be asked)",
                "add --yes to the command",
            )
        if not self.confirm(question):
            raise ShellError("NOT_CONFIRMED", "not done")

    def sleep(self, seconds: float) -> None:
        """Wait; Ctrl-C ends it as any command."""
        time.sleep(seconds)

    def run(self, line: str) -> Result:
        """Run one line.

        Raises:
            ShellError: the command failed; UsageError: there is no such command.
        """
        return self.run_words(split(line))

    def run_words(self, words: list[str]) -> Result:
        """Run one command; as `run`."""
        command = self.find(words[0])
        try:
            arguments = command.parse(words[1:])
        except UsageError as error:
            fix = error.fix or f"usage: {command.usage}"
            raise UsageError(f"{command.name}: {error.message}", fix) from None
        return command.run(self, arguments)

    def find(self, name: str) -> Command:
        """A command by its name, or by a beginning that only it has.

        Raises:
            UsageError: there is none, or there are several.
        """
        if name in self.commands:
            return self.commands[name]
        matching = [command for known, command in self.commands.items() if known.startswith(name)]
        if len(matching) == 1:
            return matching[0]
        if matching:
            names = ", ".join(command.name for command in matching)
            raise UsageError(f"{name} may be one of: {names}")
        raise UsageError(f"there is no command {name}", "`help` lists all commands")

    def execute(self, line: str) -> int:
        """Run a line and print what comes of it. Returns the exit status; QuitShell passes."""
        words: list[str] = []
        try:
            words = split(line.strip())
            if not words or words[0].startswith("#"):
                return 0
            self.memory.lines.append(line.strip())
            result = self.run_words(words)
        except ShellError as error:
            self.gone = self.gone or isinstance(error, GoneError)
            self._print_error(line, words, error)
            return error.exit_status
        except KeyboardInterrupt:
            if self.output.as_json:
                stopped = ShellError("INTERRUPTED", "interrupted")
                self._print_error(line, words, stopped)
            else:
                self.output.error("interrupted")
            return EXIT_INTERRUPTED
        if self.output.as_json:
            self.output.document(
                {"command": line.strip(), "card": self.card, "ok": True, "result": result.value}
            )
        else:
            self.output.show(result.shown)
        return 0

    def _print_error(self, line: str, words: list[str], error: ShellError) -> None:
        if self.output.as_json:
            described = {"name": error.name, "message": error.message, "fix": error.fix}
            self.output.document(
                {"command": line.strip(), "card": self.card, "ok": False, "error": described}
            )
        else:
            self.output.error(error.message, error.fix)

    def reconnect(self) -> None:
        """Find the device again.

        Raises:
            ShellError: it is not there.
        """
        if self.connect is None:
            raise ShellError("NOT_POSSIBLE", "this shell is not connected to a device process")
        self.backend.close()
        self.backend = self.connect()
        self.gone = False
        self.memory.counters.clear()
        if all(card.get("card") != self.card for card in self.backend.cards):
            self.card = 0
