"""RSY-10: packets are lost, overtaken and doubled, 0.1 to 10 % of each: offload always comes back."""

import random

import pytest
from harness.tls_rx_flow import DECRYPTED, KINDS, MSS

from tlsnic.abi.enums import TlsTrackerState
from tlsnic.driver.tls.receive_stream import Offloaded
from tlsnic.driver.tls.receive_tag import Resync

ROUND_TRIP = 20
"""A lost packet comes again after so many others."""
OVERTAKEN_BY = 3
BURST = 16
HINT_INTERVAL = 128


def impaired(source, packets, share):
    """The order in which `packets` come when this share of them is lost (and comes again later),
    overtaken, or doubled; at least one each."""
    count = max(1, round(share * len(packets)))
    lost, late, twice = (set(source.sample(range(len(packets)), count)) for _ in range(3))
    slots = []
    for at, packet in enumerate(packets):
        delay = ROUND_TRIP if at in lost else OVERTAKEN_BY if at in late else 0
        slots.append((at + delay + 0.5 * bool(delay), packet))
        if at in twice:
            slots.append((at + source.choice([0.1, 2.1, 9.1]), packet))
    return [packet for _, packet in sorted(slots)]


def write_about(flow, source, total):
    """Records of all sizes, `total` bytes and some."""
    end = flow.end + total
    while flow.end < end:
        flow.write(source.choice([source.randint(1, 200), source.randint(200, 4000), 16384]))


def send_all(flow, packets):
    """In bursts; after each the stack reads what is in order, and answers."""
    for first in range(0, len(packets), BURST):
        rows = packets[first : first + BURST]
        flow.sent_end = max(flow.sent_end, *[end for _, end in rows])
        flow.flows.send(*[flow.frame(begin, end) for begin, end in rows])
        flow.collect()
        flow.read()
        flow.settled()


def records_until_back(flow):
    """How many good records it takes until one is decrypted."""
    for count in range(2 * HINT_INTERVAL):
        flow.write(100)
        flow.send_rest()
        flow.collect()
        flow.read()
        flow.settled()
        if flow.arrived[-1].state is DECRYPTED:
            return count
    raise AssertionError("offload has not come back")


@pytest.mark.row("RSY-10")
@pytest.mark.parametrize("share", [0.001, 0.01, 0.1])
@pytest.mark.parametrize(
    "resync", [Resync.HOST, Resync.TAG, Resync.BOTH, Resync.NONE], ids=lambda r: r.name
)
def test_rsy_10_offload_comes_back(nic, rx_flows, scale, resync, share):
    """Twice in the same flow; all is read right, nothing is taken for forged, and then records
    are decrypted again: with questions or tags at most two later, with hints after as many as
    the schedule makes them wait."""
    suite = KINDS[(resync + int(share * 1000)) % len(KINDS)]
    flow = rx_flows.open(suite, openssl=False, resync=resync)
    source = random.Random(f"{resync} {share}")
    for _ in range(2):
        write_about(flow, source, scale(250_000, 25_000))
        begin = flow.sent_end
        packets = [(at, min(at + MSS, flow.end)) for at in range(begin, flow.end, MSS)]
        send_all(flow, impaired(source, packets, share))
        longest = HINT_INTERVAL if resync is Resync.NONE else 2
        assert records_until_back(flow) <= longest
        assert flow.tracker == TlsTrackerState.OFFLOAD
    before = flow.check().copy()
    flow.write(*[1000] * 8)
    flow.send_rest()
    assert set(flow.states()) == {DECRYPTED}
    found = flow.check()
    assert found - before == {Offloaded.FULLY: 8}
    assert sum(found.values()) == len(flow.records)
    state = flow.query()
    assert state.auth_failures == 0
    assert state.packets + state.not_offloaded == len(flow.arrived)
    assert (state.questions > 0) <= bool(resync & Resync.HOST)
    assert (state.tag_resyncs > 0) <= bool(resync & Resync.TAG)
