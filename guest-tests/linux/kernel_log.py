"""The kernel's log: what it says of level warning or worse, and which of that a test waits for."""

from __future__ import annotations

import re
import subprocess

# Said of every module that is not part of the kernel's own build, and of slow emulated processors.
_ALWAYS = ("taints kernel", "module verification failed", "hrtimer: interrupt took")


def _dmesg() -> list[str]:
    words = ["dmesg", "--level", "emerg,alert,crit,err,warn"]
    return subprocess.check_output(words, text=True, errors="replace").splitlines()


class KernelLog:
    """Its lines of level warning or worse, from now on."""

    def __init__(self) -> None:
        self._seen = len(_dmesg())
        self._expected: list[str] = []

    def expect(self, pattern: str) -> None:
        """Until the next `check` there must be one line, and no more, that `pattern` is found in."""
        self._expected.append(pattern)

    def check(self) -> None:
        """AssertionError for lines since the last time that nobody expects, and for lines missing."""
        lines = _dmesg()
        found = [line for line in lines[self._seen :] if not any(each in line for each in _ALWAYS)]
        self._seen = len(lines)
        expected, self._expected = self._expected, []
        for pattern in expected:
            match = next((line for line in found if re.search(pattern, line)), None)
            assert match, f"not in the kernel's log: {pattern}"
            found.remove(match)
        assert not found, "in the kernel's log:\n" + "\n".join(found)


LOG = KernelLog()
"""Checked after each test."""
