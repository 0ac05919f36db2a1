"""From marked packets to plaintext: every mixture, bad records, messages, hints and what is fed."""

from itertools import pairwise
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from flows import ADDRESS, START, make_session
from hypothesis import given
from hypothesis import strategies as st
from marked_stream import FakeConnection, WireStream

from tlsnic.abi.enums import CipherSuite, CommandStatus
from tlsnic.driver.errors import RingFullError, SendTagRefused
from tlsnic.driver.tls.alerts import TlsError
from tlsnic.driver.tls.handshake import key_update_message
from tlsnic.driver.tls.receive_stream import HandshakeMessage, Offloaded, TlsReceiver
from tlsnic.driver.tls.receive_tag import Resync
from tlsnic.driver.tls.software_open import SoftwareOpener

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


class FakeTag:
    """Keeps what it was told."""

    is_alive = True

    def __init__(self):
        self.fed, self.hints, self.rekeys = [], [], []
        self.error = None

    def modify(self, sequence, length, number):
        self.fed.append((sequence - START & MASK, length, number))

    def hint(self, sequence, number):
        if self.error is not None:
            raise self.error
        self.hints.append((sequence - START & MASK, number))

    def modify_rekey(self, session, sequence):
        if self.error is not None:
            raise self.error
        self.rekeys.append((session, sequence - START & MASK))

    def free(self, timeout_s=None):
        self.is_alive = False


def software(connection, session, surplus=b""):
    return TlsReceiver(None, connection, session, surplus, resync=None)


def offloaded(connection, session, surplus=b"", **options):
    """A receiver with a fake tag."""
    tag = FakeTag()

    def allocate(session, address, sequence, **_):
        tag.address, tag.start = address, sequence
        return tag

    connection.endpoint = SimpleNamespace(
        local_address=ADDRESS.local_address,
        local_port=ADDRESS.local_port,
        remote_address=ADDRESS.remote_address,
        remote_port=ADDRESS.remote_port,
        vlan=None,
    )
    host = SimpleNamespace(nic=SimpleNamespace(rcv_tag_alloc=allocate))
    return TlsReceiver(host, connection, session, surplus, **options), tag


def received(stream, session, packets):
    """All plaintext, fed packet by packet."""
    connection = FakeConnection()
    receiver = software(connection, session)
    data = b""
    for packet in packets:
        connection.give(packet)
        data += receiver.read()
    return data, receiver


@given(
    st.sampled_from(AEAD),
    st.lists(st.integers(0, 700) | st.sampled_from([0, 1, 15, 16, 17, 64]), min_size=1, max_size=6),
    st.lists(st.integers(0, 1 << 16), max_size=12),
    st.lists(st.booleans(), min_size=1, max_size=7),
)
def test_every_mixture_of_packets_gives_the_plaintext(suite, sizes, cuts, marks):
    session = make_session(suite, record_number=(1 << 40) - 2)
    stream = WireStream(session)
    expected = b""
    for size in sizes:
        plaintext = bytes(n * 31 & 0xFF for n in range(size))
        stream.add(plaintext)
        expected += plaintext
    packets = stream.packets(cuts, marks)
    data, receiver = received(stream, session, packets)
    assert data == expected
    states = []
    for first, last in pairwise(stream.bounds):
        at, found = 0, set()
        for piece, mark in packets:
            if at < last and at + len(piece) > first:
                found.add(mark)
            at += len(piece)
        states.append(
            Offloaded.PARTLY
            if len(found) > 1
            else Offloaded.FULLY
            if True in found
            else Offloaded.NOT
        )
    assert receiver.records == {state: states.count(state) for state in set(states)}


@pytest.mark.parametrize("suite", AEAD)
def test_any_part_can_be_encrypted_again(suite):
    session = make_session(suite)
    stream = WireStream(session)
    stream.add(b"")
    stream.add(bytes(range(200)))
    first, last = stream.bounds[1], stream.bounds[2]
    wire, clear = stream.wire[first:last], stream.clear[first:last]
    opener = SoftwareOpener(session)
    prefix, tag = session.layout.prefix_bytes, session.layout.tag_bytes
    for start in range(prefix, len(wire) - tag, 7):
        for end in range(start + 1, len(wire) - tag, 13):
            record = bytearray(wire)
            record[start:end] = clear[start:end]
            opener.encrypt_again(1, record, start, end)
            assert record == wire
    content = opener.open(1, wire)
    assert content == clear[prefix : len(wire) - tag]
    assert opener.open(2, wire) is None


