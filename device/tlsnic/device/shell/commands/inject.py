"""impair, fault: making the wire, and the card, behave badly on purpose."""

from typing import Any, Final

from rich.console import RenderableType

from tlsnic.device.shell.arguments import Argument, Arguments, Kind, parse_number
from tlsnic.device.shell.backend import Json
from tlsnic.device.shell.command import Command, Example, Result
from tlsnic.device.shell.errors import UsageError
from tlsnic.device.shell.render import note, pairs, table, titled
from tlsnic.device.shell.shell import Shell

_WORDS: Final[dict[str, bool | None]] = {"true": True, "false": False, "null": None, "none": None}
SIDES: Final = ("tx", "rx", "both")


def _settings(words: list[str]) -> dict[str, str]:
    settings = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name or not value:
            raise UsageError(f"{word!r} is no SETTING=VALUE")
        settings[name] = value
    return settings


def run_impair(shell: Shell, arguments: Arguments) -> Result:
    """Show or set what the wire does to frames."""
    words = arguments.words("settings")
    if arguments.given("side"):
        if not words:
            raise UsageError("what shall happen to frames?", "impair rx loss=1%, or impair rx off")
        params: dict[str, Any] = {"side": arguments.text("side"), "settings": "off"}
        if words != ["off"]:
            settings = params["settings"] = _settings(words)
            if "seed" in settings:  # is of the wire, not of one side
                params["seed"] = parse_number(settings.pop("seed"), "seed")
        state = shell.call("impairments.set", **params)
    else:
        state = shell.call("impairments.get")
    lines: list[RenderableType] = []
    for side, towards in (("tx", "card to wire"), ("rx", "wire to card")):
        shown = _described(state.get(side))
        lines.append(pairs([(f"{side}  {towards}", shown or "as they are")]))
    counters = {name: value for name, value in _flat(state.get("counters") or {}).items() if value}
    if counters:
        lines.append(titled("\nframes", table(["=what", ">count"], counters.items())))
    return Result(state, lines)


def _described(settings: Json) -> str:
    if not settings:
        return ""
    return "  ".join(
        f"{name}={value}" for name, value in settings.items() if value not in (None, 0, 0.0, [], "")
    )


def _flat(counters: Json, prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in counters.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name} ")
        else:
            flat[prefix + name] = value
    return flat


def run_fault(shell: Shell, arguments: Arguments) -> Result:
    """List, describe, set or clear faults."""
    name, words = arguments.text("name"), arguments.words("settings")
    if name == "clear":
        if words:
            raise UsageError(f"too much: {words[0]!r}", "fault clear, or fault NAME off")
        shell.call("faults.clear")
    elif words == ["off"]:
        shell.call("faults.clear", name=name)
    elif words:
        settings = {} if words == ["on"] else _settings(words)
        shell.call("faults.set", name=name, **{key: _typed(text) for key, text in settings.items()})
    faults = shell.call("faults.list")
    if name and name != "clear":
        faults = [fault for fault in faults if fault["name"] == name]
        if not faults:
            raise UsageError(f"there is no fault {name}", "`fault` lists all")
        return Result(faults, _fault_lines(faults[0]))
    rows = [(fault["name"], _state(fault), fault["what"]) for fault in faults]
    lines: list[RenderableType] = [table(["=fault", "state", "what"], rows)]
    lines.append(
        note("`fault NAME` tells more; `fault NAME on`, `fault NAME count=3`, `fault clear`")
    )
    return Result(faults, lines)


def _fault_lines(fault: Json) -> list[RenderableType]:
    rows = [("state", _state(fault)), ("what", fault["what"])]
    rows += [(key, fault[key]) for key in ("seen", "must") if key in fault]
    labels = {"seen": "a driver sees", "must": "a driver must"}
    params = [
        (each["name"], "null" if each["default"] is None else each["default"], each["what"])
        for each in fault.get("params", ())
    ]
    return [
        titled(fault["name"], pairs((labels.get(name, name), value) for name, value in rows)),
        titled("\nsettings", table(["=name", "=without", "what"], params)),
    ]


def _state(fault: Json) -> str:
    acted = f", acted {fault['acted']} times" if fault.get("acted") else ""
    if not fault.get("on", bool(fault.get("setting"))):
        return f"off{acted}"
    setting = " ".join(f"{name}={value}" for name, value in (fault["setting"] or {}).items())
    left = f", {fault['left']} left" if fault.get("left") is not None else ""
    return f"ON {setting}{acted}{left}"


def _typed(text: str) -> int | str | bool | None:
    """A value of JSON from how it is typed."""
    try:
        return int(text, 0)
    except ValueError:
        return _WORDS.get(text.lower(), text)


COMMANDS: Final = (
    Command(
        "impair",
        "Show or change what the wire does to frames: loss, delay, reordering …",
        run_impair,
        (
            Example("impair", "as it is now"),
            Example(
                "impair rx loss=1% reorder=1% seed=7", "lose and reorder what the card receives"
            ),
            Example("impair both off", "a good wire again"),
        ),
        (
            Argument("side", Kind.WORD, "whose frames", required=False, choices=SIDES),
            Argument(
                "settings",
                Kind.IMPAIRMENT,
                "SETTING=VALUE as in --wire …+impair:, or off",
                required=False,
                many=True,
            ),
        ),
    ),
    Command(
        "fault",
        "Inject faults: drop frames, swallow interrupts, fail DMA …",
        run_fault,
        (
            Example("fault", "which there are, and which are on"),
            Example("fault swallow_interrupts", "what it does, and what a driver must do"),
            Example("fault swallow_interrupts count=3", "the next three interrupts do not come"),
            Example("fault drop_frames on", "with its settings as they are without being given"),
            Example("fault drop_frames off", "off again"),
            Example("fault clear", "all off"),
        ),
        (
            Argument("name", Kind.FAULT, "of the fault, or clear: all off", required=False),
            Argument(
                "settings",
                Kind.FAULT_SETTING,
                "on, off or SETTING=VALUE …",
                required=False,
                many=True,
            ),
        ),
    ),
)
