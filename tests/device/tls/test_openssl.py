"""OpenSSL's TLS as the judge: the device makes its records byte for byte, and it takes the device's."""

import datetime
import hmac
import socket
import ssl
import struct
import subprocess
from itertools import accumulate, pairwise

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from record_bench import CASES, seal, stream, xor

from tlsnic.abi.suites import RecordKind
from tlsnic.device.tls.cipher import make_cipher
from tlsnic.device.tls.keys import KeyCache, KeyMaterial

OP_NO_ENCRYPT_THEN_MAC = 1 << 19
"""SSL_OP_NO_ENCRYPT_THEN_MAC, which Python does not name."""

pytestmark = pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")


def openssl_name(case):
    """OpenSSL's name of the suite, and the hash of its key derivation. None: it has no such suite."""
    layout, bits = case.layout, 8 * case.key_bytes
    if layout.is_tls13:  # what two OpenSSL peers agree on; Python cannot choose, see below
        is_first = layout.kind is RecordKind.GCM and bits == 256
        return ("TLS_AES_256_GCM_SHA384", "sha384") if is_first else None
    if layout.kind is RecordKind.CHACHA20_POLY1305:
        return "ECDHE-RSA-CHACHA20-POLY1305", "sha256"
    if layout.kind is RecordKind.GCM:
        digest = {128: "SHA256", 256: "SHA384"}[bits]
        return f"AES{bits}-GCM-{digest}", digest.lower()
    if layout.tag_bytes == 48:
        return ("ECDHE-RSA-AES256-SHA384", "sha384") if bits == 256 else None
    return f"AES{bits}-SHA" + ("256" if layout.tag_bytes == 32 else ""), "sha256"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Path of a self-signed certificate with its key."""
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "peer")])
    start = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start.replace(year=2120))
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("certificate") / "peer.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


def p_hash(secret, seed, digest, size):
    """RFC 5246 section 5."""
    made, a = b"", seed
    while len(made) < size:
        a = hmac.digest(secret, a, digest)
        made += hmac.digest(secret, a + seed, digest)
    return made[:size]


def prf(version, digest, secret, seed, size):
    """RFC 2246 section 5 before TLS 1.2: both hashes, each with a half of the secret."""
    if version >= 0x0303:
        return p_hash(secret, seed, digest, size)
    half = (len(secret) + 1) // 2
    md5 = p_hash(secret[:half], seed, "md5", size)
    return xor(md5, p_hash(secret[-half:], seed, "sha1", size))


def expand_label(secret, label, digest, size):
    """RFC 8446 section 7.1; one block of output is enough here."""
    label = b"tls13 " + label
    info = struct.pack(">HB", size, len(label)) + label + b"\0\1"
    return hmac.digest(secret, info, digest)[:size]


def split_records(stream_bytes):
    records = []
    while stream_bytes:
        total = 5 + int.from_bytes(stream_bytes[3:5], "big")
        records.append(stream_bytes[:total])
        stream_bytes = stream_bytes[total:]
    return records


def read_key_log(path):
    """Client random and secret by label."""
    lines = [line.split() for line in path.read_text().splitlines() if not line.startswith("#")]
    return {label: (bytes.fromhex(a), bytes.fromhex(b)) for label, a, b in lines}


def tls13_keys(case, digest, secrets):
    _, secret = secrets["CLIENT_TRAFFIC_SECRET_0"]
    sizes = ((b"key", case.key_bytes), (b"iv", case.layout.iv_bytes))
    return [expand_label(secret, label, digest, size) for label, size in sizes] + [b""]


class Peers:
    """Two ends of a TLS connection in memory. The device takes the place of the client's writes."""

    def __init__(self, case, certificate, directory):
        self.case, layout = case, case.layout
        self.name, self.digest = openssl_name(case)
        contexts = [
            ssl.SSLContext(kind) for kind in (ssl.PROTOCOL_TLS_CLIENT, ssl.PROTOCOL_TLS_SERVER)
        ]
        for context in contexts:
            context.minimum_version = context.maximum_version = ssl.TLSVersion(layout.version)
            if not layout.is_tls13:
                context.set_ciphers(f"{self.name}:@SECLEVEL=0")
            if not case.encrypt_then_mac:
                context.options |= OP_NO_ENCRYPT_THEN_MAC
        client_context, server_context = contexts
        client_context.check_hostname = False
        client_context.verify_mode = ssl.CERT_NONE
        client_context.keylog_filename = str(directory / "keys.log")
        server_context.load_cert_chain(certificate)
        self.to_server, self.to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.from_client, from_server = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = client_context.wrap_bio(self.to_client, self.from_client)
        self.server = server_context.wrap_bio(self.to_server, from_server, server_side=True)
        sent, received, pending = b"", b"", [self.client, self.server]
        while pending:
            for end in list(pending):
                try:
                    end.do_handshake()
                    pending.remove(end)
                except ssl.SSLWantReadError:
                    pass
                flight, answer = self.from_client.read(), from_server.read()
                sent, received = sent + flight, received + answer
                self.to_server.write(flight)
                self.to_client.write(answer)
        secrets = read_key_log(directory / "keys.log")
        self.keys = self._keys(secrets, received[11:43])
        self.number = 0 if layout.is_tls13 else 1
        if layout.version == 0x0301:  # the chain goes on from the client's Finished
            self.keys[1] = sent[-16:]
        material = KeyMaterial(*self.keys)
        self.cipher = make_cipher(case.format(), material, KeyCache(), self.number)

    def _keys(self, secrets, server_random):
        layout, key_bytes = self.case.layout, self.case.key_bytes
        if layout.is_tls13:
            return tls13_keys(self.case, self.digest, secrets)
        client_random, master = secrets["CLIENT_RANDOM"]
        sizes = (layout.mac_key_bytes, layout.mac_key_bytes, key_bytes, key_bytes, layout.iv_bytes)
        seed = b"key expansion" + server_random + client_random
        block = prf(layout.version, self.digest, master, seed, sum(sizes))
        ends = accumulate(sizes, initial=0)
        mac_key, _, key, _, iv = (block[a:b] for a, b in pairwise(ends))
        return [key, iv, mac_key]

    def protect(self, content, padding=None, kind=23, cuts=None, prefix=None):
        """The wire record of the device, and its number goes up."""
        if self.case.layout.is_tls13:
            content, kind = content + bytes([kind]) + bytes(padding or 0), 23
            padding = None
        made, laid_out = self.case.lay_out(content, padding, kind, nonce_seed=self.number)
        prefix = made[:5] + prefix[5:] if prefix else made
        record = self.case.format().parse(self.number, prefix)
        self.number += 1
        if cuts is None:
            return record.prefix + seal(self.cipher, record, content)
        return record.prefix + stream(self.cipher, record, laid_out, cuts)

    def take(self, record):
        self.to_server.write(record)
        return self.server.read(20000)


