"""The admin queue: commands with deadlines, several on their way at a time, told apart by id.

The card takes commands off the ring in order, but may answer later ones first. The ring never
overflows when commands without a response are at most as many as it holds.
"""

from __future__ import annotations

from collections.abc import Callable

from tlsnic.abi.enums import CommandStatus, QueueKind
from tlsnic.abi.structures import (
    Command,
    NopCommand,
    Response,
    StatisticsCommand,
    TlsFlowCreateCommand,
    TlsFlowDestroyCommand,
    TlsFlowQueryCommand,
    TlsFlowRateCommand,
    TlsFlowRekeyCommand,
    TlsResyncAnswerCommand,
    TlsResyncHintCommand,
)
from tlsnic.driver.access import Access, Deadline
from tlsnic.driver.bus.dma import DmaBuffer
from tlsnic.driver.errors import CommandError, CommandTimeoutError, DeviceResetError, RingFullError
from tlsnic.driver.queue import Queue
from tlsnic.driver.waiting import Waiter

AnyCommand = (
    Command
    | NopCommand
    | StatisticsCommand
    | TlsFlowCreateCommand
    | TlsFlowDestroyCommand
    | TlsFlowQueryCommand
    | TlsFlowRateCommand
    | TlsFlowRekeyCommand
    | TlsResyncAnswerCommand
    | TlsResyncHintCommand
)
BlockCommand = StatisticsCommand | TlsFlowCreateCommand | TlsFlowQueryCommand | TlsFlowRekeyCommand
_PROGRESS_S = 0.01
_ID_SLICE = slice(Command.OFFSET_COMMAND_ID, Command.OFFSET_COMMAND_ID + 4)


class PendingCommand:
    """A command on its way. `response` is None until it is answered.

    `when_late` is called with a response that comes after the deadline.
    """

    __slots__ = ("abandoned", "block", "command_id", "response", "when_late")

    def __init__(self, command_id: int, block: DmaBuffer | None) -> None:
        self.command_id = command_id
        self.block = block
        self.response: Response | None = None
        self.abandoned = False
        self.when_late: Callable[[Response], None] | None = None


