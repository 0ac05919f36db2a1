"""The bench with TLS on receive: frames that carry a stream of records, and packets as the host has them."""

import struct
from typing import NamedTuple

from tls_rig import LOCAL, LOCAL_PORT, REMOTE, REMOTE_PORT, TlsRig, checksum
from tracker_bench import Wire

from tlsnic.abi import registers as r
from tlsnic.abi.enums import EventMask, EventType, Offload, RxFlags, TlsFlowFlags, TlsRxState
from tlsnic.abi.structures import (
    FlowErrorEvent,
    ResyncRequestEvent,
    RxCompletion,
    RxDescriptor,
    TlsResyncAnswerCommand,
    TlsResyncHintCommand,
)
from tlsnic.device.packet.headers import parse
from tlsnic.device.packet.vnet import VNET_GSO_TCPV4, VNET_GSO_TCPV6, VNET_NEEDS_CSUM, VnetHeader

NONE, AS_ON_WIRE, DECRYPTED, AUTH_FAILED = TlsRxState
MACS = bytes.fromhex("02746c730001 020000000002")
OFFLOADS = Offload.TX_TLS | Offload.RX_TLS | Offload.RX_CHECKSUM
MASK = 0xFFFF_FFFF
TIMESTAMP = bytes.fromhex("0101080a 00000001 00000002")
"""TCP options: two NOP and a timestamp."""
ROUTER_ALERT = bytes.fromhex("94040000")
"""An IPv4 option."""
PADDING_HEADER = bytes.fromhex("0600010400000000")
"""IPv6 destination options before TCP, nothing but padding."""


def inverted(data):
    """The Internet checksum of `data`, in which its own field is zero."""
    return (~checksum(data) & 0xFFFF).to_bytes(2, "big")


def make_packet(
    sequence, payload, *, ip_version=4, local_port=LOCAL_PORT, remote_port=REMOTE_PORT, vlan=None,
    remote=None, flags=0x10, ack=1, options=b"", between=b"", fragment=0, protocol=6,
    bad_tcp=False, bad_ip=False, trailer=b"",
):  # fmt: skip
    """A TCP packet that comes to the connection's local end, with right checksums.

    vlan: the whole TCI. between: IPv4 options, or an IPv6 extension header. fragment: IPv4 fragment
    field. protocol 17 is no TCP: the same bytes behind another protocol number. trailer: behind the
    IP packet.
    """
    tag = b"" if vlan is None else struct.pack("!HH", 0x8100, vlan)
    addresses = (remote or REMOTE[ip_version]) + LOCAL[ip_version]
    data_offset = (20 + len(options)) // 4 << 4
    tcp = struct.pack(
        "!HHIIBBHHH", remote_port, local_port, sequence, ack, data_offset, flags, 9, 0, 0
    )
    body = tcp + options + bytes(payload)
    total = inverted(addresses + struct.pack("!HH", protocol, len(body)) + body)
    if bad_tcp:
        total = bytes((total[0] ^ 1, total[1]))
    body = body[:16] + total + body[18:]
    if ip_version == 4:
        length = 20 + len(between) + len(body)
        head = struct.pack(
            "!BBHHHBBH", 0x45 + len(between) // 4, 0, length & 0xFFFF, 1, fragment or 0x4000, 64,
            protocol, 0,
        )  # fmt: skip
        own = inverted(head + addresses + between)
        if bad_ip:
            own = bytes((own[0] ^ 1, own[1]))
        head, ether_type = head[:10] + own, b"\x08\x00"
    else:
        following = 60 if between else protocol
        size = len(between) + len(body)
        head = struct.pack("!IHBB", 6 << 28, size & 0xFFFF, following, 64)
        ether_type = b"\x86\xdd"
    return MACS + tag + ether_type + head + addresses + between + body + trailer


class Packet(NamedTuple):
    """What the host has of a packet."""

    completion: RxCompletion
    frame: bytes

    @property
    def state(self):
        return TlsRxState(self.completion.tls_state)

    @property
    def mark(self):
        """State, flow and whether a question was asked."""
        return self.state, self.completion.flow, self.asks

    @property
    def asks(self):
        return bool(self.completion.flags & RxFlags.RESYNC)

    @property
    def records(self):
        return self.completion.tls_records

    @property
    def sequence(self):
        return parse(self.frame).tcp_seq

    @property
    def local_port(self):
        return struct.unpack_from("!H", self.frame, parse(self.frame).l4 + 2)[0]

    @property
    def payload(self):
        headers = parse(self.frame)
        return self.frame[headers.payload : headers.end]


