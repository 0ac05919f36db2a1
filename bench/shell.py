"""What somebody who looks on costs: receive through driver, socket and card, with a control client.

Three ways in turn, with the same device: nobody is attached, a client is attached and idle (a shell at its
prompt), and one reads counters and queues twice a second (`tlsnic top`).
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from io import BufferedRWPair
from pathlib import Path

from bench.measure import COST, Effort, Row, Target, interleave, process_cpu_s
from bench.receive import BATCH, open_stream

FRAMES = 8192
SLICES = 6
"""Short measures and many of them: what others do on the machine then hits all ways alike."""
MOST = Target(1.03, at_most=True)
INTERVAL_S = 0.5
_METHODS = ("device.info", "counters.read", "queues.list")
_TIMEOUT_S = 10.0


@contextmanager
def attached(path: Path) -> Iterator[BufferedRWPair]:
    """A client that has read what the device says first."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(_TIMEOUT_S)
        client.connect(str(path))
        with client.makefile("rwb") as lines:
            lines.readline()
            yield lines


@contextmanager
def watching(path: Path) -> Iterator[None]:
    """A client that asks again and again, in a thread of its own."""
    request = b"".join(json.dumps({"method": name}).encode() + b"\n" for name in _METHODS)
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            lines.write(request)
            lines.flush()
            for _ in _METHODS:
                lines.readline()
            over.wait(INTERVAL_S)

    with attached(path) as lines:
        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(_TIMEOUT_S)


def run(effort: Effort) -> list[Row]:
    """Receive with and without somebody on the control socket."""
    count = effort.count(FRAMES, BATCH)
    with open_stream() as (device, stream):
        path = Path(f"{device.socket_path}.control")

        pid = device.child.pid
        device_us = {}

        def receive(name: str, client: AbstractContextManager[object]) -> float:
            with client:
                before_s = process_cpu_s(pid)
                elapsed_us = stream.receive(count)
                device_us[f"{name}-device"] = (process_cpu_s(pid) - before_s) / count * 1e6
            return elapsed_us

        samples = interleave(
            effort.rounds * SLICES,
            {
                "alone": lambda: receive("alone", nullcontext()),
                "attached": lambda: receive("attached", attached(path)),
                "watching": lambda: receive("watching", watching(path)),
            },
            lambda _: device_us,
        )
    return [
        samples.row(
            "shell.idle",
            "1448-byte frame, a control client attached and idle",
            "attached",
            "alone",
            kind=COST,
            target=MOST,
        ),
        samples.row(
            "shell.idle.device",
            "the same: CPU time of the device process",
            "attached-device",
            "alone-device",
            kind=COST,
            target=MOST,
        ),
        samples.row(
            "shell.watching",
            "1448-byte frame, a client that reads counters and queues twice a second",
            "watching",
            "alone",
            kind=COST,
            target=MOST,
        ),
    ]
