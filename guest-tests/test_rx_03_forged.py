"""RX-03, RX-04: a record that is not authentic. Its packet comes as on the wire, with nothing in it
decrypted, and the card leaves the flow alone until the stack says where to go on.
"""

import pytest
from harness.tls_rx_flow import AS_ON_WIRE, AUTH_FAILED, DECRYPTED, KINDS

from tlsnic.abi.enums import CipherSuite, Diagnostic, TlsTrackerState
from tlsnic.driver.tls.alerts import AlertDescription, TlsError
from tlsnic.driver.tls.receive_stream import Offloaded

every_kind = pytest.mark.parametrize("suite", KINDS, ids=lambda suite: suite.name)
GCM12 = CipherSuite.TLS12_AES_128_GCM
PLACES = {
    "type": lambda flow, record: record.start,
    "explicit nonce": lambda flow, record: record.start + 7,
    "first byte": lambda flow, record: record.start + flow.session.layout.prefix_bytes,
    "last byte": lambda flow, record: record.end - 17,
    "tag": lambda flow, record: record.end - 16,
    "end of the tag": lambda flow, record: record.end - 1,
}


def frame(flow, begin, end, *damaged):
    """Bytes `begin` to `end` of the stream, a bit flipped in each of those at `damaged`."""
    payload = bytearray(flow.payload(begin, end))
    for at in damaged:
        payload[at - begin] ^= 1
    flow.sent_end = max(flow.sent_end, end)
    return flow.frame(begin, end, payload=bytes(payload))


def failed_once(flow, nic):
    """The flow's accounts of one failed record."""
    state = flow.query()
    assert state.auth_failures == 1
    assert state.tracker_state == TlsTrackerState.HALTED
    event = flow.tag.flow_error
    assert event is not None
    assert (event.handle, event.code) == (flow.tag.handle, Diagnostic.TLS_AUTH)
    counters = flow.tag.counters
    assert counters.rx_tls_err == nic.counters()["RX_TLS_ERR"] == 1


@pytest.mark.row("RX-03")
@every_kind
def test_rx_03_bad_tag(nic, rx_flows, watch, suite):
    """At the record's last packet the tag is found wrong; what follows is not decrypted."""
    flow = rx_flows.open(suite)
    flow.write(500, 4000, 300)
    good, bad, last = flow.records
    watch.expect(Diagnostic.TLS_AUTH)
    flow.send_cut(good.start, good.end, bad.start + 1400, bad.start + 2800)
    rx_flows.send(frame(flow, bad.start + 2800, bad.end, bad.end - 1))
    states = flow.states()
    assert (states[0], states[-1]) == (DECRYPTED, AUTH_FAILED)
    # In the middle of the record nobody can know yet.
    assert set(states[1:-1]) <= {AS_ON_WIRE, DECRYPTED}
    failed_once(flow, nic)
    flow.send(last.start, last.end)
    assert flow.states() == [AS_ON_WIRE]
    flow.read()
    assert flow.read_bytes == 500
    with pytest.raises(TlsError) as caught:
        flow.read()
    assert caught.value.alert == AlertDescription.BAD_RECORD_MAC


@pytest.mark.row("RX-03")
@pytest.mark.parametrize("split", [False, True], ids=["in one packet", "header apart"])
@pytest.mark.parametrize("place", PLACES)
def test_rx_03_damaged_anywhere(nic, rx_flows, watch, place, split):
    """With right TCP checksums: an attacker has done it."""
    flow = rx_flows.open(GCM12)
    flow.write(100, 200)
    good, bad = flow.records
    at = PLACES[place](flow, bad)
    watch.expect(Diagnostic.TLS_AUTH)
    flow.send(good.start, good.end)
    middle = bad.start + flow.session.layout.prefix_bytes if split else bad.start
    parts = [(middle, bad.end)] if not split else [(bad.start, middle), (middle, bad.end)]
    rx_flows.send(*[frame(flow, a, b, *[at] * (a <= at < b)) for a, b in parts])
    assert flow.states()[-1] is AUTH_FAILED
    failed_once(flow, nic)
    assert flow.tag.flow_error.tcp_sequence == flow.at(middle)
    flow.read()
    with pytest.raises(TlsError):
        flow.read()


