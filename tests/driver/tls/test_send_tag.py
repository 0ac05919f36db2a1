"""Send tags packet by packet: outcomes, counters, descriptors, and what is dropped."""

import pytest
from flows import ADDRESS, HEADER_BYTES, START, Stream, make_session, packet_headers, payloads

from tlsnic.abi.enums import CipherSuite, Diagnostic, PresyncFlags, TxFlags
from tlsnic.abi.structures import TlsFlow, TlsPresync, TxDescriptor
from tlsnic.driver.errors import ResyncPendingError, RingFullError, SendTagRefused
from tlsnic.driver.tls.send_tag import OutcomeKind

GCM13, CBC12 = CipherSuite.TLS13_AES_128_GCM, CipherSuite.TLS12_AES_CBC_SHA256
MASK = 0xFFFF_FFFF
COUNTERS = ("encrypted_packets", "ooo", "skip_no_sync_data", "drop_no_sync_data", "drop_bypass_req")


@pytest.fixture
def queue(nic):
    return nic.tx[0]


@pytest.fixture
def tag(nic):
    return nic.snd_tag_alloc(make_session(GCM13), ADDRESS, START)


def counts(tag):
    values = tag.counters.as_dict()
    return tuple(values[f"tx_tls_{name}"] for name in COUNTERS)


def chain(queue, first, last):
    """Descriptors posted between two tickets, and the bytes of their buffers."""
    view = queue.ring.view
    found = []
    for position in range(first, last):
        start = position % queue.entries * TxDescriptor.SIZE
        descriptor = TxDescriptor.unpack_from(view, start)
        memory = queue._bounce
        offset = descriptor.address - memory.iova
        found.append((descriptor, bytes(memory.view[offset : offset + descriptor.length])))
    return found


def send_chain(stream, queue, sequence, length, **options):
    """The descriptors of a packet that is a part of the stream."""
    before = queue.posted
    outcome = stream.send(queue, sequence, length, **options)
    return outcome.kind, chain(queue, before, queue.posted)


def test_in_order_is_one_descriptor_with_the_handle(tag, queue):
    stream = Stream(tag, tag.session)
    stream.write(500)
    kind, ((descriptor, data),) = send_chain(stream, queue, START, 300, vlan=None, report=True)
    assert kind is OutcomeKind.IN_ORDER
    assert data == packet_headers(START, 300) + tag.records.read(START, 300)
    assert descriptor.send_tag == tag.handle
    assert descriptor.header_length == HEADER_BYTES
    assert descriptor.flags == (
        TxFlags.TLS
        | TxFlags.L4_CHECKSUM
        | TxFlags.IP_CHECKSUM
        | TxFlags.REPORT
        | TxFlags.END_OF_PACKET
    )
    _, ((descriptor, _),) = send_chain(stream, queue, START + 300, 200, mss=90)
    assert descriptor.flags & TxFlags.SEGMENT
    assert descriptor.mss == 90
    assert counts(tag) == (2, 0, 0, 0, 0)
    assert tag.counters.tx_tls_encrypted_bytes == 500


@pytest.mark.parametrize(
    ("first", "last", "prefixed"),
    [
        (0, 50, False),
        (3, 50, False),  # inside the header
        (5, 50, False),  # keystream alone
        (40, 100, False),
        (40, 106, False),  # up to the tag
        (40, 107, True),  # one byte of it
        (110, 122, True),  # nothing but tag
        (5, 122, True),
        (40, 150, True),  # into the next record
        (4, 122, False),  # the header brings all
    ],
)
def test_a_retransmit_brings_the_prefix_only_when_the_card_needs_it(
    card, tag, queue, first, last, prefixed
):
    stream = Stream(tag, tag.session)
    bounds = stream.write(100, 100)
    size = bounds[1] - START
    assert size == 122
    stream.send(queue, START, 2 * size)
    kind, descriptors = send_chain(stream, queue, START + first, last - first)
    assert kind is OutcomeKind.PRESYNC
    flags = [descriptor.flags for descriptor, _ in descriptors]
    assert flags[:-1] == [TxFlags.PRESYNC, TxFlags.PREFIX][: 1 + prefixed]
    assert flags[-1] & TxFlags.END_OF_PACKET
    block = TlsPresync.unpack_from(descriptors[0][1])
    prefix = tag.records.read(START, first) if prefixed else b""
    assert block == TlsPresync(
        tcp_sequence=START,
        flags=PresyncFlags.PREFIX if prefixed else 0,
        prefix_length=len(prefix),
        record_number=0,
        record_header=tag.records.read(START, 5).ljust(24, b"\0"),
    )
    assert b"".join(data for descriptor, data in descriptors[1:-1]) == prefix
    assert len(card.frames) == 2
    assert not card.codes


