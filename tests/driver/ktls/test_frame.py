"""ktls_frame: header, padding and lengths, against the driver's framing and OpenSSL."""

import pytest
from flows import make_session
from hypothesis import given
from hypothesis import strategies as st
from sending import ALL_SUITES, make_socket, take_all
from test_handshake import AGREED, TLS13, pair, shake

from tlsnic.abi.enums import CipherSuite
from tlsnic.abi.suites import MAX_PLAINTEXT, SUITES, RecordKind
from tlsnic.driver.ktls.frame import ktls_frame, ktls_seq
from tlsnic.driver.ktls.kernel import Kernel
from tlsnic.driver.ktls.mbuf import M_NOTREADY, Mbuf, m_link
from tlsnic.driver.ktls.session import (
    TCP_TLS_MODE_IFNET,
    TCP_TLS_MODE_SW,
    TlsEnable,
    ktls_create_session,
)
from tlsnic.driver.ktls.workers import ScheduledPool
from tlsnic.driver.tls.framing import Framer
from tlsnic.driver.tls.software import SoftwareTls

KERNEL = Kernel(workers=ScheduledPool())
GCM13 = CipherSuite.TLS13_AES_128_GCM


def session_of(suite, key_bytes, mode, number=0):
    tls = ktls_create_session(
        KERNEL, TlsEnable.of(make_session(suite, key_bytes=key_bytes, record_number=number))
    )
    tls.set_mode(mode)
    return tls


def explicit_of(record, layout):
    return record[5 : 5 + layout.explicit_bytes]


@given(st.data(), st.sampled_from(ALL_SUITES), st.integers(0, (1 << 64) - 2), st.integers(20, 24))
def test_as_the_card_wants_it(data, suite, number, record_type):
    """In ifnet mode a record is what `Framer` makes, but for the room that the card fills."""
    suite, key_bytes = suite
    layout = SUITES[suite]
    size = data.draw(st.integers(0 if layout.kind is RecordKind.CBC else 1, MAX_PLAINTEXT))
    record_type = max(record_type, 21)
    payload = bytes([size & 0xFF]) * size
    tls = session_of(suite, key_bytes, TCP_TLS_MODE_IFNET)
    m = Mbuf.get_record(payload, KERNEL.memory)
    assert ktls_frame(m, tls, record_type) == 0
    assert not m.m_flags & M_NOTREADY
    found = m.tobytes()
    framer = Framer(make_session(suite, key_bytes=key_bytes, record_number=number))
    laid_out = framer.frame(record_type, payload, explicit=explicit_of(found, layout))
    assert len(found) == m.m_len == len(laid_out.data)
    filled = laid_out.prefix_bytes + laid_out.content_bytes
    assert found[:filled] == laid_out.data[:filled]
    assert m.m_epg_hdrlen == laid_out.prefix_bytes
    assert m.m_epg_tls is tls
    m.free()
    assert tls.refcount == 1
    tls.free()


@given(st.data(), st.sampled_from(ALL_SUITES), st.integers(0, (1 << 64) - 2))
def test_encrypted_as_by_the_driver(data, suite, number):
    """In software mode the wire record is what tls/software.py makes of `Framer`'s record."""
    suite, key_bytes = suite
    layout = SUITES[suite]
    size = data.draw(st.integers(0 if layout.version == 0x0301 else 1, MAX_PLAINTEXT))
    payload = bytes([size & 0xFF]) * size
    session = make_session(suite, key_bytes=key_bytes, record_number=number)
    so = make_socket(session, kernel=KERNEL)
    so.write(payload)
    wire = take_all(so)
    laid_out = Framer(session).frame(23, payload, explicit=explicit_of(wire, layout))
    assert wire == SoftwareTls(session).encrypt(laid_out)
    so.abort()


@pytest.mark.parametrize(("suite", "key_bytes"), ALL_SUITES)
def test_lengths_count_in_sequence_space(suite, key_bytes):
    """What the socket buffer counts before a record is encrypted is what is sent afterwards."""
    so = make_socket(make_session(suite, key_bytes=key_bytes))
    for size in (1, 15, 16, 17, 100, 16384):
        so.write(bytes(size))
    used = so.so_snd.sbused()
    assert not so.so_snd.sbavail()
    assert len(take_all(so)) == used


def test_a_chain_is_numbered_in_order():
    so = make_socket(make_session(GCM13, record_number=41))
    mbufs = [Mbuf.get_record(b"x", so.kernel.memory) for _ in range(3)]
    ktls_seq(so.so_snd, m_link(mbufs))
    assert [m.m_epg_seqno for m in mbufs] == [41, 42, 43]
    assert so.so_snd.sb_tls_seqno == 44


def test_explicit_ivs_of_cbc_are_random():
    tls = session_of(CipherSuite.TLS12_AES_CBC_SHA1, 16, TCP_TLS_MODE_SW)
    mbufs = [Mbuf.get_record(b"same", KERNEL.memory) for _ in range(50)]
    assert ktls_frame(m_link(mbufs), tls, 23) == 50
    assert len({m.tobytes()[5:21] for m in mbufs}) == 50


def test_explicit_nonces_of_gcm_count_from_anywhere():
    tls = session_of(CipherSuite.TLS12_AES_128_GCM, 16, TCP_TLS_MODE_SW)
    other = session_of(CipherSuite.TLS12_AES_128_GCM, 16, TCP_TLS_MODE_SW)
    starts = []
    for one in (tls, other):
        mbufs = [Mbuf.get_record(b"same", KERNEL.memory) for _ in range(3)]
        ktls_frame(m_link(mbufs), one, 23)
        nonces = [int.from_bytes(m.tobytes()[5:13], "big") for m in mbufs]
        assert [nonce - nonces[0] & (1 << 64) - 1 for nonce in nonces] == [0, 1, 2]
        starts.append(nonces[0])
    assert starts[0] != starts[1]


def test_what_cannot_be_framed():
    tls = session_of(GCM13, 16, TCP_TLS_MODE_SW)
    with pytest.raises(ValueError, match="needs an mbuf with pages"):
        ktls_frame(Mbuf(b"plain"), tls, 23)
    with pytest.raises(ValueError, match="of 0 bytes"):
        ktls_frame(Mbuf.get_record(b"", KERNEL.memory), tls, 23)
    KERNEL.sysctl["maxlen"] = 100
    small = session_of(GCM13, 16, TCP_TLS_MODE_SW)
    KERNEL.sysctl["maxlen"] = 16384
    with pytest.raises(ValueError, match="of 101 bytes; at most 100"):
        ktls_frame(Mbuf.get_record(bytes(101), KERNEL.memory), small, 23)


@pytest.mark.parametrize(("suite", "key_bytes"), [*AGREED, *((suite, 0) for suite in TLS13)])
def test_openssl_reads_it(certificates, suite, key_bytes):
    """A real peer, with the keys of a real handshake."""
    options = {"encrypt_then_mac": False}
    if key_bytes:
        options["key_bytes"] = key_bytes
    ours, other = pair(certificates, True, suite, **options)
    shake(ours, other)
    so = make_socket(ours.transmit_session())
    data = bytes(range(256)) * 300
    for piece in (data[:1], data[1:40_000], data[40_000:]):
        so.write(piece)
    assert other.read(take_all(so)) == data
