"""TLS alerts: their numbers, and the error that stands for one. RFC 8446 section 6."""

from __future__ import annotations

from enum import IntEnum

from tlsnic.driver.errors import DriverError

WARNING, FATAL = 1, 2


class AlertDescription(IntEnum):
    """The alerts that this driver sends or looks at."""

    CLOSE_NOTIFY = 0
    UNEXPECTED_MESSAGE = 10
    BAD_RECORD_MAC = 20
    RECORD_OVERFLOW = 22
    ILLEGAL_PARAMETER = 47
    DECODE_ERROR = 50
    PROTOCOL_VERSION = 70
    INTERNAL_ERROR = 80
    USER_CANCELED = 90
    NO_RENEGOTIATION = 100


class TlsError(DriverError):
    """The connection cannot go on. Attributes: `alert`, the alert's number; `from_peer`: the peer
    sent it, else it is due to the peer."""

    def __init__(self, alert: int, reason: str, *, from_peer: bool = False) -> None:
        self.alert = alert
        self.from_peer = from_peer
        try:
            name = AlertDescription(alert).name.lower()
        except ValueError:
            name = f"alert {alert}"
        super().__init__(f"{name}: {reason}")
