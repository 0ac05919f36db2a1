"""Published test vectors: of the second implementation, and of the device's ciphers."""

import struct

import pytest
from record_bench import (
    CASES,
    cbc,
    chacha20_poly1305,
    chacha_block,
    gcm,
    poly1305,
    seal,
    stream,
)
from sealed_bench import Sealed, open_pieces, open_whole

from tlsnic.abi.enums import CipherSuite
from tlsnic.device.tls.cipher import make_cipher
from tlsnic.device.tls.keys import KeyCache, KeyMaterial
from tlsnic.device.tls.opening import make_opener

unhex = bytes.fromhex


def case_of(suite, key):
    return next(c for c in CASES if c.layout.suite == suite and c.key_bytes == len(key))


# McGrew and Viega, "The Galois/Counter Mode of Operation", as submitted to NIST: appendix B,
# test cases 2, 4, 14 and 16. Key, nonce, plaintext, additional data, ciphertext, tag.
_PLAIN = unhex(
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e24"
    "49a6b525b16aedf5aa0de657ba637b39"
)
_KEY = unhex("feffe9928665731c6d6a8f9467308308")
_NONCE = unhex("cafebabefacedbaddecaf888")
_AAD = unhex("feedfacedeadbeeffeedfacedeadbeefabaddad2")
GCM = {
    2: (
        bytes(16), bytes(12), bytes(16), b"",
        unhex("0388dace60b6a392f328c2b971b2fe78"),
        unhex("ab6e47d42cec13bdf53a67b21257bddf"),
    ),
    4: (
        _KEY, _NONCE, _PLAIN, _AAD,
        unhex(
            "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c"
            "7d8f6a5aac84aa051ba30b396a0aac973d58e091"
        ),
        unhex("5bc94fbc3221a5db94fae95ae7121a47"),
    ),
    14: (
        bytes(32), bytes(12), bytes(16), b"",
        unhex("cea7403d4d606b6e074ec5d3baf39d18"),
        unhex("d0d1c8a799996bf0265b98b5d48ab919"),
    ),
    16: (
        _KEY + _KEY, _NONCE, _PLAIN, _AAD,
        unhex(
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3d"
            "a7b08b1056828838c5f61e6393ba7a0abcc9f662"
        ),
        unhex("76fc6ece0f4e1768cddf8853bb2d551b"),
    ),
}  # fmt: skip

# RFC 8439 section 2.8.2. Key, nonce, plaintext, additional data, ciphertext, tag.
CHACHA = (
    bytes(range(0x80, 0xA0)),
    unhex("070000004041424344454647"),
    b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the "
    b"future, sunscreen would be it.",
    unhex("50515253c0c1c2c3c4c5c6c7"),
    unhex(
        "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb"
        "69da92728b1a71de0a9e060b2905d6a5b67ecd3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad6"
        "75945585808b4831d7bc3ff4def08e4b7a9de576d26586cec64b6116"
    ),
    unhex("1ae10b594f09e26a7e902ecbd0600691"),
)

# NIST SP 800-38A appendix F.2.1 and F.2.5. Key, ciphertext.
_CBC_IV = bytes(range(16))
_CBC_PLAIN = unhex(
    "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
    "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
)
CBC = [
    (
        unhex("2b7e151628aed2a6abf7158809cf4f3c"),
        unhex(
            "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2"
            "73bed6b8e3c1743b7116e69e222295163ff1caa1681fac09120eca307586e1a7"
        ),
    ),
    (
        unhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4"),
        unhex(
            "f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d"
            "39f23369a9d9bacfa530e26304231461b2eb05e2c39be9fcda6c19078c6a9d1b"
        ),
    ),
]


@pytest.mark.parametrize("number", GCM)
def test_gcm_of_the_second_implementation(number):
    key, nonce, plain, aad, sealed, tag = GCM[number]
    assert gcm(key, nonce, aad, plain) == sealed + tag


