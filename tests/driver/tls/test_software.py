"""Software TLS against the published record of RFC 8448 and a decryption written out here."""

import hashlib
import hmac

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from flows import make_session

from tlsnic.abi.enums import CipherSuite
from tlsnic.abi.suites import SUITES, RecordKind
from tlsnic.driver.tls.framing import Framer
from tlsnic.driver.tls.records import RecordMap
from tlsnic.driver.tls.session import TlsSession
from tlsnic.driver.tls.software import SoftwareTls, UnknownChainError

CBC10 = CipherSuite.TLS10_AES_CBC_SHA1
NUMBER = (1 << 40) + 5
DIGESTS = {20: hashlib.sha1, 32: hashlib.sha256, 48: hashlib.sha384}


def test_the_client_data_of_rfc_8448():
    session = TlsSession(
        CipherSuite.TLS13_AES_128_GCM,
        bytes.fromhex("17422dda596ed5d9acd890e3c63f5051"),
        bytes.fromhex("5b78923dee08579033e523d9"),
    )
    record = Framer(session).frame(23, bytes(range(50)))
    assert SoftwareTls(session).encrypt(record) == bytes.fromhex(
        "1703030043a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5b46b395bd54a"
        "9a20441e2b62974e1f5a6292a2977014bd1e3deae63aeebb21694915e4"
    )


def unprotect(session, wire, number, iv=None):
    """Content type and content of a wire record; any error is an assertion."""
    kind, version, length = wire[0], wire[1:3], int.from_bytes(wire[3:5], "big")
    assert version == session.layout.wire_version.to_bytes(2, "big")
    assert length == len(wire) - 5
    body, sequence = wire[5:], number.to_bytes(8, "big")
    layout = session.layout
    if layout.kind is RecordKind.CBC:
        return kind, open_cbc(session, body, sequence + wire[:3], iv)
    cipher = AESGCM if layout.kind is RecordKind.GCM else ChaCha20Poly1305
    if layout.explicit_bytes:
        nonce, body = bytes(session.iv) + body[:8], body[8:]
    else:
        nonce = bytes(a ^ b for a, b in zip(session.iv, bytes(4) + sequence, strict=True))
    additional = sequence + wire[:3] + (len(body) - 16).to_bytes(2, "big")
    if layout.is_tls13:
        additional = wire[:5]
    plain = cipher(bytes(session.key)).decrypt(nonce, body, additional)
    if layout.is_tls13:
        plain = plain.rstrip(b"\0")
        return plain[-1], plain[:-1]
    return kind, plain


def open_cbc(session, body, head, iv):
    if iv is None:
        iv, body = body[:16], body[16:]
    size = session.layout.tag_bytes
    digest = DIGESTS[size]
    if session.encrypt_then_mac:
        body, mac = body[:-size], body[-size:]
        covered = head + (16 + len(body)).to_bytes(2, "big") + iv + body
        assert mac == hmac.new(session.mac_key, covered, digest).digest()
    decryptor = Cipher(algorithms.AES(bytes(session.key)), modes.CBC(iv)).decryptor()
    plain = decryptor.update(body)
    padding = plain[-1]
    assert plain.endswith(bytes([padding]) * (padding + 1))
    plain = plain[: -padding - 1]
    if not session.encrypt_then_mac:
        plain, mac = plain[:-size], plain[-size:]
        covered = head + len(plain).to_bytes(2, "big") + plain
        assert mac == hmac.new(session.mac_key, covered, digest).digest()
    return plain


CASES = [
    (suite, key_bytes, etm)
    for suite, layout in SUITES.items()
    for key_bytes in layout.key_bytes
    for etm in ((False, True) if layout.mac_key_bytes and layout.explicit_bytes else (False,))
]


@pytest.mark.parametrize(("suite", "key_bytes", "etm"), CASES)
def test_every_suite_decrypts(suite, key_bytes, etm):
    session = make_session(
        suite, key_bytes=key_bytes, encrypt_then_mac=etm, record_number=NUMBER, max_plaintext=400
    )
    framer, software = Framer(session), SoftwareTls(session)
    extra = 0 if session.layout.kind is not RecordKind.CBC else 32
    last = bytes(session.iv)
    for size, padding in ((0, 0), (1, extra), (16, 0), (333, extra), (400, 0)):
        number = framer.next_number
        record = framer.frame(22, b"x" * size, padding=padding)
        wire = software.encrypt(record)
        assert len(wire) == len(record.data)
        iv = last if suite == CBC10 else None
        assert unprotect(session, wire, number, iv) == (22, b"x" * size)
        last = wire[-16:]


def chained(count=6):
    session = make_session(CBC10)
    framer, records = Framer(session), RecordMap(100)
    for n in range(count):
        records.add(records.end_sequence, framer.frame(23, bytes([n]) * 20))
    return session, records


def test_tls_1_0_chains_over_records_that_nobody_asked_for():
    session, records = chained()
    size = records.end_sequence - 100
    whole = SoftwareTls(session).stream(records, 100, size)
    software = SoftwareTls(session)
    for sequence in (300, 120, 340):
        assert software.stream(records, sequence, 50) == whole[sequence - 100 :][:50]


def test_tls_1_0_needs_the_block_before_a_record():
    session, records = chained()
    size = (records.end_sequence - 100) // 6
    whole = SoftwareTls(session).stream(records, 100, 6 * size)
    late = SoftwareTls(session)
    records.ack(100 + 2 * size)
    late.forget_before(next(iter(records)))
    with pytest.raises(UnknownChainError):
        late.stream(records, 100 + 3 * size, size)
    with pytest.raises(UnknownChainError):
        late.encrypt(records.get(100 + 3 * size).record)
    assert not late.can_reach(records, 3)
    late.know_iv(3, whole[3 * size - 16 : 3 * size])
    assert late.can_reach(records, 5)
    assert not late.can_reach(records, 2)
    assert late.stream(records, 100 + 4 * size, 2 * size) == whole[4 * size :]
    entry = records.get(100 + 2 * size)
    iv = whole[2 * size - 16 : 2 * size]
    assert late.encrypt(entry.record, iv) == whole[2 * size : 3 * size]


def test_parts_that_are_not_there_are_refused():
    session, records = chained()
    software = SoftwareTls(session)
    assert software.stream(records, 100, 0) == b""
    for sequence, length in ((99, 2), (records.end_sequence - 1, 2), (records.end_sequence, 1)):
        with pytest.raises(LookupError):
            software.stream(records, sequence, length)
