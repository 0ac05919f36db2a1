"""The far end of TLS connections: OpenSSL decrypts what the card has encrypted.

Connections are made in memory; the TCP stream of the card's records goes to `TlsPeer.decrypt`, as
`tls_stream.StreamReassembler` puts it together from frames. No sockets, and nothing is left open.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import hmac
import os
import random
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import NamedTuple

from harness.peer import MAC as PEER_MAC
from harness.tls_stream import MARKER, PlaintextScanner, StreamReassembler, marked
from harness.traffic import IP4_NIC, IP4_PEER, IP6_NIC, IP6_PEER
from tlsnic.abi.enums import CipherSuite
from tlsnic.abi.suites import BLOCK_BYTES, MAX_PLAINTEXT, SUITES
from tlsnic.driver.tls import key_schedule
from tlsnic.driver.tls.ciphers import openssl_names
from tlsnic.driver.tls.handshake import Handshake, make_context
from tlsnic.driver.tls.session import TlsSession

__all__ = [
    "MARKER",
    "Flight",
    "PlaintextScanner",
    "StreamReassembler",
    "TlsPeer",
    "TlsRefused",
    "handshake_frames",
    "marked",
]

_UNREGISTERED = (CipherSuite.TLS12_AES_CBC_SHA384, 16)
"""No IANA cipher suite has AES-128-CBC with HMAC-SHA384, so that OpenSSL cannot agree on it."""
_RSA_ONLY = (CipherSuite.TLS12_AES_CBC_SHA256, 32)
"""The registered cipher suites with it have no ECDSA."""


class TlsRefused(AssertionError):
    """The far end refused records. `reason`: as OpenSSL calls it."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"the far end refuses the records: {reason}")


class Flight(NamedTuple):
    """What one side sent in a handshake before it waited for the other."""

    from_us: bool
    data: bytes


