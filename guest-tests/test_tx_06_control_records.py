"""TX-06: alert and handshake records are encrypted like data, and OpenSSL takes them as such.

As with Linux's TLS_SET_RECORD_TYPE and FreeBSD's TLS_SET_RECORD_TYPE control messages, the host
says the type of a record, and the card does not look into it.
"""

import pytest
from harness.tls_flow import KEY_UPDATE
from harness.tls_forms import LAYOUTS
from harness.tls_open import open_records
from harness.tls_start import make_session
from harness.tls_stream import marked

from tlsnic.abi.suites import SUITES
from tlsnic.driver.tls.framing import ALERT, APPLICATION_DATA, HANDSHAKE, HEARTBEAT

pytestmark = pytest.mark.row("TX-06")

WARNING, CLOSE_NOTIFY, USER_CANCELED, DECRYPT_ERROR = 1, 0, 90, 51
FATAL = 2
TLS13 = [suite for suite, layout in SUITES.items() if layout.is_tls13]


@pytest.mark.parametrize("form", LAYOUTS, ids=str)
def test_tx_06_alerts(flows, form):
    """user_canceled between data changes nothing; close_notify ends the stream."""
    flow = flows.open(**form._asdict())
    flow.write(100)
    flow.write_bytes(bytes([WARNING, USER_CANCELED]), content_type=ALERT)
    flow.write(2000, 100)
    flow.send_rest(1000)
    flow.check()
    assert not flow.tls.closed
    flow.write_bytes(bytes([WARNING, CLOSE_NOTIFY]), content_type=ALERT)
    flow.send_rest()
    flow.check()
    assert flow.tls.closed


@pytest.mark.parametrize("form", LAYOUTS, ids=str)
def test_tx_06_fatal_alert(flows, form):
    """The far end reads which alert it is, so it was decrypted as one."""
    flow = flows.open(**form._asdict())
    flow.write(10)
    flow.send_rest()
    before = flow.check()
    flow.write_bytes(bytes([FATAL, DECRYPT_ERROR]), content_type=ALERT)
    flow.send_rest()
    flows.collect()
    wire = flow.stream.wire()
    assert wire == flow.expected_all()
    assert "ALERT_DECRYPT_ERROR" in flow.tls.expect_alert(wire[len(before) :])


@pytest.mark.parametrize("suite", TLS13, ids=lambda suite: suite.name)
@pytest.mark.parametrize("packet_bytes", [60000, 33])
def test_tx_06_key_updates(flows, suite, packet_bytes):
    """The KeyUpdate has the old key and what follows the next one, also within a packet."""
    flow = flows.open(suite)
    for _ in range(3):
        flow.write(500, 1)
        flow.key_update()
        flow.write(700)
        flow.send_rest(packet_bytes, mss=1400)
        flow.check()
    flow.write_bytes(bytes([WARNING, CLOSE_NOTIFY]), content_type=ALERT)
    flow.send_rest()
    flow.check()
    assert flow.tls.closed


def test_tx_06_types_share_a_segment(flows):
    """Data, alerts, handshake messages and heartbeats follow each other in one packet."""
    for form in LAYOUTS:
        flow = flows.open(session=make_session(**form._asdict()))
        kinds = (APPLICATION_DATA, ALERT, HANDSHAKE, HEARTBEAT) * 3
        written = [(kind, marked(10 + n, n)) for n, kind in enumerate(kinds)]
        written.append((HANDSHAKE, KEY_UPDATE))
        for kind, content in written:
            flow.write_bytes(content, content_type=kind)
        flow.send_rest(4000, mss=1448)
        found = open_records(flow.tag.session, flow.check())
        assert [(record.kind, record.content) for record in found] == written
        outer = [23] * len(written) if form.layout.is_tls13 else [kind for kind, _ in written]
        assert [record.header[0] for record in found] == outer
