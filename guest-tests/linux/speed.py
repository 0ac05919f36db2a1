"""HTTPS goodput and guest CPU: TLS in nginx, in the kernel, and on the card, in one run.

`python3 speed.py ROUNDS MEGABYTES`: every round serves the file once in each way, shortly after one
another. Each figure is handed to the host as it comes (`bench.figure`).
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import near
import served
from near import AES128, AES256, HOME, Changes

_PORT = 8443
SUITES = {"AES-128-GCM": AES128, "AES-256-GCM": AES256}
WORKERS = (1, 2)


@dataclass(frozen=True)
class Way:
    """Who encrypts: nginx's option for OpenSSL, whether the card offers it, what counts it then."""

    name: str
    options: str
    card: bool
    counter: str = ""


WAYS = (
    Way("userland", "-KTLS", card=False),
    Way("kernel", "KTLS", card=False, counter="TlsTxSw"),
    Way("card", "KTLS", card=True, counter="TlsTxDevice"),
)


def main(rounds: int, megabytes: int) -> int:
    """The first round warms up and is not told."""
    near.load()
    near.up()
    near.prepare_files(megabytes * 1_000_000)
    for number in range(rounds + 1):
        for suite in SUITES:
            for workers in WORKERS:
                for way in WAYS:
                    figure = measure(way, suite, workers)
                    if number:
                        near.control.call("bench.figure", figure)
    near.unload()
    return 0


def measure(way: Way, suite: str, workers: int) -> dict[str, object]:
    """One transfer of the file by each of as many clients as there are workers."""
    near.ethtool("-K", "tls-hw-tx-offload", "on" if way.card else "off")
    changes = Changes()
    size_bytes = (HOME / "data").stat().st_size
    with served.nginx(port=_PORT, suite=SUITES[suite], workers=workers, options=way.options):
        idle, when = _idle_s()
        times = near.far(
            "fetch_timed", url=f"https://{near.NEAR_ADDRESS}:{_PORT}/data", clients=workers
        )
        idle_after, when_after = _idle_s()
    assert isinstance(times, dict)
    assert times["bytes"] == workers * size_bytes, times
    counted = changes()
    for name in ("TlsTxSw", "TlsTxDevice"):
        assert counted[name] == (workers if name == way.counter else 0), (way.name, counted)
    assert bool(counted["tx_tls_encrypted_packets"]) == way.card, counted
    busy_s = (when_after - when) * (os.cpu_count() or 1) - (idle_after - idle)
    return {
        "way": way.name,
        "suite": suite,
        "workers": workers,
        "bytes": times["bytes"],
        "elapsed_s": times["elapsed_s"],
        "cpu_s": busy_s,
    }


def _idle_s() -> tuple[float, float]:
    """Idle time of all processors together, and the time since boot, of the same moment."""
    up, idle = Path("/proc/uptime").read_text().split()
    return float(idle), float(up)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
