"""AES-GCM and ChaCha20-Poly1305 records: whole, in pieces, and a part alone."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from record_bench import AEAD_CASES, CUTS, NUMBERS, seal, stream

EVERY = pytest.mark.parametrize("case", AEAD_CASES, ids=lambda case: case.id)


@EVERY
@settings(max_examples=15)
@given(number=NUMBERS, content=st.binary(min_size=1, max_size=300), cuts=CUTS, data=st.data())
def test_every_way_makes_the_same_record(case, number, content, cuts, data):
    cipher = case.cipher()
    prefix, laid_out = case.lay_out(content, nonce_seed=len(cuts))
    record = case.format().parse(number, prefix)
    sealed = case.reference(case.keys(), number, prefix, content)
    assert seal(cipher, record, content) == sealed
    assert stream(cipher, record, laid_out, cuts) == sealed
    start = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(start, len(content)))
    out = bytearray(end - start)
    cipher.keystream_xor(record, start, memoryview(content)[start:end], memoryview(out))
    assert out == sealed[start:end]


@EVERY
def test_a_full_record(case):
    """The largest record, its keystream at every sort of place, and byte by byte."""
    content = bytes(n * 7 & 0xFF for n in range(16384 + case.layout.is_tls13))
    cipher = case.cipher()
    prefix, laid_out = case.lay_out(content)
    record = case.format().parse(2**40, prefix)
    sealed = case.reference(case.keys(), 2**40, prefix, content)
    assert seal(cipher, record, content) == sealed
    assert stream(cipher, record, laid_out, range(len(laid_out))) == sealed
    for start in (0, 1, 15, 16, 17, 63, 64, 65, 4095, 8191, 16383):
        for size in (0, 1, 64, 1448):
            part = content[start : start + size]
            out = memoryview(bytearray(len(part)))
            cipher.keystream_xor(record, start, part, out)
            assert out == sealed[start : start + len(part)]


@EVERY
def test_records_without_content(case):
    """TLS 1.2 has them; the least of TLS 1.3 is an inner type."""
    content = b"\x17" * case.layout.is_tls13
    cipher = case.cipher()
    prefix, laid_out = case.lay_out(content)
    record = case.format().parse(0, prefix)
    sealed = case.reference(case.keys(), 0, prefix, content)
    assert seal(cipher, record, content) == sealed
    assert stream(cipher, record, laid_out, []) == sealed
    assert stream(cipher, record, laid_out, range(20)) == sealed


@EVERY
@pytest.mark.parametrize("kind", [21, 22, 23, 24])
def test_types(case, kind):
    if case.layout.is_tls13:
        kind = 23
    prefix, laid_out = case.lay_out(b"\1\0", kind=kind)
    record = case.format().parse(1, prefix)
    sealed = case.reference(case.keys(), 1, prefix, b"\1\0")
    assert seal(case.cipher(), record, b"\1\0") == sealed
    assert stream(case.cipher(), record, laid_out, [1, 2, 10]) == sealed


@EVERY
def test_guest_memory_is_taken_as_it_is(case):
    """Any buffer, at any alignment, writable or not."""
    prefix, laid_out = case.lay_out(b"p" * 100)
    record = case.format().parse(0, prefix)
    sealed = case.reference(case.keys(), 0, prefix, b"p" * 100)
    cipher = case.cipher()
    for content in (laid_out[:100], bytearray(laid_out[:100]), memoryview(laid_out)[:100]):
        room = bytearray(3 + len(laid_out))
        cipher.seal(record, content, memoryview(room)[3:])
        assert room == bytes(3) + sealed


@EVERY
def test_mistakes_are_refused(case):
    prefix, laid_out = case.lay_out(b"p" * 100)
    record = case.format().parse(0, prefix)
    cipher = case.cipher()
    out = memoryview(bytearray(200))
    for size in (99, 101, 115, 117):
        with pytest.raises(ValueError, match="116"):
            cipher.seal(record, laid_out[:100], out[:size])
    for start, data, room in ((-1, 1, 1), (0, 101, 101), (100, 1, 1), (50, 10, 9), (50, 10, 11)):
        with pytest.raises(ValueError, match="of 100"):
            cipher.keystream_xor(record, start, bytes(data), out[:room])
    pieces = cipher.begin(record)
    for data, room in ((117, 117), (10, 9), (10, 11)):
        with pytest.raises(ValueError, match=f"{data} bytes"):
            pieces.update(bytes(data), out[:room])
    assert pieces.position == len(prefix)
    assert not any(out)
    pieces.update(laid_out, out[:116])
    assert out[:116] == case.reference(case.keys(), 0, prefix, b"p" * 100)


@EVERY
def test_any_record_at_any_time(case):
    cipher = case.cipher()
    assert cipher.block_bytes == 1
    for number in (5, 4, 2**64 - 1, 0, 5):
        assert cipher.can_start(number)
        assert cipher.iv_of(number) is None
        prefix, _ = case.lay_out(b"again", nonce_seed=number)
        record = case.format().parse(number, prefix)
        expected = case.reference(case.keys(), number, prefix, b"again")
        assert seal(cipher, record, b"again") == expected
