"""The network of the KTLS tests: a switch with three ports, which looks at all frames.

Two are the cards: the one under test, whose wire ends in this process, and the one on the TAP of
`Traffic`. The third is a TAP with the host's stack behind it. The switch learns addresses as any
does; it can lose frames, and put the host into a VLAN.
"""

from __future__ import annotations

import contextlib
import os
import random
import select
import socket
import struct
import threading
from collections.abc import Sequence

from tlsnic.qemu.netns import Netns
from tlsnic.qemu.peer.data import VLAN_ID
from tlsnic.qemu.peer.traffic import TAP, Traffic
from tlsnic.qemu.peer.wire_end import FarEnd

HOST_TAP = "host0"
HOST4, HOST6 = "10.73.86.1/24", "fd74:6c73:86::1/64"
_HOST = 2  # its port; the cards are 0 and 1
_VLAN_TAG = b"\x81\0" + VLAN_ID.to_bytes(2, "big")
_GROUP = 1  # in the first byte of an address
_VNET_BYTES = 10  # struct virtio_net_hdr, which says what the kernel has left to be done
_NO_VNET = bytes(_VNET_BYTES)
# linux/if_packet.h
_SOL_PACKET, _ETH_P_ALL = 263, 3
_PACKET_AUXDATA, _PACKET_VNET_HDR, _PACKET_STATISTICS, _PACKET_IGNORE_OUTGOING = 8, 15, 6, 23
_AUXDATA = struct.Struct("=IIIHHHH")
_TP_STATUS_VLAN_VALID = 1 << 4
_SO_RCVBUFFORCE = 33
_CAPTURE_BYTES = 64 << 20
_FRAME_BYTES = 1 << 17
_FRAMES_PER_TURN = 256
_FRAMES_KEPT = 20_000
_DATA_BYTES = 600  # frames with at least so many bytes have payload of a transfer


