"""Receive: from marked mbufs to records, with a worker at any pace; and everything that can be wrong."""

import errno
import random
import threading
from itertools import pairwise

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from flows import START, make_session
from hypothesis import given
from hypothesis import strategies as st
from marked_stream import WireStream
from sending import Tcp

from tlsnic.abi.enums import CipherSuite
from tlsnic.driver.ktls import decrypt
from tlsnic.driver.ktls.decrypt import TlsRxParams
from tlsnic.driver.ktls.kernel import Kernel
from tlsnic.driver.ktls.mbuf import CSUM_TLS_DECRYPTED, Mbuf, PacketHeader
from tlsnic.driver.ktls.rx_record import (
    KtlsMbufCryptoState,
    TlsGetRecord,
    ktls_mbuf_crypto_state,
)
from tlsnic.driver.ktls.session import (
    IPPROTO_TCP,
    TCP_RXTLS_ENABLE,
    TCP_RXTLS_MODE,
    TCP_TLS_MODE_IFNET,
    TCP_TLS_MODE_SW,
    TlsEnable,
)
from tlsnic.driver.ktls.sockbuf import SB_TLS_RX_RUNNING, SBS_CANTRCVMORE
from tlsnic.driver.ktls.socket import SS_NBIO, Socket
from tlsnic.driver.ktls.soreceive import MSG_PEEK, MSG_TLSAPPDATA
from tlsnic.driver.ktls.workers import ScheduledPool, ThreadPool

MASK = 0xFFFF_FFFF
GCM12, GCM13 = CipherSuite.TLS12_AES_128_GCM, CipherSuite.TLS13_AES_128_GCM
AEAD = (
    GCM12,
    CipherSuite.TLS12_AES_256_GCM,
    CipherSuite.TLS12_CHACHA20_POLY1305,
    GCM13,
    CipherSuite.TLS13_AES_256_GCM,
    CipherSuite.TLS13_CHACHA20_POLY1305,
)
ENCRYPTED, MIXED, DECRYPTED = (
    KtlsMbufCryptoState.ENCRYPTED,
    KtlsMbufCryptoState.MIXED,
    KtlsMbufCryptoState.DECRYPTED,
)


class Receiving:
    """A socket that receives TLS; TCP is the test."""

    def __init__(self, session, *, workers=None, early=(), **options):
        self.kernel = Kernel(workers=workers or ScheduledPool())
        self.proto = Tcp(**options)
        self.proto.rcv_nxt = START
        self.so = Socket(self.kernel, self.proto)
        self.so.so_state |= SS_NBIO
        self.so_rcv = self.so.so_rcv
        for packet in early:
            self.give(*packet)
        self.so.setsockopt(IPPROTO_TCP, TCP_RXTLS_ENABLE, TlsEnable.of(session))
        self.rx = self.so.ktls_rx

    @property
    def dropped(self):
        return [event[1] for event in self.proto.events if event[0] == "drop"]

    @property
    def told(self):
        return self.proto.told

    def give(self, data, mark=False):
        m = Mbuf(data)
        m.m_pkthdr = PacketHeader(CSUM_TLS_DECRYPTED if mark else 0)
        self.proto.rcv_nxt = self.proto.rcv_nxt + len(data) & MASK
        self.so_rcv.sbappendstream(m)
        self.so_rcv.sbcheck()

    def work(self):
        while self.kernel.workers.step():
            self.so_rcv.sbcheck()
        assert not self.kernel.workers.failures

    def read(self, max_bytes=1 << 20, flags=0):
        """The next message, or None."""
        try:
            message = self.so.recvmsg(max_bytes, flags)
        except BlockingIOError:
            return None
        self.so_rcv.sbcheck()
        return message

    def read_all(self):
        messages = []
        while (message := self.read()) is not None and not message.at_end:
            messages.append(message)
        return messages

    def error(self, flags=0):
        """The errno that a read raises."""
        with pytest.raises(OSError, match=r".") as caught:
            self.so.recvmsg(100, flags)
        self.so_rcv.sbcheck()
        return caught.value.errno

    def end(self):
        """The peer ends its stream."""
        sb = self.so_rcv
        with sb.sb_mtx:
            sb.sb_state |= SBS_CANTRCVMORE
            sb.ktls_check_rx(sb)


