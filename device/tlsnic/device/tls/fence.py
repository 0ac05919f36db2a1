"""Where the transmit queues stood when a flow was destroyed: what was posted before is still sent."""

from collections.abc import Iterable
from typing import Protocol


class Drain(Protocol):
    """A transmit queue, as far as a fence has to know: counts of descriptors that never go back."""

    @property
    def posted(self) -> int:
        """What the host has handed over."""

    @property
    def finished(self) -> int:
        """What is with the wire, dropped, or was given up when the queue stopped."""


class Fence:
    """A position in each queue. Packets that begin behind it come too late."""

    def __init__(self, queues: Iterable[Drain]) -> None:
        self._positions = {queue: queue.posted for queue in queues}

    @property
    def passed(self) -> bool:
        """Whether nothing that was posted before is in flight any more."""
        return all(queue.finished >= position for queue, position in self._positions.items())

    def is_behind(self, queue: Drain) -> bool:
        """Whether the next packet of `queue` was posted after the fence was set up."""
        return queue.finished >= self._positions[queue]
