"""Receive: frame → checks and filters → checksums → TLS → queue choice → coalescing → buffers.

Frames from the wire come in batches, because their checksums are cheaper together.
"""

from collections.abc import Callable, Sequence
from itertools import groupby, product
from typing import Final

from tlsnic.abi.enums import Diagnostic, Offload, RxFlags
from tlsnic.device.core.events import EventQueue
from tlsnic.device.core.filters import BROADCAST, Filters
from tlsnic.device.core.host import Buffer
from tlsnic.device.core.parts import Parts
from tlsnic.device.core.receive_queue import ReceiveQueue
from tlsnic.device.core.receive_tls import (
    AS_ON_WIRE,
    MAX_RUN_BYTES,
    NO_FLOW,
    UNFOLLOWED,
    Mark,
    TlsReceive,
    bits_of,
    handle_of,
)
from tlsnic.device.core.steering import Steering
from tlsnic.device.packet.batch import FEW, Segments, parse_segments, verify_rx_many
from tlsnic.device.packet.checksum import RxChecksum, verify_rx
from tlsnic.device.packet.coalesce import Coalescer, Packet
from tlsnic.device.packet.headers import (
    ETHERTYPE_VLAN,
    PROTOCOL_TCP,
    PROTOCOL_UDP,
    Headers,
    parse,
)
from tlsnic.device.packet.vnet import (
    VNET_NEEDS_CSUM,
    VnetError,
    VnetHeader,
    complete_checksum,
    cut,
)

ETHERNET_BYTES: Final = 14
VLAN_BYTES: Final = 4
MAX_IP_BYTES: Final = 65535

_FLAGS_SHIFT: Final = 48
_VLAN_STRIPPED: Final = int(RxFlags.VLAN_STRIPPED)
_COALESCED: Final = int(RxFlags.COALESCED)
_IPV4: Final = int(RxFlags.IPV4)
_IPV6: Final = int(RxFlags.IPV6)
_TCP: Final = int(RxFlags.TCP)
_UDP: Final = int(RxFlags.UDP)
_FRAGMENT: Final = int(RxFlags.FRAGMENT)
_ANY_BAD: Final = int(RxFlags.IP_CHECKSUM_BAD | RxFlags.L4_CHECKSUM_BAD)
_TPID: Final = ETHERTYPE_VLAN.to_bytes(2, "big")
# What the checksum engine says of a frame it did not look at, or whose sender vouches for it.
_UNCHECKED: Final = RxChecksum(False, False, False, False)

_ONE_SEGMENT: Final = 1 << 48
_NO_BITS: Final = [0]
_AS_ON_WIRE_BITS: Final = [AS_ON_WIRE]

Arrival = tuple[bytes, VnetHeader | None]
"""A frame from the wire, and what the sending host left to be done to it."""


