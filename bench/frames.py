"""The frames that are sent and received: TCP over IPv4, with right lengths and checksums."""

from __future__ import annotations

from struct import pack
from typing import Final

HEADER_BYTES: Final = 54
CARD_MAC: Final = bytes.fromhex("02746c730001")
PEER_MAC: Final = bytes.fromhex("020000000002")
MSS: Final = 1448
SEND_BYTES: Final = 65536
"""A segmented send: headers and 65,482 bytes of payload."""
RECEIVED_BYTES: Final = 1448
"""A received frame, headers included."""


def _checksum(data: bytes) -> int:
    total = sum(
        int.from_bytes(data[at : at + 2].ljust(2, b"\0"), "big") for at in range(0, len(data), 2)
    )
    return ~(total % 65535) & 0xFFFF


def tcp_frame(source: bytes, destination: bytes, length: int) -> bytes:
    """A frame of `length` bytes with ACK set and a payload of zeros and ones in turn."""
    payload = (b"\0\1" * length)[: length - HEADER_BYTES]
    addresses = bytes((10, 0, 0, 1, 10, 0, 0, 2))
    ip = pack("!BBHHHBBH", 0x45, 0, length - 14, 1, 0x4000, 64, 6, 0) + addresses
    ip = ip[:10] + pack("!H", _checksum(ip)) + ip[12:]
    tcp = pack("!HHIIBBHHH", 40000, 443, 1, 1, 0x50, 0x10, 65535, 0, 0)
    pseudo = addresses + pack("!HH", 6, len(tcp) + len(payload))
    tcp = tcp[:16] + pack("!H", _checksum(pseudo + tcp + payload)) + tcp[18:]
    return destination + source + b"\x08\x00" + ip + tcp + payload
