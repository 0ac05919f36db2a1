"""Keys: never shown, overwritten when they go; expanded keys are few."""

import gc
import tracemalloc
import weakref

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from record_bench import AEAD_CASES, CASES, CBC_CASES, seal

from tlsnic.device.tls import aead
from tlsnic.device.tls.cipher import make_cipher
from tlsnic.device.tls.keys import KeyCache, KeyMaterial
from tlsnic.device.tls.record import WipedKey

EVERY = pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)


@pytest.fixture
def expanded(monkeypatch):
    """The expanded keys that are alive, as a weak set."""
    alive = weakref.WeakSet()
    for original in (AESGCM, ChaCha20Poly1305):

        class Watched:
            def __init__(self, key, original=original):
                self._inner = original(key)
                self.encrypt_into = self._inner.encrypt_into
                alive.add(self)

        monkeypatch.setattr(aead, original.__name__, Watched)
    return alive


def test_material_copies_wipes_and_shows_nothing():
    given = [bytearray(b"K" * 16), bytearray(b"I" * 12), bytearray(b"M" * 20)]
    keys = KeyMaterial(*given)
    given[0][:] = bytes(16)
    assert keys.key == b"K" * 16
    held = keys.key, keys.iv, keys.mac_key
    assert repr(keys) == "<KeyMaterial key: 16 bytes, iv: 12 bytes, mac_key: 20 bytes>"
    keys.wipe()
    assert held == (bytes(16), bytes(12), bytes(20))
    assert held[0] is keys.key


class Holder:
    forgotten = 0

    def forget(self):
        self.forgotten += 1


def test_cache_is_bounded_and_first_in_first_out():
    cache, holders = KeyCache(3), [Holder() for _ in range(5)]
    for holder in holders[:3]:
        cache.add(holder)
    cache.add(holders[0])
    assert [holder.forgotten for holder in holders] == [0, 0, 0, 0, 0]
    cache.add(holders[3])
    assert [holder.forgotten for holder in holders] == [1, 0, 0, 0, 0]
    cache.remove(holders[1])
    cache.remove(holders[1])
    cache.add(holders[4])
    assert [holder.forgotten for holder in holders] == [1, 0, 0, 0, 0]
    assert [holder in cache for holder in holders] == [False, False, True, True, True]
    assert len(cache) == 3


def test_cache_needs_room():
    with pytest.raises(ValueError, match="0 keys"):
        KeyCache(0)


@pytest.mark.parametrize("case", AEAD_CASES, ids=lambda case: case.id)
def test_expanded_keys_are_bounded_and_ciphers_work_without(case, expanded):
    cache = KeyCache(4)
    ciphers = [case.cipher(seed, cache=cache) for seed in range(12)]
    prefix, _ = case.lay_out(b"content")
    record = case.format().parse(3, prefix)
    first = [seal(cipher, record, b"content") for cipher in ciphers]
    assert len(set(first)) == 12
    assert len(expanded) == len(cache) == 4
    assert [seal(cipher, record, b"content") for cipher in ciphers] == first
    assert len(expanded) == len(cache) == 4


@pytest.mark.parametrize("case", AEAD_CASES, ids=lambda case: case.id)
def test_a_key_that_is_in_use_is_expanded_once(case, expanded):
    cipher = case.cipher()
    prefix, _ = case.lay_out(b"content")
    record = case.format().parse(3, prefix)
    seal(cipher, record, b"content")
    (kept,) = expanded
    seal(cipher, record, b"content")
    assert list(expanded) == [kept]


@pytest.mark.parametrize("case", AEAD_CASES, ids=lambda case: case.id)
def test_wipe_frees_the_expanded_key(case, expanded):
    cache = KeyCache(4)
    cipher = case.cipher(cache=cache)
    prefix, _ = case.lay_out(b"content")
    seal(cipher, case.format().parse(3, prefix), b"content")
    assert (len(expanded), len(cache)) == (1, 1)
    cipher.wipe()
    assert (len(expanded), len(cache)) == (0, 0)


@EVERY
def test_a_wiped_cipher_has_zeros_and_encrypts_nothing(case):
    keys = KeyMaterial(*case.keys())
    cipher = make_cipher(case.format(), keys, KeyCache(), 3)
    prefix, rest = case.lay_out(b"content")
    record = case.format().parse(3, prefix)
    seal(cipher, record, b"content")
    cipher.wipe()
    cipher.wipe()
    for secret in (keys.key, keys.iv, keys.mac_key):
        assert not any(secret)
    out = memoryview(bytearray(len(rest)))
    with pytest.raises(WipedKey):
        cipher.seal(record, b"content", out)
    with pytest.raises(WipedKey):
        cipher.begin(record)
    with pytest.raises((WipedKey, ValueError)):
        cipher.keystream_xor(record, 0, b"content", out[:7])
    assert not any(out)
    assert cipher.iv_of(3) is None


@EVERY
def test_no_representation_shows_a_key(case):
    keys = KeyMaterial(*case.keys())
    cipher = make_cipher(case.format(), keys, KeyCache(), 0)
    prefix, _ = case.lay_out(b"content")
    record = case.format().parse(0, prefix)
    shown = "".join(map(repr, (keys, cipher, case.format(), record, cipher.begin(record))))
    for secret in (keys.key, keys.iv, keys.mac_key):
        if secret:
            assert bytes(secret).hex() not in shown
            assert repr(bytes(secret))[2:-1] not in shown


@EVERY
@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("change", [-1, 1])
def test_lengths_of_keys_are_those_of_the_suite(case, which, change):
    keys = case.keys()
    size = len(keys[which]) + change
    if size < 0:
        return
    keys[which] = bytes(size)
    with pytest.raises(ValueError, match=f"key: {len(keys[0])} bytes"):
        make_cipher(case.format(), KeyMaterial(*keys), KeyCache(), 0)


def bytes_per_cipher(case):
    record_format, cache, count = case.format(), KeyCache(), 500
    key, iv, mac_key = case.keys()
    gc.collect()
    tracemalloc.start()
    try:
        ciphers = [None] * count
        before = tracemalloc.get_traced_memory()[0]
        for n in range(count):
            ciphers[n] = make_cipher(record_format, KeyMaterial(key, iv, mac_key), cache, 0)
        return (tracemalloc.get_traced_memory()[0] - before) / count
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("case", AEAD_CASES + CBC_CASES, ids=lambda case: case.id)
def test_an_idle_cipher_is_small(case):
    beyond_keys = bytes_per_cipher(case) - sum(map(len, case.keys()))
    assert beyond_keys < (550 if case.layout.version == 0x0301 else 400)
