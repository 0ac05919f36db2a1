"""Record protection written a second time, from block ciphers and integers, to judge the device's.

Nothing here is shared with the product: AES is used a block at a time, GHASH and Poly1305 are
integer arithmetic (NIST SP 800-38D, RFC 8439), CBC and the MAC are as RFC 5246 and RFC 7366 say.
"""

import hmac
import random
import struct
from dataclasses import dataclass

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import strategies as st

from tlsnic.abi.suites import SUITES, RecordKind
from tlsnic.device.tls.cipher import make_cipher
from tlsnic.device.tls.keys import KeyCache, KeyMaterial
from tlsnic.device.tls.record import RecordFormat


def aes_block(key, block):
    encryptor = Cipher(algorithms.AES(bytes(key)), modes.ECB()).encryptor()
    return encryptor.update(block)


def xor(a, b):
    return bytes(x ^ y for x, y in zip(a, b, strict=False))


def pad16(data):
    return data + bytes(-len(data) % 16)


def ghash_multiply(x, y):
    """SP 800-38D section 6.3: bit 0 is the leftmost."""
    product = 0
    for bit in range(127, -1, -1):
        if x >> bit & 1:
            product ^= y
        y = y >> 1 ^ (0xE1 << 120 if y & 1 else 0)
    return product


