"""Creates a flow in the card from a TLS flow block, which holds keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tlsnic.abi.enums import (
    CipherSuite,
    CommandStatus,
    Offload,
    TlsDirection,
    TlsFeature,
    TlsFlowFlags,
)
from tlsnic.abi.structures import Response, TlsFlow, TlsFlowCreateCommand, TlsFlowDestroyCommand
from tlsnic.driver.errors import CommandError, RingFullError, SendTagRefused
from tlsnic.driver.tls.session import FlowAddress, TlsSession

if TYPE_CHECKING:
    from tlsnic.driver.tls.tags import TlsTags

_RESYNC_FEATURES = {
    TlsFlowFlags.RESYNC_HOST: TlsFeature.RX_RESYNC_REQUEST,
    TlsFlowFlags.RESYNC_TAG: TlsFeature.RX_RESYNC_TAG,
}


def refused(error: CommandError) -> SendTagRefused:
    """The same as a refusal."""
    return SendTagRefused(error.status, str(error))


def flow_block(
    session: TlsSession,
    address: FlowAddress,
    tcp_sequence: int,
    record_number: int,
    rate_bytes_per_s: int = 0,
    direction: TlsDirection = TlsDirection.TRANSMIT,
    flags: int = 0,
) -> bytearray:
    """A TLS flow block, which holds keys: to be overwritten after use. flags: RESYNC_HOST and
    RESYNC_TAG; the others follow from the rest."""
    layout = session.layout
    if session.encrypt_then_mac:
        flags |= TlsFlowFlags.ENCRYPT_THEN_MAC
    if rate_bytes_per_s:
        flags |= TlsFlowFlags.RATE_LIMIT
    if address.vlan_id is not None:
        flags |= TlsFlowFlags.VLAN
    block = bytearray(TlsFlow.SIZE)
    TlsFlow.STRUCT.pack_into(
        block,
        0,
        direction,
        address.ip_version,
        flags,
        layout.version,
        address.vlan_id or 0,
        session.suite,
        record_number,
        tcp_sequence,
        address.local_port,
        address.remote_port,
        rate_bytes_per_s,
        len(session.key),
        len(session.iv),
        len(session.mac_key),
        session.max_plaintext,
        address.local_address,
        address.remote_address,
        session.key,
        session.iv,
        session.mac_key,
    )
    return block


def create_transmit_flow(
    nic: TlsTags,
    session: TlsSession,
    address: FlowAddress,
    tcp_sequence: int,
    record_number: int,
    rate_bytes_per_s: int,
) -> int:
    """The handle of a new flow. Raises SendTagRefused, and like `AdminQueue.execute`."""
    caps = nic.capabilities
    _check_suite(session, caps.tls_tx_suites)
    if rate_bytes_per_s and not caps.offloads & Offload.TX_RATE_LIMIT:
        raise SendTagRefused(CommandStatus.UNSUPPORTED, "the card has no rate limits")
    if not nic.tx_checksum:
        raise SendTagRefused(CommandStatus.DEPENDENCY, "transmit checksums are switched off")
    block = flow_block(session, address, tcp_sequence, record_number, rate_bytes_per_s)
    return _create(nic, block)


def create_receive_flow(
    nic: TlsTags, session: TlsSession, address: FlowAddress, tcp_sequence: int, flags: int
) -> int:
    """The same for receive. flags: RESYNC_HOST and RESYNC_TAG."""
    caps = nic.capabilities
    _check_suite(session, caps.tls_rx_suites)
    for flag, feature in _RESYNC_FEATURES.items():
        if flags & flag and not caps.tls_features & feature:
            raise SendTagRefused(CommandStatus.UNSUPPORTED, f"the card lacks {feature.name}")
    block = flow_block(
        session,
        address,
        tcp_sequence,
        session.record_number,
        direction=TlsDirection.RECEIVE,
        flags=flags,
    )
    return _create(nic, block)


def _check_suite(session: TlsSession, offered: int) -> None:
    """Keys are not shown to a card that cannot use them."""
    wanted = int(session.suite)
    if session.encrypt_then_mac:
        wanted |= CipherSuite.ENCRYPT_THEN_MAC
    if wanted & ~offered:
        raise SendTagRefused(
            CommandStatus.UNSUPPORTED, f"{session!r} is not among the card's suites"
        )


def _create(nic: TlsTags, block: bytearray) -> int:
    """`block` is overwritten. A flow that is made after the deadline is destroyed again."""

    def too_late(response: Response) -> None:
        """Nobody knows the flow that was made after all: away with it."""
        if response.status == CommandStatus.OK:
            try:
                nic.admin.submit(TlsFlowDestroyCommand(handle=response.result0))
            except RingFullError:
                return  # it goes with the next reset

    try:
        response = nic.admin.execute_secret(TlsFlowCreateCommand(), block, when_late=too_late)
    except CommandError as error:
        raise refused(error) from None
    return response.result0