class TlsPeer:
    """A connection whose handshake is over, with OpenSSL at its far end.

    `session` is what we transmit with, `receive_session` what the far end's records after the
    handshake are protected with. `flights` is the handshake on the wire, `sent_bytes` and
    `received_bytes` its length in each direction. `key_log` is what OpenSSL logged, for tshark.
    """

    is_openssl = True
    """Whether OpenSSL decrypts; else it is code after the RFCs with `cryptography`."""

    def __init__(
        self,
        session: TlsSession,
        flights: list[Flight],
        key_log: str,
        far: _Far | None,
        next_session: Callable[[], TlsSession] | None = None,
        receive_session: TlsSession | None = None,
    ) -> None:
        self.session = session
        self.receive_session = receive_session
        self.flights = flights
        self.key_log = key_log
        self.sent_bytes = sum(len(data) for from_us, data in flights if from_us)
        self.received_bytes = sum(len(data) for from_us, data in flights if not from_us)
        self.closed = False
        """Whether the far end has read a close_notify."""
        self._far = far
        self._next_session = next_session

    @classmethod
    def make(
        cls,
        suite: CipherSuite,
        *,
        key_bytes: int | None = None,
        encrypt_then_mac: bool | None = None,
        server_side: bool = False,
        max_plaintext: int = MAX_PLAINTEXT,
    ) -> TlsPeer:
        """A new connection.

        key_bytes: of the suite's key lengths, by default the longest. encrypt_then_mac: by default
        with the CBC suites of TLS 1.2. server_side: our part; a server of TLS 1.3 is refused with
        ValueError, as Python's ssl cannot choose the suite then. max_plaintext: of the session.
        """
        layout = SUITES[suite]
        size = max(layout.key_bytes) if key_bytes is None else key_bytes
        if encrypt_then_mac is None:
            encrypt_then_mac = layout.mac_key_bytes > 0 and layout.version == 0x0303
        if layout.is_tls13:
            if server_side:
                raise ValueError("as a server the suite of TLS 1.3 cannot be chosen")
            return cls._make_tls13(suite, max_plaintext)
        if (suite, size) == _UNREGISTERED:
            return _PlainPeer(suite, size, encrypt_then_mac, max_plaintext)
        return cls._make_older(suite, size, encrypt_then_mac, server_side, max_plaintext)

    @classmethod
    def _make_older(
        cls, suite: CipherSuite, size: int, encrypt_then_mac: bool, server: bool, limit: int
    ) -> TlsPeer:
        ours = _context(suite, size, encrypt_then_mac, server)
        with _key_log(_context(suite, size, encrypt_then_mac, not server)) as (context, read):
            mine = Handshake(ours, server_side=server, suites=suite)
            far = _Far(context, not server)
            flights = _shake(far, mine.pending, mine.receive, lambda: mine.done)
            key_log = read()
        session, received = mine.transmit_session(), mine.receive_session()
        mine.close()
        session.max_plaintext = received.max_plaintext = limit
        return cls(session, flights, key_log, far, receive_session=received)

    @classmethod
    def _make_tls13(cls, suite: CipherSuite, limit: int) -> TlsPeer:
        from harness.tls_client import Tls13Client  # noqa: PLC0415 - slow to import in a guest

        client = Tls13Client(suite)
        to_send = [client.start()]
        with _key_log(_context(suite, 0, False, True)) as (context, read):
            far = _Far(context, True)
            flights = _shake(
                far,
                lambda: to_send.pop() if to_send else b"",
                lambda data: to_send.append(client.receive(data)),
                lambda: bool(client.secret),
            )
            key_log = read()
        secret = client.secret
        line = f"CLIENT_TRAFFIC_SECRET_0 {client.random.hex()} {secret.hex()}"
        assert line in key_log, "the server has derived another secret"

        def session(secret: bytes) -> TlsSession:
            keys = key_schedule.traffic_keys(suite, secret)
            return TlsSession(suite, keys.key, keys.iv, max_plaintext=limit)

        def after_update() -> TlsSession:
            nonlocal secret
            secret = key_schedule.next_traffic_secret(suite, secret)
            return session(secret)

        _, _, logged = key_log.partition(f"SERVER_TRAFFIC_SECRET_0 {client.random.hex()} ")
        received = session(bytes.fromhex(logged.split()[0]))
        return cls(session(secret), flights, key_log, far, after_update, received)

    def next_session(self) -> TlsSession:
        """What we transmit with after a KeyUpdate of ours; TLS 1.3. Becomes `session`."""
        assert self._next_session is not None, f"{self.session.suite.name} has no key updates"
        self.session = self._next_session()
        return self.session

    def decrypt(self, wire: bytes) -> bytes:
        """The next bytes of our stream, cut anywhere: what the far end can read so far.

        Raises TlsRefused when it finds anything wrong.
        """
        assert self._far is not None
        data = self._far.read(wire)
        self.closed |= self._far.closed
        return data

    def expect_alert(self, wire: bytes) -> str:
        """Fails the test unless the far end refuses `wire`; the reason, as OpenSSL calls it."""
        try:
            found = self.decrypt(wire)
        except TlsRefused as refused:
            return refused.reason
        raise AssertionError(f"the far end has accepted this as {len(found)} bytes")

    def answer(self) -> bytes:
        """What the far end has sent since it was asked last: alerts, key updates."""
        return b"" if self._far is None else self._far.outgoing.read()

    def send(self, data: bytes) -> bytes:
        """Records in which the far end sends `data` to us."""
        assert self._far is not None
        self._far.tls.write(data)
        return self._far.outgoing.read()

    def close(self) -> bytes:
        """The close_notify of the far end."""
        assert self._far is not None
        with contextlib.suppress(ssl.SSLWantReadError):  # it waits for ours
            self._far.tls.unwrap()
        return self._far.outgoing.read()


class _Far:
    """OpenSSL over memory buffers."""

    def __init__(self, context: ssl.SSLContext, server_side: bool) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=server_side)
        self.done = False
        self.closed = False

    def step(self, data: bytes) -> bytes:
        """Go on with the handshake."""
        self.incoming.write(data)
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
            self.done = True
        return self.outgoing.read()

    def read(self, wire: bytes) -> bytes:
        self.incoming.write(wire)
        parts = []
        try:
            while part := self.tls.read(1 << 20):
                parts.append(part)
            self.closed = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLEOFError as error:
            # What OpenSSL 3.5 makes of close_notify behind user_canceled. Only after a close_notify
            # can the connection be shut down without reading more.
            try:
                self.tls.unwrap()
            except ssl.SSLError:
                raise TlsRefused(error.reason or str(error)) from error
            self.closed = True
        except ssl.SSLError as error:
            raise TlsRefused(error.reason or str(error)) from error
        return b"".join(parts)


