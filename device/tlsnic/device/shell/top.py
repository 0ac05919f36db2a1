"""`tlsnic top`: queues, flows, rates, drops and diagnostics of a device, live."""

import argparse
import contextlib
import os
import select
import sys
import termios
import time
import tty
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from tlsnic.device.shell.backend import Backend, Json, SocketBackend
from tlsnic.device.shell.commands.tls import percent, share, without_secrets
from tlsnic.device.shell.errors import GoneError, ShellError
from tlsnic.device.shell.find import choose
from tlsnic.device.shell.main import add_device_arguments
from tlsnic.device.shell.render import BAD, DIM, HEAD, NAME, Output, rate, table, titled

DESCRIPTION: Final = "Queues, flows, rates, drops and diagnostics of a device, live."
KEYS: Final = "q quit   p pause   s sort"
SORTS: Final = ("rate", "share", "handle", "packets")
_PACKETS: Final = {"TRANSMIT": "TX_PACKETS", "RECEIVE": "RX_PACKETS"}
_MOST_FLOWS: Final = 4096
_FIXED_LINES: Final = 13
"""Lines of the screen that are not flows or queues."""
_RATES: Final = (
    *(("TX_FRAMES", "frames/s out"), ("TX_BYTES", "bytes/s out")),
    *(("RX_FRAMES", "frames/s in"), ("RX_BYTES", "bytes/s in")),
    *(("TX_TLS_ENCRYPTED_PACKETS", "encrypted/s"), ("RX_TLS_DECRYPTED_PACKETS", "decrypted/s")),
    ("INTERRUPTS", "interrupts/s"),
)
_BITS_PER_BYTE: Final = 8


@dataclass(frozen=True)
class Look:
    """What the device said at one time."""

    now_ns: int
    info: Mapping[str, Json]
    counters: Mapping[str, int]
    queues: list[Json]
    flows: list[Json]
    flows_total: int
    diagnostics: Mapping[str, Json]


def take(backend: Backend, card: int) -> Look:
    """Ask the device for everything that is shown.

    Raises:
        ShellError: it does not answer.
    """
    counters = backend.call("counters.read", {"card": card})
    flows = without_secrets(backend.call("flows.list", {"card": card, "count": _MOST_FLOWS}))
    return Look(
        now_ns=counters["now_ns"],
        info=backend.call("device.info", {"card": card}),
        counters=counters["counters"],
        queues=backend.call("queues.list", {"card": card}),
        flows=flows["flows"],
        flows_total=flows["total"],
        diagnostics=backend.call("diagnostics.list", {"card": card, "count": 4}),
    )


def measure(before: Look | None, now: Look, sort: str = "rate") -> dict[str, Any]:
    """Rates between two looks, for programs and for the screen."""
    seconds = (now.now_ns - before.now_ns) / 1e9 if before else 0.0
    # After a reset counters begin again: there are no rates then.
    if before and before.info.get("reset_count") != now.info.get("reset_count"):
        seconds = 0.0

    def per_s(difference: int) -> float | None:
        return max(0, difference) / seconds if seconds > 0 else None

    old_counters = before.counters if before else {}
    rates = {
        name: per_s(now.counters.get(name, 0) - old_counters.get(name, 0)) for name, _ in _RATES
    }
    drops = {
        name: {"value": value, "rate_per_s": per_s(value - old_counters.get(name, 0))}
        for name, value in now.counters.items()
        if value and ("DROP" in name or name in ("RX_TLS_ERR", "EVENTS_LOST", "RX_CHECKSUM_BAD"))
    }
    queues = _queue_rates(before, now, per_s)
    old_flows: dict[int, Any] = {item["handle"]: item for item in (before.flows if before else ())}
    flows = []
    for flow in now.flows:
        old = old_flows.get(flow["handle"]) or flow
        packets = flow["packets"] + flow["not_offloaded"] - old["packets"] - old["not_offloaded"]
        payload = flow["payload_bytes"] - old["payload_bytes"]
        flows.append(
            {
                **flow,
                "share": share(flow),
                "packets_per_s": per_s(packets),
                "bytes_per_s": per_s(payload),
            }
        )
    return {
        "now_ns": now.now_ns,
        "seconds": seconds or None,
        "info": dict(now.info),
        "rates": rates,
        "drops": drops,
        "queues": queues,
        "flows": ordered(flows, sort),
        "flows_total": now.flows_total,
        "diagnostics": dict(now.diagnostics),
    }


