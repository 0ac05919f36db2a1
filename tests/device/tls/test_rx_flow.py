"""Receive flows with real ciphers: what comes decrypted, and what the host says of it."""

import pytest
from tracker_bench import AEAD, AS_ON_WIRE, AUTH_FAILED, DECRYPTED, GCM13, Host, Wire

from tlsnic.device.tls.tracker_states import State

SUITES = pytest.mark.parametrize("case", AEAD, ids=lambda case: case.id)


def stream(case=GCM13, sizes=(60,) * 8, **options):
    wire = Wire(case, **options)
    number = wire.number
    for size in sizes:
        wire.add(size)
    return wire, number


@SUITES
@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 13, 64, 97, 1000, 5000])
def test_in_order_all_comes_decrypted(case, size):
    wire, _ = stream(case, (1, 300, 0 if case is not GCM13 else 5, 60, 2000, 16, 1))
    host = Host(wire, number=0)
    assert set(host.feed(0, len(wire), size)) == {DECRYPTED}
    assert host.state is State.OFFLOAD
    assert host.flow.payload_bytes == len(wire)
    assert host.flow.record_number == 7


@SUITES
def test_lost_header_is_asked_about(case):
    wire, _ = stream(case, (60,) * 20)
    host = Host(wire, number=0)
    host.take(0, 50)
    verdict = host.take(100, 400)
    assert verdict.state is AS_ON_WIRE
    assert verdict.question is not None
    assert host.state is State.TRACK
    host.take(400, 900)
    assert host.answer()
    end = next(e.start for e in wire.records if e.start >= 900)
    host.take(900, end)
    assert set(host.feed(end, len(wire), 77)) == {DECRYPTED}
    assert host.flow.host_resyncs == 1


@SUITES
def test_tag_settles(case):
    wire, _ = stream(case, (60,) * 20)
    host = Host(wire, number=0, host=False, tag=True)
    host.take(0, 50)
    host.feed(100, 400)
    assert host.state is State.OFFLOAD
    assert host.flow.tag_resyncs == 1
    end = next(e.start for e in wire.records if e.start >= 400)
    host.take(400, end)
    assert set(host.feed(end, len(wire), 77)) == {DECRYPTED}


@SUITES
@pytest.mark.parametrize("whole", [True, False])
def test_forged_record_halts(case, whole):
    wire, _ = stream(case, (60,) * 5)
    wire.wire[wire.records[3].start - 1] ^= 1
    host = Host(wire, number=0)
    states = host.feed(0, len(wire), len(wire) if whole else 50)
    assert states.count(AUTH_FAILED) == 1
    assert host.state is State.HALTED
