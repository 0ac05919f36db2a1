"""The TAP wire against the kernel: a TAP in a namespace of its own, the Linux stack behind it."""

from __future__ import annotations

import ctypes
import hashlib
import os
import select
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest
from needs import needs_taps
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether

from tlsnic.device.wire import (
    VNET_GSO_TCPV4,
    VNET_NEEDS_CSUM,
    Impairments,
    ImpairmentStage,
    TapWire,
    VnetHeader,
    Wire,
    WireError,
    open_wire,
)

pytestmark = [pytest.mark.root, needs_taps]

INTERFACE = "wiretest0"
MAC_NIC = "02:00:00:00:00:aa"
IP_NIC, IP_HOST = "192.0.2.2", "192.0.2.1"
T = TypeVar("T")
Received = list[tuple[bytes, VnetHeader | None]]


def ip(*arguments: str) -> str:
    done = subprocess.run(
        ["ip", *arguments], check=True, capture_output=True, text=True, timeout=20
    )
    return done.stdout


@pytest.fixture(scope="module")
def netns() -> Iterator[str]:
    name = f"wiretest-{os.getpid()}"
    ip("netns", "add", name)
    try:
        # No router solicitations and the like: only the frames of the tests.
        run_inside(name, lambda: write_sysctl("net/ipv6/conf/default/disable_ipv6", "1"))
        yield name
    finally:
        ip("netns", "delete", name)


def write_sysctl(name: str, value: str) -> None:
    with open(f"/proc/sys/{name}", "w") as file:
        file.write(value)


def run_inside(netns: str, work: Callable[[], T]) -> T:
    """Run `work` in a thread inside the namespace, and return what it returns."""
    results: list[T] = []
    problems: list[BaseException] = []

    def body() -> None:
        try:
            fd = os.open(f"/run/netns/{netns}", os.O_RDONLY)
            try:
                assert ctypes.CDLL(None, use_errno=True).setns(fd, 0x40000000) == 0
            finally:
                os.close(fd)
            results.append(work())
        except BaseException as error:
            problems.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    if problems:
        raise problems[0]
    return results[0]


@pytest.fixture
def tap(netns: str) -> Iterator[TapWire]:
    """A TAP that is up, addressed, and knows the NIC's Ethernet address."""
    with TapWire(INTERFACE, netns=netns) as wire:
        ip("-n", netns, "link", "set", INTERFACE, "up")
        ip("-n", netns, "address", "add", f"{IP_HOST}/24", "dev", INTERFACE)
        ip("-n", netns, "neighbour", "add", IP_NIC, "lladdr", MAC_NIC, "dev", INTERFACE)
        wire.receive(lambda frame, vnet: None, 100, 0)
        yield wire


def host_mac(netns: str) -> str:
    return ip("-n", netns, "-br", "link", "show", INTERFACE).split()[2]


def wait_readable(wire: Wire) -> None:
    descriptor = wire.fileno()
    assert descriptor is not None
    assert select.select([descriptor], [], [], 10)[0], "nothing arrived"


def receive_until(wire: Wire, enough: Callable[[Received], bool]) -> Received:
    frames: Received = []
    deadline = time.monotonic() + 10
    while not enough(frames):
        assert time.monotonic() < deadline, frames
        wait_readable(wire)
        wire.receive(lambda frame, vnet: frames.append((bytes(frame), vnet)), 64, 0)
    return frames


def test_link_follows_the_interface(netns: str) -> None:
    with TapWire(INTERFACE, netns=netns) as wire:
        assert not wire.link_up
        for state in ("up", "down", "up"):
            ip("-n", netns, "link", "set", INTERFACE, state)
            wait_readable(wire)
            wire.receive(lambda frame, vnet: None, 10, 0)
            assert wire.link_up == (state == "up")
        names = [event.name for event in wire.events]
        assert names == ["interface-up", "interface-down", "interface-up"]


