"""Sinks come and go: the card is the same, and nothing stands in its way without them."""

import logging

import pytest
from trace_rig import Memory, receive_rig, rig

from tlsnic.abi import registers as r
from tlsnic.abi.enums import DeviceInput, TlsEvent
from tlsnic.abi.structures import TraceInput, TraceRegisterRead, TraceTlsEvent
from tlsnic.device.trace.core import TracedCore
from tlsnic.device.trace.tracer import Tracer
from tlsnic.device.wire import WireError


class Card:
    """A card on the bench with a tracer."""

    def __init__(self):
        self.rig = rig.Rig()
        self.changes = []
        self.unheard = self.rig.nic.receiver.lost
        self.tracer = Tracer(self.rig.nic, 3, self.changes.append)


@pytest.fixture
def card():
    return Card()


def straight(card):
    """Whether nothing is between the core and what is around it."""
    nic, host, wire = card.rig.nic, card.rig.host, card.rig.wire
    gate, receiver, transmitter = nic.host_gate, nic.receiver, nic.transmitter
    return (
        (gate.view, gate.ring_view, gate.entry_view) == (host.view,) * 3
        and (gate.views, gate.block_views, gate.secret_views) == (host.views,) * 3
        and (gate.trigger, gate.set_intx) == (host.trigger, host.set_intx)
        and nic.port_gate.send == wire.send
        and (receiver.follow, receiver.follow_run) == (receiver.tls.follow, receiver.tls.follow_run)
        and receiver.lost is card.unheard
        and transmitter.encrypt == transmitter.tls.encrypt
        and transmitter.check_tuple == transmitter.tls.check_tuple
        and nic.journal.observer is None
        and card.tracer.core is nic
    )


def test_nothing_stands_in_the_way_without_sinks(card):
    assert straight(card)
    one, other = Memory(), Memory()
    card.tracer.add(one)
    assert not straight(card)
    card.tracer.add(other)
    card.tracer.remove(one)
    assert not straight(card)
    card.tracer.remove(other)
    card.tracer.remove(other)
    assert straight(card)
    traced, core = card.changes
    assert isinstance(traced, TracedCore)
    assert core is card.rig.nic
    card.tracer.mark("not told to anybody")


def test_a_new_sink_is_told_what_the_card_is_like(card):
    card.tracer.add(Memory())
    late = Memory()
    card.tracer.add(late)
    start, pci, wire, link = (one.record for one in late.records)
    assert start == TraceInput(
        card=3, now_ns=1_000_000, input=DeviceInput.START,
        argument=10_000, value=0x02_74_6C_73_00_01,
    )  # fmt: skip
    assert (pci.input, pci.argument) == (DeviceInput.PCI, 3)
    assert (wire.input, wire.argument) == (DeviceInput.WIRE, 0)
    assert (link.input, link.argument) == (DeviceInput.LINK, 1)


def test_a_new_sink_is_told_of_the_flows():
    one, _, handle = receive_rig.begun(100)
    sink = Memory()
    Tracer(one.nic).add(sink)
    flow = sink.records[-1].record
    assert isinstance(flow, TraceTlsEvent)
    assert (flow.event, flow.handle, flow.ip_version) == (TlsEvent.CREATED, handle, 4)
    assert (flow.local_port, flow.remote_port) == (40000, 443)
    assert (flow.local_address[:4], flow.remote_address[:4]) == (b"\x0a\0\0\1", b"\x0a\0\0\2")


def test_a_read_comes_before_what_it_causes(card):
    sink = Memory()
    events = card.rig.events()
    events.enable()
    card.rig.write(r.EVENT_ENABLE, 0xF)
    card.tracer.add(sink)
    seen = len(sink.records)
    card.tracer.core.read(0, 0x7FFC, 4)
    kinds = [type(one.record).__name__ for one in sink.records[seen:]]
    assert kinds == ["TraceRegisterRead", "TraceDmaWrite"]
    assert events.completion_is_there


def test_time_is_told_only_with_what_has_none_of_its_own(card):
    sink = Memory()
    card.tracer.add(sink)
    core = card.tracer.core

    def told():
        found = [one.record for one in sink.records[told.seen :]]
        told.seen = len(sink.records)
        return [(type(one).__name__, one.now_ns) for one in found]

    told.seen = len(sink.records)
    core.advance(2_000_000)
    assert told() == []
    core.poll(2_000_000)
    assert told() == [("TraceInput", 2_000_000)]
    core.advance(3_000_000)
    core.read(0, r.STATUS, 4)
    assert told() == [("TraceInput", 3_000_000), ("TraceRegisterRead", 3_000_000)]
    core.receive([], 4_000_000)
    assert told() == []


def test_configuration_bits_are_told_when_they_change(card):
    sink = Memory()
    card.tracer.add(sink)
    card.rig.host.bus_master = False
    seen = len(sink.records)
    card.tracer.core.poll(5_000_000)
    bits = sink.records[seen].record
    assert (bits.input, bits.argument) == (DeviceInput.PCI, 2)


class Full:
    """A sink whose disk is full after so many records."""

    takes_secrets = False

    def __init__(self, room):
        self.room = room
        self.secrets = []

    def put(self, record, data=b""):
        if getattr(record, "flags", 0) & 2:
            self.secrets.append(bytes(data))
        self.room -= 1
        if self.room < 0:
            raise WireError("cannot write: no space", "make room")

    def flush(self):
        pass

    def close(self):
        pass


@pytest.mark.parametrize("room", [0, 2, 4, 5, 6, 20])
def test_the_card_works_on_when_a_sink_breaks(card, room, caplog):
    other = Memory()
    card.tracer.add(Full(room))
    if room == 20:
        card.tracer.add(other)
    core = card.tracer.core
    with caplog.at_level(logging.ERROR, "tlsnic.device"):
        for _ in range(20):
            assert core.read(0, r.MAGIC, 4) == card.rig.nic.peek(0, r.MAGIC, 4)
    assert card.tracer.sinks == ((other,) if room == 20 else ())
    assert straight(card) is not (room == 20)
    if room == 20:
        reads = [one for one in other.records if isinstance(one.record, TraceRegisterRead)]
        assert len(reads) == 20


def test_keys_only_go_where_they_may():
    one = receive_rig.ReceiveRig()
    tracer = Tracer(one.nic)
    blind, trusted = Full(10**6), Memory()
    tracer.add(blind)
    tracer.add(trusted)
    one.nic = Through(tracer)
    wire = receive_rig.Wire()
    one.receive_flow(wire)
    assert blind.secrets == [b""]
    (block,) = [each for each in trusted if getattr(each.record, "flags", 0) & 2]
    assert all(key in block.data for key in wire.keys)


class Through:
    """A `Nic` whose inputs go through a tracer."""

    def __init__(self, tracer):
        self._tracer = tracer

    def __getattr__(self, name):
        core = self._tracer.core
        return getattr(core if hasattr(type(core), name) else self._tracer.nic, name)
