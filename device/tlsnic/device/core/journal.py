"""What happened to TLS flows, besides packets: a short history of each, and the last questions.

Always on. A note is packed and kept with its flow, so that a flow that nothing happens to costs next
to nothing. There are no keys in it.
"""

from collections import deque
from collections.abc import Callable, Sequence
from struct import Struct
from typing import Final, NamedTuple

from tlsnic.abi.enums import TlsEvent, TlsTrackerState
from tlsnic.device.tls.flow import TxFlow
from tlsnic.device.tls.rx_flow import RxFlow

NotedFlow = TxFlow | RxFlow

NOTES_PER_FLOW: Final = 64
RESYNC_NOTES: Final = 256
"""Questions, answers and hints that are kept, of all flows."""
GONE_FLOWS: Final = 64
"""Flows whose history outlives them."""

_RESYNC: Final = frozenset(
    (TlsEvent.ASKED, TlsEvent.ANSWERED, TlsEvent.DENIED, TlsEvent.STALE, TlsEvent.HINTED)
)
_NOTE: Final = Struct("<QIIQIHBB")
_STATE: Final = tuple(TlsTrackerState)
_HISTORY_BYTES: Final = NOTES_PER_FLOW * _NOTE.size


class Note(NamedTuple):
    """Something that happened to a flow."""

    now_ns: int
    handle: int
    tcp_sequence: int
    """Of the record header that a question, answer or hint is about; else the next expected one."""
    record_number: int
    """Of the record there, or the last certain one."""
    question: int
    """Number of the question that this is about, or 0."""
    event: TlsEvent
    old_state: TlsTrackerState
    new_state: TlsTrackerState


def _unpack(history: bytes) -> list[Note]:
    return [
        Note(now_ns, handle, sequence, number, question, TlsEvent(event), _STATE[old], _STATE[new])
        for now_ns, handle, sequence, number, question, event, old, new in _NOTE.iter_unpack(
            history
        )
    ]


class Journal:
    """One for the card. `observer` is called with each note, and the flow it is about."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.observer: Callable[[Note, NotedFlow], None] | None = None
        self.resync: deque[Note] = deque(maxlen=RESYNC_NOTES)
        """The last questions, answers and hints, oldest first."""
        self._gone: dict[int, bytes] = {}
        self.moved = self._moved
        """Called by a receive flow whose tracker went on from a state."""

    def note(
        self,
        flow: NotedFlow,
        event: TlsEvent,
        *,
        tcp_sequence: int | None = None,
        record_number: int | None = None,
        question: int = 0,
        old_state: TlsTrackerState | None = None,
    ) -> None:
        """Something happened to `flow`; what is not given is what the flow says of itself now."""
        state = flow.tracker_state
        note = Note(
            self.now_ns,
            flow.handle,
            flow.sequence if tcp_sequence is None else tcp_sequence,
            flow.record_number if record_number is None else record_number,
            question,
            event,
            state if old_state is None else old_state,
            state,
        )
        flow.history = (flow.history + _NOTE.pack(*note))[-_HISTORY_BYTES:]
        if event in _RESYNC:
            self.resync.append(note)
        if self.observer is not None:
            self.observer(note, flow)

    def history(self, flow: NotedFlow) -> list[Note]:
        """The last notes about `flow`, oldest first."""
        return _unpack(flow.history)

    def history_of_gone(self, handle: int) -> list[Note]:
        """The same for a flow that is no more; empty when that is not known any longer."""
        return _unpack(self._gone.get(handle, b""))

    @property
    def gone(self) -> list[int]:
        """Handles of the flows that went last, and whose history is still known; oldest first."""
        return list(self._gone)

    def keep(self, flow: NotedFlow) -> None:
        """`flow` is about to go."""
        self._gone[flow.handle] = flow.history
        if len(self._gone) > GONE_FLOWS:
            del self._gone[next(iter(self._gone))]

    def reset(self, flows: Sequence[NotedFlow]) -> None:
        """All `flows` are about to be wiped. Unless somebody listens, only the last ones are noted."""
        for flow in flows if self.observer is not None else flows[-GONE_FLOWS:]:
            self.note(flow, TlsEvent.RESET)
            self.keep(flow)

    def _moved(self, flow: NotedFlow, old_state: TlsTrackerState) -> None:
        self.note(flow, TlsEvent.TRACKER, old_state=old_state)
