"""TCP_TXTLS_ENABLE and TCP_TXTLS_MODE: what is taken and what is refused, as in FreeBSD's
tests/sys/kern/ktls_test.c (the tables are its lists of suites), and what the code above them checks.
"""

import errno

import pytest
from flows import make_session
from sending import ALL_SUITES, Tcp, make_socket, opened, take_all

from tlsnic.abi.enums import CipherSuite
from tlsnic.abi.suites import SUITES
from tlsnic.driver.ktls.kernel import Kernel
from tlsnic.driver.ktls.session import (
    CRYPTO_AES_CBC,
    CRYPTO_AES_NIST_GCM_16,
    CRYPTO_CHACHA20_POLY1305,
    CRYPTO_SHA1_HMAC,
    CRYPTO_SHA2_256_HMAC,
    CRYPTO_SHA2_384_HMAC,
    IPPROTO_TCP,
    KTLS_RX,
    TCP_RXTLS_MODE,
    TCP_TLS_MODE_IFNET,
    TCP_TLS_MODE_NONE,
    TCP_TLS_MODE_SW,
    TCP_TXTLS_ENABLE,
    TCP_TXTLS_MODE,
    TLS_MINOR_VER_ONE,
    TLS_MINOR_VER_THREE,
    TLS_MINOR_VER_TWO,
    TLS_MINOR_VER_ZERO,
    TlsEnable,
    ktls_create_session,
)
from tlsnic.driver.ktls.socket import SS_ISCONNECTED
from tlsnic.driver.ktls.workers import ScheduledPool

MAC_BYTES = {0: 0, CRYPTO_SHA1_HMAC: 20, CRYPTO_SHA2_256_HMAC: 32, CRYPTO_SHA2_384_HMAC: 48}
CBC, GCM, CHACHA = CRYPTO_AES_CBC, CRYPTO_AES_NIST_GCM_16, CRYPTO_CHACHA20_POLY1305
V10, V11, V12, V13 = (
    TLS_MINOR_VER_ZERO,
    TLS_MINOR_VER_ONE,
    TLS_MINOR_VER_TWO,
    TLS_MINOR_VER_THREE,
)
GCM13 = CipherSuite.TLS13_AES_128_GCM
GCM12 = CipherSuite.TLS12_AES_128_GCM
CBC12 = CipherSuite.TLS12_AES_CBC_SHA256
CBC10 = CipherSuite.TLS10_AES_CBC_SHA1

# AES_CBC_TESTS, AES_GCM_TESTS, CHACHA20_TESTS
VALID = {
    "aes128_cbc_1_0_sha1": (CBC, 16, CRYPTO_SHA1_HMAC, V10),
    "aes256_cbc_1_0_sha1": (CBC, 32, CRYPTO_SHA1_HMAC, V10),
    "aes128_cbc_1_1_sha1": (CBC, 16, CRYPTO_SHA1_HMAC, V11),
    "aes256_cbc_1_1_sha1": (CBC, 32, CRYPTO_SHA1_HMAC, V11),
    "aes128_cbc_1_2_sha1": (CBC, 16, CRYPTO_SHA1_HMAC, V12),
    "aes256_cbc_1_2_sha1": (CBC, 32, CRYPTO_SHA1_HMAC, V12),
    "aes128_cbc_1_2_sha256": (CBC, 16, CRYPTO_SHA2_256_HMAC, V12),
    "aes256_cbc_1_2_sha256": (CBC, 32, CRYPTO_SHA2_256_HMAC, V12),
    "aes128_cbc_1_2_sha384": (CBC, 16, CRYPTO_SHA2_384_HMAC, V12),
    "aes256_cbc_1_2_sha384": (CBC, 32, CRYPTO_SHA2_384_HMAC, V12),
    "aes128_gcm_1_2": (GCM, 16, 0, V12),
    "aes256_gcm_1_2": (GCM, 32, 0, V12),
    "aes128_gcm_1_3": (GCM, 16, 0, V13),
    "aes256_gcm_1_3": (GCM, 32, 0, V13),
    "chacha20_poly1305_1_2": (CHACHA, 32, 0, V12),
    "chacha20_poly1305_1_3": (CHACHA, 32, 0, V13),
}
# INVALID_CIPHER_SUITES
INVALID = {
    "aes128_cbc_1_0_sha256": (CBC, 16, CRYPTO_SHA2_256_HMAC, V10),
    "aes128_cbc_1_0_sha384": (CBC, 16, CRYPTO_SHA2_384_HMAC, V10),
    "aes128_gcm_1_0": (GCM, 16, 0, V10),
    "chacha20_poly1305_1_0": (CHACHA, 32, 0, V10),
    "aes128_cbc_1_1_sha256": (CBC, 16, CRYPTO_SHA2_256_HMAC, V11),
    "aes128_cbc_1_1_sha384": (CBC, 16, CRYPTO_SHA2_384_HMAC, V11),
    "aes128_gcm_1_1": (GCM, 16, 0, V11),
    "chacha20_poly1305_1_1": (CHACHA, 32, 0, V11),
    "aes128_cbc_1_3_sha1": (CBC, 16, CRYPTO_SHA1_HMAC, V13),
    "aes128_cbc_1_3_sha256": (CBC, 16, CRYPTO_SHA2_256_HMAC, V13),
    "aes128_cbc_1_3_sha384": (CBC, 16, CRYPTO_SHA2_384_HMAC, V13),
}


