"""From a trace to flows: which frames and trace records belong together.

A receive flow's frames come first and are then followed by the card, which tells of each by a
TLS_PACKET record; frames that it never tells of it has dropped, or not looked at. On transmit it is
the other way round. Frames of a connection that came shortly before its flow was made count, too:
the flow may start in bytes that the host has already.
"""

from __future__ import annotations

import ipaddress
from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import Final, NamedTuple

from tlsnic.abi.enums import CipherSuite, TlsDirection, TlsEvent
from tlsnic.abi.layout import Structure
from tlsnic.abi.structures import TraceFrame, TraceTlsEvent, TraceTlsPacket
from tlsnic.device.packet.headers import PROTOCOL_TCP, TCP_RST, TCP_SYN, flow_key, parse

from .analysis import Analysis
from .model import Flow

_BEFORE: Final = 2048
"""Frames of a connection that are remembered while it has no flow."""
_CONNECTIONS: Final = 256
_BATCH: Final = 128
"""Frames that the card may take before it tells of the first of them."""
UNKNOWN: Final = "?"
_ENDS: Final = (TlsEvent.DESTROYED, TlsEvent.RESET)

TraceItem = tuple[int, Structure, bytes]
"""Nanoseconds since 1970, a trace record, its data."""


class Frame(NamedTuple):
    """A TCP segment with payload, as the wire's interface has it."""

    time_ns: int
    number: int
    sequence: int
    length: int
    """Payload bytes; `payload` may be cut."""
    payload: memoryview


class _Connections:
    """The last frames of connections without a flow, the busiest of late only."""

    def __init__(self) -> None:
        self._frames: dict[tuple[int, bytes], deque[Frame]] = {}

    def keep(self, key: tuple[int, bytes], frame: Frame) -> None:
        frames = self._frames.pop(key, None)
        if frames is None:
            frames = deque(maxlen=_BEFORE)
            if len(self._frames) >= _CONNECTIONS:
                del self._frames[next(iter(self._frames))]
        self._frames[key] = frames
        frames.append(frame)

    def take(self, key: tuple[int, bytes]) -> Iterable[Frame]:
        return self._frames.pop(key, ())

    def find(self, card: int, sequence: int, length: int) -> bytes | None:
        """The address of the connection whose last frames have this segment."""
        for (its_card, address), frames in self._frames.items():
            last = islice(reversed(frames), _BATCH) if its_card == card else ()
            if any(frame.sequence == sequence and frame.length == length for frame in last):
                return address
        return None


def read_flows(trace: Iterable[TraceItem]) -> list[Flow]:
    """Every flow of a trace, in the order in which they were made.

    trace: as `tlsnic.device.trace.reader.read_trace` gives it; the number of an item, from 1, is
    what a packet is called by.
    """
    reader = _Reader()
    for number, (time_ns, record, data) in enumerate(trace, 1):
        if isinstance(record, TraceFrame):
            reader.take_frame(time_ns, number, record, data)
        elif isinstance(record, TraceTlsPacket):
            reader.take_packet(time_ns, record)
        elif isinstance(record, TraceTlsEvent):
            reader.take_event(time_ns, record)
    return [analysis.finish() for analysis in reader.found]


