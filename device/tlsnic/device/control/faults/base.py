"""What every fault is: something that goes wrong on purpose, for a while, and what a driver has to do."""

from collections.abc import Iterable
from typing import Any, ClassVar, Final, NamedTuple

from tlsnic.device.control.card import Card
from tlsnic.device.control.protocol import Json, Kind, Param
from tlsnic.device.core.host import Host
from tlsnic.device.core.rings import Queue

COUNT: Final = Param(
    "count", Kind.INTEGER, "how many; null: until cleared", 1, 1, 1 << 32, nullable=True
)
AFTER: Final = Param("after", Kind.INTEGER, "let so many pass first", 0, 0, 1 << 32)
SIDE: Final = Param(
    "side", Kind.STRING, "tx: frames sent, rx: received", "rx", choices=("tx", "rx")
)
MS: Final = Param("ms", Kind.INTEGER, "milliseconds; 0: until cleared", 0, 0, 3_600_000)


class Spot(NamedTuple):
    """Where in host memory an access goes: an entry of a ring, or anything else."""

    purpose: str
    """descriptor, completion or data."""
    queue: Queue | None = None
    entry: int = 0
    """Index of the entry."""
    whole: bool = False
    """The whole ring is asked for."""


class Fault:
    """One fault that is switched on. What a subclass does not need stays as it is."""

    NAME: ClassVar[str]
    WHAT: ClassVar[str]
    """What happens."""
    SEEN: ClassVar[str]
    """What a driver sees of it."""
    MUST: ClassVar[str]
    """What it must do."""
    PARAMS: ClassVar[tuple[Param, ...]] = (COUNT,)

    acts_on_host = False
    acts_on_wire = False
    acts_on_registers = False

    def __init__(self, card: Card, settings: dict[str, Any]) -> None:
        self.card = card
        self.settings = settings
        self.left: int | None = settings.get("count")
        """How often it still acts; None: until it is cleared."""
        self.passes: int = settings.get("after", 0)
        self.acted = 0
        """How often it has acted."""
        self.over = False
        """It will not act again."""
        milliseconds = settings.get("ms", 0)
        self.until_ns = card.clock_ns() + milliseconds * 1_000_000 if milliseconds else None

    def start(self) -> None:
        """It was switched on."""

    def stop(self) -> None:
        """It was switched off, or is over."""

    def turn(self, now_ns: int) -> None:
        """Time has gone on."""
        if self.until_ns is not None and now_ns >= self.until_ns:
            self.over = True

    def next_deadline_ns(self) -> int | None:
        """When to call `turn`."""
        return self.until_ns

    def act(self) -> bool:
        """Whether it is this one's turn; counts."""
        if self.over:
            return False
        if self.passes:
            self.passes -= 1
            return False
        self.acted += 1
        if self.left is not None:
            self.left -= 1
            self.over = not self.left
        return True

    # On the host's side

    def on_access(
        self, spot: Spot, address: int, length: int, write: bool, host: Host
    ) -> memoryview | None:
        """An access to memory: what to give in place of it, None for itself. May raise DmaFault."""
        return None

    def on_interrupt(self, vector: int | None) -> bool:
        """Whether to swallow an interrupt; None: INTx."""
        return False

    # On the wire's side

    def hits_frames(self, sent: bool) -> bool:
        """Whether frames of one direction are told apart, so that no super-frames may pass."""
        return False

    def on_frame(self, frame: bytes, sent: bool) -> bytes | None:
        """A frame that passes: what to pass on; None: nothing."""
        return frame

    @property
    def link_down(self) -> bool:
        return False

    @property
    def stalled(self) -> bool:
        return False

    # On the bus

    def delay_ns(self, bar: int) -> int:
        """How long a write to a BAR is kept on its way; 0: not at all."""
        return 0

    def as_json(self) -> Json:
        """How it stands."""
        return {"setting": self.settings, "acted": self.acted, "left": self.left}


def spot_of(queues: Iterable[Queue], address: int, length: int) -> Spot:
    """What an access to memory is for, by where the rings are."""
    for queue in queues:
        for purpose, ring in (("descriptor", queue.ring), ("completion", queue.completions)):
            base, size = ring.extent
            if base <= address < base + size:
                entry_bytes = size // ring.entries
                index = (address - base) // entry_bytes
                return Spot(purpose, queue, index, (address, length) == (base, size))
    return Spot("data")
