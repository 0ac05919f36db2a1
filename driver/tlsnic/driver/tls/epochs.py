"""The keys of a send tag's records, epoch by epoch, and software TLS with them.

An epoch lasts from one rekey to the next. Its keys are kept as long as one of its records may have to
be sent again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tlsnic.driver.tls.records import Entry
from tlsnic.driver.tls.session import TlsSession

if TYPE_CHECKING:
    from tlsnic.driver.tls.software import SoftwareTls


class Epochs:
    """Attributes: `sessions`, by epoch; `newest`, number of the newest epoch."""

    def __init__(self, session: TlsSession, record_number: int) -> None:
        """record_number: of the flow's first record."""
        self.sessions = {0: session}
        self.newest = 0
        self._record_number = record_number
        self._software: SoftwareTls | None = None

    def add(self, epoch: int, session: TlsSession) -> None:
        """The newest epoch's keys; its number is that of `RecordMap.new_epoch`."""
        self.sessions[epoch] = session
        self.newest = epoch

    def forget_before(self, first: Entry | None) -> None:
        """Drop what only records before `first` need; None: what all records so far need."""
        oldest = self.newest if first is None else first.session_epoch
        for epoch in [epoch for epoch in self.sessions if epoch < oldest]:
            del self.sessions[epoch]
        if self._software is not None and first is not None:
            self._software.forget_before(first)

    def forget_all(self) -> None:
        """The flow has ended."""
        self._software = None
        self.sessions.clear()

    @property
    def software(self) -> SoftwareTls:
        """Made when it is needed first."""
        if self._software is None:
            from tlsnic.driver.tls.software import SoftwareTls  # noqa: PLC0415 - see there

            self._software = SoftwareTls(self.sessions, self._record_number)
        return self._software
