"""TLS handshakes by OpenSSL, through Python's ssl, whose record layer is then taken over.

The card and the software fallback protect records; they do not make handshakes. `Handshake` lets
OpenSSL make one over memory buffers, and says what both directions go on with: keys, IV and record
number. It sees every record on its way in and out, which tells where in the TCP streams the records
of the next owner begin. Secrets come through a key log in anonymous memory.

No sockets: bytes go in by `receive` and out by `pending`.
"""

from __future__ import annotations

import contextlib
import ssl
import warnings
from typing import Final

from tlsnic.abi.enums import CipherSuite
from tlsnic.abi.suites import BLOCK_BYTES, HEADER_BYTES, MAX_PLAINTEXT, SUITES, RecordKind
from tlsnic.driver.errors import DriverError
from tlsnic.driver.tls import key_schedule
from tlsnic.driver.tls.ciphers import openssl_names, suite_of
from tlsnic.driver.tls.hello import (
    CLIENT_HELLO,
    EXTENSION_ENCRYPT_THEN_MAC,
    EXTENSION_MAX_FRAGMENT_LENGTH,
    SERVER_HELLO,
    Hello,
    HelloReader,
    MalformedHelloError,
)
from tlsnic.driver.tls.key_log import KeyLog
from tlsnic.driver.tls.session import TlsSession

_CHANGE_CIPHER_SPEC: Final = 20
_APPLICATION_DATA: Final = 23
_RECORD_TYPES: Final = range(20, 25)
_MAX_RECORD: Final = MAX_PLAINTEXT + 2048  # RFC 5246 section 6.2.3
_KEY_UPDATE: Final = 24
_OP_NO_ENCRYPT_THEN_MAC: Final = 1 << 19  # SSL_OP_NO_ENCRYPT_THEN_MAC, which ssl does not name
_VERSIONS: Final = {
    0x0301: ssl.TLSVersion.TLSv1,
    0x0302: ssl.TLSVersion.TLSv1_1,
    0x0303: ssl.TLSVersion.TLSv1_2,
    0x0304: ssl.TLSVersion.TLSv1_3,
}
_NUMBERS: Final = {"TLSv1": 0x0301, "TLSv1.1": 0x0302, "TLSv1.2": 0x0303, "TLSv1.3": 0x0304}


class HandshakeError(DriverError):
    """The handshake failed, or agreed on something that the interface does not have."""


def make_context(
    *,
    server_side: bool,
    suites: CipherSuite,
    key_bytes: int | None = None,
    encrypt_then_mac: bool | None = None,
) -> ssl.SSLContext:
    """A context that agrees on versions and cipher suites of `suites`; certificates are up to you.

    `key_bytes` picks one of two key lengths. Python's ssl cannot choose among the suites of
    TLS 1.3: all of OpenSSL's are offered, and the peer or an OpenSSL configuration (OPENSSL_CONF,
    `Ciphersuites`) decides. TLS 1.0 and 1.1 need security level 0, which is set for them.
    `encrypt_then_mac`: whether CBC suites may have it; by default where the interface lists it,
    with TLS 1.2, so not when older versions are to be agreed on.
    Raises ValueError when `suites` has none, and ssl.SSLError when OpenSSL has none of them.
    """
    versions = sorted({layout.version for bit, layout in SUITES.items() if suites & bit})
    if not versions:
        raise ValueError("no cipher suite to agree on")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server_side else ssl.PROTOCOL_TLS_CLIENT)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of TLS 1.0 and 1.1, which are meant
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.maximum_version = _VERSIONS[versions[-1]]
        context.minimum_version = _VERSIONS[versions[0]]
    older = [name for name in openssl_names(suites, key_bytes) if not name.startswith("TLS_")]
    if older:
        level = "@SECLEVEL=0:" if versions[0] < 0x0303 else ""
        context.set_ciphers(level + ":".join(older))
    if encrypt_then_mac is None:
        encrypt_then_mac = versions[0] >= 0x0303
    if not encrypt_then_mac:
        context.options |= _OP_NO_ENCRYPT_THEN_MAC
    return context


def key_update_message(*, request_peer: bool = False) -> bytes:
    """A KeyUpdate, 5 bytes, to be sent as a handshake record (22) under the old key.

    `request_peer`: the peer is to update its own key too. RFC 8446 section 4.6.3.
    """
    return bytes([_KEY_UPDATE, 0, 0, 1, request_peer])


