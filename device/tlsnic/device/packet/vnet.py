"""Between headers and the virtio-net header (virtio 1.2, section 5.1.6): requests both ways.

A wire with such headers (TAP) leaves checksums and segmentation to whoever can do them. What comes
from the far end is not trusted: requests that do not fit the frame are refused.
"""

from collections.abc import Sequence
from struct import Struct
from typing import Final, NamedTuple

from tlsnic.device.packet.checksum import fold, parts_sum
from tlsnic.device.packet.headers import (
    PROTOCOL_TCP,
    PROTOCOL_UDP,
    TCP_CWR,
    Buffer,
    Headers,
    parse,
)
from tlsnic.device.packet.segment import Frame, segment

VNET_NEEDS_CSUM: Final = 1
"""flags: complete the checksum over csum_start to the end, and store it at csum_offset from it."""
VNET_DATA_VALID: Final = 2
"""flags: the checksum was verified already."""
VNET_GSO_NONE: Final = 0
VNET_GSO_TCPV4: Final = 1
VNET_GSO_TCPV6: Final = 4
VNET_GSO_UDP_L4: Final = 5
VNET_GSO_ECN: Final = 0x80
"""Added to the gso_type of TCP: CWR belongs to the first segment only."""
VNET_FORMAT: Final = Struct("<BBHHHH")
"""Layout of `VnetHeader` in memory: 10 bytes, little endian."""

_CHECKSUM_OFFSET: Final = {PROTOCOL_TCP: 16, PROTOCOL_UDP: 6}
_LITTLE: Final = Struct("<H")
_new = tuple.__new__


class VnetError(ValueError):
    """A received virtio-net header does not fit its frame."""


class VnetHeader(NamedTuple):
    """virtio_net_hdr without num_buffers, in its order; offsets and sizes in bytes.

    It says which work was left to the receiving side of a wire: completing a checksum (`flags` has
    VNET_NEEDS_CSUM), cutting into segments of `gso_size` (`gso_type` not 0).
    """

    flags: int = 0
    gso_type: int = VNET_GSO_NONE
    hdr_len: int = 0  # bytes of headers; a hint
    gso_size: int = 0  # payload bytes per segment
    csum_start: int = 0  # offset in the frame
    csum_offset: int = 0  # of the checksum field behind csum_start


def checksum_request(headers: Headers) -> VnetHeader:
    """Asks for the TCP or UDP checksum; the frame's field has to be fill_partial()'s.

    ValueError without a TCP or UDP header.
    """
    if not headers.l4_bytes:
        raise ValueError("checksum offload needs a TCP or UDP header")
    return VnetHeader(
        flags=VNET_NEEDS_CSUM,
        csum_start=headers.l4,
        csum_offset=_CHECKSUM_OFFSET[headers.protocol],
    )


def segmentation_request(headers: Headers, mss: int) -> VnetHeader:
    """Asks for a super-frame to be cut into frames of `mss` payload bytes, checksums included.

    The frame needs the IP and UDP lengths of the super-frame and fill_partial()'s checksum.
    ValueError without a TCP or UDP header, or when `mss` is no u16 above 0.
    """
    if not 1 <= mss <= 0xFFFF:
        raise ValueError(f"segment size {mss} is not between 1 and 65535")
    if not headers.l4_bytes:
        raise ValueError("checksum offload needs a TCP or UDP header")
    gso_type = _gso_type(headers)
    if headers.tcp_flags & TCP_CWR:
        gso_type |= VNET_GSO_ECN
    return _new(VnetHeader, (
        VNET_NEEDS_CSUM, gso_type, headers.payload, mss, headers.l4,
        _CHECKSUM_OFFSET[headers.protocol],
    ))  # fmt: skip


def complete_checksum(
    head: bytearray | memoryview, csum_start: int, csum_offset: int, rest: Sequence[Buffer] = ()
) -> None:
    """Does what NEEDS_CSUM asks for, to the frame that is `head` followed by the parts `rest`.

    The field holds the pseudo-header's sum; the checksum of everything from csum_start on replaces
    it. A sum of 0 is written as all ones, which every protocol reads alike and UDP needs.
    VnetError: the field is not in `head`.
    """
    field = csum_start + csum_offset
    if csum_start < 0 or csum_offset < 0 or field + 2 > len(head):
        raise VnetError(f"checksum field at {csum_start} + {csum_offset} is outside the headers")
    total = parts_sum((head[csum_start:], *rest))
    _LITTLE.pack_into(head, field, (0xFFFF ^ fold(total)) or 0xFFFF)


def cut(frame: Buffer, gso_type: int, gso_size: int) -> list[Frame]:
    """Segments a received super-frame, with whole checksums, as its virtio-net header asks.

    hdr_len is only a hint and not needed; the IP length must be right. VnetError: the type is
    unknown or not the frame's, or the size is 0 or too large.
    """
    headers = parse(frame)
    kind = gso_type & ~VNET_GSO_ECN
    if not headers.l4_bytes or kind != _gso_type(headers):
        raise VnetError(f"segmentation type {gso_type:#x} does not fit the frame's headers")
    view = memoryview(frame)
    stop = headers.l4 + headers.l4_bytes
    try:
        return segment(view, headers, view[headers.payload : stop], gso_size)
    except ValueError as error:
        raise VnetError(str(error)) from error


def _gso_type(headers: Headers) -> int:
    if headers.protocol == PROTOCOL_UDP:
        return VNET_GSO_UDP_L4
    return VNET_GSO_TCPV4 if headers.ip_version == 4 else VNET_GSO_TCPV6
