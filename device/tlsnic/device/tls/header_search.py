"""Which bytes can be the record header of a flow: of one that passes, and of one that is looked for."""

from collections.abc import Container

from tlsnic.abi.suites import HEADER_BYTES
from tlsnic.device.tls.record import BadRecord, RecordFormat


class HeaderSearch:
    """Knows the headers that records of one format can have.

    Attributes:
        smallest, largest: bytes of such a record, header included.
    """

    __slots__ = ("_format", "_kinds", "_length_limit", "_version", "largest", "smallest")

    def __init__(self, record_format: RecordFormat) -> None:
        layout = record_format.layout
        self._format = record_format
        self._kinds = b"\x17" if layout.is_tls13 else b"\x15\x16\x17\x18"
        self._version = layout.wire_version.to_bytes(2, "big")
        self.smallest = layout.prefix_bytes + layout.tag_bytes + int(layout.is_tls13)
        self.largest = self.smallest + record_format.max_plaintext
        self._length_limit = self.largest - HEADER_BYTES >> 8

    def may_begin(self, head: bytes) -> bool:
        """Whether `head`, 1 to 5 bytes, can be the first bytes of a header."""
        return (
            head[0] in self._kinds
            and self._version.startswith(head[1:3])
            and (len(head) < 4 or head[3] <= self._length_limit)
        )

    def total(self, header: bytes) -> int:
        """Bytes of the record with these 5 bytes of header; 0 when the flow cannot have it."""
        try:
            return self._format.header_total(header)
        except BadRecord:
            return 0

    def find(self, data: bytes, at: int, origin: int, dead: Container[int]) -> int:
        """Offset, from `at` on, of the first bytes that can be a header, or -1.

        Args:
            origin: position of `data` in the stream.
            dead: positions that are passed over.
        """
        find, version, kinds = data.find, self._version, self._kinds
        hit = find(version, at + 1)
        while hit >= 0:
            start = hit - 1
            if data[start] in kinds and origin + start not in dead:
                header = data[start : start + HEADER_BYTES]
                if len(header) == HEADER_BYTES and self.total(header):
                    return start
            hit = find(version, hit + 1)
        return -1
