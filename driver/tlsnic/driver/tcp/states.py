"""The connection's states as one table (RFC 9293, section 3.3.2, figure 5).

`TRANSITIONS` says everything: an event that a state does not list leaves the state as it is.
A segment that is several events at once (an ACK of our FIN that carries the peer's FIN) is fed as
several, the acknowledgement first.
"""

from __future__ import annotations

from enum import Enum


class State(Enum):
    """States of a connection, by the names of RFC 9293."""

    CLOSED = "CLOSED"
    LISTEN = "LISTEN"
    SYN_SENT = "SYN-SENT"
    SYN_RCVD = "SYN-RECEIVED"
    ESTABLISHED = "ESTABLISHED"
    FIN_WAIT_1 = "FIN-WAIT-1"
    FIN_WAIT_2 = "FIN-WAIT-2"
    CLOSING = "CLOSING"
    CLOSE_WAIT = "CLOSE-WAIT"
    LAST_ACK = "LAST-ACK"
    TIME_WAIT = "TIME-WAIT"


class Event(Enum):
    """What can change the state."""

    LISTEN = "passive open"
    CONNECT = "active open"
    CLOSE = "the user closes"
    ABORT = "the user aborts"
    SYN = "a SYN without ACK comes"
    SYN_ACK = "a SYN comes that acknowledges ours"
    SYN_ACKED = "our SYN is acknowledged"
    FIN = "the peer's FIN is reached, in order"
    FIN_ACKED = "our FIN is acknowledged"
    RST = "a valid RST comes"
    GIVE_UP = "the peer does not answer"
    QUIET = "two maximum segment lifetimes have passed"


_S, _E = State, Event
_ENDS = {_E.ABORT: _S.CLOSED, _E.RST: _S.CLOSED, _E.GIVE_UP: _S.CLOSED}

TRANSITIONS: dict[State, dict[Event, State]] = {
    _S.CLOSED: {_E.LISTEN: _S.LISTEN, _E.CONNECT: _S.SYN_SENT},
    _S.LISTEN: {
        _E.SYN: _S.SYN_RCVD,
        _E.CONNECT: _S.SYN_SENT,
        _E.CLOSE: _S.CLOSED,
        _E.ABORT: _S.CLOSED,
    },
    _S.SYN_SENT: {
        **_ENDS,
        _E.SYN: _S.SYN_RCVD,
        _E.SYN_ACK: _S.ESTABLISHED,
        _E.CLOSE: _S.CLOSED,
    },
    _S.SYN_RCVD: {
        **_ENDS,
        _E.SYN_ACKED: _S.ESTABLISHED,
        _E.CLOSE: _S.FIN_WAIT_1,
        _E.FIN: _S.CLOSE_WAIT,
    },
    _S.ESTABLISHED: {**_ENDS, _E.CLOSE: _S.FIN_WAIT_1, _E.FIN: _S.CLOSE_WAIT},
    _S.FIN_WAIT_1: {**_ENDS, _E.FIN_ACKED: _S.FIN_WAIT_2, _E.FIN: _S.CLOSING},
    _S.FIN_WAIT_2: {**_ENDS, _E.FIN: _S.TIME_WAIT},
    _S.CLOSE_WAIT: {**_ENDS, _E.CLOSE: _S.LAST_ACK},
    _S.CLOSING: {**_ENDS, _E.FIN_ACKED: _S.TIME_WAIT},
    _S.LAST_ACK: {**_ENDS, _E.FIN_ACKED: _S.CLOSED},
    _S.TIME_WAIT: {**_ENDS, _E.QUIET: _S.CLOSED},
}

MAY_WRITE = frozenset({_S.SYN_SENT, _S.SYN_RCVD, _S.ESTABLISHED, _S.CLOSE_WAIT})
"""The user may append to the stream (it is sent once the connection is established)."""

MAY_RECEIVE = frozenset({_S.ESTABLISHED, _S.FIN_WAIT_1, _S.FIN_WAIT_2})
"""The peer's stream goes on: it has not sent its FIN."""

SYNCHRONIZED = frozenset(
    {
        _S.ESTABLISHED,
        _S.FIN_WAIT_1,
        _S.FIN_WAIT_2,
        _S.CLOSING,
        _S.CLOSE_WAIT,
        _S.LAST_ACK,
        _S.TIME_WAIT,
    }
)
"""Both sides know the other's sequence numbers (RFC 9293, section 3.4)."""


def next_state(state: State, event: Event) -> State:
    """Where `event` leads from `state`."""
    return TRANSITIONS[state].get(event, state)
