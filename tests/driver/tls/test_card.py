"""Driver and card together: what leaves is what software TLS makes, whatever way it took."""

import random
from itertools import pairwise

import pytest
from flows import ADDRESS, START, Stream, make_session, packet_headers, payloads

from tlsnic.abi.enums import CipherSuite, CommandStatus, Diagnostic
from tlsnic.abi.suites import SUITES
from tlsnic.driver.errors import CommandTimeoutError, SendTagDeadError, SendTagRefused
from tlsnic.driver.tls.send_tag import OutcomeKind
from tlsnic.driver.tls.software import SoftwareTls
from tlsnic.driver.tx import DmaRange

IN_ORDER, PRESYNC = OutcomeKind.IN_ORDER, OutcomeKind.PRESYNC
SOFTWARE = OutcomeKind.SOFTWARE
MASK = 0xFFFF_FFFF
GCM13 = CipherSuite.TLS13_AES_128_GCM
CASES = [(suite, False) for suite in SUITES] + [
    (suite, True)
    for suite in (
        CipherSuite.TLS12_AES_CBC_SHA1,
        CipherSuite.TLS12_AES_CBC_SHA256,
        CipherSuite.TLS12_AES_CBC_SHA384,
    )
]
IDS = [f"{suite.name}{'-etm' * etm}" for suite, etm in CASES]


def connect(nic, suite=GCM13, etm=False, **options):
    session = make_session(
        suite, encrypt_then_mac=etm, key_bytes=SUITES[suite].key_bytes[-1], record_number=5
    )
    tag = nic.snd_tag_alloc(session, ADDRESS, START, **options)
    return tag, Stream(tag, session)


def check(card, tag, session, upto):
    """Every frame's payload is that of software TLS at its place, and none is laid out."""
    length = upto - START & 0xFFFF_FFFF
    wire = SoftwareTls(session).stream(tag.records, START, length)
    for sequence, payload in payloads(card.frames):
        at = sequence - START & 0xFFFF_FFFF
        assert payload == wire[at : at + len(payload)], hex(sequence)
    return wire


def cut(source, start, end, most):
    """Places that cut a range into packets."""
    left = end - start & 0xFFFF_FFFF
    while left:
        size = min(left, source.randint(1, most))
        yield start, size
        start = start + size & 0xFFFF_FFFF
        left -= size


@pytest.mark.parametrize(("suite", "etm"), CASES, ids=IDS)
def test_the_stream_is_that_of_software_tls_however_it_is_cut(card, nic, suite, etm):
    tag, stream = connect(nic, suite, etm)
    *_, end = stream.write(1, 0, 700, 64, 16, 15, 1200, 3)
    for sequence, size in cut(random.Random(3), START, end, 90):
        assert stream.send(nic.tx[0], sequence, size).kind is IN_ORDER
        nic.tx[0].reap()
    wire = check(card, tag, tag.session, end)
    assert b"".join(payload for _, payload in payloads(card.frames)) == wire
    assert not card.codes
    assert tag.query().tcp_sequence == end == tag.expected_sequence


@pytest.mark.parametrize("fallback", ["presync", "software"])
@pytest.mark.parametrize(("suite", "etm"), CASES, ids=IDS)
def test_any_part_can_be_sent_again_and_the_stream_goes_on(card, nic, suite, etm, fallback):
    tag, stream = connect(nic, suite, etm)
    tag.fallback = fallback
    *_, end = stream.write(40, 0, 100, 33)
    total = end - START & 0xFFFF_FFFF
    stream.send(nic.tx[0], START, total)
    source = random.Random(4)
    kind = PRESYNC if fallback == "presync" else SOFTWARE
    for _ in range(60):
        offset = source.randrange(total)
        size = source.randint(1, total - offset)
        at = START + offset & 0xFFFF_FFFF
        assert stream.send(nic.tx[0], at, size).kind is kind
        nic.tx[0].reap()
    *_, after = stream.write(50)
    assert stream.send(nic.tx[0], end, after - end & 0xFFFF_FFFF).kind is IN_ORDER
    check(card, tag, tag.session, after)
    assert len(card.frames) == 62
    assert not card.codes
    assert tag.counters.tx_tls_ooo == 60


