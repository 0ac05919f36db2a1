"""What TLS flows of tests start from: sequence number, ports, keys, and the command that makes one."""

from __future__ import annotations

import random
from typing import Any

from tlsnic.abi.enums import CipherSuite, TlsFlowFlags
from tlsnic.abi.structures import TlsFlow, TlsFlowCreateCommand
from tlsnic.abi.suites import SUITES
from tlsnic.driver.nic import Nic
from tlsnic.driver.tls.session import FlowAddress, TlsSession

START = 0xFFFF_F000
"""TCP sequence number of a flow's first record: it wraps early in every test."""
FIRST_PORT = 5001
PEER_PORT = 443


def make_session(
    suite: CipherSuite, *, seed: int = 1, key_bytes: int | None = None, **fields: Any
) -> TlsSession:
    """Keys that depend on suite and seed only; `fields` are those of TlsSession."""
    layout = SUITES[suite]
    source = random.Random(f"{suite} {seed}")
    return TlsSession(
        suite,
        source.randbytes(key_bytes or max(layout.key_bytes)),
        source.randbytes(layout.iv_bytes),
        source.randbytes(layout.mac_key_bytes),
        **fields,
    )


def flow_block(
    session: TlsSession, address: FlowAddress, sequence: int = START, **changes: Any
) -> TlsFlow:
    """The block of a TLS_FLOW_CREATE as the driver writes it, but for `changes`."""
    flags = TlsFlowFlags.ENCRYPT_THEN_MAC if session.encrypt_then_mac else TlsFlowFlags(0)
    if address.vlan_id is not None:
        flags |= TlsFlowFlags.VLAN
    block = TlsFlow(
        ip_version=address.ip_version,
        flags=flags,
        tls_version=session.layout.version,
        vlan_id=address.vlan_id or 0,
        suite=session.suite,
        record_number=session.record_number,
        tcp_sequence=sequence,
        local_port=address.local_port,
        remote_port=address.remote_port,
        key_length=len(session.key),
        iv_length=len(session.iv),
        mac_key_length=len(session.mac_key),
        local_address=address.local_address,
        remote_address=address.remote_address,
        key=bytes(session.key),
        iv=bytes(session.iv),
        mac_key=bytes(session.mac_key),
    )
    return block._replace(**changes)


def create(nic: Nic, block: TlsFlow) -> int:
    """Have the card make a flow of `block`, behind the driver's back; its handle.

    Raises CommandError.
    """
    return nic.admin.execute_secret(TlsFlowCreateCommand(), bytearray(block.pack())).result0
