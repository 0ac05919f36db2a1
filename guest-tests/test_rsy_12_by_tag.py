"""RSY-12: a record's own authentication tag settles its number, and the host is not needed."""

import random

import pytest
from harness.tls_resync import answer, counts, hint, take_question, take_questions
from harness.tls_rx_flow import AS_ON_WIRE, AUTH_FAILED, DECRYPTED, KINDS
from harness.tls_start import make_session

from tlsnic.abi.enums import CipherSuite, CommandStatus, Diagnostic, TlsTrackerState
from tlsnic.driver.tls.framing import Framer
from tlsnic.driver.tls.receive_stream import Offloaded
from tlsnic.driver.tls.receive_tag import Resync
from tlsnic.driver.tls.software import SoftwareTls

OK = CommandStatus.OK
TLS12 = [CipherSuite.TLS12_AES_128_GCM, CipherSuite.TLS12_CHACHA20_POLY1305]
CHACHA13 = CipherSuite.TLS13_CHACHA20_POLY1305
CANDIDATE = 4
"""The record that the card looks at first, behind the loss."""


def opened(flows, suite, resync=Resync.TAG, count=12, **options):
    """A flow of records of one length, which has lost records 2 and 3."""
    flow = flows.open(suite, openssl=False, reader=False, resync=resync, **options)
    flow.write(*[400] * count)
    flow.send(0, flow.records[2].start)
    assert flow.states() == [DECRYPTED]
    return flow


def send_record(flow, number, payload=None):
    """The packet of this record, with other bytes in it; how it came."""
    record = flow.records[number]
    flow.flows.send(flow.frame(record.start, record.end, payload=payload))
    (state,) = flow.states()
    flow.sent_end = record.end
    return state


def wire(flow, number):
    record = flow.records[number]
    return bytes(flow.wire[record.start : record.end])


@pytest.mark.row("RSY-12")
@pytest.mark.parametrize("resync", [Resync.TAG, Resync.BOTH], ids=lambda r: r.name)
def test_rsy_12_resumes_without_the_host(nic, rx_flows, resync):
    """The first whole record behind the loss settles it, in one packet or in many."""
    for suite in KINDS:
        for mss in (1448, 100):
            flow = opened(rx_flows, suite, resync)
            first = flow.records[CANDIDATE]
            flow.send(first.start, first.end, mss=mss)
            assert set(flow.states()) == {AS_ON_WIRE}
            flow.send_rest(mss=mss)
            assert set(flow.states()) == {DECRYPTED}
            assert not take_questions(flow)
            state = flow.query()
            assert (state.questions, state.host_resyncs, state.tag_resyncs) == (0, 0, 1)
            assert state.record_number == flow.records[-1].number + 1
    assert counts(nic) == {"tag": 2 * len(KINDS)}


@pytest.mark.row("RSY-12")
def test_rsy_12_any_number_that_fits(rx_flows):
    """Many small records are lost, or one large one: the number is among those that fit into the
    gap. ChaCha20-Poly1305 takes one pass for each, and 64 are tried."""
    for suite in KINDS:
        for lost in (1, 13, 60):
            flow = rx_flows.open(suite, openssl=False, reader=False, resync=Resync.TAG)
            flow.write(100, *[0 if lost > 1 else 9000] * lost, 200, 300)
            flow.send(0, flow.records[1].start)
            flow.send(flow.records[1 + lost].start, flow.records[2 + lost].start)
            flow.send_rest()
            assert flow.states() == [DECRYPTED, AS_ON_WIRE, DECRYPTED], (suite, lost)


@pytest.mark.row("RSY-12")
def test_rsy_12_forged(rx_flows):
    """Bytes of nobody's, a tag of zeros, a record under another key: all with a right header. The
    next true record settles it."""
    for suite in KINDS:
        flow = opened(rx_flows, suite)
        source = random.Random(12)
        true = wire(flow, CANDIDATE)
        prefix = flow.session.layout.prefix_bytes
        other = make_session(suite, seed=77)
        framer = Framer(other)
        framer.next_number = CANDIDATE
        foreign = SoftwareTls(other, CANDIDATE).encrypt(framer.frame(23, bytes(400)))
        assert len(foreign) == len(true)
        forged = [
            true[:prefix] + source.randbytes(len(true) - prefix),
            true[:-16] + bytes(16),
            foreign,
        ]
        for number, payload in enumerate(forged, CANDIDATE):
            assert send_record(flow, number, payload) is AS_ON_WIRE
            state = flow.query()
            assert state.tracker_state == TlsTrackerState.SEARCH
            assert state.tag_resyncs == 0
        settled = CANDIDATE + len(forged)
        assert [send_record(flow, settled), send_record(flow, settled + 1)] == [
            AS_ON_WIRE,
            DECRYPTED,
        ]


@pytest.mark.row("RSY-12")
def test_rsy_12_damaged(rx_flows):
    """One bit of the content, of the tag, of the explicit nonce, or of the type that TLS 1.2 has
    in the clear."""
    for suite in KINDS:
        flow = opened(rx_flows, suite)
        layout = flow.session.layout
        places = [layout.prefix_bytes, 200, -17, -16, -1]
        places += [0] * (not layout.is_tls13) + [layout.prefix_bytes - 1] * bool(
            layout.explicit_bytes
        )
        for number, place in enumerate(places, CANDIDATE):
            payload = bytearray(wire(flow, number))
            payload[place] ^= 1
            assert send_record(flow, number, bytes(payload)) is AS_ON_WIRE
            assert flow.query().tag_resyncs == 0, place
        settled = CANDIDATE + len(places)
        assert send_record(flow, settled) is AS_ON_WIRE
        if settled + 1 < len(flow.records):
            assert send_record(flow, settled + 1) is DECRYPTED
        assert flow.query().tag_resyncs == 1


