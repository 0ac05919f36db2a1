"""KTLS-01: TCP_TXTLS_ENABLE and TCP_RXTLS_ENABLE with session parameters; a second enable is EALREADY;
unsupported suites give EINVAL or EPROTONOSUPPORT.

The errors are those of ktls_create_session(), ktls_ocf_try(), ktls_enable_tx() and ktls_enable_rx();
the refused parameters are those of the tables in FreeBSD's tests/sys/kern/ktls_test.c.
"""

import errno

import pytest
from harness.ktls import CARD, GCM12, GCM13
from harness.tls_start import make_session
from harness.tls_stream import marked

from tlsnic.abi.enums import CipherSuite
from tlsnic.abi.suites import SUITES
from tlsnic.driver.ktls.session import (
    CRYPTO_AES_CBC,
    CRYPTO_AES_NIST_GCM_16,
    CRYPTO_CHACHA20_POLY1305,
    CRYPTO_SHA1_HMAC,
    CRYPTO_SHA2_256_HMAC,
    CRYPTO_SHA2_384_HMAC,
    IPPROTO_TCP,
    TCP_RXTLS_ENABLE,
    TCP_RXTLS_MODE,
    TCP_TLS_MODE_IFNET,
    TCP_TLS_MODE_NONE,
    TCP_TLS_MODE_SW,
    TCP_TXTLS_ENABLE,
    TCP_TXTLS_MODE,
    TlsEnable,
)

pytestmark = [pytest.mark.row("KTLS-01"), CARD, pytest.mark.root]
ENABLES = {"transmit": TCP_TXTLS_ENABLE, "receive": TCP_RXTLS_ENABLE}
every_direction = pytest.mark.parametrize("option", ENABLES.values(), ids=ENABLES)
GCM, CBC, CHACHA = CRYPTO_AES_NIST_GCM_16, CRYPTO_AES_CBC, CRYPTO_CHACHA20_POLY1305


@pytest.fixture
def line(network):
    return network().connect()


def refused(line, option, value, level=IPPROTO_TCP):
    """The error's name."""
    mode = TCP_TXTLS_MODE if option == TCP_TXTLS_ENABLE else TCP_RXTLS_MODE
    before = line.so.getsockopt(IPPROTO_TCP, mode)
    with pytest.raises(OSError) as caught:  # noqa: PT011 - its number is looked at
        line.so.setsockopt(level, option, value)
    assert line.so.getsockopt(IPPROTO_TCP, mode) == before
    return errno.errorcode[caught.value.errno]


def test_ktls_01_suites_that_are_taken(network, scale):
    """Each suite and key length in both directions; the card encrypts, or software does (TLS 1.0),
    and receive has no AES-CBC."""
    one = network()
    every = [(suite, n) for suite, layout in SUITES.items() for n in layout.key_bytes]
    step = scale(1, 3)
    for number, (suite, key_bytes) in enumerate(every[::step]):
        line = one.connect()
        session = make_session(suite, key_bytes=key_bytes)
        line.enable_tx(session)
        chained = SUITES[suite].version == 0x0301
        assert line.tx_mode == (TCP_TLS_MODE_SW if chained else TCP_TLS_MODE_IFNET)
        assert line.rx_mode == TCP_TLS_MODE_NONE, "the directions are independent"
        if SUITES[suite].mac_key_bytes:
            enable = TlsEnable.of(session)
            assert refused(line, TCP_RXTLS_ENABLE, enable) == "EPROTONOSUPPORT"
        else:
            line.enable_rx(session)
            assert line.rx_mode == TCP_TLS_MODE_IFNET
        assert one.counter("stats.offload_total") >= number + 1
        line.close()


@every_direction
def test_ktls_01_a_second_enable(line, option):
    enable = TlsEnable.of(make_session(GCM13))
    line.so.setsockopt(IPPROTO_TCP, option, enable)
    assert refused(line, option, enable) == "EALREADY"
    assert refused(line, option, TlsEnable.of(make_session(GCM12))) == "EALREADY"


