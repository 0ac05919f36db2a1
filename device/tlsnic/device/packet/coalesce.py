"""Receive coalescing: in-order TCP segments of one flow become one super-frame. No I/O, no clock.

Theory of operation. A flow is idle, or one packet of it is held back and may grow. Each arriving
packet is classified into an event, and TRANSITIONS says what happens to the held packet and to the
arriving one. Whatever cannot be joined makes the held packet of its flow go first, so the order
within a flow never changes.

A segment can be joined at all if its checksums are right, it has payload and no flag but ACK and
PSH, and there are no IPv4 options, IPv6 extension headers or fragments. It continues the held
packet if it is the next in sequence, came with the same offload state, link header, type of service
and hop limit, its payload is no larger than that of the first segment, its acknowledgement number
and timestamp do not go back and its TCP options are otherwise the same. The newest acknowledgement,
window and timestamp are kept, as in FreeBSD's tcp_lro.c; that a shorter segment or PSH ends the
packet and all others have the same size, as in Linux' tcp_offload.c, lets it be cut again. IPv4
identifications are not compared: the first one is kept.
"""

import enum
from struct import Struct
from typing import Final, Generic, NamedTuple, TypeVar

from tlsnic.device.packet.checksum import RxChecksum, fill_ipv4, fill_partial
from tlsnic.device.packet.headers import (
    PROTOCOL_TCP,
    TCP_ACK,
    TCP_PSH,
    Buffer,
    Headers,
    flow_key,
)

MAX_IP_BYTES: Final = 65535
_U16: Final = Struct("!H")
_OPTION_END, _OPTION_NOP, _OPTION_TIMESTAMP = 0, 1, 8

ContextT = TypeVar("ContextT")
"""What the caller attaches to a packet: it comes back with it, untouched."""

_FlowKey = tuple[int | None, bytes]  # VLAN TCI, flow_key()


class State(enum.Enum):
    """State of a flow."""

    __hash__ = object.__hash__  # by identity: Enum's own is a Python call per look-up

    IDLE = "nothing held"
    HELD = "a packet is held and may grow"


class Event(enum.Enum):
    """What an arriving packet is to its flow; RELEASE is a timeout, eviction or flush."""

    __hash__ = object.__hash__

    OTHER = "cannot be joined to anything"
    FIRST = "does not continue the held packet; more may be joined to it"
    ONLY = "does not continue the held packet; nothing may be joined to it"
    NEXT = "continues the held packet; more may follow"
    LAST = "continues the held packet and ends it"
    RELEASE = "the held packet must go"


class Action(enum.Enum):
    """What is done, in this order, on a transition."""

    DELIVER = "hand over the held packet"
    PASS = "hand over the arriving packet as it is"
    HOLD = "hold the arriving packet"
    JOIN = "append the arriving packet to the held one"


# NEXT and LAST presuppose a held packet.
TRANSITIONS: Final[dict[tuple[State, Event], tuple[tuple[Action, ...], State]]] = {
    (State.IDLE, Event.OTHER): ((Action.PASS,), State.IDLE),
    (State.IDLE, Event.FIRST): ((Action.HOLD,), State.HELD),
    (State.IDLE, Event.ONLY): ((Action.PASS,), State.IDLE),
    (State.IDLE, Event.RELEASE): ((), State.IDLE),
    (State.HELD, Event.OTHER): ((Action.DELIVER, Action.PASS), State.IDLE),
    (State.HELD, Event.FIRST): ((Action.DELIVER, Action.HOLD), State.HELD),
    (State.HELD, Event.ONLY): ((Action.DELIVER, Action.PASS), State.IDLE),
    (State.HELD, Event.NEXT): ((Action.JOIN,), State.HELD),
    (State.HELD, Event.LAST): ((Action.JOIN, Action.DELIVER), State.IDLE),
    (State.HELD, Event.RELEASE): ((Action.DELIVER,), State.IDLE),
}


class Packet(NamedTuple, Generic[ContextT]):
    """A packet that goes on to the host. The concatenated `parts` are the frame.

    A joined frame (`segments` above 1) has new headers as its first part and no padding. Its IPv4
    checksum is right; its TCP checksum field holds the pseudo-header's sum (see fill_partial()),
    because `checksum` says that the device verified every segment.
    """

    parts: tuple[Buffer, ...]
    headers: Headers
    checksum: RxChecksum
    offload_state: int
    segments: int
    segment_bytes: int  # payload of every segment but perhaps the last; 0 if not joined
    contexts: tuple[ContextT, ...]  # one per segment, in order