class ReceiveRig(TlsRig):
    """A card that does TLS, with an admin queue, an event queue, and queues for both directions."""

    BUFFER_BYTES = 2048

    def __init__(self, *, entries=128, buffers=127, offloads=OFFLOADS, coalesce=None):
        """buffers: given to the card; those that come back are given again.
        coalesce: segments that are joined at most.
        """
        self.SCRATCH = 64 << 10
        super().__init__()
        self.packets_queue = self.rx(0, entries)
        self.event_queue = self.events(32)
        self._buffers = self.allocate(entries * self.BUFFER_BYTES)
        self.up_receive(buffers, offloads, coalesce)

    def up_receive(self, buffers=127, offloads=OFFLOADS, coalesce=None):
        """What a driver does after a reset, for the queues of receive."""
        self.packets_queue.enable()
        self.event_queue.enable()
        self.write(r.EVENT_ENABLE, EventMask.TLS)
        if coalesce:
            offloads |= Offload.RX_COALESCE
            self.write(r.RX_COALESCE, coalesce << 24 | 64 << 16 | 100)
        self.write(r.OFFLOAD_ENABLE, offloads)
        self.give(buffers)

    def give(self, count):
        """Give the card the next `count` buffers."""
        queue = self.packets_queue
        for _ in range(count):
            address = self._buffers + queue.tail * self.BUFFER_BYTES
            queue.post(RxDescriptor(address, self.BUFFER_BYTES).pack())
        queue.ring_doorbell()

    # Commands

    def block_of(self, wire, *, host=True, tag=False, vlan=None, **fields):
        """The block of a receive flow that begins where the stream's next record does."""
        flags = TlsFlowFlags.RESYNC_HOST * host | TlsFlowFlags.RESYNC_TAG * tag
        if vlan is not None:
            flags |= TlsFlowFlags.VLAN
            fields["vlan_id"] = vlan
        return self.flow_block(wire, **{"direction": 1, "flags": flags, **fields})

    def receive_flow(self, wire, **options):
        """The handle of a new receive flow."""
        response = self.try_create(self.block_of(wire, **options))
        assert response.status == 0, response
        return response.result0

    def answer(self, event, wire=None, **fields):
        """Answers a question, by what the stream says: without a stream there is no record."""
        starts = {wire.sequence_at(at.start): at.number for at in wire.records} if wire else {}
        values = {
            "handle": event.handle, "question": event.question,
            "tcp_sequence": event.tcp_sequence, "found": event.tcp_sequence in starts,
            "record_number": starts.get(event.tcp_sequence, 0),
        }  # fmt: skip
        return self.command(TlsResyncAnswerCommand(**{**values, **fields}))

    def hint(self, handle, sequence, number):
        return self.command(
            TlsResyncHintCommand(handle=handle, tcp_sequence=sequence, record_number=number)
        )

    def state_of(self, handle):
        """The flow's state block."""
        status, state = self.query(handle)
        assert status == 0
        return state

    # Packets

    def packets(self):
        """New packets as the host has them; their buffers go back to the card."""
        found, entries = [], self.packets_queue.entries
        given = 0
        for completion in self.packets_queue.reap():
            data = b""
            for number in range(completion.buffers):
                at = (completion.index + number) % entries * self.BUFFER_BYTES
                left = min(self.BUFFER_BYTES, completion.length - len(data))
                data += self.host.read(self._buffers + at, left)
            given += completion.buffers
            found.append(Packet(completion, data))
        self.give(given)
        return found

    def packet(self):
        """The one new packet."""
        (packet,) = self.packets()
        return packet

    def take(self, wire, begin, end, **options):
        """The packet with bytes `begin` to `end` of the stream, as it came to the host."""
        self.receive(frame_of(wire, begin, end, **options))
        packet = self.packet()
        check(wire, packet)
        return packet

    def feed(self, wire, begin=0, end=None, size=1000, **options):
        """The same in packets of `size` bytes, one after the other. Their states."""
        end = len(wire) if end is None else end
        return [
            self.take(wire, at, min(at + size, end), **options).state
            for at in range(begin, end, size)
        ]

    # Events

    def told(self):
        """New events of the flows."""
        kinds = {EventType.RESYNC_REQUEST: ResyncRequestEvent, EventType.FLOW_ERROR: FlowErrorEvent}
        return [kinds[event.type].unpack_from(event.pack()) for event in self.event_queue.reap()]

    def question(self):
        """The one new question."""
        (event,) = self.told()
        assert event.type == EventType.RESYNC_REQUEST
        return event


def frame_of(wire, begin, end, **options):
    """The frame with bytes `begin` to `end` of the stream."""
    return make_packet(wire.sequence_at(begin), wire.wire[begin:end], **options)


def super_frame_of(wire, begin, end, size, *, ip_version=4, **options):
    """The same as a super-frame to be cut into segments of `size`, and its vnet header."""
    frame = frame_of(wire, begin, end, ip_version=ip_version, **options)
    headers = parse(frame)
    kind = VNET_GSO_TCPV4 if ip_version == 4 else VNET_GSO_TCPV6
    return frame, VnetHeader(VNET_NEEDS_CSUM, kind, headers.payload, size, headers.l4, 16)


def check(wire, packet):
    """A packet's payload is what its state says; the rest of it is not looked at."""
    begin = packet.sequence - wire.sequence & MASK
    data = wire.plain if packet.state is DECRYPTED else wire.wire
    payload = packet.payload
    assert payload
    assert payload == data[begin : begin + len(payload)], packet.completion


def stream_of(*sizes, **options):
    """A stream with records of these content sizes."""
    wire = Wire(**options)
    for size in sizes:
        wire.add(size)
    return wire


def begun(*sizes, rig=None, fields=None, **options):
    """A rig with a flow at the start of a stream with records: rig, wire, handle."""
    rig = rig or ReceiveRig()
    wire = Wire(**options)
    handle = rig.receive_flow(wire, **(fields or {}))
    for size in sizes:
        wire.add(size)
    return rig, wire, handle
