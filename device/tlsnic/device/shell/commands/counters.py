"""counters, diagnostics: how much happened, how fast, and what the driver did wrong."""

import fnmatch
from typing import Any, Final

from rich.console import RenderableType

from tlsnic.abi import descriptions
from tlsnic.device.shell import decode
from tlsnic.device.shell.arguments import Argument, Arguments, Kind, Option
from tlsnic.device.shell.command import Command, Example, Result
from tlsnic.device.shell.render import ago, note, number, rate, table, titled
from tlsnic.device.shell.shell import Shell

WIRE: Final = "WIRE_"
"""Put in front of the names of the wire's own counters."""


def read(shell: Shell) -> tuple[int, dict[str, int]]:
    """Time and all counters, the wire's with a prefix."""
    answer = shell.call("counters.read")
    wire = {
        f"{WIRE}{name.upper()}": value
        for name, value in (answer.get("wire") or {}).items()
        if isinstance(value, int)
    }
    return answer["now_ns"], {**answer["counters"], **wire}


def _selected(name: str, patterns: list[str]) -> bool:
    if not patterns:
        return True
    return any(
        fnmatch.fnmatchcase(name, pattern if set(pattern) & set("*?[") else f"*{pattern}*")
        for pattern in map(str.upper, patterns)
    )


def run_counters(shell: Shell, arguments: Arguments) -> Result:
    """Counters and their rates."""
    if arguments.given("interval"):
        shell.memory.counters[shell.card] = read(shell)
        shell.sleep(arguments.seconds("interval"))
    now_ns, counts = read(shell)
    before = shell.memory.counters.get(shell.card)
    shell.memory.counters[shell.card] = (now_ns, counts)
    seconds = (now_ns - before[0]) / 1e9 if before else 0.0
    described: dict[str, dict[str, Any]] = {}
    for name, value in counts.items():
        if not _selected(name, arguments.words("patterns")):
            continue
        if value == 0 and not arguments.flag("all"):
            continue
        # A reset in between sets counters back: then there is no rate.
        delta = value - before[1].get(name, 0) if before and seconds > 0 else None
        if delta is not None and delta < 0:
            delta = None
        described[name] = {
            "value": value,
            "delta": delta,
            "rate_per_s": None if delta is None else delta / seconds,
            "description": descriptions.REGISTERS.get(name, ""),
        }
    rows = [
        (
            name,
            number(item["value"]),
            "" if item["delta"] is None else f"{item['delta']:+d}",
            "" if item["rate_per_s"] is None else rate(item["rate_per_s"]),
            item["description"],
        )
        for name, item in described.items()
    ]
    lines: list[RenderableType] = [table(["=counter", ">value", ">change", ">per s", "what"], rows)]
    if not rows:
        lines = [note("all of them are zero: --all")]
    elif seconds:
        lines.append(note(f"changes are of the last {seconds:.2f} s"))
    document = {"now_ns": now_ns, "seconds": seconds or None, "counters": described}
    return Result(document, lines)


def run_diagnostics(shell: Shell, arguments: Arguments) -> Result:
    """What the driver did wrong."""
    answer = shell.call("diagnostics.list", count=arguments.number("count", 32))
    counts = {
        name: {
            "count": count,
            "description": decode.diagnostic_text(name),
            "reference": decode.diagnostic_reference(name),
        }
        for name, count in answer["counts"].items()
    }
    recent = answer["recent"]
    described = {"total": answer["total"], "counts": counts, "recent": recent}
    if not answer["total"]:
        return Result(described, [note("none since the last reset")])
    now_ns = shell.call("device.info")["now_ns"]
    summary = table(
        [">count", "=diagnostic", "what happened, and what followed", "=reference"],
        [
            (item["count"], name, item["description"], "#" + item["reference"].partition("#")[2])
            for name, item in counts.items()
        ],
    )
    last = table(
        [">when", "=diagnostic", ">operand", "where"],
        [
            (
                ago(now_ns, entry["now_ns"]),
                entry["code"],
                f"{entry['operand']:#x}",
                "device"
                if entry["kind"] == "DEVICE"
                else f"{entry['kind'].lower()} queue {entry['queue']}",
            )
            for entry in recent
        ],
    )
    title = f"{number(answer['total'])} since the last reset ({decode.REFERENCE})"
    return Result(described, [titled(title, summary), titled("\nlast ones", last)])


COMMANDS: Final = (
    Command(
        "counters",
        "Counters, and their rates since the last look",
        run_counters,
        (
            Example("counters", "all that are not zero"),
            Example("counters tls", "those with TLS in their name"),
            Example("counters 'RX_DROP_*' --all", "by a pattern, zeros too"),
            Example("counters --interval 1", "look twice, one second apart"),
        ),
        (Argument("patterns", Kind.COUNTER, "part of a name, or a pattern", False, many=True),),
        (
            Option("--all", help="those that are zero, too"),
            Option("--interval", Kind.SECONDS, "look twice, so far apart"),
        ),
    ),
    Command(
        "diagnostics",
        "What the driver did wrong, what follows from it, and where the reference explains it",
        run_diagnostics,
        (
            Example("diagnostics", "counts, and the last 32"),
            Example("diagnostics --count 5", "the last 5"),
        ),
        options=(Option("--count", Kind.NUMBER, "how many of the last, 32 without"),),
    ),
)
