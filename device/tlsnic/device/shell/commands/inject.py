"""impair, fault: making the wire, and the card, behave badly on purpose."""

from typing import Any, Final

from rich.console import RenderableType

from tlsnic.device.shell.arguments import Argument, Arguments, Kind, parse_number
from tlsnic.device.shell.backend import Json
from tlsnic.device.shell.command import Command, Example, Result
from tlsnic.device.shell.errors import UsageError
from tlsnic.device.shell.render import note, pairs, table, titled
from tlsnic.device.shell.shell import Shell

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
    """List, set or clear faults."""
    if arguments.text("name") == "clear":
        words = arguments.words("settings")
        if len(words) > 1:
            raise UsageError(f"too much: {words[1]!r}", "fault clear [NAME]")
        shell.call("faults.clear", **({"name": words[0]} if words else {}))
    elif arguments.given("name"):
        settings: dict[str, Any] = {}
        for name, value in _settings(arguments.words("settings")).items():
            settings[name] = _number_or_text(value)
        shell.call("faults.set", name=arguments.text("name"), **settings)
    faults = shell.call("faults.list")
    rows = [(fault["name"], _setting(fault.get("setting")), fault["what"]) for fault in faults]
    lines: list[RenderableType] = [table(["=fault", "setting now", "what"], rows)]
    if not any(fault.get("setting") for fault in faults):
        lines.append(note("none is on"))
    return Result(faults, lines)


def _setting(setting: Json) -> str:
    if not setting:
        return "off"
    if isinstance(setting, dict):
        return " ".join(f"{name}={value}" for name, value in setting.items())
    return str(setting)


def _number_or_text(text: str) -> int | str | bool:
    try:
        return int(text, 0)
    except ValueError:
        return {"true": True, "false": False}.get(text.lower(), text)


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
            Example("fault swallow_interrupts count=3", "the next three interrupts do not come"),
            Example("fault clear", "all off"),
        ),
        (
            Argument("name", Kind.FAULT, "of the fault, or clear", required=False),
            Argument("settings", Kind.WORD, "SETTING=VALUE …", required=False, many=True),
        ),
    ),
)
