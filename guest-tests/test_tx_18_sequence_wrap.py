"""TX-18: TCP sequence numbers wrap in mid-record, in every part of it, and what is sent again too."""

import pytest
from harness.tls_flow import payloads
from harness.tls_forms import LAYOUTS
from harness.tls_start import make_session

from tlsnic.abi.suites import HEADER_BYTES, MAX_PLAINTEXT
from tlsnic.driver.tls.framing import Framer
from tlsnic.driver.tls.send_tag import OutcomeKind

pytestmark = pytest.mark.row("TX-18")

CONTENT_BYTES = 40


def places(form):
    """Bytes of a record that the wrap may come before: around the ends of its parts."""
    record = Framer(make_session(**form._asdict())).frame(23, bytes(CONTENT_BYTES))
    prefix, length = record.prefix_bytes, len(record.data)
    ends = {HEADER_BYTES, prefix, prefix + record.content_bytes, length}
    near = {end + step for end in ends for step in (-1, 0, 1)} | {1, 2, prefix + 20}
    return sorted(place for place in near if 0 < place < length)


def test_tx_18_wrap_in_every_part_of_a_record(flows, scale):
    """In order in one packet, then again across the wrap and from just behind it."""
    for form in LAYOUTS[:: scale(1, 5)]:
        for place in places(form):
            flow = flows.open(**form._asdict(), openssl=False, sequence=-place % 2**32)
            flow.write(CONTENT_BYTES, 10)
            length = flow.end  # behind the wrap
            assert flow.send(flow.start, length + place, mss=7).kind is OutcomeKind.IN_ORDER
            for first, end in ((-place, length), (-1, 1), (-1, 20), (0, 1), (0, length), (3, 9)):
                outcome = flow.send(first, end - first)
                assert outcome.kind is OutcomeKind.PRESYNC, (form, place, first)
            flow.write(30)
            assert flow.send(flow.sent_end, 30).kind is OutcomeKind.IN_ORDER
            flow.send_rest()
            flow.check()
            assert flow.tag.query().tcp_sequence == flow.end
            flow.tag.free()


@pytest.mark.parametrize("form", LAYOUTS, ids=str)
def test_tx_18_wrap_between_packets_in_mid_record(flows, form):
    """The card's state is kept at sequence number zero, and before and behind it."""
    flow = flows.open(**form._asdict(), sequence=2**32 - 1000)
    flow.write(3000, 100)
    for last in (-1, 0, 1, 2, 2000):
        flow.send(flow.sent_end, (last - flow.sent_end) % 2**32, mss=1000)
        assert flow.tag.query().tcp_sequence == last % 2**32
    flow.send_rest()
    flow.check()


@pytest.mark.parametrize("form", LAYOUTS, ids=str)
def test_tx_18_wrap_in_a_large_record(flows, form):
    """OpenSSL reads the stream; a segment of it lies across the wrap, and so do retransmits."""
    flow = flows.open(**form._asdict(), sequence=2**32 - 8000)
    flow.write(MAX_PLAINTEXT, 2000)
    flow.send_rest(20000, mss=1448)
    sequences = [sequence for sequence, _ in payloads(flows.collect())]
    assert sequences == [
        n % 2**32 for n in range(flow.start, flow.start + len(sequences) * 1448, 1448)
    ]
    assert sorted(sequences) != sequences
    ranges = ((-3000, 5000), (-8000, flow.end), (-1, 1), (0, 1448), (-1448, 0))
    for first, end in ranges:
        assert flow.send(first, end - first, mss=1448).kind is OutcomeKind.PRESYNC
    flow.write(500)
    flow.send_rest()
    flow.check()
    assert flow.stream.resent_bytes == sum(end - first for first, end in ranges)
