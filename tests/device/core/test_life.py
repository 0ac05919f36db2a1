"""Queues, interrupts, commands, events and resets."""

import pytest
from rig import Rig

from tlsnic.abi import registers as r
from tlsnic.abi.enums import (
    CommandOpcode,
    CommandStatus,
    Diagnostic,
    EventMask,
    EventType,
    QueueKind,
    QueueState,
    TxFlags,
)
from tlsnic.abi.structures import COMMANDS, NopCommand, StatisticsCommand, TxDescriptor
from tlsnic.device.core import ResetKind
from tlsnic.device.core.counters import BLOCK_BYTES


@pytest.mark.parametrize(
    ("name", "value", "width", "expected"),
    [
        ("RING_BASE", 0, 8, Diagnostic.RING_BASE_ZERO),
        ("COMPLETION_BASE", 0, 8, Diagnostic.RING_BASE_ZERO),
        ("RING_BASE", 0x1020, 8, Diagnostic.RING_ALIGNMENT),
        ("RING_SIZE", 0, 4, Diagnostic.RING_SIZE),
        ("RING_SIZE", 12, 4, Diagnostic.RING_SIZE),
        ("RING_SIZE", 4, 4, Diagnostic.RING_SIZE),
        ("COMPLETION_SIZE", 1 << 16, 4, Diagnostic.RING_SIZE),
        ("VECTOR", 64, 4, Diagnostic.VECTOR_INVALID),
    ],
)
def test_bad_configuration_is_an_error_of_that_queue(rig, name, value, width, expected):
    tx, other = rig.tx(0), rig.tx(1)
    other.enable()
    tx.enable()
    tx.disable()
    rig.write(tx.register(name), value, width)
    rig.write(tx.register("CONTROL"), 1)
    assert (tx.state, tx.error) == (QueueState.ERROR, expected)
    assert other.state is QueueState.RUNNING
    tx.disable()
    tx.enable()
    assert tx.state is QueueState.RUNNING


def test_configuration_of_a_running_queue_cannot_change(rig):
    tx = rig.tx()
    tx.enable()
    before = rig.read(tx.register("RING_BASE"), 8)
    rig.write(tx.register("RING_BASE"), 0x4000, 8)
    assert rig.read(tx.register("RING_BASE"), 8) == before
    assert rig.diagnostics == [Diagnostic.QUEUE_BUSY]


def test_tail_out_of_range_stops_that_queue(rig):
    tx, other = rig.tx(0), rig.tx(1)
    tx.enable()
    other.enable()
    rig.start()
    rig.doorbell(tx.doorbell, tx.entries)
    assert (tx.state, tx.error) == (QueueState.ERROR, Diagnostic.DOORBELL_RANGE)
    rig.send(other, b"\x02" * 60)
    other.ring_doorbell()
    rig.run()
    assert len(rig.sent) == 1


def test_doorbell_of_a_disabled_queue_is_told(rig):
    rig.doorbell(r.TX_DOORBELL_TAIL, 1)
    rig.doorbell(r.RX_DOORBELL_COMPLETION, 1)
    assert rig.diagnostics == [Diagnostic.DOORBELL_DISABLED] * 2


def test_tail_of_the_event_queue_is_told(rig):
    rig.doorbell(r.EVENT_DOORBELL_TAIL, 1)
    assert rig.diagnostics == [Diagnostic.DOORBELL_DISABLED]


def test_reserved_bit_of_a_tail_doorbell_is_told(rig):
    tx = rig.tx()
    tx.enable()
    rig.start()
    rig.send(tx, b"\x02" * 60)
    rig.doorbell(tx.doorbell, tx.tail | 1 << 31)
    rig.run()
    assert rig.diagnostics == [Diagnostic.REG_RESERVED_BITS]
    assert len(rig.sent) == 1


def test_enabling_a_queue_in_error_again_is_told(rig):
    tx = rig.tx()
    tx.enable()
    rig.doorbell(tx.doorbell, tx.entries)
    rig.write(tx.register("CONTROL"), 1)
    assert tx.state is QueueState.ERROR
    assert rig.diagnostics == [Diagnostic.DOORBELL_RANGE, Diagnostic.QUEUE_BUSY]


def test_consumer_index_past_the_producer_is_told(rig):
    tx = rig.tx()
    tx.enable()
    rig.doorbell(tx.doorbell + 4, 1)
    rig.doorbell(tx.doorbell + 4, 99)
    assert rig.diagnostics == [Diagnostic.COMPLETION_INDEX] * 2


