"""A guest whose own kernel drives the card: the Linux driver, loaded, and a TAP at the wire's far end.

The bodies of its tests are in guest-tests/linux/ and run in the guest; they print KTAP.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from tlsnic.qemu import parts
from tlsnic.qemu.channel import Handler
from tlsnic.qemu.conformance_handover import REPORT_METHOD
from tlsnic.qemu.failure_records import FailureRecords
from tlsnic.qemu.launch import Machine
from tlsnic.qemu.linux_rows import ROUTINE
from tlsnic.qemu.netns import Netns, tap_namespace
from tlsnic.qemu.peer.data import (
    FAR_ADDRESS,
    FAR_ADDRESS6,
    NEAR_ADDRESS,
    NEAR_ADDRESS6,
    PREFIX,
    PREFIX6,
)
from tlsnic.qemu.peer.device import device_argv
from tlsnic.qemu.peer.linux_peer import LinuxPeer
from tlsnic.qemu.project_disk import GUEST_PROJECT, LAUNCH, project_root
from tlsnic.qemu.run import GuestResult, run_in_guest
from tlsnic.qemu.vm import Setup, prepare
from tlsnic.qemu.workdir import work_directory

MODULE = "tlsnic.ko"
MODULE_VARIABLE = "TLSNIC_MODULE"
TIMEOUT_S = 300.0
NEAR = (f"{NEAR_ADDRESS}/{PREFIX}", f"{NEAR_ADDRESS6}/{PREFIX6}")
"""Addresses of the guest's interface."""
_TAP = "tap0"


def module_path(setup: Setup) -> Path:
    """The driver for the kernel that `setup` boots, built if need be. Raises `PartError`."""
    guest = setup.guest
    return parts.kernel_module(release=guest.release, source=project_root(), suite=guest.suite)


@contextlib.contextmanager
def far_namespace() -> Iterator[Netns]:
    """The network stack at the far end of the wire."""
    addresses = (f"{FAR_ADDRESS}/{PREFIX}", f"{FAR_ADDRESS6}/{PREFIX6}")
    with tap_namespace(*addresses, tap=_TAP, vnet_hdr=True) as namespace:
        yield namespace


def far_wire(namespace: Netns) -> str:
    """The wire to there."""
    return f"tap:{_TAP},netns={namespace.path}"


def run_linux(
    bodies: Sequence[str] = ROUTINE,
    *,
    chosen: str = "",
    on_call: Mapping[str, Handler] | None = None,
    on_output: Callable[[bytes], None] | None = None,
    timeout_s: float = TIMEOUT_S,
    setup: Setup | None = None,
    record_folder: Path | None = None,
) -> GuestResult:
    """Run the files `bodies` of guest-tests/linux/ (without suffix) in a guest, one after the other.

    With "@lossy" behind its name a body is run over a bad wire. `chosen` is a part of the names of
    the tests to run, or several with commas between. `on_call` takes in the report
    (`conformance_handover.REPORT_METHOD`). The exit status is 0 when all tests passed; if not, a record of
    the card is kept in `record_folder`. Raises as `run_in_guest`.
    """
    return launch_linux(
        ["run.py", *bodies],
        on_call={REPORT_METHOD: lambda report: None, **(on_call or {})},
        on_output=on_output,
        timeout_s=timeout_s,
        env={"TLSNIC_CHOSEN": chosen},
        setup=setup,
        record_folder=record_folder,
    )


def launch_linux(
    script: Sequence[str],
    *,
    on_call: Mapping[str, Handler],
    on_output: Callable[[bytes], None] | None = None,
    timeout_s: float = TIMEOUT_S,
    env: Mapping[str, str] | None = None,
    setup: Setup | None = None,
    record_folder: Path | None = None,
) -> GuestResult:
    """Run a script of guest-tests/linux/, with its arguments, in a guest with the driver at hand.

    It can call `LinuxPeer.methods`, and `on_call`. Unless its exit status is 0, a record of the card
    is kept in `record_folder`. Raises as `run_in_guest`.
    """
    setup = setup or prepare()
    module = module_path(setup)
    with contextlib.ExitStack() as undo:
        work = undo.enter_context(work_directory())
        records = FailureRecords(work, record_folder, "linux")
        keep = undo.enter_context(contextlib.ExitStack())
        keep.callback(records.keep)  # also when the run breaks off; when the card has ended
        namespace = undo.enter_context(far_namespace())
        control = work / "control"
        peer = LinuxPeer(namespace, work, control)
        launch = f"{GUEST_PROJECT}/{LAUNCH}"
        name, *arguments = script
        device = device_argv(far_wire(namespace), record=records.path_for("device"))
        result = run_in_guest(
            ["python3", f"guest-tests/linux/{name}", *arguments],
            device_cmd=[*device, "--control", str(control)],
            on_call={**peer.methods(), **on_call},
            on_output=on_output,
            timeout_s=timeout_s,
            machine=Machine(hugepages=0),
            env={MODULE_VARIABLE: f"{launch}/{MODULE}", "TLSNIC_LAUNCH": launch, **(env or {})},
            files={MODULE: module, **peer.files()},
            setup=setup,
        )
        if not result.exit_status:
            keep.pop_all()
        return result