@pytest.mark.parametrize("mark", [False, True])
def test_one_flipped_bit_is_a_bad_record(mark):
    """In what came as on the wire, whatever else the card has decrypted."""
    session = make_session(GCM13)
    stream = WireStream(session)
    stream.add(b"good")
    stream.add(bytes(100))
    middle = stream.bounds[1] + 50
    for at in (stream.bounds[1] + 5, middle + 20, len(stream.wire) - 1):
        packets = stream.packets([stream.bounds[1], middle], [mark, mark, False])
        flat = bytearray(b"".join(data for data, _ in packets))
        flat[at] ^= 4
        cuts = [0, stream.bounds[1], middle, len(flat)]
        packets = [
            (bytes(flat[a:b]), m) for a, b, (_, m) in zip(cuts, cuts[1:], packets, strict=False)
        ]
        connection = FakeConnection(packets)
        receiver = software(connection, session)
        assert receiver.read() == b"good"
        assert not receiver.at_end
        with pytest.raises(TlsError, match="bad_record_mac: record 1") as caught:
            receiver.read()
        assert caught.value.alert == 20
        assert not caught.value.from_peer


def refusal(session, *records, marks=(False,)):
    """The alert that a stream ends in, and the plaintext before."""
    stream = WireStream(session)
    stream.add(b"before")
    for record in records:
        record(stream)
    receiver = software(FakeConnection(stream.packets([], marks)), session)
    assert receiver.read() == b"before"
    with pytest.raises(TlsError) as caught:
        receiver.read()
    assert receiver.error is caught.value
    assert not receiver.at_end
    with pytest.raises(TlsError):
        _ = receiver.readable
    return caught.value.alert


@pytest.mark.parametrize("mark", [False, True])
def test_an_all_zero_inner_plaintext_is_refused(mark):
    """RFC 8446 section 5.4."""
    session = make_session(GCM13)
    for padding in (0, 7):

        def zeros(stream, padding=padding):
            content = bytes(1 + padding)
            header = bytes([23, 3, 3, 0, len(content) + 16])
            nonce = (int.from_bytes(session.iv, "big") ^ 1).to_bytes(12, "big")
            sealed = AESGCM(bytes(session.key)).encrypt(nonce, content, header)
            stream.append(header + sealed, header + content + sealed[-16:])

        assert refusal(session, zeros, marks=(mark,)) == 10


def test_padding_comes_off():
    session = make_session(GCM13)
    for mark in (False, True):
        stream = WireStream(session)
        for padding in (0, 1, 100):
            stream.add(b"data\0", padding=padding)
        stream.add(b"", padding=5)
        data, receiver = received(stream, session, stream.packets([60], [mark]))
        assert data == b"data\0" * 3
        assert sum(receiver.records.values()) == 4


@pytest.mark.parametrize(
    ("suite", "header", "alert"),
    [
        (GCM13, "16 0303 0020", 10),
        (GCM13, "14 0303 0001", 10),
        (GCM13, "17 0304 0020", 70),
        (GCM13, "17 0303 4012", 22),
        (GCM13, "17 0303 0010", 50),
        (GCM13, "17 0303 0000", 50),
        (GCM12, "13 0303 0020", 10),
        (GCM12, "19 0303 0020", 10),
        (GCM12, "17 0301 0020", 70),
        (GCM12, "17 0303 4019", 22),
        (GCM12, "17 0303 0017", 50),
    ],
)
def test_headers_that_cannot_be(suite, header, alert):
    session = make_session(suite)
    assert refusal(session, lambda stream: stream.append(bytes.fromhex(header))) == alert


@pytest.mark.parametrize(
    ("content_type", "content", "alert"),
    [
        (21, b"\1", 50),
        (21, b"\1\0\0", 50),
        (21, b"\2\x28", 40),
        (22, b"", 10),
        (24, b"heart", 10),
        (22, b"\x04\1\0\1", 47),
        (22, b"\x18\0\0\1\0more", 10),
        (22, b"\x18\0\0\2\0\0", 50),
        (22, b"\x18\0\0\1\2", 47),
    ],
)
def test_contents_that_cannot_be(content_type, content, alert):
    session = make_session(GCM13)
    assert refusal(session, lambda stream: stream.add(content, content_type)) == alert


