"""What can go wrong in the shell. Each error says what happened, and what to do about it."""


class ShellError(Exception):
    """A command failed.

    Attributes:
        name: for programs, upper case.
        message: for people.
        fix: what to do, or empty.
    """

    exit_status = 1

    def __init__(self, name: str, message: str, fix: str = "") -> None:
        super().__init__(message)
        self.name = name
        self.message = message
        self.fix = fix


class UsageError(ShellError):
    """The command line is not one that the shell understands."""

    exit_status = 2

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__("USAGE", message, fix)


class GoneError(ShellError):
    """The device does not answer any more, or never did."""

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__("GONE", message, fix)
