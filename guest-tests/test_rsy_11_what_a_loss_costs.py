"""RSY-11: which records one lost packet costs, exactly.

What is expected comes from the reference's chapter alone: how each packet comes, and from that
which records were decrypted wholly, partly or not.
"""

from collections import Counter
from itertools import pairwise

import pytest
from harness.tls_rx_flow import AS_ON_WIRE, DECRYPTED

from tlsnic.abi.enums import CipherSuite
from tlsnic.driver.tls.receive_stream import Offloaded
from tlsnic.driver.tls.receive_tag import Resync

GCM12, GCM13 = CipherSuite.TLS12_AES_128_GCM, CipherSuite.TLS13_AES_256_GCM
SIZES = (400, 30, 900, 100, 1100, 250, 40, 700, 333, 600, 10, 800)
HEADER_BYTES = 5


def touches(record, begin, end):
    """Whether bytes of the record lie there."""
    return record.start < end and record.end > begin


def has_header(records, begin, end):
    """Whether a byte of a record header lies there."""
    return any(one.start < end and one.start + HEADER_BYTES > begin for one in records)


def go_on(records, packets, lost, delay, resync, prefix_bytes):
    """Where the card goes on when packet `lost` comes after `delay` others: the offset from which
    on all is decrypted, and the offset from which on a packet that has the end of the record
    before that, and more, is decrypted too.

    Without a header in the lost packet that is the next record. Else it is the first record whose
    content has not begun when the answer comes, or the one behind the first that is whole, by its
    tag. A record of which the card has no header or nonce can not be decrypted in part.
    """
    begin, end = packets[lost]
    following = [one for one in records if one.start >= end]
    nowhere = records[-1].end, records[-1].end
    if not following:
        return nowhere
    if not has_header(records, begin, end):
        hurt = next(one for one in records if one.end == following[0].start)
        return hurt.end, end if hurt.start + prefix_bytes <= begin else hurt.end
    candidate = following[0]
    if resync is Resync.TAG:
        return candidate.end, candidate.start + prefix_bytes
    asked = next(n for n, (_, e) in enumerate(packets) if e >= candidate.start + HEADER_BYTES)
    reached = packets[min(max(asked, lost + delay), len(packets) - 1)][1]
    fresh = (one.start for one in following if one.start + prefix_bytes > reached)
    return next(fresh, records[-1].end), reached


def lose_one(flow, packets, lost, delay):
    """Send all, the lost one after `delay` others; the stack reads and answers each time."""
    order = [n for n in range(len(packets)) if n != lost]
    order.insert(lost + delay, lost)
    for number in order:
        flow.send(*packets[number])
        flow.collect()
        flow.read()
        flow.settled()
    return dict(zip(order, [one.state for one in flow.arrived], strict=True))


def found_as(record, packets, states):
    """What the receiver makes of a record in packets that came so."""
    marks = {states[n] is DECRYPTED for n, packet in enumerate(packets) if touches(record, *packet)}
    if marks == {True}:
        return Offloaded.FULLY
    return Offloaded.PARTLY if marks == {True, False} else Offloaded.NOT


def check_loss(flows, suite, resync, cuts_of, lost, delay):
    """Lose a packet of a new flow; the numbers of records that were not decrypted as a whole,
    and of those that the lost packet touched."""
    flow = flows.open(suite, openssl=False, resync=resync)
    records = flow.write(*SIZES)
    packets = list(pairwise(cuts_of(records)))
    begin, end = packets[lost]
    prefix_bytes = flow.session.layout.prefix_bytes
    resume, shown = go_on(records, packets, lost, delay, resync, prefix_bytes)
    states = lose_one(flow, packets, lost, delay)
    expected = {
        n: DECRYPTED
        if e <= begin or (n != lost and (s >= resume or shown <= s < resume < e))
        else AS_ON_WIRE
        for n, (s, e) in enumerate(packets)
    }
    assert states == expected, f"packet {lost} was lost"
    kinds = [found_as(record, packets, states) for record in records]
    assert flow.check() == Counter(kinds)
    state = flow.query()
    assert state.auth_failures == 0
    asked = resync is Resync.HOST and has_header(records, begin, end) and end < records[-1].start
    assert bool(state.questions) is asked
    flow.free()
    return (
        {n for n, kind in enumerate(kinds) if kind is not Offloaded.FULLY},
        {n for n, record in enumerate(records) if touches(record, begin, end)},
    )


