"""SET-01: transmit and receive are added and removed independently, also of one connection."""

import pytest
from harness.tls_rx_flow import AS_ON_WIRE, DECRYPTED, NONE
from harness.tls_start import make_session

from tlsnic.abi.enums import CipherSuite, Offload
from tlsnic.driver.tls.send_tag import OutcomeKind

pytestmark = pytest.mark.row("SET-01")
SUITES = [CipherSuite.TLS12_AES_128_GCM, CipherSuite.TLS13_AES_128_GCM]
every_suite = pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)


def carry(flow, by=OutcomeKind.IN_ORDER):
    """The transmit half works, and it is known who encrypts."""
    flow.write(3000, 1)
    assert {outcome.kind for outcome in flow.send_rest()} == {by}
    flow.check()


def bring(flow, how=DECRYPTED):
    """The receive half works, and it is known who decrypts."""
    flow.write(3000, 1)
    flow.send_rest()
    assert set(flow.states()) == {how}
    flow.check()


@every_suite
def test_set_01_transmit_comes_and_goes_without_receive(nic, flows, suite):
    flow = flows.open(suite)
    carry(flow)
    flow.free()
    carry(flow, OutcomeKind.SOFTWARE)
    flow.offload()
    carry(flow)
    counters = nic.counters()
    assert (counters["TX_TLS_CTX"], counters["TX_TLS_DEL"]) == (2, 1)
    assert (counters["RX_TLS_CTX"], counters["RX_TLS_DEL"]) == (0, 0)


@every_suite
def test_set_01_receive_comes_and_goes_without_transmit(nic, rx_flows, suite):
    flow = rx_flows.open(suite)
    bring(flow)
    flow.free()
    bring(flow, NONE)
    again = rx_flows.go_on(flow)
    bring(again)
    counters = nic.counters()
    assert (counters["RX_TLS_CTX"], counters["RX_TLS_DEL"]) == (2, 1)
    assert (counters["TX_TLS_CTX"], counters["TX_TLS_DEL"]) == (0, 0)


@every_suite
def test_set_01_both_of_one_connection(nic, flows, rx_flows, suite):
    """Each is made, freed and made again while the other one carries on, in all orders."""
    out = flows.open(suite, software=True)
    into = rx_flows.open(session=make_session(suite, seed=3), address=out.address)
    carry(out, OutcomeKind.SOFTWARE)
    bring(into)
    out.offload()
    assert out.tag.handle != into.tag.handle
    carry(out)
    bring(into)
    into.free()
    carry(out)
    bring(into, NONE)
    into = rx_flows.go_on(into)
    carry(out)
    bring(into)
    out.free()
    carry(out, OutcomeKind.SOFTWARE)
    bring(into)
    into.free()
    out.offload()
    carry(out)
    bring(into, NONE)
    counters = nic.counters()
    for way in ("TX", "RX"):
        assert (counters[f"{way}_TLS_CTX"], counters[f"{way}_TLS_DEL"]) == (2, 2 - (way == "TX"))


def test_set_01_one_loses_its_place_the_other_does_not_notice(flows, rx_flows):
    out = flows.open(SUITES[1])
    into = rx_flows.open(session=make_session(SUITES[1], seed=3), address=out.address)
    into.write(1000, 1000, 1000)
    into.send(into.records[1].start - 50, into.end)
    assert set(into.states()) == {AS_ON_WIRE}
    carry(out)
    into.send(0, into.records[1].start - 50)
    into.collect()
    into.asked(1)
    into.check()
    into.settled()
    bring(into)
    carry(out)


def test_set_01_switches_are_apart(nic, flows, rx_flows):
    """What one direction's switch stops is that direction's new flows."""
    suite = SUITES[0]
    nic.tx_tls = False
    bring(rx_flows.open(suite))
    nic.tx_tls = True
    nic.offloads &= ~Offload.RX_TLS
    carry(flows.open(suite))