def build(algorithm, key_bytes, auth, minor, **changes):
    """build_tls_enable() of ktls_test.c."""
    iv = {CBC: 16 if minor == V10 else 0, GCM: 4 if minor == V12 else 12, CHACHA: 12}
    fields = {
        "cipher_algorithm": algorithm,
        "cipher_key": bytes(n & 0xFF for n in range(key_bytes)),
        "iv": bytes(range(iv.get(algorithm, 0))),
        "tls_vminor": minor,
        "auth_algorithm": auth,
        "auth_key": bytes(range(MAC_BYTES.get(auth, 0))),
    }
    return TlsEnable(**{**fields, **changes})


def enable(so, value):
    so.setsockopt(IPPROTO_TCP, TCP_TXTLS_ENABLE, value)


def refused(so, value, error):
    with pytest.raises(OSError) as caught:  # noqa: PT011 - the errno is what counts
        enable(so, value)
    assert errno.errorcode[caught.value.errno] == errno.errorcode[error]
    assert so.so_snd.sb_tls_info is None
    assert so.kernel.sysctl["stats.active"] == 0


@pytest.mark.parametrize("suite", VALID)
@pytest.mark.parametrize("kind", ["short", "long", "control"])
def test_transmit(suite, kind):
    """test_ktls_transmit_app_data, test_ktls_transmit_control."""
    en = build(*VALID[suite], rec_seq=(12345).to_bytes(8, "big"))
    so = make_socket()
    enable(so, en)
    assert so.getsockopt(IPPROTO_TCP, TCP_TXTLS_MODE) == TCP_TLS_MODE_SW
    session = so.so_snd.sb_tls_info.tls_session(12345)
    data = bytes(range(256)) * 256
    if kind == "control":
        so.sendmsg([data[:32]], [(IPPROTO_TCP, 1, b"\x15")])
        assert opened(session, take_all(so)) == [(21, data[:32])]
        return
    data = data[:64] if kind == "short" else data
    assert so.write(data) == len(data)
    records = opened(session, take_all(so))
    assert [kind for kind, _ in records] == [23] * len(records)
    assert b"".join(part for _, part in records) == data
    assert len(records) == (1 if len(data) == 64 else 4)


@pytest.mark.parametrize("suite", [name for name in VALID if "cbc" in name])
def test_transmit_padding(suite):
    """GEN_TRANSMIT_PADDING_TESTS: all lengths of padding."""
    so = make_socket()
    enable(so, build(*VALID[suite]))
    session = so.so_snd.sb_tls_info.tls_session(0)
    sent = [(21, bytes([size] * size)) for size in range(1, 17)]
    for kind, data in sent:
        so.sendmsg([data], [(IPPROTO_TCP, 1, bytes([kind]))])
    assert opened(session, take_all(so)) == sent


@pytest.mark.parametrize("suite", [name for name in VALID if "1_0" in name])
def test_transmit_empty_fragment(suite):
    """test_ktls_transmit_empty_fragment: an empty write is an empty record in TLS 1.0."""
    so = make_socket()
    enable(so, build(*VALID[suite]))
    session = so.so_snd.sb_tls_info.tls_session(0)
    assert so.write(b"") == 0
    so.write(b"one")
    so.write(b"")
    assert opened(session, take_all(so)) == [(23, b""), (23, b"one"), (23, b"")]