def _queue_rates(
    before: Look | None, now: Look, per_s: Callable[[int], float | None]
) -> list[dict[str, Any]]:
    """Queues in use with packets per second, None where that cannot be told.

    An index goes round, nobody knows how often: the counter of the card tells, when the queue is the
    only one of its kind, and whether it can have gone round when it is not.
    """
    old_queues: dict[Any, Any] = {
        (item["kind"], item["number"]): item for item in (before.queues if before else ())
    }
    used = [queue for queue in now.queues if queue["state"] != "DISABLED"]
    alone = Counter(queue["kind"] for queue in used)
    rated = []
    for queue in used:
        kind, counter = queue["kind"], _PACKETS.get(queue["kind"])
        old = old_queues.get((kind, queue["number"]), queue)
        size = queue["completion_entries"]
        moved: int | None = (queue["producer"] - old["producer"]) % size if size else 0
        if counter is not None and before is not None:
            packets = now.counters.get(counter, 0) - before.counters.get(counter, 0)
            if alone[kind] == 1:
                moved = packets
            elif packets >= size:
                moved = None
        rated.append({**queue, "packets_per_s": None if moved is None else per_s(moved)})
    return rated


def ordered(flows: list[dict[str, Any]], sort: str) -> list[dict[str, Any]]:
    """Flows as they are to be shown: the most interesting first."""
    keys = {
        "rate": lambda flow: (-(flow["packets_per_s"] or 0), flow["handle"]),
        "share": lambda flow: (2.0 if flow["share"] is None else flow["share"], flow["handle"]),
        "handle": lambda flow: flow["handle"],
        "packets": lambda flow: (-flow["packets"], flow["handle"]),
    }
    return sorted(flows, key=keys[sort])


def _rate(value: float | None) -> str:
    return "" if value is None else rate(value)


def _line(text: str, style: str = "default") -> Text:
    """One line, cut at the edge of the screen: what is below must not jump."""
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")


