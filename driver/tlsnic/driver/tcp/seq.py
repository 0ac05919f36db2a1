"""Sequence numbers of 32 bits that wrap (RFC 9293, section 3.4), and the same without wrapping.

On the wire a sequence number is a u32. Inside this package a *position* is an unbounded integer
whose low 32 bits are the sequence number, so comparing and sorting positions needs no care.
Timestamps (RFC 7323, section 5.2) are compared as sequence numbers are.
"""

from __future__ import annotations

MASK = 0xFFFF_FFFF
_HALF = 0x8000_0000


def difference(a: int, b: int) -> int:
    """`a` minus `b` on the circle of 2^32: -2^31 to 2^31 - 1; negative when `a` is before `b`."""
    return ((a - b + _HALF) & MASK) - _HALF


def position(sequence: int, near: int) -> int:
    """The position with the low 32 bits `sequence` that is nearest to the position `near`.

    May be negative when `near` is below 2^31.
    """
    return near + ((sequence - near + _HALF) & MASK) - _HALF
