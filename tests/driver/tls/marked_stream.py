"""Streams of TLS records as a card hands them over: in packets, some of them decrypted."""

from flows import START

from tlsnic.driver.tls.framing import Framer
from tlsnic.driver.tls.software import SoftwareTls

MASK = 0xFFFF_FFFF


class WireStream:
    """Records of one session: `wire`, and `clear`, the same with all content decrypted."""

    def __init__(self, session):
        self.rekey(session)
        self.wire, self.clear = b"", b""
        self.bounds = [0]
        self.numbers = []
        self.sent = 0
        """Bytes that are on their way, for who sends it."""

    def rekey(self, session):
        self.framer, self.software = Framer(session), SoftwareTls(session)
        self.tag_bytes = session.layout.tag_bytes

    def add(self, plaintext, content_type=23, **options):
        record = self.framer.frame(content_type, plaintext, **options)
        sealed = self.software.encrypt(record)
        self.append(sealed, record.data[: -self.tag_bytes] + sealed[-self.tag_bytes :])
        self.numbers.append(record.number)

    def append(self, wire, clear=None):
        self.wire += wire
        self.clear += wire if clear is None else clear
        self.bounds.append(len(self.wire))

    def packets(self, cuts, marks):
        """The stream cut at `cuts`; each piece decrypted or not by `marks`, in turn."""
        cuts = sorted({0, len(self.wire), *(cut % (len(self.wire) + 1) for cut in cuts)})
        marks = [marks[n % len(marks)] for n in range(len(cuts))]
        return [
            ((self.clear if mark else self.wire)[start:end], mark)
            for start, end, mark in zip(cuts, cuts[1:], marks, strict=False)
        ]


class FakeConnection:
    """The part of a connection that a receiver uses."""

    def __init__(self, packets=(), *, sequence=START):
        self.packets = list(packets)
        self.read_sequence = sequence
        self.at_end = self.closed = False

    def give(self, *packets):
        self.packets += packets

    def read_marked(self):
        taken, self.packets = self.packets, []
        self.read_sequence = self.read_sequence + sum(len(data) for data, _ in taken) & MASK
        return taken
