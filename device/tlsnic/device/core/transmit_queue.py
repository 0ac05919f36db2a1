"""Transmit queues: fetch packets from a ring, and write their completions."""

from tlsnic.abi.enums import Diagnostic, QueueKind, QueueState, TxStatus
from tlsnic.abi.structures import TxCompletion
from tlsnic.device.core.descriptors import (
    DESCRIPTOR,
    DESCRIPTOR_BYTES,
    END,
    Descriptor,
    Drop,
    reported_as,
)
from tlsnic.device.core.host import DmaFault
from tlsnic.device.core.parts import Parts
from tlsnic.device.core.rings import MAX_CHAIN, Queue, QueueFault, queue_fault
from tlsnic.device.core.transmit import Held, Transmitter


class TransmitQueue(Queue):
    """One transmit ring with its completion ring."""

    def __init__(self, number: int, parts: Parts, transmitter: Transmitter) -> None:
        super().__init__(
            QueueKind.TRANSMIT,
            number,
            "TX_QUEUE",
            parts,
            entry_bytes=DESCRIPTOR_BYTES,
            completion_bytes=TxCompletion.SIZE,
        )
        self._transmitter = transmitter
        self._reporting = False
        self._send_tag = 0
        self.fetched = 0
        """Descriptors that the card has looked at or given up, since the queue was made."""
        self.finished = 0
        """Of these, the ones whose packets are with the wire or dropped, or were given up."""

    @property
    def posted(self) -> int:
        """Descriptors that were handed to the card, since the queue was made."""
        return self.fetched + (self._unseen if self.state is QueueState.RUNNING else 0)

    @property
    def _unseen(self) -> int:
        ring = self.ring
        return (ring.tail - ring.head) & ring.mask

    def disable(self) -> None:
        self.on_fault()
        super().disable()

    def on_fault(self) -> None:
        self._transmitter.abandon(self)
        self.fetched += self._unseen  # what the ring still has is never sent
        self.finished = self.fetched

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
            before = ring.head
            try:
                descriptors = self._fetch()
            except QueueFault as fault:
                self.fault(fault)
                return False
            if descriptors is None:
                return False
            self._reporting, self._send_tag = reported_as(descriptors)
            self.fetched += len(descriptors)
            try:
                transmitter.send(self, descriptors)
            except Drop as drop:
                self.drop(drop)
            except Held:
                ring.head = before  # looked at again when the flow has sent some of it
                self.fetched -= len(descriptors)
                return False
            except DmaFault as fault:
                self._fail(fault)
        return False

    def _fetch(self) -> list[Descriptor] | None:
        """The descriptors of the next packet, or None while its end is not in the ring yet."""
        ring = self.ring
        view, offset = ring.locate(ring.head)
        descriptor: Descriptor = DESCRIPTOR.unpack_from(view, offset)
        index = (ring.head + 1) & ring.mask
        if descriptor[2] & END:
            ring.head = index
            return [descriptor]
        descriptors = [descriptor]
        while True:
            if len(descriptors) >= MAX_CHAIN or len(descriptors) >= ring.mask:
                raise QueueFault(Diagnostic.TX_CHAIN, len(descriptors))
            if index == ring.tail:
                return None
            view, offset = ring.locate(index)
            descriptor = DESCRIPTOR.unpack_from(view, offset)
            descriptors.append(descriptor)
            index = (index + 1) & ring.mask
            if descriptor[2] & END:
                ring.head = index
                return descriptors

    def sent(self) -> None:
        """The packet that was fetched last is with the wire."""
        counters = self._counters
        counters.tx_packets += 1
        counters.tx_sent_packets += 1
        self.taken()

    def taken(self) -> None:
        """The packet that was fetched last needs its buffers no more; a rate limit holds it back."""
        self.finished = self.fetched
        if self._reporting:
            self.complete(self._send_tag, self.ring.head)

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
        self.finished = self.fetched
        self.complete(self._send_tag | drop.code << 32, self.ring.head | drop.status << 32)

    def _fail(self, fault: DmaFault) -> None:
        counters = self._counters
        counters.tx_packets += 1
        counters.tx_drop_dma += 1
        self.finished = self.fetched
        reason = queue_fault(fault)
        if self.complete(reason.code << 32, self.ring.head | TxStatus.DMA_FAULT << 32):
            self.fault(reason)
