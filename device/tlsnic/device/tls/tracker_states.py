"""The receive tracker's states and its one table of transitions. No data, no I/O.

Theory of operation. In OFFLOAD the tracker knows where each record starts and which number it has.
When it loses a header it remembers the last number that was certain and searches for bytes that can
be a header (SEARCH). It follows the first candidate by its lengths and counts records (TRACK) until
the host says which number the candidate has, or a record's own tag does. HALTED is for a key that
no longer fits: nothing is decrypted, but lengths are followed, so that a rekey or hint behind the
present place still finds it.

(State, event) pairs that are not in the table cannot occur.
"""

import enum
from typing import Final

from tlsnic.abi.enums import TlsTrackerState


class State(enum.Enum):
    """State of a flow's tracker; the value is that of the hardware interface."""

    __hash__ = object.__hash__  # by identity: Enum's own is a Python call per look-up

    OFFLOAD = TlsTrackerState.OFFLOAD
    SEARCH = TlsTrackerState.SEARCH
    TRACK = TlsTrackerState.TRACK
    HALTED = TlsTrackerState.HALTED


class Event(enum.Enum):
    """What happens to a tracker."""

    __hash__ = object.__hash__

    HOLE = "data is missing, but no record header with it"
    LOST = "data is missing, and a record header can be in it"
    MISFIT = "bytes where a header must be cannot be one, or no tag fits and no one can be asked"
    CANDIDATE = "the search found bytes that can be a header"
    UNSETTLED = "a whole record was followed and no number fits its tag"
    SETTLED = "a number fits the tag of a record that was followed"
    CONFIRMED = "the host says which number the candidate has"
    REFUTED = "the host says that the candidate is none"
    TIMEOUT = "the host did not answer in time"
    HINT = "the host says, unasked, where a record starts that is followed or to come"
    FORGED = "a record failed authentication"
    KEY_UPDATE = "the peer's last record with this key was decrypted"
    NEW_KEY = "a new key starts at a header that is followed, or at a place that is reached"
    NEW_KEY_BEHIND = "a new key started at a place that was passed, not followed"


class Action(enum.Enum):
    """What is done, in this order, on a transition."""

    __hash__ = object.__hash__

    REMEMBER = "note the last certain record number, and where that record starts"
    STOP = "give up on the record that is passing: it is not whole, or not to be decrypted"
    FORGET = "forget the headers that were followed"
    DROP_QUESTION = "drop the open question"
    ASK = "ask the host about the candidate, if the flow may"
    ASK_NEXT = "ask the host about the next header"


_HOLE, _LOST, _MISFIT, _CANDIDATE = Event.HOLE, Event.LOST, Event.MISFIT, Event.CANDIDATE
_OFFLOAD, _SEARCH, _TRACK, _HALTED = State
_REMEMBER, _STOP, _FORGET, _DROP_QUESTION, _ASK, _ASK_NEXT = Action

TRANSITIONS: Final[dict[tuple[State, Event], tuple[tuple[Action, ...], State]]] = {
    (_OFFLOAD, _HOLE): ((_STOP,), _OFFLOAD),
    (_OFFLOAD, _LOST): ((_REMEMBER, _STOP, _FORGET), _SEARCH),
    (_OFFLOAD, _MISFIT): ((_REMEMBER, _STOP, _FORGET), _SEARCH),
    (_OFFLOAD, Event.HINT): ((), _OFFLOAD),
    (_OFFLOAD, Event.FORGED): ((_STOP,), _HALTED),
    (_OFFLOAD, Event.KEY_UPDATE): ((_STOP,), _HALTED),
    (_OFFLOAD, Event.NEW_KEY): ((_STOP,), _OFFLOAD),
    (_OFFLOAD, Event.NEW_KEY_BEHIND): ((_STOP, _FORGET), _SEARCH),
    (_SEARCH, _LOST): ((), _SEARCH),
    (_SEARCH, _CANDIDATE): ((), _TRACK),
    (_SEARCH, Event.HINT): ((), _OFFLOAD),
    (_SEARCH, Event.NEW_KEY): ((), _OFFLOAD),
    (_SEARCH, Event.NEW_KEY_BEHIND): ((), _SEARCH),
    (_TRACK, _HOLE): ((_STOP, _ASK), _TRACK),
    (_TRACK, _LOST): ((_STOP, _FORGET, _DROP_QUESTION), _SEARCH),
    (_TRACK, _MISFIT): ((_STOP, _FORGET, _DROP_QUESTION), _SEARCH),
    (_TRACK, Event.UNSETTLED): ((_STOP, _ASK), _TRACK),
    (_TRACK, Event.SETTLED): ((_STOP, _DROP_QUESTION), _OFFLOAD),
    (_TRACK, Event.CONFIRMED): ((_STOP,), _OFFLOAD),
    (_TRACK, Event.REFUTED): ((_STOP, _FORGET), _SEARCH),
    (_TRACK, Event.TIMEOUT): ((_DROP_QUESTION, _ASK_NEXT), _TRACK),
    (_TRACK, Event.HINT): ((_STOP, _DROP_QUESTION), _OFFLOAD),
    (_TRACK, Event.NEW_KEY): ((_STOP, _DROP_QUESTION), _OFFLOAD),
    (_TRACK, Event.NEW_KEY_BEHIND): ((), _TRACK),
    (_HALTED, _HOLE): ((), _HALTED),
    (_HALTED, _LOST): ((_FORGET,), _HALTED),
    (_HALTED, _MISFIT): ((_FORGET,), _HALTED),
    (_HALTED, Event.HINT): ((), _OFFLOAD),
    (_HALTED, Event.NEW_KEY): ((), _OFFLOAD),
    (_HALTED, Event.NEW_KEY_BEHIND): ((_FORGET,), _SEARCH),
}
