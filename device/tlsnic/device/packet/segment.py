"""Segmentation: one TCP or UDP super-frame becomes frames of at most `mss` payload bytes.

The rules are those of a NIC and of Linux' software path: the IPv4 identification counts up, TCP
sequence numbers advance and wrap, FIN and PSH stay on the last segment only, CWR (RFC 3168) on the
first only, everything else is copied from the template; lengths and checksums are computed anew.

All headers of a send are the rows of one array, so that they cost a few numpy calls and not one
Python step per field and segment. The payload is summed in place and not copied when it is one
buffer. Sums are taken over big-endian words modulo 65535 (see checksum.py), where 2**16 counts as
1: a 32-bit field counts as its value, and little-endian payload sums as 256 times theirs.
"""

from collections.abc import Sequence
from functools import lru_cache
from struct import Struct
from typing import Any, Final

import numpy as np

from tlsnic.device.packet.checksum import fill_ipv4, fill_l4, word_sum
from tlsnic.device.packet.headers import (
    PROTOCOL_TCP,
    PROTOCOL_UDP,
    TCP_CWR,
    TCP_FIN,
    TCP_PSH,
    Buffer,
    Headers,
)

MAX_IP_BYTES: Final = 65535

_U16: Final = Struct("!H")
_UINT8: Final = np.dtype(np.uint8)
_UINT32: Final = np.dtype("<u4")
_INT64: Final = np.dtype(np.int64)
_UINT64: Final = np.dtype(np.uint64)
_INDEX: Final = np.arange(70_000, dtype=np.int64)
_reduce = np.add.reduce

Frame = tuple[Buffer, ...]
"""The parts of one frame, as a wire sends them: the headers, then payload if there is any."""


