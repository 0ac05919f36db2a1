"""Network interfaces (struct ifnet), and the one that is a card.

An interface has capabilities by the names of ifconfig(8), which are switched at run time:
`txtls4`, `txtls6`, `rxtls4`, `rxtls6`. It takes packets (`if_transmit`) and makes send tags
(`snd_tag_alloc`). `vlan` and `lagg` are interfaces on top of others; what is below all of them, and
has a card, is a leaf.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from errno import EAGAIN, EBUSY, EINVAL, EIO, ENETDOWN, ENOBUFS, EOPNOTSUPP
from typing import TYPE_CHECKING, Final

from tlsnic.abi.enums import CommandStatus, EventType, Offload, RxFlags, TlsRxState, TxFlags
from tlsnic.driver.errors import CommandTimeoutError, DriverError, SendTagDeadError, SendTagRefused
from tlsnic.driver.events import AnyEvent
from tlsnic.driver.headers import ETHERNET_BYTES
from tlsnic.driver.ktls.counters import TlsSysctl
from tlsnic.driver.ktls.snd_tag import (
    IF_SND_TAG_TYPE_TLS,
    SndTag,
    SndTagParams,
    TlsRxSndTag,
    TlsSndTag,
)
from tlsnic.driver.nic import Nic
from tlsnic.driver.rx import RxPacket
from tlsnic.driver.tcp.neighbour import Neighbours
from tlsnic.driver.tcp.outgoing import Outgoing
from tlsnic.driver.tcp.port import Port
from tlsnic.driver.tcp.source import Chain, Mark
from tlsnic.driver.tls.receive_tag import ReceiveTag, Resync
from tlsnic.driver.tls.send_tag import SendTag
from tlsnic.driver.tx import TxQueue

if TYPE_CHECKING:
    from tlsnic.driver.ktls.lagg import Lagg
    from tlsnic.driver.ktls.vlan import Vlan

IFCAP_TXTLS4: Final = 0x1
IFCAP_TXTLS6: Final = 0x2
IFCAP_RXTLS4: Final = 0x4
IFCAP_RXTLS6: Final = 0x8
CAPABILITIES: Final = {
    "txtls4": IFCAP_TXTLS4,
    "txtls6": IFCAP_TXTLS6,
    "rxtls4": IFCAP_RXTLS4,
    "rxtls6": IFCAP_RXTLS6,
}

_CHECKSUM = int(TxFlags.L4_CHECKSUM | TxFlags.IP_CHECKSUM)
_SEGMENT = _CHECKSUM | int(TxFlags.SEGMENT)
_DECRYPTED = int(TlsRxState.DECRYPTED)
_VLAN_STRIPPED = int(RxFlags.VLAN_STRIPPED)
_FREE_TIMEOUT_S = 1.0
_ERRORS: Final[dict[int, int]] = {
    CommandStatus.TABLE_FULL: ENOBUFS,
    CommandStatus.DUPLICATE: EBUSY,
}


class Packet:
    """One packet on its way down: headers from the Ethernet addresses on, payload, and
    `snd_tag`, a reference that the packet holds until it is sent or dropped (m_pkthdr)."""

    __slots__ = ("flowid", "is_whole", "outgoing", "snd_tag")

    def __init__(
        self, outgoing: Outgoing, snd_tag: SndTag | None, flowid: int, *, is_whole: bool = False
    ) -> None:
        """snd_tag: the caller's reference, a further one is taken. is_whole: the checksums are
        there."""
        self.outgoing = outgoing
        self.is_whole = is_whole
        self.snd_tag = None if snd_tag is None else snd_tag.hold()
        self.flowid = flowid

    def set_tag(self, tag: SndTag) -> None:
        """Carry another tag from now on."""
        old, self.snd_tag = self.snd_tag, tag.hold()
        if old is not None:
            old.release()

    def sent(self) -> None:
        """It is with the card: drop the tag's reference."""
        tag, self.snd_tag = self.snd_tag, None
        if tag is not None:
            tag.release()

    def free(self) -> None:
        """It is dropped (m_freem)."""
        self.sent()
        payload = self.outgoing.payload
        if isinstance(payload, Chain) and payload.done is not None:
            payload.done()


