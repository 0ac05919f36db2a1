"""Receive queues: buffers for the card, packets for the caller, buffers back to the card.

Each ring entry has a buffer of its own for good, so the descriptors are written once and giving
buffers back is one doorbell. Buffers lie one after the other in memory: a packet that spans
several is still one piece, except where the ring or a chunk of memory ends.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from struct import Struct
from typing import NamedTuple

from tlsnic.abi.enums import QueueKind, RxFlags
from tlsnic.abi.structures import RxCompletion, RxDescriptor
from tlsnic.driver.access import Access, Deadline
from tlsnic.driver.bus.dma import DmaBuffer
from tlsnic.driver.errors import ProtocolError, RingFullError
from tlsnic.driver.queue import Queue
from tlsnic.driver.waiting import Waiter

_CHUNK_BYTES = 1 << 20  # two to a huge page of 2 MiB, the largest contiguous piece in a guest
_FLAGS_BUT_PHASE = 0xFFFF & ~int(RxFlags.PHASE)
_FIELDS = Struct("<IIHHHHIHHBB")
assert RxCompletion.STRUCT.format.startswith(_FIELDS.format)

_IP_BAD = int(RxFlags.IP_CHECKSUM_BAD)
_L4_BAD = int(RxFlags.L4_CHECKSUM_BAD)
_VLAN = int(RxFlags.VLAN_STRIPPED)


class RxPacket(NamedTuple):
    """One received packet: its bytes, and its completion (see the reference for the fields)."""

    data: bytes | memoryview
    """From the destination address on, without FCS. A view is valid until `recycle`."""
    length: int
    rss_hash: int
    index: int  # type: ignore[assignment]
    """Ring index of the first buffer."""
    buffers: int
    vlan_tci: int
    """With VLAN_STRIPPED; see `vlan`."""
    segments: int
    flow: int
    segment_bytes: int
    hash_type: int
    """HashType bit."""
    tls_state: int
    """TlsRxState."""
    tls_records: int
    flags: int
    """RxFlags without PHASE."""
    queue: int
    """Number of the receive queue."""

    @property
    def checksum_bad(self) -> bool:
        """Whether the card found a bad IPv4 header, TCP or UDP checksum."""
        return bool(self.flags & (_IP_BAD | _L4_BAD))

    @property
    def vlan(self) -> int | None:
        """Tag control information of the tag that was stripped, None when none was."""
        return self.vlan_tci if self.flags & _VLAN else None

    @property
    def rx_flags(self) -> RxFlags:
        """`flags` as an enumeration."""
        return RxFlags(self.flags)


class RxQueue(Queue):
    """One receive queue.

    With `buffer_bytes` 0 it has no buffers of its own: post some with `post_descriptors`, look at
    `poll_completions` (for tests of the card).
    """

    DESCRIPTOR_BYTES = RxDescriptor.SIZE
    COMPLETION_BYTES = RxCompletion.SIZE

    def __init__(
        self,
        access: Access,
        waiter: Waiter,
        *,
        number: int,
        vector: int,
        entries: int,
        completion_entries: int,
        buffer_bytes: int,
    ) -> None:
        """`buffer_bytes`: size of each of the `entries` buffers, a multiple of 64."""
        if buffer_bytes % 64:
            raise ValueError(f"receive buffers of {buffer_bytes} bytes: not a multiple of 64")
        super().__init__(
            access,
            waiter,
            kind=QueueKind.RECEIVE,
            number=number,
            vector=vector,
            entries=entries,
            completion_entries=completion_entries,
        )
        self.buffer_bytes = buffer_bytes
        self._refill_at = max(1, entries // 8)
        self._inbox: deque[RxPacket] = deque()
        self._chunks: list[DmaBuffer] = []
        self._per_chunk = entries
        if buffer_bytes:
            fitting = max(1, _CHUNK_BYTES // buffer_bytes)
            self._per_chunk = min(entries, 1 << fitting.bit_length() - 1)
            try:
                for _ in range(0, entries, self._per_chunk):
                    self._chunks.append(access.dma_alloc(self._per_chunk * buffer_bytes))
            except BaseException:
                self.close()
                raise
        self._reset_state()

    def _reset_state(self) -> None:
        self._inbox.clear()
        # Positions count buffers since the queue was enabled and never wrap.
        self._next = 0  # first buffer that the card has not filled yet
        self._returned = 0  # buffers before this were given back to the card, as far as rung
        self._posted = 0

    def _started(self) -> None:
        if not self._chunks or self.ring is None:
            return
        pack, view, size = RxDescriptor.STRUCT.pack_into, self.ring.view, self.DESCRIPTOR_BYTES
        for index in range(self.entries):
            pack(view, index * size, self._address(index), self.buffer_bytes)
        self._posted = self._mask
        self._ring_doorbell(self.tail_doorbell, self._mask)

    def _address(self, index: int) -> int:
        chunk, slot = divmod(index, self._per_chunk)
        return self._chunks[chunk].iova + slot * self.buffer_bytes

    def close(self) -> None:
        """Give all memory back. Twice is harmless."""
        super().close()
        for chunk in self._chunks:
            chunk.free()
        self._chunks = []
        self._inbox.clear()

    # Receiving

    def poll(self, limit: int = 64, *, copy: bool = True) -> list[RxPacket]:
        """Take at most `limit` packets that are there, without waiting.

        With `copy` the data is bytes and the buffers go back by themselves. Without, the data is
        a view of the buffers (bytes where a packet is not in one piece): call `recycle` when done
        with all packets got so far. Raises ProtocolError.
        """
        ring = self.completions
        words, phase, index = ring.words, ring.phase, ring.consumer
        word = words[4 * index + 3]
        if (word < 0) is not phase:
            return []
        packets: list[RxPacket] = []
        view, entries, mask = ring.memory.view, ring.entries, self._mask
        per_chunk, size = self._per_chunk, self.buffer_bytes
        slot_mask, chunk_shift = per_chunk - 1, per_chunk.bit_length() - 1
        views = [memory.view for memory in self._chunks]
        unpack, new, number = _FIELDS.unpack_from, tuple.__new__, self.number
        position = self._next
        while (word < 0) is phase and len(packets) < limit:
            fields = unpack(view, 32 * index)
            length, first, buffers = fields[0], fields[2], fields[3]
            if first != position & mask or not 0 < buffers <= mask or length > buffers * size:
                raise ProtocolError(
                    f"{self!r}: completion for {length} bytes in {buffers} buffers at {first}, "
                    f"expected at {position & mask}"
                )
            slot = first & slot_mask
            start = slot * size
            data: bytes | memoryview
            if slot + buffers <= per_chunk:
                data = views[first >> chunk_shift][start : start + length]
                if copy:
                    data = bytes(data)
            else:
                data = self._join(first, length)
            packets.append(new(RxPacket, (data, *fields, word >> 48 & _FLAGS_BUT_PHASE, number)))
            position += buffers
            index += 1
            if index == entries:
                index = 0
                phase = not phase
            word = words[4 * index + 3]
        ring.consumer, ring.phase = index, phase
        ring.unreturned += len(packets)
        self._next = position
        if copy:
            self.recycle()
        if ring.unreturned >= self._return_at:
            self.return_completions()
        return packets

    def _join(self, first: int, length: int) -> bytes:
        pieces = []
        size, index, left = self.buffer_bytes, first, length
        while left > 0:
            chunk, slot = divmod(index, self._per_chunk)
            take = min(size, left)
            pieces.append(self._chunks[chunk].view[slot * size : slot * size + take])
            left -= take
            index = index + 1 & self._mask
        return b"".join(pieces)

    def recycle(self, *, now: bool = False) -> None:
        """Give the buffers of all packets got so far back to the card.

        The doorbell is rung when an eighth of the ring has gathered, or `now`, or when arming.
        """
        if now or self._next - self._returned >= self._refill_at:
            self._ring_tail()

    def _ring_tail(self) -> None:
        if self._chunks and self._next != self._returned:
            self._returned = self._next
            self._posted = self._next + self._mask
            self._ring_doorbell(self.tail_doorbell, self._posted & self._mask)

    def arm(self) -> None:
        """Return buffers and completions, and ask for one interrupt.

        Views of packets that were polled without a copy must not be in use any more.
        """
        self._ring_tail()
        super().arm()

    def receive(self, timeout_s: float) -> RxPacket | None:
        """The next packet, its data as bytes; None when none came within `timeout_s`.

        Raises QueueError, DeviceResetError or DeviceGoneError when none can come.
        """
        inbox = self._inbox
        if not inbox:
            inbox.extend(self.poll())
            if not inbox and self.wait(timeout_s):
                inbox.extend(self.poll())
        return inbox.popleft() if inbox else None

    def receive_many(self, count: int, timeout_s: float) -> list[RxPacket]:
        """`count` packets, or fewer when the deadline passes. Raises like `receive`."""
        deadline = Deadline(timeout_s)
        packets: list[RxPacket] = []
        while len(packets) < count:
            packet = self.receive(deadline.left_s)
            if packet is None:
                break
            packets.append(packet)
        return packets

    @property
    def has_packets(self) -> bool:
        """Whether `receive` would give a packet without waiting."""
        return bool(self._inbox) or self.ready()

    # The raw way, for tests of the card

    def post_descriptors(self, descriptors: Iterable[RxDescriptor | bytes]) -> None:
        """Post descriptors exactly as given (`bytes`: 16 each), and the doorbell.

        Only for a queue without buffers of its own (ValueError). Raises RingFullError when not
        all have room: then none is posted.
        """
        if self._chunks or self.ring is None:
            raise ValueError(f"{self!r} has buffers of its own")
        entries = list(descriptors)
        if self._posted + len(entries) - self._next > self._mask:
            raise RingFullError(f"{self!r}: no room for {len(entries)} descriptors")
        size = self.DESCRIPTOR_BYTES
        for descriptor in entries:
            start = (self._posted & self._mask) * size
            raw = descriptor if isinstance(descriptor, bytes) else descriptor.pack()
            self.ring.view[start : start + size] = raw
            self._posted += 1
        self._ring_doorbell(self.tail_doorbell, self._posted & self._mask)

    def poll_completions(self) -> list[RxCompletion]:
        """Take the completions as they are, PHASE cleared, without looking at any buffer."""
        taken = []
        while self.completions.ready():
            offset = self.completions.consumer * RxCompletion.SIZE
            entry = RxCompletion.unpack_from(self.completions.memory.view, offset)
            self._next += entry.buffers
            self.completions.advance()
            taken.append(entry._replace(flags=entry.flags & _FLAGS_BUT_PHASE))
        if self.completions.unreturned >= self._return_at:
            self.return_completions()
        return taken