@pytest.mark.row("RSY-12")
def test_rsy_12_replayed(rx_flows):
    """A true record whose number can not be there: one that was decrypted, the one that was next
    when the loss came, or one from further on than fits into the gap."""
    for suite in KINDS:
        flow = opened(rx_flows, suite, count=130)
        replayed = [wire(flow, number) for number in (0, 1, 2, 129)]
        for number, payload in enumerate(replayed, CANDIDATE):
            assert send_record(flow, number, payload) is AS_ON_WIRE
            state = flow.query()
            assert (state.tag_resyncs, state.record_number) == (0, 2)
        settled = CANDIDATE + len(replayed)
        assert [send_record(flow, settled), send_record(flow, settled + 1)] == [
            AS_ON_WIRE,
            DECRYPTED,
        ]


@pytest.mark.row("RSY-12")
def test_rsy_12_replayed_from_the_gap(rx_flows, expect_diagnostic):
    """One of the records that were lost, put where another belongs, is whole and has a number that
    fits: no tag can tell where it belongs. Whoever does that breaks the connection in any case,
    as these bytes are in its stream. Nothing is decrypted with a wrong number: the next record
    fails, and the stack's hint brings the flow back."""
    for suite in KINDS:
        expect_diagnostic(Diagnostic.TLS_AUTH)
        flow = opened(rx_flows, suite)
        assert send_record(flow, CANDIDATE + 1, wire(flow, CANDIDATE - 1)) is AS_ON_WIRE
        assert flow.query().tag_resyncs == 1
        assert send_record(flow, CANDIDATE + 2) is AUTH_FAILED
        assert send_record(flow, CANDIDATE + 3) is AS_ON_WIRE
        assert flow.tracker == TlsTrackerState.HALTED
        following = flow.records[CANDIDATE + 4]
        assert hint(flow, following.start, following.number) == OK
        assert send_record(flow, CANDIDATE + 4) is DECRYPTED


@pytest.mark.row("RSY-12")
def test_rsy_12_falls_back_to_asking(nic, rx_flows):
    """With both ways: about a record that no tag fits, and about one that is not whole. Both ways
    are counted apart."""
    for suite in KINDS:
        flow = opened(rx_flows, suite, Resync.BOTH)
        damaged = bytearray(wire(flow, CANDIDATE))
        damaged[-1] ^= 1
        assert send_record(flow, CANDIDATE, bytes(damaged)) is AS_ON_WIRE
        asked = take_question(flow, flow.records[CANDIDATE].start)
        assert answer(flow, asked, CANDIDATE) == OK
        assert send_record(flow, CANDIDATE + 1) is DECRYPTED
        state = flow.query()
        assert (state.questions, state.host_resyncs, state.tag_resyncs) == (1, 1, 0)

        flow = opened(rx_flows, suite, Resync.BOTH)
        first = flow.records[CANDIDATE]
        flow.send(first.start, first.start + 100)
        flow.send(first.start + 150, first.end)
        assert flow.states() == [AS_ON_WIRE] * 2
        asked = take_question(flow, first.start)
        assert answer(flow, asked, CANDIDATE) == OK
        assert send_record(flow, CANDIDATE + 1) is DECRYPTED
    flows = 2 * len(KINDS)
    assert counts(nic) == {"req_pkt": flows, "req_start": flows, "req_end": flows, "res_ok": flows}


@pytest.mark.row("RSY-12")
def test_rsy_12_never_asks_by_tag_alone(nic, rx_flows):
    """However many records have no tag that fits."""
    flow = opened(rx_flows, CHACHA13, count=30)
    for number in range(CANDIDATE, 24):
        payload = bytearray(wire(flow, number))
        payload[-1] ^= 1
        assert send_record(flow, number, bytes(payload)) is AS_ON_WIRE
    assert not take_questions(flow)
    assert not counts(nic)
    assert [send_record(flow, number) for number in (24, 25)] == [AS_ON_WIRE, DECRYPTED]


@pytest.mark.row("RSY-12")
@pytest.mark.parametrize("suite", [TLS12[0], CHACHA13], ids=lambda s: s.name)
def test_rsy_12_openssl_writes(rx_flows, suite):
    """Its explicit nonces do not start at zero. All is read, and the driver answered nothing."""
    flow = rx_flows.open(suite, resync=Resync.TAG)
    flow.write(*[2000] * 12)
    lost = flow.records[5].start - 20
    flow.send(0, lost)
    flow.send(lost + 100, flow.records[9].start)
    flow.send(lost, lost + 100)
    flow.send_rest()
    found = flow.check()
    assert found[Offloaded.FULLY] >= 5
    state = flow.query()
    assert (state.tag_resyncs, state.host_resyncs, state.questions) == (1, 0, 0)
    counters = flow.tag.counters
    assert counters.rx_tls_resync_req_end == counters.rx_tls_resync_res_ok == 0
