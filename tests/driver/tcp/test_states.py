"""The state table, walked; and a connection in each state, given each kind of segment."""

import itertools

import pytest
from tcp_link import SECOND, Link, endpoints, pair

from tlsnic.driver.tcp import Connection, State, TcpConfig, wire
from tlsnic.driver.tcp.outgoing import Outgoing, to_frames
from tlsnic.driver.tcp.states import (
    MAY_RECEIVE,
    MAY_WRITE,
    SYNCHRONIZED,
    TRANSITIONS,
    Event,
    next_state,
)
from tlsnic.driver.tcp.wire import Options, build_options


def test_every_state_is_in_the_table_and_can_be_reached_and_left():
    assert set(TRANSITIONS) == set(State)
    reached, new = {State.CLOSED}, {State.CLOSED}
    while new:
        new = {to for state in new for to in TRANSITIONS[state].values()} - reached
        reached |= new
    assert reached == set(State)
    for state in set(State) - {State.CLOSED}:
        ends = {state}
        for _ in State:
            ends |= {to for one in ends for to in TRANSITIONS[one].values()}
        assert State.CLOSED in ends


def test_rst_abort_and_giving_up_end_every_state_that_has_a_peer():
    for state in set(State) - {State.CLOSED, State.LISTEN}:
        for event in (Event.RST, Event.ABORT, Event.GIVE_UP):
            assert next_state(state, event) is State.CLOSED


def test_events_lead_along_the_figure_of_rfc_9293():
    walks = {
        "CONNECT SYN_ACK CLOSE FIN_ACKED FIN QUIET": "SYN_SENT ESTABLISHED FIN_WAIT_1 FIN_WAIT_2"
        " TIME_WAIT CLOSED",
        "LISTEN SYN SYN_ACKED FIN CLOSE FIN_ACKED": "LISTEN SYN_RCVD ESTABLISHED CLOSE_WAIT"
        " LAST_ACK CLOSED",
        "CONNECT SYN SYN_ACKED CLOSE FIN FIN_ACKED": "SYN_SENT SYN_RCVD ESTABLISHED FIN_WAIT_1"
        " CLOSING TIME_WAIT",
    }
    for events, states in walks.items():
        state, visited = State.CLOSED, []
        for name in events.split():
            state = next_state(state, Event[name])
            visited.append(state.name)
        assert visited == states.split()


def test_no_event_goes_back_to_an_earlier_phase():
    """Once synchronized, a connection can only go on towards its end."""
    for state in SYNCHRONIZED:
        for to in TRANSITIONS[state].values():
            assert to in SYNCHRONIZED or to is State.CLOSED
    assert MAY_RECEIVE <= SYNCHRONIZED
    assert {State.ESTABLISHED} == MAY_WRITE & MAY_RECEIVE


def in_state(state):
    """A connection in `state`, by the calls and segments that lead there, and its peer."""
    a, b = pair(TcpConfig(time_wait_ns=SECOND))
    link = Link(a, b)
    if state is State.CLOSED:
        return a, b, link
    if state is State.LISTEN:
        a.listen()
        return a, b, link
    if state is State.SYN_SENT:
        a.connect(link.now_ns)
        link.flush()
        return a, b, link
    if state is State.SYN_RCVD:
        a, b = b, a
        a.listen()
        b.connect(link.now_ns)
        for packet in b.poll(link.now_ns):
            for frame in to_frames(packet):
                a.receive(frame, link.now_ns)
        a.poll(link.now_ns)
        return a, b, link
    link.open()
    if state in (State.FIN_WAIT_1, State.CLOSING):
        a.close(link.now_ns)
        if state is State.CLOSING:
            b.close(link.now_ns)
            frames = [frame for packet in a.poll(link.now_ns) for frame in to_frames(packet)]
            assert frames
            for packet in b.poll(link.now_ns):
                for frame in to_frames(packet):
                    a.receive(frame, link.now_ns)
        a.poll(link.now_ns)
    elif state is State.FIN_WAIT_2:
        a.close(link.now_ns)
        link.run(lambda: a.state is state)
    elif state in (State.CLOSE_WAIT, State.LAST_ACK):
        b.close(link.now_ns)
        link.run(lambda: a.state is State.CLOSE_WAIT)
        if state is State.LAST_ACK:
            a.close(link.now_ns)
            a.poll(link.now_ns)
    elif state is State.TIME_WAIT:
        a.close(link.now_ns)
        link.run(lambda: a.state is State.FIN_WAIT_2)
        b.close(link.now_ns)
        link.run(lambda: a.state is state)
    return a, b, link


@pytest.mark.parametrize("state", State, ids=lambda state: state.name)
def test_the_way_to_each_state(state):
    assert in_state(state)[0].state is state


KINDS = [
    flags | extra
    for flags in (0, wire.SYN, wire.RST, wire.FIN, wire.SYN | wire.FIN)
    for extra in (0, wire.ACK)
]


@pytest.mark.parametrize("state", State, ids=lambda state: state.name)
def test_every_segment_in_every_state(state):
    """No crash, and no state that the table does not allow."""
    for flags, seq_off, ack_off, payload, stamped in itertools.product(
        KINDS, (-1, 0, 1, 70_000, -(2**31)), (-1, 0, 1, 2**31 - 1), (b"", b"x"), (False, True)
    ):
        a, b, link = in_state(state)
        options = build_options(Options(timestamp=(2000, 1000))) if stamped else b""
        seq = (a.rcv_nxt or 5000) + seq_off
        headers = wire.HeaderTemplate(b.endpoint).build(
            seq & 0xFFFF_FFFF, a.snd_nxt + ack_off & 0xFFFF_FFFF, flags, 500, options, len(payload)
        )
        for frame in to_frames(Outgoing(headers, seq & 0xFFFF_FFFF, payload, 0, False)):
            a.receive(frame, link.now_ns)
        after = {state} | set(TRANSITIONS[state].values())
        # The ACK of the SYN or FIN and the peer's FIN can be in one segment.
        after |= {to for one in after for to in TRANSITIONS[one].values()}
        assert a.state in after
        for packet in a.poll(link.now_ns):
            to_frames(packet)
        a.next_deadline_ns()


def test_rst_must_hit_the_next_byte_exactly():
    """RFC 5961, section 3: in the window it is challenged, outside ignored."""
    for offset, ends in ((0, True), (1, False), (-1, False), (100_000_000, False)):
        a, b, link = in_state(State.ESTABLISHED)
        headers = wire.HeaderTemplate(b.endpoint).build(
            a.rcv_nxt + offset & 0xFFFF_FFFF, 0, wire.RST, 0, b"", 0
        )
        a.receive(to_frames(Outgoing(headers, 0, b"", 0, False))[0], link.now_ns)
        assert a.closed is ends
        assert a.statistics.challenge_acks == (offset == 1)


def test_listening_end_that_is_reset_listens_again():
    a, b, link = in_state(State.SYN_RCVD)
    headers = wire.HeaderTemplate(b.endpoint).build(a.rcv_nxt, 0, wire.RST, 0, b"", 0)
    a.receive(to_frames(Outgoing(headers, 0, b"", 0, False))[0], link.now_ns)
    assert a.state is State.LISTEN
    other = Connection(endpoints()[0], TcpConfig(initial_sequence=77))
    other.connect(link.now_ns)
    link.ends = (other, a)
    link.run(lambda: other.established and a.established)
