"""VLAN interfaces (FreeBSD's if_vlan.c): a tag on every packet, send tags from the interface below."""

from __future__ import annotations

from errno import EAGAIN, EBUSY, ENETDOWN

from tlsnic.driver.ktls.ifnet import Ifnet, NicIfnet, Packet
from tlsnic.driver.ktls.snd_tag import SndTag, SndTagParams, StackedSndTag

_TPID = b"\x81\x00"
_MACS_BYTES = 12


class Vlan(Ifnet):
    """A VLAN on top of a card or a lagg. Attributes: `parent`, `vlan_id`."""

    def __init__(self, parent: Ifnet, vlan_id: int, name: str | None = None) -> None:
        """Raises ValueError for an identifier that is none, OSError (EBUSY) for one in use."""
        if not 0 < vlan_id < 4095:
            raise ValueError(f"VLAN identifier {vlan_id}")
        if vlan_id in parent.if_vlans:
            raise OSError(EBUSY, f"{parent.if_xname} has VLAN {vlan_id}")
        super().__init__(name or f"{parent.if_xname}.{vlan_id}", parent.if_lladdr)
        self.parent = parent
        self.vlan_id = vlan_id
        self._enabled = ~0
        self._tag = _TPID + vlan_id.to_bytes(2, "big")
        parent.if_vlans[vlan_id] = self
        parent.on_link.append(self._parent_changed)

    def detach(self) -> None:
        """Take it off its parent."""
        del self.parent.if_vlans[self.vlan_id]
        self.parent.on_link.remove(self._parent_changed)

    def _parent_changed(self, parent: Ifnet) -> None:
        self.link_state_changed()

    def leaf(self, flowid: int) -> NicIfnet | None:
        """The parent's."""
        return self.parent.leaf(flowid)

    @property
    def is_running(self) -> bool:
        """As the parent."""
        return self.if_up and self.parent.is_running

    @property
    def if_capabilities(self) -> int:
        """As the parent's (vlan_capabilities)."""
        return self.parent.if_capabilities

    @property
    def if_capenable(self) -> int:
        """What is on in the parent too."""
        return self.parent.if_capenable & self._enabled

    def set_capenable(self, capabilities: int) -> None:
        """For this VLAN only."""
        self._enabled = capabilities

    @property
    def max_frame_bytes(self) -> int:
        """As the parent's: a tag comes on top."""
        return self.parent.max_frame_bytes

    def if_transmit(self, packet: Packet) -> None:
        """Put the tag in, and hand the send tag inside of ours on (vlan_transmit). ENETDOWN when the
        VLAN is down."""
        if not self.if_up:
            raise self.drop(packet, ENETDOWN)
        tag = packet.snd_tag
        if tag is not None:
            if tag.ifp is not self:
                raise self.drop(packet, EAGAIN)
            assert isinstance(tag, StackedSndTag)
            packet.set_tag(tag.inner)
        headers = packet.outgoing.headers
        packet.outgoing = packet.outgoing._replace(
            headers=headers[:_MACS_BYTES] + self._tag + headers[_MACS_BYTES:]
        )
        self.parent.if_transmit(packet)

    def _snd_tag_alloc(self, params: SndTagParams) -> SndTag:
        """vlan_snd_tag_alloc: the card has to know the VLAN of the connection."""
        address = params.address._replace(vlan_id=self.vlan_id)
        inner = self.parent.snd_tag_alloc(params._replace(address=address))
        return StackedSndTag(self, inner)
