"""Where each header of an Ethernet frame lies: one pass, no copy, never an exception.

Formats: IEEE 802.3 and 802.1Q, RFC 791 (IPv4), RFC 8200 (IPv6 and its extension headers), RFC
9293 (TCP), RFC 768 (UDP). What is malformed is named, and what was found before it stays usable, so
that a NIC can pass a bad frame on with an honest description.
"""

import enum
from struct import Struct
from typing import Final, NamedTuple

Buffer = bytes | bytearray | memoryview
"""Contiguous bytes; a memoryview has format "B"."""

ETHERTYPE_IPV4: Final = 0x0800
ETHERTYPE_IPV6: Final = 0x86DD
ETHERTYPE_VLAN: Final = 0x8100  # customer tag, IEEE 802.1Q
ETHERTYPE_QINQ: Final = 0x88A8  # service tag, IEEE 802.1ad

PROTOCOL_TCP: Final = 6
PROTOCOL_UDP: Final = 17
NO_PROTOCOL: Final = -1

TCP_FIN: Final = 0x001
TCP_SYN: Final = 0x002
TCP_RST: Final = 0x004
TCP_PSH: Final = 0x008
TCP_ACK: Final = 0x010
TCP_URG: Final = 0x020
TCP_ECE: Final = 0x040
TCP_CWR: Final = 0x080
TCP_AE: Final = 0x100  # the former NS bit, RFC 9768

MAX_VLAN_TAGS: Final = 2
MAX_IPV6_EXTENSIONS: Final = 8
"""Longer extension chains are not followed: the work per frame stays bounded, as in hardware."""


class Fault(enum.Enum):
    """What makes a frame malformed. `layer` is 2, 3 or 4."""

    ETHERNET_SHORT = "ethernet header is cut short"
    VLAN_SHORT = "VLAN tag is cut short"
    IPV4_SHORT = "IPv4 header is cut short"
    IPV4_VERSION = "IPv4 header has another version number"
    IPV4_HEADER_LENGTH = "IPv4 header length is below 20 bytes"
    IPV4_TOTAL_LENGTH = "IPv4 total length is below the header length"
    IPV4_TRUNCATED = "IPv4 total length is beyond the end of the frame"
    IPV6_SHORT = "IPv6 header is cut short"
    IPV6_VERSION = "IPv6 header has another version number"
    IPV6_TRUNCATED = "IPv6 payload length is beyond the end of the frame"
    IPV6_EXTENSION_SHORT = "IPv6 extension header is cut short"
    IPV6_EXTENSION_CHAIN = "too many IPv6 extension headers"
    TCP_SHORT = "TCP header is cut short"
    TCP_DATA_OFFSET = "TCP data offset is below 20 bytes or beyond the packet"
    UDP_SHORT = "UDP header is cut short"
    UDP_LENGTH = "UDP length is below 8 bytes or beyond the packet"

    @property
    def layer(self) -> int:
        """The layer of the bad header: 2 Ethernet and VLAN, 3 IP, 4 TCP and UDP."""
        return {"E": 2, "V": 2, "I": 3}.get(self.name[0], 4)


class Headers(NamedTuple):
    """Offsets are bytes from the frame's start: 0 <= l3 <= l4 <= payload <= end <= frame length.

    Every fault leaves the offsets at the last good place: l3 behind the last whole tag, l4 behind
    the last whole IP header, payload equal to l4 when the layer 4 header is unknown, bad or absent.
    """

    fault: Fault | None  # None: everything that was recognised is well-formed
    ether_type: int  # behind the VLAN tags; 0 if there is none
    vlan_tci: int | None  # of the outer tag: priority, DEI, VLAN identifier
    l3: int
    l4: int
    payload: int
    end: int  # where the IP packet ends; Ethernet padding may follow
    ip_version: int  # 4 and 6 where an IP header was read, else 0
    protocol: int  # upper-layer protocol number, NO_PROTOCOL if not IP
    fragment: bool  # any IP fragment, the first one too: layer 4 is then not looked at
    l4_bytes: int  # TCP or UDP header with payload (for UDP what its length says); 0 if none
    tcp_flags: int  # nine bits; 0 if not TCP
    tcp_seq: int
    tcp_ack: int


# Everything up to the TCP flags in one call. Ethernet II; IPv4 without options; TCP, or UDP whose
# length is then the high half of "sequence number".
_FAST_IPV4: Final = Struct("!12xHBxHxxHxBxx8x4xIIBB")
_FAST_IPV6: Final = Struct("!12xHB3xHBx32x4xIIBB")
_IPV4: Final = Struct("!BxHxxHxB")
_IPV6: Final = Struct("!B3xHB")
_TCP: Final = Struct("!4xIIBB")
_U16: Final = Struct("!H")
_FAST_IPV4_BYTES: Final = 54
_FAST_IPV6_BYTES: Final = 74
_IPV6_SKIPPED: Final = frozenset((0, 43, 60))  # hop-by-hop, routing, destination options
_IPV6_FRAGMENT: Final = 44