def plaintexts(*sizes):
    return [bytes(n * 31 + size & 0xFF for n in range(size)) for size in sizes]


def make_stream(suite, *sizes, **fields):
    session = make_session(suite, **fields)
    stream = WireStream(session)
    for plaintext in plaintexts(*sizes):
        stream.add(plaintext)
    return session, stream


def states(stream, packets):
    """How each record of the stream came."""
    found = []
    for first, last in pairwise(stream.bounds):
        at, marks = 0, set()
        for piece, mark in packets:
            if at < last and at + len(piece) > first:
                marks.add(mark)
            at += len(piece)
        found.append(MIXED if len(marks) > 1 else DECRYPTED if True in marks else ENCRYPTED)
    return found


@given(
    st.sampled_from(AEAD),
    st.lists(st.integers(0, 700) | st.sampled_from([0, 1, 15, 16, 17, 64]), min_size=1, max_size=6),
    st.lists(st.integers(0, 1 << 16), max_size=12),
    st.lists(st.booleans(), min_size=1, max_size=7),
    st.integers(0, 1 << 20),
)
def test_every_mixture_gives_the_records_however_slow_the_workers(suite, sizes, cuts, marks, seed):
    rng = random.Random(seed)
    session, stream = make_stream(suite, *sizes, record_number=(1 << 40) - 2)
    packets = stream.packets(cuts, marks)
    # Before TCP_RXTLS_ENABLE no card decrypts.
    unmarked = next((n for n, (_, mark) in enumerate(packets) if mark), len(packets))
    early = rng.randrange(unmarked + 1)
    so = Receiving(
        session,
        workers=ScheduledPool(2, seed=rng.randrange(1 << 30)),
        early=packets[:early],
        ifnet=True,
    )
    messages, waiting = [], packets[early:]
    while waiting or so.kernel.workers.queued:
        for _ in range(rng.randrange(3)):
            so.kernel.workers.step()
            so.so_rcv.sbcheck()
        if waiting and rng.random() < 0.6:
            so.give(*waiting.pop(0))
        if rng.random() < 0.4 and (message := so.read(rng.choice([1, 100, 1 << 20]))) is not None:
            messages.append(message)
    messages += so.read_all()
    # One record per message, or in several of which the first has the control message.
    records, controls = [], []
    for message in messages:
        if message.control is not None:
            records.append(b"")
            controls.append(message.control)
        records[-1] += message.data
    assert records == plaintexts(*sizes)
    assert controls == [TlsGetRecord(23, 3, 3, size) for size in sizes]
    found = states(stream, packets)
    assert so.rx.records == {state: found.count(state) for state in KtlsMbufCryptoState}
    assert so.told == expected_tellings(stream, found, session.record_number)
    assert not so.so_rcv.sb_ccc
    assert not so.kernel.workers.failures


def expected_tellings(stream, found, number):
    """What the driver is told: records that the card has not decrypted, and once that it has."""
    told, behind = [], False
    for index, ((first, last), state) in enumerate(
        zip(pairwise(stream.bounds), found, strict=True)
    ):
        if state is not DECRYPTED:
            told.append(TlsRxParams(START + first & MASK, last - first, number + index))
            behind = True
        elif behind:
            told.append(TlsRxParams(START + first & MASK, 0, number + index))
            behind = False
    return told