class _Held(Generic[ContextT]):
    """A held packet: its first segment, what followed, and the state of its newest one."""

    __slots__ = (
        "contexts", "deadline_us", "fixed", "ip_bytes", "last", "newest", "next_seq", "options",
        "packet", "payloads", "segment_bytes", "timestamp_at",
    )  # fmt: skip

    def __init__(self, packet: Packet[ContextT], deadline_us: int) -> None:
        frame, headers = packet.parts[0], packet.headers
        self.packet = packet
        self.last, self.newest = headers, frame
        self.options = bytes(frame[headers.l4 + 20 : headers.payload])
        self.timestamp_at = _timestamp_offset(self.options)
        self.payloads: list[Buffer] = [memoryview(frame)[headers.payload : headers.end]]
        self.contexts = [*packet.contexts]
        self.segment_bytes = headers.end - headers.payload
        self.ip_bytes = headers.end - headers.l3
        self.next_seq = headers.tcp_seq + self.segment_bytes & 0xFFFFFFFF
        self.fixed = _fixed_fields(frame, headers)
        self.deadline_us = deadline_us

    def join(self, packet: Packet[ContextT]) -> None:
        frame, headers = packet.parts[0], packet.headers
        size = headers.end - headers.payload
        self.payloads.append(memoryview(frame)[headers.payload : headers.end])
        self.contexts.append(packet.contexts[0])
        self.ip_bytes += size
        self.next_seq = self.next_seq + size & 0xFFFFFFFF
        self.last, self.newest = headers, frame
        self.options = bytes(frame[headers.l4 + 20 : headers.payload])

    def result(self) -> Packet[ContextT]:
        if len(self.payloads) == 1:
            return self.packet
        first, last, newest = self.packet.headers, self.last, self.newest
        l3, l4 = first.l3, first.l4
        head = bytearray(self.packet.parts[0][: first.payload])
        head[l4 + 8 : l4 + 12] = newest[l4 + 8 : l4 + 12]  # acknowledgement number
        head[l4 + 13 : l4 + 16] = newest[l4 + 13 : l4 + 16]  # flags (PSH, if any) and window
        head[l4 + 20 :] = self.options
        headers = first._replace(
            end=l3 + self.ip_bytes,
            l4_bytes=l3 + self.ip_bytes - l4,
            tcp_flags=last.tcp_flags,
            tcp_ack=last.tcp_ack,
        )
        if headers.ip_version == 4:
            _U16.pack_into(head, l3 + 2, self.ip_bytes)
            fill_ipv4(head, headers)
        else:
            _U16.pack_into(head, l3 + 4, self.ip_bytes - 40)
        fill_partial(head, headers)
        return self.packet._replace(
            parts=(head, *self.payloads),
            headers=headers,
            segments=len(self.payloads),
            segment_bytes=self.segment_bytes,
            contexts=tuple(self.contexts),
        )