def spread(numbers, count):
    """About `count` of these numbers, at equal distances."""
    return numbers[:: max(1, len(numbers) // count)]


def by_size(packet_bytes):
    """Packets of one size, wherever records begin."""
    return lambda records: [*range(0, records[-1].end, packet_bytes), records[-1].end]


def by_record(records):
    """No packet has parts of two records, and no record is in less than two packets."""
    middles = [(one.start + one.end) // 2 for one in records]
    return sorted({0, *middles, *[one.end for one in records]})


def record_pairs(records):
    """Two whole records in each packet."""
    return [*[one.start for one in records[::2]], records[-1].end]


@pytest.mark.row("RSY-11")
@pytest.mark.parametrize("suite", [GCM12, GCM13], ids=lambda s: s.name)
@pytest.mark.parametrize("resync", [Resync.HOST, Resync.TAG], ids=lambda r: r.name)
def test_rsy_11_any_packet_of_one_size(rx_flows, scale, suite, resync):
    """Each in turn is lost, and comes again 1 or 4 packets later."""
    losses = scale(16, 1)
    for packet_bytes, count in ((311, 16), (1000, 4)):
        for lost in spread(range(count), losses):
            for delay in (1, 4):
                check_loss(rx_flows, suite, resync, by_size(packet_bytes), lost, delay)


@pytest.mark.row("RSY-11")
def test_rsy_11_only_what_it_touched(rx_flows, scale):
    """A packet without a header, and none that begins in one record and ends in the next: that
    one record is not offloaded, and no other."""
    for lost in spread(range(1, 2 * len(SIZES) - 2, 2), scale(11, 2)):
        for resync in (Resync.HOST, Resync.TAG, Resync.NONE):
            hurt, touched = check_loss(rx_flows, GCM13, resync, by_record, lost, 2)
            assert hurt == touched == {lost // 2}


@pytest.mark.row("RSY-11")
def test_rsy_11_up_to_the_answer(rx_flows, scale):
    """With a header: those that it touched, and those that had begun when the answer came."""
    for lost in spread(range(0, 2 * len(SIZES) - 4, 2), scale(10, 2)):
        for delay in (1, 3, 5):
            hurt, touched = check_loss(rx_flows, GCM12, Resync.HOST, by_record, lost, delay)
            assert touched == {lost // 2}
            # It is asked in the packet after the next, at the earliest, where a header is.
            answered = max(lost + 2, lost + delay) // 2
            assert hurt == set(range(lost // 2, answered + 1))


@pytest.mark.row("RSY-11")
def test_rsy_11_up_to_the_tag(rx_flows, scale):
    """By tag: those that it touched, and the first whole one behind, whose tag it was."""
    for lost in spread(range(0, 2 * len(SIZES) - 4, 2), scale(10, 2)):
        hurt, touched = check_loss(rx_flows, GCM12, Resync.TAG, by_record, lost, 5)
        assert hurt == touched | {lost // 2 + 1}
    for lost in range(len(SIZES) // 2 - 2):
        hurt, touched = check_loss(rx_flows, GCM13, Resync.TAG, record_pairs, lost, 3)
        assert touched == {2 * lost, 2 * lost + 1}
        # Both begin in the next packet, which was as on the wire when it came.
        assert hurt == touched | {2 * lost + 2, 2 * lost + 3}
