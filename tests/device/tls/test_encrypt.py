"""Packets cut anywhere from a stream of records, in order or not: only what the reference made leaves."""

from struct import pack_into

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stream_bench import CASES, Chain, Stream, case_of, leaks

from tlsnic.abi.enums import Diagnostic, PresyncFlags
from tlsnic.abi.structures import TlsPresync
from tlsnic.device.tls.cipher import make_cipher
from tlsnic.device.tls.encrypt import (
    Presync,
    Refused,
    Straddles,
    check_before_start,
    encrypt_in_order,
    encrypt_presynced,
)
from tlsnic.device.tls.flow import RekeyFault, TxFlow
from tlsnic.device.tls.keys import KeyCache, KeyMaterial
from tlsnic.device.tls.record import WipedKey

EVERY = pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
GCM = case_of("TLS13_AES_128_GCM")
GCM12 = case_of("TLS12_AES_128_GCM")
CBC = case_of("TLS12_AES_CBC_SHA256", 16)
CBC10 = case_of("TLS10_AES_CBC_SHA1", 16)
SOME = pytest.mark.parametrize(
    "case",
    [GCM, GCM12, case_of("TLS13_CHACHA20_POLY1305"), CBC, CBC10,
     case_of("TLS12_AES_CBC_SHA256", 16, True)],
    ids=lambda case: case.id,
)  # fmt: skip

SIZES = st.one_of(st.integers(0, 80), st.sampled_from([0, 1, 15, 16, 17, 255, 600]))
RECORDS = st.one_of(
    st.lists(
        st.tuples(SIZES, st.integers(21, 24), st.sampled_from([0, 0, 0, 1, 9])),
        min_size=1,
        max_size=6,
    ),
    # as bulk data has them: all but the last of one size
    st.builds(
        lambda size, count, last: [(size, 23, 0)] * count + [(last, 23, 0)],
        SIZES, st.integers(2, 9), SIZES,
    ),
)  # fmt: skip
BYTES = st.one_of(st.integers(1, 40), st.integers(1, 1200))
PLACE = st.floats(0, 1, exclude_max=True)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("next"), BYTES),
        st.tuples(st.just("again"), PLACE, BYTES, st.booleans()),
    ),
    max_size=14,
)


def cipher_of(stream, first_number):
    keys = KeyMaterial(*stream.keys)
    return make_cipher(stream.case.format(), keys, KeyCache(), first_number)


def make_flow(stream, max_plaintext=16384):
    return TxFlow(
        stream.case.format(max_plaintext),
        cipher_of(stream, stream.number),
        tcp_sequence=stream.sequence,
        record_number=stream.number,
        address=bytes(12),
        vlan_id=None,
    )


def in_order(flow, stream, begin, end):
    out = bytearray(end - begin)
    payload = memoryview(stream.laid_out)[begin:end]
    sequence = stream.sequence_at(begin)
    encrypt_in_order(flow, sequence, payload, memoryview(out), stream.suffix(end))
    return out


def presynced(flow, stream, begin, end, *, beside, payload=None):
    out = bytearray(end - begin)
    payload = memoryview(stream.laid_out[begin:end] if payload is None else payload)
    encrypt_presynced(
        flow,
        stream.sequence_at(begin),
        payload,
        memoryview(out),
        Presync.unpack(beside.presync),
        beside.prefix,
        beside.suffix,
    )
    return out


def again(flow, stream, begin, end, *, update=False):
    return presynced(flow, stream, begin, end, beside=stream.beside(begin, end, update=update))


def filled(case, records=((100, 23, 0), (60, 22, 1), (300, 23, 0)), **options):
    stream = Stream(case, **options)
    flow = make_flow(stream)
    for size, kind, blocks in records:
        stream.add(size, kind=kind, extra_blocks=blocks)
    return stream, flow


@EVERY
@settings(max_examples=25)
@given(records=RECORDS, steps=STEPS, number=st.sampled_from([0, 7, 2**32 - 2, 2**64 - 11]),
       sequence=st.sampled_from([1000, 2**32 - 100, 2**32 - 3]))  # fmt: skip