class Handshake:
    """One handshake, up to where somebody else goes on with the records.

    Hand what the peer sends to `receive`, and what `pending` returns to the peer, until `done`.
    Then send the rest of `pending`, and go on at byte `sent_bytes` of the stream to the peer with
    `transmit_session`, and at byte `received_bytes` of the stream from it with `receive_session`.

    A server of TLS 1.3 may still send NewSessionTicket messages, and any peer of TLS 1.3 a
    KeyUpdate: these are handshake records (22) for the next owner to take.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        *,
        server_side: bool,
        server_hostname: str | None = None,
        suites: CipherSuite | None = None,
    ) -> None:
        """`suites`: fail when the result is none of these, since TLS 1.3 cannot be told before.

        A context serves one handshake at a time; it is free again when `done`, after a failure, or
        after `close`, which a handshake that is given up needs.
        Raises HandshakeError while it is in use, ValueError and ssl.SSLError as
        `SSLContext.wrap_bio`.
        """
        self.server_side = server_side
        self.done = False
        self.sent_bytes = 0
        """What OpenSSL has put on the stream to the peer, `pending` included."""
        self.received_bytes = 0
        """What OpenSSL has taken from the stream."""
        self.suite = CipherSuite(0)
        """One bit, when `done`."""
        self.key_bytes = 0
        self.encrypt_then_mac = False
        self.max_plaintext = MAX_PLAINTEXT
        """Smaller when the client asked for max_fragment_length (RFC 6066 section 4)."""
        self._wanted = suites
        self._failed = False
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._client, self._server = _Direction(CLIENT_HELLO), _Direction(SERVER_HELLO)
        self._out, self._in = self._client, self._server
        if server_side:
            self._out, self._in = self._server, self._client
        self._buffer = bytearray()
        self._pending = bytearray()
        try:
            self._key_log = KeyLog(context)
        except BlockingIOError as error:
            raise HandshakeError(str(error)) from None
        try:
            self._object = context.wrap_bio(
                self._incoming,
                self._outgoing,
                server_side=server_side,
                server_hostname=server_hostname,
            )
            self._step()
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        side = "server" if self.server_side else "client"
        state = self.suite.name if self.done else "failed" if self._failed else "in progress"
        return f"<Handshake {side} {state}>"

    def receive(self, data: bytes) -> None:
        """Bytes from the peer. What comes after the handshake is kept for `take_surplus`.

        Raises HandshakeError when the handshake fails; `pending` then has the alert for the peer.
        """
        if self._failed:
            raise HandshakeError("this handshake has failed")
        self._buffer += data
        # One record at a time, so that OpenSSL never takes what belongs to the next owner.
        while not self.done and (size := _next_record(self._buffer)):
            record = bytes(self._buffer[:size])
            del self._buffer[:size]
            self.received_bytes += size
            self._in.feed(record)
            self._incoming.write(record)
            self._step()

    def pending(self) -> bytes:
        """Bytes for the peer; they are handed out once."""
        data = bytes(self._pending)
        self._pending.clear()
        return data

    def take_surplus(self) -> bytes:
        """Bytes received behind the handshake: the beginning of the stream of records."""
        if not self.done:
            return b""
        data = bytes(self._buffer)
        self._buffer.clear()
        return data

    def transmit_session(self) -> TlsSession:
        """What the next record to the peer is protected with. Raises HandshakeError unless done."""
        return self._session(self._out)

    def receive_session(self) -> TlsSession:
        """What the next record from the peer is protected with. Raises as `transmit_session`."""
        return self._session(self._in)

    def next_transmit_session(self) -> TlsSession:
        """The same after a KeyUpdate of ours. Each call moves on by one; TLS 1.3 only.

        Raises HandshakeError with another version and unless done.
        """
        return self._update(self._out)

    def next_receive_session(self) -> TlsSession:
        """The same after a KeyUpdate of the peer. As `next_transmit_session`."""
        return self._update(self._in)

    def close(self) -> None:
        """Wipe the secrets and free the context. Sessions that were handed out stay valid."""
        self._key_log.close()
        for direction in (self._out, self._in):
            direction.wipe()

    # What OpenSSL does

    def _step(self) -> None:
        """Let OpenSSL go on as far as it can."""
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            self._drain()
            return
        except ssl.SSLError as error:
            self._drain()
            self._fail()
            raise HandshakeError(f"the handshake failed: {error}") from error
        tickets = self._drain()
        try:
            self._finish(tickets)
        except HandshakeError:
            self._fail()
            raise

    def _drain(self) -> int:
        """Take what OpenSSL wrote; how many records of type application data that was."""
        data = bytearray(self._outgoing.read())
        self._pending += data
        self.sent_bytes += len(data)
        count = 0
        while size := _next_record(data):
            count += data[0] == _APPLICATION_DATA
            self._out.feed(bytes(data[:size]))
            del data[:size]
        return count

    def _fail(self) -> None:
        self._failed = True
        self.close()

    def _finish(self, written: int) -> None:
        """`written`: application-data records of OpenSSL's last step."""
        client_hello, server_hello = self._client.hello, self._server.hello
        version = _NUMBERS.get(self._object.version() or "", 0)
        try:
            suite, self.key_bytes = suite_of(server_hello.cipher, version)
        except LookupError:
            number = server_hello.cipher
            raise HandshakeError(f"cipher suite {number:#06x} cannot be offloaded") from None
        if self._wanted is not None and not suite & self._wanted:
            raise HandshakeError(
                f"the peers agreed on {suite.name}: the peer chooses among the suites of TLS 1.3, "
                "or Ciphersuites in the file that OPENSSL_CONF names"
            )
        self.encrypt_then_mac = (
            SUITES[suite].kind is RecordKind.CBC
            and EXTENSION_ENCRYPT_THEN_MAC in server_hello.extensions
        )
        if self.encrypt_then_mac and not SUITES[suite].explicit_bytes:
            raise HandshakeError(f"encrypt-then-MAC with {suite.name} cannot be offloaded")
        # OpenSSL's server takes what the client asks for. Where the answer is encrypted (TLS 1.3)
        # we cannot see it as a client, but then we never ask: Python's ssl has no way to.
        asked = client_hello if self.server_side else server_hello
        code = asked.extensions.get(EXTENSION_MAX_FRAGMENT_LENGTH, b"")
        if len(code) == 1:
            self.max_plaintext = 256 << code[0]
        names = ("CLIENT_RANDOM", "CLIENT_RANDOM")
        if SUITES[suite].is_tls13:
            names = ("CLIENT_TRAFFIC_SECRET_0", "SERVER_TRAFFIC_SECRET_0")
            self._client.records = self._server.records = 0
            if self.server_side:  # tickets; the last records of a client are its Finished
                self._out.records = written
        try:
            secrets = self._key_log.secrets(client_hello.random, names)
        except KeyError:
            raise HandshakeError("OpenSSL did not log the secrets of the handshake") from None
        self._client.secret, self._server.secret = secrets
        self._key_log.close()
        self.suite = suite
        self.done = True

    # What follows from it

    def _session(self, direction: _Direction) -> TlsSession:
        secret = self._secret(direction)
        layout = SUITES[self.suite]
        if layout.is_tls13:
            keys = key_schedule.traffic_keys(self.suite, bytes(secret))
        else:
            randoms = self._client.hello.random, self._server.hello.random
            keys = key_schedule.connection_keys(
                self.suite, self.key_bytes, bytes(secret), *randoms
            )[direction is self._server]
        iv = keys.iv
        if layout.kind is RecordKind.CBC and layout.iv_bytes:
            iv = direction.last_block
        return TlsSession(
            suite=self.suite,
            key=keys.key,
            iv=iv,
            mac_key=keys.mac_key,
            encrypt_then_mac=self.encrypt_then_mac,
            record_number=direction.records,
            max_plaintext=self.max_plaintext,
        )

    def _update(self, direction: _Direction) -> TlsSession:
        secret = self._secret(direction)
        if not SUITES[self.suite].is_tls13:
            raise HandshakeError("only TLS 1.3 has key updates")
        secret[:] = key_schedule.next_traffic_secret(self.suite, bytes(secret))
        direction.records = 0
        return self._session(direction)

    def _secret(self, direction: _Direction) -> bytearray:
        if not self.done or not direction.secret:
            raise HandshakeError("the handshake is closed" if self.done else "it is not done yet")
        return direction.secret


