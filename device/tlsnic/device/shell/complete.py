"""Completion: commands, options, and what each argument can be."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document

from tlsnic.abi import descriptions
from tlsnic.abi.layout import Field
from tlsnic.device.shell import decode
from tlsnic.device.shell.arguments import Argument, Kind
from tlsnic.device.shell.backend import Json
from tlsnic.device.shell.command import Command
from tlsnic.device.shell.commands.queues import KINDS
from tlsnic.device.shell.errors import ShellError
from tlsnic.device.shell.shell import Shell

IMPAIRMENTS: Final = (
    *("loss", "corrupt", "duplicate", "reorder", "reorder-gap", "queue", "hold", "delay", "jitter"),
    *("rate", "drop", "seed"),
)
_KNOWN_FOR_S: Final = 2.0
_MOST_HANDLES: Final = 256

Word = tuple[str, str]
"""What may stand there, and what it is."""


class ShellCompleter(Completer):
    """Completes the lines of one shell."""

    def __init__(self, shell: Shell, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._shell = shell
        self._clock_s = clock_s
        self._paths = PathCompleter(expanduser=True)
        self._asked: dict[str, tuple[float, Json]] = {}

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[Completion]:
        before = document.text_before_cursor
        *words, current = _words(before)
        yield from self._complete(words, current, complete_event)

    def _complete(
        self, words: list[str], current: str, event: CompleteEvent
    ) -> Iterator[Completion]:
        if not words:
            yield from _matching(
                current,
                ((command.name, command.summary) for command in self._shell.commands.values()),
            )
            return
        try:
            command = self._shell.find(words[0])
        except ShellError:
            return
        place, rest = _place(command, words[1:])
        if place is not None and place.kind is Kind.LINE:
            yield from self._complete(rest, current, event)
            return
        if current.startswith("-"):
            options = ((option.name, option.help) for option in command.options)
            yield from _matching(current, options)
            return
        if place is None:
            return
        if place.kind is Kind.FILE:
            yield from self._paths.get_completions(Document(current), event)
            return
        yield from _matching(current, self._candidates(place, words, rest, current))

    def _candidates(
        self, place: Argument, words: list[str], given: list[str], current: str
    ) -> Iterator[Word]:
        if place.choices:
            yield from ((choice, "") for choice in place.choices)
        match place.kind:
            case Kind.REGISTER:
                yield from _registers(current)
            case Kind.ASSIGNMENT:
                yield from _assignments(given, current)
            case Kind.COUNTER:
                for place_ in decode.every_place():
                    if place_.register.section == "Counters":
                        yield place_.register.name, place_.description
            case Kind.QUEUE_KIND:
                yield from ((kind, name.lower()) for kind, name in KINDS.items())
            case Kind.HANDLE:
                yield from self._handles()
            case Kind.FAULT:
                yield "clear", "all off"
                yield from ((fault["name"], fault["what"]) for fault in self._faults())
            case Kind.FAULT_SETTING:
                yield from (("on", "as it is without settings"), ("off", ""))
                for fault in self._faults():
                    if words[:2][-1] == fault["name"]:
                        yield from ((f"{each['name']}=", each["what"]) for each in fault["params"])
            case Kind.SNAPSHOT:
                yield from ((name, "snapshot") for name in self._shell.memory.snapshots)
            case Kind.IMPAIRMENT:
                yield "off", "frames pass as they are"
                yield from ((f"{name}=", "") for name in IMPAIRMENTS)
            case Kind.COMMAND:
                for command in self._shell.commands.values():
                    yield command.name, command.summary
            case _:
                pass

    def _ask(self, method: str, **params: Any) -> Json:
        """What the device says, for a while: not a question for every key. None: nothing."""
        known = self._asked.get(method)
        now_s = self._clock_s()
        if known is None or now_s - known[0] > _KNOWN_FOR_S:
            try:
                known = (now_s, self._shell.call(method, **params))
            except ShellError:
                known = (now_s, None)
            self._asked[method] = known
        return known[1]

    def _handles(self) -> list[Word]:
        answer = self._ask("flows.list", count=_MOST_HANDLES) or {"flows": []}
        return [
            (
                f"{flow['handle']:#x}",
                f"{flow['direction'].lower()} {flow['remote']} {flow['state']}",
            )
            for flow in answer["flows"]
        ]

    def _faults(self) -> list[Json]:
        return self._ask("faults.list") or []


def _words(line: str) -> list[str]:
    """Words up to the cursor; the last is the one that is being typed, perhaps empty."""
    words = line.lstrip().split(" ")
    return [word.lstrip("'\"") for word in words[:-1] if word] + [words[-1].lstrip("'\"")]


def _place(command: Command, words: list[str]) -> tuple[Argument | None, list[str]]:
    """The argument that the next word is, and the words of it that are there already."""
    options = {option.name: option for option in command.options}
    places = list(command.arguments)
    given: list[str] = []
    position = 0
    while position < len(words):
        word = words[position]
        position += 1
        if word.startswith("--"):
            option = options.get(word)
            if option is not None and option.kind is not None:
                if position == len(words):
                    return Argument(option.key, option.kind), []
                position += 1
            continue
        if places and places[0].kind is Kind.LINE:
            return places[0], words[position - 1 :]
        if places and places[0].many:
            given.append(word)
        elif places:
            places.pop(0)
    return (places[0] if places else None), given


def _registers(current: str) -> Iterator[Word]:
    if "." in current:
        yield from ((f"{name}.{field.name}", what) for name, field, what in _fields(current))
        return
    for name in decode.by_name():
        yield name, descriptions.REGISTERS.get(name, "")
    yield from ((group, f"group: {section}") for group, section in decode.groups().items())
    yield "all", "every register"


def _fields(text: str) -> Iterator[tuple[str, Field, str]]:
    """Register as typed, field, description, for every field of the register in front of the dot."""
    name = text.partition(".")[0]
    known = decode.by_name().get(name.partition("[")[0].upper())
    if known is not None:
        for field in known[1].fields:
            yield name, field, descriptions.FIELDS.get(f"{known[1].name}.{field.name}", "")


def _assignments(given: list[str], current: str) -> Iterator[Word]:
    register = given[0].partition(".")[0].partition("=")[0] if given else ""
    left, equals, value = current.partition("=")
    if equals:
        path = left if "." in left or not register else f"{register}.{left}"
        yield from _values(path, left, value)
    elif "." in current:
        yield from ((f"{name}.{field.name}=", what) for name, field, what in _fields(current))
    elif register:
        for _, field, what in _fields(register):
            yield f"{field.name}=", what
    else:
        yield from _registers(current)


def _values(path: str, left: str, typed: str) -> Iterator[Word]:
    """Names of values of the field or register `path`; flags one behind the other."""
    name, _, field_name = path.upper().partition(".")
    known = decode.by_name().get(name.partition("[")[0])
    if known is None:
        return
    fields = [field for field in known[1].fields if field_name in ("", field.name)]
    cls = decode.enum_class(fields[0].enum) if len(fields) == 1 else None
    done, bar, _ = typed.rpartition("|")
    for value in cls or ():
        text = descriptions.ENUMS.get(f"{cls.__name__}.{value.name}", "") if cls else ""
        yield f"{left}={done}{bar}{value.name}", text


def _matching(current: str, words: Iterable[Word]) -> Iterator[Completion]:
    for word, what in words:
        if word.lower().startswith(current.lower()):
            yield Completion(word, start_position=-len(current), display_meta=what[:70])
