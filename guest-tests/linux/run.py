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

from tlsnic.qemu.linux_rows import ROW_OF, row_of


def main(names: list[str]) -> int:
    """Load the driver, run the tests of each body, unload; 1 when a test failed."""
    seen = near.warning_count()

    def load() -> None:
        near.load()
        near.up()

    def unload() -> None:
        near.unload()

    def no_warnings() -> None:
        nonlocal seen
        found = near.warnings(seen)
        seen = near.warning_count()
        assert not found, "in the kernel's log:\n" + "\n".join(found)

    groups = [ktap.Group(ROW_OF["plain"], [load])]
    groups += [_group(name) for name in names]
    groups.append(ktap.Group(ROW_OF["lifecycle"], [unload], before=lambda: near.set_wire("")))
    report = ktap.run(groups, no_warnings, os.environ.get("TLSNIC_CHOSEN", ""))
    near.tell(report)
    return 0 if report.ok else 1


def _group(name: str) -> ktap.Group:
    body, _, wire = name.partition("@")
    # Loaded anew for each wire: what a test expects depends on it.
    near.LOSSY = bool(wire)
    sys.modules.pop(body, None)
    tests = importlib.import_module(body).TESTS
    return ktap.Group(row_of(name), tests, wire, before=lambda: near.set_wire(wire))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
