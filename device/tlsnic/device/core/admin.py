"""The admin queue: carries out commands in ring order and answers each.

A command that is wrong in any way gets an error code, and nothing else changes.
"""

from collections import deque

from tlsnic.abi.enums import (
    CommandOpcode,
    CommandStatus,
    Diagnostic,
    QueueKind,
    QueueState,
)
from tlsnic.abi.layout import Structure
from tlsnic.abi.structures import COMMANDS, Command, Response, StatisticsCommand
from tlsnic.device.core.commands import Blocks, CommandFailed, Handlers, Pending, Result
from tlsnic.device.core.counters import BLOCK_BYTES
from tlsnic.device.core.host import DmaFault
from tlsnic.device.core.parts import Parts
from tlsnic.device.core.rings import Queue, QueueFault


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
        self._blocks = Blocks(parts)
        self._handlers: Handlers = {
            CommandOpcode.NOP: self._nop,
            CommandOpcode.STATISTICS: self._statistics,
        }
        self._unanswered: deque[tuple[Command | None, Pending]] = deque()
        """Commands that are answered later; without command when nobody waits any more."""

    def add_handlers(self, handlers: Handlers) -> None:
        """Commands of other stages."""
        self._handlers.update(handlers)

    def disable(self) -> None:
        super().disable()
        self._unanswered = deque((None, pending) for _, pending in self._unanswered)

    def forget_pending(self) -> None:
        """Give up what commands have begun (reset)."""
        self._unanswered.clear()

    def settle(self) -> None:
        """Finish commands that had to wait, as far as that can be done now."""
        for _ in range(len(self._unanswered)):
            command, pending = self._unanswered.popleft()
            answerable = command is None or (
                self.state is QueueState.RUNNING and self._host.bus_master and self.room()
            )
            result = pending() if answerable else None
            if result is None:
                self._unanswered.append((command, pending))
            elif command is not None:
                self._respond(command, CommandStatus.OK, result)

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
        try:
            result = self._execute(command, entry)
        except CommandFailed as failure:
            self._respond(command, failure.status, (0, 0), failure.detail)
            return
        if isinstance(result, tuple):
            self._respond(command, CommandStatus.OK, result)
        else:
            self._unanswered.append((command, result))
            self.settle()

    def _respond(
        self, command: Command, status: CommandStatus, result: Result, detail: int = 0
    ) -> None:
        self.complete(command.command_id | command.opcode << 32 | status << 48, *result, detail)

    def _execute(self, command: Command, entry: bytes) -> Result | Pending:
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
        self._blocks.check(
            command.address, command.length, BLOCK_BYTES, StatisticsCommand.OFFSET_ADDRESS
        )
        self._blocks.store(command.address, self._counters.block())
        return BLOCK_BYTES, 0
