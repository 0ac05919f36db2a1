"""`tlsnic conformance`: the driver conformance suite, on the host or inside a guest.

On the host, pytest runs the tests of guest-tests/ (tlsnic.qemu.conformance_host), which start a
device process of their own. With --guest, the same tests run in an emulated machine with two cards:
one whose wire ends in this process (which sends and receives for the tests), one on a TAP in a
network namespace of the host. The tests of the Linux driver run in a guest of their own
(tlsnic.qemu.linux).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tlsnic.qemu.conformance_handover import REPORT_METHOD, Handover
from tlsnic.qemu.conformance_parts import Lane, Part
from tlsnic.qemu.conformance_report import FAILED, Report, ktap_end, merged, parse_rows
from tlsnic.qemu.conformance_show import describe, explain, show
from tlsnic.qemu.errors import EXIT_FAILURE, GuestTimeoutError, UserError, VmDiedError
from tlsnic.qemu.linux_rows import LINUX_ROWS
from tlsnic.qemu.supervise import run_async

if TYPE_CHECKING:
    from tlsnic.qemu.vm import Setup  # costs the parts and asyncio when it is imported

SUITE = "guest-tests"
CONTROL_VARIABLE = "TLSNIC_CONTROL"
"""Set in a guest that has a control channel to the host: its virtio-serial port."""
GUEST_TIMEOUT_S = 600.0
MOST_RECORDED = 20
"""Failed tests that are run again to be recorded."""
# Python is some 29 times slower in an emulated guest, so pytest does only what is needed there.
# Rewriting the assertions alone takes seconds; local variables tell almost as much.
_GUEST_OPTIONS = (
    *("--assert=plain", "--showlocals", "--capture=sys"),
    *("-p", "no:timeout", "-p", "no:logging", "-p", "no:faulthandler", "-p", "no:threadexception"),
)
MSIX_FILES = ("test_bus_03_bus_master.py", "test_bus_04_resets.py", "test_bus_09_interrupts.py")
MSIX_TESTS = "bus_03 or bus_04_interrupts or bus_09"
"""What is repeated in a guest with an IOMMU, through vfio-pci: all that MSI-X matters for."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `tlsnic conformance`."""
    parser.add_argument(
        "--guest", action="store_true", help="run in an emulated guest, not on the host"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write a report by row there")
    parser.add_argument(
        "--rows", default="", metavar="ROWS", help="only these: areas or rows, BUS,NET-03"
    )
    parser.add_argument(
        "-k", dest="expression", default="", metavar="EXPRESSION", help="only tests that match"
    )
    parser.add_argument(
        "--accel", choices=("auto", "kvm", "tcg"), default="auto", help="how to run the guest's CPU"
    )
    parser.add_argument(
        "--part",
        choices=("intx", "msix", "linux"),
        help="with --guest: only the guest with uio_pci_generic and INTx, only the one with "
        "vfio-pci and MSI-X, or only the one with the Linux driver (default: all)",
    )
    parser.add_argument(
        "--record-failures",
        type=Path,
        default=Path("out/records"),
        metavar="FOLDER",
        help="with --guest: run tests that failed once more, and when one fails again keep a record "
        "of the cards there for `tlsnic replay` (default: %(default)s)",
    )
    parser.add_argument(
        "--no-record",
        action="store_const",
        const=None,
        dest="record_failures",
        help="with --guest: do not run failed tests again to record them",
    )


def main(args: argparse.Namespace) -> int:
    """Run the suite; 0 when nothing failed and something passed.

    Raises `UserError`, `PartError`, `Interrupted`, and with --guest what `run_in_guest` raises.
    """
    if args.rows:
        try:
            parse_rows(args.rows)
        except ValueError as error:
            raise UserError(f"--rows {args.rows}: {error}", "name areas or rows") from None
    if args.json is not None and not args.json.resolve().parent.is_dir():
        raise UserError(f"--json {args.json}: no such folder", "make it, or name another file")
    if CONTROL_VARIABLE in os.environ:
        return _here_in_a_guest(args)
    report, status = _in_guests(args) if args.guest else _on_host(args)
    if report is None:
        print("tlsnic: the suite ended without a report", file=sys.stderr)
        return status or EXIT_FAILURE
    if args.json is not None:
        args.json.write_text(json.dumps(report.to_json(), indent=1) + "\n")
    return 0 if report.ok and not status else status or EXIT_FAILURE


def suite_command(
    args: argparse.Namespace, folder: str, *, python: str, extra: Sequence[str] = ()
) -> list[str]:
    """The command line of pytest for the chosen tests, with KTAP as its output."""
    ini = f"{folder}/pytest.ini"
    command = [python, "-m", "pytest", "-c", ini, "--rootdir", folder, "--ktap", *extra]
    if args.rows:
        # One word: before pytest knows the option, two would hide `folder` behind a -k.
        command.append(f"--rows={args.rows}")
    if args.expression:
        command += ["-k", args.expression]
    return [*command, folder]


def _root() -> Path:
    from tlsnic.qemu.project_disk import project_root  # noqa: PLC0415 - pulls in the parts

    return project_root()


# On the host


def _on_host(args: argparse.Namespace) -> tuple[Report | None, int]:
    from tlsnic.qemu.conformance_host import SHARES, run_shares  # noqa: PLC0415
    from tlsnic.qemu.workdir import work_directory  # noqa: PLC0415

    # Plugins that happen to be installed would make it another suite.
    extra = ["-p", "no:xdist", "-p", "no:cov"]
    command = suite_command(args, str(_root() / SUITE), python=sys.executable, extra=extra)
    chosen = args.rows or args.expression
    with work_directory() as work:
        return run_shares(command, work, 1 if chosen else SHARES)


# In the shell of `tlsnic boot`


def _here_in_a_guest(args: argparse.Namespace) -> int:
    """The suite in this guest, whose control channel leads to the host; pytest's exit status."""
    if args.guest or args.part:
        raise UserError("--guest and --part are for the host; this is a guest", "leave them out")
    root = Path(__file__).resolve().parents[3]
    extra = list(_GUEST_OPTIONS)
    if args.json is not None:
        extra += ["--conformance-json", str(args.json.resolve())]
    command = suite_command(args, str(root / SUITE), python=sys.executable, extra=extra)
    return subprocess.run(command, check=False).returncode


# In a guest, from the host


MSIX = Part("msix", "the guest with MSI-X")
LINUX = Part("linux", "the guest with the Linux driver")
_HEADINGS = {
    MSIX: "the part that needs MSI-X, through vfio-pci, in a guest with an IOMMU",
    LINUX: "the Linux driver: the kernel's own network stack and TLS on the card",
}


def _in_guests(args: argparse.Namespace) -> tuple[Report | None, int]:
    """All guests, two at a time: an emulated guest keeps little more than one core busy."""
    from tlsnic.qemu.parts import has_kernel_module  # noqa: PLC0415
    from tlsnic.qemu.vm import prepare  # noqa: PLC0415
    from tlsnic.qemu.workdir import work_directory  # noqa: PLC0415

    others = _others(args)
    if args.part is not None or _only_linux(args) or not others:
        return _in_one_guest(args)
    setup = prepare(args.accel)  # what has to be made or found out first, once for all
    if LINUX in others and not has_kernel_module(setup.guest):
        others.remove(LINUX)
        print("tlsnic: without the Linux driver: set TLSNIC_MODULE to one for your kernel")
    options = ["--accel", args.accel]
    if args.rows:
        options += ["--rows", args.rows]
    if args.record_failures is None:
        options += ["--no-record"]
    else:
        options += ["--record-failures", str(args.record_failures)]
    with work_directory() as work, Lane(others, options, work) as lane:
        report, status = _in_guest(args, way="uio", setup=setup)
        run_async(lane.ended())
        reports = [report]
        for part in others:
            print(f"# {_HEADINGS[part]}", flush=True)
            more, more_status, output = lane.outcome(part)
            show(output)
            reports.append(_renamed(more, "vfio-pci") if more and part is MSIX else more)
            status = status or more_status
    there = [report for report in reports if report is not None]
    if len(there) < len(reports):
        return None, status
    whole = merged(there)
    sys.stdout.write(ktap_end(whole))
    return whole, status


def _others(args: argparse.Namespace) -> list[Part]:
    """The parts besides the first that the chosen tests need."""
    chosen = parse_rows(args.rows) if args.rows else None
    if args.expression:
        return []
    wanted = []
    if chosen is None or chosen & {"BUS-03", "BUS-04", "BUS-09"}:
        wanted.append(MSIX)
    if chosen is None or chosen & set(LINUX_ROWS):
        wanted.append(LINUX)
    return wanted


def _only_linux(args: argparse.Namespace) -> bool:
    return bool(args.rows) and parse_rows(args.rows) <= set(LINUX_ROWS)


def _in_one_guest(args: argparse.Namespace) -> tuple[Report | None, int]:
    if args.part == LINUX.name or _only_linux(args):
        from tlsnic.qemu.conformance_linux import run_part  # noqa: PLC0415

        return run_part(args)
    return _in_guest(args, way="vfio" if args.part == MSIX.name else "uio")


def _renamed(report: Report, way: str) -> Report:
    """The results with the way to the card in their names, and no row asked for as a whole."""
    data = report.to_json()
    tests = data["tests"]
    assert isinstance(tests, list)
    for test in tests:
        test["name"] = f"{test['name']}[{way}]"
    return Report.from_json({**data, "complete": False})


def _in_guest(
    args: argparse.Namespace, *, way: str, setup: Setup | None = None
) -> tuple[Report | None, int]:
    from tlsnic.qemu.vm import prepare  # noqa: PLC0415

    _root()
    setup = setup or prepare(args.accel)
    command = suite_command(args, SUITE, python="python3", extra=_GUEST_OPTIONS)
    if way == "vfio":
        command[-1:] = ["-k", MSIX_TESTS, *(f"{SUITE}/{name}" for name in MSIX_FILES)]
    report, status = _run_guest(command, way, setup, show)
    if report is not None and args.record_failures is not None:
        _record_failures(report, args.record_failures, way, setup)
    return report, status


def _record_failures(report: Report, folder: Path, way: str, setup: Setup) -> None:
    """Run the tests that failed again, and keep what the cards saw and did if one fails again.

    Not the first time, because that would cost all the tests that pass: a suite that was recorded
    as a whole did not end within 300 s, where 283 s were enough without.
    """
    failed = [result.name for result in report.results if result.outcome == FAILED]
    if not failed:
        return
    some = failed[:MOST_RECORDED]
    count = f"{len(some)} of {len(failed)}" if len(some) < len(failed) else str(len(failed))
    print(f"--- running again with a record of the cards: {count} failed tests", file=sys.stderr)
    command = [
        *("python3", "-m", "pytest", "-c", f"{SUITE}/pytest.ini", "--rootdir", SUITE, "--ktap"),
        *(*_GUEST_OPTIONS, *(f"{SUITE}/{name}" for name in some)),
    ]
    with contextlib.suppress(VmDiedError, GuestTimeoutError):  # told before, or kept all the same
        again, _ = _run_guest(command, way, setup, lambda _data: None, folder)
        if again is not None and again.ok:
            print("--- this time they passed: no record is kept", file=sys.stderr)


def _run_guest(
    command: Sequence[str],
    way: str,
    setup: Setup,
    show: Callable[[bytes], None],
    record_folder: Path | None = None,
) -> tuple[Report | None, int]:
    """Run pytest in a guest with both cards. With `record_folder`: keep records of them there
    unless all passed."""
    from tlsnic.qemu.failure_records import FailureRecords  # noqa: PLC0415
    from tlsnic.qemu.launch import MEMORY_ABOVE_4G_MIB, Machine  # noqa: PLC0415
    from tlsnic.qemu.peer.device import device_argv  # noqa: PLC0415
    from tlsnic.qemu.peer.service import Service  # noqa: PLC0415
    from tlsnic.qemu.run import run_in_guest  # noqa: PLC0415
    from tlsnic.qemu.workdir import work_directory  # noqa: PLC0415

    handover = Handover()
    with work_directory() as work, contextlib.ExitStack() as undo:
        records = FailureRecords(work, record_folder, way)
        keep = undo.enter_context(contextlib.ExitStack())
        keep.callback(records.keep)  # also when the run breaks off; when the cards have ended
        service = undo.enter_context(contextlib.closing(Service(work)))
        traffic = service.traffic.start_device(records.path_for("tap"))
        machine = Machine(
            devices=[traffic.socket_path],
            memory_mib=MEMORY_ABOVE_4G_MIB,
            iommu=way == "vfio",
        )
        result = run_in_guest(
            command,
            device_cmd=device_argv(service.far_end.spec, record=records.path_for("device")),
            on_call={**service.methods(), REPORT_METHOD: handover.take},
            on_output=show,
            timeout_s=GUEST_TIMEOUT_S,
            machine=machine,
            env={"TLSNIC_BUS": way},
            setup=setup,
        )
        report = handover.report
        if not result.exit_status and report is not None and report.ok:
            keep.pop_all()
        elif record_folder is None:
            explain(result.device_log, "the device")
            explain(traffic.log(), "the device on the TAP")
            explain(result.console, "the guest's console")
        if report is not None:
            describe(report, result)
        return report, result.exit_status
