"""The admin queue: carries out commands in ring order and answers each.

A command that is wrong in any way gets an error code, and nothing else changes.
"""

from collections.abc import Callable
from typing import Final

from tlsnic.abi.enums import (
    CommandOpcode,
    CommandStatus,
    Diagnostic,
    QueueKind,
    QueueState,
)
from tlsnic.abi.layout import Structure
from tlsnic.abi.structures import COMMANDS, Command, Response, StatisticsCommand
from tlsnic.device.core.counters import BLOCK_BYTES
from tlsnic.device.core.host import DmaFault
from tlsnic.device.core.parts import Parts
from tlsnic.device.core.rings import Queue, QueueFault

BLOCK_ALIGNMENT: Final = 8


class CommandFailed(Exception):
    """A command cannot be carried out: the status, and what DETAIL says about it."""

    def __init__(self, status: CommandStatus, detail: int = 0) -> None:
        super().__init__(status.name)
        self.status = status
        self.detail = detail


Result = tuple[int, int]
"""result0 and result1 of a response."""


class AdminQueue(Queue):
    """Commands in, responses out."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(
            QueueKind.ADMIN,
            0,
            "ADMIN_QUEUE",
            parts,
            entry_bytes=Command.SIZE,
            completion_bytes=Response.SIZE,
        )
        self._handlers: dict[CommandOpcode, Callable[[Structure], Result]] = {
            CommandOpcode.NOP: self._nop,
            CommandOpcode.STATISTICS: self._statistics,
        }

    def service(self, budget: int) -> bool:
        """Carry out up to `budget` commands; True when there is more that can be done now."""
        ring = self.ring
        while self.state is QueueState.RUNNING and ring.head != ring.tail and self.room():
            if not budget:
                return True
            budget -= 1
            try:
                view, offset = ring.locate(ring.head)
            except QueueFault as fault:
                self.fault(fault)
                break
            # One copy, so that the driver cannot change a command while it is being checked.
            entry = bytes(view[offset : offset + Command.SIZE])
            ring.head = (ring.head + 1) & ring.mask
            self._answer(entry)
        return False

    def _answer(self, entry: bytes) -> None:
        command = Command.unpack_from(entry)
        status, detail, result = CommandStatus.OK, 0, (0, 0)
        try:
            result = self._execute(command, entry)
        except CommandFailed as failure:
            status, detail = failure.status, failure.detail
        self.complete(command.command_id | command.opcode << 32 | status << 48, *result, detail)

    def _execute(self, command: Command, entry: bytes) -> Result:
        structure = COMMANDS.get(command.opcode)
        if structure is None:
            self.report(Diagnostic.COMMAND_UNKNOWN, command.opcode)
            raise CommandFailed(CommandStatus.BAD_OPCODE)
        if not structure.reserved_is_zero(entry):
            self.report(Diagnostic.COMMAND_RESERVED, command.opcode)
            raise CommandFailed(CommandStatus.RESERVED_BITS)
        handler = self._handlers.get(CommandOpcode(command.opcode))
        if handler is None:
            raise CommandFailed(CommandStatus.UNSUPPORTED)
        try:
            return handler(structure.unpack_from(entry))
        except DmaFault as fault:
            self.report(
                Diagnostic.DMA_PERMISSION if fault.permission else Diagnostic.DMA_FAULT,
                fault.address,
            )
            raise CommandFailed(CommandStatus.DMA_FAULT) from None

    def _nop(self, _command: Structure) -> Result:
        return 0, 0

    def _statistics(self, command: Structure) -> Result:
        assert isinstance(command, StatisticsCommand)
        self._check_block(
            command.address, command.length, BLOCK_BYTES, StatisticsCommand.OFFSET_ADDRESS
        )
        self._store(command.address, self._counters.block())
        return BLOCK_BYTES, 0

    def _check_block(self, address: int, length: int, needed: int, address_offset: int) -> None:
        """Refuse a memory block that is misaligned or too short for the command."""
        if address % BLOCK_ALIGNMENT:
            self.report(Diagnostic.COMMAND_FIELD, address)
            raise CommandFailed(CommandStatus.BAD_FIELD, address_offset)
        if length < needed:
            self.report(Diagnostic.COMMAND_FIELD, length)
            raise CommandFailed(CommandStatus.TOO_SHORT, needed)

    def _store(self, address: int, data: bytes) -> None:
        """Write `data` to guest memory, which may lie in several maps."""
        position = 0
        for view in self._host.views(address, len(data), True):
            view[:] = data[position : position + len(view)]
            position += len(view)
