"""The suite's judges of TLS: OpenSSL and tshark must read what is right, and nothing else."""

import random
import shutil
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "guest-tests"))

from harness import tls, tls_stream, traffic

from tlsnic.abi.enums import CipherSuite
from tlsnic.abi.suites import SUITES
from tlsnic.driver.tls.framing import Framer
from tlsnic.driver.tls.handshake import key_update_message
from tlsnic.driver.tls.software import SoftwareTls
from tlsnic.qemu.peer import tls as judge
from tlsnic.qemu.peer.checks import CheckFailed
from tlsnic.qemu.peer.frames import craft, dissect

FORMS = [
    (suite, key_bytes, encrypt_then_mac, server_side)
    for suite, layout in SUITES.items()
    for key_bytes in layout.key_bytes
    for encrypt_then_mac in (
        [False, True] if layout.mac_key_bytes and layout.version > 0x302 else [None]
    )
    for server_side in ([False] if layout.is_tls13 else [False, True])
]
TLS13 = [suite for suite, layout in SUITES.items() if layout.is_tls13]


class Sender:
    """Encrypts with the driver's software fallback."""

    def __init__(self, session):
        self.rng = random.Random(3)
        self.framer = Framer(session, self.rng.randbytes)
        self.software = SoftwareTls(session)

    def seal(self, data, kind=23, **options):
        return self.software.encrypt(self.framer.frame(kind, data, **options))


@pytest.mark.parametrize(("suite", "key_bytes", "encrypt_then_mac", "server_side"), FORMS)
def test_far_end_reads_and_refuses(suite, key_bytes, encrypt_then_mac, server_side):
    peer = tls.TlsPeer.make(
        suite, key_bytes=key_bytes, encrypt_then_mac=encrypt_then_mac, server_side=server_side
    )
    assert peer.is_openssl is ((suite, key_bytes) != (CipherSuite.TLS12_AES_CBC_SHA384, 16))
    assert len(peer.session.key) == key_bytes
    assert peer.session.encrypt_then_mac is bool(encrypt_then_mac)
    sender = Sender(peer.session)
    payloads = [tls.marked(size, seed) for seed, size in enumerate((1, 100, 16384))]
    wire = b"".join(map(sender.seal, payloads))
    found = b"".join(peer.decrypt(wire[at : at + 999]) for at in range(0, len(wire), 999))
    assert found == b"".join(payloads)
    bad = bytearray(sender.seal(b"x" * 40))
    bad[-1] ^= 1
    assert peer.expect_alert(bytes(bad))


def test_a_record_that_is_right_is_no_alert():
    peer = tls.TlsPeer.make(CipherSuite.TLS12_AES_128_GCM)
    with pytest.raises(AssertionError, match="accepted this as 5 bytes"):
        peer.expect_alert(Sender(peer.session).seal(b"right"))


def test_a_record_left_out_is_refused():
    peer = tls.TlsPeer.make(CipherSuite.TLS13_CHACHA20_POLY1305)
    sender = Sender(peer.session)
    sender.seal(b"left out")
    with pytest.raises(tls.TlsRefused, match=r"BAD_RECORD_MAC|RECORD_LAYER_FAILURE"):
        peer.decrypt(sender.seal(b"next"))


@pytest.mark.parametrize("suite", TLS13)
def test_key_updates_and_close(suite):
    peer = tls.TlsPeer.make(suite)
    sender = Sender(peer.session)
    for round_number in range(3):
        data = bytes([round_number]) * 50
        assert peer.decrypt(sender.seal(data)) == data
        assert peer.decrypt(sender.seal(key_update_message(), kind=22)) == b""
        sender = Sender(peer.next_session())
    assert not peer.closed
    assert peer.decrypt(sender.seal(b"\x01\x00", kind=21)) == b""
    assert peer.closed


def test_limits_of_the_far_end():
    peer = tls.TlsPeer.make(CipherSuite.TLS12_AES_128_GCM, max_plaintext=512)
    assert peer.session.max_plaintext == 512
    with pytest.raises(AssertionError, match="no key updates"):
        peer.next_session()
    with pytest.raises(ValueError, match="cannot be chosen"):
        tls.TlsPeer.make(TLS13[0], server_side=True)


