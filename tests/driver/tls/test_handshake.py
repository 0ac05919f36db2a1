"""Handshakes that are taken over, with OpenSSL as the judge of the records that follow."""

import contextlib
import hmac
import os
import random
import select
import socket
import ssl
import subprocess
import warnings

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from hypothesis import given
from hypothesis import strategies as st

from tlsnic.abi.enums import CipherSuite
from tlsnic.abi.suites import SUITES, RecordKind
from tlsnic.driver.tls import ciphers, hello
from tlsnic.driver.tls.handshake import Handshake, HandshakeError, key_update_message, make_context

SHA1, SHA256, SHA384 = 20, 32, 48
# No registered cipher suite has AES-128-CBC with HMAC-SHA384.
AGREED = [
    (suite, key_bytes)
    for suite, layout in SUITES.items()
    for key_bytes in layout.key_bytes
    if not layout.is_tls13 and (suite, key_bytes) != (CipherSuite.TLS12_AES_CBC_SHA384, 16)
]
TLS13 = [suite for suite, layout in SUITES.items() if layout.is_tls13]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """Self-signed: (ECDSA, RSA) files, each with its key."""
    directory = tmp_path_factory.mktemp("certificates")
    made = []
    for name, algorithm in (
        ("ecdsa", ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]),
        ("rsa", ["-newkey", "rsa:2048"]),
    ):
        path, key = directory / f"{name}.pem", directory / f"{name}.key"
        words = [*algorithm, "-nodes", "-subj", "/CN=test", "-keyout", key, "-out", path]
        subprocess.run(["openssl", "req", "-x509", *words], capture_output=True, check=True)
        path.write_text(key.read_text() + path.read_text())
        made.append(path)
    return made


def context(certificates, server_side, suites, **options):
    made = make_context(server_side=server_side, suites=suites, **options)
    if server_side:
        for path in certificates:
            made.load_cert_chain(path)
    else:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    return made


class Openssl:
    """The other end: OpenSSL alone, through Python's ssl."""

    def __init__(self, tls_context, server_side):
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = tls_context.wrap_bio(self.incoming, self.outgoing, server_side=server_side)
        self.done = False

    def step(self, data):
        self.incoming.write(data)
        with contextlib.suppress(ssl.SSLWantReadError):
            if not self.done:
                self.tls.do_handshake()
                self.done = True
        return self.outgoing.read()

    def read(self, wire):
        self.incoming.write(wire)
        found = b""
        with contextlib.suppress(ssl.SSLWantReadError):
            while more := self.tls.read(1 << 16):
                found += more
        return found

    def write(self, data):
        self.tls.write(data)
        return self.outgoing.read()


def shake(ours, other, cut=1 << 20):
    """Run it to the end, in pieces of `cut` bytes; bytes on the wire (from us, to us)."""
    sent = received = b""
    back = other.step(b"")
    while not (ours.done and other.done):
        for at in range(0, len(back), cut):
            ours.receive(back[at : at + cut])
        received += back
        there = ours.pending()
        sent += there
        back = other.step(there)
        assert there or back or ours.done, "both wait"
    received += back
    ours.receive(back)
    return sent, received


def pair(certificates, server_side, suites, **options):
    ours = Handshake(context(certificates, server_side, suites, **options), server_side=server_side)
    return ours, Openssl(context(certificates, not server_side, suites, **options), not server_side)


