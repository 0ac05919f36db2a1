"""Looks for secrets in the memory of a process. Needs the right to trace it (same user, or root)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

_MAPPING = re.compile(
    r"^([0-9a-f]+)-([0-9a-f]+) (....) .*(?:\n[A-Z].*)*?\nVmFlags:(.*)", re.MULTILINE
)
_STEP_BYTES = 1 << 20


def find(pid: int | str, secrets: Mapping[str, bytes], *, shared_only: bool = False) -> set[str]:
    """Which of `secrets`, by name, are in the writable memory of process `pid` (or "self").

    shared_only: in mappings that are shared, as DMA memory is, and the process's own copies not.
    Registers of devices that are mapped are not read. Raises OSError.
    """
    found: set[str] = set()
    overlap = max(map(len, secrets.values()))
    zeros = bytes(_STEP_BYTES + overlap)
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for start_text, end_text, rights, flags in _MAPPING.findall(
            Path(f"/proc/{pid}/smaps").read_text()
        ):
            if not rights.startswith("rw") or "io" in flags.split():
                continue
            if shared_only and not rights.endswith("s"):
                continue
            start, end = int(start_text, 16), int(end_text, 16)
            for at in range(start, end, _STEP_BYTES):
                try:
                    memory.seek(at)
                    content = memory.read(min(_STEP_BYTES + overlap, end - at))
                except (OSError, ValueError):  # a hole's page
                    break
                if content == zeros[: len(content)]:  # most of it, and slow to search
                    continue
                found |= {name for name, secret in secrets.items() if secret in content}
    return found
