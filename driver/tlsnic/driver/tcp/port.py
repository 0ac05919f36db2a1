"""A card as TCP uses it: one transmit and one receive queue, and what waits for room in the ring."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from tlsnic.abi.enums import Offload, TxFlags
from tlsnic.driver.errors import RingFullError
from tlsnic.driver.nic import Nic
from tlsnic.driver.queue import Queue
from tlsnic.driver.tcp.outgoing import Outgoing
from tlsnic.driver.tcp.source import Chain
from tlsnic.driver.tx import TxQueue

Transmit = Callable[[TxQueue, Outgoing], object]
"""Posts one packet, or raises RingFullError and is called again later."""

_CHECKSUM = int(TxFlags.L4_CHECKSUM | TxFlags.IP_CHECKSUM)
_SEGMENT = _CHECKSUM | int(TxFlags.SEGMENT)


def transmit_plain(queue: TxQueue, outgoing: Outgoing) -> None:
    """Copy the packet into the queue's memory and post it, with checksums and segmentation."""
    headers, payload, mss = outgoing.headers, outgoing.payload, outgoing.mss
    if isinstance(payload, Chain):
        payload = payload.tobytes()
    size = len(headers)
    length = size + len(payload)
    room = queue.reserve(length)
    room[:size] = headers
    room[size:] = payload
    if mss:
        queue.commit(length, _SEGMENT, 0, 0, mss, size)
    else:
        queue.commit(length, _CHECKSUM)


def transmit_frame(queue: TxQueue, outgoing: Outgoing) -> None:
    """Send a frame that is whole, all of it in `headers`."""
    queue.send(outgoing.headers)


class Port:
    """Attributes: `nic`, `tx`, `rx`, `backlog` (packets that wait for room in the ring), `delayed`
    (how often it was full), `bad_frames` (by the card's checksum)."""

    def __init__(self, nic: Nic, queue: int = 0) -> None:
        """queue: number of its two queues. Switches receive checksums and TLS on where the card has
        them."""
        self.nic = nic
        self.tx, self.rx = nic.tx[queue], nic.rx[queue]
        self.backlog: deque[tuple[Transmit, Outgoing]] = deque()
        self.delayed = 0
        self.bad_frames = 0
        self.watches_events = False
        """Whether a wait ends with an event of the card's, such as a link change."""
        self._held: deque[tuple[int, Callable[[], None]]] = deque()  # until this ticket is done
        wanted = Offload.RX_CHECKSUM | Offload.RX_TLS
        nic.offloads = nic.offloads | (nic.capabilities.offloads & wanted)

    def post(self, transmit: Transmit, outgoing: Outgoing) -> None:
        """Transmit now, or when there is room and what waits before it is gone."""
        if not self.backlog:
            try:
                transmit(self.tx, outgoing)
            except RingFullError:
                self.delayed += 1
            else:
                self._hold(outgoing)
                return
        self.backlog.append((transmit, outgoing))

    def post_frame(self, frame: bytes) -> None:
        """The same for a whole frame; it goes with the next turn."""
        self.backlog.append((transmit_frame, Outgoing(frame, 0, b"", 0, False)))

    def send_backlog(self) -> None:
        """Transmit what waits, as far as there is room."""
        backlog, tx = self.backlog, self.tx
        while backlog:
            transmit, outgoing = backlog[0]
            try:
                transmit(tx, outgoing)
            except RingFullError:
                return
            backlog.popleft()
            self._hold(outgoing)

    def _hold(self, outgoing: Outgoing) -> None:
        payload = outgoing.payload
        if isinstance(payload, Chain) and payload.done is not None:
            self._held.append((self.tx.posted, payload.done))

    def reap(self) -> None:
        """Take completions, and let go of what the card has read."""
        tx, held = self.tx, self._held
        tx.reap()
        while held and held[0][0] <= tx.done:
            held.popleft()[1]()

    @property
    def holds(self) -> int:
        """Packets whose payload the card may still read, as far as completions were taken."""
        return len(self._held)

    def drop_all(self) -> None:
        """The card was closed or reset, and reads nothing any more: let go of everything."""
        for _, outgoing in self.backlog:
            if isinstance(outgoing.payload, Chain) and outgoing.payload.done is not None:
                outgoing.payload.done()
        self.backlog.clear()
        while self._held:
            self._held.popleft()[1]()

    def waits_for(self) -> list[Queue]:
        """The queues on which something may happen."""
        queues: list[Queue] = [self.rx]
        if self.backlog:
            queues.append(self.tx)
        if self.watches_events or self.nic.receive_tags:
            queues.append(self.nic.events)
        return queues
