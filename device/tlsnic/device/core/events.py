"""The event queue: link changes, queue errors, diagnostics and resync questions, told to the driver."""

from typing import Final

from tlsnic.abi.enums import Diagnostic, EventMask, EventType, QueueKind, QueueState
from tlsnic.abi.structures import Event
from tlsnic.device.core.diagnostics import Entry
from tlsnic.device.core.parts import Parts
from tlsnic.device.core.rings import Queue, QueueFault

_MASK_OF: Final = {
    EventType.LINK_CHANGE: EventMask.LINK,
    EventType.QUEUE_ERROR: EventMask.QUEUE,
    EventType.DIAGNOSTIC: EventMask.DIAGNOSTIC,
    EventType.RESYNC_REQUEST: EventMask.TLS,
    EventType.FLOW_ERROR: EventMask.TLS,
}


class EventQueue(Queue):
    """Writes events while there is room; what finds none is counted as lost."""

    has_ring = False

    def __init__(self, parts: Parts) -> None:
        super().__init__(
            QueueKind.EVENT, 0, "EVENT_QUEUE", parts, entry_bytes=8, completion_bytes=Event.SIZE
        )
        self._sequence = 0
        self._lost_since_last = False

    def publish(
        self,
        event: EventType,
        value0: int = 0,
        value1: int = 0,
        *,
        kind: QueueKind = QueueKind.DEVICE,
        queue: int = 0,
        handle: int = 0,
    ) -> None:
        """Write an event if EVENT_ENABLE asks for its kind and there is room."""
        if not self._regs.get("EVENT_ENABLE") & _MASK_OF[event]:
            return
        sequence = self._sequence
        self._sequence = (sequence + 1) & 0xFFFF_FFFF
        running = self.state is QueueState.RUNNING and self._host.bus_master
        if not running or self.completions.full:
            self._lose(event)
            return
        self._lost_since_last = False
        first = event | queue << 16 | kind << 24 | handle << 32
        self.complete(first, value0, value1, sequence)

    def skip(self) -> None:
        """Count an event that is never written: its number is missing in the sequence."""
        self._sequence = (self._sequence + 1) & 0xFFFF_FFFF

    def publish_diagnostic(self, entry: Entry) -> None:
        """Write a diagnostic as an event."""
        self.publish(
            EventType.DIAGNOSTIC, entry.code, entry.operand, kind=entry.kind, queue=entry.queue
        )

    def publish_fault(self, queue: Queue, fault: QueueFault) -> None:
        """Write that a queue went to ERROR."""
        self.publish(
            EventType.QUEUE_ERROR, fault.code, fault.operand, kind=queue.kind, queue=queue.number
        )

    def disable(self) -> None:
        super().disable()
        self._lost_since_last = False

    def restart_sequence(self) -> None:
        """Begin counting events anew (reset)."""
        self._sequence = 0

    def _lose(self, event: EventType) -> None:
        self._counters.events_lost += 1
        # The diagnostic is itself published as an event: only the first loss in a row raises it.
        if not self._lost_since_last:
            self._lost_since_last = True
            self.report(Diagnostic.EVENT_LOST, event)
