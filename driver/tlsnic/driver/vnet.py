"""Offloads of the virtio-net header against those of the card's descriptors and completions.

VIRTIO 1.2, section 5.1.6: a sender leaves the checksum and the segmentation of a packet to the
receiver of the header. The 10-byte header is used, little-endian as the hosts are.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from tlsnic.abi.enums import RxFlags, TxFlags
from tlsnic.driver.headers import find_l4, ones_complement_sum, pseudo_header_sum, tcp_header_end
from tlsnic.driver.rx import RxPacket

HEADER_BYTES = 10
_HEADER = struct.Struct("<BBHHHH")  # flags, gso_type, hdr_len, gso_size, csum_start, csum_offset

_NEEDS_CHECKSUM = 1
_GSO_NONE = 0
_GSO_TCPV4 = 1
_GSO_TCPV6 = 4
_GSO_ECN = 0x80

_SEGMENT = int(TxFlags.SEGMENT)
_L4_CHECKSUM = int(TxFlags.L4_CHECKSUM)
_RX_COALESCED = int(RxFlags.COALESCED)
_TCP_CHECKSUM_OFFSET, _UDP_CHECKSUM_OFFSET = 16, 6

# Linux's tun ignores DATA_VALID: the stack checks what is not to be segmented by itself.
_PLAIN = bytes(HEADER_BYTES)


class TxOffload(NamedTuple):
    """What to ask the card for: fields of the transmit descriptor."""

    flags: int
    mss: int
    header_length: int


_NO_OFFLOAD = TxOffload(0, 0, 0)
_CHECKSUM_OFFLOAD = TxOffload(_L4_CHECKSUM, 0, 0)


def to_card(header: bytes | bytearray, frame: memoryview) -> TxOffload:
    """The card's offloads for a packet that the stack sent behind `header`.

    A checksum of a kind that the card does not know (inside a tunnel, say) is filled into `frame`
    here. Raises ValueError for a header that does not fit the frame, or that asks for
    segmentation of another protocol than TCP.
    """
    flags, gso_type, _, gso_size, start, offset = _HEADER.unpack_from(header)
    if gso_type == _GSO_NONE:
        if not flags & _NEEDS_CHECKSUM:
            return _NO_OFFLOAD
        if start + offset + 2 > len(frame):
            raise ValueError("the checksum is outside the frame")
        if offset in (_TCP_CHECKSUM_OFFSET, _UDP_CHECKSUM_OFFSET) and _is_outer(frame, start):
            return _CHECKSUM_OFFLOAD
        _fill_checksum(frame, start, offset)
        return _NO_OFFLOAD
    if gso_type & ~_GSO_ECN not in (_GSO_TCPV4, _GSO_TCPV6) or not gso_size:
        raise ValueError(f"segmentation of type {gso_type:#x} with size {gso_size}")
    return TxOffload(_SEGMENT, gso_size, tcp_header_end(frame))


def _is_outer(frame: memoryview, start: int) -> bool:
    """Whether `start` is where the card finds the transport header."""
    if frame[12] == 0x08 and frame[13] == 0x00:  # by far the most frequent: IPv4, untagged
        return start == 14 + (frame[14] & 0xF) * 4
    found = find_l4(frame)
    return found is not None and found.offset == start


def _fill_checksum(frame: memoryview, start: int, offset: int) -> None:
    # The field holds the sum of the pseudo-header already.
    value = 0xFFFF - ones_complement_sum(frame[start:])
    place = start + offset
    # Zero means "no checksum" to UDP; all ones is the same sum (RFC 768).
    frame[place : place + 2] = (value or 0xFFFF).to_bytes(2, "big")


def to_stack(packet: RxPacket) -> tuple[bytes, bytes | bytearray | memoryview]:
    """Header and frame for the stack. The frame of a joined packet is changed in place.

    A joined packet is given on as one to segment, so its checksum field gets what a sender leaves
    there: the sum of the pseudo-header.
    """
    data: bytes | bytearray | memoryview = packet.data
    if packet.flags & _RX_COALESCED and packet.segments > 1:
        l4 = find_l4(data)
        if l4 is not None:
            if isinstance(data, bytes):
                data = bytearray(data)
            total = pseudo_header_sum(data, l4, len(data) - l4.offset)
            place = l4.offset + _TCP_CHECKSUM_OFFSET
            data[place : place + 2] = total.to_bytes(2, "big")
            header = _HEADER.pack(
                _NEEDS_CHECKSUM,
                _GSO_TCPV4 if l4.ip_version == 4 else _GSO_TCPV6,
                tcp_header_end(data),
                packet.segment_bytes,
                l4.offset,
                _TCP_CHECKSUM_OFFSET,
            )
            return header, data
    return _PLAIN, data
