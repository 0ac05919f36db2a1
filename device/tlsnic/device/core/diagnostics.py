"""What the driver did wrong: every diagnostic is counted, remembered and published."""

from collections import Counter, deque
from collections.abc import Callable
from typing import NamedTuple

from tlsnic.abi.enums import Diagnostic, QueueKind

RECENT = 256
"""Entries kept for the shell; older ones only count."""


class Entry(NamedTuple):
    """One diagnostic: what, about which value, raised by which queue, when (ns)."""

    code: Diagnostic
    operand: int
    kind: QueueKind
    queue: int
    now_ns: int


class Diagnostics:
    """The log behind DIAG_LAST, DIAG_COUNT and DIAG_OPERAND."""

    def __init__(self, publish: Callable[[Entry], None]) -> None:
        self._publish = publish
        self.now_ns = 0
        self.recent: deque[Entry] = deque(maxlen=RECENT)
        self.counts: Counter[Diagnostic] = Counter()
        self.total = 0

    @property
    def last(self) -> Entry:
        """The newest entry; NONE when there is none since reset."""
        return self.recent[-1] if self.recent else Entry(Diagnostic.NONE, 0, QueueKind.DEVICE, 0, 0)

    def report(
        self,
        code: Diagnostic,
        operand: int = 0,
        kind: QueueKind = QueueKind.DEVICE,
        queue: int = 0,
    ) -> None:
        """Record that the driver broke a rule; `operand` as DIAG_OPERAND documents it."""
        entry = Entry(code, operand & 0xFFFF_FFFF_FFFF_FFFF, kind, queue, self.now_ns)
        self.recent.append(entry)
        self.counts[code] += 1
        self.total += 1
        self._publish(entry)

    def clear(self) -> None:
        """Forget everything (reset)."""
        self.recent.clear()
        self.counts.clear()
        self.total = 0
