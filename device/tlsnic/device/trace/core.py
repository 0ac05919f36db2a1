"""The inputs of the core while a trace is taken: each is told before what it causes."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from tlsnic.abi.enums import DeviceInput, Diagnostic, TraceType
from tlsnic.abi.structures import TraceInput, TraceRegisterRead, TraceRegisterWrite
from tlsnic.device.core import Nic, ResetKind
from tlsnic.device.core.nic import BAR_REGISTERS
from tlsnic.device.core.receive import Arrival
from tlsnic.device.trace.memory import Put, TracedMemory
from tlsnic.device.trace.wire import TracedWire, frame_record

INTERNAL_ERROR = "internal error: "
"""Begins the MARK that is put when the core raised an exception, whose name follows."""
RESETS = tuple(ResetKind)
"""By the number that is the argument of a RESET."""


class Core(Protocol):
    """Every input of a card: those of `Nic`, or of what stands in front of it."""

    def read(self, bar: int, offset: int, width: int) -> int: ...
    def write(self, bar: int, offset: int, width: int, value: int) -> None: ...
    def receive(self, frames: Sequence[Arrival], now_ns: int) -> None: ...
    def advance(self, now_ns: int) -> None: ...
    def set_link(self, up: bool) -> None: ...
    def wire_writable(self, now_ns: int) -> None: ...
    def forget_views(self) -> None: ...
    def report(self, code: Diagnostic, operand: int = 0) -> None: ...
    def reset(self, kind: ResetKind) -> None: ...
    def poll(self, now_ns: int) -> bool: ...


class TracedCore:
    """A `Core` that tells what it passes on to the `Nic`.

    Args:
        nic: the card.
        card: its number in its process.
        memory, wire: what the gates of the card are connected to.
        put: takes records.
        hold: keeps what is put from now on.
        release: puts its argument, if there is one, and then what was kept.
        done: called when an input is over.
    """

    def __init__(
        self,
        nic: Nic,
        card: int,
        memory: TracedMemory,
        wire: TracedWire,
        put: Put,
        hold: Callable[[], None],
        release: Callable[[TraceRegisterRead | None], None],
        done: Callable[[], None],
    ) -> None:
        self._nic = nic
        self._journal = nic.journal
        self._card = card
        self._memory = memory
        self._wire = wire
        self._put = put
        self._hold = hold
        self._release = release
        self._done = done
        self._advanced_to: int | None = None

    def read(self, bar: int, offset: int, width: int) -> int:
        self._begin()
        self._hold()  # the value is known at the end, but the read comes first
        record = None
        try:
            with self._input():
                value = self._nic.read(bar, offset, width)
                record = TraceRegisterRead(
                    TraceType.REGISTER_READ, self._card, 0, self._journal.now_ns,
                    bar, width, offset, value,
                )  # fmt: skip
        finally:
            self._release(record)
        return value

    def write(self, bar: int, offset: int, width: int, value: int) -> None:
        self._begin()
        self._put(
            TraceRegisterWrite(
                TraceType.REGISTER_WRITE, self._card, 0, self._journal.now_ns,
                bar, width, offset, value,
            ),
            b"",
        )  # fmt: skip
        with self._input():
            self._nic.write(bar, offset, width, value)
        if bar == BAR_REGISTERS:
            self._memory.rings.forget()

    def receive(self, frames: Sequence[Arrival], now_ns: int) -> None:
        if not frames:
            self.advance(now_ns)
            return
        self._begin(now_ns)
        self._tell(DeviceInput.RECEIVE, len(frames), now_ns=now_ns)
        for frame, vnet in frames:
            self._put(
                frame_record(self._card, now_ns, len(frame), vnet, outbound=False, taken=True),
                frame,
            )
        with self._input():
            self._nic.receive(frames, now_ns)

    def advance(self, now_ns: int) -> None:
        # Told with the next input that has no time of its own: most have.
        self._nic.advance(now_ns)
        self._advanced_to = now_ns

    def set_link(self, up: bool) -> None:
        self._begin()
        self._tell(DeviceInput.LINK, up)
        with self._input():
            self._nic.set_link(up)

    def wire_writable(self, now_ns: int) -> None:
        self._begin(now_ns)
        self._tell(DeviceInput.WIRE_WRITABLE, now_ns=now_ns)
        with self._input():
            self._nic.wire_writable(now_ns)

    def forget_views(self) -> None:
        self._begin()
        self._tell(DeviceInput.FORGET_VIEWS)
        with self._input():
            self._nic.forget_views()

    def report(self, code: Diagnostic, operand: int = 0) -> None:
        self._begin()
        self._tell(DeviceInput.REPORT, code, operand)
        with self._input():
            self._nic.report(code, operand)

    def reset(self, kind: ResetKind) -> None:
        self._begin()
        self._tell(DeviceInput.RESET, RESETS.index(kind))
        with self._input():
            self._nic.reset(kind)
        self._memory.rings.forget()

    def poll(self, now_ns: int) -> bool:
        self._begin(now_ns)
        self._tell(DeviceInput.POLL, now_ns=now_ns)
        with self._input():
            return self._nic.poll(now_ns)

    def mark(self, text: str) -> None:
        """A place that the user wants to find again."""
        self._begin()
        self._tell(DeviceInput.MARK, data=text.encode())

    def tell_bits(self) -> None:
        """What host and wire are like now."""
        self._tell(DeviceInput.PCI, self._memory.bits)
        self._tell(DeviceInput.WIRE, self._wire.takes_super_frames)

    def _begin(self, now_ns: int | None = None) -> None:
        """Tell what changed since the last input, before the next one, which is at `now_ns` if it
        has a time."""
        advanced_to, self._advanced_to = self._advanced_to, None
        if advanced_to is not None and advanced_to != now_ns:
            self._tell(DeviceInput.ADVANCE, now_ns=advanced_to)
        if self._memory.look_at_bits():
            self._tell(DeviceInput.PCI, self._memory.bits)
        if self._wire.look_at_bits():
            self._tell(DeviceInput.WIRE, self._wire.takes_super_frames)

    @contextmanager
    def _input(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._memory.settle()
            self._tell(DeviceInput.MARK, data=f"{INTERNAL_ERROR}{type(error).__name__}".encode())
            raise
        else:
            self._memory.settle()
        finally:
            self._done()

    def _tell(
        self,
        what: DeviceInput,
        argument: int = 0,
        value: int = 0,
        *,
        now_ns: int | None = None,
        data: bytes = b"",
    ) -> None:
        now_ns = self._journal.now_ns if now_ns is None else now_ns
        self._put(
            TraceInput(TraceType.INPUT, self._card, 0, now_ns, what, int(argument), value), data
        )
