"""NIC TLS for receive: the leaf interface that packets come in at, and a tag that follows it."""

import errno
import random

import pytest
from flows import make_session
from marked_stream import WireStream
from network import Rig

from tlsnic.abi.enums import CipherSuite
from tlsnic.driver.ktls.lagg import Lagg
from tlsnic.driver.ktls.session import (
    IPPROTO_TCP,
    TCP_RXTLS_ENABLE,
    TCP_RXTLS_MODE,
    TCP_TLS_MODE_IFNET,
    TCP_TLS_MODE_SW,
    TlsEnable,
)
from tlsnic.driver.ktls.socket import SS_NBIO
from tlsnic.driver.ktls.vlan import Vlan

GCM13 = CipherSuite.TLS13_AES_128_GCM
DATA = random.Random(9).randbytes(400_000)


class Receiving(Rig):
    """The peer sends records."""

    def open(self, session):
        self.stream = WireStream(session)
        for at in range(0, len(DATA), 8000):
            self.stream.add(DATA[at : at + 8000])
        self.so.so_state |= SS_NBIO
        self.so.setsockopt(IPPROTO_TCP, TCP_RXTLS_ENABLE, TlsEnable.of(session))
        self.data = b""

    def receive(self, until=lambda: False):
        view = memoryview(self.stream.wire)

        def pump():
            self.stream.sent += self.peer.write(view[self.stream.sent :])
            self.read()
            return len(self.data) == len(DATA) or until()

        self.link.run(pump)

    def read(self):
        try:
            while piece := self.so.read(1 << 16):
                self.data += piece
        except BlockingIOError:
            return
        finally:
            self.so.proto.pr_rcvd(self.so)

    def tag(self):
        tls = self.so.so_rcv.sb_tls_info
        return None if tls is None else tls.snd_tag

    def come_in_at(self, index):
        """The switch delivers to another card from now on."""
        self.link.ends[1].fixed = index


@pytest.fixture
def rig():
    made = []

    def make(*args, **options):
        made.append(Receiving(*args, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def any_member(rig):
    return Lagg(rig.ifnets, laggproto="lacp")


def states(one):
    return {state.name: count for state, count in one.so.ktls_rx.records.items() if count}


def test_the_card_decrypts(rig):
    one = rig(1)
    one.open(make_session(GCM13))
    assert one.so.getsockopt(IPPROTO_TCP, TCP_RXTLS_MODE) == TCP_TLS_MODE_IFNET
    one.receive()
    assert one.data == DATA
    assert states(one) == {"DECRYPTED": 50}
    assert not one.counter("bytes_touched.decrypt")
    assert one.inp.leaf_rcvif is one.ifnets[0]


@pytest.mark.parametrize("seed", range(3))
def test_with_loss_and_reordering(rig, seed):
    one = rig(1, loss=0.02, reorder=0.02, seed=seed)
    one.open(make_session(GCM13))
    one.receive()
    assert one.data == DATA
    assert states(one)["DECRYPTED"] > 10


@pytest.mark.parametrize("vlan", [None, 7])
def test_the_tag_follows_the_interface_that_packets_come_in_at(rig, vlan):
    """As a partner of a lagg may do: it sends by its own hash, whatever we send by."""

    def build(one):
        return any_member(one) if vlan is None else Vlan(any_member(one), vlan)

    one = rig(2, build=build, vlan=vlan)
    one.come_in_at(0)
    one.open(make_session(GCM13))
    one.receive(until=lambda: len(one.data) > 20_000)
    first, resets = one.tag(), one.counter("ifnet.reset")
    assert first.ifp is one.inp.leaf_rcvif
    assert first.tag.address.vlan_id == vlan
    other = 1 - one.ifnets.index(first.ifp)
    one.come_in_at(other)
    one.receive()
    assert one.data == DATA
    assert one.inp.leaf_rcvif is one.ifnets[other]
    assert one.tag().ifp is one.ifnets[other]
    assert one.counter("ifnet.reset") == resets + 1
    assert not first.tag.is_alive
    assert states(one)["DECRYPTED"] > 30
    assert one.nics[other].tls_receive_counters.rx_tls_decrypted_packets


def test_without_a_tag_there_it_goes_on_in_software(rig):
    one = rig(2, build=any_member)
    one.come_in_at(0)
    one.open(make_session(GCM13))
    one.receive(until=lambda: len(one.data) > 20_000)
    mine, resets = one.ifnets.index(one.tag().ifp), one.counter("ifnet.reset")
    one.ifnets[1 - mine].set_capability("rxtls4", False)
    one.come_in_at(1 - mine)
    one.receive(until=lambda: len(one.data) > 100_000)
    assert one.tag() is None
    assert one.counter("ifnet.reset_failed") == 1
    one.come_in_at(mine)
    one.receive()
    assert one.data == DATA
    assert one.tag().ifp is one.ifnets[mine], "a further change tries again"
    assert one.counter("ifnet.reset") == resets + 1


@pytest.mark.parametrize(("name", "version"), [("rxtls4", 4), ("rxtls6", 6)])
def test_receive_is_switched_by_address_family(rig, name, version):
    one = rig(1, ip_version=version)
    one.top.set_capability(name, False)
    one.open(make_session(GCM13))
    assert one.so.getsockopt(IPPROTO_TCP, TCP_RXTLS_MODE) == TCP_TLS_MODE_SW
    one.receive()
    assert one.data == DATA
    assert states(one) == {"ENCRYPTED": 50}


def test_a_failover_lagg_takes_packets_of_its_active_member_only(rig):
    one = rig(2, build=lambda rig: Lagg(rig.ifnets))
    one.open(make_session(GCM13))
    one.receive(until=lambda: len(one.data) > 50_000)
    one.come_in_at(1)
    got = len(one.data)
    one.peer.write(b"")
    deadline = one.link.now_ns + 10**9
    one.receive(until=lambda: one.link.now_ns > deadline)
    assert len(one.data) - got < 100_000
    one.top.failover_rx_all = True
    one.receive()
    assert one.data == DATA


def test_a_record_that_is_not_authentic(rig):
    one = rig(1)
    one.open(make_session(GCM13))
    at = one.stream.bounds[3] + 100
    wire = bytearray(one.stream.wire)
    wire[at] ^= 1
    one.stream.wire = bytes(wire)
    with pytest.raises(OSError, match="message") as caught:
        one.receive()
    assert caught.value.errno == errno.EBADMSG
    one.receive(until=lambda: len(one.data) == len(DATA) - 8000)
    assert one.data == DATA[:24_000] + DATA[32_000:]
