"""RX-01: the card decrypts what comes in order, however the stream is cut into packets."""

import pytest
from harness.tls_rx_flow import AEAD_SUITES, DECRYPTED

pytestmark = pytest.mark.row("RX-01")


@pytest.mark.parametrize("suite", AEAD_SUITES, ids=lambda suite: suite.name)
def test_rx_01_what_openssl_sends(rx_flows, suite):
    flow = rx_flows.open(suite)
    flow.write(16384, 1, 4000, 700)
    flow.send_rest()
    assert set(flow.states()) == {DECRYPTED}
    flow.check()
