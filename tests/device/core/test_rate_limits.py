"""Rate limits through the card, on a virtual clock: order, who waits for whom, and what ends a wait."""

import pytest
from stream_bench import Stream
from tls_rig import GCM, TlsRig, filled, make_frame

from tlsnic.abi.enums import Diagnostic, TlsFlowFlags, TxFlags, TxStatus
from tlsnic.abi.structures import TlsFlowDestroyCommand
from tlsnic.device.core import ResetKind
from tlsnic.device.core.pacing import CREDIT_NS
from tlsnic.device.tls.pace import HELD_BYTES

SECOND = 1_000_000_000
MILLISECOND = SECOND // 1000
CHECKSUMS = TxFlags.L4_CHECKSUM | TxFlags.IP_CHECKSUM


def post_all(rig, handle, stream, size=1000, **options):
    for begin in range(0, len(stream), size):
        rig.post_part(handle, stream, begin, min(begin + size, len(stream)), **options)
    rig.run()


def wake_ups(rig, span):
    """Poll when the card asks for it, and only then, for `span`."""
    end = rig.now_ns + span
    while (due := rig.nic.next_deadline_ns()) is not None and due <= end:
        assert due > rig.now_ns
        before = len(rig.wire.sent)
        rig.run(due - rig.now_ns - 1)
        assert len(rig.wire.sent) == before, "too late a wake-up"
        rig.run(1)
    rig.now_ns = end