def _shake(
    far: _Far,
    pending: Callable[[], bytes],
    receive: Callable[[bytes], object],
    is_done: Callable[[], bool],
) -> list[Flight]:
    """Run a handshake between `far` and us to its end; what went over the wire."""
    flights = []
    for _ in range(8):
        if data := pending():
            flights.append(Flight(True, data))
        if not far.done and (answer := far.step(data)):
            flights.append(Flight(False, answer))
            receive(answer)
        if far.done and is_done():
            if data := pending():
                flights.append(Flight(True, data))
            return flights
    raise AssertionError("the handshake does not end")


@contextlib.contextmanager
def _key_log(context: ssl.SSLContext) -> Iterator[tuple[ssl.SSLContext, Callable[[], str]]]:
    """`context` with a key log, and how to read that; no descriptor stays open."""
    descriptor = os.memfd_create("key-log")
    try:
        context.keylog_filename = f"/proc/self/fd/{descriptor}"
        yield context, lambda: os.pread(descriptor, 1 << 16, 0).decode()
    finally:
        context.keylog_filename = None
        os.close(descriptor)


@functools.cache
def _context(
    suite: CipherSuite, key_bytes: int, encrypt_then_mac: bool, server_side: bool
) -> ssl.SSLContext:
    context = make_context(
        server_side=server_side,
        suites=suite,
        key_bytes=key_bytes or None,
        encrypt_then_mac=encrypt_then_mac,
    )
    if key_bytes:  # security level 0: weak keys will do, they are quickly made
        context.set_ciphers(":".join([*openssl_names(suite, key_bytes), "@SECLEVEL=0"]))
    context.options |= ssl.OP_NO_TICKET
    if server_side:
        context.num_tickets = 0  # of TLS 1.3
        descriptor = os.memfd_create("certificate")
        try:
            os.write(descriptor, _certificate(rsa_key=(suite, key_bytes) == _RSA_ONLY))
            context.load_cert_chain(f"/proc/self/fd/{descriptor}")
        finally:
            os.close(descriptor)
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


