"""Two network stacks of this machine talk through two bridges and two models of the card."""

import ctypes
import hashlib
import os
import socket
import subprocess
import sys
import threading

import pytest
from fake_device import FakeDevice

from tlsnic.abi.enums import EventType, RxFlags, TxFlags
from tlsnic.driver import bridge as bridge_module
from tlsnic.driver import vnet
from tlsnic.driver.bridge import Bridge, set_up
from tlsnic.driver.errors import DeviceGoneError
from tlsnic.driver.headers import TCP, find_l4, ones_complement_sum, pseudo_header_sum
from tlsnic.driver.nic import Nic, NicOptions
from tlsnic.driver.tap import Tap, TapError

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="TAP devices need root"),
]
CLONE_NEWNET = 0x4000_0000
TRANSFER_BYTES = 4 << 20


def unshare_network():
    """This thread alone moves to a network namespace of its own, which ends with the thread."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare")


def ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True)


class Host(threading.Thread):
    """A stack behind a bridge, in a namespace of its own; `work` runs there beside the bridge."""

    def __init__(self, number, interrupts, work):
        super().__init__(name=f"host{number}")
        self.number, self.interrupts, self.work = number, interrupts, work
        self.device = FakeDevice(memory=bytearray(24 << 20))
        self.failures = []
        self.up = threading.Event()

    def run(self):
        try:
            unshare_network()
            bus = self.device.bus()
            options = NicOptions(rx_entries=1024, interrupts=self.interrupts)
            with Nic.attach(bus, options) as nic, Tap("tls0", vnet.HEADER_BYTES) as tap:
                nic.mac_address = bytes([2, 0, 0, 0, 0, self.number])
                set_up(nic, tap, 1500)
                assert tap.mac_address == nic.mac_address
                for address in (f"10.9.0.{self.number}/24", f"fd09::{self.number}/64"):
                    ip("addr", "add", address, "dev", "tls0", "nodad")
                self.bridge = Bridge(nic, tap)
                self.up.set()
                worker = threading.Thread(target=self.guarded_work)
                worker.start()
                try:
                    self.bridge.run()
                finally:
                    worker.join()
                    self.bridge.close()
            bus.close()
        except BaseException as error:
            self.failures.append(error)
            self.up.set()

    def guarded_work(self):
        # A thread starts in the namespace of the one that made it.
        try:
            self.work()
        except BaseException as error:
            self.failures.append(error)
            self.bridge.stop()


def with_checksum(frame):
    """The receiving stack judges whether this is right: it drops what is not."""
    frame = bytearray(frame)
    l4 = find_l4(frame)
    place = l4.offset + (16 if l4.protocol == TCP else 6)
    frame[place : place + 2] = bytes(2)
    length = len(frame) - l4.offset
    total = ones_complement_sum(frame[l4.offset :], pseudo_header_sum(frame, l4, length))
    frame[place : place + 2] = ((0xFFFF - total) or 0xFFFF).to_bytes(2, "big")
    return bytes(frame)


def join_wires(one, other):
    """What one model sends, the other receives: a packet to segment comes as a joined one."""

    def connect(source, target):
        original = source.transmit

        def transmit(queue):
            original(queue)
            while source.sent:
                _, frame, first = source.sent.pop(0)
                fields = {}
                if first.flags & TxFlags.L4_CHECKSUM:
                    frame = with_checksum(frame)
                if first.flags & TxFlags.SEGMENT:
                    source.super_frames = getattr(source, "super_frames", 0) + 1
                    fields = {
                        "flags": RxFlags.COALESCED | RxFlags.TCP | RxFlags.L4_CHECKSUM_OK,
                        "segment_bytes": first.mss,
                        "segments": 2,
                    }
                target.deliver(frame, **fields)

        source.transmit = transmit

    connect(one.device, other.device)
    connect(other.device, one.device)


@pytest.mark.parametrize("interrupts", ["msix", "intx", "poll"])
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["ipv4", "ipv6"])
def test_tcp_runs_both_ways_in_super_frames(interrupts, family):
    address = ("10.9.0.2", 7000) if family == socket.AF_INET else ("fd09::2", 7000)
    content = os.urandom(1 << 16) * (TRANSFER_BYTES >> 16)
    digest = hashlib.sha256(content).digest()
    listening, finished = threading.Event(), threading.Event()
    digests = []

    def receive_all(sock):
        seen, left = hashlib.sha256(), TRANSFER_BYTES
        while left:
            data = sock.recv(1 << 18)
            assert data, "connection closed early"
            seen.update(data)
            left -= len(data)
        digests.append(seen.digest())

    def server():
        with socket.create_server(address, family=family) as listener:
            listener.settimeout(8)
            listening.set()
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(8)
                receive_all(connection)
                connection.sendall(content)
        finished.wait(60)
        two.bridge.stop()

    def client():
        assert listening.wait(60)
        with socket.create_connection(address, timeout=60) as connection:
            connection.sendall(content)
            receive_all(connection)
        finished.set()
        one.bridge.stop()

    one, two = Host(1, interrupts, client), Host(2, interrupts, server)
    join_wires(one, two)
    for host in (one, two):
        host.start()
    for host in (one, two):
        host.join(60)
        assert not host.is_alive()
    assert one.failures + two.failures == []
    assert digests == [digest, digest]
    for host in (one, two):
        assert host.device.super_frames > 10
        assert host.bridge.to_card < TRANSFER_BYTES / 1448, "more packets than segments"


def test_the_carrier_follows_the_link():
    seen = []

    def work():
        seen.append("LOWER_UP" in show())
        host.device.event(EventType.LINK_CHANGE, value0=0)
        while "LOWER_UP" in show():
            pass
        host.device.event(EventType.LINK_CHANGE, value0=1)
        while "LOWER_UP" not in show():
            pass
        seen.append("back")
        host.bridge.stop()

    def show():
        return subprocess.run(
            ["ip", "link", "show", "tls0"], check=True, capture_output=True, text=True
        ).stdout

    host = Host(1, "msix", work)
    host.start()
    host.join(30)
    assert host.failures == []
    assert seen == [True, "back"]


def test_the_bridge_ends_when_the_card_goes(monkeypatch):
    monkeypatch.setattr(bridge_module, "GONE_CHECK_S", 0.02)
    host = Host(1, "msix", lambda: setattr(host.device, "gone", True))
    host.start()
    host.join(30)
    assert [type(error) for error in host.failures] == [DeviceGoneError]


def test_a_tap_that_cannot_be_made_says_why():
    with pytest.raises(TapError, match="1 to 15 bytes"):
        Tap("a-name-that-is-too-long", 10)
    with pytest.raises(TapError, match="a name that no interface has"):
        Tap("lo", 10)


def test_the_command_line_says_in_one_line_what_is_wrong():
    done = subprocess.run(
        [sys.executable, "-m", "tlsnic.driver.bridge", "--bus", "vfio-user:/nonexistent"],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "no such socket" in done.stderr
