"""Faults: each does what it says for as long as it says, and leaves nothing behind."""

import pytest
from receive_rig import AS_ON_WIRE, AUTH_FAILED, DECRYPTED, begun, frame_of, make_packet
from stream_bench import Stream
from tls_rig import GCM

from tlsnic.abi import registers as r
from tlsnic.abi.enums import CommandStatus, Diagnostic, RxFlags
from tlsnic.device.control import ControlError
from tlsnic.device.control.faults import FAULTS
from tlsnic.device.control.faults.registers import MAX_KEPT

MS = 1_000_000


@pytest.fixture
def card(inspector):
    return inspector.cards[0]


def state(call, name):
    (found,) = [fault for fault in call("faults.list") if fault["name"] == name]
    return found


def send(rig, count=1):
    for _ in range(count):
        rig.send(rig.queue, bytes(60))
    rig.queue.ring_doorbell()
    rig.run()


def receive(card, rig, frame):
    """A frame comes by the card's wire."""
    rig.wire.inject(frame)
    arrived = []
    card.wire.receive(lambda view, vnet: arrived.append((bytes(view), vnet)), 64, rig.now_ns)
    rig.nic.receive(arrived, rig.now_ns)


def nothing_is_left(rig, card):
    gate = rig.nic.host_gate
    return (
        card.wire is rig.wire
        and rig.nic.port_gate.port is rig.wire
        and gate.host is rig.host
        and "publish" not in vars(rig.nic.events)
        and "add" not in vars(rig.nic.flows)
        and card.bus is rig.nic
        and card.timer is None
    )


# All of them


def test_each_says_what_it_is_and_is_off(call):
    faults = call("faults.list")
    assert len(faults) == len(FAULTS) >= 12
    for fault in faults:
        assert not fault["on"]
        assert all(fault[key] for key in ("what", "seen", "must", "params"))


@pytest.mark.parametrize("name", FAULTS)
def test_each_goes_on_and_off(rig, card, call, name):
    call("faults.set", name=name)
    listed = state(call, name)
    once = name == "spurious_interrupts"
    assert listed["on"] is not once
    assert call("faults.clear") == {"cleared": [] if once else [name]}
    assert nothing_is_left(rig, card)
    assert not state(call, name)["on"]


def test_all_at_once(rig, card, call):
    for name in FAULTS:
        call("faults.set", name=name)
    send(rig, 3)
    for name in list(FAULTS)[::2]:
        call("faults.clear", name=name)
    send(rig, 3)
    call("faults.clear")
    assert nothing_is_left(rig, card)


@pytest.mark.parametrize(
    ("params", "name"),
    [
        ({"name": "explode"}, "BAD_PARAMETER"),
        ({}, "BAD_PARAMETER"),
        ({"name": "drop_frames", "count": 0}, "BAD_PARAMETER"),
        ({"name": "drop_frames", "frames": 1}, "BAD_PARAMETER"),
        ({"name": "hold_completions", "number": 99}, "NOT_FOUND"),
    ],
)
def test_wrong_settings(rig, card, call, params, name):
    with pytest.raises(ControlError) as caught:
        call("faults.set", **params)
    assert caught.value.name == name
    assert nothing_is_left(rig, card)


# The wire


def test_drop_frames(rig, card, call):
    call("faults.set", name="drop_frames", side="tx", count=2, after=1)
    send(rig, 5)
    assert len(rig.sent) == 3
    assert not state(call, "drop_frames")["on"]  # it was for two
    assert nothing_is_left(rig, card)
    _, wire, _ = begun(2000, rig=rig)
    call("faults.set", name="drop_frames", count=None)
    for at in range(0, 1000, 100):
        receive(card, rig, frame_of(wire, at, at + 100))
    assert state(call, "drop_frames")["acted"] == 10
    assert rig.packets() == []


