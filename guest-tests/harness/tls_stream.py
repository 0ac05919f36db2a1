"""TLS on the wire, as tests look at it: streams put together again, and plaintext that leaks.

Frames are bytes from the destination address on, as `Peer` gives them.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from struct import Struct
from typing import NamedTuple

MARKER = random.Random("marker").randbytes(16)
"""Is in every payload of `marked`, and must be in no frame."""
_WINDOW_BYTES = 8
_TAIL = Struct(">II")
_WINDOWS = [MARKER[at : at + _WINDOW_BYTES] for at in range(len(MARKER) - _WINDOW_BYTES + 1)]
_IPV4, _IPV6, _VLANS = 0x0800, 0x86DD, (0x8100, 0x88A8)
_TCP = 6
_SYN = 2
_HALF = 1 << 31


def marked(size_bytes: int, seed: int = 0) -> bytes:
    """A payload with the marker in each of its blocks of 24 bytes; no two blocks are alike.

    Any 23 bytes of it have a window that `PlaintextScanner` finds.
    """
    count = -(-size_bytes // (len(MARKER) + _TAIL.size))
    seed &= 0xFFFF_FFFF
    return b"".join([MARKER + _TAIL.pack(seed, n) for n in range(count)])[:size_bytes]


class PlaintextScanner:
    """Looks for any 8 bytes of the marker in a row. Counts frames: `scanned`."""

    def __init__(self) -> None:
        self.scanned = 0

    def check(self, frames: Iterable[bytes]) -> None:
        """Fails the test when one of `frames` has plaintext in it."""
        for frame in frames:
            for window in _WINDOWS:
                at = frame.find(window)
                assert at < 0, (
                    f"plaintext at byte {at} of frame {self.scanned} ({len(frame)} bytes)"
                )
            self.scanned += 1


class Segment(NamedTuple):
    """A TCP segment of a frame."""

    source_port: int
    destination_port: int
    sequence: int
    """Of the first byte of `payload`, which a SYN comes before."""
    flags: int
    payload: bytes


def tcp_segment(frame: bytes) -> Segment | None:
    """The segment in `frame`, without padding behind the packet; None when there is none.

    IPv4 and IPv6 without extension headers, with any number of VLAN tags.
    """
    at = 12
    ethertype = int.from_bytes(frame[at : at + 2], "big")
    while ethertype in _VLANS:
        at += 4
        ethertype = int.from_bytes(frame[at : at + 2], "big")
    at += 2
    if ethertype == _IPV4:
        protocol, header = frame[at + 9], (frame[at] & 0xF) * 4
        end = at + int.from_bytes(frame[at + 2 : at + 4], "big")
    elif ethertype == _IPV6:
        protocol, header = frame[at + 6], 40
        end = at + header + int.from_bytes(frame[at + 4 : at + 6], "big")
    else:
        return None
    if protocol != _TCP:
        return None
    at += header
    flags = frame[at + 13]
    sequence = int.from_bytes(frame[at + 4 : at + 8], "big") + bool(flags & _SYN)
    return Segment(
        int.from_bytes(frame[at : at + 2], "big"),
        int.from_bytes(frame[at + 2 : at + 4], "big"),
        sequence & 0xFFFF_FFFF,
        flags,
        frame[at + (frame[at + 12] >> 4) * 4 : end],
    )


class StreamReassembler:
    """One direction of a TCP flow, put together from frames in any order.

    Every byte is remembered: one that is sent again and differs fails the test.
    """

    def __init__(
        self,
        start_sequence: int,
        *,
        source_port: int | None = None,
        destination_port: int | None = None,
    ) -> None:
        """`start_sequence`: TCP sequence number of the stream's first byte; what is before it is
        only counted. Frames of other ports than these are passed over."""
        self.start_sequence = start_sequence
        self.before_bytes = 0
        """Payload from before the start."""
        self.resent_bytes = 0
        """Payload that was there already, and was the same."""
        self._ports = source_port, destination_port
        self._data = bytearray()
        self._known = bytearray()  # a 1 for each byte of _data that has come

    def add(self, frames: Sequence[bytes]) -> None:
        """Frames that came. Those without TCP, or of another flow, are passed over.

        Fails the test when a byte differs from what it was before.
        """
        for frame in frames:
            segment = tcp_segment(frame)
            if segment is not None and self._is_ours(segment) and segment.payload:
                self._add(segment.sequence, segment.payload)

    def _is_ours(self, segment: Segment) -> bool:
        ports = segment.source_port, segment.destination_port
        return all(mine in (None, port) for mine, port in zip(self._ports, ports, strict=True))

    def _add(self, sequence: int, payload: bytes) -> None:
        start = (sequence - self.start_sequence + _HALF) % (1 << 32) - _HALF
        if start < 0:
            self.before_bytes += min(-start, len(payload))
            payload, start = payload[-start:], 0
        end = start + len(payload)
        if len(self._data) < end:
            self._known += bytes(end - len(self._known))
            self._data += bytes(end - len(self._data))
        known = self._known[start:end]
        again = known.count(1)
        if again:
            old = self._data[start:end]
            if again == len(payload):
                is_same = old == payload
            else:
                mask = zip(old, payload, known, strict=True)
                is_same = all(a == b for a, b, was in mask if was)
            assert is_same, self._difference(start, payload, known)
            self.resent_bytes += again
        self._data[start:end] = payload
        self._known[start:end] = b"\1" * len(payload)

    def _difference(self, start: int, payload: bytes, known: bytes) -> str:
        pairs = zip(self._data[start:], payload, known, strict=False)
        at = next(n for n, (old, new, was) in enumerate(pairs) if was and old != new)
        return f"byte {start + at} of the stream was sent again and differs"

    @property
    def end_offset(self) -> int:
        """Bytes from the start to the last byte that has come, gaps included."""
        return len(self._data)

    def gaps(self) -> list[tuple[int, int]]:
        """Offset and length of what is missing before `end_offset`."""
        found = []
        at = self._known.find(0)
        while at >= 0:
            end = self._known.find(1, at)
            end = len(self._known) if end < 0 else end
            found.append((at, end - at))
            at = self._known.find(0, end)
        return found

    def contiguous(self) -> bytes:
        """The stream up to the first gap."""
        gap = self._known.find(0)
        return bytes(self._data if gap < 0 else self._data[:gap])

    def wire(self) -> bytes:
        """The whole stream; fails the test when something is missing."""
        gaps = self.gaps()
        assert not gaps, f"missing from the stream (offset, bytes): {gaps}"
        return bytes(self._data)
