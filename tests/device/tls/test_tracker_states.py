"""The tracker's table: every state with every event."""

import itertools

from tlsnic.abi.enums import TlsTrackerState
from tlsnic.device.tls.tracker_states import TRANSITIONS, Action, Event, State

CANNOT_OCCUR = {
    State.OFFLOAD: {"CANDIDATE", "UNSETTLED", "SETTLED", "CONFIRMED", "REFUTED", "TIMEOUT"},
    State.SEARCH: {
        "HOLE", "MISFIT", "UNSETTLED", "SETTLED", "CONFIRMED", "REFUTED", "TIMEOUT", "FORGED",
        "KEY_UPDATE",
    },
    State.TRACK: {"CANDIDATE", "FORGED", "KEY_UPDATE"},
    State.HALTED: {
        "CANDIDATE", "UNSETTLED", "SETTLED", "CONFIRMED", "REFUTED", "TIMEOUT", "FORGED",
        "KEY_UPDATE",
    },
}  # fmt: skip


def test_every_pair_is_in_the_table_or_cannot_occur():
    for state, event in itertools.product(State, Event):
        assert ((state, event) in TRANSITIONS) != (event.name in CANNOT_OCCUR[state]), (
            state,
            event,
        )


def test_states_are_those_of_the_interface():
    assert {state.value for state in State} == set(TlsTrackerState) - {TlsTrackerState.NONE}


def test_a_question_is_open_in_track_only():
    """What leaves TRACK drops it, except an answer, which is its end."""
    for (state, event), (actions, after) in TRANSITIONS.items():
        leaves = state is State.TRACK and after is not State.TRACK
        answered = event in (Event.CONFIRMED, Event.REFUTED)
        timed_out = event is Event.TIMEOUT
        assert (Action.DROP_QUESTION in actions) == ((leaves and not answered) or timed_out)


def test_a_record_that_is_being_decrypted_or_kept_is_given_up_when_the_state_changes():
    for (state, _), (actions, after) in TRANSITIONS.items():
        if state in (State.OFFLOAD, State.TRACK) and after is not state:
            assert Action.STOP in actions


def test_the_last_certain_number_is_noted_when_it_is_lost():
    for (state, event), (actions, _) in TRANSITIONS.items():
        lost = state is State.OFFLOAD and event in (Event.LOST, Event.MISFIT)
        assert (Action.REMEMBER in actions) == lost


def test_every_state_leads_back_to_offload():
    """By host, tag, hint or key alone, as far as the state can be left by it."""
    ends = {Event.CONFIRMED, Event.SETTLED, Event.HINT, Event.NEW_KEY}
    for way in ends:
        reached = {State.OFFLOAD}
        while True:
            found = {
                state
                for (state, event), (_, after) in TRANSITIONS.items()
                if after in reached and (event is way or event not in ends)
            }
            if found <= reached:
                break
            reached |= found
        assert reached >= {State.SEARCH, State.TRACK}
        assert (State.HALTED in reached) == (way in (Event.HINT, Event.NEW_KEY)) or (
            (State.HALTED, Event.NEW_KEY_BEHIND) in TRANSITIONS
        )


def test_every_state_event_and_action_is_used():
    assert {event for _, event in TRANSITIONS} == set(Event)
    assert {action for actions, _ in TRANSITIONS.values() for action in actions} == set(Action)
    assert {state for _, state in TRANSITIONS.values()} == set(State)