# tshark


@pytest.fixture
def decrypt(tmp_path):
    """tshark on the host, as `Service` offers it."""
    if shutil.which("tshark") is None:
        pytest.skip("tshark is not installed")
    return lambda **kw: judge.decrypt(tmp_path, **kw)


def connection(peer, wire, back=b"", **options):
    """The frames of a whole connection, records in segments of 1400 bytes."""
    flights = [*peer.flights, tls.Flight(True, wire), tls.Flight(False, back)]
    return tls.handshake_frames(flights, sequence=4000, **options)


@pytest.mark.parametrize("suite", [s for s, layout in SUITES.items() if layout.version < 0x0304])
def test_tshark_reads_every_suite(decrypt, suite):
    peer = tls.TlsPeer.make(suite)
    sender = Sender(peer.session)
    payloads = [tls.marked(3000), b"hello"]
    wire = b"".join(map(sender.seal, payloads))
    (found,) = decrypt(frames=connection(peer, wire, peer.send(b"back")), key_log=peer.key_log)
    assert found["from_client"] == payloads
    assert b"".join(found["from_server"]) == b"back"


@pytest.mark.parametrize("suite", TLS13)
def test_tshark_follows_key_updates(decrypt, suite):
    peer = tls.TlsPeer.make(suite)
    sender = Sender(peer.session)
    wire = sender.seal(b"before") + sender.seal(key_update_message(), kind=22)
    wire += Sender(peer.next_session()).seal(b"after", padding=9)
    frames = connection(peer, wire, peer.send(b"back"), ip="IPv6")
    (found,) = decrypt(frames=frames, key_log=peer.key_log)
    assert found == {"from_client": [b"before", b"after"], "from_server": [b"back"]}


def test_tshark_sorts_segments_and_reads_only_what_is_right(decrypt):
    peer = tls.TlsPeer.make(CipherSuite.TLS12_AES_256_GCM, server_side=True)
    sender = Sender(peer.session)
    good = tls.marked(9000)
    bad = bytearray(sender.seal(good) + sender.seal(b"spoilt") + sender.seal(b"last"))
    bad[9050] ^= 1
    frames = connection(peer, bytes(bad), ports=(443, 5001))
    count = -(-len(bad) // 1400)
    late = frames[-count:]
    frames[-count:] = [late[1], late[0], *late[:1], *late[2:]]
    (found,) = decrypt(frames=frames, key_log=peer.key_log)
    # tshark counts no record that it cannot decrypt, and so loses those behind it too.
    assert found["from_server"] == [good]


def test_tshark_without_keys_reads_nothing(decrypt):
    peer = tls.TlsPeer.make(CipherSuite.TLS12_AES_128_GCM)
    (found,) = decrypt(frames=connection(peer, Sender(peer.session).seal(b"x")), key_log="")
    assert found == {"from_client": [], "from_server": []}


def test_tshark_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CheckFailed, match="apt-get install tshark"):
        judge.decrypt(tmp_path, frames=[], key_log="")


def test_handshake_frames_are_sound():
    """IP checksums, and sequence numbers that end where the records begin, across the wrap."""
    flights = [tls.Flight(True, bytes(300)), tls.Flight(False, bytes(3000))]
    frames = tls.handshake_frames(flights, sequence=100, peer_sequence=5)
    assert all(dissect(frame)["ip_checksum_ok"] for frame in frames)
    segments = [tls_stream.tcp_segment(frame) for frame in frames]
    ours = [segment for segment in segments if segment.source_port == 5001]
    assert (ours[-1].sequence + len(ours[-1].payload)) % (1 << 32) == 100
    theirs = [segment for segment in segments if segment.source_port == 443]
    assert (theirs[-1].sequence + len(theirs[-1].payload)) % (1 << 32) == 5
    assert sum(len(segment.payload) for segment in theirs) == 3000


# Streams


def tcp_frame(sequence, payload, *, vlan=None, ip="IP", **fields):
    layers = traffic.tcp_layers("02:00:00:00:00:01", vlan=vlan, ip=ip, seq=sequence, **fields)
    return craft([*layers, payload])


