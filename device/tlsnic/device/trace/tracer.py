"""Puts sinks to the boundary of a card, and takes them away again.

While there is no sink the card works as if there were no tracer: nothing stands in its gates, and
its inputs are the `Nic`'s own methods.
"""

import logging
from collections.abc import Callable

from tlsnic.abi.enums import DeviceInput, TlsEvent, TraceType
from tlsnic.abi.layout import Structure
from tlsnic.abi.structures import TraceInput, TraceRegisterRead
from tlsnic.device.core import Nic
from tlsnic.device.core.host import Buffer
from tlsnic.device.core.journal import Note
from tlsnic.device.trace.core import Core, TracedCore
from tlsnic.device.trace.memory import TracedMemory
from tlsnic.device.trace.sink import Sink
from tlsnic.device.trace.tls import TracedTls, event_record
from tlsnic.device.trace.wire import TracedWire
from tlsnic.device.wire import WireError

log = logging.getLogger("tlsnic.device")


class Tracer:
    """One per card: `port.tracer`.

    Args:
        nic: the card.
        card: its number in its process: `card` of all its records.
        changed: told of the `core` to use for inputs from now on, each time it becomes another.
    """

    def __init__(
        self, nic: Nic, card: int = 0, changed: Callable[[Core], None] = lambda _core: None
    ) -> None:
        self.nic = nic
        self.card = card
        self._changed = changed
        self._sinks: tuple[Sink, ...] = ()
        self._held: list[tuple[Structure, bytes]] | None = None
        self._traced: TracedCore | None = None
        self._tls = TracedTls(nic, card, self.put)

    @property
    def sinks(self) -> tuple[Sink, ...]:
        """Who listens."""
        return self._sinks

    @property
    def core(self) -> Core:
        """Where the card's inputs go."""
        return self.nic if self._traced is None else self._traced

    @property
    def held(self) -> int:
        """Records that wait for the one that comes before them."""
        return 0 if self._held is None else len(self._held)

    def add(self, sink: Sink) -> None:
        """Let `sink` have everything from now on; first of all what the card is like now: records
        INPUT START, PCI, WIRE and LINK, and for each flow a TLS_EVENT CREATED."""
        traced = self._traced or self._attach()
        others, self._sinks = self._sinks, (sink,)
        self._introduce(traced)
        self._sinks = others + self._sinks
        self._after_input()

    def remove(self, sink: Sink) -> None:
        """Let it have nothing more; it is flushed, not closed. Unknown sinks are ignored."""
        if sink in self._sinks:
            self._sinks = tuple(other for other in self._sinks if other is not sink)
            self._flush(sink)
            self._after_input()

    def mark(self, text: str) -> None:
        """Put a MARK into the trace."""
        if self._traced is not None:
            self._traced.mark(text)

    def flush(self) -> None:
        """The card is idle: flush all sinks."""
        for sink in self._sinks:
            self._flush(sink)
        if self._traced is not None:
            self._after_input()

    def put(self, record: Structure, data: Buffer) -> None:
        """To all sinks."""
        if self._held is not None:
            self._held.append((record, bytes(data)))
            return
        for sink in self._sinks:
            self._put(sink, record, data)

    # Inside

    def _put(self, sink: Sink, record: Structure, data: Buffer) -> None:
        try:
            sink.put(record, data)
        except WireError as error:
            self._give_up(sink, error)

    def _flush(self, sink: Sink) -> None:
        try:
            sink.flush()
        except WireError as error:
            self._give_up(sink, error)

    def _give_up(self, sink: Sink, error: WireError) -> None:
        log.error("%s: a trace ends here", error)
        self._sinks = tuple(other for other in self._sinks if other is not sink)

    def put_secret(self, record: Structure, data: Buffer) -> None:
        for sink in self._sinks:
            self._put(sink, record, data if sink.takes_secrets else b"")

    def _hold(self) -> None:
        self._held = []

    def _release(self, read: TraceRegisterRead | None) -> None:
        held, self._held = self._held, None
        if read is not None:
            self.put(read, b"")
        for record, data in held or ():
            self.put(record, data)

    def memory(self) -> TracedMemory:
        """What stands in the host's gate while there are sinks."""
        return TracedMemory(self.nic, self.card, self.put, self.put_secret)

    def _attach(self) -> TracedCore:
        nic = self.nic
        memory = self.memory()
        wire = TracedWire(nic, self.card, self.put, memory.settle)
        self._traced = traced = TracedCore(
            nic, self.card, memory, wire, self.put, self._hold, self._release, self._after_input
        )
        nic.forget_views()
        nic.host_gate.insert(memory)
        nic.port_gate.insert(wire)
        self._tls.attach()
        self._changed(traced)
        return traced

    def _after_input(self) -> None:
        """The last sink is gone: so is what stood in the gates."""
        if self._sinks or self._traced is None:
            return
        self._traced = None
        self.nic.host_gate.remove()
        self.nic.port_gate.remove()
        self._tls.detach()
        self._changed(self.nic)

    def _introduce(self, traced: TracedCore) -> None:
        nic = self.nic
        config = nic.config
        now_ns = nic.journal.now_ns
        mac = int.from_bytes(config.mac, "big")

        def tell(what: DeviceInput, argument: int, value: int = 0) -> None:
            self.put(TraceInput(TraceType.INPUT, self.card, 0, now_ns, what, argument, value), b"")

        tell(DeviceInput.START, config.link_mbps, mac)
        traced.tell_bits()
        tell(DeviceInput.LINK, nic.link_up)
        for flow in nic.flows:
            state = flow.tracker_state
            note = Note(
                now_ns, flow.handle, flow.sequence, flow.record_number, 0,
                TlsEvent.CREATED, state, state,
            )  # fmt: skip
            self.put(event_record(self.card, note, flow), b"")