def test_chacha20_poly1305_of_the_second_implementation():
    """RFC 8439 sections 2.3.2, 2.5.2 and 2.8.2."""
    assert chacha_block(bytes(range(32)), 1, unhex("000000090000004a00000000")) == unhex(
        "10f1e7e4d13b5915500fdd1fa32071c4c7d1f4c733c068030422aa9ac3d46c4e"
        "d2826446079faa0914c2d705d98b02a2b5129cd1de164eb9cbd083e8a2503c4e"
    )
    one_time = unhex("85d6be7857556d337f4452fe42d506a80103808afb0db2fd4abff6af4149f51b")
    assert poly1305(one_time, b"Cryptographic Forum Research Group") == unhex(
        "a8061dc1305136c6c22b8baf0c0127a9"
    )
    key, nonce, plain, aad, sealed, tag = CHACHA
    assert chacha20_poly1305(key, nonce, aad, plain) == sealed + tag


@pytest.mark.parametrize(("key", "sealed"), CBC)
def test_cbc_of_the_second_implementation(key, sealed):
    assert cbc(key, _CBC_IV, _CBC_PLAIN) == sealed


def protected_content(suite, key, iv, explicit, plain):
    """The content of a record, made in all three ways. The tag is over other additional data."""
    case = case_of(suite, key)
    cipher = make_cipher(case.format(), KeyMaterial(key, iv), KeyCache(), 0)
    prefix, laid_out = case.lay_out(plain)
    record = case.format().parse(0, prefix[:5] + explicit)
    out = bytearray(len(plain))
    cipher.keystream_xor(record, 0, plain, memoryview(out))
    assert seal(cipher, record, plain)[: len(plain)] == out
    assert stream(cipher, record, laid_out, [5, 50])[: len(plain)] == out
    return bytes(out)


def opened_content(suite, key, iv, explicit, sealed):
    """The content of a record that is opened in pieces. The tag is over other additional data."""
    case = case_of(suite, key)
    opener = make_opener(case.format(), KeyMaterial(key, iv), KeyCache())
    prefix, _ = case.lay_out(sealed)
    opening = opener.begin(case.format().parse(0, prefix[:5] + explicit))
    out = memoryview(bytearray(len(sealed)))
    assert opening.update(sealed[:5], out[:5])
    assert opening.update(sealed[5:], out[5:])
    return bytes(out)


@pytest.mark.parametrize("number", GCM)
def test_gcm_content_opened(number):
    key, nonce, plain, _, sealed, _ = GCM[number]
    tls12 = {16: CipherSuite.TLS12_AES_128_GCM, 32: CipherSuite.TLS12_AES_256_GCM}[len(key)]
    tls13 = {16: CipherSuite.TLS13_AES_128_GCM, 32: CipherSuite.TLS13_AES_256_GCM}[len(key)]
    assert opened_content(tls12, key, nonce[:4], nonce[4:], sealed) == plain
    assert opened_content(tls13, key, nonce, b"", sealed) == plain


@pytest.mark.parametrize(
    "suite", [CipherSuite.TLS12_CHACHA20_POLY1305, CipherSuite.TLS13_CHACHA20_POLY1305]
)
def test_chacha20_content_opened(suite):
    key, nonce, plain, _, sealed, _ = CHACHA
    assert opened_content(suite, key, nonce, b"", sealed) == plain


@pytest.mark.parametrize("number", GCM)
def test_gcm_content(number):
    key, nonce, plain, _, sealed, _ = GCM[number]
    tls12 = {16: CipherSuite.TLS12_AES_128_GCM, 32: CipherSuite.TLS12_AES_256_GCM}[len(key)]
    tls13 = {16: CipherSuite.TLS13_AES_128_GCM, 32: CipherSuite.TLS13_AES_256_GCM}[len(key)]
    assert protected_content(tls12, key, nonce[:4], nonce[4:], plain) == sealed
    assert protected_content(tls13, key, nonce, b"", plain) == sealed


