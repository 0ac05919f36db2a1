"""What every wire is: the protocol the event loop drives, and the plain state all wires share.

A wire is single-threaded and never blocks. The event loop

1. polls `fileno()` for input (one descriptor, the same for the life of the wire) and waits no
   longer than `next_deadline_ns()`;
2. on either, calls `receive()`, which does all the work that is due: it accepts and connects,
   continues unfinished output, hands out frames;
3. takes what happened from `events`, and looks at `link_up`;
4. when `send()` said False, calls it again with the same frame once `wants_write` is False.

Time is whatever clock the caller passes in as `now_ns`, so that a virtual clock works too. The
only demand is that it does not go back.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, Self

from tlsnic.device.packet.vnet import VnetHeader

Buffer = bytes | bytearray | memoryview

MAX_FRAME_BYTES = 65536 + 4096
"""Largest frame a wire carries: 64 KiB of segmented send and its headers (QEMU's NET_BUFSIZE)."""

MAX_PENDING_EVENTS = 1024
"""Events kept while nobody takes them; the oldest go first."""


class WireError(Exception):
    """A wire cannot be opened, or a capture cannot be read.

    Args:
        message: what is wrong, in one line.
        fix: what the user can do about it, in one line; empty if nothing is known.
    """

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__(f"{message}; {fix}" if fix else message)
        self.message = message
        self.fix = fix


class WireEventKind(enum.Enum):
    """What a wire has to say besides frames."""

    LINK_UP = "link-up"
    LINK_DOWN = "link-down"
    DIAGNOSTIC = "diagnostic"


class WireEvent(NamedTuple):
    """One thing that happened on a wire.

    `name` is a stable identifier of a diagnostic (`peer-frame-too-long`), or of the reason for a
    link change; `detail` is a sentence for people.
    """

    kind: WireEventKind
    name: str
    detail: str


@dataclass(slots=True)
class WireCounters:
    """Frames and bytes that passed, and frames dropped on sending by reason."""

    tx_frames: int = 0
    tx_bytes: int = 0
    rx_frames: int = 0
    rx_bytes: int = 0
    tx_dropped_link_down: int = 0
    tx_dropped_refused: int = 0


Sink = Callable[[memoryview, VnetHeader | None], None]
"""Takes one received frame. The view is only valid during the call."""


class Wire(Protocol):
    """The far side of the NIC's port; see the module's docstring for who calls what when."""

    @property
    def name(self) -> str:
        """For messages: the wire as the user wrote it."""

    @property
    def events(self) -> deque[WireEvent]:
        """Link changes and diagnostics, oldest first; the caller pops them."""

    @property
    def counters(self) -> WireCounters:
        """Counts since the wire was opened."""

    @property
    def takes_super_frames(self) -> bool:
        """Whether `send()` accepts frames beyond the MTU, and checksums left undone, with a header.

        It can change at run time (an impairment was switched on); what was refused with False
        before the change may still be sent as it is.
        """

    @property
    def link_up(self) -> bool:
        """Whether somebody is at the other end."""

    @property
    def wants_write(self) -> bool:
        """Whether `send()` would refuse a frame now."""

    def fileno(self) -> int | None:
        """The descriptor to poll for input, the same until `close()`; None: nothing to poll."""

    def set_receive_super_frames(self, allowed: bool) -> None:
        """Say whether the other side may hand over super-frames and undone checksums.

        A wire that never does ignores it. Frames already under way may still be such.
        """

    def send(self, parts: Sequence[Buffer], vnet: VnetHeader | None, now_ns: int) -> bool:
        """Send the frame that `parts` make up, the whole of it or nothing.

        Args:
            parts: at least one buffer, together 14 to MAX_FRAME_BYTES bytes, without FCS; used
                during the call only.
            vnet: work left to the other side; only where `takes_super_frames`.
            now_ns: the time.

        Returns:
            True: the frame was taken (a link that is down takes, drops and counts it).
            False: not now; send it again when `wants_write` is False.

        Raises:
            ValueError: the frame is empty or too long, or has a header the wire cannot carry.
        """

    def receive(self, sink: Sink, budget: int, now_ns: int) -> int:
        """Do what is due, and give up to `budget` frames to `sink`; returns their number.

        `vnet` is None for a frame that is complete as it is.
        """

    def flush(self, now_ns: int) -> None:
        """Continue unfinished output without receiving."""

    def next_deadline_ns(self) -> int | None:
        """When to call `receive()` even if nothing can be read; None: nothing is due.

        A time not after now: at once, for example because frames are at hand that did not fit in
        the budget.
        """

    def close(self) -> None:
        """Give everything back; may be called twice."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: Any) -> None: ...


class WireBase:
    """State and defaults that most wires share; not a wire by itself."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.events: deque[WireEvent] = deque(maxlen=MAX_PENDING_EVENTS)
        self.counters = WireCounters()
        self.takes_super_frames = False
        self.link_up = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    @property
    def wants_write(self) -> bool:
        return False

    def fileno(self) -> int | None:
        return None

    def set_receive_super_frames(self, allowed: bool) -> None:
        """Nothing to do for a wire on which the other side never hands over super-frames."""

    def flush(self, now_ns: int) -> None:
        """Nothing to do for a wire that never has unfinished output."""

    def next_deadline_ns(self) -> int | None:
        return None

    def close(self) -> None:
        self.link_up = False

    def _set_link(self, up: bool, name: str, detail: str) -> None:
        """Change `link_up`, with an event if that is a change."""
        if up != self.link_up:
            self.link_up = up
            kind = WireEventKind.LINK_UP if up else WireEventKind.LINK_DOWN
            self.events.append(WireEvent(kind, name, detail))

    def _diagnose(self, name: str, detail: str) -> None:
        self.events.append(WireEvent(WireEventKind.DIAGNOSTIC, name, detail))


def frame_bytes(parts: Sequence[Buffer]) -> int:
    """Length of the frame that `parts` make up, in bytes; ValueError if no wire can carry it."""
    length = sum(map(len, parts))
    if not 0 < length <= MAX_FRAME_BYTES:
        raise ValueError(f"a frame has 1 to {MAX_FRAME_BYTES} bytes, not {length}")
    return length
