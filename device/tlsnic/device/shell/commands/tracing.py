"""trace, capture: what passes the card's boundary, on the screen or into a file."""

import contextlib
import os
import time
from collections.abc import Iterator
from typing import Any, Final

from rich.console import RenderableType
from rich.text import Text

from tlsnic.abi.enums import TraceType
from tlsnic.device.shell.arguments import Argument, Arguments, Kind, Option
from tlsnic.device.shell.command import Command, Example, Result
from tlsnic.device.shell.errors import ShellError, UsageError
from tlsnic.device.shell.render import BAD, DIM, note, pairs, table
from tlsnic.device.shell.shell import Shell
from tlsnic.device.shell.traceline import CLASSES, decoded, types_of

_TURN_S: Final = 0.25
_STYLES: Final = {
    TraceType.REGISTER_READ: "cyan",
    TraceType.REGISTER_WRITE: "cyan",
    TraceType.INTERRUPT: "magenta",
    TraceType.TLS_EVENT: "yellow",
    TraceType.TLS_PACKET: "green",
}


def _records(
    shell: Shell, arguments: Arguments, types: set[int], flow: int | None
) -> Iterator[dict[str, Any]]:
    """Decoded records as they come, and `{"lost": n}` where the device was faster than we are."""
    match = arguments.text("match").lower()
    deadline = None
    if arguments.given("seconds"):
        deadline = time.monotonic() + arguments.seconds("seconds")
    while deadline is None or time.monotonic() < deadline:
        wait_s = _TURN_S if deadline is None else min(_TURN_S, max(0, deadline - time.monotonic()))
        for event in shell.backend.events(wait_s):
            if event.get("event") != "trace":
                continue
            if event.get("lost"):
                yield {"lost": event["lost"]}
            for item in event["records"]:
                record = decoded(
                    bytes.fromhex(item["bytes"]), bytes.fromhex(item.get("data") or "")
                )
                if types and record["type"] not in types:
                    continue
                if flow is not None and record.get("handle") != flow:
                    continue
                if match and match not in record.get("text", "").lower():
                    continue
                yield record


def run_trace(shell: Shell, arguments: Arguments) -> Result:
    """Follow what passes the boundary of the card."""
    types = types_of(arguments.words("kinds"))
    flow = arguments.number("flow") if arguments.given("flow") else None
    endless = not arguments.given("count") and not arguments.given("seconds")
    if endless and shell.output.as_json:
        raise UsageError("trace needs --count or --seconds here", "trace --count 100 dma")
    count = arguments.number("count") if arguments.given("count") else None
    described: list[dict[str, Any]] = []
    lost = seen = 0
    first_ns: int | None = None
    shell.call("trace.start", **_start_parameters(types, arguments))
    try:
        for record in _records(shell, arguments, {int(kind) for kind in types}, flow):
            if "lost" in record:
                lost += record["lost"]
                shell.output.show([Text(f"{record['lost']} records lost", style=BAD)])
                continue
            first_ns = record["now_ns"] if first_ns is None else first_ns
            if shell.output.as_json:
                described.append(record)
            else:
                shell.output.show([_line(record, first_ns)])
            seen += 1
            if count is not None and seen >= count:
                break
    except KeyboardInterrupt:
        if not shell.interactive:
            raise
    finally:
        _stop(shell)
    value = {"records": described, "lost": lost}
    return Result(value, [note(f"{seen} records, {lost} lost")])


def _start_parameters(types: list[TraceType], arguments: Arguments) -> dict[str, Any]:
    parameters: dict[str, Any] = {}
    if types:
        parameters["filter"] = {"types": [kind.name for kind in types]}
    if arguments.given("snap"):
        parameters["snap"] = arguments.number("snap")
    return parameters


def _stop(shell: Shell) -> None:
    # When the connection is new, or gone, the device has ended the trace with it.
    with contextlib.suppress(ShellError):
        shell.call("trace.stop")


def _line(record: dict[str, Any], first_ns: int) -> Text:
    text = Text(f"{(record['now_ns'] - first_ns) / 1e6:10.3f} ms  ", style=DIM)
    return text.append(record["text"], style=_STYLES.get(record["type"], "default"))


def run_capture(shell: Shell, arguments: Arguments) -> Result:
    """Start, stop or list captures."""
    action = arguments.text("action", "list")
    path = os.path.abspath(arguments.text("path")) if arguments.given("path") else None
    if action == "start":
        if path is None:
            raise UsageError("PATH is missing", "capture start run.pcapng")
        parameters: dict[str, Any] = {"path": path}
        if arguments.given("snap"):
            parameters["snap_bytes"] = arguments.number("snap")
        answer = shell.call("capture.start", **parameters)
        return Result(answer, [note(f"capturing to {answer['path']}; `capture stop` ends it")])
    if action == "stop":
        answer = shell.call("capture.stop", **({} if path is None else {"path": path}))
        return Result(answer, [pairs((name, value) for name, value in answer.items())])
    captures = shell.call("capture.list")
    rows = [
        (
            *(capture.get(key) for key in ("path", "packets", "bytes")),
            "running" if capture.get("running", True) else "ended: the disk is full",
        )
        for capture in captures
    ]
    lines: list[RenderableType] = [table(["path", ">packets", ">bytes", "state"], rows)]
    return Result(captures, lines if captures else [note("no capture is running")])


COMMANDS: Final = (
    Command(
        "trace",
        "Follow what passes the card's boundary, one line for each record, by names",
        run_trace,
        (
            Example("trace", "everything, until Ctrl-C"),
            Example("trace register interrupt", "register accesses and interrupts only"),
            Example("trace tls --flow 0x10001 --seconds 5", "one flow, for five seconds"),
            Example("trace dma --match rx_completion --count 20", "what has this in its line"),
        ),
        (
            Argument(
                "kinds",
                Kind.WORD,
                f"kinds of records: {', '.join(CLASSES)}",
                required=False,
                many=True,
                choices=tuple(CLASSES),
            ),
        ),
        (
            Option("--count", Kind.NUMBER, "end after so many records"),
            Option("--seconds", Kind.SECONDS, "end after this time"),
            Option("--flow", Kind.HANDLE, "only records of this flow"),
            Option("--match", Kind.WORD, "only lines with this text"),
            Option("--snap", Kind.NUMBER, "bytes of data at most in a record"),
        ),
    ),
    Command(
        "capture",
        "Start or stop writing frames, register accesses, DMA, interrupts and TLS to a pcapng file",
        run_capture,
        (
            Example("capture start run.pcapng", "for Wireshark and `tlsnic timeline`"),
            Example("capture", "those that are running"),
            Example("capture stop", "end it"),
        ),
        (
            Argument(
                "action",
                Kind.WORD,
                "what to do; list without",
                required=False,
                choices=("start", "stop", "list"),
            ),
            Argument("path", Kind.FILE, "the file", required=False),
        ),
        (Option("--snap", Kind.NUMBER, "bytes of packet data kept of a DMA"),),
    ),
)
