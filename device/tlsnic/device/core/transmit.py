"""Transmit: packet → TLS → checksums and segmentation → wire. One `Transmitter` for all queues.

When the wire is busy the rest of one packet waits in the `Transmitter`, and all queues wait behind it.
Packets of rate-limited flows go through the `Pacer`, which waits for nobody but its own flows.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from tlsnic.abi import registers
from tlsnic.abi.enums import Diagnostic, TxStatus
from tlsnic.device.core.descriptors import (
    ANY_TLS,
    IP_CHECKSUM,
    L4_CHECKSUM,
    SEGMENT,
    TLS,
    VLAN_INSERT,
    Chain,
    Descriptor,
    Drop,
    check_entries,
    check_further,
    split_chain,
)
from tlsnic.device.core.gate import PortGate
from tlsnic.device.core.host import Buffer, DmaFault
from tlsnic.device.core.pacing import Pacer
from tlsnic.device.core.parts import Parts
from tlsnic.device.core.transmit_tls import TlsTransmit
from tlsnic.device.packet import vlan
from tlsnic.device.packet.checksum import fill_ipv4, fill_l4, fill_super_frame
from tlsnic.device.packet.frames import MIN_FRAME_BYTES, PADDING, Frame, padded, split
from tlsnic.device.packet.headers import (
    ETHERTYPE_QINQ,
    ETHERTYPE_VLAN,
    PROTOCOL_TCP,
    Headers,
    parse,
)
from tlsnic.device.packet.segment import MAX_IP_BYTES, segment
from tlsnic.device.packet.vnet import VnetHeader, segmentation_request

ETHERNET_BYTES: Final = 14
VLAN_BYTES: Final = 4
MAX_HEADER_BYTES: Final = 512
_CAP_FRAME = registers.BAR0.by_name["CAP_FRAME"]
MAX_SEGMENT_PAYLOAD: Final = _CAP_FRAME.decode(_CAP_FRAME.reset)["SEGMENT_PAYLOAD_BYTES"]
_CHECKSUMS: Final = IP_CHECKSUM | L4_CHECKSUM
_TPIDS: Final = tuple(tpid.to_bytes(2, "big") for tpid in (ETHERTYPE_VLAN, ETHERTYPE_QINQ))


def _nothing() -> None:
    """Nobody has to be told."""


class Held(Exception):
    """The flow of the packet has as much waiting as it may: the packet stays in the ring."""


class PacketSource(Protocol):
    """The queue that a packet came from, and what the `Transmitter` tells it."""

    @property
    def posted(self) -> int:
        """Descriptors that the host has handed over, since the queue was made."""

    @property
    def finished(self) -> int:
        """Of these, the ones before the packet that is being sent."""

    def sent(self) -> None:
        """The packet is with the wire."""

    def taken(self) -> None:
        """The card has the packet and does not need its buffers any more; it is counted later."""

    def drop(self, drop: Drop) -> None:
        """The packet is not sent."""


class Transmitter:
    """The stage behind all transmit queues: offloads, and the way to the wire."""

    def __init__(self, parts: Parts, port: PortGate) -> None:
        self._host = parts.host
        self._regs = parts.regs
        self._counters = parts.counters
        self._port = port
        self.tls = TlsTransmit(parts.host, parts.counters, parts.flows)
        self.check_tuple, self.encrypt = self.tls.check_tuple, self.tls.encrypt
        """What is done to packets of flows; a trace puts its own in front."""
        self.pacer = Pacer(parts.counters, self._release)
        self.now_ns = 0
        self.link_up = False
        self.enabled = False
        self.max_frame = 0
        self._waiting: deque[Frame] = deque()
        self._waiting_for: PacketSource | None = None
        self._link_lost = False
        self.on_free: Callable[[], None] = _nothing
        """Called when what other packets waited for is gone."""

    @property
    def blocked(self) -> bool:
        """A packet waits for the wire: no queue can send."""
        return bool(self._waiting)

    def resume(self) -> None:
        """The wire may take frames again: send what waits, and complete its packet."""
        self.pacer.wire_writable()
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

    def poll(self) -> None:
        """Send what rate limits held back until now."""
        if self.pacer.release(self.now_ns):
            self.on_free()

    def lose_link(self) -> int:
        """The link went down: the packet that waits is dropped with the next `resume`.

        What rate limits hold back is dropped at once: how many packets.
        """
        self._link_lost = self.blocked
        return self.pacer.lose_link()

    def abandon(self, queue: PacketSource | None = None) -> None:
        """Forget the waiting rest of a packet: of `queue`, or of any (reset)."""
        if queue is None:
            self.pacer.clear()
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

    def send(self, queue: PacketSource, descriptors: list[Descriptor]) -> None:
        """Send the packet that `descriptors` describe, and tell `queue` when the wire has it.

        Raises:
            Drop: the packet must not or cannot be sent.
            DmaFault: its memory is not mapped.
            Held: not now; nothing was done.
        """
        if descriptors[0][2] & ANY_TLS:
            self._send_tls(queue, descriptors)
            return
        first = descriptors[0]
        total = self._check(descriptors)
        flags = first[2]
        parts = self._gather(descriptors)
        if flags & SEGMENT:
            head, payload = split(parts, first[6])
            head, headers, total = self._headers(head, total, first)
            self._check_segments(headers, total, first[5])
            self._send_frames(queue, self._segment(head, headers, payload, total, first[5]))
            return
        if total > self.max_frame:
            self._check_tagged(parts, total, flags)
        if flags & (_CHECKSUMS | VLAN_INSERT):
            parts = self._offload(parts, first)
            if flags & VLAN_INSERT:
                total += VLAN_BYTES
        if total < MIN_FRAME_BYTES:
            parts.append(PADDING[total:])
            total = MIN_FRAME_BYTES
        self._send_frames(queue, [(parts, None, 1, total)])

    def _send_tls(self, queue: PacketSource, descriptors: list[Descriptor]) -> None:
        """The same for a packet with TLS, of which a fault in its memory stops nothing else."""
        try:
            self._encrypt_and_send(queue, split_chain(descriptors))
        except DmaFault as fault:
            code = Diagnostic.DMA_PERMISSION if fault.permission else Diagnostic.DMA_FAULT
            raise Drop(TxStatus.TLS_DROPPED, code, fault.address) from None
        except Drop as drop:
            if drop.status is TxStatus.BAD_PACKET:
                drop.status = TxStatus.TLS_DROPPED
            raise

    def _encrypt_and_send(self, queue: PacketSource, chain: Chain) -> None:
        """Nothing of the payload goes on from here but what the TLS stage returned."""
        first = chain.data[0]
        _, _, flags, _, send_tag, mss, header_length, _ = first
        flow = self.tls.flow_of(send_tag, queue)
        if chain.presync is not None:
            check_entries([chain.presync, *chain.prefix])
        if chain.suffix:
            check_entries(chain.suffix)
        total = self._check(chain.data)
        pace = flow.pace
        if pace is not None and pace.full:
            raise Held
        parts = self._gather(chain.data)
        if not flags & SEGMENT and total > self.max_frame:
            self._check_tagged(parts, total, flags)
        head, payload = split(parts, header_length)
        head, headers, total = self._headers(head, total, first)
        self.check_tuple(flow, head, headers)
        if flags & SEGMENT:
            self._check_segments(headers, total, mss)
        cipher_text = self.encrypt(flow, chain, headers.tcp_seq, payload)
        if flags & SEGMENT:
            frames = self._segment(head, headers, [cipher_text], total, mss)
        else:
            fill_l4(head, headers, (cipher_text,))
            if flags & IP_CHECKSUM and headers.ip_version == 4:
                fill_ipv4(head, headers)
            frames = [padded(([head, cipher_text], None, 1, total))]
        if pace is None:
            self._send_frames(queue, frames)
        else:
            self.pacer.hold(pace, frames, self.now_ns)
            queue.taken()
            self.poll()

    def _gather(self, descriptors: list[Descriptor]) -> list[Buffer]:
        """Views of the packet's buffers."""
        host = self._host
        parts: list[Buffer] = []
        for descriptor in descriptors:
            piece = host.view(descriptor[0], descriptor[1], False)
            if piece is None:
                parts += host.views(descriptor[0], descriptor[1], False)
            else:
                parts.append(piece)
        return parts

    def _send_frames(self, queue: PacketSource, frames: list[Frame]) -> None:
        """Hand the frames of one packet over; what the wire does not take waits."""
        for number, frame in enumerate(frames):
            if not self._hand_over(*frame):
                self._waiting.extend(frames[number:])
                self._waiting_for = queue
                return
        queue.sent()

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

    def _release(self, frame: Frame) -> bool:
        """Hand over a frame of a rate-limited flow: behind the packet that waits, if one does."""
        return not self._waiting and self._hand_over(*frame)

    def _check(self, descriptors: list[Descriptor]) -> int:
        """Bytes of the packet; refuses what its data descriptors must not say."""
        first = descriptors[0]
        _, _, flags, _, send_tag, mss, header_length, _ = first
        total = check_entries(descriptors)
        if len(descriptors) > 1:
            check_further(descriptors)
        if flags & TLS:
            if not flags & (L4_CHECKSUM | SEGMENT):
                raise Drop(TxStatus.BAD_PACKET, Diagnostic.OFFLOAD_DEPENDENCY, flags)
            if not ETHERNET_BYTES < header_length <= min(total, MAX_HEADER_BYTES):
                raise Drop(TxStatus.BAD_PACKET, Diagnostic.TX_HEADER, header_length)
        elif send_tag:
            raise Drop(TxStatus.BAD_PACKET, Diagnostic.TX_FLAGS, flags)
        if flags & SEGMENT:
            if not mss:
                raise Drop(TxStatus.BAD_PACKET, Diagnostic.TX_SEGMENTATION)
            payload = total - header_length
            if payload <= 0 or not ETHERNET_BYTES < header_length <= MAX_HEADER_BYTES:
                raise Drop(TxStatus.BAD_PACKET, Diagnostic.TX_HEADER, header_length)
            if payload > MAX_SEGMENT_PAYLOAD:
                raise Drop(TxStatus.BAD_PACKET, Diagnostic.TX_LENGTH, total)
        else:
            if mss or (header_length and not flags & TLS):
                raise Drop(TxStatus.BAD_PACKET, Diagnostic.TX_FLAGS, flags)
            if not ETHERNET_BYTES <= total <= self.max_frame + VLAN_BYTES:
                raise Drop(TxStatus.BAD_PACKET, Diagnostic.TX_LENGTH, total)
        if not self.link_up:
            raise Drop(TxStatus.LINK_DOWN, Diagnostic.TX_LINK_DOWN)
        return total

    @staticmethod
    def _check_tagged(parts: list[Buffer], total: int, flags: int) -> None:
        """Refuse a frame longer than MAX_FRAME, unless what it has too many is a VLAN tag."""
        head, _ = split(parts, ETHERNET_BYTES)
        if flags & VLAN_INSERT or head[12:14] not in _TPIDS:
            raise Drop(TxStatus.BAD_PACKET, Diagnostic.TX_LENGTH, total)

    def _offload(self, parts: list[Buffer], first: Descriptor) -> list[Buffer]:
        """Insert the VLAN tag and fill checksums in a copy of one frame."""
        flags, vlan_tci = first[2], first[3]
        frame = bytearray().join(parts)
        if flags & _CHECKSUMS:
            headers = parse(frame)
            if flags & L4_CHECKSUM and not fill_l4(frame, headers):
                raise Drop(TxStatus.BAD_PACKET, Diagnostic.TX_CHECKSUM, headers.protocol & 0xFF)
            if flags & IP_CHECKSUM and headers.ip_version == 4:
                fill_ipv4(frame, headers)
            elif flags & IP_CHECKSUM and headers.ip_version != 6:
                raise Drop(TxStatus.BAD_PACKET, Diagnostic.TX_CHECKSUM, headers.ether_type)
        if not flags & VLAN_INSERT:
            return [frame]
        return list(vlan.insert(frame, vlan_tci))

    @staticmethod
    def _headers(head: bytearray, total: int, first: Descriptor) -> tuple[bytearray, Headers, int]:
        """VLAN tag inserted and TCP headers found: the head, where what lies, bytes of the packet."""
        flags, header_length = first[2], first[6]
        if flags & VLAN_INSERT:
            head = bytearray().join(vlan.insert(head, first[3]))
            header_length += VLAN_BYTES
            total += VLAN_BYTES
        headers = parse(head, total, ignore_ip_length=bool(flags & SEGMENT))
        if headers.protocol != PROTOCOL_TCP or headers.fragment:
            code = Diagnostic.TX_SEGMENTATION if flags & SEGMENT else Diagnostic.TX_CHECKSUM
            raise Drop(TxStatus.BAD_PACKET, code, headers.protocol & 0xFF)
        if headers.fault or headers.payload != header_length or headers.end != total:
            raise Drop(TxStatus.BAD_PACKET, Diagnostic.TX_HEADER, header_length)
        return head, headers, total

    def _check_segments(self, headers: Headers, total: int, mss: int) -> None:
        """Refuse segments longer than MAX_FRAME."""
        header_length = headers.payload
        payload_bytes = total - header_length
        largest = mss if mss < payload_bytes else payload_bytes
        if header_length - min(headers.l3 - ETHERNET_BYTES, VLAN_BYTES) + largest > self.max_frame:
            raise Drop(TxStatus.BAD_PACKET, Diagnostic.TX_LENGTH, header_length + mss)

    def _segment(
        self, head: bytearray, headers: Headers, payload: list[Buffer], total: int, mss: int
    ) -> list[Frame]:
        """Cut a TCP packet, or leave that to a wire that can."""
        self._counters.tx_segmented += 1
        header_length = headers.payload
        count = -(-(total - header_length) // mss)
        on_wire = total + (count - 1) * header_length
        if count > 1 and self._port.takes_super_frames and total - headers.l3 <= MAX_IP_BYTES:
            fill_super_frame(head, headers, total)
            return [([head, *payload], segmentation_request(headers, mss), count, on_wire)]
        data = payload[0] if len(payload) == 1 else b"".join(payload)
        cut = segment(head, headers, data, mss)
        full = header_length + mss
        frames: list[Frame] = [(pieces, None, 1, full) for pieces in cut]
        last = on_wire - (count - 1) * full
        frames[-1] = (cut[-1], None, 1, last)
        if full < MIN_FRAME_BYTES or last < MIN_FRAME_BYTES:
            frames = [padded(frame) for frame in frames]
        return frames