class Sealer:
    """Encrypts records with one session, after the RFCs and by `cryptography` alone."""

    def __init__(self, session):
        self.session = session
        self.number = session.record_number
        self.iv = bytes(session.iv)
        self.rng = random.Random(7)

    def seal(self, plaintext, kind=23):
        session, layout = self.session, SUITES[self.session.suite]
        number = self.number.to_bytes(8, "big")
        version = layout.wire_version.to_bytes(2, "big")
        self.number += 1
        key = bytes(session.key)
        if layout.kind is RecordKind.CBC:
            body = self._cbc(key, number, bytes([kind]) + version, plaintext, layout)
            return self._record(kind, version, body)
        cipher = AESGCM(key) if layout.kind is RecordKind.GCM else ChaCha20Poly1305(key)
        if layout.explicit_bytes:
            nonce = self.rng.randbytes(8)
        else:
            nonce = bytes(a ^ b for a, b in zip(self.iv, number.rjust(12, b"\0"), strict=True))
        if layout.is_tls13:
            plaintext, kind = plaintext + bytes([kind]) + bytes(3), 23
            extra = bytes([kind]) + version + (len(plaintext) + 16).to_bytes(2, "big")
        else:
            extra = number + bytes([kind]) + version + len(plaintext).to_bytes(2, "big")
        if layout.explicit_bytes:
            body = nonce + cipher.encrypt(self.iv + nonce, plaintext, extra)
        else:
            body = cipher.encrypt(nonce, plaintext, extra)
        return self._record(kind, version, body)

    def _cbc(self, key, number, start, plaintext, layout):
        digest = {SHA1: "sha1", SHA256: "sha256", SHA384: "sha384"}[layout.tag_bytes]

        def mac(data):
            covered = number + start + len(data).to_bytes(2, "big") + data
            return hmac.digest(self.session.mac_key, covered, digest)

        if not self.session.encrypt_then_mac:
            plaintext += mac(plaintext)
        padding = 15 - len(plaintext) % 16
        plaintext += bytes([padding]) * (padding + 1)
        if layout.explicit_bytes:
            self.iv = self.rng.randbytes(16)
        encryptor = Cipher(algorithms.AES(key), modes.CBC(self.iv)).encryptor()
        body = encryptor.update(plaintext)
        if layout.explicit_bytes:
            body = self.iv + body
        self.iv = body[-16:]
        return body + mac(body) if self.session.encrypt_then_mac else body

    @staticmethod
    def _record(kind, version, body):
        return bytes([kind]) + version + len(body).to_bytes(2, "big") + body


def judge(ours, other):
    """The other end reads what we seal."""
    sealer = Sealer(ours.transmit_session())
    payloads = [bytes([n]) * size for n, size in enumerate((1, 0, 16, 1000, 16384), 1)]
    for payload in payloads:
        assert other.read(sealer.seal(payload)) == payload


@pytest.mark.parametrize("server_side", [False, True], ids=["client", "server"])
@pytest.mark.parametrize(("suite", "key_bytes"), AGREED)
def test_openssl_reads_what_follows(certificates, suite, key_bytes, server_side):
    ours, other = pair(certificates, server_side, suite, key_bytes=key_bytes)
    sent, received = shake(ours, other)
    assert (ours.suite, ours.key_bytes) == (suite, key_bytes)
    assert (ours.sent_bytes, ours.received_bytes) == (len(sent), len(received))
    session = ours.transmit_session()
    assert len(session.key) == key_bytes
    assert session.record_number == 1  # after Finished
    layout = SUITES[suite]
    assert session.encrypt_then_mac is (layout.kind is RecordKind.CBC and layout.version == 0x0303)
    judge(ours, other)


@pytest.mark.parametrize("suite", [s for s, layout in SUITES.items() if layout.mac_key_bytes])
def test_mac_then_encrypt(certificates, suite):
    ours, other = pair(certificates, False, suite, encrypt_then_mac=False)
    shake(ours, other)
    assert ours.encrypt_then_mac is False
    judge(ours, other)


def test_both_directions_are_right(certificates):
    """What OpenSSL sends has the IV and keys of the receive session: TLS 1.0 has no randomness."""
    suite = CipherSuite.TLS10_AES_CBC_SHA1
    ours, other = pair(certificates, False, suite)
    shake(ours, other)
    # OpenSSL puts an empty record in front, against attacks on the chained IV.
    wire = other.write(b"from the server")
    sealer = Sealer(ours.receive_session())
    assert wire == sealer.seal(b"") + sealer.seal(b"from the server")


