"""The project's TCP, above the driver: small, without I/O, complete enough for real peers.

`Connection` is one connection: frames and the time go in, packets for the card come out.
`Host` joins connections to a `Nic`. See docs of each; the rest are parts of these two.
"""

from __future__ import annotations

from .config import Endpoint, TcpConfig
from .connection import Connection
from .errors import Failure, SegmentError, TcpError
from .outgoing import Outgoing, to_frames
from .states import State

__all__ = [
    "Connection",
    "Endpoint",
    "Failure",
    "Outgoing",
    "SegmentError",
    "State",
    "TcpConfig",
    "TcpError",
    "to_frames",
]
