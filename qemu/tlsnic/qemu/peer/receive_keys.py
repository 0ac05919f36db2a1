"""The search for keys that stay in a device, for receive flows: records come over a Unix socket."""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Sequence
from pathlib import Path

from tlsnic.abi.enums import Offload, TlsRxState
from tlsnic.driver.nic import Nic
from tlsnic.driver.tls.framing import APPLICATION_DATA, Framer
from tlsnic.driver.tls.session import TlsSession
from tlsnic.driver.tls.software import SoftwareTls
from tlsnic.qemu.peer.checks import CheckFailed
from tlsnic.qemu.peer.device import DeviceProcess
from tlsnic.qemu.peer.key_search import ADDRESS, START, TIMEOUT_S, make_session, search

_TCP = struct.Struct("!HHIIBBHHH")


def received_secrets(
    directory: Path, *, seed: int, hows: Sequence[str], suites: Sequence[str]
) -> dict[str, object]:
    """As `key_search.search`; "rekey" is one new key, which the stream has reached."""
    path = directory / f"check-{seed}.wire"
    with (
        DeviceProcess(directory, f"unix-listen:{path}", name=f"check-{seed}") as device,
        socket.socket(socket.AF_UNIX) as wire,
    ):
        wire.settimeout(TIMEOUT_S)
        wire.connect(str(path))
        return search(
            device,
            lambda nic, session: _Receiver(nic, wire, session),
            seed=seed,
            hows=hows,
            suites=suites,
        )


class _Receiver:
    """A receive flow, and the far end of its connection: records that arrive in order."""

    def __init__(self, nic: Nic, wire: socket.socket, session: TlsSession) -> None:
        self._nic = nic
        self._wire = wire
        self._sequence = START
        self._left = b""
        nic.offloads = Offload.RX_CHECKSUM | Offload.RX_TLS
        self._tag = nic.rcv_tag_alloc(session, ADDRESS, START)
        self._switch(session)

    def use(self) -> None:
        """Each is decrypted as it comes."""
        for size, kept in ((300, 0), (400, 0), (500, 200)):
            self._bring(size, kept)

    def rekey(self) -> None:
        """With a record of each key."""
        self._bring(100)
        session = make_session(self._tag.session.suite, random.Random("rekey"))
        self._tag.modify_rekey(session, self._sequence)
        self._switch(session)
        self._bring(100)

    def destroy(self) -> None:
        """By free."""
        self._tag.free(TIMEOUT_S)

    def _switch(self, session: TlsSession) -> None:
        """Records to come have these keys."""
        self._framer, self._software = Framer(session), SoftwareTls(session)

    def _bring(self, size: int, kept: int = 0) -> None:
        """A record of so many bytes of plaintext arrives, but for its last `kept` bytes on the wire;
        CheckFailed unless it is decrypted."""
        record = self._software.encrypt(self._framer.frame(APPLICATION_DATA, bytes(size)))
        payload = self._left + record
        cut = len(payload) - kept
        self._left = payload[cut:]
        frame = _frame(self._nic.mac_address, self._sequence, payload[:cut])
        self._sequence += cut
        self._wire.sendall(len(frame).to_bytes(4, "big") + frame)
        packet = self._nic.receive(TIMEOUT_S)
        if packet is None or packet.tls_state != TlsRxState.DECRYPTED:
            raise CheckFailed(f"a packet was not decrypted: {packet and packet.tls_state}")


def _frame(mac: bytes, sequence: int, payload: bytes) -> bytes:
    ends = ADDRESS.remote_address + ADDRESS.local_address
    ports = ADDRESS.remote_port, ADDRESS.local_port
    tcp = _TCP.pack(*ports, sequence, 1, 0x50, 0x10, 0xFFFF, 0, 0) + payload
    tcp = _summed(tcp, 16, ends + struct.pack("!HH", 6, len(tcp)))
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 1, 0x4000, 64, 6, 0) + ends
    return mac + bytes.fromhex("02746c73ff01 0800") + _summed(ip, 10) + tcp


def _summed(data: bytes, at: int, pseudo: bytes = b"") -> bytes:
    """`data` with its RFC 1071 checksum at `at`."""
    covered = pseudo + data
    total = int.from_bytes(covered + b"\0" * (len(covered) & 1), "big") % 0xFFFF
    return data[:at] + (~total & 0xFFFF).to_bytes(2, "big") + data[at + 2 :]