def test_rings_wrap_for_many_laps(rig):
    tx = rig.tx(entries=8)
    tx.enable()
    rig.start()
    address = rig.place(b"\x02" * 60)
    entry = TxDescriptor(address, 60, TxFlags.END_OF_PACKET | TxFlags.REPORT).pack()
    done = 0
    for batch in range(50):
        for _ in range(batch % 7 + 1):
            tx.post(entry)
        tx.ring_doorbell()
        rig.run()
        done += len(tx.reap())
    assert done == len(rig.sent) == sum(batch % 7 + 1 for batch in range(50))


# Interrupts


def one_packet(rig, tx):
    rig.send(tx, b"\x02" * 60)
    tx.ring_doorbell()
    rig.run()


@pytest.fixture
def tx(rig):
    queue = rig.tx()
    queue.enable(vector=5)
    rig.start()
    return queue


def test_interrupt_needs_arming_and_comes_once(rig, tx):
    one_packet(rig, tx)
    assert rig.host.triggered == []
    tx.reap()
    tx.return_entries(arm=True)
    one_packet(rig, tx)
    one_packet(rig, tx)
    assert rig.host.triggered == [5]


def test_arming_behind_the_producer_fires_at_once(rig, tx):
    one_packet(rig, tx)
    tx.return_entries(arm=True)
    assert rig.host.triggered == [5]


def test_moderation_by_time_and_by_count(rig, tx):
    rig.write(r.MODERATION + 4 * 5, 100 | 3 << 16)
    tx.return_entries(arm=True)
    one_packet(rig, tx)
    assert rig.host.triggered == []
    assert rig.nic.next_deadline_ns() == rig.now_ns + 100_000
    rig.run(after_ns=99_999)
    assert rig.host.triggered == []
    rig.run(after_ns=1)
    assert rig.host.triggered == [5]
    tx.reap()
    tx.return_entries(arm=True)
    for _ in range(3):
        one_packet(rig, tx)
    assert rig.host.triggered == [5, 5]


@pytest.mark.parametrize("vector", [0, 1, 31, 32, 63])
def test_every_vector_can_be_triggered(rig, vector):
    rig.write(r.INT_TRIGGER, 1 << vector, 8)
    assert rig.host.triggered == [vector]
    assert rig.counter("INTERRUPTS") == 1


def test_no_interrupt_without_bus_mastering(rig, tx):
    rig.host.bus_master = False
    rig.write(r.INT_TRIGGER, 2, 8)
    assert rig.host.triggered == []
    assert Diagnostic.BUS_MASTER_OFF in rig.diagnostics
    rig.host.bus_master = True
    rig.run()
    assert rig.host.triggered == [1]


def test_intx_follows_cause_enable_and_disable_bit(rig):
    host = rig.host
    host.msix_enabled = False
    rig.write(r.INT_TRIGGER, 1, 8)
    assert not host.intx
    rig.write(r.INT_ENABLE, 1, 8)
    assert host.intx
    host.intx_disabled = True  # what uio_pci_generic does in its interrupt handler
    rig.run()
    assert not host.intx
    host.intx_disabled = False
    rig.run()
    assert host.intx
    assert host.intx_edges == 2
    rig.write(r.INT_CAUSE, 1, 8)
    assert not host.intx


# Commands


@pytest.fixture
def admin(rig):
    queue = rig.admin()
    queue.enable()
    return queue


def command(rig, admin, entry):
    admin.post(entry)
    admin.ring_doorbell()
    rig.run()
    (response,) = admin.reap()
    return response


def test_nop_is_answered(rig, admin):
    response = command(rig, admin, NopCommand(command_id=0xCAFE_F00D).pack())
    assert (response.command_id, response.opcode, response.status) == (
        0xCAFE_F00D,
        0,
        CommandStatus.OK,
    )


def test_unknown_opcode_is_refused(rig, admin):
    entry = (0x7777).to_bytes(2, "little") + bytes(30)
    response = command(rig, admin, entry)
    assert response.status == CommandStatus.BAD_OPCODE
    assert rig.diagnostics == [Diagnostic.COMMAND_UNKNOWN]


@pytest.mark.parametrize("opcode", sorted(COMMANDS))
def test_reserved_bits_of_every_command_are_refused(rig, admin, opcode):
    kind = COMMANDS[opcode]
    for bit in (bit for bit in range(256) if kind.RESERVED >> bit & 1):
        entry = bytearray(kind(opcode=opcode).pack())
        entry[bit >> 3] |= 1 << (bit & 7)
        assert command(rig, admin, bytes(entry)).status == CommandStatus.RESERVED_BITS
    assert set(rig.diagnostics) == {Diagnostic.COMMAND_RESERVED}


@pytest.mark.parametrize("opcode", [o for o in COMMANDS if o >= CommandOpcode.TLS_RESYNC_ANSWER])
def test_resync_commands_need_a_flow(rig, admin, opcode):
    assert command(rig, admin, COMMANDS[opcode]().pack()).status == CommandStatus.BAD_HANDLE