@pytest.mark.parametrize(("suite", "etm"), CASES, ids=IDS)
def test_a_retransmit_that_brings_new_data_moves_the_state(card, nic, suite, etm):
    tag, stream = connect(nic, suite, etm)
    *_, end = stream.write(200, 300)
    stream.send(nic.tx[0], START, 100)
    assert stream.send(nic.tx[0], START + 50, 77).kind is PRESYNC
    assert tag.expected_sequence == START + 127
    rest = end - START - 127 & 0xFFFF_FFFF
    assert stream.send(nic.tx[0], START + 127, rest).kind is IN_ORDER
    check(card, tag, tag.session, end)
    assert len(card.frames) == 3
    assert not card.codes


@pytest.mark.parametrize(("suite", "etm"), CASES, ids=IDS)
def test_a_loss_inside_the_host_is_bridged_by_software_until_a_record_starts(card, nic, suite, etm):
    tag, stream = connect(nic, suite, etm)
    bounds = stream.write(100, 100, 100, 100, 100)
    queue = nic.tx[0]
    size = bounds[1] - bounds[0] & 0xFFFF_FFFF
    assert stream.send(queue, bounds[0], size).kind is IN_ORDER
    assert stream.send(queue, bounds[2] + 9, size - 9).kind is SOFTWARE
    assert tag.is_resync_pending
    chained = suite == CipherSuite.TLS10_AES_CBC_SHA1
    assert stream.send(queue, bounds[3], size).kind is (SOFTWARE if chained else PRESYNC)
    assert stream.send(queue, bounds[4], size).kind is (SOFTWARE if chained else IN_ORDER)
    late = stream.send(queue, bounds[1], size + 9)  # what was lost, from TCP
    assert late.kind is (SOFTWARE if chained else PRESYNC)
    check(card, tag, tag.session, bounds[5])
    assert len(card.frames) == 5
    assert not card.codes


@pytest.mark.parametrize(("suite", "etm"), CASES, ids=IDS)
def test_any_order_of_packets_losses_acks_and_rekeys_keeps_the_bytes_right(card, nic, suite, etm):
    tag, stream = connect(nic, suite, etm)
    source = random.Random(f"walk {suite} {etm}")
    chained = suite == CipherSuite.TLS10_AES_CBC_SHA1
    sessions = {0: tag.session}
    truth, software = bytearray(), SoftwareTls(sessions)
    acked = sent = rekeyed = 0
    kinds = set()
    for step in range(250):
        if len(truth) - sent < 600:
            reached = not tag.is_resync_pending and tag.query().tcp_sequence - START & MASK
            if not chained and reached and reached >= rekeyed and source.random() < 0.5:
                fields = {"encrypt_then_mac": etm, "key_bytes": len(tag.session.key)}
                session = sessions[len(sessions)] = make_session(suite, seed=step, **fields)
                tag.modify_rekey(session, stream.end)
                stream.framer.rekey(session)
                rekeyed = len(truth)
            start = stream.end
            stream.write(*(source.choice((0, 1, 15, 16, 120, 400)) for _ in range(6)))
            stream.write(600)
            for entry in tag.records.within(start, stream.end - start & MASK):
                truth += software.encrypt(entry.record, epoch=entry.session_epoch)
        begin = sent
        if source.random() < 0.2 and sent > acked:
            begin = source.randrange(acked, sent)
        elif source.random() < 0.1:
            begin = min(sent + source.randint(1, 300), len(truth) - 1)
        elif tag.is_resync_pending and source.random() < 0.3:
            left = tag.records.within(START + sent & MASK, len(truth) - sent)
            begin = (left[-1].start_sequence - START) & MASK
        size = source.randint(1, min(500, len(truth) - begin))
        kinds.add(stream.send(nic.tx[step & 1], START + begin & MASK, size).kind)
        nic.tx[step & 1].reap()
        sent = max(sent, begin + size)
        if step % 10 == 9:
            upto = source.randint(acked, sent)
            tag.ack(START + upto & MASK)
            first = next(iter(tag.records)).start_sequence
            acked = (first - START) & MASK
    assert chained or len(sessions) > 3
    assert {IN_ORDER, SOFTWARE} <= kinds <= {IN_ORDER, PRESYNC, SOFTWARE}
    for sequence, payload in payloads(card.frames):
        at = sequence - START & MASK
        assert payload == truth[at : at + len(payload)]
    assert len(card.frames) == 250
    assert not card.codes


