"""Ethernet addresses of neighbours: ARP (RFC 826) and the part of IPv6 neighbour discovery that
does the same (RFC 4861). No I/O: frames in, frames out.
"""

from __future__ import annotations

from collections.abc import Iterable

from tlsnic.driver.headers import ReadableBuffer, ones_complement_sum

_BROADCAST = b"\xff" * 6
_ARP = b"\x08\x06"
_ARP_HEAD = b"\x00\x01\x08\x00\x06\x04"  # Ethernet, IPv4, and their lengths
_ARP_REQUEST, _ARP_REPLY = b"\x00\x01", b"\x00\x02"
_IPV6 = b"\x86\xdd"
_ICMPV6 = 58
_SOLICITATION, _ADVERTISEMENT = 135, 136
_SOURCE_ADDRESS, _TARGET_ADDRESS = 1, 2  # options
_SOLICITED_OVERRIDE = 0x6000_0000
_HOPS = 255
_MOST = 1024  # neighbours remembered; beyond, the oldest is forgotten


class Neighbours:
    """Answers for its own addresses and learns those of others; see `lookup`."""

    def __init__(self, mac: bytes, addresses: Iterable[bytes]) -> None:
        """`addresses`: this side's, 4 or 16 bytes each."""
        self.mac = mac
        self.addresses = frozenset(addresses)
        self._known: dict[bytes, bytes] = {}

    def lookup(self, address: bytes) -> bytes | None:
        """The Ethernet address that was learned for an IP address."""
        return self._known.get(address)

    def request(self, local: bytes, wanted: bytes) -> bytes:
        """The frame that asks who has `wanted`; `local` is this side's address of its kind."""
        if len(wanted) == 4:
            body = _ARP_HEAD + _ARP_REQUEST + self.mac + local + bytes(6) + wanted
            return _BROADCAST + self.mac + _ARP + body
        group = bytes.fromhex("ff0200000000000000000001ff") + wanted[13:]
        message = bytes((_SOLICITATION, 0, 0, 0)) + bytes(4) + wanted
        message += bytes((_SOURCE_ADDRESS, 1)) + self.mac
        return self._ipv6(b"\x33\x33" + group[12:], local, group, message)

    def receive(self, frame: ReadableBuffer) -> bytes | None:
        """Take a frame: learn from it, and give the answer to it if there is one.

        Anything else than ARP and neighbour discovery, and anything malformed, is ignored.
        """
        kind = bytes(frame[12:14])
        if kind == _ARP:
            return self._arp(bytes(frame[14:42]))
        if kind == _IPV6 and len(frame) >= 78 and frame[20] == _ICMPV6:
            return self._discovery(bytes(frame))
        return None

    def _learn(self, address: bytes, mac: bytes) -> None:
        self._known.pop(address, None)
        if len(self._known) >= _MOST:
            del self._known[next(iter(self._known))]
        self._known[address] = mac

    def _arp(self, body: bytes) -> bytes | None:
        if len(body) < 28 or body[:6] != _ARP_HEAD:
            return None
        mac, address, target = body[8:14], body[14:18], body[24:28]
        if target not in self.addresses:
            return None
        if any(address):
            self._learn(address, mac)
        if body[6:8] != _ARP_REQUEST:
            return None
        return mac + self.mac + _ARP + _ARP_HEAD + _ARP_REPLY + self.mac + target + mac + address

    def _discovery(self, frame: bytes) -> bytes | None:
        length = frame[18] << 8 | frame[19]
        message = frame[54 : 54 + length]
        if frame[21] != _HOPS or len(message) != length or length < 24:
            return None
        source, target = frame[22:38], message[8:24]
        pseudo = frame[22:54] + length.to_bytes(4, "big") + bytes((0, 0, 0, _ICMPV6))
        if ones_complement_sum(pseudo + message) != 0xFFFF:
            return None
        options = _link_addresses(message[24:])
        if message[0] == _ADVERTISEMENT:
            if _TARGET_ADDRESS in options:
                self._learn(target, options[_TARGET_ADDRESS])
            return None
        if message[0] != _SOLICITATION or target not in self.addresses:
            return None
        answer = bytes((_ADVERTISEMENT, 0, 0, 0)) + _SOLICITED_OVERRIDE.to_bytes(4, "big")
        answer += target + bytes((_TARGET_ADDRESS, 1)) + self.mac
        if not any(source):  # duplicate address detection: the answer goes to all nodes
            everyone = bytes.fromhex("ff020000000000000000000000000001")
            answer = (
                answer[:4] + (_SOLICITED_OVERRIDE & 0x2000_0000).to_bytes(4, "big") + answer[8:]
            )
            return self._ipv6(b"\x33\x33\0\0\0\x01", target, everyone, answer)
        mac = options.get(_SOURCE_ADDRESS, frame[6:12])
        self._learn(source, mac)
        return self._ipv6(mac, target, source, answer)

    def _ipv6(self, mac: bytes, source: bytes, destination: bytes, message: bytes) -> bytes:
        size = len(message)
        pseudo = source + destination + size.to_bytes(4, "big") + bytes((0, 0, 0, _ICMPV6))
        total = 0xFFFF - ones_complement_sum(pseudo + message)
        message = message[:2] + total.to_bytes(2, "big") + message[4:]
        head = b"\x60\0\0\0" + size.to_bytes(2, "big") + bytes((_ICMPV6, _HOPS))
        return mac + self.mac + _IPV6 + head + source + destination + message


def _link_addresses(raw: bytes) -> dict[int, bytes]:
    """Source and target link-layer address options (RFC 4861, section 4.6.1)."""
    found: dict[int, bytes] = {}
    place = 0
    while place + 8 <= len(raw) and raw[place + 1]:
        if raw[place + 1] == 1:
            found[raw[place]] = raw[place + 2 : place + 8]
        place += 8 * raw[place + 1]
    return found
