"""What the commands of the admin queue have in common: results, refusals, memory blocks."""

from collections.abc import Callable
from typing import Final

from tlsnic.abi.enums import CommandOpcode, CommandStatus, Diagnostic, QueueKind
from tlsnic.abi.layout import Structure
from tlsnic.device.core.parts import Parts

BLOCK_ALIGNMENT: Final = 8

Result = tuple[int, int]
"""result0 and result1 of a response."""
Pending = Callable[[], Result | None]
"""A command that is answered later: None until it is done."""
Handlers = dict[CommandOpcode, Callable[[Structure], Result | Pending]]


class CommandFailed(Exception):
    """A command cannot be carried out: the status, and what DETAIL says about it."""

    def __init__(self, status: CommandStatus, detail: int = 0) -> None:
        super().__init__(status.name)
        self.status = status
        self.detail = detail


class Blocks:
    """The memory blocks that commands name, and what is wrong with them. DmaFault: not mapped."""

    def __init__(self, parts: Parts) -> None:
        self._host = parts.host
        self._diagnostics = parts.diagnostics

    def report(self, code: Diagnostic, operand: int) -> None:
        """A diagnostic about the admin queue."""
        self._diagnostics.report(code, operand, QueueKind.ADMIN)

    def check(self, address: int, length: int, needed: int, address_offset: int) -> None:
        """CommandFailed: a block that is misaligned, or too short for the command."""
        if address % BLOCK_ALIGNMENT:
            self.report(Diagnostic.COMMAND_FIELD, address)
            raise CommandFailed(CommandStatus.BAD_FIELD, address_offset)
        if length < needed:
            self.report(Diagnostic.COMMAND_FIELD, length)
            raise CommandFailed(CommandStatus.TOO_SHORT, needed)

    def load_secret(self, address: int, length: int, needed: int, address_offset: int) -> bytearray:
        """A copy of the first `needed` bytes of a block with keys, after `check`."""
        self.check(address, length, needed, address_offset)
        copy = bytearray(needed)
        # Through a view: a bytearray would copy twice, and leave the first copy in freed memory.
        target = memoryview(copy)
        position = 0
        for view in self._host.secret_views(address, needed, False):
            target[position : position + len(view)] = view
            position += len(view)
        return copy

    def store(self, address: int, data: bytes) -> None:
        """Write `data` to guest memory, which may lie in several maps."""
        position = 0
        for view in self._host.block_views(address, len(data), True):
            view[:] = data[position : position + len(view)]
            position += len(view)