def test_any_packets_of_any_records(case, records, steps, number, sequence):
    """In order, again, and ahead with or without the state: byte for byte the reference's stream."""
    stream, flow = filled(case, records, number=number, sequence=sequence)
    chain = Chain(stream)
    position = 0
    for step in [*steps, ("rest",)]:
        if step[0] == "again":
            begin = int(step[1] * len(stream))
            end = min(begin + step[2], len(stream))
            before = flow.cursor
            if not chain.can_start(begin):
                header_end = stream.records[stream.index_at(begin)].start + 5
                if end < header_end:
                    continue  # a part of a header goes, as no key is needed for it
                with pytest.raises(Refused):
                    again(flow, stream, begin, end, update=step[3])
                assert flow.cursor == before
                continue
            assert again(flow, stream, begin, end, update=step[3]) == stream.wire[begin:end]
            chain.took(end)
            if step[3]:
                position = end
            else:
                assert flow.cursor == before
        else:
            end = min(position + step[1], len(stream)) if step[0] == "next" else len(stream)
            if position < end:
                assert in_order(flow, stream, position, end) == stream.wire[position:end]
                chain.took(end)
            position = end
        assert flow.sequence == stream.sequence_at(position)


@EVERY
@pytest.mark.parametrize("step", [1, 3, 16, 17])
def test_packets_of_equal_size(case, step):
    stream, flow = filled(case, [(0, 23, 0), (33, 23, 1), (5, 21, 0)])
    for begin in range(0, len(stream), step):
        end = min(begin + step, len(stream))
        assert in_order(flow, stream, begin, end) == stream.wire[begin:end]


@EVERY
def test_every_range_of_a_record_again(case):
    """Every packet within two short records, encrypted out of order with just what it needs."""
    stream, flow = filled(case, [(20, 23, 0), (3, 23, 0)])
    assert in_order(flow, stream, 0, len(stream)) == stream.wire
    cursor = flow.cursor
    for begin in range(len(stream)):
        for end in {
            begin + 1,
            begin + 5,
            *range(begin + 2 + begin % 7, len(stream), 7),
            len(stream),
        }:
            if end > len(stream):
                continue
            assert again(flow, stream, begin, end) == stream.wire[begin:end]
    assert flow.cursor == cursor


@SOME
def test_prefix_is_asked_for_just_when_it_must_be(case):
    """A packet that brings no prefix is refused exactly where the manual wants one."""
    stream, flow = filled(case, [(40, 23, 0), (8, 23, 0)])
    in_order(flow, stream, 0, len(stream))
    cursor = flow.cursor
    total = stream.records[0].total
    for begin in range(total):
        for end in {begin + 1, total - 17, total - 16, total - 15, total, len(stream)}:
            for update in (False, True):
                if end <= begin:
                    continue
                beside = stream.beside(begin, end, update=update)
                header = TlsPresync.unpack_from(beside.presync)
                flags = header.flags & ~PresyncFlags.PREFIX
                bare = header._replace(flags=flags, prefix_length=0).pack()
                beside = beside._replace(presync=bare, prefix=b"")
                flow.cursor = cursor
                if stream.needs_prefix(begin, end, update):
                    with pytest.raises(Refused) as refusal:
                        presynced(flow, stream, begin, end, beside=beside)
                    assert refusal.value.code is Diagnostic.TLS_PRESYNC
                    assert flow.cursor == cursor
                else:
                    out = presynced(flow, stream, begin, end, beside=beside)
                    assert out == stream.wire[begin:end]


