"""Opening a wire from the text a user writes.

    WIRE = BASE [+STAGE]...          stages follow in the order from the wire to the NIC

    BASE   tap:NAME[,netns=NS][,offload=off]
           unix:PATH   unix-listen:PATH   tcp:[HOST:]PORT   tcp-listen:[HOST:]PORT
           pcapng:IN[,out=OUT][,pace=recorded|fast][,play=inbound|outbound|all]
           pair:NAME                 in `open_wires()`, twice: its two ends
           null

    STAGE  impair:KEY=VALUE[,KEY=VALUE]...
           capture:PATH

Keys of `impair`: seed; loss, corrupt, duplicate, reorder (a probability, 0.01 or 1%); reorder-gap,
queue (frames); hold, delay, jitter (10ms; ns, us, ms, s); rate (100mbit; kbit, mbit, gbit, bit);
drop (indices of frames, 0/3/7). `tx.` or `rx.` in front of a key means only what the NIC sends or
receives. A comma inside a value is written twice. Examples:

    tap:tlsnic0,netns=peer+impair:rx.loss=1%,delay=5ms,seed=7+capture:run.pcapng
    unix:/run/vm.sock+capture:vm.pcapng
"""

from __future__ import annotations

import contextlib
import enum
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from .base import Wire, WireError
from .capture import CaptureStage
from .impair import ImpairmentStage
from .lane import NO_IMPAIRMENTS, Impairments
from .memory import NullWire
from .pair import PairWire, open_pair
from .replay import Pace, PcapngWire, Play
from .stream import open_tcp, open_tcp_listener, open_unix, open_unix_listener
from .tap import TapWire

_SEE = "see the grammar in the documentation of --wire"
_STAGE_START = re.compile(r"\+(?=(?:impair|capture):)")
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)([a-z%]*)")
_COMMA = "\0"
_NANOSECONDS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9}
_BITS_PER_SECOND = {"bit": 1, "kbit": 10**3, "mbit": 10**6, "gbit": 10**9}

_E = TypeVar("_E", bound=enum.Enum)
_Options = dict[str, str]


def open_wire(spec: str) -> Wire:
    """Open the one wire that `spec` describes.

    Raises:
        WireError: `spec` is wrong, or its wire cannot be opened.
    """
    return open_wires([spec])[0]


def open_wires(specs: Sequence[str]) -> list[Wire]:
    """Open one wire per port; `pair:NAME` joins the two ports that name it.

    Raises:
        WireError: as `open_wire`; no wire is left open then.
    """
    chains = [_split_chain(spec) for spec in specs]
    pairs = _open_pairs([base for base, _ in chains])
    wires: list[Wire] = []
    with contextlib.ExitStack() as undo:
        for ends in pairs.values():
            for end in ends:
                undo.callback(end.close)
        for base, stages in chains:
            kind, argument = base
            wire: Wire = pairs[argument].pop(0) if kind == "pair" else _open_base(kind, argument)
            undo.callback(wire.close)
            for stage_kind, stage_argument in stages:
                wire = _STAGES[stage_kind](wire, stage_argument)
                undo.callback(wire.close)
            wires.append(wire)
        undo.pop_all()
    return wires


def _split_chain(spec: str) -> tuple[tuple[str, str], list[tuple[str, str]]]:
    parts = [text.partition(":") for text in _STAGE_START.split(spec)]
    base, *stages = [(kind, argument) for kind, _, argument in parts]
    if base[0] not in _KINDS:
        raise WireError(f"unknown wire {spec!r}", f"known are: {', '.join(_KINDS)}; {_SEE}")
    return base, stages


def _open_pairs(bases: Sequence[tuple[str, str]]) -> dict[str, list[PairWire]]:
    counts = Counter(argument for kind, argument in bases if kind == "pair")
    for name, count in counts.items():
        if count != 2:
            raise WireError(
                f"pair:{name} joins two ports, and {count} name it", "give it to exactly two ports"
            )
    return {name: list(open_pair(f"pair:{name}")) for name in counts}


def _open_base(kind: str, argument: str) -> Wire:
    if kind == "null":
        if argument:
            raise WireError(f"null takes no argument, not {argument!r}", "write just: null")
        return NullWire()
    if not argument:
        raise WireError(f"{kind}: needs an argument", _SEE)
    return _BASES[kind](argument)


def _options(kind: str, text: str, known: Sequence[str]) -> tuple[str, _Options]:
    """Split `VALUE,KEY=VALUE,...`; returns the value before the options, and these."""
    first, *rest = text.replace(",,", _COMMA).split(",")
    return first.replace(_COMMA, ","), _key_values(kind, rest, known)


def _key_values(kind: str, items: Sequence[str], known: Sequence[str]) -> _Options:
    options: _Options = {}
    for item in items:
        key, equals, value = item.replace(_COMMA, ",").partition("=")
        if key not in known or not equals:
            raise WireError(f"{kind}: unknown option {item!r}", f"known are: {', '.join(known)}")
        if key in options:
            raise WireError(f"{kind}: option {key} is given twice", "give it once")
        options[key] = value
    return options


def _choice(kind: str, options: _Options, key: str, default: _E) -> _E:
    if key not in options:
        return default
    try:
        return type(default)(options[key])
    except ValueError:
        names = ", ".join(str(member.value) for member in type(default))
        raise WireError(f"{kind}: {key}={options[key]} is unknown", f"known are: {names}") from None


class _Switch(enum.Enum):
    ON = "on"
    OFF = "off"


def _open_tap(text: str) -> Wire:
    name, options = _options("tap", text, ("netns", "offload"))
    offload = _choice("tap", options, "offload", _Switch.ON) is _Switch.ON
    return TapWire(name, netns=options.get("netns", ""), offload=offload)


