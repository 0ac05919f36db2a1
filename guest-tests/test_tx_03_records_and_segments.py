"""TX-03 and TX-04: records and TCP segments need not begin or end together, whoever cuts."""

import itertools
import random

import pytest
from harness.tls_flow import payloads
from harness.tls_forms import LAYOUTS

from tlsnic.abi.enums import CipherSuite
from tlsnic.abi.suites import MAX_PLAINTEXT, SUITES

SUITE_PER_LAYOUT = [
    CipherSuite.TLS12_AES_128_GCM,
    CipherSuite.TLS13_CHACHA20_POLY1305,
    CipherSuite.TLS10_AES_CBC_SHA1,
    CipherSuite.TLS12_AES_CBC_SHA256,
]


def sent_segments(flows, flow):
    """What has come, and where in the stream each segment starts."""
    found = payloads(flows.collect())
    starts = [(sequence - flow.start) % 2**32 for sequence, _ in found]
    return starts, [payload for _, payload in found]


@pytest.mark.row("TX-03")
@pytest.mark.parametrize("suite", SUITE_PER_LAYOUT, ids=lambda suite: suite.name)
@pytest.mark.parametrize("by_card", [True, False], ids=["by card", "by host"])
def test_tx_03_one_record_over_many_segments(flows, suite, by_card):
    flow = flows.open(suite)
    flow.write(MAX_PLAINTEXT)
    length = (flow.end - flow.start) % 2**32
    if by_card:
        flow.send_rest(length, mss=536)
    else:
        flow.send_rest(536)
    starts, segments = sent_segments(flows, flow)
    assert starts == list(range(0, length, 536))
    assert {len(segment) for segment in segments[:-1]} == {536}
    flow.check()


@pytest.mark.row("TX-03")
@pytest.mark.parametrize("suite", SUITE_PER_LAYOUT, ids=lambda suite: suite.name)
@pytest.mark.parametrize("by_card", [True, False], ids=["by card", "by host"])
def test_tx_03_many_records_in_one_segment(flows, suite, by_card):
    """Up to 40 whole records in a frame, with the end of one before and the start of one behind."""
    flow = flows.open(suite)
    flow.write(*[3] * 300)
    length = (flow.end - flow.start) % 2**32
    record_bytes = length // 300
    if by_card:
        flow.send_rest(65000, mss=1440)
    else:
        flow.send_rest(1440)
    starts, segments = sent_segments(flows, flow)
    assert starts == list(range(0, length, 1440))
    assert {len(segment) // record_bytes for segment in segments[:-1]} == {1440 // record_bytes}
    flow.check()


@pytest.mark.row("TX-03")
def test_tx_03_jumbo_segments(flows, nic):
    nic.max_frame_bytes = 9018
    flow = flows.open(CipherSuite.TLS13_AES_256_GCM)
    flow.write(*[100] * 400, MAX_PLAINTEXT)
    flow.send_rest(7 * 8900, mss=8900)
    starts, segments = sent_segments(flows, flow)
    assert starts == list(range(0, (flow.end - flow.start) % 2**32, 8900))
    assert len(segments[0]) == 8900
    flow.check()


@pytest.mark.row("TX-03")
@pytest.mark.parametrize("suite", SUITE_PER_LAYOUT, ids=lambda suite: suite.name)
def test_tx_03_records_packets_and_segments_of_any_size(flows, suite, scale):
    flow = flows.open(suite)
    source = random.Random(suite.name)
    for _ in range(scale(60, 15)):
        flow.write(*(int(10 ** source.uniform(0, 4)) for _ in range(source.randint(0, 4))))
        left = (flow.end - flow.sent_end) % 2**32
        # The last bytes wait for the next round, with which they share a packet.
        while left > 200:
            size = min(int(10 ** source.uniform(0, 4.8)), left, 65000)
            mss = source.choice([0, 100, 777, 1448])
            flow.send(flow.sent_end, size if mss else min(size, 1448), mss=mss)
            left = (flow.end - flow.sent_end) % 2**32
        flow.check()
    flow.send_rest()
    flow.check()


def equal_records(flow, count, size=19):
    """`count` records of one length; that of the whole record."""
    flow.write(*[size] * count)
    lengths = {len(entry.record.data) for entry in flow.records}
    assert len(lengths) == 1
    return lengths.pop()


@pytest.mark.row("TX-04")
@pytest.mark.parametrize("form", LAYOUTS, ids=str)
@pytest.mark.parametrize("by_card", [True, False], ids=["by card", "by host"])
def test_tx_04_cut_at_every_byte_of_a_record(flows, form, by_card, scale):
    """Pieces that are a byte longer than a record: the cuts wander through all of it, and each
    piece has the end of one record and the start of the next."""
    flow = flows.open(**form._asdict())
    length = equal_records(flow, 1)
    step = 1 if by_card else scale(1, 5)
    equal_records(flow, length // step)
    if by_card:
        flow.send_rest(65000, mss=length + step)
    else:
        flow.send_rest(length + step)
    starts, _ = sent_segments(flows, flow)
    cuts = {start % length for start in starts}
    assert cuts == set(range(0, length, step))
    flow.check()


@pytest.mark.row("TX-04")
@pytest.mark.parametrize("by_card", [True, False], ids=["by card", "by host"])
@pytest.mark.parametrize("piece_bytes", [1, 3])
def test_tx_04_header_nonce_and_tag_in_many_pieces(flows, by_card, piece_bytes, scale):
    """Of one byte or three: every part of a record is cut more than once."""
    for form in LAYOUTS[:: scale(1, 4)]:
        flow = flows.open(**form._asdict())
        equal_records(flow, 2)
        if by_card:
            flow.send_rest(1000, mss=piece_bytes)
        else:
            flow.send_rest(piece_bytes)
        starts, _ = sent_segments(flows, flow)
        assert starts == list(range(0, (flow.end - flow.start) % 2**32, piece_bytes))
        flow.check()


@pytest.mark.row("TX-04")
@pytest.mark.parametrize("form", LAYOUTS, ids=str)
def test_tx_04_packets_that_are_one_part_of_a_record(flows, form):
    """Header, explicit nonce, content and tag or MAC each in a packet of its own."""
    flow = flows.open(**form._asdict())
    for entry in flow.write(50, 1, 300):
        record = entry.record
        ends = (5, record.prefix_bytes, record.prefix_bytes + record.content_bytes)
        cuts = sorted({0, *ends, len(record.data)})
        for begin, end in itertools.pairwise(cuts):
            flow.send(entry.start_sequence + begin, end - begin)
        assert SUITES[form.suite].prefix_bytes == record.prefix_bytes
    flow.check()