def test_corrupt_frame(rig, card, call):
    _, wire, handle = begun(2000, rig=rig)
    call("faults.set", name="corrupt_frame", byte=100)
    receive(card, rig, frame_of(wire, 0, 500))
    packet = rig.packet()
    assert packet.mark[0] is AS_ON_WIRE
    assert packet.completion.flags & RxFlags.L4_CHECKSUM_BAD
    assert rig.flow(handle).not_offloaded == 1


def test_a_seed_repeats_what_was_corrupted(rig, call):
    def sent():
        call("faults.set", name="corrupt_frame", side="tx", count=20, seed=5)
        rig.wire.sent.clear()
        for _ in range(20):
            rig.nic.port_gate.send([bytes(200)], None, 0)
        return rig.sent

    first = sent()
    assert first == sent()
    assert len(set(first)) > 10


@pytest.mark.parametrize("begin", [0, 700], ids=["at a header", "inside a record"])
@pytest.mark.parametrize("ip_version", [4, 6])
def test_corrupt_tag(rig, card, call, begin, ip_version):
    _, wire, handle = begun(1000, 1000, rig=rig, fields={"ip_version": ip_version})
    options = {"ip_version": ip_version}
    if begin:
        receive(card, rig, frame_of(wire, 0, begin, **options))
        assert rig.packet().state is DECRYPTED
    call("faults.set", name="corrupt_tag", handle=handle)
    receive(card, rig, frame_of(wire, begin, begin + 400, **options))
    assert state(call, "corrupt_tag")["on"] is False
    receive(card, rig, frame_of(wire, begin + 400, 1200, **options))
    packets = rig.packets()
    assert not any(packet.completion.flags & RxFlags.L4_CHECKSUM_BAD for packet in packets)
    assert AUTH_FAILED in [packet.state for packet in packets]
    assert rig.diagnostics == [Diagnostic.TLS_AUTH]
    assert call("flows.show", handle=handle)["state"] == "HALTED"


def test_corrupt_tag_leaves_other_packets_alone(rig, card, call):
    _, wire, _ = begun(1000, 1000, rig=rig)
    call("faults.set", name="corrupt_tag")
    others = [
        make_packet(5, b"x" * 100, local_port=7),
        frame_of(wire, 1400, 1500),  # out of order
        frame_of(wire, 0, 3),  # nothing protected in it
        frame_of(wire, 0, 300, bad_tcp=True),
        b"x" * 60,
    ]
    for frame in others:
        arrived = []
        rig.wire.inject(frame)
        card.wire.receive(lambda view, _: arrived.append(bytes(view)), 64, rig.now_ns)  # noqa: B023
        assert arrived == [frame]
    assert state(call, "corrupt_tag")["acted"] == 0


def test_link_flap(rig, card, call):
    call("faults.set", name="link_flap", ms=5)
    assert not card.wire.link_up
    assert card.wire.send([bytes(60)], None, rig.now_ns)
    receive(card, rig, bytes(60))
    assert rig.sent == []
    assert rig.counter("RX_WIRE_FRAMES") == 0
    assert card.timer.next_deadline_ns() == rig.now_ns + 5 * MS
    rig.now_ns += 5 * MS
    card.timer.turn(rig.now_ns)
    assert card.wire.link_up
    assert nothing_is_left(rig, card)


def test_stall_wire(rig, card, call):
    call("faults.set", name="stall_wire")
    send(rig, 3)
    assert rig.sent == []
    assert rig.counter("TX_WIRE_BUSY")
    assert call("queues.show", kind="TRANSMIT")["waits_for"].startswith("the wire")
    call("faults.clear", name="stall_wire")
    rig.nic.wire_writable(rig.now_ns)
    rig.run()
    assert len(rig.sent) == 3
    assert nothing_is_left(rig, card)


# The host


