"""Finding the number of a record by its tag."""

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st
from record_bench import AEAD_CASES
from sealed_bench import flipped, open_whole, opener_of, sealed_record

from tlsnic.abi.suites import RecordKind
from tlsnic.device.tls import opening, settle

EVERY = pytest.mark.parametrize("case", AEAD_CASES, ids=lambda case: case.id)
GCM_CASES = [case for case in AEAD_CASES if case.layout.kind is RecordKind.GCM]
MOST = 64
LAST = 2**64 - 1


def find(case, sealed, first, count, seed=0):
    return opener_of(case, seed).settle(sealed.prefix, sealed.body, first, count)


@EVERY
@settings(max_examples=40)
@given(
    number=st.one_of(
        st.integers(0, 200), st.integers(2**32 - 64, 2**32 + 64), st.integers(0, LAST)
    ),
    before=st.integers(-70, 70),
    count=st.integers(0, MOST),
    content_bytes=st.integers(1, 100),
)
def test_found_when_among_the_candidates(case, number, before, count, content_bytes):
    first = min(max(number - before, 0), LAST)
    sealed = sealed_record(case, number, content_bytes)
    expected = number if first <= number < first + count else None
    assert find(case, sealed, first, count) == expected


@EVERY
def test_a_loop_of_tries_finds_the_same(case):
    """`open` with each candidate."""
    opener = opener_of(case)
    for number in (0, 31, 32, 63, 64, 100):
        sealed = sealed_record(case, number, 33)
        tried = [n for n in range(20, 84) if open_whole(case, opener, sealed._replace(number=n))]
        found = opener.settle(sealed.prefix, sealed.body, 20, 64)
        assert ([] if found is None else [found]) == tried


@EVERY
def test_each_candidate(case):
    for number in range(1000, 1000 + MOST):
        sealed = sealed_record(case, number, 20)
        assert find(case, sealed, 1000, MOST) == number


@EVERY
@pytest.mark.parametrize("content_bytes", [0, 1, 15, 16, 17, 4096, 16384])
def test_every_length(case, content_bytes):
    sealed = sealed_record(case, 12, content_bytes + case.layout.is_tls13)
    assert find(case, sealed, 10, 5) == 12


@EVERY
def test_replayed_and_later_records(case):
    for number in (0, 9, 15, 100, LAST):
        sealed = sealed_record(case, number, 40)
        assert find(case, sealed, 10, 5) is None


@EVERY
def test_the_last_numbers(case):
    for number in (LAST, LAST - 1, LAST - 5):
        sealed = sealed_record(case, number, 40)
        assert find(case, sealed, LAST - 5, MOST) == number
        assert find(case, sealed, number, 2**40) == number
    assert find(case, sealed_record(case, 0, 40), LAST - 5, MOST) is None


@EVERY
def test_no_candidates(case):
    sealed = sealed_record(case, 3, 40)
    assert find(case, sealed, 3, 0) is None


@EVERY
def test_any_flipped_bit_leaves_no_number(case):
    """Also in the header: other types and lengths, and explicit nonces."""
    sealed = sealed_record(case, 12, 20)
    opener = opener_of(case)
    for bit in range(8 * len(sealed.prefix)):
        assert opener.settle(flipped(sealed.prefix, bit), sealed.body, 12, 10) is None
    for bit in range(8 * len(sealed.body)):
        assert opener.settle(sealed.prefix, flipped(sealed.body, bit), 5, 10) is None


@EVERY
def test_another_key_leaves_no_number(case):
    assert find(case, sealed_record(case, 12, 20), 10, 10, seed=1) is None


@EVERY
def test_a_body_of_another_length_is_no_whole_record(case):
    sealed = sealed_record(case, 12, 20)
    for body in (b"", sealed.body[:-1], sealed.body + b"\0"):
        assert opener_of(case).settle(sealed.prefix, body, 12, 1) is None


@EVERY
def test_buffers_of_any_sort(case):
    sealed = sealed_record(case, 12, 20)
    for sort in (bytearray, memoryview):
        assert opener_of(case).settle(sort(sealed.prefix), sort(sealed.body), 10, 5) == 12


@pytest.mark.parametrize("case", GCM_CASES, ids=lambda case: case.id)
@settings(max_examples=40)
@given(
    number=st.integers(0, LAST),
    first=st.integers(0, LAST),
    count=st.integers(1, 2**64),
    explicit=st.one_of(st.none(), st.integers(0, LAST)),
)
def test_gcm_finds_numbers_among_any_many(case, number, first, count, explicit):
    sealed = sealed_record(case, number, 50, explicit=explicit)
    expected = number if first <= number < first + count else None
    assert find(case, sealed, first, count) == expected
    assert find(case, sealed, 0, 2**64) == number


@pytest.mark.parametrize(
    "case", [c for c in GCM_CASES if not c.layout.is_tls13], ids=lambda case: case.id
)
@pytest.mark.parametrize("apart", [0, 1, -1, 17, 2**40])
def test_explicit_nonces_may_be_anything(case, apart):
    """Linux: the record number. OpenSSL: counts from a random start."""
    for number in (2**41, 2**41 + 3):
        sealed = sealed_record(case, number, 50, explicit=number + apart)
        assert find(case, sealed, 2**41, 10) == number
        assert find(case, sealed, 2**41 + 4, 10) is None


@pytest.mark.parametrize(
    "case",
    [c for c in AEAD_CASES if c.layout.kind is RecordKind.CHACHA20_POLY1305],
    ids=lambda case: case.id,
)
def test_chacha_tries_the_first_candidates_only(case):
    for number, expected in ((10, 10), (10 + MOST - 1, 10 + MOST - 1), (10 + MOST, None)):
        assert find(case, sealed_record(case, number, 20), 10, 1000) == expected


@pytest.mark.parametrize("case", GCM_CASES, ids=lambda case: case.id)
@pytest.mark.parametrize("count", [10, 10_000])
def test_gcm_needs_two_passes_at_most(case, count, monkeypatch):
    passes = []

    class Watched:
        def __init__(self, key):
            self._inner = AESGCM(key)

        def encrypt(self, nonce, content, aad):
            passes.append(len(content))
            return self._inner.encrypt(nonce, content, aad)

    monkeypatch.setattr(opening, "AESGCM", Watched)
    sealed = sealed_record(case, 109, 500)
    assert find(case, sealed, 105, count) == 109
    assert passes == [500] * (1 if case.layout.is_tls13 else 2)


def test_a_record_forged_without_the_key_is_none():
    """Tags that fit for the nonce of a record that was seen, but with another number."""
    for case in GCM_CASES:
        seen, other = sealed_record(case, 5, 32), sealed_record(case, 6, 32)
        mixed = seen.body[:32] + other.body[32:]
        assert opener_of(case).settle(seen.prefix, mixed, 0, 2**64) is None


def test_the_field():
    """Powers of x: in GCM's order, x is the second highest bit (SP 800-38D section 6.3)."""
    one, x = 1 << 127, 1 << 126
    assert settle._reversed(one) == 1
    assert settle._reversed(x) == 2
    assert settle._quotient(4, 2) == 2
    assert settle._quotient(0, 5) == 0
    assert settle._quotient(0x87, 1 << 127) == 2
