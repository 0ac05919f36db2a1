"""The Internet checksum (RFC 1071) of IPv4, TCP and UDP: sums, filling in, verifying.

Sums are taken over little-endian 16-bit words and kept as plain integers modulo 65535: one's
complement addition is addition modulo 65535, byte order does not matter until the result is stored,
and multiplying by 256 swaps the bytes of every word, which a part at an odd offset needs.

Two ways to sum, chosen by length. Measured with CPython 3.11 and numpy 2.4, as multiples of the
20-byte integer sum: integer 3 at 256 bytes, 15 at 1448, 550 at 64 KiB; numpy 8 from 20 to 1448
bytes, 27 at 64 KiB. They cross between 600 and 700 bytes.
"""

from collections.abc import Iterable, Sequence
from struct import Struct
from typing import Final, NamedTuple

import numpy as np

from tlsnic.device.packet.headers import PROTOCOL_TCP, PROTOCOL_UDP, Buffer, Headers

_NUMPY_FROM_BYTES: Final = 640
_LITTLE: Final = Struct("<H")
_BIG: Final = Struct(">H")
_UINT32: Final = np.dtype("<u4")
_UINT64: Final = np.dtype(np.uint64)
_frombuffer = np.frombuffer
_pack_word = _LITTLE.pack_into
_pack_length = _BIG.pack_into
_from_bytes = int.from_bytes
_reduce = np.add.reduce


def word_sum(data: Buffer) -> int:
    """Sum of the 16-bit words of `data`, correct modulo 65535 and not reduced.

    0 only where every byte is 0, so that the two zeros of one's complement stay apart. An odd last
    byte counts as if a zero byte followed.
    """
    length = len(data)
    if length < _NUMPY_FROM_BYTES:
        return _from_bytes(data, "little")
    total: int = _reduce(_frombuffer(data, _UINT32, length >> 2), dtype=_UINT64).item()
    if length & 3:
        total += _from_bytes(data[length & ~3 :], "little")
    return total


def parts_sum(parts: Iterable[Buffer]) -> int:
    """word_sum() of the concatenation of `parts`, which may have any lengths, odd and 0 too."""
    total = 0
    odd = 0
    for part in parts:
        total += word_sum(part) << 8 if odd else word_sum(part)
        odd ^= len(part) & 1
    return total


def fold(total: int) -> int:
    """The 16-bit one's complement sum, little-endian words; 0 only for a sum of 0."""
    return (total - 1) % 65535 + 1 if total else 0


def internet_checksum(*parts: Buffer) -> int:
    """The checksum of the concatenation of `parts`, as the big-endian u16 of a header field."""
    (value,) = _BIG.unpack(_LITTLE.pack(0xFFFF ^ fold(parts_sum(parts))))
    return int(value)


def pseudo_header_sum(frame: Buffer, headers: Headers, l4_bytes: int | None = None) -> int:
    """Sum of the pseudo-header (RFC 9293 section 3.1, RFC 8200 section 8.1), never 0.

    `l4_bytes` replaces the layer 4 length of `headers`. The destination address is that of the IP
    header: with segments left, a routing header has another one, which is not looked up.
    """
    length = headers.l4_bytes if l4_bytes is None else l4_bytes
    l3 = headers.l3
    addresses = frame[l3 + 12 : l3 + 20] if headers.ip_version == 4 else frame[l3 + 8 : l3 + 40]
    return _from_bytes(addresses, "little") + ((headers.protocol + length) << 8)


def fill_ipv4(head: bytearray | memoryview, headers: Headers) -> None:
    """Writes the IPv4 header checksum; `head` begins with the frame and reaches to l4."""
    l3 = headers.l3
    field = l3 + 10
    head[field : field + 2] = b"\0\0"
    _pack_word(head, field, -_from_bytes(head[l3 : headers.l4], "little") % 65535)


def fill_l4(
    head: bytearray | memoryview,
    headers: Headers,
    rest: Sequence[Buffer] = (),
    l4_bytes: int | None = None,
) -> bool:
    """Writes the TCP or UDP checksum of the frame that is `head` followed by the parts `rest`.

    `head` reaches at least to the payload. Bytes behind the layer 4 length (padding) do not count;
    `l4_bytes` replaces that of `headers`.
    False, and nothing is written, without a TCP or UDP header. ValueError: the frame is shorter
    than its headers say.
    """
    field = _field(headers)
    if not field:
        return False
    _pack_word(head, field, 0)
    length = headers.l4_bytes if l4_bytes is None else l4_bytes
    total = pseudo_header_sum(head, headers, length)
    if not rest:
        data: Buffer = head[headers.l4 : headers.l4 + length]
        missing = length - len(data)
        total += word_sum(data)
    else:
        parts, missing = _cut((head[headers.l4 :], *rest), length)
        total += parts_sum(parts)
    if missing:
        raise ValueError(f"frame ends {missing} bytes before its layer 4 length")
    value = -total % 65535
    _pack_word(head, field, value or _zero(headers))
    return True