@pytest.mark.parametrize("case", [CBC, CBC10], ids=lambda case: case.id)
def test_suffix_one_byte_short_is_refused(case):
    stream, flow = filled(case, [(100, 23, 0)])
    tried = 0
    for end in range(1, len(stream)):
        suffix = stream.suffix(end)
        if not suffix:
            continue
        tried += 1
        cursor = flow.cursor
        out = memoryview(bytearray(end))
        payload = memoryview(stream.laid_out)[:end]
        with pytest.raises(Refused) as refusal:
            encrypt_in_order(flow, stream.sequence, payload, out, suffix[:-1])
        assert refusal.value.code is Diagnostic.TLS_PRESYNC
        assert flow.cursor == cursor
        assert not any(out)
        beside = stream.beside(0, end)._replace(suffix=suffix[:-1])
        with pytest.raises(Refused):
            presynced(flow, stream, 0, end, beside=beside)
    assert tried > 90
    assert in_order(flow, stream, 0, len(stream)) == stream.wire


@SOME
@settings(max_examples=100)
@given(begin=PLACE, size=BYTES, at=st.integers(0, 47), value=st.integers(1, 255),
       update=st.booleans())  # fmt: skip
def test_a_wrong_presync_block_never_gives_plaintext(case, begin, size, at, value, update):
    """Dropped with the flow as it was, or encrypted, if wrongly: the device cannot know it all."""
    stream, flow = filled(case)
    in_order(flow, stream, 0, len(stream))
    cursor = flow.cursor
    begin = int(begin * len(stream))
    end = min(begin + size, len(stream))
    beside = stream.beside(begin, end, update=update)
    block = bytearray(beside.presync)
    block[at] ^= value
    presync = Presync.unpack(block)
    if presync.is_before_start:
        with pytest.raises(Refused):
            check_before_start(flow, stream.sequence_at(begin), end - begin, presync)
    else:
        try:
            out = presynced(flow, stream, begin, end, beside=beside._replace(presync=block))
        except Refused:
            assert flow.cursor == cursor
        else:
            assert not leaks(out)
    flow.cursor = cursor
    assert again(flow, stream, 0, len(stream)) == stream.wire


@SOME
@pytest.mark.parametrize("at", range(4))
@pytest.mark.parametrize("cut", [1, 2, 3, 4, 5, 12, None])
def test_a_wrong_header_is_refused_before_anything_is_encrypted(case, at, cut):
    """The second header is wrong, which shows when all of it has passed."""
    stream, flow = filled(case)
    start = stream.records[1].start
    stream.laid_out[start + at] ^= 0x81
    split = start + cut if cut else start
    try:
        head = in_order(flow, stream, 0, split)
    except Refused:
        assert flow.cursor.position == 0
        split = 0
    else:
        assert not leaks(head)
    before = flow.cursor
    if case.is_cbc and at == 2 and stream.laid_out[start + 2] < 60:
        return  # another padding length that would fit
    with pytest.raises(Refused) as refusal:
        in_order(flow, stream, split, len(stream))
    assert refusal.value.code is Diagnostic.TLS_RECORD
    assert refusal.value.operand == stream.sequence_at(start)
    assert flow.cursor == before


@SOME
def test_what_is_taken_for_a_header_is_one(case):
    """A wrong length lets content take the place of a header, also where that is cut off."""
    stream, flow = filled(case, [(100, 23, 0), (100, 23, 0)])
    pack_into(">H", stream.laid_out, 3, stream.records[0].total - 5 - 64)
    header = case.layout.prefix_bytes
    for end in range(stream.records[0].total - 64 + 5, stream.records[0].total - 64 + header):
        with pytest.raises(Refused) as refusal:
            in_order(flow, stream, 0, end)
        assert refusal.value.code is Diagnostic.TLS_RECORD
    assert flow.cursor.position == 0


@SOME
def test_a_packet_that_starts_in_a_header_has_the_bytes_of_the_block(case):
    """Else content could leave as what a wrong block says is a nonce."""
    stream, flow = filled(case, [(100, 23, 0), (100, 23, 0)])
    wire = bytes(stream.wire)
    assert in_order(flow, stream, 0, len(wire)) == wire
    header = case.layout.prefix_bytes
    start = stream.records[1].start
    for offset in range(header):
        block = TlsPresync(
            tcp_sequence=stream.sequence_at(start + header - offset),
            record_number=1,
            record_header=bytes(stream.laid_out[start : start + 24]),
        )
        beside = stream.beside(0, 1)._replace(presync=block.pack())
        with pytest.raises(Refused) as refusal:
            presynced(flow, stream, start + header, start + header + 16, beside=beside)
        assert refusal.value.code is Diagnostic.TLS_PRESYNC
        begin, end = start + offset, start + offset + 60
        assert again(flow, stream, begin, end) == wire[begin:end]


