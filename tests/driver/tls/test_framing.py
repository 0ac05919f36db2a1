"""Sessions, addresses and laid-out records."""

import pytest
from flows import make_session

from tlsnic.abi.enums import CipherSuite
from tlsnic.abi.suites import SUITES
from tlsnic.driver.tls.framing import Framer
from tlsnic.driver.tls.session import FlowAddress, TlsSession

GCM12, GCM13 = CipherSuite.TLS12_AES_128_GCM, CipherSuite.TLS13_AES_128_GCM
CHACHA12 = CipherSuite.TLS12_CHACHA20_POLY1305
CBC10, CBC12 = CipherSuite.TLS10_AES_CBC_SHA1, CipherSuite.TLS12_AES_CBC_SHA256


def test_tls_1_2_gcm_has_the_record_number_as_explicit_nonce():
    framer = Framer(make_session(GCM12, record_number=0x1_0000_0000))
    record = framer.frame(23, b"hello")
    assert record.data == (bytes.fromhex("17 0303 001d 0000000100000000") + b"hello" + bytes(16))
    assert record == (0x1_0000_0000, 23, record.data, 13, 5, 0)
    assert framer.next_number == 0x1_0000_0001
    assert framer.frame(21, b"", explicit=b"nonce 8b").data[5:13] == b"nonce 8b"
    with pytest.raises(ValueError, match="7 bytes"):
        framer.frame(21, b"", explicit=b"7 bytes")


def test_chacha20_has_no_explicit_nonce():
    record = Framer(make_session(CHACHA12)).frame(22, memoryview(b"abc"))
    assert record.data == bytes.fromhex("16 0303 0013") + b"abc" + bytes(16)


def test_tls_1_3_hides_the_type_and_pads():
    record = Framer(make_session(GCM13)).frame(21, b"\x01\x00", padding=3)
    assert record.data == bytes.fromhex("17 0303 0016 0100 15 000000") + bytes(16)
    assert (record.content_type, record.content_bytes, record.padding) == (21, 6, 3)


def test_cbc_says_its_padding_length_in_the_header():
    framer = Framer(make_session(CBC12), random=lambda n: b"\xaa" * n)
    record = framer.frame(23, bytes(10))  # 10 + 32 + 5 + 1 is three blocks
    assert record.data == (
        bytes.fromhex("17 0305 0040") + b"\xaa" * 16 + bytes(10) + bytes(32) + bytes(6)
    )
    assert (record.prefix_bytes, record.content_bytes, record.padding) == (21, 10, 5)
    assert framer.frame(23, bytes(10), padding=240).padding == 245
    for extra in (1, 256, -16):
        with pytest.raises(ValueError, match=r"padding|limit"):
            framer.frame(23, bytes(10), padding=extra)
    assert framer.next_number == 2


def test_encrypt_then_mac_pads_the_content_alone():
    framer = Framer(make_session(CBC12, encrypt_then_mac=True))
    record = framer.frame(23, bytes(10))
    assert (record.padding, len(record.data)) == (5, 21 + 16 + 32)


def test_tls_1_0_has_no_explicit_iv():
    record = Framer(make_session(CBC10)).frame(23, b"")
    assert (record.prefix_bytes, record.padding, len(record.data)) == (5, 11, 5 + 32)
    assert record.data[:5] == bytes.fromhex("17 030b 0020")


@pytest.mark.parametrize("suite", SUITES)
def test_records_have_at_most_the_agreed_plaintext(suite):
    framer = Framer(make_session(suite, max_plaintext=64))
    assert framer.frame(23, bytes(64)).number == 0
    with pytest.raises(ValueError, match="limit is 64"):
        framer.frame(23, bytes(65))
    for content_type in (20, 25):
        with pytest.raises(ValueError, match="type"):
            framer.frame(content_type, b"")
    assert framer.next_number == 1


def test_padding_counts_and_is_for_tls_1_3_alone():
    framer = Framer(make_session(GCM13, max_plaintext=64))
    framer.frame(23, bytes(60), padding=4)
    with pytest.raises(ValueError, match="limit"):
        framer.frame(23, bytes(60), padding=5)
    with pytest.raises(ValueError, match="no padding"):
        Framer(make_session(GCM12)).frame(23, b"", padding=1)


def test_record_numbers_end():
    framer = Framer(make_session(GCM13, record_number=(1 << 64) - 1))
    assert framer.frame(23, b"").number == (1 << 64) - 1
    with pytest.raises(OverflowError):
        framer.frame(23, b"")


def test_a_rekey_starts_with_the_number_of_its_session():
    framer = Framer(make_session(GCM13, record_number=9))
    framer.frame(24, b"x")
    framer.rekey(make_session(GCM13, seed=2))
    assert framer.next_number == 0


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"key": bytes(15)}, "key of 15"),
        ({"key": bytes(32)}, "key of 32"),
        ({"iv": bytes(4)}, "IV of 4"),
        ({"mac_key": bytes(20)}, "MAC key of 20"),
        ({"encrypt_then_mac": True}, "encrypt-then-MAC"),
        ({"record_number": 1 << 64}, "record number"),
        ({"record_number": -1}, "record number"),
        ({"max_plaintext": 63}, "64 to 16384"),
        ({"max_plaintext": 16385}, "64 to 16384"),
        ({"suite": 3}, "not one cipher suite"),
    ],
)
def test_sessions_that_no_suite_has(fields, match):
    good = {"suite": GCM13, "key": bytes(16), "iv": bytes(12)}
    with pytest.raises(ValueError, match=match):
        TlsSession(**good | fields)


def test_keys_are_copies_hidden_and_wiped():
    key, iv, mac_key = bytearray(b"k" * 32), bytearray(b"i" * 16), bytearray(b"m" * 20)
    session = TlsSession(CBC10, key, iv, mac_key, record_number=3)
    key[:] = bytes(32)
    assert session.key == b"k" * 32
    assert repr(session) == "<TlsSession TLS10_AES_CBC_SHA1 from record 3>"
    assert session.layout is SUITES[CBC10]
    session.wipe()
    assert (session.key, session.iv, session.mac_key) == (bytes(32), bytes(16), bytes(20))


def test_addresses_are_those_on_the_wire():
    four = FlowAddress.make("10.0.0.1", 1, "10.0.0.2", 2, vlan=7)
    assert four == (4, b"\x0a\0\0\1", b"\x0a\0\0\2", 1, 2, 7)
    assert FlowAddress.make("::ffff:10.0.0.1", 1, b"\x0a\0\0\2", 2, 7) == four
    six = FlowAddress.make("fe80::1", 1, "fe80::2", 2)
    assert (six.ip_version, len(six.local_address), six.vlan_id) == (6, 16, None)
    for wrong in (
        ("10.0.0.1", 1, "fe80::2", 2),
        ("10.0.0.256", 1, "10.0.0.2", 2),
        ("10.0.0.1", 0, "10.0.0.2", 2),
        ("10.0.0.1", 1, "10.0.0.2", 65536),
        ("10.0.0.1", 1, b"abc", 2),
        ("10.0.0.1", 1, "10.0.0.2", 2, 4095),
    ):
        with pytest.raises(ValueError, match=r"address|port|VLAN"):
            FlowAddress.make(*wrong)