def _open_pcapng(text: str) -> Wire:
    path, options = _options("pcapng", text, ("out", "pace", "play"))
    return PcapngWire(
        path,
        out=options.get("out"),
        pace=_choice("pcapng", options, "pace", Pace.RECORDED),
        play=_choice("pcapng", options, "play", Play.INBOUND),
    )


def _plain(kind: str, opener: Callable[[str], Wire]) -> Callable[[str], Wire]:
    return lambda text: opener(_options(kind, text, ())[0])


_BASES: dict[str, Callable[[str], Wire]] = {
    "tap": _open_tap,
    "unix": _plain("unix", open_unix),
    "unix-listen": _plain("unix-listen", open_unix_listener),
    "tcp": _plain("tcp", open_tcp),
    "tcp-listen": _plain("tcp-listen", open_tcp_listener),
    "pcapng": _open_pcapng,
}
_KINDS = (*_BASES, "pair", "null")


# -- stages -----------------------------------------------------------------------------------


def _capture(inner: Wire, text: str) -> Wire:
    path, _ = _options("capture", text, ())
    if not path:
        raise WireError("capture: needs a file", "write for example: +capture:run.pcapng")
    return CaptureStage(inner, path)


def _quantity(key: str, text: str, units: dict[str, int], example: str) -> int:
    match = _QUANTITY.fullmatch(text)
    if match is None or match[2] not in units:
        raise WireError(f"impair: {key}={text} is not understood", f"write for example {example}")
    return round(float(match[1]) * units[match[2]])


def _probability(key: str, text: str) -> float:
    match = _QUANTITY.fullmatch(text)
    value = float(match[1]) if match is not None else -1.0
    if match is not None and match[2] == "%":
        value /= 100
    if match is None or match[2] not in {"", "%"} or value > 1:
        raise WireError(f"impair: {key}={text} is not a probability", "write 0.01 or 1%")
    return value


def _duration(key: str, text: str) -> int:
    return _quantity(key, text, _NANOSECONDS, "10ms")


def _rate(key: str, text: str) -> int:
    return _quantity(key, text, _BITS_PER_SECOND, "100mbit")


def _count(key: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise WireError(f"impair: {key}={text} is not a number", "write for example 5")
    return int(text)


def _indices(key: str, text: str) -> frozenset[int]:
    return frozenset(_count(key, index) for index in text.split("/"))


_IMPAIR_KEYS: dict[str, tuple[str, Callable[[str, str], object]]] = {
    "loss": ("loss", _probability),
    "corrupt": ("corrupt", _probability),
    "duplicate": ("duplicate", _probability),
    "reorder": ("reorder", _probability),
    "reorder-gap": ("reorder_gap", _count),
    "hold": ("hold_ns", _duration),
    "delay": ("delay_ns", _duration),
    "jitter": ("jitter_ns", _duration),
    "rate": ("rate_bit_per_s", _rate),
    "queue": ("queue_frames", _count),
    "drop": ("drop", _indices),
}


def parse_impairments(options: Mapping[str, str]) -> Impairments:
    """Settings of one direction from the keys and values of `+impair:`.

    Raises:
        WireError: a key is unknown, or its value is not understood or out of range.
    """
    fields: dict[str, object] = {}
    for key, value in options.items():
        if key not in _IMPAIR_KEYS:
            raise WireError(f"impair: unknown {key!r}", f"known are: {', '.join(_IMPAIR_KEYS)}")
        field, parse = _IMPAIR_KEYS[key]
        fields[field] = parse(key, value)
    try:
        return Impairments(**fields)  # type: ignore[arg-type]
    except ValueError as error:
        raise WireError(f"impair: {error}", _SEE) from error


def format_impairments(settings: Impairments) -> dict[str, str]:
    """The other way round: what differs from doing nothing. A rule cannot be told."""
    return {
        key: _FORMATS[parse](getattr(settings, field))
        for key, (field, parse) in _IMPAIR_KEYS.items()
        if getattr(settings, field) != getattr(NO_IMPAIRMENTS, field)
    }


def _in_unit(value: int, units: Mapping[str, int]) -> str:
    unit, factor = max(
        ((name, factor) for name, factor in units.items() if value % factor == 0),
        key=lambda item: item[1],
    )
    return f"{value // factor}{unit}"


_FORMATS: dict[object, Callable[[Any], str]] = {
    _probability: lambda value: f"{value * 100:.12g}%",
    _count: str,
    _duration: lambda value: _in_unit(value, _NANOSECONDS),
    _rate: lambda value: _in_unit(value, _BITS_PER_SECOND),
    _indices: lambda value: "/".join(map(str, sorted(value))),
}


def _impair(inner: Wire, text: str) -> Wire:
    directions = [f"{side}.{key}" for side in ("tx", "rx") for key in _IMPAIR_KEYS]
    options = _key_values("impair", text.split(","), ["seed", *_IMPAIR_KEYS, *directions])
    seed = _count("seed", options.pop("seed", "0"))
    settings: dict[str, _Options] = {"tx": {}, "rx": {}}
    # Keys for one direction come last, so that they win over the same key for both.
    for name, value in sorted(options.items(), key=lambda item: "." in item[0]):
        side, _, key = name.rpartition(".")
        for target in (side,) if side else ("tx", "rx"):
            settings[target][key] = value
    tx, rx = (parse_impairments(settings[side]) for side in ("tx", "rx"))
    return ImpairmentStage(inner, seed=seed, tx=tx, rx=rx)


_STAGES: dict[str, Callable[[Wire, str], Wire]] = {"impair": _impair, "capture": _capture}
