"""What can go wrong on this side of the machine, and the exit status of each.

`UserError` is for the person at the terminal: one line that says what is wrong and how to mend it.
Three things a guest run can end in are kept apart, because they ask for different actions: the
command in the guest failed (no exception: its exit status is the result), the guest died
(`VmDiedError`), and time ran out (`GuestTimeoutError`).
"""

EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_VM_DIED = 70  # EX_SOFTWARE of sysexits.h: not the test's fault
EXIT_DEVICE_DIED = 71
EXIT_TIMEOUT = 124  # as timeout(1)
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as a shell reports it


class UserError(Exception):
    """Something that the person can mend; printed as `tlsnic: <what>; fix: <fix>`."""

    exit_status = EXIT_FAILURE

    def __init__(self, what: str, fix: str = "") -> None:
        super().__init__(f"{what}; fix: {fix}" if fix else what)
        self.what = what
        self.fix = fix


class VmDiedError(UserError):
    """The guest or QEMU ended without reporting the command's exit status.

    `console` is the end of the guest's console, empty when it printed nothing.
    """

    exit_status = EXIT_VM_DIED

    def __init__(self, what: str, fix: str = "", *, console: str = "") -> None:
        super().__init__(what, fix)
        self.console = console


class DeviceDiedError(VmDiedError):
    """The device process ended while the guest was running, or never became ready."""

    exit_status = EXIT_DEVICE_DIED


class GuestTimeoutError(UserError):
    """The guest was alive but did not finish in time; `console` as in `VmDiedError`."""

    exit_status = EXIT_TIMEOUT

    def __init__(self, what: str, fix: str = "", *, console: str = "") -> None:
        super().__init__(what, fix)
        self.console = console


class Interrupted(KeyboardInterrupt):
    """SIGINT or SIGTERM came, and everything that was running has been stopped."""
