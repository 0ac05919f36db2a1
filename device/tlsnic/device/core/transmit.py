"""Transmit: descriptors → packet → checksums and segmentation → wire → completion.

`TransmitQueue` fetches packets from its ring and writes completions; `Transmitter`, of which there is
one for all queues, turns a packet into frames and hands them to the wire. When the wire is busy the
rest of one packet waits in the `Transmitter`, and all queues wait behind it.
"""

from collections import deque
from collections.abc import Callable, Sequence
from struct import Struct
from typing import Final

from tlsnic.abi import registers
from tlsnic.abi.enums import Diagnostic, QueueKind, QueueState, TxFlags, TxStatus
from tlsnic.abi.structures import TxCompletion, TxDescriptor
from tlsnic.device.core.host import Buffer, DmaFault, Port
from tlsnic.device.core.parts import Parts
from tlsnic.device.core.rings import MAX_CHAIN, Queue, QueueFault, queue_fault
from tlsnic.device.packet import vlan
from tlsnic.device.packet.checksum import fill_ipv4, fill_l4, fill_super_frame
from tlsnic.device.packet.headers import ETHERTYPE_QINQ, ETHERTYPE_VLAN, PROTOCOL_TCP, parse
from tlsnic.device.packet.segment import MAX_IP_BYTES, segment
from tlsnic.device.packet.vnet import VnetHeader, segmentation_request

MIN_FRAME_BYTES: Final = 60
"""Shorter frames are padded with zeros, as IEEE 802.3 asks (without FCS)."""
ETHERNET_BYTES: Final = 14
VLAN_BYTES: Final = 4
MAX_HEADER_BYTES: Final = 512
_CAP_FRAME = registers.BAR0.by_name["CAP_FRAME"]
MAX_SEGMENT_PAYLOAD: Final = _CAP_FRAME.decode(_CAP_FRAME.reset)["SEGMENT_PAYLOAD_BYTES"]

# TxDescriptor.STRUCT skips the reserved word; here it is read, because it must be checked.
_DESCRIPTOR: Final = Struct("<QIHHIHHQ")
_DESCRIPTOR_BYTES: Final = TxDescriptor.SIZE
_END: Final = int(TxFlags.END_OF_PACKET)
_REPORT: Final = int(TxFlags.REPORT)
_IP_CHECKSUM: Final = int(TxFlags.IP_CHECKSUM)
_L4_CHECKSUM: Final = int(TxFlags.L4_CHECKSUM)
_SEGMENT: Final = int(TxFlags.SEGMENT)
_VLAN_INSERT: Final = int(TxFlags.VLAN_INSERT)
_TLS: Final = int(TxFlags.TLS)
_OFFLOADS: Final = _IP_CHECKSUM | _L4_CHECKSUM | _SEGMENT | _VLAN_INSERT
_FOR_TLS: Final = int(TxFlags.PRESYNC | TxFlags.PREFIX | TxFlags.SUFFIX)
_UNKNOWN: Final = 0xFFFF & ~sum(TxFlags)
_PADDING: Final = bytes(MIN_FRAME_BYTES)
_TPIDS: Final = tuple(tpid.to_bytes(2, "big") for tpid in (ETHERTYPE_VLAN, ETHERTYPE_QINQ))

Descriptor = tuple[int, int, int, int, int, int, int, int]
"""address, length, flags, vlan_tci, send_tag, mss, header_length, reserved."""
Frame = tuple[Sequence[Buffer], VnetHeader | None, int, int]
"""Parts, work left to the wire, frames on the wire, bytes on the wire."""


def _nothing() -> None:
    """Nobody has to be told."""


class Drop(Exception):
    """A packet that is not sent: completion status, diagnostic, and what that is about."""

    def __init__(self, status: TxStatus, code: Diagnostic, operand: int = 0) -> None:
        super().__init__(code.name)
        self.status = status
        self.code = code
        self.operand = operand


