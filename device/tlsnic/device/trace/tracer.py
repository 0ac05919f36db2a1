"""Puts sinks to the boundary of a card, and takes them away again."""

from typing import Protocol

from tlsnic.device.trace.sink import Sink


class Tracer(Protocol):
    """One per card: `port.tracer`."""

    card: int
    """Number of the card in its process: `card` of all its records."""

    @property
    def sinks(self) -> tuple[Sink, ...]:
        """Who listens."""

    def add(self, sink: Sink) -> None:
        """Let `sink` have everything from now on; first of all what the card is like now: records
        INPUT START, PCI, WIRE and LINK, and for each flow a TLS_EVENT CREATED."""

    def remove(self, sink: Sink) -> None:
        """Let it have nothing more; it is flushed, not closed. Unknown sinks are ignored."""

    def mark(self, text: str) -> None:
        """Put a MARK into the trace."""

    def flush(self) -> None:
        """The card is idle: flush all sinks."""
