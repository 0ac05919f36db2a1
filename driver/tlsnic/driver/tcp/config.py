"""Who talks to whom, and how: `Endpoint` and `TcpConfig`. Plain values."""

from __future__ import annotations

from typing import NamedTuple

_MS = 10**6
_SECOND = 10**9


class Endpoint(NamedTuple):
    """Both ends of a connection, as they stand in the headers. Addresses in network order."""

    local_mac: bytes
    remote_mac: bytes
    local_address: bytes
    """4 bytes: IPv4; 16 bytes: IPv6."""
    remote_address: bytes
    local_port: int
    remote_port: int
    vlan: int | None = None
    """VLAN identifier of the tag in the frames; None: untagged."""

    @property
    def ip_version(self) -> int:
        """4 or 6."""
        return 4 if len(self.local_address) == 4 else 6

    @property
    def key(self) -> bytes:
        """Addresses and ports as they follow each other in a received frame."""
        return (
            self.remote_address
            + self.local_address
            + self.remote_port.to_bytes(2, "big")
            + self.local_port.to_bytes(2, "big")
        )


class TcpConfig(NamedTuple):
    """Settings of one connection. Sizes in bytes, times in nanoseconds."""

    mss: int = 1460
    """Largest TCP payload plus options that this side takes and sends (RFC 6691); for IPv6 on
    Ethernet 1440."""
    window: int = 1 << 20
    """Receive buffer."""
    send_buffer: int = 1 << 20
    max_send_bytes: int = 65160
    """Largest payload of one `Outgoing`; above the MSS the card has to segment it."""
    initial_sequence: int | None = None
    """None: random."""
    timestamps: bool = True
    timestamp_offset: int = 0
    """Added to the clock in milliseconds."""
    sack: bool = True
    window_scaling: bool = True
    congestion_control: bool = True
    nagle: bool = False
    delayed_ack_ns: int = 40 * _MS
    min_rto_ns: int = 200 * _MS
    max_rto_ns: int = 60 * _SECOND
    max_retries: int = 15
    """Time-outs in a row without an answer before the connection is given up."""
    time_wait_ns: int = 60 * _SECOND
    """Twice the maximum segment lifetime."""
    challenge_acks_per_s: int = 100
    """RFC 5961, section 7; also limits answers to what is outside of the window."""
