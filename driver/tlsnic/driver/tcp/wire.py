"""TCP segments as bytes: building headers, reading received frames, filling checksums.

Reading never fails but with SegmentError. Building takes a template of everything that stays the
same in a connection. Formats: RFC 9293, section 3.1; options RFC 2018, 7323; RFC 791, 8200;
IEEE 802.1Q.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from tlsnic.driver.headers import (
    ETHERNET_BYTES,
    TCP,
    ReadableBuffer,
    find_l4,
    ones_complement_sum,
    pseudo_header_sum,
)
from tlsnic.driver.tcp.config import Endpoint
from tlsnic.driver.tcp.errors import SegmentError
from tlsnic.driver.tcp.source import PLAIN, Mark

FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32

DEFAULT_MSS_4, DEFAULT_MSS_6 = 536, 1220
"""What a peer takes that does not say (RFC 9293, section 3.7.1)."""

MAX_SCALE = 14
"""Largest shift of the window (RFC 7323, section 2.3)."""

_TCP = Struct(">HHIIBBHHH")
_TCP_READ = Struct(">IIBBHH")  # behind the ports
_TIMESTAMPS = Struct(">II")
_TIMESTAMP_PREFIX = b"\1\1\x08\x0a"  # two NOPs, kind, length: as nearly every segment has it
_END, _NOP, _MSS, _SCALE, _SACK_PERMITTED, _SACK, _TIMESTAMP = 0, 1, 2, 3, 4, 5, 8
_OPTION_BYTES = {_MSS: 4, _SCALE: 3, _SACK_PERMITTED: 2, _TIMESTAMP: 10}
_TAG = b"\x81\x00"
_CHECKSUM_OFFSET = 16


class Options(NamedTuple):
    """The TCP options that mean something here; unknown ones are skipped."""

    mss: int | None = None
    window_scale: int | None = None
    sack_permitted: bool = False
    sack: tuple[tuple[int, int], ...] = ()
    """Blocks: left edge, right edge (u32)."""
    timestamp: tuple[int, int] | None = None
    """TSval, TSecr."""


NO_OPTIONS = Options()


class Segment(NamedTuple):
    """A received TCP segment."""

    key: bytes
    """Source and destination address, source and destination port; see `Endpoint.key`."""
    vlan: int | None
    seq: int
    ack: int
    flags: int
    window: int
    """As in the header: not scaled."""
    options: Options
    payload: memoryview
    mark: Mark = PLAIN
    """What the card says of the packet."""

    @property
    def length(self) -> int:
        """SEG.LEN: payload, SYN and FIN in sequence space."""
        return len(self.payload) + (self.flags & 1) + (self.flags >> 1 & 1)


def parse(
    frame: ReadableBuffer, *, vlan: int | None = None, verify: bool = True, mark: Mark = PLAIN
) -> Segment:
    """Read a frame from its destination address on. The payload is a view of it.

    vlan: identifier of a tag that the card has stripped. verify: False when the card has checked
    the checksums. mark: what it says of the packet. Raises SegmentError.
    """
    l4 = find_l4(frame)
    if l4 is None or l4.protocol != TCP:
        raise SegmentError("no TCP segment over IPv4 or IPv6, or only a fragment of one")
    ip, start = l4.ip_offset, l4.offset
    if l4.ip_version == 4:
        end = ip + (frame[ip + 2] << 8 | frame[ip + 3])
        addresses = bytes(frame[ip + 12 : ip + 20])
    else:
        end = ip + 40 + (frame[ip + 4] << 8 | frame[ip + 5])
        addresses = bytes(frame[ip + 8 : ip + 40])
    if end > len(frame) or start + 20 > end:
        raise SegmentError("the frame is shorter than its IP length, or has no whole TCP header")
    seq, ack, offset, flags, window, _ = _TCP_READ.unpack_from(frame, start + 4)
    data = start + (offset >> 4) * 4
    if data < start + 20 or data > end:
        raise SegmentError("the TCP header is shorter than 20 bytes or longer than the segment")
    view = memoryview(frame)
    if verify:
        whole = ones_complement_sum(view[start:end], pseudo_header_sum(frame, l4, end - start))
        if whole != 0xFFFF:
            raise SegmentError("bad TCP checksum")
        if (
            l4.ip_version == 4
            and ones_complement_sum(view[ip : ip + (frame[ip] & 15) * 4]) != 65535
        ):
            raise SegmentError("bad IPv4 header checksum")
    if ip != ETHERNET_BYTES and vlan is None:
        vlan = (frame[14] << 8 | frame[15]) & 0xFFF
    options = NO_OPTIONS
    if data > start + 20:
        options = parse_options(bytes(view[start + 20 : data]))
    return Segment(
        addresses + bytes(view[start : start + 4]),
        vlan,
        seq,
        ack,
        flags,
        window,
        options,
        view[data:end],
        mark,
    )


def parse_options(raw: bytes) -> Options:
    """Read the option bytes of a TCP header. SegmentError when a length does not fit."""
    if len(raw) == 12 and raw[:4] == _TIMESTAMP_PREFIX:
        return Options(timestamp=_TIMESTAMPS.unpack_from(raw, 4))
    mss = scale = timestamp = None
    permitted = False
    sack: tuple[tuple[int, int], ...] = ()
    place, end = 0, len(raw)
    while place < end:
        kind = raw[place]
        if kind == _END:
            break
        if kind == _NOP:
            place += 1
            continue
        size = raw[place + 1] if place + 1 < end else 0
        if size < 2 or place + size > end:
            raise SegmentError(f"a TCP option of kind {kind} does not fit")
        if _OPTION_BYTES.get(kind, size) != size or (kind == _SACK and size % 8 != 2):
            raise SegmentError(f"a TCP option of kind {kind} has {size} bytes")
        if kind == _MSS:
            mss = raw[place + 2] << 8 | raw[place + 3]
        elif kind == _SCALE:
            scale = min(raw[place + 2], MAX_SCALE)
        elif kind == _SACK_PERMITTED:
            permitted = True
        elif kind == _SACK:
            sack = tuple(
                _TIMESTAMPS.unpack_from(raw, block) for block in range(place + 2, place + size, 8)
            )
        elif kind == _TIMESTAMP:
            timestamp = _TIMESTAMPS.unpack_from(raw, place + 2)
        place += size
    return Options(mss, scale, permitted, sack, timestamp)


def timestamp_option(value: int, echo: int) -> bytes:
    """The option bytes of a segment that has timestamps and nothing else."""
    return _TIMESTAMP_PREFIX + _TIMESTAMPS.pack(value, echo)


def build_options(options: Options) -> bytes:
    """The option bytes of a header, padded to a multiple of 4. ValueError over 40 bytes."""
    raw = b""
    if options.mss is not None:
        raw += bytes((_MSS, 4)) + options.mss.to_bytes(2, "big")
    if options.sack_permitted:
        raw += bytes((_SACK_PERMITTED, 2))
        if options.timestamp is None:
            raw += bytes((_NOP, _NOP))
    if options.timestamp is not None:
        if not options.sack_permitted:
            raw += bytes((_NOP, _NOP))
        raw += bytes((_TIMESTAMP, 10)) + _TIMESTAMPS.pack(*options.timestamp)
    if options.window_scale is not None:
        raw += bytes((_NOP, _SCALE, 3, options.window_scale))
    if options.sack:
        raw += bytes((_NOP, _NOP, _SACK, 2 + 8 * len(options.sack)))
        raw += b"".join(_TIMESTAMPS.pack(*block) for block in options.sack)
    if len(raw) > 40:
        raise ValueError(f"{len(raw)} bytes of TCP options")
    return raw


def reply_endpoint(frame: ReadableBuffer, segment: Segment) -> Endpoint:
    """The connection that a received segment belongs to, from this side. `frame`: it lies there."""
    size = len(segment.key) // 2 - 2
    key = segment.key
    return Endpoint(
        local_mac=bytes(frame[0:6]),
        remote_mac=bytes(frame[6:12]),
        local_address=key[size : 2 * size],
        remote_address=key[:size],
        local_port=int.from_bytes(key[-2:], "big"),
        remote_port=int.from_bytes(key[-4:-2], "big"),
        vlan=segment.vlan,
    )


class HeaderTemplate:
    """Builds the headers of one connection: Ethernet, 802.1Q, IP, TCP. Checksums are left zero."""

    __slots__ = ("_ip_head", "_ip_tail", "_ports", "_tcp_adds")

    def __init__(self, endpoint: Endpoint) -> None:
        """Raises ValueError for addresses, ports or a VLAN that do not fit."""
        local, remote = endpoint.local_address, endpoint.remote_address
        if len(local) != len(remote) or len(local) not in (4, 16):
            raise ValueError("an endpoint has two IPv4 addresses or two IPv6 addresses, as bytes")
        if len(endpoint.local_mac) != 6 or len(endpoint.remote_mac) != 6:
            raise ValueError("a MAC address has 6 bytes")
        if endpoint.vlan is not None and not 0 <= endpoint.vlan <= 4095:
            raise ValueError(f"a VLAN identifier is 0 to 4095, not {endpoint.vlan}")
        for port in (endpoint.local_port, endpoint.remote_port):
            if not 0 < port <= 0xFFFF:
                raise ValueError(f"a port is 1 to 65535, not {port}")
        head = endpoint.remote_mac + endpoint.local_mac
        if endpoint.vlan is not None:
            head += _TAG + endpoint.vlan.to_bytes(2, "big")
        if endpoint.ip_version == 4:
            # Don't Fragment, so the identification may be anything (RFC 6864, section 4.1).
            self._ip_head = head + b"\x08\x00\x45\x00"
            self._ip_tail = b"\0\0\x40\0\x40\x06\0\0" + local + remote
            self._tcp_adds = 20
        else:
            self._ip_head = head + b"\x86\xdd\x60\0\0\0"
            self._ip_tail = b"\x06\x40" + local + remote
            self._tcp_adds = 0
        self._ports = (endpoint.local_port, endpoint.remote_port)

    def build(
        self, seq: int, ack: int, flags: int, window: int, options: bytes, payload_bytes: int
    ) -> bytes:
        """Headers for a segment (or one to be cut) with so many bytes of payload."""
        tcp_bytes = 20 + len(options)
        ip_length = self._tcp_adds + tcp_bytes + payload_bytes
        return b"".join(
            (
                self._ip_head,
                ip_length.to_bytes(2, "big"),
                self._ip_tail,
                _TCP.pack(*self._ports, seq, ack, tcp_bytes << 2, flags, window, 0, 0),
                options,
            )
        )


def fill_checksums(frame: bytearray) -> None:
    """Fill IPv4 header and TCP checksum of a frame, for a link without checksum offload."""
    l4 = find_l4(frame)
    assert l4 is not None
    if l4.ip_version == 4:
        ip = l4.ip_offset
        frame[ip + 10 : ip + 12] = bytes(2)
        total = ones_complement_sum(frame[ip : l4.offset])
        frame[ip + 10 : ip + 12] = (0xFFFF - total).to_bytes(2, "big")
    place = l4.offset + _CHECKSUM_OFFSET
    frame[place : place + 2] = bytes(2)
    total = ones_complement_sum(
        frame[l4.offset :], pseudo_header_sum(frame, l4, len(frame) - l4.offset)
    )
    frame[place : place + 2] = (0xFFFF - total).to_bytes(2, "big")
