"""The switch of the KTLS tests, with a TAP in place of a card, and the host's sockets behind it."""

import os
import select
import socket
import struct

import pytest

from tlsnic.qemu.peer.data import VLAN_ID, numbered
from tlsnic.qemu.peer.far_network import FarNetwork
from tlsnic.qemu.peer.far_sockets import FarSockets
from tlsnic.qemu.peer.traffic import TAP, Traffic

HOST = "10.73.86.1"
CARD_MAC, OTHER_MAC = b"\x02\0\0\0\0\x11", b"\x02\0\0\0\0\x22"
TAG = b"\x81\0" + VLAN_ID.to_bytes(2, "big")
VNET = bytes(10)


class FakeFarEnd:
    """The wire of the first card."""

    def __init__(self):
        self.taker = None
        self.posted = []

    def divert(self, taker):
        self.taker = taker

    def post(self, frame):
        self.posted.append(frame)


pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for network namespaces"),
]


@pytest.fixture
def traffic(tmp_path):
    made = Traffic(tmp_path)
    yield made
    made.close()


class Rig:
    """Attributes: `network`, `card`: a descriptor with what the second card would have."""

    def __init__(self, traffic, **options):
        self.far_end = FakeFarEnd()
        self.network = FarNetwork(self.far_end, traffic)
        self.card = traffic.namespace.open_tap(TAP, vnet_hdr=True)
        self.network.join(windows=[b"secret"], **options)

    def send(self, frame):
        os.write(self.card, VNET + frame)

    def receive(self, ethertype):
        """The next frame of that type, behind a tag if there is one."""
        while True:
            assert select.select([self.card], [], [], 5)[0], "no frame"
            frame = os.read(self.card, 65536)[len(VNET) :]
            at = 16 if frame[12:14] == b"\x81\0" else 12
            if frame[at : at + 2] == ethertype:
                return frame

    def close(self):
        self.network.close()
        os.close(self.card)


@pytest.fixture
def rig(traffic):
    made = []

    def make(**options):
        made.append(Rig(traffic, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def arp(mac=CARD_MAC, address="10.73.86.9"):
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + mac + socket.inet_aton(address)
    return b"\xff" * 6 + mac + b"\x08\x06" + body + bytes(6) + socket.inet_aton(HOST)


def test_the_host_answers_each_card(rig):
    one = rig()
    one.send(arp())
    answer = one.receive(b"\x08\x06")
    assert answer[:6] == CARD_MAC
    assert answer[28:32] == socket.inet_aton(HOST)
    one.far_end.taker(arp(OTHER_MAC, "10.73.86.10"))
    while not any(frame[:6] == OTHER_MAC for frame in one.far_end.posted):
        select.select([], [], [], 0.001)
    assert min(one.network.watched()["frames"]) >= 2


def test_a_vlan(rig):
    """Frames of the cards have the tag; without it nobody answers."""
    one = rig(vlan=True)
    one.send(arp(OTHER_MAC))
    tagged = arp()
    one.send(tagged[:12] + TAG + tagged[12:])
    answer = one.receive(b"\x08\x06")
    assert answer[:6] == CARD_MAC
    assert answer[12:18] == TAG + b"\x08\x06"


def test_plaintext_is_found(rig):
    one = rig()
    assert one.network.watched()["leaks"] == []
    one.far_end.taker(b"\xff" * 6 + CARD_MAC + b"\x88\xb5" + b"a secret" + bytes(50))
    leaks = one.network.watched()["leaks"]
    assert "card 0: plaintext at byte 16" in leaks[0]


def test_frames_are_steered_dropped_and_lost(rig):
    one = rig()
    frame = OTHER_MAC + CARD_MAC + b"\x88\xb5" + bytes(1000)
    one.network.steer(mac=OTHER_MAC, card=1)
    one.network.drop(indices=[1, 2])
    for number in range(4):
        one.far_end.taker(frame + bytes([number]))
    assert [one.receive(b"\x88\xb5")[-1] for _ in range(2)] == [0, 3]
    assert one.network.watched()["lost"] == 2
    one.network.lose(from_card=1.0)
    one.far_end.taker(frame)
    assert one.network.watched()["lost"] == 3
    one.network.lose()
    one.network.steer(mac=OTHER_MAC, card=0)
    one.send(frame)
    while not any(sent[:6] == OTHER_MAC for sent in one.far_end.posted):
        select.select([], [], [], 0.001)


def test_joining_again_forgets(rig):
    one = rig()
    one.far_end.taker(arp())
    one.network.join(windows=[])
    assert one.network.watched()["frames"][0] == 0
    one.network.part()
    assert one.far_end.taker is None
    one.network.part()


@pytest.mark.parametrize("version", ["", "1.2", "1.3"])
def test_sockets_of_the_host(tmp_path, traffic, version):
    sockets = FarSockets(tmp_path, traffic)
    offer = sockets.listen(tls=version)
    client = sockets.connect(address="127.0.0.1", port=offer["port"], tls=version)
    sockets.send(token=client, block=b"hello")
    assert sockets.receive(token=offer["token"], count=5) == b"hello"
    data = b"".join(numbered(b"x" * 1000, 500))
    sockets.send(token=offer["token"], block=b"x" * 1000, count=500)
    assert sockets.receive(token=client, count=len(data)) == data
    sockets.send(token=client, block=b"the end", end=True)
    # Data that comes behind a good-bye of one's own is an error to OpenSSL.
    assert sockets.state(token=offer["token"], count=13, wait_s=60.0)["ended"]
    sockets.send(token=offer["token"], block=b"", end=True)
    for token, count in ((offer["token"], 13), (client, len(data) + 1)):
        state = sockets.state(token=token, count=count, wait_s=60.0)
        assert (state["ended"], state["error"]) == (True, "")
        assert state["version"] == (f"TLSv{version}" if version else "")
    sockets.close_all()


def test_sockets_that_nobody_answers(tmp_path, traffic):
    """Closing does not wait for them."""
    sockets = FarSockets(tmp_path, traffic)
    assert traffic.namespace.fd >= 0
    before = set(os.listdir("/proc/self/fd"))
    offer = sockets.listen()
    assert sockets.state(token=offer["token"])["bytes"] == 0
    sockets.close(token=offer["token"])
    assert len(os.listdir("/proc/self/fd")) <= len(before)
