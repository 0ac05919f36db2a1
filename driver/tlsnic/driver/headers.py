"""Just enough of Ethernet, IP and TCP headers to ask the card for its offloads."""

from __future__ import annotations

from typing import NamedTuple

ETHERNET_BYTES = 14
_VLAN_TYPES = (0x8100, 0x88A8)
_IPV4, _IPV6 = 0x0800, 0x86DD
TCP, UDP = 6, 17
# IPv6 extension headers that are skipped (RFC 8200, section 4).
_HOP_BY_HOP, _ROUTING, _DESTINATION = 0, 43, 60

ReadableBuffer = bytes | bytearray | memoryview


class L4(NamedTuple):
    """Where the transport header of a frame is."""

    ip_version: int
    """4 or 6."""
    ip_offset: int
    """Byte offset of the IP header."""
    protocol: int
    """6 (TCP), 17 (UDP) or another IP protocol number."""
    offset: int
    """Byte offset of the transport header."""


def find_l4(frame: ReadableBuffer) -> L4 | None:
    """Find the transport header; None when the frame is not IP, is a fragment, or is cut short."""
    offset = 12
    size = len(frame)
    if size < ETHERNET_BYTES + 20:
        return None
    ether_type = frame[offset] << 8 | frame[offset + 1]
    while ether_type in _VLAN_TYPES:
        offset += 4
        if offset + 2 > size:
            return None
        ether_type = frame[offset] << 8 | frame[offset + 1]
    ip = offset + 2
    if ether_type == _IPV4:
        if ip + 20 > size:
            return None
        is_fragment = (frame[ip + 6] << 8 | frame[ip + 7]) & 0x3FFF
        header_bytes = (frame[ip] & 0xF) * 4
        if frame[ip] >> 4 != 4 or header_bytes < 20 or is_fragment:
            return None
        return L4(4, ip, frame[ip + 9], ip + header_bytes)
    if ether_type == _IPV6:
        if ip + 40 > size or frame[ip] >> 4 != 6:
            return None
        protocol, l4 = frame[ip + 6], ip + 40
        while protocol in (_HOP_BY_HOP, _ROUTING, _DESTINATION):
            if l4 + 8 > size:
                return None
            protocol, l4 = frame[l4], l4 + (frame[l4 + 1] + 1) * 8
        return L4(6, ip, protocol, l4)
    return None


def tcp_header_end(frame: ReadableBuffer) -> int:
    """Bytes of all headers up to the end of the TCP header: TxDescriptor.header_length.

    Raises ValueError when the frame is not a whole TCP segment.
    """
    l4 = find_l4(frame)
    if l4 is None or l4.protocol != TCP or l4.offset + 20 > len(frame):
        raise ValueError("segmentation and TLS need a TCP segment over IPv4 or IPv6")
    end = l4.offset + (frame[l4.offset + 12] >> 4) * 4
    if end < l4.offset + 20 or end > len(frame):
        raise ValueError("the TCP header is longer than the frame, or shorter than 20 bytes")
    return end


def ones_complement_sum(data: ReadableBuffer, initial: int = 0) -> int:
    """16-bit one's complement sum (RFC 1071), not inverted; an odd last byte is padded."""
    # A big-endian number modulo 65535 is the one's complement sum of its 16-bit digits.
    value = int.from_bytes(data, "big")
    if len(data) & 1:
        value <<= 8
    value += initial
    return value % 0xFFFF or (0xFFFF if value else 0)


def pseudo_header_sum(frame: ReadableBuffer, l4: L4, length: int) -> int:
    """One's complement sum of the pseudo-header of a segment of `length` bytes.

    RFC 9293, section 3.1 for IPv4; RFC 8200, section 8.1 for IPv6.
    """
    ip = l4.ip_offset
    start, end = (ip + 12, ip + 20) if l4.ip_version == 4 else (ip + 8, ip + 40)
    return ones_complement_sum(frame[start:end], l4.protocol + length)