@pytest.mark.parametrize("suite", [name for name in VALID if "1_0" not in name])
def test_other_versions_have_no_empty_fragments(suite):
    """ktls_permit_empty_frames()."""
    so = make_socket()
    enable(so, build(*VALID[suite]))
    with pytest.raises(OSError, match="empty") as caught:
        so.write(b"")
    assert caught.value.errno == errno.EINVAL
    assert not so.so_snd.sbused()


@pytest.mark.parametrize("suite", INVALID)
def test_transmit_invalid(suite):
    """test_ktls_invalid_transmit_cipher_suite."""
    refused(make_socket(), build(*INVALID[suite]), errno.EINVAL)


@pytest.mark.parametrize("suite", [name for name in VALID if "cbc" in name])
def test_receive_unsupported(suite):
    """test_ktls_unsupported_receive_cipher_suite: what the backend says, EPROTONOSUPPORT."""
    kernel = Kernel(workers=ScheduledPool())
    tls = ktls_create_session(kernel, build(*VALID[suite]))
    with pytest.raises(OSError, match="receive") as caught:
        kernel.backends.try_sw(tls, KTLS_RX)
    assert caught.value.errno == errno.EPROTONOSUPPORT


CREATE = {  # ktls_create_session()
    "major version": build(GCM, 16, 0, V13, tls_vmajor=2),
    "minor version too small": build(GCM, 16, 0, 0),
    "minor version too large": build(GCM, 16, 0, 5),
    "MAC key too long": build(CBC, 16, CRYPTO_SHA1_HMAC, V12, auth_key=bytes(1025)),
    "key too long": build(GCM, 1025, 0, V13),
    "IV too long": build(GCM, 16, 0, V13, iv=bytes(33)),
    "no key": build(GCM, 0, 0, V13),
    "a flag": build(GCM, 16, 0, V13, flags=1),
    "a MAC with GCM": build(GCM, 16, CRYPTO_SHA1_HMAC, V12, auth_key=b""),
    "a MAC key with GCM": build(GCM, 16, 0, V12, auth_key=bytes(20)),
    "TLS 1.3's IV in TLS 1.2": build(GCM, 16, 0, V12, iv=bytes(12)),
    "TLS 1.2's IV in TLS 1.3": build(GCM, 16, 0, V13, iv=bytes(4)),
    "no IV with GCM": build(GCM, 16, 0, V13, iv=b""),
    "no MAC with CBC": build(CBC, 16, 0, V12),
    "unknown MAC with CBC": build(CBC, 16, 5, V12, auth_key=bytes(20)),
    "no MAC key with CBC": build(CBC, 16, CRYPTO_SHA1_HMAC, V12, auth_key=b""),
    "no IV with TLS 1.0": build(CBC, 16, CRYPTO_SHA1_HMAC, V10, iv=b""),
    "a short IV with TLS 1.0": build(CBC, 16, CRYPTO_SHA1_HMAC, V10, iv=bytes(8)),
    "a MAC with ChaCha20": build(CHACHA, 32, CRYPTO_SHA1_HMAC, V12, auth_key=b""),
    "a MAC key with ChaCha20": build(CHACHA, 32, 0, V12, auth_key=bytes(20)),
    "no IV with ChaCha20": build(CHACHA, 32, 0, V12, iv=b""),
    "unknown cipher": build(1, 16, 0, V12),
    "short record number": build(GCM, 16, 0, V13, rec_seq=bytes(7)),
}
OCF_TRY = {  # ktls_ocf_try()
    "GCM with 24 bytes": build(GCM, 24, 0, V13),
    "GCM with 15 bytes": build(GCM, 15, 0, V12),
    "CBC with 24 bytes": build(CBC, 24, CRYPTO_SHA1_HMAC, V12),
    "ChaCha20 with 16 bytes": build(CHACHA, 16, 0, V13),
    "a short MAC key": build(CBC, 16, CRYPTO_SHA1_HMAC, V12, auth_key=bytes(19)),
}


@pytest.mark.parametrize("case", [*CREATE, *OCF_TRY])
def test_einval(case):
    """What ktls_create_session() and ktls_ocf_try() refuse with EINVAL."""
    refused(make_socket(), {**CREATE, **OCF_TRY}[case], errno.EINVAL)


def test_an_iv_is_ignored_where_records_have_their_own():
    """ktls_create_session(): "Ignore any supplied IV" of AES-CBC from TLS 1.1 on."""
    so = make_socket()
    enable(so, build(CBC, 16, CRYPTO_SHA1_HMAC, V12, iv=bytes(16)))
    assert so.so_snd.sb_tls_info.params.iv == b""


