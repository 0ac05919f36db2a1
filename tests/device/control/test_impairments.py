"""Impairments on a wire that was opened without any: on, off, and what the card notices."""

import pytest
from control_rig import inspector_of
from rig import Rig

from tlsnic.device.control import ControlError
from tlsnic.device.wire import Impairments, ImpairmentStage, format_impairments, parse_impairments

FRAME = bytes(range(60))


@pytest.fixture
def rig():
    """A plain card on a wire that takes super-frames."""
    return Rig(super_frames=True)


@pytest.fixture
def inspector(rig):
    return inspector_of(rig)


@pytest.fixture
def call(inspector):
    return lambda method, **params: inspector.call(method, params)


def send(rig, queue, count):
    for _ in range(count):
        rig.send(queue, FRAME)
        queue.ring_doorbell()
        rig.run()
        queue.reap()


def test_a_good_wire_has_none(call):
    assert call("impairments.get") == {"tx": None, "rx": None, "counters": None}
    assert call("impairments.set", settings="off")["counters"] is None


def test_sent_frames_are_lost_while_it_is_on(rig, inspector, call):
    queue = rig.tx()
    queue.enable()
    rig.start()
    send(rig, queue, 2)
    wire = inspector.cards[0].wire
    shown = call("impairments.set", side="tx", settings={"drop": [0, "2"]})
    assert shown["tx"] == {"drop": "0/2"}
    assert shown["rx"] is None
    send(rig, queue, 4)
    assert len(rig.sent) == 4
    assert call("impairments.get")["counters"]["tx"]["lost"] == 2
    assert not rig.nic.port_gate.takes_super_frames
    call("impairments.set", settings="off")
    assert rig.nic.port_gate.takes_super_frames
    assert inspector.cards[0].wire is wire  # as if it had never been there
    send(rig, queue, 3)
    assert len(rig.sent) == 7


def test_super_frames_are_switched_off_for_receive(rig, call):
    call("impairments.set", side="rx", settings={"delay": "5ms"})
    assert rig.wire.receive_super_frames
    call("impairments.set", side="rx", settings={"loss": 0.00001})
    assert not rig.wire.receive_super_frames
    call("impairments.set", side="rx", settings={"delay": "5ms"})
    assert rig.wire.receive_super_frames


def test_a_stage_stays_until_its_lanes_are_empty(rig, inspector, call):
    card = inspector.cards[0]
    call("impairments.set", side="tx", settings={"delay": "5ms"})
    assert card.wire.send([FRAME], None, 0)
    call("impairments.set", settings="off")
    assert isinstance(card.wire, ImpairmentStage)
    card.wire.receive(lambda *_: None, 1, 5_000_000)
    assert rig.sent == [FRAME]
    call("impairments.set", settings="off")
    assert card.wire is rig.wire


def test_the_stage_that_is_there_is_used(rig, inspector, call):
    card = inspector.cards[0]
    stage = ImpairmentStage(rig.wire, rx=Impairments(loss=0.25))
    card.exchange_wire(stage)
    assert call("impairments.get")["rx"] == {"loss": "25%"}
    call("impairments.set", side="tx", settings={"reorder": "1%", "reorder-gap": 5})
    assert (stage.rx.loss, stage.tx.reorder, stage.tx.reorder_gap) == (0.25, 0.01, 5)


def test_a_seed_repeats_what_happened(rig, call):
    def lost():
        call("impairments.set", side="tx", settings={"loss": "50%"}, seed=7)
        before = len(rig.sent)
        pattern = []
        for _ in range(40):
            rig.nic.port_gate.send([FRAME], None, 0)
            pattern.append(len(rig.sent) - before)
        return pattern

    assert lost() == lost()


@pytest.mark.parametrize(
    "settings",
    [{"loss": "2"}, {"los": "1%"}, {"loss": True}, {"drop": [[]]}, {"delay": "5 m"}, "on", 7, []],
)
def test_bad_settings_change_nothing(inspector, rig, call, settings):
    with pytest.raises(ControlError) as caught:
        call("impairments.set", settings=settings)
    assert caught.value.name == "BAD_PARAMETER"
    assert inspector.cards[0].wire is rig.wire


@pytest.mark.parametrize(
    "texts",
    [
        {},
        {"loss": "0.1%", "corrupt": "33%", "drop": "1/5/9"},
        {"delay": "5ms", "jitter": "250us", "hold": "7ns", "rate": "100mbit", "queue": "7"},
        {
            "rate": "1500bit",
            "delay": "1s",
            "reorder": "1%",
            "reorder-gap": "9",
            "duplicate": "100%",
        },
    ],
)
def test_settings_are_told_as_they_are_written(texts):
    assert format_impairments(parse_impairments(texts)) == texts
