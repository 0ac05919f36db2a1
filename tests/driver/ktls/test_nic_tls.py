"""NIC TLS from socket to wire: tags, routes that move, laggs that fail over, VLANs, switches."""

import errno
import random

import pytest
from flows import make_session
from network import MASK, Rig

from tlsnic.abi.enums import CipherSuite
from tlsnic.driver.ktls.ktls_ifnet import ktls_disable_ifnet
from tlsnic.driver.ktls.lagg import Lagg
from tlsnic.driver.ktls.session import (
    IPPROTO_TCP,
    TCP_TLS_MODE_IFNET,
    TCP_TLS_MODE_NONE,
    TCP_TLS_MODE_SW,
    TCP_TXTLS_MODE,
)
from tlsnic.driver.ktls.vlan import Vlan
from tlsnic.driver.tls.send_tag import OutcomeKind

GCM12, GCM13 = CipherSuite.TLS12_AES_128_GCM, CipherSuite.TLS13_AES_128_GCM
CBC12 = CipherSuite.TLS12_AES_CBC_SHA256
CBC10 = CipherSuite.TLS10_AES_CBC_SHA1
DATA = random.Random(5).randbytes(300_000)
SW, IFNET = TCP_TLS_MODE_SW, TCP_TLS_MODE_IFNET


