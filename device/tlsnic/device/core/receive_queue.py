"""A receive ring: packets into its buffers, completions behind them."""

from collections.abc import Sequence
from struct import Struct
from typing import Final

from tlsnic.abi.enums import Diagnostic, QueueKind, QueueState, TlsRxState
from tlsnic.abi.structures import RxCompletion, RxDescriptor
from tlsnic.device.core.host import Buffer, DmaFault
from tlsnic.device.core.parts import Parts
from tlsnic.device.core.rings import MIN_RX_BUFFER_BYTES, Queue, QueueFault, queue_fault

_DECRYPTED: Final = int(TlsRxState.DECRYPTED)
_TLS_STATE: Final = 0xFF
_unpack: Final = Struct("<QII").unpack_from


class ReceiveQueue(Queue):
    """One receive ring with its completion ring."""

    def __init__(self, number: int, parts: Parts) -> None:
        super().__init__(
            QueueKind.RECEIVE,
            number,
            "RX_QUEUE",
            parts,
            entry_bytes=RxDescriptor.SIZE,
            completion_bytes=RxCompletion.SIZE,
        )
        self._told_disabled = False

    def enable(self) -> None:
        self._told_disabled = False
        super().enable()

    def deliver(
        self, pieces: Sequence[Buffer], length: int, frames: int, words: tuple[int, int, int, int]
    ) -> bool:
        """Write a packet of `length` bytes to the next buffers, with its completion.

        Args:
            pieces: the packet.
            length: its bytes.
            frames: frames from the wire in it; counted as dropped when it finds no room.
            words: the completion without length, index, buffers and valid mark.
        """
        counters = self._counters
        ring = self.ring
        if self.state is not QueueState.RUNNING:
            counters.rx_drop_disabled += frames
            if self.state is QueueState.DISABLED and not self._told_disabled:
                self._told_disabled = True
                self.report(Diagnostic.RX_QUEUE_DISABLED, length)
            return False
        if self.completions.full:
            self.room()
            counters.rx_drop_no_buffer += frames
            return False
        try:
            targets = self._buffers(length)
        except QueueFault as fault:
            counters.rx_drop_dma += frames
            self.fault(fault)
            return False
        if targets is None:
            counters.rx_drop_no_buffer += frames
            self.report(Diagnostic.RX_NO_BUFFER, length)
            return False
        views, buffers = targets
        if len(views) > 1:
            _scatter(pieces, views)
        else:
            (target,) = views
            position = 0
            for piece in pieces:
                end = position + len(piece)
                target[position:end] = piece
                position = end
        first = ring.head
        ring.head = (first + buffers) & ring.mask
        if self.complete(words[0] | length, words[1] | first | buffers << 16, words[2], words[3]):
            return True
        counters.rx_drop_dma += frames
        return False

    def deliver_run(
        self,
        frames: Sequence[bytes],
        payload: int,
        bits: Sequence[int],
        bodies: memoryview | None,
        words: tuple[int, int, int, int],
    ) -> int:
        """deliver() for frames of one length that differ in little; how many found room.

        Args:
            frames: as on the wire.
            payload: where the part begins that TLS offload may have decrypted.
            bits: for each frame, what of TLS is in the last word. DECRYPTED there says that the
                frame's payload is in `bodies`, where those of all frames are one behind the other.
            words: as deliver(), the same for all.
        """
        ring, completions, view_of = self.ring, self.completions, self._host.view
        length, count = len(frames[0]), len(frames)
        size = length - payload
        first, second, third, fourth = words
        head, mask = ring.head, ring.mask
        usual = 0
        if self.state is QueueState.RUNNING:
            usual = min(ring.tail - head & mask, completions.room, count)
        taken = at = 0
        try:
            # Until something is out of the ordinary.
            for frame, bit in zip(frames[:usual], bits, strict=False):
                view, offset = ring.locate(head)
                address, room, reserved = _unpack(view, offset)
                if room < length or room < MIN_RX_BUFFER_BYTES or reserved:
                    break
                target = view_of(address, length, True)
                if target is None:
                    break
                if bit & _TLS_STATE == _DECRYPTED and bodies is not None:
                    target[:payload] = frame[:payload]
                    target[payload:] = bodies[at : at + size]
                else:
                    target[:] = frame
                ring.head = following = head + 1 & mask
                completions.push(first | length, second | 1 << 16 | head, third, fourth | bit)
                if completions.armed:
                    self._interrupts.request(self.vector, completions)
                head = following
                at += size
                taken += 1
        except (QueueFault, DmaFault):
            pass
        done = taken
        for frame, bit in zip(frames[done:], bits[done:], strict=True):
            pieces: Sequence[Buffer] = (frame,)
            if bit & _TLS_STATE == _DECRYPTED and bodies is not None:
                pieces = (frame[:payload], bodies[at : at + size])
            at += size
            taken += self.deliver(pieces, length, 1, (first, second, third, fourth | bit))
        return taken

    def _buffers(self, length: int) -> tuple[list[memoryview], int] | None:
        """Views of the next buffers that hold `length` bytes, and their number; None: too few."""
        ring = self.ring
        index = ring.head
        buffers: list[tuple[int, int]] = []
        while length:
            if index == ring.tail:
                return None
            view, offset = ring.locate(index)
            address, size, reserved = _unpack(view, offset)
            if reserved or size < MIN_RX_BUFFER_BYTES:
                raise QueueFault(Diagnostic.RX_BUFFER, index)
            size = min(size, length)
            buffers.append((address, size))
            length -= size
            index = (index + 1) & ring.mask
        # All at once, because views of memory to write are only asked for when they are filled.
        views: list[memoryview] = []
        try:
            for address, size in buffers:
                target = self._host.view(address, size, True)
                if target is None:
                    views += self._host.views(address, size, True)
                else:
                    views.append(target)
        except DmaFault as fault:
            raise queue_fault(fault) from None
        return views, len(buffers)


def _scatter(pieces: Sequence[Buffer], views: list[memoryview]) -> None:
    """Copy `pieces`, one behind the other, into `views`, which are as long together."""
    targets = iter(views)
    target = next(targets)
    for piece in pieces:
        source = memoryview(piece)
        while source:
            if not len(target):
                target = next(targets)
            count = min(len(source), len(target))
            target[:count] = source[:count]
            source, target = source[count:], target[count:]
