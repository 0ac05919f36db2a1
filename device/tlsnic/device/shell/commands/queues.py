"""queues, queue, interrupts, dma: rings, vectors and the memory they are in."""

from typing import Any, Final

from rich.console import RenderableType

from tlsnic.abi import structures
from tlsnic.abi.layout import Structure
from tlsnic.device.shell import decode
from tlsnic.device.shell.arguments import Argument, Arguments, Kind, Option
from tlsnic.device.shell.backend import Json
from tlsnic.device.shell.command import Command, Example, Result
from tlsnic.device.shell.errors import UsageError
from tlsnic.device.shell.render import DIM, GOOD, cell, note, pairs, table, titled
from tlsnic.device.shell.shell import Shell

KINDS: Final = {
    "transmit": "TRANSMIT",
    "tx": "TRANSMIT",
    "receive": "RECEIVE",
    "rx": "RECEIVE",
    "admin": "ADMIN",
    "event": "EVENT",
}
_DESCRIPTORS: Final[dict[str, type[Structure]]] = {
    "TRANSMIT": structures.TxDescriptor,
    "RECEIVE": structures.RxDescriptor,
    "ADMIN": structures.Command,
}
_COMPLETIONS: Final[dict[str, type[Structure]]] = {
    "TRANSMIT": structures.TxCompletion,
    "RECEIVE": structures.RxCompletion,
    "ADMIN": structures.Response,
    "EVENT": structures.Event,
}
_SKIPPED: Final = ("opcode", "opcode_name", "type", "type_name", "reserved")


def descriptor_class(kind: str, data: bytes) -> type[Structure] | None:
    """Structure of a descriptor ring's entry; commands by their opcode."""
    cls = _DESCRIPTORS.get(kind)
    if cls is structures.Command and len(data) >= 2:
        return structures.COMMANDS.get(int.from_bytes(data[:2], "little"), cls)
    return cls


def completion_class(kind: str, data: bytes) -> type[Structure] | None:
    """Structure of a completion ring's entry; events by their type."""
    cls = _COMPLETIONS.get(kind)
    if cls is structures.Event and len(data) >= 2:
        return structures.EVENTS.get(int.from_bytes(data[:2], "little"), cls)
    return cls


def run_queues(shell: Shell, arguments: Arguments) -> Result:
    """All queues."""
    queues = shell.call("queues.list")
    shown = [queue for queue in queues if arguments.flag("all") or queue["state"] != "DISABLED"]
    rows = [
        (
            f"{queue['kind'].lower()} {queue['number']}",
            queue["state"],
            queue["head"],
            queue["tail"],
            f"{queue['pending']}/{queue['entries']}",
            queue["producer"],
            queue["consumer"],
            queue["vector"],
            "yes" if queue["armed"] else "no",
            _waits(queue),
        )
        for queue in shown
    ]
    columns = ["=queue", "=state", ">head", ">tail", ">pending", ">prod.", ">cons.", ">vec"]
    lines: list[RenderableType] = [table([*columns, "=armed", "waits for"], rows)]
    if len(shown) < len(queues):
        lines.append(note(f"{len(queues) - len(shown)} more are DISABLED: --all"))
    return Result(queues if arguments.flag("all") else shown, lines)


def _waits(queue: Json) -> Any:
    if queue.get("error"):
        address = queue.get("error_address")
        where = f" at {address:#x}" if isinstance(address, int) else ""
        return cell(f"the driver: {queue['error']}{where}")
    waits = queue.get("waits_for", "")
    return cell("" if waits == "nothing" else waits)