@pytest.mark.parametrize("ip", ["IP", "IPv6"])
@pytest.mark.parametrize("vlan", [None, 5])
def test_segments_are_found(ip, vlan):
    options = [["Timestamp", [1, 2]]]
    frame = tcp_frame(77, b"payload", ip=ip, vlan=vlan, options=options)
    segment = tls_stream.tcp_segment(frame + bytes(9))
    assert segment == (5001, 443, 77, 0x10, b"payload")
    assert tls_stream.tcp_segment(traffic.frame(b"\xff" * 6, b"\2" * 6, 60)) is None
    syn = tls_stream.tcp_segment(tcp_frame(0xFFFFFFFF, b"", ip=ip, flags=2))
    assert (syn.sequence, syn.flags) == (0, 2)


@given(st.data())
def test_any_order_of_segments_gives_the_stream(data):
    stream = random.Random(5).randbytes(300)
    start = data.draw(st.sampled_from([1000, (1 << 32) - 150]))
    pieces = data.draw(
        st.lists(st.tuples(st.integers(-20, 299), st.integers(1, 90)), min_size=1, max_size=12)
    )
    stream_from = bytes(20) + stream
    got = tls.StreamReassembler(start)
    came = set()
    for offset, size in pieces:
        payload = stream_from[offset + 20 : offset + 20 + size]
        # Ethernet, IPv4 and TCP headers by hand: scapy takes a millisecond for each.
        tcp = bytes(4) + (start + offset & 0xFFFFFFFF).to_bytes(4, "big") + bytes(4)
        tcp += b"\x50\x10" + bytes(6) + payload
        head = b"\x45\0" + (20 + len(tcp)).to_bytes(2, "big") + bytes(5) + b"\x06" + bytes(10)
        got.add([bytes(12) + b"\x08\0" + head + tcp])
        came |= set(range(max(offset, 0), offset + len(payload)))
    end = max(came, default=-1) + 1
    missing = sorted(set(range(end)) - came)
    assert [at for offset, size in got.gaps() for at in range(offset, offset + size)] == missing
    assert got.end_offset == end
    assert got.contiguous() == stream[: missing[0] if missing else end]
    if missing:
        with pytest.raises(AssertionError, match="missing"):
            got.wire()
    else:
        assert got.wire() == stream[:end]


def test_sent_again_must_be_the_same():
    got = tls.StreamReassembler(1000, source_port=5001)
    got.add(
        [tcp_frame(1000, b"abcdef"), tcp_frame(1003, b"defghi"), tcp_frame(990, b"0123456789ab")]
    )
    assert (got.wire(), got.resent_bytes, got.before_bytes) == (b"abcdefghi", 5, 10)
    got.add([tcp_frame(1000, b"other", sport=5002)])
    for payload in (b"abX", b"abcdefghX", b"abcdefghXnew"):
        with pytest.raises(AssertionError, match=f"byte {len(payload.rstrip(b'new')) - 1} of"):
            got.add([tcp_frame(1000, payload)])


def test_gaps_are_told():
    got = tls.StreamReassembler(0)
    got.add([tcp_frame(5, b"x" * 5), tcp_frame(12, b"y")])
    assert got.gaps() == [(0, 5), (10, 2)]
    assert (got.end_offset, got.contiguous()) == (13, b"")


@given(st.integers(0, 200), st.integers(23, 200), st.integers(0, 40))
def test_any_23_bytes_of_plaintext_are_found(at, size, before):
    payload = tls.marked(500, seed=9)
    leak = payload[at : at + size]
    scanner = tls.PlaintextScanner()
    noise = random.Random(1).randbytes(100)
    scanner.check([noise])
    with pytest.raises(AssertionError, match="plaintext at byte"):
        scanner.check([noise[:before] + leak + noise[before:]])
    assert scanner.scanned == 1


def test_ciphertext_is_not_plaintext():
    peer = tls.TlsPeer.make(CipherSuite.TLS13_AES_128_GCM)
    scanner = tls.PlaintextScanner()
    scanner.check([Sender(peer.session).seal(tls.marked(16384))])
    assert tls.marked(48, 1) != tls.marked(48, 2)
    assert len(tls.marked(100)) == 100
