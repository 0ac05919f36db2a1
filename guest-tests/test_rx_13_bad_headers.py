"""RX-13: headers that no record of the flow can have. Nothing from there on is decrypted until the
card has found a record again; it neither hangs nor fails. The driver ends the connection, as
FreeBSD's KTLS does.
"""

import pytest
from harness.tls_rx_flow import AS_ON_WIRE, DECRYPTED

from tlsnic.abi.enums import CipherSuite, TlsTrackerState
from tlsnic.driver.tls.alerts import AlertDescription, TlsError
from tlsnic.driver.tls.receive_stream import Offloaded
from tlsnic.driver.tls.receive_tag import Resync

pytestmark = pytest.mark.row("RX-13")
GCM12, CHACHA12 = CipherSuite.TLS12_AES_128_GCM, CipherSuite.TLS12_CHACHA20_POLY1305
GCM13, CHACHA13 = CipherSuite.TLS13_AES_256_GCM, CipherSuite.TLS13_CHACHA20_POLY1305
VERSION, OVERFLOW = AlertDescription.PROTOCOL_VERSION, AlertDescription.RECORD_OVERFLOW
DECODE, UNEXPECTED = AlertDescription.DECODE_ERROR, AlertDescription.UNEXPECTED_MESSAGE
HEADERS = {
    "SSL 3.0": (GCM12, "17 0300 0040", VERSION),
    "TLS 1.1": (GCM12, "17 0302 0040", VERSION),
    "TLS 1.3 in the header": (GCM13, "17 0304 0040", VERSION),
    "version 0": (CHACHA13, "17 0000 0040", VERSION),
    "oversize, GCM": (GCM12, "17 0303 4019", OVERFLOW),
    "oversize, ChaCha20": (CHACHA12, "17 0303 4011", OVERFLOW),
    "oversize, TLS 1.3": (GCM13, "17 0303 4012", OVERFLOW),
    "largest": (CHACHA13, "17 0303 ffff", OVERFLOW),
    "zero, GCM": (GCM12, "17 0303 0000", DECODE),
    "zero, ChaCha20": (CHACHA12, "17 0303 0000", DECODE),
    "zero, TLS 1.3": (CHACHA13, "17 0303 0000", DECODE),
    "no room for nonce and tag": (GCM12, "17 0303 0017", DECODE),
    "no room for a tag": (CHACHA12, "17 0303 000f", DECODE),
    "no room for the inner type": (GCM13, "17 0303 0010", DECODE),
    "type 0": (GCM12, "00 0303 0040", UNEXPECTED),
    "type 19": (CHACHA12, "13 0303 0040", UNEXPECTED),
    "type 25": (GCM12, "19 0303 0040", UNEXPECTED),
    "handshake in TLS 1.3": (GCM13, "16 0303 0040", UNEXPECTED),
    "change_cipher_spec in TLS 1.3": (CHACHA13, "14 0303 0001", UNEXPECTED),
    "all zeros": (GCM13, "00 0000 0000", None),
    "all ones": (GCM12, "ff ffff ffff", None),
}
SPLITS = (3, 0, 5)
"""So much of the header is in a packet before."""


@pytest.mark.parametrize("case", HEADERS)
def test_rx_13_untouched_and_refused(rx_flows, scale, case):
    suite, header, alert = HEADERS[case]
    for split in SPLITS[: scale(3, 1)]:
        flow = rx_flows.open(suite, openssl=False)
        good = flow.write(100)[0]
        bad = flow.append(bytes.fromhex(header) + bytes(64))
        flow.write(200)
        flow.send_cut(*sorted({0, good.end, bad.start + split, flow.end}))
        states = flow.states()
        assert states[0] is DECRYPTED
        # Where the header is not whole yet, nothing is known.
        assert states[-1] is AS_ON_WIRE
        state = flow.query()
        assert state.tracker_state in (TlsTrackerState.SEARCH, TlsTrackerState.TRACK)
        assert state.auth_failures == 0
        flow.read()
        with pytest.raises(TlsError) as caught:
            flow.read()
        assert alert in (None, caught.value.alert)
        assert flow.read_bytes == 100


@pytest.mark.parametrize("resync", [Resync.HOST, Resync.TAG], ids=lambda resync: resync.name)
@pytest.mark.parametrize("suite", [GCM12, CHACHA12, GCM13, CHACHA13], ids=lambda s: s.name)
def test_rx_13_the_card_goes_on(rx_flows, suite, resync):
    """A stack that skips the rubbish is served again: the card finds the records behind it."""
    flow = rx_flows.open(suite, openssl=False, resync=resync, reader=False)
    flow.write(100)
    flow.append(b"\x17\x03\x01" + bytes(97))
    flow.write(300, 200)
    flow.send_rest()
    (one,) = flow.collect()
    assert (one.state, one.records) == (AS_ON_WIRE, 0)
    if resync is Resync.HOST:
        flow.asked(1)
        found = flow.records[2]
        assert flow.tag.question.tcp_sequence == flow.at(found.start)
        flow.tag.modify(flow.at(found.start), found.end - found.start, found.number)
        flow.settled()
    flow.write(400)
    flow.send_rest()
    assert flow.states() == [DECRYPTED]
    assert flow.tracker is TlsTrackerState.OFFLOAD


def test_rx_13_rubbish_does_not_hang_the_card(rx_flows):
    """Zeros, ones and endless look-alikes of headers, in a stream that never becomes TLS again; and
    another flow meanwhile."""
    rubbish = rx_flows.open(GCM12, openssl=False, resync=Resync.BOTH, reader=False)
    rubbish.append(bytes(4000))
    rubbish.append(b"\xff" * 4000)
    rubbish.append(b"\x17\x03\x03\x00\x20" * 800)
    rubbish.append(b"\x17\x03\x03" * 1300)
    other = rx_flows.open(GCM13)
    for begin in range(0, rubbish.end, 1400):
        rubbish.send(begin, min(begin + 1400, rubbish.end))
        other.write(500)
        other.send_rest()
    assert set(rubbish.states()) == {AS_ON_WIRE}
    assert set(other.states()) == {DECRYPTED}
    other.check()
    assert rubbish.query().auth_failures == 0


@pytest.mark.parametrize("suite", [GCM12, CHACHA12], ids=lambda suite: suite.name)
def test_rx_13_empty_record_of_tls_1_2_is_one(rx_flows, suite):
    """Zero bytes of content with a tag are allowed for application data (RFC 5246 section 6.2.1)."""
    flow = rx_flows.open(suite, openssl=False)
    for size in (100, 0, 0, 50, 0):
        flow.write_bytes(bytes(size))
    flow.send_rest(mss=60)
    assert set(flow.states()) == {DECRYPTED}
    assert flow.check() == {Offloaded.FULLY: 5}