def test_data_inside_of_a_handshake_message_is_refused():
    session = make_session(GCM13)
    steps = (lambda s: s.add(b"\4\0\0\2x", 22), lambda s: s.add(b"data"))
    assert refusal(session, *steps) == 10


def test_alerts_and_messages_are_handed_up():
    session = make_session(GCM12)
    stream = WireStream(session)
    stream.add(b"\1\x64", 21)  # a warning
    stream.add(b"\4\0\0\3a", 22)
    stream.add(b"bc\0\0\0\0", 22)
    stream.add(b"data")
    stream.add(b"\1\0", 21)
    stream.add(b"ignored")
    connection = FakeConnection(stream.packets([30, 99], [False, True]))
    receiver = software(connection, session)
    assert receiver.readable == 4
    assert not receiver.at_end
    assert receiver.read() == b"data"
    assert receiver.alerts == [(1, 100), (1, 0)]
    assert list(receiver.messages) == [HandshakeMessage(4, b"abc"), HandshakeMessage(0, b"")]
    assert receiver.close_notify
    assert receiver.at_end
    connection.give((b"whatever", False))
    assert receiver.read() == b""


def test_a_warning_is_fatal_in_tls_1_3_unless_it_is_user_canceled():
    session = make_session(GCM13)
    assert refusal(session, lambda s: s.add(b"\1\x5a", 21), lambda s: s.add(b"\1\x50", 21)) == 80
    stream = WireStream(session)
    stream.add(b"\2\x2e", 21)
    receiver = software(FakeConnection([(stream.wire, False)]), session)
    with pytest.raises(TlsError, match="alert 46: sent by the peer") as caught:
        receiver.read()
    assert caught.value.from_peer


def test_reads_of_any_size():
    session = make_session(GCM13)
    stream = WireStream(session)
    for n in range(20):
        stream.add(bytes([n]) * 50)
    connection = FakeConnection(stream.packets(range(0, 1400, 90), [True, False]))
    receiver = software(connection, session)
    pieces = []
    while piece := receiver.read(33):
        pieces.append(piece)
    assert {len(piece) for piece in pieces[:-1]} == {33}
    assert b"".join(pieces) == b"".join(bytes([n]) * 50 for n in range(20))
    assert not receiver.at_end
    connection.at_end = True
    assert receiver.at_end
    assert not receiver.close_notify


def test_a_key_update_waits_for_the_new_key():
    old, new = make_session(GCM13), make_session(GCM13, seed=2)
    stream = WireStream(old)
    stream.add(b"old")
    stream.add(key_update_message(request_peer=True), 22)
    at = stream.bounds[-1]
    stream.rekey(new)
    stream.add(b"new")
    connection = FakeConnection(stream.packets([10, 40], [True, False]))
    receiver, tag = offloaded(connection, old)
    assert receiver.read() == b"old"
    assert receiver.key_expired
    assert receiver.read() == b""
    assert receiver.messages.pop() == HandshakeMessage(24, b"\1")
    with pytest.raises(ValueError, match="keeps version"):
        receiver.rekey(make_session(GCM12))
    receiver.rekey(new)
    assert tag.rekeys == [(new, at)]
    assert receiver.read() == b"new"
    assert tag.fed[-1] == (at, len(stream.wire) - at, 0)
    with pytest.raises(ValueError, match="no KeyUpdate"):
        receiver.rekey(new)


def test_a_refused_rekey_leaves_the_rest_to_software():
    old, new = make_session(GCM13), make_session(GCM13, seed=2)
    stream = WireStream(old)
    stream.add(key_update_message(), 22)
    stream.rekey(new)
    stream.add(b"new")
    receiver, tag = offloaded(FakeConnection([(stream.wire, False)]), old)
    assert receiver.read() == b""
    tag.error = SendTagRefused(CommandStatus.BUSY, "busy")
    receiver.rekey(new)
    assert receiver.refusal is tag.error
    assert receiver.read() == b"new"


