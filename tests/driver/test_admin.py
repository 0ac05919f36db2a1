"""Commands and events: told apart, in time, and nothing lost without a word."""

import pytest

from tlsnic.abi import registers as reg
from tlsnic.abi.enums import CommandStatus, EventType
from tlsnic.abi.structures import (
    Command,
    Event,
    LinkChangeEvent,
    NopCommand,
    TlsFlowCreateCommand,
    TlsFlowDestroyCommand,
)
from tlsnic.driver.errors import (
    CommandError,
    CommandTimeoutError,
    DeviceResetError,
    RingFullError,
)


def test_statistics_are_the_counters(device, attach):
    nic = attach()
    device.regs[reg.TX_PACKETS] = 5
    device.regs[reg.RX_TLS_ERR] = 1 << 60
    statistics = nic.statistics()
    assert statistics == nic.counters()
    assert (statistics["TX_PACKETS"], statistics["RX_TLS_ERR"]) == (5, 1 << 60)
    assert "MAGIC" not in statistics
    assert len(statistics) > 30


def test_a_refused_command_raises_its_status(attach):
    with pytest.raises(CommandError, match="TLS_FLOW_DESTROY: BAD_OPCODE") as caught:
        attach().admin.execute(TlsFlowDestroyCommand(handle=3))
    assert caught.value.status == CommandStatus.BAD_OPCODE
    assert caught.value.detail == 0x104


def test_raw_commands_go_out_as_they_are_but_for_the_id(device, attach):
    nic = attach()
    raw = bytes.fromhex("77 07 ff ff 00 00 00 00") + bytes(range(24))
    with pytest.raises(CommandError, match=r"command 0x777: BAD_OPCODE"):
        nic.admin.execute(raw)
    ring = bytes(nic.admin.ring.view[:32])
    assert ring[:4] == raw[:4]
    assert ring[8:] == raw[8:]
    with pytest.raises(ValueError, match="31 bytes"):
        nic.admin.submit(bytes(31))


def test_many_commands_at_a_time_are_told_apart(device, attach):
    nic = attach(admin_entries=8)
    device.answers = {0x700 + n: {"result0": n * n} for n in range(50)}
    for start in range(0, 50, 5):
        device.paused = True
        pending = [nic.admin.submit(Command(opcode=0x700 + start + n)) for n in range(5)]
        device.paused = False
        device.run()
        for n in reversed(range(5)):
            assert nic.admin.result(pending[n], 1).result0 == (start + n) ** 2


def test_a_full_admin_ring_says_so(device, attach):
    nic = attach(admin_entries=8)
    device.mute_commands = True
    pending = [nic.admin.submit(NopCommand()) for _ in range(7)]
    with pytest.raises(RingFullError):
        nic.admin.submit(NopCommand())
    device.mute_commands = False
    device.run()
    nic.admin.nop()
    assert all(command.response is not None for command in pending)


def test_a_command_without_answer_times_out_and_the_next_one_works(device, attach):
    nic = attach(command_timeout_s=0.01)
    device.mute_commands = True
    with pytest.raises(CommandTimeoutError):
        nic.admin.nop()
    device.mute_commands = False
    nic.admin.nop()
    assert nic.admin.late_responses == 1
    assert nic.admin.unknown_responses == 0


def test_an_answer_to_nothing_is_counted(device, attach):
    nic = attach()
    device.queues["admin", 0].complete(Command(command_id=0).pack())
    assert nic.admin.reap() == 1
    assert nic.admin.unknown_responses == 1


def test_a_reset_ends_commands_on_their_way(device, attach):
    nic = attach()
    device.mute_commands = True
    pending = nic.admin.submit(NopCommand())
    device.mute_commands = False
    nic.reset()
    with pytest.raises(DeviceResetError):
        nic.admin.result(pending, 1)


def test_a_block_is_handed_over_and_wiped(device, attach):
    nic = attach()
    seen = []
    device.answers = {0x100: {"result0": 42}}
    original = device.command

    def spy(queue):
        raw = device.read(queue.config(0) + queue.head * 32, 32)
        address, length = int.from_bytes(raw[8:16], "little"), int.from_bytes(raw[16:20], "little")
        seen.append((address, device.read(address, length)))
        original(queue)

    device.command = spy
    response, block = nic.admin.execute_block(TlsFlowCreateCommand(), b"secret key", length=16)
    address, content = seen[0]
    assert response.result0 == 42
    assert content == block == b"secret key" + bytes(6)
    assert device.read(address, 16) == bytes(16)


