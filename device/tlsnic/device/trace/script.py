"""What the record says of one input of a replay, and the sink that holds the core to it."""

from collections.abc import Sequence

from tlsnic.abi.layout import Structure
from tlsnic.abi.structures import TraceFrame, TraceInput, TraceRegisterRead, TraceRegisterWrite
from tlsnic.device.core.host import Buffer
from tlsnic.device.trace.record import Recorded


class Difference(BaseException):
    """The core did something else than the record says. No `Exception`: the core handles some.

    Attributes:
        cause: the input at which that was.
        expected: what the record has; None: nothing more.
        found: what the core did, a record and its data; None: nothing more.
    """

    def __init__(
        self, cause: Recorded, expected: Recorded | None, found: tuple[Structure, bytes] | None
    ) -> None:
        super().__init__(cause, expected, found)
        self.cause = cause
        self.expected = expected
        self.found = found


class RecordEnds(BaseException):
    """The record breaks off in the middle of what an input causes."""


class Script:
    """An input and what the record has behind it: one for all cards, exchanged with each input."""

    def __init__(self) -> None:
        self.cause = Recorded(0, TraceInput(), b"")
        self._outputs: Sequence[Recorded] = ()
        self._at = 0
        self._is_cut = False
        self.active = False

    def begin(self, cause: Recorded, outputs: Sequence[Recorded], is_cut: bool) -> None:
        self.cause, self._outputs, self._at, self._is_cut = cause, outputs, 0, is_cut
        self.active = True

    def peek(self, ahead: int = 0) -> Recorded | None:
        """What comes next, or `ahead` further; None: nothing more."""
        at = self._at + ahead
        if at < len(self._outputs):
            return self._outputs[at]
        if self._is_cut:
            raise RecordEnds
        return None

    def compare(self, record: Structure, data: Buffer) -> None:
        """The core did something."""
        expected = self.peek()
        if expected is None or expected.record != record or expected.data != data:
            raise Difference(self.cause, expected, (record, bytes(data)))
        self._at += 1

    def end(self) -> None:
        """The core is done with the input."""
        self.active = False
        if self._at < len(self._outputs):
            raise Difference(self.cause, self._outputs[self._at], None)


class Comparer:
    """The sink that compares."""

    takes_secrets = True

    def __init__(self, script: Script) -> None:
        self._script = script

    def put(self, record: Structure, data: Buffer = b"") -> None:
        if isinstance(record, TraceRegisterRead):
            if record != self._script.cause.record:
                raise Difference(self._script.cause, self._script.cause, (record, b""))
        elif _is_output(record):
            self._script.compare(record, data)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


def _is_output(record: Structure) -> bool:
    if isinstance(record, TraceFrame):
        return bool(record.outbound)
    return not isinstance(record, TraceInput | TraceRegisterRead | TraceRegisterWrite)
