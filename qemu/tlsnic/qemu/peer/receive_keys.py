"""The search for keys of `keys`, for receive flows: their records come over a Unix socket."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

from tlsnic.abi.enums import CipherSuite, Offload, TlsRxState
from tlsnic.driver.bus.vfio_user import VfioUserBus
from tlsnic.driver.nic import Nic
from tlsnic.driver.tls.framing import APPLICATION_DATA, Framer
from tlsnic.driver.tls.receive_tag import ReceiveTag
from tlsnic.driver.tls.session import TlsSession
from tlsnic.driver.tls.software import SoftwareTls
from tlsnic.qemu.peer import memory
from tlsnic.qemu.peer.checks import SMALL, CheckFailed, expect_clean, hang_up, open_client
from tlsnic.qemu.peer.device import DeviceProcess
from tlsnic.qemu.peer.keys import ADDRESS, START, TIMEOUT_S, make_session, soft_reset, wanted_of

_TCP = struct.Struct("!HHIIBBHHH")


def received_secrets(
    directory: Path, *, seed: int, hows: Sequence[str], suites: Sequence[str]
) -> dict[str, object]:
    """Keys of a receive flow that was used are nowhere in the device's memory or log afterwards.

    As `keys.secrets`; "rekey" is one new key, which the stream has reached.
    """
    rng = random.Random(seed)
    path = directory / f"check-{seed}.wire"
    with (
        DeviceProcess(directory, f"unix-listen:{path}", name=f"check-{seed}") as device,
        socket.socket(socket.AF_UNIX) as wire,
    ):
        wire.settimeout(TIMEOUT_S)
        wire.connect(str(path))
        for how in hows:
            for name in suites:
                found = _one_life(device, wire, make_session(CipherSuite[name], rng), how)
                if found:
                    raise CheckFailed(f"still in the device after {how}, {name}: {sorted(found)}")
    return {"hows": list(hows), "suites": list(suites)}


def _one_life(
    device: DeviceProcess, wire: socket.socket, session: TlsSession, how: str
) -> set[str]:
    """A client that has a flow, and then does `how`; what is left of the flow's keys.

    Raises CheckFailed when keys are where they must never be, or the search proves nothing.
    """
    wanted = wanted_of(session)
    with contextlib.closing(open_client(device.socket_path)) as bus:
        nic = Nic.attach(bus, SMALL)
        nic.offloads = Offload.RX_CHECKSUM | Offload.RX_TLS
        tag = nic.rcv_tag_alloc(session, ADDRESS, START)
        shared = memory.find(device.child.pid, wanted, shared_only=True)
        if shared:
            raise CheckFailed(f"still in DMA memory once the flow is made: {sorted(shared)}")
        stream = _Stream(nic, wire, session)
        # Whole, and a last one in pieces, of which one is still to come.
        for size, kept in ((300, 0), (400, 0), (500, 200)):
            stream.bring(size, kept)
        if "key" not in memory.find(device.child.pid, wanted):
            raise CheckFailed("the search does not find the key in use, so it proves nothing")
        if how == "disconnect":
            hang_up(bus, "between messages")
        else:
            _DEEDS[how](bus, stream, tag)
            found = memory.find(device.child.pid, wanted)
            if found:
                return found
    expect_clean(device, "after the client with a key")
    log = device.log()
    for name, secret in wanted.items():
        if secret.hex() in log.lower() or repr(secret)[2:-1] in log:
            raise CheckFailed(f"{name} is in the device's log")
    return memory.find(device.child.pid, wanted)


class _Stream:
    """The far end of the connection: records that arrive in order."""

    def __init__(self, nic: Nic, wire: socket.socket, session: TlsSession) -> None:
        self.nic = nic
        self._wire = wire
        self.sequence = START
        self._left = b""
        self.use(session)

    def use(self, session: TlsSession) -> None:
        """Records to come have these keys."""
        self._framer, self._software = Framer(session), SoftwareTls(session)

    def bring(self, size: int, kept: int = 0) -> None:
        """A record of so many bytes of plaintext arrives, but for its last `kept` bytes on the wire;
        CheckFailed unless it is decrypted."""
        record = self._software.encrypt(self._framer.frame(APPLICATION_DATA, bytes(size)))
        payload = self._left + record
        cut = len(payload) - kept
        self._left = payload[cut:]
        frame = _frame(self.nic.mac_address, self.sequence, payload[:cut])
        self.sequence += cut
        self._wire.sendall(len(frame).to_bytes(4, "big") + frame)
        packet = self.nic.receive(TIMEOUT_S)
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


def _rekey(_bus: VfioUserBus, stream: _Stream, tag: ReceiveTag) -> None:
    stream.bring(100)
    session = make_session(tag.session.suite, random.Random("rekey"))
    tag.modify_rekey(session, stream.sequence)
    stream.use(session)
    stream.bring(100)


_DEEDS: dict[str, Callable[[VfioUserBus, _Stream, ReceiveTag], None]] = {
    "destroy": lambda _bus, _stream, tag: tag.free(TIMEOUT_S),
    "rekey": _rekey,
    "soft": lambda bus, _stream, _tag: soft_reset(bus),
    "function": lambda bus, _stream, _tag: bus.flr(),
    "vfio": lambda bus, _stream, _tag: bus.reset(),
}