def gcm(key, nonce, aad, plain):
    """SP 800-38D section 7.1: ciphertext and tag."""
    encryptor = Cipher(algorithms.AES(bytes(key)), modes.ECB()).encryptor()

    def block(counter):
        return encryptor.update(bytes(nonce) + struct.pack(">I", counter))

    pieces = range(0, len(plain), 16)
    sealed = b"".join(xor(plain[at : at + 16], block(2 + at // 16)) for at in pieces)
    subkey = int.from_bytes(encryptor.update(bytes(16)), "big")
    hashed = pad16(aad) + pad16(sealed) + struct.pack(">QQ", 8 * len(aad), 8 * len(plain))
    total = 0
    for at in range(0, len(hashed), 16):
        total = ghash_multiply(total ^ int.from_bytes(hashed[at : at + 16], "big"), subkey)
    return sealed + xor(total.to_bytes(16, "big"), block(1))


def chacha_block(key, counter, nonce):
    """RFC 8439 section 2.3."""
    mask = 0xFFFFFFFF
    start = struct.unpack("<16I", b"expand 32-byte k" + key + struct.pack("<I", counter) + nonce)
    s = list(start)
    columns = [(n, 4 + n, 8 + n, 12 + n) for n in range(4)]
    diagonals = [(n, 4 + (n + 1) % 4, 8 + (n + 2) % 4, 12 + (n + 3) % 4) for n in range(4)]
    for a, b, c, d in 10 * (columns + diagonals):
        for into, other, target, turn in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            s[into] = s[into] + s[other] & mask
            mixed = s[target] ^ s[into]
            s[target] = (mixed << turn | mixed >> 32 - turn) & mask
    return struct.pack("<16I", *(x + y & mask for x, y in zip(s, start, strict=True)))


def poly1305(key, message):
    """RFC 8439 section 2.5."""
    r = int.from_bytes(key[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    total = 0
    for at in range(0, len(message), 16):
        block = int.from_bytes(message[at : at + 16] + b"\1", "little")
        total = (total + block) * r % (2**130 - 5)
    return ((total + int.from_bytes(key[16:], "little")) % 2**128).to_bytes(16, "little")


def chacha20_poly1305(key, nonce, aad, plain):
    """RFC 8439 section 2.8: ciphertext and tag."""
    key, nonce = bytes(key), bytes(nonce)
    sealed = b"".join(
        xor(plain[at : at + 64], chacha_block(key, 1 + at // 64, nonce))
        for at in range(0, len(plain), 64)
    )
    message = pad16(aad) + pad16(sealed) + struct.pack("<QQ", len(aad), len(plain))
    return sealed + poly1305(chacha_block(key, 0, nonce)[:32], message)


def cbc(key, iv, plain):
    sealed = b""
    for at in range(0, len(plain), 16):
        iv = aes_block(key, xor(plain[at : at + 16], iv))
        sealed += iv
    return sealed


@dataclass(frozen=True)
class Case:
    """A suite with a key length, and whether the MAC comes after encryption."""

    layout: object
    key_bytes: int
    encrypt_then_mac: bool

    @property
    def is_cbc(self):
        return self.layout.kind is RecordKind.CBC

    @property
    def id(self):
        name = f"{self.layout.suite.name}-{8 * self.key_bytes}"
        return name + ("-EtM" if self.encrypt_then_mac else "")

    def format(self, max_plaintext=16384):
        return RecordFormat(self.layout, self.encrypt_then_mac, max_plaintext)

    def keys(self, seed=0):
        rng, layout = random.Random(seed), self.layout
        sizes = (self.key_bytes, layout.iv_bytes, layout.mac_key_bytes)
        return [rng.randbytes(size) for size in sizes]

    def cipher(self, seed=0, first_number=0, cache=None):
        keys = KeyMaterial(*self.keys(seed))
        cache = KeyCache() if cache is None else cache
        return make_cipher(self.format(), keys, cache, first_number)

    def least_padding(self, content_bytes):
        """Smallest padding length of a CBC record; add multiples of 16 for others."""
        if not self.is_cbc:
            return 0
        mac = 0 if self.encrypt_then_mac else self.layout.tag_bytes
        return -(content_bytes + mac + 1) % 16

    def lay_out(self, content, padding=None, kind=23, nonce_seed=0):
        """Prefix and the rest of a record as the host hands it over; the room has rubbish in it."""
        layout = self.layout
        if padding is None:
            padding = self.least_padding(len(content))
        room = layout.tag_bytes + (padding + 1 if self.is_cbc else 0)
        version = 0x0300 | padding if self.is_cbc else layout.wire_version
        length = layout.explicit_bytes + len(content) + room
        explicit = random.Random(f"nonce {nonce_seed}").randbytes(layout.explicit_bytes)
        return struct.pack(">BHH", kind, version, length) + explicit, content + b"\xa5" * room

    def reference(self, keys, number, prefix, content, iv=None):
        """What follows the prefix on the wire. `iv`: that of a TLS 1.0 record."""
        key, secret_iv, mac_key = keys
        layout, padding = self.layout, prefix[2]
        head = prefix[:1] + struct.pack(">H", layout.wire_version)
        if self.is_cbc:
            digest = {20: "sha1", 32: "sha256", 48: "sha384"}[layout.tag_bytes]
            explicit, padded = prefix[5:], bytes([padding]) * (padding + 1)
            block_iv = explicit or iv or secret_iv
            if self.encrypt_then_mac:
                body = explicit + cbc(key, block_iv, content + padded)
                covered = struct.pack(">Q", number) + head + struct.pack(">H", len(body)) + body
                return body[16:] + hmac.digest(mac_key, covered, digest)
            covered = struct.pack(">Q", number) + head + struct.pack(">H", len(content)) + content
            return cbc(key, block_iv, content + hmac.digest(mac_key, covered, digest) + padded)
        nonce = secret_iv + prefix[5:]
        if len(prefix) == 5:
            nonce = xor(secret_iv, bytes(4) + struct.pack(">Q", number))
        aad = struct.pack(">Q", number) + head + struct.pack(">H", len(content))
        if layout.is_tls13:
            aad = prefix
        protect = gcm if layout.kind is RecordKind.GCM else chacha20_poly1305
        return protect(key, nonce, aad, content)


CASES = [
    Case(layout, key_bytes, later)
    for layout in SUITES.values()
    for key_bytes in layout.key_bytes
    for later in ((False, True) if layout.mac_key_bytes and layout.explicit_bytes else (False,))
]
AEAD_CASES = [case for case in CASES if not case.is_cbc]
CBC_CASES = [case for case in CASES if case.is_cbc]


def seal(cipher, record, content):
    out = bytearray(record.total_bytes - len(record.prefix))
    cipher.seal(record, content, memoryview(out))
    return bytes(out)


def stream(cipher, record, laid_out, cuts):
    """The record through begin() and update(), cut at `cuts`, offsets behind the prefix."""
    pieces = cipher.begin(record)
    ends = sorted({cut for cut in cuts if cut < len(laid_out)} | {len(laid_out)})
    sealed, start = b"", 0
    for end in ends:
        ahead = pieces.suffix_bytes(len(record.prefix) + end)
        out = bytearray(end - start)
        pieces.update(laid_out[start:end], memoryview(out), laid_out[end : end + ahead])
        assert pieces.position == len(record.prefix) + end
        sealed, start = sealed + out, end
    return sealed


NUMBERS = st.one_of(st.integers(0, 3), st.integers(0, 2**64 - 1), st.just(2**64 - 1))
CUTS = st.lists(st.integers(0, 400), max_size=12)