def test_sending_while_the_interface_is_down_drops_and_counts(netns: str) -> None:
    with TapWire(INTERFACE, netns=netns) as wire:
        assert wire.send((bytes(60),), None, 0)
        assert wire.counters.tx_dropped_link_down == 1
        assert wire.counters.tx_frames == 0


def test_ping_is_answered_by_the_kernel(tap: TapWire, netns: str) -> None:
    request = (
        Ether(src=MAC_NIC, dst=host_mac(netns))
        / IP(src=IP_NIC, dst=IP_HOST)
        / ICMP(id=7, seq=3)
        / (b"payload" * 30)
    )
    data = bytes(request)
    assert tap.send((data[:14], data[14:34], data[34:]), None, 0)
    ((reply, vnet),) = receive_until(tap, bool)
    packet = Ether(reply)
    assert vnet is None
    assert (packet[ICMP].type, packet[ICMP].id, packet[ICMP].seq) == (0, 7, 3)
    assert packet[ICMP].load == b"payload" * 30
    assert packet.dst == MAC_NIC


def test_undone_checksum_is_completed_by_the_kernel(tap: TapWire, netns: str) -> None:
    with run_inside(netns, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as receiver:
        receiver.bind((IP_HOST, 5000))
        receiver.settimeout(10)
        packet = Ether(src=MAC_NIC, dst=host_mac(netns)) / IP(src=IP_NIC, dst=IP_HOST)
        packet /= UDP(sport=1, dport=5000) / b"checksum left to the other side"
        data = bytearray(bytes(packet))
        # What a NIC leaves behind: the sum of the pseudo-header only.
        pseudo = socket.inet_aton(IP_NIC) + socket.inet_aton(IP_HOST)
        pseudo += struct.pack(">HH", 17, len(data) - 34)
        total = sum(struct.unpack(">6H", pseudo))
        struct.pack_into(">H", data, 40, (total & 0xFFFF) + (total >> 16))
        assert tap.send((data,), VnetHeader(VNET_NEEDS_CSUM, 0, 0, 0, 34, 6), 0)
        assert receiver.recv(100) == b"checksum left to the other side"


def test_refused_header_is_diagnosed_and_counted(tap: TapWire) -> None:
    assert tap.send((bytes(60),), VnetHeader(VNET_NEEDS_CSUM, 0, 0, 0, 5000, 6), 0)
    assert tap.counters.tx_dropped_refused == 1
    assert tap.events[-1].name == "frame-refused"


class TcpPeer:
    """Enough of TCP, at the NIC's side of a TAP, to take or give one stream without loss."""

    def __init__(self, wire: Wire, mac: str, mss: int) -> None:
        self.wire = wire
        self.head = Ether(src=MAC_NIC, dst=mac) / IP(src=IP_NIC, dst=IP_HOST)
        self.mss = mss
        self.next_seq = 1000
        self.next_ack = 0
        self.largest_bytes = 0

    def segment(self, flags: str, **fields: object) -> bytes:
        head = TCP(sport=4000, dport=5000, seq=self.next_seq, ack=self.next_ack, window=65535)
        head.flags = flags
        for name, value in fields.items():
            setattr(head, name, value)
        return bytes(self.head / head)

    def connect(self) -> None:
        self.wire.send((self.segment("S", options=[("MSS", self.mss), ("WScale", 6)]),), None, 0)
        frames = receive_until(self.wire, bool)
        reply = Ether(frames[0][0])[TCP]
        assert reply.flags == "SA"
        self.next_seq += 1
        self.next_ack = (reply.seq + 1) % 2**32
        self.wire.send((self.segment("A"),), None, 0)

    def take(self, frame: bytes) -> bytes:
        """The new data of a frame; acknowledges it."""
        packet = Ether(frame)
        if TCP not in packet:
            return b""
        head = packet[TCP]
        size = packet[IP].len - 20 - head.dataofs * 4
        self.largest_bytes = max(self.largest_bytes, size)
        if not size:
            return b""
        known = (self.next_ack - head.seq) % 2**32
        new = bytes(head.payload)[known:size] if known <= size else b""
        self.next_ack = (self.next_ack + len(new)) % 2**32
        # Also answers a repeated segment: its acknowledgement may have been lost.
        self.wire.send((self.segment("A"),), None, 0)
        return new


@pytest.fixture
def listener(netns: str) -> Iterator[socket.socket]:
    with run_inside(netns, socket.socket) as sock:
        sock.settimeout(10)
        sock.bind(("0.0.0.0", 5000))
        sock.listen()
        yield sock


def accept(listener: socket.socket) -> socket.socket:
    """A connection that closes with a reset, so that it leaves nothing to the next test."""
    connection, _ = listener.accept()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return connection


def receive_stream(
    wire: Wire, peer: TcpPeer, listener: socket.socket, payload: bytes
) -> tuple[bytes, list[VnetHeader | None]]:
    """Have the kernel send `payload` over TCP, and return what came out of the wire."""
    peer.connect()
    connection = accept(listener)
    connection.settimeout(20)
    got = bytearray()
    headers: list[VnetHeader | None] = []
    with connection:
        sender = threading.Thread(target=connection.sendall, args=(payload,))
        sender.start()
        try:
            while len(got) < len(payload):
                for frame, vnet in receive_until(wire, bool):
                    got += peer.take(frame)
                    headers.append(vnet)
        finally:
            sender.join()
    return bytes(got), headers


def test_kernel_hands_over_super_frames_with_their_header(
    tap: TapWire, netns: str, listener: socket.socket
) -> None:
    payload = os.urandom(2_000_000)
    peer = TcpPeer(tap, host_mac(netns), mss=1448)
    got, headers = receive_stream(tap, peer, listener, payload)
    assert hashlib.sha256(got).digest() == hashlib.sha256(payload).digest()
    # How large they get depends on the sender's pacing; beyond one segment is the point.
    assert peer.largest_bytes >= 2 * 1448
    segmented = [vnet for vnet in headers if vnet is not None and vnet.gso_type]
    assert segmented
    for vnet in segmented:
        assert vnet.gso_type == VNET_GSO_TCPV4
        assert vnet.gso_size == 1448
        assert vnet.flags & VNET_NEEDS_CSUM
        assert (vnet.csum_start, vnet.csum_offset) == (34, 16)


@pytest.mark.parametrize("how", ["offload=off", "impaired"])
def test_kernel_cuts_frames_when_super_frames_are_off(
    netns: str, listener: socket.socket, how: str
) -> None:
    spec = f"tap:{INTERFACE},netns={netns}" + (",offload=off" if how == "offload=off" else "")
    with open_wire(spec) as tap:
        ip("-n", netns, "link", "set", INTERFACE, "up")
        ip("-n", netns, "address", "add", f"{IP_HOST}/24", "dev", INTERFACE)
        ip("-n", netns, "neighbour", "add", IP_NIC, "lladdr", MAC_NIC, "dev", INTERFACE)
        wire: Wire = tap
        if how == "impaired":
            wire = ImpairmentStage(tap, tx=Impairments(drop={10**9}), rx=Impairments(drop={10**9}))
        assert not wire.takes_super_frames
        payload = os.urandom(200_000)
        peer = TcpPeer(wire, host_mac(netns), mss=1448)
        got, headers = receive_stream(wire, peer, listener, payload)
        assert got == payload
        assert peer.largest_bytes == 1448
        assert set(headers) == {None}


def test_kernel_takes_super_frames_and_cuts_them_itself(
    tap: TapWire, netns: str, listener: socket.socket
) -> None:
    payload = os.urandom(60_000)
    peer = TcpPeer(tap, host_mac(netns), mss=1448)
    peer.connect()
    connection = accept(listener)
    with connection:
        connection.settimeout(10)
        head = bytearray(peer.segment("PA")[:54])
        struct.pack_into(">H", head, 16, 40 + len(payload))
        struct.pack_into(">H", head, 24, 0)
        struct.pack_into(">H", head, 24, ~ones_sum(head[14:34]) & 0xFFFF)
        pseudo = head[26:34] + struct.pack(">HH", 6, 20 + len(payload))
        struct.pack_into(">H", head, 50, ones_sum(pseudo))
        vnet = VnetHeader(VNET_NEEDS_CSUM, VNET_GSO_TCPV4, 54, 1448, 34, 16)
        assert tap.send((head, payload[:10], payload[10:]), vnet, 0)
        got = bytearray()
        while len(got) < len(payload):
            got += connection.recv(65536)
        assert got == payload
    assert tap.counters.tx_bytes > 60_000


def ones_sum(data: bytes | bytearray) -> int:
    """Internet checksum before the complement (RFC 1071)."""
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def test_receive_stops_at_the_budget_and_stays_readable(tap: TapWire, netns: str) -> None:
    with run_inside(netns, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sender:
        for number in range(5):
            sender.sendto(bytes([number]) * 30, (IP_NIC, 9))
    numbers: list[int] = []

    def sink(frame: memoryview, vnet: VnetHeader | None) -> None:
        numbers.append(Ether(bytes(frame))[UDP].load[0])

    assert tap.receive(sink, 2, 0) == 2
    wait_readable(tap)
    assert tap.receive(sink, 100, 0) == 3
    assert numbers == [0, 1, 2, 3, 4]


def test_kernel_asks_who_has_the_address(netns: str) -> None:
    with TapWire(INTERFACE, netns=netns) as wire:
        ip("-n", netns, "link", "set", INTERFACE, "up")
        ip("-n", netns, "address", "add", f"{IP_HOST}/24", "dev", INTERFACE)
        with run_inside(netns, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sender:
            sender.sendto(b"x", (IP_NIC, 9))
        frames = receive_until(wire, bool)
        assert Ether(frames[0][0])[ARP].pdst == IP_NIC


def test_deleted_interface_takes_the_link_down_for_good(tap: TapWire, netns: str) -> None:
    ip("-n", netns, "link", "delete", INTERFACE)
    wait_readable(tap)
    assert tap.receive(lambda frame, vnet: None, 10, 0) == 0
    assert not tap.link_up
    assert tap.events[-1].name == "interface-gone"
    assert tap.send((bytes(60),), None, 0)
    assert tap.counters.tx_dropped_link_down == 1
    descriptor = tap.fileno()
    assert descriptor is not None
    assert select.select([descriptor], [], [], 0)[0] == []


def test_closing_removes_the_interface_and_every_descriptor(netns: str) -> None:
    before = len(os.listdir("/proc/self/fd"))
    wire = TapWire(INTERFACE, netns=netns)
    assert INTERFACE in ip("-n", netns, "-br", "link")
    wire.close()
    wire.close()
    assert INTERFACE not in ip("-n", netns, "-br", "link")
    assert wire.fileno() is None
    assert len(os.listdir("/proc/self/fd")) == before


def test_interface_in_use_and_other_obstacles_are_named(tap: TapWire, netns: str) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(WireError, match="busy") as caught:
        TapWire(INTERFACE, netns=netns)
    assert "another process" in caught.value.fix
    with pytest.raises(WireError, match="Invalid argument") as caught:
        TapWire("lo", netns=netns)
    assert "not a single-queue TAP" in caught.value.fix
    with pytest.raises(WireError, match="no network namespace") as caught:
        TapWire(INTERFACE, netns="no-such-namespace-here")
    assert "ip netns add" in caught.value.fix
    assert len(os.listdir("/proc/self/fd")) == before


def test_without_rights_the_fix_is_named() -> None:
    """A child without CAP_NET_ADMIN tries, since this process cannot get its rights back."""
    code = (
        "import os\n"
        "from tlsnic.device.wire import TapWire, WireError\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "try:\n"
        f"    TapWire({INTERFACE!r})\n"
        "except WireError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True, timeout=30
    )
    assert "run as root" in done.stdout
