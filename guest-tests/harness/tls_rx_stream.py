"""What the far end of a received TLS connection writes, and the packets that it comes in.

Either OpenSSL writes, or software TLS, which can also do what OpenSSL would not.

Places in a stream are offsets: bytes from its first TCP sequence number on. Bytes before it are made
up.
"""

from __future__ import annotations

import random
from struct import Struct
from typing import Any, NamedTuple

from harness.peer import MAC as PEER_MAC
from harness.tls_flow import ACK, KEY_UPDATE
from harness.tls_start import make_session
from harness.tls_stream import PlaintextScanner, marked
from tlsnic.abi.enums import CipherSuite
from tlsnic.abi.suites import MAX_PLAINTEXT, SUITES
from tlsnic.driver.tls.framing import APPLICATION_DATA, HANDSHAKE, Framer, LaidOutRecord
from tlsnic.driver.tls.session import FlowAddress, TlsSession

AEAD_SUITES = [suite for suite, layout in SUITES.items() if not layout.mac_key_bytes]
KINDS = [
    CipherSuite.TLS12_AES_128_GCM,
    CipherSuite.TLS12_CHACHA20_POLY1305,
    CipherSuite.TLS13_AES_256_GCM,
    CipherSuite.TLS13_CHACHA20_POLY1305,
]
"""One for each way in which records are laid out and encrypted."""
_MASK = 0xFFFF_FFFF
_TCP = Struct("!HHIIBBHHH")
_IP4 = Struct("!BBHHHBBH4s4s")
_IP6 = Struct("!IHBB16s16s")
_BEFORE = random.Random("before the first record").randbytes(1 << 16)


class Record(NamedTuple):
    """A record of a stream."""

    start: int
    """Offset of its header."""
    end: int
    number: int
    """u64 record number."""


class FarEnd:
    """OpenSSL that sends us records; its connection is used by one flow after the other.

    `in_use`: some flow has it.
    """

    def __init__(self, suite: CipherSuite) -> None:
        """Makes the handshake; see `take`."""
        from harness.tls import TlsPeer  # noqa: PLC0415 - slow to import in a guest

        self._peer = TlsPeer.make(suite)
        self._session = self._peer.receive_session
        self.number = self._session.record_number
        """Of the next record."""
        self.in_use = True

    @classmethod
    def take(cls, suite: CipherSuite) -> FarEnd:
        """One that no flow has; they are kept, as a handshake is slow in a guest."""
        for far in _far_ends[suite]:
            if not far.in_use:
                far.in_use = True
                return far
        far = cls(suite)
        _far_ends[suite].append(far)
        return far

    def session(self, max_plaintext: int = MAX_PLAINTEXT) -> TlsSession:
        """What we receive with, from the next record on."""
        known = self._session
        return TlsSession(
            known.suite, known.key, known.iv, record_number=self.number, max_plaintext=max_plaintext
        )

    def write(self, plaintext: bytes) -> bytes:
        """One record, of at most 16384 bytes of plaintext."""
        wire = self._peer.send(plaintext)
        assert len(wire) == 5 + int.from_bytes(wire[3:5], "big"), "more than one record"
        self.number += 1
        return wire


_far_ends: dict[CipherSuite, list[FarEnd]] = {suite: [] for suite in AEAD_SUITES}


