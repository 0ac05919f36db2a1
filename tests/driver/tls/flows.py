"""Connections, sessions and packets for the tests of send tags."""

import random
from struct import pack

from tlsnic.abi.suites import SUITES
from tlsnic.driver.tls.framing import Framer
from tlsnic.driver.tls.session import FlowAddress, TlsSession

START = 0xFFFF_F000
"""TCP sequence numbers wrap early in every test."""
ADDRESS = FlowAddress.make("10.0.0.1", 4000, "10.0.0.2", 443)
HEADER_BYTES = 54


def headers(sequence, address=ADDRESS, flags=0x10):
    """Ethernet, IPv4 and TCP headers; lengths and checksums are the card's to fill."""
    ip = bytes.fromhex("4500 0000 0000 4000 4006 0000")
    tcp = pack(
        "!HHIIBBHHH", address.local_port, address.remote_port, sequence, 7, 0x50, flags, 64, 0, 0
    )
    ethernet = bytes.fromhex("020000000002 020000000001 0800")
    return ethernet + ip + address.local_address + address.remote_address + tcp


def packet_headers(sequence, length, address=ADDRESS):
    """The same with the IP length of a packet with `length` bytes of payload."""
    raw = bytearray(headers(sequence, address))
    raw[16:18] = (40 + length).to_bytes(2, "big")
    return bytes(raw)


def make_session(suite, *, seed=1, key_bytes=None, **fields):
    """Keys that depend on the seed only."""
    layout = SUITES[suite]
    source = random.Random(f"{suite} {seed}")
    return TlsSession(
        suite,
        source.randbytes(key_bytes or layout.key_bytes[0]),
        source.randbytes(layout.iv_bytes),
        source.randbytes(layout.mac_key_bytes),
        **fields,
    )


class Stream:
    """A tag's records, laid out one behind the other, and what a peer has of them."""

    def __init__(self, tag, session, *, seed=1):
        self.tag = tag
        self.source = random.Random(seed)
        self.framer = Framer(session, self.source.randbytes)
        self.start = self.end = tag.records.end_sequence

    def write(self, *sizes, content_type=23):
        """Add records of so many bytes of plaintext; their boundaries as sequence numbers."""
        boundaries = [self.end]
        for size in sizes:
            record = self.framer.frame(content_type, self.source.randbytes(size))
            self.tag.records.add(self.end, record)
            self.end = self.end + len(record.data) & 0xFFFF_FFFF
            boundaries.append(self.end)
        return boundaries

    def send(self, queue, sequence, length, **options):
        """Transmit a part of the laid-out stream."""
        payload = self.tag.records.read(sequence, length)
        head = packet_headers(sequence, length)
        return self.tag.transmit(queue, head, sequence, payload, **options)


def payloads(frames):
    """TCP payloads of frames, by sequence number, in the order they were sent."""
    return [
        (int.from_bytes(frame[38:42], "big"), frame[54 : 14 + int.from_bytes(frame[16:18], "big")])
        for frame in frames
    ]
