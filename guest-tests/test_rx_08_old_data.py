"""RX-08, RX-09: data that the card has seen already, as it was cut before or otherwise."""

import itertools
import random

import pytest
from harness.tls_rx_flow import AS_ON_WIRE, DECRYPTED, KINDS

from tlsnic.abi.enums import CipherSuite
from tlsnic.driver.tls.receive_stream import Offloaded

every_kind = pytest.mark.parametrize("suite", KINDS, ids=lambda suite: suite.name)
FULLY, PARTLY, NOT = Offloaded


def place(flow):
    """Where the flow's tracker is."""
    state = flow.query()
    return state.tracker_state, state.tcp_sequence, state.record_number, state.packets


@pytest.mark.row("RX-08")
@every_kind
def test_rx_08_duplicates_are_untouched(rx_flows, suite):
    """Every packet comes twice: the second one as on the wire, with the tracker where it was."""
    flow = rx_flows.open(suite)
    flow.write(2500, 300, 40)
    cuts = [0, 700, 1400, flow.records[1].start, flow.records[1].start + 3, flow.end]
    for begin, end in itertools.pairwise(cuts):
        flow.send(begin, end)
        assert flow.states() == [DECRYPTED]
        before = place(flow)
        flow.send(begin, end)
        assert flow.states() == [AS_ON_WIRE]
        assert place(flow) == before
    assert flow.check() == {FULLY: 3}
    state = flow.query()
    assert state.out_of_order == state.not_offloaded == len(cuts) - 1
    assert state.questions == 0


@pytest.mark.row("RX-08")
@every_kind
def test_rx_08_retransmit_of_all_and_of_parts(rx_flows, suite):
    """Also cut otherwise, from old records and from the one that is under way."""
    flow = rx_flows.open(suite)
    flow.write(900, 1000, 5000)
    middle = flow.records[2].start + 2000
    flow.send(0, middle)
    flow.collect()
    before = place(flow)
    source = random.Random(8)
    flow.send(0, middle, mss=999)
    for _ in range(10):
        begin = source.randrange(middle)
        flow.send(begin, source.randint(begin + 1, min(middle, begin + 1400)))
    flow.send(-200, 500)  # begins with what is before the first record
    assert set(flow.states()) == {AS_ON_WIRE}
    assert place(flow) == before
    flow.send_rest()
    assert set(flow.states()) == {DECRYPTED}
    assert flow.check() == {FULLY: 3}


@pytest.mark.row("RX-08")
def test_rx_08_old_data_that_differs(rx_flows):
    """Somebody sends what would be another header, or a record that is not authentic, for bytes that
    have passed: nothing of it counts."""
    flow = rx_flows.open()
    flow.write(600, 700)
    flow.send(0, flow.records[1].start + 300)
    flow.collect()
    before = place(flow)
    for payload in (b"\x17\x03\x03\x00\x20" * 40, bytes(500)):
        rx_flows.send(flow.frame(100, 100 + len(payload), payload=payload))
    assert flow.states() == [AS_ON_WIRE, AS_ON_WIRE]
    assert place(flow) == before
    flow.send_rest()
    assert flow.states() == [DECRYPTED]
    assert flow.check() == {FULLY: 2}


@pytest.mark.row("RX-08")
def test_rx_08_zero_window_probes_and_acknowledgements(rx_flows):
    """One old byte, or none, as TCP sends to ask whether somebody is there (RFC 9293 section
    3.8.6.1, RFC 1122 section 4.2.3.6)."""
    flow = rx_flows.open()
    flow.write(600, 700)
    flow.send(0, 400)
    flow.collect()
    before = place(flow)
    rx_flows.send(
        flow.frame(399, 400), flow.frame(400, 400), flow.frame(399, 399), flow.frame(400, 400)
    )
    assert set(flow.states()) == {AS_ON_WIRE}
    assert place(flow) == before
    flow.send_rest()
    assert flow.states() == [DECRYPTED]
    assert flow.check() == {FULLY: 2}