def test_fail_dma_of_data(rig, card, call):
    send(rig)
    rig.queue.reap()
    call("faults.set", name="fail_dma", purpose="data")
    send(rig)
    assert rig.queue.error == Diagnostic.DMA_FAULT
    rig.queue.disable()
    rig.queue.enable()
    send(rig)
    assert len(rig.queue.reap()) == 1
    call("faults.list")
    assert nothing_is_left(rig, card)


@pytest.mark.parametrize("purpose", ["descriptor", "completion"])
def test_fail_dma_of_rings_that_are_mapped_already(rig, card, call, purpose):
    send(rig)
    rig.queue.reap()
    call("faults.set", name="fail_dma", purpose=purpose, after=1)
    send(rig)
    assert len(rig.queue.reap()) == 1
    send(rig)
    assert rig.queue.error == Diagnostic.DMA_FAULT
    shown = call("queues.show", kind="TRANSMIT")
    ring = rig.queue.ring if purpose == "descriptor" else rig.queue.completion
    assert ring <= shown["error_address"] < ring + 4096


def test_fail_dma_of_a_range(rig, call):
    address = rig.place(bytes(64))
    call("faults.set", name="fail_dma", address=address, size=64, write=False)
    assert rig.host.view(address, 64, False)
    with pytest.raises(Exception, match="not mapped"):
        rig.nic.host_gate.view(address - 32, 33, False)
    call("faults.set", name="fail_dma", address=address, size=64, write=False)
    for begin, length, write in (
        (address, 64, True),
        (address - 9, 9, False),
        (address + 64, 9, False),
    ):
        assert rig.nic.host_gate.view(begin, length, write)


def test_hold_completions(rig, card, call):
    rig.queue.return_entries(arm=True)
    send(rig)
    assert len(rig.queue.reap()) == 1
    rig.queue.return_entries(arm=True)
    rig.host.triggered.clear()
    call("faults.set", name="hold_completions")
    send(rig, 4)
    assert len(rig.sent) == 5
    assert rig.queue.reap() == []
    assert rig.host.triggered == []
    assert call("queues.show", kind="TRANSMIT")["producer"] == 5
    call("faults.clear")
    assert rig.host.triggered == [0]
    assert len(rig.queue.reap()) == 4
    assert nothing_is_left(rig, card)
    send(rig)
    assert len(rig.queue.reap()) == 1


def test_an_interrupt_that_tells_of_another_queue_is_not_held(rig, call):
    call("faults.set", name="hold_completions")
    rig.queue.return_entries(arm=True)
    rig.receive(make_packet(5, b"x"))
    send(rig)
    assert rig.host.triggered == [0]


def test_hold_completions_over_the_end_of_a_ring_for_a_time(rig, card, call):
    for _ in range(60):
        send(rig)
        rig.queue.reap()
    call("faults.set", name="hold_completions", ms=3)
    for _ in range(20):
        send(rig)
    assert rig.queue.reap() == []
    rig.now_ns += 3 * MS
    card.timer.turn(rig.now_ns)
    assert len(rig.queue.reap()) == 20


def test_held_completions_of_a_queue_that_was_begun_anew_are_forgotten(rig, call):
    call("faults.set", name="hold_completions")
    send(rig, 2)
    rig.queue.disable()
    before = rig.host.read(rig.queue.completion, 1024)
    call("faults.clear")
    assert rig.host.read(rig.queue.completion, 1024) == before
    call("faults.set", name="hold_completions")
    rig.queue.enable()
    send(rig, 2)
    rig.queue.disable()
    rig.queue.enable()
    send(rig, 1)
    call("faults.clear")
    assert len(rig.queue.reap()) == 1


def test_held_completions_up_to_the_end_of_a_ring_are_not_those_of_the_next(rig, call):
    for _ in range(60):
        send(rig)
        rig.queue.reap()
    call("faults.set", name="hold_completions")
    send(rig, 4)
    rig.queue.disable()
    rig.queue.enable()
    before = rig.host.read(rig.queue.completion, 1024)
    call("faults.clear")
    assert rig.host.read(rig.queue.completion, 1024) == before


