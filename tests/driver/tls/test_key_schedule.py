"""Keys from secrets, against published vectors and OpenSSL's own derivation."""

import random
import subprocess

import pytest

from tlsnic.abi.enums import CipherSuite
from tlsnic.abi.suites import SUITES
from tlsnic.driver.tls import key_schedule as schedule

TLS13 = [suite for suite, layout in SUITES.items() if layout.is_tls13]
OLDER = [suite for suite, layout in SUITES.items() if not layout.is_tls13]


def test_prf_sha256_vector():
    """The vector of the TLS working group's mailing list (msg03416)."""
    output = schedule.prf(
        "sha256",
        bytes.fromhex("9bbe436ba940f017b17652849a71db35"),
        b"test label",
        bytes.fromhex("a0ba9f936cda311827a6f796ffd5198c"),
        100,
    )
    assert output.hex() == (
        "e3f229ba727be17b8d122620557cd453c2aab21d07c3d495329b52d4e61edb5a6b301791e90d35c9c9a46b4e1"
        "4baf9af0fa022f7077def17abfd3797c0564bab4fbc91666e9def9b97fce34f796789baa48082d122ee42c5a7"
        "2e5a5110fff70187347b66"
    )


@pytest.mark.parametrize("secret_bytes", [1, 47, 48])
@pytest.mark.parametrize("digest", ["md5+sha1", "sha256", "sha384"])
def test_prf_is_that_of_openssl(digest, secret_bytes):
    rng = random.Random(secret_bytes)
    secret, seed = rng.randbytes(secret_bytes), rng.randbytes(64)
    name = {"md5+sha1": "MD5-SHA1"}.get(digest, digest.upper())
    words = ["-keylen", "136", "-kdfopt", f"digest:{name}", "-kdfopt", f"hexsecret:{secret.hex()}"]
    words += ["-kdfopt", f"hexseed:{(b'key expansion' + seed).hex()}", "-binary", "TLS1-PRF"]
    expected = subprocess.run(["openssl", "kdf", *words], capture_output=True, check=True).stdout
    assert schedule.prf(digest, secret, b"key expansion", seed, 136) == expected


@pytest.mark.parametrize("suite", OLDER)
def test_key_block_is_cut_in_the_order_of_the_rfc(suite):
    layout = SUITES[suite]
    rng = random.Random(1)
    master, client, server = rng.randbytes(48), rng.randbytes(32), rng.randbytes(32)
    for key_bytes in layout.key_bytes:
        one, other = schedule.connection_keys(suite, key_bytes, master, client, server)
        size = 2 * (key_bytes + layout.iv_bytes + layout.mac_key_bytes)
        digest = schedule.digest_name(suite)
        block = schedule.prf(digest, master, b"key expansion", server + client, size)
        parts = (one.mac_key, other.mac_key, one.key, other.key, one.iv, other.iv)
        assert b"".join(parts) == block
        for keys in (one, other):
            lengths = len(keys.key), len(keys.iv), len(keys.mac_key)
            assert lengths == (key_bytes, layout.iv_bytes, layout.mac_key_bytes)


@pytest.mark.parametrize(
    "fields",
    [
        {"key_bytes": 24},
        {"master_secret": bytes(47)},
        {"client_random": bytes(31)},
        {"server_random": bytes(33)},
        {"suite": CipherSuite.TLS13_AES_128_GCM},
        {"suite": CipherSuite.TLS12_AES_128_GCM | CipherSuite.TLS12_AES_256_GCM},
    ],
)
def test_key_block_refuses(fields):
    good = {
        "suite": CipherSuite.TLS12_AES_128_GCM,
        "key_bytes": 16,
        "master_secret": bytes(48),
        "client_random": bytes(32),
        "server_random": bytes(32),
    }
    schedule.connection_keys(**good)
    with pytest.raises(ValueError, match=r"bytes|suite"):
        schedule.connection_keys(**good | fields)


HKDF = [  # RFC 5869 appendix A.1 to A.3: input key, salt, info, pseudo-random key, output
    (
        "0b" * 22,
        "000102030405060708090a0b0c",
        "f0f1f2f3f4f5f6f7f8f9",
        "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5",
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
    ),
    (
        bytes(range(0x50)).hex(),
        bytes(range(0x60, 0xB0)).hex(),
        bytes(range(0xB0, 0x100)).hex(),
        "06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244",
        "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c"
        "59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71"
        "cc30c58179ec3e87c14c01d5c1f3434f1d87",
    ),
    (
        "0b" * 22,
        "",
        "",
        "19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04",
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
    ),
]


