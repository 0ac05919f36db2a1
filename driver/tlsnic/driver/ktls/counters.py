"""The kern.ipc.tls tree: what is counted and what can be set, by FreeBSD's names.

`kern.ipc.tls.bytes_touched` is this project's own: payload bytes that the host's CPU has read or
written, by what for. Everything is thread-safe.
"""

from __future__ import annotations

import json
from threading import Lock
from typing import Final

PREFIX: Final = "kern.ipc.tls."

_CIPHERS = ("cbc", "gcm", "chacha20")
_OPERATIONS = {
    "tls10_cbc": ("encrypts",),
    "tls11_cbc": ("encrypts",),
    "tls12_cbc": ("encrypts",),
    "tls12_gcm": ("encrypts", "decrypts", "recrypts"),
    "tls12_chacha20": ("encrypts", "decrypts", "recrypts"),
    "tls13_gcm": ("encrypts", "decrypts", "recrypts"),
    "tls13_chacha20": ("encrypts", "decrypts", "recrypts"),
}

SETTINGS: Final[dict[str, int]] = {
    "enable": 1,
    "cbc_enable": 1,
    "maxlen": 16384,
    "ifnet.permitted": 1,
    "ifnet_max_rexmit_pct": 2,
}
"""What can be set, with defaults. maxlen: bytes of a record; ifnet_max_rexmit_pct: percent."""

COUNTERS: Final[tuple[str, ...]] = (
    "stats.threads",
    "stats.active",
    "stats.enable_calls",
    "stats.offload_total",
    "stats.sw_tx_inqueue",
    "stats.sw_tx_pending",
    "stats.sw_rx_inqueue",
    "stats.corrupted_records",
    "stats.failed_crypto",
    "stats.switch_to_ifnet",
    "stats.switch_to_sw",
    "stats.switch_failed",
    "stats.ifnet_disable_ok",
    "stats.ifnet_disable_failed",
    *(f"stats.ocf.{suite}_{what}" for suite, names in _OPERATIONS.items() for what in names),
    *(f"sw.{cipher}" for cipher in _CIPHERS),
    *(f"ifnet.{cipher}" for cipher in _CIPHERS),
    "ifnet.reset",
    "ifnet.reset_dropped",
    "ifnet.reset_failed",
    "bytes_touched.copy",
    "bytes_touched.encrypt",
    "bytes_touched.decrypt",
    "bytes_touched.recrypt",
)
"""What is counted; those of ciphers, stats.active and the queues go down again."""


class TlsSysctl:
    """One tree. Names are given without `kern.ipc.tls.`; KeyError for others."""

    def __init__(self) -> None:
        self._values = dict.fromkeys(COUNTERS, 0)
        self._settings = dict(SETTINGS)
        self._lock = Lock()

    def add(self, name: str, count: int = 1) -> None:
        """Count (counter_u64_add)."""
        with self._lock:
            self._values[name] += count

    def __getitem__(self, name: str) -> int:
        found = self._settings.get(name)
        return self._values[name] if found is None else found

    def __setitem__(self, name: str, value: int) -> None:
        """Change a setting. KeyError for a counter, ValueError for a number that means nothing."""
        if name not in self._settings:
            raise KeyError(f"{PREFIX}{name} cannot be set")
        if value < 0 or (name == "maxlen" and value < 64):
            raise ValueError(f"{PREFIX}{name}={value}")
        self._settings[name] = value

    def touched(self, what: str, count: int) -> None:
        """The CPU has read or written `count` payload bytes to copy, encrypt, decrypt or
        recrypt them."""
        self.add(f"bytes_touched.{what}", count)

    @property
    def bytes_touched(self) -> int:
        """All of `bytes_touched`."""
        with self._lock:
            return sum(v for k, v in self._values.items() if k.startswith("bytes_touched."))

    def snapshot(self) -> dict[str, int]:
        """Every setting and counter, by full name, sorted."""
        with self._lock:
            merged = {**self._settings, **self._values}
        return {PREFIX + name: merged[name] for name in sorted(merged)}

    def json(self) -> str:
        """The same as JSON."""
        return json.dumps(self.snapshot(), indent=1)