def test_moving_the_state_inside_a_record_takes_the_prefix(tag, queue):
    stream = Stream(tag, tag.session)
    stream.write(500)
    stream.send(queue, START, 50)
    _, descriptors = send_chain(stream, queue, START + 40, 100)
    block = TlsPresync.unpack_from(descriptors[0][1])
    assert block.flags == PresyncFlags.UPDATE_STATE | PresyncFlags.PREFIX
    assert descriptors[1][1] == tag.records.read(START, 40)


def test_cbc_packets_bring_the_rest_of_a_cut_block(nic, card, queue):
    tag = nic.snd_tag_alloc(make_session(CBC12), ADDRESS, START)
    stream = Stream(tag, tag.session)
    *_, end = stream.write(100, 100)
    for first, last in ((0, 21), (21, 22), (22, 37), (37, 60), (60, end - START)):
        kind, descriptors = send_chain(stream, queue, START + first, last - first)
        assert kind is OutcomeKind.IN_ORDER
        rest = -(last - 21) % 16 if last not in (21, end - START) else 0
        assert [d.flags & TxFlags.SUFFIX for d, _ in descriptors] == [0, TxFlags.SUFFIX][
            : 1 + bool(rest)
        ]
        if rest:
            assert descriptors[-1][1] == tag.records.read(START + last, rest)
    assert not card.codes


def test_data_from_before_the_start_goes_plain_and_across_it_is_dropped(card, tag, queue):
    stream = Stream(tag, tag.session)
    stream.write(100)
    before = START - 60
    outcome = tag.transmit(queue, packet_headers(before, 60), before, b"h" * 60)
    assert outcome.kind is OutcomeKind.PLAIN
    across = tag.transmit(queue, packet_headers(before, 61), before, b"h" * 61)
    assert across == (OutcomeKind.DROPPED_BYPASS_REQ, None)
    stream.send(queue, START, 100)
    assert payloads(card.frames)[0] == (before, b"h" * 60)
    assert counts(tag) == (1, 2, 1, 0, 1)
    assert len(card.frames) == 2


def test_a_retransmit_of_acknowledged_data_is_dropped(card, tag, queue):
    stream = Stream(tag, tag.session)
    bounds = stream.write(100, 100)
    stream.send(queue, START, bounds[2] - START)
    assert tag.ack(bounds[1] + 5) == 1
    frame = tag.transmit(queue, packet_headers(START, 10), START, bytes(10))
    assert frame == (OutcomeKind.DROPPED_NO_SYNC_DATA, None)
    assert stream.send(queue, bounds[1], 122).kind is OutcomeKind.PRESYNC
    assert counts(tag) == (2, 2, 0, 1, 0)
    assert len(card.frames) == 2


def test_data_without_a_record_is_an_error_of_the_caller(tag, queue):
    stream = Stream(tag, tag.session)
    stream.write(100)
    for sequence, length in ((START + 122, 10), (START + 121, 2), (START + 200, 10)):
        with pytest.raises(LookupError):
            tag.transmit(queue, packet_headers(sequence, length), sequence, bytes(length))
    assert queue.posted == 0


def test_pure_acks_are_plain(card, tag, queue):
    before = queue.posted
    outcome = tag.transmit(queue, packet_headers(START, 0), START, b"", mss=100)
    assert outcome.kind is OutcomeKind.PLAIN
    ((descriptor, _),) = chain(queue, before, queue.posted)
    assert not descriptor.flags & (TxFlags.TLS | TxFlags.SEGMENT)
    assert counts(tag) == (0, 0, 0, 0, 0)
    assert not card.codes