def fill_partial(head: bytearray | memoryview, headers: Headers) -> bool:
    """Writes the folded pseudo-header sum into the TCP or UDP checksum field.

    This is what a virtio-net header with NEEDS_CSUM and a Linux CHECKSUM_PARTIAL packet start from.
    False, and nothing is written, without a TCP or UDP header.
    """
    if not headers.l4_bytes:
        return False
    field = headers.l4 + (16 if headers.protocol == PROTOCOL_TCP else 6)
    _pack_word(head, field, (pseudo_header_sum(head, headers) - 1) % 65535 + 1)
    return True


def fill_super_frame(head: bytearray, headers: Headers, frame_bytes: int) -> None:
    """Writes what whoever cuts a TCP super-frame of `frame_bytes` starts from: IP length and checksum
    of the whole, and fill_partial()'s sum. `headers` are those of the whole, with a TCP header.
    """
    _, _, _, l3, l4, _, _, version, protocol, _, l4_bytes, _, _, _ = headers
    if version == 4:
        _pack_length(head, l3 + 2, frame_bytes - l3)
        head[l3 + 10 : l3 + 12] = b"\0\0"
        header = _from_bytes(head[l3:l4], "little")
        _pack_word(head, l3 + 10, -header % 65535)
        addresses = header >> 96 & 0xFFFF_FFFF_FFFF_FFFF
    else:
        _pack_length(head, l3 + 4, frame_bytes - l3 - 40)
        addresses = _from_bytes(head[l3 + 8 : l3 + 40], "little")
    _pack_word(head, l4 + 16, (addresses + ((protocol + l4_bytes) << 8) - 1) % 65535 + 1)


def _field(headers: Headers) -> int:
    """Offset of the layer 4 checksum in the frame; 0 if there is none."""
    if not headers.l4_bytes:
        return 0
    return headers.l4 + (16 if headers.protocol == PROTOCOL_TCP else 6)


def _zero(headers: Headers) -> int:
    """How a checksum of 0 is written: UDP's 0 means "no checksum" (RFC 768)."""
    return 0xFFFF if headers.protocol == PROTOCOL_UDP else 0


def _cut(parts: Iterable[Buffer], length: int) -> tuple[list[Buffer], int]:
    """The first `length` bytes of the parts, and how many are missing."""
    kept: list[Buffer] = []
    for part in parts:
        if length <= 0:
            break
        kept.append(part[:length])
        length -= len(kept[-1])
    return kept, length


class RxChecksum(NamedTuple):
    """What the checksums of a received frame are worth. The `ok` of an absent one is False."""

    ip_present: bool  # IPv4: IPv6 headers have no checksum
    ip_ok: bool
    l4_present: bool  # not in fragments, and not in UDP over IPv4 sent with checksum 0
    l4_ok: bool

    @property
    def verified(self) -> bool:
        """Layer 4 is right, and so is the IP header where it has a checksum."""
        return self.l4_ok and self.ip_ok == self.ip_present


_NO_IP: Final = RxChecksum(False, False, False, False)
# [IP checksum right][layer 4: absent, wrong, right]
_IPV4: Final = tuple(
    tuple(RxChecksum(True, ip, l4 > 0, l4 == 2) for l4 in range(3)) for ip in (False, True)
)
_IPV6: Final = tuple(RxChecksum(False, False, l4 > 0, l4 == 2) for l4 in range(3))


def verify_rx(frame: Buffer, headers: Headers) -> RxChecksum:
    """Checks a whole received frame against its parse().

    UDP with checksum 0 has none over IPv4 (RFC 768), a wrong one over IPv6 (RFC 8200 section 8.1).
    """
    _, _, _, l3, l4, _, _, version, protocol, _, l4_bytes, _, _, _ = headers
    if version == 4:
        results = _IPV4[_from_bytes(frame[l3:l4], "little") % 65535 == 0]
        addresses, addresses_end = l3 + 12, l3 + 20
    elif version == 6:
        results = _IPV6
        addresses, addresses_end = l3 + 8, l3 + 40
    else:
        return _NO_IP
    if not l4_bytes:
        return results[0]
    if protocol == PROTOCOL_UDP and not frame[l4 + 6] and not frame[l4 + 7]:
        return results[0 if version == 4 else 1]
    if addresses_end == l4:
        total = word_sum(frame[addresses : l4 + l4_bytes])
    else:
        total = word_sum(frame[addresses:addresses_end]) + word_sum(frame[l4 : l4 + l4_bytes])
    return results[1 if (total + ((protocol + l4_bytes) << 8)) % 65535 else 2]
