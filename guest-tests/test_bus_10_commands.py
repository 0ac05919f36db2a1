"""BUS-10: a command with an unknown opcode, short, or with reserved bits set gets an error code."""

import random

import pytest

from tlsnic.abi.enums import CommandOpcode, CommandStatus, Diagnostic
from tlsnic.abi.structures import Command, NopCommand, StatisticsCommand
from tlsnic.driver.errors import CommandError

pytestmark = pytest.mark.row("BUS-10")


def refusal(nic, command):
    """The error that a command is answered with."""
    with pytest.raises(CommandError) as caught:
        nic.admin.execute(command)
    return caught.value


def state(nic):
    """Everything that a refused command must not change: all counters and all registers but the
    admin queue's own, and those that tell of the refusal."""
    from harness.registers import DIAGNOSTICS, elements  # noqa: PLC0415

    own = (*DIAGNOSTICS, "INT_CAUSE", "INTERRUPTS")
    return {
        offset: nic.access.regs.read(offset, register.size_bytes)
        for register, offset in elements(every=64)
        if register.name not in own and not register.name.startswith(("ADMIN_", "EVENT_"))
    }


def test_bus_10_unknown_opcodes(nic, watch, scale):
    known = {int(opcode) for opcode in CommandOpcode}
    rng = random.Random(10)
    unknown = [2, 0xFF, 0x107, 0xFFFF, 0x8000]
    unknown += [n for n in rng.sample(range(1 << 16), scale(200, 10)) if n not in known]
    before = state(nic)
    for opcode in unknown:
        watch.expect(Diagnostic.COMMAND_UNKNOWN)
        error = refusal(nic, Command(opcode=opcode, parameter0=rng.getrandbits(64)))
        assert (error.opcode, error.status) == (opcode, CommandStatus.BAD_OPCODE)
        watch.collect()
    assert state(nic) == before
    nic.admin.nop()


def test_bus_10_every_reserved_bit(nic, watch, scale):
    """Each bit that must be zero, in each command that the card has."""
    rng = random.Random(11)
    before = state(nic)
    for structure in (NopCommand, StatisticsCommand):
        bits = [bit for bit in range(8 * structure.SIZE) if structure.RESERVED >> bit & 1]
        assert len(bits) > 64
        for bit in rng.sample(bits, min(len(bits), scale(len(bits), 8))):
            content = int.from_bytes(structure().pack(), "little") | 1 << bit
            watch.expect(Diagnostic.COMMAND_RESERVED)
            error = refusal(nic, content.to_bytes(structure.SIZE, "little"))
            assert error.status == CommandStatus.RESERVED_BITS, f"{structure.NAME}, bit {bit}"
            watch.collect()
    assert state(nic) == before
    nic.admin.nop()


def test_bus_10_short_block(nic, bus, watch, defer):
    memory = bus.dma_alloc(4096)
    defer(memory.free)
    memory.view[:] = b"\x5a" * 4096
    needed = (
        len(nic.counters())
        and nic.admin.execute(StatisticsCommand(address=memory.iova, length=4096)).result0
    )
    memory.view[:] = b"\x5a" * 4096
    for length in (0, 1, 8, needed - 1):
        watch.expect(Diagnostic.COMMAND_FIELD)
        error = refusal(nic, StatisticsCommand(address=memory.iova, length=length))
        assert (error.status, error.detail) == (CommandStatus.TOO_SHORT, needed)
    assert set(memory.view) == {0x5A}, "nothing was written"
    nic.admin.execute(StatisticsCommand(address=memory.iova, length=needed))
    assert set(memory.view[needed:]) == {0x5A}, "not a byte more than said"


def test_bus_10_field_out_of_range(nic, bus, watch, defer):
    memory = bus.dma_alloc(4096)
    defer(memory.free)
    watch.expect(Diagnostic.COMMAND_FIELD)
    error = refusal(nic, StatisticsCommand(address=memory.iova + 4, length=4000))
    assert error.status == CommandStatus.BAD_FIELD
    assert error.detail == StatisticsCommand.OFFSET_ADDRESS


def test_bus_10_good_and_bad_commands_are_answered_in_order(nic, watch, scale):
    rng = random.Random(12)
    for _ in range(scale(30, 3)):
        sent = []
        for _ in range(nic.admin.entries - 1):
            if rng.random() < 0.5:
                sent.append((nic.admin.submit(NopCommand()), CommandStatus.OK))
            else:
                watch.expect(Diagnostic.COMMAND_UNKNOWN)
                command = Command(opcode=0x7FFF)
                sent.append((nic.admin.submit(command), CommandStatus.BAD_OPCODE))
        for pending, status in sent:
            if status == CommandStatus.OK:
                response = nic.admin.result(pending, 5)
                assert (response.result0, response.result1, response.detail) == (0, 0, 0)
            else:
                with pytest.raises(CommandError) as caught:
                    nic.admin.result(pending, 5)
                assert caught.value.status == status
        watch.collect()