class _Reader:
    """Knows which flow each item belongs to."""

    def __init__(self) -> None:
        self.found: list[Analysis] = []
        self._flows: dict[tuple[int, int], Analysis] = {}
        self._by_address: dict[tuple[int, bytes], Analysis] = {}
        self._before = _Connections()

    def take_frame(self, time_ns: int, number: int, record: TraceFrame, data: bytes) -> None:
        segment = _segment(time_ns, number, data, record)
        if segment is None:
            return
        address, frame = segment
        analysis = self._by_address.get((record.card, address))
        if analysis is None:
            self._before.keep((record.card, address), frame)
        else:
            analysis.take_frame(*frame)

    def take_packet(self, time_ns: int, record: TraceTlsPacket) -> None:
        analysis = self._flows.get((record.card, record.handle))
        if analysis is None:
            # Its beginning is not in the trace.
            analysis = self._add(_unknown_flow(record), at_header=False)
        if analysis.flow.local == UNKNOWN:
            address = self._before.find(record.card, record.tcp_sequence, record.length)
            if address is not None:
                self._meet(analysis, address)
        analysis.take_packet(time_ns, record)

    def take_event(self, time_ns: int, record: TraceTlsEvent) -> None:
        analysis = self._flows.get((record.card, record.handle))
        if record.event == TlsEvent.CREATED and (analysis is None or analysis.ended):
            analysis = self._add(_created_flow(record), at_header=True)
            self._meet(analysis, _address(record))
        if analysis is None:
            return
        analysis.take_event(time_ns, record)
        if record.event in _ENDS:
            connections = self._by_address
            self._by_address = {key: one for key, one in connections.items() if one is not analysis}

    def _add(self, flow: Flow, *, at_header: bool) -> Analysis:
        analysis = Analysis(flow, at_header=at_header)
        self._flows[flow.card, flow.handle] = analysis
        self.found.append(analysis)
        return analysis

    def _meet(self, analysis: Analysis, address: bytes) -> None:
        """The flow's connection is known: it has its frames, those before it too."""
        flow = analysis.flow
        flow.local, flow.remote = _endpoints(address)
        place = flow.card, address
        for frame in self._before.take(place):
            analysis.take_earlier(*frame)
        self._by_address[place] = analysis


def _segment(
    time_ns: int, number: int, data: bytes, record: TraceFrame
) -> tuple[bytes, Frame] | None:
    """The addresses of a frame and its TCP payload; None: it has none."""
    headers = parse(data, max(record.length, len(data)), ignore_ip_length=bool(record.gso_type))
    if headers.protocol != PROTOCOL_TCP or not headers.l4_bytes:
        return None
    length = headers.end - headers.payload
    if not length or headers.tcp_flags & (TCP_SYN | TCP_RST):
        return None
    payload = memoryview(data)[headers.payload : headers.end]
    direction = TlsDirection.TRANSMIT if record.outbound else TlsDirection.RECEIVE
    key = bytes([direction]) + flow_key(data, headers)
    return key, Frame(time_ns, number, headers.tcp_seq, length, payload)


def _address(event: TraceTlsEvent) -> bytes:
    """What `_segment` gives for frames of the flow."""
    size = 4 if event.ip_version == 4 else 16
    local, remote = event.local_address[:size], event.remote_address[:size]
    ports = event.local_port.to_bytes(2, "big"), event.remote_port.to_bytes(2, "big")
    if event.direction == TlsDirection.RECEIVE:
        return bytes([TlsDirection.RECEIVE]) + remote + local + ports[1] + ports[0]
    return bytes([TlsDirection.TRANSMIT]) + local + remote + ports[0] + ports[1]


def _created_flow(event: TraceTlsEvent) -> Flow:
    suite = CipherSuite(event.suite).name or f"suite {event.suite:#x}"
    direction = TlsDirection(event.direction)
    return Flow(event.card, event.handle, direction, event.tcp_sequence, UNKNOWN, UNKNOWN, suite)


def _unknown_flow(packet: TraceTlsPacket) -> Flow:
    direction = TlsDirection(packet.direction)
    return Flow(
        packet.card,
        packet.handle,
        direction,
        packet.tcp_sequence,
        UNKNOWN,
        UNKNOWN,
        "suite unknown",
    )


def _endpoints(address: bytes) -> tuple[str, str]:
    """The near and the far end of a connection, for people."""
    receives, rest = address[0] == TlsDirection.RECEIVE, address[1:]
    half = (len(rest) - 4) // 2
    source = _endpoint(rest[:half], rest[2 * half : 2 * half + 2])
    target = _endpoint(rest[half : 2 * half], rest[2 * half + 2 :])
    return (target, source) if receives else (source, target)


def _endpoint(address: bytes, port: bytes) -> str:
    found = ipaddress.ip_address(address)
    number = int.from_bytes(port, "big")
    return f"[{found}]:{number}" if found.version == 6 else f"{found}:{number}"