def test_what_the_card_decrypted_with_the_key_before_can_be_undone():
    """It has missed the KeyUpdate, and began two records of the new key with the old one."""
    old, new = make_session(GCM13, record_number=70), make_session(GCM13, seed=2)
    stream = WireStream(old)
    stream.add(key_update_message(), 22)
    stream.rekey(new)
    for data in (b"1" * 300, b"2" * 300):
        stream.add(data)
    clear = bytearray(stream.wire)
    for n, first in enumerate(stream.bounds[1:3]):
        record = bytearray(clear[first : first + 322])
        SoftwareOpener(old).encrypt_again(71 + n, record, 5, 200)  # the same as decrypting
        clear[first : first + 322] = record
    stream.clear = bytes(clear)
    first, second, _ = stream.bounds[1:]
    packets = stream.packets(
        [first, first + 200, second, second + 200], [False, True, False, True, False]
    )
    receiver, _ = offloaded(FakeConnection(packets), old)
    receiver.read()
    receiver.rekey(new)
    assert receiver.read() == b"1" * 300 + b"2" * 300
    assert receiver.records == {Offloaded.NOT: 1, Offloaded.PARTLY: 2}


def test_the_tag_hears_of_each_record_when_its_header_is_there():
    session = make_session(GCM12, record_number=5)
    stream = WireStream(session)
    for size in (100, 200, 50):
        stream.add(bytes(size))
    bounds = stream.bounds
    expected = [(a, b - a, 5 + n) for n, (a, b) in enumerate(pairwise(bounds))]
    surplus = stream.wire[:3]
    connection = FakeConnection(sequence=START + 3)
    receiver, tag = offloaded(connection, session, surplus)
    assert tag.start == START
    assert tag.address == ADDRESS
    for at in range(3, len(stream.wire)):
        connection.give((stream.wire[at : at + 1], False))
        receiver.read()
        begun = [record for record in expected if record[0] + 5 <= at + 1]
        assert tag.fed == begun
    receiver.free()
    connection.give((stream.wire[:5], False))
    receiver.read()
    assert len(tag.fed) == 3


def test_hints_by_schedule_name_a_record_that_is_still_to_come():
    session = make_session(GCM13)
    stream = WireStream(session)
    for _ in range(12):
        stream.add(bytes(100))
    bounds = stream.bounds
    connection = FakeConnection()
    receiver, tag = offloaded(connection, session, resync=Resync.NONE)
    for a, b in pairwise(bounds):  # each record alone
        connection.give((stream.wire[a:b], False))
        receiver.read()
    assert tag.hints == [(bounds[n], n) for n in (3, 5, 9)]

    connection = FakeConnection()
    receiver, tag = offloaded(connection, session, resync=Resync.HOST, hints=True)
    cuts = [0, *(bound + 40 for bound in bounds[1:-1])]
    for a, b in pairwise(cuts):  # always a part of the next one with it
        connection.give((stream.wire[a:b], False))
        receiver.read()
    assert tag.hints == [(bounds[n + 1], n + 1) for n in (3, 5, 9)]

    connection = FakeConnection([(stream.wire, False)])
    receiver, tag = offloaded(connection, session, resync=Resync.NONE)
    receiver.read()  # all at once: what is still to come is behind all
    assert tag.hints == [(bounds[12], 12)]


def test_no_hints_while_the_card_decrypts_and_none_unless_asked_for():
    session = make_session(GCM13)
    stream = WireStream(session)
    for _ in range(12):
        stream.add(bytes(100))
    packets = stream.packets([], [False])
    receiver, tag = offloaded(FakeConnection(packets), session, resync=Resync.HOST)
    receiver.read()
    assert not tag.hints
    clear = [
        ((stream.clear if n % 3 == 2 else stream.wire)[a:b], n % 3 == 2)
        for n, (a, b) in enumerate(pairwise(stream.bounds))
    ]
    connection = FakeConnection()
    receiver, tag = offloaded(connection, session, resync=Resync.NONE)
    for packet in clear:
        connection.give(packet)
        receiver.read()
    assert not tag.hints


def test_a_hint_that_has_no_room_stays_due():
    session = make_session(GCM13)
    stream = WireStream(session)
    for _ in range(5):
        stream.add(bytes(100))
    connection = FakeConnection()
    receiver, tag = offloaded(connection, session, resync=Resync.NONE)
    tag.error = RingFullError("full")
    for n, (a, b) in enumerate(pairwise(stream.bounds)):
        if n == 3:
            tag.error = None
        connection.give((stream.wire[a:b], False))
        receiver.read()
    assert tag.hints[0] == (stream.bounds[4], 4)


def test_cbc_suites_are_not_received():
    session = make_session(CipherSuite.TLS12_AES_CBC_SHA256)
    with pytest.raises(ValueError, match="no AEAD suite"):
        software(FakeConnection(), session)
    with pytest.raises(ValueError, match="no AEAD suite"):
        SoftwareOpener(session)