class Ifnet(ABC):
    """Attributes: `if_xname`, `if_lladdr` (6 bytes), `if_vlans` by identifier, `if_lagg` (whose
    member it is), `if_up`; `neighbours`, once it has addresses; `oerrors`: packets dropped."""

    def __init__(self, name: str, lladdr: bytes) -> None:
        self.if_xname = name
        self.if_lladdr = lladdr
        self.if_up = True
        self.if_vlans: dict[int, Vlan] = {}
        self.if_lagg: Lagg | None = None
        self.neighbours: Neighbours | None = None
        self.addresses: list[bytes] = []
        self.oerrors = 0
        self.on_link: list[Callable[[Ifnet], None]] = []
        """Called when `is_running` may have changed, or which member of a lagg is active."""

    # Below

    @abstractmethod
    def if_transmit(self, packet: Packet) -> None:
        """Send a packet, which is this interface's from now on: it frees it also when it raises
        OSError, EAGAIN if the packet's send tag is not this interface's."""

    @abstractmethod
    def _snd_tag_alloc(self, params: SndTagParams) -> SndTag:
        """if_snd_tag_alloc."""

    @abstractmethod
    def leaf(self, flowid: int) -> NicIfnet | None:
        """The card that packets of a connection leave by now; None when there is none."""

    @property
    @abstractmethod
    def is_running(self) -> bool:
        """Whether it is up and has a link."""

    @property
    @abstractmethod
    def if_capabilities(self) -> int:
        """What it can do: bits of CAPABILITIES."""

    @property
    @abstractmethod
    def if_capenable(self) -> int:
        """What of it is switched on."""

    @abstractmethod
    def set_capenable(self, capabilities: int) -> None:
        """Switch on these, and only these."""

    @property
    @abstractmethod
    def max_frame_bytes(self) -> int:
        """Longest frame, without FCS and VLAN tags."""

    # For all

    def set_capability(self, name: str, enabled: bool) -> None:
        """`ifconfig ifp [-]name`. Sessions that have a tag keep it. Raises OSError: EINVAL for a
        name that is none, EOPNOTSUPP for what the interface cannot do."""
        bit = CAPABILITIES.get(name)
        if bit is None:
            raise OSError(EINVAL, f"no capability {name}")
        if enabled and not self.if_capabilities & bit:
            raise OSError(EOPNOTSUPP, f"{self.if_xname} has no {name}")
        now = self.if_capenable
        self.set_capenable(now | bit if enabled else now & ~bit)

    @property
    def capabilities_on(self) -> list[str]:
        """Names of what is switched on, as ifconfig shows them."""
        return [name for name, bit in CAPABILITIES.items() if self.if_capenable & bit]

    def snd_tag_alloc(self, params: SndTagParams) -> SndTag:
        """A send tag for a connection (m_snd_tag_alloc); one reference, the caller's. Raises OSError:
        EOPNOTSUPP when that kind of TLS is not there or switched off, and why the card refuses."""
        v4 = params.address.ip_version == 4
        if params.type == IF_SND_TAG_TYPE_TLS:
            wanted = IFCAP_TXTLS4 if v4 else IFCAP_TXTLS6
        else:
            wanted = IFCAP_RXTLS4 if v4 else IFCAP_RXTLS6
        if not self.if_capenable & wanted:
            raise OSError(EOPNOTSUPP, f"TLS is switched off on {self.if_xname}")
        return self._snd_tag_alloc(params)

    def drop(self, packet: Packet, error: int) -> OSError:
        """Free a packet that cannot be sent; the error to be raised."""
        packet.free()
        self.oerrors += 1
        return OSError(error, f"not sent by {self.if_xname}")

    def set_up(self, up: bool) -> None:
        """`ifconfig ifp up`, `down`."""
        self.if_up = up
        self.link_state_changed()

    def link_state_changed(self) -> None:
        """if_link_state_change: tell what is stacked on top."""
        for listener in list(self.on_link):
            listener(self)

    def output_frame(self, frame: bytes) -> None:
        """Send a whole frame, as ARP has them; lost when that cannot be."""
        self.output_headers(Outgoing(frame, 0, b"", 0, False), is_whole=True)

    def output_headers(self, outgoing: Outgoing, *, is_whole: bool = False) -> None:
        """Send a packet with all its headers; lost when that cannot be."""
        try:
            self.if_transmit(Packet(outgoing, None, 0, is_whole=is_whole))
        except OSError:
            return

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.if_xname}>"


