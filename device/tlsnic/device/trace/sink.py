"""What a trace goes to: a capture, a record, a client of the control socket."""

from typing import Protocol

from tlsnic.abi.layout import Structure
from tlsnic.device.core.host import Buffer


class Sink(Protocol):
    """Gets everything that passes the boundary of one or more cards, in order.

    An input comes before the outputs that it causes. What a sink raises, other than WireError, is a
    fault of the card's own; after a WireError the tracer lets go of the sink.
    """

    takes_secrets: bool
    """Whether it may see key blocks. Else the data of records with TraceFlags.SECRET is left out."""

    def put(self, record: Structure, data: Buffer = b"") -> None:
        """One record and its data, which is only good during the call.

        Args:
            record: a structure of `tlsnic.abi.structures.TRACES`, its `card` filled in.
            data: bytes read or written by DMA; for TraceFrame the frame as it passed (a super-frame
                whole, its work undone); for a MARK the text.
        """

    def flush(self) -> None:
        """Nothing is to be done for a while: bring everything to where it belongs."""

    def close(self) -> None:
        """Nothing more comes."""
