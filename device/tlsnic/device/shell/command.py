"""What a command is: its words, its help, what it does, and what it gives back."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.console import RenderableType

from tlsnic.device.shell import arguments
from tlsnic.device.shell.arguments import Argument, Arguments, Option
from tlsnic.device.shell.backend import Json

if TYPE_CHECKING:
    from tlsnic.device.shell.shell import Shell


@dataclass(frozen=True)
class Result:
    """What a command found: for programs, and for people."""

    value: Json
    shown: list[RenderableType] = field(default_factory=list)


@dataclass(frozen=True)
class Example:
    """A line to type, and what it is good for."""

    line: str
    what: str


@dataclass(frozen=True)
class Command:
    """One command of the shell."""

    name: str
    summary: str
    run: Callable[["Shell", Arguments], Result]
    examples: tuple[Example, ...]
    arguments: tuple[Argument, ...] = ()
    options: tuple[Option, ...] = ()

    @property
    def usage(self) -> str:
        """The command with all it takes."""
        return arguments.usage(self.name, self.arguments, self.options)

    def parse(self, words: list[str]) -> Arguments:
        """Arguments from the words behind the name; UsageError when they do not fit."""
        return arguments.parse(words, self.arguments, self.options)


YES = Option("--yes", help="do not ask")