@SOME
@settings(max_examples=30)
@given(off=st.integers(-(2**31), 2**31 - 1).filter(bool), at=st.integers(0, 300))
def test_any_other_sequence_number_is_refused(case, off, at):
    stream, flow = filled(case)
    if at:
        in_order(flow, stream, 0, at)
    before = flow.cursor
    out = bytearray(9)
    payload = memoryview(stream.laid_out)[at : at + 9]
    wrong = stream.sequence_at(at) + off & 0xFFFFFFFF
    with pytest.raises(Refused) as refusal:
        encrypt_in_order(flow, wrong, payload, memoryview(out), stream.suffix(at + 9))
    assert refusal.value.code is Diagnostic.TLS_SEQUENCE
    assert refusal.value.operand == wrong
    straddles = at + off < 0 < at + off + 9
    assert isinstance(refusal.value, Straddles) == straddles
    assert flow.cursor == before
    assert not any(out)
    assert in_order(flow, stream, at, len(stream)) == stream.wire[at:]


@SOME
def test_sequence_numbers_wrap_within_every_part_of_a_record(case):
    for before in range(1, 70, 3):
        stream, flow = filled(case, [(20, 23, 0), (8, 23, 0)], sequence=2**32 - before)
        for begin in range(0, len(stream), 11):
            end = min(begin + 11, len(stream))
            assert in_order(flow, stream, begin, end) == stream.wire[begin:end]
        assert again(flow, stream, before - 1, before + 1) == stream.wire[before - 1 : before + 1]
        assert flow.sequence == len(stream) - before


@SOME
def test_the_last_record_number(case):
    """RFC 5246 section 6.1, RFC 8446 section 5.3: sequence numbers must not wrap."""
    stream, flow = filled(case, [(10, 23, 0)] * 2, number=2**64 - 2)
    in_order(flow, stream, 0, len(stream))
    assert flow.cursor.number == 2**64
    stream.number = 0  # for the reference, which cannot count on either
    third = stream.add(40).start
    header = case.layout.prefix_bytes
    for end in (third + header, third + header + 1, len(stream) - 1, len(stream)):
        with pytest.raises(Refused) as refusal:
            in_order(flow, stream, third, end)
        assert refusal.value.code is Diagnostic.TLS_RECORD
        with pytest.raises(Refused):  # from the last record on
            again(flow, stream, stream.records[1].start, end)
    assert flow.cursor.position == third
    assert again(flow, stream, 0, third) == stream.wire[:third]


# Positions beyond 2^31 and 2^32


def far_along(case, position):
    """A flow that has got to a record boundary at `position`; its stream begins there."""
    stream = Stream(case, number=5000, sequence=1000)
    flow = make_flow(stream)
    flow.cursor = flow.cursor._replace(position=position, start=position, number=5001)
    flow.epochs = (flow.epochs[0]._replace(first_number=1),)
    stream.number = 5001
    stream.sequence = 1000 + position & 0xFFFFFFFF
    for _ in range(3):
        stream.add(50)
    return stream, flow


@pytest.mark.parametrize("position", [2**31 - 10, 2**31, 2**31 + 10, 3 << 30, 2**32, 10**12])
def test_far_along_the_stream(position):
    stream, flow = far_along(GCM, position)
    assert in_order(flow, stream, 0, 100) == stream.wire[:100]
    assert again(flow, stream, 3, 60) == stream.wire[3:60]
    assert in_order(flow, stream, 100, len(stream)) == stream.wire[100:]


BEFORE_START = Presync(0, PresyncFlags.BEFORE_START, 0, 0, bytes(24), 0)


