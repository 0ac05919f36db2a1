"""A stream put in order for a TlsReceiver, without a TCP of its own: the parts of `Connection`, and of
the `Host` that it belongs to, that a receiver uses.
"""

from __future__ import annotations

from typing import NamedTuple

from tlsnic.driver.nic import Nic
from tlsnic.driver.tls.session import FlowAddress

_MASK = 0xFFFF_FFFF


class _Endpoint(NamedTuple):
    local_address: bytes
    local_port: int
    remote_address: bytes
    remote_port: int
    vlan: int | None


class InOrder:
    """Pieces in order, each with whether the card has decrypted it. Of what comes twice, the first
    counts."""

    def __init__(self, nic: Nic, address: FlowAddress, sequence: int) -> None:
        self.nic = nic
        self.endpoint = _Endpoint(
            address.local_address,
            address.local_port,
            address.remote_address,
            address.remote_port,
            address.vlan_id,
        )
        self.at_end = self.closed = False
        self._start = sequence
        self._reached = self._read = 0
        self._waiting: list[tuple[int, bytes, bool]] = []
        self._pieces: list[tuple[bytes, bool]] = []

    @property
    def read_sequence(self) -> int:
        """u32 TCP sequence number behind what was read."""
        return self._start + self._read & _MASK

    def add(self, start: int, payload: bytes, mark: bool) -> None:
        """A packet's payload, at this offset."""
        self._waiting.append((start, payload, mark))
        taken = True
        while taken:
            taken = False
            for piece in list(self._waiting):
                start, payload, mark = piece
                if start > self._reached:
                    continue
                self._waiting.remove(piece)
                payload = payload[self._reached - start :]
                if payload:
                    taken = True
                    self._reached += len(payload)
                    self._pieces.append((payload, mark))

    def read_marked(self) -> list[tuple[bytes, bool]]:
        """As `Connection.read_marked`."""
        pieces, self._pieces = self._pieces, []
        self._read = self._reached
        return pieces
