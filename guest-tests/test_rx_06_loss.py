"""RX-06, RX-07: packets are lost. The record boundaries behind the loss are known, or must be found
and confirmed first; either way the card decrypts again, and nothing is read wrongly.

Linux's tls-offload document, "Resync handling", RX.
"""

import itertools
import random

import pytest
from harness.tls_rx_flow import AS_ON_WIRE, DECRYPTED, KINDS

from tlsnic.abi.enums import CipherSuite, TlsTrackerState
from tlsnic.driver.tls.alerts import TlsError
from tlsnic.driver.tls.receive_stream import Offloaded
from tlsnic.driver.tls.receive_tag import Resync

every_kind = pytest.mark.parametrize("suite", KINDS, ids=lambda suite: suite.name)
two_kinds = pytest.mark.parametrize("suite", KINDS[::3], ids=lambda suite: suite.name)
every_resync = pytest.mark.parametrize(
    "resync", [Resync.HOST, Resync.TAG, Resync.BOTH, Resync.NONE], ids=lambda resync: resync.name
)
FULLY, PARTLY, NOT = Offloaded
GCM12 = CipherSuite.TLS12_AES_128_GCM


@pytest.mark.row("RX-06")
@every_resync
@two_kinds
def test_rx_06_loss_inside_a_record(rx_flows, suite, resync):
    """The rest of that record comes as on the wire, and the next one decrypted. Nobody asks."""
    flow = rx_flows.open(suite, resync=resync)
    first, second, _ = flow.write(3000, 900, 700)
    flow.send(0, 1000)
    flow.send_cut(2000, 2500, first.end)
    flow.send_cut(second.start, second.end, flow.end)
    assert flow.states() == [DECRYPTED, AS_ON_WIRE, AS_ON_WIRE, DECRYPTED, DECRYPTED]
    flow.send(1000, 2000)
    assert flow.states() == [AS_ON_WIRE]
    assert flow.check() == {PARTLY: 1, FULLY: 2}
    state = flow.query()
    assert state.tracker_state == TlsTrackerState.OFFLOAD
    assert (state.questions, state.host_resyncs, state.tag_resyncs) == (0, 0, 0)
    assert state.out_of_order == 2
    assert state.not_offloaded == 3


LOSSES = {
    "first byte of the content": (
        lambda flow, at: (at.start + flow.session.layout.prefix_bytes,) * 2
    ),
    "to the last byte": (lambda flow, at: (at.end - 40, at.end - 1)),
    "all but the header": (lambda flow, at: (at.start + 5, at.end - 1)),
    "the tag": (lambda flow, at: (at.end - 16, at.end - 1)),
    "explicit nonce": (lambda flow, at: (at.start + 5, at.start + 12)),
}


@pytest.mark.row("RX-06")
@pytest.mark.parametrize("case", LOSSES)
@two_kinds
def test_rx_06_edges(rx_flows, suite, case):
    """Lost is all up to a header, or all from the last byte of one."""
    flow = rx_flows.open(suite)
    _, hit, behind, _ = flow.write(100, 200, 300, 400)
    first, last = LOSSES[case](flow, hit)
    flow.send(0, first)
    if last + 1 < hit.end:
        flow.send(last + 1, hit.end)
    flow.send(behind.start, flow.end)
    states = flow.states()
    assert (states[0], states[-1]) == (DECRYPTED, DECRYPTED)
    assert set(states[1:-1]) <= {AS_ON_WIRE}
    flow.send(first, last + 1)
    flow.check()
    assert flow.query().questions == 0


@pytest.mark.row("RX-06")
def test_rx_06_packet_with_the_end_of_the_hit_record(rx_flows):
    """It comes decrypted, for the sake of the record that begins in it: nothing of that is lost. The
    hit one is mixed, so that its tag is still checked."""
    flow = rx_flows.open()
    flow.write(2000, 3000, 300)
    flow.send(0, 700)
    flow.send(1400, flow.end, mss=1400)
    assert set(flow.states()) == {DECRYPTED}
    flow.send(700, 1400)
    assert flow.states() == [AS_ON_WIRE]
    assert flow.check() == {PARTLY: 1, FULLY: 2}


@pytest.mark.row("RX-06")
def test_rx_06_forged_end_of_the_hit_record(rx_flows):
    """The card has decrypted it without a check: the driver must not take it for good."""
    flow = rx_flows.open()
    hit, behind = flow.write(2000, 300)
    flow.send(0, 700)
    payload = bytearray(flow.payload(1400, behind.end))
    payload[100] ^= 1
    rx_flows.send(flow.frame(1400, behind.end, payload=bytes(payload)))
    flow.send(700, 1400)
    assert flow.states() == [DECRYPTED, DECRYPTED, AS_ON_WIRE]
    with pytest.raises(TlsError):
        flow.read()
    assert hit.start == flow.read_bytes == 0


@pytest.mark.row("RX-06")
@every_kind
def test_rx_06_every_record_is_hit(rx_flows, suite):
    flow = rx_flows.open(suite)
    lost = []
    for record in flow.write(*[400] * 20):
        flow.send(record.start, record.start + 100)
        flow.send(record.start + 200, record.end)
        lost.append((record.start + 100, record.start + 200))
    states = flow.states()
    assert states == [DECRYPTED, AS_ON_WIRE] * 20
    for begin, end in lost:
        flow.send(begin, end)
    assert flow.check() == {PARTLY: 20}
    assert flow.query().questions == 0


def come_back(flow):
    """The card decrypts again before long: hints come less and less often."""
    for _ in range(40):
        flow.write(150)
        flow.send_rest()
        flow.collect()
        flow.read()
        flow.settled()
        if flow.arrived[-1].state is DECRYPTED:
            return
    raise AssertionError("offload has not come back")


