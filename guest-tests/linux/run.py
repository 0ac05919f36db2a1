"""Run bodies of tests: `python3 run.py plain ktls ktls@lossy`. Exit status 0: all passed.

`@lossy`: over a wire that loses, reorders and repeats frames. `@loss`: one that loses some.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import ktap
import near
import strparser
from kernel_log import LOG

from tlsnic.qemu.linux_rows import ROW_OF, row_of

_BAD_WIRE_ATTEMPTS = 3
"""Of a test over a bad wire, with a kernel that misreads record headers: some transfers in a hundred
meet that."""


def main(names: list[str]) -> int:
    """Load the driver, run the tests of each body, unload; 1 when a test failed."""

    def load() -> None:
        near.load()
        near.up()

    def unload() -> None:
        near.unload()

    attempts = 1
    if any("@" in name for name in names) and strparser.misreads_headers():
        attempts = _BAD_WIRE_ATTEMPTS
        ktap.comment(f"Linux {os.uname().release} misreads record headers in overlapping segments;")
        ktap.comment(f"tests over a bad wire have {attempts} attempts (docs/linux-driver.md)")
    groups = [ktap.Group(ROW_OF["plain"], [load])]
    groups += [_group(name, attempts) for name in names]
    groups.append(ktap.Group(ROW_OF["lifecycle"], [unload], before=lambda: near.set_wire("")))
    report = ktap.run(groups, LOG.check, os.environ.get("TLSNIC_CHOSEN", ""))
    near.tell(report)
    return 0 if report.ok else 1


def _group(name: str, bad_wire_attempts: int) -> ktap.Group:
    body, _, wire = name.partition("@")
    attempts = bad_wire_attempts if wire else 1
    # Loaded anew for each wire: what a test expects depends on it.
    near.LOSSY = bool(wire)
    sys.modules.pop(body, None)
    tests = importlib.import_module(body).TESTS
    return ktap.Group(row_of(name), tests, wire, lambda: near.set_wire(wire), attempts)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
