"""What the TCP raises, and how a connection ends that does not end well."""

from __future__ import annotations

from enum import Enum

from tlsnic.driver.errors import DriverError


class TcpError(DriverError):
    """A call that the connection cannot do in its state."""


class SegmentError(ValueError):
    """A frame that is no whole, correct TCP segment. The only error of parsing."""


class Failure(Enum):
    """Why a connection was closed without both sides having closed it."""

    REFUSED = "the peer answered the SYN with a RST"
    RESET = "the peer sent a RST"
    TIMED_OUT = "the peer stopped answering"
    ABORTED = "this side aborted it"