@pytest.mark.parametrize("suite", AEAD)
def test_every_order_of_two_kinds_of_parts(suite):
    """RX-10: all 2^5 ways in which five packets of one record can have come."""
    session, stream = make_stream(suite, 1000)
    step = -(-len(stream.wire) // 5)
    for pattern in range(32):
        marks = [bool(pattern >> bit & 1) for bit in range(5)]
        so = Receiving(session)
        for packet in stream.packets([n * step for n in range(1, 5)], marks):
            so.give(*packet)
        so.work()
        assert [message.data for message in so.read_all()] == plaintexts(1000), marks


def test_counters_by_name_say_what_was_done():
    session, stream = make_stream(GCM12, 100, 100, 100)
    middle = stream.bounds[1] + 40
    so = Receiving(session)
    so.give(stream.wire[: stream.bounds[1]])
    so.give(stream.clear[stream.bounds[1] : middle], True)
    so.give(stream.wire[middle : stream.bounds[2]])
    so.give(stream.clear[stream.bounds[2] :], True)
    so.work()
    sysctl = so.kernel.sysctl
    assert sysctl["stats.ocf.tls12_gcm_decrypts"] == 2
    assert sysctl["stats.ocf.tls12_gcm_recrypts"] == 1
    assert sysctl["stats.sw_rx_inqueue"] == 0
    assert sysctl["bytes_touched.decrypt"] == 2 * (stream.bounds[1])
    assert sysctl["bytes_touched.recrypt"] == 40 - 13


def test_a_record_that_the_card_decrypted_is_not_touched():
    session, stream = make_stream(GCM13, 5000)
    so = Receiving(session)
    so.give(stream.clear, True)
    so.work()
    assert so.kernel.sysctl.bytes_touched == 0
    assert so.read().data == plaintexts(5000)[0]


def test_a_bad_tag_is_ebadmsg_and_later_records_go_on():
    session, stream = make_stream(GCM12, 50, 60, 70)
    wire = bytearray(stream.wire)
    wire[stream.bounds[2] - 1] ^= 1
    so = Receiving(session)
    so.give(bytes(wire[: stream.bounds[2]]))
    so.work()
    assert so.read().data == plaintexts(50)[0]
    assert so.error() == errno.EBADMSG
    assert so.read() is None  # told once
    so.give(bytes(wire[stream.bounds[2] :]))
    so.work()
    assert so.read().data == plaintexts(70)[0]
    assert so.kernel.sysctl["stats.failed_crypto"] == 1
    assert not so.dropped


def test_nothing_but_zeros_in_a_tls13_record_is_ebadmsg():
    session, stream = make_stream(GCM13)
    header = bytes.fromhex("1703030025")  # 21 zeros and the tag
    sealed = AESGCM(bytes(session.key)).encrypt(bytes(session.iv), bytes(21), header)
    stream.append(header + sealed, header + bytes(21) + sealed[21:])
    for mark in (False, True):
        so = Receiving(session)
        so.give((stream.clear if mark else stream.wire), mark)
        so.work()
        assert so.error() == errno.EBADMSG


def test_tls13_content_types_and_padding():
    session, stream = make_stream(GCM13)
    stream.add(b"alert!", content_type=21, padding=0)
    stream.add(b"data", padding=300)
    stream.add(b"", content_type=23, padding=5)
    for mark in (False, True):
        so = Receiving(session)
        so.give((stream.clear if mark else stream.wire), mark)
        so.work()
        assert so.read_all() == [
            (b"alert!", TlsGetRecord(21, 3, 3, 6), True),
            (b"data", TlsGetRecord(23, 3, 3, 4), True),
            (b"", TlsGetRecord(23, 3, 3, 0), True),
        ]


@pytest.mark.parametrize(
    ("suite", "header", "error"),
    [
        (GCM12, bytes.fromhex("1703010040"), errno.EINVAL),
        (GCM12, bytes.fromhex("1702030040"), errno.EINVAL),
        (GCM12, bytes.fromhex("1703030000"), errno.EMSGSIZE),
        (GCM12, bytes.fromhex("1703030017"), errno.EMSGSIZE),  # a byte less than nonce and tag
        (GCM12, (0x1703030000 + 16384 + 25).to_bytes(5, "big"), errno.EMSGSIZE),
        (GCM13, bytes.fromhex("1603030040"), errno.EINVAL),
        (GCM13, bytes.fromhex("1703030010"), errno.EMSGSIZE),  # no inner type
        (GCM13, (0x1703030000 + 16384 + 18).to_bytes(5, "big"), errno.EMSGSIZE),
    ],
)
def test_a_bad_header_ends_the_connection(suite, header, error):
    session, stream = make_stream(suite, 10)
    so = Receiving(session)
    so.give(stream.wire)
    so.give(header)  # nothing of the record behind it is needed
    so.work()
    assert so.dropped == [error]
    assert so.kernel.sysctl["stats.corrupted_records"] == 1
    assert so.read().data == plaintexts(10)[0]
    assert so.error() == error
    assert so.read().at_end
    so.give(b"more")  # nothing is decrypted any more
    so.work()
    assert so.dropped == [error]
    so.so.close()
    assert so.kernel.sysctl["stats.active"] == 0


def test_the_stream_ends_inside_of_a_record():
    session, stream = make_stream(GCM12, 10, 10)
    so = Receiving(session)
    so.give(stream.wire[:-3])
    so.end()
    so.work()
    assert so.read().data == plaintexts(10)[0]
    assert so.error() == errno.EMSGSIZE
    assert so.read().at_end


def test_the_stream_ends_behind_a_record():
    session, stream = make_stream(GCM12, 10)
    so = Receiving(session)
    so.give(stream.wire)
    so.end()
    assert so.read() is None  # it is being decrypted: not the end yet
    so.work()
    assert so.read().data == plaintexts(10)[0]
    assert so.read().at_end


def test_what_is_dropped_while_it_is_decrypted_is_thrown_away():
    session, stream = make_stream(GCM12, 10, 20)
    so = Receiving(session)
    so.give(stream.wire)
    sb = so.so_rcv
    so.kernel.workers.step()  # detached and decrypted
    assert sb.sb_tlsdcc == stream.bounds[1]
    so.so.sofree()
    sb.sbcheck()
    assert not sb.sb_ccc
    assert not sb.sb_tlsdcc
    so.work()
    assert not sb.sb_ccc
    assert not sb.sb_flags & SB_TLS_RX_RUNNING
    assert so.kernel.sysctl["stats.active"] == 0
    so.so.sofree()  # a second time is harmless
    assert so.kernel.sysctl["stats.active"] == 0


def test_the_keys_stay_while_a_record_is_decrypted(monkeypatch):
    """The socket is closed when the worker has the record, but not decrypted it."""
    session, stream = make_stream(GCM12, 10)
    so = Receiving(session)
    so.give(stream.wire)

    def closed_before(m):
        so.so.sofree()
        assert any(so.rx.session.params.cipher_key)
        return ktls_mbuf_crypto_state(m)

    monkeypatch.setattr(decrypt, "ktls_mbuf_crypto_state", closed_before)
    so.work()
    assert so.rx.session.is_dead
    assert not any(so.rx.session.params.cipher_key)
    assert so.kernel.sysctl["stats.active"] == 0
    assert not so.so_rcv.sb_flags & SB_TLS_RX_RUNNING


def test_a_backend_that_fails_is_a_bad_record():
    """uipc_ktls.c: every error of decryption is EBADMSG."""
    session, stream = make_stream(GCM12, 10, 20)
    so = Receiving(session)
    crypto, errors = so.rx.session.crypto, [OSError(errno.EIO, "no"), ZeroDivisionError()]

    class Failing:
        def decrypt(self, record, seqno):
            raise errors[seqno - session.record_number]

    so.rx.session.crypto = Failing()
    so.give(stream.wire)
    so.work()
    assert so.error() == errno.EBADMSG
    assert so.kernel.sysctl["stats.failed_crypto"] == 2
    so.rx.session.crypto = crypto
    stream.add(b"later")
    so.give(stream.wire[stream.bounds[2] :])
    so.work()
    assert so.read().data == b"later"


def test_a_close_wakes_up_who_waits_for_the_rest_of_a_record():
    session, stream = make_stream(GCM12, 10)
    so = Receiving(session)
    so.so.so_state &= ~SS_NBIO
    waiting = threading.Event()

    def sbwait(_so, sb, _timeout_s):
        waiting.set()
        return sb.sbwait(60)

    so.proto.sbwait = sbwait
    so.give(stream.wire[:-1])
    found = []
    reader = threading.Thread(target=lambda: found.append(so.so.recvmsg(100)))
    reader.start()
    assert waiting.wait(60)
    so.so.close()
    reader.join(60)
    assert found[0].at_end


def test_decrypted_and_encrypted_data_is_never_joined():
    """RX-11, in the socket buffer: small pieces are, but not across the mark."""
    session, stream = make_stream(GCM12, 300)
    so = Receiving(session)
    for at in range(0, 60, 10):
        mark = 20 <= at < 40
        so.give((stream.clear if mark else stream.wire)[at : at + 10], mark)
    pieces, m = [], so.so_rcv.sb_mtls
    while m is not None:
        pieces.append(m.m_len)
        m = m.m_next
    assert pieces == [20, 20, 20]


def test_alerts_and_peeking():
    session, stream = make_stream(GCM12, 5)
    stream.add(b"\x01\x00", content_type=21)
    so = Receiving(session)
    so.give(stream.wire)
    so.work()
    peeked = so.read(flags=MSG_PEEK)
    assert so.read() == peeked
    assert so.error(MSG_TLSAPPDATA) == errno.ENXIO
    assert so.read() == (b"\x01\x00", TlsGetRecord(21, 3, 3, 2), True)


def test_a_blocking_read_waits_for_real_workers():
    sizes = [random.Random(1).randrange(1, 16384) for _ in range(200)]
    session, stream = make_stream(GCM12, *sizes)
    so = Receiving(session, workers=ThreadPool(2))
    so.so.so_state &= ~SS_NBIO
    so.proto.sbwait = lambda _so, sb, _timeout_s: sb.sbwait(60)
    for packet in stream.packets(range(0, len(stream.wire), 1448), [True, True, False]):
        so.give(*packet)
    data = b""
    while len(data) < sum(sizes):
        data += so.so.recvmsg(1 << 20).data
    assert data == b"".join(plaintexts(*sizes))
    so.so.sofree()
    so.kernel.close()


def test_enabling_receive_refuses_what_freebsd_refuses():
    session = make_session(GCM12)
    so = Receiving(session).so
    assert so.getsockopt(IPPROTO_TCP, TCP_RXTLS_MODE) == TCP_TLS_MODE_SW
    with pytest.raises(OSError, match="there is a session") as caught:
        so.setsockopt(IPPROTO_TCP, TCP_RXTLS_ENABLE, TlsEnable.of(session))
    assert caught.value.errno == errno.EALREADY
    with pytest.raises(OSError, match="AES-CBC") as caught:
        Receiving(make_session(CipherSuite.TLS12_AES_CBC_SHA256))
    assert caught.value.errno == errno.EPROTONOSUPPORT


def test_a_receive_tag_starts_at_the_first_record_that_waits():
    session, stream = make_stream(GCM12, 10, record_number=7)
    so = Receiving(session, ifnet=True, early=[(stream.wire, False)])
    assert so.so.getsockopt(IPPROTO_TCP, TCP_RXTLS_MODE) == TCP_TLS_MODE_IFNET
    (tag,) = so.proto.tags
    assert tag.start == (START, 7)
    so.so.sofree()
    so.work()
    assert tag.released == 1