def test_a_second_enable_is_ealready():
    """ktls_enable_tx()."""
    so = make_socket(make_session(GCM13))
    first = so.so_snd.sb_tls_info
    with pytest.raises(OSError, match="session") as caught:
        enable(so, build(GCM, 16, 0, V13))
    assert caught.value.errno == errno.EALREADY
    assert so.so_snd.sb_tls_info is first
    assert so.kernel.sysctl["stats.enable_calls"] == 2
    assert so.kernel.sysctl["stats.offload_total"] == 1


@pytest.mark.parametrize(
    ("setting", "value", "error"),
    [
        ("enable", build(GCM, 16, 0, V13), errno.ENOTSUP),
        ("cbc_enable", build(CBC, 16, CRYPTO_SHA1_HMAC, V12), errno.ENOTSUP),
    ],
)
def test_switched_off(setting, value, error):
    """ktls_enable_tx(): kern.ipc.tls.enable, cbc_enable."""
    so = make_socket()
    so.kernel.sysctl[setting] = 0
    refused(so, value, error)
    so.kernel.sysctl[setting] = 1
    enable(so, value)


def test_not_connected():
    so = make_socket()
    so.so_state &= ~SS_ISCONNECTED
    refused(so, build(GCM, 16, 0, V13), errno.ENOTCONN)


def test_without_backends():
    """ktls_try_sw(): EOPNOTSUPP."""
    so = make_socket()
    for backend in so.kernel.backends:
        so.kernel.backends.deregister(backend)
    refused(so, build(GCM, 16, 0, V13), errno.EOPNOTSUPP)


def test_other_options():
    so = make_socket()
    for level, option, value, error in (
        (0, TCP_TXTLS_ENABLE, build(GCM, 16, 0, V13), errno.EINVAL),
        (IPPROTO_TCP, 12345, 1, errno.ENOPROTOOPT),
        (IPPROTO_TCP, TCP_TXTLS_ENABLE, 1, errno.EINVAL),
        (IPPROTO_TCP, TCP_TXTLS_MODE, build(GCM, 16, 0, V13), errno.EINVAL),
        (IPPROTO_TCP, TCP_TXTLS_MODE, TCP_TLS_MODE_NONE, errno.EINVAL),
        (IPPROTO_TCP, TCP_TXTLS_MODE, 3, errno.EINVAL),
    ):
        with pytest.raises(OSError, match=r".") as caught:
            so.setsockopt(level, option, value)
        assert caught.value.errno == error
    for level, option, error in ((0, TCP_TXTLS_MODE, errno.EINVAL), (6, 1, errno.ENOPROTOOPT)):
        with pytest.raises(OSError, match=r".") as caught:
            so.getsockopt(level, option)
        assert caught.value.errno == error
    assert so.getsockopt(IPPROTO_TCP, TCP_TXTLS_MODE) == TCP_TLS_MODE_NONE
    assert so.getsockopt(IPPROTO_TCP, TCP_RXTLS_MODE) == TCP_TLS_MODE_NONE
    so.setsockopt(IPPROTO_TCP, TCP_TXTLS_MODE, TCP_TLS_MODE_SW)  # nothing without TLS
    assert so.getsockopt(IPPROTO_TCP, TCP_TXTLS_MODE) == TCP_TLS_MODE_NONE


def test_a_card_is_preferred():
    """Prefer ifnet TLS to software TLS (ktls_enable_tx)."""
    proto = Tcp(ifnet=True)
    so = make_socket(make_session(GCM13, record_number=7), proto=proto)
    assert so.getsockopt(IPPROTO_TCP, TCP_TXTLS_MODE) == TCP_TLS_MODE_IFNET
    assert so.kernel.sysctl["ifnet.gcm"] == 1
    assert so.kernel.sysctl["sw.gcm"] == 0
    assert proto.tags[0].first_seqno == 7
    so.abort()
    assert proto.tags[0].released == 1
    assert so.kernel.sysctl["ifnet.gcm"] == so.kernel.sysctl["stats.active"] == 0


