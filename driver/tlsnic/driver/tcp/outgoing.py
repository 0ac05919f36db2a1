"""What a connection wants sent, and how software makes frames of it where no card does."""

from __future__ import annotations

from typing import NamedTuple

from tlsnic.driver.headers import L4, find_l4
from tlsnic.driver.tcp.source import Chain, Payload, cut
from tlsnic.driver.tcp.wire import ACK, FIN, PSH, RST, HeaderTemplate, Segment, fill_checksums


class Outgoing(NamedTuple):
    """One packet for the card: a segment, or with `mss` several in one."""

    headers: bytes
    """Ethernet to TCP; checksums not filled."""
    sequence: int
    """TCP sequence number of the first payload byte (u32)."""
    payload: Payload
    """Part of what was written, by reference where it lies in one piece or is a chain."""
    mss: int
    """Payload bytes per segment where the card has to cut; 0 when it is one segment."""
    is_retransmit: bool
    """Whether any of the payload was sent before."""


def reset_for(template: HeaderTemplate, segment: Segment) -> Outgoing:
    """The RST that answers a segment nobody expects (RFC 9293, section 3.10.7.1)."""
    if segment.flags & ACK:
        sequence = segment.ack
        headers = template.build(sequence, 0, RST, 0, b"", 0)
    else:
        sequence = 0
        ack = segment.seq + segment.length & 0xFFFF_FFFF
        headers = template.build(sequence, ack, RST | ACK, 0, b"", 0)
    return Outgoing(headers, sequence, b"", 0, False)


def split(outgoing: Outgoing, first_bytes: int) -> tuple[Outgoing, Outgoing]:
    """Two packets with the same bytes: the first `first_bytes` of the payload, and the rest.

    A chain's `done` stays with the caller's.
    """
    headers, sequence, payload, mss, is_retransmit = outgoing
    l4 = find_l4(headers)
    assert l4 is not None
    parts = []
    whole = len(payload)
    for start, end in ((0, first_bytes), (first_bytes, whole)):
        piece = cut(payload, start, end)
        own = bytearray(headers)
        _set_length(own, l4, len(own) + len(piece))
        at = sequence + start & 0xFFFF_FFFF
        own[l4.offset + 4 : l4.offset + 8] = at.to_bytes(4, "big")
        if not start:
            own[l4.offset + 13] &= ~(FIN | PSH)
        size = mss if len(piece) > mss else 0
        parts.append(Outgoing(bytes(own), at, piece, size, is_retransmit))
    return parts[0], parts[1]


def _set_length(headers: bytearray, l4: L4, frame_bytes: int) -> None:
    """Put the IP length of a frame of so many bytes into its headers."""
    ip = l4.ip_offset
    at, above = (ip + 2, ip) if l4.ip_version == 4 else (ip + 4, ip + 40)
    headers[at : at + 2] = (frame_bytes - above).to_bytes(2, "big")


def to_frames(outgoing: Outgoing) -> list[bytes]:
    """The frames that a card with segmentation and checksum offload makes of it."""
    headers, payload = outgoing.headers, outgoing.payload
    if isinstance(payload, Chain):
        payload = payload.tobytes()
    size = outgoing.mss or max(len(payload), 1)
    frames = []
    l4 = find_l4(headers)
    assert l4 is not None
    for start in range(0, max(len(payload), 1), size):
        piece = payload[start : start + size]
        frame = bytearray(headers) + piece
        if outgoing.mss:
            _set_length(frame, l4, len(frame))
            sequence = outgoing.sequence + start & 0xFFFF_FFFF
            frame[l4.offset + 4 : l4.offset + 8] = sequence.to_bytes(4, "big")
            if start + size < len(payload):
                frame[l4.offset + 13] &= ~(FIN | PSH)
        fill_checksums(frame)
        frames.append(bytes(frame))
    return frames
