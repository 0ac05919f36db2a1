"""Sealed records from the second implementation and from `cryptography`, and how to open them."""

import random
from typing import NamedTuple

from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from record_bench import Case, xor

from tlsnic.abi.suites import RecordKind
from tlsnic.device.tls.keys import KeyCache, KeyMaterial
from tlsnic.device.tls.opening import make_opener


class Sealed(NamedTuple):
    """A record on the wire."""

    number: int
    prefix: bytes
    content: bytes
    body: bytes
    """Ciphertext and tag."""


def opener_of(case: Case, seed=0, cache=None):
    keys = KeyMaterial(*case.keys(seed))
    return make_opener(case.format(), keys, KeyCache() if cache is None else cache)


def sealed_record(case: Case, number, content_bytes, *, seed=0, explicit=None, kind=23):
    """By `cryptography` alone. explicit: nonce as a number; None: any."""
    content = random.Random(f"{seed} {number} {content_bytes}").randbytes(content_bytes)
    prefix, _ = case.lay_out(content, kind=kind, nonce_seed=number)
    if explicit is not None and len(prefix) > 5:
        prefix = prefix[:5] + explicit.to_bytes(8, "big")
    key, iv, _ = case.keys(seed)
    nonce = iv + prefix[5:] if prefix[5:] else xor(iv, bytes(4) + number.to_bytes(8, "big"))
    aad = prefix
    if not case.layout.is_tls13:
        aad = number.to_bytes(8, "big") + prefix[:3] + content_bytes.to_bytes(2, "big")
    aead = AESGCM if case.layout.kind is RecordKind.GCM else ChaCha20Poly1305
    return Sealed(number, prefix, content, aead(key).encrypt(nonce, content, aad))


def open_whole(case: Case, opener, sealed: Sealed):
    """The content, or None when the tag is wrong."""
    record = case.format().parse(sealed.number, sealed.prefix)
    out = bytearray(record.content_bytes)
    return bytes(out) if opener.open(record, sealed.body, memoryview(out)) else None


def open_pieces(case: Case, opener, sealed: Sealed, cuts):
    """As open_whole(), cut at `cuts`, offsets in the body; checks each step."""
    record = case.format().parse(sealed.number, sealed.prefix)
    stream = opener.begin(record)
    body, plain, start = sealed.body, b"", 0
    for end in sorted({cut for cut in cuts if 0 < cut < len(body)} | {len(body)}):
        assert stream.position == len(sealed.prefix) + start
        out = bytearray(end - start)
        good = stream.update(body[start:end], memoryview(out))
        assert good or end == len(body)
        plain, start = plain + out, end
    assert stream.position == record.total_bytes
    assert plain[-16:] == body[-16:]
    return plain[:-16] if good else None


def flipped(data, bit):
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)
