"""LIF-03, KTLS-05: a route moves to another NIC: what was to be sent there is dropped, never sent in
clear; a new tag is made, or the connection drops.

FreeBSD's ip_output_send(): the packet is dropped with EAGAIN, and a task makes the tag anew
(ktls_output_eagain(), ktls_reset_send_tag()). The second card is on the TAP, and the host hears of it
by ARP, as of any card.
"""

import errno

import pytest
from harness.ktls import CARD, GCM12, GCM13
from harness.ktls_two_cards import NETWORK, Upload, move_route, routed
from harness.tls_stream import marked

from tlsnic.driver.ktls.session import TCP_TLS_MODE_IFNET, TCP_TLS_MODE_SW

pytestmark = [pytest.mark.row("LIF-03"), pytest.mark.row("KTLS-05"), CARD, pytest.mark.root]
TOTAL = 240_000


def begin(network, suite=GCM13, **options):
    one = routed(network)
    line = one.connect(suite, **options)
    line.enable_tx()
    upload = Upload(line, TOTAL)
    upload.write(TOTAL // 3)
    upload.until(30_000)
    return one, line, upload


@pytest.mark.parametrize("suite", [GCM12, GCM13], ids=lambda suite: suite.name)
def test_lif_03_a_new_tag(network, suite):
    one, line, upload = begin(network, suite)
    before = one.stack.leaf_tag(line.so)
    before_bytes = one.check_frames()["bytes"][1]
    move_route(one, 1)
    upload.write()
    upload.check()
    after = one.stack.leaf_tag(line.so)
    assert after.ifp is one.ifnets[1]
    assert line.inp.eagain, "packets were dropped on their way"
    assert one.stack.output_errors[errno.EAGAIN] == line.inp.eagain
    assert one.counter("ifnet.reset") == 1
    one.run(lambda: not before.tag.is_alive, "the old tag is given back")
    assert not one.nics[0].send_tags
    assert one.check_frames()["bytes"][1] > before_bytes + 60_000, "the second card has sent it"
    assert line.tx_mode == TCP_TLS_MODE_IFNET


def test_lif_03_back_and_forth(network, scale):
    """Again and again, with loss on top."""
    one, _, upload = begin(network)
    one.between("lose", from_card=0.01, seed=5)
    moves = scale(6, 3)
    for turn in range(moves):
        move_route(one, 1 - turn % 2)
        upload.write(20_000)
        one.run(lambda: one.counter("ifnet.reset") == turn + 1, "a new tag")  # noqa: B023
    one.between("lose")
    upload.check()
    assert one.counter("ifnet.reset") == moves


def test_lif_03_without_a_tag_the_connection_drops(network):
    """The other interface does no TLS: what is in the buffer is plaintext, and cannot be sent."""
    one, line, upload = begin(network)
    one.ifnets[1].set_capability("txtls4", False)
    before = one.check_frames()["bytes"][1]
    move_route(one, 1)
    upload.write(1000)
    one.run(lambda: not one.stack.connections, "the connection ends")
    assert line.so.so_error == errno.ECONNABORTED
    with pytest.raises(OSError, match="failed") as caught:
        line.so.write(b"more")
    assert caught.value.errno == errno.ECONNABORTED
    assert one.counter("ifnet.reset_dropped") == 1
    assert one.counter("ifnet.reset") == 0
    line.await_reset()
    assert 0 < one.far("state", token=line.token)["bytes"] <= TOTAL // 3 + 1000
    assert one.check_frames()["bytes"][1] - before < 2000, "no data by the second card"


def test_lif_03_software_needs_no_tag(network):
    """A connection whose records are encrypted in software moves without a loss."""
    one = routed(network)
    one.ifnets[0].set_capability("txtls4", False)
    line = one.connect(GCM13)
    line.enable_tx()
    assert line.tx_mode == TCP_TLS_MODE_SW
    upload = Upload(line, TOTAL)
    upload.write(TOTAL // 3)
    upload.until(30_000)
    move_route(one, 1)
    upload.write()
    upload.check()
    assert not line.inp.eagain
    assert one.counter("ifnet.reset") == 0
    assert one.check_frames()["bytes"][1] > 60_000


def test_lif_03_no_route_at_all(network):
    """Nothing is sent, nothing is lost."""
    one, _, upload = begin(network)
    one.stack.routes.delete(NETWORK)
    count = one.stack.output_errors[errno.EHOSTUNREACH]
    upload.write(1000)
    one.run(lambda: one.stack.output_errors[errno.EHOSTUNREACH] > count, "a packet has no route")
    move_route(one, 0)
    upload.write()
    upload.check()
    assert one.counter("ifnet.reset") == 0


def test_lif_03_other_connections_have_their_own_tags(network):
    """Each session's tag is made anew once, by one task."""
    one = routed(network)
    lines = [one.connect(suite) for suite in (GCM12, GCM13)]
    uploads = []
    for number, line in enumerate(lines):
        line.enable_tx()
        uploads.append(Upload(line, 100_000, number))
        uploads[-1].write()
    for upload in uploads:
        upload.until(10_000)
    move_route(one, 1)
    for upload in uploads:
        upload.check()
    for line in lines:
        line.so.write(marked(500))
    for line in lines:
        assert line.arrived() == marked(500)
    assert one.counter("ifnet.reset") == 2
    assert len(one.nics[1].send_tags) == 2
