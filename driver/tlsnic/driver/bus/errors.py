"""What the bus layer raises: one message that says what is wrong, and the fix."""

from __future__ import annotations


class BusError(Exception):
    """The bus cannot do what was asked.

    `message` says what is wrong, `fix` what to do about it (may be empty), `errno` the error
    number of the kernel or the server (0 when there is none).
    """

    def __init__(self, message: str, fix: str = "", errno: int = 0) -> None:
        super().__init__(message, fix, errno)
        self.message = message
        self.fix = fix
        self.errno = errno

    def __str__(self) -> str:
        return f"{self.message} (fix: {self.fix})" if self.fix else self.message


class BusGoneError(BusError):
    """The device is no longer there; register accesses do not raise this, they read all ones."""


class BusTimeoutError(BusError):
    """The other side did not answer within its deadline."""


class BusProtocolError(BusError):
    """The other side broke the protocol it speaks."""


class BusReplyError(BusError):
    """The other side answered with an error; `errno` is its error number."""