def test_before_the_start_is_just_that():
    stream, flow = filled(GCM)
    for length in (1, 50, 100):
        check_before_start(flow, 1000 - length, length, BEFORE_START)
    for sequence, length, kind in ((999, 2, Straddles), (900, 101, Straddles), (1000, 1, Refused)):
        with pytest.raises(kind) as refusal:
            check_before_start(flow, sequence, length, BEFORE_START)
        assert refusal.value.code is Diagnostic.TLS_PRESYNC
    assert not isinstance(refusal.value, Straddles)
    in_order(flow, stream, 0, 100)
    check_before_start(flow, 900, 100, BEFORE_START)


@pytest.mark.parametrize("position", [2**31 + 10, 2**31 + 2**30, 2**32 - 1, 2**32 + 5, 2**40])
def test_before_the_start_is_long_gone(position):
    """After more than 2 GiB the number of a byte from before the start is that of one to come."""
    _, flow = far_along(GCM, position)
    for back in (1, 100, 2**20):
        with pytest.raises(Refused):
            check_before_start(flow, 1000 - back & 0xFFFFFFFF, 1, BEFORE_START)


@pytest.mark.parametrize(
    "field",
    [{"sequence": 1}, {"flags": 5}, {"flags": 6}, {"prefix_length": 1}, {"number": 1},
     {"record_header": b"\1" + bytes(23)}, {"reserved": 1}],
    ids=str,
)  # fmt: skip
def test_before_the_start_says_nothing_else(field):
    _, flow = filled(GCM)
    with pytest.raises(Refused):
        check_before_start(flow, 900, 10, BEFORE_START._replace(**field))


# Numbers


@SOME
def test_a_number_that_cannot_be_is_refused(case):
    """No record is ever encrypted with the number of another, as far as the flow can know."""
    stream, flow = filled(case, [(30, 23, 0)] * 6, number=100)
    middle = stream.records[3]
    in_order(flow, stream, 0, middle.start)
    cursor = flow.cursor
    for entry in stream.records:
        beside = stream.beside(entry.start, entry.start + entry.total)
        for number in (0, 99, 100, 101, 102, 103, 104, 105, 200, 2**64 - 1):
            block = TlsPresync.unpack_from(beside.presync)._replace(record_number=number)
            possible = number > 100 and (number > 103) - (number < 103) == (entry.number > 103) - (
                entry.number < 103
            )
            if entry.number == 100:
                possible = number == 100
            possible = possible and 5 * (number - 100) <= entry.start
            if possible:
                continue
            wrong = beside._replace(presync=block.pack())
            with pytest.raises(Refused) as refusal:
                presynced(flow, stream, entry.start, entry.start + entry.total, beside=wrong)
            assert refusal.value.code is Diagnostic.TLS_PRESYNC
            assert flow.cursor == cursor


def test_tls_1_0_remembers_256_records():
    stream, flow = filled(CBC10, [(4, 23, 0)] * 300)
    middle = stream.records[280].start
    in_order(flow, stream, 0, middle)
    for index in range(300):
        entry = stream.records[index]
        begin, end = entry.start, entry.start + entry.total
        if 280 - 256 <= index <= 280:
            assert again(flow, stream, begin, end) == stream.wire[begin:end]
        elif index < 24:
            with pytest.raises(Refused) as refusal:
                again(flow, stream, begin, end)
            assert refusal.value.code is Diagnostic.TLS_PRESYNC
        if index == 24:  # a send that overtakes the oldest ones that it needs
            assert again(flow, stream, begin, middle) == stream.wire[begin:middle]
    for index in (284, 299):
        begin = stream.records[index].start
        with pytest.raises(Refused):
            again(flow, stream, begin, begin + 20)


# Rekeys


def rekeyed(case):
    """Three records with one key, three with another, one packet before the change."""
    stream, flow = filled(case, [(30, 23, 0)] * 3)
    change = len(stream)
    stream.rekey(1, number=9)
    cipher = cipher_of(stream, 9)
    for _ in range(3):
        stream.add(30)
    return stream, flow, change, cipher


