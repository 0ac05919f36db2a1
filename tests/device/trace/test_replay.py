"""A random life of a card is traced, and runs again in the same way; what is changed in it is found."""

import random

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from trace_rig import (
    Memory,
    cards,
    is_secret,
    load_test,
    receive_rig,
    replay,
    rig,
    traced_rigs,
)

from tlsnic.abi import registers as r
from tlsnic.abi.enums import DeviceInput, TlsEvent, TlsTrackerState
from tlsnic.abi.structures import (
    TraceDmaRead,
    TraceDmaWrite,
    TraceInterrupt,
    TraceRegisterRead,
    TraceTlsEvent,
    TraceTlsPacket,
)
from tlsnic.device.core import DmaFault
from tlsnic.device.trace.replay import CoreFailed, Replay
from tlsnic.device.trace.script import Difference

SHORT = settings(
    max_examples=12,
    stateful_step_count=30,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),
)


@pytest.mark.parametrize(
    ("file", "name"), [("test_machine", "Card"), ("test_tls_machine", "Flows")]
)
def test_random_lives_run_again_in_the_same_way(file, name):
    machine = getattr(load_test(file), name)

    class Traced(machine):
        def teardown(self):
            super().teardown()
            for card in cards:
                replay(card.sink)
            cards.clear()

    with traced_rigs():
        run_state_machine_as_test(Traced, settings=SHORT)


def lossy_life(seed=1):
    """A receive flow that loses packets and is asked about; the sink that has it all."""
    with traced_rigs():
        one, wire, handle = receive_rig.begun(
            *[400] * 40, rig=receive_rig.ReceiveRig(), fields={"tag": False}
        )
        one.packets_queue.return_entries(arm=True)
        source = random.Random(seed)
        at = 0
        while at < len(wire):
            end = min(at + source.randint(50, 900), len(wire))
            if source.random() > 0.2:
                one.take(wire, at, end)
                for event in one.told():
                    one.answer(event, wire)
            at = end
        one.destroy(handle)
        assert one.counter("RX_FRAMES")
        (card,) = cards
        cards.clear()
    return card.sink


def test_a_lossy_life_runs_again():
    sink = lossy_life()
    again = replay(sink)
    assert again.progress.number == len(sink.records)
    kinds = {type(one.record) for one in sink.records}
    assert kinds >= {TraceTlsPacket, TraceTlsEvent, TraceDmaRead, TraceDmaWrite, TraceInterrupt}
    events = {one.record.event for one in sink.records if isinstance(one.record, TraceTlsEvent)}
    assert events >= {
        TlsEvent.CREATED, TlsEvent.TRACKER, TlsEvent.ASKED, TlsEvent.ANSWERED, TlsEvent.DESTROYED
    }  # fmt: skip


def changed(sink, index, record=None, data=None):
    """A copy of the sink with another record there."""
    copy = Memory()
    copy.records = list(sink.records)
    one = copy.records[index]
    copy.records[index] = one._replace(
        record=one.record if record is None else record, data=one.data if data is None else data
    )
    return copy


def test_a_flipped_bit_of_what_the_card_did_is_found_where_it_is():
    sink = lossy_life()
    source = random.Random(3)
    written = [
        index
        for index, one in enumerate(sink.records)
        if isinstance(one.record, TraceDmaWrite) and one.data
    ]
    for index in source.sample(written, 30):
        data = bytearray(sink.records[index].data)
        data[source.randrange(len(data))] ^= 1 << source.randrange(8)
        with pytest.raises(Difference) as found:
            replay(changed(sink, index, data=bytes(data)))
        assert found.value.expected.number == sink.records[index].number
        record, was = found.value.found
        assert (record, was) == sink.records[index][1:]


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        (TraceDmaWrite, "address"),
        (TraceInterrupt, "vector"),
        (TraceTlsPacket, "record_number"),
        (TraceTlsEvent, "tcp_sequence"),
        (TraceRegisterRead, "value"),
    ],
)
def test_another_value_of_what_the_card_did_is_found(kind, field):
    sink = lossy_life()
    index, one = next(
        (index, one) for index, one in enumerate(sink.records) if isinstance(one.record, kind)
    )
    wrong = one.record._replace(**{field: getattr(one.record, field) ^ 1})
    with pytest.raises(Difference) as found:
        replay(changed(sink, index, record=wrong))
    assert found.value.expected.number == one.number
    assert found.value.found[0] == one.record


