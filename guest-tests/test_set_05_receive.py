"""SET-05 and SET-06 for receive: which connections a flow can be of, and which record it can start
with.
"""

import itertools

import pytest
from harness.tls_rx_flow import DECRYPTED, KINDS, NONE
from harness.tls_start import create, flow_block
from harness.traffic import IP4_NIC, IP4_PEER

from tlsnic.abi.enums import CipherSuite, Offload, TlsDirection, TlsFlowFlags
from tlsnic.driver.tls.session import FlowAddress

ROW_5, ROW_6 = pytest.mark.row("SET-05"), pytest.mark.row("SET-06")
GCM, GCM13 = CipherSuite.TLS12_AES_128_GCM, CipherSuite.TLS13_AES_128_GCM
MAPPED = "::ffff:"


def carry(flow, *sizes):
    """Records in several packets, all of which the card decrypts."""
    flow.write(*(sizes or (900, 4000, 1)))
    flow.send_rest()
    assert set(flow.states()) == {DECRYPTED}
    flow.check()


@ROW_5
@pytest.mark.parametrize("strip", [False, True], ids=["kept", "stripped"])
def test_set_05_receive_address_family_and_vlan(nic, rx_flows, strip):
    """The tag may stay in the frame or be taken out."""
    if strip:
        nic.offloads |= Offload.VLAN_STRIP
    for ip, vlan in itertools.product(("IP", "IPv6"), (None, 0, 1, 4094)):
        carry(rx_flows.open(ip=ip, vlan=vlan, openssl=False))


@ROW_5
def test_set_05_priority_of_the_tag_does_not_matter(rx_flows):
    flow = rx_flows.open(vlan=77)
    flow.write(400)
    size = flow.end // 4
    frames = [flow.frame(at, at + size) for at in range(0, 4 * size, size)]
    for number, priority in enumerate((0, 5 << 13, 1 << 12)):
        frame = frames[number]
        tag = int.from_bytes(frame[14:16], "big") | priority
        frames[number] = frame[:14] + tag.to_bytes(2, "big") + frame[16:]
    rx_flows.send(*frames, flow.frame(4 * size, flow.end))
    assert set(flow.states()) == {DECRYPTED}
    flow.check()


@ROW_5
def test_set_05_v4_mapped_is_ipv4_on_the_wire(nic, rx_flows):
    """For the driver as for the card."""
    address = FlowAddress.make(MAPPED + IP4_NIC, 5001, MAPPED + IP4_PEER, 443)
    assert address.ip_version == 4
    carry(rx_flows.open(address=address))
    flow = rx_flows.open(openssl=False, resync=None)
    handle = create(
        nic,
        flow_block(
            flow.session,
            flow.address,
            ip_version=6,
            direction=TlsDirection.RECEIVE,
            flags=TlsFlowFlags.RESYNC_HOST,
            local_address=bytes(10) + b"\xff\xff" + flow.address.local_address,
            remote_address=bytes(10) + b"\xff\xff" + flow.address.remote_address,
        ),
    )
    carry(flow)
    assert {one.packet.flow for one in flow.arrived} == {handle}


@ROW_5
def test_set_05_receive_flows_side_by_side(rx_flows):
    """The same ports in several VLANs, packet by packet in turn."""
    several = [
        rx_flows.open(
            suite,
            address=FlowAddress.make("192.0.2.1", 6000, "192.0.2.2", 443, vlan),
            openssl=False,
        )
        for vlan, suite in zip((None, 5, 6, 0), KINDS, strict=True)
    ]
    for flow in several:
        flow.write(1000, 1000)
    for at in range(0, 2000, 500):
        rx_flows.send(*[flow.frame(at, at + 500) for flow in several])
    rx_flows.send(*[flow.frame(2000, flow.end) for flow in several])
    for flow in several:
        assert set(flow.states()) == {DECRYPTED}
        assert {one.packet.flow for one in flow.arrived} == {flow.tag.handle}
        flow.check()


@ROW_5
def test_set_05_packets_of_another_connection_pass(nic, rx_flows):
    """They would fit the flow's stream in all but one thing; they come unchanged, with no mark."""
    flow = rx_flows.open(vlan=5)
    flow.write(1000, 1000)
    right = flow.address
    wrong = [
        {"vlan_id": None},
        {"vlan_id": 6},
        {"local_port": 5999},
        {"remote_port": 444},
        {"local_address": b"\xc0\0\2\7"},
        {"remote_address": b"\xc0\0\2\7"},
    ]
    sent = []
    for change in wrong:
        flow.address = right._replace(**change)
        sent.append(flow.frame(0, 800))
    flow.address = right
    state = flow.query()
    nic.set_rx_filter(promiscuous=True)
    for frame in sent:
        rx_flows.peer.send(frame)
        packet = nic.receive(5)
        assert (packet.data, packet.tls_state, packet.flow) == (frame, NONE, 0)
    assert flow.query() == state
    flow.send_rest()
    assert set(flow.states()) == {DECRYPTED}
    flow.check()


@ROW_6
@pytest.mark.parametrize("suite", KINDS, ids=lambda suite: suite.name)
def test_set_06_received_in_software_before(rx_flows, suite):
    """Offload starts after some records, as with FreeBSD's switch to ifnet TLS, or Linux's TLS_RX
    socket option after data has come."""
    before = rx_flows.open(suite, resync=None)
    before.write(100, 2000, 1)
    before.send_rest()
    assert set(before.states()) == {NONE}
    before.check()
    first = before.records[-1].number + 1
    flow = rx_flows.go_on(before)
    assert flow.query().record_number == first >= 3
    carry(flow)
    assert flow.query().record_number == first + 3


@ROW_6
def test_set_06_any_record_number_for_receive(rx_flows):
    for number in (1, 255, (1 << 32) - 1, 1 << 32, (1 << 64) - 4):
        for suite in (GCM, GCM13):
            flow = rx_flows.open(suite, openssl=False, record_number=number)
            assert flow.query().record_number == number
            carry(flow, 700, 700, 700)
            assert flow.query().record_number == number + 3