@pytest.mark.parametrize("super_frames", [False, True], ids=["cut", "whole"])
@pytest.mark.parametrize("vlan", [None, 7])
def test_bytes_are_those_of_frames_on_the_wire(super_frames, vlan):
    """Headers of each segment count, and tags; the FCS does not."""
    fields = {} if vlan is None else {"flags": TlsFlowFlags.VLAN, "vlan_id": vlan}
    rig, stream, handle = filled(
        GCM, [16000] * 3, rate=200_000, fields=fields, super_frames=super_frames, entries=128
    )
    post_all(rig, handle, stream, 4000, mss=500, vlan=vlan)
    assert [done.status for done in rig.queue.reap()] == [0] * -(-len(stream) // 4000)
    wake_ups(rig, SECOND)
    headers = 54 + 4 * (vlan is not None)
    segments = sum(-(-min(4000, len(stream) - at) // 500) for at in range(0, len(stream), 4000))
    total = len(stream) + headers * segments
    assert rig.counter("TX_BYTES") == total
    assert rig.counter("TX_FRAMES") == segments
    first, last = rig.wire.sent[0].at_ns, rig.wire.sent[-1].at_ns
    end = min(4000, len(stream) % 4000 or 4000)
    last_burst = end + headers * -(-end // 500) if super_frames else end % 500 + headers
    took = (total - last_burst) * SECOND // 200_000
    assert last - first == pytest.approx(took, abs=2 * CREDIT_NS)
    assert rig.arrived() == stream.wire


def test_short_packets_count_as_padded_frames():
    rig, stream, handle = filled(GCM, [0] * 40, rate=6000)
    for at in range(50):
        rig.post_part(handle, stream, at, at + 1)
    rig.run()
    wake_ups(rig, SECOND // 2)
    assert rig.counter("TX_BYTES") == 60 * 50
    assert rig.wire.sent[-1].at_ns - rig.wire.sent[0].at_ns == pytest.approx(
        490 * MILLISECOND, abs=2 * CREDIT_NS
    )


def test_wake_ups_are_asked_for_when_the_next_frame_is_due():
    rig, stream, handle = filled(GCM, [9000], rate=100_000)
    assert rig.nic.next_deadline_ns() is None
    post_all(rig, handle, stream)
    assert len(rig.sent) == 1
    first = max(0, rig.now_ns - CREDIT_NS)
    assert rig.nic.next_deadline_ns() == first + 1054 * SECOND // 100_000
    wake_ups(rig, SECOND)
    times = [frame.at_ns for frame in rig.wire.sent[1:]]
    assert times == [first + n * 1054 * SECOND // 100_000 for n in range(1, 10)]
    assert rig.nic.next_deadline_ns() is None
    assert rig.counter("TX_TLS_PACED") == 9
    assert rig.arrived() == stream.wire


def test_flows_and_other_packets_of_a_queue_do_not_wait_for_each_other():
    rig = TlsRig()
    streams = [Stream(GCM, seed=seed) for seed in range(3)]
    rates = [10_000, 100_000, 0]
    handles = [
        rig.create(stream, rate=rate, local_port=port)
        for port, (stream, rate) in enumerate(zip(streams, rates, strict=True))
    ]
    for stream in streams:
        stream.add(9900)
    for begin in range(0, 9000, 1000):
        for port, stream in enumerate(streams):
            rig.post_part(handles[port], stream, begin, begin + 1000, local_port=port)
        rig.send(rig.queue, make_frame(begin, b"plain", local_port=9), CHECKSUMS)
    rig.queue.ring_doorbell()
    rig.run()
    assert [done.status for done in rig.queue.reap()] == [0] * 36
    got = {port: [] for port in (0, 1, 2, 9)}
    for frame in rig.sent:
        got[int.from_bytes(frame[34:36], "big")].append(frame[54:])
    assert [len(got[port]) for port in (0, 1, 2, 9)] == [1, 1, 9, 9]
    start = rig.now_ns
    wake_ups(rig, SECOND)
    for port, rate in enumerate(rates[:2]):
        own = [frame for frame in rig.wire.sent if frame.data[34:36] == port.to_bytes(2, "big")]
        assert b"".join(frame.data[54:] for frame in own) == streams[port].wire[:9000]
        expected = start + 8 * 1054 * SECOND // rate
        assert own[-1].at_ns == pytest.approx(expected, abs=CREDIT_NS)


def packets_of_8k(rig, handle, stream):
    for begin in range(0, len(stream), 8192):
        end = min(begin + 8192, len(stream))
        rig.post_part(handle, stream, begin, end, mss=1448)
        rig.run()


def overfull(rate=1_000_000):
    """A flow with as much as it may hold, and more in the ring."""
    rig, stream, handle = filled(GCM, [16384] * 20, rate=rate, entries=128)
    packets_of_8k(rig, handle, stream)
    return rig, stream, handle


def test_the_queue_waits_when_a_flow_holds_enough():
    rig, stream, handle = overfull()
    held = rig.flow(handle).pace.held_bytes
    assert HELD_BYTES <= held < HELD_BYTES + 9000
    taken = len(rig.queue.reap())
    waiting = -(-len(stream) // 8192) - taken
    assert waiting > 3
    rig.send(rig.queue, make_frame(1, b"behind it", local_port=1), CHECKSUMS)
    rig.queue.ring_doorbell()
    other = rig.tx(1)
    other.enable()
    rig.send(other, make_frame(1, b"elsewhere", local_port=1), CHECKSUMS)
    other.ring_doorbell()
    rig.run()
    fresh = Stream(GCM, seed=1)
    beside = rig.create(fresh, local_port=2)
    fresh.add(100)
    rig.post_part(beside, fresh, 0, len(fresh), local_port=2, queue=other)
    rig.run()
    assert [len(frame) for frame in rig.sent[-2:]] == [63, 54 + len(fresh)]
    wake_ups(rig, 20 * MILLISECOND)
    assert HELD_BYTES - 1502 <= rig.flow(handle).pace.held_bytes < HELD_BYTES + 9000
    wake_ups(rig, SECOND)
    done = [entry.status for entry in rig.queue.reap()]
    assert done == [0] * (waiting + 1)
    arrivals = rig.arrivals()
    assert b"".join(data for port, _, data in arrivals if port == 40000) == stream.wire
    own = [number for number, (port, *_) in enumerate(arrivals) if port == 40000]
    behind = [data for _, _, data in arrivals].index(b"behind it")
    assert own[0] < behind < own[-1]  # when the ring was free: it does not wait for its own time
    assert rig.diagnostics == []


def test_the_rate_command_takes_effect_at_once():
    rig, stream, handle = filled(GCM, [16000] * 4, rate=1000)
    post_all(rig, handle, stream, 1400)
    assert rig.rate(handle, 1_000_000).status == 0
    assert rig.query(handle)[1].rate_bytes_per_s == 1_000_000
    start = len(rig.wire.sent)
    wake_ups(rig, 40 * MILLISECOND)
    sent = sum(len(frame) for frame in rig.sent[start:])
    assert sent == pytest.approx(40_000, abs=3000)
    assert rig.rate(handle, 0).status == 0
    assert rig.arrived() == stream.wire
    rig.queue.reap()
    assert rig.query(handle)[1].rate_bytes_per_s == 0
    end = len(stream)
    stream.add(500)
    rig.send_part(handle, stream, end, len(stream))
    assert rig.arrived() == stream.wire[end:]
    assert rig.nic.next_deadline_ns() is None


def test_a_rate_for_a_flow_that_had_none():
    rig, stream, handle = filled(GCM, [9000])
    rig.send_part(handle, stream, 0, 1000)
    assert rig.rate(handle, 10_000).status == 0
    for begin in range(1000, 9000, 1000):
        rig.post_part(handle, stream, begin, begin + 1000)
    rig.run()
    assert len(rig.sent) == 2
    wake_ups(rig, SECOND)
    assert rig.arrived() == stream.wire[:9000]


def test_acks_keep_their_place_and_retransmits_theirs():
    rig, stream, handle = filled(GCM, [9000], rate=20_000)
    rig.post_part(handle, stream, 0, 1000)
    rig.post_packet(handle, make_frame(77, b""))
    rig.post_part(handle, stream, 1000, 2000)
    rig.post_part(handle, stream, 0, 500, presync=True)
    rig.post_packet(handle, make_frame(78, b""))
    rig.run()
    assert len(rig.queue.reap()) == 5
    wake_ups(rig, SECOND)
    assert [(sequence, len(data)) for _, sequence, data in rig.arrivals()] == [
        (1000, 1000), (77, 0), (2000, 1000), (1000, 500), (78, 0),
    ]  # fmt: skip


def test_destroy_sends_what_is_held_and_what_waits_in_the_ring():
    rig, stream, handle = overfull(rate=1000)
    rig.command(TlsFlowDestroyCommand(handle=handle))
    assert rig.arrived() == stream.wire
    assert [done.status for done in rig.queue.reap()] == [0] * -(-len(stream) // 8192)
    assert not rig.sent


@pytest.mark.parametrize("kind", list(ResetKind), ids=lambda kind: kind.name)
def test_reset_forgets_what_is_held(kind):
    rig, _, handle = overfull()
    rig.wire.sent.clear()
    rig.nic.reset(kind)
    assert rig.nic.next_deadline_ns() is None
    rig.up()
    rig.run(10 * SECOND)
    assert not rig.sent
    assert rig.counter("TX_PACKETS") == 0
    again = Stream(GCM)
    fresh = rig.create(again, rate=1000)
    assert fresh != handle
    again.add(500)
    rig.send_part(fresh, again, 0, len(again))
    assert rig.arrived() == again.wire


def test_link_down_drops_what_is_held():
    rig, stream, handle = filled(GCM, [9000], rate=1000)
    post_all(rig, handle, stream)
    packets = len(rig.queue.reap())
    rig.nic.set_link(False)
    assert rig.counter("TX_DROP_LINK_DOWN") == packets - 1
    assert rig.counter("TX_PACKETS") == packets
    assert rig.counter("TX_SENT_PACKETS") == 1
    assert rig.diagnostics == [Diagnostic.TX_LINK_DOWN] * (packets - 1)
    rig.nic.set_link(True)
    rig.run(100 * SECOND)
    assert len(rig.sent) == 1
    assert not rig.flow(handle).pace.held_bytes
    rig.wire.sent.clear()
    done = rig.send_part(handle, stream, 0, 1000, presync=True)
    assert done.status == TxStatus.OK
    assert rig.arrived() == stream.wire[:1000]


def test_link_down_frees_the_queue_that_waits():
    rig, stream, _ = overfull(rate=1000)
    taken = len(rig.queue.reap())
    rig.nic.set_link(False)
    rig.run()
    done = [entry.status for entry in rig.queue.reap()]
    assert done == [TxStatus.LINK_DOWN] * (-(-len(stream) // 8192) - taken)
    assert rig.counter("TX_PACKETS") == taken + len(done)


def test_stopping_the_queue_keeps_what_the_card_has_taken():
    rig, stream, handle = filled(GCM, [9000], rate=10_000)
    post_all(rig, handle, stream)
    rig.queue.disable()
    wake_ups(rig, 2 * SECOND)
    assert rig.arrived() == stream.wire
