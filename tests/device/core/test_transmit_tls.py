"""Packets with TLS through the card: what leaves, what is dropped and why, and what completions say."""

from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stream_bench import CASES, Beside, Chain, Stream, leaks
from tls_rig import CBC, GCM, TlsRig, filled, make_frame

from tlsnic.abi.enums import Diagnostic, QueueState, TlsFlowFlags, TxFlags, TxStatus
from tlsnic.abi.structures import TlsPresync, TxDescriptor

OFFERED = [case for case in CASES if not case.encrypt_then_mac or case.layout.version == 0x0303]
EVERY = pytest.mark.parametrize("case", OFFERED, ids=lambda case: case.id)
BOTH = pytest.mark.parametrize("case", [GCM, CBC], ids=lambda case: case.id)
WIRES = pytest.mark.parametrize("super_frames", [False, True], ids=["cut", "whole"])
DROPS = ("link_down", "bad_packet", "dma", "tls")
UNMAPPED = 0xDEAD_0000
OFFLOADED = TxFlags.TLS | TxFlags.L4_CHECKSUM | TxFlags.IP_CHECKSUM


def check_counters(rig):
    counters = rig.nic.counters
    drops = sum(getattr(counters, f"tx_drop_{reason}") for reason in DROPS)
    assert counters.tx_packets == counters.tx_sent_packets + drops


def check_dropped(rig, completion, diagnostic, handle):
    """Dropped with that diagnostic, counted, and nothing of it on the wire."""
    assert completion.status == TxStatus.TLS_DROPPED
    assert completion.detail == diagnostic
    assert completion.send_tag == handle
    assert rig.diagnostics[-1] is diagnostic
    assert not rig.wire.sent
    assert rig.queue.state is QueueState.RUNNING
    check_counters(rig)


def check_goes_on(rig, handle, stream, position):
    """The flow is as it was: the rest of the stream is encrypted right."""
    end = len(stream)
    for begin in range(position, end, 1000):
        stop = min(begin + 1000, end)
        assert rig.send_part(handle, stream, begin, stop).status == TxStatus.OK
    assert rig.arrived() == stream.wire[position:]


# What leaves


