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


def padded(content: bytes) -> bytes:
    """As the card sends it: with zeros up to 60 bytes (IEEE 802.3, without FCS)."""
    return content + bytes(max(0, 60 - len(content)))


def tcp_layers(
    nic_text: str,
    *,
    ip: str = "IP",
    to_nic: bool = False,
    vlan: int | None = None,
    ip_fields: dict[str, object] | None = None,
    **tcp: object,
) -> list[list[object]]:
    """Layers of a TCP segment between card and far end, without payload."""
    nic_address, peer_address = (IP4_NIC, IP4_PEER) if ip == "IP" else (IP6_NIC, IP6_PEER)
    source, target = (peer_address, nic_address) if to_nic else (nic_address, peer_address)
    macs = (PEER_TEXT, nic_text) if to_nic else (nic_text, PEER_TEXT)
    layers: list[list[object]] = [["Ether", {"src": macs[0], "dst": macs[1]}]]
    if vlan is not None:
        layers.append(["Dot1Q", {"vlan": vlan & 0xFFF, "prio": vlan >> 13, "dei": vlan >> 12 & 1}])
    layers.append([ip, {"src": source, "dst": target, **(ip_fields or {})}])
    layers.append(["TCP", {"sport": 5001, "dport": 443, "flags": 0x10, **tcp}])
    return layers
