"""The rows of the Linux driver's tests, and the bodies in guest-tests/linux/ that belong to them.

Standard library only: guests use it, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

ROW_OF: Mapping[str, str] = {
    "plain": "LNX-01",
    "ktls": "LNX-02",
    "served": "LNX-03",
    "lifecycle": "LNX-04",
    "faults": "LNX-04",
    "flows": "LNX-04",
    "bulk": "LNX-05",
}
"""LNX-01: a network interface. LNX-02: the kernel's TLS on the card, by OpenSSL. LNX-03: as servers
use it. LNX-04: flows, links and the driver come and go. LNX-05: much data over a bad wire."""
LINUX_ROWS = tuple(sorted(set(ROW_OF.values())))
ROUTINE: Sequence[str] = (
    "plain",
    "ktls",
    "ktls@lossy",
    "served",
    "served@lossy",
    "lifecycle",
    "flows",
    "faults",
)
"""What `tlsnic conformance --guest` runs, in this order."""
WHEN_NAMED: Sequence[str] = ("bulk@loss",)
"""What it runs only when the row is named, as it takes minutes."""


def row_of(name: str) -> str:
    """The row of a body, "ktls" or "ktls@lossy"."""
    return ROW_OF[name.partition("@")[0]]
