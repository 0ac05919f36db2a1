"""Frames for tests that do not care what is in them, and addresses for those that do."""

from __future__ import annotations

import random

from harness.peer import MAC as PEER_MAC

ETHERTYPE = bytes.fromhex("88b5")  # IEEE 802, local experimental
BROADCAST = b"\xff" * 6
PEER_TEXT = PEER_MAC.hex(":")
IP4_NIC, IP4_PEER = "192.0.2.1", "192.0.2.2"
IP6_NIC, IP6_PEER = "2001:db8::1", "2001:db8::2"

_NOISE = random.Random(0).randbytes(1 << 17)


def noise(size_bytes: int, seed: int) -> bytes:
    """Bytes that differ from seed to seed, cheaply."""
    start = seed * 7919 % (len(_NOISE) // 2)
    head = seed.to_bytes(8, "big")[:size_bytes]
    return head + _NOISE[start : start + size_bytes - len(head)]


def frame(destination: bytes, source: bytes, length: int, seed: int = 0) -> bytes:
    """A frame of `length` bytes of no known protocol."""
    return destination + source + ETHERTYPE + noise(length - 14, seed)
