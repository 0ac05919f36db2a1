"""The event queue: typed events, handlers by type, and the count of those that were lost."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TypeAlias

from tlsnic.abi.enums import EventType, QueueKind
from tlsnic.abi.structures import (
    DiagnosticEvent,
    Event,
    FlowErrorEvent,
    LinkChangeEvent,
    QueueErrorEvent,
    ResyncRequestEvent,
)
from tlsnic.driver.access import Access, Deadline
from tlsnic.driver.queue import Queue
from tlsnic.driver.waiting import Waiter

AnyEvent: TypeAlias = (
    Event
    | LinkChangeEvent
    | QueueErrorEvent
    | DiagnosticEvent
    | ResyncRequestEvent
    | FlowErrorEvent
)
"""An event; `Event` itself for a type that this driver does not know. `flags` is zero."""

Handler = Callable[[AnyEvent], None]

_TYPES: dict[int, type[AnyEvent]] = {
    EventType.LINK_CHANGE: LinkChangeEvent,
    EventType.QUEUE_ERROR: QueueErrorEvent,
    EventType.DIAGNOSTIC: DiagnosticEvent,
    EventType.RESYNC_REQUEST: ResyncRequestEvent,
    EventType.FLOW_ERROR: FlowErrorEvent,
}
_KEPT = 4096


class EventQueue(Queue):
    """The event queue.

    Events that were drained wait in `events` (the last 4096) until somebody takes them. `lost`
    counts gaps in their sequence numbers: events that the device had no room for.
    """

    COMPLETION_BYTES = Event.SIZE

    def __init__(self, access: Access, waiter: Waiter, *, vector: int, entries: int) -> None:
        """Allocates the ring."""
        super().__init__(
            access,
            waiter,
            kind=QueueKind.EVENT,
            number=0,
            vector=vector,
            entries=entries,
            completion_entries=entries,
        )
        self._return_at = max(1, entries // 4)
        self.events: deque[AnyEvent] = deque(maxlen=_KEPT)
        self.lost = 0
        self._handlers: dict[int, list[Handler]] = {}
        self._expected = 0

    def forget(self) -> None:
        """The device was reset: sequence numbers begin anew. Enabling alone does not do that."""
        super().forget()
        self._expected = 0

    def on(self, event_type: EventType, handler: Handler) -> None:
        """Call `handler(event)` for every event of this type, when it is drained."""
        self._handlers.setdefault(event_type, []).append(handler)

    def drain(self) -> int:
        """Take all events that are there, call their handlers, keep them in `events`; how many."""
        taken = 0
        ring = self.completions
        while ring.ready():
            offset = ring.consumer * Event.SIZE
            event: AnyEvent = Event.unpack_from(ring.memory.view, offset)
            kind = event[0]
            event_class = _TYPES.get(kind)
            if event_class is not None:
                event = event_class.unpack_from(ring.memory.view, offset)
            event = event._replace(flags=0)
            ring.advance()
            if ring.unreturned >= self._return_at:
                self.return_completions()
            taken += 1
            self.lost += (event.sequence - self._expected) & 0xFFFF_FFFF
            self._expected = event.sequence + 1 & 0xFFFF_FFFF
            self.events.append(event)
            for handler in self._handlers.get(kind, ()):
                handler(event)
        return taken

    def next_event(self, timeout_s: float, event_type: EventType | None = None) -> AnyEvent | None:
        """The oldest event (of this type), taken out of `events`; None at the deadline.

        Events of other types stay. Raises like `Queue.wait`.
        """
        deadline = Deadline(timeout_s)
        while True:
            self.drain()
            for event in self.events:
                if event_type is None or event[0] == event_type:
                    self.events.remove(event)
                    return event
            if not self.wait(deadline.left_s):
                return None
