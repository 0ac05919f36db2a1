"""Receive-side scaling: the Toeplitz hash of a flow, and the queue it selects.

The function and its inputs are Microsoft's ("RSS Hashing Functions", "RSS Hash Types"). Bit i of
the input, when set, adds (XOR) the 32 key bits that begin at bit i. The hash is linear, so each
byte of the input has a table of its 256 contributions: one look-up per byte. A flow always hashes
alike; callers that know the flow already keep its result.
"""

import enum
from collections.abc import Sequence
from typing import Final, NamedTuple

from tlsnic.device.packet.headers import (
    NO_PROTOCOL,
    PROTOCOL_TCP,
    PROTOCOL_UDP,
    Buffer,
    Headers,
    flow_key,
)

KEY_BYTES: Final = 40
_MAX_INPUT_BYTES: Final = KEY_BYTES - 4


class HashType(enum.IntFlag):
    """What a hash is taken of; the bit values are those of virtio 1.2, section 5.1.6.4.3."""

    NONE = 0
    IPV4 = 1
    TCP_IPV4 = 2
    UDP_IPV4 = 4
    IPV6 = 8
    TCP_IPV6 = 16
    UDP_IPV6 = 32


class Toeplitz:
    """The hash under one key of 40 bytes. ValueError for another length."""

    def __init__(self, key: Buffer) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"RSS key has {len(key)} bytes instead of {KEY_BYTES}")
        bits = int.from_bytes(key, "big")
        self._tables = [_byte_table(bits, position) for position in range(_MAX_INPUT_BYTES)]

    def hash(self, data: bytes) -> int:
        """The 32-bit hash of at most 36 bytes (an IPv6 flow_key()). ValueError if longer."""
        if len(data) > _MAX_INPUT_BYTES:
            raise ValueError(f"RSS input of {len(data)} bytes is longer than {_MAX_INPUT_BYTES}")
        result = 0
        for table, byte in zip(self._tables, data, strict=False):
            result ^= table[byte]
        return result


def _byte_table(key_bits: int, position: int) -> list[int]:
    """What each value of the byte at `position` adds to the hash."""
    first_shift = KEY_BYTES * 8 - 32 - position * 8
    windows = [key_bits >> first_shift - bit & 0xFFFFFFFF for bit in range(8)]
    table = [0] * 256
    for bit, window in enumerate(windows):
        value = 0x80 >> bit
        for multiple in range(value, 256, 2 * value):
            for byte in range(multiple, multiple + value):
                table[byte] ^= window
    return table


class Selection(NamedTuple):
    """Where a packet goes."""

    queue: int
    hash_type: HashType  # NONE: not hashed, queue is the default one
    hash_value: int


class Rss:
    """Key, enabled hash types and indirection table of one port.

    ValueError: the key is not 40 bytes, or the table's length is not a power of two.
    """

    def __init__(
        self, key: Buffer, enabled: HashType, table: Sequence[int], default_queue: int = 0
    ) -> None:
        if not table or len(table) & (len(table) - 1):
            raise ValueError(f"indirection table length {len(table)} is not a power of two")
        self._toeplitz = Toeplitz(key)
        self._types = _types(enabled)
        self._table = tuple(table)
        self._mask = len(table) - 1
        self._default_queue = default_queue

    def hash_input(self, frame: Buffer, headers: Headers) -> tuple[HashType, bytes]:
        """The most specific enabled type that fits a packet and its input; (NONE, b"") if none.

        Types with TCP and UDP take addresses and ports; fragments, malformed layer 4 headers and
        other protocols have addresses only. IPv6 extension headers are skipped over.
        """
        protocol = headers.protocol if headers.l4_bytes else NO_PROTOCOL
        hash_type, length = self._types.get((headers.ip_version, protocol), _NOT_HASHED)
        return hash_type, flow_key(frame, headers)[:length] if length else b""

    def select(self, frame: Buffer, headers: Headers) -> Selection:
        """The queue of a packet: the table's entry at the low bits of its hash."""
        hash_type, data = self.hash_input(frame, headers)
        if not data:
            return Selection(self._default_queue, hash_type, 0)
        value = self._toeplitz.hash(data)
        return Selection(self._table[value & self._mask], hash_type, value)


_NOT_HASHED: Final = (HashType.NONE, 0)


def _types(enabled: HashType) -> dict[tuple[int, int], tuple[HashType, int]]:
    """Hash type and bytes of input by IP version and layer 4 protocol (NO_PROTOCOL: not read)."""
    types: dict[tuple[int, int], tuple[HashType, int]] = {}
    for version, addresses_bytes, by_address, tcp, udp in (
        (4, 8, HashType.IPV4, HashType.TCP_IPV4, HashType.UDP_IPV4),
        (6, 32, HashType.IPV6, HashType.TCP_IPV6, HashType.UDP_IPV6),
    ):
        for protocol, by_port in ((PROTOCOL_TCP, tcp), (PROTOCOL_UDP, udp), (NO_PROTOCOL, None)):
            if by_port is not None and by_port in enabled:
                types[version, protocol] = (by_port, addresses_bytes + 4)
            elif by_address in enabled:
                types[version, protocol] = (by_address, addresses_bytes)
    return types