@pytest.fixture(params=[case for case in CASES if openssl_name(case)], ids=lambda case: case.id)
def peers(request, certificate, tmp_path):
    made = Peers(request.param, certificate, tmp_path)
    assert made.client.cipher()[0] == made.name
    return made


def test_records_of_openssl_are_made_again(peers):
    sent = [bytes([65 + n % 26]) * size for n, size in enumerate((1, 15, 16, 100, 4000, 16384))]
    for n, content in enumerate(sent):
        peers.client.write(content)
        wires = split_records(peers.from_client.read())
        # TLS 1.0: OpenSSL puts an empty record in front of each, as the next IV can be seen
        parts = [b"", content] if peers.case.layout.version == 0x0301 else [content]
        for wire, part in zip(wires, parts, strict=True):
            prefix = wire[: peers.case.layout.prefix_bytes]
            cuts = [3, 20, 1000] if n % 2 else None
            assert peers.protect(part, prefix=prefix, cuts=cuts) == wire
            peers.to_server.write(wire)
        assert peers.server.read(20000) == content


def test_openssl_takes_records_of_the_device(peers):
    for size, cuts in ((1, None), (100, [7, 30]), (16384, range(0, 20000, 1448)), (5, None)):
        content = bytes(n & 0xFF for n in range(size))
        assert peers.take(peers.protect(content, cuts=cuts)) == content