@pytest.mark.row("RX-08")
def test_rx_08_late_packet_after_a_loss(rx_flows):
    """What was lost comes when the tracker is past it."""
    flow = rx_flows.open()
    flow.write(900, 800, 700)
    flow.send(0, 300)
    flow.send(600, flow.end)
    flow.collect()
    before = place(flow)
    flow.send(300, 600)
    flow.send(300, 600)
    assert flow.states() == [AS_ON_WIRE, AS_ON_WIRE]
    assert place(flow) == before
    flow.check()


@pytest.mark.row("RX-09")
@every_kind
def test_rx_09_old_and_new_in_one_packet(rx_flows, suite):
    """It is as on the wire; what is new in it was followed, and the next packet is decrypted."""
    flow = rx_flows.open(suite)
    flow.write(3000, 400)
    flow.send(0, 1000)
    flow.send(500, 1500)
    flow.send(1500, flow.end)
    states = flow.states()
    assert states[:2] == [DECRYPTED, AS_ON_WIRE]
    assert set(states[2:]) == {DECRYPTED}
    assert flow.check() == {PARTLY: 1, FULLY: 1}
    state = flow.query()
    assert (state.out_of_order, state.not_offloaded, state.questions) == (1, 1, 0)


@pytest.mark.row("RX-09")
@pytest.mark.parametrize(
    "suite",
    [CipherSuite.TLS12_AES_128_GCM, CipherSuite.TLS13_CHACHA20_POLY1305],
    ids=lambda suite: suite.name,
)
def test_rx_09_new_part_ends_at_every_byte_of_a_header(rx_flows, suite):
    flow = rx_flows.open(suite)
    prefix = flow.session.layout.prefix_bytes
    for number in range(prefix + 2):
        first, second = flow.write(60, 50)
        flow.send(flow.sent_end, first.end - 20)
        flow.send(first.start + 10, second.start + number)
        flow.send(flow.sent_end, second.end)
        assert flow.states() == [DECRYPTED, AS_ON_WIRE, DECRYPTED]
    flow.check()
    assert flow.query().questions == 0


@pytest.mark.row("RX-09")
@every_kind
def test_rx_09_other_boundaries_over_many_records(rx_flows, suite):
    """A retransmission in larger packets: whole records are new in it, and the last one is cut."""
    flow = rx_flows.open(suite)
    flow.write(*[150] * 12)
    flow.send(0, flow.records[2].start + 50, mss=100)
    flow.send(flow.records[1].start + 3, flow.records[7].end - 5)
    flow.send(flow.records[7].start, flow.end)
    flow.write(100)
    flow.send_rest()
    states = flow.states()
    assert states[-3:] == [AS_ON_WIRE, AS_ON_WIRE, DECRYPTED]
    assert set(states[:-3]) == {DECRYPTED}
    records = flow.check()
    assert records[FULLY] == 3
    assert flow.query().questions == 0


@pytest.mark.row("RX-09")
def test_rx_09_the_old_part_differs(rx_flows):
    """Bytes that the card has decrypted already count, whatever comes for them now."""
    flow = rx_flows.open()
    flow.write(900, 200)
    flow.send(0, 500)
    payload = bytes(100) + flow.payload(500, 600)
    rx_flows.send(flow.frame(400, 600, payload=payload))
    flow.send(600, flow.end)
    assert flow.states() == [DECRYPTED, AS_ON_WIRE, DECRYPTED]
    assert flow.check() == {PARTLY: 1, FULLY: 1}


@pytest.mark.row("RX-09")
def test_rx_09_overlaps_anywhere(rx_flows, scale):
    """Every packet begins anywhere in what has passed; decrypted are those that begin at its end."""
    source = random.Random(9)
    flow = rx_flows.open(CipherSuite.TLS13_AES_128_GCM)
    for _ in range(scale(10, 2)):
        flow.write(*[source.choice([1, 30, 400, 2000]) for _ in range(6)])
        expected = []
        while flow.sent_end < flow.end:
            end = flow.sent_end
            begin = source.choice([end, max(0, end - source.randrange(1, 900))])
            flow.send(begin, min(flow.end, begin + source.randrange(1, 1400)))
            expected.append(DECRYPTED if begin == end else AS_ON_WIRE)
        assert flow.states() == expected
    flow.check()
    assert flow.query().questions == 0