@functools.cache
def _certificate(*, rsa_key: bool) -> bytes:
    """A self-signed certificate and its key, as PEM."""
    from cryptography import x509  # noqa: PLC0415 - slow to import in a guest
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec, rsa  # noqa: PLC0415

    key = (
        rsa.generate_private_key(65537, 1024)
        if rsa_key
        else ec.generate_private_key(ec.SECP256R1())
    )
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "far end")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    return certificate.public_bytes(encoding) + key.private_bytes(
        encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


class _PlainPeer(TlsPeer):
    """Stands in for OpenSSL with AES-CBC suites that it cannot agree on (explicit IV)."""

    is_openssl = False

    def __init__(
        self, suite: CipherSuite, key_bytes: int, encrypt_then_mac: bool, limit: int
    ) -> None:
        layout = SUITES[suite]
        rng = random.Random(key_bytes)
        key, mac_key = rng.randbytes(key_bytes), rng.randbytes(layout.mac_key_bytes)
        session = TlsSession(
            suite, key, b"", mac_key, encrypt_then_mac, record_number=1, max_plaintext=limit
        )
        super().__init__(session, [], "", None)
        self._buffer = b""
        self._number = session.record_number
        self._mac_bytes = layout.tag_bytes
        self._version = layout.wire_version.to_bytes(2, "big")

    def decrypt(self, wire: bytes) -> bytes:
        self._buffer += wire
        found = b""
        while len(self._buffer) >= 5:
            end = 5 + int.from_bytes(self._buffer[3:5], "big")
            if len(self._buffer) < end:
                break
            content = self._open(self._buffer[:5], self._buffer[5:end])
            found += content if self._buffer[0] == 23 else b""
            self._buffer = self._buffer[end:]
            self._number += 1
        return found

    def _open(self, header: bytes, body: bytes) -> bytes:
        """RFC 5246 section 6.2.3.2, RFC 7366."""
        from cryptography.hazmat.primitives.ciphers import (  # noqa: PLC0415
            Cipher,
            algorithms,
            modes,
        )

        if header[1:3] != self._version:
            raise TlsRefused("WRONG_VERSION_NUMBER")
        early = self.session.encrypt_then_mac
        if early:
            body = self._checked(header, body)
        iv, blocks = body[:BLOCK_BYTES], body[BLOCK_BYTES:]
        if not blocks or len(blocks) % BLOCK_BYTES:
            raise TlsRefused("LENGTH_MISMATCH")
        cipher = Cipher(algorithms.AES(bytes(self.session.key)), modes.CBC(iv)).decryptor()
        plain = cipher.update(blocks) + cipher.finalize()
        padding = plain[-1] + 1
        if plain[-padding:] != bytes([padding - 1]) * padding:
            raise TlsRefused("DECRYPTION_FAILED_OR_BAD_RECORD_MAC")
        return plain[:-padding] if early else self._checked(header, plain[:-padding])

    def _checked(self, header: bytes, data: bytes) -> bytes:
        content, mac = data[: -self._mac_bytes], data[-self._mac_bytes :]
        start = self._number.to_bytes(8, "big") + header[:3] + len(content).to_bytes(2, "big")
        digest = {20: "sha1", 32: "sha256", 48: "sha384"}[self._mac_bytes]
        expected = hmac.digest(bytes(self.session.mac_key), start + content, digest)
        if not hmac.compare_digest(mac, expected):
            raise TlsRefused("DECRYPTION_FAILED_OR_BAD_RECORD_MAC")
        return content


def handshake_frames(
    flights: list[Flight],
    *,
    sequence: int,
    peer_sequence: int = 1,
    nic_mac: bytes = bytes.fromhex("02746c730001"),
    ip: str = "IP",
    ports: tuple[int, int] = (5001, 443),
    segment_bytes: int = 1400,
) -> list[bytes]:
    """The TCP connection up to the first record, as frames for a capture: SYNs and handshake.

    `sequence`, `peer_sequence`: TCP sequence numbers of the first bytes behind the handshake, ours
    and the far end's. `ports`: ours and the far end's. Addresses as in `traffic.tcp_layers`. TCP
    checksums are left zero.
    """
    lengths = [sum(len(f.data) for f in flights if f.from_us is mine) for mine in (True, False)]
    at = {True: sequence - lengths[0], False: peer_sequence - lengths[1]}
    macs = {True: PEER_MAC + nic_mac, False: nic_mac + PEER_MAC}

    def frame(from_us: bool, flags: int, payload: bytes = b"", back: int = 0) -> bytes:
        here, there = ports if from_us else ports[::-1]
        tcp = here.to_bytes(2, "big") + there.to_bytes(2, "big")
        tcp += (at[from_us] - back & 0xFFFF_FFFF).to_bytes(4, "big")
        tcp += (at[not from_us] & 0xFFFF_FFFF).to_bytes(4, "big")
        tcp += bytes([0x50, flags, 0xFF, 0xFF, 0, 0, 0, 0]) + payload
        return macs[from_us] + _ip_header(ip, from_us, len(tcp)) + tcp

    syn, ack, push = 0x02, 0x10, 0x18
    frames = [frame(True, syn, back=1), frame(False, syn | ack, back=1), frame(True, ack)]
    for from_us, data in flights:
        for start in range(0, len(data), segment_bytes):
            part = data[start : start + segment_bytes]
            frames.append(frame(from_us, push, part))
            at[from_us] += len(part)
    return frames


def _ip_header(ip: str, from_us: bool, size_bytes: int) -> bytes:
    """Ethertype and IP header of a TCP segment between card and far end."""
    family = socket.AF_INET if ip == "IP" else socket.AF_INET6
    addresses = (IP4_NIC, IP4_PEER) if ip == "IP" else (IP6_NIC, IP6_PEER)
    ends = [socket.inet_pton(family, text) for text in addresses[:: 1 if from_us else -1]]
    if ip != "IP":
        return b"\x86\xdd\x60\0\0\0" + size_bytes.to_bytes(2, "big") + b"\x06\x40" + b"".join(ends)
    head = b"\x45\0" + (20 + size_bytes).to_bytes(2, "big") + b"\0\0\x40\0\x40\x06"
    words = head + b"".join(ends)
    total = sum(int.from_bytes(words[n : n + 2], "big") for n in range(0, len(words), 2))
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return b"\x08\0" + head + (total ^ 0xFFFF).to_bytes(2, "big") + b"".join(ends)