def test_statistics_are_one_moment_of_all_counters(rig, admin):
    rig.nic.counters.rx_frames = 7
    address = rig.allocate(BLOCK_BYTES)
    response = command(rig, admin, StatisticsCommand(address=address, length=BLOCK_BYTES).pack())
    assert (response.status, response.result0) == (CommandStatus.OK, BLOCK_BYTES)
    offset = address + r.RX_FRAMES - r.TX_PACKETS
    assert int.from_bytes(rig.host.read(offset, 8), "little") == 7


@pytest.mark.parametrize(
    ("fields", "status", "detail"),
    [
        ({"address": 0x1001, "length": BLOCK_BYTES}, CommandStatus.BAD_FIELD, 8),
        ({"address": 0x1000, "length": BLOCK_BYTES - 1}, CommandStatus.TOO_SHORT, BLOCK_BYTES),
        ({"address": 0xDEAD_0000, "length": BLOCK_BYTES}, CommandStatus.DMA_FAULT, 0),
        ({"address": Rig.RAM - 8, "length": BLOCK_BYTES}, CommandStatus.DMA_FAULT, 0),
    ],
)
def test_bad_block_is_refused_and_nothing_is_written(rig, admin, fields, status, detail):
    before = bytes(rig.host.maps[0][0])[-8:]
    response = command(rig, admin, StatisticsCommand(**fields).pack())
    assert (response.status, response.detail) == (status, detail)
    assert bytes(rig.host.maps[0][0])[-8:] == before
    assert admin.state is QueueState.RUNNING


# Events


def test_events_tell_link_errors_and_diagnostics(rig):
    events = rig.events()
    events.enable()
    rig.write(r.EVENT_ENABLE, EventMask.LINK | EventMask.QUEUE | EventMask.DIAGNOSTIC)
    rig.nic.set_link(False)
    tx = rig.tx(3)
    tx.enable()
    rig.doorbell(tx.doorbell, 1000)
    link, diagnostic, error = events.reap()
    assert (link.type, link.value0) == (EventType.LINK_CHANGE, 0)
    assert (diagnostic.type, diagnostic.value0) == (EventType.DIAGNOSTIC, Diagnostic.DOORBELL_RANGE)
    assert (error.type, error.queue, error.kind) == (EventType.QUEUE_ERROR, 3, QueueKind.TRANSMIT)
    assert [event.sequence for event in (link, diagnostic, error)] == [0, 1, 2]


def test_lost_events_are_counted_and_seen_by_their_numbers(rig):
    events = rig.events(entries=8)
    events.enable()
    rig.write(r.EVENT_ENABLE, EventMask.LINK)
    for number in range(10):
        rig.nic.set_link(bool(number & 1))
    assert [event.sequence for event in events.reap()] == list(range(7))
    assert rig.counter("EVENTS_LOST") == 3
    assert rig.diagnostics == [Diagnostic.EVENT_LOST]
    rig.nic.set_link(False)
    assert [event.sequence for event in events.reap()] == [10]


def test_nothing_is_written_for_kinds_that_are_off(rig):
    events = rig.events()
    events.enable()
    rig.nic.set_link(False)
    assert events.reap() == []


# Reset


@pytest.mark.parametrize("kind", list(ResetKind))
def test_reset_returns_everything_and_the_card_works_again(rig, kind):
    reset_image = {
        (x.name, i): rig.nic.registers.get(x.name, i)
        for x in r.BAR0.registers
        for i in range(x.array_count)
    }
    tx, rx = rig.tx(entries=64), rig.rx()
    for queue in (tx, rx):
        queue.enable(vector=3)
    rig.start()
    rig.write(r.MAC_ADDRESS, 0x1234, 8)
    rig.write(r.MODERATION, 77)
    rig.doorbell(r.TX_DOORBELL_TAIL + 8, 0)
    one_packet(rig, tx)
    if kind is ResetKind.SOFT:
        rig.write(r.CONTROL, r.CONTROL_RESET_MASK)
    else:
        rig.nic.reset(kind)
    image = {key: rig.nic.registers.get(*key) for key in reset_image}
    assert image == reset_image
    assert (tx.state, rx.state) == (QueueState.DISABLED, QueueState.DISABLED)
    assert rig.read(r.STATUS) >> 16 == 1
    assert set(rig.nic.counters.as_dict().values()) == {0}
    assert rig.diagnostics == []
    tx.enable()
    rig.start()
    one_packet(rig, tx)
    assert len(rig.sent) == 2


def test_reset_with_work_pending_is_told(rig, tx):
    rig.send(tx, b"\x02" * 60)
    tx.ring_doorbell()
    rig.write(r.CONTROL, r.CONTROL_RESET_MASK)
    rig.run()
    assert rig.sent == []
    assert rig.diagnostics == [Diagnostic.RESET_IN_FLIGHT]
