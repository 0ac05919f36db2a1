"""What `tlsnic conformance --guest` says of a guest: its output, its last words, its figures."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from tlsnic.qemu.conformance_report import Report

if TYPE_CHECKING:
    from tlsnic.qemu.run import GuestResult  # costs asyncio when it is imported


def describe(report: Report, result: GuestResult) -> None:
    """Say in the report what the guest was run with, and how long it took."""
    report.environment["accelerator"] = "kvm" if result.kvm else "tcg"
    report.environment["boot_s"] = round(result.timings.started_s, 1)
    report.environment["suite_s"] = round(result.timings.finished_s - result.timings.started_s, 1)


def show(data: bytes) -> None:
    """Pass on what a guest prints, as it comes."""
    os.write(sys.stdout.fileno(), data)


def explain(text: str, what: str) -> None:
    """Print the last lines of `what`, if there are any, on standard error."""
    if text.strip():
        print(f"--- the last lines of {what} ---\n{text.rstrip()}\n---", file=sys.stderr)
