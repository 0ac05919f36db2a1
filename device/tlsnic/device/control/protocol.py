"""The language of the control socket: lines of JSON, and methods with named, checked parameters.

    ← {"hello": "tlsnic-control", "version": 1, "pid": 7, "cards": [...]}
    → {"id": 1, "method": "queues.list", "params": {"card": 0}}
    ← {"id": 1, "result": [...]}    or    {"id": 1, "error": {"name": "...", "message": "...", "fix": "..."}}
    ← {"event": "trace", ...}

Each line is UTF-8 and ends with a newline. No I/O here.
"""

import enum
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeAlias

NAME: Final = "tlsnic-control"
VERSION: Final = 1
MAX_LINE_BYTES: Final = 1 << 20
MAX_ID_CHARACTERS: Final = 128
U64: Final = 0xFFFF_FFFF_FFFF_FFFF

Json: TypeAlias = Any
"""What json.dumps takes: the shapes are in docs/control.md."""
RequestId: TypeAlias = int | str | None


class ErrorName(enum.StrEnum):
    """Why a request was not carried out."""

    BAD_JSON = "BAD_JSON"
    """The line is no JSON."""
    BAD_REQUEST = "BAD_REQUEST"
    """It is JSON, but no request."""
    LINE_TOO_LONG = "LINE_TOO_LONG"
    """The connection ends behind this."""
    NOT_ALLOWED = "NOT_ALLOWED"
    """The client belongs to another user. The connection ends behind this."""
    TOO_MANY_CLIENTS = "TOO_MANY_CLIENTS"
    """The connection ends behind this."""
    UNKNOWN_METHOD = "UNKNOWN_METHOD"
    UNKNOWN_CARD = "UNKNOWN_CARD"
    BAD_PARAMETER = "BAD_PARAMETER"
    """One is missing, unknown, of a wrong type or out of range: the message names it."""
    NOT_FOUND = "NOT_FOUND"
    """What a parameter names does not exist (any more)."""
    UNAVAILABLE = "UNAVAILABLE"
    """This device cannot do that: a replayed one has no PCI side, for example."""
    CONFLICT = "CONFLICT"
    """Something else is in the way: the same is running already."""
    FAILED = "FAILED"
    """The system refused: a file cannot be made."""
    INTERNAL = "INTERNAL"
    """A fault of the device's own; its log has the details."""


class ControlError(Exception):
    """A request that is not carried out.

    Attributes:
        name: what programs tell errors apart by.
        message: what is wrong, in one line.
        fix: what to do about it, in one line; empty if nothing is known.
    """

    def __init__(self, name: ErrorName, message: str, fix: str = "") -> None:
        super().__init__(f"{message}; {fix}" if fix else message)
        self.name = name
        self.message = message
        self.fix = fix

    def as_json(self) -> Json:
        return {"name": str(self.name), "message": self.message, "fix": self.fix}


class Kind(enum.StrEnum):
    """Type of a parameter."""

    INTEGER = "integer"
    BOOLEAN = "boolean"
    STRING = "string"
    LIST = "list"
    OBJECT = "object"
    ANY = "any"


_TYPES: Final[Mapping[Kind, tuple[type, ...]]] = {
    Kind.INTEGER: (int,),
    Kind.BOOLEAN: (bool,),
    Kind.STRING: (str,),
    Kind.LIST: (list,),
    Kind.OBJECT: (dict,),
    Kind.ANY: (object,),
}
REQUIRED: Final = object()


@dataclass(frozen=True, slots=True)
class Param:
    """A parameter of a method. Integers are `low` to `high`; without `default` it must be given."""

    name: str
    kind: Kind
    what: str
    default: Any = REQUIRED
    low: int = 0
    high: int = U64
    choices: tuple[str | int, ...] = ()
    nullable: bool = False
    """It may be null; also if that is the default."""

    def check(self, value: Json) -> None:
        """ControlError: `value` is of another type, or out of range."""
        if value is None and (self.nullable or self.default is None):
            return
        good = isinstance(value, _TYPES[self.kind])
        if not good or (isinstance(value, bool) and self.kind is Kind.INTEGER):
            raise self._bad(f"is a {self.kind}")
        if self.choices and value not in self.choices:
            raise self._bad(f"is one of {', '.join(map(str, self.choices))}")
        if self.kind is Kind.INTEGER and not self.low <= value <= self.high:
            raise self._bad(f"is from {self.low} to {self.high}")

    def _bad(self, what: str) -> ControlError:
        return ControlError(ErrorName.BAD_PARAMETER, f"{self.name} {what}: {self.what}")