def test_openssl_takes_every_padding(peers):
    """CBC: the lengths that a record of this content can have; TLS 1.3: zeros behind the type."""
    step = 16 if peers.case.is_cbc else 50
    if not peers.case.is_cbc and not peers.case.layout.is_tls13:
        return
    for size in (20, 21, 35):
        for padding in range(peers.case.least_padding(size), 256, step):
            assert peers.take(peers.protect(bytes(size), padding)) == bytes(size)


def test_openssl_takes_the_end(peers):
    """A control record: close_notify."""
    assert peers.take(peers.protect(b"last")) == b"last"
    peers.to_server.write(peers.protect(b"\1\0", kind=21))
    assert peers.server.read(1) == b""


def test_openssl_refuses_what_is_damaged(peers):
    """So that what it takes means something."""
    record = bytearray(peers.protect(b"content" * 5))
    record[-1] ^= 1
    peers.to_server.write(record)
    with pytest.raises(ssl.SSLError, match=r"(?i)bad.record.mac|bad.decrypt"):
        peers.server.read(1)


class Server:
    """`openssl s_server`, which can be told the suite of TLS 1.3. It sends lines back reversed."""

    def __init__(self, suite, certificate):
        options = f"-accept 127.0.0.1:0 -naccept 1 -rev -tls1_3 -ciphersuites {suite}"
        self.process = subprocess.Popen(
            ["openssl", "s_server", *options.split(), "-cert", str(certificate)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.socket = None

    def connect(self, directory):
        line = next(line for line in self.process.stdout if line.startswith("ACCEPT"))
        self.socket = socket.create_connection(("127.0.0.1", int(line.rsplit(":")[-1])), 30)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.keylog_filename = str(directory / "keys.log")
        self.arrived, self.sent = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = context.wrap_bio(self.arrived, self.sent)
        self.wait(self.client.do_handshake)

    def wait(self, step):
        """What `step` returns once enough has arrived."""
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                pass
            finally:
                self.socket.sendall(self.sent.read())
            arrived = self.socket.recv(20000)
            assert arrived
            self.arrived.write(arrived)

    def close(self):
        if self.socket:
            self.socket.close()
        self.process.kill()
        self.process.communicate()


@pytest.mark.parametrize(
    ("case", "suite"),
    [
        (case, name)
        for case in CASES
        for name in ("TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256")
        if case.layout.is_tls13
        and (case.layout.kind is RecordKind.GCM) == ("GCM" in name)
        and case.key_bytes == (16 if "GCM" in name else 32)
    ],
    ids=lambda value: value if isinstance(value, str) else value.id,
)
def test_openssl_server_takes_records_of_other_tls13_suites(case, suite, certificate, tmp_path):
    server = Server(suite, certificate)
    try:
        server.connect(tmp_path)
        assert server.client.cipher()[0] == suite
        keys = tls13_keys(case, "sha256", read_key_log(tmp_path / "keys.log"))
        cipher = make_cipher(case.format(), KeyMaterial(*keys), KeyCache(), 0)
        for number, size in enumerate((1, 100, 4000)):
            line = bytes(65 + n % 26 for n in range(size))
            inner = line + b"\n\x17" + bytes(number)
            prefix, laid_out = case.lay_out(inner)
            record = case.format().parse(number, prefix)
            server.socket.sendall(prefix + stream(cipher, record, laid_out, [7, 90, 1448]))
            assert server.wait(lambda: server.client.read(20000)) == line[::-1] + b"\n"
    finally:
        server.close()