class Transmitter:
    """The stage behind all transmit queues: offloads, and the way to the wire."""

    def __init__(self, parts: Parts, port: Port) -> None:
        self._host = parts.host
        self._regs = parts.regs
        self._counters = parts.counters
        self._port = port
        self.now_ns = 0
        self.link_up = False
        self.enabled = False
        self.max_frame = 0
        self._waiting: deque[Frame] = deque()
        self._waiting_for: TransmitQueue | None = None
        self._link_lost = False
        self.on_free: Callable[[], None] = _nothing
        """Called when the waiting packet was forgotten: other queues wait behind it."""

    @property
    def blocked(self) -> bool:
        """A packet waits for the wire: no queue can send."""
        return bool(self._waiting)

    def resume(self) -> None:
        """The wire may take frames again: send what waits, and complete its packet."""
        while self._waiting and not self._link_lost:
            if not self._hand_over(*self._waiting[0]):
                return
            self._waiting.popleft()
        self._waiting.clear()
        queue, self._waiting_for = self._waiting_for, None
        lost, self._link_lost = self._link_lost, False
        if queue is None:
            return
        if lost:
            queue.drop(Drop(TxStatus.LINK_DOWN, Diagnostic.TX_LINK_DOWN))
        else:
            queue.sent()

    def lose_link(self) -> None:
        """The link went down: the packet that waits is dropped with the next `resume`."""
        self._link_lost = self.blocked

    def abandon(self, queue: "TransmitQueue | None" = None) -> None:
        """Forget the waiting rest of a packet: of `queue`, or of any (reset)."""
        if self._waiting and (queue is None or queue is self._waiting_for):
            self._waiting.clear()
            self._waiting_for = None
            self._link_lost = False
            self.on_free()

    def forget_views(self) -> None:
        """Copy what waits: the guest memory under it is about to go."""
        self._waiting = deque(
            ([bytes(part) for part in parts], vnet, frames, length)
            for parts, vnet, frames, length in self._waiting
        )

    def send(self, queue: "TransmitQueue", descriptors: list[Descriptor]) -> bool:
        """Send the packet that `descriptors` describe; True when it is with the wire already.

        False: `queue.sent()` will be called when it is.

        Raises:
            Drop: the packet must not or cannot be sent.
            DmaFault: its memory is not mapped.
        """
        flags, total = self._check(descriptors)
        host = self._host
        parts: list[Buffer] = []
        for descriptor in descriptors:
            piece = host.view(descriptor[0], descriptor[1], False)
            if piece is None:
                parts += host.views(descriptor[0], descriptor[1], False)
            else:
                parts.append(piece)
        if flags & _SEGMENT:
            frames = self._segment(parts, total, descriptors[0])
            self._counters.tx_segmented += 1
        else:
            if total > self.max_frame:
                self._check_tagged(parts, total, flags)
            if flags & _OFFLOADS:
                parts = self._offload(parts, total, descriptors[0])
                if flags & _VLAN_INSERT:
                    total += VLAN_BYTES
            if total < MIN_FRAME_BYTES:
                parts.append(_PADDING[total:])
                total = MIN_FRAME_BYTES
            if self._hand_over(parts, None, 1, total):
                return True
            frames = [(parts, None, 1, total)]
            self._waiting.extend(frames)
            self._waiting_for = queue
            return False
        for number, frame in enumerate(frames):
            if not self._hand_over(*frame):
                self._waiting.extend(frames[number:])
                self._waiting_for = queue
                return False
        return True

    def _hand_over(
        self, parts: Sequence[Buffer], vnet: VnetHeader | None, frames: int, length: int
    ) -> bool:
        counters = self._counters
        if not self._port.send(parts, vnet, self.now_ns):
            counters.tx_wire_busy += 1
            return False
        counters.tx_frames += frames
        counters.tx_bytes += length
        return True

    def _check(self, descriptors: list[Descriptor]) -> tuple[int, int]:
        """Flags of the first data descriptor and bytes of the packet; refuses driver mistakes."""
        total = 0
        for _, length, flags, _, _, _, _, reserved in descriptors:
            if reserved or flags & _UNKNOWN:
                raise Drop(TxStatus.BAD_PACKET, Diagnostic.TX_RESERVED, flags)
            if not length:
                raise Drop(TxStatus.BAD_PACKET, Diagnostic.TX_LENGTH)
            total += length
        if len(descriptors) > 1:
            self._check_further(descriptors)
        _, _, flags, _, send_tag, mss, header_length, _ = descriptors[0]
        if flags & (_TLS | _FOR_TLS):
            # No cipher suite is offered yet: what asks to be encrypted must not leave.
            raise Drop(TxStatus.TLS_DROPPED, Diagnostic.TLS_HANDLE, send_tag)
        if send_tag:
            raise Drop(TxStatus.BAD_PACKET, Diagnostic.TX_FLAGS, flags)
        if flags & _SEGMENT:
            if not mss:
                raise Drop(TxStatus.BAD_PACKET, Diagnostic.TX_SEGMENTATION)
            payload = total - header_length
            if payload <= 0 or not ETHERNET_BYTES < header_length <= MAX_HEADER_BYTES:
                raise Drop(TxStatus.BAD_PACKET, Diagnostic.TX_HEADER, header_length)
            if payload > MAX_SEGMENT_PAYLOAD:
                raise Drop(TxStatus.BAD_PACKET, Diagnostic.TX_LENGTH, total)
        else:
            if mss or header_length:
                raise Drop(TxStatus.BAD_PACKET, Diagnostic.TX_FLAGS, flags)
            if not ETHERNET_BYTES <= total <= self.max_frame + VLAN_BYTES:
                raise Drop(TxStatus.BAD_PACKET, Diagnostic.TX_LENGTH, total)
        if not self.link_up:
            raise Drop(TxStatus.LINK_DOWN, Diagnostic.TX_LINK_DOWN)
        return flags, total

    @staticmethod
    def _check_further(descriptors: list[Descriptor]) -> None:
        """Refuse flags that only the first descriptor may have; those of TLS must stop the packet."""
        for descriptor in descriptors[1:]:
            flags = descriptor[2] & ~_END
            if flags & (_TLS | _FOR_TLS):
                raise Drop(TxStatus.TLS_DROPPED, Diagnostic.TLS_HANDLE, descriptor[4])
            if flags:
                raise Drop(TxStatus.BAD_PACKET, Diagnostic.TX_FLAGS, flags)

    @staticmethod
    def _check_tagged(parts: list[Buffer], total: int, flags: int) -> None:
        """Refuse a frame longer than MAX_FRAME, unless what it has too many is a VLAN tag."""
        head, _ = _split(parts, ETHERNET_BYTES)
        if flags & _VLAN_INSERT or head[12:14] not in _TPIDS:
            raise Drop(TxStatus.BAD_PACKET, Diagnostic.TX_LENGTH, total)

    def _offload(self, parts: list[Buffer], total: int, first: Descriptor) -> list[Buffer]:
        """Insert the VLAN tag and fill checksums in a copy of one frame."""
        flags, vlan_tci = first[2], first[3]
        frame = bytearray().join(parts)
        if flags & (_IP_CHECKSUM | _L4_CHECKSUM):
            headers = parse(frame)
            if flags & _L4_CHECKSUM and not fill_l4(frame, headers):
                raise Drop(TxStatus.BAD_PACKET, Diagnostic.TX_CHECKSUM, headers.protocol & 0xFF)
            if flags & _IP_CHECKSUM and headers.ip_version == 4:
                fill_ipv4(frame, headers)
            elif flags & _IP_CHECKSUM and headers.ip_version != 6:
                raise Drop(TxStatus.BAD_PACKET, Diagnostic.TX_CHECKSUM, headers.ether_type)
        if not flags & _VLAN_INSERT:
            return [frame]
        return list(vlan.insert(frame, vlan_tci))

    def _segment(self, parts: list[Buffer], total: int, first: Descriptor) -> list[Frame]:
        """Cut a TCP packet, or leave that to a wire that can."""
        flags, vlan_tci, mss, header_length = first[2], first[3], first[5], first[6]
        head, payload = _split(parts, header_length)
        if flags & _VLAN_INSERT:
            head = bytearray().join(vlan.insert(head, vlan_tci))
            header_length += VLAN_BYTES
            total += VLAN_BYTES
        headers = parse(head, total, ignore_ip_length=True)
        fault, _, _, l3, _, header_end, _, _, protocol, fragment, _, _, _, _ = headers
        if protocol != PROTOCOL_TCP or fragment:
            raise Drop(TxStatus.BAD_PACKET, Diagnostic.TX_SEGMENTATION, protocol & 0xFF)
        if fault or header_end != header_length:
            raise Drop(TxStatus.BAD_PACKET, Diagnostic.TX_HEADER, header_length)
        payload_bytes = total - header_length
        largest = mss if mss < payload_bytes else payload_bytes
        if header_length - min(l3 - ETHERNET_BYTES, VLAN_BYTES) + largest > self.max_frame:
            raise Drop(TxStatus.BAD_PACKET, Diagnostic.TX_LENGTH, header_length + mss)
        count = -(-payload_bytes // mss)
        on_wire = total + (count - 1) * header_length
        if count > 1 and self._port.takes_super_frames and total - l3 <= MAX_IP_BYTES:
            fill_super_frame(head, headers, total)
            return [([head, *payload], segmentation_request(headers, mss), count, on_wire)]
        data = payload[0] if len(payload) == 1 else b"".join(payload)
        cut = segment(head, headers, data, mss)
        full = header_length + mss
        frames: list[Frame] = [(pieces, None, 1, full) for pieces in cut]
        last = on_wire - (count - 1) * full
        frames[-1] = (cut[-1], None, 1, last)
        if full < MIN_FRAME_BYTES or last < MIN_FRAME_BYTES:
            frames = [_padded(frame) for frame in frames]
        return frames


class TransmitQueue(Queue):
    """One transmit ring with its completion ring."""

    def __init__(self, number: int, parts: Parts, transmitter: Transmitter) -> None:
        super().__init__(
            QueueKind.TRANSMIT,
            number,
            "TX_QUEUE",
            parts,
            entry_bytes=TxDescriptor.SIZE,
            completion_bytes=TxCompletion.SIZE,
        )
        self._transmitter = transmitter
        self._reporting = False

    def disable(self) -> None:
        self._transmitter.abandon(self)
        super().disable()

    def on_fault(self) -> None:
        self._transmitter.abandon(self)

    def service(self, budget: int) -> bool:
        """Send up to `budget` packets; True when there are more that can be sent now."""
        ring = self.ring
        transmitter = self._transmitter
        while ring.head != ring.tail and self.state is QueueState.RUNNING:
            if transmitter.blocked or not self.room():
                return False
            if not budget:
                return True
            budget -= 1
            try:
                descriptors = self._fetch()
            except QueueFault as fault:
                self.fault(fault)
                return False
            if descriptors is None:
                return False
            self._reporting = bool(descriptors[0][2] & _REPORT)
            try:
                done = transmitter.send(self, descriptors)
            except Drop as drop:
                self.drop(drop)
            except DmaFault as fault:
                self._fail(fault)
            else:
                if done:
                    self.sent()
        return False

    def _fetch(self) -> list[Descriptor] | None:
        """The descriptors of the next packet, or None while its end is not in the ring yet."""
        ring = self.ring
        view, offset = ring.locate(ring.head)
        descriptor: Descriptor = _DESCRIPTOR.unpack_from(view, offset)
        index = (ring.head + 1) & ring.mask
        if descriptor[2] & _END:
            ring.head = index
            return [descriptor]
        descriptors = [descriptor]
        while True:
            if len(descriptors) >= MAX_CHAIN or len(descriptors) >= ring.mask:
                raise QueueFault(Diagnostic.TX_CHAIN, len(descriptors))
            if index == ring.tail:
                return None
            view, offset = ring.locate(index)
            descriptor = _DESCRIPTOR.unpack_from(view, offset)
            descriptors.append(descriptor)
            index = (index + 1) & ring.mask
            if descriptor[2] & _END:
                ring.head = index
                return descriptors

    def sent(self) -> None:
        """The packet that was fetched last is with the wire."""
        counters = self._counters
        counters.tx_packets += 1
        counters.tx_sent_packets += 1
        if self._reporting:
            self.complete(0, self.ring.head)

    def drop(self, drop: Drop) -> None:
        """The packet that was fetched last is not sent."""
        counters = self._counters
        counters.tx_packets += 1
        if drop.status is TxStatus.LINK_DOWN:
            counters.tx_drop_link_down += 1
        elif drop.status is TxStatus.TLS_DROPPED:
            counters.tx_drop_tls += 1
        else:
            counters.tx_drop_bad_packet += 1
        self.report(drop.code, drop.operand)
        self.complete(drop.code << 32, self.ring.head | drop.status << 32)

    def _fail(self, fault: DmaFault) -> None:
        counters = self._counters
        counters.tx_packets += 1
        counters.tx_drop_dma += 1
        reason = queue_fault(fault)
        if self.complete(reason.code << 32, self.ring.head | TxStatus.DMA_FAULT << 32):
            self.fault(reason)


def _split(parts: list[Buffer], length: int) -> tuple[bytearray, list[Buffer]]:
    """A copy of the first `length` bytes of the packet, and views of the rest."""
    first = parts[0]
    if len(first) > length:
        return bytearray(first[:length]), [first[length:], *parts[1:]]
    head = bytearray()
    rest: list[Buffer] = []
    for part in parts:
        missing = length - len(head)
        if not missing:
            rest.append(part)
            continue
        head += part[:missing]
        if missing < len(part):
            rest.append(part[missing:])
    return head, rest


def _padded(frame: Frame) -> Frame:
    """The same frame, of at least MIN_FRAME_BYTES."""
    parts, vnet, frames, length = frame
    if length >= MIN_FRAME_BYTES:
        return frame
    return [*parts, _PADDING[length:]], vnet, frames, MIN_FRAME_BYTES