def test_no_expected_number_is_read_while_a_resync_is_pending(card, tag, queue):
    stream = Stream(tag, tag.session)
    bounds = stream.write(100, 100, 100, 100)
    assert tag.expected_sequence == START
    assert stream.send(queue, START + 10, 30).kind is OutcomeKind.SOFTWARE
    assert tag.is_resync_pending
    with pytest.raises(ResyncPendingError):
        _ = tag.expected_sequence
    assert stream.send(queue, START + 40, 50).kind is OutcomeKind.SOFTWARE
    assert stream.send(queue, START, 20).kind is OutcomeKind.PRESYNC
    assert stream.send(queue, bounds[1] + 1, 5).kind is OutcomeKind.SOFTWARE
    assert tag.is_resync_pending
    assert stream.send(queue, bounds[2], 60).kind is OutcomeKind.PRESYNC
    assert not tag.is_resync_pending
    assert tag.expected_sequence == bounds[2] + 60
    assert counts(tag) == (2, 5, 0, 0, 0)
    assert not card.codes


def test_the_stack_names_the_place_to_go_on(card, tag, queue):
    stream = Stream(tag, tag.session)
    bounds = stream.write(100, 100, 100)
    stream.send(queue, START + 10, 30)
    with pytest.raises(ValueError, match="no record starts"):
        tag.resync(START + 40)
    tag.resync(bounds[2])
    assert not tag.is_resync_pending
    assert tag.expected_sequence == bounds[2]
    assert stream.send(queue, START, 20).kind is OutcomeKind.PRESYNC
    assert tag.query().tcp_sequence == START
    assert stream.send(queue, bounds[2], 60).kind is OutcomeKind.PRESYNC
    assert tag.query().tcp_sequence == bounds[2] + 60
    assert stream.send(queue, bounds[2] + 60, 62).kind is OutcomeKind.IN_ORDER
    assert counts(tag) == (3, 2, 0, 0, 0)
    tag.resync(tag.expected_sequence)
    assert tag.expected_sequence == bounds[3]
    assert not card.codes


def test_a_full_ring_changes_nothing(card, tag, queue):
    stream = Stream(tag, tag.session)
    bounds = stream.write(*[100] * 3)
    stream.send(queue, START, 122)
    card.paused = True
    while True:
        try:
            queue.send(bytes(60))
        except RingFullError:
            break
    before = counts(tag), tag.expected_sequence
    for sequence in (bounds[1], bounds[2], START):
        with pytest.raises(RingFullError):
            stream.send(queue, sequence, 100)
    assert (counts(tag), tag.expected_sequence) == before
    card.paused = False
    card.run()
    assert stream.send(queue, bounds[1], 122).kind is OutcomeKind.IN_ORDER


def test_a_card_without_presync_blocks_leaves_retransmits_to_software(card, nic, queue):
    nic.capabilities = nic.capabilities._replace(tls_features=0)
    tag = nic.snd_tag_alloc(make_session(GCM13), ADDRESS, START)
    stream = Stream(tag, tag.session)
    bounds = stream.write(100, 100, 100)
    assert tag.fallback == "software"
    stream.send(queue, START, 122)
    assert stream.send(queue, START + 10, 20).kind is OutcomeKind.SOFTWARE
    assert stream.send(queue, bounds[1] + 10, 20).kind is OutcomeKind.SOFTWARE
    tag.resync(bounds[2])
    assert tag.is_resync_pending
    assert stream.send(queue, bounds[2], 122).kind is OutcomeKind.SOFTWARE
    assert not card.codes