def test_swallow_interrupts(rig, call):
    call("faults.set", name="swallow_interrupts", vector=0, count=2)
    for vector in (0, 1, 0, 0):
        rig.write(r.INT_TRIGGER, 1 << vector)
    assert rig.host.triggered == [1, 0]


def test_swallow_an_intx_edge(rig, call):
    rig.host.msix_enabled = False
    call("faults.set", name="swallow_interrupts")
    rig.write(r.INT_ENABLE, 1)
    rig.write(r.INT_TRIGGER, 1)
    assert not rig.host.intx


def test_spurious_interrupts(rig, call):
    call("faults.set", name="spurious_interrupts", vector=3, count=2)
    assert rig.host.triggered == [3, 3]
    rig.host.bus_master = False
    with pytest.raises(ControlError, match="Bus Master"):
        call("faults.set", name="spurious_interrupts")


# The bus


def test_doorbells_are_late_and_in_order(rig, card, call):
    call("faults.set", name="delay_doorbells", us=50)
    rig.send(rig.queue, bytes(60))
    card.bus.write(2, rig.queue.doorbell, 4, rig.queue.tail)
    rig.run()
    assert rig.sent == []
    assert card.timer.next_deadline_ns() == rig.now_ns + 50_000
    rig.now_ns += 50_000
    card.timer.turn(rig.now_ns)
    rig.run()
    assert len(rig.sent) == 1


@pytest.mark.parametrize("how", ["read", "write", "clear"])
def test_what_comes_behind_pushes_doorbells(rig, card, call, how):
    call("faults.set", name="delay_doorbells")
    rig.send(rig.queue, bytes(60))
    card.bus.write(2, rig.queue.doorbell, 4, rig.queue.tail)
    if how == "read":
        assert card.bus.read(0, r.TX_QUEUE_TAIL, 4) == rig.queue.tail
    elif how == "write":
        card.bus.write(0, r.MAX_FRAME, 4, 1514)
    else:
        call("faults.clear")
    rig.run()
    assert len(rig.sent) == 1


def test_no_more_doorbells_are_late_than_a_bus_has_room_for(rig, card, call):
    call("faults.set", name="delay_doorbells", us=60_000_000)
    rig.send(rig.queue, bytes(60))
    for _ in range(MAX_KEPT):
        card.bus.write(2, rig.queue.doorbell, 4, rig.queue.tail)
    rig.run()
    assert rig.sent == []
    card.bus.write(2, rig.queue.doorbell, 4, rig.queue.tail)
    rig.run()
    assert len(rig.sent) == 1


def test_a_reset_overtakes_doorbells(rig, card, call):
    call("faults.set", name="delay_doorbells")
    card.bus.write(2, rig.queue.doorbell, 4, 1)
    call("device.reset")
    call("faults.clear")
    assert rig.diagnostics == []


# The core


def test_lose_questions(rig, card, call):
    _, wire, _ = begun(*[700] * 12, rig=rig)
    call("faults.set", name="lose_questions")
    rig.feed(wire, 0, 1000)
    rig.feed(wire, 2500, 3500)
    assert rig.told() == []
    assert call("resync.log")[-1]["event"] == "ASKED"
    rig.feed(wire, 5500, 6500)  # the header it follows is lost: it asks about another one
    event = rig.question()
    assert event.sequence == 1  # 0 is missing
    call("faults.list")
    assert nothing_is_left(rig, card)


def test_refuse_flows(rig, card, call):
    call("faults.set", name="refuse_flows", direction="transmit", count=1)
    begun(rig=rig)
    stream = Stream(GCM)
    assert rig.try_create(rig.flow_block(stream)).status == CommandStatus.TABLE_FULL
    assert rig.create(stream)
    call("faults.list")
    assert nothing_is_left(rig, card)
