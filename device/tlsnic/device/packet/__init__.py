"""Packets as pure functions: parsing, checksums, segmentation, VLAN tags, RSS, receive coalescing.

No I/O, no clock, and nothing of the device around it: parse() a frame once and hand its Headers to
everything else. `vlan` and `vnet` are used as modules.
"""

from tlsnic.device.packet import vlan, vnet
from tlsnic.device.packet.checksum import (
    RxChecksum,
    fill_ipv4,
    fill_l4,
    fill_partial,
    fill_super_frame,
    internet_checksum,
    verify_rx,
)
from tlsnic.device.packet.coalesce import Coalescer, Packet
from tlsnic.device.packet.headers import Buffer, Fault, Headers, flow_key, parse
from tlsnic.device.packet.rss import HashType, Rss, Toeplitz
from tlsnic.device.packet.segment import Frame, segment

__all__ = [
    "Buffer",
    "Coalescer",
    "Fault",
    "Frame",
    "HashType",
    "Headers",
    "Packet",
    "Rss",
    "RxChecksum",
    "Toeplitz",
    "fill_ipv4",
    "fill_l4",
    "fill_partial",
    "fill_super_frame",
    "flow_key",
    "internet_checksum",
    "parse",
    "segment",
    "verify_rx",
    "vlan",
    "vnet",
]
