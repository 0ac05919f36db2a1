"""One TLS connection of a test: records laid out, packets sent, and what came of them judged.

What it sends is held against software TLS, byte for byte, and OpenSSL decrypts it.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from struct import Struct
from typing import TYPE_CHECKING

from harness.peer import MAC as PEER_MAC
from harness.tls_stream import StreamReassembler, marked, tcp_segment
from tlsnic.driver.access import Deadline
from tlsnic.driver.errors import RingFullError
from tlsnic.driver.tls.framing import APPLICATION_DATA, HANDSHAKE, Framer, LaidOutRecord
from tlsnic.driver.tls.records import Entry, RecordMap
from tlsnic.driver.tls.send_tag import Outcome, OutcomeKind, SendTag
from tlsnic.driver.tls.session import FlowAddress, TlsSession
from tlsnic.driver.tx import TxQueue

if TYPE_CHECKING:
    from harness.tls import TlsPeer
    from harness.tls_flows import TlsFlows

KEY_UPDATE = bytes.fromhex("18 000001 00")
"""RFC 8446 section 4.6.3, update_not_requested."""
ACK, PSH, FIN = 0x10, 0x08, 0x01
_TIMEOUT_S = 20.0
_SEQUENCE_MASK = 0xFFFF_FFFF
_TCP = Struct("!HHIIBBHHH")
_IP4 = Struct("!BBHHHBBH4s4s")
_IP6 = Struct("!IHBB16s16s")


class Flow:
    """One connection: its send tag, its records, and the stream that came of them.

    Attributes: `tag`, None while software encrypts; `tls`, its TlsPeer or None; `framer`; `records`
    (never acknowledged, unlike those of the tag); `stream`, what has come; `sent_end`, sequence
    number behind the newest bytes that `send` was given; `peer_sequence`, `window`, `tcp_flags`,
    `tcp_options` for its headers.
    """

    def __init__(
        self,
        flows: TlsFlows,
        address: FlowAddress,
        session: TlsSession,
        sequence: int,
        record_number: int | None,
        tls: TlsPeer | None,
    ) -> None:
        """Use `TlsFlows.open`."""
        from tlsnic.driver.tls.software import SoftwareTls  # noqa: PLC0415 - slow in a guest

        self.flows = flows
        self.tag: SendTag | None = None
        self.tls = tls
        self.address = address
        self.session = session
        self.random = random.Random(address.local_port)
        self.framer = Framer(session, self.random.randbytes)
        if record_number is not None:
            self.framer.next_number = record_number
        self.records = RecordMap(sequence)
        self._sessions = {0: session}
        self._software = SoftwareTls(self._sessions, record_number)
        self.stream = StreamReassembler(
            sequence,
            source_port=self.address.local_port,
            destination_port=self.address.remote_port,
        )
        self.plaintext = bytearray()
        """Application data of all records so far."""
        self.sent_end = sequence
        self.peer_sequence = 7
        self.window = 0xFFFF
        self.tcp_flags = ACK
        self.tcp_options = b""
        self.mac = flows.nic.mac_address
        self.queue: TxQueue = flows.nic.tx[0]
        self._decrypted_bytes = 0  # of the encrypted stream
        self._read_bytes = 0  # plaintext that came of it
        self._digest = hashlib.sha256()

    # Offload

    def offload(self, *, rate_bytes_per_s: int = 0) -> SendTag:
        """The card encrypts from the end of the records so far. Raises SendTagRefused."""
        self.tag = self.flows.nic.snd_tag_alloc(
            self.session,
            self.address,
            self.end,
            rate_bytes_per_s=rate_bytes_per_s,
            record_number=self.framer.next_number,
        )
        return self.tag

    def to_software(self) -> None:
        """From now on software TLS encrypts, also what is sent again. The tag stays the caller's."""
        self.tag = None

    def free(self) -> None:
        """Free the tag, if there is one; software encrypts from here on."""
        if self.tag is not None:
            self.tag.free(_TIMEOUT_S)
        self.tag = None

    # Records

    @property
    def start(self) -> int:
        """TCP sequence number of the first record."""
        return self.records.start_sequence

    @property
    def end(self) -> int:
        """TCP sequence number behind the last record."""
        return self.records.end_sequence

    def write(
        self, *sizes: int, content_type: int = APPLICATION_DATA, padding: int = 0
    ) -> list[Entry]:
        """Add records of so many bytes of plaintext, with the marker in it."""
        return [
            self.write_bytes(
                marked(size, self.framer.next_number), content_type=content_type, padding=padding
            )
            for size in sizes
        ]

    def write_bytes(
        self,
        plaintext: bytes,
        *,
        content_type: int = APPLICATION_DATA,
        padding: int = 0,
        explicit: bytes | None = None,
    ) -> Entry:
        """Add one record."""
        record = self.framer.frame(content_type, plaintext, padding=padding, explicit=explicit)
        if content_type == APPLICATION_DATA:
            self.plaintext += plaintext
        return self.add(record)

    def add(self, record: LaidOutRecord) -> Entry:
        """Add a record that was framed elsewhere; its plaintext is not looked for."""
        if self.tag is not None:
            self.tag.records.add(self.end, record)
        return self.records.add(self.end, record)

    def key_update(self) -> Entry:
        """Add a KeyUpdate message; what follows has the next key, also in the card."""
        entry = self.write_bytes(KEY_UPDATE, content_type=HANDSHAKE)
        self.rekey(self.tls.next_session())
        return entry

    def rekey(self, session: TlsSession) -> None:
        """Records from here on have the keys of `session`. Raises SendTagRefused."""
        if self.tag is not None:
            self.tag.modify_rekey(session, self.end)
        self.new_keys(session)

    def new_keys(self, session: TlsSession) -> None:
        """The same, without telling the card."""
        self._sessions[self.records.new_epoch(self.end)] = session
        self.session = session
        self.framer.rekey(session)

    # Packets

    def headers(self, sequence: int, length: int, *, vlan_inline: int | None = None) -> bytes:
        """Ethernet to TCP header of a packet with `length` bytes of payload; checksums are 0."""
        address, options = self.address, self.tcp_options
        offset = 20 + len(options)
        tcp = _TCP.pack(
            address.local_port,
            address.remote_port,
            sequence & _SEQUENCE_MASK,
            self.peer_sequence,
            offset << 2,
            self.tcp_flags,
            self.window,
            0,
            0,
        )
        here, there = address.local_address, address.remote_address
        size = offset + length
        if address.ip_version == 4:
            total = size + 20 if size + 20 < 1 << 16 else 0
            ip = _IP4.pack(0x45, 0, total, 1, 0x4000, 64, 6, 0, here, there)
            ethertype = b"\x08\0"
        else:
            ip = _IP6.pack(6 << 28, size if size < 1 << 16 else 0, 6, 64, here, there)
            ethertype = b"\x86\xdd"
        if vlan_inline is not None:
            ethertype = b"\x81\0" + vlan_inline.to_bytes(2, "big") + ethertype
        return PEER_MAC + self.mac + ethertype + ip + tcp + options

    def send(
        self,
        sequence: int,
        length: int,
        *,
        mss: int = 0,
        queue: TxQueue | None = None,
        payload: bytes | None = None,
        vlan_inline: int | None = None,
        report: bool | None = None,
    ) -> Outcome:
        """Transmit `length` bytes of the stream from `sequence` on, or `payload` instead.

        The card gets them laid out; in software, and from before the start of offload, they are
        encrypted here. Without offload the outcome's kind is SOFTWARE. The VLAN tag of a flow that
        has one is inserted by the card, or is in the frame.
        """
        sequence &= _SEQUENCE_MASK
        if payload is None:
            payload = self._payload(sequence, length)
        headers = self.headers(sequence, len(payload), vlan_inline=vlan_inline)
        vlan = self.address.vlan_id if vlan_inline is None else None
        queue = queue or self.queue
        deadline = Deadline(_TIMEOUT_S)
        while True:
            try:
                outcome = self._transmit(queue, headers, sequence, payload, mss, vlan, report)
                break
            except RingFullError:
                # Not until all is done: a rate limit may hold the last ones for long.
                queue.flush()
                if not queue.wait(deadline.left_s):
                    raise
                queue.reap()
        queue.flush()
        end = sequence + len(payload) & _SEQUENCE_MASK
        if self.records.position(end) > self.records.position(self.sent_end):
            self.sent_end = end
        return outcome

    def _payload(self, sequence: int, length: int) -> bytes:
        if self.tag is None:
            return self.expected(sequence, length)
        before = min(length, max(0, -self.tag.records.position(sequence)))
        return self.expected(sequence, before) + self.records.read(
            sequence + before & _SEQUENCE_MASK, length - before
        )

    def _transmit(
        self,
        queue: TxQueue,
        headers: bytes,
        sequence: int,
        payload: bytes,
        mss: int,
        vlan: int | None,
        report: bool | None,
    ) -> Outcome:
        if self.tag is not None:
            return self.tag.transmit(
                queue, headers, sequence, payload, mss=mss, vlan=vlan, report=report
            )
        ticket = queue.send(headers + payload, checksum=not mss, mss=mss, vlan=vlan, report=report)
        return Outcome(OutcomeKind.SOFTWARE, ticket)

    def send_rest(self, packet_bytes: int = 1400, *, mss: int = 0) -> list[Outcome]:
        """Transmit all that is laid out and was not sent, in packets of so many bytes."""
        outcomes = []
        while left := self.end - self.sent_end & _SEQUENCE_MASK:
            outcomes.append(self.send(self.sent_end, min(left, packet_bytes), mss=mss))
        return outcomes

    # What came of it

    def expected(self, sequence: int, length: int) -> bytes:
        """`length` bytes of the encrypted stream from `sequence` on, by software TLS."""
        return self._software.stream(self.records, sequence & _SEQUENCE_MASK, length)

    def expected_all(self) -> bytes:
        """The whole encrypted stream up to `sent_end`, by software TLS."""
        return self.expected(self.start, self.sent_end - self.start & _SEQUENCE_MASK)

    def check(self, frames: int | None = None) -> bytes:
        """Collect frames, and judge all that was sent; the encrypted stream.

        It has no gaps, is what software TLS makes of it, and OpenSSL reads the plaintext in it,
        compared by SHA-256.
        """
        self.flows.collect(frames)
        wire = self.stream.wire()
        assert wire == self.expected_all(), _difference(wire, self.expected_all())
        if self.tls is not None:
            self.check_decrypts(wire)
        return wire

    def check_decrypts(self, wire: bytes) -> None:
        """The far end's OpenSSL reads our plaintext in the stream, as far as that has come."""
        new, self._decrypted_bytes = wire[self._decrypted_bytes :], len(wire)
        found = self.tls.decrypt(new)
        self._digest.update(found)
        self._read_bytes += len(found)
        whole = hashlib.sha256(self.plaintext[: self._read_bytes])
        assert self._digest.digest() == whole.digest(), "the far end has read something else"
        if self.sent_end == self.end:
            assert self._read_bytes == len(self.plaintext), (
                f"the far end has read {self._read_bytes} of {len(self.plaintext)} bytes"
            )


def payloads(frames: Sequence[bytes]) -> list[tuple[int, bytes]]:
    """Sequence number and payload of TCP segments, in the order they came."""
    segments = [tcp_segment(frame) for frame in frames]
    return [(segment.sequence, segment.payload) for segment in segments if segment is not None]


def _difference(found: bytes, expected: bytes) -> str:
    pairs = zip(found, expected, strict=False)
    at = next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(found), len(expected)))
    return f"{len(found)} bytes came, {len(expected)} expected; byte {at} is the first that differs"