@pytest.mark.parametrize(
    "suite", [CipherSuite.TLS12_CHACHA20_POLY1305, CipherSuite.TLS13_CHACHA20_POLY1305]
)
def test_chacha20_content(suite):
    key, nonce, plain, _, sealed, _ = CHACHA
    assert protected_content(suite, key, nonce, b"", plain) == sealed


@pytest.mark.parametrize(("key", "sealed"), CBC)
@pytest.mark.parametrize(
    "suite", [CipherSuite.TLS10_AES_CBC_SHA1, CipherSuite.TLS12_AES_CBC_SHA256]
)
def test_cbc_content(suite, key, sealed):
    case = case_of(suite, key)
    layout = case.layout
    iv = _CBC_IV[: layout.iv_bytes]
    keys = KeyMaterial(key, iv, bytes(layout.mac_key_bytes))
    prefix, _ = case.lay_out(_CBC_PLAIN)
    explicit = _CBC_IV[: layout.explicit_bytes]
    record = case.format().parse(0, prefix[:5] + explicit)
    cipher = make_cipher(case.format(), keys, KeyCache(), 0)
    assert seal(cipher, record, _CBC_PLAIN)[:64] == sealed


# RFC 8448 section 3, "Simple 1-RTT Handshake": TLS_AES_128_GCM_SHA256, application traffic keys.
# Key, IV, record number, inner plaintext, complete record.
_CLIENT = unhex("17422dda596ed5d9acd890e3c63f5051"), unhex("5b78923dee08579033e523d9")
_SERVER = unhex("9f02283b6c9c07efc26bb9f2ac92e356"), unhex("cf782b88dd83549aadf1e984")
RFC8448 = {
    "client application data": (
        *_CLIENT, 0, bytes(range(50)) + b"\x17",
        unhex(
            "1703030043a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5b46b395bd5"
            "4a9a20441e2b62974e1f5a6292a2977014bd1e3deae63aeebb21694915e4"
        ),
    ),
    "client alert": (
        *_CLIENT, 1, b"\x01\x00\x15",
        unhex("1703030013c9872760655666b74d7ff1153efd6db6d0b0e3"),
    ),
    "server application data": (
        *_SERVER, 1, bytes(range(50)) + b"\x17",
        unhex(
            "17030300432e937e11ef4ac740e538ad36005fc4a46932fc3225d05f82aa1b36e30efaf97d90e6dffc60"
            "2dcb501a59a8fcc49c4bf2e5f0a21c0047c2abf332540dd032e167c2955d"
        ),
    ),
    "server alert": (
        *_SERVER, 2, b"\x01\x00\x15",
        unhex("1703030013b58fd67166ebf599d24720cfbe7efa7a8864a9"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RFC8448)
def test_records_of_rfc_8448(name):
    key, iv, number, inner, whole = RFC8448[name]
    case = case_of(CipherSuite.TLS13_AES_128_GCM, key)
    cipher = make_cipher(case.format(), KeyMaterial(key, iv), KeyCache(), 0)
    prefix, laid_out = case.lay_out(inner)
    record = case.format().parse(number, prefix)
    assert prefix + seal(cipher, record, inner) == whole
    assert prefix + stream(cipher, record, laid_out, range(len(laid_out))) == whole
    assert struct.unpack(">H", whole[3:5])[0] == len(whole) - 5


@pytest.mark.parametrize("name", RFC8448)
def test_records_of_rfc_8448_opened(name):
    key, iv, number, inner, whole = RFC8448[name]
    case = case_of(CipherSuite.TLS13_AES_128_GCM, key)
    opener = make_opener(case.format(), KeyMaterial(key, iv), KeyCache())
    sealed = Sealed(number, whole[:5], inner, whole[5:])
    assert open_whole(case, opener, sealed) == inner
    assert open_pieces(case, opener, sealed, range(len(whole))) == inner
    assert opener.settle(whole[:5], whole[5:], 0, 64) == number