@SOME
@settings(max_examples=20)
@given(cuts=st.lists(st.integers(1, 400), max_size=6), known_at=st.integers(0, 2))
def test_the_key_changes_at_its_sequence_number(case, cuts, known_at):
    stream, flow, change, cipher = rekeyed(case)
    known_at = stream.records[known_at].start
    if known_at:
        in_order(flow, stream, 0, known_at)
    flow.rekey(cipher, stream.sequence_at(change), 9)
    assert flow.rekey_pending
    ends = sorted({cut for cut in cuts if known_at < cut < len(stream)} | {len(stream)})
    begin = known_at
    for end in ends:
        assert in_order(flow, stream, begin, end) == stream.wire[begin:end]
        begin = end
    assert not flow.rekey_pending
    for begin in range(0, len(stream), 13):  # both keys are kept
        end = min(begin + 100, len(stream))
        assert again(flow, stream, begin, end) == stream.wire[begin:end]


@SOME
def test_only_the_last_key_before_is_kept(case):
    stream, flow, change, cipher = rekeyed(case)
    first = flow.epochs[0].cipher
    flow.rekey(cipher, stream.sequence_at(change), 9)
    in_order(flow, stream, 0, len(stream))
    end = len(stream)
    stream.rekey(2)
    flow.rekey(cipher_of(stream, 0), stream.sequence_at(end), 0)
    stream.add(30)
    assert again(flow, stream, change, len(stream)) == stream.wire[change:]
    for begin in (0, change - 1):
        with pytest.raises(Refused) as refusal:
            again(flow, stream, begin, begin + 1)
        assert refusal.value.code is Diagnostic.TLS_PRESYNC
    assert first not in [epoch.cipher for epoch in flow.epochs]


@SOME
def test_the_key_cannot_change_inside_a_record(case):
    """Of the record that is being sent: refused. Of one to come: that record is not encrypted."""
    stream, flow, change, cipher = rekeyed(case)
    in_order(flow, stream, 0, stream.records[1].start + 40)
    for place in (0, stream.records[1].start, stream.records[1].start + 39,
                  stream.records[1].start + 40, stream.records[1].start + 41,
                  stream.records[2].start - 1):  # fmt: skip
        with pytest.raises(RekeyFault):
            flow.rekey(cipher, stream.sequence_at(place), 9)
    assert len(flow.epochs) == 1
    flow.rekey(cipher, stream.sequence_at(change - 1), 9)
    begin = stream.records[1].start + 40
    assert in_order(flow, stream, begin, stream.records[2].start)
    with pytest.raises(Refused) as refusal:
        in_order(flow, stream, stream.records[2].start, change)
    assert refusal.value.code is Diagnostic.TLS_RECORD


@SOME
def test_a_presync_block_with_the_number_of_the_other_key(case):
    stream, flow, change, cipher = rekeyed(case)
    flow.rekey(cipher, stream.sequence_at(change), 9)
    in_order(flow, stream, 0, len(stream))
    entry = stream.records[3]
    beside = stream.beside(change, change + entry.total)
    block = TlsPresync.unpack_from(beside.presync)
    for number in (3, 8, 10):
        wrong = beside._replace(presync=block._replace(record_number=number).pack())
        with pytest.raises(Refused):
            presynced(flow, stream, change, change + entry.total, beside=wrong)


# What the host changes meanwhile


def test_header_is_read_once():
    """A host that rewrites the length between two packets of a record gains nothing by it."""
    stream, flow = filled(GCM, [(200, 23, 0)])
    wire = bytes(stream.wire)
    assert in_order(flow, stream, 0, 50) == wire[:50]
    pack_into(">H", stream.laid_out, 3, 3)
    assert in_order(flow, stream, 50, len(wire)) == wire[50:]


def test_wipe_forgets_everything():
    stream, flow = filled(GCM)
    in_order(flow, stream, 0, 50)
    cipher = flow.epochs[0].cipher
    flow.wipe()
    assert flow.epochs == ()
    assert flow.cursor.stream is None
    with pytest.raises(WipedKey):
        cipher.begin(flow.format.parse(0, bytes(stream.laid_out[:24])))
