"""What the driver raises. Errors of the way to the device (`bus.errors`) pass through unchanged."""

from __future__ import annotations

from tlsnic.abi.enums import CommandOpcode, CommandStatus, Diagnostic, QueueKind


class DriverError(Exception):
    """Base of everything below."""


class DeviceGoneError(DriverError):
    """The device no longer answers: MAGIC reads all ones. Nothing on it can be waited for."""

    def __init__(self, what: str = "") -> None:
        super().__init__(f"device gone: {what}" if what else "device gone")


class DeviceResetError(DriverError):
    """Somebody else reset the device: its queues and settings are lost; see `Nic.reset`."""


class UnknownDeviceError(DriverError):
    """Not a tlsnic card, or one with an interface version that this driver does not know."""


class ProtocolError(DriverError):
    """The device wrote a completion that contradicts the rings."""


class DeadlineError(DriverError, TimeoutError):
    """Something did not happen within its deadline."""


class CommandTimeoutError(DeadlineError):
    """No response to a command within its deadline."""


class RingFullError(DriverError, BlockingIOError):
    """No room for the packet now: nothing was posted. Reap or wait for completions, then retry."""


class QueueError(DriverError):
    """A queue stopped with an error. Attributes: `kind`, `number`, `code`, `address`.

    `code` and `address` are the queue's STATUS.ERROR_CODE and ERROR_ADDRESS.
    """

    def __init__(self, kind: QueueKind, number: int, code: int, address: int) -> None:
        self.kind = kind
        self.number = number
        self.code = code
        self.address = address
        name = name_of(Diagnostic, code)
        super().__init__(f"{kind.name.lower()} queue {number} stopped: {name}, {address:#x}")


class CommandError(DriverError):
    """The device refused a command. Attributes: `opcode`, `status`, `detail` (numbers)."""

    def __init__(self, opcode: int, status: int, detail: int) -> None:
        self.opcode = opcode
        self.status = status
        self.detail = detail
        what, why = name_of(CommandOpcode, opcode), name_of(CommandStatus, status)
        super().__init__(f"command {what}: {why}, detail {detail:#x}")


class SendTagRefused(DriverError):
    """The card does not take a TLS flow, a rekey or a rate: the connection goes on in software.

    Attributes: `status` (CommandStatus), `reason` (text).
    """

    def __init__(self, status: int, reason: str) -> None:
        self.status = status
        self.reason = reason
        super().__init__(f"{name_of(CommandStatus, status)}: {reason}")


class SendTagDeadError(DriverError):
    """The send tag is gone: freed, or lost with a reset or with the card. Nothing was sent."""


class ResyncPendingError(DriverError):
    """The expected TCP sequence number of a send tag means nothing until the flow is in step."""


def name_of(enum: type[Diagnostic | CommandOpcode | CommandStatus], value: int) -> str:
    """Name of `value` in `enum`, or the number when a newer device uses one we do not know."""
    try:
        return enum(value).name
    except ValueError:
        return f"{value:#x}"
