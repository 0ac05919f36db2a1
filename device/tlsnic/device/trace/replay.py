"""Runs the core on a record: the same inputs, and what it does must be what the record has.

There is no host and no wire. What the core asks of them is answered from the record; everything it
does is compared with the record before it has an effect, so that the first difference is found where
it arises.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple, Protocol

from tlsnic.abi.enums import DeviceInput, Diagnostic
from tlsnic.abi.layout import Structure
from tlsnic.abi.structures import (
    TraceFrame,
    TraceInput,
    TraceRegisterRead,
    TraceRegisterWrite,
)
from tlsnic.device.core.diagnostics import Entry
from tlsnic.device.trace.core import INTERNAL_ERROR, RESETS
from tlsnic.device.trace.record import Recorded
from tlsnic.device.trace.replayed_card import ReplayedCard
from tlsnic.device.trace.script import RecordEnds, Script
from tlsnic.device.trace.wire import work_of


class CoreFailed(Exception):
    """The core raised an exception at an input at which it did not when that was recorded."""

    def __init__(self, cause: Recorded, error: Exception) -> None:
        super().__init__(cause, error)
        self.cause = cause
        self.error = error


class Progress(NamedTuple):
    """How far a replay is."""

    number: int
    """Of the record."""
    now_ns: int
    """Since the first record."""
    inputs: int
    outputs: int
    bytes: int
    """Of the file, about."""


class Happened(NamedTuple):
    """What was at an input, for those who wait for something."""

    number: int
    """Of the last record of the input."""
    now_ns: int
    """Since the first record."""
    records: Sequence[Recorded]
    """The input, and what the record has behind it."""
    diagnostics: Sequence[Diagnostic]


class Records(Protocol):
    """As a `RecordReader` gives them."""

    damage: str | None

    def __iter__(self) -> Iterator[Recorded]: ...


_BLOCK_BYTES: Final = 48
"""Of the file, around each record."""


class Replay:
    """Runs the cards of a record.

    Args:
        records: of a `RecordReader`.
        keep_memory: remember what passed of host memory, to be looked at afterwards.
    """

    def __init__(self, records: Records, *, keep_memory: bool = False) -> None:
        self._records = records
        self._groups = _grouped(records)
        self._keep_memory = keep_memory
        self._script = Script()
        self._failed: tuple[Recorded, Exception] | None = None
        self._diagnostics: list[Diagnostic] = []
        self._first_ns: int | None = None
        self.cards: dict[int, ReplayedCard] = {}
        self.progress = Progress(0, 0, 0, 0, 0)

    def run(
        self,
        until: Callable[[Happened], bool] = lambda _happened: False,
        report: Callable[[Progress], None] = lambda _progress: None,
    ) -> bool:
        """Go on until an input after which `until` says so, or to the end.

        Args:
            until: asked after each input.
            report: told after each input how far it is.

        Returns:
            True when `until` said so, False at the end.

        Raises:
            Difference, CoreFailed: the cards are then as they were at that moment.
            WireError: from the records.
        """
        for group, is_last in self._groups:
            try:
                self._step(group, is_last and self._records.damage is not None)
            except RecordEnds:
                return False
            last = group[-1]
            now_ns = last.record.now_ns  # type: ignore[attr-defined]
            if self._first_ns is None:
                self._first_ns = now_ns
            done = self.progress
            self.progress = Progress(
                last.number,
                now_ns - self._first_ns,
                done.inputs + 1,
                done.outputs + len(group) - 1,
                done.bytes + sum(_BLOCK_BYTES + one.record.SIZE + len(one.data) for one in group),
            )
            report(self.progress)
            happened = Happened(last.number, self.progress.now_ns, group, tuple(self._diagnostics))
            self._diagnostics.clear()
            if until(happened):
                return True
        if self._failed is not None:
            raise CoreFailed(*self._failed)
        return False

    def _step(self, group: Sequence[Recorded], is_cut: bool) -> None:
        cause, *outputs = group
        record = cause.record
        failed, self._failed = self._failed, None
        if failed is not None and not _tells_of(cause, failed[1]):
            raise CoreFailed(*failed)
        if isinstance(record, TraceInput) and record.input == DeviceInput.START:
            self.cards[record.card] = self._make_card(record)
            return
        frames: list[Recorded] = []
        if isinstance(record, TraceInput) and record.input == DeviceInput.RECEIVE:
            frames, outputs = outputs[: record.argument], outputs[record.argument :]
            if is_cut and len(frames) < record.argument:
                raise RecordEnds
        self._script.begin(cause, outputs, is_cut)
        try:
            _perform(self.cards[record.card], record, frames)  # type: ignore[attr-defined]
        except Exception as error:
            self._failed = cause, error
            return
        self._script.end()

    def _make_card(self, start: TraceInput) -> ReplayedCard:
        card = ReplayedCard(start, self._script, self._keep_memory)

        def note(entry: Entry) -> None:
            self._diagnostics.append(entry.code)

        card.nic.observer = note
        return card


def _perform(card: ReplayedCard, record: Structure, frames: Sequence[Recorded]) -> None:
    """Give the card its input."""
    core = card.core
    if isinstance(record, TraceRegisterRead):
        core.read(record.bar, record.offset, record.width)
    elif isinstance(record, TraceRegisterWrite):
        core.write(record.bar, record.offset, record.width, record.value)
    elif isinstance(record, TraceInput):
        _INPUTS[DeviceInput(record.input)](card, record, frames)


def _receive(card: ReplayedCard, record: TraceInput, frames: Sequence[Recorded]) -> None:
    arrivals = [
        (frame.data, work_of(frame.record))
        for frame in frames
        if isinstance(frame.record, TraceFrame)
    ]
    card.core.receive(arrivals, record.now_ns)


def _set_wire(card: ReplayedCard, record: TraceInput, _frames: Sequence[Recorded]) -> None:
    card.port.takes_super_frames = bool(record.argument)


def _nothing(_card: ReplayedCard, _record: TraceInput, _frames: Sequence[Recorded]) -> None:
    """A mark changes nothing."""


_INPUTS: Final[
    dict[DeviceInput, Callable[[ReplayedCard, TraceInput, Sequence[Recorded]], object]]
] = {
    DeviceInput.ADVANCE: lambda card, record, _: card.core.advance(record.now_ns),
    DeviceInput.POLL: lambda card, record, _: card.core.poll(record.now_ns),
    DeviceInput.RECEIVE: _receive,
    DeviceInput.LINK: lambda card, record, _: card.core.set_link(bool(record.argument)),
    DeviceInput.WIRE_WRITABLE: lambda card, record, _: card.core.wire_writable(record.now_ns),
    DeviceInput.FORGET_VIEWS: lambda card, record, _: card.core.forget_views(),
    DeviceInput.RESET: lambda card, record, _: card.core.reset(RESETS[record.argument]),
    DeviceInput.REPORT: lambda card, record, _: card.core.report(
        Diagnostic(record.argument), record.value
    ),
    DeviceInput.PCI: lambda card, record, _: card.host.set_bits(record.argument),
    DeviceInput.WIRE: _set_wire,
    DeviceInput.MARK: _nothing,
}


def _tells_of(cause: Recorded, error: Exception) -> bool:
    """Whether a record is the mark that `error` was raised then, too."""
    record = cause.record
    mark = isinstance(record, TraceInput) and record.input == DeviceInput.MARK
    return mark and cause.data.decode() == f"{INTERNAL_ERROR}{type(error).__name__}"


def _grouped(records: Iterable[Recorded]) -> Iterator[tuple[list[Recorded], bool]]:
    """Each input with the records behind it, and whether it is the last."""
    group: list[Recorded] = []
    for one in records:
        if isinstance(one.record, TraceInput | TraceRegisterRead | TraceRegisterWrite):
            if group:
                yield group, False
            group = []
        group.append(one)
    if group:
        yield group, True