def lose_header(flow, first_byte, last_byte, *, mss=500):
    """Send the stream so far without some bytes; what of it has come as on the wire."""
    flow.send(0, first_byte, mss=mss)
    flow.send(last_byte + 1, flow.end, mss=mss)
    return [one for one in flow.collect() if one.state is AS_ON_WIRE]


@pytest.mark.row("RX-07")
@pytest.mark.parametrize("resync", [Resync.HOST, Resync.TAG], ids=lambda resync: resync.name)
@every_kind
def test_rx_07_search_confirm_resume(rx_flows, suite, resync):
    """A header is lost: the card finds the next one, has it confirmed by the host, which knows it
    when its stream is in order, or by the record's tag, and decrypts again."""
    flow = rx_flows.open(suite, resync=resync)
    _, hit, *_ = flow.write(600, 700, 800, 900)
    untouched = lose_header(flow, hit.start - 20, hit.start + 100)
    assert untouched[0].start == hit.start + 101
    if resync is Resync.HOST:
        assert flow.tracker is TlsTrackerState.TRACK
        flow.asked(1)
        assert flow.questions(flow.arrived) == 1
        assert flow.tag.question.tcp_sequence == flow.at(hit.end)
        assert {one.state for one in untouched} == {AS_ON_WIRE}
    flow.send(hit.start - 20, hit.start + 101)
    flow.collect()
    flow.read()
    flow.settled()
    records = flow.write(400, 500)
    flow.send_cut(records[0].start, records[0].end, records[1].end)
    assert flow.states() == [DECRYPTED, DECRYPTED]
    flow.check()
    state = flow.query()
    assert state.tracker_state == TlsTrackerState.OFFLOAD
    by_host = resync is Resync.HOST
    assert (state.questions, state.host_resyncs, state.tag_resyncs) == (
        by_host,
        by_host,
        not by_host,
    )
    assert state.record_number == flow.records[-1].number + 1


@pytest.mark.row("RX-07")
@pytest.mark.parametrize("suite", [GCM12, CipherSuite.TLS13_AES_256_GCM], ids=lambda s: s.name)
def test_rx_07_every_byte_of_a_header(rx_flows, suite):
    """One byte of the header is lost: the rest of the record cannot be known."""
    for at in range(5):
        flow = rx_flows.open(suite)
        _, hit, _ = flow.write(300, 200, 250)
        untouched = lose_header(flow, hit.start + at, hit.start + at)
        assert untouched
        flow.asked(1)
        assert flow.tag.question.tcp_sequence == flow.at(hit.end)
        flow.send(hit.start + at, hit.start + at + 1)
        flow.collect()
        flow.read()
        flow.settled()
        flow.write(100)
        flow.send_rest()
        assert flow.states() == [DECRYPTED]
        flow.check()
        flow.close()


@pytest.mark.row("RX-07")
@every_kind
def test_rx_07_many_records_are_lost(rx_flows, suite):
    """Records pass while the question is open; their number is added to the answer's."""
    flow = rx_flows.open(suite)
    flow.write(*[100] * 30)
    begin, end = flow.records[3].start + 9, flow.records[17].start + 60
    lose_header(flow, begin, end - 1)
    flow.asked(1)
    flow.write(*[90] * 10)
    flow.send_rest(mss=200)
    assert set(flow.states()) == {AS_ON_WIRE}
    flow.send(begin, end)
    flow.collect()
    flow.read()
    flow.settled()
    flow.write(120, 130)
    flow.send_rest()
    assert set(flow.states()) == {DECRYPTED}
    flow.check()
    assert flow.query().record_number == flow.records[-1].number + 1


@pytest.mark.row("RX-07")
@every_kind
def test_rx_07_by_hints_alone(rx_flows, suite):
    """Neither asks the card nor tries it tags: the stack sees records that came as on the wire, and
    says where the next one starts (Linux: tls_device_core_ctrl_rx_resync)."""
    flow = rx_flows.open(suite, resync=Resync.NONE)
    hit, *_ = flow.write(300, 200)
    lose_header(flow, hit.start, hit.start + 30)
    flow.send(hit.start, hit.start + 31)
    flow.collect()
    flow.read()
    come_back(flow)
    flow.check()
    state = flow.query()
    assert state.tracker_state == TlsTrackerState.OFFLOAD
    assert (state.questions, state.tag_resyncs) == (0, 0)
    assert state.host_resyncs == 1


@pytest.mark.row("RX-07")
@every_resync
def test_rx_07_any_loss(rx_flows, scale, resync):
    """A tenth of all packets is lost, and comes again a while later."""
    source = random.Random(7)
    suites = [GCM12, CipherSuite.TLS13_CHACHA20_POLY1305]
    for suite in suites:
        flow = rx_flows.open(suite, resync=resync)
        late = []
        for _ in range(scale(12, 2)):
            flow.write(*[source.choice([20, 200, 900, 4000]) for _ in range(6)])
            cuts = [*range(flow.sent_end, flow.end, 700), flow.end]
            for begin, end in itertools.pairwise(cuts):
                if source.random() < 0.1:
                    late.append((begin, end))
                else:
                    flow.send(begin, end)
            for begin, end in late:
                flow.send(begin, end)
            late = []
            flow.collect()
            flow.read()
            flow.settled()
        flow.check()
        assert {one.state for one in flow.arrived} == {AS_ON_WIRE, DECRYPTED}
        come_back(flow)
        assert flow.query().auth_failures == 0
