"""SET-05 and SET-06: which connections a flow can be of, and which record it can start with."""

import pytest
from harness.tls_flow import payloads
from harness.traffic import IP4_NIC, IP4_PEER

from tlsnic.abi.enums import CipherSuite, Diagnostic, TxStatus
from tlsnic.driver.tls.send_tag import OutcomeKind
from tlsnic.driver.tls.session import FlowAddress

ROW_5, ROW_6 = pytest.mark.row("SET-05"), pytest.mark.row("SET-06")
GCM, GCM13 = CipherSuite.TLS12_AES_128_GCM, CipherSuite.TLS13_AES_128_GCM
MAPPED = "::ffff:"


def carry(flow, **send):
    """Records in single packets, by segmentation, and sent again; all by the card."""
    start = flow.end
    flow.write(900, 16384)
    kinds = [flow.send(start, 1000, **send).kind]
    rest = flow.end - start - 1000 & 0xFFFF_FFFF
    kinds.append(flow.send(start + 1000, rest, mss=1400, **send).kind)
    kinds.append(flow.send(start + 300, 900, **send).kind)
    assert kinds == [OutcomeKind.IN_ORDER, OutcomeKind.IN_ORDER, OutcomeKind.PRESYNC]
    flow.check()


@ROW_5
@pytest.mark.parametrize("vlan", [None, 0, 1, 4094])
@pytest.mark.parametrize("ip", ["IP", "IPv6"])
def test_set_05_address_family_and_vlan(nic, flows, ip, vlan):
    """A VLAN tag is inserted by the card; its priority does not matter."""
    flow = flows.open(ip=ip, vlan=vlan)
    carry(flow)


@ROW_5
@pytest.mark.parametrize("ip", ["IP", "IPv6"])
def test_set_05_tag_in_the_frame(flows, ip):
    flow = flows.open(ip=ip, vlan=77)
    for priority in (0, 5 << 13, 1 << 12):
        carry(flow, vlan_inline=priority | 77)


@ROW_5
def test_set_05_v4_mapped_socket_sends_ipv4(flows):
    """A socket of AF_INET6 with mapped addresses is IPv4 on the wire."""
    address = FlowAddress.make(MAPPED + IP4_NIC, 5001, MAPPED + IP4_PEER, 443)
    assert address.ip_version == 4
    carry(flows.open(address=address))


@ROW_5
def test_set_05_v4_mapped_for_the_card(nic, flows):
    """The card too takes mapped addresses as the IPv4 addresses that they are."""
    flow = flows.open(software=True)
    mapped = [bytes(10) + b"\xff\xff" + end for end in flow.address[1:3]]
    wanted = flow.address
    flow.address = FlowAddress(6, *mapped, wanted.local_port, wanted.remote_port)
    flow.offload()
    flow.address = wanted
    carry(flow)


@ROW_5
def test_set_05_flows_side_by_side(flows):
    """The same addresses and ports in several VLANs and families, packet by packet in turn."""
    port = 6000
    several = [
        flows.open(
            GCM if vlan else GCM13,
            address=FlowAddress.make(ends[0], port, ends[1], 443, vlan),
            openssl=False,
        )
        for ends in (("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::2"))
        for vlan in (None, 5, 6)
    ]
    for flow in several:
        flow.write(1000, 1000)
    for turn in range(3):
        for flow in several:
            at, length = flow.sent_end, 700 if turn < 2 else flow.end - flow.sent_end & 0xFFFF_FFFF
            assert flow.send(at, length).kind is OutcomeKind.IN_ORDER
            # Not collect(): the streams' ports are the same.
            frames = flows.peer.receive_many(1)
            flows.scanner.check(frames)
            assert payloads(frames) == [(at, flow.expected(at, length))]


@ROW_5
@pytest.mark.parametrize(
    "wrong",
    [
        {"vlan_id": None},
        {"vlan_id": 6},
        {"local_port": 5999},
        {"remote_port": 444},
        {"local_address": b"\xc0\0\2\7"},
        {"remote_address": b"\xc0\0\2\7"},
    ],
    ids=str,
)
def test_set_05_packet_of_another_connection_is_dropped(nic, watch, flows, wrong):
    flow = flows.open(vlan=5)
    carry(flow)
    right = flow.address
    flow.write(500)
    at = flow.sent_end
    flow.address = right._replace(**wrong)
    watch.expect(Diagnostic.TLS_TUPLE)
    length = flow.end - at & 0xFFFF_FFFF
    headers = flow.headers(at, length)
    vlan = flow.address.vlan_id
    flow.tag.transmit(nic.tx[0], headers, at, flow.records.read(at, length), vlan=vlan)
    assert flows.collect() == []
    assert [drop.status for drop in nic.tx[0].drops] == [TxStatus.TLS_DROPPED]
    assert nic.counters()["TX_TLS_DROP_BAD_HANDLE"] == 1
    flow.address = right


@ROW_6
@pytest.mark.parametrize(
    "suite",
    [
        GCM,
        GCM13,
        CipherSuite.TLS12_CHACHA20_POLY1305,
        CipherSuite.TLS12_AES_CBC_SHA256,
        CipherSuite.TLS10_AES_CBC_SHA1,
    ],
    ids=lambda suite: suite.name,
)
def test_set_06_connection_that_was_in_software_before(flows, suite):
    """Offload starts after some records, as with FreeBSD's switch to ifnet TLS, or Linux's
    TLS_TX socket option after writes."""
    flow = flows.open(suite, software=True)
    flow.write(100, 2000, 1)
    flow.send_rest()
    flow.check()
    first = flow.framer.next_number
    assert first >= 3
    if suite is CipherSuite.TLS10_AES_CBC_SHA1:
        flow.session.iv[:] = flow.check()[-16:]
    flow.offload()
    assert flow.tag.query().record_number == first
    carry(flow)
    assert flow.tag.query().record_number == first + 2


@ROW_6
@pytest.mark.parametrize("number", [1, 255, (1 << 32) - 1, 1 << 32, (1 << 64) - 3])
def test_set_06_any_record_number(flows, number):
    flow = flows.open(GCM13, openssl=False, record_number=number)
    assert flow.tag.query().record_number == number
    carry(flow)
