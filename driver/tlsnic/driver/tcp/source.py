"""Where TCP takes what it sends, and where it puts what it receives: interfaces and their values.

`SendSource` and `ReceiveSink` are what a socket buffer is to the kernel's TCP. A connection makes
its own simple ones (`send_buffer`, `receive_queue`) unless it is given others.
Positions are those of `seq`: unbounded, their low 32 bits are the sequence number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from tlsnic.driver.tx import DmaRange

_new: Final = tuple.__new__  # half of what a NamedTuple takes to be made


class Piece(NamedTuple):
    """Some bytes of a payload."""

    view: memoryview
    iova: int | None = None
    """Where a card sees them; None when none does, and they have to be copied to it."""
    domain: object = None
    """Whose address that is: a `Nic`. To another they have to be copied."""


class Chain:
    """The payload of one packet in pieces, by reference. `len()`: bytes.

    tls: the TLS session whose records the card has to encrypt them in (`m_epg_tls` of all mbufs in
    the packet), or None when they are sent as they are.
    done: called once, when the card has read the pieces, or the packet was dropped: until then they
    must not change, whether they are acknowledged meanwhile or not.
    """

    __slots__ = ("_bytes", "done", "pieces", "tls")

    def __init__(
        self,
        pieces: tuple[Piece, ...],
        tls: object | None = None,
        done: Callable[[], None] | None = None,
    ) -> None:
        self.pieces = pieces
        self.tls = tls
        self.done = done
        self._bytes = sum([len(piece.view) for piece in pieces])

    def __len__(self) -> int:
        return self._bytes

    def cut(self, start: int, end: int) -> Chain:
        """The bytes [start, end) of it, without `done`, which stays with the whole."""
        pieces: list[Piece] = []
        for view, iova, domain in self.pieces:
            low, high = max(start, 0), min(end, len(view))
            if low < high:
                pieces.append(Piece(view[low:high], None if iova is None else iova + low, domain))
            start -= len(view)
            end -= len(view)
        return Chain(tuple(pieces), self.tls)

    def tobytes(self) -> bytes:
        """A copy of all of it."""
        return b"".join([piece.view for piece in self.pieces])

    def parts(self, domain: object) -> tuple[list[memoryview | DmaRange], int]:
        """For `TxQueue.send_chain` of that card, and how many bytes it will copy."""
        parts: list[memoryview | DmaRange] = []
        copied = 0
        for view, iova, whose in self.pieces:
            if iova is not None and whose is domain:
                parts.append(_new(DmaRange, (iova, len(view))))
            else:
                parts.append(view)
                copied += len(view)
        return parts, copied


Payload = bytes | memoryview | Chain


def cut(payload: Payload, start: int, end: int) -> Payload:
    """The bytes [start, end) of a payload."""
    return payload.cut(start, end) if isinstance(payload, Chain) else payload[start:end]


class SendSource(Protocol):
    """The bytes of a stream at the positions `start` to `end`, of which TCP reads and sends those
    before `ready_end`. It grows at `end`, and never changes what was read."""

    @property
    def start(self) -> int:
        """What lies before is acknowledged and gone."""

    @property
    def end(self) -> int:
        """Behind all that was written; a FIN comes there."""

    @property
    def ready_end(self) -> int:
        """Behind what can be sent now: `end` unless the rest is not ready (`M_NOTREADY`)."""

    def read(self, start: int, end: int) -> Payload:
        """The bytes at [start, end), which are ready and lie within one `boundary`."""

    def boundary(self, start: int, end: int) -> int:
        """How far one packet from `start` on may reach, at most `end`: it does not mix what the
        card encrypts in different sessions, or with what it does not encrypt."""

    def release(self, position: int) -> None:
        """Everything before `position` is acknowledged. A position beyond `end` counts as it."""


class Mark(NamedTuple):
    """What the card says of a received packet (`csum_flags` and `leaf_rcvif` of its header)."""

    decrypted: bool = False
    """All TLS records in its payload are decrypted (CSUM_TLS_DECRYPTED)."""
    ifnet: object | None = None
    """The leaf interface it came in at."""
    flow: int = 0
    """Handle of its TLS receive flow, or 0."""


PLAIN = Mark()
DECRYPTED = Mark(True)


class ReceiveSink(Protocol):
    """Where TCP puts what has arrived in order."""

    @property
    def capacity(self) -> int:
        """Bytes that fit into it (`sb_hiwat`)."""

    @property
    def buffered(self) -> int:
        """Bytes in it that count against the window: `capacity` less `sbspace`."""

    def append(self, data: bytes, mark: Mark) -> None:
        """Take the next bytes of the stream, which are the sink's own now. Data of different marks
        is never joined, by TCP or by the sink."""
