"""Record headers: what is a record of the flow, and where its parts are."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from record_bench import AEAD_CASES, CASES, CBC_CASES

from tlsnic.abi.enums import CipherSuite
from tlsnic.abi.suites import SUITES
from tlsnic.device.tls.record import BadRecord, Record, RecordFormat

EVERY = pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)


def header(case, length, kind=23, padding=0):
    version = 0x0300 | padding if case.is_cbc else case.layout.wire_version
    return struct.pack(">BHH", kind, version, length) + bytes(case.layout.explicit_bytes)


def parses(record_format, prefix):
    try:
        record = record_format.parse(7, prefix)
    except BadRecord:
        with pytest.raises(BadRecord):
            record_format.header_total(prefix[:5])
        return None
    assert record_format.header_total(prefix[:5]) == record.total_bytes
    return record


@EVERY
def test_a_record_as_laid_out(case):
    prefix, rest = case.lay_out(b"content" * 20)
    record = case.format().parse(99, prefix + rest)
    wire = prefix[:1] + struct.pack(">H", min(case.layout.version, 0x0303)) + prefix[3:]
    total = len(prefix) + len(rest)
    assert record == Record(99, wire, 140, case.least_padding(140), total)


@pytest.mark.parametrize(
    ("suite", "max_plaintext", "low", "high"),
    [
        (CipherSuite.TLS12_AES_128_GCM, 16384, 24, 24 + 16384),
        (CipherSuite.TLS12_AES_256_GCM, 64, 24, 24 + 64),
        (CipherSuite.TLS12_CHACHA20_POLY1305, 16384, 16, 16 + 16384),
        (CipherSuite.TLS13_AES_128_GCM, 16384, 17, 16385 + 16),
        (CipherSuite.TLS13_CHACHA20_POLY1305, 512, 17, 513 + 16),
    ],
)
def test_lengths_of_aead_records(suite, max_plaintext, low, high):
    case = next(case for case in AEAD_CASES if case.layout.suite == suite)
    record_format = case.format(max_plaintext)
    taken = [length for length in range(high + 300) if parses(record_format, header(case, length))]
    assert taken == list(range(low, high + 1))


@pytest.mark.parametrize("case", CBC_CASES, ids=lambda case: case.id)
@pytest.mark.parametrize("padding", [0, 11, 15, 16, 200, 255])
def test_lengths_of_cbc_records(case, padding):
    layout, limit = case.layout, 100
    record_format = case.format(limit)
    overhead = layout.explicit_bytes + layout.tag_bytes + padding + 1
    expected = {
        overhead + content: content
        for content in range(limit + 1)
        if (content - case.least_padding(0) + padding) % 16 == 0
    }
    got = {}
    for length in range(800):
        record = parses(record_format, header(case, length, padding=padding))
        if record:
            got[length] = record.content_bytes
            assert record.padding == padding
    assert got == expected
    assert len(expected) >= 6


@EVERY
def test_types(case):
    prefix, _ = case.lay_out(b"x" * 40)
    taken = [k for k in range(256) if parses(case.format(), bytes([k]) + prefix[1:])]
    assert taken == ([23] if case.layout.is_tls13 else [21, 22, 23, 24])


@EVERY
def test_versions(case):
    prefix, _ = case.lay_out(b"x" * 40)
    majors = [m for m in range(256) if parses(case.format(), prefix[:1] + bytes([m]) + prefix[2:])]
    assert majors == [3]
    if not case.is_cbc:
        minors = [
            m for m in range(256) if parses(case.format(), prefix[:2] + bytes([m]) + prefix[3:])
        ]
        assert minors == [3]


@settings(max_examples=500)
@given(st.sampled_from(CASES), st.data())
def test_damaged_headers_are_records_or_bad_ones(case, data):
    """Bytes of type, version and length are changed."""
    record_format = case.format(data.draw(st.integers(1, 16384)))
    prefix, _ = case.lay_out(bytes(data.draw(st.integers(0, 300))))
    flips = data.draw(st.dictionaries(st.integers(0, 4), st.integers(0, 255)))
    damaged = bytes(flips.get(at, byte) for at, byte in enumerate(prefix))
    record = parses(record_format, damaged)
    if record:
        limit = record_format.max_plaintext + case.layout.is_tls13
        assert 0 <= record.content_bytes <= limit
        assert record.total_bytes == 5 + int.from_bytes(damaged[3:5], "big")
        trailer = case.layout.tag_bytes + (record.padding + 1 if case.is_cbc else 0)
        parts = record_format.prefix_bytes + record.content_bytes + trailer
        assert parts == record.total_bytes


@given(st.sampled_from(CASES), st.binary(min_size=21, max_size=40))
def test_rubbish_is_a_bad_record_or_a_whole_one(case, rubbish):
    record = parses(case.format(), rubbish)
    assert record is None or record.prefix[3:] == rubbish[3 : len(record.prefix)]


@EVERY
def test_a_prefix_cut_anywhere_is_as_on_the_wire(case):
    prefix, rest = case.lay_out(b"x" * 33)
    record_format = case.format()
    wire = record_format.parse(0, prefix + rest).prefix
    for start in range(len(prefix)):
        for end in range(start, len(prefix) + 1):
            part = memoryview(prefix)[start:end]
            assert record_format.wire_prefix_part(part, start) == wire[start:end]


@EVERY
def test_suffix_is_the_rest_of_a_cipher_block(case):
    prefix, rest = case.lay_out(b"x" * 100)
    record_format = case.format()
    record = record_format.parse(0, prefix + rest)
    ciphertext_end = record.total_bytes
    if case.encrypt_then_mac:
        ciphertext_end -= case.layout.tag_bytes
    blocks = range(len(prefix), ciphertext_end, 16)
    for end in range(record.total_bytes + 1):
        cut = [at for at in blocks if at < end < at + 16] if case.is_cbc else []
        assert record_format.suffix_bytes(record, end) == (cut[0] + 16 - end if cut else 0)


@EVERY
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_the_prefix_is_copied(case, kind):
    prefix, rest = case.lay_out(b"x" * 33)
    memory = bytearray(prefix + rest)
    record = case.format().parse(0, kind(memory))
    before = bytes(record.prefix)
    memory[:] = bytes(len(memory))
    assert record.prefix == before
    assert before[3:] == prefix[3:]


@pytest.mark.parametrize("max_plaintext", [-1, 0, 16385])
def test_impossible_limits(max_plaintext):
    with pytest.raises(ValueError, match="plaintext"):
        RecordFormat(SUITES[CipherSuite.TLS12_AES_128_GCM], False, max_plaintext)


@pytest.mark.parametrize(
    "suite", [CipherSuite.TLS13_AES_128_GCM, CipherSuite.TLS10_AES_CBC_SHA1], ids=str
)
def test_encrypt_then_mac_is_for_cbc_with_explicit_ivs(suite):
    with pytest.raises(ValueError, match="encrypt-then-MAC"):
        RecordFormat(SUITES[suite], True, 16384)