def test_a_packet_that_the_card_never_took_is_noticed_and_mended(card, nic):
    tag, stream = connect(nic)
    bounds = stream.write(*[100] * 6)
    size = bounds[1] - bounds[0] & 0xFFFF_FFFF
    queue = nic.tx[0]
    with nic.bus.dma_alloc(4096) as memory:
        card.unmapped.add(memory.iova)
        where = DmaRange(memory.iova, size)
        head = packet_headers(bounds[0], size)
        assert tag.transmit(queue, head, bounds[0], where).kind is IN_ORDER
        queue.reap()
        queue.restart()
    assert stream.send(queue, bounds[1], size).kind is IN_ORDER, "nobody knows yet"
    queue.reap()
    assert queue.drops[-1].detail == Diagnostic.TLS_SEQUENCE
    assert tag.is_resync_pending
    assert stream.send(queue, bounds[0], size).kind is PRESYNC, "TCP sends it again"
    assert stream.send(queue, bounds[1], size).kind is PRESYNC
    assert stream.send(queue, bounds[2] + 1, 50).kind is SOFTWARE, "new, but no record starts"
    assert tag.is_resync_pending
    bounds_and_kinds = [(bounds[3], PRESYNC), (bounds[4], IN_ORDER), (bounds[5], IN_ORDER)]
    for start, kind in bounds_and_kinds:
        assert stream.send(queue, start, size).kind is kind
    check(card, tag, tag.session, stream.end)
    assert card.codes == [Diagnostic.DMA_FAULT, Diagnostic.TLS_SEQUENCE]


def test_keys_of_what_is_acknowledged_are_let_go(card, nic):
    """Also when all is acknowledged: only the key of what comes next is needed then."""
    tag, stream = connect(nic)
    for seed in range(2, 6):
        start, end = stream.write(100)
        assert stream.send(nic.tx[0], start, end - start & MASK).kind is IN_ORDER
        tag.modify_rekey(make_session(GCM13, seed=seed), end)
        stream.framer.rekey(tag.session)
    assert tag.ack(stream.end) == 4
    assert list(tag._epochs.sessions.values()) == [tag.session]
    start, end = stream.write(100)
    assert stream.send(nic.tx[0], start, end - start & MASK).kind is IN_ORDER
    (entry,) = tag.records
    sealed = SoftwareTls(tag.session).encrypt(entry.record)
    assert payloads(card.frames)[-1] == (start, sealed)


def test_packets_that_link_down_took_leave_no_packet_behind_them_refused(card, nic):
    """Card and stream have parted, and its completion tells the driver so."""
    tag, stream = connect(nic)
    bounds = stream.write(*[100] * 4)
    size = bounds[1] - bounds[0] & 0xFFFF_FFFF
    queue = nic.tx[0]
    card.core.set_link(False)
    assert stream.send(queue, bounds[0], 60).kind is IN_ORDER
    queue.drain(1)
    assert tag.is_resync_pending
    card.core.set_link(True)
    assert stream.send(queue, bounds[0] + 60, size - 60).kind is SOFTWARE
    assert stream.send(queue, bounds[0], 60).kind is PRESYNC
    assert stream.send(queue, bounds[1], size).kind is PRESYNC
    assert stream.send(queue, bounds[2], size).kind is IN_ORDER
    check(card, tag, tag.session, stream.end)
    assert len(card.frames) == 4
    assert card.codes == [Diagnostic.TX_LINK_DOWN]


@pytest.mark.parametrize("suite", [GCM13, CipherSuite.TLS12_AES_CBC_SHA256])
def test_segments_come_from_payload_in_place(card, nic, suite):
    tag, stream = connect(nic, suite)
    *_, end = stream.write(3000, 5000)
    total = end - START & 0xFFFF_FFFF
    with nic.bus.dma_alloc(16384) as memory:
        memory.view[:total] = tag.records.read(START, total)
        for first, last in ((0, 4001), (4001, total)):
            sequence = START + first & 0xFFFF_FFFF
            outcome = tag.transmit(
                nic.tx[0],
                packet_headers(sequence, last - first),
                sequence,
                DmaRange(memory.iova + first, last - first),
                mss=1000,
            )
            assert outcome.kind is IN_ORDER
        nic.drain_tx(1)
    wire = check(card, tag, tag.session, end)
    assert b"".join(payload for _, payload in payloads(card.frames)) == wire
    assert {len(payload) for _, payload in payloads(card.frames)} == {1000, 1, total - 4001 - 4000}


