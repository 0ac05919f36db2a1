"""TX-23: a rate-limited send tag paces to within 5 % of its rate over a second.

The bytes are those of frames on the wire without FCS, as FreeBSD's rate-limited send tags have it.
What is judged is when frames came to the far end, and only what the card is answerable for: that a
machine under load delays a frame on its way, or has no time for the card at all, does not count.
How the card paces on a clock without such trouble is tested beside it, in tests/device/core.
"""

from itertools import pairwise

import pytest
from harness.fixtures import wait_for
from harness.tls_flow import payloads

from tlsnic.abi.enums import CipherSuite
from tlsnic.driver.tls.send_tag import OutcomeKind

pytestmark = [
    pytest.mark.row("TX-23"),
    pytest.mark.nic(tx_queues=2, tx_entries=256, tx_bounce_bytes=1 << 19),
]
MASK = 0xFFFF_FFFF
SECOND_NS = 1_000_000_000
TOLERANCE_NS = SECOND_NS // 20
CATCH_UP_NS = 20_000_000
"""What a card that had no time makes up for; more than that would be a burst."""
HEADER_BYTES = 54
HELD_BYTES = 256 * 1024
"""What a flow has waiting before its next packet has to wait in the ring (manual, Rate limits)."""
CRAWL, RACE = 10, 100_000_000
"""Bytes per second: the next frame does not come during a test; it comes at once."""


def check_rate(arrivals, rate):
    """`arrivals`, the time and bytes of frames that were all there to be sent, went by `rate`.

    From a frame of the first tenth to one of the last tenth, those that lost least on their way.
    """
    late, stalled = [0], [0]  # against the rate, and of it without the card's doing, in ns
    for (before, length), (at, _) in pairwise(arrivals):
        slip = at - before - length * SECOND_NS // rate
        late.append(late[-1] + slip)
        stalled.append(stalled[-1] + max(0, slip - CATCH_UP_NS))
    tenth = len(late) // 10
    first = min(range(tenth), key=late.__getitem__)
    last = min(range(len(late) - tenth, len(late)), key=late.__getitem__)
    slip, stall = late[last] - late[first], stalled[last] - stalled[first]
    elapsed = arrivals[last][0] - arrivals[first][0]
    count = sum(length for _, length in arrivals[first:last])
    found = f"{count} bytes in {elapsed / 1e6:.1f} ms, {stall / 1e6:.1f} ms of them stalled"
    assert slip >= -TOLERANCE_NS, f"faster than {rate}: {found}"
    assert slip - stall <= TOLERANCE_NS, f"slower than {rate}: {found}"
    assert stall < elapsed / 2, f"this machine is too busy to tell: {found}"


def of(flow, timed):
    """Arrival times and lengths of the frames of one flow."""
    port = flow.address.local_port.to_bytes(2, "big")
    return [(at, len(frame)) for at, frame in timed if frame[34:36] == port]


