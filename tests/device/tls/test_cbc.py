"""AES-CBC records: MAC and padding in the room, pieces that cut blocks, and the chain of TLS 1.0."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from record_bench import CBC_CASES, CUTS, NUMBERS, seal, stream

from tlsnic.device.tls.record import UnknownIv

EVERY = pytest.mark.parametrize("case", CBC_CASES, ids=lambda case: case.id)
CHAINED = pytest.mark.parametrize(
    "case", [case for case in CBC_CASES if case.layout.version == 0x0301], ids=lambda case: case.id
)


@EVERY
@settings(max_examples=25)
@given(
    number=NUMBERS,
    content=st.binary(max_size=200),
    blocks=st.integers(0, 15),
    cuts=CUTS,
    kind=st.integers(21, 24),
)
def test_every_way_makes_the_same_record(case, number, content, blocks, cuts, kind):
    padding = min(case.least_padding(len(content)) + 16 * blocks, 255)
    padding -= (padding - case.least_padding(len(content))) % 16
    cipher = case.cipher(first_number=number)
    prefix, laid_out = case.lay_out(content, padding, kind, nonce_seed=blocks)
    record = case.format().parse(number, prefix)
    sealed = case.reference(case.keys(), number, prefix, content)
    assert seal(cipher, record, content) == sealed
    assert stream(cipher, record, laid_out, cuts) == sealed


@EVERY
def test_every_padding_length(case):
    cipher = case.cipher()
    for padding in range(256):
        content = bytes(range(30 + (case.least_padding(30) - padding) % 16))
        prefix, laid_out = case.lay_out(content, padding)
        record = case.format().parse(0, prefix)
        sealed = case.reference(case.keys(), 0, prefix, content)
        assert record.padding == padding
        assert seal(cipher, record, content) == sealed
        assert stream(cipher, record, laid_out, [1, 31, 50, 77]) == sealed


@EVERY
@pytest.mark.parametrize("step", [1, 2, 7, 15, 16, 17, 33])
def test_pieces_of_equal_size(case, step):
    """More than one piece lies within a block."""
    content = bytes(range(61))
    prefix, laid_out = case.lay_out(content)
    record = case.format().parse(9, prefix)
    cuts = range(step, len(laid_out), step)
    sealed = case.reference(case.keys(), 9, prefix, content)
    assert stream(case.cipher(first_number=9), record, laid_out, cuts) == sealed


@EVERY
def test_bytes_that_were_suffix_are_not_read_again(case):
    content = bytes(range(100))
    prefix, laid_out = case.lay_out(content)
    pieces = case.cipher().begin(case.format().parse(0, prefix))
    out = memoryview(bytearray(len(laid_out)))
    pieces.update(laid_out[:37], out[:37], laid_out[37:60])
    pieces.update(b"?" * 5, out[37:42], b"?" * 6)
    pieces.update(b"?" * 6 + laid_out[48:], out[42:])
    assert out == case.reference(case.keys(), 0, prefix, content)


@EVERY
def test_a_full_record(case):
    content = bytes(n * 7 & 0xFF for n in range(16384))
    cipher = case.cipher()
    prefix, laid_out = case.lay_out(content, case.least_padding(16384) + 240 - 16)
    record = case.format().parse(0, prefix)
    sealed = case.reference(case.keys(), 0, prefix, content)
    assert seal(cipher, record, content) == sealed
    assert stream(cipher, record, laid_out, range(0, len(laid_out), 1448)) == sealed


@EVERY
def test_mistakes_are_refused(case):
    content = bytes(100)
    prefix, laid_out = case.lay_out(content)
    record = case.format().parse(0, prefix)
    cipher = case.cipher()
    assert cipher.block_bytes == 16
    size = len(laid_out)
    out = memoryview(bytearray(size + 16))
    for wrong in (99, size - 16, size - 1, size + 1, size + 16):
        with pytest.raises(ValueError, match=r"bytes|negative"):
            cipher.seal(record, content, out[:wrong])
    for wrong in (99, 101):
        with pytest.raises(ValueError, match=f"{wrong} of 100"):
            cipher.seal(record, bytes(wrong), out[:size])
    with pytest.raises(ValueError, match="keystream"):
        cipher.keystream_xor(record, 0, content, out[:100])
    pieces = cipher.begin(record)
    with pytest.raises(ValueError, match="suffix"):
        pieces.update(laid_out[:17], out[:17], laid_out[17:31])
    with pytest.raises(ValueError, match="bytes at"):
        pieces.update(laid_out + b"?", out[: size + 1])
    with pytest.raises(ValueError, match="bytes at"):
        pieces.update(laid_out[:17], out[:16], laid_out[17:32])
    pieces.update(laid_out, out[:size])
    assert out[:size] == case.reference(case.keys(), 0, prefix, content)


@EVERY
def test_explicit_ivs_need_no_chain(case):
    if not case.layout.explicit_bytes:
        return
    cipher = case.cipher(first_number=5)
    for number in (9, 0, 2**64 - 1):
        assert cipher.can_start(number)
        assert cipher.iv_of(number) is None
        prefix, _ = case.lay_out(b"x", nonce_seed=number)
        sealed = seal(cipher, case.format().parse(number, prefix), b"x")
        assert sealed == case.reference(case.keys(), number, prefix, b"x")


class Chain:
    """Records of TLS 1.0 as they should be, from `first` on."""

    def __init__(self, case, first, count):
        self.case, self.first = case, first
        self.ivs, self.sealed, self.laid_out = [case.keys()[1]], [], []
        for n in range(count):
            prefix, laid_out = case.lay_out(bytes([n & 0xFF]) * (n % 40), kind=21 + n % 4)
            self.laid_out.append((prefix, laid_out))
            content = laid_out[: n % 40]
            self.sealed.append(
                case.reference(case.keys(), first + n, prefix, content, self.ivs[-1])
            )
            self.ivs.append(self.sealed[-1][-16:])

    def record(self, n):
        return self.case.format().parse(self.first + n, self.laid_out[n][0])

    def seal(self, cipher, n):
        return seal(cipher, self.record(n), self.laid_out[n][1][: n % 40])

    def stream(self, cipher, n, cuts):
        return stream(cipher, self.record(n), self.laid_out[n][1], cuts)


@CHAINED
@pytest.mark.parametrize("first", [0, 1, 2**32 - 100, 2**64 - 700])
def test_the_chain_goes_on_and_remembers_256_records(case, first):
    chain = Chain(case, first, 600)
    cipher = case.cipher(first_number=first)
    for n in range(600):
        assert cipher.iv_of(first + n) == chain.ivs[n]
        assert not cipher.can_start(first + n + 1)
        sealed = chain.seal(cipher, n) if n % 2 else chain.stream(cipher, n, [1, 20, 30])
        assert sealed == chain.sealed[n]
    known = [n for n in range(-1, 602) if first + n >= 0 and cipher.can_start(first + n)]
    assert known == list(range(600 - 256, 601))
    for n in known[:-1]:
        assert cipher.iv_of(first + n) == chain.ivs[n]
        assert chain.seal(cipher, n) == chain.sealed[n]
    assert cipher.iv_of(first + 600) == chain.ivs[600]


@CHAINED
def test_records_sent_again_do_not_disturb_the_chain(case):
    chain = Chain(case, 3, 40)
    cipher = case.cipher(first_number=3)
    for n in range(40):
        for again in (n // 2, n - 1):
            if 0 <= again < n:
                assert chain.stream(cipher, again, [3, 4, 21]) == chain.sealed[again]
        unfinished = cipher.begin(chain.record(n))
        unfinished.update(b"", memoryview(bytearray()))
        assert cipher.iv_of(3 + n + 1) is None
        assert chain.seal(cipher, n) == chain.sealed[n]


@CHAINED
def test_another_record_of_a_known_number_does_not_change_the_chain(case):
    chain = Chain(case, 0, 3)
    cipher = case.cipher()
    chain.seal(cipher, 0)
    prefix, _ = case.lay_out(b"something else")
    seal(cipher, case.format().parse(0, prefix), b"something else")
    assert chain.seal(cipher, 1) == chain.sealed[1]


@CHAINED
def test_records_without_their_iv_are_refused(case):
    cipher = case.cipher(first_number=10)
    prefix, laid_out = case.lay_out(b"x")
    out = memoryview(bytearray(len(laid_out)))
    for number in (9, 11, 2**64 - 1):
        record = case.format().parse(number, prefix)
        assert not cipher.can_start(number)
        with pytest.raises(UnknownIv):
            cipher.begin(record)
        with pytest.raises(UnknownIv):
            cipher.seal(record, b"x", out)
    assert not any(out)
