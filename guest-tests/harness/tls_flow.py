"""TLS flows of the card in tests: records laid out, packets sent, and what came of them judged.

`TlsFlows` is the `flows` fixture. It scans every frame that comes for plaintext, and at the test's
end none may be left that nobody asked for. What a flow sends is held against software TLS, byte
for byte, and OpenSSL decrypts it.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from struct import Struct
from typing import TYPE_CHECKING, Any

from harness.peer import MAC as PEER_MAC
from harness.peer import Peer
from harness.tls_stream import PlaintextScanner, StreamReassembler, marked, tcp_segment
from harness.traffic import ETHERTYPE, IP4_NIC, IP4_PEER, IP6_NIC, IP6_PEER
from tlsnic.abi.enums import CipherSuite, TlsFlowFlags
from tlsnic.abi.structures import TlsFlow, TlsFlowCreateCommand
from tlsnic.abi.suites import MAX_PLAINTEXT, SUITES
from tlsnic.driver.access import Deadline
from tlsnic.driver.errors import RingFullError
from tlsnic.driver.nic import Nic
from tlsnic.driver.tls.framing import APPLICATION_DATA, HANDSHAKE, Framer, LaidOutRecord
from tlsnic.driver.tls.records import Entry, RecordMap
from tlsnic.driver.tls.send_tag import Outcome, OutcomeKind, SendTag
from tlsnic.driver.tls.session import FlowAddress, TlsSession
from tlsnic.driver.tx import TxQueue

if TYPE_CHECKING:
    from harness.tls import TlsPeer

START = 0xFFFF_F000
"""TCP sequence number of a flow's first record: it wraps early in every test."""
FIRST_PORT = 5001
PEER_PORT = 443
KEY_UPDATE = bytes.fromhex("18 000001 00")
"""RFC 8446 section 4.6.3, update_not_requested."""
ACK, PSH, FIN = 0x10, 0x08, 0x01
_TIMEOUT_S = 10.0
_SEQUENCE_MASK = 0xFFFF_FFFF
_TCP = Struct("!HHIIBBHHH")
_IP4 = Struct("!BBHHHBBH4s4s")
_IP6 = Struct("!IHBB16s16s")
_BARRIER = b"tlsnic barrier"


class TlsFlows:
    """All flows of one test, on one card."""

    def __init__(self, nic: Nic, peer: Peer) -> None:
        self.nic = nic
        self.peer = peer
        self.scanner = PlaintextScanner()
        self.flows: list[Flow] = []
        self._barriers = 0

    def open(
        self,
        suite: CipherSuite = CipherSuite.TLS12_AES_128_GCM,
        *,
        key_bytes: int | None = None,
        encrypt_then_mac: bool | None = None,
        max_plaintext: int = MAX_PLAINTEXT,
        openssl: bool = True,
        session: TlsSession | None = None,
        record_number: int | None = None,
        sequence: int = START,
        ip: str = "IP",
        address: FlowAddress | None = None,
        vlan: int | None = None,
        rate_bytes_per_s: int = 0,
        software: bool = False,
    ) -> Flow:
        """A connection that the card encrypts from TCP sequence number `sequence` on.

        openssl: its far end is OpenSSL, else keys are made up (`session`, or from a seed) and only
        software TLS judges. ip: "IP" or "IPv6". software: the card is not asked until
        `Flow.offload`. Raises SendTagRefused.
        """
        tls = None
        if session is None and openssl:
            from harness.tls import TlsPeer  # noqa: PLC0415 - slow to import in a guest

            tls = TlsPeer.make(
                suite,
                key_bytes=key_bytes,
                encrypt_then_mac=encrypt_then_mac,
                max_plaintext=max_plaintext,
            )
            session = tls.session
        if session is None:
            session = make_session(
                suite,
                seed=len(self.flows),
                key_bytes=key_bytes,
                encrypt_then_mac=bool(encrypt_then_mac),
                max_plaintext=max_plaintext,
            )
        if address is None:
            address = self.address(ip, vlan=vlan)
        flow = Flow(self, address, session, sequence, record_number, tls)
        if not software:
            flow.offload(rate_bytes_per_s=rate_bytes_per_s)
        self.flows.append(flow)
        return flow

    def address(self, ip: str = "IP", *, vlan: int | None = None) -> FlowAddress:
        """Addresses of the next flow: each has a port of its own."""
        here, there = (IP4_NIC, IP4_PEER) if ip == "IP" else (IP6_NIC, IP6_PEER)
        port = FIRST_PORT + len(self.flows)
        return FlowAddress.make(here, port, there, PEER_PORT, vlan)

    def collect(self, frames: int | None = None, timeout_s: float = _TIMEOUT_S) -> list[bytes]:
        """All frames that the card has sent, scanned, and given to their flows.

        With `frames` just that many are waited for: where a rate limit holds some back. Without,
        whatever was posted so far has come when this returns.
        """
        if frames is not None:
            for queue in self.nic.tx:
                queue.flush()
            found = self.peer.receive_many(frames, timeout_s)
        else:
            found = self._up_to_barrier(timeout_s)
        self._look_at(found)
        return found

    def collect_timed(self, frames: int, timeout_s: float = _TIMEOUT_S) -> list[tuple[int, bytes]]:
        """The same for just so many frames, with when they came; see `Peer.receive_timed`."""
        for queue in self.nic.tx:
            queue.flush()
        found = self.peer.receive_timed(frames, timeout_s)
        self._look_at([frame for _, frame in found])
        return found

    def _look_at(self, found: list[bytes]) -> None:
        self.scanner.check(found)
        for flow in self.flows:
            flow.stream.add(found)

    def _up_to_barrier(self, timeout_s: float) -> list[bytes]:
        """A frame of no flow, sent when all queues are done, comes behind all others."""
        self.nic.drain_tx(timeout_s)
        self._barriers += 1
        barrier = PEER_MAC + self.nic.mac_address + ETHERTYPE + _BARRIER
        barrier = (barrier + self._barriers.to_bytes(4, "big")).ljust(60, b"\0")
        self.nic.tx[0].send(barrier, report=True)
        self.nic.tx[0].drain(timeout_s)
        found: list[bytes] = []
        while barrier not in found:
            found += self.peer.receive_many(1, timeout_s)
            found += self.peer.drain()
        found.remove(barrier)
        return found

    def close(self) -> None:
        """Free all flows; fails the test when frames came that nobody collected."""
        for flow in self.flows:
            flow.free()
        if self.nic.link_up and self.nic.started:
            left = self.collect()
            assert not left, f"{len(left)} frames that no test has looked at: {left[0][:80].hex()}"


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


