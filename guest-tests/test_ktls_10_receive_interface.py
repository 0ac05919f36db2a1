"""KTLS-10: the interface that a packet came from is tracked; a change of the receive interface
re-makes the receive tag.

The switch sends by one card or the other, as the partner of a lagg may, whatever is sent by. D32356:
m_pkthdr.leaf_rcvif is the card below lagg and VLAN; the tag is made anew there.
"""

import pytest
from harness.ktls import CARD, GCM12, GCM13
from harness.ktls_two_cards import lagg_of
from harness.tls_stream import marked

from tlsnic.driver.ktls.session import TCP_TLS_MODE_IFNET

pytestmark = [pytest.mark.row("KTLS-10"), CARD, pytest.mark.root]
SIZE = 8000


def come_in_at(one, card):
    one.between("steer", mac=one.top.if_lladdr, card=card)


def make(network, vlan=False):
    one = network(cards=2, build=lagg_of("lacp", vlan=vlan), vlan=vlan)
    come_in_at(one, 0)
    return one


def connect(one, suite=GCM13):
    """With some data from before TLS, as a handshake is."""
    line = one.connect(suite)
    line.far_send(b"hello")
    assert line.read(5) == b"hello"
    assert line.inp.leaf_rcvif is one.ifnets[0]
    line.enable_rx()
    assert line.rx_mode == TCP_TLS_MODE_IFNET
    return line


def await_tag(line, card):
    one = line.network
    session = line.so.so_rcv.sb_tls_info
    one.run(lambda: session.snd_tag and session.snd_tag.ifp is one.ifnets[card], "a new tag")
    assert session.rx_ifp is one.ifnets[card]
    return session.snd_tag


def receive(line, count, seed=0):
    """So many records; what of them the card has decrypted."""
    before = dict(line.states())
    line.far_write(*[marked(SIZE, seed + n) for n in range(count)])
    assert line.read(SIZE * count) == b"".join(marked(SIZE, seed + n) for n in range(count))
    return {
        state: n - before.get(state, 0)
        for state, n in line.states().items()
        if n > before.get(state, 0)
    }


@pytest.mark.parametrize(
    ("suite", "vlan"), [(GCM12, False), (GCM13, True)], ids=["TLS 1.2", "TLS 1.3 in a VLAN"]
)
def test_ktls_10_the_tag_follows(network, suite, vlan):
    one = make(network, vlan)
    line = connect(one, suite)
    assert receive(line, 3) == {"DECRYPTED": 3}
    first = await_tag(line, 0)
    come_in_at(one, 1)
    receive(line, 6, seed=10)
    assert line.inp.leaf_rcvif is one.ifnets[1]
    await_tag(line, 1)
    assert one.counter("ifnet.reset") == 1
    assert receive(line, 4, seed=20)["DECRYPTED"] >= 3
    one.run(lambda: not first.tag.is_alive, "the first card's flow is given back")
    assert not one.nics[0].receive_tags
    assert one.nics[1].tls_receive_counters.rx_tls_decrypted_packets


def test_ktls_10_back_again(network, scale):
    one = make(network)
    line = connect(one)
    changes = scale(6, 3)
    for turn in range(1, changes + 1):
        come_in_at(one, turn % 2)
        receive(line, 3, seed=10 * turn)
        await_tag(line, turn % 2)
    assert one.counter("ifnet.reset") == changes


def test_ktls_10_no_tag_there(network):
    """The other card does no TLS: software, until packets come in at another again."""
    one = make(network)
    line = connect(one)
    assert receive(line, 2) == {"DECRYPTED": 2}
    one.ifnets[1].set_capability("rxtls4", False)
    come_in_at(one, 1)
    assert "DECRYPTED" not in receive(line, 3, seed=10)
    session = line.so.so_rcv.sb_tls_info
    one.run(lambda: session.snd_tag is None, "the tag is given up")
    assert one.counter("ifnet.reset_failed") == 1
    come_in_at(one, 0)
    receive(line, 3, seed=20)
    await_tag(line, 0)
    assert receive(line, 2, seed=30)["DECRYPTED"] >= 1


def test_ktls_10_every_packet_says_where_it_came_from(network):
    """In the socket buffer, mbuf by mbuf: leaf_rcvif and the card's word."""
    one = make(network)
    line = connect(one)
    one.stack.works = False
    line.far_write(marked(SIZE, 1))
    sb = line.so.so_rcv
    one.run(lambda: sb.sbused() >= SIZE, "it has come")
    found = []
    m = sb.sb_mtls
    while m is not None:
        found.append(m.m_pkthdr.leaf_rcvif)
        m = m.m_next
    assert found
    assert set(found) == {one.ifnets[0]}
    one.stack.works = True
    assert line.read(SIZE) == marked(SIZE, 1)
