"""Connections whose handshake goes over the wire, with an OpenSSL socket on the host at the other end."""

from __future__ import annotations

import hashlib
from pathlib import Path

from harness.ktls import Line, Network
from tlsnic.abi.enums import CipherSuite
from tlsnic.driver.ktls.session import IPPROTO_TCP, TLS_RLTYPE_ALERT, TLS_SET_RECORD_TYPE
from tlsnic.driver.tls.handshake import Handshake, make_context
from tlsnic.qemu.peer.data import numbered

SUITES = {
    "1.2": CipherSuite.TLS12_AES_128_GCM,
    "1.3": CipherSuite.TLS13_AES_128_GCM
    | CipherSuite.TLS13_AES_256_GCM
    | CipherSuite.TLS13_CHACHA20_POLY1305,
}
_APPLICATION_DATA, _HANDSHAKE = 23, 22
_PIECE_BYTES = 60_000


def to_server(one: Network, version: str, *, ipv6: bool = False) -> Line:
    """We are the client; the host's certificate is verified. TLS is on in both directions."""
    line = one.serve(version, ipv6=ipv6)
    offer = one.far("certificate")
    context = make_context(server_side=False, suites=SUITES[version])
    context.load_verify_locations(cadata=offer["certificate"])
    _shake(line, Handshake(context, server_side=False, server_hostname=offer["name"]))
    return line


def from_client(one: Network, version: str, folder: Path) -> Line:
    """The host is the client, and verifies ours. folder: for the certificate."""
    offer = one.far("certificate")
    paths = [folder / "certificate", folder / "key"]
    for path, what in zip(paths, ("certificate", "key"), strict=True):
        path.write_text(offer[what])
    context = make_context(server_side=True, suites=SUITES[version])
    context.load_cert_chain(*paths)
    line = one.await_client(version)
    _shake(line, Handshake(context, server_side=True))
    return line


def _shake(line: Line, handshake: Handshake) -> None:
    while True:
        if data := handshake.pending():
            line.so.write(data)
        if handshake.done:
            break
        # A record at a time: what comes behind the handshake is for the socket buffer.
        header = line.read(5)
        handshake.receive(header + line.read(int.from_bytes(header[3:5], "big")))
    assert not handshake.take_surplus()
    line.flush()
    line.enable_tx(handshake.transmit_session())
    line.enable_rx(handshake.receive_session())
    handshake.close()


class Exchange:
    """Data both ways at once: `count` numbered blocks each. `handshake_records`: records of the
    handshake protocol that came in between (tickets, key updates)."""

    def __init__(self, line: Line, block: bytes, count: int) -> None:
        self.line = line
        self.handshake_records = 0
        self._data = memoryview(b"".join(numbered(block, count)))
        self._expected = hashlib.sha256(self._data).hexdigest()
        self._block, self._count = block, count
        self._written = 0
        self._read = 0
        self._kind = _APPLICATION_DATA
        self._digest = hashlib.sha256()

    def run(self, timeout_s: float = 40.0) -> None:
        """All of it; OpenSSL has read what we wrote, and we what it wrote."""
        line, size = self.line, len(self._data)
        network = line.network
        network.far("send", token=line.token, block=self._block, count=self._count)
        with line.not_blocking():
            network.run(self._is_done, "everything was sent and read", timeout_s)
        state = network.far("state", token=line.token, count=size, wait_s=20.0)
        assert state["error"] == ""
        assert (state["bytes"], state["sha256"]) == (size, self._expected)
        assert self._digest.hexdigest() == self._expected

    def _is_done(self) -> bool:
        line, size = self.line, len(self._data)
        if self._written < size and line.so.so_snd.sbspace() > _PIECE_BYTES:
            piece = self._data[self._written : self._written + _PIECE_BYTES]
            self._written += line.so.write(piece)
        while line.so.so_rcv.sbavail():
            message = line.so.recvmsg(1 << 17)
            if message.control is not None:
                self._kind = message.control.tls_type
                self.handshake_records += self._kind == _HANDSHAKE
            if self._kind == _APPLICATION_DATA:
                self._digest.update(message.data)
                self._read += len(message.data)
        return self._written == self._read == size and not line.so.so_snd.sbused()


def end(line: Line) -> None:
    """close_notify both ways, and both streams end."""
    alert = [(IPPROTO_TCP, TLS_SET_RECORD_TYPE, bytes([TLS_RLTYPE_ALERT]))]
    line.so.sendmsg([b"\1\0"], alert)
    network = line.network
    ended = {"ended": True, "error": ""}
    network.run(
        lambda: ended.items() <= network.far("state", token=line.token, wait_s=0.05).items(),
        "OpenSSL has read our close_notify",
    )
    line.far_send(b"", end=True)
    line.so.shutdown()
    while not (message := line.so.recvmsg(1 << 16)).at_end:
        if message.control is not None and message.control.tls_type == TLS_RLTYPE_ALERT:
            assert message.data == b"\1\0"