def test_ninety_nine_rekeys_and_retransmits_with_every_key(card, nic):
    session = make_session(GCM13)
    tag = nic.snd_tag_alloc(session, ADDRESS, START)
    stream = Stream(tag, session)
    queue = nic.tx[0]
    wire = b""
    for generation in range(100):
        if generation:
            session = make_session(GCM13, seed=generation)
            tag.modify_rekey(session, stream.end)
            stream.framer.rekey(session)
        start = stream.end
        *_, end = stream.write(50, content_type=22)
        assert stream.send(queue, start, end - start & 0xFFFF_FFFF).kind is IN_ORDER
        (entry,) = tag.records.within(start, 1)
        assert entry.session_epoch == generation
        wire += SoftwareTls(session).encrypt(entry.record)
        queue.reap()
    size = len(wire) // 100
    kinds = {}
    for generation in (0, 50, 97, 98, 99):
        sequence = START + generation * size + 3 & 0xFFFF_FFFF
        kinds[generation] = stream.send(queue, sequence, size - 3).kind
    assert kinds == {0: SOFTWARE, 50: SOFTWARE, 97: SOFTWARE, 98: PRESYNC, 99: PRESYNC}
    for sequence, payload in payloads(card.frames):
        at = sequence - START & 0xFFFF_FFFF
        assert payload == wire[at : at + len(payload)]
    assert len(card.frames) == 105
    tag.ack(stream.end - size & 0xFFFF_FFFF)
    assert stream.send(queue, stream.end - size & 0xFFFF_FFFF, size).kind is PRESYNC


def test_a_rekey_before_the_last_one_was_reached_is_refused(nic):
    tag, stream = connect(nic)
    *_, end = stream.write(50)
    tag.modify_rekey(make_session(GCM13, seed=2), end)
    with pytest.raises(SendTagRefused, match="BUSY") as caught:
        tag.modify_rekey(make_session(GCM13, seed=3), end)
    assert caught.value.status == CommandStatus.BUSY
    with pytest.raises(ValueError, match="no record starts"):
        tag.modify_rekey(make_session(GCM13, seed=3), end - 1)
    with pytest.raises(ValueError, match="cipher suite"):
        tag.modify_rekey(make_session(CipherSuite.TLS13_AES_256_GCM), end)


def test_tls_1_0_sends_records_again_that_the_card_has_forgotten(card, nic):
    tag, stream = connect(nic, CipherSuite.TLS10_AES_CBC_SHA1)
    bounds = stream.write(*[1] * 300)
    size = bounds[1] - bounds[0] & 0xFFFF_FFFF
    for start in bounds[:-1]:
        stream.send(nic.tx[0], start, size)
        nic.tx[0].reap()
    assert stream.send(nic.tx[0], bounds[45], size).kind is PRESYNC
    assert stream.send(nic.tx[0], bounds[44], size).kind is SOFTWARE
    check(card, tag, tag.session, bounds[-1])
    assert not card.codes
    tag.ack(bounds[1])
    tag._epochs._software = None  # as if none had been needed before: the chain is not known
    assert stream.send(nic.tx[0], bounds[40], size).kind is OutcomeKind.DROPPED_NO_SYNC_DATA
    assert tag.counters.tx_tls_drop_no_sync_data == 1


def test_a_flow_moves_to_another_queue_in_order(card, nic):
    tag, stream = connect(nic)
    bounds = stream.write(100, 100, 100)
    size = bounds[1] - bounds[0] & 0xFFFF_FFFF
    for number, start in enumerate(bounds[:-1]):
        assert stream.send(nic.tx[number & 1], start, size).kind is IN_ORDER
    check(card, tag, tag.session, stream.end)
    assert len(card.frames) == 3
    with nic.tx[0].batch():
        *_, end = stream.write(100, 100)
        stream.send(nic.tx[0], bounds[3], size)
        stream.send(nic.tx[1], bounds[3] + size & 0xFFFF_FFFF, size)
    check(card, tag, tag.session, end)
    assert len(card.frames) == 5
    assert not card.codes