def segment(
    head: Buffer, headers: Headers, payload: Buffer | Sequence[Buffer], mss: int
) -> list[Frame]:
    """Cuts a super-frame into frames.

    `head` begins with the headers up to `headers.payload`, which are the template; its IP and UDP
    joined first. `mss` is the payload bytes per frame; without payload there is one frame.
    joined first. `mss` is the payload bytes per frame; without payload there is one frame.

    The header views are of one new buffer; the payload views are of the caller's, which must not
    change before the frames are sent.

    ValueError: the template is not TCP or UDP, mss is below 1, or a segment is beyond 65535 bytes.
    """
    if not headers.l4_bytes:
        raise ValueError("segmentation needs a well-formed, unfragmented TCP or UDP header")
    if mss < 1:
        raise ValueError(f"segment size {mss} is below 1")
    data = payload if isinstance(payload, bytes | bytearray | memoryview) else b"".join(payload)
    view = memoryview(data)
    length = len(view)
    size = min(mss, length)
    count = -(-length // mss) or 1
    head_bytes = headers.payload
    counted = head_bytes - headers.l3 - (40 if headers.ip_version == 6 else 0)
    if counted + size > MAX_IP_BYTES:
        raise ValueError(f"a segment of {counted + size} bytes does not fit an IP length")
    template = bytearray(head[:head_bytes])
    if count == 1:
        _complete_single(template, headers, view)
        return [(template, view)] if length else [(template,)]
    rows = memoryview(_headers(template, headers, view, size, count))
    return [
        (rows[at : at + head_bytes], view[start : start + mss])
        for at, start in zip(
            range(0, count * head_bytes, head_bytes), range(0, length, mss), strict=True
        )
    ]


@lru_cache(maxsize=64)
def _layout(version: int, protocol: int, l3: int, l4: int, head_bytes: int) -> np.dtype[Any]:
    """The fields that differ between the rows of a header array."""
    fields = [("l4_checksum", ">u2", l4 + (16 if protocol == PROTOCOL_TCP else 6))]
    if protocol == PROTOCOL_TCP:
        fields.append(("seq", ">u4", l4 + 4))
    if version == 4:
        fields += [("identification", ">u2", l3 + 4), ("ip_checksum", ">u2", l3 + 10)]
    names, formats, offsets = zip(*fields, strict=True)
    return np.dtype(
        {"names": names, "formats": formats, "offsets": offsets, "itemsize": head_bytes}
    )


def _complete_single(head: bytearray, headers: Headers, view: memoryview) -> None:
    """Lengths and checksums of a send that is one segment."""
    l3, l4 = headers.l3, headers.l4
    size = len(view)
    l4_bytes = headers.payload - l4 + size
    if headers.ip_version == 4:
        _U16.pack_into(head, l3 + 2, headers.payload - l3 + size)
        fill_ipv4(head, headers)
    else:
        _U16.pack_into(head, l3 + 4, headers.payload - l3 - 40 + size)
    if headers.protocol == PROTOCOL_UDP:
        _U16.pack_into(head, l4 + 4, l4_bytes)
    fill_l4(head, headers, (view,), l4_bytes)


def _headers(
    head: bytearray, headers: Headers, view: memoryview, size: int, count: int
) -> bytearray:
    """The headers of all segments, one behind the other. `size` is the payload of a full one."""
    l3, l4, head_bytes = headers.l3, headers.l4, headers.payload
    version, protocol = headers.ip_version, headers.protocol
    short = count * size - len(view)  # what the last segment lacks
    l4_bytes = head_bytes - l4 + size
    if version == 4:
        ip_length_at, ip_length = l3 + 2, head_bytes - l3 + size
        (identification,) = _U16.unpack_from(head, l3 + 4)
        head[l3 + 4 : l3 + 6] = head[l3 + 10 : l3 + 12] = b"\0\0"
        addresses = head[l3 + 12 : l3 + 20]
    else:
        ip_length_at, ip_length = l3 + 4, head_bytes - l3 - 40 + size
        addresses = head[l3 + 8 : l3 + 40]
    _U16.pack_into(head, ip_length_at, ip_length)

    flags_at = l4 + 13
    flags = first_flags = last_flags = 0
    if protocol == PROTOCOL_TCP:
        head[l4 + 4 : l4 + 8] = b"\0\0\0\0"
        head[l4 + 16 : l4 + 18] = b"\0\0"
        flags = head[flags_at] & ~(TCP_FIN | TCP_PSH | TCP_CWR)
        first_flags, last_flags = head[flags_at] & TCP_CWR, head[flags_at] & (TCP_FIN | TCP_PSH)
        head[flags_at] = flags
    else:
        _U16.pack_into(head, l4 + 4, l4_bytes)
        head[l4 + 6 : l4 + 8] = b"\0\0"

    rows = head * count
    fields: Any = np.frombuffer(rows, _layout(version, protocol, l3, l4, head_bytes))
    index = _INDEX[:count] if count <= len(_INDEX) else np.arange(count, dtype=_INT64)
    last_row = (count - 1) * head_bytes
    if short:
        _U16.pack_into(rows, last_row + ip_length_at, ip_length - short)

    if version == 4:
        identifications = index + identification & 0xFFFF
        fields["identification"] = identifications
        ip_sum = int.from_bytes(head[l3:l4], "big") % 65535
        sums = -ip_sum - identifications
        sums[-1] += short
        fields["ip_checksum"] = sums % 65535

    # Pseudo-header and header, with what differs between the rows still 0.
    base = int.from_bytes(addresses, "big") + protocol + l4_bytes
    base = (base + int.from_bytes(head[l4:head_bytes], "big")) % 65535
    sums = _payload_sums(view, size, count)
    sums *= -256
    sums -= base
    if protocol == PROTOCOL_TCP:
        seq = index * size + headers.tcp_seq & 0xFFFFFFFF
        fields["seq"] = seq
        sums -= seq
        sums[0] -= first_flags
        sums[-1] += short - last_flags
        rows[flags_at] |= first_flags
        rows[last_row + flags_at] |= last_flags
        fields["l4_checksum"] = sums % 65535
    else:
        sums[-1] += 2 * short  # once in the pseudo-header, once in the header
        if short:
            _U16.pack_into(rows, last_row + l4 + 4, l4_bytes - short)
        checksums = sums % 65535
        checksums[checksums == 0] = 0xFFFF  # RFC 768: 0 would mean "no checksum"
        fields["l4_checksum"] = checksums
    return rows


def _payload_sums(view: memoryview, size: int, count: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """int64[count]: the little-endian word sum of each segment, correct modulo 65535.

    Rows of 32-bit words at a stride of `size` bytes, whatever the alignment, then the up to three
    bytes that remain of each row. The sum of 65535 bytes is below 2**46: nothing overflows.
    """
    full = len(view) // size if size else 0
    sums = np.zeros(count, _INT64)
    if full:
        words, tail = size >> 2, size & 3
        if words:
            matrix = np.ndarray((full, words), _UINT32, view, 0, (size, 4))
            sums[:full] = _reduce(matrix, axis=1, dtype=_UINT64)
        for byte in range(tail):
            column: Any = np.ndarray((full,), _UINT8, view, (words << 2) + byte, (size,))
            sums[:full] += column.astype(_INT64) << 8 * (byte & 1)
    if full < count:
        sums[full] = word_sum(view[full * size :]) % 65535
    return sums
