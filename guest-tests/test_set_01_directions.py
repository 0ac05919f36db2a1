"""SET-01: transmit and receive are added and removed independently.

This card encrypts only. Its receive half must be refused with a reason, and the connection's other
direction must not notice: a stack then decrypts in software what comes as it was on the wire.
"""

import pytest
from harness.tls_flow import create, flow_block, make_session
from harness.traffic import tcp_layers

from tlsnic.abi.enums import CipherSuite, CommandStatus, Offload, TlsDirection
from tlsnic.abi.structures import TlsFlow
from tlsnic.driver.errors import CommandError

pytestmark = pytest.mark.row("SET-01")


def refused_receive_flow(nic, flow):
    """Ask for the receive half of a connection; the error."""
    session = make_session(flow.session.suite, seed=2)
    with pytest.raises(CommandError) as caught:
        create(nic, flow_block(session, flow.address, direction=TlsDirection.RECEIVE))
    return caught.value


def carry(flow, size=3000):
    """The transmit half works."""
    flow.write(size, 1)
    flow.send_rest()
    flow.check()


@pytest.mark.parametrize(
    "suite", [CipherSuite.TLS12_AES_128_GCM, CipherSuite.TLS13_AES_128_GCM], ids=lambda s: s.name
)
def test_set_01_transmit_comes_and_goes_without_receive(nic, flows, suite):
    flow = flows.open(suite)
    carry(flow)
    flow.free()
    carry(flow)  # software
    flow.offload()
    carry(flow)
    counters = nic.counters()
    assert (counters["TX_TLS_CTX"], counters["TX_TLS_DEL"]) == (2, 1)


def test_set_01_receive_is_refused_with_a_reason(nic, flows):
    assert nic.capabilities.tls_rx_suites == 0
    assert not nic.capabilities.offloads & Offload.RX_TLS
    flow = flows.open()
    error = refused_receive_flow(nic, flow)
    assert error.status == CommandStatus.UNSUPPORTED
    assert error.detail == TlsFlow.OFFSET_DIRECTION
    carry(flow)
    flow.free()
    assert refused_receive_flow(nic, flow).status == CommandStatus.UNSUPPORTED, "also alone"
    counters = nic.counters()
    assert (counters["TX_TLS_CTX"], counters["TX_TLS_DEL"]) == (1, 1), "nothing was made for it"


def test_set_01_receive_goes_on_in_software(nic, peer, flows):
    """What the far end's OpenSSL sends comes as it was on the wire."""
    flow = flows.open()
    refused_receive_flow(nic, flow)
    records = flow.tls.send(b"from the far end")
    address = nic.mac_address.hex(":")
    (frame,) = peer.craft(
        [*tcp_layers(address, to_nic=True, sport=443, dport=flow.address.local_port), records]
    )
    peer.send(frame)
    packet = nic.receive(5)
    assert packet is not None
    assert packet.data == frame
    assert records in packet.data
    carry(flow)
