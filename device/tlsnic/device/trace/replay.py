"""Runs the core on a record: the same inputs, and what it does must be what the record has.

There is no host and no wire. What the core asks of them is answered from the record; everything it
does is compared with the record before it has an effect, so that the first difference is found where
it arises.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple, Protocol

from tlsnic.abi.enums import DeviceInput, Diagnostic, TraceFlags
from tlsnic.abi.layout import Structure
from tlsnic.abi.structures import (
    TraceDmaRead,
    TraceDmaWrite,
    TraceFrame,
    TraceInput,
    TraceRegisterRead,
    TraceRegisterWrite,
)
from tlsnic.device.core import DmaFault, Nic, NicConfig
from tlsnic.device.core.diagnostics import Entry
from tlsnic.device.core.host import Buffer
from tlsnic.device.packet.vnet import VnetHeader
from tlsnic.device.trace.core import INTERNAL_ERROR, RESETS, Core
from tlsnic.device.trace.memory import TracedMemory
from tlsnic.device.trace.record import Recorded
from tlsnic.device.trace.shadow import ShadowMemory
from tlsnic.device.trace.tracer import Tracer
from tlsnic.device.trace.wire import work_of

_BUS_MASTER, _MSIX_ENABLED, _INTX_DISABLED = 1, 2, 4


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


class CoreFailed(Exception):
    """The core raised an exception at an input at which it did not when that was recorded."""

    def __init__(self, cause: Recorded, error: Exception) -> None:
        super().__init__(cause, error)
        self.cause = cause
        self.error = error


class RecordEnds(BaseException):
    """The record breaks off in the middle of what an input causes."""


class _Script:
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


class _Comparer:
    """The sink that compares."""

    takes_secrets = True

    def __init__(self, script: _Script) -> None:
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


class _Host:
    """Configuration bits as the record has them, and memory as far as it is known."""

    def __init__(self, memory: ShadowMemory | None) -> None:
        self.bus_master = self.msix_enabled = self.intx_disabled = False
        self._memory = memory or ShadowMemory()

    def set_bits(self, bits: int) -> None:
        self.bus_master = bool(bits & _BUS_MASTER)
        self.msix_enabled = bool(bits & _MSIX_ENABLED)
        self.intx_disabled = bool(bits & _INTX_DISABLED)

    def view(self, address: int, length: int, write: bool) -> memoryview | None:
        return self._memory.view(address, length, write)

    def views(self, address: int, length: int, write: bool) -> list[memoryview]:
        return [self._memory.view(address, length, write)]

    def trigger(self, vector: int) -> None:
        pass

    def set_intx(self, asserted: bool) -> None:
        pass


class _Port:
    """Takes the frames that the record says were taken."""

    def __init__(self, script: _Script) -> None:
        self.takes_super_frames = False
        self._script = script

    def send(self, parts: Sequence[Buffer], vnet: VnetHeader | None, now_ns: int) -> bool:
        expected = self._script.peek() if self._script.active else None
        if expected is None or not isinstance(expected.record, TraceFrame):
            return True
        return bool(expected.record.taken)


class _Memory(TracedMemory):
    """Answers from the script what the host answered."""

    def __init__(self, tracer: "_Tracer", script: _Script, shadow: ShadowMemory | None) -> None:
        super().__init__(tracer.nic, tracer.card, tracer.put, tracer.put_secret)
        self._script = script
        self._tracer = tracer
        self._shadow = shadow

    def probe(self, address: int, length: int, write: bool) -> None:
        self._raise_fault(address, length, write)

    def fetch(self, address: int, length: int, *, whole: bool) -> list[memoryview]:
        expected = self._raise_fault(address, length, write=False)
        if expected is not None:
            record = expected.record
            same = isinstance(record, TraceDmaRead) and record.address == address
            if same and len(expected.data) == length:
                if self._shadow is not None:
                    self._shadow.store(address, expected.data)
                return [memoryview(expected.data)]
        raise Difference(
            self._script.cause, expected, (TraceDmaRead(address=address, length=length), b"")
        )

    def targets(self, address: int, length: int, *, whole: bool) -> list[memoryview]:
        self._raise_fault(address, length, write=True)
        if self._shadow is None:
            return [memoryview(bytearray(length))]
        return [self._shadow.view(address, length, True)]

    def _raise_fault(self, address: int, length: int, write: bool) -> Recorded | None:
        """DmaFault: so it was when it was recorded. What comes next in the record."""
        expected = self._script.peek(self._tracer.held)
        if expected is None:
            return None
        record = expected.record
        if isinstance(record, TraceDmaWrite if write else TraceDmaRead):
            exact = record.address == address and record.length == length
            inside = not record.length and address <= record.address < address + length
            if record.flags & TraceFlags.FAULT and (exact or inside):
                permission = bool(record.flags & TraceFlags.READ_ONLY)
                raise DmaFault(record.address, record.length, permission=permission)
        return expected


class _Tracer(Tracer):
    """Puts a `_Memory` into the gate."""

    def __init__(self, nic: Nic, card: int, script: _Script, shadow: ShadowMemory | None) -> None:
        super().__init__(nic, card)
        self._answers = script, shadow

    def memory(self) -> TracedMemory:
        return _Memory(self, *self._answers)


class ReplayedCard:
    """A card of the record.

    Attributes:
        nic: its core.
        host: what the core takes for its host: configuration bits, and memory as far as it passed.
    """

    def __init__(self, start: TraceInput, script: _Script, keep_memory: bool) -> None:
        mac = start.value.to_bytes(6, "big")
        shadow = ShadowMemory() if keep_memory else None
        self.number = start.card
        self.host = _Host(shadow)
        self.port = _Port(script)
        self.nic = Nic(NicConfig(mac=mac, link_mbps=start.argument), self.host, self.port)
        self.nic.advance(start.now_ns)
        self.tracer = _Tracer(self.nic, start.card, script, shadow)
        self._comparer = _Comparer(script)
        self.tracer.add(self._comparer)

    @property
    def core(self) -> Core:
        """For inputs."""
        return self.tracer.core

    def let_go(self) -> None:
        """Compare no more: what comes now is not in the record."""
        self.tracer.remove(self._comparer)


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
        self._script = _Script()
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


def _is_output(record: Structure) -> bool:
    if isinstance(record, TraceFrame):
        return bool(record.outbound)
    return not isinstance(record, TraceInput | TraceRegisterRead | TraceRegisterWrite)


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
