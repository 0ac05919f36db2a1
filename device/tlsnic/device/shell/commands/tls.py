"""flows, flow, resync: what the card knows about TLS connections; never a key."""

from collections.abc import Iterable, Mapping
from typing import Final

from rich.console import RenderableType

from tlsnic.abi.structures import TlsFlow
from tlsnic.device.shell.arguments import Argument, Arguments, Kind, Option
from tlsnic.device.shell.backend import Json
from tlsnic.device.shell.command import Command, Example, Result
from tlsnic.device.shell.errors import ShellError
from tlsnic.device.shell.render import ago, note, pairs, table, titled
from tlsnic.device.shell.shell import Shell

_HIDDEN: Final = frozenset(TlsFlow.SECRET)
_HEXADECIMAL: Final = ("handle",)
_WIDE: Final = 120
"""Columns that the list of flows needs with the cipher suites."""


def without_secrets(value: Json) -> Json:
    """A value without anything that is called as key material is, whoever put it there."""
    if isinstance(value, Mapping):
        return {name: without_secrets(item) for name, item in value.items() if name not in _HIDDEN}
    if isinstance(value, list):
        return [without_secrets(item) for item in value]
    return value


def share(flow: Mapping[str, Json]) -> float | None:
    """Part of the flow's packets that the card has dealt with, or None before the first."""
    total = flow["packets"] + flow["not_offloaded"]
    return flow["packets"] / total if total else None


def percent(part: float | None) -> str:
    """A share for people."""
    return "" if part is None else f"{part:.1%}"


def _matches(flow: Mapping[str, Json], words: Iterable[str]) -> bool:
    shown = ("direction", "suite", "local", "remote", "state")
    about = " ".join([f"{flow['handle']:#x}", *(str(flow[key]) for key in shown)]).lower()
    return all(word.lower() in about for word in words)


def run_flows(shell: Shell, arguments: Arguments) -> Result:
    """All flows, or some."""
    params = {"count": arguments.number("count", 256), "first": arguments.number("first")}
    answer = without_secrets(shell.call("flows.list", **params))
    flows = [flow for flow in answer["flows"] if _matches(flow, arguments.words("words"))]
    for flow in flows:
        flow["share"] = share(flow)
    with_suite = shell.output.console.width >= _WIDE
    rows = [
        (
            f"{flow['handle']:#x}",
            flow["state"],
            f"{flow['local']} {'→' if flow['direction'] == 'TRANSMIT' else '←'} {flow['remote']}",
            *([flow["suite"].replace("_", "-")] if with_suite else []),
            flow["tcp_sequence"],
            flow["record_number"],
            flow["packets"],
            percent(flow["share"]),
        )
        for flow in flows
    ]
    columns = [">handle", "=state", "flow", *(["=suite"] if with_suite else [])]
    lines: list[RenderableType] = [
        table([*columns, ">TCP seq.", ">record", ">packets", ">share"], rows)
    ]
    if len(flows) < answer["total"]:
        lines.append(note(f"{len(flows)} of {answer['total']} flows"))
    if not flows:
        lines = [note(f"none of {answer['total']} flows" if answer["total"] else "no flows")]
    return Result({"total": answer["total"], "flows": flows}, lines)


def run_flow(shell: Shell, arguments: Arguments) -> Result:
    """One flow, or its history."""
    handle = arguments.number("handle")
    if arguments.given("what"):
        return _history(shell, handle)
    flow = without_secrets(shell.call("flows.show", handle=handle))
    flow["share"] = share(flow)
    rows: list[tuple[str, object]] = []
    for name, value in flow.items():
        rows.append((name.replace("_", " "), _shown(name, value)))
    return Result(flow, [titled(f"flow {handle:#x}", pairs(rows))])


def _shown(name: str, value: Json) -> object:
    if name in _HEXADECIMAL and isinstance(value, int):
        return f"{value:#x}"
    if name == "tls_version" and isinstance(value, int):
        return {0x0301: "1.0", 0x0302: "1.1", 0x0303: "1.2", 0x0304: "1.3"}.get(
            value, f"{value:#x}"
        )
    if name == "share":
        return percent(value) or "no packets yet"
    if isinstance(value, dict):
        return ", ".join(f"{key.replace('_', ' ')} {item}" for key, item in value.items())
    if isinstance(value, list):
        return "; ".join(str(_shown("", item)) for item in value) or "none"
    return "none" if value is None else value


