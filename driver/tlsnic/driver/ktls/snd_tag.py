"""Send tags as the network stack has them (struct m_snd_tag): references to a flow of a card, and
the tags of VLANs and laggs around them.

A packet carries the tag of the interface it is given to; each interface compares the tag's `ifp`
with itself, and a stacked one hands the tag inside on. A packet whose tag is another interface's is
never sent: EAGAIN.

The flow of a card is a `tls.send_tag.SendTag` or `ReceiveTag`; it is given back to the card when the
last reference is gone, in the next turn of the loop: references are dropped by any thread.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING, Final, NamedTuple

from tlsnic.abi.suites import RecordKind
from tlsnic.driver.ktls.mbuf import Mbuf
from tlsnic.driver.tcp.outgoing import Outgoing, split
from tlsnic.driver.tcp.source import Chain
from tlsnic.driver.tls.receive_tag import ReceiveTag
from tlsnic.driver.tls.send_tag import OutcomeKind, SendTag
from tlsnic.driver.tls.session import FlowAddress
from tlsnic.driver.tx import TxQueue

if TYPE_CHECKING:
    from tlsnic.driver.ktls.ifnet import Ifnet, NicIfnet
    from tlsnic.driver.ktls.pcb import Inpcb
    from tlsnic.driver.ktls.session import KtlsSession

IF_SND_TAG_TYPE_TLS: Final = 2
IF_SND_TAG_TYPE_TLS_RX: Final = 4

_SEQUENCE_MASK = 0xFFFF_FFFF
_SIGN = 1 << 31


class SndTagParams(NamedTuple):
    """union if_snd_tag_alloc_params."""

    type: int
    """IF_SND_TAG_TYPE_TLS or _TLS_RX."""
    flowid: int
    """Of the connection: which member of a lagg it takes."""
    inp: Inpcb
    tls: KtlsSession
    address: FlowAddress
    tcp_sequence: int
    """u32, where the first record starts."""
    record_number: int


class SndTag:
    """One reference counted tag; made with one reference. `ifp`: whose packets may carry it."""

    def __init__(self, ifp: Ifnet) -> None:
        self.ifp = ifp
        self.refcount = 1
        self._lock = Lock()

    @property
    def leaf(self) -> SndTag:
        """The tag of the card."""
        return self

    def hold(self) -> SndTag:
        """m_snd_tag_ref."""
        with self._lock:
            self.refcount += 1
        return self

    def release(self) -> None:
        """m_snd_tag_rele."""
        with self._lock:
            self.refcount -= 1
            if self.refcount:
                return
        self._free()

    def _free(self) -> None:
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<{type(self).__name__} on {self.ifp.if_xname}>"


class StackedSndTag(SndTag):
    """Of a VLAN or a lagg: `inner` is that of the interface below (vlan_snd_tag, lagg_snd_tag)."""

    def __init__(self, ifp: Ifnet, inner: SndTag) -> None:
        super().__init__(ifp)
        self.inner = inner

    @property
    def leaf(self) -> SndTag:
        """The tag of the card."""
        return self.inner.leaf

    def _free(self) -> None:
        self.inner.release()


class MbufRecord:
    """A record that the card encrypts, as the driver's map of records wants it: it is in the mbuf,
    and stays there until it is acknowledged."""

    __slots__ = ("_mbuf", "size")

    def __init__(self, mbuf: Mbuf) -> None:
        self._mbuf = mbuf
        self.size = mbuf.m_off + mbuf.m_len

    @property
    def number(self) -> int:
        """Its record number."""
        return self._mbuf.m_epg_seqno

    @property
    def data(self) -> bytes:
        """A copy of all of it, for a packet that the card cannot encrypt from its state alone."""
        tls = self._mbuf.m_epg_tls
        if tls is not None:
            tls.kernel.sysctl.touched("copy", self.size)
        return b"".join([piece.view for piece in self._mbuf.parts()])

    @property
    def prefix_bytes(self) -> int:
        """Header with explicit nonce or IV."""
        return self._mbuf.m_epg_hdrlen

    @property
    def content_bytes(self) -> int:
        """Protected bytes: payload, and TLS 1.3's inner type."""
        mbuf = self._mbuf
        room = mbuf.m_epg_trllen
        tls = mbuf.m_epg_tls
        inner = 1 if tls is not None and tls.params.is_tls13 else 0
        return self.size - mbuf.m_epg_hdrlen - room + inner

    @property
    def padding(self) -> int:
        """AES-CBC: the padding length. Else 0."""
        tls = self._mbuf.m_epg_tls
        if tls is None or tls.params.kind is not RecordKind.CBC:
            return 0
        return self._mbuf.m_epg_trllen - tls.params.layout.tag_bytes - 1


class TlsSndTag(SndTag):
    """Of a card, transmit. `tag`: the driver's; `packets` by what became of them; `stale`: not sent,
    because all of it was acknowledged while it waited."""

    def __init__(self, ifp: NicIfnet, tag: SendTag, inp: Inpcb, tls: KtlsSession) -> None:
        """The first record of `tls` starts where `tag` does."""
        super().__init__(ifp)
        self.tag = tag
        self.packets = dict.fromkeys(OutcomeKind, 0)
        self.stale = 0
        self._inp = inp
        # Not the session itself: it holds this tag.
        self._sysctl = tls.kernel.sysctl
        self._free_flow: Callable[[SendTag | ReceiveTag], None] = ifp.free_flow

    def transmit(self, queue: TxQueue, outgoing: Outgoing) -> None:
        """Post a packet with data of the session's records; the first transmission of a record adds
        it to the driver's map. Raises as `SendTag.transmit`."""
        headers, sequence, payload, mss, _ = outgoing
        assert isinstance(payload, Chain)
        size, inp, tag = len(payload), self._inp, self.tag
        # While it waited for room in the ring, its beginning may have been acknowledged: the
        # records are gone, and the peer does not need it.
        late = inp.snd_una - sequence & _SEQUENCE_MASK
        if inp.is_dropped or (0 < late < _SIGN and late >= size):
            self.stale += 1
            return
        if 0 < late < _SIGN:
            self.transmit(queue, split(outgoing, late)[1])
            return
        records = tag.records
        if records.position(sequence) < 0:
            # Not the flow's: the driver would take it for what was sent before TLS began, in clear.
            raise RuntimeError("records from before the send tag's")
        end = sequence + size & _SEQUENCE_MASK
        missing = end - records.end_sequence & _SEQUENCE_MASK
        if 0 < missing < _SIGN:
            inp.add_records(records, end)
        parts, copied = payload.parts(tag.nic)
        kind = tag.transmit(queue, headers, sequence, parts, mss=mss).kind
        self.packets[kind] += 1
        if kind is OutcomeKind.SOFTWARE:
            self._sysctl.touched("encrypt", size)
        elif copied:
            self._sysctl.touched("copy", copied)

    def _free(self) -> None:
        self._free_flow(self.tag)


class TlsRxSndTag(SndTag):
    """Of a card, receive. `tag`: the driver's."""

    def __init__(self, ifp: NicIfnet, tag: ReceiveTag) -> None:
        super().__init__(ifp)
        self.tag = tag
        self._free_flow: Callable[[SendTag | ReceiveTag], None] = ifp.free_flow

    def _free(self) -> None:
        self._free_flow(self.tag)
