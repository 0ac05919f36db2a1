"""What the card remembers of its flows, besides packets."""

from trace_rig import receive_rig

from tlsnic.abi import registers as r
from tlsnic.abi.enums import TlsEvent, TlsTrackerState
from tlsnic.device.core.journal import GONE_FLOWS, NOTES_PER_FLOW, RESYNC_NOTES

OFFLOAD, SEARCH, TRACK = TlsTrackerState.OFFLOAD, TlsTrackerState.SEARCH, TlsTrackerState.TRACK


def events(notes):
    return [note.event.name for note in notes]


def lost(rig, wire, begin, size=1000):
    """A packet that is lost, and one after it."""
    rig.take(wire, begin + size, begin + 2 * size)


def test_a_resync_is_in_the_history():
    rig, wire, handle = receive_rig.begun(*[700] * 12)
    journal, flow = rig.nic.journal, rig.nic.flows.get(handle)
    rig.feed(wire, 0, 1000)
    lost(rig, wire, 1000)
    question = rig.question()
    rig.answer(question, wire)
    notes = journal.history(flow)
    assert events(notes) == ["CREATED", "TRACKER", "TRACKER", "ASKED", "TRACKER", "ANSWERED"]
    states = [(note.old_state, note.new_state) for note in notes if note.event == TlsEvent.TRACKER]
    assert states == [(OFFLOAD, SEARCH), (SEARCH, TRACK), (TRACK, OFFLOAD)]
    asked, resumed, answered = notes[3:]
    # With the number that the answer led to, not what was counted from the candidate on.
    assert resumed.record_number == flow.record_number >= answered.record_number > 0
    assert asked.tcp_sequence == answered.tcp_sequence == question.tcp_sequence
    assert asked.question == answered.question == question.question == 1
    assert (answered.old_state, answered.new_state) == (TRACK, OFFLOAD)
    assert list(journal.resync) == [asked, answered]
    rig.answer(question, wire)
    assert events(journal.resync) == ["ASKED", "ANSWERED", "STALE"]
    rig.hint(handle, wire.sequence, 0)
    assert journal.history(flow)[-1].event == TlsEvent.HINTED


def test_a_history_is_short_and_outlives_its_flow():
    rig, wire, handle = receive_rig.begun(100)
    journal, flow = rig.nic.journal, rig.nic.flows.get(handle)
    one_note = len(flow.history)
    assert one_note <= 40
    for _ in range(300):
        rig.hint(handle, wire.sequence, 0)
    assert len(journal.history(flow)) == NOTES_PER_FLOW
    assert len(flow.history) == NOTES_PER_FLOW * one_note
    assert len(journal.resync) == RESYNC_NOTES
    rig.destroy(handle)
    assert events(journal.history_of_gone(handle))[-1] == "DESTROYED"
    assert journal.gone == [handle]
    for number in range(GONE_FLOWS):
        rig.destroy(rig.receive_flow(receive_rig.Wire(), local_port=number + 1))
    assert len(journal.gone) == GONE_FLOWS
    assert journal.history_of_gone(handle) == []


def test_a_reset_is_the_end_of_all_histories():
    rig, _, handle = receive_rig.begun(100)
    seen = []
    rig.nic.journal.observer = lambda note, flow: seen.append((note.event, flow.handle))
    rig.write(r.CONTROL, r.CONTROL_RESET_MASK)
    assert seen == [(TlsEvent.RESET, handle)]
    assert events(rig.nic.journal.history_of_gone(handle)) == ["CREATED", "RESET"]