class Coalescer(Generic[ContextT]):
    """The held packets of one receive queue.

    `max_bytes` bounds the IP packet (at most 65535), `max_segments` what it is joined of. No packet
    is held longer than `timeout_us` after its first segment, as far as add() and expire() are
    called in time; `max_flows` bounds the held packets, the oldest makes room. The time is the
    caller's, in microseconds, and does not run backwards.

    Frames are viewed, not copied: they must stay unchanged until they have been returned.

    ValueError: a limit is out of range.
    """

    def __init__(
        self, max_bytes: int, max_segments: int, timeout_us: int, max_flows: int = 64
    ) -> None:
        if not 0 < max_bytes <= MAX_IP_BYTES:
            raise ValueError(f"max_bytes {max_bytes} is not between 1 and {MAX_IP_BYTES}")
        if max_segments < 1 or max_flows < 1 or timeout_us < 0:
            raise ValueError("max_segments and max_flows are at least 1, timeout_us at least 0")
        self._max_bytes = max_bytes
        self._max_segments = max_segments
        self._timeout_us = timeout_us
        self._max_flows = max_flows
        self._held: dict[_FlowKey, _Held[ContextT]] = {}  # in the order of their deadlines

    def add(
        self,
        frame: Buffer,
        headers: Headers,
        checksum: RxChecksum,
        offload_state: int,
        *,
        now_us: int,
        context: ContextT,
        alone: bool = False,
    ) -> list[Packet[ContextT]]:
        """Takes a received frame and returns what goes on to the host now, in this order.

        `offload_state` is opaque: packets with different ones are never joined. `alone` passes the
        packet on as it is, in its place in the flow: a frame that is a super-frame already.
        """
        done = self.expire(now_us)
        packet = Packet((frame,), headers, checksum, offload_state, 1, 0, (context,))
        if not headers.l4_bytes or headers.protocol != PROTOCOL_TCP:
            if headers.protocol == PROTOCOL_TCP or headers.fault is not None:
                self._release_between(flow_key(frame, headers), done)
            done.append(packet)
            return done

        key = (headers.vlan_tci, flow_key(frame, headers))
        held = self._held.get(key)
        state = State.HELD if held is not None else State.IDLE
        event = Event.OTHER if alone else self._classify(held, packet)
        actions, _ = TRANSITIONS[state, event]
        for action in actions:
            if action is Action.JOIN and held is not None:
                held.join(packet)
            elif action is Action.DELIVER:
                done.append(self._held.pop(key).result())
            elif action is Action.PASS:
                done.append(packet)
            elif action is Action.HOLD:
                if len(self._held) == self._max_flows:
                    self._release(next(iter(self._held)), done)
                self._held[key] = _Held(packet, now_us + self._timeout_us)
        return done

    def next_deadline_us(self) -> int | None:
        """When expire() has something to return; None while nothing is held."""
        for held in self._held.values():
            return held.deadline_us
        return None

    def expire(self, now_us: int) -> list[Packet[ContextT]]:
        """The packets whose time is up."""
        done: list[Packet[ContextT]] = []
        while self._held:
            key, held = next(iter(self._held.items()))
            if held.deadline_us > now_us:
                break
            self._release(key, done)
        return done

    def flush(self) -> list[Packet[ContextT]]:
        """All held packets, the oldest first."""
        done: list[Packet[ContextT]] = []
        for key in list(self._held):
            self._release(key, done)
        return done

    def _release(self, key: _FlowKey, done: list[Packet[ContextT]]) -> None:
        state = State.HELD if key in self._held else State.IDLE
        if Action.DELIVER in TRANSITIONS[state, Event.RELEASE][0]:
            done.append(self._held.pop(key).result())

    def _release_between(self, addresses: bytes, done: list[Packet[ContextT]]) -> None:
        """Releases every flow between two addresses: which one a fragment is of is not known."""
        if addresses:
            for key in [key for key in self._held if key[1][:-4] == addresses]:
                self._release(key, done)

    def _classify(self, held: _Held[ContextT] | None, packet: Packet[ContextT]) -> Event:
        """The event that a TCP packet is; `held` is the held packet of its flow."""
        headers = packet.headers
        size = headers.end - headers.payload
        flags = headers.tcp_flags
        if (
            not packet.checksum.verified
            or not size
            or flags & ~TCP_PSH != TCP_ACK
            or headers.l4 - headers.l3 != (20 if headers.ip_version == 4 else 40)
        ):
            return Event.OTHER
        if held is not None and self._continues(held, packet, size):
            full = (
                len(held.payloads) + 1 >= self._max_segments
                or held.ip_bytes + size + held.segment_bytes > self._max_bytes
            )
            ends = full or flags & TCP_PSH or size < held.segment_bytes
            return Event.LAST if ends else Event.NEXT
        alone = (
            flags & TCP_PSH
            or self._max_segments < 2
            or headers.end - headers.l3 + size > self._max_bytes
        )
        return Event.ONLY if alone else Event.FIRST

    def _continues(self, held: _Held[ContextT], packet: Packet[ContextT], size: int) -> bool:
        frame, headers = packet.parts[0], packet.headers
        last = held.last
        if (
            headers.tcp_seq != held.next_seq
            or packet.offload_state != held.packet.offload_state
            or size > held.segment_bytes
            or held.ip_bytes + size > self._max_bytes
            or headers.tcp_ack - last.tcp_ack & 0x80000000
            or headers.payload != last.payload
            or _fixed_fields(frame, headers) != held.fixed
        ):
            return False
        options = bytes(frame[headers.l4 + 20 : headers.payload])
        before, at = held.options, held.timestamp_at
        if options == before:
            return True
        if not at or options[:at] != before[:at] or options[at + 8 :] != before[at + 8 :]:
            return False
        advance = int.from_bytes(options[at : at + 4], "big")
        advance -= int.from_bytes(before[at : at + 4], "big")
        return not advance & 0x80000000


def _fixed_fields(frame: Buffer, headers: Headers) -> tuple[bytes, bytes, int]:
    """What every segment of a packet has alike beside addresses and ports.

    The link header, type of service or flow label, IPv4 fragment field, hop limit, and the TCP data
    offset with the reserved bits.
    """
    l3 = headers.l3
    if headers.ip_version == 4:
        return bytes(frame[: l3 + 2]), bytes(frame[l3 + 6 : l3 + 9]), frame[headers.l4 + 12]
    return bytes(frame[: l3 + 4]), bytes(frame[l3 + 7 : l3 + 8]), frame[headers.l4 + 12]


def _timestamp_offset(options: bytes) -> int:
    """Where the two values of the timestamp option are (RFC 7323), 0 without a well-formed one."""
    at = 0
    while at < len(options) and options[at] != _OPTION_END:
        if options[at] == _OPTION_NOP:
            at += 1
            continue
        length = options[at + 1] if at + 1 < len(options) else 0
        if options[at] == _OPTION_TIMESTAMP and length == 10 and at + length <= len(options):
            return at + 2
        if length < 2:
            break
        at += length
    return 0
