"""What send tags and receive tags have in common: a flow in the card, from its making to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tlsnic.abi.enums import CommandStatus
from tlsnic.abi.structures import (
    TlsFlowDestroyCommand,
    TlsFlowQueryCommand,
    TlsFlowRekeyCommand,
    TlsFlowState,
)
from tlsnic.driver.admin import PendingCommand
from tlsnic.driver.bus.errors import BusError
from tlsnic.driver.errors import (
    CommandError,
    CommandTimeoutError,
    DeviceGoneError,
    DeviceResetError,
    SendTagDeadError,
)
from tlsnic.driver.tls.flow_block import refused
from tlsnic.driver.tls.session import FlowAddress, TlsSession

if TYPE_CHECKING:
    from tlsnic.driver.tls.tags import TlsTags


class FlowTag:
    """One TLS flow of the card. Attributes: `handle`; `session` (the newest one); `address`."""

    def __init__(
        self, nic: TlsTags, session: TlsSession, address: FlowAddress, handle: int
    ) -> None:
        self.nic = nic
        self.handle = handle
        self.session = session
        self.address = address
        self._dead: str | None = None
        self._destroy: PendingCommand | None = None

    def query(self, timeout_s: float | None = None) -> TlsFlowState:
        """The card's state and counters of the flow. Raises CommandError, SendTagDeadError, and
        like `AdminQueue.execute`."""
        self._check_alive()
        _, block = self.nic.admin.execute_block(
            TlsFlowQueryCommand(handle=self.handle), length=TlsFlowState.SIZE, timeout_s=timeout_s
        )
        return TlsFlowState.unpack_from(block)

    def free(self, timeout_s: float | None = None) -> None:
        """Destroy the flow, and wait until all of its packets have left or are delivered and its
        key is wiped.

        Harmless when the tag is dead or freed. Raises CommandTimeoutError: the flow is closing,
        and can be waited for again by another `free`; RingFullError of the admin queue. The
        session stays the caller's, to be wiped.
        """
        if self._dead is not None:
            return
        try:
            if self._destroy is None:
                self._close()
            assert self._destroy is not None
            self.nic.admin.result(self._destroy, timeout_s, self._reap_all)
        except (DeviceGoneError, DeviceResetError, BusError) as error:
            self.die(str(error))
        except CommandError as error:
            self.die(str(error))
            if error.status != CommandStatus.BAD_HANDLE:
                raise
        self.die("freed")

    def die(self, reason: str) -> None:
        """The flow is gone from the card. Called by `Nic` after a reset, or when the card is gone.

        What was kept for it is let go of. A second call does nothing.
        """
        if self._dead is None:
            self._dead = reason
            self._let_go()

    def _let_go(self) -> None:
        raise NotImplementedError

    @property
    def is_alive(self) -> bool:
        """Whether the tag can be used; not once `free` was called."""
        return self._dead is None and self._destroy is None

    def _check_alive(self) -> None:
        if self._dead is not None:
            raise SendTagDeadError(f"{self!r}: {self._dead}")
        if self._destroy is not None:
            raise SendTagDeadError(f"{self!r} is being freed")

    def _close(self) -> None:
        """Send TLS_FLOW_DESTROY behind everything that was posted."""
        for queue in self.nic.tx:
            queue.flush()
        self._destroy = self.nic.admin.submit(TlsFlowDestroyCommand(handle=self.handle))

    def _reap_all(self) -> None:
        """The card may be waiting for room in a completion ring."""
        for queue in self.nic.tx:
            if queue.enabled:
                queue.reap()

    def _rekey(self, block: bytearray) -> None:
        """TLS_FLOW_REKEY; `block` is overwritten. After a CommandTimeoutError the flow is closing."""
        try:
            self.nic.admin.execute_secret(TlsFlowRekeyCommand(handle=self.handle), block)
        except CommandError as error:
            raise refused(error) from None
        except CommandTimeoutError:
            # Whether the card has the new key is not known: no packet may find out.
            self._close()
            raise

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.handle:#x} {self.session.suite.name}>"