_Link = tuple[int, int | None, int]  # ether type, VLAN TCI, l3
_Packet = tuple[int, int | None, int, int, int, int, int]  # link, l4, end, IP version, protocol

_new = tuple.__new__


def parse(
    frame: Buffer, frame_bytes: int | None = None, *, ignore_ip_length: bool = False
) -> Headers:
    """Locates the headers of `frame`.

    `frame_bytes` is the whole length where `frame` is only its beginning (a descriptor with the
    headers); no header is looked for behind what is given. `ignore_ip_length` takes the packet to
    end with the frame whatever IP and UDP say: a segmentation request has only templates there.
    """
    have = len(frame)
    total = have if frame_bytes is None or frame_bytes < have else frame_bytes
    if have >= _FAST_IPV4_BYTES:
        ether_type, first, length, frag, protocol, seq, ack, offset, flags = _FAST_IPV4.unpack_from(
            frame
        )
        if ether_type == ETHERTYPE_IPV4 and first == 0x45 and not frag & 0x3FFF:
            end = total if ignore_ip_length else 14 + length
            if end <= total:
                if protocol == PROTOCOL_TCP:
                    payload = 34 + (offset >> 2 & 0x3C)
                    if 54 <= payload <= end and payload <= have:
                        flags |= (offset & 1) << 8
                        return _new(Headers, (
                            None, ETHERTYPE_IPV4, None, 14, 34, payload, end, 4, PROTOCOL_TCP,
                            False, end - 34, flags, seq, ack,
                        ))  # fmt: skip
                elif protocol == PROTOCOL_UDP:
                    l4_bytes = end - 34 if ignore_ip_length else seq >> 16
                    if 8 <= l4_bytes <= end - 34:
                        return _new(Headers, (
                            None, ETHERTYPE_IPV4, None, 14, 34, 42, end, 4, PROTOCOL_UDP,
                            False, l4_bytes, 0, 0, 0,
                        ))  # fmt: skip
        elif ether_type == ETHERTYPE_IPV6 and have >= _FAST_IPV6_BYTES:
            _, first, length, protocol, seq, ack, offset, flags = _FAST_IPV6.unpack_from(frame)
            end = total if ignore_ip_length else 54 + length
            if first >> 4 == 6 and end <= total:
                if protocol == PROTOCOL_TCP:
                    payload = 54 + (offset >> 2 & 0x3C)
                    if 74 <= payload <= end and payload <= have:
                        flags |= (offset & 1) << 8
                        return _new(Headers, (
                            None, ETHERTYPE_IPV6, None, 14, 54, payload, end, 6, PROTOCOL_TCP,
                            False, end - 54, flags, seq, ack,
                        ))  # fmt: skip
                elif protocol == PROTOCOL_UDP:
                    l4_bytes = end - 54 if ignore_ip_length else seq >> 16
                    if 8 <= l4_bytes <= end - 54:
                        return _new(Headers, (
                            None, ETHERTYPE_IPV6, None, 14, 54, 62, end, 6, PROTOCOL_UDP,
                            False, l4_bytes, 0, 0, 0,
                        ))  # fmt: skip
    return _parse_any(frame, have, total, ignore_ip_length)


def _not_ip(fault: Fault | None, ether_type: int, tci: int | None, l3: int, end: int) -> Headers:
    return Headers(fault, ether_type, tci, l3, l3, l3, end, 0, NO_PROTOCOL, False, 0, 0, 0, 0)


def _parse_any(frame: Buffer, have: int, total: int, ignore_ip_length: bool) -> Headers:
    """The general case, layer by layer. `have` bytes of the `total` can be read."""
    if have < 14:
        return _not_ip(Fault.ETHERNET_SHORT, 0, None, have, total)
    (ether_type,) = _U16.unpack_from(frame, 12)
    l3 = 14
    tci: int | None = None
    for _ in range(MAX_VLAN_TAGS):
        if ether_type not in (ETHERTYPE_VLAN, ETHERTYPE_QINQ):
            break
        if have < l3 + 4:
            return _not_ip(Fault.VLAN_SHORT, ether_type, tci, l3, total)
        if tci is None:
            (tci,) = _U16.unpack_from(frame, l3)
        (ether_type,) = _U16.unpack_from(frame, l3 + 2)
        l3 += 4
    link = (ether_type, tci, l3)
    if ether_type == ETHERTYPE_IPV4:
        return _parse_ipv4(frame, link, have, total, ignore_ip_length)
    if ether_type == ETHERTYPE_IPV6:
        return _parse_ipv6(frame, link, have, total, ignore_ip_length)
    return _not_ip(None, ether_type, tci, l3, total)