def test_what_is_missing_and_what_is_too_much_are_found():
    sink = lossy_life()
    last = max(
        index for index, one in enumerate(sink.records) if isinstance(one.record, TraceDmaWrite)
    )
    for there, gone in ((True, False), (False, True)):
        copy = Memory()
        copy.records = list(sink.records)
        if there:
            copy.records.insert(last + 1, copy.records[last])
        else:
            del copy.records[last]
        with pytest.raises(Difference) as found:
            replay(copy)
        assert (found.value.found is None) is not gone


def test_a_record_that_breaks_off_is_replayed_as_far_as_it_goes():
    sink = lossy_life()
    for cut in random.Random(5).sample(range(20, len(sink.records)), 25):
        copy = Memory()
        copy.records = sink.records[:cut]
        copy.damage = "cut"
        again = replay(copy)
        assert cut - 40 < again.progress.number <= cut


def test_it_stops_where_it_is_told():
    sink = lossy_life()
    again = Replay(sink)
    assert again.run(lambda happened: happened.number >= 100)
    (card,) = again.cards.values()
    assert 100 <= again.progress.number < 140
    before = card.nic.counters.rx_frames
    assert not again.run()  # and goes on from there
    assert card.nic.counters.rx_frames > before


def test_the_card_is_as_it_then_was():
    with traced_rigs():
        one, wire, handle = receive_rig.begun(3000, 3000)
        one.feed(wire, 0, 2000)
        sink = cards[0].sink
        again = Replay(sink, keep_memory=True)
        again.run()
        (card,) = again.cards.values()
        (flow,) = card.nic.flows
        assert (flow.handle, flow.position) == (handle, 2000)
        assert flow.tracker_state is TlsTrackerState.OFFLOAD
        queue = card.nic.rx_queues[0]
        base, _ = queue.completions.extent
        seen = card.host.views(base, 32, write=False)[0]
        assert bytes(seen) == one.host.read(base, 32)
        card.let_go()
        assert card.core.read(0, r.RX_FRAMES, 8) == 2
        cards.clear()


def test_memory_that_is_shown_afterwards_has_no_keys():
    sink = lossy_life()
    again = Replay(sink, keep_memory=True)
    again.run()
    (card,) = again.cards.values()
    blocks = [one.record for one in sink.records if is_secret(one.record)]
    assert blocks
    for block in blocks:
        with pytest.raises(DmaFault):
            card.host.views(block.address, block.length, write=False)


def test_a_fault_of_the_core_is_part_of_the_record(monkeypatch):
    def fail_without_link(transmitter):
        if not transmitter.link_up:
            raise ZeroDivisionError

    with traced_rigs(), monkeypatch.context() as broken:
        broken.setattr("tlsnic.device.core.transmit.Transmitter.poll", fail_without_link)
        one = rig.Rig()
        sink = cards[0].sink
        one.nic.set_link(False)
        with pytest.raises(ZeroDivisionError):
            one.run()
        assert sink.records[-1].data == b"internal error: ZeroDivisionError"
        one.nic.set_link(True)
        one.run()
        replay(sink)
    cards.clear()


def test_a_fault_of_the_core_that_was_not_then_is_found(monkeypatch):
    sink = lossy_life()

    def fail(_self):
        raise ZeroDivisionError

    monkeypatch.setattr("tlsnic.device.core.transmit.Transmitter.poll", fail)
    with pytest.raises(CoreFailed) as failed:
        replay(sink)
    assert failed.value.cause.record.input == DeviceInput.POLL
    assert isinstance(failed.value.error, ZeroDivisionError)
