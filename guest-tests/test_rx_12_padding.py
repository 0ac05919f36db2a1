"""RX-12: zero padding of TLS 1.3 (RFC 8446 section 5.4) is content for the card, and the driver takes
it off. A record with nothing but zeros has no type: it is refused, however it has come.
"""

import pytest
from harness.tls_rx_flow import AS_ON_WIRE, DECRYPTED, MSS

from tlsnic.abi.enums import CipherSuite
from tlsnic.abi.suites import MAX_PLAINTEXT
from tlsnic.driver.tls.alerts import AlertDescription, TlsError
from tlsnic.driver.tls.framing import ALERT, HANDSHAKE, LaidOutRecord
from tlsnic.driver.tls.receive_stream import Offloaded

pytestmark = pytest.mark.row("RX-12")
every_suite = pytest.mark.parametrize(
    "suite",
    [
        CipherSuite.TLS13_AES_128_GCM,
        CipherSuite.TLS13_AES_256_GCM,
        CipherSuite.TLS13_CHACHA20_POLY1305,
    ],
    ids=lambda suite: suite.name,
)
FULLY, PARTLY, NOT = Offloaded
TICKET = bytes.fromhex("04 000003 010203")
"""A handshake message of type new_session_ticket."""


@every_suite
def test_rx_12_padding_is_taken_off(rx_flows, suite):
    """Of any length, also behind zeros that are data, and in packets of its own."""
    flow = rx_flows.open(suite, openssl=False)
    for size, padding in [(0, 0), (0, 9), (1, 1), (100, 255), (300, 3000), (5, MAX_PLAINTEXT - 5)]:
        flow.write_bytes(bytes(size), padding=padding)
    flow.write_bytes(TICKET, content_type=HANDSHAKE, padding=1000)
    flow.write_bytes(b"end")
    flow.send_rest()
    assert set(flow.states()) == {DECRYPTED}
    assert flow.check() == {FULLY: 8}
    assert [message.kind for message in flow.receiver.messages] == [TICKET[0]]


@every_suite
def test_rx_12_padding_of_records_in_software(rx_flows, suite):
    """The same when the records are as on the wire, or mixed."""
    flow = rx_flows.open(suite, openssl=False)
    first, second = (flow.write_bytes(b"abc" * 200, padding=500) for _ in range(2))
    flow.send(0, 700)
    flow.send(800, first.end)  # only padding and the tag
    flow.send(700, 800)
    rx_flows.send(flow.frame(second.start, second.end, ip_options=b"\1" * 4))
    assert flow.states() == [DECRYPTED, AS_ON_WIRE, AS_ON_WIRE, AS_ON_WIRE]
    assert flow.check() == {PARTLY: 1, NOT: 1}


def write_zeros(flow, content_bytes):
    """A record whose content is zeros, inner type and all."""
    header = bytes.fromhex("170303") + (content_bytes + 16).to_bytes(2, "big")
    number = len(flow.records)
    data = header + bytes(content_bytes + 16)
    return flow.add(LaidOutRecord(number, 0, data, len(header), content_bytes, 0))


@pytest.mark.parametrize("how", ["decrypted", "mixed", "as on the wire"])
@every_suite
def test_rx_12_nothing_but_zeros_is_refused(rx_flows, suite, how):
    """RFC 8446 section 5.4: unexpected_message. The card decrypts it, for it is authentic."""
    for size in (1, 2, 900):
        flow = rx_flows.open(suite, openssl=False)
        flow.write_bytes(b"before")
        record = write_zeros(flow, size)
        flow.send(0, record.start)
        if how == "decrypted":
            flow.send(record.start, record.end)
            assert flow.states() == [DECRYPTED, DECRYPTED]
        elif how == "mixed":
            flow.send(record.start, record.start + 6)
            flow.send(record.start + 5, record.end)
            assert flow.states() == [DECRYPTED, DECRYPTED, AS_ON_WIRE]
        else:
            flow.deliver(record.start, record.end)
            assert flow.states() == [DECRYPTED]
        assert flow.read() == b"before"
        with pytest.raises(TlsError) as caught:
            flow.read()
        assert caught.value.alert == AlertDescription.UNEXPECTED_MESSAGE
        assert flow.query().auth_failures == 0


def test_rx_12_record_of_the_largest_content(rx_flows):
    """2^14 + 1 bytes with the inner type, of which all but one may be padding; one more is data that
    the other end must not send (record_overflow)."""
    flow = rx_flows.open(CipherSuite.TLS13_AES_128_GCM, openssl=False)
    flow.write_bytes(bytes(MAX_PLAINTEXT))
    flow.write_bytes(b"", padding=MAX_PLAINTEXT)
    flow.write_bytes(b"end")
    flow.send_rest(mss=MSS)
    assert set(flow.states()) == {DECRYPTED}
    assert flow.check() == {FULLY: 3}


def test_rx_12_padded_alert_ends_the_connection(rx_flows):
    flow = rx_flows.open(CipherSuite.TLS13_CHACHA20_POLY1305, openssl=False)
    flow.write_bytes(b"last data")
    flow.write_bytes(b"\x01\x00", content_type=ALERT, padding=77)
    flow.send_rest()
    assert flow.states() == [DECRYPTED]
    flow.check()
    assert flow.receiver.close_notify