def _parse_ipv4(
    frame: Buffer, link: _Link, have: int, total: int, ignore_ip_length: bool
) -> Headers:
    l3 = link[2]

    def bad(fault: Fault) -> Headers:
        return _not_ip(fault, *link, total)

    if have < l3 + 20:
        return bad(Fault.IPV4_SHORT)
    first, length, frag, protocol = _IPV4.unpack_from(frame, l3)
    if first >> 4 != 4:
        return bad(Fault.IPV4_VERSION)
    header_bytes = (first & 15) * 4
    if header_bytes < 20:
        return bad(Fault.IPV4_HEADER_LENGTH)
    l4 = l3 + header_bytes
    if have < l4:
        return bad(Fault.IPV4_SHORT)
    end = total if ignore_ip_length else l3 + length
    if end < l4:
        return bad(Fault.IPV4_TOTAL_LENGTH)
    if end > total:
        return bad(Fault.IPV4_TRUNCATED)
    if frag & 0x3FFF:
        return Headers(None, *link, l4, l4, end, 4, protocol, True, 0, 0, 0, 0)
    return _parse_l4(frame, (*link, l4, end, 4, protocol), min(have, end), ignore_ip_length)


def _parse_ipv6(
    frame: Buffer, link: _Link, have: int, total: int, ignore_ip_length: bool
) -> Headers:
    l3 = link[2]

    def bad(fault: Fault) -> Headers:
        return _not_ip(fault, *link, total)

    if have < l3 + 40:
        return bad(Fault.IPV6_SHORT)
    first, length, protocol = _IPV6.unpack_from(frame, l3)
    if first >> 4 != 6:
        return bad(Fault.IPV6_VERSION)
    l4 = l3 + 40
    end = total if ignore_ip_length else l4 + length
    if end > total:
        return bad(Fault.IPV6_TRUNCATED)
    have = min(have, end)
    extensions = 0
    while protocol in _IPV6_SKIPPED or protocol == _IPV6_FRAGMENT:
        fault = None
        fragment = protocol == _IPV6_FRAGMENT
        if extensions == MAX_IPV6_EXTENSIONS:
            fault = Fault.IPV6_EXTENSION_CHAIN
        elif have < l4 + 8:
            fault = Fault.IPV6_EXTENSION_SHORT
        else:
            following = l4 + (8 if fragment else 8 + 8 * frame[l4 + 1])
            if have < following:
                fault = Fault.IPV6_EXTENSION_SHORT
        if fault is not None:
            return Headers(fault, *link, l4, l4, end, 6, protocol, False, 0, 0, 0, 0)
        protocol = frame[l4]
        l4 = following
        extensions += 1
        if fragment:
            return Headers(None, *link, l4, l4, end, 6, protocol, True, 0, 0, 0, 0)
    return _parse_l4(frame, (*link, l4, end, 6, protocol), have, ignore_ip_length)


def _parse_l4(frame: Buffer, packet: _Packet, have: int, ignore_length: bool) -> Headers:
    """Layer 4 of an unfragmented packet, of which `have` bytes of the frame can be read."""
    ether_type, tci, l3, l4, end, version, protocol = packet
    fault: Fault | None = None
    payload = l4
    l4_bytes = flags = seq = ack = 0
    if protocol == PROTOCOL_TCP:
        if have < l4 + 20:
            fault = Fault.TCP_SHORT
        else:
            seq_, ack_, offset, flags_ = _TCP.unpack_from(frame, l4)
            header_bytes = offset >> 2 & 0x3C
            if header_bytes < 20 or l4 + header_bytes > have:
                fault = Fault.TCP_DATA_OFFSET
            else:
                payload = l4 + header_bytes
                l4_bytes = end - l4
                flags, seq, ack = flags_ | (offset & 1) << 8, seq_, ack_
    elif protocol == PROTOCOL_UDP:
        if have < l4 + 8:
            fault = Fault.UDP_SHORT
        else:
            length = end - l4 if ignore_length else _U16.unpack_from(frame, l4 + 4)[0]
            if length < 8 or l4 + length > end:
                fault = Fault.UDP_LENGTH
            else:
                payload = l4 + 8
                l4_bytes = length
    return Headers(
        fault, ether_type, tci, l3, l4, payload, end, version, protocol, False, l4_bytes,
        flags, seq, ack,
    )  # fmt: skip


def flow_key(frame: Buffer, headers: Headers) -> bytes:
    """Source and destination address, then source and destination port where layer 4 was read.

    In the order of the packet, network byte order: 8 or 12 bytes for IPv4, 32 or 36 for IPv6, none
    if not IP. This is the input of the RSS hash; with protocol and VLAN it identifies a flow.
    """
    l3, l4 = headers.l3, headers.l4
    if headers.ip_version == 4:
        start, stop = l3 + 12, l3 + 20
    elif headers.ip_version == 6:
        start, stop = l3 + 8, l3 + 40
    else:
        return b""
    if not headers.l4_bytes:
        return bytes(frame[start:stop])
    if stop == l4:
        return bytes(frame[start : stop + 4])
    return bytes(frame[start:stop]) + bytes(frame[l4 : l4 + 4])