def make_session(
    suite: CipherSuite, *, seed: int = 1, key_bytes: int | None = None, **fields: Any
) -> TlsSession:
    """Keys that depend on suite and seed only; `fields` are those of TlsSession."""
    layout = SUITES[suite]
    source = random.Random(f"{suite} {seed}")
    return TlsSession(
        suite,
        source.randbytes(key_bytes or max(layout.key_bytes)),
        source.randbytes(layout.iv_bytes),
        source.randbytes(layout.mac_key_bytes),
        **fields,
    )


def flow_block(
    session: TlsSession, address: FlowAddress, sequence: int = START, **changes: Any
) -> TlsFlow:
    """The block of a TLS_FLOW_CREATE as the driver writes it, but for `changes`."""
    flags = TlsFlowFlags.ENCRYPT_THEN_MAC if session.encrypt_then_mac else TlsFlowFlags(0)
    if address.vlan_id is not None:
        flags |= TlsFlowFlags.VLAN
    block = TlsFlow(
        ip_version=address.ip_version,
        flags=flags,
        tls_version=session.layout.version,
        vlan_id=address.vlan_id or 0,
        suite=session.suite,
        record_number=session.record_number,
        tcp_sequence=sequence,
        local_port=address.local_port,
        remote_port=address.remote_port,
        key_length=len(session.key),
        iv_length=len(session.iv),
        mac_key_length=len(session.mac_key),
        local_address=address.local_address,
        remote_address=address.remote_address,
        key=bytes(session.key),
        iv=bytes(session.iv),
        mac_key=bytes(session.mac_key),
    )
    return block._replace(**changes)


def create(nic: Nic, block: TlsFlow) -> int:
    """Have the card make a flow of `block`, behind the driver's back; its handle.

    Raises CommandError.
    """
    return nic.admin.execute_secret(TlsFlowCreateCommand(), bytearray(block.pack())).result0


def payloads(frames: Sequence[bytes]) -> list[tuple[int, bytes]]:
    """Sequence number and payload of TCP segments, in the order they came."""
    segments = [tcp_segment(frame) for frame in frames]
    return [(segment.sequence, segment.payload) for segment in segments if segment is not None]


def _difference(found: bytes, expected: bytes) -> str:
    pairs = zip(found, expected, strict=False)
    at = next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(found), len(expected)))
    return f"{len(found)} bytes came, {len(expected)} expected; byte {at} is the first that differs"