def run_queue(shell: Shell, arguments: Arguments) -> Result:
    """One queue, entries decoded."""
    kind = KINDS.get(arguments.text("kind").lower())
    if kind is None:
        raise UsageError(
            f"{arguments.text('kind')!r} is no kind of queue", "kinds: " + ", ".join(KINDS)
        )
    params: dict[str, Any] = {"kind": kind, "number": arguments.number("number")}
    params["count"] = arguments.number("count", 16)
    queue = shell.call("queues.show", **params)
    if arguments.given("first"):
        queue = shell.call("queues.show", **params, first=arguments.number("first"))
    elif queue["entries"]:
        # What was done last is as interesting as what comes next.
        first = (queue["head"] - params["count"] // 2) % queue["entries"]
        before = shell.call("queues.show", **params, first=first)
        queue["descriptors"] = before["descriptors"]
    descriptors = [_decoded(entry, kind, descriptor_class) for entry in queue["descriptors"]]
    completions = [_decoded(entry, kind, completion_class) for entry in queue["completions"]]
    if not arguments.flag("all"):
        descriptors = [entry for entry in descriptors if _says_something(entry)]
        completions = [entry for entry in completions if entry.get("valid")]
    described = {**queue, "descriptors": descriptors, "completions": completions}
    error = queue.get("error")
    head: list[tuple[str, object]] = [
        ("state", queue["state"]),
        ("waits for", _waits(queue) if error or queue["waits_for"] != "nothing" else "nothing"),
        (
            "ring",
            f"head {queue['head']}, tail {queue['tail']}, "
            f"{queue['pending']} of {queue['entries']} pending",
        ),
        (
            "completions",
            f"producer {queue['producer']}, consumer {queue['consumer']}, "
            f"of {queue['completion_entries']}",
        ),
        ("interrupt", f"vector {queue['vector']}, {'armed' if queue['armed'] else 'not armed'}"),
    ]
    if error:
        head.append(("error", f"{error}: {decode.diagnostic_text(error)}"))
        head.append(("reference", decode.diagnostic_reference(error)))
    lines: list[RenderableType] = [titled(f"{kind.lower()} queue {queue['number']}", pairs(head))]
    if descriptors:
        lines.append(titled("\ndescriptors", _entries(descriptors)))
    if completions:
        lines.append(titled("\ncompletions", _entries(completions)))
    return Result(described, lines)


def _decoded(entry: Json, kind: str, classes: Any) -> dict[str, Any]:
    """An entry of a ring with its structure's name and members."""
    if entry.get("bytes") is None:
        return {**entry, "structure": None, "members": {}}
    data = bytes.fromhex(entry["bytes"])
    cls = classes(kind, data)
    if cls is None or len(data) < cls.SIZE:
        return {**entry, "structure": None, "members": {}}
    return {**entry, "structure": cls.NAME, "members": decode.structure_json(cls, data)}


def _says_something(entry: dict[str, Any]) -> bool:
    """Whether an entry is more than memory that was never written."""
    return entry["where"] == "posted" or bool((entry["bytes"] or "").strip("0"))


def _entries(entries: list[dict[str, Any]]) -> RenderableType:
    rows = []
    for entry in entries:
        where = str(entry.get("where", "valid" if entry.get("valid") else "empty"))
        style = GOOD if where in ("posted", "new") else DIM
        text = cell(where)
        text.stylize(style)
        if entry["bytes"] is None:
            content = "not mapped"
        elif not entry["bytes"].strip("0"):
            content = "empty"
        else:
            content = decode.structure_text(entry["members"], skip=_SKIPPED) or entry["bytes"]
            # PHASE is how the driver tells a new entry; `where` says the same in words.
            content = content.replace("flags=PHASE", "").replace("|PHASE", "").strip()
        rows.append((entry["index"], text, entry["structure"] or "", content))
    return table([">  index", "=where", "=structure", "content"], rows)


def run_interrupts(shell: Shell, arguments: Arguments) -> Result:
    """Mode, causes and vectors."""
    interrupts = shell.call("interrupts.list")
    vectors = [
        vector
        for vector in interrupts["vectors"]
        if arguments.flag("all")
        or any(vector.get(key) for key in ("waiting", "gathered", "pending", "raised", "usecs", "frames"))
    ]  # fmt: skip
    rows = [
        (
            vector["vector"],
            vector["raised"],
            vector["usecs"],
            vector["frames"],
            vector["gathered"],
            "yes" if vector["masked"] else "no",
            "yes" if vector["pending"] else "no",
            ", ".join(_queue_name(queue) for queue in vector.get("waiting") or ()),
        )
        for vector in vectors
    ]
    head = [
        ("mode", interrupts["mode"]),
        ("INT_CAUSE", f"{interrupts['cause']:#x}"),
        ("INT_ENABLE", f"{interrupts['enable']:#x}"),
    ]
    columns = [">vector", ">raised", ">usecs", ">frames", ">gathered", "=masked", "=pending"]
    lines = [pairs(head), table([*columns, "queues waiting"], rows)]
    return Result({**interrupts, "vectors": vectors}, lines)


def _queue_name(queue: Json) -> str:
    if isinstance(queue, dict):
        return f"{str(queue.get('kind', '')).lower()} {queue.get('number')}"
    return " ".join(str(part).lower() for part in queue) if isinstance(queue, list) else str(queue)


def run_dma(shell: Shell, arguments: Arguments) -> Result:
    """The maps of host memory."""
    maps = shell.call("dma.maps")
    rows = [
        (
            f"{entry['iova']:#x}",
            f"{entry['iova'] + entry['size'] - 1:#x}",
            _size(entry["size"]),
            ("r" if entry["readable"] else "-") + ("w" if entry["writable"] else "-"),
            entry["inaccessible"] or "",
        )
        for entry in maps
    ]
    lines: list[RenderableType] = [
        table([">first", ">last", ">size", "=access", "cannot be reached"], rows)
    ]
    if not maps:
        lines = [note("no memory is mapped: no driver is attached")]
    return Result(maps, lines)


def _size(size: int) -> str:
    for shift, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if size >= 1 << shift:
            return f"{round(size / (1 << shift), 1):g} {unit}"
    return f"{size} B"


COMMANDS: Final = (
    Command(
        "queues",
        "All queues: indices, how much is pending, what each waits for",
        run_queues,
        (Example("queues", "those in use"), Example("queues --all", "disabled ones, too")),
        options=(Option("--all", help="disabled queues, too"),),
    ),
    Command(
        "queue",
        "One queue: descriptors and completions decoded",
        run_queue,
        (
            Example(
                "queue transmit 0", "what was done last, what comes next, and the last completions"
            ),
            Example("queue rx 0 --first 0 --count 8", "the first 8 entries of both rings"),
            Example("queue admin", "the last commands and their answers"),
        ),
        (
            Argument("kind", Kind.QUEUE_KIND, "transmit (tx), receive (rx), admin or event"),
            Argument("number", Kind.NUMBER, "which, 0 without", required=False),
        ),
        (
            Option("--first", Kind.NUMBER, "index of the first entry"),
            Option("--count", Kind.NUMBER, "how many entries, 16 without"),
            Option("--all", help="empty entries, and completions of the lap before, too"),
        ),
    ),
    Command(
        "interrupts",
        "Interrupt mode, causes, and each vector's moderation",
        run_interrupts,
        (Example("interrupts", "vectors in use"), Example("interrupts --all", "all 64")),
        options=(Option("--all", help="vectors that nothing uses, too"),),
    ),
    Command(
        "dma",
        "Host memory that the card can reach",
        run_dma,
        (Example("dma", "all maps"),),
    ),
)
