"""Link aggregation (FreeBSD's if_lagg.c): several cards as one interface.

`failover`: all packets leave by the first member that runs, the primary one if it does. `loadbalance`
and `lacp`: by a hash of the flow over the members that run (the protocol LACP itself is not spoken).
A connection's send tag is of the member that its packets take when the tag is made; when they take
another one later, they are dropped with EAGAIN until the tag is made anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from errno import EAGAIN, ENETDOWN, EOPNOTSUPP
from typing import Literal

from tlsnic.driver.ktls.ifnet import Ifnet, NicIfnet, Packet
from tlsnic.driver.ktls.snd_tag import IF_SND_TAG_TYPE_TLS, SndTag, SndTagParams, StackedSndTag

LaggProto = Literal["failover", "loadbalance", "lacp"]


class Lagg(Ifnet):
    """Attributes: `members` (the first is the primary one), `laggproto`; `failover_rx_all`: take
    packets of members that are not active too (net.link.lagg.failover_rx_all)."""

    def __init__(
        self,
        members: Iterable[NicIfnet],
        name: str = "lagg0",
        *,
        laggproto: LaggProto = "failover",
        failover_rx_all: bool = False,
    ) -> None:
        """The Ethernet address is the first member's, and all take frames to it. Raises ValueError
        without members, or with one of another lagg."""
        self.members = list(members)
        if not self.members or any(member.if_lagg is not None for member in self.members):
            raise ValueError("a lagg has members, which are in no other")
        super().__init__(name, self.members[0].if_lladdr)
        self.laggproto = laggproto
        self.failover_rx_all = failover_rx_all
        for member in self.members:
            member.if_lagg = self
            member.accept_lladdr(self.if_lladdr)
            member.on_link.append(self._member_changed)
        self._capenable = self.if_capabilities
        self._active = self._find_active()

    def _member_changed(self, member: Ifnet) -> None:
        active = self._find_active()
        if active != self._active:
            self._active = active
            self.link_state_changed()

    def _find_active(self) -> list[NicIfnet]:
        running = [member for member in self.members if member.is_running]
        return running[:1] if self.laggproto == "failover" else running

    @property
    def active(self) -> list[NicIfnet]:
        """Members that packets leave by."""
        return self._active

    def leaf(self, flowid: int) -> NicIfnet | None:
        """lookup_snd_tag_port: the member for a connection."""
        active = self._active
        return active[flowid % len(active)] if active else None

    @property
    def is_running(self) -> bool:
        """Whether any member does."""
        return self.if_up and bool(self._active)

    @property
    def if_capabilities(self) -> int:
        """What all members can (lagg_capabilities)."""
        found = ~0
        for member in self.members:
            found &= member.if_capabilities
        return found

    @property
    def if_capenable(self) -> int:
        """What is on in all members, and here."""
        found = self._capenable
        for member in self.members:
            found &= member.if_capenable
        return found

    def set_capenable(self, capabilities: int) -> None:
        """For all members, as a lagg does (lagg_setcaps)."""
        self._capenable = capabilities
        for member in self.members:
            member.set_capenable(capabilities)

    def capabilities_changed(self) -> None:
        """A member's were switched: what all members have is what the lagg has."""
        self._capenable = self.if_capabilities

    @property
    def max_frame_bytes(self) -> int:
        """What all members can send."""
        return min(member.max_frame_bytes for member in self.members)

    def takes(self, member: NicIfnet) -> bool:
        """Whether a packet that came in at a member is taken (lagg_input)."""
        return self.if_up and (
            self.laggproto != "failover" or self.failover_rx_all or member in self._active
        )

    def if_transmit(self, packet: Packet) -> None:
        """Hand it to the member for it; EAGAIN if its tag is another member's (lagg_enqueue).
        ENETDOWN when the lagg is down, or no member runs."""
        tag = packet.snd_tag
        if tag is not None and tag.ifp is not self:
            raise self.drop(packet, EAGAIN)
        member = self.leaf(packet.flowid)
        if member is None or not self.if_up:
            raise self.drop(packet, ENETDOWN)
        if tag is not None:
            assert isinstance(tag, StackedSndTag)
            if tag.inner.ifp is not member:
                raise self.drop(packet, EAGAIN)
            packet.set_tag(tag.inner)
        member.if_transmit(packet)

    def _snd_tag_alloc(self, params: SndTagParams) -> SndTag:
        """lagg_snd_tag_alloc. Receive tags are made on the leaf that packets come in at."""
        member = self.leaf(params.flowid)
        if member is None or params.type != IF_SND_TAG_TYPE_TLS:
            raise OSError(EOPNOTSUPP, f"no tag on {self.if_xname}")
        return StackedSndTag(self, member.snd_tag_alloc(params))