@pytest.mark.row("RX-03")
@every_kind
def test_rx_03_hint_ends_it(nic, rx_flows, watch, suite):
    """A stack that goes on after EBADMSG, as FreeBSD's, tells the card where."""
    flow = rx_flows.open(suite, reader=False)
    flow.write(900, 100, 100, 800)
    bad, second, third, last = flow.records
    watch.expect(Diagnostic.TLS_AUTH)
    rx_flows.send(frame(flow, bad.start, bad.end, bad.end - 1))
    flow.send(second.start, second.end)
    assert flow.states() == [AUTH_FAILED, AS_ON_WIRE]
    failed_once(flow, nic)
    flow.tag.hint(flow.at(third.start), third.number)
    flow.settled()
    flow.send(third.start, last.end)
    assert flow.states() == [DECRYPTED]
    state = flow.query()
    assert state.tracker_state == TlsTrackerState.OFFLOAD
    assert (state.auth_failures, state.host_resyncs, state.questions) == (1, 1, 0)
    assert state.record_number == last.number + 1


@pytest.mark.row("RX-03")
def test_rx_03_wrong_key(nic, rx_flows, watch):
    """The records of another connection, or with other keys: none is ever decrypted."""
    other = rx_flows.open(GCM12)
    other.write(1000, 1000, 1000)
    flow = rx_flows.open(GCM12, openssl=False, reader=False)
    flow.append(bytes(other.wire))
    watch.expect(Diagnostic.TLS_AUTH)
    flow.send_rest(mss=other.records[0].end)
    assert flow.states() == [AUTH_FAILED, AS_ON_WIRE, AS_ON_WIRE]
    failed_once(flow, nic)


@pytest.mark.row("RX-04")
@pytest.mark.parametrize("bad", [0, 2, 4], ids=["first", "in the middle", "last"])
@every_kind
def test_rx_04_bad_record_among_good_ones(nic, rx_flows, watch, suite, bad):
    """The packet is as on the wire, and software reads the good records before the bad one."""
    flow = rx_flows.open(suite)
    records = flow.write(*[100] * 5)
    watch.expect(Diagnostic.TLS_AUTH)
    rx_flows.send(frame(flow, 0, flow.end, records[bad].start + 30))
    (one,) = flow.collect()
    assert (one.state, one.records) == (AUTH_FAILED, 0)
    failed_once(flow, nic)
    assert flow.query().packets == 0
    if bad:
        flow.read()
    with pytest.raises(TlsError):
        flow.read()
    assert flow.read_bytes == 100 * bad
    assert flow.receiver.records == ({Offloaded.NOT: bad} if bad else {})


@pytest.mark.row("RX-04")
@every_kind
def test_rx_04_with_the_end_of_a_record_that_was_decrypted(rx_flows, watch, suite):
    """That record is good, and mixed now: its part in this packet is encrypted."""
    flow = rx_flows.open(suite)
    first, bad = flow.write(2000, 300)
    watch.expect(Diagnostic.TLS_AUTH)
    rx_flows.send(frame(flow, 0, 1200), frame(flow, 1200, bad.end, bad.end - 5))
    assert flow.states()[-1] is AUTH_FAILED
    flow.read()
    with pytest.raises(TlsError):
        flow.read()
    assert flow.read_bytes == 2000
    assert flow.receiver.records == {Offloaded.PARTLY: 1}
    assert first.end < bad.end


@pytest.mark.row("RX-04")
def test_rx_04_two_bad_records_fail_once(nic, rx_flows, watch):
    """The flow is halted at the first one."""
    flow = rx_flows.open(reader=False)
    records = flow.write(*[100] * 4)
    watch.expect(Diagnostic.TLS_AUTH)
    damaged = [record.end - 1 for record in records[1:3]]
    rx_flows.send(frame(flow, 0, flow.end, *damaged))
    assert flow.states() == [AUTH_FAILED]
    failed_once(flow, nic)