@dataclass(frozen=True, slots=True)
class Method:
    """A method: its handler is called with the card and the parameters by their names."""

    name: str
    handler: Callable[..., Json]
    what: str
    result: str
    params: tuple[Param, ...] = ()
    changes: bool = False
    """It changes what the card is or does, so that those who look on must not call it unasked."""
    subscribes: bool = False
    """The handler also gets `client`, whom events go to."""
    takes_settings: bool = False
    """The handler also gets `settings`: what was given beside the parameters, unchecked."""
    by_name: Mapping[str, Param] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_name", {param.name: param for param in self.params})

    def arguments(self, given: Mapping[str, Json]) -> dict[str, Json]:
        """All parameters, checked, and with their defaults.

        Raises:
            ControlError: one is missing, unknown, of a wrong type or out of range.
        """
        others = {name: value for name, value in given.items() if name not in self.by_name}
        for name in others:
            if not self.takes_settings:
                known = ", ".join(["card", *self.by_name])
                raise ControlError(
                    ErrorName.BAD_PARAMETER,
                    f"{self.name} has no parameter {shortened(name)}",
                    f"known are: {known}",
                )
        arguments: dict[str, Json] = {"settings": others} if self.takes_settings else {}
        for param in self.params:
            value = given.get(param.name, param.default)
            if value is REQUIRED:
                raise ControlError(
                    ErrorName.BAD_PARAMETER, f"{self.name} needs {param.name}: {param.what}"
                )
            if param.name in given:
                param.check(value)
            arguments[param.name] = value
        return arguments


class Request(NamedTuple):
    """One line of a client. `error` tells why it is none."""

    id: RequestId
    method: str
    params: dict[str, Json]
    error: ControlError | None = None


def parse_request(line: bytes | bytearray) -> Request:
    """A request from its line. Never raises."""
    try:
        value = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        return _bad(None, ErrorName.BAD_JSON, f"no JSON: {shortened(str(error))}")
    if not isinstance(value, dict):
        return _bad(None, ErrorName.BAD_REQUEST, "a request is an object")
    number = value.get("id")
    good_id = number is None or (isinstance(number, int) and abs(number) <= U64)
    if isinstance(number, bool) or not (
        good_id or (isinstance(number, str) and len(number) <= MAX_ID_CHARACTERS)
    ):
        return _bad(None, ErrorName.BAD_REQUEST, "an id is a number of 64 bits or a short string")
    method, params = value.get("method"), value.get("params", {})
    if not isinstance(method, str) or not isinstance(params, dict):
        return _bad(number, ErrorName.BAD_REQUEST, "method is a string, params an object")
    return Request(number, method, params)


def _bad(number: RequestId, name: ErrorName, message: str) -> Request:
    fix = 'write {"id": 1, "method": "device.info"} and a newline'
    return Request(number, "", {}, ControlError(name, message, fix))


def shortened(text: str, most: int = 80) -> str:
    """`text` for a message: printable, and no longer than `most` characters or a bit more."""
    return ascii(text if len(text) <= most else text[:most] + "…")[1:-1]


def encode(value: Json) -> bytes:
    """A line. Everything that is not ASCII is escaped, lone surrogates too."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii") + b"\n"


def encode_result(number: RequestId, result: Json) -> bytes:
    """The line of a request that was carried out."""
    return encode({"id": number, "result": result})


def encode_error(number: RequestId, error: ControlError) -> bytes:
    """The line of one that was not."""
    return encode({"id": number, "error": error.as_json()})


def slice_params(what: str, default: int, most: int) -> Sequence[Param]:
    """`first` and `count` of methods that give a part of something long."""
    return (
        Param("first", Kind.INTEGER, f"the first {what}", 0),
        Param("count", Kind.INTEGER, f"how many, {most} at most", default, 1, most),
    )