def test_a_rate_limit_holds_frames_and_acks_back_in_order(card, nic):
    tag, stream = connect(nic, rate_bytes_per_s=100_000)
    bounds = stream.write(*[1400] * 20)
    for start, end in pairwise(bounds):
        stream.send(nic.tx[0], start, end - start & 0xFFFF_FFFF)
    ack = tag.transmit(nic.tx[0], packet_headers(stream.end, 0), stream.end, b"")
    assert ack.kind is OutcomeKind.PLAIN
    assert len(card.frames) < 20
    assert tag.query().rate_bytes_per_s == 100_000
    for _ in range(100):
        card.advance(0.01)
    assert len(card.frames) == 21
    assert not payloads(card.frames)[-1][1]
    stream.write(1400, 1400)
    tag.modify_rate(0)
    assert tag.rate_bytes_per_s == tag.query().rate_bytes_per_s == 0


def test_free_waits_for_what_was_posted_and_ends_the_tag(card, nic):
    tag, stream = connect(nic)
    *_, end = stream.write(100)
    size = end - START & 0xFFFF_FFFF
    card.paused = True
    with nic.tx[0].batch():
        stream.send(nic.tx[0], START, size)
        with pytest.raises(CommandTimeoutError):
            tag.free(0.01)
    with pytest.raises(SendTagDeadError, match="being freed"):
        stream.send(nic.tx[0], START, size)
    card.paused = False
    tag.free()
    tag.free()
    assert len(card.frames) == 1
    check(card, tag, tag.session, end)
    assert not tag.is_alive
    for call in (
        lambda: stream.send(nic.tx[0], START, size),
        lambda: tag.modify_rate(1),
        lambda: tag.modify_rekey(tag.session, end),
        lambda: tag.resync(end),
        lambda: tag.expected_sequence,
        tag.query,
    ):
        with pytest.raises(SendTagDeadError, match="freed"):
            call()
    assert (nic.tls_counters.tx_tls_ctx, nic.tls_counters.tx_tls_del) == (1, 1)
    assert nic.tls_counters.tx_tls_encrypted_packets == 1
    again, _ = connect(nic)
    assert again.handle != tag.handle


def test_commands_go_on_while_a_flow_is_closing(card, nic):
    tag, stream = connect(nic)
    *_, end = stream.write(100)
    other = nic.snd_tag_alloc(make_session(GCM13), ADDRESS._replace(local_port=1), START)
    card.wire_busy = True
    stream.send(nic.tx[0], START, end - START & 0xFFFF_FFFF)
    with pytest.raises(CommandTimeoutError):
        tag.free(0.01)
    for _ in range(100):
        assert other.query().tcp_sequence == START
    card.wire_busy = False
    card.core.wire_writable(0)
    tag.free()
    assert len(card.frames) == 1
    assert nic.admin.unknown_responses == 0


@pytest.mark.parametrize("how", ["reset", "close"])
def test_a_reset_ends_all_tags_and_nothing_of_them_remains(card, nic, how):
    tag, stream = connect(nic)
    *_, end = stream.write(100)
    getattr(nic, how)()
    with pytest.raises(SendTagDeadError, match=how):
        stream.send(nic.tx[0], START, end - START & 0xFFFF_FFFF)
    tag.free()
    assert (nic.tls_counters.tx_tls_ctx, nic.tls_counters.tx_tls_del) == (1, 1)
    assert not nic.send_tags
    if how == "reset":
        assert nic.tx_tls
        again, stream = connect(nic)
        stream.write(100)
        assert stream.send(nic.tx[0], START, 50).kind is IN_ORDER
        check(card, again, again.session, stream.end)


def test_what_the_card_refuses_goes_on_in_software(card, nic):
    connect(nic)
    with pytest.raises(SendTagRefused) as caught:
        connect(nic)
    assert caught.value.status == CommandStatus.DUPLICATE
    nic.tx_tls = False
    with pytest.raises(SendTagRefused, match="DISABLED"):
        nic.snd_tag_alloc(make_session(GCM13), ADDRESS._replace(local_port=1), START)
    nic.tx_checksum = False
    with pytest.raises(SendTagRefused, match="DEPENDENCY"):
        nic.snd_tag_alloc(make_session(GCM13), ADDRESS._replace(local_port=1), START)
    assert nic.tls_counters.tx_tls_ctx == len(nic.send_tags) == 1