def test_answers_may_come_in_another_order(device, attach):
    nic = attach(admin_entries=8)
    device.held = {0x104}
    device.answers = {0x104: {"result0": 7}}
    first = nic.admin.submit(TlsFlowDestroyCommand(handle=3))
    for _ in range(50):
        nic.admin.nop()
    assert first.response is None
    assert nic.admin.free == 6
    device.release()
    assert nic.admin.result(first, 1).result0 == 7
    assert nic.admin.free == 7
    assert nic.admin.unknown_responses == 0


def test_a_command_can_be_waited_for_again(device, attach):
    nic = attach()
    device.held = {0x104}
    device.answers = {0x104: {}}
    pending = nic.admin.submit(TlsFlowDestroyCommand(handle=3))
    calls = []
    for timeout_s in (0.03, 1, 30):
        with pytest.raises(CommandTimeoutError):
            nic.admin.result(pending, timeout_s, lambda: calls.append(1))
        if len(calls) >= 2:
            break
    assert len(calls) >= 2
    nic.admin.result(pending, 1, device.release)
    assert nic.admin.late_responses == 0


@pytest.mark.parametrize("end", ["late answer", "reset", "close"])
def test_keys_in_a_block_are_wiped_even_when_the_answer_is_late(device, attach, end):
    nic = attach()
    device.held = {0x100}
    device.answers = {0x100: {"result0": 42}}
    late = []
    key = bytearray(b"not for others' eyes")
    with pytest.raises(CommandTimeoutError):
        nic.admin.execute_secret(TlsFlowCreateCommand(), key, timeout_s=0.01, when_late=late.append)
    assert key == bytes(20)
    assert b"for others' eyes" in device.memory, "the card may still read it"
    if end == "late answer":
        device.release()
        nic.admin.nop()
        assert [response.result0 for response in late] == [42]
    else:
        getattr(nic, end)()
        assert not late
    assert b"for others' eyes" not in device.memory


def test_events_are_typed_kept_and_handed_to_handlers(device, attach):
    nic = attach()
    got = []
    nic.events.on(EventType.LINK_CHANGE, got.append)
    device.event(EventType.LINK_CHANGE, value0=1, value1=10000)
    device.event(0x99, value0=7)
    assert nic.events.drain() == 2
    assert got == [LinkChangeEvent(type=1, link_up=1, mbps=10000)]
    unknown = nic.events.next_event(0, EventType(1))
    assert isinstance(unknown, LinkChangeEvent)
    (rest,) = nic.events.events
    assert isinstance(rest, Event)
    assert (rest.type, rest.value0, rest.sequence) == (0x99, 7, 1)
    assert nic.events.next_event(0.01, EventType.FLOW_ERROR) is None


def test_lost_events_are_noticed(device, attach):
    nic = attach(event_entries=8)
    for _ in range(3):
        for _ in range(5):
            device.event()
        for _ in range(4):
            device.event(lost=True)
        nic.events.drain()
    device.event()
    nic.events.drain()
    assert nic.events.lost == 12
    assert len(nic.events.events) == 16


def test_the_event_sequence_wraps(device, attach):
    nic = attach()
    device.event_sequence = 0xFFFF_FFFF
    device.event()
    nic.events.drain()
    lost = nic.events.lost
    device.event_sequence = 0
    device.event()
    nic.events.drain()
    assert nic.events.lost == lost


def test_events_lost_before_the_first_and_while_the_queue_is_off_are_noticed(device, attach):
    nic = attach()
    device.event(lost=True)
    device.event()
    nic.events.drain()
    assert nic.events.lost == 1
    nic.events.disable()
    device.event(lost=True)
    nic.events.enable()
    device.event()
    nic.events.drain()
    assert nic.events.lost == 2
    nic.reset()
    device.event()
    nic.events.drain()
    assert nic.events.lost == 2
