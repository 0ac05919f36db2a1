"""Command lines of the shell: words, arguments, options, and what is wrong with them."""

import enum
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from tlsnic.device.shell.errors import UsageError

Value: TypeAlias = str | int | float | bool | list[str]

_NUMBER: Final = re.compile(r"0[xX][0-9a-fA-F_]+|0[bB][01_]+|0[oO][0-7_]+|[0-9][0-9_]*")
_SECONDS: Final = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(us|ms|s|m)?")
_UNITS: Final = {None: 1.0, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


class Kind(enum.Enum):
    """What an argument is: how it is read, and what completes it."""

    WORD = enum.auto()
    NUMBER = enum.auto()
    SECONDS = enum.auto()
    REGISTER = enum.auto()
    ASSIGNMENT = enum.auto()
    COUNTER = enum.auto()
    QUEUE_KIND = enum.auto()
    HANDLE = enum.auto()
    SNAPSHOT = enum.auto()
    FILE = enum.auto()
    FAULT = enum.auto()
    FAULT_SETTING = enum.auto()
    IMPAIRMENT = enum.auto()
    COMMAND = enum.auto()
    """The name of a command."""
    LINE = enum.auto()
    """The rest of the line, options included: another command."""


@dataclass(frozen=True)
class Argument:
    """A word that stands at its place."""

    name: str
    kind: Kind = Kind.WORD
    help: str = ""
    required: bool = True
    many: bool = False
    choices: tuple[str, ...] = ()

    @property
    def usage(self) -> str:
        """As it stands in the usage line."""
        shown = "|".join(self.choices) if self.choices else self.name.upper()
        shown += "…" if self.many or self.kind is Kind.LINE else ""
        return shown if self.required else f"[{shown}]"


@dataclass(frozen=True)
class Option:
    """A word that begins with dashes, and its value unless `kind` is None."""

    name: str
    kind: Kind | None = None
    help: str = ""

    @property
    def key(self) -> str:
        """Its name in the parsed arguments."""
        return self.name.lstrip("-").replace("-", "_")

    @property
    def usage(self) -> str:
        """As it stands in the usage line."""
        metavar = {Kind.NUMBER: "N", Kind.SECONDS: "SECONDS", Kind.FILE: "PATH"}
        value = "" if self.kind is None else f" {metavar.get(self.kind, 'TEXT')}"
        return f"[{self.name}{value}]"


class Arguments:
    """The values of one command line, by the names of arguments and options."""

    def __init__(self, values: Mapping[str, Value]) -> None:
        self._values = values

    def given(self, name: str) -> bool:
        """Whether it was given."""
        return name in self._values

    def flag(self, name: str) -> bool:
        """Whether an option without a value was given."""
        return bool(self._values.get(name, False))

    def text(self, name: str, default: str = "") -> str:
        """A word."""
        return str(self._values.get(name, default))

    def number(self, name: str, default: int = 0) -> int:
        """A whole number."""
        value = self._values.get(name, default)
        assert isinstance(value, int)
        return value

    def seconds(self, name: str, default: float = 0.0) -> float:
        """A duration."""
        value = self._values.get(name, default)
        assert isinstance(value, int | float)
        return float(value)

    def words(self, name: str) -> list[str]:
        """All words of an argument that may be given several times."""
        value = self._values.get(name, [])
        assert isinstance(value, list)
        return value


def split(line: str) -> list[str]:
    """The words of a line; quotes and backslashes as in a POSIX shell.

    Raises:
        UsageError: a quotation has no end.
    """
    try:
        return shlex.split(line)
    except ValueError as error:
        reason = "a quotation has no end" if "quotation" in str(error) else "a backslash ends it"
        raise UsageError(f"cannot read the line: {reason}") from None


def parse_number(text: str, what: str = "number") -> int:
    """A number that is not negative: decimal, or with 0x, 0o or 0b.

    Raises:
        UsageError: it is none.
    """
    try:
        if _NUMBER.fullmatch(text):
            return int(text, 0) if not text.isdigit() else int(text)
    except ValueError:
        pass
    raise UsageError(f"{text!r} is no {what}", "give a number: 12, 0x40, 0b101")


def parse_seconds(text: str, what: str = "time") -> float:
    """A duration in seconds, or with us, ms, s or m.

    Raises:
        UsageError: it is none.
    """
    match = _SECONDS.fullmatch(text)
    if match is None:
        raise UsageError(f"{text!r} is no {what}", "give seconds or a unit: 0.5, 200ms, 2m")
    return float(match[1]) * _UNITS[match[2]]


def usage(name: str, arguments: Sequence[Argument], options: Sequence[Option]) -> str:
    """The usage line of a command."""
    shown = [option.usage for option in options] + [argument.usage for argument in arguments]
    return " ".join([name, *shown])


def parse(
    words: Sequence[str], arguments: Sequence[Argument], options: Sequence[Option]
) -> Arguments:
    """The values of `words`, which are what follows the command's name.

    Raises:
        UsageError: they do not fit.
    """
    values: dict[str, Value] = {}
    by_name = {option.name: option for option in options}
    places = list(arguments)
    rest = list(words)
    only_words = False
    while rest:
        word = rest.pop(0)
        if word == "--" and not only_words:
            only_words = True
        elif word.startswith("--") and not only_words:
            name, equals, value = word.partition("=")
            option = by_name.get(name)
            if option is None:
                known = ", ".join(by_name) or "none"
                raise UsageError(f"there is no option {name}", f"options: {known}")
            if option.kind is None:
                if equals:
                    raise UsageError(f"{name} takes no value")
                values[option.key] = True
                continue
            if not equals:
                if not rest:
                    raise UsageError(f"{name} needs a value")
                value = rest.pop(0)
            values[option.key] = _convert(value, option.kind, name)
        elif not places:
            raise UsageError(f"too much: {word!r}")
        else:
            place = places[0]
            if place.kind is Kind.LINE:
                values[place.name] = [word, *rest]
                return _complete(values, places[1:])
            if place.choices and word not in place.choices:
                raise UsageError(f"{word!r} is none of: {', '.join(place.choices)}")
            converted = _convert(word, place.kind, place.name)
            if place.many:
                gathered = values.setdefault(place.name, [])
                assert isinstance(gathered, list)
                gathered.append(word)
            else:
                values[place.name] = converted
                places.pop(0)
    return _complete(values, places)


def _complete(values: dict[str, Value], places: Sequence[Argument]) -> Arguments:
    missing = [place for place in places if place.required and place.name not in values]
    if missing:
        raise UsageError(f"{missing[0].usage} is missing")
    return Arguments(values)


def _convert(text: str, kind: Kind, what: str) -> Value:
    if kind in (Kind.NUMBER, Kind.HANDLE):
        return parse_number(text, what.lstrip("-").replace("_", " "))
    if kind is Kind.SECONDS:
        return parse_seconds(text, what.lstrip("-").replace("_", " "))
    return text