class NicIfnet(Ifnet):
    """A card. Attributes: `nic`, `port`; `dead_tag_drops`: packets whose tag was lost with a reset."""

    def __init__(self, nic: Nic, name: str = "tlsnic0", *, queue: int = 0) -> None:
        """The card is started and stays the caller's."""
        super().__init__(name, nic.mac_address)
        self.nic = nic
        self.port = Port(nic, queue)
        self.port.watches_events = True
        self.sysctl: TlsSysctl | None = None
        """Where copies are counted."""
        self.dead_tag_drops = 0
        self.on_dead_tag: Callable[[SndTag], None] | None = None
        """Called when a packet was dropped because its tag is dead."""
        offered = nic.capabilities.offloads
        self._capabilities = 0
        if offered & Offload.TX_TLS:
            self._capabilities |= IFCAP_TXTLS4 | IFCAP_TXTLS6
        if offered & Offload.RX_TLS:
            self._capabilities |= IFCAP_RXTLS4 | IFCAP_RXTLS6
        self._capenable = self._capabilities
        self._link = nic.link_up
        self._closing: deque[SendTag | ReceiveTag] = deque()
        self._marks: dict[tuple[bool, int], Mark] = {}
        nic.events.on(EventType.LINK_CHANGE, self._link_changed)

    # State

    def leaf(self, flowid: int) -> NicIfnet | None:
        """Itself."""
        return self

    @property
    def is_running(self) -> bool:
        """Up, with a link as far as events were taken."""
        return self.if_up and self._link

    def _link_changed(self, event: AnyEvent) -> None:
        self._link = self.nic.link_up
        self.link_state_changed()

    @property
    def if_capabilities(self) -> int:
        """By what the card offers."""
        return self._capabilities

    @property
    def if_capenable(self) -> int:
        """A switch of this side's: the card is not told."""
        return self._capenable

    def set_capenable(self, capabilities: int) -> None:
        """New tags are refused where it is off."""
        self._capenable = capabilities & self._capabilities
        if self.if_lagg is not None:
            self.if_lagg.capabilities_changed()

    @property
    def max_frame_bytes(self) -> int:
        """The card's."""
        return self.nic.max_frame_bytes

    def accept_lladdr(self, address: bytes) -> None:
        """Take frames to another Ethernet address too: a lagg's."""
        if address != self.nic.mac_address:
            self.nic.set_mac_filters([address])

    # Packets

    def if_transmit(self, packet: Packet) -> None:
        """Post the packet, or queue it until there is room. EAGAIN as `Ifnet.if_transmit`;
        ENETDOWN when the interface is down or has no link."""
        tag = packet.snd_tag
        if tag is not None and tag.ifp is not self:
            raise self.drop(packet, EAGAIN)
        if not self.is_running:
            raise self.drop(packet, ENETDOWN)
        if tag is not None:
            assert isinstance(tag, TlsSndTag)
            if not tag.tag.is_alive:
                raise self.drop(packet, EAGAIN)

        def transmit(queue: TxQueue, outgoing: Outgoing) -> None:
            self._transmit(queue, outgoing, packet)

        self.port.post(transmit, packet.outgoing)

    def _transmit(self, queue: TxQueue, outgoing: Outgoing, packet: Packet) -> None:
        tag = packet.snd_tag
        if tag is not None:
            assert isinstance(tag, TlsSndTag)
            try:
                tag.transmit(queue, outgoing)
            except SendTagDeadError:
                self.dead_tag_drops += 1
                if self.on_dead_tag is not None:
                    self.on_dead_tag(tag)
        else:
            headers, _, payload, mss, _ = outgoing
            if isinstance(payload, Chain):
                if payload.tls is not None:  # never to the wire, with python -O neither
                    raise RuntimeError("records in clear without a send tag")
                parts, copied = payload.parts(self.nic)
                if copied and self.sysctl is not None:
                    self.sysctl.touched("copy", copied)
            else:
                parts = [memoryview(payload)]
            queue.send_chain(
                [(headers, 0), *[(part, 0) for part in parts]],
                flags=_SEGMENT if mss else (0 if packet.is_whole else _CHECKSUM),
                mss=mss,
                header_length=len(headers) if mss else 0,
            )
        packet.sent()

    def mark(self, packet: RxPacket) -> Mark:
        """What the card says of a received packet, with this interface as `leaf_rcvif`."""
        key = (packet.tls_state == _DECRYPTED, packet.flow)
        found = self._marks.get(key)
        if found is None:
            if len(self._marks) > 4096:
                self._marks.clear()
            found = self._marks[key] = Mark(key[0], self, key[1])
        return found

    # Tags

    def _snd_tag_alloc(self, params: SndTagParams) -> SndTag:
        """A flow of the card. A flow of the same connection that is being closed is waited for, but
        not for ever: OSError (EBUSY)."""
        if any(tag.address == params.address for tag in self._closing):
            self.free_closed(_FREE_TIMEOUT_S)
        tls = params.tls
        if params.type == IF_SND_TAG_TYPE_TLS and tls.sequential_records:
            # A later record cannot be encrypted without the one before, on this card or another.
            raise OSError(EOPNOTSUPP, "TLS 1.0")
        session = tls.tls_session(params.record_number)
        try:
            if params.type == IF_SND_TAG_TYPE_TLS:
                sending = self.nic.snd_tag_alloc(session, params.address, params.tcp_sequence)
                return TlsSndTag(self, sending, params.inp, tls)
            receiving = self.nic.rcv_tag_alloc(
                session, params.address, params.tcp_sequence, resync=Resync.BOTH
            )
            return TlsRxSndTag(self, receiving)
        except SendTagRefused as error:
            session.wipe()
            raise OSError(_ERRORS.get(error.status, EOPNOTSUPP), str(error)) from error
        except DriverError as error:
            session.wipe()
            raise OSError(EIO, str(error)) from error

    def free_flow(self, tag: SendTag | ReceiveTag) -> None:
        """Give a flow back in the next turn. Any thread."""
        self._closing.append(tag)

    def free_closed(self, timeout_s: float = 0.0) -> None:
        """Give flows back that nothing refers to any more; those that the card still sends packets
        of stay for the next time."""
        for _ in range(len(self._closing)):
            tag = self._closing.popleft()
            try:
                tag.free(timeout_s)
            except CommandTimeoutError:
                self._closing.append(tag)
                continue
            except DriverError:
                pass  # the card is gone or refuses: there is no more to be done
            tag.session.wipe()

    def closed(self) -> None:
        """The card was closed: packets and flows are forgotten."""
        self.port.drop_all()
        self._closing.clear()


def vlan_of(packet: RxPacket) -> int | None:
    """Identifier of a received packet's VLAN tag, stripped by the card or not."""
    if packet.flags & _VLAN_STRIPPED:
        return packet.vlan_tci & 0xFFF
    data = packet.data
    if len(data) > ETHERNET_BYTES + 4 and data[12] == 0x81 and data[13] == 0:
        return (data[14] << 8 | data[15]) & 0xFFF
    return None