class Receiver:
    """The stage behind the wire, common to all receive queues."""

    def __init__(
        self,
        parts: Parts,
        filters: Filters,
        steering: Steering,
        queues: Sequence[ReceiveQueue],
        events: EventQueue,
    ) -> None:
        self._host = parts.host
        self._counters = parts.counters
        self._diagnostics = parts.diagnostics
        self._filters = filters
        self._steering = steering
        self._queues = queues
        self.tls = TlsReceive(parts, events)
        self.follow, self.follow_run = self.tls.follow, self.tls.follow_run
        """How packets of flows are followed; a trace puts its own in front."""
        self.lost: Callable[[int, int, int], None] = _ignore
        """Told of packets of flows that were followed, and then not delivered: the flow's handle,
        u32 TCP sequence number, bytes of payload. A trace listens."""
        self.now_ns = 0
        self.enabled = False
        self.max_frame = 0
        self._check_sums = False
        self._strip_vlan = False
        self._coalescer: Coalescer[int] | None = None
        self._coalescing = (MAX_IP_BYTES, 1, 0)

    @property
    def joins(self) -> bool:
        """Coalescing is on: super-frames may come from the wire."""
        return self._coalescer is not None

    def set_offloads(self, offloads: int) -> None:
        """OFFLOAD_ENABLE was written."""
        self.flush()
        self._check_sums = bool(offloads & Offload.RX_CHECKSUM)
        self._strip_vlan = bool(offloads & Offload.VLAN_STRIP)
        # What is joined must have been checked, so coalescing needs the checksum engine.
        joins = self._check_sums and bool(offloads & Offload.RX_COALESCE)
        self._coalescer = Coalescer(*self._coalescing) if joins else None

    def set_coalescing(self, *, max_bytes: int, max_segments: int, timeout_us: int) -> None:
        """RX_COALESCE was written."""
        self._coalescing = min(max_bytes, MAX_IP_BYTES), max_segments, timeout_us
        if self._coalescer is not None:
            self.flush()
            self._coalescer = Coalescer(*self._coalescing)

    def reset(self) -> None:
        """Forget what is being joined."""
        self._coalescer = None

    def poll(self, now_ns: int) -> None:
        """Deliver joined packets that have waited long enough."""
        self.now_ns = now_ns
        if self._coalescer is not None:
            for packet in self._coalescer.expire(now_ns // 1000):
                self._deliver_packet(packet)

    def next_deadline_ns(self) -> int | None:
        """When `poll` has something to deliver; None: nothing waits."""
        due = None if self._coalescer is None else self._coalescer.next_deadline_us()
        return None if due is None else due * 1000

    def receive(self, frames: Sequence[Arrival]) -> None:
        """Take frames from the wire, and super-frames with the header that describes them."""
        if self._coalescer is not None or not self._check_sums or len(frames) < FEW:
            self._receive(frames)
            return
        data, work = zip(*frames, strict=True)
        if len(set(map(len, data))) == 1 and not any(work):
            self._receive_alike(frames, data)
            return
        for (length, has_work), group in groupby(frames, _kind):
            arrivals = list(group)
            if has_work or not length or len(arrivals) < FEW:
                self._receive(arrivals)
            else:
                self._receive_alike(arrivals, [frame for frame, _ in arrivals])

    def _receive_alike(self, arrivals: Sequence[Arrival], frames: Sequence[bytes]) -> None:
        """Frames of one length, with nothing left to be done to them."""
        segments = None
        if self.enabled and self._host.bus_master and len(frames[0]) <= self.max_frame:
            segments = parse_segments(frames, self._filters.address)
        if segments is None:
            self._receive(arrivals)
        else:
            self._receive_segments(frames, segments)

    def _receive_segments(self, frames: Sequence[bytes], segments: Segments) -> None:
        """What _receive() does, for the frames that matter most."""
        counters, receivers, now_ns = self._counters, self.tls.receivers, self.now_ns
        count, length = len(frames), len(frames[0])
        keys = segments.keys
        ip = _IPV4 if segments.is_ipv4 else _IPV6
        choose, follow = self._steering.choose_tcp, self.follow_run
        delivered = first = 0
        while first < count:
            key, sums, payload = keys[first], segments.checksums[first], segments.payloads[first]
            last = first + 1
            handle, bits = 0, _NO_BITS
            bodies: memoryview | None = None
            flow = receivers.get(key) if receivers else None
            if flow is not None:
                handle, bits = flow.handle, _AS_ON_WIRE_BITS
                if not sums.verified or segments.flags[first] & UNFOLLOWED:
                    flow.overlooked()
                elif payload < length:
                    size = length - payload
                    last = segments.run_end(first, size, UNFOLLOWED)
                    last = min(last, first + MAX_RUN_BYTES // size)
                    bits, bodies = follow(
                        flow, frames[first:last], payload, segments.sequences[first], now_ns
                    )
            queue, rss_hash, hash_type = choose(frames[first], key)
            flags = (_SUM_FLAGS[sums] | ip | _TCP) << _FLAGS_SHIFT
            taken = self._queues[queue].deliver_run(
                frames[first:last], payload, bits, bodies,
                (rss_hash << 32, _ONE_SEGMENT, handle | hash_type << 48, flags),
            )  # fmt: skip
            delivered += taken
            if flow is not None and payload < length:
                for sequence in segments.sequences[first + taken : last]:
                    self.lost(handle, sequence, length - payload)
            if not sums.verified:
                counters.rx_checksum_bad += taken
            first = last
        counters.rx_wire_frames += count
        counters.rx_frames += delivered
        counters.rx_packets += delivered
        counters.rx_bytes += delivered * length

    def _receive(self, frames: Sequence[Arrival]) -> None:
        counters = self._counters
        admitted: list[bytes] = []
        parsed: list[Headers] = []
        for frame, vnet in frames:
            if vnet is not None and vnet.gso_type:
                self._pass(admitted, parsed)
                admitted, parsed = [], []
                self._receive_super_frame(frame, vnet)
                continue
            counters.rx_wire_frames += 1
            headers = self._admit(frame, 1)
            if headers is None:
                continue
            length = len(frame)
            if length > self.max_frame and length > self._limit(headers):
                counters.rx_drop_oversize += 1
                continue
            if vnet is not None and vnet.flags & VNET_NEEDS_CSUM:
                completed = self._complete_checksum(frame, vnet)
                if completed is None:
                    continue
                frame = completed
            admitted.append(frame)
            parsed.append(headers)
        self._pass(admitted, parsed)

    def _pass(self, frames: list[bytes], parsed: list[Headers]) -> None:
        """Single frames, one behind the other."""
        if len(frames) > 1 and self._check_sums:
            checked = verify_rx_many(frames, parsed)
        elif self._check_sums:
            checked = [verify_rx(*arrival) for arrival in zip(frames, parsed, strict=True)]
        else:
            checked = [_UNCHECKED] * len(frames)
        tls = self.tls if self.tls.receivers else None
        for frame, headers, sums in zip(frames, parsed, checked, strict=True):
            mark, records, payload = NO_FLOW, 0, None
            if tls is not None:
                flow = tls.flow_of(frame, headers)
                if flow is not None:
                    mark, records, payload = self.follow(flow, frame, headers, sums, self.now_ns)
            if self._coalescer is None:
                pieces: Sequence[Buffer] = (frame,)
                if payload is not None:
                    pieces = (frame[: headers.payload], payload, frame[headers.end :])
                length = len(frame)
                self._deliver(pieces, length, frame, headers, sums, 1, 0, length, mark, records)
                continue
            if payload is not None:
                frame = b"".join((frame[: headers.payload], payload, frame[headers.end :]))
            for packet in self._coalescer.add(
                frame, headers, sums, mark, now_us=self.now_ns // 1000, context=records
            ):
                self._deliver_packet(packet)

    def _admit(self, frame: bytes, frames: int) -> Headers | None:
        """The headers of a frame that is for this port; what is not is counted as dropped."""
        counters = self._counters
        if not self.enabled or not self._host.bus_master:
            counters.rx_drop_disabled += frames
            if self.enabled:
                self._diagnostics.report(Diagnostic.BUS_MASTER_OFF)
            return None
        if len(frame) < ETHERNET_BYTES:
            counters.rx_drop_runt += frames
            return None
        if not self._filters.admits(frame[:6]):
            counters.rx_drop_filter += frames
            return None
        headers = parse(frame)
        if headers.vlan_tci is not None and not self._filters.admits_vlan(headers.vlan_tci):
            counters.rx_drop_filter += frames
            return None
        return headers

    def _limit(self, headers: Headers) -> int:
        """Bytes of the longest frame that is taken: a VLAN tag may come on top."""
        return self.max_frame if headers.vlan_tci is None else self.max_frame + VLAN_BYTES

    def _receive_super_frame(self, frame: bytes, vnet: VnetHeader) -> None:
        """A frame that the sending host left to be cut: the same as its segments, joined."""
        counters = self._counters
        headers = parse(frame)
        payload = headers.end - headers.payload
        size = vnet.gso_size
        count = -(-payload // size) if size and payload > 0 else 1
        on_wire = len(frame) + (count - 1) * headers.payload
        joinable = (
            self.joins
            and headers.protocol == PROTOCOL_TCP
            and headers.l4_bytes
            and 1 < count <= self._coalescing[1]
            and headers.end - headers.l3 <= self._coalescing[0]
            and headers.payload + size <= self._limit(headers)
        )
        if joinable and self._coalescer is not None:
            counters.rx_wire_frames += count
            if self._admit(frame, count) is None:
                return
            sums = RxChecksum(headers.ip_version == 4, headers.ip_version == 4, True, True)
            mark, records, data = NO_FLOW, 0, None
            flow = self.tls.flow_of(frame, headers) if self.tls.receivers else None
            if flow is not None:
                mark, records, data = self.follow(flow, frame, headers, sums, self.now_ns)
            for packet in self._coalescer.add(
                frame, headers, sums, mark,
                now_us=self.now_ns // 1000, context=records, alone=True,
            ):  # fmt: skip
                if packet.headers is not headers:
                    self._deliver_packet(packet)
                    continue
                pieces: Sequence[Buffer] = packet.parts
                if data is not None:
                    pieces = (frame[: headers.payload], data, frame[headers.end :])
                self._deliver(
                    pieces, len(frame), frame, headers, sums, count, size, on_wire, mark, records
                )
            return
        try:
            segments = cut(frame, vnet.gso_type, size)
        except VnetError:
            counters.rx_wire_frames += 1
            counters.rx_drop_oversize += 1
            return
        self._receive([(b"".join(parts), None) for parts in segments])

    def _complete_checksum(self, frame: bytes, vnet: VnetHeader) -> bytes | None:
        """The frame with the checksum that its sender left undone; None when that cannot be."""
        whole = bytearray(frame)
        try:
            complete_checksum(whole, vnet.csum_start, vnet.csum_offset)
        except VnetError:
            self._counters.rx_drop_oversize += 1
            return None
        return bytes(whole)

    def flush(self) -> None:
        """Deliver what is being joined."""
        if self._coalescer is not None:
            for packet in self._coalescer.flush():
                self._deliver_packet(packet)

    def _deliver_packet(self, packet: Packet[int]) -> None:
        length = sum(map(len, packet.parts))
        if not self._host.bus_master:
            self._counters.rx_drop_disabled += packet.segments
            self._diagnostics.report(Diagnostic.BUS_MASTER_OFF)
            self._lose(packet.headers, length, packet.segments, packet.offload_state)
            return
        on_wire = length + (packet.segments - 1) * packet.headers.payload
        self._deliver(
            packet.parts, length, packet.parts[0], packet.headers, packet.checksum,
            packet.segments, packet.segment_bytes, on_wire,
            packet.offload_state, sum(packet.contexts),
        )  # fmt: skip

    def _deliver(
        self,
        pieces: Sequence[Buffer],
        length: int,
        head: Buffer,
        headers: Headers,
        sums: RxChecksum,
        segments: int,
        segment_bytes: int,
        on_wire: int,
        mark: Mark,
        records: int,
    ) -> None:
        """Write a packet to the queue that it belongs to, and count it."""
        whole = length
        queue, rss_hash, hash_type = self._steering.choose(head, headers)
        counters = self._counters
        _, _, vlan_tci, _, _, _, _, version, protocol, fragment, l4_bytes, _, _, _ = headers
        flags = _SUM_FLAGS[sums]
        if version:
            flags |= _IPV4 if version == 4 else _IPV6
            if fragment:
                flags |= _FRAGMENT
            elif l4_bytes:
                if protocol == PROTOCOL_TCP:
                    flags |= _TCP
                elif protocol == PROTOCOL_UDP:
                    flags |= _UDP
        if segments > 1:
            flags |= _COALESCED
        tci = 0
        if vlan_tci is not None and self._strip_vlan and head[12:14] == _TPID:
            tci = vlan_tci
            flags |= _VLAN_STRIPPED
            first = memoryview(pieces[0])
            pieces = (first[:12], first[16:], *pieces[1:])
            length -= VLAN_BYTES
        words = (
            rss_hash << 32,
            tci << 32 | segments << 48,
            handle_of(mark) | segment_bytes << 32 | hash_type << 48,
            flags << _FLAGS_SHIFT | (bits_of(mark, records) if mark else 0),
        )
        if not self._queues[queue].deliver(pieces, length, segments, words):
            self._lose(headers, whole, segments, mark)
            return
        counters.rx_frames += segments
        counters.rx_packets += 1
        counters.rx_bytes += on_wire
        if segments > 1:
            counters.rx_coalesced += segments - 1
        if flags & _ANY_BAD:
            counters.rx_checksum_bad += 1
        if head[0] & 1:
            if head[:6] == BROADCAST:
                counters.rx_broadcast += segments
            else:
                counters.rx_multicast += segments

    def _lose(self, headers: Headers, length: int, segments: int, mark: Mark) -> None:
        """A packet of `length` bytes is not delivered."""
        if mark == NO_FLOW:
            return
        end = headers.end if segments == 1 else length  # what is joined has no padding
        if headers.payload < end:
            self.lost(handle_of(mark), headers.tcp_seq, end - headers.payload)


def _ignore(_handle: int, _sequence: int, _length: int) -> None:
    """Nobody listens."""


def _sum_flags(sums: RxChecksum) -> int:
    flags = RxFlags(0)
    if sums.ip_present:
        flags |= RxFlags.IP_CHECKSUM_OK if sums.ip_ok else RxFlags.IP_CHECKSUM_BAD
    if sums.l4_present:
        flags |= RxFlags.L4_CHECKSUM_OK if sums.l4_ok else RxFlags.L4_CHECKSUM_BAD
    return int(flags)


_SUM_FLAGS: Final = {
    sums: _sum_flags(sums)
    for sums in (RxChecksum(*bits) for bits in product((False, True), repeat=4))
}


def _kind(arrival: Arrival) -> tuple[int, bool]:
    """What frames must have alike to be looked at together: length, and whether work was left."""
    frame, work = arrival
    return len(frame), work is not None