def _history(shell: Shell, handle: int) -> Result:
    events = without_secrets(shell.call("flows.history", handle=handle))
    if isinstance(events, dict):
        events = events.get("events", events.get("history", []))
    title = f"flow {handle:#x}: its last {len(events)} events"
    return Result(events, [titled(title, _notes(events, with_handle=False))])


def run_resync(shell: Shell, arguments: Arguments) -> Result:
    """Questions, answers and hints; which are open."""
    params = {"count": arguments.number("count", 32)}
    log = without_secrets(shell.call("resync.log", **params))
    if isinstance(log, dict):
        log = log.get("log", log.get("events", []))
    flows = without_secrets(shell.call("flows.list", count=4096))["flows"]
    searching = [flow for flow in flows if flow["state"] in ("SEARCH", "TRACK", "HALTED")]
    lost = []
    for flow in searching[:64]:
        try:
            found = without_secrets(shell.call("flows.show", handle=flow["handle"]))
            lost.append({**found, "share": share(found)})
        except ShellError:
            continue  # gone in the meantime
    rows = [
        (
            f"{flow['handle']:#x}",
            flow["state"],
            flow["record_number"],
            _shown("", flow.get("candidate")),
            "" if not flow.get("question") else flow["question"]["number"],
            "" if not flow.get("question") else flow["question"]["tcp_sequence"],
        )
        for flow in lost
    ]
    columns = [">handle", "=state", ">last record", ">candidate", ">question", ">asked about"]
    lines: list[RenderableType] = []
    if rows:
        lines.append(titled("flows that have lost their place", table(columns, rows)))
    else:
        lines.append(note("no flow has lost its place"))
    if log:
        lines.append(titled("\nlast questions and answers", _notes(log, with_handle=True)))
    else:
        lines.append(note("no questions so far"))
    return Result({"lost": lost, "log": log}, lines)


def _notes(events: list[Json], *, with_handle: bool) -> RenderableType:
    now_ns = max((event["now_ns"] for event in events), default=0)
    rows = []
    for event in events:
        row: list[object] = [ago(now_ns, event["now_ns"]).replace(" ago", "")]
        if with_handle:
            row.append(f"{event['handle']:#x}")
        question = event.get("question")
        old, new = event.get("old_state"), event.get("new_state")
        row += [
            event["event"],
            event["tcp_sequence"],
            event["record_number"],
            question or "",
            "" if old == new else f"{old} → {new}",
        ]
        rows.append(row)
    columns = [">before last", *([">handle"] if with_handle else []), "=event", ">TCP seq."]
    return table([*columns, ">record", ">question", "state"], rows)


COMMANDS: Final = (
    Command(
        "flows",
        "TLS flows: addresses, state, next TCP sequence and record number, share offloaded",
        run_flows,
        (
            Example("flows", "all"),
            Example("flows rx search", "receive flows that have lost their place"),
            Example("flows :443 --count 4096", "those with this port"),
        ),
        (
            Argument(
                "words",
                Kind.WORD,
                "only flows whose line has all of these",
                required=False,
                many=True,
            ),
        ),
        (
            Option("--first", Kind.NUMBER, "how many to pass over"),
            Option("--count", Kind.NUMBER, "how many at most, 256 without"),
        ),
    ),
    Command(
        "flow",
        "One TLS flow with all its counters, or what happened to it",
        run_flow,
        (
            Example("flow 0x10001", "everything but its keys"),
            Example("flow 0x10001 history", "its last events: tracker, questions, answers"),
        ),
        (
            Argument("handle", Kind.HANDLE, "of the flow, as `flows` shows it"),
            Argument("what", Kind.WORD, "its history", required=False, choices=("history",)),
        ),
    ),
    Command(
        "resync",
        "Flows that have lost their place, and the last questions and answers",
        run_resync,
        (Example("resync", "now"), Example("resync --count 256", "as far back as is known")),
        options=(Option("--count", Kind.NUMBER, "how many questions and answers, 32 without"),),
    ),
)
