"""The tables of "In-Kernel TLS Framing and Encryption for FreeBSD" (Baldwin, vBSDCon 2019), measured here.

A file goes to a far end that throws it away, over four connections, in each way that a server can send
it: without TLS, TLS in the program, KTLS in software with one and with two workers, KTLS in the card. Every
round does all of them, one after the other.

The host is this process: program, sockets, TCP, driver and KTLS workers. The card is another process,
whose CPU time is told apart, as that of a card's own processor would be.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bench.ktls_rig import CIPHERS, Rig, Sample, make_rig
from bench.measure import COST, Effort, Row, Target

BYTES_EACH: Final = 8 << 20
"""Of a connection, in one round."""
PLAIN: Final = "plain"
USERLAND: Final = "userland"
NIC: Final = "nic"
SOFTWARE: Final = {1: "sw-1", 2: "sw-2"}
"""By workers."""
WHAT: Final = {
    PLAIN: "sendfile without TLS",
    USERLAND: "TLS in the program",
    SOFTWARE[1]: "software KTLS, 1 worker",
    SOFTWARE[2]: "software KTLS, 2 workers",
    NIC: "NIC TLS",
}
PART_OF_SOFTWARE: Final = 1 / 3
"""What NIC TLS may cost the host at most, of what software KTLS with one worker does."""
TOUCHED_MOST: Final = 0.005
"""0.00 bytes per byte sent. What TCP has to send again in the middle of a record is copied."""
_RECORD_BYTES: Final = 16384
_RECORDS: Final = 1024


@dataclass(frozen=True)
class KtlsRow(Row):
    """One way to send. `value` is host CPU time in s/GB, `ratio` that of plain sendfile, for NIC TLS of
    software KTLS. All numbers are medians; `against_plain` of the rounds' ratios."""

    mode: str = PLAIN
    cipher: str = ""
    goodput_mb_s: float = 0.0
    device_s_gb: float = 0.0
    touched: float = 0.0
    """Payload bytes that the host's CPU has read or written, per byte of the file."""
    against_plain: float = 1.0
    speed_of_plain: float = 1.0
    added_s_gb: float = 0.0
    """Host CPU time beyond that of plain sendfile."""
    crypto_s_gb: float = 0.0
    """What AES-GCM alone costs a CPU, in this run."""

    @property
    def met(self) -> bool | None:
        """NIC TLS has two targets: the CPU time, and that no payload is touched."""
        time_met = super().met
        return None if time_met is None else time_met and self.touched <= TOUCHED_MOST

    def as_dict(self) -> dict[str, object]:
        return super().as_dict() | {
            "mode": self.mode,
            "cipher": self.cipher,
            "goodput_mb_s": self.goodput_mb_s,
            "host_s_gb": self.value,
            "device_s_gb": self.device_s_gb,
            "touched": self.touched,
            "against_plain": self.against_plain,
            "speed_of_plain": self.speed_of_plain,
            "added_s_gb": self.added_s_gb,
            "crypto_s_gb": self.crypto_s_gb,
        }


Key = tuple[str, str]
"""Mode and cipher."""


def run(effort: Effort) -> list[Row]:
    """All ways with both ciphers. Raises UserError without the rights to make a TAP."""
    bytes_each = effort.count(BYTES_EACH, _RECORD_BYTES)
    rounds: list[dict[Key, Sample]] = []
    crypto: list[dict[str, float]] = []
    with make_rig() as rig:
        ways = _ways(rig, bytes_each)
        for number in range(effort.rounds + 1):
            samples = {key: way() for key, way in ways.items()}
            if number:  # the first one fills the page cache
                rounds.append(samples)
                crypto.append({cipher: encrypt_s_gb(cipher) for cipher in CIPHERS})
    return [*rows(rounds, crypto)]


def _ways(rig: Rig, bytes_each: int) -> dict[Key, Callable[[], Sample]]:
    ways: dict[Key, Callable[[], Sample]] = {(PLAIN, ""): lambda: rig.plain(bytes_each)}
    for cipher in CIPHERS:
        ways[USERLAND, cipher] = lambda c=cipher: rig.userland(bytes_each, c)  # type: ignore[misc]
        for workers, name in SOFTWARE.items():
            ways[name, cipher] = lambda c=cipher, w=workers: rig.ktls(bytes_each, c, w)  # type: ignore[misc]
        ways[NIC, cipher] = lambda c=cipher: rig.ktls(bytes_each, c, 0)  # type: ignore[misc]
    return ways


def encrypt_s_gb(cipher: str) -> float:
    """CPU seconds that AES-GCM takes for a GB in records, from one place to another."""
    aead = AESGCM(os.urandom(CIPHERS[cipher][1]))
    plain = memoryview(bytes(64 * _RECORD_BYTES))
    views = [plain[at : at + _RECORD_BYTES] for at in range(0, len(plain), _RECORD_BYTES)]
    out, nonce, header = bytearray(_RECORD_BYTES + 16), bytes(12), bytes(13)
    start_s = time.process_time()
    for number in range(_RECORDS):
        aead.encrypt_into(nonce, views[number % len(views)], header, out)
    return (time.process_time() - start_s) / (_RECORDS * _RECORD_BYTES) * 1e9


def rows(rounds: list[dict[Key, Sample]], crypto: list[dict[str, float]]) -> list[KtlsRow]:
    """The figures of all rounds."""
    return [_row(mode, cipher, rounds, crypto) for mode, cipher in rounds[0]]


def _row(
    mode: str, cipher: str, rounds: list[dict[Key, Sample]], crypto: list[dict[str, float]]
) -> KtlsRow:
    key, plain = (mode, cipher), (PLAIN, "")
    is_nic = mode == NIC
    base = (SOFTWARE[1], cipher) if is_nic else plain
    return KtlsRow(
        ".".join(filter(None, ("ktls", mode, cipher))),
        f"{WHAT[mode]}{', ' * bool(cipher)}{cipher}",
        median(each[key].host_s_gb for each in rounds),
        "s/GB",
        baseline=median(each[base].host_s_gb for each in rounds),
        baseline_name=WHAT[base[0]],
        kind=COST,
        ratio=median(each[key].host_s_gb / each[base].host_s_gb for each in rounds),
        target=Target(PART_OF_SOFTWARE, at_most=True) if is_nic else None,
        mode=mode,
        cipher=cipher,
        goodput_mb_s=median(each[key].goodput_mb_s for each in rounds),
        device_s_gb=median(each[key].device_s_gb for each in rounds),
        touched=median(each[key].touched for each in rounds),
        against_plain=median(each[key].host_s_gb / each[plain].host_s_gb for each in rounds),
        speed_of_plain=median(each[key].goodput_mb_s / each[plain].goodput_mb_s for each in rounds),
        added_s_gb=median(each[key].host_s_gb - each[plain].host_s_gb for each in rounds),
        crypto_s_gb=median(each[cipher] for each in crypto) if cipher else 0.0,
    )
