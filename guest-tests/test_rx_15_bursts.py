"""RX-15, and what becomes of bursts: the card takes many packets at once, and treats each as if it had
come alone.
"""

import random

import pytest
from harness.tls_rx_flow import AS_ON_WIRE, AUTH_FAILED, DECRYPTED, KINDS

from tlsnic.abi.enums import CipherSuite, Diagnostic, Offload
from tlsnic.driver.tls.receive_tag import Resync

pytestmark = pytest.mark.nic(rx_entries=128)
GCM12, GCM13 = CipherSuite.TLS12_AES_128_GCM, CipherSuite.TLS13_AES_256_GCM
SIZES = (500, 80, 1000)
WAYS = (Resync.HOST, Resync.TAG, Resync.BOTH)
every_kind = pytest.mark.parametrize("suite", KINDS, ids=lambda suite: suite.name)
FORMS = {
    "IPv4": {},
    "IPv6": {"ip": "IPv6"},
    "VLAN": {"vlan": 9},
    "IPv6, VLAN": {"ip": "IPv6", "vlan": 9},
}


def burst(flow, source, size):
    """Packets of `size` bytes of the stream, in order but for what happens to networks; their
    frames."""
    frames = []
    for begin in range(flow.sent_end, flow.end, size):
        end = min(begin + size, flow.end)
        frame = flow.frame(begin, end)
        happens = source.random()
        if happens < 0.03:
            continue
        if happens < 0.06:
            frames.append(frame)
        elif happens < 0.09:
            frame = flow.frame(begin, end, bad="tcp")
        elif happens < 0.12 and begin > 300:
            frame = flow.frame(begin - 300, end)
        elif happens < 0.15 and frames:
            frames.insert(len(frames) - 1, frame)
            continue
        frames.append(frame)
    flow.sent_end = flow.end
    return frames


@pytest.mark.row("RX-15")
@pytest.mark.parametrize("form", FORMS)
def test_rx_15_burst_is_as_one_by_one(rx_flows, scale, form):
    """Two flows, the same records, the same losses, doubles, damage and disorder: the packets of one
    come all at once, those of the other each for itself. They have the same marks."""
    options = {"openssl": False, "reader": False, **FORMS[form]}
    for seed in range(scale(18, 2)):
        suite, resync, size = KINDS[seed % 4], WAYS[seed % 3], SIZES[seed // 3 % 3]
        flows = [rx_flows.open(suite, resync=resync, **options) for _ in range(2)]
        found = []
        for flow in flows:
            source = random.Random(seed)
            flow.write(*[source.choice([1, 60, size, 3 * size, 2000]) for _ in range(12)])
            frames = burst(flow, source, size)
            if flow is flows[0]:
                rx_flows.send(*frames)
            else:
                for frame in frames:
                    rx_flows.send(frame)
                    rx_flows.collect()
            found.append([one[:5] for one in flow.collect()])
        assert found[0] == found[1], f"seed {seed}"
        states = [flow.query()._replace(record_iv=b"") for flow in flows]
        assert states[0] == states[1]


@pytest.mark.row("RX-03")
@every_kind
def test_rx_03_bad_record_in_a_burst(rx_flows, watch, suite):
    """Each record is a packet: those before the bad one are decrypted, those behind it are not."""
    flow = rx_flows.open(suite, reader=False)
    flow.write(*[500] * 30)
    watch.expect(Diagnostic.TLS_AUTH)
    frames = []
    for number, record in enumerate(flow.records):
        payload = bytearray(flow.payload(record.start, record.end))
        payload[40] ^= number == 11
        frames.append(flow.frame(record.start, record.end, payload=bytes(payload)))
    rx_flows.send(*frames)
    assert flow.states() == [DECRYPTED] * 11 + [AUTH_FAILED] + [AS_ON_WIRE] * 18


@pytest.mark.row("RX-05")
@pytest.mark.parametrize("form", FORMS)
def test_rx_05_in_a_burst(rx_flows, form):
    """The packet with the wrong checksum among equal ones, then the right one."""
    flow = rx_flows.open(GCM13, **FORMS[form])
    flow.write(12000)
    cuts = [(at, min(at + 1000, flow.end)) for at in range(0, flow.end, 1000)]
    frames = [flow.frame(*cut) for cut in cuts]
    frames.insert(5, flow.frame(*cuts[5], bad="tcp"))
    rx_flows.send(*frames)
    states = flow.states()
    assert states.pop(5) is AS_ON_WIRE
    assert set(states) == {DECRYPTED}
    flow.check()


@pytest.mark.row("RX-15")
def test_rx_15_bursts_of_flows_side_by_side(rx_flows, nic, scale):
    """Equal packets of four flows in turn, and coalescing switched on in between."""
    flows = [rx_flows.open(suite) for suite in KINDS]
    for joining in (False, True):
        if joining:
            nic.set_rx_coalesce(2000)
            nic.offloads |= Offload.RX_COALESCE
        for _ in range(scale(4, 1)):
            frames = []
            for flow in flows:
                flow.write(3000, 4000)
                ends = range(flow.sent_end, flow.end, 700)
                frames.append([flow.frame(at, min(at + 700, flow.end)) for at in ends])
                flow.sent_end = flow.end
            rx_flows.send(*[frame for group in zip(*frames, strict=False) for frame in group])
            left = min(map(len, frames))
            rx_flows.send(*[frame for group in frames for frame in group[left:]])
            rx_flows.collect()
    for flow in flows:
        assert {one.state for one in flow.arrived} == {DECRYPTED}
        flow.check()
