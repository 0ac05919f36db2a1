"""RX-05: what a wrong TCP or IP checksum is on may be anything: the card does not touch it."""

import pytest
from harness.tls_rx_flow import AS_ON_WIRE, DECRYPTED, KINDS

from tlsnic.abi.enums import RxFlags
from tlsnic.driver.tls.receive_stream import Offloaded

pytestmark = pytest.mark.row("RX-05")
every_kind = pytest.mark.parametrize("suite", KINDS, ids=lambda suite: suite.name)
CASES = {
    "TCP": ("IP", "tcp", RxFlags.L4_CHECKSUM_BAD),
    "IPv4": ("IP", "ip", RxFlags.IP_CHECKSUM_BAD),
    "TCP over IPv6": ("IPv6", "tcp", RxFlags.L4_CHECKSUM_BAD),
}


@pytest.mark.parametrize("case", CASES)
@every_kind
def test_rx_05_untouched(rx_flows, suite, case):
    """It is passed with its flag, as it came. When it comes right, the stream goes on."""
    ip, bad, flag = CASES[case]
    flow = rx_flows.open(suite, ip=ip)
    flow.write(3000, 200)
    flow.send(0, 1000)
    rx_flows.send(flow.frame(1000, 2000, bad=bad))
    assert flow.states() == [DECRYPTED, AS_ON_WIRE]
    packet = flow.arrived[-1].packet
    assert packet.rx_flags & flag
    assert packet.flow == flow.tag.handle
    state = flow.query()
    assert (state.tcp_sequence, state.packets, state.not_offloaded) == (flow.at(1000), 1, 1)
    assert state.out_of_order == 0
    flow.send(1000, flow.end)
    assert set(flow.states()) == {DECRYPTED}
    assert flow.check() == {Offloaded.FULLY: 2}


@pytest.mark.parametrize("case", CASES)
def test_rx_05_damaged_payload(rx_flows, case):
    """Noise on the wire in headers, content and tag: no record fails for it."""
    ip, bad, flag = CASES[case]
    flow = rx_flows.open(ip=ip)
    record, _ = flow.write(100, 200)
    damaged = []
    for at in (0, 4, 8, 50, record.end - 1):
        payload = bytearray(flow.payload(0, flow.end))
        payload[at] ^= 0x80
        damaged.append(flow.frame(0, flow.end, payload=bytes(payload), bad=bad))
    rx_flows.send(*damaged)
    arrived = flow.collect()
    assert {one.state for one in arrived} == {AS_ON_WIRE}
    assert all(one.packet.rx_flags & flag for one in arrived)
    flow.send_rest()
    assert flow.states() == [DECRYPTED]
    flow.check()
    assert flow.query().auth_failures == 0


def test_rx_05_the_packet_behind_it(rx_flows):
    """For the card the damaged packet is one that was lost."""
    flow = rx_flows.open()
    flow.write(3000, 200)
    rx_flows.send(flow.frame(0, 1000, bad="tcp"))
    flow.send_cut(1000, 2000)
    flow.send_cut(0, 1000)
    flow.send_cut(2000, flow.end)
    assert AS_ON_WIRE in flow.states()
    flow.check()
