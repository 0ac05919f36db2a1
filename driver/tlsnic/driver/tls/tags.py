"""The send and receive tags of a card: making them, finding them for events, and their counters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tlsnic.abi.structures import FlowErrorEvent, ResyncRequestEvent, TxCompletion
from tlsnic.driver.access import Access
from tlsnic.driver.admin import AdminQueue
from tlsnic.driver.events import AnyEvent, EventQueue
from tlsnic.driver.settings import Capabilities, Settings
from tlsnic.driver.tls.counters import TlsCounters, TlsReceiveCounters
from tlsnic.driver.tls.flow_block import create_receive_flow, create_transmit_flow
from tlsnic.driver.tls.flow_tag import FlowTag
from tlsnic.driver.tls.receive_tag import ReceiveTag, Resync
from tlsnic.driver.tls.send_tag import SendTag
from tlsnic.driver.tls.session import FlowAddress, TlsSession
from tlsnic.driver.tx import TxQueue

if TYPE_CHECKING:
    from tlsnic.driver.nic import NicOptions


class TlsTags(Settings):
    """The part of `Nic` that has tags: `send_tags` and `receive_tags` by handle."""

    options: NicOptions
    capabilities: Capabilities
    admin: AdminQueue
    events: EventQueue
    tx: list[TxQueue]

    def __init__(self, access: Access) -> None:
        super().__init__(access)
        self.tx = []
        self.send_tags: dict[int, SendTag] = {}
        self.receive_tags: dict[int, ReceiveTag] = {}
        self._past_tls_counters = TlsCounters()
        self._past_receive_counters = TlsReceiveCounters()
        self._waiting_tags: set[ReceiveTag] = set()

    def snd_tag_alloc(
        self,
        session: TlsSession,
        address: FlowAddress,
        tcp_sequence: int,
        *,
        rate_bytes_per_s: int = 0,
        record_number: int | None = None,
    ) -> SendTag:
        """Let the card encrypt a connection from TCP sequence number `tcp_sequence` on, where a
        record starts: `if_snd_tag_alloc`, Linux's `tls_dev_add`.

        rate_bytes_per_s: a rate limit, or 0. record_number: of that record, when it is not the
        session's. Raises SendTagRefused when the connection has to go on in software; RingFullError
        and like `AdminQueue.execute`.
        """
        number = session.record_number if record_number is None else record_number
        tcp_sequence &= 0xFFFF_FFFF
        handle = create_transmit_flow(
            self, session, address, tcp_sequence, number, rate_bytes_per_s
        )
        tag = SendTag(self, session, address, tcp_sequence, number, rate_bytes_per_s, handle)
        self.send_tags[tag.handle] = tag
        return tag

    def rcv_tag_alloc(
        self,
        session: TlsSession,
        address: FlowAddress,
        tcp_sequence: int,
        *,
        resync: Resync = Resync.HOST,
    ) -> ReceiveTag:
        """Let the card decrypt a connection from TCP sequence number `tcp_sequence` on, where
        record `session.record_number` starts: `if_snd_tag_alloc`, Linux's `tls_dev_add`.

        The receive offloads RX_CHECKSUM and RX_TLS must be on, and `poll_events` be called for
        questions to be answered. Raises SendTagRefused when the connection has to go on in
        software; RingFullError and like `AdminQueue.execute`.
        """
        tcp_sequence &= 0xFFFF_FFFF
        handle = create_receive_flow(self, session, address, tcp_sequence, resync)
        tag = ReceiveTag(self, session, address, tcp_sequence, resync, handle)
        self.receive_tags[tag.handle] = tag
        return tag

    def poll_events(self) -> int:
        """Take all events that are there, let receive tags answer the card's questions, and take
        the responses to what they answered; how many events. Raises like `EventQueue.drain`."""
        taken = self.events.drain()
        if self._waiting_tags:
            self.admin.reap()
            waiting, self._waiting_tags = self._waiting_tags, set()
            for tag in waiting:
                if tag.poll():
                    self._waiting_tags.add(tag)
        return taken

    def await_responses(self, tag: ReceiveTag) -> None:
        """`poll_events` shall poll the tag. Called by the tag."""
        self._waiting_tags.add(tag)

    @property
    def tls_counters(self) -> TlsCounters:
        """Of all send tags that there were. `tx_tls_ctx` - `tx_tls_del` are alive."""
        total = TlsCounters()
        total.add(self._past_tls_counters)
        for tag in self.send_tags.values():
            total.add(tag.counters)
        return total

    @property
    def tls_receive_counters(self) -> TlsReceiveCounters:
        """The same of all receive tags."""
        total = TlsReceiveCounters()
        total.add(self._past_receive_counters)
        for tag in self.receive_tags.values():
            total.add(tag.counters)
        return total

    def forget_send_tag(self, tag: SendTag) -> None:
        """Called by a tag that is gone."""
        if self.send_tags.pop(tag.handle, None) is not None:
            self._past_tls_counters.add(tag.counters)

    def forget_receive_tag(self, tag: ReceiveTag) -> None:
        """The same for a receive tag."""
        self._waiting_tags.discard(tag)
        if self.receive_tags.pop(tag.handle, None) is not None:
            self._past_receive_counters.add(tag.counters)

    def lose_tags(self, reason: str = "device gone") -> None:
        tags: list[FlowTag] = [*self.send_tags.values(), *self.receive_tags.values()]
        for tag in tags:
            tag.die(reason)

    def tell_receive_tag(self, event: AnyEvent) -> None:
        if isinstance(event, ResyncRequestEvent):
            tag = self.receive_tags.get(event.handle)
            if tag is not None:
                tag.asked(event)
        elif isinstance(event, FlowErrorEvent):
            tag = self.receive_tags.get(event.handle)
            if tag is not None:
                tag.failed(event)

    def tell_send_tag(self, completion: TxCompletion) -> None:
        tag = self.send_tags.get(completion.send_tag)
        if tag is not None:
            tag.dropped(completion)
