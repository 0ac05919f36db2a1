"""Packets of TLS flows as raw descriptors: what a driver of good will never posts.

The driver's send tag knows nothing of them; where the card stands is asked from the card.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import pytest

from harness.tls_flow import Flow
from tlsnic.abi.enums import Diagnostic, PresyncFlags, TxFlags, TxStatus
from tlsnic.abi.structures import TlsFlowState, TlsPresync, TxCompletion, TxDescriptor
from tlsnic.abi.suites import BLOCK_BYTES, RecordKind
from tlsnic.driver.bus import Bus
from tlsnic.driver.bus.dma import DmaBuffer
from tlsnic.driver.nic import Nic
from tlsnic.driver.tls.records import Entry
from tlsnic.driver.tx import DmaRange, TxQueue

NOWHERE = 0x7000_0000_0000
"""Is mapped nowhere."""
MEMORY_BYTES = 1 << 16
FLAGS = TxFlags.TLS | TxFlags.IP_CHECKSUM | TxFlags.L4_CHECKSUM
_TIMEOUT_S = 20.0
_SEQUENCE_MASK = 0xFFFF_FFFF

Part = bytes | DmaRange
"""Copied to DMA memory, or where it says."""
Edit = Callable[[list[TxDescriptor]], Iterable[TxDescriptor]]


class Packet(NamedTuple):
    """What a packet has; `headers` and `payload` make its data."""

    headers: Part
    payload: Part
    presync: Part | None = None
    prefix: Part = b""
    suffix: Part = b""
    handle: int = 0
    flags: int = FLAGS
    vlan_tci: int = 0
    header_length: int | None = None
    """None: what `headers` has."""
    edit: Edit | None = None
    """Changes the descriptors, of which the last gets END_OF_PACKET afterwards."""


class RawPackets:
    """Posts packets on one queue, one at a time."""

    def __init__(self, queue: TxQueue, memory: DmaBuffer) -> None:
        """memory: MEMORY_BYTES for what is copied."""
        self.queue = queue
        self._memory = memory

    def post(self, packet: Packet) -> TxCompletion:
        """Post a packet and wait for its completion."""
        at = 0

        def place(part: Part) -> tuple[int, int]:
            nonlocal at
            if isinstance(part, DmaRange):
                return part.address, part.length
            start, at = at, at + len(part)
            self._memory.view[start:at] = part
            return self._memory.iova + start, len(part)

        chain = []
        if packet.presync is not None:
            chain.append(_plain(place(packet.presync), TxFlags.PRESYNC))
        if packet.prefix:
            chain.append(_plain(place(packet.prefix), TxFlags.PREFIX))
        address, length = place(packet.headers)
        head = TxDescriptor(
            address=address,
            length=length,
            flags=packet.flags | TxFlags.REPORT,
            vlan_tci=packet.vlan_tci,
            send_tag=packet.handle,
            header_length=length if packet.header_length is None else packet.header_length,
        )
        chain.append(head)
        if packet.payload:
            chain.append(_plain(place(packet.payload), 0))
        if packet.suffix:
            chain.append(_plain(place(packet.suffix), TxFlags.SUFFIX))
        if packet.edit is not None:
            chain = list(packet.edit(chain))
        chain[-1] = chain[-1]._replace(flags=chain[-1].flags | TxFlags.END_OF_PACKET)
        self.queue.drain(_TIMEOUT_S)
        self.queue.send_descriptors(chain)
        assert self.queue.wait(_TIMEOUT_S), "no completion"
        (completion,) = self.queue.poll_completions()
        return completion

    def go_on(self, flow: Flow, length: int) -> None:
        """Send the next `length` bytes in order, from where the card stands; they must pass."""
        sequence = state_of(flow).tcp_sequence
        completion = self.post(in_order(flow, sequence, length))
        assert completion.status == TxStatus.OK, Diagnostic(completion.detail).name
        flow.sent_end = sequence + length & _SEQUENCE_MASK


@pytest.fixture
def raw(bus: Bus, nic: Nic) -> Iterator[RawPackets]:
    """Raw packets on the first queue of `nic`."""
    memory = bus.dma_alloc(MEMORY_BYTES)
    yield RawPackets(nic.tx[0], memory)
    memory.free()


def _plain(place: tuple[int, int], flags: int) -> TxDescriptor:
    return TxDescriptor(address=place[0], length=place[1], flags=flags)


def state_of(flow: Flow) -> TlsFlowState:
    """Where the card stands with `flow`."""
    return flow.tag.query()


def in_order(flow: Flow, sequence: int, length: int) -> Packet:
    """A packet without presync: good when it is next in order."""
    payload = flow.records.read(sequence, length)
    return Packet(
        flow.headers(sequence, length),
        payload,
        suffix=suffix_of(flow, sequence + length),
        handle=flow.tag.handle,
    )


def presynced(flow: Flow, sequence: int, length: int, *, moves: bool = False) -> Packet:
    """The same with presync block and prefix; moves: UPDATE_STATE."""
    entry = flow.records.get(sequence)
    assert isinstance(entry, Entry)
    start, record, _ = entry
    offset = sequence - start & _SEQUENCE_MASK
    end = offset + length
    is_cbc = flow.tag.session.layout.kind is RecordKind.CBC
    needs_prefix = offset >= record.prefix_bytes and (
        is_cbc
        or end > record.prefix_bytes + record.content_bytes
        or (moves and end < len(record.data))
    )
    prefix = record.data[:offset] if needs_prefix else b""
    block = TlsPresync(
        tcp_sequence=start,
        flags=(PresyncFlags.UPDATE_STATE if moves else 0) | (PresyncFlags.PREFIX if prefix else 0),
        prefix_length=len(prefix),
        record_number=record.number,
        record_header=record.data[: record.prefix_bytes].ljust(24, b"\0"),
    )
    return in_order(flow, sequence, length)._replace(presync=block.pack(), prefix=prefix)


def suffix_of(flow: Flow, sequence: int) -> bytes:
    """CBC: the rest of the cipher block that a packet's end at `sequence` cuts."""
    entry = flow.records.get(sequence & _SEQUENCE_MASK)
    layout = flow.tag.session.layout
    if layout.kind is not RecordKind.CBC or not isinstance(entry, Entry):
        return b""
    data, body = entry.record.data, entry.record.prefix_bytes
    end = sequence - entry.start_sequence & _SEQUENCE_MASK
    stop = len(data) - (layout.tag_bytes if flow.tag.session.encrypt_then_mac else 0)
    return data[end : end + (body - end) % BLOCK_BYTES] if body < end < stop else b""