def test_switching_modes():
    """ktls_set_tx_mode(): what is written afterwards is of the new session."""
    session = make_session(GCM12, record_number=100)
    proto = Tcp(ifnet=True)
    so = make_socket(session, proto=proto)
    so.write(b"card")
    so.setsockopt(IPPROTO_TCP, TCP_TXTLS_MODE, TCP_TLS_MODE_SW)
    assert so.getsockopt(IPPROTO_TCP, TCP_TXTLS_MODE) == TCP_TLS_MODE_SW
    assert not proto.tags[0].released  # the record holds the old session
    so.write(b"software")
    so.setsockopt(IPPROTO_TCP, TCP_TXTLS_MODE, TCP_TLS_MODE_SW)
    so.setsockopt(IPPROTO_TCP, TCP_TXTLS_MODE, TCP_TLS_MODE_IFNET)
    assert proto.tags[1].first_seqno == 102
    so.write(b"card again")
    wire = take_all(so)
    assert proto.tags[0].released == 1
    plain, sealed, last = wire[:33], wire[33:-39], wire[-39:]
    assert plain[13:17] == b"card"
    assert last[13:23] == b"card again"
    assert opened(session, sealed, 101) == [(23, b"software")]
    # The key is the same, so the explicit nonces are different.
    nonces = [int.from_bytes(record[5:13], "big") for record in (plain, sealed, last)]
    assert [nonce - nonces[0] & (1 << 64) - 1 for nonce in nonces] == [0, 1, 2]
    counts = so.kernel.sysctl
    assert (counts["stats.switch_to_sw"], counts["stats.switch_to_ifnet"]) == (1, 1)
    assert counts["stats.active"] == 1


def test_a_switch_that_fails_changes_nothing():
    so = make_socket(make_session(GCM13))
    before = so.so_snd.sb_tls_info
    with pytest.raises(OSError, match="no interface"):
        so.setsockopt(IPPROTO_TCP, TCP_TXTLS_MODE, TCP_TLS_MODE_IFNET)
    assert so.so_snd.sb_tls_info is before
    assert so.kernel.sysctl["stats.switch_failed"] == 1
    assert so.kernel.sysctl["stats.active"] == 1
    so = make_socket(make_session(CBC10), proto=Tcp(ifnet=True))
    with pytest.raises(OSError, match=r"TLS 1\.0"):
        so.setsockopt(IPPROTO_TCP, TCP_TXTLS_MODE, TCP_TLS_MODE_SW)
    assert so.getsockopt(IPPROTO_TCP, TCP_TXTLS_MODE) == TCP_TLS_MODE_IFNET


@pytest.mark.parametrize(("suite", "key_bytes"), ALL_SUITES)
def test_parameters_from_a_handshake(suite, key_bytes):
    """TlsEnable.of and tls_session are inverse."""
    session = make_session(suite, key_bytes=key_bytes, record_number=9, max_plaintext=4096)
    kernel = Kernel(workers=ScheduledPool())
    kernel.sysctl["maxlen"] = 4096
    tls = ktls_create_session(kernel, TlsEnable.of(session))
    again = tls.tls_session(9)
    for name in ("suite", "key", "iv", "mac_key", "record_number", "max_plaintext"):
        assert getattr(again, name) == getattr(session, name)
    layout = SUITES[suite]
    assert tls.params.tls_hlen == layout.prefix_bytes
    assert tls.kernel.sysctl["stats.active"] == 1


def test_encrypt_then_mac_is_a_flag_that_is_refused():
    session = make_session(CBC12, encrypt_then_mac=True)
    refused(make_socket(), TlsEnable.of(session), errno.EINVAL)


@pytest.mark.parametrize("suite", [GCM12, CBC12])
def test_keys_are_nowhere_to_be_seen_and_wiped(suite):
    session = make_session(suite)
    so = make_socket(session)
    tls = so.so_snd.sb_tls_info
    for shown in (repr(tls), repr(tls.params), repr(TlsEnable.of(session)), repr(so.so_snd)):
        assert bytes(session.key).hex() not in shown
        assert repr(bytes(session.key)) not in shown
        assert "key" not in shown
    secrets = (tls.params.cipher_key, tls.params.auth_key, tls.params.iv)
    clone = tls.clone()
    assert clone.params.cipher_key == secrets[0]
    assert clone.params.cipher_key is not secrets[0]
    so.abort()
    assert tls.is_dead
    assert not any(map(any, secrets))
    assert tls.crypto is None
    assert bytes(clone.params.cipher_key) == bytes(session.key)
    clone.free()
    assert not any(clone.params.cipher_key)


def test_references_keep_a_session():
    so = make_socket(make_session(GCM13))
    tls = so.so_snd.sb_tls_info.hold()
    so.abort()
    assert not tls.is_dead
    tls.free()
    assert tls.is_dead