class FarNetwork:
    """The switch; it has a thread between `join` and `part`."""

    def __init__(self, far_end: FarEnd, traffic: Traffic) -> None:
        self._far_end = far_end
        self._traffic = traffic
        self._thread: threading.Thread | None = None
        self._stop_fd = self._host_fd = -1
        self._port: socket.socket | None = None  # of card 1
        self._is_unplugged = False  # card 0
        self._is_down = False  # card 1
        self._lock = threading.Lock()
        # All below is guarded by _lock.
        self._forget()

    def _forget(self) -> None:
        self._windows: list[bytes] = []
        self._frames: list[tuple[int, bytes]] = []
        self._counts, self._bytes = [0, 0], [0, 0]
        self._leaks: list[str] = []
        self._learned: dict[bytes, int] = {}
        self._steered: dict[bytes, int] = {}
        self._vlan = False
        self._loss = (0.0, 0.0)
        self._random = random.Random(0)
        self._to_drop: set[int] = set()
        self._data_frames = self._lost = 0

    # Set-up

    def join(self, *, windows: Sequence[bytes], vlan: bool = False) -> dict[str, object]:
        """Connect all three. No frame at a card may have one of `windows` in it. vlan: the frames
        of the cards have the tag of VLAN_ID."""
        self.part()
        with self._lock:
            self._forget()
            self._windows, self._vlan = list(windows), vlan
        namespace = self._traffic.namespace
        if self._host_fd < 0:
            namespace.add_tap(HOST_TAP, addresses=(HOST4, HOST6), vnet_hdr=True)
            self._host_fd = namespace.open_tap(HOST_TAP, vnet_hdr=True)
            # It shall answer for its own address only, not for that of the new TAP.
            namespace.set_sysctl(f"ipv4/conf/{TAP}/arp_ignore", 1)
        self._drain_host()
        self._port = _open_port(namespace)
        self._stop_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="tlsnic-switch", daemon=True)
        self._thread.start()
        self._far_end.divert(self._from_card_0)
        return {"host4": HOST4, "host6": HOST6, "vlan_id": VLAN_ID}

    def part(self) -> None:
        """Undo `join`; harmless without it."""
        if self._thread is None:
            return
        self._far_end.divert(None)
        if self._is_unplugged:
            self.set_link(card=0, up=True)
        os.eventfd_write(self._stop_fd, 1)
        self._thread.join()
        self._thread = None
        os.close(self._stop_fd)
        if self._port is not None:
            self._port.close()
        if self._is_down:
            self.set_link(card=1, up=True)

    def _drain_host(self) -> None:
        with contextlib.suppress(OSError):
            while os.read(self._host_fd, _FRAME_BYTES):
                pass

    # What happens to frames

    def lose(self, *, to_card: float = 0.0, from_card: float = 0.0, seed: int = 0) -> None:
        """Lose frames of the cards at these rates, after they were looked at."""
        with self._lock:
            self._random = random.Random(seed)
            self._loss = (to_card, from_card)

    def drop(self, *, indices: Sequence[int]) -> None:
        """Lose just these of the frames with data to a card, counted from now on."""
        with self._lock:
            self._data_frames = 0
            self._to_drop = set(indices)

    def steer(self, *, mac: bytes, card: int) -> None:
        """Send what is for `mac` to one card from now on, whatever is learned."""
        with self._lock:
            self._steered[mac] = card

    def set_link(self, *, card: int, up: bool) -> None:
        """Unplug a card, or plug it in again."""
        if card:
            self._is_down = not up
            self._traffic.namespace.ip("link", "set", TAP, "up" if up else "down")
        else:
            self._is_unplugged = not up
            self._far_end.set_link(up=up)

    def watched(self) -> dict[str, object]:
        """Frames and their bytes at each card since `join`, how many frames were lost, and where
        plaintext was found. The card on the TAP has super-frames."""
        with self._lock:
            self._look()
            leaks = self._leaks[:5]
            port = self._port
            assert port is not None
            missed = struct.unpack("=II", port.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))[1]
            if missed:
                leaks.append(f"{missed} frames were not looked at")
            return {
                "frames": list(self._counts),
                "bytes": list(self._bytes),
                "lost": self._lost,
                "leaks": leaks,
            }

    # The switch

    def _run(self) -> None:
        port, host = self._port, self._host_fd
        assert port is not None
        poller = select.poll()
        for fd in (port.fileno(), host, self._stop_fd):
            poller.register(fd, select.POLLIN)
        while True:
            for fd, _ in poller.poll():
                if fd == self._stop_fd:
                    return
                if fd == host:
                    self._from_host()
                else:
                    self._from_card_1(port)

    def _from_host(self) -> None:
        for _ in range(_FRAMES_PER_TURN):
            try:
                frame = os.read(self._host_fd, _FRAME_BYTES)
            except OSError:
                return
            # Its stack leaves nothing to be done: nobody has asked it to (TUNSETOFFLOAD).
            self._switch(_HOST, frame[_VNET_BYTES:], _NO_VNET)

    def _from_card_0(self, frame: bytes) -> None:
        """In the thread of its wire, whose lock is held."""
        untagged = self._untagged(frame)
        if untagged is not None:
            self._switch(0, untagged, _NO_VNET)

    def _from_card_1(self, port: socket.socket) -> None:
        for _ in range(_FRAMES_PER_TURN):
            try:
                data, control, _, _ = port.recvmsg(_FRAME_BYTES, socket.CMSG_SPACE(_AUXDATA.size))
            except OSError:
                return
            # The kernel takes VLAN tags off.
            tci = -1
            for _, kind, raw in control:
                if kind == _PACKET_AUXDATA:
                    status, _, _, _, _, number, _ = _AUXDATA.unpack(raw[: _AUXDATA.size])
                    tci = number & 0xFFF if status & _TP_STATUS_VLAN_VALID else -1
            if tci == (VLAN_ID if self._vlan else -1):
                self._switch(1, data[_VNET_BYTES:], data[:_VNET_BYTES])

    def _untagged(self, frame: bytes) -> bytes | None:
        """The frame without its tag; None when it is not of the host's VLAN."""
        if not self._vlan:
            return None if frame[12:14] == _VLAN_TAG[:2] else frame
        return frame[:12] + frame[16:] if frame[12:16] == _VLAN_TAG else None

    def _switch(self, source: int, frame: bytes, vnet: bytes) -> None:
        with self._lock:
            targets = [target for target in self._targets(source, frame) if target != source]
            if source != _HOST:
                self._see(source, frame)
                if self._is_lost(frame, self._loss[1]):
                    return
            kept = []
            for target in targets:
                if target != _HOST:
                    self._see(target, frame)
                    if self._is_dropped(frame) or self._is_lost(frame, self._loss[0]):
                        continue
                kept.append(target)
        for target in kept:
            self._put(target, frame, vnet)

    def _targets(self, source: int, frame: bytes) -> Sequence[int]:
        destination, sender = frame[:6], frame[6:12]
        self._learned[sender] = source
        if destination[0] & _GROUP:
            return (0, 1, _HOST)
        target = self._steered.get(destination, self._learned.get(destination, -1))
        return (0, 1, _HOST) if target < 0 else (target,)

    def _put(self, target: int, frame: bytes, vnet: bytes) -> None:
        with contextlib.suppress(OSError):  # it is full, or down: lost, as on any wire
            if target == _HOST:
                os.write(self._host_fd, vnet + frame)
                return
            if self._vlan:
                frame = frame[:12] + _VLAN_TAG + frame[12:]
            if target == 0:
                self._far_end.post(frame)
            else:
                assert self._port is not None
                self._port.send(_NO_VNET + frame)

    def _is_dropped(self, frame: bytes) -> bool:
        if not self._to_drop or len(frame) < _DATA_BYTES:
            return False
        index = self._data_frames
        self._data_frames += 1
        if index not in self._to_drop:
            return False
        self._to_drop.discard(index)
        self._lost += 1
        return True

    def _is_lost(self, frame: bytes, rate: float) -> bool:
        if not rate or frame[12:14] == b"\x08\x06" or self._random.random() >= rate:
            return False
        self._lost += 1
        return True

    # Looking

    def _see(self, card: int, frame: bytes) -> None:
        self._frames.append((card, frame))
        if len(self._frames) > _FRAMES_KEPT:
            self._look()

    def _look(self) -> None:
        frames, self._frames = self._frames, []
        for card, frame in frames:
            self._counts[card] += 1
            self._bytes[card] += len(frame)
            for window in self._windows:
                at = frame.find(window)
                if at >= 0:
                    where = f"card {card}: plaintext at byte {at} of {frame[:80].hex()}"
                    self._leaks.append(where)

    def close(self) -> None:
        """Undo everything; what is in the namespace goes with it."""
        self.part()
        if self._host_fd >= 0:
            os.close(self._host_fd)
            self._host_fd = -1


def _open_port(namespace: Netns) -> socket.socket:
    """Frames of the card on the TAP, both ways."""
    port = namespace.call(
        lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
    )
    with contextlib.suppress(PermissionError):  # in a user namespace the default has to do
        port.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _CAPTURE_BYTES)
    for option in (_PACKET_VNET_HDR, _PACKET_AUXDATA, _PACKET_IGNORE_OUTGOING):
        port.setsockopt(_SOL_PACKET, option, 1)
    port.bind((TAP, _ETH_P_ALL))
    port.setblocking(False)
    return port
