"""A transmit flow: its keys over the stream, where the in-order state stands, and its counters.

Positions are bytes of the TCP stream since the flow's start: they never wrap, so that a sequence
number from before the start is not taken for one 4 GiB later. A flow has one *epoch* per key, at
most two: that of the records to come and the one before, whose records may have to be sent again.
"""

from typing import Final, NamedTuple

from tlsnic.abi.enums import TlsDirection, TlsTrackerState
from tlsnic.device.tls.fence import Fence
from tlsnic.device.tls.pace import Pace
from tlsnic.device.tls.record import RecordCipher, RecordFormat, RecordStream

MAX_EPOCHS: Final = 2
MAX_RECORD_NUMBER: Final = (1 << 64) - 1
_SEQUENCE_MASK: Final = 0xFFFF_FFFF
_SIGN: Final = 1 << 31


class Epoch(NamedTuple):
    """One key and the records that it protects."""

    start: int
    """Position of its first record."""
    first_number: int
    """Record number of that record."""
    cipher: RecordCipher


class Cursor(NamedTuple):
    """A place in the stream, with what is needed to encrypt from there on."""

    position: int
    """Next byte."""
    start: int
    """Where the record that the next byte belongs to starts; `position` at a record boundary."""
    number: int
    """Number of that record."""
    head: bytes
    """Bytes of its header and explicit nonce that have passed, as long as they are incomplete."""
    stream: RecordStream | None
    """What encrypts its rest, once header and explicit nonce are complete."""


class RekeyFault(Exception):
    """A rekey at a place where the key cannot change."""


class TxFlow:
    """One send tag. `address` is the packet's: source, destination, ports (`headers.flow_key`)."""

    direction: Final = TlsDirection.TRANSMIT
    __slots__ = (
        "address", "cursor", "epochs", "fence", "format", "handle", "history", "out_of_order",
        "pace", "packets", "payload_bytes", "presynced", "refused", "start_sequence", "vlan_id",
    )  # fmt: skip

    def __init__(
        self,
        record_format: RecordFormat,
        cipher: RecordCipher,
        *,
        tcp_sequence: int,
        record_number: int,
        address: bytes,
        vlan_id: int | None,
    ) -> None:
        self.format = record_format
        self.start_sequence = tcp_sequence
        self.epochs: tuple[Epoch, ...] = (Epoch(0, record_number, cipher),)
        self.cursor = Cursor(0, 0, record_number, b"", None)
        self.address = address
        self.vlan_id = vlan_id
        self.handle = 0
        self.history = b""
        """What happened to it, as core.journal packs it."""
        self.fence: Fence | None = None
        """Set once the flow is being destroyed."""
        self.pace: Pace | None = None
        self.packets = 0
        self.payload_bytes = 0
        self.out_of_order = 0
        self.presynced = 0
        self.refused = 0

    def __repr__(self) -> str:
        return f"<TxFlow {self.handle:#x} {self.format.layout.suite.name} at {self.sequence:#x}>"

    @property
    def sequence(self) -> int:
        """Next in-order TCP sequence number."""
        return self.start_sequence + self.cursor.position & _SEQUENCE_MASK

    @property
    def record_number(self) -> int:
        """u64 number of the record at the next in-order byte."""
        return min(self.cursor.number, MAX_RECORD_NUMBER)

    @property
    def tracker_state(self) -> TlsTrackerState:
        """As the hardware interface names it: a transmit flow has no tracker."""
        return TlsTrackerState.NONE

    @property
    def key_bytes(self) -> int:
        """Length of its keys."""
        return self.epochs[-1].cipher.key_bytes

    def position_of(self, sequence: int) -> int:
        """Position of a TCP sequence number: the one next to the cursor. May be negative."""
        position = self.cursor.position
        ahead = sequence - self.start_sequence - position & _SEQUENCE_MASK
        return position + (ahead ^ _SIGN) - _SIGN

    def epoch_at(self, position: int) -> Epoch | None:
        """The epoch of a record that starts at `position`; None when its key is gone."""
        epochs = self.epochs
        if epochs[-1].start <= position:
            return epochs[-1]
        return epochs[0] if epochs[0].start <= position else None

    @property
    def rekey_pending(self) -> bool:
        """Whether the stream has not yet reached the newest key."""
        return self.cursor.position < self.epochs[-1].start

    def rekey(self, cipher: RecordCipher, tcp_sequence: int, record_number: int) -> None:
        """From `tcp_sequence` on records have the new key. Forgets all but the last key before.

        Raises:
            RekeyFault: `tcp_sequence` has passed, or is inside the record that is being sent.
        """
        start = self.position_of(tcp_sequence)
        cursor = self.cursor
        first = cursor.position
        if cursor.stream is not None:
            first = cursor.start + cursor.stream.record.total_bytes
        elif first > cursor.start:  # inside a header, which does not say yet how long its record is
            first += 1
        if start < first:
            raise RekeyFault
        for epoch in self.epochs[: 1 - MAX_EPOCHS]:
            epoch.cipher.wipe()
        self.epochs = (*self.epochs[1 - MAX_EPOCHS :], Epoch(start, record_number, cipher))
        if start == cursor.position:
            self.cursor = cursor._replace(number=record_number)

    def wipe(self) -> None:
        """Overwrite the keys and forget everything that was made from them."""
        for epoch in self.epochs:
            epoch.cipher.wipe()
        self.epochs = ()
        self.cursor = self.cursor._replace(head=b"", stream=None)
