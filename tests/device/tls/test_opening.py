"""Opening AES-GCM and ChaCha20-Poly1305 records: whole, and in pieces."""

import gc
import tracemalloc

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from hypothesis import given, settings
from hypothesis import strategies as st
from record_bench import AEAD_CASES, CBC_CASES, CUTS, NUMBERS
from sealed_bench import flipped, open_pieces, open_whole, opener_of, sealed_record

from tlsnic.device.tls.keys import KeyCache, KeyMaterial
from tlsnic.device.tls.opening import make_opener
from tlsnic.device.tls.record import WipedKey
from tlsnic.driver.tls.framing import APPLICATION_DATA, Framer
from tlsnic.driver.tls.session import TlsSession
from tlsnic.driver.tls.software import SoftwareTls

EVERY = pytest.mark.parametrize("case", AEAD_CASES, ids=lambda case: case.id)


def least(case):
    """Smallest content of a record: TLS 1.3 has an inner type."""
    return int(case.layout.is_tls13)


@EVERY
@settings(max_examples=20)
@given(number=NUMBERS, content_bytes=st.integers(1, 300), cuts=CUTS)
def test_every_way_opens_what_cryptography_sealed(case, number, content_bytes, cuts):
    opener = opener_of(case)
    sealed = sealed_record(case, number, content_bytes)
    assert open_whole(case, opener, sealed) == sealed.content
    assert open_pieces(case, opener, sealed, cuts) == sealed.content


@EVERY
def test_what_the_second_implementation_sealed(case):
    opener = opener_of(case)
    for content_bytes in (least(case), 15, 16, 17, 64, 65, 200):
        sealed = sealed_record(case, 2**63 + 5, content_bytes)
        body = case.reference(case.keys(), sealed.number, sealed.prefix, sealed.content)
        assert body == sealed.body
        assert open_whole(case, opener, sealed._replace(body=body)) == sealed.content


@EVERY
@settings(max_examples=10)
@given(number=NUMBERS, plaintext=st.binary(max_size=200), cuts=CUTS)
def test_what_a_driver_sealed(case, number, plaintext, cuts):
    """The records of the driver's software fallback."""
    key, iv, _ = case.keys()
    session = TlsSession(case.layout.suite, key, iv, record_number=number)
    record = Framer(session).frame(APPLICATION_DATA, plaintext)
    wire = SoftwareTls(session).encrypt(record)
    inner = plaintext + b"\x17" * case.layout.is_tls13
    sealed = sealed_record(case, number, 1)._replace(
        prefix=wire[: record.prefix_bytes], content=inner, body=wire[record.prefix_bytes :]
    )
    opener = opener_of(case)
    assert open_whole(case, opener, sealed) == inner
    assert open_pieces(case, opener, sealed, cuts) == inner


@EVERY
@pytest.mark.parametrize("content_bytes", [0, 1, 16, 37])
def test_every_split_into_three(case, content_bytes):
    sealed = sealed_record(case, 7, max(content_bytes, least(case)))
    opener, size = opener_of(case), len(sealed.body)
    for first in range(size):
        for second in range(first, size):
            assert open_pieces(case, opener, sealed, (first, second)) == sealed.content