GOOD = {
    "gcm 1.2": TlsEnable(GCM, bytes(16), bytes(4), 3),
    "gcm 1.3": TlsEnable(GCM, bytes(32), bytes(12), 4),
    "chacha 1.2": TlsEnable(CHACHA, bytes(32), bytes(12), 3),
    "chacha 1.3": TlsEnable(CHACHA, bytes(32), bytes(12), 4),
    "cbc 1.0": TlsEnable(CBC, bytes(16), bytes(16), 1, CRYPTO_SHA1_HMAC, bytes(20)),
    "cbc 1.2": TlsEnable(CBC, bytes(32), b"", 3, CRYPTO_SHA2_256_HMAC, bytes(32)),
}
BAD = {
    "major version": ("gcm 1.2", {"tls_vmajor": 2}),
    "version before TLS 1.0": ("gcm 1.2", {"tls_vminor": 0}),
    "version behind TLS 1.3": ("gcm 1.3", {"tls_vminor": 5}),
    "no such cipher": ("gcm 1.2", {"cipher_algorithm": 99}),
    "no key": ("gcm 1.2", {"cipher_key": b""}),
    "a short key": ("gcm 1.2", {"cipher_key": bytes(15)}),
    "AES-192": ("gcm 1.3", {"cipher_key": bytes(24)}),
    "a long key": ("gcm 1.2", {"cipher_key": bytes(2000)}),
    "flags": ("gcm 1.2", {"flags": 1}),
    "a short record number": ("gcm 1.2", {"rec_seq": bytes(7)}),
    "GCM: MAC": ("gcm 1.2", {"auth_algorithm": CRYPTO_SHA2_256_HMAC}),
    "GCM: MAC key": ("gcm 1.2", {"auth_key": bytes(20)}),
    "GCM: TLS 1.1": ("gcm 1.2", {"tls_vminor": 2}),
    "GCM: TLS 1.2 with an IV of TLS 1.3": ("gcm 1.2", {"iv": bytes(12)}),
    "GCM: TLS 1.3 with an IV of TLS 1.2": ("gcm 1.3", {"iv": bytes(4)}),
    "ChaCha20: a short key": ("chacha 1.3", {"cipher_key": bytes(16)}),
    "ChaCha20: TLS 1.1": ("chacha 1.2", {"tls_vminor": 2}),
    "ChaCha20: a short IV": ("chacha 1.2", {"iv": bytes(8)}),
    "ChaCha20: MAC": ("chacha 1.2", {"auth_algorithm": CRYPTO_SHA1_HMAC}),
    "CBC: TLS 1.3": ("cbc 1.2", {"tls_vminor": 4}),
    "CBC: no MAC": ("cbc 1.2", {"auth_algorithm": 0, "auth_key": b""}),
    "CBC: a MAC key that does not fit": ("cbc 1.2", {"auth_key": bytes(20)}),
    "CBC: SHA-2 before TLS 1.2": ("cbc 1.2", {"tls_vminor": 2}),
    "CBC: SHA-384 before TLS 1.2": (
        "cbc 1.2",
        {"tls_vminor": 1, "auth_algorithm": CRYPTO_SHA2_384_HMAC, "auth_key": bytes(48)},
    ),
    "CBC: TLS 1.0 without an IV": ("cbc 1.0", {"iv": b""}),
    "CBC: a long IV": ("cbc 1.2", {"iv": bytes(17)}),
}


@every_direction
def test_ktls_01_parameters_that_are_refused(line, option):
    """Each is a good one with something changed, and nothing is left of any."""
    for what, (name, changes) in BAD.items():
        found = refused(line, option, GOOD[name]._replace(**changes))
        # In receive there is no AES-CBC at all: that is found out last.
        assert found == "EINVAL", what
    active = line.network.counter("stats.active")
    assert active == 0
    line.so.setsockopt(IPPROTO_TCP, option, GOOD["gcm 1.2"])


def test_ktls_01_encrypt_then_mac_is_no_suite_of_these(line):
    session = make_session(CipherSuite.TLS12_AES_CBC_SHA256, encrypt_then_mac=True)
    assert refused(line, TCP_TXTLS_ENABLE, TlsEnable.of(session)) == "EINVAL"


@every_direction
def test_ktls_01_other_values_options_and_levels(line, option):
    enable = TlsEnable.of(make_session(GCM13))
    assert refused(line, option, 1) == "EINVAL"
    assert refused(line, 999, enable) == "ENOPROTOOPT"
    assert refused(line, option, enable, level=17) == "EINVAL"


@every_direction
def test_ktls_01_switched_off(line, option):
    """kern.ipc.tls.enable and cbc_enable."""
    sysctl = line.network.kernel.sysctl
    sysctl["enable"] = 0
    assert refused(line, option, GOOD["gcm 1.3"]) == "ENOTSUP"
    sysctl["enable"] = 1
    sysctl["cbc_enable"] = 0
    assert refused(line, option, GOOD["cbc 1.2"]) == "ENOTSUP"
    line.so.setsockopt(IPPROTO_TCP, option, GOOD["gcm 1.3"])


@every_direction
def test_ktls_01_not_connected(line, option):
    line.so.abort()
    line.network.run(lambda: not line.network.stack.connections, "the connection ends")
    assert refused(line, option, GOOD["gcm 1.3"]) == "ENOTCONN"


def test_ktls_01_record_numbers_of_the_parameters(network):
    """rec_seq is the number of the first record: OpenSSL, some records on, reads what comes."""
    one = network()
    for _ in range(2):  # the second begins where the first has ended
        line = one.connect(GCM13)
        number = line.end.near().record_number
        line.enable_tx()
        for size in (10, 2000, 100):
            line.so.write(marked(size))
        assert line.so.so_snd.sb_tls_seqno == number + 3
        assert line.arrived() == marked(10) + marked(2000) + marked(100)
        line.close()
