"""The benchmarks by name. A new one is a function `run(effort) -> rows` and a line here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench import (
    bus,
    guest,
    ktls,
    loss,
    memory,
    receive,
    shell,
    stages,
    tls,
    tls_receive,
    transmit,
)
from bench.measure import Effort, Row


@dataclass(frozen=True)
class Benchmark:
    """One named measurement."""

    what: str
    run: Callable[[Effort], list[Row]]
    when_named: bool = False
    """Not one of those that run when none is named: takes long and says nothing of speed, or needs rights."""


BENCHMARKS: Mapping[str, Benchmark] = {
    "transmit": Benchmark("64 KiB segmented sends through driver, socket and card", transmit.run),
    "receive": Benchmark("1448-byte frames through wire, card and driver", receive.run),
    "bus": Benchmark("register writes and reads over the socket", bus.run),
    "memory": Benchmark("memory of the device process", memory.run),
    "tls": Benchmark("TLS records encrypted in the card", tls.run),
    "tls-receive": Benchmark("TLS records decrypted in the card", tls_receive.run),
    "shell": Benchmark("receive with a client on the control socket", shell.run),
    "transmit-stages": Benchmark("what each stage of transmit costs a packet", stages.transmit),
    "receive-stages": Benchmark("what each stage of receive costs a frame", stages.receive),
    "ktls": Benchmark("sockets that send TLS in each way, over a TAP", ktls.run, when_named=True),
    "guest": Benchmark("HTTPS from a guest with the Linux driver", guest.run, when_named=True),
    "loss": Benchmark("records decrypted in the card under loss", loss.run, when_named=True),
}


def run(names: Sequence[str], effort: Effort) -> Iterator[tuple[str, list[Row]]]:
    """Run the named benchmarks, or without names the usual ones, in the order of the table above."""
    for name, benchmark in BENCHMARKS.items():
        if name in names or not (names or benchmark.when_named):
            yield name, benchmark.run(effort)
