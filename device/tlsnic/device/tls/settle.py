"""Finds the number of a whole record by its tag: a number whose tag fits is proof.

Trying every candidate would take a pass over the record for each. AES-GCM needs one or two for all:

* TLS 1.3: GHASH does not depend on the number, as the additional data is the header. What is left
  when it is taken from the tag is the encrypted first counter block, and that is nonce and 1.
* TLS 1.2: the nonce is in the record, and the number is the first 8 bytes of the additional data.
  GHASH is linear: two tags that differ only by the number differ by the difference of the numbers
  times a power of the hash subkey, which a second tag gives.

With ChaCha20-Poly1305 all depends on the nonce, so that each candidate takes one pass of Poly1305.
NIST SP 800-38D sections 6.4 and 7.1, RFC 8439 section 2.8.
"""

import hmac
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.poly1305 import Poly1305

from tlsnic.abi.suites import BLOCK_BYTES
from tlsnic.device.packet.headers import Buffer
from tlsnic.device.tls.aead_key import POLY1305_KEY_BYTES, POLY1305_LENGTHS, Aead, InputsOf
from tlsnic.device.tls.keys import KeyMaterial
from tlsnic.device.tls.record import Record

MOST_TRIED: Final = 64
"""ChaCha20-Poly1305: candidates that are tried, the first ones."""
TAG_BYTES: Final = 16
_NONCE_BYTES: Final = 12
_NUMBER_BITS: Final = 64
_FIRST_COUNTER: Final = (1).to_bytes(4, "big")
_MODULUS: Final = 1 << 128 | 0x87
"""x^128 + x^7 + x^2 + x + 1."""


def gcm_tls13(
    keys: KeyMaterial, aead: Aead, inputs: InputsOf, record: Record, body: Buffer, numbers: range
) -> int | None:
    """The number of `record`, whose own number does not matter, if it is one of `numbers`.

    body: ciphertext and tag.
    """
    nonce, header = inputs(keys.iv, numbers.start, record.prefix, record.content_bytes)
    mask, content = _decrypted(keys.key, nonce, body)
    tag = _number(aead.encrypt(nonce, content, header)[-TAG_BYTES:])
    encrypted = tag ^ mask ^ _number(body[-TAG_BYTES:])
    decryptor = Cipher(algorithms.AES(keys.key), modes.ECB()).decryptor()
    first_block = decryptor.update(encrypted.to_bytes(BLOCK_BYTES, "big"))
    number = _number(first_block[:_NONCE_BYTES]) ^ _number(keys.iv)
    if first_block[_NONCE_BYTES:] == _FIRST_COUNTER and number in numbers:
        return number
    return None


def gcm_tls12(
    keys: KeyMaterial, aead: Aead, inputs: InputsOf, record: Record, body: Buffer, numbers: range
) -> int | None:
    """As gcm_tls13()."""
    iv, prefix, content_bytes = keys.iv, record.prefix, record.content_bytes
    # Linux and FreeBSD count explicit nonces as they do records.
    explicit = _number(prefix[-8:])
    guess = explicit if explicit in numbers else numbers.start
    nonce, aad = inputs(iv, guess, prefix, content_bytes)
    _, content = _decrypted(keys.key, nonce, body)
    tag = _number(aead.encrypt(nonce, content, aad)[-TAG_BYTES:])
    difference = tag ^ _number(body[-TAG_BYTES:])
    if not difference:
        return guess
    # The highest bit of the number is the coefficient of x^0.
    _, aad = inputs(iv, guess ^ 1 << _NUMBER_BITS - 1, prefix, content_bytes)
    power = tag ^ _number(aead.encrypt(nonce, content, aad)[-TAG_BYTES:])
    quotient = _reversed(_quotient(_reversed(difference), _reversed(power)))
    high, low = divmod(quotient, 1 << _NUMBER_BITS)
    number = guess ^ high
    return number if not low and number in numbers else None


def chacha(
    keys: KeyMaterial, inputs: InputsOf, record: Record, body: Buffer, numbers: range
) -> int | None:
    """As gcm_tls13(); of `numbers` only the first MOST_TRIED are tried."""
    iv, prefix, content_bytes = keys.iv, record.prefix, record.content_bytes
    _, aad = inputs(iv, numbers.start, prefix, content_bytes)
    tag = bytes(body[-TAG_BYTES:])
    message = bytearray().join((
        aad, bytes(-len(aad) % BLOCK_BYTES),
        memoryview(body)[:-TAG_BYTES], bytes(-content_bytes % BLOCK_BYTES),
        POLY1305_LENGTHS.pack(len(aad), content_bytes),
    ))  # fmt: skip
    context = Cipher(algorithms.ChaCha20(keys.key, bytes(BLOCK_BYTES)), None).encryptor()
    zeros = bytes(POLY1305_KEY_BYTES)
    for number in numbers[:MOST_TRIED]:
        nonce, aad = inputs(iv, number, prefix, content_bytes)
        message[: len(aad)] = aad
        context.reset_nonce(bytes(4) + nonce)
        fits = Poly1305.generate_tag(context.update(zeros), message)
        if hmac.compare_digest(fits, tag):
            return number
    return None


def _decrypted(key: bytearray, nonce: Buffer, body: Buffer) -> tuple[int, bytes]:
    """The encrypted first counter block, and the content as this nonce decrypts it."""
    start = modes.CTR(bytes(nonce) + _FIRST_COUNTER)
    context = Cipher(algorithms.AES(key), start).decryptor()
    mask = _number(context.update(bytes(BLOCK_BYTES)))
    return mask, context.update(memoryview(body)[:-TAG_BYTES])


def _number(data: Buffer) -> int:
    return int.from_bytes(data, "big")


def _reversed(block: int) -> int:
    """From GCM's order of bits, x^0 highest, to x^0 lowest, or back."""
    return int(f"{block:0128b}"[::-1], 2)


def _quotient(dividend: int, divisor: int) -> int:
    """In GF(2^128), by Euclid's algorithm: each line stays `divisor` times its factor."""
    line, factor = divisor, dividend
    other, other_factor = _MODULUS, 0
    while line:
        shift = other.bit_length() - line.bit_length()
        if shift < 0:
            line, factor, other, other_factor = other, other_factor, line, factor
        else:
            other ^= line << shift
            other_factor ^= factor << shift
    while (shift := other_factor.bit_length() - _MODULUS.bit_length()) >= 0:
        other_factor ^= _MODULUS << shift
    return other_factor