def lay_out(flow, size, record_bytes=4000):
    flow.write(*[record_bytes] * -(-size // record_bytes))


def send_next(flow, length, count=1, **options):
    for _ in range(count):
        flow.send(flow.sent_end, length, **options)


def test_tx_23_over_a_second(nic, flows):
    """Two flows with rates of their own, at once: one with packets of one segment, of which some
    are retransmits, the other with segmented ones. Flows without a limit are not slowed, though
    they are behind the limited ones in the ring, and do not speak TLS."""
    rates = {"single": 100_000, "segmented": 200_000}
    single = flows.open(CipherSuite.TLS13_AES_128_GCM, rate_bytes_per_s=rates["single"])
    segmented = flows.open(CipherSuite.TLS12_CHACHA20_POLY1305, rate_bytes_per_s=rates["segmented"])
    unlimited, plain = flows.open(openssl=False), flows.open(openssl=False, software=True)
    packet = 1000 - HEADER_BYTES
    lay_out(single, 100_000)
    lay_out(segmented, 211_000, 16000)
    lay_out(unlimited, 10_000)
    lay_out(plain, 10_000)
    with nic.tx[0].batch():
        send_next(single, packet, 50)
        for number in range(20):
            at = single.start + number * packet // 2 & MASK
            assert single.send(at, packet).kind is OutcomeKind.PRESYNC
        send_next(single, packet, 37)
        segmented.send_rest(16 * 1400, mss=1400)
        for flow in (unlimited, plain):
            send_next(flow, packet, 10)
    count = -(-(segmented.end - segmented.start & MASK) // 1400)
    timed = flows.collect_timed(107 + count + 20)
    assert len(of(single, timed)) == 107
    assert len(of(segmented, timed)) == count
    for flow, rate in zip((single, segmented), rates.values(), strict=True):
        arrivals = of(flow, timed)
        assert sum(length for _, length in arrivals[:-1]) > 1.05 * rate
        check_rate(arrivals, rate)
        middle = arrivals[len(arrivals) // 2][0]
        assert of(unlimited, timed)[-1][0] < middle
        assert of(plain, timed)[-1][0] < middle
    for flow in flows.flows:
        flow.check()


def test_tx_23_new_rate(flows):
    """It holds from then on, also for what is held back; without a rate all of that leaves."""
    slow, fast = 50_000, 200_000
    flow = flows.open(CipherSuite.TLS12_AES_256_GCM, rate_bytes_per_s=slow)
    lay_out(flow, 160_000)
    mss = 500 - HEADER_BYTES
    flow.send_rest(30 * mss, mss=mss)
    assert flow.tag.query().rate_bytes_per_s == slow
    check_rate(of(flow, flows.collect_timed(45)), slow)
    flow.tag.modify_rate(fast)
    # These left before the change, and some that are on their way.
    flows.collect_timed(flows.peer.counts()["waiting"] + 5)
    assert flow.tag.query().rate_bytes_per_s == flow.tag.rate_bytes_per_s == fast
    check_rate(of(flow, flows.collect_timed(180)), fast)
    flow.tag.modify_rate(0)
    assert flow.tag.query().rate_bytes_per_s == 0
    flow.check()


def test_tx_23_new_rate_pays_old_debt(flows):
    """A frame that left at a low rate does not keep those behind it waiting at a high one."""
    flow = flows.open(CipherSuite.TLS13_AES_256_GCM, rate_bytes_per_s=CRAWL)
    lay_out(flow, 8000)
    send_next(flow, 500)  # paid for in a minute
    assert len(flows.collect()) == 1
    flow.tag.modify_rate(RACE)
    send_next(flow, 500)
    flows.collect(1)
    flow.tag.modify_rate(CRAWL)
    send_next(flow, 500, 3)
    assert len(flows.collect()) == 1
    for _ in range(3):  # a rate that is set again and again is no other rate
        flow.tag.modify_rate(CRAWL)
    assert flows.collect() == []
    flow.tag.modify_rate(RACE)
    flows.collect(2)
    flow.check(frames=len(flow.send_rest(500)))


def test_tx_23_limit_for_a_flow_that_had_none(flows):
    flow = flows.open(CipherSuite.TLS12_AES_128_GCM)
    lay_out(flow, 8000)
    send_next(flow, 700, 3)
    assert len(flows.collect()) == 3
    flow.tag.modify_rate(CRAWL)
    send_next(flow, 700, 3)
    assert len(flows.collect()) == 1
    flow.tag.modify_rate(0)
    assert len(flows.collect()) == 2
    flow.send_rest(700)
    flow.check()


def test_tx_23_counter(nic, flows):
    """TX_TLS_PACED: each frame that had to wait, once, and no other."""
    flow = flows.open(CipherSuite.TLS13_CHACHA20_POLY1305, rate_bytes_per_s=CRAWL)
    other = flows.open(CipherSuite.TLS10_AES_CBC_SHA1, rate_bytes_per_s=CRAWL)
    lay_out(flow, 12_000)
    lay_out(other, 12_000)

    def check_counts(frames, paced):
        assert len(flows.collect()) == frames
        assert nic.counters()["TX_TLS_PACED"] == paced

    send_next(flow, 500)
    check_counts(frames=1, paced=0)
    send_next(flow, 500, 2)
    check_counts(frames=0, paced=2)
    send_next(flow, 2500, mss=500)
    check_counts(frames=0, paced=7)
    flow.send(flow.start + 100 & MASK, 300)  # again
    check_counts(frames=0, paced=8)
    flow.send(flow.sent_end, 0, payload=b"")  # a pure ACK has its turn
    check_counts(frames=0, paced=9)
    send_next(other, 2500, mss=500)
    check_counts(frames=1, paced=13)
    flow.tag.modify_rate(0)
    check_counts(frames=9, paced=13)
    send_next(flow, 500, 3)
    check_counts(frames=3, paced=13)
    other.tag.modify_rate(0)
    check_counts(frames=4, paced=13)
    for each in (flow, other):
        each.send_rest(900)
        each.check()


def test_tx_23_destroyed_while_packets_are_held(flows):
    """What was posted leaves, in order, and nobody waits for the rate: at this one it would take
    an hour."""
    flow = flows.open(CipherSuite.TLS12_AES_256_GCM, rate_bytes_per_s=CRAWL)
    lay_out(flow, 30_000)
    flow.send_rest(10_000, mss=1000)
    flow.free()
    found = payloads(flows.collect())
    at = flow.start
    for sequence, payload in found:
        assert sequence == at
        at = at + len(payload) & MASK
    assert at == flow.end
    flow.check()


def test_tx_23_queue_waits_when_a_flow_has_too_much(nic, flows):
    """The next packet of that flow, and what is behind it; not other queues."""
    flow, behind = flows.open(rate_bytes_per_s=CRAWL, openssl=False), flows.open(openssl=False)
    beside = flows.open(openssl=False)
    size, mss = 32 * 1400, 1400
    lay_out(flow, 8 * size, 16000)
    lay_out(behind, 1000)
    lay_out(beside, 1000)
    beside.queue = nic.tx[1]
    send_next(flow, size, 8, mss=mss)
    behind.send_rest()
    beside.send_rest()
    frames = flows.collect_timed(1 + 3)
    assert len(of(flow, frames)) == 1
    assert len(of(beside, frames)) == 3
    one_frame = mss + HEADER_BYTES
    taken = -(-(HELD_BYTES + one_frame) // (32 * one_frame))  # one has left
    wait_for(lambda: flow.tag.query().packets == taken, f"{taken} packets are taken")
    for _ in range(3):
        nic.admin.nop()
    assert flow.tag.query().packets == taken
    assert behind.tag.query().packets == 0
    flow.tag.modify_rate(0)
    for each in (flow, behind, beside):
        each.send_rest(size, mss=mss)
        each.check()
