"""The part of `tlsnic conformance --guest` whose guest has the Linux driver (tlsnic.qemu.linux)."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tlsnic.qemu.conformance_handover import REPORT_METHOD, Handover
from tlsnic.qemu.conformance_report import FAILED, Report, parse_rows
from tlsnic.qemu.conformance_show import describe, explain, show
from tlsnic.qemu.errors import GuestTimeoutError, VmDiedError
from tlsnic.qemu.linux import run_linux
from tlsnic.qemu.linux_rows import ROUTINE, WHEN_NAMED, row_of
from tlsnic.qemu.run import GuestResult
from tlsnic.qemu.vm import Setup, prepare

MOST_RECORDED = 5
"""Failed tests that are run again to be recorded."""
_TIMEOUT_S = 1200.0


def run_part(args: argparse.Namespace) -> tuple[Report | None, int]:
    """Run the chosen tests; their report and the exit status. Raises as `run_in_guest`."""
    chosen = parse_rows(args.rows) if args.rows else None
    bodies = ROUTINE
    if chosen is not None:
        bodies = [name for name in (*ROUTINE, *WHEN_NAMED) if row_of(name) in chosen]
    setup = prepare(args.accel)
    report, result = _run(bodies, args.expression, setup, show)
    if result.exit_status:
        explain(result.device_log, "the device")
        explain(result.console, "the guest's console")
    if report is not None:
        describe(report, result)
        if args.record_failures is not None:
            _record_failures(report, args.record_failures, setup)
    return report, result.exit_status


def _run(
    bodies: Sequence[str],
    chosen: str,
    setup: Setup,
    on_output: Callable[[bytes], None],
    record_folder: Path | None = None,
) -> tuple[Report | None, GuestResult]:
    handover = Handover()
    result = run_linux(
        bodies,
        chosen=chosen,
        on_call={REPORT_METHOD: handover.take},
        on_output=on_output,
        timeout_s=_TIMEOUT_S,
        setup=setup,
        record_folder=record_folder,
    )
    return handover.report, result


def _record_failures(report: Report, folder: Path, setup: Setup) -> None:
    """Run the tests that failed again, and keep what the card saw and did if one fails again.

    Not the first time: recording makes receive several times slower.
    """
    failed = [result.name for result in report.results if result.outcome == FAILED]
    places = {name: place for name in failed if (place := body_and_test(name))}
    some = list(places)[:MOST_RECORDED]
    if not some:
        return
    print(f"--- running again with a record of the card: {', '.join(some)}", file=sys.stderr)
    bodies = list(dict.fromkeys(places[name][0] for name in some))
    chosen = ",".join(dict.fromkeys(places[name][1] for name in some))
    with contextlib.suppress(VmDiedError, GuestTimeoutError):  # told before, or kept all the same
        again, _ = _run(bodies, chosen, setup, lambda _data: None, folder)
        if again is not None and again.ok:
            print("--- this time they passed: no record is kept", file=sys.stderr)


def body_and_test(name: str) -> tuple[str, str] | None:
    """The body and the function, ("ktls@lossy", "test_x"), of a result "ktls.test_x[lossy]".

    None when it belongs to no body.
    """
    name, _, wire = name.removesuffix("]").partition("[")
    body, _, test = name.partition(".")
    if not test:
        return None
    return f"{body}@{wire}" if wire else body, test
