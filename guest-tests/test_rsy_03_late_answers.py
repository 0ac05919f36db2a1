"""RSY-03: the answer comes late: the records that passed meanwhile are added to it."""

import random

import pytest
from harness.tls_resync import answer, counts, hint, take_question, take_questions
from harness.tls_rx_flow import AS_ON_WIRE, DECRYPTED, KINDS

from tlsnic.abi.enums import CipherSuite, CommandStatus, TlsTrackerState
from tlsnic.driver.tls.receive_stream import Offloaded
from tlsnic.driver.tls.receive_tag import Resync

OK = CommandStatus.OK
GCM13 = CipherSuite.TLS13_AES_128_GCM
CHACHA12 = CipherSuite.TLS12_CHACHA20_POLY1305
SMALLEST = {GCM13: 22, CHACHA12: 21}
"""Bytes of a record with nothing in it."""
PAST_16_BITS = 1 << 16


def lost(flows, suite, resync=Resync.HOST, sizes=(), **options):
    """Record 1's header is lost, record 2 is asked about; records of `sizes` follow, not sent."""
    flow = flows.open(suite, openssl=False, reader=False, resync=resync, **options)
    _, first, second = flow.write(200, 300, 400)
    flow.write(*sizes)
    flow.send(0, first.start)
    flow.send(first.start + 50, second.end)
    assert flow.states() == [DECRYPTED, AS_ON_WIRE]
    return flow, second


@pytest.mark.row("RSY-03")
def test_rsy_03_records_are_counted(rx_flows):
    """None, one, or more records than there are headers remembered, of any lengths."""
    source = random.Random(3)
    for suite in KINDS:
        for count in (0, 1, 7, 300):
            sizes = [source.randint(0, 90 if count > 7 else 900) for _ in range(count)]
            flow, record = lost(rx_flows, suite, sizes=[*sizes, 500, 600])
            asked = take_question(flow, record.start)
            flow.send(record.end, flow.records[3 + count].start)
            assert set(flow.states()) <= {AS_ON_WIRE}
            assert not take_questions(flow)
            assert answer(flow, asked, record.number) == OK
            assert flow.query().record_number == record.number + count + 1
            flow.send_rest()
            assert flow.states() == [DECRYPTED]


@pytest.mark.row("RSY-03")
@pytest.mark.parametrize("suite", [GCM13, CipherSuite.TLS12_AES_256_GCM], ids=lambda s: s.name)
def test_rsy_03_wherever_the_stream_is_then(rx_flows, suite):
    """At a record's start, in its header or nonce, in its content or tag: decryption begins with
    the first record whose content has not begun."""
    prefix = 5 + (8 if suite is CipherSuite.TLS12_AES_256_GCM else 0)
    for into in (0, 1, 4, 5, 6, 12, 13, 14, 200, 520):
        flow, record = lost(rx_flows, suite, sizes=(300, 500, 700))
        asked = take_question(flow, record.start)
        reached = flow.records[4]
        flow.send(record.end, reached.start + into)
        assert flow.states() == [AS_ON_WIRE]
        assert answer(flow, asked, record.number) == OK
        flow.send_cut(reached.start + into, reached.end, flow.end)
        begun = into >= prefix
        assert flow.states() == [AS_ON_WIRE if begun else DECRYPTED, DECRYPTED], into


@pytest.mark.row("RSY-03")
@pytest.mark.parametrize("suite", [GCM13, CHACHA12], ids=lambda s: s.name)
def test_rsy_03_more_than_16_bits_count(nic, rx_flows, scale, suite):
    """Linux's asynchronous resync gives up after 65535 records; this card counts on.

    The records meanwhile are the smallest that there can be, as many as fit into each packet, and
    have no true content: that is not looked at.
    """
    flow, record = lost(rx_flows, suite)
    asked = take_question(flow, record.start)
    size = SMALLEST[suite]
    one = b"\x17\3\3" + (size - 5).to_bytes(2, "big") + bytes(size - 5)
    in_packet = 1448 // size
    packets = scale(PAST_16_BITS // in_packet + 1, 20)
    burst = 40
    for first in range(0, packets, burst):
        count = min(burst, packets - first)
        begin = flow.end
        flow.append(one * in_packet * count)
        flow.send(begin, flow.end, mss=size * in_packet)
        assert set(flow.states()) == {AS_ON_WIRE}
    passed = packets * in_packet
    flow.skip_numbers(passed)
    assert answer(flow, asked, record.number) == OK
    flow.write(700, 800)
    assert flow.records[-1].number == record.number + passed + 2
    flow.send_rest()
    assert set(flow.states()) == {DECRYPTED}
    assert counts(nic) == {"req_pkt": 1, "req_start": 1, "req_end": 1, "res_ok": 1}


@pytest.mark.row("RSY-03")
def test_rsy_03_near_the_last_record_number(rx_flows):
    """All 64 bits of the number are added to. Behind the last one nothing is decrypted."""
    last = (1 << 64) - 1
    flow, record = lost(rx_flows, GCM13, record_number=last - 5, sizes=(100, 200, 300))
    asked = take_question(flow, record.start)
    assert asked.record_number == last - 4
    flow.send(record.end, flow.records[4].start)
    assert flow.states() == [AS_ON_WIRE]
    assert answer(flow, asked, record.number) == OK
    flow.send_rest()
    assert flow.states() == [DECRYPTED]
    assert flow.records[-1].number == last


@pytest.mark.row("RSY-03")
def test_rsy_03_late_hint(rx_flows):
    """A hint about one of the last 256 headers is as good; about one before these it is stale."""
    for behind in (1, 100, 255, 256):
        flow, record = lost(rx_flows, GCM13, Resync.NONE, sizes=[20] * 256 + [100])
        flow.send(record.end, flow.records[-1].start)
        assert set(flow.states()) == {AS_ON_WIRE}
        named = flow.records[-1 - behind]
        assert hint(flow, named.start, named.number) == OK, behind
        flow.send_rest()
        assert flow.states() == [DECRYPTED]

    flow, record = lost(rx_flows, GCM13, Resync.NONE, sizes=[20] * 256 + [100])
    flow.send(record.end, flow.records[-1].start)
    flow.collect()
    assert hint(flow, record.start, record.number) == CommandStatus.STALE
    assert flow.tracker == TlsTrackerState.TRACK


@pytest.mark.row("RSY-03")
@pytest.mark.parametrize("suite", [CipherSuite.TLS12_AES_128_GCM, GCM13], ids=lambda s: s.name)
def test_rsy_03_driver_answers_when_the_stream_is_in_order(rx_flows, suite):
    """OpenSSL writes. The lost packet comes again after 30 others, as over a long way: then the
    driver knows the record, and answers."""
    flow = rx_flows.open(suite)
    flow.write(*[700] * 40)
    lost, again = flow.records[2].start - 10, flow.records[2].start + 400
    flow.send(0, lost)
    flow.send(again, flow.records[33].start + 100, mss=800)
    assert flow.questions(flow.collect()) == 1
    flow.read()
    flow.settled()
    assert flow.tag.question is not None
    flow.send(lost, again)
    flow.collect()
    flow.read()
    assert flow.tag.question is None
    flow.settled()
    flow.send(flow.records[33].start + 100, flow.end)
    found = flow.check()
    # Record 0, as 1 ends in the lost packet; and all behind 33, which was half there.
    assert found[Offloaded.FULLY] == 1 + 6
    assert found[Offloaded.NOT] >= 30
    assert flow.query().host_resyncs == 1
