"""RSY-01: ciphertext that looks like a record header is never confirmed.

A stream cipher lets plaintext be chosen so that its ciphertext is whatever a test wants: the
records here are true ones, by software TLS or by OpenSSL, with look-alikes in them.
"""

import random

import pytest
from harness.tls_resync import (
    answer,
    counts,
    header,
    hint,
    take_question,
    take_questions,
    write_holding,
)
from harness.tls_rx_flow import AS_ON_WIRE, DECRYPTED, KINDS

from tlsnic.abi.enums import CipherSuite, CommandStatus, TlsTrackerState
from tlsnic.driver.tls.receive_stream import Offloaded
from tlsnic.driver.tls.receive_tag import Resync

OK = CommandStatus.OK
OFFLOAD, SEARCH, TRACK = TlsTrackerState.OFFLOAD, TlsTrackerState.SEARCH, TlsTrackerState.TRACK
FAKE = 500
"""Where in record 1 the look-alike is."""


def record_one(flow, *lengths, beyond=0):
    """Record 0; record 1 with look-alikes at FAKE that say they have so many bytes, each where
    the one before it ends, 0: up to `beyond` bytes behind the end of record 1; records 2 to 7."""
    flow.write(600)
    start = flow.end
    size = flow.session.layout.prefix_bytes + 1000 + flow.session.layout.tag_bytes
    size += flow.session.layout.is_tls13
    pieces, at = {}, FAKE
    for length in lengths:
        length = length or size - at + beyond
        pieces[at] = header(flow, length)
        at += length
    record = write_holding(flow, 1000, pieces)
    assert (record.start, record.end) == (start, start + size)
    flow.write(600, 600, 600, 600, 600, 600)
    return start


def lose_header(flow, start, *cuts):
    """Send record 0, and record 1 without its first 300 bytes, cut at these places of it."""
    flow.send(0, start)
    assert flow.states() == [DECRYPTED]
    places = [start + 300, *[start + cut for cut in cuts], flow.records[1].end]
    flow.send_cut(*places)
    assert set(flow.states()) == {AS_ON_WIRE}


def send_record(flow, number):
    """One packet with this record; how it came."""
    flow.send(flow.records[number].start, flow.records[number].end)
    (state,) = flow.states()
    return state


@pytest.mark.row("RSY-01")
def test_rsy_01_host_says_that_it_is_none(nic, rx_flows):
    """The look-alike leads right to a true record, and that to the next: only the host can tell."""
    for suite in KINDS:
        flow = rx_flows.open(suite, openssl=False, reader=False)
        start = record_one(flow, 0)
        lose_header(flow, start)
        asked = take_question(flow, start + FAKE)
        assert send_record(flow, 2) is AS_ON_WIRE
        assert flow.tracker == TRACK
        assert answer(flow, asked, None) == OK
        assert flow.tracker == SEARCH
        assert send_record(flow, 3) is AS_ON_WIRE
        asked = take_question(flow, flow.records[3].start)
        assert send_record(flow, 4) is AS_ON_WIRE
        assert answer(flow, asked, flow.records[3].number) == OK
        assert send_record(flow, 5) is DECRYPTED
        assert not take_questions(flow)
        state = flow.query()
        assert (state.questions, state.host_resyncs, state.auth_failures) == (2, 1, 0)
    assert counts(nic) == {
        "req_pkt": 2 * len(KINDS),
        "req_start": 2 * len(KINDS),
        "req_end": 2 * len(KINDS),
        "res_ok": len(KINDS),
        "res_skip": len(KINDS),
    }


@pytest.mark.row("RSY-01")
@pytest.mark.parametrize("resync", [Resync.HOST, Resync.BOTH, Resync.TAG], ids=lambda r: r.name)
def test_rsy_01_leads_to_no_header(rx_flows, resync):
    """Look-alikes that lead to one another and then astray are given up at the first mismatch:
    the host is not troubled, and the true header behind them is found in the same packet."""
    for suite in KINDS:
        flow = rx_flows.open(suite, openssl=False, reader=False, resync=resync)
        start = record_one(flow, 100, 64, 200, 77)
        flow.send(0, start)
        flow.send_cut(start + 300, flow.records[2].end)
        assert flow.states() == [DECRYPTED, AS_ON_WIRE]
        if resync is Resync.HOST:
            asked = take_question(flow, flow.records[2].start)
            assert answer(flow, asked, flow.records[2].number) == OK
        assert not take_questions(flow)
        assert send_record(flow, 3) is DECRYPTED
        state = flow.query()
        by_host = resync is Resync.HOST
        assert (state.questions, state.host_resyncs, state.tag_resyncs) == (
            by_host,
            by_host,
            not by_host,
        )
        assert state.auth_failures == 0


@pytest.mark.row("RSY-01")
@pytest.mark.parametrize("cut", range(1, 5))
def test_rsy_01_look_alike_in_two_packets(nic, rx_flows, cut):
    """It is found all the same; the packet behind it shows that it leads astray, and the question
    is dropped unanswered. The search goes on behind it."""
    flow = rx_flows.open(CipherSuite.TLS13_AES_128_GCM, openssl=False, reader=False)
    start = record_one(flow, 100)
    lose_header(flow, start, FAKE + cut, FAKE + 60)
    asked = take_question(flow, start + FAKE)
    assert answer(flow, asked, 1) == CommandStatus.STALE
    assert flow.tracker == SEARCH
    assert send_record(flow, 2) is AS_ON_WIRE
    assert answer(flow, take_question(flow, flow.records[2].start), 2) == OK
    assert send_record(flow, 3) is DECRYPTED
    assert counts(nic) == {
        "req_pkt": 2,
        "req_start": 2,
        "req_end": 1,
        "req_skip": 1,
        "res_ok": 1,
        "res_skip": 1,
    }


