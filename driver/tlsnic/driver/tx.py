"""Transmit queues: posting packets, copied or in place.

Ways in, from comfortable to raw: `send` copies a frame and asks for offloads by name; `reserve`
and `commit` let the caller build it in DMA memory; `send_chain` makes a packet of several parts,
copied or in place; `post` and `send_descriptors` take addresses. All put descriptors on the ring;
one doorbell follows, at once or at the end of a batch. Positions, tickets, and what becomes of the
packets: tx_accounting.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import NamedTuple

from tlsnic.abi.enums import TxFlags
from tlsnic.abi.structures import TxDescriptor
from tlsnic.driver.access import Access
from tlsnic.driver.bus.dma import DmaBuffer
from tlsnic.driver.errors import RingFullError
from tlsnic.driver.headers import ReadableBuffer, tcp_header_end
from tlsnic.driver.tx_accounting import TxAccounting
from tlsnic.driver.waiting import Waiter

# Plain numbers: arithmetic on IntFlag costs more than everything else in `post`.
_END_OF_PACKET = int(TxFlags.END_OF_PACKET)
_REPORT = int(TxFlags.REPORT)
_IP_CHECKSUM = int(TxFlags.IP_CHECKSUM)
_L4_CHECKSUM = int(TxFlags.L4_CHECKSUM)
_SEGMENT = int(TxFlags.SEGMENT)
_VLAN_INSERT = int(TxFlags.VLAN_INSERT)
_TLS = int(TxFlags.TLS)
_PRESYNC = int(TxFlags.PRESYNC)
_NO_DATA = int(TxFlags.PRESYNC | TxFlags.PREFIX | TxFlags.SUFFIX)
_FLAGS_INDEX = TxDescriptor.OFFSET_FLAGS // 2
_SHORTS_SHIFT = 4  # 16 numbers of 16 bits in a descriptor
_BYTES_SHIFT = 5

_BOUNCE_ALIGN = 64


class DmaRange(NamedTuple):
    """Bytes in DMA memory that are sent from where they are; they stay until the packet is done."""

    address: int
    """IOVA."""
    length: int


class _Batch:
    """`with queue.batch():` one doorbell, at the end."""

    __slots__ = ("_queue",)

    def __init__(self, queue: TxQueue) -> None:
        self._queue = queue

    def __enter__(self) -> TxQueue:
        self._queue.batch_depth += 1
        return self._queue

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        queue = self._queue
        queue.batch_depth -= 1
        if queue.batch_depth == 0:
            queue.flush()


class TxQueue(TxAccounting):
    """One transmit queue.

    REPORT is set on every `report_every`-th packet and on the last before each doorbell, so that
    every packet is reported by some completion, unless the caller decides with `report`.
    """

    def __init__(
        self,
        access: Access,
        waiter: Waiter,
        *,
        number: int,
        vector: int,
        entries: int,
        completion_entries: int,
        bounce_bytes: int,
        report_every: int = 32,
    ) -> None:
        """`bounce_bytes`: memory for frames that are copied, allocated at the first of them."""
        super().__init__(
            access,
            waiter,
            number=number,
            vector=vector,
            entries=entries,
            completion_entries=completion_entries,
        )
        assert self.ring is not None
        self.batch_depth = 0
        self.report_every = max(1, min(report_every, entries // 4))
        self.bounce_bytes = bounce_bytes
        self._bounce: DmaBuffer | None = None
        self._view = self.ring.view
        self._shorts = self.ring.view.cast("H")
        self._pack = TxDescriptor.STRUCT.pack_into
        self._batch = _Batch(self)
        self._reset_state()

    def _reset_state(self) -> None:
        super()._reset_state()
        self._reported = 0
        # First data descriptor of the last packet that may be reported, as long as its doorbell was
        # not rung and REPORT can still be put there; else -1.
        self._last_first = -1
        self._bounce_head = 0
        self._reserved: tuple[int, int] | None = None

    def close(self) -> None:
        """Give all memory back. Twice is harmless."""
        self._shorts.release()
        super().close()
        if self._bounce is not None:
            self._bounce.free()

    # Posting

    def post(
        self,
        address: int,
        length: int,
        flags: int = 0,
        vlan_tci: int = 0,
        send_tag: int = 0,
        mss: int = 0,
        header_length: int = 0,
    ) -> int:
        """Post a packet of one descriptor from DMA memory, without a doorbell; its ticket.

        The memory must stay as it is until the packet is done. Call `flush` afterwards. The fast
        path: `flags` are TxFlags as a plain int, END_OF_PACKET is added. Raises RingFullError.
        """
        position = self.posted
        if position - self.done >= self._mask:
            self._make_room(1)
        index = position & self._mask
        flags |= _END_OF_PACKET
        if flags & _REPORT:
            self._reported = position
        elif position - self._reported >= self.report_every:
            flags |= _REPORT
            self._reported = position
        self._pack(
            self._view,
            index << _BYTES_SHIFT,
            address,
            length,
            flags,
            vlan_tci,
            send_tag,
            mss,
            header_length,
        )
        self._bounce_ends[index] = self._bounce_head
        self._last_first = index
        self.posted = position = position + 1
        return position

    def send_descriptors(self, descriptors: Iterable[TxDescriptor | bytes]) -> int:
        """Post descriptors exactly as given (`bytes`: 32 each), and the doorbell; the ticket.

        Nothing is checked or added, neither END_OF_PACKET nor REPORT. Raises RingFullError when
        not all have room: then none is posted.
        """
        entries = list(descriptors)
        self._make_room(len(entries))
        size, view = self.DESCRIPTOR_BYTES, self._view
        for descriptor in entries:
            index = self.posted & self._mask
            start = index * size
            raw = descriptor if isinstance(descriptor, bytes) else descriptor.pack()
            view[start : start + size] = raw
            self._bounce_ends[index] = self._bounce_head
            self.posted += 1
        self._last_first = -1
        if not self.batch_depth:
            self.flush()
        return self.posted

    def send(
        self,
        frame: bytes | bytearray | memoryview,
        *,
        checksum: bool = False,
        mss: int = 0,
        vlan: int | None = None,
        send_tag: int = 0,
        header_length: int | None = None,
        flags: int = 0,
        report: bool | None = None,
    ) -> int:
        """Copy `frame` (from the destination address on, without FCS) and post it; its ticket.

        checksum: IPv4 header and TCP or UDP checksum are filled. mss: cut the TCP payload into
        segments of so many bytes. vlan: tag control information to insert. send_tag: handle of a
        TLS flow. header_length: bytes of Ethernet, IP and TCP headers, found out when None and
        needed. flags: further TxFlags. report: True asks for a completion, False does not (then
        only a later one covers it), None leaves it to the queue.

        Raises RingFullError, and ValueError for a frame that cannot be copied or whose headers
        cannot be found.
        """
        if checksum:
            flags |= _IP_CHECKSUM | _L4_CHECKSUM
        if mss:
            flags |= _SEGMENT
        if send_tag:
            flags |= _TLS
        if vlan is not None:
            flags |= _VLAN_INSERT
        if header_length is None:
            header_length = tcp_header_end(frame) if flags & (_SEGMENT | _TLS) else 0
        length = len(frame)
        self.reserve(length)[:] = frame
        return self.commit(length, flags, vlan or 0, send_tag, mss, header_length, report)

    def reserve(self, length: int) -> memoryview:
        """Room for a frame of at most `length` bytes in DMA memory, to be filled, then `commit`.

        A second call without a commit gives the same room up. Raises RingFullError, ValueError.
        """
        self._make_room(1)
        if self._bounce is None:
            self._bounce = self._access.dma_alloc(self.bounce_bytes)
        size = self.bounce_bytes
        if not 0 < length <= size:
            raise ValueError(f"a frame of {length} bytes; the copy buffer has {size}")
        if self._bounce_head == self._bounce_tail:  # empty: begin at the start again
            self._bounce_head = self._bounce_tail = -(-self._bounce_head // size) * size
        start = self._bounce_head
        offset = start % size
        if offset + length > size:  # a frame is contiguous: skip the rest of this lap
            start += size - offset
            offset = 0
        if start + length - self._bounce_tail > size:
            self.reap()
            if start + length - self._bounce_tail > size:
                raise RingFullError(f"{self!r}: the copy buffer has no room for {length} bytes")
        self._reserved = (start, offset)
        return self._bounce.view[offset : offset + length]

    def commit(
        self,
        length: int,
        flags: int = 0,
        vlan_tci: int = 0,
        send_tag: int = 0,
        mss: int = 0,
        header_length: int = 0,
        report: bool | None = None,
    ) -> int:
        """Post the first `length` bytes of what `reserve` gave; its ticket. Like `send`."""
        if self._reserved is None or self._bounce is None:
            raise ValueError("commit without reserve")
        start, offset = self._reserved
        self._reserved = None
        if report:
            flags |= _REPORT
        elif report is False:
            self._reported = self.posted  # so that `post` does not add it
        # The piece is given back with the descriptor that uses it.
        self._bounce_head = start + (length + _BOUNCE_ALIGN - 1) // _BOUNCE_ALIGN * _BOUNCE_ALIGN
        before = self._last_first
        ticket = self.post(
            self._bounce.iova + offset, length, flags, vlan_tci, send_tag, mss, header_length
        )
        if report is False:
            self._last_first = before
        if not self.batch_depth:
            self.flush()
        return ticket

    def send_chain(
        self,
        parts: Sequence[tuple[ReadableBuffer | DmaRange, int]],
        *,
        flags: int = 0,
        vlan_tci: int = 0,
        send_tag: int = 0,
        mss: int = 0,
        header_length: int = 0,
        report: bool | None = None,
    ) -> int:
        """Post a packet of several parts, one after the other; its ticket.

        parts: what, and which part of the packet it is: 0 for frame data, or TxFlags.PRESYNC,
        PREFIX or SUFFIX. Buffers are copied, a DmaRange is used in place; empty parts are left
        out, and copies of one kind that follow each other share a descriptor. The other arguments
        are those of `post`, for the first descriptor with frame data. report: as in `send`.

        Raises RingFullError, and ValueError for what never has room; nothing is posted then.
        """
        copies, descriptors = self._layout_chain(parts)
        count = len(descriptors)
        if not 0 < count <= self._mask:
            raise ValueError(f"a packet of {count} descriptors; the ring holds {self._mask}")
        self._make_room(count)
        start = self._bounce_head
        iova = 0
        size = sum(map(len, copies))
        if size:
            room = self.reserve(size)
            assert self._reserved is not None
            assert self._bounce is not None
            start, offset = self._reserved
            self._reserved = None
            iova = self._bounce.iova + offset
            room[:] = b"".join(copies)
        first = self.posted
        while descriptors[first - self.posted][2] & _NO_DATA:
            first += 1
            if first - self.posted == count:
                raise ValueError("a packet without frame data")
        if report or (report is None and first - self._reported >= self.report_every):
            flags |= _REPORT
        if flags & _REPORT or report is False:
            self._reported = first
        pack, view, ends, mask = self._pack, self._view, self._bounce_ends, self._mask
        head, position, last = self._bounce_head, self.posted, self.posted + count - 1
        for is_copied, where, kind, length in descriptors:
            index = position & mask
            if position == last:
                kind |= _END_OF_PACKET
                if size:
                    head = start + -(-size // _BOUNCE_ALIGN) * _BOUNCE_ALIGN
            address = iova + where if is_copied else where
            at = index << _BYTES_SHIFT
            if position == first:
                own = flags | kind & _END_OF_PACKET
                pack(view, at, address, length, own, vlan_tci, send_tag, mss, header_length)
            else:
                pack(view, at, address, length, kind, 0, 0, 0, 0)
            ends[index] = head
            position += 1
        self._bounce_head = head
        if report is not False:
            self._last_first = first & self._mask
        self.posted = position
        if not self.batch_depth:
            self.flush()
        return position

    @staticmethod
    def _layout_chain(
        parts: Sequence[tuple[ReadableBuffer | DmaRange, int]],
    ) -> tuple[list[ReadableBuffer], list[tuple[bool, int, int, int]]]:
        """What is copied, and for each descriptor: is it copied, offset in the copy or address,
        kind, length."""
        copies: list[ReadableBuffer] = []
        descriptors: list[tuple[bool, int, int, int]] = []
        at = 0
        for what, kind in parts:
            if isinstance(what, DmaRange):
                if what.length:
                    descriptors.append((False, what.address, kind, what.length))
                continue
            length = len(what)
            if not length:
                continue
            copies.append(what)
            last = descriptors[-1] if descriptors else None
            if last is not None and last[0] and last[2] == kind != _PRESYNC:
                descriptors[-1] = (True, last[1], kind, last[3] + length)
            else:
                descriptors.append((True, at, kind, length))
            at += length
        return copies, descriptors

    def batch(self) -> _Batch:
        """`with queue.batch():` what is sent inside gets one doorbell, at the end."""
        return self._batch

    def flush(self) -> None:
        """Ring the doorbell for everything that was posted."""
        position = self.posted
        if position == self._rung:
            return
        last = self._last_first
        if last >= 0:
            # Not the device's yet, so the last packet can still be made to report.
            self._shorts[(last << _SHORTS_SHIFT) + _FLAGS_INDEX] |= _REPORT
            self._reported = position - 1
            self._last_first = -1
        self._rung = position
        self._ring_doorbell(self.tail_doorbell, position & self._mask)

    def drain(self, timeout_s: float) -> None:
        """Wait until everything posted is done. Raises like `wait_done`."""
        self.flush()
        self.wait_done(self.posted, timeout_s)