def test_what_the_card_does_not_offer_is_refused_before_keys_are_shown(card, nic):
    nic.capabilities = nic.capabilities._replace(
        tls_tx_suites=int(CBC12), offloads=nic.capabilities.offloads & 0xFFFF
    )
    commands = nic.admin._posted
    for session, options in (
        (make_session(GCM13), {}),
        (make_session(CBC12, encrypt_then_mac=True), {}),
        (make_session(CBC12), {"rate_bytes_per_s": 1}),
    ):
        with pytest.raises(SendTagRefused, match="UNSUPPORTED") as caught:
            nic.snd_tag_alloc(session, ADDRESS, START, **options)
        assert session.key.hex() not in str(caught.value)
    assert nic.admin._posted == commands


def test_the_flow_block_says_what_the_reference_asks_for(card, nic, monkeypatch):
    seen = []
    original = nic.admin.submit

    def spy(command, block=None):
        if block is not None:
            seen.append((bytes(block.view), block.iova))
        return original(command, block)

    monkeypatch.setattr(nic.admin, "submit", spy)
    session = make_session(CBC12, encrypt_then_mac=True, record_number=7, max_plaintext=1024)
    address = ADDRESS._replace(vlan_id=33)
    nic.snd_tag_alloc(session, address, 0x12345678, rate_bytes_per_s=10**9, record_number=8)
    ((block, iova),) = seen
    flow = TlsFlow.unpack_from(block)
    assert flow == TlsFlow(
        direction=0,
        ip_version=4,
        flags=1 | 8 | 16,
        tls_version=0x0303,
        vlan_id=33,
        suite=CBC12,
        record_number=8,
        tcp_sequence=0x12345678,
        local_port=4000,
        remote_port=443,
        rate_bytes_per_s=10**9,
        key_length=16,
        iv_length=0,
        mac_key_length=32,
        max_plaintext=1024,
        local_address=b"\x0a\0\0\1".ljust(16, b"\0"),
        remote_address=b"\x0a\0\0\2".ljust(16, b"\0"),
        key=bytes(session.key).ljust(32, b"\0"),
        iv=bytes(16),
        mac_key=bytes(session.mac_key).ljust(48, b"\0"),
    )
    at = iova - 0x1_0000_0000
    assert not any(card.memory[at : at + TlsFlow.SIZE])
    assert bytes(session.key) not in bytes(card.memory)


def test_counters_of_all_tags_are_summed_up_freed_ones_included(nic, queue):
    for port in range(1, 4):
        tag = nic.snd_tag_alloc(make_session(GCM13), ADDRESS._replace(local_port=port), START)
        stream = Stream(tag, tag.session)
        stream.write(100)
        address = ADDRESS._replace(local_port=port)
        head = packet_headers(START, 50, address)
        tag.transmit(queue, head, START, tag.records.read(START, 50))
        if port < 3:
            tag.free()
    total = nic.tls_counters
    assert (total.tx_tls_ctx, total.tx_tls_del) == (3, 2)
    assert total.tx_tls_ctx - total.tx_tls_del == len(nic.send_tags) == 1
    assert (total.tx_tls_encrypted_packets, total.tx_tls_encrypted_bytes) == (3, 150)
    assert repr(total).startswith("<TlsCounters ")
    counters = nic.counters()
    for name in ("encrypted_packets", "encrypted_bytes", "ctx", "del", "ooo"):
        assert counters[f"TX_TLS_{name.upper()}"] == getattr(total, f"tx_tls_{name}"), name


def test_a_tag_shows_no_keys(tag):
    shown = repr(tag) + repr(tag.session) + repr(tag.counters)
    assert tag.session.key.hex() not in shown
    assert "TLS13_AES_128_GCM" in repr(tag)


def test_a_drop_for_another_reason_does_not_part_card_and_driver(card, tag, queue):
    stream = Stream(tag, tag.session)
    stream.write(100)
    bad = packet_headers(START - 200, 50)  # a packet of another flow, by its ports
    queue.send(bad[:34] + b"\0\1" + bad[36:] + bytes(50), checksum=True, send_tag=tag.handle)
    queue.reap()
    assert queue.drops[-1].detail == Diagnostic.TLS_TUPLE
    assert stream.send(queue, START, 122).kind is OutcomeKind.IN_ORDER
    assert not tag.is_resync_pending