class ReceiveStream:
    """Records, and their packets.

    Attributes: `wire`, the stream as sent by the far end; `clear`, the same with all content
    decrypted; `records`; `plaintext`, application data of all of them; `scanner` looks at what is
    written; `mac`, the card's, and `tcp_options`, for its packets; `far`, None: software TLS writes.
    """

    def __init__(
        self,
        address: FlowAddress,
        session: TlsSession,
        sequence: int,
        far: FarEnd | None,
        scanner: PlaintextScanner,
        mac: bytes,
    ) -> None:
        """sequence: TCP sequence number of the first record. session: of that record."""
        self.address = address
        self.session = session
        self.sequence = sequence & _MASK
        self.far = far
        self.scanner = scanner
        self.mac = mac
        self.wire = bytearray()
        self.clear = bytearray()
        self.records: list[Record] = []
        self.plaintext = bytearray()
        self.tcp_options = b""
        self._framer: Framer | None = None
        self._software: Any = None
        if far is None:
            self._new_keys(session)

    # The far end writes

    def write(self, *sizes: int) -> list[Record]:
        """Records of so many bytes of plaintext, with the marker in it."""
        return [self.write_plaintext(marked(size, len(self.records))) for size in sizes]

    def write_plaintext(self, plaintext: bytes) -> Record:
        """One record with this plaintext, by whoever writes."""
        if self.far is None:
            return self.write_bytes(plaintext)
        number = self.far.number
        wire = self.far.write(plaintext)
        layout = self.session.layout
        content = plaintext + (b"\x17" if layout.is_tls13 else b"")
        assert len(wire) == layout.prefix_bytes + len(content) + layout.tag_bytes
        self.plaintext += plaintext
        clear = wire[: layout.prefix_bytes] + content + wire[-layout.tag_bytes :]
        return self.append(wire, clear, number)

    def write_bytes(
        self, plaintext: bytes, *, content_type: int = APPLICATION_DATA, **options: Any
    ) -> Record:
        """One record by software TLS; `options` are those of `Framer.frame`."""
        assert self._framer is not None, "OpenSSL writes"
        if content_type == APPLICATION_DATA:
            self.plaintext += plaintext
        return self.add(self._framer.frame(content_type, plaintext, **options))

    def add(self, record: LaidOutRecord) -> Record:
        """A record that was framed elsewhere, encrypted by software TLS."""
        wire = self._software.encrypt(record)
        tag_bytes = self.session.layout.tag_bytes
        clear = record.data[:-tag_bytes] + wire[-tag_bytes:]
        return self.append(wire, clear, record.number)

    def append(self, wire: bytes, clear: bytes | None = None, number: int = 0) -> Record:
        """Any bytes as a record; `clear`: with content decrypted, None when there is none.

        Fails the test when the marker is in `wire`.
        """
        self.scanner.check([wire])
        record = Record(len(self.wire), len(self.wire) + len(wire), number)
        self.wire += wire
        self.clear += wire if clear is None else clear
        self.records.append(record)
        return record

    def key_update(self) -> TlsSession:
        """Write a KeyUpdate message. What follows has the keys of the session that is returned."""
        self.write_bytes(KEY_UPDATE, content_type=HANDSHAKE)
        session = make_session(self.session.suite, seed=1000 + len(self.records))
        self._new_keys(session)
        return session

    def _new_keys(self, session: TlsSession) -> None:
        from tlsnic.driver.tls.software import SoftwareTls  # noqa: PLC0415 - slow in a guest

        self._framer, self._software = Framer(session), SoftwareTls(session)

    def skip_numbers(self, count: int) -> None:
        """So many records were made up by `append`: the next has a number that is higher by it."""
        assert self._framer is not None, "OpenSSL writes"
        self._framer.next_number += count

    @property
    def end(self) -> int:
        """Offset behind the last record."""
        return len(self.wire)

    def at(self, offset: int) -> int:
        """u32 TCP sequence number of a place in the stream."""
        return self.sequence + offset & _MASK

    # Packets

    def payload(self, begin: int, end: int) -> bytes:
        """Bytes of the stream on the wire; those before the flow's start are made up."""
        assert begin <= end <= len(self.wire)
        before = _BEFORE[begin : min(end, 0) or None] if begin < 0 else b""
        return before + self.wire[max(begin, 0) : max(end, 0)]

    def frame(
        self,
        begin: int,
        end: int,
        *,
        payload: bytes | None = None,
        tcp_flags: int = ACK,
        ip_options: bytes = b"",
        bad: str = "",
    ) -> bytes:
        """The frame with bytes `begin` to `end` of the stream, or `payload` at their place.

        ip_options: IPv4. bad: "tcp" or "ip", the checksum that is wrong.
        """
        if payload is None:
            payload = self.payload(begin, end)
        address, options = self.address, self.tcp_options
        here, there = address.local_address, address.remote_address
        size = 20 + len(options) + len(payload)
        tcp = _TCP.pack(
            address.remote_port,
            address.local_port,
            self.at(begin),
            1,
            5 + len(options) // 4 << 4,
            tcp_flags,
            0xFFFF,
            0,
            0,
        )
        tcp += options
        pseudo = there + here + size.to_bytes(4, "big") + b"\0\0\0\6"
        checksum = _checksum(pseudo + tcp + payload) ^ (0x0110 if bad == "tcp" else 0)
        tcp = tcp[:16] + checksum.to_bytes(2, "big") + tcp[18:]
        if address.ip_version == 4:
            words = 5 + len(ip_options) // 4
            ip = _IP4.pack(0x40 | words, 0, 4 * words + size, 1, 0x4000, 64, 6, 0, there, here)
            ip += ip_options
            checksum = _checksum(ip) ^ (0x0110 if bad == "ip" else 0)
            ip = ip[:10] + checksum.to_bytes(2, "big") + ip[12:]
            ethertype = b"\x08\0"
        else:
            ip = _IP6.pack(6 << 28, size, 6, 64, there, here)
            ethertype = b"\x86\xdd"
        if address.vlan_id is not None:
            ethertype = b"\x81\0" + address.vlan_id.to_bytes(2, "big") + ethertype
        return self.mac + PEER_MAC + ethertype + ip + tcp + payload


def _checksum(data: bytes) -> int:
    """RFC 1071."""
    data += b"\0" * (len(data) & 1)
    return ~(int.from_bytes(data, "big") % 0xFFFF) & 0xFFFF
