"""help, history, watch, reconnect, quit: the shell itself."""

from typing import Final

from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from tlsnic.device.shell.arguments import Argument, Arguments, Kind, Option
from tlsnic.device.shell.command import Command, Example, Result
from tlsnic.device.shell.errors import UsageError
from tlsnic.device.shell.render import HEAD, NAME, note, pairs, table, titled
from tlsnic.device.shell.shell import QuitShell, Shell

CHANGED: Final = "reverse"
_NOT_REPEATED: Final = ("watch", "trace", "quit", "reset", "write", "reconnect")


def describe(command: Command) -> dict[str, object]:
    """A command's help for programs."""
    return {
        "name": command.name,
        "summary": command.summary,
        "usage": command.usage,
        "arguments": {argument.name: argument.help for argument in command.arguments},
        "options": {option.name: option.help for option in command.options},
        "examples": [{"line": each.line, "what": each.what} for each in command.examples],
    }


def run_help(shell: Shell, arguments: Arguments) -> Result:
    """All commands, or one with examples."""
    if not arguments.given("command"):
        rows = [(command.name, command.summary) for command in shell.commands.values()]
        lines = [
            pairs(rows),
            note("`help COMMAND` shows examples. A beginning of a name is enough: `reg CONTROL`."),
        ]
        return Result([describe(command) for command in shell.commands.values()], list(lines))
    command = shell.find(arguments.text("command"))
    shown: list[RenderableType] = [
        Text(command.usage, style=HEAD),
        Text(f"{command.summary}."),
    ]
    taken = [
        (name, text)
        for name, text in [
            *((argument.name.upper(), argument.help) for argument in command.arguments),
            *((option.name, option.help) for option in command.options),
        ]
    ]
    if taken:
        shown.append(titled("\ntakes", pairs(taken)))
    shown.append(titled("\nexamples", pairs([(each.line, each.what) for each in command.examples])))
    return Result(describe(command), shown)


def run_history(shell: Shell, arguments: Arguments) -> Result:
    """What was typed."""
    lines = shell.memory.lines[-arguments.number("count", 50) :]
    first = len(shell.memory.lines) - len(lines) + 1
    rows = [(first + position, line) for position, line in enumerate(lines)]
    return Result(lines, [table([">", "line"], rows)])


def highlighted(before: str, now: str) -> Text:
    """`now`, with every character marked that was another one at its place before."""
    text = Text()
    old_lines = before.split("\n")
    for row, line in enumerate(now.split("\n")):
        old = old_lines[row] if row < len(old_lines) else ""
        if row:
            text.append("\n")
        for column, sign in enumerate(line):
            changed = bool(before) and (column >= len(old) or old[column] != sign)
            text.append(sign, style=CHANGED if changed else None)
    return text


def run_watch(shell: Shell, arguments: Arguments) -> Result:
    """Repeat a command."""
    words = arguments.words("line")
    command = shell.find(words[0])
    if command.name in _NOT_REPEATED:
        raise UsageError(f"{command.name} cannot be watched")
    interval_s = arguments.seconds("interval", 1.0)
    endless = not arguments.given("count")
    if endless and shell.output.as_json:
        raise UsageError("watch needs --count here", "watch --count 5 counters")
    left = arguments.number("count")
    if shell.output.terminal and not shell.output.as_json:
        return _watch_on_screen(shell, words, interval_s, None if endless else left)
    rounds = []
    while endless or left > 0:
        result = shell.run_words(words)
        if not shell.output.as_json:
            heading = Text(f"--- {' '.join(words)}, every {interval_s:g} s", style=HEAD)
            shell.output.show([heading, *result.shown])
        else:
            rounds.append(result.value)
        left -= 1
        if endless or left > 0:
            shell.sleep(interval_s)
    return Result({"interval_s": interval_s, "rounds": rounds})


def _watch_on_screen(
    shell: Shell, words: list[str], interval_s: float, count: int | None
) -> Result:
    """Redraw at the same place; Ctrl-C ends it, and is no failure."""
    before = ""
    rounds = 0
    title = Text(f"{' '.join(words)}, every {interval_s:g} s; Ctrl-C ends it", style=NAME)
    plain = shell.output.plain()
    with Live(console=shell.output.console, auto_refresh=False, vertical_overflow="crop") as live:
        try:
            while count is None or rounds < count:
                now = plain.render(shell.run_words(words).shown).rstrip("\n")
                live.update(Group(title, highlighted(before, now)), refresh=True)
                before = now
                rounds += 1
                if count is None or rounds < count:
                    shell.sleep(interval_s)
        except KeyboardInterrupt:
            pass
    return Result({"interval_s": interval_s, "rounds": rounds})


def run_reconnect(shell: Shell, arguments: Arguments) -> Result:
    """Find the device again."""
    shell.reconnect()
    cards = [dict(card) for card in shell.backend.cards]
    return Result({"cards": cards}, [note(f"connected to {shell.backend.name}")])


def run_quit(shell: Shell, arguments: Arguments) -> Result:
    """Leave."""
    raise QuitShell


COMMANDS: Final = (
    Command(
        "watch",
        "Repeat a command, with what changed marked",
        run_watch,
        (
            Example("watch queues", "every second, until Ctrl-C"),
            Example("watch --interval 200ms counters tls", "five times a second"),
            Example("watch --count 3 registers STATUS", "three times, for scripts"),
        ),
        (Argument("line", Kind.LINE, "the command to repeat"),),
        (
            Option("--interval", Kind.SECONDS, "time between two, 1 s without"),
            Option("--count", Kind.NUMBER, "how often; without end if not given"),
        ),
    ),
    Command(
        "help",
        "All commands, or one with examples",
        run_help,
        (Example("help", "all commands"), Example("help trace", "one, with examples")),
        (Argument("command", Kind.COMMAND, "its name", required=False),),
    ),
    Command(
        "history",
        "Lines that were typed in this shell",
        run_history,
        (Example("history", "the last 50"), Example("history --count 5", "the last 5")),
        options=(Option("--count", Kind.NUMBER, "how many, 50 without"),),
    ),
    Command(
        "reconnect",
        "Connect again to a device that was started again",
        run_reconnect,
        (Example("reconnect", "snapshots are kept"),),
    ),
    Command("quit", "Leave the shell; Ctrl-D does, too", run_quit, (Example("quit", "leave"),)),
)