@pytest.fixture
def rig():
    made = []

    def make(*args, **options):
        made.append(Rig(*args, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def two_networks(rig):
    """The second card has an address of the same network; routes lead to the first."""
    rig.stack.add_address(rig.ifnets[1], "10.0.0.3/24")
    return rig.ifnets[0]


def lagg(proto="failover"):
    def build(rig):
        return Lagg(rig.ifnets, laggproto=proto)

    return build


def move(rig, ifp):
    rig.stack.routes.add("10.0.0.0/24", ifp)


def switch(rig, mode):
    rig.so.setsockopt(IPPROTO_TCP, TCP_TXTLS_MODE, mode)
    assert rig.so.getsockopt(IPPROTO_TCP, TCP_TXTLS_MODE) == mode


def half_way(rig, count):
    """Until so many bytes have arrived."""
    return lambda: len(rig.got) >= count


@pytest.mark.parametrize("suite", [GCM12, GCM13, CBC12])
def test_the_card_encrypts_what_is_written(rig, suite):
    one = rig(1)
    one.enable(make_session(suite))
    assert one.counter("ifnet.cbc" if suite is CBC12 else "ifnet.gcm") == 1
    one.send(DATA[:100_000], DATA[100_000:])
    assert one.plaintext() == DATA
    assert one.check_wire() == [len(one.got)]
    assert not one.counter("bytes_touched.encrypt")
    assert not one.cards[0].codes


def test_no_byte_of_a_file_is_touched(rig, tmp_path):
    """From sendfile to descriptor the CPU reads and writes no payload."""
    path = tmp_path / "file"
    path.write_bytes(DATA)
    one = rig(1)
    one.enable(make_session(GCM13))
    before = one.kernel.sysctl.bytes_touched
    with path.open("rb") as file:
        assert one.so.sendfile(file.fileno(), 0) == len(DATA)
    one.run(lambda: not one.so.so_snd.sbused())
    assert one.plaintext() == DATA
    assert one.kernel.sysctl.bytes_touched == before
    one.run(lambda: not one.ifnets[0].port.holds)
    assert not one.kernel.page_cache.wired


@pytest.mark.parametrize("seed", range(3))
def test_what_is_lost_is_encrypted_again_by_the_card(rig, seed):
    one = rig(1, loss=0.05, seed=seed)
    one.enable(make_session(GCM13))
    one.send(DATA)
    assert one.plaintext() == DATA
    one.check_wire()
    packets = one.stack.leaf_tag(one.so).packets
    assert packets[OutcomeKind.PRESYNC]
    assert not packets[OutcomeKind.SOFTWARE]


def test_a_route_that_moves_takes_the_send_tag_along(rig):
    one = rig(build=two_networks)
    one.enable(make_session(GCM13))
    one.send(DATA, until=half_way(one, 50_000))
    tag = one.stack.leaf_tag(one.so)
    move(one, one.ifnets[1])
    one.run(lambda: not one.so.so_snd.sbused())
    assert one.plaintext() == DATA
    first, second = one.check_wire()
    assert first
    assert second
    assert one.inp.eagain
    assert one.counter("ifnet.reset") == 1
    assert one.stack.leaf_tag(one.so).ifp is one.ifnets[1]
    assert not tag.tag.is_alive
    assert not one.nics[0].send_tags
    assert one.counter("ifnet.gcm") == 1


@pytest.mark.parametrize("seed", range(4))
def test_routes_that_move_again_and_again_with_loss(rig, seed):
    one = rig(build=two_networks, loss=0.03, seed=seed)
    one.enable(make_session(GCM12))
    moves = [0]

    def flap():
        if len(one.got) > (moves[0] + 1) * 30_000:
            moves[0] += 1
            move(one, one.ifnets[moves[0] % 2])
        return not one.so.so_snd.sbused()

    one.send(DATA, until=flap)
    assert moves[0] > 5
    assert one.plaintext() == DATA
    assert all(one.check_wire())


def test_the_connection_drops_when_the_new_interface_has_no_tag(rig):
    one = rig(build=two_networks)
    one.enable(make_session(GCM13))
    one.send(DATA, until=half_way(one, 50_000))
    one.ifnets[1].set_capability("txtls4", False)
    move(one, one.ifnets[1])
    so = one.so
    one.run(lambda: one.peer.closed)
    assert so.so_error == errno.ECONNABORTED
    assert one.counter("ifnet.reset_dropped") == 1
    assert one.counter("ifnet.reset") == 0
    first, second = one.check_wire()
    assert first
    assert not second
    assert not so.so_snd.sbused()
    so.close()
    assert so.is_freed


def test_without_a_route_nothing_is_sent_and_nothing_is_lost(rig):
    one = rig(build=two_networks)
    one.enable(make_session(GCM13))
    one.send(DATA, until=half_way(one, 50_000))
    one.stack.routes.delete("10.0.0.0/24")
    count = one.stack.output_errors[errno.EHOSTUNREACH]
    one.run(lambda: one.stack.output_errors[errno.EHOSTUNREACH] > count)
    move(one, one.ifnets[0])
    one.run(lambda: not one.so.so_snd.sbused())
    assert one.plaintext() == DATA
    one.check_wire()


@pytest.mark.parametrize("suite", [GCM12, GCM13])
def test_a_lagg_fails_over_and_back(rig, suite):
    one = rig(build=lagg())
    one.enable(make_session(suite))
    one.send(DATA, until=half_way(one, 50_000))
    one.cards[0].core.set_link(False)
    one.run(half_way(one, 150_000))
    assert one.top.active == [one.ifnets[1]]
    assert one.stack.leaf_tag(one.so).ifp is one.ifnets[1]
    one.cards[0].core.set_link(True)
    one.run(lambda: not one.so.so_snd.sbused())
    assert one.top.active == [one.ifnets[0]]
    assert one.plaintext() == DATA
    assert all(one.check_wire())
    assert one.counter("ifnet.reset") == 2


def test_a_lagg_whose_cards_are_all_down_waits(rig):
    one = rig(build=lagg())
    one.enable(make_session(GCM13))
    one.send(DATA[:100_000], until=half_way(one, 50_000))
    for card in one.cards:
        card.core.set_link(False)
    one.run(lambda: one.stack.output_errors[errno.ENETDOWN] > 1)
    one.cards[1].core.set_link(True)
    one.run(lambda: not one.so.so_snd.sbused())
    assert one.plaintext() == DATA[:100_000]
    one.check_wire()


@pytest.mark.parametrize("proto", ["loadbalance", "lacp"])
def test_flows_are_spread_over_a_lagg(rig, proto):
    one = rig(build=lagg(proto))
    chosen = {one.top.leaf(flowid) for flowid in range(10)}
    assert chosen == set(one.ifnets)
    one.enable(make_session(GCM13))
    mine = one.top.leaf(one.inp.inp_flowid)
    one.send(DATA, until=half_way(one, 50_000))
    index = one.ifnets.index(mine)
    assert one.stack.leaf_tag(one.so).ifp is mine
    one.cards[index].core.set_link(False)
    one.run(lambda: not one.so.so_snd.sbused())
    assert one.stack.leaf_tag(one.so).ifp is one.ifnets[1 - index]
    assert one.plaintext() == DATA
    assert all(one.check_wire())


@pytest.mark.parametrize("proto", ["failover", "lacp"])
def test_a_vlan_on_a_lagg(rig, proto):
    def build(one):
        return Vlan(Lagg(one.ifnets, laggproto=proto), 5)

    one = rig(build=build, vlan=5)
    one.enable(make_session(GCM13))
    one.send(DATA, until=half_way(one, 50_000))
    leaf = one.stack.leaf_tag(one.so)
    assert leaf.tag.address.vlan_id == 5
    index = one.ifnets.index(leaf.ifp)
    one.cards[index].core.set_link(False)
    one.run(lambda: not one.so.so_snd.sbused())
    assert one.plaintext() == DATA
    assert all(one.check_wire())
    assert all(frame[12:16] == b"\x81\0\0\5" for _, frame in one.sent)


def test_tls_over_ipv6(rig):
    one = rig(1, ip_version=6)
    one.enable(make_session(GCM13))
    one.send(DATA)
    assert one.plaintext() == DATA
    assert one.check_wire() == [len(one.got)]


def test_modes_are_switched_while_data_is_under_way(rig):
    one = rig(1, loss=0.02, seed=3)
    assert one.so.getsockopt(IPPROTO_TCP, TCP_TXTLS_MODE) == TCP_TLS_MODE_NONE
    one.enable(make_session(GCM13))
    assert one.so.getsockopt(IPPROTO_TCP, TCP_TXTLS_MODE) == IFNET
    size = len(DATA) // 6
    for turn in range(6):
        one.send(DATA[turn * size : (turn + 1) * size], until=half_way(one, turn * size + 20_000))
        mode = SW if turn % 2 == 0 else IFNET
        if mode is IFNET and one.so.so_snd.sb_mb is not None:
            one.run(lambda: not one.so.so_snd.sbused())
        switch(one, mode)
    one.run(lambda: not one.so.so_snd.sbused())
    assert one.plaintext() == DATA
    one.check_wire()
    assert one.counter("stats.switch_to_sw") == one.counter("stats.switch_to_ifnet") == 3
    one.link.step()
    one.stack.turn(0)
    assert len(one.nics[0].send_tags) == 1
    assert one.counter("ifnet.gcm") == 1
    assert one.counter("sw.gcm") == 0


def test_a_switch_back_waits_for_the_records_of_the_last_session(rig):
    one = rig(1)
    one.enable(make_session(GCM13))
    one.send(DATA, until=half_way(one, 50_000))
    switch(one, SW)
    with pytest.raises(OSError, match="not acknowledged") as caught:
        switch(one, IFNET)
    assert caught.value.errno == errno.EBUSY
    assert one.counter("stats.switch_failed") == 1
    one.run(lambda: not one.so.so_snd.sbused())
    switch(one, IFNET)
    one.send(b"more")
    assert one.plaintext() == DATA + b"more"
    one.check_wire()


@pytest.mark.parametrize(("name", "version"), [("txtls4", 4), ("txtls6", 6)])
def test_interfaces_are_switched_by_address_family(rig, name, version):
    one = rig(1, ip_version=version)
    ifp = one.top
    assert ifp.capabilities_on == ["txtls4", "txtls6", "rxtls4", "rxtls6"]
    ifp.set_capability("txtls6" if version == 4 else "txtls4", False)
    ifp.set_capability(name, False)
    assert ifp.capabilities_on == ["rxtls4", "rxtls6"]
    one.enable(make_session(GCM13))
    assert one.so.getsockopt(IPPROTO_TCP, TCP_TXTLS_MODE) == SW
    one.send(DATA[:50_000])
    with pytest.raises(OSError, match="switched off"):
        switch(one, IFNET)
    ifp.set_capability(name, True)
    switch(one, IFNET)
    one.send(DATA[50_000:100_000])
    assert one.plaintext() == DATA[:100_000]
    one.check_wire()
    assert one.stack.leaf_tag(one.so).packets[OutcomeKind.IN_ORDER]


def test_capabilities_of_stacked_interfaces(rig):
    one = rig(build=lambda rig: Vlan(Lagg(rig.ifnets), 5), vlan=5)
    vlan, one_lagg = one.top, one.top.parent
    one.ifnets[1].set_capability("txtls4", False)
    assert "txtls4" not in one_lagg.capabilities_on
    assert "txtls4" not in vlan.capabilities_on
    one_lagg.set_capability("txtls4", True)
    assert "txtls4" in one.ifnets[1].capabilities_on
    vlan.set_capability("txtls4", False)
    assert "txtls4" in one_lagg.capabilities_on
    one.enable(make_session(GCM13))
    assert one.so.getsockopt(IPPROTO_TCP, TCP_TXTLS_MODE) == SW
    with pytest.raises(OSError, match="no capability"):
        vlan.set_capability("txtls5", True)


def test_what_the_administrator_forbids_can_be_forced(rig):
    one = rig(1)
    one.kernel.sysctl["ifnet.permitted"] = 0
    one.enable(make_session(GCM13))
    assert one.so.getsockopt(IPPROTO_TCP, TCP_TXTLS_MODE) == SW
    switch(one, IFNET)


def test_tls_1_0_stays_in_software(rig):
    one = rig(1)
    one.enable(make_session(CBC10))
    assert one.so.getsockopt(IPPROTO_TCP, TCP_TXTLS_MODE) == SW


def test_too_many_retransmits_move_the_connection_to_software_once(rig):
    one = rig(1, loss=0.05, seed=1)
    one.kernel.sysctl["ifnet_max_rexmit_pct"] = 2
    one.enable(make_session(GCM13))
    for start in range(0, len(DATA), 50_000):
        one.send(DATA[start : start + 50_000])
    assert one.inp.t_nic_ktls_xmit_dis
    assert one.counter("stats.ifnet_disable_ok") == 1
    assert one.counter("stats.switch_to_sw") == 1
    assert one.so.getsockopt(IPPROTO_TCP, TCP_TXTLS_MODE) == SW
    switch(one, IFNET)
    one.send(DATA[:100_000])
    assert one.so.getsockopt(IPPROTO_TCP, TCP_TXTLS_MODE) == IFNET, "never a second time"
    ktls_disable_ifnet(one.inp)
    one.stack.turn(0)
    assert one.counter("stats.ifnet_disable_ok") == 1
    assert one.plaintext() == DATA + DATA[:100_000]
    one.check_wire()


def test_few_retransmits_do_not(rig):
    one = rig(1, loss=0.01, seed=1)
    one.kernel.sysctl["ifnet_max_rexmit_pct"] = 10
    one.enable(make_session(GCM13))
    one.send(DATA)
    assert one.inp.connection.statistics.retransmits
    assert not one.inp.t_nic_ktls_xmit_dis
    assert not one.counter("stats.ifnet_disable_ok")


def test_a_card_that_was_reset_gets_new_tags(rig):
    one = rig(1)
    one.enable(make_session(GCM13))
    one.send(DATA, until=half_way(one, 50_000))
    one.nics[0].reset()
    one.run(lambda: not one.so.so_snd.sbused())
    assert one.plaintext() == DATA
    one.check_wire()
    assert one.counter("ifnet.reset") == 1


def test_a_record_is_never_in_a_packet_with_what_comes_before_it(rig):
    """Clear handshake, then software records, then the card's: no packet has two kinds."""
    one = rig(1)
    one.so.write(b"h" * 1000)
    one.session = make_session(GCM13)
    one.top.set_capability("txtls4", False)
    one.enable(one.session)
    one.so.write(b"s" * 1000)
    one.kernel.workers.drain()
    one.top.set_capability("txtls4", True)
    switch(one, IFNET)
    one.send(b"n" * 1000)
    border = 1000 + 1022
    starts = [
        int.from_bytes(frame[38:42], "big") - one.start & MASK
        for _, frame in one.sent
        if frame[12:14] == b"\x08\0" and len(frame) > 200
    ]
    assert starts == [0, 1388, border], "a segment ends early where the card takes over"
    one.check_wire()
    got, one.got = one.got, one.got[1000:]
    assert got[:1000] == b"h" * 1000
    assert one.plaintext() == b"s" * 1000 + b"n" * 1000


def test_ends_by_the_program_and_by_the_peer(rig):
    one = rig(1)
    one.enable(make_session(GCM13))
    one.so.write(DATA[:20_000])
    one.so.close()
    one.run(lambda: one.peer.at_end)
    assert one.plaintext() == DATA[:20_000]
    one.peer.close(one.link.now_ns)
    one.run(lambda: one.so.is_freed)
    assert not one.counter("stats.active")
    one.link.run(lambda: not one.nics[0].send_tags)


def test_a_reset_by_the_peer_is_the_next_error(rig):
    one = rig(1)
    one.enable(make_session(GCM13))
    so = one.so
    one.send(DATA, until=half_way(one, 50_000))
    one.peer.abort(one.link.now_ns)
    one.link.run(lambda: not one.stack.connections)
    with pytest.raises(ConnectionResetError):
        so.write(b"more")
    assert not so.so_snd.sbused()
    so.close()
    assert so.is_freed


def test_a_neighbour_with_another_ethernet_address_is_found_again(rig):
    one = rig(1)
    one.enable(make_session(GCM13))
    one.send(DATA[:10_000])
    old = one.top.neighbours.lookup(b"\x0a\0\0\2")
    one.top.neighbours._learn(b"\x0a\0\0\2", b"\2\0\0\0\0\x77")
    one.link.rule = lambda end, frame: end == 0 or frame[:6] in (old, b"\xff" * 6)
    one.send(DATA[10_000:20_000])
    assert one.plaintext() == DATA[:20_000]
    assert one.top.neighbours.lookup(b"\x0a\0\0\2") == old
    one.check_wire()


@pytest.mark.parametrize("seed", range(6))
def test_whatever_happens_the_peer_reads_what_was_written(rig, seed, tmp_path):
    """Moves, flaps, switches, resets of cards, files and writes, with loss."""
    source = random.Random(f"walk {seed}")
    stacked = source.random() < 0.5
    one = rig(build=lagg() if stacked else two_networks, loss=0.02, seed=seed)
    path = tmp_path / "file"
    path.write_bytes(DATA)
    one.enable(make_session(source.choice([GCM12, GCM13])))
    truth, down = b"", set()

    def change():
        if down:  # not for long: TCP would give up
            one.cards[down.pop()].core.set_link(True)
        elif not stacked and source.random() < 0.5:
            move(one, source.choice(one.ifnets))
        elif source.random() < 0.2:
            source.choice(one.nics).reset()
        else:
            down.add(source.randrange(2))
            one.cards[min(down)].core.set_link(False)

    def switch_mode():
        mode = source.choice([SW, IFNET])
        try:
            one.so.setsockopt(IPPROTO_TCP, TCP_TXTLS_MODE, mode)
        except OSError as error:
            if mode == SW or error.errno != errno.EBUSY:
                raise

    with path.open("rb") as file:
        for _ in range(40):
            size = source.randint(1, 40_000)
            if source.random() < 0.5:
                offset = source.randrange(len(DATA) - size)
                one.so.sendfile(file.fileno(), offset, size)
                truth += DATA[offset : offset + size]
            else:
                one.so.write(DATA[:size])
                truth += DATA[:size]
            if source.random() < 0.5:
                change()
            if source.random() < 0.3:
                switch_mode()
            goal = min(len(one.got) + source.randint(0, 60_000), len(truth))
            until = one.link.now_ns + 2 * 10**9
            one.run(lambda: len(one.got) >= goal or one.link.now_ns > until)  # noqa: B023
    for index in down:
        one.cards[index].core.set_link(True)
    one.run(lambda: not one.so.so_snd.sbused())
    assert one.plaintext() == truth
    one.check_wire()
