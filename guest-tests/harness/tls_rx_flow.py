"""TLS flows that the card decrypts: their packets are sent, and what came of them is judged.

`ReceiveFlows` is the `rx_flows` fixture. Every packet that comes is held against the frame that was
sent, in order: as on the wire, or with the content of its records decrypted and all else unchanged,
as its mark says. What the driver's `TlsReceiver` reads is compared by SHA-256 with what the far end
has written.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pytest

from harness.fixtures import wait_for
from harness.peer import Peer
from harness.tls_in_order import InOrder
from harness.tls_rx_stream import AEAD_SUITES, KINDS, FarEnd, ReceiveStream, Record
from harness.tls_start import FIRST_PORT, PEER_PORT, START, make_session
from harness.tls_stream import PlaintextScanner, tcp_segment
from harness.traffic import IP4_NIC, IP4_PEER, IP6_NIC, IP6_PEER
from tlsnic.abi import registers as reg
from tlsnic.abi.enums import CipherSuite, Offload, RxFlags, TlsRxState, TlsTrackerState
from tlsnic.abi.structures import TlsFlowState
from tlsnic.abi.suites import MAX_PLAINTEXT
from tlsnic.driver.nic import Nic
from tlsnic.driver.rx import RxPacket
from tlsnic.driver.tls.receive_tag import ReceiveTag, Resync
from tlsnic.driver.tls.session import FlowAddress, TlsSession

__all__ = [
    "AEAD_SUITES",
    "AS_ON_WIRE",
    "AUTH_FAILED",
    "DECRYPTED",
    "KINDS",
    "MSS",
    "NONE",
    "Arrived",
    "FarEnd",
    "ReceiveFlow",
    "ReceiveFlows",
    "Record",
]

NONE, AS_ON_WIRE, DECRYPTED, AUTH_FAILED = TlsRxState
"""How a packet has come."""
MSS = 1400
"""Fits with IPv6 and TCP timestamps."""
_TIMEOUT_S = 20.0
_MASK = 0xFFFF_FFFF
_HALF = 1 << 31
_WHOLE = (b"\0\0", b"\x40\0")
"""IPv4: flags and offset of what is no fragment."""


class Arrived(NamedTuple):
    """A packet of a flow that came."""

    start: int
    """Offset of its payload."""
    size: int
    state: TlsRxState
    records: int
    """That ended in it, by its completion."""
    segments: int
    packet: RxPacket


class ReceiveFlows:
    """All flows of one test, on one card. `offloads` RX_CHECKSUM and RX_TLS are on."""

    def __init__(self, nic: Nic, peer: Peer) -> None:
        self.nic = nic
        self.peer = peer
        self.scanner = PlaintextScanner()
        self.flows: list[ReceiveFlow] = []
        self.others: deque[bytes] = deque()
        """Frames of no flow that were sent and have not come yet."""
        self.has_strangers = False
        """Whether somebody else sends on this wire."""
        self._packets: list[RxPacket] = []
        self._buffers = 0
        nic.offloads = nic.offloads | Offload.RX_CHECKSUM | Offload.RX_TLS
        # In a slow guest answers may take longer than the second that a card waits by itself.
        nic.access.write32(reg.TLS_RESYNC, 0)

    def open(
        self,
        suite: CipherSuite = CipherSuite.TLS12_AES_128_GCM,
        *,
        openssl: bool = True,
        session: TlsSession | None = None,
        record_number: int = 0,
        max_plaintext: int = MAX_PLAINTEXT,
        sequence: int = START,
        ip: str = "IP",
        address: FlowAddress | None = None,
        vlan: int | None = None,
        resync: Resync | None = Resync.HOST,
        hints: bool | None = None,
        reader: bool = True,
    ) -> ReceiveFlow:
        """A connection whose records the card decrypts from TCP sequence number `sequence` on.

        openssl: its far end is OpenSSL, else keys are made up (`session`, or from a seed, with
        `record_number`) and software TLS writes, which can do more: `write_bytes`, `key_update`.
        ip: "IP" or "IPv6". resync: None: the card is not asked. reader: a TlsReceiver reads the
        stream, tells the tag of records and answers the card's questions; without, the test does
        all that by `flow.tag`. Raises SendTagRefused.
        """
        far = None
        if session is None and openssl:
            far = FarEnd.take(suite)
            session = far.session(max_plaintext)
        if session is None:
            session = make_session(
                suite,
                seed=100 + len(self.flows),
                record_number=record_number,
                max_plaintext=max_plaintext,
            )
        if address is None:
            here, there = (IP4_NIC, IP4_PEER) if ip == "IP" else (IP6_NIC, IP6_PEER)
            port = FIRST_PORT + len(self.flows)
            address = FlowAddress.make(here, port, there, PEER_PORT, vlan)
        flow = ReceiveFlow(self, address, session, sequence, far)
        flow.offload(resync, hints=hints, reader=reader)
        self.flows.append(flow)
        return flow

    def go_on(self, flow: ReceiveFlow, **options: Any) -> ReceiveFlow:
        """A new flow for the rest of a connection, from the end of `flow` on, whose tag is free; its
        far end writes on. `options` as of `open`. Raises SendTagRefused."""
        known = flow.session
        number = flow.records[-1].number + 1 if flow.records else known.record_number
        session = TlsSession(known.suite, known.key, known.iv, record_number=number)
        sequence = flow.at(flow.end)
        following = self.open(session=session, address=flow.address, sequence=sequence, **options)
        following.far = flow.far
        return following

    def send(self, *frames: bytes) -> None:
        """Put frames on the wire, in this order: those of flows, by `ReceiveFlow.frame`, and others.

        When they are too many for the ring, takes packets in between.
        """
        size, entries = self.nic.options.rx_buffer_bytes, self.nic.options.rx_entries
        room = entries - entries // 8  # the driver may owe the card an eighth
        batch: list[bytes] = []
        limit = self.nic.max_frame_bytes + 4  # a VLAN tag on top
        for frame in frames:
            assert len(frame) <= limit, "the card drops longer frames"
            buffers = -(-len(frame) // size)
            if self._buffers + buffers >= room:
                self.peer.send(*batch)
                batch = []
                self._receive(_TIMEOUT_S)
            self._buffers += buffers
            flow = self._flow_of(frame)
            (self.others if flow is None else flow.sent).append(frame)
            batch.append(frame)
        self.peer.send(*batch)

    def collect(self, timeout_s: float = _TIMEOUT_S) -> list[RxPacket]:
        """All packets that were sent and have not been collected yet, in the order they came.

        Those of flows are judged, and put to `arrived`. Takes events afterwards.
        """
        self._receive(timeout_s)
        self.nic.poll_events()
        packets, self._packets = self._packets, []
        return packets

    def _receive(self, timeout_s: float) -> None:
        left = len(self.others) + sum(len(flow.sent) for flow in self.flows)
        while left:
            packet = self.nic.receive(timeout_s)
            assert packet is not None, f"{left} frames have not come within {timeout_s:g} s"
            if not self._take(packet):
                continue
            left -= packet.segments
            assert left >= 0, "more frames came than were sent"
            self._packets.append(packet)
        self._buffers = 0

    def _take(self, packet: RxPacket) -> bool:
        """Whether the packet was sent by the test."""
        flow = self._flow_of(packet.data, packet.vlan)
        if flow is not None:
            flow.judge(packet)
            return True
        if self.has_strangers and not self.others:
            return False
        assert packet.tls_state in (NONE, AS_ON_WIRE)
        sent = [self.others.popleft() for _ in range(packet.segments)]
        if packet.segments == 1 and packet.vlan is None:
            assert packet.data == sent[0], "a frame of no flow has changed, or the order has"
        return True

    def _flow_of(self, frame: bytes, stripped: int | None = None) -> ReceiveFlow | None:
        """The newest flow with addresses, ports and VLAN of `frame`; IP fragments have none."""
        ip = 14
        if frame[12:14] == b"\x81\0":
            stripped, ip = int.from_bytes(frame[14:16], "big"), 18
        if frame[ip - 2 : ip] == b"\x08\0" and frame[ip + 6 : ip + 8] not in _WHOLE:
            return None
        segment = tcp_segment(frame)
        if segment is None:
            return None
        first, size = (12, 4) if frame[ip] >> 4 == 4 else (8, 16)
        there, here = (frame[ip + at : ip + at + size] for at in (first, first + size))
        found = FlowAddress(
            4 if size == 4 else 6,
            here,
            there,
            segment.destination_port,
            segment.source_port,
            None if stripped is None else stripped & 0xFFF,
        )
        return next((flow for flow in reversed(self.flows) if flow.address == found), None)

    def close(self) -> None:
        """Free all flows. Fails the test when packets came that nobody collected."""
        left = len(self.others) + sum(len(flow.sent) for flow in self.flows)
        assert not left, f"{left} frames were sent that no test has looked at"
        if self.nic.started and not self.has_strangers:
            assert self.nic.receive(0) is None, "a packet came that was not sent"
        for flow in self.flows:
            flow.close()


class ReceiveFlow(ReceiveStream):
    """One connection: its stream, its receive tag, and what has come of it.

    Attributes besides those of the stream: `tag`; `receiver`, a TlsReceiver or None; `sent_end`,
    offset behind the newest byte that was sent; `sent`, frames that were sent and have not come
    yet; `arrived`; `read_bytes`, so much plaintext was read.
    """

    tag: ReceiveTag | None

    def __init__(
        self,
        flows: ReceiveFlows,
        address: FlowAddress,
        session: TlsSession,
        sequence: int,
        far: FarEnd | None,
    ) -> None:
        """Use `ReceiveFlows.open`."""
        super().__init__(address, session, sequence, far, flows.scanner, flows.nic.mac_address)
        self.flows = flows
        self.tag = None
        self.receiver: Any = None
        self.sent_end = 0
        self.sent: deque[bytes] = deque()
        self.arrived: list[Arrived] = []
        self.read_bytes = 0
        self._looked_at = 0
        self._connection = InOrder(flows.nic, address, self.sequence)
        self._digest = hashlib.sha256()

    # Offload

    def offload(
        self,
        resync: Resync | None = Resync.HOST,
        *,
        hints: bool | None = None,
        reader: bool = True,
    ) -> None:
        """The card decrypts from the flow's start on. As in `ReceiveFlows.open`."""
        if reader:
            from tlsnic.driver.tls.receive_stream import TlsReceiver  # noqa: PLC0415 - slow

            self.receiver = TlsReceiver(
                self._connection,  # type: ignore[arg-type] - the part of Host that it uses
                self._connection,  # type: ignore[arg-type]
                self.session,
                resync=resync,
                hints=hints,
            )
            self.tag = self.receiver.tag
        elif resync is not None:
            self.tag = self.flows.nic.rcv_tag_alloc(
                self.session, self.address, self.sequence, resync=resync
            )

    def free(self) -> None:
        """Free the tag, if there is one."""
        if self.tag is not None:
            self.tag.free(_TIMEOUT_S)
            self.tag = None

    def close(self) -> None:
        """Free the tag, and leave the far end to the next flow: nothing more is written."""
        self.free()
        if self.far is not None:
            self.far.in_use = False
            self.far = None

    # The card gets it

    def send(self, begin: int, end: int, *, mss: int = MSS) -> None:
        """Bytes `begin` to `end` of the stream, in packets of at most `mss` bytes."""
        self.send_cut(*range(begin, end, mss), end)

    def send_cut(self, *cuts: int) -> None:
        """Packets from each of the offsets to the next."""
        pairs = itertools.pairwise(cuts)
        self.sent_end = max(self.sent_end, *cuts)
        self.flows.send(*[self.frame(begin, end) for begin, end in pairs])

    def send_rest(self, *, mss: int = MSS) -> None:
        """All that is behind the newest byte that was sent."""
        self.send(self.sent_end, self.end, mss=mss)

    # What came of it

    def judge(self, packet: RxPacket) -> None:
        """A packet came: it is the oldest one that was sent (or some of them, joined), and either
        as on the wire or decrypted, as its mark says. The connection takes it in."""
        assert self.sent, "more packets of the flow came than were sent"
        frames = [self.sent.popleft() for _ in range(packet.segments)]
        segments = [tcp_segment(frame) for frame in frames]
        first, found = segments[0], tcp_segment(packet.data)
        assert first is not None
        assert found is not None
        state = TlsRxState(packet.tls_state)
        assert found.sequence == first.sequence, "not in the order in which they were sent"
        start = (first.sequence - self.sequence + _HALF & _MASK) - _HALF
        for one, two in itertools.pairwise(segments):
            assert one is not None
            assert two is not None
            behind = one.sequence + len(one.payload) & _MASK
            assert behind == two.sequence, "what does not follow each other was joined"
        sent = b"".join([segment.payload for segment in segments if segment is not None])
        expected = self._decrypted(start, sent) if state is DECRYPTED else sent
        assert found.payload == expected, (
            f"{len(sent)} bytes at {start} are {state.name} and differ: "
            f"{_difference(found.payload, expected)}"
        )
        if packet.segments == 1:
            frame = frames[0]
            if packet.vlan is not None:
                frame = frame[:12] + frame[16:]
            headers = frame.index(sent, 34) if sent else len(frame)
            assert packet.data[:headers] == frame[:headers], "a header has changed"
        assert state is not NONE or not packet.flow
        if state is not DECRYPTED:
            assert packet.tls_records == 0
        self.arrived.append(
            Arrived(start, len(sent), state, packet.tls_records, packet.segments, packet)
        )
        if self.tag is not None and packet.flow == self.tag.handle:
            self.tag.received(packet, len(sent))
        if not packet.checksum_bad:
            self._connection.add(start, found.payload, state is DECRYPTED)

    def deliver(self, begin: int, end: int) -> None:
        """The connection takes in bytes of the stream that came in another way, as on the wire."""
        self._connection.add(begin, self.payload(begin, end), False)

    def _decrypted(self, start: int, sent: bytes) -> bytes:
        """What decryption makes of `sent`, which may have been damaged: all suites XOR a stream."""
        begin, end = max(start, 0), max(start, 0) + len(sent) - max(-start, 0)
        stream = _xor(self.wire[begin:end], self.clear[begin:end])
        return _xor(sent, bytes(len(sent) - len(stream)) + stream)

    def collect(self) -> list[Arrived]:
        """Take all packets that are on the way, of all flows; what came of this one since the last
        time."""
        self.flows.collect()
        before, self._looked_at = self._looked_at, len(self.arrived)
        return self.arrived[before:]

    def states(self) -> list[TlsRxState]:
        """`collect`, and how each packet has come."""
        return [one.state for one in self.collect()]

    def read(self) -> bytes:
        """What the receiver reads now; compared with what was written. Raises TlsError."""
        data: bytes = self.receiver.read()
        self._digest.update(data)
        self.read_bytes += len(data)
        self.flows.nic.poll_events()
        whole = hashlib.sha256(self.plaintext[: self.read_bytes])
        assert self._digest.digest() == whole.digest(), "something else was read than written"
        return data

    def check(self) -> Counter[Any]:
        """Collect and read: all that was written must have arrived, and be right. How the
        receiver has found the records, by Offloaded."""
        self.flows.collect()
        self.read()
        assert self.read_bytes == len(self.plaintext), (
            f"{self.read_bytes} of {len(self.plaintext)} bytes were read"
        )
        counted: Counter[Any] = self.receiver.records
        return counted

    def asked(self, count: int) -> None:
        """Wait until the card has asked the tag `count` questions in all."""

        def done() -> bool:
            self.flows.nic.poll_events()
            assert self.tag is not None
            return self.tag.counters.rx_tls_resync_req_start >= count

        wait_for(done, f"{count} questions asked")

    def settled(self) -> None:
        """Wait until the card has taken in the answers and hints that the tag has sent."""

        def done() -> bool:
            self.flows.nic.poll_events()
            assert self.tag is not None
            return not self.tag.poll()

        wait_for(done, "answers and hints taken in")

    def query(self) -> TlsFlowState:
        """What the card says of the flow; all packets sent must have been collected."""
        assert self.tag is not None
        return self.tag.query()

    @property
    def tracker(self) -> TlsTrackerState:
        """The tracker's state now."""
        return TlsTrackerState(self.query().tracker_state)

    def questions(self, arrived: Sequence[Arrived]) -> int:
        """How many of the packets say that the card has asked something (RESYNC)."""
        return sum(bool(one.packet.flags & RxFlags.RESYNC) for one in arrived)


@pytest.fixture
def rx_flows(nic: Nic, peer: Peer) -> Iterator[ReceiveFlows]:
    """Receive flows of `nic`, with receive checksum and receive TLS switched on."""
    opened = ReceiveFlows(nic, peer)
    yield opened
    opened.close()


def _xor(a: bytes | bytearray, b: bytes | bytearray) -> bytes:
    value = int.from_bytes(a, "little") ^ int.from_bytes(b, "little")
    return value.to_bytes(len(a), "little")


def _difference(found: bytes, expected: bytes) -> str:
    pairs = zip(found, expected, strict=False)
    at = next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(found), len(expected)))
    return f"{len(found)} bytes came; byte {at} is the first that differs"
