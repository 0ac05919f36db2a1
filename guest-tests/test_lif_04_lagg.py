"""LIF-04: failover between two NICs in a lagg (failover, and hashing by flow); VLAN on top.

FreeBSD's if_lagg.c and if_vlan.c: the send tag is of the member that the flow takes, inside of a tag
of each interface above it. The switch learns the new place from the lagg's gratuitous ARP.
"""

import pytest
from harness.ktls import CARD, GCM12, GCM13
from harness.ktls_two_cards import Upload, lagg_of

from tlsnic.abi.enums import Diagnostic
from tlsnic.driver.ktls.session import TCP_TLS_MODE_IFNET
from tlsnic.qemu.peer.data import VLAN_ID

pytestmark = [pytest.mark.row("LIF-04"), CARD, pytest.mark.root]
TOTAL = 200_000
MOVED = 8_000
"""Bytes that each card has at least."""


def make(network, proto, vlan):
    one = network(cards=2, build=lagg_of(proto, vlan=vlan), vlan=vlan)
    lagg = one.top.parent if vlan else one.top
    return one, lagg


@pytest.fixture(autouse=True)
def _packets_may_meet_no_link(watch):
    watch.allow(Diagnostic.TX_LINK_DOWN)


def unplug(one, card):
    one.between("set_link", card=card, up=False)
    one.run(lambda: not one.ifnets[card].is_running, "the interface knows")


def plug(one, card):
    one.between("set_link", card=card, up=True)
    one.run(lambda: one.ifnets[card].is_running, "the interface knows")


@pytest.mark.parametrize(
    ("suite", "vlan"), [(GCM12, False), (GCM13, True)], ids=["TLS 1.2", "TLS 1.3 in a VLAN"]
)
def test_lif_04_failover_and_back(network, suite, vlan):
    one, lagg = make(network, "failover", vlan)
    line = one.connect(suite)
    line.enable_tx()
    assert line.tx_mode == TCP_TLS_MODE_IFNET
    tag = one.stack.leaf_tag(line.so)
    assert tag.ifp is one.ifnets[0]
    assert tag.tag.address.vlan_id == (VLAN_ID if vlan else None)
    upload = Upload(line, TOTAL)
    upload.write(TOTAL // 4)
    upload.until(30_000)
    unplug(one, 0)
    assert lagg.active == [one.ifnets[1]]
    upload.write(TOTAL // 4)
    upload.until(TOTAL // 2)
    assert one.stack.leaf_tag(line.so).ifp is one.ifnets[1]
    plug(one, 0)
    assert lagg.active == [one.ifnets[0]]
    upload.write()
    upload.check()
    assert one.stack.leaf_tag(line.so).ifp is one.ifnets[0]
    assert one.counter("ifnet.reset") == 2
    assert min(one.check_frames()["bytes"]) > MOVED


@pytest.mark.parametrize(
    ("proto", "vlan"),
    [("loadbalance", False), ("lacp", True)],
    ids=["loadbalance", "lacp with a VLAN"],
)
def test_lif_04_hash_by_flow(network, proto, vlan):
    """Connections are spread over both; those of one that goes down move to the other."""
    one, lagg = make(network, proto, vlan)
    lines = []
    while {lagg.leaf(line.inp.inp_flowid) for line in lines} != set(one.ifnets):
        lines.append(one.connect(GCM13))
        assert len(lines) < 20, "all flows take the same member"
    first = lines[0]
    other = next(
        one_line
        for one_line in lines
        if lagg.leaf(one_line.inp.inp_flowid) is not lagg.leaf(first.inp.inp_flowid)
    )
    uploads = []
    for number, line in enumerate((first, other)):
        line.enable_tx()
        mine = lagg.leaf(line.inp.inp_flowid)
        assert one.stack.leaf_tag(line.so).ifp is mine
        uploads.append(Upload(line, TOTAL // 2, number))
        uploads[-1].write(TOTAL // 4)
    for upload in uploads:
        upload.until(10_000)
    gone = one.ifnets.index(one.stack.leaf_tag(first.so).ifp)
    unplug(one, gone)
    for upload in uploads:
        upload.write()
    for upload in uploads:
        upload.check()
    assert one.stack.leaf_tag(first.so).ifp is one.ifnets[1 - gone]
    assert one.stack.leaf_tag(other.so).ifp is one.ifnets[1 - gone]
    assert one.counter("ifnet.reset") >= 1
    assert min(one.check_frames()["bytes"]) > MOVED
    plug(one, gone)


def test_lif_04_both_down(network):
    """Nothing is sent and nothing lost until one is there again."""
    one, lagg = make(network, "failover", vlan=False)
    line = one.connect(GCM13)
    line.enable_tx()
    upload = Upload(line, TOTAL)
    upload.write(TOTAL // 2)
    upload.until(30_000)
    for card in (0, 1):
        unplug(one, card)
    assert not lagg.is_running
    upload.write(1000)
    plug(one, 1)
    upload.check()
    assert one.stack.leaf_tag(line.so).ifp is one.ifnets[1]
    plug(one, 0)


def test_lif_04_capabilities(network):
    """A lagg has what all members have; a VLAN what is on below it, and its own switch."""
    one, lagg = make(network, "failover", vlan=True)
    vlan = one.top
    for ifp in (*one.ifnets, lagg, vlan):
        assert ifp.capabilities_on == ["txtls4", "txtls6", "rxtls4", "rxtls6"]
    one.ifnets[1].set_capability("txtls4", False)
    assert "txtls4" not in lagg.capabilities_on
    assert "txtls4" not in vlan.capabilities_on
    lagg.set_capability("txtls4", True)
    assert "txtls4" in one.ifnets[1].capabilities_on
    vlan.set_capability("txtls4", False)
    assert "txtls4" in lagg.capabilities_on