@pytest.mark.parametrize("cut", [1, 4, 5, 6, 1000])
@pytest.mark.parametrize("server_side", [False, True], ids=["client", "server"])
def test_records_may_come_in_pieces(certificates, server_side, cut):
    ours, other = pair(certificates, server_side, CipherSuite.TLS12_AES_128_GCM)
    shake(ours, other, cut)
    judge(ours, other)


class OpensslProgram:
    """`openssl s_server` or `s_client`, which can be told the suite of TLS 1.3, on a socket."""

    def __init__(self, directory, role, *options):
        self.path = directory / "tls"
        listener = None
        if role == "s_client":
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(str(self.path))
            listener.listen()
        self.process = subprocess.Popen(
            ["openssl", role, "-unix", self.path.name, "-quiet", *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=directory,  # s_server refuses paths above 31 bytes
        )
        if listener:
            listener.settimeout(20)
            self.connection, _ = listener.accept()
            listener.close()
        else:
            self.connection = self._connect()
        self.connection.settimeout(20)

    def _connect(self):
        connection = socket.socket(socket.AF_UNIX)
        while True:
            try:
                connection.connect(str(self.path))
            except (FileNotFoundError, ConnectionRefusedError):
                assert self.process.poll() is None, "openssl has ended"
                select.select([], [], [], 0.01)
            else:
                return connection

    def shake(self, ours):
        while not ours.done:
            self.connection.sendall(ours.pending())
            data = self.connection.recv(1 << 16)
            assert data, "openssl hung up"
            ours.receive(data)
        self.connection.sendall(ours.pending())

    def read(self, size):
        found = b""
        while len(found) < size:
            ready, _, _ = select.select([self.process.stdout], [], [], 20)
            assert ready, f"openssl printed {len(found)} of {size} bytes"
            found += (more := os.read(self.process.stdout.fileno(), 1 << 16))
            assert more, "openssl has ended"
        return found

    def close(self):
        """Harmless whatever has happened before."""
        self.connection.close()
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def program(tmp_path, certificates):
    opened = []

    def start(role, suite, *options):
        (name,) = ciphers.openssl_names(suite)
        words = ["-cert", str(certificates[0])] if role == "s_server" else []
        opened.append(OpensslProgram(tmp_path, role, *words, "-ciphersuites", name, *options))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


@pytest.mark.parametrize("server_side", [False, True], ids=["client", "server"])
@pytest.mark.parametrize("suite", TLS13)
def test_tls13_with_key_updates(certificates, program, suite, server_side):
    far = program("s_client" if server_side else "s_server", suite)
    ours = Handshake(
        context(certificates, server_side, suite), server_side=server_side, suites=suite
    )
    far.shake(ours)
    assert ours.suite == suite
    session = ours.transmit_session()
    # OpenSSL's server has sent two tickets under the key that goes on; its client sends nothing.
    assert session.record_number == (2 if server_side else 0)
    sealer = Sealer(session)
    for round_number in range(3):
        payloads = [bytes([65 + round_number]) * size for size in (1, 1000, 16000)]
        for payload in payloads:
            far.connection.sendall(sealer.seal(payload))
        assert far.read(17001) == b"".join(payloads)
        far.connection.sendall(sealer.seal(key_update_message(), kind=22))
        session = ours.next_transmit_session()
        assert session.record_number == 0
        sealer = Sealer(session)


def opened(session, wire):
    """Content types and contents of AES-GCM records of TLS 1.3, from the session's first on."""
    number = session.record_number
    while wire:
        end = 5 + int.from_bytes(wire[3:5], "big")
        nonce = (int.from_bytes(session.iv, "big") ^ number).to_bytes(12, "big")
        plain = AESGCM(bytes(session.key)).decrypt(nonce, wire[5:end], wire[:5]).rstrip(b"\0")
        yield plain[-1], plain[:-1]
        wire = wire[end:]
        number += 1


def test_tickets_belong_to_the_next_owner(certificates):
    """A client of TLS 1.3 has the server's tickets as surplus, under the receive session."""
    ours, other = pair(certificates, False, TLS13[1])
    _, received = shake(ours, other)
    surplus = ours.take_surplus()
    assert ours.take_surplus() == b""
    assert received[ours.received_bytes :] == surplus
    session = ours.receive_session()
    assert session.record_number == 0
    records = list(opened(session, surplus + other.write(b"hello")))
    assert [kind for kind, _ in records] == [22, 22, 23]
    assert records[-1][1] == b"hello"


def test_the_peer_may_update_its_key(certificates):
    ours, other = pair(certificates, True, TLS13[1])
    shake(ours, other)
    sealer = Sealer(ours.transmit_session())
    assert other.read(sealer.seal(key_update_message(request_peer=True), kind=22)) == b""
    wire = other.write(b"hello")
    end = 5 + int.from_bytes(wire[3:5], "big")
    assert list(opened(ours.receive_session(), wire[:end])) == [(22, key_update_message())]
    assert list(opened(ours.next_receive_session(), wire[end:])) == [(23, b"hello")]


@pytest.mark.parametrize("limit", [512, 4096])
@pytest.mark.parametrize("suite", [CipherSuite.TLS12_AES_128_GCM, CipherSuite.TLS13_AES_128_GCM])
def test_max_fragment_length(certificates, program, suite, limit):
    options = ["-maxfraglen", str(limit)]
    if not SUITES[suite].is_tls13:
        options += ["-tls1_2"]
    far = program("s_client", CipherSuite.TLS13_AES_128_GCM, *options)
    ours = Handshake(context(certificates, True, suite), server_side=True, suites=suite)
    far.shake(ours)
    assert ours.transmit_session().max_plaintext == limit
    sealer = Sealer(ours.transmit_session())
    far.connection.sendall(sealer.seal(b"x" * limit))
    assert far.read(limit) == b"x" * limit


# What goes wrong


def test_failure_has_an_alert_for_the_peer(certificates):
    ours = Handshake(context(certificates, True, CipherSuite.TLS12_AES_128_GCM), server_side=True)
    other = Openssl(context(certificates, False, CipherSuite.TLS12_AES_256_GCM), False)
    flight = other.step(b"")
    with pytest.raises(HandshakeError, match="NO_SHARED_CIPHER"):
        ours.receive(flight)
    assert ours.pending()[0] == 21
    with pytest.raises(HandshakeError, match="has failed"):
        ours.receive(b"")
    assert "failed" in repr(ours)


@pytest.mark.parametrize(
    "garbage", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff\0", b"\0" * 9]
)
def test_garbage_is_refused(certificates, garbage):
    ours = Handshake(context(certificates, True, CipherSuite.TLS12_AES_128_GCM), server_side=True)
    with pytest.raises(HandshakeError):
        ours.receive(garbage)


def test_a_suite_that_was_not_wanted(certificates):
    """OpenSSL alone agrees on AES-256-GCM."""
    suites = TLS13[0]
    ours = Handshake(context(certificates, False, suites), server_side=False, suites=suites)
    other = Openssl(context(certificates, True, suites), True)
    with pytest.raises(HandshakeError, match="OPENSSL_CONF"):
        shake(ours, other)


def test_a_suite_the_interface_has_not(certificates):
    made = context(certificates, False, CipherSuite.TLS12_AES_128_GCM)
    far = context(certificates, True, CipherSuite.TLS12_AES_128_GCM)
    for one in (made, far):
        one.set_ciphers("ECDHE-ECDSA-AES128-CCM")
    with pytest.raises(HandshakeError, match=r"0xc0ac cannot be offloaded"):
        shake(Handshake(made, server_side=False), Openssl(far, True))


def test_encrypt_then_mac_with_tls10_is_refused(certificates):
    ours, other = pair(certificates, False, CipherSuite.TLS10_AES_CBC_SHA1, encrypt_then_mac=True)
    with pytest.raises(HandshakeError, match="encrypt-then-MAC"):
        shake(ours, other)


def test_sessions_need_a_handshake(certificates):
    ours, other = pair(certificates, False, CipherSuite.TLS12_AES_128_GCM)
    for ask in (ours.transmit_session, ours.receive_session, ours.next_transmit_session):
        with pytest.raises(HandshakeError, match="not done"):
            ask()
    assert ours.take_surplus() == b""
    shake(ours, other)
    with pytest.raises(HandshakeError, match=r"only TLS 1\.3"):
        ours.next_transmit_session()
    ours.close()
    with pytest.raises(HandshakeError, match="closed"):
        ours.transmit_session()


def test_a_context_serves_one_at_a_time(certificates):
    shared = context(certificates, False, CipherSuite.TLS12_AES_128_GCM)
    first = Handshake(shared, server_side=False)
    with pytest.raises(HandshakeError, match="is using"):
        Handshake(shared, server_side=False)
    first.close()
    Handshake(shared, server_side=False).close()


def test_no_suites_no_context():
    with pytest.raises(ValueError, match="no cipher suite"):
        make_context(server_side=False, suites=CipherSuite(0))


def test_secrets_stay_inside(certificates, tmp_path):
    """Nothing in the repr; no descriptor and no key log is left; the context's own log is kept."""
    before = set(os.listdir("/proc/self/fd"))
    suites = TLS13[0] | TLS13[1] | TLS13[2]
    log = tmp_path / "keys.log"
    mine = context(certificates, False, suites)
    mine.keylog_filename = str(log)
    ours = Handshake(mine, server_side=False)
    shake(ours, Openssl(context(certificates, True, suites), True))
    assert mine.keylog_filename == str(log)
    assert "CLIENT_TRAFFIC_SECRET_0" in log.read_text()
    secret = next(
        line.split()[2]
        for line in log.read_text().splitlines()
        if line.startswith("CLIENT_TRAFFIC_SECRET_0")
    )
    assert secret not in repr(ours)
    assert repr(ours) == "<Handshake client TLS13_AES_256_GCM>"
    mine.keylog_filename = None
    assert set(os.listdir("/proc/self/fd")) == before


def test_old_versions_give_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_context(server_side=True, suites=CipherSuite.TLS10_AES_CBC_SHA1)


def test_names_are_openssls():
    """Every cipher suite of the table is one that OpenSSL knows by that name and number."""
    words = ["openssl", "ciphers", "-V", "ALL:@SECLEVEL=0"]
    lines = subprocess.run(words, capture_output=True, check=True, text=True).stdout.splitlines()
    known = {}
    for line in lines:
        number, _, name = line.split()[:3]
        high, low = (int(part, 16) for part in number.split(","))
        known[high << 8 | low] = name
    for number, cipher in ciphers.CIPHERS.items():
        assert known[number] == cipher.openssl_name


# Hello messages


@given(st.sampled_from([hello.CLIENT_HELLO, hello.SERVER_HELLO]), st.binary(max_size=200))
def test_any_bytes_parse_or_raise_one_error(kind, body):
    with contextlib.suppress(hello.MalformedHelloError):
        hello.parse_hello(kind, body)


def server_hello(random_bytes, extensions=b""):
    body = b"\x03\x03" + random_bytes + b"\0" + b"\xc0\x2b" + b"\0"
    body += len(extensions).to_bytes(2, "big") + extensions
    return b"\x02" + len(body).to_bytes(3, "big") + body


@given(st.data())
def test_hellos_are_found_however_they_are_cut(data):
    retry = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
    stream = server_hello(retry) + server_hello(b"r" * 32, b"\0\x16\0\0") + b"\x0b\0\0\1x"
    reader = hello.HelloReader(hello.SERVER_HELLO)
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        reader.feed(hello.RECORD_HANDSHAKE, stream[:size])
        reader.feed(23, stream[:size])
        stream = stream[size:]
    assert reader.hello == hello.Hello(b"r" * 32, 0xC02B, {22: b""})


@pytest.mark.parametrize("end", [3, 36, 40, 41])
def test_truncated_hello(end):
    with pytest.raises(hello.MalformedHelloError):
        hello.parse_hello(hello.SERVER_HELLO, server_hello(b"r" * 32, b"\0\x16\0\0")[4:][:end])