@pytest.mark.row("RSY-01")
def test_rsy_01_no_tag_fits(nic, rx_flows):
    """A look-alike, and all the bytes that it says it has: no tag is there. The true record that
    begins inside of these is found, and settles its number."""
    for suite in KINDS:
        flow = rx_flows.open(suite, openssl=False, reader=False, resync=Resync.TAG)
        start = record_one(flow, 0, beyond=200)
        flow.send(0, start)
        flow.send_cut(start + 300, flow.records[2].end)
        assert flow.states() == [DECRYPTED, AS_ON_WIRE]
        assert send_record(flow, 3) is DECRYPTED
        state = flow.query()
        assert (state.tag_resyncs, state.questions, state.auth_failures) == (1, 0, 0)
    assert counts(nic) == {"tag": len(KINDS)}


@pytest.mark.row("RSY-01")
def test_rsy_01_no_tag_fits_and_the_host_is_asked(nic, rx_flows):
    """With both ways the host has the last word on it, and says no."""
    for suite in KINDS:
        flow = rx_flows.open(suite, openssl=False, reader=False, resync=Resync.BOTH)
        start = record_one(flow, 0)
        lose_header(flow, start)
        asked = take_question(flow, start + FAKE)
        assert answer(flow, asked, None) == OK
        assert send_record(flow, 2) is AS_ON_WIRE
        assert send_record(flow, 3) is DECRYPTED
    names = ("req_pkt", "req_start", "req_end", "res_skip", "tag")
    assert counts(nic) == dict.fromkeys(names, len(KINDS))


@pytest.mark.row("RSY-01")
def test_rsy_01_without_questions(rx_flows):
    """A flow that is resynced by hints only follows the look-alike for ever, and decrypts nothing:
    the hint, for a record that it has followed to, is what ends it."""
    flow = rx_flows.open(
        CipherSuite.TLS13_CHACHA20_POLY1305, openssl=False, reader=False, resync=Resync.NONE
    )
    start = record_one(flow, 0)
    lose_header(flow, start)
    assert [send_record(flow, number) for number in (2, 3, 4)] == [AS_ON_WIRE] * 3
    assert flow.tracker == TRACK
    assert hint(flow, flow.records[3].start, flow.records[3].number) == OK
    assert send_record(flow, 5) is DECRYPTED


def stuffed(flow, size, seed):
    """A record whose ciphertext is full of look-alikes, at random distances, with lengths that
    fit: some lead to one another, some to the next record, most to nothing."""
    source = random.Random(seed)
    layout = flow.session.layout
    end = layout.prefix_bytes + size + layout.is_tls13 + layout.tag_bytes
    pieces, at = {}, layout.prefix_bytes
    while (at := at + source.randint(5, 60)) + 5 <= layout.prefix_bytes + size:
        length = source.choice([end - at, source.randint(30, 200), source.randint(30, 2000)])
        pieces[at] = header(flow, max(length, 30))
    write_holding(flow, size, pieces)


@pytest.mark.row("RSY-01")
@pytest.mark.parametrize("resync", [Resync.HOST, Resync.TAG, Resync.BOTH], ids=lambda r: r.name)
@pytest.mark.parametrize(
    "suite",
    [CipherSuite.TLS12_CHACHA20_POLY1305, CipherSuite.TLS13_AES_256_GCM],
    ids=lambda s: s.name,
)
def test_rsy_01_stream_full_of_them(rx_flows, scale, suite, resync):
    """OpenSSL writes it; headers are lost and sent again, the driver answers: all is read, and
    offload has come back by true records only."""
    flow = rx_flows.open(suite, resync=resync)
    source = random.Random(f"{suite} {resync}")
    for seed in range(scale(12, 2)):
        first = len(flow.records)
        flow.write(100)
        for number in range(3):
            stuffed(flow, 700, 100 * seed + number)
        flow.write(500, 400)
        lost = flow.records[first + 1].start - source.randint(0, 4)
        again = lost + source.randint(5, 400)
        flow.send(flow.sent_end, lost)
        flow.send(again, flow.records[first + 4].end, mss=500)
        flow.send(lost, again)
        flow.collect()
        flow.read()
        flow.settled()
        flow.send_rest()
        flow.collect()
        flow.read()
        flow.settled()
    for _ in range(8):  # whatever is still followed ends in these
        flow.write(900)
        flow.send_rest()
        flow.collect()
        flow.read()
        flow.settled()
    before = flow.check()[Offloaded.FULLY]
    flow.write(200, 300, 400)
    flow.send_rest()
    found = flow.check()
    assert found[Offloaded.FULLY] == before + 3
    assert sum(found.values()) == len(flow.records)
    state = flow.query()
    assert state.tracker_state == OFFLOAD
    assert state.auth_failures == 0
    assert state.host_resyncs == flow.tag.counters.rx_tls_resync_res_ok
    assert state.host_resyncs + state.tag_resyncs > 0
