"""info, pci, reset, cards, use: the card as a whole."""

from typing import Any, Final

from rich.text import Text

from tlsnic.device.shell import lspci
from tlsnic.device.shell.arguments import Argument, Arguments, Kind, Option
from tlsnic.device.shell.command import YES, Command, Example, Result
from tlsnic.device.shell.errors import ShellError, UsageError
from tlsnic.device.shell.render import note, pairs, table
from tlsnic.device.shell.shell import Shell


def run_info(shell: Shell, arguments: Arguments) -> Result:
    """What the card is and how it stands."""
    info = shell.call("device.info")
    rows: list[tuple[str, object]] = []
    for name, value in info.items():
        shown: object = value
        if name == "uptime_s":
            shown = f"{value:.1f} s"
        elif name == "now_ns":
            continue
        rows.append((name.removesuffix("_s").replace("_", " "), shown))
    return Result(info, [pairs(rows)])


def run_pci(shell: Shell, arguments: Arguments) -> Result:
    """Configuration space."""
    data = bytes.fromhex(shell.call("pci.config")["bytes"])
    function = lspci.decode(data)
    lines = lspci.dump(data) if arguments.flag("hex") else function.lines()
    shown = [Text(line.replace("\t", "    ")) for line in lines]
    return Result({**function.as_json(), "bytes": data.hex()}, list(shown))


def run_reset(shell: Shell, arguments: Arguments) -> Result:
    """Reset the card."""
    kind = arguments.text("kind", "soft")
    what = "by CONTROL.RESET" if kind == "soft" else "by a function level reset"
    shell.ask(
        f"reset card {shell.card} {what}: queues stop, flows and keys go. Really?",
        yes=arguments.flag("yes"),
    )
    answer = shell.call("device.reset", kind=kind)
    shell.memory.counters.pop(shell.card, None)
    return Result(answer, [note(f"reset; STATUS.RESET_COUNT is {answer.get('reset_count', '?')}")])


def _cards(shell: Shell) -> list[dict[str, Any]]:
    return [
        {**card, "current": card.get("card", number) == shell.card}
        for number, card in enumerate(shell.backend.cards)
    ]


def run_cards(shell: Shell, arguments: Arguments) -> Result:
    """The cards of this device."""
    cards = _cards(shell)
    rows = [
        (
            "*" if card["current"] else "",
            *(card.get(key) for key in ("card", "mac", "wire", "socket")),
        )
        for card in cards
    ]
    return Result(cards, [table(["=", ">card", "=MAC address", "wire", "socket"], rows)])


def run_use(shell: Shell, arguments: Arguments) -> Result:
    """Take another card."""
    wanted = arguments.number("card")
    known = [card["card"] for card in _cards(shell) if "card" in card]
    if wanted not in known:
        raise ShellError(
            "UNKNOWN_CARD", f"there is no card {wanted}", f"cards: {', '.join(map(str, known))}"
        )
    shell.card = wanted
    return Result({"card": wanted}, [note(f"commands are about card {wanted} now")])


def run_mark(shell: Shell, arguments: Arguments) -> Result:
    """Put a remark into traces and captures."""
    text = " ".join(arguments.words("text"))
    if not text.strip():
        raise UsageError("a mark needs a text")
    answer = shell.call("device.mark", text=text)
    return Result(answer or {}, [note(f"marked: {text}")])


COMMANDS: Final = (
    Command(
        "info",
        "What the card is, and how it stands",
        run_info,
        (Example("info", "version, wire, driver, link, what is switched on"),),
    ),
    Command(
        "pci",
        "PCI configuration space, as lspci -vvv shows it",
        run_pci,
        (Example("pci", "decoded"), Example("pci --hex", "all bytes, as lspci -xxxx shows them")),
        options=(Option("--hex", help="bytes instead"),),
    ),
    Command(
        "reset",
        "Reset the card; asks first",
        run_reset,
        (
            Example("reset --yes", "as a driver does it"),
            Example("reset function", "as the bus does it; clears the PCI command register, too"),
        ),
        (Argument("kind", Kind.WORD, "how", required=False, choices=("soft", "function")),),
        (YES,),
    ),
    Command(
        "cards",
        "The cards of this device process",
        run_cards,
        (Example("cards", "the current one has a star"),),
    ),
    Command(
        "use",
        "Take another card",
        run_use,
        (Example("use 1", "the following commands are about card 1"),),
        (Argument("card", Kind.NUMBER, "its number"),),
    ),
    Command(
        "mark",
        "Put a remark into traces, captures and records",
        run_mark,
        (Example("mark before the loss", "to find this moment again"),),
        (Argument("text", Kind.WORD, "what it says", many=True),),
    ),
)