@pytest.mark.parametrize("vector", HKDF)
def test_hkdf_vectors(vector):
    input_key, salt, info, secret, output = map(bytes.fromhex, vector)
    assert schedule.hkdf_extract("sha256", salt, input_key) == secret
    assert schedule.hkdf_expand("sha256", secret, info, len(output)) == output


def test_hkdf_has_an_end():
    assert len(schedule.hkdf_expand("sha256", bytes(32), b"", 255 * 32)) == 255 * 32
    with pytest.raises(ValueError, match="does not yield"):
        schedule.hkdf_expand("sha256", bytes(32), b"", 255 * 32 + 1)


TRACE = [  # RFC 8448 section 3: traffic secret, key, IV
    (
        "9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5",  # client application
        "17422dda596ed5d9acd890e3c63f5051",
        "5b78923dee08579033e523d9",
    ),
    (
        "a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643",  # server application
        "9f02283b6c9c07efc26bb9f2ac92e356",
        "cf782b88dd83549aadf1e984",
    ),
    (
        "b67b7d690cc16c4e75e54213cb2d37b4e9c912bcded9105d42befd59d391ad38",  # server handshake
        "3fce516009c21727d0f2e4e86ee403bc",
        "5d313eb2671276ee13000b30",
    ),
]


@pytest.mark.parametrize("vector", TRACE)
def test_traffic_keys_of_the_rfc_trace(vector):
    secret, key, iv = map(bytes.fromhex, vector)
    keys = schedule.traffic_keys(CipherSuite.TLS13_AES_128_GCM, secret)
    assert (keys.key, keys.iv, keys.mac_key) == (key, iv, b"")


def test_secrets_of_the_rfc_trace():
    """RFC 8448 section 3: from the shared secret on."""
    digest, empty = (
        "sha256",
        bytes.fromhex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
    )
    early = schedule.hkdf_extract(digest, b"", bytes(32))
    derived = schedule.hkdf_expand_label(digest, early, b"derived", empty, 32)
    assert derived.hex() == "6f2615a108c702c5678f54fc9dbab69716c076189c48250cebeac3576c3611ba"
    shared = "8bd4054fb55b9d63fdfbacf9f04b9f0d35e6d63f537563efd46272900f89492d"
    handshake = schedule.hkdf_extract(digest, derived, bytes.fromhex(shared))
    assert handshake.hex() == "1dc826e93606aa6fdc0aadc12f741b01046aa6b99f691ed221a9f0ca043fbeac"
    derived = schedule.hkdf_expand_label(digest, handshake, b"derived", empty, 32)
    master = schedule.hkdf_extract(digest, derived, bytes(32))
    transcript = "9608102a0f1ccc6db6250b7b7e417b1a000eaada3daae4777a7686c9ff83df13"
    client = schedule.hkdf_expand_label(
        digest, master, b"c ap traffic", bytes.fromhex(transcript), 32
    )
    assert client.hex() == TRACE[0][0]


@pytest.mark.parametrize("suite", TLS13)
def test_update_is_that_of_openssl(suite):
    digest = schedule.digest_name(suite)
    size = {"sha256": 32, "sha384": 48}[digest]
    secret = random.Random(2).randbytes(size)
    info = size.to_bytes(2, "big") + b"\x11tls13 traffic upd\0"
    words = ["-keylen", str(size), "-kdfopt", f"digest:{digest}", "-kdfopt", "mode:EXPAND_ONLY"]
    words += ["-kdfopt", f"hexkey:{secret.hex()}", "-kdfopt", f"hexinfo:{info.hex()}", "-binary"]
    done = subprocess.run(["openssl", "kdf", *words, "HKDF"], capture_output=True, check=True)
    assert schedule.next_traffic_secret(suite, secret) == done.stdout


@pytest.mark.parametrize("derive", [schedule.traffic_keys, schedule.next_traffic_secret])
def test_traffic_secrets_are_checked(derive):
    with pytest.raises(ValueError, match="has 32 bytes"):
        derive(CipherSuite.TLS13_AES_128_GCM, bytes(48))
    with pytest.raises(ValueError, match=r"no suite of TLS 1\.3"):
        derive(CipherSuite.TLS12_AES_128_GCM, bytes(32))


def test_keys_are_not_shown():
    keys = schedule.traffic_keys(CipherSuite.TLS13_AES_256_GCM, b"secretly" * 6)
    assert repr(keys) == "TrafficKeys(32-byte key)"