@EVERY
@WIRES
def test_one_segmented_send(case, super_frames):
    rig, stream, handle = filled(case, (0, 1, 5000, 16384), super_frames=super_frames)
    done = rig.send_part(handle, stream, 0, len(stream), mss=1448)
    assert (done.status, done.detail, done.send_tag) == (0, 0, handle)
    assert rig.counter("TX_SEGMENTED") == 1
    assert rig.counter("TX_FRAMES") == -(-len(stream) // 1448)
    assert len(rig.wire.sent) == (1 if super_frames else rig.counter("TX_FRAMES"))
    assert rig.arrived() == stream.wire
    assert rig.counter("TX_TLS_ENCRYPTED_PACKETS") == 1
    assert rig.counter("TX_TLS_ENCRYPTED_BYTES") == len(stream)
    check_counters(rig)


def test_plain_segmented_sends_are_counted(rig):
    queue = rig.tx()
    queue.enable()
    rig.start()
    frame = make_frame(1, bytes(2000))
    rig.send(queue, frame, TxFlags.SEGMENT, mss=500, header_length=54)
    queue.ring_doorbell()
    rig.run()
    assert rig.counter("TX_SEGMENTED") == 1


@WIRES
@pytest.mark.parametrize("ip_version", [4, 6])
@pytest.mark.parametrize("vlan", [None, 0x6005])
@pytest.mark.parametrize("insert", [False, True])
def test_connections_of_every_kind(super_frames, ip_version, vlan, insert):
    rig = TlsRig(super_frames=super_frames)
    stream = Stream(GCM)
    fields = {} if vlan is None else {"flags": TlsFlowFlags.VLAN, "vlan_id": vlan & 0xFFF}
    handle = rig.create(stream, ip_version=ip_version, **fields)
    stream.add(4000)
    options = {"ip_version": ip_version, "vlan": vlan}
    if insert and vlan is not None:
        options = {"ip_version": ip_version, "flags": TxFlags.VLAN_INSERT, "vlan_tci": vlan}
    assert rig.send_part(handle, stream, 0, 1400, **options).status == 0
    assert rig.send_part(handle, stream, 1400, len(stream), mss=1000, **options).status == 0
    for frame in rig.sent:
        assert (frame[12:14] == b"\x81\x00") == (vlan is not None)
    assert rig.arrived() == stream.wire


STEP = st.tuples(
    st.sampled_from(["next", "next", "next", "again", "move"]),
    st.floats(0, 1, exclude_max=True),
    st.one_of(st.integers(1, 50), st.integers(1, 1400), st.integers(1400, 9000)),
    st.sampled_from([0, 1, 100, 536, 1448]),
    st.integers(1, 3),
)


@pytest.mark.parametrize("case", [*OFFERED[1::4], CBC], ids=lambda case: case.id)
@WIRES
@settings(max_examples=10)
@given(
    sizes=st.lists(st.integers(0, 3000), min_size=1, max_size=5), steps=st.lists(STEP, max_size=10)
)
def test_any_packets_of_any_records(case, super_frames, sizes, steps):
    """As in test_encrypt, with segmentation, buffers, completions and checksums."""
    rig, stream, handle = filled(case, sizes, super_frames=super_frames)
    chain, position = Chain(stream), 0
    for kind, place, size, mss, pieces in [*steps, ("next", 0, 60000, 1448, 2)]:
        begin = position if kind == "next" else int(place * len(stream))
        end = min(begin + (size if mss else min(size, 1400)), len(stream))
        if begin == end or not chain.can_start(begin):
            continue
        if mss == 1:
            end = min(end, begin + 60)
        presync = kind != "next"
        options = {"mss": mss, "pieces": pieces, "presync": presync, "update": kind == "move"}
        done = rig.send_part(handle, stream, begin, end, **options)
        assert (done.status, done.send_tag) == (0, handle)
        chain.took(end)
        arrived = b""
        for _, sequence, payload in rig.arrivals():
            assert sequence == stream.sequence_at(begin + len(arrived))
            assert len(payload) <= (mss or 1400)
            arrived += payload
        assert arrived == stream.wire[begin:end]
        if kind != "again":
            position = end
    assert rig.diagnostics == []
    assert rig.query(handle)[1].tcp_sequence == stream.sequence_at(position)
    check_counters(rig)


def test_a_pure_ack_leaves_as_it_is():
    rig, stream, handle = filled()
    rig.post_packet(handle, make_frame(7, b""))
    rig.run()
    assert rig.queue.reap()[0].status == 0
    assert rig.arrivals() == [(40000, 7, b"")]
    check_goes_on(rig, handle, stream, 0)


@BOTH
def test_a_flow_moves_between_queues(case):
    rig, stream, handle = filled(case, (2000, 2000, 2000))
    other = rig.tx(5)
    other.enable()
    for number, begin in enumerate(range(0, len(stream), 777)):
        queue = other if number % 2 else rig.queue
        end = min(begin + 777, len(stream))
        assert rig.send_part(handle, stream, begin, end, queue=queue).status == 0
    assert rig.arrived() == stream.wire


def test_report_and_send_tag_are_those_of_the_first_data_descriptor():
    rig, stream, handle = filled()
    rig.send_part(handle, stream, 0, 400)
    stray = Stream(GCM, seed=5)
    other = rig.create(stray, local_port=40001)
    stray.add(100)
    beside = stream.beside(200, 300)
    for report in (False, True):
        data = TxDescriptor(
            rig.place(make_frame(stream.sequence_at(200), stream.laid_out[200:300])), 154,
            TxFlags.TLS | TxFlags.L4_CHECKSUM | (TxFlags.REPORT if report else 0)
            | TxFlags.END_OF_PACKET,
            send_tag=handle, header_length=54,
        )  # fmt: skip
        rig.queue.post(TxDescriptor(rig.place(beside.presync), 48, TxFlags.PRESYNC).pack())
        rig.queue.post(data.pack())
        rig.queue.ring_doorbell()
        rig.run()
        assert [done.send_tag for done in rig.queue.reap()] == [handle] * report
    done = rig.send_part(other, stray, 0, 50, local_port=40001)
    assert (done.send_tag, done.head) == (other, rig.queue.tail)


# What is dropped


@BOTH
@pytest.mark.parametrize(
    ("options", "diagnostic"),
    [
        ({"sequence": 999}, Diagnostic.TLS_SEQUENCE),
        ({"sequence": 1001}, Diagnostic.TLS_SEQUENCE),
        ({"local_port": 40001}, Diagnostic.TLS_TUPLE),
        ({"ip_version": 6}, Diagnostic.TLS_TUPLE),
        ({"vlan": 0}, Diagnostic.TLS_TUPLE),
        ({"flags": TxFlags.VLAN_INSERT}, Diagnostic.TLS_TUPLE),
        ({"header_length": 0}, Diagnostic.TX_HEADER),
        ({"header_length": 53}, Diagnostic.TX_HEADER),
        ({"header_length": 58}, Diagnostic.TX_HEADER),
        ({"header_length": 600}, Diagnostic.TX_HEADER),
        ({"header_length": 65535}, Diagnostic.TX_HEADER),
        ({"flags": 0x8000}, Diagnostic.TX_FLAGS),
        ({"vlan": None, "mss": 9300}, Diagnostic.TX_LENGTH),
        ({"payload": b"PLAIN TEXT, NO RECORD " * 12}, Diagnostic.TLS_RECORD),
        ({"payload": b"\x17\x03\x03\xff\xff" + bytes(300)}, Diagnostic.TLS_RECORD),
    ],
    ids=str,
)
def test_a_wrong_packet_is_dropped(case, options, diagnostic):
    rig, stream, handle = filled(case, (9400, 100))
    end = 9500 if "mss" in options else 300
    done = rig.send_part(handle, stream, 0, end, **options)
    if options.get("flags") == 0x8000:
        diagnostic = Diagnostic.TX_RESERVED
    check_dropped(rig, done, diagnostic, handle)
    check_goes_on(rig, handle, stream, 0)


def post_raw(rig, *entries):
    entries = list(entries)
    entries[-1] = entries[-1]._replace(flags=entries[-1].flags | TxFlags.END_OF_PACKET)
    for entry in entries:
        rig.queue.post(entry.pack())
    rig.queue.ring_doorbell()
    rig.run()
    (done,) = rig.queue.reap()
    return done


def data_entry(rig, handle, stream, begin, end, flags=OFFLOADED, **fields):
    frame = make_frame(stream.sequence_at(begin), stream.laid_out[begin:end])
    fields = {"send_tag": handle, "header_length": 54, **fields}
    return TxDescriptor(rig.place(frame), len(frame), flags | TxFlags.REPORT, **fields)


@pytest.mark.parametrize(
    ("flags", "fields", "diagnostic"),
    [
        (TxFlags.TLS, {}, Diagnostic.OFFLOAD_DEPENDENCY),
        (TxFlags.TLS | TxFlags.IP_CHECKSUM, {}, Diagnostic.OFFLOAD_DEPENDENCY),
        (TxFlags.TLS | TxFlags.SEGMENT, {}, Diagnostic.TX_SEGMENTATION),
        (TxFlags.TLS | TxFlags.L4_CHECKSUM, {"mss": 100}, Diagnostic.TX_FLAGS),
    ],
)
def test_wrong_offloads_are_dropped(flags, fields, diagnostic):
    rig, stream, handle = filled()
    done = post_raw(rig, data_entry(rig, handle, stream, 0, 200, flags, **fields))
    check_dropped(rig, done, diagnostic, handle)
    check_goes_on(rig, handle, stream, 0)


def test_reserved_words_are_refused_in_every_descriptor():
    rig, stream, handle = filled(CBC)
    rig.send_part(handle, stream, 0, 1000)
    rig.wire.sent.clear()
    for number in range(5):
        rig.post_part(handle, stream, 300, 400, presync=True, pieces=2)
        rig.run()
        assert rig.queue.reap()[0].status == 0
        rig.wire.sent.clear()
        tail = rig.queue.tail
        rig.post_part(handle, stream, 300, 400, presync=True, pieces=2)
        # the last word of the descriptor is the reserved one
        place = (tail + number) % rig.queue.entries * 32 + 24
        rig.host.write(rig.queue.ring + place, b"\x01")
        rig.run()
        (done,) = rig.queue.reap()
        check_dropped(rig, done, Diagnostic.TX_RESERVED, handle)


def test_descriptors_in_any_other_order_are_dropped():
    """Presync, prefix, data, suffix; each of the others once, and with every number missing."""
    rig, stream, handle = filled(CBC)
    rig.send_part(handle, stream, 0, 1000)
    rig.wire.sent.clear()
    beside = stream.beside(300, 405)
    assert all(beside)

    def entries():
        named = {
            flag: TxDescriptor(rig.place(data), len(data), flag)
            for data, flag in zip(
                beside, (TxFlags.PRESYNC, TxFlags.PREFIX, TxFlags.SUFFIX), strict=True
            )
        }
        named[TxFlags.TLS] = data_entry(rig, handle, stream, 300, 405)
        return named

    right = (TxFlags.PRESYNC, TxFlags.PREFIX, TxFlags.TLS, TxFlags.SUFFIX)
    for count in range(1, 5):
        for order in permutations(right, count):
            named = entries()
            done = post_raw(rig, *(named[flag] for flag in order))
            if order == right:
                assert done.status == 0
                assert rig.arrived() == stream.wire[300:405]
            else:
                assert done.status == TxStatus.TLS_DROPPED
                assert not rig.wire.sent
    named = entries()
    for extra in right[:3]:  # twice, where once is all
        order = [*right[: right.index(extra) + 1], *right[right.index(extra) :]]
        assert post_raw(rig, *(named[flag] for flag in order)).status == TxStatus.TLS_DROPPED
    assert not rig.wire.sent
    check_counters(rig)


def test_prefix_and_suffix_may_lie_in_several_buffers():
    rig, stream, handle = filled(CBC)
    rig.send_part(handle, stream, 0, 1000)
    rig.wire.sent.clear()
    presync, prefix, suffix = stream.beside(300, 405)

    def cut(data, flag, size):
        return [
            TxDescriptor(rig.place(data[at : at + size]), len(data[at : at + size]), flag)
            for at in range(0, len(data), size)
        ]

    done = post_raw(
        rig,
        *cut(presync, TxFlags.PRESYNC, 48),
        *cut(prefix, TxFlags.PREFIX, 50),
        data_entry(rig, handle, stream, 300, 405),
        *cut(suffix, TxFlags.SUFFIX, 3),
    )
    assert done.status == 0
    assert rig.arrived() == stream.wire[300:405]


@pytest.mark.parametrize("flag", [TxFlags.PRESYNC, TxFlags.PREFIX, TxFlags.SUFFIX])
@pytest.mark.parametrize(
    "field", ["vlan_tci", "send_tag", "mss", "header_length", "report", "tls", "address", "length"]
)
def test_wrong_fields_beside_the_data(flag, field):
    rig, stream, handle = filled(CBC)
    rig.send_part(handle, stream, 0, 1000)
    rig.wire.sent.clear()
    entries = [
        TxDescriptor(rig.place(data), len(data), kind)
        for data, kind in zip(
            stream.beside(300, 405), (TxFlags.PRESYNC, TxFlags.PREFIX, TxFlags.SUFFIX), strict=True
        )
    ]
    entries.insert(2, data_entry(rig, handle, stream, 300, 405))
    index = [entry.flags for entry in entries].index(flag)
    entry = entries[index]
    diagnostic = Diagnostic.TX_FLAGS
    if field == "report":
        entry = entry._replace(flags=entry.flags | TxFlags.REPORT)
    elif field == "tls":
        entry = entry._replace(flags=entry.flags | TxFlags.TLS)
    elif field == "address":
        entry = entry._replace(address=UNMAPPED)
        diagnostic = Diagnostic.DMA_FAULT
    elif field == "length":
        entry = entry._replace(length=entry.length - 1)
        diagnostic = Diagnostic.TLS_PRESYNC
    else:
        entry = entry._replace(**{field: 1})
    entries[index] = entry
    check_dropped(rig, post_raw(rig, *entries), diagnostic, handle)
    check_goes_on(rig, handle, stream, 1000)


@BOTH
def test_dma_fault_in_the_data(case):
    """The queue goes on, unlike with a packet without TLS."""
    rig, stream, handle = filled(case)
    entry = data_entry(rig, handle, stream, 0, 100)
    more = TxDescriptor(UNMAPPED, 200)
    for entries in ((entry._replace(address=UNMAPPED),), (entry, more)):
        check_dropped(rig, post_raw(rig, *entries), Diagnostic.DMA_FAULT, handle)
    check_goes_on(rig, handle, stream, 0)


def test_before_the_start():
    rig, stream, handle = filled()
    block = TlsPresync(flags=4).pack()
    early = b"handshake, in clear as it was"

    def send(sequence, block=block, prefix=b""):
        rig.post_packet(handle, make_frame(sequence, early), beside=Beside(block, prefix, b""))
        rig.run()
        return rig.queue.reap()[0]

    assert send(1000 - len(early)).status == 0
    assert rig.arrived() == early
    assert rig.counter("TX_TLS_SKIP_NO_SYNC_DATA") == 1
    for sequence in (1000 - len(early) + 1, 999):
        check_dropped(rig, send(sequence), Diagnostic.TLS_PRESYNC, handle)
    assert rig.counter("TX_TLS_DROP_BYPASS_REQ") == 2
    check_dropped(rig, send(1000), Diagnostic.TLS_PRESYNC, handle)
    check_dropped(rig, send(900, prefix=b"x"), Diagnostic.TLS_PRESYNC, handle)
    rig.post_packet(handle, make_frame(999, early))
    rig.run()
    check_dropped(rig, rig.queue.reap()[0], Diagnostic.TLS_SEQUENCE, handle)
    assert rig.counter("TX_TLS_DROP_BYPASS_REQ") == 3
    check_goes_on(rig, handle, stream, 0)


@pytest.mark.parametrize("handle", [0, 1, 0xFFFFFFFF, "stale", "next generation", "other slot"])
def test_handles_that_are_none(handle):
    rig, stream, good = filled()
    names = {"next generation": good + (1 << 18), "other slot": good + 1}
    if handle == "stale":
        handle = good
        rig.destroy(good)
        expected = Diagnostic.TLS_DESTROYED
    else:
        handle = names.get(handle, handle)
        expected = Diagnostic.TLS_HANDLE
    check_dropped(rig, rig.send_part(handle, stream, 0, 300), expected, handle)
    assert rig.counter("TX_TLS_DROP_BAD_HANDLE") == 1


def test_a_handle_without_tls_is_refused():
    rig, stream, handle = filled()
    done = post_raw(rig, data_entry(rig, handle, stream, 0, 100, TxFlags.L4_CHECKSUM))
    assert (done.status, done.detail) == (TxStatus.BAD_PACKET, Diagnostic.TX_FLAGS)
    assert not rig.wire.sent


def test_tls_on_a_later_descriptor_drops_the_packet():
    rig, stream, handle = filled()
    first = data_entry(rig, 0, stream, 0, 100, TxFlags(0), header_length=0)
    for flag in (TxFlags.TLS, TxFlags.PRESYNC, TxFlags.PREFIX, TxFlags.SUFFIX):
        done = post_raw(rig, first, TxDescriptor(rig.place(b"x" * 50), 50, flag, send_tag=handle))
        assert done.status == TxStatus.TLS_DROPPED
        assert not rig.wire.sent


GARBAGE = st.lists(
    st.tuples(
        st.sampled_from([0, *TxFlags, TxFlags.TLS | TxFlags.L4_CHECKSUM]),
        st.integers(0, 0xFFFF),
        st.sampled_from(["data", "presync", "prefix", "unmapped"]),
        st.sampled_from([0, 54, 1]),
        st.sampled_from([0, 0, 1, 1448]),
    ),
    min_size=1,
    max_size=5,
)


@BOTH
@settings(max_examples=120)
@given(packets=st.lists(GARBAGE, min_size=1, max_size=4), noise=st.integers(0, 0x3FF))
def test_no_descriptors_let_plaintext_out(case, packets, noise):
    """TLS somewhere in the chain: what leaves, if anything, shows nothing of the content."""
    rig, stream, handle = filled(case)
    addresses = {
        "data": rig.place(make_frame(1000, stream.laid_out[:1200])),
        "presync": rig.place(stream.beside(0, 1200).presync),
        "prefix": rig.place(stream.laid_out[:1200]),
        "unmapped": UNMAPPED,
    }
    for packet in packets:
        entries = [
            TxDescriptor(
                addresses[kind], 48 if kind == "presync" else size % 1254,
                (flags | (noise if size % 7 == 0 else 0)) & ~TxFlags.END_OF_PACKET,
                send_tag=handle if flags & TxFlags.TLS else 0, header_length=length, mss=mss,
            )
            for flags, size, kind, length, mss in packet
        ]  # fmt: skip
        marked = [entry.flags & 0x3C0 for entry in entries]
        if not any(marked):
            continue
        entries[-1] = entries[-1]._replace(flags=entries[-1].flags | TxFlags.END_OF_PACKET)
        for entry in entries:
            rig.queue.post(entry.pack())
        rig.queue.ring_doorbell()
        rig.run()
        rig.queue.reap()
    assert not any(leaks(frame) for frame in rig.sent)
    check_counters(rig)


# The wire


@WIRES
@BOTH
def test_what_waits_for_the_wire_is_not_overwritten(case, super_frames):
    """The card encrypts into one buffer, which the packet that waits still needs."""
    rig, stream, handle = filled(case, (9000, 9000), super_frames=super_frames)
    rig.wire.blocked = True
    rig.post_part(handle, stream, 0, 9000, mss=1448)
    rig.post_part(handle, stream, 9000, len(stream), mss=1448)
    rig.run()
    rig.nic.forget_views()
    rig.host.write(rig._scratch, bytes(rig.SCRATCH))  # the device has copied what it needs
    stream_again = bytes(stream.laid_out)
    rig.wire.blocked = False
    rig.nic.wire_writable(rig.now_ns)
    rig.host.write(rig._scratch, bytes(rig.SCRATCH))
    assert rig.arrived() == stream.wire[:9000]
    rig.run()  # the second is rubbish now
    assert [done.status for done in rig.queue.reap()] == [0, TxStatus.TLS_DROPPED]
    assert not rig.sent
    assert stream_again == stream.laid_out
    check_goes_on(rig, handle, stream, 9000)


@WIRES
def test_other_flows_do_not_touch_what_waits(super_frames):
    rig, stream, handle = filled(GCM, (5000,), super_frames=super_frames)
    slow = Stream(GCM, seed=3)
    paced = rig.create(slow, rate=1000, local_port=40001)
    slow.add(5000)
    other = rig.tx(1)
    other.enable()
    rig.wire.blocked = True
    rig.post_part(handle, stream, 0, 5000, mss=1000)
    rig.post_part(paced, slow, 0, 2000, mss=1000, queue=other, local_port=40001)
    rig.run()
    assert rig.nic.transmitter.blocked
    rig.wire.blocked = False
    rig.nic.wire_writable(rig.now_ns)
    rig.run()
    ours = b"".join(data for port, _, data in rig.arrivals() if port == 40000)
    assert ours == stream.wire[:5000]


@BOTH
def test_link_down_drops_what_waits_and_has_moved_the_state(case):
    rig, stream, handle = filled(case)
    rig.wire.blocked = True
    rig.post_part(handle, stream, 0, 1000)
    rig.run()
    rig.nic.set_link(False)
    assert [done.status for done in rig.queue.reap()] == [TxStatus.LINK_DOWN]
    done = rig.send_part(handle, stream, 1000, 1200)
    assert (done.status, done.detail) == (TxStatus.LINK_DOWN, Diagnostic.TX_LINK_DOWN)
    rig.wire.blocked = False
    rig.nic.set_link(True)
    assert rig.query(handle)[1].tcp_sequence == stream.sequence_at(1000)
    rig.send_part(handle, stream, 0, 1000, presync=True)
    assert rig.arrived() == stream.wire[:1000]
    check_goes_on(rig, handle, stream, 1000)


def test_query_shows_where_the_stream_is():
    rig, stream, handle = filled()
    rig.send_part(handle, stream, 0, 300)
    rig.send_part(handle, stream, 200, 300, presync=True)
    rig.send_part(handle, stream, 500, 600)
    status, state = rig.query(handle)
    assert status == 0
    assert (state.tcp_sequence, state.record_number) == (1300, 1)
    assert (state.packets, state.payload_bytes, state.presynced) == (2, 400, 1)
    assert (state.out_of_order, state.not_offloaded) == (2, 1)
    assert rig.counter("TX_TLS_OOO") == 2
    assert rig.counter("TX_TLS_DROP_NO_SYNC_DATA") == 1


def test_query_after_the_last_record_number():
    rig = TlsRig()
    stream = Stream(GCM, number=2**64 - 1)
    handle = rig.create(stream)
    stream.add(10)
    rig.send_part(handle, stream, 0, len(stream))
    status, state = rig.query(handle)
    assert (status, state.tcp_sequence) == (0, stream.sequence_at(len(stream)))
    assert state.record_number == 2**64 - 1


def test_old_packets_can_be_copied_by_hand():
    """A flow does not stop the same connection's packets without TLS."""
    rig, stream, handle = filled()
    rig.send(rig.queue, make_frame(5, b"as it is"), TxFlags.L4_CHECKSUM | TxFlags.IP_CHECKSUM)
    rig.queue.ring_doorbell()
    rig.run()
    assert rig.arrived() == b"as it is"
    assert [done.status for done in rig.queue.reap()] == [0]
    check_goes_on(rig, handle, stream, 0)
