"""What every stage on top of a wire shares: it is a wire, and passes on what it keeps as it is."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, Self

from tlsnic.device.packet.vnet import VnetHeader

from .base import Buffer, Sink, Wire, WireCounters, WireEvent, WireEventKind


class Stage:
    """A wire that leaves everything to the wire below it, `inner`, which it owns and closes."""

    def __init__(self, inner: Wire, name: str) -> None:
        self.inner = inner
        self.name = f"{inner.name}+{name}"
        self._wire_events = inner.events
        self._wire_counters = inner.counters

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    @property
    def events(self) -> deque[WireEvent]:
        return self._wire_events

    @property
    def counters(self) -> WireCounters:
        """The counters of the wire below: what really passed there."""
        return self._wire_counters

    @property
    def takes_super_frames(self) -> bool:
        return self.inner.takes_super_frames

    @property
    def link_up(self) -> bool:
        return self.inner.link_up

    @property
    def wants_write(self) -> bool:
        return self.inner.wants_write

    def fileno(self) -> int | None:
        return self.inner.fileno()

    def set_receive_super_frames(self, allowed: bool) -> None:
        self.inner.set_receive_super_frames(allowed)

    def send(self, parts: Sequence[Buffer], vnet: VnetHeader | None, now_ns: int) -> bool:
        return self.inner.send(parts, vnet, now_ns)

    def receive(self, sink: Sink, budget: int, now_ns: int) -> int:
        return self.inner.receive(sink, budget, now_ns)

    def flush(self, now_ns: int) -> None:
        self.inner.flush(now_ns)

    def next_deadline_ns(self) -> int | None:
        return self.inner.next_deadline_ns()

    def close(self) -> None:
        self.inner.close()

    def _diagnose(self, name: str, detail: str) -> None:
        self.events.append(WireEvent(WireEventKind.DIAGNOSTIC, name, detail))