@EVERY
@pytest.mark.parametrize("content_bytes", [1, 20])
def test_any_flipped_bit_is_noticed(case, content_bytes):
    sealed = sealed_record(case, 7, content_bytes)
    opener = opener_of(case)
    for bit in range(8 * len(sealed.body)):
        damaged = sealed._replace(body=flipped(sealed.body, bit))
        assert open_whole(case, opener, damaged) is None
        assert open_pieces(case, opener, damaged, (bit // 8, content_bytes)) is None
    for bit in range(8 * 5, 8 * len(sealed.prefix)):
        damaged = sealed._replace(prefix=flipped(sealed.prefix, bit))
        assert open_whole(case, opener, damaged) is None
        assert open_pieces(case, opener, damaged, (3,)) is None


@EVERY
def test_another_number_type_or_key_is_noticed(case):
    sealed = sealed_record(case, 7, 20)
    others = [sealed._replace(number=number) for number in (0, 6, 8, 7 + 2**32, 2**64 - 1)]
    if not case.layout.is_tls13:
        others.append(sealed._replace(prefix=b"\x16" + sealed.prefix[1:]))
    for other in others:
        assert open_whole(case, opener_of(case), other) is None
        assert open_pieces(case, opener_of(case), other, (4, 30)) is None
    assert open_whole(case, opener_of(case, seed=1), sealed) is None
    assert open_pieces(case, opener_of(case, seed=1), sealed, (4, 30)) is None


@EVERY
@pytest.mark.parametrize("content_bytes", [1, 16384])
def test_the_smallest_and_the_largest(case, content_bytes):
    content_bytes += least(case)
    sealed = sealed_record(case, 2**64 - 1, content_bytes)
    opener = opener_of(case)
    assert open_whole(case, opener, sealed) == sealed.content
    assert open_pieces(case, opener, sealed, range(0, 16400, 1448)) == sealed.content
    assert open_pieces(case, opener, sealed, (1, 2, 15, 4096, 16383)) == sealed.content


@EVERY
def test_any_record_at_any_time(case):
    """Streams of one key go on side by side."""
    opener = opener_of(case)
    records = [sealed_record(case, number, 100) for number in (5, 4, 2**64 - 1, 0)]
    streams, contents = [], [bytearray(116) for _ in records]
    for sealed in records:
        streams.append(opener.begin(case.format().parse(sealed.number, sealed.prefix)))
    for start in range(0, 116, 29):
        assert open_whole(case, opener, records[start // 29]) == records[start // 29].content
        for stream, sealed, content in zip(streams, records, contents, strict=True):
            part = slice(start, start + 29)
            assert stream.update(sealed.body[part], memoryview(content)[part])
    assert [content[:100] for content in contents] == [sealed.content for sealed in records]


@EVERY
def test_buffers_of_any_sort(case):
    sealed = sealed_record(case, 3, 100)
    record = case.format().parse(3, sealed.prefix)
    opener = opener_of(case)
    room = bytearray(3 + 100)
    for body in (sealed.body, bytearray(sealed.body), memoryview(b"." + sealed.body)[1:]):
        assert opener.open(record, body, memoryview(room)[3:])
        assert room == bytes(3) + sealed.content
        stream, plain = opener.begin(record), bytearray(200)
        assert stream.update(body[:90], memoryview(plain)[1:])
        assert stream.update(body[90:], memoryview(plain)[91:])
        assert plain == b"\0" + sealed.content + sealed.body[100:] + bytes(83)
        room[:] = bytes(103)


@EVERY
def test_mistakes_are_refused(case):
    sealed = sealed_record(case, 3, 100)
    record = case.format().parse(3, sealed.prefix)
    opener = opener_of(case)
    for body, room in ((116, 99), (116, 101), (115, 100), (117, 100)):
        with pytest.raises(ValueError, match="buffer must be"):
            opener.open(record, (sealed.body + b".")[:body], memoryview(bytearray(room)))
    stream = opener.begin(record)
    for data, room in ((117, 117), (116, 115), (50, 49)):
        with pytest.raises(ValueError, match=r"bytes|buffer"):
            stream.update(bytes(data), memoryview(bytearray(room)))
        assert stream.position == len(sealed.prefix)
    out = memoryview(bytearray(116))
    assert stream.update(sealed.body[:110], out[:110])
    with pytest.raises(ValueError, match="7 bytes at"):
        stream.update(bytes(7), memoryview(bytearray(7)))
    assert stream.update(sealed.body[110:], out[110:])
    assert out[:100] == sealed.content
    assert stream.update(b"", out[:0])
    with pytest.raises(ValueError, match="1 bytes at"):
        stream.update(b".", out[:1])


@pytest.mark.parametrize("case", CBC_CASES, ids=lambda case: case.id)
def test_cbc_suites_are_not_opened(case):
    with pytest.raises(ValueError, match="CBC"):
        make_opener(case.format(), KeyMaterial(*case.keys()), KeyCache())


@EVERY
@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("change", [-1, 1])
def test_lengths_of_keys_are_those_of_the_suite(case, which, change):
    keys = case.keys()
    if len(keys[which]) + change < 0:
        return
    keys[which] = bytes(len(keys[which]) + change)
    with pytest.raises(ValueError, match=f"key: {len(keys[0])} bytes"):
        make_opener(case.format(), KeyMaterial(*keys), KeyCache())


@EVERY
def test_a_wiped_opener_has_zeros_and_opens_nothing(case):
    keys, cache = KeyMaterial(*case.keys()), KeyCache()
    opener = make_opener(case.format(), keys, cache)
    sealed = sealed_record(case, 3, 20)
    record = case.format().parse(3, sealed.prefix)
    unused, used = opener.begin(record), opener.begin(record)
    out = memoryview(bytearray(36))
    assert used.update(sealed.body[:10], out[:10])
    assert open_whole(case, opener, sealed) == sealed.content
    assert len(cache) == 1
    opener.wipe()
    opener.wipe()
    assert not any(keys.key + keys.iv)
    assert len(cache) == 0
    for call in (
        lambda: opener.open(record, sealed.body, out[:20]),
        lambda: opener.begin(record),
        lambda: opener.settle(sealed.prefix, sealed.body, 3, 1),
        lambda: unused.update(sealed.body, out),
    ):
        with pytest.raises(WipedKey):
            call()
    assert used.update(sealed.body[10:], out[10:])
    assert out[:20] == sealed.content
    assert len(cache) == 0


@EVERY
def test_expanded_keys_are_bounded_and_openers_work_without(case):
    cache = KeyCache(2)
    openers = [opener_of(case, seed, cache) for seed in range(6)]
    records = [sealed_record(case, 1, 50, seed=seed) for seed in range(6)]
    for _ in range(2):
        for opener, sealed in zip(openers, records, strict=True):
            assert open_whole(case, opener, sealed) == sealed.content
            assert opener.settle(sealed.prefix, sealed.body, 0, 5) == 1
        assert len(cache) == 2


@EVERY
def test_what_streams_keep_is_bounded_too(case):
    cache = KeyCache(2)
    openers = [opener_of(case, seed, cache) for seed in range(6)]
    records = [sealed_record(case, 1, 50, seed=seed) for seed in range(6)]
    for _ in range(2):
        for opener, sealed in zip(openers, records, strict=True):
            assert open_pieces(case, opener, sealed, (20, 40)) == sealed.content
        assert [opener in cache for opener in openers] == [False] * 4 + [True] * 2


@EVERY
def test_no_representation_shows_a_key(case):
    keys = KeyMaterial(*case.keys())
    opener = make_opener(case.format(), keys, KeyCache())
    sealed = sealed_record(case, 3, 20)
    stream = opener.begin(case.format().parse(3, sealed.prefix))
    stream.update(sealed.body[:10], memoryview(bytearray(10)))
    shown = "".join(map(repr, (opener, stream, opener.open, stream.update)))
    for secret in (keys.key, keys.iv):
        assert bytes(secret).hex() not in shown
        assert repr(bytes(secret))[2:-1] not in shown


@EVERY
def test_a_stream_makes_its_cipher_when_content_comes(case, monkeypatch):
    """Most headers end a packet's last record, and what follows may be lost."""
    made = []
    original = Cipher.decryptor
    monkeypatch.setattr(Cipher, "decryptor", lambda self: made.append(1) or original(self))
    sealed = sealed_record(case, 3, 20)
    stream = opener_of(case).begin(case.format().parse(3, sealed.prefix))
    assert not made
    for at in range(36):
        assert stream.update(sealed.body[at : at + 1], memoryview(bytearray(1)))
    assert made == [1]


@EVERY
def test_an_idle_opener_is_small(case):
    record_format, cache, count = case.format(), KeyCache(), 300
    key, iv, _ = case.keys()
    gc.collect()
    tracemalloc.start()
    try:
        openers = [None] * count
        before = tracemalloc.get_traced_memory()[0]
        for n in range(count):
            openers[n] = make_opener(record_format, KeyMaterial(key, iv), cache)
        each = (tracemalloc.get_traced_memory()[0] - before) / count
    finally:
        tracemalloc.stop()
    assert each - len(key) - len(iv) < 400