class AdminQueue(Queue):
    """The admin queue. `timeout_s` is the deadline of commands that name none.

    A command whose deadline passed is given up, but its memory block is kept until its response
    comes or the queue stops: the device may still write to it. `late_responses` counts those,
    `unknown_responses` the ones with an id that nobody waits for.
    """

    DESCRIPTOR_BYTES = Command.SIZE
    COMPLETION_BYTES = Response.SIZE

    def __init__(
        self,
        access: Access,
        waiter: Waiter,
        *,
        vector: int,
        entries: int,
        completion_entries: int,
        timeout_s: float,
    ) -> None:
        """Allocates the rings."""
        self._pending: dict[int, PendingCommand] = {}
        self._next_id = 1
        super().__init__(
            access,
            waiter,
            kind=QueueKind.ADMIN,
            number=0,
            vector=vector,
            entries=entries,
            completion_entries=completion_entries,
        )
        self.timeout_s = timeout_s
        self.late_responses = 0
        self.unknown_responses = 0
        self._reset_state()

    def _reset_state(self) -> None:
        for pending in self._pending.values():
            if pending.abandoned and pending.block is not None:
                pending.block.free()
        self._pending.clear()
        self._posted = 0
        self._done = 0

    def forget(self) -> None:
        """The device was reset: nothing will be answered any more."""
        super().forget()
        self._reset_state()

    def close(self) -> None:
        """Give all memory back. Twice is harmless."""
        self._reset_state()
        super().close()

    @property
    def free(self) -> int:
        """Commands that can be submitted now."""
        return self._mask - self._posted + self._done

    def submit(self, command: AnyCommand | bytes, block: DmaBuffer | None = None) -> PendingCommand:
        """Put a command on the ring and ring the doorbell. Raises RingFullError.

        A `command_id` is filled in. `bytes` are 32 and posted as they are but for the id. `block`
        is memory the command names: it is kept alive as long as the device may use it.
        """
        if self.free <= 0:
            self.reap()
            if self.free <= 0:
                raise RingFullError(f"{self!r}: {self._mask} commands are on their way")
        assert self.ring is not None
        while self._next_id in self._pending:
            self._next_id = self._next_id + 1 & 0xFFFF_FFFF
        command_id = self._next_id
        self._next_id = command_id + 1 & 0xFFFF_FFFF
        raw = bytearray(command if isinstance(command, bytes) else command.pack())
        if len(raw) != Command.SIZE:
            raise ValueError(f"a command of {len(raw)} bytes; it has {Command.SIZE}")
        raw[_ID_SLICE] = command_id.to_bytes(4, "little")
        start = (self._posted & self._mask) * Command.SIZE
        self.ring.view[start : start + Command.SIZE] = raw
        self._posted += 1
        pending = PendingCommand(command_id, block)
        self._pending[command_id] = pending
        self._ring_doorbell(self.tail_doorbell, self._posted & self._mask)
        return pending

    def reap(self) -> int:
        """Take all responses that are there; how many."""
        taken = 0
        late: list[PendingCommand] = []
        ring = self.completions
        while ring.ready():
            response = Response.unpack_from(ring.memory.view, ring.consumer * Response.SIZE)
            ring.advance()
            taken += 1
            self._done += 1  # one response each
            pending = self._pending.pop(response.command_id, None)
            if pending is None:
                self.unknown_responses += 1
                continue
            pending.response = response._replace(flags=0)
            if pending.abandoned:
                self.late_responses += 1
                late.append(pending)
                if pending.block is not None:
                    pending.block.free()
        if ring.unreturned >= self._return_at:
            self.return_completions()
        for pending in late:
            if pending.when_late is not None and pending.response is not None:
                pending.when_late(pending.response)
        return taken

    def result(
        self,
        pending: PendingCommand,
        timeout_s: float | None = None,
        progress: Callable[[], None] | None = None,
    ) -> Response:
        """Wait for the response. `progress` is called every 10 ms meanwhile: it does what the card
        may be waiting for.

        A command without a memory block can be waited for again after a timeout.

        Raises CommandError when its status is not OK, CommandTimeoutError, QueueError,
        DeviceResetError, DeviceGoneError.
        """
        limit_s = self.timeout_s if timeout_s is None else timeout_s
        deadline = Deadline(limit_s)
        if pending.block is None:
            pending.abandoned = False
        self.reap()
        while pending.response is None:
            if self._pending.get(pending.command_id) is not pending:
                raise DeviceResetError("the admin queue was reset before the command was answered")
            try:
                if progress is not None:
                    progress()
                    answered = self.wait(min(deadline.left_s, _PROGRESS_S))
                else:
                    answered = self.wait(deadline.left_s)
            except BaseException:
                pending.abandoned = True
                raise
            if not answered and deadline.left_s <= 0:
                pending.abandoned = True
                raise CommandTimeoutError(f"no response to a command within {limit_s:g} s")
            self.reap()
        response = pending.response
        if response.status != CommandStatus.OK:
            raise CommandError(response.opcode, response.status, response.detail)
        return response

    def execute(self, command: AnyCommand | bytes, timeout_s: float | None = None) -> Response:
        """Submit a command and wait for its response. Raises like `submit` and `result`."""
        return self.result(self.submit(command), timeout_s)

    def execute_block(
        self,
        command: BlockCommand,
        content: bytes = b"",
        *,
        length: int | None = None,
        timeout_s: float | None = None,
    ) -> tuple[Response, bytes]:
        """Execute a command with a memory block; its response, and the block afterwards.

        `address` and `length` of the command are filled in. The block begins with `content` and
        has `length` bytes (default: as many as `content`). Raises like `execute`.
        """
        size = len(content) if length is None else length
        after = bytearray()
        response = self._execute_block(command, content, size, timeout_s, None, after)
        return response, bytes(after)

    def execute_secret(
        self,
        command: BlockCommand,
        content: bytearray,
        *,
        timeout_s: float | None = None,
        when_late: Callable[[Response], None] | None = None,
    ) -> Response:
        """Execute a command with a memory block that holds keys; its response.

        `content` is overwritten, whatever happens, and no copy of it stays but the block's, which
        is wiped when the response comes or the queue stops. when_late: called with a response that
        comes after the deadline. Raises like `execute`.
        """
        try:
            return self._execute_block(command, content, len(content), timeout_s, when_late, None)
        finally:
            content[:] = bytes(len(content))

    def _execute_block(
        self,
        command: BlockCommand,
        content: bytes | bytearray,
        size: int,
        timeout_s: float | None,
        when_late: Callable[[Response], None] | None,
        after: bytearray | None,
    ) -> Response:
        """`after` gets the block's content when the command is done."""
        block = self._access.dma_alloc(size, 64)
        pending: PendingCommand | None = None
        try:
            block.view[: len(content)] = content
            pending = self.submit(command._replace(address=block.iova, length=size), block)
            pending.when_late = when_late
            response = self.result(pending, timeout_s)
            if after is not None:
                after += block.view
            return response
        finally:
            if pending is None or not pending.abandoned:
                block.free()  # which wipes it

    def nop(self, timeout_s: float | None = None) -> None:
        """Prove that the admin queue works. Raises like `execute`."""
        self.execute(NopCommand(), timeout_s)