class _Direction:
    """The records of one direction during the handshake, and the secret behind later ones."""

    def __init__(self, hello_kind: int) -> None:
        self._reader = HelloReader(hello_kind)
        self._protected = False
        self._last = b""
        self.records = 0
        """So far, under the key that later records have: from ChangeCipherSpec on, until TLS 1.3
        turns out to be spoken."""
        self.secret = bytearray()

    def feed(self, record: bytes) -> None:
        """The next record, with its header."""
        kind, self._last = record[0], record[HEADER_BYTES:]
        if self._protected:
            self.records += 1
        elif kind == _CHANGE_CIPHER_SPEC and self._reader.hello is not None:
            self._protected = True
        else:
            with contextlib.suppress(MalformedHelloError):  # OpenSSL will say so
                self._reader.feed(kind, self._last)

    @property
    def hello(self) -> Hello:
        """The hello of this direction. Raises HandshakeError when there was none."""
        if self._reader.hello is None:
            raise HandshakeError("the handshake had no hello message")
        return self._reader.hello

    @property
    def last_block(self) -> bytes:
        """Last block of ciphertext so far, without encrypt-then-MAC."""
        return self._last[-BLOCK_BYTES:]

    def wipe(self) -> None:
        self.secret[:] = bytes(len(self.secret))
        self.secret = bytearray()


def _next_record(buffer: bytearray) -> int:
    """Bytes of the first record in `buffer`, 0 while it is not whole.

    All of `buffer` when that does not begin like a record: OpenSSL then says what is wrong.
    """
    if len(buffer) < HEADER_BYTES:
        return 0
    size = int.from_bytes(buffer[3:HEADER_BYTES], "big")
    if buffer[0] not in _RECORD_TYPES or size > _MAX_RECORD:
        return len(buffer)
    end = HEADER_BYTES + size
    return end if len(buffer) >= end else 0