def screen(
    measured: Mapping[str, Any], *, sort: str, paused: bool, lines: int | None = None
) -> RenderableType:
    """Everything as it is shown; at most `lines` lines."""
    info, flows, queues = measured["info"], measured["flows"], measured["queues"]
    rates = measured["rates"]
    title = _line("tlsnic top", NAME)
    title.append(
        f"  {info.get('socket', '')}  {info.get('wire', '')}  "
        f"link {'up' if info.get('link_up') else 'DOWN'}  {info.get('client', '')}  "
        f"up {info.get('uptime_s', 0):.0f} s",
        style="default",
    )
    keys = _line(f"{KEYS} ({sort})", DIM)
    if paused:
        keys.append("   PAUSED", style=BAD)
    shown = "   ".join(
        f"{label} {_rate(None if rates[name] is None else rates[name] * factor)}"
        for name, label, factor in (
            (name, label.replace("bytes", "bits"), _BITS_PER_BYTE if "bytes" in label else 1)
            for name, label in _RATES
        )
        if rates[name]
    )
    head = _line(shown or "nothing moves")
    left = None if lines is None else max(2, lines - _FIXED_LINES)
    queue_rows = [
        (
            f"{queue['kind'].lower()} {queue['number']}",
            queue["state"],
            f"{queue['pending']}/{queue['entries']}",
            queue.get("not_taken", ""),
            _rate(queue["packets_per_s"]),
            _line("" if queue["waits_for"] == "nothing" else queue["waits_for"]),
        )
        for queue in queues[: None if left is None else max(2, left // 2)]
    ]
    room = None if left is None else max(1, left - len(queue_rows))
    flow_rows = [
        (
            f"{flow['handle']:#x}",
            "tx" if flow["direction"] == "TRANSMIT" else "rx",
            flow["state"],
            _line(
                f"{flow['local']} {'→' if flow['direction'] == 'TRANSMIT' else '←'} {flow['remote']}"
            ),
            _rate(flow["packets_per_s"]),
            _rate(None if flow["bytes_per_s"] is None else flow["bytes_per_s"] * _BITS_PER_BYTE),
            percent(flow["share"]),
            flow["record_number"],
        )
        for flow in flows[:room]
    ]
    drops = ", ".join(
        f"{name} {item['value']}"
        + (f" ({_rate(item['rate_per_s'])}/s)" if item["rate_per_s"] else "")
        for name, item in measured["drops"].items()
    )
    diagnostics = measured["diagnostics"]
    wrong = ", ".join(f"{name} {count}" for name, count in diagnostics.get("counts", {}).items())
    columns = [
        *(">handle", "=dir", "=state", "flow"),
        *(">packets/s", ">bit/s", ">share", ">record"),
    ]
    queue_columns = [
        *("=queue", "=state", ">pending", ">to take", ">per s", "waits for"),
    ]
    below = _line("\ndrops        ", HEAD).append(drops or "none", "default")
    last = _line("diagnostics  ", HEAD).append(wrong or "none", BAD if wrong else "default")
    return Group(
        title,
        keys,
        head,
        titled(
            "\nqueues",
            table(queue_columns, queue_rows),
        ),
        titled(f"\nflows: {measured['flows_total']}", table(columns, flow_rows)),
        below,
        last,
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `tlsnic top`."""
    parser.description = DESCRIPTION
    parser.epilog = f"keys: {KEYS}"
    add_device_arguments(parser)
    parser.add_argument("--once", action="store_true", help="print one look and end")
    parser.add_argument("--json", action="store_true", help="one look as JSON")
    parser.add_argument(
        "--interval", type=float, default=1.0, metavar="SECONDS", help="between looks (%(default)s)"
    )
    parser.add_argument("--sort", choices=SORTS, default="rate", help="of flows (%(default)s)")


def main(arguments: argparse.Namespace) -> int:
    """Show it. Returns the exit status."""
    try:
        if not arguments.interval > 0:
            raise ShellError("USAGE", "--interval must be above zero")
        chosen = choose(arguments.socket, arguments.control, arguments.card)
        with contextlib.closing(SocketBackend(chosen.path)) as backend:
            if arguments.json or arguments.once or not sys.stdout.isatty():
                return once(backend, chosen.card, arguments)
            return live(backend, chosen.card, arguments)
    except ShellError as error:
        fix = f"; fix: {error.fix}" if error.fix else ""
        print(f"tlsnic top: {error.message}{fix}", file=sys.stderr)
        return 2 if error.name == "USAGE" else 1
    except KeyboardInterrupt:
        return 0


def once(backend: Backend, card: int, arguments: argparse.Namespace) -> int:
    """Two looks, one interval apart, and what was between them."""
    before = take(backend, card)
    time.sleep(arguments.interval)
    measured = measure(before, take(backend, card), arguments.sort)
    output = Output(as_json=arguments.json)
    if arguments.json:
        output.document(measured)
    else:
        output.show([screen(measured, sort=arguments.sort, paused=False)])
    return 0


@contextlib.contextmanager
def keyboard() -> Iterator[int | None]:
    """Standard input without waiting for Enter, or None when it is no terminal."""
    if not sys.stdin.isatty():
        yield None
        return
    descriptor = sys.stdin.fileno()
    settings = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        yield descriptor
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, settings)


def live(backend: Backend, card: int, arguments: argparse.Namespace) -> int:
    """Redraw until the user has enough, or the device goes."""
    output = Output()
    view = View(backend, card, arguments.sort)
    with (
        keyboard() as keys,
        Live(console=output.console, screen=True, auto_refresh=False) as display,
    ):
        due = 0.0
        while not view.ended:
            if time.monotonic() >= due:
                view.look()
                due = time.monotonic() + arguments.interval
            display.update(view.shown(output.console.height), refresh=True)
            wait_s = max(0.0, due - time.monotonic())
            if keys is None:
                time.sleep(wait_s)
            elif select.select([keys], [], [], wait_s)[0]:
                for key in os.read(keys, 64).decode(errors="ignore"):
                    view.press(key)
    return 0


class View:
    """What is on the screen, and what keys do to it."""

    def __init__(self, backend: Backend, card: int, sort: str) -> None:
        self._backend = backend
        self._card = card
        self._before: Look | None = None
        self._measured: dict[str, Any] | None = None
        self.sort = sort
        self.paused = False
        self.ended = False

    def look(self) -> None:
        """Ask the device, unless the picture is to stand still.

        Raises:
            GoneError: it has gone.
        """
        if self.paused:
            return
        try:
            now = take(self._backend, self._card)
        except GoneError:
            raise
        except ShellError:
            if self._measured is None:
                raise
            return  # one look that failed: the next may not
        self._measured = measure(self._before, now, self.sort)
        self._before = now

    def press(self, key: str) -> None:
        """A key was pressed; those that mean nothing are ignored."""
        if key in "qQ\x04":
            self.ended = True
        elif key in "pP ":
            self.paused = not self.paused
        elif key in "sS":
            self.sort = SORTS[(SORTS.index(self.sort) + 1) % len(SORTS)]
            if self._measured is not None:
                self._measured["flows"] = ordered(self._measured["flows"], self.sort)

    def shown(self, lines: int) -> RenderableType:
        """The screen now."""
        if self._measured is None:
            return Text("…")
        return screen(self._measured, sort=self.sort, paused=self.paused, lines=lines)
